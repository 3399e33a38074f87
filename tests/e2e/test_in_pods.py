# SPDX-License-Identifier: Apache-2.0
"""decide: request, with servers in pods of the node that have namespaces of their own: the node's
hand-off gives the connection to a listener in a pod, and the pod's answers come straight from it."""
import hashlib
import json
import os
import resource
import shutil
import socket
import struct
import sys
import time

import tc
from clients import Connection, split
from harness import case
from kernel import HERE, inside, wait_for
from packets import FLAGS, checksum, segment
from pods import SERVICE, Cluster, Pod
from servers import vllm_page
from test_hand_flows import reconciled
from test_handoff import handed as did
from test_handoff import post
from test_xdp import ETHTOOL_SGRO, becomes, ethtool

FAMILIES = ("v4", "v6")


def each_gateway(node, machine, pods):
    """The bridge has its own address of the link layer, and that of each pod's port, as of one of them by default."""
    links = {x["ifname"]: x["address"] for x in json.loads(machine.run("ip", "-j", "link").stdout)}
    for address in ["02:00:00:00:00:01", *(links[f"pod{i + 2}"] for i in range(len(machine.pods)))]:
        machine.batch(f"link set cni0 address {address}")
        for pod in pods:
            node.run("ip", "neigh", "flush", "dev", "eth0", netns=pod.netns)
        yield address


class Hashing:
    """In a pod: a server that says which body it got."""

    def __init__(self, pod):
        page = pod.node.write(f"{pod.name}.page", vllm_page())
        self.process = pod.popen([sys.executable, "-B", HERE / "hashing.py", pod.name, "8000", page],
                                 log=f"{pod.name}.log")
        wait_for(lambda: pod.connect(f"{pod.v4}:8000", timeout=1).close() is None, what=f"{pod.name} listens")


def pool_of(cluster, servers, family="v4", **more):
    pool = cluster.pool(servers, family=family, **{
        "decide": "request", "stickiness": {"key": "header/x-session-id, source"}, **more})
    pool["announce"] = True
    return pool


def handed(node, count=2, *, family="v4", hashing=False, clients=True, bridged=False, in_xdp=False, **more):
    """Pods with servers on the first of two machines, and clients: a pod there, and one on the other."""
    cluster = Cluster(node, 2)
    near, far = cluster.machines
    if in_xdp:
        ethtool(far.netns, "to-n1", ETHTOOL_SGRO, 1)
    if bridged:
        near.bridge()
    servers = [near.pod(f"s{i}") for i in range(count)]
    for pod in servers:
        if hashing:
            Hashing(pod)
        else:
            pod.server()
    far.batch(f"route add {split(SERVICE['v4'])[0]} via 192.168.2.1",
              f"route add {split(SERVICE['v6'])[0]} via fd0a:2::1")
    here = {"pod": near.pod("client"), "remote": far.pod("client")} if clients else {}
    daemon = cluster.steer(pool_of(cluster, servers, family, **more))
    if in_xdp:
        becomes(cluster, "native", "to-n2")
    return cluster, servers, here, daemon


def ask(client, headers, family="v4", frm=None):
    with client.connect(SERVICE[family], frm) as c:
        return c.ask(close=True, headers=headers)


def one_at_each(client):
    """Open connections: one to each of both servers."""
    found = {}
    while len(found) < 2:
        c = client.connect(SERVICE["v4"])
        found.setdefault(c.ask(headers={"X-Session-Id": os.urandom(8).hex()}), c)
    return found


def exchange(client, pieces, family="v4", pause=0.01):
    with client.connect(SERVICE[family]) as c:
        for i, piece in enumerate(pieces):
            if i:
                time.sleep(pause)
            c.sock.sendall(piece)
        got = b""
        while data := c.sock.recv(65536):
            got += data
        return got.decode().rsplit("\r\n", 1)[1].split()


@case(each=FAMILIES)
def test_each_session_keeps_its_server(node, family):
    cluster, _, clients, _ = handed(node, 3, family=family)
    for where, client in clients.items():
        met = {}
        for _ in range(3):
            for session in range(12):
                server = ask(client, {"X-Session-Id": f"s{session}"}, family)
                met.setdefault(session, set()).add(server)
        assert all(len(servers) == 1 for servers in met.values()), (where, met)
        assert len(set.union(*met.values())) > 1, (where, met)
    assert did(cluster) == {"asked": 72}
    assert sum(cluster.decisions().values()) == 72
    wait_for(lambda: not any(e["in_flight"] for e in cluster.cli("endpoints")))


@case(each=("tc", "xdp"))
def test_one_request_per_connection(node, where):
    """Each request of a client that would keep its connection is placed by itself."""
    cluster, _, clients, _ = handed(node, 2, requests="one-per-connection", in_xdp=where == "xdp")
    for client in clients.values():
        for i in range(6):
            with client.connect(SERVICE["v4"]) as c:
                c.ask(headers={"X-Session-Id": f"s{i}", "User-Agent": "sdk/1.2.3 lang/4.5"})
                assert c.sock.recv(1) == b""
    assert did(cluster) == {"asked": 12}


def the_clients_end_behind_the_servers(node, client, then=lambda: None):
    """A client that ends a connection after its server has is not reset: what is left of it in the pod gets its end."""
    node.run("nft", "add table inet t; add chain inet t in { type filter hook input priority 0; }; "
             "add rule inet t in tcp sport 8000 tcp flags & rst == rst counter", netns=client.netns)
    open_ = [client.connect(SERVICE["v4"]) for _ in range(8)]
    for c in open_:
        c.sock.sendall(post(b""))
        while c.sock.recv(65536):  # until the server closes
            pass
    then()
    for c in open_:
        c.close()
    wait_for(lambda: not node.run("ss", "-Htan", "dport = 8000", netns=client.netns).stdout, what="all have ended")
    assert "packets 0 " in node.run("nft", "list", "table", "inet", "t", netns=client.netns).stdout


def test_the_clients_end_in_mode_off(node):
    cluster, _, clients, _ = handed(node, 1, hashing=True)
    the_clients_end_behind_the_servers(node, clients["remote"], lambda: cluster.pintle("set", "pool", "mode=off"))


def bodies_arrive(client, family, sizes, what):
    """Bodies of these sizes, with their headers and behind them, headers in pieces: as they were sent. Returns how many."""
    count = 0
    for size in sizes:
        body = os.urandom(size)
        head = post(body)
        for pieces in ([head + body], [head, body], [head[:30], head[30:] + body]):
            got = exchange(client, [p for p in pieces if p], family)
            assert got[1] == hashlib.sha256(body).hexdigest(), (what, size, len(pieces), got)
            count += 1
    return count


def untagged(node, machine, device):
    """The machine sees none of the tags of VLANs that come by the device; returns the programs."""
    pins = tc.load_neighbours(node)
    machine.run("tc", "qdisc", "add", "dev", device, "clsact")
    machine.run("tc", "filter", "add", "dev", device, "ingress", "pref", "1", "bpf", "da", "object-pinned", pins / "untag")
    return pins


@case(each=FAMILIES, timeout=90)
def test_bodies_arrive(node, family):
    """A pod knows nothing of the node's VLANs, either: its segments come without their tags."""
    cluster, _, clients, _ = handed(node, 2, family=family, hashing=True)
    count = sum(bodies_arrive(client, family, (0, 100, 1399, 5000, 70000, 1000000), where)
                for where, client in clients.items())
    far = cluster.machines[1]
    pins = untagged(node, far, "to-n1")
    clients["remote"].batch("link set eth0 mtu 1400")  # as much as fits with the tags
    for tags in (1, 2, 3):
        far.run("tc", "filter", "add", "dev", "to-n1", "egress", "pref", str(tags), "bpf", "da", "object-pinned",
                pins / "tag")
        count += bodies_arrive(clients["remote"], family, (0, 1000, 70000), f"{tags} tags")
    assert did(cluster) == {"asked": count}


@case(each=FAMILIES, timeout=120)
def test_in_xdp(node, family):
    """Where the device answers handshakes in XDP, too: pods' connections begin, go on and end by TC, also from the port
    of a former one."""
    cluster, servers, clients, _ = handed(node, 2, family=family, hashing=True, in_xdp=True)
    client, to = clients["remote"], SERVICE[family]
    for i in range(8):
        body = os.urandom(4000 * i)
        head = post(body, session=b"%d" % (i % 3))
        s = client.socket(socket.AF_INET if family == "v4" else socket.AF_INET6)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.settimeout(10)
        s.bind((client.address(family).rsplit(":", 1)[0].strip("[]"), 33333))
        with s:
            s.connect(split(to))
            for piece in (head[:30], head[30:] + body) if i % 2 else (head + body,):
                s.sendall(piece)
                time.sleep(0.05)
            got = b""
            while data := s.recv(65536):  # the server closes first
                got += data
        assert got.decode().endswith(hashlib.sha256(body).hexdigest())
        wait_for(lambda: any("TIME-WAIT" in node.run("ss", "-tan", "sport = 8000", netns=p.netns).stdout
                             for p in servers))
        wait_for(lambda: not client.run("ss", "-Htan", "state", "last-ack").stdout)
    assert did(cluster) == {"asked": 8}
    if family == "v4":
        the_clients_end_behind_the_servers(node, client)


def test_loss(node):
    """With segments lost on both sides, and in the pods, every request is answered rightly."""
    _, servers, clients, _ = handed(node, 3, hashing=True)
    for pod, ends in [(clients["remote"], (("output", "dport"), ("input", "sport")))] + \
            [(s, (("input", "dport"), ("output", "sport"))) for s in servers]:
        pod.nft("table inet t {\n" + "".join(
            f"chain {hook} {{\ntype filter hook {hook} priority 0\ntcp {end} 8000 numgen random mod 100 < 2 drop\n}}\n"
            for hook, end in ends) + "}\n")
    met = {}
    for i in range(60):
        session, body = b"s%d" % (i % 6), os.urandom(4000 * (i % 5))
        server, sum_ = exchange(clients["remote"], [post(body, session=session) + body])
        assert sum_ == hashlib.sha256(body).hexdigest()
        met.setdefault(session, set()).add(server)
    assert all(len(servers) == 1 for servers in met.values()), met


@case(each=FAMILIES, timeout=120)
def test_behind_a_bridge(node, family):
    """Servers, and the client of this node, behind the ports of a bridge that is their gateway."""
    cluster, servers, clients, _ = handed(node, 2, family=family, hashing=True, bridged=True)
    met, count = {}, 0
    for _ in each_gateway(node, cluster.machines[0], [*servers, clients["pod"]]):
        for where, client in clients.items():
            for i, size in enumerate((0, 1399, 70000)):
                body = os.urandom(size)
                head = post(body, session=b"%d" % i)
                for pieces in ([head + body], [head[:30], head[30:] + body]):
                    server, sum_ = exchange(client, pieces, family)
                    assert sum_ == hashlib.sha256(body).hexdigest(), (where, size, len(pieces))
                    met.setdefault((where, i), set()).add(server)
                    count += 1
    assert all(len(names) == 1 for names in met.values()), met
    assert did(cluster) == {"asked": count}
    assert sum(cluster.decisions().values()) == count
    wait_for(lambda: not any(e["in_flight"] for e in cluster.cli("endpoints")))


def test_clients_behind_a_bridge(node):
    """Pods behind a bridge are clients of servers on the node."""
    cluster = Cluster(node, 1)
    near, = cluster.machines
    near.bridge()
    clients = [near.pod(f"c{i}") for i in range(2)]
    servers = [near.server(f"s{i}", 8001 + i) for i in range(2)]
    near.steer(node.pool(servers, frontends=list(SERVICE.values()), decide="request",
                         stickiness={"key": "header/x-session-id, source"}))
    met, count = {}, 0
    for _ in each_gateway(node, near, clients):
        for family in FAMILIES:
            for i, client in enumerate(clients):
                for session in range(4):
                    server = ask(client, {"X-Session-Id": str(session)}, family)
                    met.setdefault((family, i, session), set()).add(server)
                    count += 1
                whole = b"GET / HTTP/1.1\r\nHost: a\r\nX-Session-Id: 0\r\nConnection: close\r\n\r\n"
                met[family, i, 0].add(exchange(client, [whole[:20], whole[20:]], family)[-1])
                count += 1
    assert all(len(names) == 1 for names in met.values()), met
    assert did(cluster) == {"asked": count}


@case(timeout=120)
def test_the_same_port_again(node):
    """A connection from the port of one that the server has closed, and whose TIME-WAIT its pod has."""
    cluster, servers, clients, _ = handed(node, 2, hashing=True)
    for where, client in clients.items():
        for i in range(12):
            body = os.urandom(1000 * i)
            s = client.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.settimeout(10)
            s.bind((client.v4, 33333))
            with s:
                s.connect(split(SERVICE["v4"]))
                s.sendall(post(body, session=b"%d" % (i % 4)) + body)
                got = b""
                while data := s.recv(65536):  # the server closes first
                    got += data
            assert got.decode().endswith(hashlib.sha256(body).hexdigest()), (where, i)
            wait_for(lambda: any("TIME-WAIT" in node.run("ss", "-tan", f"sport = 8000 and dst {client.v4}",  # noqa: B023
                                                         netns=p.netns).stdout for p in servers))
    assert did(cluster) == {"asked": 24}, did(cluster)


def test_a_late_request_from_the_same_port_again(node):
    """A client that took the port of a connection that is over, and is quiet for a while: its probes are answered, and
    do not go to the pod of the former connection, which would reset it."""
    cluster, _, clients, _ = handed(node, 2)
    client = clients["remote"]
    for pause in (False, True):
        s = client.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option, value in (("TCP_KEEPIDLE", 1), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 1)):
            s.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        s.settimeout(4)
        s.bind((client.v4, 33333))
        s.connect(split(SERVICE["v4"]))
        with Connection(s) as c:
            if pause:
                try:
                    s.recv(1)  # three unanswered probes would end it
                    assert False, "nothing was to come"
                except TimeoutError:
                    pass
            assert c.ask(headers={"X-Session-Id": "a"})
            c.reset()
    assert did(cluster) == {"asked": 2}


def test_without_the_daemon(node):
    """kill -9: open connections go on, new ones are placed; the next daemon takes over."""
    cluster, servers, clients, daemon = handed(node, 2)
    client = clients["remote"]
    with client.connect(SERVICE["v4"]) as c:
        first = c.ask(headers={"X-Session-Id": "a"})
        daemon.kill()
        assert c.ask() == first
        assert ask(client, {"X-Session-Id": "a"}) == first
        cluster.steer(pool_of(cluster, servers))
        assert c.ask() == first
        assert ask(client, {"X-Session-Id": "a"}) == first
    wait_for(lambda: not any(e["in_flight"] for e in cluster.cli("endpoints")))


def test_a_pod_goes(node):
    """A pod is deleted while connections are open: those of the other go on, and it gets all new ones."""
    cluster, servers, clients, _ = handed(node, 2)
    client = clients["remote"]
    open_ = one_at_each(client)
    gone, stays = servers
    gone.model.process.kill()
    gone.model.process.wait()
    gone.delete()
    wait_for(lambda: cluster.endpoint("s0")["state"] == "down")  # not "stale", which a busy machine sees sooner
    for i in range(8):
        assert ask(client, {"X-Session-Id": str(i)}) == "s1"
    assert open_["s1"].ask() == "s1"
    wait_for(lambda: len(pins_in_pods(cluster)) == 1, what="nothing is left of the pod")


@case(each=("reload", "look"), timeout=120)
def test_the_route_to_a_pod_was_away(node, how):
    """At a reload, or when pintled looked at its pods, and at the next recount. What begins to listen there gets nothing meanwhile; open connections go on.
    When it is back, clients are answered, and later segments find the pod."""
    cluster, servers, clients, daemon = handed(node, 2)
    pod, near, client = servers[0], cluster.machines[0], clients["remote"]
    device = f"pod{pod.v4.rsplit('.', 1)[1]}"
    open_ = one_at_each(client)
    near.batch(f"route del {pod.v4}")
    if how == "reload":
        daemon.reload()
    else:
        servers[1].batch("route flush table local proto 112")  # they are looked for where something is missing
    wait_for(lambda: f"no pod of this node has {pod.v4}" in daemon.log())
    pod.model.order("unlisten")
    pod.model.order("listen")
    assert cluster.endpoint("s0")["listeners"] == 0
    for name, c in open_.items():
        assert ask(client, {"X-Session-Id": os.urandom(8).hex()}) == "s1"
        assert c.ask() == name
    reconciled(cluster)
    near.batch(f"route add {pod.v4} dev {device}")
    # What is not answered for long is asked less often.
    wait_for(lambda: {e["state"] for e in cluster.cli("endpoints")} == {"ready"}, 60)
    for name, c in one_at_each(client).items():
        assert c.ask() == open_[name].ask() == name


def test_the_hand_off_comes_first(node):
    """Where devices are so many that they get the hand-off by turns, a pod gets no connection before its device has
    had its turn: its answers would be dropped."""
    cluster = Cluster(node, 2)
    near = cluster.machines[0]
    near.batch(*(f"link add a{i} type veth peer name b{i}" for i in range(75)))
    servers = [near.pod(f"s{i}") for i in range(2)]
    for pod in servers:
        pod.server()
    cluster.daemon(cluster.config(pool_of(cluster, servers)))
    for i in range(2):
        wait_for(lambda: cluster.endpoint(f"s{i}")["listeners"], 30)  # noqa: B023
        assert "pintle_hand" in tc.tcx(near.netns, f"pod{i + 2}", "ingress")


def test_no_more_descriptors(node):
    """A daemon that can open nothing, for a while: what it cannot look at stays as it was."""
    cluster, (server, _), clients, daemon = handed(node, 2)
    one_at_each(clients["remote"])
    had = {int(fd) for fd in os.listdir(f"/proc/{daemon.pid}/fd")}
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    free = next(i for i in range(len(had) + 1) if i not in had)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    wait_for(lambda: "pods cannot be looked at" in daemon.log())
    one_at_each(clients["remote"])
    assert all(e["listeners"] == 1 for e in cluster.cli("endpoints"))
    assert "no pod of this node" not in daemon.log()
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
    # It looks again.
    routes = inside_of(node, server)[1]
    server.batch("route flush table local proto 112")
    wait_for(lambda: inside_of(node, server)[1] == routes)
    one_at_each(clients["remote"])


def test_a_pod_comes_back(node):
    """A pod's device is deleted while connections are open, and another pod comes with its address, while no daemon
    runs. With the next daemon it is served, and what was open to the former is reset, so that its clients come again:
    from the same port, too."""
    cluster, servers, clients, daemon = handed(node, 2)
    client, near, gone = clients["remote"], cluster.machines[0], servers[0]
    open_ = one_at_each(client)
    port = open_["s0"].sock.getsockname()[1]
    daemon.kill()
    near.batch("link del pod2")  # as a CNI plugin does: what is left in the pod tells nobody of its end
    gone.model.process.kill()
    gone.model.process.wait()
    gone.delete()
    again = Pod(near, "again", 2)
    again.server()
    cluster.steer(pool_of(cluster, [again, servers[1]]))
    assert {ask(client, {"X-Session-Id": str(i)}) for i in range(16)} == {"again", "s1"}
    assert open_["s1"].ask() == "s1"
    try:
        open_["s0"].ask()
        assert False, "its server is gone"
    except ConnectionResetError:
        pass
    open_["s0"].close()
    with client.socket() as s:
        s.settimeout(10)
        s.bind((client.v4, port))
        s.connect(split(SERVICE["v4"]))
        assert Connection(s).ask(close=True, headers={"X-Session-Id": "a"}) in ("again", "s1")


def test_another_pod_with_its_address(node):
    """While the former pod's server still listens: that its listener ends later is not the new one's end."""
    cluster, servers, clients, _ = handed(node, 2)
    near, gone = cluster.machines[0], servers[0]
    gone.model.order("unlisten")
    gone.model.order("listen")  # so that its end is told
    near.batch("link del pod2")
    again = Pod(near, "again", 2)
    again.server()
    wait_for(lambda: ask(clients["remote"], {"X-Session-Id": os.urandom(8).hex()}) == "again", 30)
    assert cluster.endpoint("s0")["listeners"] == 1
    gone.model.process.kill()
    gone.model.process.wait()
    assert cluster.endpoint("s0")["listeners"] == 1
    wait_for(lambda: ask(clients["remote"], {"X-Session-Id": os.urandom(8).hex()}) == "again")


def test_an_endpoint_goes(node):
    """A reload without an endpoint, and the next daemon: its open connections go on, as those of a listener, and with
    the last of them goes what Pintle has made in the pod."""
    cluster, servers, clients, daemon = handed(node, 2)
    client = clients["remote"]
    open_ = one_at_each(client)
    without = pool_of(cluster, servers[:1])
    daemon.reload(cluster.config(without))
    wait_for(lambda: [e["name"] for e in cluster.cli("endpoints")] == ["s0"])
    for _ in range(2):
        time.sleep(3)  # pintled looks at its pods meanwhile
        assert open_["s0"].ask() == "s0" and open_["s1"].ask() == "s1"
        assert {ask(client, {"X-Session-Id": str(i)}) for i in range(8)} == {"s0"}
        daemon.kill()
        daemon = cluster.steer(without)
    assert all(inside_of(node, servers[1]))
    open_["s1"].close()
    wait_for(lambda: not any(inside_of(node, servers[1])))
    assert open_["s0"].ask() == "s0" and all(inside_of(node, servers[0]))
    daemon.reload(cluster.config(pool_of(cluster, servers)))
    wait_for(lambda: {e["state"] for e in cluster.cli("endpoints")} == {"ready"} and all(inside_of(node, servers[1])))
    assert {ask(client, {"X-Session-Id": str(i)}) for i in range(16)} == {"s0", "s1"}


def programs_in(node, pod):
    """Where the hand-off is attached in the pod: its names among the filters, and in tcx."""
    return [[name for name in names if name.startswith("pintle_")]
            for names in (tc.filters(node, pod.netns, "eth0", "ingress"), tc.tcx(pod.netns, "eth0", "ingress"))]


def pins_in_pods(cluster):
    return sorted(cluster.bpffs.glob("v*/tcx_pintle_hand_pod_*"))


def inside_of(node, pod):
    """What Pintle has made in the pod: (programs, routes, arp_announce)."""
    return (sum(programs_in(node, pod), []),
            "".join(node.run("ip", *v, "route", "show", "table", "local", "proto", "112", netns=pod.netns,
                             check=False).stdout for v in ((), ("-6",))),
            int(node.run("cat", "/proc/sys/net/ipv4/conf/eth0/arp_announce", netns=pod.netns).stdout))


@case(each=("alone", "behind a bridge"))
def test_a_pod_asks_for_its_gateway(node, how):
    """Whose address of the link layer it does not know, and which nothing else asks for: by its own address, since the
    node does not answer who asks by the frontend's, which is the node's."""
    _, (server,), clients, daemon = handed(node, 1, bridged=how != "alone")
    daemon.kill()
    server.batch("neigh flush dev eth0")
    assert ask(clients["remote"], {"X-Session-Id": "a"}) == "s0"


def test_a_pods_own_arp_announce(node):
    """What the pod has set itself stays."""
    cluster, servers, _, daemon = handed(node, 2, clients=False)
    for pod in servers:
        assert inside_of(node, pod)[2] == 2
    node.sysctl("net.ipv4.conf.eth0.arp_announce", 1, netns=servers[0].netns)
    for _ in range(2):
        daemon.reload()
        assert [inside_of(node, pod)[2] for pod in servers] == [1, 2]
    daemon.stop()
    cluster.detach()
    assert [inside_of(node, pod)[2] for pod in servers] == [1, 0]


def test_gives_back(node):
    """Mode off: the frontend is the node's own again. A reload without the pool, and --detach, leave nothing
    in the pods."""
    cluster, servers, clients, daemon = handed(node, 2)
    assert ask(clients["remote"], {"X-Session-Id": "a"})
    assert all(all(inside_of(node, p)) for p in servers)
    assert not any(inside_of(node, clients["pod"]))
    cluster.pintle("mode", "pool", "off")
    try:
        ask(clients["remote"], {})
        assert False, "nobody listens at the frontend"
    except ConnectionRefusedError:
        pass
    cluster.machines[0].server("own", 8000)
    assert ask(clients["remote"], {}) == "own"
    cluster.pintle("mode", "pool", "enforce")
    assert ask(clients["remote"], {}) in ("s0", "s1")
    daemon.stop()
    cluster.detach()
    assert not any(any(inside_of(node, p)) for p in servers)


def program_in(pod):
    """The id of the hand-off's program in tcx; None: it is not there."""
    return tc.programs(pod.netns, "eth0", "ingress").get("pintle_hand_pod")


def link_of(node, pin):
    """What the kernel says of a pinned link."""
    # That of Debian 13 prints it, and ends with 255.
    return json.loads(node.run("bpftool", "-j", "link", "show", "pinned", pin, check=False).stdout)


def other_pool(cluster):
    """The hand-off stays where it is on the node, so that the reload changes nothing but the pods."""
    return cluster.config(pool_of(cluster, [{"name": "own", "listen": "127.0.0.1:8001"}], name="other",
                                  to="10.96.0.11:8000"))


def test_no_qdisc_is_touched(node):
    """While the kernel adds or removes a clsact, what leaves by the device is lost. The pool comes and goes without."""
    cluster, (server,), clients, daemon = handed(node, 1)
    with tc.watch(server.netns) as watched:
        for _ in range(3):
            assert programs_in(node, server) == [[], ["pintle_hand_pod"]]
            assert ask(clients["remote"], {"X-Session-Id": "a"}) == "s0"
            daemon.reload(other_pool(cluster))
            wait_for(lambda: not any(inside_of(node, server)) and not pins_in_pods(cluster))
            daemon.reload(cluster.config(pool_of(cluster, [server])))
            wait_for(lambda: all(inside_of(node, server)))
            cluster.all_ready()
        daemon.stop()
        cluster.detach()
        assert not any(inside_of(node, server))
        assert not tc.has_changed(watched)
        assert tc.clsacts(node, server.netns) == set()


def test_the_next_daemon_has_the_link(node):
    """It puts its program into the link that it finds; what else is pinned by such a name is not taken for one."""
    cluster, servers, clients, daemon = handed(node, 2)
    with clients["remote"].connect(SERVICE["v4"]) as c:
        first = c.ask(headers={"X-Session-Id": "a"})
        for how in ("stop", "kill"):
            before = [link_of(node, pin) for pin in pins_in_pods(cluster)]
            getattr(daemon, how)()
            daemon = cluster.steer(pool_of(cluster, servers))
            after = [link_of(node, pin) for pin in pins_in_pods(cluster)]
            assert [x["id"] for x in after] == [x["id"] for x in before]
            assert not {x["prog_id"] for x in after} & {x["prog_id"] for x in before}
            assert c.ask() == first
        daemon.kill()
        pin = pins_in_pods(cluster)[0]
        theirs = [pin, pin.with_name("tcx_pintle_hand_pod_in_abcdef_2"), pin.with_name("tcx_pintle_hand_pod_in_2")]
        pin.unlink()
        for name in theirs:
            node.run("bpftool", "map", "create", name, "type", "array", "key", "4", "value", "4", "entries", "2",
                     "name", "theirs")
        cluster.steer(pool_of(cluster, servers))
        assert all(programs_in(node, s) == [[], ["pintle_hand_pod"]] for s in servers)
        assert len(pins_in_pods(cluster)) == 2 and link_of(node, pin)
        assert c.ask() == first


def test_what_is_taken_away_comes_back(node):
    """A pin that is removed costs nothing. A link that is detached by force, and routes, are made again."""
    cluster, (server,), clients, _ = handed(node, 1)
    program, (pin,) = program_in(server), pins_in_pods(cluster)
    link = link_of(node, pin)["id"]
    with tc.watch(server.netns) as watched:
        for what in ("its pin", "all pins"):
            if what == "all pins":
                shutil.rmtree(cluster.bpffs)
            else:
                pin.unlink()
            while not pin.exists():
                assert program_in(server) == program
                assert ask(clients["remote"], {"X-Session-Id": "a"}) == "s0"
            assert link_of(node, pin)["id"] == link
        node.run("bpftool", "link", "detach", "pinned", pin)
        wait_for(lambda: program_in(server) and pin.exists())
        assert link_of(node, pin)["id"] != link
        routes = inside_of(node, server)[1]
        server.batch("route flush table local proto 112")
        wait_for(lambda: inside_of(node, server)[1] == routes)
        assert ask(clients["remote"], {"X-Session-Id": "a"}) == "s0"
        assert not tc.has_changed(watched)


@case(each=("running", "killed", "detached"))
def test_no_pin_of_a_pod_that_is_gone(node, how):
    """A link keeps neither the pod's namespace, nor its pin when that is gone."""
    cluster, servers, _, daemon = handed(node, 2, clients=False)
    assert len(pins_in_pods(cluster)) == 2
    if how != "running":
        daemon.kill()
    servers[0].model.process.kill()
    servers[0].model.process.wait()
    servers[0].delete()
    wait_for(lambda: "pod2" not in tc.devices(node, cluster.machines[0].netns), what="the namespace is gone")
    if how == "killed":
        cluster.daemon(cluster.config(pool_of(cluster, servers)))
    if how == "detached":
        cluster.detach()
        assert not any(inside_of(node, servers[1])) and not cluster.bpffs.exists()
        return
    wait_for(lambda: len(pins_in_pods(cluster)) == 1)
    assert programs_in(node, servers[1]) == [[], ["pintle_hand_pod"]]


@case(each=("running", "killed"))
def test_a_device_that_moves(node, how):
    """The namespace that is given a pod's device is not given the program, while connections that were to it are open,
    either."""
    cluster, servers, clients, daemon = handed(node, 1)
    elsewhere = cluster.pod("elsewhere")
    elsewhere.batch("link set eth0 name other")
    with clients["remote"].connect(SERVICE["v4"]) as c:
        assert c.ask(headers={"X-Session-Id": "a"}) == "s0"
        if how == "killed":
            daemon.kill()
        servers[0].batch(f"link set eth0 netns {elsewhere.netns.name}")
        if how == "killed":
            assert programs_in(node, elsewhere) == [[], ["pintle_hand_pod"]]
            cluster.daemon(cluster.config(pool_of(cluster, servers)))
        wait_for(lambda: programs_in(node, elsewhere) == [[], []] and not pins_in_pods(cluster))


@case(each=("alone", "beside a link"))
def test_a_filter_of_a_former_pintled(node, how):
    """It stays until the pool goes, or at once where a link is; its clsact goes with it."""
    cluster, (server,), clients, daemon = handed(node, 1)
    (pin,) = pins_in_pods(cluster)
    (flows,) = cluster.bpffs.glob("v*/pod_flows")
    handle = json.loads(node.run("bpftool", "-j", "map", "show", "pinned", flows).stdout)["id"]
    daemon.kill()
    server.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    tc.attach_filter(server.netns, "eth0", program_in(server), handle, "pintle_hand_pod+clsact")
    if how == "alone":
        node.run("bpftool", "link", "detach", "pinned", pin)
        pin.unlink()
    with tc.watch(server.netns) as watched:
        daemon = cluster.steer(pool_of(cluster, [server]))
        wait_for(lambda: tc.has_changed(watched), what="the program is replaced, or the filter removed")
    assert programs_in(node, server) == ([["pintle_hand_pod"], []] if how == "alone" else [[], ["pintle_hand_pod"]])
    assert tc.clsacts(node, server.netns) == ({"eth0"} if how == "alone" else set())
    assert ask(clients["remote"], {"X-Session-Id": "a"}) == "s0"
    daemon.reload(other_pool(cluster))
    wait_for(lambda: not any(inside_of(node, server)))
    assert tc.clsacts(node, server.netns) == set()


def test_beside_a_clsact(node):
    """Where somebody else's filters are, ours is one of them, and leaves their clsact behind."""
    cluster = Cluster(node, 2)
    near, far = cluster.machines
    server = near.pod("s0")
    server.server()
    server.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    far.batch(f"route add {split(SERVICE['v4'])[0]} via 192.168.2.1")
    daemon = cluster.steer(pool_of(cluster, [server]))
    assert programs_in(node, server) == [["pintle_hand_pod"], []]
    assert ask(far.pod("client"), {"X-Session-Id": "a"}) == "s0"
    daemon.stop()
    cluster.detach()
    assert programs_in(node, server) == [[], []]
    assert tc.clsacts(node, server.netns) == {"eth0"}


def test_a_handshake_of_the_kernel_outlives_mode_off(node):
    """What the node's own listener has begun with a SYN cookie in mode off, it gets when the mode is on again."""
    cluster, _, clients, _ = handed(node, 1)
    client = clients["remote"]
    cluster.machines[0].server("own", 8000)
    node.sysctl("net.ipv4.tcp_syncookies", 2, netns=cluster.machines[0].netns)
    cluster.pintle("mode", "pool", "off")
    client.nft("table inet t {\nchain c {\ntype filter hook output priority 0\n"
               "tcp dport 8000 tcp flags & (syn | psh | ack) == ack counter drop\n}\n}\n")
    with client.connect(SERVICE["v4"]) as c:
        wait_for(lambda: "packets 1 " in client.run("nft", "list", "table", "inet", "t").stdout)
        client.nft("delete table inet t\n")
        cluster.pintle("mode", "pool", "enforce")
        assert c.ask(close=True, headers={"X-Session-Id": "a"}) == "own"
    assert ask(client, {"X-Session-Id": "a"}) == "s0"
    assert did(cluster) == {"asked": 1}


def test_this_nodes_own_clients(node):
    """A client in the node's own namespace reaches what listens there, as without Pintle; `check` says so."""
    cluster, servers, _, _ = handed(node, 1, clients=False)
    said = cluster.pintle("check", node.write("c.yaml", cluster.config(pool_of(cluster, servers)))).stdout
    assert "; not of this node's own processes; pintled needs CAP_SYS_ADMIN\n" in said, said
    try:
        cluster.machines[0].ask(SERVICE["v4"])
        assert False, "nobody listens"
    except ConnectionRefusedError:
        pass
    cluster.machines[0].server("own", 8000)
    assert cluster.machines[0].ask(SERVICE["v4"]) == "own"
    assert did(cluster) == {}


def count_segments(pod, match):
    """From now on the pod counts incoming segments that match, and drops them."""
    pod.nft(f"table inet n {{\ncounter c {{ }}\nchain input {{\ntype filter hook input priority -10\n"
            f"{match} counter name c drop\n}}\n}}\n")


def segments(pod):
    out = json.loads(pod.run("nft", "-j", "list", "counter", "inet", "n", "c").stdout)
    return next(x["counter"]["packets"] for x in out["nftables"] if "counter" in x)


def mac_of(pod):
    (link,) = json.loads(pod.run("ip", "-j", "link", "show", "eth0").stdout)
    return bytes.fromhex(link["address"].replace(":", ""))


def frame(link, packet):
    """An Ethernet frame with the packet, whose length and checksum the kernel would have filled in."""
    packet = packet[:2] + struct.pack("!H", len(packet)) + packet[4:]
    packet = packet[:10] + struct.pack("!H", checksum(packet[:20])) + packet[12:]
    return link + bytes(6) + b"\x08\x00" + packet


def strangers_get_nothing(node, cluster, server, client):
    """A pod that listens at the frontend's port, and one that claims an endpoint's address, get nothing."""
    stranger = cluster.pod("stranger")
    stranger.batch(f"addr add {server.v4}/32 dev eth0", f"addr add {split(SERVICE['v4'])[0]}/32 dev eth0")
    stranger.server()
    for i in range(10):
        assert ask(client, {"X-Session-Id": str(i)}) == "s0"
    assert not any(inside_of(node, stranger)[::2])
    server.model.process.kill()
    wait_for(lambda: cluster.endpoint("s0")["state"] != "ready")
    try:
        assert ask(client, {}) is None
    except OSError:
        pass


@case(timeout=120)
def test_other_pods(node):
    cluster, (server,), clients, _ = handed(node, 1)
    a_neighbour(cluster, server, clients["remote"])
    strangers_get_nothing(node, cluster, server, clients["remote"])


def a_neighbour(cluster, server, client):
    """What a neighbour sends straight to a pod, as on a common bridge, is dropped there; and what it sends as
    if it were the server does not come to the client."""
    to = split(SERVICE["v4"])
    neighbour = cluster.pod("neighbour")
    count_segments(client, "tcp flags & rst == rst")
    with client.connect(SERVICE["v4"]) as c:
        assert c.ask(headers={"X-Session-Id": "a"}) == "s0"
        with neighbour.socket(kind=socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as raw:
            mine = c.sock.getsockname()[:2]
            raw.sendto(segment(to, mine, FLAGS["RST"]), (mine[0], 0))
            assert c.ask() == "s0"
            assert segments(client) == 0
            raw.sendto(segment((neighbour.v4, 8000), mine, FLAGS["RST"]), (mine[0], 0))
            wait_for(lambda: segments(client) == 1)
    count_segments(server, "tcp sport 4444")
    with inside(cluster.machines[0].netns):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind(("pod2", 0x0800))  # the server's
        for flags, data in (("SYN", b""), ("ACK", b""), ("ACK", b"GET / HTTP/1.1\r\n\r\n"), ("RST", b"")):
            raw.send(frame(mac_of(server), segment((client.v4, 4444), to, FLAGS[flags], data)))
        assert segments(server) == 0
        raw.send(frame(mac_of(server), segment((client.v4, 4444), (server.v4, 8000), FLAGS["SYN"])))
        wait_for(lambda: segments(server) == 1)
    assert did(cluster) == {"asked": 1}
