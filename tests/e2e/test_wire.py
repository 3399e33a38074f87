# SPDX-License-Identifier: Apache-2.0
"""decide: request, by a network that delays, loses, repeats and reorders: whomever the kernel itself would serve is
served."""
import fcntl
import hashlib
import heapq
import os
import select
import struct
import threading
import time

from clients import FRONTEND, split
from harness import case
from kernel import Skip, inside, wait_for
from packets import FLAGS
from test_handoff import HANDED, REQUEST, handed, hashing, post

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000


class Segment:
    """A TCP segment: the client's port, sequence number, flags, and bytes of data."""

    def __init__(self, packet):
        v6 = packet[0] >> 4 == 6
        at = 40 if v6 else (packet[0] & 15) * 4
        size = 40 + struct.unpack_from("!H", packet, 4)[0] if v6 else struct.unpack_from("!H", packet, 2)[0]
        self.tcp = packet[6 if v6 else 9] == 6
        if self.tcp:
            self.port, _, self.sequence, _, offset, self.flags = struct.unpack_from("!HHLLBB", packet, at)
            self.size = size - at - (offset >> 4) * 4


class Wire:
    """Two tun devices, one in each namespace, and what is between them: `way(Segment)` returns after how many seconds
    a client's segment arrives, once for each; answers take `delay`."""

    def __init__(self, node, delay, way):
        node.add_client()
        self.ends = [self.end(node, netns, own) for netns, own in ((node.client_netns, 2), (node.netns, 1))]
        for family, gateway in (("v4", "10.90.0.1"), ("v6", "fd90::1")):
            address = split(FRONTEND[family])[0]
            node.ip(f"-{family[1]}", "route", "add", address, "via", gateway, netns=node.client_netns)
        self.delay, self.way = delay, way
        threading.Thread(target=self.carry, daemon=True).start()

    @staticmethod
    def end(node, netns, own):
        with inside(netns):
            try:
                fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI))
            except OSError as e:
                raise Skip(f"the kernel has no tun: {e}") from e
        node.ip("link", "set", "wire", "up", netns=netns)
        node.ip("addr", "add", f"10.90.0.{own}/24", "dev", "wire", netns=netns)
        node.ip("addr", "add", f"fd90::{own}/64", "dev", "wire", "nodad", netns=netns)
        return fd

    def arrivals(self, frm, packet):
        segment = Segment(packet)
        return self.way(segment) if segment.tcp and not frm else (self.delay,)

    def carry(self):
        due, n = [], 0
        while True:
            wait = max(0, due[0][0] - time.monotonic()) if due else None
            for fd in select.select(self.ends, [], [], wait)[0]:
                packet, frm = os.read(fd, 65536), self.ends.index(fd)
                for delay in self.arrivals(frm, packet):
                    n += 1
                    heapq.heappush(due, (time.monotonic() + delay, n, self.ends[1 - frm], packet))
            while due and due[0][0] <= time.monotonic():
                _, _, fd, packet = heapq.heappop(due)
                os.write(fd, packet)


class Way:
    """Loses or delays the first of each connection's segments with data, by `first` in seconds (None: it is lost), and
    repeats SYNs."""

    def __init__(self, delay, first, *, syns=1):
        self.delay, self.first, self.syns, self.met = delay, first, syns, set()

    def __call__(self, segment):
        if segment.flags & FLAGS["SYN"]:
            return [self.delay * (1 + i) for i in range(self.syns)]
        if not segment.size or segment.port in self.met:
            return (self.delay,)
        self.met.add(segment.port)
        return () if self.first is None else (self.delay + self.first,)


def served(node, family, requests):
    """Sends these requests at once, each on a connection of its own, and returns what came back."""
    answers = [b""] * len(requests)

    def ask(i):
        with node.connect(FRONTEND[family], None, remote=True, timeout=60) as c:
            c.sock.sendall(requests[i])
            while data := c.sock.recv(65536):
                answers[i] += data

    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return answers


def timestamps(node, value):
    node.run("sysctl", "-qw", f"net.ipv4.tcp_timestamps={value}", netns=node.client_netns)


@case(each=("v4 0.02 1", "v4 0.3 1", "v6 0.3 0", "v4 1.0 1", "v6 1.0 0"), timeout=120)
def test_the_first_segment_is_lost(node, how):
    """The other segments of a long request come before it, and the last of them once more (TLP)."""
    family, delay, with_timestamps = how.split()
    Wire(node, float(delay), Way(float(delay), None))
    timestamps(node, with_timestamps)
    node.steer(hashing(node, 2), **HANDED)
    bodies = [os.urandom(9000) for _ in range(4)]
    answers = served(node, family, [post(body) + body for body in bodies])
    assert [hashlib.sha256(body).hexdigest().encode() in answer for body, answer in zip(bodies, answers)] == [True] * 4
    assert handed(node) == {"asked": 4}


@case(each=("v4 lost 1", "v4 lost 0", "v6 late 1", "v6 late 0"), timeout=60)
def test_a_syn_that_comes_twice(node, how):
    """The client acknowledges the second answer ahead of its data, which are lost, or late."""
    family, first, with_timestamps = how.split()
    Wire(node, 0.01, Way(0.01, None if first == "lost" else 0.05, syns=3))
    timestamps(node, with_timestamps)
    node.steer(hashing(node, 2), **HANDED)
    answers = served(node, family, [REQUEST % b"a"] * 4)
    assert [b"200 OK" in answer for answer in answers] == [True] * 4, answers
    assert handed(node) == {"asked": 4}


@case(each=("1", "0"), timeout=60)
def test_the_last_comes_first(node, with_timestamps):
    """Segments in reverse, and each twice."""
    begun = {}

    def way(segment):
        if not segment.size:
            return 0.01, 0.02
        ahead = (segment.sequence - begun.setdefault(segment.port, segment.sequence)) & 0xffffffff
        return [0.01 * n + max(0, 0.2 - ahead / 100_000) for n in (1, 2)]

    Wire(node, 0.01, way)
    timestamps(node, with_timestamps)
    node.steer(hashing(node, 2), **HANDED)
    bodies = [os.urandom(9000) for _ in range(4)]
    answers = served(node, "v4", [post(body) + body for body in bodies])
    assert [hashlib.sha256(body).hexdigest().encode() in answer for body, answer in zip(bodies, answers)] == [True] * 4
    assert handed(node) == {"asked": 4}


@case(each=("v4", "v6"), timeout=60)
def test_closed_without_a_request(node, family):
    """A client that closes its side, and waits for the server to do so, hears no reset, though its end comes twice."""
    Wire(node, 0.01, lambda segment: (0.01, 0.03))
    node.steer(hashing(node, 1), **HANDED)
    with node.connect(FRONTEND[family], None, remote=True, timeout=20) as c:
        c.half_close()
        assert c.sock.recv(1) == b""
    wait_for(lambda: handed(node).get("no_request"))
    assert handed(node).keys() == {"no_request"}
