#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The harness of end-to-end cases: a node of its own, servers, clients, the daemon, the CLI.

A case is a function test_NAME(node) in tests/e2e/test_*.py. tests/run has a process forked for
each (nursery.py); there it gets a mount namespace (with a bpffs, a temporary directory and a /run/netns
that nobody else sees), network namespaces and a cgroup. All processes of a case live in its
cgroup, so nothing of it outlives it: ending the cgroup ends them, and with the last process
the namespaces and mounts are gone.

By hand: PINTLE_BUILD=build-san tests/e2e/harness.py test_harness servers_answer
"""
import collections
import contextlib
import functools
import importlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from clients import (
    CLIENT_ADDRESS, FRONTEND, LOCAL_SOURCES, NODE_ADDRESS, REMOTE_SOURCES, Load, connect_in,
    is_v6, source, split,
)
from daemon import METRICS, Daemon
from kernel import (
    BUILD, CLONE_NEWNS, MNT_DETACH, MS_PRIVATE, MS_REC, PREFIX, Skip, cgroup_root, check, inside,
    libc, mount, remove_cgroup, sweep_empty,
)
from pins import Pins
from servers import ModelServer, Nginx, Uvicorn

SKIPPED = 77


class Ended(BaseException):
    """Raised on SIGTERM: the case cleans up and ends."""


# -- cases ----------------------------------------------------------------------

Case = collections.namedtuple("Case", "name function arguments alone timeout san")


def case(*, alone=False, timeout=60, san=None, each=()):
    """Marks a test function. alone: nothing beside it; san: also under the sanitizers (None: as
    the module's UNDER_SANITIZERS says, or yes); each: run once for each value, passed as the
    second argument."""

    def mark(function):
        function.marks = {"alone": alone, "timeout": timeout, "san": san, "each": each}
        return function

    return mark


def cases_of(module):
    """The cases of a test module, in the order of the file."""
    plain = {"alone": False, "timeout": 60, "san": None, "each": ()}
    default_san = getattr(module, "UNDER_SANITIZERS", True)
    found = []
    for name, function in vars(module).items():
        if not name.startswith("test_") or not inspect.isfunction(function):
            continue
        if function.__module__ != module.__name__:
            continue
        marks = dict(getattr(function, "marks", plain))
        each = marks.pop("each")
        marks["san"] = default_san if marks["san"] is None else marks["san"]
        variants = [((), "")] if not each else [((e,), f"[{e}]") for e in each]
        for arguments, suffix in variants:
            found.append(Case(name[5:] + suffix, function, arguments, **marks))
    return found


# -- the node ----------------------------------------------------------------------


class Node(Pins):
    """Everything that a case owns; a context manager that leaves nothing behind."""

    def __init__(self):
        self.id = f"{PREFIX}{os.getpid()}"
        self.daemons = []
        self.processes = []
        self.has_client = False
        self.netns = Path("/run/netns") / self.id
        self.client_netns = Path("/run/netns") / (self.id + "-client")

    # .. making and removing

    def __enter__(self):
        sweep_empty()
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
                self.ip("route", "add", "local", LOCAL_SOURCES[family], "dev", "lo")
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
        for netns in (self.netns, self.client_netns):
            self.ip("link", "set", "veth0", "up", netns=netns)
        for netns, own in ((self.netns, NODE_ADDRESS), (self.client_netns, CLIENT_ADDRESS)):
            self.ip("addr", "add", f"{own['v4']}/24", "dev", "veth0", netns=netns)
            self.ip("addr", "add", f"{own['v6']}/64", "dev", "veth0", "nodad", netns=netns)
        for family, sources in REMOTE_SOURCES.items():
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
        """Ends a case that passed: its daemons must end cleanly."""
        for daemon in self.daemons:
            if not daemon.stopped:
                daemon.stop()

    def logs(self):
        """The last log lines of the daemons and servers, for a case that failed."""
        for path in sorted(self.dir.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            if lines:
                yield f"--- {path.name}"
                yield from lines[-60:]

    def sockets(self):
        """What TCP knows in each namespace, for a case that failed: what was sent, and not answered, shows in it."""
        for path in sorted(Path("/run/netns").iterdir()):
            yield f"--- ss in {path.name}"
            lines = (" ".join(line.split()) for line in self.run("ss", "-Htanoi", netns=path, check=False).stdout.splitlines())
            yield from [line for line in lines if line][:60]

    # .. processes

    def popen(self, argv, *, netns=None, cgroup=None, log=None, session=False, env=None, **more):
        """Starts a process in the node's network namespace and cgroup, or in others. argv may be a function instead,
        which a fork of this process runs: Python's start takes longer than many a server lives."""
        out = more.pop("stdout", None)
        if callable(argv):
            argv, more["preexec_fn"] = ["true"], functools.partial(become, argv, cgroup)
            more["restore_signals"] = False  # a server outlives a client that goes: SIGPIPE stays ignored
        elif cgroup:
            argv = ["sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', cgroup, *argv]
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
                stdin=more.pop("stdin", subprocess.DEVNULL),
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

    def run(self, *argv, netns=None, cgroup=None, check=True, timeout=30, env=None):
        """Runs a command to its end; returns it with stdout and stderr as text."""
        process = self.popen(argv, netns=netns, cgroup=cgroup, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=env)
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

    def compile_bpf(self, source):
        """Returns the object made of a BPF program in C."""
        compiled = self.dir / f"{source.stem}.o"
        self.run("clang", "-target", "bpf", "-O2", "-g", "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu",
                 "-c", source, "-o", compiled)
        return compiled

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
            # Pages are read as often while nobody connects: most cases change a page and look.
            "scrape": {"interval": "50ms", "idle": "50ms", "timeout": "1s"},
            # The requests of cases are so small that by their context alone sessions would leave
            # for nothing.
            "stickiness": {"maxExtraLoad": 16},
        }
        for key, value in more.items():
            if isinstance(value, dict) and isinstance(pool.get(key), dict):
                pool[key] = {**pool[key], **value}
            else:
                pool[key] = value
        return pool

    def config(self, *pools, clients=(), audit=None, **node):
        """The text of a configuration file."""
        settings = {
            "bpffs": str(self.bpffs), "netns": str(self.netns), "cgroup": str(self.cgroup),
            "metrics": METRICS, "metricsDetail": "all", **node,
        }
        return yaml({
            "apiVersion": "pintle.dev/v1alpha1", "kind": "PintleConfig",
            "node": {k: v for k, v in settings.items() if v is not None}, "pools": list(pools),
            **({"clients": list(clients)} if clients else {}), **({"audit": audit} if audit else {}),
        })

    def write(self, name, text):
        path = self.dir / name
        path.write_text(text)
        return path

    def certificate(self, name, *more, subject=None):
        """The files of a certificate that signs itself, unless `more` names another, and of its key."""
        cert, key = self.dir / f"{name}.pem", self.dir / f"{name}.key"
        self.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", subject or f"/CN={name}", "-keyout", key, "-out", cert, *more)
        return cert, key

    def daemon(self, config, **more):
        """Starts pintled on the text of a configuration and waits until it is ready."""
        binary = BUILD / "pintled"
        if not binary.exists():
            raise Skip("pintled is not built")
        return Daemon(self, self.write(f"pintle-{len(self.daemons)}.yaml", config), **more)

    def steer(self, servers, name="pool", **more):
        """pintled with one pool of these servers."""
        return self.daemon(self.config(self.pool(servers, name, **more)))

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
        # A socket whose process is gone may wait for the other end's FIN as a mere timer, which
        # ss shows as fin-wait-2 too: for the kernel that connection is closed.
        states = ["established", "fin-wait-1", "fin-wait-2", "close-wait", "last-ack", "closing"]
        filters = [word for s in states for word in ("state", s)]
        out = self.run("ss", "-Htno", *filters, f"( sport = :{port} )").stdout
        return sum("timer:(timewait" not in line for line in out.splitlines())

    def pins(self):
        """What lies in the case's bpf file system, but for what the kernel puts there."""
        return sorted(p.name for p in self.bpf_mount.iterdir() if not p.name.endswith(".debug"))


def become(function, cgroup):
    """Runs a function in place of a program, and ends the process."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if cgroup:
            (Path(cgroup) / "cgroup.procs").write_text("0")
        # The case's sockets, and the pipe on which Popen() waits for the program.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        function()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


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


def on_sigterm():
    """From here on SIGTERM raises Ended."""

    def ended(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Ended

    signal.signal(signal.SIGTERM, ended)


def print_locals(trace, function):
    """Prints the variables of the case, which a bare assert does not show."""
    while trace and trace.tb_frame.f_code is not function.__code__:
        trace = trace.tb_next
    for name, value in (trace.tb_frame.f_locals if trace else {}).items():
        if name != "node":
            print(f"  {name} = {repr(value)[:300]}")


# -- one case ----------------------------------------------------------------------


def run_case(module, name):
    """Runs a case in this process; returns the exit status."""
    chosen = {c.name: c for c in cases_of(importlib.import_module(module))}
    if name not in chosen:
        sys.exit(f"no case {name} in {module}; there are: {' '.join(chosen)}")

    on_sigterm()
    try:
        with Node() as node:
            try:
                chosen[name].function(node, *chosen[name].arguments)
                node.finish()
            except Skip:
                raise
            except BaseException:
                print(*node.logs(), *node.sockets(), sep="\n", flush=True)
                raise
    except Skip as e:
        print(e)
        return SKIPPED
    except Ended:
        print("ended by SIGTERM")
        return 1
    except Exception as e:
        traceback.print_exc(file=sys.stdout)
        print_locals(e.__traceback__, chosen[name].function)
        return 1
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    # The case's module imports this module by name, and must get this instance of it.
    sys.modules["harness"] = sys.modules["__main__"]
    status = run_case(*sys.argv[1:3])
    sys.stdout.flush()
    os._exit(status)  # clients' threads may still be waiting
