# SPDX-License-Identifier: Apache-2.0
"""Quotas of tenants: connections in flight, and new ones a second; in both hooks."""
import time

import packets
from clients import FRONTEND, source, split
from harness import case, cgroup_root
from kernel import wait_for
from pods import SERVICE, Cluster
from test_classes import UID, is_refused, pod_is, world
from test_connect_keys import URL
from test_connect_witnesses import NOBODY
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
    assert all(" 1/h " in line for line in world.side.pintle("tenants", "--pool", "pool").stdout.splitlines()
               if line.startswith("pool ") and " other " not in line)
    assert "no pool 'nosuch'" in world.side.pintle("tenants", "--pool", "nosuch", check=False).stderr


def test_by_path(node):
    """A rule names a cgroup by its path, or a pattern: all below it is one tenant, which is shown by that path. The other
    cgroups are tenants by themselves."""
    cluster = Cluster(node)
    servers = cluster.servers(2)
    path, pattern, other = [cluster.pod(f"client{i}") for i in range(3)]
    for client in (path, pattern, other):
        for below in "abc":
            (client.cgroup / below).mkdir()
    names = [f"/{path.cgroup.relative_to(cgroup_root())}", "/*/client1"]
    rules = [{"tenant": name, "rate": "1/h", "burst": i + 1} for i, name in enumerate(names)]
    daemon = cluster.steer(cluster.pool(servers, tenants={"by": "cgroup", "connections": 50, "rules": rules}))

    def ask(client, below):
        return client.run("curl", "-sS", "-m5", URL["v4"], cgroup=client.cgroup / below, check=False).returncode

    assert [ask(path, "a"), ask(path, "b")] == [0, 7]
    assert [ask(pattern, "a"), ask(pattern, "b"), ask(pattern, "c")] == [0, 0, 7]
    assert [ask(other, "a") for _ in range(3)] == [0, 0, 0]
    rows = {r["tenant"]: r for r in cluster.cli("tenants")}
    for burst, name in enumerate(names, 1):
        row = rows["cgroup:" + name]
        assert (row["burst"], row["opened"], row["refused"]) == (burst, burst, 1), row
        wait_for(lambda: daemon.metric("pintle_tenant_time_to_first_token_seconds_count", pool="pool",
                                       tenant="cgroup:" + name) == burst)
    told = cluster.cli("explain", "pool", "--cgroup", names[0])
    assert told["over_quota"] and told["outcome"] == "refused", told
    assert "cgroup:" + names[0] in cluster.pintle("tenants").stdout


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


@case(each=HOOKS)
def test_only_where_enforced(node, hook):
    """In mode baseline no quota holds, and none is counted as one that told anybody no."""
    world = World(node, hook, {"connections": 1}, {"connections": 1})
    held = [world.connect(0)]
    world.settled(1)
    assert is_refused(world.connect)
    world.side.pintle("mode", "pool", "baseline")
    held += [world.connect(0) for _ in range(2)]
    world.settled(3)
    assert [(r["opened"], r["refused"]) for r in world.rows()] == [(3, 1)], world.rows()
    world.side.pintle("mode", "pool", "enforce")
    assert is_refused(world.connect)
    close(held)
    world.settled(0)


IP_FREEBIND = 15
CLAIM = """
import socket, sys, time
held = [socket.socket() for _ in range(4)]
for s in held:
    s.setsockopt(socket.IPPROTO_IP, int(sys.argv[1]), 1)
    s.bind((sys.argv[2], 0))
    s.setsockopt(socket.IPPROTO_IP, int(sys.argv[1]), 0)
    try:
        s.connect((sys.argv[3], int(sys.argv[4])))
    except OSError:
        pass
print(flush=True)
time.sleep(1000)
"""


def test_an_address_of_another_takes_nothing(node):
    """Anybody may bind a socket to the address of another pod. Whoever does takes no connection of its quota."""
    cluster, servers, victim, _ = world(node, {"port": 1}, tenants={"by": "source", "connections": 1})
    container = victim.cgroup / f"kubepods/burstable/pod{UID}/c1"
    container.mkdir(parents=True)
    status = lambda: victim.run("curl", "-sS", "-m5", URL["v4"], cgroup=container, check=False).returncode
    assert status() == 0
    wait_for(lambda: pod_is(cluster, "10.7.0.9", b"jobs", b"run") is None)
    assert status() == 0
    other = cluster.pod("other")
    claims = other.popen([*NOBODY, "/usr/bin/python3", "-I", "-S", "-c", CLAIM, str(IP_FREEBIND), "10.7.0.9",
                          *split(SERVICE["v4"])], stdout=-1)
    claims.stdout.readline()
    assert status() == 0
    rows = {r["tenant"]: (r["opened"], r["refused"]) for r in cluster.cli("tenants")}
    assert rows["10.7.0.9"] == (2, 0), rows


def test_forged_segments_take_nothing(node):
    """Whoever forges a tenant's address takes none of its connections, and fills the map with nobody."""
    world = World(node, "lookup", {"connections": 2, "rate": "1/h", "burst": 2}, {"connections": 1})
    forged = [(world.address(0), port) for port in range(5000, 5100)]
    packets.send(node.netns, forged + [(source(100 + n, "v4"), 5000) for n in range(100)], ("10.77.0.1", 8000), "SYN")
    assert not world.rows()
    held = [world.connect(0) for _ in range(2)]
    world.settled(2)
    close(held)


@case(each=HOOKS, timeout=120)
def test_ends_that_nobody_saw(node, hook):
    """Connections end while no program of Pintle's sees it, and their sockets are gone. The count comes back to what is
    open, while others come and go, and falls no lower."""
    world = World(node, hook, {"connections": 10}, {"connections": 10}, by="cgroup")
    held = [world.connect(0) for _ in range(6)]
    for c in held:
        c.ask()
    world.settled(6)
    config = open(world.daemon.config).read()
    world.daemon.kill()
    for link in ("link_sockops_servers",) if hook == "lookup" else ("link_sockops_clients", "link_release"):
        pin = next(world.side.bpffs.rglob(link))
        node.run("bpftool", "link", "detach", "pinned", pin)
        pin.unlink()
    close(held[:4])
    models = world.servers if hook == "lookup" else [s.model for s in world.servers]
    wait_for(lambda: sum(m.counts().open for m in models) == 2)
    [before] = world.rows()
    assert before["in_flight"] == 6, before
    world.daemon = world.side.daemon(config)

    def come_and_go():
        world.ask(1)
        [tenant] = [r for r in world.rows() if r["tenant"] == before["tenant"]]
        assert tenant["in_flight"] >= 2, tenant
        return tenant["in_flight"] == 2

    wait_for(come_and_go, 60)
    close(held[4:])
    wait_for(lambda: not any(r["in_flight"] for r in world.rows()))


@case(each=HOOKS)
def test_first_tokens(node, hook):
    """How long each tenant's clients waited: in a histogram of its own, and in percentiles of the last minute; also of
    what came while no daemon ran."""
    world = World(node, hook, {"connections": 50}, {"connections": 50}, by="cgroup")
    histogram = "pintle_tenant_time_to_first_token_seconds"

    def measured():
        return sorted(r["first_tokens_last_minute"] or 0 for r in world.rows())

    def ask(tenant):
        """At a server the request must have been acknowledged before its answer comes: after 40 ms at the latest."""
        if hook == "connect":
            world.ask(tenant)
            return
        with world.connect(tenant) as c:
            c.send(close=True)
            begun = time.monotonic()
            wait_for(lambda: time.monotonic() > begun + 0.1)
            for server in world.servers:
                server.order("release")
            c.read()

    for server in world.servers if hook == "lookup" else ():
        server.be(held=True)
    for tenant in (0, 0, 0, 1):
        ask(tenant)
    def all_measured():
        assert measured() == [1, 3], (world.rows(), world.daemon.metrics())
        return True

    wait_for(all_measured)
    rows = {r["tenant"]: r for r in world.rows()}
    assert all(0 < r["first_token_p50_seconds"] <= r["first_token_p95_seconds"] < 5 for r in rows.values()), rows
    assert "TTFT95" in world.side.pintle("tenants").stdout
    for name, row in rows.items():
        labels = {"pool": "pool", "tenant": name}
        assert world.daemon.metric(histogram + "_count", **labels) == row["first_tokens_last_minute"]
        assert world.daemon.metric(histogram + "_bucket", le="+Inf", **labels) == row["first_tokens_last_minute"]
        assert 0 < world.daemon.metric(histogram + "_sum", **labels) < 15
    assert world.daemon.metric("pintle_pool_time_to_first_token_seconds_count", pool="pool", **{"class": ""}) == 4
    config = open(world.daemon.config).read()
    world.daemon.kill()
    ask(1)
    world.daemon = world.side.daemon(config)
    one = next(name for name, row in rows.items() if row["first_tokens_last_minute"] == 1)
    wait_for(lambda: world.daemon.metric(histogram + "_count", pool="pool", tenant=one) == 2)
    world.daemon.reload(config.replace('metricsDetail: "all"', 'metricsDetail: "main"'))
    wait_for(lambda: not any(name.startswith(histogram) for name, _ in world.daemon.metrics()))
