# SPDX-License-Identifier: Apache-2.0
"""pintled: how a case starts it, reads its pages and ends it."""
import re
import signal
import subprocess
from pathlib import Path

from clients import connect_in
from kernel import BUILD, wait_for

METRICS = "127.0.0.1:9464"


class Daemon:
    """pintled in the node's network namespace."""

    def __init__(self, node, config, *, binary=BUILD / "pintled", netns=None, wait=True, wrapper=(),
                 env=None):
        self.node = node
        self.config = config
        self.number = len(node.daemons)
        self.netns = netns or node.netns
        self.log_path = node.dir / f"pintled-{self.number}.log"
        self.stopped = False
        argv = [*wrapper, binary, "--config", config, "--log-level", "debug"]
        self.process = node.popen(argv, netns=self.netns, log=self.log_path.name, env=env)
        node.daemons.append(self)
        if wait:
            self.wait_ready()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, seconds=60):
        def ready():
            if self.process.poll() is not None:
                self.stopped = True
                raise RuntimeError(f"pintled ended with {self.process.returncode}")
            return self.get("/readyz")[0] == 200

        wait_for(ready, seconds, "pintled to be ready")

    def get(self, path):
        """(status, body) of a path on the daemon's HTTP port."""
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
        """Writes another configuration, if given, and sends SIGHUP; does not wait."""
        if config:
            Path(self.config).write_text(config)
        self.process.send_signal(signal.SIGHUP)

    def stop(self, status=0):
        """Sends SIGTERM. The daemon must exit with this status, and without a sanitizer's report."""
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


