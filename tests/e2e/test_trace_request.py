# SPDX-License-Identifier: Apache-2.0
"""`pintle trace` of requests whose prompt or LoRA adapter counts: it says what of them was where, as `pintle explain`
does."""
from harness import case
from kernel import wait_for
from test_handoff import hashing, post
from test_lora import Sims
from test_lora import ask as ask_adapter
from test_lora import explained, model
from test_lora import steer as steer_adapters
from test_prompts import ASKED, PREFIX, ask, ask_prompt, believed, text
from test_trace_pools import trace

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False


def of(decision, key):
    return {c["endpoint"]: c[key] for c in decision["candidates"]}


def seen(follower, count):
    """The newest of so many decisions."""
    return follower.wait("decided", count)[-1]


@case(each=(3, 12), timeout=90)
def test_of_a_prompt(node, count):
    """What each endpoint had of the prompt, and what the rest of it added; also of those that hold it and are not in
    the sample of a large pool."""
    node.add_client()
    node.steer(hashing(node, count), **PREFIX)
    believed(node)
    beginnings = [text(3000) for _ in range(4)]
    went = {beginning: ask_prompt(node, beginning + text(600)) for beginning in beginnings}
    follower = trace(node, node)
    for i, (beginning, server) in enumerate(went.items()):
        body = beginning + text(600)
        told = node.cli("explain", "pool", "--prompt", node.write("body", body.decode()))
        assert ask_prompt(node, body) == server == told["chosen"]
        d = seen(follower, i + 1)
        made = d["decision"]
        assert d["endpoint"] == made["chosen"] == server, d
        assert (made["prompt_bytes"], made["prompt_known_bytes"]) == (3600, 2816), made
        assert (made["sample"] is None) == (count == 3) and len(made["candidates"]) >= min(count, 8), made
        said = of(told, "missing")
        for c in made["candidates"]:
            assert c["have_bytes"] == (2816 if c["endpoint"] == server else 0), (server, c)
            assert abs(c["missing"] - said[c["endpoint"]]) < 0.1 and c["load"] >= c["missing"], (c, said)
        assert min(of(made, "missing"), key=of(made, "missing").get) == server, made
    lines = trace(node, node, text=True)
    ask_prompt(node, body)
    wait_for(lambda: any("  prompt 3600 B, cached 3600" in line for line in lines.lines))
    ask_prompt(node, b"short")
    made = seen(follower, 6)["decision"]
    assert made["prompt_bytes"] is made["prompt_known_bytes"] is None, made
    assert set(of(made, "missing").values()) == set(of(made, "have_bytes").values()) == {None}, made


@case(timeout=90)
def test_of_another_prompt(node):
    """A session that says something else than before is not kept where it is bound, and the trace says why."""
    node.add_client()
    node.steer(hashing(node, 3), **{**ASKED, "stickiness": {**ASKED["stickiness"], "prefix": True}})
    believed(node)
    follower = trace(node, node)

    def say(prompt):
        return ask(node, post(prompt, session=b"s") + prompt)
    first = text(6000)
    server = say(first)

    def bound():
        (row,) = [b for b in node.cli("sessions") if b["session"].startswith("request:")]
        return node.cli("explain", "pool", "--session", row["session"])["bound"]
    wait_for(lambda: (bound()["context_bytes"] or 0) > 6000, what="the session's context")
    count = len(follower.wait("decided", 1))
    assert say(first + text(600)) == server
    made = seen(follower, count + 1)["decision"]
    assert (made["bound"]["why"], made["bound"]["endpoint"]) == ("holds", server), made
    say(text(6000))
    made = seen(follower, count + 2)["decision"]
    assert made["bound"]["why"] == "other_prompt" and made["bound"]["endpoint"] == server, made


@case(timeout=60)
def test_of_an_adapter(node):
    """How each endpoint was off for the adapter, whose name is said."""
    sims = Sims(node, 4, "--lora", "sql,fr", "--lora-slots", 2, "--lora-load", 0.05)
    steer_adapters(node, sims.endpoints)
    wait_for(lambda: model(node, "sql")["holders"] == 0)
    follower, lines = trace(node, node), trace(node, node, text=True)
    ask_adapter(node, "sql")
    first = seen(follower, 1)
    server = first["endpoint"]
    assert first["decision"]["model"] == "sql" and set(of(first["decision"], "adapter").values()) == {"room"}, first
    wait_for(lambda: model(node, "sql")["holders"] == 1)
    chosen, states = explained(node, "sql")
    ask_adapter(node, "sql")
    made = seen(follower, 2)["decision"]
    assert made["chosen"] == chosen == server and of(made, "adapter") == states, (made, states)
    missing = of(made, "missing")
    assert missing.pop(server) == 0 < min(missing.values()), made
    wait_for(lambda: any("  adapter sql loaded" in line for line in lines.lines))
    ask_adapter(node, "llama")
    made = seen(follower, 3)["decision"]
    assert made["model"] is None and set(of(made, "adapter").values()) == {None}, made
