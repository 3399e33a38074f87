# SPDX-License-Identifier: Apache-2.0
"""A model server for uvicorn: answers with its name; its metrics page is a file."""
import os
from pathlib import Path

NAME = os.environ["SERVER_NAME"]
PAGE = Path(os.environ["METRICS_FILE"])


async def app(scope, _receive, send):
    body = PAGE.read_bytes() if scope["path"] == "/metrics" else NAME.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
