# SPDX-License-Identifier: Apache-2.0
"""The load generator: what it measures, what servers see of it, and what it reports of bad servers."""
import collections
import contextlib
import ipaddress
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import case, yaml
from kernel import BUILD, SAN, TOP, inside, wait_for
from test_sim import Sim

SLACK = 5 if SAN else 1
RESOLUTION = 0.0041  # the histogram's relative resolution


# -- a server that does what a test says -------------------------------------------


class Request:
    def __init__(self, peer, head, body, connection):
        self.peer, self.head, self.connection = peer, head, connection
        self.path = head.split(" ", 2)[1]
        self.body = json.loads(body)

    @property
    def size(self):
        return self.body["max_tokens"]

    @property
    def prompt(self):
        return self.body.get("prompt") or "".join(m["content"] for m in self.body["messages"])


class Gone(Exception):
    """The behaviour has ended the connection."""


class Scripted:
    """answer(request, out) writes the answer, by out(bytes), and may raise Gone."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n" \
           b"X-Inference-Pod: scripted\r\nTransfer-Encoding: chunked\r\n\r\n"

    def __init__(self, node, answer, address=("127.0.0.1", 0)):
        self.answer = answer
        self.requests, self.connections = [], 0
        self.live = self.most = 0
        self.lock = threading.Lock()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with inside(node.netns):
            self.socket = socket.create_server(address, family=family, backlog=1024)
        host, port = self.socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            s, peer = self.socket.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(s, peer, self.connections),
                             daemon=True).start()

    def serve(self, s, peer, number):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        got = b""
        with s, contextlib.suppress(OSError, Gone):
            while True:
                while b"\r\n\r\n" not in got:
                    part = s.recv(65536)
                    if not part:
                        return
                    got += part
                head, _, got = got.partition(b"\r\n\r\n")
                size = int(re.search(rb"Content-Length: (\d+)", head)[1])
                while len(got) < size:
                    got += s.recv(65536)
                request = Request(peer, head.decode(), got[:size], number)
                got = got[size:]
                request.socket = s
                with self.lock:
                    self.requests.append(request)
                    self.live += 1
                    self.most = max(self.most, self.live)
                try:
                    self.answer(request, s.sendall)
                finally:
                    with self.lock:
                        self.live -= 1
                if "Connection: close" in head.decode():
                    return


def chunk(data):
    data = data if isinstance(data, bytes) else data.encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def piece(text="tok ", **more):
    return chunk(f"data: {json.dumps({'choices': [{'index': 0, 'text': text, **more}]})}\n\n")


END = chunk("data: [DONE]\n\n") + chunk("")


def stream(out, tokens, first=0.0, gap=0.0):
    """A whole answer."""
    out(Scripted.HEAD)
    time.sleep(first)
    out(piece())
    for _ in range(tokens - 1):
        time.sleep(gap)
        out(piece())
    out(END)


def at_once(request, out):
    stream(out, request.size)


# -- running it ----------------------------------------------------------------------


def workload(node, *classes, **more):
    defaults = {"name": "a", "arrival": {"process": "even", "rate": 20}, "prompt": 10, "output": 3}
    path = node.dir / f"workload-{len(list(node.dir.glob('workload-*')))}.yaml"
    path.write_text(yaml({**more, "classes": [{**defaults, **c} for c in classes or ({},)]}))
    return path


def start(node, *options, **more):
    return node.popen([BUILD / "pintle-load", *options], stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE, text=True, **more)


def end(process, status=0):
    out, err = process.communicate(timeout=60 * SLACK)
    assert "Sanitizer" not in err and "runtime error:" not in err, err
    assert process.returncode == status, (process.returncode, out, err)
    return out, err


def load(node, *options, status=0):
    """Runs it to its end: the report, parsed, and the log, a list of requests."""
    log = node.dir / "load.log"
    out, err = end(start(node, "-o", "json", "--log", log, *options), status)
    report = json.loads(out)
    requests = [json.loads(line) for line in log.read_text().splitlines()]
    balance(report, requests)
    return report, requests


def balance(report, requests):
    """Each request ended exactly once, and every sum agrees with the log."""
    measured = [r for r in requests if r["measured"]]
    assert report["total"]["requests"] == len(measured)
    assert report["warmup_requests"] == len(requests) - len(measured)
    for row in [report["total"], *report["classes"], *report["endpoints"]]:
        assert row["requests"] == row["ok"] + row["cancelled"] + sum(row["errors"].values())
        assert row["e2e"]["count"] == row["ok"]
    for c in report["classes"]:
        mine = collections.Counter(r["outcome"] for r in measured if r["class"] == c["name"])
        assert {**c["errors"], "ok": c["ok"], "cancelled": c["cancelled"]} == \
            {**dict.fromkeys([*c["errors"], "ok", "cancelled"], 0), **mine}
    for e in report["endpoints"]:
        assert e["requests"] == sum(r["endpoint"] == e["name"] for r in measured)
    for key in ("requests", "ok", "sessions", "output_tokens"):
        assert report["total"][key] == sum(c[key] for c in report["classes"])
    assert sum(s["started"] for s in report["timeline"]) >= len(requests)
    assert sum(s["ended"] for s in report["timeline"]) == len(requests)


def check_quantiles(histogram, values):
    """Compares the quantiles with those of the raw values, to the histogram's resolution."""
    values = sorted(values)
    assert histogram["count"] == len(values)
    assert abs(histogram["mean"] - sum(values) / len(values)) < 1e-6
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        exact = values[max(-(-len(values) * int(share * 100) // 100), 1) - 1]
        assert abs(histogram[name] - exact) <= RESOLUTION * exact + 1e-8, (name, exact, histogram)
    assert abs(histogram["min"] - values[0]) < 1e-8
    assert abs(histogram["max"] - values[-1]) < 1e-8


# -- measuring -------------------------------------------------------------------------


def test_known_delays(node):
    """Every request is measured to have taken at least what its server took, and little more;
    percentiles are those of all requests."""
    gap = 0.01
    server = Scripted(node, lambda r, out: stream(out, r.size, r.size * 0.02, gap))
    report, requests = load(node, "-t", server.url, "--api", "completions", "-d", 2, "-w",
                            workload(node, {"arrival": {"rate": 40}, "output": {"from": 2, "to": 12}}))
    assert len(requests) == len(server.requests) > 40 and report["total"]["ok"] == len(requests)
    over = []
    for r in requests:
        # The client may wake up late for the first token, and in time for the last.
        late, rest = r["ttft"] - r["pieces"] * 0.02, (r["pieces"] - 1) * gap
        assert late >= 0
        assert r["last"] - r["ttft"] >= min(rest * 0.5, rest - late)
        assert r["e2e"] >= r["last"] >= r["pieces"] * 0.02 + rest
        over.append(late)
    assert sorted(over)[len(over) // 2] < 0.1 * SLACK, over
    total = report["total"]
    check_quantiles(total["ttft"], [r["ttft"] for r in requests])
    check_quantiles(total["e2e"], [r["e2e"] for r in requests])
    check_quantiles(total["tpot"], [(r["last"] - r["ttft"]) / (r["pieces"] - 1) for r in requests])
    assert total["itl"]["count"] == sum(r["pieces"] - 1 for r in requests)
    assert abs(total["itl"]["mean"] - sum(r["last"] - r["ttft"] for r in requests) /
               total["itl"]["count"]) < 1e-6
    assert total["output_tokens"] == sum(r["pieces"] for r in requests)
    assert sorted(r.size for r in server.requests) == sorted(r["pieces"] for r in requests)
    [endpoint] = report["endpoints"]
    assert endpoint["name"] == "scripted" and endpoint["ttft"] == total["ttft"]


def test_first_content_not_first_byte(node):
    """Headers, comments and the role come at once; the clock stops at the first text."""

    def answer(_request, out):
        out(Scripted.HEAD + chunk(": hello\n\n") +
            chunk('data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'))
        time.sleep(0.3)
        out(chunk('data: {"choices": [{"delta": {"content": "x"}}]}\n\n') + END)

    server = Scripted(node, answer)
    report, requests = load(node, "-t", server.url, "-w", workload(node), "-d", 0.3)
    assert requests and all(r["ttft"] >= 0.3 and r["pieces"] == 1 for r in requests)
    assert server.requests[0].path == "/v1/chat/completions"


def test_no_coordinated_omission(node):
    """A server that stops for a while does not stop the clients from being due."""
    begin = time.monotonic() + 1
    until = begin + 1

    def answer(request, out):
        if begin <= time.monotonic() < until:
            time.sleep(until - time.monotonic())
        at_once(request, out)

    server = Scripted(node, answer)
    report, requests = load(node, "-t", server.url, "-w", workload(node), "-d", 3)
    due = sorted(r["due"] for r in requests)
    assert len(due) == 59
    assert all(abs(b - a - 0.05) < 1e-6 for a, b in zip(due, due[1:]))
    # nearly all requests that were due during that second waited for its end
    assert sum(r["ttft"] > 0.05 for r in requests) >= 10
    assert report["total"]["ttft"]["max"] > 0.5


def test_late_client(node):
    """Time in which this client itself did not run is part of what it measures, and told."""
    server = Scripted(node, at_once)
    process = start(node, "-t", server.url, "-w", workload(node), "-d", 3, "-o", "json",
                    "--log", node.dir / "load.log")
    wait_for(lambda: len(server.requests) > 3)
    process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    process.send_signal(signal.SIGCONT)
    report = json.loads(end(process)[0])
    requests = [json.loads(line) for line in (node.dir / "load.log").read_text().splitlines()]
    balance(report, requests)
    assert len(requests) == 59, "those missed meanwhile are made up for"
    assert sum(r["ttft"] > 0.2 for r in requests) >= 10
    assert report["lag"]["max"] > 0.8 and report["lag"]["p90"] > 0.2


def test_warmup(node):
    """Requests that are due before the window are not measured; those due in it are, whenever they
    end."""
    server = Scripted(node, lambda r, out: stream(out, r.size, 0.4))
    report, requests = load(node, "-t", server.url, "-w", workload(node), "-d", 1, "--warmup", 1)
    assert all(r["measured"] == (r["due"] >= 1) for r in requests)
    assert 20 <= report["total"]["requests"] <= 21 and report["warmup_requests"] >= 18
    # of the requests due in the window the last ended after it, and requests due earlier ended in it
    assert report["total"]["requests_per_second"] <= 21
    assert abs(report["measured_seconds"] - 1) < 1e-6


# -- as clients do ------------------------------------------------------------------------


def test_chat_with_sim(node):
    """Several turns with a growing history: the servers' caches are hit, by what they say and by
    what each answer says; every request is in the servers' books once."""
    sim = Sim(node, "--speed", 20, servers=2, )
    chat = {"arrival": {"rate": 30}, "turns": {"from": 2, "to": 4}, "think": "50ms",
            "shared": {"tokens": 64}, "prompt": 40, "output": {"from": 5, "to": 20}}
    report, requests = load(node, "-t", f"http://{sim.at[0]}", "-w", workload(node, chat), "-d", 2,
                            *(f"--metrics=http://{at}" for at in sim.at))
    total, servers = report["total"], report["servers"]
    assert total["ok"] == total["requests"] == len(requests) > 50
    assert total["sessions"] < total["requests"]
    assert report["endpoints"][0]["name"] == "sim-0" and len(report["endpoints"]) == 1
    done = sum(v for k, v in sim.metrics().items() if k.startswith("vllm:request_success_total"))
    assert done == len(requests)
    tokens = sim.metric("vllm:generation_tokens_total")
    assert tokens == total["output_tokens"] == sum(r["output_tokens"] for r in requests)
    assert sim.metric("vllm:prompt_tokens_total") == total["prompt_tokens"]
    assert servers["prefix_hits"] == sim.metric("vllm:prefix_cache_hits_total") > 0
    assert servers["prefix_queries"] == sim.metric("vllm:prefix_cache_queries_total")
    assert 0.4 < servers["hit_rate"] < 1
    assert total["cached_tokens"] == servers["prefix_hits"]
    assert [p["problem"] for p in servers["pages"]] == [None, None]
    assert servers["pages"][1]["prefix_queries"] == 0


def test_history_comes_back(node):
    """A later turn's prompt holds the turns before it, answers as they were; the session thinks
    in between."""
    server = Scripted(node, lambda r, out: (out(
        Scripted.HEAD + piece('he said "') + piece(f"{r.size}\\ \u00e4") + END)))
    report, requests = load(
        node, "-t", server.url, "--api", "completions", "-d", 1, "-w",
        workload(node, {"arrival": {"rate": 5}, "turns": 3, "think": "100ms",
                        "output": {"from": 1, "to": 1000}}))
    sessions = collections.defaultdict(list)
    for r in sorted(requests, key=lambda r: r["due"]):
        sessions[r["session"]].append(r)
    assert any(len(turns) == 3 for turns in sessions.values())
    for turns in sessions.values():
        for a, b in zip(turns, turns[1:]):
            assert b["due"] >= a["due"] + a["e2e"] + 0.1 - 1e-6
    found = 0
    for r in server.requests:
        for other in server.requests:
            if other.prompt != r.prompt and other.prompt.startswith(r.prompt):
                assert other.prompt[len(r.prompt):].startswith(f'he said "{r.size}\\ \u00e4')
                found += 1
    assert found >= report["total"]["sessions"]


def test_connections(node):
    """A connection is kept through a session or made for each request, as the workload says."""
    server = Scripted(node, at_once)
    several = {"arrival": {"rate": 10}, "turns": 4, "think": "20ms"}
    report, requests = load(node, "-t", server.url, "-d", 1, "-w", workload(node, several))
    assert report["connections"] == server.connections == report["total"]["sessions"]
    assert report["reused"] == len(requests) - report["connections"] > 0
    server = Scripted(node, at_once)
    report, requests = load(node, "-t", server.url, "-d", 1, "-w",
                            workload(node, {**several, "connection": "per-request"}))
    assert report["connections"] == server.connections == len(requests)
    assert report["reused"] == 0
    assert all("Connection: close" in r.head for r in server.requests)


@case(each=("fin", "rst"))
def test_stale_connections(node, how):
    """A kept connection that the server closes when the next request comes: it is sent again,
    once, and nobody counts an error."""
    seen = set()

    def answer(request, out):
        if request.connection in seen:
            if how == "rst":
                request.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                          struct.pack("ii", 1, 0))
            raise Gone
        seen.add(request.connection)
        at_once(request, out)

    server = Scripted(node, answer)
    report, requests = load(node, "-t", server.url, "-d", 1, "-w",
                            workload(node, {"arrival": {"rate": 10}, "turns": 3}))
    assert report["total"]["ok"] == len(requests)
    assert report["retried"] == report["connections"] - report["total"]["sessions"] > 5


def test_closed_idle_connections(node):
    """After the server closed an idle connection, the next turn makes a new one."""
    sim = Sim(node, "--keep-alive", 0.05)
    report, requests = load(node, "-t", f"http://{sim.at[0]}", "-d", 1.5, "-w",
                            workload(node, {"arrival": {"rate": 10}, "turns": 3, "think": "300ms"}))
    assert report["total"]["ok"] == len(requests) == report["connections"]
    assert report["retried"] == 0


def test_users(node):
    """In a closed loop, never more requests are under way than there are users."""
    live, most = set(), []

    def answer(request, out):
        live.add(request)
        most.append(len(live))
        out(Scripted.HEAD)
        time.sleep(0.05)
        out(piece())
        live.discard(request)  # the client still waits for the end
        out(END)

    server = Scripted(node, answer)
    report, requests = load(node, "-t", server.url, "-d", 1, "-w",
                            workload(node, {"arrival": {"users": 7}}))
    assert max(most) == 7 and report["total"]["ok"] == len(requests) > 20
    server = Scripted(node, at_once)
    classes = [{"name": "a", "arrival": {"users": 1}, "think": "20ms"},
               {"name": "b", "arrival": {"users": 3}, "think": "20ms"}]
    report, _ = load(node, "-t", server.url, "-d", 1, "-w", workload(node, *classes), "--users", 8)
    assert 2 < report["classes"][1]["requests"] / report["classes"][0]["requests"] < 4.5


def test_rate(node):
    server = Scripted(node, at_once)
    classes = [{"name": "a", "arrival": {"process": "even", "rate": 1}},
               {"name": "b", "arrival": {"process": "even", "rate": 3}}]
    report, _ = load(node, "-t", server.url, "-d", 1.01, "-w", workload(node, *classes),
                     "--rate", 40)
    assert [c["requests"] for c in report["classes"]] == [10, 30]


def test_same_seed(node):
    """The same seed gives the same requests at the same times, and another seed gives others."""
    def run(seed):
        server = Scripted(node, at_once)
        _, requests = load(node, "-t", server.url, "-d", 1, "--seed", seed, "-w",
                           workload(node, {"arrival": {"rate": 20}, "prompt": {"mean": 30}}))
        return sorted((r["due"], r["pieces"]) for r in requests), \
            sorted(r.prompt for r in server.requests)

    first = run(1)
    assert run(1) == first != run(2)


@case(alone=True)  # it takes a core for seconds
def test_thousands_of_streams(node):
    sim = Sim(node, "--max-num-seqs", 4096, "--num-blocks", 100000, "--speed", 0.2)
    report, _ = load(node, "-t", f"http://{sim.at[0]}", "-d", 5, "-w",
                     workload(node, {"arrival": {"users": 2000}, "output": 20}))
    assert sum(report["total"]["errors"].values()) == 0
    # More than a usual limit of open files leaves; a slow machine ends some before it has begun all.
    assert max(s["in_flight"] for s in report["timeline"]) > 1024


# -- addresses ---------------------------------------------------------------------------


def peers(server):
    return [ipaddress.ip_address(r.peer[0]) for r in server.requests]


def test_source_addresses(node):
    """Each session has an address of its own through all its turns; the prefix can be given."""
    several = {"arrival": {"process": "even", "rate": 10}, "turns": 2, "connection": "per-request"}
    for options, prefix in (((), "127.1.0.0/16"), (("--source", "127.77.0.0/24"), "127.77.0.0/24")):
        server = Scripted(node, at_once)
        report, requests = load(node, "-t", server.url, "-d", 1, "-w", workload(node, several),
                                *options)
        counts = collections.Counter(peers(server))
        assert report["source"] == prefix
        assert all(p in ipaddress.ip_network(prefix) for p in counts)
        assert len(counts) == report["total"]["sessions"]
        assert sorted(counts.values()) == sorted(
            collections.Counter(r["session"] for r in requests).values())
    server = Scripted(node, at_once)
    assert load(node, "-t", server.url, "-d", 0.5, "-w", workload(node, several), "--source",
                "none")[0]["source"] == "none"
    assert set(map(str, peers(server))) == {"127.0.0.1"}
    # as the workload says, and IPv6
    server = Scripted(node, at_once, ("::1", 0))
    report, _ = load(node, "-t", server.url, "-d", 0.5,
                     "-w", workload(node, several, source="fd01::/64"))
    assert len(set(peers(server))) == report["total"]["sessions"]
    assert all(p in ipaddress.ip_network("fd01::/64") for p in peers(server))


def test_addresses_of_classes_and_groups(node):
    server = Scripted(node, at_once)
    classes = [{"name": "a", "addresses": "class"},
               {"name": "b", "addresses": "group", "shared": {"groups": 3, "tokens": 10}}]
    load(node, "-t", server.url, "-d", 1, "-w", workload(node, *classes, source="127.2.0.0/16"))
    seen = collections.defaultdict(set)
    for r in server.requests:
        messages = r.body["messages"]
        seen[messages[0]["content"] if len(messages) == 2 else "a"].add(r.peer[0])
    assert seen.pop("a") == {"127.2.0.1"}
    assert len(seen) == 3
    nets = [{a.rpartition(".")[0] for a in addresses} for addresses in seen.values()]
    assert sorted(nets, key=str) == [{"127.2.128"}, {"127.2.129"}, {"127.2.130"}]
    assert all(len(addresses) > 1 for addresses in seen.values())


# -- traces ---------------------------------------------------------------------------------


def test_trace(node):
    """Requests come in the order and at the times of the file, JSON Lines or CSV alike."""
    rows = [(100 + 0.02 * (i // 2), f"s{i % 5}", 20 + i, 1 + i, f"g{i % 2}") for i in range(50)]
    names = ("time", "session", "prompt_tokens", "output_tokens", "group")
    jsonl = "\n".join(json.dumps(dict(zip(names, row))) for row in rows)
    csv = "\n".join(",".join(map(str, row)) for row in (names, *rows))
    texts = []
    for name, text in (("t.jsonl", jsonl), ("t.csv", csv)):
        # the next request is taken up only when this one has been: the order is exact
        server = Scripted(node, at_once)
        report, requests = load(node, "-t", server.url, "--api", "completions",
                                "--trace", node.write(name, text))
        assert report["total"]["ok"] == 50 and report["total"]["sessions"] == 5
        by_due = sorted(requests, key=lambda r: (r["due"], r["pieces"]))
        assert [r["pieces"] for r in by_due] == [row[3] for row in rows]
        assert [r["session"] for r in by_due] == [i % 5 for i in range(50)]
        assert all(abs(r["due"] - (row[0] - 100)) < 1e-6 for r, row in zip(by_due, rows))
        bodies = sorted(((r.size, r.prompt) for r in server.requests))
        assert [len(p) for _, p in bodies] == [4 * row[2] for row in rows]
        texts.append(bodies)
        assert len({r.peer[0] for r in server.requests}) == 5
    assert texts[0] == texts[1]


PUBLISHED = {
    "mooncake": '{"timestamp": 0, "input_length": 600, "output_length": 2, "hash_ids": [0, 1]}\n'
                '{"timestamp": 20, "input_length": 700, "output_length": 3, "hash_ids": [0, 1]}\n',
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
             "2023-11-16 23:59:59.9900000,600,2\n2023-11-17 00:00:00.0100000,700,3\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
                "5.00,ChatGPT,600,2,602,API log\n5.01,GPT-4,9,0,9,API log\n5.02,GPT-4,700,3,703,API log\n",
}


@case(each=tuple(PUBLISHED), timeout=30)
def test_published_trace(node, form):
    """Traces as they were published; those with hash_ids repeat the text that they share."""
    server = Scripted(node, at_once)
    report, requests = load(node, "-t", server.url, "--api", "completions",
                            "--trace", node.write("trace", PUBLISHED[form]))
    assert report["total"]["ok"] == 2
    assert sorted((round(r["due"], 6), r["pieces"]) for r in requests) == [(0, 2), (0.02, 3)]
    first, second = sorted((r.prompt for r in server.requests), key=len)
    assert (len(first), len(second)) == (2400, 2800)
    assert second.startswith(first) == (form == "mooncake")


def test_trace_of_overlapping_requests(node):
    """A session's next request does not wait for the last one to end: the trace's times hold."""
    server = Scripted(node, lambda r, out: stream(out, r.size, 1))
    text = "time,session,prompt_tokens,output_tokens\n" + "".join(
        f"{0.05 * i},one,9,{i + 1}\n" for i in range(8))
    report, requests = load(node, "-t", server.url, "--trace", node.write("t", text))
    assert server.most == 8 and report["connections"] == 8
    assert [r.size for r in server.requests] == list(range(1, 9)), "in the order of the file"
    # a part of it
    report, requests = load(node, "-t", server.url, "--trace", node.dir / "t", "-d", 0.17)
    assert len(requests) == 4


# -- servers that are bad -----------------------------------------------------------------


def reset(request):
    request.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Gone


def gone():
    raise Gone


def whole(status, body, kind="application/json"):
    return (f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            f"X-Inference-Pod: scripted\r\n\r\n{body}").encode()


# behaviour, the outcome, and what the report says of it
BAD = {
    "reset": (lambda r, out: reset(r), "reset", "reset by peer"),
    "reset_in_stream": (lambda r, out: (out(Scripted.HEAD + piece()), time.sleep(0.02), reset(r)),
                        "reset", "reset by peer"),
    "closed": (lambda r, out: gone(), "closed", "closed before"),
    "closed_in_head": (lambda r, out: (out(b"HTTP/1.1 200 OK\r\nX: "), gone()), "closed", "closed"),
    "closed_in_stream": (lambda r, out: (out(Scripted.HEAD + piece()), gone()), "closed", "closed"),
    "silent": (lambda r, out: time.sleep(3), "timeout", "no answer"),
    "stops": (lambda r, out: (out(Scripted.HEAD + piece()), time.sleep(3)), "timeout",
              "the answer stopped"),
    "429": (lambda r, out: out(whole("429 Slow", '{"error": 1}')), "status_429", '{"error": 1}'),
    "404": (lambda r, out: out(whole("404 No", "no such model")), "status_4xx", "no such model"),
    "500": (lambda r, out: out(whole("500 Oh", "bro\r\nken")), "status_5xx", "bro  ken"),
    "302": (lambda r, out: out(whole("302 There", "x")), "status_other", "x"),
    "garbage": (lambda r, out: out(b"\0\1\2 nonsense\r\n\r\n"), "protocol", "invalid"),
    "bad_chunk": (lambda r, out: out(Scripted.HEAD + b"zz\r\n"), "protocol", "invalid character"),
    "huge_head": (lambda r, out: out(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200000), "protocol",
                  "too many header bytes"),
    "no_stream": (lambda r, out: out(whole("200 OK", '{"choices": []}')), "stream",
                  "no event stream"),
    "no_json": (lambda r, out: out(Scripted.HEAD + chunk("data: {\n\n")), "stream",
                "no JSON object"),
    "error": (lambda r, out: out(Scripted.HEAD + chunk('data: {"error": {}}\n\n')), "stream",
              "an error in the stream"),
    "endless": (lambda r, out: [out(Scripted.HEAD)] + [out(chunk("x" * 65536)) for _ in range(99)],
                "stream", "too long"),
    "no_done": (lambda r, out: out(Scripted.HEAD + piece() + chunk("")), "stream", "[DONE]"),
    "no_text": (lambda r, out: out(Scripted.HEAD + END), "stream", "without text"),
    "abort": (lambda r, out: out(Scripted.HEAD + piece(finish_reason="abort") + END), "aborted",
              "finish_reason"),
}


@case(each=tuple(BAD), timeout=30)
def test_bad_server(node, how):
    """Each behaviour is counted with its outcome, every time, and nothing hangs."""
    answer, outcome, says = BAD[how]
    server = Scripted(node, answer)
    report, requests = load(node, "-t", server.url, "-w", workload(node), "-d", 0.5,
                            "--timeout", 0.5 * SLACK, "--api", "completions", status=1)
    assert collections.Counter(r["outcome"] for r in requests) == {outcome: len(requests)}
    assert 8 <= len(requests) <= 10 and says in report["problems"][outcome], report["problems"]
    assert report["total"]["e2e"]["count"] == 0


def test_no_server(node):
    with inside(node.netns), socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        report, _ = load(node, "-t", f"http://127.0.0.1:{s.getsockname()[1]}", "-w", workload(node),
                         "-d", 0.5, status=1)
    assert report["total"]["errors"]["connect"] >= 8 and report["connections"] == 0
    assert "refused" in report["problems"]["connect"]
    # an address that is not this machine's
    report, _ = load(node, "-t", "http://127.0.0.1:1", "--source", "192.0.2.0/24", "-d", 0.5,
                     "-w", workload(node), status=1)
    assert "cannot assign" in report["problems"]["connect"] or \
        "not available" in report["problems"]["connect"], report["problems"]


def test_users_of_a_bad_server(node):
    """Users of a server that fails at once do not ask as fast as they can."""
    server = Scripted(node, lambda r, out: gone())
    report, _ = load(node, "-t", server.url, "-w", workload(node, {"arrival": {"users": 4}}),
                     "-d", 2.5, status=1)
    assert 4 < report["total"]["errors"]["closed"] <= 12


def test_some_errors(node):
    """A server that is bad now and then: the rest is measured, and the exit status is 0."""
    def answer(request, out):
        if request.size % 3 == 0:
            out(whole("503 Busy", "busy"))
        else:
            at_once(request, out)

    server = Scripted(node, answer)
    report, requests = load(node, "-t", server.url, "-d", 1, "-w",
                            workload(node, {"output": {"from": 1, "to": 9}}))
    bad = sum(r.size % 3 == 0 for r in server.requests)
    assert 0 < bad < len(requests)
    assert report["total"]["errors"]["status_5xx"] == bad
    assert report["total"]["ok"] == len(requests) - bad
    assert report["endpoints"][0]["errors"]["status_5xx"] == bad


@case(each=("with a time", "without", "with a date"), timeout=60)
def test_told_no(node, how):
    """A request that is told no comes again after the time it was told, and is measured from its first time."""
    header, least = {"with a time": ("Retry-After: 2\r\n", 2), "without": ("", 0.375),
                     "with a date": ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 0.375)}[how]
    first, waited = {}, {}

    def answer(request, out):
        if request.prompt in first:
            waited[request.prompt] = time.monotonic() - first[request.prompt]
            at_once(request, out)
            return
        first[request.prompt] = time.monotonic()
        out(f"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n{header}\r\n".encode())

    server = Scripted(node, answer)
    report, requests = load(node, "-t", server.url, "-w", workload(node), "-d", 1, "--retries", 3)
    assert requests and len(waited) == len(requests)
    assert report["total"]["ok"] == report["total"]["told_no"] == len(requests)
    assert report["total"]["told_no_time"] == (0 if how == "with a time" else len(requests))
    assert sum(s["told_no"] for s in report["timeline"]) == len(requests)
    assert all(r["told_no"] == 1 and r["ttft"] >= least for r in requests)
    assert min(waited.values()) >= least - 0.05, waited


def test_told_no_for_ever(node):
    """After as many times as it may, the last answer counts; a refused connection is told no, too."""
    server = Scripted(node, lambda r, out: out(whole("503 Busy", "busy")))
    report, requests = load(node, "-t", server.url, "-w", workload(node), "-d", 0.3, "--retries", 1, status=1)
    assert report["total"]["errors"]["status_5xx"] == len(requests) == report["total"]["told_no"]
    assert len(server.requests) == 2 * len(requests)
    with inside(node.netns), socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        report, requests = load(node, "-t", f"http://127.0.0.1:{s.getsockname()[1]}", "-w", workload(node),
                                "-d", 0.3, "--retries", 1, status=1)
    assert report["total"]["errors"]["connect"] == len(requests) == report["total"]["told_no"]


def test_session_header(node):
    """The requests of a session name it, and no other session's do, in a header of that name; without the option none
    has it."""
    server = Scripted(node, at_once)
    options = "-t", server.url, "-w", workload(node, {"turns": 3}), "-d", 1
    load(node, *options)
    assert not any("x-session-id" in r.head.lower() for r in server.requests)
    server.requests.clear()
    load(node, *options, "--session-header", "X-Session-Id")
    named = [re.search(r"(?m)^X-Session-Id: (a-\d+)\r?$", r.head)[1] for r in server.requests]
    beginnings = [r.prompt[:40] for r in server.requests]
    assert len(set(named)) == len(set(beginnings)) == len(set(zip(named, beginnings))) > 1, named
    for bad in ("", "a b", "x:", "x\r\nhost"):
        out = node.run(BUILD / "pintle-load", *options, "--session-header", bad, check=False)
        assert out.returncode and "is no name of a header; write" in out.stderr, out


def test_odd_but_valid(node):
    """A stream in pieces of one byte, with CRLF, after an interim answer, ended as in HTTP/1.0."""
    def bytewise(_request, out):
        for byte in b"HTTP/1.1 100 Continue\r\n\r\n" + Scripted.HEAD + \
                (piece() + piece() + END).replace(b"\\n\\n", b"\\r\\n\\r\\n"):
            out(bytes([byte]))

    def old(_request, out):
        out(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\nX-Inference-Pod: old\r\n\r\n"
            b'data: {"choices": [{"text": "x"}]}\r\n\r\ndata: [DONE]\r\n\r\n')
        raise Gone

    for answer, name in ((bytewise, "scripted"), (old, "old")):
        server = Scripted(node, answer)
        report, requests = load(node, "-t", server.url, "-w", workload(node), "-d", 0.5)
        assert report["total"]["ok"] == len(requests) >= 8
        assert report["endpoints"][0]["name"] == name


def test_usage(node):
    """Tokens are counted by the server's usage, if it sends one; an event may carry several."""
    usage = {"prompt_tokens": 50, "completion_tokens": 12, "prompt_tokens_details":
             {"cached_tokens": 20}}
    server = Scripted(node, lambda r, out: out(
        Scripted.HEAD + piece("a b c d e f ") + piece("g h i j k l ") +
        chunk(f'data: {{"choices": [], "usage": {json.dumps(usage)}}}\n\n') + END))
    report, requests = load(node, "-t", server.url, "-w", workload(node), "-d", 0.5)
    total, count = report["total"], len(requests)
    assert total["output_tokens"] == 12 * count and total["prompt_tokens"] == 50 * count
    assert total["cached_tokens"] == 20 * count and total["itl"]["count"] == count


# -- the ends -----------------------------------------------------------------------------


@case(each=("SIGINT", "SIGTERM"))
def test_signal(node, name):
    """A signal ends the run with a report of what was measured; requests under way are cancelled."""
    server = Scripted(node, lambda r, out: stream(out, r.size, 0 if r.size > 1 else 60))
    process = start(node, "-t", server.url, "-d", 600, "-o", "json", "--log", node.dir / "load.log",
                    "-w", workload(node, {"output": {"from": 1, "to": 3}}))
    wait_for(lambda: sum(r.size == 1 for r in server.requests) > 3)
    process.send_signal(getattr(signal, name))
    report = json.loads(end(process)[0])
    requests = [json.loads(line) for line in (node.dir / "load.log").read_text().splitlines()]
    balance(report, requests)
    assert report["interrupted"] and report["total"]["cancelled"] > 3 < report["total"]["ok"]
    assert report["measured_seconds"] < 60
    # The server may not have read a request that was cancelled as soon as it was sent.
    assert sum(bool(r["endpoint"]) for r in requests) <= len(server.requests) <= report["total"]["requests"]


def test_metrics_pages(node):
    """A page that cannot be read is named, and the others are counted."""
    sim = Sim(node)
    sick = node.server("sick", "127.0.0.1:9001")
    sick.be(status=500)
    out, _ = end(start(node, "-t", f"http://{sim.at[0]}", "-d", 0.5, "-w", workload(node),
                       "--metrics", f"http://{sim.at[0]}/metrics", "--metrics",
                       "http://127.0.0.1:9001/metrics", "-o", "json"))
    pages = json.loads(out)["servers"]["pages"]
    assert pages[0]["problem"] is None and pages[0]["prefix_queries"] > 0
    assert "500" in pages[1]["problem"]
    # a server that never answers, with a warm-up, and a second signal
    sick.be(status=200, stall=True)
    before = sim.metric("vllm:generation_tokens_total")
    process = start(node, "-t", f"http://{sim.at[0]}", "-d", 60, "--warmup", 0.2, "-w",
                    workload(node), "--metrics", "http://u:SECRET@127.0.0.1:9001/metrics", "-o", "json")
    wait_for(lambda: sim.metric("vllm:generation_tokens_total") > before + 20)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # two of one kind may be one
    report = json.loads(end(process)[0])
    assert report["servers"]["pages"][0]["problem"] == "not read"
    assert report["servers"]["pages"][0]["url"] == "http://127.0.0.1:9001/metrics"


def test_text_report(node):
    """The table has the same figures as the JSON; without a terminal there is no progress."""
    sim = Sim(node)
    out, err = end(start(node, "-t", f"http://{sim.at[0]}", "-d", 1, "-w", workload(
        node, {"name": "one"}, {"name": "two"}), "--metrics", f"http://{sim.at[0]}"))
    assert err == ""
    for says in ("one ", "two ", "total ", "TTFT", "between tokens", "end to end", "p99", "sim-0",
                 "prefix hits", "seed 0"):
        assert says in out, out
    assert "not answered well" not in out
    out, _ = end(start(node, "-t", "http://127.0.0.1:1", "-d", 0.3, "-w", workload(node)), 1)
    assert re.search(r"^connect +\d+  connection refused", out, re.M), out


def test_progress(node):
    """On a terminal it says each second how it goes."""
    server = Scripted(node, at_once)
    master, slave = pty.openpty()
    process = node.popen([BUILD / "pintle-load", "-t", server.url, "-d", "2.5", "-w",
                          workload(node)], stdout=subprocess.PIPE, stderr=slave, text=True)
    os.close(slave)
    process.communicate(timeout=60)
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(master, 65536):
            shown += part
    os.close(master)
    assert re.search(rb"1 s: \d+ in flight, \d+ ok, 0 errors, \d+ tokens/s", shown), shown
    assert b"2 s: " in shown and shown.endswith(b"\r\x1b[K"), shown


def test_workloads_that_are_built_in(node):
    """Each is listed, shown as a file that works, and runs by its name."""
    listed = node.run(BUILD / "pintle-load", "--list-workloads").stdout
    names = [line.split()[0] for line in listed.splitlines()]
    assert {"agents", "batch", "chat-batch", "chat-bursty", "rag"} <= set(names)
    sim = Sim(node, "--speed", 100, "--max-model-len", 100000, "--num-blocks", 20000)
    for name in names:
        text = node.run(BUILD / "pintle-load", "--show-workload", name).stdout
        shown = node.write("shown.yaml", text)
        for what in (name, shown):
            users = ("--users", 4) if "users" in text else ()
            rate = ("--rate", 20) if "rate" in text else ()
            report, requests = load(node, "-t", f"http://{sim.at[0]}", "-w", what, "-d", 0.5,
                                    *users, *rate)
            assert report["total"]["ok"] == len(requests) > 0, report["problems"]


def test_mistakes(node):
    """Each mistake ends with exit status 2 and what would be right, before anything is sent."""
    good = workload(node)
    to = ("-t", "http://127.0.0.1:1")
    cases = {
        (): "--target is missing",
        to: "--workload is missing",
        ("-w", good): "--target is missing",
        (*to, "-w", good, "--rate", "0"): "--rate: '0' is not a number from",
        (*to, "-w", good, "--rate", "nan"): "--rate: 'nan' is not a number",
        (*to, "-w", good, "--users", "3"): "has no closed-loop class",
        (*to, "-w", good, "--users", "1.5"): "whole number",
        (*to, "-w", good, "--duration", "-1"): "--duration: '-1' is not a number",
        (*to, "-w", good, "--timeout", "0"): "--timeout",
        (*to, "-w", good, "--seed", "x"): "--seed",
        (*to, "-w", good, "--api", "grpc"): "neither chat nor completions",
        (*to, "-w", good, "-o", "xml"): "neither text nor json",
        (*to, "-w", good, "--source", "10.0.0.1/8"): "no prefix; set no bit",
        (*to, "-w", good, "--source", "fd01::/64"): "the source is IPv6, the target IPv4",
        (*to, "-w", good, "--metrics", "x"): "write http://HOST:PORT/metrics",
        (*to, "-w", good, "--model", ""): "1 to 200 characters",
        (*to, "-w", good, "stray"): "'stray' is no option",
        ("-t", "127.0.0.1:1", "-w", good): "write http://HOST:PORT",
        ("-t", "https://127.0.0.1:1", "-w", good): "there is no TLS here",
        ("-t", "http://127.0.0.1", "-w", good): "write http://HOST:PORT",
        ("-t", "http://127.0.0.1:1/v1", "-w", good): "write http://HOST:PORT",
        (*to, "--no-such-flag"): "unrecognized option",
        (*to, "--show-workload", "nix"): "see --list-workloads",
        (*to, "-w", "nix"): "nix:1:1: cannot be read",
        (*to, "--trace", "nix"): "nix:1:1: cannot be read",
        (*to, "--trace", good, "--rate", "3"): "do not go with --trace",
    }
    for flags, says in cases.items():
        got = node.run(BUILD / "pintle-load", *flags, check=False)
        assert got.returncode == 2 and says in got.stderr, (flags, got)
        assert not got.stdout
    bad = node.write("bad.yaml", "classes:\n- name: a\n  prompt: 10\n  output: lots\n")
    got = node.run(BUILD / "pintle-load", *to, "-w", bad, check=False)
    assert got.returncode == 2
    assert f'{bad}:4:11: output is "lots"' in got.stderr
    assert f'{bad}:2:3: "arrival" is missing' in got.stderr
    bad = node.write("bad.csv", "time,session,prompt_tokens,output_tokens\n1,a,2,3\n0,a,2,3\n")
    got = node.run(BUILD / "pintle-load", *to, "--trace", bad, check=False)
    assert got.returncode == 2 and f"{bad}:3:1: time is before" in got.stderr, got
    # a trace's class, and a warm-up beyond it
    ok = node.write("ok.csv", "time,session,prompt_tokens,output_tokens\n1,a,2,3\n")
    got = node.run(BUILD / "pintle-load", *to, "--trace", ok, "-w", "chat-batch", check=False)
    assert got.returncode == 2 and "several classes" in got.stderr
    got = node.run(BUILD / "pintle-load", *to, "--trace", ok, "--warmup", "9", check=False)
    assert got.returncode == 2 and "longer than the trace" in got.stderr
    # what is no mistake of the command line
    got = node.run(BUILD / "pintle-load", "-t", "http://no-such-host.invalid:1", "-w", good,
                   check=False)
    assert got.returncode == 1 and "no-such-host.invalid" in got.stderr
    got = node.run(BUILD / "pintle-load", *to, "-w", good, "--log", "/nowhere/x", check=False)
    assert got.returncode == 1 and "/nowhere/x" in got.stderr
    assert "pintle-load " in node.run(BUILD / "pintle-load", "--version").stdout
    assert "--workload" in node.run(BUILD / "pintle-load", "--help").stdout


def test_its_documents(node):
    """The page's example works; options, keys of the JSON and outcomes are all described."""
    page = (TOP / "lab/docs/load-generator.md").read_text()
    manual = (TOP / "lab/docs/man/pintle-load.1").read_text().replace("\\-", "-")
    options = set(re.findall(r"--[a-z-]+", node.run(BUILD / "pintle-load", "--help").stdout))
    assert len(options) > 15
    assert {o for o in options if o not in manual} <= {"--usage"}
    example = node.write("example.yaml", re.search(r"```yaml\n(.*?)```", page, re.S)[1])
    sim = Sim(node, "--speed", 100, "--max-model-len", 100000, "--num-blocks", 20000)
    report, requests = load(node, "-t", f"http://{sim.at[0]}", "-w", example, "-d", 0.5, "--users", 2,
                            "--metrics", f"http://{sim.at[0]}")
    assert report["total"]["ok"] == len(requests) > 0
    for number, form in enumerate((r'^    (\{"time".*)$', r"^    (time,.*\n    .*)$")):
        trace = node.write(f"trace-{number}", re.search(form, page, re.M)[1].replace("    ", ""))
        report, requests = load(node, "-t", f"http://{sim.at[0]}", "--trace", trace,
                                "--metrics", f"http://{sim.at[0]}")
        assert report["total"]["ok"] == 1

    def keys(value):
        if isinstance(value, dict):
            for key, item in value.items():
                yield key
                yield from keys(item)
        elif isinstance(value, list):
            for item in value:
                yield from keys(item)

    named = set(re.findall(r"\w+", page))
    assert not set(keys({k: v for k, v in report.items() if k != "problems"})) - named
    assert not set(requests[0]) - named
    for key in re.findall(r'"(?:\w+\.)?(\w+)", KEY_|\.path = "(?:\w+\.)?(\w+)"',
                          (TOP / "lab/load/load_workload.c").read_text()):
        assert next(filter(None, key)) in named, key
