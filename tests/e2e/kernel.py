# SPDX-License-Identifier: Apache-2.0
"""Namespaces, mounts and cgroups of a case, and waiting for something to become true."""
import contextlib
import ctypes
import inspect
import os
import shutil
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
BUILD = TOP / os.environ.get("PINTLE_BUILD", "build")
SAN = BUILD.name == "build-san"
PREFIX = "pintle-test-"

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """Raised with the reason why a case cannot run here."""


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


@contextlib.contextmanager
def trying(what):
    """A failure meanwhile says what was tried."""
    try:
        yield
    except Exception as e:
        e.add_note(f"tried: {what}")
        raise


def has_ended(pid):
    """Whether the process runs no more. One that nobody reaps, as in a container without an init, stays as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


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
    """Kills every process in the cgroup, and waits until all are gone."""
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


def sweep_empty():
    """What processes left behind that were killed before they could clean up: empty cgroups and
    directories, named after a process that is no more."""
    temporary = Path(tempfile.gettempdir())
    for path in [*cgroup_root().glob(f"{PREFIX}*"), *temporary.glob(f"{PREFIX}*")]:
        pid = path.name[len(PREFIX):].split("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            with contextlib.suppress(OSError):
                path.rmdir()
