# SPDX-License-Identifier: Apache-2.0
"""Question: what a flood of SYNs costs at a frontend that is decided by request, in XDP and in TC,
beside the kernel's own SYN cookies; and what honest clients feel meanwhile."""
import collections
import statistics

from clients import NODE_ADDRESS
from common import CONN, HTTP, PAGE, table
from kernel import wait_for
from test_xdp import ETHTOOL_SGRO, address, ethtool, on_devices

SERVERS = 2
SYNS = 300_000
RATE = 20_000
SECONDS = 30  # after which a flood ends by itself
NOBODY = "02:00:00:00:00:09"

Way = collections.namedtuple("Way", "name port xdp mac")


def flood(node, way, rate, syns):
    """The command that sends SYNs to the node by the client's veth."""
    mac = way.mac or ":".join(f"{b:02x}" for b in address(node, node.netns))
    return [CONN, "flood", rate, syns, "veth0", mac, NODE_ADDRESS["v4"], way.port]


def honest(node, way, seconds):
    out = node.run(HTTP, "ask", 4, seconds, 1024, "close", NODE_ADDRESS["v4"], way.port,
                   netns=node.client_netns, timeout=120).stdout.split()
    requests, errors, took, _, p50, p99 = map(float, out)
    return requests / took, errors, p50, p99


def cost_of_flood(node, quick):
    node.add_client()
    ethtool(node.client_netns, "veth0", ETHTOOL_SGRO, 1)
    node.sysctl("net.ipv4.tcp_syncookies", 2)  # always, as under a flood that fills the queue
    node.popen([HTTP, "serve", 9001, SERVERS + 1, PAGE], netns=node.netns, log="http.log")
    wait_for(lambda: "listening" in (node.dir / "http.log").read_text(), 20, "servers to listen")
    pool = node.pool([{"name": f"e{i}", "listen": 9002 + i} for i in range(SERVERS)], decide="request",
                     frontends=[f"{NODE_ADDRESS['v4']}:8000"], announce=False,
                     stickiness={"key": ["header/x-session-id", "none"]})
    daemon = node.daemon(node.config(pool, xdp="off"))
    wait_for(lambda: daemon.metric("pintle_pool_ready_endpoints", pool="pool") == SERVERS, 60, "endpoints")
    quiet = [Way("no flood, the kernel", 9001, "off", None), Way("no flood, hand-off in TC", 8000, "off", None),
             Way("no flood, hand-off in XDP", 8000, "native", None)]
    ways = [Way("thrown away at once", 8000, "off", NOBODY), Way("the kernel's SYN cookies", 9001, "off", None),
            Way("hand-off in TC", 8000, "off", None), Way("hand-off in XDP", 8000, "native", None)]
    took, felt = collections.defaultdict(list), collections.defaultdict(list)
    for _ in range(1 if quick else 5):
        for way in quiet + ways:
            daemon.reload(node.config(pool, xdp=way.xdp))
            wait_for(lambda: on_devices(node)["veth0"] == way.xdp, 20, way.xdp)  # noqa: B023
            if way in quiet:
                felt[way.name].append(honest(node, way, 0.5 if quick else 2))
                continue
            took[way.name].append(float(node.run(*flood(node, way, 0, SYNS // 10 if quick else SYNS),
                                                 netns=node.client_netns, timeout=120).stdout))
            if way.mac:
                continue
            beside = node.popen(flood(node, way, RATE, SECONDS * RATE), netns=node.client_netns, log="flood.log")
            felt[way.name].append(honest(node, way, 0.5 if quick else 2))
            assert beside.poll() is None, (node.dir / "flood.log").read_text()
            beside.kill()
            beside.wait()
    least = took[ways[0].name]
    rows = []
    for way in quiet + ways:
        row = [way.name, "-", "-"]
        if took[way.name]:
            added = [a - b for a, b in zip(took[way.name], least)]
            row[1:] = [f"{statistics.median(took[way.name]):.0f}", f"{statistics.median(added):.0f}"]
        if felt[way.name]:
            rate, _, p50, p99 = (statistics.median(v) for v in zip(*felt[way.name]))
            errors = sum(f[1] for f in felt[way.name])
            row += [f"{rate:,.0f}", f"{p50:.0f}", f"{p99:.0f}", f"{errors:.0f}"]
        rows.append(row + ["-"] * (7 - len(row)))
    return table("A flood of SYNs", WHAT, ["way", "ns a SYN", "ns added", "requests/s meanwhile", "p50 us", "p99 us",
                                          "errors"], rows)


WHAT = ("SYNs from 65,536 addresses over a veth, sent, received and answered on one CPU: the time of each, and what "
        "it adds to the sender's (frames for an unknown link address are thrown away at once). Then four clients "
        f"that open a connection for each request, beside a flood of {RATE:,} a second. On a network card, XDP also "
        "saves making a packet of each frame.")
