# SPDX-License-Identifier: Apache-2.0
"""`pintle.dev/intercept: endpoints`, which test_pods.py has for a Service alone: for an InferencePool, whom it leaves
alone, and that it draws nobody else's connections."""
from control_plane import Refused
from harness import case
from kernel import wait_for
from test_services import POOL, SERVICE, World

INTERCEPT = {"pintle.dev/intercept": "endpoints"}
POOLS = "inferencepools"


def annotate(world, name="vllm", **annotations):
    world.api.patch(f"/api/v1/namespaces/llm/services/{name}", {"metadata": {"annotations": {
        f"pintle.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}}})


class Pod:
    """A pod of this node that the API server knows too, in a cgroup as a kubelet makes it."""

    def __init__(self, world, name, space="llm", server=False, **labels):
        self.world, self.pod = world, world.machine.pod(name)
        self.path = f"/api/v1/namespaces/{space}/pods"
        if server:
            self.pod.server()
        made = world.api.create(self.path, {
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": "node-a", "containers": [{"name": "c", "image": "i"}]}})
        self.path += f"/{name}"
        self.say(True)
        self.container = self.pod.cgroup / f"kubepods/burstable/pod{made['metadata']['uid']}/c1"
        self.container.mkdir(parents=True)

    def say(self, ready):
        word = "True" if ready else "False"
        self.world.api.patch(f"{self.path}/status", {"status": {
            "phase": "Running", "podIP": self.pod.v4, "podIPs": [{"ip": self.pod.v4}],
            "conditions": [{"type": kind, "status": word} for kind in ("ContainersReady", "Ready")]}})

    def label(self, **labels):
        self.world.api.patch(self.path, {"metadata": {"labels": labels}})

    def spread(self, to, count=12):
        return {self.pod.run("curl", "-sS", "-m5", f"http://{to}", cgroup=self.container).stdout.split()[0]
                for _ in range(count)}


def tenant(world, name):
    """A namespace in which pods can be made."""
    world.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    wait_for(lambda: world.api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default"), 60)


def slice_of(world, service, *addresses):
    """What whoever may write EndpointSlices writes: addresses of whomever he likes."""
    return world.api.create("/apis/discovery.k8s.io/v1/namespaces/llm/endpointslices", {
        "metadata": {"name": f"{service}-by-hand",
                     "labels": {"kubernetes.io/service-name": service, "pintle.dev/mode": "enforce"}},
        "addressType": "IPv6" if ":" in addresses[0] else "IPv4", "ports": [{"name": "", "port": 8000}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses]})


@case(timeout=180)
def test_clients_left_alone(node):
    """Left alone are the node's own namespace, pods that carry the members' own labels, ready or not, and clients
    that the Service names by their labels; the label gone, they are steered as all others."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    world.machine.pintle("set", POOL, "stickiness.key=none")
    tenant(world, "edge")
    twin = Pod(world, "twin", app="vllm")
    twin.say(False)
    watcher, other = (Pod(world, name, "edge", app=name) for name in ("watcher", "other"))
    own = world.servers[0].address()
    annotate(world, intercept="endpoints", intercept_except="app=watcher,tier=1 role=gateway")
    wait_for(lambda: other.spread(own) == {"s0", "s1"})
    wait_for(lambda: twin.spread(own) == {"s0"})
    assert {world.machine.ask(own) for _ in range(8)} == {"s0"}
    assert watcher.spread(own) == {"s0", "s1"} # it has one of the two labels
    watcher.label(tier="1")
    wait_for(lambda: watcher.spread(own) == {"s0"})
    other.label(role="gateway")
    wait_for(lambda: other.spread(own) == {"s0"})
    # To the ClusterIP each of them is steered.
    assert all(p.spread(SERVICE) <= {"s0", "s1"} for p in (watcher, other, twin))
    watcher.label(tier="2")
    wait_for(lambda: watcher.spread(own) == {"s0", "s1"})
    annotate(world, intercept_except="app")
    wait_for(lambda: "names no pods by their labels" in daemon.log())
    wait_for(lambda: not world.pools())


@case(timeout=180)
def test_of_an_inference_pool(node):
    """The annotation on the Service in front of an InferencePool holds for its pods; these are left alone."""
    world = World(node, kinds=[POOLS])
    world.daemon()
    servers = [Pod(world, f"i{i}", server=True, app="llama") for i in range(2)]
    client = Pod(world, "plain", app="client")
    world.api.inference_pool("llama", app="llama")
    world.api.service("front", ip="10.96.0.30", mode="enforce")
    annotate(world, "front", pool="llama", **{"intercept": "endpoints"})
    wait_for(lambda: world.states("llm/llama") == {"i0": "ready", "i1": "ready"})
    world.machine.pintle("set", "llm/llama", "stickiness.key=none")
    own = servers[0].pod.address()
    wait_for(lambda: client.spread(own) == {"i0", "i1"})
    wait_for(lambda: servers[1].spread(own) == {"i0"})
    assert {e["place"] for e in world.machine.cli("endpoints")} == {"node"}
    annotate(world, "front", intercept=None)
    wait_for(lambda: client.spread(own) == {"i0"})


@case(timeout=180)
def test_draws_nobody_elses_connections(node):
    """Whoever may write EndpointSlices names another tenant's pod in his Service and has its own address
    intercepted: connections of that tenant's clients go where they went, and his Service is told why."""
    world = World(node, mode="enforce")
    tenant(world, "victim")
    victim = Pod(world, "v", "victim", server=True, app="bank")
    client = Pod(world, "teller", "victim", app="teller")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    world.machine.pintle("set", POOL, "stickiness.key=none")
    annotate(world, intercept="endpoints")
    own = world.servers[0].address()
    wait_for(lambda: client.spread(own) == {"s0", "s1"})
    slice_of(world, "vllm", victim.pod.v4)
    wait_for(lambda: len(world.members()) == 3)
    wait_for(lambda: not world.pools()[POOL]["intercepts"])
    assert client.spread(victim.pod.address(), 20) == {"v"}
    says = f"{victim.pod.v4}:8000 is the address of no pod that its selector finds in its namespace"
    wait_for(lambda: any(kind == "Service" and name == "vllm" and says in message
                         for kind, name, message in world.api.events()), 30)
    assert "are not intercepted" in daemon.log()
    world.api.delete("/apis/discovery.k8s.io/v1/namespaces/llm/endpointslices/vllm-by-hand")
    wait_for(lambda: client.spread(own) == {"s0", "s1"})
    # A Service without a selector has no pods of its own.
    world.api.create("/api/v1/namespaces/llm/services", {
        "metadata": {"name": "bare", "labels": {"pintle.dev/mode": "enforce"}, "annotations": INTERCEPT},
        "spec": {"clusterIP": "10.96.0.55", "ports": [{"port": 8000}]}})
    slice_of(world, "bare", victim.pod.v4)
    wait_for(lambda: world.members("llm/bare"))
    assert not world.pools()["llm/bare"]["intercepts"]
    assert client.spread(victim.pod.address(), 20) == {"v"}


@case(timeout=120)
def test_without_the_right_to_pods(node):
    """Whose addresses slices name is then not known: the Service is steered, and not intercepted."""
    world = World(node, mode="enforce")
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/pintle"
    world.api.patch(path, {"rules": [r for r in world.api.get(path)["rules"] if "pods" not in r["resources"]]})
    annotate(world, intercept="endpoints")
    daemon = world.daemon()
    world.wait_members("s0", "s1", timeout=60)
    wait_for(world.is_steered)
    assert not world.pools()[POOL]["intercepts"]
    wait_for(lambda: "whose addresses these are is not known" in daemon.log())


@case(timeout=120)
def test_addresses_that_no_pod_has(node):
    """A slice cannot have pintled read a cloud's metadata service, or what serves this machine alone."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    for address in ("169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1", "fe80::a9fe:a9fe", "::1"):
        try:
            slice_of(world, "vllm", address)
        except Refused:
            continue
        raise AssertionError(f"the API server takes {address}; see addr_is_special()")
    # An address that pintled takes, of a host that redirects: pintled does not follow.
    script = ("import http.server as h, sys\n"
              "class R(h.BaseHTTPRequestHandler):\n"
              " def do_GET(s):\n"
              "  print(s.path, dict(s.headers), flush=True)\n"
              "  s.send_response(302); s.send_header('Location', sys.argv[1]); s.end_headers()\n"
              "h.HTTPServer(('', 8000), R).serve_forever()\n")
    odd, told = world.machine.pod("odd"), world.machine.pod("told")
    for pod in (odd, told):
        pod.popen(["python3", "-c", script, f"http://{told.address()}/metrics"], log=f"{pod.name}.log")
        wait_for(lambda pod=pod: pod.connect(pod.address()).close() is None)
    slice_of(world, "vllm", odd.v4)
    asked = node.dir / "odd.log"
    wait_for(lambda: asked.read_text().count("/metrics {") > 3, 20)
    assert not any(word in asked.read_text() for word in ("Authorization", "Cookie"))
    assert "/metrics {" not in (node.dir / "told.log").read_text()
    assert world.states()[odd.v4] != "ready"
