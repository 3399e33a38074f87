# SPDX-License-Identifier: Apache-2.0
"""`pintle report`: what mode shadow forecasts, beside what enforcing then does; the history over kills."""
import json
import subprocess
import xml.etree.ElementTree as ElementTree

from clients import FRONTEND, source
from harness import case
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster

SIM = ("--profile", "tiny", "--speed", "0.05", "--max-num-seqs", "4")


class Fleet:
    """Four simulated servers. Two of them are kept busy by clients that ask them directly."""

    def __init__(self, node, hook, mode):
        self.node, self.hook = node, hook
        if hook == "lookup":
            self.owner = self.client = node
            self.to = FRONTEND["v4"]
            self.at = [f"127.0.0.1:{8001 + i}" for i in range(4)]
            hosts = [node] * 4
            endpoints = [{"name": f"s{i}", "listen": at} for i, at in enumerate(self.at)]
        else:
            cluster = Cluster(node)
            self.owner = cluster.machines[0]
            hosts = [self.owner.pod(f"server{i}") for i in range(4)]
            self.client = self.owner.pod("client")
            self.to = SERVICE["v4"]
            self.at = [p.address(port=8001) for p in hosts]
            self.pods = hosts
            endpoints = [{"name": f"s{i}", "address": at} for i, at in enumerate(self.at)]
        self.busy = []
        for host, at in zip(hosts, self.at):
            ip, port = at.rsplit(":", 1)
            host.popen([BUILD / "pintle-sim", "--host", ip, "--port", port, *SIM], log=f"sim-{at}.log")
        pool = node.pool(endpoints, frontends=[self.to], mode=mode, stickiness={"key": "none"},
                         scrape={"interval": "100ms", "timeout": "1s"})
        if hook == "connect":
            del pool["announce"]
        self.daemon = self.owner.daemon(self.owner.config(pool))
        wait_for(lambda: self.daemon.metric("pintle_pool_ready_endpoints", pool="pool") == 4, 20, "the servers")

    def load(self, to, log, seconds, **kind):
        workload = self.node.write(f"{log}.yaml", json.dumps({"classes": [
            {"name": "a", "prompt": 40, "output": 8, "connection": "per-request", **kind}]}))
        return self.client.popen([BUILD / "pintle-load", "-t", f"http://{to}", "-w", workload, "-d", seconds, "-o",
                                  "json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def keep_busy(self, seconds):
        self.busy = [self.load(at, f"busy{i}", seconds, arrival={"users": 12, "spread": "1s"})
                     for i, at in enumerate(self.at[:2])]
        wait_for(lambda: all(e["waiting"] and e["waiting"] > 2 for e in self.owner.cli("endpoints")[:2]), 20, "queues")

    def ask(self, seconds):
        """Some requests a second to the frontend, each on a connection of its own."""
        process = self.load(self.to, "asked", seconds, arrival={"rate": 20})
        process.communicate(timeout=60)
        assert process.returncode == 0

    def mode(self, mode):
        """Sets the mode; what was asked until now belongs to the former one."""
        self.owner.pintle("mode", "pool", mode)
        wait_for(lambda: self.of_mode(mode), what="a moment")

    def of_mode(self, mode):
        return next((m for m in self.owner.cli("report", "pool")["modes"] if m["mode"] == mode), None)

    def shares(self, key):
        return {e["endpoint"]: e[key] for e in self.owner.cli("report", "pool")["endpoints"]}


def of_kube_proxy(fleet, pods):
    """kube-proxy's rules: any of the pods."""
    to = ", ".join(f"{i} : {p.v4} . 8001" for i, p in enumerate(pods))
    fleet.owner.nft("table ip nat { chain prerouting { type nat hook prerouting priority dstnat;\n"
                    f"ip daddr 10.96.0.10 tcp dport 8000 dnat to numgen random mod {len(pods)} map {{ {to} }}\n}}\n}}\n")


def chi_square(counts):
    mean = sum(counts) / len(counts)
    return sum((n - mean) ** 2 / mean for n in counts)


@case(san=False, timeout=150, alone=True)
def test_forecast(node):
    """Two of four servers are busy with the work of others. Mode shadow forecasts what enforcing then does to the time
    to first token: the sign is right, and the size within a quarter. Its placements are uniform."""
    fleet = Fleet(node, "lookup", "shadow")
    fleet.keep_busy(50)
    fleet.ask(12)
    shadow = node.cli("report", "pool")
    assert [m["mode"] for m in shadow["modes"]] == ["shadow"] and shadow["modes"][0]["answers"] > 150, shadow
    assert chi_square([e["placements"] for e in shadow["endpoints"]]) < 25, shadow  # 3 degrees: p = 1.5e-5
    assert shadow["did_first_token_mean_seconds"] is None
    assert shadow["would_load"]["change"] < -0.5, shadow
    fleet.mode("enforce")
    fleet.ask(12)
    after = node.cli("report", "pool")
    would, did = shadow["would_first_token_seconds"], after["did_first_token_mean_seconds"]
    assert did["change"] < -0.3 and abs(would["change"] - did["change"]) <= 0.25 * abs(did["change"]), (would, did)
    assert did["low"] is None  # too few minutes
    for name in ("s0", "s1"):
        assert fleet.shares("share_would")[name] < 0.1 and fleet.shares("share_enforced")[name] < 0.1, after
    text = node.pintle("report", "pool").stdout
    assert "Too few minutes" in text and "Forecast: " in text, text
    page = node.dir / "report.html"
    node.pintle("report", "pool", "--html", page)
    tree = ElementTree.fromstring(page.read_text().removeprefix("<!DOCTYPE html>"))
    assert len(tree.findall(".//svg")) == 3 and len(tree.findall(".//table")) == 2, page.read_text()
    assert not [e.tag for e in tree.iter() if e.tag in ("script", "link", "img", "iframe")]
    assert "http" not in page.read_text().replace("http-equiv", ""), page.read_text()


@case(san=False, timeout=150)
def test_forecast_of_the_connect_hook(node):
    """At the connect hook, connections of mode shadow go where kube-proxy sends them; the forecast is of loads."""
    fleet = Fleet(node, "connect", "shadow")
    of_kube_proxy(fleet, fleet.pods)
    fleet.keep_busy(30)
    fleet.ask(8)
    shadow = fleet.owner.cli("report", "pool")
    assert [m["mode"] for m in shadow["modes"]] == ["shadow"] and not shadow["modes"][0]["answers"], shadow
    assert set(shadow["modes"][0]["outcomes"]) == {"passed"}, shadow
    assert shadow["would_load"]["change"] < -0.5 and shadow["would_first_token_seconds"] is None, shadow
    fleet.mode("enforce")
    fleet.ask(8)
    for name in ("s0", "s1"):
        assert fleet.shares("share_would")[name] < 0.1 and fleet.shares("share_enforced")[name] < 0.1
    assert fleet.of_mode("enforce")["answers"] > 100
    # Answers that come now, to connections of mode enforce, are none of mode shadow.
    asking = fleet.load(fleet.to, "asking", 4, arrival={"rate": 20})
    wait_for(lambda: any(e["requests_waiting"] for e in fleet.owner.cli("endpoints")), what="a request that waits")
    fleet.mode("shadow")
    asking.communicate(timeout=60)
    assert not fleet.of_mode("shadow")["answers"] and fleet.of_mode("shadow")["first_token_p95_seconds"] is None
    assert fleet.owner.cli("report", "pool")["did_first_token_mean_seconds"] is None


@case(each=("lookup", "connect"))
def test_the_history_outlives_the_daemon(node, hook):
    """kill -9, at any time: what was written stays, and the next daemon goes on; without a daemon the report has what
    the kernel counted since. What came while nobody saw the mode change belongs to none."""
    if hook == "lookup":
        owner, ask = node, lambda: node.ask(FRONTEND["v4"], source(1, "v4"))
        config = node.config(node.pool(node.servers(2)))
    else:
        cluster = Cluster(node)
        owner = cluster.machines[0]
        pods = [owner.pod(f"s{i}") for i in range(2)]
        for p in pods:
            p.server()
        client = owner.pod("client")
        ask = lambda: client.ask(SERVICE["v4"])
        config = owner.config(cluster.pool(pods))
    daemon = owner.daemon(config)

    def decisions(mode):
        found = [m["decisions"] for m in owner.cli("report", "pool")["modes"] if m["mode"] == mode]
        return sum(found)

    wait_for(lambda: {e["state"] for e in owner.cli("endpoints")} == {"ready"})
    pin = next(owner.bpffs.rglob("history"))
    wait_for(lambda: node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout.strip() != "[]", what="the first look")
    for _ in range(5):
        ask()
    owner.pintle("mode", "pool", "baseline")
    wait_for(lambda: decisions("enforce") == 5)
    for _ in range(3):
        ask()
    daemon.kill()
    ask()
    assert decisions("enforce") == 5 and decisions("baseline") == 4
    owner.pintle("mode", "pool", "enforce")
    ask()
    assert decisions("enforce") == 5 and decisions("several") == 5, owner.cli("report", "pool")["modes"]
    daemon = owner.daemon(config)
    wait_for(lambda: {e["state"] for e in owner.cli("endpoints")} == {"ready"})
    # What is asked before the new daemon has looked belongs to none, either.
    before = decisions("enforce")
    wait_for(lambda: ask() and decisions("enforce") > before)
    enforced, several = decisions("enforce"), decisions("several")
    assert several >= 5
    ask()
    assert decisions("enforce") == enforced + 1 and decisions("several") == several
    daemon.kill()
    assert decisions("enforce") == enforced + 1 and decisions("several") == several
