# SPDX-License-Identifier: Apache-2.0
"""Servers that come, go, come back, share an address, or cannot be steered."""
import os
from pathlib import Path

from clients import FRONTEND
from harness import case
from kernel import cgroup_root, wait_for

BOTH = ("v4", "v6")


def served_by(node, name, to=FRONTEND["v4"]):
    return lambda: node.ask(to) == name


def refused(node, to=FRONTEND["v4"]):
    try:
        node.ask(to)
    except ConnectionRefusedError:
        return True
    return False


@case(each=BOTH)
def test_found_at_start(node, family):
    """Servers that listened before the daemon came."""
    node.steer(node.servers(2))
    assert node.ask(FRONTEND[family])
    assert {e["state"] for e in node.cli("endpoints")} == {"ready"}


@case(each=BOTH)
def test_found_later(node, family):
    """A server that listens after the daemon came, without a restart or reload."""
    first = node.server("s0", 8001)
    node.steer([first, {"name": "s1", "listen": "8002"}])
    assert node.endpoint("s1")["state"] != "ready"
    first.set(waiting=50)
    first.scraped()
    second = node.server("s1", 8002)
    wait_for(lambda: node.endpoint("s1")["state"] == "ready")
    assert node.ask(FRONTEND[family]) == "s1"
    second.end()


def test_server_killed(node):
    """A killed server is left at once, and found again when it is back."""
    servers = node.servers(2)
    node.steer(servers)
    name = node.ask(FRONTEND["v4"])
    victim, other = servers if servers[0].name == name else servers[::-1]
    victim.kill()
    assert node.spread(FRONTEND["v4"], 20) == {other.name: 20}
    other.set(waiting=50)
    victim.start()
    wait_for(served_by(node, victim.name))


@case(each=BOTH)
def test_server_restarts_without_daemon(node, family):
    """Without a daemon, a server that comes back gets clients again at once."""
    server = node.server("s0", 8001)
    # FailOpen would try it in any case.
    daemon = node.steer([server], saturation={"staleness": "300ms"}, failureMode="FailClose")
    assert node.ask(FRONTEND[family]) == "s0"
    daemon.kill()
    server.kill()
    server.start()
    wait_for(served_by(node, "s0", FRONTEND[family]))
    server.kill()
    server.start()
    assert node.ask(FRONTEND[family]) == "s0"


@case(each=("found at start", "seen at listen", "pair found at start"))
def test_listening_is_not_ready(node, how):
    """A server that comes back is chosen only when its page has answered 200 since."""
    endpoints = [{"name": f"s{i}", "listen": str(8001 + i)} for i in range(2)]
    pair = {"reuseport": True, "listeners": 2} if how.startswith("pair") else {}
    servers = node.servers(2, **pair) if how.endswith("at start") else []
    node.steer(endpoints)
    servers = servers or node.servers(2)
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    servers[1].set(waiting=100)
    servers[1].scraped()
    servers[0].kill()
    servers[0].start(be={"ready": False})
    servers[0].scraped()
    # Two pages with 503 eject it.
    assert node.endpoint("s0")["state"] in ("unheard", "ejected"), node.cli("endpoints")
    spread = node.spread(FRONTEND["v4"], 20)
    assert spread == {"s1": 20}, (spread, node.decisions(), node.cli("endpoints"))
    servers[0].be(ready=True)
    wait_for(lambda: node.endpoint("s0")["state"] == "ready")
    assert node.spread(FRONTEND["v4"], 20, first=100) == {"s0": 20}


def test_dead_server_is_shown_down(node):
    """A server that the daemon found, and that is killed, is shown `down` without a connection."""
    servers = node.servers(2)
    node.steer(servers)
    servers[0].kill()
    wait_for(lambda: node.endpoint("s0")["state"] == "down")
    assert node.endpoint("s1")["state"] == "ready"


def test_empty_page_is_no_load(node):
    """TGI's page is empty until its first request: that is zero, and ready."""
    server = node.server("s0", 8001, be={"page": ""})
    node.steer([server], engine="tgi", failureMode="FailClose")
    assert node.ask(FRONTEND["v4"]) == "s0"
    assert node.endpoint("s0")["state"] == "ready"


@case(each=("older", "newer"))
def test_reuseport_pair(node, which):
    """Two LISTEN sockets on one address are one endpoint, whichever closes first."""
    server = node.server("s0", 8001, reuseport=True, listeners=2)
    node.steer([server])
    assert node.ask(FRONTEND["v4"]) == "s0"
    server.order("unlisten", index=0 if which == "older" else 1)
    for _ in range(10):
        assert node.ask(FRONTEND["v4"]) == "s0"
    server.order("unlisten", index=0)
    wait_for(lambda: refused(node))


@case(each=("older", "newer"))
def test_reuseport_pair_seen_by_sockops(node, which):
    """The same for sockets that were registered at listen(), with the daemon gone."""
    server = node.server("s0", 8001)
    daemon = node.steer([server], saturation={"staleness": "300ms"})
    server.kill()
    daemon.kill()
    server.start(reuseport=True, listeners=2)
    wait_for(served_by(node, "s0"))
    server.order("unlisten", index=0 if which == "older" else 1)
    for _ in range(10):
        assert node.ask(FRONTEND["v4"]) == "s0"


def test_listeners_of_an_endpoint_that_comes_back(node):
    """sockops still sees the ends of listeners that it saw begin for the former endpoint, and the daemon has
    registered them anew: each end is counted once."""
    servers = [node.server("s0", 8001, listeners=2, reuseport=True), node.server("s1", 8002)]
    both, one = (node.config(node.pool(s)) for s in (servers, servers[1:]))
    daemon = node.daemon(both)
    servers[0].kill()
    servers[0].start()  # so that sockops sees them begin

    def settles(listeners):
        def right():
            e = node.endpoint("s0")
            assert e["listeners"] == listeners and e["state"] == "ready", e
            return True
        wait_for(right)
    settles(2)
    for text in (one, both):
        daemon.config.write_text(text)
        wait_for(lambda: node.pintle("reload", check=False).returncode == 0, 60)
    settles(2)
    servers[0].order("unlisten")
    servers[0].order("listen")
    settles(2)
    servers[0].order("unlisten", index=1)
    settles(1)


def test_overlapping_restart(node):
    """The new process listens before the old one ends: no connection is refused."""
    old = node.server("s0", 8001, reuseport=True)
    node.steer([old])
    with node.load(FRONTEND["v4"], workers=2, pause=0.002) as load:
        load.go_on(50)
        new = node.server("new", 8001, reuseport=True)
        load.go_on(50)
        old.order("unlisten", index=0)
        load.go_on(100)
    # Connections in the old process's accept queue are reset when it closes: the server causes that.
    assert len(load.failures) <= 2, load.failures
    assert node.ask(FRONTEND["v4"]) == "new"
    new.end()


@case(each=("found at start", "seen at listen"))
def test_many_workers_overlap(node, how):
    """24 workers, more than are remembered, are joined by 24 new ones and end: never `down`."""
    many = {"reuseport": True, "listeners": 24}
    old = node.server("s0", 8001, **many)
    node.steer([old])
    if how == "seen at listen":
        old.kill()
        old.start()
    wait_for(served_by(node, "s0"))
    new = node.server("new", 8001, **many)
    old.kill()
    for _ in range(50):
        assert node.ask(FRONTEND["v4"]) == "new"
        assert node.endpoint("s0")["state"] != "down"
    wait_for(lambda: node.endpoint("s0")["listeners"] == 24)
    assert node.endpoint("s0")["state"] == "ready"
    new.end()


SERVER, STRANGER = 61001, 61002


def never_reaches(node, stranger, times=20):
    """Checks that a stranger's listener gets no client of the frontend, also with FailOpen."""
    for _ in range(times):
        assert refused(node)
    assert stranger.counts().accepted == 0


@case(each=("8001", "127.0.0.1:8001"))
def test_stranger_while_the_server_is_down(node, listen):
    """A local user who listens at the address of a server that is down does not become it."""
    server = node.server("s0", 8001, uid=SERVER)
    daemon = node.steer([{"name": "s0", "listen": listen}])
    assert node.ask(FRONTEND["v4"]) == "s0"
    server.kill()
    stranger = node.server("stranger", 8001, uid=STRANGER, signals={"waiting": 77.0})
    wait_for(lambda: node.endpoint("s0")["state"] == "unsteerable")
    assert node.endpoint("s0")["unsteerable"] == "unsteerable: owner"
    never_reaches(node, stranger)
    wait_for(lambda: "of uid 61002, is unsteerable: owner" in daemon.log())
    status = node.pintle("status").stdout
    assert "unsteerable: owner (uid 61002)" in status and "set `user`" in status, status

    # Neither a reload nor a start of the daemon gives the endpoint to the stranger.
    daemon.reload()
    never_reaches(node, stranger)
    daemon.stop()
    daemon = node.daemon(Path(daemon.config).read_text())
    never_reaches(node, stranger)
    assert node.endpoint("s0")["waiting"] != 77

    # Nor do connections that the stranger still holds when the server comes back.
    stranger.order("unlisten")
    server.start(signals={"waiting": 3.0})
    wait_for(lambda: node.endpoint("s0")["state"] == "ready")
    assert node.endpoint("s0")["waiting"] == 3
    assert node.spread(FRONTEND["v4"], 10) == {"s0": 10}
    server.scraped(5)
    assert node.endpoint("s0")["waiting"] == 3
    stranger.end()


@case(each=("127.0.0.2:8001", "[::1]:8001"))
def test_stranger_at_another_address(node, where):
    """With a bare port, a listener at another address is not the endpoint, and its page is not read."""
    server = node.server("s0", "0.0.0.0:8001", uid=SERVER, signals={"waiting": 3.0})
    node.steer([{"name": "s0", "listen": "8001"}])
    assert node.ask(FRONTEND["v4"]) == "s0"
    server.kill()
    stranger = node.server("stranger", where, uid=STRANGER, signals={"waiting": 77.0})
    wait_for(lambda: node.endpoint("s0")["state"] == "unsteerable")
    never_reaches(node, stranger)
    stranger.order("unlisten")
    server.start(uid=SERVER)
    if where.startswith("["):
        stranger.order("listen")
    wait_for(lambda: node.endpoint("s0")["state"] == "ready")
    assert node.endpoint("s0")["waiting"] == 3
    assert node.spread(FRONTEND["v4"], 20) == {"s0": 20}
    stranger.end()


@case(each=("[::1]:8001", "outside node.cgroup"))
def test_page_of_a_stranger_is_not_asked_for(node, who):
    """A stranger that no hook has seen listen is found before anything is asked of it: a request may
    carry a token."""
    inner = node.cgroup / "inner"
    inner.mkdir()
    server = node.server("s0", "127.0.0.1:8001", uid=SERVER, cgroup=str(inner), signals={"waiting": 3.0})
    node.daemon(node.config(node.pool([{"name": "s0", "listen": "8001"}]), cgroup=str(inner)))
    wait_for(served_by(node, "s0"))
    beside = who.startswith("[")
    server.kill()
    stranger = node.server("stranger", who if beside else "127.0.0.1:8001", uid=STRANGER,
                           signals={"waiting": 77.0})
    for again in (True, False):
        wait_for(lambda: node.endpoint("s0")["unsteerable"] == "unsteerable: owner")
        never_reaches(node, stranger)
        if not beside:
            stranger.order("unlisten")
        server.start()
        wait_for(served_by(node, "s0"))
        if again:
            server.kill()
        if again and not beside:
            stranger.order("listen")
    assert stranger.counts().scrapes == 0
    assert node.endpoint("s0")["waiting"] == 3
    stranger.end()


def test_user_of_a_server_is_changed(node):
    """The administrator's way: `user` and a reload."""
    server = node.server("s0", 8001, uid=SERVER)
    endpoint = {"name": "s0", "listen": "127.0.0.1:8001"}
    daemon = node.steer([endpoint])
    server.kill()
    server = node.server("new", 8001, uid=STRANGER)
    wait_for(lambda: node.endpoint("s0")["state"] == "unsteerable")
    daemon.reload(node.config(node.pool([{**endpoint, "user": str(STRANGER)}])))
    wait_for(served_by(node, "new"))
    daemon.reload(node.config(node.pool([endpoint])))
    wait_for(served_by(node, "new"))
    server.kill()
    server.start()
    wait_for(served_by(node, "new"))
    server.end()


def test_server_of_a_cgroup(node):
    """With `cgroup`, a cgroup that is made anew is found again, and listeners outside of it are
    left out."""
    endpoint = {"name": "s0", "listen": "127.0.0.1:8001", "cgroup": f"/*{node.cgroup.name}/vllm"}
    home = node.cgroup / "vllm"
    daemon = node.steer([endpoint])
    for _ in range(2):
        home.mkdir()
        server = node.server("s0", 8001, cgroup=str(home))
        wait_for(served_by(node, "s0"))
        server.kill()
        wait_for(lambda: not home.joinpath("cgroup.procs").read_text())
        home.rmdir()
    stranger = node.server("stranger", 8001)
    wait_for(lambda: node.endpoint("s0")["unsteerable"] == "unsteerable: cgroup")
    never_reaches(node, stranger)
    daemon.reload(node.config(node.pool([{**endpoint, "cgroup": "/*"}])))
    wait_for(served_by(node, "stranger"))
    stranger.end()


def test_mptcp_is_shown(node):
    """A listener that cannot be steered is shown with the cure, never silently absent."""
    servers = [node.server("s0", 8001), node.server("s1", 8002, mptcp=True)]
    node.steer(servers)
    row = node.endpoint("s1")
    assert "unsteerable: mptcp" in json_text(row), row
    assert node.spread(FRONTEND["v4"], 10) == {"s0": 10}
    text = node.pintle("endpoints").stdout
    assert "mptcp" in text, text
    doctor = node.pintle("doctor", check=False).stdout
    assert "multipathtcp=0" in doctor, doctor
    servers[1].kill()
    servers[1].start(mptcp=False)
    wait_for(lambda: node.endpoint("s1")["state"] == "ready")


def json_text(row):
    return " ".join(str(v) for v in row.values())


def test_other_namespace_is_ignored(node):
    """A listener on the same address in another network namespace is not the endpoint's."""
    node.add_client()
    server = node.server("s0", 8001)
    node.steer([server])
    far = node.server("far", 8001, netns=node.client_netns)
    server.kill()
    assert refused(node)
    server.start()
    wait_for(served_by(node, "s0"))
    far.end()


def test_other_cgroup_at_start(node):
    """A listener outside the configured cgroup is found by the daemon when it starts."""
    inner = node.cgroup / "inner"
    inner.mkdir()
    server = node.server("s0", 8001)
    node.daemon(node.config(node.pool([server]), cgroup=str(inner)))
    assert node.ask(FRONTEND["v4"]) == "s0"


def test_wildcard_and_port_alone(node):
    """`listen: "8001"` takes the listener that its page comes from; an address takes only its own."""
    by_port = node.server("s0", "127.0.0.5:8001")
    elsewhere = node.server("s1", "127.0.0.6:8002")
    metrics = "http://127.0.0.5:8001/metrics"
    node.steer([
        {"name": "s0", "listen": "8001", "metrics": metrics},
        {"name": "s1", "listen": "127.0.0.1:8002", "metrics": metrics},
    ])
    assert node.spread(FRONTEND["v4"], 10) == {"s0": 10}
    by_port.end()
    elsewhere.end()


@case(each=("nginx", "uvicorn"))
def test_unmodified_servers(node, kind):
    """nginx and uvicorn as model servers are steered by load, killed, and found again."""
    servers = [getattr(node, kind)(f"s{i}", f"127.0.0.1:{8001 + i}") for i in range(2)]
    servers[0].set(waiting=30)
    node.steer(servers)
    assert node.run("curl", "-s", "http://10.77.0.1:8000/").stdout == "s1"
    servers[1].kill()
    wait_for(lambda: node.run("curl", "-s", "http://10.77.0.1:8000/", check=False).stdout == "s0")
    servers[1].start()
    wait_for(lambda: node.endpoint("s1")["state"] == "ready")
    assert node.spread(FRONTEND["v4"], 10, first=50) == {"s1": 10}


def test_wrk(node):
    """wrk, with a connection for each request: not one fails."""
    servers = [node.nginx(f"s{i}", f"127.0.0.1:{8001 + i}") for i in range(3)]
    node.steer(servers)
    out = node.run("wrk", "-t2", "-c16", "-d2s", "-H", "Connection: close", "http://10.77.0.1:8000/")
    assert "Socket errors" not in out.stdout and "Non-2xx" not in out.stdout, out.stdout
    assert sum(node.decisions().values()) > 100
    wait_for(lambda: set(node.in_flight().values()) == {0})


def test_no_endpoint_fail_close(node):
    """FailClose: with no endpoint ready a client is refused at once."""
    server = node.server("s0", 8001, be={"ready": False})
    node.steer([server], failureMode="FailClose")
    assert refused(node)
    assert node.decisions()["no_endpoint"] >= 1
    server.be(ready=True)
    wait_for(served_by(node, "s0"))


def test_no_endpoint_fail_open(node):
    """FailOpen: a listening endpoint is tried, always the same one for the same client."""
    servers = node.servers(3, be={"ready": False})
    node.steer(servers, failureMode="FailOpen")
    spread = node.spread(FRONTEND["v4"], 60)
    assert sum(spread.values()) == 60 and len(spread) == 3, spread
    assert node.decisions() == {"no_endpoint": 60}
    assert node.cli("sessions") == [], "what was chosen blindly binds nobody"


def test_nobody_listens(node):
    """Without any listener clients are refused in either failure mode, and never left without an
    answer."""
    for mode in ("FailOpen", "FailClose"):
        daemon = node.daemon(node.config(
            node.pool([{"name": "s0", "listen": "8001"}], failureMode=mode)
        ))
        assert refused(node)
        daemon.stop()
        node.detach()


def test_hundred_listeners_do_not_leak(node):
    """A server that restarts over and over leaves its slots free."""
    server = node.server("s0", 8001)
    node.steer([server])
    for _ in range(40):
        server.order("unlisten", index=0)
        server.order("listen")
    wait_for(lambda: node.endpoint("s0")["state"] == "ready")
    assert node.ask(FRONTEND["v4"]) == "s0"


def test_cgroup_default_is_the_root(node):
    """Without node.cgroup the cgroup2 root of the mount table is used."""
    assert os.path.ismount(cgroup_root())
    server = node.server("s0", 8001)
    daemon = node.daemon(node.config(node.pool([server]), cgroup=None))
    assert node.ask(FRONTEND["v4"]) == "s0"
    shown = node.run("bpftool", "-j", "cgroup", "show", cgroup_root()).stdout
    assert "pintle_servers" in shown, shown
    daemon.stop()
    node.detach()
    shown = node.run("bpftool", "-j", "cgroup", "show", cgroup_root()).stdout
    assert str(Path(node.bpffs)) not in shown
