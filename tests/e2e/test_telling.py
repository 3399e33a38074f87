# SPDX-License-Identifier: Apache-2.0
"""What the daemon and the CLI tell, whom, and what they keep to themselves."""
import json
import os
import re
import shutil
import time
from pathlib import Path

from clients import NODE_ADDRESS, split
from daemon import METRICS, Daemon
from harness import case
from kernel import BUILD, TOP, wait_for
from pods import SERVICE, Cluster
from test_connect import SELDOM


@case(each=("loopback", "another address"))
def test_probes_are_answered(node, who):
    """Whoever holds hundreds of connections to node.metrics without a whole request, even from the
    kubelet's own address, does not keep a probe from its answer."""
    remote = who != "loopback"
    port = METRICS.split(":")[1]
    node.add_client()
    daemon = node.daemon(node.config(node.pool(node.servers(1)), metrics=f"0.0.0.0:{port}"))
    held = []
    for i in range(300):
        c = node.connect(f"{NODE_ADDRESS['v4']}:{port}" if remote else METRICS, remote=remote)
        c.sock.sendall((b"", b"GET /hea", b"GET /metrics HTTP/1.1\r\nHost: a\r\n")[i % 3])
        held.append(c)
    for path in ("/healthz", "/readyz", "/metrics"):
        begun = time.monotonic()
        assert daemon.get(path)[0] == 200
        assert time.monotonic() - begun < 3, path
    for c in held:
        c.close()


# -- of itself -----------------------------------------------------------------------------


def test_reload_is_told(node):
    """Whether the newest reload went well, and when the last one did; a FIFO in the place of the file
    holds nobody up."""
    servers = node.servers(2)
    daemon = node.steer(servers)
    when = "pintle_config_last_reload_success_timestamp_seconds"
    well = "pintle_config_last_reload_successful"
    begun = daemon.metric(when)
    assert daemon.metric(well) == 1 and abs(begun - time.time()) < 60
    good = Path(daemon.config).read_text()
    daemon.reload("pools: 1")
    wait_for(lambda: daemon.metric(well) == 0)
    os.unlink(daemon.config)
    os.mkfifo(daemon.config)
    daemon.reload()
    wait_for(lambda: "is a FIFO; name a regular file" in daemon.log())
    check = node.run(BUILD / "pintle", "check", daemon.config, check=False)
    assert check.returncode == 2 and "is a FIFO; name a regular file" in check.stderr, check
    assert (daemon.metric(well), daemon.metric(when)) == (0, begun)
    os.unlink(daemon.config)
    daemon.reload(good)
    wait_for(lambda: daemon.metric(well) == 1)
    assert daemon.metric(when) > begun


@case(each=("value", "twice", "terminal"))
def test_bad_page_is_named(node, what):
    """The log says where a page is wrong and how, and repeats nothing that a terminal would obey."""
    page, said = {
        "value": ("vllm:num_requests_running -1\nvllm:num_requests_waiting NaN\n",
                  "line 1, vllm:num_requests_running: its value is -1"),
        "twice": ("vllm:num_requests_waiting 1\nvllm:num_requests_waiting 1\n",
                  "line 2, vllm:num_requests_waiting: the series of line 1 again"),
        "terminal": ("vllm:num_requests_waiting{\x1b]0;SECRET\x07} 1\n",
                     "line 1, vllm:num_requests_waiting: its labels cannot be read"),
    }[what]
    servers = node.servers(1)
    daemon = node.steer(servers)
    servers[0].be(page=page)
    wait_for(lambda: f"failed: {said}" in daemon.log())
    assert "\x1b" not in daemon.log() and "SECRET" not in daemon.log()
    assert node.cli("endpoints")[0]["scrape_failed"]


def test_process_is_told(node):
    """The daemon's own resources, as its /proc shows them."""
    daemon = node.steer(node.servers(1))
    held = [daemon.node.connect(METRICS) for _ in range(20)]
    found = daemon.metrics()
    fds = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    resident = int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    limit = re.search(r"Max open files +(\d+)", Path(f"/proc/{daemon.pid}/limits").read_text())
    assert abs(found["process_open_fds", ()] - fds) <= 2, fds
    assert found["process_max_fds", ()] == int(limit[1])
    assert abs(found["process_resident_memory_bytes", ()] / resident - 1) < 0.2, resident
    assert abs(found["process_start_time_seconds", ()] - time.time()) < 60
    assert 0 < found["process_cpu_seconds_total", ()] < 60
    for c in held:
        c.close()


def series_of(daemon):
    """Families that endpoints have, and how many series each endpoint has."""
    found = [(name, dict(labels).get("endpoint")) for name, labels in daemon.metrics()]
    return {n for n, e in found if e}, sum(e == "s0" for _, e in found)


def test_fewer_series(node):
    """node.metricsDetail: main leaves of each endpoint what docs/metrics.md calls main, from a reload on;
    pools and the node have all."""
    servers = node.servers(2)
    daemon = node.steer(servers)
    everything, many = series_of(daemon)
    others = {n for n, labels in daemon.metrics() if not dict(labels).get("endpoint")}
    daemon.reload(node.config(node.pool(servers), metricsDetail="main"))
    wait_for(lambda: series_of(daemon)[1] < many)
    page = (TOP / "docs/metrics.md").read_text()
    said = set(re.findall(r"^\| `(pintle_\w+)` .*\*Main\.\* \|$", page, re.M))
    few = series_of(daemon)[0]
    # The percentile is there only where somebody asked.
    assert few == said & everything and {"pintle_endpoint_load", "pintle_endpoint_state"} <= few, few ^ said
    assert series_of(daemon)[1] * 4 <= many
    assert others == {n for n, labels in daemon.metrics() if not dict(labels).get("endpoint")}
    daemon.reload(node.config(node.pool(servers), metricsDetail="pools"))
    wait_for(lambda: series_of(daemon) == (set(), 0))
    assert others == {n for n, labels in daemon.metrics()}
    # The default.
    daemon.reload(node.config(node.pool(servers), metricsDetail=None))
    wait_for(lambda: series_of(daemon)[0] == few)


def test_failures_are_told(node):
    """Counters of what failed are on the page by default, of the endpoints that failed."""
    servers = node.servers(2)
    daemon = node.daemon(node.config(node.pool(servers), metricsDetail=None))
    wait_for(lambda: daemon.metric("pintle_endpoint_state", pool="pool", endpoint="s1", state="ready") == 1)
    servers[1].be(page="no metrics\n")
    name = "pintle_endpoint_scrape_failures_total"
    wait_for(lambda: daemon.metric(name, pool="pool", endpoint="s1") > 1)
    found = daemon.metrics()
    assert [dict(labels)["endpoint"] for n, labels in found if n == name] == ["s1"]
    assert 1 < found["pintle_pool_scrape_failures_total", (("pool", "pool"),)] \
        < found["pintle_pool_scrapes_total", (("pool", "pool"),)]
    wait_for(lambda: daemon.metric("pintle_endpoint_state", pool="pool", endpoint="s1", state="stale") == 1)
    assert sum(n == "pintle_endpoint_state" for n, _ in daemon.metrics()) == 2


def test_pools_tokens_only_grow(node):
    """A pool's sums of what servers count never fall, though a server begins again or leaves the pool."""
    def page(tokens):
        return f"vllm:num_requests_waiting 0\nvllm:num_requests_running 0\nvllm:prompt_tokens_total {tokens}\n"

    servers = node.servers(2, be={"page": page(1000)})
    daemon = node.steer(servers)

    def grown(by):
        wait_for(lambda: daemon.metric("pintle_pool_prompt_tokens_total", pool="pool") == by)

    grown(0)  # what was counted before is not this daemon's
    servers[0].be(page=page(1500))
    grown(500)
    servers[0].be(page=page(20))  # a new process
    grown(520)
    daemon.reload(node.config(node.pool(servers[1:])))
    wait_for(lambda: len(node.cli("endpoints")) == 1)
    servers[1].be(page=page(1001))
    grown(521)


@case(timeout=180, san=False)
def test_page_of_a_thousand(node):
    """By default the page of 1,000 endpoints, with names as in a cluster, is at most 600 kB, though all serve."""
    cluster = Cluster(node)
    machine = cluster.machines[0]
    server, client = machine.pod("server"), machine.pod("client")
    server.batch("route add local 10.8.0.0/16 dev lo")
    machine.batch(f"route add 10.8.0.0/16 via {server.v4}")
    server.server()
    pool = cluster.pool([{"name": f"llama-8b-7f9c5d7b6d-{i:05}", "address": f"10.8.{i >> 8}.{i & 255}:8000"}
                         for i in range(1000)], "llm.llama-8b", **SELDOM)
    sizes = {}

    def page():
        return daemon.get("/metrics")[1]

    def is_of(detail, text):
        return [name in text for name in ("_endpoint_load{", "_endpoint_kv_cache_usage_ratio{", "_endpoint_time_to_")] \
            == [detail != "pools", detail in ("all", "histograms"), detail == "histograms"]

    daemon = machine.daemon(machine.config(pool, metricsDetail=None))
    machine.all_ready()
    client.spread(SERVICE["v4"], 2000)
    wait_for(lambda: len([line for line in page().splitlines() if "endpoint_first_token_p95" in line]) > 500)
    for detail in ("main", "pools", "all", "histograms"):
        daemon.reload(machine.config(pool, metricsDetail=detail if detail != "main" else None))
        sizes[detail] = wait_for(lambda: is_of(detail, text := page()) and text)
    lines = [line for line in sizes["main"].splitlines() if "endpoint=" in line]
    timed = [line for line in lines if "first_token_p95" in line]
    assert len(lines) == 4000 + len(timed) and len(timed) > 500
    # As if the others had served, too.
    most = len(sizes["main"]) + (1000 - len(timed)) * max(map(len, timed))
    assert most <= 600_000 and len(sizes["pools"]) < 30_000, (most, {k: len(v) for k, v in sizes.items()})


# -- pages that are not for everybody ---------------------------------------------------

SECRET = "s3cret-t0ken"
HTTPS = "127.0.0.1:9443"


class Protected:
    """An https page for the endpoint s0: its server, the files that name and open it."""

    def __init__(self, node, **options):
        self.node = node
        self.model = node.server("s0")
        self.token = self.put("token", SECRET)
        self.accepted = self.put("accepted", SECRET)
        self.log = self.put("requests", "")
        authority = self.certify("authority", "/CN=tests")
        self.ca = authority[0]
        cert, key = self.certify("page", "/CN=page.test", "DNS:page.test", authority)
        self.cert, self.key = self.certify("pintled", "/CN=pintled", "DNS:pintled", authority)
        node.popen(["/usr/bin/python3", Path(__file__).with_name("tls_page.py"), json.dumps({
            "address": split(HTTPS), "cert": str(cert), "key": str(key), "log": str(self.log),
            "token": str(self.accepted), "client_ca": str(self.ca), **options,
        })], log="tls-page.log")
        wait_for(lambda: node.connect(HTTPS).close() or True)

    def put(self, name, text):
        """As Kubernetes does it: another file takes the place of the old one."""
        new = self.node.write(name + ".new", text)
        return new.rename(self.node.dir / name)

    def certify(self, name, subject, names=None, by=None):
        """(certificate, key), self-signed or of an authority."""
        more = ["-addext", f"subjectAltName={names}"] if names else []
        more += ["-CA", by[0], "-CAkey", by[1]] if by else []
        return self.node.certificate(name, *more, subject=subject)

    def config(self, url=f"https://{HTTPS}/metrics?key={SECRET}", **tls):
        tls = {"caFile": str(self.ca), "certFile": str(self.cert), "keyFile": str(self.key),
               "serverName": "page.test", **tls}
        return self.node.config(self.node.pool([{"name": "s0", "listen": "8001", "metrics": url}], scrape={
            "authorization": {"credentialsFile": str(self.token)},
            "tlsConfig": {k: v for k, v in tls.items() if v},
        }))

    def requests(self):
        return [line.split(" ", 2) for line in self.log.read_text().splitlines()]

    def row(self):
        return self.node.cli("endpoints")[0]


def test_protected_page(node):
    """A page that asks for a certificate and a token is read; a token that is put in the old one's
    place is used without a word, and one that cannot be read is told. Nothing shows the secret."""
    page = Protected(node)
    daemon = node.daemon(page.config())
    wait_for(lambda: page.row()["state"] == "ready")
    assert page.requests()[0] == [f"/metrics?key={SECRET}", "page.test:9443", f"Bearer {SECRET}"]
    page.put("accepted", "another")
    wait_for(lambda: page.row()["scrape_failed"])
    page.put("token", "another\n")
    wait_for(lambda: not page.row()["scrape_failed"])
    page.put("token", "two words\r\nX-Evil: 1")
    wait_for(lambda: page.row()["scrape_failed"])
    wait_for(lambda: f"no credential in {page.token}: it holds something else" in daemon.log())
    page.token.unlink()
    wait_for(lambda: "No such file" in daemon.log())
    page.put("token", "another")
    wait_for(lambda: not page.row()["scrape_failed"])
    told = daemon.log() + daemon.get("/metrics")[1] + "".join(
        json.dumps(node.cli(noun)) + node.pintle(noun).stdout for noun in ("status", "pools", "endpoints"))
    assert not [word for word in (SECRET, "another", "two words") if word in told], told


@case(each=("authority", "certificate", "name"))
def test_page_of_a_stranger(node, what):
    """A server without the right authority or name gets no request, and one that wants a certificate
    gives no page; the log says why."""
    page = Protected(node)
    wrong = {
        "authority": ({"caFile": None}, "certificate"),
        "certificate": ({"certFile": None, "keyFile": None}, "certificate required"),
        "name": ({"serverName": "other.test"}, "other.test"),
    }[what]
    daemon = Daemon(node, node.write("c.yaml", page.config(**wrong[0])), wait=False)
    said = wait_for(lambda: re.search("scrape of pool/s0 at .* failed: (.*);", daemon.log()))
    assert wrong[1] in said[1], said[0]
    assert page.requests() == [] and SECRET not in daemon.log()


def test_redirect_gets_no_credential(node):
    """A page that sends elsewhere is a failure; elsewhere nobody asks."""
    other = node.server("other", "8009")
    page = Protected(node, redirect="http://127.0.0.1:8009/metrics")
    daemon = Daemon(node, node.write("c.yaml", page.config()), wait=False)
    wait_for(lambda: "failed: HTTP status 302" in daemon.log())
    assert len(page.requests()) >= 1 and other.counts().scrapes == 0


def test_check_shows_no_secret(node):
    """What `pintle check` and the daemon say of a broken URL has neither its password nor its query."""
    for url in (f"http//u:{SECRET}@h/", f"http://u:{SECRET}@h:99999/?key={SECRET}"):
        config = node.write("c.yaml", node.config(node.pool(
            [{"name": "s0", "listen": "8001", "metrics": url}])))
        for argv in ([BUILD / "pintle", "check", config], [BUILD / "pintled", "--config", config]):
            result = node.run(*argv, check=False)
            assert result.returncode == 2 and "metrics is" in result.stderr, result
            assert SECRET not in result.stdout + result.stderr, result
    config = node.write("c.yaml", node.config(node.pool(
        [{"name": "s0", "listen": f"http://u:{SECRET}@h/"}]), metrics=f"http://u:{SECRET}@h:1/?{SECRET}"))
    result = node.run(BUILD / "pintle", "check", config, check=False)
    assert "listen is" in result.stderr and "node.metrics is" in result.stderr, result
    assert SECRET not in result.stderr, result


@case(san=False)
def test_why_it_cannot_load(node):
    """pintled without root, or on a kernel that shows no BTF, ends with the reason and what helps."""
    config = node.write("c.yaml", node.config(node.pool([{"name": "a", "listen": "8001"}]), netns=None))
    program = Path(shutil.copy(BUILD / "pintled", node.dir / "pintled"))  # where others may read it
    nobody = "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"

    def ends(*how, does=("--config", config)):
        said = node.run(*how, program, *does, check=False)
        assert said.returncode == 1, said
        return said.stderr.splitlines()[-1]

    # As systemd mounts it: only root may look into it.
    node.bpf_mount.chmod(0o700)
    assert f"failed to make {node.bpffs} (run pintled as root)" in ends(*nobody)
    detach = "--detach", "--bpffs", node.bpffs
    assert f"failed to open {node.bpffs} (run pintled as root)" in ends(*nobody, does=detach)
    node.bpf_mount.chmod(0o777)
    said = ends(*nobody)
    assert "the kernel would not load the programs (run pintled as root)" in said, said
    said = ends("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$@"', "sh")
    assert "/sys/kernel/btf/vmlinux is not there; use a kernel built with CONFIG_DEBUG_INFO_BTF=y" in said, said
