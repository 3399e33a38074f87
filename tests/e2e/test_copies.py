# SPDX-License-Identifier: Apache-2.0
"""decide: request: a copy of a connection's first segment, which a network was late with, or which somebody has
recorded, is not asked once more."""
import contextlib
import socket
import struct

import test_handoff
import test_in_pods
from clients import FRONTEND
from harness import case
from kernel import inside, wait_for
from pods import SERVICE
from test_handoff import HANDED
from test_in_pods import handed
from test_xdp import ETHTOOL_STXCSUM, ethtool


@contextlib.contextmanager
def recorded(netns, device):
    """What gives the frame with a client's first data, by its port, and what sends frames from there again. They have
    their checksums, so that copies are whole."""
    ethtool(netns, device, ETHTOOL_STXCSUM, 0)
    with inside(netns):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))

    def first(client):
        port = client.sock.getsockname()[1]
        while True:
            frame = raw.recv(65536)
            if b" HTTP/1.1\r\n" in frame and struct.pack("!H", port) in frame[:60]:
                return frame

    with raw:
        raw.bind((device, 3))
        raw.settimeout(10)
        yield first, raw.send


def is_answered_once(node, client, end, connect, ask):
    with recorded(*client) as (first, send):
        with connect() as c:
            assert c.ask(headers={"X-Session-Id": "a"})
            frame = first(c)
            send(frame)
            assert c.ask()
            if end == "is reset":
                c.reset()
        wait_for(lambda: not any(e["in_flight"] for e in node.cli("endpoints")))
        # What comes again and again is answered with a reset.
        wait_for(lambda: send(frame) and test_handoff.handed(node).get("stray"))
    assert ask()
    assert test_handoff.handed(node).keys() == {"asked", "stray"} and test_handoff.handed(node)["asked"] == 2
    assert sum(node.decisions().values()) == 2


@case(each=[f"{family} {end}" for family in ("v4", "v6") for end in ("closes", "is reset")])
def test_for_the_node(node, how):
    family, end = how.split(" ", 1)
    node.add_client()
    node.steer(node.servers(2), **HANDED)
    is_answered_once(node, (node.client_netns, "veth0"), end, lambda: node.connect(FRONTEND[family], remote=True),
                     lambda: test_handoff.ask(node, {"X-Session-Id": "b"}, family=family))


@case(each=[f"{family} {end}" for family in ("v4", "v6") for end in ("closes", "is reset")])
def test_for_a_pod(node, how):
    family, end = how.split(" ", 1)
    cluster, _, clients, _ = handed(node, 2, family=family)
    client = clients["remote"]
    is_answered_once(cluster, (client.netns, "eth0"), end, lambda: client.connect(SERVICE[family]),
                     lambda: test_in_pods.ask(client, {"X-Session-Id": "b"}, family))
