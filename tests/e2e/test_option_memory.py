# SPDX-License-Identifier: Apache-2.0
"""A client fills the memory of its sockets' options, of which Pintle's records are a part: no bound and no quota
lets it in uncounted."""
import socket
import struct

from clients import FRONTEND, IPV6_FREEBIND, source, split
from harness import Skip, case
from kernel import inside, wait_for
from pods import FAMILY, SERVICE, Cluster, mapped

TCP_MD5SIG = 14
QUOTA = 2
TRIES = 6


def md5_key(n, family):
    """A key for a peer that is never met, which any user may set; each takes memory until the socket ends."""
    if family == socket.AF_INET6:
        peer = struct.pack("=HHI16sI", family, 0, 0, socket.inet_pton(family, f"2001:db8::{n:x}"), 0) + bytes(100)
    else:
        peer = struct.pack("=HH4s8x", family, 0, socket.inet_aton(f"192.0.{n >> 8}.{n & 255}")) + bytes(112)
    return peer + struct.pack("=BBHi80s", 0, 0, 1, 0, b"k")


def fill(sock, leave):
    """Fills the memory, and leaves room for so many keys less than it takes."""
    n = 0
    try:
        while n < 65536:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, md5_key(n, sock.family))
            n += 1
    except OSError:
        pass
    if not n:
        raise Skip("no kernel with TCP_MD5SIG")
    for i in range(leave):
        empty = bytearray(md5_key(i, sock.family))
        empty[130:132] = bytes(2)  # a key without a length is taken away
        sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, bytes(empty))


def attempts(make, to, leave):
    """Connections that stay open, and the errors of the others."""
    opened, errors = [], []
    for _ in range(TRIES):
        s = make()
        fill(s, leave)
        s.settimeout(10)
        try:
            s.connect(split(to))
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if not s.recv(100):
                raise ConnectionResetError
            opened.append(s)
        except OSError as e:
            errors.append(type(e))
            s.close()
    return opened, errors


def within_quota(side, make, to, room):
    """However much room is left, no more than the quota is open."""
    most = 0
    for leave in room:
        opened, errors = attempts(make, to, leave)
        assert len(opened) <= QUOTA and len(opened) + len(errors) == TRIES, (leave, len(opened), errors)
        most = max(most, len(opened))
        if not leave:
            first = errors
        for s in opened:
            s.close()
        wait_for(lambda: set(side.in_flight().values()) == {0})
    return most, first


WHATS = ("quota", "bound", "intercept")
HOWS = ("v4", "v6 from an address", "mapped")


@case(each=tuple(f"{what} {how}" for what in WHATS for how in HOWS), timeout=120)
def test_at_the_connect_hook(node, which):
    """connect() fails with EPERM where there is no room for the record, or for the tenant's."""
    what, how, *bound = which.split()
    family = "v6" if how == "v6" else "v4"
    side = Cluster(node)
    servers = side.servers(2)
    client = side.pod("client")
    terms = {"tenants": {"by": "cgroup", "connections": QUOTA}} if what != "bound" else {
        "classes": [{"name": "all", "connections": QUOTA // 2, "admission": "refuse"}]}
    more = {"intercept": "endpoints"} if what == "intercept" else {}
    side.daemon(side.config(side.pool(servers, family=family, **terms, **more)))
    side.all_ready()
    to = servers[0].address(family) if what == "intercept" else SERVICE[family]

    def make():
        s = client.socket(FAMILY[how])
        if bound:
            s.bind((client.v6, 0))
        return s

    most, first = within_quota(side, make, mapped(to) if how == "mapped" else to, (0, 1, 2, 3, 4, 8, 64))
    assert first == [PermissionError] * TRIES, first
    assert most == QUOTA, most


def test_without_a_bound(node):
    """Where nothing is bounded, such a connection goes where it would without Pintle, and is counted as that."""
    side = Cluster(node)
    servers = side.servers(1)
    client = side.pod("client")
    side.daemon(side.config(side.pool(servers, intercept="endpoints")))
    side.all_ready()
    opened, errors = attempts(lambda: client.socket(socket.AF_INET), servers[0].address(), 0)
    assert len(opened) == TRIES and not errors, errors
    assert side.decisions() == {"passed": TRIES}
    for s in opened:
        s.close()


@case(each=("v4", "v6", "mapped"))
def test_at_the_lookup_hook(node, how):
    """The record is in the server's socket, whose memory no client fills: the quota holds."""
    servers = node.servers(2)
    node.steer(servers, tenants={"by": "source", "connections": QUOTA})
    address = source(7, "v6" if how == "v6" else "v4")

    def make():
        with inside(node.netns):
            s = socket.socket(FAMILY[how])
        if how == "v6":
            s.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        s.bind((f"::ffff:{address}" if how == "mapped" else address, 0))
        return s

    most, _ = within_quota(node, make, mapped(FRONTEND["v4"]) if how == "mapped" else FRONTEND[how], (0, 8))
    assert most == QUOTA, most
