# SPDX-License-Identifier: Apache-2.0
"""decide: request with splice: a client's pod on one node, servers on others. The program at the client's device answers
the SYN, reads the request, decides, opens a connection to the server, and translates all that follows."""
import hashlib
import itertools
import json
import os
import re
import socket
import struct
import subprocess
import time

import tc
from clients import split
from harness import Skip, case
from kernel import BUILD, wait_for
from packets import FLAGS, segment
from pods import CLOSED_BY_RESET, SERVICE, Cluster, mapped
from test_handoff import handed as did
from test_handoff import post
from test_in_pods import Hashing
from test_hold import steps
from test_oneshot import oneshots
from test_prompts import PREFIX, found, text
from test_takeover import NOW, VARIANTS
from test_trace_pools import trace


ALL = 0  # in `splice_shares`: of all clients


def spliced(node, count=2, *, family="v4", hashing=False, bridged=False, binary=None, **more):
    """Servers on the second and the third of three nodes, and a client's pod on the first."""
    cluster = Cluster(node, 3)
    if bridged:
        cluster.machines[0].bridge()
    servers = []
    for i in range(count):
        pod = cluster.machines[1 + i % 2].pod(f"s{i}")
        if hashing:
            Hashing(pod)
        else:
            pod.server()
        servers.append(pod)
    client = cluster.pod("client")
    pool = pool_of(cluster, servers, family, **more)
    daemon = cluster.daemon(cluster.config(pool), binary=binary) if binary else cluster.steer(pool)
    if binary:
        cluster.machines[0].build = binary.parent
    learnt(cluster, client, family)
    cluster.machines[0].build = BUILD
    return cluster, servers, client, daemon


def pool_of(cluster, servers, family="v4", **more):
    return cluster.pool(servers, family=family, **{
        "decide": "request", "splice": True, "stickiness": {"key": "header/x-session-id, source"}, **more})


def learnt(cluster, client, family="v4"):
    """A pod's first connection shows that its device sees both directions."""
    before = sum(did(cluster).values())
    def is_spliced():
        exchange(client, [post(b"", session=b"first")], family)
        return sum(did(cluster).values()) > before
    wait_for(is_spliced)


def ask(client, headers, family="v4"):
    with client.connect(SERVICE[family]) as c:
        return c.ask(close=True, headers=headers)


def exchange(client, pieces, family="v4", pause=0.01, **more):
    """The words of the answer: the server's name, and the hash of the body that it got."""
    with client.connect(SERVICE[family], **more) as c:
        for i, piece in enumerate(pieces):
            if i:
                time.sleep(pause)
            c.sock.sendall(piece)
        got = b""
        while data := c.sock.recv(65536):
            got += data
        return got.decode().rsplit("\r\n", 1)[1].split()


def since(before, cluster):
    """What the hand-off did since `before`."""
    return {k: v - before.get(k, 0) for k, v in did(cluster).items() if v != before.get(k, 0)}


def told(pod, name):
    """A count of the pod's TCP."""
    rows = [row.split() for row in pod.node.run("cat", "/proc/self/net/netstat", netns=pod.netns).stdout.splitlines()]
    return next(int(values[names.index(name)]) for names, values in zip(rows[::2], rows[1::2]) if name in names)


def in_flight(cluster):
    return {e["name"]: e["in_flight"] for e in cluster.cli("endpoints") if e["in_flight"]}


@case(each=("v4", "v6"))
def test_each_session_keeps_its_server(node, family):
    cluster, _, client, _ = spliced(node, 3, family=family)
    before, met = did(cluster), {}
    for _ in range(3):
        for session in range(12):
            server = ask(client, {"X-Session-Id": f"s{session}"}, family)
            met.setdefault(session, set()).add(server)
    assert all(len(servers) == 1 for servers in met.values()), met
    assert len(set.union(*met.values())) > 1
    assert since(before, cluster) == {"asked": 36}
    wait_for(lambda: not in_flight(cluster))


@case(each=("v4", "v6", "v4 bridged", "v6 bridged"))
def test_bodies_arrive(node, where):
    """Bodies of all sizes, with their headers and behind them, headers in pieces: as they were sent."""
    family, *bridged = where.split()
    cluster, _, client, _ = spliced(node, 2, family=family, hashing=True, bridged=bool(bridged))
    before, count = did(cluster), 0
    for size in (0, 100, 1399, 5000, 14000, 70000, 1000000):
        body = os.urandom(size)
        head = post(body)
        for pieces in ([head + body], [head, body], [head[:30], head[30:] + body]):
            got = exchange(client, [p for p in pieces if p], family)
            assert got[1] == hashlib.sha256(body).hexdigest(), (size, len(pieces), got)
            count += 1
    assert since(before, cluster) == {"asked": count}


@case(each=("v4", "v6", "without window scaling"))
def test_the_whole_request_is_seen(node, what):
    """All that can be held, however it is cut: where a beginning of it is cached says where it goes. No client waits
    for room."""
    family = what if what in ("v4", "v6") else "v4"
    cluster, _, client, _ = spliced(node, 2, family=family, hashing=True, stickiness=PREFIX["stickiness"])
    if what not in ("v4", "v6"):
        client.sysctl("net.ipv4.tcp_window_scaling", 0)
    most = 15360 - 256
    for size, cuts in ((3000, 100), (15000, 1400), (15000, 2900), (most, 1000), (most, 300)):
        body = text(size)
        body = body[:size - (size == most) * len(post(body))]
        before = found(cluster)["added"]
        pieces = [post(body)] + [body[at:at + cuts] for at in range(0, len(body), cuts)]
        assert exchange(client, pieces, family, pause=0.001)[1] == hashlib.sha256(body).hexdigest()
        assert found(cluster)["added"] == before + steps(len(body)), size
    for size, cuts in ((15300, 1400), (20000, 1000), (60000, 5000), (60000, 59000)):
        body, before = text(size), found(cluster)["added"]
        pieces = [post(body)] + [body[at:at + cuts] for at in range(0, len(body), cuts)]
        assert exchange(client, pieces, family)[1] == hashlib.sha256(body).hexdigest()
        assert steps(most - 3000) <= found(cluster)["added"] - before <= steps(15360), size
    assert not told(client, "TCPWinProbe")


@case(each=[f"{side} {option}" for side in ("client", "server") for option in ("timestamps", "sack", "window_scaling")])
def test_options(node, what):
    """What one side does not have is not used."""
    side, option = what.split()
    cluster, servers, client, _ = spliced(node, 2, hashing=True)
    for pod in servers if side == "server" else [client]:
        pod.sysctl(f"net.ipv4.tcp_{option}", 0)
    before = did(cluster)
    for size in (10, 3000, 200000):
        body = os.urandom(size)
        assert exchange(client, [post(body), body])[1] == hashlib.sha256(body).hexdigest()
    assert since(before, cluster) == {"asked": 3}


DROP = """table inet loss {
	chain in {
		type filter hook input priority 0
		%s
	}
	chain out {
		type filter hook output priority 0
		%s
	}
}
"""


@case(each=("v4", "v6"), timeout=120)
def test_loss(node, family):
    """With segments lost at the client and in the servers' pods, each request is answered rightly."""
    cluster, servers, client, _ = spliced(node, 2, family=family, hashing=True)
    rule = "tcp %s 8000 numgen random mod 100 < 3 drop"
    client.nft(DROP % (rule % "sport", rule % "dport"))
    for pod in servers:
        pod.nft(DROP % (rule % "dport", rule % "sport"))
    before = did(cluster)
    for i in range(60):
        session, body = b"s%d" % (i % 6), os.urandom(4000 * (i % 5))
        got = exchange(client, [post(body, session=session) + body], family, timeout=40)
        assert got[1] == hashlib.sha256(body).hexdigest()
    # Where a SYN or its answer was lost, the next connection is decided by its addresses.
    assert since(before, cluster)["asked"] > 40


@case(each=[f"{where} {n}" for where in ("client sends", "client gets", "server gets", "server sends") for n in range(6)],
      timeout=120)
def test_one_segment_is_lost(node, which):
    """Whichever it is."""
    who, how, n = which.split()
    cluster, servers, client, _ = spliced(node, 1, hashing=True)
    body = os.urandom(9000)
    at = "dport" if (who == "client") == (how == "sends") else "sport"
    rule = f"tcp {at} 8000 numgen inc mod 100000 == {n} counter drop"
    pod = client if who == "client" else servers[0]
    # pages are read by the node, from another address
    if who == "server":
        rule = f"ip {'saddr' if how == 'gets' else 'daddr'} {client.v4} " + rule
    pod.nft(DROP % ((rule, "") if how == "gets" else ("", rule)))
    before = did(cluster)
    head = post(body)
    assert exchange(client, [head, body[:3000], body[3000:]], timeout=40)[1] == hashlib.sha256(body).hexdigest()
    assert since(before, cluster) == {"asked": 1}
    lost = node.run("nft", "list", "table", "inet", "loss", netns=pod.netns).stdout
    assert "packets 1 " in lost, lost


# A client's TCP would be told of what a filter drops, but not of what goes elsewhere.
LOSE = {
    "on its way to the node": ("client", """table netdev loss
delete table netdev loss
table netdev loss {
	chain c {
		type filter hook egress device eth0 priority 0
		ip daddr %s tcp dport 8000 meta length > 100 numgen inc mod 100000 { %s } counter fwd to nowhere
	}
}
"""),
    "on its way to the server": ("server", """table inet loss
delete table inet loss
table inet loss {
	chain c {
		type filter hook input priority 0
		ip saddr %s tcp dport 8000 meta length > 100 numgen inc mod 100000 { %s } counter drop
	}
}
"""),
}


@case(each=list(LOSE), timeout=240)
def test_held_segments_are_lost(node, where):
    """Each of them, and each two: the server gets the body as it was sent, and the client notices nothing but time. Behind
    the node what is lost goes there again as soon as the server asks for it, and the last one when the client sends it
    again."""
    cluster, servers, client, _ = spliced(node, 1, hashing=True, stickiness=PREFIX["stickiness"])
    client.run("ip", "link", "set", "eth0", "gso_max_segs", "1")
    client.run("ip", "link", "add", "nowhere", "type", "veth", "peer", "name", "nobody")
    client.run("ip", "link", "set", "nowhere", "up")
    who, rules = LOSE[where]
    pod, address = (client, split(SERVICE["v4"])[0]) if who == "client" else (servers[0], client.v4)
    body = text(13500)
    segments = range(-(-len(post(body) + body) // 1448))
    before, count, asked = did(cluster), 0, ("TCPTimeouts", "TCPLossProbes")
    waits, last = sum(told(client, name) for name in asked), 0
    for lost in (*itertools.combinations(segments, 1), *itertools.combinations(segments, 2)):
        pod.nft(rules % (address, ", ".join(map(str, lost))))
        assert exchange(client, [post(body) + body], timeout=40)[1] == hashlib.sha256(body).hexdigest(), lost
        counter = re.search(r"packets (\d+)", pod.run("nft", "list", "ruleset").stdout)
        assert int(counter[1]) == len(lost), lost
        count += 1
        last += segments[-1] in lost
    if who == "server":
        assert sum(told(client, name) for name in asked) - waits <= 2 * last
    assert since(before, cluster) == {"asked": count}


TURN_AWAY = """table inet t {
	chain c {
		type filter hook input priority 0;
		ip saddr %s tcp dport 8000 %s
	}
}
"""


def test_a_server_refuses(node):
    """The rule decides again; the client notices nothing but time. What has refused counts as a failure."""
    cluster, servers, client, _ = spliced(node, 3, ejection={"failures": 0})
    bound = next(f"b{i}" for i in range(100) if ask(client, {"X-Session-Id": f"b{i}"}) == "s0")
    servers[0].nft(TURN_AWAY % (client.v4, "reject with tcp reset"))
    assert ask(client, {"X-Session-Id": bound}) in ("s1", "s2")
    for i in range(20):
        assert ask(client, {"X-Session-Id": f"n{i}"}) in ("s1", "s2")
    wait_for(lambda: not in_flight(cluster))
    assert cluster.endpoint("s0")["failures"]["refused"] > 0


def test_a_server_does_not_answer(node):
    cluster, servers, client, _ = spliced(node, 2)
    servers[0].nft(TURN_AWAY % (client.v4, "drop"))
    began = time.monotonic()
    for i in range(40):
        assert ask(client, {"X-Session-Id": f"n{i}"}) == "s1"
        if cluster.endpoint("s0")["failures"]["unanswered"]:
            break
    assert time.monotonic() - began < 40
    assert cluster.endpoint("s0")["failures"]["unanswered"] > 0


def test_no_server_takes_it(node):
    """Three are asked, and then the client is reset."""
    cluster, servers, client, _ = spliced(node, 4)
    for pod in servers:
        pod.nft(TURN_AWAY % (client.v4, "reject with tcp reset"))
    before = did(cluster)
    try:
        ask(client, {"X-Session-Id": "n"})
        raise AssertionError("answered")
    except ConnectionResetError:
        pass
    assert since(before, cluster) == {"asked": 1, "nobody": 1}
    wait_for(lambda: not in_flight(cluster))


def test_kept_alive(node):
    """Many requests on one connection, and a pause between: all by the same server."""
    cluster, _, client, _ = spliced(node, 2)
    with client.connect(SERVICE["v4"]) as c:
        first = c.ask(headers={"X-Session-Id": "k"})
        wait_for(lambda: sum(in_flight(cluster).values()) == 1)
        for i in range(100):
            assert c.ask(headers={"X-Session-Id": f"k{i}"}) == first
        time.sleep(8)
        assert sum(in_flight(cluster).values()) == 1
        assert c.ask() == first
    wait_for(lambda: not in_flight(cluster))


@case(each=("shutdown", "reset", "server closes"))
def test_ends(node, how):
    cluster, _, client, _ = spliced(node, 1, hashing=True)
    body = os.urandom(5000)
    with client.connect(SERVICE["v4"]) as c:
        c.sock.sendall((post(body) if how != "reset" else post(body).replace(b"close", b"keep-alive")) + body)
        if how == "shutdown":
            c.sock.shutdown(socket.SHUT_WR)
        got = c.sock.recv(65536)
        assert hashlib.sha256(body).hexdigest().encode() in got
        if how == "reset":
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSED_BY_RESET)
        else:
            assert c.sock.recv(65536) == b""
    wait_for(lambda: not in_flight(cluster))
    wait_for(lambda: not [line for line in node.run(
        "ss", "-Htn", "state", "established", "sport = 8000", netns=cluster.machines[1].pods["s0"].netns).stdout.splitlines()
        if client.v4 in line])


def test_the_same_port_again(node):
    """A client's port serves one connection after the other, also while the server has the former in TIME-WAIT."""
    cluster, _, client, _ = spliced(node, 2, hashing=True)
    before = did(cluster)
    for i in range(12):
        with client.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("", 45000))
            s.settimeout(10)
            s.connect(split(SERVICE["v4"]))
            body = os.urandom(100 * i)
            s.sendall(post(body, session=b"p%d" % i) + body)
            got = b""
            while data := s.recv(65536):
                got += data
            assert got.decode().endswith(hashlib.sha256(body).hexdigest())
    assert since(before, cluster) == {"asked": 12}


@case(each=("v4", "v6"))
def test_a_narrow_path(node, family):
    """What a router says of segments that are too large reaches the client, and counts for what is held."""
    cluster, _, client, _ = spliced(node, 1, family=family, hashing=True)
    near, far = cluster.machines[:2]
    near.batch("link set to-n2 mtu 1400")
    far.batch("link set to-n1 mtu 1400")
    before = did(cluster)
    for size in (9000, 300000):
        body = os.urandom(size)
        for pieces in ([post(body) + body], [post(body), body]):
            assert exchange(client, pieces, family)[1] == hashlib.sha256(body).hexdigest()
    assert since(before, cluster) == {"asked": 4}


STRICT = """table inet strict {
	chain f {
		type filter hook forward priority 0; policy drop;
		ct state invalid counter drop
		ct state established accept
		ip saddr %s tcp dport 8000 ct state new tcp flags & (syn|ack) == syn accept
	}
	chain n {
		type nat hook postrouting priority 100;
		ip saddr %s oifname "to-*" masquerade
	}
}
"""


def test_a_strict_node(node):
    """Connection tracking sees an ordinary connection: default deny, INVALID dropped, nothing taken up in the middle,
    masquerade, rp_filter."""
    cluster, _, client, _ = spliced(node, 2, hashing=True)
    near = cluster.machines[0]
    node.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0, netns=near.netns)
    node.sysctl("net.ipv4.conf.all.rp_filter", 1, netns=near.netns)
    near.nft(STRICT % (client.v4, client.v4))
    before = did(cluster)
    for size in (0, 3000, 300000):
        body = os.urandom(size)
        for pieces in ([post(body) + body], [post(body), body]):
            assert exchange(client, [p for p in pieces if p])[1] == hashlib.sha256(body).hexdigest()
    assert sum(since(before, cluster).values()) == 6
    assert "invalid counter packets 0 " in node.run("nft", "list", "table", "inet", "strict", netns=near.netns).stdout


# -- how it is asked -----------------------------------------------------------------


def test_one_request_per_connection(node):
    """Each request of a kept-alive client is decided by itself."""
    cluster, _, client, _ = spliced(node, 2, requests="one-per-connection")
    home = {}
    for session in (f"s{i}" for i in range(12)):
        home.setdefault(ask(client, {"X-Session-Id": session}), session)
    assert len(home) == 2
    before = did(cluster)
    for server, session in list(home.items()) * 3:
        with client.connect(SERVICE["v4"]) as c:
            assert c.ask(headers={"X-Session-Id": session, "Connection": "keep-alive"}) == server
            assert c.sock.recv(1) == b""
    assert since(before, cluster) == {"asked": 6}
    assert oneshots(cluster)["rewritten_connection"] == 6


def test_one_request_per_connection_at_the_servers_node(node):
    """Connections that are not spliced, such as a pod's first, are changed where the server is."""
    cluster, servers, _, _ = spliced(node, 2, hashing=True, requests="one-per-connection")
    for machine in cluster.machines[1:]:
        machine.daemon(machine.config(pool_of(cluster, servers, requests="one-per-connection")))
    kept = post(b"").replace(b"close", b"keep-alive")
    before = did(cluster)
    for i in range(3):
        # Nothing more comes: the connection is closed.
        assert exchange(cluster.pod(f"new{i}"), [kept])[1] == hashlib.sha256(b"").hexdigest()
    assert since(before, cluster) == {}


def test_ipv4_of_an_ipv6_socket(node):
    """A client that uses one socket for both families, as Java and Node do, is spliced as any."""
    cluster, _, client, _ = spliced(node, 3)
    before, met = did(cluster), set()
    for session in (f"s{i}" for i in range(12)):
        answers = set()
        for to in (mapped(SERVICE["v4"]), SERVICE["v4"]):
            with client.connect(to) as c:
                answers.add(c.ask(headers={"X-Session-Id": session}))
        assert len(answers) == 1
        met |= answers
    assert len(met) > 1
    assert since(before, cluster) == {"asked": 24}


def test_intercept(node):
    """Connections to the endpoints' own addresses are decided as they come."""
    cluster, servers, client, _ = spliced(node, 2, intercept="endpoints")
    before = did(cluster)
    for i in range(6):
        with client.connect(servers[i % 2].address()) as c:
            assert c.ask(headers={"X-Session-Id": f"s{i}"}) in ("s0", "s1")
    assert since(before, cluster) == {}
    assert ask(client, {"X-Session-Id": "a"})
    assert since(before, cluster) == {"asked": 1}


def test_two_devices(node):
    """A pod's connections leave by another device than before, and their answers come by the former: the first of them
    goes where the frontend leads, the others are decided as they come. When the answers come by that device, too, they
    are spliced there."""
    cluster, servers, client, _ = spliced(node, 2)
    near = cluster.machines[0]
    near.batch(f"link add second type veth peer name eth1 netns {client.netns.name}", "link set second up",
               "addr add 169.254.2.1/32 dev second")
    client.batch("link set eth1 up", f"route replace default via 169.254.2.1 dev eth1 src {client.v4} onlink")
    wait_for(lambda: cluster.cli("status")[0]["splice_devices"] == 8)
    near.nft(f"table ip t {{\n\tchain c {{\n\t\ttype nat hook prerouting priority dstnat;\n\t\t"
             f"ip daddr {split(SERVICE['v4'])[0]} dnat to {servers[1].v4}\n\t}}\n}}\n")
    assert ask(client, {}) == "s1"
    before = did(cluster)
    for i in range(4):
        assert ask(client, {"X-Session-Id": f"s{i}"})
    assert set(since(before, cluster)) <= {"by_connection"}, since(before, cluster)
    near.batch(f"route replace {client.v4} dev second")
    learnt(cluster, client)
    before = did(cluster)
    for i in range(4):
        assert ask(client, {"X-Session-Id": f"s{i}"})
    assert since(before, cluster) == {"asked": 4}


# -- the daemon's life -------------------------------------------------------------


class Kept:
    """Connections that go on: each asks again and again, and gets the same server."""

    def __init__(self, client, count=4):
        self.all = [client.connect(SERVICE["v4"]) for _ in range(count)]
        self.met = [c.ask(headers={"X-Session-Id": f"k{i}"}) for i, c in enumerate(self.all)]

    def check(self):
        assert [c.ask() for c in self.all] == self.met

    def close(self):
        for c in self.all:
            c.close()


def test_reload_restart_and_kill(node):
    """Open connections go on; new ones are decided as before."""
    cluster, servers, client, daemon = spliced(node, 2)
    kept = Kept(client)
    daemon.reload(cluster.config(pool_of(cluster, servers, stickiness={"key": "header/x-other, source"})))
    wait_for(lambda: "reloaded" in daemon.log())
    kept.check()
    daemon.stop()
    kept.check()
    before = did(cluster)
    ask(client, {"X-Other": "a"})
    assert since(before, cluster) == {"asked": 1}
    daemon = cluster.steer(pool_of(cluster, servers))
    kept.check()
    daemon.kill()
    kept.check()
    ask(client, {"X-Session-Id": "a"})
    cluster.steer(pool_of(cluster, servers))
    kept.check()
    kept.close()
    wait_for(lambda: not in_flight(cluster))


def test_a_pool_goes(node):
    """A reload that takes the pool away, or its splice, ends no connection."""
    cluster, servers, client, daemon = spliced(node, 2)
    kept = Kept(client)
    by_connection = cluster.pool(servers)
    daemon.reload(cluster.config(by_connection))
    wait_for(lambda: "reloaded" in daemon.log())
    kept.check()
    before = did(cluster)
    ask(client, {})
    assert since(before, cluster) == {}
    time.sleep(2)
    kept.check()
    kept.close()


def test_detach(node):
    """Connections outlive it; the program goes with a detach after their end."""
    cluster, _, client, daemon = spliced(node, 2)
    kept = Kept(client)
    daemon.stop()
    assert "4 spliced connections are open" in cluster.detach().stderr
    kept.check()
    assert tc.attached(node, cluster.machines[0].netns, "pintle_splice")
    try:
        ask(client, {})
        raise AssertionError("steered")
    except OSError:
        pass
    kept.check()
    assert "open still" in cluster.detach().stderr
    kept.check()
    kept.close()


@case(each=("at once", "later"))
def test_detach_by_force(node, when):
    """Both sides of what is open are reset, and nothing is left."""
    cluster, _, client, daemon = spliced(node, 2)
    kept = Kept(client)
    mapped_one = client.connect(mapped(SERVICE["v4"]))
    mapped_one.ask()
    daemon.stop()
    if when == "later":
        cluster.detach()
        kept.check()
    said = cluster.detach(None, "--force").stderr
    assert "of 5 spliced connections, 5 were reset" in said, said
    assert not cluster.bpffs.exists() or not list(cluster.bpffs.iterdir())
    assert not tc.attached(node, cluster.machines[0].netns, "pintle_splice")
    for c in (*kept.all, mapped_one):
        try:
            assert not c.sock.recv(1)
        except ConnectionAbortedError:
            pass
    wait_for(lambda: not servers_connections(node, cluster, client))


def servers_connections(node, cluster, client):
    """The servers' sockets that are connected to the client."""
    return [line for machine in cluster.machines for pod in machine.pods.values() if pod is not client
            for line in node.run("ss", "-Htn", "state", "established", "sport = 8000", netns=pod.netns).stdout.splitlines()
            if client.v4 in line]


# Without anything to test a takeover with, the case is skipped.
@case(each=("before stopped", "beside killed"), timeout=90)
def test_takeover(node, how):
    """Another build's connections go on at this one's programs, and new ones are spliced as before."""
    which, end = how.split()
    former = VARIANTS / which / "pintled"
    if not former.exists():
        raise Skip(f"no pintled of another layout: {former} (make variants)")
    cluster, servers, client, daemon = spliced(node, 2, binary=former)
    kept = Kept(client)
    daemon.stop() if end == "stopped" else daemon.kill()
    kept.check()
    cluster.steer(pool_of(cluster, servers))
    assert sorted(p.name for p in cluster.bpffs.iterdir()) == [NOW]
    kept.check()
    assert len(open_flows(node, cluster)) == 4
    before = did(cluster)
    assert ask(client, {"X-Session-Id": "k0"}) == kept.met[0]
    assert since(before, cluster) == {"asked": 1}
    kept.close()
    wait_for(lambda: not in_flight(cluster))


@case(timeout=150)
def test_forgotten(node):
    """A minute after its end a connection has no entry any more, nor its client."""
    cluster, _, client, _ = spliced(node, 2)
    for i in range(5):
        ask(client, {"X-Session-Id": f"s{i}"})
    assert len(entries(node, cluster, "splices")) >= 5
    assert shares(node, cluster)[cookie_of(client)] >= 5
    wait_for(lambda: not entries(node, cluster, "splices"), 100)
    assert not entries(node, cluster, "splice_backs")
    assert shares(node, cluster) == {ALL: 0}


def test_forgotten_sooner(node):
    """Of a client that has more than half of its share."""
    cluster, _, client, _ = spliced(node, 2)
    for i in range(5):
        ask(client, {"X-Session-Id": f"s{i}"})
    set_share(node, cluster, cookie_of(client), 65536 // 16 + 10)
    wait_for(lambda: not entries(node, cluster, "splices"), 30)


@case(timeout=150)
def test_a_device_goes(node):
    """What a pod's connections had is forgotten, though its device went with them open."""
    cluster, _, client, _ = spliced(node, 2)
    kept = Kept(client)
    cluster.batch("link del pod2")
    wait_for(lambda: not entries(node, cluster, "splices"), 110)
    assert not entries(node, cluster, "splice_spaces")
    kept.close()


def entries(node, cluster, name):
    (version,) = [p for p in cluster.bpffs.iterdir() if p.name.startswith("v")]
    return json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", version / name).stdout)


def shares(node, cluster):
    return {e["formatted"]["key"]: e["formatted"]["value"] for e in entries(node, cluster, "splice_shares")}


def set_share(node, cluster, client, flows):
    (version,) = [p for p in cluster.bpffs.iterdir() if p.name.startswith("v")]
    of, value = (struct.pack("=Q", v).hex(" ").split() for v in (client, flows))
    node.run("bpftool", "map", "update", "pinned", version / "splice_shares", "key", "hex", *of, "value", "hex", *value)


def open_flows(node, cluster):
    flows = [e["formatted"]["value"] for e in entries(node, cluster, "splices")]
    return [f for f in flows if not f["ended_ns"]]


# -- misuse --------------------------------------------------------------------------


def test_forged_segments(node):
    """What a neighbour sends in the client's name, or anybody in the server's, changes no connection, and takes none."""
    cluster, servers, client, _ = spliced(node, 1)
    neighbour = cluster.pod("neighbour")
    learnt(cluster, neighbour)  # its device has the program
    to = split(SERVICE["v4"])
    with client.connect(SERVICE["v4"]) as c:
        assert c.ask(headers={"X-Session-Id": "a"}) == "s0"
        mine = c.sock.getsockname()[:2]
        before = did(cluster)
        flow = open_flows(node, cluster)
        assert len(flow) == 1
        own = (mine[0], flow[0]["own_port"])
        cluster.nft("table inet t {\n\tchain c {\n\t\ttype filter hook prerouting priority -300\n\t\t"
                    f"ip saddr {client.v4} ip daddr {to[0]} counter\n\t}}\n}}\n")
        with neighbour.socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as raw:
            forged = ((FLAGS["SYN"], b""), (FLAGS["RST"], b""), (FLAGS["FIN"] | FLAGS["ACK"], b""),
                      (FLAGS["ACK"], b"GET / HTTP/1.1\r\n\r\n"))
            for flags, data in forged:
                raw.sendto(segment(mine, to, flags, data), (to[0], 0))
            # Nor does it begin one with the client's address.
            for flags, data in ((FLAGS["SYN"], b""), (FLAGS["ACK"], b"GET / HTTP/1.1\r\n\r\n")):
                raw.sendto(segment((client.v4, 4444), to, flags, data), (to[0], 0))
                raw.sendto(segment((neighbour.v4, 4444), to, flags, data), (to[0], 0))
            # They pass the device as they came.
            wait_for(lambda: "counter packets 6 " in node.run(
                "nft", "list", "table", "inet", "t", netns=cluster.machines[0].netns).stdout)
            for flags, data in forged:
                raw.sendto(segment((servers[0].v4, 8000), own, flags, data), (own[0], 0))
        time.sleep(0.2)
        assert c.ask() == "s0"
        assert since(before, cluster) == {}
        assert len(open_flows(node, cluster)) == 1


def test_a_server_lies(node):
    """Acknowledgements again and again, of the SYN and of less than was sent, bring no flood."""
    cluster, servers, client, _ = spliced(node, 1, hashing=True)
    body = os.urandom(9000)
    servers[0].nft("table inet t {\n\tchain c {\n\t\ttype filter hook input priority 0\n\t\t"
                   f"ip saddr {client.v4} tcp dport 8000 tcp flags & syn == 0 counter drop\n\t}}\n}}\n")
    with client.connect(SERVICE["v4"]) as c:
        c.sock.sendall(post(body) + body)
        wait_for(lambda: [f["state"] for f in open_flows(node, cluster)] == [2])
        (value,) = open_flows(node, cluster)
        count = lambda: int(re.search(r"packets (\d+)", node.run(
            "nft", "list", "table", "inet", "t", netns=servers[0].netns).stdout)[1])
        before = count()
        with servers[0].socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as raw:
            for flags, at in ((FLAGS["ACK"], 0), (FLAGS["ACK"], -5000), (FLAGS["SYN"] | FLAGS["ACK"], 0)):
                for _ in range(500):
                    raw.sendto(segment((servers[0].v4, 8000), (client.v4, value["own_port"]), flags,
                                       acknowledged=(value["first"] + at) % 2**32), (client.v4, 0))
        time.sleep(0.5)
        assert count() - before < 200


def test_one_clients_share(node):
    """Beyond its share a client's connections are decided by their addresses; another client has its own."""
    cluster, _, client, _ = spliced(node, 2)
    other = cluster.pod("other")
    learnt(cluster, other)
    assert shares(node, cluster)[cookie_of(client)]
    set_share(node, cluster, cookie_of(client), 65536 // 8)
    before = did(cluster)
    assert ask(client, {"X-Session-Id": "a"})
    assert since(before, cluster) == {}
    assert ask(other, {"X-Session-Id": "a"})
    assert since(before, cluster) == {"asked": 1}


def test_no_room(node):
    """Where there are so many that the table is nearly full, connections are decided by their addresses, and those that
    are open go on."""
    cluster, _, client, _ = spliced(node, 2)
    kept = Kept(client)
    assert shares(node, cluster)[ALL] == shares(node, cluster)[cookie_of(client)] >= 5
    before = did(cluster)
    for flows, asked in ((65536 * 15 // 16, 0), (65536 * 15 // 16 - 1, 1)):
        set_share(node, cluster, ALL, flows)
        assert ask(client, {"X-Session-Id": "a"})
        assert since(before, cluster).get("asked", 0) == asked
    kept.check()
    kept.close()


def cookie_of(pod):
    with pod.socket() as s:
        return struct.unpack("=Q", s.getsockopt(socket.SOL_SOCKET, 71, 8))[0]  # SO_NETNS_COOKIE


# -- what is told ----------------------------------------------------------------------


def test_told(node):
    """Trace, events, status, doctor and the figures of answers know a spliced connection as any of the connect hook."""
    cluster, _, client, _ = spliced(node, 2)
    follower = trace(node, cluster)
    events = node.popen([BUILD / "pintle", "--bpffs", cluster.bpffs, "events", "-o", "json"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    server = ask(client, {"X-Session-Id": "t"})
    decided, ended = follower.wait("decided", 1)[0], follower.wait("ended", 1)[0]
    assert decided["endpoint"] == ended["endpoint"] == server
    assert decided["hook"] == "connect" and decided["client"].startswith(client.v4 + ":"), decided
    assert ended["bytes_received"] > 0 and ended["bytes_acknowledged"] > 0, ended
    assert ended["answers"] == 1 and ended["first_token_seconds"] > 0, ended
    event = json.loads(events.stdout.readline())
    assert (event["endpoint"], event["event"]) == (server, "closed"), event
    wait_for(lambda: cluster.cli("status")[0]["spliced"] >= 2)
    (status,) = cluster.cli("status")
    assert (status["splice_devices"], status["splice_pods"]) == (6, 1), status
    text = cluster.pintle("status").stdout
    assert "decide    request, spliced" in text and "splice on 6 directions" in text, text
    assert "splice: attached to 6 devices" in cluster.pintle("doctor", check=False).stdout
    assert decided["decision"]["session"] in {s["session"] for s in cluster.cli("sessions") if s["endpoint"] == server}
    told = cluster.cli("explain", "pool", "--header", "X-Session-Id: t", "--source", client.v4)
    assert (told["chosen"], told["outcome"]) == (server, "sticky"), told
