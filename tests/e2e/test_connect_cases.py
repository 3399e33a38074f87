# SPDX-License-Identifier: Apache-2.0
"""Every way in which a TCP client's connection can begin and end is counted exactly once.

One case for each kind of address; in it the rows below one after the other, each on sockets of
its own. A row says what it did, and what the endpoint must have counted for it.
"""
import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import time

from clients import IPPROTO_MPTCP, split
from harness import case
from kernel import BUILD, libc, wait_for
from pods import CLOSED_BY_RESET, FAMILY, Cluster, Rival, mapped, service

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

TCP_USER_TIMEOUT, TCP_FASTOPEN_CONNECT, MSG_FASTOPEN = 18, 30, 0x20000000
AF_UNSPEC = b"\0" * 16

# name: port of the endpoint on the peer's pod
PLACES = {"good": 9000, "other": 9001, "refused": 9002, "hole": 9003, "rejected": 9004, "fastopen": 9005}
LISTENING = ("good", "other", "fastopen")

DROP = """
table inet peer {{
    chain input {{
        type filter hook input priority filter
        tcp dport {hole} drop
        tcp dport {rejected} reject with icmpx host-unreachable
    }}
}}
"""


class World:
    """A pool and a Service for each place; the endpoints' pages come from elsewhere, so that all
    of them look well whatever happens to clients."""

    def __init__(self, node, how, before=lambda cluster: None):
        self.node, self.how, self.family = node, how, "v6" if how == "v6" else "v4"
        self.cluster = Cluster(node)
        before(self.cluster)
        self.peer, self.client, pages = (self.cluster.pod(n) for n in ("peer", "client", "pages"))
        pages.server()
        self.helper = BUILD / "tests/e2e/peer"
        self.peer.sysctl("net.ipv4.tcp_fastopen", 2)
        self.client.sysctl("net.ipv4.tcp_fastopen", 1)
        self.client.sysctl("net.ipv4.tcp_fastopen_blackhole_timeout_sec", 0)
        self.peer.popen([self.helper, "serve", *(PLACES[p] for p in LISTENING)], log="peer.log")
        self.peer.nft(DROP.format(**PLACES))
        self.client.batch("route add unreachable 10.97.0.0/24", "route add unreachable fd97::/64")
        page = {"metrics": f"http://{pages.address()}/metrics"}
        endpoints = {n: {"name": n, "address": self.peer.address(self.family, p), **page} for n, p in PLACES.items()}
        endpoints["noroute"] = {"name": "noroute", **page,
                                "address": "[fd97::1]:9000" if how == "v6" else "10.97.0.1:9000"}
        self.services = {n: service(i + 20)[self.family] for i, n in enumerate(endpoints)}
        self.addresses = {n: e["address"] for n, e in endpoints.items()}
        self.daemon = self.cluster.steer(*(
            self.cluster.pool([e], n, to=self.services[n], ejection={"failures": 0}) for n, e in endpoints.items()))
        self.rows = {}

    # .. what rows do

    def to(self, place):
        to = self.services[place]
        return split(mapped(to) if self.how == "mapped" else to)

    def socket(self, *options, wait=True, protocol=0):
        s = self.client.socket(FAMILY[self.how], protocol=protocol)
        # SO_RCVTIMEO, because Python's own timeouts make sockets non-blocking.
        s.setblocking(wait)
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            s.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", 10, 0))
        for option in options:
            s.setsockopt(*option)
        return s

    def connect(self, place, *options, **more):
        s = self.socket(*options, **more)
        s.connect(self.to(place))
        return s

    def fails(self, s, place, *codes):
        """Calls connect() to a place, which must fail with this error."""
        error = s.connect_ex(self.to(place))
        assert error in codes, (place, errno.errorcode.get(error, error))

    def disconnect(self, s):
        """connect() to AF_UNSPEC."""
        assert libc.connect(s.fileno(), AF_UNSPEC, len(AF_UNSPEC)) == 0, os.strerror(ctypes.get_errno())

    # .. what is counted

    def counted(self):
        return {e["name"]: {k: e[k] for k in ("placed", "opened", "closed", "failed")}
                for e in self.cluster.cli("endpoints")}

    def begin(self):
        self.before = self.counted()

    def saw(self, place="good", **expected):
        """What has been counted at the endpoint since the row began; nothing at others unless
        asked for, too."""
        wanted = {"placed": 0, "opened": 0, "closed": 0, "failed": 0, **expected}
        self.rows[place] = wanted

        def seen():
            now = self.counted()[place]
            found = {k: now[k] - self.before[place][k] for k in now}
            assert found == wanted, f"{place}: {found}, not {wanted}"
            return True

        wait_for(seen, 5)

    def end(self):
        """Checks that nothing is left in flight, and that no other counter has changed."""
        now = self.counted()
        for place, row in now.items():
            if place not in self.rows:
                assert row == self.before[place], (place, self.before[place], row)
            assert row["opened"] == row["closed"], (place, row)
            assert row["placed"] == row["opened"] + row["failed"], (place, row)
        self.rows = {}
        assert self.client.in_flight() == {}


def echoed(s):
    s.sendall(b"E")
    assert s.recv(9) == b"E"


OPEN = {"placed": 1, "opened": 1}
WHOLE = {"placed": 1, "opened": 1, "closed": 1}
UNOPENED = {"placed": 1, "failed": 1}

# -- ends ---------------------------------------------------------------------------------------


def row_client_closes_first(w):
    s = w.connect("good")
    echoed(s)
    w.saw(**OPEN)
    s.close()
    w.saw(**WHOLE)


def row_server_closes_first(w):
    s = w.connect("good")
    s.sendall(b"F")
    assert s.recv(9) == b""
    w.saw(**OPEN)
    s.close()
    w.saw(**WHOLE)


def row_both_half_closed_before_close(w):
    s = w.connect("good")
    s.sendall(b"H")
    assert s.recv(9) == b""
    s.shutdown(socket.SHUT_WR)
    # Here the connection ends with the last FIN, not with close().
    w.saw(**WHOLE)
    s.close()
    w.saw(**WHOLE)


def row_closed_while_the_server_goes_on(w):
    s = w.connect("good")
    s.sendall(b"Z")
    s.shutdown(socket.SHUT_WR)
    w.saw(**OPEN)
    s.close()
    w.saw(**WHOLE)


def row_reset_by_server(w):
    s = w.connect("good")
    s.sendall(b"R")
    with contextlib.suppress(ConnectionResetError):
        s.recv(9)
    w.saw(**WHOLE)
    s.close()
    w.saw(**WHOLE)


def row_reset_by_client(w):
    s = w.connect("good", (socket.SOL_SOCKET, socket.SO_LINGER, CLOSED_BY_RESET))
    w.saw(**OPEN)
    s.close()
    w.saw(**WHOLE)


def row_closed_with_unread_data(w):
    s = w.connect("good")
    s.sendall(b"E")
    select.select([s], [], [], 5)
    s.close()
    w.saw(**WHOLE)


def row_destroyed(w):
    """SOCK_DESTROY: what `ss -K` does."""
    s = w.connect("good")
    w.saw(**OPEN)
    w.node.run("ss", "-K", "dport", "=", str(PLACES["good"]), netns=w.client.netns)
    w.saw(**WHOLE)
    with contextlib.suppress(OSError):
        s.recv(1)
    s.close()
    w.saw(**WHOLE)


def row_peer_falls_silent(w):
    s = w.connect("good", (socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 400))
    w.node.run("nft", "add rule inet peer input tcp dport 9000 drop", netns=w.peer.netns)
    s.sendall(b"E")
    try:
        s.recv(1)
        raise AssertionError("it was answered")
    except TimeoutError:
        pass
    finally:
        w.node.run("nft", "flush chain inet peer input", netns=w.peer.netns)
        w.peer.nft(DROP.format(**PLACES))
    w.saw(**WHOLE)
    s.close()
    w.saw(**WHOLE)


# -- connections that do not come to be -----------------------------------------------------------


def row_refused(w):
    s = w.socket()
    w.fails(s, "refused", errno.ECONNREFUSED)
    w.saw("refused", **WHOLE)
    s.close()
    w.saw("refused", **WHOLE)


def row_refused_then_elsewhere(w):
    """The same socket connects to a Service that answers."""
    s = w.socket()
    w.fails(s, "refused", errno.ECONNREFUSED)
    s.connect(w.to("good"))
    echoed(s)
    w.saw("refused", **WHOLE)
    w.saw(**OPEN)
    s.close()
    w.saw(**WHOLE)


def row_refused_then_not_ours(w):
    s = w.socket()
    w.fails(s, "refused", errno.ECONNREFUSED)
    own = w.addresses["good"]
    s.connect(split(mapped(own) if w.how == "mapped" else own))
    echoed(s)
    assert s.getpeername()[:2] == split(mapped(own) if w.how == "mapped" else own)
    s.close()
    w.saw("refused", **WHOLE)


def row_black_hole_until_it_times_out(w):
    s = w.socket((socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 500))
    w.fails(s, "hole", errno.ETIMEDOUT)
    w.saw("hole", **WHOLE)
    s.close()
    w.saw("hole", **WHOLE)


def row_closed_before_it_is_answered(w):
    s = w.socket(wait=False)
    w.fails(s, "hole", errno.EINPROGRESS)
    w.saw("hole", **OPEN)
    s.close()
    w.saw("hole", **WHOLE)


def row_killed_before_it_is_answered(w):
    child = w.client.popen([w.helper, "connect", *w.to("hole")])
    w.saw("hole", **OPEN)
    child.kill()
    child.wait()
    w.saw("hole", **WHOLE)


def row_interrupted(w):
    """A signal interrupts connect(); a second connect() says that the first one is still under way."""
    s = w.socket()

    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with contextlib.suppress(Alarm):
            s.connect(w.to("hole"))
            raise AssertionError("it was answered")
    finally:
        signal.signal(signal.SIGALRM, old)
    s.setblocking(False)
    w.fails(s, "hole", errno.EALREADY)
    w.saw("hole", **OPEN)
    s.close()
    w.saw("hole", **WHOLE)


def row_no_route(w):
    s = w.socket()
    w.fails(s, "noroute", errno.EHOSTUNREACH, errno.ENETUNREACH)
    s.close()
    w.saw("noroute", **UNOPENED)


def row_no_route_then_elsewhere(w):
    s = w.socket()
    w.fails(s, "noroute", errno.EHOSTUNREACH, errno.ENETUNREACH)
    s.connect(w.to("good"))
    w.saw("noroute", **UNOPENED)
    w.saw(**OPEN)
    s.close()
    w.saw(**WHOLE)


def row_no_port(w):
    """The local port is taken by a connection to the same endpoint."""
    reuse = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    first, second = w.socket(reuse), w.socket(reuse)
    own = {"v4": w.client.v4, "v6": w.client.v6, "mapped": f"::ffff:{w.client.v4}"}[w.how]
    for s in (first, second):
        s.bind((own, 5000))
    first.connect(w.to("good"))
    w.fails(second, "good", errno.EADDRNOTAVAIL)
    second.close()
    w.saw(placed=2, opened=1, failed=1)
    first.close()
    w.saw(placed=2, opened=1, failed=1, closed=1)


def row_no_port_on_a_used_socket(w):
    """The same on a socket that was connected before: it passes through SYN_SENT."""
    s = w.socket()
    w.fails(s, "refused", errno.ECONNREFUSED)
    w.saw("refused", **WHOLE)
    w.client.sysctl("net.ipv4.ip_local_port_range", "41000 41000")
    try:
        only = w.connect("good")
        w.fails(s, "good", errno.EADDRNOTAVAIL)
    finally:
        w.client.sysctl("net.ipv4.ip_local_port_range", "32768 60999")
    w.saw(placed=2, opened=1, failed=1)
    s.close()
    only.close()
    w.saw(placed=2, opened=1, failed=1, closed=1)


def row_unreachable_by_icmp(w):
    s = w.socket(wait=False)
    w.fails(s, "rejected", errno.EINPROGRESS)
    select.select([], [s], [], 5)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EHOSTUNREACH
    w.saw("rejected", **WHOLE)
    s.close()
    w.saw("rejected", **WHOLE)


def row_denied(w):
    """A program that runs after ours denies the connection."""
    rival = Rival(w.node)
    rival.move(split(w.addresses["good"])[0], None)
    rival.attach(w.cluster.cgroup, "rival4", "rival6")
    s = w.socket()
    try:
        w.fails(s, "good", errno.EPERM)
    finally:
        rival.detach()
    s.close()
    w.saw(**UNOPENED)


# -- several attempts on one socket ---------------------------------------------------------------


def row_disconnected(w):
    """connect() to AF_UNSPEC ends the connection; the socket can be used anew."""
    s = w.connect("good")
    echoed(s)
    w.disconnect(s)
    w.saw(**WHOLE)
    s.connect(w.to("other"))
    echoed(s)
    w.saw("other", **OPEN)
    s.close()
    w.saw("other", **WHOLE)


def row_disconnected_before_it_is_answered(w):
    s = w.socket(wait=False)
    w.fails(s, "hole", errno.EINPROGRESS)
    w.disconnect(s)
    w.saw("hole", **WHOLE)
    s.close()
    w.saw("hole", **WHOLE)


def row_again_while_connected(w):
    """With EISCONN there is no decision, and getpeername() still returns the Service."""
    s = w.connect("good")
    w.fails(s, "good", errno.EISCONN)
    w.fails(s, "other", errno.EISCONN)
    assert s.getpeername()[:2] == w.to("good")
    echoed(s)
    w.saw(**OPEN)
    s.close()
    w.saw(**WHOLE)


def row_never_connected(w):
    w.socket().close()


# -- sockets that travel ----------------------------------------------------------------------------


def row_duplicated(w):
    s = w.connect("good")
    twin = s.dup()
    s.close()
    time.sleep(0.05)
    w.saw(**OPEN)
    twin.close()
    w.saw(**WHOLE)


def row_forked(w):
    """A child that outlives the parent's close() holds the connection."""
    s = w.connect("good")
    child = w.client.popen(["sleep", "1000"], pass_fds=[s.fileno()])
    s.close()
    time.sleep(0.05)
    w.saw(**OPEN)
    child.kill()
    child.wait()
    w.saw(**WHOLE)


def row_passed_on(w):
    """A socket that is in flight in a Unix socket belongs to no process."""
    here, there = socket.socketpair()
    s = w.connect("good")
    socket.send_fds(here, [b"x"], [s.fileno()])
    s.close()
    time.sleep(0.05)
    w.saw(**OPEN)
    here.close()
    there.close()
    w.saw(**WHOLE)


def row_cgroup_removed(w):
    """The cgroup in which the socket was made is removed before the socket ends."""
    group = w.client.cgroup / "gone"
    group.mkdir()
    child = w.client.popen([w.helper, "connect", *w.to("good")], cgroup=group)
    w.saw(**OPEN)
    (w.client.cgroup / "cgroup.procs").write_text(str(child.pid))
    group.rmdir()
    child.kill()
    child.wait()
    w.saw(**WHOLE)


# -- other ways to begin ---------------------------------------------------------------------------


def row_multipath(w):
    s = w.connect("good", protocol=IPPROTO_MPTCP)
    echoed(s)
    w.saw(**OPEN)
    s.close()
    w.saw(**WHOLE)


def row_fast_open(w):
    """Without a cookie, then with one."""
    for i in (1, 2):
        s = w.socket()
        s.sendto(b"E", MSG_FASTOPEN, w.to("fastopen"))
        assert s.recv(9) == b"E"
        w.saw("fastopen", placed=i, opened=i, closed=i - 1)
        s.close()
        w.saw("fastopen", placed=i, opened=i, closed=i)


def row_fast_open_refused(w):
    s = w.socket()
    try:
        s.sendto(b"E", MSG_FASTOPEN, w.to("refused"))
        s.recv(9)
        raise AssertionError("it was answered")
    except ConnectionRefusedError:
        pass
    w.saw("refused", **WHOLE)
    s.close()


def row_fast_open_deferred(w):
    """With a cookie, connect() sends nothing; the first write connects."""
    s = w.socket((socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1))
    s.connect(w.to("fastopen"))
    w.saw("fastopen", placed=1)
    echoed(s)
    w.saw("fastopen", **OPEN)
    s.close()
    w.saw("fastopen", **WHOLE)


def row_fast_open_deferred_and_dropped(w):
    s = w.socket((socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1))
    s.connect(w.to("fastopen"))
    w.saw("fastopen", placed=1)
    s.close()
    w.saw("fastopen", **UNOPENED)


ROWS = {name[4:]: f for name, f in globals().items() if name.startswith("row_")}


def run_rows(w, rows):
    for name in rows:
        print(f"row: {name}")
        w.begin()
        ROWS[name](w)
        wait_for(lambda: w.client.in_flight() == {})
        w.end()
    assert w.daemon.metric("pintle_in_flight_drift_total") == 0


@case(each=("v4", "v6", "mapped"), timeout=120)
def test_counted_once(node, how):
    """Each row of this file, one after the other."""
    run_rows(World(node, how), ROWS)


def test_flags_taken_away_before_us(node):
    """A neighbour that runs before us and replaces the callback flags of every connection: we take
    ours back."""
    rival = Rival(node)
    w = World(node, "v4", lambda cluster: rival.attach(cluster.cgroup, "rude"))
    run_rows(w, ("client_closes_first", "both_half_closed_before_close", "reset_by_server", "disconnected",
                 "multipath", "fast_open"))
    assert rival.seen()[2] >= 6


def test_flags_taken_away_after_us(node):
    """With a neighbour that runs after us, ends are no longer reported, but every close() is seen."""
    w = World(node, "v4")
    rival = Rival(node)
    rival.attach(w.cluster.cgroup, "rude")
    for ending in (b"F", b"R", b"H", b"E"):
        w.begin()
        s = w.connect("good")
        s.sendall(ending)
        with contextlib.suppress(OSError):
            s.recv(9)
        s.close()
        w.saw(**WHOLE)
        w.end()
