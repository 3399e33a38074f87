# SPDX-License-Identifier: Apache-2.0
"""What makes a session at the connect hook: namespaces, cgroups, addresses, marks, hints."""
import errno
import socket
import struct

from clients import IPPROTO_MPTCP, split
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster, at
from test_connect import BOTH, all_zero
from packages import library
from test_connect_clients import PROGRAMS, URL, simulated, spread_of

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

SO_MARK = 36
LEVEL, SESSION, GROUP, CLASS, LONGEST = 0x5054, 1, 2, 3, 64  # pintle/hint.h
# Loads stay equal, so that only sessions decide.
EVEN = {"weights": {"running": 0, "queue": 0}}


class Rig:
    """Servers and clients whose pool is another one for each key: no session is left of the last."""

    def __init__(self, node, servers=4, clients=3):
        self.node, self.cluster, self.daemon = node, Cluster(node), None
        self.pods = self.cluster.servers(servers)
        self.clients = [self.cluster.pod(f"client{i}") for i in range(clients)]
        self.client = self.clients[0]

    def key(self, name, key=None, **more):
        """The pool `name`, with that key."""
        self.pool = name
        config = self.cluster.config(self.cluster.pool(
            self.pods, name, **{"stickiness": {"key": key or name}, **EVEN, **more}))
        if not self.daemon:
            self.daemon = self.cluster.daemon(config)
        else:
            self.daemon.reload(config)
        wait_for(lambda: {(e["pool"], e["state"]) for e in self.cluster.cli("endpoints")} == {(name, "ready")}, 20,
                 f"the endpoints of {name} to be ready")

    def ask(self, *options):
        return self.client.ask(SERVICE["v4"], options=options)

    def decisions(self):
        return self.cluster.decisions(self.pool)

    def stays(self, asks, rounds=4):
        """Each of these ways to ask is a session of its own, and stays where it came first. Returns
        where each is."""
        first = [ask() for ask in asks]
        for _ in range(rounds - 1):
            for ask, name in zip(asks, first):
                assert ask() == name, self.pool
        found = self.decisions()
        assert found == {"least_loaded": len(asks), "sticky": (rounds - 1) * len(asks)}, (self.pool, found)
        assert len(self.cluster.cli("sessions")) == len(asks), self.pool
        all_zero(self.cluster)
        return first

    def has_no_session(self, family="v4"):
        """A client that does nothing more than to connect."""
        before = self.decisions()["sticky"]
        self.client.spread(SERVICE[family], 5)
        assert self.decisions()["sticky"] == before, self.pool


def by_client(rig):
    """A pod is a session, whatever its processes do."""
    rig.key("client")
    assert len(set(rig.stays([lambda c=c: c.ask(SERVICE["v4"]) for c in rig.clients]))) > 1


def by_source(rig, family):
    """The source address makes the session; a socket that is not bound to an address has no session."""
    rig.key(f"source-{family}", "source/32/128", family=family)
    own = [f"10.1.0.{100 + i}" if family == "v4" else f"fd01::1:{i}" for i in range(8)]
    rig.client.batch(*(f"addr add {a}/{32 if family == 'v4' else 128} dev eth0"
                       f"{'' if family == 'v4' else ' nodad'}" for a in own))
    rig.cluster.batch(*(f"route add {a} dev pod{len(rig.pods) + 2}" for a in own))
    rig.stays([lambda a=a: rig.client.ask(SERVICE[family], a) for a in own])
    rig.has_no_session(family)


def by_mark(rig):
    """SO_MARK makes the session; a socket without a mark has no session."""
    rig.key("mark")
    rig.stays([lambda m=m: rig.ask((socket.SOL_SOCKET, SO_MARK, m)) for m in range(1, 9)])
    rig.has_no_session()


DESTINATIONS = {
    "v4": ("10.78.0.0/16:8000", [f"10.78.{i}.{10 * i}" for i in range(1, 9)]),
    "v6": ("[fd96:0:0:1::/64]:8000", [f"fd96::1:{i:x}:0:0:{i:x}" for i in range(1, 9)]),
}


def by_destination(rig, family):
    """Each address in a prefix is a session: no client needs to do more than to connect. It is shown,
    found and unbound by that address."""
    prefix, addresses = DESTINATIONS[family]
    # The pool's other frontend is a single address, so these are not in it.
    rig.key(f"destination-{family}", "destination", family=family, frontends=[SERVICE[family], prefix])
    rig.stays([lambda a=a: rig.client.ask(at(a, 8000)) for a in addresses])
    cluster = rig.cluster
    assert {s["session"] for s in cluster.cli("sessions")} == {f"destination:{a}" for a in addresses}
    one = f"destination:{addresses[3]}"
    assert [s["session"] for s in cluster.cli("sessions", one)] == [one]
    cluster.pintle("unbind", one)
    assert {s["session"] for s in cluster.cli("sessions")} == {f"destination:{a}" for a in addresses} - {one}
    assert cluster.cli("sessions", one) == []


def ask_from(client, path):
    return client.run("curl", "-sS", "-m5", URL["v4"], cgroup=path).stdout


def by_cgroup(rig):
    """All processes of a cgroup are one session; the cgroup of the process that calls connect()
    counts."""
    rig.key("cgroup")
    paths = [rig.client.cgroup / name for name in ("one", "two", "three")]
    for path in paths:
        path.mkdir()
    rig.stays([lambda p=p: ask_from(rig.client, p) for p in paths])


@case(timeout=120)
def test_keys(node):
    rig = Rig(node, clients=8)
    by_client(rig)
    by_mark(rig)
    by_cgroup(rig)
    for family in BOTH:
        by_source(rig, family)
        by_destination(rig, family)


@case(each=("named", "pod"))
def test_cgroup_of_a_client(node, how):
    """All cgroups of one client are one session: those that a pattern of the configuration matches,
    or the containers of one Kubernetes pod; made before the daemon came or later. One that takes
    the place of another is not taken for it."""
    uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
    name, *groups = {
        "named": ["batch-jobs", "batch-1", "batch-2", "other"],
        "pod": [uid, f"kubepods/burstable/pod{uid}/c1", f"kubepods/burstable/pod{uid}/c2", "kubepods/burstable"],
    }[how]
    cluster = Cluster(node)
    client = cluster.pod("client")
    paths = [client.cgroup / g for g in groups]
    paths[0].mkdir(parents=True)
    pattern = f"/{node.id}/n1/client/batch-*"
    cluster.steer(cluster.pool(cluster.servers(4), stickiness={"key": "cgroup"}, **EVEN),
                  clients=[{"name": "batch-jobs", "cgroup": pattern}])

    def known():
        return {s["session"] for s in cluster.cli("sessions")}

    assert ask_from(client, paths[0]) == ask_from(client, paths[0])
    assert len(known()) == 1 and name in known().pop(), known()
    for path in paths[1:]:
        path.mkdir(parents=True, exist_ok=True)

    def joined():
        cluster.pintle("unbind", "--pool", "pool")
        first = ask_from(client, paths[0])
        assert ask_from(client, paths[1]) == first
        return len(known()) == 1

    # The daemon learns of a cgroup a moment after it was made.
    wait_for(joined)
    ask_from(client, paths[2])
    assert len(known()) == 2, known()
    # A cgroup that was removed, and made again under another name, belongs to no client.
    paths[1].rmdir()
    again = client.cgroup / "again"
    again.mkdir()
    cluster.pintle("unbind", "--pool", "pool")
    ask_from(client, again)
    assert not any(name in session for session in known()), known()


# -- hints ------------------------------------------------------------------------------------


def hint(text):
    return LEVEL, SESSION, text if isinstance(text, bytes) else text.encode()


HINTS = {
    "string": [f"user-{i}".encode() for i in range(8)],
    "number": [struct.pack("=Q", i) for i in range(8)],
    "long": [b"x" * 63 + bytes([i]) for i in range(4)] + [b"x" * n for n in (64, 63, 62, 1)],
}


def by_hint(rig, how):
    """A client's hint names its session: a string or a number of up to 64 bytes, all of which count."""
    rig.key(how, "hint")
    rig.stays([lambda k=k: rig.ask(hint(k)) for k in HINTS[how]])
    rig.has_no_session()


def hint_again(rig):
    """The newest hint holds, for every later connect() of the socket."""
    rig.key("again", "hint")
    first, second = (rig.ask(hint(f"user-{i}")) for i in (1, 2))
    assert rig.ask(hint("user-2"), hint("user-1")) == first
    assert rig.ask(hint("user-1"), hint("user-2")) == second
    assert rig.decisions()["sticky"] == 2


def hint_is_of_its_client(rig):
    """A pod that sends another pod's hint gets a session of its own, and moves none of the other
    pod's."""
    rig.key("own", "hint")
    cluster = rig.cluster
    where = rig.stays([lambda c=c, i=i: c.ask(SERVICE["v4"], options=[hint(f"user-{i}")])
                       for i in range(4) for c in rig.clients])
    assert any(len(set(where[3 * i:3 * i + 3])) > 1 for i in range(4)), where
    assert len(cluster.cli("sessions", "hint=user-1")) == 3
    said = cluster.pintle("unbind", "hint=user-1").stdout
    assert "hint=user-1 is bound no more: 3 sessions" in said, said
    one = cluster.cli("sessions", "hint=user-2")[0]["session"]
    cluster.pintle("unbind", one)
    assert len(cluster.cli("sessions", "hint=user-2")) == 2 and len(cluster.cli("sessions")) == 8


def hint_moves_between_pods(rig):
    """In a pool that says so, a session is where it is, from whichever pod of the machine its client
    connects."""
    rig.key("shared", stickiness={"key": "hint", "shared": True})
    for i in range(6):
        assert len({c.ask(SERVICE["v4"], options=[hint(f"user-{i}")]) for c in rig.clients}) == 1
    assert len(rig.cluster.cli("sessions", "hint=user-1")) == 1
    said = rig.cluster.pintle("unbind", "hint=user-1").stdout
    assert "shared: hint=user-1 is bound no more" in said, said


def test_hint_of_a_group(node):
    """Sessions with one prefix share a home, on every machine the same one."""
    cluster = Cluster(node, 2)
    pods = cluster.servers(4)
    pool = cluster.pool(pods, stickiness={"key": "hint", "group": "hint"}, **EVEN)
    clients = []
    for machine in cluster.machines:
        machine.steer(pool)
        clients.append(machine.pod("client"))
    homes = {}
    for prefix in range(6):
        asked = {c.ask(SERVICE["v4"], options=[(LEVEL, GROUP, f"prompt-{prefix}".encode()), hint(f"{i}")])
                 for c in clients for i in range(prefix * 10, prefix * 10 + 3)}
        assert len(asked) == 1, asked
        homes[prefix] = asked.pop()
    assert len(set(homes.values())) > 1, homes
    for machine in cluster.machines:
        assert machine.decisions() == {"home": 18}, machine.decisions()


# Connects with a number of hints, one after the other.
GREEDY = """
import socket, struct, sys
host, port, count, level, session = sys.argv[1], *map(int, sys.argv[2:])
for i in range(count):
    with socket.socket() as s:
        s.setsockopt(level, session, struct.pack("=Q", i))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.connect((host, port))
"""


@case(timeout=300, san=False)
def test_one_client_flushes_nobody(node):
    """A client that makes more sessions than there is room for drives out its own alone, also while no
    daemon runs. The next daemon counts and tells it."""
    cluster = Cluster(node)
    pods = cluster.servers(4)
    pool = cluster.pool(pods, stickiness={"key": "hint"}, **EVEN)
    daemon = cluster.steer(pool)
    other, greedy = cluster.pod("other"), cluster.pod("greedy")
    where = {i: other.ask(SERVICE["v4"], options=[hint(f"user-{i}")]) for i in range(100)}
    daemon.kill()
    greedy.run("/usr/bin/python3", "-I", "-S", "-c", GREEDY, *split(SERVICE["v4"]), 140_000, LEVEL, SESSION, timeout=200)
    daemon = cluster.steer(pool)
    for i, name in where.items():
        assert other.ask(SERVICE["v4"], options=[hint(f"user-{i}")]) == name
    assert cluster.decisions()["sticky"] == len(where)

    def evicted():
        return daemon.metric("pintle_bindings_evicted_total", pool="pool")

    wait_for(lambda: evicted() > 140_000 - 131072 // 8 - 65536 - 100)
    held = daemon.metric("pintle_bindings", pool="pool")
    assert 131072 // 8 + 100 < held <= 131072 // 8 + 65536 + 100 and held + evicted() == 140_000 + 100
    assert daemon.log().count("sessions lost their binding") == 1, daemon.log()


MALFORMED = [
    (SESSION, b""), (SESSION, b"x" * (LONGEST + 1)), (SESSION, b"x" * 8192), (GROUP, b""), (GROUP, b"x" * 65),
    (CLASS, b"\1"), (CLASS, struct.pack("=Q", 1)), (CLASS, struct.pack("=I", 8)), (CLASS, b""),
]


def hint_malformed(rig):
    """A malformed hint gives EINVAL, and the earlier hint still holds."""
    rig.key("malformed", "hint")
    name = rig.ask(hint("user-1"))
    for _ in range(3):
        with rig.client.socket() as s:
            s.setsockopt(*hint("user-1"))
            for option, value in MALFORMED:
                assert refused_with(s, LEVEL, option, value) == errno.EINVAL, (option, value[:70])
            for option in (0, 4, 0x7fffffff):
                assert refused_with(s, LEVEL, option, b"x") == errno.ENOPROTOOPT, option
            s.setsockopt(LEVEL, CLASS, struct.pack("=I", 1))
            s.connect(split(SERVICE["v4"]))
            s.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert s.recv(1000, socket.MSG_WAITALL).decode().endswith(name)
    assert rig.decisions() == {"least_loaded": 1, "sticky": 3}


def refused_with(s, *option):
    try:
        s.setsockopt(*option)
    except OSError as e:
        return e.errno
    return 0


def test_hint_where_nobody_listens(node):
    """ENOPROTOOPT without a pool that uses hints, and while there is one not on other sockets. The
    hook is there only as long as it is used."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    client = cluster.pod("client")
    daemon = cluster.steer(cluster.pool(pods))
    kinds = [(socket.AF_INET, socket.SOCK_STREAM, 0), (socket.AF_INET6, socket.SOCK_STREAM, 0)]
    others = [(socket.AF_INET, socket.SOCK_DGRAM, 0), (socket.AF_UNIX, socket.SOCK_STREAM, 0),
              (socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)]

    def said(kind):
        with client.socket(*kind) as s:
            return refused_with(s, *hint("user-1"))

    def all_refuse():
        return all(said(kind) in (errno.ENOPROTOOPT, errno.EOPNOTSUPP) for kind in kinds + others)

    assert all_refuse()
    for _ in range(2):
        daemon.reload(cluster.config(cluster.pool(pods, stickiness={"key": "hint"})))
        wait_for(lambda: not any(said(kind) for kind in kinds))
        for kind in others[:2]:
            assert said(kind) in (errno.ENOPROTOOPT, errno.EOPNOTSUPP)
        daemon.reload(cluster.config(cluster.pool(pods, stickiness={"key": "none"})))
        wait_for(all_refuse)


def foreign_options_pass(rig):
    """With the hint's hook attached, other options do what they always did: of every length, the
    ones above a page included."""
    rig.key("foreign", "hint")
    node, client = rig.node, rig.client
    client.sysctl("net.ipv4.igmp_max_msf", 4000)
    with client.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 7, 0))
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == struct.pack("ll", 7, 0)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
        for size in (4, 64, 4095, 4096, 4097, 20000):
            assert refused_with(s, socket.IPPROTO_TCP, 0x5054, b"x" * size) == errno.ENOPROTOOPT
    for count in (1, 1000, 1022, 1023, 1024, 3000):  # 1020 sources and the head fill a page
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            group, own = socket.inet_aton("239.1.2.3"), socket.inet_aton(client.v4)
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + own)
            sources = b"".join(struct.pack("!I", 0x0b000001 + i) for i in range(count))
            # struct ip_msfilter: the group, our address, exclude, how many, and they
            s.setsockopt(socket.IPPROTO_IP, 41, group + own + struct.pack("=II", 0, count) + sources)
            kept = node.run("cat", "/proc/net/mcfilter", netns=client.netns).stdout
            assert kept.lower().count("0xef010203") == count, (count, kept[:300])


@case(timeout=120)
def test_hints(node):
    rig = Rig(node)
    for how in HINTS:
        by_hint(rig, how)
    hint_again(rig)
    hint_is_of_its_client(rig)
    hint_moves_between_pods(rig)
    hint_malformed(rig)
    foreign_options_pass(rig)


@case(each=("httpx", "openai", "urllib3"), timeout=120)
def test_hint_from_python(node, what):
    """By a network backend of httpx, by urllib3's `socket_options`."""
    python = library("python") / "bin/python"
    cluster, client = simulated(node, 3, stickiness={"key": "hint"}, **EVEN)
    for i in range(2):
        result = client.run(python, "-B", PROGRAMS / "ask.py", what, URL["v4"], 3, f"user-{i}", timeout=60)
        assert len(spread_of(result, 3)) == 1, result
    assert cluster.decisions() == {"least_loaded": 2, "sticky": 4}
