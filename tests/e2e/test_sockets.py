# SPDX-License-Identifier: Apache-2.0
"""Sockets of all kinds, and their ends in every state of a request: nothing of them stays in any count."""
import os
import socket
import ssl

from clients import FRONTEND, IPPROTO_MPTCP, Connection, split
from harness import case
from kernel import inside, wait_for
from pods import SERVICE
from servers import FileServer, Nginx
from test_counts import sessions_open
from test_follow import Followed, request

SIZE, MSG_FASTOPEN = 3000, 0x20000000
FAST_OPEN = 0x607  # clients and all listeners, without cookies
COUNTS = ("in_flight", "pending", "requests_waiting", "requests_headed", "requests_answering",
          "requests_waiting_bytes", "connections_idle", "connections_unseen", "unread_bytes", "accept_backlog")


class Sockets(Followed):
    """Clients of either hook, whose sockets the test makes itself."""

    def __init__(self, node, hook, **more):
        super().__init__(node, hook, **more)
        self.harness = node
        self.places = [node] if hook == "lookup" else [self.client, *(s.node for s in self.servers)]
        self.address = split((FRONTEND if hook == "lookup" else SERVICE)["v4"])

    def open(self, kind):
        """A connection; one by Fast Open has sent a byte."""
        protocol = IPPROTO_MPTCP if kind == "multipath" else 0
        if self.client:
            s = self.client.socket(protocol=protocol)
        else:
            with inside(self.place.netns):
                s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
        if kind == "fast open":
            s.settimeout(None)
            s.sendto(b"G", MSG_FASTOPEN, self.address)
        else:
            s.connect(self.address)
        s.settimeout(10)
        return Connection(s)

    def nothing_is_left(self, direct=2):
        """Scrapes have a connection for each server, and one more while that is made anew."""
        self.shows(**{key: 0 for key in COUNTS}, direct=lambda n: n <= direct)
        wait_for(lambda: set(sessions_open(self.harness, self.place)) <= {(0, 0)})

    def nothing_was_missed(self):
        def age():
            return self.cli("status")[0]["reconciled_age_seconds"]
        now = age()
        wait_for(lambda: age() < now, 30)
        self.shows(in_flight=0, pending=0)
        assert self.daemon.metric("pintle_in_flight_drift_total") == 0


def in_unseen(c, _kind):
    pass


def in_part(c, kind):
    c.sock.sendall(request("/", SIZE)[kind == "fast open":SIZE // 2])


def in_waiting(c, kind, path="/hold"):
    c.sock.sendall(request(path, SIZE)[kind == "fast open":])


def in_headed(c, kind):
    """A short answer may be a head."""
    in_waiting(c, kind, "/")
    c.read()


def in_answering(c, kind):
    """For a second after its newest byte; the client reads the beginning."""
    in_waiting(c, kind, "/bytes/100000")
    c.sock.recv(1000)


def in_idle(c, kind):
    in_waiting(c, kind, "/bytes/3000")
    c.read()


def in_ahead(c, kind):
    """Two at once, of which one waits."""
    in_waiting(c, kind, "/bytes/3000")
    in_waiting(c, "", "/hold")
    c.read()


STATES = {"connections_unseen": in_unseen, "requests_waiting": in_waiting, "requests_headed": in_headed,
          "requests_answering": in_answering, "connections_idle": in_idle}
MORE = {"part": in_part, "ahead": in_ahead}


def half_closed(c):
    c.half_close()
    c.sock.settimeout(0.2)
    try:
        while c.sock.recv(1 << 20):
            pass
    except OSError:
        pass
    c.close()


ENDS = {"close": Connection.close, "reset": Connection.reset, "half close": half_closed}


@case(each=tuple(f"{hook}, {kind}" for hook in ("lookup", "connect") for kind in ("plain", "multipath", "fast open")),
      timeout=180)
def test_ends_in_each_state(node, which):
    """Connections end in each state of a request, in each way, two of each; then servers end with all others open."""
    hook, kind = which.split(", ")
    f = Sockets(node, hook)
    for place in f.places:
        place.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN)

    def reach(name):
        rule = STATES.get(name) or MORE[name]
        made = [f.open(kind) for _ in range(2)]
        for c in made:
            rule(c, kind)
        if name in STATES and not (kind == "fast open" and rule is in_unseen):
            f.shows(**{name: lambda n: n >= 2})
        f.shows(in_flight=lambda n: n >= 2)
        return made

    for name in (*STATES, *MORE):
        for end in ENDS.values():
            for c in reach(name):
                end(c)
    for s in f.servers:
        s.release()
    f.nothing_is_left()
    held = [c for name in (*STATES, *MORE) for c in reach(name)]
    for s in f.servers:
        s.kill()
    for c in held:
        c.close()
    for s in f.servers:
        s.start()
    wait_for(lambda: {e["state"] for e in f.cli("endpoints")} == {"ready"})
    f.nothing_is_left()
    f.nothing_was_missed()


FORKING = """
import os, signal, socket, sys
where, name = sys.argv[1].rsplit(":", 1), sys.argv[2]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server((where[0], int(where[1])), backlog=1024)
workers = []
if sys.argv[3] == "passes":
    for _ in range(2):
        door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if not os.fork():
            door.close()
            workers = None
            break
        theirs.close()
        workers.append(door)


def serve(sock):
    got = b""
    while data := sock.recv(65536):
        got += data
        while b"\\r\\n\\r\\n" in got:
            head, got = got.split(b"\\r\\n\\r\\n", 1)
            path = head.split(b" ")[1]
            if path == b"/hold":
                signal.pause()
            page = open(sys.argv[4], "rb").read() if path == b"/metrics" else name.encode()
            sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(page) + page)


def forked(sock):
    if not os.fork():
        serve(sock)
        os._exit(0)


turn = 0
while True:
    if workers is None:
        _, (fd,), _, _ = socket.recv_fds(theirs, 1, 1)
        with socket.socket(fileno=fd) as sock:
            forked(sock)
        continue
    sock, _ = listener.accept()
    if sys.argv[3] == "passes":
        socket.send_fds(workers[turn % 2], [b"+"], [sock.fileno()])
        turn += 1
    else:
        forked(sock)
    sock.close()
"""


class Forking(FileServer):
    """A process for each connection, which has it from a fork, or out of a message from the one that accepted it."""

    HOW = "forks"

    def command(self):
        return ["/usr/bin/python3", "-I", "-S", "-c", FORKING, self.listen, self.name, self.HOW, self.page]


class Passing(Forking):
    HOW = "passes"


@case(each=("forks", "passes"), timeout=120)
def test_a_process_for_each_connection(node, how):
    """Connections of servers that fork, and that pass sockets on, are followed as any; processes are killed with
    requests that wait."""
    kind = {"forks": Forking, "passes": Passing}[how]
    servers = [kind(node, f"s{i}", f"127.0.0.1:{8001 + i}") for i in range(2)]
    f = Sockets(node, "lookup", servers=servers)
    for end in ENDS.values():
        held = [f.open("plain") for _ in range(8)]
        for c in held[:4]:
            in_waiting(c, "plain")
        for c in held[4:]:
            assert c.ask() in ("s0", "s1")
        f.shows(requests_waiting=4, in_flight=8, unread_bytes=0, accept_backlog=0)
        for c in held:
            end(c)
        # What waits for ever does not see that its client has gone.
        for s in servers:
            s.kill()
            s.start()
        wait_for(lambda: {e["state"] for e in f.cli("endpoints")} == {"ready"})
        f.nothing_is_left(direct=4)
    f.nothing_was_missed()


class Tls(Nginx):
    """TLS and HTTP/2; the page is elsewhere."""

    CONFIG = Nginx.CONFIG.replace("listen {listen};", "listen {listen} ssl http2;\n"
                                  "        ssl_certificate {root}/cert; ssl_certificate_key {root}/key;")

    def start(self):
        self.node.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-subj", "/CN=x", "-keyout", self.root / "key", "-out", self.root / "cert")
        (self.root / "large").write_bytes(os.urandom(300_000))
        super().start()

    def answers(self):
        with tls(self.node.connect(self.listen, timeout=2)) as c:
            return c.ask() == self.name


TRUSTS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one for all: to make one takes longer than a handshake
TRUSTS.check_hostname, TRUSTS.verify_mode = False, ssl.CERT_NONE


def tls(connection):
    return Connection(TRUSTS.wrap_socket(connection.sock))


@case(timeout=120)
def test_tls_and_http2(node):
    """Under TLS and HTTP/2 bytes and silence are all that is seen: no connection waits for ever, or is forgotten."""
    servers = [Tls(node, f"s{i}", f"127.0.0.1:{8001 + i}") for i in range(2)]
    node.server("pages", "127.0.0.1:9003")
    f = Sockets(node, "lookup", servers=[
        {"name": s.name, "listen": s.listen, "metrics": "http://127.0.0.1:9003/metrics"} for s in servers],
        scrape={"scheme": "https"})
    for end in ENDS.values():
        held = [tls(f.open("plain")) for _ in range(4)]
        for c in held[:2]:
            assert c.ask() in ("s0", "s1")
            c.sock.sendall(request("/", SIZE) * 3)
            assert len({c.read() for _ in range(3)}) == 1
        # What is silent after a handshake, or after an answer, waits for nothing; one in a hundred handshakes is
        # taken for a head, if a pass comes while it ends.
        f.shows(in_flight=4)
        wait_for(lambda: f.sum("connections_idle") + f.sum("requests_headed") == 4 and
                 f.sum("requests_waiting") == f.sum("requests_headed"))
        for c in held:
            end(c)
        for c in [f.open("plain") for _ in range(2)]:
            c.sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # a part of a handshake
            end(c)
        f.nothing_is_left(direct=0)
    url = f"https://{FRONTEND['v4']}/"
    streams = node.run("curl", "-sk", "--http2", "--parallel", "--parallel-max", 20, *[url] * 40,
                       "-w", "%{http_version} %{num_connects}\\n").stdout
    assert "2 0" in streams, streams  # many on one connection
    f.nothing_is_left(direct=0)
    held = [tls(f.open("plain")) for _ in range(150)]
    # A busy machine may have kept a handshake waiting until here. Now nobody waits for anything.
    said, before = len(f.daemon.log()), f.daemon.metric("pintle_passes_total")
    wait_for(lambda: f.daemon.metric("pintle_passes_total") > before + 80, 30)
    assert "stalls" not in f.daemon.log()[said:]
    for c in held:
        c.close()
    f.nothing_is_left(direct=0)
    f.nothing_was_missed()
