# SPDX-License-Identifier: Apache-2.0
"""Off means off, and Pintle beside others: kube-proxy's rules, and other load balancers' programs."""
import json
import re
import time

from clients import split
from daemon import Daemon
from harness import case
from kernel import BUILD, cgroup_root, wait_for
from pods import SERVICE, Cluster, Rival
from test_connect import BOTH, all_zero, steered, target

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

# kube-proxy's rules for a Service with one endpoint.
KUBE_PROXY = """
table ip kube {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        ip daddr {v4[0]} tcp dport {v4[1]} dnat to {pod.v4}:8000
    }}
}}
table ip6 kube {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        ip6 daddr {v6[0]} tcp dport {v6[1]} dnat to [{pod.v6}]:8000
    }}
}}
"""


def kube_proxy(cluster, pod):
    """Sends every connection to the Service that arrives at the machine to this pod."""
    cluster.nft(KUBE_PROXY.format(pod=pod, v4=split(SERVICE["v4"]), v6=split(SERVICE["v6"])))


def fallen_back(node, how="v4", settings=None, **more):
    """A pool of s0 and s1, and a kube-proxy that knows only s2: the server that answers shows which
    of the two decided."""
    cluster = Cluster(node)
    pods = cluster.servers(3)
    client = cluster.pod("client")
    kube_proxy(cluster, pods[2])
    assert client.ask(target(how)) == "s2"
    daemon = cluster.steer(cluster.pool(pods[:2], family="v6" if how == "v6" else "v4", **more), **(settings or {}))
    assert client.ask(target(how)) in ("s0", "s1")
    return cluster, pods, client, daemon


@case(each=("v4", "v6", "mapped"))
def test_off_falls_back(node, how):
    """`pintle disable`: kube-proxy serves the Service as before; `pintle enable` takes it back."""
    cluster, pods, client, _ = fallen_back(node, how)
    cluster.pintle("disable", "pool")
    assert client.spread(target(how), 5) == {"s2": 5}
    assert cluster.decisions()["passed"] == 5
    cluster.pintle("enable", "pool")
    assert client.ask(target(how)) in ("s0", "s1")
    all_zero(cluster)


@case(each=BOTH)
def test_detach_falls_back(node, family):
    """`pintled --detach` takes the programs away; what they steered goes on where it is, and
    its socket tells the truth again."""
    cluster, pods, client, daemon = fallen_back(node, family)
    with client.connect(SERVICE[family]) as c:
        name = c.ask()
        daemon.stop()
        cluster.detach()
        assert client.spread(SERVICE[family], 5) == {"s2": 5}
        assert c.ask() == name
        assert c.sock.getpeername()[0] == split(pods[int(name[1])].address(family))[0]
    assert node.pins() == []


def test_no_endpoint_falls_back(node):
    """With FailOpen and no ready endpoint, kube-proxy decides."""
    cluster, _, client, _ = fallen_back(node, failureMode="FailOpen")
    for name in ("s0", "s1"):
        cluster.pintle("drain", name)
    assert client.spread(SERVICE["v4"], 5) == {"s2": 5}
    assert cluster.decisions()["no_endpoint"] == 5


@case(each=("later", "never"))
def test_without_daemon(node, when):
    """node.daemonless after the daemon's last sign of life connections pass; 0: they never do. A
    daemon that comes back steers again."""
    cluster, pods, client, daemon = fallen_back(node, settings={"daemonless": "1h" if when == "later" else "0s"})
    daemon.kill()
    assert set(client.spread(SERVICE["v4"], 10)) <= {"s0", "s1"}
    if when == "later":
        cluster.steer(cluster.pool(pods[:2]), daemonless="1s").kill()
        wait_for(lambda: client.ask(SERVICE["v4"]) == "s2")
        assert cluster.decisions()["passed"] >= 1
    else:
        time.sleep(1.5)
        assert set(client.spread(SERVICE["v4"], 10)) <= {"s0", "s1"}
    cluster.steer(cluster.pool(pods[:2]))
    wait_for(lambda: client.ask(SERVICE["v4"]) in ("s0", "s1"))
    all_zero(cluster)


# -- another load balancer on the same hook ------------------------------------------------


def with_rival(node, where, first):
    """The rival knows s2 for the Service; it is attached to the machine's cgroup, or to the
    client's, before or after pintled comes."""
    cluster = Cluster(node)
    pods = cluster.servers(3)
    client = cluster.pod("client")
    rival = Rival(node)
    rival.move(split(SERVICE["v4"])[0], pods[2].v4)

    def come():
        rival.attach(cluster.cgroup if where == "same" else client.cgroup, "rival4")

    if first:
        come()
    cluster.steer(cluster.pool(pods[:2]))
    if not first:
        come()
    return cluster, pods, client, rival


@case(each=("same first", "same later", "child first", "child later"))
def test_before_another(node, how):
    """Pintle decides before another load balancer's program, which then knows the destination
    no more; where the kernel cannot order them so, the one in the child cgroup decides."""
    where, when = how.split()
    cluster, pods, client, rival = with_rival(node, where, when == "first")
    ours = {"s0", "s1"}
    found = client.ask(SERVICE["v4"])
    if preorder(node):
        assert found in ours, found
        assert rival.seen()[0] == 0
    elif how == "same later":
        assert found in ours, found
    else:
        assert found == "s2", found
    counted = sum(cluster.decisions().values())
    assert counted == (found in ours)
    all_zero(cluster)
    rival.detach()


def preorder(node):
    """Whether this kernel has BPF_F_PREORDER: since 6.15."""
    release = node.run("uname", "-r").stdout.split(".")
    return (int(release[0]), int(release[1])) >= (6, 15)


def test_overruled(node):
    """Another program that rewrites what we chose: the connection is its own, and not counted at
    our endpoint."""
    cluster, pods, client, _ = steered(node, servers=3)
    cluster.pintle("drain", "s2")
    rival = Rival(node)
    for p in pods[:2]:
        rival.move(p.v4, pods[2].v4)
    rival.attach(cluster.cgroup, "rival4")
    with client.connect(SERVICE["v4"]) as c:
        assert c.ask() == "s2"
        assert set(cluster.in_flight().values()) == {0}
    all_zero(cluster)
    rows = cluster.cli("endpoints")
    assert sum(r["placed"] for r in rows) == sum(r["failed"] for r in rows) == 1, rows
    rival.detach()
    assert client.ask(SERVICE["v4"]) in ("s0", "s1")


# -- a program that lets no other be there --------------------------------------------------


def test_taken_away(node):
    """A connect hook that somebody takes away is put back three times in ten minutes; then kube-proxy serves, and
    everything says so, until pintled starts anew."""
    cluster, pods, client, daemon = fallen_back(node)
    pin = next(cluster.bpffs.glob("v*")) / "link_connect4"

    def put_back():
        return daemon.metric("pintle_hook_put_back_total", hook="connect4")

    for times in range(3):
        assert put_back() == times
        node.run("bpftool", "link", "detach", "pinned", pin)
        wait_for(lambda: put_back() == times + 1)
        assert client.ask(SERVICE["v4"]) in ("s0", "s1")
    node.run("bpftool", "link", "detach", "pinned", pin)
    wait_for(lambda: daemon.get("/readyz")[0] == 503)
    assert "not attached: connect4 (taken away again" in daemon.get("/readyz")[1]
    assert daemon.log().count("taken away again") == 1
    assert daemon.metric("pintle_hook_attached", hook="connect4") == 0
    assert daemon.metric("pintle_hook_attached", hook="connect6") == 1
    assert client.spread(SERVICE["v4"], 3) == {"s2": 3}
    assert "hook connect4 is not attached" in cluster.pintle("doctor", check=False).stdout
    assert put_back() == 3
    daemon.stop()
    daemon = cluster.steer(cluster.pool(pods[:2]))
    assert client.ask(SERVICE["v4"]) in ("s0", "s1")
    all_zero(cluster)


# The machine's cgroup is the root of what the daemon sees, as on a node of kind.
NODE_OF_ITS_OWN = """\
echo 0 > "$0/cgroup.procs"
exec unshare --mount --cgroup sh -ec 'umount -l "$0"; mount -t cgroup2 none "$0"; exec "$@"' "$1" "${@:2}"
"""

ASK = "import sys, urllib.request as u; print(u.urlopen('http://' + sys.argv[1], timeout=10).read().decode())"


@case(each=("systemd", "cgroupfs"))
def test_at_kubepods(node, driver):
    """With `node.cgroup: kubepods` the node's pods are steered, and nothing is attached to the root, where a program
    that lets no other be may stand; the node's own processes are kube-proxy's."""
    cluster = Cluster(node)
    pods = cluster.servers(3)
    client = cluster.pod("client")
    kube_proxy(cluster, pods[2])
    above = cluster.cgroup / ("kubepods.slice" if driver == "systemd" else "kubepods")
    inner = above / f"pod{'0' * 8}"
    inner.mkdir(parents=True)
    rival = Rival(node)
    rival.attach(cluster.cgroup, "rival4", how=("override",))
    config = node.write("kubepods.yaml", cluster.config(cluster.pool(pods[:2]), cgroup="kubepods"))
    daemon = Daemon(node, config, netns=cluster.machines[0].netns,
                    wrapper=("bash", "-c", NODE_OF_ITS_OWN, cluster.cgroup, cgroup_root()))
    cluster.all_ready()
    attached = node.run("bpftool", "-j", "cgroup", "tree", cluster.cgroup).stdout
    assert {(row["cgroup"], p["name"]) for row in json.loads(attached) for p in row["programs"]
            if p["name"].startswith("pintle_connect")} == {(str(above), "pintle_connect4"), (str(above), "pintle_connect6")}
    asked = client.run("/usr/bin/python3", "-c", ASK, SERVICE["v4"], cgroup=inner).stdout
    assert asked.strip() in ("s0", "s1"), asked
    assert client.run("/usr/bin/python3", "-c", ASK, SERVICE["v4"]).stdout.strip() == "s2"
    assert daemon.metric("pintle_hook_attached", hook="connect4") == 1
    daemon.stop()
    rival.detach()
    cluster.detach()
    inner.rmdir()
    above.rmdir()


NO_OTHER = r"program rival4 \(id \d+\), which is attached to {}, lets no other be there; detach it"


@case(each=("here", "above"))
def test_held(node, how):
    """pintled and doctor name the program that was attached without BPF_F_ALLOW_MULTI; once it is gone, pintled
    attaches."""
    cluster = Cluster(node)
    pods = cluster.servers(1)
    client = cluster.pod("client")
    rival = Rival(node)
    where = cluster.cgroup if how == "here" else cluster.cgroup.parent
    rival.attach(where, "rival4", how=())
    config = node.write("held.yaml", cluster.config(cluster.pool(pods)))
    result = cluster.machines[0].run(BUILD / "pintled", "--config", config, check=False)
    assert result.returncode == 1, result
    assert re.search(rf"attach pintle_connect4 to the cgroup {cluster.cgroup}: {NO_OTHER.format(where)}", result.stderr), \
        result.stderr
    rival.detach()
    daemon = cluster.steer(cluster.pool(pods))
    assert client.ask(SERVICE["v4"]) == "s0"
    daemon.kill()
    node.run("bpftool", "link", "detach", "pinned", next(cluster.bpffs.glob("v*")) / "link_connect4")
    rival.attach(where, "rival4", how=())
    told = cluster.pintle("doctor", check=False).stdout
    assert re.search(rf"program rival4 \(id \d+\) on {where} lets no other be there: hook connect4 cannot be attached",
                     told), told
    rival.detach()
    cluster.steer(cluster.pool(pods))
    assert client.ask(SERVICE["v4"]) == "s0"


def test_overridden(node):
    """A program of the cgroup above that was attached alone, but may be overridden, keeps nobody off."""
    cluster = Cluster(node)
    pods = cluster.servers(1)
    rival = Rival(node)
    rival.attach(cluster.cgroup.parent, "rival4", how=("override",))
    cluster.steer(cluster.pool(pods))
    assert cluster.pod("client").ask(SERVICE["v4"]) == "s0"
    assert "lets no other" not in cluster.pintle("doctor", check=False).stdout
    rival.detach()
