# SPDX-License-Identifier: Apache-2.0
"""One request per connection: what clients keep alive comes on connections of its own."""
import http.client

from clients import FRONTEND, split
from harness import case, inside
from kernel import wait_for

BOTH = ("v4", "v6")
ONE = {"requests": "one-per-connection"}


def filters(node, netns=None):
    """{device: [filters of ours]} in both directions, as `tc` shows them."""
    found = {}
    for line in node.run("ip", "-o", "link", netns=netns).stdout.splitlines():
        device = line.split(": ")[1].split("@")[0]
        for direction in ("ingress", "egress"):
            out = node.run("tc", "filter", "show", "dev", device, direction, netns=netns,
                           check=False).stdout
            if "pintle_oneshot" in out:
                found.setdefault(device, []).append(direction)
    return found


def attached(node):
    """Waits until the daemon has put the program on the devices."""
    wait_for(lambda: filters(node), what="one-shot's filters")


class Client:
    """http.client, keeping its connection alive as long as the server does."""

    def __init__(self, node, to, remote=False):
        self.node, self.to, self.remote = node, split(to), remote
        self.c = None
        self.connections = 0

    def ask(self, path="/", headers=None):
        if self.c is None:
            with inside(self.node.client_netns if self.remote else self.node.netns):
                self.c = http.client.HTTPConnection(*self.to, timeout=10)
                self.c.connect()
            self.connections += 1
        self.c.request("GET", path, headers=headers or {"Connection": "keep-alive"})
        answer = self.c.getresponse()
        body = answer.read()
        assert answer.status == 200, answer.status
        if self.c.sock is None:
            self.c = None
        return body.decode()


@case(each=BOTH)
def test_every_request_is_steered(node, family):
    """Ten requests of a client that keeps alive are ten connections, and ten decisions."""
    node.steer(node.servers(2), **ONE)
    assert filters(node) == {"lo": ["ingress"]}
    client = Client(node, FRONTEND[family])
    for _ in range(10):
        client.ask()
    assert client.connections == 10
    assert sum(node.decisions().values()) == 10
