# SPDX-License-Identifier: Apache-2.0
"""Says which session a connection is for: the openai client, over httpx.

    python3 hint.py http://10.96.0.10:8000/v1 MODEL user-4711 user-4712 ...

Sends one request on behalf of each session and prints which server answered it. Connections are
kept by httpx and used again: so a client for each session, or as here, for each task of one.
"""
import errno
import socket
import sys

import httpx
import openai

LEVEL, SESSION, GROUP = 0x5054, 1, 2  # pintle/hint.h


def socket_options(session, group=None):
    """The options to give to httpx: none where Pintle does not take hints.

    httpx takes an option that is refused for a failure to connect, so it is tried first.
    """
    options = [(LEVEL, SESSION, session.encode()[:64])]
    if group is not None:
        options.append((LEVEL, GROUP, group.encode()[:64]))
    with socket.socket() as probe:
        try:
            for option in options:
                probe.setsockopt(*option)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            return []
    return options


def client_of(url, session):
    transport = httpx.HTTPTransport(socket_options=socket_options(session))
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0,
                         http_client=httpx.Client(transport=transport))


def main(url, model, *sessions):
    for session in sessions:
        with client_of(url, session) as client:
            answer = client.completions.with_raw_response.create(
                model=model, prompt=f"Hello from {session}.", max_tokens=4)
            print(session, answer.headers.get("x-inference-pod", "?"))


if __name__ == "__main__":
    main(*sys.argv[1:])
