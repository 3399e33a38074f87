# SPDX-License-Identifier: Apache-2.0
"""decide: request: what the hand-off decides by is what the server reads, or the request is left alone: placed by
its address, and by no model. A row for each place where RFC 9112 leaves servers, or tempts them, to differ."""
import collections
import concurrent.futures
import http.client
import json

from clients import FRONTEND
from harness import case
from kernel import HERE, wait_for
from packages import library, need
from test_handoff import ask, handed, hashing, sessions
from test_keepalive import NginxHttp, Server, World

SAID = HERE / "keepalive"

# Decided: counted as; the session's value and the model, None: by address, and by `default`; and what the session's
# value stands in.
Row = collections.namedtuple("Row", "says request counted session model by", defaults=("asked", "a", None, "session"))

NAMED = {"decide": "request", "stickiness": {"key": "header/x-session-id, cookie/sid, authorization, source"}}
HEADERS = {"session": "X-Session-Id: %s", "cookie": "Cookie: sid=%s", "authorization": "Authorization: %s"}

GET, END = b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id: a\r\n", b"\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nX-Session-Id: a\r\n"
A, B = b'{"model":"a"}', b'{"model":"b"}'
MARK = b"\xef\xbb\xbf"


def chunks(*parts):
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (*parts, b""))


def body(data, length=None):
    return b"Content-Length: %d\r\n\r\n%s" % (len(data) if length is None else length, data)


def alone(says, request, counted="malformed"):
    return Row(says, request, counted, None, None)


def cookies(value, more=b""):
    return b"GET / HTTP/1.1\r\nHost: x\r\nCookie: %s\r\n%s\r\n" % (value, more)


def tenant(value, more=b""):
    return cookies(b"x=y", b"Authorization:%s\r\n%s" % (value, more))


ROWS = [
    # as it should be
    Row("a request", GET + END),
    Row("with a body", POST + body(A), model="a"),
    Row("with a chunked body", POST + chunks(A), model="a"),
    # the session
    alone("the session twice, with two values", GET + b"X-Session-Id: b\r\n" + END),
    alone("twice, the other letters large", GET + b"X-SESSION-ID: b\r\n" + END),
    alone("twice with one value", GET + b"X-Session-Id: a\r\n" + END),
    alone("twice, once empty", GET + b"X-Session-Id:\r\n" + END),
    alone("twice, one longer than is read", b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id: %s\r\nX-Session-Id: b\r\n\r\n"
          % (b"x" * 8200)),
    Row("blanks around it", b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id: \t a \t\r\n" + END),
    alone("a blank before the colon", b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id : a\r\n" + END, "not_said"),
    alone("an underscore in its name", b"GET / HTTP/1.1\r\nHost: x\r\nX_Session_Id: a\r\n" + END, "not_said"),
    alone("a line that goes on", GET + b" b\r\n" + END),
    alone("one that goes on by a TAB", GET + b"\tb\r\n" + END),
    alone("a blank before the first header", b"GET / HTTP/1.1\r\n X-Session-Id: a\r\nHost: x\r\n" + END),
    alone("a bare LF behind it", b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id: a\nA: b\r\n" + END),
    alone("a bare LF and another session", b"GET / HTTP/1.1\r\nHost: x\r\nA: b\nX-Session-Id: b\r\nX-Session-Id: a\r\n" + END),
    alone("a bare CR", b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id: a\rX-Session-Id: b\r\n" + END),
    alone("a NUL", b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id: a\0b\r\n" + END),
    alone("another control character", b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id: a\x0bb\r\n" + END),
    alone("a CR before the CR LF", b"GET / HTTP/1.1\r\nHost: x\r\nX-Session-Id: a\r\r\n" + END),
    Row("in the trailer of a chunked body", POST + b"Transfer-Encoding: chunked\r\n\r\nd\r\n" + A +
        b"\r\n0\r\nX-Session-Id: b\r\n\r\n", model="a"),
    # the cookie
    Row("a cookie", cookies(b"sid=a"), by="cookie"),
    Row("among others", cookies(b"x=sid=b; sids=b; sid=a ;y=b"), by="cookie"),
    Row("blanks behind it", cookies(b"sid=a\t "), by="cookie"),
    alone("a TAB before the header's value", cookies(b"\tsid=a")),
    Row("no blank behind the semicolon", cookies(b"x=b;sid=a"), by="cookie"),
    alone("a cookie twice", cookies(b"sid=a; sid=b")),
    alone("a cookie twice with one value", cookies(b"sid=a; sid=a")),
    alone("a cookie twice, once empty", cookies(b"sid=; sid=b")),
    alone("two blanks before it", cookies(b"x=y;  sid=a")),
    alone("twice, once behind two blanks", cookies(b"sid=a;  sid=b")),
    alone("a TAB before it", cookies(b"x=y;\tsid=a")),
    alone("a comma before it", cookies(b"x=y, sid=a")),
    alone("a blank within another value", cookies(b"sid=a; x=y sid=b")),
    alone("a blank before its equals sign", cookies(b"sid=a; sid =b")),
    alone("in capitals, too", cookies(b"SID=b; sid=a")),
    alone("two Cookie headers", cookies(b"sid=a", b"Cookie: sid=b\r\n")),
    alone("two Cookie headers, one without it", cookies(b"sid=a", b"Cookie: x=b\r\n")),
    # the tenant
    Row("a tenant", tenant(b" a"), by="authorization"),
    Row("blanks around a tenant", tenant(b" \t a \t"), by="authorization"),
    alone("a tenant twice", tenant(b" a", b"Authorization: b\r\n")),
    alone("a tenant that goes on", tenant(b" a\r\n b")),
    alone("a blank before its colon", tenant(b" a").replace(b"Authorization:", b"Authorization :"), "not_said"),
    Row("a tenant and a session", tenant(b" b", b"X-Session-Id: a\r\n")),
    Row("a tenant and a cookie", cookies(b"sid=a", b"Authorization: b\r\n"), by="cookie"),
    # the request line
    Row("absolute form, with another host", GET.replace(b"GET /", b"GET http://y/") + END),
    Row("a target of bytes above 127", GET.replace(b"GET /", b"GET /\xff") + END),
    Row("Host twice", GET + b"Host: y\r\n" + END),
    Row("without Host", GET.replace(b"Host: x\r\n", b"") + END),
    alone("empty lines before it", b"\r\n" + GET + END, "not_http"),
    alone("LF alone behind it", GET.replace(b"1.1\r\n", b"1.1\n") + END, "not_http"),
    alone("a blank behind it", GET.replace(b"1.1\r", b"1.1 \r") + END, "not_http"),
    Row("a blank in the target", GET.replace(b"GET /", b"GET / b") + END),
    alone("a TAB in the place of a blank", GET.replace(b"GET /", b"GET\t/") + END, "not_http"),
    alone("small letters in the method", GET.replace(b"GET", b"get") + END, "not_http"),
    alone("small letters in the version", GET.replace(b"HTTP/1.1", b"http/1.1") + END, "not_http"),
    alone("HTTP/1.0", GET.replace(b"1.1", b"1.0") + END, "not_http"),
    alone("HTTP/1.2", GET.replace(b"1.1", b"1.2") + END, "not_http"),
    # the body's length
    alone("Content-Length twice, with two values", POST + b"Content-Length: 5\r\n" + body(A)),
    alone("twice with one value", POST + b"Content-Length: 13\r\n" + body(A)),
    alone("a list", POST + b"Content-Length: 13, 13\r\n\r\n" + A),
    alone("a sign", POST + b"Content-Length: +13\r\n\r\n" + A),
    alone("below 0", POST + b"Content-Length: -13\r\n\r\n" + A),
    alone("hexadecimal", POST + b"Content-Length: 0xd\r\n\r\n" + A),
    alone("a blank within it", POST + b"Content-Length: 1 3\r\n\r\n" + A),
    alone("empty", POST + b"Content-Length: \r\n\r\n" + A),
    alone("a length of 200 digits", POST + b"Content-Length: " + b"0" * 200 + b"13\r\n\r\n" + A),
    Row("zeros before it", POST + b"Content-Length: 0013\r\n\r\n" + A, model="a"),
    alone("a blank before its colon", POST + b"Content-Length : 13\r\n\r\n" + A),
    Row("shorter than what comes", POST + body(A + B, 5)),
    Row("shorter, with the model behind its end", POST + body(b" " * 20 + A, 20)),
    Row("none, with a body", GET + END + A),
    Row("0, with a body", POST + body(A, 0)),
    # chunked
    alone("both lengths", POST + b"Content-Length: 13\r\n" + chunks(A)),
    alone("both, the other way", POST + chunks(A).replace(b"\r\n\r\n", b"\r\nContent-Length: 13\r\n\r\n", 1)),
    Row("another coding", POST + chunks(A).replace(b"chunked", b"identity"), model="a"),
    Row("chunked in capitals", POST + chunks(A).replace(b"chunked", b"CHUNKED"), model="a"),
    Row("chunked twice", POST + b"Transfer-Encoding: chunked\r\n" + chunks(A), model="a"),
    alone("a blank before the colon of Transfer-Encoding", POST + b"Transfer-Encoding : chunked\r\n" + body(A)),
    alone("Transfer-Encoding that goes on", POST + chunks(A).replace(b" chunked", b"\r\n chunked")),
    Row("an extension", POST + chunks(A).replace(b"d\r\n", b"d;x=y\r\n", 1), model="a"),
    Row("an extension that a bare LF ends", POST + chunks(A).replace(b"\r\n\r\nd\r\n", b"\r\n\r\nd;x\n", 1)),
    Row("one with a LF within", POST + chunks(A).replace(b"\r\n\r\nd\r\n", b"\r\n\r\nd;x\ny\r\n", 1)),
    Row("a size that a bare LF ends", POST + chunks(A).replace(b"\r\n\r\nd\r\n", b"\r\n\r\nd\n", 1)),
    Row("a size with a prefix", POST + chunks(A).replace(b"\r\n\r\nd\r\n", b"\r\n\r\n0xd\r\n", 1)),
    Row("a size with a sign", POST + chunks(A).replace(b"\r\n\r\nd\r\n", b"\r\n\r\n+d\r\n", 1)),
    Row("a size with an underscore", POST + chunks(A).replace(b"\r\n\r\nd\r\n", b"\r\n\r\n0_d\r\n", 1)),
    Row("a blank behind the size", POST + chunks(A).replace(b"\r\n\r\nd\r\n", b"\r\n\r\nd \r\n", 1), model="a"),
    Row("a size of 2^32 and more", POST + chunks(A).replace(b"\r\n\r\nd\r\n", b"\r\n\r\n10000000d\r\n", 1)),
    # the model
    Row("a mark of UTF-8 before the object", POST + body(MARK + A), model="a"),
    Row("UTF-16", POST + body(A.decode().encode("utf-16"))),
    Row("compressed, as it says", POST + b"Content-Encoding: gzip\r\n" + body(b"\x1f\x8b\x08" + A)),
    Row("deeper in the object", POST + body(b'{"x":%s}' % B)),
    Row("in a string", POST + body(b'{"x":"\\"model\\":\\"b\\","}')),
    Row("an escape in the key", POST + body(b'{"mo\\u0064el":"a"}'), model="a"),
]


@case(timeout=120)
def test_what_is_decided(node):
    """Each row is decided as it says."""
    models = {"a": "pool", "b": "pool", "default": "pool"}
    node.steer(hashing(node, 1), models=models, **NAMED)
    known = {}
    for by, header in HEADERS.items():
        for value in "ab":
            before = sessions(node)
            ask(node, dict([(header % value).split(": ")]), remote=False)
            (known[by, value],) = sessions(node) - before

    def asked():
        (pool,) = node.cli("pools")
        return {row["model"]: row["requests"] for row in pool["models"]}

    counts, models_counts = collections.Counter(handed(node)), collections.Counter(asked())
    bound = sessions(node)
    for row in ROWS:
        if bound:
            node.pintle("unbind", "--pool", "pool")
        before, models_before = counts, models_counts
        with node.connect(FRONTEND["v4"]) as c:
            c.sock.sendall(row.request)
            wait_for(lambda before=before: collections.Counter(handed(node)) - before, what=f"a decision: {row.says}")
            counts, models_counts = collections.Counter(handed(node)), collections.Counter(asked())
            bound = sessions(node)
        found = {at for at, session in known.items() if session in bound}
        assert counts - before == {row.counted: 1}, (row.says, counts - before)
        assert found == ({(row.by, row.session)} if row.session else set()), (row.says, found)
        assert models_counts - models_before == {row.model or "default": 1}, (row.says, models_counts - models_before)


# -- what servers read ------------------------------------------------------------------


class Asgi(Server):
    def command(self):
        return [library("python") / "bin/python", "-B", SAID / "said.py", self.name, self.listen]


class NodeHttp(Server):
    def command(self):
        return [need("node"), SAID / "said.mjs", self.listen]


class GoHttp(Server):
    def command(self):
        return [library("go") / "http", "said", self.listen]

    def environment(self):
        return {**super().environment(), "GODEBUG": "multipathtcp=0"}


class Nginx(NginxHttp):
    CONFIG = NginxHttp.CONFIG.replace("""return 200 '{{"choices": [{{"index": 0, "message": {{"content": "word"}}}}]}}'""",
                                      """return 200 '{{"session": ["$http_x_session_id"],
                                         "cookie": ["$cookie_sid"], "authorization": ["$http_authorization"]}}'""")


SERVERS = {"h11": Asgi, "httptools": Asgi, "hypercorn": Asgi, "nginx": Nginx, "node": NodeHttp, "go": GoHttp}


def read_by(node, port, request):
    """What the server says it has read: {"session": [values], "model": name}; None: it refused."""
    with node.connect(f"10.77.0.1:{port}", remote=True, timeout=1) as c:  # some wait for more
        c.sock.sendall(request)
        answer = http.client.HTTPResponse(c.sock)
        try:
            answer.begin()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        return json.loads(said, strict=False) if answer.status == 200 else None


def read_all_by(world, name):
    """Has one server read each row; returns how many it answered."""
    answered = 0
    for row in ROWS:
        said = read_by(world.node, world.port(name), row.request)
        if not said:
            continue
        answered += 1
        if row.session and row.by in said:
            # Not all take the blanks off that are around it; httptools shows trailers behind the headers.
            assert said[row.by][0].strip(" \t") == row.session, (name, row.says, said)
        # Some parsers, as Node's and Go's, take no mark of UTF-8: their servers refuse the body.
        refused = MARK in row.request and said.get("model", row.model) is None
        if row.model and not refused:
            assert said.get("model", row.model) == row.model, (name, row.says, said)
    return answered


@case(timeout=120)
def test_servers_read_it_so(node):
    """Each server reads what was decided by, or refuses the request; where it is left alone, it may read anything."""
    world = World(node, tuple(SERVERS), kinds=SERVERS, decide="request", **{
        "stickiness": NAMED["stickiness"], "requests": "as-they-come"})
    # Some servers wait for more of some rows until the client has had enough, each by itself.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answered = dict(zip(world.servers, pool.map(lambda name: read_all_by(world, name), world.servers)))
    assert min(answered.values()) >= 10, answered
