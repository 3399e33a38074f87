# SPDX-License-Identifier: Apache-2.0
"""Pintle is taken off all nodes of a cluster (pintled --detach-nodes, by which the chart is removed), whose API server is
a stand-in (api_server.py). tests/kubernetes has the real one, and Helm."""
import signal
import subprocess

from api_server import running, service, slice_of
from harness import case
from kernel import BUILD
from test_kube import World, pods_of, soon

MARKER = "pintle-removal"
STANDS_BY = (503, "removed by the chart\n")


def daemonset(uid="da-1", **metadata):
    return {"metadata": {"namespace": "pintle", "name": "pintle", "uid": uid, **metadata}}


def of_daemonset(*nodes, phase="Running"):
    found = [running(f"pintle-{n}", f"192.168.0.{i + 1}", node=n) for i, n in enumerate(nodes)]
    for p in found:
        p["metadata"] |= {"namespace": "pintle", "labels": {"app.kubernetes.io/name": "pintle"}}
        p["status"]["phase"] = phase
    return found


class Removal(World):
    def __init__(self, node, *nodes, **state):
        super().__init__(node, services=[service()], endpointslices=[slice_of("llama", pods_of())],
                         **{"daemonsets": [daemonset()], "pods": of_daemonset(*(nodes or ("n1",))), **state})
        self.file = node.write("detach-nodes.yaml", self.api.config())

    def begin(self, seconds=100):
        return self.machine.popen([BUILD / "pintled", "--detach-nodes", str(seconds), "--config", self.file],
                                  stderr=subprocess.PIPE, text=True)

    def remove(self, seconds=100):
        """(exit status, what the command says)"""
        command = self.begin(seconds)
        said = command.communicate(timeout=100)[1]
        return command.returncode, said

    def steered(self):
        return self.answers() in ("s0", "s1")

    def left(self):
        """What is in the pins' directory."""
        bpffs = self.machine.bpffs
        return {p.name for p in bpffs.iterdir()} if bpffs.exists() else set()

    def gone(self):
        return self.left() == {"removed"} and self.answers() == "nobody"

    def status(self):
        result = self.machine.run(BUILD / "pintle", "status", "--bpffs", self.machine.bpffs, check=False)
        return result.returncode, result.stderr


@case(timeout=180)
def test_every_node_detaches(node):
    """Each pintled detaches when the marker is there, says so by an Event of its node, and stands by: alive, not ready.
    The command ends once all have said so. pintled that ends then leaves nothing."""
    world = Removal(node)
    daemon = world.daemon()
    soon(world.steered)
    status, said = world.remove()
    assert status == 0 and "1 of 1 nodes are detached" in said, said
    assert world.gone()
    assert daemon.get("/readyz") == STANDS_BY and daemon.get("/healthz")[0] == 200
    status, told = world.status()
    assert status == 1 and "removed by the chart: Pintle was detached from all nodes" in told, told
    marker = world.api.kept("configmaps")[MARKER]
    assert marker["data"] == {"daemonset": "da-1"} and marker["metadata"]["ownerReferences"] == [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "pintle", "uid": "da-1"}]
    (event,) = world.api.kept("events").values()
    assert (event["type"], event["reason"], event["source"]["host"]) == ("Normal", "Detached", "n1")
    assert event["involvedObject"]["uid"] == marker["metadata"]["uid"]
    daemon.stop()
    assert world.left() == set()


@case(timeout=180)
def test_stays_detached(node):
    """While the marker stands, a pintled that is killed and started again stays detached, also where the API server is
    gone. What comes with the DaemonSet's end takes nothing back; a marker of an earlier installation holds nobody."""
    world = Removal(node)
    daemon = world.daemon()
    soon(world.steered)
    assert world.remove()[0] == 0
    daemon.kill()
    world.api.process.kill()
    world.api.process.wait()
    daemon = world.machine.daemon(world.api.config(), wait=False)
    soon(lambda: daemon.get("/readyz") == STANDS_BY)
    assert world.gone()
    world.api.serve()
    # The cluster takes the marker away with its DaemonSet; the pods end a little later.
    asked = len(world.api.requests())
    world.api.say(daemonsets=[])
    world.api.forget()
    soon(lambda: any("/daemonsets/pintle" in path for _, path, _ in world.api.requests()[asked:]))
    assert world.gone() and daemon.get("/readyz") == STANDS_BY
    world.api.say(daemonsets=[daemonset(uid="da-2")])
    daemon.kill()
    daemon = world.daemon()
    soon(world.steered)
    assert "removed" not in world.left()


@case(timeout=180)
def test_marker_of_an_earlier_installation(node):
    """A marker that names another DaemonSet than there is holds nobody; one that is taken away while its DaemonSet stays
    ends the removal."""
    world = Removal(node)
    daemon = world.daemon()
    soon(world.steered)
    assert world.remove()[0] == 0 and world.gone()
    world.api.say(daemonsets=[daemonset(uid="da-2")])
    daemon.kill()
    daemon = world.daemon()
    soon(world.steered)
    world.api.say(daemonsets=[daemonset(uid="da-1")])
    daemon.kill()
    daemon = world.machine.daemon(world.api.config(), wait=False)
    soon(world.gone)
    world.api.forget()
    soon(world.steered)
    assert "the removal was taken back" in daemon.log()
    daemon.stop()


@case(timeout=180)
def test_nodes_that_do_not_answer(node):
    """Nodes that do not answer in time are named, by the command and by an Event; the command ends well all the same."""
    world = Removal(node, pods=of_daemonset("n1", "n2") + of_daemonset("n3", phase="Pending"))
    world.daemon()
    soon(world.steered)
    status, said = world.remove(seconds=10)
    assert status == 0, said
    missing = "2 of 3 nodes did not answer, and may steer on: "
    assert missing in said and "n2" in said and "n3 (its pod does not run)" in said, said
    (event,) = (e for e in world.api.kept("events").values() if e["reason"] == "NotDetached")
    assert event["type"] == "Warning" and event["message"].startswith(missing)
    assert world.gone()


@case(timeout=180)
def test_killed_in_between(node):
    """A pintled that is killed when the marker came, and before it detached, detaches once it is started again."""
    world = Removal(node)
    daemon = world.daemon()
    soon(world.steered)
    daemon.process.send_signal(signal.SIGSTOP)
    command = world.begin()
    soon(lambda: MARKER in world.api.kept("configmaps"))
    daemon.kill()
    assert world.steered()
    world.machine.daemon(world.api.config(), wait=False)
    said = command.communicate(timeout=100)[1]
    assert command.returncode == 0 and "1 of 1 nodes are detached" in said, said
    assert world.gone()


@case(timeout=180)
def test_no_marker(node):
    """Where the marker cannot be set, the command fails, and every node steers on; where there is no DaemonSet, there is
    nothing to do."""
    world = Removal(node, daemonsets=[])
    world.daemon()
    soon(world.steered)
    status, said = world.remove()
    assert status == 0 and "there is no DaemonSet pintle/pintle: nothing to detach" in said, said
    world.api.process.kill()
    world.api.process.wait()
    status, said = world.remove(seconds=2)
    assert status == 1 and "no node was told to detach, and all steer on: " in said, said
    assert world.steered()
