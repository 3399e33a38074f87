# SPDX-License-Identifier: Apache-2.0
"""A socket that listens, and from which nobody accepts: it keeps the port of a container that a nat rule publishes."""
import shutil
import socket

from clients import FRONTEND, source
from harness import case
from kernel import Skip, inside, wait_for


class Published:
    """A node on which Podman, or dockerd without its proxy, publishes ports of containers."""

    def __init__(self, node, *ports):
        if not shutil.which("nft"):
            raise Skip("no nft")
        self.node, self.kept, self.servers = node, [], []
        node.sysctl("net.ipv4.ip_forward", 1)
        node.sysctl("net.ipv4.conf.all.route_localnet", 1)
        for number, port in enumerate(ports, 1):
            self.servers.append(self.container(f"c{number}", number))
            with inside(node.netns):
                self.kept.append(socket.create_server(("0.0.0.0", port)))
        self.publish(ports)

    def container(self, name, number):
        """A network namespace behind a veth pair, with a server."""
        node = self.node
        netns = node.netns.with_name(f"{node.id}-{name}")
        node.make_netns(netns)
        node.ip("link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", netns.name)
        node.ip("addr", "add", f"10.88.{number}.1/24", "dev", f"v{number}")
        node.ip("link", "set", f"v{number}", "up")
        node.ip("addr", "add", f"10.88.{number}.2/24", "dev", "eth0", netns=netns)
        node.ip("link", "set", "eth0", "up", netns=netns)
        node.ip("route", "add", "default", "via", f"10.88.{number}.1", netns=netns)
        return node.server(name, f"10.88.{number}.2:8000", netns=netns)

    def publish(self, ports):
        rules = "\n".join(f"tcp dport {port} fib daddr type local dnat to 10.88.{number}.2:8000"
                          for number, port in enumerate(ports, 1))
        self.node.run("nft", "-f", self.node.write("nat.nft", f"""
            table ip published {{
              chain pre {{ type nat hook prerouting priority -100; {rules}
              }}
              chain out {{ type nat hook output priority -100; {rules}
              }}
              chain post {{ type nat hook postrouting priority 100; ip saddr 127.0.0.0/8 oifname "v*" masquerade; }}
            }}"""))

    def end(self):
        self.node.run("nft", "delete", "table", "ip", "published")
        for s in self.kept:
            s.close()


def queued(node, port):
    """How many connections wait in the listener's queue, those that their clients have closed with them."""
    (line,) = node.run("ss", "-Hltn", f"sport = :{port}", netns=node.netns).stdout.splitlines()
    return int(line.split()[1])


def states(node):
    return {e["name"]: (e["state"], e["unsteerable"]) for e in node.cli("endpoints")}


def test_beside_a_server(node):
    """Its page comes, but not from its listener: it gets no client, and status says why. A server that listens there
    itself, later, is ready."""
    p = Published(node, 8001)
    assert node.ask("127.0.0.1:8001") == "c1"  # its page comes the same way
    s0 = node.server("s0", "8002")
    node.steer([{"name": "c1", "listen": "8001"}, s0])
    wait_for(lambda: states(node) == {"c1": ("unheard", "unsteerable: elsewhere"), "s0": ("ready", None)})
    assert node.spread(FRONTEND["v4"], 20) == {"s0": 20}
    assert "pool/c1 is unsteerable: elsewhere" in node.pintle("status").stdout
    assert {c["endpoint"]: c["why"] for c in node.cli("explain", "pool", "--source", "127.1.0.1")["candidates"]} == {
        "c1": "unheard", "s0": None}
    p.end()
    node.server("c1", "8001")
    wait_for(lambda: states(node) == {"c1": ("ready", None), "s0": ("ready", None)})
    assert set(node.spread(FRONTEND["v4"], 40)) == {"c1", "s0"}


@case(timeout=90)
def test_nothing_else(node):
    """With FailOpen, clients go to any listener: the first one that waits shows that nobody accepts there. The others
    are refused at once, and none waits."""
    p = Published(node, 8001, 8002)
    node.steer([{"name": "c1", "listen": "8001"}, {"name": "c2", "listen": "8002"}])
    waiting, number = [], 0

    def left_out():
        nonlocal number
        number += 1
        if number <= 50 and "unheard" in (s for s, _ in states(node).values()):
            try:
                waiting.append(node.connect(FRONTEND["v4"], source(number)))
            except ConnectionRefusedError:
                pass
        return {s for s, _ in states(node).values()} == {"stopped"}

    wait_for(left_out, 20)
    for i in range(100, 120):
        try:
            node.connect(FRONTEND["v4"], source(i)).close()
            raise AssertionError("nobody accepts")
        except ConnectionRefusedError:
            pass
    # Those who wait give up: still nobody accepts.
    for c in waiting:
        c.close()
    assert {s for s, _ in states(node).values()} == {"stopped"}
    p.end()


@case(each=("page elsewhere", "no page"))
def test_nobody_accepts(node, how):
    """A socket from which nobody accepts is not ready, though a page says nothing against it; no client is the first to
    find out. Once its process accepts, it is."""
    node.server("pages", "127.0.0.1:9003")
    more = {"metrics": "none"} if how == "no page" else {"metrics": "http://127.0.0.1:9003/metrics"}
    with inside(node.netns):
        kept = socket.create_server(("127.0.0.1", 8001))
    s0 = node.server("s0", "127.0.0.1:8002")
    daemon = node.steer([{"name": "c1", "listen": "127.0.0.1:8001", **more}, {"name": "s0", "listen": s0.listen, **more}])
    wait_for(lambda: states(node)["s0"][0] == "ready")
    assert states(node)["c1"][0] in ("unheard", "stopped")
    assert node.spread(FRONTEND["v4"], 20) == {"s0": 20}
    wait_for(lambda: states(node)["c1"][0] == "stopped" and "nobody accepts" in daemon.log())
    assert node.endpoint("c1")["placed"] == 0
    # pintled's own connection waits there; it is the only one, and is closed as soon as it is accepted.
    with kept.accept()[0] as c:
        c.settimeout(10)
        assert c.recv(100) == b""
    wait_for(lambda: states(node) == {"c1": ("ready", None), "s0": ("ready", None)})
    kept.close()


@case(each=("8001", "127.0.0.1:8001"))
def test_nobody_accepts_a_server_that_is_renamed(node, listen):
    """A reload that gives the server another name, then another pool, leaves pintled's connection in its queue as it is:
    it stays the only one, and says for the new name when somebody accepts."""
    node.server("pages", "127.0.0.1:9003")
    with inside(node.netns):
        kept = socket.create_server(("127.0.0.1", 8001))

    def config(name, pool="pool"):
        return node.config(node.pool(
            [{"name": name, "listen": listen, "metrics": "http://127.0.0.1:9003/metrics"}], pool))

    daemon = node.daemon(config("c1"))
    wait_for(lambda: "nobody accepts" in daemon.log())
    for name, pool in (("c2", "pool"), ("c3", "other")):
        daemon.reload(config(name, pool))
        wait_for(lambda: states(node) == {name: ("stopped", None)})
    wait_for(lambda: "other/c3: nobody accepts" in daemon.log())
    assert queued(node, 8001) == 1
    with kept.accept()[0] as c:
        c.settimeout(10)
        assert c.recv(100) == b""
    wait_for(lambda: states(node) == {"c3": ("ready", None)})
    assert queued(node, 8001) == 0
    kept.close()


def test_published_without_a_page(node):
    """The same of a published port whose endpoint has no page."""
    p = Published(node, 8001)
    s0 = node.server("s0", "127.0.0.1:8002")
    node.steer([{"name": "c1", "listen": "8001", "metrics": "none"}, s0])
    wait_for(lambda: states(node) == {"c1": ("unheard", "unsteerable: elsewhere"), "s0": ("ready", None)})
    assert node.spread(FRONTEND["v4"], 20) == {"s0": 20}
    p.end()
