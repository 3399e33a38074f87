# SPDX-License-Identifier: Apache-2.0
"""The classifier in the running system: sessions get classes by what they do, in both hooks."""
import collections
import json
import signal
import subprocess
import time

from clients import FRONTEND, source
from harness import case
from kernel import BUILD, wait_for
from packages import need
from pods import SERVICE
from test_classes import fill, is_refused, world
from test_connect import BOTH
from test_connect_clients import simulated
from test_oneshot import simulators

# People, agents, and a batch job of eight at once, which has one address.
WORK = {
    "person": """
    arrival: {users: USERS}
    turns: 9
    think: {from: 2500ms, to: 7s}
    prompt: {from: 20, to: 300}
    output: 30""",
    "agent": """
    arrival: {users: USERS}
    turns: 12
    think: {from: 300ms, to: 1400ms}
    context: 400
    prompt: {median: 100, sigma: 0.5, max: 300}
    output: 20""",
    "batch": """
    arrival: {users: 8}
    prompt: {median: 600, sigma: 0.5, max: 3000}
    output: 60
    addresses: class""",
}
CLASS = {"person": "interactive", "agent": "agent", "batch": "batch"}
CONNECTIONS = ("per-request", "keep-alive")


def workload(node, connection, users, *which):
    text = "classes:" + "".join(f"\n  - name: {name}{WORK[name]}\n    connection: {connection}" for name in which)
    return node.write(f"{'-'.join(which)}.yaml", text.replace("USERS", str(users)) + "\n")


def load(where, node, to, work, *options):
    log = node.dir / f"{work.stem}.log"
    process = where.popen([BUILD / "pintle-load", "-t", f"http://{to}", "-w", work, "-d", "30", "--log", log,
                           *options], stdout=subprocess.DEVNULL)
    return process, log


def recorded(log, session_of):
    """{session: its requests that were answered, in the order of their ends}, by the client's log."""
    found = collections.defaultdict(list)
    for line in log.read_text().splitlines():
        r = json.loads(line)
        if r["outcome"] == "ok":
            found[session_of(r)].append((round((r["due"] + r["e2e"]) * 1e9), round(r["due"] * 1e9),
                                         4 * r["prompt_tokens"] + 200))
    return {s: sorted(found[s]) for s in sorted(found)}


def verdicts(node, sessions):
    """What the classifier says of these sessions by the client's log alone."""
    lines = []
    for i, requests in enumerate(sessions.values()):
        for ended, begun, size in requests:
            beside = sum(b < begun < e for e, b, _ in requests)
            lines.append((ended, f"{i} {begun + 1} {ended + 1} {size} {beside}\n"))
    text = node.write("recorded", "".join(line for _, line in sorted(lines)))
    out = node.run("sh", "-c", '"$0" < "$1"', BUILD / "tests/e2e/verdicts", text).stdout
    found = dict(line.split() for line in out.splitlines())
    return {s: found[str(i)] for i, s in enumerate(sessions)}


def settled(where, want):
    """Waits until each session has the class that it should have. Returns all that have any."""
    def found():
        return {s["session"]: s["class"] for s in where.cli("sessions") if s["class"]}
    wait_for(lambda: want.items() <= found().items(), 20, lambda: f"{want}, not {found()}")
    return found()


@case(each=CONNECTIONS, san=False)
def test_at_servers(node, connection):
    """The lookup hook: each session has an address of its own. The kernel's evidence leads to the verdicts to which
    the client's own record leads."""
    sims = simulators(node, 2)
    daemon = node.steer(sims.endpoints, classes="auto")
    process, log = load(node, node, FRONTEND["v4"], workload(node, connection, 2, *WORK), "--source", "127.1.0.0/16")
    process.wait(60)
    third = {name: f"127.1.{64 * i}." for i, name in enumerate(WORK)}
    sessions = recorded(log, lambda r: (r["class"], 0 if r["class"] == "batch" else r["session"]))
    numbers = collections.Counter()
    addresses = {}
    for name, number in sessions:
        numbers[name] += 1
        addresses[name, number] = f"{third[name]}{numbers[name]}"
    by_client = verdicts(node, sessions)
    want = {addresses[s]: v for s, v in by_client.items() if len(sessions[s]) >= 7 or s[0] == "person"}
    got = settled(node, want)
    right = sum(CLASS[s[0]] == by_client[s] for s in sessions if addresses[s] in want)
    assert right >= len(want) - 1, (by_client, got)
    assert {"interactive", "agent", "batch"} == set(got.values()), got
    counted = {c: daemon.metric("pintle_sessions_classified", pool="pool", **{"class": c}) for c in CLASS.values()}
    assert counted == {c: sum(v == c for v in got.values()) for c in CLASS.values()}, (counted, got)
    assert daemon.metric("pintle_evidence_lost_total") == 0
    judged = daemon.metric("pintle_classified_requests_total", pool="pool")
    made = sum(map(len, sessions.values()))
    assert judged > 0.7 * made, (judged, made)


@case(each=CONNECTIONS, san=False)
def test_at_clients(node, connection):
    """The connect hook: a pod of people, one of agents and one of a batch job, each a session."""
    cluster, _ = simulated(node, classes="auto", stickiness={"key": "client"})
    runs = {}
    for name in WORK:
        pod = cluster.pod(name)
        runs[name] = (pod, *load(pod, node, SERVICE["v4"], workload(node, connection, 1, name)))
    for _, process, _ in runs.values():
        process.wait(60)
    by_client = {name: verdicts(node, recorded(log, lambda r: r["class"]))[name] for name, (_, _, log) in runs.items()}
    assert by_client == CLASS, by_client
    rows = {s["session"]: s for s in cluster.cli("sessions")}
    wait_for(lambda: sorted(s["class"] for s in cluster.cli("sessions") if s["class"]) == sorted(CLASS.values()), 20)
    assert all(s["class_by"] == "classifier" for s in rows.values() if s["class"]), rows


# -- what a verdict does, and what is done to it ------------------------------------------

LIMITED = {"classify": True, "classes": [{"name": "interactive"},
                                         {"name": "batch", "priority": -1, "limit": 3, "admission": "refuse"}]}


def hurry(ask, shows):
    """Asks without a pause, until that shows."""
    wait_for(lambda: ask() and shows(), 20)


def classes_of(where):
    return {s["session"]: (s["class"], s["class_by"]) for s in where.cli("sessions") if s["class"]}


@case(each=BOTH)
def test_a_verdict_is_obeyed(node, family):
    """The lookup hook: who behaves like a batch job is refused where batch is; so without a daemon, and with the
    next one. Rules and operators come first."""
    servers = node.servers(1)
    daemon = node.steer(servers, **LIMITED)
    to = FRONTEND[family]
    hurry(lambda: node.ask(to, source(7, family)), lambda: classes_of(node))
    (session, said), = classes_of(node).items()
    assert said == ("batch", "classifier")
    told = node.cli("explain", "pool", "--source", source(7, family))
    assert (told["class"], told["class_by"]) == ("batch", "classifier")

    def refused(n=7):
        return is_refused(lambda: node.ask(to, source(n, family)))

    fill(*servers)
    assert refused() and not refused(8)
    node.pintle("classify", "pool", session, "interactive")
    assert not refused()
    node.pintle("unclassify", "pool", session)
    assert refused()
    daemon.kill()
    held = node.hold(to, 4, first=20)
    wait_for(refused)
    assert not refused(8)
    for c, _ in held:
        c.close()
    since = node.cli("sessions", session)[0]["class_seconds"]
    daemon = node.steer(servers, **LIMITED)
    fill(*servers)
    assert refused() and not refused(8)
    row = node.cli("sessions", session)[0]
    assert row["class_by"] == "classifier" and row["class_seconds"] >= since
    daemon.reload(node.config(node.pool(servers, **{**LIMITED, "classify": False})))
    node.pintle("reload")
    fill(*servers)
    assert not refused()


def test_a_pod_is_obeyed(node):
    """The connect hook."""
    cluster, servers, client, _ = world(node, **LIMITED, stickiness={"key": "client"})
    other = cluster.pod("other")
    to = SERVICE["v4"]
    hurry(lambda: client.ask(to), lambda: classes_of(cluster))
    assert list(classes_of(cluster).values()) == [("batch", "classifier")]
    fill(*servers)
    assert is_refused(lambda: client.ask(to)) and not is_refused(lambda: other.ask(to))


def test_changes_its_ways(node):
    """A batch job that becomes an agent."""
    servers = node.servers(1)
    node.steer(servers, classes="auto")
    hurry(lambda: node.ask(FRONTEND["v4"], source(7)), lambda: classes_of(node))
    assert set(classes_of(node).values()) == {("batch", "classifier")}

    def slowly():
        time.sleep(0.7)
        return node.ask(FRONTEND["v4"], source(7))

    hurry(slowly, lambda: set(classes_of(node).values()) == {("agent", "classifier")})


@case(san=False)
def test_a_flood_of_sessions(node):
    """A client with thousands of addresses, and half requests from each, moves nobody else's class and gets none."""
    node.add_client()
    sims = simulators(node, 2)
    daemon = node.steer(sims.endpoints, classes="auto")
    victim = source(9, remote=True)
    hurry(lambda: node.connect(FRONTEND["v4"], victim, remote=True).ask("/v1/models", close=True),
          lambda: classes_of(node))
    before = node.cli("sessions", victim)[0]
    judged = daemon.metric("pintle_classified_requests_total", pool="pool")
    for n in range(300):
        with node.connect(FRONTEND["v4"], source(1000 + n)) as c:
            c.sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")
    work = node.write("flood.yaml", "classes:\n  - name: flood\n    arrival: {rate: 300}\n    prompt: 10\n    output: 1\n")
    run = node.popen([BUILD / "pintle-load", "-t", f"http://{FRONTEND['v4']}", "-w", work, "--source", "127.1.128.0/17",
                      "-d", "10"], stdout=subprocess.DEVNULL)
    run.wait(40)
    wait_for(lambda: daemon.metric("pintle_classified_requests_total", pool="pool") >= judged + 2000)
    assert list(classes_of(node)) == [victim], classes_of(node)
    after = node.cli("sessions", victim)[0]
    assert after["class"] == before["class"] and after["class_seconds"] > before["class_seconds"]
    assert daemon.metric("pintle_evidence_lost_total") == 0


@case(san=False)
def test_a_full_ring(node):
    """Evidence that finds the ring full, because pintled does not run for a while, is lost and counted. No connection
    notices, and sessions are judged again afterwards."""
    daemon = node.steer(node.servers(2), classes="auto")
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(30):
            out = node.run(need("wrk"), "-t1", "-c8", "-d1s", "-H", "Connection: close", f"http://{FRONTEND['v4']}/").stdout
            assert "Socket errors" not in out and "Non-2xx" not in out, out
            if sum(e["opened"] for e in node.cli("endpoints")) > 8000:
                break
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    hurry(lambda: node.ask(FRONTEND["v4"], source(7)), lambda: source(7) in classes_of(node))
    assert daemon.metric("pintle_evidence_lost_total") > 0, daemon.metric("pintle_classified_requests_total", pool="pool")
    wait_for(lambda: not any(node.in_flight().values()))


def test_off(node):
    """Nothing is looked at where no pool classifies, and what was found is gone."""
    servers = node.servers(1)
    daemon = node.steer(servers, classes="auto")
    hurry(lambda: node.ask(FRONTEND["v4"], source(7)), lambda: classes_of(node))
    daemon.reload(node.config(node.pool(servers, classes="auto", classify=False)))
    node.pintle("reload")
    assert not classes_of(node)
    assert not any(name.startswith("pintle_sessions_classified") for name, _ in daemon.metrics())
    assert node.run("bpftool", "-j", "map", "dump", "pinned", next(node.bpffs.rglob("sessions"))).stdout.strip() == "[]"
