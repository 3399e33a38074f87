# SPDX-License-Identifier: Apache-2.0
"""Envoy as a rival: alone, and with an endpoint picker that it asks of each request."""
import functools
import types

import envoy
from kernel import Skip

GRPC, GRPC_HEALTH, METRICS = 9902, 9903, 9904  # ports of the picker


def command(node, name, host, port, *clusters, **more):
    """What starts an Envoy that listens there, and asks the first of the clusters; None: there is none. more: of the
    listener."""
    try:
        return envoy.command(node, [envoy.listener(host, port, clusters[0]["name"], **more)], clusters, name=name,
                             threads=2)
    except Skip:
        return None


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
            "@type": f"{envoy.TYPES}.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": "epp"}, "timeout": "10s"}, "message_timeout": "100s",
            "processing_mode": {
                **{f"{way}_{part}_mode": "SEND" for way in ("request", "response") for part in ("header", "trailer")},
                **{f"{way}_body_mode": "FULL_DUPLEX_STREAMED" for way in ("request", "response")}}}}
        epp = envoy.cluster("epp", ("127.0.0.1", GRPC),
                            **envoy.protocol(explicit_http_config={"http2_protocol_options": {}}))
        pool = {"name": "pool", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "original_dst_lb_config": {
            "use_http_header": True, "http_header_name": "x-gateway-destination-endpoint"}}
        return command(node, "envoy-epp.json", host, port, pool, epp, filters=[asks])
