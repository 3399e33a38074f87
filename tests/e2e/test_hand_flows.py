# SPDX-License-Identifier: Apache-2.0
"""The records of connections that the hand-off gave to servers of this node, and of the few others of these servers."""
import ctypes
import json
import os
import socket
import struct
import time
from pathlib import Path

import tc
from clients import FRONTEND, connect_in, source, split
from harness import case
from kernel import inside, wait_for
from test_classes import classes
from test_classes import fill as busy
from test_counts import no_drift
from test_divert import POST
from test_handoff import HANDED, WHERE, accept_and_end

RECORDS, KEY_SIZE, VALUE_SIZE = 16384, 40, 216


def flows(node):
    pin = next(node.bpffs.rglob("hand_flows"))
    return json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout)


def reconciled(node):
    """Waits until the daemon has counted anew."""
    began = time.monotonic()

    def anew():
        passed = time.monotonic() - began
        return node.cli("status")[0]["reconciled_age_seconds"] < passed

    wait_for(anew, 30)


def recounted(node, daemon):
    """The next daemon, which counts anew as it begins."""
    daemon.stop()
    return node.daemon(Path(daemon.config).read_text())


@case(each=WHERE)
def test_from_the_decision_to_the_end(node, where):
    """Each open connection has a record, and no other has one."""
    family, remote = where[:2], "remote" in where
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    held = node.hold(FRONTEND[family], 10, remote=remote)
    assert len(flows(node)) == 10
    assert sum(node.in_flight().values()) == 10
    for c, _ in held[:5]:
        c.close()
    for c, _ in held[5:]:
        c.reset()
    wait_for(lambda: not flows(node) and not any(node.in_flight().values()))
    no_drift(daemon)


# Of struct pintle_tuple and struct pintle_hand_flow.
REMOTE_PORT_AT, DECIDED_AT, ENDED_AT, COUNTED_AT, OPENED_AT = 6, 0, 28, 52, 72


class Records:
    """The map itself."""

    def __init__(self, node):
        self.fd = tc.libbpf.bpf_obj_get(str(next(node.bpffs.rglob("hand_flows"))).encode())
        assert self.fd >= 0, os.strerror(ctypes.get_errno())

    def put(self, key, value):
        failed = tc.libbpf.bpf_map_update_elem(self.fd, bytes(key), bytes(value), ctypes.c_uint64(0))
        assert not failed, os.strerror(ctypes.get_errno())

    def count(self):
        key, found = (ctypes.c_char * KEY_SIZE)(), 0
        last = None
        while not tc.libbpf.bpf_map_get_next_key(self.fd, last, key):
            last, found = key, found + 1
        return found

    def only(self):
        """The only record: (key, value)."""
        key, value = bytearray(KEY_SIZE), bytearray(VALUE_SIZE)
        at = [(ctypes.c_char * len(b)).from_buffer(b) for b in (key, value)]
        assert not tc.libbpf.bpf_map_get_next_key(self.fd, None, at[0])
        assert not tc.libbpf.bpf_map_lookup_elem(self.fd, *at)
        return bytearray(key), bytearray(value)


def fill(node):
    """Takes all records, for connections that are decided, and that count nowhere."""
    records, value = Records(node), bytearray(VALUE_SIZE)
    struct.pack_into("=Q", value, DECIDED_AT, time.monotonic_ns() + 3600 * 10**9)
    struct.pack_into("=I", value, ENDED_AT, 1)
    for i in range(RECORDS):
        records.put(struct.pack("=II", 0xffffffff, i).ljust(KEY_SIZE, b"\0"), value)


@case(timeout=120)
def test_all_records_are_taken(node):
    """Connections beyond are steered, counted and bound like the others."""
    daemon = node.steer(node.servers(2), **HANDED)
    fill(node)
    held = node.hold(FRONTEND["v4"], 10)
    expected = {"s0": 0, "s1": 0}
    for _, name in held:
        expected[name] += 1
    assert node.in_flight() == expected
    assert Records(node).count() == RECORDS
    wait_for(lambda: sum(e["connections_idle"] for e in node.cli("endpoints")) == 10)
    for c, name in held:
        assert c.ask() == name
        c.close()
    wait_for(lambda: not any(node.in_flight().values()))
    again = node.hold(FRONTEND["v4"], 10)
    assert [name for _, name in again] == [name for _, name in held]
    for c, _ in again:
        c.close()
    wait_for(lambda: not any(node.in_flight().values()))
    no_drift(recounted(node, daemon))


LISTENS = ("127.0.0.1:8001", "0.0.0.0:8002", "8003")


@case(timeout=120)
def test_direct_connections(node):
    """Those to a server's own address are counted apart, although its listener gives them no record. What another server
    accepts, at another address of an endpoint's port, is not the endpoint's."""
    node.ip("addr", "add", "127.0.0.9/32", "dev", "lo")
    servers = [node.server(f"s{i}", listen) for i, listen in enumerate(LISTENS)]
    node.server("other", "127.0.0.9:8001")
    own = {s.name: f"127.0.0.1:{split(s.listen)[1]}" for s in servers}
    daemon = node.steer([{"name": s.name, "listen": s.listen if s.listen.isdigit() else own[s.name]} for s in servers],
                        **HANDED)

    def endpoints(key):
        return {e["name"]: e[key] for e in node.cli("endpoints")}

    def all_ready():
        wait_for(lambda: set(endpoints("state").values()) == {"ready"}, 30)

    all_ready()
    probes = [node.connect(address) for address in own.values()]
    for probe in probes:
        probe.ask()
    before = endpoints("direct")
    assert min(before.values()) >= 2, before
    held = node.hold(FRONTEND["v4"], 9)
    assert node.in_flight() == {name: sum(n == name for _, n in held) for name in own}
    for probe in probes:
        probe.close()
    wait_for(lambda: endpoints("direct") == {name: n - 1 for name, n in before.items()})
    before = node.endpoint("s0")["direct_opened"]
    for _ in range(10):
        with node.connect("127.0.0.9:8001") as c:
            assert c.ask() == "other"
    # The daemon's scrapes keep their connection.
    assert node.endpoint("s0")["direct_opened"] - before < 10
    # The servers end, and listen again while Pintle runs.
    for c, _ in held:
        c.close()
    for server in servers:
        server.kill()
    wait_for(lambda: not any(endpoints("direct").values()))
    for server in servers:
        server.start()
    all_ready()
    for name, address in own.items():
        with node.connect(address) as c:
            assert c.ask() == name
            assert node.endpoint(name)["direct"] >= 2, name
    held = node.hold(FRONTEND["v4"], 9)
    assert node.in_flight() == {name: sum(n == name for _, n in held) for name in own}
    no_drift(recounted(node, daemon))


def queue_of(node, port):
    """A listener that nobody accepts from, and an endpoint for it whose page another server has."""
    with inside(node.netns):
        sock = socket.create_server(("127.0.0.1", port), backlog=5)
    return sock, lambda name: {"name": name, "listen": f"127.0.0.1:{port}", "metrics": "http://127.0.0.1:8009/metrics"}


@case(timeout=120)
def test_a_listener_of_another_pool(node):
    """A reload gives the addresses of two endpoints to other pools': each listener is that one's, however the pool is
    decided."""
    node.server("pages", 8009)
    queues = [queue_of(node, port) for port in (8001, 8002)]
    with queues[0][0], queues[1][0]:
        daemon = node.steer([endpoint(f"s{i}") for i, (_, endpoint) in enumerate(queues)], **HANDED)
        for listener, _ in queues:
            accept_and_end(listener)  # pintled's own; those of the other pools wait, and are not counted
        waiting = [node.connect(f"127.0.0.1:{port}") for port in (8001, 8002) for _ in range(2)]
        wait_for(lambda: [e["accept_backlog"] for e in node.cli("endpoints")] == [2, 2])
        daemon.reload(node.config(*(
            node.pool([endpoint(name)], pool, frontends=[FRONTEND["v4"].replace("8000", port)], **more)
            for (_, endpoint), name, pool, port, more in zip(
                queues, ("t0", "t1"), ("by-request", "by-connection"), ("8000", "8100"), (HANDED, {})))))
        wait_for(lambda: [e["name"] for e in node.cli("endpoints")] == ["t0", "t1"])
        reconciled(node)
        for name, port in (("t0", 8001), ("t1", 8002)):
            wait_for(lambda: node.endpoint(name)["accept_backlog"] == 2, what=f"{name} has the queue")  # noqa: B023
            before = node.endpoint(name)["direct"]
            waiting.append(node.connect(f"127.0.0.1:{port}"))
            wait_for(lambda: node.endpoint(name)["direct"] == before + 1, what=f"{name} has one more")  # noqa: B023
        for c in waiting:
            c.close()


def test_diverted(node):
    """What the overload responder has is no endpoint's, although the endpoint listens at the frontend's port."""
    server = node.server("s0", 8000)
    daemon = node.steer([{"name": "s0", "listen": "8000"}],
                        **HANDED, **classes({"source": source(7)}, admission="divert"))
    wait_for(lambda: node.endpoint("s0")["state"] == "ready")
    wait_for(lambda: daemon.metric("pintle_overload_up") == 1)
    busy(server)
    before = node.endpoint("s0")
    held = [node.connect(FRONTEND["v4"], source(7)) for _ in range(5)]
    for c in held:
        c.sock.sendall(POST + b"Content-Length: 20000\r\n\r\n{")
    wait_for(lambda: node.decisions().get("diverted") == 5)
    reconciled(node)
    after = node.endpoint("s0")
    assert (after["in_flight"], after["opened"]) == (before["in_flight"], before["opened"])
    for c in held:
        c.close()
    no_drift(daemon)


def forget_pending(node):
    """As a flood of SYNs does."""
    fd = tc.libbpf.bpf_obj_get(str(next(node.bpffs.rglob("pending"))).encode())
    key, forgotten = (ctypes.c_char * KEY_SIZE)(), 0
    while not tc.libbpf.bpf_map_get_next_key(fd, None, key):
        assert not tc.libbpf.bpf_map_delete_elem(fd, key)
        forgotten += 1
    os.close(fd)
    return forgotten


def connect_evicted(node, count, port=8000):
    """Connections from another machine that were decided at the SYN, and whose decisions were evicted before their
    handshakes ended."""
    node.run("nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }; "
             f"add rule inet t o tcp dport {port} tcp flags & (syn|ack) == ack drop", netns=node.client_netns)
    to = FRONTEND["v4"].replace("8000", str(port))
    held = [node.connect(to, source(1, remote=True), remote=True) for _ in range(count)]
    assert forget_pending(node)
    node.run("nft", "delete table inet t", netns=node.client_netns)
    for c in held:
        c.ask()
    return held


def test_evicted_while_the_hand_off_rests(node):
    """Then the lookup hook decides at the SYN. A connection whose decision was evicted counts, and has a seat."""
    node.add_client()
    node.sysctl("net.ipv4.tcp_syncookies", 0)
    daemon = node.steer(node.servers(2), **HANDED, tenants={"by": "source", "connections": 2})
    wait_for(lambda: daemon.metric("pintle_handoff_rests") == 1)
    reconciled(node)  # the listeners are where they belong while it rests
    held = connect_evicted(node, 2)
    assert sum(node.in_flight().values()) == 2
    assert [r["in_flight"] for r in node.cli("tenants") if r["in_flight"]] == [2]
    for c in held:
        c.close()
    wait_for(lambda: not any(node.in_flight().values()))


@case(timeout=120)
def test_by_connection_and_back(node):
    """A reload that changes how the pool is decided: every connection counts, by whichever way it came. Those to the
    server's own address count at once, although no recount has moved the listener yet."""
    servers = node.servers(2)
    daemon = node.steer(servers, **HANDED)
    held = node.hold(FRONTEND["v4"], 4)
    for more in ({}, HANDED):
        daemon.reload(node.config(node.pool(servers, **more)))
        before = node.endpoint("s0")["direct_opened"]
        direct = [node.connect(servers[0].listen) for _ in range(20)]
        for c in direct:
            c.ask()
        assert node.endpoint("s0")["direct_opened"] >= before + len(direct)
        for c in direct:
            c.close()
        reconciled(node)
        held += node.hold(FRONTEND["v4"], 4, first=1 + len(held))
        assert sum(node.in_flight().values()) == len(held)
    for c, _ in held:
        c.close()
    wait_for(lambda: not any(node.in_flight().values()) and not flows(node))
    wait_for(lambda: node.endpoint("s0")["direct"] <= 1)  # the daemon's own
    no_drift(daemon)


def test_the_same_addresses_elsewhere(node):
    """A connection of another network namespace has the addresses of one that is decided here: it is not that one."""
    node.add_client()
    daemon = node.steer(node.servers(1), **HANDED)
    client, frontend = source(1, remote=True), split(FRONTEND["v4"])
    c = node.connect(FRONTEND["v4"], (client, 41000), remote=True)
    c.ask()
    records = Records(node)
    key, value = records.only()
    struct.pack_into("=H", key, REMOTE_PORT_AT, 41001)
    struct.pack_into("=Q", value, DECIDED_AT, time.monotonic_ns())
    struct.pack_into("=I", value, COUNTED_AT, 0)
    struct.pack_into("=Q", value, OPENED_AT, 0)
    records.put(key, value)
    elsewhere = Path("/run/netns") / (node.id + "-elsewhere")
    node.make_netns(elsewhere)
    for address in (frontend[0], client):
        node.ip("addr", "add", f"{address}/32", "dev", "lo", netns=elsewhere)
    with inside(elsewhere):
        listener = socket.create_server(frontend)
    with listener:
        for port in (41000, 41001):
            with connect_in(elsewhere, FRONTEND["v4"], (client, port)) as other, listener.accept()[0] as accepted:
                other.sock.sendall(b"x")
                assert accepted.recv(1) == b"x"
                assert node.in_flight() == {"s0": 1} and len(flows(node)) == 2
            assert node.in_flight() == {"s0": 1} and len(flows(node)) == 2
    assert c.ask() == "s0"
    c.close()
    # The other is forgotten 10 s after its decision.
    wait_for(lambda: node.in_flight() == {"s0": 0} and not flows(node), 30)
    no_drift(daemon)


def test_evicted_on_the_way_to_another_pool(node):
    """Pools that are decided at the SYN send connections to one that is decided by request. One whose decision was
    evicted meanwhile counts there."""
    node.add_client()
    servers = node.servers(4)
    ways = {8000: {"fallback": ["other"]}, 8100: {"canary": {"pool": "other", "percent": 100}}}
    pools = [node.pool([s], f"own{port}", frontends=[FRONTEND["v4"].replace("8000", str(port))], **more)
             for s, (port, more) in zip(servers, ways.items())]
    other = node.pool(servers[2:], "other", frontends=[FRONTEND["v4"].replace("8000", "8200")], **HANDED)
    node.daemon(node.config(*pools, other))
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    node.pintle("drain", "s0")
    for port, way in ways.items():
        held = connect_evicted(node, 3, port)
        assert sum(node.in_flight()[name] for name in ("s2", "s3")) == 3, way
        for c in held:
            c.close()
        wait_for(lambda: not any(node.in_flight().values()))


def test_more_listeners_than_slots(node):
    """SO_REUSEPORT listeners from before Pintle, beyond the slots of an endpoint: each waiting connection counts once."""
    node.server("pages", 8002)
    listeners = []
    with inside(node.netns):
        for _ in range(20):
            sock = socket.socket()
            listeners.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", 8001))
            sock.listen(16)
    endpoint = {"name": "s0", "listen": "127.0.0.1:8001", "metrics": "http://127.0.0.1:8002/metrics"}
    daemon = node.steer([endpoint], **HANDED)
    waiting = [node.connect("127.0.0.1:8001") for _ in range(40)]
    wait_for(lambda: node.endpoint("s0")["accept_backlog"] == len(waiting))
    daemon.reload(node.config(node.pool([endpoint], **HANDED, failureMode="FailClose")))
    for _ in range(5):
        passes = daemon.metric("pintle_passes_total")
        wait_for(lambda: daemon.metric("pintle_passes_total") > passes + 1)  # noqa: B023
        assert node.endpoint("s0")["accept_backlog"] == len(waiting)
    for c in (*waiting, *listeners):
        c.close()
