# SPDX-License-Identifier: Apache-2.0
"""Keys of pools, set while they run: over reload, restart and reset; what differs from the file; reloads
and what becomes of them."""
import concurrent.futures
import json
from pathlib import Path

from clients import FRONTEND
from harness import case
from kernel import BUILD, wait_for

# pool -> {key: (a value other than the file's, the file's)}
KEYS = {
    "pool": {
        "mode": ("baseline", "enforce"), "requests": ("one-per-connection", "as-they-come"),
        "failureMode": ("FailClose", "FailOpen"), "spareHeaders": ("Accept-Language", "Accept-Encoding, User-Agent"),
        "http10": ("true", "false"), "scrape.interval": ("90ms", "50ms"), "scrape.idle": ("7s", "50ms"), "scrape.timeout": ("900ms", "1s"),
        "stickiness.key": ("source/24", "source"), "stickiness.group": ("source/16", "none"),
        "stickiness.ttl": ("100s", "300s"), "stickiness.maxExtraLoad": ("7", "16"),
        "weights.queue": ("3", "2"), "weights.kvCache": ("1.5", "2"), "weights.running": ("4", "1"),
        "weights.gpu": ("5", "0"), "saturation.queueDepth": ("9", "5"), "saturation.kvCache": ("0.7", "0.8"),
        "saturation.staleness": ("3s", "2s"), "dcgm.interval": ("7s", "5s"),
        "follow": ("false", "true"), "startup": ("9m", "10m"), "health.interval": ("6s", "5s"),
        "health.timeout": ("3s", "2s"), "health.expect": ("204", "200"), "health.failures": ("3", "2"),
        "slowStart": ("20s", "0s"),
    },
    "pods": {
        "stickiness.key": ("hint", "client"), "stickiness.shared": ("true", "false"),
        "ejection.failures": ("8", "3"), "ejection.time": ("11s", "10s"), "ejection.maxTime": ("6m", "5m"),
        "ejection.maxShare": ("0.4", "0.5"), "intercept": ("endpoints", "none"),
        "locality.preferSameNode": ("true", "false"), "locality.preferSameZone": ("true", "false"),
        "locality.maxExtraLoad": ("3", "4"), "canary.percent": ("20", "5"),
    },
    "asked": {"decide": ("connection", "request"), "stickiness.prefix": ("true", "false"),
              "weights.prefix": ("2", "1.5"), "weights.adapter": ("3", "8")},
}
# Their columns in `pintle pools`.
SHOWN = {
    ("pool", "mode"): ("mode", "baseline"), ("pool", "requests"): ("requests", "one-per-connection"),
    ("pool", "failureMode"): ("failure_mode", "FailClose"), ("pool", "stickiness.key"): ("session_key_bits_v4", 24),
    ("pool", "stickiness.group"): ("group", "source"), ("pool", "stickiness.ttl"): ("ttl_seconds", 100),
    ("pool", "stickiness.maxExtraLoad"): ("max_extra_load", 7),
    ("pool", "saturation.staleness"): ("staleness_seconds", 3), ("pods", "stickiness.key"): ("session_key", "hint"),
    ("pods", "intercept"): ("intercepts", True),
}
ALL = {(pool, key): values for pool, keys in KEYS.items() for key, values in keys.items()}


def pools(node, servers, **more):
    """A pool of each hook; the second one's servers are nowhere."""
    for s in servers:
        s["gpu"] = {"index": 0}
    return (
        node.pool([], endpoints=servers, dcgm={"url": "http://127.0.0.1:9/metrics"}, health={"path": "/health"},
                  **more),
        node.pool([], "pods", frontends=["10.99.0.1:80"], announce=False,
                  endpoints=[{"name": "a", "address": "127.0.0.1:9001"}, {"name": "b", "address": "127.0.0.1:9002"}]),
    )


def diff(node, *words, status):
    """{(pool, key): row}"""
    result = node.pintle("diff", *words, "-o", "json", check=False)
    assert result.returncode == status, result
    return {(row["pool"], row["key"]): row for row in json.loads(result.stdout)}


def shown(node, pool, column):
    return all_shown(node)[pool][column]


def all_shown(node):
    return {row["name"]: row for row in node.cli("pools")}


def all_hold(node):
    rows = diff(node, status=1)
    assert set(rows) == set(ALL), set(rows) ^ set(ALL)
    for at, (value, file) in ALL.items():
        row = rows[at]
        assert (row["set"], row["runs"], row["state"]) == (value, value, "holds"), row
        assert row["file"] == file, row
    rows = all_shown(node)
    for (pool, key), (column, value) in SHOWN.items():
        assert rows[pool][column] == value, (pool, key)


@case(timeout=180)
def test_every_key(node):
    """Each key that can be set: over a reload, a restart and a death; and taken back."""
    endpoints = [{"name": f"s{i}", "listen": f"127.0.0.1:{8001 + i}"} for i in range(2)]
    node.servers(2)
    pool, pods = pools(node, endpoints)
    pods["canary"] = {"pool": "next", "percent": 5}
    config = node.config(pool, pods, node.pool([], "next", frontends=[], announce=False, endpoints=[
        {"name": "c", "address": "127.0.0.1:9003"}]), node.pool(
            [], "asked", frontends=["10.99.0.2:80"], announce=False, endpoints=[{"name": "d", "listen": "127.0.0.1:9004"}],
            decide="request", stickiness={"key": "header/x-session-id, source", "maxExtraLoad": "auto"}))
    daemon = node.daemon(config)
    completion = node.pintle("completion", "bash").stdout
    (keys,) = (line for line in completion.splitlines() if line.startswith("\treset,1) "))
    assert set(keys.split('"')[1].split()) == {key for _, key in ALL}, "a key lacks its row here"
    assert diff(node, status=0) == {}

    def set_all(pool):
        """Each waits until pintled has looked."""
        for key, (value, _) in KEYS[pool].items():
            said = node.pintle("set", pool, f"{key}={value}").stdout
            assert said.startswith(f"{pool}: {key} {value}, until it is set again or `pintle reset`"), said

    with concurrent.futures.ThreadPoolExecutor() as pools_at_once:
        list(pools_at_once.map(set_all, KEYS))
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
    assert set(rows) == {at for at in ALL if at[0] != "pods"}, rows
    for key in ("weights.queue", "mode"):
        assert f"pool: {key} {KEYS['pool'][key][1]}, as configured" in node.pintle("reset", "pool", key).stdout
        assert ("pool", key) not in diff(node, status=1)
    node.pintle("reset")
    assert diff(node, status=0) == {}
    rows = all_shown(node)
    for (pool, key), (column, value) in SHOWN.items():
        assert rows[pool][column] != value, (pool, key)
    assert node.ask(FRONTEND["v4"])
    daemon.stop()


def refused(node, *words, status):
    """The message of a `pintle` that fails."""
    result = node.pintle(*words, check=False)
    assert result.returncode == status, result
    return result.stderr


def steer(node, count=1, **more):
    """(daemon, its configuration's text) with a pool of the lookup hook."""
    config = node.config(node.pool(node.servers(count), **more))
    return node.daemon(config), config


def test_takes_effect(node):
    """A value holds for connections at once: none is refused, or each is, while nobody serves."""
    server, = node.servers(1)
    node.daemon(node.config(node.pool([server], failureMode="FailClose")))
    server.kill()
    own = node.server("own", FRONTEND["v4"])

    def answered():
        try:
            return node.ask(FRONTEND["v4"])
        except OSError:
            return None

    wait_for(lambda: answered() is None)
    node.pintle("set", "pool", "failureMode=FailOpen")
    assert answered() == "own"
    node.pintle("reset", "pool", "failureMode")
    assert answered() is None
    own.end()


def test_without_the_daemon(node):
    """Without the daemon `mode` holds at once, other keys when it starts; until then the old values
    hold."""
    daemon, config = steer(node)
    node.pintle("set", "pool", "stickiness.ttl=50s")
    daemon.stop()
    wait_for(lambda: not node.cli("status")[0]["daemon_alive"])
    assert "mode baseline, until it is set again or `pintle reset`\n" in node.pintle("mode", "pool", "baseline").stdout
    node.ask(FRONTEND["v4"])
    assert node.decisions() == {"random": 1}
    for value, was in (("weights.queue=7", "2"), ("stickiness.ttl=60s", "50s")):
        said = node.pintle("set", "pool", value).stdout
        assert "; takes effect when pintled starts" in said, said
        row = diff(node, status=1)["pool", value.split("=")[0]]
        assert (row["state"], row["runs"]) == ("waits", was), row
    assert shown(node, "pool", "ttl_seconds") == 50
    assert "60s for" in node.pintle("status").stdout and "waits for pintled" in node.pintle("status").stdout
    assert "pintled does not run" in refused(node, "reload", status=1)
    daemon = node.daemon(config)
    rows = diff(node, status=1)
    assert {row["state"] for row in rows.values()} == {"holds"} and len(rows) == 3, rows
    assert shown(node, "pool", "ttl_seconds") == 60
    daemon.kill()
    wait_for(lambda: not node.cli("status")[0]["daemon_alive"])
    said = node.pintle("reset").stdout
    assert "pool: stickiness.ttl 300s, as configured; takes effect when pintled starts\n" in said, said
    assert "pool: mode enforce, as configured\n" in said, said
    row = diff(node, status=1)["pool", "stickiness.ttl"]
    assert (row["set"], row["runs"], row["state"]) == (None, "60s", "waits"), row
    assert "stickiness.ttl 60s still, taken back for" in node.pintle("status").stdout
    node.daemon(config)
    assert diff(node, status=0) == {} and shown(node, "pool", "ttl_seconds") == 300


def test_checked_with_the_file(node):
    """A setting that the file's check refuses gets the same message, and nothing is written."""
    daemon, config = steer(node)
    path = Path(daemon.config)
    for value, says in (
        ("stickiness.key=mark", "stickiness.key is mark, which Pintle cannot see for endpoints with listen"),
        ("stickiness.shared=true", "stickiness.shared is for sessions that clients name"),
        ("dcgm.interval=1s", "pool pool has no dcgm; write dcgm into"),
        ("stickiness.ttl=never", 'stickiness.ttl is "never", which is no duration'),
        ("endpoints=1", "cannot change by itself while the pool runs"),
        ("weights.kvcache=1", "did you mean weights.kvCache?"),
    ):
        assert says in refused(node, "set", "pool", value, status=2), value
    assert diff(node, status=0) == {}
    said = node.pintle("set", "pool", "weights.running=0")
    assert "warn: with weights.running 0" in said.stderr, said
    # The file must be readable and valid.
    path.write_text(config.replace("vllm", "nosuch"))
    said = refused(node, "set", "pool", "weights.queue=3", status=1)
    assert f"{path}:" in said and "nothing was set" in said, said
    path.rename(path.with_suffix(".away"))
    said = refused(node, "set", "pool", "weights.queue=3", status=1)
    assert "cannot be read: No such file" in said and "nothing was set" in said, said
    node.pintle("set", "pool", "mode=off")
    assert shown(node, "pool", "mode") == "off"
    path.with_suffix(".away").rename(path)


def test_daemon_of_an_older_file(node):
    """Where the file was edited, and not reloaded, pintled has the last word; what was before is again."""
    daemon, config = steer(node)
    node.pintle("set", "pool", "stickiness.ttl=50s")
    addresses = node.config(node.pool([], endpoints=[{"name": "a", "address": "127.0.0.1:9001"}], announce=False))
    Path(daemon.config).write_text(addresses)
    said = refused(node, "set", "pool", "stickiness.key=mark", status=1)
    assert "pintled refused it, and it is as it was before: " in said, said
    assert "for endpoints with listen" in said, said
    rows = diff(node, status=1)
    assert list(rows) == [("pool", "stickiness.ttl")], rows
    assert "was changed after pintled read it" in node.pintle("diff", check=False).stderr
    # What only the edited file says has to be set, and what that refuses is refused with a word on it.
    Path(daemon.config).write_text(config.replace('interval: "50ms"', 'interval: "70ms"'))
    assert ", until it is set again" in node.pintle("set", "pool", "scrape.interval=70ms").stdout
    (said,) = (o for o in node.cli("status")[0]["overrides"] if o["setting"] == "scrape.interval")
    assert (said["value"], said["configured"], said["state"]) == ("70ms", "50ms", "holds"), said
    assert "is not what pintled read" in refused(node, "set", "pool", "stickiness.key=mark", status=2)
    Path(daemon.config).write_text(config)
    assert "was changed" not in node.pintle("diff", check=False).stderr


def test_file_that_changes(node):
    """A new file leaves what was set; what does not go with it does not hold, is told, and holds again."""
    servers = node.servers(1)
    hint = node.pool([], "pods", frontends=["10.99.0.1:80"], announce=False, stickiness={"key": "hint"},
                     endpoints=[{"name": "a", "address": "127.0.0.1:9001"}])
    both = node.config(node.pool(servers), hint)
    daemon = node.daemon(both)
    node.pintle("set", "pods", "stickiness.shared=true")
    node.pintle("set", "pods", "stickiness.ttl=50s")
    node.pintle("set", "pool", "stickiness.ttl=60s")
    path = Path(daemon.config)

    def reload(config):
        path.write_text(config)
        assert node.pintle("reload").stdout == f"reloaded {path}\n"
        return {key: row["state"] for key, row in diff(node, status=1).items()}

    holds = dict.fromkeys([("pods", "stickiness.shared"), ("pods", "stickiness.ttl"), ("pool", "stickiness.ttl")], "holds")
    client = node.config(node.pool(servers), {**hint, "stickiness": {"key": "client", "ttl": "1m"}})
    assert reload(client) == {**holds, ("pods", "stickiness.shared"): "refused"}
    row = diff(node, status=1)["pods", "stickiness.shared"]
    assert (row["set"], row["runs"], row["file"]) == ("true", "false", "false") and "key: hint" in row["why"], row
    assert "pods: stickiness.shared is set to true, which does not hold" in node.pintle("status").stdout
    assert diff(node, status=1)["pods", "stickiness.ttl"]["file"] == "1m"
    # a pool is removed, with a restart, and comes back
    alone = node.config(node.pool(servers))
    assert reload(alone) == {("pool", "stickiness.ttl"): "holds", ("pods", "stickiness.shared"): "refused",
                             ("pods", "stickiness.ttl"): "refused"}
    assert 'the configuration has no pool "pods"' in node.pintle("status").stdout
    daemon.stop()
    daemon = node.daemon(alone)
    path = Path(daemon.config)
    assert shown(node, "pool", "ttl_seconds") == 60
    assert reload(both) == holds
    assert shown(node, "pods", "ttl_seconds") == 50
    # the file has the same value
    assert reload(both.replace('key: "hint"', 'key: "hint"\n      shared: true')) == {
        key: state for key, state in holds.items() if key != ("pods", "stickiness.shared")}
    assert "pods: stickiness.ttl 300s, as configured" in node.pintle("reset", "pods").stdout
    assert list(diff(node, status=1)) == [("pool", "stickiness.ttl")]


def test_reload(node):
    """The verdict, whoever asks; a refused file is told as long as no good one came."""
    daemon, config = steer(node)
    path = Path(daemon.config)

    def warned():
        return "the newest reload failed" in node.pintle("status").stdout

    assert node.pintle("reload").stdout == f"reloaded {path}\n" and not warned()
    path.write_text(config.replace("vllm", "nosuch"))
    said = refused(node, "reload", status=1)
    assert f"not reloaded, the former configuration still runs: {path}:" in said and '"nosuch"' in said, said
    assert warned() and node.ask(FRONTEND["v4"]) == "s0"
    assert "was changed after pintled read it" in node.pintle("diff", check=False).stderr
    # what is set still is, and settings are taken by the file that runs
    node.pintle("mode", "pool", "baseline")
    path.write_text(config)
    node.pintle("set", "pool", "weights.queue=3")
    assert warned()
    daemon.reload()
    wait_for(lambda: not warned())
    path.write_text("- nonsense\n")
    daemon.reload()
    wait_for(warned)
    # what fails in the middle, in the daemon's own words
    path.write_text(config.replace("announce: true", "announce: true\n    failureMode: FailClose").replace(
        'name: "s0"', 'name: "s0"\n        user: "nobody-knows"'))
    said = refused(node, "reload", status=1)
    assert "there is no user 'nobody-knows' on this machine" in said, said
    assert shown(node, "pool", "failure_mode") == "FailOpen"
    path.write_text(config)
    node.pintle("reload")
    assert not warned() and list(diff(node, status=1)) == [("pool", "mode"), ("pool", "weights.queue")]


def test_what_cannot_be_applied(node):
    """The check lets it pass, and the kernel does not: it is refused and taken back; the rest holds."""
    alone = node.write("alone.bpf.c", """
        #include <linux/bpf.h>
        __attribute__((section("cgroup/setsockopt"), used)) int alone(void *ctx) { return 1; }
        char name[] __attribute__((section("license"), used)) = "GPL";
        """)
    pin = node.bpf_mount / "alone"
    config = node.config(*pools(node, [{"name": "s0", "listen": "127.0.0.1:8001"}]))
    daemon = node.daemon(config)
    node.run("bpftool", "prog", "load", node.compile_bpf(alone), pin, "type", "cgroup/setsockopt")
    node.run("bpftool", "cgroup", "attach", node.cgroup, "cgroup_setsockopt", "pinned", pin)  # and no other
    try:
        node.pintle("set", "pods", "stickiness.ttl=50s")
        said = refused(node, "set", "pods", "stickiness.key=hint", status=1)
        assert "pintled refused it, and it is as it was before: " in said and "program alone" in said, said
        assert shown(node, "pods", "session_key") == "client" and shown(node, "pods", "ttl_seconds") == 50
        assert list(diff(node, status=1)) == [("pods", "stickiness.ttl")]
        node.pintle("set", "pods", "stickiness.key=mark")
        said = refused(node, "set", "pods", "stickiness.key=hint", status=1)
        assert diff(node, status=1)["pods", "stickiness.key"]["runs"] == "mark"
        assert shown(node, "pods", "session_key") == "mark"
        # nor is it taken back, where the file says what the kernel refuses
        first, pods = config.split('name: "pods"')
        pods = pods.replace("maxExtraLoad:", "key: hint\n      maxExtraLoad:")
        Path(daemon.config).write_text(f'{first}name: "pods"{pods}')
        node.pintle("reload")
        for words in (["reset", "pods", "stickiness.key"], ["set", "pods", "stickiness.key=hint"], ["reset"]):
            said = refused(node, *words, status=1)
            assert "what was set still runs: failed to attach pintle_hint" in said, (words, said)
            assert shown(node, "pods", "session_key") == "mark"
        row = diff(node, status=1)["pods", "stickiness.key"]
        assert (row["set"], row["runs"], row["file"]) == (None, "mark", "hint") and "program alone" in row["why"], row
        assert "pods: stickiness.key is mark still, though it was taken back: failed to" in node.pintle("status").stdout
        assert "program alone" in refused(node, "reload", status=1)
        assert shown(node, "pods", "session_key") == "mark"
    finally:
        node.run("bpftool", "cgroup", "detach", node.cgroup, "cgroup_setsockopt", "pinned", pin)
    node.pintle("reload")
    assert shown(node, "pods", "session_key") == "hint" and diff(node, status=0) == {}


def test_reloads_at_once(node):
    """Many reloads are asked for at the same time, and each caller gets an answer."""
    daemon, _ = steer(node)
    asking = [node.popen([BUILD / "pintle", "--bpffs", node.bpffs, "reload"], log=f"reload-{i}.log") for i in range(8)]
    assert [p.wait(60) for p in asking] == [0] * 8
    assert "reloaded" in daemon.log()


def test_other_pid_namespace(node):
    """`set` and `reload` need not see the daemon's process."""
    daemon, _ = steer(node)
    pintle = ["unshare", "--pid", "--fork", "--mount-proc", BUILD / "pintle", "--bpffs", node.bpffs]
    assert node.run(*pintle, "reload").stdout == f"reloaded {daemon.config}\n"
    node.run(*pintle, "set", "pool", "stickiness.ttl=50s")
    assert shown(node, "pool", "ttl_seconds") == 50


# Bytes of a key of the map `settings`: the pool's name, then the key's.
NAME = 332
KEY = NAME + 64


def hexes(text, size):
    data = text if isinstance(text, bytes) else text.encode()
    return [f"{b:#x}" for b in data.ljust(size, b"\0")]


def test_whatever_the_map_holds(node):
    """Whatever bytes are in the map, the daemon runs, starts and takes valid settings."""
    daemon, config = steer(node)
    junk = [
        (b"\xff" * KEY, b"\xff" * 264), (b"\0" * KEY, b"\0" * 264), (b"pool".ljust(NAME, b"\0") + b"x" * 64, b"1" * 264),
        (b"pool".ljust(NAME, b"\0") + b"stickiness.ttl".ljust(64, b"\0"), b"\0" * 8 + b"9" * 256),
        (b"pool".ljust(NAME, b"\0") + b"weights.queue".ljust(63, b"\0") + b"!", b"\0" * 8 + b"3".ljust(256, b"\0")),
        (b"pool".ljust(NAME, b"\0") + b"scrape.path".ljust(64, b"\0"), b"\0" * 8 + b"/x".ljust(256, b"\0")),
        (b"pool".ljust(NAME, b"\0") + b"mode".ljust(64, b"\0"), b"\0" * 8 + b"off".ljust(256, b"\0")),
        (b"pool".ljust(NAME, b"\0") + b"weights.gpu".ljust(64, b"\0"), b"\0" * 8 + b"\x1b[31m0x1".ljust(256, b"\0")),
        (b"pool\xc3".ljust(NAME, b"\0") + b"http10".ljust(64, b"\0"), b"\0" * 8 + b"true".ljust(256, b"\0")),
    ]
    for key, value in junk:
        node.run("bpftool", "map", "update", "pinned", next(node.bpffs.rglob("settings")), "key", *hexes(key, KEY),
                 "value", *hexes(value, 264))
    # A request to reload may be in any future: the daemon reloads once, and goes on.
    node.run("bpftool", "map", "update", "pinned", next(node.bpffs.rglob("settings")), "key",
             *hexes(b"\0" * NAME + b"reload", KEY), "value", *hexes(b"\xff" * 8, 264))
    wait_for(lambda: "reloaded" in daemon.log())
    node.pintle("set", "pool", "saturation.queueDepth=3")
    rows = json.loads(node.pintle("diff", "-o", "json", check=False).stdout)
    assert [r["key"] for r in rows if r["state"] == "holds"] == ["saturation.queueDepth"], rows
    assert sum(r["state"] == "refused" for r in rows) == len(junk), rows
    assert "\x1b" not in node.pintle("status").stdout and "\x1b" not in daemon.log()
    assert daemon.log().count("reloaded") == 1
    daemon.stop()
    daemon = node.daemon(config)
    assert shown(node, "pool", "mode") == "enforce" and node.ask(FRONTEND["v4"]) == "s0"
    node.pintle("reset")
    assert diff(node, status=0) == {}
    before = daemon.log().count("reloaded")
    node.pintle("reload")
    assert daemon.log().count("reloaded") == before + 1


def test_as_many_as_the_map_holds(node):
    """A full map is reported, and the heartbeat goes on meanwhile."""
    daemon, _ = steer(node)
    lines = []
    for i in range(1024):
        key = hexes(b"pool".ljust(NAME, b"\0") + f"stickiness.k{i}".encode().ljust(64, b"\0"), KEY)
        lines.append(f"map update pinned {next(node.bpffs.rglob('settings'))} key {' '.join(key)} value {' '.join(hexes(bytes(8) + b'1', 264))}")
    node.run("bpftool", "batch", "file", node.write("batch", "\n".join(lines) + "\n"))
    assert "no more can be" in refused(node, "set", "pool", "weights.queue=3", status=1)
    assert len(json.loads(node.pintle("diff", "-o", "json", check=False).stdout)) == 1024
    wait_for(lambda: node.cli("status")[0]["daemon_alive"], what="a heartbeat")
    node.pintle("reset")
    assert diff(node, status=0) == {}
    node.pintle("set", "pool", "weights.queue=3")
    daemon.stop()


def test_the_group_looks(node):
    """Members of the group can see what differs without access to the file, and can change nothing."""
    daemon = node.daemon(node.config(node.pool(node.servers(1)), group="games"))
    node.pintle("set", "pool", "stickiness.ttl=50s")
    Path(daemon.config).chmod(0o600)
    for path in (node.bpf_mount, node.dir):
        path.chmod(0o755)
    binary = node.dir / "pintle"
    binary.write_bytes((BUILD / "pintle").read_bytes())
    binary.chmod(0o755)

    def as_member(*words):
        return node.run("setpriv", "--reuid", "65534", "--regid", "games", "--clear-groups", "--bounding-set", "-all",
                        binary, "--bpffs", node.bpffs, *words, check=False)

    result = as_member("diff", "-o", "json")
    assert result.returncode == 1 and "the file's values are as pintled read them last" in result.stderr, result
    (row,) = json.loads(result.stdout)
    assert (row["file"], row["runs"]) == ("300s", "50s"), row
    for words in (["set", "pool", "weights.queue=3"], ["set", "pool", "mode=off"], ["reset"], ["reload"]):
        result = as_member(*words)
        assert result.returncode == 1 and f"{words[0]} needs root" in result.stderr, result
    assert list(diff(node, status=1)) == [("pool", "stickiness.ttl")]
