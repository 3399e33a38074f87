# SPDX-License-Identifier: Apache-2.0
"""What a node goes through over months, in a row and under load: nothing may be lost, and no server that
serves may look as if it stood still. PINTLE_SOAK=10 makes each case ten times as long; `make soak` sets it."""
import json
import os
import shutil
import subprocess

from clients import FRONTEND, REMOTE_SOURCES
from harness import case
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster

TIMES = int(os.environ.get("PINTLE_SOAK", "1"))


class Soak:
    """A machine with a pool of each hook, and clients that never stop."""

    def __init__(self, node):
        self.node, self.cluster = node, Cluster(node)
        self.machine = self.cluster.machines[0]
        self.local = [self.machine.server(f"l{i}", 8001 + i) for i in range(3)]
        self.pods = self.cluster.servers(3)
        self.client = self.cluster.pod("client")
        self.daemon = self.cluster.daemon(self.config())

    def config(self, local=slice(None), pods=slice(None)):
        return self.cluster.config(self.node.pool(self.local[local], "lookup"),
                                   self.cluster.pool(self.pods[pods], "connect"))

    def start(self, **more):
        self.daemon = self.cluster.daemon(self.config(), **more)

    def run(self, times, act, broken=()):
        """Does it so many times while connections to both pools are made; none may fail, but for
        what is `broken` by a server's own end, and no count may be wrong."""
        with self.client.load(SERVICE["v4"], workers=2) as pods, \
                self.machine.load(FRONTEND["v4"], workers=2) as local:
            for i in range(times):
                act(i)
                pods.go_on(20)
                local.go_on(20)
        for load in (pods, local):
            failures = [f for f in load.failures if not f.startswith(broken)]
            assert not failures, (len(failures), load.done, failures[:3])
        wait_for(lambda: set(self.cluster.in_flight().values()) == {0}, 20, "all connections to end")
        assert self.daemon.metric("pintle_in_flight_drift_total") == 0


@case(timeout=60 + 60 * TIMES)
def test_kills(node):
    """kill -9 and start, 5 times."""
    soak = Soak(node)

    def kill(_):
        soak.daemon.kill()
        soak.start()

    soak.run(5 * TIMES, kill)


@case(timeout=60 + 60 * TIMES)
def test_reloads(node):
    """SIGHUP with endpoints of both pools taken out and put back, 20 times."""
    soak = Soak(node)
    shapes = [(slice(0, 2), slice(None)), (slice(None), slice(1, 3)), (slice(1, 3), slice(0, 2)),
              (slice(None), slice(None))]

    def reload(i):
        local, pods = shapes[i % len(shapes)]
        names = {e.name for e in [*soak.local[local], *soak.pods[pods]]}
        soak.daemon.reload(soak.config(local, pods))
        wait_for(lambda: {e["name"] for e in soak.cluster.cli("endpoints")} == names)
        soak.cluster.all_ready()

    soak.run(20 * TIMES, reload)


@case(timeout=60 + 60 * TIMES)
def test_binaries(node):
    """Another binary takes over, twice."""
    soak = Soak(node)

    def replace(i):
        binary = node.dir / f"pintled-{i}"
        shutil.copy(BUILD / "pintled", binary)
        soak.daemon.stop()
        soak.start(binary=binary)

    soak.run(2 * TIMES, replace)


@case(timeout=60 + 60 * TIMES)
def test_a_server_that_restarts(node):
    """One of three servers is killed and started again, 5 times: no client notices."""
    soak = Soak(node)

    def restart(_):
        soak.local[0].kill()
        soak.local[0].start()

    # What the server had accepted breaks with it, steered or not; nobody is refused.
    soak.run(5 * TIMES, restart, broken=("ConnectionReset", "ConnectionError"))


# Tokens of the longest prompts. llama-8b-h100 takes 10 s for 120,000 tokens, and 60 s for 345,000, in steps
# of up to 2.5 s; llama-8b-a100-40g, whose steps are a quarter as large, 12 s for 70,000 and 30 s for 120,000.
LONGEST = {"llama-8b-h100": min(120_000 * TIMES, 345_000), "llama-8b-a100-40g": min(70_000 * TIMES, 120_000)}
MIXTURE = """
classes:
  - name: chat
    arrival: {{rate: 1.5, bursts: {{every: 30s, length: 5s, factor: 3}}}}
    turns: {{mean: 4, max: 12}}
    think: {{mean: 3s, max: 20s}}
    shared: {{tokens: 600}}
    prompt: {{median: 250, sigma: 0.9, min: 16, max: 4000}}
    output: {{median: 60, sigma: 0.7, min: 1, max: 300}}
    connection: per-request
  - name: kept
    arrival: {{users: 4, spread: 5s}}
    turns: {{mean: 4, max: 12}}
    think: {{mean: 3s, max: 4s}}
    prompt: {{median: 250, sigma: 0.9, min: 16, max: 4000}}
    output: {{median: 60, sigma: 0.7, min: 1, max: 300}}
  - name: batch
    arrival: {{users: 3, spread: 5s}}
    prompt: {{median: 2000, sigma: 0.5, min: 500, max: 8000}}
    output: {{median: 60, sigma: 0.4, min: 8, max: 200}}
    connection: per-request
    addresses: class
  - name: long
    arrival: {{users: 1}}
    think: {{mean: 5s}}
    prompt: {{from: {least}, to: {most}}}
    output: {{from: 1, to: 60}}
    connection: per-request
"""


class Mixture:
    """Chats, a batch job and long prompts, from one place to the servers behind a frontend."""

    def __init__(self, node, place, profile, frontend, sources):
        most = LONGEST[profile]
        path = node.write(f"{profile}.yaml", MIXTURE.format(least=most // 10, most=most))
        self.process = place.popen(
            [BUILD / "pintle-load", "--target", f"http://{frontend}", "--workload", path, "--source", sources,
             "--duration", 120 * TIMES - 20, "--timeout", 600, "-o", "json"], stdout=subprocess.PIPE, text=True)

    def report(self):
        return json.loads(self.process.communicate()[0])


@case(timeout=240 + 120 * TIMES, san=False)
def test_no_false_alarm(node):
    """Two minutes of work of all kinds, with prefills of 10 s, at servers of either hook that all serve:
    none is `stopped` or `stalled`, no request fails, and no count drifts."""
    cluster = Cluster(node)
    machine = cluster.machines[0]
    local, pods = [], [cluster.pod(f"p{i}") for i in range(2)]
    # Servers that need little CPU time and get it: one that waits for it on a full machine has stopped indeed.
    sim = ["nice", "-n", "-10", BUILD / "pintle-sim", "--max-model-len", 400_000, "--jitter", 0.05]
    machine.popen([*sim, "--port", 8001, "--count", 2, "--profile", "llama-8b-h100"], stdout=subprocess.DEVNULL)
    for i in range(2):
        local.append({"name": f"l{i}", "listen": f"127.0.0.1:{8001 + i}"})
        pods[i].popen([*sim, "--host", "0.0.0.0", "--port", 8000, "--profile", "llama-8b-a100-40g"],
                      stdout=subprocess.DEVNULL)
    client = cluster.pod("client")
    for place, network in ((machine, "127.1.0.0/16"), (client, REMOTE_SOURCES["v4"])):
        place.batch(f"route add local {network} dev lo")
    cluster.batch(f"route add {REMOTE_SOURCES['v4']} dev pod{client.v4.rsplit('.')[-1]}")
    daemon = cluster.steer(node.pool(local, "lookup", stickiness={"maxExtraLoad": "auto"}),
                           cluster.pool(pods, "connect", stickiness={"key": "source"}))
    loads = [Mixture(node, machine, "llama-8b-h100", FRONTEND["v4"], "127.1.0.0/16"),
             Mixture(node, client, "llama-8b-a100-40g", SERVICE["v4"], REMOTE_SOURCES["v4"])]
    for report in (load.report() for load in loads):
        print({c["name"]: (c["ttft"]["count"], c["ttft"]["p50"], c["ttft"]["max"]) for c in report["classes"]})
        assert not sum(report["total"]["errors"].values()), report["total"]["errors"]
        assert report["total"]["ok"] > 100 * TIMES
    wait_for(lambda: set(cluster.in_flight().values()) == {0}, 20, "all connections to end")
    metrics = daemon.metrics()
    assert not [line for line in daemon.log().splitlines() if "has stopped" in line or "stalls" in line]
    for (name, labels), value in metrics.items():
        alarm = name in ("pintle_in_flight_drift_total", "pintle_endpoint_failures_total",
                         "pintle_endpoint_ejections_total") or ("outcome", "tried") in labels
        assert not alarm or value == 0, (name, labels, value)
