# SPDX-License-Identifier: Apache-2.0
"""A model server for tests: answers each HTTP request with its name, serves a metrics page
that the test writes, and misbehaves on demand.

serve() takes options: name, address [host, port], control (the path of a Unix socket), and
where wanted listeners (1), reuseport, mptcp, v6only, signals {...}, be {...}. Each line on the
control socket is a JSON object with "do" and is answered by one line of JSON. It has one thread
and is forked by its case.

Paths:  /metrics    the page, with the status that was set
        /health     the status that was set
        /v1/models  the models that were set; else the server's name
        /hold       no answer until "release"
        /silent     no answer
        /bytes/N    N bytes
        /head       the request's head, as it came
        other       the server's name
A request with "Connection: close" is answered and then closed.
"""
import json
import os
import re
import selectors
import socket
import struct

IPPROTO_MPTCP = 262
IPV6_FREEBIND = 78
RST_ON_CLOSE = struct.pack("ii", 1, 0)

PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="test"}} {running}
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="test"}} {waiting}
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{engine="0",model_name="test"}} {kv_cache}
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{{engine="0",model_name="test"}} {queries}
# HELP vllm:prefix_cache_hits_total Prefix cache hits, in terms of number of cached tokens.
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{{engine="0",model_name="test"}} {hits}
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="test"}} {prompt}
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="test"}} {output}
# HELP vllm:e2e_request_latency_seconds Histogram of e2e request latency in seconds.
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{{engine="0",le="0.3",model_name="test"}} 0.0
vllm:e2e_request_latency_seconds_bucket{{engine="0",le="+Inf",model_name="test"}} 0.0
vllm:e2e_request_latency_seconds_count{{engine="0",model_name="test"}} 0.0
vllm:e2e_request_latency_seconds_sum{{engine="0",model_name="test"}} 0.0
"""
SIGNALS = {
    "running": 0.0, "waiting": 0.0, "kv_cache": 0.0,
    "queries": 0.0, "hits": 0.0, "prompt": 0.0, "output": 0.0,
}


def ends_with_answer(head):
    """Whether the connection ends with the answer, by RFC 9112, section 9.3."""
    said = ",".join(re.findall(r"^connection:(.*)$", head, re.I | re.M))
    words = {word.strip().lower() for word in said.split(",")}
    return "close" in words or (" HTTP/1.0\r" in head + "\r" and "keep-alive" not in words)


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.got = b""
        self.held = None    # path of the request that waits for "release"
        self.ended = False  # the client has sent FIN; an answer may still be owed
        self.counted = False
        self.paused = False     # is not read


class Server:
    def __init__(self, name, address, options):
        self.name = name
        self.address = address
        self.options = options
        self.selector = selectors.DefaultSelector()
        self.listeners = []
        self.connections = set()
        self.accepted = 0       # connections that requested another path than /metrics
        self.scrapes = 0        # requests for /metrics
        self.requests = 0       # others
        self.signals = dict(SIGNALS)
        self.page = None        # raw text, instead of a page made from the signals
        self.status = 200       # of the page
        self.ready = True       # False: every answer is 503
        self.silent = False     # takes requests and never answers
        self.reset = False      # answers each request with RST
        self.shut = False       # sends its FIN instead of each answer, and closes after the client has
        self.stall = False      # requests for the page are never answered
        self.cut = None         # the connection closes after so many bytes of the page
        self.held = False       # every answer waits for "release"
        self.late = False       # reads nothing from a connection that waits for "release"
        self.health = 200       # status of the answer to /health; 0: none
        self.models = None      # names on /v1/models; None: no list
        self.checks = 0         # requests for /health
        self.fails = None       # the status of every answer but those to the page and /health
        self.retry = None       # its Retry-After; with it, also that of a page that is not 200
        self.statuses = None    # "2xx": how many, on the page, too; None: it does not count

    # -- sockets -------------------------------------------------------------

    def listen(self):
        host, port = self.address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        protocol = IPPROTO_MPTCP if self.options.get("mptcp") else 0
        os.seteuid(self.options.get("uid", 0))
        s = socket.socket(family, socket.SOCK_STREAM, protocol)
        os.seteuid(0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.options.get("reuseport"):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(self.options.get("v6only", 0)))
            s.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        s.bind((host, port))
        s.listen(1024)
        s.setblocking(False)
        self.listeners.append(s)
        self.selector.register(s, selectors.EVENT_READ, self.accept)

    def unlisten(self, index):
        s = self.listeners.pop(index)
        self.selector.unregister(s)
        s.close()

    def accept(self, listener):
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        # Writes may block for a moment, because answers are small.
        sock.settimeout(5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c = Connection(sock)
        self.connections.add(c)
        self.selector.register(sock, selectors.EVENT_READ, lambda _sock: self.serve(c))

    def drop(self, c, reset=False):
        if c not in self.connections:
            return
        self.connections.discard(c)
        if not c.ended and not c.paused:
            self.selector.unregister(c.sock)
        if reset:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        c.sock.close()

    # -- HTTP ----------------------------------------------------------------

    def serve(self, c):
        try:
            data = c.sock.recv(65536)
            if not data:
                if not c.held:
                    self.drop(c)
                    return
                c.ended = True
                self.selector.unregister(c.sock)
            c.got += data
            while b"\r\n\r\n" in c.got and c in self.connections and not c.held:
                head, c.got = c.got.split(b"\r\n\r\n", 1)
                self.request(c, head.decode("latin-1"))
            if c.held and self.late and not c.paused:
                c.paused = True
                self.selector.unregister(c.sock)
        except OSError:
            self.drop(c)

    def request(self, c, head):
        path = head.split(" ", 2)[1]
        close = ends_with_answer(head)
        if path == "/metrics":
            self.scrapes += 1
            if self.stall or self.silent:
                return
            self.send_page(c)
            return
        if path == "/health":
            self.checks += 1
            if self.health:
                self.send(c, self.health, b"")
            return
        if path == "/v1/models":
            listed = json.dumps({"object": "list", "data": [{"id": m, "object": "model"} for m in self.models or ()]})
            self.send(c, 200, listed.encode() if self.models else self.name.encode(), close)
            return
        self.requests += 1
        if not c.counted:
            c.counted = True
            self.accepted += 1
        if self.reset:
            self.drop(c, reset=True)
        elif self.shut:
            c.sock.shutdown(socket.SHUT_WR)
        elif self.silent or path == "/silent":
            pass
        elif path == "/head":
            self.send(c, 200, head.encode("latin-1"), close)
        elif path == "/hold" or self.held:
            c.held = path + (" close" if close else "")
        else:
            self.answer(c, path, close)

    def answer(self, c, path, close):
        body = self.name.encode()
        if path.startswith("/bytes/"):
            body = b"x" * int(path[7:])
        status = self.fails or (200 if self.ready else 503)
        if self.statuses is not None:
            which = f"{status // 100}xx"
            self.statuses[which] = self.statuses.get(which, 0) + 1
        self.send(c, status, body, close)

    def send_page(self, c):
        body = self.page
        if body is None:
            body = PAGE.format(**self.signals)
            for status, count in (self.statuses or {}).items():
                body += f'http_requests_total{{handler="/v1/completions",method="POST",status="{status}"}} {count}\n'
        body = body.encode()
        if not self.ready:
            self.send(c, 503, b"starting\n")
        elif self.cut is not None:
            self.send(c, self.status, body, close=True, cut=self.cut)
        else:
            self.send(c, self.status, body)

    def send(self, c, status, body, close=False, cut=None):
        head = (
            f"HTTP/1.1 {status} {'OK' if status == 200 else 'Other'}\r\n"
            f"Content-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n"
            f"{f'Retry-After: {self.retry}' + chr(13) + chr(10) if self.retry and status != 200 else ''}"
            f"{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n"
        )
        c.sock.sendall(head.encode() + body[:cut])
        if close:
            self.drop(c)

    # -- control -------------------------------------------------------------

    def do_set(self, **values):
        """Signals of the page."""
        for key in values:
            if key not in SIGNALS:
                raise KeyError(key)
        self.signals.update(values)

    def do_be(self, **values):
        """Attributes: page, status, ready, silent, reset, shut, stall, cut, held, late, health, models, fails, retry,
        statuses."""
        for key, value in values.items():
            if key not in ("page", "status", "ready", "silent", "reset", "shut", "stall", "cut", "held", "late",
                           "health", "models", "fails", "retry", "statuses"):
                raise KeyError(key)
            setattr(self, key, value)

    def do_release(self):
        for c in [c for c in self.connections if c.held]:
            path, _, close = c.held.partition(" ")
            c.held = None
            if c.paused:
                c.paused = False
                self.selector.register(c.sock, selectors.EVENT_READ, lambda _sock, c=c: self.serve(c))
            try:
                self.answer(c, path, bool(close))
                if c.ended:
                    self.drop(c)
            except OSError:
                self.drop(c)

    def do_drop(self, reset=False):
        """Closes the connections that requested another path than /metrics."""
        for c in [c for c in self.connections if c.counted]:
            self.drop(c, reset)

    def do_listen(self):
        self.listen()

    def do_unlisten(self, index=0):
        self.unlisten(index)

    def do_counts(self):
        return {
            "accepted": self.accepted,
            "open": sum(c.counted for c in self.connections),
            "held": sum(bool(c.held) for c in self.connections),
            "requests": self.requests,
            "scrapes": self.scrapes,
            "checks": self.checks,
            "listeners": len(self.listeners),
        }

    def control(self, sock):
        line = sock.recv(1 << 20)
        if not line:
            self.selector.unregister(sock)
            sock.close()
            return
        while not line.endswith(b"\n"):
            line += sock.recv(1 << 20)
        try:
            order = json.loads(line)
            reply = getattr(self, "do_" + order.pop("do"))(**order) or {}
        except Exception as e:  # the test gets the error of its order
            reply = {"error": repr(e)}
        sock.sendall(json.dumps(reply).encode() + b"\n")

    def run(self, path):
        door = socket.socket(socket.AF_UNIX)
        door.bind(path)
        door.listen(4)

        def enter(door):
            sock, _ = door.accept()
            self.selector.register(sock, selectors.EVENT_READ, self.control)

        self.selector.register(door, selectors.EVENT_READ, enter)
        while True:
            for key, _ in self.selector.select():
                # An earlier event of this round may have closed it.
                if key.fileobj.fileno() >= 0:
                    key.data(key.fileobj)


def serve(options):
    server = Server(options["name"], tuple(options["address"]), options)
    server.signals.update(options.get("signals", {}))
    for key, value in options.get("be", {}).items():
        setattr(server, key, value)
    for _ in range(options.get("listeners", 1)):
        server.listen()
    server.run(options["control"])
