# SPDX-License-Identifier: Apache-2.0
"""Endpoints without a metrics page, as providers are. The connect hook."""
import contextlib

from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False


def without_page(cluster, pod, **more):
    return cluster.endpoint_of(pod, metrics="none", **more)


def loads(cluster):
    return {e["name"]: e["load"] for e in cluster.cli("endpoints")}


@case()
def test_no_page(node):
    """An endpoint without a page has the load of its connections, and is ready before it is asked anything. One that
    fails its clients is ejected. All of it goes on without the daemon."""
    cluster = Cluster(node)
    servers = cluster.servers(3)
    daemon = cluster.steer(cluster.pool([without_page(cluster, s) for s in servers]))
    client = cluster.pod("client")
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(client.connect(SERVICE["v4"]))
        assert set(cluster.in_flight().values()) == {4}, cluster.in_flight()
        wait_for(lambda: set(loads(cluster).values()) == {4.0}, what="loads to be the connections")
        rows = cluster.cli("endpoints")
        assert all(e["running"] is None and e["waiting"] is None and not e["scrape_failed"] for e in rows), rows
    wait_for(lambda: set(loads(cluster).values()) == {0.0}, what="the connections to end")
    asked = [s.model.counts() for s in servers]
    assert not any(c.scrapes for c in asked), asked
    servers[0].model.kill()

    def ejected():
        with contextlib.suppress(OSError):
            client.ask(SERVICE["v4"])
        return cluster.endpoint("s0")["state"] == "ejected"
    wait_for(ejected, what="the dead server to be ejected")
    assert set(client.spread(SERVICE["v4"], 20)) == {"s1", "s2"}
    daemon.kill()
    assert set(client.spread(SERVICE["v4"], 20)) == {"s1", "s2"}
