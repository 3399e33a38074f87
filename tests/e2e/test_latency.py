# SPDX-License-Identifier: Apache-2.0
"""Times to first token, as the kernel saw them, beside what pintle-load logged."""
import json
import re
import subprocess
import time

from clients import FRONTEND, split
from harness import case
from kernel import BUILD, Skip, wait_for
from pods import SERVICE, Cluster
from scripts import script
from test_trace import World

HISTOGRAM = "pintle_pool_time_to_first_token_seconds"


def simulate(node, at, speed):
    host, port = split(at)
    node.popen([BUILD / "pintle-sim", "--host", host, "--port", port, "--profile", "tiny", "--speed", speed],
               log="sim.log")


class Simulated:
    """A simulated server, steered by either hook."""

    def __init__(self, node, hook, **pool):
        self.owner, self.at, to = node, "127.0.0.1:8001", FRONTEND["v4"]
        endpoint, self.client, server = {"name": "s", "listen": self.at}, node, node
        if hook == "connect":
            self.owner = Cluster(node).machines[0]
            server, self.client = self.owner.pod("server"), self.owner.pod("client")
            self.at, to = server.address(port=8001), SERVICE["v4"]
            endpoint = {"name": "s", "address": self.at}
        self.url = f"http://{to}"
        pool = node.pool([{**endpoint, **self.start(server)}], frontends=[to], **pool)
        if hook == "connect":
            del pool["announce"]
        self.daemon = self.owner.daemon(self.owner.config(pool, metricsDetail="histograms"))
        wait_for(lambda: self.daemon.metric("pintle_pool_ready_endpoints", pool="pool") == 1, 20, "the server")

    def start(self, server):
        """Starts it where `server` is; returns further keys of the endpoint."""
        simulate(server, self.at, "0.05")
        return {}

    def told(self):
        """The sum of the times to first token on the server's own page."""
        with self.client.connect(self.at) as c:
            c.send("/metrics", close=True)
            return float(re.search(r"^vllm:time_to_first_token_seconds_sum\S* (\S+)", c.read(), re.M)[1])

    def load(self, node, *options, **kind):
        """The times to first token of the requests, in order."""
        workload = node.write("workload.yaml", json.dumps({"classes": [
            {"name": "a", "arrival": {"rate": 25}, "prompt": {"mean": 40}, "output": 5, **kind}]}))
        log = node.dir / "load.log"
        process = self.client.popen([BUILD / "pintle-load", "-t", self.url, "-w", workload, "-d", 4, "-o", "json",
                                     "--log", log, *options], stdout=subprocess.PIPE)
        process.communicate(timeout=60)
        assert process.returncode == 0
        requests = [json.loads(line) for line in log.read_text().splitlines()]
        assert {r["outcome"] for r in requests} == {"ok"} and len(requests) > 50, [r for r in requests if r["outcome"] != "ok"][:3]
        return sorted(r["ttft"] for r in requests)


def buckets(daemon):
    """{upper bound: how many are not above it} of the pool."""
    return {float(dict(labels)["le"]): value for (name, labels), value in daemon.metrics().items()
            if name == HISTOGRAM + "_bucket"}


@case(san=False, each=("lookup", "connect"), timeout=120)
def test_histogram_and_percentiles(node, hook):
    """A request a connection: each answer is in the histogram of its pool, in that of its endpoint and in the
    percentiles of the last minute, which are the client's."""
    s = Simulated(node, hook)
    times = s.load(node, connection="per-request")
    wait_for(lambda: s.daemon.metric(HISTOGRAM + "_count", pool="pool", **{"class": ""}) == len(times))
    found = buckets(s.daemon)
    assert list(found) == sorted(found) and found[float("inf")] == len(times) and len(found) == 12
    # The client counts from when the request was due, and stamps its clock after the kernel has the token: never
    # shorter. The server counts from when it has read the request: never longer.
    assert all(sum(t <= bound for t in times) <= found[bound] for bound in found), (found, times)
    waited = s.daemon.metric(HISTOGRAM + "_sum", pool="pool", **{"class": ""})
    assert s.told() <= waited <= sum(times), (s.told(), waited, sum(times))
    endpoint = {"pool": "pool", "endpoint": "s"}
    assert s.daemon.metric("pintle_endpoint_time_to_first_token_seconds_count", **endpoint) == len(times)
    assert s.daemon.metric("pintle_endpoint_first_tokens_total", **endpoint) == len(times)
    wait_for(lambda: s.owner.cli("endpoints")[0]["first_tokens_last_minute"] == len(times))
    (e,) = s.owner.cli("endpoints")
    for percent in (50, 95):
        most, told = times[len(times) * percent // 100], e[f"first_token_p{percent}_seconds"]
        assert 0 < told < 1.07 * most, (percent, told, most)
        assert found[max((b for b in found if b < told), default=min(found))] <= len(times) * percent / 100 + 1
        assert found[min(b for b in found if b >= told)] >= len(times) * percent / 100 - 1
        assert s.daemon.metric(f"pintle_endpoint_first_token_p{percent}_seconds", **endpoint) == told
    assert re.search(r"\bTTFT95\b.*\n.*\d ms", s.owner.pintle("endpoints").stdout)


@case(san=False, timeout=120)
def test_kept_connections_at_the_client(node):
    """Every request of a kept-alive connection counts at the client."""
    s = Simulated(node, "connect")
    times = s.load(node, turns=3, think="50ms")
    wait_for(lambda: s.daemon.metric(HISTOGRAM + "_count", pool="pool", **{"class": ""}) == len(times))


@case(san=False)
def test_tls_has_no_first_token(node):
    """Servers whose pages are read by https have no such series: what TLS sends first is no token."""
    s = Simulated(node, "lookup")
    s.load(node)
    wait_for(lambda: buckets(s.daemon))
    pool = node.pool([{"name": "s", "listen": s.at}], scrape={"scheme": "https"})
    s.daemon.reload(node.config(pool, metricsDetail="histograms"))
    wait_for(lambda: not any("first_token_p" in name or "time_to_first_token" in name
                             for name, _ in s.daemon.metrics()))


@case(each=("lookup", "connect"))
def test_whole_answers_on_a_kept_connection(node, hook):
    """An answer of one segment is timed by itself, and not by the next answer of its connection."""
    world = World(node, hook, servers=1)
    begun = time.monotonic()
    with world.connect() as c:
        c.ask("/bytes/600")
        first = time.monotonic() - begun
        world.model.be(held=True)
        again = time.monotonic()
        c.send("/bytes/600", close=True)
        wait_for(lambda: time.monotonic() > begun + first + 0.5)
        world.model.order("release")
        c.read()
        second = time.monotonic() - again
    wait_for(lambda: not world.side.cli("endpoints")[0]["in_flight"])
    name = {"pool": "pool", "endpoint": "s0"}
    seconds, count = (world.daemon.metric(f"pintle_endpoint_{what}", **name)
                      for what in ("first_token_seconds_total", "first_tokens_total"))
    if hook == "lookup":
        assert count == 1 and seconds < first + 0.1, (seconds, first)
    else:
        assert count == 2 and 0.5 <= seconds < first + second + 0.1, (seconds, first, second)


# Clients, requests and prompts as in lab/scripts/latency, whose page has the figures; here for a shorter time.
WAYS = ("streams new", "streams kept", "whole new", "whole kept", "streams new 100kB", "whole new 100kB")


@case(san=False, each=[f"{hook}, {way}" for hook in ("lookup", "connect") for way in WAYS], timeout=240)
def test_as_clients_saw_it(node, each):
    """p50 and p95 are those of the clients: streams and whole answers, on connections of their own and kept ones,
    prompts of 100 kB, 32 at once."""
    hook, words = each.split(",")[0], each.split()
    latency = script("latency")
    if not latency.may_be_first():
        raise Skip("the cgroup of this process has no time for SCHED_RR (cpu.rt_runtime_us), by which clients note the time")
    large = "100kB" in words
    way = latency.Way("streams" in words, "kept" in words, *((100_000, 4, 12) if large else (200, 32, 160)))
    node.popen([str(word).format(port=latency.PORT) for word in latency.SIM], log="server.log")
    wait_for(lambda: node.connect(f"127.0.0.1:{latency.PORT}").close() is None, 20, "the server")
    found = latency.figures(latency.Run(node, hook, way))
    assert found["timed"] >= (found["requests"] * 0.9 if hook == "connect" else 1), found
    if found["timed"] == found["requests"]:
        assert all(abs(told - true) <= max(0.08 * true, 0.006 if hook == "lookup" else 0.002)
                   for true, told in (found["p50"], found["p95"])), found
