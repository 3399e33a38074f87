# SPDX-License-Identifier: Apache-2.0
"""Question: what a request costs that is decided by what it says, beside proxies that read it, too: until the first
byte of the answer, in the kernel, and in memory."""
import collections
import contextlib
import json
import os
import re
import shutil
import socket
import sys
import time

import envoys
import tc
from clients import source
from common import (
    HEAD, HTTP, PAGE, PLAIN, VIP, Bench, bpf_stats, links, measure, program_stats, ratios, say, table,
)
from envoy import cluster
from kernel import TOP, Skip, inside, wait_for
from kubernetes import resident_mib

sys.path.append(str(TOP / "tests/kubernetes"))

SERVERS = 4
PORT = 9001  # of the first server in the namespace that is not steered
SESSION = {"key": ["header/x-session-id", "source"], "maxExtraLoad": "auto"}
BY_MODEL = {"llama": "{name}", "default": "{name}"}
# How a pool decides, and the ports of its frontend and of its first server.
Way = collections.namedtuple("Way", "name keys port server")
EACH = {"requests": "one-per-connection"}
POOLS = [Way(name, keys, 8000 + i, 9001 + 10 * i) for i, (name, keys) in enumerate({
    "by connection": {"stickiness": {"key": "source", "maxExtraLoad": "auto"}},
    "by session": {"decide": "request", "stickiness": SESSION},
    "by model": {"decide": "request", "stickiness": SESSION, "models": BY_MODEL},
    "by prompt": {"decide": "request", "stickiness": {**SESSION, "prefix": True}},
    "by connection, one-per-connection": {"stickiness": {"key": "source", "maxExtraLoad": "auto"}, **EACH},
    "by session, one-per-connection": {"decide": "request", "stickiness": SESSION, **EACH},
    "by all of it, one-per-connection": {
        "decide": "request", "stickiness": {**SESSION, "prefix": True}, "models": BY_MODEL, **EACH},
}.items())]
KEPT = [way for way in POOLS if "requests" not in way.keys]
CLOSED = [way for way in POOLS if "requests" in way.keys]
# A client that shares its CPU with its server waits for nothing but work.
ONE_CPU = ["taskset", "-c", max(os.sched_getaffinity(0))]
ANOTHER_CPU = ["taskset", "-c", min(os.sched_getaffinity(0))]
Cut = collections.namedtuple("Cut", "pieces size title")
CUTS = [Cut(1, 1000, "a request in one segment"), Cut(2, 1000, "headers and body apart"),
        Cut(3, 1000, "headers in two pieces, and the body"), Cut(2, 8000, "headers, and a body of 8 kB")]
SIZES = (1000, 4000, 16000, 64000)


# -- rivals ------------------------------------------------------------------------------------------------------


HAPROXY = """
global
    nbthread 2
    tune.bufsize 131072
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 600s
    http-reuse always
    option http-no-delay
frontend pool
    bind {host}:{port}
{how}
backend llama
    balance hdr(x-session-id)
{servers}
backend other
    http-request deny
"""
HAPROXY_BY = {
    "session": "    default_backend llama",
    "model": "    http-request wait-for-body time 10s\n"
             "    http-request set-var(txn.model) req.body,json_query('$.model')\n"
             "    use_backend llama if { var(txn.model) -m str llama }\n    default_backend other",
}


def haproxy(node, by, port):
    servers = "\n".join(f"    server s{i} 127.0.0.1:{PORT + i}" for i in range(SERVERS))
    conf = node.write(f"haproxy-{by}.cfg", HAPROXY.format(host=PLAIN, port=port, how=HAPROXY_BY[by], servers=servers))
    return shutil.which("haproxy") and ["haproxy", "-db", "-f", conf]


def envoy(node, port):
    servers = [("127.0.0.1", PORT + i) for i in range(SERVERS)]
    return envoys.command(node, "envoy-session.json", PLAIN, port, cluster("pool", *servers, lb_policy="RING_HASH"),
                          route={"hash_policy": [{"header": {"header_name": "x-session-id"}}]})


class Rivals:
    """Proxies in the namespace without Pintle: {name: port} and {name: processes}."""

    def __init__(self, bench):
        self.bench, self.ports, self.processes = bench, {}, {}
        for name, command in {"HAProxy, by session": haproxy(bench.node, "session", 8101),
                              "HAProxy, by model": haproxy(bench.node, "model", 8102),
                              "Envoy, by session": envoy(bench.node, 8103)}.items():
            self.start(name, 8101 + len(self.ports), command)

    def start(self, name, port, command, *more):
        if not command:
            say(f"bench: no {name}")
            return
        log = f"rival-{port}.log"
        process = self.bench.node.popen(command, netns=self.bench.plain, log=log)
        wait_for(lambda: answers(self.bench.plain, PLAIN, port), 60, f"{name}: {self.bench.node.dir / log}")
        self.ports[name], self.processes[name] = port, [process, *more]

    def targets(self, direct):
        """The same as `direct`, by way of each."""
        return [(name, *direct[1:-1], port) for name, port in self.ports.items()]

    def memory(self):
        return [[name, f"{sum(resident_mib(p.pid) for p in processes):.1f}", "-"]
                for name, processes in self.processes.items()]

    def start_picker(self):
        node = self.bench.node
        picker = envoys.Picker(node, self.bench.plain, PLAIN, [PORT + i for i in range(SERVERS)])
        self.start("Envoy with EPP", 8104, picker.envoy(node, PLAIN, 8104), picker.process)


def answers(netns, host, port):
    """Whether a request there is answered."""
    body = b'{"model":"llama","messages":[{"role":"user","content":"a"}],"max_tokens":1}'
    with inside(netns):
        s = socket.socket()
    with s:
        s.settimeout(5)
        s.connect((host, port))
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return s.recv(4096).startswith(b"HTTP/1.1 200")


# -- places ------------------------------------------------------------------------------------------------------


def serve(bench, where, port, *how):
    log = f"http-{where}-{port}.log"
    bench.node.popen([*ONE_CPU, HTTP, "serve", port, SERVERS, PAGE, *how], netns=bench.netns(where),
                     cgroup=bench.groups[where], log=log)
    wait_for(lambda: "listening" in (bench.node.dir / log).read_text(), 20, "servers to listen")


def pool_of(node, way):
    keys = {**way.keys, **({"models": {k: v.format(name=name_of(way)) for k, v in way.keys["models"].items()}}
                           if "models" in way.keys else {})}
    return node.pool([{"name": f"e{way.server + i}", "listen": f"127.0.0.1:{way.server + i}"} for i in range(SERVERS)],
                     name_of(way), frontends=[f"{VIP}:{way.port}"], scrape={"interval": "1s", "timeout": "1s"}, **keys)


def name_of(way):
    return re.sub("[^a-z]+", "-", way.name)


def steer(bench, daemon, ways):
    """pintled with pools for these ways alone: what no pool wants costs nothing."""
    pools = [pool_of(bench.node, way) for way in ways]
    config, began = bench.node.config(*pools, cgroup=str(bench.groups["steered"])), time.monotonic()
    if daemon:
        daemon.reload(config)
    else:
        daemon = bench.node.daemon(config)
    for way in ways:
        wait_for(lambda: daemon.metric("pintle_pool_ready_endpoints", pool=name_of(way)) == SERVERS,  # noqa: B023
                 60, way.name)
    wait_for(lambda: {row["pool"] for row in bench.node.cli("endpoints")} == set(map(name_of, ways))
             and wanted(bench.node, ways), 60, "what the pools want")
    # It moves listeners to where they belong.
    wait_for(lambda: bench.node.cli("status")[0]["reconciled_age_seconds"] < time.monotonic() - began - 2, 60,
             "a recount")
    return daemon


def wanted(node, ways):
    """Whether there are the programs and the table that these pools want, and no others."""
    programs, keys = programs_of(node), [way.keys for way in ways]
    return (("pintle_hand" in programs) == any("decide" in k for k in keys)
            and ("pintle_oneshot" in programs) == any("requests" in k for k in keys)
            and bool(table_of_prompts(node)) == any("prefix" in k["stickiness"] for k in keys))


# -- until the first byte of the answer --------------------------------------------------------------------------


def first_bytes(node, targets, cut, rounds, count, prompts="same", cpu=ONE_CPU):
    """{name: [us of each round]}, by a client on this CPU."""
    found = measure(node, "first", rounds, count, [(i, *rest) for i, (_, *rest) in enumerate(targets)],
                    (*cpu, HTTP), (cut.size, cut.pieces, prompts))
    return {name: found[str(i)] for i, (name, *_) in enumerate(targets)}


def placed_right(node, ways, before, requests):
    """Every request was placed by what it says, and each connection's end was counted, by Pintle itself."""
    for way in ways:
        counted = handed(node, way)
        counted.subtract(before[way.name])
        if "decide" in way.keys:
            assert +counted == {"asked": requests}, (way.name, counted)
    wait_for(lambda: not any(node.in_flight().values()), 20, "connections that have ended")


def handed(node, way):
    return collections.Counter({row["hand"]: row["connections"] for row in node.cli("stats")
                                if row["pool"] == name_of(way) and row["hand"]})


def compare(bench, direct, ways, others, rounds, count, *, cuts=CUTS, cpu=ONE_CPU):
    """{cut: {name: [us]}}"""
    node, found = bench.node, {}
    # The clients are other machines, where no Pintle is.
    steered = [(way.name, node.client_netns, bench.groups["plain"], VIP, way.port) for way in ways]
    for cut in cuts:
        before = {way.name: handed(node, way) for way in ways}
        found[cut] = first_bytes(node, [direct, *steered, *others], cut, rounds, count, cpu=cpu)
        placed_right(node, ways, before, rounds * count)
    return found


def with_picker(bench, direct, rivals, rounds, count):
    """{cut: rows}: it reads its servers' pages twenty times a second, which nothing else shall feel, so it is
    measured by turns with `direct` alone."""
    try:
        rivals.start_picker()
    except Skip as why:
        say(f"bench: no Envoy with EPP: {why}")
        return {}
    if "Envoy with EPP" not in rivals.ports:
        return {}
    found = compare(bench, direct, [], rivals.targets(direct)[-1:], rounds, count)
    return {cut: ratios(rows)[1:] for cut, rows in found.items()}


# -- in the kernel -----------------------------------------------------------------------------------------------


def programs_of(node):
    """{name: the program's id} of all that a connection over loopback may meet."""
    return {**links(node), **tc.programs(node.netns, "lo", "ingress")}


def in_kernel(bench, ways, count):
    """{(way, size, prompts): ns a request in all programs}. Over loopback, where a segment holds all of it. The time of
    the hand-off has that of the lookup hook in it, which runs for no other reason there."""
    node, programs, found = bench.node, programs_of(bench.node), {}
    with bpf_stats():
        for way in ways:
            for size in SIZES:
                for prompts in ("same", "new")[:1 + ("prefix" in way.keys["stickiness"])]:
                    target = [(way.name, node.netns, bench.groups["steered"], VIP, way.port)]
                    first_bytes(node, target, Cut(1, size, ""), 1, count // 5 + 70, prompts)
                    counted = [number for name, number in programs.items()
                               if name != "lookup" or way.keys.get("decide") != "request"]
                    before = [program_stats(number).ns for number in counted]
                    first_bytes(node, target, Cut(1, size, ""), 1, count, prompts)
                    after = [program_stats(number).ns for number in counted]
                    found[way.name, prompts, size] = (sum(after) - sum(before)) / count
    return found


# -- memory ------------------------------------------------------------------------------------------------------


def table_of_prompts(node):
    """{the id of the map in the map `prefixes`}; empty where no pool wants one."""
    out = node.run("bpftool", "-j", "map", "dump", "pinned", next(node.bpffs.rglob("prefixes"))).stdout
    found = set()
    for row in json.loads(out):
        if "inner_map_id" in row:
            found.add(row["inner_map_id"])
        elif isinstance(row.get("value"), list):  # older bpftools show its bytes
            found.add(int.from_bytes(bytes(int(byte, 16) for byte in row["value"]), sys.byteorder))
    return found


def maps_mib(node, programs):
    """Kernel memory of all maps that these programs use, by the kernel's own account."""
    def show(*what):
        return json.loads(node.run("bpftool", "-j", *what).stdout)

    ids = {number for program in programs for number in show("prog", "show", "id", program).get("map_ids", ())}
    ids |= table_of_prompts(node)
    return sum(int(show("map", "show", "id", number).get("bytes_memlock", 0)) for number in ids) / 2**20


@contextlib.contextmanager
def held(node, port, clients, each):
    """So many clients with connections whose headers have not ended."""
    begun = [node.connect(f"{VIP}:{port}", source(1 + i, remote=True), remote=True)
             for i in range(clients) for _ in range(each)]
    for c in begun:
        c.sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n")
    yield len(json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", next(node.bpffs.rglob("held"))).stdout))
    for c in begun:
        c.reset()


def memory_rows(bench, daemon):
    node, rows = bench.node, []

    def add(what):
        rows.append([what, f"{resident_mib(daemon.pid):.1f}", f"{maps_mib(node, programs_of(node).values()):.1f}"])

    for way in KEPT:
        steer(bench, daemon, [way])
        add(f"Pintle, {way.name}")
        if way.name == "by session":
            with held(node, way.port, 16, 120) as count:
                add(f"the same, and {count:,} connections held")
    return rows


# -- all ---------------------------------------------------------------------------------------------------------


def handoff(node, quick):
    bench = Bench(node)
    far = bench.add_far()
    serve(bench, "plain", PORT)
    serve(bench, "plain", PORT + SERVERS, "close")
    for way in POOLS:
        serve(bench, "steered", way.server)
    direct, closed = (("direct", far, bench.groups["plain"], PLAIN, port) for port in (PORT, PORT + SERVERS))
    rivals = Rivals(bench)
    # Short turns: where the host is slow for a while, all ways are.
    much = (5, 50) if quick else (123, 100)
    daemon = steer(bench, None, KEPT)
    found = compare(bench, direct, KEPT, rivals.targets(direct), *much)
    apart = compare(bench, direct, KEPT, rivals.targets(direct), *much, cuts=CUTS[:2], cpu=ANOTHER_CPU)
    kernel = in_kernel(bench, KEPT, 300 if quick else 3000)
    steer(bench, daemon, CLOSED)
    each = compare(bench, closed, CLOSED, [], *much)
    kernel |= in_kernel(bench, CLOSED, 300 if quick else 3000)
    memory = memory_rows(bench, daemon)
    picked = with_picker(bench, direct, rivals, *((3, 20) if quick else (21, 100)))
    memory += rivals.memory()
    tables = [table(f"Decided by request: {cut.title}", WHAT if cut == CUTS[0] else "As above.", HEAD,
                    ratios(rows) + picked.get(cut, [])
                    + [["the server closes: " + row[0], *row[1:]] for row in ratios(each[cut])])
              for cut, rows in found.items()]
    tables += [table(f"Decided by request, servers on another CPU: {cut.title}",
                     APART if cut == CUTS[0] else "As above.", HEAD, ratios(rows)) for cut, rows in apart.items()]
    whats = dict.fromkeys((name, prompts) for name, prompts, _ in kernel)
    tables.append(table(
        "Decided by request: in the kernel", IN_KERNEL, ["way", *(f"{size / 1000:g} kB" for size in SIZES)],
        [[f"{name}, {prompts} prompt" if (name, "new") in whats else name,
          *(f"{kernel[name, prompts, size]:,.0f}" for size in SIZES)] for name, prompts in whats]))
    tables.append(table("Decided by request: memory", MEMORY, ["what", "MiB resident of processes", "MiB of maps"],
                        memory))
    return "\n".join(tables)


WHAT = ("A client behind a veth pair connects, sends a request of one of 64 sessions by turns, and waits for the "
        f"first byte; {SERVERS} servers to choose from, on the client's CPU. `direct` knows one server, without "
        "Pintle. All namespaces have a local route, as announced frontends make one. `by connection` is the lookup "
        "hook; the others are `decide: request` with the session from a header, and the model or prompt besides. "
        "HAProxy and Envoy keep connections to the servers, and hash the session; `by model` waits for the body. "
        "`Envoy with EPP` is the endpoint picker of the Gateway API Inference Extension, measured by turns with "
        "`direct` alone, because it reads each page twenty times a second. `the server closes`: `requests: "
        "one-per-connection`, beside a direct server that closes, too. Goal: at most 1.03 x direct in one segment, "
        "1.05 x in two or three.")
APART = ("As above, with the client on a CPU of its own. A server on an idle CPU needs time to wake up: the "
         "handshake wakes that of `direct`, the request that of the hand-off. No goal.")
IN_KERNEL = ("Nanoseconds a request in all programs of Pintle (bpf_stats), by the size of the body, over loopback, "
             "where the hand-off sees 32 kB at once.")
MEMORY = ("Resident memory of processes, and Pintle's maps as the kernel counts them. Held connections are those "
          "whose headers have not ended; the kernel takes 32 KiB for each.")
