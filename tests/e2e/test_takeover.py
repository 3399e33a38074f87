# SPDX-License-Identifier: Apache-2.0
"""This pintled takes over what a pintled with other layouts of the maps has attached. Two such builds are made
from this tree by tests/variants: `before` has the number of the layout before, `beside` this one's."""
import contextlib
import json
import re
import signal
import threading
import time

import tc
from clients import FRONTEND, Workers
from harness import Skip, case
from kernel import BUILD, TOP, cgroup_root, wait_for
from pods import SERVICE, Cluster
from test_classes import is_refused

VARIANTS = TOP / "build/variants"
NUMBER = int(re.search(r"PINTLE_ABI_VERSION (\d+)", (TOP / "headers/pintle/abi.h").read_text())[1])
BEFORE, NOW = f"v{NUMBER - 1}", f"v{NUMBER}"
HINT_LEVEL, HINT_SESSION = 0x5054, 1
HINTED = "10.96.0.20:80"  # the frontend of a pool whose sessions are told by hints
PAUSE = 0.02  # between two connections, in cases that need the CPU for many starts
OFF, NAMED = "10.96.0.30:80", "10.96.0.40:80"


class Asked(Workers):
    """Clients that ask over and over: `asks` are [(ask, what it must return)]. `wrong` counts other answers."""

    def __init__(self, *asks, pause=0.0):
        self.stopping, self.pause = False, pause
        self.right = self.wrong = 0
        self.threads = [threading.Thread(target=self._work, args=a, daemon=True) for a in asks]

    def _work(self, ask, wanted):
        while not self.stopping:
            if ask() == wanted:
                self.right += 1
            else:
                self.wrong += 1
            time.sleep(self.pause)


class Upgrade:
    """One machine that the former pintled steers: a lookup pool with a route and filters of its
    own, a connect pool, one with hints, one that will be off, and one that one client alone may ask."""

    def __init__(self, node, former="before"):
        self.former = VARIANTS / former
        if not (self.former / "pintled").exists():
            raise Skip(f"no pintled of another layout: {self.former} (make variants)")
        self.dir = BEFORE if former == "before" else NOW
        self.node, self.cluster = node, Cluster(node)
        machine = self.cluster.machines[0]
        pods = self.cluster.servers(7)
        self.client, self.stranger = self.cluster.pod("client"), self.cluster.pod("stranger")
        self.machine = machine
        local = [machine.server(f"l{i}", 8001 + i) for i in range(3)]
        self.netns, self.bpffs = machine.netns, machine.bpffs
        known = {"cgroup": f"/{self.client.cgroup.relative_to(cgroup_root())}"}
        # While no pintled recounts, connections that ended unseen count on: no load makes a session leave its server.
        kept = {"maxExtraLoad": 10000}
        lookup = node.pool(local, "lookup", stickiness={"ttl": "300s", "group": "source", **kept},
                           requests="one-per-connection", access={"allow": [{"source": "127.1.0.0/16"}]})
        connect = self.cluster.pool(pods[:3], "connect", stickiness={"key": "client", **kept})
        hinted = self.cluster.pool(pods[3:5], "hinted", to=HINTED, stickiness={"key": "hint", **kept})
        off = self.cluster.pool(pods[5:6], "off", to=OFF)
        named = self.cluster.pool(pods[6:], "named", to=NAMED, access={"allow": [known]})
        self.config = self.cluster.config(lookup, connect, hinted, off, named)

    def start_former(self):
        self.daemon = self.cluster.daemon(self.config, binary=self.former / "pintled")
        wait_for(lambda: {e["state"] for e in self.former_cli("endpoints")} == {"ready"})
        return self.daemon

    def start(self, **more):
        self.daemon = self.cluster.daemon(self.config, **more)
        return self.daemon

    def former_cli(self, *words):
        return json.loads(self.node.run(self.former / "pintle", "--bpffs", self.bpffs, *words, "-o", "json").stdout)

    def versions(self):
        return sorted(p.name for p in self.bpffs.iterdir())

    # .. clients: in the pod, and in the machine's own namespace

    def hint(self, text):
        return (HINT_LEVEL, HINT_SESSION, text.encode())

    def answers(self, hints=4):
        """Who answers each session; asked again, the same ones must."""
        return [*(self.machine.ask(FRONTEND["v4"], f"127.1.0.{i}") for i in range(11, 19)),
                self.client.ask(SERVICE["v4"]),
                *(self.client.ask(HINTED, options=[self.hint(f"user-{i}")]) for i in range(hints))]

    @contextlib.contextmanager
    def held(self):
        """Connections that stay open: [(connection, who answers)]."""
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(self.client.connect(to, options=options))
                      for to, options in [(SERVICE["v4"], [])] * 4 + [(HINTED, [self.hint("user-0")])]]
            yield [(c, c.ask()) for c in opened]

    def curl(self, pod):
        """curl's exit status at the pool that only `client` may ask: 0 is an answer, 7 a refusal."""
        return pod.run("curl", "-sS", "-m9", f"http://{NAMED}/", check=False).returncode

    @contextlib.contextmanager
    def load(self, pause=0.0):
        """Short connections to the connect pool and to the lookup pool, none of which may fail; and clients that
        access names beside others, none of which may pass. Each client pauses so long between two connections."""
        stranger = Asked((lambda: is_refused(lambda: self.machine.ask(FRONTEND["v4"], "127.9.0.1")), True),
                         (lambda: self.curl(self.stranger), 7), (lambda: self.curl(self.client), 0), pause=pause)
        with self.client.load(SERVICE["v4"], workers=2, pause=pause) as pods, \
                self.machine.load(FRONTEND["v4"], workers=2, pause=pause) as local, stranger:
            yield lambda n: (pods.go_on(n), local.go_on(n))
        assert stranger.right and not stranger.wrong, vars(stranger)
        assert not pods.failures, (len(pods.failures), pods.failures[:3])
        assert not local.failures, (len(local.failures), local.failures[:3])

    def taken_over(self, in_flight):
        """All of it is of this layout, and every count was right when it was held against the
        sockets."""
        assert self.versions() == [NOW], self.versions()
        wait_for(lambda: sum(self.cluster.in_flight().values()) == in_flight, 20,
                 f"{in_flight} connections in flight")


# Alone: a server without processor time would look stopped, and its sessions would leave it.
@case(timeout=120, alone=True, each=("before stopped", "before killed", "beside stopped", "beside killed"))
def test_under_load(node, what):
    """No connection fails; bindings, overrides, counts and open connections are carried over."""
    which, how = what.split()
    up = Upgrade(node, which)
    former = up.start_former()
    former_cli = [up.former / "pintle", "--bpffs", up.bpffs]
    node.run(*former_cli, "drain", "connect/s2")
    node.run(*former_cli, "mode", "off", "off")
    node.run(*former_cli, "set", "lookup", "stickiness.ttl=100s")
    answers = up.answers()
    with up.held() as held, up.load() as go_on:
        go_on(100)
        opened = {e["name"]: e["opened"] for e in up.former_cli("endpoints")}
        former.stop() if how == "stopped" else former.kill()
        go_on(100)
        up.start()
        go_on(100)
        assert up.answers() == answers
        assert [c.ask() for c, _ in held] == [name for _, name in held]
        asked = [up.client.ask(HINTED, options=[up.hint("user-1")]) for _ in range(8)]
        assert len(set(asked)) == 1, asked
    up.taken_over(0)
    # What the copy missed is no drift.
    assert up.daemon.metric("pintle_in_flight_drift_total") == 0, up.daemon.log()
    assert up.cluster.endpoint("s2")["drained"] and not up.cluster.endpoint("s1")["drained"]
    assert {p["name"]: p["mode"] for p in up.cluster.cli("pools")} == {
        "lookup": "enforce", "connect": "enforce", "hinted": "enforce", "off": "off", "named": "enforce"}
    assert "100s" in up.cluster.pintle("diff", check=False).stdout  # 1: there are differences
    for e in up.cluster.cli("endpoints"):
        assert e["opened"] >= opened[e["name"]], e
    assert f"took over pins of layout {up.dir[1:]}" in up.daemon.log()
    # What was added to the machine is known to be ours: it goes.
    up.daemon.stop()
    up.cluster.detach()
    assert "pintle" not in node.run("ip", "route", "show", "table", "local", netns=up.netns).stdout
    assert tc.attached(node, up.netns, "pintle") == {} and tc.clsacts(node, up.netns) == set()


class Killer:
    """Starts of this pintled that are killed by killat.c, which writes the letters of each start."""

    def __init__(self, node, up):
        self.up, self.log = up, node.dir / "steps"
        self.library = node.dir / "killat.so"
        node.run("cc", "-shared", "-fPIC", "-O2", "-o", self.library, TOP / "tests/e2e/killat.c", "-ldl")

    def letters(self, **more):
        """The letters of a start: of a whole one up to where it is ready, unless it is killed at a letter."""
        self.log.unlink(missing_ok=True)
        started = self.up.start(env={"LD_PRELOAD": str(self.library), "KILL_LOG": str(self.log), **more}, wait=not more)
        if more:
            assert started.process.wait(60) == -signal.SIGKILL, (more, started.log())
            started.stopped = True
        return self.log.read_text()

    def kill(self, at):
        return self.letters(KILL_AT=at)


class Steps:
    """How many steps of each kind a whole takeover takes: walks that read what the maps mean; staging pins, the copy,
    the rename; walks; links, u and m in turn, and devices' links, m alone; then walks, programs once more, and pins are
    removed."""

    def __init__(self, letters):
        staged = re.match(r"[ri]*(p+)i*m", letters)
        moved = staged and re.compile(r"i*((?:um)+)(m*)").match(letters, staged.end())
        removed = moved and re.compile(r"i+u*i*(r+)").match(letters, moved.end())
        assert removed, letters
        self.pins, self.removals = len(staged[1]), len(removed[1])
        self.links, self.devices = len(moved[1]) // 2, len(moved[2])


@case(timeout=400, san=False)
def test_killed_after_each_step(node):
    """Each start is killed right after one step more than the last, and the next begins again or goes on:
    nothing is lost."""
    up = Upgrade(node)
    killer = Killer(node, up)
    up.start_former().kill()
    steps = Steps(killer.letters())
    up.daemon.stop()
    up.cluster.detach()

    up.start_former().kill()
    answers = up.answers()
    with up.held() as held, up.load(PAUSE) as go_on:

        def killed(at):
            letters = killer.kill(at)
            go_on(10)
            # This program keeps hints where the former connect program does not look.
            now = up.answers(hints=0)
            assert now == answers[:len(now)], (at, now)
            assert [c.ask() for c, _ in held] == [name for _, name in held], at
            assert is_refused(lambda: up.machine.ask(FRONTEND["v4"], "127.9.0.1")) and up.curl(up.stranger) == 7, at
            return letters

        for pins in (2, steps.pins // 2, steps.pins):
            killed(f"p{pins}")
        assert re.search("pi*m$", killed("m1"))
        # A start that goes on puts its programs into the links that were moved, once more.
        for link in range(steps.links):
            killed(f"u{link + 1}")
            assert killed("m1").endswith("u" * (link + 1) + "m")
        for _ in range(steps.devices):
            letters = killed("m1")
        killed(f"i{letters.count('i') + 1}")  # the first walk after the links
        for n in (1, 1, steps.removals - 3, 1):
            letters = killed(f"r{n}")
            assert letters.endswith("r" * n), letters
        up.start()
        go_on(10)
        assert up.answers() == answers
        up.taken_over(len(held))


@case(timeout=300, san=False)
def test_goes_on_from_a_step(node):
    """One start does all that one which was killed had left."""
    up = Upgrade(node)
    killer = Killer(node, up)
    for at in ("p2", "u1", "m5", "r2"):
        up.start_former().kill()
        answers = up.answers()
        with up.held() as held:
            with up.load(PAUSE) as go_on:
                killer.kill(at)
                go_on(10)
                up.start()
                go_on(10)
                now = up.answers()
                assert now == answers, (at, now)
                assert [c.ask() for c, _ in held] == [name for _, name in held], at
            up.taken_over(5)
        up.daemon.stop()
        up.cluster.detach()


def test_an_ended_connection_is_not_counted_on(node):
    """What a client's socket has counted ends with it, whichever layout's programs began it."""
    up = Upgrade(node)
    up.start_former().kill()
    made = [up.client.connect(SERVICE["v4"]) for _ in range(3)]
    for c in made:
        c.ask()
    up.start()
    up.taken_over(3)
    made[0].reset()
    up.taken_over(2)
    made[1].close()
    up.taken_over(1)
    made[2].half_close()
    made[2].close()
    up.taken_over(0)


def test_a_downgrade_is_refused(node):
    """The former pintled leaves pins of this layout alone, and its CLI says so."""
    up = Upgrade(node)
    up.start()
    up.daemon.stop()
    path = node.write("former.yaml", up.config)
    for command in ([up.former / "pintled", "--config", path], [up.former / "pintle", "--bpffs", up.bpffs, "status"]):
        result = node.run(*command, netns=up.netns, check=False)
        assert result.returncode == 1 and str(NUMBER) in result.stderr and "--detach" in result.stderr, result
    assert up.versions() == [NOW]
    assert up.client.ask(SERVICE["v4"]).startswith("s")


def test_the_cli_says_who_takes_over(node):
    """Over pins of the former layout this CLI names the cure."""
    up = Upgrade(node)
    up.start_former()
    result = up.cluster.pintle("status", check=False)
    assert result.returncode == 1 and "takes them over" in result.stderr, result.stderr
    assert "takes them over" in up.cluster.pintle("doctor", check=False).stdout


@case(alone=True)  # as under load
def test_a_map_that_is_missing(node):
    """A map whose pin was removed is found by the former programs; one that none uses is not, and what
    steers is left alone."""
    up = Upgrade(node)
    up.start_former().kill()
    answers = up.answers()
    for pin in ("affinity", "connects", "node"):
        (up.bpffs / BEFORE / pin).unlink()
    with up.held() as held, up.load() as go_on:
        up.start()
        assert f"{BEFORE}/affinity was missing; found again" in up.daemon.log()
        go_on(20)
        assert up.answers() == answers
        assert [c.ask() for c, _ in held] == [name for _, name in held]
    up.taken_over(0)
    up.daemon.stop()
    up.cluster.detach()
    up.start_former().kill()
    (up.bpffs / BEFORE / "names").unlink()
    result = node.run(BUILD / "pintled", "--config", node.write("c.yaml", up.config), netns=up.netns, check=False)
    assert result.returncode == 1 and "still steer; remove them first" in result.stderr, result
    assert up.versions() == [BEFORE] and up.client.ask(SERVICE["v4"]).startswith("s")


def test_the_former_daemon_runs(node):
    """Beside a former pintled that still runs this one does not start, and names it."""
    up = Upgrade(node)
    former = up.start_former()
    result = node.run(BUILD / "pintled", "--config", node.write("c.yaml", up.config), netns=up.netns, check=False)
    assert result.returncode == 1 and f"another pintled (PID {former.pid})" in result.stderr, result
    assert "holds maps of version" not in result.stderr, result
    assert up.versions() == [BEFORE]


def test_a_start_that_fails_changes_nothing(node):
    """A start that fails before it attaches leaves the former layout as it steers."""
    up = Upgrade(node)
    up.start_former().kill()
    config = up.config.replace("127.0.0.1:9464", "203.0.113.1:9464", 1)
    result = node.run(BUILD / "pintled", "--config", node.write("bad.yaml", config), netns=up.netns, check=False)
    assert result.returncode == 1, result
    assert up.versions() == [BEFORE], up.versions()
    assert up.client.ask(SERVICE["v4"]).startswith("s")
    up.start()
    up.taken_over(0)
