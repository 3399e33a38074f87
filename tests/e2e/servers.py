# SPDX-License-Identifier: Apache-2.0
"""Model servers: a scriptable server, and unmodified nginx and uvicorn."""
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import socket

import server
from clients import split
from kernel import HERE, Skip, wait_for


def vllm_page(**signals):
    return server.PAGE.format(**{**server.SIGNALS, **signals})


class ModelServer:
    """tests/e2e/server.py in a process of its own."""

    def __init__(self, node, name, listen, *, netns=None, cgroup=None, **options):
        self.node, self.name, self.listen, self.cgroup = node, name, listen, cgroup
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
        self.process = self.node.popen(lambda: server.serve(options), netns=self.netns, cgroup=self.cgroup,
                                       log=f"{self.name}.log")
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
        """Behaviour: ready, silent, stall, reset, shut, held, status, page, cut, health (see server.py)."""
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
        """SIGKILL to all its processes; the session is its own. None of them has the listener any more."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not alive(self.process.pid), 30, f"all processes of {self.name} to end")


def alive(group):
    """The processes of a process group whose files are not closed; a zombie's are."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state not in "ZX":
            found.append(int(path.parent.name))
    return found


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


