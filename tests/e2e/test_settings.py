# SPDX-License-Identifier: Apache-2.0
"""Keys of pools, set while they run: over reload, restart and reset; what differs from the file; reloads
and what becomes of them."""
import json
import time
from pathlib import Path

from clients import FRONTEND
from kernel import wait_for

# pool -> {key: (a value other than the file's, the file's)}
KEYS = {
    "pool": {
        "mode": ("baseline", "enforce"), "requests": ("one-per-connection", "as-they-come"),
        "failureMode": ("FailClose", "FailOpen"), "spareHeaders": ("Accept-Language", "Accept-Encoding, User-Agent"),
        "http10": ("true", "false"), "scrape.interval": ("90ms", "50ms"), "scrape.timeout": ("900ms", "1s"),
        "stickiness.key": ("source/24", "source"), "stickiness.group": ("source/16", "none"),
        "stickiness.ttl": ("100s", "300s"), "stickiness.maxExtraLoad": ("7", "16"),
        "weights.queue": ("3", "2"), "weights.kvCache": ("1.5", "2"), "weights.running": ("4", "1"),
        "weights.gpu": ("5", "0"), "saturation.queueDepth": ("9", "5"), "saturation.kvCache": ("0.7", "0.8"),
        "saturation.staleness": ("3s", "2s"), "dcgm.interval": ("7s", "5s"),
    },
    "pods": {
        "stickiness.key": ("hint", "client"), "stickiness.shared": ("true", "false"),
        "ejection.failures": ("8", "3"), "ejection.time": ("11s", "10s"), "ejection.maxTime": ("6m", "5m"),
        "ejection.maxShare": ("0.4", "0.5"),
    },
}
# What `pintle pools` shows of them.
SHOWN = {
    ("pool", "mode"): ("mode", "baseline"), ("pool", "requests"): ("requests", "one-per-connection"),
    ("pool", "failureMode"): ("failure_mode", "FailClose"), ("pool", "stickiness.key"): ("session_key_bits_v4", 24),
    ("pool", "stickiness.group"): ("group", "source"), ("pool", "stickiness.ttl"): ("ttl_seconds", 100),
    ("pool", "stickiness.maxExtraLoad"): ("max_extra_load", 7),
    ("pool", "saturation.staleness"): ("staleness_seconds", 3), ("pods", "stickiness.key"): ("session_key", "hint"),
}
ALL = {(pool, key): values for pool, keys in KEYS.items() for key, values in keys.items()}


def pools(node, servers, **more):
    """A pool of each hook; the second one's servers are nowhere."""
    for s in servers:
        s["gpu"] = {"index": 0}
    return (
        node.pool([], endpoints=servers, dcgm={"url": "http://127.0.0.1:9/metrics"}, **more),
        node.pool([], "pods", frontends=["10.99.0.1:80"], announce=False,
                  endpoints=[{"name": "a", "address": "127.0.0.1:9001"}, {"name": "b", "address": "127.0.0.1:9002"}]),
    )


def diff(node, *words, status):
    """{(pool, key): row}"""
    result = node.pintle("diff", *words, "-o", "json", check=False)
    assert result.returncode == status, result
    return {(row["pool"], row["key"]): row for row in json.loads(result.stdout)}


def shown(node, pool, column):
    (row,) = (r for r in node.cli("pools") if r["name"] == pool)
    return row[column]


def all_hold(node):
    rows = diff(node, status=1)
    assert set(rows) == set(ALL), set(rows) ^ set(ALL)
    for at, (value, file) in ALL.items():
        row = rows[at]
        assert (row["set"], row["runs"], row["state"]) == (value, value, "holds"), row
        assert row["file"] == file, row
    for (pool, key), (column, value) in SHOWN.items():
        assert shown(node, pool, column) == value, (pool, key)


def test_every_key(node):
    """Each key that can be set: over a reload, a restart and a death; and taken back."""
    endpoints = [{"name": f"s{i}", "listen": f"127.0.0.1:{8001 + i}"} for i in range(2)]
    node.servers(2)
    config = node.config(*pools(node, endpoints))
    daemon = node.daemon(config)
    completion = node.pintle("completion", "bash").stdout
    (keys,) = (line for line in completion.splitlines() if line.startswith("\treset,1) "))
    assert set(keys.split('"')[1].split()) == {key for _, key in ALL}, "a key lacks its row here"
    assert diff(node, status=0) == {}
    for (pool, key), (value, _) in ALL.items():
        said = node.pintle("set", pool, f"{key}={value}").stdout
        assert said.startswith(f"{pool}: {key} {value}, until it is set again or `pintle reset`"), said
    all_hold(node)
    Path(daemon.config).write_text(config.replace('"127.0.0.1:9/metrics"', '"127.0.0.1:10/metrics"'))
    assert node.pintle("reload").stdout == f"reloaded {daemon.config}\n"
    all_hold(node)
    daemon.stop()
    all_hold(node)
    daemon = node.daemon(config)
    all_hold(node)
    daemon.kill()
    daemon = node.daemon(config)
    all_hold(node)
    node.pintle("reset", "pods")
    rows = diff(node, status=1)
    assert {pool for pool, _ in rows} == {"pool"} and len(rows) == len(KEYS["pool"]), rows
    for key in ("weights.queue", "mode"):
        assert f"pool: {key} {KEYS['pool'][key][1]}, as configured" in node.pintle("reset", "pool", key).stdout
        assert ("pool", key) not in diff(node, status=1)
    node.pintle("reset")
    assert diff(node, status=0) == {}
    for (pool, key), (column, value) in SHOWN.items():
        assert shown(node, pool, column) != value, (pool, key)
    assert node.ask(FRONTEND["v4"])
    daemon.stop()
