# SPDX-License-Identifier: Apache-2.0
"""What comes over the wire from a real API server: the largest lines, halves of lines, and when a daemon asks again."""
import collections
import random

from harness import case
from kernel import wait_for
from relay import Relay
from test_services import POOL, World

# An API server takes 256 KiB of annotations, and writes six characters for each of these.
LARGE = {"note": "<" * (255 << 10)}
PATH = "/api/v1/namespaces/llm/services/large"


def large_service(world):
    """A Service with a pod of its own."""
    pod = world.machine.pod("large")
    pod.server()
    world.api.run(pod, app="large")
    world.api.create("/api/v1/namespaces/llm/services", {
        "metadata": {"name": "large", "labels": {"pintle.dev/mode": "enforce"}, "annotations": LARGE},
        "spec": {"selector": {"app": "large"}, "clusterIP": "10.96.0.30", "ports": [{"port": 80, "targetPort": 8000}]}})
    assert len(world.api.request("GET", PATH)) > 1_500_000


def label_large(world, mode):
    world.api.patch(PATH, {"metadata": {"labels": {"pintle.dev/mode": mode}}})


def large_mode(world):
    return world.pools().get("llm/large", {}).get("mode")


@case(timeout=180)
def test_line_of_a_megabyte_and_a_half(node):
    """A Service whose every line has more than 1.5 MB is steered as any other, in a watch and in a list."""
    world = World(node, mode="enforce")
    daemon = world.daemon()
    world.wait_members("s0", "s1")
    large_service(world)
    wait_for(lambda: large_mode(world) == "enforce", 30)
    label_large(world, "shadow")
    wait_for(lambda: large_mode(world) == "shadow", 30)
    daemon.stop()
    world.daemon()
    label_large(world, "enforce")
    wait_for(lambda: large_mode(world) == "enforce", 30)
    world.api.delete(PATH)
    wait_for(lambda: world.pools().keys() == {POOL}, 30)
    wait_for(world.is_steered)


@case(timeout=240)
def test_half_lines(node):
    """The connection breaks a dozen times, in the middle of a line of 1.5 MB and anywhere else: no half is taken for
    a whole, nothing known is lost, and in the end pintled has what the API has."""
    world = World(node, mode="enforce")
    large_service(world)
    with Relay(world.api) as relay:
        world.kubeconfig.write_text(relay.kubeconfig(world.kubeconfig.read_text()))
        daemon = world.daemon()
        world.wait_members("s0", "s1")
        wait_for(lambda: large_mode(world) == "enforce", 30)
        modes = ["enforce", "shadow"]
        for i in range(12):
            relay.room = random.randint(10_000, 1_500_000)
            cuts = relay.cuts
            label_large(world, modes[i % 2])
            wait_for(lambda: relay.cuts > cuts or large_mode(world) == modes[i % 2], 60)
            assert world.members() == {"s0", "s1"} and large_mode(world) in modes, daemon.log()
        relay.room = None
        assert relay.cuts >= 6, relay.cuts
        world.api.say(world.servers[0], False)
        world.wait_members("s1", timeout=90)
        wait_for(lambda: large_mode(world) == modes[11 % 2], 60)
    assert "JSON" not in daemon.log() and "is no event" not in daemon.log(), daemon.log()


@case(timeout=180)
def test_asks_again_at_random_times(node):
    """After the API server's end the nodes of a cluster, and the watches of a node, do not ask again in one instant:
    each waits for a time of its own, and for longer each time."""
    world = World(node, mode="enforce")
    with Relay(world.api) as relay:
        world.kubeconfig.write_text(relay.kubeconfig(world.kubeconfig.read_text()))
        world.daemon()
        world.wait_members("s0", "s1")
        before = len(relay.came)
        relay.refusing = True
        wait_for(lambda: len(relay.came) >= before + 15, 60, "15 attempts")
        came = relay.came[before:before + 15]
        most = max(collections.Counter(int(10 * t) for t in came).values())
        print(f"{len(came)} attempts within {came[-1] - came[0]:.1f} s, at most {most} within a tenth of a second")
        assert most <= 5, came
        assert world.members() == {"s0", "s1"}
        relay.refusing = False
        world.api.say(world.servers[0], False)
        world.wait_members("s1", timeout=90)
