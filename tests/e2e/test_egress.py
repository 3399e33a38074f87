# SPDX-License-Identifier: Apache-2.0
"""Endpoints without a metrics page, and endpoints by name, as providers are. The connect hook."""
import contextlib
import json
import subprocess
from pathlib import Path

from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster
from test_classes import empty, fill, is_refused


def without_page(cluster, pod, **more):
    return cluster.endpoint_of(pod, metrics="none", **more)


def loads(cluster):
    return {e["name"]: e["load"] for e in cluster.cli("endpoints")}


@case()
def test_no_page(node):
    """An endpoint without a page has the load of its connections, and is ready before it is asked anything. One that
    fails its clients is ejected. All of it goes on without the daemon."""
    cluster = Cluster(node)
    servers = cluster.servers(3)
    # Where requests are followed, a connection that asks for nothing soon weighs nothing.
    daemon = cluster.steer(cluster.pool([without_page(cluster, s) for s in servers], follow=False))
    client = cluster.pod("client")
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(client.connect(SERVICE["v4"]))
        assert set(cluster.in_flight().values()) == {4}, cluster.in_flight()
        wait_for(lambda: set(loads(cluster).values()) == {4.0}, what="loads to be the connections")
        rows = cluster.cli("endpoints")
        assert all(e["running"] is None and e["waiting"] is None and not e["scrape_failed"] for e in rows), rows
    wait_for(lambda: set(loads(cluster).values()) == {0.0}, what="the connections to end")
    asked = [s.model.counts() for s in servers]
    assert not any(c.scrapes for c in asked), asked
    servers[0].model.kill()

    def ejected():
        with contextlib.suppress(OSError):
            client.ask(SERVICE["v4"])
        return cluster.endpoint("s0")["state"] == "ejected"
    wait_for(ejected, what="the dead server to be ejected")
    assert set(client.spread(SERVICE["v4"], 20)) == {"s1", "s2"}
    daemon.kill()
    assert set(client.spread(SERVICE["v4"], 20)) == {"s1", "s2"}


# ---- by name -------------------------------------------------------------------------------------

HOST = "api.provider.test"


class Names:
    """A DNS server on the cluster's first machine."""

    def __init__(self, cluster, **zone):
        self.cluster, self.node = cluster, cluster.node
        self.zone, self.log = self.node.dir / "zone.json", self.node.dir / "dns.log"
        self.say(**zone)
        self.start()

    def start(self):
        self.process = self.cluster.machines[0].popen(
            ["/usr/bin/python3", Path(__file__).with_name("nameserver.py"), "127.0.0.1", self.zone, self.log],
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def say(self, *addresses, host=HOST, **more):
        """From now on the host has these addresses; with none and nothing more, there is no such name."""
        entry = {"A": [a for a in addresses if ":" not in a], "AAAA": [a for a in addresses if ":" in a], **more}
        new = self.zone.with_suffix(".new")
        new.write_text(json.dumps({host: entry} if addresses or more else {}))
        new.rename(self.zone)

    def asked(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


def by_name(name="openai", port=8000, **more):
    return {"name": name, "address": f"{HOST}:{port}", "allowPrefixes": ["10.0.0.0/8"], **more}


def egress(cluster, *pools, names=None, wait=True, **more):
    """pintled with a pool of the host's addresses, and others."""
    pool = cluster.pool([by_name()], "egress", **more)
    daemon = cluster.daemon(cluster.config(pool, *pools, nameservers=["127.0.0.1"]))
    if wait:
        cluster.all_ready()
    return daemon


def addresses(cluster, pool="egress"):
    return {e["address"].rsplit(":", 1)[0] for e in cluster.cli("endpoints") if e["pool"] == pool}


def told(cluster):
    (host,) = cluster.cli("status")[0]["hosts"]
    return host


def has(cluster, *pods):
    return lambda: addresses(cluster) == {p.v4 for p in pods}


@case()
def test_addresses_change(node):
    """Addresses that DNS adds get connections, and those that it takes away get no more, while open connections go on
    and none fails."""
    cluster = Cluster(node)
    s0, s1, s2 = cluster.servers(3)
    names = Names(cluster)
    names.say(s0.v4, ttl=0)
    daemon = egress(cluster)
    client = cluster.pod("client")
    (row,) = cluster.cli("endpoints")
    assert (row["name"], row["address"], row["host"]) == (f"openai@{s0.v4}", f"{s0.v4}:8000", HOST), row
    assert client.ask(SERVICE["v4"]) == "s0"
    with client.connect(SERVICE["v4"]) as kept, client.load(SERVICE["v4"]) as load:
        assert kept.ask() == "s0"
        load.go_on(50)
        names.say(s0.v4, s1.v4, s2.v4, ttl=0)
        wait_for(has(cluster, s0, s1, s2), 20, "the new addresses")
        load.go_on()
        assert set(load.answers) == {"s0", "s1", "s2"}, load.answers
        names.say(s1.v4, s2.v4, ttl=0)
        wait_for(has(cluster, s1, s2), 20, "the old address to go")
        before = load.answers["s0"]
        load.go_on()
        assert load.answers["s0"] <= before + len(load.threads), load.answers
        assert kept.ask() == "s0"
    assert not load.failures, load.failures[:3]
    host = told(cluster)
    assert (host["host"], host["port"], host["addresses"], host["left_out"], host["ttl_seconds"], host["fails"]) == (
        HOST, 8000, 2, 0, 5, False), host
    labels = {"pool": "egress", "endpoint": "openai", "host": HOST}
    assert daemon.metric("pintle_resolve_addresses", **labels) == 2
    assert daemon.metric("pintle_resolve_errors_total", **labels) == 0
    assert daemon.metric("pintle_resolve_age_seconds", **labels) < 30
    # The frontend is an IPv4 address: IPv6 ones would be of no use.
    assert all(line.startswith("udp A ") for line in names.asked()), names.asked()
    why = cluster.cli("explain", "egress")
    assert why["chosen"] in (f"openai@{s1.v4}", f"openai@{s2.v4}"), why
    assert HOST in cluster.pintle("status").stdout
    assert HOST in cluster.pintle("doctor", check=False).stdout


@case()
def test_dns_is_gone(node):
    """Without answers, or with answers that deny the name, connections go where they went: with the daemon, with the
    next one, and without any."""
    cluster = Cluster(node)
    servers = cluster.servers(2)
    names = Names(cluster)
    names.say(*(s.v4 for s in servers), ttl=0)
    daemon = egress(cluster)
    client = cluster.pod("client")
    names.kill()
    wait_for(lambda: told(cluster)["fails"], 20, "pintled to notice")
    assert any(HOST in w for w in cluster.cli("status")[0]["warnings"])
    assert daemon.log().count(f"warn: {HOST}: ") == 1, daemon.log()
    assert set(client.spread(SERVICE["v4"], 30)) == {"s0", "s1"}
    # A request that the last pass has seen counts until it is too old.
    wait_for(lambda: not any(e["load"] for e in cluster.cli("endpoints")), what="a pass without requests")
    daemon.stop()
    assert set(client.spread(SERVICE["v4"], 30)) == {"s0", "s1"}
    with client.load(SERVICE["v4"]) as load:
        load.go_on(20)
        daemon = egress(cluster)
        load.go_on(50)
    assert not load.failures, load.failures[:3]
    assert addresses(cluster) == {s.v4 for s in servers}
    names.say()
    names.start()
    wait_for(lambda: "NXDOMAIN" in (told(cluster)["why"] or ""), 30, "the name to be denied")
    assert set(client.spread(SERVICE["v4"], 30)) == {"s0", "s1"}
    names.say(servers[0].v4, ttl=0)
    wait_for(has(cluster, servers[0]), 30, "a good answer")
    assert not told(cluster)["fails"]
    assert f"{HOST}: DNS answers again" in daemon.log()


MANY = [f"198.60.{i // 250}.{i % 250 + 1}" for i in range(1000)]

# What a name must not lead to: the answer, and the reason.
WRONG = {
    "loopback": (["127.0.0.1"], "is loopback, link-local or multicast"),
    "metadata": (["169.254.169.254"], "is loopback, link-local or multicast"),
    "any": (["0.0.0.0"], "is loopback, link-local or multicast"),
    "multicast": (["224.0.0.1", "255.255.255.255"], "is loopback, link-local or multicast"),
    "azure": (["168.63.129.16"], "is no public address"),
    "private": (["192.168.7.7", "172.16.0.1", "100.100.100.200"], "is no public address"),
    "frontend": (["10.96.0.10"], "is a frontend"),
    "own": (["198.60.9.9"], "is this node's own"),
    "another": (["10.1.0.2"], "is another endpoint's"),
    "v6": (["fe80::1", "::1", "fd00:ec2::254", "64:ff9b::7f00:1", "2002:7f00:1::"],
               "is loopback, link-local or multicast"),
}


@case(each=tuple(WRONG))
def test_wrong_addresses(node, which):
    """A name leads neither to the node itself, nor to a frontend, nor to addresses that no provider has, unless the
    endpoint allows them. Another pool notices nothing."""
    wrong, why = WRONG[which]
    cluster = Cluster(node)
    s0, s1 = cluster.servers(2)
    names = Names(cluster)
    names.say(*wrong, s1.v4, ttl=0)
    cluster.machines[0].batch("addr add 198.60.9.9/32 dev lo")
    family = "v6" if which == "v6" else "v4"
    local = cluster.pool([s0], "local")
    pool = cluster.pool([by_name(port=8000)], "egress", family=family,
                        to="[fd96::11]:8000" if family == "v6" else "10.96.0.10:8001")
    if which == "frontend":
        # The same address and port as the frontend of the other pool.
        pool["frontends"] = ["10.96.0.11:8000"]
    daemon = cluster.daemon(cluster.config(pool, local, nameservers=["127.0.0.1"]))
    wait_for(lambda: told(cluster)["left_out"] == len(wrong), what="the addresses to be left out")
    assert addresses(cluster) == (set() if family == "v6" else {s1.v4}), addresses(cluster)
    assert told(cluster)["why"].endswith(why), told(cluster)
    assert daemon.log().count("left out") == 1, daemon.log()
    assert daemon.metric("pintle_resolve_left_out_addresses", pool="egress", endpoint="openai",
                         host=HOST) == len(wrong)
    assert cluster.pod("client").ask(SERVICE["v4"]) == "s0"


@case(each=("many", "aliases", "nonsense", "silence", "failure"))
def test_strange_answers(node, which):
    """Whatever a DNS server says, pintled takes what is good, at most 32 addresses, and goes on."""
    cluster = Cluster(node)
    s0, s1 = cluster.servers(2)
    names = Names(cluster)
    names.say(s1.v4, ttl=0)
    egress(cluster, cluster.pool([s0], "local", to="10.96.0.11:8000"))
    client = cluster.pod("client")
    answers = {
        "many": {"A": MANY, "ttl": 0},
        "aliases": {"A": [s1.v4], "cname": ["a.cdn.test", "b.cdn.test", HOST, "a.cdn.test"], "ttl": 4000000000},
        "nonsense": {"raw": "81800001ffff00000000" + "c00c" * 200},
        "silence": {"mute": True},
        "failure": {"rcode": 2},
    }
    before = len(names.asked())
    names.say(**answers[which])
    wait_for(lambda: len(names.asked()) > before, 20, "DNS to be asked again")
    if which == "many":
        wait_for(lambda: len(addresses(cluster)) == 32, what="as many addresses as there may be")
        assert addresses(cluster) < set(MANY) and told(cluster)["left_out"] >= 32, told(cluster)
        assert any(line.startswith("tcp A") for line in names.asked())
        names.say(s1.v4, ttl=0)
        wait_for(has(cluster, s1), 20, "the host's address")
    elif which == "aliases":
        assert not told(cluster)["fails"] and told(cluster)["ttl_seconds"] <= 300, told(cluster)
    else:
        wait_for(lambda: told(cluster)["fails"], 30, "the failure to be told")
    assert client.ask(SERVICE["v4"]) == "s1"
    assert client.ask("10.96.0.11:8000") == "s0"


@case()
def test_spills_to_a_provider(node):
    """What a local pool has no place for goes to the provider, and comes back when there is a place again."""
    cluster = Cluster(node)
    own, far = cluster.servers(2)
    names = Names(cluster)
    names.say(far.v4, ttl=0)
    limited = [{"name": "all", "limit": 3, "admission": "spill"}]
    local = cluster.pool([own], "local", classes=limited, fallback=["egress"])
    daemon = egress(cluster, local, frontends=[])
    client = cluster.pod("client")
    assert client.ask(SERVICE["v4"]) == "s0"
    fill(own.model)
    assert client.ask(SERVICE["v4"]) == "s1"
    why = cluster.cli("explain", "local")
    assert (why["pool"], why["chosen"], why["outcome"]) == ("egress", f"openai@{far.v4}", "spilled"), why
    empty(own.model)
    assert client.ask(SERVICE["v4"]) == "s0"
    daemon.kill()
    cluster.pintle("drain", "local/s0")
    assert client.ask(SERVICE["v4"]) == "s1"


@case()
def test_access_and_tenants(node):
    """Who may use the provider, and how much, holds for endpoints by name as for others; and, with `intercept`, for
    clients that ask for the provider's own addresses."""
    cluster = Cluster(node)
    s0, s1 = cluster.servers(2)
    names = Names(cluster)
    names.say(s0.v4, s1.v4, ttl=0)
    daemon = egress(cluster, access={"allow": [{"source": "10.1.0.0/16"}]}, intercept="endpoints",
                    tenants={"by": "namespace", "connections": 2})
    client = cluster.pod("client")
    assert is_refused(lambda: client.ask(SERVICE["v4"]))
    own = client.v4
    assert client.ask(SERVICE["v4"], own) in ("s0", "s1")
    wait_for(lambda: {e["state"] for e in cluster.cli("endpoints")} == {"ready"})
    # By its own resolver the client has the provider's addresses.
    assert {client.ask(s0.address(), own) for _ in range(20)} == {"s0", "s1"}
    assert is_refused(lambda: client.ask(s1.address()))
    wait_for(lambda: not sum(r["in_flight"] for r in cluster.cli("tenants")))
    with client.connect(SERVICE["v4"], own), client.connect(s0.address(), own):
        wait_for(lambda: sum(r["in_flight"] for r in cluster.cli("tenants")) == 2)
        assert is_refused(lambda: client.ask(s1.address(), own))
    daemon.kill()
    assert is_refused(lambda: client.ask(SERVICE["v4"]))


class Tls:
    """A provider behind TLS at each of some pods, and an authority that clients trust."""

    def __init__(self, node):
        self.node, self.ca, self.token = node, node.dir / "ca.pem", node.write("token", "sk-1")
        self.make("ca", "Test CA")

    def make(self, name, subject, *more):
        cert, key = self.node.certificate(name, *more, subject=f"/CN={subject}")
        return str(cert), str(key)

    def start(self, pod, trusted=True):
        signed = ("-CA", self.ca, "-CAkey", self.ca.with_suffix(".key")) if trusted else ()
        cert, key = self.make(pod.name, HOST, "-addext", f"subjectAltName=DNS:{HOST}", *signed)
        pod.popen(["/usr/bin/python3", Path(__file__).with_name("tls_page.py"), json.dumps({
            "address": [pod.v4, 443], "cert": cert, "key": key, "token": str(self.token),
            "log": str(self.node.dir / f"{pod.name}.log")})])
        wait_for(lambda: pod.connect(pod.address(port=443)).close() or True)

    def requests(self, pod):
        path = self.node.dir / f"{pod.name}.log"
        return path.read_text().splitlines() if path.exists() else []

    def curl(self, client, at):
        return client.run("curl", "-sS", "-m5", "-o", "/dev/null", "--cacert", self.ca, "-H", "Authorization: Bearer sk-1",
                          "--resolve", f"{HOST}:443:{at}", f"https://{HOST}/v1/models", check=False).returncode


@case()
def test_tls(node):
    """The client checks the provider's certificate by the name that it asked for, at whichever address. An address that
    a forged answer brings gets a connection, and no request."""
    cluster = Cluster(node)
    good, other, forged = (cluster.pod(name) for name in ("good", "other", "forged"))
    tls = Tls(node)
    tls.start(good)
    tls.start(other)
    tls.start(forged, trusted=False)
    names = Names(cluster)
    names.say(good.v4, other.v4, ttl=0)
    pool = cluster.pool([by_name(port=443)], "egress", to="10.96.0.10:443", scrape={"scheme": "https"})
    cluster.daemon(cluster.config(pool, nameservers=["127.0.0.1"]))
    cluster.all_ready()
    client = cluster.pod("client")
    assert {tls.curl(client, "10.96.0.10") for _ in range(20)} == {0}
    asked = {p.name: tls.requests(p) for p in (good, other)}
    assert all(asked.values()), asked
    assert {line for lines in asked.values() for line in lines} == {f"/v1/models {HOST} Bearer sk-1"}, asked
    names.say(forged.v4, ttl=0)
    wait_for(has(cluster, forged), 20, "the forged address")
    assert tls.curl(client, "10.96.0.10") == 60
    assert not tls.requests(forged)
