# SPDX-License-Identifier: Apache-2.0
"""decide: request while net.ipv4.tcp_syncookies is 0: the kernel takes no connection that is handed over, so the
hand-off leaves them to it."""
import test_in_pods
from clients import FRONTEND
from harness import case
from kernel import wait_for
from test_handoff import HANDED, REQUEST, exchange, handed, hashing
from test_hold import EMPTY, Opened, cut, none_held
from test_in_pods import ask as ask_pod
from test_xdp import becomes, natively

SYSCTL = "net.ipv4.tcp_syncookies"
WHERE = ("TC", "XDP")
WARNS, ENDS = "the hand-off rests, because net.ipv4.tcp_syncookies is 0", "it no longer rests"


def begin(node, where):
    if where == "XDP":
        natively(node)
    else:
        node.add_client()


def steer(node, where, count=2):
    daemon = node.steer(hashing(node, count), **HANDED)
    becomes(node, "native" if where == "XDP" else "peer")
    return daemon


def answer(c):
    """All that comes back for a request; None: reset."""
    got = b""
    try:
        c.sock.sendall(REQUEST % b"a")
        while more := c.sock.recv(65536):
            got += more
    except ConnectionResetError:
        return None
    return got.decode()


def resting(node):
    return any(WARNS in w for w in node.cli("status")[0]["warnings"])


@case(each=WHERE)
def test_from_the_start(node, where):
    """Every request is served, by its address, and whoever looks is told; then by what it says."""
    begin(node, where)
    node.sysctl(SYSCTL, 0)
    daemon = steer(node, where)
    wait_for(lambda: resting(node))
    assert daemon.metric("pintle_handoff_rests") == 1
    for count, at in enumerate(((), (30,), (30, 60)), start=1):
        for family in ("v4", "v6"):
            assert exchange(node, cut(REQUEST % b"a", *at), family=family).endswith(EMPTY)
        assert handed(node) == {"by_connection": 2 * count}
        assert sum(node.decisions().values()) == 2 * count
    node.sysctl(SYSCTL, 1)
    assert exchange(node, cut(REQUEST % b"a", 30)).endswith(EMPTY)
    assert handed(node) == {"by_connection": 6, "asked": 1}
    wait_for(lambda: not resting(node))
    assert daemon.metric("pintle_handoff_rests") == 0
    log = daemon.log()
    assert log.count(WARNS) == 1 and log.count(ENDS) == 1, log


@case(each=WHERE)
def test_while_it_runs(node, where):
    """New connections are served whatever it is. Those that the hand-off has begun, and whose request comes while it
    is 0, are reset and counted; if it comes later, they are served."""
    begin(node, where)
    daemon = steer(node, where)
    assert exchange(node, [REQUEST % b"a"]).endswith(EMPTY)
    first, rest = cut(REQUEST % b"a", 30)
    with node.connect(FRONTEND["v4"], remote=True) as early, node.connect(FRONTEND["v4"], remote=True) as later, \
            Opened(node, first) as held:
        node.sysctl(SYSCTL, 0)
        assert answer(early) is None
        assert handed(node) == {"asked": 1, "failed": 1}
        assert held.more(rest) is None
        assert handed(node) == {"asked": 1, "failed": 2}
        assert sum(node.decisions().values()) == 1
        with node.connect(FRONTEND["v4"], remote=True) as kernels:
            wait_for(lambda: daemon.log().count(WARNS) == 1)
            daemon.kill()
            for _ in range(3):
                assert exchange(node, [REQUEST % b"a"]).endswith(EMPTY)
            assert handed(node) == {"asked": 1, "failed": 2, "by_connection": 4}
            node.sysctl(SYSCTL, 1)
            assert answer(kernels).endswith(EMPTY)
        assert answer(later).endswith(EMPTY)
    assert exchange(node, [REQUEST % b"a"]).endswith(EMPTY)
    assert handed(node) == {"asked": 3, "failed": 2, "by_connection": 4}
    assert sum(node.decisions().values()) == 7
    none_held(node)


def test_another_daemon_tells(node):
    """Each pintled tells once what it finds; one that has no such pool tells nothing."""
    node.add_client()
    node.sysctl(SYSCTL, 0)
    servers = node.servers(1)
    daemon = node.steer(servers, **HANDED)
    wait_for(lambda: WARNS in daemon.log())
    daemon.kill()
    daemon = node.daemon(daemon.config.read_text())
    wait_for(lambda: WARNS in daemon.log())
    daemon.reload(node.config(node.pool(servers)))
    wait_for(lambda: not resting(node))
    assert node.ask(FRONTEND["v4"], remote=True) == "s0"


def test_in_a_pod(node):
    """What it is in a pod counts for the server there: requests are reset, and counted. What it is on the node does
    not."""
    cluster, (pod,), clients, daemon = test_in_pods.handed(node, 1)
    node.sysctl(SYSCTL, 0, netns=cluster.machines[0].netns)
    assert ask_pod(clients["remote"], {"X-Session-Id": "a"}) == "s0"
    pod.sysctl(SYSCTL, 0)
    try:
        ask_pod(clients["remote"], {"X-Session-Id": "a"})
        assert False, "it was to be reset"
    except ConnectionResetError:
        pass
    assert handed(cluster) == {"asked": 2, "failed": 1}
    pod.sysctl(SYSCTL, 1)
    assert ask_pod(clients["remote"], {"X-Session-Id": "a"}) == "s0"
    assert handed(cluster) == {"asked": 3, "failed": 1}
    assert not resting(cluster) and WARNS not in daemon.log()
