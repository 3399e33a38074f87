#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Forks the processes of cases, because to start Python and to import the modules takes longer than many a case.

tests/run starts a nursery for each build: nursery.py MODULE ..., with a socket for stdin. Each message names a module
and a case, and brings two descriptors: one for what the case prints, and a socket on which the nursery tells the
process, and at its end the exit status and the CPU seconds of it and of all that it waited for."""
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys

LONGEST = 4096  # bytes of a message


class Nursery:
    """A nursery, and how the runner asks it for a process."""

    def __init__(self, modules, env):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # In a session of its own: an interrupt from the terminal is for the runner.
        self.process = subprocess.Popen(["/usr/bin/python3", "-B", __file__, *sorted(modules)], stdin=theirs, env=env,
                                        start_new_session=True)
        theirs.close()

    def start(self, module, case):
        return Child(self.socket, module, case)

    def close(self):
        self.socket.close()
        self.process.wait()


class Child:
    """A case's process: as much of subprocess.Popen as the runner uses, and the CPU seconds."""

    def __init__(self, nursery, module, case):
        printed, prints = os.pipe()
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stdout = open(printed, "rb")
        self.returncode = None
        self.cpu = 0
        try:
            socket.send_fds(nursery, [json.dumps([module, case]).encode()], [prints, theirs.fileno()])
        finally:
            os.close(prints)
            theirs.close()
        said = self.line.recv(LONGEST)
        if not said:
            raise OSError(None, "the nursery is gone")
        self.pid = json.loads(said)

    def wait(self, timeout=None):
        if not select.select([self.line], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"case {self.pid}", timeout)
        # Not taken from the socket, because two threads may be waiting.
        said = self.line.recv(LONGEST, socket.MSG_PEEK)
        self.returncode, self.cpu = json.loads(said) if said else (1, 0)
        return self.returncode

    def terminate(self):
        if not select.select([self.line], [], [], 0)[0]:
            os.kill(self.pid, signal.SIGTERM)


def become(module, case, prints):
    """Makes this process that of a case, to its end."""
    status = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, to in ((nothing, 0), (prints, 1), (prints, 2)):
            os.dup2(fd, to)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        sys.stdout.reconfigure(line_buffering=True)
        status = importlib.import_module("harness").run_case(module, case)
        sys.stdout.flush()
    finally:
        os._exit(status)  # clients' threads may still be waiting


def main():
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.freeze()  # so that a child's collector does not copy every page
    runner = socket.socket(fileno=0)
    events = selectors.DefaultSelector()
    events.register(runner, selectors.EVENT_READ)
    while True:
        for key, _ in events.select():
            if key.fileobj is runner:
                asked, fds, _, _ = socket.recv_fds(runner, LONGEST, 2)
                if not asked:
                    return
                prints, line = fds[0], socket.socket(fileno=fds[1])
                pid = os.fork()
                if not pid:
                    become(*json.loads(asked), prints)
                os.close(prints)
                line.send(json.dumps(pid).encode())
                events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, line))
            else:
                pid, line = key.data
                _, status, used = os.wait4(pid, 0)
                line.send(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]).encode())
                line.close()
                events.unregister(key.fileobj)
                os.close(key.fileobj)


if __name__ == "__main__":
    main()
