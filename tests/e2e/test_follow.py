# SPDX-License-Identifier: Apache-2.0
"""Requests are followed: which wait, which are answered, how large they are."""
import signal

from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster

LARGE = 30000


def request(path, size, headers=""):
    """A request of exactly so many bytes, with these header lines."""
    head = f"GET {path} HTTP/1.1\r\nHost: test\r\n{headers}"
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


HOOKS = ("lookup", "hand", "connect")  # with "hand", connections are the hand-off's


class Followed:
    """Two servers behind a pool of either hook, and one client."""

    def __init__(self, node, hook, servers=None, **more):
        self.client = None
        if hook != "connect":
            self.servers, self.place = servers or node.servers(2), node
            if hook == "hand":
                more["decide"] = "request"
                more["stickiness"] = {**more.get("stickiness", {}), "key": "header/x-session-id"}
            self.config = node.config(node.pool(self.servers, **more))
            self.connect = lambda n=1: node.connect(FRONTEND["v4"], source(n))
            self.load = lambda: node.load(FRONTEND["v4"])
        else:
            self.place = cluster = Cluster(node)
            pods = cluster.servers(2)
            self.servers = [p.model for p in pods]
            self.config = cluster.config(cluster.pool(pods, **{"stickiness": {"key": "client"}, **more}))
            self.client = client = cluster.pod("client")
            self.connect = lambda n=1: client.connect(SERVICE["v4"])
            self.load = lambda: client.load(SERVICE["v4"])
        self.cli, self.pintle = self.place.cli, self.place.pintle
        self.start()

    def start(self):
        self.daemon = self.place.daemon(self.config)
        wait_for(lambda: {e["state"] for e in self.cli("endpoints")} == {"ready"})

    def sum(self, key):
        values = [e[key] for e in self.cli("endpoints")]
        return None if None in values else sum(values)

    def metric(self, name):
        return sum(self.daemon.metric(name, pool=e["pool"], endpoint=e["name"])
                   for e in self.cli("endpoints"))

    def shows(self, **wanted):
        """Waits until the sums over the endpoints are these; a function says what is right."""
        def right():
            got = {k: self.sum(k) for k in wanted}
            for key, value in wanted.items():
                assert value(got[key]) if callable(value) else value == got[key], got
            return True
        wait_for(right)


@case(each=HOOKS)
def test_waits_and_is_answered(node, hook):
    """A request waits with all its bytes, then is answered; the connection is idle after it."""
    f = Followed(node, hook)
    with f.connect() as c:
        # The hand-off makes the connection of its first request.
        f.shows(requests_waiting=0, connections_unseen=0, connections_idle=int(hook != "hand"))
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
    # At a client each answer's first token is timed, at a server the first answer's.
    assert f.metric("pintle_endpoint_first_tokens_total") == (2 if hook == "connect" else 1)
    assert 0 < f.metric("pintle_endpoint_first_token_seconds_total") < 60


@case(each=HOOKS)
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


@case(each=HOOKS)
def test_unread(node, hook):
    """Bytes that a stopped server has not read are seen at the servers' node alone."""
    f = Followed(node, hook)
    f.servers[0].process.send_signal(signal.SIGSTOP)
    f.servers[1].process.send_signal(signal.SIGSTOP)
    with f.connect() as c:
        c.sock.sendall(request("/hold", 5000))
        if hook != "connect":
            # The daemon's scrapes are not read either.
            f.shows(unread_bytes=lambda n: n >= 5000, accept_backlog=lambda n: n >= 1,
                    requests_waiting=1, requests_waiting_bytes=5000)
        else:
            f.shows(unread_bytes=0, accept_backlog=0, requests_waiting=1,
                    requests_waiting_bytes=5000)
        for s in f.servers:
            s.process.send_signal(signal.SIGCONT)
        f.shows(unread_bytes=0, accept_backlog=0)


def test_connections_from_before(node):
    """What a server does not read from a connection that it accepted before Pintle was attached."""
    servers = node.servers(2)
    with node.connect("127.0.0.1:8001") as c:
        c.ask()
        servers[0].process.send_signal(signal.SIGSTOP)
        c.sock.sendall(request("/", 5000))
        node.steer(servers)
        wait_for(lambda: any((e["unread_bytes"] or 0) >= 5000 for e in node.cli("endpoints")))
        servers[0].process.send_signal(signal.SIGCONT)


@case(each=HOOKS)
def test_without_a_daemon(node, hook):
    """What passes found is void once it is older than staleness: connections in flight alone decide, and no
    endpoint's load creeps up, however long clients go on. The next daemon finds each request again."""
    f = Followed(node, hook, saturation={"staleness": "500ms"},
                 stickiness={"key": "none", "maxExtraLoad": "auto"})
    found = {"requests_waiting": 4, "requests_waiting_bytes": 4 * LARGE, "connections_idle": 4, "unread_bytes": 0}
    held = [f.connect(n) for n in range(1, 9)]
    for c in held[:4]:
        c.sock.sendall(request("/hold", LARGE))
    for c in held[4:]:
        c.ask()
    f.shows(**found, in_flight=8)
    assert any(e["load"] > e["in_flight"] for e in f.cli("endpoints"))
    f.daemon.kill()
    wait_for(lambda: [f.sum(key) for key in found] == [None] * len(found))

    def loads_are_connections():
        rows = f.cli("endpoints")
        return [e["load"] for e in rows] == [e["in_flight"] for e in rows] and f.sum("in_flight") == len(held)
    for _ in range(3):
        with f.load() as load:
            load.go_on(300)
        assert not load.failures, load.failures[:3]
        wait_for(loads_are_connections)
    for n in range(100, 130):
        held.append(f.connect(n))
        held[-1].send("/hold")
    # Each went to the endpoint with fewer connections.
    wait_for(loads_are_connections)
    one, other = (e["in_flight"] for e in f.cli("endpoints"))
    assert abs(one - other) <= 1
    f.start()
    f.shows(**{**found, "requests_waiting": 34, "in_flight": 38,
               "requests_waiting_bytes": lambda n: n > 4 * LARGE})
    for s in f.servers:
        s.release()
    for c in held:
        c.close()
    f.shows(requests_waiting=0, requests_waiting_bytes=0, connections_idle=0, in_flight=0)
    assert f.daemon.metric("pintle_in_flight_drift_total") == 0
