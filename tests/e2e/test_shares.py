# SPDX-License-Identifier: Apache-2.0
"""What a class shares with others: connections, reserved endpoints; in both hooks."""
import threading

import packets
from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster
from test_classes import BATCH, hint, is_refused

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

HOOKS = ("lookup", "connect")


def classes(batch, **interactive):
    return {"classes": [{"name": "interactive", **interactive},
                        {"name": "batch", "priority": -1, "admission": "refuse", **batch}]}


class World:
    """Servers, and clients of both classes: at the lookup hook batch comes from one address, at the connect hook it
    says so by a hint."""

    def __init__(self, node, hook, servers, batch, *, sessions=False, **interactive):
        self.hook = hook
        if hook == "lookup":
            self.side = node
            self.servers = node.servers(servers)
            batch = {"rules": [{"source": source(n, "v4")} for n in (7, 9)], **batch}
            self.daemon = node.steer(self.servers, **classes(batch, **interactive))
        else:
            self.side = Cluster(node)
            pods = self.side.servers(servers)
            self.servers = [p.model for p in pods]
            sticky = {"stickiness": {"key": "client"}} if sessions else {}
            pool = self.side.pool(pods, **sticky, **classes(batch, **interactive))
            self.daemon = self.side.steer(pool)
            self.clients = [self.side.pod(f"client{i}") for i in range(2)]

    def connect(self, batch=True, client=0):
        """Two clients are two sessions."""
        if self.hook == "lookup":
            return self.side.connect(FRONTEND["v4"], source((7, 9)[client] if batch else 8, "v4"))
        return self.clients[client].connect(SERVICE["v4"], options=[hint(BATCH)] if batch else [])

    def ask(self, batch=True):
        with self.connect(batch) as c:
            return c.ask(close=True)

    def told(self, *words):
        return self.side.cli("explain", "pool", "--class", "batch", *words)

    def fulls(self):
        return [c["full"] for c in self.told()["candidates"]]


def close(connections):
    for c in connections:
        c.close()


def at_once(world, n):
    """So many connections of batch by as many threads, all held."""
    held, barrier = [], threading.Barrier(n)

    def one():
        barrier.wait()
        try:
            held.append(world.connect())
        except ConnectionRefusedError:
            pass

    threads = [threading.Thread(target=one) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return held


@case(each=HOOKS)
def test_connections_at_an_endpoint(node, hook):
    """Two at each of two endpoints, whatever these endpoints' loads; without the daemon, too."""
    world = World(node, hook, 2, {"connections": 2})
    held = [world.connect() for _ in range(4)]
    assert is_refused(world.connect)
    assert not is_refused(lambda: world.ask(batch=False))
    assert world.fulls() == ["connections"] * 2 and world.told()["outcome"] == "refused"
    assert "which may have 2 connections at each" in world.side.pintle("explain", "pool", "--class", "batch").stdout
    held.pop().close()
    wait_for(lambda: not is_refused(lambda: held.append(world.connect())))
    assert is_refused(world.connect)
    world.daemon.kill()
    assert is_refused(world.connect)
    close(held)
    wait_for(lambda: not is_refused(world.ask))


@case(each=HOOKS)
def test_connections_in_the_pool(node, hook):
    """A burst never gets more than there may be, and what ends makes room."""
    world = World(node, hook, 3, {"poolConnections": 5})
    held = at_once(world, 16)
    assert 1 <= len(held) <= 5, len(held)
    wait_for(lambda: is_refused(lambda: held.append(world.connect())))
    assert len(held) == 5
    assert world.daemon.metric("pintle_class_in_flight", pool="pool", **{"class": "batch"}) == 5
    assert world.daemon.metric("pintle_class_in_flight", pool="pool", **{"class": "interactive"}) == 0
    told = world.told()
    assert (told["pool_in_flight"], told["pool_connections"]) == (5, 5), told
    assert "5 connections in the pool, of 5" in world.side.pintle("explain", "pool", "--class", "batch").stdout
    assert not is_refused(lambda: world.ask(batch=False))
    close(held)
    wait_for(lambda: world.told()["pool_in_flight"] == 0)
    held = [world.connect() for _ in range(5)]
    assert is_refused(world.connect)
    close(held)


@case(each=HOOKS)
def test_reserve(node, hook):
    """One of three endpoints takes no batch. When another one goes, the two that are left are one for each; when only
    one is left, it serves all. Without the daemon the reserve holds."""
    world = World(node, hook, 3, {}, reserve=1)
    wait_for(lambda: world.fulls().count("reserved") == 1)
    reserved = [c["endpoint"] for c in world.told()["candidates"] if c["full"]]
    assert {world.ask() for _ in range(12)}.isdisjoint(reserved)
    for s in world.servers:
        if s.name not in reserved:
            s.set(running=9)
            s.scraped()
    assert world.ask(batch=False) in reserved
    assert world.ask() not in reserved
    first, last = (s for s in world.servers if s.name not in reserved)
    drain = lambda s: world.side.pintle("drain", f"pool/{s.name}")
    drain(first)
    wait_for(lambda: [c["full"] for c in world.told()["candidates"] if c["eligible"]].count("reserved") == 1)
    assert world.ask() == last.name
    drain(last)
    wait_for(lambda: [c["full"] for c in world.told()["candidates"] if c["eligible"]] == [None])
    assert world.ask() in reserved
    world.side.pintle("undrain", f"pool/{last.name}")
    wait_for(lambda: world.fulls().count("reserved") == 1)
    world.daemon.kill()
    assert {world.ask() for _ in range(6)} == {last.name}


@case(each=HOOKS)
def test_sessions_share(node, hook):
    """Eight places. The first client has seven of them, the second one: when one of the seven ends, the first, which
    has more than its four, is told no, and the second is let in. Who comes back at once is counted."""
    world = World(node, hook, 2, {"poolConnections": 8}, sessions=True)
    first = [world.connect() for _ in range(7)]
    second = [world.connect(client=1)]
    wait_for(lambda: world.told()["sessions"] == 2)
    for _ in range(5):
        assert is_refused(world.connect)
    wait_for(lambda: world.daemon.metric("pintle_retry_suspected_total", pool="pool") > 0)
    if hook == "lookup":
        told = world.side.cli("explain", "pool", "--source", source(7, "v4"))
        assert told["class"] == "batch" and told["over"] and told["open"] == 7 and told["places"] == 8, told
        assert told["outcome"] == "refused", told
    first.pop().close()
    wait_for(lambda: world.told()["pool_in_flight"] == 7)
    assert is_refused(world.connect)
    second.append(world.connect(client=1))
    close(first)
    close(second)
    wait_for(lambda: world.told()["sessions"] == 0 and not world.told()["pool_in_flight"])
    held = [world.connect(client=1) for _ in range(8)]
    close(held)


def test_forged_segments_fill_their_own_class(node):
    """Whoever forges batch's address takes batch's places, for as long as a handshake may take, and nobody else's."""
    world = World(node, "lookup", 1, {"poolConnections": 2})
    packets.send(node.netns, [(source(7, "v4"), port) for port in (5001, 5002, 5003)], ("10.77.0.1", 8000), "ACK")
    assert is_refused(world.connect)
    assert not is_refused(lambda: world.ask(batch=False))
    wait_for(lambda: not is_refused(world.ask), 30)
