# SPDX-License-Identifier: Apache-2.0
"""decide: request where a firewall or nat of the node keeps what is handed over from its server: no socket becomes of
it, so the hand-off rests by itself, and says so."""
import itertools
import json
import shutil
import socket
import struct
import time

from clients import FRONTEND, source
from harness import case
from kernel import Skip, inside, wait_for
from packets import FLAGS, checksum, segment
from test_handoff import HANDED, REQUEST, handed
from test_hold import ByHand, holds

LOOSE = "net.netfilter.nf_conntrack_tcp_loose"
RESTS = "the hand-off rests, because no socket became of what it handed over"
ENDS = "the hand-off no longer rests"

INPUT = "table inet wall {\nchain entry {\ntype filter hook input priority 0;\niif lo accept\n%s\n}\n}\n"
MASQUERADE = "table %s away {\nchain post {\ntype nat hook postrouting priority 100;\n%s saddr %s masquerade\n}\n}\n"
# name: (rules, tcp_loose, what doctor says)
KEEPS = {
    "nat that matches nothing": (MASQUERADE % ("ip", "ip", "172.17.0.0/16") + MASQUERADE % ("ip6", "ip6", "fd17::/64"), 1,
                                 "table ip away, chain post"),
    "new without SYN": (INPUT % "tcp flags & (fin|syn|rst|ack) != syn ct state new drop", 1, "table inet wall, chain entry"),
    "established or SYN": (INPUT % "ct state established,related accept\ntcp dport 8000 tcp flags & (fin|syn|rst|ack) == "
                           "syn accept\ntcp dport 8000 drop", 1, "table inet wall, chain entry"),
    "invalid, strictly": (INPUT % "ct state invalid drop", 0, "nf_conntrack_tcp_loose"),
    "all but SYNs": (INPUT % "tcp dport 8000 ct original packets 0-1 tcp flags & (syn|ack) == ack drop", 1, "chain entry"),
}
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


def rests(daemon):
    return daemon.metric("pintle_pool_handoff_rests", pool="pool") == 1


def resting(node):
    return any(RESTS in w for w in node.cli("status")[0]["warnings"])


@case(each=tuple(KEEPS))
def test_rests(node, which):
    """A request fails, within a second the hand-off rests, and all are served, with IPv4 and IPv6, by their addresses.
    Without the rule one connection tries, and then all are handed over as before."""
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
    counts = handed(node)
    assert counts["no_socket"] >= 1 and counts["by_connection"] >= 8, counts
    wait_for(lambda: resting(node) and RESTS in daemon.log())
    doctor = node.pintle("doctor", check=False).stdout
    assert told in doctor, doctor
    node.run("nft", "flush", "ruleset")
    node.sysctl(LOOSE, 1)
    wait_for(lambda: ask(node) and not rests(daemon), 20)
    assert not resting(node)
    assert told in daemon.log()
    asked = handed(node)["asked"]
    assert [ask(node, number) for number in range(11, 15)].count(None) == 0
    assert handed(node)["asked"] == asked + 4
    wait_for(lambda: daemon.log().count(ENDS) == 1)
    assert daemon.log().count(RESTS) == 1, daemon.log()


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
    """Beside nat, what connection tracking leaves alone is handed over; that is tried when the rule comes."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    rules(node, KEEPS["nat that matches nothing"][0])
    wait_for(lambda: (ask(node), rests(daemon) and RESTS in daemon.log())[1])
    rules(node, UNTRACKED)
    wait_for(lambda: ask(node) and not rests(daemon), 10)
    asked = handed(node)["asked"]
    assert None not in [ask(node, number) for number in range(11, 15)]
    assert handed(node)["asked"] == asked + 4 and not rests(daemon)


def test_iptables_legacy(node):
    """Its table nat does the same, and is told of."""
    if not shutil.which("iptables-legacy"):
        raise Skip("iptables-legacy is missing")
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    node.run("iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "-j", "MASQUERADE")
    wait_for(lambda: (ask(node), rests(daemon) and RESTS in daemon.log())[1])
    assert None not in [ask(node, number) for number in range(1, 7)]
    assert "iptables-legacy" in node.pintle("doctor", check=False).stdout
    assert "nat of iptables-legacy" in daemon.log()


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
    """A client whose hand-overs fail while others are served keeps itself from the hand-off, and nobody else."""
    node.add_client()
    daemon = node.steer(node.servers(2), **HANDED)
    frm = source(1, remote=True)
    rules(node, INPUT % f"ip saddr {frm} tcp flags & (fin|syn|rst|ack) != syn ct state new drop")
    with node.connect(FRONTEND["v4"], source(1, remote=True), remote=True) as c:
        c.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Session-Id: a\r\n\r\n")
        wait_for(lambda: ask(node, 2) and handed(node).get("no_socket", 0) >= 2)
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
        packet = segment(self.frm, self.to, FLAGS["ACK"], REQUEST % b"a", self.FIRST, self.acknowledged,
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
