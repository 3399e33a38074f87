# SPDX-License-Identifier: Apache-2.0
"""The harness itself, without Pintle."""
import errno
import os
import socket
import subprocess

from clients import CLIENT_ADDRESS, IPPROTO_MPTCP, NODE_ADDRESS, source, split
from harness import case, yaml
from kernel import TOP, cgroup_root, inside, sweep, wait_for
from packages import library
from pods import SERVICE, Cluster, Rival, mapped


def test_everything_is_private(node):
    """Namespaces, cgroup and mounts exist for the case and for nobody else."""
    assert node.netns.exists() and node.cgroup.is_dir() and os.path.ismount(node.bpf_mount)
    seen = subprocess.run(["nsenter", "-t", "1", "-m", "ls", "/run/netns"],
                          capture_output=True, text=True).stdout
    assert node.id not in seen
    with inside(node.netns):
        mine = os.stat("/proc/thread-self/ns/net").st_ino
    assert mine != os.stat("/proc/self/ns/net").st_ino


def test_cgroup_ends_all_processes(node):
    """A process of the case cannot outlive its cgroup, even in a session of its own."""
    stray = node.popen(["sleep", "1000"], session=True)
    assert str(stray.pid) in (node.cgroup / "cgroup.procs").read_text().split()
    (node.home_cgroup / "cgroup.procs").write_text(str(os.getpid()))
    sweep(os.getpid())
    assert stray.wait(5) == -9
    assert not (cgroup_root() / node.id).exists()


@case(san=False)
def test_filter_by_layer(node):
    """A layer's name finds its cases, without a slash behind it, too, and where the layer runs only when asked for."""
    layers = ("kubernetes", "compilers", "fresh")
    filters = [word for layer in layers for word in ("--filter", layer)]
    found = node.run(TOP / "tests/run", "--list", *filters, timeout=60).stdout.split()
    assert {name.split("/")[0] for name in found} >= set(layers), found


@case(san=False)
def test_fetched_programs_find_python(node):
    """Programs that scripts/clients fetched start: the interpreter that they name is there."""
    del node
    for program in (library("python") / "bin").iterdir():
        with open(program, "rb") as f:
            first = f.readline()
        if first.startswith(b"#!"):
            assert os.access(first[2:].strip(), os.X_OK), (program.name, first)


@case(each=("v4", "v6"))
def test_servers_answer(node, family):
    """The scriptable server answers both families with its name, over loopback and veth."""
    node.add_client()
    server = node.server("s0", "8001")
    port = "127.0.0.1:8001" if family == "v4" else "[::1]:8001"
    assert node.ask(port, source(7, family)) == "s0"
    far = NODE_ADDRESS[family]
    far = f"[{far}]:8001" if family == "v6" else f"{far}:8001"
    assert node.ask(far, source(300, family, remote=True), remote=True) == "s0"
    assert node.ask(far, CLIENT_ADDRESS[family], remote=True) == "s0"
    assert server.counts().accepted == 3


def test_server_page(node):
    """What a test sets is on the page; it can be raw, cut, failing or stalled."""
    server = node.server("s0", "127.0.0.1:8001")
    server.set(waiting=3, kv_cache=0.5)
    with node.connect(server.listen) as c:
        page = c.ask("/metrics")
        assert 'vllm:num_requests_waiting{engine="0",model_name="test"} 3' in page
        assert "vllm:kv_cache_usage_perc{" in page
        server.be(status=500)
        c.ask("/metrics")
        assert c.status == 500
        server.be(status=200, page="raw\n")
        assert c.ask("/metrics") == "raw\n"
        server.be(ready=False)
        c.ask("/metrics")
        assert c.status == 503
        server.be(ready=True, cut=2)
        try:
            c.ask("/metrics")
            raise AssertionError("the page was not cut")
        except ConnectionError:
            pass
    server.be(cut=None, stall=True)
    with node.connect(server.listen, timeout=0.3) as c:
        try:
            c.ask("/metrics")
            raise AssertionError("the page did not stall")
        except TimeoutError:
            pass
    assert server.counts().accepted == 0


def test_server_misbehaves(node):
    """It holds answers, resets, goes silent and drops connections."""
    server = node.server("s0", "127.0.0.1:8001")
    held = node.connect(server.listen)
    held.send("/hold")
    wait_for(lambda: server.counts().held == 1)
    server.release()
    assert held.read() == "s0"
    half = node.connect(server.listen)
    half.send("/hold")
    half.half_close()
    wait_for(lambda: server.counts().held == 1)
    server.release()
    assert half.read() == "s0"
    server.drop(reset=True)
    try:
        held.ask()
        raise AssertionError("the connection was not reset")
    except ConnectionResetError:
        pass
    server.be(reset=True)
    try:
        node.ask(server.listen)
        raise AssertionError("no reset")
    except ConnectionResetError:
        pass
    server.be(reset=False, silent=True)
    try:
        node.ask(server.listen, timeout=0.3)
        raise AssertionError("an answer")
    except TimeoutError:
        pass
    server.be(silent=False)
    assert node.ask(server.listen) == "s0"


def test_server_restarts(node):
    """Killed and started again on the same address."""
    server = node.server("s0", "127.0.0.1:8001")
    assert node.ask(server.listen) == "s0"
    server.kill()
    try:
        node.ask(server.listen)
        raise AssertionError("somebody answered")
    except ConnectionRefusedError:
        pass
    server.start()
    assert node.ask(server.listen) == "s0"


def test_several_listeners(node):
    """SO_REUSEPORT: two LISTEN sockets on one address, closed in either order."""
    server = node.server("s0", "127.0.0.1:8001", reuseport=True, listeners=2)
    assert server.counts().listeners == 2
    server.order("unlisten", index=0)
    assert node.ask(server.listen) == "s0"
    server.order("listen")
    server.order("unlisten", index=0)
    assert node.ask(server.listen) == "s0"


def test_mptcp_listener(node):
    """The server listens by MPTCP; a TCP client falls back and is served."""
    server = node.server("s0", "127.0.0.1:8001", mptcp=True)
    assert node.ask(server.listen) == "s0"
    with inside(node.netns):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    s.connect(server.address)
    s.close()


def test_nginx(node):
    """Unmodified nginx answers with its name and serves the page that the test writes."""
    server = node.nginx("n0", "127.0.0.1:8001")
    assert node.ask("127.0.0.1:8001") == "n0"
    server.set(waiting=9)
    with node.connect("127.0.0.1:8001") as c:
        assert 'num_requests_waiting{engine="0",model_name="test"} 9' in c.ask("/metrics")
    server.kill()
    server.start()
    assert node.ask("127.0.0.1:8001") == "n0"


def test_uvicorn(node):
    """The same with uvicorn."""
    server = node.uvicorn("u0", "127.0.0.1:8001")
    assert node.ask("127.0.0.1:8001") == "u0"
    server.set(running=4)
    with node.connect("127.0.0.1:8001") as c:
        assert 'num_requests_running{engine="0",model_name="test"} 4' in c.ask("/metrics")


def test_clients(node):
    """curl and wrk run in the node's namespace."""
    node.nginx("n0", "127.0.0.1:8001")
    assert node.run("curl", "-s", "http://127.0.0.1:8001/").stdout == "n0"
    out = node.run("wrk", "-t1", "-c4", "-d1s", "-H", "Connection: close", "http://127.0.0.1:8001/")
    assert "Socket errors" not in out.stdout and "requests in" in out.stdout, out.stdout


def test_load(node):
    """The load of many connections counts answers and failures."""
    server = node.server("s0", "127.0.0.1:8001")
    with node.load(server.listen, workers=2) as load:
        load.go_on(50)
        assert not load.failures
        server.kill()
        wait_for(lambda: load.failures)
    assert load.answers["s0"] >= 50


def test_open_connections(node):
    """The socket table counts what is established, half-closed too, and nothing closed."""
    node.server("s0", "127.0.0.1:8001")
    assert node.open_connections(8001) == 0
    connections = [node.connect("127.0.0.1:8001") for _ in range(5)]
    for c in connections:
        c.ask()
    assert node.open_connections(8001) == 5
    connections[0].reset()
    connections[1].close()
    wait_for(lambda: node.open_connections(8001) == 3)
    connections[2].send("/hold")
    connections[2].half_close()
    assert node.open_connections(8001) == 3


def test_yaml(node):
    """The emitter writes what the harness hands to the daemon."""
    text = yaml({"a": 1, "b": {"c": ["x:1", "[::1]:2"], "d": []}, "e": [{"f": 1, "g": {"h": True}}, {"i": 2}]})
    assert text == (
        'a: 1\nb:\n  c:\n    - "x:1"\n    - "[::1]:2"\n  d: []\n'
        'e:\n  - f: 1\n    g:\n      h: true\n  - i: 2\n'
    ), text


@case(each=("v4", "v6"))
def test_pods_reach_pods(node, family):
    """Pods reach each other by their own addresses, on one machine and across machines, and
    their sockets belong to them; a Service's address leads nowhere."""
    cluster = Cluster(node, 2)
    near, = cluster.servers(1)
    far, = cluster.servers(1, first=1, machine=1)
    client = cluster.pod("client")
    assert client.ask(near.address(family)) == "s0"
    with client.connect(far.address(family)) as c:
        assert c.ask() == "s1"
        assert c.sock.getsockname()[0] == (client.v6 if family == "v6" else client.v4)
        assert client.in_flight() == {far.address(family): 1}
        assert near.in_flight() == {}
    assert client.in_flight() == {}
    try:
        client.ask(SERVICE[family])
    except OSError as e:
        assert e.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH), e
    else:
        raise AssertionError("somebody answered")
    assert str(os.getpid()) not in (client.cgroup / "cgroup.procs").read_text().split()
    shown = client.run("cat", "/proc/self/cgroup").stdout
    assert shown.strip().endswith(f"/{node.id}/n1/client"), shown


@case(each=("v4", "v6", "mapped"))
def test_rival(node, how):
    """The stand-in for another load balancer sends clients elsewhere, or denies them."""
    cluster = Cluster(node)
    server, = cluster.servers(1)
    client = cluster.pod("client")
    family = "v6" if how == "v6" else "v4"
    to = mapped(SERVICE["v4"]) if how == "mapped" else SERVICE[family]
    rival = Rival(node)
    rival.attach(client.cgroup, "rival4", "rival6", "rude")
    rival.move(split(SERVICE[family])[0], split(server.address(family))[0])
    assert client.ask(to) == "s0"
    assert rival.seen() == (1, 0, 1)
    rival.move(split(SERVICE[family])[0], None)
    try:
        client.ask(to)
    except PermissionError:
        assert rival.seen() == (1, 1, 1)
    else:
        raise AssertionError("somebody answered")
    rival.detach()
