# SPDX-License-Identifier: Apache-2.0
"""A server that is alive and does not serve gets no new connection but a try now and then."""
import signal
import socket
import time

from clients import FRONTEND, source, split
from harness import case
from kernel import inside, wait_for
from pods import SERVICE, Cluster


REQUEST = {"decide": "request", "stickiness": {"key": "header/x-session-id, source", "maxExtraLoad": 16}}


class Ward:
    """Two servers behind a pool of either hook; s0 is going to stand still."""

    def __init__(self, node, hook, servers=2):
        if hook != "connect":
            handed = hook == "request"
            if handed:
                node.add_client()
            self.servers = node.servers(servers)
            self.daemon = node.steer(self.servers, **(REQUEST if handed else {}))
            self.node = node
            self.open = lambda n: node.connect(FRONTEND["v4"], source(n, remote=handed), remote=handed)
        else:
            self.node = cluster = Cluster(node)
            pods = cluster.servers(servers)
            self.servers = [p.model for p in pods]
            # Without sessions, because all connections are one pod's.
            self.daemon = cluster.steer(cluster.pool(pods, stickiness={"key": "source"}))
            client = cluster.pod("client")
            self.open = lambda n: client.connect(SERVICE["v4"])
        self.hook, self.connections = hook, []

    def state(self, name="s0"):
        return self.row(name)["state"]

    def row(self, name="s0"):
        return next(e for e in self.node.cli("endpoints") if e["name"] == name)

    def ask(self, n):
        """Sends a request over a new connection, and waits for no answer."""
        c = self.open(n)
        c.send("/")
        self.connections.append(c)

    def until(self, state, first):
        """New clients come until s0 is seen in that state; returns the next client's number."""
        number = first

        def seen():
            nonlocal number
            if number < first + 20:
                self.ask(number)
                number += 1
            return self.state() == state
        wait_for(seen, 20)
        return number

    def left_out(self, first, count=30):
        """Of so many new clients s0 gets none but those that try it."""
        before, tried = self.row()["placed"], self.tried()
        for i in range(first, first + count):
            self.ask(i)
        assert self.state() in ("stopped", "stalled")
        assert self.row()["placed"] - before == self.tried() - tried

    def tried(self):
        return self.node.decisions().get("tried", 0)

    def end(self):
        for c in self.connections:
            c.close()


def test_stopped(node):
    """A process that stands still reads and accepts nothing. Sessions move; SIGCONT brings it back."""
    w = Ward(node, "lookup")
    bound = [i for i in range(1, 21) if node.ask(FRONTEND["v4"], source(i)) == "s0"]
    assert bound
    w.servers[0].process.send_signal(signal.SIGSTOP)
    w.until("stopped", 100)
    w.left_out(200)
    assert "has stopped" in w.daemon.log()
    before = w.row()["placed"]
    for i in bound:
        w.ask(i)
    # Nobody tries it: what waits there tells when it is accepted.
    assert w.row()["placed"] == before and w.tried() == 0
    w.servers[0].process.send_signal(signal.SIGCONT)
    wait_for(lambda: w.state() == "ready")
    assert "serves again" in w.daemon.log()
    w.end()


@case(each=("lookup", "connect"))
def test_stalled(node, hook):
    """A server reads, and serves its page, and answers nothing."""
    w = Ward(node, hook)
    w.servers[0].be(held=True)
    w.until("stalled", 100)
    w.left_out(200)
    assert "stalls" in w.daemon.log()
    # An answer ends it: the next connection that tries it gets one.
    w.servers[0].be(held=False)
    w.servers[0].release()
    wait_for(lambda: w.state() == "ready" or w.ask(300))
    w.end()


@case(each=("lookup", "connect", "request"), timeout=90)
def test_one_try_at_a_time(node, hook):
    """While the client that tries a server waits there, no other does; the next one comes once that one has left, and
    later each time. Where it is answered, the server is back at once."""
    w = Ward(node, hook)
    w.servers[0].be(held=True)
    w.until("stalled", 100)
    # Clients that wait there by now came before the verdict.
    for c in w.connections:
        c.close()
    w.connections.clear()
    number = 200

    def next_try():
        """Clients come and stay until one of them tries s0; returns how long that took."""
        nonlocal number
        tried, began = w.tried(), time.monotonic()

        def came():
            nonlocal number
            number += 1
            w.ask(number)
            return w.tried() > tried
        wait_for(came, 30)
        assert w.tried() == tried + 1
        return time.monotonic() - began

    next_try()
    tried, placed = w.tried(), w.row()["placed"]
    before = w.daemon.metric("pintle_passes_total")
    while w.daemon.metric("pintle_passes_total") < before + 100:  # 5 s and more
        number += 1
        w.ask(number)
    assert w.state() == "stalled" and (w.tried(), w.row()["placed"]) == (tried, placed)
    w.end()
    w.connections.clear()
    assert next_try() > 3  # it was given 2 s before, and 4 s now
    w.servers[0].be(held=False)
    w.servers[0].release()
    wait_for(lambda: w.state() == "ready")
    w.end()


def test_started_anew(node):
    """A server that is started anew is not the one that stood still: nobody tries it first."""
    w = Ward(node, "lookup")
    w.servers[0].be(held=True)
    w.until("stalled", 100)
    w.servers[0].kill()
    wait_for(lambda: w.state() != "ready")
    w.servers[0].start()
    wait_for(lambda: w.state() == "ready")
    assert w.tried() == 0
    w.end()


def test_clients_that_give_up(node):
    """A process that stands still does so too once those who waited have given up. Its page is another's."""
    servers = node.servers(2)
    node.server("pages", "127.0.0.1:9003")
    daemon = node.steer([{"name": s.name, "listen": s.listen, "metrics": "http://127.0.0.1:9003/metrics"}
                         for s in servers])

    def state():
        return node.endpoint("s0")["state"]

    kept = [node.connect(FRONTEND["v4"], source(i)) for i in range(1, 21)]
    wait_for(lambda: sum(e["connections_unseen"] for e in node.cli("endpoints")) == 20)
    servers[0].process.send_signal(signal.SIGSTOP)
    for c in kept:
        c.send("/")
    wait_for(lambda: state() == "stopped")
    for c in kept:
        c.close()
    before = daemon.metric("pintle_passes_total")
    wait_for(lambda: daemon.metric("pintle_passes_total") > before + 40, 20)
    assert state() == "stopped" and "serves again" not in daemon.log()
    servers[0].process.send_signal(signal.SIGCONT)
    # Nothing waits there, so a client tries it.
    wait_for(lambda: node.ask(FRONTEND["v4"], source(30)) and state() == "ready", 20)


PROBE = {"path": "/v1/completions", "model": "org/m", "interval": "1s", "timeout": "1s"}


@case(each=("stopped", "stalled"), timeout=90)
def test_a_probe_tries(node, state):
    """Where the pool has a probe, pintled tries the server itself: no client waits there once the verdict is there. All
    that waited have left, and the page is another's, so that nothing else tells."""
    servers = node.servers(3)
    node.server("pages", "127.0.0.1:9003")
    daemon = node.steer([{"name": s.name, "listen": s.listen, "metrics": "http://127.0.0.1:9003/metrics"}
                         for s in servers], stickiness={"key": "none"}, probe=PROBE)
    number, kept = 100, []

    def row():
        return node.endpoint("s0")

    def client():
        nonlocal number
        number += 1
        return source(number)

    def come():
        c = node.connect(FRONTEND["v4"], client())
        c.send("/")
        kept.append(c)
        return row()["state"] == state

    if state == "stopped":
        servers[0].process.send_signal(signal.SIGSTOP)
    else:
        servers[0].be(held=True)
    wait_for(come, 30)
    for c in kept:
        c.close()
    before, placed = daemon.metric("pintle_passes_total"), row()["placed"]
    while daemon.metric("pintle_passes_total") < before + 120:  # 6 s and more
        assert node.ask(FRONTEND["v4"], client(), timeout=5) in ("s1", "s2")
    assert row()["state"] == state and row()["placed"] == placed
    assert node.decisions().get("tried", 0) == 0
    if state == "stopped":
        servers[0].process.send_signal(signal.SIGCONT)
    else:
        assert servers[0].counts().held >= 2  # a probe, and another one
        servers[0].be(held=False)
    wait_for(lambda: row()["state"] == "ready", 30)
    assert row()["placed"] == placed and "s0 serves again" in daemon.log()


def test_no_probe_of_an_unloaded_model(node):
    """A server whose page is 400, as a router's of a model that is not loaded, is not asked: clients try it."""
    servers = node.servers(2)
    node.steer(servers, stickiness={"key": "none"}, probe=PROBE)
    kept = []

    def come():
        kept.append(node.connect(FRONTEND["v4"], source(100 + len(kept))))
        kept[-1].send("/")

    servers[0].be(held=True, status=400)
    wait_for(lambda: come() or node.endpoint("s0")["state"] == "stalled", 30)
    for c in kept:
        c.close()
    wait_for(lambda: come() or node.decisions().get("tried", 0) > 0, 30)
    # All requests are clients'.
    wait_for(lambda: servers[0].counts().requests == node.endpoint("s0")["opened"])
    for c in kept:
        c.close()


def test_all_stand_still(node):
    """If all do, the pool goes on as if none did."""
    w = Ward(node, "lookup")
    for s in w.servers:
        s.process.send_signal(signal.SIGSTOP)
    for i in range(100, 120):
        w.ask(i)
    wait_for(lambda: w.daemon.log().count("has stopped") == 2)
    wait_for(lambda: {w.state("s0"), w.state("s1")}.isdisjoint({"stopped", "stalled"}))
    before = node.decisions()
    for i in range(200, 220):
        w.ask(i)
    assert node.decisions().get("no_endpoint", 0) == before.get("no_endpoint", 0)
    for s in w.servers:
        s.process.send_signal(signal.SIGCONT)
    w.end()


def test_a_client_that_does_not_read(node):
    """Its answer cannot come out; the server is no less able to serve others."""
    w = Ward(node, "lookup", servers=1)
    w.ask(1)
    before = w.daemon.metric("pintle_passes_total")
    wait_for(lambda: w.daemon.metric("pintle_passes_total") > before + 60, 20)
    assert w.state() == "ready"
    assert "stall" not in w.daemon.log() and "stopped" not in w.daemon.log()
    w.end()


def test_daemon_gone(node):
    """The verdict lapses with the daemon: any listener gets connections then."""
    w = Ward(node, "lookup")
    w.servers[0].process.send_signal(signal.SIGSTOP)
    w.until("stopped", 100)
    w.daemon.kill()
    wait_for(lambda: w.state() != "stopped")
    w.servers[0].process.send_signal(signal.SIGCONT)
    w.end()


def test_one_of_several_listeners(node):
    """Of a group by SO_REUSEPORT nobody accepts from one listener: clients go to the others."""
    s0 = node.server("s0", "127.0.0.1:8001", reuseport=True, listeners=2)
    with inside(node.netns):
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        deaf.bind(("127.0.0.1", 8001))
        deaf.listen(64)
    node.steer([s0])
    number = 0

    def answered(count):
        nonlocal number
        for _ in range(count):
            number += 1
            try:
                node.ask(FRONTEND["v4"], source(number), timeout=1)
            except OSError:
                return False
        return True

    wait_for(lambda: answered(30), 40)
    assert answered(100)
    assert node.endpoint("s0")["listeners"] == 3
    # Once its worker goes on, it gets clients again.
    accepted = []
    deaf.settimeout(0.1)

    def takes():
        nonlocal number
        number += 1
        waits = node.connect(FRONTEND["v4"], source(number))
        try:
            while True:
                accepted.append(deaf.accept()[1])
        except TimeoutError:
            waits.close()
        return source(number) in (a[0] for a in accepted)

    wait_for(takes, 20)
    deaf.close()


def test_one_prober_a_server(node):
    """A server of two pools, of either hook, that stands still for the clients of both is asked by one probe, which tells
    both."""
    servers = node.servers(2)
    node.server("pages", "127.0.0.1:9003")
    page = {"metrics": "http://127.0.0.1:9003/metrics"}
    other = "10.96.7.7:8000"
    more = {"stickiness": {"key": "none"}, "probe": PROBE}
    daemon = node.daemon(node.config(
        node.pool([{"name": s.name, "listen": s.listen, **page} for s in servers], "a", **more),
        node.pool([{"name": f"of-b-{s.name}", "address": f"{split(FRONTEND['v4'])[0]}:{s.listen}", **page} for s in servers],
                  "b", frontends=[other], announce=False, **more)))

    def states():
        return {e["name"]: e["state"] for e in node.cli("endpoints")}

    wait_for(lambda: set(states().values()) == {"ready"})
    servers[0].be(held=True)
    kept, number = [], 100

    def come():
        nonlocal number
        number += 1
        for frontend in (FRONTEND["v4"], other):
            kept.append(node.connect(frontend, source(number)))
            kept[-1].send("/")
        return states()["s0"] == states()["of-b-s0"] == "stalled"

    wait_for(come, 30)
    for c in kept:
        c.close()
    before = servers[0].counts().requests
    wait_for(lambda: servers[0].counts().requests >= before + 4, 30)
    assert "check of a/s0 at" in daemon.log() and "check of b/of-b-s0 at" not in daemon.log()
    servers[0].be(held=False)
    wait_for(lambda: set(states().values()) == {"ready"}, 30)
