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


class World:
    """A pool of servers for each of these rules of scraping, with a frontend each; all rest at the same time."""

    def __init__(self, node, **pools):
        self.node, self.servers, self.to, made = node, {}, {}, []
        for n, (name, (count, more)) in enumerate(pools.items()):
            self.servers[name] = [node.server(f"{name}{i}", 8001 + 10 * n + i) for i in range(count)]
            self.to[name] = FRONTEND["v4"].replace("8000", f"8{n}00")
            made.append(node.pool(self.servers[name], name, frontends=[self.to[name]], **more))
        self.config = made

    def start(self):
        self.daemon = self.node.daemon(self.node.config(*self.config))

    def rows(self, pool):
        return [e for e in self.node.cli("endpoints") if e["pool"] == pool]

    def unused(self, pool):
        return unused(self.rows(pool))

    def until_unused(self, *pools):
        names = {s.name for p in pools for s in self.servers[p]}
        wait_for(lambda: unused(self.node.cli("endpoints")) >= names, PATIENCE, f"{names} to be unused")


def read_by_demand(w, pool):
    """After 10 s without a connection a page is read each 5 s. It is old then, and not bad; the first connection goes by
    it, and brings the short interval back."""
    servers, daemon = w.servers[pool], w.daemon
    names = {s.name for s in servers}
    assert daemon.metric("pintle_pool_in_use", pool=pool) == 0
    before, start = reads(servers), time.monotonic()

    seen = set()

    def old():
        """Whose page is older than saturation.staleness."""
        rows = w.rows(pool)
        assert {(e["state"], e["scrape_failed"], e["load"]) for e in rows} == {("ready", False, 100), ("ready", False, 2)}, rows
        seen.update(now := {e["name"] for e in rows if e["age_seconds"] > 2.2})
        return now

    wait_for(lambda: old() and seen == names and all(n >= b + 2 for n, b in zip(reads(servers), before)), PATIENCE,
             "old pages of all, and two further ones")
    # A first rest may be of any length, up to 5 s; the others take at least 4.5 s.
    most = (time.monotonic() - start) / 4.5 + 2
    assert all(n - b <= most for n, b in zip(reads(servers), before)), (reads(servers), before, most)

    wait_for(lambda: servers[1].name in old(), PATIENCE)
    assert w.node.ask(w.to[pool], source(1)) == servers[1].name
    before = reads(servers)
    wait_for(lambda: not w.unused(pool) and all(n >= b + 20 for n, b in zip(reads(servers), before)))
    assert daemon.metric("pintle_pool_in_use", pool=pool) == 1
    assert daemon.metric("pintle_decisions_total", pool=pool, outcome="least_loaded") == 1
    assert daemon.metric("pintle_decisions_total", pool=pool, outcome="stale") == 0


def what_is_wrong_is_looked_at(w, pool):
    """A server that leaves, fails or comes back in an unused pool is noticed, and no other one suffers."""
    node, servers = w.node, w.servers[pool]
    names = [s.name for s in servers]
    servers[0].kill()
    wait_for(lambda: node.endpoint(names[0])["state"] == "down", PATIENCE)
    servers[0].start()
    wait_for(lambda: node.endpoint(names[0])["state"] == "ready")
    # One whose page fails is asked again soon.
    servers[1].kill()
    servers[1].start(be={"status": 500})
    before = servers[1].counts().scrapes
    wait_for(lambda: servers[1].counts().scrapes >= before + 5)
    assert node.endpoint(names[1])["state"] in ("unheard", "ejected")
    assert w.unused(pool) >= {names[2]} and node.endpoint(names[2])["state"] == "ready"
    assert set(node.spread(w.to[pool], 10)) <= {names[0], names[2]}


def full_by_an_old_page(w, pool):
    """A connection that is refused for a page that was old brings the pages back, too."""
    for s in w.servers[pool]:
        s.set(waiting=0)

    def answered():
        try:
            return w.node.ask(w.to[pool], source(1)) in {s.name for s in w.servers[pool]}
        except ConnectionError:
            return False

    wait_for(answered)
    assert not w.unused(pool)


@case(timeout=180)
def test_pages_of_unused_pools(node):
    w = World(node, read=(2, {"saturation": {"queueDepth": 1000}, **IDLE}), open=(1, SELDOM), wrong=(3, IDLE),
              full=(2, {"classes": [{"name": "all", "limit": 10, "admission": "refuse"}], **SELDOM}))
    # Further apart than loads that count as equal, where all the work is other nodes'.
    for s, waiting in zip(w.servers["read"], (50, 1)):
        s.set(waiting=waiting)
    for s in w.servers["full"]:
        s.set(waiting=9)
    w.start()
    assert w.daemon.metric("pintle_pool_in_use", pool="read") == 1
    # While a connection is open, however quiet, pages are read as ever.
    with node.connect(w.to["open"], source(1)) as c:
        assert c.ask() == "open0"
        opened = time.monotonic()
        w.until_unused("read", "wrong", "full")
        wait_for(lambda: time.monotonic() - opened > 12 or w.unused("open"), PATIENCE)
        assert not w.unused("open")
    full_by_an_old_page(w, "full")
    read_by_demand(w, "read")
    what_is_wrong_is_looked_at(w, "wrong")
    w.until_unused("open")


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
