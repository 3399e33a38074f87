# SPDX-License-Identifier: Apache-2.0
"""The connect hook: clients in pods, model servers in pods, on this machine or another."""
import signal
import socket

from clients import IPPROTO_MPTCP, Connection, split
from harness import case
from kernel import BUILD, wait_for
from pods import FAMILY, SERVICE, Cluster, mapped, service

# Cases that concern the daemon also run under the sanitizers.
UNDER_SANITIZERS = False

PEER = BUILD / "tests/e2e/peer"
HOWS = ("v4", "v6", "mapped")
BOTH = ("v4", "v6")
MSG_FASTOPEN = 0x20000000
# No scrape happens during a case, so scores do not change.
SELDOM = {"scrape": {"interval": "1h"}, "saturation": {"staleness": "1h"}}


def family_of(how):
    return "v6" if how == "v6" else "v4"


def target(how, services=SERVICE):
    return mapped(services["v4"]) if how == "mapped" else services[how]


def steered(node, how="v4", servers=2, **more):
    """A cluster with one pool, and a client."""
    cluster = Cluster(node)
    pods = cluster.servers(servers)
    client = cluster.pod("client")
    daemon = cluster.steer(cluster.pool(pods, family=family_of(how), **more))
    return cluster, pods, client, daemon


def all_zero(cluster):
    wait_for(lambda: {(e["in_flight"], e["pending"]) for e in cluster.cli("endpoints")} == {(0, 0)})


@case(each=HOWS)
def test_lands_on_a_pod(node, how):
    """A connection to the Service is answered by a pod and counted once, there; the client
    believes that it talks to the Service, the server sees the client's own address."""
    cluster, pods, client, _ = steered(node, how)
    host, port = split(target(how))
    with client.connect(target(how)) as c:
        assert c.sock.getpeername()[:2] == (host, port)
        name = c.ask()
        chosen, = [p for p in pods if p.name == name]
        assert client.in_flight() == {chosen.address(family_of(how)): 1}
        assert cluster.in_flight() == {p.name: int(p is chosen) for p in pods}
        shown = node.run("ss", "-Htn", "sport = :8000", netns=chosen.netns).stdout
        own = client.v6 if how == "v6" else client.v4
        assert own in shown, shown
    all_zero(cluster)
    assert cluster.decisions() == {"least_loaded": 1}
    row = cluster.endpoint(chosen.name)
    assert (row["placed"], row["opened"], row["closed"], row["failed"]) == (1, 1, 1, 0), row


@case(each=HOWS)
def test_not_blocking(node, how):
    """A connect() that does not wait is steered, too."""
    cluster, _, client, _ = steered(node, how)
    s = client.socket(FAMILY[how])
    s.setblocking(False)
    assert s.connect_ex(split(target(how))) in (0, 115)
    s.settimeout(5)
    with Connection(s) as c:
        assert c.ask() in ("s0", "s1")
        assert s.getpeername()[:2] == split(target(how))
    all_zero(cluster)


@case(each=HOWS)
def test_fast_open(node, how):
    """sendto() with MSG_FASTOPEN connects by itself, and is steered."""
    cluster, _, client, _ = steered(node, how)
    client.sysctl("net.ipv4.tcp_fastopen", 1)
    s = client.socket(FAMILY[how])
    with Connection(s) as c:
        s.sendto(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", MSG_FASTOPEN, split(target(how)))
        assert c.read() in ("s0", "s1")
        assert sum(cluster.in_flight().values()) == 1
    all_zero(cluster)
    assert sum(cluster.decisions().values()) == 1


@case(each=HOWS)
def test_udp_is_untouched(node, how):
    """UDP is left alone: no decision is made."""
    cluster, _, client, _ = steered(node, how)
    with client.socket(FAMILY[how], socket.SOCK_DGRAM) as s:
        s.connect(split(target(how)))
        assert s.getpeername()[:2] == split(target(how))
    assert cluster.decisions() == {}


@case(each=BOTH)
def test_mptcp_client(node, family):
    """A client that speaks Multipath TCP is steered and counted."""
    cluster, pods, client, _ = steered(node, family)
    with client.connect(SERVICE[family], protocol=IPPROTO_MPTCP) as c:
        assert c.ask() in ("s0", "s1")
        assert sum(cluster.in_flight().values()) == 1
    all_zero(cluster)


@case(each=BOTH)
def test_other_destinations_pass(node, family):
    """Connections to another port, another address or a server's own address are left alone."""
    cluster, pods, client, _ = steered(node, family)
    assert client.ask(pods[0].address(family)) == "s0"
    for to in (service(10, 8001)[family], service(11)[family]):
        try:
            client.ask(to, timeout=3)
        except OSError:
            continue
        raise AssertionError(f"{to} was answered")
    assert cluster.decisions() == {}
    assert sum(cluster.in_flight().values()) == 0


@case(each=BOTH, san=True)
def test_two_machines(node, family):
    """A pod on one machine reaches pods on both, steered by a pintled on each machine; every
    one counts what its own clients opened."""
    cluster = Cluster(node, 2)
    pods = cluster.servers(1) + cluster.servers(1, first=1, machine=1)
    clients = [m.pod("client") for m in cluster.machines]
    for machine in cluster.machines:
        machine.steer(cluster.pool(pods, family=family))
    held = []
    for i, client in enumerate(clients):
        for _ in range(4 + 2 * i):
            c = client.connect(SERVICE[family])
            held.append((c, c.ask()))
    assert {name for _, name in held} == {"s0", "s1"}, held
    for machine, client, count in zip(cluster.machines, clients, (4, 6)):
        counted = machine.in_flight()
        table = client.in_flight()
        assert sum(counted.values()) == count
        assert {p.name: table[p.address(family)] for p in pods} == counted
    for c, _ in held:
        c.close()
    for machine in cluster.machines:
        all_zero(machine)


@case(each=BOTH)
def test_server_as_a_client(node, family):
    """A pod that connects to the Service it serves may get itself; as a server it still sees its
    clients' own addresses, in accept() and in getpeername()."""
    cluster, pods, _, _ = steered(node, family)
    assert set(pods[0].spread(SERVICE[family], 20)) == {"s0", "s1"}
    all_zero(cluster)
    listener = pods[1].socket(FAMILY[family])
    with listener:
        own = split(pods[1].address(family, 8100))
        listener.bind(own)
        listener.listen()
        with pods[0].connect(pods[1].address(family, 8100)) as c:
            accepted, peer = listener.accept()
            with accepted:
                assert peer == accepted.getpeername() == c.sock.getsockname()


def test_pods_come_and_go(node):
    """A client's pod that is deleted with its connections open takes its counts with it; so does
    one that waited for an answer. Whoever comes next begins at zero."""
    cluster, pods, _, daemon = steered(node)
    pods[1].nft("table inet hole { chain input { type filter hook input priority filter; "
                "tcp dport 8000 ct state new drop; }; }\n")
    for round_ in range(3):
        client = cluster.pod(f"client-{round_}")
        children = [client.popen([PEER, "connect", *split(SERVICE["v4"])]) for _ in range(6)]
        wait_for(lambda: sum(cluster.in_flight().values()) == 6)
        (client.cgroup / "cgroup.kill").write_text("1")
        for child in children:
            child.wait()
        client.delete()
        all_zero(cluster)
    assert daemon.metric("pintle_in_flight_drift_total") == 0


def test_follows_load(node):
    """New clients avoid the server with the long queue."""
    cluster, pods, client, _ = steered(node, servers=3)
    pods[1].model.set(waiting=20)
    pods[1].model.scraped()
    spread = client.spread(SERVICE["v4"], 30)
    assert spread["s1"] == 0 and spread["s0"] and spread["s2"], spread


@case(each=BOTH)
def test_forty_at_once_spread(node, family):
    """Each connection within one scrape interval counts before the next one is placed. pintled stands still meanwhile: it
    tells what it sees of open connections of one endpoint after the other."""
    cluster, pods, client, daemon = steered(node, family, servers=4, **SELDOM)
    daemon.process.send_signal(signal.SIGSTOP)
    held = [client.connect(SERVICE[family]) for _ in range(40)]
    daemon.process.send_signal(signal.SIGCONT)
    found = cluster.in_flight()
    assert found == {p.name: 10 for p in pods}, found
    for c in held:
        c.close()
    all_zero(cluster)


@case(san=True)
def test_beside_the_lookup_hook(node):
    """One pintled with a pool of each hook: each decides its own frontends."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    client = cluster.pod("client")
    local = cluster.machines[0].server("local", 8001)
    lookup = node.pool([local], "lookup", frontends=["10.96.0.77:8000"], announce=True)
    cluster.steer(cluster.pool(pods), lookup)
    assert client.ask(SERVICE["v4"]) in ("s0", "s1")
    assert client.ask("10.96.0.77:8000") == "local"
    assert sum(cluster.decisions("pool").values()) == 1
    assert sum(cluster.decisions("lookup").values()) == 1
    all_zero(cluster)


def curl(whose, address, cgroup):
    """One request by curl of the machine or pod, whose cgroup matters."""
    return whose.run("curl", "-sS", "-m5", f"http://{address}", cgroup=cgroup).stdout.split()[0]


@case(each=BOTH)
def test_intercept(node, how):
    """With `intercept: endpoints` a connection to an endpoint's own address is a decision, too, but not one from
    the node's own namespace, where pintled and a kubelet are, nor one of a client that is spared. Without it such
    connections are counted, and `pintle status` says what helps."""
    cluster = Cluster(node)
    machine = cluster.machines[0]
    pods = cluster.servers(2)
    client, spared = cluster.pod("client"), cluster.pod("spared")
    own = pods[0].address(how)
    pool = cluster.pool(pods, family=how, interceptExcept=["gateway"])
    cluster.steer(pool, clients=[{"name": "gateway", "cgroup": f"/{node.id}/n1/spared"}])
    assert client.spread(own, 10) == {"s0": 10}
    assert curl(machine, own, machine.own) == "s0"
    assert {e["name"]: e["direct_opened"] for e in cluster.cli("endpoints")} == {"s0": 10, "s1": 0}
    assert "10 connections went past pool pool" in cluster.pintle("status").stdout
    assert cluster.decisions() == {}

    cluster.pintle("set", "pool", "intercept=endpoints")
    wait_for(lambda: cluster.cli("pools")[0]["intercepts"])
    assert "went past" not in cluster.pintle("status").stdout
    with client.connect(own) as c:
        assert c.sock.getpeername()[:2] == split(own)
    assert set(client.spread(own, 20)) == {"s0", "s1"}
    decided = sum(cluster.decisions().values())
    assert decided == 21
    for _ in range(8):
        assert curl(machine, own, machine.own) == "s0"
        assert curl(spared, own, spared.cgroup) == "s0"
    assert sum(cluster.decisions().values()) == decided
    assert client.ask(pods[0].address(how)) in ("s0", "s1")
    all_zero(cluster)
    # What no endpoint takes goes where it was to go.
    for p in pods:
        cluster.pintle("drain", p.name)
    assert client.spread(own, 4) == {"s0": 4}
    cluster.pintle("undrain", "s0")
    cluster.pintle("undrain", "s1")
    cluster.pintle("mode", "pool", "off")
    assert client.spread(own, 4) == {"s0": 4}


def test_drain(node):
    """A drained endpoint gets no further connections; open connections go on."""
    cluster, pods, client, _ = steered(node, stickiness={"key": "client"})
    with client.connect(SERVICE["v4"]) as c:
        name = c.ask()
        other = "s1" if name == "s0" else "s0"
        cluster.pintle("drain", name)
        assert client.spread(SERVICE["v4"], 10) == {other: 10}
        assert c.ask() == name
    cluster.pintle("undrain", name)
    all_zero(cluster)


@case(each=("FailOpen", "FailClose"))
def test_no_endpoint(node, mode):
    """Without a ready endpoint, FailOpen lets the connection go on to the Service, and FailClose
    refuses it."""
    cluster, pods, client, _ = steered(node, failureMode=mode)
    for p in pods:
        cluster.pintle("drain", p.name)
    try:
        client.ask(SERVICE["v4"], timeout=5)
    except ConnectionRefusedError:
        assert mode == "FailClose"
    except OSError:
        assert mode == "FailOpen"
    else:
        raise AssertionError("somebody answered")
    assert cluster.decisions() == {"no_endpoint": 1}
    all_zero(cluster)


@case(san=True)
def test_not_before_its_first_page(node):
    """An endpoint without a successful scrape is not chosen."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    pods[1].model.be(ready=False)
    client = cluster.pod("client")
    cluster.daemon(cluster.config(cluster.pool(pods)))
    for p in pods:
        p.model.scraped()
    assert client.spread(SERVICE["v4"], 20) == {"s0": 20}
    pods[1].model.be(ready=True)
    cluster.all_ready()
    pods[0].model.set(waiting=50)
    pods[0].model.scraped()
    assert client.ask(SERVICE["v4"]) == "s1"


def test_prefix(node):
    """Each address of a frontend prefix is a frontend."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    client = cluster.pod("client")
    cluster.steer(cluster.pool(pods, family="v6", to="[fd96:0:0:1::/64]:8000"))
    for i in (1, 0xffff, 1 << 60):
        host = str(socket.inet_ntop(socket.AF_INET6, ((0xfd96 << 112) + (1 << 64) + i).to_bytes(16, "big")))
        with client.connect(f"[{host}]:8000") as c:
            assert c.ask() in ("s0", "s1")
            assert c.sock.getpeername()[0] == host
    all_zero(cluster)
