# SPDX-License-Identifier: Apache-2.0
"""models: of LoRA adapters: requests for one go where it is loaded."""
import collections
import contextlib
import json
import re
import subprocess

from clients import FRONTEND, source
from harness import case
from kernel import BUILD, wait_for
from servers import vllm_page
from test_handoff import WHERE, handed, hashing
from test_models import chat, post

MODELS = {"llama": "pool", "sql": "pool", "fr": "pool", "default": "pool"}
# Seconds. Of a request that is over within one step of its engine, the page says nothing; a step takes longer where the
# machine is busy.
LOAD = 0.5


def lora(slots, *series):
    """vLLM's page with a series for each (running, waiting, time)."""
    return "".join(f'vllm:lora_requests_info{{max_lora="{slots}",running_lora_adapters="{running}",'
                   f'waiting_lora_adapters="{waiting}"}} {when}\n' for running, waiting, when in series)


def steer(node, servers, models=None, **more):
    node.add_client()
    return node.steer(servers, decide="request", models=models or MODELS,
                      **{"stickiness": {"key": "header/x-session-id, none"}, **more})


def model(node, name):
    """Its row in `pintle pools`."""
    (pool,) = node.cli("pools")
    return next((m for m in pool["models"] if m["model"] == name), None)


def loaded(node, name):
    """The endpoints that have it."""
    return sorted(e["name"] for e in node.cli("endpoints") if name in (e["adapters"] or {"loaded": ()})["loaded"])


def explained(node, name):
    """(the endpoint that `pintle explain` says, {endpoint: how it is off for the adapter})."""
    e = node.cli("explain", "pool", "--model", name)
    return e["chosen"], {c["endpoint"]: c["adapter"] for c in e["candidates"]}


class Sims:
    """pintle-sim: s0, s1, ... from a port on, for both families."""

    def __init__(self, node, count, *options, first=8001, prefix="s"):
        self.process = node.popen(
            [BUILD / "pintle-sim", "--host", "::", "--port", first, "--profile", "tiny", "--max-num-seqs", 256,
             "--count", count, *options], stdout=subprocess.PIPE,
            stderr=open(node.dir / f"sim{first}.log", "ab"), text=True)
        for _ in range(count):
            assert self.process.stdout.readline()
        self.endpoints = [{"name": f"{prefix}{i}", "listen": str(first + i)} for i in range(count)]


def ask(node, name, frm=None, *, family="v4", remote=True, tokens=1):
    """(status, the server that answered) of a completion."""
    body = json.dumps({"model": name, "prompt": "x", "max_tokens": tokens}).encode()
    with node.connect(FRONTEND[family], frm, remote=remote) as c:
        c.sock.sendall(post(body).replace(b"/chat", b""))
        said = b""
        while data := c.sock.recv(65536):
            said += data
    head = said.split(b"\r\n\r\n")[0].decode()
    return int(head.split()[1]), re.search(r"(?i)x-inference-pod: *(\S+)", head)[1]


def went(node, name, frm=None, **how):
    """The server that got a request, of servers that say which body they got."""
    with node.connect(FRONTEND[how.get("family", "v4")], frm, remote=how.get("remote", True)) as c:
        c.sock.sendall(post(chat(name)))
        said = b""
        while data := c.sock.recv(65536):
            said += data
    return said.rsplit(b"\r\n", 1)[1].split()[0].decode()


class Pages:
    """Servers whose pages are written by the case."""

    def __init__(self, node, count=2, **more):
        self.node = node
        self.servers = hashing(node, count)
        self.daemon = steer(node, self.servers, **more)

    def show(self, i, adapters="", **signals):
        """The page of server i, and waits until the daemon has read it."""
        path = self.node.dir / f"s{i}.page"
        new = path.with_suffix(".new")
        new.write_text(vllm_page(**signals) + adapters)
        new.rename(path)
        goal = self.rounds() + 3
        wait_for(lambda: self.rounds() >= goal)

    def rounds(self):
        return self.node.cli("status")[0]["scrape_rounds"]


# -- with simulated servers ---------------------------------------------------------------


@case(each=WHERE)
def test_goes_where_it_is_loaded(node, where):
    """Each adapter gets a server, which loads it once, and keeps it while others are asked for elsewhere."""
    how = {"family": where[:2], "remote": "remote" in where}
    sims = Sims(node, 4, "--lora", "sql,fr", "--lora-slots", 2, "--lora-load", LOAD)
    daemon = steer(node, sims.endpoints)
    wait_for(lambda: model(node, "sql")["holders"] == 0)  # /v1/models says that it is an adapter
    for name in ("sql", "fr"):
        met = [ask(node, name, **how) for _ in range(10)]
        assert {status for status, _ in met} == {200} and len({server for _, server in met}) == 1, met
        assert model(node, name)["requests"] == 10 and model(node, name)["loaded"] == 9
        wait_for(lambda: model(node, name)["holders"] == 1)
    assert model(node, "llama")["holders"] is None
    assert len({ask(node, "llama", **how)[1] for _ in range(20)}) > 1
    metrics = daemon.metrics()
    assert metrics[("pintle_model_loaded_total", (("model", "sql"), ("pool", "pool")))] == 9
    assert metrics[("pintle_model_holders", (("model", "sql"), ("pool", "pool")))] == 1
    assert ("pintle_model_holders", (("model", "llama"), ("pool", "pool"))) not in metrics
    assert handed(node) == {"not_said": 40}


def test_who_lists_it(node):
    """A server that does not list the adapter would answer 404: it gets no request for it."""
    some = Sims(node, 2, "--lora", "sql", "--lora-load", 0)
    others = Sims(node, 3, "--lora", "fr", "--lora-load", 0, first=8101, prefix="t")
    steer(node, some.endpoints + others.endpoints)
    wait_for(lambda: set(explained(node, "sql")[1].values()) == {"room", "lacks"})
    wait_for(lambda: set(explained(node, "fr")[1].values()) == {"room", "lacks"})
    assert {ask(node, "sql")[0] for _ in range(20)} == {200}
    assert {ask(node, "fr")[0] for _ in range(20)} == {200}
    assert set(loaded(node, "sql")) <= {"s0", "s1"} and set(loaded(node, "fr")) <= {"t0", "t1", "t2"}


def test_of_many_servers(node):
    """In a pool of which eight are drawn, whoever has the adapter is looked at, too. Requests are not followed: 24 servers
    on a busy machine stand still for half a second now and then, and such a one is avoided."""
    sims = Sims(node, 24, "--lora", "sql,fr", "--lora-load", LOAD)
    steer(node, sims.endpoints, saturation={"staleness": "1h"}, follow=False)
    wait_for(lambda: model(node, "sql")["holders"] == 0)
    first = ask(node, "sql")[1]
    wait_for(lambda: model(node, "sql")["holders"] == 1)
    assert collections.Counter(ask(node, "sql")[1] for _ in range(30)) == {first: 30}
    assert len({ask(node, "llama")[1] for _ in range(30)}) > 4


def test_without_a_daemon(node):
    """What is known goes on to hold, and the next daemon knows the adapters by their numbers."""
    sims = Sims(node, 3, "--lora", "sql,fr", "--lora-load", LOAD)
    daemon = steer(node, sims.endpoints, saturation={"staleness": "1h"})
    wait_for(lambda: model(node, "sql")["holders"] == 0)
    first = ask(node, "sql")[1]
    daemon.kill()
    assert {ask(node, "sql")[1] for _ in range(10)} == {first}
    node.steer(sims.endpoints, decide="request", models=MODELS,
               stickiness={"key": "header/x-session-id, none"}, saturation={"staleness": "1h"})
    assert {ask(node, "sql")[1] for _ in range(10)} == {first}
    assert model(node, "sql")["requests"] == 21


# -- with pages of our own ----------------------------------------------------------------


def test_load_has_the_last_word(node):
    """Who has the adapter may be ahead by weights.adapter, and not more; `pintle explain` says so before."""
    p = Pages(node)
    p.show(1, lora(2, ("", "", 1)))
    for running, to in ((7, "s0"), (9, "s1"), (7, "s0")):
        p.show(0, lora(2, ("sql", "", 5)), running=running)
        assert explained(node, "sql") == (to, {"s0": "loaded", "s1": "room"})
        # A request that was placed at s1 makes it one that has it, until its page says otherwise.
        assert went(node, "sql") == to, running
        p.show(1, lora(2, ("", "", 1)))
        wait_for(lambda: loaded(node, "sql") == ["s0"])
        assert went(node, "llama") == "s1"
    node.pintle("set", "pool", "weights.adapter=0")
    wait_for(lambda: node.cli("explain", "pool", "--model", "sql")["chosen"] == "s1")
    assert went(node, "sql") == "s1"
    text = node.pintle("explain", "pool", "--model", "sql").stdout
    assert "adapter:" not in text, text
    assert [e["adapters"] for e in node.cli("endpoints")] == [None, None]
    node.pintle("reset", "pool")
    p.show(1, lora(2, ("", "", 1)))
    wait_for(lambda: "adapter: loaded at 1 of 2" in node.pintle("explain", "pool", "--model", "sql").stdout)


def test_adapters_come_and_go(node):
    """Requests follow the adapter as pages show it."""
    p = Pages(node, 3)
    for i in (0, 1, 2, 0):
        for k in range(3):
            p.show(k, lora(1, ("sql" if k == i else "", "", 7)))
        wait_for(lambda: loaded(node, "sql") == [f"s{i}"])
        assert [went(node, "sql") for _ in range(5)] == 5 * [f"s{i}"]
        assert node.cli("endpoints")[i]["adapters"] == {"loaded": ["sql"], "slots": 1, "used": 1}
    # fr ran last, so it has taken the only slot
    p.show(0, lora(1, ("sql", "", 7), ("fr", "", 8), ("", "", 9)))
    wait_for(lambda: loaded(node, "sql") == [] and loaded(node, "fr") == ["s0"])


def test_a_free_slot(node):
    """Where nobody has it, a server with a free slot may have as much more load."""
    p = Pages(node)
    p.show(0, lora(1, ("fr", "", 5)))
    for running, to in ((7, "s1"), (9, "s0")):
        p.show(1, lora(1, ("sql", "", 1), ("other", "", 2), ("", "", 3)), running=running)
        wait_for(lambda: not loaded(node, "sql"))
        assert explained(node, "sql") == (to, {"s0": "busy", "s1": "room"})
        assert went(node, "sql") == to
        p.show(0, lora(1, ("fr", "", 5)))


def test_names_that_pages_make_up(node):
    """A page can say nothing but that its server has an adapter of `models`: it wins at most the weight."""
    p = Pages(node)
    many = lora(8, *((f"x{i}", f"y{i}", i) for i in range(5000)))
    hostile = [
        many, lora(2, ("sql" * 50000, "", 5)), lora(2, (",".join(["sql"] * 20000), "", 5)),
        lora(4294967296, ("sql", "", 5)), lora(2, ("sql", "", "NaN")), lora(-2, ("sql", "", 5)),
        lora(2, ("sq\\l\\\\", "", 5)), "vllm:lora_requests_info 5\n", lora(2, ("", "", 1)) * 2,
    ]
    for page in hostile:
        p.show(0, page)
        assert not loaded(node, "sql"), page[:200]
        assert went(node, "sql") in ("s0", "s1")
    # The base model as an adapter
    p.show(0, lora(2, ("llama,default", "", 5)), running=7)
    wait_for(lambda: loaded(node, "llama") == ["s0"])
    assert went(node, "llama") == "s0" and went(node, "unknown") == "s1"
    p.show(0, lora(2, ("llama", "", 5)), running=9)
    p.show(1)
    wait_for(lambda: loaded(node, "llama") == ["s0"])
    assert went(node, "llama") == "s1"
    assert p.daemon.process.poll() is None


def test_numbers_are_given_again(node):
    """A name that a reload takes away leaves nothing behind for the next one with its number."""
    p = Pages(node)
    p.show(0, lora(2, ("sql", "", 5)), running=5)
    wait_for(lambda: loaded(node, "sql") == ["s0"])
    config = {"decide": "request", "stickiness": {"key": "header/x-session-id, none"}}
    p.daemon.reload(node.config(node.pool(p.servers, models={"de": "pool", "default": "pool"}, **config)))
    wait_for(lambda: model(node, "de"))
    p.show(1, lora(2, ("de", "", 5)), running=2)
    wait_for(lambda: loaded(node, "de") == ["s1"])
    p.show(1, lora(2, ("", "", 6)), running=2)
    p.daemon.reload(node.config(node.pool(p.servers, models=MODELS, **config)))
    wait_for(lambda: loaded(node, "sql") == ["s0"])
    assert went(node, "sql") == "s0"


def test_a_pool_without_adapters(node):
    """Nothing is known, asked for or counted where no model is named."""
    servers = node.servers(2)
    for s in servers:
        s.be(page=vllm_page() + lora(2, ("sql", "", 5)), models=["llama", "sql"])
    node.steer(servers, decide="request", stickiness={"key": "header/x-session-id, none"})
    for s in servers:
        s.scraped()
    assert [e["adapters"] for e in node.cli("endpoints")] == [None, None]
    assert {c["adapter"] for c in node.cli("explain", "pool")["candidates"]} == {None}


def test_who_asks_for_what_nobody_has(node):
    """A client that asks for adapter after adapter makes servers load them, as it could without Pintle; those of
    others stay preferred by nobody but who names them."""
    sims = Sims(node, 2, "--lora", ",".join(["sql", "fr", *(f"n{i}" for i in range(30))]),
                "--lora-slots", 4, "--lora-load", LOAD)
    models = {**MODELS, **{f"n{i}": "pool" for i in range(30)}}
    steer(node, sims.endpoints, models=models)
    wait_for(lambda: model(node, "n29")["holders"] == 0)
    for i in range(30):
        assert ask(node, f"n{i}", source(1, remote=True))[0] == 200
    with contextlib.suppress(AssertionError):
        wait_for(lambda: sum(model(node, f"n{i}")["holders"] for i in range(30)) <= 8, timeout=5)
    assert sum(model(node, f"n{i}")["holders"] for i in range(30)) <= 8
    assert {ask(node, "sql", source(2, remote=True))[0] for _ in range(5)} == {200}
    assert model(node, "sql")["loaded"] == 4
