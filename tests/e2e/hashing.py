#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A model server that answers each request with its name and the SHA-256 of the body that it got.

    hashing.py NAME PORT PAGE

PAGE is a file with the page that /metrics shows."""
import asyncio
import hashlib
import re
import socket
import sys

name, port, page = sys.argv[1:]


async def answer(reader, writer):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"\nexpect: 100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            said = open(page, "rb").read() if head.startswith(b"GET /metrics") else \
                f"{name} {hashlib.sha256(body).hexdigest()}".encode()
            # A server that closes says so; otherwise the client may ask again meanwhile.
            over = re.search(rb"(?i)\nconnection: *close", head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%sContent-Length: %d\r\n\r\n%s"
                         % (b"Connection: close\r\n" if over else b"", len(said), said))
            await writer.drain()
            if over:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main():
    sock = socket.create_server(("", int(port)), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
    server = await asyncio.start_server(answer, sock=sock, limit=1 << 20)
    async with server:
        await server.serve_forever()


asyncio.run(main())
