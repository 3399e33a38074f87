# SPDX-License-Identifier: Apache-2.0
"""Health checks that a pool configures, and the time that new servers are given."""
from clients import FRONTEND, source
from harness import case
from kernel import SAN, wait_for
from pods import SERVICE, Cluster

HEALTH = {"path": "/health", "interval": "50ms", "timeout": "300ms"}


class Clinic:
    """Three servers behind a pool of either hook, with health checks."""

    def __init__(self, node, hook, **more):
        self.harness = node
        if hook == "lookup":
            self.node, self.servers = node, node.servers(3)
            self.pool = node.pool(self.servers, **{"health": HEALTH, "stickiness": {"key": "none"}, **more})
            self.start = lambda: node.daemon(node.config(self.pool))
            self.ask = lambda n: node.ask(FRONTEND["v4"], source(n))
        else:
            self.node = cluster = Cluster(node)
            pods = cluster.servers(3)
            self.servers = [p.model for p in pods]
            # Servers that are killed are to be unhealthy here, and not ejected.
            self.pool = cluster.pool(pods, **{"health": HEALTH, "stickiness": {"key": "none"},
                                              "ejection": {"failures": 0}, **more})
            self.start = lambda: cluster.steer(self.pool)
            client = cluster.pod("client")
            self.ask = lambda n: client.ask(SERVICE["v4"])
        self.daemon = self.start()
        wait_for(lambda: {e["state"] for e in self.node.cli("endpoints")} == {"ready"})

    def row(self, name="s0"):
        return next(e for e in self.node.cli("endpoints") if e["name"] == name)

    def is_(self, state, name="s0"):
        return self.row(name)["state"] == state

    def spread(self, count=20):
        return {self.ask(i) for i in range(count)}

    def metric(self, name, **labels):
        return self.daemon.metrics()[name, tuple(sorted({"endpoint": "s0", "pool": "pool", **labels}.items()))]


BAD = {"503": {"health": 503}, "redirect": {"health": 302}, "no answer": {"health": 0}}


@case(each=tuple(f"{how}, {hook}" for how in BAD for hook in ("lookup", "connect")))
def test_unhealthy(node, which):
    """A server whose check fails gets nothing, though its page is good; it says why, and comes back."""
    how, hook = which.split(", ")
    w = Clinic(node, hook)
    bad = BAD[how]["health"]
    w.servers[0].be(health=bad)
    wait_for(lambda: w.is_("unhealthy"))
    assert w.spread() == {"s1", "s2"}
    row = w.row()
    assert row["unfit"] == "unhealthy" and row["health_status"] == (bad or None), row
    said = f"pool/s0 is unhealthy: it fails its health check{f' (HTTP status {bad})' if bad else ''}; it gets no"
    assert said in w.node.pintle("status").stdout
    text = w.node.pintle("endpoints").stdout
    assert (f"unhealthy {bad}" if bad else "unhealthy") in text, text
    assert w.metric("pintle_endpoint_unfit", why="unhealthy") == 1 and w.metric("pintle_endpoint_ready") == 0
    assert w.metric("pintle_endpoint_unfit", why="starting") == 0
    checks = w.metric("pintle_endpoint_health_checks_total")
    assert 2 <= w.metric("pintle_endpoint_health_check_failures_total") <= checks
    assert "health check of pool/s0 at" in w.daemon.log() and "pool/s0 is unhealthy" in w.daemon.log()
    w.servers[0].be(health=200)
    wait_for(lambda: w.is_("ready") and w.row()["unfit"] is None)
    wait_for(lambda: "s0" in w.spread())


def test_one_failure_is_none(node):
    """Two in a row are needed, or as many as the pool says."""
    w = Clinic(node, "lookup", health={**HEALTH, "failures": 1000})
    w.servers[0].be(health=503)
    wait_for(lambda: w.metric("pintle_endpoint_health_check_failures_total") > 4)
    assert w.is_("ready")
    w.node.pintle("set", "pool", "health.failures=2")
    wait_for(lambda: w.is_("unhealthy"))


def test_another_status(node):
    w = Clinic(node, "lookup")
    w.node.pintle("set", "pool", "health.expect=204")
    wait_for(lambda: all(w.is_("unhealthy", f"s{i}") for i in range(3)))
    for s in w.servers:
        s.be(health=204)
    wait_for(lambda: all(w.is_("ready", f"s{i}") for i in range(3)))


@case(each=("lookup", "connect"))
def test_a_new_server_starts(node, hook):
    """It listens, and serves its page, and is still loading: that is no failure until its time is over."""
    w = Clinic(node, hook)
    w.servers[0].kill()
    wait_for(lambda: w.is_("down" if hook == "lookup" else "unhealthy"))
    failures = w.metric("pintle_endpoint_health_check_failures_total")
    w.servers[0].start(be={"health": 503})
    wait_for(lambda: w.is_("starting"))
    failures = w.metric("pintle_endpoint_health_check_failures_total")
    before = w.servers[0].counts().checks
    wait_for(lambda: w.servers[0].counts().checks > before + 4)
    assert w.is_("starting") and w.metric("pintle_endpoint_health_check_failures_total") == failures
    assert w.metric("pintle_endpoint_unfit", why="starting") == 1
    assert w.spread() == {"s1", "s2"}
    w.node.pintle("set", "pool", "startup=0s")
    wait_for(lambda: w.is_("unhealthy"))
    w.servers[0].be(health=200)
    wait_for(lambda: w.is_("ready"))


def test_all_unhealthy(node):
    """The failure mode decides: FailOpen takes any, FailClose none."""
    w = Clinic(node, "lookup")
    for s in w.servers:
        s.be(health=503)
    wait_for(lambda: all(w.is_("unhealthy", f"s{i}") for i in range(3)))
    assert w.spread(60) == {"s0", "s1", "s2"}
    assert w.node.decisions()["no_endpoint"] == 60
    w.node.pintle("set", "pool", "failureMode=FailClose")

    def refused():
        try:
            w.ask(1)
        except ConnectionRefusedError:
            return True
        return False
    wait_for(refused)


def test_unfit_and_standing_still(node):
    """No endpoint is left: the pool goes on with those that are healthy, as if none stood still."""
    w = Clinic(node, "lookup")
    w.servers[0].be(health=503)
    wait_for(lambda: w.is_("unhealthy"))
    for s in w.servers[1:]:
        s.be(held=True)
    held = []

    def both_stall():
        if len(held) < 40:
            held.append(node.connect(FRONTEND["v4"], source(len(held) + 1)))
            held[-1].send("/")
        return w.daemon.log().count("stalls") == 2
    wait_for(both_stall, 20)
    wait_for(lambda: w.is_("ready", "s1") and w.is_("ready", "s2"))
    before = w.node.decisions().get("no_endpoint", 0)
    for i in range(100, 110):
        held.append(node.connect(FRONTEND["v4"], source(i)))
    assert w.row()["placed"] == 0 and w.node.decisions().get("no_endpoint", 0) == before
    for c in held:
        c.close()


def test_another_daemon(node):
    """What the daemon before found holds; without a daemon it is void."""
    w = Clinic(node, "lookup", saturation={"staleness": "500ms"})
    w.servers[0].be(health=503)
    wait_for(lambda: w.is_("unhealthy"))
    w.daemon.kill()
    wait_for(lambda: w.is_("stale"))
    # Checks are so seldom now that the new daemon has made one of each, at its start.
    w.servers[0].be(health=0)
    w.pool["health"] = {**HEALTH, "interval": "1h", "timeout": "1h"}
    w.daemon = w.harness.daemon(w.node.config(w.pool))
    wait_for(lambda: w.is_("unhealthy") and w.is_("ready", "s1"))


def test_added_and_removed(node):
    """A reload that adds checks takes no endpoint away that serves; one that removes them gives it back."""
    w = Clinic(node, "lookup")
    path = w.daemon.config
    with_checks = path.read_text()
    w.servers[0].be(health=503)
    wait_for(lambda: w.is_("unhealthy"))
    w.pool.pop("health")
    path.write_text(w.node.config(w.pool))
    w.node.pintle("reload")
    wait_for(lambda: w.is_("ready"))
    for s in w.servers:
        s.be(health=0)  # until the timeout nobody knows
    path.write_text(with_checks.replace('"300ms"', '"1h"'))
    w.node.pintle("reload")
    wait_for(lambda: all(s.counts().checks for s in w.servers))
    assert w.spread() == {"s0", "s1", "s2"}


HOSTILE = """
import itertools, socket, sys, threading, time
how = sys.argv[2]
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
OK = b"HTTP/1.1 200 OK\\r\\n"
SAYS = {
    "a byte at a time": lambda: (bytes([b]) for b in itertools.cycle(OK)),
    "endless headers": lambda: itertools.chain([OK], itertools.repeat(b"X: " + b"y" * 9000 + b"\\r\\n")),
    "one endless header": lambda: itertools.chain([OK + b"X: "], itertools.repeat(b"y" * 9000)),
    "endless 1xx": lambda: itertools.repeat(b"HTTP/1.1 102 Processing\\r\\n\\r\\n"),
    "an upgrade": lambda: [b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: x\\r\\nConnection: Upgrade\\r\\n\\r\\n"],
    "no word": lambda: [],
    "TLS": lambda: [bytes.fromhex("15030300020246")],
    "another protocol": lambda: [b"SSH-2.0-x\\r\\n"],
    "zeros": lambda: [bytes(100000)],
    "no status": lambda: [b"HTTP/1.1 \\r\\n\\r\\n"],
    "a huge status": lambda: [b"HTTP/1.1 99999999999200 OK\\r\\n\\r\\n"],
    "redirect to a good one": lambda: [b"HTTP/1.1 302 x\\r\\nLocation: http://127.0.0.1:9003/health\\r\\n"
                                       b"Content-Length: 0\\r\\n\\r\\n"],
    "hints, then good": lambda: [b"HTTP/1.1 103 Early Hints\\r\\nLink: x\\r\\n\\r\\n" + OK +
                                 b"Content-Length: 0\\r\\n\\r\\n"],
    "endless body": lambda: itertools.chain([OK + b"\\r\\n"], itertools.repeat(b"y" * 9000)),
    "compressed": lambda: [OK + b"Content-Encoding: gzip\\r\\nContent-Length: 4\\r\\n\\r\\nxxxx"],
}


def serve(sock):
    try:
        sock.recv(65536)
        for said in SAYS[how]():
            sock.sendall(said)
            if len(said) == 1:
                time.sleep(0.02)
    except OSError:
        pass
    sock.close()


while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
BAD_ANSWERS = ("a byte at a time", "endless headers", "one endless header", "endless 1xx", "an upgrade", "no word",
               "TLS", "another protocol", "zeros", "no status", "a huge status", "redirect to a good one")
GOOD_ANSWERS = ("hints, then good", "endless body", "compressed")


def test_hostile_answers(node):
    """Whatever comes, a check ends in time, is good only with the status that is wanted, and costs no memory."""
    answers = (*BAD_ANSWERS, *GOOD_ANSWERS)
    pages = node.server("pages", "127.0.0.1:9003")
    ports = {how: 8101 + i for i, how in enumerate(answers)}
    for how, port in ports.items():
        node.popen(["/usr/bin/python3", "-I", "-S", "-c", HOSTILE, port, how], log="hostile.log")
    endpoints = [{"name": f"e{port}", "listen": f"127.0.0.1:{port}", "metrics": "http://127.0.0.1:9003/metrics"}
                 for port in ports.values()]
    daemon = node.daemon(node.config(node.pool(endpoints, health={**HEALTH, "interval": "20ms"}, startup="0s")))

    def states():
        found = {e["name"]: e["state"] for e in node.cli("endpoints")}
        return {how: found[f"e{port}"] for how, port in ports.items()}

    def judged():
        now = states()
        assert all(now[how] == "unhealthy" for how in BAD_ANSWERS) and all(now[how] == "ready" for how in GOOD_ANSWERS), now
        return True
    wait_for(judged, 20)

    def checks():
        return min(daemon.metrics()["pintle_endpoint_health_checks_total", (("endpoint", f"e{port}"), ("pool", "pool"))]
                   for port in ports.values())
    first = checks()
    wait_for(lambda: checks() > first + 3, 60)
    memory = daemon.metric("process_resident_memory_bytes")
    wait_for(lambda: checks() > first + 6, 60)
    assert judged() and pages.counts().checks == 0
    # The sanitizer keeps what was freed.
    assert SAN or daemon.metric("process_resident_memory_bytes") < memory + 4_000_000
    assert daemon.metric("process_open_fds") < 300


def test_a_flapping_server(node):
    """A server that restarts over and over and never passes a check is `starting`, and gets nothing."""
    w = Clinic(node, "lookup", startup="1h")
    before = w.row()["placed"]
    for _ in range(4):
        w.servers[0].kill()
        wait_for(lambda: w.is_("down"))
        w.servers[0].start(be={"health": 503})
        wait_for(lambda: w.is_("starting"))
        assert w.spread(10) == {"s1", "s2"}
    assert w.row()["placed"] == before and w.metric("pintle_endpoint_unfit", why="unhealthy") == 0
    w.servers[0].be(health=200)
    wait_for(lambda: w.is_("ready"))


# -- GPUs ----------------------------------------------------------------------------


DCGM = {"url": "http://127.0.0.1:9400/metrics", "interval": "50ms"}


class Gpus:
    """Two servers with a GPU each, and the exporter's page."""

    def __init__(self, node):
        self.node, self.servers = node, node.servers(2)
        self.exporter = node.server("dcgm", "127.0.0.1:9400")
        self.xid, self.dbe = 0, 0
        self.show()
        self.config = node.config(node.pool(
            [{"name": s.name, "listen": s.listen, "gpu": {"index": i}} for i, s in enumerate(self.servers)],
            dcgm=DCGM, stickiness={"key": "none"}))
        self.daemon = node.daemon(self.config)
        self.exporter.scraped()

    def show(self):
        """The page, of which the first GPU has the errors."""
        self.exporter.be(page=(
            f'DCGM_FI_DEV_XID_ERRORS{{gpu="0",err_code="{self.xid}"}} {self.xid}\n'
            f'DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{gpu="0"}} {self.dbe}\n'
            'DCGM_FI_DEV_XID_ERRORS{gpu="1"} 0\nDCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu="1"} 0\n'))

    def report(self, xid=0, dbe=0):
        self.xid, self.dbe = xid, dbe
        self.show()
        self.exporter.scraped()

    def row(self):
        return self.node.endpoint("s0")

    def is_(self, state):
        return self.row()["state"] == state

    def spread(self):
        return set(self.node.spread(FRONTEND["v4"], 20))

    def restart(self):
        self.servers[0].kill()
        wait_for(lambda: self.is_("down"))
        self.servers[0].start()


def test_an_xid(node):
    """A GPU that must be reset: its server gets nothing until it restarts, though the page goes on
    saying the XID; over a restart of the daemon, too."""
    w = Gpus(node)
    w.report(xid=31)  # an application's error
    assert w.is_("ready")
    w.report(xid=79)
    wait_for(lambda: w.is_("faulty"))
    assert w.spread() == {"s1"}
    row = w.row()
    assert row["unfit"] == "faulty" and row["xid"] == 79, row
    assert "faulty XID 79" in node.pintle("endpoints").stdout
    assert w.daemon.metric("pintle_endpoint_unfit", pool="pool", endpoint="s0", why="faulty") == 1
    assert w.daemon.metric("pintle_endpoint_unfit", pool="pool", endpoint="s1", why="faulty") == 0
    assert "pool/s0 is faulty: a GPU of it reported XID 79" in w.daemon.log()
    w.daemon.stop()
    w.daemon = node.daemon(w.config)
    w.exporter.scraped(4)
    wait_for(lambda: w.is_("faulty"))
    w.restart()
    wait_for(lambda: w.is_("ready"))
    w.exporter.scraped(4)
    assert w.is_("ready")
    wait_for(lambda: "s0" in w.spread())


def test_an_error_of_memory(node):
    w = Gpus(node)
    w.report(dbe=1)
    wait_for(lambda: w.is_("faulty"))
    assert "pool/s0 is faulty: its GPU" in node.pintle("status").stdout
    assert w.row()["xid"] is None and "faulty memory" in node.pintle("endpoints").stdout
    w.report()
    wait_for(lambda: w.is_("ready"))


def test_an_xid_beside_garbage(node):
    """A value that none can be costs itself alone: another GPU's XID is seen, and its own stays."""
    w = Gpus(node)
    garbage = 'DCGM_FI_DEV_GPU_UTIL{gpu="1"} NaN\nDCGM_FI_DEV_FB_USED{gpu="1"} -5\n' \
              'DCGM_FI_DEV_XID_ERRORS{gpu="1"} +Inf\nDCGM_FI_DEV_GPU_UTIL{gpu="1",modelName="NVIDIA "A100""} 5\n' \
              'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 40\n'
    w.exporter.be(page=garbage + 'DCGM_FI_DEV_XID_ERRORS{gpu="0"} 0\n')
    w.exporter.scraped()
    wait_for(lambda: w.is_("ready") and w.row()["gpu"] == 0.4)
    w.exporter.be(page=garbage + 'DCGM_FI_DEV_XID_ERRORS{gpu="0"} 79\n')
    wait_for(lambda: w.is_("faulty"))
    assert w.row()["xid"] == 79 and node.endpoint("s1")["state"] == "ready"
    assert w.daemon.log().count("a value on the page of dcgm is left out") == 1
    w.exporter.be(page=garbage + 'DCGM_FI_DEV_XID_ERRORS{gpu="0"} NaN\nDCGM_FI_DEV_ECC_DBE_VOL_TOTAL{gpu="0"} 0\n')
    w.exporter.scraped(4)
    assert w.is_("faulty")
    w.exporter.be(page=garbage + 'DCGM_FI_DEV_XID_ERRORS{gpu="0"} 0\n')
    wait_for(lambda: w.is_("ready"))


def test_an_old_xid(node):
    """What the page said before pintled came is no news."""
    w = Gpus(node)
    w.daemon.stop()
    w.xid = 48
    w.show()
    w.daemon = node.daemon(w.config)
    w.exporter.scraped(4)
    assert w.is_("ready")
    w.report(xid=95)
    wait_for(lambda: w.is_("faulty"))


def test_a_lying_exporter(node):
    """Errors of GPUs that are nobody's here, and numbers that none can have, make no endpoint faulty."""
    w = Gpus(node)
    lies = ["NaN", "-1", "1e30", "+Inf", "-Inf", "65536", "79.5"]
    lines = [f'DCGM_FI_DEV_XID_ERRORS{{gpu="0"}} {x}\nDCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{gpu="0"}} {x}\n'
             for x in lies if x not in ("65536", "79.5")]
    lines += [f'DCGM_FI_DEV_XID_ERRORS{{gpu="0"}} {x}\n' for x in lies]
    for gpu in ("2", "-1", "00x", "", "4294967296", "18446744073709551616"):
        lines.append(f'DCGM_FI_DEV_XID_ERRORS{{gpu="{gpu}"}} 79\nDCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{gpu="{gpu}"}} 5\n')
    lines.append('DCGM_FI_DEV_XID_ERRORS{Hostname="other"} 79\nDCGM_FI_DEV_XID_ERRORS{gpu="1",pod="s0"} 31\n')
    for line in lines:
        w.exporter.be(page=line)
        w.exporter.scraped()
        assert w.is_("ready"), line
    assert w.spread() == {"s0", "s1"}
    w.report(xid=79)
    wait_for(lambda: w.is_("faulty"))
