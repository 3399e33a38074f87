# SPDX-License-Identifier: Apache-2.0
"""Questions about following requests: what it costs a connection, steered or not."""
import collections
import contextlib
import json
import os
import re
import time
from pathlib import Path

from common import CONN, HEAD, PAGE, VIP, bpf_stats, links, measure, program_stats, ratio, table
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster

PORTS = range(9001, 9009)
UNRELATED, OTHERS = PORTS[-1] + 1, PORTS[-1] + 2  # servers: no endpoint's, and another pool's
FRONTENDS = {"lookup": f"{VIP}:8000", "connect": SERVICE["v4"]}
# A client that shares its CPU with its server waits for nothing but work.
ONE_CPU = ["taskset", "-c", max(os.sched_getaffinity(0))]


class Site:
    """A machine with servers of its own, over loopback or (for the connect hook) in a pod, and a pintled
    with a pool for each of the hooks, or no pintled (binary None). Ways lead to the first hook's pool."""

    def __init__(self, machine, binary, *hooks):
        self.node, self.machine, self.hook = machine.node, machine, hooks[0]
        self.group = machine.cgroup / "clients"
        self.group.mkdir()
        self.client, servers = self, machine
        self.serve(machine, UNRELATED, 2)
        if self.hook == "connect":
            servers, self.client = machine.pod("servers"), machine.pod("client")
        self.server = getattr(servers, "v4", "127.0.0.1")
        self.serve(servers, PORTS[0], len(PORTS))
        self.daemon = binary and machine.daemon(machine.config(*self.pools(hooks), metricsDetail=None), binary=binary)
        if self.daemon:
            wait_for(lambda: self.daemon.metric("pintle_pool_ready_endpoints", pool="pool") == len(PORTS), 60,
                     "all endpoints to be ready")

    def serve(self, place, port, count):
        log = f"serve-{self.machine.name}-{port}.log"
        place.popen([*ONE_CPU, CONN, "serve", port, count, PAGE], log=log)
        wait_for(lambda: "listening" in (self.node.dir / log).read_text(), 20, "servers to listen")

    def pool(self, hook, server, ports, **more):
        endpoints = [{"name": f"{hook}-{port}", {"lookup": "listen", "connect": "address"}[hook]: f"{server}:{port}"}
                     for port in ports]
        pool = self.node.pool(endpoints, **{
            "frontends": [FRONTENDS[hook]], "stickiness": {"key": "none"},
            "scrape": {"interval": "5s", "timeout": "5s"}, "saturation": {"staleness": "60s"}, **more})
        if hook == "connect":
            del pool["announce"]
        return pool

    def pools(self, hooks):
        yield self.pool(hooks[0], self.server, PORTS)
        for hook in hooks[1:]:
            yield self.pool(hook, "127.0.0.1", [OTHERS], name="other")

    def follow(self, on):
        self.machine.pintle("set", "pool", f"follow={'true' if on else 'false'}")
        wait_for(lambda: on == all(e["requests_waiting"] is not None for e in self.machine.cli("endpoints")))

    # .. targets of conn.c, but for their names

    def steered(self):
        return *self._from(self.client), *FRONTENDS[self.hook].split(":")

    def direct(self):
        return *self._from(self.client), self.server, PORTS[0]

    def unrelated(self):
        return self.machine.netns, self.group, "127.0.0.1", UNRELATED

    def _from(self, client):
        return (self.machine.netns, self.group) if client is self else (client.netns, client.cgroup)


def sites_of(node):
    now = BUILD / "pintled"
    wanted = {"plain": (None, "lookup"), "plain pods": (None, "connect"), "again": (None, "lookup"),
              "lookup": (now, "lookup"), "connect": (now, "connect"), "both": (now, "lookup", "connect")}
    return {name: Site(machine, *what)
            for (name, what), machine in zip(wanted.items(), Cluster(node, len(wanted)).machines)}


# A way is compared with the first of its group.
Way = collections.namedtuple("Way", "group name site target")


def ways_of(sites, on):
    followed = f"follow: {'true' if on else 'false'}"
    plain, pods, again = sites["plain"], sites["plain pods"], sites["again"]
    ways = [Way("loopback", "direct", plain, plain.direct()), Way("pods", "direct", pods, pods.direct()),
            Way("unrelated", "no Pintle", plain, plain.unrelated()),
            Way("unrelated", "no Pintle, again", again, again.unrelated())]
    for hook, group in (("lookup", "loopback"), ("connect", "pods")):
        ways.append(Way(group, f"{hook} hook, {followed}", sites[hook], sites[hook].steered()))
    return ways + [Way("unrelated", what, sites[name], sites[name].unrelated()) for name, what in
                   (("lookup", "a lookup pool"), ("connect", "a connect pool"), ("both", "one of each"))]


def run_ways(node, ways, rounds, count):
    """{(group, name): [what each round gave]}"""
    found = measure(node, "measure", rounds, count, [(n, *way.target) for n, way in enumerate(ways)], (*ONE_CPU, CONN))
    return {(way.group, way.name): found[str(n)] for n, way in enumerate(ways)}


def times(node, sites, quick):
    """{(group, name): ([us of each round], [us of its group's first way in that round])}"""
    found = collections.defaultdict(lambda: ([], []))
    for block in range(2 if quick else 8):
        for on in (block % 2 == 1, block % 2 == 0):
            for hook in ("lookup", "connect"):
                sites[hook].follow(on)
            ran = run_ways(node, ways_of(sites, on), 4 if quick else 16, 200)
            bases = {}
            for (group, name), us in ran.items():
                found[group, name][0].extend(us)
                found[group, name][1].extend(bases.setdefault(group, us))
    return found


def program_costs(node, way, count):
    """[ns a connection in all programs, what each of them ran]"""
    programs = links(way.site.machine)
    before = {name: program_stats(number) for name, number in programs.items()}
    run_ways(node, [way], 1, count)
    ran = {}
    for name, number in programs.items():
        after = program_stats(number)
        ran[name] = (after.ns - before[name].ns) / count, (after.runs - before[name].runs) / count
    return [f"{sum(ns for ns, _ in ran.values()):.0f}",
            ", ".join(f"{name} {runs:.1f} x {ns / runs:.0f}" for name, (ns, runs) in ran.items() if runs > 0.05)]


def follow(node, quick):
    sites = sites_of(node)
    groups = ["loopback", "pods", "unrelated"]
    rows = [[f"{group}: {name}", *ratio(*values)] for (group, name), values in
            sorted(times(node, sites, quick).items(), key=lambda item: groups.index(item[0][0]))]
    ways = {}
    costs = []
    for on in (False, True):
        for hook in ("lookup", "connect"):
            sites[hook].follow(on)
        ways |= {(w.group, w.name): (on, w) for w in ways_of(sites, on) if w.site.daemon}
    with bpf_stats():
        for on in (False, True):
            for hook in ("lookup", "connect"):
                sites[hook].follow(on)
            costs += [[f"{w.group}: {w.name}", *program_costs(node, w, 500 if quick else 5000)]
                      for when, w in ways.values() if when == on]
    return "\n".join([
        table("Requests that are followed",
              "Connect and first byte with a pool's requests followed and not, in one run; client and servers share "
              "one CPU. `unrelated`: a server and a "
              "client that no pool concerns, in a namespace and cgroup that pintled steers; `again` is a second "
              "machine without Pintle. Goal: with `follow: true` at most 0.02 more than with `follow: false`.", HEAD, rows),
        table("What the programs take of a connection",
              "Runs of each program for one of these connections, and their time (bpf_stats, which itself adds to "
              "each run).",
              ["way", "ns a connection", "runs x ns of each program"], costs)])


# -- the pass --------------------------------------------------------------------------


TOKEN_BYTES = 200  # of conn.c
# What connections do, and what then must be true of all of them.
STATES = {"idle": ("echo", "connections_idle"), "waiting": ("silence", "requests_waiting"),
          "50 tokens/s each": ("50", "requests_answering"), "2 tokens/s each": ("2", "requests_answering")}
LOADS = [(10, "idle"), (10, "50 tokens/s each"), (1000, "idle"), (1000, "waiting"), (1000, "50 tokens/s each"),
         (10000, "idle"), (10000, "waiting"), (10000, "2 tokens/s each")]


def iterators(pid):
    """The programs of the iterators that a process keeps open."""
    found = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            text = path.read_text()
            if "link_type:\titer" in text:
                found.append(int(re.search(r"prog_id:\s+(\d+)", text)[1]))
    return found


class Held:
    """Connections that all do the same; a context manager that closes them."""

    def __init__(self, site, count, state):
        self.site, self.count = site, count
        self.word, self.key = STATES[state]

    def __enter__(self):
        netns, group, address, port = self.site.steered()
        self.log = self.site.node.dir / f"hold-{self.site.machine.name}.log"
        self.log.write_text("")
        self.process = self.site.node.popen([CONN, "hold", self.count, address, port, self.word], netns=netns,
                                            cgroup=group, log=self.log.name)
        wait_for(lambda: self.sum(self.key) == self.count, 60, f"{self.count} x {self.key}")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        wait_for(lambda: self.sum("in_flight") == 0, 60, "no connection to be left")

    def sum(self, key):
        return sum(e[key] for e in self.site.machine.cli("endpoints"))

    def tokens(self):
        return int(self.log.read_text().split()[-1]) / TOKEN_BYTES


def passes_of(held, seconds):
    """Seconds between the first and the last pass, passes, and their CPU time in seconds."""
    works = next(held.site.machine.bpffs.glob("v*/works"))

    def now():
        page = {name: value for (name, _), value in held.site.daemon.metrics().items()}
        work = held.site.node.run("bpftool", "-j", "map", "lookup", "pinned", works, "key", 0, 0, 0, 0).stdout
        return (json.loads(work)["formatted"]["value"]["passed_ns"] / 1e9, page["pintle_passes_total"],
                page["pintle_pass_cpu_seconds_total"])

    before = now()
    time.sleep(seconds)
    return (b - a for a, b in zip(before, now()))


def programs_of(held, seconds):
    """ns of the iterators for a socket, runs of all attached programs, and tokens that the servers sent."""
    walked, attached = iterators(held.site.daemon.pid), links(held.site.machine).values()

    def now():
        ran = [program_stats(number) for number in walked]
        return (sum(s.ns for s in ran), sum(s.runs for s in ran),
                sum(program_stats(number).runs for number in attached), held.tokens())

    before = now()
    time.sleep(seconds)
    ns, runs, others, tokens = (b - a for a, b in zip(before, now()))
    return ns / runs, others, tokens


def pass_row(site, hook, count, state, quick):
    with Held(site, count, state) as held:
        time.sleep(1)  # until a period is as long as the pass of so many connections makes it
        seconds, passes, cpu = passes_of(held, 1 if quick else 4)
        with bpf_stats():
            ns, runs, tokens = programs_of(held, 2 if quick else 5)
    return [f"{hook}: {count:,}, {state}", f"{1e6 * cpu / passes:,.0f}", f"{ns:.0f}", f"{1e3 * seconds / passes:.0f}",
            f"{100 * cpu / seconds:.2f}", f"{tokens:,.0f}", f"{runs:,.0f}"]


def cost_of_pass(node, quick):
    rows = []
    for hook, machine in zip(("lookup", "connect"), Cluster(node, 2).machines):
        site = Site(machine, BUILD / "pintled", hook)
        loads = LOADS if hook == "lookup" else [load for load in LOADS if load[0] > 10 and load[1] != "waiting"]
        rows += [pass_row(site, hook, *load, quick) for load in (loads[:3] if quick else loads)]
    return table("A pass over the connections",
                 "CPU time of pintled's thread, the iterators' time for a socket (bpf_stats), and the period. "
                 "`tokens` were sent by the servers in 5 s; `runs` counts runs of any attached program meanwhile. "
                 "Goal: at most 2 % of a core, and nothing for a token.",
                 ["hook: connections", "us of CPU a pass", "ns a socket", "period ms", "% of a core", "tokens", "runs"],
                 rows)
