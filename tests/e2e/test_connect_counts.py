# SPDX-License-Identifier: Apache-2.0
"""Clients' connections at the connect hook: counts against the socket tables, whatever happens."""
import collections
import os
import subprocess
import time

from clients import split
from harness import case
from kernel import BUILD, wait_for
from pods import Cluster, Rival, service

PEER, MIXTURE = BUILD / "tests/e2e/peer", BUILD / "tests/e2e/mixture"
# About 20 seconds; PINTLE_MIXTURE=2000000 is a soak test.
ATTEMPTS = int(os.environ.get("PINTLE_MIXTURE", "200000"))

# name: kind and weight in the mixture, ports of its endpoints (None: an address without a route)
TARGETS = {
    "good": ("plain", 12, (9000, 9001, 9002)),
    "refused": ("plain", 3, (9100,)),
    "hole": ("hole", 1, (9101,)),
    "noroute": ("plain", 2, None),
    "fastopen": ("fastopen", 2, (9003,)),
    "deferred": ("deferred", 1, (9004,)),
    "multipath": ("multipath", 1, (9005,)),
    "fixed": ("fixed", 1, (9006,)),
    "denied": ("plain", 1, (9007,)),
    "overruled": ("plain", 1, (9008,)),
}
LISTENING = [port for name in TARGETS for port in TARGETS[name][2] or () if port < 9100]
DROP = "table inet peer { chain input { type filter hook input priority filter; tcp dport 9101 drop; }; }\n"


class Storm:
    """The world of the mixture: a Service for each target, of which every endpoint is known by an
    address and port that no other has, so that the socket table tells them apart."""

    def __init__(self, node, clients=2, rude=False):
        self.node = node
        self.cluster = Cluster(node)
        self.rival = Rival(node)
        if rude:  # turns our callbacks off; our program runs after it, and turns them on again
            self.rival.attach(self.cluster.cgroup, "rude")
        self.peer, pages, self.denied, self.overruled, self.aside = (
            self.cluster.pod(n) for n in ("peer", "pages", "denied", "overruled", "aside"))
        self.clients = [self.cluster.pod(f"client{i}") for i in range(clients)]
        pages.server()
        self.peer.sysctl("net.ipv4.tcp_fastopen", 2)
        self.server = self.peer.popen([PEER, "serve", *LISTENING], log="peer.log")
        self.aside.popen([PEER, "serve", 9008], log="aside.log")
        self.peer.nft(DROP)
        for client in self.clients:
            client.batch("route add unreachable 10.97.0.0/24", "route add unreachable fd97::/64")
            for name, value in {"tcp_fastopen": 1, "tcp_fastopen_blackhole_timeout_sec": 0, "tcp_syn_retries": 1,
                                "tcp_tw_reuse": 1, "ip_local_port_range": "10000 64000"}.items():
                client.sysctl(f"net.ipv4.{name}", value)
        self.page = f"http://{pages.address()}/metrics"
        self.places = {}
        pools = []
        for number, (name, (_, _, ports)) in enumerate(TARGETS.items()):
            for family in ("v4", "v6"):
                endpoints = {f"{name}-{family}-{i}": self.place(name, family, port)
                             for i, port in enumerate(ports or (9000,))}
                self.places.update(endpoints)
                pools.append(self.cluster.pool(
                    [{"name": n, "address": a, "metrics": self.page} for n, a in endpoints.items()],
                    f"{name}-{family}", to=service(20 + number)[family], ejection={"failures": 0},
                    scrape={"interval": "1s"}))
        self.config = self.cluster.config(*pools)
        self.daemon = self.cluster.daemon(self.config)
        self.cluster.all_ready()
        self.storms = []

    def place(self, name, family, port):
        if name == "noroute":
            return "10.97.0.1:9000" if family == "v4" else "[fd97::1]:9000"
        return {"denied": self.denied, "overruled": self.overruled}.get(name, self.peer).address(family, port)

    def restart(self):
        """Kills the daemon with SIGKILL, and starts another: programs are updated, maps stay."""
        self.daemon.kill()
        self.daemon = self.cluster.daemon(self.config)

    def overrule(self):
        """Attaches a program after ours, which denies one target and sends another one elsewhere."""
        for family in ("v4", "v6"):
            def host(pod):
                return split(pod.address(family))[0]
            self.rival.move(host(self.denied), None)
            self.rival.move(host(self.overruled), host(self.aside))
        self.rival.attach(self.cluster.cgroup, "rival4", "rival6")

    def start(self, attempts):
        for i, client in enumerate(self.clients):
            targets = [f"{name},{kind},{weight},{split(service(20 + number)['v4'])[0]},"
                       f"{split(service(20 + number)['v6'])[0]},8000"
                       for number, (name, (kind, weight, _)) in enumerate(TARGETS.items())]
            self.storms.append(client.popen(
                [MIXTURE, attempts // len(self.clients), i + 1, client.cgroup, *targets],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def order(self, word):
        for storm in self.storms:
            storm.stdin.write(word + "\n")
            storm.stdin.flush()

    def pause(self):
        """Pauses the clients. Returns ({target: placed and not opened}, attempts, ended)."""
        self.order("pause")
        waiting, ended = {}, True
        for storm in self.storms:
            word, *fields = storm.stdout.readline().split()
            ended = ended and word == "ended"
            for field in fields:
                name, count = field.split("=")
                waiting[name] = waiting.get(name, 0) + int(count)
        return waiting, waiting.pop("attempts"), ended

    def tables(self, orphans=False):
        return sum((c.in_flight(orphans=orphans) for c in self.clients), collections.Counter())

    def compare(self, waiting, pending_too=True):
        """At each endpoint: in flight = what the socket tables say; in each pool: pending = what
        the clients know of."""
        def agree():
            rows = self.cluster.cli("endpoints")
            owned, every = self.tables(), self.tables(orphans=True)
            counted, table, pending = (collections.Counter() for _ in range(3))
            for e in rows:
                pool, address = e["pool"].split("-")[0], self.places[e["name"]]
                name = pool if pool == "deferred" else e["name"]
                counted[name] += e["in_flight"]
                pending[pool] += e["pending"]
                # Of an MPTCP socket the subflow is counted, which outlives it as an orphan; what
                # another program sends elsewhere is not ours.
                table[name] += {"multipath": every[address], "overruled": 0}.get(pool, owned[address])
            # A deferred socket is in SYN_SENT already.
            table["deferred"] -= waiting["deferred"]
            wrong = {n: (counted[n], table[n]) for n in counted if counted[n] != table[n]}
            assert not wrong, f"counted, in the tables: {wrong}"
            assert pending == waiting or not pending_too, (pending, waiting)
            return True

        wait_for(agree, 30)

    def end(self):
        self.order("quit")
        for storm in self.storms:
            assert storm.wait(20) == 0
        self.storms = []
        # With it end MPTCP's subflows that wait for its word.
        self.server.kill()

        def nothing_left():
            left = {e["name"]: (e["in_flight"], e["pending"]) for e in self.cluster.cli("endpoints")
                    if e["in_flight"] or e["pending"]}
            assert not left, (left, self.tables(orphans=True))
            return True

        wait_for(nothing_left, 40)

    def drift(self):
        return self.daemon.metric("pintle_in_flight_drift_total")


def until_it_ends(storm, meanwhile, work=0.3):
    """Lets the clients work, while the case does something, and compares at pauses."""
    pauses, ended = 0, False
    while not ended:
        meanwhile(pauses)
        time.sleep(work)
        waiting, attempts, ended = storm.pause()
        storm.compare(waiting)
        pauses += 1
        print(f"pause {pauses}: {attempts} attempts, {sum(storm.tables().values())} sockets")
        storm.order("go")
    return pauses


@case(timeout=300 + ATTEMPTS // 1000, san=False, alone=True)
def test_mixture(node):
    """Every beginning and end at random, from two pods, beside programs that overrule us and take
    our callbacks away, while the daemon is killed and started again and sockets are destroyed: at pauses, and at the end, the
    counts equal the socket tables, and no drift is ever found."""
    storm = Storm(node, rude=True)
    storm.overrule()
    storm.start(ATTEMPTS)

    def meanwhile(number):
        if number % 3 == 1:
            storm.restart()
        if number % 3 == 2:
            for client in storm.clients:
                node.run("ss", "-K", "dport", "=", "9000", "sport", "<", ":37000", netns=client.netns)

    pauses = until_it_ends(storm, meanwhile)
    assert pauses >= 3 and ATTEMPTS / pauses < 50_000, pauses
    storm.end()
    assert storm.drift() == 0
    rewritten, denied, replaced = storm.rival.seen()
    assert min(rewritten, denied, replaced) > 0
    rows = storm.cluster.cli("endpoints")
    assert sum(e["opened"] for e in rows) == sum(e["closed"] for e in rows) > ATTEMPTS / 2
    for name in TARGETS:
        assert sum(e["placed"] for e in rows if e["pool"].startswith(name)) > 0, name


@case(timeout=120, san=False, alone=True, each=("under load", "in quiet"))
def test_links_away_and_back(node, how):
    """The programs are gone for a while, under load: what they missed is found and put right,
    while the load goes on or once it has paused."""
    storm = Storm(node)
    storm.start(1_000_000)
    time.sleep(0.5)
    storm.daemon.kill()
    for link in storm.cluster.bpffs.glob("v*/link_*"):
        link.unlink()
    time.sleep(0.1)
    if how == "in quiet":
        storm.pause()
    storm.daemon = storm.cluster.daemon(storm.config)
    wait_for(lambda: storm.drift() > 0, 20)
    waiting, _, _ = storm.pause()
    # Clients cannot know which of their attempts meanwhile were placed.
    storm.compare(waiting, pending_too=False)
    storm.order("go")
    storm.end()
