# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: start, reload, restart, upgrade, death, detach; under load where it matters."""
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from clients import FRONTEND, source
from daemon import METRICS, Daemon
from harness import case
from kernel import BUILD, SAN, Skip, wait_for

BOTH = ("v4", "v6")


def refused(node, to=FRONTEND["v4"]):
    try:
        node.ask(to, timeout=3)
    except (ConnectionRefusedError, TimeoutError, OSError):
        return True
    return False


def bpftool(node, *words):
    """Runs bpftool, which prints an empty line instead of an empty array."""
    return json.loads(node.run("bpftool", "-j", *words).stdout.strip() or "[]")


def bpf_objects(node):
    """Pintle's links and programs that are in the kernel, by bpftool."""
    cgroup = bpftool(node, "cgroup", "show", node.cgroup)
    links = bpftool(node, "link", "list")
    with open(node.netns) as f:
        inode = os.fstat(f.fileno()).st_ino
    lookups = [x for x in links if x.get("type") == "netns" and x.get("netns_ino") == inode]
    return cgroup, lookups


def routes(node):
    return sorted(
        node.ip(family, "route", "show", "table", "all").stdout for family in ("-4", "-6")
    )


# -- what an end leaves -----------------------------------------------------------------


def test_sigterm_leaves_steering(node):
    """SIGTERM: exit status 0, and connections are steered as before."""
    daemon = node.steer(node.servers(2))
    name = node.ask(FRONTEND["v4"])
    daemon.stop()
    assert node.ask(FRONTEND["v4"]) == name
    cgroup, lookups = bpf_objects(node)
    assert len(cgroup) == 1 and len(lookups) == 1, (cgroup, lookups)


@case(each=("config", "bpffs"))
def test_detach_removes_everything(node, how):
    """--detach removes all of Pintle's links, pins and routes, and nothing else."""
    node.ip("route", "add", "local", "10.88.0.1", "dev", "lo", "proto", "77")
    before = routes(node)
    servers = node.servers(2)
    daemon = node.steer(servers)
    assert routes(node) != before
    node.ask(FRONTEND["v4"])
    node.ask(FRONTEND["v6"])
    config = daemon.config
    daemon.stop()
    if how == "bpffs":
        os.unlink(config)
    node.detach(config if how == "config" else None)
    assert routes(node) == before
    assert bpf_objects(node) == ([], [])
    assert node.pins() == []
    assert refused(node)
    assert node.ask("127.0.0.1:8001") == "s0"


def test_detach_twice(node):
    """With nothing to detach, --detach says so and changes nothing."""
    daemon = node.steer(node.servers(1))
    daemon.stop()
    node.detach()
    again = node.detach(check=False)
    assert (again.stdout + again.stderr).strip()


def test_detach_while_the_daemon_runs(node):
    """A daemon that still runs is not left steering half a state."""
    daemon = node.steer(node.servers(1))
    result = node.detach(check=False)
    if result.returncode == 0:
        wait_for(lambda: daemon.process.poll() is not None)
        daemon.stopped = True
        assert bpf_objects(node) == ([], [])
    else:
        assert "another pintled" in result.stderr, result.stderr
        assert node.ask(FRONTEND["v4"]) == "s0"


def test_announce(node):
    """announce: true adds local routes with a protocol number of Pintle's own; false adds none."""
    before = routes(node)
    servers = node.servers(1)
    daemon = node.steer(servers, announce=False)
    assert routes(node) == before
    daemon.reload(node.config(node.pool(servers)))
    wait_for(lambda: routes(node) != before)
    shown = node.ip("route", "show", "table", "local").stdout
    line = [x for x in shown.splitlines() if "10.77.0.1" in x]
    assert len(line) == 1 and "proto" in line[0] and "proto kernel" not in line[0], line
    daemon.reload(node.config(node.pool(servers, frontends=["10.77.0.9:8000"])))
    wait_for(lambda: "10.77.0.1" not in node.ip("route", "show", "table", "local").stdout)
    assert node.ask("10.77.0.9:8000") == "s0"


# -- pins, hooks and cgroups that vanish while the daemon runs ---------------------------


def layout(node):
    """The directory of pins."""
    return next(node.bpffs.glob("v*"))


@case(each=("link_lookup", "link_sockops_servers", "names", "everything"))
def test_pins_removed(node, what):
    """A pin that is removed while the daemon runs loses nothing, and is back within a second."""
    daemon = node.steer(node.servers(2))
    pins = layout(node)
    with node.load(FRONTEND["v4"], workers=2) as load:
        load.go_on(50)
        removed = sorted(pins.iterdir()) if what == "everything" else [pins / what]
        if what == "everything":
            shutil.rmtree(node.bpffs)
        else:
            removed[0].unlink()
        wait_for(lambda: all(p.exists() for p in removed))
        load.go_on(100)
    assert not load.failures, load.failures[:3]
    assert "put back" in daemon.log()
    assert daemon.get("/readyz")[0] == 200
    name = node.ask(FRONTEND["v4"])
    daemon.kill()
    assert node.ask(FRONTEND["v4"]) == name


@case(each=("lookup", "sockops_servers"))
def test_hook_detached_by_force(node, hook):
    """The daemon attaches a lost hook again, and logs it."""
    daemon = node.steer(node.servers(2))
    assert daemon.metric("pintle_hook_attached", hook=hook) == 1
    node.run("bpftool", "link", "detach", "pinned", layout(node) / f"link_{hook}")
    wait_for(lambda: f"lost, and attached again: {hook}" in daemon.log())
    assert node.ask(FRONTEND["v4"])
    assert daemon.get("/readyz")[0] == 200
    assert daemon.metric("pintle_hook_attached", hook=hook) == 1
    wait_for(lambda: set(node.in_flight().values()) == {0})


def test_cgroup_made_again(node):
    """While the watched cgroup is removed, every status reports it, until a cgroup exists there
    again."""
    inner = node.cgroup / "inner"
    inner.mkdir()
    server = node.server("s0", 8001)
    daemon = node.daemon(node.config(node.pool([server]), cgroup=str(inner)))
    inner.rmdir()
    wait_for(lambda: daemon.get("/readyz")[0] == 503)
    assert "not attached: sockops_servers" in daemon.get("/readyz")[1], daemon.get("/readyz")
    assert daemon.metric("pintle_hook_attached", hook="sockops_servers") == 0
    assert daemon.metric("pintle_hook_attached", hook="lookup") == 1
    assert "hook sockops_servers is not attached" in node.pintle("status").stdout
    assert "hook sockops_servers is not attached" in node.pintle("doctor", check=False).stdout
    assert node.ask(FRONTEND["v4"]) == "s0"  # the lookup hook still steers
    inner.mkdir()
    wait_for(lambda: daemon.get("/readyz")[0] == 200)
    assert daemon.log().count("not attached: sockops_servers") == 1
    assert daemon.metric("pintle_hook_attached", hook="sockops_servers") == 1
    server.kill()
    server = node.server("s0", 8001, cgroup=str(inner))
    wait_for(served_by(node, "s0"))
    server.end()


def served_by(node, name, to=FRONTEND["v4"]):
    return lambda: node.ask(to) == name


def test_map_missing_at_start(node):
    """A map whose pin was removed is found by the attached programs: bindings and counts go on."""
    servers = node.servers(3)
    daemon = node.steer(servers)
    name = node.ask(FRONTEND["v4"])
    placed = {e["name"]: e["placed"] for e in node.cli("endpoints")}
    daemon.stop()
    for pin in ("affinity", "inflight", "node"):
        (layout(node) / pin).unlink()
    result = node.pintle("doctor", check=False)
    assert result.returncode == 1 and "are incomplete; start pintled" in result.stdout, result
    daemon = node.daemon(Path(daemon.config).read_text())
    assert "found again" in daemon.log() and "took over" in daemon.log()
    assert {e["name"]: e["placed"] for e in node.cli("endpoints")} == placed
    assert node.ask(FRONTEND["v4"]) == name


def test_map_missing_that_no_program_uses(node):
    """The maps of settings, which the pins of an older build lack, are made anew: nothing else is lost."""
    servers = node.servers(3)
    daemon = node.steer(servers)
    name = node.ask(FRONTEND["v4"])
    placed = {e["name"]: e["placed"] for e in node.cli("endpoints")}
    daemon.stop()
    for pin in ("settings", "verdicts"):
        (layout(node) / pin).unlink()
    daemon = node.daemon(Path(daemon.config).read_text())
    assert "made anew" in daemon.log() and "took over" in daemon.log()
    assert {e["name"]: e["placed"] for e in node.cli("endpoints")} == placed
    assert node.ask(FRONTEND["v4"]) == name


def test_map_missing_for_good(node):
    """A missing map that no program uses cannot be found: the daemon starts afresh, and says so."""
    daemon = node.steer(node.servers(2))
    daemon.stop()
    (layout(node) / "names").unlink()
    daemon = node.daemon(Path(daemon.config).read_text())
    assert "starting afresh" in daemon.log()
    assert node.ask(FRONTEND["v4"])


# -- under load -------------------------------------------------------------------------


def under_load(node):
    return node.load(FRONTEND["v4"], workers=4)


@case(timeout=120, each=BOTH)
def test_killed_under_load(node, family):
    """After SIGKILL no connection fails, then or later."""
    node.add_client()
    daemon = node.steer(node.servers(3), saturation={"staleness": "500ms"})
    with node.load(FRONTEND[family], workers=4, remote=True) as load:
        load.go_on(200)
        daemon.kill()
        load.go_on(500)
        time.sleep(1)  # beyond staleness
        load.go_on(300)
    assert not load.failures, (len(load.failures), load.failures[:3])


@case(timeout=120)
def test_restart_under_load(node):
    """SIGTERM and a new daemon, three times: no failure, no binding lost."""
    servers = node.servers(3)
    daemon = node.steer(servers)
    bound = {i: node.ask(FRONTEND["v4"], source(i)) for i in range(100, 130)}
    with under_load(node) as load:
        for _ in range(3):
            load.go_on(100)
            daemon.stop()
            load.go_on(100)
            daemon = node.steer(servers)
        load.go_on(100)
    assert not load.failures, (len(load.failures), load.failures[:3])
    for i, name in bound.items():
        assert node.ask(FRONTEND["v4"], source(i)) == name
    wait_for(lambda: set(node.in_flight().values()) == {0})
    assert daemon.metric("pintle_in_flight_drift_total") == 0


@case(timeout=120)
def test_reload_under_load(node):
    """SIGHUP with endpoints added, changed and taken out: no failure."""
    servers = node.servers(3)
    daemon = node.steer(servers[:2])
    with under_load(node) as load:
        for members in (servers, servers[1:], servers[::-1], servers[:2], servers):
            load.go_on(100)
            daemon.reload(node.config(node.pool(members)))
            wait_for(lambda: {e["name"] for e in node.cli("endpoints")} == {s.name for s in members})
            wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
        load.go_on(100)
    assert not load.failures, (len(load.failures), load.failures[:3])
    wait_for(lambda: set(node.in_flight().values()) == {0})


@case(timeout=120)
def test_upgrade_under_load(node):
    """Another binary takes the pins over: no failure, no binding or count lost."""
    servers = node.servers(3)
    daemon = node.steer(servers)
    held = node.hold(FRONTEND["v4"], 6, first=500)
    newer = node.dir / "pintled-newer"
    shutil.copy(BUILD / "pintled", newer)
    with under_load(node) as load:
        load.go_on(100)
        daemon.stop()
        config = daemon.config
        second = Daemon(node, config, binary=newer)
        load.go_on(200)
    assert not load.failures, (len(load.failures), load.failures[:3])
    wait_for(lambda: sum(node.in_flight().values()) == 6)
    for c, name in held:
        assert c.ask() == name
        c.close()
    wait_for(lambda: set(node.in_flight().values()) == {0})
    for i, (_, name) in enumerate(held):
        assert node.ask(FRONTEND["v4"], source(500 + i)) == name
    assert second.metric("pintle_in_flight_drift_total") == 0


def test_upgrade_replaces_the_programs(node):
    """After a restart the links are the same ones, with the new daemon's programs in them."""
    servers = node.servers(1)
    daemon = node.steer(servers)
    _, before = bpf_objects(node)
    daemon.stop()
    node.steer(servers)
    _, after = bpf_objects(node)
    assert [x["id"] for x in before] == [x["id"] for x in after]
    assert [x["prog_id"] for x in before] != [x["prog_id"] for x in after]


# -- one at a time ----------------------------------------------------------------------


def test_second_instance(node):
    """A second daemon on the same directory says so and exits; the first goes on."""
    servers = node.servers(1)
    daemon = node.steer(servers)
    second = node.run(BUILD / "pintled", "--config", daemon.config, check=False)
    assert second.returncode not in (0, 2, 99), second
    assert "another pintled" in second.stderr and str(daemon.pid) in second.stderr, second.stderr
    assert node.ask(FRONTEND["v4"]) == "s0"
    assert daemon.get("/healthz")[0] == 200


def test_second_instance_elsewhere(node):
    """One with another directory, but for the same namespace, says so and leaves no trace; also
    when the first one's daemon is gone."""
    servers = node.servers(1)
    daemon = node.steer(servers)
    other = node.bpf_mount / "other"
    config = node.write("other.yaml", node.config(node.pool(servers), bpffs=str(other),
                                                  metrics="127.0.0.1:9465"))
    before = routes(node)
    for _ in range(2):
        second = node.run(BUILD / "pintled", "--config", config, check=False)
        assert second.returncode == 1 and "--detach" in second.stderr, second
        assert "another Pintle" in second.stderr, second.stderr
        assert not other.exists() and routes(node) == before
        assert node.ask(FRONTEND["v4"]) == "s0"
        daemon.kill()


def test_second_instance_after_kill(node):
    """A lock does not outlive its daemon."""
    servers = node.servers(1)
    node.steer(servers).kill()
    node.steer(servers)
    assert node.ask(FRONTEND["v4"]) == "s0"


# -- configuration ----------------------------------------------------------------------


def test_bad_configuration(node):
    """Every error is reported with its place, in one run; the exit status is 2, and nothing has
    changed."""
    text = node.config(node.pool(node.servers(1))).replace('"50ms"', '"50"').replace(
        'engine: "vllm"', 'engine: "nosuch"')
    path = node.write("bad.yaml", text)
    result = node.run(BUILD / "pintled", "--config", path, check=False)
    assert result.returncode == 2, result
    lines = result.stderr.splitlines()
    for wrong in ("50", "nosuch"):
        number = next(i for i, x in enumerate(text.splitlines(), 1) if f'"{wrong}"' in x)
        assert any(x.startswith(f"{path}:{number}:") and ";" in x for x in lines), lines
    assert bpf_objects(node) == ([], [])
    assert node.pins() == []


def test_bad_reload(node):
    """A reload that is refused leaves everything as it was, and says so."""
    servers = node.servers(1)
    daemon = node.steer(servers)
    good = Path(daemon.config).read_text()
    before = node.cli("endpoints")[0]["name"]
    daemon.reload(good.replace('engine: "vllm"', 'engine: "nosuch"'))
    wait_for(lambda: "nosuch" in daemon.log())
    assert node.cli("endpoints")[0]["name"] == before
    assert node.ask(FRONTEND["v4"]) == "s0"
    daemon.reload(good.replace('"50ms"', '"60ms"'))
    assert node.ask(FRONTEND["v4"]) == "s0"


def test_no_configuration(node):
    """With a missing file, or without one, the daemon prints a sentence and exits with status 2."""
    for arguments in (["--config", node.dir / "none.yaml"], []):
        result = node.run(BUILD / "pintled", *arguments, check=False)
        assert result.returncode != 0 and result.stderr.strip(), result


def test_the_issues_example(node):
    """The documented example loads as it stands."""
    text = """\
apiVersion: pintle.dev/v1alpha1
kind: PintleConfig
node:
  bpffs: /sys/fs/bpf/pintle
  netns: /proc/self/ns/net    # whose listeners are steered; default: pintled's own
  # cgroup: /sys/fs/cgroup    # default: the cgroup2 root, found in the mount table
  metrics: 127.0.0.1:9464
pools:
- name: llama-8b
  engine: vllm
  frontends: ["10.77.0.1:8000", "[fd77::1]:8000"]
  announce: true              # add local routes for the frontends
  endpoints:
  - {name: gpu0, listen: "127.0.0.1:8001"}
  - {name: gpu1, listen: "127.0.0.1:8002"}
  - {name: gpu2, listen: "8003", metrics: "http://127.0.0.1:9003/metrics"}
  scrape: {interval: 200ms, timeout: 1s, path: /metrics}
  stickiness: {key: source, ttl: 300s, maxExtraLoad: 8}
  weights: {queue: 2, kvCache: 2, running: 1, gpu: 0}
  saturation: {queueDepth: 5, kvCache: 0.8, staleness: 2s}
  failureMode: FailOpen
"""
    text = text.replace("/sys/fs/bpf/pintle", str(node.bpffs))
    servers = [node.server("gpu0", "127.0.0.1:8001"), node.server("gpu1", "127.0.0.1:8002"),
               node.server("gpu2", 8003), node.server("page", "127.0.0.1:9003")]
    config = node.write("example.yaml", text)
    assert node.run(BUILD / "pintle", "check", config).returncode == 0
    daemon = Daemon(node, config)
    # Only endpoint gpu2 can take IPv6.
    assert node.spread(FRONTEND["v6"], 5) == {"gpu2": 5}
    assert set(node.spread(FRONTEND["v4"], 30)) == {"gpu0", "gpu1", "gpu2"}
    daemon.stop()
    node.detach(config)
    for s in servers:
        s.end()


def test_other_layout(node):
    """Pins of another layout are refused, untouched, with a message that says what to do; and
    that helps."""
    servers = node.servers(1)
    other = node.bpffs / "v9"
    other.mkdir(parents=True)
    node.run("bpftool", "map", "create", other / "node", "type", "array", "key", 4, "value", 8,
             "entries", 1, "name", "node")
    config = node.write("c.yaml", node.config(node.pool(servers)))
    for command in ([BUILD / "pintled", "--config", config],
                    [BUILD / "pintle", "--bpffs", node.bpffs, "status"]):
        result = node.run(*command, check=False)
        assert result.returncode == 1 and "--detach" in result.stderr, result
        assert "9" in result.stderr, result.stderr
    assert [p.name for p in other.iterdir()] == ["node"]
    assert bpf_objects(node) == ([], [])
    node.detach()
    node.daemon(config.read_text())
    assert node.ask(FRONTEND["v4"]) == "s0"


def test_missing_bpffs(node):
    """A directory that is not in a bpf file system: a sentence with the cure."""
    config = node.write("x.yaml", node.config(node.pool(node.servers(1)), bpffs=str(node.dir / "nobpf")))
    result = node.run(BUILD / "pintled", "--config", config, check=False)
    assert result.returncode != 0
    assert "bpf" in result.stderr and "mount" in result.stderr, result.stderr


def files(soft, hard):
    """Runs a block with this limit of open files."""
    return ["prlimit", f"--nofile={soft}:{hard}"]


@case(each=("a directory", "a link"))
def test_a_strangers_directory(node, what):
    """Pins are made in no directory that another user has made, who could take them away, and by no link of his;
    --detach, too, leaves what is in it alone."""
    config = node.write("c.yaml", node.config(node.pool(node.servers(1))))
    node.bpf_mount.chmod(0o1777)
    if what == "a link":
        (node.bpf_mount / "roots").mkdir()
        os.symlink("roots", node.bpffs)
    else:
        node.bpffs.mkdir()
    os.chown(node.bpffs, 65534, 65534, follow_symlinks=False)
    result = node.run(BUILD / "pintled", "--config", config, netns=node.netns, check=False)
    assert result.returncode == 1 and f"{node.bpffs} belongs to user 65534" in result.stderr, result
    (node.bpffs / "v1").mkdir()
    result = node.detach(check=False)
    assert result.returncode == 1 and f"{node.bpffs} belongs to user 65534" in result.stderr, result
    (node.bpffs / "v1").rmdir()
    os.chown(node.bpffs, 0, 0, follow_symlinks=False)
    assert not list(node.bpffs.iterdir())
    node.daemon(config.read_text())
    assert node.ask(FRONTEND["v4"]) == "s0"


def test_soft_limit_of_files(node):
    """A soft limit, as low as systemd's default is for a thousand endpoints, holds nothing up."""
    servers = node.servers(2)
    daemon = node.daemon(node.config(node.pool(servers)), wrapper=files(32, 400))
    text = Path(f"/proc/{daemon.pid}/limits").read_text()
    assert next(line for line in text.splitlines() if line.startswith("Max open files")).split()[3:5] == [
        "400", "400"], text
    assert "LimitNOFILE" not in daemon.log()
    daemon.reload(node.config(node.pool(servers, endpoints=[
        {"name": f"e{i}", "listen": f"127.0.0.1:{9500 + i}"} for i in range(73)])))
    wait_for(lambda: "only 400 files may be open, and the endpoints may need 402; raise LimitNOFILE="
             in daemon.log())


def test_hard_limit_of_files(node):
    """Too few for a start: one line with the cure, and nothing was begun."""
    config = node.write("x.yaml", node.config(node.pool(node.servers(1))))
    result = node.run(*files(48, 72), BUILD / "pintled", "--config", config, check=False)
    assert result.returncode == 1
    assert result.stderr == ("pintled: error: only 72 files may be open, and pintled needs 256; "
                             "raise LimitNOFILE= of its unit, or ulimit -n\n"), result.stderr
    assert node.pins() == []


# -- what it serves and says ---------------------------------------------------------------


def test_health_and_readiness(node):
    """/healthz while the loop lives; /readyz once attached and scraped."""
    servers = node.servers(1, be={"stall": True})
    config = node.write("c.yaml", node.config(node.pool(servers, scrape={"timeout": "3s"})))
    daemon = Daemon(node, config, wait=False)
    wait_for(lambda: daemon.get("/healthz")[0] == 200)
    assert daemon.get("/readyz")[0] == 503
    servers[0].be(stall=False)
    daemon.wait_ready()
    assert daemon.get("/nosuch")[0] == 404


def test_not_ready_without_its_cgroup(node):
    """Nothing is steered once the cgroup is gone: /readyz says so, and doctor does not ask for root."""
    own = node.cgroup / "own"
    own.mkdir()
    servers = node.servers(1)
    daemon = Daemon(node, node.write("c.yaml", node.config(node.pool(servers), cgroup=str(own))))
    assert daemon.get("/readyz")[0] == 200
    own.rmdir()
    wait_for(lambda: daemon.get("/readyz")[0] == 503)
    assert "sockops" in daemon.get("/readyz")[1]
    assert "run it as root" not in node.pintle("doctor", check=False).stdout
    daemon.stop()


def test_promtool(node):
    """promtool finds no fault with /metrics."""
    if not shutil.which("promtool"):
        raise Skip("no promtool")
    daemon = node.steer(node.servers(2))
    node.ask(FRONTEND["v4"])
    page = daemon.get("/metrics")[1]
    result = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    assert result.returncode == 0 and not result.stdout.strip(), result.stdout + result.stderr
    for name in ("pintle_decisions_total", "pintle_endpoint_load", "pintle_endpoint_in_flight",
                 "pintle_endpoint_score_age_seconds", "pintle_pool_saturation"):
        assert f"\n{name}{{" in page, name


def test_help_and_version(node):
    """--help and --version, on stdout, with status 0; a wrong option with a hint."""
    for option in ("--help", "--version"):
        result = node.run(BUILD / "pintled", option)
        assert result.stdout.strip() and not result.stderr
    result = node.run(BUILD / "pintled", "--nosuch", check=False)
    assert result.returncode != 0 and "--help" in result.stderr


def test_sd_notify(node):
    """Tells the service manager when it is ready, reloading and stopping."""
    path = node.dir / "notify.sock"
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(str(path))
    inbox.settimeout(20)
    said = []

    def until(word):
        while not any(word in x for x in said):
            said.append(inbox.recv(4096).decode())
        return True

    config = node.write("c.yaml", node.config(node.pool(node.servers(1))))
    daemon = Daemon(node, config, env={"NOTIFY_SOCKET": str(path)})
    assert until("READY=1")
    said.clear()
    daemon.reload()
    assert until("READY=1")
    daemon.stop()
    assert until("STOPPING=1")


def test_runs_outside_the_namespace(node):
    """A daemon in another namespace steers and scrapes in the namespace of node.netns."""
    servers = node.servers(2)
    servers[0].set(waiting=20)
    node.add_client()
    config = node.write("c.yaml", node.config(node.pool(servers)))
    Daemon(node, config, netns=node.client_netns)
    assert node.spread(FRONTEND["v4"], 10) == {"s1": 10}


def test_own_namespace_by_default(node):
    """Without node.netns its own namespace is steered."""
    servers = node.servers(1)
    node.daemon(node.config(node.pool(servers), netns=None))
    assert node.ask(FRONTEND["v4"]) == "s0"


def test_beside_another_sockops_program(node):
    """Both programs get the callbacks that they asked for, whichever was attached first."""
    object_file = node.compile_bpf(Path(__file__).with_name("neighbour.bpf.c"))
    pin = node.bpf_mount / "neighbour"
    maps = node.bpf_mount / "neighbour-maps"
    node.run("bpftool", "prog", "load", object_file, pin, "type", "sockops", "pinmaps", maps)
    node.run("bpftool", "cgroup", "attach", node.cgroup, "sock_ops", "pinned", pin, "multi")

    def seen():
        rows = bpftool(node, "map", "dump", "pinned", maps / "seen")
        return [r["formatted"]["value"] for r in rows]

    try:
        node.steer(node.servers(1))
        established, rtt, _ = seen()
        with node.connect(FRONTEND["v4"]) as c:
            for _ in range(5):
                c.ask("/bytes/2000")
            assert node.in_flight() == {"s0": 1}
        wait_for(lambda: node.in_flight() == {"s0": 0})
        after = seen()
        assert after[0] > established and after[1] > rtt, (established, rtt, after)
    finally:
        node.run("bpftool", "cgroup", "detach", node.cgroup, "sock_ops", "pinned", pin)


@case(timeout=360, san=False)
def test_valgrind(node):
    """A whole life under valgrind: no leak, no error."""
    if not shutil.which("valgrind"):
        raise Skip("no valgrind")
    endpoints = [{"name": f"s{i}", "listen": str(8001 + i)} for i in range(2)]
    config = node.write("c.yaml", node.config(node.pool(endpoints)))
    daemon = Daemon(node, config, wait=False, wrapper=[
        "valgrind", "-q", "--error-exitcode=98", "--leak-check=full",
        "--errors-for-leak-kinds=definite", "--show-leak-kinds=definite", "--num-callers=20",
        f"--suppressions={Path(__file__).with_name('valgrind.supp')}",
    ])
    daemon.wait_ready(240)  # twenty times as long as without valgrind
    # Servers start after the daemon, because valgrind does not know pidfd_getfd().
    servers = node.servers(2)
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    node.ask(FRONTEND["v4"])
    daemon.reload(node.config(node.pool(servers[:1])))
    wait_for(lambda: len(node.cli("endpoints")) == 1)
    wait_for(lambda: daemon.get("/metrics")[0] == 200, 60)
    daemon.stop()


def test_clean_shutdown(node):
    """Ends in order after a life with traffic (under the sanitizers: without a report)."""
    servers = node.servers(3)
    daemon = node.steer(servers)
    node.hold(FRONTEND["v4"], 10)
    servers[0].be(page="garbage")
    servers[1].kill()
    daemon.reload(node.config(node.pool(servers[:2]), node.pool([], "other", endpoints=[
        {"name": "x", "listen": "9999"}], frontends=["10.77.0.3:80"])))
    wait_for(lambda: {e["name"] for e in node.cli("endpoints")} >= {"x"})
    daemon.get("/metrics")
    daemon.stop()
    if SAN:
        assert "runtime error" not in daemon.log()


def test_metrics_port_taken(node):
    """The daemon says so when the port of its own page is taken."""
    own = node.server("own", METRICS)
    config = node.write("c.yaml", node.config(node.pool(node.servers(1))))
    result = node.run(BUILD / "pintled", "--config", config, check=False)
    assert result.returncode != 0 and "9464" in result.stderr, result
    own.end()
