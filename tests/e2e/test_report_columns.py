# SPDX-License-Identifier: Apache-2.0
"""`pintle report`: what it says of classes, tenants and GPUs; in both hooks."""
import itertools
import time

from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster
from test_classes import hint, is_refused
from test_shares import HOOKS, close

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

BATCH = 1  # the class's place in the list
DCGM = """# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",modelName="NVIDIA H200"} 100
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b",modelName="NVIDIA H200"} 50
"""


class World:
    """Two servers with a GPU each, clients of two tenants, and batch work: at the lookup hook by a frontend of its own,
    at the connect hook by a hint."""

    def __init__(self, node, hook):
        self.hook, batch = hook, {"name": "batch", "priority": -1}
        more = {"tenants": {"by": "source" if hook == "lookup" else "namespace", "connections": 2},
                "dcgm": {"url": "http://127.0.0.1:9400/metrics", "interval": "100ms"}}
        if hook == "lookup":
            self.side, self.servers = node, node.servers(2)
            ends = [{"name": s.name, "listen": s.listen} for s in self.servers]
            self.frontends = [FRONTEND["v4"], FRONTEND["v4"].replace("8000", "8100")]
            more["frontends"] = self.frontends
            batch["rules"] = [{"port": 8100}]
        else:
            self.side = Cluster(node)
            pods = self.side.servers(2)
            self.servers = [p.model for p in pods]
            ends = [self.side.endpoint_of(p) for p in pods]
            self.clients = [self.side.pod(f"client{i}") for i in range(2)]
        owner = node if hook == "lookup" else self.side.machines[0]
        owner.server("dcgm", 9400).be(page=DCGM)
        pool = self.side.pool([{**e, "gpu": {"index": i}} for i, e in enumerate(ends)],
                              classes=[{"name": "interactive"}, batch], **more)
        self.daemon = self.side.daemon(self.side.config(pool))
        wait_for(lambda: {e["state"] for e in self.side.cli("endpoints")} == {"ready"}, 20)

    def connect(self, tenant=0, batch=False):
        if self.hook == "lookup":
            return self.side.connect(self.frontends[batch], source(7 + tenant, "v4"))
        return self.clients[tenant].connect(SERVICE["v4"], options=[hint(BATCH)] if batch else [])

    def ask(self, tenant=0, batch=False):
        with self.connect(tenant, batch) as c:
            return c.ask("/bytes/3000", close=True)  # an answer, rather than an error's short one

    def report(self):
        return self.side.cli("report", "pool")

    def decisions(self, mode):
        return sum(m["decisions"] for m in self.report()["modes"] if m["mode"] == mode)

    def moment(self):
        """The modes, with what came until now: it is written to the history when the mode changes."""
        for mode in ("baseline", "enforce"):
            self.side.pintle("mode", "pool", mode)
            before = self.decisions(mode)
            wait_for(lambda m=mode, n=before: self.ask() and self.decisions(m) > n)
        return self.report()["modes"]


@case(each=HOOKS)
def test_tenants_and_classes(node, hook):
    """Each tenant's connections, from its first one on, those that its quota did not let in, and its times; each
    class's connections and answers; in each mode. Without the daemon, too."""
    world = World(node, hook)
    held = [world.connect(0) for _ in range(2)]
    wait_for(lambda: [r["in_flight"] for r in world.side.cli("tenants") if r["tenant"] != "other"] == [2])
    assert is_refused(lambda: world.connect(0))
    for n in range(5):
        world.ask(1, batch=n < 3)
        wait_for(lambda: 1 not in [r["in_flight"] for r in world.side.cli("tenants") if r["tenant"] != "other"])
    close(held)
    names = [r["tenant"] for r in sorted(world.side.cli("tenants"), key=lambda r: -r["opened"]) if r["tenant"] != "other"]

    def tenants(found):
        return [(r["mode"], r["opened"], r["refused"], r["answers"]) for r in found["tenants"]]

    def check():
        found = world.report()
        assert tenants(found) == [("enforce", 5, 0, 5), ("enforce", 2, 1, 0)], found["tenants"]
        answered, silent = found["tenants"]
        assert 0 < answered["first_token_p50_seconds"] <= answered["first_token_p95_seconds"] < 5, answered
        assert 0 < answered["first_token_mean_seconds"] < 5 and silent["first_token_p50_seconds"] is None, found["tenants"]
        assert [r["tenant"] for r in found["tenants"]] == names, (found["tenants"], names)
        rows = {r["class"]: r for r in found["classes"]}
        assert {r["mode"] for r in found["classes"]} == {"enforce"}, found["classes"]
        assert {name: (r["placements"], r["answers"]) for name, r in rows.items()} \
            == {"interactive": (4, 2), "batch": (3, 3)}, rows
        assert all(0 < r["first_token_p50_seconds"] < 5 for r in rows.values()), rows
        (mode,) = (m for m in found["modes"] if m["mode"] == "enforce")
        assert mode["decisions"] == 8 and mode["answers"] == 5, mode

    check()
    world.side.pintle("mode", "pool", "baseline")
    wait_for(lambda: world.decisions("enforce") == 8, what="a moment")
    check()
    world.daemon.kill()
    world.ask(1, batch=True)
    # The answer counts when its client has acknowledged it.
    wait_for(lambda: tenants(world.report()) == [("baseline", 1, 0, 1), ("enforce", 5, 0, 5), ("enforce", 2, 1, 0)])
    text = world.side.pintle("report", "pool").stdout
    assert f"{names[0]}" in text and "CLASS" in text and "OVER" in text, text
    page = node.dir / "report.html"
    world.side.pintle("report", "pool", "--html", page)
    assert all(f"<h2>{title}</h2>" in page.read_text() for title in ("Classes", "Tenants", "Modes")), page.read_text()


@case(each=HOOKS, timeout=120)
def test_gpus(node, hook):
    """Tokens for each second of each GPU that DCGM tells of, and how busy these were."""
    world = World(node, hook)
    begun = time.monotonic()
    raised = itertools.count(1)

    def generate(*tokens):
        for s, n in zip(world.servers, tokens):
            s.set(output=1e6 + n)
            s.scraped()

    def rows():
        return [m for m in world.moment() if m["output_tokens"]]

    def counted():
        """What was generated before the daemon's first look at a page is nobody's. Which look that was, nobody says."""
        n = next(raised)
        generate(n, n)
        return rows()

    before = sum(m["output_tokens"] for m in wait_for(counted, 60, "a look at pages that were known before"))
    n = next(raised)
    generate(n + 700, n + 800)
    wait_for(lambda: sum(m["output_tokens"] for m in rows()) > before + 1000, 40, "the next look")
    more = sum(m["output_tokens"] for m in rows()) - before
    assert 1500 <= more <= 1500 + 2 * n, (rows(), before, n)
    for row in rows():
        assert abs(row["gpu_busy"] - 0.75) < 0.001, row  # counted in ms
        assert row["tokens_per_gpu_second"] >= row["output_tokens"] / 2 / (time.monotonic() - begun), row
        assert row["tokens_per_gpu_second"] <= row["output_tokens"] / 2 / 9, row  # it looks every 10 s
    assert "TOK/GPU-S" in world.side.pintle("report", "pool").stdout
