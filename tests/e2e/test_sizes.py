# SPDX-License-Identifier: Apache-2.0
"""Sizes of requests and answers, and how requests ended, as the kernel counted them."""
import re
import socket
import struct

from clients import source
from harness import case
from kernel import wait_for
from pods import SERVICE
from test_classes import BATCH, classes, hint
from test_follow import Followed, request
from test_latency import Simulated

REQUEST, ANSWER = "pintle_pool_request_size_bytes", "pintle_pool_response_size_bytes"
BOUNDS = [256 * 4 ** i for i in range(11)]
LARGE = 100_000  # a prompt


def exchange(c, path, size):
    """Sends a request of so many bytes. Returns how many the answer has."""
    c.sock.sendall(request(path, size))
    got = b""
    while not (head := re.search(rb"\r\n\r\n", got)):
        got += c.sock.recv(65536)
    length = head.end() + int(re.search(rb"Content-Length: (\d+)", got)[1])
    while len(got) < length:
        got += c.sock.recv(65536)
    assert len(got) == length
    return length


def seen(f, name):
    """(count, sum, {bound: how many are not above it}) of a histogram of the pool."""
    found = {labels: value for (n, labels), value in f.daemon.metrics().items() if n == name + "_bucket"}
    labels = {"pool": "pool", "class": ""}
    return (f.daemon.metric(name + "_count", **labels), f.daemon.metric(name + "_sum", **labels),
            {float(dict(k)["le"]): v for k, v in found.items()})


def ended(f):
    """{how: requests that ended so}, without zeros."""
    return {dict(labels)["how"]: value for (name, labels), value in f.daemon.metrics().items()
            if name == "pintle_pool_requests_ended_total" and value}


def unmeasured(f):
    return f.daemon.metric("pintle_pool_requests_unmeasured_total", pool="pool", **{"class": ""})


def holds(f, requests, answers):
    """The histograms hold exactly these sizes; so do the sums of the endpoints."""
    wait_for(lambda: seen(f, ANSWER)[0] == len(answers) or AssertionError(seen(f, ANSWER)))
    for name, sizes in ((REQUEST, requests), (ANSWER, answers)):
        count, total, buckets = seen(f, name)
        assert (count, total) == (len(sizes), sum(sizes)), (name, count, total, sizes)
        assert list(buckets) == [*BOUNDS, float("inf")]
        assert all(buckets[b] == sum(s <= b for s in sizes) for b in buckets), (buckets, sizes)
    assert f.metric("pintle_endpoint_first_tokens_total") == len(requests)
    assert f.metric("pintle_endpoint_first_token_request_bytes_total") == sum(requests)
    assert f.metric("pintle_endpoint_responses_total") == len(answers)
    assert f.metric("pintle_endpoint_response_bytes_total") == sum(answers)


def test_kept_connection_at_the_client(node):
    """Each request of a kept connection has its size, and each answer; the last one when the connection ends."""
    f = Followed(node, "connect")
    requests, answers = [777, LARGE, 256, 257, 3 * LARGE, 300], []
    with f.connect() as c:
        for i, size in enumerate(requests):
            answers.append(exchange(c, f"/bytes/{(10, 2000, 100_000)[i % 3]}", size))
        holds(f, requests, answers[:-1])
        assert ended(f) == {"answered": len(requests) - 1}
    holds(f, requests, answers)
    assert ended(f) == {"answered": len(requests)}


@case(each=("lookup", "connect"))
def test_without_the_daemon(node, hook):
    """The kernel measures on while no daemon runs: a request a connection, each answered after a while."""
    f = Followed(node, hook)
    f.daemon.stop()
    requests, answers = [500, LARGE], []
    for size in requests:
        with f.connect() as c:
            c.sock.sendall(request("/hold", size))
            wait_for(lambda: sum(s.counts().held for s in f.servers) == 1)
            for s in f.servers:
                s.release()
            answers.append(len(c.sock.recv(65536)))
    f.start()
    holds(f, requests, answers)
    assert ended(f) == {"answered": 2}


def test_further_requests_at_the_server(node):
    """At a server only the first request of a connection is measured, and its answer only if no other came; the
    others are counted."""
    f = Followed(node, "lookup")
    with f.connect() as c:
        for i in range(3):
            c.sock.sendall(request("/hold", 200 + i))
            f.shows(requests_waiting=1)
            wait_for(lambda: sum(s.counts().held for s in f.servers) == 1)
            for s in f.servers:
                s.release()
            c.read()
            f.shows(requests_waiting=0)
    wait_for(lambda: unmeasured(f) == 2)
    holds(f, [200], [])
    assert ended(f) == {}


@case(each=("lookup", "connect"))
def test_ends(node, hook):
    """How a request without an answer ended: the server closed or reset the connection, or the client reset it."""
    f = Followed(node, hook)
    for how in ("close", "reset", "client"):
        with f.connect() as c:
            c.sock.sendall(request("/hold", 1000))
            wait_for(lambda: sum(s.counts().held for s in f.servers) == 1)
            if how == "client":
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                for s in f.servers:
                    s.drop(reset=how == "reset")
        f.shows(in_flight=0)
    wait_for(lambda: sum(ended(f).values()) == 3 or AssertionError(ended(f)))
    # A side that resets a connection has closed it, as far as its own kernel knows.
    assert ended(f) == {"unanswered": 2, "reset": 1}, ended(f)
    # A connection without a request has none that ended.
    with f.connect():
        f.shows(in_flight=1)
    f.shows(in_flight=0)
    assert sum(ended(f).values()) == 3 and seen(f, ANSWER)[0] == 0


@case(san=False, each=("stream", "kept"), timeout=120)
def test_beside_the_log(node, how):
    """What pintle-load sent, 32 at once: each answered request is measured, once, and all
    bytes of the connections are those of requests and answers."""
    s = Simulated(node, "connect")
    kind = {"stream": {"connection": "per-request"}, "kept": {"turns": 3, "think": "50ms"}}[how]
    times = s.load(node, arrival={"users": 32}, prompt={"mean": 500}, **kind)
    wait_for(lambda: sum(ended(s).values()) == len(times) or AssertionError((ended(s), len(times))))
    assert ended(s) == {"answered": len(times)}
    labels = {"pool": "pool", "endpoint": "s"}
    for name, sums in ((REQUEST, "received"), (ANSWER, "sent")):
        count, total, _ = seen(s, name)
        assert count == len(times) and total > 200 * count, (name, count, total)
        # SYN and FIN count as a byte each.
        both = s.daemon.metric(f"pintle_endpoint_{sums}_bytes_total", **labels)
        assert 0 <= both - total <= 2 * s.owner.cli("endpoints")[0]["opened"], (name, both, total)


@case(each=("lookup", "connect"))
def test_of_another_class(node, hook):
    """Who resets his connections, and sends large requests, changes the figures of his own class alone."""
    f = Followed(node, hook, **classes({"source": source(7)} if hook == "lookup" else {"dscp": 63}))

    def batch():
        return f.connect(7) if hook == "lookup" else f.client.connect(SERVICE["v4"], options=[hint(BATCH)])

    for connect, size in ((batch, LARGE), (batch, LARGE), (f.connect, 1000)):
        with connect() as c:
            c.sock.sendall(request("/hold", size))
            wait_for(lambda: sum(s.counts().held for s in f.servers) == 1)
            for s in f.servers:
                s.drop(reset=True) if connect == batch else s.release()
            if connect != batch:
                c.read()
    f.shows(in_flight=0)

    def of(name, **labels):
        return {dict(found)["class"]: value for (n, found), value in f.daemon.metrics().items()
                if n == name and value and labels.items() <= dict(found).items()}

    told = "reset" if hook == "connect" else "unanswered"
    wait_for(lambda: of("pintle_pool_requests_ended_total", how="answered") == {"interactive": 1})
    assert of("pintle_pool_requests_ended_total", how=told) == {"batch": 2}
    assert of(REQUEST + "_sum") == {"interactive": 1000} and of(ANSWER + "_count") == {"interactive": 1}


@case(each=("lookup", "connect"))
def test_not_followed(node, hook):
    """A pool that does not follow measures nothing, and calls nothing unmeasured."""
    f = Followed(node, hook, follow=False)
    with f.connect() as c:
        exchange(c, "/", 500)
    f.shows(in_flight=0)
    names = {n for n, _ in f.daemon.metrics()}
    assert not any("size_bytes" in n or "requests_ended" in n or "unmeasured" in n for n in names)
    f.daemon.reload(f.config.replace('"follow": false', '"follow": true').replace("follow: false", "follow: true"))
    wait_for(lambda: seen(f, ANSWER)[0] == 0)
    assert not ended(f) and (hook == "connect" or not unmeasured(f))
