# SPDX-License-Identifier: Apache-2.0
"""Without a daemon nobody learns that the servers were replaced: whoever else serves the frontends has them then."""
import signal

from clients import split
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster
from test_connect import all_zero
from test_connect_order import KUBE_PROXY

# The kernel does all this.
UNDER_SANITIZERS = False

SILENT = {"saturation": {"staleness": "300ms"}}
EJECTION = {"failures": 3, "time": "1h", "maxTime": "2h", "maxShare": 0.5}


class Rollout:
    """A pool of s0 to s2, a kube-proxy that knows s3 alone, and two clients; the daemon is gone, and then the servers
    of the pool refuse."""

    def __init__(self, node, refusing=3, failureMode="FailClose", **more):
        self.cluster = Cluster(node)
        self.pods = self.cluster.servers(4)
        self.clients = [self.cluster.pod(name) for name in ("one", "two")]
        self.cluster.nft(KUBE_PROXY.format(pod=self.pods[3], v4=split(SERVICE["v4"]), v6=split(SERVICE["v6"])))
        self.pool = self.cluster.pool(self.pods[:3], ejection=EJECTION, failureMode=failureMode, **SILENT, **more)
        self.daemon = self.cluster.steer(self.pool)
        assert self.ask(0) in ("s0", "s1", "s2")
        self.daemon.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: not self.cluster.cli("status")[0]["daemon_alive"])
        for pod in self.pods[:refusing]:
            pod.model.order("unlisten")

    def resume(self):
        self.daemon.process.send_signal(signal.SIGCONT)

    def ask(self, client):
        """The server that answered; None: the connection failed."""
        try:
            return self.clients[client].ask(SERVICE["v4"], timeout=5)
        except OSError:
            return None

    def answers(self, count, *clients):
        return {self.ask(clients[i % len(clients)]) for i in range(count)}

    def states(self):
        return sorted(e["state"] for e in self.cluster.cli("endpoints"))

    def is_left(self):
        return any("pintled has been gone for longer" in w for w in self.cluster.cli("status")[0]["warnings"])


def test_rolled(node):
    """`daemonless` of the pool after the daemon's last sign of life, kube-proxy has the connections, and keeps them
    until the daemon turns again."""
    w = Rollout(node, daemonless="2s")
    wait_for(lambda: w.ask(0) == "s3")
    assert w.answers(10, 0, 1) == {"s3"}
    assert w.is_left()
    w.pods[0].model.order("listen")
    w.resume()
    wait_for(lambda: w.ask(0) == "s0", 20)
    assert not w.is_left()
    all_zero(w.cluster)


def test_two_clients(node):
    """Where all endpoints fail two clients, kube-proxy has the pool at once, for as long as the daemon is away."""
    w = Rollout(node, daemonless="1h")
    wait_for(lambda: w.answers(2, 0, 1) == {"s3"})
    assert w.states() == ["ejected"] * 3 and w.is_left()
    for pod in w.pods[:3]:
        pod.model.order("listen")
    assert w.answers(10, 0, 1) == {"s3"}
    w.resume()
    wait_for(lambda: w.ask(0) in ("s0", "s1", "s2"), 20)
    assert not w.is_left()


@case(each=("one", "one after the other's success"))
def test_one_client_cannot(node, how):
    """One client that fails ejects `maxShare` of a pool that fails closed and no more, and the pool is kept."""
    w = Rollout(node, daemonless="1h")
    if how != "one":
        for pod in w.pods[:3]:
            pod.model.order("listen")
        assert None not in w.answers(12, 1)
        for pod in w.pods[:3]:
            pod.model.order("unlisten")
    assert w.answers(60, 0) == {None}
    assert w.states().count("ejected") <= 1
    assert not w.is_left()
    w.resume()


def test_the_only_client(node):
    """In a pool that fails open to kube-proxy, one client is enough: after three failures at each server kube-proxy has
    its connections, for as long as the ejections last, and the pool is not left."""
    w = Rollout(node, daemonless="1h", failureMode="FailOpen")
    asked = [w.ask(0) for _ in range(40)]
    assert asked.count(None) <= 9 and asked[-20:] == ["s3"] * 20, asked
    assert w.states() == ["ejected"] * 3, w.states()
    assert not w.is_left()
    for pod in w.pods[:3]:
        pod.model.order("listen")
    w.resume()
    wait_for(lambda: w.ask(0) in ("s0", "s1", "s2"), 20)
    all_zero(w.cluster)


@case(each=("access", "tenants", "classes"))
def test_who_refuses_is_kept(node, by):
    """A pool that refuses somebody is not left early, whoever fails: else two clients that stall pintled would get
    past what it refuses. It has node.daemonless."""
    w = Rollout(node, daemonless="1h", **{
        "access": {"access": {"allow": [{"port": 8000}]}},
        "tenants": {"tenants": {"by": "source", "connections": 50}},
        "classes": {"classes": [{"name": "all", "connections": 50}]},
    }[by])
    assert w.answers(120, 0, 1) == {None}
    assert not w.is_left()
    # One endpoint stays, for nobody else serves such a pool.
    assert w.states().count("ejected") == 2
    w.resume()


def test_the_last_that_serves(node):
    """Without a daemon `maxShare` does not keep clients at servers that are gone, in any pool."""
    w = Rollout(node, refusing=2)
    wait_for(lambda: w.states().count("ejected") == 2 or w.answers(6, 0, 1) == {"s2"})
    wait_for(lambda: w.answers(20, 0, 1) == {"s2"})
    assert w.states().count("ejected") == 2
    w.pods[2].model.order("unlisten")
    assert w.answers(40, 0, 1) == {None}
    assert w.states().count("ejected") == 2 and not w.is_left()
    w.resume()
