# SPDX-License-Identifier: Apache-2.0
"""Roll-out: other pools that take a pool's connections, in both hooks."""
import signal
import socket

from clients import FRONTEND, source
from harness import case
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster
from test_classes import empty, fill, is_refused

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

LIMITED = {"classes": [{"name": "all", "limit": 3, "admission": "spill"}]}


class Lookup:
    """Pools of servers on the node. Client i has an address of its own."""

    def __init__(self, node):
        self.node, self.cli, self.pintle, self.count = node, node.cli, node.pintle, 0

    def servers(self, count):
        self.count += count
        return [self.node.server(f"s{i}", 8001 + i) for i in range(self.count - count, self.count)]

    def pool(self, servers, name, n, **more):
        """The n-th pool; clients ask for the frontend of pool 0."""
        to = FRONTEND["v4"].replace("8000", str(8000 + 100 * n))
        return self.node.pool(servers, name, **{"frontends": [to], **more})

    def start(self, *pools):
        self.daemon = self.node.daemon(self.node.config(*pools))
        wait_for(lambda: {e["state"] for e in self.cli("endpoints")} == {"ready"}, what="all endpoints to be ready")

    def reload(self, *pools):
        self.daemon.reload(self.node.config(*pools))

    def ask(self, i=1):
        return self.node.ask(FRONTEND["v4"], source(i))

    def connect(self, i=1):
        return self.node.connect(FRONTEND["v4"], source(i))

    def pintle_is_running(self, *words):
        return self.node.popen([BUILD / "pintle", "--bpffs", self.node.bpffs, *words], log="waits.log")

    def load(self):
        return self.node.load(FRONTEND["v4"], workers=3)

    def who(self, i=1):
        return "--source", source(i)


class Connect:
    """Pools of pods. Client i has a mark of its own."""

    def __init__(self, node):
        self.cluster, self.count = Cluster(node), 0
        self.cli, self.pintle = self.cluster.cli, self.cluster.pintle
        self.client = self.cluster.pod("client")

    def servers(self, count):
        self.count += count
        return [p.model for p in self.cluster.servers(count, self.count - count)]

    def pool(self, servers, name, n, **more):
        """The n-th pool; clients ask for the frontend of pool 0."""
        pods = [s.node for s in servers]
        return self.cluster.pool(pods, name, **{
            "to": SERVICE["v4"].replace("8000", str(8000 + 100 * n)), "stickiness": {"key": "mark"}, **more})

    def start(self, *pools):
        self.daemon = self.cluster.steer(*pools)

    def reload(self, *pools):
        self.daemon.reload(self.cluster.config(*pools))

    def ask(self, i=1):
        return self.client.ask(SERVICE["v4"], options=[(socket.SOL_SOCKET, socket.SO_MARK, i)])

    def connect(self, i=1):
        return self.client.connect(SERVICE["v4"], options=[(socket.SOL_SOCKET, socket.SO_MARK, i)])

    def pintle_is_running(self, *words):
        return self.cluster.node.popen([BUILD / "pintle", "--bpffs", self.cluster.bpffs, *words], log="waits.log")

    def load(self):
        return self.client.load(SERVICE["v4"], workers=3)

    def who(self, i=1):
        return "--session", f"mark:{i}"


HOOKS = {"lookup": Lookup, "connect": Connect}


def decisions(world, pool):
    return {r["outcome"]: r["decisions"] for r in world.cli("stats") if r["pool"] == pool and r["decisions"]}


def served(world, pool):
    return sum(e["opened"] for e in world.cli("endpoints") if e["pool"] == pool)


@case(each=tuple(HOOKS))
def test_spills(node, hook):
    """Where each endpoint is full, connections go to the first fallback that has room, and come back when there is
    room again; without room anywhere they are refused."""
    world = HOOKS[hook](node)
    own, near, far = (world.servers(1) for _ in range(3))
    world.start(world.pool(own, "own", 0, fallback=["near", "far"], **LIMITED),
                world.pool(near, "near", 1, classes=[{"name": "all", "limit": 3, "admission": "refuse"}]),
                world.pool(far, "far", 2, frontends=[], classes=[{"name": "other"}, {"name": "all", "limit": 3,
                                                                      "admission": "refuse"}]))
    pool = world.cli("pools")[0]
    assert pool["fallback"] == [{"pool": "near", "fits": True}, {"pool": "far", "fits": True}], pool
    assert world.ask() == "s0"
    fill(*own)
    told = world.cli("explain", "own", *world.who())
    assert (told["asked"], told["pool"], told["chosen"], told["outcome"]) == ("own", "near", "s1", "spilled"), told
    assert world.ask() == "s1" and world.ask() == "s1"
    fill(*near)
    told = world.cli("explain", "own", *world.who())
    assert (told["pool"], told["class"], told["outcome"]) == ("far", "all", "spilled"), told
    assert world.ask() == "s2"
    sessions = {r["pool"] for r in world.cli("sessions")}
    assert sessions == {"own", "near", "far"}, sessions
    fill(*far)
    told = world.cli("explain", "own", *world.who())
    assert (told["pool"], told["outcome"], told["chosen"]) == ("own", "refused", None), told
    assert is_refused(world.ask)
    assert decisions(world, "own") == {"least_loaded": 1, "spilled": 3, "refused": 1}, decisions(world, "own")
    assert not decisions(world, "near") and (served(world, "near"), served(world, "far")) == (2, 1)
    empty(*own)
    assert world.ask() == "s0"


@case(each=tuple(HOOKS))
def test_models_that_differ(node, hook):
    """Nothing goes to a pool whose servers have none of the models, whatever a reload says, until they have one. A
    server without a list, or with nonsense in its place, changes nothing."""
    world = HOOKS[hook](node)
    own, near = (world.servers(1) for _ in range(2))
    own[0].be(models=["llama", "llama:sql"])
    near[0].be(models=["qwen"])
    pools = (world.pool(own, "own", 0, fallback=["near"], **LIMITED), world.pool(near, "near", 1))

    def fits():
        return world.cli("pools")[0]["fallback"][0]["fits"]

    world.start(*pools)
    wait_for(lambda: not fits(), 20)
    said = world.cli("status")[0]["warnings"]
    assert ["pool own names near, whose servers have none of its models (/v1/models): no connection goes there"] == said
    fill(*own)
    assert is_refused(world.ask)
    assert world.cli("explain", "own", *world.who())["outcome"] == "refused"
    world.reload(*pools, world.pool(world.servers(1), "third", 2))
    wait_for(lambda: len(world.cli("pools")) == 3)
    assert not fits() and is_refused(world.ask)
    near[0].be(models=None)
    near[0].be(models=["qwen", "llama:sql"])
    wait_for(fits, 30)
    assert world.ask() == near[0].name
    assert "serves a model of it" in world.daemon.log()



@case(each=tuple(HOOKS))
def test_takes_over_where_no_endpoint_is_ready(node, hook):
    """A pool whose endpoints are all drained has none: its fallback serves, whatever failureMode says. So does a
    fallback after the daemon was killed."""
    world = HOOKS[hook](node)
    own, spare = world.servers(1), world.servers(1)
    world.start(world.pool(own, "own", 0, fallback=["spare"], failureMode="FailClose"),
                world.pool(spare, "spare", 1))
    assert world.ask() == "s0"
    said = world.pintle("drain", "own/s0").stderr
    assert "no other endpoint of own is ready: its connections go to a fallback" in said, said
    assert ["pool own has no endpoint that is ready: connections go to a fallback"] == world.cli("status")[0]["warnings"]
    assert world.ask() == "s1"
    assert world.cli("explain", "own", *world.who())["chosen"] == "s1"
    world.daemon.kill()
    assert world.ask() == "s1"
    world.pintle("drain", "spare/s1")
    assert is_refused(world.ask)
    world.pintle("undrain", "own/s0")
    assert world.ask() == "s0"
    assert decisions(world, "own")["spilled"] == 2


@case(each=("off", "shadow"))
def test_no_fallback_that_is_not_steered(node, each):
    """A fallback in mode off or shadow takes nothing."""
    world = Lookup(node)
    own, spare = world.servers(1), world.servers(1)
    world.start(world.pool(own, "own", 0, fallback=["spare"], **LIMITED), world.pool(spare, "spare", 1, mode=each))
    fill(*own)
    assert is_refused(world.ask)
    world.pintle("mode", "spare", "enforce")
    assert world.ask() == "s1"


@case(each=tuple(HOOKS))
def test_canary(node, hook):
    """A share of the sessions goes to the canary and stays there; more of it moves only those who must, and without a
    ready endpoint the canary gives its share back."""
    world = HOOKS[hook](node)
    own, canary = world.servers(1), world.servers(1)
    world.start(world.pool(own, "own", 0, canary={"pool": "canary", "percent": 30}), world.pool(canary, "canary", 1))
    assert world.cli("pools")[0]["canary"] == {"pool": "canary", "fits": True, "share": 0.3}

    def split():
        found = {i: world.ask(i) for i in range(1, 61)}
        assert {i: world.ask(i) for i in range(1, 61)} == found
        told = {i: world.cli("explain", "own", *world.who(i))["chosen"] for i in range(1, 61, 7)}
        assert told == {i: found[i] for i in told}
        return {i for i, name in found.items() if name == "s1"}

    some = split()
    assert 6 <= len(some) <= 32, some
    assert served(world, "canary") == 2 * len(some) == sum(decisions(world, "canary").values())
    world.pintle("set", "own", "canary.percent=70")
    wait_for(lambda: world.cli("pools")[0]["canary"]["share"] == 0.7)
    more = split()
    assert some < more and 28 <= len(more) <= 54, more
    world.pintle("drain", "canary/s1")
    assert not split()
    world.pintle("set", "own", "stickiness.key=none")
    wait_for(lambda: world.cli("pools")[0]["session_key"] == "none")
    told = world.cli("explain", "own")
    assert told["canary_share"] == 0.7 and not told["certain"] and told["chosen"] == "s0", told
    assert "70.00 % are drawn for its canary" in world.pintle("explain", "own").stdout
    assert "70.00 % of the sessions are the canary's" in world.pintle("report", "own").stdout


@case(each=tuple(HOOKS))
def test_shadow_knows_others(node, hook):
    """In mode shadow the canary and the fallback get nothing, and what they would get is counted."""
    world = HOOKS[hook](node)
    own, canary, spare = (world.servers(1) for _ in range(3))
    world.start(world.pool(own, "own", 0, canary={"pool": "canary", "percent": 100}, fallback=["spare"], **LIMITED),
                world.pool(canary, "canary", 1), world.pool(spare, "spare", 2))
    fill(*own)
    assert world.ask() == "s1"
    world.pintle("drain", "canary/s1")
    assert world.ask() == "s2"
    world.pintle("mode", "own", "shadow")

    def would():
        if hook == "lookup":
            assert world.ask() == "s0"
        else:
            try:  # nobody but Pintle knows the Service here
                world.client.ask(SERVICE["v4"], timeout=0.5)
            except OSError:
                pass
        return {(r["pool"], r["outcome"]) for r in world.cli("stats") if r["shadow"]}

    assert would() == {("own", "spilled")}
    world.pintle("undrain", "canary/s1")
    assert {pool for pool, _ in would()} == {"own", "canary"}
    assert served(world, "canary") == served(world, "spare") == 1


@case(each=tuple(HOOKS))
def test_changes_under_load(node, hook):
    """Fallback and canary come, change and go while clients connect: none of them fails."""
    world = HOOKS[hook](node)
    own, other = world.servers(2), world.servers(2)
    limited = {"classes": [{"name": "all", "limit": 0.001, "admission": "spill"}]}
    pools = [[world.pool(own, "own", 0, **more), world.pool(other, "other", 1)] for more in (
        {}, {"canary": {"pool": "other", "percent": 50}}, {"fallback": ["other"], **limited},
        {"fallback": ["other"], "canary": {"pool": "other", "percent": 100}})]

    def is_there(fallback, canary):
        pool = world.cli("pools")[0]
        return bool(pool["fallback"]) == fallback and bool(pool["canary"]) == canary

    world.start(*pools[0])
    with world.load() as load:
        for i in range(12):
            world.reload(*pools[i % 4])
            wait_for(lambda i=i: is_there(i % 4 >= 2, i % 2))
            load.go_on(20)
    assert not load.failures, load.failures
    wait_for(lambda: {e["in_flight"] + e["pending"] for e in world.cli("endpoints")} == {0})
    assert world.daemon.metric("pintle_in_flight_drift_total") == 0
    assert served(world, "other")


def one_server(node, hook):
    world = HOOKS[hook](node)
    world.start(world.pool(world.servers(1), "pool", 0))
    return world


@case(each=tuple(HOOKS))
def test_drain_waits(node, hook):
    """`pintle drain --wait` ends when the last connection has, with and without the daemon."""
    world = one_server(node, hook)
    for killed in (False, True):
        with world.connect() as c:
            c.ask()
            if killed:
                world.daemon.kill()
            waits = world.pintle_is_running("drain", "pool/s0", "--wait", "--deadline", "1m")
            wait_for(lambda: world.cli("endpoints")[0]["drained"])
            assert waits.poll() is None
        assert waits.wait(20) == 0
        told = (node.dir / "waits.log").read_text()
        assert "drained; 1 open connections continue" in told and "no connection is open" in told, told
        world.pintle("undrain", "pool/s0")


@case(each=("deadline", "interrupt", "undrained"))
def test_drain_does_not_wait_for_ever(node, each):
    """At the deadline the exit status is 3. Then, and after Ctrl-C, the endpoint stays drained."""
    world = one_server(node, "lookup")
    with world.connect() as c:
        c.ask()
        waits = world.pintle_is_running("drain", "s0", "--wait", *(["--deadline", "300ms"] if each == "deadline" else []))
        wait_for(lambda: world.cli("endpoints")[0]["drained"])
        if each == "interrupt":
            waits.send_signal(signal.SIGINT)
        elif each == "undrained":
            world.pintle("undrain", "s0")
        status = waits.wait(20)
    told = (node.dir / "waits.log").read_text()
    assert {"deadline": status == 3 and "1 connections are open" in told, "interrupt": status == -signal.SIGINT,
            "undrained": status == 1 and "it was undrained" in told}[each], (status, told)
    assert world.cli("endpoints")[0]["drained"] == (each != "undrained")


@case(each=(("drain", "s0", "--deadline", "1m"), ("drain", "s0", "--wait", "--deadline", "5"), ("undrain", "s0", "--wait")))
def test_drain_options(node, each):
    refused = node.run(BUILD / "pintle", *each, check=False)
    assert refused.returncode == 2, refused


def endpoint(world, name):
    row, = [e for e in world.cli("endpoints") if e["name"] == name]
    return row


def weighed(world, servers, weights, **more):
    """A pool of these servers, with their weights."""
    pool = world.pool(servers, "pool", 0, stickiness={"key": "none"}, **more)
    for e, weight in zip(pool["endpoints"], weights):
        e["weight"] = weight
    return pool


@case(each=tuple(HOOKS))
def test_weights(node, hook):
    """An endpoint of weight 3 has three times the connections of the other, with and without the daemon, in mode
    baseline, and after a change."""
    world = HOOKS[hook](node)
    servers = world.servers(2)
    # Between scrapes, each connection counts.
    slow = {"saturation": {"staleness": "1500ms"}, "scrape": {"interval": "1s"}}
    world.start(weighed(world, servers, (3, 1), **slow))
    wait_for(lambda: [e["weight"] for e in world.cli("endpoints")] == [3, 1])

    def spread(n):
        held = [world.connect(i) for i in range(n)]
        found = [c.ask() for c in held].count("s0")
        for c in held:
            c.close()
        wait_for(lambda: {e["in_flight"] + e["pending"] for e in world.cli("endpoints")} == {0})
        return found

    assert 10 <= spread(16) <= 14
    world.pintle("mode", "pool", "baseline")
    assert 60 <= spread(100) <= 90
    world.pintle("mode", "pool", "enforce")
    world.reload(weighed(world, servers, (1, 1), **slow))
    wait_for(lambda: [e["weight"] for e in world.cli("endpoints")] == [1, 1])
    assert 6 <= spread(16) <= 10
    world.reload(weighed(world, servers, (1, 7), **slow))
    wait_for(lambda: [e["weight"] for e in world.cli("endpoints")] == [1, 7])
    world.daemon.kill()
    wait_for(lambda: {e["state"] for e in world.cli("endpoints")} == {"stale"})
    assert 1 <= spread(16) <= 3


@case(each=tuple(HOOKS))
def test_slow_start(node, hook):
    """A server that is back takes a tenth of its share at first, is not starved, and has all of it in the end."""
    world = HOOKS[hook](node)
    servers = world.servers(2)
    world.start(weighed(world, servers, (1, 1), slowStart="1h", scrape={"interval": "1s"}, saturation={"staleness": "5s"}))
    weights = lambda: [e["weight"] for e in world.cli("endpoints")]
    assert weights() == [0.1, 0.1], "both are new"
    world.pintle("set", "pool", "slowStart=0s")
    wait_for(lambda: weights() == [1, 1])
    world.pintle("set", "pool", "slowStart=1h")
    assert weights() == [1, 1], "both are warm"
    world.pintle("drain", "pool/s1")
    wait_for(lambda: weights() == [1, 0.1])
    world.pintle("undrain", "pool/s1")
    held = [world.connect(i) for i in range(11)]
    found = [c.ask() for c in held]
    assert 1 <= found.count("s1") <= 3, found
    world.pintle("set", "pool", "slowStart=8s")
    seen = set()
    wait_for(lambda: seen.add(endpoint(world, "s1")["weight"]) or endpoint(world, "s1")["weight"] == 1, 20)
    assert [w for w in seen if 0.1 < w < 1], seen
    more = [world.connect(i) for i in range(8)]
    assert [c.ask() for c in more].count("s1") >= 2
    for c in held + more:
        c.close()


@case(each=tuple(HOOKS))
def test_weights_change_under_load(node, hook):
    """Weights and slow start come, change and go while clients connect: none of them fails."""
    world = HOOKS[hook](node)
    servers = world.servers(2)
    turns = [((1, 1), "0s"), ((3, 1), "0s"), ((1, 8), "1h"), ((2, 2), "1h")]
    world.start(weighed(world, servers, turns[0][0]))
    with world.load() as load:
        for i in range(12):
            weights, slow = turns[i % 4]
            world.reload(weighed(world, servers, weights, slowStart=slow))
            name = f"pool/s{i % 2}"
            world.pintle("drain", name)
            if slow != "0s":
                wait_for(lambda i=i, w=weights: endpoint(world, f"s{i % 2}")["weight"] < w[i % 2])
            load.go_on(10)
            world.pintle("undrain", name)
            load.go_on(10)
            world.pintle("set", "pool", "slowStart=0s")
            wait_for(lambda w=weights: tuple(e["weight"] for e in world.cli("endpoints")) == w)
            load.go_on(10)
            world.pintle("reset", "pool")
    assert not load.failures, load.failures
    wait_for(lambda: {e["in_flight"] + e["pending"] for e in world.cli("endpoints")} == {0})
    assert world.daemon.metric("pintle_in_flight_drift_total") == 0
    assert all(e["opened"] for e in world.cli("endpoints"))
