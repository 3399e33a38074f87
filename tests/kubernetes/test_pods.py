# SPDX-License-Identifier: Apache-2.0
"""A pod's way through a Service that is steered, from ready to gone, and what kinds of Services there are."""
import datetime
import json
import time
import types

from churn import Watching
from harness import case
from kernel import wait_for
from pods import at
from test_services import POOL, SERVICE, World


def ids(world):
    """{address: (id, generation)} of every endpoint that the map has, and of every one that it had."""
    pin, = world.machine.bpffs.rglob("endpoints")
    rows = json.loads(world.node.run("bpftool", "map", "dump", "pinned", pin).stdout)
    return {".".join(str(b) for b in row["value"]["address"][12:]):
            (row["key"], row["value"]["generation"], bool(row["value"]["pool_generation"]))
            for row in rows if row["value"]["generation"]}


def born(world, service):
    made = world.api.get(f"/api/v1/namespaces/llm/services/{service}")["metadata"]["creationTimestamp"]
    return datetime.datetime.fromisoformat(made).timestamp()


@case(timeout=120)
def test_terminating_is_drained(node):
    """A pod that serves while it terminates is shown as drained. Its session moves at its next connection, the
    connections that it has live on, and when it no longer serves it is no endpoint."""
    world = World(node, mode="enforce")
    world.daemon()
    wait_for(lambda: set(world.states().values()) == {"ready"} and len(world.states()) == 2)
    world.machine.pintle("set", POOL, "stickiness.maxExtraLoad=16") # or a session as small as this one moves
    held = world.client.connect(SERVICE)
    name = held.ask()
    pod = next(p for p in world.servers if p.name == name)
    other = next(p.name for p in world.servers if p is not pod)
    assert world.spread() == {name} # a client is a session
    world.api.terminate(pod)
    wait_for(lambda: world.states() == {name: "drained", other: "ready"})
    row, = (e for e in world.machine.cli("endpoints") if e["name"] == name)
    assert row["drained_configured"] and not row["drained"] and row["in_flight"] == 1, row
    assert world.spread() == {other}
    assert held.ask() == name
    assert "its pod terminates" in world.machine.pintle("undrain", f"{POOL}/{name}").stdout
    world.api.end(pod)
    world.wait_members(other)
    assert held.ask() == name
    held.close()


@case(timeout=120)
def test_within_a_second(node):
    """Ready in a slice: an endpoint; terminating and serving: drained; gone: removed. Each within a second of the
    API's word."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    steps = [("ready", world.api.run), ("drained", world.api.terminate), ("gone", world.api.remove)]
    with Watching(world) as watching:
        for i in range(4):
            pod = types.SimpleNamespace(name=f"new-{i}", v4=f"10.200.0.{i + 1}")
            for k, (_, step) in enumerate(steps):
                step(pod)
                wait_for(lambda n=len(steps) * i + k + 1: len(watching.took) == n)
    assert [what for _, what in watching.took] == 4 * [what for what, _ in steps]
    assert max(watching.took)[0] < 1, watching.took


@case(timeout=120)
def test_all_terminate(node):
    """Where only pods that terminate are left, connections are kube-proxy's, which has its own word on that."""
    world = World(node, mode="enforce")
    world.daemon()
    wait_for(lambda: set(world.states().values()) == {"ready"} and len(world.states()) == 2)
    for pod in world.servers:
        world.api.terminate(pod)
    wait_for(lambda: world.states() == {"s0": "drained", "s1": "drained"})
    assert world.is_proxied()
    for pod in world.servers:
        world.api.end(pod)
    wait_for(lambda: not world.pools())
    assert world.is_proxied()


@case(timeout=120)
def test_gone_keeps_its_id(node):
    """The id of a pod that is gone goes to no other while a connection of it lives, and then it may."""
    world = World(node, mode="enforce")
    world.daemon()
    wait_for(lambda: set(world.states().values()) == {"ready"} and len(world.states()) == 2)
    held = world.client.connect(SERVICE)
    pod = next(p for p in world.servers if p.name == held.ask())
    other = next(p for p in world.servers if p is not pod)
    number, generation, _ = ids(world)[pod.v4]
    world.api.remove(pod)
    world.wait_members(other.name)
    assert ids(world)[pod.v4] == (number, generation, False)
    heirs = [types.SimpleNamespace(name=f"heir-{i}", v4=f"10.200.0.{i + 1}") for i in range(3)]
    for heir in heirs:
        world.api.run(heir)
    world.wait_members(other.name, *(h.name for h in heirs))
    assert ids(world)[pod.v4] == (number, generation, False)
    assert held.ask() == pod.name
    held.close()
    late = types.SimpleNamespace(name="late", v4="10.200.0.99")
    wait_for(lambda: ids(world).get(pod.v4) == (number, generation, False))
    world.api.run(late)
    world.wait_members(other.name, late.name, *(h.name for h in heirs))
    wait_for(lambda: not any(e["in_flight"] for e in world.machine.cli("endpoints")))
    assert ids(world)[late.v4] == (number, generation + 1, True)


@case(timeout=180)
def test_families(node):
    """An IPv6 Service, and one of both families, by each of its addresses."""
    world = World(node)
    world.machine.nft(f"""
        table ip6 proxy {{
            chain pre {{
                type nat hook prerouting priority -100;
                ip6 daddr fd96::/108 tcp dport 1-65535 dnat to [{world.proxy.v6}]:8000
            }}
        }}""")
    world.daemon()
    for name, ips in (("six", ["fd96::66"]), ("both", ["10.96.0.67", "fd96::67"])):
        # The API's times are whole seconds: of two Services of one second, the name decides.
        wait_for(lambda name=name: name == "six" or time.time() > born(world, "six") + 1)
        world.api.service(name, ip=ips[0], mode="enforce", clusterIPs=ips, selector={"app": "vllm"},
                          ipFamilyPolicy="RequireDualStack" if len(ips) == 2 else "SingleStack")
    # Services with the same pods are frontends of one pool, which has the older one's name.
    wait_for(lambda: {e["address"] for e in world.machine.cli("endpoints")} == {
        at(address, 8000) for p in world.servers for address in (p.v4, p.v6)}, 20)
    wait_for(lambda: set(world.pools()["llm/six"]["frontends"]) == {"[fd96::66]:8000", "10.96.0.67:8000", "[fd96::67]:8000"})
    assert world.pools().keys() == {"llm/six"}
    for to in ("[fd96::66]:8000", "10.96.0.67:8000", "[fd96::67]:8000"):
        wait_for(lambda to=to: world.client.ask(to) in ("s0", "s1"))
    world.api.label("off", "six")
    wait_for(lambda: world.members("llm/both") == {"s0", "s1", "s0..ipv6", "s1..ipv6"})
    assert set(world.pools()["llm/both"]["frontends"]) == {"10.96.0.67:8000", "[fd96::67]:8000"}
    for to in ("10.96.0.67:8000", "[fd96::67]:8000"):
        wait_for(lambda to=to: world.client.ask(to) in ("s0", "s1"))
    wait_for(lambda: world.client.ask("[fd96::66]:8000") == "proxied")


@case(timeout=120)
def test_named_ports(node):
    """A targetPort by name is each pod's own port of that name; a pod without it is no endpoint."""
    world = World(node)
    for pod in world.servers:
        world.api.remove(pod)
    ports = {"s0": 8000, "s1": 8001}
    world.servers[1].server(port=8001)
    for pod in world.servers:
        world.api.run(pod, ports=[{"name": "http", "containerPort": ports[pod.name]}])
    world.api.run(types.SimpleNamespace(name="none", v4="10.200.0.1"))
    world.api.service("named", ip="10.96.0.20", mode="enforce", selector={"app": "vllm"},
                      ports=[{"port": 80, "targetPort": "http"}])
    world.daemon()
    wait_for(lambda: {e["address"] for e in world.machine.cli("endpoints")} == {
        f"{p.v4}:{ports[p.name]}" for p in world.servers})
    wait_for(lambda: world.client.ask("10.96.0.20:80") in ("s0", "s1"))


@case(timeout=120)
def test_left_to_kube_proxy(node):
    """Headless and ExternalName Services have nothing to steer, which is said once; with session affinity a
    Service is steered as any other."""
    world = World(node, sessionAffinity="ClientIP", mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    assert len(world.spread()) == 1
    world.api.service("headless", ip="None", mode="enforce", selector={"app": "vllm"})
    world.api.create("/api/v1/namespaces/llm/services", {
        "metadata": {"name": "external", "labels": {"pintle.dev/mode": "enforce"}},
        "spec": {"type": "ExternalName", "externalName": "llm.example.com"}})
    for name in ("headless", "external"):
        wait_for(lambda name=name: f"Service llm/{name} is left to kube-proxy: it has no ClusterIP" in daemon.log())
    assert world.pools().keys() == {POOL}


@case(timeout=120)
def test_internal_traffic_policy(node):
    """With internalTrafficPolicy: Local the pods of this node alone are endpoints; without one, the Service is
    kube-proxy's."""
    world = World(node, mode="enforce", internalTrafficPolicy="Local")
    daemon = world.daemon(called="node-c")
    wait_for(lambda: "no ready endpoint on node " in daemon.log())
    assert not world.pools()
    daemon.stop()
    world.api.create("/api/v1/nodes", {"metadata": {"name": "node-b"}})
    world.api.run(types.SimpleNamespace(name="far", v4="10.200.0.1"), on="node-b")
    world.daemon()
    world.wait_members("s0", "s1")
    wait_for(lambda: len(world.slices()) == 3)
    wait_for(world.is_steered)
    assert world.members() == {"s0", "s1"}


@case(timeout=120)
def test_not_ready_is_published(node):
    """With publishNotReadyAddresses a pod that is not ready is an endpoint, and gets connections once its page
    was read."""
    world = World(node, publishNotReadyAddresses=True, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    world.api.say(world.servers[0], False)
    world.api.say(world.servers[1], False)
    late = world.machine.pod("late")
    late.server()
    world.api.run(late, ready=False)
    world.wait_members("s0", "s1", "late")
    wait_for(lambda: world.is_steered("s0", "s1", "late"))
    world.api.terminate(late)
    wait_for(lambda: world.states()["late"] == "drained")


@case(timeout=180)
def test_intercept(node):
    """Annotated `pintle.dev/intercept: endpoints`, a connection of a pod to any member's own address is a decision,
    too; members themselves, and the node's own namespace, are left alone. Without the annotation `pintle status`
    counts such connections and says what to do. All of this holds over a restart without an API server."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    wait_for(lambda: set(world.states().values()) == {"ready"} and len(world.states()) == 2)
    world.machine.pintle("set", POOL, "stickiness.key=none")
    own = world.servers[0].address()
    uid = world.api.get("/api/v1/namespaces/llm/pods/s1")["metadata"]["uid"]
    # A container of s1, as a kubelet makes its cgroup.
    container = world.servers[1].cgroup / f"kubepods/burstable/pod{uid}/c1"
    container.mkdir(parents=True)

    def from_member():
        return world.servers[1].run("curl", "-sS", "-m5", f"http://{own}", cgroup=container).stdout.split()[0]

    assert world.client.spread(own, 6) == {world.servers[0].name: 6}
    status = world.machine.pintle("status").stdout
    assert "6 connections went past pool llm/vllm" in status, status
    assert "kubectl annotate service -n llm vllm pintle.dev/intercept=endpoints" in " ".join(status.split()), status
    path = "/api/v1/namespaces/llm/services/vllm"
    world.api.patch(path, {"metadata": {"annotations": {"pintle.dev/intercept": "endpoints"}}})
    wait_for(lambda: world.pools()[POOL]["intercepts"])
    assert f"pod/{uid}" in world.pools()[POOL]["spared"]

    def holds():
        assert set(world.client.spread(own, 20)) == {"s0", "s1"}
        wait_for(lambda: {from_member() for _ in range(8)} == {"s0"}) # pintled has seen the cgroup
        assert "went past" not in world.machine.pintle("status").stdout

    holds()
    world.api.kill_server()
    daemon.stop()
    daemon = world.daemon()
    wait_for(lambda: set(world.states().values()) == {"ready"})
    holds()
    world.api.start_server()
    world.api.patch(path, {"metadata": {"annotations": {"pintle.dev/intercept": "pods"}}})
    wait_for(lambda: "is 'pods', which is no such word" in daemon.log(), 60)
    wait_for(lambda: not world.pools())
    assert world.client.spread(own, 6) == {world.servers[0].name: 6}


@case(timeout=180)
def test_locality(node):
    """Endpoints have a place by their node and its zone; with a pool's `locality` the near one is preferred until it
    is ahead by maxExtraLoad. This node's zone is asked for by `get`; without that right no endpoint counts as in
    another zone, and the log says what is missing."""
    world = World(node)
    for name, zone in (("node-b", "z1"), ("node-c", "z2")):
        world.api.create("/api/v1/nodes", {"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}})
    world.api.patch("/api/v1/nodes/node-a", {"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}})
    pods = {}
    for name, on in (("near", "node-a"), ("beside", "node-b"), ("far", "node-c")):
        pods[name] = world.machine.pod(name)
        pods[name].server()
        world.api.run(pods[name], app="zoned", on=on)
    world.api.service("zoned", ip="10.96.0.30", mode="enforce")
    world.daemon()

    def places():
        return {e["name"]: e["place"] for e in world.machine.cli("endpoints") if e["state"] == "ready"}

    wait_for(lambda: places() == {"near": "node", "beside": "zone", "far": "away"}, 20)
    to, pool = "10.96.0.30:8000", "llm/zoned"
    for setting in ("stickiness.key=none", "locality.maxExtraLoad=3"):
        world.machine.pintle("set", pool, setting)
    wait_for(lambda: set(world.client.spread(to, 24)) == set(pods))

    def prefer(**which):
        for key, value in which.items():
            world.machine.pintle("set", pool, f"locality.{key}={str(value).lower()}")

    prefer(preferSameZone=True)
    wait_for(lambda: set(world.client.spread(to, 24)) == {"near", "beside"})
    prefer(preferSameNode=True)
    wait_for(lambda: set(world.client.spread(to, 24)) == {"near"})
    # Too loaded: with four connections held, a fifth goes elsewhere.
    held = []
    wait_for(lambda: held.append(world.client.connect(to)) or held[-1].ask() != "near", 10)
    assert 3 <= len(held) <= 6, len(held)
    assert held[-1].ask() == "beside" # one preference is missed, not two
    for c in held:
        c.close()

    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/pintle"
    rules = [r for r in world.api.get(role)["rules"] if r["resources"] != ["nodes"]]
    world.api.patch(role, {"rules": rules})
    node.daemons[-1].stop()
    daemon = world.daemon()
    wait_for(lambda: places() == {"near": "node", "beside": "zone", "far": "zone"}, 60)
    wait_for(lambda: "nodes" in daemon.log() and "the right" in daemon.log(), 60)
