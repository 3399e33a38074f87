# SPDX-License-Identifier: Apache-2.0
"""A server that is alive and does not serve gets no new connection but a try now and then."""
import signal

from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster


class Ward:
    """Two servers behind a pool of either hook; s0 is going to stand still."""

    def __init__(self, node, hook, servers=2):
        if hook == "lookup":
            self.servers = node.servers(servers)
            self.daemon = node.steer(self.servers)
            self.node = node
            self.open = lambda n: node.connect(FRONTEND["v4"], source(n))
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
    before, tried = w.row()["placed"], w.tried()
    for i in bound:
        w.ask(i)
    assert w.row()["placed"] - before == w.tried() - tried
    wait_for(lambda: w.tried() > tried or w.ask(300))  # a try comes in time
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
