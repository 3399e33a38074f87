# SPDX-License-Identifier: Apache-2.0
"""The demo when something is wrong. tests/fresh checks that it succeeds on a bare machine."""
import subprocess

from kernel import BUILD, TOP, mount
from packages import need

UNDER_SANITIZERS = False

MS_BIND = 0x1000


def demo(node):
    """(exit status, stdout, stderr); it cleans up for itself, also when this case is ended."""
    process = node.popen([TOP / "scripts/demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=50)
    finally:
        process.terminate()
        process.wait()
    return process.returncode, out, err


def test_looks_for_its_programs_first(node):
    """The demo names all missing programs before it begins."""
    for program in ("nft", "curl"):
        mount("/dev/null", need(program), flags=MS_BIND)  # in this case's mount namespace
    status, out, err = demo(node)
    assert status == 1 and not out, out
    assert err.splitlines() == [
        f"demo: no {program}: scripts/deps demo installs it" for program in ("nft", "curl")], err


def test_ends_with_the_reason(node):
    """After a failed step the reason is the last line, and debug messages are in a file."""
    broken = node.write("curl", "#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    mount(broken, need("curl"), flags=MS_BIND)
    status, out, err = demo(node)
    assert status == 1 and "debug" not in out + err, out + err
    assert err.splitlines()[-1] == "demo: not as it should be: alike, all four serve", err
    log = BUILD / "demo.log"
    assert str(log) in err and "pintled: " in log.read_text(), err
    log.unlink()
