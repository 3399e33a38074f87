# SPDX-License-Identifier: Apache-2.0
"""`decide`, set while a pool runs: the hand-off begins and rests, and no connection notices."""
import json
import os
import threading

from clients import FRONTEND, source
from harness import case
from kernel import wait_for
from test_handoff import HANDED, REQUEST, Hashing, ask, filters, handed, hashing, sessions
from test_hold import EMPTY, ByHand, Opened, cut, exchange, holds, none_held
from test_xdp import becomes, natively



def decided(node, decide, pool="pool"):
    said = node.pintle("set", pool, f"decide={decide}")
    assert said.stdout.startswith(f"{pool}: decide {decide}, "), said
    return said


def by_request(node):
    """Whether a connection that comes now is decided by its request."""
    before = sum(handed(node).values())
    assert exchange(node, [REQUEST % b"x"])
    return sum(handed(node).values()) - before


@case(each=("cookies-at-need", "cookies-always"), timeout=180)
def test_under_load(node, cookies):
    """Clients of all kinds ask on while it is set to and fro: none fails, and each setting takes effect. Also while
    the kernel's own handshakes leave no socket until they end, since they are in cookies."""
    node.add_client()
    node.sysctl("net.ipv4.tcp_syncookies", 2 if cookies == "cookies-always" else 1)
    node.steer(hashing(node, 3), **HANDED)
    failed, count, stop = [], [0], threading.Event()
    body = os.urandom(3000)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nX-Session-Id: b\r\nContent-Length: 3000\r\nConnection: close\r\n\r\n" + body

    def load(data, *at):
        while not stop.is_set():
            count[0] += 1
            try:
                got = exchange(node, cut(data, *at), pause=0.01)
            except OSError as e:
                got = e
            if not isinstance(got, str) or "200 OK" not in got:
                failed.append((at, got))

    threads = [threading.Thread(target=load, args=row) for row in (
        (REQUEST % b"a",), (REQUEST % b"a", 30), (post,), (post, len(post) - 3000), (post, 20, 1500))]
    for t in threads:
        t.start()
    try:
        for decide in ("connection", "request") * 6:
            decided(node, decide)
            before = count[0]
            wait_for(lambda: count[0] > before + 10 or failed)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not failed, failed[:3]
    assert by_request(node)
    decided(node, "connection")
    assert not by_request(node)
    assert handed(node)["asked"] > 20 and sum(node.decisions().values()) >= count[0]
    none_held(node)


@case(each=("TC", "XDP"))
def test_what_has_begun_goes_on(node, where):
    """Where the hand-off rests, handshakes that it has begun and headers that it holds end well, by their
    addresses; new ones are the kernel's. Another daemon changes nothing."""
    if where == "XDP":
        natively(node)
    else:
        node.add_client()
    servers = hashing(node, 2)
    daemon = node.steer(servers, **HANDED)
    becomes(node, "native" if where == "XDP" else "peer")
    begin, rest = cut(REQUEST % b"a", 30)
    early = [node.connect(FRONTEND["v4"], remote=True) for _ in range(3)]
    with Opened(node, begin) as c:
        warned = decided(node, "connection").stderr
        assert "what stickiness says of requests rests; write decide: request" in warned, warned
        assert c.more(rest).endswith(EMPTY)

    def more(c):
        assert c.ask(close=True, headers={"X-Session-Id": "a"})
        c.close()

    more(early.pop())
    assert handed(node) == {"not_said": 2} and holds(node) == {"joined": 1}
    assert filters(node) == {"lo", "veth0"}
    assert not by_request(node)
    assert not [s for s in sessions(node) if s.startswith("request:")]
    daemon.kill()
    more(early.pop())
    assert not by_request(node)
    daemon = node.daemon(node.config(node.pool(servers, **HANDED)))
    more(early.pop())
    assert handed(node) == {"not_said": 4} and not by_request(node)
    daemon.config.write_text(node.config(node.pool(servers, **{**HANDED, "decide": "connection"})))
    node.pintle("reload")
    assert "pool: decide connection, as configured" in node.pintle("reset", "pool", "decide").stdout
    assert not by_request(node) and filters(node)
    daemon.reload(node.config(node.pool(servers, **HANDED)))
    wait_for(lambda: by_request(node))


@case(each=("TC", "XDP"))
def test_cookies_of_the_kernel(node, where):
    """Where the hand-off rests, or is in mode off, connections whose handshake is in a cookie of the kernel's
    own are left to it."""
    if where == "XDP":
        natively(node)
    else:
        node.add_client()
    node.sysctl("net.ipv4.tcp_syncookies", 2)
    node.steer(node.servers(2), **HANDED)
    node.server("own", FRONTEND["v4"])
    becomes(node, "native" if where == "XDP" else "peer")
    assert ask(node, {"X-Session-Id": "a"}) in ("s0", "s1")
    decided(node, "connection")
    for i in range(5):
        assert ask(node, {"X-Session-Id": "a"}, source(i + 1, remote=True)) in ("s0", "s1")
    node.pintle("mode", "pool", "off")
    assert ask(node, {"X-Session-Id": "a"}) == "own"
    decided(node, "request")
    assert ask(node, {"X-Session-Id": "a"}) == "own"
    node.pintle("mode", "pool", "enforce")
    assert ask(node, {"X-Session-Id": "a"}) in ("s0", "s1")
    assert handed(node) == {"asked": 2}


@case(each=("TC", "XDP"))
def test_a_handshake_of_the_kernel_goes_on(node, where):
    """Connections that the kernel has begun with a cookie of its own are left to it when the hand-off begins, also
    where the client's ACK is lost; connections that nobody has begun are not."""
    if where == "XDP":
        natively(node)
    else:
        node.add_client()
    node.sysctl("net.ipv4.tcp_syncookies", 2)
    node.steer(hashing(node, 2), **HANDED)
    becomes(node, "native" if where == "XDP" else "peer")
    decided(node, "connection")
    with ByHand(node, 45010, acks=False) as one, ByHand(node, 45011, acks=False) as other:
        decided(node, "request")
        one.send(0)
        for client in (one, other):
            client.send(0, REQUEST % b"a")
            assert EMPTY in client.answer()
            client.send(len(REQUEST % b"a"), flags="RST")
    assert not handed(node) and sum(node.decisions().values()) == 2
    assert by_request(node)


@case(each=("TC off", "XDP off", "TC off and back", "TC rests", "TC models"))
def test_a_handshake_of_the_kernel_outlives_a_mode(node, how):
    """A connection that the kernel has begun with a cookie of its own stays with the listener that its SYN went to,
    while the mode goes to and fro before its request comes. The next one is decided by its request again."""
    if "XDP" in how:
        natively(node)
    else:
        node.add_client()
    node.sysctl("net.ipv4.tcp_syncookies", 2)
    servers = hashing(node, 2)
    own = Hashing(node, "own", 8000)
    pools = [node.pool(servers, **HANDED)]
    if how == "TC models":
        pools[0]["models"] = {"default": "other"}
        pools.append(node.pool(servers[1:], "other", frontends=[], announce=False))
        pools[0]["endpoints"].pop()
    node.daemon(node.config(*pools))
    becomes(node, "native" if "XDP" in how else "peer")
    if how == "TC rests":
        decided(node, "connection")
    else:
        node.pintle("mode", "pool", "off")
    with ByHand(node, 45012, acks=False) as one, ByHand(node, 45013, acks=False) as other:
        if how == "TC rests":
            node.pintle("mode", "pool", "off")
        else:
            node.pintle("mode", "pool", "enforce")
        if how == "TC off and back":
            decided(node, "connection")
        one.send(0)
        for client in (one, other):
            client.send(0, REQUEST % b"a")
            said = client.answer()
            assert EMPTY in said and (own.name in said) == (how != "TC rests"), said
            client.send(len(REQUEST % b"a"), flags="RST")
    assert not handed(node)
    node.pintle("mode", "pool", "enforce")
    if how in ("TC off and back", "TC rests"):
        decided(node, "request")
    assert by_request(node)


def test_prepared(node):
    """A pool whose file says `decide: connection` may have the keys of requests, and be set to try them."""
    node.add_client()
    servers = node.servers(2)
    node.steer(servers, decide="connection")
    node.pintle("set", "pool", "stickiness.key=header/x-session-id, source")
    assert ask(node, {"X-Session-Id": "a"}) and not handed(node)
    decided(node, "request")
    assert ask(node, {"X-Session-Id": "a"}) and handed(node) == {"asked": 1}
    assert "as configured" in node.pintle("reset", "pool", "decide").stdout
    assert ask(node, {"X-Session-Id": "a"}) and handed(node) == {"asked": 1}


def test_refused(node):
    """What cannot be decided by request is not set, and the message says why."""
    servers = node.servers(1)
    far = node.pool([], "far", frontends=["10.99.0.1:80"], announce=False, endpoints=[
        {"name": "a", "address": "127.0.0.1:9001"}])
    models = node.pool(servers, "models", decide="request", models={"x": "models"})
    plain = node.pool([], "plain", frontends=["10.99.0.2:80"], announce=False, stickiness={"key": "source"},
                      endpoints=[{"name": "a", "listen": "127.0.0.1:9002"}])
    node.daemon(node.config(far, models, plain))
    for pool, value, says in (
        ("far", "decide=request", "which no pod of this node has"),
        ("plain", "decide=request", "stickiness.key names nothing of a request"),
        ("plain", "stickiness.key=header/x, source", "write decide: request"),
        ("models", "decide=connection", "models needs requests, but connections are decided before one comes"),
        ("plain", "decide=never", "write one of connection, request"),
    ):
        result = node.pintle("set", pool, value, check=False)
        assert result.returncode == 2 and says in result.stderr, (pool, value, result)
    assert json.loads(node.pintle("diff", "-o", "json").stdout) == []
