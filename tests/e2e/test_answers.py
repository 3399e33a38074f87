# SPDX-License-Identifier: Apache-2.0
"""Servers that answer with errors at once: who is ejected for that, by whose word, and who is not."""
import socket

from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster
from servers import vllm_page

EJECTION = {"time": "1h", "maxTime": "2h"}


class Ward:
    """Four servers behind a pool of either hook, or one that is decided by request. All but s0 have work, so that s0 draws everybody."""

    def __init__(self, node, hook="lookup", servers=4, clients=3, **more):
        more = {"stickiness": {"key": "none"}, "ejection": EJECTION, **more}
        if hook != "connect":
            handed = hook == "request"
            if handed:
                node.add_client()
                more = {**more, "decide": "request", "stickiness": {"key": "header/x-session-id"}}
            self.node, self.servers = node, node.servers(servers)
            self.daemon = node.daemon(node.config(node.pool(self.servers, **more)))
            self.connect = lambda client: node.connect(FRONTEND["v4"], source(1 + client, remote=handed), remote=handed)
        else:
            self.node = cluster = Cluster(node)
            pods = cluster.servers(servers)
            self.servers = [p.model for p in pods]
            self.daemon = cluster.steer(cluster.pool(pods, **more))
            who = [cluster.pod(f"client{i}") for i in range(clients)]
            self.connect = lambda client: who[client % clients].connect(SERVICE["v4"])
        for s in self.servers[1:]:
            s.set(running=4)
        wait_for(lambda: all(e["state"] == "ready" and (e["running"] or e["name"] == "s0") for e in self.rows()))

    def ask(self, client):
        with self.connect(client) as c:
            return c.ask(close=True)

    def rows(self):
        return self.node.cli("endpoints")

    def row(self, name="s0"):
        return next(e for e in self.rows() if e["name"] == name)

    def ejected(self):
        return {e["name"]: e["ejected_for"] for e in self.rows() if e["state"] == "ejected"}

    def counts(self, **statuses):
        for s in self.servers:
            s.be(statuses=dict(statuses))

    def falls_sick(self, what):
        """s0 answers with errors from now on: `statuses`: which its page counts; `tokens`: for which it counts none."""
        if what == "statuses":
            self.counts(**{"2xx": 3})
        else:
            self.servers[0].set(output=10)
        self.pages()
        self.servers[0].be(fails=500)

    def pages(self, more=2, name="s0"):
        """So many more pages were asked for."""
        server = self.servers[int(name[1:])]
        before = server.counts().scrapes
        wait_for(lambda: server.counts().scrapes >= before + more)

    def until(self, done, clients=(0, 1, 2), limit=20):
        """Asks until that is so; returns how many of the answers were s0's."""
        bad = 0

        def ask():
            nonlocal bad
            for client in clients:
                bad += self.ask(client) == "s0"
            return done()

        wait_for(ask, limit)
        return bad

    def metric(self, name, **labels):
        return self.daemon.metrics()[name, tuple(sorted({"endpoint": "s0", "pool": "pool", **labels}.items()))]


@case(each=tuple(f"{what}, {hook}" for what in ("statuses", "tokens") for hook in ("lookup", "connect", "request")))
def test_black_hole(node, which):
    """A server whose page counts errors, or no token, for what it answers: it gets nothing more, says why,
    and is back when its time is over."""
    what, hook = which.split(", ")
    w = Ward(node, hook, ejection={"time": "2s", "maxTime": "2s"})
    w.falls_sick(what)
    bad = w.until(lambda: w.ejected() == {"s0": "counters"})
    assert bad >= 5, bad
    # Others answer well meanwhile.
    assert {w.ask(i) for i in range(12)} <= {"s1", "s2", "s3"} or not w.ejected()
    row = w.row()
    assert row["ejections"] >= 1 and row["unfit"] in ("failing", None), row
    assert w.metric("pintle_endpoint_failing", why="counters") in (0, 1)
    assert w.metric("pintle_endpoint_ejections_total") >= 1
    w.servers[0].be(fails=None)
    wait_for(lambda: w.row()["state"] == "ready", 20)
    assert w.metric("pintle_endpoint_failing", why="counters") == 0


@case(each=("lookup", "connect"))
def test_says_why(node, hook):
    """`pintle endpoints`, `status` and the log name the reason; sessions leave the server."""
    w = Ward(node, hook, stickiness={"key": "source" if hook == "lookup" else "client"})
    w.counts(**{"2xx": 3})
    w.pages()
    w.servers[0].be(fails=500)
    w.until(lambda: w.ejected() == {"s0": "counters"})
    assert {w.ask(i) for i in range(9)} <= {"s1", "s2", "s3"}
    row = w.row()
    assert row["unfit"] == "failing" and 3000 < row["ejected_seconds"] <= 3600 and row["ejections"] == 1, row
    assert "(counters)" in w.node.pintle("endpoints").stdout
    told = w.node.cli("explain", "pool")
    assert [(c["endpoint"], c["why"]) for c in told["candidates"] if c["ejected_for"] == "counters"] == [("s0", "ejected")]
    assert "ejected (counters)" in w.node.pintle("explain", "pool").stdout
    assert any("s0 is ejected: its page counts errors" in x for x in w.node.cli("status")[0]["warnings"])
    assert w.metric("pintle_endpoint_failing", why="counters") == 1
    assert w.metric("pintle_endpoint_ejected") == 1


@case(each=("lookup", "connect"))
def test_gateway(node, hook):
    """One client is all there is: its word counts, because the page counts errors."""
    w = Ward(node, hook)
    w.counts(**{"2xx": 3})
    w.pages()
    w.servers[0].be(fails=500)
    w.until(lambda: w.ejected() == {"s0": "counters"}, clients=[0])
    assert {w.ask(0) for _ in range(12)} <= {"s1", "s2", "s3"}


@case(each=tuple(f"{how}, {hook}" for how in ("reset", "shut") for hook in ("lookup", "connect", "request")))
def test_no_answers(node, which):
    """A server that resets, or closes in order, every connection with a request on it."""
    how, hook = which.split(", ")
    w = Ward(node, hook)
    w.servers[0].be(**{how: True})

    def lost(client):
        try:
            return Ward.ask(w, client)
        except OSError:
            return "s0"

    w.ask = lost
    assert w.until(lambda: w.ejected() == {"s0": "clients"}) >= 5


@case(each=("lookup", "connect"))
def test_clients_give_up(node, hook):
    """Clients that close first, and servers that then close without an answer: nobody failed."""
    w = Ward(node, hook)
    for i in range(30):
        with w.connect(i) as c:
            c.send("/silent")
            c.sock.shutdown(socket.SHUT_WR)
            assert c.sock.recv(1) == b""
    w.pages(10)
    assert not w.ejected() and w.row()["ejections"] == 0


@case(each=tuple(f"{what}, {hook}" for what in ("statuses", "tokens") for hook in ("lookup", "connect")), timeout=120)
def test_long_errors(node, which):
    """Errors of several kilobytes, as gateways and tracebacks are: by the page's count of errors, or by tokens that
    stand still for five clients, and for longer than a copy of a page is old."""
    what, hook = which.split(", ")
    w = Ward(node, hook, clients=5)
    w.falls_sick(what)

    def ask(client):
        with w.connect(client) as c:
            c.ask("/bytes/6000", close=True)
            return "s0" if c.status == 500 else "another"

    w.ask = ask
    bad = w.until(lambda: w.ejected() == {"s0": "counters"}, clients=range(5), limit=40)
    assert bad >= 5, bad


@case()
def test_errors_in_streams(node):
    """A server whose status is 200 before an error comes in the stream: the engine has done nothing."""
    w = Ward(node)
    s0 = w.servers[0]
    page = vllm_page(output=9) + 'vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 3\n'
    count = 'http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"} %d\n'
    s0.be(page=page + count % 3)
    w.pages()

    def counted():
        s0.be(page=page + count % (3 + s0.counts().requests))
        return w.ejected() == {"s0": "counters"}

    w.until(counted)


@case()
def test_bad_client(node):
    """A client whose input is answered by 500, beside clients at other servers; refused requests (400) of
    many; answers that say nothing of the server's work. Nobody is ejected."""
    w = Ward(node, stickiness={"key": "source"})
    w.counts(**{"2xx": 3})
    w.pages()
    assert w.ask(0) == "s0"         # its session is bound there
    w.servers[0].set(running=8)
    wait_for(lambda: w.row()["running"] == 8)
    assert {w.ask(i) for i in range(1, 7)} <= {"s1", "s2", "s3"}
    w.servers[0].be(fails=500)
    for i in range(20):
        assert w.ask(0) == "s0"
        w.ask(1 + i % 6)
    w.pages(30)
    assert not w.ejected() and w.row()["ejections"] == 0
    w.servers[0].be(fails=400)
    w.servers[0].set(running=0)
    wait_for(lambda: w.row()["running"] == 0)
    for i in range(60):
        w.ask(100 + i)
    w.pages(30)
    assert not w.ejected()


@case()
def test_all_fail(node):
    """Every server answers with errors: none is ejected, because somebody has to answer."""
    w = Ward(node)
    w.counts(**{"2xx": 3})
    w.pages()
    for s in w.servers:
        s.be(fails=500)
        s.set(running=0)
    for _ in range(8):
        for i in range(40):
            w.ask(i)
        w.pages(4)
    wait_for(lambda: not w.ejected(), 20)


@case(each=("lookup", "connect"))
def test_page_fails(node, hook):
    """A page that is answered with 503, twice in a row, ejects; with 401 it does not. A good one ends it."""
    w = Ward(node, hook, servers=2)
    w.servers[0].be(status=401)
    w.pages(4)
    assert w.row()["state"] in ("ready", "stale")
    w.servers[0].be(status=503)
    wait_for(lambda: w.ejected() == {"s0": "page"})
    assert {w.ask(i) for i in range(8)} == {"s1"}
    # No other server is left.
    w.servers[1].be(status=500)
    wait_for(lambda: not w.ejected())
    w.servers[1].be(status=200)
    wait_for(lambda: w.ejected() == {"s0": "page"})
    w.servers[0].be(status=200)
    wait_for(lambda: w.row()["state"] == "ready")


@case()
def test_pause(node):
    """A page that is answered with 503 and Retry-After: so long it is left alone. 429 without it is no word."""
    w = Ward(node, servers=2)
    w.servers[0].be(status=429)
    w.pages(4)
    assert not w.ejected()
    w.servers[0].be(retry=900)
    wait_for(lambda: w.ejected() == {"s0": "busy"})
    assert 800 < w.row()["ejected_seconds"] <= 900
    assert {w.ask(i) for i in range(8)} == {"s1"}
    w.servers[0].be(status=200)
    wait_for(lambda: w.row()["state"] == "ready")


@case()
def test_share(node):
    """Two of four fail and two may be: both are ejected; with a share of a quarter only the first."""
    w = Ward(node, ejection={**EJECTION, "maxShare": 0.25})
    w.servers[0].be(status=503)
    wait_for(lambda: w.ejected() == {"s0": "page"})
    w.servers[1].be(status=503)
    w.pages(6, "s1")
    assert w.ejected() == {"s0": "page"}
    w.servers[0].be(status=200)
    wait_for(lambda: w.ejected() == {"s1": "page"})


@case(each=("lookup", "connect"))
def test_probe(node, hook):
    """Nothing but the probe tells: its 5xx ejects, and its 2xx ends that. A server without doubt is not asked."""
    w = Ward(node, hook, probe={"path": "/v1/completions", "model": "org/m", "interval": "1s", "timeout": "1s"})
    w.pages(4)
    assert [s.counts().requests for s in w.servers] == [0, 0, 0, 0]
    w.servers[0].be(fails=500)
    w.until(lambda: w.ejected() == {"s0": "probe"}, clients=[0])
    assert {w.ask(0) for _ in range(8)} <= {"s1", "s2", "s3"}
    w.servers[0].be(fails=None)
    wait_for(lambda: w.row()["state"] == "ready", 20)


@case()
def test_who_watches(node):
    """Two clients get brief answers from the server that is least loaded, as to GET /v1/models, and its page
    counts nothing for them, while others are given large ones by the other servers: it is not ejected."""
    w = Ward(node)
    w.servers[0].set(output=10)
    w.pages()
    w.servers[0].set(running=9)
    wait_for(lambda: w.row()["running"] == 9)

    def large(count):
        for i in range(count):
            with node.connect(FRONTEND["v4"], source(20 + i)) as c:
                c.ask("/bytes/9000", close=True)

    large(12)
    for _ in range(10):
        w.servers[0].set(running=0)
        wait_for(lambda: w.row()["running"] == 0)
        assert {w.ask(0), w.ask(1)} == {"s0"}
        w.servers[0].set(running=9)
        wait_for(lambda: w.row()["running"] == 9)
        large(3)
    w.pages(10)
    assert w.row()["ejections"] == 0, w.row()


@case()
def test_turned_off(node):
    """Ejection is turned off while a server is ejected for its answers: it is back with the next page."""
    w = Ward(node, servers=2)
    w.servers[0].be(status=503)
    wait_for(lambda: w.ejected() == {"s0": "page"})
    node.pintle("set", "pool", "ejection.failures=0")
    wait_for(lambda: not w.ejected())


@case()
def test_pause_of_the_probe(node):
    """The probe is answered with 429 and Retry-After, and the page is good all the time: so long it is left alone."""
    w = Ward(node, servers=2, probe={"path": "/v1/completions", "model": "org/m", "interval": "1s", "timeout": "1s"})
    w.servers[0].be(fails=429, retry=900)
    w.until(lambda: w.ejected() == {"s0": "busy"}, clients=[0])
    w.pages(10)
    assert w.ejected() == {"s0": "busy"}
    w.servers[0].be(fails=None)
    wait_for(lambda: w.row()["state"] == "ready")
