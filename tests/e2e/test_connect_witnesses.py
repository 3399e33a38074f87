# SPDX-License-Identifier: Apache-2.0
"""Who may say that an endpoint fails: clients have reasons of their own to fail, and the rest of the node
is not to suffer for it."""
import contextlib
import json
import select
import socket
import threading
import time
from pathlib import Path

from clients import split
from harness import case
from kernel import wait_for
from pods import FAMILY, SERVICE
from test_connect import BOTH, all_zero
from test_connect_failures import Clinic, accept, refuse

# The kernel does most of this; the daemon's part is a few stores.
UNDER_SANITIZERS = False

# Ejections last so long that a case sees them, and that a page ends them, not their time.
EJECTION = {"failures": 3, "time": "20s", "maxTime": "60s", "maxShare": 0.5}
LONG = {"failures": 3, "time": "1h", "maxTime": "2h", "maxShare": 0.5}

IP_TTL, IP_MINTTL = 2, 21
HARMFUL = {
    "ttl": (socket.IPPROTO_IP, IP_TTL, 1),           # the SYN dies at the first router
    "minttl": (socket.IPPROTO_IP, IP_MINTTL, 255),   # no answer is taken
}
# A pod's firewall rejects or drops SYNs, or lets the connection be made and resets it.
VERDICTS = {
    "reject": "reject with tcp reset",
    "drop": "drop",
    "reset": "tcp flags & (syn | ack) == ack reject with tcp reset",
}
FAILURES = {"reject": "refused", "drop": "unanswered", "reset": "reset"}
# The pages of these come from themselves, those of s1 and s3 from elsewhere: then the daemon probes the server.
OWN_PAGE = ("s0", "s2")

# Where AppArmor forbids user namespaces to users, root makes the namespace.
RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


def cut_off(pod, servers, verdict):
    """The pod's firewall keeps it from these servers, as a NetworkPolicy would."""
    pod.nft("table inet cut { chain output { type filter hook output priority filter; "
            f"ip daddr {{ {', '.join(s.v4 for s in servers)} }} tcp dport 8000 {verdict}; }}; }}\n")


class Hammer:
    """A pod that connects over and over, many connections at a time, and ignores failures."""

    AT_ONCE = 40
    FAILS_WITHIN = 1.5  # seconds: a client that closes before the first SYN is sent again is no witness

    def __init__(self, pod, family="v4", options=()):
        self.pod, self.family, self.options = pod, family, options
        self.stopping = False
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _begin(self):
        s = self.pod.socket(FAMILY[self.family])
        for option in self.options:
            s.setsockopt(*option)
        s.setblocking(False)
        s.connect_ex(split(SERVICE[self.family]))
        return s

    def _work(self):
        going = []
        while not self.stopping:
            going.append((self._begin(), time.monotonic() + self.FAILS_WITHIN))
            if len(going) == self.AT_ONCE:
                s, until = going.pop(0)
                select.select([], [s], [], max(0, until - time.monotonic()))
                s.close()
        for s, _ in going:
            s.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(20)


def failed(w, name):
    return sum(w.failures(name).values())


def watch(w, names, goal):
    """Until each of these endpoints has failed so many times more: how often one was found ejected."""
    before = {n: failed(w, n) for n in names}
    seen = []

    def enough():
        seen.extend(w.is_ejected(n) for n in names)
        return all(failed(w, n) - before[n] >= goal for n in names)

    wait_for(enough, 40, f"{goal} failures each")
    return sum(seen)


@case(each=VERDICTS)
def test_pods_that_are_cut_off(node, verdict):
    """Two pods with a firewall before half of the servers fail there in turn, for ever. Once the
    pages or servers have answered the daemon, nobody else notices."""
    w = Clinic(node, own_page=OWN_PAGE, ejection=EJECTION)
    cut = [w.cluster.pod(f"cut{i}") for i in range(2)]
    for pod in cut:
        cut_off(pod, w.pods[:2], VERDICTS[verdict])
    with contextlib.ExitStack() as stack:
        for pod in cut:
            stack.enter_context(Hammer(pod))
        for name in ("s0", "s1"):
            wait_for(lambda: w.row(name)["vouched_seconds"], 30, f"{name} to be vouched for")  # noqa: B023
            assert FAILURES[verdict] in w.failures(name), (name, w.failures(name))
        assert watch(w, ("s0", "s1"), 20) == 0
        assert w.attempt(40) == 0
        found = set()
        wait_for(lambda: found.add(w.ask()) or len(found) == 4, 30, "each server to be chosen")
    ejections = {n: w.row(n)["ejections"] for n in ("s0", "s1")}
    assert max(ejections.values()) <= 1, ejections


@case(each=HARMFUL)
def test_a_client_that_means_harm(node, how):
    """Socket options that any user may set make every server fail: none is ejected for longer than
    an answer to the daemon takes."""
    w = Clinic(node, own_page=OWN_PAGE, ejection=EJECTION)
    names = ("s0", "s1", "s2", "s3")
    with Hammer(w.cluster.pod("harm"), options=[HARMFUL[how]]):
        for name in names:
            wait_for(lambda: w.row(name)["vouched_seconds"], 30, f"{name} to be vouched for")  # noqa: B023
        assert watch(w, names, 10) == 0
        assert w.attempt(40) == 0
    ejections = {n: w.row(n)["ejections"] for n in names}
    assert max(ejections.values()) <= 1, ejections


def test_dead_right_after_that(node):
    """When the server no longer answers, the daemon stops vouching for it: it is ejected after
    three failures, as usual."""
    w = Clinic(node, own_page=OWN_PAGE, ejection=LONG)
    for pod in w.pods[:2]:
        name = pod.name
        with Hammer(w.cluster.pod(f"harm-{name}"), options=[HARMFUL["ttl"]]):
            wait_for(lambda: w.row(name)["vouched_seconds"], 30, f"{name} to be vouched for")  # noqa: B023
        refuse(pod)
        # The scrape's kept connection still brings the page, which proves nothing.
        failures = 0
        while w.row(name)["vouched_seconds"]:
            failures += w.attempt(1)
            assert failures < 200, name
        assert w.until_ejected(name) <= 3, name
        assert w.attempt(20) == 0, name
        assert w.row(name)["vouched_seconds"] is None, name


def test_a_kept_connection_proves_nothing(node):
    """A server that takes no new connections is left, however well its page is read over an old one."""
    w = Clinic(node, own_page=OWN_PAGE, ejection=LONG)
    refuse(w.pods[0])
    # After the first failure the daemon asks over a new connection, and is refused, too.
    assert 1 <= w.until_ejected("s0") <= 3
    w.pods[2].model.scraped(4)
    assert w.is_ejected("s0")
    assert w.attempt(20) == 0


def test_a_refused_page(node):
    """The server's own port refuses the daemon: it is left before a client has found out, and taken
    again once its page comes. A page elsewhere says nothing of it."""
    w = Clinic(node, own_page=OWN_PAGE, ejection=LONG)
    w.pages.model.kill()
    failed_scrapes = "pintle_endpoint_scrape_failures_total", (("endpoint", "s1"), ("pool", "pool"))
    wait_for(lambda: w.daemon.metrics()[failed_scrapes] > 4)
    assert not any(failed(w, p.name) for p in w.pods)
    assert not any(w.is_ejected(p.name) for p in w.pods)
    w.pages.model.start()
    wait_for(lambda: w.row("s1")["state"] == "ready")
    w.pods[0].model.kill()
    wait_for(lambda: w.is_ejected("s0"))
    assert w.failures("s0") == {"refused": 3}
    assert w.attempt(40) == 0
    assert w.row("s0")["placed"] == 0
    w.pods[0].model.start()
    wait_for(lambda: w.row("s0")["state"] == "ready")


def test_the_daemon_alone_is_cut_off(node):
    """A firewall stops the daemon, and clients are served: that outweighs it."""
    w = Clinic(node, own_page=OWN_PAGE, ejection={**LONG, "failures": 6})
    w.cluster.nft("table inet cut { chain output { type filter hook output priority filter; "
                          f"ip daddr {w.pods[0].v4} tcp dport 8000 reject with tcp reset; }}; }}\n")
    failed_scrapes = "pintle_endpoint_scrape_failures_total", (("endpoint", "s0"), ("pool", "pool"))
    wait_for(lambda: w.attempt(8) == 0 and w.daemon.metrics()[failed_scrapes] > 8, 30)
    assert w.row("s0")["ejections"] == 0 and failed(w, "s0"), w.row("s0")


def fail(pod, count):
    """Makes `count` connections from a pod that is cut off."""
    for _ in range(count):
        with contextlib.suppress(ConnectionRefusedError):
            pod.ask(SERVICE["v4"])
            raise AssertionError("is not cut off")


def test_a_dead_server_with_a_living_page(node):
    """The page from elsewhere looks well. The server is asked itself until it answers, and only then
    is no longer ejected."""
    w = Clinic(node, ejection=LONG)
    refuse(w.pods[0])
    assert w.until_ejected("s0") == 3
    wait_for(lambda: "probe of pool/s0 at" in w.daemon.log())
    w.pages.model.scraped(4)
    assert w.is_ejected("s0")
    assert w.attempt(20) == 0
    accept(w.pods[0])
    wait_for(lambda: w.row("s0")["state"] == "ready" and w.row("s0")["vouched_seconds"])
    assert w.attempt(20) == 0


def test_a_server_that_never_answers(node):
    """It takes connections, which is not enough. What the daemon asks is counted nowhere, and nothing
    is asked where no client has failed."""
    w = Clinic(node, servers=2, ejection=LONG, scrape={"interval": "50ms", "timeout": "300ms"})
    server = w.pods[0].model
    assert w.attempt(8) == 0
    w.pages.model.scraped(20)
    assert sum(p.model.counts().requests for p in w.pods) == 8
    w.cluster.pintle("drain", "s1")
    server.be(silent=True)
    cut = w.cluster.pod("cut")
    cut_off(cut, w.pods[:1], VERDICTS["reject"])
    before = server.counts().requests, w.row("s0")["placed"]
    fail(cut, 3)
    wait_for(lambda: server.counts().requests >= before[0] + 3)
    assert w.is_ejected("s0") and w.row("s0")["vouched_seconds"] is None
    all_zero(w.cluster)
    assert w.row("s0")["placed"] == before[1] + 3
    server.be(silent=False)
    wait_for(lambda: not w.is_ejected("s0") and w.row("s0")["vouched_seconds"])
    before = server.counts().requests
    w.pages.model.scraped(20)
    assert server.counts().requests == before
    assert w.pods[1].model.counts().requests <= 8


@case(each=("https", "http"))
def test_a_server_behind_tls(node, scheme):
    """With the right scheme its certificate is answer enough, whoever signed it. Over plain HTTP it
    says nothing, and stays ejected."""
    w = Clinic(node, servers=2, ejection=LONG, scrape={"scheme": scheme})
    w.cluster.pintle("drain", "s1")
    server, (cert, key) = w.pods[0], node.certificate("s0")
    server.model.kill()
    server.popen(["/usr/bin/python3", Path(__file__).with_name("tls_page.py"), json.dumps({
        "address": split(server.address()), "cert": str(cert), "key": str(key)})])
    wait_for(lambda: w.client.connect(server.address()).close() or True)
    cut = w.cluster.pod("cut")
    cut_off(cut, w.pods[:1], VERDICTS["reject"])
    fail(cut, 3)
    if scheme == "https":
        wait_for(lambda: not w.is_ejected("s0") and w.row("s0")["vouched_seconds"])
        assert "probe of" not in w.daemon.log()
    else:
        wait_for(lambda: "probe of pool/s0 at" in w.daemon.log())
        assert w.is_ejected("s0") and w.row("s0")["vouched_seconds"] is None


def test_one_client_among_others(node):
    """Without a daemon that could ask, a client counts alone only until another one is served."""
    w = Clinic(node, servers=2, ejection=LONG)
    w.cluster.pintle("drain", "s1")
    w.daemon.kill()
    cut = w.cluster.pod("cut")
    cut_off(cut, w.pods[:1], VERDICTS["reject"])

    def row():
        return w.row("s0")["failures_in_a_row"]

    fail(cut, 2)
    assert row() == 2
    w.ask()
    wait_for(lambda: row() == 0)
    fail(cut, 20)
    assert row() == 0 and not w.is_ejected("s0"), w.row("s0")
    # The client itself was served, so its next failures count again.
    cut.run("nft", "flush", "ruleset")
    cut.ask(SERVICE["v4"])
    cut_off(cut, w.pods[:1], VERDICTS["reject"])
    fail(cut, 2)
    assert row() == 2
    # Failures of other clients count as usual.
    w.ask()
    wait_for(lambda: row() == 0)
    fail(cut, 1)
    refuse(w.pods[0])
    assert w.attempt(3) == 3
    assert w.is_ejected("s0")


def test_a_server_that_drains(node):
    """It takes no new clients, and serves those it has to the end. Each end is no success: three
    clients are refused, then one after each ejection, and these grow."""
    # Not followed: the streams alone would keep new clients away from s0.
    w = Clinic(node, servers=2, follow=False,
               ejection={"failures": 3, "time": "300ms", "maxTime": "1h", "maxShare": 0.5})
    rows = w.follow()
    w.cluster.pintle("drain", "s1")
    streams = [w.client.connect(SERVICE["v4"]) for _ in range(6)]
    for c in streams:
        assert c.ask() == "s0"
    w.cluster.pintle("undrain", "s1")
    refuse(w.pods[0])

    def durations():
        return [r["duration_seconds"] for r in rows if r["event"] == "ejected"]

    refused = 0
    for i, c in enumerate(streams[:4]):
        c.ask()
        c.close()

        def again():
            nonlocal refused
            refused += w.attempt(1)
            return len(durations()) > i
        wait_for(again, 30, f"ejection {i + 1}")
    assert durations() == [0.3, 0.6, 1.2, 2.4], durations()
    assert refused == 3 + 3, refused
    for c in streams[4:]:
        c.ask()
        c.close()
    all_zero(w.cluster)
    assert w.row("s0")["failures_in_a_row"] == 6


# Owns every address in its namespace, and so serves itself. Makes a connection for each line on stdin.
PHANTOM = """
import socket, subprocess, sys
service, count, *addresses = sys.argv[1:]
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for a in addresses:
    subprocess.run(["ip", "addr", "add", a, "dev", "lo"], check=True)
listener = socket.create_server(("", 8000), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
host, _, port = service.rpartition(":")
held = []
for _ in range(int(count)):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
    s.connect((host.strip("[]"), int(port)))
    held.append(s)
    held.append(listener.accept()[0])
print("open", flush=True)
sys.stdin.readline()
listener.close()
for s in held:
    s.close()
failures = 0
for _ in range(int(count)):
    try:
        socket.create_connection((host.strip("[]"), int(port)), 10)
    except OSError:
        failures += 1
print("failed", failures, flush=True)
sys.stdin.readline()
"""


@case(each=BOTH)
def test_a_user_namespace_of_its_own(node, family):
    """Any user may make a network in which the endpoints' addresses are his. What he connects to
    there, or not, counts for nobody."""
    w = Clinic(node, family=family, ejection=LONG, stickiness={"key": "mark"})
    addresses = [p.v6 + "/128" if family == "v6" else p.v4 + "/32" for p in w.pods]
    pod = w.cluster.pod("nobody")
    before = w.cluster.cli("endpoints")
    restricted = RESTRICTED.exists() and RESTRICTED.read_text().strip() != "0"
    phantom = pod.popen([*(() if restricted else NOBODY), "unshare", "-Urn", "/usr/bin/python3", "-I", "-S",
                         "-c", PHANTOM, SERVICE[family], 40, *addresses], stdin=-1, stdout=-1, text=True)
    assert phantom.stdout.readline() == "open\n"
    counts = ("in_flight", "pending", "placed", "opened", "closed", "failures", "failures_in_a_row")

    def of(rows):
        return [{k: r[k] for k in counts} for r in rows]

    assert of(w.cluster.cli("endpoints")) == of(before)
    assert w.cluster.decisions() == {"least_loaded": 1, "sticky": 39}
    # All such namespaces together have one client's share of the bindings.
    shares = next(Path(w.cluster.bpffs).rglob("shares"))
    assert f'"key": {2 << 48},' in node.run("bpftool", "map", "dump", "pinned", shares).stdout
    # A starting daemon compares the counters with the sockets of its namespaces, and finds none of these.
    w.daemon.stop()
    w.daemon = w.cluster.steer(w.pool)
    assert w.daemon.metric("pintle_in_flight_drift_total") == 0
    assert of(w.cluster.cli("endpoints")) == of(before)
    # Its sessions are its own, whatever mark it sets: the session of mark 7 is still free.
    mark = (socket.SOL_SOCKET, socket.SO_MARK, 7)
    with w.client.connect(SERVICE[family], options=[mark]) as c:
        c.ask()
    assert w.cluster.decisions() == {"least_loaded": 2, "sticky": 39}
    all_zero(w.cluster)
    before = w.cluster.cli("endpoints")
    phantom.stdin.write("\n")
    phantom.stdin.flush()
    assert phantom.stdout.readline() == "failed 40\n"
    assert of(w.cluster.cli("endpoints")) == of(before)
    ended = [n for (name, _), n in w.daemon.metrics().items() if name == "pintle_connections_ended_total"]
    assert sum(ended) == 1, ended  # the client's with mark 7
    assert not any(w.is_ejected(p.name) for p in w.pods)
    phantom.stdin.close()
    phantom.wait(10)
    # A client in the node's own user namespace still counts.
    with w.client.connect(SERVICE[family]) as c:
        c.ask()
        assert sum(w.cluster.in_flight().values()) == 1
    all_zero(w.cluster)
