# SPDX-License-Identifier: Apache-2.0
"""decide: request: what the first request says of its prompt counts in the decision."""
import collections
import contextlib
import json
import os
import signal
import socket

from clients import FRONTEND, source
from harness import case
from kernel import BUILD, wait_for
from servers import vllm_page
from test_handoff import HANDED, WHERE, handed, hashing, post

ASKED = {**HANDED, "stickiness": {**HANDED["stickiness"], "maxExtraLoad": "auto"},
         # Without the daemon no load changes, and what it said last is believed.
         "saturation": {"staleness": "1h"}}


@contextlib.contextmanager
def without_daemon(daemon):
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def prompts(node):
    """{server: what prompts of this node that wait add to its load}; None: no pass is believed."""
    return {c["endpoint"]: c["prompts"] for c in node.cli("explain", "pool")["candidates"]}


def steer(node, servers, **more):
    daemon = node.steer(servers, **{**ASKED, **more})
    wait_for(lambda: None not in prompts(node).values(), what="a pass")
    return daemon


def ask(node, request, frm=None, *, family="v4", remote=True):
    """The request on a connection of its own; the server that answered."""
    with node.connect(FRONTEND[family], frm, remote=remote) as c:
        c.sock.sendall(request)
        said = b""
        while data := c.sock.recv(65536):
            said += data
        return said.rsplit(b"\r\n", 1)[1].split()[0].decode()


@case(each=WHERE)
def test_the_size_counts(node, where):
    """A request counts by its Content-Length from the moment on at which it is placed: before a pass
    sees it, 20 small requests go to the other server."""
    family, remote = where[:2], "remote" in where
    node.add_client()
    daemon = steer(node, hashing(node, 2))
    with without_daemon(daemon):
        body = b"x" * 200000
        big = ask(node, post(body, session=b"big") + body, family=family, remote=remote)
        assert 499 < prompts(node)[big] < 501, prompts(node)
        small = collections.Counter(ask(node, post(b"", session=b"%d" % i), family=family, remote=remote)
                                    for i in range(20))
        assert small[big] == 0, (big, small)
    # A pass sees that it was answered.
    wait_for(lambda: not any(prompts(node).values()))
    assert handed(node) == {"asked": 21}


@case(each=("v4", "v6"))
def test_a_session_of_the_destination(node, family):
    """What a session has cached at its server does not count, also where a part of the frontend's address names it."""
    frontend, to = {"v4": ("10.77.0.0/24:8000", "10.77.0.9:8000"), "v6": ("[fd77::/64]:8000", "[fd77::9]:8000")}[family]
    daemon = steer(node, hashing(node, 2), frontends=[frontend],
                   stickiness={"key": "header/x-session-id, destination", "maxExtraLoad": "auto"})
    body = text(20000)

    def again():
        with node.connect(to) as c:
            c.sock.sendall(post(body).replace(b"X-Session-Id", b"X-Other") + body)
            while c.sock.recv(65536):
                pass
    again()
    wait_for(lambda: not any(node.in_flight().values()) and not any(prompts(node).values()), what="a pass behind it")
    with without_daemon(daemon):
        again()
        assert max(prompts(node).values()) < 2, prompts(node)
    assert node.decisions() == {"least_loaded": 1, "sticky": 1}


def test_a_client_that_lies_about_the_size(node):
    """A request that claims to be of 18 exabytes counts as one of 256 KiB, and until the next pass."""
    node.add_client()
    daemon = steer(node, hashing(node, 2))
    with without_daemon(daemon), node.connect(FRONTEND["v4"], remote=True) as c:
        c.sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n{")
        wait_for(lambda: handed(node))
        found = sorted(prompts(node).values())
        assert found[0] == 0 and 654 < found[1] < 656, found
        daemon.process.send_signal(signal.SIGCONT)
        wait_for(lambda: max(prompts(node).values()) < 2)


# -- what is cached where ----------------------------------------------------------------

# No session but the prompt's.
PREFIX = {"decide": "request",
          "stickiness": {"key": "header/x-session-id, none", "prefix": True, "maxExtraLoad": "auto"}}


def found(pins, pool="pool"):
    """{what was found out about prompts: how often}."""
    return {row["prompt"]: row["prompts"] for row in pins.cli("stats") if row["pool"] == pool and row["prompt"]}


def has_table(node):
    out = node.run("bpftool", "-j", "map", "dump", "pinned", next(node.bpffs.rglob("prefixes"))).stdout
    return any("inner_map_id" in row or isinstance(row.get("value"), list) for row in json.loads(out))


def text(size):
    return os.urandom(size // 2).hex().encode()


def ask_prompt(node, prompt, *, frm=None, family="v4", remote=False):
    return ask(node, post(prompt).replace(b"X-Session-Id", b"X-Other") + prompt, frm, family=family, remote=remote)


def believed(node, prompt=None, **where):
    """What a server was given in the seconds after it began to listen may be of the server before it. Asks until what
    any server is given is believed; of a prompt: until some server is believed to have it."""
    servers = set()

    def met(prompt):
        before = found(node)["met"]
        server = ask_prompt(node, prompt, **where)
        return found(node)["met"] > before and server

    def each_server():
        prompt = text(2000)
        ask_prompt(node, prompt, **where)
        servers.update(filter(None, [met(prompt)]))
        return len(servers) == len(node.cli("endpoints"))
    wait_for(lambda: met(prompt) if prompt else each_server(), timeout=30, what="prompts that are known")


def prompts_go_where_their_beginning_is(node, where):
    """Requests from one address, each with an end of its own, keep to the server that has their beginning."""
    met = {}
    before = found(node)
    beginnings = [text(6000) for _ in range(8)]
    for _ in range(3):
        for i, beginning in enumerate(beginnings):
            met.setdefault(i, set()).add(ask_prompt(node, beginning + text(600), **where))
            wait_for(lambda: not any(prompts(node).values()), what="a pass, by which the request is answered")
    assert all(len(servers) == 1 for servers in met.values()), met
    assert len(set.union(*met.values())) > 1, met
    more = {what: n - before[what] for what, n in found(node).items()}
    assert (more["seen"], more["known"], more["met"], more["left_out"]) == (24, 16, 16, 0), more
    assert set(node.decisions()) == {"least_loaded"}, node.decisions()
    assert "prompt: not known here; where it is cached, each 400 bytes of it weigh 1.5 less" in \
        node.pintle("explain", "pool").stdout


def headers_and_body_apart(node, where):
    """Most clients write the headers first: the body's first segment is waited for, and says where it goes."""
    beginning, before, met = text(6000), found(node), set()

    def apart(prompt):
        with node.connect(FRONTEND[where["family"]], remote=where["remote"]) as c:
            c.sock.sendall(post(prompt).replace(b"X-Session-Id", b"X-Other"))
            wait_for(lambda: c.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[24:28] == b"\0\0\0\0",
                     what="the headers' acknowledgement")
            c.sock.sendall(prompt)
            said = b""
            while data := c.sock.recv(65536):
                said += data
            return said.rsplit(b"\r\n", 1)[1].split()[0].decode()

    for _ in range(5):
        met.add(apart(beginning + text(600)))
        wait_for(lambda: not any(prompts(node).values()), what="a pass, by which the request is answered")
    more = {what: n - before[what] for what, n in found(node).items()}
    assert len(met) == 1 and (more["seen"], more["known"], more["met"]) == (5, 4, 4), (met, more)


@case(timeout=60)
def test_what_is_cached_weighs_nothing_while_it_waits(node):
    """A request that waits weighs by what of its prompt its server has not cached."""
    servers = node.servers(2)
    node.steer(servers, **PREFIX)

    def send(c, path, prompt):
        head = b"POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        c.sock.sendall(head % (path, len(prompt)) + prompt)

    def known(prompt):
        before = found(node)["met"]
        with node.connect(FRONTEND["v4"]) as c:
            send(c, b"/", prompt)
            c.read()
        return found(node)["met"] > before
    prompt = text(6000)
    wait_for(lambda: known(prompt), timeout=30)
    for asked, weighs in ((text(6000), (14, 17)), (prompt, (0, 2))):
        with node.connect(FRONTEND["v4"]) as c:
            send(c, b"/hold", asked)
            wait_for(lambda: any(e["requests_waiting"] for e in node.cli("endpoints")), what="a pass that sees it")
            most = max(prompts(node).values())
            assert weighs[0] <= most <= weighs[1], (most, weighs)
            for s in servers:
                s.release()
            c.read()
        wait_for(lambda: not any(prompts(node).values()))


@case(timeout=60)
def test_a_server_that_restarts_has_nothing(node):
    """What a server had cached is gone when it listens anew."""
    servers = hashing(node, 3)
    node.steer(servers, **PREFIX)
    believed(node)
    prompt = text(3000)
    for _ in range(2):
        ask_prompt(node, prompt)
    for s in servers:
        s.process.kill()
        s.process.wait()
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"down"})
    hashing(node, 3)
    wait_for(lambda: {e["state"] for e in node.cli("endpoints")} == {"ready"})
    before = found(node)
    ask_prompt(node, prompt)
    after = found(node)
    assert (after["known"], after["met"]) == (before["known"] + 1, before["met"]), (before, after)
    believed(node, prompt)


def chat(prompt, **before):
    """A chat with these fields before its messages."""
    return json.dumps({**before, "messages": [{"role": "user", "content": prompt.decode()}], "n": 1}).encode()


def fields_before_the_messages(node, where):
    """A prompt begins with its messages: the fields before them may change, but not the model. Behind a kilobyte of
    others the messages are not looked for, and the prompt begins with the body."""
    beginning = text(3000)

    def known(**before):
        was = found(node)
        ask_prompt(node, chat(beginning + text(300), **before), **where)
        return found(node)["known"] - was["known"]
    for i, (before, expected) in enumerate((
            ({"model": "a"}, 0), ({"model": "a"}, 1), ({"temperature": 0.5, "model": "a", "stream": True}, 1),
            ({"model": "a", "user": "u" * 200, "metadata": {"messages": [], "model": "b"}}, 1),
            ({"model": "b"}, 0), ({"model": "b", "seed": 7}, 1), ({}, 0), ({"seed": 8}, 1), ({"seed": 9}, 1),
            ({"model": "a", "user": "u" * 1100}, 0), ({"model": "a", "user": "u" * 1100, "seed": 7}, 1),
            ({"model": "a", "user": "v" * 1100}, 0))):
        assert known(**before) == expected, (i, before)
    # A completion is not a chat, though they say the same.
    plain = json.dumps({"model": "a", "prompt": beginning.decode()}).encode()
    for expected in (0, 1):
        before = found(node)
        ask_prompt(node, plain.replace(b'"model": "a"', b'"model": "a", "seed": %d' % expected), **where)
        assert found(node)["known"] - before["known"] == expected


@case(each=WHERE, timeout=90)
def test_what_is_known_of_prompts(node, where):
    where = {"family": where[:2], "remote": "remote" in where}
    node.add_client()
    node.steer(hashing(node, 4), **PREFIX)
    believed(node, **where)
    prompts_go_where_their_beginning_is(node, where)
    headers_and_body_apart(node, where)
    fields_before_the_messages(node, where)


def page(server, started=0, **signals):
    """Sets the server's page."""
    said = f"process_start_time_seconds {started}\n" if started else ""
    server.node.write(f"{server.name}.page", vllm_page(**signals) + said)


@case(each=("its-start", "its-counters", "both", "without-daemon"), timeout=60)
def test_an_engine_that_restarts_behind_its_listener(node, what):
    """The listener stays, and the engine behind it starts anew: its page tells, and what it had cached is gone; also
    where no daemon saw it."""
    servers = hashing(node, 2)
    for s in servers:
        s.node = node
        page(s, 0 if what == "its-counters" else 1.7e9, prompt=1000, output=50)
    daemon = node.steer(servers, **PREFIX)
    believed(node)
    prompt = text(3000)

    def met():
        before = found(node)
        ask_prompt(node, prompt)
        after = found(node)
        return after["known"] - before["known"], after["met"] - before["met"]
    assert met() == (0, 0)
    for s in servers:
        page(s, 0 if what == "its-counters" else 1.7e9 + 0.5, prompt=1200, output=60)
    scraped = {s.name: daemon.metric("pintle_endpoint_scrapes_total", pool="pool", endpoint=s.name) for s in servers}
    wait_for(lambda: all(daemon.metric("pintle_endpoint_scrapes_total", pool="pool", endpoint=name) > n + 2
                         for name, n in scraped.items()), what="the pages to be read")
    assert met() == (1, 1)
    if what == "without-daemon":
        daemon.kill()
    for s in servers:
        page(s, 0 if what == "its-counters" else 1.7e9 + (2 if what == "its-start" else 60),
             prompt=1300 if what == "its-start" else 0, output=70 if what == "its-start" else 0)
    if what == "without-daemon":
        assert met() == (1, 1)
        daemon = node.daemon(daemon.config.read_text())
    wait_for(lambda: all(daemon.metrics().get(("pintle_endpoint_engine_restarts_total",
                                               (("endpoint", s.name), ("pool", "pool")))) == 1 for s in servers),
             what="the restarts to be seen")
    assert met() == (1, 0)
    assert "its page is of an engine that has started anew" in daemon.log()
    believed(node, prompt)


def home_of(node, prompts):
    before = found(node)["home"]
    servers = [ask_prompt(node, prompt) for prompt in prompts]
    assert found(node)["home"] - before == len(prompts), (before, found(node))
    return servers


@case(timeout=120)
def test_a_prompt_has_a_home(node):
    """Where other nodes place requests, too, prompts that nobody is known to have go to the server that is their home;
    also with an empty table, with pins that are new, as on another node, and whatever the order of the endpoints."""
    servers = hashing(node, 3)
    for s in servers:
        s.node = node
        page(s, running=20)
    key = node.write("key", "0123456789abcdef")

    def steer(servers, pools=()):
        # Other nodes' requests come to light by the pages of 200 scrapes.
        pool = node.pool(servers, **PREFIX, weights={"prefix": 100}, scrape={"interval": "10ms"})
        daemon = node.daemon(node.config(*pools, pool, keyFile=str(key)))
        wait_for(lambda: ask_prompt(node, text(6000)) and found(node)["home"], timeout=40, what="what others place")
        return daemon
    daemon = steer(servers)
    prompts = [text(6000) for _ in range(36)]  # so many that each server is the home of one
    homes = home_of(node, prompts)
    assert len(set(homes)) == 3, homes
    before = found(node)["home"]
    ask_prompt(node, text(3000))  # of less than 4 KiB
    assert found(node)["home"] == before
    for prefix in ("false", "true"):
        node.pintle("set", "pool", f"stickiness.prefix={prefix}")
        wait_for(lambda: has_table(node) == (prefix == "true"))
    assert home_of(node, prompts) == homes
    daemon.stop()
    node.detach()
    first = node.pool([{"name": "x", "listen": "8101"}], "first", frontends=["10.77.0.9:8000"])
    daemon = steer(servers[::-1], [first])
    assert home_of(node, prompts) == homes
    daemon.stop()
    node.detach()
    node.write("key", "0123456789abcdeg")
    steer(servers)
    assert home_of(node, prompts) != homes


def test_a_key_that_is_none(node):
    """pintled does not start with a key of another size, or none, and says what would be right: what it says makes a key
    that nobody else reads. Of a file that others may read it warns. `pintle check` says the same."""
    servers, key = node.servers(1), node.dir / "key"
    config = node.write("c.yaml", node.config(node.pool(servers), keyFile=str(key)))
    none = "failed to read node.keyFile"

    def checked():
        return node.pintle("check", config).stderr

    for content, says in ((b"", "fewer than 16 bytes; make it by: rm -f"), (b"x" * 17, "more than 16 bytes; make it by"),
                          (None, none)):
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_bytes(content)
        result = node.run(BUILD / "pintled", "--config", config, check=False)
        assert result.returncode == 1 and says in result.stderr, result
        line = 1 + [" keyFile: " in line for line in config.read_text().splitlines()].index(True)
        assert checked().startswith(f"{config}:{line}: warning: pintled would not start on this machine: "), checked()
        assert says in checked() and "make it by: " in checked(), checked()
    key.write_bytes(b"x" * 16)
    key.chmod(0o604)
    warning = f"node.keyFile {key} may be read or written by everybody"
    assert f"warning: {warning}" in checked(), checked()
    daemon = node.daemon(config.read_text())
    assert warning in daemon.log()
    daemon.stop()
    node.run("sh", "-c", checked().rsplit("make it by: ", 1)[1])
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 16) and key.read_bytes() != b"x" * 16
    assert not checked()
    daemon = node.daemon(config.read_text())
    assert "node.keyFile" not in daemon.log()
    key.unlink()
    key.mkdir()
    assert "is a directory; write the path of a file of 16 bytes" in checked(), checked()


@case(timeout=60)
def test_prompts_outlive_the_daemon(node):
    """Without a daemon, and with the next one, the table is as it was; pools that want none take it away."""
    daemon = node.steer(hashing(node, 3), **PREFIX)
    believed(node)
    prompt = text(3000)
    server = ask_prompt(node, prompt)
    daemon.kill()
    before = found(node)["met"]
    assert {ask_prompt(node, prompt) for _ in range(5)} == {server}
    node.daemon(daemon.config.read_text())
    assert {ask_prompt(node, prompt) for _ in range(5)} == {server}
    assert found(node)["met"] == before + 10, (before, found(node), handed(node), node.decisions())
    node.pintle("set", "pool", "weights.prefix=2")
    node.pintle("set", "pool", "stickiness.prefix=false")
    wait_for(lambda: not has_table(node))
    before = found(node)
    ask_prompt(node, prompt)
    assert found(node) == before
    node.pintle("set", "pool", "stickiness.prefix=true")
    wait_for(lambda: has_table(node))
    believed(node, prompt)


def test_nothing_is_hashed_without(node):
    """A pool that does not ask for it has no table, and no prompt is read."""
    node.steer(hashing(node, 2), **ASKED)
    prompt = text(3000)
    ask_prompt(node, prompt)
    assert not any(found(node).values())
    assert not has_table(node)


@case(timeout=120)
def test_a_client_that_floods_the_table(node):
    """A client that sends thousands of prompts takes half of the table beside one other, and no more: the other's is
    still known, and what it asks next is learned."""
    node.steer(hashing(node, 2), **PREFIX)
    honest, flooder = ({"frm": source(i, "v6"), "family": "v6"} for i in (1, 2))
    prompt = text(3000)
    believed(node, prompt, **honest)

    def flood():
        for _ in range(100):
            ask_prompt(node, text(60000), **flooder)
        return found(node)["left_out"]
    wait_for(flood, timeout=110)
    # Its share may have begun anew once, as every five minutes.
    assert 131072 < found(node)["added"] < 2 * 131072 + 200, found(node)
    for known in (prompt, text(3000)):
        ask_prompt(node, known, **honest)
        before = found(node)
        ask_prompt(node, known, **honest)
        after = found(node)
        assert after["met"] == before["met"] + 1 and after["left_out"] == before["left_out"], (before, after)


@case(each=("session", "none"), timeout=60)
def test_a_conversation_of_few_words(node, key):
    """Each turn of a chat goes to the server that has the turn before, however short the prompts are beside the
    headers and the answers."""
    named = "header/x-session-id, " if key == "session" else ""
    node.steer(hashing(node, 3), decide="request",
               stickiness={"key": f"{named}none", "prefix": True, "maxExtraLoad": "auto"})
    believed(node)
    messages, met = [], []
    for turn in range(5):
        messages.append({"role": "user", "content": text(60 if turn else 300).decode()})
        body = json.dumps({"model": "m", "messages": messages}).encode()
        # The server says little: long headers stand for a long answer.
        met.append(ask(node, post(body, b"X-Padding: " + b"x" * 900) + body, remote=False))
        messages.append({"role": "assistant", "content": text(1200).decode()})
        wait_for(lambda: not any(prompts(node).values()), what="a pass, by which the request is answered")
    assert len(set(met)) == 1, met
    if named:
        assert node.decisions()["sticky"] == 4, node.decisions()


def test_requests_without_a_prompt(node):
    """Bodies of which less than 256 bytes are seen, of unknown length, or of no request, are decided as without."""
    node.steer(hashing(node, 2), **PREFIX)
    for request in (post(b"x" * 255) + b"x" * 255,
                    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"):
        ask(node, request, remote=False)
    assert not any(found(node).values()), found(node)
    prompt = text(1000)
    ask_prompt(node, prompt)
    assert found(node)["seen"] == 1
