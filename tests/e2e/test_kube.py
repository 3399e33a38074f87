# SPDX-License-Identifier: Apache-2.0
"""Services of a cluster whose API server is a stand-in (api_server.py): what pintled makes of them, and what it says.
tests/kubernetes has the real one."""
import json
import subprocess
import time

import api_server
from api_server import inference_pool, objective, pod, policy, running, service, slice_of
from harness import case
from kernel import BUILD, wait_for
from pods import Cluster

SERVICE = "10.96.0.10:8000"
PATIENCE = 40  # seconds
HOLDS_A_SOCKET = "import socket, time; held = socket.socket(); print('ready', flush=True); time.sleep(600)"
POOL = "llm/llama"


def soon(predicate):
    """A list, a watch and the first pages take a second, or many on a busy machine."""
    return wait_for(predicate, PATIENCE)


class World:
    """Two pods with a model server each, and a client; whatever is not steered gets no answer."""

    def __init__(self, node, servers=2, **state):
        self.cluster = Cluster(node)
        self.machine = self.cluster.machines[0]
        self.servers = self.cluster.servers(servers)
        self.client = self.machine.pod("client")
        self.api = api_server.start(self.machine, **state)

    def daemon(self):
        return self.machine.daemon(self.api.config())

    def pools(self):
        return {p["name"]: p for p in self.machine.cli("pools")}

    def members(self, pool=POOL):
        return {e["name"].rsplit("/")[-1] for e in self.machine.cli("endpoints") if e["pool"] == pool}

    def answers(self, to=SERVICE):
        """The server that answered; "refused", or "nobody"."""
        try:
            return self.client.ask(to, timeout=1)
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "nobody"


def pods_of(count=2):
    return [pod(f"s{i}", f"10.1.0.{i + 2}") for i in range(count)]


@case(timeout=120)
def test_fails_close_where_model_servers_are(node):
    """A policy's FailClose refuses connections to the port of model servers when none is ready, and leaves the
    Service's other port alone; without a pod both are refused, as kube-proxy does."""
    ports = [("http", 8000, 8000), ("admin", 9000, 9000)]
    world = World(node, services=[service(ports=ports)],
                  endpointslices=[slice_of("llama", pods_of(), [("http", 8000), ("admin", 9000)])],
                  steeringpolicies=[policy("shut", "llama", failureMode="FailClose")])
    for p in world.servers:
        p.server(port=9000, be={"page": "nothing 1\n"})
    world.daemon()
    soon(lambda: world.answers() in ("s0", "s1"))
    closes = {f"{POOL}:http": "FailClose", f"{POOL}:admin": "FailOpen"}
    soon(lambda: {n: p["failure_mode"] for n, p in world.pools().items()} == closes)
    assert world.answers("10.96.0.10:9000") == "nobody"
    for endpoint in ("s0", "s1"):
        world.machine.pintle("drain", f"{POOL}:http/{endpoint}")
    assert world.answers() == "refused"
    # Another daemon knows it by the pins.
    world.machine.pintle("undrain", f"{POOL}:http/s0")
    world.api.say(endpointslices=[])
    soon(lambda: world.answers() == "refused" and world.answers("10.96.0.10:9000") == "refused")


@case(timeout=120)
def test_no_such_group(node):
    """Where the API server has InferencePools of another group alone, the log and the Event name the one that is
    read. Of InferenceObjectives, one of the two groups is enough."""
    world = World(node, services=[service(annotations={"pintle.dev/pool": "vllm"})], inferenceobjectives=[])
    daemon = world.daemon()
    said = ("InferencePool vllm of its annotation is not known: inferencepools.inference.networking.k8s.io/v1: HTTP status "
            "404, the API server does not have them; no other group and version is read")
    soon(lambda: f"Service {POOL} is left to kube-proxy: {said}" in daemon.log())
    soon(lambda: ("Service/llama", "Warning", "LeftToKubeProxy", said) in world.api.events())
    soon(lambda: "inferenceobjectives.llm-d.ai/v1alpha2: HTTP status 404" in daemon.log())
    missing = world.machine.cli("status")[0]["kubernetes"]["missing"]
    kinds = {m.split(":")[0] for m in missing}
    assert "inferencepools.inference.networking.k8s.io/v1" in kinds, missing
    assert not any(kind.startswith("inferenceobjectives") for kind in kinds), missing


@case(timeout=120)
def test_one_target_by_number_and_by_name(node):
    """Ports of a Service that lead to one port of its pods are frontends of one pool, however each is written."""
    ports = [("http", 80, 8000), ("alt", 8000, "web")]
    world = World(node, services=[service(ports=ports)],
                  endpointslices=[slice_of("llama", pods_of(), [("http", 8000), ("alt", 8000)])])
    daemon = world.daemon()
    soon(lambda: world.members() == {"s0", "s1"})
    for to in ("10.96.0.10:80", "10.96.0.10:8000"):
        soon(lambda to=to: world.answers(to) in ("s0", "s1"))
    assert set(world.pools()[POOL]["frontends"]) == {"10.96.0.10:80", "10.96.0.10:8000"}
    assert "left to kube-proxy" not in daemon.log()


@case(timeout=120)
def test_services_of_the_same_pods(node):
    """Services with one selector are frontends of the oldest one's pool, each with its own ports; one with another mode
    is left alone, and says of which pool the pods are. The oldest gone, the next one has the pool."""
    selector = {"app": "llama"}

    def three(*names, mode="enforce"):
        made = {"llama": service(selector=selector, created="2026-01-01T00:00:00Z"),
                "second": service("second", "10.96.0.11", ports=[("", 80, "web"), ], selector=selector,
                                  created="2026-01-02T00:00:00Z"),
                "third": service("third", "10.96.0.12", mode=mode, selector=selector, created="2026-01-03T00:00:00Z")}
        return [made[name] for name in names]

    slices = [slice_of("llama", pods_of()), slice_of("second", pods_of(), [("", 8000)]), slice_of("third", pods_of())]
    second, third = "10.96.0.11:80", "10.96.0.12:8000"
    world = World(node, services=three("llama", "second", "third", mode="shadow"), endpointslices=slices)
    daemon = world.daemon()
    soon(lambda: world.answers() in ("s0", "s1") and world.answers(second) in ("s0", "s1"))
    assert set(world.pools()) == {POOL} and set(world.pools()[POOL]["frontends"]) == {SERVICE, second}
    left = "10.1.0.2:8000 is an endpoint of pool llm/llama (the cluster) already; an address is in one pool"
    soon(lambda: f"pool llm/third is left to kube-proxy: {left}" in daemon.log())
    assert world.answers(third) == "nobody"
    soon(lambda: ("Service/third", "Warning", "LeftToKubeProxy", left) in world.api.events())
    world.api.say(services=three("llama", "second", "third"))
    soon(lambda: world.answers(third) in ("s0", "s1"))
    assert set(world.pools()) == {POOL}
    # A port of the second that the first has not is its own pool; the first gone, the second has all.
    world.api.say(services=three("second", "third"), endpointslices=slices[1:])
    soon(lambda: set(world.pools()) == {"llm/second"})
    soon(lambda: world.answers(second) in ("s0", "s1") and world.answers(third) in ("s0", "s1"))
    assert set(world.pools()["llm/second"]["frontends"]) == {second, third}
    assert world.answers() == "nobody"


@case(timeout=120)
def test_one_watch_of_slices(node):
    """The slices of all Services with a selector come with one watch, by the Service's label, which the controller
    copies; those of a Service without one, and slices that lack the label yet, are watched by the Service's name."""
    selector = {"app": "x"}
    services = [service(selector=selector), service("hand", "10.96.0.11"), service("new", "10.96.0.12", selector={"app": "y"})]
    world = World(node, 3, services=services, endpointslices=[
        slice_of("llama", pods_of(1)), slice_of("hand", [pod("s1", "10.1.0.3")], labels={}),
        slice_of("new", [pod("s2", "10.1.0.4")], labels={})])
    world.daemon()
    soon(lambda: all(world.answers(f"10.96.0.1{i}:8000") == f"s{i}" for i in range(3)))

    def watched():
        """By which labels slices were listed."""
        return {p.split("labelSelector=")[1].split("&")[0] for _, p, _ in world.api.requests("GET") if "/endpointslices" in p}

    named = "kubernetes.io%2Fservice-name%3D"
    assert watched() == {"pintle.dev%2Fmode", named + "hand", named + "new"}
    # The label comes, and then one more pod, of which only the slice with the label tells.
    world.api.say(endpointslices=[slice_of("llama", pods_of(1)), slice_of("hand", [pod("s1", "10.1.0.3")], labels={}),
                                  slice_of("new", [pod("s2", "10.1.0.4"), pod("s9", "10.1.0.9")])])
    soon(lambda: world.members("llm/new") == {"s2", "s9"})
    assert world.members() == {"s0"} and world.members("llm/hand") == {"s1"}


@case(timeout=180)
def test_page_of_a_dual_stack_pod(node):
    """A pod's page is read once an interval, and holds for both of its addresses. One at which it fails is not held
    against the other."""
    scrape = {"interval": "500ms", "idle": "500ms"}
    world = World(node, 1, services=[service(clusterIPs=["10.96.0.10", "fd96::10"])],
                  endpointslices=[slice_of("llama", pods_of(1)), slice_of("llama", [pod("s0", "fd01::2")], name="llama-6")],
                  steeringpolicies=[policy("often", "llama", scrape=scrape)])
    world.daemon()
    server = world.servers[0]

    def rows():
        return {e["name"]: e for e in world.machine.cli("endpoints")}

    def each(key, v4, v6):
        return {n: e[key] for n, e in rows().items()} == {"s0": v4, "s0..ipv6": v6}

    soon(lambda: each("state", "ready", "ready"))
    # Clients of either family reach the pod: nothing is to be done about the one address or the other.
    assert not [w for w in world.machine.cli("status")[0]["warnings"] if "connection" in w]
    server.model.set(waiting=7)
    soon(lambda: each("waiting", 7, 7))
    start, before = time.monotonic(), server.model.counts().scrapes
    wait_for(lambda: server.model.counts().scrapes >= before + 20, 2 * PATIENCE)
    # Each address by itself would be 4 a second.
    per_second = (server.model.counts().scrapes - before) / (time.monotonic() - start)
    assert per_second <= 3, per_second
    assert each("scrape_failed", False, False) and all(e["age_seconds"] < 5 for e in rows().values()), rows()

    server.nft("table ip6 hole { chain input { type filter hook input priority filter; tcp dport 8000 drop; }; }")
    soon(lambda: each("scrape_failed", False, True) and rows()["s0..ipv6"]["age_seconds"] > 3)
    server.model.set(waiting=2)
    soon(lambda: each("waiting", 2, 7))
    assert rows()["s0"]["state"] == "ready" and rows()["s0..ipv6"]["state"] != "ready", rows()
    server.nft("delete table ip6 hole")
    soon(lambda: each("waiting", 2, 2) and each("state", "ready", "ready"))


@case(timeout=120)
def test_hints(node):
    """trafficDistribution: the endpoints that the controller's hints name for this node's zone are the pool's, all of
    them where one has no hint, and where a policy has `locality`."""
    def hinted(zone):
        return {"zone": zone, "hints": {"forZones": [{"name": zone}]}}

    near, far = pod("s0", "10.1.0.2", **hinted("z1")), pod("s1", "10.1.0.3", "n2", **hinted("z2"))
    here = {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}
    world = World(node, services=[service(trafficDistribution="PreferSameZone")], nodes=[here],
                  endpointslices=[slice_of("llama", [near, far])], steeringpolicies=[])
    world.daemon()
    soon(lambda: world.members() == {"s0"} and world.answers() == "s0")
    world.api.say(endpointslices=[slice_of("llama", [near, {**far, "hints": {}}])])
    soon(lambda: world.members() == {"s0", "s1"})
    world.api.say(endpointslices=[slice_of("llama", [near, far])])
    soon(lambda: world.members() == {"s0"})
    world.api.say(steeringpolicies=[policy("wide", "llama", locality={"preferSameZone": True})])
    soon(lambda: world.members() == {"s0", "s1"})


@case(timeout=120)
def test_one_event_for_a_reason(node):
    """An Event, and a line of the log, come when the reason changes, and not with each address that it names."""
    world = World(node, services=[service(created="2026-01-01T00:00:00Z"),
                                  service("second", "10.96.0.11", created="2026-01-02T00:00:00Z")],
                  endpointslices=[slice_of("llama", pods_of()), slice_of("second", pods_of())])
    world.daemon()

    def told(name):
        """[(the Event's path, its message)]"""
        return [(p.split("?")[0], b["message"]) for _, p, b in world.api.requests("PATCH")
                if "/events/" in p and b["involvedObject"]["name"] == name]

    def left(address):
        return f"{address} is an endpoint of pool llm/llama (the cluster) already" in world.machine.pintle("status").stdout

    soon(lambda: left("10.1.0.2:8000") and told("second"))
    gone = [pod("s1", "10.1.0.3")]
    world.api.say(endpointslices=[slice_of("llama", gone), slice_of("second", gone)])
    soon(lambda: left("10.1.0.3:8000"))
    world.api.say(services=[service(mode="wrong"), service("second", "10.96.0.11", mode="wrong")])
    soon(lambda: len({p for p, _ in told("second")}) == 2)
    assert ["endpoint of pool" in m for _, m in told("second")] == [True, False], told("second")


@case(timeout=120)
def test_objectives_of_both_groups(node):
    """InferenceObjectives of llm-d.ai give classes their priorities, and hold against those of the former group."""
    former = "inference.networking.x-k8s.io/v1alpha2"
    world = World(node, services=[service("front", annotations={"pintle.dev/pool": "llama"})],
                  inferencepools=[inference_pool("llama", app="llama")],
                  pods=[running(f"s{i}", f"10.1.0.{i + 2}", app="llama") for i in range(2)],
                  steeringpolicies=[policy("p", "llama", "InferencePool", classes=[
                      {"name": "chat"}, {"name": "batch", "priority": -1}, {"name": "bulk"}])],
                  inferenceobjectives=[objective("batch", "llama", -7), objective("bulk", "llama", 3, former),
                                       objective("batch", "llama", 9, former), objective("chat", "other", 5)])
    world.daemon()

    def priorities():
        found = world.pools().get(POOL)
        return found and [c["priority"] for c in found["classes"]]

    soon(lambda: priorities() == [0, -7, 3])
    world.api.say(inferenceobjectives=[objective("batch", "llama", 9, former)])
    soon(lambda: priorities() == [0, 9, 0])


def in_front(name="front", ip="10.96.0.10", **more):
    return service(name, ip, annotations={"pintle.dev/pool": "llama"}, **more)


def world_of_a_pool(node, *services, **state):
    return World(node, services=list(services), inferencepools=[inference_pool("llama", app="llama")],
                 pods=[running(f"s{i}", f"10.1.0.{i + 2}", app="llama") for i in range(2)], **state)


RESOLVED = ("True", "ResolvedRefs", "no reference is needed: pintled asks no endpoint picker")
TAKEN = {"Accepted": ("True", "Accepted", "its connections are steered"), "ResolvedRefs": RESOLVED}
LOCAL = {"Accepted": ("False", "NotSupportedByParent", "its internalTrafficPolicy is Local, but an InferencePool's pods are "
                                                       "on any node"), "ResolvedRefs": RESOLVED}
GATEWAY = {"parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"},
           "controllerName": "example.net/gateway", "conditions": []}


def written_soon(predicate):
    """What is written has lasted for 5 s first."""
    return wait_for(predicate, 2 * PATIENCE)


@case(timeout=400)
def test_parents_of_a_pool(node):
    """Where no controller does, pintled writes into an InferencePool's status which Services in front of it have it, and
    which cannot; it gives the list up with the last one. What another writer takes away is not put back."""
    world = world_of_a_pool(node, in_front(), in_front("local", "10.96.0.11", internalTrafficPolicy="Local"))
    world.daemon()
    soon(lambda: world.answers() in ("s0", "s1"))
    written_soon(lambda: {"front": TAKEN, "local": LOCAL} in world.api.parents())
    [[first]] = [[p["parentRef"] for p in b["status"]["parents"] if p["parentRef"]["name"] == "front"]
                for _, path, b in world.api.requests("PATCH") if path == (
                    "/apis/inference.networking.k8s.io/v1/namespaces/llm/inferencepools/llama/status?fieldManager=pintle")][-1:]
    assert first == {"group": "", "kind": "Service", "namespace": "llm", "name": "front"}
    world.api.say(services=[in_front(), in_front("local", "10.96.0.11", mode="off", internalTrafficPolicy="Local")])
    written_soon(lambda: world.api.parents()[-1] == {"front": TAKEN})
    world.api.say(inferencepools=[{**inference_pool("llama", app="llama"), "status": {}}])
    written = world.api.parents()
    barrier(world)
    assert world.api.parents() == written
    world.api.say(inferencepools=[inference_pool("llama", app="llama")], services=[])
    written_soon(lambda: world.api.parents()[-1] is None)
    assert not [(a, b) for a, b in zip(world.api.parents(), world.api.parents()[1:]) if a == b], world.api.parents()


def barrier(world):
    """Two Services come, one after the other: once there is an Event of the second, all that was to be written before is."""
    for i in range(2):
        name = f"later{len(world.api.state['services'])}"
        world.api.say(services=[*world.api.state["services"], service(name, f"10.96.0.{20 + len(world.api.state['services'])}")])
        written_soon(lambda name=name: [e for e in world.api.events() if e[0] == f"Service/{name}"])


@case(timeout=400)
def test_parents_of_other_controllers(node):
    """A pool with an entry of another controller is left alone; so is one whose list another writer has, after one try."""
    others = {**inference_pool("llama", app="llama"), "status": {"parents": [GATEWAY]}}
    world = world_of_a_pool(node, in_front())
    world.api.say(inferencepools=[others])
    daemon = world.daemon()
    soon(lambda: world.answers() in ("s0", "s1"))
    barrier(world)
    assert not world.api.parents()
    # What CRDs before v1 put there is nobody's. The list is, but somebody else has it.
    placeholder = {"parentRef": {"kind": "Status", "name": "default"}, "conditions": []}
    world.api.say(inferencepools=[{**others, "status": {"parents": [placeholder]}}], owned=["llm/llama"])
    written_soon(lambda: world.api.parents() == [{"front": TAKEN}])
    barrier(world)
    assert len(world.api.parents()) == 1
    assert "inferencepools/llama/status?fieldManager=pintle: HTTP status 409" in daemon.log()
    # Something else is to be said: once more.
    world.api.say(services=[*world.api.state["services"], in_front("local", "10.96.0.11", internalTrafficPolicy="Local")])
    written_soon(lambda: world.api.parents()[1:] == [{"front": TAKEN, "local": LOCAL}])


@case(timeout=120)
def test_explain_a_pod(node):
    """A pod of this node, by its name or its address, has the session that its connections have: that of its network
    namespace, which is that of the processes in its cgroups."""
    world = World(node, services=[service()], endpointslices=[slice_of("llama", pods_of())], pods=[])
    uid = "6f1b2c3d-0000-4000-8000-00000000000a"
    pods = [running("web-0", world.client.v4), running("web-1", "10.1.0.77")]
    pods[0]["metadata"]["uid"] = uid
    world.api.say(pods=pods)
    container = world.client.cgroup / f"kubepods/burstable/pod{uid}/c1"
    container.mkdir(parents=True)
    busy = world.client.popen(["/usr/bin/python3", "-c", HOLDS_A_SOCKET], cgroup=container, stdout=subprocess.PIPE, text=True)
    assert busy.stdout.readline() == "ready\n"
    world.daemon()
    soon(lambda: world.answers() in ("s0", "s1"))
    [session] = world.machine.cli("sessions")

    def explained(*client):
        return world.machine.cli("explain", POOL, *client)

    soon(lambda: world.machine.pintle("explain", POOL, "--pod", "llm/web-0", check=False).returncode == 0)
    for client in (["--pod", "llm/web-0"], ["--source", world.client.v4], ["--cgroup", container]):
        x = explained(*client)
        assert x["session"] == session["session"] and x["bound"]["endpoint"] == session["endpoint"], (client, x)
    text = world.machine.pintle("explain", POOL, "--source", world.client.v4).stdout
    assert f"{POOL}: {world.client.v4}, pod llm/web-0 would go to {session['endpoint']} (sticky)" in text, text
    # As in pintled's own container.
    few = node.run("setpriv", "--inh-caps=-all", "--bounding-set=-sys_admin", BUILD / "pintle", "--bpffs",
                   world.machine.bpffs, "explain", POOL, "--pod", "llm/web-0", "-o", "json")
    assert json.loads(few.stdout)["session"] == session["session"]
    # One of another node, one without a process, and an address that is no pod's.
    other = world.machine.pintle("explain", POOL, "--pod", "llm/elsewhere", check=False)
    assert other.returncode == 1 and "no pod llm/elsewhere is known on this node" in other.stderr
    for client in (["--pod", "llm/web-1"], ["--source", "10.1.0.77"]):
        asleep = world.machine.pintle("explain", POOL, *client)
        assert "which makes its session, is not known: no process of it is seen here" in asleep.stderr
        assert "bound: not known, and left out; give --pod NAMESPACE/NAME, or --session client:COOKIE" in asleep.stdout
    assert explained("--source", "10.1.0.78")["session"] is None


@case(timeout=200)
def test_ready_once_listed(node):
    """A start is not ready before the API server has listed all, but steers by the pins meanwhile."""
    world = World(node, services=[service()], endpointslices=[slice_of("llama", pods_of())])
    daemon = world.daemon()
    soon(lambda: world.answers() in ("s0", "s1"))
    world.api.process.kill()
    world.api.process.wait()
    daemon.kill()
    daemon = world.machine.daemon(world.api.config(), wait=False)
    said = "the API server has not listed all yet; pools are as they are pinned\n"
    soon(lambda: daemon.get("/readyz") == (503, said))
    assert world.answers() in ("s0", "s1")
    world.api.serve()
    soon(lambda: daemon.get("/readyz") == (200, "ready\n"))


@case(timeout=200)
def test_events_of_what_lasts(node):
    """What is steered is said once, in a normal Event; so is a Service without a ready pod, and a port whose page is none
    of a model server is a warning, and makes a policy not Programmed. What a restart sees for a moment is not told."""
    ports = [("http", 8000, 8000), ("admin", 9000, 9000)]
    both = [("http", 8000), ("admin", 9000)]
    world = World(node, services=[service(type="NodePort", externalIPs=["192.0.2.1"]), service("idle", "10.96.0.11"),
                                  service("two", "10.96.0.12", ports=ports)],
                  endpointslices=[slice_of("llama", pods_of(1)), slice_of("two", [pod("s1", "10.1.0.3")], both)],
                  steeringpolicies=[policy("good", "llama", failureMode="FailOpen"), policy("half", "two", failureMode="FailClose")])
    world.servers[1].server(port=9000, be={"page": "nothing 1\n"})
    daemon = world.daemon()

    def programmed(name):
        """The newest condition that was written: (status, reason, message)."""
        written = [b for _, p, b in world.api.requests("PATCH") if f"/steeringpolicies/{name}/status" in p]
        conditions = written[-1]["status"]["conditions"] if written else []
        return [(c["status"], c["reason"], c["message"]) for c in conditions if c["type"] == "Programmed"]

    unread = "connections to pool llm/two:admin are kube-proxy's until a metrics page of one of its servers was read"
    events = {("Service/llama", "Normal", "Steered", "its connections are steered"),
              ("Service/llama", "Normal", "OnlyClusterIP", "connections to its external IPs are kube-proxy's: only pods' "
                                                           "connections to its ClusterIP are steered"),
              ("Service/idle", "Normal", "LeftToKubeProxy", "port 8000 has no ready endpoint"),
              ("Service/two", "Warning", "LeftToKubeProxy", unread)}
    soon(lambda: set(world.api.events()) == events)
    soon(lambda: programmed("half") == [("False", "NotSteered", f"Service two: {unread}")])
    assert programmed("good") == [("True", "Programmed", "1 target is steered by it")]
    assert not [line for line in daemon.log().splitlines() if "warn" in line and "no ready endpoint" in line]
    # Another daemon has nothing else to say.
    daemon.kill()
    world.daemon()
    soon(lambda: world.answers() == "s0")
    soon(lambda: len([e for e in world.api.events() if e[0] == "Service/llama"]) > 2)
    assert set(world.api.events()) == events

    def only_cluster_ip():
        return world.machine.cli("status")[0]["kubernetes"]["only_cluster_ip"]

    # An Event is gone after an hour; status says so for as long as it is true.
    soon(only_cluster_ip)
    assert "connections to Services' node ports, load balancers and external IPs are kube-proxy's" in \
        world.machine.pintle("status").stdout
    world.api.say(services=[service(), *world.api.state["services"][1:]])
    soon(lambda: not only_cluster_ip())


@case(timeout=200)
def test_namespace_left_alone(node):
    """A namespace's annotation leaves its pods alone, but for one that says something itself; so does the next pintled
    while the API server is away."""
    uid = "6f1b2c3d-0000-4000-8000-00000000000b"
    web = running("web-0", "10.1.0.77")
    web["metadata"]["uid"] = uid

    def say(namespace, own=None):
        web["metadata"]["annotations"] = {"pintle.dev/steer": own} if own else {}
        world.api.say(pods=[web], namespaces=[{"metadata": {"name": "llm", "annotations": namespace}},
                                              {"metadata": {"name": "other", "annotations": {"pintle.dev/steer": "off"}}}])

    def steered():
        """What is not steered finds nobody there."""
        return world.client.run("curl", "-sS", "-m2", f"http://{SERVICE}/v1/models", cgroup=container, check=False).returncode == 0

    world = World(node, services=[service()], endpointslices=[slice_of("llama", pods_of())])
    container = world.client.cgroup / f"kubepods/burstable/pod{uid}/c1"
    container.mkdir(parents=True)
    off = {"pintle.dev/steer": "off"}
    say(off)
    daemon = world.daemon()
    soon(lambda: world.answers() in ("s0", "s1"))
    soon(lambda: not steered())
    say(off, own="on")
    soon(steered)
    say({"pintle.dev/steer": "no such word"})
    soon(steered)
    say(off)
    soon(lambda: not steered())
    world.api.process.kill()
    world.api.process.wait()
    daemon.kill()
    daemon = world.machine.daemon(world.api.config(), wait=False)
    soon(lambda: daemon.get("/healthz")[0] == 200)
    soon(lambda: world.answers() in ("s0", "s1"))
    assert not steered()
