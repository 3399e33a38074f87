# SPDX-License-Identifier: Apache-2.0
"""What an operator does to a node over months, in a row and under load: nothing may be lost.
PINTLE_SOAK=10 makes each case ten times as long."""
import os
import shutil

from clients import FRONTEND
from harness import case
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster

TIMES = int(os.environ.get("PINTLE_SOAK", "1"))


class Soak:
    """A machine with a pool of each hook, and clients that never stop."""

    def __init__(self, node):
        self.node, self.cluster = node, Cluster(node)
        self.machine = self.cluster.machines[0]
        self.local = [self.machine.server(f"l{i}", 8001 + i) for i in range(3)]
        self.pods = self.cluster.servers(3)
        self.client = self.cluster.pod("client")
        self.daemon = self.cluster.daemon(self.config())

    def config(self, local=slice(None), pods=slice(None)):
        return self.cluster.config(self.node.pool(self.local[local], "lookup"),
                                   self.cluster.pool(self.pods[pods], "connect"))

    def start(self, **more):
        self.daemon = self.cluster.daemon(self.config(), **more)

    def run(self, times, act, broken=()):
        """Does it so many times while connections to both pools are made; none may fail, but for
        what is `broken` by a server's own end, and no count may be wrong."""
        with self.client.load(SERVICE["v4"], workers=2) as pods, \
                self.machine.load(FRONTEND["v4"], workers=2) as local:
            for i in range(times):
                act(i)
                pods.go_on(20)
                local.go_on(20)
        for load in (pods, local):
            failures = [f for f in load.failures if not f.startswith(broken)]
            assert not failures, (len(failures), load.done, failures[:3])
        wait_for(lambda: set(self.cluster.in_flight().values()) == {0}, 20, "all connections to end")
        assert self.daemon.metric("pintle_in_flight_drift_total") == 0


@case(timeout=60 + 60 * TIMES)
def test_kills(node):
    """kill -9 and start, 5 times."""
    soak = Soak(node)

    def kill(_):
        soak.daemon.kill()
        soak.start()

    soak.run(5 * TIMES, kill)


@case(timeout=60 + 60 * TIMES)
def test_reloads(node):
    """SIGHUP with endpoints of both pools taken out and put back, 20 times."""
    soak = Soak(node)
    shapes = [(slice(0, 2), slice(None)), (slice(None), slice(1, 3)), (slice(1, 3), slice(0, 2)),
              (slice(None), slice(None))]

    def reload(i):
        local, pods = shapes[i % len(shapes)]
        names = {e.name for e in [*soak.local[local], *soak.pods[pods]]}
        soak.daemon.reload(soak.config(local, pods))
        wait_for(lambda: {e["name"] for e in soak.cluster.cli("endpoints")} == names)
        soak.cluster.all_ready()

    soak.run(20 * TIMES, reload)


@case(timeout=60 + 60 * TIMES)
def test_binaries(node):
    """Another binary takes over, twice."""
    soak = Soak(node)

    def replace(i):
        binary = node.dir / f"pintled-{i}"
        shutil.copy(BUILD / "pintled", binary)
        soak.daemon.stop()
        soak.start(binary=binary)

    soak.run(2 * TIMES, replace)


@case(timeout=60 + 60 * TIMES)
def test_a_server_that_restarts(node):
    """One of three servers is killed and started again, 5 times: no client notices."""
    soak = Soak(node)

    def restart(_):
        soak.local[0].kill()
        soak.local[0].start()

    # What the server had accepted breaks with it, steered or not; nobody is refused.
    soak.run(5 * TIMES, restart, broken=("ConnectionReset", "ConnectionError"))
