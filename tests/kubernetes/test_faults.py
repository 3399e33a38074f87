# SPDX-License-Identifier: Apache-2.0
"""What becomes of the API server and of the rights, besides the cases in test_services.py: afterwards the maps are
what the API has."""
import http.client
import json
import random
import signal
import types
from concurrent.futures import ThreadPoolExecutor

import yaml

from harness import case
from kernel import inside, wait_for
from test_services import SERVICE, World


def compact(api):
    """etcd forgets all but the newest state."""
    with inside(api.machine.netns):
        c = http.client.HTTPConnection("127.0.0.1", api.etcd_port, timeout=10)

        def ask(path, what):
            c.request("POST", path, json.dumps(what))
            return json.loads(c.getresponse().read())

        revision = ask("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        done = ask("/v3/kv/compaction", {"revision": revision, "physical": True})
        c.close()
    assert "header" in done, done


@case(timeout=240)
def test_compacted(node):
    """While pintled stands still, pods change, etcd is compacted and the API server restarts: the watches' versions
    are too old for both, and pintled lists again."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        late = world.machine.pod("late")
        late.server()
        world.api.run(late)
        world.api.say(world.servers[0], False)
        wait_for(lambda: world.slices() == {world.servers[1].v4, late.v4}, 20)
        compact(world.api)
        world.api.kill_server()
        world.api.start_server()
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    world.wait_members("s1", "late", timeout=90)
    world.api.say(world.servers[0], True)
    world.wait_members("s0", "s1", "late", timeout=30)
    wait_for(lambda: world.is_steered("s0", "s1", "late"))


@case(timeout=240)
def test_token_is_read_again(node):
    """A token file that is replaced holds from the next request on. With a token that is not accepted what is known
    stays."""
    world = World(node, mode="enforce")
    rights = yaml.safe_load(world.kubeconfig.read_text())
    good = rights["users"][0]["user"]["token"]
    token = node.write("token", "wrong\n")
    rights["users"][0]["user"] = {"tokenFile": str(token)}
    world.kubeconfig = node.write("by-file.kubeconfig", yaml.safe_dump(rights))
    daemon = world.daemon()
    wait_for(lambda: "the token is not accepted" in daemon.log(), 30)
    token.write_text(good)
    world.wait_members("s0", "s1", timeout=60)
    token.write_text("wrong again")
    world.api.kill_server()
    world.api.start_server()
    wait_for(lambda: daemon.log().count("the token is not accepted") > 1, 90)
    assert world.members() == {"s0", "s1"}
    wait_for(world.is_steered)
    token.write_text(good)
    world.api.say(world.servers[0], False)
    world.wait_members("s1", timeout=90)


@case(timeout=900)
def test_thousand_pods_churn(node):
    """1,000 pods of two Services that become ready, not ready and terminate, and are gone, at random: connections are
    served meanwhile, and afterwards the maps are what the API has."""
    world = World(node, mode="enforce")
    world.api.service("other", ip="10.96.0.40", mode="enforce")
    world.daemon()
    world.wait_members("s0", "s1")
    rng = random.Random(13)
    pods = [types.SimpleNamespace(name=f"fake-{i}", v4=f"10.{200 + i // 250}.0.{i % 250 + 1}") for i in range(998)]
    apps = ("vllm", "other")

    def change(pod):
        what = rng.random()
        if what < 0.1:
            world.api.remove(pod)
            pods.remove(pod)
        elif what < 0.2:
            world.api.terminate(pod)
        else:
            world.api.say(pod, what < 0.6)

    with world.client.load(SERVICE) as load, ThreadPoolExecutor(8) as at_once:
        list(at_once.map(lambda i: world.api.run(pods[i], app=apps[i % 2], ready=i % 3 > 0), range(len(pods))))
        for _ in range(20):
            list(at_once.map(change, rng.sample(pods, 25)))
    assert not load.failures, load.failures

    def same():
        wanted = {}
        for app in apps:
            for s in world.api.get("/apis/discovery.k8s.io/v1/namespaces/llm/endpointslices?labelSelector="
                                   f"kubernetes.io/service-name%3D{app}")["items"]:
                for e in s["endpoints"] or ():
                    if e["conditions"]["ready"] or (e["conditions"]["terminating"] and e["conditions"]["serving"]):
                        wanted[e["addresses"][0]] = e["conditions"]["terminating"]
        listed = world.api.get("/api/v1/namespaces/llm/pods")["items"]
        ready = {p["status"]["podIP"] for p in listed if p["status"]["conditions"][-1]["status"] == "True"}
        there = {e["address"].rsplit(":")[0]: e["drained_configured"] for e in world.machine.cli("endpoints")}
        return ready == wanted.keys() and there == wanted

    wait_for(same, 120, "the maps to be what the API has")
