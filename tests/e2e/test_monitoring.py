# SPDX-License-Identifier: Apache-2.0
"""manifests/monitoring and manifests/autoscaling: a real Prometheus has what they ask for."""
import json
import re
import shutil
import urllib.parse

import yaml as pyyaml

from clients import FRONTEND, connect_in
from harness import case
from kernel import TOP, Skip, wait_for

MANIFESTS = TOP / "manifests"
RULES = MANIFESTS / "monitoring/prometheus-rules.yaml"
BOARD = json.loads((MANIFESTS / "monitoring/grafana-board.json").read_text())
SERVER = "127.0.0.1:9090"
# Panels without a line as long as nothing is wrong, or on a node without that feature.
QUIET = {"Decisions that ask for attention", "Largest session", "Mode shadow: what the rule would decide", "Left out",
         "Failures", "API server", "Requests without their answer", "Connections by what the hand-off did", "Prompts",
         "Held connections", "Requests by model"}


def queries():
    """(panel's title, query) of each target, for all nodes, pools and endpoints."""
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "5s")
            yield panel["title"], re.sub(r"\$\w+", ".*", text)


def page_of(turn):
    return "vllm:num_requests_waiting 1\nvllm:num_requests_running 2\nvllm:kv_cache_usage_perc 0.5\n" + "".join(
        f"vllm:{name}_total {10 * turn}\n"
        for name in ("prefix_cache_queries", "prefix_cache_hits", "prompt_tokens", "generation_tokens"))


class Prometheus:
    """Scrapes the node's pintled, and records what the rules say."""

    def __init__(self, node):
        self.node = node
        shutil.copy(RULES, node.dir)
        config = node.write("prometheus.yaml", pyyaml.safe_dump({
            "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"},
            "rule_files": [RULES.name],
            "scrape_configs": [{"job_name": "pintle", "static_configs": [{"targets": ["127.0.0.1:9464"]}]}]}))
        node.popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={node.dir / 'tsdb'}",
                    f"--web.listen-address={SERVER}"], netns=node.netns, log="prometheus.log")
        wait_for(lambda: self.ready(), 30, "Prometheus")

    def get(self, path):
        with connect_in(self.node.netns, SERVER, timeout=5) as c:
            c.send(path, close=True)
            body = c.read()
            return c.status, body

    def ready(self):
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            return False

    def query(self, text):
        """[{"metric": labels, "value": [time, text]}]"""
        status, body = self.get("/api/v1/query?query=" + urllib.parse.quote(text))
        assert status == 200, (text, body)
        return json.loads(body)["data"]["result"]


@case(san=False)
def test_board_is_written(node):
    """The board is what scripts/board writes; its panels have numbers of their own, and lie beside one another."""
    node.run(TOP / "scripts/board", "--check")
    assert len({p["id"] for p in BOARD["panels"]}) == len(BOARD["panels"])
    taken = set()
    for panel in BOARD["panels"]:
        g = panel["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert not cells & taken and g["x"] + g["w"] <= 24, panel["title"]
        taken |= cells


@case(san=False)
def test_what_is_asked_for_is_exported(node):
    """Boards, rules and autoscalers name only metrics that pintled exports, and rules' own series."""
    daemon = node.steer(node.servers(1))
    exported = set(re.findall(r"^# TYPE (\S+) ", daemon.get("/metrics")[1], re.M))
    exported |= {name + part for name in exported for part in ("_bucket", "_sum", "_count")}
    groups = pyyaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    known = exported | {rule["record"] for rule in rules if "record" in rule}
    texts = [text for _, text in queries()] + [rule["expr"] for rule in rules]
    texts += [variable.get("definition", "") for variable in BOARD["templating"]["list"]]
    for path in (MANIFESTS / "autoscaling").iterdir():
        texts += re.findall(r"(?:query|seriesQuery): (.*)", path.read_text())
    for text in texts:
        named = set(re.findall(r"(?:\w+:)?\b(?:pintle|process)_\w+(?::\w+)?", text))
        assert named <= known, (text, named - known)


# What a series is for half an hour, a minute each, of pintle_endpoint_*, and the alert that must come of it.
ALERTS = (
    ("pintle_endpoint_state{%s,state='stalled'}", "1x30", "PintleEndpointStandsStill"),
    ("pintle_endpoint_state{%s,state='faulty'}", "1x30", "PintleEndpointUnfit"),
    ("pintle_endpoint_state{%s,state='unheard'}", "1x30", "PintleStalePage"),
    ("pintle_endpoint_state{%s,state='starting'}", "1x30", None),
    ("pintle_endpoint_state{%s,state='drained'}", "1x30", None),
    ("pintle_endpoint_state{%s,state='asleep'}", "1x30", None),
    ("pintle_endpoint_state{%s,state='ready'}", "1x30", None),
    ("pintle_endpoint_scrape_failures_total{%s}", "0+40x30", "PintleScrapeRefused"),
    ("pintle_endpoint_scrape_failures_total{%s}", "0+10x30", None),
    ("pintle_endpoint_ejections_total{%s}", "1+1x30", "PintleEndpointEjected"),
    ('pintle_endpoint_failing{%s,why="page"}', "1x30", "PintleEndpointFailing"),
)


@case(san=False)
def test_alerts(node):
    """What must come of each state of an endpoint, by promtool: the alert that is meant, and no other."""
    if not shutil.which("promtool"):
        raise Skip("no promtool")
    shutil.copy(RULES, node.dir)
    names = [rule["alert"] for group in pyyaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
             if "alert" in rule and rule["alert"] != "PintleDaemonGone"]
    labels = {"instance": "n", "pool": "p"}
    own = "instance='n',pool='p',endpoint='e'"
    tests = []
    for series, values, wanted in ALERTS:
        tests.append({
            "interval": "1m",
            # Two endpoints, whose pages are read once a second.
            "input_series": [{"series": series.replace("%s", own), "values": values}] + [
                {"series": f"{name}{{instance='n',pool='p'}}", "values": v}
                for name, v in (("pintle_pool_scrapes_total", "0+120x30"), ("pintle_pool_endpoints", "2x30"))],
            "promql_expr_test": [{
                "expr": 'ALERTS{alertstate="firing",alertname!="PintleDaemonGone"}', "eval_time": "20m",
                "exp_samples": [{"value": 1, "labels": "ALERTS" + json.dumps({
                    **labels, "endpoint": "e", "alertname": wanted, "alertstate": "firing", "severity": "warning",
                    **({"state": "faulty"} if "faulty" in series else {})}).replace('": ', '"=').replace(
                        '{"', "{").replace(', "', ", ").replace('"=', "=")}] if wanted else []}],
        })
        assert wanted is None or wanted in names
    path = node.write("tests.yaml", pyyaml.safe_dump({
        "rule_files": [RULES.name], "evaluation_interval": "1m", "tests": tests}))
    result = node.run("promtool", "test", "rules", path, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@case(san=False, timeout=120, each=("main", "all"))
def test_panels_show_something(node, detail):
    """Each panel of the board has a line from a running pool; those about faults answer without one. With
    metricsDetail: all each query has."""
    if not shutil.which("prometheus"):
        raise Skip("no prometheus")
    servers = node.servers(2, be={"page": page_of(1)})
    node.daemon(node.config(node.pool(servers, "llama"), metricsDetail=detail))
    prometheus = Prometheus(node)
    wanted = list(queries())
    assert len(wanted) > 30
    turn = 1

    def all_show():
        """While requests come and go, and the servers' counters grow."""
        nonlocal turn
        turn += 1
        for server in servers:
            server.be(page=page_of(turn))
        for _ in range(5):
            node.ask(FRONTEND["v4"])
        answers = [(title if detail == "main" else text, prometheus.query(text))
                   for title, text in wanted if title not in QUIET]
        silent = {what for what, _ in answers} - {what for what, answer in answers if answer}
        assert not silent, silent
        return True

    wait_for(all_show, 60, "a line in each panel")
    for title, text in wanted:
        prometheus.query(text)
    # What an autoscaler asks: the series that is recorded, and KEDA's own query.
    (one,) = prometheus.query('pool:pintle_pool_saturation:avg')
    assert one["metric"]["pool"] == "llama" and float(one["value"][1]) > 0
    (trigger,) = pyyaml.safe_load((MANIFESTS / "autoscaling/keda.yaml").read_text())["spec"]["triggers"]
    assert len(prometheus.query(trigger["metadata"]["query"].replace("llm/llama-8b", "llama"))) == 1
