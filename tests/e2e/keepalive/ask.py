# SPDX-License-Identifier: Apache-2.0
"""Clients in Python, and curl: ask.py CLIENT ask|cut COUNT URL...

ask: COUNT times a short prompt, a streamed answer and a prompt of 100 kB, one after the other, by
one client that keeps its connections; prints "URL ANSWERS ERRORS WHAT". cut: asks for a stream
without end; prints "URL begun" when the first of it is there, and "URL error WHAT" or
"URL complete" at the end. Nothing is sent twice. What streams is told to servers without an engine
by X-Stream (see app.py).
"""
import asyncio
import json
import subprocess
import sys
import tempfile

PATH = "/v1/chat/completions"
KINDS = ((1000, None), (1000, 3), (100_000, None))  # characters, events


def body(characters, events):
    return {"model": "llama", "messages": [{"role": "user", "content": "word " * (characters // 5)}],
            "max_tokens": 100_000 if events == 0 else 3, "stream": events is not None}


def headers(events):
    return {} if events is None else {"X-Stream": str(events)}


def check(status, text, events):
    assert status == 200 and '"content"' in text, (status, text[:200])
    assert events is None or text.endswith("[DONE]\n\n"), text[-200:]


class Openai:
    def __init__(self, url):
        import openai
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def post(self, characters, events):
        return self.client.chat.completions.create(
            **body(characters, events), extra_headers=headers(events))

    def ask(self, characters, events):
        answer = self.post(characters, events)
        if events is None:
            assert answer.choices[0].message.content
        else:
            assert "".join(part.choices[0].delta.content or "" for part in answer if part.choices)

    def parts(self):
        yield from self.post(1000, 0)


class Requests:
    def __init__(self, url):
        import requests
        self.url, self.session = url, requests.Session()

    def ask(self, characters, events):
        r = self.session.post(self.url + PATH, json=body(characters, events), headers=headers(events))
        check(r.status_code, r.text, events)

    def parts(self):
        r = self.session.post(self.url + PATH, json=body(1000, 0), headers=headers(0), stream=True)
        yield from r.iter_content(None)


class Httpx:
    def __init__(self, url):
        import httpx
        self.client = httpx.Client(base_url=url, timeout=30)

    def ask(self, characters, events):
        r = self.client.post(PATH, json=body(characters, events), headers=headers(events))
        check(r.status_code, r.text, events)

    def parts(self):
        with self.client.stream("POST", PATH, json=body(1000, 0), headers=headers(0)) as r:
            yield from r.iter_bytes()


class Aiohttp:
    def __init__(self, url):
        self.url, self.loop, self.session = url, asyncio.new_event_loop(), None

    async def post(self, characters, events):
        import aiohttp
        if not self.session:
            self.session = aiohttp.ClientSession()
        return await self.session.post(
            self.url + PATH, json=body(characters, events), headers=headers(events))

    async def whole(self, characters, events):
        async with await self.post(characters, events) as r:
            return r.status, await r.text()

    def ask(self, characters, events):
        check(*self.loop.run_until_complete(self.whole(characters, events)), events)

    def close(self):
        if self.session:
            self.loop.run_until_complete(self.session.close())

    def parts(self):
        r = self.loop.run_until_complete(self.post(1000, 0))
        while part := self.loop.run_until_complete(r.content.readany()):
            yield part


class Curl:
    """One curl process asks everything, over the connection that it keeps."""

    EXTRA = ()

    def __init__(self, url):
        self.url = url

    def transfer(self, characters, events):
        with tempfile.NamedTemporaryFile("w", delete=False, suffix=".json") as f:
            json.dump(body(characters, events), f)
        more = [f'header = "{h}"' for h in (*self.EXTRA, *(f"{k}: {v}" for k, v in headers(events).items()))]
        return "\n".join([f'url = "{self.url}{PATH}"', f'data-binary = "@{f.name}"',
                          'header = "Content-Type: application/json"', *more, "no-buffer", "silent",
                          "globoff"])

    def ask_all(self, count):
        texts = []
        for characters, events in KINDS:
            with tempfile.NamedTemporaryFile("w", delete=False) as out:
                pass
            texts += [self.transfer(characters, events) + '\nfail\nshow-error\noutput = "%s"\nwrite-out = '
                      '"%%{http_code} %%{exitcode}\\n"' % out.name]
        done = subprocess.run(["curl", "-q", "-K", "-"], input="\nnext\n".join(texts * count), text=True,
                              capture_output=True)
        fine = done.stdout.split("\n").count("200 0")
        return fine, len(KINDS) * count - fine, done.stderr

    def parts(self):
        argv = ["curl", "-q", "-S", "-K", "-"]
        p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        p.stdin.write(self.transfer(1000, 0).encode())
        p.stdin.close()
        while part := p.stdout.read1():
            yield part
        if p.wait():
            raise OSError(f"curl ended with {p.returncode}")


class CurlExpect(Curl):
    EXTRA = ("Expect: 100-continue",)


def ask_all(client, count):
    if hasattr(client, "ask_all"):
        return client.ask_all(count)
    answers, errors, said = 0, 0, ""
    for _ in range(count):
        for kind in KINDS:
            try:
                client.ask(*kind)
                answers += 1
            except Exception as e:  # whatever the library raises
                errors += 1
                said = repr(e)
    return answers, errors, said


def cut(client, url):
    begun = False
    try:
        for _ in client.parts():
            if not begun:
                print(url, "begun", flush=True)
            begun = True
        print(url, "complete", flush=True)
    except Exception as e:  # whatever the library raises
        print(url, "error", repr(e), flush=True)


CLIENTS = {"openai": Openai, "requests": Requests, "httpx": Httpx, "aiohttp": Aiohttp, "curl": Curl,
           "curl-expect": CurlExpect}


def main():
    name, work, count, *urls = sys.argv[1:]
    for url in urls:
        client = CLIENTS[name](url)
        if work == "ask":
            print(url, *ask_all(client, int(count)), flush=True)
        else:
            cut(client, url)
        if hasattr(client, "close"):
            client.close()


if __name__ == "__main__":
    main()
