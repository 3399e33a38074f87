# SPDX-License-Identifier: Apache-2.0
"""Questions about kept-alive clients: what one request per connection gains, and what it costs."""
import collections
import itertools
import json
import shutil
import statistics

import envoys
from common import HTTP, PAGE, VIP, Bench, say, table, wait_port
from envoy import cluster
from kernel import BUILD, TOP, wait_for

SLOWER = 4  # times
CLIENTS = TOP / "build/clients"
SERVERS = 4


# -- rivals, each in front of the servers from port 9001 on ----------------------------


def haproxy(node, port):
    servers = "".join(f"    server s{i} 127.0.0.1:{9001 + i}\n" for i in range(SERVERS))
    conf = node.write(f"haproxy-{port}.cfg", f"""
global
    nbthread 2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 600s
    http-reuse always
    option http-no-delay
listen pool
    bind 127.0.0.1:{port}
    balance leastconn
{servers}""")
    return shutil.which("haproxy") and ["haproxy", "-db", "-f", conf]


def nginx(node, port):
    servers = "".join(f"server 127.0.0.1:{9001 + i}; " for i in range(SERVERS))
    place = node.dir / "nginx-http"
    place.mkdir()
    temporary = "".join(f"{n}_temp_path {place}/{n}; " for n in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = node.write("nginx-http.conf", f"""
user root; worker_processes 2; daemon off; pid {place}/pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off; {temporary}
    client_body_buffer_size 256k; client_max_body_size 1m; keepalive_requests 1000000;
    upstream pool {{ least_conn; {servers} keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
""")
    return shutil.which("nginx") and ["nginx", "-c", conf, "-p", place, "-e", "stderr"]


def envoy(node, port):
    servers = [("127.0.0.1", 9001 + i) for i in range(SERVERS)]
    return envoys.command(node, "envoy.json", "127.0.0.1", port, cluster("pool", *servers, lb_policy="LEAST_REQUEST"))


def sglang(policy):
    def start(_, port):
        python = CLIENTS / "router/bin/python"
        return python.exists() and [
            python, "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", port, "--policy",
            policy, "--log-level", "error", "--prometheus-port", port + 1000, "--worker-urls",
            *[f"http://127.0.0.1:{9001 + i}" for i in range(SERVERS)]]

    return start


RIVALS = {"HAProxy http": haproxy, "nginx http": nginx, "Envoy http": envoy,
          "sglang-router, power of two": sglang("power_of_two"),
          "sglang-router, cache aware": sglang("cache_aware")}


def start_rivals(bench, names):
    """{name: port} of those that are to be had; in the namespace without Pintle."""
    found = {}
    for number, name in enumerate(names):
        port = 8100 + number
        argv = RIVALS[name](bench.node, port)
        if not argv:
            say(f"bench: no {name}")
            continue
        bench.node.popen(argv, netns=bench.plain, log=f"rival-{number}.log", env={"NO_PROXY": "*"})
        wait_port(bench.plain, port)
        found[name] = port
    return found


# -- what it costs ---------------------------------------------------------------------


def cpu_us(group):
    """CPU time of a cgroup, all that were ever in it."""
    return int((group / "cpu.stat").read_text().split()[1])


Way = collections.namedtuple("Way", "name netns address port connection")
Round = collections.namedtuple("Round", "rate p50 p99 cpu")


def one_round(bench, way, clients, size, seconds):
    before = cpu_us(bench.node.cgroup)
    out = bench.node.run(HTTP, "ask", clients, seconds, size, way.connection, way.address, way.port,
                         netns=way.netns, timeout=120).stdout.split()
    cpu = cpu_us(bench.node.cgroup) - before
    requests, errors, took, _, p50, p99 = map(float, out)
    assert requests and not errors, f"{way.name}: {requests:.0f} answers, {errors:.0f} errors"
    return Round(requests / took, p50, p99, cpu / requests)


def serve(bench, netns, port):
    log = f"http-{netns.name}-{port}.log"
    bench.node.popen([HTTP, "serve", port, SERVERS, PAGE], netns=netns, log=log)
    wait_for(lambda: "listening" in (bench.node.dir / log).read_text(), 20, "servers to listen")


def ways_of(node):
    """Two pools of the same kind of servers, one for each setting; the rest in a namespace that
    Pintle does not touch."""
    bench = Bench(node)
    serve(bench, bench.plain, 9001)
    pools = {"as-they-come": 8000, "one-per-connection": 8010}
    for port in pools.values():
        serve(bench, node.netns, port + 1001)
    daemon = node.daemon(node.config(*(
        node.pool([{"name": f"e{i}", "listen": f"127.0.0.1:{port + 1001 + i}"} for i in range(SERVERS)],
                  name=name, frontends=[f"{VIP}:{port}"], stickiness={"key": "none"}, requests=name,
                  scrape={"interval": "1s", "timeout": "1s"})
        for name, port in pools.items())))
    for name in pools:
        wait_for(lambda: daemon.metric("pintle_pool_ready_endpoints", pool=name) == SERVERS, 60, name)
    ways = [Way("no Pintle, kept alive", bench.plain, "127.0.0.1", 9001, "keep"),
            Way("no Pintle, keep-alive off", bench.plain, "127.0.0.1", 9001, "close"),
            Way("Pintle, keep-alive off", node.netns, VIP, pools["as-they-come"], "close"),
            *(Way(f"Pintle, {name}", node.netns, VIP, port, "keep") for name, port in pools.items()),
            *(Way(name, bench.plain, "127.0.0.1", port, "keep")
              for name, port in start_rivals(bench, RIVALS).items())]
    return bench, ways


def median_of(rounds):
    return Round(*(statistics.median(r[i] for r in rounds) for i in range(len(Round._fields))))


def cost_of_requests(node, quick):
    bench, ways = ways_of(node)
    tables = []
    for size, kib in ((1024, 1), (102400, 100)):
        for clients in (1, 32):
            found = collections.defaultdict(list)
            for number in range(1 if quick else 5):
                # Another one first each round: none always follows the same.
                for i in range(len(ways)):
                    way = ways[(i + number) % len(ways)]
                    found[way.name].append(one_round(bench, way, clients, size, 0.1 if quick else 0.5))
            # Of each round, since the machine may be busier in one than in another.
            ratio = {name: statistics.median(
                r.cpu / off.cpu for r, off in zip(rounds, found["no Pintle, keep-alive off"]))
                for name, rounds in found.items()}
            rows = [[name, f"{m.rate:,.0f}", f"{m.p50:.0f}", f"{m.p99:.0f}", f"{m.cpu:.0f}", f"{ratio[name]:.2f}"]
                    for name, m in ((name, median_of(rounds)) for name, rounds in found.items())]
            tables.append(table(f"Requests: {clients} client{'s'[:clients > 1]}, prompts of {kib} KiB", WHAT, [
                "way", "requests/s", "p50 us", "p99 us", "us of CPU a request", "CPU to keep-alive off"], rows))
    return "\n".join([tables[0], *(t.replace(WHAT + "\n\n", "") for t in tables[1:])])


WHAT = ("Kept-alive clients and four servers that answer at once, over loopback. CPU includes clients, servers, and "
        "proxy or pintled. Medians of five rounds. `keep-alive off`: the client says `Connection: close`. Goal: "
        "one-per-connection takes at most 1.03 x `no Pintle, keep-alive off`, is cheaper and faster than every "
        "LLM-aware router, and is on a par with the plain proxies at 100 KiB.")


# -- what it gains ---------------------------------------------------------------------


# Sixteen clients that keep their connections: how many of them are how busy.
CLASS = """
  - name: {name}
    arrival: {{users: {users}, spread: 1s}}
    turns: 1000
    think: {{mean: {think}, max: {most}}}
    history: false
    prompt: {{median: 500, sigma: 0.5, max: 2000}}
    output: {{median: 30, sigma: 0.5, max: 100}}
    connection: keep-alive
"""
BUSY, RARE = {"name": "busy", "think": "50ms", "most": "200ms"}, {"name": "rare", "think": "2s", "most": "5s"}
WORKLOADS = {
    "6 busy, 10 that ask now and then": [{**BUSY, "users": 6}, {**RARE, "users": 10}],
    "all busy": [{**BUSY, "users": 16}],
}


def workload(classes):
    return ("description: Clients that keep their connections\nsource: 127.1.0.0/16\nclasses:"
            + "".join(CLASS.format(**c) for c in classes))


def simulate(node, netns):
    """Four of pintle-sim's, from port 9001 on; the last one has a sick GPU."""
    log = f"sim-{netns.name}.log"
    node.popen([BUILD / "pintle-sim", "--count", SERVERS, "--port", 9001, "--max-num-seqs", 2, "--slow", f"{SERVERS - 1}:{SLOWER}"],
               netns=netns, log=log)
    wait_for(lambda: (node.dir / log).read_text().count(":90") == SERVERS, 20, "servers to listen")


def load(node, way, classes, seconds, seed):
    """Requests, share of the slow server in them in %, median and p95 of TTFT in ms."""
    report = json.loads(node.run(
        BUILD / "pintle-load", "--target", f"http://{way.address}:{way.port}", "--workload",
        node.write("kept.yaml", workload(classes)), "--warmup", seconds / 5, "--duration", seconds, "--seed", seed,
        "-o", "json", netns=way.netns, timeout=seconds + 60).stdout)
    total = report["total"]
    assert total["ok"] == total["requests"], total["errors"]
    slow = sum(e["requests"] for e in report["endpoints"] if e["name"] == f"sim-{SERVERS - 1}")
    return (total["ok"], 100 * slow / total["ok"], 1e3 * total["ttft"]["p50"], 1e3 * total["ttft"]["p95"],
            report["connections"])


def slow_server(node, quick):
    bench = Bench(node)
    for netns in (bench.plain, node.netns):
        simulate(node, netns)
    daemon = node.daemon(node.config(node.pool(
        [{"name": f"e{i}", "listen": f"127.0.0.1:{9001 + i}"} for i in range(SERVERS)],
        frontends=[f"{VIP}:8000"], stickiness={"key": "none"}, scrape={"interval": "200ms"})))
    bench.all_ready(daemon, SERVERS)
    ways = [Way(f"Pintle, {r}", node.netns, VIP, 8000, r) for r in ("as-they-come", "one-per-connection")]
    ways += [Way("HAProxy leastconn", bench.plain, "127.0.0.1", port, None)
             for port in start_rivals(bench, ["HAProxy http"]).values()]
    found = collections.defaultdict(list)
    for (clients, classes), seed in itertools.product(WORKLOADS.items(), range(1 if quick else 3)):
        for way in ways:
            if way.connection:
                node.pintle("set", "pool", f"requests={way.connection}")
            found[clients, way.name].append(load(node, way, classes, 3 if quick else 15, seed))
    rows = []
    for (clients, name), rounds in found.items():
        requests, share, p50, p95, connections = (statistics.median(r) for r in zip(*rounds))
        rows.append([clients, name, f"{requests:.0f}", f"{connections:.0f}", f"{share:.1f}", f"{p50:.0f}", f"{p95:.0f}"])
    return table(
        "Kept-alive clients and a slow server",
        "16 kept-alive clients (pintle-load) and 4 servers of pintle-sim, profile llama-8b-h100, each with 2 "
        f"requests at a time, one {SLOWER} times slower. Medians of 3 runs of 15 s. HAProxy balances requests (`mode "
        "http`, `leastconn`).",
        ["clients", "way", "requests", "connections of clients", "% on the slow server", "TTFT p50 ms", "TTFT p95 ms"], rows)
