# SPDX-License-Identifier: Apache-2.0
"""The image and the manifests on real nodes: kubelet, containerd, runc, CNI and kube-proxy run, and a user's
commands are what a user types. Node a is hybrid, node b has cgroup2 in a cgroup namespace, as kind and k3d do."""
import contextlib
import json
import re
import shutil
import time

import yaml

from harness import case
from kernel import TOP, Skip, wait_for
from nodes import BINARIES, KubeCluster

MANIFESTS = TOP / "manifests"
SERVICE, PROXIED = "10.96.14.3", "10.96.14.4"
VERSION = re.search(r"^VERSION := (\S+)$", (TOP / "Makefile").read_text(), re.M)[1]
IMAGE = TOP / f"build/image/pintle-{VERSION}-amd64.tar"

# A model server with the page of a vLLM. When it is asked to end, it serves on for as long as it may.
SERVER = """
import http.server, os, signal, socketserver, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
name = os.environ["HOSTNAME"] if len(sys.argv) < 3 else sys.argv[2]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        text = name
        if self.path == "/metrics":
            text = "".join(f'vllm:{key}{{model_name="m"}} 0\\n' for key in
                           ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"))
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *a): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, request_queue_size, allow_reuse_address = True, 256, True
Server(("", int(sys.argv[1])), Handler).serve_forever()
"""
# ask.py HOST:PORT COUNT: who answered, a new connection for each request, with a context that is worth staying for.
# ask.py HOST:PORT,... 0: all of them until /tmp/stop exists; then how many requests were answered, and what failed when.
ASK = """
import collections, http.client, json, os, sys, threading, time
count, begun = int(sys.argv[2]), time.monotonic()
class Asked:
    def __init__(self, to):
        self.to, self.names, self.failures = to, collections.Counter(), []
    def once(self):
        c = http.client.HTTPConnection(self.to, timeout=20)
        try:
            c.request("GET", "/", headers={"X-Context": 16000 * "x"})
            self.names[c.getresponse().read().decode()] += 1
        except (OSError, http.client.HTTPException) as e:
            self.failures.append(f"{time.monotonic() - begun:.1f} s: {e!r}")
        finally:
            c.close()
    def many(self):
        while not os.path.exists("/tmp/stop"):
            self.once()
asked = [Asked(to) for to in sys.argv[1].split(",")]
if count:
    for _ in range(count):
        asked[0].once()
else:
    threads = [threading.Thread(target=each.many) for each in asked for _ in range(3)]
    open("/tmp/started", "w").close()
    for t in threads: t.start()
    for t in threads: t.join()
print(json.dumps([{"to": each.to, "names": each.names, "failures": each.failures} for each in asked]))
"""


def workload(kind, name, replicas, command, **more):
    spec = {
        "enableServiceLinks": False, "automountServiceAccountToken": False,
        "containers": [{
            "name": "c", "image": "localhost/tools:1", "imagePullPolicy": "Never", "command": command,
            "volumeMounts": [{"name": "scripts", "mountPath": "/srv"}], **more.pop("container", {})}],
        "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}}], **more}
    return {
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "llm"},
        "spec": {**({"replicas": replicas} if replicas else {}), "selector": {"matchLabels": {"app": name}},
                 "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}}


def probe(port):
    return {"readinessProbe": {"httpGet": {"port": port, "path": "/metrics"}, "periodSeconds": 1, "timeoutSeconds": 5}}


SCRIPTS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts", "namespace": "llm"},
           "data": {"server.py": SERVER, "ask.py": ASK}}
# A client on each node, and four servers.
CLIENTS = workload("DaemonSet", "client", None, ["sleep", "infinity"], terminationGracePeriodSeconds=0)
SERVERS = workload("Deployment", "llama", 4, ["python3", "/srv/server.py", "8000"],
                   container=probe(8000), terminationGracePeriodSeconds=6)


def llama_service(name, ip):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "llm"}, "spec": {
        "clusterIP": ip, "selector": {"app": "llama"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]}}


# The second has no label: what kube-proxy alone does, beside Pintle.
SERVICES = [llama_service("llama", SERVICE), llama_service("proxied", PROXIED)]


class World(KubeCluster):
    def __init__(self, node):
        if not IMAGE.exists():
            raise Skip("there is no image: make image")
        super().__init__(node, [IMAGE])
        self.manifests = node.dir / "manifests"
        shutil.copytree(MANIFESTS, self.manifests)

    def __enter__(self):
        super().__enter__()
        try:
            self.apply(SCRIPTS, CLIENTS, SERVERS, *SERVICES)
            wait_for(lambda: [self.pod_on(name) for name in self.nodes], 120, "a client on each node")
            self.rolled_out("llm", "daemonset/client", "deployment/llama")
        except BaseException:
            self.__exit__()
            raise
        return self

    # .. as a user

    def apply(self, *objects):
        self.kubectl("apply", "-f", self.node.write("objects.yaml", yaml.safe_dump_all(objects)))

    def rolled_out(self, namespace, *what):
        for each in what:
            self.kubectl("-n", namespace, "rollout", "status", each, "--timeout=300s", timeout=310)

    def install(self):
        self.kubectl("apply", "-k", self.manifests)
        self.rolled_out("pintle", "daemonset/pintle")

    def label(self, mode="enforce", service="llama"):
        self.kubectl("-n", "llm", "label", "--overwrite", "service", service, f"pintle.dev/mode={mode}")

    def remove(self):
        """The commands of docs/operations.md, "Remove", for kustomize."""
        text = (TOP / "docs/operations.md").read_text()
        script = re.search(r"^(sed .*removal.yaml .*?)```", text, re.M | re.S)[1]
        script = script.replace("manifests/", f"{self.manifests}/").replace(f"REGISTRY/pintle:{VERSION}", f"pintle:{VERSION}")
        script = script.replace("kubectl ", f"{BINARIES}/kubectl --kubeconfig {self.kubeconfig} ")
        self.node.run("bash", "-euc", script, netns=self.lan.netns, timeout=300, env={"HOME": str(self.node.dir)})

    def helm(self, *arguments):
        """What it prints."""
        if not (BINARIES / "helm").exists():
            raise Skip("helm is not built: tests/kubernetes/build")
        result = self.node.run(BINARIES / "helm", "--kubeconfig", self.kubeconfig, "--namespace", "pintle", *arguments,
                               netns=self.lan.netns, timeout=300, env={"HOME": str(self.node.dir)})
        return result.stdout + result.stderr

    def chart(self, verb, *arguments):
        """helm install or upgrade."""
        values = self.node.write("values.yaml", yaml.safe_dump({"image": {"repository": "pintle"}}))
        self.helm(verb, "pintle", self.manifests, "-f", values, "--wait", "--timeout", "280s", *arguments)

    def nothing_left(self):
        for name, each in self.nodes.items():
            assert not self.programs(name), self.programs(name)
            pins = each.run("find", "/sys/fs/bpf", "-path", "*pintle*").stdout
            assert not pins, pins

    # .. pods

    def pod_on(self, name, app="client", namespace="llm", label="app"):
        """The running pod of that app on that node."""
        return [p["metadata"]["name"] for p in self.pods(namespace, f"{label}={app}")
                if p["spec"].get("nodeName") == name and "deletionTimestamp" not in p["metadata"]][0]

    def pintled_on(self, name):
        return self.pod_on(name, "pintle", "pintle", "app.kubernetes.io/name")

    def pintle(self, name, *arguments, check=True):
        """The CLI in the DaemonSet's pod of that node."""
        return self.kubectl("-n", "pintle", "exec", self.pintled_on(name), "--", "pintle", *arguments, check=check)

    def cli(self, name, noun, *arguments):
        return json.loads(self.pintle(name, noun, *arguments, "-o", "json"))

    def ask(self, name, to=SERVICE, count=30):
        """{who answered: how often} to the client on that node."""
        (said,) = json.loads(self.kubectl("-n", "llm", "exec", self.pod_on(name), "--", "python3", "/srv/ask.py", to, count))
        assert not said["failures"], said
        return said["names"]

    def is_steered(self, name, to=SERVICE):
        """A client is a session, so all its connections reach one server. kube-proxy picks at random."""
        return len(self.ask(name, to)) == 1

    def placed(self, name):
        return sum(e["placed"] for e in self.cli(name, "endpoints"))

    def wait_steered(self, *names):
        for name in names or ("a", "b"):
            wait_for(lambda name=name: self.is_steered(name), 120, f"the client on {name} to be steered")

    @contextlib.contextmanager
    def load(self, *names, fails=0):
        """Connections of the clients on these nodes, one after the other, meanwhile, to the Service and to the one that
        kube-proxy serves. Of those to the first no more than that fail on a node."""
        clients = {}
        for name in names:
            pod = self.pod_on(name)
            clients[pod] = self.node.popen(
                [BINARIES / "kubectl", "--kubeconfig", self.kubeconfig, "-n", "llm", "exec", pod, "--", "python3",
                 "/srv/ask.py", f"{SERVICE},{PROXIED}", "0"], netns=self.lan.netns, log=f"load-{name}.log",
                env={"HOME": str(self.node.dir)})
            wait_for(lambda pod=pod: self.exec(pod, "test", "-e", "/tmp/started").returncode == 0, 60, "the load to start")
        yield
        for pod in clients:
            self.exec(pod, "touch", "/tmp/stop")
        found = []
        for name, process in zip(names, clients.values()):
            process.wait(60)
            said = json.loads((self.node.dir / f"load-{name}.log").read_text().splitlines()[-1])
            self.exec(self.pod_on(name), "rm", "/tmp/stop", "/tmp/started")
            for each in said:
                print(f"{name}: {sum(each['names'].values())} connections to {each['to']} answered, "
                      f"{len(each['failures'])} failed {each['failures'][:20]}")
            found.append(said[0])
        for said in found:
            assert sum(said["names"].values()) > 100 and len(said["failures"]) <= fails, said

    def exec(self, pod, *argv):
        return self.kubectl("-n", "llm", "exec", pod, "--", *argv, check=False)

    def programs(self, name):
        """(cgroup, program) of those attached to the node's cgroups."""
        tree = self.nodes[name].cgroups[0]
        return [(cgroup["cgroup"], p["name"]) for cgroup in json.loads(self.node.run("bpftool", "-j", "cgroup", "tree", tree).stdout or "[]")
                for p in cgroup["programs"] if p["attach_type"] in ("cgroup_inet4_connect", "connect4", "sock_ops")]


@case(timeout=1800)
def test_label_steers_on_every_node(node):
    """The manifests pass server-side validation once the namespace is there; the DaemonSet becomes ready on every
    node, labelled or not; a label on the Service steers on both kinds of node; removal gives all back."""
    with World(node) as world:
        world.kubectl("apply", "-f", world.manifests / "namespace.yaml")
        world.kubectl("apply", "--server-side", "--dry-run=server", "-k", world.manifests)
        world.kubectl("apply", "--server-side", "-f", BINARIES.parent / "crds/podmonitors.yaml")
        world.kubectl("wait", "--for=condition=Established", "crd/podmonitors.monitoring.coreos.com", "--timeout=60s")
        world.kubectl("apply", "--server-side", "--dry-run=server", "-f", world.manifests / "monitoring/pod-monitor.yaml")
        assert not world.is_steered("a") and not world.is_steered("b")
        world.install()
        assert len(world.pods("pintle", "app.kubernetes.io/name=pintle")) == 2
        # The quota lets it have its priority class, which this API server forbids otherwise.
        (pod, _) = world.pods("pintle", "app.kubernetes.io/name=pintle")
        assert pod["spec"]["priorityClassName"] == "system-node-critical"
        assert not world.is_steered("a") and not world.is_steered("b")
        world.label()
        world.wait_steered()
        for name in ("a", "b"):
            before = world.placed(name)
            world.ask(name, count=10)
            assert world.placed(name) == before + 10, name
            (pool,) = world.cli(name, "pools")
            assert pool["name"] == "llm/llama" and pool["frontends"] == [f"{SERVICE}:80"], pool
            assert {e["state"] for e in world.cli(name, "endpoints")} == {"ready"} # the engine was found by its page
            found = {f["check"]: f for f in world.cli(name, "doctor")}
            assert found["cgroup2"]["result"] == "ok" and "/host/cgroup" in found["cgroup2"]["found"], found["cgroup2"]
            sessions = {s["session"] for s in world.cli(name, "sessions")}
            assert sessions, "the client's pod is a session"
        world.label("off")
        wait_for(lambda: not world.is_steered("a") and not world.is_steered("b"), 60)
        world.label()
        world.wait_steered()
        assert world.programs("a") and world.programs("b")
        world.remove()
        assert not world.is_steered("a") and not world.is_steered("b")
        world.nothing_left()


@case(timeout=1800)
def test_attached_at_kubepods(node):
    """With `node.cgroup: kubepods` the programs are at the cgroup below which each kubelet has its pods, on both kinds of
    node, and steer what pods connect."""
    with World(node) as world:
        config = yaml.safe_load((world.manifests / "pintle.yaml").read_text())
        config.setdefault("node", {})["cgroup"] = "kubepods"
        (world.manifests / "pintle.yaml").write_text(yaml.safe_dump(config))
        world.install()
        world.label()
        world.wait_steered()
        for name in ("a", "b"):
            at = {cgroup.rsplit("/", 1)[1] for cgroup, _ in world.programs(name)}
            assert len(at) == 1 and "kubepods" in at.pop(), world.programs(name)
            found = {f["check"]: f for f in world.cli(name, "doctor")}
            assert found["cgroup2"]["result"] == "ok", found["cgroup2"]
        world.remove()
        assert not world.is_steered("a") and not world.is_steered("b")
        world.nothing_left()


@case(timeout=1800)
def test_rollout_drain_eviction(node):
    """Servers are rolled out anew, evicted, and their node is drained, under load from both nodes: no connection
    fails, and afterwards the endpoints are the pods that serve."""
    with World(node) as world:
        world.install()
        world.label()
        world.wait_steered()

        def members(name):
            return {e["name"].rsplit("/")[-1] for e in world.cli(name, "endpoints")}

        def serving():
            return {p["metadata"]["name"] for p in world.pods("llm", "app=llama")
                    if "deletionTimestamp" not in p["metadata"]
                    and any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ()))}

        def settled():
            return len(serving()) == 4 and members("a") == members("b") == serving()

        with world.load("a", "b"):
            world.kubectl("-n", "llm", "rollout", "restart", "deployment/llama")
            world.rolled_out("llm", "deployment/llama")
            wait_for(settled, 120)
            evicted = sorted(serving())[0]
            world.api.create(f"/api/v1/namespaces/llm/pods/{evicted}/eviction", {
                "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": evicted, "namespace": "llm"}})
            wait_for(lambda: evicted not in serving() and settled(), 120)
            world.kubectl("drain", "b", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=200s")
            wait_for(settled, 120)
            assert {p["spec"]["nodeName"] for p in world.pods("llm", "app=llama")
                    if p["metadata"]["name"] in serving()} == {"a"}
        assert world.is_steered("a") and world.is_steered("b")


@case(timeout=1800)
def test_kubelet_killed(node):
    """A kubelet that is killed and stays down: its node becomes NotReady, its pods are no endpoints any more, its
    own client is steered on. When it is back, so are they."""
    with World(node) as world:
        if not world.nodes["a"].hybrid:
            raise Skip("a kubelet does not start again where cgroup2 has no controllers for it")
        world.install()
        world.label()
        world.wait_steered()
        on_a = {p["metadata"]["name"] for p in world.pods("llm", "app=llama") if p["spec"]["nodeName"] == "a"}
        assert on_a

        def wait_members(wanted):
            def equal():
                found = {e["name"].rsplit("/")[-1] for e in world.cli("b", "endpoints")}
                assert found == wanted, (found, wanted)
                return True

            wait_for(equal, 300)

        before = {p["metadata"]["name"] for p in world.pods("llm", "app=llama")}
        wait_members(before)
        world.nodes["a"].hold("kubelet")
        wait_for(lambda: not world.is_ready("a"), 120, "the node to be NotReady")
        wait_members(before - on_a)
        # Nobody can exec into a pod of that node now: its client is asked from the node, in the pod's cgroup.
        script = """
            pid=$(pgrep -f 'sleep infinity' | head -n 1)
            echo 0 >"/sys/fs/cgroup/unified$(sed -n s/^0:://p "/proc/$pid/cgroup")/cgroup.procs"
            exec nsenter -a -t "$pid" python3 /srv/ask.py "$0" 30"""
        (said,) = json.loads(world.nodes["a"].run("bash", "-euc", script, SERVICE, timeout=60).stdout)
        assert not said["failures"] and len(said["names"]) == 1 and not set(said["names"]) & on_a, said
        world.nodes["a"].release("kubelet")
        wait_for(lambda: world.is_ready("a"), 300)
        wait_members(before)
        assert world.is_steered("b")


@case(timeout=1800)
def test_killed_and_stopped(node):
    """pintled is killed on each node, and again; then it stands still for 60 s. Under load no connection fails, and it
    steers on when it is back."""
    with World(node) as world:
        world.install()
        world.label()
        world.wait_steered()

        def containers():
            return [c for p in world.pods("pintle", "app.kubernetes.io/name=pintle") for c in p["status"]["containerStatuses"]]

        def signal(number, check=True):
            for each in world.nodes.values():
                each.run("pkill", number, "-x", "pintled", check=check)

        with world.load("a", "b"):
            for _ in range(2):
                ids = {c["containerID"] for c in containers()}
                signal("-KILL")
                wait_for(lambda ids=ids: all(c["ready"] and c["containerID"] not in ids for c in containers()), 300)
            until = time.monotonic() + 60
            while time.monotonic() < until: # the kubelet starts it anew, since it does not answer
                signal("-STOP", check=False)
                time.sleep(1)
            signal("-CONT", check=False)
            wait_for(lambda: all(c["ready"] for c in containers()), 300)
            for name in world.nodes:
                wait_for(lambda name=name: world.cli(name, "status")[0]["daemon_alive"], 120)
        world.wait_steered()


# node.daemonless of such pools is 30 s. Before, all that tells a node of a roll-out is that its only client fails: three
# times at each of four pods, and again when an ejection ends, after 10 s; three connections may be on their way.
BEFORE_LEFT = 4 * (3 + 2 * 3) + 4 * 3


@case(timeout=1800, each=("later", "at once"))
def test_no_daemon_and_a_rollout(node, when):
    """pintled ends on each node, and its image cannot be pulled; then the servers are rolled out anew, so that no
    address that the kernel knows is right. Under load from both nodes no connection fails, or, if the roll-out begins
    while the kernel still waits for pintled, some; kube-proxy has them, until pintled is back."""
    with World(node) as world:
        world.install()
        world.label()
        world.wait_steered()
        former = {p["metadata"]["name"] for p in world.pods("llm", "app=llama")}

        def waits():
            """Each pod of the DaemonSet, for its image."""
            found = [c for p in world.pods("pintle", "app.kubernetes.io/name=pintle")
                     for c in p["status"].get("containerStatuses", ())]
            return len(found) == 2 and all(
                c["state"].get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff") for c in found)

        with world.load("a", "b", fails=0 if when == "later" else BEFORE_LEFT):
            world.kubectl("-n", "pintle", "set", "image", "daemonset/pintle", "pintled=localhost/nowhere:1")
            world.kubectl("-n", "pintle", "delete", "pods", "--all")
            if when == "later":
                wait_for(waits, 120, "pintled to be without an image")
                time.sleep(35)
            world.kubectl("-n", "llm", "rollout", "restart", "deployment/llama")
            world.rolled_out("llm", "deployment/llama")
            wait_for(lambda: not former & {p["metadata"]["name"] for p in world.pods("llm", "app=llama")}, 120)
            time.sleep(60) # old and new
            wait_for(waits, 120)
            assert not world.is_steered("a") and not world.is_steered("b")
            world.install()
        world.wait_steered()


LABELLED = """
- target: {kind: DaemonSet}
  patch: |
    - {op: add, path: /spec/template/spec/nodeSelector/pintle.dev~1steer, value: "true"}
"""


@case(timeout=1800)
def test_upgrade_from_labelled_nodes(node):
    """From the manifest that ran on labelled nodes only, with pools of its configuration file; then to another
    image. Under load with maxUnavailable: 1, no connection fails."""
    with World(node) as world:
        former = yaml.safe_load((world.manifests / "kustomization.yaml").read_text())
        new = (world.manifests / "kustomization.yaml").read_text()
        former["patches"] = yaml.safe_load(LABELLED)
        (world.manifests / "kustomization.yaml").write_text(yaml.safe_dump(former))
        config = (world.manifests / "pintle.yaml").read_text()
        address = world.pods("llm", "app=llama")[0]["status"]["podIP"]
        (world.manifests / "pintle.yaml").write_text(config.replace("kubernetes: {}\n", yaml.safe_dump({"pools": [{
            "name": "own", "engine": "vllm", "frontends": [f"{SERVICE}:80"],
            "endpoints": [{"name": "one", "address": f"{address}:8000"}]}]})))
        world.kubectl("label", "node", "a", "pintle.dev/steer=true")
        world.install()
        assert len(world.pods("pintle", "app.kubernetes.io/name=pintle")) == 1
        wait_for(lambda: world.is_steered("a"), 60)
        assert not world.is_steered("b")
        with world.load("a", "b"):
            (world.manifests / "kustomization.yaml").write_text(new)
            (world.manifests / "pintle.yaml").write_text(config)
            world.label()
            world.install()
            world.kubectl("label", "node", "a", "pintle.dev/steer-")
            # A session may change its server while it has much to do, so the decisions count here.
            for name in ("a", "b"):
                wait_for(lambda name=name: {p["name"]: p["decisions"] > 100 for p in world.cli(name, "pools")} ==
                         {"llm/llama": True}, 180, f"the load on {name} to be steered")
            pods = {world.pintled_on(name) for name in ("a", "b")}
            for each in world.nodes.values():
                each.run("ctr", "-n", "k8s.io", "images", "tag", f"docker.io/library/pintle:{VERSION}",
                         "docker.io/library/pintle:next")
            (world.manifests / "kustomization.yaml").write_text(new.replace(f"newTag: {VERSION}", "newTag: next"))
            world.install()
            assert not pods & {world.pintled_on(name) for name in ("a", "b")}
        world.wait_steered()


@case(timeout=1800)
def test_helm(node):
    """The chart installs, steers, takes a changed configuration and another node selector; where its removal's hook is
    left out, the kernel steers on."""
    with World(node) as world:
        world.kubectl("apply", "-f", world.manifests / "namespace.yaml")
        world.chart("install")
        world.label()
        world.wait_steered()
        before = {world.pintled_on(name) for name in ("a", "b")}
        world.kubectl("label", "node", "a", "here=yes")
        world.chart("upgrade", "--set", "nodeSelector.here=yes", "--set", "config.node.metricsDetail=main")
        wait_for(lambda: len(world.pods("pintle", "app.kubernetes.io/name=pintle")) == 1, 120)
        assert world.pintled_on("a") not in before and world.is_steered("a")
        world.helm("uninstall", "pintle", "--no-hooks", "--wait", "--timeout", "280s")
        wait_for(lambda: not world.pods("pintle", "app.kubernetes.io/name=pintle"), 120)
        assert world.is_steered("a")


@case(timeout=1800)
def test_helm_uninstall(node):
    """helm uninstall, under load from both nodes: each node detaches first, nothing is left on it, no connection fails,
    and kube-proxy has them. The CRD and its policies are kept; installed again, Pintle steers as before."""
    with World(node) as world:
        world.kubectl("apply", "-f", world.manifests / "namespace.yaml")
        world.chart("install")
        world.label()
        world.wait_steered()
        policy = {"apiVersion": "pintle.dev/v1alpha1", "kind": "SteeringPolicy",
                  "metadata": {"name": "kept", "namespace": "llm"}, "spec": {"targetRefs": [{"kind": "Service", "name": "llama"}]}}
        world.apply(policy)
        with world.load("a", "b"):
            print(world.helm("uninstall", "pintle", "--wait", "--timeout", "280s"))
            said = world.kubectl("-n", "pintle", "logs", "job/pintle-removal")
            assert "2 of 2 nodes are detached" in said, said
            wait_for(lambda: not world.pods("pintle", "app.kubernetes.io/name=pintle"), 120)
            world.nothing_left()
        assert not world.is_steered("a") and not world.is_steered("b")
        world.kubectl("-n", "llm", "get", "steeringpolicy", "kept")
        left = world.kubectl("-n", "pintle", "get", "configmap,serviceaccount,role,rolebinding,daemonset", "-o", "name")
        assert not [line for line in left.splitlines() if "pintle" in line], left
        world.chart("install")
        world.wait_steered()


@case(timeout=1800)
def test_host_network_servers(node):
    """Model servers in pods with hostNetwork, listening before pintled started: the lookup hook steers clients on
    their node to them, and a session stays."""
    with World(node) as world:
        for i in (1, 2):
            world.apply(workload("Deployment", f"gpu{i}", 1, ["python3", "/srv/server.py", f"800{i}", f"gpu{i}"],
                                 hostNetwork=True, nodeName="a", container=probe(8000 + i)))
        world.rolled_out("llm", "deployment/gpu1", "deployment/gpu2")
        config = yaml.safe_load((world.manifests / "pintle.yaml").read_text())
        config["pools"] = [{"name": "gpus", "engine": "vllm", "frontends": ["10.77.0.1:8000"], "announce": True,
                            "endpoints": [{"name": f"gpu{i}", "listen": f"127.0.0.1:800{i}"} for i in (1, 2)]}]
        (world.manifests / "pintle.yaml").write_text(yaml.safe_dump(config))
        world.install()
        wait_for(lambda: {e["state"] for e in world.cli("a", "endpoints")} == {"ready"}, 60)
        # On a busy machine the first requests were once seen at both.
        wait_for(lambda: world.is_steered("a", "10.77.0.1:8000"), 120)
        assert set(world.ask("a", "10.77.0.1:8000")) <= {"gpu1", "gpu2"}
        assert world.placed("a") >= 30


@case(timeout=1800)
def test_without_the_mount_of_cgroups(node):
    """Where pintled does not see the node's cgroups, it is not ready: on the hybrid node no cgroup2 is in sight; on
    the other its own container's is, and /readyz, doctor and the log say that this is a part only."""
    with World(node) as world:
        path = world.manifests / "daemonset.yaml"
        text = path.read_text()
        for line in ("        - {name: cgroup, mountPath: /host/cgroup, readOnly: true, mountPropagation: HostToContainer}\n",
                     "      - name: cgroup\n        hostPath: {path: /sys/fs/cgroup, type: Directory}\n"):
            assert line in text
            text = text.replace(line, "")
        path.write_text(text)
        world.kubectl("apply", "-k", world.manifests)

        def says(name, what):
            text = world.kubectl("-n", "pintle", "logs", world.pintled_on(name))
            assert what in text, text
            return True

        part = "shows only a part of the cgroup2 tree"
        wait_for(lambda: says("b", part), 120)
        wait_for(lambda: part in world.nodes["b"].run("curl", "-s", "http://127.0.0.1:9464/readyz").stdout, 60)
        found = {f["check"]: f for f in json.loads(world.pintle("b", "doctor", "-o", "json", check=False).stdout)}
        assert found["cgroup2"]["result"] == "fail" and part in found["cgroup2"]["found"], found["cgroup2"]
        wait_for(lambda: any(e["involvedObject"] == {**e["involvedObject"], "kind": "Node", "name": "b"}
                             and part in e.get("message", "") for e in world.api.get(
                                 "/api/v1/namespaces/default/events")["items"]), 60, "the node's Event")
        if world.nodes["a"].hybrid:
            wait_for(lambda: says("a", "no cgroup2 is mounted"), 120)
        assert not any(c["ready"] for p in world.pods("pintle", "app.kubernetes.io/name=pintle")
                       for c in p["status"]["containerStatuses"])
