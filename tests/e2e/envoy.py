# SPDX-License-Identifier: Apache-2.0
"""Envoy with a configuration made here: listeners, and the clusters of servers that they ask."""
import json

import packages

TYPES = "type.googleapis.com/envoy.extensions"


def address(host, port):
    return {"socket_address": {"address": host, "port_value": int(port)}}


def listener(host, port, to, *, filters=(), route=None, **manager):
    """It asks the cluster `to`. filters: those before the router; route, manager: further keys of these."""
    return {"address": address(host, port), "filter_chains": [{"filters": [{"name": "http", "typed_config": {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "gateway",
        "http_filters": [*filters, {"name": "router", "typed_config": {
            "@type": f"{TYPES}.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": to, "timeout": "0s", **(route or {})}}]}]},
        **manager}}]}]}


def cluster(name, *servers, **keys):
    """servers: their hosts and ports."""
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address(*s)}} for s in servers]}]}, **keys}


def protocol(**options):
    """Keys of a cluster: how its servers are asked."""
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {"typed_extension_protocol_options": {kind: {"@type": f"type.googleapis.com/{kind}", **options}}}


ONE_EACH = protocol(common_http_protocol_options={"max_requests_per_connection": 1},
                    explicit_http_config={"http_protocol_options": {}})


def command(node, listeners, clusters, *, name="envoy.json", threads=1):
    """What starts it."""
    config = {"static_resources": {"listeners": listeners, "clusters": clusters}}
    return packages.envoy(node.write(name, json.dumps(config)), threads)
