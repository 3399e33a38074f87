# SPDX-License-Identifier: Apache-2.0
"""decide: request, with a client that uses ECN and a network that marks its packets (CE). What the client is told is
what a server's own socket tells it: each step is made at a server's own address first."""
import hashlib
import os
import socket
import struct

from clients import NODE_ADDRESS
from harness import case
from kernel import wait_for
from test_handoff import HANDED, handed, hashing, post
from test_hold import cut, holds, none_held
from test_ways import Client, client_sysctl, has_ecn

BODY = os.urandom(3000)
SYN, DATA = "tcp flags & (syn | ack) == syn", "tcp flags & (syn | psh | ack) == psh | ack"
BARE = "tcp flags & (syn | fin | rst | psh | ack) == ack"


def rules(node, **chains):
    """Replaces the rules of the client's namespace by these, {hook: statement}."""
    text = "table inet marks { }\ndelete table inet marks\ntable inet marks {\n"
    for hook, statement in chains.items():
        text += f"chain {hook} {{\ntype filter hook {hook} priority 0\n{statement}\n}}\n"
    node.run("nft", "-f", node.write("marks.nft", text + "}\n"), netns=node.client_netns)


def mark(node, family, which):
    rules(node, output=f"tcp dport {{ 8000, 8001 }} {which} {'ip' if family == 'v4' else 'ip6'} ecn set ce")


def info(sock):
    """(segments that nobody has acknowledged, segments that were acknowledged with ECE)"""
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 200)
    return struct.unpack_from("=I", data, 24)[0], struct.unpack_from("=I", data, 196)[0]


def acknowledged(c):
    wait_for(lambda: info(c.sock)[0] == 0, what="all that was sent is acknowledged")


def answer(c):
    want, got = hashlib.sha256(BODY).hexdigest().encode(), b""
    while want not in got:
        more = c.sock.recv(65536)
        assert more, got
        got += more


def syn(node, family, c):
    """Where the SYN is marked, the server takes it for one that must not be, and does without ECN."""
    mark(node, family, SYN)
    c.connect().send(post(BODY) + BODY)
    rules(node)
    answer(c)
    return has_ecn(c.sock), info(c.sock)[1]


def first_segment(node, family, c):
    mark(node, family, DATA)
    c.connect().send(post(BODY))
    acknowledged(c)
    told = info(c.sock)[1]
    rules(node)
    c.send(BODY)  # with CWR
    answer(c)
    return has_ecn(c.sock), told, info(c.sock)[1]


def held_segment(node, family, c):
    a, b, rest = cut(post(BODY), 30, 60)
    c.connect()
    mark(node, family, DATA)
    c.send(a)
    acknowledged(c)
    told = [info(c.sock)[1]]
    rules(node)
    for piece in (b, rest, BODY):  # the first has CWR
        c.send(piece)
        acknowledged(c)
        told.append(info(c.sock)[1])
    answer(c)
    return has_ecn(c.sock), told


def each_held_segment(node, family, c):
    mark(node, family, DATA)
    c.connect()
    told = []
    for piece in (*cut(post(BODY), 30, 60, 90), BODY[:1000], BODY[1000:2000]):
        c.send(piece)
        acknowledged(c)
        told.append(info(c.sock)[1])
    c.send(BODY[2000:])
    answer(c)
    return has_ecn(c.sock), told


def held_and_not_told(node, family, c):
    """Where what the client was told is lost, the server's socket tells it once more."""
    a, rest = cut(post(BODY), 30)
    ce = f"{DATA} meta length < 150 {'ip' if family == 'v4' else 'ip6'} ecn set ce"  # the first piece is as short
    rules(node, output=f"tcp dport {{ 8000, 8001 }} {ce}", input=f"tcp sport {{ 8000, 8001 }} {BARE} drop")
    c.connect().send(a, rest + BODY)
    answer(c)
    return has_ecn(c.sock), info(c.sock)[1] > 0


STEPS = (syn, first_segment, held_segment, each_held_segment, held_and_not_told)


@case(each=("v4", "v6"))
def test_marks(node, family):
    node.add_client()
    client_sysctl(node, "tcp_ecn", 1)
    node.steer(hashing(node, 1), **HANDED)
    own = Client(node, family)
    for step in STEPS:
        said = []
        for to in ((NODE_ADDRESS[family], 8001), own.to):
            c = Client(node, family).nodelay()
            c.to = to
            said.append(step(node, family, c))
            c.sock.close()
            rules(node)
        assert said[0] == said[1], (step.__name__, said)
    assert handed(node) == {"asked": len(STEPS)} and holds(node) == {"joined": 4}
    none_held(node)
