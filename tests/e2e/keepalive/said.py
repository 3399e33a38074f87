# SPDX-License-Identifier: Apache-2.0
"""A server for uvicorn and hypercorn that says which session and model it has read: `said.py SERVER PORT`."""
import json

import app


async def said(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/metrics":
        return await app.answer(send, 200, b"text/plain", app.PAGE.read_bytes())
    body = await app.body_of(receive)
    try:
        model = json.loads(body)["model"]
    except (ValueError, TypeError, KeyError):
        model = None
    read = {"session": [v.decode("latin1") for k, v in scope["headers"] if k == b"x-session-id"], "model": model}
    await app.answer(send, 200, b"application/json", json.dumps(read).encode())


if __name__ == "__main__":
    app.main(said)
