# SPDX-License-Identifier: Apache-2.0
"""What a client can make of its requests, where they are followed: no more than as many honest ones would."""
import json
import re
import signal
import socket
import subprocess

import packets
from clients import FRONTEND, source
from harness import case
from kernel import BUILD, wait_for
from test_follow import Followed, request

ATTACKER = 7
SIZE = 3000


class Attack(Followed):
    """Two servers, with prompts that weigh; an attacker is one session."""

    def __init__(self, node, hook="lookup", **more):
        key = {"lookup": "source", "connect": "client"}[hook]
        super().__init__(node, hook, stickiness={"key": key, "maxExtraLoad": "auto"}, **more)
        for _ in range(20):  # so that a mean is known
            with self.connect(1) as c:
                c.sock.sendall(request("/", SIZE))
                c.read()

    def holds(self, count, data):
        """The endpoints' loads and connections while the attacker has so many connections with that data."""
        held = [self.connect(ATTACKER) for _ in range(count)]
        for c in held:
            c.sock.sendall(data)
        self.shows(in_flight=count, requests_waiting_bytes=count * len(data), accept_backlog=0,
                   connections_unseen=0 if data else count)
        rows = self.cli("endpoints")
        found = sorted(e["load"] for e in rows), sorted(e["in_flight"] for e in rows)
        for s in self.servers:
            s.release()
        for c in held:
            c.close()
        self.shows(in_flight=0, requests_waiting=0, connections_unseen=0, load=0)
        return found


@case(each=(4, 200))
def test_one_byte_and_wait(node, count):
    """Connections on which one byte comes, or none, weigh no more than requests that wait. Four go to the
    session's endpoint; 200 are a crowd, which spreads like 200 requests."""
    f = Attack(node)
    loads, connections = f.holds(count, request("/hold", SIZE))
    for data in (b"G", b""):
        theirs, where = f.holds(count, data)
        assert sum(theirs) <= sum(loads) and theirs[1] <= loads[1] * 1.1, (data, theirs, loads)
        assert abs(where[1] - connections[1]) <= 2, (where, connections)
    assert "tried" not in node.decisions()


@case(timeout=120, san=False)  # sanitizers leave the servers too little CPU to answer in time
def test_huge_and_never_read(node):
    """500 requests of 60 kB from one client, which reads no answer: they spread, as any crowd does. Other
    clients are answered, by both servers alike; none looks as if it stood still; and nothing is left of it."""
    count = 500
    for i in range(2):
        node.popen([BUILD / "pintle-sim", "--port", 8001 + i, "--speed", 20], stdout=subprocess.DEVNULL)
    daemon = node.daemon(node.config(node.pool(
        [{"name": f"s{i}", "listen": f"127.0.0.1:{8001 + i}"} for i in range(2)],
        stickiness={"maxExtraLoad": "auto"})))
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})

    def ask(connection, words, tokens):
        body = json.dumps({"prompt": words, "max_tokens": tokens, "ignore_eos": True, "stream": True})
        connection.sock.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                f"Content-Length: {len(body)}\r\n\r\n{body}".encode())

    def others(first):
        before = {e["name"]: e["placed"] for e in node.cli("endpoints")}
        for i in range(first, first + 40):
            with node.connect(FRONTEND["v4"], source(i), timeout=60) as c:
                ask(c, f"other {i}", 5)
                said = b""
                while data := c.sock.recv(65536):
                    said += data
                assert b"[DONE]" in said, said[:200]
        got = [e["placed"] - before[e["name"]] for e in node.cli("endpoints")]
        assert min(got) >= 8, got

    others(100)
    held = []
    for i in range(count):
        held.append(node.connect(FRONTEND["v4"], source(ATTACKER)))
        held[-1].sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        ask(held[-1], f"{i:06} huge " * 5000, 400)
    rows = node.cli("endpoints")
    assert min(e["in_flight"] for e in rows) >= count * 0.4, rows
    others(200)
    # All are computed, and none is read.
    wait_for(lambda: sum(e["requests_waiting"] for e in node.cli("endpoints")) == 0, 60)
    others(300)
    for c in held:
        c.reset()
    wait_for(lambda: [(e["in_flight"], e["load"]) for e in node.cli("endpoints")] == [(0, 0)] * 2, 20)
    assert not re.search("has stopped|stalls", daemon.log())
    assert "tried" not in node.decisions() and daemon.metric("pintle_in_flight_drift_total") == 0


class Quiet:
    """Two servers that do nothing, whose pages are another's, so that no scrape of them shows that they read;
    a session is bound to s0."""

    def __init__(self, node, own_page=False):
        self.node, self.servers = node, node.servers(2)
        node.server("pages", "127.0.0.1:9003")
        more = {} if own_page else {"metrics": "http://127.0.0.1:9003/metrics"}
        self.daemon = node.steer([{"name": s.name, "listen": s.listen, **more} for s in self.servers])
        self.bound = next(i for i in range(1, 100) if node.ask(FRONTEND["v4"], source(i)) == "s0")

    def passes(self, count):
        before = self.daemon.metric("pintle_passes_total")
        wait_for(lambda: self.daemon.metric("pintle_passes_total") > before + count, 30)

    def stood_still(self):
        return "has stopped" in self.daemon.log() or "stalls" in self.daemon.log()

    def serves_its_session(self):
        """s0 gets its session's connections, and none is a try."""
        tried = self.node.decisions().get("tried", 0)
        for _ in range(3):
            assert self.node.ask(FRONTEND["v4"], source(self.bound)) == "s0"
            self.passes(10)
        assert self.node.decisions().get("tried", 0) == tried


def fill(sock):
    """Sends all that is taken; returns how much."""
    sock.settimeout(0.3)
    sent = 0
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except TimeoutError:
        return sent


@case(each=("a body", "a body, own page", "after a head"))
def test_what_a_server_reads_late(node, how):
    """A server reads the head of a request and not its body, or no request before it has answered the one before:
    its clients alone wait for it. It has not stopped, and sessions stay."""
    q = Quiet(node, own_page="own" in how)
    q.servers[0].be(late=True)
    with node.connect(FRONTEND["v4"], source(q.bound)) as c:
        if how == "after a head":
            # A short answer looks like a head after which more is to come.
            c.sock.sendall(request("/", 400))
            c.read()
            wait_for(lambda: node.endpoint("s0")["requests_headed"] == 1)
            q.servers[0].process.send_signal(signal.SIGSTOP)
            assert fill(c.sock) > 100_000
        else:
            c.sock.sendall(request("/hold", 2000))
            wait_for(lambda: node.endpoint("s0")["requests_waiting"] == 1)
            assert fill(c.sock) > 100_000
        wait_for(lambda: node.endpoint("s0")["unread_bytes"] > 100_000)
        q.passes(30)  # three times what makes a server `stopped`
        assert "has stopped" not in q.daemon.log()
        q.servers[0].process.send_signal(signal.SIGCONT)
    q.servers[0].release()
    wait_for(lambda: node.endpoint("s0")["unread_bytes"] == 0)


@case(each=("one byte", "half a request", "a byte a second"))
def test_half_a_request(node, how):
    """One client's connections on which half a request came make an idle server suspect once: after the next
    answer to anybody they say nothing more, however long they last, and sessions stay."""
    q = Quiet(node)
    data = b"G" if how == "one byte" else request("/", SIZE)[:SIZE // 2]
    with node.connect(FRONTEND["v4"], source(q.bound)) as c:
        c.sock.sendall(data)
        wait_for(lambda: node.endpoint("s0")["state"] == "stalled", 10)
        # The next connection tries it.
        wait_for(lambda: node.ask(FRONTEND["v4"], source(200)) and node.endpoint("s0")["state"] == "ready", 10)
        before = q.daemon.log()
        for _ in range(2):
            for _ in range(3):
                if how == "a byte a second":
                    c.sock.sendall(b"x")  # it goes on and on
                q.passes(20)
            assert node.ask(FRONTEND["v4"], source(q.bound)) == "s0"
        q.serves_its_session()
        assert q.daemon.log() == before
    wait_for(lambda: node.endpoint("s0")["requests_waiting"] == 0)


def records(node):
    """What the kernel keeps of endpoints and sessions, but for times."""
    def dump(name):
        pin = next(node.bpffs.rglob(name))
        out = node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout
        return [entry["formatted"] for entry in json.loads(out)]
    times = re.compile("_ns$")
    works = [{k: v for k, v in e["value"].items() if not times.search(k)} for e in dump("works")[:2]]
    sessions = {json.dumps(e["key"]): {k: v for k, v in e["value"].items() if not times.search(k)}
                for e in dump("affinity")}
    return works, sessions


@case(each=("SYN", "ACK", "RST"), timeout=120)
def test_forged_segments_change_no_record(node, kind):
    """200,000 forged segments, from strangers' addresses, from a client's at other ports, and as if on its
    very connections: what passes say of requests, and what sessions have open, stay as they were."""
    node.add_client()
    f = Attack(node)
    connections = [node.connect(FRONTEND["v4"], source(1, remote=True), remote=True) for _ in range(4)]
    for c in connections[:3]:
        c.sock.sendall(request("/hold", SIZE))
    connections[3].ask()
    f.shows(requests_waiting=3, requests_waiting_bytes=3 * SIZE, connections_idle=1, in_flight=4)

    def settles():
        """What several passes found alike."""
        before, passes = records(node), f.daemon.metric("pintle_passes_total")
        wait_for(lambda: f.daemon.metric("pintle_passes_total") >= passes + 3)
        return records(node) == before and before

    settled = wait_for(settles)
    own = [c.sock.getsockname() for c in connections]
    node.ip("route", "add", "10.201.0.0/16", "via", "10.99.0.2")
    strangers = [(f"10.201.{i >> 8}.{i & 255}", 1024 + i % 60000) for i in range(65000)]
    ports = [(source(1, remote=True), port) for port in range(1024, 1024 + 30000)]
    for forged in (strangers, strangers, ports, ports, own * 2500):
        packets.send(node.client_netns, forged, ("10.77.0.1", 8000), kind)
    f.shows(requests_waiting=3, requests_waiting_bytes=3 * SIZE, connections_idle=1, in_flight=4)

    def as_before():
        now = records(node)
        assert now == settled, now
        return True

    wait_for(as_before)
    for s in f.servers:
        s.release()
    for c in connections[:3]:
        assert c.read()
    wait_for(lambda: f.daemon.metric("pintle_in_flight_drift_total") == 0)
