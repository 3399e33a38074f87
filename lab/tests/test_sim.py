# SPDX-License-Identifier: Apache-2.0
"""The simulated model server, as clients, scrapers and operators see it."""
import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import time

from harness import case
from kernel import BUILD, SAN, TOP, Skip, inside, wait_for
from packages import library, need

PAGES = TOP / "tests/data/pages"


class Sim:
    """pintle-sim in the node's namespace; .at[i] is the address of server i."""

    def __init__(self, node, *options, servers=1, listening=None):
        self.node = node
        self.process = node.popen(
            [BUILD / "pintle-sim", "--port", 0, "--profile", "tiny", "--max-num-seqs", 256,
             "--count", servers, *options],
            stdout=subprocess.PIPE, stderr=open(node.dir / "sim.log", "ab"), text=True)
        self.names, self.at = [], []
        for _ in range(servers if listening is None else listening):
            self.next_listener()

    def next_listener(self):
        name, _, address = self.process.stdout.readline().strip().partition(" ")
        assert address, (self.node.dir / "sim.log").read_text()
        self.names.append(name)
        self.at.append(address)

    def connect(self, server=0):
        host, _, port = self.at[server].rpartition(":")
        with inside(self.node.netns):
            return socket.create_connection((host, int(port)), timeout=30)

    def http(self, server=0):
        connection = http.client.HTTPConnection("sim", timeout=30)
        connection.sock = self.connect(server)
        return connection

    def ask(self, path, body=None, server=0, method=None):
        """One request on a connection of its own: status, headers, body (parsed if JSON)."""
        c = self.http(server)
        c.request(method or ("POST" if body is not None else "GET"), path,
                  body if body is None or isinstance(body, (str, bytes)) else json.dumps(body))
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, r.headers, json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def chat(self, messages, server=0, **more):
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        status, headers, answer = self.ask(
            "/v1/chat/completions", {"model": "llama", "messages": messages, **more}, server)
        assert status == 200, answer
        return answer

    def stream(self, server=0, path="/v1/completions", **body):
        """A socket on which a stream has been asked for."""
        body = json.dumps({"model": "llama", "prompt": "x", "stream": True, **body})
        s = self.connect(server)
        s.sendall(f"POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-length: {len(body)}\r\n\r\n{body}"
                  .encode())
        return s

    def metrics(self, server=0):
        """{name with labels: value}"""
        page = self.ask("/metrics", server=server)[2]
        lines = [line for line in page.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def metric(self, name, server=0, **labels):
        labels = {"engine": "0", "model_name": "llama", **labels}
        text = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()) if v is not None)
        return self.metrics(server)[f"{name}{{{text}}}"]


def read_all(s):
    """Everything until the server closes."""
    parts = []
    while True:
        part = s.recv(65536)
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


def read_until(s, text):
    got = b""
    while text not in got:
        part = s.recv(65536)
        assert part, f"closed after {got[-300:]!r}"
        got += part
    return got.decode()


def events(text):
    """The events of a stream, without [DONE], which must be there."""
    found = re.findall(r"^data: (.*)$", text, re.M)
    assert found[-1] == "[DONE]", text[-500:]
    return [json.loads(f) for f in found[:-1]]


# -- the API ---------------------------------------------------------------------


def test_completions(node):
    """Exactly max_tokens tokens of four characters; usage; the server's name."""
    sim = Sim(node)
    status, headers, answer = sim.ask(
        "/v1/completions", {"model": "llama", "prompt": "abcdefgh", "max_tokens": 7})
    assert status == 200 and headers["x-inference-pod"] == "sim-0"
    assert len(answer["choices"][0]["text"]) == 28
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["prompt_tokens"] == 3, "the beginning, and two of text"
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["object"] == "text_completion"
    for prompt in ([1, 2, 3], [[1, 2, 3]], ["abc"]):
        assert sim.ask("/v1/completions", {"prompt": prompt})[0] == 200
    chat = sim.chat("hello", max_completion_tokens=3)
    assert chat["choices"][0]["message"]["role"] == "assistant"
    assert len(chat["choices"][0]["message"]["content"]) == 12
    parts = sim.chat([{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
                     max_tokens=3)
    assert parts["usage"] == {**chat["usage"], "prompt_tokens_details": parts["usage"][
        "prompt_tokens_details"]}


def test_streams(node):
    """A stream has the same text as the whole answer, and usage when asked for."""
    sim = Sim(node)
    whole = sim.chat("hello", max_tokens=9)
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}
    with sim.stream(path="/v1/chat/completions", **body,
                    stream_options={"include_usage": True}) as s:
        got = events(read_until(s, b"0\r\n\r\n"))
    assert got[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(e["choices"][0]["delta"]["content"] for e in got[:-1])
    assert text == whole["choices"][0]["message"]["content"]
    assert [e["choices"][0]["finish_reason"] for e in got[:-1]] == [None] * 9 + ["length"]
    assert got[-1]["choices"] == [] and got[-1]["usage"]["completion_tokens"] == 9
    assert len({e["id"] for e in got}) == 1
    with sim.stream(prompt="abc", max_tokens=5) as s:
        got = events(read_until(s, b"0\r\n\r\n"))
    assert len(got) == 5 and len("".join(e["choices"][0]["text"] for e in got)) == 20


def test_stream_interval(node):
    sim = Sim(node, "--stream-interval", 4)
    with sim.stream(max_tokens=10) as s:
        got = events(read_until(s, b"0\r\n\r\n"))
    assert [len(e["choices"][0]["text"]) // 4 for e in got] == [1, 4, 4, 1]


def test_errors_in_openai_form(node):
    """404 for an unknown model, 400 for what is invalid; a message, a type and a code."""
    sim = Sim(node)
    chat, completion = "/v1/chat/completions", "/v1/completions"
    messages = [{"role": "user", "content": "x"}]
    cases = [
        (completion, {"model": "nix", "prompt": "x"}, 404),
        (completion, "{", 400),
        (completion, "[]", 400),
        (completion, "", 400),
        (completion, {}, 400),
        (completion, {"prompt": 7}, 400),
        (completion, {"prompt": []}, 400),
        (completion, {"prompt": [-1]}, 400),
        (completion, {"prompt": ["a", "b"]}, 400),
        (completion, {"model": 7, "prompt": "x"}, 400),
        (completion, {"prompt": "x", "max_tokens": 0}, 400),
        (completion, {"prompt": "x", "max_tokens": 1.5}, 400),
        (completion, {"prompt": "x", "max_tokens": "many"}, 400),
        (completion, {"prompt": "x", "max_tokens": 1e30}, 400),
        (completion, {"prompt": "x", "max_tokens": 4096}, 400),
        (completion, {"prompt": "x" * 4 * 5000}, 400),
        (completion, {"prompt": "x", "n": 2}, 400),
        (chat, {"messages": []}, 400),
        (chat, {"messages": [7]}, 400),
        (chat, {"messages": [{"content": "x"}]}, 400),
        (chat, {"messages": [{"role": "user", "content": 7}]}, 400),
        (chat, {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, 400),
        (chat, {"messages": messages, "priority": 99}, 400),
        ("/tokenize", {"nothing": 1}, 400),
    ]
    for path, body, wanted in cases:
        status, headers, answer = sim.ask(path, body)
        assert status == wanted, (body, answer)
        assert answer["error"]["code"] == wanted and answer["error"]["message"]
        assert {"type", "param"} < set(answer["error"])
        assert headers["x-inference-pod"] == "sim-0"
    assert sim.ask("/nope")[0] == 404
    assert sim.ask("/v1/completions")[0] == 405
    assert sim.ask("/health")[0] == 200
    with sim.connect() as s:
        s.sendall(b"\x16\x03\x01 TLS, and no HTTP\r\n\r\n")
        assert read_all(s).startswith("HTTP/1.1 400")
    with sim.connect() as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n")
        assert read_all(s).startswith("HTTP/1.1 413")


def test_tokenize(node):
    sim = Sim(node)
    answer = sim.ask("/tokenize", {"prompt": "hello world"})[2]
    assert answer["count"] == 4 and len(answer["tokens"]) == 3
    assert answer["max_model_len"] == 4096


def test_models_and_adapters(node):
    """Adapters are listed as models, and requests for one are counted under its name."""
    sim = Sim(node, "--lora", "fr,de", "--lora-load", 0.01)
    listed = sim.ask("/v1/models")[2]["data"]
    assert [m["id"] for m in listed] == ["llama", "fr", "de"]
    assert listed[1]["parent"] == "llama"
    status, _, answer = sim.ask("/v1/completions", {"model": "de", "prompt": "x"})
    assert status == 200 and answer["model"] == "de"
    with sim.stream(model="fr", max_tokens=4000) as s:
        read_until(s, b"data: ")
        page = sim.ask("/metrics")[2]
        assert 'running_lora_adapters="fr"' in page and 'max_lora="1"' in page


def test_answer_is_cached_with_its_prompt(node):
    """The next turn of a chat finds the prompt and the answer before it in the cache."""
    sim = Sim(node)
    messages = [{"role": "user", "content": "a long question " * 40}]
    first = sim.chat(messages, max_tokens=100)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    messages += [first["choices"][0]["message"], {"role": "user", "content": "and more?"}]
    second = sim.chat(messages, max_tokens=5)
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    before = first["usage"]["prompt_tokens"] + 99  # the last token was never computed
    assert cached == before // 16 * 16
    assert sim.metric("vllm:prefix_cache_hits_total") == cached
    other = sim.chat([{"role": "user", "content": "b long question " * 40}], max_tokens=5)
    assert other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_length_model(node):
    """Answers end by themselves, differently, the same for the same seed."""
    def lengths(seed):
        sim = Sim(node, "--output", "20,0.5", "--seed", seed)
        got = [sim.chat("hello", max_tokens=200) for _ in range(12)]
        assert {g["choices"][0]["finish_reason"] for g in got} == {"stop"}
        exact = sim.chat("hello", max_tokens=50, ignore_eos=True)
        assert exact["usage"]["completion_tokens"] == 50
        assert exact["choices"][0]["finish_reason"] == "length"
        sim.process.terminate()
        return [g["usage"]["completion_tokens"] for g in got]

    one = lengths(1)
    assert len(set(one)) > 4
    assert one == lengths(1) and one != lengths(2)


# -- OpenAI's own clients ----------------------------------------------------------

PYTHON_CLIENT = """
import sys, openai
client = openai.OpenAI(base_url=f"http://{sys.argv[1]}/v1", api_key="none", max_retries=0)
assert [m.id for m in client.models.list()] == ["llama"]
said = [{"role": "user", "content": "hello"}]
chat = client.chat.completions.create(model="llama", messages=said, max_tokens=6)
assert chat.choices[0].finish_reason == "length" and chat.usage.completion_tokens == 6
stream = client.chat.completions.create(model="llama", messages=said, max_tokens=6, stream=True,
                                        stream_options={"include_usage": True})
text, usage = "", None
for part in stream:
    text += part.choices[0].delta.content or "" if part.choices else ""
    usage = part.usage or usage
assert text == chat.choices[0].message.content, (text, chat)
assert usage.completion_tokens == 6
done = client.completions.create(model="llama", prompt="hello", max_tokens=3)
assert len(done.choices[0].text) == 12
raw = client.completions.with_raw_response.create(model="llama", prompt="hello")
assert raw.headers["x-inference-pod"] == "sim-0"
try:
    client.completions.create(model="nix", prompt="x")
    sys.exit("no error for an unknown model")
except openai.NotFoundError as e:
    assert e.status_code == 404 and "nix" in str(e), e
try:
    client.chat.completions.create(model="llama", messages=[], max_tokens=1)
    sys.exit("no error for no messages")
except openai.BadRequestError as e:
    assert e.param == "messages"
print("works with openai", openai.__version__)
"""

NODE_CLIENT = """
import OpenAI from "openai";
import assert from "node:assert";
const client = new OpenAI({ baseURL: `http://${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];
const chat = await client.chat.completions.create({ model: "llama", messages, max_tokens: 6 });
assert.equal(chat.usage.completion_tokens, 6);
const stream = await client.chat.completions.create(
    { model: "llama", messages, max_tokens: 6, stream: true });
let text = "";
for await (const part of stream) text += part.choices[0]?.delta?.content ?? "";
assert.equal(text, chat.choices[0].message.content);
await assert.rejects(
    client.completions.create({ model: "nix", prompt: "x" }), (e) => e.status === 404);
console.log("works");
"""


@case(timeout=200, san=False)
def test_openai_python_client(node):
    python = library("python") / "bin/python"
    sim = Sim(node)
    out = node.run(python, "-B", node.write("client.py", PYTHON_CLIENT), sim.at[0])
    assert out.stdout.startswith("works"), out


@case(timeout=200, san=False)
def test_openai_node_client(node):
    packages = library("node")
    sim = Sim(node)
    (node.dir / "node_modules").symlink_to(packages / "node_modules")
    assert node.run(need("node"), node.write("client.mjs", NODE_CLIENT), sim.at[0]).stdout == "works\n"


# -- metrics -----------------------------------------------------------------------


def series(page):
    """(name, label names) of each sample; http_* ones depend on who asked for what."""
    found = []
    for line in page.splitlines():
        if line.startswith("#") or line.startswith("http_"):
            continue
        name, _, labels = line.rsplit(" ", 1)[0].partition("{")
        found.append((name, tuple(re.findall(r'(\w+)="', labels))))
    return found


def lint(node, page):
    path = node.write("page", page)
    if not shutil.which("promtool"):
        raise Skip("no promtool")
    out = subprocess.run(["promtool", "check", "metrics"], stdin=open(path), text=True,
                         capture_output=True)
    return set((out.stdout + out.stderr).splitlines())


def test_metrics_page_as_the_real_one(node):
    """Families, types, samples, labels, buckets, size and lint findings of vLLM 0.32."""
    real = (PAGES / "vllm-0.32.0-after.txt").read_text()
    sim = Sim(node)
    assert sim.ask("/v1/models")[0] == 200
    sim.chat("hello", max_tokens=3)
    sim.ask("/v1/completions", {"prompt": "x"})
    status, headers, page = sim.ask("/metrics")
    assert headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"

    def types(text):
        return re.findall(r"^# TYPE (\S+ \S+)$", text, re.M)

    assert types(page) == types(real)
    assert series(page) == series(real)
    assert re.findall(r'_bucket{.*le="([^"]*)"', page) == re.findall(
        r'_bucket{.*le="([^"]*)"', real)
    assert 0.9 < len(page) / len(real) < 1.1
    assert lint(node, page) <= lint(node, real)


def test_metrics_count(node):
    """The page counts the requests exactly; times are the model's, so they are exact, too."""
    sim = Sim(node)
    for _ in range(3):
        sim.ask("/v1/completions", {"prompt": "x" * 4 * 99, "max_tokens": 11})
    sim.ask("/v1/completions", {"prompt": "x", "model": "nix"})
    m = sim.metric
    assert m("vllm:request_success_total", finished_reason="length") == 3
    assert m("vllm:prompt_tokens_total") == 300
    assert m("vllm:generation_tokens_total") == 33
    assert m("vllm:prefix_cache_queries_total") == 300
    assert m("vllm:prefix_cache_hits_total") == 2 * 96
    assert m("vllm:request_generation_tokens_bucket", le="10.0") == 0
    assert m("vllm:request_generation_tokens_bucket", le="20.0") == 3
    assert m("vllm:inter_token_latency_seconds_count") == 30
    assert m("vllm:num_requests_running") == m("vllm:num_requests_waiting") == 0
    assert m("vllm:kv_cache_usage_perc") == 0
    # 0.5 ms in front of the engine, a step of 0.2 + 0.8 ms each time
    assert abs(m("vllm:time_to_first_token_seconds_sum") - 3 * 0.0015) < 1e-6
    assert abs(m("vllm:request_decode_time_seconds_sum") - 3 * 10 * 0.001005) < 1e-6


def test_gauges_under_load(node):
    """Running, waiting and the KV cache's use while streams are open."""
    sim = Sim(node, "--max-num-seqs", 4, "--speed", 0.2)
    streams = [sim.stream(prompt="x" * 4 * 159, max_tokens=3000) for _ in range(7)]
    wait_for(lambda: sim.metric("vllm:num_requests_running") == 4)
    assert sim.metric("vllm:num_requests_waiting") == 3
    assert sim.metric("vllm:num_requests_waiting_by_reason", reason="capacity") == 3
    assert sim.metric("vllm:kv_cache_usage_perc") > 0.02
    for s in streams:
        s.close()
    wait_for(lambda: sim.metric("vllm:num_requests_running") == 0)


def test_many_servers_and_ranks(node):
    """Each server has its own metrics; ranks share a name and differ in the label engine."""
    sim = Sim(node, "--data-parallel", 2, servers=3, listening=6)
    assert sim.names == ["sim-0", "sim-0", "sim-1", "sim-1", "sim-2", "sim-2"]
    status, headers, _ = sim.ask("/v1/completions", {"prompt": "x"}, server=3)
    assert headers["x-inference-pod"] == "sim-1"
    for i in range(6):
        count = sim.metric("vllm:request_success_total", server=i, engine=str(i % 2),
                           finished_reason="length")
        assert count == (i == 3)


# -- connections ---------------------------------------------------------------------


def test_head_comes_before_the_first_token(node):
    """As vLLM: the head at once, the first event with the first token."""
    sim = Sim(node)
    sim.ask("/sim", {"stall": 1000})
    with sim.stream(max_tokens=2) as s:
        head = read_until(s, b"\r\n\r\n")
        assert "200 OK" in head and "data:" not in head
        s.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f"an event without a token: {s.recv(100)}")
        s.settimeout(30)
        sim.ask("/sim", {"stall": 0})
        assert len(events(read_until(s, b"0\r\n\r\n"))) == 2


def test_client_that_leaves_aborts(node):
    """The request of a client that leaves is removed from the batch or the queue; others do not
    notice."""
    sim = Sim(node, "--max-num-seqs", 1, "--speed", 0.2)
    first = sim.stream(max_tokens=3000)
    read_until(first, b"data: ")
    second = sim.stream(max_tokens=3000)
    third = sim.stream(max_tokens=3)
    wait_for(lambda: sim.metric("vllm:num_requests_waiting") == 2)
    second.close()
    wait_for(lambda: sim.metric("vllm:num_requests_waiting") == 1)
    first.close()
    assert len(events(read_until(third, b"0\r\n\r\n"))) == 3
    assert sim.metric("vllm:request_success_total", finished_reason="abort") == 2
    assert sim.metric("vllm:request_success_total", finished_reason="length") == 1


def test_keep_alive(node):
    """Many requests on a connection, also in one segment; closed when idle after an answer,
    not before the first request."""
    sim = Sim(node, "--keep-alive", 0.5)
    silent = sim.connect()
    c = sim.http()
    for _ in range(50):
        c.request("POST", "/v1/completions", '{"prompt":"x","max_tokens":2}')
        assert json.loads(c.getresponse().read())["usage"]["completion_tokens"] == 2
    body = '{"prompt":"x","max_tokens":2}'
    request = f"POST /v1/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    with sim.connect() as s:
        s.sendall((request * 3 + "GET /health HTTP/1.1\r\n\r\n").encode())
        text = read_all(s)  # ends because idle connections are closed
        assert text.count("HTTP/1.1 200 OK") == 4 and text.count('"completion_tokens":2') == 3
    silent.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        raise AssertionError(f"closed, though it never asked: {silent.recv(1)}")
    silent.settimeout(30)
    silent.sendall(b"GET /health HTTP/1.1\r\n\r\n")
    assert "200 OK" in read_until(silent, b"\r\n\r\n")


def test_connections_that_end_with_the_answer(node):
    """Connection: close, HTTP/1.0, and --no-keep-alive."""
    sim = Sim(node)
    for request in ("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n",
                    "GET /health HTTP/1.0\r\n\r\n"):
        with sim.connect() as s:
            s.sendall(request.encode())
            assert "connection: close" in read_all(s)
    sim = Sim(node, "--no-keep-alive")
    with sim.connect() as s:
        s.sendall(b"GET /health HTTP/1.1\r\n\r\n" * 2)
        assert read_all(s).count("200 OK") == 1
    with sim.stream(max_tokens=3) as s:
        assert len(events(read_all(s))) == 3


def test_expect_continue_and_dribbles(node):
    """Bodies that wait for leave, and requests that come byte by byte."""
    sim = Sim(node)
    body = b'{"prompt":"x","max_tokens":1}'
    with sim.connect() as s:
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\n"
                  b"content-length: %d\r\n\r\n" % len(body))
        assert read_until(s, b"\r\n\r\n").startswith("HTTP/1.1 100 Continue")
        s.sendall(body)
        assert "200 OK" in read_until(s, b"}}")
    with sim.connect() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" \
                    b"1d\r\n" + body + b"\r\n0\r\n\r\n":
            s.sendall(bytes([byte]))
        assert "200 OK" in read_until(s, b"}}")


@case(timeout=180)
def test_thousands_of_open_streams(node):
    """2,000 streams at once over 8 servers: all complete, with every token."""
    count = 400 if SAN else 2000
    sim = Sim(node, "--max-num-seqs", 1024, "--num-blocks", 50000, servers=8)
    for i in range(8):
        sim.ask("/sim", {"stall": 1000}, server=i)
    streams = [sim.stream(i % 8, prompt=f"stream {i}", max_tokens=20) for i in range(count)]
    for s in streams:
        s.settimeout(120)
        read_until(s, b"\r\n\r\n")
    # all streams are open, and none has a token yet
    waiting = [sim.metric("vllm:num_requests_waiting", server=i) for i in range(8)]
    assert sum(waiting) == count, waiting
    for i in range(8):
        sim.ask("/sim", {"stall": 0}, server=i)
    for s in streams:
        assert len(events(read_until(s, b"0\r\n\r\n"))) == 20
        s.close()
    for i in range(8):
        assert sim.metric("vllm:generation_tokens_total", server=i) == count // 8 * 20


# -- life and faults -----------------------------------------------------------------


def test_startup_refuses_then_listens(node):
    port = 8123
    sim = Sim(node, "--startup", 3, "--port", port, listening=0)
    sim.at.append(f"127.0.0.1:{port}")
    wait_for(lambda: (node.dir / "sim.log").exists())
    try:
        sim.connect().close()
        raise AssertionError("listens already")
    except ConnectionRefusedError:
        pass
    sim.next_listener()
    assert sim.ask("/health")[0] == 200


def test_startup_503(node):
    sim = Sim(node, "--startup", 2, "--startup-503")
    assert sim.ask("/health")[0] == 503
    wait_for(lambda: sim.ask("/health")[0] == 200)


def test_sigterm_cuts_streams_cleanly(node):
    """As vLLM: the stream gets its end, the process ends with 0."""
    sim = Sim(node, "--speed", 0.1)
    with sim.stream(max_tokens=4000) as s, sim.stream(max_tokens=4000) as late:
        read_until(s, b"data: ")
        sim.process.send_signal(signal.SIGTERM)
        for stream in (s, late):
            text = "data: " + read_all(stream)
            assert text.endswith("data: [DONE]\n\n\r\n0\r\n\r\n"), text[-200:]
            assert '"finish_reason":"abort"' in text
    assert sim.process.wait(30) == 0


def test_faults(node):
    """Servers that fail, are slow, stall, or are full."""
    sim = Sim(node, "--fail-rate", "1:1", "--slow", "2:4", "--max-waiting", 1, "--max-num-seqs", 1,
              servers=3)
    body = {"prompt": "x", "max_tokens": 2}
    assert [sim.ask("/v1/completions", body, i)[0] for i in range(3)] == [200, 500, 200]
    error = sim.ask("/v1/completions", body, 1)[2]["error"]
    assert error["type"] == "InternalServerError"
    sick, healthy = (sim.metric("vllm:request_inference_time_seconds_sum", server=i)
                     for i in (2, 0))
    assert abs(sick / healthy - 4) < 0.01
    sim.ask("/sim", {"stall": 1000})
    held = [sim.stream(max_tokens=2)]
    wait_for(lambda: sim.metric("vllm:num_requests_waiting") == 1)
    status, headers, answer = sim.ask("/v1/completions", body)
    assert status == 503 and headers["retry-after"] and answer["error"]["code"] == 503
    assert sim.metrics()['vllm:admission_rejections_total{model_name="llama",'
                         'reason="max_num_queued_reqs"}'] == 1
    assert sim.ask("/sim", {"slow": -1})[0] == 400
    held[0].close()


def test_speed(node):
    """At a hundred times the speed a long answer comes at once, while the metrics show its full time."""
    sim = Sim(node, "--speed", 100)
    start = time.monotonic()
    sim.ask("/v1/completions", {"prompt": "x", "max_tokens": 4000})
    took = time.monotonic() - start
    assert sim.metric("vllm:e2e_request_latency_seconds_sum") > 4.0
    assert took < 3.0 * (5 if SAN else 1), took


def test_bad_flags(node):
    """Each is refused with exit status 2 and a message that says what would be right."""
    cases = {
        ("--port", "70000"): "whole number from 0 to 65535",
        ("--port", "65530", "--count", "8"): "do not suffice",
        ("--count", "0"): "whole number from 1",
        ("--count", "3x"): "whole number",
        ("--count", "nan"): "whole number",
        ("--speed", "0"): "number from",
        ("--speed", "inf"): "number from",
        ("--profile", "gpt"): "--list-profiles",
        ("--profile", "tiny,tiny", "--count", "3"): "one for each",
        ("--slow", "x:2"): "whole number",
        ("--slow", "0:0"): "number from",
        ("--fail-rate", "2"): "number from 0 to 1",
        ("--output", "5,99"): "number from 0 to 5",
        ("--lora", "a,,b"): "empty name",
        ("--lora", 'a"b'): "character",
        ("--name-prefix", "a\r\nb"): "printable",
        ("--no-such-flag",): "unrecognized option",
        ("stray",): "no option",
    }
    for flags, says in cases.items():
        got = node.run(BUILD / "pintle-sim", *flags, check=False)
        assert got.returncode == 2 and says in got.stderr, (flags, got)
        assert not got.stdout
    # an engine that cannot be, and an address that is not there
    for flags in (("--max-num-batched-tokens", "10"), ("--host", "192.0.2.1"), ("--host", "nowhere")):
        got = node.run(BUILD / "pintle-sim", "--port", "0", *flags, check=False)
        assert got.returncode == 1 and "sim-0" in got.stderr, got
    assert "llama-70b-h100-tp8" in node.run(BUILD / "pintle-sim", "--list-profiles").stdout
    assert "pintle-sim " in node.run(BUILD / "pintle-sim", "--version").stdout
