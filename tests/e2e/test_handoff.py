# SPDX-License-Identifier: Apache-2.0
"""decide: request: the first request of a connection says its session, and then the connection is
handed to the server that the rule chooses."""
import collections
import contextlib
import hashlib
import ipaddress
import json
import os
import signal
import socket
import struct
import sys
import time

import tc
from clients import FRONTEND, NODE_ADDRESS, source, split
from harness import case
from kernel import HERE, inside, trying, wait_for
from packages import library
from packets import FLAGS, segment
from packets import send as send_segments
from servers import vllm_page
from test_oneshot import oneshots

HANDED = {"decide": "request", "stickiness": {"key": "header/x-session-id, source"}}
WHERE = ("v4", "v6", "v4 remote", "v6 remote")
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nX-Session-Id: %s\r\nConnection: close\r\n\r\n"


def handed(pins, pool="pool"):
    """{what the hand-off did: connections}, without the zeros."""
    return {row["hand"]: row["connections"] for row in pins.cli("stats")
            if row["pool"] == pool and row["connections"]}


def filters(node):
    """Devices with the hand-off."""
    return set(tc.attached(node, node.netns, "pintle_hand"))


def ask(node, headers, frm=None, *, family="v4", remote=True):
    with node.connect(FRONTEND[family], frm, remote=remote) as c:
        return c.ask(close=True, headers=headers)


class Hashing:
    """A server that says which body it got."""

    def __init__(self, node, name, port):
        self.name, self.listen = name, str(port)
        page = node.write(f"{name}.page", vllm_page())
        self.process = node.popen([sys.executable, "-B", HERE / "hashing.py", name, port, page],
                                  log=f"{name}.log")
        wait_for(lambda: self.answers(node), what=f"{name} listens")

    def answers(self, node):
        try:
            node.connect(f"127.0.0.1:{self.listen}", timeout=1).close()
            return True
        except OSError:
            return False


def hashing(node, count):
    return [Hashing(node, f"s{i}", 8001 + i) for i in range(count)]


# -- sessions ------------------------------------------------------------------------


@case(each=WHERE)
def test_each_session_keeps_its_server(node, where):
    """Sessions from one address, told apart by a header, keep a server each."""
    family, remote = where[:2], "remote" in where
    node.add_client()
    node.steer(node.servers(4), **HANDED)
    assert filters(node) == {"lo", "veth0"}
    met = {}
    for _ in range(4):
        for session in range(8):
            server = ask(node, {"X-Session-Id": f"s{session}"}, family=family, remote=remote)
            met.setdefault(session, set()).add(server)
    assert all(len(servers) == 1 for servers in met.values()), met
    assert len(set.union(*met.values())) > 1
    assert handed(node) == {"asked": 32}
    assert sum(node.decisions().values()) == 32
    assert node.decisions()["sticky"] == 24
    wait_for(lambda: not any(node.in_flight().values()))


def sessions(node):
    return {row["session"] for row in node.cli("sessions")}


def test_what_names_a_session(node):
    """The first key of the list that the request has; its whole value, without blanks around it."""
    node.add_client()
    node.steer(node.servers(2), decide="request",
               stickiness={"key": ["header/x-session-id", "cookie/sid", "authorization", "source/32"]})
    same = [
        ({"X-Session-Id": "a"}, {"x-session-id": "  a\t", "Authorization": "other"}),
        ({"Cookie": "sid=a"}, {"Cookie": "x=sid=b; sid=a; y=c", "Authorization": "other"}),
        ({"Authorization": "Bearer " + "x" * 2000}, {"authorization": "Bearer " + "x" * 2000}),
        ({"X-Session-Id": "", "Cookie": "nosid=1; si=2"}, {"X-Other": "a"}),
    ]
    known = set()
    for one, other in same:
        ask(node, one)
        new = sessions(node) - known
        assert len(new) == 1, (one, new)
        ask(node, other)
        assert sessions(node) == known | new, other
        known |= new
    ask(node, {"Authorization": "Bearer " + "x" * 1999 + "y"})
    assert len(sessions(node)) == 5
    assert sum(s.startswith("request:") for s in sessions(node)) == 4
    assert handed(node) == {"asked": 7, "not_said": 2}


@case(each=(False, True))
def test_other_clients_sessions(node, shared):
    """A client that names the session of another address has its own, unless sessions are shared."""
    node.add_client()
    node.steer(node.servers(2), decide="request",
               stickiness={"key": "header/x-session-id, source", "shared": shared})
    for client in (1, 2):
        ask(node, {"X-Session-Id": "a"}, source(client, remote=True))
    assert len(sessions(node)) == (1 if shared else 2)


def test_sessions_count_for_their_host(node):
    """All sessions that a client names count for its own address, so that it drives out its own."""
    node.add_client()
    node.steer(node.servers(2), **HANDED)
    for client, count in ((1, 5), (2, 3)):
        for i in range(count):
            ask(node, {"X-Session-Id": str(i)}, source(client, remote=True))
    pin = next(node.bpffs.rglob("shares"))
    rows = json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout)
    counts = {row["formatted"]["key"]: row["formatted"]["value"] for row in rows}
    v4 = 1 << 48  # PINTLE_CLIENT_V4
    hosts = {v4 | int(ipaddress.ip_address(source(client, remote=True))): count for client, count in ((1, 5), (2, 3))}
    assert counts == hosts, (counts, hosts)


def test_a_session_can_be_unbound(node):
    node.add_client()
    node.steer(node.servers(2), **HANDED)
    ask(node, {"X-Session-Id": "a"})
    (session,) = sessions(node)
    refused = node.pintle("unbind", session[:-1], "--pool", "pool", check=False)
    assert refused.returncode == 2 and "request:HASH" in refused.stderr, refused.stderr
    node.pintle("unbind", session, "--pool", "pool")
    assert not sessions(node)


# -- requests of every shape ----------------------------------------------------------


def exchange(node, pieces, *, family="v4", remote=True, pause=0.05, end=False):
    """Sends the pieces as segments of their own, with `end` a FIN behind them, and returns all that
    comes back; None: reset."""
    with node.connect(FRONTEND[family], remote=remote) as c:
        for i, piece in enumerate(pieces):
            if i:
                time.sleep(pause)  # so that they do not leave together
            c.sock.sendall(piece)
        if end:
            c.half_close()
        got = b""
        try:
            while data := c.sock.recv(65536):
                got += data
        except ConnectionResetError:
            return None
        return got.decode()


def post(body, *headers, session=b"s"):
    head = b"POST / HTTP/1.1\r\nHost: a\r\nX-Session-Id: %s\r\nConnection: close\r\n" % session
    return head + b"".join(h + b"\r\n" for h in headers) + b"Content-Length: %d\r\n\r\n" % len(body)


@case(each=WHERE)
def test_bodies_arrive(node, where):
    """Bodies of all sizes, in the segment of the headers and behind it, arrive as they were sent."""
    family, remote = where[:2], "remote" in where
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    count = 0
    for size in (0, 1, 100, 1399, 5000, 70000, 1000000):
        body = os.urandom(size)
        want = hashlib.sha256(body).hexdigest()
        for pieces in ([post(body) + body], [post(body), body], [post(body), body[:7], body[7:]]):
            got = exchange(node, [p for p in pieces if p], family=family, remote=remote, pause=0.01)
            assert got and got.endswith(want), (size, len(pieces), got)
            count += 1
    assert handed(node) == {"asked": count}


def test_shapes_of_requests(node):
    """What the hand-off says of each, and that the server gets all of it."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    empty = hashlib.sha256(b"").hexdigest()
    said = {}

    def shape(how, pieces, want):
        got = exchange(node, pieces, end=want is None)
        assert want is None or (got and want in got), (how, got)
        said[how] = said.get(how, 0) + 1
        assert handed(node) == said, (how, handed(node))

    whole = REQUEST % b"a"
    shape("asked", [whole], empty)
    shape("asked", [whole[:42], whole[42:]], empty)              # the header is in the first piece
    shape("asked", [whole[:20], whole[20:]], empty)              # it is not
    shape("asked", [whole[:1], whole[1:]], empty)
    shape("asked", [b"GET / HTTP/1.1\r\nX-Big: " + b"x" * 1000 + whole[14:]], empty)
    shape("not_said", [whole.replace(b"X-Session-Id", b"X-Other")], empty)
    shape("malformed", [b"GET / HTTP/1.1\r\nConnection : close\r\n" + whole[16:]], None)
    shape("not_http", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n"], None)
    shape("not_http", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], None)
    assert sum(node.decisions().values()) == sum(said.values())


def test_expect_continue(node):
    """curl waits for 100 Continue before it sends the body."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    body = os.urandom(20000)
    (node.dir / "body").write_bytes(body)
    out = node.run("curl", "-sS", "--fail", "-H", "X-Session-Id: a", "-H", "Expect: 100-continue",
                   "--data-binary", f"@{node.dir}/body", f"http://{FRONTEND['v4']}/",
                   netns=node.client_netns).stdout
    assert out.split()[1] == hashlib.sha256(body).hexdigest()
    assert handed(node) == {"asked": 1}


def test_the_end_behind_the_request(node):
    """A client that shuts its side down right behind the request is answered."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    with node.connect(FRONTEND["v4"], remote=True) as c:
        c.sock.sendall(REQUEST % b"a")
        c.half_close()
        assert c.read().startswith("s0")


def test_no_request(node):
    """A client that closes, or resets, without a request leaves nothing but a count, and ends at once."""
    node.add_client()
    node.steer(node.servers(1), **HANDED)
    c = node.connect(FRONTEND["v4"], remote=True)
    c.half_close()
    c.sock.settimeout(5)
    try:
        assert c.sock.recv(1) == b""
    except ConnectionResetError:
        pass
    c.close()
    assert handed(node) == {"no_request": 1}
    node.connect(FRONTEND["v4"], remote=True).reset()
    wait_for(lambda: handed(node) == {"no_request": 2})
    assert sum(node.decisions().values()) == 0
    assert node.open_connections() == 0


def test_a_late_request(node):
    """A client that is quiet for a while, and probes the connection meanwhile, is served then."""
    node.add_client()
    node.steer(node.servers(1), **HANDED)
    with node.connect(FRONTEND["v4"], remote=True) as c:
        for option, value in (("TCP_KEEPIDLE", 1), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 1)):
            c.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        c.sock.settimeout(4)
        try:
            c.sock.recv(1)  # three unanswered probes would end it
            assert False, "nothing was to come"
        except TimeoutError:
            pass
        c.sock.settimeout(10)
        assert c.ask(close=True, headers={"X-Session-Id": "a"}) == "s0"
    assert handed(node) == {"asked": 1}


def lose_segments(node, percent=2):
    """Drops so many of the segments as they enter and leave both namespaces: before and behind the hand-off."""
    for netns in (node.netns, node.client_netns):
        node.run("nft", "add table inet t; " + "; ".join(
            f"add chain inet t {hook} {{ type filter hook {hook} priority 0; }}; "
            f"add rule inet t {hook} tcp {end} 8000 numgen random mod 100 < {percent} drop"
            for hook in ("input", "output") for end in ("dport", "sport")), netns=netns)


def test_loss(node):
    """With segments lost on both sides every request is answered, and each session keeps its server."""
    node.add_client()
    node.steer(hashing(node, 3), **HANDED)
    lose_segments(node)
    met = {}
    for i in range(60):
        session, body = b"s%d" % (i % 6), os.urandom(4000 * (i % 5))
        got = exchange(node, [post(body, session=session) + body])
        server, sum_ = got.rsplit("\r\n", 1)[1].split()
        assert sum_ == hashlib.sha256(body).hexdigest()
        met.setdefault(session, set()).add(server)
    assert all(len(servers) == 1 for servers in met.values()), met


@case(each=("lo", "veth", "lo v6", "veth v6"))
def test_the_same_port_again(node, where):
    """A connection from the port of one that the server has closed is placed by what it asks: its SYN
    ends the former one."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    remote, family = "veth" in where, "v6" if "v6" in where else "v4"
    frm = (source(5, family, remote=remote), 33333)
    for i in range(20):
        body = os.urandom(1000 * i)
        with node.connect(FRONTEND[family], frm, remote=remote) as c:
            c.sock.sendall(post(body, session=b"%d" % (i % 4)) + body)
            got = b""
            while data := c.sock.recv(65536):  # the server closes first
                got += data
        assert got.decode().endswith(hashlib.sha256(body).hexdigest())
        wait_for(lambda: "TIME-WAIT" in node.run("ss", "-tan", "sport = 8000", netns=node.netns).stdout)
    assert handed(node) == {"asked": 20}
    assert len(sessions(node)) == 4


@case(each=("baseline", "shadow"))
def test_the_same_port_again_without_a_session(node, mode):
    """What a connection named in a mode that binds no session, the next one from its port does not."""
    node.add_client()
    node.steer(node.servers(2), **HANDED)
    frm = (source(5, remote=True), 33333)
    for headers, in_mode in (({"X-Session-Id": "a"}, mode), ({}, "enforce")):
        node.pintle("mode", "pool", in_mode)
        with node.connect(FRONTEND["v4"], frm, remote=True) as c:
            c.ask(headers=headers)
            c.reset()  # so that the port is free at once
    assert not any(s.startswith("request:") for s in sessions(node)), sessions(node)
    assert handed(node) == {"asked": 1, "not_said": 1}


def at_port_8000(node, frm):
    """The node's sockets of connections from there."""
    host = f"[{frm[0]}]" if ":" in frm[0] else frm[0]
    return node.run("ss", "-tan", f"sport = 8000 and dst {host}:{frm[1]}", netns=node.netns).stdout


@case(timeout=90)
def test_one_request_from_the_same_port_again(node):
    """The reset with which the hand-off ends a former connection says nothing about the next one from its port: that,
    too, has one request."""
    node.add_client()
    node.steer(hashing(node, 2), requests="one-per-connection", **HANDED)
    request = REQUEST.replace(b"Connection: close", b"Connection: keep-alive") % b"a"
    for n, where in enumerate(WHERE, 1):
        family, remote = where[:2], "remote" in where
        frm = (source(5, family, remote), 33333)
        for _ in range(6):
            with trying(where), node.connect(FRONTEND[family], frm, remote=remote) as c:
                c.sock.sendall(request)
                while c.sock.recv(65536):  # until the server closes
                    pass
            wait_for(lambda: "TIME-WAIT" in at_port_8000(node, frm), what=f"the end, {where}")  # noqa: B023
        assert handed(node) == {"asked": 6 * n}, (where, handed(node))


@case(each=(1, 2), timeout=90)
def test_the_same_port_again_with_a_reset_lost(node, lost):
    """Where the reset that was to end the former connection is lost behind the hand-off, the client's ACK ends it; where
    that reset is lost, too, the request does, and is sent again. The server closes the next connection, too, after its
    request."""
    node.add_client()
    node.steer(hashing(node, 2), requests="one-per-connection", **HANDED)
    for n, where in enumerate(WHERE, 1):
        family, remote = where[:2], "remote" in where
        frm = (source(5, family, remote), 33333)
        node.run("nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }; "
                 f"add rule inet t in tcp dport 8000 tcp flags & rst == rst numgen inc mod {lost + 1} < {lost} "
                 "counter drop", netns=node.netns)
        for _ in range(4):
            body = os.urandom(1000)
            with trying(where), node.connect(FRONTEND[family], frm, remote=remote) as c:
                c.sock.sendall(post(body, session=b"a").replace(b": close", b": keep-alive") + body)
                got = b""
                while data := c.sock.recv(65536):  # the server closes first
                    got += data
            assert got.decode().endswith(hashlib.sha256(body).hexdigest()), where
            wait_for(lambda: "TIME-WAIT" in at_port_8000(node, frm), what=f"the end, {where}")  # noqa: B023
        assert handed(node) == {"asked": 4 * n}, where
        assert oneshots(node) == {"rewritten_connection": 4 * n}, where
        assert f"packets {3 * lost} " in node.run("nft", "list", "table", "inet", "t", netns=node.netns).stdout, where
        node.run("nft", "delete table inet t", netns=node.netns)


def test_one_request_where_only_the_version_is_left(node):
    """HTTP/1.0 is written behind the hand-off, which knows the session of HTTP/1.1 alone."""
    node.add_client()
    node.steer(node.servers(4), requests="one-per-connection",
               spareHeaders="none", http10=True, **HANDED)
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Session-Id: %s\r\n\r\n"
    for session in (b"a", b"b", b"a"):
        assert "\r\n\r\n" in exchange(node, [request % session])  # read until the server closes
    assert handed(node) == {"asked": 3}
    assert oneshots(node) == {"rewritten_version": 3}
    assert len(sessions(node)) == 2


def test_one_request_while_the_hand_off_rests(node):
    """One-shot ends the connections that the kernel begins, before and behind those of the hand-off."""
    node.add_client()
    node.steer(hashing(node, 2), requests="one-per-connection", **HANDED)
    request = REQUEST.replace(b"Connection: close", b"Connection: keep-alive") % b"a"
    for remote in (True, False):
        assert exchange(node, [request], remote=remote)  # read until the server closes
        node.pintle("set", "pool", "decide=connection")
        assert exchange(node, [request], remote=remote)
        node.pintle("reset", "pool", "decide")
        assert exchange(node, [request], remote=remote)
    assert handed(node) == {"asked": 4}
    assert oneshots(node) == {"rewritten_connection": 6}
    node.pintle("set", "pool", "requests=as-they-come")
    node.pintle("set", "pool", "decide=connection")
    pin = next(node.bpffs.rglob("oneshot_flows"))
    flows = node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout
    assert exchange(node, [REQUEST % b"a"])
    assert node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout == flows, "nothing is noted that nobody wants"


def test_the_same_port_again_by_the_kernel(node):
    """Where a reset does not end a TIME-WAIT (tcp_rfc1337), the kernel answers, and places by address."""
    node.add_client()
    node.run("sysctl", "-qw", "net.ipv4.tcp_rfc1337=1", netns=node.netns)
    node.steer(node.servers(2), **HANDED)
    frm = (source(5, remote=True), 33333)
    for _ in range(3):
        with node.connect(FRONTEND["v4"], frm, remote=True) as c:
            assert c.ask(close=True, headers={"X-Session-Id": "a"}) in ("s0", "s1")
            assert c.sock.recv(1) == b""
    assert handed(node) == {"asked": 1, "by_connection": 2}


@case(timeout=120)
def test_openai(node):
    """The package openai, with a session header: each conversation keeps its server."""
    python = library("python") / "bin/python"
    node.add_client()
    servers = node.servers(3)
    node.steer(servers, requests="one-per-connection", **HANDED)
    script = """
import sys, openai
for session in range(4):
    client = openai.OpenAI(base_url=f"http://{sys.argv[1]}/v1", api_key="none", max_retries=0,
                           default_headers={"X-Session-Id": str(session)})
    for turn in range(3):
        print(session, client.with_raw_response.models.list().http_response.text)
"""
    out = node.run(python, "-B", "-c", script, FRONTEND["v4"], netns=node.client_netns, timeout=60).stdout
    met = {}
    for line in out.splitlines():
        session, server = line.split()
        met.setdefault(session, set()).add(server)
    assert len(met) == 4 and all(len(servers) == 1 for servers in met.values()), met
    # The server closed behind each request: each came by itself, and was placed by its session.
    assert handed(node) == {"asked": 12}


def bridged(node, of):
    """A client behind a port of a bridge, whose frames are for the address of `of`: both have the program. One for the
    port's is handed over twice, since the bridge takes the socket off it."""
    node.add_client()
    node.ip("link", "add", "br0", "type", "bridge")
    node.ip("link", "set", "br0", "address", "02:00:00:00:00:02" if of == "veth0" else "02:00:00:00:00:01")
    node.ip("link", "set", "veth0", "address", "02:00:00:00:00:02")
    node.ip("addr", "flush", "dev", "veth0")
    node.ip("link", "set", "veth0", "master", "br0")
    node.ip("link", "set", "br0", "up")
    node.ip("addr", "add", f"{NODE_ADDRESS['v4']}/24", "dev", "br0")


@case(each=("br0", "veth0"))
def test_by_a_bridge(node, of):
    bridged(node, of)
    node.steer(node.servers(2), **HANDED)
    assert exchange(node, [REQUEST % b"a"])
    assert handed(node) == {"asked": 1}
    assert sum(node.decisions().values()) == 1


@case(each=("br0", "veth0"))
def test_one_request_by_a_bridge(node, of):
    """What makes the server close is written once, also where the cut between two pieces is within it."""
    bridged(node, of)
    node.steer(hashing(node, 2), requests="one-per-connection", **HANDED)
    request = REQUEST.replace(b"Connection: close", b"Connection: keep-alive") % b"a"
    spare = request.replace(b"Connection: keep-alive", b"Accept-Encoding: gzip, deflate, br")
    at = request.index(b"Connection")
    for whole, cuts in ((request, (None, at + 17)), (spare, (None, at + 10))):
        for cut in cuts:
            assert exchange(node, [whole] if cut is None else [whole[:cut], whole[cut:]])  # until the server closes
    assert handed(node) == {"asked": 4}
    assert oneshots(node) == {"rewritten_connection": 2, "rewritten_other_header": 2}


@case(each=("br0", "veth0"))
def test_the_version_by_a_bridge(node, of):
    """HTTP/1.0, as the first hand-over has written it, hides no model from the second."""
    bridged(node, of)
    node.steer(node.servers(2), requests="one-per-connection", spareHeaders="none", http10=True, models={"m": "pool"},
               **HANDED)
    body = b'{"model": "m"}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX-Session-Id: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert exchange(node, [head + body]).startswith("HTTP/1.")  # until the server closes
    assert handed(node) == {"asked": 1}
    assert oneshots(node) == {"rewritten_version": 1}
    assert sum(node.decisions().values()) == 1


# -- when something is missing ----------------------------------------------------------


def test_restart_between_handshake_and_request(node):
    """Handshakes that have begun go on, without a daemon and with the next."""
    node.add_client()
    servers = node.servers(2)
    daemon = node.steer(servers, **HANDED)
    early = [node.connect(FRONTEND["v4"], remote=True) for _ in range(3)]
    daemon.kill()
    assert early[0].ask(close=True, headers={"X-Session-Id": "a"})
    assert ask(node, {"X-Session-Id": "b"})  # a handshake without a daemon
    node.daemon(node.config(node.pool(servers, **HANDED)))
    assert early[1].ask(close=True, headers={"X-Session-Id": "a"})
    node.pintle("mode", "pool", "off")
    node.pintle("mode", "pool", "enforce")
    assert early[2].ask(close=True, headers={"X-Session-Id": "a"})
    assert handed(node) == {"asked": 4}
    for c in early:
        c.close()


def test_detached(node):
    """`pintled --detach` takes the program off all devices, and what was there is there again."""
    node.add_client()
    before = tc.clsacts(node, node.netns)
    daemon = node.steer(node.servers(1), **HANDED)
    assert filters(node) == {"lo", "veth0"}
    ask(node, {"X-Session-Id": "a"})
    daemon.stop()
    assert filters(node) == {"lo", "veth0"}
    node.detach()
    assert not filters(node) and tc.clsacts(node, node.netns) == before


def test_by_connection_again(node):
    """A reload takes the program away, and open connections go on."""
    node.add_client()
    servers = node.servers(2)
    daemon = node.steer(servers, **HANDED)
    with node.connect(FRONTEND["v4"], remote=True) as c:
        first = c.ask(headers={"X-Session-Id": "a"})
        daemon.reload(node.config(node.pool(servers)))
        wait_for(lambda: not filters(node))
        assert c.ask(headers={"X-Session-Id": "b"}) == first
    assert node.ask(FRONTEND["v4"], remote=True) in ("s0", "s1")
    daemon.reload(node.config(node.pool(servers, **HANDED)))
    wait_for(lambda: filters(node) == {"lo", "veth0"})
    assert ask(node, {"X-Session-Id": "a"})
    assert handed(node)["asked"] == 2


def test_mode_off(node):
    """The frontend is what it is without Pintle: whoever listens there serves it."""
    node.add_client()
    own = node.server("own", f"{NODE_ADDRESS['v4']}:8000")
    node.steer(node.servers(1), frontends=[f"{NODE_ADDRESS['v4']}:8000"], announce=False, **HANDED)
    to = own.listen
    for mode, name in (("enforce", "s0"), ("off", "own"), ("enforce", "s0")):
        node.pintle("mode", "pool", mode)
        with node.connect(to, remote=True) as c:
            assert c.ask(close=True, headers={"X-Session-Id": "a"}) == name, mode
    assert handed(node) == {"asked": 2}


def overflows(node):
    """Segments that the kernel has refused because a listener's queue was full."""
    return int(node.run("nstat", "-asz", "TcpExtListenOverflows", netns=node.netns).stdout.split()[-2])


def accept_and_end(listener):
    """Accepts one connection, and reads until its client has ended it."""
    listener.settimeout(20)
    with listener.accept()[0] as c:
        while c.recv(64):
            pass


class Unattended:
    """A server with room for two connections in its queue, that accepts none but pintled's own until it is asked to, and
    then answers each with its name."""

    def __init__(self, node, name, port):
        self.name, self.listen = name, str(port)
        with inside(node.netns):
            self.sock = socket.create_server(("", port), backlog=1)

    def heard(self):
        """Accepts pintled's own connection, which tells it that somebody does; before, the endpoint is not ready."""
        accept_and_end(self.sock)

    def serve(self, count):
        """Accepts so many, and returns the sessions that they name."""
        self.sock.settimeout(20)
        met = []
        for _ in range(count):
            c, _ = self.sock.accept()
            with c:
                c.settimeout(10)
                got = b""
                while b"\r\n\r\n" not in got:
                    got += c.recv(65536)
                met.append(got.split(b"X-Session-Id: ")[1].split(b"\r\n")[0])
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.name), self.name.encode()))
        return met


@case(each=("whole", "in pieces"))
def test_a_full_accept_queue(node, how):
    """The kernel refuses what the hand-off gives to a listener whose queue is full, as it refuses a handshake's end.
    The client sends its request again until there is room: that counts nothing anew."""
    node.add_client()
    server = Unattended(node, "s0", 8001)
    node.server("pages", 8002)
    node.steer([{"name": "s0", "listen": "8001", "metrics": "http://127.0.0.1:8002/metrics"}], **HANDED)
    server.heard()
    wait_for(lambda: node.endpoint("s0")["state"] == "ready")
    clients = [node.connect(FRONTEND["v4"], remote=True) for _ in range(8)]
    for i, c in enumerate(clients):
        request = REQUEST % b"%d" % i
        for piece in [request] if how == "whole" else [request[:25], request[25:]]:
            c.sock.sendall(piece)
    wait_for(lambda: overflows(node) > 12, what="requests that come again, and are refused again")
    assert sum(node.decisions().values()) == 8
    assert handed(node) == {"asked": 8}, handed(node)
    assert sorted(server.serve(8)) == [b"%d" % i for i in range(8)]
    assert all(c.read() == "s0" for c in clients)
    assert handed(node) == {"asked": 8}
    row = node.endpoint("s0")
    assert row["placed"] - row["failed"] == 8, row
    for c in clients:
        c.close()
    wait_for(lambda: not any(node.in_flight().values()))


@case(each=WHERE)
def test_drain(node, where):
    """A drained endpoint gets no further session, nor a request of those that it had; open connections go on."""
    family, remote = where[:2], "remote" in where
    node.add_client()
    node.steer(node.servers(2), **HANDED)

    def served(sessions):
        return {i: ask(node, {"X-Session-Id": f"s{i}"}, family=family, remote=remote) for i in sessions}

    before = served(range(24))  # all at one server once in millions of times
    name = before[0]
    other = "s1" if name == "s0" else "s0"
    assert set(before.values()) == {name, other}, before
    with node.connect(FRONTEND[family], remote=remote) as c:
        assert c.ask(headers={"X-Session-Id": "s0"}) == name
        node.pintle("drain", name)
        assert set(served(range(36)).values()) == {other}
        assert c.ask(headers={"X-Session-Id": "s0"}) == name
    node.pintle("undrain", name)
    wait_for(lambda: node.endpoint(name)["in_flight"] == 0)
    new = iter(range(100, 10000, 30))  # sessions that have no server yet
    wait_for(lambda: name in served(range(first := next(new), first + 30)).values())
    assert set(handed(node)) == {"asked"}


@case(each=("accepts nothing", "answers nothing"))
def test_a_server_that_stands_still(node, how):
    """It gets no connection but a try now and then, whatever session the request names; its own sessions leave it."""
    node.add_client()
    servers = node.servers(2)
    daemon = node.steer(servers, **HANDED)
    mine = [i for i in range(12) if ask(node, {"X-Session-Id": f"s{i}"}) == "s0"]
    assert mine
    if how == "accepts nothing":
        servers[0].process.send_signal(signal.SIGSTOP)
    else:
        servers[0].be(held=True)
    open_ = []

    def state():
        return next(e["state"] for e in node.cli("endpoints") if e["name"] == "s0")

    def send(session):
        c = node.connect(FRONTEND["v4"], remote=True)
        c.send("/", headers={"X-Session-Id": f"s{session}"})
        open_.append(c)

    def told():
        # Fifty sessions are enough to reach both servers; the verdict then needs time, and no more of them.
        if state() not in ("stopped", "stalled") and len(open_) < 50:
            send(100 + len(open_))
        return state() in ("stopped", "stalled")

    def counts():
        return node.endpoint("s0")["placed"], node.decisions().get("tried", 0)

    wait_for(told, 20)
    placed, tried = counts()
    for i in mine + list(range(200, 220)):
        send(i)
    # What is sent is decided soon.
    wait_for(lambda: sum(handed(node).values()) == 12 + len(open_))
    after, tries = counts()
    assert state() in ("stopped", "stalled") and after - placed == tries - tried, (placed, tried, after, tries)
    assert "stalls" in daemon.log() or "has stopped" in daemon.log()
    if how == "accepts nothing":
        servers[0].process.send_signal(signal.SIGCONT)
    else:
        servers[0].be(held=False)
        servers[0].release()
    for c in open_:
        assert c.read() in ("s0", "s1")
        c.close()
    assert set(handed(node)) == {"asked"}


def test_nodes_of_one_key_know_the_same_sessions(node):
    """What a session is called follows from node.keyFile: with the same key, also after everything pinned is gone, or on
    another node, it is the same session; with another key, or one that is drawn, another."""
    node.add_client()
    servers = node.servers(2)

    def called(key, content=b""):
        if content:
            (node.dir / "key").write_bytes(content)
        daemon = node.daemon(node.config(node.pool(servers, **HANDED), keyFile=key))
        ask(node, {"X-Session-Id": "a"})
        found = sessions(node)
        assert len(found) == 1 and next(iter(found)).startswith("request:"), found
        daemon.stop()
        return found

    path = str(node.dir / "key")
    first = called(path, b"0123456789abcdef")
    # With the pins of the daemon before: the session is bound, and its name has stayed.
    assert called(path) == first and node.decisions().get("sticky") == 1
    node.detach()
    assert called(path, b"0123456789abcdef") == first
    node.detach()
    assert called(path, b"0123456789abcdeg") != first
    node.detach()
    drawn = called(None)
    assert drawn != first
    node.detach()
    assert called(None) not in (first, drawn)


def test_nobody_serves(node):
    """Without a server the request is answered by a reset, at once, and counted."""
    node.add_client()
    (server,) = node.servers(1)
    node.steer([server], **HANDED)
    server.kill()
    wait_for(lambda: exchange(node, [REQUEST % b"a"]) is None)
    assert handed(node)["nobody"] >= 1


def test_refused_by_access(node):
    """Who may not connect gets a reset for the request."""
    node.add_client()
    node.steer(node.servers(1), access={"allow": [{"source": "192.0.2.0/24"}]}, **HANDED)
    assert exchange(node, [REQUEST % b"a"]) is None
    assert handed(node) == {"nobody": 1}
    assert node.decisions()["forbidden"] == 1


# -- who misuses it --------------------------------------------------------------------------


class Resets:
    """The resets that come to the clients' namespace from the frontend: {(address, port): how many}."""

    def __init__(self, node):
        with inside(node.client_netns):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
            self.sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        self.sock.setblocking(False)
        self.got = collections.Counter()

    def read(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = self.sock.recv(2048)
                frm, to = struct.unpack("!HH", packet[20:24])
                if packet[33] & FLAGS["RST"] and frm == split(FRONTEND["v4"])[1]:
                    self.got[socket.inet_ntoa(packet[16:20]), to] += 1
        return self.got


def test_spoofed(node):
    """SYNs, stray ACKs and resets from anybody leave nothing, and open nothing. One ACK of 4,096 looks by chance as if it
    were ahead of a handshake's first segment, and is dropped. So the ACKs that were answered come again: each one is
    answered and counted again."""
    def send(some, kind, answers=None):
        for i in range(0, len(some), 100):  # a veth with XDP has room for 256 packets
            send_segments(node.client_netns, some[i:i + 100], split(FRONTEND["v4"]), kind)
            if answers:
                wait_for(lambda sent=some[:i + 100]: answers(sent), what="resets")

    node.add_client()
    node.steer(node.servers(1), **HANDED)
    sources = [(source(i, remote=True), 2000 + i) for i in range(200)]
    send(sources, "SYN")
    resets = Resets(node)
    send(sources, "ACK", lambda sent: len(resets.read()) >= len(sent) - 10)
    answered = list(resets.got)
    send(answered, "ACK", lambda sent: all(resets.read()[s] == 2 for s in sent))
    send(sources, "RST")
    assert ask(node, {"X-Session-Id": "a"}) == "s0"
    assert sum(node.decisions().values()) == 1
    wait_for(lambda: handed(node) == {"asked": 1, "stray": resets.read().total()})
    assert set(resets.got) <= set(sources)
    wait_for(lambda: not any(node.in_flight().values()))
    assert len(sessions(node)) == 1


def test_data_of_a_connection_that_is_over(node):
    """The client is told by a reset, not left to wait for minutes."""
    node.add_client()
    node.steer(node.servers(1), **HANDED)
    frm = (source(7, remote=True), 44444)
    with inside(node.client_netns):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        answers = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    data = segment(frm, split(FRONTEND["v4"]), FLAGS["ACK"], b"some data!")
    with raw, answers:
        raw.sendto(data, (split(FRONTEND["v4"])[0], 0))
        answers.settimeout(5)
        answer = answers.recv(2048)
    assert answer[20:24] == struct.pack("!HH", 8000, 44444) and answer[33] & FLAGS["RST"]
    assert handed(node) == {"stray": 1}
    assert sum(node.decisions().values()) == 0


def test_refused_configurations(node):
    """`pintle check` says what is wrong, and what would be right."""
    cases = [
        ({"decide": "request", "stickiness": {"key": "source"}}, "names nothing of a request"),
        ({"stickiness": {"key": "header/x, source"}}, "write decide: request"),
        ({"decide": "request", "stickiness": {"key": "header/, source"}}, "write header/NAME"),
        ({"decide": "request", "stickiness": {"key": "header/x, header/X"}}, "write each once"),
        ({"decide": "request", "stickiness": {"key": [f"header/x-{i}" for i in range(9)]}}, "at most eight"),
        ({"decide": "request", "stickiness": {"key": "request"}}, "which is not known"),
        ({"decide": "request", "stickiness": {"key": "header/x; source"}}, "write"),
        ({"decide": "request", "stickiness": {"key": "header/x, client"}}, "which Pintle cannot see"),
    ]
    for keys, says in cases:
        path = node.write("wrong.yaml", node.config(node.pool([{"name": "a", "listen": "8001"}], **keys)))
        result = node.pintle("check", path, check=False)
        assert result.returncode == 2 and says in result.stderr, (keys, result.stderr)
    connect = node.pool([{"name": "a", "address": "127.0.0.1:8001"}], announce=False, **HANDED)
    result = node.pintle("check", node.write("wrong.yaml", node.config(connect)), check=False)
    assert result.returncode == 2 and "which no pod of this node has" in result.stderr, result.stderr
