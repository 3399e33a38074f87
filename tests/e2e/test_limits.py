# SPDX-License-Identifier: Apache-2.0
"""As many pools, endpoints and frontends as a node has room for (docs/operations.md, Limits)."""
from harness import case
from kernel import BUILD, wait_for
from pods import Cluster
from test_connect import SELDOM

# One page after the other comes from the same server.
PATIENT = {**SELDOM, "scrape": {**SELDOM["scrape"], "timeout": "60s"}}
POOLS, ENDPOINTS, FRONTENDS, MEMBERS = 256, 4096, 4096, 1024


def address(net, i):
    return f"10.{net}.{i >> 8}.{i & 255}"


def pools_of(cluster, count=POOLS, endpoints=ENDPOINTS, frontends=FRONTENDS):
    """`count` pools that share these endpoints, all of them addresses of one pod, and frontends. The
    first pool has as many endpoints as a pool can have."""
    first, each = MEMBERS, (endpoints - MEMBERS) // (count - 1)
    ends = [first + i * each for i in range(count - 1)] + [endpoints]
    fronts = [(i + 1) * frontends // count for i in range(count)]
    for i, (start, end) in enumerate(zip([0, *ends], ends)):
        made = cluster.pool([{"name": f"e{k}", "address": f"{address(8, k)}:8000"} for k in range(start, end)],
                            f"p{i}", stickiness={"key": "client"}, **PATIENT)
        made["frontends"] = [f"{address(96, k)}:80" for k in range(fronts[i - 1] if i else 0, fronts[i])]
        yield made


def seen(cluster, client, net):
    """The CLI shows them all, and connections to frontends of the first, of the last and of other pools
    are steered."""
    def decided():
        return sum(p["decisions"] for p in cluster.cli("pools"))

    wait_for(lambda: sum(f.startswith(f"10.{net}.") for p in cluster.cli("pools") for f in p["frontends"]) == FRONTENDS,
             120, "all frontends")
    wait_for(lambda: {e["state"] for e in cluster.cli("endpoints")} == {"ready"}, 120, "all endpoints to be ready")
    rows = cluster.cli("endpoints")
    assert len({(e["pool"], e["name"]) for e in rows}) == len(rows) == ENDPOINTS
    assert len(cluster.cli("pools")) == POOLS
    asked, before = [0, 1, 15, 16, 2047, 2048, 4094, 4095], decided()
    for i in asked:
        assert client.ask(f"{address(net, i)}:80") == "server", i
    assert decided() == before + len(asked)
    wait_for(lambda: {"p0", "p127", "p128", "p255"} <= {e["pool"] for e in cluster.cli("endpoints") if e["opened"]})


@case(timeout=400, san=False)
def test_as_many_as_there_can_be(node):
    """256 pools, 4,096 endpoints and 4,096 frontends are loaded, steered, shown, and replaced by others at
    once."""
    cluster = Cluster(node)
    machine = cluster.machines[0]
    server, client = machine.pod("server"), machine.pod("client")
    for net in (8, 9):
        server.batch(f"route add local 10.{net}.0.0/16 dev lo")
        machine.batch(f"route add 10.{net}.0.0/16 via {server.v4}")
    server.server()
    config = cluster.config(*pools_of(cluster))
    daemon = cluster.daemon(config)
    seen(cluster, client, 96)
    # All of them at other addresses, in one step.
    daemon.reload(config.replace("10.8.", "10.9.").replace("10.96.", "10.97."))
    seen(cluster, client, 97)


def test_one_more_is_refused(node):
    """One pool, endpoint or frontend more than there is room for is one error, at its place in the
    file; what runs goes on."""
    cluster = Cluster(node)
    for more, what in (({"count": POOLS + 1}, "pools: more than 256 in the file"),
                       ({"endpoints": ENDPOINTS + 1}, "endpoints: more than 4096 in the file"),
                       ({"frontends": FRONTENDS + 1}, "frontends: more than 4096 in the file")):
        path = node.write("more.yaml", cluster.config(*pools_of(cluster, **more)))
        said = node.run(BUILD / "pintle", "check", path, check=False)
        assert said.returncode == 2 and len(said.stderr.splitlines()) == 1 and what in said.stderr, said
