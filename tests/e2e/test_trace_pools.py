# SPDX-License-Identifier: Apache-2.0
"""`pintle trace` where a connection's decision is made by another pool than the one it asked for (canary, fallback), or
by its first request (hand-off)."""
import types

from clients import FRONTEND
from harness import case
from kernel import wait_for
from test_classes import fill, is_refused
from test_handoff import HANDED
from test_handoff import ask as ask_handed
from test_rollout import HOOKS, LIMITED, decisions
from test_trace import Trace

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False


def trace(node, side, *words, pool="pool", **more):
    return Trace(types.SimpleNamespace(node=node, side=side), *words, pool=pool, **more)


def side_of(world):
    return getattr(world, "cluster", None) or world.node


def both_lines(follower, count):
    """[(its decision, its end)], in the order of the decisions."""
    decided, ended = (sorted(follower.wait(event, count), key=lambda r: r["decided_ns"])
                      for event in ("decided", "ended"))
    for d, e in zip(decided, ended):
        same = ("decided_ns", "hook", "asked", "pool", "endpoint", "outcome", "frontend", "address")
        assert {k: d[k] for k in same} == {k: e[k] for k in same}, (d, e)
    return list(zip(decided, ended))


@case(each=tuple(HOOKS))
def test_canary(node, hook):
    """A connection that the canary gets is traced by those who follow its pool and by those who follow the canary, and
    says both pools; the others are traced as the pool's own."""
    world = HOOKS[hook](node)
    own, canary = world.servers(1), world.servers(1)
    world.start(world.pool(own, "own", 0, canary={"pool": "canary", "percent": 50}), world.pool(canary, "canary", 1))
    for_own, for_canary = (trace(node, side_of(world), "--rate", "1000", pool=pool) for pool in ("own", "canary"))
    went = [world.ask(i) for i in range(1, 21)]
    assert set(went) == {"s0", "s1"}, went
    lines = both_lines(for_own, 20)
    assert [(d["asked"], d["pool"], d["endpoint"]) for d, _ in lines] \
        == [("own", {"s0": "own", "s1": "canary"}[name], name) for name in went]
    for i, (d, e) in enumerate(lines, 1):
        told = world.cli("explain", "own", *world.who(i))
        decision = d["decision"]
        assert (decision["asked"], decision["pool"], decision["chosen"]) == ("own", d["pool"], d["endpoint"]), d
        assert (told["pool"], told["chosen"], told["session"]) == (d["pool"], d["endpoint"], decision["session"]), told
        assert [c["endpoint"] for c in decision["candidates"]] == [d["endpoint"]], decision
        assert e["cause"] == "closed" and e["answers"] == 1, e
    seen = both_lines(for_canary, went.count("s1"))
    assert {(d["asked"], d["pool"], d["endpoint"]) for d, _ in seen} == {("own", "canary", "s1")}
    world.daemon.kill()
    again = [world.ask(i) for i in range(1, 21)]
    assert again == went
    assert [d["endpoint"] for d, _ in both_lines(for_own, 40)[20:]] == went


@case(each=tuple(HOOKS))
def test_fallback(node, hook):
    """A connection that spills is the pool's that takes it, with the endpoints that were compared there; one that nobody
    takes is the pool's own, and has no end."""
    world = HOOKS[hook](node)
    own, near = world.servers(1), world.servers(2)
    world.start(world.pool(own, "own", 0, fallback=["near"], **LIMITED),
                world.pool(near, "near", 1, classes=[{"name": "all", "limit": 3, "admission": "refuse"}]))
    for_own, for_near = (trace(node, side_of(world), pool=pool) for pool in ("own", "near"))
    failed = trace(node, side_of(world), "--failed", pool="own")
    assert world.ask() == "s0"
    ((first, _),) = both_lines(for_own, 1)
    assert (first["pool"], first["outcome"]) == ("own", "least_loaded"), first
    fill(*own)
    spilled = world.ask()
    d, e = both_lines(for_own, 2)[1]
    assert (d["asked"], d["pool"], d["endpoint"], d["outcome"]) == ("own", "near", spilled, "spilled"), d
    assert d["decision"]["class"] == "all" and d["decision"]["outcome"] == "spilled", d
    assert {c["endpoint"] for c in d["decision"]["candidates"]} == {"s1", "s2"}, d
    assert e["answers"] == 1 and e["first_token_seconds"] > 0, e
    fill(*near)
    assert is_refused(world.ask)
    refused = for_own.wait("decided", 3)[2]
    assert (refused["pool"], refused["endpoint"], refused["outcome"]) == ("own", None, "refused"), refused
    assert refused["decision"]["pool"] == "near" and all(c["full"] for c in refused["decision"]["candidates"])
    assert decisions(world, "own")["refused"] == 1
    (alone,) = failed.wait("decided", 1)
    assert alone["decided_ns"] == refused["decided_ns"] and not failed.of("ended"), failed.rows
    # A follower of the fallback is told of what it took, and of what it had no room for.
    seen = for_near.wait("decided", 2)
    assert [r["decided_ns"] for r in seen] == [d["decided_ns"], refused["decided_ns"]], seen
    assert {r["asked"] for r in seen} == {"own"} and len(for_near.of("ended")) == 1, for_near.rows
    assert len(for_own.of("ended")) == 2


def test_text(node):
    """An endpoint of another pool than the one that was asked has its pool's name before it."""
    world = HOOKS["lookup"](node)
    own, canary = world.servers(1), world.servers(1)
    world.start(world.pool(own, "own", 0, canary={"pool": "canary", "percent": 50}), world.pool(canary, "canary", 1))
    follower = trace(node, node, pool="own", text=True)
    went = [world.ask(i) for i in range(1, 21)]
    wait_for(lambda: len(follower.lines) >= 40)
    shown = [line.split()[2] for line in follower.lines if "  decided  " in line]
    assert shown == ["canary/s1" if name == "s1" else name for name in went], (shown, went)


@case(each=(False, True))
def test_hand_off(node, each):
    """A connection that waits for its first request is traced once, when the request has said its session; the port
    and the cookie are those of the server's socket. With the daemon and without."""
    node.add_client()
    daemon = node.steer(node.servers(4), **HANDED)
    follower = trace(node, node)
    if each:
        daemon.kill()
    for session in ("a", "b", "a"):
        ask_handed(node, {"X-Session-Id": session})
    lines = both_lines(follower, 3)
    assert [d["hook"] for d, _ in lines] == ["lookup"] * 3
    decisions = [d["decision"] for d, _ in lines]
    sessions = [d["session"] for d in decisions]
    assert sessions[0] == sessions[2] != sessions[1] and all(s.startswith("request:") for s in sessions), sessions
    assert lines[2][0]["outcome"] == "sticky" and lines[2][0]["endpoint"] == lines[0][0]["endpoint"], lines[2]
    assert decisions[2]["bound"]["endpoint"] == decisions[0]["chosen"], decisions[2]
    assert all(len(d["candidates"]) == 4 for d in decisions)
    for d, e in lines:
        assert d["client"] == e["client"] and e["answers"] == 1 and 0 < e["first_token_seconds"] < 5, e
        assert e["bytes_received"] > 40 and e["cause"] == "closed" and e["cookie"], e
    with node.connect(FRONTEND["v4"], remote=True) as c:
        c.send(close=False, headers={"X-Session-Id": "b"})
        d = follower.wait("decided", 4)[3]
        assert d["decision"]["session"] == sessions[1] and d["endpoint"] == lines[1][0]["endpoint"], d
        ss = node.run("ss", "-Htne", netns=node.netns).stdout
        assert d["client"] in ss.replace("[::ffff:", "").replace("]", ""), (d, ss)
    e = follower.wait("ended", 4)[3]
    assert f"sk:{e['cookie']} " in ss + " ", (e, ss)
    follower.end()
    wait_for(lambda: not any(node.in_flight().values()))
