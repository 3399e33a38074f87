# SPDX-License-Identifier: Apache-2.0
"""What docs/examples shows works as it stands there."""
import packages
from harness import case
from kernel import TOP, wait_for
from packages import library, need
from pods import SERVICE, Cluster
from test_connect_clients import simulated
from test_connect_keys import EVEN

# The daemon's own code is run by test_connect and test_connect_daemon.
UNDER_SANITIZERS = False

EXAMPLES = TOP / "docs/examples"
HOST, PORT = SERVICE["v4"].split(":")
MODEL = "llama"
KEYS = [f"user-{i}" for i in range(8)]


def hinted(node):
    return simulated(node, 3, stickiness={"key": "hint"}, **EVEN)


def each_stays(cluster, ask):
    """Twice for each session: the second time where it was the first."""
    first = [ask(key) for key in KEYS]
    assert [ask(key) for key in KEYS] == first
    assert len(set(first)) > 1
    assert cluster.decisions() == {"least_loaded": len(KEYS), "sticky": len(KEYS)}


def pod_of(text):
    """Who answered, of an answer with its head."""
    return next(line.split()[1] for line in text.splitlines() if line.lower().startswith("x-inference-pod:"))


def test_hint_c(node):
    program = node.dir / "hint"
    node.run(need("cc"), "-Wall", "-Wextra", "-Werror", f"-I{TOP}/headers", "-o", program, EXAMPLES / "hint.c")
    cluster, client = hinted(node)
    each_stays(cluster, lambda key: pod_of(client.run(program, HOST, PORT, key, "/v1/models").stdout))


@case(timeout=120)
def test_hint_py(node):
    python = library("python") / "bin/python"
    cluster, client = hinted(node)
    asked = [client.run(python, "-B", EXAMPLES / "hint.py", f"http://{SERVICE['v4']}/v1", MODEL, *KEYS,
                        timeout=60).stdout for _ in range(2)]
    assert asked[0] == asked[1] and len({line.split()[1] for line in asked[0].splitlines()}) > 1, asked
    assert cluster.decisions() == {"least_loaded": len(KEYS), "sticky": len(KEYS)}


@case(timeout=240)
def test_hint_go(node):
    program = node.dir / "hint"
    node.run(need("go"), "build", "-o", program, EXAMPLES / "hint.go", timeout=200,
             # Half a minute of work the first time.
             env={"HOME": str(node.dir), "GOCACHE": str(TOP / "build/go-cache"), "GOFLAGS": "-mod=mod",
                  "CGO_ENABLED": "0"})
    cluster, client = hinted(node)
    each_stays(cluster, lambda key: client.run(program, f"http://{SERVICE['v4']}/v1/models", key).stdout.split()[1])


# -- gateways: a client keeps one connection to them and sends the requests of all sessions on it ----


class Gateway:
    """A gateway in a pod of its own, as the example has it but for addresses."""

    def __init__(self, node, example, key, frontend=SERVICE["v4"], swaps=None, argv=None):
        self.cluster = Cluster(node)
        self.pods = self.cluster.servers(3)
        self.pod = self.cluster.pod("gateway")
        self.cluster.steer(self.cluster.pool(self.pods, to=frontend, stickiness={"key": key}, **EVEN))
        text = (EXAMPLES / example).read_text()
        for old, new in (swaps or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        self.pod.popen([*argv, node.write(example, text)], log=f"{example}.log")
        wait_for(lambda: self.connect().close() is None, 20, "the gateway")

    def connect(self):
        return self.pod.connect("127.0.0.1:8080")

    def ask_on_one(self, requests):
        """One connection of a client, on which these come, one after the other; each is given by its
        headers: who answered."""
        with self.connect() as c:
            return [c.ask("/v1/models", headers=headers) for headers in requests]


def every_request_is_steered(gateway):
    """Each request opens a connection, which its own session decides: also the second of a session in
    a row, and one on another connection of a client."""
    requests = [{"x-session-id": key} for key in KEYS for _ in range(2)]
    first = gateway.ask_on_one(requests)
    assert first[::2] == first[1::2] and len(set(first)) > 1, first
    assert gateway.ask_on_one(requests) == first
    bound = len(gateway.cluster.cli("sessions"))
    assert 1 < bound <= len(KEYS)
    decided = gateway.cluster.decisions()
    assert decided == {"least_loaded": bound, "sticky": 2 * len(requests) - bound}, decided


def source_gateway(node, example, argv, swaps=None):
    # The 127/8 of the example reaches no pod.
    own = {"nginx-source.conf": {"127.200.0.": "10.200.0."},
           "haproxy-source.cfg": {"2143813632": str((10 << 24) + (200 << 16))}}[example]
    swaps = {**own, **(swaps or {"127.78.0.1:8000": SERVICE["v4"]})}
    gateway = Gateway(node, example, "source", swaps=swaps, argv=argv)
    own = "10.200.0.0/16"
    gateway.pod.batch(f"route add local {own} dev lo")
    gateway.cluster.batch(f"route add {own} dev pod{gateway.pod.v4.rsplit('.')[-1]}")
    return gateway


def nginx(node, origin):
    return [packages.gateway("nginx", origin), "-e", "stderr", "-g",
            f"daemon off; pid {node.dir}/nginx.pid; user root;", "-p", node.dir, "-c"]


def haproxy(_, origin):
    return [packages.gateway("haproxy", origin), "-db", "-q", "-f"]


@case(each=packages.NGINX)
def test_nginx_source(node, origin):
    every_request_is_steered(source_gateway(node, "nginx-source.conf", nginx(node, origin)))


@case(each=packages.NGINX)
def test_nginx_source_upstream(node, origin):
    """The same with the frontend in an `upstream`, for which newer ones keep connections."""
    every_request_is_steered(source_gateway(node, "nginx-source.conf", nginx(node, origin), {
        "server {\n": f"upstream frontend {{ server {SERVICE['v4']}; }}\n    server {{\n",
        "proxy_pass http://127.78.0.1:8000": "proxy_pass http://frontend"}))


@case(each=packages.HAPROXY)
def test_haproxy_source(node, origin):
    every_request_is_steered(source_gateway(node, "haproxy-source.cfg", haproxy(node, origin)))
