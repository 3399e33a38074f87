# SPDX-License-Identifier: Apache-2.0
"""A start for which there is too little memory."""
import contextlib
import pathlib
import re

from clients import FRONTEND
from harness import Skip
from kernel import BUILD, TOP, wait_for

UNDER_SANITIZERS = False  # they take many times the memory that is measured here
V1, V2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")


@contextlib.contextmanager
def limited(node, mib):
    """A cgroup whose processes may have so much."""
    root, limit = (V1, "memory.limit_in_bytes") if V1.is_dir() else (V2, "memory.max")
    group = root / f"{node.id}-memory"  # in a container node.cgroup may be beside it
    group.mkdir()
    try:
        if not (group / limit).exists():
            raise Skip("no cgroup with the memory controller can be made")
        (group / limit).write_text(str(mib << 20))
        yield group
    finally:
        group.rmdir()


def test_a_start_without_memory_for_the_maps(node):
    """One error says what the maps take, which limit is in the way, and what helps; nothing is left attached."""
    config = node.write("c.yaml", node.config(node.pool(node.servers(1))))
    with limited(node, 48) as group:
        result = node.run("sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh", BUILD / "pintled", "--config",
                          config, check=False)
    errors = [line for line in result.stderr.splitlines() if line.startswith("pintled: error: ")]
    assert result.returncode == 1 and len(errors) == 1, result.stderr[-1000:]
    assert "no memory for the kernel's maps" in errors[0] and f"the cgroup {group} may have 50 MB" in errors[0], errors
    assert "Raise its limit to" in errors[0], errors
    assert not list(node.bpffs.glob("*")), list(node.bpffs.glob("*"))
    node.daemon(config.read_text())
    assert node.ask(FRONTEND["v4"]) == "s0"


def test_a_start_without_memory_for_the_daemon(node):
    """Where the maps have room, but what makes them has not, the kernel may kill pintled, which has said it before."""
    config = node.config(node.pool(node.servers(1)))
    with limited(node, 116) as group:
        daemon = node.daemon(config, wait=False, wrapper=("sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"))

        def ended():
            if daemon.process.poll() is None:
                return daemon.get("/readyz")[0] == 200
            daemon.stopped = True
            return True

        wait_for(ended, 60)
        log = daemon.log()
        if not daemon.stopped:
            daemon.stop()
    if "no memory for the kernel's maps" in log:
        raise Skip("the maps of this machine take more")
    warnings = [line for line in log.splitlines() if line.startswith("pintled: warn: pintled may be killed for want of memory")]
    assert len(warnings) == 1 and f"the cgroup {group} may have 121 MB" in warnings[0], log
    assert "Raise its limit" in warnings[0], log


def test_a_start_without_memory_for_types(node):
    """A limit of the process itself is named where it leaves too little for the types of the kernel."""
    config = node.write("c.yaml", node.config(node.pool(node.servers(1))))
    result = node.run("sh", "-c", 'ulimit -d 5000; exec "$@"', "sh", BUILD / "pintled", "--config", config, check=False)
    assert result.returncode == 1 and "a limit of the process leaves 5 MB. Raise it (`ulimit -d " in result.stderr, result.stderr
    assert not list(node.bpffs.glob("*")), list(node.bpffs.glob("*"))


def test_what_the_manifest_requests(node):
    """A daemon with all that takes memory starts and serves within what the DaemonSet requests, and needs most of it."""
    said = re.search(r"requests: {.*memory: (\d+)Mi}", (TOP / "manifests/daemonset.yaml").read_text())
    mib = int(said[1])
    node.add_client()
    config = node.config(node.pool(node.servers(2), decide="request", stickiness={
        "key": "header/x-session-id, source", "prefix": True, "maxExtraLoad": "auto"}))
    with limited(node, mib) as group:
        node.daemon(config, wrapper=("sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"))
        assert node.ask(FRONTEND["v4"], remote=True) in ("s0", "s1")
        usage = group / ("memory.usage_in_bytes" if V1.is_dir() else "memory.current")
        assert int(usage.read_text()) > (mib << 20) / 2
        node.daemons[-1].stop()
