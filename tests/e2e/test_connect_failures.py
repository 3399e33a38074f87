# SPDX-License-Identifier: Apache-2.0
"""Endpoints that fail their clients are noticed at the clients' sockets, and left out for a while."""
import contextlib
import errno
import json
import subprocess
import threading

from clients import split
from harness import case
from kernel import BUILD, wait_for
from pods import SERVICE, Cluster
from test_connect import BOTH, all_zero

# The kernel ejects; the daemon only shows it.
UNDER_SANITIZERS = False

EJECTION = {"failures": 3, "time": "1s", "maxTime": "3s", "maxShare": 0.5}
DROP = "table inet peer { chain input { type filter hook input priority filter; tcp dport 8000 drop; }; }\n"


class Clinic:
    """Servers whose page comes from elsewhere, and looks well whatever happens to their clients; from those whose names
    are in own_page it comes by themselves."""

    def __init__(self, node, servers=4, family="v4", own_page=(), **more):
        self.node, self.family = node, family
        self.cluster = Cluster(node)
        self.pods = self.cluster.servers(servers)
        self.pages, self.client = self.cluster.pod("pages"), self.cluster.pod("client")
        self.pages.server()
        page = {"metrics": f"http://{self.pages.address()}/metrics"}
        self.pool = self.cluster.pool(
            [self.cluster.endpoint_of(p, family, **({} if p.name in own_page else page)) for p in self.pods],
            family=family, **{"ejection": EJECTION, **more})
        self.daemon = self.cluster.steer(self.pool)

    def ask(self, timeout=5, **more):
        return self.client.ask(SERVICE[self.family], timeout=timeout, **more)

    def attempt(self, count):
        """Makes `count` connections; returns how many failed."""
        failed = 0
        for _ in range(count):
            try:
                self.ask()
            except OSError:
                failed += 1
        return failed

    def row(self, name):
        return self.cluster.endpoint(name)

    def failures(self, name):
        return {k: n for k, n in self.row(name)["failures"].items() if n}

    def is_ejected(self, name):
        return self.row(name)["state"] == "ejected"

    def until_ejected(self, name, count=200):
        """Connects until this endpoint is ejected; returns how many connections failed before."""
        failed = 0
        for _ in range(count):
            if self.is_ejected(name):
                return failed
            failed += self.attempt(1)
        raise AssertionError(f"{name} is not ejected after {count} connections: {self.row(name)}")

    def follow(self):
        """The lines of `pintle events` from now on."""
        follower = self.node.popen([BUILD / "pintle", "--bpffs", self.cluster.bpffs, "events", "-o", "json"],
                                   stdout=subprocess.PIPE, text=True)
        rows = []

        def read():
            for line in follower.stdout:
                with contextlib.suppress(ValueError):
                    rows.append(json.loads(line.strip().strip(",[]")))

        threading.Thread(target=read, daemon=True).start()
        wait_for(lambda: self.ask() and any(r["event"] == "closed" for r in rows))
        return rows


def refuse(pod):
    pod.model.order("unlisten")


def accept(pod):
    pod.model.order("listen")


@case(each=BOTH)
def test_refused(node, family):
    """After three refusals in a row no client is sent there any more, and every view shows that."""
    w = Clinic(node, family=family, ejection={**EJECTION, "time": "1h", "maxTime": "2h"})
    rows = w.follow()
    refuse(w.pods[0])
    assert w.until_ejected("s0") == 3
    assert w.attempt(40) == 0
    row = w.row("s0")
    assert w.failures("s0") == {"refused": 3}
    assert 3000 < row["ejected_seconds"] <= 3600 and row["ejections"] == 1, row
    event = wait_for(lambda: [r for r in rows if r["event"] == "ejected"])[0]
    assert (event["endpoint"], event["failure"]) == ("s0", "refused"), event
    assert event["duration_seconds"] == 3600, event
    found = w.daemon.metrics()
    labels = (("endpoint", "s0"), ("pool", "pool"))
    assert found["pintle_endpoint_ejected", labels] == 1
    assert found["pintle_endpoint_ejections_total", labels] == 1
    assert found["pintle_endpoint_failures_total", (("endpoint", "s0"), ("failure", "refused"), ("pool", "pool"))] == 3
    all_zero(w.cluster)


def test_reset_before_the_first_byte(node):
    """A server that accepts and drops every client is ejected; a server that resets after an answer
    has answered."""
    w = Clinic(node, ejection={**EJECTION, "time": "1h", "maxTime": "2h"})
    w.pods[0].model.be(reset=True)
    assert w.until_ejected("s0") == 3
    assert w.failures("s0") == {"reset": 3}
    assert w.attempt(20) == 0


def test_reset_after_an_answer_is_no_failure(node):
    w = Clinic(node, servers=1)
    for _ in range(5):
        with w.client.connect(SERVICE["v4"]) as c:
            c.ask()
            w.pods[0].model.drop(reset=True)
            with contextlib.suppress(ConnectionResetError):
                c.sock.recv(1)
    wait_for(lambda: w.client.in_flight() == {})
    assert w.failures("s0") == {}


def test_black_hole(node):
    """Unanswered for one retransmission, about a second, is a failure: nobody waits for the two
    minutes after which the kernel gives up."""
    w = Clinic(node, ejection={**EJECTION, "time": "1h", "maxTime": "2h"})
    w.pods[0].nft(DROP)
    waiting = []
    while w.client.in_flight()[w.pods[0].address()] < 4 and not w.is_ejected("s0"):
        s = w.client.socket()
        s.setblocking(False)
        assert s.connect_ex(split(SERVICE["v4"])) == errno.EINPROGRESS
        waiting.append(s)
        assert len(waiting) < 200
    wait_for(lambda: w.is_ejected("s0"))
    # The endpoint is not ejected yet, so all of them try it.
    assert w.client.in_flight()[w.pods[0].address()] >= 3
    assert w.failures("s0")["unanswered"] >= 3
    assert w.attempt(20) == 0
    for s in waiting:
        s.close()
    all_zero(w.cluster)
    assert set(w.failures("s0")) == {"unanswered"}


def test_who_gives_up_earlier_is_no_witness(node):
    """A client that closes before the first retransmission says nothing about the endpoint."""
    w = Clinic(node, servers=1)
    w.pods[0].nft(DROP)
    for _ in range(6):
        with w.client.socket() as s:
            s.setblocking(False)
            assert s.connect_ex(split(SERVICE["v4"])) == errno.EINPROGRESS
    all_zero(w.cluster)
    assert w.failures("s0") == {}
    assert not w.is_ejected("s0")


def test_not_in_a_row(node):
    """A success between failures restarts the count."""
    w = Clinic(node, servers=2)
    for _ in range(4):
        w.cluster.pintle("drain", "s1")
        refuse(w.pods[0])
        assert w.attempt(2) == 2
        accept(w.pods[0])
        assert w.attempt(1) == 0
    assert w.failures("s0") == {"refused": 8}
    assert w.row("s0")["ejections"] == 0


def test_doubles_up_to_the_limit(node):
    """Twice as long each time, up to the limit; the first success ends that, and the next ejection
    is short again."""
    w = Clinic(node, servers=2, ejection={**EJECTION, "time": "300ms", "maxTime": "900ms"})
    rows = w.follow()
    refuse(w.pods[0])

    def durations():
        return [r["duration_seconds"] for r in rows if r["event"] == "ejected"]

    def goes_on(count):
        def enough():
            w.attempt(1)
            return len(durations()) >= count
        return enough

    wait_for(goes_on(4), 30, "four ejections")
    assert durations()[:4] == [0.3, 0.6, 0.9, 0.9], durations()
    accept(w.pods[0])

    def restored():
        w.attempt(1)
        return any(r["event"] == "restored" and r["endpoint"] == "s0" for r in rows)

    wait_for(restored, 20)
    assert not w.is_ejected("s0")
    refuse(w.pods[0])
    wait_for(goes_on(5), 30, "one more ejection")
    assert durations()[4] == 0.3, durations()


@case(each=(0.5, 0.25, 0))
def test_share(node, share):
    """At most this share of a pool is ejected at the same time, even when all endpoints fail."""
    w = Clinic(node, ejection={**EJECTION, "time": "1h", "maxTime": "2h", "maxShare": share})
    for p in w.pods:
        refuse(p)
    assert w.attempt(60) == 60
    states = [e["state"] for e in w.cluster.cli("endpoints")]
    assert states.count("ejected") == int(4 * share), states


def test_without_daemon(node):
    """The kernel ejects by itself."""
    w = Clinic(node, ejection={**EJECTION, "time": "1h", "maxTime": "2h"}, saturation={"staleness": "300ms"})
    w.daemon.kill()
    refuse(w.pods[0])
    assert w.until_ejected("s0") == 3
    assert w.attempt(20) == 0


def test_never(node):
    """With failures: 0 nothing is ejected, and failures are still counted."""
    w = Clinic(node, servers=2, ejection={"failures": 0})
    refuse(w.pods[0])
    wait_for(lambda: w.attempt(5) and w.failures("s0").get("refused", 0) >= 6)
    assert w.row("s0")["ejections"] == 0


def test_unreachable(node):
    """An endpoint that a router reports as unreachable, to clients and to the daemon, is ejected."""
    w = Clinic(node, ejection={**EJECTION, "time": "1h", "maxTime": "2h"})
    rule = f"ip daddr {w.pods[0].v4} tcp dport 8000 reject with icmp host-unreachable;"
    w.cluster.nft(f"table inet way {{ chain forward {{ type filter hook forward priority filter; {rule} }}; "
                  f"chain output {{ type filter hook output priority filter; {rule} }}; }}\n")
    w.until_ejected("s0")
    assert set(w.failures("s0")) <= {"unreachable", "unanswered"}, w.failures("s0")
    assert w.attempt(20) == 0
