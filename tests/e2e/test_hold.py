# SPDX-License-Identifier: Apache-2.0
"""decide: request, where the headers of a request come in several segments, or without the body: the hand-off holds
them until they have ended and the body has begun."""
import hashlib
import json
import os
import socket
import struct

from clients import CLIENT_ADDRESS, FRONTEND, NODE_ADDRESS, source, split
from harness import case
from kernel import inside, wait_for
from packets import FLAGS, segment
from test_handoff import HANDED, REQUEST, WHERE, ask, exchange, filters, handed, hashing, lose_segments, post, sessions
from test_oneshot import oneshots
from test_prompts import PREFIX, found, text

CHUNKED = (b"POST / HTTP/1.1\r\nHost: a\r\nX-Session-Id: a\r\nConnection: close\r\n"
           b"Transfer-Encoding: chunked\r\n\r\n")
EMPTY = hashlib.sha256(b"").hexdigest()
LATE, END = 10, 120  # seconds; see docs/handoff.md


def holds(node):
    """{what became of held connections and their segments: count}, without the zeros."""
    return {row["hold"]: row["held"] for row in node.cli("stats") if row["held"]}


def entries(node):
    """The entries of `held`, as bpftool shows them."""
    pin = next(node.bpffs.rglob("held"))
    return pin, json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", pin).stdout)


def held(node):
    return len(entries(node)[1])


def none_held(node):
    wait_for(lambda: not held(node), what="nothing is held")


def age(node, seconds, *, but=()):
    """Makes what is held older, but those entries."""
    pin, rows = entries(node)
    for row in rows:
        if row["key"] in but:
            continue
        value = bytes(int(byte, 16) for byte in row["value"])
        at = 16  # since_ns
        since, = struct.unpack_from("=Q", value, at)
        value = value[:at] + struct.pack("=Q", since - seconds * 10**9) + value[at + 8:]
        node.run("bpftool", "map", "update", "pinned", pin, "key", "hex",
                 *[byte[2:] for byte in row["key"]], "value", "hex", *[f"{byte:02x}" for byte in value])


def big(size, session=b"s"):
    """Headers of that size, and the key of the session at their end."""
    end = b"\r\nX-Session-Id: %s\r\nConnection: close\r\n\r\n" % session
    begin = b"GET / HTTP/1.1\r\nHost: a\r\nX-Big: "
    return begin + b"x" * (size - len(begin) - len(end)) + end


def cut(data, *at):
    ends = [0, *at, len(data)]
    return [data[a:b] for a, b in zip(ends, ends[1:])]


class Opened:
    """A client that has sent so much, and no more yet."""

    def __init__(self, node, begin, frm=None, *, to=FRONTEND["v4"], remote=True):
        self.node, self.c = node, node.connect(to, frm, remote=remote)
        before = held(node)
        self.c.sock.sendall(begin)
        wait_for(lambda: held(node) > before, what="the connection is held")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.c.close()

    def more(self, data=b""):
        """Sends that, and returns all that comes back; None: reset."""
        got = b""
        try:
            if data:
                self.c.sock.sendall(data)
            while more := self.c.sock.recv(65536):
                got += more
        except ConnectionResetError:
            return None
        return got.decode()


# -- what is served ------------------------------------------------------------------


@case(each=WHERE)
def test_headers_of_any_size(node, where):
    """Headers cut in two, three and many pieces, with bodies: the session counts wherever it stands,
    and the server gets every byte once."""
    family, remote = where[:2], "remote" in where
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    count = 0

    def asked(data, want, *at):
        nonlocal count
        got = exchange(node, cut(data, *at), family=family, remote=remote, pause=0.01)
        assert got and got.endswith(want), (len(data), at, got)
        count += 1

    for size in (3000, 3001, 7000, 12000, 15800):
        asked(big(size), EMPTY, size - 1)
        asked(big(size), EMPTY, 1, size // 3, size - 3)
    body = os.urandom(5000)
    for end in (0, 3, 5000):
        head = big(4000).replace(b"Connection", b"Content-Length: 5000\r\nConnection")
        asked(head + body, hashlib.sha256(body).hexdigest(), 1000, len(head) - 2, len(head) + end)
    assert handed(node) == {"asked": count}
    assert holds(node) == {"joined": count}
    assert len(sessions(node)) == 1
    none_held(node)


def test_cut_anywhere(node):
    """A request in two pieces, cut at each byte, and byte by byte."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    whole = REQUEST % b"a"
    for at in range(1, len(whole), 3):
        assert exchange(node, cut(whole, at), pause=0.002).endswith(EMPTY), at
    assert exchange(node, cut(whole, *range(1, len(whole))), pause=0.002).endswith(EMPTY)
    assert set(handed(node)) == {"asked"}
    assert len(sessions(node)) == 1
    none_held(node)


def test_a_long_body_behind_held_headers(node):
    """The last segment of the headers has more of the body than fits into one packet."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    for size in (14000, 60000, 1000000):
        body = os.urandom(size)
        data = post(body) + body
        for remote in (False, True):
            got = exchange(node, cut(data, 50), remote=remote)
            assert got.endswith(hashlib.sha256(body).hexdigest()), (size, remote)
    assert handed(node) == {"asked": 6}
    none_held(node)


def test_headers_that_are_too_long(node):
    """Decided by what fits, and served."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    assert exchange(node, cut(big(20000), 9000, 14000)).endswith(EMPTY)
    assert exchange(node, cut(big(40000), 100), remote=False).endswith(EMPTY)
    assert handed(node) == {"unfinished": 2}
    assert holds(node) == {"full": 2}
    none_held(node)


def steps(size):
    """How many beginnings of a prompt are hashed of which so many bytes are seen."""
    return min(size, 4096) // 256 + max(size - 4096, 0) // 1024


@case(each=WHERE)
def test_the_whole_body(node, where):
    """Where servers may have a beginning of the prompt, all of a request is seen that can be held, however it is cut; of
    a longer one, as much."""
    node.add_client()
    node.steer(hashing(node, 2), **PREFIX)
    how = {"family": where[:2], "remote": "remote" in where, "pause": 0.003}
    for size, cuts in ((3000, 10), (15000, 10), (15000, 1400), (15872, 1000)):
        body = text(size)
        body = body[:size - (size == 15872) * len(post(body))]
        head = post(body)
        before = found(node)["added"], holds(node).get("joined", 0)
        begin = [head] + [body[at:at + cuts] for at in range(0, min(len(body), 20 * cuts), cuts)]
        pieces = [*begin, body[20 * cuts:]] if len(body) > 20 * cuts else begin
        assert exchange(node, pieces, **how).endswith(hashlib.sha256(body).hexdigest())
        assert (found(node)["added"], holds(node)["joined"]) == (before[0] + steps(len(body)), before[1] + 1), size
    for size in (15872, 60000):
        body, before = text(size), (found(node)["added"], holds(node)["joined"])
        pieces = [post(body), body[:1000], body[1000:9000], body[9000:]]
        assert exchange(node, pieces, **how).endswith(hashlib.sha256(body).hexdigest())
        assert (found(node)["added"], holds(node)["joined"]) == (before[0] + steps(15872 - len(post(body))), before[1] + 1)
    none_held(node)


def test_a_body_that_nothing_asks_for(node):
    """It is waited for until it begins."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    body = text(3000)
    with Opened(node, post(body)) as c:
        c.c.sock.sendall(body[:1000])
        wait_for(lambda: handed(node) == {"asked": 1})
        assert c.more(body[1000:]).endswith(hashlib.sha256(body).hexdigest())
    none_held(node)


def test_a_slow_body(node):
    """It has no place for ever: who takes more than 10 s is decided by what is there when more comes, and whose rest does
    not come is forgotten."""
    node.add_client()
    node.steer(hashing(node, 2), **PREFIX)
    body = text(9000)
    with Opened(node, post(body)) as c:
        c.c.sock.sendall(body[:1000])
        age(node, LATE + 1)
        assert not handed(node)
        c.c.sock.sendall(body[1000:2000])
        wait_for(lambda: sum(handed(node).values()) == 1)
        assert c.more(body[2000:]).endswith(hashlib.sha256(body).hexdigest())
    assert holds(node) == {"late": 1} and found(node)["added"] == steps(2000)
    with Opened(node, post(body) + body[:1000]) as c:
        age(node, END + 1)
        none_held(node)
        assert c.more(body[1000:]) is None
    assert holds(node) == {"late": 1, "given_up": 1}


def test_not_http_in_pieces(node):
    """What turns out to be no request of HTTP/1.1 is decided as soon as that is seen."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    for pieces, how in (([b"PRI * HT", b"TP/2.0\r\n"], "not_http"), ([b"HEL", b"O\r\n"], "not_http"),
                        ([b"GET / HTTP/1.1\r\nA: b\r", b"\nA\x01: b\r\n"], "malformed")):
        before = handed(node).get(how, 0)
        with Opened(node, pieces[0]) as c:
            c.c.sock.sendall(pieces[1])
            wait_for(lambda: handed(node).get(how, 0) == before + 1, what=how)
    none_held(node)


@case(each=("v4", "v6"), timeout=120)
def test_loss(node, family):
    """With segments lost on all sides, also behind the hand-off, every request is answered once, and each
    session keeps its server."""
    node.add_client()
    node.steer(hashing(node, 3), **HANDED)
    lose_segments(node)
    met = {}
    for i in range(40):
        session, body = b"s%d" % (i % 4), os.urandom(3000 * (i % 3))
        data = post(body, b"X-Big: " + b"x" * (3000 * (i % 5)), session=session) + body
        got = exchange(node, cut(data, 30, 30 + len(data) // 3), family=family, pause=0.005)
        assert got, (handed(node), holds(node))
        server, sum_ = got.rsplit("\r\n", 1)[1].split()
        assert sum_ == hashlib.sha256(body).hexdigest()
        met.setdefault(session, set()).add(server)
    assert all(len(servers) == 1 for servers in met.values()), met


@case(each=WHERE)
def test_one_request_per_connection_in_pieces(node, where):
    """The server closes each connection after its answer, wherever the headers are cut."""
    family, remote = where[:2], "remote" in where
    node.add_client()
    node.steer(hashing(node, 3), requests="one-per-connection", **HANDED)
    kept = REQUEST.replace(b"Connection: close", b"Connection: keep-alive") % b"a"
    spare = kept.replace(b"Connection: keep-alive", b"Accept-Encoding: gzip, deflate, br")
    at = kept.index(b"keep-alive")
    for request in (kept, spare):
        for cuts in ((30,), (at + 1,), (at + 5, at + 8), (10, len(request) - 1)):
            got = exchange(node, cut(request, *cuts), family=family, remote=remote, pause=0.005)
            assert got.endswith(EMPTY), cuts  # read until the server closes
    assert oneshots(node) == {"rewritten_connection": 4, "rewritten_other_header": 4}
    assert handed(node) == {"asked": 8} and holds(node) == {"joined": 8}
    none_held(node)


def test_one_request_per_connection_without_a_place(node):
    """Headers that do not end in what is handed over stay as they are: that connection is kept alive, and its further
    requests go to the same server."""
    node.add_client()
    node.steer(hashing(node, 3), requests="one-per-connection", **HANDED)
    kept = REQUEST.replace(b"Connection: close", b"Connection: keep-alive")
    long = (kept % b"a").replace(b"Host: a", b"Host: a\r\nX-Big: " + b"x" * 16000)
    with Opened(node, long[:30]) as c:
        c.c.sock.sendall(long[30:])
        first = c.c.read()
        for session in (b"b", b"c", b"d"):
            c.c.sock.sendall(kept % session)
            assert c.c.read() == first
    assert oneshots(node) == {"left_unfinished": 1}
    assert handed(node) == {"unfinished": 1} and holds(node) == {"full": 1}
    none_held(node)


# -- how it ends otherwise -------------------------------------------------------------


def test_closed_before_the_end(node):
    """The server gets what there is, and the end behind it."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    with Opened(node, b"GET / HTTP/1.1\r\nX-Sess") as c:
        c.c.half_close()
        assert c.more() == ""
    assert exchange(node, [b"GET / HTTP/1.1\r\nX-Sess"], end=True) == ""
    with Opened(node, post(b"body")) as c:
        c.c.half_close()
        assert c.more() == ""
    assert exchange(node, [post(b"body")], end=True) == ""
    assert handed(node) == {"unfinished": 2, "asked": 2}
    assert holds(node) == {"closed": 4}
    none_held(node)


def test_reset_before_the_end(node):
    """Nothing is left, and nobody was asked."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    with Opened(node, b"GET / HTTP/1.1\r\nX-Sess") as c:
        c.c.reset()
        none_held(node)
    assert holds(node) == {"reset": 1}
    assert sum(node.decisions().values()) == 0


def test_a_slow_client(node):
    """Who takes more than 10 s is served by what came until then; a body that comes later than that is one."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    with Opened(node, b"GET / HTTP/1.1\r\nX-Sess") as c:
        age(node, LATE + 1)
        c.c.sock.sendall(b"ion-Id: a\r\nHost: a\r\n")
        wait_for(lambda: handed(node) == {"asked": 1})
        assert c.more(b"Connection: close\r\n\r\n").endswith(EMPTY)
    with Opened(node, post(b"body")) as c:
        age(node, LATE + 1)
        assert c.more(b"body").endswith(hashlib.sha256(b"body").hexdigest())
    assert holds(node) == {"late": 1, "joined": 1}
    none_held(node)


def test_without_a_daemon(node):
    """Held connections go on without a daemon and with the next one; the kernel forgets old ones."""
    node.add_client()
    servers = hashing(node, 2)
    daemon = node.steer(servers, **HANDED)
    begin, rest = cut(REQUEST % b"a", 30)
    with Opened(node, begin) as a, Opened(node, begin) as b:
        daemon.kill()
        assert a.more(rest).endswith(EMPTY)
        with Opened(node, begin) as c:
            assert c.more(rest).endswith(EMPTY)
        node.daemon(node.config(node.pool(servers, **HANDED)))
        assert b.more(rest).endswith(EMPTY)
    none_held(node)
    with Opened(node, begin) as d:
        age(node, END + 1)
        none_held(node)
        assert d.more(rest) is None
    assert handed(node) == {"asked": 3, "stray": 1}
    assert holds(node) == {"joined": 3, "given_up": 1}


def test_forgotten_without_a_daemon(node):
    """The kernel's own timer forgets a connection of which no more comes, and its rest is reset."""
    node.add_client()
    daemon = node.steer(hashing(node, 1), **HANDED)
    daemon.kill()
    begin, rest = cut(REQUEST % b"a", 30)
    with Opened(node, begin) as c:
        age(node, END + 1)
        none_held(node)
        assert c.more(rest) is None
    assert holds(node) == {"given_up": 1}
    assert handed(node) == {"stray": 1}


def test_mode_off_while_held(node):
    """The connection goes to whoever listens at the frontend."""
    node.add_client()
    own = node.server("own", f"{NODE_ADDRESS['v4']}:8000")
    node.steer(node.servers(1), frontends=[f"{NODE_ADDRESS['v4']}:8000"], announce=False, **HANDED)
    begin, rest = cut(REQUEST % b"a", 30)
    with Opened(node, begin, to=own.listen) as c:
        node.pintle("mode", "pool", "off")
        assert c.more(rest).endswith("own")
    none_held(node)
    assert holds(node) == {"joined": 1}


def test_reload_and_detach_while_held(node):
    """Where the hand-off is taken away, what is held ends with a reset, and clients come again."""
    node.add_client()
    servers = hashing(node, 1)
    daemon = node.steer(servers, **HANDED)
    begin, rest = cut(REQUEST % b"a", 30)
    with Opened(node, begin) as c:
        daemon.reload(node.config(node.pool(servers)))
        wait_for(lambda: not filters(node))
        assert c.more(rest) is None
    assert exchange(node, cut(REQUEST % b"a", 30)).endswith(EMPTY)
    daemon.stop()
    node.detach()
    assert not list(node.bpffs.rglob("held"))


def test_a_chunked_body_that_waits(node):
    """Its client may want to hear of the answer before it sends more than the headers, so the server has them at once."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    for pieces in ([CHUNKED], cut(CHUNKED, 30)):
        with node.connect(FRONTEND["v4"], remote=True) as c:
            for piece in pieces:
                c.sock.sendall(piece)
            assert c.read().endswith(EMPTY)
    assert set(holds(node)) <= {"joined"}
    none_held(node)


def test_other_names_while_held(node):
    """A reload changes the header that names a session while a request is held: the new one counts."""
    node.add_client()
    servers, names = hashing(node, 2), ("x-session-id", "x-user-with-a-long-name")
    daemon = node.steer(servers, **HANDED)
    head = post(b"body", b"%s: u" % names[1].encode(), session=b"a")
    for i, begin in enumerate((head, head[:-10])):
        name = names[1 - i % 2]
        with Opened(node, begin) as c:
            daemon.reload(node.config(node.pool(servers, decide="request", stickiness={"key": f"header/{name}, source"})))
            wait_for(lambda: name in str(node.cli("pools")), what="the reload")  # noqa: B023
            assert c.more((head + b"body")[len(begin):]).endswith(hashlib.sha256(b"body").hexdigest())
        found = sessions(node)
        assert ask(node, {name: "u" if name == names[1] else "a"})
        assert len(found) == 1 + i and sessions(node) == found, (begin, found, sessions(node))
    assert handed(node) == {"asked": 4}
    none_held(node)


def test_held_since_the_sweep_began(node):
    """What another CPU begins to hold while the kernel's timer looks for what is old is not forgotten."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    begin, rest = cut(REQUEST % b"a", 30)
    with Opened(node, begin) as young:
        age(node, -30)  # as if it had come behind the time that a sweep takes for now
        known = [row["key"] for row in entries(node)[1]]
        with Opened(node, begin):
            age(node, END + 1, but=known)
            wait_for(lambda: "given_up" in holds(node), what="a sweep")
        assert [row["key"] for row in entries(node)[1]] == known
        assert young.more(rest).endswith(EMPTY)
    assert holds(node) == {"joined": 1, "given_up": 1}
    wait_for(lambda: handed(node) == {"asked": 1, "stray": 1}, what="the end of what was given up is reset")


# -- segments by hand --------------------------------------------------------------------


class ByHand:
    """A client whose every segment is made by hand. Offsets count from its first byte."""

    def __init__(self, node, port, acks=True):
        # The kernel, which knows nothing of this client, must not reset its connection.
        node.run("nft", "add table inet byhand; add chain inet byhand output { type filter hook output priority 0; }; "
                 "add rule inet byhand output tcp flags & rst == rst meta mark != 1 drop", netns=node.client_netns)
        self.frm, self.to = (source(9, remote=True), port), split(FRONTEND["v4"])
        with inside(node.client_netns):
            self.out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self.back = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)
        self.back.settimeout(5)
        self.begin(1001)
        if acks:
            self.send(0)

    def begin(self, first):
        """A connection whose first byte has that sequence number, in the place of what was before from its port."""
        self.first, self.acknowledged = first, 0
        self.send(-1, flags="SYN")
        self.acknowledged = (self.next()[1] + 1) % 2**32

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.out.close()
        self.back.close()

    def send(self, at, data=b"", flags="ACK", damage=False):
        packet = segment(self.frm, self.to, sum(FLAGS[f] for f in flags.split()), data,
                         (self.first + at) % 2**32, self.acknowledged)
        if damage:
            packet = packet[:-1] + bytes([packet[-1] ^ 1])
        self.out.sendto(packet, (self.to[0], 0))

    def next(self):
        """The next segment that comes: flags, sequence number, offset that it acknowledges, data."""
        while True:
            packet = self.back.recv(65536)
            ports = struct.unpack("!HH", packet[20:24])
            if ports == (self.to[1], self.frm[1]):
                sequence, acknowledged = struct.unpack("!LL", packet[24:32])
                header = 20 + (packet[32] >> 4) * 4
                return packet[33], sequence, (acknowledged - self.first) % 2**32, packet[header:]

    def is_told(self, at):
        """That all before that offset is acknowledged, and nothing more."""
        flags, sequence, acknowledged, data = self.next()
        assert (flags, sequence, acknowledged, data) == (FLAGS["ACK"], self.acknowledged, at, b""), \
            (hex(flags), acknowledged, at)

    def answer(self):
        """All data of the answer, each acknowledged as it comes."""
        got = b""
        while not got.endswith(EMPTY.encode()) and b"\r\n\r\ns" not in got:
            flags, sequence, _, data = self.next()
            assert not flags & FLAGS["RST"], got
            if sequence == self.acknowledged:
                got += data
                self.acknowledged = (self.acknowledged + len(data)) % 2**32
        return got.decode()


def test_segments_by_hand(node):
    """Repeated, overlapping, out of order, damaged: each has its answer, and the bytes that were
    acknowledged first are what the server gets."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    body = b"abcd"
    data = post(body, b"X-Other: a", session=b"first") + body
    a, b, c = cut(data, 60, 90)
    with ByHand(node, 45000) as client:
        for at, piece, told in ((0, a, 60), (0, a, 60), (0, a[:20], 60), (59, b"?", 60), (59, b"", 60),  # repeated
                                (90, c, 60), (5000, b"x", 60),                                          # overtook
                                (50, b"!" * 10 + b, 90),                                                # overlapped
                                (0, b"!" * 90, 90)):                                                    # repeated
            client.send(at, piece)
            client.is_told(told)
        client.send(90, c[:5], damage=True)   # nobody answers these
        client.send(90, b"", flags="ACK")
        client.send(70000000, flags="RST")
        client.send(120, flags="RST")
        client.is_told(90)
        client.send(80, b"!" * 10 + c)
        assert hashlib.sha256(body).hexdigest() in client.answer()
        client.send(len(data), flags="RST")
    assert holds(node) == {"joined": 1, "repeated": 5, "overtook": 2, "overlapped": 2, "damaged": 1}
    assert handed(node) == {"asked": 1}
    ask(node, {"X-Session-Id": "first"}, source(9, remote=True))
    assert len(sessions(node)) == 1
    none_held(node)


def test_a_part_of_the_body_is_lost(node):
    """What lies behind a gap in the body is not waited for: the server's socket keeps it, and is told what was before."""
    node.add_client()
    node.steer(hashing(node, 1), **PREFIX)
    body = text(4000)
    data, head = post(body) + body, len(post(body))
    ends = [0, head, head + 1000, head + 2000, head + 3000, len(data)]
    with ByHand(node, 45020) as client:
        for i in (0, 1):
            client.send(ends[i], data[ends[i]:ends[i + 1]])
            client.is_told(ends[i + 1])
        client.send(ends[3], b"")  # nothing, so it says nothing
        client.is_told(ends[2])
        client.send(ends[3], data[ends[3]:ends[4]])
        wait_for(lambda: sum(handed(node).values()) == 1, what="it is decided")
        client.send(ends[4], data[ends[4]:])
        client.send(ends[2], data[ends[2]:ends[3]])
        assert hashlib.sha256(body).hexdigest() in client.answer()
        client.send(len(data), flags="RST")
    assert holds(node) == {"lost": 1, "overtook": 1} and found(node)["added"] == steps(1000)
    none_held(node)


def test_the_end_overtakes_the_request(node):
    """A FIN that comes before the request, which was lost, is not the end: both come again."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    data = REQUEST % b"a"
    with ByHand(node, 45003) as client:
        client.send(len(data), flags="ACK FIN")
        client.send(0, data)
        assert EMPTY in client.answer()
        client.send(len(data), flags="ACK FIN")
        while not client.next()[0] & FLAGS["FIN"]:
            pass
    assert handed(node) == {"asked": 1}


@case(each=("damaged", "dropped"))
def test_other_bytes(node, how):
    """A request that TCP does not get decides nothing for the one that it gets: its checksum is wrong, or something
    between the hand-off and the server drops it."""
    node.add_client()
    a, b = hashing(node, 2)
    node.daemon(node.config(
        node.pool([a], "pool", decide="request", models={"a": "pool", "b": "other"}),
        node.pool([b], "other", frontends=[], announce=False, decide="request")))
    for port, first, then, server in ((45004, "a", "b", "s1"), (45005, "b", "a", "s0"), (45006, "a", "a", "s0")):
        requests = [post(body) + body for body in (b'{"model": "%s", "x": 1}' % m.encode() for m in (first, then))]
        before = sum(handed(node).values())
        with ByHand(node, port) as client:
            if how == "dropped":
                node.run("nft", "add table inet t; add chain inet t i { type filter hook input priority 0; }; "
                         "add rule inet t i tcp dport 8000 drop")
            client.send(0, requests[0], damage=how == "damaged")
            if how == "dropped":
                wait_for(lambda before=before: sum(handed(node).values()) > before, what="it was decided")
                node.run("nft", "delete table inet t")
            client.send(0, requests[1])
            assert f"\r\n\r\n{server} " in client.answer()
    assert holds(node) == ({"damaged": 3} if how == "damaged" else {})
    if how == "damaged":
        assert sum(handed(node).values()) == 3


def test_who_does_not_have_the_cookie(node):
    """Segments and resets of somebody who does not see the answers change nothing."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    a, b = cut(REQUEST % b"first", 40)
    with ByHand(node, 45001) as client:
        client.send(0, a)
        client.is_told(40)
        right, client.acknowledged = client.acknowledged, 12345
        for at, data, flags in ((40, b"!" * 50, "ACK"), (0, b"!" * 50, "ACK"), (41, b"", "ACK RST"), (-1, b"", "SYN")):
            client.send(at, data, flags)
        client.acknowledged = right
        client.send(39, b"?")
        while client.next()[0] & FLAGS["SYN"] or client.acknowledged != right:
            pass
        client.send(40, b)
        assert EMPTY in client.answer()
    assert holds(node)["joined"] == 1
    none_held(node)


def test_a_flood_from_one_address(node):
    """It takes the places of its own address. All are served, held or not, and those of other networks are held."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    begin, rest = cut(REQUEST % b"a", 50)
    flood = [node.connect(FRONTEND["v4"], source(1, remote=True), remote=True) for _ in range(200)]
    for c in flood:
        c.sock.sendall(begin)
    wait_for(lambda: holds(node).get("no_place", 0) + held(node) == 200, what="all came")
    assert 120 <= held(node) <= 128
    for i in (1, 2):
        with Opened(node, begin, source(256 * i, remote=True)) as other:
            assert other.more(rest).endswith(EMPTY)
    for c in flood:
        c.sock.sendall(rest)
    for c in flood:
        assert EMPTY in c.sock.recv(65536).decode() + c.sock.recv(65536).decode()
        c.close()
    said = handed(node)
    assert sum(said.values()) == 202 and set(said) <= {"asked", "unfinished"}
    none_held(node)


@case(each=("v4", "v6"))
def test_a_flood_from_one_network(node, family):
    """With all addresses of an IPv4 /24 or an IPv6 /48 it takes the places of that network, a quarter of all."""
    node.add_client()
    node.steer(hashing(node, 2), **HANDED)
    begin, rest = cut(REQUEST % b"a", 50)
    flood = [node.connect(FRONTEND[family], source(1 + i % 24, family, remote=True), remote=True) for i in range(480)]
    for c in flood:
        c.sock.sendall(begin)
    wait_for(lambda: holds(node).get("no_place", 0) + held(node) == 480, what="all came")
    assert 240 <= held(node) <= 256
    for _ in range(4):
        with Opened(node, begin, CLIENT_ADDRESS[family], to=FRONTEND[family]) as other:
            assert other.more(rest).endswith(EMPTY)
    for c in flood:
        c.close()


def test_a_place_is_free_again(node):
    """The same addresses and ports, one connection after the other."""
    node.add_client()
    node.steer(hashing(node, 1), **HANDED)
    frm = (source(5, remote=True), 33333)
    begin, rest = cut(REQUEST % b"a", 30)
    for _ in range(3):
        with Opened(node, begin, frm) as c:
            c.c.reset()
            none_held(node)
    with Opened(node, begin, frm) as c:
        assert c.more(rest).endswith(EMPTY)
    none_held(node)
