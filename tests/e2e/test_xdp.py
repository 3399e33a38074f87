# SPDX-License-Identifier: Apache-2.0
"""The handshakes of pools with decide: request, answered in XDP where a device can."""
import array
import contextlib
import fcntl
import json
import os
import re
import socket
import struct
import time

import tc
import test_handoff
from clients import CLIENT_ADDRESS, FRONTEND, NODE_ADDRESS, source, split
from harness import case
from kernel import HERE, Skip, inside, wait_for
from packets import FLAGS, checksum, segment
from packets import send as send_segments
from test_handoff import HANDED, REQUEST, ask, exchange, handed, hashing
from test_oneshot import oneshots

SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM, ETHTOOL_SGRO, ETHTOOL_GFLAGS, ETHTOOL_SFLAGS = 0x17, 0x2C, 0x25, 0x26
FLAG_RXVLAN = 1 << 8


def ethtool(netns, device, command, value=0):
    with inside(netns):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    data = array.array("I", [command, value])
    with s:
        fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sP", device.encode(), data.buffer_info()[0]))
    return data[1]


def on_devices(node):
    """{device: what XDP it has, or why none}."""
    return {row["device"]: row["xdp"] for row in node.cli("status")[0]["handoff_on"]}


def becomes(node, xdp, device="veth0"):
    wait_for(lambda: on_devices(node).get(device) == xdp, what=f"{device} has {xdp}")


def pins(node):
    return sorted(p.name for p in node.bpffs.rglob("xdp_*"))


def natively(node):
    """The other end of the client's veth takes what XDP sends: then that has native XDP. That end is the clients'
    gateway, whose address the node knows: else TC answers until pintled finds it out."""
    node.add_client()
    ethtool(node.client_netns, "veth0", ETHTOOL_SGRO, 1)
    mac = address(node, node.client_netns).hex(":")
    for gateway in CLIENT_ADDRESS.values():
        node.ip("neigh", "replace", gateway, "lladdr", mac, "dev", "veth0")


def address(node, netns, device="veth0"):
    (row,) = json.loads(node.run("ip", "-j", "link", "show", "dev", device, netns=netns).stdout)
    return bytes.fromhex(row["address"].replace(":", ""))


def another_device(node):
    """A change of links, at which pintled looks at all of them."""
    node.ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")


class Coming:
    """Counts the packets that become an skb on a device."""

    def __init__(self, node, device="veth0"):
        with inside(node.netns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
            self.sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
            self.sock.bind((device, 3))
        self.count()

    def count(self, flags=None):
        """How many have come since the last call; with `flags`, of TCP with these flags alone."""
        n = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, (_, _, kind, _, _) = self.sock.recvfrom(2048)
                if kind == socket.PACKET_OUTGOING or packet[12:14] != b"\x08\x00" or packet[23] != 6:
                    continue
                n += flags is None or packet[47] & 0x3F == flags
        return n


# -- what TC does, XDP does ------------------------------------------------------------


@case(timeout=120, each=(
    "each_session_keeps_its_server/v4 remote", "each_session_keeps_its_server/v6 remote", "bodies_arrive/v4 remote",
    "bodies_arrive/v6 remote", "shapes_of_requests", "expect_continue", "the_end_behind_the_request", "no_request",
    "a_late_request", "loss", "the_same_port_again/veth", "restart_between_handshake_and_request",
    "by_connection_again", "mode_off", "nobody_serves", "refused_by_access", "spoofed",
    "data_of_a_connection_that_is_over"))
def test_as_in_tc(node, which):
    """The cases of the hand-off hold where XDP answers the handshakes."""
    natively(node)
    name, *more = which.split("/")
    getattr(test_handoff, f"test_{name}")(node, *more)
    becomes(node, "native")


@case(each=("v4", "v6"))
def test_one_request_per_connection(node, family):
    """The server closes each connection after its first answer, though TC has seen no SYN."""
    natively(node)
    node.steer(hashing(node, 2), requests="one-per-connection", **HANDED)
    becomes(node, "native")
    request = REQUEST.replace(b"Connection: close", b"Connection: keep-alive") % b"a"
    for _ in range(30):
        assert exchange(node, [request], family=family)  # read until the server closes
    assert oneshots(node) == {"rewritten_connection": 30}


def test_answered_before_there_is_a_packet(node):
    """Handshakes make no packet for the kernel, but one in a second, which shows that TC is there."""
    natively(node)
    node.steer(node.servers(2), **HANDED)
    becomes(node, "native")
    coming = Coming(node)
    began = time.monotonic()
    for i in range(100):
        node.connect(FRONTEND["v4"], (source(i, remote=True), 2000 + i), remote=True).reset()
    seconds = time.monotonic() - began
    assert coming.count(FLAGS["SYN"]) <= 1 + 2 * seconds, seconds
    assert ask(node, {"X-Session-Id": "a"})
    assert handed(node) == {"asked": 1, "no_request": 100}


@case(each=("native", "off"))
def test_flood(node, how):
    """A flood of SYNs beside honest clients: no error; natively the kernel sees next to none of it."""
    natively(node)
    node.daemon(node.config(node.pool(node.servers(2), **HANDED), xdp=how))
    becomes(node, how)
    assert ask(node, {"X-Session-Id": "a"})
    coming = Coming(node)
    began = time.monotonic()
    sent = 0
    for i in range(20):
        frm = [(source(j % 250, remote=True), 1024 + i * 500 + j) for j in range(500)]
        send_segments(node.client_netns, frm, split(FRONTEND["v4"]), "SYN")
        sent += len(frm)
        assert ask(node, {"X-Session-Id": str(i)})
    seconds = time.monotonic() - began
    seen = coming.count(FLAGS["SYN"])
    if how == "native":
        assert seen <= 20 + 2 * seconds, (seen, seconds)
    else:
        assert seen > sent / 2, (seen, sent)
    assert handed(node) == {"asked": 21}, handed(node)
    assert sum(node.decisions().values()) == 21
    wait_for(lambda: not any(node.in_flight().values()))


def test_flood_of_acks(node):
    """What no cookie explains reaches TC a thousand times a second at most; clients are served."""
    natively(node)
    node.steer(node.servers(1), **HANDED)
    becomes(node, "native")
    assert ask(node, {"X-Session-Id": "a"})
    coming = Coming(node)
    began = time.monotonic()
    for i in range(20):
        frm = [(source(j % 250, remote=True), 1024 + i * 500 + j) for j in range(500)]
        send_segments(node.client_netns, frm, split(FRONTEND["v4"]), "ACK")
    seconds = time.monotonic() - began
    cpus = len(os.sched_getaffinity(0))
    assert coming.count(FLAGS["ACK"]) <= 1000 * cpus * (seconds + 2), seconds
    assert ask(node, {"X-Session-Id": "b"})
    said = handed(node)
    assert said.pop("stray") <= 1000 * cpus * (seconds + 2), said
    assert said == {"asked": 2}


def test_other_traffic_passes(node):
    """Frames that are not for the frontend, or for another machine, pass."""
    natively(node)
    own = node.server("own", f"{NODE_ADDRESS['v4']}:9000")
    node.steer(node.servers(1), **HANDED)
    becomes(node, "native")
    assert ask(node, {"X-Session-Id": "a"})
    assert node.ask(own.listen, remote=True) == "own"
    coming = Coming(node)
    mac = bytes.fromhex("020000000009")  # nobody's
    with inside(node.client_netns):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind(("veth0", 0x800))
    packet = bytearray(segment((source(1, remote=True), 5000), split(FRONTEND["v4"]), FLAGS["SYN"]))
    packet[2:4] = struct.pack("!H", len(packet))
    with raw:
        raw.send(mac + b"\x02" * 6 + b"\x08\x00" + bytes(packet))
    wait_for(lambda: coming.count(FLAGS["SYN"]) == 1)


# -- where it can be --------------------------------------------------------------------


def test_where_it_is(node):
    """Loopback and a veth whose other end drops what XDP sends have none; each key has its way."""
    node.add_client()
    servers = node.servers(1)
    daemon = node.steer(servers, **HANDED)
    assert on_devices(node) == {"lo": "unable", "veth0": "peer"}
    assert ask(node, {"X-Session-Id": "a"})
    ethtool(node.client_netns, "veth0", ETHTOOL_SGRO, 1)
    another_device(node)
    becomes(node, "native")
    assert ask(node, {"X-Session-Id": "a"})
    for how in ("off", "native"):
        daemon.reload(node.config(node.pool(servers, **HANDED), xdp=how))
        becomes(node, how)
        assert pins(node) == [] if how == "off" else len(pins(node)) >= 1, pins(node)
        assert ask(node, {"X-Session-Id": "a"})
    assert daemon.metric("pintle_handoff_device_info", device="veth0", xdp="native") == 1
    assert "veth0 (XDP)" in node.pintle("status").stdout
    assert "veth0: handshakes are answered in XDP" in node.pintle("doctor", check=False).stdout
    ethtool(node.client_netns, "veth0", ETHTOOL_SGRO, 0)
    node.ip("link", "del", "d0")
    becomes(node, "peer")
    assert ask(node, {"X-Session-Id": "a"})


@contextlib.contextmanager
def others_program(node, device="veth0"):
    """An XDP program of somebody else is attached meanwhile."""
    pin = node.bpf_mount / "other_xdp"
    node.run("bpftool", "prog", "load", node.compile_bpf(HERE / "neighbour_xdp.bpf.c"), pin, "type", "xdp")
    node.run("ip", "link", "set", "dev", device, "xdpdrv", "pinned", pin, netns=node.netns)
    try:
        yield
    finally:
        node.run("ip", "link", "set", "dev", device, "xdpdrv", "off", netns=node.netns)
        pin.unlink()


def test_anothers_program_stays(node):
    """Another XDP program is not displaced; TC answers as long as it is there."""
    natively(node)
    with others_program(node):
        daemon = node.steer(node.servers(1), **HANDED)
        assert on_devices(node)["veth0"] == "taken"
        assert "other_xdp" in node.run("ip", "-d", "link", "show", "veth0", netns=node.netns).stdout
        assert ask(node, {"X-Session-Id": "a"})
        assert pins(node) == []
        told = r"another XDP program is attached, and stays: other_xdp \(id \d+\)"
        assert re.search(told, node.pintle("doctor", check=False).stdout)
        assert re.search(told, daemon.log()), daemon.log()
    another_device(node)
    becomes(node, "native")
    assert ask(node, {"X-Session-Id": "a"})


def test_devices_come_and_go(node):
    """A device that is made anew has XDP again; nothing is left of the former one."""
    natively(node)
    node.steer(node.servers(1), **HANDED)
    becomes(node, "native")
    node.ip("link", "del", "veth0")
    wait_for(lambda: set(on_devices(node)) == {"lo"} and not pins(node))
    node.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", node.client_netns.name)
    becomes(node, "peer")
    ethtool(node.client_netns, "veth0", ETHTOOL_SGRO, 1)
    node.ip("link", "set", "veth0", "up")
    becomes(node, "native")
    assert len(pins(node)) == 1


def test_a_device_that_moves(node):
    """A device that another namespace is given does not take the program along."""
    natively(node)
    node.steer(node.servers(1), **HANDED)
    becomes(node, "native")
    node.ip("link", "set", "veth0", "netns", node.client_netns.name, "name", "moved")
    wait_for(lambda: not pins(node))
    assert "xdp" not in node.run("ip", "link", "show", "moved", netns=node.client_netns).stdout


@case(each=("stop", "kill"))
def test_without_a_daemon(node, how):
    """XDP answers on without the daemon, and the next one replaces its program in one step. Where the node does not
    forward, XDP answers clients behind a gateway; its neighbours are TC's."""
    natively(node)
    servers = node.servers(1)
    daemon = node.steer(servers, **HANDED)
    becomes(node, "native")
    getattr(daemon, how)()
    coming = Coming(node)
    for i in range(20):
        assert ask(node, {"X-Session-Id": str(i)}, source(i, remote=True))
    assert coming.count(FLAGS["SYN"]) < 20
    before = pins(node)
    node.daemon(node.config(node.pool(servers, **HANDED)))
    assert pins(node) == before
    assert ask(node, {"X-Session-Id": "a"})


def test_a_pin_that_is_removed(node):
    """While pintled runs, a removed pin is put back."""
    natively(node)
    daemon = node.steer(node.servers(1), **HANDED)
    becomes(node, "native")
    (pin,) = node.bpffs.rglob("xdp_*")
    pin.unlink()
    wait_for(pin.exists, 30)  # it looks every 15 seconds
    assert ask(node, {"X-Session-Id": "a"})
    daemon.stop()
    assert ask(node, {"X-Session-Id": "a"})


def test_detached(node):
    natively(node)
    daemon = node.steer(node.servers(1), **HANDED)
    becomes(node, "native")
    assert "xdp" in node.run("ip", "link", "show", "veth0", netns=node.netns).stdout
    daemon.stop()
    assert "xdp" in node.run("ip", "link", "show", "veth0", netns=node.netns).stdout
    node.detach()
    assert "xdp" not in node.run("ip", "link", "show", "veth0", netns=node.netns).stdout


def test_tc_is_taken_away(node):
    """Where the hand-off's filter is gone, or another takes the packets before it, XDP is silent
    within a second: the kernel answers, and the connection is decided by its address."""
    natively(node)
    daemon = node.steer(node.servers(1), **HANDED)
    becomes(node, "native")
    assert ask(node, {"X-Session-Id": "a"})
    daemon.kill()
    tc.take_away(node, "pintle_hand", "veth0")
    wait_for(lambda: exchange(node, [REQUEST % b"a"]))
    for _ in range(5):
        assert ask(node, {"X-Session-Id": "a"})
    assert handed(node) == {"asked": 1}


def test_tags_of_vlans(node):
    """A device that takes the tags of VLANs off shows XDP none of them, so that TC answers; where
    they stay in the frames, XDP answers, and keeps them."""
    natively(node)
    made = node.run("ip", "link", "add", "link", "veth0", "name", "vlan5", "type", "vlan", "id", "5",
                    netns=node.netns, check=False)
    if made.returncode:
        raise Skip("the kernel has no VLANs")
    node.ip("link", "add", "link", "veth0", "name", "vlan5", "type", "vlan", "id", "5", netns=node.client_netns)
    for netns, own in ((node.netns, "10.88.0.1"), (node.client_netns, "10.88.0.2")):
        node.ip("link", "set", "vlan5", "up", netns=netns)
        node.ip("addr", "add", f"{own}/24", "dev", "vlan5", netns=netns)
    to = "10.88.0.1:8000"
    node.steer(node.servers(1), frontends=[to], announce=False, **HANDED)
    for takes, xdp in ((True, "tags"), (False, "native")):
        flags = ethtool(node.netns, "veth0", ETHTOOL_GFLAGS) & ~FLAG_RXVLAN
        ethtool(node.netns, "veth0", ETHTOOL_SFLAGS, flags | FLAG_RXVLAN if takes else flags)
        becomes(node, xdp)
        for _ in range(3):
            with node.connect(to, remote=True) as c:
                assert c.ask(close=True, headers={"X-Session-Id": "a"}) == "s0"
    assert handed(node) == {"asked": 6}


def test_a_tagged_frame(node):
    """A tag that is in the frame is in the answer, too."""
    natively(node)
    node.steer(node.servers(1), **HANDED)
    becomes(node, "native")
    assert ask(node, {"X-Session-Id": "a"})
    ours, theirs = (address(node, n) for n in (node.netns, node.client_netns))
    with inside(node.client_netns):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    raw.bind(("veth0", 3))
    raw.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the tag that the kernel took off
    packet = bytearray(segment((source(1, remote=True), 5000), split(FRONTEND["v4"]), FLAGS["SYN"]))
    packet[2:4] = struct.pack("!H", len(packet))
    packet[10:12] = struct.pack("!H", checksum(bytes(packet[:20])))
    raw.settimeout(0.1)

    def answered():
        raw.send(ours + theirs + bytes.fromhex("81000005") + b"\x08\x00" + bytes(packet))
        with contextlib.suppress(TimeoutError):
            while True:
                answer, extra, _, (_, _, kind, _, _) = raw.recvmsg(2048, 128)
                tag = struct.unpack("IIIHHHH", extra[0][2])[5] if extra else None
                if kind != socket.PACKET_OUTGOING and tag == 5 and answer[23] == 6 and answer[47] == 0x12:
                    return True
        return False

    with raw:
        wait_for(answered)
