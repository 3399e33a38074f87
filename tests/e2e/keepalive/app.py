# SPDX-License-Identifier: Apache-2.0
"""A model server for uvicorn and hypercorn: `app.py SERVER PORT|PATH` listens on both families, or at a path.

What is asked with a header X-Stream: N is answered with N events, or, 0, with events without end. An answer
says the server's name, by SERVER_NAME, and the SHA-256 of the body that it got.
"""
import asyncio
import hashlib
import json
import os
import socket
import sys
from pathlib import Path

PAGE = Path(os.environ["METRICS_FILE"])
NAME = os.environ.get("SERVER_NAME", "")
COMMON = {"id": "x", "created": 1, "model": "llama"}


def whole(said):
    message = {"role": "assistant", "content": said}
    return json.dumps({**COMMON, "object": "chat.completion",
                       "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def event(said):
    choice = {"index": 0, "delta": {"content": said}, "finish_reason": None}
    return "data: " + json.dumps(
        {**COMMON, "object": "chat.completion.chunk", "choices": [choice]}) + "\n\n"


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def answer(send, status, kind, body):
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", kind), (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


async def stream(send, said, count):
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/event-stream")]})
    sent = 0
    while not count or sent < count:
        await send({"type": "http.response.body", "body": event(f"{said} ").encode(), "more_body": True})
        said = f"word{sent}"
        sent += 1
        await asyncio.sleep(0.001 if count else 0.05)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["method"] == "GET":
        page = PAGE.read_bytes() if scope["path"] == "/metrics" else b"{}"
        return await answer(send, 200, b"text/plain", page)
    body = await body_of(receive)
    try:
        json.loads(body)
    except ValueError:
        return await answer(send, 400, b"text/plain", b"no JSON")
    said = f"{NAME} {hashlib.sha256(body).hexdigest()}"
    wanted = dict(scope["headers"]).get(b"x-stream")
    if wanted:
        return await stream(send, said, int(wanted))
    await answer(send, 200, b"application/json", whole(said).encode())


def listener(at):
    if at.isdigit():
        return socket.create_server(("::", int(at)), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(at)
    sock.listen(512)
    return sock


def main(app):
    server, sock = sys.argv[1], listener(sys.argv[2])
    if server == "hypercorn":
        from hypercorn.asyncio import serve
        from hypercorn.config import Config
        config = Config()
        config.bind = [f"fd://{sock.fileno()}"]
        asyncio.run(serve(app, config, shutdown_trigger=asyncio.Event().wait))
    else:
        import uvicorn
        config = uvicorn.Config(app, http=server, log_level="error", lifespan="off")
        uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(app)
