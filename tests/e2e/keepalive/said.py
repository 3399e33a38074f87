# SPDX-License-Identifier: Apache-2.0
"""A server for uvicorn and hypercorn that says which session and model it has read: `said.py SERVER PORT`."""
import http.cookies
import json

import app


def values(scope, name):
    return [v.decode("latin1") for k, v in scope["headers"] if k == name]


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
    cookies = http.cookies.SimpleCookie("; ".join(values(scope, b"cookie")))
    read = {"session": values(scope, b"x-session-id"), "model": model, "authorization": values(scope, b"authorization"),
            "cookie": [cookies["sid"].value] if "sid" in cookies else []}
    await app.answer(send, 200, b"application/json", json.dumps(read).encode())


if __name__ == "__main__":
    app.main(said)
