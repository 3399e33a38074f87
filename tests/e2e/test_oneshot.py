# SPDX-License-Identifier: Apache-2.0
"""One request per connection: each request of a kept-alive client comes on its own connection."""
import hmac
import http.client
import json
import re
import shutil
import signal
import threading
import time

import packets
import tc
from clients import FRONTEND
from harness import case
from kernel import BUILD, Skip, wait_for
from pods import SERVICE, Cluster, ip_batch

BOTH = ("v4", "v6")
ONE = {"requests": "one-per-connection"}
# Another program's filter, of another kind, at the first priority.
EVERYTHING = ["prio", "1", "protocol", "ip", "u32", "match", "u32", "0", "0"]
KEEP = {"Connection": "keep-alive"}


def filters(node, netns):
    """{device: [directions]} that have one-shot."""
    return tc.attached(node, netns, "pintle_oneshot")


def oneshots(pins, pool="pool"):
    """{what one-shot did: how often}, without the zeros."""
    return {row["oneshot"]: row["segments"] for row in pins.cli("stats")
            if row["pool"] == pool and row["segments"]}


class Client:
    """http.client, keeping its connection as long as the server does. connect: makes a Connection."""

    def __init__(self, connect, headers=None):
        self.connect = connect
        self.headers = KEEP if headers is None else headers
        self.http = None
        self.connections = 0

    def request(self, path="/", body=None):
        if self.http is None or self.http.sock is None:
            self.http = http.client.HTTPConnection("test")
            self.http.sock = self.connect().sock
            self.connections += 1
        # No Accept-Encoding by itself.
        self.http.putrequest("POST" if body else "GET", path, skip_accept_encoding=True)
        for name, value in {**self.headers, **({"Content-Length": len(body)} if body else {})}.items():
            self.http.putheader(name, value)
        self.http.endheaders(body.encode() if body else None)
        return self.http.getresponse()

    def ask(self, path="/", body=None):
        answer = self.request(path, body)
        said = answer.read()
        assert answer.status == 200, (answer.status, said)
        return said.decode()


# -- a pool on this node -------------------------------------------------------------


@case(each=("v4", "v6", "v4 remote", "v6 remote"))
def test_every_request_is_steered(node, where):
    """Ten requests of a client that keeps its connection are ten connections and ten decisions."""
    family, remote = where[:2], "remote" in where
    node.add_client()
    node.steer(node.servers(2), **ONE)
    assert filters(node, node.netns) == {"lo": ["ingress"], "veth0": ["ingress"]}
    client = Client(lambda: node.connect(FRONTEND[family], remote=remote))
    for _ in range(10):
        client.ask()
    assert client.connections == 10
    assert sum(node.decisions().values()) == 10
    assert oneshots(node) == {"rewritten_connection": 10}


@case(each=("as-they-come", "one-per-connection"))
def test_follows_load(node, requests):
    """A kept-alive client leaves a server that fills up, if each of its requests is steered."""
    servers = node.servers(2)
    node.steer(servers, requests=requests, stickiness={"key": "none"})
    client = Client(lambda: node.connect(FRONTEND["v4"]))
    first = client.ask()
    hot = servers[int(first[1])]
    hot.set(waiting=50)
    hot.scraped()
    stayed = requests == "as-they-come"
    assert {client.ask() == first for _ in range(5)} == {stayed}
    assert client.connections == (1 if stayed else 6)
    assert bool(filters(node, node.netns)) != stayed


REQUESTS = [
    # headers, http10, what one-shot does, connections for three requests
    ({"Connection": "keep-alive"}, False, "rewritten_connection", 3),
    ({"connection": "Keep-Alive, TE", "TE": "trailers"}, False, "rewritten_connection", 3),
    ({"User-Agent": "Go-http-client/1.1"}, False, "rewritten_other_header", 3),
    ({"X-Other": "0123456789"}, False, "left_no_room", 1),
    ({"X-Other": "0123456789"}, True, "rewritten_version", 3),
    ({"Connection": "close"}, False, "left_close", 3),
    ({"Connection": "Upgrade", "Upgrade": "websocket"}, False, "left_upgrade", 1),
]


def test_what_is_changed(node):
    """Each way of changing a request, or of leaving it alone, as `pintle stats` and /metrics show it."""
    servers = node.servers(1)
    for http10 in (False, True):
        daemon = node.steer(servers, http10=http10, **ONE)
        for headers, needs, result, connections in REQUESTS:
            if needs != http10:
                continue
            before = oneshots(node).get(result, 0)
            client = Client(lambda: node.connect(FRONTEND["v4"]), headers)
            for _ in range(3):
                client.ask()
            assert client.connections == connections, (headers, client.connections)
            assert oneshots(node)[result] == before + connections
        for result, count in oneshots(node).items():
            assert daemon.metric("pintle_first_segments_total", pool="pool", oneshot=result) == count
        assert daemon.metric("pintle_oneshot_devices") == 1
        daemon.stop()


NAT = """table inet led {
    chain pre {
        type nat hook prerouting priority -100;
        ip daddr 203.0.113.5 tcp dport 80 dnat ip to 10.77.0.1:8000
        ip6 daddr 2001:db8::5 tcp dport 80 dnat ip6 to [fd77::1]:8000
    }
}
"""
LED = {"v4": "203.0.113.5:80", "v6": "[2001:db8::5]:80"}


@case(each=BOTH)
def test_nat_of_this_machine(node, family):
    """One-shot does not see connections that nat of the machine leads to the frontend: each is counted once it is
    established, and status warns. Segments that anybody can forge count nothing."""
    node.add_client()
    for address in ("203.0.113.5/32", "2001:db8::5/128"):
        node.ip("addr", "add", address, "dev", "lo")
    loaded = node.run("nft", "-f", node.write("nat.nft", NAT), check=False)
    if loaded.returncode:
        raise Skip(f"nft: {loaded.stderr.strip()}")
    daemon = node.steer(node.servers(2), **ONE)

    def warned():
        return [w for w in node.pintle("status").stdout.splitlines() if "passed one-shot by" in w]

    def ask(to):
        client = Client(lambda: node.connect(to, remote=True), KEEP)
        for _ in range(4):
            client.ask()
        return client.connections

    assert [ask(FRONTEND[family]) for _ in range(3)] == [4] * 3
    assert oneshots(node) == {"rewritten_connection": 12} and not warned()
    if family == "v4":
        packets.send(node.client_netns, [("10.200.3.3", 2000 + i) for i in range(100)], ("10.77.0.1", 8000), "ACK")
    assert [ask(LED[family]) for _ in range(3)] == [1] * 3
    assert oneshots(node) == {"rewritten_connection": 12, "left_unseen": 3}, oneshots(node)
    assert daemon.metric("pintle_first_segments_total", pool="pool", oneshot="left_unseen") == 3
    assert len(warned()) == 1 and "3 connections" in warned()[0], warned()
    assert [ask(FRONTEND[family]) for _ in range(20)] == [4] * 20
    assert not warned(), warned()


CLIENTS = {
    # headers as libraries send them, what one-shot does, connections for three requests
    "Apache HttpClient 5.4": ({"Accept-Encoding": "gzip, x-gzip, deflate", "Upgrade": "TLS/1.2", "Connection": "Upgrade",
                               "User-Agent": "Apache-HttpClient/5.4.1 (Java/21)"}, "rewritten_connection", 3),
    "TLS 1.3, or h2c": ({"Connection": "keep-alive, Upgrade", "Upgrade": "TLS/1.3, h2c"}, "rewritten_connection", 3),
    "Java HttpClient": ({"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAB"},
                        "rewritten_connection", 3),
    "TLS, or a WebSocket": ({"Connection": "Upgrade", "Upgrade": "TLS/1.2, websocket"}, "left_upgrade", 1),
    "Perl LWP": ({"TE": "deflate,gzip;q=0.3", "Connection": "TE", "User-Agent": "libwww-perl/6.70"},
                 "rewritten_other_header", 3),
    "Ruby Net::HTTP": ({"Accept-Encoding": "gzip;q=1.0,deflate;q=0.6,identity;q=0.3", "User-Agent": "Ruby"},
                       "rewritten_other_header", 3),
    "Mint": ({"user-agent": "mint/1.6.2"}, "rewritten_other_header", 3),
    ".NET HttpClient": ({"Content-Type": "application/json; charset=utf-8"}, "left_no_room", 1),
    ".NET HttpClient with a name": ({"Content-Type": "application/json", "User-Agent": "my-program/1.0"},
                                    "rewritten_other_header", 3),
    "reqwest": ({"accept": "*/*"}, "left_no_room", 1),
    "for a proxy": ({"Proxy-Connection": "Keep-Alive", "Connection": "Keep-Alive"}, "left_malformed", 1),
}


@case(each=("connection", "request"))
def test_headers_of_clients(node, decide):
    """What one-shot and the hand-off make of the headers that libraries send."""
    more = {"decide": decide, "stickiness": {"key": "header/x-session-id, source"}} if decide == "request" else {}
    node.steer(node.servers(2), **ONE, **more)
    for name, (headers, result, connections) in CLIENTS.items():
        before = oneshots(node).get(result, 0)
        client = Client(lambda: node.connect(FRONTEND["v4"]), headers)
        for _ in range(3):
            client.ask("/v1/x", body='{"a":1}')
        assert client.connections == connections, (name, client.connections)
        assert oneshots(node)[result] == before + connections, (name, oneshots(node))


@case(each=("as-they-come", "one-per-connection"))
def test_pipelined(node, requests):
    """Of requests that a client sends without waiting for answers the first is answered: then the
    connection ends, as that request seems to ask for."""
    node.steer(node.servers(1), requests=requests)
    with node.connect(FRONTEND["v4"]) as c:
        c.sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive\r\n\r\n" * 3)
        answered = 0
        try:
            while answered < 3:
                assert c.read() == "s0"
                answered += 1
        except ConnectionError:
            pass  # closed or reset
    assert answered == (3 if requests == "as-they-come" else 1)


def signed(headers):
    """The header of a client that signs its headers, like AWS's signature version 4."""
    names = sorted(name.lower() for name in headers)
    text = "\n".join(f"{name}:{value}" for name, value in sorted((k.lower(), v) for k, v in headers.items()))
    code = hmac.new(b"secret", text.encode(), "sha256").hexdigest()
    return {"Authorization": f"AWS4-HMAC-SHA256 SignedHeaders={';'.join(names)}, Signature={code}"}


def verified(head):
    """Whether the signature in the head that arrived fits the headers that it names."""
    got = dict(re.findall(r"^([\w-]+): *(.*?)\r?$", head.lower(), re.M))
    names, code = re.search(r"signedheaders=(.*?), signature=(\w+)", got["authorization"]).groups()
    if not set(names.split(";")) <= set(got):
        return False
    return code in signed({name: got[name] for name in names.split(";")})["Authorization"]


# headers that are signed, others, spareHeaders, connections for three requests, whether they verify
SIGNED = [
    ({"User-Agent": "sdk/1.2.3 lang/4.5"}, {}, None, 3, False),
    ({"Accept-Encoding": "identity"}, {}, None, 3, False),
    ({"User-Agent": "sdk/1.2.3 lang/4.5"}, KEEP, None, 3, True),
    ({"User-Agent": "sdk/1.2.3 lang/4.5"}, {"Accept-Encoding": "identity"}, "Accept-Encoding", 3, True),
    ({"User-Agent": "sdk/1.2.3 lang/4.5"}, {}, "none", 1, True),
]


def test_signed_requests(node):
    """A signature over a header that one-shot may overwrite is broken; not by a Connection header, nor
    where spareHeaders names others."""
    servers = node.servers(1)
    for headers, others, spare, connections, right in SIGNED:
        daemon = node.steer(servers, **ONE, **({"spareHeaders": spare} if spare else {}))
        client = Client(lambda: node.connect(FRONTEND["v4"]), {**headers, **others, **signed(headers)})
        heads = [client.ask("/head") for _ in range(3)]
        assert [verified(head) for head in heads] == [right] * 3, (headers, others, spare, heads[0])
        assert client.connections == connections, (headers, others, spare)
        daemon.stop()


def test_curl(node):
    """curl, three URLs in one call: three connections, no error."""
    servers = node.servers(1)
    node.steer(servers, **ONE)
    out = node.run("curl", "-sS", "--fail", *[f"http://{FRONTEND['v4']}/{i}" for i in range(3)],
                   "-w", "%{num_connects}\n")
    assert out.stdout == "s01\n" * 3, out.stdout
    assert oneshots(node) == {"rewritten_other_header": 3}


def test_large_bodies(node):
    """A body of many segments behind the headers arrives as it was sent."""
    node.add_client()
    sims = simulators(node, 2, "--max-model-len", 100000, "--num-blocks", 100000)
    node.steer(sims.endpoints, **ONE)
    client = Client(lambda: node.connect(FRONTEND["v4"], remote=True))
    prompt = "word " * 20000
    for _ in range(5):
        said = json.loads(client.ask("/v1/completions", json.dumps(
            {"model": "llama", "prompt": prompt, "max_tokens": 1})))
        assert said["usage"]["prompt_tokens"] >= len(prompt) // 8, said["usage"]
    assert client.connections == 5
    assert oneshots(node) == {"rewritten_connection": 5}


def test_wrk(node):
    """wrk sends no header to spare; with http10 each of its requests has a connection."""
    if not shutil.which("wrk"):
        raise Skip("no wrk")
    servers = node.servers(2)
    node.steer(servers, http10=True, **ONE)
    out = node.run("wrk", "-t1", "-c8", "-d2s", f"http://{FRONTEND['v4']}/").stdout
    done = int(re.search(r"(\d+) requests in", out)[1])
    # Requests under way when wrk stops count only here.
    assert done > 100
    wait_for(lambda: done <= oneshots(node)["rewritten_version"] <= done + 16)
    assert sum(oneshots(node).values()) == oneshots(node)["rewritten_version"]


# -- what goes wrong -------------------------------------------------------------------


class Simulators:
    def __init__(self, node, count, *options):
        self.process = node.popen(
            [BUILD / "pintle-sim", "--port", 8001, "--profile", "tiny", "--count", count, *options],
            log="sim.log")
        self.endpoints = [{"name": f"s{i}", "listen": f"127.0.0.1:{8001 + i}"} for i in range(count)]


def simulators(node, count, *options):
    sims = Simulators(node, count, *options)
    for e in sims.endpoints:
        wait_for(lambda e=e: node.connect(e["listen"]).close() or True, what="the simulator")
    return sims


def test_a_server_that_dies_in_mid_stream(node):
    """HTTP/1.1 framing stays, so that an answer cut short is an error, not an end."""
    sims = simulators(node, 1, "--speed", "0.01")
    node.steer(sims.endpoints, **ONE)
    client = Client(lambda: node.connect(FRONTEND["v4"]))
    answer = client.request("/v1/completions", json.dumps(
        {"model": "llama", "prompt": "hello", "max_tokens": 2000, "stream": True}))
    assert answer.status == 200 and answer.read(10)
    assert oneshots(node) == {"rewritten_connection": 1}
    sims.process.send_signal(signal.SIGKILL)
    try:
        rest = answer.read()
    except (http.client.IncompleteRead, ConnectionError):
        return
    raise AssertionError(f"taken for complete: {rest[-200:]}")


class KeptAlive(threading.Thread):
    """A client that keeps its connection and asks over and over, until stopped."""

    def __init__(self, connect):
        super().__init__(daemon=True)
        self.client = Client(connect)
        self.asked, self.failures, self.stopping = 0, [], False
        self.start()

    def run(self):
        while not self.stopping:
            try:
                self.client.ask()
            except (OSError, http.client.HTTPException) as e:
                self.failures.append(repr(e))
                self.client.http = None
            self.asked += 1
            time.sleep(0.001)

    def stop(self):
        self.stopping = True
        self.join(20)
        assert not self.failures, self.failures[:5]


def test_set_under_load(node):
    """`pintle set` on and off under clients that keep alive: no request fails."""
    servers = node.servers(3)
    node.steer(servers, stickiness={"key": "none"})
    clients = [KeptAlive(lambda: node.connect(FRONTEND["v4"])) for _ in range(6)]

    def go_on(count=20):
        goals = [c.asked + count for c in clients]
        wait_for(lambda: all(c.asked >= g for c, g in zip(clients, goals)), 30)

    go_on()
    assert sum(c.client.connections for c in clients) == 6
    for _ in range(5):
        said = node.pintle("set", "pool", "requests=one-per-connection").stdout
        assert said == ("pool: requests one-per-connection, until it is set again or "
                        "`pintle reset`\n"), said
        assert filters(node, node.netns)
        go_on()
        # Connections from before go on, so nobody need have closed yet; new ones are one each.
        with node.connect(FRONTEND["v4"]) as c:
            c.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            c.read()
            assert not c.sock.recv(1)
        said = node.pintle("set", "pool", "requests=as-they-come").stdout
        assert said == "pool: requests as-they-come, as configured\n", said
        go_on()
        wait_for(lambda: not filters(node, node.netns))
    for c in clients:
        c.stop()


def test_survives_the_daemon(node):
    """One-shot goes on without a daemon, killed or not, and the next daemon takes it over, all
    under load."""
    servers = node.servers(2)
    daemon = node.steer(servers, **ONE)
    clients = [KeptAlive(lambda: node.connect(FRONTEND["v4"])) for _ in range(4)]
    for how in ("kill", "stop", "kill"):
        getattr(daemon, how)()
        assert filters(node, node.netns)
        before = oneshots(node)["rewritten_connection"]
        wait_for(lambda: oneshots(node)["rewritten_connection"] > before + 20)
        daemon = node.steer(servers, **ONE)
        assert len(filters(node, node.netns)["lo"]) == 1
    for c in clients:
        c.stop()
        assert c.client.connections >= c.asked - 1


def test_set_without_a_daemon(node):
    """Without a daemon, `pintle set` says that the program is not attached; the next daemon
    attaches it."""
    servers = node.servers(2)
    daemon = node.steer(servers)
    daemon.stop()
    said = node.pintle("set", "pool", "requests=one-per-connection").stdout
    assert "takes effect when pintled starts" in said, said
    assert not filters(node, node.netns)
    node.steer(servers)
    client = Client(lambda: node.connect(FRONTEND["v4"]))
    for _ in range(3):
        client.ask()
    assert client.connections == 3
    shown, = node.cli("pools")
    assert (shown["requests"], shown["requests_configured"]) == ("one-per-connection", "as-they-come")
    node.pintle("reset")
    wait_for(lambda: not filters(node, node.netns))


WAYS = ("tcx", "clsact")


def way(node, how, device="lo"):
    """Makes one-shot attach in that way: beside the filters that a clsact may have, it is one."""
    if how == "clsact":
        node.run("tc", "qdisc", "add", "dev", device, "clsact")


@case(each=WAYS)
def test_pins_taken_away_by_hand(node, how):
    """A link of tcx goes with its pin; filters whose maps lost their pins are removed by the next daemon."""
    way(node, how)
    servers = node.servers(1)
    daemon = node.steer(servers, **ONE)
    daemon.kill()
    shutil.rmtree(node.bpffs)
    if how == "clsact":
        assert filters(node, node.netns) == {"lo": ["ingress"]}
    daemon = node.steer(servers)
    wait_for(lambda: filters(node, node.netns) == {})
    daemon.stop()
    node.steer(servers, **ONE)
    assert tc.tcx(node.netns, "lo", "ingress") == (["pintle_oneshot"] if how == "tcx" else [])
    assert tc.filters(node, node.netns, "lo", "ingress") == (["pintle_oneshot"] if how == "clsact" else [])
    assert tc.clsacts(node, node.netns) == ({"lo"} if how == "clsact" else set())


def test_a_pin_taken_away(node):
    """While pintled runs it has the link itself, and pins it again; one that somebody detached by
    force is made again."""
    servers = node.servers(1)
    daemon = node.steer(servers, **ONE)
    (pin,) = node.bpffs.glob("v*/tcx_pintle_oneshot_in_*")
    pin.unlink()
    client = Client(lambda: node.connect(FRONTEND["v4"]))
    for _ in range(3):
        client.ask()
    assert client.connections == 3
    node.ip("link", "add", "one", "type", "veth", "peer", "name", "end")  # makes the daemon look
    wait_for(pin.exists)
    tc.take_away(node, "pintle_oneshot", "lo")
    assert "lo" not in filters(node, node.netns)
    node.ip("link", "del", "one")
    wait_for(lambda: filters(node, node.netns) == {"lo": ["ingress"]})
    daemon.kill()
    client.ask()
    assert client.connections == 4
    node.steer(servers, **ONE)
    assert tc.tcx(node.netns, "lo", "ingress") == ["pintle_oneshot"]


def test_no_qdisc_is_touched(node):
    """While the kernel replaces a qdisc, clsact included, what leaves by the device is lost."""
    node.add_client()
    node.steer(node.servers(1))
    for how in 3 * ("one-per-connection", "as-they-come"):
        node.pintle("set", "pool", f"requests={how}")
        there = {} if how == "as-they-come" else {"lo": ["ingress"], "veth0": ["ingress"]}
        wait_for(lambda there=there: filters(node, node.netns) == there)
        assert tc.clsacts(node, node.netns) == set()


def test_before_a_neighbour_in_tcx(node):
    """One-shot comes before a program that keeps packets from all others behind it."""
    node.add_client()
    tc.attach(node.netns, "veth0", "ingress", tc.load_neighbours(node) / "take")
    daemon = node.steer(node.servers(1), **ONE)
    assert tc.tcx(node.netns, "veth0", "ingress") == ["pintle_oneshot", "take"]
    client = Client(lambda: node.connect(FRONTEND["v4"], remote=True))
    for _ in range(3):
        client.ask()
    assert client.connections == 3
    daemon.stop()
    node.detach()
    assert tc.tcx(node.netns, "veth0", "ingress") == ["take"]


@case(each=("running", "killed"))
def test_a_device_that_moves(node, how):
    """Another namespace that is given the device is given no program; a new device that has its index gets one."""
    node.add_client()
    servers = node.servers(1)
    node.ip("link", "add", "mover", "index", "77", "type", "veth", "peer", "name", "end")
    daemon = node.steer(servers, **ONE)
    assert filters(node, node.netns)["mover"] == ["ingress"]
    if how == "killed":
        daemon.kill()
    node.ip("link", "set", "mover", "netns", node.client_netns.name)
    node.ip("link", "add", "other", "index", "77", "type", "veth", "peer", "name", "its-end")
    if how == "killed":
        node.steer(servers, **ONE)
    wait_for(lambda: filters(node, node.netns).get("other") == ["ingress"])
    wait_for(lambda: filters(node, node.client_netns) == {})


def test_a_stranger_by_its_name(node):
    """A map that is pinned by the name of our link is not taken for it."""
    servers = node.servers(1)
    daemon = node.steer(servers, **ONE)
    (pin,) = node.bpffs.glob("v*/tcx_pintle_oneshot_in_1")
    daemon.kill()
    pin.unlink()
    # Where the index of the device is in what the kernel says of a link, that of a map has the number of entries.
    node.run("bpftool", "map", "create", pin, "type", "array", "key", "4", "value", "8", "entries", "1",
             "name", "stranger")
    node.steer(servers, **ONE)
    assert tc.tcx(node.netns, "lo", "ingress") == ["pintle_oneshot"]
    client = Client(lambda: node.connect(FRONTEND["v4"]))
    for _ in range(3):
        client.ask()
    assert client.connections == 3


def test_many_devices(node):
    """More than are attached in one go: all get it, and lose it, while pintled does its other work."""
    ip_batch(node, node.netns, [f"link add a{i} type veth peer name b{i}" for i in range(40)])
    daemon = node.steer(node.servers(1), **ONE)
    wait_for(lambda: daemon.metric("pintle_oneshot_devices") == 81, 30)
    assert len(filters(node, node.netns)) == 81
    node.pintle("set", "pool", "requests=as-they-come")
    wait_for(lambda: not list(node.bpffs.glob("v*/tcx_*")), 30)
    assert filters(node, node.netns) == {}


def test_detach_takes_only_its_own(node):
    """--detach removes Pintle's filters and links; the clsact and filters of others stay as they
    were."""
    node.ip("link", "add", "theirs", "type", "veth", "peer", "name", "empty")
    for device in ("theirs", "empty"):
        node.run("tc", "qdisc", "add", "dev", device, "clsact")
    node.run("tc", "filter", "add", "dev", "theirs", "ingress", *EVERYTHING)
    before = node.run("tc", "-s", "filter", "show", "dev", "theirs", "ingress").stdout
    daemon = node.steer(node.servers(1), **ONE)
    assert set(filters(node, node.netns)) == {"lo", "theirs", "empty"}
    assert tc.filters(node, node.netns, "theirs", "ingress") == tc.filters(node, node.netns, "empty", "ingress")
    assert tc.tcx(node.netns, "theirs", "ingress") == []
    daemon.stop()
    node.detach()
    assert filters(node, node.netns) == {}
    assert node.run("tc", "-s", "filter", "show", "dev", "theirs", "ingress").stdout == before
    assert tc.clsacts(node, node.netns) == {"theirs", "empty"}


def test_the_same_handle(node):
    """Another program's filter that happens to have our handle is not replaced."""
    def shown():
        return node.run("tc", "filter", "show", "dev", "lo", "ingress").stdout

    way(node, "clsact")
    node.steer(node.servers(1), **ONE)
    handle = re.search(r" handle (0x[0-9a-f]+) pintle_oneshot", shown())[1]
    node.pintle("set", "pool", "requests=as-they-come")
    wait_for(lambda: not filters(node, node.netns))
    node.run("tc", "filter", "add", "dev", "lo", "ingress", "prio", "1", "handle", handle, "bpf",
             "bytecode", "1,6 0 0 4294967295")
    node.pintle("set", "pool", "requests=one-per-connection")
    wait_for(lambda: filters(node, node.netns) == {"lo": ["ingress"]})
    assert "bytecode" in shown(), shown()
    node.pintle("set", "pool", "requests=as-they-come")
    wait_for(lambda: not filters(node, node.netns))
    assert "bytecode" in shown() and tc.clsacts(node, node.netns) == {"lo"}


def test_beside_an_ingress_qdisc(node):
    """It has no place for what goes out, but shows what comes in there, too: that is ours to keep."""
    node.add_client()
    node.run("tc", "qdisc", "add", "dev", "veth0", "ingress")

    def there():
        return node.run("tc", "filter", "show", "dev", "veth0", "ingress").stdout.count(" handle ")

    servers = node.servers(1)
    for _ in range(3):
        daemon = node.steer(servers, **ONE)
        assert there() == 1
        assert daemon.metric("pintle_oneshot_devices") == 2
        client = Client(lambda: node.connect(FRONTEND["v4"], remote=True))
        for _ in range(3):
            client.ask()
        assert client.connections == 3
        daemon.stop()
    node.detach()
    assert there() == 0 and tc.clsacts(node, node.netns) == set()
    assert "qdisc ingress" in node.run("tc", "qdisc", "show", "dev", "veth0").stdout


def test_devices_come_and_go(node):
    """A device that is made later gets the program, too; a clsact that somebody adds later is not
    touched."""
    node.steer(node.servers(1), **ONE)
    node.add_client()
    wait_for(lambda: filters(node, node.netns) == {"lo": ["ingress"], "veth0": ["ingress"]})
    client = Client(lambda: node.connect(FRONTEND["v4"], remote=True))
    for _ in range(3):
        client.ask()
    assert client.connections == 3
    node.run("tc", "qdisc", "add", "dev", "veth0", "clsact")
    node.run("tc", "filter", "add", "dev", "veth0", "egress", *EVERYTHING)
    node.pintle("set", "pool", "requests=as-they-come")
    wait_for(lambda: not filters(node, node.netns))
    assert tc.clsacts(node, node.netns) == {"veth0"}


def test_pools_that_leave_it_are_left(node):
    """Only requests of the pools that want it are rewritten."""
    a, b = node.servers(1), [node.server("t0", 8011)]
    node.daemon(node.config(node.pool(a, "a", frontends=["10.77.0.1:8000"], **ONE),
                            node.pool(b, "b", frontends=["10.77.0.1:8001"])))
    for to, connections in (("10.77.0.1:8000", 4), ("10.77.0.1:8001", 1)):
        client = Client(lambda to=to: node.connect(to))
        for _ in range(4):
            client.ask()
        assert client.connections == connections
    assert oneshots(node, "b") == {}


# -- pods --------------------------------------------------------------------------------


@case(each=BOTH)
def test_pods(node, family):
    """Clients and servers in pods: attached to the devices of the servers' pods, and to no other;
    every client of the endpoints is seen, pintled's scrapes keep their connections."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    client = cluster.pod("client")
    daemon = cluster.steer(cluster.pool(pods, family=family, **ONE))
    machine = cluster.machines[0]
    assert filters(node, machine.netns) == {"pod2": ["egress"], "pod3": ["egress"]}
    kept = Client(lambda: client.connect(SERVICE[family]))
    for _ in range(10):
        kept.ask()
    assert kept.connections == 10
    assert sum(cluster.decisions().values()) == 10
    direct = Client(lambda: client.connect(pods[0].address(family)))
    for _ in range(3):
        direct.ask()
    assert direct.connections == 3
    counted = oneshots(cluster)
    assert counted.pop("rewritten_connection") == 13
    # Each scrape's connection began before the program was attached, or was seen and left alone.
    assert set(counted) <= {"left_no_room"} and counted.get("left_no_room", 0) <= 2, counted
    scraped = [p.model.counts().scrapes for p in pods]
    wait_for(lambda: all(p.model.counts().scrapes > n + 10 for p, n in zip(pods, scraped)))
    assert oneshots(cluster).get("left_no_room", 0) <= 2
    daemon.stop()
    cluster.detach()
    assert filters(node, machine.netns) == {} and tc.clsacts(node, machine.netns) == set()


def test_pod_behind_an_ingress_qdisc(node):
    """An ingress qdisc has no place for what leaves by such a device; tcx has."""
    cluster = Cluster(node)
    pods = cluster.servers(2)
    client = cluster.pod("client")
    machine = cluster.machines[0]
    node.run("tc", "qdisc", "add", "dev", "pod2", "ingress", netns=machine.netns)
    cluster.steer(cluster.pool(pods, **ONE))
    assert filters(node, machine.netns) == {"pod2": ["egress"], "pod3": ["egress"]}
    kept = Client(lambda: client.connect(SERVICE["v4"]))
    for _ in range(8):
        kept.ask()
    assert kept.connections == 8


def test_two_machines(node):
    """It acts on the servers' machine; on the clients' the pods of the other are behind a gateway."""
    cluster = Cluster(node, 2)
    pods = cluster.servers(1) + cluster.servers(1, first=1, machine=1)
    client = cluster.pod("client")
    for machine in cluster.machines:
        machine.steer(cluster.pool(pods, **ONE))
    assert [filters(node, m.netns) for m in cluster.machines] == [
        {"pod2": ["egress"]}, {"pod2": ["egress"]}]
    kept = Client(lambda: client.connect(SERVICE["v4"]))
    names = {kept.ask() for _ in range(20)}
    assert kept.connections == 20 and names == {"s0", "s1"}


def test_routes_are_followed(node):
    """The filter goes where the route to the endpoint goes."""
    cluster = Cluster(node)
    pods = cluster.servers(1)
    machine = cluster.machines[0]
    cluster.steer(cluster.pool(pods, **ONE))
    assert filters(node, machine.netns) == {"pod2": ["egress"]}
    machine.batch("link add other type veth peer name end", "link set other up",
                  "link set end up", f"route replace {pods[0].v4} dev other")
    wait_for(lambda: filters(node, machine.netns) == {"other": ["egress"]})
    machine.batch(f"route replace {pods[0].v4} dev pod2")
    wait_for(lambda: filters(node, machine.netns) == {"pod2": ["egress"]})


def test_bridge(node):
    """Pods on a bridge: what goes from one to the other never goes out by the bridge itself."""
    cluster = Cluster(node)
    machine = cluster.machines[0]
    machine.batch("link add br0 type bridge", "link set br0 up", "addr add 10.200.0.1/24 dev br0")
    pods = cluster.servers(1)
    client = cluster.pod("client")
    for i, pod in enumerate((pods[0], client)):
        machine.batch(f"link add port{i} type veth peer name eth1 netns {pod.netns.name}",
                      f"link set port{i} master br0", f"link set port{i} up")
        pod.batch("link set eth1 up", f"addr add 10.200.0.{i + 2}/24 dev eth1")
    cluster.steer(cluster.pool([{"name": "s0", "address": "10.200.0.2:8000"}], **ONE))
    assert filters(node, machine.netns) == {"port0": ["egress"], "port1": ["egress"]}
    kept = Client(lambda: client.connect(SERVICE["v4"]))
    for _ in range(5):
        assert kept.ask() == "s0"
    assert kept.connections == 5
