# SPDX-License-Identifier: Apache-2.0
"""decide: request: what of the server's machine bears on a handshake. The hand-off answers a SYN as the kernel does with
the same settings. The table of docs/handoff.md has a row for each; the cases here take the rows from it."""
import collections
import os
import socket
import struct

from clients import NODE_ADDRESS
from harness import case
from kernel import inside
from test_handoff import HANDED, handed, hashing, post
from test_hold import none_held
from test_ways import Client
from test_xdp import becomes, natively

FAMILIES = ("v4", "v6")
WHERE = ("TC", "XDP")
SACK, TIMES, SCALE, ECN = 0x02, 0x01, 0x04, 0x08  # TCPI_OPT_*
BODY = os.urandom(30000)

Answer = collections.namedtuple("Answer", "mss sack times scale ecn")


class Watch:
    """Sees the segments that come to a client by a device."""

    def __init__(self, netns, device="veth0"):
        with inside(netns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            self.sock.bind((device, 3))
        self.sock.settimeout(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def answer(self, family, port):
        """The SYN's answer to that port of a client."""
        header, protocol, skip = (9, 0x0800, 20) if family == "v4" else (6, 0x86DD, 40)
        while True:
            packet, (_, kind, way, _, _) = self.sock.recvfrom(2048)
            tcp = packet[skip:]
            if kind == protocol and way != socket.PACKET_OUTGOING and packet[header] == socket.IPPROTO_TCP \
                    and struct.unpack("!H", tcp[2:4])[0] == port and tcp[13] & 0x12 == 0x12:
                return parsed(tcp)


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


def as_the_kernel(node, family):
    """Returns the answer; asserts that the kernel's is the same, where the hand-off leaves the SYN to it."""
    before = handed(node)
    got = served(node, family)
    asked = collections.Counter(handed(node)) - collections.Counter(before)
    assert asked == {"asked": 1}, asked
    node.pintle("set", "pool", "decide=connection")
    want = served(node, family)
    node.pintle("reset", "pool", "decide")
    assert got == want, (got, want)
    return got[0]


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


@case(each=WHERE, timeout=120)
def test_sysctls_of_options(node, where):
    """What this namespace does not have is not offered: nothing is refused, and a change counts at once."""
    begin(node, where)
    for family in FAMILIES:
        answer = as_the_kernel(node, family)
        assert answer.sack and answer.times and answer.scale, answer
        for name, field in OFFERED.items():
            node.sysctl(f"net.ipv4.{name}", 0)
            answer = as_the_kernel(node, family)
            assert [f for f in OFFERED.values() if not getattr(answer, f)] == [field], (name, answer)
            node.sysctl(f"net.ipv4.{name}", 1)
        for name in OFFERED:
            node.sysctl(f"net.ipv4.{name}", 0)
        assert not any(as_the_kernel(node, family)[1:4])
        for name in OFFERED:
            node.sysctl(f"net.ipv4.{name}", 1)
    none_held(node)


@case(each=WHERE)
def test_sysctls_that_change_behind_a_handshake(node, where):
    """What was offered a moment before is not refused."""
    begin(node, where)
    for family in FAMILIES:
        for name, field in OFFERED.items():
            c, answer = opened(node, family)
            assert getattr(answer, field), (name, answer)
            node.sysctl(f"net.ipv4.{name}", 0)
            c.send(post(b"a") + b"a").answered(b"a")
            node.sysctl(f"net.ipv4.{name}", 1)
    assert handed(node) == {"asked": 6}


# -- clients that take small segments -----------------------------------------------------


def maximum(node, family, mss):
    """The clients' routes say how large segments they take."""
    node.ip(f"-{family[1]}", "route", "change", "default", "via", NODE_ADDRESS[family], "advmss", str(mss),
            netns=node.client_netns)


def sent_size(node, port):
    """The largest segment that the server sends to that port."""
    text = node.run("ss", "-tinHO", f"dport = :{port}", netns=node.netns).stdout
    return int(text.split(" mss:")[1].split()[0]) if " mss:" in text else None


@case(each=WHERE)
def test_small_segments(node, where):
    """A client that takes none so large as the kernel's function wants is the kernel's: it gets no larger ones."""
    begin(node, where)
    want = collections.Counter()
    for family, least in (("v4", 536), ("v6", 1220)):
        for mss in (least, least - 1, 300):
            maximum(node, family, mss)
            c = Client(node, family).connect().send(post(BODY) + BODY[:-1])
            size = sent_size(node, c.sock.getsockname()[1])
            assert size == mss - 12, (family, mss, size)
            c.send(BODY[-1:]).answered(BODY)
            want["asked" if mss >= least else "by_connection"] += 1
            assert handed(node) == want
    assert sum(node.decisions().values()) == 6
