# SPDX-License-Identifier: Apache-2.0
"""SteeringPolicies and InferencePools, against a real API server: keys for the pools of a Service, conditions,
Events, and one daemon that writes them."""
import json
import types

from control_plane import Refused
from harness import case
from kernel import wait_for
from test_clients import Client
from test_services import POOL, SERVICE, World

POLICIES, POOLS, OBJECTIVES = "steeringpolicies", "inferencepools", "inferenceobjectives"
# Those that others define, as `pintle status` names them. Objectives have two groups, and the cases can define the
# kind of the former alone.
MISSING_POOLS, FORMER, OTHER = (f"{POOLS}.inference.networking.k8s.io/v1",
                                f"{OBJECTIVES}.inference.networking.x-k8s.io/v1alpha2", f"{OBJECTIVES}.llm-d.ai/v1alpha2")
ACCOUNT = "system:serviceaccount:pintle:pintle"


def has(world, name, **wanted):
    """Whether the policy has these conditions: {type: reason}."""
    found = world.api.conditions(name)
    return all(found.get(kind, (None, None))[1] == reason for kind, reason in wanted.items())


def wait_conditions(world, name, timeout=20, **wanted):
    wait_for(lambda: has(world, name, **wanted), timeout, f"{name} to be {wanted}")
    return world.api.conditions(name)


def annotate(world, service, pool):
    """Makes the Service a frontend of that InferencePool."""
    world.api.patch(f"/api/v1/namespaces/llm/services/{service}",
                    {"metadata": {"annotations": {"pintle.dev/pool": pool}}})


def missing(world):
    """{kind: why}: what `pintle status` names as missing in the cluster."""
    found, = world.machine.cli("status")
    return dict(m.split(": ", 1) for m in found["kubernetes"]["missing"])


@case(timeout=180)
def test_steering_policy(node):
    """A policy's keys are those of the Service's pool, whatever way it comes, changes and goes; its
    conditions say so."""
    world = World(node, mode="enforce", kinds=[POLICIES])
    world.daemon()
    world.wait_members("s0", "s1")

    def ttl():
        found = world.pools().get(POOL)
        return found and found["ttl_seconds"]

    assert ttl() == 300
    world.api.policy("short", ("Service", "vllm"), stickiness={"ttl": "7s"}, weights={"queue": 3})
    wait_for(lambda: ttl() == 7)
    found = wait_conditions(world, "short", Accepted="Accepted", Programmed="Programmed")
    assert found["Accepted"][0] == found["Programmed"][0] == "True"
    world.api.change_policy("short", stickiness={"ttl": "9s"})
    wait_for(lambda: ttl() == 9)
    # It goes with its target, and comes back with it.
    world.api.label("off")
    found = wait_conditions(world, "short", Programmed="NotSteered")
    assert "says off" in found["Programmed"][2]
    world.api.label("enforce")
    wait_for(lambda: ttl() == 9)
    wait_conditions(world, "short", Programmed="Programmed")
    world.api.delete(f"{world.api.kind(POLICIES)}/short")
    wait_for(lambda: ttl() == 300)


@case(timeout=180)
def test_classes(node):
    """A policy's classes are those of the Service's pool: jobs, known by their service account, fill the pods only up
    to their limit. A rule that only root may write is refused, and changes nothing."""
    world = World(node, mode="enforce", kinds=[POLICIES])
    world.api.create("/api/v1/namespaces/llm/serviceaccounts", {"metadata": {"name": "batch"}})
    job = Client(world, "job", "containerd-systemd", serviceAccountName="batch")
    chat = Client(world, "chat", "containerd-systemd")
    world.daemon()
    world.wait_members("s0", "s1")
    for pod in world.servers:
        pod.model.set(running=5)
    classes = [{"name": "interactive"}, {"name": "batch", "priority": -1, "limit": 3, "admission": "refuse",
                                         "rules": [{"serviceAccount": "llm/batch"}]}]
    world.api.policy("classes", ("Service", "vllm"), classes=classes)
    wait_conditions(world, "classes", Accepted="Accepted", Programmed="Programmed")
    wait_for(lambda: job.refused(), 20)
    assert not chat.refused()
    assert [c["name"] for c in world.pools()[POOL]["classes"]] == ["interactive", "batch"]
    classes[1]["rules"].append({"cgroup": "*"})
    world.api.change_policy("classes", classes=classes)
    found = wait_conditions(world, "classes", Accepted="Invalid")
    assert "cgroup" in found["Accepted"][2], found
    classes[1]["rules"].pop()
    world.api.change_policy("classes", classes=classes[:1])
    wait_for(lambda: not job.refused(), 20)


@case(timeout=180)
def test_two_policies_for_one_target(node):
    """The older wins, and the other is told so; when the older goes, the other holds."""
    world = World(node, mode="enforce", kinds=[POLICIES])
    world.daemon()
    world.wait_members("s0", "s1")
    world.api.policy("a-second", ("Service", "vllm"), stickiness={"ttl": "22s"})
    wait_conditions(world, "a-second", Programmed="Programmed")
    world.api.policy("b-third", ("Service", "vllm"), stickiness={"ttl": "33s"})
    found = wait_conditions(world, "b-third", Accepted="Conflicted", Programmed="Conflicted")
    assert found["Accepted"][0] == "False" and "SteeringPolicy a-second, which is older" in found["Accepted"][2]
    assert world.pools()[POOL]["ttl_seconds"] == 22
    world.api.delete(f"{world.api.kind(POLICIES)}/a-second")
    wait_conditions(world, "b-third", Accepted="Accepted", Programmed="Programmed")
    wait_for(lambda: world.pools()[POOL]["ttl_seconds"] == 33)


def steered(node, *kinds):
    """A world with a Service that is steered, and that must still be at the end of a case of bad input."""
    world = World(node, mode="enforce", kinds=kinds)
    world.daemon()
    world.wait_members("s0", "s1")
    wait_for(world.is_steered)
    return world


def unharmed(world):
    return world.members() == {"s0", "s1"} and world.is_steered()


@case(timeout=180)
def test_unknown_keys(node):
    """A policy with a key that nobody knows, or that a policy may not have, or a value out of its range, says so in
    its condition, and what would be right."""
    world = steered(node, POLICIES)
    wrong = {
        "unknown": ({"stickines": {"ttl": "1s"}}, 'unknown key "stickines" in spec; did you mean "stickiness"?'),
        "inner": ({"weights": {"quue": 1}}, 'unknown key "quue" in weights; did you mean "queue"?'),
        "file": ({"scrape": {"authorization": {"credentialsFile": "/etc/shadow"}}}, "unknown key"),
        "mode": ({"mode": "enforce"}, "unknown key"),
        "draws": ({"intercept": "endpoints"}, "unknown key"),
        "often": ({"scrape": {"interval": "99ms"}}, "a duration from 100ms to 1h"),
        "checks": ({"health": {"path": "/health", "interval": "999ms"}}, "a duration from 1s to 1h"),
    }
    for name, (spec, says) in wrong.items():
        world.api.policy(name, ("Service", "vllm"), **spec)
        found = wait_conditions(world, name, Accepted="Invalid", Programmed="Invalid")
        assert says in found["Accepted"][2], (name, found)
    world.api.policy("mark", ("Service", "vllm"), stickiness={"key": "mark"})
    wait_conditions(world, "mark", Accepted="Accepted", Programmed="Programmed")
    assert world.members() == {"s0", "s1"}


@case(timeout=180)
def test_decide_by_request(node):
    """The API server takes the keys of requests, and refuses a model of another namespace before pintled does."""
    world = steered(node, POLICIES)
    keys = {"decide": "request", "requests": "one-per-connection", "stickiness": {"prefix": True}}
    world.api.policy("p", ("Service", "vllm"), models={"llama:sql": "vllm"}, **keys)
    wait_conditions(world, "p", Accepted="Accepted", Programmed="Programmed")
    assert world.pools()[POOL]["decide"] == "request"
    world.api.change_policy("p", models={"llama:sql": "vllm", "qwen": "qwen"})
    found = wait_conditions(world, "p", Accepted="Accepted", Programmed="ModelNotFound")
    assert "models: qwen goes to qwen" in found["Programmed"][2], found
    for wrong in ({"decide": "requests"}, {"models": {"llama": "other/vllm"}}, {"stickiness": {"prefix": "yes"}}):
        try:
            world.api.policy("wrong", ("Service", "vllm"), **wrong)
            raise RuntimeError(f"{wrong} was taken")
        except Refused:
            pass
    world.api.delete(f"{world.api.kind(POLICIES)}/p")
    wait_for(lambda: world.pools()[POOL]["decide"] == "connection")


@case(timeout=180)
def test_names_of_253_characters(node):
    """Whatever may have the longest names, in a namespace with the longest name: a policy, its target, a pod."""
    world = steered(node, POLICIES, POOLS)
    long, space = "n" * 253, "s" * 63
    world.api.create("/api/v1/namespaces", {"metadata": {"name": space}})
    world.api.policy(long, ("InferencePool", long), space=space)
    wait_for(lambda: world.api.conditions(long, space).get("Programmed", ("", ""))[1] == "TargetNotFound")
    world.api.inference_pool("p" * 253, app="long")
    world.api.service("of-long", ip="10.96.0.20", mode="enforce")
    annotate(world, "of-long", "p" * 253)
    pod = types.SimpleNamespace(name="e" * 253, v4="10.200.0.3")
    world.api.run(pod, app="long")
    wait_for(lambda: world.members("llm/" + "p" * 253) == {pod.name}, 20)
    # What names both: an endpoint in the pools' rows, as text and as JSON.
    assert f"llm/{'p' * 253}/{pod.name}" in world.machine.pintle("endpoints").stdout
    assert unharmed(world)


@case(timeout=180)
def test_pool_without_pods(node):
    """An InferencePool that finds no pod, with a Service in front: one Event for each, and connections are
    kube-proxy's."""
    world = steered(node, POLICIES, POOLS)
    world.api.inference_pool("empty", app="nobody", failureMode="FailOpen")
    world.api.service("of-empty", ip="10.96.0.20", mode="enforce")
    annotate(world, "of-empty", "empty")
    wait_for(lambda: ("InferencePool", "empty", "none of its pods is ready") in world.api.events(), 30)
    assert world.client.ask("10.96.0.20:8000") == "proxied"
    world.api.policy("p", ("InferencePool", "empty"), stickiness={"ttl": "9s"})
    found = wait_conditions(world, "p", Programmed="NotSteered")
    assert "none of its pods is ready" in found["Programmed"][2]
    assert unharmed(world)


@case(timeout=180)
def test_million_byte_status(node):
    """A million bytes of status, which nobody asked for, in a policy and a pool: their conditions stay right."""
    world = steered(node, POLICIES, POOLS)
    world.api.policy("p", ("Service", "vllm"), stickiness={"ttl": "9s"})
    world.api.inference_pool("empty", app="nobody")
    wait_conditions(world, "p", Programmed="Programmed")
    parents = [{"parentRef": {"name": f"p{i}"}, "conditions": [
        {"type": f"t{k}", "status": "True", "reason": "r", "message": "m" * 32000,
         "lastTransitionTime": "2026-11-21T07:20:25Z"} for k in range(8)]} for i in range(4)]
    world.api.patch(f"{world.api.kind(POOLS)}/empty/status", {"status": {"parents": parents}})
    path = f"{world.api.kind(POLICIES)}/p"
    world.api.patch(f"{path}/status", {"status": {"conditions": [
        {"type": f"t{i}", "status": "True", "reason": "r", "message": "m" * 32000, "observedGeneration": 1,
         "lastTransitionTime": "2026-11-21T07:20:25Z"} for i in range(5)]}})
    world.api.change_policy("p", stickiness={"ttl": "11s"})
    wait_conditions(world, "p", Accepted="Accepted", Programmed="Programmed")
    wait_for(lambda: world.pools()[POOL]["ttl_seconds"] == 11)
    assert unharmed(world)


@case(timeout=180)
def test_service_of_two_labels(node):
    """Of a label that an object has twice the API server takes the last; a Service whose two marks say different
    things, such as a label that is no mode, or an annotation for a pool that is not there, has one Event."""
    world = steered(node, POOLS)
    twice = ('{"metadata": {"name": "twice", "labels": {"pintle.dev/mode": "enforce", "pintle.dev/mode": "off"}},'
             '"spec": {"selector": {"app": "vllm"}, "clusterIP": "10.96.0.23", "ports": [{"port": 80}]}}')
    world.api.request("POST", "/api/v1/namespaces/llm/services", twice)
    world.api.service("odd", ip="10.96.0.21", mode="nonsense")
    world.api.service("lost", ip="10.96.0.22", mode="enforce")
    annotate(world, "lost", "no")
    annotate(world, "odd", "no")
    wait_for(lambda: {n for _, n, _ in world.api.events()} >= {"odd", "lost"}, 30)
    for name in ("odd", "lost"):
        assert sum(n == name for _, n, _ in world.api.events()) <= 2, world.api.events()
    assert world.pools().keys() == {POOL}
    assert unharmed(world)


@case(timeout=180)
def test_inference_pool(node):
    """Its pods are found by the selector, and each target port is an endpoint; Services with the annotation
    are its frontends, and make no pool of their own."""
    world = World(node, mode="enforce", kinds=[POLICIES, POOLS])
    world.daemon()
    world.wait_members("s0", "s1")
    world.api.service("front", ip="10.96.0.30", mode="enforce")
    annotate(world, "front", "llama")
    third = world.machine.pod("s2")
    third.server()
    world.api.run(third, app="llama")
    wait_for(lambda: ("Service", "front") in {e[:2] for e in world.api.events()}, 30)
    world.api.inference_pool("llama", app="llama", failureMode="FailOpen")
    wait_for(lambda: world.members("llm/llama") == {"s2"})
    wait_for(lambda: set(world.client.spread("10.96.0.30:8000", 4)) == {"s2"})
    assert world.pools()["llm/llama"]["failure_mode"] == "FailOpen"
    assert "llm/front" not in world.pools()
    path = f"{world.api.kind(POOLS)}/llama"

    def parents():
        """{(controller, the parent's name): the reasons of its conditions} in the pool's status."""
        return {(p.get("controllerName"), p["parentRef"]["name"]): {c["reason"] for c in p.get("conditions", ())}
                for p in world.api.get(path).get("status", {}).get("parents", ())}

    ours = {("pintle.dev/pintled", "front"): {"Accepted", "ResolvedRefs"}}
    wait_for(lambda: parents() == ours, 30)
    # Another controller's list stays as it is.
    world.api.patch(f"{path}/status", {"status": {"parents": [{"parentRef": {"name": "gateway"}}]}})
    # A pod comes, is not ready, and is ready.
    fourth = types.SimpleNamespace(name="s3", v4="10.200.0.9")
    world.api.run(fourth, app="llama", ready=False)
    world.api.say(fourth, True)
    wait_for(lambda: world.members("llm/llama") == {"s2", "s3"})
    assert parents() == {(None, "gateway"): set()}
    world.api.say(fourth, False)
    wait_for(lambda: world.members("llm/llama") == {"s2"})
    # Two ranks of each pod; a policy; the default failureMode.
    world.api.delete(f"{world.api.kind(POOLS)}/llama")
    wait_for(lambda: "llm/llama" not in world.pools())
    world.api.policy("p", ("InferencePool", "llama"), stickiness={"ttl": "9s"})
    wait_conditions(world, "p", Programmed="TargetNotFound")
    world.api.inference_pool("llama", app="llama", ports=(8000, 8001))
    wait_for(lambda: world.members("llm/llama") == {"s2.8000", "s2.8001"})
    wait_conditions(world, "p", Programmed="Programmed")
    wait_for(lambda: world.pools()["llm/llama"]["failure_mode"] == "FailClose", 10, "the first page to be read")
    assert world.pools()["llm/llama"]["ttl_seconds"] == 9


@case(timeout=180)
def test_objectives(node):
    """An InferenceObjective gives the class of its name its priority, in the pool of its InferencePool alone; it
    changes and goes; without the kind the policy's priority holds."""
    world = World(node, mode="enforce", kinds=[POLICIES, POOLS, OBJECTIVES])
    world.daemon()
    world.wait_members("s0", "s1")
    pod = world.machine.pod("p0")
    pod.server()
    world.api.run(pod, app="llama")
    world.api.inference_pool("llama", app="llama")
    world.api.service("front", ip="10.96.0.30", mode="enforce")
    annotate(world, "front", "llama")
    world.api.policy("p", ("InferencePool", "llama"), ("Service", "vllm"),
                     classes=[{"name": "chat"}, {"name": "batch", "priority": -1}])

    def priorities(pool="llm/llama"):
        found = world.pools().get(pool)
        return found and [c["priority"] for c in found["classes"]]

    wait_for(lambda: priorities() == [0, -1])
    world.api.objective("batch", "llama", priority=-7)
    world.api.objective("chat", "other", priority=9)
    wait_for(lambda: priorities() == [0, -7])
    world.api.patch(f"{world.api.kind(OBJECTIVES)}/chat", {"spec": {"poolRef": {"name": "llama"}}})
    wait_for(lambda: priorities() == [9, -7])
    assert priorities("llm/vllm") == [0, -1], "a Service has no objectives"
    world.api.delete(f"{world.api.kind(OBJECTIVES)}/batch")
    wait_for(lambda: priorities() == [9, -1])
    world.api.undefine(OBJECTIVES)
    wait_for(lambda: priorities() == [0, -1], 60)


@case(timeout=180)
def test_pool_without_a_picker(node):
    """An InferencePool without endpointPickerRef, which the extension allows since v1.6.0, fails open."""
    world = World(node, mode="enforce", kinds=[POOLS])
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{POOLS}.inference.networking.k8s.io"
    versions = world.api.get(path)["spec"]["versions"]
    for version in versions: # as v1.6.0 has it
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        if "endpointPickerRef" in spec["required"]:
            spec["required"].remove("endpointPickerRef")
    world.api.patch(path, {"spec": {"versions": versions}})
    world.daemon()
    world.wait_members("s0", "s1")
    pod = world.machine.pod("p0")
    pod.server()
    world.api.run(pod, app="bare")
    world.api.service("front", ip="10.96.0.30", mode="enforce")
    annotate(world, "front", "bare")
    bare = {"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool", "metadata": {"name": "bare"},
            "spec": {"selector": {"matchLabels": {"app": "bare"}}, "targetPorts": [{"number": 8000}]}}
    wait_for(lambda: world.api.create(world.api.kind(POOLS), bare), 30, "the changed kind to be served")
    wait_for(lambda: world.members("llm/bare") == {"p0"})
    assert world.pools()["llm/bare"]["failure_mode"] == "FailOpen"
    wait_for(lambda: world.client.ask("10.96.0.30:8000") == "p0")
    world.api.say(pod, False)
    wait_for(lambda: world.client.ask("10.96.0.30:8000") == "proxied")


@case(timeout=240)
def test_kinds_removed_and_put_back(node):
    """Without the CRDs all else works, and status names what is missing; put in, they work; removed and put
    back, they work again."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    assert world.is_steered() or wait_for(world.is_steered)
    assert "steeringpolicies: HTTP status 404" in daemon.log()
    wait_for(lambda: missing(world).keys() >= {POLICIES, MISSING_POOLS, FORMER, OTHER})
    with world.client.load(SERVICE) as load:
        for ttl in (11, 12):
            for kind in (POLICIES, POOLS, OBJECTIVES):
                world.api.define(kind)
            world.api.policy("p", ("Service", "vllm"), stickiness={"ttl": f"{ttl}s"})
            wait_for(lambda ttl=ttl: world.pools()[POOL]["ttl_seconds"] == ttl, 90)
            wait_for(lambda: not missing(world), 90)
            for kind in (POLICIES, POOLS, OBJECTIVES):
                world.api.undefine(kind)
            wait_for(lambda: world.pools()[POOL]["ttl_seconds"] == 300, 30)
    assert not load.failures, load.failures


@case(timeout=240)
def test_one_daemon_writes(node):
    """One daemon has the Lease and writes, and takes it over from another that does not renew it. Only what the
    rights name is asked for."""
    world = World(node, mode="enforce", kinds=[POLICIES, POOLS])
    first = world.daemon()
    world.wait_members("s0", "s1")
    world.api.policy("p", ("Service", "vllm"))
    wait_conditions(world, "p", Programmed="Programmed")
    path = "/apis/coordination.k8s.io/v1/namespaces/pintle/leases/pintle-leader"
    holder = world.api.get(path)["spec"]["holderIdentity"]
    # Somebody else has it, and does not renew it.
    world.api.patch(path, {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 5}})
    wait_for(lambda: "another daemon writes" in first.log(), 60)
    wait_for(lambda: world.api.get(path)["spec"]["holderIdentity"] == holder, 150)
    assert world.api.asked(ACCOUNT) <= {
        *((verb, what) for verb in ("list", "watch")
          for what in ("services", "endpointslices", POLICIES, POOLS, OBJECTIVES, "pods", "namespaces", "configmaps")),
        ("get", "nodes"),
        ("patch", "steeringpolicies/status"), ("patch", "inferencepools/status"), ("create", "events"), ("patch", "events"),
        ("get", "leases"), ("create", "leases"), ("update", "leases")}
    # Never all pods: those of this node, and those of a pool in front of which there is a Service.
    pods = [e["requestURI"] for e in world.api.audited(ACCOUNT) if e["objectRef"]["resource"] == "pods"]
    assert all("fieldSelector=spec.nodeName" in uri for uri in pods), pods


@case(timeout=180)
def test_without_a_right(node):
    """With the rights for Services and slices alone, these are steered, and status names what is missing."""
    world = World(node, mode="enforce", kinds=[POLICIES, POOLS])
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    world.api.patch(f"{rbac}/clusterroles/pintle", {"rules": [
        {"apiGroups": ["", "discovery.k8s.io"], "resources": ["services", "endpointslices"],
         "verbs": ["list", "watch"]}]})
    world.api.delete(f"{rbac}/namespaces/pintle/rolebindings/pintle")
    world.daemon()
    world.wait_members("s0", "s1", timeout=40)
    wait_for(world.is_steered)
    wait_for(lambda: missing(world).keys() == {
        POLICIES, MISSING_POOLS, FORMER, OTHER, "pods", "namespaces", "nodes", "leases", "configmaps pintle-removal"}, 60)
    assert all("HTTP status 403" in why for why in missing(world).values()), missing(world)


@case(timeout=240)
def test_prefix_of_a_gateway(node):
    """An address for each session, in a prefix that a policy names for its Service: only inside
    node.frontendPrefixes, and where nobody else is."""
    world = World(node, mode="enforce", kinds=[POLICIES])
    daemon = world.machine.daemon(world.config().replace("node:\n", "node:\n  frontendPrefixes: [10.99.0.0/16]\n"))
    world.wait_members("s0", "s1")
    refused = {
        "outside": ("10.98.0.0/24:8000", "is not inside node.frontendPrefixes"),
        "service": ("10.96.0.0/24:8000", "is not inside node.frontendPrefixes"),
        "port": ("10.99.0.0/24:8001", "no port 8001"),
    }
    for name, (prefix, says) in refused.items():
        world.api.policy(name, ("Service", "vllm"), frontends=[prefix])
        found = wait_conditions(world, name, Programmed="PrefixRefused")
        assert says in found["Programmed"][2], found
        assert world.pools()[POOL]["frontends"] == [SERVICE]
        world.api.delete(f"{world.api.kind(POLICIES)}/{name}")
    world.api.policy("sessions", ("Service", "vllm"), frontends=["10.99.0.0/24:8000"])
    wait_conditions(world, "sessions", Programmed="Programmed")
    assert set(world.pools()[POOL]["frontends"]) == {SERVICE, "10.99.0.0/24:8000"}
    wait_for(lambda: world.client.ask("10.99.0.77:8000") in ("s0", "s1"))
    # Another Service's policy cannot have the same addresses.
    world.api.service("other", ip="10.96.0.40", mode="enforce")
    world.api.run(types.SimpleNamespace(name="o0", v4="10.200.0.7"), app="other")
    wait_for(lambda: "llm/other" in world.pools())
    world.api.policy("thief", ("Service", "other"), frontends=["10.99.0.64/26:8000"])
    found = wait_conditions(world, "thief", Programmed="PrefixRefused")
    assert "overlaps 10.99.0.0/24:8000" in found["Programmed"][2], found
    assert "llm/other" in world.pools() and daemon.log()


def refused(world, to):
    """Whether connections to that address are refused, which kube-proxy's stand-in would serve."""
    try:
        world.client.ask(to)
    except ConnectionRefusedError:
        return True
    return False


@case(timeout=240)
def test_fails_close_without_a_pod(node):
    """FailClose, by an InferencePool or a policy: without a ready pod connections are refused, also after a restart
    without an API server; FailOpen: they are kube-proxy's."""
    world = World(node, mode="enforce", kinds=[POLICIES, POOLS])
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    pods = {}
    for name, ip, mode in (("close", "10.96.0.31", "FailClose"), ("open", "10.96.0.32", "FailOpen")):
        pods[name] = world.machine.pod(f"{name}-0")
        pods[name].server()
        world.api.run(pods[name], app=name)
        world.api.inference_pool(name, app=name, failureMode=mode)
        world.api.service(f"front-{name}", ip=ip, mode="enforce")
        annotate(world, f"front-{name}", name)
    close, leave = "10.96.0.31:8000", "10.96.0.32:8000"
    wait_for(lambda: (world.client.ask(close), world.client.ask(leave)) == ("close-0", "open-0"))
    for pod in pods.values():
        world.api.say(pod, False)
    wait_for(lambda: refused(world, close))
    wait_for(lambda: world.client.ask(leave) == "proxied")
    assert "llm/open" not in world.pools() and world.pools()["llm/close"]["endpoints"] == 0
    # A Service whose policy says so.
    world.api.policy("shut", ("Service", "vllm"), failureMode="FailClose")
    wait_conditions(world, "shut", Programmed="Programmed")
    for pod in world.servers:
        world.api.say(pod, False)
    wait_for(lambda: refused(world, SERVICE))
    daemon.stop()
    world.api.kill_server()
    daemon = world.daemon()
    wait_for(lambda: "what is known stays" in daemon.log())
    assert refused(world, SERVICE) and refused(world, close)
    assert world.client.ask(leave) == "proxied"
    world.api.start_server()
    for pod in (pods["close"], world.servers[1]):
        world.api.say(pod, True)
    wait_for(lambda: not refused(world, close) and world.client.ask(close) == "close-0", 60)
    wait_for(lambda: not refused(world, SERVICE) and world.client.ask(SERVICE) == "s1", 60)


@case(timeout=240)
def test_policy_without_api_server(node):
    """A daemon that starts while the API server is away goes on with a policy's keys; `pintle set`, `diff` and `reset`
    take them for the configuration's."""
    world = World(node, mode="enforce", kinds=[POLICIES])
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    world.api.policy("p", ("Service", "vllm"), stickiness={"ttl": "9s", "key": "pod"}, scrape={"interval": "150ms"})
    wait_conditions(world, "p", Programmed="Programmed")

    def holds():
        found = world.pools()[POOL]
        assert (found["ttl_seconds"], found["session_key"]) == (9, "pod"), found
        world.machine.pintle("set", POOL, "stickiness.ttl=7s")
        rows = json.loads(world.machine.pintle("diff", "-o", "json", check=False).stdout)
        assert [(r["key"], r["file"], r["runs"]) for r in rows] == [("stickiness.ttl", "9s", "7s")], rows
        world.machine.pintle("reset", POOL)
        wait_for(lambda: world.pools()[POOL]["ttl_seconds"] == 9)
        assert json.loads(world.machine.pintle("diff", "-o", "json", check=False).stdout) == []

    holds()
    daemon.stop()
    world.api.kill_server()
    daemon = world.daemon()
    wait_for(lambda: "what is known stays" in daemon.log())
    holds()
    daemon.reload()
    wait_for(lambda: "reloaded" in daemon.log())
    holds()
    # A policy that went meanwhile goes when the API server is back.
    world.api.start_server()
    world.api.delete(f"{world.api.kind(POLICIES)}/p")
    wait_for(lambda: world.pools()[POOL]["ttl_seconds"] == 300, 60)
