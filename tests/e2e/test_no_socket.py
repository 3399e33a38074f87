# SPDX-License-Identifier: Apache-2.0
"""decide: request where a firewall or nat of the node keeps what is handed over from its server: no socket becomes of
it, so the hand-off rests by itself, and says so. Where nat stands, pintled knows it before anybody fails."""
import itertools
import json
import shutil
import socket
import struct
import threading
import time

from clients import FRONTEND, source
from harness import case
from kernel import Skip, inside, wait_for
from packets import FLAGS, checksum, segment
from test_handoff import HANDED, REQUEST, handed
from test_hold import ByHand, holds
from test_xdp import becomes, natively

LOOSE = "net.netfilter.nf_conntrack_tcp_loose"
RESTS = "the hand-off rests, because no socket became of what it handed over"
BY_NAT = "the hand-off rests, because nat "
ENDS = "the hand-off no longer rests"

INPUT = "table inet wall {\nchain entry {\ntype filter hook input priority 0;\niif lo accept\n%s\n}\n}\n"
MASQUERADE = "table %s away {\nchain post {\ntype nat hook postrouting priority 100;\n%s saddr %s masquerade\n}\n}\n"
# name: (rules, tcp_loose, what doctor says)
KEEPS = {
    "new without SYN": (INPUT % "tcp flags & (fin|syn|rst|ack) != syn ct state new drop", 1, "table inet wall, chain entry"),
    "established or SYN": (INPUT % "ct state established,related accept\ntcp dport 8000 tcp flags & (fin|syn|rst|ack) == "
                           "syn accept\ntcp dport 8000 drop", 1, "table inet wall, chain entry"),
    "invalid, strictly": (INPUT % "ct state invalid drop", 0, "nf_conntrack_tcp_loose"),
    "new without SYN, refused": (INPUT % "tcp flags & (fin|syn|rst|ack) != syn ct state new reject with tcp reset", 1,
                                 "table inet wall, chain entry"),
    "invalid, strictly refused": (INPUT % "ct state invalid reject with tcp reset", 0, "nf_conntrack_tcp_loose"),
    "all but SYNs": (INPUT % "tcp dport 8000 ct original packets 0-1 tcp flags & (syn|ack) == ack drop", 1, "chain entry"),
}
MASQUERADES = MASQUERADE % ("ip", "ip", "172.17.0.0/16") + MASQUERADE % ("ip6", "ip6", "fd17::/64")

NFTABLES = {
    "masquerade": (MASQUERADES, "table ip away, chain post"),
    "kube-proxy": ("""table ip kube-proxy {
chain services {
ip daddr . meta l4proto . th dport vmap { 10.96.0.1 . tcp . 443 : goto external }
}
chain external {
meta l4proto tcp dnat to 10.77.0.9:6443
}
chain nat-prerouting {
type nat hook prerouting priority dstnat; policy accept;
jump services
}
chain nat-output {
type nat hook output priority -100; policy accept;
jump services
}
}
""", "table ip kube-proxy, chain nat-"),
    "firewalld": ("""table inet firewalld {
chain nat_POSTROUTING {
type nat hook postrouting priority srcnat + 10; policy accept;
oifname "docker0" masquerade
}
chain filter_INPUT {
type filter hook input priority filter + 10; policy accept;
ct state { established, related } accept
ct status dnat accept
iifname "lo" accept
ct state invalid drop
tcp dport 8000 ct state new,untracked accept
icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
meta nfproto ipv6 icmpv6 type echo-request accept
reject with icmpx admin-prohibited
}
}
""", "table inet firewalld, chain nat_POSTROUTING"),
    "nat beside a cache of names": (MASQUERADES + """table ip raw {
chain PREROUTING {
type filter hook prerouting priority raw; policy accept;
ip daddr 169.254.20.10 udp dport 53 notrack
ip daddr 169.254.20.10 tcp dport 53 notrack
meta l4proto udp notrack
}
}
""", "table ip away, chain post"),
}

DOCKER = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""
RAW = """*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -d 169.254.20.10/32 -p udp -m udp --dport 53 -j CT --notrack
-A PREROUTING -d 169.254.20.10/32 -p tcp -m tcp --dport 53 -j CT --notrack
-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
COMMIT
"""

PASSES = {
    "established, then new": "ct state established,related accept\ntcp dport 8000 ct state new accept\ntcp dport 8000 drop",
    "invalid": "ct state invalid drop",
    "each address": "tcp dport 8000 accept\ndrop",
}


def rules(node, text, loose=1):
    node.run("nft", "-f", node.write("rules.nft", text))
    node.sysctl(LOOSE, loose)


def ask(node, number=1, *, family="v4", timeout=3):
    """The server that answers; None: nobody."""
    try:
        with node.connect(FRONTEND[family], source(number, remote=True) if family == "v4" else None, remote=True,
                          timeout=timeout) as c:
            return c.ask(close=True, headers={"X-Session-Id": "a"})
    except OSError:
        return None


def ask_all(node, first=1):
    """What all kinds of clients are answered."""
    return [ask(node, number, family=family) for family in ("v4", "v6") for number in range(first, first + 3)] + [
        node.ask(FRONTEND[family]) for family in ("v4", "v6")]


def rests(daemon):
    return daemon.metric("pintle_pool_handoff_rests", pool="pool") == 1


def resting(node):
    return any(RESTS in w for w in node.cli("status")[0]["warnings"])


@case(each=tuple(KEEPS))
def test_rests(node, which):
    """A request fails, within a second the hand-off rests, and all are served, with IPv4 and IPv6, by their addresses.
    Those that a firewall refuses by a reset do not come again: they are counted when their decisions expire. Without the rule one connection tries, and then all are handed over as before."""
    node.add_client()
    text, loose, told = KEEPS[which]
    daemon = node.steer(node.servers(2), **HANDED)
    rules(node, text, loose)
    began = time.monotonic()
    failed = 0
    while not ask(node):
        failed += 1
        assert time.monotonic() - began < 3
    wait_for(lambda: rests(daemon) or ask(node, 2) and False)
    served = {family: [ask(node, number, family=family) for number in range(2, 6)] for family in ("v4", "v6")}
    assert None not in served["v4"] + served["v6"], served
    assert handed(node)["by_connection"] >= 8
    wait_for(lambda: handed(node).get("no_socket"), 30)
    wait_for(lambda: resting(node) and RESTS in daemon.log())
    doctor = node.pintle("doctor", check=False).stdout
    assert told in doctor, doctor
    node.run("nft", "flush", "ruleset")
    node.sysctl(LOOSE, 1)
    # IPv6 may have had a failure of its own, and then its own connection ends its rest.
    wait_for(lambda: ask(node) and ask(node, family="v6") and not rests(daemon), 20)
    assert not resting(node)
    assert told in daemon.log()
    asked = handed(node)["asked"]
    assert [ask(node, number) for number in range(11, 15)].count(None) == 0
    assert handed(node)["asked"] == asked + 4
    wait_for(lambda: daemon.log().count(ENDS) == 1)
    assert daemon.log().count(RESTS) == 1, daemon.log()


@case(each=("drop", "reject with tcp reset"), timeout=120)
def test_rests_for_a_family(node, what):
    """A firewall keeps what is handed over of IPv4 alone, while IPv6 is served. Clients with an address each are served
    within seconds, by their addresses; IPv6 goes on by requests."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    rules(node, INPUT % f"meta nfproto ipv4 tcp flags & (fin|syn|rst|ack) != syn ct state new {what}")
    clients = itertools.cycle(range(1, 200))

    def v4():
        assert ask(node, family="v6")
        return ask(node, next(clients))

    def asked_by_v6():
        before = handed(node)["asked"]
        return ask(node, family="v6") and handed(node)["asked"] > before

    def warned():
        return ask(node, family="v6") and any("the hand-off rests for IPv4, because no socket became" in w
                                              for w in node.cli("status")[0]["warnings"])

    assert ask(node, family="v6")
    wait_for(v4, 30)
    wait_for(lambda: v4() and asked_by_v6(), 30)
    wait_for(warned, 30)
    assert rests(daemon)
    assert "so the hand-off rests for IPv4: " in node.pintle("doctor", check=False).stdout
    node.run("nft", "flush", "ruleset")
    wait_for(lambda: v4() and not rests(daemon), 30)


@case(each=tuple(PASSES))
def test_works(node, which):
    """Firewalls that let a connection begin in its middle change nothing."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    rules(node, INPUT % PASSES[which])
    assert None not in [ask(node, number) for number in range(1, 7)]
    assert handed(node) == {"asked": 6} and not rests(daemon)


def test_tries_seldom(node):
    """A connection that tries in vain is a client's. While the rule stands, ever fewer try; when it goes, one tries at
    once."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    rules(node, KEEPS["new without SYN"][0])
    failed = 0
    clients = itertools.cycle(range(1, 200))  # connection tracking knows addresses and ports that come again

    def asked_until(done, timeout=20):
        nonlocal failed
        began = time.monotonic()
        while not done():
            failed += ask(node, next(clients)) is None
            assert time.monotonic() - began < timeout

    asked_until(lambda: rests(daemon))
    before, failed = handed(node)["no_socket"], 0
    asked_until(lambda: failed == 2)
    assert handed(node)["no_socket"] == before + 2, (before, handed(node))
    began = time.monotonic()
    node.run("nft", "flush", "ruleset")
    asked_until(lambda: not rests(daemon))
    assert failed == 2 and time.monotonic() - began < 10  # the next rest is of 16 s


UNTRACKED = """table inet untracked {
chain entry {
type filter hook prerouting priority raw;
ip daddr 10.77.0.1 tcp dport 8000 notrack
}
chain exit {
type filter hook output priority raw;
ip saddr 10.77.0.1 tcp sport 8000 notrack
}
}
"""


def test_untracked(node):
    """Beside nat, what connection tracking leaves alone is handed over; the rest ends when the rule comes."""
    node.add_client()
    rules(node, MASQUERADES)
    daemon = node.steer(node.servers(2), **HANDED)
    assert rests(daemon) and None not in ask_all(node)
    rules(node, UNTRACKED)
    wait_for(lambda: not rests(daemon), 10)
    assert [ask(node, number) for number in range(11, 15)].count(None) == 0
    assert handed(node)["asked"] == 4 and not rests(daemon)


def keeps_from_all(node, daemon, told, families=""):
    """From the first connection on all are served, by their addresses, and all say so."""
    assert None not in ask_all(node)
    found = handed(node)
    assert found["by_connection"] == (4 if families else 8) and sum(found.values()) == 8, found
    assert rests(daemon)
    warning = BY_NAT.replace("rests", f"rests{families}")
    wait_for(lambda: warning in daemon.log())
    assert any(warning in w for w in node.cli("status")[0]["warnings"])
    assert told in node.pintle("doctor", check=False).stdout
    assert told in daemon.log()


@case(each=tuple(NFTABLES))
def test_nat_stands(node, which):
    """Where nat would take sockets off, nobody has to fail first. Without it all are handed over."""
    text, told = NFTABLES[which]
    node.add_client()
    rules(node, text)
    daemon = node.steer(node.servers(2), **HANDED)
    keeps_from_all(node, daemon, told, " for IPv4" if which == "kube-proxy" else "")
    node.run("nft", "flush", "ruleset")
    wait_for(lambda: not rests(daemon) and ENDS in daemon.log())
    before = handed(node)["by_connection"]
    assert None not in ask_all(node, 11)
    assert handed(node)["by_connection"] == before and not rests(daemon)
    assert not any("rests" in w for w in node.cli("status")[0]["warnings"])


@case(each=("nft", "legacy", "nft raw"))
def test_docker(node, which):
    """As Docker writes its rules; beside some of raw that leave other packets alone."""
    backend, raw = which.split()[0], "raw" in which
    for family in ("iptables", "ip6tables"):
        if not shutil.which(f"{family}-{backend}-restore"):
            raise Skip(f"{family}-{backend}-restore is missing")
    node.add_client()
    node.run("iptables-%s-restore" % backend, node.write("rules", DOCKER + RAW * raw))
    node.run("ip6tables-%s-restore" % backend, node.write("rules6", "\n".join(
        line for line in DOCKER.splitlines() if "." not in line or "127." in line).replace("127.0.0.0/8", "::1/128") + "\n"))
    daemon = node.steer(node.servers(2), **HANDED)
    keeps_from_all(node, daemon, "table ip nat, chain P" if backend == "nft" else "iptables-legacy")


def test_nat_of_one_family(node):
    """What nat of IPv4 alone does not see is handed over. Each family rests by itself, and ends so."""
    node.add_client()
    rules(node, MASQUERADE % ("ip", "ip", "172.17.0.0/16"))
    daemon = node.steer(node.servers(2), **HANDED)
    assert None not in [ask(node, number, family="v6") for number in range(1, 4)]
    assert handed(node) == {"asked": 3}
    assert ask(node) and handed(node) == {"asked": 3, "by_connection": 1} and rests(daemon)
    wait_for(lambda: BY_NAT.replace("rests", "rests for IPv4") in daemon.log())
    rules(node, MASQUERADE % ("ip6", "ip6", "fd17::/64"))
    wait_for(lambda: BY_NAT in daemon.log())
    node.run("nft", "delete", "table", "ip", "away")
    wait_for(lambda: f"{ENDS} for IPv4: nothing says" in daemon.log())
    assert rests(daemon) and f"{ENDS}: " not in daemon.log()


def test_nat_comes_later(node):
    """Nobody fails whom pintled's next look precedes, though clients on this node are served by the hand-off."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    rules(node, MASQUERADES)
    wait_for(lambda: node.ask(FRONTEND["v4"]) and rests(daemon))
    assert None not in ask_all(node)
    assert "no_socket" not in handed(node)
    wait_for(lambda: BY_NAT in daemon.log())


def test_nat_and_a_client_before_the_look(node):
    """A client that nat resets is the only one."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    daemon.stop()
    rules(node, MASQUERADES)
    assert ask(node) is None
    assert ask(node)
    daemon = node.steer(node.servers(2, first_port=8101), **HANDED)
    assert rests(daemon) and None not in ask_all(node, 2)
    assert handed(node)["no_socket"] == 1


def test_nat_and_xdp(node):
    """XDP answers no SYN either."""
    natively(node)
    rules(node, MASQUERADES)
    daemon = node.daemon(node.config(node.pool(node.servers(2), **HANDED), xdp="native"))
    becomes(node, "native")
    keeps_from_all(node, daemon, "table ip away, chain post")


def test_nat_under_load(node):
    """Whatever becomes of pintled, and of `decide`, no client fails."""
    node.add_client()
    rules(node, MASQUERADES)
    servers = node.servers(2)
    daemon = node.steer(servers, **HANDED)
    failed, count, stop = [], itertools.count(), threading.Event()

    def load(number):
        while not stop.is_set():
            next(count)
            if not ask(node, number, family="v4" if number % 2 else "v6"):
                failed.append(number)

    def served():
        """Waits until some are."""
        before = next(count)
        wait_for(lambda: next(count) > before + 100 or failed)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(1, 5)]
    for t in threads:
        t.start()
    try:
        served()
        daemon.kill()
        served()
        daemon = node.steer(servers, **HANDED)
        served()
        for decide in ("connection", "request"):
            node.pintle("set", "pool", f"decide={decide}")
            served()
        for more in ({}, HANDED):
            daemon.reload(node.config(node.pool(servers, **more)))
            served()
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failed, failed
    assert set(handed(node)) == {"by_connection"} and rests(daemon)


def test_without_a_daemon(node):
    """The programs find it out by themselves, and try again."""
    node.add_client()
    node.steer(node.servers(2), **HANDED).kill()
    rules(node, KEEPS["new without SYN"][0])
    assert ask(node) is None
    assert None not in [ask(node, number) for number in range(1, 5)]
    assert handed(node)["by_connection"] == 4
    node.run("nft", "flush", "ruleset")
    wait_for(lambda: ask(node) and handed(node).get("asked", 0) > 1, 20)


def test_one_client(node):
    """A client whose hand-overs fail while others are served keeps itself from the hand-off, and nobody else. Since
    others are served, four failures are needed."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    frm = source(1, remote=True)
    rules(node, INPUT % f"ip saddr {frm} tcp flags & (fin|syn|rst|ack) != syn ct state new drop")
    with node.connect(FRONTEND["v4"], source(1, remote=True), remote=True) as c:
        c.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Session-Id: a\r\n\r\n")
        wait_for(lambda: ask(node, 2) and handed(node).get("no_socket", 0) >= 4)
    asked = handed(node)["asked"]
    assert not rests(daemon)
    assert ask(node, 1) and ask(node, 1)
    assert handed(node)["by_connection"] == 2
    assert ask(node, 2) and ask(node, 3)
    assert handed(node)["asked"] == asked + 2


def test_the_client_that_failed_tries_last(node):
    """While others come, a client whose hand-overs alone fail is not the one that tries at the end of a rest, however
    many SYNs it sends; so it does not keep the others from the hand-off."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    rules(node, INPUT % f"ip saddr {source(1, remote=True)} tcp flags & (fin|syn|rst|ack) != syn ct state new drop")
    wait_for(lambda: (ask(node, 1), rests(daemon))[1])
    failed = handed(node)["no_socket"]

    def is_over():
        assert None not in [ask(node, 1) for _ in range(10)]
        return ask(node, 2) and not rests(daemon)

    wait_for(is_over, 20)
    assert handed(node)["no_socket"] == failed and handed(node)["asked"] >= 2


SIGNED = bytes([19, 18]) + bytes(16) + b"\x01\x01"


class Spoiled(ByHand):
    """A client whose requests the kernel drops for what they are themselves."""

    def ask(self, node, how):
        packet = segment(self.frm, self.to, FLAGS["ACK"], REQUEST % b"a", self.first, self.acknowledged,
                         SIGNED if how == "signed" else b"")
        if how == "signed":
            self.out.sendto(packet, (self.to[0], 0))
            return
        packet = packet[:2] + struct.pack("!H", len(packet)) + packet[4:]
        packet = packet[:10] + struct.pack("!H", checksum(packet[:20]) ^ 1) + packet[12:]
        link = json.loads(node.run("ip", "-j", "link", "show", "veth0", netns=node.netns).stdout)
        mac = bytes.fromhex(link[0]["address"].replace(":", ""))
        with inside(node.client_netns):
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        with raw:
            raw.sendto(packet, ("veth0", 0x0800, 0, 0, mac))


@case(each=("signed", "damaged header"))
def test_what_no_server_would_get(node, how):
    """Segments that the kernel drops for what they are themselves are not handed over, so nothing rests."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    with Spoiled(node, 5000) as c:
        wait_for(lambda: c.ask(node, how) or holds(node).get("damaged", 0) >= 10)
        assert handed(node) == {} and not rests(daemon)
        if how == "damaged header":
            c.send(0, REQUEST % b"a")
            assert "200 OK" in c.answer()
    assert ask(node, 9)


def test_that_does_not_come_again(node):
    """A client that goes away at once has no second segment that would tell: it is counted all the same."""
    node.add_client()
    daemon = node.steer(node.servers(1), **HANDED)
    rules(node, KEEPS["new without SYN"][0])
    with node.connect(FRONTEND["v4"], remote=True) as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Session-Id: a\r\n\r\n")
    wait_for(lambda: handed(node) == {"asked": 1, "no_socket": 1}, 30)
    assert not rests(daemon)
