# SPDX-License-Identifier: Apache-2.0
"""The audit: what it writes of connections in both hooks, and what it does where it cannot write."""
import json
import os
import socket
import stat

from clients import FRONTEND, source
from harness import case
from kernel import cgroup_root, wait_for
from pods import SERVICE, Cluster
from test_access import allow, curl
from test_classes import is_refused

RING_HOLDS = 1 << 13 # events, at most

# Only client 7 may connect.
ONLY = allow({"source": source(7)})


class Trail:
    """An audit's file; each of its lines must be a whole one."""

    def __init__(self, path):
        self.path = path

    def lines(self):
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def clients(self, what="forbidden"):
        return [r["client"].rsplit(":", 1)[0] for r in self.lines() if r["outcome"] == what]

    def has(self, count, what="forbidden"):
        return wait_for(lambda: len(self.clients(what)) >= count and self.lines())


def audited(node, name="audit.jsonl", *, wrapper=(), **audit):
    """The lookup hook, for client 7 alone."""
    trail = Trail(node.dir / name)
    if not audit.get("journald"):
        audit["file"] = str(trail.path)
    config = node.config(node.pool(node.servers(1), **ONLY), audit=audit)
    return node.daemon(config, wrapper=wrapper), trail


def knock(node, number=8):
    assert is_refused(lambda: node.ask(FRONTEND["v4"], source(number)))


def lost(daemon):
    return daemon.metric("pintle_audit_lost_total")


def test_who_was_refused(node):
    """The lookup hook: who, when, which pool, and nothing of those that are served."""
    daemon, trail = audited(node)
    assert node.ask(FRONTEND["v4"], source(7)) == "s0"
    knock(node)
    line, = trail.has(1)
    assert stat.S_IMODE(os.stat(trail.path).st_mode) == 0o640
    told = {k: line[k] for k in ("event", "hook", "pool", "endpoint", "outcome", "frontend", "client_cgroup", "lost")}
    assert told == {"event": "decided", "hook": "lookup", "pool": "pool", "endpoint": None, "outcome": "forbidden",
                    "frontend": FRONTEND["v4"], "client_cgroup": None, "lost": 0}, line
    assert trail.clients() == [source(8)] and line["time"].endswith("Z"), line
    assert daemon.metric("pintle_audit_lines_total") == 1 and lost(daemon) == 0


def test_by_cgroup(node):
    """The connect hook: the cgroup of who was refused, whose socket has no address yet; and with `all` each connection
    that ends, with what went over it."""
    cluster = Cluster(node)
    servers, client = cluster.servers(1), cluster.pod("client")
    trail = Trail(node.dir / "audit.jsonl")
    cluster.steer(cluster.pool(servers, **allow({"source": "10.1.0.0/16"}), classes=[{"name": "chat"}]),
                  audit={"file": str(trail.path), "all": True})
    assert curl(client) == 7
    own = f"/{client.cgroup.relative_to(cgroup_root())}"
    line, = trail.has(1)
    assert (line["outcome"], line["client_cgroup"], line["class"]) == ("forbidden", own, None), line
    assert client.ask(SERVICE["v4"], client.v4) == "s0"
    line = wait_for(lambda: [r for r in trail.lines() if r["event"] == "closed"])[0]
    assert (line["pool"], line["endpoint"], line["class"], line["outcome"]) == ("pool", "s0", "chat", "least_loaded")
    assert line["client"].startswith(client.v4 + ":") and line["frontend"] == SERVICE["v4"], line
    assert line["bytes_received"] > 0 and line["bytes_acknowledged"] > 0 and line["duration_seconds"] > 0, line


def test_rotation(node):
    """A file that is moved is left at the next reload, one that is removed at once, and one that is truncated goes on
    at its beginning."""
    daemon, trail = audited(node)
    knock(node)
    trail.has(1)
    old = Trail(trail.path.rename(node.dir / "audit.1"))
    knock(node)
    old.has(2)
    daemon.reload()
    wait_for(trail.path.exists)
    knock(node)
    trail.has(1)
    trail.path.unlink()
    wait_for(trail.path.exists)
    knock(node)
    trail.has(1)
    os.truncate(trail.path, 0)
    knock(node)
    assert len(trail.has(1)) == 1 and len(old.lines()) == 2
    assert lost(daemon) == 0


@case(each=("link", "directory", "fifo", "stranger", "nowhere"))
def test_not_that_file(node, what):
    """A file that pintled must not write to, or cannot: clients are steered and refused all the same, what is lost is
    counted, and told in the audit once there is one."""
    path = node.dir / "audit.jsonl"
    if what == "link":
        path.symlink_to(node.dir / "elsewhere")
    elif what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "stranger":
        path.touch()
        os.chown(path, 65534, 65534)
    daemon, trail = audited(node, "none/audit.jsonl" if what == "nowhere" else "audit.jsonl")
    knock(node)
    assert node.ask(FRONTEND["v4"], source(7)) == "s0"
    wait_for(lambda: lost(daemon) == 1)
    assert "audit: cannot open" in daemon.log() and not (node.dir / "elsewhere").exists()
    if what == "nowhere":
        trail.path.parent.mkdir()
    elif what == "directory":
        path.rmdir()
    else:
        path.unlink()
    wait_for(lambda: [r["lost"] for r in trail.lines() if r["event"] == "lost"] == [1])
    knock(node)
    trail.has(1)
    assert "lines are written again" in daemon.log()


def test_disk_full(node):
    """A full disk: clients are steered, what is lost is counted, and no line is torn once there is room."""
    disk = node.dir / "disk"
    disk.mkdir()
    node.run("mount", "-t", "tmpfs", "-o", "size=64k", "none", disk)
    try:
        (disk / "ballast").write_bytes(b"x" * 56000)
        daemon, trail = audited(node, "disk/audit.jsonl")

        def flooded():
            for _ in range(10):
                knock(node)
            return lost(daemon)

        wait_for(flooded)
        assert node.ask(FRONTEND["v4"], source(7)) == "s0"
        (disk / "ballast").unlink()
        wait_for(lambda: '"event":"lost"' in trail.path.read_text())
        torn = [r for r in trail.path.read_text().splitlines() if not r.endswith("}")]
        assert len(torn) <= 1, torn
        daemon.stop()
    finally:
        node.run("umount", disk)


def test_without_the_daemon(node):
    """What is refused while no daemon runs is written by the next one; what does not fit into the ring is counted."""
    daemon, trail = audited(node)
    knock(node)
    trail.has(1)
    daemon.kill()
    knock(node)
    daemon = node.daemon(daemon.config.read_text())
    trail.has(2)
    assert lost(daemon) == 0
    daemon.kill()
    for _ in range(RING_HOLDS + 100):
        knock(node)
    daemon = node.daemon(daemon.config.read_text())
    wait_for(lambda: [r for r in trail.lines() if r["event"] == "lost"])
    missing = lambda: RING_HOLDS + 102 - len(trail.clients())
    wait_for(lambda: missing() == lost(daemon))
    assert [r["lost"] for r in trail.lines() if r["event"] == "lost"] == [missing()] and missing() > 0


def journal_of(node):
    """Where pintled finds journald's socket, and the wrapper that lets it find it there. systemd need not be here:
    pintled sees another /run, with nothing but this socket and the namespaces."""
    run = node.dir / "run"
    place = run / "systemd/journal"
    place.mkdir(parents=True)
    (run / "netns").mkdir()
    return place / "socket", ["unshare", "--mount", "sh", "-c",
                              'mount --rbind /run/netns "$0/netns" && mount --rbind "$0" /run && exec "$@"', run]


def journald(path):
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(path))
    journal.settimeout(20)
    return journal


def entry(journal):
    return dict(f.split("=", 1) for f in journal.recv(65536).decode().splitlines())


def test_journald(node):
    """The same lines, to journald."""
    path, wrapper = journal_of(node)
    with journald(path) as journal:
        audited(node, journald=True, wrapper=wrapper)
        knock(node)
        fields = entry(journal)
        assert fields["SYSLOG_IDENTIFIER"] == "pintle-audit" and fields["PRIORITY"] == "6", fields
        assert json.loads(fields["MESSAGE"])["outcome"] == "forbidden", fields


def test_journald_is_away(node):
    """Without journald, and while it starts anew, clients are served and refused all the same, what is lost is counted,
    and told once it is there."""
    path, wrapper = journal_of(node)
    daemon, _ = audited(node, journald=True, wrapper=wrapper)
    for missing in (1, 2):
        knock(node)
        assert node.ask(FRONTEND["v4"], source(7)) == "s0"
        wait_for(lambda: lost(daemon) == missing)
        assert "audit: cannot" in daemon.log()
        with journald(path) as journal:
            told = json.loads(entry(journal)["MESSAGE"])
            assert (told["event"], told["lost"]) == ("lost", missing), told
            knock(node)
            assert json.loads(entry(journal)["MESSAGE"])["outcome"] == "forbidden"
        path.unlink()
    assert lost(daemon) == 2


def test_off(node):
    """Without the key nothing is asked of the kernel; the key takes effect by a reload, and goes by one."""
    servers = node.servers(1)
    trail = Trail(node.dir / "audit.jsonl")
    configs = [node.config(node.pool(servers, **ONLY), audit=a) for a in (None, {"file": str(trail.path)})]
    daemon = node.daemon(configs[0])
    knock(node)
    daemon.reload(configs[1])
    wait_for(trail.path.exists)
    knock(node, 9)
    trail.has(1)
    assert trail.clients() == [source(9)]
    daemon.reload(configs[0])
    wait_for(lambda: daemon.log().count("reloaded") == 2)
    knock(node, 10)
    assert daemon.metric("pintle_audit_lines_total") == 1
