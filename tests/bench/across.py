# SPDX-License-Identifier: Apache-2.0
"""Question: what a connection costs that is spliced to a server on another node, beside the ways to get there without
Pintle: until the first byte of the answer, a packet, and a stream."""
import collections
import shutil
import statistics
import time

import tc
from common import CONN, HEAD, HTTP, PAGE, bpf_stats, measure, program_stats, ratio, ratios, say, table
from handoff import CUTS, HAPROXY, HAPROXY_BY, answers, first_bytes
from kernel import wait_for
from pods import Cluster

SERVICE = "10.96.0.10"
COUNT = 4        # servers of a pool
STREAMED = 9901  # the first port of servers that stream
DNAT = """
table ip kube {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        ip daddr {service} tcp dport {port} dnat to numgen random mod {count} map {{ {endpoints} }}
    }}
}}
"""
SESSION = {"key": ["header/x-session-id", "source"], "maxExtraLoad": "auto"}
SPLICED = {"decide": "request", "splice": True}
BY_MODEL = {"llama": "by-model", "default": "by-model"}
# How a pool decides, and the ports of its frontend and of its first server.
Way = collections.namedtuple("Way", "name keys port server")
WAYS = [Way(name, keys, 8000 + i, 9001 + 10 * i) for i, (name, keys) in enumerate({
    "by connection": {"stickiness": {"key": "source", "maxExtraLoad": "auto"}},
    "by session": {**SPLICED, "stickiness": SESSION},
    "by model": {**SPLICED, "stickiness": SESSION, "models": BY_MODEL},
    "by prompt": {**SPLICED, "stickiness": {**SESSION, "prefix": True}},
}.items())]
STREAM = Way("by session", {**SPLICED, "stickiness": SESSION}, 8100, STREAMED)


class Nodes:
    """Three clients' machines that are alike: `steered` has Pintle, `dnat` has rules like kube-proxy's, `plain` has
    neither, and HAProxy in a second pod. A fourth machine has a pod of servers for each."""

    def __init__(self, node):
        self.node = node
        far, *near = Cluster(node, 4).machines
        self.near = dict(zip(("plain", "steered", "dnat"), near))
        self.clients = {name: machine.pod("client") for name, machine in self.near.items()}
        # A pod has 8,192 connections, also of those that have just ended.
        self.spliced = {way.port: self.near["steered"].pod(f"client{way.port}") for way in (*WAYS[1:], STREAM)}
        self.servers = {name: far.pod(name) for name in self.near}
        for name in self.servers:
            for way in (*WAYS, STREAM) if name == "steered" else (WAYS[0], STREAM):
                self.serve(name, way)
        for way in (WAYS[0], STREAM):
            self.near["dnat"].nft(DNAT.format(service=SERVICE, port=way.port, count=COUNT, endpoints=", ".join(
                f"{i} : {self.servers['dnat'].v4} . {way.server + i}" for i in range(COUNT))).replace(
                    "table ip kube", f"table ip kube{way.port}"))
        self.gateway = self.near["plain"].pod("gateway")
        self.daemon = self.near["steered"].steer(*map(self.pool, (*WAYS, STREAM)))
        self.learn()

    def serve(self, name, way):
        log = f"serve-{name}-{way.server}.log"
        program = CONN if way == STREAM else HTTP
        self.servers[name].popen([program, "serve", way.server, COUNT, PAGE], log=log)
        wait_for(lambda: "listening" in (self.node.dir / log).read_text(), 20, "servers to listen")

    def pool(self, way):
        pool = self.node.pool(
            [{"name": f"e{way.server + i}", "address": f"{self.servers['steered'].v4}:{way.server + i}"}
             for i in range(COUNT)],
            name_of(way), frontends=[f"{SERVICE}:{way.port}"], scrape={"interval": "1s", "timeout": "1s"}, **way.keys)
        del pool["announce"]
        return pool

    def target(self, name, where, address, port):
        client = self.spliced.get(port, self.clients[where]) if where == "steered" else self.clients[where]
        return name, client.netns, client.cgroup, address, port

    def targets(self, way, ways):
        """`direct` comes first, and knows one server; the others have a choice of four."""
        return [self.target("direct", "plain", self.servers["plain"].v4, way.server),
                self.target("nftables-DNAT", "dnat", SERVICE, way.port),
                *(self.target(w.name, "steered", SERVICE, w.port) for w in ways)]

    def learn(self):
        """Until the clients' devices are known to see both directions."""
        def is_known():
            for port in self.spliced:
                client = self.spliced[port]
                first_bytes(self.node, [("x", client.netns, client.cgroup, SERVICE, WAYS[1].port)], CUTS[0], 1, 1)
            return self.near["steered"].cli("status")[0]["splice_pods"] == len(self.spliced)
        wait_for(is_known, 20, "the clients' devices")

    def haproxy(self, by, port, first):
        if not shutil.which("haproxy"):
            return say("bench: no HAProxy")
        servers = "\n".join(f"    server s{i} {self.servers['plain'].v4}:{first + i}" for i in range(COUNT))
        conf = self.node.write(f"haproxy-{by}-{port}.cfg", HAPROXY.format(
            host=self.gateway.v4, port=port, how=HAPROXY_BY[by], servers=servers))
        self.gateway.popen(["haproxy", "-db", "-f", conf], log=f"haproxy-{by}-{port}.log")
        wait_for(lambda: answers(self.clients["plain"].netns, self.gateway.v4, port), 20, f"HAProxy by {by}")
        return self.target(f"HAProxy, by {by}", "plain", self.gateway.v4, port)

    def handed(self):
        return collections.Counter({(row["pool"], row["hand"]): row["connections"]
                                    for row in self.near["steered"].cli("stats") if row["hand"]})

    def device(self, way):
        """This end of the pod's, as pods.py names it."""
        return "pod" + self.spliced[way.port].v4.rpartition(".")[2]

    def program(self):
        (number,) = tc.programs(self.near["steered"].netns, self.device(STREAM), "ingress").values()
        return number


def name_of(way):
    return way.name.replace(" ", "-") + ("-stream" if way == STREAM else "")


def compare(nodes, targets, rounds, count):
    """{cut: {name: [us]}}; each request of a pool that is spliced was."""
    found = {}
    for cut in CUTS:
        before = nodes.handed()
        found[cut] = first_bytes(nodes.node, targets, cut, rounds, count, cpu=())
        counted = nodes.handed()
        counted.subtract(before)
        assert +counted == {(name_of(way), "asked"): rounds * count for way in WAYS[1:]}, +counted
    return found


def stream(nodes, targets, rounds, count):
    """({name: [MB/s]}, ns of the program for each MB, its runs for each MB)"""
    number = nodes.program()
    size = rounds * count * PAGE.stat().st_size / 1e6
    with bpf_stats():
        before = program_stats(number)
        found = measure(nodes.node, "stream", rounds, count, [(i, *rest) for i, (_, *rest) in enumerate(targets)])
        after = program_stats(number)
    found = {name: found[str(i)] for i, (name, *_) in enumerate(targets)}
    return found, (after.ns - before.ns) / size, (after.runs - before.runs) / size


def tokens(nodes, connections, seconds):
    """% of a core that the program takes with so many streams of 50 tokens a second, and its runs a second."""
    client, number = nodes.spliced[STREAM.port], nodes.program()
    log = nodes.node.dir / "hold.log"
    process = client.popen([CONN, "hold", connections, SERVICE, STREAM.port, "50 / HTTP/1.1\r\n\r\n"], log="hold.log")
    wait_for(lambda: "open" in log.read_text(), 60, "streams")
    with bpf_stats():
        before, began = program_stats(number), time.monotonic()
        time.sleep(seconds)
        after, took = program_stats(number), time.monotonic() - began
    process.kill()
    process.wait()
    return (after.ns - before.ns) / 1e7 / took, (after.runs - before.runs) / took


def across(node, quick):
    nodes = Nodes(node)
    rivals = [rival for by in ("session", "model") if (rival := nodes.haproxy(by, 8100 + len(by), WAYS[0].server))]
    found = compare(nodes, [*nodes.targets(WAYS[0], WAYS), *rivals], *((5, 30) if quick else (41, 45)))
    tables = [table(f"Servers on another node: {cut.title}", WHAT if cut == CUTS[0] else "As above.", HEAD, ratios(rows))
              for cut, rows in found.items()]
    speeds, ns, runs = stream(nodes, nodes.targets(STREAM, [STREAM]), *((3, 100) if quick else (21, 2000)))
    tables.append(table(
        "Servers on another node: a stream",
        f"An answer of {PAGE.stat().st_size:,} bytes, repeated on one connection. For each MB the program ran {runs:,.0f} "
        f"times and {ns / 1e3:,.0f} us: {ns / runs:,.0f} ns each. No goal.",
        ["way", "median MB/s", "ratio to direct", "quartiles of the ratio"],
        [[name, f"{statistics.median(v):.0f}", *ratio(v, speeds["direct"])[1:3]] for name, v in speeds.items()]))
    connections = 100 if quick else 1000
    percent, rate = tokens(nodes, connections, 3 if quick else 10)
    tables.append(table(
        f"Servers on another node: {connections:,} streams of 50 tokens a second",
        "The share of one core that the program takes (bpf_stats).", ["% of a core", "packets a second"],
        [[f"{percent:.2f}", f"{rate:,.0f}"]]))
    return "\n".join(tables)


WHAT = ("A client's pod connects, sends a request of one of 64 sessions by turns, and waits for the first byte; the "
        "servers are in a pod of another machine, behind the client's and its own veth pairs. `direct` knows one server, "
        "without Pintle and DNAT. `by connection` is the connect hook; the others are spliced: the program at the "
        "client's device reads the request, and opens the connection to the server, which takes one round trip more. "
        "HAProxy is in another pod of the client's machine, and keeps its connections to the servers. Goal: at most 10 us over "
        "direct.")
