# SPDX-License-Identifier: Apache-2.0
"""decide: request: every way in which a first request can come. The table of docs/handoff.md says which there are,
what becomes of each, and as what it is counted; the cases here take that from the table."""
import collections
import fcntl
import hashlib
import os
import pathlib
import re
import socket
import struct
import threading

from clients import FRONTEND, IPPROTO_MPTCP, split
from harness import case, cases_of
from kernel import TOP, Skip, inside, wait_for
from test_handoff import HANDED, REQUEST, handed, hashing, post
from test_hold import big, cut, holds, none_held
from test_xdp import ETHTOOL_SGRO, ETHTOOL_STXCSUM, becomes, ethtool, natively

EMPTY = hashlib.sha256(b"").hexdigest()
BODY = os.urandom(3000)
MSG_ZEROCOPY, SO_ZEROCOPY = 0x4000000, 60
IP_OPTIONS, IPV6_DSTOPTS = 4, 59
TCPI_OPT_ECN = 8
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000
ETHTOOL_STSO, ETHTOOL_SGSO = 0x1F, 0x24
PER_CONNECTION = ("joined", "full", "closed", "late", "reset", "given_up", "no_place")

Row = collections.namedtuple("Row", "way becomes counted shown")


def table():
    """The rows of the table in docs/handoff.md."""
    text = (TOP / "docs/handoff.md").read_text().split("\n## Every way a first request can come\n")[1].split("\n## ")[0]
    rows = [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in text.splitlines()
            if line.startswith("| ")]
    return {row.way: row for row in rows[1:]}  # without the heading


def expected(row):
    return collections.Counter(re.findall(r"`(\w+)`", row.counted))


def counted(node):
    held = {hold: n for hold, n in holds(node).items() if hold in PER_CONNECTION}
    return collections.Counter({**handed(node), **held})


# -- a client's ways -------------------------------------------------------------------


class Client:
    """A connection to the frontend that is not open yet."""

    def __init__(self, node, family, protocol=0):
        self.node, self.to = node, split(FRONTEND[family])
        with inside(node.client_netns):
            self.sock = socket.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET, socket.SOCK_STREAM, protocol)
        self.sock.settimeout(20)

    def connect(self):
        self.sock.connect(self.to)
        return self

    def nodelay(self):
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def send(self, *pieces):
        for piece in pieces:
            self.sock.sendall(piece)
        return self

    def answered(self, *bodies):
        """Reads until the server has told the hash of each body, and nothing more."""
        got = b""
        for body in bodies or (b"",):
            want = hashlib.sha256(body).hexdigest().encode()
            while want not in got:
                more = self.sock.recv(65536)
                assert more, got
                got += more
            got = got.split(want, 1)[1]
        assert not got, got
        self.sock.close()


def client_sysctl(node, name, value):
    """Sets net.ipv4.NAME in the client's namespace, and returns what it was."""
    with inside(node.client_netns):
        path = f"/proc/sys/net/ipv4/{name}"
        with open(path, encoding="ascii") as f:
            was = f.read().strip()
        with open(path, "w", encoding="ascii") as f:
            f.write(str(value))
    return was


def in_one_segment(node, family):
    Client(node, family).connect().send(post(BODY) + BODY).answered(BODY)


def without_a_body(node, family):
    Client(node, family).connect().send(REQUEST % b"a").answered()


def headers_and_body_apart(node, family):
    Client(node, family).nodelay().connect().send(post(BODY), BODY).answered(BODY)


def pieces_with_nagle(node, family):
    head = post(BODY)
    Client(node, family).connect().send(head[:30], head[30:60], head[60:], BODY).answered(BODY)


def pieces_without_nagle(node, family):
    head = post(BODY)
    Client(node, family).nodelay().connect().send(head[:30], head[30:60], head[60:], BODY).answered(BODY)


def zero_copy(node, family):
    c = Client(node, family)
    c.sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    body = os.urandom(100000)
    data = memoryview(post(body) + body)
    c.connect()
    while data:
        data = data[c.sock.send(data, MSG_ZEROCOPY):]
    c.answered(body)


def pipelined(node, family):
    other = os.urandom(100)
    first = post(BODY).replace(b"Connection: close\r\n", b"") + BODY
    Client(node, family).connect().send(first + post(other) + other).answered(BODY, other)


def websocket(node, family):
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Session-Id: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    Client(node, family).connect().send(head).answered()


def fast_open_failed(node):
    """How many SYNs had data that were not acknowledged."""
    with inside(node.client_netns), open("/proc/thread-self/net/netstat", encoding="ascii") as f:
        names, values = [line.split() for line in f if line.startswith("TcpExt:")]
    return int(values[names.index("TCPFastOpenActiveFail")])


def syn_with_data(node, family):
    was = client_sysctl(node, "tcp_fastopen", 5)  # 4: without a cookie
    before, c, data = fast_open_failed(node), Client(node, family), post(BODY) + BODY
    data = data[c.sock.sendto(data, socket.MSG_FASTOPEN, c.to):]
    c.send(data).answered(BODY)
    assert fast_open_failed(node) == before + 1
    client_sysctl(node, "tcp_fastopen", was)


def urgent_data(node, family):
    c = Client(node, family).connect()
    c.sock.send(REQUEST % b"a", socket.MSG_MORE)
    c.sock.send(b"!", socket.MSG_OOB)
    c.answered()


def with_sysctl(name, value):
    def way(node, family):
        was = client_sysctl(node, name, value)
        pieces_without_nagle(node, family)
        client_sysctl(node, name, was)
    return way


def has_ecn(sock):
    """Whether a client's socket uses ECN."""
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & TCPI_OPT_ECN)


def with_ecn(node, family):
    was = client_sysctl(node, "tcp_ecn", 1)
    head = post(BODY)
    c = Client(node, family).nodelay().connect().send(head[:30], head[30:60], head[60:], BODY[:1000])
    assert has_ecn(c.sock)
    port = c.sock.getsockname()[1]
    # `ecnseen`: a segment came that may be marked, as only those of such a connection may.
    wait_for(lambda: "ecnseen" in node.run("ss", "-tinoH", f"dport = :{port}", netns=node.netns).stdout)
    c.send(BODY[1000:]).answered(BODY)
    client_sysctl(node, "tcp_ecn", was)


def mptcp(node, family):
    try:
        c = Client(node, family, IPPROTO_MPTCP)
    except OSError as e:
        raise Skip("the kernel has no MPTCP") from e
    c.connect().send(post(BODY) + BODY).answered(BODY)


def in_ip_options(node, family):
    c = Client(node, family)
    if family == "v4":
        c.sock.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, b"\x01\x01\x01\x00")
    else:
        c.sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, b"\x00\x00\x01\x04\x00\x00\x00\x00")
    c.connect().send(post(BODY) + BODY).answered(BODY)


def nothing_comes(node, family):
    """As where the server is to speak first."""
    c = Client(node, family).connect()
    c.sock.setblocking(False)
    try:
        c.sock.recv(1)
        assert False, "nothing was to come"
    except BlockingIOError:
        pass
    c.sock.close()


WAYS = {
    "in one segment": in_one_segment,
    "without a body": without_a_body,
    "headers and body in segments of their own": headers_and_body_apart,
    "headers in pieces, with Nagle's algorithm": pieces_with_nagle,
    "headers in pieces, at once": pieces_without_nagle,
    "by MSG_ZEROCOPY": zero_copy,
    "with further requests behind it (pipelining)": pipelined,
    "WebSocket's upgrade": websocket,
    "data in the SYN (TCP Fast Open)": syn_with_data,
    "urgent data": urgent_data,
    "without timestamps": with_sysctl("tcp_timestamps", 0),
    "without SACK": with_sysctl("tcp_sack", 0),
    "without window scaling": with_sysctl("tcp_window_scaling", 0),
    "with ECN": with_ecn,
    "MPTCP": mptcp,
    "options of IP, or extension headers of IPv6": in_ip_options,
    "no request, as where the server speaks first": nothing_comes,
}


@case(each=("v4", "v6", "v4 in XDP", "v6 in XDP"))
def test_a_clients_way(node, where):
    """Each way is served, and counted as the table says."""
    rows, family, in_xdp = table(), where[:2], "XDP" in where
    if in_xdp:
        natively(node)
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    becomes(node, "native" if in_xdp else "peer")
    decided = 0
    for name, way in WAYS.items():
        before = counted(node)
        try:
            way(node, family)
        except Skip as e:
            print(f"without {name}: {e}")
            continue
        except (AssertionError, OSError) as e:
            raise AssertionError(f"{name}: {e!r}") from e
        got = counted(node) - before
        # The server closes by a reset, because nobody has read the byte: what the client acknowledges then may be of no
        # connection any more.
        if way is urgent_data:
            del got["stray"]
        # Pieces may leave together, and then are one.
        want = expected(rows[name])
        assert got == want or got | collections.Counter(joined=1) == want, (name, got)
        decided += way is not nothing_comes
        assert sum(node.decisions().values()) == decided, name
    none_held(node)


@case(each=("v4", "v6", "v4 in XDP", "v6 in XDP"))
def test_ecn_that_is_refused(node, where):
    """Nothing is promised that the server would not keep."""
    if "XDP" in where:
        natively(node)
    else:
        node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    becomes(node, "native" if "XDP" in where else "peer")
    client_sysctl(node, "tcp_ecn", 1)
    for netns, name in ((node.netns, "tcp_ecn"), (node.client_netns, "tcp_timestamps")):
        with inside(netns):
            before = pathlib.Path("/proc/sys/net/ipv4", name).read_text(encoding="ascii")
        node.sysctl(f"net.ipv4.{name}", 0, netns=netns)
        c = Client(node, where[:2]).connect()
        assert not has_ecn(c.sock), name
        c.send(post(BODY) + BODY).answered(BODY)
        node.sysctl(f"net.ipv4.{name}", before, netns=netns)


# -- a network's ways --------------------------------------------------------------------


def both_ends(node, *arguments):
    for netns in (node.netns, node.client_netns):
        node.ip("link", "set", "veth0", *arguments, netns=netns)


def mtu(size):
    return lambda node: both_ends(node, "mtu", str(size))


def whole_segments(node):
    """The client's kernel cuts what it sends into segments itself, as a network does."""
    for command in (ETHTOOL_STSO, ETHTOOL_SGSO):
        ethtool(node.client_netns, "veth0", command, 0)


def joined(node):
    whole_segments(node)
    ethtool(node.netns, "veth0", ETHTOOL_SGRO, 1)


def sums_by_software(node):
    ethtool(node.client_netns, "veth0", ETHTOOL_STXCSUM, 0)


def route_by(node, device):
    """The clients reach the frontends by this device, which both namespaces have."""
    for netns, own in ((node.netns, 1), (node.client_netns, 2)):
        node.ip("link", "set", device, "up", netns=netns)
        node.ip("addr", "add", f"10.88.0.{own}/24", "dev", device, netns=netns)
        node.ip("addr", "add", f"fd88::{own}/64", "dev", device, "nodad", netns=netns)
    for family, via in (("v4", "10.88.0.1"), ("v6", "fd88::1")):
        node.ip(f"-{family[1]}", "route", "add", split(FRONTEND[family])[0], "via", via, netns=node.client_netns)


def tunnel(node):
    """Where the kernel verifies the outer sum, packets from the tunnel are CHECKSUM_COMPLETE."""
    sums_by_software(node)
    for netns, own, other in ((node.netns, 1, 2), (node.client_netns, 2, 1)):
        made = node.run("ip", "link", "add", "vx0", "type", "vxlan", "id", "7", "local", f"10.99.0.{own}", "remote",
                        f"10.99.0.{other}", "dstport", "4789", "udpcsum", netns=netns, check=False)
        if made.returncode:
            raise Skip("the kernel has no VXLAN")
    route_by(node, "vx0")


def vlan(node):
    for netns in (node.netns, node.client_netns):
        made = node.run("ip", "link", "add", "link", "veth0", "name", "vlan5", "type", "vlan", "id", "5", netns=netns,
                        check=False)
        if made.returncode:
            raise Skip("the kernel has no VLANs")
    route_by(node, "vlan5")


def bare_ip(node):
    """A pair of tun devices, between which packets are carried here."""
    fds = []
    for netns in (node.netns, node.client_netns):
        with inside(netns):
            try:
                fds.append(os.open("/dev/net/tun", os.O_RDWR))
                fcntl.ioctl(fds[-1], TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
            except OSError as e:
                raise Skip(f"the kernel has no tun: {e}") from e
    route_by(node, "tun0")

    def carry(frm, to):
        while True:
            os.write(to, os.read(frm, 70000))

    for ends in (fds, fds[::-1]):
        threading.Thread(target=carry, args=ends, daemon=True).start()


NETWORKS = {
    "MTU 1280": mtu(1280),
    "MTU 9000": mtu(9000),
    "segments as they are on the wire": whole_segments,
    "segments joined by the device (GRO)": joined,
    "checksums made by software": sums_by_software,
    "by a tunnel (VXLAN)": tunnel,
    "by a VLAN": vlan,
    "by a device without a link layer (tun)": bare_ip,
}


@case(each=tuple(NETWORKS))
def test_a_network(node, which):
    """Bodies and headers of many sizes arrive as they were sent, however the network cuts them."""
    row = table()[which]
    node.add_client()
    NETWORKS[which](node)
    node.steer(hashing(node, 2), **HANDED)
    asked = 0
    for family in ("v4", "v6"):
        for size in (0, 1, 1199, 1400, 8900, 70000):
            body = os.urandom(size)
            head = post(body)
            for pieces in ([head + body], [head, body], [head[:40], head[40:] + body]):
                c = Client(node, family).nodelay().connect()
                c.send(pieces[0])
                for piece in filter(None, pieces[1:]):
                    wait_for(lambda c=c: c.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[24:28] == bytes(4),
                             what="what was sent before is acknowledged")
                    c.send(piece)
                c.answered(body)
                asked += 1
        for size in (1500, 4000, 12000):
            Client(node, family).nodelay().connect().send(*cut(big(size), size // 2)).answered()
            asked += 1
    assert handed(node) == {name: asked for name in expected(row)}, handed(node)
    none_held(node)


def test_more_routes_than_are_followed(node):
    """With more prefixes than hand_ways holds, clients are served still; the log says so once, and pintle doctor."""
    node.add_client()
    daemon = node.steer(hashing(node, 1), **HANDED) or node.daemons[-1]
    more = [f"10.{200 + i // 256}.{i % 256}.0/24 dev veth0" for i in range(1100)]
    node.run("ip", "-batch", node.write("routes", "".join(f"route add {r}\n" for r in more)))
    many = "the routes have more than 1024 prefixes"
    wait_for(lambda: many in daemon.log(), 30)
    for family in ("v4", "v6"):
        Client(node, family).connect().send(post(BODY) + BODY).answered(BODY)
    assert many in node.pintle("doctor", check=False).stdout
    node.run("ip", "-batch", node.write("routes", "".join(f"route del {r}\n" for r in more)))
    wait_for(lambda: "the routes have no more than 1024 prefixes" in daemon.log(), 30)
    assert daemon.log().count(many) == 1, daemon.log()
    assert many not in node.pintle("doctor", check=False).stdout


# -- the table -----------------------------------------------------------------------------


def test_table(node):
    """Every row is a way that is tried here, or names the cases that show it; and each name is one that is counted."""
    rows = table()
    missing = (set(WAYS) | set(NETWORKS)) - set(rows)
    assert not missing, missing
    known = {c for c in re.findall(r'X\(\w+, "(\w+)"', (TOP / "headers/pintle/abi.h").read_text())}
    for row in rows.values():
        assert set(expected(row)) <= known, row
        for name in re.findall(r"`([\w/]+)`", row.shown):  # files are e2e/docs'
            layer, _, one = name.partition("/")
            if layer == "ways":
                assert row.way in {"a_clients_way": WAYS, "a_network": NETWORKS}[one], row
            else:
                assert one in {c.name.split("[")[0] for c in cases_of(__import__(f"test_{layer}"))}, row
