# SPDX-License-Identifier: Apache-2.0
"""An application as people write them, with httpx, urllib3 or the OpenAI library.

    ask.py httpx|openai|urllib3 URL COUNT [HINT]

COUNT requests, each by a client of its own; prints who answered. HINT: the session's key, given
to Pintle by a socket option before connecting.
"""
import importlib
import socket
import sys

LEVEL, SESSION = 0x5054, 1  # pintle/hint.h

what, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
options = [(LEVEL, SESSION, sys.argv[4].encode())] if len(sys.argv) > 4 else []


def transport_of(http, core):
    """A transport of httpx that sets the options before it connects: its own `socket_options` are
    set afterwards, which is too late."""
    sync = importlib.import_module(core.__name__ + "._backends.sync")

    class Hinted(core.SyncBackend):
        def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
            s = socket.socket()
            for option in options:
                s.setsockopt(*option)
            s.settimeout(timeout)
            s.connect((host, port))
            return sync.SyncStream(s)

    transport = http.HTTPTransport()
    if options:
        transport._pool._network_backend = Hinted()
    return transport


def with_httpx():
    httpx, core = (importlib.import_module(n) for n in ("httpx", "httpcore"))
    with httpx.Client(transport=transport_of(httpx, core)) as client:
        return client.get(url + "/health").headers["x-inference-pod"]


def with_openai():
    openai = importlib.import_module("openai")
    # The library brings an httpx of its own, or uses the same.
    name = openai.DefaultHttpxClient.__mro__[1].__module__.split(".")[0]
    own, core = (importlib.import_module(name.replace("httpx", n)) for n in ("httpx", "httpcore"))
    with openai.OpenAI(
        base_url=url + "/v1", api_key="none", max_retries=0,
        http_client=openai.DefaultHttpxClient(transport=transport_of(own, core)),
    ) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="llama", messages=[{"role": "user", "content": "Where am I?"}], max_tokens=4)
        assert answer.parse().choices[0].message.content
        return answer.headers["x-inference-pod"]


def with_urllib3():
    urllib3 = importlib.import_module("urllib3")
    defaults = urllib3.connection.HTTPConnection.default_socket_options
    with urllib3.PoolManager(socket_options=defaults + options) as client:
        return client.request("GET", url + "/health").headers["x-inference-pod"]


for _ in range(count):
    print({"httpx": with_httpx, "openai": with_openai, "urllib3": with_urllib3}[what]())
