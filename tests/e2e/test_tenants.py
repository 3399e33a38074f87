# SPDX-License-Identifier: Apache-2.0
"""Quotas of tenants: connections in flight, and new ones a second; in both hooks."""
import packets
from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster
from test_classes import is_refused
from test_connect_keys import URL
from test_shares import HOOKS, close

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False


class World:
    """Three tenants. At the lookup hook they are addresses; at the connect hook pods that the API server has not named
    yet, or, where each question is asked by a process, cgroups. The last one has a rule, unless it has no name."""

    def __init__(self, node, hook, quota, rule, by="namespace"):
        self.hook, self.by = hook, by
        self.has_rule = hook == "lookup" or by == "cgroup"
        tenants = {"by": "source" if hook == "lookup" else by, **quota,
                   "rules": [{"tenant": self.address(2) if hook == "lookup" else "jobs", **rule}]}
        if hook == "lookup":
            self.side = node
            self.servers = node.servers(2)
            self.daemon = node.steer(self.servers, tenants=tenants)
            return
        self.side = Cluster(node)
        self.servers = self.side.servers(2)
        self.clients = [self.side.pod(f"client{i}") for i in range(3)]
        config = self.side.config(self.side.pool(self.servers, tenants=tenants))
        if by == "cgroup":
            named = f'clients: [{{"name": "jobs", "cgroup": "*/{self.clients[2].cgroup.name}"}}]'
            config = config.replace("pools:", named + "\npools:", 1)
        self.daemon = self.side.daemon(config)
        self.side.all_ready()
        if by == "cgroup":
            pin = next(p for p in self.side.bpffs.rglob("clients"))
            wait_for(lambda: '"jobs"' in node.run("bpftool", "map", "dump", "pinned", pin).stdout)

    @staticmethod
    def address(tenant):
        return source(7 + tenant, "v4")

    def connect(self, tenant=0):
        if self.hook == "lookup":
            return self.side.connect(FRONTEND["v4"], self.address(tenant))
        return self.clients[tenant].connect(SERVICE["v4"])

    def ask(self, tenant=0):
        if self.hook == "connect" and self.by == "cgroup":
            client = self.clients[tenant]
            status = client.run("curl", "-sS", "-m5", URL["v4"], cgroup=client.cgroup, check=False).returncode
            if status == 7:
                raise ConnectionRefusedError
            assert status == 0, status
            return
        with self.connect(tenant) as c:
            c.ask(close=True)

    def rows(self):
        return [r for r in self.side.cli("tenants") if r["tenant"] != "other"]

    def settled(self, *counts):
        wait_for(lambda: sorted(r["in_flight"] for r in self.rows()) == sorted(counts))


@case(each=HOOKS)
def test_connections(node, hook):
    """Two for each tenant, four for one; what ends makes room; without the daemon, too."""
    world = World(node, hook, {"connections": 2}, {"connections": 4})
    held = [world.connect(0) for _ in range(2)]
    world.settled(2)
    assert is_refused(world.connect)
    last = 4 if world.has_rule else 2
    others = [world.connect(t) for t in [1, 1] + [2] * last]
    world.settled(2, 2, last)
    assert is_refused(lambda: world.connect(1)) and is_refused(lambda: world.connect(2))
    assert sorted(r["connections"] for r in world.rows()) == [2, 2, last]
    assert sum(r["refused"] for r in world.rows()) == 3, world.rows()
    assert world.daemon.metric("pintle_tenants_refused_total", pool="pool") == 3
    if hook == "lookup":
        told = world.side.cli("explain", "pool", "--source", world.address(0))
        assert told["over_quota"] and told["outcome"] == "refused", told
        assert "its tenant has all that it may have" in world.side.pintle(
            "explain", "pool", "--source", world.address(0)).stdout
    held.pop().close()
    world.settled(1, 2, last)
    held.append(world.connect(0))
    world.settled(2, 2, last)
    world.daemon.kill()
    assert is_refused(world.connect)
    close(held + others)
    world.settled(0, 0, 0)
    assert not is_refused(world.ask)


@case(each=HOOKS)
def test_rate(node, hook):
    """Three new connections, and then one an hour; another tenant has three of its own."""
    world = World(node, hook, {"rate": "1/h", "burst": 3}, {"rate": "1/h", "burst": 1}, by="cgroup")
    for tenant, burst in ((0, 3), (1, 3), (2, 1)):
        for _ in range(burst):
            assert not is_refused(lambda t=tenant: world.ask(t))
        wait_for(lambda: not any(r["in_flight"] for r in world.rows()))
        assert is_refused(lambda t=tenant: world.ask(t)), tenant
    assert sorted(r["burst"] for r in world.rows()) == [1, 3, 3]


@case(each=HOOKS)
def test_changes_by_reload(node, hook):
    """A quota comes, changes and goes while connections are open: what is open stays, and no count is wrong."""
    world = World(node, hook, {"connections": 1}, {"connections": 1})
    held = [world.connect(0)]
    world.settled(1)
    config = open(world.daemon.config).read()
    world.daemon.reload(config.replace("connections: 1", "connections: 3"))
    wait_for(lambda: [r["connections"] for r in world.rows()] == [3])
    held += [world.connect(0) for _ in range(2)]
    world.settled(3)
    assert is_refused(world.connect)
    close(held)
    world.settled(0)


def test_forged_segments_take_nothing(node):
    """Whoever forges a tenant's address takes none of its connections, and fills the map with nobody."""
    world = World(node, "lookup", {"connections": 2, "rate": "1/h", "burst": 2}, {"connections": 1})
    forged = [(world.address(0), port) for port in range(5000, 5100)]
    packets.send(node.netns, forged + [(source(100 + n, "v4"), 5000) for n in range(100)], ("10.77.0.1", 8000), "SYN")
    assert not world.rows()
    held = [world.connect(0) for _ in range(2)]
    world.settled(2)
    close(held)
