# SPDX-License-Identifier: Apache-2.0
"""The session key `agent`: the headers by which agents and clients name their conversations, and members of the
JSON object that is the body; and `body/NAME`, one such member."""
import hashlib
import json
import re

import tc
from clients import FRONTEND, source
from harness import case
from kernel import HERE, wait_for
from test_handoff import WHERE, exchange, handed, hashing, sessions
from test_hold import holds, none_held

TOP = HERE.parents[1]
KEYS = re.findall(r'X\("([a-z]+)/([^"]+)"', (TOP / "userspace/policy/agent_keys.h").read_text())
HEADERS = [name for kind, name in KEYS if kind == "header"]
MEMBERS = [name for kind, name in KEYS if kind == "body"]


def body_of(values):
    """The body in which the members have these values; those of objects in an object of their own."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    for name, value in values.items():
        outer, _, inner = name.rpartition(".")
        (body.setdefault(outer, {}) if outer else body)[inner or name] = value
    return json.dumps(body).encode()


def request(headers, body=b"", more=b""):
    """The pieces of a request: its headers, and its body."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + lines + more
    return [head + b"Content-Length: %d\r\n\r\n" % len(body), body]


class Asked:
    """A pool that says nothing of sessions, or `key`; its answers say what the servers got."""

    def __init__(self, node, key=None, count=2, **stickiness):
        node.add_client()
        if key:
            stickiness["key"] = key
        self.node, self.known = node, set()
        node.steer(hashing(node, count), decide="request", **({"stickiness": stickiness} if stickiness else {}))

    def send(self, pieces, **more):
        """Sends it; returns the sessions that are new. The server gets the body as it was sent."""
        body = b"".join(pieces).split(b"\r\n\r\n", 1)[1]
        got = exchange(self.node, [p for p in pieces if p], pause=0.01, **more)
        assert got and got.endswith(hashlib.sha256(body).hexdigest()), (pieces, got)
        wait_for(lambda: not any(self.node.in_flight().values()), what="it is over")
        new = sessions(self.node) - self.known
        self.known |= new
        return {s for s in new if s.startswith("request:")}

    def same(self, headers, body=b""):
        """Whether the request is of a session that is known, and named."""
        before = handed(self.node).get("asked", 0)
        return not self.send([b"".join(request(headers, body))]) and handed(self.node).get("asked", 0) == before + 1


@case(each=WHERE[:1] + WHERE[2:3], timeout=120)
def test_each_key(node, where):
    """Each header and each member names sessions, where nothing says what does: in one segment, and in two."""
    a, remote = Asked(node), "remote" in where
    assert node.cli("pools")[0]["session_key"] == "agent,source", node.cli("pools")
    for kind, name in KEYS:
        for value in ("a", "b b"):
            headers, body = ({name: value}, b"") if kind == "header" else ({}, body_of({name: value}))
            whole = request(headers, body)
            assert len(a.send(whole, remote=remote)) == 1, (name, value)
            assert not a.send([b"".join(whole)], remote=remote), (name, value)
            told = node.cli("explain", "pool", *(f"--header={n}: {v}" for n, v in headers.items()),
                            *(("--prompt", node.write("body", body.decode())) if body else ()),
                            "--source", source(1, remote=remote))
            assert told["session_by"] == f"{kind}/{name}", (name, told)
    assert handed(node) == {"asked": 4 * len(KEYS)}
    assert not holds(node).get("late") and not held_at_all(node)


def held_at_all(node):
    none_held(node)
    return False


@case(timeout=90)
def test_the_first_counts(node):
    """Of two that a request has, the first of the table counts: headers before members."""
    a = Asked(node)
    for (kind, name), (other_kind, other) in zip(KEYS, KEYS[1:]):
        values = {k: {} for k in ("header", "body")}
        values[kind][name] = "one"
        alone = values["header"].copy(), body_of(values["body"])
        if {name, other} & {"conversation"} and {name, other} & {"conversation.id"}:
            continue  # it is a string, or an object
        values[other_kind][other] = "other"
        a.send([b"".join(request(*alone))])
        assert a.same(values["header"], body_of(values["body"])), (name, other)
    # Wherever it stands in the body.
    last = json.dumps({"user": "x", "prompt_cache_key": "one"}).encode()
    assert a.same({}, last)


@case(timeout=90)
def test_hostile_bodies(node):
    """What is nested too deep, cut or no string names nothing; what is escaped or there twice is the
    client's own session. Every body arrives."""
    a = Asked(node)
    none = [
        b'{"a":{"b":{"user":"x"}}}', b'{"metadata":{"user":"x"}}', b'{"messages":[{"user":"x"}]}',
        b'{"a":{"session_params":{"session_id":"x"}}}', b'{"session_params":[{"session_id":"x"}]}',
        b'[{"user":"x"}]', b'{"user":["x"]}', b'{"user":7}', b'{"user":null}', b'{"user":""}', b'{"user":"x',
        b'{"a":"\\",\\"user\\":\\"x"}', b'"user":"x"', b'{"user":"x\\',
        b'{' * 5000, b'{"a":' * 2000 + b'{"user":"x"}', b'{"a":{' * 700, b'"' * 999, b"\x00" * 999,
        b'{"%s":"x"}' % (b"user" * 2000), b'{"session_params.":{"session_id":"x"}}', b"{}\n" + b'{"user":"x"}',
    ]
    for body in none:
        assert not a.send([b"".join(request({}, body))]), body[:60]
    assert handed(node) == {"not_said": len(none)}
    same = [(b'{"user":"x"}', b'{"user":"x","user":"y"}'), (b'{"user":"1"}', b'{"user":1,"user":"1"}'),
            (b'{"user":"a\\"b\\u00e9"}', b'{ "user" :\t"a\\"b\\u00e9" }'), (b'{"user":"z"}', b'\xef\xbb\xbf{"user":"z"}'),
            (b'{"user":"%s"}' % (b"x" * 900), b'{"\\u0075ser":"%s"}' % (b"x" * 900)),
            (b'{"session_params":{"session_id":"s"}}', b'{"session_params":{"a":{"session_id":"t"},"session_id":"s"}}'),
            (b'{"user":"w"}', b'{"session_params":{},"a":{"b":[{}]},"user":"w"}')]
    for one, other in same:
        assert len(a.send([b"".join(request({}, one))])) == 1, one[:60]
        assert a.same({}, other), other[:60]
    # Two lines of a header: servers read the first, the last, or both.
    a.send([b"".join(request({"session-id": "a"}, more=b"Session-Id: a\r\n"))])
    assert handed(node)["malformed"] == 1


@case(timeout=90)
def test_as_far_as_it_is_seen(node):
    """A member before a long prompt is seen, one behind it is not; a chunked body is read in its first chunk."""
    a = Asked(node)
    long = "x" * 200000
    first = json.dumps({"user": "a", "prompt": long}).encode()
    last = json.dumps({"prompt": long, "user": "a"}).encode()
    for pieces in (request({}, first), [b"".join(request({}, first))]):
        a.send(pieces)
    assert handed(node) == {"asked": 2} and len([s for s in a.known if s.startswith("request:")]) == 1
    for pieces in (request({}, last), [b"".join(request({}, last))]):
        a.send(pieces)
    assert handed(node) == {"asked": 2, "not_said": 2}
    head, _ = request({})
    head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    for pieces in ([head + b'c\r\n{"user":"c"}\r\n0\r\n\r\n'], [head, b'c\r\n{"user":"c"}\r\n0\r\n\r\n']):
        assert exchange(node, pieces, pause=0.05).startswith("HTTP/1.1 200")
    assert handed(node) == {"asked": 4, "not_said": 2}
    wait_for(lambda: len([s for s in sessions(node) if s.startswith("request:")]) == 2)


@case(each=(False, True))
def test_another_clients_name(node, shared):
    """A client that names the conversation of another address has its own, unless sessions are shared."""
    a = Asked(node, **({"shared": True} if shared else {}))
    for headers, body in (({"Session-Id": "a"}, b""), ({}, body_of({"prompt_cache_key": "a"}))):
        found = []
        for client in (1, 2):
            with node.connect(FRONTEND["v4"], source(client, remote=True), remote=True) as c:
                c.sock.sendall(b"".join(request(headers, body)))
                assert c.read()
            found += sessions(node) - a.known
            a.known |= sessions(node)
        assert len(found) == (1 if shared else 2), (headers, found)


@case(timeout=60)
def test_keys_of_ones_own(node):
    """Members and agent among other keys, in the order in which they were written; eight of them."""
    key = ["body/metadata.user_id", "header/x-a", "body/user", "cookie/sid", "agent", "authorization", "header/x-b",
           "header/x-c", "source"]
    a = Asked(node, key)
    assert node.cli("pools")[0]["session_key"] == ",".join(key)
    meta, user = body_of({"metadata.user_id": "m"}), body_of({"user": "u"})
    alone = [({}, meta), ({"X-A": "a"}, b""), ({}, user), ({"Cookie": "sid=c"}, b""), ({"session-id": "s"}, b""),
             ({"Authorization": "k"}, b""), ({"X-B": "b"}, b""), ({"X-C": "c"}, b"")]
    for headers, body in alone:
        assert len(a.send([b"".join(request(headers, body))])) == 1, headers
    everything = {k: v for headers, _ in alone for k, v in headers.items()}
    for at, (headers, body) in enumerate(alone):
        rest = [b for _, b in alone[at:] if b]
        assert a.same({k: v for k, v in everything.items() if k in {n for h, _ in alone[at:] for n in h}},
                      rest[0] if rest else b""), (at, headers)


def diff(node, key):
    result = node.pintle("diff", "-o", "json", check=False)
    return [row for row in json.loads(result.stdout) if row["key"] == key]


@case(timeout=60)
def test_set_while_it_runs(node):
    """agent is set, and is what `decide` begins with."""
    node.add_client()
    node.steer(hashing(node, 2))
    assert node.cli("pools")[0]["session_key"] == "source"
    node.pintle("set", "pool", "decide=request")
    wait_for(lambda: node.cli("pools")[0]["session_key"] == "agent,source", what="it is decided by request")
    row, = diff(node, "decide")
    assert row["file"] == "connection", row
    node.pintle("set", "pool", "stickiness.key=body/user, source/24")
    wait_for(lambda: node.cli("pools")[0]["session_key"] == "body/user,source", what="another key")
    row, = diff(node, "stickiness.key")
    assert row["file"] == "source", row
    node.pintle("reset", "pool", "stickiness.key")
    wait_for(lambda: node.cli("pools")[0]["session_key"] == "agent,source", what="agent again")
    assert tc.attached(node, node.netns, "pintle_hand")
