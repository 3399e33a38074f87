# SPDX-License-Identifier: Apache-2.0
"""A small cluster: machines joined by a wire, pods on them, a pintled on each machine.

A machine is a network namespace that forwards, with a cgroup that its pintled steers; a pod is a
network namespace behind a veth pair, with a cgroup below the machine's. Every pod reaches every
other by its own address, on whichever machine it runs, as any CNI plugin has it.

    cluster = Cluster(node)
    servers = cluster.servers(2)                # pods with a model server each
    client = cluster.pod("client")
    cluster.steer(cluster.pool(servers))
    client.ask(SERVICE["v4"])                   # the name of the pod that answered
"""
import collections
import json
import socket
import struct
import threading

from clients import Connection, Load, connect_in, is_v6, split
from daemon import Daemon
from kernel import BUILD, HERE, Skip, wait_for
from pins import Pins
from servers import ModelServer, Nginx, Uvicorn

# Addresses that clients connect to. No machine has a route to them, so a connection that is not
# steered fails.
SERVICE = {"v4": "10.96.0.10:8000", "v6": "[fd96::10]:8000"}
FAMILY = {"v4": socket.AF_INET, "v6": socket.AF_INET6, "mapped": socket.AF_INET6}
CLOSED_BY_RESET = struct.pack("ii", 1, 0)

# Makes sockets inside a pod for the test, which gets them over a Unix socket: they belong to
# the pod's namespace and cgroup for life, whoever uses them.
MAKER = """
import json, socket, sys
door = socket.socket(fileno=int(sys.argv[1]))
while order := door.recv(64):
    try:
        with socket.socket(*json.loads(order)) as made:
            socket.send_fds(door, [b"+"], [made.fileno()])
    except OSError as e:
        door.send(str(e.errno).encode())
"""


def at(host, port):
    return f"[{host}]:{port}" if is_v6(host) else f"{host}:{port}"


def service(number, port=8000):
    """The addresses of the number-th Service."""
    return {"v4": f"10.96.0.{number}:{port}", "v6": f"[fd96::{number:x}]:{port}"}


def mapped(address):
    """An IPv4 address as clients write it that use one socket for both families: Java, Node."""
    host, port = split(address)
    return f"[::ffff:{host}]:{port}"


class Pod:
    """A pod; servers.py takes it in place of a node."""

    def __init__(self, machine, name, number):
        self.machine, self.node, self.name = machine, machine.node, name
        self.dir = self.node.dir
        self.netns = machine.netns.with_name(f"{machine.name}-{name}")
        self.cgroup = machine.cgroup / name
        self.v4 = f"10.{machine.number}.0.{number}"
        self.v6 = f"fd0{machine.number}::{number:x}"
        self.door, self.lock = None, threading.Lock()
        self.cgroup.mkdir()
        self.node.make_netns(self.netns)
        veth = f"pod{number}"
        if machine.bridged:
            self._join_bridge(veth)
        else:
            self._join_machine(veth)

    def _join_bridge(self, veth):
        """As the CNI plugin `bridge` does."""
        n = self.machine.number
        self.machine.batch(
            f"link add {veth} type veth peer name eth0 netns {self.netns.name}",
            f"link set {veth} master cni0",
            f"link set {veth} type bridge_slave hairpin on",
            f"link set {veth} up",
        )
        self.batch(
            "link set eth0 up",
            f"addr add {self.v4}/24 dev eth0",
            f"addr add {self.v6}/64 dev eth0 nodad",
            f"route add default via 10.{n}.0.1",
            f"route add default via fd0{n}::1",
        )

    def _join_machine(self, veth):
        self.machine.batch(
            f"link add {veth} type veth peer name eth0 netns {self.netns.name}",
            f"link set {veth} up",
            f"addr add 169.254.1.1/32 dev {veth}",
            f"addr add fe80::1/64 dev {veth} nodad",
            f"route add {self.v4} dev {veth}",
            f"route add {self.v6} dev {veth}",
        )
        self.batch(
            "link set eth0 up",
            f"addr add {self.v4}/32 dev eth0",
            f"addr add {self.v6}/128 dev eth0 nodad",
            "route add default via 169.254.1.1 dev eth0 onlink",
            "route add default via fe80::1 dev eth0",
        )

    def batch(self, *lines):
        ip_batch(self.node, self.netns, lines)

    def sysctl(self, name, value):
        self.node.sysctl(name, value, netns=self.netns)

    def popen(self, argv, *, netns=None, cgroup=None, **more):
        return self.node.popen(argv, netns=self.netns, cgroup=cgroup or self.cgroup, **more)

    def run(self, *argv, cgroup=None, **more):
        return self.node.run(*argv, netns=self.netns, cgroup=cgroup or self.cgroup, **more)

    def nft(self, rules):
        nft(self.node, self.netns, rules)

    def delete(self):
        """Removes the namespace, then the cgroup, as a kubelet does when the pod's processes have
        ended."""
        if self.door:
            self.door.close()
        self.node.run("ip", "netns", "del", self.netns.name)
        wait_for(lambda: self.cgroup.rmdir() is None)

    # .. as a server

    def address(self, family="v4", port=8000):
        return at(self.v6 if family == "v6" else self.v4, port)

    def server(self, port=8000, **options):
        self.model = ModelServer(self, self.name, str(port), **options)
        return self.model

    def nginx(self, port=8000):
        self.model = Nginx(self, self.name, self.address(port=port))
        return self.model

    def uvicorn(self, port=8000):
        self.model = Uvicorn(self, self.name, self.address(port=port))
        return self.model

    # .. as a client

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
        with self.lock:
            if not self.door:
                self.door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self.popen(["/usr/bin/python3", "-I", "-S", "-c", MAKER, theirs.fileno()],
                               pass_fds=[theirs.fileno()])
            self.door.send(json.dumps([int(family), int(kind), int(protocol)]).encode())
            said, fds, _, _ = socket.recv_fds(self.door, 16, 1)
        if not fds:
            raise OSError(int(said or 0), "socket() in the pod")
        return socket.socket(fileno=fds[0])

    def connect(self, to, frm=None, *, remote=False, timeout=10, options=(), protocol=0):
        """A connection from the pod. options: what setsockopt() takes, before connecting."""
        host, port = split(to)
        s = self.socket(socket.AF_INET6 if is_v6(host) else socket.AF_INET, protocol=protocol)
        try:
            s.settimeout(timeout)
            for option in options:
                s.setsockopt(*option)
            if frm:
                s.bind((frm, 0))
            s.connect((host, port))
        except BaseException:
            s.close()
            raise
        return Connection(s)

    def ask(self, to, frm=None, **more):
        """One connection, one request: the name of the server that answered."""
        with self.connect(to, frm, **more) as c:
            return c.ask(close=True)

    def spread(self, to, count, **more):
        """Counter of the servers that answered, one connection after the other."""
        return collections.Counter(self.ask(to, **more) for _ in range(count))

    def load(self, to, **more):
        return Load(self, to, sources=False, **more)

    def in_flight(self, *, orphans=False):
        """What the pod's socket table says: {"address:port": client sockets that are connected or
        on the way there}. What is left of a closed one counts only with orphans."""
        out = self.node.run("ss", "-HtnoOea", netns=self.netns).stdout
        found = collections.Counter()
        for line in out.splitlines():
            state, _, _, _, peer = line.split()[:5]
            if state in ("LISTEN", "TIME-WAIT", "UNCONN") or "timer:(timewait" in line:
                continue
            if orphans or " ino:0 " not in line + " ":
                found[peer.replace("[::ffff:", "").replace("]:", ":") if "::ffff:" in peer else peer] += 1
        return found


class Machine(Pins):
    """One machine of the cluster: its namespace, cgroup and pins."""

    def __init__(self, node, number):
        self.node, self.number, self.name = node, number, f"n{number}"
        self.netns = node.netns.with_name(self.name)
        self.cgroup = node.cgroup / self.name
        self.dir, self.own = node.dir, self.cgroup / "own"
        self.own.mkdir(parents=True)
        self.bpffs = node.bpf_mount / self.name
        self.pods, self.bridged = {}, False
        node.make_netns(self.netns)
        for name in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            node.sysctl(f"net.{name}", 1, netns=self.netns)

    def batch(self, *lines):
        ip_batch(self.node, self.netns, lines)

    def nft(self, rules):
        nft(self.node, self.netns, rules)

    def popen(self, argv, *, netns=None, cgroup=None, **more):
        """Starts a process on the machine, in no pod."""
        return self.node.popen(argv, netns=self.netns, cgroup=cgroup or self.own, **more)

    def run(self, *argv, **more):
        return self.node.run(*argv, netns=self.netns, **more)

    def server(self, name, port, **options):
        return ModelServer(self, name, str(port), **options)

    def connect(self, to, frm=None, *, remote=False, timeout=10):
        """Connects from the machine itself, in no pod."""
        del remote
        return connect_in(self.netns, to, frm, timeout)

    def ask(self, to, frm=None):
        with self.connect(to, frm) as c:
            return c.ask(close=True)

    def load(self, to, **more):
        return Load(self, to, **more)

    def bridge(self):
        """Further pods are behind the ports of a bridge that has their gateway's address."""
        self.bridged = True
        self.batch("link add cni0 type bridge", f"addr add 10.{self.number}.0.1/24 dev cni0",
                   f"addr add fd0{self.number}::1/64 dev cni0 nodad", "link set cni0 up")

    def pod(self, name):
        self.pods[name] = Pod(self, name, len(self.pods) + 2)
        return self.pods[name]

    def config(self, *pools, **settings):
        return self.node.config(*pools, **{
            "bpffs": str(self.bpffs), "netns": str(self.netns), "cgroup": str(self.cgroup), **settings})

    def daemon(self, config, **more):
        """Starts this machine's pintled, in a cgroup that it steers itself."""
        if not (BUILD / "pintled").exists():
            raise Skip("pintled is not built")
        path = self.node.write(f"{self.name}-{len(self.node.daemons)}.yaml", config)
        into = ("sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', self.own)
        return Daemon(self.node, path, netns=self.netns, **{"wrapper": into, **more})

    def steer(self, *pools, **settings):
        """pintled with these pools; waits until all their endpoints may be chosen."""
        daemon = self.daemon(self.config(*pools, **settings))
        self.all_ready()
        return daemon

    def all_ready(self):
        wait_for(lambda: {e["state"] for e in self.cli("endpoints")} == {"ready"}, 20,
                 "all endpoints to be ready")


class Cluster:
    """Machines n1, n2, ..., joined by a wire. Its own methods act on n1."""

    def __init__(self, node, machines=1):
        self.node = node
        self.machines = [Machine(node, i + 1) for i in range(machines)]
        first = self.machines[0]
        for other in self.machines[1:]:
            self._join(first, other)
        for name in ("batch", "nft", "pod", "config", "daemon", "steer", "all_ready", "pintle", "cli", "endpoint",
                     "in_flight", "decisions", "detach", "bpffs", "cgroup"):
            setattr(self, name, getattr(first, name))

    def _join(self, one, other):
        """Joins two machines by a wire, with routes to each other's pods."""
        one.batch(f"link add to-{other.name} type veth peer name to-{one.name} netns {other.netns.name}")
        for machine, peer, end in ((one, other, 1), (other, one, 2)):
            v4, v6 = f"192.168.{other.number}.", f"fd0a:{other.number}::"
            machine.batch(
                f"link set to-{peer.name} up",
                f"addr add {v4}{end}/24 dev to-{peer.name}",
                f"addr add {v6}{end}/64 dev to-{peer.name} nodad",
                f"route add 10.{peer.number}.0.0/24 via {v4}{3 - end}",
                f"route add fd0{peer.number}::/64 via {v6}{3 - end}",
            )

    def servers(self, count, first=0, machine=0, **options):
        """s0, s1, ...: pods with a model server on port 8000, for both families."""
        found = []
        for i in range(first, first + count):
            found.append(self.machines[machine].pod(f"s{i}"))
            found[-1].server(**options)
        return found

    def endpoint_of(self, pod, family="v4", port=8000, **more):
        return {"name": pod.name, "address": pod.address(family, port), **more}

    def pool(self, endpoints, name="pool", *, family="v4", to=None, **more):
        """Configuration of a pool of pods, or of endpoints as written out."""
        written = [e if isinstance(e, dict) else self.endpoint_of(e, family) for e in endpoints]
        pool = self.node.pool(written, name, **{
            "frontends": [to or SERVICE[family]], "stickiness": {"key": "none"}, **more})
        del pool["announce"]  # connect() needs no route
        return pool


def ip_batch(node, netns, lines):
    """Many `ip` commands in one process."""
    node.run("ip", "-batch", node.write("ip.batch", "\n".join(lines) + "\n"), netns=netns)


def nft(node, netns, rules):
    node.run("nft", "-f", node.write("rules.nft", rules), netns=netns)


class Rival:
    """rival.bpf.c on a cgroup, in the role of another load balancer or of a careless neighbour."""

    KINDS = {"rival4": "connect4", "rival6": "connect6", "rude": "sock_ops"}

    def __init__(self, node):
        self.node, self.attached = node, []
        self.pins = node.bpf_mount / "rival"
        compiled = node.compile_bpf(HERE / "rival.bpf.c")
        self.pins.mkdir()
        node.run("bpftool", "prog", "loadall", compiled, self.pins, "pinmaps", self.pins)

    def attach(self, cgroup, *programs, how=("multi",)):
        """Of KINDS. They run after what is attached there already, and before what a parent has. With `how` of () or
        ("override",) each is alone there."""
        for name in programs:
            self._bpftool("attach", cgroup, name, *how)
            self.attached.append((cgroup, name))

    def detach(self):
        for cgroup, name in self.attached:
            self._bpftool("detach", cgroup, name)
        self.attached = []

    def _bpftool(self, word, cgroup, name, *more):
        self.node.run("bpftool", "cgroup", word, cgroup, self.KINDS[name], "pinned", self.pins / name, *more)

    def move(self, host, to):
        """Sends connections to a host to another host; with None, denies them."""
        def hex_of(address):
            if address is None:
                return ["0"] * 16
            address = address if is_v6(address) else f"::ffff:{address}"
            return [str(b) for b in socket.inet_pton(socket.AF_INET6, address)]

        self.node.run("bpftool", "map", "update", "pinned", self.pins / "moves",
                      "key", *hex_of(host), "value", *hex_of(to))

    def seen(self):
        """(rewritten, denied, flags replaced)"""
        rows = json.loads(self.node.run("bpftool", "-j", "map", "dump", "pinned", self.pins / "seen").stdout)
        return tuple(r["formatted"]["value"] for r in rows)
