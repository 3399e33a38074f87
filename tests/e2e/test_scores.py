# SPDX-License-Identifier: Apache-2.0
"""From metrics pages to loads: which pages are believed, and what follows from them."""
import collections
import concurrent.futures
import time
from pathlib import Path

from clients import FRONTEND, source
from harness import case
from kernel import trying, wait_for
from pods import SERVICE, Cluster
from servers import vllm_page
from test_handoff import HANDED

LONG = {"saturation": {"staleness": "1h"}}


class Row:
    """A row of a table: a pool of its own, with its servers and its frontend."""

    def __init__(self, node, what, number, count):
        self.node, self.what, self.pool = node, what, f"pool{number}"
        self.servers = [node.server(f"s{number}-{i}", 8001 + 10 * number + i) for i in range(count)]
        self.names = [s.name for s in self.servers]
        self.to = FRONTEND["v4"].replace("8000", str(8100 + number))

    def config(self, **more):
        return self.node.pool(self.servers, self.pool, frontends=[self.to], **more)

    def endpoint(self, number):
        return self.node.endpoint(self.names[number])

    def spread(self, count, **more):
        """{the server's place in the row: answers}"""
        found = self.node.spread(self.to, count, **more)
        return {self.names.index(name): n for name, n in found.items()}


def rows_of(node, table, count):
    return [Row(node, what, number, count) for number, what in enumerate(table)]


def load_of(node, name):
    return node.endpoint(name)["load"]


def test_formula(node):
    """load = queue x waiting + running x running + kvCache x queueDepth x (kv / threshold)^4"""
    server = node.server("s0", 8001)
    server.set(waiting=3, running=4, kv_cache=0.8)
    node.steer([server], weights={"queue": 2, "running": 1, "kvCache": 2})
    assert load_of(node, "s0") == 2 * 3 + 4 + 2 * 5
    row = node.endpoint("s0")
    assert (row["waiting"], row["running"], row["kv_cache"]) == (3, 4, 0.8), row
    server.set(waiting=0, running=0, kv_cache=0.4)
    wait_for(lambda: abs(load_of(node, "s0") - 10 / 16) < 0.002)


def test_weights(node):
    """The weights of the pool are the weights of the formula."""
    server = node.server("s0", 8001)
    server.set(waiting=1, running=1, kv_cache=1.0)
    node.steer([server], weights={"queue": 100, "running": 10, "kvCache": 0})
    assert load_of(node, "s0") == 110


def test_follows_the_page(node):
    """Each scrape replaces the score before."""
    server = node.server("s0", 8001)
    node.steer([server])
    for waiting in (7, 0, 3):
        server.set(waiting=waiting)
        wait_for(lambda: node.endpoint("s0")["waiting"] == waiting)


LIES = {
    "nan": vllm_page(waiting="NaN"),
    "negative": vllm_page(waiting="-5"),
    "infinite": vllm_page(waiting="+Inf"),
    "absurd": vllm_page(waiting="1e300"),
    "word": vllm_page(waiting="many"),
    "all": vllm_page(waiting="NaN", running="-1", kv_cache="17.0"),
    "cut": vllm_page(waiting="0") + "vllm:num_requests_wai",
    "html": "<!DOCTYPE html><html><body>It works!</body></html>\n",
    "binary": "\x00\x01\x02\x03" * 100,
    "empty": "",
    "other": "# TYPE up gauge\nup 1\n",
}


@case(timeout=120)
def test_lying_page(node):
    """An impossible page changes nothing: the sick server does not look idle."""
    sick, _ = servers = node.servers(2)
    sick.set(waiting=4)
    servers[1].set(waiting=1)
    node.steer(servers, **LONG)
    for n, (lie, page) in enumerate(LIES.items()):
        sick.be(page=page)
        sick.scraped()
        row = node.endpoint("s0")
        assert row["waiting"] == 4 and row["load"] == 8, (lie, row)
        assert node.spread(FRONTEND["v4"], 10, first=1 + 10 * n) == {"s1": 10}, lie
        sick.be(page=None)
        for waiting in (0, 4):
            sick.set(waiting=waiting)
            wait_for(lambda: node.endpoint("s0")["waiting"] == waiting, what=f"the page behind {lie}")  # noqa: B023


# What is wrong, and what the page says of the other signals: waiting, running.
SPOILED = {
    "kv nan": ({"kv_cache": "NaN"}, (2, 3)),
    "kv percent": ({"kv_cache": "17.0"}, (2, 3)),
    "running infinite": ({"running": "+Inf"}, (2, None)),
    "waiting negative": ({"waiting": "-5"}, (None, 3)),
    "waiting a word": ({"waiting": "many"}, (None, 3)),
}


def test_one_value_that_none_can_be(node):
    """It costs itself alone, from the first page on, and is told once; a good one counts again."""
    servers = node.servers(len(SPOILED))
    good = {"waiting": 2, "running": 3, "kv_cache": 0.25}
    for server, (lie, _) in zip(servers, SPOILED.values()):
        server.be(page=vllm_page(**{**good, **lie}))
    daemon = node.steer(servers)
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    spoiled = "pintle_endpoint_spoiled_pages_total"
    for server, (what, (lie, seen)) in zip(servers, SPOILED.items()):
        row = node.endpoint(server.name)
        assert (row["waiting"], row["running"]) == seen, (what, row)
        assert row["kv_cache"] == (None if "kv_cache" in lie else 0.25), (what, row)
        assert not row["scrape_failed"], (what, row)
        wait_for(lambda: daemon.metric(spoiled, pool="pool", endpoint=server.name) > 3, what=what)  # noqa: B023
        assert daemon.log().count(f"a value on the page of pool/{server.name} is left out") == 1, (what, daemon.log())
        server.be(page=vllm_page(**good))
    for e in servers:
        wait_for(lambda: tuple(node.endpoint(e.name)[k] for k in good) == tuple(good.values()))  # noqa: B023


def sleep_states(*awake, **others):
    """For each rank whether it is awake; others: of rank 0."""
    lines = [f'vllm:engine_sleep_state{{engine="{i}",sleep_state="awake"}} {a}' for i, a in enumerate(awake)]
    lines += [f'vllm:engine_sleep_state{{engine="0",sleep_state="{k}"}} {v}' for k, v in others.items()]
    return "\n".join(lines) + "\n"


ASLEEP = {
    "level 0": sleep_states(0, weights_offloaded=0, discard_all=0),
    "level 1": sleep_states(0, weights_offloaded=1, discard_all=0),
    "level 2, awake is left out": sleep_states(weights_offloaded=0, discard_all=1),
    "one rank of two": sleep_states(1, 0),
}


@case(timeout=90)
def test_a_sleeping_engine(node):
    """It looks emptiest, and gets nothing while another is awake, over a restart of the daemon, too; the page
    that says that it is awake makes it ready."""
    rows = rows_of(node, ASLEEP, 2)
    awake = vllm_page() + sleep_states(1, 1, weights_offloaded=0, discard_all=0)
    for r in rows:
        r.servers[0].be(page=vllm_page() + ASLEEP[r.what])
        r.servers[1].be(page=vllm_page(running=20, waiting=3) + sleep_states(1))
    daemon = node.daemon(node.config(*(r.config() for r in rows)))
    for r in rows:
        wait_for(lambda: r.endpoint(0)["state"] == "asleep", what=r.what)  # noqa: B023
        row = r.endpoint(0)
        assert row["unfit"] == "asleep" and not row["scrape_failed"], (r.what, row)
        assert r.spread(10) == {1: 10}, r.what
        assert daemon.metric("pintle_endpoint_unfit", pool=r.pool, endpoint=r.names[0], why="asleep") == 1, r.what
        assert daemon.log().count(f"{r.pool}/{r.names[0]} sleeps, by its page") == 1, r.what
        # A page that says nothing of it, because it fails, wakes nobody.
        r.servers[0].be(status=500)
        r.servers[0].scraped()
        assert r.endpoint(0)["state"] == "asleep", r.what
    daemon.stop()
    stopped = time.monotonic()
    daemon = node.daemon(Path(daemon.config).read_text())
    # Before its first heartbeat, what a daemon says of its servers is void.
    ready = time.monotonic()
    assert ready - node.cli("status")[0]["heartbeat_age_seconds"] > stopped
    for r in rows:
        assert r.spread(10) == {1: 10}, r.what
        r.servers[0].be(status=200, page=awake)
        wait_for(lambda: r.endpoint(0)["state"] == "ready", what=r.what)  # noqa: B023
        assert r.spread(10) == {0: 10}, r.what
        assert daemon.metric("pintle_endpoint_unfit", pool=r.pool, endpoint=r.names[0], why="asleep") == 0, r.what


SLEEPS = ("connect", "connect, IPv6", "hand-off", "hand-off, IPv6")


@case(each=SLEEPS)
def test_sleep_at_other_hooks(node, where):
    """At the connect hook and with the hand-off, too, those that sleep get nothing while another is awake, a session
    leaves the server that falls asleep, and none is woken: the request goes where failureMode says."""
    family = "v6" if "IPv6" in where else "v4"
    if "hand-off" in where:
        node.add_client()
        side, models, to = node, node.servers(3), FRONTEND[family]
        node.daemon(node.config(node.pool(models, **HANDED)))

        def ask(session):
            with node.connect(to, source(session + 1, family, remote=True), remote=True) as c:
                return c.ask(close=True, headers={"X-Session-Id": str(session)})
    else:
        side = Cluster(node)
        pods, client, to = side.servers(3), side.pod("client"), SERVICE[family]
        models = [p.model for p in pods]
        side.daemon(side.config(side.pool(pods, family=family, stickiness={"key": "client"})))

        def ask(_session):
            return client.ask(to)

    def become(*awake):
        for model in models:
            model.be(page=vllm_page() + (sleep_states(1) if model.name in awake else ASLEEP["level 1"]))
        want = {m.name: "ready" if m.name in awake else "asleep" for m in models}
        wait_for(lambda: {e["name"]: e["state"] for e in side.cli("endpoints")} == want)
        return collections.Counter(ask(n) for n in range(9)) if awake else None

    for name in ("s2", "s0", "s1"):
        assert become(name) == {name: 9}
    become()
    if "hand-off" in where:
        assert sum(collections.Counter(ask(n) for n in range(9)).values()) == 9
    else:  # as without Pintle, and there nobody has the Service's address
        try:
            raise AssertionError(ask(0))
        except OSError:
            pass
    assert become("s0") == {"s0": 9}


def test_all_sleep(node):
    """Then connections are hashed over them, as where none is ready: a request may wake one."""
    servers = node.servers(2)
    for s in servers:
        s.be(page=vllm_page() + ASLEEP["level 1"])
    node.steer(servers)
    wait_for(lambda: [e["state"] for e in node.cli("endpoints")] == ["asleep"] * 2)
    assert set(node.spread(FRONTEND["v4"], 20)) == {"s0", "s1"}


NO_PAGE = {"address": ("v4", "%d"), "port alone": ("v4", "%d"), "v6 address": ("v6", "[::1]:%d"), "v6 port alone": ("v6", "%d")}


@case(each=NO_PAGE)
def test_no_page_of_a_listener(node, listen):
    """Servers of this node without a page are ready as soon as they listen, and balanced by their connections;
    sessions stay, and the load goes with the connections."""
    family, at = NO_PAGE[listen]
    to = FRONTEND[family]
    servers = [node.server(f"s{i}", at % (8001 + i)) for i in range(3)]
    for s in servers:
        s.be(status=404)
    endpoints = [{"name": s.name, "listen": s.address[1] if "port" in listen else s.listen, "metrics": "none"}
                 for s in servers]
    daemon = node.daemon(node.config(node.pool(endpoints, frontends=[to])))
    states = lambda: {e["name"]: e["state"] for e in node.cli("endpoints")}
    wait_for(lambda: set(states().values()) == {"ready"})
    held = node.hold(to, 30, first=100)
    assert sorted(collections.Counter(n for _, n in held).values()) == [10, 10, 10], held
    # One session stays with its server.
    assert len({node.ask(to, source(7, family)) for _ in range(6)}) == 1
    row = wait_for(lambda: node.endpoint("s0")["load"] == 10 and node.endpoint("s0"))
    assert row["waiting"] is None and row["running"] is None and not row["scrape_failed"], row
    for c, name in held:
        if name != "s1":
            c.close()
    wait_for(lambda: [node.endpoint(n)["load"] for n in ("s0", "s1", "s2")] == [0, 10, 0])
    assert set(node.spread(to, 12, first=200)) == {"s0", "s2"}
    assert "failed:" not in daemon.log()
    servers[0].kill()
    assert set(node.spread(to, 10, first=300)) <= {"s1", "s2"}
    wait_for(lambda: states()["s0"] == "down")
    servers[0].start()
    wait_for(lambda: states()["s0"] == "ready")
    # A page that is configured is read from then on, and the other way round.
    for s in servers:
        s.be(status=200)
        s.set(waiting=5)
    daemon.reload(node.config(node.pool(servers, frontends=[to])))
    wait_for(lambda: node.endpoint("s2")["waiting"] == 5)
    daemon.reload(node.config(node.pool(endpoints, frontends=[to])))
    wait_for(lambda: node.endpoint("s2")["waiting"] is None)


NAMED = {
    "nim": ({"waiting": "num_requests_waiting", "running": "num_requests_running", "kv": "gpu_cache_usage_perc"},
            'num_requests_running{model_name="m"} 3.0\nnum_requests_waiting{model_name="m"} 2.0\n'
            'gpu_cache_usage_perc{model_name="m"} 0.25\n'),
    "lmdeploy": ({"waiting": "lmdeploy:num_requests_waiting", "running": "lmdeploy:num_requests_running",
                  "kv": "lmdeploy:gpu_cache_usage_perc"},
                 'lmdeploy:num_requests_running{engine="0"} 3\nlmdeploy:num_requests_waiting{engine="0"} 2\n'
                 'lmdeploy:gpu_cache_usage_perc{engine="0"} 0.25\n'),
    "ray": ({"waiting": 'ray_vllm_num_requests_waiting{WorkerId="a"}',
             "running": 'ray_vllm_num_requests_running{WorkerId="a"}', "kv": "ray_vllm_kv_cache_usage_perc"},
            'ray_vllm_num_requests_waiting{WorkerId="a",engine="0"} 2\n'
            'ray_vllm_num_requests_waiting{WorkerId="b",engine="0"} 70\n'
            'ray_vllm_num_requests_running{WorkerId="a"} 3\nray_vllm_num_requests_running{WorkerId="b"} 70\n'
            'ray_vllm_kv_cache_usage_perc 0.25\n'),
}


@case(each=NAMED)
def test_metrics_with_other_names(node, which):
    """The pool's `metrics` names them, and a reload changes them."""
    names, page = NAMED[which]
    (server,) = node.servers(1)
    server.be(page=page)
    daemon = node.steer([server], engine="auto", metrics=names)
    row = wait_for(lambda: node.endpoint("s0")["state"] == "ready" and node.endpoint("s0"))
    assert (row["waiting"], row["running"], row["kv_cache"]) == (2, 3, 0.25), row
    daemon.reload(node.config(node.pool([server], engine="auto", metrics={"running": names["running"]})))
    wait_for(lambda: node.endpoint("s0")["waiting"] is None)
    assert node.endpoint("s0")["running"] == 3 and node.endpoint("s0")["kv_cache"] is None


def test_another_metrics_quoted_name(node):
    (server,) = node.servers(1)
    server.be(page='# TYPE "http.server.duration" gauge\n{"http.server.duration",path="/v1"} 1\n'
              + vllm_page(waiting=2, running=3))
    node.steer([server])
    row = wait_for(lambda: node.endpoint("s0")["state"] == "ready" and node.endpoint("s0"))
    assert (row["waiting"], row["running"]) == (2, 3), row


COLD = {
    "trtllm": "trtllm_prompt_cached_tokens_total{model_name=\"m\"} 0.0\n"
              "trtllm_model_config_info{dtype=\"bfloat16\",model_name=\"m\"} 1.0\n",
    "vllm": "vllm:engine_sleep_state{engine=\"0\",sleep_state=\"awake\"} 1.0\n"
            "vllm:generation_tokens_total{engine=\"0\"} 0.0\n"
            "vllm:cache_config_info{engine=\"0\"} 1.0\n",
    "tgi": "tgi_request_count 3\n",
}
WORKED = {
    "trtllm": "trtllm_request_success_total{finished_reason=\"stop\"} 1.0\n",
    "vllm": "vllm:generation_tokens_total{engine=\"1\"} 5.0\n",
    "tgi": "tgi_batch_inference_count{method=\"prefill\"} 1\n",
}
WARM = {
    "trtllm": "trtllm_num_requests_running 20\ntrtllm_num_requests_waiting 0\n",
    "vllm": "vllm:num_requests_running 20\nvllm:num_requests_waiting 0\n",
    "tgi": "tgi_batch_current_size 20\ntgi_queue_size 0\n",
}


@case(timeout=120)
def test_before_the_first_request(node):
    """A server whose page has no gauges yet is idle, and takes the clients of one that is not; once it has
    worked, a page without gauges is a fault."""
    rows = rows_of(node, [(engine, named) for engine in COLD for named in ("named", "auto")], 2)
    for r in rows:
        r.servers[0].be(page=WARM[r.what[0]])
        r.servers[1].be(page=COLD[r.what[0]])
    daemon = node.daemon(node.config(*(r.config(engine=r.what[0] if r.what[1] == "named" else "auto") for r in rows)))
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    for r in rows:
        assert [r.endpoint(i)["load"] for i in range(2)] == [20, 0], r.what
        assert r.spread(15) == {1: 15}, r.what
        r.servers[1].be(page=COLD[r.what[0]] + WORKED[r.what[0]])
    for r in rows:
        wait_for(lambda: r.endpoint(1)["scrape_failed"], what=r.what)  # noqa: B023
        wait_for(lambda: f"scrape of {r.pool}/{r.names[1]} at" in daemon.log(), what=r.what)  # noqa: B023
        r.servers[1].be(page="python_info 1\n")
    for r in rows:
        r.servers[1].scraped()
        assert r.endpoint(1)["scrape_failed"], r.what
        r.servers[1].be(page=WARM[r.what[0]].replace("20", "1"))
    for r in rows:
        wait_for(lambda: r.endpoint(1)["running"] == 1, what=r.what)  # noqa: B023


@case()
def test_own_names_before_the_first_request(node):
    """The gauges that a pool names itself come with a server's first request, too: once a page has had them, a server
    whose page has not is idle. A name that no page ever had may be wrong, and such a server is unheard."""
    servers = node.servers(3)
    cold = "python_info 1\nray_serve_replica_starts 1\n"
    for s in servers:
        s.be(page=cold)
    daemon = node.steer(servers, engine="auto", metrics={"waiting": "ray_queued", "running": "ray_running"})

    def states():
        return [e["state"] for e in node.cli("endpoints")]

    wait_for(lambda: daemon.log().count("it has no ray_queued, nor another load signal") >= 3)
    assert states() == ["unheard"] * 3
    servers[0].be(page=cold + "ray_queued 4\nray_running 20\n")
    servers[1].be(page=cold + "ray_running 1\n")
    wait_for(lambda: states() == ["ready"] * 3)
    assert [node.endpoint(f"s{i}")["load"] for i in range(3)] == [28, 1, 0]
    assert set(node.spread(FRONTEND["v4"], 15)) <= {"s1", "s2"}
    # s0 was started anew: without its gauges it is idle again.
    servers[0].be(page=cold)
    wait_for(lambda: node.endpoint("s0")["load"] == 0)
    assert not node.endpoint("s0")["scrape_failed"]


FAILURES = {
    "401": {"status": 401},
    "404": {"status": 404},
    "stall": {"stall": True},
    "cut-short": {"cut": 40},
    "huge": None,
}


def failing_page(row):
    """A server whose page fails, but for 5xx, counts with the highest fresh load, and gets fewer clients."""
    node, sick = row.node, row.servers[0]
    ask = lambda number: row.names.index(node.ask(row.to, source(number)))
    assert ask(1) == 0
    sick.be(**(FAILURES[row.what] or {"page": "# padding\n" * 600000 + vllm_page()}))
    wait_for(lambda: row.endpoint(0)["age_seconds"] > 1.1)
    # A bound session stays: 12, the highest fresh load, is not more than 4 + 8.
    assert ask(1) == 0
    assert row.spread(10, first=10) == {1: 10}
    # But not for ever: after five times the staleness it leaves.
    wait_for(lambda: row.endpoint(0)["age_seconds"] > 5)
    assert ask(1) == 1
    # So far from the others that connections that have not ended yet make no difference.
    row.servers[1].set(waiting=6)
    sick.be(status=200, stall=False, cut=None, page=None)
    wait_for(lambda: row.endpoint(0)["age_seconds"] < 1 and row.endpoint(1)["waiting"] == 6)
    assert row.spread(10, first=100) == {0: 10}


# The huge page keeps its reader busy: it is read less often, so that the others' are read in time.
@case(each=("huge", "others"), timeout=90)
def test_failing_page_is_not_empty(node, which):
    interval = "250ms" if which == "huge" else "50ms"
    rows = rows_of(node, [f for f in FAILURES if (f == "huge") == (which == "huge")], 3)
    for r in rows:
        for server, waiting in zip(r.servers, (0, 2, 6)):
            server.set(waiting=waiting)
    node.daemon(node.config(*(r.config(scrape={"interval": interval, "timeout": "200ms"}, saturation={"staleness": "1s"})
                              for r in rows)))
    for r in rows:
        wait_for(lambda: [r.endpoint(i)["waiting"] for i in range(3)] == [0, 2, 6], what=r.what)  # noqa: B023

    def fails(row):
        with trying(row.what):
            failing_page(row)

    with concurrent.futures.ThreadPoolExecutor() as at_once:
        list(at_once.map(fails, rows))


def test_all_stale(node):
    """No score is fresh: connections in flight alone decide, and the outcome says so."""
    servers = node.servers(3)
    servers[0].set(waiting=50)
    node.steer(servers, saturation={"staleness": "300ms"})
    for s in servers:
        s.be(status=500)
    wait_for(lambda: min(e["age_seconds"] for e in node.cli("endpoints")) > 0.4)
    held = node.hold(FRONTEND["v4"], 12)
    assert sorted(node.in_flight().values()) == [4, 4, 4]
    assert node.decisions() == {"stale": 12}
    for c, _ in held:
        c.close()


def test_daemon_gone_stale(node):
    """The same without a daemon: the kernel goes on with its own counters."""
    servers = node.servers(3)
    servers[1].set(waiting=50)
    daemon = node.steer(servers, saturation={"staleness": "300ms"})
    daemon.kill()
    wait_for(lambda: min(e["age_seconds"] for e in node.cli("endpoints")) > 0.4)
    held = node.hold(FRONTEND["v4"], 12)
    assert sorted(node.in_flight().values()) == [4, 4, 4]
    assert node.decisions()["stale"] >= 11
    for c, _ in held:
        c.close()


def test_saturated_is_shown(node):
    """An endpoint above a threshold is shown as saturated, and raises the pool's saturation."""
    servers = node.servers(2)
    servers[0].set(waiting=6)
    daemon = node.steer(servers)
    assert node.endpoint("s0")["state"] == "saturated"
    assert node.endpoint("s1")["state"] == "ready"
    assert daemon.metric("pintle_pool_saturation", pool="pool") > 0


def test_other_metrics_address(node):
    """`metrics:` may name another server's page, such as a sidecar's."""
    server = node.server("s0", 8001)
    sidecar = node.server("page", "127.0.0.1:9003")
    sidecar.set(waiting=9)
    endpoint = {"name": "s0", "listen": "8001", "metrics": "http://127.0.0.1:9003/metrics"}
    node.steer([endpoint])
    assert node.endpoint("s0")["waiting"] == 9
    assert server.counts().scrapes == 0


def test_keeps_scrape_connections(node):
    """A page is fetched over a kept connection."""
    server = node.server("s0", 8001)
    node.steer([server])
    server.scraped(20)
    assert node.endpoint("s0")["direct"] <= 2, node.endpoint("s0")


def test_gpu(node):
    """DCGM's figures are joined by GPU index or by pod; utilisation weighs what `weights.gpu` says."""
    servers = node.servers(2)
    dcgm = node.server("dcgm", "127.0.0.1:9400")
    dcgm.be(page=(
        "# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\n"
        "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
        'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",modelName="NVIDIA H200"} 50\n'
        'DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b",pod="llama-1",namespace="x"} 10\n'
        'DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",modelName="NVIDIA H200"} 3000\n'
        'DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a",modelName="NVIDIA H200"} 1000\n'
    ))
    daemon = node.steer(
        [{"name": s.name, "listen": s.listen, "gpu": gpu}
         for s, gpu in zip(servers, ({"index": 0}, {"pod": "llama-1"}))],
        weights={"gpu": 10},
        dcgm={"url": "http://127.0.0.1:9400/metrics", "interval": "50ms"},
    )
    wait_for(lambda: load_of(node, "s0") == 5)
    wait_for(lambda: load_of(node, "s1") == 1)
    assert node.endpoint("s0")["gpu"] == 0.5
    memory = {dict(labels)["endpoint"]: value for (name, labels), value in daemon.metrics().items()
              if name == "pintle_endpoint_gpu_memory_usage_ratio"}
    assert memory == {"s0": 0.75}, memory
    assert node.spread(FRONTEND["v4"], 10) == {"s1": 10}


def test_gpus_of_several_exporters(node):
    """An endpoint may name the DCGM exporter of its own node: the same index is another GPU there."""
    servers = node.servers(3)
    for port, busy in ((9400, 50), (9401, 10), (9402, 90)):
        node.server(f"dcgm{port}", f"127.0.0.1:{port}").be(
            page=f'# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="GPU-{port}"}} {busy}\n')
    node.steer(
        [{"name": s.name, "listen": s.listen, "gpu": {"index": 0, **more}}
         for s, more in zip(servers, ({}, {"exporter": "http://127.0.0.1:9401/metrics"},
                                      {"exporter": "http://127.0.0.1:9402/metrics"}))],
        weights={"gpu": 10}, dcgm={"url": "http://127.0.0.1:9400/metrics", "interval": "50ms"})
    for name, load in (("s0", 5), ("s1", 1), ("s2", 9)):
        wait_for(lambda name=name, load=load: load_of(node, name) == load)
    assert node.spread(FRONTEND["v4"], 10) == {"s1": 10}


def test_engines_signals_are_exported(node):
    """Load signals, tokens and prefix-cache counters go out again by pool and endpoint."""
    server = node.server("s0", 8001)
    server.set(waiting=2, hits=300, queries=1000, prompt=5000, output=700)
    daemon = node.steer([server])
    wait_for(lambda: daemon.metric("pintle_endpoint_load", pool="pool", endpoint="s0") == 4)
    found = {name: value for (name, labels), value in daemon.metrics().items()
             if dict(labels).get("endpoint") == "s0"}
    for value in (300, 1000, 5000, 700):
        assert value in found.values(), (value, found)


def test_logs_a_failure_once(node):
    """Repeated failure is one line, recovery another."""
    server = node.server("s0", 8001)
    daemon = node.steer([server])
    server.be(status=500)
    wait_for(lambda: daemon.get("/metrics") and node.endpoint("s0")["age_seconds"] > 2)
    lines = [x for x in daemon.log().splitlines() if "s0" in x and "500" in x and "debug" not in x.lower()]
    assert len(lines) == 1, lines
