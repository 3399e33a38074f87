# SPDX-License-Identifier: Apache-2.0
"""Access: who may connect to a pool, in both hooks; others are refused at once."""
import errno
import json

from clients import FRONTEND, source
from harness import case
from kernel import BUILD, cgroup_root, wait_for
from pods import SERVICE, Cluster
from test_classes import UID, is_refused, pod_is
from test_connect import BOTH
from test_connect_keys import URL
from test_connect_witnesses import NOBODY, RESTRICTED

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False


def allow(*rules):
    return {"access": {"allow": list(rules)}}


def world(node, *rules, family="v4", **more):
    """A pool of the connect hook that these clients may connect to."""
    cluster = Cluster(node)
    servers = cluster.servers(2)
    daemon = cluster.steer(cluster.pool(servers, family=family, **allow(*rules), **more))
    return cluster, servers, cluster.pod("client"), daemon


def curl(pod, cgroup=None):
    """curl's exit status: 0 is an answer, 7 a refusal."""
    return pod.run("curl", "-sS", "-m5", URL["v4"], cgroup=cgroup, check=False).returncode


def is_refused_by_pintle(pod):
    """Whether connect() fails by ECONNREFUSED: nobody but Pintle knows the Service here."""
    try:
        pod.ask(SERVICE["v4"], timeout=1)
    except OSError as e:
        return e.errno == errno.ECONNREFUSED
    raise AssertionError("somebody answered")


@case(each=BOTH)
def test_by_address(node, family):
    """The lookup hook: clients by their addresses, with a daemon and without."""
    servers = node.servers(2)
    daemon = node.steer(servers, **allow({"source": source(7, family)}))
    friend, other = (lambda n=n: node.ask(FRONTEND[family], source(n, family)) for n in (7, 8))
    assert friend() in ("s0", "s1")
    assert is_refused(other) and is_refused(other)
    decisions = node.decisions()
    assert decisions["forbidden"] == 2, decisions
    assert daemon.metrics()["pintle_decisions_total", (("outcome", "forbidden"), ("pool", "pool"))] == 2
    told = {n: node.cli("explain", "pool", "--source", source(n, family)) for n in (7, 8)}
    assert told[7]["may_connect"] and told[7]["chosen"] in ("s0", "s1"), told
    assert (told[8]["may_connect"], told[8]["outcome"], told[8]["chosen"]) == (False, "forbidden", None), told
    # The server's own address is no business of Pintle's.
    assert node.ask("127.0.0.1:8001", source(8)) == "s0"
    daemon.kill()
    assert friend() in ("s0", "s1") and is_refused(other)


@case(each=BOTH)
def test_by_bound_address(node, family):
    """The connect hook: a socket that is bound to an address, and one that is not."""
    cluster, _, client, daemon = world(node, {"source": "10.1.0.0/16"}, {"source": "fd01::/64"}, family=family)
    own = client.v6 if family == "v6" else client.v4
    to = SERVICE[family]
    assert client.ask(to, own) in ("s0", "s1")
    assert is_refused(lambda: client.ask(to)), "an address that is not known is in no prefix"
    assert cluster.decisions() == {"least_loaded": 1, "forbidden": 1}
    daemon.kill()
    assert client.ask(to, own) in ("s0", "s1")
    assert is_refused(lambda: client.ask(to))


def test_by_cgroup(node):
    """A client whose cgroup is not known yet is refused, and let in once it is."""
    cluster, _, client, _ = world(node, {"cgroup": "/*/batch-*"})

    def told(name):
        path = f"/{client.cgroup.relative_to(cgroup_root())}/{name}"
        return cluster.cli("explain", "pool", "--cgroup", path)["may_connect"]

    path = client.cgroup / "batch-1"
    path.mkdir()
    wait_for(lambda: curl(client, path) == 0)
    (client.cgroup / "chat-1").mkdir()
    assert curl(client, client.cgroup / "chat-1") == 7
    assert told("batch-1") and not told("chat-1")


def test_by_pod(node):
    """A pod of a namespace. A pod of which nothing is known is refused."""
    cluster, _, client, _ = world(node, {"namespace": "jobs"})
    container = client.cgroup / f"kubepods/burstable/pod{UID}/c1"
    container.mkdir(parents=True)
    assert curl(client, container) == 7
    wait_for(lambda: pod_is(cluster, "10.7.0.9", b"jobs", b"run", rules="allowed") is None)
    assert curl(client, container) == 0
    assert curl(client, client.cgroup) == 7
    assert cluster.cli("explain", "pool", "--pod", "jobs/pod")["may_connect"]
    text = cluster.pintle("explain", "pool").stdout
    assert "access: left out, because the client is not named" in text, text
    assert cluster.cli("explain", "pool")["may_connect"] is None


def test_a_user_namespace_of_its_own(node):
    """Any user may make a network in which he has any address: there it says nothing about him."""
    cluster, _, client, _ = world(node, {"source": "10.1.0.0/16"})
    restricted = RESTRICTED.exists() and RESTRICTED.read_text().strip() != "0"
    claim = (f"ip link set lo up; ip addr add {client.v4}/32 dev lo; ip route add default dev lo src {client.v4};"
             f" curl -sS -m5 --interface {client.v4} {URL['v4']}")
    done = client.run(*(() if restricted else NOBODY), "unshare", "-Urn", "sh", "-c", claim, check=False)
    assert done.returncode == 7, done
    assert cluster.decisions() == {"forbidden": 1}


def test_without_memory_for_a_record(node):
    """A client that leaves its socket no room for Pintle's record is refused like any other."""
    cluster, _, client, _ = world(node, {"source": "10.9.0.0/16"})
    own = client.run("sysctl", "-n", "net.core.optmem_max", check=False)
    if own.returncode: # before Linux 6.8 the limit is the machine's
        return
    client.sysctl("net.core.optmem_max", 64)
    assert curl(client) == 7
    assert cluster.decisions() == {"forbidden": 1}


def test_endpoints_own_addresses(node):
    """Where a pool intercepts connections to its endpoints' own addresses, access holds for these, too."""
    cluster, servers, client, _ = world(node, {"source": "10.9.0.0/16"}, intercept="endpoints")
    assert is_refused(lambda: client.ask(servers[0].address()))
    assert cluster.decisions() == {"forbidden": 1}


def test_modes(node):
    """Shadow counts who would be refused, off counts nothing: both leave the connection as it came. In mode baseline
    access holds."""
    cluster, _, client, _ = world(node, {"source": "10.9.0.0/16"})

    def shadowed():
        return {r["outcome"]: r["shadow"] for r in cluster.cli("stats") if r["shadow"]}

    cluster.pintle("mode", "pool", "baseline")
    wait_for(lambda: cluster.cli("pools")[0]["mode"] == "baseline")
    assert is_refused_by_pintle(client)
    for mode in ("shadow", "off"):
        cluster.pintle("mode", "pool", mode)
        assert not is_refused_by_pintle(client)
    assert shadowed() == {"forbidden": 1}
    assert cluster.decisions() == {"forbidden": 1, "passed": 2}


def test_changes_under_load(node):
    """Rules come, change and go by reloads while a client that may connect does: none of its connections fails."""
    cluster = Cluster(node)
    servers, client = cluster.servers(2), cluster.pod("client")
    configs = [cluster.config(cluster.pool(servers, **more)) for more in (
        {}, allow({"port": 8000}), allow({"source": "10.9.0.0/16"}, {"port": 8000}))]
    daemon = cluster.daemon(configs[0])
    cluster.all_ready()
    with client.load(SERVICE["v4"], workers=3) as load:
        for i in range(12):
            daemon.reload(configs[i % 3])
            wait_for(lambda n=(None, 1, 2)[i % 3]: cluster.cli("pools")[0]["access_rules"] == n)
            load.go_on(20)
    assert not load.failures, load.failures
    wait_for(lambda: set(cluster.in_flight().values()) == {0})


@case(each=("text", "json"))
def test_events(node, how):
    """`pintle events` shows who was refused."""
    cluster, _, client, _ = world(node, {"source": "10.9.0.0/16"}, classes=[{"name": "chat"}])
    cluster.node.popen([BUILD / "pintle", "--bpffs", cluster.bpffs, "events", "-o", how], log="events.log")

    def told():
        assert is_refused(lambda: client.ask(SERVICE["v4"], client.v4))
        return [line for line in (node.dir / "events.log").read_text().splitlines() if "forbidden" in line]

    line = wait_for(told)[0]
    if how == "text":
        assert "decided   pool/-  forbidden  " in line and line.endswith("-> 10.96.0.10:8000"), line
        return
    event = json.loads(line)
    assert (event["outcome"], event["class"], event["endpoint"]) == ("forbidden", None, None), event
    assert event["client"].startswith(client.v4 + ":"), event
