# SPDX-License-Identifier: Apache-2.0
"""What Pintle says of requests, beside what their servers and clients logged."""
import collections
import json
import random
import socket
import threading
import time

from common import CONN, PAGE, VIP, table
from clients import split
from harness import Node
from kernel import inside, wait_for
from pods import SERVICE, Cluster

HEAD, TOKEN, TOKENS = b"h" * 150, b"t" * 200, 4
PAGES = 9100
A_CONNECTION = 4  # requests of one that is kept alive
PAUSE = 0.1  # s; longer than the kernel delays an acknowledgement

# Bounds of the moment when a request's last byte arrived, and of that when the first token was sent, in ns of
# the clock that the kernel uses. The sockets' events lie within.
Log = collections.namedtuple("Log", "asked arrived sent received")


class Ends:
    """A client and a server in this process, and pintled with a pool of this server."""

    def __init__(self, node, hook):
        self.node, self.owner = node, node
        self.server = self.client = self._socket_of_node
        at, reach, self.frontend = "127.0.0.1:9001", "listen", f"{VIP}:8000"
        if hook == "connect":
            self.owner = Cluster(node).machines[0]
            pod = self.owner.pod("server")
            self.server, self.client = pod.socket, self.owner.pod("client").socket
            at, reach, self.frontend = pod.address(port=9001), "address", SERVICE["v4"]
        self.listener = self.server()
        self.listener.bind(split(at))
        self.listener.listen()
        node.popen([CONN, "serve", PAGES, 1, PAGE], netns=self.owner.netns, log="pages.log")
        pool = node.pool([{"name": "e", reach: at, "metrics": f"http://127.0.0.1:{PAGES}/metrics"}],
                         frontends=[self.frontend])
        if hook == "connect":
            del pool["announce"]
        daemon = self.owner.daemon(self.owner.config(pool))
        wait_for(lambda: daemon.metric("pintle_pool_ready_endpoints", pool="pool") == 1, 20, "the server to be ready")
        self.maps = next(self.owner.bpffs.glob("v*"))

    def _socket_of_node(self):
        with inside(self.node.netns):
            return socket.socket()

    def open(self):
        client = self.client()
        client.connect(split(self.frontend))
        server, _ = self.listener.accept()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, server

    def look(self, name):
        """What a map has of the endpoint."""
        said = self.node.run("bpftool", "-j", "map", "lookup", "pinned", self.maps / name, "key", 0, 0, 0, 0).stdout
        return json.loads(said)["formatted"]["value"]

    def firsts(self):
        if not (self.maps / "firsts").exists():
            return 0, 0
        found = self.look("firsts")
        return found["answers"], found["waited_ns"]


class Server(threading.Thread):
    """Answers one request of `size` bytes: `wait` s later comes the head, `think` s after it the first token."""

    def __init__(self, sock, size, wait, think):
        super().__init__()
        self.sock, self.size, self.wait, self.think = sock, size, wait, think

    def run(self):
        while self.size:
            self.size -= len(self.sock.recv(min(self.size, 1 << 16)))
        self.arrived = time.monotonic_ns()
        time.sleep(self.wait)
        self.sock.sendall(HEAD)
        time.sleep(self.think)
        self.sent = time.monotonic_ns()
        for number in range(TOKENS):
            if number:
                time.sleep(0.025)
            self.sock.sendall(TOKEN)


def request(client, sock, size, wait, think):
    server = Server(sock, size, wait, think)
    server.start()
    asked, got, received = time.monotonic_ns(), 0, 0
    client.sendall(b"q" * size)
    while got < len(HEAD) + TOKENS * len(TOKEN):
        got += len(client.recv(4096))
        if got > len(HEAD) and not received:
            received = time.monotonic_ns()
    server.join()
    return Log(asked, server.arrived, server.sent, received)


def error_ms(log, waited):
    """By how much a time to first token lies beyond what the log leaves open."""
    least, most = log.sent - log.arrived, log.received - log.asked
    return (min(waited - least, 0) + max(waited - most, 0)) / 1e6


def ask(ends, client, sock, chance):
    """(bytes as asked, bytes as Pintle says, error of its first token in ms, or None if it saw none)"""
    size = round(300 * 1000 ** chance.random())
    long = chance.uniform(0.01, 0.3)
    before, firsts = ends.look("works"), ends.firsts()
    log = request(client, sock, size, *((0.002, long) if chance.random() < 0.5 else (long, 0.004)))
    wait_for(lambda: ends.look("works")["requests"] > before["requests"], 20, "a pass that sees the request")
    told = ends.look("works")["request_bytes"] - before["request_bytes"]
    answers, waited = (b - a for a, b in zip(firsts, ends.firsts()))
    return size, told, error_ms(log, waited) if answers == 1 else None


def ask_all(hook, connections):
    """{which requests: [ask()]}"""
    found, chance = collections.defaultdict(list), random.Random(1)
    with Node() as node:
        ends = Ends(node, hook)
        for _ in range(connections):
            client, sock = ends.open()
            with client, sock:
                for number in range(A_CONNECTION):
                    pause = number and chance.choice((0, PAUSE))
                    time.sleep(pause)
                    which = "after a pause" if pause else "at once" if number else "first of a connection"
                    found[which].append(ask(ends, client, sock, chance))
        node.finish()
    return found


def first_token(_, quick):
    rows = []
    for hook in ("lookup", "connect"):
        for which, asked in ask_all(hook, 3 if quick else 40).items():
            errors = sorted(error for _, _, error in asked if error is not None)
            spread = [f"{errors[round(q * (len(errors) - 1))]:+.1f}" for q in (0, 0.05, 0.5, 0.95, 1) if errors]
            rows.append([f"{hook} hook, {which}", len(asked), sum(size == told for size, told, _ in asked), len(errors),
                         sum(abs(error) <= 3 for error in errors), ", ".join(spread)])
    return table("Requests and first tokens against the servers' log",
                 "Requests of 300 bytes to 300 kB, four to a kept-alive connection, some 10 ms (`at once`) or 100 ms "
                 "apart. An answer is a head and four tokens; the first comes after 10 to 300 ms, the head at once "
                 "or 4 ms before it. The passes' bytes and the callbacks' times to first token are compared with the "
                 "log of server and client; an error is outside the log's bounds. Goal: all bytes exact; first "
                 "tokens within 3 ms, at clients each, at servers a connection's first.",
                 ["requests", "asked", "bytes exact", "first tokens seen", "within 3 ms",
                  "error, ms: least, p5, p50, p95, most"], rows)
