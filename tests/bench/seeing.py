# SPDX-License-Identifier: Apache-2.0
"""Questions about what shows the traffic: histograms, `pintle top`, `pintle trace`, the history."""
import contextlib
import statistics
import time
from pathlib import Path

from common import CONN, Bench, VIP, bpf_stats, links, program_stats, table
from follow import Held, Site, iterators
from harness import Node
from kernel import BUILD, wait_for
from pods import Cluster
from terminal import Terminal

STREAMS, RATE = 1000, 100  # connections that answer all the while; new ones a second
SCRAPE = 5  # seconds between two looks at /metrics


def cpu_ns(pid):
    """What a process has used of a CPU, all its threads."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


@contextlib.contextmanager
def pace(site):
    """Short connections at RATE a second."""
    netns, group, address, port = site.steered()
    process = site.node.popen([CONN, "pace", RATE, address, port], netns=netns, cgroup=group, log="pace.log")
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def viewers(site):
    """{name: pid} of `pintle top` on a terminal and `pintle trace`."""
    trace = site.machine.popen([BUILD / "pintle", "--bpffs", site.machine.bpffs, "trace", "pool", "--rate", RATE],
                               log=f"trace-{site.machine.name}.log")
    screen = Terminal(site.node, BUILD / "pintle", "--bpffs", site.machine.bpffs, "top", columns=120, rows=40)
    try:
        screen.shows("pool")
        yield {"top": int(screen.ask("pane_pid")), "trace": trace.pid}
    finally:
        trace.kill()
        trace.wait()
        screen.end()


class Used:
    """What pintled, viewers and the programs in the kernel take."""

    def __init__(self, site, pids):
        self.site, self.pids = site, {"pintled": site.daemon.pid, **pids}

    def cpu(self, seconds):
        """{name: % of a core}"""
        before, begun = {n: cpu_ns(pid) for n, pid in self.pids.items()}, time.monotonic()
        end = begun + seconds
        while time.monotonic() < end:
            if len(self.pids) > 1:
                self.site.daemon.get("/metrics")
            time.sleep(max(0, min(SCRAPE, end - time.monotonic())))
        took = time.monotonic() - begun
        return {n: (cpu_ns(pid) - before[n]) / took / 1e7 for n, pid in self.pids.items()}

    def programs(self, held, seconds):
        """(% of a core in programs, runs of those that are attached, tokens), of so many seconds."""
        walked, attached = iterators(self.site.daemon.pid), links(self.site.machine).values()

        def now():
            each = [[program_stats(n) for n in group] for group in (walked, attached)]
            return sum(s.ns for group in each for s in group), sum(s.runs for s in each[1]), held.tokens()

        with bpf_stats():
            before, begun = now(), time.monotonic()
            time.sleep(seconds)
            ns, runs, tokens = (b - a for a, b in zip(before, now()))
            took = time.monotonic() - begun
        return ns / took / 1e7, runs / took, tokens / took


def switch(site, detail):
    """node.metricsDetail, which a reload changes."""
    site.daemon.reload(site.machine.config(*site.pools([site.hook]), metricsDetail=detail))
    name = "pintle_endpoint_time_to_first_token_seconds_count"
    wait_for(lambda: (detail == "histograms") == any(n == name for n, _ in site.daemon.metrics()), 20, detail)


def rounds(site, held, quick):
    """[(what was measured with all off, with all on)]"""
    found = []
    for _ in range(2 if quick else 7):
        of_both = []
        for on in (False, True):
            switch(site, "histograms" if on else "main")
            with viewers(site) if on else contextlib.nullcontext({}) as pids:
                used = Used(site, pids)
                time.sleep(1)
                of_both.append({**used.cpu(2 if quick else 10),
                                **dict(zip(("programs", "runs", "tokens"), used.programs(held, 1 if quick else 3)))})
        found.append(of_both)
    return found


def rows_of(hook, found):
    def middle(on, name):
        return statistics.median(both[on].get(name, 0) for both in found)

    for on, what in enumerate(("requests followed, no more", "all of it")):
        yield [f"{hook}: {what}", *(f"{middle(on, n):.2f}" for n in ("pintled", "programs", "top", "trace")),
               "" if not on else f"{statistics.median(added(*both) for both in found):+.2f}",
               f"{middle(on, 'runs'):,.0f}", f"{middle(on, 'tokens'):,.0f}"]


def added(off, on):
    """What pintled and the kernel take more, in % of a core."""
    return on["pintled"] + on["programs"] - off["pintled"] - off["programs"]


def cost_of_seeing(node, quick):
    rows = []
    for hook, machine in zip(("lookup", "connect"), Cluster(node, 2).machines):
        site = Site(machine, BUILD / "pintled", hook)
        with Held(site, STREAMS, "50 tokens/s each") as held, pace(site):
            rows += rows_of(hook, rounds(site, held, quick))
    return table(
        "All that shows the traffic",
        f"{STREAMS:,} connections with 50 tokens a second each, and {RATE} short ones a second. `all of it` has "
        f"metricsDetail histograms, /metrics read every {SCRAPE} s, `pintle top` on a terminal, and `pintle trace "
        f"--rate {RATE}`. In % of a core, medians by turns: pintled, the programs (bpf_stats), the viewers, and what "
        "pintled and the programs take `more` than without. `runs` and `tokens` are per second. Goal: at most 1 % "
        "more, and nothing for a token.",
        ["hook", "pintled", "programs", "top", "trace", "more", "runs", "tokens"], rows)


def history(_, quick):
    """The keeper's look every 10 s, and its moment each minute."""
    rows = []
    for count in (8, 1000):
        with Node() as own:
            bench = Bench(own)
            bench.serve("steered", 20001, count)
            daemon = bench.pintled(20001, count, scrape={"interval": "5s", "timeout": "5s"})
            bench.all_ready(daemon, count)
            own.popen([CONN, "pace", RATE, VIP, 8000], netns=own.netns, cgroup=bench.groups["steered"], log="pace.log")

            def used():
                return daemon.metric("pintle_history_cpu_seconds_total"), time.monotonic()

            cpu, begun = used()
            time.sleep(15 if quick else 130)
            cpu, took = (b - a for a, b in zip((cpu, begun), used()))
            rows.append([f"{count:,}", f"{1e3 * cpu / took * 10:.2f}", f"{100 * cpu / took:.3f}"])
            own.finish()
    return table("The history",
                 "CPU time of pintled's thread to read its endpoints every 10 s and write the history each minute, "
                 "over two minutes. Goal: at most 0.2 % of a core.",
                 ["endpoints", "ms of CPU in 10 s", "% of a core"], rows)
