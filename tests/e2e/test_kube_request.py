# SPDX-License-Identifier: Apache-2.0
"""A SteeringPolicy asks for decide: request: connections of this node's pods to the Services of a cluster, whose API
server is a stand-in (api_server.py), are spliced to pods of other nodes."""
import hashlib
import json
import os

import api_server
from api_server import inference_pool, pod, policy, running, service, slice_of
from harness import case
from kernel import BUILD
from pods import Cluster
from test_handoff import handed
from test_handoff import post as headers_of
from test_in_pods import Hashing
from test_kube import POOL, soon, written_soon
from test_packaging import capabilities
from test_splice import Kept, exchange, in_flight

QWEN = "10.96.0.11:8000"
HEADER = {"key": ["header/x-session-id", "authorization", "source"], "maxExtraLoad": 16}


class World:
    """Services llama and qwen, with two pods each on two other nodes, and a client's pod on the node that is steered."""

    def __init__(self, node, policies=(), **state):
        self.cluster = Cluster(node, 3)
        self.machine = self.cluster.machines[0]
        self.pods = {name: [self.cluster.machines[1 + i].pod(f"{name}{i}") for i in range(2)] for name in ("llama", "qwen")}
        for pods in self.pods.values():
            for p in pods:
                Hashing(p)
        self.client = self.machine.pod("client")
        self.api = api_server.start(self.machine, **{
            "services": [service(), service("qwen", "10.96.0.11")],
            "endpointslices": [self.slice(name) for name in self.pods],
            "steeringpolicies": list(policies), "inferencepools": [], **state})
        self.daemon = self.start()
        soon(lambda: all(self.pools().get(f"llm/{s['metadata']['name']}", {}).get("ready") for s in self.api.state["services"]))

    def start(self, **more):
        """pintled, with what the DaemonSet lets it."""
        allowed = "".join(f",+{c.lower()}" for c in capabilities("daemonset"))
        return self.machine.daemon(self.api.config(), wrapper=(
            "sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec setpriv --no-new-privs --inh-caps=-all --bounding-set="$@"',
            self.machine.own, "-all" + allowed), **more)

    def slice(self, name):
        return slice_of(name, [pod(p.name, p.v4, f"n{i + 2}") for i, p in enumerate(self.pods[name])])

    def pools(self):
        return {p["name"]: p for p in self.machine.cli("pools")}

    def say(self, **keys):
        """The policy of llama has these keys alone; None: there is no policy."""
        self.api.say(steeringpolicies=[] if keys.get("none") else [policy("p", "llama", **keys)])

    def did(self):
        return handed(self.machine, POOL)

    def is_by_request(self):
        """Two connections, because a pod's first one is decided as it comes."""
        before = sum(self.did().values())
        for _ in range(2):
            self.asked_for("llama-8b")
        return sum(self.did().values()) > before

    def condition(self, name="p", kind="Programmed"):
        """The newest one that was written: (status, reason, message)."""
        written = [b for _, path, b in self.api.requests("PATCH") if f"/steeringpolicies/{name}/status" in path]
        found = [c for c in written[-1]["status"]["conditions"] if c["type"] == kind] if written else []
        return next(((c["status"], c["reason"], c["message"]) for c in found), None)

    def asked_for(self, model):
        """The Service whose server gets a request for this model."""
        body = json.dumps({"model": model, "messages": []}).encode()
        server, digest = exchange(self.client, [headers_of(body) + body])
        assert digest == hashlib.sha256(body).hexdigest()
        return server[:-1]

    def is_unserved(self, model):
        """Whether a request for this model is reset."""
        try:
            return not self.asked_for(model)
        except ConnectionResetError:
            return True


def check_sessions(world):
    met = {}
    for _ in range(3):
        for session in range(16):
            met.setdefault(session, set()).add(exchange(world.client, [headers_of(b"", session=b"s%d" % session)])[0])
    assert all(len(servers) == 1 for servers in met.values()) and len(set.union(*met.values())) > 1, met


@case(timeout=180)
def test_by_session(node):
    """A policy turns a Service's pool to by request while it runs: sessions keep their servers, and bodies arrive. What is
    open goes on when the policy changes, and when it goes, and the pool is by connection again."""
    world = World(node)
    assert not world.is_by_request()
    # Without a key it is by what agents name their conversations by.
    world.say(decide="request", stickiness={"maxExtraLoad": 16})
    soon(world.is_by_request)
    assert world.pools()[POOL]["session_key"] == "agent,client", world.pools()[POOL]
    check_sessions(world)
    world.say(decide="request", stickiness={**HEADER, "key": ["body/metadata.user_id", "agent", "source"]})
    soon(lambda: world.pools()[POOL]["session_key"] == "body/metadata.user_id,agent,source")
    check_sessions(world)
    world.say(decide="request", stickiness=HEADER)
    soon(lambda: "header/x-session-id" in world.pools()[POOL]["session_key"])
    check_sessions(world)
    for size in (0, 3000, 200000):
        body = os.urandom(size)
        assert exchange(world.client, [headers_of(body) + body])[1] == hashlib.sha256(body).hexdigest()
    row = world.pools()[POOL]
    assert row["decide"] == "request" and world.pools()["llm/qwen"]["decide"] == "connection"
    # The other Service is none of the policy's.
    before = handed(world.machine, "llm/qwen")
    assert world.client.ask(QWEN).startswith("qwen") and handed(world.machine, "llm/qwen") == before
    kept = Kept(world.client)
    # With nothing said of sessions these are what agents name.
    world.say(decide="request", stickiness={"maxExtraLoad": 16})
    soon(lambda: world.pools()[POOL]["session_key"].startswith("agent"))
    check_sessions(world)
    world.say(decide="request", stickiness={"key": "header/x-other, source", "prefix": True})
    soon(lambda: "header/x-other" in world.pools()[POOL]["session_key"])
    kept.check()
    assert world.is_by_request()
    world.say(none=True)
    soon(lambda: world.pools()[POOL]["decide"] == "connection")
    kept.check()
    before = world.did()
    exchange(world.client, [headers_of(b"")])
    assert world.did() == before
    kept.check()
    kept.close()
    soon(lambda: not in_flight(world.cluster))


@case(timeout=180)
def test_set_while_it_runs(node):
    """`pintle set` turns a Service's pool, of which no policy says anything, to by request, and reset takes that back."""
    world = World(node)

    def pintle(*argv):
        return world.machine.run(BUILD / "pintle", *argv, "--bpffs", world.machine.bpffs).stdout

    pintle("set", POOL, "decide=request")
    soon(world.is_by_request)
    assert world.pools()[POOL]["session_key"] == "agent,client", world.pools()[POOL]
    pintle("reset", POOL, "decide")
    soon(lambda: world.pools()[POOL]["decide"] == "connection")
    before = world.did()
    exchange(world.client, [headers_of(b"")])
    assert world.did() == before


@case(timeout=240)
def test_by_model(node):
    """Requests go to the Services, and to the InferencePool, that serve their models. A name that is not there is as a
    model that is not listed; when it comes it serves; when it goes the rest goes on."""
    world = World(node)
    models = {"llama-8b": "llama", "llama-8b:sql": "llama", "qwen-32b": "qwen", "mistral": "mistral"}
    world.say(decide="request", models=models)
    soon(world.is_by_request)
    assert [world.asked_for(m) for m in ("llama-8b", "llama-8b:sql", "qwen-32b")] == ["llama", "llama", "qwen"]
    assert world.is_unserved("mistral") and world.is_unserved("gpt")
    late = world.cluster.machines[1].pod("mistral0")
    Hashing(late)
    front = service("front", "10.96.0.12", annotations={"pintle.dev/pool": "mistral"})
    world.api.say(services=[*world.api.state["services"], front], inferencepools=[inference_pool("mistral", app="mistral")],
                  pods=[running(late.name, late.v4, "n2", app="mistral")])
    soon(lambda: not world.is_unserved("mistral"))
    assert world.asked_for("mistral") == "mistral"
    world.say(decide="request", models={**models, "default": "llama"})
    soon(lambda: not world.is_unserved("gpt"))
    assert world.asked_for("gpt") == "llama" and world.asked_for("qwen-32b") == "qwen"
    # A policy of the InferencePool turns that one to by request, too.
    row = lambda: world.pools()["llm/mistral"]["decide"]
    assert row() == "connection"
    world.api.say(steeringpolicies=[*world.api.state["steeringpolicies"],
                                    policy("q", "mistral", "InferencePool", decide="request", stickiness=HEADER)])
    soon(lambda: row() == "request")
    assert world.asked_for("mistral") == "mistral"
    # A Service that goes takes its model with it.
    world.api.say(services=[s for s in world.api.state["services"] if s["metadata"]["name"] != "qwen"])
    soon(lambda: "llm/qwen" not in world.pools())
    soon(lambda: world.asked_for("qwen-32b") == "llama")
    assert world.asked_for("mistral") == "mistral"


@case(timeout=240)
def test_without_api_server(node):
    """The next pintled goes on by the keys and models that are pinned, while the API server is away; so do connections."""
    world = World(node)
    world.say(decide="request", stickiness=HEADER, models={"llama-8b": "llama", "qwen-32b": "qwen", "default": "llama"})
    soon(world.is_by_request)
    kept = Kept(world.client)
    world.api.process.kill()
    world.api.process.wait()
    world.daemon.kill()
    kept.check()
    daemon = world.start(wait=False)
    soon(lambda: daemon.get("/healthz")[0] == 200)
    assert world.is_by_request() and world.asked_for("qwen-32b") == "qwen"
    check_sessions(world)
    kept.check()
    # The policy went meanwhile.
    world.api.say(steeringpolicies=[])
    world.api.serve()
    soon(lambda: world.pools()[POOL]["decide"] == "connection")
    assert world.asked_for("qwen-32b") == "llama"
    kept.check()
    kept.close()


@case(timeout=180)
def test_models_of_another_namespace(node):
    """A policy's author can name no Service of another namespace: such a policy says why, and changes nothing."""
    other = service("secret", "10.96.0.13")
    theirs = slice_of("secret", [])
    for item in (other, theirs):
        item["metadata"]["namespace"] = "other"
    world = World(node)
    theirs["endpoints"] = [pod("qwen0", world.pods["qwen"][0].v4, "n2")]
    theirs["addressType"] = "IPv4"
    world.api.say(services=[world.api.state["services"][0], other], endpointslices=[world.slice("llama"), theirs])
    soon(lambda: set(world.pools()) == {POOL, "other/secret"})
    world.say(decide="request", models={"llama-8b": "llama", "qwen-32b": "secret"})
    soon(world.is_by_request)
    assert world.is_unserved("qwen-32b")
    for name in ("other/secret", "../other/secret", "secret.other/", "", "/secret"):
        world.say(decide="request", stickiness=HEADER, models={"llama-8b": "llama", "qwen-32b": name})
        says = f'models: qwen-32b goes to "{name}"; write the name of a Service or an InferencePool of this namespace'
        written_soon(lambda says=says: world.condition(kind="Accepted") == ("False", "Invalid", says))
        assert world.pools()[POOL]["decide"] == "connection" and not world.is_by_request()
    world.say(decide="request", models={"llama-8b": "llama", "qwen-32b": {"namespace": "other", "name": "secret"}})
    written_soon(lambda: 'qwen-32b goes to ""' in world.condition(kind="Accepted")[2])
    # Keys of requests that are not whole: each says what would be right.
    for keys, says in (({"decide": "requests"}, 'decide is "requests"'), ({"models": {"a": "llama"}}, "models needs requests"),
                       ({"decide": "request", "models": {}}, "models has 0 names"), ({"splice": True}, 'unknown key "splice"'),
                       ({"decide": "request", "models": {"a b": "llama"}}, "no name of a model"),
                       ({"stickiness": {"prefix": True}}, "stickiness.prefix needs the prompt")):
        world.say(**keys)
        written_soon(lambda says=says: says in world.condition(kind="Accepted")[2])
    assert world.pools()[POOL]["decide"] == "connection"


DECIDED = "the first request of each connection of a pod says where it goes"
LOST = ("models: mistral goes to mistral, and no such Service carries the label pintle.dev/mode, nor is there such an "
        "InferencePool with one in front")
BY_CONNECTION = "connections are decided as they come, by their addresses: "


@case(timeout=400)
def test_what_is_told(node):
    """Events of the Service and the policy's condition say whether requests decide, and which model's Service is not
    there; `pintle status` says why connections are decided as they come, in the same words."""
    twin = service("twin", "10.96.0.12", selector={"app": "llama"}, created="2026-02-01T00:00:00Z")
    idle = service("idle", "10.96.0.13")
    world = World(node)

    def told():
        return {e[1:] for e in world.api.events() if e[0] == "Service/llama"}

    def lacks(reason, why):
        return ("Warning", reason, why) in told() and world.condition() == ("False", reason, f"Service llama: {why}")

    world.say(decide="request", models={"llama-8b": "llama"})
    written_soon(lambda: ("Normal", "DecidedByRequest", DECIDED) in told())
    assert world.condition() == ("True", "Programmed", "1 target is steered by it")
    assert not [e for e in world.api.events() if e[0] == "Service/qwen" and "Decided" in e[2]]
    # A Service that is not there; one that shares an older one's pool; one without a pod.
    world.say(decide="request", models={"llama-8b": "llama", "mistral": "mistral"})
    written_soon(lambda: lacks("ModelNotFound", LOST))
    first = {**world.api.state["services"][0]}
    first["spec"] = {**first["spec"], "selector": {"app": "llama"}}
    world.api.say(services=[first, *world.api.state["services"][1:], twin, idle],
                  endpointslices=[*world.api.state["endpointslices"], slice_of("twin", [
                      pod(p.name, p.v4, "n2") for p in world.pods["llama"]])])
    world.say(decide="request", models={"llama-8b": "llama", "twin": "twin"})
    written_soon(lambda: lacks("ModelNotFound", "models: twin goes to Service twin, whose pods are those of Service llama, "
                                                "which is older; name that one"))
    world.say(decide="request", models={"llama-8b": "llama", "idle": "idle"})
    written_soon(lambda: lacks("ModelNotFound", "models: idle goes to Service idle, which is left to kube-proxy: port 8000 has "
                                                "no ready endpoint"))
    assert world.asked_for("llama-8b") == "llama"
    # `pintle set` on this node, and the label.
    world.say(decide="request", stickiness=HEADER)
    written_soon(lambda: world.condition()[0] == "True")
    world.machine.pintle("set", POOL, "decide=connection")
    written_soon(lambda: lacks("DecidedByConnection", BY_CONNECTION + "`pintle set` has decide: connection on this node"))
    world.machine.pintle("reset", POOL, "decide")
    written_soon(lambda: world.condition()[0] == "True")
    world.machine.pintle("set", POOL, "mode=shadow")
    written_soon(lambda: lacks("DecidedByConnection", BY_CONNECTION + "in mode shadow no request is read"))
    assert "decide    request, spliced, but by connection here: in mode shadow no request is read" in \
        world.machine.pintle("status").stdout


@case(timeout=300)
def test_pods_that_are_not_seen(node):
    """Where connections come, and none of a pod whose device the program is at, the Event, the condition and status say so,
    until a pod is seen."""
    world = World(node)
    world.say(decide="request", stickiness=HEADER)
    written_soon(lambda: world.condition() and world.condition()[0] == "True")
    # A gateway in the node's own network.
    out = world.machine.run("sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec curl -sS -m5 http://10.96.0.10:8000/',
                            world.machine.own)
    assert out.stdout.startswith("llama"), out
    why = "no pod was seen yet whose segments pass in both directions: a program of others may take them first (tcx, tc), or " \
          "answers take another way, as with eBPF host routing"
    written_soon(lambda: world.condition() == ("False", "DecidedByConnection", f"Service llama: {BY_CONNECTION}{why}"))
    written_soon(lambda: ("Service/llama", "Warning", "DecidedByConnection", BY_CONNECTION + why) in world.api.events())
    assert f"but by connection here: {why}" in world.machine.pintle("status").stdout
    assert world.pools()[POOL]["by_connection"] == why and world.pools()["llm/qwen"]["by_connection"] is None
    assert world.is_by_request()
    written_soon(lambda: world.condition()[0] == "True")
    assert world.pools()[POOL]["by_connection"] is None
    assert "  decide    request, spliced\n" in world.machine.pintle("status").stdout
