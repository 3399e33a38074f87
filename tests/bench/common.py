# SPDX-License-Identifier: Apache-2.0
"""What the questions of the benchmark stand on."""
import collections
import contextlib
import json
import socket
import statistics
import subprocess
import sys
from pathlib import Path

from kernel import BUILD, TOP, inside, wait_for

CONN = BUILD / "tests/bench/conn"
PAGE = TOP / "tests/data/pages/vllm-0.32.0-load.txt"
HTTP = BUILD / "tests/bench/http"
VIP = "10.77.0.1"
PLAIN = "10.78.0.1"


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def table(title, what, head, rows):
    out = [f"## {title}", "", what, "", "| " + " | ".join(head) + " |",
           "|" + "|".join("---" if i == 0 else "---:" for i in range(len(head))) + "|"]
    out += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(out) + "\n"


def ratio(values, bases):
    """The cells of HEAD, but for the way: what the rounds gave beside what the base gave in them."""
    r = [a / b for a, b in zip(values, bases)]
    q = statistics.quantiles(r, n=4) if len(r) > 1 else [r[0]] * 3
    return [f"{statistics.median(values):.1f}", f"{statistics.median(r):.3f}", f"{q[0]:.3f} - {q[2]:.3f}",
            f"{statistics.median(a - b for a, b in zip(values, bases)):+.1f}"]


def ratios(found, base="direct"):
    return [[name, *ratio(values, found[base])] for name, values in found.items()]


HEAD = ["way", "median us", "ratio to direct", "quartiles of the ratio", "added us"]


# -- what the kernel says of its programs ------------------------------------------


@contextlib.contextmanager
def bpf_stats():
    """The kernel measures its programs meanwhile."""
    knob = Path("/proc/sys/kernel/bpf_stats_enabled")
    old = knob.read_text()
    knob.write_text("1")
    try:
        yield
    finally:
        knob.write_text(old)


Stats = collections.namedtuple("Stats", "ns runs")


def program_stats(number):
    """What a program has run, while bpf_stats() was on."""
    prog = json.loads(subprocess.run(["bpftool", "-j", "prog", "show", "id", str(number)],
                                     capture_output=True, check=True).stdout)
    return Stats(prog.get("run_time_ns", 0), prog.get("run_cnt", 0))


def links(node):
    """{name: the program's id} of what is attached."""
    found = {}
    for pin in sorted(node.bpffs.glob("v*/link_*")):
        link = json.loads(node.run("bpftool", "-j", "link", "show", "pinned", pin).stdout)
        found[pin.name[len("link_"):]] = link["prog_id"]
    return found


# -- places --------------------------------------------------------------------------


class Bench:
    """A node with two namespaces: `plain`, which Pintle never touches, and `steered`."""

    def __init__(self, node):
        self.node = node
        self.plain = Path("/run/netns") / (node.id + "-plain")
        node.make_netns(self.plain)
        self.groups = {}
        for name in ("plain", "steered"):
            self.groups[name] = node.cgroup / name
            self.groups[name].mkdir()
        self.node.add_client()

    def netns(self, where):
        return self.plain if where == "plain" else self.node.netns

    def serve(self, where, port, count, page=PAGE):
        process = self.node.popen(
            ["sh", "-c", 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"', "sh", self.groups[where],
             CONN, "serve", port, count, page], netns=self.netns(where), log=f"serve-{where}-{port}.log")
        log = self.node.dir / f"serve-{where}-{port}.log"
        wait_for(lambda: "listening" in log.read_text(), 20, "servers to listen")
        return process

    def pintled(self, first_port, count, **more):
        endpoints = [{"name": f"e{i}", "listen": f"127.0.0.1:{first_port + i}"} for i in range(count)]
        pool = self.node.pool(endpoints, frontends=[f"{VIP}:8000"], stickiness={"key": "none"},
                              **{"scrape": {"interval": "1s", "timeout": "1s"}, **more})
        return self.node.daemon(self.node.config(pool, cgroup=str(self.groups["steered"])))

    def add_far(self):
        """A client's namespace for the untouched servers as well; their address there is PLAIN."""
        far = Path("/run/netns") / (self.node.id + "-far")
        self.node.make_netns(far)
        self.node.ip("link", "add", "veth1", "type", "veth", "peer", "name", "veth1", "netns", self.plain.name,
                     netns=far)
        for netns, address in ((far, "10.78.0.2/24"), (self.plain, f"{PLAIN}/24")):
            self.node.ip("link", "set", "veth1", "up", netns=netns)
            self.node.ip("addr", "add", address, "dev", "veth1", netns=netns)
        # As the node and its client have some, which makes the kernel look up the route back for each packet of a
        # connection that has no socket yet.
        for netns in (far, self.plain):
            self.node.ip("route", "add", "local", "198.19.0.0/16", "dev", "lo", netns=netns)
        return far

    def all_ready(self, daemon, count):
        wait_for(lambda: daemon.metric("pintle_pool_ready_endpoints", pool="pool") == count, 60,
                 "all endpoints to be ready")

    def measure(self, targets, rounds, count):
        """{name: [median of each round, in us]}"""
        return measure(self.node, "measure", rounds, count, [
            (name, netns, self.groups[group], address, port)
            for name, netns, group, address, port in targets])


def measure(node, how, rounds, count, targets, wrapper=(CONN,), more=()):
    """{name: [what each round gave]}. how: a way of conn.c, or of the program that the wrapper ends with, with
    `more` arguments; targets: (name, netns, cgroup, address, port)."""
    argv = [",".join(map(str, t)) for t in targets]
    found = collections.defaultdict(list)
    for line in node.run(*wrapper, how, rounds, count, *more, *argv, timeout=900).stdout.splitlines():
        name, value = line.split()
        found[name].append(float(value))
    return found


def wait_port(netns, port):
    def answers():
        with inside(netns):
            s = socket.socket()
        with s:
            s.settimeout(1)
            s.connect(("127.0.0.1", port))
            return True

    wait_for(answers, 10, f"port {port}")
