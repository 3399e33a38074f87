# SPDX-License-Identifier: Apache-2.0
"""A thousand pods, whose objects the API has, and whose addresses all lead to one process; they change at
random while clients connect.

    fleet = Fleet(node, pods=1000, services=20)
    daemon = fleet.daemon()
    with fleet.clients() as clients, Watching(fleet) as watching, Churn(fleet, rate=10):
        ...
"""
import contextlib
import ctypes
import heapq
import http.client
import json
import os
import random
import re
import socket
import ssl
import struct
import threading
import time
import types
from pathlib import Path

from clients import Workers
from control_plane import NODE, ControlPlane
from kernel import BUILD, TOP, check, inside, libc, wait_for
from pods import Cluster, at

CONN = BUILD / "tests/bench/conn"
PAGE = TOP / "tests/data/pages/vllm-0.32.0-load.txt"
PREFIX = "10.50.0.0/16"
SPACES = ("team-a", "team-b", "team-c", "team-d") # no namespace may take more than half of the room
OTHER_NODES = 20
PORT = 8000
# A pod that is asked to end serves so long before it does: longer than any proxy takes to hear of it.
GRACE = 3
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"


class Asker:
    """Requests to the API server on one kept connection, for one thread."""

    def __init__(self, api):
        self.api = api
        self.c = http.client.HTTPSConnection(api.address, api.port, timeout=30, context=ssl.create_default_context(
            cafile=api.dir / "ca.crt"))
        with inside(api.machine.netns):
            self.c.connect()

    def begin(self, method, path, body=None, kind="application/json"):
        self.c.request(method, path, body and json.dumps(body),
                       {"Authorization": f"Bearer {self.api.admin}", "Content-Type": kind})
        answer = self.c.getresponse()
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {answer.read()[:300]}")
        return answer

    def __call__(self, *arguments, **more):
        return json.loads(self.begin(*arguments, **more).read())


class Member:
    """A pod."""

    def __init__(self, service, number, v4, on):
        self.service, self.v4, self.on = service, v4, on
        self.name = f"{service.name}-{number:05}"
        self.path = f"/api/v1/namespaces/{service.space}/pods"

    def create(self, ask):
        ask("POST", self.path, {
            "metadata": {"name": self.name, "labels": {"app": self.service.name}},
            "spec": {"nodeName": self.on, "terminationGracePeriodSeconds": 600,
                     "containers": [{"name": "c", "image": "i"}]}})

    def say(self, ask, ready):
        """What a kubelet says of a pod."""
        word = "True" if ready else "False"
        ask("PATCH", f"{self.path}/{self.name}/status", {"status": {
            "phase": "Running", "podIP": self.v4, "podIPs": [{"ip": self.v4}],
            "conditions": [{"type": kind, "status": word} for kind in ("ContainersReady", "Ready")]}},
            kind="application/merge-patch+json")

    def terminate(self, ask):
        ask("DELETE", f"{self.path}/{self.name}", {"gracePeriodSeconds": 600})

    def remove(self, ask):
        ask("DELETE", f"{self.path}/{self.name}", {"gracePeriodSeconds": 0})


class Fleet:
    """So many pods of so many Services on a cluster's first machine. What is not steered goes to a pod in the
    place of kube-proxy and its endpoints, which counts it."""

    def __init__(self, node, *, pods=1000, services=20, mode="enforce"):
        self.node = node
        self.machine = Cluster(node).machines[0]
        self.api = ControlPlane(self.machine)
        self.servers, self.proxied = self.machine.pod("servers"), self.machine.pod("proxied")
        self.numbers, self.free = iter(range(1, 65000)), []
        self.lock = threading.Lock()
        self._network()
        self.services = [types.SimpleNamespace(name=f"s{i}", space=SPACES[i % len(SPACES)], address=f"10.96.1.{i + 1}")
                         for i in range(services)]
        self.nodes = [NODE, *(f"node-{i}" for i in range(OTHER_NODES))]
        self.pods = [self.new_pod(self.services[i % services]) for i in range(pods)]
        self._objects(mode)
        self.kubeconfig = self.api.grant()

    def _network(self):
        for pod in (self.servers, self.proxied):
            pod.popen([CONN, "serve", PORT, 1, PAGE], log=f"{pod.name}.log")
            log = self.node.dir / f"{pod.name}.log"
            wait_for(lambda log=log: "listening" in log.read_text(), 20, "servers to listen")
        self.servers.batch(f"route add local {PREFIX} dev lo")
        self.machine.batch(f"route add {PREFIX} via {self.servers.v4} dev pod2 onlink")
        self.servers.nft(f"""
            table ip live {{
                set serving {{ type ipv4_addr; }}
                chain in {{
                    type filter hook input priority filter;
                    ip daddr {PREFIX} ip daddr != @serving tcp dport {PORT} reject with tcp reset
                }}
            }}""")
        self.machine.nft(f"""
            table ip proxy {{
                counter connections {{ }}
                chain pre {{
                    type nat hook prerouting priority -100;
                    ip daddr 10.96.0.0/16 tcp dport {PORT} counter name connections dnat to {self.proxied.v4}:{PORT}
                }}
            }}""")

    def _objects(self, mode):
        with self.asker() as ask:
            for name in self.nodes[1:]:
                ask("POST", "/api/v1/nodes", {"metadata": {"name": name}})
            for space in SPACES:
                ask("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
        for space in SPACES:
            wait_for(lambda space=space: self.api.get(f"/api/v1/namespaces/{space}/serviceaccounts/default"), 90)
        self.serve(*self.pods)
        self._each(self.pods, lambda ask, pod: (pod.create(ask), pod.say(ask, True)))
        with self.asker() as ask:
            for s in self.services:
                ask("POST", f"/api/v1/namespaces/{s.space}/services", {
                    "metadata": {"name": s.name, "labels": {"pintle.dev/mode": mode}},
                    "spec": {"selector": {"app": s.name}, "clusterIP": s.address,
                             "ports": [{"port": PORT, "targetPort": PORT}]}})
            wait_for(lambda: sum(len(x) for x in self.wanted(ask).values()) == len(self.pods), 120, "the slices")

    def _each(self, items, do):
        """By four threads."""
        queue, failed = iter(list(items)), []

        def work():
            try:
                with self.asker() as ask:
                    while True:
                        with self.lock:
                            item = next(queue, None)
                        if item is None:
                            return
                        do(ask, item)
            except Exception as e: # noqa: BLE001
                failed.append(e)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if failed:
            raise failed[0]

    @contextlib.contextmanager
    def asker(self):
        ask = Asker(self.api)
        try:
            yield ask
        finally:
            ask.c.close()

    def new_pod(self, service):
        number = next(self.numbers)
        v4 = self.free.pop(random.randrange(len(self.free))) if self.free and random.random() < 0.5 else (
            f"10.50.{number // 250}.{number % 250 + 1}")
        return Member(service, number, v4, self.nodes[number % len(self.nodes)])

    # .. what serves

    def serve(self, *pods):
        self._nft("add", pods)

    def end(self, *pods):
        self._nft("delete", pods)

    def _nft(self, verb, pods):
        self.node.run("nft", f"{verb} element ip live serving {{ {', '.join(p.v4 for p in pods)} }}",
                      netns=self.servers.netns)

    def left_to_proxy(self):
        """Connections so far."""
        out = self.machine.run("nft", "-j", "list", "counter", "ip", "proxy", "connections").stdout
        return json.loads(out)["nftables"][1]["counter"]["packets"]

    # .. what is to be

    def pools(self):
        return [f"{s.space}/{s.name}" for s in self.services]

    def wanted(self, ask):
        """{pool: {(pod, address, drained)}} by the API's slices."""
        found = {pool: set() for pool in self.pools()}
        for s in ask("GET", SLICES)["items"]:
            pool = f"{s['metadata']['namespace']}/{s['metadata']['labels']['kubernetes.io/service-name']}"
            for e in s["endpoints"] or () if pool in found else ():
                if (state := state_of(e)) is not None:
                    found[pool].add((e["targetRef"]["name"], at(e["addresses"][0], PORT), bool(state)))
        return found

    def held(self):
        """The same, by the maps."""
        found = {pool: set() for pool in self.pools()}
        for e in self.machine.cli("endpoints"):
            found[e["pool"]].add((e["name"].rsplit("/")[-1], e["address"], e["drained_configured"]))
        return found

    # .. pintled

    def daemon(self):
        return self.machine.daemon(self.machine.config().replace("pools: []\n", "") + (
            f"kubernetes: {{kubeconfig: {self.kubeconfig}, node: {NODE}}}\n"))

    def all_heard(self, count, timeout=60):
        """Waits until so many endpoints are ready, their pages read."""
        wait_for(lambda: sum(e["state"] == "ready" for e in self.machine.cli("endpoints")) >= count, timeout,
                 f"{count} endpoints to be ready")


def state_of(endpoint):
    """0: a member, 1: drained, None: none; for the endpoint of a slice."""
    c = endpoint["conditions"]
    return 0 if c["ready"] else 1 if c.get("terminating") and c.get("serving") else None


class Clients(Workers):
    """Threads that connect to one Service after the other and send a byte, which comes back."""

    def __init__(self, fleet, workers=4, pause=0.01):
        self.fleet, self.pause = fleet, pause
        self.done, self.failures, self.stopping = 0, [], False
        self.pods = [fleet.machine.pod(f"client-{i}") for i in range(workers)]
        self.threads = [threading.Thread(target=self._work, args=(pod,), daemon=True) for pod in self.pods]

    def _work(self, pod):
        while not self.stopping:
            service = random.choice(self.fleet.services)
            try:
                with pod.connect(f"{service.address}:{PORT}", timeout=5) as c:
                    c.sock.sendall(b"x")
                    assert c.sock.recv(1) == b"x", "no byte came back"
            except (OSError, AssertionError) as e:
                self.failures.append(f"{time.monotonic():.2f} {service.space}/{service.name}: {type(e).__name__} {e}")
            self.done += 1
            time.sleep(self.pause)


class Churn:
    """So many times a second something begins to happen to a pod: it is not ready for a while, or it is asked to
    end and another one takes its place, which often says that it is ready before it serves."""

    def __init__(self, fleet, rate=10):
        self.fleet, self.rate = fleet, rate
        self.later, self.count, self.failed, self.stopping = [], 0, None, False
        self.steady = list(fleet.pods)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _after(self, seconds, *do):
        heapq.heappush(self.later, (time.monotonic() + seconds, random.random(), do))

    def _unready(self, ask, pod):
        pod.say(ask, False)
        self._after(random.uniform(1, 4), self._ready, pod)

    def _ready(self, ask, pod):
        pod.say(ask, True)
        self.steady.append(pod)

    def _replace(self, ask, pod):
        pod.terminate(ask)
        self._after(GRACE, self._end, pod)
        new = self.fleet.new_pod(pod.service)
        self.fleet.pods.append(new)
        new.create(ask)
        new.say(ask, False)
        begins, ready = random.uniform(0.5, 2), random.uniform(0.5, 2)
        self._after(begins, self._serve, new)
        self._after(ready, self._ready, new)

    def _serve(self, _, pod):
        self.fleet.serve(pod)

    def _end(self, ask, pod):
        pod.say(ask, False)
        self.fleet.end(pod)
        pod.remove(ask)
        self.fleet.pods.remove(pod)
        self.fleet.free.append(pod.v4)

    def _begin(self, ask):
        pod = self.steady.pop(random.randrange(len(self.steady)))
        random.choice((self._unready, self._replace))(ask, pod)
        self.count += 1

    def _work(self, ask):
        """Begins new things until it is to stop, and ends those that have begun."""
        next_ = time.monotonic()
        while self.later or not self.stopping:
            now = time.monotonic()
            if self.later and self.later[0][0] <= now:
                do, *arguments = heapq.heappop(self.later)[2]
                do(ask, *arguments)
            elif not self.stopping and next_ <= now:
                next_ = max(next_ + 1 / self.rate, now - 1)
                self._begin(ask)
            else:
                time.sleep(0.005)

    def _run(self):
        try:
            with self.fleet.asker() as ask:
                self._work(ask)
        except Exception as e: # noqa: BLE001
            self.failed = e

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(60)
        if self.failed:
            raise self.failed


class Map:
    """A pinned array, read whole by one system call."""

    OBJ_GET, LOOKUP_BATCH = 7, 24

    def __init__(self, path):
        text = ctypes.create_string_buffer(str(path).encode())
        self.fd = self._bpf(self.OBJ_GET, struct.pack("QII", ctypes.addressof(text), 0, 0))
        info = Path(f"/proc/self/fdinfo/{self.fd}").read_text()
        self.size, self.count = (int(re.search(rf"{what}:\s+(\d+)", info)[1]) for what in ("value_size", "max_entries"))
        self.keys = ctypes.create_string_buffer(4 * self.count)
        self.values = ctypes.create_string_buffer(self.size * self.count)
        self.next = ctypes.create_string_buffer(4)

    @staticmethod
    def _bpf(command, attributes):
        buffer = ctypes.create_string_buffer(attributes, 128)
        result = libc.syscall(321 if os.uname().machine == "x86_64" else 280, command, buffer, 128)
        check(result, f"bpf({command})")
        return result

    def read(self):
        """The values, one after the other."""
        self._bpf(self.LOOKUP_BATCH, struct.pack(
            "QQQQIIQQ", 0, ctypes.addressof(self.next), ctypes.addressof(self.keys), ctypes.addressof(self.values),
            self.count, self.fd, 0, 0))
        return self.values.raw

    def close(self):
        os.close(self.fd)


class Watching:
    """Compares what the API says of each address with what the map `endpoints` has, from when the API said it;
    and how long the daemon's loop stood. late: how much later than it wanted this looked, at most, since other work had
    the CPUs. fleet: what has a machine and an api."""

    ENDPOINT = struct.Struct("IIII16sH") # generation, pool's generation, pool, flags, address, port
    DRAINED = 2

    def __init__(self, fleet):
        self.fleet = fleet
        self.took, self.stood, self.late, self.failed, self.stopping = [], 0.0, 0.0, None, False
        self.waiting, self.lock = {}, threading.Lock()
        pin, = fleet.machine.bpffs.rglob("endpoints")
        self.endpoints, self.node = Map(pin), Map(pin.with_name("node"))
        self.ask = Asker(fleet.api)
        there = self.ask("GET", SLICES)
        self.version = there["metadata"]["resourceVersion"]
        self.said = dict(map(self._states, there["items"]))
        self.threads = [threading.Thread(target=self._guard, args=(work,), daemon=True)
                        for work in (self._listen, self._look)]

    def _guard(self, work):
        try:
            work()
        except Exception as e: # noqa: BLE001
            if not self.stopping:
                self.failed = e

    def _listen(self):
        answer = self.ask.begin("GET", f"{SLICES}?watch=1&timeoutSeconds=3600&resourceVersion={self.version}")
        self.ask.c.sock.settimeout(None)
        while line := answer.readline():
            event = json.loads(line)
            self._hear(event["object"], event["type"] == "DELETED", time.monotonic())

    @staticmethod
    def _states(slice_):
        """(name, {address: state})"""
        return (f"{slice_['metadata']['namespace']}/{slice_['metadata']['name']}",
                {e["addresses"][0]: state_of(e) for e in slice_["endpoints"] or ()})

    def _hear(self, slice_, gone, now):
        name, states = self._states(slice_)
        if gone:
            states = {}
        before = self.said.get(name, {})
        self.said[name] = states
        with self.lock:
            for address in before.keys() | states.keys():
                if before.get(address) == states.get(address):
                    continue
                if sum(address in s for s in self.said.values()) > 1:
                    self.waiting.pop(address, None) # two Services claim it
                else:
                    self.waiting[address] = (states.get(address), now)

    def _look(self):
        while not self.stopping:
            raw, now = self.endpoints.read(), time.monotonic()
            held = {}
            for i in range(0, len(raw), self.endpoints.size):
                _, alive, _, flags, address, _ = self.ENDPOINT.unpack_from(raw, i)
                if alive:
                    held[socket.inet_ntoa(address[12:])] = int(bool(flags & self.DRAINED))
            with self.lock:
                for address, (state, since) in list(self.waiting.items()):
                    if held.get(address) == state:
                        self.took.append((now - since, "gone" if state is None else "drained" if state else "ready"))
                        del self.waiting[address]
            beat, = struct.unpack_from("Q", self.node.read(), 8)
            self.stood = max(self.stood, time.monotonic() - beat / 1e9)
            rest = time.monotonic() + 0.03
            time.sleep(0.03)
            self.late = max(self.late, time.monotonic() - rest)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.threads[1].join(10)
        self.ask.c.sock.shutdown(socket.SHUT_RDWR)
        self.threads[0].join(10)
        for m in (self.endpoints, self.node):
            m.close()
        if self.failed:
            raise self.failed
