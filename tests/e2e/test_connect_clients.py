# SPDX-License-Identifier: Apache-2.0
"""Unmodified clients and gateways in pods, and unmodified servers in pods."""
import collections
import re
import subprocess

import envoy
import packages
from clients import split
from harness import case
from kernel import BUILD, HERE, wait_for
from packages import library, need
from pods import SERVICE, Cluster
from test_connect import BOTH, all_zero

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

PROGRAMS = HERE / "programs"
URL = {"v4": "http://" + SERVICE["v4"], "v6": "http://" + SERVICE["v6"]}


def simulated(node, count=2, family="v4", **more):
    """A pool of simulated model servers, each in a pod of its own, and a client pod."""
    cluster = Cluster(node)
    pods = [cluster.pod(f"s{i}") for i in range(count)]
    for p in pods:
        p.popen([BUILD / "pintle-sim", "--host", p.v6 if family == "v6" else p.v4, "--port", 8000, "--profile",
                 "tiny", "--name-prefix", p.name], log=f"{p.name}.log")
    client = cluster.pod("client")
    cluster.steer(cluster.pool(pods, family=family, **more))
    return cluster, client


def decided(cluster):
    return sum(cluster.decisions().values())


def spread_of(result, count):
    """The servers that answered, by the client's output."""
    lines = result.stdout.split()
    assert len(lines) == count, result
    return collections.Counter(line.rsplit("-", 1)[0] for line in lines)


@case(each=BOTH)
def test_curl(node, family):
    """curl reaches the pods by the Service's address."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    client = cluster.pod("client")
    cluster.steer(cluster.pool(pods, family=family))
    said = [client.run("curl", "-sS", "-m5", "-w", " %{remote_ip}", URL[family]).stdout for _ in range(20)]
    host = split(SERVICE[family])[0]
    assert {x.split()[1] for x in said} <= {host, split(pods[0].address(family))[0], split(pods[1].address(family))[0]}
    assert {x.split()[0] for x in said} == {"s0", "s1"}, said
    assert decided(cluster) == 20
    all_zero(cluster)


def test_wrk_nginx_uvicorn(node):
    """Thousands of short connections to an nginx and a uvicorn: every one is decided and ends."""
    cluster = Cluster(node)
    pods = [cluster.pod(f"s{i}") for i in range(2)]
    pods[0].nginx()
    pods[1].uvicorn()
    client = cluster.pod("client")
    client.sysctl("net.ipv4.tcp_tw_reuse", 1)
    cluster.steer(cluster.pool(pods))
    out = client.run(need("wrk"), "-t1", "-c8", "-d2s", "-H", "Connection: close", URL["v4"]).stdout
    assert "Socket errors" not in out and "Non-2xx" not in out, out
    all_zero(cluster)
    requests = int([line.split()[0] for line in out.splitlines() if "requests in" in line][0])
    rows = cluster.cli("endpoints")
    assert decided(cluster) >= requests > 100, out
    assert min(r["placed"] for r in rows) > 20, rows
    assert sum(r["failed"] for r in rows) == 0, rows


def test_keep_alive_is_one_connection(node):
    """Requests on a kept connection are not steered again."""
    cluster, client = simulated(node)
    client.run("curl", "-sS", "-m5", *[URL["v4"] + "/health"] * 10)
    assert decided(cluster) == 1
    all_zero(cluster)


@case(each=("httpx", "openai", "urllib3"), timeout=120)
def test_python(node, what):
    """httpx, urllib3 and the OpenAI library for Python."""
    python = library("python") / "bin/python"
    cluster, client = simulated(node)
    result = client.run(python, "-B", PROGRAMS / "ask.py", what, URL["v4"], 12, timeout=60)
    assert set(spread_of(result, 12)) == {"s0", "s1"}, result
    assert decided(cluster) == 12
    all_zero(cluster)


@case(timeout=120, san=False)
def test_node(node):
    """The OpenAI library for Node."""
    libraries = library("node") / "node_modules"
    cluster, client = simulated(node)
    result = client.run(need("node"), PROGRAMS / "ask.mjs", URL["v4"], 12, timeout=60,
                        env={"NODE_PATH": str(libraries)})
    assert set(spread_of(result, 12)) == {"s0", "s1"}, result
    assert decided(cluster) == 12
    all_zero(cluster)


@case(timeout=120, san=False)
def test_java(node):
    """Java's sockets are for both families: its IPv4 destinations are v4-mapped."""
    java = need("java")
    need("javac")
    cluster, client = simulated(node)
    result = client.run(java, "-XX:TieredStopAtLevel=1", PROGRAMS / "Ask.java", *split(SERVICE["v4"]), 12,
                        timeout=60)
    assert set(spread_of(result, 12)) == {"s0", "s1"}, result
    assert decided(cluster) == 12
    all_zero(cluster)


# -- gateways -----------------------------------------------------------------------------------


NGINX = """
user root; daemon off; worker_processes 1; pid {dir}/gateway.pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {dir}/gateway-body; proxy_temp_path {dir}/gateway-proxy;
    fastcgi_temp_path {dir}/gateway-f; uwsgi_temp_path {dir}/gateway-u; scgi_temp_path {dir}/gateway-s;
    {extra}
    upstream service {{ server {service}; {upstream} }}
    server {{ listen 8080; location / {{ proxy_pass http://service; {inside} }} }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    {extra}
listen gateway
    bind :8080
    server service {service}
"""


def nginx(pod, origin, extra="", inside="", upstream=""):
    config = pod.node.write("gateway.conf", NGINX.format(dir=pod.dir, service=SERVICE["v4"], extra=extra,
                                                         inside=inside, upstream=upstream))
    return [packages.gateway("nginx", origin), "-c", config, "-p", pod.dir, "-e", "stderr"]


def haproxy(pod, origin, extra=""):
    config = pod.node.write("gateway.conf", HAPROXY.format(service=SERVICE["v4"], extra=extra))
    return [packages.gateway("haproxy", origin), "-db", "-f", config]


def envoy_before(pod, _, **keys):
    return envoy.command(pod.node, [envoy.listener("0.0.0.0", 8080, "service")],
                         [envoy.cluster("service", split(SERVICE["v4"]), **keys)])


def gateway(cluster, kind, origin="installed", **parts):
    """kind: one of the three above; parts: of its configuration."""
    pod = cluster.pod("gateway")
    process = pod.popen(kind(pod, origin, **parts), log="gateway.log")
    wait_for(lambda: pod.connect("127.0.0.1:8080").close() is None, 20, "the gateway")
    return pod, process


def version(name, origin):
    """(1, 22, 1)"""
    said = subprocess.run([packages.gateway(name, origin), "-v"], capture_output=True, text=True, check=True)
    return tuple(int(n) for n in re.search(r"(\d+)\.(\d+)\.(\d+)", said.stdout + said.stderr).groups())


def connections_for_20(node, kind, origin, **parts):
    """Connections that a gateway opens for 20 requests which a client sends on one."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    client = cluster.pod("client")
    cluster.steer(cluster.pool(pods))
    pod, process = gateway(cluster, kind, origin, **parts)
    with client.connect(pod.address(port=8080)) as c:
        answers = collections.Counter(c.ask() for _ in range(20))
    taken = decided(cluster)
    assert len(answers) == min(taken, 2), answers
    process.terminate()  # which ends the connections that it keeps
    all_zero(cluster)
    return taken


@case(each=packages.NGINX)
def test_nginx(node, origin):
    """nginx opens a connection for each request, and so requests are steered; but from 1.29.7 on
    it keeps those to an `upstream`."""
    assert connections_for_20(node, nginx, origin) == (1 if version("nginx", origin) >= (1, 29, 7) else 20)


@case(each=packages.NGINX)
def test_nginx_connection_close(node, origin):
    """With this line in its configuration, every nginx opens a connection for each request."""
    assert connections_for_20(node, nginx, origin, inside="proxy_set_header Connection close;") == 20


@case(each=("experimental", "wheel"))
def test_nginx_keepalive_0(node, origin):
    """So does a newer nginx with `keepalive 0`; before 1.29.7, nginx does not start with it."""
    assert connections_for_20(node, nginx, origin, upstream="keepalive 0;") == 20


@case(each=packages.HAPROXY)
def test_haproxy(node, origin):
    """HAProxy keeps its connections unless it is configured otherwise."""
    assert connections_for_20(node, haproxy, origin) == 1


@case(each=packages.HAPROXY)
def test_haproxy_reuse_never(node, origin):
    """This setting is not enough: each client's connection still keeps one connection of the gateway."""
    assert connections_for_20(node, haproxy, origin, extra="http-reuse never") == 1


@case(each=packages.HAPROXY)
def test_haproxy_server_close(node, origin):
    assert connections_for_20(node, haproxy, origin, extra="option http-server-close") == 20


@case(each=("kept", "one each"))
def test_envoy(node, how):
    """Envoy keeps its connections unless it is configured otherwise."""
    keys, expected = {"kept": ({}, 1), "one each": (envoy.ONE_EACH, 20)}[how]
    assert connections_for_20(node, envoy_before, "wheel", **keys) == expected


def test_gateway_keeps_sessions(node):
    """nginx connects from an address by session, which is the key: sessions stay together, though
    every request is a connection of its own."""
    cluster = Cluster(node)
    pods = cluster.servers(3)
    client = cluster.pod("client")
    cluster.steer(cluster.pool(pods, stickiness={"key": "source"}, weights={"running": 0, "queue": 0}))
    addresses = [f"10.1.0.{100 + i}" for i in range(8)]
    split_up = "split_clients $http_x_session $from { " + " ".join(f"12.5% {a};" for a in addresses[:-1])
    split_up += f" * {addresses[-1]}; }}"
    pod, _ = gateway(cluster, nginx, extra=split_up, inside="proxy_bind $from; proxy_set_header Connection close;")
    pod.batch(*(f"addr add {a}/32 dev eth0" for a in addresses))
    cluster.batch(*(f"route add {a} via {pod.v4}" for a in addresses))
    seen = collections.defaultdict(set)
    for _ in range(3):
        for session in range(12):
            result = client.run("curl", "-sS", "-m5", "-H", f"x-session: {session}",
                                f"http://{pod.address(port=8080)}/")
            seen[session].add(result.stdout)
    assert all(len(servers) == 1 for servers in seen.values()), seen
    assert len({s for servers in seen.values() for s in servers}) > 1, seen
    all_zero(cluster)
