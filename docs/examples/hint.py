# SPDX-License-Identifier: Apache-2.0
"""Names the session of a connection: the openai client, over httpx.

    python3 hint.py http://10.96.0.10:8000/v1 MODEL user-4711 user-4712 ...

Sends one request on behalf of each session and prints which server answered it. A client keeps its
connections and uses them again, so each session has a client of its own.

httpx sets the `socket_options` of a transport after it has connected, which is too late; so this
program makes the socket itself. requests and urllib3 set theirs before they connect (HTTPAdapter's and
PoolManager's `socket_options`), and aiohttp takes a `socket_factory`.
"""
import errno
import socket
import sys

import openai

LEVEL, SESSION, GROUP = 0x5054, 1, 2  # pintle/hint.h


def hint(sock, session):
    """Names the session, before connect(). If nothing takes hints here, the connection works all the same."""
    try:
        sock.setsockopt(LEVEL, SESSION, session.encode()[:64])
    except OSError as e:
        if e.errno != errno.ENOPROTOOPT:
            raise


def hinted_backend(backend, session):
    """httpcore's network backend, with sockets that carry a hint."""
    stream = type(backend).connect_tcp.__globals__["SyncStream"]

    class Hinted(type(backend)):
        def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM)[0]
            sock = socket.socket(family, kind, protocol)
            try:
                hint(sock, session)
                for option in socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(timeout)
                if local_address:
                    sock.bind((local_address, 0))
                sock.connect(address)
            except BaseException:
                sock.close()
                raise
            return stream(sock)

    return Hinted()


def client_of(url, session):
    client = openai.DefaultHttpxClient()
    pool = client._transport._pool  # httpx has no public access to it
    pool._network_backend = hinted_backend(pool._network_backend, session)
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, http_client=client)


def main(url, model, *sessions):
    for session in sessions:
        with client_of(url, session) as client:
            answer = client.completions.with_raw_response.create(
                model=model, prompt=f"Hello from {session}.", max_tokens=4)
            print(session, answer.headers.get("x-inference-pod", "?"))


if __name__ == "__main__":
    main(*sys.argv[1:])
