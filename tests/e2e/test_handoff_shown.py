# SPDX-License-Identifier: Apache-2.0
"""What `status`, /metrics, `doctor` and `check` say of pools with decide: request."""
import json

import tc
from harness import case
from kernel import wait_for
from test_handoff import HANDED, REQUEST, hashing
from test_hold import Opened, cut
from test_prompts import PREFIX, ask_prompt, believed, text
from test_settings import diff


def status(node, key):
    return node.cli("status")[0][key]


def test_held(node):
    """Connections that are held are counted, and no longer when they have gone."""
    node.add_client()
    daemon = node.steer(hashing(node, 1), **HANDED)
    begin, rest = cut(REQUEST % b"a", 30)
    with Opened(node, begin) as a, Opened(node, begin) as b:
        wait_for(lambda: status(node, "handoff_held") == 2)
        assert "2 connections held, of 1024" in node.pintle("status").stdout
        assert daemon.metric("pintle_handoff_held_connections") == 2
        assert a.more(rest) and b.more(rest)
    wait_for(lambda: status(node, "handoff_held") == 0)
    assert "held, of" not in node.pintle("status").stdout


@case(timeout=90)
def test_prefix_entries(node):
    """What is known of prompts is counted, and how full the table is."""
    servers = hashing(node, 1)
    daemon = node.steer(servers, **PREFIX)
    believed(node)
    ask_prompt(node, text(3000))
    daemon.stop()
    daemon = node.daemon(daemon.config.read_text())
    wait_for(lambda: status(node, "prefix_entries") >= 10, 30)
    said = node.pintle("status").stdout
    assert f"{status(node, 'prefix_entries')} beginnings of prompts known, of 262144" in said, said
    assert daemon.metric("pintle_prefix_entries") == status(node, "prefix_entries")
    assert daemon.metric("pintle_map_fill_ratio", map="prefixes") < 0.01


def test_pools(node):
    """What names the sessions of a pool is shown as it holds now, with what else stickiness says of requests."""
    daemon = node.steer(hashing(node, 1), decide="request", stickiness={
        "key": ["header/X-Session-Id", "cookie/sid", "authorization", "source/24"], "shared": True, "maxExtraLoad": "auto"})

    def shows(decide, key, shared, prefix):
        (pool,) = node.cli("pools")
        assert (pool["decide"], pool["session_key"], pool["shared"], pool["prefix"]) == (decide, key, shared, prefix), pool
        assert pool["session_key_bits_v4"] == (24 if "source" in key else 0), pool
        words = [key, *["shared"] * shared, *["prefix"] * prefix]
        assert node.pintle("pools").stdout.endswith("  " + " ".join(words) + "\n")
        assert daemon.metric("pintle_pool_info", pool="pool", hook="lookup", key=key, decide=decide,
                             shared=str(shared).lower(), prefix=str(prefix).lower()) == 1

    shows("request", "header/x-session-id,cookie/sid,authorization,source", True, False)
    for value in ("stickiness.key=cookie/a, none", "stickiness.shared=false", "stickiness.prefix=true"):
        node.pintle("set", "pool", value)
    shows("request", "cookie/a,none", False, True)
    node.pintle("set", "pool", "weights.prefix=0")  # so that prompts are not looked at
    shows("request", "cookie/a,none", False, False)
    node.pintle("set", "pool", "decide=connection")
    shows("connection", "none", False, False)
    file = "header/X-Session-Id, cookie/sid, authorization, source/24"
    assert diff(node, status=1)["pool", "stickiness.key"]["file"] == file


def found(node):
    """{(result, what was found)} of the doctor's checks of the hand-off."""
    rows = json.loads(node.pintle("doctor", "-o", "json", check=False).stdout)
    return {(row["result"], row["found"]) for row in rows}


def test_doctor(node):
    """It names programs that see packets first, and what the steered namespace must not have."""
    node.add_client()
    node.steer(node.servers(1), **HANDED)
    assert not [f for f in found(node) if "before the hand-off" in f[1]]
    assert [f for f in found(node) if "only the first request of a connection is decided" in f[1]]
    node.pintle("set", "pool", "requests=one-per-connection")
    assert not [f for f in found(node) if "only the first request of a connection is decided" in f[1]]
    node.sysctl("net.ipv4.tcp_syncookies", 0)
    assert [f for f in found(node) if f[0] == "fail" and "net.ipv4.tcp_syncookies is 0" in f[1]]


EVERYTHING = ["prio", "3", "u32", "match", "u32", "0", "0", "classid", "1:1"]


@case(each=("filter", "tcx"))
def test_doctor_names_who_is_before(node, how):
    """A filter, or a program of tcx, that was there first; one that comes later is behind the hand-off."""
    node.add_client()
    node.ip("link", "add", "later", "type", "veth", "peer", "name", "end")
    take = tc.load_neighbours(node) / "take"
    if how == "filter":
        node.run("tc", "qdisc", "add", "dev", "veth0", "clsact")
        node.run("tc", "filter", "add", "dev", "veth0", "ingress", *EVERYTHING)
    else:
        tc.attach(node.netns, "veth0", "ingress", take)
    node.steer(node.servers(1), **HANDED)
    node.run("tc", "qdisc", "add", "dev", "later", "clsact")
    node.run("tc", "filter", "add", "dev", "later", "ingress", *EVERYTHING)
    tc.attach(node.netns, "end", "ingress", take)
    (said,) = (f for f in found(node) if "before the hand-off" in f[1])
    name = "another TC filter" if how == "filter" else "take"
    assert said == ("warn", f"veth0: {name} sees packets before the hand-off; connections that it takes are "
                    "decided by their addresses"), said


def test_check(node):
    """It says in one line who decides in such a pool, and of no other anything."""
    servers = [{"name": "a", "listen": "8001"}]
    models = {"decide": "request", "models": {"x": "pool", "default": "pool"}}
    for keys, says in ((HANDED, "pool: decided by its session, of clients that speak HTTP/1.1 in clear"), ({}, None),
                       ({**HANDED, "requests": "as-they-come"}, ", on the first request of each connection\n"),
                       (models, "decided by its session (agent), its model, of"),
                       ({**models, "stickiness": {"key": "source"}}, "decided by its model, of"),
                       ({"decide": "request"}, "decided by its session (agent), of"),
                       ({"decide": "request", "stickiness": {"key": "body/user, agent"}},
                        "decided by its session (agent), of"),
                       ({**models, "stickiness": {**HANDED["stickiness"], "prefix": True, "maxExtraLoad": "auto"}},
                        "decided by its session, its model, its prompt, of")):
        path = node.write("c.yaml", node.config(node.pool(servers, **keys)))
        said = node.pintle("check", path).stdout
        assert (says in said and said.count("\n") == 2) if says else said.count("\n") == 1, said
