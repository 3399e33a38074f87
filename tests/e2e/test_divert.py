# SPDX-License-Identifier: Apache-2.0
"""Admission divert: the overload responder answers in place of full endpoints, in both hooks."""
import email.parser
import json
import re
import signal
import socket
import ssl
import struct
import time

from clients import FRONTEND, connect_in, source, split
from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster
from test_classes import BATCH, classes, empty, fill, hint, is_refused
from test_connect import BOTH

UNDER_SANITIZERS = True
HOOKS = ("lookup", "connect")
OWN = {"v4": "10.1.0.1:9465", "v6": "[fd01::1]:9465"}
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def diverted(*rules, **batch):
    return classes(*rules, admission="divert", **batch)


class World:
    """Servers that are full for batch; connect() and ask() are those of a client of batch."""

    def __init__(self, node, hook="lookup", family="v4", settings=None, **more):
        self.node, self.hook, self.family = node, hook, family
        if hook == "lookup":
            self.to, self.pools = FRONTEND[family], node
            self.servers = node.servers(2)
            self.own = {"v4": "127.0.0.1:9465", "v6": "[::1]:9465"}[family]
            pool = node.pool(self.servers, **{**diverted({"source": source(7, family)}), **more})
            self.daemon = node.daemon(node.config(pool, **(settings or {})))
        else:
            self.to, self.pools = SERVICE[family], Cluster(node)
            pods = self.pools.servers(2)
            self.own = OWN[family]
            self.pools.batch(*(f"addr add {split(a)[0]} dev lo" for a in OWN.values()))
            settings = {"overload": {"listen": self.own}, **(settings or {})}
            self.daemon = self.pools.steer(self.pools.pool(pods, family=family, **{**diverted(), **more}),
                                           **(settings or {}))
            self.servers, self.client = [p.model for p in pods], self.pools.pod("client")
        self.up()
        fill(*self.servers)

    def up(self, up=1):
        wait_for(lambda: self.daemon.metric("pintle_overload_up") == up)

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


@case(each=[f"{h}-{f}" for h in HOOKS for f in BOTH])
def test_answered(node, way):
    """Where each endpoint is full for batch, batch is answered 429, others are served, and batch is served again
    where there is room."""
    w = World(node, *way.split("-"))
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


@case(each=HOOKS)
def test_the_peer_is_the_frontend(node, hook):
    w = World(node, hook)
    with w.connect() as s:
        assert s.getpeername() == split(w.to)
