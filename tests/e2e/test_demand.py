# SPDX-License-Identifier: Apache-2.0
"""The pages of a pool that nobody uses are read seldom, and are believed all the same."""
import time

from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from test_connect_failures import EJECTION, Clinic, refuse

PATIENCE = 60  # seconds; a pool is idle after 10 s, and its pages are read each 5 s
IDLE = {"scrape": {"interval": "50ms", "idle": "5s"}}
SELDOM = {"scrape": {"interval": "50ms", "idle": "60s"}}  # at first the rest may be short


def unused(rows):
    return {e["name"] for e in rows if e["unused"]}


def until_unused(node, names):
    wait_for(lambda: unused(node.cli("endpoints")) == set(names), PATIENCE, f"{names} to be unused")


def reads(servers):
    return [s.counts().scrapes for s in servers]



@case(timeout=180)
def test_read_by_demand(node):
    """After 10 s without a connection a page is read each 5 s. It is old then, and not bad; the first connection goes by
    it, and brings the short interval back."""
    servers = node.servers(2)
    # Further apart than loads that count as equal, where all the work is other nodes'.
    for s, waiting in zip(servers, (50, 1)):
        s.set(waiting=waiting)
    daemon = node.steer(servers, saturation={"queueDepth": 1000}, **IDLE)
    names = {s.name for s in servers}
    assert daemon.metric("pintle_pool_in_use", pool="pool") == 1
    until_unused(node, names)
    assert daemon.metric("pintle_pool_in_use", pool="pool") == 0
    before, start = reads(servers), time.monotonic()

    seen = set()

    def old():
        """Whose page is older than saturation.staleness."""
        rows = node.cli("endpoints")
        assert {(e["state"], e["scrape_failed"], e["load"]) for e in rows} == {("ready", False, 100), ("ready", False, 2)}, rows
        seen.update(now := {e["name"] for e in rows if e["age_seconds"] > 2.2})
        return now

    wait_for(lambda: old() and seen == names and all(n >= b + 2 for n, b in zip(reads(servers), before)), PATIENCE,
             "old pages of all, and two further ones")
    # A first rest may be of any length, up to 5 s; the others take at least 4.5 s.
    most = (time.monotonic() - start) / 4.5 + 2
    assert all(n - b <= most for n, b in zip(reads(servers), before)), (reads(servers), before, most)

    wait_for(lambda: "s1" in old(), PATIENCE)
    assert node.ask(FRONTEND["v4"], source(1)) == "s1"
    before = reads(servers)
    wait_for(lambda: not unused(node.cli("endpoints")) and all(n >= b + 20 for n, b in zip(reads(servers), before)))
    assert daemon.metric("pintle_pool_in_use", pool="pool") == 1
    assert daemon.metric("pintle_decisions_total", pool="pool", outcome="least_loaded") == 1
    assert daemon.metric("pintle_decisions_total", pool="pool", outcome="stale") == 0


@case(timeout=180)
def test_an_open_connection_is_use(node):
    """While a connection is open, however quiet, pages are read as ever."""
    servers = node.servers(1)
    node.steer(servers, **SELDOM)
    with node.connect(FRONTEND["v4"], source(1)) as c:
        assert c.ask() == "s0"
        opened = time.monotonic()
        wait_for(lambda: time.monotonic() - opened > 12 or unused(node.cli("endpoints")), PATIENCE)
        assert not unused(node.cli("endpoints"))
    until_unused(node, {"s0"})


@case(timeout=180)
def test_what_is_wrong_is_looked_at(node):
    """A server that leaves, fails or comes back in an unused pool is noticed, and no other one suffers."""
    servers = node.servers(3)
    node.steer(servers, **IDLE)
    until_unused(node, {"s0", "s1", "s2"})
    servers[0].kill()
    wait_for(lambda: node.endpoint("s0")["state"] == "down", PATIENCE)
    servers[0].start()
    wait_for(lambda: node.endpoint("s0")["state"] == "ready")
    # One whose page fails is asked again soon.
    servers[1].kill()
    servers[1].start(be={"status": 500})
    before = servers[1].counts().scrapes
    wait_for(lambda: servers[1].counts().scrapes >= before + 5)
    assert node.endpoint("s1")["state"] in ("unheard", "ejected")
    assert unused(node.cli("endpoints")) >= {"s2"} and node.endpoint("s2")["state"] == "ready"
    assert set(node.spread(FRONTEND["v4"], 10)) <= {"s0", "s2"}


@case(timeout=180)
def test_full_by_an_old_page(node):
    """A connection that is refused for a page that was old brings the pages back, too."""
    servers = node.servers(2)
    for s in servers:
        s.set(waiting=9)
    node.steer(servers, classes=[{"name": "all", "limit": 10, "admission": "refuse"}], **SELDOM)
    until_unused(node, {"s0", "s1"})
    for s in servers:
        s.set(waiting=0)

    def answered():
        try:
            return node.ask(FRONTEND["v4"], source(1)) in ("s0", "s1")
        except ConnectionError:
            return False

    wait_for(answered)
    assert not unused(node.cli("endpoints"))


@case(timeout=180)
def test_refused_while_unused(node):
    """A server elsewhere that dies while nobody uses its pool: the first client may run into it, as ever. Then it is
    found out at once, by further clients or by its page, and no other server suffers."""
    w = Clinic(node, servers=3, own_page=("s0", "s1", "s2"), ejection={**EJECTION, "time": "1h", "maxTime": "2h"}, **SELDOM)
    until_unused(w.cluster, {"s0", "s1", "s2"})
    refuse(w.pods[0])
    wait_for(lambda: w.attempt(1) == 1 or w.is_ejected("s0"))
    wait_for(lambda: w.is_ejected("s0"))
    assert w.attempt(20) == 0
    assert {w.row(name)["state"] for name in ("s1", "s2")} == {"ready"}


@case(timeout=180)
def test_found_out_by_its_page(node):
    """Without any client, the next page finds out that a server elsewhere is dead."""
    w = Clinic(node, servers=2, own_page=("s0", "s1"), ejection={**EJECTION, "time": "1h", "maxTime": "2h"}, **IDLE)
    until_unused(w.cluster, {"s0", "s1"})
    w.pods[0].model.kill()
    wait_for(lambda: w.is_ejected("s0"), PATIENCE)
    rows = w.cluster.cli("endpoints")
    assert "s1" in unused(rows) and [e["state"] for e in rows] == ["ejected", "ready"], rows
    assert w.attempt(10) == 0
