# SPDX-License-Identifier: Apache-2.0
"""models: of a pool that is decided by request: the model that a request names says which pool serves it."""
import hashlib
import json
import socket
import threading

import tc
from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from packages import library
from test_classes import empty, fill
from test_handoff import WHERE, Hashing, Unattended, exchange, handed, overflows, sessions
from test_hold import ByHand

MODELS = {"llama": "a", "llama:sql": "a", "qwen": "b", "default": "a"}
EMPTY = hashlib.sha256(b"").hexdigest()


def chat(model, filler=0, last=False):
    """The body of a chat of about `filler` bytes, with the model before or behind it."""
    name, messages = {"model": model}, {"messages": [{"role": "user", "content": "hi " * (filler // 3)}]}
    return json.dumps({**messages, **name} if last else {**name, **messages}).encode()


def post(body, *headers):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    return head + b"".join(h + b"\r\n" for h in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


class World:
    """Pool a, whose frontends are for the models of all pools, and pool b, which has none of its own."""

    def __init__(self, node, models=None, each=1, b=None, **more):
        self.node, self.models = node, models or MODELS
        node.add_client()
        self.servers = {pool: [Hashing(node, f"{pool}{i}", port + i) for i in range(each)]
                        for pool, port in (("a", 8001), ("b", 8101))}
        self.b = b or {}
        self.daemon = node.daemon(self.config(self.models, **more))

    def config(self, models, **more):
        return self.node.config(
            self.node.pool(self.servers["a"], "a", decide="request", models=models, **more),
            self.node.pool(self.servers["b"], "b", **{"frontends": [], "announce": False, **self.b}))

    def ask(self, request, frm=None, *, family="v4", remote=True, body=None):
        """The pool whose server got this request, or only its body; None: reset; a number: the status of the
        answer of another than the servers."""
        got = b""
        with self.node.connect(FRONTEND[family], frm, remote=remote) as c:
            try:
                c.sock.sendall(request)
                while data := c.sock.recv(65536):
                    got += data
            except ConnectionResetError:
                return None
        got = got.decode()
        if not got.startswith("HTTP/1.1 200"):
            return int(got.split()[1])
        server, digest = got.rsplit("\r\n", 1)[1].split()
        body = request.split(b"\r\n\r\n", 1)[1] if body is None else body
        assert digest == hashlib.sha256(body).hexdigest(), got
        return server[0]

    def rows(self):
        """The models of the pool that is asked."""
        (a,) = (p for p in self.node.cli("pools") if p["name"] == "a")
        return a["models"]

    def known(self):
        return {m["model"] for m in self.rows()}

    def counts(self):
        """{model: requests}, without the zeros."""
        return {m["model"]: m["requests"] for m in self.rows() if m["requests"]}


@case(each=WHERE)
def test_each_model_has_its_pool(node, where):
    """Requests go to the pool of their model, and each pool counts its own decisions."""
    w, how = World(node, each=2), {"family": where[:2], "remote": "remote" in where}
    for _ in range(3):
        for model, pool in (("llama", "a"), ("llama:sql", "a"), ("qwen", "b"), ("unknown", "a")):
            assert w.ask(post(chat(model)), **how) == pool, model
    assert w.counts() == {"llama": 3, "llama:sql": 3, "qwen": 3, "default": 3}
    assert (sum(node.decisions("a").values()), sum(node.decisions("b").values())) == (9, 3)
    assert handed(node, "a") == {"not_said": 12} and not handed(node, "b")
    wait_for(lambda: not any(node.in_flight().values()))


def test_where_the_name_may_stand(node):
    """The name counts wherever it stands in what can be seen, and nothing that looks like it."""
    w = World(node)
    nested = b'{"tools":[{"model":"qwen"}],"metadata":{"model":"qwen"},"model":"llama"}'
    quoted = json.dumps({"prompt": '","model":"qwen","', "x": "\\", "model": "llama"}).encode()
    chunked = post(b"", b"Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    rows = [
        ("b", post(chat("qwen", 1000))),
        ("b", post(chat("qwen", 1000, last=True))),
        ("b", post(chat("qwen", 5000, last=True))),
        ("a", post(chat("qwen", 100000, last=True))),  # not visible: the default
        ("b", post(chat("qwen", 100000))),
        ("a", post(nested)),
        ("a", post(quoted)),
        ("b", post(b'{"mod\\u0065l":"q\\u0077en"}')),
        ("b", post(b' {\n\t"model" :\r\n "qwen" } ')),
        ("a", post(b'{"model":"qwen ","x":1}')),
        ("a", post(b'{"model":["qwen"]}')),
        ("a", post(b'[{"model":"qwen"}]')),
        ("a", post(b"model=qwen")),
        ("a", post(b"\x1f\x8b\x08" + b"qwen" * 20, b"Content-Encoding: gzip")),
        ("a", b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ]
    for i, (pool, request) in enumerate(rows):
        assert w.ask(request) == pool, (i, request[:200])
    # Hashing reads no chunks: what comes behind the headers is none of its business.
    assert w.ask(chunked + b'10\r\n{"model":"qwen"}\r\n0\r\n\r\n', body=b"") == "b"
    assert w.ask(chunked + b'1\r\n{\r\nf\r\n"model":"qwen"}\r\n0\r\n\r\n', body=b"") == "a"
    assert w.counts() == {"qwen": 7, "llama": 2, "default": 8}


def test_the_name_behind_a_long_prompt(node):
    """Of a body that is too long to be read, its end is, if it can be seen: over loopback, in a segment of 32 kB."""
    w = World(node)
    rows = [("b", chat("qwen", n, last=True)) for n in (*range(16000, 16500, 21), 24000, 31000)]
    rows += [
        ("a", chat("qwen", 100000, last=True)),
        # Nothing that looks like it counts there, either.
        ("a", json.dumps({"prompt": "x" * 20000, "metadata": {"n": 1, "model": "qwen"}}).encode()),
        ("a", json.dumps({"prompt": "x" * 20000 + '","model":"qwen","', "n": 1}).encode()),
        ("a", json.dumps({"prompt": "x" * 20000 + "\\", "model": "llama"}).encode()),
        ("a", json.dumps({"model": ["qwen"], "prompt": "x" * 20000, "n": "model", "m": "qwen"}).encode()),
        ("b", json.dumps({"prompt": "x" * 20000 + '\\"', "model": "qwen", "metadata": {"model": "llama"}}).encode()),
        ("b", json.dumps({"prompt": "x" * 20000, "model": "qwen", "stop": ["}", "]"] * 40}).encode() + b"\r\n"),
        ("a", json.dumps({"prompt": "x" * 20000, "model": "qwen", "stop": ["}" * 512]}).encode()),  # too far before it
    ]
    for i, (pool, body) in enumerate(rows):
        assert w.ask(post(body), remote=False) == pool, (i, len(body), body[-200:])
    # A malformed request names no model.
    assert w.ask(post(chat("qwen", 20000, last=True), b"Connection : keep-alive"), remote=False) == "a"
    # The end is where Content-Length says, not where the segment ends.
    body = chat("llama", 30000, last=True)
    assert w.ask(post(body) + post(chat("qwen")), remote=False, body=body) == "a"
    assert w.counts() == {"qwen": 28, "llama": 2, "default": 6}


@case(each=("v4", "v6"))
def test_urgent_data(node, family):
    """A request with urgent data is malformed, and names no model: not where its body begins, nor in its last bytes."""
    w = World(node)
    bodies = chat("qwen"), chat("qwen", 20000, last=True)
    for body in bodies:  # first, while nothing is left of other requests
        with node.connect(FRONTEND[family]) as c:
            c.sock.sendall(post(body), socket.MSG_MORE)
            c.sock.sendall(b"!", socket.MSG_OOB)
            assert c.read().split() == ["a0", hashlib.sha256(body).hexdigest()]
    assert [w.ask(post(body), family=family, remote=False) for body in bodies] == ["b", "b"]
    assert handed(node, "a") == {"not_said": 2, "malformed": 2}
    assert w.counts() == {"qwen": 2, "default": 2}


@case(each=WHERE)
def test_the_body_behind_the_headers(node, where):
    """Most clients write the headers and the body one after the other: the headers are held until the body's
    first bytes are there, unless the client waits to be asked for them."""
    w, how = World(node), {"family": where[:2], "remote": "remote" in where}
    for body in (chat("qwen"), chat("qwen", 5000), chat("qwen", 100000)):
        request = post(body)
        head = request[:-len(body)]
        for pieces in ([head, body], [head[:30], head[30:], body], [head, body[:20], body[20:]]):
            got = exchange(node, pieces, **how)
            assert got.rsplit("\r\n", 1)[1].split() == ["b0", hashlib.sha256(body).hexdigest()], got
    body = chat("qwen")
    got = exchange(node, [post(body, b"Expect: 100-continue")[:-len(body)], body], **how)
    assert got.startswith("HTTP/1.1 100"), got  # the default's server asks for the body
    assert w.counts() == {"qwen": 9, "default": 1}


MARK = b"\xef\xbb\xbf"


@case(each=WHERE)
def test_a_byte_order_mark(node, where):
    """A body that begins with the mark of UTF-8, as .NET and Windows write it, names its model like any other: in the
    headers' segment, behind them, and cut within the mark."""
    w, how = World(node), {"family": where[:2], "remote": "remote" in where}
    body = MARK + chat("qwen", 5000)
    request = post(body)
    head = request[:-len(body)]
    cuts = [[request], [head, body], *([request[:len(head) + n], body[n:]] for n in (1, 2, 3)),
            [head[:30], head[30:] + body[:2], body[2:]]]
    for pieces in cuts:
        got = exchange(node, pieces, **how)
        assert got.rsplit("\r\n", 1)[1].split() == ["b0", hashlib.sha256(body).hexdigest()], (pieces[0][-50:], got)
    # Nothing follows the mark: nobody waits for more.
    assert w.ask(post(MARK), **how) == "a"
    chunked = post(b"", b"Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    assert w.ask(chunked + b"13\r\n" + MARK + b'{"model":"qwen"}\r\n0\r\n\r\n', body=b"", **how) == "b"
    assert w.counts() == {"qwen": len(cuts) + 1, "default": 1}, w.counts()


@case(timeout=120)
def test_openai(node):
    """The package openai, unmodified: chats with two models and an adapter, and what an unknown one gets."""
    python = library("python") / "bin/python"
    script = """
import sys, openai
client = openai.OpenAI(base_url=f"http://{sys.argv[1]}/v1", api_key="none", max_retries=0)
def chat(model, **more):
    return client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": "Which model? " * 100}], **more).http_response.text
for model in ("llama", "llama:sql", "qwen") * 3:
    print(model, chat(model).split()[0])
    with client.chat.completions.with_streaming_response.create(model=model, messages=[], stream=True) as answer:
        print(model, answer.read().decode().split()[0])
try:
    chat("gpt")
except openai.NotFoundError as e:
    print("gpt", e.code)
"""
    w = World(node, {"llama": "a", "llama:sql": "a", "qwen": "b"}, each=2, requests="one-per-connection")
    wait_for(lambda: w.daemon.metrics().get(("pintle_overload_up", ())) == 1)
    out = node.run(python, "-B", "-c", script, FRONTEND["v4"], netns=node.client_netns, timeout=60).stdout
    met = [tuple(line.split()) for line in out.splitlines()]
    assert met.pop() == ("gpt", "model_not_found") and len(met) == 18, met
    assert all(server[0] == ("b" if model == "qwen" else "a") for model, server in met), met
    assert w.counts() == {"llama": 6, "llama:sql": 6, "qwen": 6, "default": 1}


@case(each=("v4", "v6"))
def test_nobody_serves_it(node, family):
    """Without a default, a request for another model is answered 404 in OpenAI's words; without the responder
    it is reset. Other requests are served."""
    w = World(node, {"llama": "a", "qwen": "b"})
    wait_for(lambda: w.daemon.metrics().get(("pintle_overload_up", ())) == 1)
    got = exchange(node, [post(chat("gpt"))], family=family)
    head, body = got.split("\r\n\r\n", 1)
    assert head.startswith("HTTP/1.1 404 Not Found") and "Retry-After" not in head, head
    assert json.loads(body)["error"]["code"] == "model_not_found", body
    assert w.ask(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", family=family) == 404
    assert w.ask(post(chat("qwen")), family=family) == "b"
    assert handed(node, "a") == {"no_model": 2, "not_said": 1}
    assert w.counts() == {"qwen": 1, "default": 2}
    assert sum(node.decisions("a").values()) == 0
    metrics = w.daemon.metrics()
    assert metrics[("pintle_overload_connections_total", (("result", "no_model"),))] == 2
    assert metrics[("pintle_model_requests_total", (("model", "qwen"), ("pool", "a")))] == 1
    w.daemon.kill()
    wait_for(lambda: w.ask(post(chat("gpt")), family=family) is None)  # the responder ends with pintled
    assert w.ask(post(chat("qwen")), family=family) == "b"
    assert "no_model" in handed(node, "a")


def test_the_same_port_asks_for_another_model(node):
    """A connection whose request was answered 404 says nothing about the next one from its port."""
    w = World(node, {"llama": "a", "qwen": "b"})
    wait_for(lambda: w.daemon.metrics().get(("pintle_overload_up", ())) == 1)
    frm = (source(5, remote=True), 33333)
    for model, status in (("gpt", b"404"), ("qwen", b"200"), ("gpt", b"404"), ("llama", b"200")):
        with node.connect(FRONTEND["v4"], frm, remote=True) as c:
            c.sock.sendall(post(chat(model)))
            assert c.sock.recv(65536).split()[1] == status, model
            c.reset()  # so that the port is free at once


def test_the_same_port_asks_after_an_answer_of_the_responder(node):
    """Where a class is full, its client gets the responder's answer; the next connection from its port is decided by
    what that asks, also within the 10 s in which a decision holds."""
    node.add_client()
    a, b = node.server("a0", 8001), node.server("b0", 8101)
    frm = (source(5, remote=True), 33333)
    batch = {"name": "batch", "priority": -1, "rules": [{"source": frm[0]}], "limit": 3, "admission": "divert"}
    daemon = node.daemon(node.config(
        node.pool([a], "a", decide="request", models={"llama": "a", "qwen": "b"}, classes=[{"name": "chat"}, batch]),
        node.pool([b], "b", frontends=[], announce=False)))
    wait_for(lambda: daemon.metric("pintle_overload_up") == 1)
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})

    def ask(model):
        with node.connect(FRONTEND["v4"], frm, remote=True) as c:
            c.sock.sendall(post(chat(model)))
            status = c.sock.recv(65536).split()[1]
            c.reset()  # so that the port is free at once
        return int(status)

    fill(a)
    assert [ask(m) for m in ("llama", "qwen", "llama", "gpt", "gpt", "llama")] == [429, 200, 429, 404, 404, 429]
    empty(a)
    assert ask("llama") == 200
    assert node.decisions("a")["diverted"] == 3
    assert handed(node, "a") == {"not_said": 5, "no_model": 2}


def with_a_full_queue(node):
    """Steers the model llama to a server that takes no more connections."""
    node.add_client()
    node.server("pages", 8002)
    server = Unattended(node, "a0", 8001)
    daemon = node.daemon(node.config(node.pool(
        [{"name": "a0", "listen": server.listen, "metrics": "http://127.0.0.1:8002/metrics"}], "a",
        decide="request", models={"llama": "a"})))
    server.heard()
    wait_for(lambda: daemon.metric("pintle_overload_up") == 1)
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    others = [node.connect(FRONTEND["v4"], remote=True) for _ in range(4)]
    for c in others:
        c.sock.sendall(post(chat("llama")))
    wait_for(lambda: overflows(node) > 2)
    return server, others


def test_the_same_port_asks_for_no_model(node):
    """A connection that its server never took, and then one from its port whose request names no model that there is:
    nothing of the first stays counted."""
    _still_there = with_a_full_queue(node)
    frm = (source(5, remote=True), 33333)
    with node.connect(FRONTEND["v4"], frm, remote=True) as c:
        c.sock.sendall(post(chat("llama")))
        wait_for(lambda: handed(node, "a") == {"not_said": 5})
        c.reset()
    with node.connect(FRONTEND["v4"], frm, remote=True) as c:
        c.sock.sendall(post(chat("gpt")))
        assert c.sock.recv(65536).split()[1] == b"404"
    row = node.endpoint("a0")
    assert (row["placed"], row["failed"]) == (5, 1), row


def test_the_same_port_with_cookies_alike(node):
    """Connections of one port are told apart by more of their cookies than a few bits: the second one's, divided by 255,
    leaves what the first one's does, which its server never took."""
    _still_there = with_a_full_queue(node)
    with ByHand(node, 33333) as c:
        c.send(0, post(chat("llama")))
        wait_for(lambda: handed(node, "a") == {"not_said": 5})
        former = c.acknowledged
        for first in range(2001, 12001):
            c.begin(first)
            if c.acknowledged % 255 == former % 255:
                break
        assert c.acknowledged % 255 == former % 255
        c.send(0, post(chat("gpt")))
        while not (answer := c.next()[3]):
            pass
        assert answer.split()[1] == b"404", answer


def test_tls_has_no_model(node):
    """What is no plain HTTP/1.1 names no model that can be seen."""
    w = World(node, {"llama": "a", "qwen": "b", "default": "b"})
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n"
    for garbage in (hello, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff" * 700):
        exchange(node, [garbage], end=True)
    assert w.ask(post(chat("llama"), b"Connection : close")) == "b"  # malformed
    assert w.counts() == {"default": 4}
    assert handed(node, "a") == {"not_http": 3, "malformed": 1}


def test_sessions_are_those_of_the_models_pool(node):
    """The pool that serves the model says what makes a session."""
    w = World(node, each=2, b={"decide": "request", "stickiness": {"key": "header/x-user, source"}},
              stickiness={"key": "header/x-session-id, source"})
    for i in range(4):
        for model in ("llama", "qwen"):
            w.ask(post(chat(model), b"X-Session-Id: %d" % i, b"X-User: %d" % (i % 2)))
    found = [s["pool"] for s in node.cli("sessions")]
    assert (found.count("a"), found.count("b")) == (4, 2), found
    assert len(sessions(node)) == 6
    assert handed(node, "a") == {"asked": 8}
    assert node.decisions("b")["sticky"] == 2


def test_without_a_daemon(node):
    """Models go on without a daemon and with the next, which keeps the counts."""
    w = World(node)
    assert w.ask(post(chat("qwen"))) == "b"
    w.daemon.kill()
    assert w.ask(post(chat("qwen"))) == "b"
    w.daemon = node.daemon(w.config(MODELS))
    assert w.ask(post(chat("qwen"))) == "b"
    assert w.counts() == {"qwen": 3}


@case(timeout=120)
def test_reload_under_load(node):
    """Models come, go and move while requests are made, and none fails or reaches a pool that never had it."""
    w = World(node, {"llama": "a", "qwen": "b", "x": "a", "default": "a"})
    failed, count, stop = [], [0], threading.Event()

    def load(model, pools):
        while not stop.is_set():
            count[0] += 1
            # Each from an address of its own: a port that is used again may be in TIME-WAIT.
            got = w.ask(post(chat(model)), source(count[0], remote=True))
            if got not in pools:
                failed.append((model, got))

    threads = [threading.Thread(target=load, args=row)
               for row in (("llama", "a"), ("qwen", "b"), ("x", "ab"), ("unknown", "ab"))]
    for t in threads:
        t.start()
    try:
        for i in range(12):
            before = count[0]
            w.daemon.reload(w.config({"llama": "a", "qwen": "b", **({"x": "ab"[i % 2]} if i % 3 else {}),
                                      "default": "ab"[i % 2], **{f"n{i}-{k}": "b" for k in range(100)}}))
            wait_for(lambda: (f"n{i}-0" in w.known() and count[0] > before + 8) or failed)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failed, failed[:5]
    wait_for(lambda: w.known() == {"llama", "qwen", "x", "default"} | {f"n11-{k}" for k in range(100)})
    w.daemon.reload(node.config(node.pool(w.servers["a"], "a", decide="request",
                                          stickiness={"key": "header/x-session-id, source"})))
    wait_for(lambda: not w.known())
    assert w.ask(post(chat("qwen"))) == "a"
    w.daemon.reload(w.config({"qwen": "b", "default": "a"}))
    wait_for(lambda: w.ask(post(chat("qwen"))) == "b")


def test_by_connection_goes_to_the_default(node):
    """A connection that the kernel takes by itself shows its request to nobody: it is the default's."""
    w = World(node, {"llama": "a", "default": "b"})
    tc.take_away(node, "pintle_hand", "lo")
    assert w.ask(post(chat("llama")), remote=False) == "b"
    assert sum(node.decisions("b").values()) == 1


def test_mode_off(node):
    """In mode off of the pool that is asked, its models are nobody's business."""
    w = World(node)
    early = node.connect(FRONTEND["v4"], remote=True)
    node.pintle("mode", "a", "off")
    early.sock.sendall(post(chat("qwen")))
    try:
        assert early.sock.recv(100) == b""  # nothing else listens there
    except ConnectionResetError:
        pass
    assert sum(node.decisions("b").values()) == 0
    told = node.cli("explain", "a", "--model", "qwen", "--source", source(1, remote=True))
    assert (told["asked"], told["mode"], told["chosen"]) == ("a", "off", None), told
    node.pintle("mode", "a", "enforce")
    assert w.ask(post(chat("qwen"))) == "b"


def test_mode_off_of_the_models_pool(node):
    """Its requests are reset, as the CLI says, and no fallback takes them, until somebody listens at the frontend
    itself. A pool that is on, and whose server is gone, has its fallback."""
    w = World(node, {"llama": "a", "qwen": "b"}, b={"fallback": ["a"]})
    text = node.pintle("mode", "b", "off").stderr
    assert f"answers {FRONTEND['v4']}: with b off, requests there for its models are reset" in text, text
    assert "connections to it are refused" not in text, text
    assert w.ask(post(chat("qwen"))) is None and w.ask(post(chat("llama"))) == "a"
    assert node.decisions("b") == {"passed": 1}
    says = "would be reset, unless a server listens at the frontend itself: mode off"
    assert says in node.pintle("explain", "a", "--model", "qwen").stdout
    assert says in node.pintle("explain", "b").stdout
    warning = "pool b is off, and pool a names it in its models"
    assert warning in node.pintle("status").stdout
    Hashing(node, "f0", 8000)
    assert w.ask(post(chat("qwen"))) == "f"
    assert warning not in node.pintle("status").stdout
    assert "answers" not in node.pintle("mode", "b", "off").stderr
    node.pintle("mode", "a", "off")
    assert "left alone: mode off" in node.pintle("explain", "a", "--model", "qwen").stdout
    node.pintle("mode", "a", "enforce")
    for mode in ("baseline", "enforce"):
        node.pintle("mode", "b", mode)
        assert w.ask(post(chat("qwen"))) == "b", mode
    (gone,) = w.servers["b"]
    gone.process.kill()
    wait_for(lambda: node.endpoint("b0")["state"] == "down")
    assert w.ask(post(chat("qwen"))) == "a"
    assert node.decisions("b")["spilled"] == 1


def test_who_may_connect_is_said_by_the_models_pool(node):
    """A model leads nobody into a pool that he may not connect to."""
    access = {"allow": [{"source": source(1, remote=True)}]}
    w = World(node, b={"access": access})
    for client, expected in ((1, True), (2, False)):
        with node.connect(FRONTEND["v4"], source(client, remote=True), remote=True) as c:
            c.sock.sendall(post(chat("qwen")))
            try:
                answered = c.sock.recv(100).startswith(b"HTTP/1.1 200")
            except ConnectionResetError:
                answered = False
            assert answered == expected, client
    assert node.decisions("b")["forbidden"] == 1
    assert w.ask(post(chat("llama"))) == "a"


def test_explained(node):
    """`pintle explain --model`, `pools` and their errors."""
    w = World(node, {"llama": "a", "qwen": "b"})
    nothing = {"requests": 0, "loaded": None, "holders": None}
    assert w.rows() == [{"model": "llama", "pool": "a", **nothing}, {"model": "qwen", "pool": "b", **nothing},
                        {"model": "default", "pool": None, **nothing}]
    told = node.cli("explain", "a", "--model", "qwen", "--source", source(1, remote=True))
    assert (told["model"], told["asked"], told["pool"], told["chosen"]) == ("qwen", "b", "b", "b0")
    assert "requests for qwen go to pool b" in node.pintle("explain", "a", "--model", "qwen").stdout
    assert "--model NAME" in node.pintle("explain", "a").stdout
    status = node.pintle("status").stdout
    assert "models    2, served by a, b" in status and "has no frontend" not in status, status
    assert w.ask(post(chat("qwen"))) == told["pool"]
    for words, says in ((("a", "--model", "gpt"), "and no default"), (("b", "--model", "x"), "has no models")):
        result = node.pintle("explain", *words, check=False)
        assert result.returncode == 1 and says in result.stderr, result


def test_refused_configurations(node):
    """`pintle check` says what is wrong, and what would be right."""
    a, b = {"name": "a0", "listen": "8001"}, {"name": "b0", "listen": "8002"}
    far = {"name": "b0", "address": "127.0.0.1:8002"}
    request = {"decide": "request"}
    other = {"frontends": [], "announce": False}
    cases = [
        ({"models": {"x": "a"}}, b, "write decide: request"),
        ({**request, "models": {"x": "c"}}, b, "write the name of a pool of this file"),
        ({**request, "models": {"x": "b"}}, far, "name a pool whose endpoints are reached in the same way"),
        ({**request, "models": {}}, b, "write 1 to 256"),
        ({**request, "models": {f"m{i}": "a" for i in range(257)}}, b, "write 1 to 256"),
        ({**request, "models": {"a b": "a"}}, b, "without blanks"),
        ({**request, "models": {"x" * 128: "a"}}, b, "write 1 to 127"),
        ({**request, "models": {"x": ["a"]}}, b, "write a pool's name behind it"),
        ({**request, "models": ["x"]}, b, "write models with their pools"),
        ({**request, "models": {"x": "a"}}, b, "serves none of its models"),
    ]
    for keys, second, says in cases:
        text = node.config(node.pool([a], "a", **keys), node.pool([second], "b", **other))
        result = node.pintle("check", node.write("wrong.yaml", text), check=False)
        assert result.returncode == 2 and says in result.stderr, (keys, result.stderr)
    allow = {"access": {"allow": [{"source": "10.0.0.0/8"}]}}
    for keys, says in (({"models": {"x": "b"}}, "endpoints of a get none"),
                       ({"models": {"x": "b", "y": "a"}}, "write default: a, too"),
                       ({"models": {"x": "b", "y": "a"}, **allow}, "write access for b, too")):
        text = node.config(node.pool([a], "a", **request, **keys), node.pool([b], "b", **other))
        result = node.pintle("check", node.write("odd.yaml", text), check=False)
        assert result.returncode == 0 and says in result.stderr, (keys, result.stderr)
    text = node.config(node.pool([a], "a", **request, models=MODELS), node.pool([b], "b", **other))
    assert not node.pintle("check", node.write("good.yaml", text)).stderr
