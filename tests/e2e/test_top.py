# SPDX-License-Identifier: Apache-2.0
"""`pintle top` on a terminal, over real maps."""
import json
import os
import re
import subprocess

from clients import FRONTEND, source
from harness import case
from kernel import BUILD, TOP, Skip, has_ended, wait_for
from pods import SERVICE, Cluster
from terminal import Terminal, top


def row(screen, name):
    """The words of the line that shows that row."""
    return next(line for line in screen.split("\n") if f" {name} " in line.replace(">", " ", 1)).replace(">", " ", 1).split()


def state(node, name):
    return node.endpoint(name)["state"]


@case(each=("80x24", "200x50"))
def test_sizes(node, size):
    """In 80 columns and in 200: pools, endpoints with load, waiting, answering, KV cache and times to
    first token, and the bars of the last minute. No line is wider than the screen, and in 40 columns no number is cut."""
    columns, rows = map(int, size.split("x"))
    servers = node.servers(3)
    servers[1].set(waiting=3, running=2, kv_cache=0.5)
    node.steer(servers, "llama-8b")
    for i in range(8):
        node.ask(FRONTEND["v4"], source(i + 1))
    terminal = top(node, "--interval", "200ms", columns=columns, rows=rows)
    screen = terminal.shows("pintled runs", "llama-8b/s2", "50%", "TTFT50", "WAITING", "ANSWER", "KV")
    assert row(screen, "llama-8b")[1] == "enforce" and row(screen, "llama-8b/s0")[1] == "ready", screen
    terminal.shows("█")  # the highest load of all has the highest bar
    lines = terminal.screen()
    assert len(lines) == rows and max(map(len, lines)) <= columns, lines
    assert lines[-1].startswith("? help  q quit"), lines
    wide = "ADDRESS" in screen and "FRONTENDS" in screen
    assert wide == (columns == 200), screen
    terminal.resize(100, 30)
    wait_for(lambda: len(terminal.screen()) == 30 and terminal.screen()[-1].startswith("? help"))
    terminal.resize(40, 12)
    wait_for(lambda: "READY IN-FLIGHT\n" in "\n".join(terminal.screen()) + "\n", what="columns that are whole")
    terminal.resize(30, 6)
    wait_for(lambda: len(terminal.screen()) == 6 and terminal.screen()[-1].startswith("? help"))
    terminal.resize(80, 24)
    terminal.shows("llama-8b/s2")


def pods(node):
    """Two servers in pods behind the connect hook, a client, and `pintle top` there."""
    cluster = Cluster(node)
    servers = cluster.servers(2)
    client = cluster.pod("client")
    cluster.steer(cluster.pool(servers))
    return servers, client, Terminal(node, BUILD / "pintle", "--bpffs", cluster.bpffs, "top", "--interval", "200ms")


def test_connect_hook(node):
    """The same for servers in pods: requests that wait are seen at the clients' node."""
    servers, client, terminal = pods(node)
    for s in servers:
        s.model.be(silent=True)
    with client.connect(SERVICE["v4"]) as c:
        c.send("/")
        terminal.shows("pintled runs", " connect ")
        wait_for(lambda: "1" in (row(terminal.text(), "pool/s0")[3], row(terminal.text(), "pool/s1")[3]))


@case(each=("NO_COLOR", "vt100", "ascii"))
def test_plain_terminals(node, kind):
    """Without colours nothing is lost; without UTF-8 the bars are ASCII."""
    servers = node.servers(2)
    node.steer(servers)
    env = {"NO_COLOR": {"NO_COLOR": "1"}, "vt100": {}, "ascii": {"LC_ALL": "C"}}[kind]
    terminal = top(node, "--interval", "200ms", term="vt100" if kind == "vt100" else "tmux-256color", env=env)
    terminal.shows("pintled runs", "pool/s1")
    servers[0].kill()
    terminal.shows("down")
    colored = any(re.search(r"\x1b\[[0-9;]*3[0-7]m", line) for line in terminal.screen(escapes=True))
    assert colored == (kind == "ascii")
    if kind == "ascii":
        wait_for(lambda: terminal.text().isascii() and "_" in terminal.text())


def test_terminals_that_will_not_do(node):
    """A clear error where nothing can be drawn; `--once` works there."""
    node.steer(node.servers(1))
    for term, what in (("dumb", "cannot move its cursor"), ("nosuch", "is not known"), ("", "is not named")):
        terminal = Terminal(node, "sh", "-c", 'TERM=$0 "$@"; echo status $?; exec sleep 1000', term,
                            BUILD / "pintle", "--bpffs", node.bpffs, "top", columns=200)
        terminal.shows(what, "`pintle top --once`", "status 1")
    result = node.pintle("top", check=False)
    assert result.returncode == 1 and "needs a terminal; " in result.stderr, result
    assert "pool/s0" in node.pintle("top", "--once").stdout


def test_wrong_options(node):
    """Each wrong option is refused with what would be right."""
    node.steer(node.servers(1))
    for words, says in (
        (["-o", "json"], "-o json is for --once; add it"),
        (["--once", "--interval", "1s"], "leave out --interval"),
        (["--interval", "1ms"], "--interval takes a time from 100ms to 1h, not '1ms'; such as"),
        (["--interval", "2h"], "100ms to 1h"),
        (["--pool", "nosuch", "--once"], "no pool 'nosuch'; there are: pool"),
    ):
        result = node.pintle("top", *words, check=False)
        assert result.returncode and says in result.stderr, (words, result)
    assert "status takes no --once" in node.pintle("status", "--once", check=False).stderr
    assert "status takes no --interval" in node.pintle("status", "--interval", "1s", check=False).stderr


def test_once(node):
    """`--once -o json` has the rows of the nouns; --pool leaves those of one pool."""
    servers = node.servers(4)
    node.daemon(node.config(
        node.pool(servers[:2], "a", classes=[{"name": "chat"}, {"name": "batch", "priority": -1, "limit": 4}]),
        node.pool(servers[2:], "b", frontends=["10.77.0.2:8000"])))
    held = node.hold(FRONTEND["v4"], 3)
    node.ask("10.77.0.2:8000", source(9))
    frame = json.loads(node.pintle("top", "--once", "-o", "json").stdout)
    assert frame["daemon_alive"] and 0 <= frame["heartbeat_age_seconds"] < 2, frame
    for noun in ("pools", "endpoints", "sessions"):
        rows = node.cli(noun)
        assert [set(r) for r in frame[noun]] == [set(r) for r in rows], noun
        names = "session" if noun == "sessions" else "name"
        assert [r[names] for r in frame[noun]] == [r[names] for r in rows], noun
    assert [c["in_flight"] for c in frame["pools"][0]["classes"]] == [3, 0], frame["pools"][0]
    text = node.pintle("top", "--once", "--pool", "a").stdout
    assert re.search(r"^a +chat +0 +- +proceed +3$", text, re.M) and re.search(r"^a +batch +-1 +4.0 ", text, re.M), text
    text = node.pintle("top", "--once", "--pool", "b").stdout
    assert "b/s2" in text and "a/s0" not in text and source(9) in text and source(1) not in text, text
    one = json.loads(node.pintle("top", "--once", "--pool", "b", "-o", "json").stdout)
    assert [p["name"] for p in one["pools"]] == ["b"] and len(one["endpoints"]) == 2, one
    for c, _ in held:
        c.close()


def test_sessions_and_filter(node):
    """Tab shows classes and sessions; `/` leaves rows with a text; sorting and selecting."""
    servers = node.servers(3)
    node.steer(servers, classes=[{"name": "chat"}, {"name": "batch", "limit": 4}])
    node.ask(FRONTEND["v4"], source(1))
    terminal = top(node, "--interval", "200ms")
    terminal.shows("pool/s2")
    terminal.keys("Tab")
    terminal.shows("pintle top: sessions", "chat", "batch", source(1))
    node.ask(FRONTEND["v4"], source(2))
    terminal.shows(source(2))
    terminal.keys("/", source(2), "Enter")
    terminal.shows(f"with '{source(2)}'")
    wait_for(lambda: f" {source(1)} " not in terminal.text())
    terminal.keys("Escape")
    terminal.shows(f" {source(1)} ")
    terminal.keys("Tab", "/", "NOSUCH")
    terminal.shows("no endpoints with 'NOSUCH'; Esc shows all")
    terminal.keys("BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "S1", "Enter")
    wait_for(lambda: "pool/s1" in terminal.text() and "pool/s0" not in terminal.text())
    terminal.keys("Escape")
    terminal.shows("pool/s0")
    servers[2].set(waiting=9)
    servers[1].set(waiting=4)

    def order():
        return re.findall(r"pool/(s\d)", terminal.text())

    terminal.keys("Down", "Down")  # pool/s2
    terminal.shows(">pool/s2")
    terminal.keys(">", ">", ">", ">")
    terminal.shows("by LOAD")
    wait_for(lambda: order() == ["s2", "s1", "s0"])
    assert ">pool/s2" in terminal.text()  # the row, not its place
    terminal.keys("r")
    wait_for(lambda: order() == ["s0", "s1", "s2"])
    terminal.keys("?")
    terminal.shows("the other view", "any key: back")
    terminal.keys("x", "t")
    wait_for(lambda: re.search(r"TTFT95.* TTFT50", terminal.text()))


@case(each=("lookup", "connect"))
def test_drain(node, hook):
    """`d` and two answers drain the selected endpoint, `u` and two take it back; any other answer
    changes nothing."""
    name = "pool/s1"
    if hook == "lookup":
        node.steer(node.servers(2))
        here, terminal = node, top(node, "--interval", "200ms")
    else:
        _, client, terminal = pods(node)
        here = client.machine

    def spread():
        return node.spread(FRONTEND["v4"], 6) if hook == "lookup" else client.spread(SERVICE["v4"], 6)

    terminal.shows(name)
    terminal.keys("Down", "d")
    terminal.shows(f"drain {name}? y/n")
    terminal.keys("n")
    terminal.shows("nothing was changed")
    terminal.keys("d", "y")
    terminal.shows(f"really drain {name}? y/n", "0 open connections continue")
    terminal.keys("x")
    terminal.shows("nothing was changed")
    assert state(here, "s1") == "ready"
    terminal.keys("d", "y", "y")
    terminal.shows(f"{name}: drained")
    assert state(here, "s1") == "drained" and state(here, "s0") == "ready"
    assert spread() == {"s0": 6}
    terminal.keys("d")
    terminal.shows(f"{name} is drained already")
    terminal.keys("Up", "d", "y")
    terminal.shows("no other is ready: connections")
    terminal.keys("n", "Down", "u", "y")
    terminal.shows(f"really undrain {name}? y/n")
    terminal.keys("y")
    terminal.shows(f"{name}: takes connections again")
    assert state(here, "s1") == "ready"


def test_drain_of_what_is_gone(node):
    """An endpoint that is made anew between question and answer is not drained."""
    servers = node.servers(3)
    daemon = node.steer(servers[:2])
    terminal = top(node, "--interval", "1h")
    terminal.shows("pool/s1")
    terminal.keys("Down", "d", "y")
    terminal.shows("really drain pool/s1? y/n")
    daemon.reload(node.config(node.pool(servers[:1])))
    wait_for(lambda: len(node.cli("endpoints")) == 1)
    daemon.reload(node.config(node.pool(servers)))
    wait_for(lambda: len(node.cli("endpoints")) == 3)
    terminal.keys("y")
    terminal.shows("pool/s1 is gone, or was made anew; nothing was changed")
    assert not any(e["drained"] for e in node.cli("endpoints"))


def test_pause(node):
    """Paused, nothing is read; then it goes on."""
    servers = node.servers(2)
    node.steer(servers)
    terminal = top(node, "--interval", "100ms")
    terminal.shows("pool/s1")
    terminal.keys("p")
    before = terminal.shows("PAUSED")
    servers[0].kill()
    wait_for(lambda: state(node, "s0") == "down")
    assert "down" not in terminal.text() and "down" not in before
    terminal.keys("Space")
    terminal.shows("down")


def test_daemon_gone(node):
    """Without the daemon it says so, and how old the pages are; with the next one all is well again."""
    servers = node.servers(2)
    daemon = node.steer(servers)
    terminal = top(node, "--interval", "200ms")
    terminal.shows("pintled runs, pid")
    daemon.kill()
    terminal.shows("pintled does not run: last heartbeat", "pages are", "old", "stale")
    text = node.pintle("top", "--once").stdout
    assert text.startswith("pintled does not run: last heartbeat"), text
    node.steer(servers)
    terminal.shows("pintled runs, pid", "ready")


def test_pins_gone_and_made_anew(node):
    """With the pins gone it says so and waits; it shows those that are made anew."""
    servers = node.servers(3)
    daemon = node.steer(servers[:2], "former")
    terminal = top(node, "--interval", "200ms")
    terminal.shows("former/s1")
    daemon.stop()
    node.detach(daemon.config)
    wait_for(lambda: "is pintled running?" in terminal.text().replace("\n", ""))
    assert "nothing is pinned under" in terminal.text()
    assert "former" not in terminal.text()
    node.steer(servers, "next")
    terminal.shows("next/s2", "pintled runs")


@case(each=("TERM", "INT", "HUP", "q", "stopped"))
def test_gives_the_terminal_back(node, how):
    """However it ends, the terminal is as before: no other screen, the cursor shown, settings."""
    node.steer(node.servers(1))
    before, after = node.dir / "before", node.dir / "after"
    script = f'trap "" HUP INT TERM; stty -g >{before}; "$0" "$@"; echo status $?; stty -g >{after}; exec sleep 1000'
    # The shell ignores what is sent to it, but `top` sets its own handlers.
    terminal = Terminal(node, "sh", "-c", script, BUILD / "pintle", "--bpffs", node.bpffs, "top")
    terminal.shows("pool/s0")
    assert terminal.ask("alternate_on") == "1" and terminal.ask("cursor_flag") == "0"
    if how == "q":
        terminal.keys("q")
    elif how == "INT":
        terminal.keys("C-c")
    elif how == "stopped":  # output is stopped by Ctrl-S: ended all the same
        terminal.keys("C-s")
        terminal.keys("j")  # when it has this, it has seen the other
        node.run("pkill", "-TERM", "-P", terminal.ask("pane_pid"), "-f", "pintle")
    else:
        node.run("pkill", f"-{how}", "-P", terminal.ask("pane_pid"), "-f", "pintle")
    terminal.shows("status 0")
    wait_for(lambda: after.read_text() == before.read_text() != "")
    assert terminal.ask("alternate_on") == "0" and terminal.ask("cursor_flag") == "1"
    assert "pool/s0" not in terminal.text()


def test_stops_and_goes_on(node):
    """Ctrl-Z stops it with the terminal as before; `fg` draws the screen again, in the new size."""
    node.steer(node.servers(1))
    terminal = Terminal(node, "bash", "--norc", "--noprofile", "-i")
    terminal.keys(f"{BUILD / 'pintle'} --bpffs {node.bpffs} top --interval 200ms", "Enter")
    terminal.shows("pool/s0", "pintled runs")
    terminal.keys("C-z")
    terminal.shows("Stopped")
    assert terminal.ask("alternate_on") == "0" and terminal.ask("cursor_flag") == "1"
    terminal.resize(120, 30)
    terminal.keys("fg", "Enter")
    terminal.shows("pool/s0", "pintled runs")
    wait_for(lambda: len(terminal.screen()) == 30 and terminal.screen()[-1].startswith("? help"))
    terminal.keys("q")
    wait_for(lambda: terminal.ask("alternate_on") == "0")


def test_the_terminal_goes(node):
    """When the terminal goes away, it ends: nothing spins on."""
    node.steer(node.servers(1))
    terminal = top(node, "--interval", "1h")
    terminal.shows("pool/s0")
    pid = terminal.ask("pane_pid")
    terminal.end()
    wait_for(lambda: has_ended(pid))


def test_hostile_names(node):
    """Control bytes in the maps' names never reach the terminal: it gets printable ASCII."""
    node.steer(node.servers(2), "llama-8b").stop()
    names = next(node.bpffs.rglob("names"))
    rows = json.loads(node.run("bpftool", "-j", "map", "dump", "pinned", names).stdout)
    for r in rows:
        value = bytes(int(b, 16) for b in r["value"])
        at = value.find(b"s0\0")
        if at >= 0:
            evil = b"s0\x1b]0;owned\x07\x1b[2J\xe2\x96\x88\r\n\x9b31m"
            value = value[:at] + evil + value[at + len(evil):]
            node.run("bpftool", "map", "update", "pinned", names, "key", *r["key"],
                     "value", *(hex(b) for b in value))
    # All that the terminal gets, not what it makes of it.
    wrote = node.dir / "wrote"
    terminal = Terminal(node, "script", "-q", "-f", "-c",
                        f"{BUILD / 'pintle'} --bpffs {node.bpffs} top --interval 200ms", wrote)
    terminal.shows("llama-8b/s1", "llama-8b/s0?]0;owned?")
    said = wrote.read_bytes()
    assert b"\x1b]0;" not in said and b"\x07" not in said and b"\x9b" not in said, said
    text = node.pintle("top", "--once").stdout
    assert text.replace("\n", "").isprintable() and text.isascii(), text


def test_reader_drains_nothing(node):
    """Who may read the maps may watch, but not drain."""
    node.daemon(node.config(node.pool(node.servers(2)), group="games"))
    os.chmod(node.bpf_mount, 0o755)
    binary = node.dir / "pintle"  # the build may be where other users cannot enter
    binary.write_bytes((BUILD / "pintle").read_bytes())
    binary.chmod(0o755)
    terminal = Terminal(node, "setpriv", "--reuid", "65534", "--regid", "games", "--clear-groups",
                        "--bounding-set", "-all", binary, "--bpffs", node.bpffs, "top")
    terminal.shows("pool/s0")
    terminal.keys("d", "y", "y")
    terminal.shows("top needs root: it writes to the maps")
    assert not any(e["drained"] for e in node.cli("endpoints"))


@case(timeout=120)
def test_a_thousand_endpoints(node):
    """1,000 endpoints: all can be reached by keys, and watching costs little."""
    server = node.server("s", "8001")
    daemon = node.daemon(node.config(node.pool(
        [{"name": f"gpu{i:04}", "listen": f"127.0.{i // 250 + 1}.{i % 250 + 1}:8001"} for i in range(1000)],
        scrape={"interval": "5s", "timeout": "1s"})))
    assert server and daemon
    terminal = top(node, columns=120, rows=40)
    terminal.shows("pool/gpu0000")
    terminal.keys("End")
    terminal.shows(">pool/gpu0999")
    terminal.keys("/", "GPU05", "Enter")
    terminal.shows("pool/gpu0500")
    terminal.keys("Home")
    terminal.shows(">pool/gpu0500")
    wait_for(lambda: "gpu0999" not in terminal.text())


def test_many_sessions(node):
    """Thousands of sessions: the newest can be found, and keys reach the last."""
    node.steer(node.servers(2))
    node.spread(FRONTEND["v4"], 2000)
    terminal = top(node, "--interval", "200ms")
    terminal.keys("Tab", "End")
    terminal.shows("pintle top: sessions")
    last = node.cli("sessions")[-1]["session"]
    terminal.shows(f">{last}")
    terminal.keys("/", source(1234), "Enter")
    terminal.shows(f">{source(1234)}")


@case(san=False, timeout=120)
def test_picture(node):
    """The picture in README shows what `top` shows today."""
    if not (BUILD / "pintle-sim").exists():
        raise Skip("pintle-sim is not built")
    del node  # the script makes its own
    done = subprocess.run([TOP / "scripts/picture", "--check"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done
