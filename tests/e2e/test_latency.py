# SPDX-License-Identifier: Apache-2.0
"""Times to first token, as the kernel saw them, beside what pintle-load logged."""
import json
import re
import subprocess

from clients import FRONTEND
from harness import case
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster

HISTOGRAM = "pintle_pool_time_to_first_token_seconds"


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
        host, port = self.at.rsplit(":", 1)
        server.popen([BUILD / "pintle-sim", "--host", host, "--port", port, "--profile", "tiny", "--speed", "0.05"],
                     log="sim.log")
        pool = node.pool([endpoint], frontends=[to], **pool)
        if hook == "connect":
            del pool["announce"]
        self.daemon = self.owner.daemon(self.owner.config(pool, metricsDetail="histograms"))
        wait_for(lambda: self.daemon.metric("pintle_pool_ready_endpoints", pool="pool") == 1, 20, "the server")

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
