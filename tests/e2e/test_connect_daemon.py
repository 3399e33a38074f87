# SPDX-License-Identifier: Apache-2.0
"""The connect hook over the daemon's life: death, restart, reload; endpoints that come and go."""
import subprocess
import time

from clients import split
from daemon import Daemon
from harness import case
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster
from test_connect import BOTH, all_zero, steered

PEER = BUILD / "tests/e2e/peer"


@case(timeout=120, san=False, alone=True)
def test_killed_under_ten_thousand_connections(node):
    """kill -9 while 10,000 connections are open and more come: none fails, then or later, and all
    of them are counted."""
    cluster = Cluster(node)
    peers = [cluster.pod(f"s{i}") for i in range(2)]
    pages, client = cluster.pod("pages"), cluster.pod("client")
    pages.server()
    for p in peers:
        p.popen([PEER, "serve", 8000], log=f"{p.name}.log")
    endpoints = [cluster.endpoint_of(p, metrics=f"http://{pages.address()}/metrics") for p in peers]
    pool = cluster.pool(endpoints, saturation={"staleness": "500ms"})
    daemon = cluster.steer(pool)

    def hold(count):
        holder = client.popen([PEER, "hold", count, *split(SERVICE["v4"])], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
        return holder, lambda: holder.stdout.readline().split()

    (early, said_early), (late, said_late) = hold(10_000), hold(5_000)
    assert said_early() == ["open", "10000"]
    daemon.kill()
    assert said_late() == ["open", "5000"]
    time.sleep(1)  # beyond staleness
    after, said_after = hold(1000)
    assert said_after() == ["open", "1000"]
    assert sum(cluster.in_flight().values()) == 16_000
    for holder, said in ((early, said_early), (late, said_late), (after, said_after)):
        holder.stdin.write("go\n")
        holder.stdin.flush()
        assert said() == ["failed", "0"]
    all_zero(cluster)
    again = cluster.steer(pool)
    assert again.metric("pintle_in_flight_drift_total") == 0
    placed = [e["placed"] for e in cluster.cli("endpoints")]
    assert sum(placed) == 16_000 and min(placed) > 6_000, placed


@case(timeout=120, each=BOTH)
def test_restart_under_load(node, family):
    """kill -9 and start, several times: no connection fails, no count drifts."""
    cluster, pods, client, daemon = steered(node, family, servers=3)
    with client.load(SERVICE[family]) as load:
        load.go_on(100)
        for _ in range(3):
            daemon.kill()
            load.go_on(100)
            daemon = cluster.steer(cluster.pool(pods, family=family))
            load.go_on(100)
    assert not load.failures, (len(load.failures), load.failures[:3])
    all_zero(cluster)
    assert daemon.metric("pintle_in_flight_drift_total") == 0


@case(each=("added", "first pool"))
def test_the_hook_comes_and_goes(node, how):
    """The connect programs are attached with the first pool that needs them, and taken away with
    the last; connections that are open meanwhile end in order."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    client = cluster.pod("client")
    local = cluster.machines[0].server("local", 8001)
    lookup = node.pool([local], "lookup", frontends=["10.96.0.77:8000"], announce=True)
    with_connect = cluster.config(cluster.pool(pods), lookup)

    def hooks():
        return {x["attach_type"] for x in bpftool(node, "cgroup", "show", cluster.cgroup)}

    if how == "added":
        daemon = cluster.daemon(cluster.config(lookup))
        assert not any("connect" in h for h in hooks()), hooks()
        daemon.reload(with_connect)
    else:
        daemon = cluster.daemon(with_connect)
    wait_for(lambda: len(cluster.cli("endpoints")) == 3)
    cluster.all_ready()
    assert {"cgroup_inet4_connect", "cgroup_inet6_connect", "cgroup_inet_sock_release"} <= hooks(), hooks()
    assert not any("sockopt" in h for h in hooks()), hooks()
    with client.connect(SERVICE["v4"]) as c:
        name = c.ask()
        daemon.reload(cluster.config(lookup))
        wait_for(lambda: not any("connect" in h for h in hooks()))
        assert c.ask() == name
    daemon.reload(with_connect)
    wait_for(lambda: len(cluster.cli("endpoints")) == 3)
    cluster.all_ready()
    assert client.ask(SERVICE["v4"]) in ("s0", "s1")
    all_zero(cluster)


def bpftool(node, *words):
    import json
    return json.loads(node.run("bpftool", "-j", *words).stdout.strip() or "[]")


def test_upgrade_replaces_the_programs(node):
    """A second binary takes over pins and programs; the counts of open connections stay right."""
    import shutil
    cluster, pods, client, daemon = steered(node)
    with client.connect(SERVICE["v4"]) as c:
        name = c.ask()
        other = node.dir / "pintled-new"
        shutil.copy(BUILD / "pintled", other)
        daemon.stop()
        second = Daemon(node, daemon.config, binary=other, netns=daemon.netns)
        assert cluster.in_flight()[name] == 1
        assert c.ask() == name
        assert client.ask(SERVICE["v4"]) in ("s0", "s1")
    all_zero(cluster)
    assert second.metric("pintle_in_flight_drift_total") == 0


def test_removed_and_added_again(node):
    """An endpoint that is taken out and put back is a new one: what was opened to the old one ends
    without touching its counts, and sessions bound to the old one are free."""
    cluster, pods, client, daemon = steered(node, stickiness={"key": "client"})
    with client.connect(SERVICE["v4"]) as c:
        name = c.ask()
        gone = pods[int(name[1])]
        other = pods[1 - int(name[1])]
        daemon.reload(cluster.config(cluster.pool([other], stickiness={"key": "client"})))
        wait_for(lambda: len(cluster.cli("endpoints")) == 1)
        assert client.ask(SERVICE["v4"]) == other.name
        assert c.ask() == name
        daemon.reload(cluster.config(cluster.pool([gone, other], stickiness={"key": "client"})))
        wait_for(lambda: len(cluster.cli("endpoints")) == 2)
        cluster.all_ready()
        row = cluster.endpoint(name)
        assert (row["in_flight"], row["pending"]) == (0, 0), row
    wait_for(lambda: client.in_flight() == {})
    for row in cluster.cli("endpoints"):
        assert (row["in_flight"], row["pending"]) == (0, 0), row
    assert daemon.metric("pintle_in_flight_drift_total") == 0


def test_pod_with_a_new_address(node):
    """The same name at another address is another endpoint."""
    cluster, pods, client, daemon = steered(node, servers=1)
    with client.connect(SERVICE["v4"]) as c:
        assert c.ask() == "s0"
        pods[0].batch("addr add 10.1.0.200/32 dev eth0")
        cluster.batch("route add 10.1.0.200 dev pod2")
        moved = {"name": "s0", "address": "10.1.0.200:8000"}
        daemon.reload(cluster.config(cluster.pool([moved])))
        wait_for(lambda: cluster.endpoint("s0")["address"] == "10.1.0.200:8000")
        cluster.all_ready()
        with client.connect(SERVICE["v4"]) as d:
            assert d.ask() == "s0"
            assert client.in_flight() == {pods[0].address(): 1, "10.1.0.200:8000": 1}
            assert cluster.endpoint("s0")["in_flight"] == 1
            c.close()
            wait_for(lambda: client.in_flight() == {"10.1.0.200:8000": 1})
            assert cluster.endpoint("s0")["in_flight"] == 1
    all_zero(cluster)
