# SPDX-License-Identifier: Apache-2.0
"""Counters stay exact, whatever clients, servers and strangers do."""
import json
import random
import subprocess
import threading
import time
from contextlib import suppress

import packets
from clients import FRONTEND, source, split
from harness import case
from kernel import BUILD, SAN, TOP, wait_for
from pods import SERVICE, Cluster
from test_handoff import HANDED

BOTH = ("v4", "v6")
CONN = BUILD / "tests/bench/conn"
PAGE = TOP / "tests/data/pages/vllm-0.32.0-idle.txt"


def counts_agree(node):
    """in_flight of all endpoints = what the socket table says."""
    def agree():
        table = node.open_connections()
        counted = sum(node.in_flight().values())
        assert counted == table, f"counted {counted}, the socket table has {table}"
        return True

    wait_for(agree, 15)


def no_drift(daemon):
    assert daemon.metric("pintle_in_flight_drift_total") == 0


@case(each=BOTH)
def test_open_and_closed(node, family):
    """A connection counts from established to closed, at its server."""
    node.steer(node.servers(2))
    held = node.hold(FRONTEND[family], 10)
    expected = {"s0": 0, "s1": 0}
    for _, name in held:
        expected[name] += 1
    assert node.in_flight() == expected
    for c, name in held[:5]:
        c.close()
        expected[name] -= 1
    wait_for(lambda: node.in_flight() == expected)
    for c, _ in held[5:]:
        c.reset()
    wait_for(lambda: node.in_flight() == {"s0": 0, "s1": 0})


def test_scrapes_are_direct(node):
    """Scrapes and probes of a server's own address are counted apart."""
    server = node.server("s0", 8001)
    node.steer([server])
    probe = node.connect("127.0.0.1:8001")
    probe.ask()
    row = node.endpoint("s0")
    assert row["in_flight"] == 0 and row["direct"] >= 2, row
    before = row["direct"]
    probe.close()
    wait_for(lambda: node.endpoint("s0")["direct"] == before - 1)


def test_server_killed_with_connections(node):
    """The connections of a killed server end with it."""
    servers = node.servers(2)
    node.steer(servers)
    held = node.hold(FRONTEND["v4"], 10)
    servers[0].kill()
    wait_for(lambda: node.in_flight()["s0"] == 0)
    assert node.in_flight()["s1"] == sum(name == "s1" for _, name in held)
    counts_agree(node)


def test_half_closed(node):
    """A connection that the client has half-closed is in flight until the server closes it."""
    server = node.server("s0", 8001)
    node.steer([server])
    c = node.connect(FRONTEND["v4"])
    c.send("/hold")
    c.half_close()
    wait_for(lambda: server.counts().held == 1)
    assert node.in_flight() == {"s0": 1}
    server.release()
    assert c.read() == "s0"
    wait_for(lambda: node.in_flight() == {"s0": 0})


@case(timeout=120)
def test_any_mixture(node):
    """Resets, half-closes, killed servers and plain ends at the same time cause no drift."""
    servers = node.servers(3)
    daemon = node.steer(servers)
    rng = random.Random(7)
    total = 200 if SAN else 600
    turn = iter(range(total))
    lock = threading.Lock()
    kept = []

    def client():
        while True:
            with lock:
                i = next(turn, None)
                how = rng.randrange(6)
            if i is None:
                return
            with suppress(OSError):
                c = node.connect(FRONTEND["v4" if i % 2 else "v6"],
                                 source(i % 40 + 1, "v4" if i % 2 else "v6"), timeout=3)
                if how == 0:
                    c.close()
                    continue
                if how == 1:
                    c.reset()
                    continue
                c.send("/hold" if how == 2 else "/bytes/100000" if how == 3 else "/")
                if how == 2:
                    c.half_close()
                elif how == 3:
                    c.reset()
                elif how == 4:
                    c.read()
                    with lock:
                        kept.append(c)
                else:
                    c.read()
                    c.close()

    threads = [threading.Thread(target=client) for _ in range(8)]
    for t in threads:
        t.start()
    for server in servers[:2]:
        server.drop(reset=True)
        server.kill()
        server.start()
    for t in threads:
        t.join()
    for server in servers:
        server.release()
    counts_agree(node)
    for c in kept:
        c.close()
    for server in servers:
        server.drop()
    wait_for(lambda: set(node.in_flight().values()) == {0}, 15)
    counts_agree(node)
    no_drift(daemon)


@case(timeout=120, san=False)
def test_many_connections(node):
    """Tens of thousands of short connections end in zero, without drift."""
    servers = [node.nginx(f"s{i}", f"127.0.0.1:{8001 + i}") for i in range(2)]
    daemon = node.steer(servers)
    node.run("wrk", "-t2", "-c32", "-d5s", "-H", "Connection: close", "http://10.77.0.1:8000/")
    wait_for(lambda: set(node.in_flight().values()) == {0})
    total = sum(node.decisions().values())
    assert total > 5000, total
    no_drift(daemon)


@case(timeout=400, san=False, alone=True)
def test_a_storm(node):
    """300,000 connections with every kind of end, while servers are killed and started again: counts equal the socket
    table, and no drift was ever found."""
    def serve(i):
        return node.popen([CONN, "serve", 9001 + 2 * i, 2, PAGE], log=f"serve-{i}.log")

    running = {i: serve(i) for i in range(4)}
    endpoints = [{"name": f"s{i}", "listen": f"127.0.0.1:{9001 + i}"} for i in range(8)]
    daemon = node.daemon(node.config(node.pool(endpoints, frontends=[FRONTEND["v4"]])))
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    host, port = split(FRONTEND["v4"])
    storms = [node.popen([CONN, "storm", 150_000, host, port, seed], stdout=subprocess.PIPE, text=True)
              for seed in (1, 2)]
    kills = 0
    while any(s.poll() is None for s in storms):
        time.sleep(1)
        i = kills % 4
        running[i].kill()
        running[i].wait()
        running[i] = serve(i)
        kills += 1
    refused = sum(int(s.stdout.read().split()[0]) for s in storms)
    assert all(s.returncode == 0 for s in storms)
    wait_for(lambda: set(node.in_flight().values()) == {0}, 30)
    counts_agree(node)
    no_drift(daemon)
    opened = sum(daemon.metric("pintle_endpoint_connections_opened_total", pool="pool", endpoint=f"s{i}")
                 for i in range(8))
    closed = sum(daemon.metric("pintle_endpoint_connections_closed_total", pool="pool", endpoint=f"s{i}")
                 for i in range(8))
    assert opened == closed
    assert opened > 295_000, (opened, refused, kills)


def fast_at_lookup(node, count, storms=2, **more):
    """Fast servers at the lookup hook, and how to make `count` connections with every kind of end."""
    node.popen([CONN, "serve", 9001, 2, PAGE], log="serve.log")
    endpoints = [{"name": f"s{i}", "listen": f"127.0.0.1:{9001 + i}"} for i in range(2)]
    config = node.config(node.pool(endpoints, frontends=[FRONTEND["v4"]], **more))

    def make():
        host, port = split(FRONTEND["v4"])
        running = [node.popen([CONN, "storm", count // storms, host, port, seed], stdout=subprocess.PIPE, text=True)
                   for seed in range(1, 1 + storms)]
        assert [s.communicate()[0] for s in running] == ["0 0\n"] * storms

    return node, lambda: node.daemon(config), make


def fast_at_connect(node, count):
    """The same at the connect hook; each connection ends with a reset of the client's."""
    cluster = Cluster(node)
    servers = [cluster.pod(f"s{i}") for i in range(2)]
    for s in servers:
        s.popen([CONN, "serve", 8000, 1, PAGE], log=f"{s.name}.log")
    client = cluster.pod("client")
    config = cluster.config(cluster.pool(servers))

    def make():
        target = ",".join(map(str, ("pool", client.netns, client.cgroup, *split(SERVICE["v4"]))))
        client.run(CONN, "measure", 1, count, target)

    return cluster, lambda: cluster.daemon(config), make


@case(each=("lookup", "connect"), timeout=120, san=False)
def test_every_end_is_counted(node, hook):
    """Of many thousand connections a second, each end is counted and its bytes; and another daemon
    goes on from there."""
    count = 20_000
    world, start, make = {"lookup": fast_at_lookup, "connect": fast_at_connect}[hook](node, count)
    daemon = start()
    wait_for(lambda: {e["state"] for e in world.cli("endpoints")} == {"ready"}, 20)

    def summed(name):
        return sum(n for (family, _), n in daemon.metrics().items() if family == name)

    make()
    wait_for(lambda: set(world.in_flight().values()) == {0}, 30)

    def all_counted():
        assert summed("pintle_connections_ended_total") == count, {name: summed(f"pintle_{name}_total") for name in (
            "connections_ended", "endpoint_connections_opened", "endpoint_connections_closed",
            "endpoint_placements", "endpoint_placements_failed", "in_flight_drift")}
        return True

    wait_for(all_counted)
    received, seconds = (summed(f"pintle_endpoint_{n}_total") for n in ("received_bytes", "connection_seconds"))
    assert received > count / 2 and seconds > 0, (received, seconds)
    daemon.kill()
    daemon = start()
    assert summed("pintle_connections_ended_total") == count
    assert summed("pintle_endpoint_received_bytes_total") == received


def sessions_open(node, cluster=None):
    """What the sessions have open, and how much of that is idle."""
    pin = next((cluster or node).bpffs.rglob("affinity"))
    rows = json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout)
    return [(v["open"], v["idle"]) for v in (r["formatted"]["value"] for r in rows)]


@case(timeout=200, san=False)
def test_a_crowd_of_one_session(node):
    """One session's connections, bound to another endpoint again and again while others end: nothing is open in the
    end. A count that was wrong by one for each of them would make a crowd of the session for ever."""
    _, start, make = fast_at_lookup(node, 60_000, storms=12, stickiness={"key": "source/16"})
    start()
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    make()
    wait_for(lambda: set(node.in_flight().values()) == {0}, 30)
    assert sessions_open(node) == [(0, 0)]


@case(each=("connection", "request"))
def test_ends_that_nobody_saw(node, decide):
    """While a program was gone connections ended: their sessions have nothing open either."""
    servers = node.servers(2)
    more = HANDED if decide == "request" else {}
    daemon = node.steer(servers, **more)
    held = [node.connect(FRONTEND["v4"], source(1)) for _ in range(6)]
    for c in held:
        c.ask()
    wait_for(lambda: sessions_open(node) == [(6, 6)])
    daemon.kill()
    link = next(node.bpffs.rglob("link_sockops_servers"))
    node.run("bpftool", "link", "detach", "pinned", link)
    link.unlink()
    for c in held[:5]:
        c.close()
    wait_for(lambda: sum(s.counts().open for s in servers) == 1)
    daemon = node.steer(servers, **more)
    wait_for(lambda: daemon.metric("pintle_in_flight_drift_total") == 5, 30)
    wait_for(lambda: sessions_open(node)[0][0] <= 1)
    held[5].close()
    wait_for(lambda: sum(node.in_flight().values()) == 0 and sessions_open(node) == [(0, 0)])


def test_stats_add_up(node):
    """Every decision has exactly one outcome: they add up to the connections made."""
    servers = node.servers(3)
    daemon = node.steer(servers)
    with node.load(FRONTEND["v4"], workers=4) as load:
        load.go_on(200)
        servers[0].set(waiting=40)
        load.go_on(200)
        node.pintle("mode", "pool", "baseline")
        load.go_on(100)
    assert not load.failures, load.failures[:3]
    decisions = node.decisions()
    assert sum(decisions.values()) == load.done, (decisions, load.done)
    assert {"sticky", "random"} <= set(decisions)
    exported = {dict(labels)["outcome"]: n for (name, labels), n in daemon.metrics().items()
                if name == "pintle_decisions_total" and n}
    assert exported == decisions


@case(timeout=120)
def test_spoofed(node):
    """10,000 spoofed segments of each kind bind nothing, evict nothing, leave the loads as they were, and are
    forgotten."""
    node.add_client()
    servers = node.servers(3)
    daemon = node.steer(servers)
    bound = {i: node.ask(FRONTEND["v4"], source(i)) for i in range(1, 21)}
    sessions = node.cli("sessions")
    wait_for(lambda: set(node.in_flight().values()) == {0})
    loads = {e["name"]: 0 for e in node.cli("endpoints")}
    wait_for(lambda: {e["name"]: e["load"] for e in node.cli("endpoints")} == loads)
    node.ip("route", "add", "10.201.0.0/16", "via", "10.99.0.2")

    for at, kind in enumerate(("ACK", "RST", "SYN")):
        before = node.decisions()
        spoofed = [(f"10.201.{i >> 8}.{i & 255}", 1024 + i) for i in range(at * 10000, (at + 1) * 10000)]
        for _ in range(2):  # the second round finds the decisions of the first
            packets.send(node.client_netns, spoofed, ("10.77.0.1", 8000), kind)

        assert len(node.cli("sessions")) == len(sessions), kind
        counted = sum(node.decisions().values()) - sum(before.values())
        assert counted <= 10000, f"{counted} decisions for 10,000 addresses and ports of {kind}"
        for s in servers:
            s.scraped()
        wait_for(lambda: {e["name"]: e["load"] for e in node.cli("endpoints")} == loads, what=f"the loads behind {kind}")
        assert set(node.in_flight().values()) == {0}, kind
        for i, name in bound.items():
            assert node.ask(FRONTEND["v4"], source(i)) == name, (kind, i)
    wait_for(lambda: {e["pending"] for e in node.cli("endpoints")} == {0}, 40)
    no_drift(daemon)


def test_counts_survive_the_daemon(node):
    """Connections that open and close while no daemon runs are counted, too."""
    server = node.server("s0", 8001)
    daemon = node.steer([server])
    held = node.hold(FRONTEND["v4"], 4)
    daemon.kill()
    held[0][0].close()
    held += node.hold(FRONTEND["v4"], 3, first=50)
    wait_for(lambda: node.in_flight() == {"s0": 6})
    second = node.steer([server])
    assert node.in_flight() == {"s0": 6}
    for c, _ in held[1:]:
        c.close()
    wait_for(lambda: node.in_flight() == {"s0": 0})
    no_drift(second)


def test_reports_closed_connections(node):
    """`pintle events` reports closed connections: bytes in each direction, duration, outcome."""
    import json
    import subprocess

    from kernel import BUILD

    node.steer(node.servers(1))
    follower = node.popen([BUILD / "pintle", "--bpffs", node.bpffs, "events", "-o", "json"],
                          stdout=subprocess.PIPE, text=True)
    rows = []

    def read():
        for line in follower.stdout:
            rows.append(line)

    threading.Thread(target=read, daemon=True).start()

    def seen():
        with node.connect(FRONTEND["v4"], source(3)) as c:
            c.ask("/bytes/5000")
        return [r for r in rows if source(3) in r]

    line = wait_for(seen)[0].strip().strip(",[]")
    row = json.loads(line)
    assert (row["event"], row["pool"], row["endpoint"]) == ("closed", "pool", "s0"), row
    assert row["outcome"] in ("least_loaded", "sticky") and row["error"] is None, row
    assert row["client"].startswith(source(3) + ":") and row["frontend"] == FRONTEND["v4"], row
    assert row["bytes_received"] > 20 and row["bytes_acknowledged"] >= 5000, row
    assert 0 < row["duration_seconds"] < 60 and row["srtt_us"] > 0, row
    follower.terminate()
