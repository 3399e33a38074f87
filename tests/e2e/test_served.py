# SPDX-License-Identifier: Apache-2.0
"""Who is served by nobody is told: by `check`, by pintled's log, by `status`, before anybody asks why."""
from clients import FRONTEND
from harness import case
from kernel import BUILD, wait_for

NOT_LOCAL = "is no address of this machine, so that no connection to it arrives here; write announce: true"
UNKNOWN = "because pintled knows no pod's namespace or service account without Kubernetes"


def lacks(node, config):
    """What `check` warns of, in the node."""
    said = node.pintle("check", node.write("checked.yaml", config))
    assert ": good: " in said.stdout, said
    return [line.split(": warning: ", 1)[1] for line in said.stderr.splitlines()]


def warned(node):
    return [w for w in node.cli("status")[0]["warnings"] if NOT_LOCAL in w]


def test_a_frontend_that_is_nowhere(node):
    """A frontend that is neither announced nor an address of the node is told, until the address is there; a prefix,
    of which any address may be meant, is not."""
    servers = node.servers(1)
    pool = node.pool(servers, announce=False, frontends=[FRONTEND["v4"], "10.0.0.0/8:8009"])
    daemon = node.daemon(node.config(pool))
    says = f"pool pool: {FRONTEND['v4']} {NOT_LOCAL}"
    told = lacks(node, node.config(pool, netns=None))
    assert len(told) == 1 and told[0].startswith(f"on this machine: {says}"), told
    assert daemon.log().count(says) == 1, daemon.log()
    assert len(warned(node)) == 1, warned(node)
    node.ip("address", "add", "10.77.0.1/32", "dev", "lo")
    assert not lacks(node, node.config(pool, netns=None)) and not warned(node)
    assert node.ask(FRONTEND["v4"]) == "s0"
    # So does a reload, and an unreachable route is no address either.
    node.ip("address", "del", "10.77.0.1/32", "dev", "lo")
    node.ip("route", "add", "unreachable", "10.77.0.1/32")
    daemon.reload()
    wait_for(lambda: daemon.log().count(says) == 2)
    assert len(lacks(node, node.config(pool, netns=None))) == len(warned(node)) == 1


@case(san=False)
def test_where_the_frontend_is_announced(node):
    """Nothing is told where pintled makes the frontend an address, or other nodes' clients are steered."""
    server = {"name": "a", "listen": "8001"}
    far = node.pool([{"name": "a", "address": "10.0.3.17:8000"}], "far", announce=False, frontends=["10.96.0.1:80"])
    assert not lacks(node, node.config(node.pool([server]), far, netns=None))


def test_names_without_kubernetes(node):
    """Rules that ask for a pod's namespace or service account match nobody where there is no Kubernetes."""
    named, other = [{"namespace": "chat"}, {"serviceAccount": "jobs/run"}], {"source": "10.9.0.0/16"}
    classes = [{"name": "interactive"}, {"name": "batch", "priority": -1, "rules": [*named, other]}]

    def config(**more):
        return node.config({"name": "pool", "frontends": ["10.96.0.1:80"],
                            "endpoints": [{"name": "a", "address": "10.0.3.17:8000"}], **more})

    for more, says in (({"access": {"allow": named}}, f"pool pool: access lets nobody in, {UNKNOWN}"),
                       ({"access": {"allow": [*named, other]}},
                        f"pool pool: 2 of 3 rules of access let nobody in, {UNKNOWN}"),
                       ({"classes": classes}, f"pool pool: 2 of 3 rules of class batch match nobody, {UNKNOWN}")):
        told = lacks(node, config(**more))
        assert len(told) == 1 and told[0].startswith(f"on this machine: {says}"), told
    assert not lacks(node, config(access={"allow": [other]}))
    assert not lacks(node, config(access={"allow": named}) + "kubernetes: {}\n")
    daemon = node.daemon(config(access={"allow": named}))
    assert daemon.log().count(f"pool pool: access lets nobody in, {UNKNOWN}") == 1, daemon.log()


@case(san=False)
def test_names_in_a_pod(node):
    """A pod with a service account's token has the API server to ask, without the key."""
    text = node.config({"name": "pool", "frontends": ["10.96.0.1:80"], "access": {"allow": [{"namespace": "chat"}]},
                        "endpoints": [{"name": "a", "address": "10.0.3.17:8000"}]})
    node.write("c.yaml", text)
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    # In a mount namespace of its own, as a pod has.
    said = node.run("unshare", "-m", "sh", "-c",
                    'mount -t tmpfs none /run && mkdir -p "$0" && : > "$0/token" && exec "$@"', token,
                    BUILD / "pintle", "check", node.dir / "c.yaml",
                    env={"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"})
    assert not said.stderr and "good" in said.stdout, said


def test_own_clients_are_one_session(node):
    """All clients on the servers' machine connect from the frontend's own address: `explain` says so, and how to try it
    as several, which then are spread."""
    node.steer(node.servers(2))
    assert len({node.ask(FRONTEND["v4"]) for _ in range(4)}) == 1
    said = node.pintle("explain", "pool", "--source", "10.77.0.1").stdout
    assert "source: an address of this machine, whose own clients are one session" in said, said
    assert "curl --interface 127.0.0.2" in said
    assert "own clients" not in node.pintle("explain", "pool", "--source", "10.200.0.7").stdout
    assert {node.ask(FRONTEND["v4"], f"127.0.0.{i}") for i in range(2, 34)} == {"s0", "s1"}
