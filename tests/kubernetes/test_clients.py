# SPDX-License-Identifier: Apache-2.0
"""Who the client is: pods of this node, known by their cgroups and by what the API server says of them. There is
no kubelet: the cases make the pods' cgroups as its drivers and the container runtimes do."""
import json

from control_plane import NODE
from harness import case
from kernel import BUILD, wait_for
from test_services import POOL, SERVICE, World

PINTLE = "system:serviceaccount:pintle:pintle"
ID = "4f2a" * 16

# Below the root of cgroup2, which is at /sys/fs/cgroup (v2) or at /sys/fs/cgroup/unified (hybrid).
LAYOUTS = {
    "containerd-cgroupfs": "kubepods/burstable/pod{uid}/{id}",
    "containerd-systemd": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{joined}.slice/"
                          "cri-containerd-{id}.scope",
    "crio-cgroupfs": "kubepods/besteffort/pod{uid}/crio-{id}",
    "crio-systemd": "kubepods.slice/kubepods-pod{joined}.slice/crio-{id}.scope",
    "nested": "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
              "kubelet-kubepods-besteffort-pod{joined}.slice/cri-containerd-{id}.scope",
    "unknown": "machine/{id}",
}


class Client:
    """A pod of the case as a client, in cgroups of a layout."""

    def __init__(self, world, name, layout, **spec):
        self.world, self.pod = world, world.machine.pod(name)
        self.uid = world.api.run(self.pod, app="client", **spec)
        self.containers = [world.machine.cgroup / LAYOUTS[layout].format(
            uid=self.uid, joined=self.uid.replace("-", "_"), id=f"{name}{i}{ID}"[:64]) for i in range(2)]
        for path in self.containers:
            path.mkdir(parents=True)

    def ask(self, container=0):
        return self.pod.run("curl", "-sS", "-m5", f"http://{SERVICE}/", cgroup=self.containers[container]).stdout

    def refused(self, to=SERVICE, container=0):
        """Whether its connection is refused."""
        return is_refused(self.pod, to, cgroup=self.containers[container])


def is_refused(pod, to, **where):
    return pod.run("curl", "-sS", "-m5", f"http://{to}/", check=False, **where).returncode == 7


def sessions(world, *clients):
    """What the sessions of these clients are called, after a connection of each of their containers."""
    world.machine.pintle("unbind", "--pool", POOL)
    for client in clients:
        for container in range(len(client.containers)):
            client.ask(container)
    return {s["session"] for s in world.machine.cli("sessions")}


def key(world, name):
    world.machine.pintle("set", POOL, f"stickiness.key={name}")


@case(each=tuple(LAYOUTS)[:-1], timeout=180)
def test_pods_by_their_cgroups(node, layout):
    """A pod's containers are one session by `pod`; pods share one by their namespace or service account."""
    world = World(node, mode="enforce")
    world.api.create("/api/v1/namespaces/llm/serviceaccounts", {"metadata": {"name": "batch"}})
    a, b = Client(world, "a", layout), Client(world, "b", layout, serviceAccountName="batch")
    world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    key(world, "pod")
    wait_for(lambda: sessions(world, a, b) == {"pod:llm/a", "pod:llm/b"}, 20, "the pods to be known")
    assert {s["pod"] for s in world.machine.cli("sessions")} == {"llm/a", "llm/b"}
    assert [s["session"] for s in world.machine.cli("sessions", "pod:llm/a")] == ["pod:llm/a"]
    assert [s["session"] for s in world.machine.cli("sessions", f"pod:{a.uid}")] == ["pod:llm/a"]
    key(world, "cgroup")
    assert sessions(world, a, b) == {f"cgroup:pod/{c.uid}" for c in (a, b)}
    key(world, "namespace")
    assert sessions(world, a, b) == {"namespace:llm"}
    key(world, "serviceAccount")
    assert sessions(world, a, b) == {"serviceAccount:llm/default", "serviceAccount:llm/batch"}
    world.machine.pintle("unbind", "serviceAccount:llm/batch")
    assert {s["session"] for s in world.machine.cli("sessions")} == {"serviceAccount:llm/default"}
    # A pod that comes later is known, and one that is gone is forgotten.
    key(world, "pod")
    c = Client(world, "c", layout)
    wait_for(lambda: sessions(world, c) == {"pod:llm/c"}, 20, "the new pod to be known")
    world.api.remove(c.pod)
    wait_for(lambda: sessions(world, c) == {f"pod:{c.uid}"}, 20, "the pod that is gone to be forgotten")


@case(timeout=180)
def test_classes_of_pods(node):
    """Rules of a pool's classes tell pods by their service account and their own address, also where the socket is
    not bound; a pod that nobody knows, and one of another account, are in the first class."""
    world = World(node, mode="enforce")
    world.api.create("/api/v1/namespaces/llm/serviceaccounts", {"metadata": {"name": "batch"}})
    job, chat, bulk = (Client(world, name, "containerd-systemd", **spec) for name, spec in (
        ("job", {"serviceAccountName": "batch"}), ("chat", {}), ("bulk", {})))
    unknown = world.machine.pod("unknown")
    server = world.machine.pod("extra")
    model = server.server()
    model.set(running=5)
    to = "10.97.0.1:8000"
    world.daemon({
        "name": "extra", "frontends": [to], "endpoints": [{"name": "extra", "address": server.address()}],
        "classes": [{"name": "interactive"}, {
            "name": "batch", "limit": 3, "admission": "refuse",
            "rules": [{"namespace": "llm", "serviceAccount": "llm/batch"}, {"source": bulk.pod.v4},
                      {"namespace": "other"}]}]})

    wait_for(lambda: job.refused(to), 30, "the pods to be known")
    assert job.refused(to, container=1) and bulk.refused(to)
    assert not chat.refused(to) and not is_refused(unknown, to)
    model.set(running=0)
    wait_for(lambda: not job.refused(to))


@case(timeout=180)
def test_an_unknown_layout(node):
    """Where pods are not found by their cgroups, a client is its network namespace, which is told once."""
    world = World(node, mode="enforce")
    a = Client(world, "a", "unknown")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    key(world, "pod")
    for name in ("pod", "namespace", "serviceAccount"):
        key(world, name)
        found = sessions(world, a)
        assert len(found) == 1 and found.pop().startswith(f"{name}:netns:"), (name, found)
    said = "no pod of this node is found by its cgroup"
    wait_for(lambda: said in daemon.log(), 60)
    assert daemon.log().count(said) == 1


@case(timeout=180)
def test_only_the_pods_of_this_node(node):
    """Of pods only those of this node are asked for."""
    world = World(node, mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    wait_for(lambda: (("watch", "pods") in world.api.asked(PINTLE)), 20)
    asked = [e["requestURI"] for e in world.api.audited(PINTLE) if e["objectRef"]["resource"] == "pods"]
    assert asked and all(f"fieldSelector=spec.nodeName%3D{NODE}" in uri for uri in asked), asked


@case(timeout=180)
def test_without_the_right_to_pods(node):
    """Without the right to list pods all else works, the log says what is missing, and pods are known by their
    uids alone."""
    world = World(node, mode="enforce")
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/pintle"
    rules = [r for r in world.api.get(path)["rules"] if "pods" not in r["resources"]]
    world.api.patch(path, {"rules": rules})
    a = Client(world, "a", "containerd-systemd")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    wait_for(lambda: "pods: " in daemon.log(), 30)
    key(world, "pod")
    wait_for(lambda: sessions(world, a) == {f"pod:{a.uid}"}, 20)
    key(world, "namespace")
    assert sessions(world, a).pop().startswith("namespace:netns:")


@case(timeout=180)
def test_events_name_pods(node):
    """`pintle events` says which pod of this node a connection came from, and which pod of which pool it went to.
    That follows from the client's process: outside the pod's cgroup, none passes for it by its address."""
    world = World(node, mode="enforce")
    pod = Client(world, "a", "containerd-systemd")
    world.api.run(world.client, app="client")
    world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    world.machine.popen([BUILD / "pintle", "--bpffs", world.machine.bpffs, "events", "-o", "json"], log="events.log")

    def seen(client, server, name):
        lines = (node.dir / "events.log").read_text().splitlines()
        return any((e["event"], e["pool"], e["endpoint"], e["client"].split(":")[0], e["client_pod"]) ==
                   ("closed", POOL, server, client.v4, name) for e in map(json.loads, lines))

    wait_for(lambda: seen(pod.pod, pod.ask(), "llm/a"), 30, "an event of the pod's connection")
    wait_for(lambda: seen(world.client, world.client.ask(SERVICE), None), 30, "an event of a stranger's connection")
    assert "llm/client" not in (node.dir / "events.log").read_text()


# Process 1 of a container that sees its own cgroup alone, as the whole.
PART = """
echo 0 >"$0/cgroup.procs" && exec unshare --mount --cgroup sh -c '
    umount -a -t cgroup2
    mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' - "$@"
"""


@case(timeout=180)
def test_part_of_the_cgroups(node):
    """Where pintled sees only a part of the node's cgroups, and so steers no pod, an Event of the node says so."""
    world = World(node, mode="enforce")
    config = "".join(line for line in world.config().splitlines(True) if "cgroup:" not in line)
    daemon = world.machine.daemon(config, wrapper=("sh", "-c", PART, world.machine.own), wait=False)
    part = "shows only a part of the cgroup2 tree"
    wait_for(lambda: part in daemon.log(), 20)

    def said():
        return {(e["involvedObject"]["kind"], e["involvedObject"]["name"], e["reason"])
                for e in world.api.get("/api/v1/namespaces/default/events")["items"] if part in e["message"]}

    wait_for(lambda: said() == {("Node", NODE, "PintleDoesNotSteer")}, 30, "the node's Event")
