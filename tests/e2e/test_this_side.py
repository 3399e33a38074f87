# SPDX-License-Identifier: Apache-2.0
"""decide: request: what of the server's machine bears on a handshake. The hand-off answers a SYN as the kernel does with
the same settings. The table of docs/handoff.md has a row for each; the cases here take the rows from it."""
import collections
import contextlib
import os
import socket
import struct

from clients import CLIENT_ADDRESS, FRONTEND, NODE_ADDRESS, REMOTE_SOURCES, source, split
from harness import case
from kernel import Skip, inside, trying, wait_for
from test_handoff import HANDED, handed, hashing, post
from test_hold import none_held
from test_ways import ETHTOOL_SGSO, ETHTOOL_STSO, Client
from test_xdp import becomes, ethtool, natively

FAMILIES = ("v4", "v6")
WHERE = ("TC", "XDP")
SACK, TIMES, SCALE, ECN = 0x02, 0x01, 0x04, 0x08  # TCPI_OPT_*
BODY = os.urandom(30000)

Answer = collections.namedtuple("Answer", "mss sack times scale ecn")


class Watch:
    """Sees the segments that come to a client by a device; None: by any."""

    def __init__(self, netns, device="veth0"):
        with inside(netns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            if device:
                self.sock.bind((device, 3))
        self.sock.settimeout(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def answer(self, family, port, device=False, data=False):
        """The SYN's answer to that port of a client, or the first segment with `data`; with `device`, by which it came,
        too."""
        header, protocol, skip = (9, 0x0800, 20) if family == "v4" else (6, 0x86DD, 40)
        while True:
            packet, (by, kind, way, _, _) = self.sock.recvfrom(2048)
            tcp = packet[skip:]
            if kind == protocol and way != socket.PACKET_OUTGOING and packet[header] == socket.IPPROTO_TCP \
                    and struct.unpack("!H", tcp[2:4])[0] == port and \
                    (len(tcp) > (tcp[12] >> 4) * 4 if data else tcp[13] & 0x12 == 0x12):
                if data:
                    return by, tcp
                return (by, parsed(tcp)) if device else parsed(tcp)


def parsed(tcp):
    options, found = tcp[20:(tcp[12] >> 4) * 4], {}
    while options and options[0]:
        size = 1 if options[0] == 1 else options[1]
        found[options[0]] = options[2:size]
        options = options[size:]
    return Answer(int.from_bytes(found[2], "big"), 4 in found, 8 in found, 3 in found, bool(tcp[13] & 0x40))


def opened(node, family):
    """A connection to the frontend, and how its SYN was answered."""
    with Watch(node.client_netns) as watch:
        c = Client(node, family).nodelay().connect()
        return c, watch.answer(family, c.sock.getsockname()[1])


def served(node, family):
    """Asks for something, and returns how the SYN was answered, and what options the client's socket has."""
    c, answer = opened(node, family)
    head = post(BODY)
    c.send(head[:40], head[40:] + BODY)
    options = c.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & (SACK | TIMES | SCALE | ECN)
    c.answered(BODY)
    return answer, options


class Since:
    """Counts what the hand-off did since this was made."""

    def __init__(self, node):
        self.node, self.before = node, collections.Counter(handed(node))

    def counts(self):
        return collections.Counter(handed(self.node)) - self.before


@contextlib.contextmanager
def by_the_kernel(node):
    """The hand-off leaves SYNs to the kernel meanwhile."""
    node.pintle("set", "pool", "decide=connection")
    yield
    node.pintle("reset", "pool", "decide")


def as_the_kernel(node):
    """Returns the answers to clients of both families; asserts that the kernel's are the same."""
    since = Since(node)
    got = [served(node, family) for family in FAMILIES]
    assert since.counts() == {"asked": 2}, since.counts()
    with by_the_kernel(node):
        want = [served(node, family) for family in FAMILIES]
    assert got == want, (got, want)
    return [answer for answer, _ in got]


def route(node, family, *arguments, **more):
    node.ip(f"-{family[1]}", "route", *arguments, **more)


def begin(node, where):
    if where == "XDP":
        natively(node)
    else:
        node.add_client()
    daemon = node.steer(hashing(node, 2), **HANDED)
    becomes(node, "native" if where == "XDP" else "peer")
    return daemon


# -- sysctls ------------------------------------------------------------------------------


OFFERED = {"tcp_timestamps": "times", "tcp_sack": "sack", "tcp_window_scaling": "scale"}


def sysctls_of_options(node):
    """What this namespace does not have is not offered: nothing is refused, and a change counts at once."""
    assert all(a.sack and a.times and a.scale for a in as_the_kernel(node))
    for name, field in OFFERED.items():
        node.sysctl(f"net.ipv4.{name}", 0)
        with trying(name):
            answers = as_the_kernel(node)
        for answer in answers:
            assert [f for f in OFFERED.values() if not getattr(answer, f)] == [field], (name, answer)
        node.sysctl(f"net.ipv4.{name}", 1)
    for name in OFFERED:
        node.sysctl(f"net.ipv4.{name}", 0)
    assert not any(any(answer[1:4]) for answer in as_the_kernel(node))
    for name in OFFERED:
        node.sysctl(f"net.ipv4.{name}", 1)
    none_held(node)


def sysctls_that_change_behind_a_handshake(node):
    """What was offered a moment before is not refused."""
    since = Since(node)
    for family in FAMILIES:
        for name, field in OFFERED.items():
            c, answer = opened(node, family)
            assert getattr(answer, field), (name, answer)
            node.sysctl(f"net.ipv4.{name}", 0)
            with trying(f"{name}, {family}"):
                c.send(post(b"a") + b"a").answered(b"a")
            node.sysctl(f"net.ipv4.{name}", 1)
    assert since.counts() == {"asked": 6}, since.counts()


# -- clients that take small segments -----------------------------------------------------


def maximum(node, family, mss):
    """The clients' routes say how large segments they take."""
    route(node, family, "change", "default", "via", NODE_ADDRESS[family], "advmss", str(mss), netns=node.client_netns)


def server_socket(node, host, port):
    """What ss says of the server's socket; other sockets of the node may have a peer with the same port."""
    host = f"[{host}]" if ":" in host else host
    return node.run("ss", "-tinHO", f"dst {host}:{port}", netns=node.netns).stdout


def sent_size(node, host, port):
    """The largest segment that the server sends there."""
    text = server_socket(node, host, port)
    return int(text.split(" mss:")[1].split()[0]) if " mss:" in text else None


def small_segments(node):
    """A client that takes none so large as the kernel's function wants is the kernel's: it gets no larger ones."""
    since, decided, want = Since(node), sum(node.decisions().values()), collections.Counter()
    for family, least in (("v4", 536), ("v6", 1220)):
        for mss in (least, least - 1, 300):
            maximum(node, family, mss)
            c = Client(node, family).connect().send(post(BODY) + BODY[:-1])
            size = sent_size(node, *c.sock.getsockname()[:2])
            assert size == mss - 12, (family, mss, size)
            c.send(BODY[-1:]).answered(BODY)
            want["asked" if mss >= least else "by_connection"] += 1
            assert since.counts() == want, (family, mss, since.counts())
        route(node, family, "change", "default", "via", NODE_ADDRESS[family], netns=node.client_netns)
    assert sum(node.decisions().values()) == decided + 6


# -- the way to the client ------------------------------------------------------------------


VIAS = {"v4": {"veth0": CLIENT_ADDRESS["v4"], "veth1": "10.98.0.2"}, "v6": {"veth0": CLIENT_ADDRESS["v6"], "veth1": "fd98::2"}}


def forward(node, on=1):
    """Where a machine does not forward, the kernel tells a program nothing of its routes."""
    for name in ("net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding"):
        node.sysctl(name, on)


def two_uplinks(node, where):
    """The clients reach the node by veth0, and are to be reached by veth1, too."""
    daemon = begin(node, where)
    node.ip("link", "add", "veth1", "type", "veth", "peer", "name", "veth1", "netns", node.client_netns.name)
    for netns, own in ((node.netns, 1), (node.client_netns, 2)):
        node.sysctl("net.ipv4.conf.all.rp_filter", 0, netns=netns)
        for device in ("veth0", "veth1"):
            node.sysctl(f"net.ipv4.conf.{device}.rp_filter", 0, netns=netns)
        node.ip("link", "set", "veth1", "up", netns=netns)
        node.ip("addr", "add", f"10.98.0.{own}/24", "dev", "veth1", netns=netns)
        node.ip("addr", "add", f"fd98::{own}/64", "dev", "veth1", "nodad", netns=netns)
    becomes(node, "peer", "veth1")
    return daemon


VERB = {True: "add", False: "del"}


def by_route(node, family, on):
    route(node, family, "replace", REMOTE_SOURCES[family], "via", VIAS[family]["veth1" if on else "veth0"])


def by_longer_route(node, family, on):
    """A route to some of the clients, within that to all."""
    frm = source(7, family, remote=True)
    route(node, family, VERB[on], frm, "via", VIAS[family]["veth1"])


def by_rule(node, family, on, *which):
    route(node, family, VERB[on], "default", "via", VIAS[family]["veth1"], "table", "100")
    node.ip(f"-{family[1]}", "rule", VERB[on], *which, "lookup", "100")


def by_source_rule(node, family, on):
    """Another table for the frontend's address, as on machines with two networks."""
    by_rule(node, family, on, "from", split(FRONTEND[family])[0])


def by_mark_rule(node, family, on):
    """What is not marked is routed by the other tables."""
    by_rule(node, family, on, "fwmark", "7")


def by_input_rule(node, family, on):
    """What the machine itself sends did not come in by that device."""
    by_rule(node, family, on, "iif", "veth0")


# Each has another device than the one before: when answers leave by it, pintled has seen the change.
WAYS = {
    "another device": (by_route, "veth1"),
    "`ip rule` by a mark": (by_mark_rule, "veth0"),
    "another device for some": (by_longer_route, "veth1"),
    "`ip rule` by the device": (by_input_rule, "veth0"),
    "`ip rule` by the frontend's address": (by_source_rule, "veth1"),
}


def came_by(node, family):
    """The device by which a client got the answer to its SYN, and the answer."""
    with Watch(node.client_netns, None) as watch:
        with node.connect(FRONTEND[family], source(7, family, remote=True), remote=True) as c:
            port = c.sock.getsockname()[1]
            assert c.ask(close=True, headers={"X-Session-Id": "a"})
        return watch.answer(family, port, device=True)


def the_way(node, forwarding):
    """Answers leave by the client's route, as the kernel's do."""
    since, former = Since(node), None
    for way, (change, device) in [*WAYS.items(), ("none of these", (None, "veth0"))]:
        for family in FAMILIES:
            if former:
                former(node, family, False)
            if change:
                change(node, family, True)
        what = f"{way}, forwarding {forwarding}"
        for family in FAMILIES:
            wait_for(lambda: came_by(node, family)[0] == device, what=f"{what}, {family}")  # noqa: B023
        got = [came_by(node, family) for family in FAMILIES]
        with by_the_kernel(node):
            want = [came_by(node, family) for family in FAMILIES]
        assert got == want, (what, got, want)
        former = change
    assert "by_connection" not in since.counts(), since.counts()


def ways_of(node, family, number):
    """The devices by which a client got the answer to its SYN, and that to its request."""
    with Watch(node.client_netns, None) as watch:
        with node.connect(FRONTEND[family], source(number, family, remote=True), remote=True) as c:
            port = c.sock.getsockname()[1]
            c.ask(headers={"X-Session-Id": "a"})
            return watch.answer(family, port, device=True)[0], watch.answer(family, port, device=True, data=True)[0]


def several_ways(node, forwarding):
    """Of several routes at once (ECMP), the SYN's answer leaves by the one that a hash of the connection says where this
    machine forwards; else by one for all."""
    since = Since(node)
    for family in FAMILIES:
        both = [a for device, to in VIAS[family].items() for a in ("nexthop", "via", to, "dev", device)]
        route(node, family, "replace", REMOTE_SOURCES[family], *both)
    for family in FAMILIES:
        wait_for(lambda family=family: {ways_of(node, family, n)[1] for n in range(1, 9)} == set(VIAS[family]), 30)
        if not forwarding:  # pintled may hear of the route while some of these come
            wait_for(lambda family=family: len({ways_of(node, family, n)[0] for n in range(1, 33)}) == 1, 60)
            continue
        seen = [ways_of(node, family, number) for number in range(1, 33)]
        if family == "v4":
            assert all(syn == data for syn, data in seen), seen
        else:  # the kernel's hash for a socket that a cookie made has the server's own port
            assert {syn for syn, _ in seen} == set(VIAS[family]), seen
    for family in FAMILIES:
        by_route(node, family, False)
    assert "by_connection" not in since.counts(), since.counts()


@case(each=WHERE, timeout=240)
def test_two_uplinks(node, where):
    two_uplinks(node, where)
    node.sysctl("net.ipv4.fib_multipath_hash_policy", 1)
    node.sysctl("net.ipv6.fib_multipath_hash_policy", 1)
    for forwarding in (0, 1):
        forward(node, forwarding)
        the_way(node, forwarding)
        several_ways(node, forwarding)


METRICS = {"advmss 1000": {"v4": 1000, "v6": 1000}, "mtu 1300": {"v4": 1260, "v6": 1240},
           "mtu lock 1400": {"v4": 1360, "v6": 1340}, "mtu 1400 advmss 1100": {"v4": 1100, "v6": 1100}}


def metrics_of_the_route(node, forwarding):
    """Clients are told of segments what their route says, as the kernel tells them."""
    since = Since(node)
    for metrics, want in METRICS.items():
        for family in FAMILIES:
            route(node, family, "replace", REMOTE_SOURCES[family], "via", VIAS[family]["veth0"], *metrics.split())
        what = f"{metrics}, forwarding {forwarding}"
        for family in FAMILIES:
            wait_for(lambda: came_by(node, family)[1].mss == want[family], what=f"{what}, {family}")  # noqa: B023
        with by_the_kernel(node):
            for family in FAMILIES:
                assert came_by(node, family)[1].mss == want[family], (what, family)
    for family in FAMILIES:
        route(node, family, "del", REMOTE_SOURCES[family], "via", VIAS[family]["veth0"])
        route(node, family, "add", REMOTE_SOURCES[family], "via", VIAS[family]["veth0"])
    assert "by_connection" not in since.counts(), since.counts()


def no_way(node, forwarding):
    """The kernel does what it does with a SYN to whose sender no route leads."""

    def left():
        """How many SYNs were left to the kernel."""
        return handed(node).get("by_connection", 0)

    for family in FAMILIES:
        before = left()
        route(node, family, "add", "unreachable", source(9, family, remote=True))
        # Until pintled has seen the route, the hand-off answers, and the kernel drops that.
        wait_for(lambda family=family, before=before: refused(node, family) and left() > before,
                 what=f"no way, {family}, forwarding {forwarding}")
        before = left()
        assert refused(node, family) and left() > before, (family, forwarding, before)
        route(node, family, "del", "unreachable", source(9, family, remote=True))


def refused(node, family):
    """Whether a client there gets no answer to its first SYN."""
    try:
        with node.connect(FRONTEND[family], source(9, family, remote=True), remote=True, timeout=0.3):
            return False
    except TimeoutError:
        return True


# -- what the socket has by itself --------------------------------------------------------


def of_the_socket(node, family):
    """Whether the server's socket has congestion control by Reno, and its first window, before it has sent anything."""
    with node.connect(FRONTEND[family], source(7, family, remote=True), remote=True) as c:
        c.sock.sendall(post(BODY) + BODY[:-1])
        text = wait_for(lambda: server_socket(node, *c.sock.getsockname()[:2]))
    return " reno " in text, int(text.split(" cwnd:")[1].split()[0])


@case(each=WHERE, timeout=60)
def test_a_vrf(node, where):
    """A client that is behind a VRF is answered by that one's table."""
    begin(node, where)
    if "Unknown device type" in node.run("ip", "link", "add", "red", "type", "vrf", "table", "10", netns=node.netns,
                                         check=False).stderr:
        raise Skip("the kernel has no VRFs")
    node.sysctl("net.ipv4.tcp_l3mdev_accept", 1)
    node.ip("link", "set", "red", "up")
    node.ip("link", "set", "veth0", "master", "red")
    node.ip("addr", "replace", f"{NODE_ADDRESS['v6']}/64", "dev", "veth0", "nodad")
    for family in FAMILIES:
        address = split(FRONTEND[family])[0]
        node.ip("addr", "add", f"{address}/{32 if family == 'v4' else 128}", "dev", "red", *["nodad"] * (family == "v6"))
        route(node, family, "replace", REMOTE_SOURCES[family], "via", VIAS[family]["veth0"], "table", "10")
    for forwarding in (0, 1):
        forward(node, forwarding)
        as_the_kernel(node)


def metrics_of_the_socket(node):
    """The server's socket takes what routes and sysctls say of sockets from the kernel."""
    for metrics, want in (("initcwnd 3", None), ("initcwnd 4 congctl reno", (True, 4)), ("initcwnd 5", (True, 5))):
        for family in FAMILIES:
            route(node, family, "replace", REMOTE_SOURCES[family], "via", VIAS[family]["veth0"], *metrics.split())
        since = Since(node)
        got = [of_the_socket(node, family) for family in FAMILIES]
        assert since.counts() == {"asked": 2}, (metrics, since.counts())
        with by_the_kernel(node):
            assert got == [of_the_socket(node, family) for family in FAMILIES], (metrics, got)
        for family, (reno, window) in zip(FAMILIES, got):
            assert window == int(metrics.split()[1]) and want in (None, (reno, window)), (metrics, family, got)
        if want:
            node.sysctl("net.ipv4.tcp_congestion_control", "reno")


@case(each=WHERE, timeout=240)
def test_one_uplink(node, where):
    begin(node, where)
    sysctls_of_options(node)
    sysctls_that_change_behind_a_handshake(node)
    small_segments(node)
    for forwarding in (0, 1):
        forward(node, forwarding)
        metrics_of_the_route(node, forwarding)
        no_way(node, forwarding)
    metrics_of_the_socket(node)


@case(timeout=90)
def test_mtu_probing(node):
    """Where large packets vanish without a word, a connection that was handed over finds a way by tcp_mtu_probing, as the
    kernel's does; without that none does."""
    node.add_client()
    node.steer(node.servers(1), **HANDED)
    for offload in (ETHTOOL_STSO, ETHTOOL_SGSO):
        ethtool(node.netns, "veth0", offload, 0)
    hole = "table inet hole {\nchain entry {\ntype filter hook input priority 0;\nmeta length > 1300 drop\n}\n}\n"
    node.run("nft", "-f", node.write("hole.nft", hole), netns=node.client_netns)
    node.sysctl("net.ipv4.tcp_retries1", 1)  # probes from the second time on that nothing came back: after 0.6 s

    def ask(family, number):
        c = node.connect(FRONTEND[family], source(number, family, remote=True), remote=True)
        c.send("/bytes/30000", headers={"X-Session-Id": "a"})
        return c

    def answered(c, timeout):
        c.sock.settimeout(timeout)
        try:
            return len(c.read()) == 30000
        except TimeoutError:
            return False

    node.sysctl("net.ipv4.tcp_mtu_probing", 0)
    with ask("v4", 7) as v4, ask("v6", 7) as v6:
        assert not answered(v4, 3) and not answered(v6, 0.1)
    for probing, family in ((1, "v4"), (2, "v6")):
        node.sysctl("net.ipv4.tcp_mtu_probing", probing)
        with ask(family, 8) as c:
            assert answered(c, 40), (probing, family)
    assert handed(node) == {"asked": 4}
