# SPDX-License-Identifier: Apache-2.0
"""The policy lab: requests in virtual time, and the same ones through real sockets."""
import collections
import json
import subprocess

from harness import case
from kernel import BUILD, TOP
from test_load import load, workload
from test_sim import Sim

TRACES = TOP / "lab/tests/data/traces"
COLUMNS = ("time", "session", "prompt_tokens", "output_tokens", "group", "shared_tokens")
# A run in which a client saw more than this (in real seconds) above its server's own time was
# delayed by other work on this machine, and proves nothing.
PUNCTUAL = 0.05
TRIES = 8
ROUNDING = 1e-6  # relative; times are sums that were printed and parsed

# Each alone, on a cache of 8,192 tokens: sessions that grow, a text that two share, one prompt
# again, and what was evicted in between.
ALONE = [(0.25 * i, *row) for i, row in enumerate([
    ("a", 500, 20, "docs", 320), ("b", 500, 20, "docs", 320), ("a", 900, 10, "docs", 320),
    ("c", 1800, 40, "", 0), ("c", 1800, 40, "", 0), ("d", 2500, 5, "", 0), ("e", 2500, 5, "", 0),
    ("a", 1300, 30, "docs", 320), ("c", 1900, 1, "", 0), ("b", 501, 2, "docs", 320)])]
# One that takes a step of 8 ms; meanwhile more come than the cache can hold, so that some wait and
# some are preempted. Who shares a step is then no matter of microseconds.
TOGETHER = [(0, "z", 1999, 4, "", 0)] + [
    (0.002 + 0.0005 * i, f"s{i}", 1340 + 100 * i, 100, "docs", 640) for i in range(7)]


def csv(rows, speed=1.0, more=0):
    return "\n".join([",".join(COLUMNS)] + [
        f"{t / speed:.6f},{s},{prompt + more},{output},{group},{shared + more if group else ''}"
        for t, s, prompt, output, group, shared in rows]) + "\n"


def in_the_lab(node, rows):
    """A prompt has a token more here: the server puts one before the text."""
    trace, log = node.write("lab.csv", csv(rows, more=1)), node.dir / "lab.log"
    subprocess.run([BUILD / "pintle-lab", "--trace", trace, "--log", log, "--profile", "tiny",
                    "--block-size", "16", "-n", "1", "-N", "1", "-p", "random", "--seeds", "1"],
                   check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in log.read_text().splitlines()]


def on_sockets(node, rows, speed):
    sim = Sim(node, "--max-num-seqs", 16, "--speed", speed)
    _, requests = load(node, "-t", f"http://{sim.at[0]}", "--api", "completions",
                       "--trace", node.write("load.csv", csv(rows, speed)))
    sums = {short: sim.metric(f"vllm:{name}_seconds_sum")
            for short, name in (("ttft", "time_to_first_token"), ("e2e", "e2e_request_latency"),
                                ("decode", "request_decode_time"), ("queue", "request_queue_time"))}
    counts = {short: sim.metric(f"vllm:{name}_total") for short, name in (
        ("hits", "prefix_cache_hits"), ("queries", "prefix_cache_queries"),
        ("preemptions", "num_preemptions"), ("prompt", "prompt_tokens"),
        ("output", "generation_tokens"))}
    sim.process.terminate()
    sim.process.wait(20)
    return requests, sums, counts


@case(each=("alone", "together"), timeout=120)
def test_lab_and_server_agree(node, how):
    """One trace: the same hits, tokens and times, to what the way over sockets adds."""
    rows, speed = {"alone": (ALONE, 1), "together": (TOGETHER, 0.02)}[how]
    lab = sorted(in_the_lab(node, rows), key=lambda r: r["due"])
    assert len(lab) == len(rows)
    for _ in range(TRIES):
        requests, sums, counts = on_sockets(node, rows, speed)
        requests.sort(key=lambda r: r["due"])
        beside = max(r[k] - mine[k] / speed for r, mine in zip(requests, lab) for k in ("ttft", "e2e"))
        if beside <= PUNCTUAL:
            break
    told = ("session", "prompt_tokens", "output_tokens", "cached_tokens")
    assert [[r[k] for k in told] for r in requests] == [[r[k] for k in told] for r in lab]
    assert counts["hits"] == sum(r["cached_tokens"] for r in lab) > 0
    assert counts["queries"] == counts["prompt"] == sum(r["prompt_tokens"] for r in lab)
    assert counts["output"] == sum(r["output_tokens"] for r in lab)
    total = {k: sum(r[k] for r in lab) for k in ("ttft", "e2e")}
    # what a server does when is told by its own clock, exactly
    decode = total["e2e"] - total["ttft"]
    assert abs(sums["decode"] - decode) < ROUNDING, (sums, total)
    if how == "alone":
        assert counts["preemptions"] == 0
        assert all(abs(sums[k] - total[k]) < ROUNDING for k in total), (sums, total)
    else:
        assert counts["preemptions"] > 0 and sums["queue"] > 0
        # but for when a request arrived
        late = PUNCTUAL * speed * len(rows)
        assert all(abs(sums[k] - total[k]) < late for k in total), (sums, total)
    # a client cannot see it sooner, and did not see it much later
    for r, mine in zip(requests, lab):
        for k in ("ttft", "e2e"):
            assert -PUNCTUAL <= r[k] - mine[k] / speed <= PUNCTUAL, (k, r, mine)


def by_session(requests):
    """{class and session: [(prompt, output), ...] in their order}, and when each began."""
    turns, begun = collections.defaultdict(list), {}
    for r in sorted(requests, key=lambda r: r["due"]):
        key = r["class"], r["session"]
        begun.setdefault(key, r["due"])
        turns[key].append((r["prompt_tokens"], r["output_tokens"]))
    return turns, begun


def test_lab_asks_what_pintle_load_asks(node):
    """Of one seed the sessions of a workload are the same, token by token."""
    file = workload(
        node,
        {"name": "talk", "arrival": {"process": "gamma", "cv": 2, "rate": 20}, "turns": {"mean": 3},
         "think": {"mean": "50ms"}, "shared": {"groups": 3, "tokens": {"from": 50, "to": 90}},
         "prompt": {"median": 20, "sigma": 1}, "output": {"median": 9, "sigma": 1, "max": 40}},
        {"name": "job", "arrival": {"users": 4}, "turns": 2, "history": False, "context": 30,
         "prompt": {"from": 5, "to": 50}, "output": {"mean": 5}})
    sim = Sim(node)
    _, requests = load(node, "-t", f"http://{sim.at[0]}", "-w", file, "--seed", 7, "-d", 2)
    log = node.dir / "lab.log"
    subprocess.run([BUILD / "pintle-lab", "--load", file, "--seed", "7", "--seeds", "1", "-p", "random",
                    "--profile", "tiny", "--warmup", "0", "-d", "2", "--log", log],
                   check=True, stdout=subprocess.DEVNULL)
    turns, begun = by_session(requests)
    lab_turns, lab_begun = by_session(map(json.loads, log.read_text().splitlines()))
    both = turns.keys() & lab_turns.keys()
    assert len(both) > 40 and {c for c, _ in both} == {"talk", "job"}
    for key in both:
        n = min(len(turns[key]), len(lab_turns[key]))
        assert turns[key][:n] == lab_turns[key][:n], key
    # an open loop's arrivals do not depend on answers
    assert all(abs(begun[key] - lab_begun[key]) < 1e-6 for key in both if key[0] == "talk")
    assert sum(len(turns[key]) > 1 for key in both) > 20


def p95(arguments, *policies):
    """The policies' p95 of the time to first token, in ms: means over the same seeds."""
    out = subprocess.run([BUILD / "pintle-lab", *arguments.split(), "--warmup=60", "-d", "120", "--seeds=3",
                          "--seed=3001", "-o", "json", *(f"-p{p}" for p in policies)],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    assert [r["policy"] for r in rows] == list(policies)
    return [r["ttft_p95_ms"][0] for r in rows]


# Where the rule that counted connections lost: the workload, the rival, and the share of its p95 that is allowed.
LOST = {
    "4 nodes, sessions that do not return": ("-N 4 -w batch", "random", 0.9),
    "16 nodes": ("-N 16 -w batch", "random", 0.9),
    "prompts of very different lengths": (f"-N 1 --trace {TRACES}/mooncake-conversation.jsonl", "least-connections",
                                          1),
    "a batch job from one address": ("-N 1 -w mixed-job", "least-connections", 1),
    "all behind one gateway": ("-N 1 -w chat-gateway", "least-connections", 1.1),
}


@case(each=LOST, san=False)  # only figures
def test_where_connections_lost(_node, where):
    arguments, rival, share = LOST[where]
    now, others, before = p95(arguments, "pintle", rival, "pintle:follow=0,crowd=1000")
    assert now <= share * others, (now, others)
    assert now < before, (now, before)
