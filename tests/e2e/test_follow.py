# SPDX-License-Identifier: Apache-2.0
"""Requests are followed: which wait, which are answered, how large they are."""
from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster

LARGE = 30000


def request(path, size):
    """A request of exactly so many bytes."""
    head = f"GET {path} HTTP/1.1\r\nHost: test\r\n"
    lines = []
    left = size - len(head) - 2
    while left:
        n = min(left, 6000)
        if 0 < left - n < 8:
            n -= 8
        lines.append(f"X: {'y' * (n - 5)}\r\n")
        left -= n
    text = head + "".join(lines) + "\r\n"
    assert len(text) == size
    return text.encode()


class Followed:
    """Two servers behind a pool of either hook, and one client."""

    def __init__(self, node, hook, **more):
        self.node = node
        if hook == "lookup":
            self.servers = node.servers(2)
            self.daemon = node.steer(self.servers, **more)
            self.cli, self.pintle = node.cli, node.pintle
            self.connect = lambda n=1: node.connect(FRONTEND["v4"], source(n))
        else:
            cluster = Cluster(node)
            pods = cluster.servers(2)
            self.servers = [p.model for p in pods]
            self.daemon = cluster.steer(cluster.pool(pods, stickiness={"key": "client"}, **more))
            self.cli, self.pintle = cluster.cli, cluster.pintle
            client = cluster.pod("client")
            self.connect = lambda n=1: client.connect(SERVICE["v4"])

    def sum(self, key):
        values = [e[key] for e in self.cli("endpoints")]
        return None if None in values else sum(values)

    def shows(self, **wanted):
        """Waits until the sums over the endpoints are these; a function says what is right."""
        def right():
            got = {k: self.sum(k) for k in wanted}
            for key, value in wanted.items():
                assert value(got[key]) if callable(value) else value == got[key], got
            return True
        wait_for(right)


@case(each=("lookup", "connect"))
def test_waits_and_is_answered(node, hook):
    """A request waits with all its bytes, then is answered; the connection is idle after it."""
    f = Followed(node, hook)
    with f.connect() as c:
        f.shows(requests_waiting=0, connections_unseen=0, connections_idle=1)
        for size in (LARGE, 777):
            c.sock.sendall(request("/hold", size))
            f.shows(requests_waiting=1, requests_headed=0, requests_waiting_bytes=size,
                    connections_idle=0)
            for s in f.servers:
                s.release()
            assert c.read() in ("s0", "s1")
            # A short answer may be a head.
            f.shows(requests_headed=1)
    f.shows(requests_waiting=0, connections_idle=0, in_flight=0)


@case(each=("lookup", "connect"))
def test_not_followed(node, hook):
    """With follow: false nothing is said of requests; `pintle set` switches it."""
    f = Followed(node, hook, follow=False)
    with f.connect() as c:
        c.sock.sendall(request("/hold", LARGE))
        assert f.sum("requests_waiting") is None
        f.pintle("set", "pool", "follow=true")
        f.shows(requests_waiting=1, requests_waiting_bytes=LARGE)
        f.pintle("set", "pool", "follow=false")
        wait_for(lambda: f.sum("requests_waiting") is None)


@case(each=("lookup", "connect"))
def test_unread(node, hook):
    """Bytes that a stopped server has not read are seen at the servers' node alone."""
    f = Followed(node, hook)
    f.servers[0].process.send_signal(19)
    f.servers[1].process.send_signal(19)
    with f.connect() as c:
        c.sock.sendall(request("/hold", 5000))
        if hook == "lookup":
            # The daemon's scrapes are not read either.
            f.shows(unread_bytes=lambda n: n >= 5000, accept_backlog=lambda n: n >= 1,
                    requests_waiting=1, requests_waiting_bytes=5000)
        else:
            f.shows(unread_bytes=0, accept_backlog=0, requests_waiting=1,
                    requests_waiting_bytes=5000)
        for s in f.servers:
            s.process.send_signal(18)
        f.shows(unread_bytes=0, accept_backlog=0)
