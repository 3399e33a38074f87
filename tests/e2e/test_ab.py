# SPDX-License-Identifier: Apache-2.0
"""A/B tests: enforce and baseline by turns, in both hooks."""
import json
import struct

from clients import FRONTEND
from harness import case
from kernel import BUILD, wait_for
from test_rollout import HOOKS, decisions

# But for those cases that say so: the others wait for blocks to pass.
UNDER_SANITIZERS = False

SHORT = ("--period", "4s", "--washout", "1s")


def world_of(node, hook, **keys):
    world = HOOKS[hook](node)
    if hook == "connect":
        keys["stickiness"] = {"key": "client"}
    world.start(world.pool(world.servers(3), "own", 0, **keys))
    return world


def mode(world):
    return world.cli("pools")[0]["mode"]


def until_mode(world, *wanted, timeout=20):
    wait_for(lambda: mode(world) in wanted, timeout, f"mode {wanted}")


def by_rule(counts):
    return sum(n for outcome, n in counts.items() if outcome in ("sticky", "least_loaded", "escaped", "home"))


def grows(world, outcome_of, what):
    """Waits until more decisions of that kind are made."""
    before = outcome_of(decisions(world, "own"))
    wait_for(lambda: outcome_of(decisions(world, "own")) > before + 5, what=what)


def random(counts):
    return counts.get("random", 0)


@case(each=tuple(HOOKS), timeout=120)
def test_whole(node, hook):
    """A test from its beginning to its end, under load: both modes in turn, the pool's own mode afterwards, no
    connection that fails, and figures of all its blocks, which stay when it is over."""
    world = world_of(node, hook)
    with world.load() as load:
        load.go_on(50)
        told = world.pintle("ab", "own", *SHORT, "--for", "16s").stdout
        assert "then enforce" in told, told
        assert world.cli("status")[0]["pools"][0]["ab"] and world.cli("pools")[0]["ab"]
        assert [o["setting"] for o in world.cli("status")[0]["overrides"]] == ["ab"]
        for wanted, other in (("baseline", random), ("enforce", by_rule)):
            until_mode(world, wanted)
            grows(world, other, f"decisions of mode {wanted}")
            arm = world.daemon.metrics()
            assert sum(arm["pintle_pool_ab_arm", (("mode", m), ("pool", "own"))] for m in ("baseline", "enforce")) == 1
        wait_for(lambda: not world.cli("pools")[0]["ab"], 30, "the end")
        before = random(decisions(world, "own"))
        load.go_on(50)
        assert mode(world) == "enforce" and random(decisions(world, "own")) == before
        wait_for(lambda: world.cli("ab", "own")["ended"] == "done", 10, "the last answers")
    assert not load.failures, load.failures
    shown = world.cli("ab", "own")
    assert [b["state"] for b in shown["blocks"]] == ["whole"] * 4, shown
    for b in shown["blocks"]:
        assert b["answers"] >= 20 and b["decisions"] >= 20 and not b["failed"] and not b["told_no"], shown
        assert 0 < b["ttft_p50"] <= b["ttft_p95"] < 1, shown
        assert bool(b["kept"]) == (b["mode"] == "enforce"), shown
    assert [b["mode"] for b in shown["blocks"][:2]] in (["enforce", "baseline"], ["baseline", "enforce"]), shown
    figures = {f["figure"]: f for f in shown["figures"]}
    assert {f["pairs"] for f in figures.values()} == {2} and figures["kept"]["baseline"] == 0, shown
    assert {f["verdict"] for f in figures.values()} == {"not enough yet"}, shown
    assert "It takes 6 pairs" in world.pintle("ab", "own").stdout
    world.daemon.kill()
    assert world.cli("ab", "own")["figures"] == shown["figures"], "without pintled, too"


@case(each=tuple(HOOKS), timeout=120)
def test_daemon_ends(node, hook):
    """Whichever mode it is in when pintled is killed: the pool's own holds soon, no connection fails, and the next
    pintled goes on with the test."""
    world = world_of(node, hook, saturation={"staleness": "1s"})
    with world.load() as load:
        world.pintle("ab", "own", *SHORT, "--for", "120s")
        for arm in ("baseline", "enforce"):
            until_mode(world, arm)
            world.daemon.kill()
            wait_for(lambda: world.cli("ab", "own")["block"] is not None and "pintled is away" in world.pintle("ab", "own").stdout,
                     what="the kernel to miss pintled")
            load.go_on(20)
            before = random(decisions(world, "own"))
            load.go_on(50)
            assert random(decisions(world, "own")) == before, "decisions of the test, without pintled"
            explained = world.cli("explain", "own")
            assert explained["mode"] == "enforce", explained
            owner = node if hook == "lookup" else world.cluster.machines[0]
            world.daemon = owner.daemon(world.daemon.config.read_text())
            until_mode(world, "enforce", "baseline")
            assert world.cli("pools")[0]["ab"]
        wait_for(lambda: "whole" in {b["state"] for b in world.cli("ab", "own")["blocks"]}, 30, "a block after all that")
        assert "lost" in {b["state"] for b in world.cli("ab", "own")["blocks"]}
    assert not load.failures, load.failures


def states(world):
    return [b["state"] for b in world.cli("ab", "own")["blocks"]]


@case(each=tuple(HOOKS), san=True)
def test_ends_early(node, hook):
    """What ends a test: --stop, `mode`, `reset`, and a reload without the pool. Never two at once."""
    world = world_of(node, hook)
    start = ("ab", "own", *SHORT, "--for", "120s")

    def is_over(why="stopped"):
        assert not world.cli("pools")[0]["ab"]
        wait_for(lambda: world.cli("ab", "own")["ended"] == why, what="pintled to see it")

    world.pintle(*start)
    told = world.pintle(*start, check=False)
    assert told.returncode == 1 and "`pintle ab own --stop`" in told.stderr, told
    wait_for(lambda: "now" in states(world), what="the first block to be measured")
    assert "the A/B test is over; mode enforce" in world.pintle("ab", "own", "--stop").stdout
    is_over()
    assert set(states(world)) == {"left out"} and "lost" not in world.pintle("ab", "own").stdout, states(world)
    assert "no A/B test runs" in world.pintle("ab", "own", "--stop").stdout
    for words in (("mode", "own", "baseline"), ("reset", "own"), ("reset",), ("reset", "own", "mode")):
        world.pintle(*start)
        assert "A/B test is over" in world.pintle(*words).stdout, words
        is_over()
        assert mode(world) == ("baseline" if words[0] == "mode" else "enforce"), words
    world.pintle("mode", "own", "off" if hook == "connect" else "baseline")
    former = mode(world)
    world.pintle(*start)
    until_mode(world, "enforce")
    world.pintle("ab", "own", "--stop")
    assert mode(world) == former
    world.pintle("reset")
    both = [world.pintle_is_running(*start) for _ in range(2)]
    assert sorted(p.wait(20) for p in both) == [0, 1]
    assert world.cli("pools")[0]["ab"]
    world.reload(world.pool(world.servers(1), "other", 1))
    wait_for(lambda: [p["name"] for p in world.cli("pools")] == ["other"], what="the reload")
    world.reload(world.pool(world.servers(1), "own", 0))
    wait_for(lambda: [p["name"] for p in world.cli("pools")] == ["own"], what="the pool to be back")
    assert not world.cli("pools")[0]["ab"] and mode(world) == "enforce"


def verdicts(node, workload):
    """{figure: what a test of 50 s says of it}"""
    load = node.popen([BUILD / "pintle-load", "-t", f"http://{FRONTEND['v4']}", "-w", workload, "-d", "60", "-o", "json"],
                      log="load.log")
    node.pintle("ab", "own", *SHORT, "--for", "50s")
    wait_for(lambda: node.cli("ab", "own")["ended"], 100, "the end")
    load.kill()
    load.wait()
    return {f["figure"]: f for f in node.cli("ab", "own")["figures"]}


# Alone, and up to three times: one pair of six in which nothing had CPU for a second is chance enough.
@case(san=False, timeout=400, alone=True)
def test_finds_what_is_true(node):
    """One of three simulated servers is slow, and the rule avoids it: that is what the test finds."""
    node.popen([BUILD / "pintle-sim", "--count", "3", "--profile", "tiny", "--speed", "0.1", "--slow", "0:60"], log="sim.log")
    endpoints = [{"name": f"s{i}", "listen": f"127.0.0.1:{8001 + i}"} for i in range(3)]
    node.daemon(node.config(node.pool(endpoints, "own", stickiness={"key": "none"})))
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"}, 20, "the servers")
    workload = node.write("workload.yaml", json.dumps({"classes": [{
        "name": "a", "arrival": {"rate": 20}, "prompt": {"mean": 40}, "output": 5, "connection": "per-request"}]}))
    found = []
    while not found or (found[-1]["ttft_mean"]["verdict"] != "better" and len(found) < 3):
        found.append(verdicts(node, workload))
        assert found[-1]["failed"]["verdict"] == "no difference beyond chance", found
        assert found[-1]["ttft_mean"]["verdict"] != "worse", found
    figure = found[-1]["ttft_mean"]
    assert figure["verdict"] == "better", found
    assert figure["low"] < figure["change"] < figure["high"] < 0, found


@case()
def test_refuses(node):
    """What makes no test is refused, with what would be right; each message has both."""
    world = world_of(node, "lookup")
    for words in (("--period", "1m"), ("--period", "10m", "--for", "10m"), ("--period", "10m", "--for", "720h"),
                  ("--period", "4s", "--washout", "500ms"), ("--for", "1h"), ("--stop", "--period", "10m"),
                  ("--period", "5s", "--washout", "2s"), ("--washout", "1s")):
        told = world.pintle("ab", "own", *words, check=False)
        assert told.returncode == 2 and "; " in told.stderr, (words, told.stderr)
    told = world.pintle("ab", "own", check=False)
    assert told.returncode == 1 and "begins one" in told.stderr
    world.pintle("set", "own", "follow=false")
    told = world.pintle("ab", "own", "--period", "10m", check=False)
    assert told.returncode == 1 and "follow=true" in told.stderr
    world.pintle("reset")
    world.daemon.kill()
    wait_for(lambda: not world.cli("status")[0]["daemon_alive"], what="pintled to be missed")
    told = world.pintle("ab", "own", "--period", "10m", check=False)
    assert told.returncode == 1 and "start it" in told.stderr
    assert not world.cli("pools")[0]["ab"]


@case(san=True)
def test_garbage(node):
    """A test in the maps that makes no sense: pintled removes it, and the pool's own mode holds."""
    world = world_of(node, "lookup")
    pins = next(node.bpffs.rglob("trials")).parent

    def update(name, key, value):
        node.run("bpftool", "map", "update", "pinned", pins / name, "key", "hex", *key.hex(" ").split(), "value", "hex",
                 *value.hex(" ").split())

    pool, = (p for p in json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", pins / "names").stdout)
             if p["formatted"]["value"]["name"] == "own")
    ref = struct.pack("=II", pool["formatted"]["key"], pool["formatted"]["value"]["generation"])
    for numbers in ((0,) * 5, (2**64 - 1,) * 5, (1, 2**63, 1, 0, 7), (0, 2**64 - 1, 2**63, 1, 7)):
        world.pintle("ab", "own", *SHORT)
        update("trials", ref, struct.pack("=5Q", *numbers))
        wait_for(lambda: not json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", pins / "trials").stdout),
                 what="pintled to remove it")
        assert mode(world) == "enforce" and not world.cli("pools")[0]["ab"]
        assert world.ask() and world.cli("explain", "own")["mode"] == "enforce"
        assert world.cli("ab", "own")["ended"] == "stopped"
    update("trial_results", struct.pack("=I", 0), ref + b"\xff" * (96 + 56 * 128 - 8))
    world.cli("ab", "own")
    world.pintle("ab", "own")
    world.pintle("ab", "own", *SHORT)
    assert world.cli("ab", "own")["runs"]
