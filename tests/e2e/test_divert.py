# SPDX-License-Identifier: Apache-2.0
"""Admission divert: the overload responder answers in place of full endpoints, in both hooks."""
import collections
import contextlib
import email.parser
import errno
import json
import os
import resource
import signal
import socket
import ssl
import time
from pathlib import Path

import test_rollout as rollout
from clients import FRONTEND, source, split
from harness import case
from kernel import BUILD, SAN, has_ended, inside, trying, wait_for
from packages import library
from pods import SERVICE, Cluster
from test_audit import Trail
from test_classes import BATCH, classes, empty, fill, hint, is_refused
from test_connect import BOTH
from test_connect_keys import CLASS, LEVEL
from test_connect_witnesses import NOBODY, RESTRICTED

HOOKS = ("lookup", "connect")
OWN = {"v4": "10.1.0.1:9465", "v6": "[fd01::1]:9465"}
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def socket_in(netns):
    with inside(netns):
        return socket.socket()


def diverted(*rules, **batch):
    return classes(*rules, admission="divert", **batch)


class World:
    """Servers that are full for batch; connect() and ask() are those of a client of batch."""

    def __init__(self, node, hook="lookup", family="v4", up=True, **more):
        self.node, self.hook, self.family, settings = node, hook, family, {}
        if hook == "lookup":
            self.to, self.pools = FRONTEND[family], node
            self.own = {"v4": "127.0.0.1:9465", "v6": "[::1]:9465"}[family]
            self.servers = node.servers(2)
            self.pool = lambda **more: node.pool(self.servers, **{**diverted({"source": source(7, family)}), **more})
        else:
            self.to, self.pools = SERVICE[family], Cluster(node)
            self.own = OWN[family]
            self.pools.batch(*(f"addr add {split(a)[0]} dev lo" for a in OWN.values()))
            settings = {"overload": {"listen": self.own}}
            pods = self.pools.servers(2)
            self.servers, self.client = [p.model for p in pods], self.pools.pod("client")
            self.pool = lambda **more: self.pools.pool(pods, family=family, **{**diverted(), **more})
        self.config = self.pools.config(self.pool(**more), **settings)
        self.daemon = self.start()
        if up:
            self.up()
        fill(*self.servers)

    def start(self):
        daemon = self.pools.daemon(self.config)
        wait_for(lambda: {e["state"] for e in self.pools.cli("endpoints")} == {"ready"})
        return daemon

    def configure(self, settings, **more):
        self.daemon.reload(self.pools.config(self.pool(**more), **settings))

    def daemon_pid(self):
        """Behind what a case of the connect hook starts it by, too."""
        return self.pools.cli("status")[0]["daemon_pid"]

    def up(self, up=1):
        wait_for(lambda: self.daemon.metrics().get(("pintle_overload_up", ())) == up)

    def connect(self, **how):
        if self.hook == "lookup":
            return self.node.connect(self.to, source(7, self.family), **how).sock
        return self.client.connect(self.to, options=[hint(BATCH)], **how).sock

    def ask(self):
        with self.connect() as s:
            s.sendall(POST + b"Content-Length: 2\r\n\r\n{}")
            return Answer(s)

    def others(self):
        if self.hook == "lookup":
            return self.node.ask(self.to, source(8, self.family))
        return self.client.ask(self.to)

    def results(self):
        return {dict(k[1])["result"]: v for k, v in self.daemon.metrics().items()
                if k[0] == "pintle_overload_connections_total"}

    def decisions(self):
        return self.pools.decisions()

    def is_refused(self):
        return is_refused(lambda: self.connect().close())


class Answer:
    """All that comes until the end of the connection, which must be in order."""

    def __init__(self, sock, is_head=False):
        data = b""
        while part := sock.recv(65536):
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        self.status = int(line.split()[1])
        self.headers = email.parser.BytesHeaderParser().parsebytes(rest + b"\r\n")
        assert line.startswith(b"HTTP/1.1 ") and self.status == 429, data[:200]
        assert self.headers["connection"] == "close"
        self.seconds = int(self.headers["retry-after"])
        assert 1 <= self.seconds <= 60
        if is_head:
            assert not body, body
            return
        assert len(body) == int(self.headers["content-length"]), (body, self.headers)
        self.error = json.loads(body)["error"]
        assert self.error["type"] == "rate_limit_error" and self.error["code"] == "rate_limit_exceeded"


class Since:
    """Counts what became of the responder's connections since this was made."""

    def __init__(self, world):
        self.world, self.before = world, collections.Counter(world.results())

    def counts(self):
        return collections.Counter(self.world.results()) - self.before


def answered_while_full(w):
    """Where each endpoint is full for batch, batch is answered 429, others are served, and batch is served again
    where there is room."""
    answer = w.ask()
    assert "'batch'" in answer.error["message"], answer.error
    assert w.others() in ("s0", "s1")
    assert w.decisions()["diverted"] == 1 and "refused" not in w.decisions(), w.decisions()
    assert w.results()["answered"] == 1, w.results()
    empty(*w.servers)
    with w.connect() as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 200 " in s.recv(100)
    assert w.decisions()["diverted"] == 1
    fill(*w.servers)


def chunked(*parts):
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\nTrailer: x\r\n\r\n"


BODY = b"x" * 100_000
REQUESTS = {
    "100 kB": (POST, b"Content-Length: %d\r\n\r\n" % len(BODY), BODY),
    "chunked": (POST, b"Transfer-Encoding: gzip, chunked\r\n\r\n", chunked(BODY, b"yy")),
    "get": (b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",),
    "head": (b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",),
    "http/1.0": (b"POST /v1/completions HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",),
    "pipelined": (POST, b"Content-Length: 1\r\n\r\nx", POST, b"Content-Length: 2\r\n\r\nyy"),
    "unclear": (POST, b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", BODY),
    "20 MiB": (POST, b"Content-Length: %d\r\n\r\n" % (20 << 20), b"x" * (20 << 20)),
}


def requests_are_answered(w):
    """Each is sent whole, and answered after that; a client that writes all first sees no reset."""
    for what, parts in REQUESTS.items():
        since = Since(w)
        with trying(what), w.connect() as s:
            assert s.getpeername()[:2] == split(w.to)
            for part in parts:
                s.sendall(part)
            Answer(s, what == "head")
        assert since.counts() == {"answered": 1}, (what, since.counts())


def test_slow_writers(node):
    """Byte by byte, and no answer before the last one. A client that waits to be told to go on is told no instead."""
    w = World(node)
    for text in (POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"abc", b"d"),
                 POST + b"Content-Length: 5\r\n\r\nabcde"):
        since = Since(w)
        with w.connect() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(text)):
                if i == len(text) - 1:
                    assert not since.counts(), (text, since.counts())
                s.sendall(text[i:i + 1])
            Answer(s)
    with w.connect() as s:
        s.sendall(POST + b"Content-Length: 1000000\r\nExpect: 100-Continue\r\n\r\n")
        Answer(s)


def test_half_a_request(node):
    """What stops half-way is answered after 5 s, and who says nothing is closed then; a client that leaves before that
    is no trouble either."""
    w = World(node)
    w.connect().close()
    wait_for(lambda: w.results()["unfinished"] == 1)
    since, began = Since(w), time.monotonic()
    with w.connect() as head, w.connect() as body, w.connect() as nothing:
        head.sendall(POST + b"X: y")
        body.sendall(POST + b"Content-Length: 10\r\n\r\nx")
        Answer(head)
        assert 4.9 < time.monotonic() - began < 9
        Answer(body)
        assert nothing.recv(1) == b""
        assert 4.9 < time.monotonic() - began < 9
    assert since.counts() == {"answered": 2, "unfinished": 1}, since.counts()


def hello():
    """The first bytes of TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="x")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


FOREIGN = {"tls": hello(), "h2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http/0.9": b"GET /\r\n", "zeros": bytes(100),
           "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n"}


def is_reset(s):
    try:
        return s.recv(1000) and False
    except ConnectionResetError:
        return True


def hold(connect):
    """A connection; None if it was reset before connect() returned."""
    try:
        return connect()
    except ConnectionResetError:
        return None


def others_are_reset(w):
    """What is no HTTP is reset."""
    for what, data in FOREIGN.items():
        since = Since(w)
        with trying(what), w.connect() as s:
            s.sendall(data)
            assert is_reset(s)
        assert since.counts() == {"not_http": 1}, (what, since.counts())


def nobody_else_is_answered(w):
    """Who connects to the responder's own address is reset, also with the port of a client that was diverted."""
    w.ask()
    since = Since(w)
    for _ in range(3):
        s = hold(lambda: (w.node if w.hook == "lookup" else w.client).connect(w.own).sock)
        assert not s or is_reset(s)
    assert since.counts() == {"not_diverted": 3}, since.counts()
    w.ask()


def many_of_one_client(w):
    """Of 100 connections that a client holds, 16 are; others are answered."""
    wait_for(lambda: w.daemon.metric("pintle_overload_open") == 0)
    since = Since(w)
    held = [hold(w.connect) for _ in range(100)]
    wait_for(lambda: since.counts() == {"client_full": 84})
    assert w.daemon.metric("pintle_overload_open") == 16
    assert w.others() in ("s0", "s1")
    if w.hook == "connect":
        with w.pools.pod("another").connect(w.to, options=[hint(BATCH)]).sock as s:
            s.sendall(POST + b"Content-Length: 0\r\n\r\n")
            Answer(s)
    for s in filter(None, held):
        s.close()
    wait_for(lambda: w.daemon.metric("pintle_overload_open") == 0)
    w.ask()


@case(each=[f"{h}-{f}" for h in HOOKS for f in BOTH], timeout=90)
def test_answered(node, way):
    w = World(node, *way.split("-"))
    answered_while_full(w)
    requests_are_answered(w)
    others_are_reset(w)
    nobody_else_is_answered(w)
    many_of_one_client(w)


def test_a_flood(node):
    """2,000 connections of 200 clients: 1,024 are held, the others reset, and neither pintled nor other clients
    notice."""
    w = World(node, **diverted({"source": "127.1.1.0/24"}))
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    held = [hold(lambda i=i: node.connect(w.to, f"127.1.1.{1 + i % 200}")) for i in range(2000)]
    began = time.monotonic()
    assert w.daemon.get("/healthz")[0] == 200 and node.ask(w.to, source(8)) in ("s0", "s1")
    assert time.monotonic() - began < 2
    wait_for(lambda: w.results()["full"] + w.daemon.metric("pintle_overload_open") == 2000)
    assert w.results()["full"] == 976, w.results()
    for c in filter(None, held):
        c.close()
    wait_for(lambda: w.daemon.metric("pintle_overload_open") == 0)
    assert w.decisions()["diverted"] == 2000


def responder(w):
    """Its pid."""
    parent = f"PPid:\t{w.daemon_pid()}\n"
    found = [p for p in Path("/proc").glob("[0-9]*/status") if parent in read(p)]
    return int(found[0].parent.name) if found else None


def read(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def has_no_rights(pid):
    """Neither capabilities, nor a file or socket beyond its own, nor a way to more."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    for which in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[which], 16) == 0, status
    assert status["NoNewPrivs"] == "1" and status["Uid"].split() == ["65534"] * 4, status
    assert status["Groups"].strip() == ""
    if not SAN:
        assert status["Seccomp"] == "2", status
    fds = sorted(os.readlink(f"/proc/{pid}/fd/{n}").split(":")[0] for n in os.listdir(f"/proc/{pid}/fd") if int(n) > 2)
    assert fds == ["/memfd", "anon_inode", "anon_inode", "pipe", "socket", "socket"], fds


@case(each=HOOKS)
def test_killed(node, hook):
    """pintled starts it again, with the listeners that there were; its counts go on. It has no rights."""
    w = World(node, hook)
    w.ask()
    old = wait_for(lambda: responder(w))
    if hook == "lookup":
        has_no_rights(old)
    with w.connect() as s:
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: responder(w) not in (old, None))
        w.up()
    w.ask()
    assert w.results()["answered"] == 2, w.results()
    wait_for(lambda: w.daemon.metric("pintle_overload_open") == 0)


@case(each=HOOKS)
def test_without_the_daemon(node, hook):
    """A responder whose pintled is gone answers whom it has, and ends; then divert is refuse. The next pintled has
    one again."""
    w = World(node, hook, saturation={"staleness": "1s"}, stickiness={"key": "none"})
    pid = wait_for(lambda: responder(w))
    with w.connect() as s:
        s.sendall(POST + b"Content-Length: 2\r\n\r\n{")
        wait_for(lambda: w.daemon.metric("pintle_overload_open") == 1)
        w.daemon.kill()
        s.sendall(b"}")
        Answer(s)
    wait_for(lambda: has_ended(pid))
    # Soon all scores are too old, and connections in flight fill the endpoints.
    wait_for(lambda: not w.is_refused())
    held = []
    wait_for(lambda: is_refused(lambda: held.append(w.connect())))
    assert 0 < len(held) <= 6, held
    for s in held:
        s.close()
    w.daemon = w.start()
    w.up()
    fill(*w.servers)
    wait_for(lambda: not is_refused(w.ask))  # its heart may not have beaten yet


def test_reload(node):
    """The responder comes with the first class that needs it, moves with its address, and goes with the last."""
    w = World(node)
    old = wait_for(lambda: responder(w))
    w.configure({"overload": {"listen": "127.0.0.2:9999"}})
    wait_for(lambda: node.cli("status")[0]["overload"] == ["127.0.0.2:9999", "[::1]:9465"])
    assert old != wait_for(lambda: responder(w))
    w.ask()
    w.configure({}, classes=classes({"source": source(7)})["classes"])
    wait_for(lambda: node.cli("status")[0]["overload"] == [] and not responder(w))
    wait_for(w.is_refused)
    assert ("pintle_overload_up", ()) not in w.daemon.metrics()
    w.configure({}, **diverted({"source": source(7)}))
    w.up()
    w.ask()


def test_the_address_is_taken(node):
    """Connections are refused while somebody else listens there, and diverted when he has left."""
    with socket_in(node.netns) as s:
        s.bind(("127.0.0.1", 9465))
        s.listen()
        w = World(node, up=False)
        assert w.is_refused()
        assert "the overload responder cannot listen on 127.0.0.1:9465" in w.daemon.log()
    wait_for(lambda: "127.0.0.1:9465" in node.cli("status")[0]["overload"])
    w.ask()


def test_default_address(node):
    """The responder is where this machine reaches the servers from, which are on another one."""
    cluster = Cluster(node, machines=2)
    pods, client = cluster.servers(2, machine=1), cluster.pod("client")
    daemon = cluster.steer(cluster.pool(pods, **diverted()))
    wait_for(lambda: cluster.cli("status")[0]["overload"] == ["192.168.2.1:9465"])
    fill(*(p.model for p in pods))
    with client.connect(SERVICE["v4"], options=[hint(BATCH)]).sock as s:
        s.sendall(POST + b"Content-Length: 0\r\n\r\n")
        Answer(s)
    assert daemon.metric("pintle_overload_connections_total", result="answered") == 1


@case(each=HOOKS)
def test_shadow(node, hook):
    """In mode shadow nobody is diverted, and who would be is counted."""
    w = World(node, hook, mode="shadow")
    if hook == "lookup":
        assert node.ask(w.to, source(7)) in ("s0", "s1")
    else:
        with contextlib.suppress(OSError):
            w.connect(timeout=1).close()
    row, = [r for r in w.pools.cli("stats") if r["outcome"] == "diverted"]
    assert row["shadow"] == 1 and row["decisions"] == 0, row
    assert set(w.results().values()) == {0}


def test_told(node):
    """`explain`, `events` and `status` say where the connection went."""
    w = World(node, "connect")
    node.popen([BUILD / "pintle", "--bpffs", w.pools.bpffs, "events", "-o", "json"], log="events.log")

    def told():
        w.ask()
        return [line for line in (node.dir / "events.log").read_text().splitlines() if "diverted" in line]

    event = json.loads(wait_for(told)[0])
    assert (event["outcome"], event["class"], event["endpoint"]) == ("diverted", "batch", None), event
    told = w.pools.cli("explain", "pool", "--class", "batch")
    assert told["outcome"] == "diverted" and told["chosen"] is None, told
    assert "would be answered by the overload responder: each endpoint is full" in \
        w.pools.pintle("explain", "pool", "--class", "batch").stdout
    assert "overload  answered at 10.1.0.1:9465\n" in w.pools.pintle("status").stdout


def test_when_to_come_back(node):
    """Retry-After follows from the endpoints where the class may get a place: not from one that is kept for others,
    however fast that is, and not from one that takes no connections."""
    w = World(node, classes=[{"name": "interactive", "reserve": 1},
                             {**diverted({"source": source(7)})["classes"][1], "limit": 3}])
    def reserved():
        return [c["endpoint"] for c in w.pools.cli("explain", "pool", "--class", "batch")["candidates"]
                if c["full"] == "reserved"]

    kept, = wait_for(reserved)
    w.servers[int(kept[1])].set(running=0)
    w.servers[int(kept[1])].scraped()
    with node.load(w.to) as load:
        load.go_on(100)
        for _ in range(3):
            assert 5 <= w.ask().seconds <= 10, "nothing is known of the other endpoint"


USER = """
import socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
s = socket.socket()
s.setsockopt(0x50494e54, int(sys.argv[3]), (1).to_bytes(4, sys.byteorder))
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
except OSError as e:
    print(e.errno)
"""


def test_user_namespace_is_refused(node):
    """A user may have the responder's address in a network of his own."""
    w = World(node, "connect")
    restricted = RESTRICTED.exists() and RESTRICTED.read_text().strip() != "0"
    host, port = split(w.to)
    made = w.client.popen([*(() if restricted else NOBODY), "unshare", "-Urn", "/usr/bin/python3", "-I", "-S", "-c",
                           USER.replace("0x50494e54", str(LEVEL)), host, port, CLASS], stdout=-1, text=True)
    assert made.communicate(timeout=20)[0] == f"{errno.ECONNREFUSED}\n"
    assert w.decisions()["refused"] == 1 and "diverted" not in w.decisions(), w.decisions()


PYTHON = """
import json, sys, time, openai
for tries in (0, 1):
    client = openai.OpenAI(base_url=f"http://{sys.argv[1]}/v1", api_key="none", max_retries=tries)
    for stream in (False, True):
        began = time.monotonic()
        try:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi" * 50000}], stream=stream)
        except openai.RateLimitError as e:
            print(json.dumps([e.status_code, e.code, e.type, tries, stream, time.monotonic() - began]))
"""


@case(timeout=120)
def test_openai_python_client(node):
    """It raises RateLimitError; before that it waits as it was told, if it may try again."""
    python = library("python") / "bin/python"
    w = World(node, **diverted({"port": 8000}))
    lines = node.run(python, "-B", node.write("client.py", PYTHON), w.to, timeout=100).stdout.splitlines()
    said = [json.loads(line) for line in lines]
    assert [s[:-1] for s in said] == [[429, "rate_limit_exceeded", "rate_limit_error", tries, stream]
                                      for tries in (0, 1) for stream in (False, True)], said
    assert all(took >= tries for *_, tries, _, took in said), said
    assert w.results()["answered"] == 2 + 2 * 2, w.results()


@case(each=HOOKS)
def test_full_fallback_diverts(node, hook):
    """A connection spills; where its fallback is full, too, and would divert it, it is diverted."""
    world = rollout.HOOKS[hook](node)
    own, near, far = (world.servers(1) for _ in range(3))
    pools = [world.pool(own, "own", 0, fallback=["near", "far"], **rollout.LIMITED),
             *(world.pool(s, name, n, classes=[{"name": "all", "limit": 3, "admission": admission}])
               for n, (s, name, admission) in enumerate(((near, "near", "divert"), (far, "far", "refuse")), 1))]
    if hook == "lookup":
        world.start(*pools)
    else:
        world.cluster.batch("addr add 10.1.0.1 dev lo")
        world.daemon = world.cluster.steer(*pools, overload={"listen": OWN["v4"]})
    wait_for(lambda: world.daemon.metric("pintle_overload_up") == 1)
    fill(*own, *near)
    assert world.ask() == "s2"
    fill(*far)
    told = world.cli("explain", "own", *world.who())
    assert (told["pool"], told["outcome"], told["chosen"]) == ("own", "diverted", None), told
    with world.connect() as c:
        c.sock.sendall(POST + b"Content-Length: 0\r\n\r\n")
        assert "'all'" in Answer(c.sock).error["message"]
    assert rollout.decisions(world, "own") == {"spilled": 1, "diverted": 1}, rollout.decisions(world, "own")
    empty(*near)
    assert world.ask() == "s1"


@case(each=HOOKS)
def test_in_the_audit(node, hook):
    """The audit has whom the responder answers, and whom a class refuses."""
    world, trail = World(node, hook), Trail(node.dir / "audit.jsonl")
    audited = {"audit": {"file": str(trail.path)}, "overload": {"listen": world.own}}
    rules = [{"source": source(7)}] if hook == "lookup" else []
    world.configure(audited)
    wait_for(trail.path.exists)
    assert world.ask().status == 429
    world.configure(audited, **classes(*rules, admission="refuse"))
    wait_for(lambda: [c["admission"] for c in world.pools.cli("pools")[0]["classes"]][1] == "refuse")
    assert world.is_refused()
    lines = wait_for(lambda: len(trail.lines()) == 2 and trail.lines())
    told = [(r["event"], r["hook"], r["pool"], r["class"], r["endpoint"], r["outcome"], r["lost"]) for r in lines]
    assert told == [("decided", hook, "pool", "batch", None, outcome, 0) for outcome in ("diverted", "refused")], lines
    if hook == "connect":
        own, = (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        assert {r["client_cgroup"] for r in lines} == {own}, lines
    else:
        assert {r["client"].rsplit(":", 1)[0] for r in lines} == {source(7)}, lines
