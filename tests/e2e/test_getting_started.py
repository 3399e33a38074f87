# SPDX-License-Identifier: Apache-2.0
"""The page docs/getting-started.md: its steps, one after the other, in both hooks, while a client connects all the time."""
import re
import threading
import time
from pathlib import Path

import yaml as pyyaml
from clients import FRONTEND, source
from harness import case
from kernel import TOP, wait_for
from pods import SERVICE, Cluster
from test_classes import BATCH, fill, hint, is_refused
from test_connect_order import kube_proxy

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

PAGE = Path(TOP) / "docs/getting-started.md"


class World:
    """Three servers, and clients of both classes: at the lookup hook batch comes from one address, at the connect hook
    it says so by a hint."""

    def __init__(self, node, hook):
        self.hook = hook
        if hook == "lookup":
            self.side = node
            self.servers = node.servers(3)
            self.pool = lambda **keys: node.config(node.pool(self.servers, **keys))
            self.daemon = node.daemon(self.pool(mode="baseline"))
        else:
            self.side = Cluster(node)
            pods = self.side.servers(3)
            self.servers = [p.model for p in pods]
            kube_proxy(self.side, pods[0])
            self.pool = lambda **keys: self.side.config(self.side.pool(pods, stickiness={"key": "client"}, **keys))
            self.daemon = self.side.daemon(self.pool(mode="off"))
            self.client = self.side.pod("client")

    def ask(self, batch=False):
        if self.hook == "lookup":
            return self.side.ask(FRONTEND["v4"], source(7 if batch else 8, "v4"))
        return self.client.ask(SERVICE["v4"], options=[hint(BATCH)] if batch else [])

    def classes(self, interactive=None, **batch):
        rules = {"rules": [{"source": source(7, "v4")}]} if self.hook == "lookup" else {}
        return {"mode": "enforce", "classes": [{"name": "interactive", **(interactive or {})},
                                               {"name": "batch", "priority": -1, **rules, **batch}]}

    def reload(self, **keys):
        path = Path(self.daemon.config)
        path.write_text(self.pool(**keys))
        self.side.pintle("check", path)
        self.side.pintle("reload")

    def outcomes(self, key="decisions"):
        return {r["outcome"]: r[key] for r in self.side.cli("stats") if r["pool"] == "pool" and r[key]}


class Client:
    """Connects all the time; no connection may fail."""

    def __init__(self, world):
        self.world, self.done, self.failed, self.stopping = world, 0, [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping.is_set():
            try:
                self.world.ask()
                self.done += 1
            except OSError as e:
                self.failed.append(e)
            time.sleep(0.005)

    def more(self, n=20):
        before = self.done
        wait_for(lambda: self.done >= before + n or self.failed, what="more connections")

    def stop(self):
        self.stopping.set()
        self.thread.join()
        assert not self.failed, self.failed


@case(each=("lookup", "connect"), timeout=120)
def test_steps(node, hook):
    world = World(node, hook)
    side, as_before = world.side, "random" if hook == "lookup" else "passed"
    wait_for(lambda: {e["state"] for e in side.cli("endpoints")} == {"ready"}, what="all to be ready")
    client = Client(world)
    client.more()
    assert set(world.outcomes()) == {as_before}, "1: observe"
    side.pintle("mode", "pool", "shadow")
    client.more()
    assert set(world.outcomes()) == {as_before} and world.outcomes("shadow"), "2: shadow"
    assert sum(e["shadow_placed"] for e in side.cli("endpoints"))
    side.pintle("mode", "pool", "enforce")
    client.more()
    assert world.outcomes().get("sticky"), "3: enforce"
    assert side.cli("explain", "pool")["chosen"]
    side.pintle("mode", "pool", "shadow")
    before = world.outcomes()[as_before]
    client.more()
    assert world.outcomes()[as_before] > before, "and back"
    world.reload(mode="enforce")
    side.pintle("reset", "pool")
    assert not side.cli("diff")
    world.reload(**world.classes())
    assert world.ask(batch=True), "4: classes, without limits"
    told = lambda: side.cli("explain", "pool", "--class", "batch")  # noqa: E731
    world.reload(**world.classes({"reserve": 2}))
    wait_for(lambda: sum("reserved" in (c["full"] or "") for c in told()["candidates"]) == 2, what="two to be reserved")
    first = world.ask(batch=True)
    assert {world.ask(batch=True) for _ in range(10)} == {first}
    world.reload(**world.classes({"reserve": 2}, limit=3, admission="refuse"))
    fill(*world.servers)
    wait_for(lambda: told()["outcome"] == "refused", what="batch to be refused")
    assert is_refused(lambda: world.ask(batch=True))
    client.more()
    world.reload(mode="enforce")
    assert world.ask(batch=hook == "lookup"), "and back; without classes, no socket has a hint for one"
    client.more()
    client.stop()


@case(timeout=120)
def test_commands_of_the_page(node):
    """Each command that the page shows, in the order of the page, in a pool of eight pods; none says no."""
    cluster = Cluster(node)
    pods = cluster.servers(8)
    kube_proxy(cluster, pods[0])
    pool = cluster.pool(pods, "llama-8b", mode="off")
    del pool["stickiness"]  # the page has none
    daemon = cluster.daemon(cluster.config(pool))
    wait_for(lambda: {e["state"] for e in cluster.cli("endpoints")} == {"ready"}, what="all to be ready")
    client = cluster.pod("client")
    page, ran = PAGE.read_text(), []
    for kind, text in re.findall(r"^```(yaml|sh)\n(.*?)^```$", page, re.M | re.S):
        if kind == "yaml":
            shown = pyyaml.safe_load(text)
            if isinstance(shown, list):  # some of the classes
                shown = {"classes": list({k["name"]: k for k in [*pool["classes"], *shown]}.values())}
            if "classes" in shown:
                pool.update(shown, mode="enforce")
                Path(daemon.config).write_text(cluster.config(pool))
                cluster.pintle("check", daemon.config)
                cluster.pintle("reload")
            continue
        for line in text.splitlines():
            command = line.partition("#")[0].split()
            if command[:1] != ["pintle"] or command[1] in ("doctor", "events"):  # of the machine; goes on for ever
                continue
            for words in " ".join(command).split(" && "):
                words = words.replace("/etc/pintle/pintle.yaml", str(daemon.config)).split()[1:]
                ran.append(words)
                assert cluster.pintle(*words).stdout, words
        with client.connect(SERVICE["v4"]) as c:
            c.ask(close=True)
    assert ["explain", "llama-8b", "--source", "10.9.0.7"] in ran and len(ran) > 10, ran
    assert [c["limit"] for c in cluster.cli("pools")[0]["classes"]] == [None, 40]
    told = cluster.cli("explain", "llama-8b", "--source", "10.9.0.7")
    assert told["class"] == "batch" and told["chosen"], told
    assert "bound: not known, and left out; give --" in \
        cluster.pintle("explain", "llama-8b", "--source", "10.9.0.7").stdout


def test_files_of_the_page(node):
    """Each configuration that the page shows is taken by `pintle check`."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    whole, classes, reserved, limited = blocks
    batch = limited
    for text in (whole, whole + classes, whole + "  classes:\n" + reserved,
                 whole + "  classes:\n  - {name: interactive}\n" + batch):
        text = text.replace("  - {name: b,", "".join(
            f'  - {{name: c{i}, address: "10.0.9.{i}:8000"}}\n' for i in range(1, 7)) + "  - {name: b,")
        node.pintle("check", node.write("page.yaml", text))
