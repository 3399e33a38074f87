# SPDX-License-Identifier: Apache-2.0
"""Questions to the kernel about a frontend (sock_diag), which any user may ask: nothing is decided for them. And
packets, by whatever way they come to the lookup hook: they are steered."""
import contextlib
import os
import pathlib
import socket
import sys

from clients import FRONTEND, source, split
from harness import case
from kernel import inside, wait_for
from test_handoff import HANDED
from test_ways import bare_ip, joined

NOBODY = 65534

# Asks which socket a segment would reach: argv has the family's number, address and port, and clients' addresses. Prints
# what the kernel says to each question: the inode of a socket, or "none".
ASKER = """
import os, socket, struct, sys
family, to, port, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
clients = sys.argv[5:]
packed = lambda a: socket.inet_pton(family, a).ljust(16, bytes(1))
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
assert os.getuid() == 65534
found = set()
for n in range(count):
    asked = struct.pack("=BBBBL", family, socket.IPPROTO_TCP, 0, 0, 0xffffffff) + struct.pack(
        "!HH", port, 1024 + n % 60000) + packed(to) + packed(clients[n % len(clients)]) + struct.pack(
        "=LLL", 0, 0xffffffff, 0xffffffff)
    s.send(struct.pack("=LHHLL", 16 + len(asked), 20, 1, n, 0) + asked)
    answer = s.recv(4096)
    found.add(struct.unpack_from("=H", answer, 4)[0] == 2 and "none" or struct.unpack_from("=L", answer, 16 + 68)[0])
print(*sorted(map(str, found)))
"""


def ask(node, family, count, clients):
    """What the kernel answers to that many questions of a user without any right."""
    host, port = split(FRONTEND[family])
    return node.run("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs",
                    "--bounding-set=-all", sys.executable, "-c", ASKER,
                    socket.AF_INET if family == "v4" else socket.AF_INET6, host, port, count, *clients,
                    timeout=60).stdout.split()


FEW = {"v4": "127.1.9.%d", "v6": "fd01:0:0:9::%d"}  # clients that may have four connections together


def pool(node, **more):
    return node.pool(node.servers(2), **more, classes=[
        {"name": "all"},
        {"name": "few", "priority": -1, "poolConnections": 4, "admission": "refuse",
         "rules": [{"source": "127.1.9.0/24"}, {"source": "fd01:0:0:9::/64"}]}])


def counted(node):
    """What a decision leaves: the pool's count of each outcome, and endpoints' counts."""
    keys = ("placed", "failed", "in_flight", "pending")
    return node.decisions(), [{k: e.get(k) for k in keys} for e in node.cli("endpoints")]


@case(each=[f"{family}, {decide}" for family in ("v4", "v6") for decide in ("connection", "request")])
def test_nothing_is_decided(node, which):
    """Neither four questions, as many as the class may have connections, nor thousands decide, count or take anything,
    before and after the first packet. Each answer is the kernel's own."""
    family, decide = which.split(", ")
    node.daemon(node.config(pool(node, **(HANDED if decide == "request" else {}))))
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    clients = [FEW[family] % 7, FEW[family] % 8, source(1, family)]
    for asked in (4, 20000):
        before = counted(node)
        assert ask(node, family, asked, clients) == ["none"]
        assert counted(node) == before, (before, counted(node))
        held = [node.connect(FRONTEND[family], FEW[family] % i) for i in range(1, 5)]
        assert {c.ask(close=True) for c in held} <= {"s0", "s1"}
        for c in held:
            c.close()
        wait_for(lambda: not any(e["in_flight"] for e in node.cli("endpoints")))
    assert sum(node.decisions().values()) == 8, node.decisions()


@case(each=("v4", "v6"))
def test_the_kernels_own_answer(node, family):
    """Another program's listener at any address, and the frontend's port, is the answer with and without Pintle."""
    with inside(node.netns):
        listener = socket.create_server(("::", 8000), family=socket.AF_INET6, dualstack_ipv6=True)
    with listener:
        own = [str(os.fstat(listener.fileno()).st_ino)]
        assert ask(node, family, 10, [source(1, family)]) == own
        node.steer(node.servers(2))
        assert ask(node, family, 10, [source(1, family)]) == own
        assert node.ask(FRONTEND[family]) in ("s0", "s1")
        assert ask(node, family, 10, [source(1, family)]) == own


@case(each=("v4", "v6"))
def test_a_connection_that_is_there(node, family):
    """A question with the addresses and ports of a connection, or of one that has just ended (TIME-WAIT), is answered
    with that, as without Pintle: it is no listener, and nothing is decided."""
    node.daemon(node.config(pool(node)))
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    client = source(1, family)
    with node.connect(FRONTEND[family], (client, 1030)) as c:
        wait_for(lambda: sum(e["in_flight"] for e in node.cli("endpoints")) == 1)
        before = counted(node)
        there, *others = ask(node, family, 10, [client])
        assert int(there) and others == ["none"], (there, others)
        c.ask(close=True)
        assert c.sock.recv(1) == b"" # who closes first has the TIME-WAIT
    wait_for(lambda: ask(node, family, 10, [client]) == ["0", "none"], what="TIME-WAIT")
    assert sum(node.decisions().values()) == sum(before[0].values()) == 1


# -- packets -------------------------------------------------------------------------------


def threaded(node):
    """A kernel thread takes the packets, in a process's context (threaded NAPI)."""
    joined(node)  # a veth device has NAPI then
    node.run("unshare", "--mount", "sh", "-ec", "mount -t sysfs none /sys; cd /sys/class/net/veth0; "
             "echo 1 > threaded; grep -qx 1 threaded")

    def threads():
        names = set()
        for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError): # it has ended
                names.add(comm.read_text())
        return names

    if "kthreadd\n" in threads(): # no PID namespace hides the kernel's
        wait_for(lambda: any(t.startswith("napi/veth0-") for t in threads()))


WAYS = {"loopback": None, "a veth pair": lambda _: None, "threaded NAPI": threaded, "tun": bare_ip}


@case(each=[f"{way}, {decide}" for way in WAYS for decide in ("connection", "request")])
def test_packets_are_steered(node, which):
    """A packet is decided in whatever context the kernel handles it."""
    way, decide = which.split(", ")
    prepare = WAYS[way]
    if prepare:
        node.add_client()
        prepare(node)
    node.daemon(node.config(pool(node, **(HANDED if decide == "request" else {}))))
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    for family in ("v4", "v6"):
        for _ in range(20):
            assert node.ask(FRONTEND[family], remote=bool(prepare)) in ("s0", "s1")
    assert sum(node.decisions().values()) == 40, node.decisions()
