# SPDX-License-Identifier: Apache-2.0
"""Classes: who belongs to one, and what its limit does, in both hooks."""
import contextlib
import errno
import json
import socket
import struct

from clients import FRONTEND, source
from harness import case
from kernel import BUILD, cgroup_root, wait_for
from pods import SERVICE, Cluster, mapped
from test_connect import BOTH
from test_connect_keys import CLASS, LEVEL, URL

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

INTERACTIVE, BATCH = range(2)
NO_SHARES = {"connections": None, "pool_connections": None, "reserve": None}
DSCP_8 = 8 << 2  # as IP_TOS has it


def classes(*rules, **batch):
    """Batch may fill an endpoint up to a load of 3."""
    return {"classes": [{"name": "interactive"},
                        {"name": "batch", "priority": -1, "limit": 3, "admission": "refuse", "rules": list(rules),
                         **batch}]}


def hint(number):
    return LEVEL, CLASS, struct.pack("=I", number)


def is_refused(ask):
    """Whether the connection is refused; any other failure is one."""
    try:
        ask()
    except ConnectionRefusedError:
        return True
    return False


def fill(*servers):
    for s in servers:
        s.set(running=5)
        s.scraped()


def empty(*servers):
    for s in servers:
        s.set(running=0)
        s.scraped()


@case(each=BOTH)
def test_full_for_batch_alone(node, family):
    """The lookup hook: clients by their addresses. Where each endpoint is full for batch, batch is refused at once,
    and others are served; when one has room again, batch goes there."""
    servers = node.servers(2)
    node.steer(servers, **classes({"source": source(7, family)}))
    batch, other = (lambda n=n: node.ask(FRONTEND[family], source(n, family)) for n in (7, 8))
    assert not is_refused(batch) and not is_refused(other)
    fill(*servers)
    told = {n: node.cli("explain", "pool", "--source", source(n, family))["outcome"] for n in (7, 8)}
    assert told[7] == "refused" != told[8], told
    assert is_refused(batch) and is_refused(batch)
    assert not is_refused(other)
    assert node.decisions()["refused"] == 2
    empty(servers[1])
    assert batch() == "s1"
    assert node.decisions()["refused"] == 2


def test_by_port(node):
    """A frontend of its own for batch."""
    servers = node.servers(1)
    to = FRONTEND["v4"].replace("8000", "8100")
    node.steer(servers, frontends=[FRONTEND["v4"], to], **classes({"port": 8100}))
    fill(*servers)
    assert is_refused(lambda: node.ask(to))
    assert node.ask(FRONTEND["v4"]) == "s0"


def world(node, *rules, family="v4", settings=None, **more):
    cluster = Cluster(node)
    servers = cluster.servers(2)
    daemon = cluster.steer(cluster.pool(servers, family=family, **{**classes(*rules), **more}), **(settings or {}))
    return cluster, [p.model for p in servers], cluster.pod("client"), daemon


@case(each=BOTH)
def test_by_hint(node, family):
    """The connect hook: a client lowers its class by a hint, and does not raise it."""
    cluster, servers, client, _ = world(node, family=family)
    fill(*servers)
    to = SERVICE[family]
    assert is_refused(lambda: client.ask(to, options=[hint(BATCH)]))
    assert not is_refused(lambda: client.ask(to, options=[hint(INTERACTIVE)]))
    assert not is_refused(lambda: client.ask(to, options=[hint(7)])), "a class that there is not"
    assert not is_refused(lambda: client.ask(to))
    assert cluster.decisions()["refused"] == 1


@case(each=("nobody", "pool", "rule"))
def test_whose_hints_are_trusted(node, who):
    """A client that a rule calls batch says that it is interactive."""
    rule = {"source": "10.1.0.0/16", **({"trustHints": True} if who == "rule" else {})}
    more = {"trustHints": True} if who == "pool" else {}
    cluster, servers, client, _ = world(node, rule, **more)
    fill(*servers)
    bound = client.v4
    assert is_refused(lambda: client.ask(SERVICE["v4"], bound))
    said = is_refused(lambda: client.ask(SERVICE["v4"], bound, options=[hint(INTERACTIVE)]))
    assert said == (who == "nobody")


@case(each=BOTH)
def test_by_dscp(node, family):
    """What the client's packets will carry counts as a hint does. A socket for both families that connects to a
    v4-mapped address sends IP_TOS, whatever its IPV6_TCLASS."""
    cluster, servers, client, _ = world(node, {"dscp": 8}, family=family)
    fill(*servers)
    option = (socket.IPPROTO_IP, socket.IP_TOS) if family == "v4" else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    for tos, refused in ((0, False), (DSCP_8, True), (DSCP_8 | 2, True), (0x2e << 2, False)):
        asked = is_refused(lambda t=tos: client.ask(SERVICE[family], options=[(*option, t)]))
        assert asked == refused, (tos, asked)
    if family == "v4":
        tclass = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP_8)
        assert is_refused(lambda: client.ask(mapped(SERVICE["v4"]), options=[(*option, DSCP_8)]))
        assert not is_refused(lambda: client.ask(mapped(SERVICE["v4"]), options=[tclass]))


def test_by_cgroup(node):
    """Patterns of cgroups, for those that there are and those that come."""
    cluster, servers, client, _ = world(node, {"cgroup": "*/batch-*"})
    fill(*servers)

    def refused(name):
        path = client.cgroup / name
        path.mkdir(parents=True, exist_ok=True)
        return client.run("curl", "-sS", "-m5", URL["v4"], cgroup=path, check=False).returncode == 7

    def told(name):
        return cluster.cli("explain", "pool", "--cgroup", f"/{client.cgroup.relative_to(cgroup_root())}/{name}")["class"]

    wait_for(lambda: refused("batch-1"))
    assert told("batch-1") == "batch" and told("") == "interactive"
    wait_for(lambda: refused("batch-2/worker"))
    assert not refused("chat-1")


UID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
RULES_OF_PODS = {"source": {"source": "10.7.0.0/16"}, "namespace": {"namespace": "jobs"},
                 "account": {"serviceAccount": "jobs/run"}}


def pod_is(cluster, address, space, account, rules="rules", left_alone=False):
    """Writes what the API server would have said of the pod whose cgroup is known. Its ids are those of the map
    `clients`, and of the pool's rule."""
    pins = {p.name: p for p in cluster.bpffs.rglob("*")}

    def read(name, *words):
        return json.loads(cluster.node.run("bpftool", "-j", "map", words[0], "pinned", pins[name], *words[1:]).stdout)

    ids = [c["id"] for c in (r["formatted"]["value"] for r in read("clients", "dump")) if UID in str(c["name"])]
    assert ids, "not known yet"
    pool = read("pools", "lookup", "key", 0, 0, 0, 0)["formatted"]["value"]
    rule = pool[rules][0] if rules else {"space": 1, "account": 1}
    value = struct.pack("=QQ10s2s4s16s64s256s256sII", rule["space"], rule["account"], b"", b"\xff\xff",
                        socket.inet_aton(address), b"", space, b"pod", account, left_alone, 0)
    cluster.node.run("bpftool", "map", "update", "pinned", pins["pods"],
                     "key", *map(str, struct.pack("=Q", ids[0])), "value", *map(str, value))


@case(each=tuple(RULES_OF_PODS))
def test_by_pod(node, what):
    """A pod of this node, whose sockets are not bound, by its address, its namespace, its service account. The same
    cgroup with nothing known of it is no such pod."""
    cluster, servers, client, _ = world(node, RULES_OF_PODS[what])
    fill(*servers)
    container = client.cgroup / f"kubepods/burstable/pod{UID}/c1"
    container.mkdir(parents=True)

    def refused(cgroup):
        return client.run("curl", "-sS", "-m5", URL["v4"], cgroup=cgroup, check=False).returncode == 7

    assert not refused(container)
    wait_for(lambda: pod_is(cluster, "10.7.0.9", b"jobs", b"run") is None)
    assert refused(container)
    assert not refused(client.cgroup)
    assert cluster.cli("explain", "pool", "--pod", "jobs/pod")["class"] == "batch"
    bound = client.run("curl", "-sS", "-m5", "--interface", client.v4, URL["v4"], cgroup=container, check=False)
    assert bound.returncode == 7, "the pod's own address counts, whatever its socket is bound to"


def test_proceed(node):
    """Without admission the limit moves connections, and refuses none."""
    cluster, servers, client, _ = world(node, {"source": "10.1.0.0/16"}, settings=None,
                                        classes=classes({"source": "10.1.0.0/16"}, admission="proceed")["classes"])
    fill(servers[0])
    assert client.spread(SERVICE["v4"], 6, frm=client.v4) == {"s1": 6}
    fill(*servers)
    assert sum(client.spread(SERVICE["v4"], 6, frm=client.v4).values()) == 6
    assert "refused" not in cluster.decisions()


def test_shadow(node):
    """In mode shadow nobody is refused, and what would be is counted."""
    cluster, servers, client, _ = world(node, mode="shadow")
    fill(*servers)

    def unanswered():
        try:
            client.ask(SERVICE["v4"], options=[hint(BATCH)], timeout=1)
        except OSError as e: # nobody but Pintle knows the Service here
            return e.errno != errno.ECONNREFUSED or isinstance(e, TimeoutError)
        return True

    assert unanswered()
    row, = [r for r in cluster.cli("stats") if r["outcome"] == "refused"]
    assert row["shadow"] == 1 and row["decisions"] == 0, row


class Counted:
    """A pool of either hook, and a client of each class: by its address, or by a hint."""

    def __init__(self, node, hook, **more):
        if hook == "lookup":
            self.place, self.servers = node, node.servers(2)
            self.config = node.config(node.pool(self.servers, **classes({"source": source(7)}), **more))
            self.interactive, self.batch = (lambda n=n: node.ask(FRONTEND["v4"], source(n)) for n in (8, 7))
        else:
            self.place = Cluster(node)
            pods = self.place.servers(2)
            self.servers = [p.model for p in pods]
            self.config = self.place.config(self.place.pool(pods, **classes(), **more))
            client = self.place.pod("client")
            self.interactive = lambda: client.ask(SERVICE["v4"], timeout=2)
            self.batch = lambda: client.ask(SERVICE["v4"], timeout=2, options=[hint(BATCH)])
        self.start()

    def start(self):
        self.daemon = self.place.daemon(self.config)
        wait_for(lambda: {e["state"] for e in self.place.cli("endpoints")} == {"ready"})

    def counts(self, name="pintle_class_decisions_total"):
        """{class: {outcome: decisions}}, without zeros."""
        found = {"interactive": {}, "batch": {}}
        for (n, labels), value in self.daemon.metrics().items():
            if n == name and value:
                found[dict(labels)["class"]][dict(labels)["outcome"]] = value
        return found


@case(each=("lookup", "connect"))
def test_decisions_by_class(node, hook):
    """Each decision counts in its class, without the daemon too; together they are the pool's."""
    w = Counted(node, hook, stickiness={"key": "none"})
    for _ in range(3):
        w.interactive()
    w.batch()
    fill(*w.servers)
    for ask in (w.batch, w.batch, w.interactive):
        assert is_refused(ask) == (ask == w.batch)
    w.daemon.stop()
    w.interactive()
    w.start()
    found = w.counts()
    assert found["batch"].pop("refused") == 2 and "refused" not in found["interactive"], found
    assert sum(found["interactive"].values()) == 5 and sum(found["batch"].values()) == 1, found
    total = {labels: value for (n, labels), value in w.daemon.metrics().items() if n == "pintle_decisions_total"}
    assert sum(total.values()) == 8
    assert not any(w.counts("pintle_class_shadow_decisions_total").values())
    fill(*w.servers)
    w.place.pintle("mode", "pool", "shadow")
    for ask in (w.batch, w.interactive):
        with contextlib.suppress(OSError):  # behind the Service is nobody but Pintle here
            assert not is_refused(ask)
    would = w.counts("pintle_class_shadow_decisions_total")
    assert would["batch"] == {"refused": 1} and sum(would["interactive"].values()) == 1, would


def test_changes_under_load(node):
    """Classes come, change and go by reloads while interactive clients connect: none of them fails, and no count
    is wrong afterwards."""
    cluster = Cluster(node)
    servers, client = cluster.servers(2), cluster.pod("client")
    configs = [cluster.config(cluster.pool(servers, **more)) for more in (
        {}, classes({"port": 1}, limit=1), classes({"port": 8000}, admission="proceed", limit=1))]
    daemon = cluster.daemon(configs[0])
    cluster.all_ready()
    with client.load(SERVICE["v4"], workers=3) as load:
        for i in range(12):
            daemon.reload(configs[i % 3])
            load.go_on(20)
    assert not load.failures, load.failures
    wait_for(lambda: set(cluster.in_flight().values()) == {0})
    assert daemon.metric("pintle_in_flight_drift_total") == 0


def test_another_order(node):
    """Where classes change places, what is open counts for the class that has the place now, as docs/limits.md says,
    and the log warns; a class at the end warns of nothing."""
    servers = node.servers(1)
    config = lambda *names: node.config(node.pool(servers, classes=[{"name": n} for n in names]))
    in_flight = lambda: {c["name"]: c["in_flight"] for c in node.cli("pools")[0]["classes"]}
    daemon = node.daemon(config("chat", "batch"))
    held = node.hold(FRONTEND["v4"], 2)
    wait_for(lambda: in_flight() == {"chat": 2, "batch": 0})
    daemon.reload(config("chat", "batch", "idle"))
    wait_for(lambda: in_flight() == {"chat": 2, "batch": 0, "idle": 0})
    assert "in the list now" not in daemon.log()
    daemon.reload(config("batch", "chat", "idle"))
    wait_for(lambda: in_flight() == {"batch": 2, "chat": 0, "idle": 0})
    assert "class batch has the place of chat in the list now" in daemon.log()
    for c, _ in held:
        c.close()
    wait_for(lambda: in_flight() == {"batch": 0, "chat": 0, "idle": 0})


def test_without_the_daemon(node):
    """The limit holds by the newest scores; when they are too old, connections in flight fill the endpoints."""
    cluster, servers, client, daemon = world(node, saturation={"staleness": "1s"})
    fill(*servers)
    ask = lambda: client.ask(SERVICE["v4"], options=[hint(BATCH)])
    assert is_refused(ask)
    daemon.kill()
    wait_for(lambda: not is_refused(ask))
    held = [client.connect(SERVICE["v4"], options=[hint(BATCH)]) for _ in range(6)]
    assert is_refused(ask)
    assert not is_refused(lambda: client.ask(SERVICE["v4"]))
    for c in held:
        c.close()
    wait_for(lambda: not is_refused(ask))


def test_cli(node):
    """`pintle pools` shows the classes, `pintle explain --class` what would become of a connection of one."""
    cluster, servers, client, _ = world(node)
    fill(*servers)
    pool, = cluster.cli("pools")
    assert pool["classes"] == [
        {"name": "interactive", "priority": 0, "limit": None, "admission": "proceed", "in_flight": 0,
         **NO_SHARES},
        {"name": "batch", "priority": -1, "limit": 3, "admission": "refuse", "in_flight": 0, **NO_SHARES}], pool
    told = cluster.cli("explain", "pool", "--class", "batch")
    assert told["outcome"] == "refused" and told["chosen"] is None and told["limit"] == 3, told
    assert "each endpoint is full for its class" in cluster.pintle("explain", "pool", "--class", "batch").stdout
    assert "class: batch\n" in cluster.pintle("explain", "pool", "--class", "batch").stdout
    assert "class: interactive, the pool's first" in cluster.pintle("explain", "pool").stdout
    told = cluster.cli("explain", "pool")
    assert told["class"] == "interactive" and told["chosen"] in ("s0", "s1") and told["limit"] is None, told
    failed = cluster.pintle("explain", "pool", "--class", "nope", check=False)
    assert failed.returncode == 2 and "it has interactive, batch" in failed.stderr, failed.stderr


@case(each=("text", "json"))
def test_events(node, how):
    """`pintle events` shows who was refused, and of which class he was."""
    cluster, servers, client, _ = world(node)
    fill(*servers)
    cluster.node.popen([BUILD / "pintle", "--bpffs", cluster.bpffs, "events", "-o", how], log="events.log")

    def told():
        assert is_refused(lambda: client.ask(SERVICE["v4"], options=[hint(BATCH)]))
        return [line for line in (node.dir / "events.log").read_text().splitlines() if "refused" in line]

    line = wait_for(told)[0]
    if how == "text":
        assert "decided   pool/-  refused  " in line and line.endswith("-> 10.96.0.10:8000  class batch"), line
        return
    event = json.loads(line)
    assert (event["outcome"], event["class"], event["endpoint"]) == ("refused", "batch", None), event


@case(each=BOTH)
def test_by_the_operator(node, family):
    """The lookup hook: `pintle classify` comes before a rule, over a reload and the daemon's end, until it is taken
    back; it meets nobody else."""
    servers = node.servers(1)
    daemon = node.steer(servers, **classes({"source": source(7, family)}))
    fill(*servers)

    def refused(n):
        return is_refused(lambda: node.ask(FRONTEND[family], source(n, family)))

    def told(n):
        x = node.cli("explain", "pool", "--source", source(n, family))
        return x["class"], x["class_by"]

    assert refused(7) and not refused(8)
    session = next(s["session"] for s in node.cli("sessions"))
    node.pintle("classify", "pool", session, "batch")
    node.pintle("classify", "pool", source(7, family), "interactive")
    assert refused(8) and not refused(7)
    assert told(8) == ("batch", "operator") and told(7) == ("interactive", "operator")
    assert {s["session"]: (s["class"], s["class_by"]) for s in node.cli("sessions")}[session] == ("batch", "operator")
    node.pintle("reload")
    assert refused(8) and not refused(7)
    daemon.kill()
    held = node.hold(FRONTEND[family], 4, first=20)
    wait_for(lambda: refused(8))
    assert not refused(7)
    node.pintle("unclassify", "pool", source(7, family))
    assert refused(7) and refused(8)
    assert told(7) == ("batch", "rule")
    for c, _ in held:
        c.close()


def test_of_a_pod_by_the_operator(node):
    """The connect hook: a pod's sessions, before the first is bound and later; a hint only lowers."""
    cluster, servers, client, _ = world(node, stickiness={"key": "client"})
    fill(*servers)
    to = SERVICE["v4"]
    client.ask(to)
    session = cluster.cli("sessions")[0]["session"]
    cluster.pintle("classify", "pool", session, "batch")
    assert is_refused(lambda: client.ask(to))
    assert is_refused(lambda: client.ask(to, options=[hint(INTERACTIVE)]))
    cluster.pintle("unbind", session)
    assert cluster.cli("sessions")[0]["endpoint"] is None
    assert is_refused(lambda: client.ask(to))
    cluster.pintle("classify", "pool", session, "interactive")
    assert not is_refused(lambda: client.ask(to))
    assert is_refused(lambda: client.ask(to, options=[hint(BATCH)]))
    cluster.pintle("unclassify", "pool", session)
    assert not is_refused(lambda: client.ask(to))
    wrong = cluster.pintle("classify", "pool", session, "bach", check=False)
    assert wrong.returncode == 1 and "it has interactive, batch" in wrong.stderr, wrong.stderr
