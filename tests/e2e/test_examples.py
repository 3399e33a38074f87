# SPDX-License-Identifier: Apache-2.0
"""The examples of hints in docs/examples work unchanged; test_gateways has the other examples."""
from harness import case
from kernel import TOP
from packages import library, need
from pods import SERVICE
from test_connect_clients import simulated
from test_connect_keys import EVEN

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

EXAMPLES = TOP / "docs/examples"
HOST, PORT = SERVICE["v4"].split(":")
MODEL = "llama"
KEYS = [f"user-{i}" for i in range(8)]


def hinted(node):
    return simulated(node, 3, stickiness={"key": "hint"}, **EVEN)


def each_stays(cluster, ask):
    """Asks twice for each session: the second answer must come from the same pod as the first."""
    first = [ask(key) for key in KEYS]
    assert [ask(key) for key in KEYS] == first
    assert len(set(first)) > 1
    assert cluster.decisions() == {"least_loaded": len(KEYS), "sticky": len(KEYS)}


def pod_of(text):
    """The pod that answered, by an answer with its head."""
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


def go_build(node, source):
    """Builds with whatever Go is here what Go 1.19 must build, too: Debian 12 has that."""
    program = node.dir / source.stem
    node.run(need("go"), "build", "-gcflags=-lang=go1.19", "-o", program, source, timeout=200,
             # The first build takes half a minute.
             env={"HOME": str(node.dir), "GOCACHE": str(TOP / "build/go-cache"), "GOFLAGS": "-mod=mod",
                  "CGO_ENABLED": "0"})
    return program


@case(timeout=300)
def test_hint_go(node):
    # Without this one, cases are skipped.
    go_build(node, TOP / "tests/e2e/keepalive/http.go")
    program = go_build(node, EXAMPLES / "hint.go")
    cluster, client = hinted(node)
    each_stays(cluster, lambda key: client.run(program, f"http://{SERVICE['v4']}/v1/models", key).stdout.split()[1])
