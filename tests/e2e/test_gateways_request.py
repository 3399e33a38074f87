# SPDX-License-Identifier: Apache-2.0
"""Gateways with nothing set for Pintle, in front of a frontend with decide: request: each request goes where its
session, or the beginning of its prompt, is. docs/gateways.md has these configurations."""
import envoy
import packages
from clients import FRONTEND, split
from harness import case
from kernel import Skip, wait_for
from test_gateways import NO_LOG, haproxy, nginx
from test_handoff import handed, hashing
from test_oneshot import oneshots
from test_prompts import PREFIX, believed, found, prompts, text

# test_handoff and test_oneshot run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

AT = "127.0.0.1:8080"
GATEWAYS = (*(f"nginx {origin}" for origin in packages.NGINX), "nginx keepalive",
            *(f"haproxy {origin}" for origin in packages.HAPROXY), "envoy")
USERS = [f"user-{i}" for i in range(12)]
# What every library sends, and one-shot can overwrite.
AGENT = "Some-Library/1.0 (of a client)"
EACH = {"requests": "one-per-connection"}
BY_SESSION = {"decide": "request", "stickiness": {"key": "header/x-session-id, source"}}

NGINX = """
events {}
http {
    upstream pintle { server FRONTEND; KEEP }
    server {
        listen 127.0.0.1:8080;
        location / { proxy_pass http://pintle; VERSION }
    }
}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 10m
    timeout server 10m
frontend gateway
    bind 127.0.0.1:8080
    default_backend pintle
backend pintle
    server pintle FRONTEND
"""


def nginx_version(node, origin):
    said = node.run(packages.gateway("nginx", origin), "-v").stderr
    return tuple(int(n) for n in said.split("nginx/")[1].split()[0].split("."))


def command(node, gateway, version="proxy_http_version 1.1;"):
    """What starts the gateway in front of the frontend. version: a line for an nginx before 1.29.7, which asks by
    HTTP/1.0 without it."""
    kind, _, origin = gateway.partition(" ")
    if kind == "envoy":
        return envoy.command(node, [envoy.listener(*split(AT), "pintle")],
                             [envoy.cluster("pintle", split(FRONTEND["v4"]))])
    keep = ""
    if origin == "keepalive":  # as many have set up an older one
        origin, keep, version = "installed", "keepalive 32;", version + ' proxy_set_header Connection "";'
    elif kind == "nginx" and nginx_version(node, origin) >= (1, 29, 7):
        version = ""
    conf = {"nginx": NGINX, "haproxy": HAPROXY}[kind]
    for old, new in {"FRONTEND": FRONTEND["v4"], "KEEP": keep, "VERSION": version, **NO_LOG}.items():
        conf = conf.replace(old, new)
    path = node.write(f"{kind}.conf", conf)
    return {"nginx": nginx(node, origin), "haproxy": haproxy(origin)}[kind](path)


def start(node, gateway, **more):
    """The gateway on the clients' machine."""
    node.popen(command(node, gateway, **more), netns=node.client_netns, log="gateway.log")
    wait_for(lambda: connect(node).close() is None, 20, "the gateway")


def connect(node):
    return node.connect(AT, remote=True)


def ask(node, sessions):
    """[(status, who answered)] of requests of these sessions, all of them on one connection to the gateway."""
    with connect(node) as c:
        return [(c.ask("/v1/models", headers={"User-Agent": AGENT, "X-Session-Id": session}), c.status)[::-1]
                for session in sessions]


def ask_prompt(node, prompt):
    with connect(node) as c:
        c.sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nUser-Agent: %s\r\nContent-Length: %d\r\n\r\n%s"
                       % (AGENT.encode(), len(prompt), prompt))
        return c.read().split()[0]


@case(each=GATEWAYS)
def test_each_session_keeps_its_server(node, gateway):
    """The requests of all users come on one connection to the gateway, which keeps its own, too: each goes to its
    user's server."""
    node.add_client()
    node.steer(node.servers(3), **BY_SESSION, **EACH)
    start(node, gateway)
    sessions = [f"user-{i}" for i in range(36) for _ in range(2)]  # so many that each server gets one
    first = ask(node, sessions)
    assert {status for status, _ in first} == {200}, first
    assert first[::2] == first[1::2] and len(set(first)) == 3, first
    assert ask(node, sessions) == first
    assert handed(node) == {"asked": 144}, handed(node)
    assert node.decisions() == {"least_loaded": 36, "sticky": 108}, node.decisions()
    # A gateway that says `Connection: close` itself is left as it is.
    rewritten = set(oneshots(node))
    assert len(rewritten) == 1 and rewritten <= {"rewritten_other_header", "left_close"}, rewritten


@case(each=GATEWAYS, timeout=120)
def test_prompts_go_where_their_beginning_is(node, gateway):
    """No session is named, and all come from one address."""
    node.add_client()
    node.steer(hashing(node, 4), **PREFIX, **EACH)
    start(node, gateway)
    believed(node)
    before, met = found(node), {}
    beginnings = [text(6000) for _ in range(8)]
    for _ in range(3):
        for i, beginning in enumerate(beginnings):
            met.setdefault(i, set()).add(ask_prompt(node, beginning + text(600)))
            wait_for(lambda: not any(prompts(node).values()), what="a pass, by which the request is answered")
    assert all(len(servers) == 1 for servers in met.values()), met
    assert len(set.union(*met.values())) > 1, met
    more = {what: n - before[what] for what, n in found(node).items()}
    assert (more["seen"], more["known"], more["met"]) == (24, 16, 16), more


@case(each=("nginx installed", "haproxy installed", "envoy"))
def test_a_server_dies(node, gateway):
    """The next request of its users goes to another server, with no retry: nobody was connected to it."""
    node.add_client()
    servers = node.servers(3)
    node.steer(servers, **BY_SESSION, **EACH)
    start(node, gateway)
    names = [name for _, name in ask(node, USERS)]
    victim = next(s for s in servers if names.count(s.name) > 3)
    victim.kill()
    answers = ask(node, USERS)
    assert {status for status, _ in answers} == {200} and victim.name not in {name for _, name in answers}, answers


@case(each=("installed", "trixie"))
def test_nginx_by_http_1_0(node, origin):
    """An nginx before 1.29.7 without the line is served, but as one session."""
    if nginx_version(node, origin) >= (1, 29, 7):
        raise Skip("this one asks by HTTP/1.1")
    node.add_client()
    node.steer(node.servers(3), **BY_SESSION, **EACH)
    start(node, f"nginx {origin}", version="")
    assert {status for status, _ in ask(node, USERS)} == {200}
    assert handed(node) == {"not_http": len(USERS)}, handed(node)
