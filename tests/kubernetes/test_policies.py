# SPDX-License-Identifier: Apache-2.0
"""SteeringPolicies and InferencePools, against a real API server: keys for the pools of a Service, conditions,
Events, and one daemon that writes them."""
import types

from harness import case
from kernel import wait_for
from test_services import POOL, SERVICE, World

POLICIES, POOLS = "steeringpolicies", "inferencepools"
ACCOUNT = "system:serviceaccount:pintle:pintle"


def has(world, name, **wanted):
    """Whether the policy has these conditions: {type: reason}."""
    found = world.api.conditions(name)
    return all(found.get(kind, (None, None))[1] == reason for kind, reason in wanted.items())


def wait_conditions(world, name, timeout=20, **wanted):
    wait_for(lambda: has(world, name, **wanted), timeout, f"{name} to be {wanted}")
    return world.api.conditions(name)


def missing(world):
    """What `pintle status` names as missing in the cluster."""
    found, = world.machine.cli("status")
    return found["kubernetes"]["missing"]


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


@case(timeout=240)
def test_bad_input(node):
    """Each has one clear condition, Event or line, and the rest is unharmed."""
    world = World(node, mode="enforce", kinds=[POLICIES, POOLS])
    world.daemon()
    world.wait_members("s0", "s1")
    wrong = {
        "unknown": ({"stickines": {"ttl": "1s"}}, 'unknown key "stickines" in spec; did you mean "stickiness"?'),
        "inner": ({"weights": {"quue": 1}}, 'unknown key "quue" in weights; did you mean "queue"?'),
        "file": ({"scrape": {"authorization": {"credentialsFile": "/etc/shadow"}}}, "unknown key"),
        "mode": ({"mode": "enforce"}, "unknown key"),
        "together": ({"stickiness": {"key": "mark"}}, None),
        "range": ({"scrape": {"interval": "1ms"}}, "out of range"),
    }
    for name, (spec, says) in wrong.items():
        world.api.policy(name, ("Service", "vllm"), **spec)
        if says is None:
            wait_conditions(world, name, Accepted="Accepted")
            world.api.delete(f"{world.api.kind(POLICIES)}/{name}")
            continue
        found = wait_conditions(world, name, Accepted="Invalid", Programmed="Invalid")
        assert says in found["Accepted"][2], (name, found)
    # Names of 253 characters, for all that may have one, in a namespace with the longest name.
    long, space = "n" * 253, "s" * 63
    world.api.create("/api/v1/namespaces", {"metadata": {"name": space}})
    world.api.policy(long, ("InferencePool", long), space=space)
    wait_for(lambda: world.api.conditions(long, space).get("Programmed", ("", ""))[1] == "TargetNotFound")
    # A pool without pods, in front of which there is a Service.
    world.api.inference_pool("empty", app="nobody")
    world.api.service("of-empty", ip="10.96.0.20", mode="enforce")
    world.api.patch("/api/v1/namespaces/llm/services/of-empty",
                    {"metadata": {"annotations": {"pintle.dev/pool": "empty"}}})
    wait_for(lambda: ("InferencePool", "empty", "none of its pods is ready") in world.api.events(), 30)
    # A million bytes of status, which nobody asked for.
    path = f"{world.api.kind(POLICIES)}/unknown"
    world.api.patch(f"{path}/status", {"status": {"conditions": [
        {"type": f"t{i}", "status": "True", "reason": "r", "message": "m" * 32000, "observedGeneration": 1,
         "lastTransitionTime": "2026-11-21T07:20:25Z"} for i in range(5)]}})
    pool = f"{world.api.kind(POOLS)}/empty"
    world.api.patch(f"{pool}/status", {"status": {"parents": [
        {"parentRef": {"name": f"p{i}"}, "conditions": [
            {"type": f"t{k}", "status": "True", "reason": "r", "message": "m" * 32000,
             "lastTransitionTime": "2026-11-21T07:20:25Z"} for k in range(8)]} for i in range(4)]}})
    wait_conditions(world, "unknown", Accepted="Invalid")
    # A Service of a label that is no mode, and one whose pool is not there.
    world.api.service("odd", ip="10.96.0.21", mode="nonsense")
    world.api.service("lost", ip="10.96.0.22", mode="enforce")
    world.api.patch("/api/v1/namespaces/llm/services/lost", {"metadata": {"annotations": {"pintle.dev/pool": "no"}}})
    wait_for(lambda: {n for _, n, _ in world.api.events()} >= {"odd", "lost", "empty", "of-empty"}, 30)
    # The labelled one is steered as before.
    assert world.members() == {"s0", "s1"} and world.is_steered()


@case(timeout=180)
def test_inference_pool(node):
    """Its pods are found by the selector, and each target port is an endpoint; Services with the annotation
    are its frontends, and make no pool of their own."""
    world = World(node, mode="enforce", kinds=[POLICIES, POOLS])
    world.daemon()
    world.wait_members("s0", "s1")
    world.api.service("front", ip="10.96.0.30", mode="enforce")
    world.api.patch("/api/v1/namespaces/llm/services/front", {"metadata": {"annotations": {"pintle.dev/pool": "llama"}}})
    third = world.machine.pod("s2")
    third.server()
    world.api.run(third, app="llama")
    wait_for(lambda: ("Service", "front") in {e[:2] for e in world.api.events()}, 30)
    world.api.inference_pool("llama", app="llama", failureMode="FailOpen")
    wait_for(lambda: world.members("llm/llama") == {"s2"})
    wait_for(lambda: set(world.client.spread("10.96.0.30:8000", 4)) == {"s2"})
    assert world.pools()["llm/llama"]["failure_mode"] == "FailOpen"
    assert "llm/front" not in world.pools()
    # A pod comes, is not ready, and is ready.
    fourth = types.SimpleNamespace(name="s3", v4="10.200.0.9")
    world.api.run(fourth, app="llama", ready=False)
    world.api.say(fourth, True)
    wait_for(lambda: world.members("llm/llama") == {"s2", "s3"})
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
    found = world.pools()["llm/llama"]
    assert (found["failure_mode"], found["ttl_seconds"]) == ("FailClose", 9)


@case(timeout=240)
def test_kinds_removed_and_put_back(node):
    """Without the CRDs all else works, and status names what is missing; put in, they work; removed and put
    back, they work again."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    assert world.is_steered() or wait_for(world.is_steered)
    assert "steeringpolicies: HTTP status 404" in daemon.log()
    wait_for(lambda: any(m.startswith("steeringpolicies: ") for m in missing(world)))
    with world.client.load(SERVICE) as load:
        for ttl in (11, 12):
            for kind in (POLICIES, POOLS):
                world.api.define(kind)
            world.api.policy("p", ("Service", "vllm"), stickiness={"ttl": f"{ttl}s"})
            wait_for(lambda ttl=ttl: world.pools()[POOL]["ttl_seconds"] == ttl, 90)
            wait_for(lambda: not missing(world), 90)
            for kind in (POLICIES, POOLS):
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
          for what in ("services", "endpointslices", POLICIES, POOLS, "pods")),
        ("get", "nodes"),
        ("patch", "steeringpolicies/status"), ("create", "events"), ("patch", "events"),
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
    wait_for(lambda: {m.split(":")[0] for m in missing(world)} == {POLICIES, POOLS, "pods", "nodes", "leases"}, 60)
    assert all("HTTP status 403" in m for m in missing(world)), missing(world)


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
