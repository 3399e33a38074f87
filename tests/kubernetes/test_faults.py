# SPDX-License-Identifier: Apache-2.0
"""What becomes of the API server and of the rights, besides the cases in test_services.py: afterwards the maps are
what the API has."""
import http.client
import json
import os
import signal
import statistics
import time

import yaml

from churn import Churn, Clients, Fleet, Watching
from harness import case
from kernel import inside, wait_for
from test_services import World


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


CHURN_SECONDS = int(os.environ.get("PINTLE_CHURN_SECONDS", 60))
STALENESS = 2  # by default; a heartbeat older than this, and pods that were never heard get connections


@case(timeout=CHURN_SECONDS + 240)
def test_churning(node):
    """A thousand pods of twenty Services change at random, ten a second, while clients connect: not ready for a
    while, terminating, gone, new, new with the address of one that is gone, ready before they serve. No connection
    fails, and none is left to kube-proxy; a change is in the maps within a second of the API's word (all but a hundredth:
    an API server and its controllers work beside it; and as much later as the case itself waits for a CPU); in the end the
    maps have what the API has, and nothing else.
    PINTLE_CHURN_SECONDS=600 takes ten minutes."""
    fleet = Fleet(node, pods=1000, services=20)
    daemon = fleet.daemon()
    fleet.all_heard(len(fleet.pods))
    for pool in fleet.pools()[::2]: # of these, each connection is a choice anew
        fleet.machine.pintle("set", pool, "stickiness.key=none")
    wait_for(lambda: sum("stickiness.key is set" in line for line in daemon.log().splitlines()) == 10)
    left = fleet.left_to_proxy()
    with Clients(fleet) as clients, Watching(fleet) as watching:
        with Churn(fleet, rate=10) as churn:
            end = time.monotonic() + CHURN_SECONDS
            wait_for(lambda: time.monotonic() > end or churn.failed or clients.failures, CHURN_SECONDS + 10)
        with fleet.asker() as ask:
            wait_for(lambda: fleet.held() == fleet.wanted(ask), 10, "the maps to have what the API has")
        wait_for(lambda: not watching.waiting)
    took = sorted(s for s, _ in watching.took)
    most = took[len(took) * 99 // 100]
    print(f"{churn.count} pods changed; {len(took)} changes of slices took {1000 * statistics.median(took):.0f} ms until they "
          f"were in the maps, all but a hundredth {1000 * most:.0f} ms, the slowest {1000 * took[-1]:.0f} ms; {clients.done} "
          f"connections; the loop stood for {1000 * watching.stood:.0f} ms at most, and the case waited "
          f"{1000 * watching.late:.0f} ms for a CPU")
    assert not clients.failures, clients.failures
    assert clients.done > 50 * CHURN_SECONDS, clients.done
    assert fleet.left_to_proxy() == left
    assert churn.count > 5 * CHURN_SECONDS, churn.count
    assert {what for _, what in watching.took} == {"ready", "drained", "gone"}
    assert most < 1 + watching.late, took[-10:]
    assert watching.stood < STALENESS
