# SPDX-License-Identifier: Apache-2.0
"""The CLI against real pins: nouns, verbs, and that they need no daemon."""
import json
import os
import re
import time
from datetime import datetime
from pathlib import Path

import packets
from clients import FRONTEND, source
from harness import case
from kernel import BUILD, TOP, mount, wait_for
from packages import need
from terminal import Terminal

ENDPOINT_KEYS = {
    "pool", "name", "address", "state", "waiting", "running", "kv_cache", "gpu", "age_seconds",
    "load", "in_flight", "direct", "share",
}
QUOTAS = {"by": "source", "connections": 100}  # so that there are tenants
NOUNS = ("status", "pools", "endpoints", "sessions", "tenants", "stats", "version")


def test_nouns_are_json(node):
    """Each noun prints an array of objects with snake_case keys; with and without a daemon."""
    daemon = node.steer(node.servers(2), tenants=QUOTAS)
    node.ask(FRONTEND["v4"])
    for _ in range(2):
        for noun in NOUNS:
            rows = node.cli(noun)
            assert isinstance(rows, list) and rows and all(isinstance(r, dict) for r in rows), (noun, rows)
            for row in rows:
                for key in row:
                    assert key == key.lower() and " " not in key and "-" not in key, (noun, key)
            assert node.pintle(noun).stdout.strip(), noun
        daemon.kill()


def test_endpoint_keys(node):
    """`endpoints` has the keys that it is documented to have."""
    node.steer(node.servers(2))
    held = node.hold(FRONTEND["v4"], 4)
    rows = node.cli("endpoints")
    for row in rows:
        assert ENDPOINT_KEYS <= set(row), ENDPOINT_KEYS - set(row)
    assert [r["pool"] for r in rows] == ["pool", "pool"]
    assert abs(sum(r["share"] for r in rows) - 1) < 0.01, rows
    for c, _ in held:
        c.close()


def test_options_stand_anywhere(node):
    """Options may come before or after the noun; the environment names the directory, too."""
    node.steer(node.servers(1))
    binary = BUILD / "pintle"
    forms = [
        [binary, "--bpffs", node.bpffs, "-o", "json", "endpoints"],
        [binary, "endpoints", "-o", "json", "--bpffs", node.bpffs],
        [binary, "-o", "json", "endpoints", "--bpffs", node.bpffs],
    ]
    said = {json.loads(node.run(*f).stdout)[0]["name"] for f in forms}
    said.add(json.loads(node.run(binary, "endpoints", "-o", "json",
                                 env={"PINTLE_BPFFS": str(node.bpffs)}).stdout)[0]["name"])
    assert said == {"s0"}


def test_nothing_attached(node):
    """Without pins the CLI says that nothing runs here, and exits with an error."""
    result = node.pintle("status", check=False)
    assert result.returncode != 0 and str(node.bpffs) in result.stderr, result


def test_wrong_words(node):
    """A message names an unknown noun, endpoint or mode, and what would be right."""
    node.steer(node.servers(1))
    for words, hint in (
        (["nosuch"], "status"), (["mode", "pool", "fast"], "enforce"), (["mode", "nosuch", "off"], "nosuch"),
        (["drain", "nosuch"], "nosuch"), (["drain"], "drain"), (["unbind"], "unbind"),
    ):
        result = node.pintle(*words, check=False)
        assert result.returncode != 0 and hint in result.stderr, (words, result)


def test_status(node):
    """`status` shows whether the daemon runs, the mode, and the decisions by outcome."""
    daemon = node.steer(node.servers(2))
    node.spread(FRONTEND["v4"], 5)
    text = node.pintle("status").stdout
    assert "enforce" in text and "least_loaded" in text and str(daemon.pid) in text, text
    (row,) = node.cli("status")
    assert row["daemon_alive"] and row["daemon_pid"] == daemon.pid, row
    since = datetime.fromisoformat(row["attached_since"]).timestamp()
    assert abs(time.time() - row["attached_seconds"] - since) < 2, row
    assert os.stat(node.netns).st_ino == row["netns_inode"] and row["cgroup"] == str(node.cgroup), row
    assert row["pools"][0]["decisions"]["least_loaded"] == 5, row
    daemon.kill()
    wait_for(lambda: not node.cli("status")[0]["daemon_alive"])
    after = node.pintle("status").stdout
    assert "does not run" in after and "enforce" in after, after
    assert node.cli("status")[0]["attached_since"] == row["attached_since"]


def test_status_tells_a_gateway(node):
    """A session with most of a pool's connections is reported, with the cure, while there is a
    choice; forged segments and many clients give no report."""
    node.add_client()
    servers = node.servers(2)
    daemon = node.steer(servers)

    def told():
        share = daemon.metric("pintle_pool_largest_session_ratio", pool="pool")
        warned = re.search(r"one session \((\S+)\) makes (\d+) % of the connections", node.pintle("status").stdout)
        assert bool(warned) == bool(share)
        return warned and (warned[1], int(warned[2]) / 100, share)

    gateway = source(7, remote=True)
    packets.send(node.client_netns, [(gateway, 1024 + i) for i in range(500)], ("10.77.0.1", 8000), "RST")
    node.spread(FRONTEND["v4"], 150)
    assert not told()
    cpus = len(os.sched_getaffinity(0))
    for _ in range(150 * cpus):
        node.ask(FRONTEND["v4"], gateway, remote=True)
    session, warned, share = told()
    assert session == gateway and abs(warned - share) < 0.01 and share > 0.8, (session, warned, share)
    assert "docs/operations.md#clients-behind-one-address" in node.pintle("status").stdout
    servers[1].kill()
    wait_for(lambda: "one session" not in node.pintle("status").stdout)


def test_sessions_and_unbind(node):
    """`sessions` lists bindings by client; `unbind` deletes one, or all of a pool."""
    node.steer(node.servers(2))
    for i in (1, 2, 3):
        node.ask(FRONTEND["v4"], source(i))
    rows = node.cli("sessions", "--pool", "pool")
    assert len(rows) == 3, rows
    text = json.dumps(rows)
    assert all(source(i) in text for i in (1, 2, 3)), rows
    node.pintle("unbind", source(2))
    rows = node.cli("sessions")
    assert len(rows) == 2 and source(2) not in json.dumps(rows), rows
    node.ask(FRONTEND["v4"], source(2))
    assert node.decisions() == {"least_loaded": 4}
    node.pintle("unbind", "--pool", "pool")
    assert node.cli("sessions") == []


def test_verbs_survive(node):
    """A verb's change survives reload, restart and the daemon's death; `reset` takes it back."""
    servers = node.servers(2)
    daemon = node.steer(servers)
    node.pintle("drain", "pool/s0")
    node.pintle("mode", "pool", "baseline")

    def holds():
        assert node.spread(FRONTEND["v4"], 10) == {"s1": 10}
        assert set(node.decisions()) == {"random"}, node.decisions()
        text = node.pintle("status").stdout
        assert "s0" in text and "baseline" in text, text
        return True

    assert holds()
    daemon.reload(node.config(node.pool(servers, stickiness={"ttl": "100s"})))
    wait_for(lambda: daemon.log().lower().count("reload") >= 1)
    assert holds()
    daemon.stop()
    assert holds()
    daemon = node.steer(servers)
    assert holds()
    node.pintle("reset")
    wait_for(lambda: node.spread(FRONTEND["v4"], 10)["s0"] > 0)
    assert "drain" not in node.pintle("status").stdout


def test_enable_and_disable(node):
    """enable is enforce, disable is off."""
    node.steer(node.servers(1))
    said = node.pintle("disable", "pool")
    assert node.cli("pools")[0]["mode"] == "off"
    for frontend in FRONTEND.values():
        assert f"nothing but Pintle answers {frontend}" in said.stderr, said.stderr
    node.pintle("enable", "pool")
    assert node.cli("pools")[0]["mode"] == "enforce"
    assert node.ask(FRONTEND["v4"]) == "s0"
    own = node.server("own", FRONTEND["v4"])
    said = node.pintle("mode", "pool", "off").stderr
    assert FRONTEND["v4"] not in said and FRONTEND["v6"] in said, said
    own.end()


def test_check(node):
    """`check` reports errors without changing anything; with warnings only, its exit status is 0."""
    good = node.write("good.yaml", node.config(node.pool([{"name": "a", "listen": "8001"}])))
    assert node.pintle("check", good).returncode == 0
    v4_only = node.write("warn.yaml", node.config(node.pool([{"name": "a", "listen": "127.0.0.1:8001"}])))
    warned = node.pintle("check", v4_only)
    assert warned.returncode == 0 and "warning" in warned.stderr, warned
    bad = node.write("bad.yaml", good.read_text().replace("endpoints:", "endpionts:"))
    result = node.pintle("check", bad, check=False)
    assert result.returncode == 2 and f"{bad}:" in result.stderr and "endpoints" in result.stderr, result
    assert node.pins() == []


def test_doctor(node):
    """`doctor` prints a line for each check; its exit status says whether all passed."""
    node.steer(node.servers(1))
    result = node.pintle("doctor", check=False)
    lines = result.stdout.splitlines()
    assert len(lines) >= 6, result
    assert "cgroup" in result.stdout and "bpf" in result.stdout, result.stdout
    rows = json.loads(node.pintle("doctor", "-o", "json", check=False).stdout)
    assert len(rows) >= 6 and all(isinstance(r, dict) for r in rows)


def doctor(*how, node):
    """{check: [(result, found, cure)]}, and never blames the kernel's version: this one is new enough."""
    result = node.run(*how, BUILD / "pintle", "doctor", "-o", "json", check=False)
    assert not result.stderr and "6.1 or newer" not in result.stdout, result
    found = {}
    for row in json.loads(result.stdout):
        found.setdefault(row["check"], []).append((row["result"], row["found"], row["cure"]))
    return found


def test_doctor_in_a_user_namespace(node):
    """Root of a user namespace may load nothing, whatever capabilities it has there."""
    found = doctor("unshare", "--user", "--map-root-user", node=node)
    assert found["capabilities"] == [(
        "fail", "this is a user namespace: its capabilities load no BPF programs",
        "run pintled outside of it, not in a rootless container")], found
    for check in ("programs", "maps", "helpers", "link"):
        (result, said, cure), = found[check]
        assert (result, cure) == ("warn", "run it outside of this user namespace"), found
        assert said.endswith("not tried"), found


def test_doctor_without_capabilities(node):
    """For root of a container without CAP_BPF, `doctor` names the capability and skips the other
    checks."""
    found = doctor("setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-all", node=node)
    assert [said for result, said, _ in found["capabilities"] if result == "fail"] == [
        "CAP_BPF is missing; pintled needs it to load programs"], found
    assert found["programs"] == [
        ("warn", "program types were not tried", "run it with CAP_BPF and CAP_NET_ADMIN")], found


def test_doctor_without_btf(node):
    """Without BTF, only the check of BTF fails; what else it takes away is told."""
    mount("tmpfs", "/sys/kernel/btf", "tmpfs")  # in this case's mount namespace
    found = doctor(node=node)
    assert [result for result, _, _ in found["btf"]] == ["fail"], found
    (result, said, cure), = found["questions"]
    assert result == "warn" and "cannot tell packets from questions" in said and "see btf" in cure, found
    assert found["programs"] == [("warn", "iter: cannot be tried without BTF", "see btf")], found
    assert found["hand-off"] == [
        ("warn", "whether this kernel can decide by request cannot be told without BTF", "see btf")], found
    assert [result for check in ("maps", "helpers", "link") for result, _, _ in found[check]] == ["ok"] * 3


def test_doctor_names_other_programs(node):
    """`doctor` names other sockops programs on the cgroup, in the order in which they run."""
    pin = node.bpf_mount / "neighbour"
    object_file = node.compile_bpf(Path(__file__).with_name("neighbour.bpf.c"))
    node.steer(node.servers(1))

    def row():
        rows = json.loads(node.pintle("doctor", "-o", "json", check=False).stdout)
        (found,) = [r for r in rows if r["check"] == "sockops"]
        return found

    alone = row()
    assert alone["result"] == "ok" and "neighbour" not in alone["found"], alone
    node.run("bpftool", "prog", "load", object_file, pin, "type", "sockops")
    node.run("bpftool", "cgroup", "attach", node.cgroup, "sock_ops", "pinned", pin, "multi")
    try:
        both = row()
        assert both["result"] == "warn" and both["cure"], both
        assert re.search(r"pintle_servers \(id \d+, ours\), then neighbour", both["found"]), both
    finally:
        node.run("bpftool", "cgroup", "detach", node.cgroup, "sock_ops", "pinned", pin)


def test_help(node):
    """--help for each word, on stdout."""
    for word in ("status", "endpoints", "mode", "drain", "unbind", "check", "doctor", "events"):
        result = node.run(BUILD / "pintle", word, "--help")
        assert word in result.stdout, result


def test_group_may_read(node):
    """Members of the configured group can run the nouns without any capability, except `events`."""
    servers = node.servers(2)
    node.daemon(node.config(node.pool(servers, tenants=QUOTAS), group="games"))
    node.ask(FRONTEND["v4"])
    os.chmod(node.bpf_mount, 0o755)
    # The build may be in a directory that other users cannot enter.
    binary = node.dir / "pintle"
    binary.write_bytes((BUILD / "pintle").read_bytes())
    binary.chmod(0o755)

    def as_member(*words, group="games"):
        return node.run("setpriv", "--reuid", "65534", "--regid", group, "--clear-groups",
                        "--bounding-set", "-all", binary, "--bpffs", node.bpffs, *words, check=False)

    unprivileged = open("/proc/sys/kernel/unprivileged_bpf_disabled").read().strip()
    for noun in NOUNS:
        result = as_member(noun, "-o", "json")
        assert result.returncode == 0, (noun, unprivileged, result)
        assert json.loads(result.stdout)
    assert as_member("events").returncode != 0
    assert as_member("drain", "s0").returncode != 0
    assert as_member("endpoints", group="nogroup").returncode != 0


def test_pins_are_not_for_others(node):
    """Pins have modes 0750 and 0640; what shows addresses of the kernel is root's alone."""
    node.steer(node.servers(1))
    for path in [node.bpffs, *node.bpffs.rglob("*")]:
        mode = path.lstat().st_mode
        if path.is_symlink():
            continue
        right = 0o600 if path.name == "hand_flows" else 0o750 if path.is_dir() else 0o640
        assert mode & 0o7777 == right, (path, oct(mode))


# map -> a field that a dump shows, where this traffic leaves entries.
DUMPED = {
    "node": "heartbeat_ns", "names": "name", "addresses": "endpoint", "frontends": "prefixlen",
    "pools": "max_extra_load", "overrides": "since_ns", "endpoints": "pool_generation",
    "scores": "published", "inflight": "placed", "ends": "duration_ns",
    "health": "listening_since_ns", "affinity": "client", "bindings": "evicted", "majorities": "votes",
    "stats": "value", "oneshot_stats": "value",
}
# Kinds that the kernel takes no types for, and kinds that it cannot list.
UNTYPED = {"array_of_maps", "sockmap", "ringbuf"}
UNLISTED = {"ringbuf", "sk_storage"}


def test_bpftool_reads_the_maps(node):
    """Every pinned map dumps, with field names wherever the kernel keeps them."""
    node.steer(node.servers(2), stickiness={"group": "source"})
    node.ask(FRONTEND["v4"])
    pins = {p.name: p for p in node.bpffs.rglob("*") if not p.is_dir() and not p.name.startswith("link_")}
    assert set(DUMPED) <= set(pins), set(DUMPED) - set(pins)
    for name, pin in pins.items():
        shown = json.loads(node.run("bpftool", "-j", "map", "show", "pinned", pin).stdout)
        assert shown.get("btf_id") or shown["type"] in UNTYPED, shown
        if shown["type"] in UNLISTED:
            continue
        out = node.run("bpftool", "map", "dump", "pinned", pin).stdout
        assert name not in DUMPED or f'"{DUMPED[name]}": ' in out, (name, out[:300])
    homes = node.run("bpftool", "map", "dump", "pinned", pins["homes"]).stdout
    number = re.search(r"inner_map_id: (\d+)", homes)  # as bpftool of Debian 13 has it; before, the bytes
    inner = int(number[1]) if number else int.from_bytes(bytes.fromhex(re.search(r"value: ([0-9a-f ]+)", homes)[1]), "little")
    assert '"generation": ' in node.run("bpftool", "map", "dump", "id", inner).stdout


def test_events_follow_one_at_a_time(node):
    """`events` follows; a second `events` says that another one follows already."""
    node.steer(node.servers(1))
    binary = BUILD / "pintle"
    follower = node.popen([binary, "--bpffs", node.bpffs, "events"], log="events.log")

    def heard():
        node.ask(FRONTEND["v4"])
        return (node.dir / "events.log").read_text()

    assert "s0" in wait_for(heard)
    second = node.pintle("events", check=False)
    assert second.returncode != 0 and second.stderr.strip(), second
    follower.terminate()
    follower.wait(5)


def test_readme_shows_endpoints(node):
    """README's table of endpoints has the headings that `endpoints` prints at 110 columns, and a cell below each."""
    heading, *rows = (TOP / "README.md").read_text().partition("# pintle endpoints\n")[2].partition("```")[0].splitlines()
    servers = [node.server(f"gpu{i}", f"127.0.0.1:{8001 + i}") for i in range(len(rows))]
    for s in servers:
        s.set(running=30, kv_cache=0.07)
    node.steer(servers, "llama-8b")
    wait_for(lambda: {(e["running"], e["load"] > 9.9) for e in node.cli("endpoints")} == {(30, True)}, what="the pages")
    show = node.write("show", f"while :; do clear; '{BUILD}/pintle' --bpffs '{node.bpffs}' endpoints; sleep 1; done\n")
    screen = Terminal(node, "sh", show, columns=110)
    wait_for(lambda: heading in screen.screen(), what=f"{heading} on the screen")
    screen.end()
    for row in rows:
        assert len(re.split(r"  +", row)) == len(heading.split()) and len(row) == len(heading), row


# What is typed before the tab key, and what stands there then
COMPLETED = {
    "pintle tra": "pintle trace",
    "pintle mode po": "pintle mode pool",
    "pintle mode pool ba": "pintle mode pool baseline",
    "pintle drain pool/": "pintle drain pool/s0",
    "pintle set pool requests=o": "pintle set pool requests=one-per-connection",
    "pintle set pool stickiness.tt": "pintle set pool stickiness.ttl=",
    "pintle reset pool reque": "pintle reset pool requests",
    "pintle completion z": "pintle completion zsh",
    "pintle check rules.y": "pintle check rules.yaml",
    "pintle report pool --html rules.y": "pintle report pool --html rules.yaml",
    "pintle --output j": "pintle --output json",
    "pintle -o json endp": "pintle -o json endpoints",
    "pintle endpoints --pool po": "pintle endpoints --pool pool",
    "pintle explain pool --so": "pintle explain pool --source",
    "pintle endpoints --p": "pintle endpoints --pool",  # explain has --pod, --period and --prompt besides
}
SHELLS = {
    "bash": (["--rcfile", "rc", "-i"], "PS1='> '\nset +o history\n. ./script\n"),
    "fish": (["-C", "source rc"],
             "function fish_prompt; echo '> '; end\nset -g fish_autosuggestion_enabled 0\nsource script\n"),
    "zsh": (["-d", "-i"], "PS1='> '\nautoload -Uz compinit\ncompinit -D -u\n. ./script\n"),
}


@case(each=tuple(SHELLS), timeout=120)
def test_completion(node, shell):
    """Each shell completes commands, options, their words, and the names of pools and endpoints."""
    program = need(shell)
    node.steer(node.servers(1))
    node.write("rules.yaml", "")
    script = node.write("script", node.pintle("completion", shell).stdout)
    node.run(program, "-n", script)
    options, rc = SHELLS[shell]
    node.write("rc", rc)
    node.write(".zshrc", f"cd {node.dir}\n{rc}")
    screen = Terminal(node, "env", "-C", node.dir, program, *options, columns=110, env={
        "PATH": f"{BUILD}:{os.environ['PATH']}", "PINTLE_BPFFS": str(node.bpffs), "HOME": str(node.dir),
        "ZDOTDIR": str(node.dir), "XDG_CONFIG_HOME": str(node.dir), "XDG_DATA_HOME": str(node.dir)})
    screen.shows(">")
    for typed, then in COMPLETED.items():
        screen.keys("C-u", "C-l", typed)
        screen.shows(typed)
        screen.keys("Tab")
        wait_for(lambda: any(re.fullmatch(f"> {re.escape(then)} ?", line) for line in screen.screen()),
                 what=f"{typed!r} to become {then!r}")
    screen.end()


def explained(node, *words):
    return node.cli("explain", "pool", *words)


def test_explain(node):
    """`explain` says where the next connection goes and why, and it goes there: a new session, a
    bound one, one whose endpoint is too loaded, and beside a drained endpoint."""
    servers = node.servers(3)
    for s, running in zip(servers, (3, 0, 6)):
        s.set(running=running)
    node.steer(servers)
    wait_for(lambda: [e["running"] for e in node.cli("endpoints")] == [3, 0, 6])

    def next_goes(client, outcome, to):
        told = explained(node, "--source", source(client))
        assert (told["chosen"], told["outcome"], told["certain"]) == (to, outcome, True), told
        assert node.ask(FRONTEND["v4"], source(client)) == to
        assert sum(c["chance"] for c in told["candidates"]) == 1, told
        return told

    told = next_goes(1, "least_loaded", "s1")
    assert told["bound"]["why"] == "none" and 2.5 < told["margin"] < 3.5, told
    assert [c["running"] for c in told["candidates"]] == [3, 0, 6], told
    told = next_goes(1, "sticky", "s1")
    assert told["bound"]["endpoint"] == "s1" and told["bound"]["why"] == "holds", told
    servers[1].set(running=40)
    wait_for(lambda: node.endpoint("s1")["running"] == 40)
    told = explained(node, "--source", source(1))
    assert told["bound"]["why"] == "too_loaded" and told["bound"]["load"] > told["least"] + told["extra"], told
    assert "too much against" in node.pintle("explain", "pool", "--source", source(1)).stdout
    next_goes(1, "escaped", "s0")
    node.pintle("drain", "s0")
    told = next_goes(1, "least_loaded", "s2")
    assert told["bound"]["why"] == "ineligible" and told["candidates"][0]["why"] == "drained", told


def test_explain_by_chance(node):
    """Equal loads leave a new session to chance: `explain` names who could be chosen, and they are.
    Asking changes nothing."""
    node.steer(node.servers(3))
    stats = node.cli("stats")
    for _ in range(3):
        told = explained(node, "--source", source(1))
        assert not told["certain"], told
        assert all(0.3 < c["chance"] < 0.37 for c in told["candidates"]), told
    assert node.cli("stats") == stats and not node.cli("sessions")


def test_explain_without_daemon(node):
    """Without a daemon `explain` works by what is left in the maps, and says how old the scores are."""
    daemon = node.steer(node.servers(2))
    to = node.ask(FRONTEND["v4"], source(1))
    daemon.kill()
    wait_for(lambda: not node.cli("status")[0]["daemon_alive"])
    told = explained(node, "--source", source(1))
    assert told["chosen"] == to and told["bound"]["endpoint"] == to, told
    assert not told["daemon_alive"] and told["newest_age_seconds"] > 0, told
    text = node.pintle("explain", "pool", "--source", source(1)).stdout
    assert f"would go to {to}" in text and "pintled does not run: the newest score is" in text, text
    assert node.ask(FRONTEND["v4"], source(1)) == to
