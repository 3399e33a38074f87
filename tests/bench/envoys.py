# SPDX-License-Identifier: Apache-2.0
"""Envoy as a rival: alone, and with an endpoint picker that it asks of each request."""
import functools
import json
import types

from kernel import TOP, Skip

TYPES = "type.googleapis.com/envoy.extensions"
GRPC, GRPC_HEALTH, METRICS = 9902, 9903, 9904  # ports of the picker


def address(host, port):
    return {"socket_address": {"address": host, "port_value": port}}


def static(servers):
    """What of a cluster says where these servers are."""
    return {"type": "STATIC", "load_assignment": {"cluster_name": "c", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address(*s)}} for s in servers]}]}}


def command(node, name, host, port, cluster, *, route=None, filters=(), clusters=()):
    """What starts an Envoy that listens there; None: there is none. route: keys of the way to the cluster."""
    binary = next((TOP / "build/clients/python").glob("lib/*/site-packages/envoy/_bin/envoy"), None)
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "x",
        "http_filters": [*filters, {"name": "router", "typed_config": {
            "@type": f"{TYPES}.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "pool", "timeout": "0s", **(route or {})}}]}]}}
    conf = node.write(name, json.dumps({"static_resources": {
        "listeners": [{"address": address(host, port), "filter_chains": [{"filters": [
            {"name": "hcm", "typed_config": manager}]}]}],
        "clusters": [{"name": "pool", **cluster}, *clusters]}}))
    return binary and [binary, "-c", conf, "--concurrency", 2, "--use-dynamic-base-id", "-l", "error"]


# -- with the endpoint picker of the Gateway API Inference Extension --------------------------------------------


class Picker:
    """An EPP as it comes, in a network namespace, for servers on these ports there: `tests/kubernetes/build epp` has
    built it. It learns of the servers from a real API server, as of one pod's."""

    def __init__(self, node, netns, host, ports):
        from control_plane import BINARIES, ControlPlane  # which needs PyYAML

        if not (BINARIES / "epp").exists():
            raise Skip("epp is not built: tests/kubernetes/build epp")
        machine = types.SimpleNamespace(node=node, netns=netns, popen=functools.partial(node.popen, netns=netns))
        self.api = ControlPlane(machine)
        self.api.define("inferencepools")
        self.api.inference_pool(ports=ports)
        self.api.run(types.SimpleNamespace(name="servers", v4=host))
        self.process = machine.popen([
            BINARIES / "epp", "--pool-name=vllm", "--pool-namespace=llm", f"--grpc-port={GRPC}",
            f"--grpc-health-port={GRPC_HEALTH}", f"--metrics-port={METRICS}", "--secure-serving=false",
            "--metrics-endpoint-auth=false", "--tracing=false", "--enable-pprof=false", "-v", "0"], log="epp.log",
            env={"KUBECONFIG": str(self.api.kubeconfig("epp", self.api.admin))})

    def envoy(self, node, host, port):
        """An Envoy that asks it, set up as the extension's own example."""
        asks = {"name": "ext_proc", "typed_config": {
            "@type": f"{TYPES}.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": "epp"}, "timeout": "10s"}, "message_timeout": "100s",
            "processing_mode": {
                **{f"{way}_{part}_mode": "SEND" for way in ("request", "response") for part in ("header", "trailer")},
                **{f"{way}_body_mode": "FULL_DUPLEX_STREAMED" for way in ("request", "response")}}}}
        epp = {"name": "epp", **static([("127.0.0.1", GRPC)]), "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}}
        return command(node, "envoy-epp.json", host, port, {
            "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "original_dst_lb_config": {
                "use_http_header": True, "http_header_name": "x-gateway-destination-endpoint"}},
            filters=[asks], clusters=[epp])
