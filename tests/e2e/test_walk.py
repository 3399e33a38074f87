# SPDX-License-Identifier: Apache-2.0
"""A random walk through what can happen to connections at the three hooks, with daemons that are killed, pools
and endpoints that come and go, and settings that change: at pauses all counts equal what the walk knows."""
import collections
import json
import os
import random
import socket

from clients import FRONTEND, is_v6, split
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster, service
from test_follow import request

# A walk of PINTLE_WALK steps from seed PINTLE_WALK_SEED; the test's own are short.
STEPS = int(os.environ.get("PINTLE_WALK", "60"))
SEED = os.environ.get("PINTLE_WALK_SEED")
HOOKS = {"lookup": "l", "connect": "s", "hand-off": "h"}  # how the names of their servers begin
BY_REQUEST = service(20)["v4"]
SHORT, LARGE = 200, 5000  # bytes of a request
AF_UNSPEC = socket.AF_UNSPEC.to_bytes(2, "little") + bytes(14)


class Held:
    """An open connection, and what is to be known of it."""

    def __init__(self, connection, hook, client=None):
        self.connection, self.hook, self.client = connection, hook, client
        self.endpoint = None  # (name, incarnation); None: not counted at any endpoint of the configuration
        self.waits = 0        # bytes of the request that waits
        self.left = False     # the client has closed it; the server has not


class Begun:
    """A connection whose request has come in part, so that the hand-off holds it."""

    def __init__(self, held, rest, pool):
        self.held, self.rest = held, rest
        self.pool = pool  # its incarnation


class Walk:
    def __init__(self, node, seed):
        self.node, self.rng, self.seed = node, random.Random(seed), seed
        self.cluster = Cluster(node)
        self.machine = self.cluster.machines[0]
        self.clients = [self.machine.pod(f"client{i}") for i in range(2)]
        for family in ("v4", "v6"):
            host = split(FRONTEND[family])[0]
            self.machine.batch(f"addr add {host}/{128 if is_v6(host) else 32} dev lo{' nodad' if is_v6(host) else ''}")
        self.machine.batch(f"addr add {split(BY_REQUEST)[0]}/32 dev lo")
        self.servers = {f"{name}{i}": self.machine.server(f"{name}{i}", port + i)
                        for name, port in (("l", 8001), ("h", 8011)) for i in range(3)}
        self.pods = self.cluster.servers(3)
        self.servers.update({p.name: p.model for p in self.pods})
        self.pools = {hook: True for hook in HOOKS}
        self.follow = {hook: True for hook in HOOKS}
        self.key = "source"
        self.there = {name: 1 for name in self.servers}  # incarnation; 0: not configured
        self.made = dict(self.there)
        self.held, self.begun, self.said = [], [], []
        self.by_request = 0  # incarnation of the hand-off's pool; it begins anew where its mode has been off
        self.off = False     # that is off
        self.daemon = self.cluster.daemon(self.config())
        self.ready()

    # -- what is configured ------------------------------------------------------

    def names(self, hook):
        return [n for n in self.servers if n.startswith(HOOKS[hook])]

    def config(self):
        pools = []
        if self.pools["lookup"]:
            pools.append(self.node.pool(
                [self.servers[n] for n in self.names("lookup") if self.there[n]], "lookup", announce=False,
                stickiness={"key": self.key, "maxExtraLoad": 1000}, follow=self.follow["lookup"]))
        if self.pools["connect"]:
            pools.append(self.cluster.pool(
                [p for p in self.pods if self.there[p.name]], "connect",
                frontends=[SERVICE["v4"]], stickiness={"key": "client", "maxExtraLoad": 1000},
                follow=self.follow["connect"], ejection={"failures": 0}))
        if self.pools["hand-off"]:
            pools.append(self.node.pool(
                [self.servers[n] for n in self.names("hand-off") if self.there[n]], "hand-off", announce=False,
                frontends=[BY_REQUEST], decide="request", follow=self.follow["hand-off"],
                stickiness={"key": "header/x-session-id, source", "maxExtraLoad": 1000}))
        return self.cluster.config(*pools)

    def reload(self):
        self.daemon.config.write_text(self.config())
        wait_for(lambda: self.cluster.pintle("reload", check=False).returncode == 0, 60)
        self.ready()

    def ready(self):
        def all_ready():
            rows = self.cluster.cli("endpoints")
            states = {e["name"]: e["state"] for e in rows}
            assert set(states.values()) <= {"ready", "stalled"}, states
            return True
        wait_for(all_ready, 20)

    def renew(self, names, there):
        """These endpoints come, or go: connections to those that went are counted at none that is configured."""
        for n in names:
            if there:
                self.made[n] += 1
            self.there[n] = self.made[n] if there else 0
        for h in self.held:
            if h.endpoint and self.there[h.endpoint[0]] != h.endpoint[1]:
                h.endpoint = None

    # -- steps ---------------------------------------------------------------------

    def connect(self, hook):
        if hook == "lookup":
            return Held(self.machine.connect(FRONTEND["v4"], f"127.1.0.{self.rng.randrange(1, 4)}"), hook)
        client = self.rng.choice(self.clients)
        return Held(client.connect(BY_REQUEST if hook == "hand-off" else SERVICE["v4"]), hook, client)

    def first(self, hook):
        return request("/", SHORT, f"X-Session-Id: {self.rng.randrange(3)}\r\n" if hook == "hand-off" else "")

    def opened(self, h):
        """The first answer comes."""
        body = h.connection.read()
        self.ask(h)
        assert self.there[body], body
        h.endpoint, h.server = (body, self.there[body]), body
        self.held.append(h)

    def is_by_request(self):
        return self.pools["hand-off"] and not self.off

    def serving(self):
        """A hook that takes connections; "": there is none."""
        return self.rng.choice([h for h in HOOKS if self.pools[h] and (h != "hand-off" or self.is_by_request())] or [""])

    def step_open(self):
        hook = self.serving()
        for _ in range(self.rng.randrange(1, 5) if hook else 0):
            h = self.connect(hook)
            h.connection.sock.sendall(self.first(hook))
            self.opened(h)

    def step_begin(self):
        """Headers that do not end yet."""
        if not self.is_by_request():
            return
        for _ in range(self.rng.randrange(1, 4)):
            h, whole = self.connect("hand-off"), self.first("hand-off")
            cut = self.rng.randrange(1, len(whole))
            h.connection.sock.sendall(whole[:cut])
            self.begun.append(Begun(h, whole[cut:], self.by_request))

    def finish(self, many):
        for b in many:
            self.begun.remove(b)
            try:
                b.held.connection.sock.sendall(b.rest)
                self.opened(b.held)
            except OSError:  # the pool was gone, or off, in between
                assert b.pool != self.by_request, self.recent()
                b.held.connection.close()

    def step_finish(self):
        self.finish(self.rng.sample(self.begun, self.rng.randrange(len(self.begun) + 1)))

    def step_abandon(self):
        for b in self.rng.sample(self.begun, self.rng.randrange(len(self.begun) + 1)):
            self.begun.remove(b)
            if self.rng.randrange(2):
                b.held.connection.reset()
            else:
                b.held.connection.close()

    def ask(self, h, count=1):
        """Asks so many times at once. A shorter answer might be a head."""
        h.connection.sock.sendall(request("/bytes/3000", SHORT) * count)
        for _ in range(count):
            h.connection.read()

    def some(self, rule=lambda h: True):
        found = [h for h in self.held if not h.left and rule(h)]
        return self.rng.sample(found, self.rng.randrange(1, min(len(found), 4) + 1)) if found else []

    def step_ask(self):
        for h in self.some(lambda h: not h.waits):
            self.ask(h, self.rng.randrange(1, 3))

    def step_hold(self):
        for h in self.some(lambda h: not h.waits):
            size = self.rng.choice((SHORT, LARGE))
            server = self.servers[h.server]
            self.passed()  # or what was asked and answered a moment ago would count as a part of it
            before = server.counts().requests
            h.connection.sock.sendall(request("/hold", size))
            wait_for(lambda: server.counts().requests > before)
            h.waits = size
            # How much of what came since the last pass is this request, is known only to passes.
            h.exact = self.follow[h.hook] and self.daemon.process.poll() is None

    def passed(self):
        if self.daemon.process.poll() is None and any(self.follow[h] for h in HOOKS if self.pools[h]):
            before = self.daemon.metric("pintle_passes_total")
            wait_for(lambda: self.daemon.metric("pintle_passes_total") >= before + 2)

    def step_release(self, name=None):
        name = name or self.rng.choice(list(self.servers))
        waiting = [h for h in self.held if h.waits and h.server == name]
        self.servers[name].release()
        self.gone([h for h in waiting if h.left])
        for h in waiting:
            if h.left:
                continue
            assert h.connection.read() == name
            h.waits = 0
            self.ask(h)

    def gone(self, many):
        for h in many:
            self.held.remove(h)

    def step_close(self):
        many = self.some()
        for h in many:
            h.connection.close()
            # The request of a client that has gone is still computed.
            h.left = h.hook != "connect" and h.waits
        self.gone([h for h in many if not h.left])

    def step_reset(self):
        many = self.some()
        for h in many:
            h.connection.reset()
        self.gone(many)

    def step_half_close(self):
        many = self.some(lambda h: not h.waits)
        for h in many:
            h.connection.half_close()
            assert h.connection.sock.recv(1) == b""
            h.connection.close()
        self.gone(many)

    def step_disconnect(self):
        """connect(AF_UNSPEC), and another connect() of the same socket."""
        many = self.some(lambda h: h.hook == "connect")
        for h in many:
            libc_connect(h.connection.sock, AF_UNSPEC)
            h.connection.close()
        self.gone(many)

    def step_destroy(self):
        many = self.some()
        for h in many:
            netns = (h.client or self.machine).netns
            host, port = h.connection.sock.getsockname()
            self.node.run("ss", "-K", "src", host, "sport", "=", f":{port}", netns=netns)
            h.connection.close()
        self.gone(many)

    def step_fork(self):
        """A descriptor more, in another process or not, keeps the connection."""
        for h in self.some():
            copy = h.connection.sock.dup()
            h.connection.sock.close()
            h.connection.sock = copy

    def step_kill_server(self):
        name = self.rng.choice([n for n in self.servers if self.there[n]])
        many = [h for h in self.held if h.server == name]
        self.servers[name].kill()
        for h in many:
            h.connection.close()
        self.gone(many)
        self.servers[name].start()

    def step_kill_daemon(self):
        self.daemon.kill()
        for _ in range(self.rng.randrange(4)):
            self.step(CONNECTIONS)
        self.daemon = self.cluster.daemon(self.config())
        self.ready()

    def step_pool(self):
        there = [h for h in HOOKS if self.pools[h]]
        hook = self.rng.choice([h for h in HOOKS if there != [h]])  # one stays
        if hook == "hand-off":
            if self.off:
                self.step_mode()
            self.by_request += 1
        self.pools[hook] = not self.pools[hook]
        self.renew([n for n in self.names(hook)], self.pools[hook])
        self.reload()

    def step_endpoint(self):
        hook = self.rng.choice([h for h in HOOKS if self.pools[h]])
        names = self.names(hook)
        absent = [n for n in names if not self.there[n]]
        if absent:
            self.renew(absent, True)
        else:
            self.renew([self.rng.choice(names)], False)
        self.reload()

    def step_mode(self):
        """In mode off the frontend is the machine's own, where nobody listens."""
        if self.pools["hand-off"]:
            self.off = not self.off
            self.by_request += 1
            self.cluster.pintle("mode", "hand-off", "off" if self.off else "enforce")

    def step_follow(self):
        hook = self.rng.choice(list(HOOKS))
        self.follow[hook] = not self.follow[hook]
        self.reload()

    def step_key(self):
        self.key = "destination" if self.key == "source" else "source"
        self.reload()

    def step(self, steps):
        name = self.rng.choices(list(steps), list(steps.values()))[0]
        self.said.append(name)
        getattr(self, "step_" + name)()

    # -- pauses ---------------------------------------------------------------------

    def compare(self):
        self.finish(list(self.begun))
        expected = collections.defaultdict(collections.Counter)
        for h in self.held:
            if not h.endpoint:
                continue
            e = expected[h.endpoint[0]]
            e["in_flight"] += 1
            e["requests_waiting"] += bool(h.waits)
            e["requests_waiting_bytes"] += h.waits
            e["exact"] -= bool(h.waits) and not h.exact
            e["connections_idle"] += not h.waits

        def agree():
            for row in self.cluster.cli("endpoints"):
                want = expected[row["name"]]
                keys = ["in_flight", "pending"]
                if self.follow[row["pool"]]:
                    keys += ["requests_waiting", "connections_idle", "connections_unseen",
                             "requests_answering", "requests_headed"]
                    keys += [] if want["exact"] else ["requests_waiting_bytes"]
                for key in keys:
                    assert row[key] == want[key], (row["name"], key, row[key], want[key], self.recent())
            return True
        wait_for(agree, 30)
        self.no_drift()

    def no_drift(self, reconciled=False):
        if reconciled:
            def age():
                return self.cluster.cli("status")[0]["reconciled_age_seconds"]
            now = age()
            wait_for(lambda: age() < now, 30)
        drift = self.daemon.metric("pintle_in_flight_drift_total")
        assert drift == 0, (drift, self.recent())

    def recent(self):
        return f"seed {self.seed}, step {len(self.said)}: {' '.join(self.said[-12:])}"

    def sessions(self):
        """What bindings have open: [(open, idle)]"""
        pin = next(self.cluster.bpffs.rglob("affinity"))
        out = self.node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout
        self.dump = [e["formatted"] for e in json.loads(out)]
        return [(e["formatted"]["value"]["open"], e["formatted"]["value"]["idle"]) for e in json.loads(out)]

    def end(self):
        self.finish(list(self.begun))
        for name in self.servers:
            self.step_release(name)
        for h in self.held:
            h.connection.close()
        self.held = []
        self.compare()
        try:
            wait_for(lambda: set(self.sessions()) <= {(0, 0)}, what=f"no session open: {self.recent()}")
        except AssertionError:
            print(*self.dump, sep="\n")
            print(self.said)
            raise
        self.no_drift(reconciled=True)


def libc_connect(sock, address):
    from kernel import check, libc
    check(libc.connect(sock.fileno(), address, len(address)), "connect")


CONNECTIONS = {"open": 10, "begin": 5, "finish": 4, "abandon": 1, "ask": 5, "hold": 5, "release": 3, "close": 2, "reset": 2,
               "half_close": 1, "disconnect": 1, "destroy": 1, "fork": 1, "kill_server": 0.5, "mode": 1}
ALL = {**CONNECTIONS, "kill_daemon": 1.5, "pool": 2, "endpoint": 2, "follow": 1.5, "key": 1}


@case(timeout=300 + 10 * STEPS, san=False, each=(int(SEED),) if SEED else (1, 3, 6))
def test_walk(node, seed):
    walk = Walk(node, seed)
    for i in range(STEPS):
        walk.step(ALL)
        if i % 6 == 5:
            walk.compare()
        if i % 30 == 29:
            walk.end()
