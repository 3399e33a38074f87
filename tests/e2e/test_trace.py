# SPDX-License-Identifier: Apache-2.0
"""`pintle trace`: decisions as they happen, and how their connections end; in both hooks."""
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import types

import packets
from clients import FRONTEND, source, split
from harness import case
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster
from test_classes import is_refused
from test_counts import fast_at_connect, fast_at_lookup
from test_shares import HOOKS

MAX_DECIDED = 1024  # PINTLE_MAX_DECIDED

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False


class World:
    """Servers, and a client, by either hook."""

    def __init__(self, node, hook, servers=2, **pool):
        self.node, self.hook = node, hook
        if hook == "lookup":
            self.side = node
            self.servers = node.servers(servers)
            self.model = self.servers[0]
            self.daemon = node.steer(self.servers, **pool)
            return
        self.side = Cluster(node)
        self.servers = self.side.servers(servers)
        self.model = self.servers[0].model
        self.client = self.side.pod("client")
        self.daemon = self.side.steer(self.side.pool(self.servers, **pool))

    def connect(self):
        if self.hook == "lookup":
            return self.side.connect(FRONTEND["v4"], source(7, "v4"))
        return self.client.connect(SERVICE["v4"])

    def ask(self, path="/"):
        with self.connect() as c:
            return c.ask(path, close=True)


class Trace:
    """A follower, which follows once this is made; `rows` are its lines so far."""

    def __init__(self, world, *options, pool="pool", reads=True, text=False):
        self.rows, self.lines, self.world, self.reads = [], [], world, reads
        argv = [BUILD / "pintle", "--bpffs", world.side.bpffs, "trace", pool, *options]
        self.process = world.node.popen(argv if text else [*argv, "-o", "json"], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        if reads:
            threading.Thread(target=self._read, daemon=True).start()
        wait_for(lambda: self.process.pid in followers(world))

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            with contextlib.suppress(ValueError):
                self.rows.append(json.loads(line))

    def of(self, event):
        return [r for r in self.rows if r["event"] == event]

    def wait(self, event, count):
        wait_for(lambda: len(self.of(event)) >= count)
        assert len(self.of(event)) == count, self.rows
        return self.of(event)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(10)


def follows(world):
    pin = next(world.side.bpffs.rglob("follows"))
    dump = json.loads(world.node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout)
    return dump[0]["formatted"]["value"]


def followers(world):
    """The processes that have a slot."""
    return [f["pid"] for f in follows(world)["of"] if f["until_ns"] and f["pool"]["generation"]]


def nobody_follows(world):
    return follows(world)["until_ns"] < time.monotonic_ns()


@case(each=HOOKS)
def test_a_connection(node, hook):
    """A connection has a line when it is decided, with what `explain` says, and one when it ends."""
    world = World(node, hook)
    world.ask()
    told = world.side.cli("explain", "pool", *(["--source", source(7, "v4")] if hook == "lookup" else []))
    trace = Trace(world)
    with world.connect() as c:
        decided = trace.wait("decided", 1)[0]
        c.ask("/bytes/5000")
        assert not trace.of("ended")
        ss = world.node.run("ss", "-Htne", netns=None if hook == "lookup" else world.client.netns).stdout \
            if hook == "lookup" else world.client.run("ss", "-Htne").stdout
    ended = trace.wait("ended", 1)[0]
    assert decided["hook"] == hook and decided["asked"] == decided["pool"] == "pool", decided
    decision = decided["decision"]
    assert decision["outcome"] == decided["outcome"], decided
    assert decision["chosen"] == decided["endpoint"] == ended["endpoint"] in ("s0", "s1"), decided
    assert set(decision) == set(told)
    assert {c["endpoint"] for c in decision["candidates"]} == {"s0", "s1"}
    assert all(set(c) == set(told["candidates"][0]) and c["eligible"] and c["age_seconds"] is not None
               for c in decision["candidates"]), decision
    if hook == "lookup":
        assert (decided["outcome"], decision["bound"]["endpoint"]) == ("sticky", told["bound"]["endpoint"]), decided
        assert decision["session"] == told["session"] and decision["bound"]["why"] == "holds", decision
    assert ended["decided_ns"] == decided["decided_ns"] and ended["frontend"] == decided["frontend"], ended
    assert f"sk:{ended['cookie']} " in ss + " ", (ended["cookie"], ss)
    assert ended["client"] in ss, (ended["client"], ss)
    if hook == "connect":
        assert decided["cookie"] == ended["cookie"] and ended["address"] in ss
    assert ended["bytes_received"] > 20 and ended["bytes_acknowledged"] >= 5000, ended
    assert ended["cause"] == "closed" and ended["error"] is None and ended["failure"] is None, ended
    assert ended["answers"] == 1 and 0 < ended["first_token_seconds"] < 5, ended
    assert (ended["lost"], ended["left_out"]) == (0, 0)
    trace.end()
    assert trace.process.returncode == 0


@case(each=HOOKS)
def test_text(node, hook):
    """In text a decision is a line, and so is an end."""
    world = World(node, hook)
    trace = Trace(world, text=True)
    for _ in range(3):
        world.ask("/bytes/3000")
    wait_for(lambda: len(trace.lines) >= 6)
    decided, ended = ([line for line in trace.lines if f"  {word}  " in line] for word in ("decided", "ended  "))
    assert len(decided) == len(ended) == 3, trace.lines
    assert all(f"> {FRONTEND['v4'] if hook == 'lookup' else SERVICE['v4']}  load " in line for line in decided), decided
    assert all(" B in  " in line and "  first token " in line and "  sk:" in line for line in ended), ended


@case(each=HOOKS)
def test_without_a_daemon(node, hook):
    """Following needs no daemon."""
    world = World(node, hook)
    world.daemon.kill()
    trace = Trace(world)
    world.ask()
    assert trace.wait("ended", 1)[0]["endpoint"] == trace.wait("decided", 1)[0]["endpoint"]


@case(each=HOOKS)
def test_two_follow_and_one_is_killed(node, hook):
    """Each follower is told everything; one that is killed takes nothing from the other, and its slot is free after a
    moment."""
    world = World(node, hook)
    one, other = Trace(world), Trace(world)
    world.ask()
    for trace in (one, other):
        trace.wait("decided", 1)
        trace.wait("ended", 1)
    one.end(signal.SIGKILL)
    world.ask()
    other.wait("ended", 2)
    third = Trace(world)
    world.ask()
    third.wait("ended", 1)
    other.wait("ended", 3)
    other.end()
    third.end()
    wait_for(lambda: nobody_follows(world))


def test_all_slots_taken(node):
    """Eight can follow; the ninth is told so."""
    world = World(node, "lookup", servers=1)
    traces = [Trace(world) for _ in range(8)]
    failed = node.pintle("trace", "pool", check=False)
    assert failed.returncode == 1 and "8 `pintle trace` follow already; " in failed.stderr, failed.stderr
    for trace in traces:
        trace.end(signal.SIGKILL)
    wait_for(lambda: nobody_follows(world))
    Trace(world).end()
    assert not follows(world)["until_ns"]


@case(each=HOOKS)
def test_rate(node, hook):
    """Not more than the rate, and a quarter of it at once; the rest is counted."""
    world = World(node, hook)
    trace = Trace(world, "--rate", "1")
    held = [world.connect() for _ in range(20)]
    for c in held:
        c.close()
    wait_for(lambda: trace.of("ended"))
    wait_for(lambda: follows_over(world) >= 15)
    assert 1 <= len(trace.of("decided")) <= 5, trace.rows
    world.ask()
    wait_for(lambda: world.ask() and len(trace.of("ended")) == len(trace.of("decided")))
    assert wait_for(lambda: trace.rows[-1])["left_out"] >= 15


def follows_over(world):
    return sum(f["over"] for f in follows(world)["of"])


@case(each=HOOKS)
def test_slow(node, hook):
    """Only connections with a slow first token; their decisions come with their ends."""
    world = World(node, hook, servers=1)
    trace = Trace(world, "--slow", "500ms")
    for _ in range(3):
        world.ask()
    world.model.be(held=True)
    begun = time.monotonic()
    with world.connect() as c:
        c.send(close=True)
        wait_for(lambda: time.monotonic() > begun + 0.6)
        world.model.order("release")
        c.read()
    ended = trace.wait("ended", 1)[0]
    decided = trace.wait("decided", 1)[0]
    assert ended["decided_ns"] == decided["decided_ns"] and decided["decision"]["chosen"] == "s0", decided
    assert 0.5 <= ended["slowest_token_seconds"] <= ended["duration_seconds"], ended


@case(each=HOOKS)
def test_failed(node, hook):
    """Only connections that failed: those that were refused, and those that an error ended."""
    world = World(node, hook, servers=1, classes=[{"name": "a", "connections": 1, "admission": "refuse"}])
    trace = Trace(world, "--failed")
    held = world.connect()
    assert is_refused(world.connect)
    assert trace.wait("decided", 1)[0]["outcome"] == "refused"
    assert not trace.of("ended")
    held.ask()
    held.reset()
    if hook == "lookup":
        ended = trace.wait("ended", 1)[0]
        assert (ended["cause"], ended["error"]) == ("reset", "Connection reset by peer"), ended


def test_failed_endpoint(node):
    """At a client's socket it is seen how an endpoint failed its client."""
    world = World(node, "connect", servers=1)
    trace = Trace(world, "--failed")
    world.model.order("unlisten")
    assert is_refused(world.connect)
    ended = trace.wait("ended", 1)[0]
    assert (ended["failure"], ended["cause"], ended["endpoint"]) == ("refused", "error", "s0"), ended
    assert trace.wait("decided", 1)[0]["decision"]["candidates"][0]["endpoint"] == "s0"


@case(each=HOOKS)
def test_one_that_does_not_read(node, hook):
    """A follower that stands still loses records, which are counted, and harms no other and no connection. When it
    goes on, it follows anew."""
    side, start, make = (fast_at_lookup if hook == "lookup" else fast_at_connect)(node, 4000)
    world = types.SimpleNamespace(node=node, side=side)
    start()
    wait_for(lambda: {e["state"] for e in side.cli("endpoints")} == {"ready"})
    still, other = Trace(world, "--rate", "100000"), Trace(world)
    still.process.send_signal(signal.SIGSTOP)
    make()
    wait_for(lambda: len(other.of("ended")) >= 25)
    assert other.rows[-1]["lost"] == 0
    wait_for(lambda: lapsed(world, still))
    still.process.send_signal(signal.SIGCONT)
    wait_for(lambda: still.rows and still.rows[-1]["lost"])
    wait_for(lambda: not lapsed(world, still))
    still.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: lapsed(world, still))
    Trace(world).end()  # clears the slots of those who follow no more
    still.process.send_signal(signal.SIGCONT)
    wait_for(lambda: still.process.pid in followers(world))
    known = len(still.rows)
    make()
    wait_for(lambda: len(still.rows) > known)


def lapsed(world, trace):
    return any(f["until_ns"] < time.monotonic_ns() for f in follows(world)["of"] if f["pid"] == trace.process.pid)


@case()
def test_full_disk(node):
    """Lines that cannot be written end it, with an error."""
    world = World(node, "lookup")
    with open("/dev/full", "w") as full:
        process = node.popen([BUILD / "pintle", "--bpffs", node.bpffs, "trace", "pool"], stdout=full,
                             stderr=subprocess.PIPE, text=True)
        wait_for(lambda: process.pid in followers(world))
        world.ask()
        told = process.communicate(timeout=20)[1]
    assert process.returncode == 1 and "cannot write to stdout: No space left" in told, told


@case(timeout=90)
def test_forged(node):
    """Forged SYNs take room only for a while; what finds none is counted, and no connection fails."""
    world = World(node, "lookup")
    trace = Trace(world, "--failed")
    packets.send(node.netns, [(source(n, "v4"), 1000 + p) for n in (8, 9) for p in range(700)],
                 split(FRONTEND["v4"]), "SYN")
    wait_for(lambda: sum(f["lost"] for f in follows(world)["of"]))
    assert len(decided(world)) == MAX_DECIDED
    world.ask()
    wait_for(lambda: not decided(world), 40)
    assert not trace.rows
    trace.end()


def decided(world):
    pin = next(world.side.bpffs.rglob("decided"))
    return json.loads(world.node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout)


def test_needs_root(node):
    """Nobody but root follows: no member of the group that may read the pins."""
    servers = node.servers(1)
    node.daemon(node.config(node.pool(servers), group="games"))
    os.chmod(node.bpf_mount, 0o755)
    binary = node.dir / "pintle"
    binary.write_bytes((BUILD / "pintle").read_bytes())
    binary.chmod(0o755)
    failed = node.run("setpriv", "--reuid", "65534", "--regid", "games", "--clear-groups", "--bounding-set", "-all",
                      binary, "--bpffs", node.bpffs, "trace", "pool", check=False)
    assert failed.returncode == 1 and not failed.stdout, failed
    assert not followers(types.SimpleNamespace(node=node, side=node))


@case(each=HOOKS)
def test_nothing_is_left(node, hook):
    """Whoever follows no more leaves neither ring nor record."""
    world = World(node, hook)
    trace = Trace(world)
    held = world.connect()
    trace.wait("decided", 1)
    trace.end()
    held.close()
    assert not rings(world)
    world.ask()
    assert not follows(world)["until_ns"]


def rings(world):
    pin = next(world.side.bpffs.rglob("follow_rings"))
    dump = json.loads(world.node.run("bpftool", "-j", "map", "dump", "pinned", pin, check=False).stdout or "[]")
    return [r for r in dump if isinstance(r.get("value"), list)]


@case(timeout=90)
def test_nothing_is_left_of_one_that_was_killed(node):
    """pintled frees the ring and the slot of a follower that was killed; not those of one that follows."""
    world = World(node, "lookup", servers=1)
    killed, other = Trace(world), Trace(world)
    assert len(rings(world)) == 2
    killed.end(signal.SIGKILL)
    wait_for(lambda: len(rings(world)) == 1, 45)
    assert followers(world) == [other.process.pid]
    world.ask()
    other.wait("ended", 1)
    other.end()
    assert not rings(world) and not follows(world)["until_ns"]


@case(each=("--rate 0", "--rate x", "--rate 1000000"))
def test_usage(node, words):
    world = World(node, "lookup", servers=1)
    failed = world.side.pintle("trace", "pool", *words.split(), check=False)
    assert failed.returncode == 2 and "; " in failed.stderr, failed.stderr
