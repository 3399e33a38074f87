# SPDX-License-Identifier: Apache-2.0
"""`pintle explain --header`: what it says of a request is what the hand-off does with it."""
import json

from clients import source
from harness import case
from kernel import wait_for
from test_handoff import ask, hashing, sessions
from test_models import World
from test_prompts import PREFIX, ask_prompt, believed, text

KEY = "header/x-session-id, cookie/sid, authorization, source"
# A request's headers, and what names its session.
REQUESTS = (
    ({"X-Session-Id": "a"}, "header/x-session-id"),
    ({"x-SESSION-id": "  a b\t"}, "header/x-session-id"),
    ({"Cookie": "x=1; sid=abc; y=2"}, "cookie/sid"),
    ({"Cookie": "sid=", "Authorization": "Bearer k"}, "authorization"),
    ({"X-Session-Id": "", "Cookie": "si=1"}, None),
    ({}, None),
)


def explained(node, headers, *words, pool="pool"):
    lines = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    return node.cli("explain", pool, *lines, *words)


@case(each=("own", "shared"), timeout=90)
def test_as_the_kernel(node, shared):
    """The session that it finds is the one that is bound, and the endpoint that it says is asked; from another
    address it is another session, but where sessions are shared."""
    node.add_client()
    node.steer(node.servers(3), decide="request", stickiness={"key": KEY, "shared": shared == "shared"})
    first, other = (source(i, remote=True) for i in (1, 2))
    for headers, by in REQUESTS:
        name = ask(node, headers, first)
        told = explained(node, {"Host": "a", **headers, "Connection": "close"}, "--source", first)
        assert told["session_by"] == by and told["hand"] == ("asked" if by else "not_said"), (headers, told)
        wait_for(lambda: told["session"] in sessions(node), what=f"{told['session']} is bound")
        told = explained(node, headers, "--source", first)
        assert (told["chosen"], told["outcome"], told["certain"]) == (name, "sticky", True), (headers, told)
        assert node.cli("explain", "pool", "--source", first, "--session", told["session"])["chosen"] == name
        again = explained(node, headers, "--source", other)
        assert (again["session"] == told["session"]) == bool(shared == "shared" and by), (headers, again)
    said = node.pintle("explain", "pool", "--source", first, "--header", "X-Session-Id: a").stdout
    assert f"pool: {first} would go to" in said and "request: header/x-session-id names its session, request:" in said
    said = node.pintle("explain", "pool", "--source", first, "--header", "Connection : x").stdout
    assert "request: malformed: the headers do not follow RFC 9112" in said, said


def test_of_a_model(node):
    """Each pool says itself what names a session."""
    World(node, {"llama": "a", "qwen": "b", "default": "a"}, b={"decide": "request", "stickiness": {"key": KEY}})
    told = explained(node, {"X-Session-Id": "s"}, "--model", "qwen", "--source", source(1, remote=True), pool="a")
    assert (told["pool"], told["session_by"]) == ("b", "header/x-session-id"), told
    told = explained(node, {"X-Session-Id": "s"}, "--source", source(1, remote=True), pool="a")
    assert (told["pool"], told["hand"], told["session_by"]) == ("a", "asked", "header/x-session-id"), told
    told = explained(node, {"X-Session": "s"}, "--source", source(1, remote=True), pool="a")
    assert (told["pool"], told["hand"], told["session_by"]) == ("a", "not_said", None), told


def test_refused(node):
    """What cannot be answered is said, with what would be right."""
    plain = node.pool([], "plain", frontends=["10.99.0.2:80"], announce=False, endpoints=[
        {"name": "a", "listen": "127.0.0.1:9002"}])
    node.daemon(node.config(node.pool(node.servers(1), decide="request", stickiness={"key": KEY}), plain))
    a = ("--header", "X-Session-Id: a")
    for words, says in (
        (("pool", *a), "belong to clients' addresses; give --source IP, too"),
        (("plain", *a), "is decided by connection, and no header says its session; leave --header out"),
        (("pool", *a, "--session", "127.0.0.1"), "both say the session; give one of them"),
        (("pool", "--header", "x"), "takes one line, NAME: VALUE, not 'x'"),
        (("pool", "--header", "a: b\r\nc: d"), "takes one line, NAME: VALUE"),
        (("pool", "--header", "X-Big: " + "x" * 16000, "--source", "127.0.0.1"), "longer than 15872 bytes"),
        (("pool", *65 * ("--header", "a: b")), "more than 64 times; leave some out"),
    ):
        result = node.pintle("explain", *words, check=False)
        assert result.returncode == 2 and says in result.stderr, (words, result)
    result = node.pintle("pools", *a, check=False)
    assert result.returncode == 2 and "pools takes no --header" in result.stderr, result


def nothing_waits(node):
    """Pages have told that the prompts of former requests are read."""
    wait_for(lambda: not any(c["prompts"] for c in node.cli("explain", "pool")["candidates"]))


@case(timeout=120)
def test_of_a_prompt(node):
    """What it says who has of a prompt, and where the request goes, is what becomes of it."""
    node.add_client()
    servers = hashing(node, 3)
    node.steer(servers, **PREFIX)
    believed(node)
    beginnings = [text(3000) for _ in range(4)]
    went = {beginning: ask_prompt(node, beginning + text(600)) for beginning in beginnings}
    for beginning, server in went.items():
        nothing_waits(node)
        body = beginning + text(600)
        path = node.write("body", body.decode())
        told = node.cli("explain", "pool", "--prompt", path)
        assert told["prompt_bytes"] == 3600 and told["prompt_known_bytes"] == 2816, told
        have = {c["endpoint"]: c["have_bytes"] for c in told["candidates"]}
        assert have == {s.name: 2816 if s.name == server else 0 for s in servers}, (server, told)
        missing = {c["endpoint"]: c["missing"] for c in told["candidates"]}
        assert missing[server] < 3 < min(n for s, n in missing.items() if s != server), missing
        assert told["chosen"] == server == ask_prompt(node, body), told
    # It begins with the messages, and belongs to the model that stands before it.
    chats = {model: [json.dumps({"model": model, "temperature": n, "messages": [{"content": beginnings[0].decode()}]})
                     for n in (1, 20)] for model in ("llama", "qwen")}
    server = ask_prompt(node, chats["llama"][0].encode())
    nothing_waits(node)
    known = {model: node.cli("explain", "pool", "--prompt", node.write(model, chat[1]))
             for model, chat in chats.items()}
    assert known["llama"]["prompt_known_bytes"] == 2816 and known["qwen"]["prompt_known_bytes"] == 0, known
    assert known["llama"]["chosen"] == server == ask_prompt(node, chats["llama"][1].encode()), known
    said = node.pintle("explain", "pool", "--prompt", path).stdout
    assert "prompt: 3600 bytes, of which 3584 are known; each 400 bytes that are not cached weigh 1.5" in said, said
    assert f"cached: 3600 bytes at {went[beginnings[-1]]}\n" in said, said
    for file, says in ((node.write("short", "x"), "is too short: prompts count from 256 bytes on"),
                       ("/nowhere", "cannot be read: No such file"), ("/dev/zero", "cannot be read: a ")):
        result = node.pintle("explain", "pool", "--prompt", file, check=False)
        assert result.returncode == 2 and says in result.stderr, result
    node.pintle("set", "pool", "stickiness.prefix=false")
    result = node.pintle("explain", "pool", "--prompt", path, check=False)
    assert result.returncode == 2 and "looks at no prompts; write stickiness: {prefix: true}" in result.stderr, result
