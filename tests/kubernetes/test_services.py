# SPDX-License-Identifier: Apache-2.0
"""Services that carry the label pintle.dev/mode: connect() of a pod to the ClusterIP is steered to one of
the ready pods, against a real API server; whatever becomes of the API server, steering goes on."""
import json
import random
import statistics
import time
import types

import yaml as pyyaml

from control_plane import ControlPlane, NODE
from harness import case
from kernel import TOP, wait_for
from pods import Cluster, at

SERVICE = "10.96.0.10:8000"
POOL = "llm/vllm"


class World:
    """Two pods with a model server behind a Service, a client, and one more pod, to which a stand-in for
    kube-proxy sends what is not steered."""

    def __init__(self, node, *, rights=None, kinds=(), **service):
        self.node, self.cluster = node, Cluster(node)
        self.machine = self.cluster.machines[0]
        self.api = ControlPlane(self.machine)
        self.servers = self.cluster.servers(2)
        self.proxy = self.machine.pod("proxied")
        self.proxy.server()
        self.client = self.machine.pod("client")
        self.machine.nft(f"""
            table ip proxy {{
                chain pre {{
                    type nat hook prerouting priority -100;
                    ip daddr 10.96.0.0/16 tcp dport 1-65535 dnat to {self.proxy.v4}:8000
                }}
            }}""")
        for kind in kinds:
            self.api.define(kind)
        for pod in self.servers:
            self.api.run(pod)
        self.api.service(**service)
        self.kubeconfig = self.api.grant() if rights is None else rights
        wait_for(lambda: self.slices() == {p.v4 for p in self.servers}, 20, "the EndpointSlice")

    def slices(self, name="vllm"):
        """The ready addresses that the API has."""
        found = self.api.get("/apis/discovery.k8s.io/v1/namespaces/llm/endpointslices"
                             f"?labelSelector=kubernetes.io/service-name%3D{name}")
        return {a for s in found["items"] for e in s["endpoints"] or () if e["conditions"]["ready"]
                for a in e["addresses"]}

    def config(self, *pools, called=NODE, **settings):
        text = self.machine.config(*pools, **settings)
        if not pools:
            text = text.replace("pools: []\n", "")
        return text + f"kubernetes: {{kubeconfig: {self.kubeconfig}, node: {called}}}\n"

    def daemon(self, *pools, called=NODE, **more):
        return self.machine.daemon(self.config(*pools, called=called), **more)

    def pools(self):
        return {p["name"]: p for p in self.machine.cli("pools")}

    def members(self, pool=POOL):
        return {e["name"].rsplit("/")[-1] for e in self.machine.cli("endpoints") if e["pool"] == pool}

    def states(self, pool=POOL):
        """{pod: the state that `pintle endpoints` shows}"""
        return {e["name"].rsplit("/")[-1]: e["state"] for e in self.machine.cli("endpoints")
                if e["pool"] == pool}

    def wait_members(self, *names, timeout=10):
        wait_for(lambda: self.members() == set(names), timeout, f"the members to be {names}")

    def spread(self, count=12):
        return set(self.client.spread(SERVICE, count))

    def is_steered(self, *names):
        """A client is a session, and its connections go to one pod. They go to kube-proxy until the
        first pages of a new pool are read."""
        return self.spread() <= set(names or [p.name for p in self.servers])

    def is_proxied(self):
        return self.spread() == {"proxied"}


@case(timeout=120)
def test_labelled_and_not(node):
    """The label steers; without it, and with off, kube-proxy serves as before."""
    world = World(node)
    world.daemon()
    assert world.is_proxied()
    world.api.label("enforce")
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    assert world.pools()[POOL]["frontends"] == [SERVICE]
    wait_for(lambda: {e["state"] for e in world.machine.cli("endpoints")} == {"ready"}, 10,
             "the engine to be found by the page")
    for label in (None, "enforce", "off", "baseline", "shadow", "nonsense"):
        world.api.label(label)
        if label == "shadow":
            wait_for(lambda: world.pools()[POOL]["mode"] == "shadow")
            before = world.pools()[POOL]
            assert world.is_proxied()
            after = world.pools()[POOL]
            assert after["shadow_decisions"] - before["shadow_decisions"] == 12, (before, after)
        elif label in ("enforce", "baseline"):
            wait_for(lambda label=label: world.pools()[POOL]["mode"] == label)
            wait_for(world.is_steered)
        else:
            wait_for(lambda: not world.pools())
            assert world.is_proxied()
    assert world.api.asked("system:serviceaccount:pintle:pintle") <= {
        ("get", "nodes"),
        *((verb, what) for verb in ("list", "watch") for what in ("services", "endpointslices", "pods", "namespaces", "configmaps")),
        ("list", "inferencepools"), ("list", "inferenceobjectives"), ("list", "steeringpolicies"), # which are not there
        ("get", "leases"), ("create", "leases"), ("update", "leases"), ("create", "events"), ("patch", "events")}


@case(timeout=120)
def test_pods_come_and_go(node):
    """Ready, not ready, terminating, gone: within a second of the event, and no connection fails. Open
    connections live on."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    held = [world.client.connect(SERVICE) for _ in range(8)]
    names = [c.ask() for c in held]
    with world.client.load(SERVICE) as load:
        new = world.machine.pod("s2")
        new.server()
        world.api.run(new, ready=False)
        world.api.say(new, True)
        world.wait_members("s0", "s1", "s2")
        world.api.say(world.servers[0], False)
        world.wait_members("s1", "s2")
        world.api.terminate(new)
        wait_for(lambda: world.states() == {"s1": "ready", "s2": "drained"})
        world.api.say(world.servers[0], True)
        wait_for(lambda: world.states() == {"s0": "ready", "s1": "ready", "s2": "drained"})
        world.api.remove(new)
        wait_for(lambda: len(world.slices()) == 2)
        world.wait_members("s0", "s1")
    assert not load.failures, load.failures
    assert [c.ask() for c in held] == names
    for c in held:
        c.close()


@case(timeout=120)
def test_an_address_changes_hands(node):
    """A pod's address is soon another pod's: one of the Service begins afresh, with no count of the former;
    one of another Service is no endpoint."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)

    def placed():
        return {e["name"].rsplit("/")[-1]: e["placed"] for e in world.machine.cli("endpoints")}

    (old, _), = [x for x in placed().items() if x[1]]
    pod = next(p for p in world.servers if p.name == old)
    other = next(p.name for p in world.servers if p is not pod)
    world.api.remove(pod)
    heir = types.SimpleNamespace(name="heir", v4=pod.v4)
    world.api.run(heir)
    world.wait_members("heir", other)
    assert placed()["heir"] == 0
    wait_for(lambda: world.is_steered(pod.name, other)) # the server's own name is still the former pod's
    world.api.remove(heir)
    world.api.run(types.SimpleNamespace(name="stranger", v4=pod.v4), app="other")
    world.wait_members(other)


@case(timeout=180)
def test_within_a_second(node):
    """From the pod's event to the map it takes less than a second, for a pod that becomes ready and for one that is
    no longer."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    took = []
    for ready in (False, True) * 5:
        before = time.monotonic()
        world.api.say(world.servers[1], ready)
        world.wait_members("s0", *(["s1"] if ready else []))
        took.append(time.monotonic() - before)
    assert statistics.median(took) < 1, took


@case(timeout=120)
def test_an_object_left_out(node):
    """An object that Pintle cannot read is left out and told once; others are unharmed, and it is taken up once it
    can be read."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    world.api.service("odd", ip="10.96.0.20", mode="enforce")
    path = "/api/v1/namespaces/llm/services/odd"
    world.api.patch(path, {"metadata": {"annotations": {"pintle.dev/pool": "No Name!"}}})
    said = "Service llm/odd is left out: its annotation pintle.dev/pool is no InferencePool's name"
    wait_for(lambda: said in daemon.log())
    world.api.patch(path, {"metadata": {"annotations": {"else": "where"}}})
    world.api.run(types.SimpleNamespace(name="o0", v4="10.200.0.7"), app="odd")
    assert world.members() == {"s0", "s1"} and world.is_steered()
    world.api.patch(path, {"metadata": {"annotations": {"pintle.dev/pool": None}}})
    wait_for(lambda: world.members("llm/odd") == {"o0"})
    assert daemon.log().count(said) == 1


@case(timeout=120)
def test_no_pod_is_ready(node):
    """A Service without a ready pod is left to kube-proxy."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    for pod in world.servers:
        world.api.say(pod, False)
    wait_for(lambda: not world.pools())
    assert world.is_proxied()
    assert "no ready endpoint" in daemon.log()
    world.api.say(world.servers[1], True)
    world.wait_members("s1")
    wait_for(lambda: world.is_steered("s1"))


@case(timeout=120)
def test_ports_and_beside_the_file(node):
    """Each target is a pool; ports of one target share it. Pools of the file go on beside them, and keep
    the addresses that they have."""
    world = World(node, mode="enforce", ports=[
        {"name": "http", "port": 8000, "targetPort": 8000},
        {"name": "alt", "port": 8080, "targetPort": 8000},
        {"name": "admin", "port": 9000, "targetPort": 9001}])
    own = world.cluster.pool([{"name": "p", "address": at(world.proxy.v4, 8000)}], "own", to="10.96.7.7:80")
    world.daemon(own)
    wait_for(lambda: world.pools().keys() == {"own", "llm/vllm:http", "llm/vllm:admin"})
    found = world.pools()["llm/vllm:http"]
    assert set(found["frontends"]) == {SERVICE, "10.96.0.10:8080"}
    assert world.client.ask("10.96.0.10:8080") in ("s0", "s1")
    assert world.client.ask("10.96.7.7:80") == "proxied"
    # A Service of the same pods and port is a frontend of the older one's pool.
    world.api.create("/api/v1/namespaces/llm/services", {
        "metadata": {"name": "zweit", "labels": {"pintle.dev/mode": "enforce"}},
        "spec": {"selector": {"app": "vllm"}, "clusterIP": "10.96.0.11", "ports": [
            {"port": 80, "targetPort": 8000}]}})
    wait_for(lambda: set(world.pools()["llm/vllm:http"]["frontends"]) == {SERVICE, "10.96.0.10:8080", "10.96.0.11:80"})
    wait_for(lambda: world.client.ask("10.96.0.11:80") in ("s0", "s1"))
    assert world.pools().keys() == {"own", "llm/vllm:http", "llm/vllm:admin"}
    # `pintle set` holds for a pool of the cluster as for one of the file.
    world.machine.pintle("set", "llm/vllm:http", "stickiness.ttl=7s")
    found, = json.loads(world.machine.pintle("diff", "-o", "json", check=False).stdout)
    assert (found["pool"], found["file"], found["runs"]) == ("llm/vllm:http", "300s", "7s"), found


def full(world, room):
    """Pools of the file that leave room for so many others."""
    return [world.cluster.pool([{"name": "e", "address": f"10.8.0.{i}:8000"}], f"p{i}", to=f"10.200.0.{i}:80",
                               scrape={"interval": "1h"}) for i in range(256 - room)]


def slices_of(api, name, count):
    """A Service without a selector, with EndpointSlices of its own."""
    api.service(name, ip="10.96.0.40", selector=None, mode="enforce")
    for first in range(0, count, 1000):
        api.create("/apis/discovery.k8s.io/v1/namespaces/llm/endpointslices", {
            "metadata": {"name": f"{name}-{first}", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8000}],
            "endpoints": [{"addresses": [f"10.9.{i >> 8}.{i & 255}"], "conditions": {"ready": True}}
                          for i in range(first, min(first + 1000, count))]})


@case(timeout=180)
def test_no_room(node):
    """The youngest Service for which there is no room is left to kube-proxy: with an Event, a metric and a
    line in the status. The others are steered, and it is once an older one has left."""
    world = World(node, mode="enforce")
    daemon = world.daemon(*full(world, 2))
    world.wait_members("s0", "s1")
    for name, ip, pod in zip(("w-older", "x-youngest"), ("10.96.0.30", "10.96.0.31"), world.cluster.servers(2, first=2)):
        world.api.run(pod, app=name)
        world.api.service(name, ip=ip, mode="enforce")

    def told(name, says):
        return any(e["involvedObject"]["name"] == name and e["reason"] == "NoRoom" and says in e["message"]
                   for e in world.api.get("/api/v1/namespaces/llm/events")["items"])

    def answers(ip):
        return world.client.ask(f"{ip}:8000")

    wait_for(lambda: told("x-youngest", "there is no room: older pools have 256 of 256 pools"), 20, "the Event")
    wait_for(lambda: daemon.metric("pintle_kubernetes_no_room") == 1)
    status = world.machine.pintle("status").stdout
    assert "1 of them for want of room: llm/x-youngest: there is no room" in status, status
    assert len(world.pools()) == 256 and "llm/x-youngest" not in world.pools()
    wait_for(lambda: world.is_steered() and answers("10.96.0.30") == "s2")
    assert answers("10.96.0.31") == "proxied"
    world.api.label(None, "w-older")
    wait_for(lambda: answers("10.96.0.31") == "s3", 20, "the room that was left")
    assert world.is_steered() and answers("10.96.0.30") == "proxied"
    wait_for(lambda: daemon.metric("pintle_kubernetes_no_room") == 0)
    # More pods than one pool has room for.
    slices_of(world.api, "y-large", 1025)
    wait_for(lambda: told("y-large", "it has 1025 endpoints, and a pool has room for 1024"), 20, "the Event")
    assert world.is_steered() and answers("10.96.0.40") == "proxied"


@case(timeout=180)
def test_half_of_the_room(node):
    """A namespace with more Services than half of the room keeps no other namespace's Service out, though that
    is the youngest."""
    world = World(node)
    api = world.api
    daemon = world.daemon()
    api.create("/api/v1/namespaces", {"metadata": {"name": "greedy"}})
    for i in range(130):
        api.create("/api/v1/namespaces/greedy/services", {
            "metadata": {"name": f"s{i:03}", "labels": {"pintle.dev/mode": "enforce"}},
            "spec": {"clusterIP": f"10.96.1.{i}", "ports": [{"port": 8000}]}})
        api.create("/apis/discovery.k8s.io/v1/namespaces/greedy/endpointslices", {
            "metadata": {"name": f"s{i:03}", "labels": {"kubernetes.io/service-name": f"s{i:03}"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8000}],
            "endpoints": [{"addresses": [f"10.9.0.{i + 1}"], "conditions": {"ready": True}}]})
    wait_for(lambda: daemon.metric("pintle_kubernetes_no_room") == 2, 60, "two to be left out")
    assert len(world.pools()) == 128
    api.label("enforce")
    wait_for(world.is_steered, 20, "the other namespace's Service")
    assert daemon.metric("pintle_kubernetes_no_room") == 2
    status = world.machine.pintle("status").stdout
    assert "namespace greedy has 128 pools already, and no more than half of 256" in status, status


@case(timeout=120)
def test_daemon_without_api_server(node):
    """A daemon that starts while the API server is away goes on with what is pinned, and takes up what
    changed meanwhile when the API server is back."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    node.daemons[-1].stop()
    world.api.kill_server()
    daemon = world.daemon()
    assert world.members() == {"s0", "s1"}
    assert world.is_steered()
    assert "going on with 1 pinned pool" in daemon.log()
    wait_for(lambda: "what is known stays" in daemon.log())
    daemon.reload()
    wait_for(lambda: "reloaded" in daemon.log())
    assert world.members() == {"s0", "s1"}
    world.api.start_server()
    world.api.say(world.servers[1], False)
    world.wait_members("s0", timeout=60)
    assert world.spread() == {"s0"}


@case(timeout=180)
def test_api_server_killed(node):
    """Steering goes on while the API server is away, and what changed then is taken up afterwards: pods
    and labels."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    with world.client.load(SERVICE) as load:
        for ready in (False, True):
            world.api.kill_server()
            assert world.members() >= {"s0"}
            world.api.start_server()
            world.api.say(world.servers[1], ready)
            world.wait_members("s0", *(["s1"] if ready else []), timeout=60)
    assert not load.failures, load.failures
    world.api.label("off")
    wait_for(lambda: not world.pools(), 60)
    assert world.is_proxied()


@case(timeout=240)
def test_api_server_hangs(node):
    """A stopped API server keeps its connections open and says nothing: the watch's own timer notices."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    world.api.stop_server()
    wait_for(lambda: "no byte came for too long" in daemon.log(), 150)
    assert world.is_steered()
    world.api.continue_server()
    world.api.say(world.servers[0], False)
    world.wait_members("s1", timeout=90)


@case(timeout=180)
def test_rights_withdrawn(node):
    """Rights withdrawn and given back: what is known stays meanwhile, also when the API server restarts."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/pintle"
    binding = world.api.get(path)
    world.api.delete(path)
    world.api.kill_server()
    world.api.start_server()
    wait_for(lambda: "the right to list or watch them is missing" in daemon.log(), 60)
    assert world.members() == {"s0", "s1"} and world.is_steered()
    world.api.create(path.rsplit("/", 1)[0], {
        "metadata": {"name": "pintle"}, "roleRef": binding["roleRef"], "subjects": binding["subjects"]})
    world.api.say(world.servers[0], False)
    world.wait_members("s1", timeout=90)


@case(timeout=240)
def test_pods_churn(node):
    """200 pods that change at random for a while: afterwards the maps are what the API has."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    rng = random.Random(7)
    pods = [types.SimpleNamespace(name=f"fake-{i}", v4=f"10.200.0.{i + 1}") for i in range(200)]
    for pod in pods:
        world.api.run(pod, ready=rng.random() < 0.5)
    for _ in range(400):
        world.api.say(rng.choice(pods), rng.random() < 0.5)
    for pod in pods[:50]:
        world.api.remove(pod)

    def same():
        # The controller itself lags behind the pods.
        ready = {p["status"]["podIP"] for p in world.api.get("/api/v1/namespaces/llm/pods")["items"]
                 if p["status"]["conditions"][-1]["status"] == "True"}
        there = {e["address"].rsplit(":")[0] for e in world.machine.cli("endpoints")}
        return ready == world.slices() == there

    wait_for(same, 60)


@case(timeout=180)
def test_autoscaler(node):
    """The API server takes the HorizontalPodAutoscaler of manifests/autoscaling."""
    world = World(node)
    made = world.api.create("/apis/autoscaling/v2/namespaces/llm/horizontalpodautoscalers"
                            "?dryRun=All&fieldValidation=Strict",
                            pyyaml.safe_load((TOP / "manifests/autoscaling/hpa.yaml").read_text()))
    (metric,) = made["spec"]["metrics"]
    assert metric["external"]["target"] == {"type": "Value", "value": "700m"}, metric
