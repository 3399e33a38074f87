#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an end-to-end case stands on: a node of its own, servers, clients, the daemon, the CLI.

A case is a function test_NAME(node) in tests/e2e/test_*.py. tests/run starts a process for
each; there it gets a mount namespace (with a bpffs, a temporary directory and a /run/netns
that nobody else sees), network namespaces and a cgroup. All processes of a case live in its
cgroup, so nothing of it outlives it: ending the cgroup ends them, and with the last process
the namespaces and mounts are gone.

By hand: PINTLE_BUILD=build-san tests/e2e/harness.py test_harness servers_answer
"""
import collections
import contextlib
import ctypes
import importlib
import inspect
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
BUILD = TOP / os.environ.get("PINTLE_BUILD", "build")
SAN = BUILD.name == "build-san"
PREFIX = "pintle-test-"
SKIPPED = 77

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MNT_DETACH = 2
IP_FREEBIND, IPV6_FREEBIND = 15, 78
IPPROTO_MPTCP = 262

# Where the fixtures put things: addresses are the same in every case, namespaces are not.
FRONTEND = {"v4": "10.77.0.1:8000", "v6": "[fd77::1]:8000"}
LOCAL_SOURCES = {"v4": "127.1.0.0", "v6": "fd01::"}         # clients on the node itself
REMOTE_SOURCES = {"v4": "10.200.0.0", "v6": "fd02::"}       # clients behind the veth pair
NODE_ADDRESS = {"v4": "10.99.0.1", "v6": "fd99::1"}
CLIENT_ADDRESS = {"v4": "10.99.0.2", "v6": "fd99::2"}
METRICS = "127.0.0.1:9464"

libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """This case cannot run here; says why."""


class Ended(BaseException):
    """SIGTERM came: clean up and go."""


# -- cases ----------------------------------------------------------------------

Case = collections.namedtuple("Case", "name function arguments alone timeout san")


def case(*, alone=False, timeout=60, san=True, each=()):
    """Marks a test function. alone: nothing beside it; san: also under the sanitizers;
    each: run once for each value, passed as the second argument."""

    def mark(function):
        function.marks = {"alone": alone, "timeout": timeout, "san": san, "each": each}
        return function

    return mark


def cases_of(module):
    """The cases of a test module, in the order of the file."""
    plain = {"alone": False, "timeout": 60, "san": True, "each": ()}
    found = []
    for name, function in vars(module).items():
        if not name.startswith("test_") or not inspect.isfunction(function):
            continue
        if function.__module__ != module.__name__:
            continue
        marks = dict(getattr(function, "marks", plain))
        each = marks.pop("each")
        variants = [((), "")] if not each else [((e,), f"[{e}]") for e in each]
        for arguments, suffix in variants:
            found.append(Case(name[5:] + suffix, function, arguments, **marks))
    return found


def wait_for(predicate, timeout=10, what=None):
    """Polls until predicate() is true and returns its value. AssertionError and OSError from
    it count as "not yet"."""
    deadline = time.monotonic() + timeout * (3 if SAN else 1)
    said = None
    while True:
        try:
            value = predicate()
            if value:
                return value
            said = f"was {value!r}"
        except (AssertionError, OSError, KeyError, IndexError) as e:
            said = f"{type(e).__name__}: {e}"
        if time.monotonic() > deadline:
            name = what or inspect.getsource(predicate).strip()
            raise AssertionError(f"waited {timeout} s in vain for: {name}; {said}")
        time.sleep(0.02)


# -- namespaces, mounts, cgroups -------------------------------------------------


def check(result, what):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source, target, kind=None, flags=0, data=None):
    encoded = [None if x is None else str(x).encode() for x in (source, target, kind)]
    check(libc.mount(*encoded, flags, data and data.encode()), f"mount {target}")


@contextlib.contextmanager
def inside(netns):
    """The calling thread is in that network namespace meanwhile; sockets made and processes
    started here stay in it."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    other = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(libc.setns(other, CLONE_NEWNET), f"setns {netns}")
        try:
            yield
        finally:
            check(libc.setns(own, CLONE_NEWNET), "setns back")
    finally:
        os.close(other)
        os.close(own)


def cgroup_root():
    """Where cgroup2 is mounted: /sys/fs/cgroup, or below it on older systems."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        if right.startswith("cgroup2 "):
            return Path(left.split(" ")[4])
    raise Skip("no cgroup2 is mounted")


def remove_cgroup(path):
    """Ends every process in it, and waits until they are gone."""
    for sub in sorted(path.glob("**/"), key=lambda p: -len(p.parts)):
        with contextlib.suppress(OSError):
            (sub / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + 10
    while path.exists():
        for sub in sorted(path.glob("**/"), key=lambda p: -len(p.parts)):
            with contextlib.suppress(OSError):
                sub.rmdir()
        if path.exists():
            if time.monotonic() > deadline:
                raise OSError(f"cannot remove {path}")
            time.sleep(0.01)


def sweep(pid):
    """After a case that could not clean up for itself. Its namespaces and mounts went with
    its processes."""
    for path in cgroup_root().glob(f"{PREFIX}{pid}"):
        remove_cgroup(path)
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}{pid}-*"):
        shutil.rmtree(path, ignore_errors=True)


# -- addresses ---------------------------------------------------------------------


def split(address):
    """("127.0.0.1", 80) of "127.0.0.1:80", and the like of "[::1]:80" and "8001"."""
    if address.isdigit():
        return "::", int(address)
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_v6(host):
    return ":" in host


def source(number, family="v4", remote=False):
    """The number-th client address: of the node itself, or of the client's namespace."""
    base = (REMOTE_SOURCES if remote else LOCAL_SOURCES)[family]
    if family == "v6":
        return f"{base}{number:x}"
    a, b, _, _ = base.split(".")
    return f"{a}.{b}.{number >> 8 & 255}.{number & 255}"


# -- clients -----------------------------------------------------------------------


class Connection:
    """A client's TCP connection, with just enough HTTP."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, path="/", close=False):
        head = f"GET {path} HTTP/1.1\r\nHost: test\r\n{'Connection: close' if close else 'X: y'}\r\n\r\n"
        self.sock.sendall(head.encode())

    def read(self):
        """The body of one answer."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)\ncontent-length: *(\d+)", head)[1])
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        self.status = int(head.split(b" ", 2)[1])
        return body.decode()

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer += data

    def ask(self, path="/", close=False):
        """Sends a request; returns the body: the name of the server."""
        self.send(path, close)
        return self.read()

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


def connect_in(netns, to, frm=None, timeout=10):
    """Connects from inside a network namespace. frm: "address" or ("address", port)."""
    host, port = split(to)
    family = socket.AF_INET6 if is_v6(host) else socket.AF_INET
    with inside(netns):
        s = socket.socket(family, socket.SOCK_STREAM)
    try:
        s.settimeout(timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if frm:
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            address = frm if isinstance(frm, tuple) else (frm, 0)
            if address[1] == 0:
                # The port is chosen at connect(), so that few ports serve many connections.
                s.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            else:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(address)
        s.connect((host, port))
    except BaseException:
        s.close()
        raise
    return Connection(s)


class Load:
    """Clients that connect, ask once and close, over and over, until stopped."""

    def __init__(self, node, to, workers=4, remote=False, pause=0.0):
        self.node, self.to, self.remote, self.pause = node, to, remote, pause
        self.answers = collections.Counter()
        self.failures = []
        self.done = 0
        self.stopping = False
        self.lock = threading.Lock()
        family = "v6" if is_v6(split(to)[0]) else "v4"
        self.threads = [
            threading.Thread(target=self._work, args=(source(i + 1, family, remote),), daemon=True)
            for i in range(workers)
        ]

    def _work(self, frm):
        while not self.stopping:
            try:
                with self.node.connect(self.to, frm, remote=self.remote) as c:
                    name = c.ask(close=True)
                with self.lock:
                    self.answers[name] += 1
                    self.done += 1
            except OSError as e:
                with self.lock:
                    self.failures.append(f"{type(e).__name__}: {e}")
                    self.done += 1
                time.sleep(0.01)
            if self.pause:
                time.sleep(self.pause)

    def go_on(self, count=200):
        """Waits until so many more connections were made."""
        goal = self.done + count
        wait_for(lambda: self.done >= goal, 30, f"{count} more connections")

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for t in self.threads:
            t.join(15)


# -- model servers -----------------------------------------------------------------


def vllm_page(**signals):
    import server

    return server.PAGE.format(**{**server.SIGNALS, **signals})


class ModelServer:
    """tests/e2e/server.py in a process of its own."""

    def __init__(self, node, name, listen, *, netns=None, **options):
        self.node, self.name, self.listen = node, name, listen
        self.address = split(listen)
        self.netns = netns or node.netns
        self.options = options
        self.process = None
        self.start()

    def start(self, **more):
        control = self.node.dir / f"{self.name}.{random.getrandbits(32):08x}.sock"
        options = {
            **self.options, **more,
            "name": self.name, "address": self.address, "control": str(control),
        }
        argv = ["/usr/bin/python3", "-I", "-S", HERE / "server.py", json.dumps(options)]
        self.process = self.node.popen(argv, netns=self.netns, log=f"{self.name}.log")
        self.door = socket.socket(socket.AF_UNIX)
        self.door.settimeout(10)

        def enter():
            alive = self.process.poll() is None
            if not alive:
                text = (self.node.dir / f"{self.name}.log").read_text()
                raise RuntimeError(f"server {self.name} did not start: {text}")
            self.door.connect(str(control))
            return True

        wait_for(enter, what=f"server {self.name}")
        return self

    def order(self, what, **arguments):
        self.door.sendall(json.dumps({"do": what, **arguments}).encode() + b"\n")
        reply = b""
        while not reply.endswith(b"\n"):
            data = self.door.recv(65536)
            if not data:
                raise ConnectionError(f"server {self.name} is gone")
            reply += data
        answer = json.loads(reply)
        if "error" in answer:
            raise RuntimeError(f"server {self.name}: {answer['error']}")
        return answer

    def set(self, **signals):
        """Signals of its metrics page: waiting, running, kv_cache, ..."""
        self.order("set", **signals)

    def be(self, **values):
        """Behaviour: ready, silent, stall, reset, held, status, page, cut (see server.py)."""
        self.order("be", **values)

    def release(self):
        self.order("release")

    def drop(self, reset=False):
        self.order("drop", reset=reset)

    def counts(self):
        return collections.namedtuple("Counts", c := self.order("counts"))(**c)

    def scraped(self, times=2):
        """Waits for so many further requests for the page: the second began after the first
        had been answered, so it saw what was set before this call."""
        goal = self.counts().scrapes + times
        wait_for(lambda: self.counts().scrapes >= goal, what=f"{times} scrapes of {self.name}")

    def kill(self):
        """SIGKILL, as when a server crashes."""
        self.process.kill()
        self.process.wait()
        self.door.close()

    def end(self):
        self.kill()


class FileServer:
    """An unmodified third-party server; its metrics page is a file."""

    def __init__(self, node, name, listen):
        self.node, self.name, self.listen = node, name, listen
        self.address = split(listen)
        self.root = node.dir / name
        self.root.mkdir()
        self.page = self.root / "metrics"
        self.set()
        self.process = None
        self.start()

    def set(self, **signals):
        new = self.page.with_suffix(".new")
        new.write_text(vllm_page(**signals))
        new.rename(self.page)

    def start(self):
        self.process = self.node.popen(self.command(), log=f"{self.name}.log", session=True,
                                       env=self.environment())
        wait_for(self.answers, 30, f"{self.name} to answer")

    def environment(self):
        return {}

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError((self.node.dir / f"{self.name}.log").read_text())
        with self.node.connect(self.listen, timeout=2) as c:
            return c.ask() == self.name

    def kill(self):
        """SIGKILL to all its processes; the session is its own."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Nginx(FileServer):
    CONFIG = """\
user root;
daemon off;
worker_processes 1;
pid {root}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    default_type text/plain;
    server {{
        listen {listen};
        location = /metrics {{ alias {root}/metrics; }}
        location / {{ return 200 "{name}"; }}
    }}
}}
"""

    def command(self):
        config = self.root / "nginx.conf"
        config.write_text(self.CONFIG.format(root=self.root, name=self.name, listen=self.listen))
        binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:" + os.environ.get("PATH", ""))
        if not binary:
            raise Skip("no nginx")
        return [binary, "-c", config, "-p", self.root, "-e", "stderr"]


class Uvicorn(FileServer):
    def command(self):
        host, port = self.address
        return ["/usr/bin/python3", "-B", "-m", "uvicorn", "--app-dir", HERE, "asgi:app",
                "--host", host, "--port", port, "--log-level", "warning", "--lifespan", "off"]

    def environment(self):
        return {"SERVER_NAME": self.name, "METRICS_FILE": str(self.page)}


# -- the daemon --------------------------------------------------------------------


class Daemon:
    """pintled in the node's network namespace."""

    def __init__(self, node, config, *, arguments=(), netns=None, wait=True, wrapper=()):
        self.node = node
        self.config = config
        self.number = len(node.daemons)
        self.netns = netns or node.netns
        self.log_path = node.dir / f"pintled-{self.number}.log"
        self.stopped = False
        argv = [*wrapper, BUILD / "pintled", "--config", config, "--log-level", "debug", *arguments]
        self.process = node.popen(argv, netns=self.netns, log=self.log_path.name)
        node.daemons.append(self)
        if wait:
            self.wait_ready()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                self.stopped = True
                raise RuntimeError(f"pintled ended with {self.process.returncode}")
            return self.get("/readyz")[0] == 200

        wait_for(ready, 20, "pintled to be ready")

    def get(self, path):
        """(status, body) of its own HTTP port."""
        with connect_in(self.netns, METRICS, timeout=5) as c:
            c.send(path, close=True)
            body = c.read()
            return c.status, body

    def metrics(self):
        """{(name, (("label", "value"), ...)): value}, labels sorted."""
        found = {}
        for line in self.get("/metrics")[1].splitlines():
            if not line or line.startswith("#"):
                continue
            head, value = line.rsplit(" ", 1)
            name, _, labels = head.partition("{")
            found[name, tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)))] = float(value)
        return found

    def metric(self, name, **labels):
        return self.metrics()[name, tuple(sorted(labels.items()))]

    def reload(self, config=None):
        """SIGHUP, perhaps with another configuration; does not wait."""
        if config:
            Path(self.config).write_text(config)
        self.process.send_signal(signal.SIGHUP)

    def stop(self, status=0):
        """SIGTERM; it must exit with that status and leave no sanitizer's report."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            raise AssertionError("pintled did not end on SIGTERM") from None
        finally:
            self.stopped = True
        self.check_log()
        assert code == status, f"pintled exited with {code}, not {status}"

    def check_log(self):
        found = re.search(r".*(AddressSanitizer|LeakSanitizer|runtime error:).*", self.log())
        assert not found, f"a sanitizer reported: {found[0]}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.stopped = True
        self.check_log()


# -- the node ----------------------------------------------------------------------


class Node:
    """Everything one case owns; a context manager that leaves nothing behind."""

    def __init__(self):
        self.id = f"{PREFIX}{os.getpid()}"
        self.daemons = []
        self.processes = []
        self.has_client = False
        self.netns = Path("/run/netns") / self.id
        self.client_netns = Path("/run/netns") / (self.id + "-client")

    # .. making and removing

    def __enter__(self):
        check(libc.unshare(CLONE_NEWNS), "unshare")
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        Path("/run/netns").mkdir(exist_ok=True)
        mount("tmpfs", "/run/netns", "tmpfs")
        self.dir = Path(tempfile.mkdtemp(prefix=self.id + "-"))
        try:
            mount("tmpfs", self.dir, "tmpfs", data="mode=0755")
            self.bpf_mount = self.dir / "bpf"
            self.bpf_mount.mkdir()
            mount("bpf", self.bpf_mount, "bpf")
            self.bpffs = self.bpf_mount / "pintle"
            root = cgroup_root()
            here = Path("/proc/self/cgroup").read_text()
            self.home_cgroup = root / re.search(r"^0::/(.*)$", here, re.M)[1]
            self.cgroup = root / self.id
            self.cgroup.mkdir()
            (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))
            self.make_netns(self.netns)
            for family in ("v4", "v6"):
                self.ip("route", "add", "local", f"{LOCAL_SOURCES[family]}/{16 if family == 'v4' else 64}",
                        "dev", "lo")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def make_netns(self, path):
        subprocess.run(["ip", "netns", "add", path.name], check=True)
        # No duplicate address detection: an address is usable when it is added.
        self.sysctl("net.ipv6.conf.default.accept_dad", 0, netns=path)
        self.ip("link", "set", "lo", "up", netns=path)

    def add_client(self):
        """A client's namespace, joined by a veth pair, with thousands of addresses."""
        if self.has_client:
            return
        self.has_client = True
        self.make_netns(self.client_netns)
        self.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth0",
                "netns", self.client_netns.name)
        for netns, own, other in (
            (self.netns, NODE_ADDRESS, CLIENT_ADDRESS),
            (self.client_netns, CLIENT_ADDRESS, NODE_ADDRESS),
        ):
            self.ip("addr", "add", f"{own['v4']}/24", "dev", "veth0", netns=netns)
            self.ip("addr", "add", f"{own['v6']}/64", "dev", "veth0", "nodad", netns=netns)
            self.ip("link", "set", "veth0", "up", netns=netns)
        for family, bits in (("v4", 16), ("v6", 64)):
            sources = f"{REMOTE_SOURCES[family]}/{bits}"
            self.ip("route", "add", sources, "via", CLIENT_ADDRESS[family])
            self.ip("route", "add", "local", sources, "dev", "lo", netns=self.client_netns)
            self.ip(f"-{family[1]}", "route", "add", "default", "via", NODE_ADDRESS[family],
                    netns=self.client_netns)

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        if getattr(self, "cgroup", None) and self.cgroup.exists():
            (self.home_cgroup / "cgroup.procs").write_text(str(os.getpid()))
            remove_cgroup(self.cgroup)
        for process in self.processes:
            process.wait()
        for path in (getattr(self, "bpf_mount", None), self.dir):
            if path and os.path.ismount(path):
                libc.umount2(str(path).encode(), MNT_DETACH)
        with contextlib.suppress(OSError):
            self.dir.rmdir()

    def finish(self):
        """At the end of a case that went well: the daemons end in order."""
        for daemon in self.daemons:
            if not daemon.stopped:
                daemon.stop()

    def logs(self):
        """What the daemons and servers said last, for a case that went wrong."""
        for path in sorted(self.dir.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            if lines:
                yield f"--- {path.name}"
                yield from lines[-60:]

    # .. processes

    def popen(self, argv, *, netns=None, log=None, session=False, env=None, **more):
        """Starts a process in the node's network namespace (or another) and cgroup."""
        out = more.pop("stdout", None)
        if log:
            out = open(self.dir / log, "ab")
        environment = {
            **os.environ,
            "ASAN_OPTIONS": "exitcode=99:abort_on_error=0:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            **(env or {}),
        }
        with inside(netns or self.netns):
            process = subprocess.Popen(
                [str(a) for a in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=more.pop("stderr", subprocess.STDOUT if log else None),
                env=environment,
                start_new_session=session,
                **more,
            )
        if log:
            out.close()
        self.processes.append(process)
        return process

    def run(self, *argv, netns=None, check=True, timeout=30, env=None):
        """Runs a command to its end; returns it with stdout and stderr as text."""
        process = self.popen(argv, netns=netns, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, env=env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"no end within {timeout} s: {' '.join(map(str, argv))}") from None
        result = subprocess.CompletedProcess(argv, process.returncode, out, err)
        assert "Sanitizer" not in err and "runtime error:" not in err, err
        if check:
            assert result.returncode == 0, f"{' '.join(map(str, argv))}: {result.returncode}\n{out}{err}"
        return result

    def ip(self, *arguments, netns=None):
        return self.run("ip", *arguments, netns=netns)

    def sysctl(self, name, value, netns=None):
        with inside(netns or self.netns):
            Path("/proc/sys/" + name.replace(".", "/")).write_text(str(value))

    # .. servers

    def server(self, name, listen="8001", **options):
        """A scriptable model server; listen: "ADDRESS:PORT" or "PORT" for both families."""
        return ModelServer(self, name, str(listen), **options)

    def servers(self, count, first_port=8001, **options):
        """s0, s1, ... on consecutive ports, for both families."""
        return [self.server(f"s{i}", first_port + i, **options) for i in range(count)]

    def nginx(self, name, listen):
        return Nginx(self, name, listen)

    def uvicorn(self, name, listen):
        return Uvicorn(self, name, listen)

    # .. Pintle

    def pool(self, servers, name="pool", **more):
        """A pool's configuration, scraped often so that cases are short. Keys of `more` replace
        or, being dicts, extend what stands here."""
        pool = {
            "name": name,
            "engine": "vllm",
            "frontends": list(FRONTEND.values()),
            "announce": True,
            "endpoints": [
                s if isinstance(s, dict) else {"name": s.name, "listen": s.listen} for s in servers
            ],
            "scrape": {"interval": "50ms", "timeout": "1s"},
        }
        for key, value in more.items():
            if isinstance(value, dict) and isinstance(pool.get(key), dict):
                pool[key] = {**pool[key], **value}
            else:
                pool[key] = value
        return pool

    def config(self, *pools, **node):
        """The text of a configuration file."""
        settings = {
            "bpffs": str(self.bpffs), "netns": str(self.netns), "cgroup": str(self.cgroup),
            "metrics": METRICS, **node,
        }
        return yaml({
            "apiVersion": "pintle.dev/v1alpha1", "kind": "PintleConfig",
            "node": {k: v for k, v in settings.items() if v is not None}, "pools": list(pools),
        })

    def write(self, name, text):
        path = self.dir / name
        path.write_text(text)
        return path

    def daemon(self, config, **more):
        """Starts pintled on the text of a configuration and waits until it is ready."""
        binary = BUILD / "pintled"
        if not binary.exists():
            raise Skip("pintled is not built")
        return Daemon(self, self.write(f"pintle-{len(self.daemons)}.yaml", config), **more)

    def steer(self, servers, name="pool", **more):
        """pintled with one pool of these servers."""
        return self.daemon(self.config(self.pool(servers, name, **more)))

    def detach(self, config=None, check=True):
        argument = ["--config", config] if config else ["--bpffs", self.bpffs]
        return self.run(BUILD / "pintled", "--detach", *argument, check=check)

    def cli(self, *arguments):
        """What `pintle ... -o json` prints, parsed."""
        return json.loads(self.pintle(*arguments, "-o", "json").stdout)

    def pintle(self, *arguments, check=True):
        """`pintle --bpffs DIR ...` as a person runs it."""
        return self.run(BUILD / "pintle", "--bpffs", self.bpffs, *arguments, check=check)

    def endpoint(self, name):
        for e in self.cli("endpoints"):
            if e["name"] == name:
                return e
        raise KeyError(name)

    def in_flight(self):
        return {e["name"]: e["in_flight"] for e in self.cli("endpoints")}

    def decisions(self, pool="pool"):
        """{outcome: count}, without the zeros."""
        found = {}
        for row in self.cli("stats"):
            if row["pool"] == pool and row.get("decisions", 0):
                found[row["outcome"]] = row["decisions"]
        return found

    # .. clients

    def connect(self, to, frm=None, *, remote=False, timeout=10):
        """A connection from the node itself, or (remote) from the client's namespace."""
        return connect_in(self.client_netns if remote else self.netns, to, frm, timeout)

    def ask(self, to, frm=None, *, remote=False, timeout=10):
        """One connection, one request: the name of the server that answered."""
        with self.connect(to, frm, remote=remote, timeout=timeout) as c:
            return c.ask(close=True)

    def spread(self, to, count, *, first=1, remote=False):
        """Counter of servers over `count` clients, one after the other, each with an address
        of its own."""
        family = "v6" if is_v6(split(to)[0]) else "v4"
        return collections.Counter(
            self.ask(to, source(first + i, family, remote), remote=remote) for i in range(count)
        )

    def hold(self, to, count, *, first=1, remote=False):
        """`count` connections from as many addresses, all open: [(connection, server's name)]."""
        family = "v6" if is_v6(split(to)[0]) else "v4"
        found = []
        for i in range(count):
            c = self.connect(to, source(first + i, family, remote), remote=remote)
            found.append((c, c.ask()))
        return found

    def load(self, to, **more):
        return Load(self, to, **more)

    def open_connections(self, port=8000):
        """What the socket table says: connections to that port on the node that have been
        established and are not closed. Steered ones keep the frontend's port."""
        states = ["established", "fin-wait-1", "fin-wait-2", "close-wait", "last-ack", "closing"]
        filters = [word for s in states for word in ("state", s)]
        out = self.run("ss", "-Htn", *filters, f"( sport = :{port} )").stdout
        return len(out.splitlines())


def yaml(value, indent=0):
    """Enough of an emitter: block style, scalars as JSON."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{pad}{key}:\n{yaml(item, indent + 1)}")
            else:
                lines.append(f"{pad}{key}: {json.dumps(item)}\n")
        return "".join(lines)
    if isinstance(value, list):
        lines = []
        for item in value:
            text = yaml(item, indent + 1) if isinstance(item, dict) else f"{pad}  {json.dumps(item)}\n"
            lines.append(f"{pad}- {text[len(pad) + 2:]}")
        return "".join(lines)
    return f"{pad}{json.dumps(value)}\n"


# -- one case ----------------------------------------------------------------------


def main():
    module, name = sys.argv[1:3]
    sys.path.insert(0, str(HERE))
    # The case's module imports this one by name: it must be this instance.
    sys.modules["harness"] = sys.modules["__main__"]
    chosen = {c.name: c for c in cases_of(importlib.import_module(module))}
    if name not in chosen:
        sys.exit(f"no case {name} in {module}; there are: {' '.join(chosen)}")

    def ended(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Ended

    signal.signal(signal.SIGTERM, ended)
    try:
        with Node() as node:
            try:
                chosen[name].function(node, *chosen[name].arguments)
                node.finish()
            except Skip:
                raise
            except BaseException:
                print(*node.logs(), sep="\n", flush=True)
                raise
    except Skip as e:
        print(e)
        return SKIPPED
    except Ended:
        print("ended by SIGTERM")
        return 1
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    status = main()
    sys.stdout.flush()
    os._exit(status)  # clients' threads may still wait for something
