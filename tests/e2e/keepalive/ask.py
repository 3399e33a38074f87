# SPDX-License-Identifier: Apache-2.0
"""Clients in Python, and curl: ask.py CLIENT ask|cut COUNT URL..., or ask.py CLIENT tell COUNT URL LABEL MODEL...

ask: COUNT times a short prompt, a streamed answer and a prompt of 100 kB, one after the other, by
one client that keeps its connections; prints "URL ANSWERS ERRORS WHAT". cut: asks for a stream
without end; prints "URL begun" when the first of it is there, and "URL error WHAT" or
"URL complete" at the end. tell: COUNT requests for the models in turn, in one session after the
other, whose names begin with LABEL; prints "MODEL SESSION CHARACTERS EVENTS DIGEST TOKENS SAID" for
each, with the SHA-256 of the body that was sent and the server's count of the prompt's tokens (0:
it has none), or "... error WHAT". Nothing is sent twice. What streams is told to servers without an
engine by X-Stream (see app.py).
"""
import asyncio
import hashlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections import namedtuple

PATH = "/v1/chat/completions"
KINDS = ((1000, None), (1000, 3), (100_000, None))  # characters, events
TOLD = ((1000, None), (5000, 3), (100_000, None), (1000, 3), (5000, None), (100_000, 3))
WORD = 50     # characters of a session's words, with a blank: servers may count words

Answer = namedtuple("Answer", "said tokens sent")  # bytes that were sent


class Chat(namedtuple("Chat", "characters events model session", defaults=("llama", ""))):
    def body(self):
        word = f"{self.session:x<{WORD - 1}} " if self.session else "word "
        return {"model": self.model, "messages": [{"role": "user", "content": word * (self.characters // len(word))}],
                "max_tokens": 100_000 if self.events == 0 else 3, "stream": self.events is not None,
                **({} if self.events is None else {"stream_options": {"include_usage": True}})}

    def headers(self):
        return {**({} if self.events is None else {"X-Stream": str(self.events)}),
                **({"X-Session-Id": self.session} if self.session else {})}

    def answer(self, status, text, sent):
        """What a server has answered, which must be whole."""
        assert status == 200 and '"content"' in text, (status, text[:200])
        assert self.events is None or text.endswith("[DONE]\n\n"), text[-200:]
        tokens = re.findall(r'"prompt_tokens": ?(\d+)', text) or [0]
        return Answer("".join(re.findall(r'"content": ?"([^"]*)"', text)), int(tokens[-1]), sent)


class Openai:
    def __init__(self, url):
        import openai
        self.sent = b""
        self.client = openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0,
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self.note]}))

    def note(self, request):
        self.sent = request.read()

    def post(self, chat):
        return self.client.chat.completions.create(**chat.body(), extra_headers=chat.headers())

    @staticmethod
    def tokens(answer):
        return answer.usage.prompt_tokens if answer.usage else 0

    def ask(self, chat):
        answer = self.post(chat)
        if chat.events is None:
            said, tokens = answer.choices[0].message.content, self.tokens(answer)
        else:
            parts = [*answer]
            said = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
            tokens = self.tokens(parts[-1])
        assert said
        return Answer(said, tokens, self.sent)

    def parts(self):
        yield from self.post(Chat(1000, 0))


class AsyncOpenai(Openai):
    """Asks the same way; all of it in one event loop."""

    def __init__(self, url):
        import openai
        self.sent, self.loop = b"", asyncio.new_event_loop()
        self.client = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [self.note]}))

    async def note(self, request):
        self.sent = await request.aread()

    async def whole(self, chat):
        answer = await super().post(chat)
        return answer if chat.events is None else [part async for part in answer]

    def post(self, chat):
        return self.loop.run_until_complete(self.whole(chat))

    @staticmethod
    async def next(stream):
        return await anext(stream, None)

    def parts(self):
        stream = self.loop.run_until_complete(super().post(Chat(1000, 0)))
        while part := self.loop.run_until_complete(self.next(stream)):
            yield part

    def close(self):
        self.loop.run_until_complete(self.client.close())


class Requests:
    def __init__(self, url):
        import requests
        self.url, self.session = url, requests.Session()

    def post(self, chat, **more):
        return self.session.post(self.url + PATH, json=chat.body(), headers=chat.headers(), **more)

    def ask(self, chat):
        r = self.post(chat)
        return chat.answer(r.status_code, r.text, r.request.body)

    def parts(self):
        yield from self.post(Chat(1000, 0), stream=True).iter_content(None)


class Httpx:
    def __init__(self, url):
        import httpx
        self.client = httpx.Client(base_url=url, timeout=60)

    def ask(self, chat):
        r = self.client.post(PATH, json=chat.body(), headers=chat.headers())
        return chat.answer(r.status_code, r.text, r.request.content)

    def parts(self):
        chat = Chat(1000, 0)
        with self.client.stream("POST", PATH, json=chat.body(), headers=chat.headers()) as r:
            yield from r.iter_bytes()


class Aiohttp:
    def __init__(self, url):
        self.url, self.loop, self.session = url, asyncio.new_event_loop(), None

    async def post(self, chat):
        import aiohttp
        if not self.session:
            self.session = aiohttp.ClientSession()
        return await self.session.post(self.url + PATH, json=chat.body(), headers=chat.headers())

    async def whole(self, chat):
        async with await self.post(chat) as r:
            return r.status, await r.text()

    def ask(self, chat):
        sent = json.dumps(chat.body()).encode()  # as aiohttp makes it
        return chat.answer(*self.loop.run_until_complete(self.whole(chat)), sent)

    def close(self):
        if self.session:
            self.loop.run_until_complete(self.session.close())

    def parts(self):
        r = self.loop.run_until_complete(self.post(Chat(1000, 0)))
        while part := self.loop.run_until_complete(r.content.readany()):
            yield part


class Curl:
    """One curl process asks several times, over the connection that it keeps."""

    EXTRA = ()
    BATCH = 30  # requests of one process

    def __init__(self, url):
        self.url = url

    def transfer(self, chat, sent):
        with open(sent, "w") as f:
            json.dump(chat.body(), f)
        more = [f'header = "{h}"' for h in (*self.EXTRA, *(f"{k}: {v}" for k, v in chat.headers().items()))]
        return "\n".join([f'url = "{self.url}{PATH}"', f'data-binary = "@{sent}"',
                          'header = "Content-Type: application/json"', *more, "no-buffer", "silent",
                          "globoff"])

    def run(self, chats, directory):
        """Yields an answer or an error for each."""
        texts, places = [], [f"{directory}/{i}" for i in range(len(chats))]
        for chat, place in zip(chats, places):
            texts += [self.transfer(chat, place) + '\nfail\nshow-error\noutput = "%s.out"\nwrite-out = '
                      '"%%{http_code} %%{exitcode} %%{errormsg}\\n"' % place]
        done = subprocess.run(["curl", "-q", "-K", "-"], input="\nnext\n".join(texts), text=True,
                              capture_output=True)
        for chat, place, line in zip(chats, places, done.stdout.splitlines()):
            try:
                status, code, why = line.split(" ", 2)
                assert code == "0", why
                with open(f"{place}.out") as out, open(place, "rb") as sent:
                    yield chat.answer(int(status), out.read(), sent.read())
            except (AssertionError, OSError) as e:
                yield e

    def ask_all(self, chats):
        while batch := [*itertools.islice(chats, self.BATCH)]:
            with tempfile.TemporaryDirectory() as directory:
                found = [*self.run(batch, directory)]
            yield from zip(batch, found + [RuntimeError("curl ended early")] * (len(batch) - len(found)))

    def parts(self):
        with tempfile.TemporaryDirectory() as directory:
            p = subprocess.Popen(["curl", "-q", "-S", "-K", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            p.stdin.write(self.transfer(Chat(1000, 0), f"{directory}/0").encode())
            p.stdin.close()
            while part := p.stdout.read1():
                yield part
            if p.wait():
                raise OSError(f"curl ended with {p.returncode}")


class CurlExpect(Curl):
    EXTRA = ("Expect: 100-continue",)


def ask_each(client, chats):
    """Yields each with its answer, or the error."""
    for chat in chats:
        try:
            yield chat, client.ask(chat)
        except Exception as e:  # whatever the library raises
            yield chat, e


def ask_all(client, chats):
    return client.ask_all(chats) if hasattr(client, "ask_all") else ask_each(client, chats)


def ask(client, url, count):
    answers, errors, said = 0, 0, ""
    for _, answer in ask_all(client, iter([Chat(*kind) for kind in KINDS] * count)):
        if isinstance(answer, Exception):
            errors += 1
            said = repr(answer)
        else:
            answers += 1
    print(url, answers, errors, said, flush=True)


def chats(count, label, models):
    for i in range(count):
        turn = i // len(models)
        yield Chat(*TOLD[turn % len(TOLD)], models[i % len(models)], f"{label}s{turn // len(TOLD)}")


def tell(client, count, label, models):
    for chat, answer in ask_all(client, chats(count, label, models)):
        row = [chat.model, chat.session, chat.characters, chat.events or 0]
        if isinstance(answer, Exception):
            row += ["error", repr(answer).replace("\n", " ")]
        else:
            sent = answer.sent if isinstance(answer.sent, bytes) else answer.sent.encode()
            row += [hashlib.sha256(sent).hexdigest(), answer.tokens, answer.said]
        print(*row, flush=True)


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


CLIENTS = {"openai": Openai, "openai-async": AsyncOpenai, "requests": Requests, "httpx": Httpx, "aiohttp": Aiohttp,
           "curl": Curl, "curl-expect": CurlExpect}


def main():
    name, work, count, url, *more = sys.argv[1:]
    for url in [url] if work == "tell" else [url, *more]:
        client = CLIENTS[name](url)
        if work == "ask":
            ask(client, url, int(count))
        elif work == "tell":
            tell(client, int(count), more[0], more[1:])
        else:
            cut(client, url)
        if hasattr(client, "close"):
            client.close()


if __name__ == "__main__":
    main()
