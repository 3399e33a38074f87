# SPDX-License-Identifier: Apache-2.0
"""Which server a new connection lands on, and why; IPv4 and IPv6."""
import collections
import signal
import time

import packets
from clients import FRONTEND, source
from harness import case
from kernel import wait_for

BOTH = ("v4", "v6")
# Scores stand still for the length of a case: what happens between two scrapes.
SELDOM = {"scrape": {"interval": "1h"}, "saturation": {"staleness": "1h"}}


def settled(*servers):
    for s in servers:
        s.scraped()


def refused(node, to, **more):
    try:
        answer = node.ask(to, **more)
    except ConnectionRefusedError:
        return True
    raise AssertionError(f"{to} was answered by {answer}")


@case(each=BOTH)
def test_lands_on_a_server(node, family):
    """A connection to the frontend is answered by a server, and counted once."""
    servers = node.servers(3)
    node.steer(servers)
    name = node.ask(FRONTEND[family])
    assert name in {"s0", "s1", "s2"}
    assert node.decisions() == {"least_loaded": 1}
    assert sum(s.counts().accepted for s in servers) == 1


@case(each=BOTH)
def test_from_another_namespace(node, family):
    """Clients behind a wire reach the announced frontend."""
    node.add_client()
    node.steer(node.servers(2))
    assert sum(node.spread(FRONTEND[family], 20, remote=True).values()) == 20


def test_client_sees_the_frontend(node):
    """No translation: both ends know the connection by the frontend's address."""
    node.steer([node.server("s0", "127.0.0.1:8001")])
    with node.connect(FRONTEND["v4"]) as c:
        c.ask()
        assert c.sock.getpeername() == ("10.77.0.1", 8000)
        out = node.run("ss", "-Htn", "state", "established", "sport = :8000").stdout
        assert "10.77.0.1:8000" in out, out


@case(each=BOTH)
def test_follows_load(node, family):
    """New clients avoid the server with the long queue."""
    servers = node.servers(3)
    servers[1].set(waiting=20)
    node.steer(servers)
    spread = node.spread(FRONTEND[family], 30)
    assert spread["s1"] == 0 and spread["s0"] and spread["s2"], spread
    servers[1].set(waiting=0)
    servers[0].set(waiting=20)
    servers[2].set(kv_cache=1.0, running=10)
    settled(*servers)
    assert node.spread(FRONTEND[family], 10, first=100) == {"s1": 10}


def test_forty_at_once_spread(node):
    """Connections opened within one scrape interval count before the next is placed. pintled stands still meanwhile: it
    tells what it sees of open connections of one endpoint after the other."""
    servers = node.servers(4)
    daemon = node.steer(servers, **SELDOM)
    daemon.process.send_signal(signal.SIGSTOP)
    held = node.hold(FRONTEND["v4"], 40)
    daemon.process.send_signal(signal.SIGCONT)
    for server in servers:
        assert server.counts().open == 10, [s.counts().open for s in servers]
    assert node.in_flight() == {s.name: 10 for s in servers}
    for c, _ in held:
        c.close()
    wait_for(lambda: set(node.in_flight().values()) == {0})


def test_forty_in_a_row_do_not_look_like_load(node):
    """Short connections, one after the other within one scrape interval, stay where they are."""
    node.steer(node.servers(3), **SELDOM, stickiness={"maxExtraLoad": 2})
    client = source(1)
    names = set()
    for _ in range(40):
        with node.connect(FRONTEND["v4"], client) as c:
            names.add(c.ask())
        wait_for(lambda: node.open_connections() == 0)
    assert len(names) == 1, names
    assert node.decisions() == {"least_loaded": 1, "sticky": 39}


@case(each=BOTH)
def test_sticky(node, family):
    """A client stays on its server; each client on its own."""
    node.steer(node.servers(3))
    first = {i: node.ask(FRONTEND[family], source(i, family)) for i in range(1, 9)}
    for _ in range(3):
        for i, name in first.items():
            assert node.ask(FRONTEND[family], source(i, family)) == name
    assert node.decisions() == {"least_loaded": 8, "sticky": 24}


@case(each=BOTH)
def test_destination(node, family):
    """Each address of a prefix is a session, whoever connects, and is shown and unbound by it."""
    prefix, addresses = {"v4": ("10.78.0.0/16:8000", [f"10.78.{i}.{9 * i}" for i in range(1, 9)]),
                         "v6": ("[fd78::/64]:8000", [f"fd78::{i:x}:0:0:7" for i in range(1, 9)])}[family]
    node.steer(node.servers(4), frontends=[prefix], stickiness={"key": "destination"},
               weights={"running": 0, "queue": 0})
    to = [f"{a}:8000" if family == "v4" else f"[{a}]:8000" for a in addresses]
    first = [node.ask(t, source(1, family)) for t in to]
    assert len(set(first)) > 1
    assert [node.ask(t, source(2, family)) for t in to] == first
    named = {f"destination:{a}" for a in addresses}
    assert {s["session"] for s in node.cli("sessions")} == named
    one = f"destination:{addresses[3]}"
    node.pintle("unbind", one)
    assert {s["session"] for s in node.cli("sessions")} == named - {one}


@case(each=BOTH)
def test_sticky_by_prefix(node, family):
    """With a prefix as the key, neighbours share a session."""
    node.steer(node.servers(4), stickiness={"key": "source/24/48"}, weights={"running": 0, "queue": 0})
    names = {node.ask(FRONTEND[family], source(i, family)) for i in range(1, 20)}
    assert len(names) == 1
    assert node.decisions()["sticky"] == 18


@case(each=("source", "source/32/128"))
def test_an_ipv6_host_is_one_session(node, key):
    """Whatever it makes of the lower half of its address, unless the pool says that this counts."""
    node.steer(node.servers(4), stickiness={"key": key}, weights={"running": 0, "queue": 0})
    for i in range(1, 20):
        node.ask(FRONTEND["v6"], f"fd01:0:0:7:{i:x}::{i:x}")
    assert node.decisions().get("sticky", 0) == (18 if key == "source" else 0)


def test_binding_expires(node):
    """A binding unused for longer than the TTL is not followed."""
    node.steer(node.servers(2), stickiness={"ttl": "500ms"})
    node.ask(FRONTEND["v4"], source(1))
    node.ask(FRONTEND["v4"], source(1))
    assert node.decisions() == {"least_loaded": 1, "sticky": 1}
    time.sleep(0.7)
    node.ask(FRONTEND["v4"], source(1))
    assert node.decisions() == {"least_loaded": 2, "sticky": 1}


def test_use_renews_a_binding(node):
    """A client that comes again within the TTL keeps its binding past it."""
    node.steer(node.servers(2), stickiness={"ttl": "2s"})
    begin = time.monotonic()
    count = 0
    while time.monotonic() < begin + 3:
        node.ask(FRONTEND["v4"], source(1))
        count += 1
        time.sleep(0.2)
    assert node.decisions() == {"least_loaded": 1, "sticky": count - 1}


@case(each=BOTH)
def test_escape(node, family):
    """A session leaves a server that is too far ahead, and is not pulled back."""
    servers = node.servers(2)
    node.steer(servers)
    name = node.ask(FRONTEND[family])
    hot, other = servers if servers[0].name == name else servers[::-1]
    hot.set(waiting=20)
    settled(hot)
    assert node.ask(FRONTEND[family]) == other.name
    assert node.decisions() == {"least_loaded": 1, "escaped": 1}
    hot.set(waiting=0)
    settled(hot)
    assert node.ask(FRONTEND[family]) == other.name
    assert node.decisions() == {"least_loaded": 1, "escaped": 1, "sticky": 1}


@case(each=("ACK", "RST", "SYN"))
def test_forged_segments_move_no_session(node, kind):
    """Segments with a client's address, forged by somebody else, leave its session where it is."""
    node.add_client()
    node.steer(node.servers(2), **SELDOM)
    name = node.ask(FRONTEND["v4"], source(1, remote=True), remote=True)
    port = 1024
    for count in (18, 200):
        forged = [(source(1, remote=True), port + i) for i in range(count)]
        port += count
        packets.send(node.client_netns, forged, ("10.77.0.1", 8000), kind)
        wait_for(lambda: sum(node.decisions().values()) > len(forged))
        for _ in range(5):
            assert node.ask(FRONTEND["v4"], source(1, remote=True), remote=True) == name
    assert "escaped" not in node.decisions(), node.decisions()
    # A client without a binding keeps away from the endpoint where they wait.
    assert node.ask(FRONTEND["v4"], source(2, remote=True), remote=True) != name


def test_stays_within_the_allowance(node):
    """A session stays on a warm server that is ahead by no more than maxExtraLoad."""
    servers = node.servers(2)
    node.steer(servers, stickiness={"maxExtraLoad": 8})
    name = node.ask(FRONTEND["v4"])
    hot = servers[int(name[1])]
    hot.set(waiting=4)
    settled(hot)
    assert node.ask(FRONTEND["v4"]) == name
    hot.set(waiting=4, running=1)
    settled(hot)
    assert node.ask(FRONTEND["v4"]) != name


@case(each=BOTH)
def test_groups_share_a_home(node, family):
    """First connections of one group go to one server; other groups may go elsewhere."""
    node.steer(node.servers(4), stickiness={"group": "source/24/56"})
    homes = {}
    for i in range(1, 40 * 256, 256):
        homes[i] = node.ask(FRONTEND[family], source(i, family))
        assert node.ask(FRONTEND[family], source(i + 7, family)) == homes[i]
    assert len(set(homes.values())) == 4, homes
    assert node.decisions() == {"home": 80}


def test_home_is_left_when_too_loaded(node):
    """Load decides over the home, too."""
    servers = node.servers(2)
    node.steer(servers, stickiness={"group": "source/24"})
    home = node.ask(FRONTEND["v4"], source(1))
    servers[int(home[1])].set(waiting=30)
    settled(servers[int(home[1])])
    assert node.ask(FRONTEND["v4"], source(2)) != home
    assert node.decisions() == {"home": 1, "escaped": 1}


@case(each=BOTH)
def test_drain(node, family):
    """A drained endpoint gets no further connection; open ones go on; undrain takes it back."""
    node.steer(node.servers(2))
    client = source(1, family)
    bound = node.connect(FRONTEND[family], client)
    name = bound.ask()
    other = "s1" if name == "s0" else "s0"
    node.pintle("drain", name)
    assert node.spread(FRONTEND[family], 20) == {other: 20}
    assert bound.ask() == name
    assert node.ask(FRONTEND[family], client) == other
    node.pintle("undrain", name)
    # Its open connection weighs until the next scrape has seen it.
    bound.close()
    wait_for(lambda: node.endpoint(name)["in_flight"] == 0)
    assert node.spread(FRONTEND[family], 30, first=100)[name] > 0


@case(each=BOTH)
def test_baseline_is_uniform(node, family):
    """Mode baseline: any ready endpoint, whatever its load, and no affinity."""
    servers = node.servers(3)
    servers[0].set(waiting=50)
    node.steer(servers, mode="baseline")
    spread = {}
    for _ in range(150):
        name = node.ask(FRONTEND[family], source(1, family))
        spread[name] = spread.get(name, 0) + 1
    # 50 expected of each; 5 standard deviations are 29
    assert all(21 <= spread.get(s.name, 0) <= 79 for s in servers), spread
    assert node.decisions() == {"random": 150}


@case(each=BOTH)
def test_shadow_is_uniform_and_counts_the_rule(node, family):
    """Mode shadow: placements are baseline's; what the rule would have done is told beside them, and nothing is
    bound."""
    servers = node.servers(3)
    servers[0].set(waiting=50)
    daemon = node.steer(servers)
    node.pintle("mode", "pool", "shadow")
    spread = {}
    for _ in range(150):
        name = node.ask(FRONTEND[family], source(1, family))
        spread[name] = spread.get(name, 0) + 1
    # 50 expected of each; 5 standard deviations are 29
    assert all(21 <= spread.get(s.name, 0) <= 79 for s in servers), spread
    assert node.decisions() == {"random": 150}
    would = {r["outcome"]: r["shadow"] for r in node.cli("stats") if r["shadow"]}
    assert sum(would.values()) == 150 and would["sticky"] > 100, would
    placed = {e["name"]: e["shadow_placed"] for e in node.cli("endpoints")}
    assert sum(placed.values()) == 150 and not placed["s0"], placed
    assert node.cli("pools")[0]["mode"] == "shadow"
    assert "THE RULE WOULD" in node.pintle("stats").stdout
    assert f"in shadow 150: sticky {would['sticky']}" in node.pintle("status").stdout
    assert not node.cli("sessions")
    assert daemon.metric("pintle_shadow_decisions_total", pool="pool", outcome="sticky") == would["sticky"]
    assert daemon.metric("pintle_endpoint_shadow_placements_total", pool="pool", endpoint="s1") == placed["s1"]


@case(each=BOTH)
def test_off_passes(node, family):
    """Mode off leaves the frontend to the kernel: to a listener of its own, or to nobody."""
    node.steer(node.servers(2))
    node.pintle("mode", "pool", "off")
    assert refused(node, FRONTEND[family])
    own = node.server("own", FRONTEND[family])
    assert node.spread(FRONTEND[family], 5) == {"own": 5}
    assert node.decisions() == {"passed": 6}
    node.pintle("mode", "pool", "enforce")
    assert node.spread(FRONTEND[family], 5)["own"] == 0
    own.end()


def test_modes_from_the_file(node):
    """`mode: off` in the configuration is off from the start."""
    node.steer(node.servers(2), mode="off")
    assert refused(node, FRONTEND["v4"])
    node.pintle("mode", "pool", "enforce")
    assert node.ask(FRONTEND["v4"])


def test_others_are_left_alone(node):
    """Another port of the frontend's address, another address, the servers' own: untouched."""
    servers = node.servers(2)
    node.steer(servers)
    other = node.server("other", "10.77.0.1:8100")
    assert node.ask("10.77.0.1:8100") == "other"
    assert refused(node, "10.77.0.1:8200")
    assert refused(node, "127.0.0.1:8000")
    assert node.ask("127.0.0.1:8001") == "s0"
    assert node.ask("[::1]:8002") == "s1"
    assert node.decisions() == {}
    other.end()


@case(each=BOTH)
def test_prefix_frontend(node, family):
    """A frontend may be an address prefix: each of its addresses, and no other."""
    prefix, within, without = {
        "v4": ("10.78.0.0/24:8000", ["10.78.0.1", "10.78.0.255"], "10.78.1.1:8000"),
        "v6": ("[fd78::/64]:8000", ["[fd78::1]", "[fd78::ffff:0:9]"], "[fd78:0:0:1::1]:8000"),
    }[family]
    node.steer(node.servers(1), frontends=[prefix])
    for address in within:
        assert node.ask(f"{address}:8000", source(1, family)) == "s0"
    node.ip("route", "add", "local", without.rsplit(":", 1)[0].strip("[]"), "dev", "lo")
    assert refused(node, without)


def test_two_pools(node):
    """Each frontend has its own pool, sessions and counts."""
    a = node.servers(2)
    b = [node.server(f"t{i}", 8011 + i) for i in range(2)]
    node.daemon(node.config(
        node.pool(a, "a", frontends=["10.77.0.1:8000"]),
        node.pool(b, "b", frontends=["10.77.0.1:8001", "10.77.0.2:8000"]),
    ))
    client = source(1)
    assert node.ask("10.77.0.1:8000", client) in {"s0", "s1"}
    first = node.ask("10.77.0.1:8001", client)
    assert first in {"t0", "t1"}
    assert node.ask("10.77.0.2:8000", client) == first
    assert node.decisions("a") == {"least_loaded": 1}
    assert node.decisions("b") == {"least_loaded": 1, "sticky": 1}


def test_v4_only_listener(node):
    """A listener that cannot take the client's family is not chosen for it."""
    servers = [node.server("s0", "127.0.0.1:8001"), node.server("s1", 8002)]
    servers[1].set(waiting=50)
    node.steer(servers)
    assert node.spread(FRONTEND["v4"], 10) == {"s0": 10}
    assert node.spread(FRONTEND["v6"], 10) == {"s1": 10}


def test_v6_only_listener(node):
    """The same for one that was told to take IPv6 only."""
    servers = [node.server("s0", 8001, v6only=1), node.server("s1", 8002)]
    servers[1].set(waiting=50)
    endpoint = {"name": "s0", "listen": "8001", "metrics": "http://[::1]:8001/metrics"}
    node.steer([endpoint, servers[1]])
    assert node.spread(FRONTEND["v6"], 10) == {"s0": 10}
    assert node.spread(FRONTEND["v4"], 10) == {"s1": 10}


def test_v4_mapped_listener(node):
    """One bound to ::ffff:127.0.0.1 serves IPv4 clients."""
    server = node.server("s0", "[::ffff:127.0.0.1]:8001")
    node.steer([{"name": "s0", "listen": "127.0.0.1:8001"}])
    assert node.ask(FRONTEND["v4"]) == "s0"
    server.end()


@case(each=BOTH)
def test_syn_cookies(node, family):
    """With SYN cookies forced on, the final ACK reaches the listener that the SYN went to."""
    node.add_client()
    node.sysctl("net.ipv4.tcp_syncookies", 2)
    servers = node.servers(4)
    node.steer(servers)
    spread = node.spread(FRONTEND[family], 100, remote=True)
    assert sum(spread.values()) == 100
    again = node.spread(FRONTEND[family], 100, remote=True)
    assert again == spread
    assert sum(node.decisions().values()) == 200
    assert node.decisions()["sticky"] == 100


def test_ties_break_at_random(node):
    """Servers with the same load all get their share."""
    servers = node.servers(3)
    node.steer(servers)
    spread = collections.Counter()
    for number in range(90):
        wait_for(lambda: not any(e["load"] for e in node.cli("endpoints")))
        spread[node.ask(FRONTEND["v4"], source(1 + number))] += 1
    assert all(spread[s.name] >= 10 for s in servers), spread


def test_twelve_servers(node):
    """A pool larger than the sample: the loaded servers are still avoided."""
    servers = node.servers(12)
    for s in servers[:4]:
        s.set(waiting=30)
    node.steer(servers)
    spread = node.spread(FRONTEND["v4"], 60)
    assert sum(spread[s.name] for s in servers[:4]) == 0, spread
    assert len(spread) >= 6, spread
