# SPDX-License-Identifier: Apache-2.0
"""Addresses, and clients that connect from inside a network namespace."""
import collections
import ipaddress
import re
import socket
import struct
import threading
import time

from kernel import inside, wait_for

IP_BIND_ADDRESS_NO_PORT = 24
IPV6_FREEBIND = 78
IPPROTO_MPTCP = 262

# Addresses of the fixtures. They are the same in every case; each case has its own namespaces.
FRONTEND = {"v4": "10.77.0.1:8000", "v6": "[fd77::1]:8000"}
LOCAL_SOURCES = {"v4": "127.1.0.0/16", "v6": "fd01::/48"}     # clients on the node itself
REMOTE_SOURCES = {"v4": "10.200.0.0/16", "v6": "fd02::/48"}   # clients behind the veth pair
NODE_ADDRESS = {"v4": "10.99.0.1", "v6": "fd99::1"}
CLIENT_ADDRESS = {"v4": "10.99.0.2", "v6": "fd99::2"}


def split(address):
    """Splits "127.0.0.1:80" into ("127.0.0.1", 80); takes "[::1]:80" and "8001", too."""
    if address.isdigit():
        return "::", int(address)
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_v6(host):
    return ":" in host


def source(number, family="v4", remote=False):
    """The number-th client address, for IPv6 in a /64 of its own: on the node itself, or in the
    client's namespace."""
    network = ipaddress.ip_network((REMOTE_SOURCES if remote else LOCAL_SOURCES)[family])
    return str(network[number if family == "v4" else (number << 64) + 1])


class Connection:
    """A client's TCP connection, with just enough HTTP."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, path="/", close=False, headers=None):
        head = f"GET {path} HTTP/1.1\r\nHost: test\r\n{'Connection: close' if close else 'X: y'}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.sock.sendall(f"{head}\r\n".encode())

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

    def ask(self, path="/", close=False, headers=None):
        """Sends a request; returns the body: the name of the server."""
        self.send(path, close, headers)
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
                # Leaves the port to connect(), which may use a port again for another destination.
                s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            else:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(address)
        s.connect((host, port))
    except BaseException:
        s.close()
        raise
    return Connection(s)


class Workers:
    """A context manager whose `threads` work until it ends; they look at `stopping`."""

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for t in self.threads:
            t.join(15)


class Load(Workers):
    """Clients that connect, ask once and close, over and over, until stopped; with sources each
    from an address of its own."""

    def __init__(self, node, to, workers=4, remote=False, pause=0.0, sources=True):
        self.node, self.to, self.remote, self.pause = node, to, remote, pause
        self.answers = collections.Counter()
        self.failures = []
        self.done = 0
        self.stopping = False
        self.lock = threading.Lock()
        family = "v6" if is_v6(split(to)[0]) else "v4"
        self.threads = [
            threading.Thread(target=self._work, daemon=True,
                             args=(source(i + 1, family, remote) if sources else None,))
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
        """Waits until `count` more connections were made."""
        goal = self.done + count
        wait_for(lambda: self.done >= goal, 30, f"{count} more connections")
