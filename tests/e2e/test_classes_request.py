# SPDX-License-Identifier: Apache-2.0
"""Classes, limits, tenants, access and roll-out where pools are decided by request: with servers on the node, and in
pods of the node. There connect() succeeds, and who is told no is reset or answered when the request has come."""
import test_in_pods as in_pods
from clients import FRONTEND, source
from harness import case
from kernel import trying, wait_for
from pods import SERVICE, Cluster
from test_audit import Trail
from test_classes import empty, fill
from test_divert import POST, Answer, chunked
from test_handoff import HANDED
from test_judge import classes_of, hurry

WHERE = ("node", "pods")
BODY = b"x" * 100_000

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False


class World:
    """Servers, and two clients with addresses of their own. Each of their requests names a session."""

    def __init__(self, node, where, count=2):
        self.where = where
        if where == "node":
            self.pins = node
            self.servers = self.endpoints = node.servers(count)
            self.addresses = [source(7), source(8)]
        else:
            self.pins = Cluster(node)
            self.endpoints = self.pins.servers(count)
            self.servers = [p.model for p in self.endpoints]
            self.clients = [self.pins.pod(f"client{i}") for i in range(2)]
            self.addresses = [c.v4 for c in self.clients]

    def pool(self, name="pool", endpoints=None, **more):
        endpoints = self.endpoints if endpoints is None else endpoints
        if self.where == "node":
            return self.pins.pool(endpoints, name, **{**HANDED, **more})
        return in_pods.pool_of(self.pins, endpoints, name=name, **more)

    def start(self, *pools, **settings):
        self.daemon = self.pins.daemon(self.pins.config(*pools, **settings))
        wait_for(lambda: {e["state"] for e in self.pins.cli("endpoints")} == {"ready"}, 20, "all endpoints ready")
        return self

    def connect(self, client=1):
        if self.where == "node":
            return self.pins.connect(FRONTEND["v4"], self.addresses[client])
        return self.clients[client].connect(SERVICE["v4"])

    def hold(self, client=1, session="s"):
        """A connection on which one request was answered; None: it was reset."""
        c = self.connect(client)
        try:
            c.ask(headers={"X-Session-Id": session})
            return c
        except ConnectionResetError:
            c.close()
            return None

    def ask(self, client=1, session="s"):
        """The server's name; None: reset."""
        with self.connect(client) as c:
            try:
                return c.ask(close=True, headers={"X-Session-Id": session})
            except ConnectionResetError:
                return None

    def outcomes(self, pool="pool"):
        return {r["outcome"]: r["decisions"] for r in self.pins.cli("stats")
                if r["pool"] == pool and r.get("decisions")}

    def batch(self, **how):
        """Client 1 is batch."""
        return {"classes": [{"name": "interactive"},
                            {"name": "batch", "priority": -1, "rules": [{"source": self.addresses[1]}], **how}]}


@case(each=WHERE)
def test_refused(node, where):
    """Batch is reset where all is full for it, others are served; and batch again where there is room. So without the
    daemon."""
    w = World(node, where)
    w.start(w.pool(**w.batch(limit=3, admission="refuse")))
    assert w.ask() and w.ask(0)
    fill(*w.servers)
    assert w.ask() is None and w.ask(0)
    assert w.outcomes()["refused"] == 1, w.outcomes()
    w.daemon.kill()
    assert w.ask() is None and w.ask(0)
    assert w.outcomes()["refused"] == 2, w.outcomes()


REQUESTS = {
    "whole": [POST + b"Content-Length: 2\r\n\r\n{}"],
    "100 kB": [POST + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY],
    "headers in pieces": [POST[:30], POST[30:60], POST[60:] + b"Content-Length: 4\r\n\r\n{}", b"{}"],
    "chunked": [POST + b"Transfer-Encoding: chunked\r\n\r\n", chunked(BODY, b"yy")],
}


@case(each=WHERE)
def test_diverted(node, where):
    """The overload responder gets all of the request, and answers it; without pintled the client is reset."""
    w = World(node, where)
    w.start(w.pool(**w.batch(limit=3, admission="divert")))
    wait_for(lambda: w.daemon.metric("pintle_overload_up") == 1)
    fill(*w.servers)
    for n, (what, parts) in enumerate(REQUESTS.items(), 1):
        with trying(what), w.connect() as c:
            for part in parts:
                c.sock.sendall(part)
            assert "'batch'" in Answer(c.sock).error["message"]
        assert w.outcomes()["diverted"] == n, (what, w.outcomes())
        assert w.daemon.metric("pintle_overload_connections_total", result="answered") == n, what
    assert w.ask(0)
    w.daemon.kill()
    wait_for(lambda: w.ask() is None)
    assert w.ask(0)


@case(each=WHERE)
def test_spilled(node, where):
    """To the fallback, and back where there is room again."""
    w = World(node, where)
    own, spare = w.endpoints[:1], w.endpoints[1:]
    w.start(w.pool(endpoints=own, fallback=["spare"], **w.batch(limit=3, admission="spill")),
            w.pool("spare", spare, frontends=[]))
    fill(w.servers[0])
    assert w.ask() == "s1" and w.ask(0) == "s0"
    assert w.outcomes()["spilled"] == 1, w.outcomes()
    empty(w.servers[0])
    assert w.ask() == "s0"


@case(each=WHERE)
def test_proceeds(node, where):
    w = World(node, where)
    w.start(w.pool(**w.batch(limit=3, admission="proceed")))
    fill(*w.servers)
    assert w.ask() and w.ask(0)


@case(each=WHERE)
def test_connections(node, where):
    """Connections of the class, and the sessions that share them, are those of requests."""
    w = World(node, where)
    w.start(w.pool(**w.batch(poolConnections=8, admission="refuse")))
    first = [w.hold(session="a") for _ in range(7)]
    second = [w.hold(session="b")]
    told = lambda: w.pins.cli("explain", "pool", "--class", "batch")
    wait_for(lambda: told()["sessions"] == 2, 10, told)
    assert all(first + second) and w.hold(session="a") is None and w.hold(session="b") is None
    first.pop().close()
    wait_for(lambda: told()["pool_in_flight"] == 7)
    assert w.hold(session="a") is None, "it has more than its share"
    second.append(w.hold(session="b"))
    assert second[-1]
    w.daemon.kill()
    assert w.hold(session="b") is None and w.ask(0)
    for c in first + second:
        c.close()
    wait_for(lambda: told()["pool_in_flight"] == 0)
    assert w.ask(session="a")


@case(each=WHERE)
def test_reserve(node, where):
    w = World(node, where)
    made = w.batch(admission="refuse")
    made["classes"][0]["reserve"] = 1
    w.start(w.pool(**made))
    kept, = wait_for(lambda: [c["endpoint"] for c in w.pins.cli("explain", "pool", "--class", "batch")["candidates"]
                              if c["full"]])
    assert {w.ask(session=f"s{i}") for i in range(12)}.isdisjoint({kept, None})
    next(s for s in w.servers if s.name not in kept).set(running=9)
    next(s for s in w.servers if s.name not in kept).scraped()
    assert w.ask(0) and w.ask() not in (kept, None)


@case(each=WHERE)
def test_tenants(node, where):
    """Quotas, by the client's address."""
    w = World(node, where)
    w.start(w.pool(tenants={"by": "source", "connections": 2}))
    held = [w.hold() for _ in range(2)]
    wait_for(lambda: [r["in_flight"] for r in w.pins.cli("tenants") if r["tenant"] != "other"] == [2])
    assert w.ask() is None and w.ask(0)
    w.daemon.kill()
    assert w.ask() is None and w.ask(0)
    for c in held:
        c.close()
    wait_for(w.ask)


@case(each=WHERE)
def test_a_rate(node, where):
    w = World(node, where)
    w.start(w.pool(tenants={"by": "source", "rate": "1/h", "burst": 3}))
    assert [bool(w.ask()) for _ in range(4)] == [True, True, True, False]
    assert w.ask(0)


@case(each=WHERE)
def test_access(node, where):
    """Who may not connect is reset, and the audit has him."""
    w, trail = World(node, where), Trail(node.dir / "audit.jsonl")
    w.start(w.pool(access={"allow": [{"source": w.addresses[0]}]}), audit={"file": str(trail.path)})
    assert w.ask(0) and w.ask() is None
    line, = trail.has(1)
    assert trail.clients() == [w.addresses[1]] and (line["hook"], line["pool"]) == ("lookup", "pool"), line
    w.daemon.kill()
    assert w.ask(0) and w.ask() is None


@case(each=WHERE)
def test_by_the_operator(node, where):
    """A session that requests name gets a class, and no other session of its client."""
    w = World(node, where)
    made = w.batch(limit=3, admission="refuse")
    del made["classes"][1]["rules"]
    w.start(w.pool(**made))
    assert w.ask(session="a")
    row, = wait_for(lambda: w.pins.cli("sessions"))
    w.pins.pintle("classify", "pool", row["session"], "batch")
    fill(*w.servers)
    assert w.ask(session="a") is None and w.ask(session="b")
    w.daemon.kill()
    assert w.ask(session="a") is None and w.ask(session="b")


@case(each=WHERE)
def test_by_the_classifier(node, where):
    """A session that requests name behaves like a batch job, and is refused; another one of the same client is not."""
    w = World(node, where)
    made = w.batch(limit=3, admission="refuse")
    del made["classes"][1]["rules"]
    w.start(w.pool(classify=True, **made))
    hurry(lambda: w.ask(session="a"), lambda: classes_of(w.pins))
    assert list(classes_of(w.pins).values()) == [("batch", "classifier")], classes_of(w.pins)
    fill(*w.servers)
    assert w.ask(session="a") is None and w.ask(session="b")
    told = w.pins.cli("explain", "pool", "--source", w.addresses[1], "--header", "X-Session-Id: a")
    assert (told["class"], told["class_by"], told["outcome"]) == ("batch", "classifier", "refused"), told


@case(each=WHERE)
def test_canary(node, where):
    """A share of the sessions that requests name, each of them on its side."""
    w = World(node, where)
    w.start(w.pool(endpoints=w.endpoints[:1], canary={"pool": "next", "percent": 50}),
            w.pool("next", w.endpoints[1:], frontends=[]))
    met = {s: {w.ask(session=str(s)) for _ in range(3)} for s in range(24)}
    assert all(len(m) == 1 for m in met.values()), met
    assert set.union(*met.values()) == {"s0", "s1"}, met


@case(each=WHERE)
def test_shadow(node, where):
    w = World(node, where)
    w.start(w.pool(mode="shadow", **w.batch(limit=3, admission="refuse")))
    fill(*w.servers)
    assert w.ask()
    row, = [r for r in w.pins.cli("stats") if r.get("outcome") == "refused"]
    assert row["shadow"] == 1 and row["decisions"] == 0, row


@case(each=WHERE)
def test_changes_under_load(node, where):
    """All of it comes, changes and goes by reloads while others connect and client 1 is told no: no connection of
    theirs fails, and no count is wrong afterwards."""
    w = World(node, where)
    others = [source(i) for i in (1, 2, 3)] if where == "node" else [w.addresses[0]]
    bounded = w.batch(limit=1, connections=1, admission="divert")
    steps = [{}, w.batch(limit=1, admission="refuse"), bounded, {**bounded, "tenants": {"by": "source", "rate": "100000/s"}},
             {"classes": "auto"}, {"access": {"allow": [{"source": f"{a}/32"} for a in others]}},
             {**w.batch(admission="refuse"), "slowStart": "10s"}, {"canary": {"pool": "next", "percent": 30}}]
    next_one = w.pool("next", w.endpoints[1:], frontends=[])
    own = {"endpoints": w.endpoints[:1], "fallback": ["next"]}
    configs = [w.pins.config(w.pool(**own, **more), next_one) for more in steps]
    w.start(w.pool(**own), next_one)
    at, frm = (w.pins, FRONTEND["v4"]) if where == "node" else (w.clients[0], SERVICE["v4"])
    with at.load(frm, workers=3) as load:
        for i in range(2 * len(configs)):
            w.daemon.reload(configs[i % len(configs)])
            load.go_on(15)
            w.ask()
    assert not load.failures, load.failures
    wait_for(lambda: {e["in_flight"] for e in w.pins.cli("endpoints")} == {0})
    assert w.daemon.metric("pintle_in_flight_drift_total") == 0
