# SPDX-License-Identifier: Apache-2.0
"""A wire between pintled and the API server that a case can cut anywhere, or keep cut."""
import contextlib
import selectors
import socket
import struct
import threading
import time

from clients import Workers
from kernel import inside

RESET = struct.pack("ii", 1, 0)


class Relay(Workers):
    """Passes bytes on, both ways. room: bytes from the API server after which a connection is reset; None: any
    number. refusing: connections are reset at once. came: when each connection came. cuts: how many `room` ended."""

    def __init__(self, api):
        self.api, self.room, self.refusing, self.stopping = api, None, False, False
        self.came, self.cuts = [], 0
        with inside(api.machine.netns):
            self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept, daemon=True)]

    def kubeconfig(self, text):
        """That kubeconfig, by way of this relay."""
        return text.replace(self.api.url, f"https://127.0.0.1:{self.port}")

    def _accept(self):
        while not self.stopping:
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            self.came.append(time.monotonic())
            if self.refusing:
                reset(client)
                continue
            thread = threading.Thread(target=self._pass, args=(client,), daemon=True)
            self.threads.append(thread)
            thread.start()
        self.listener.close()

    def _pass(self, client):
        try:
            with inside(self.api.machine.netns):
                server = socket.create_connection((self.api.address, self.api.port))
        except OSError:
            reset(client)
            return
        passed = 0
        with selectors.DefaultSelector() as s, contextlib.suppress(OSError):
            s.register(client, selectors.EVENT_READ, server)
            s.register(server, selectors.EVENT_READ, client)
            while not self.stopping and not self.refusing:
                for key, _ in s.select(0.1):
                    data = key.fileobj.recv(4096)
                    if not data:
                        raise ConnectionError
                    if key.fileobj is server:
                        passed += len(data)
                        if self.room is not None and passed > self.room:
                            self.cuts += 1
                            raise ConnectionError
                    key.data.sendall(data)
        reset(client)
        reset(server)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
