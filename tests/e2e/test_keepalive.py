# SPDX-License-Identifier: Apache-2.0
"""One request per connection with common clients, gateways and servers, all unmodified.

Every case starts all servers, each in a pool of its own, and has one client ask each of them. The
clients keep their connections and send nothing twice. Connections are counted by nftables, where
they arrive.
"""
import json
import re
import subprocess

import envoy
from harness import case
from kernel import BUILD, HERE, Skip, wait_for
from packages import library, need
from servers import FileServer, Nginx

SOURCES = HERE / "keepalive"
VIP = {"v4": "10.77.0.1", "v6": "[fd77::1]"}
UNDER_SANITIZERS = False
FIRST = 8000  # frontends' ports; servers listen 1000 above, gateways 2000
COUNT = 4     # of each kind of request


# -- servers -----------------------------------------------------------------------


class Server(FileServer):
    def __init__(self, node, name, port):
        self.kind = name.partition("-")[0]
        super().__init__(node, name, str(port))

    def environment(self):
        return {"METRICS_FILE": str(self.page), "SERVER_NAME": self.name}

    def start(self):
        self.process = self.node.popen(self.command(), log=f"{self.name}.log", session=True,
                                       env=self.environment())

    def answers(self):
        assert self.process.poll() is None, (self.node.dir / f"{self.name}.log").read_text()
        with self.node.connect(f"127.0.0.1:{self.listen}", timeout=2) as c:
            c.send("/metrics", close=True)
            return c.read()


class Asgi(Server):
    def command(self):
        return [library("python") / "bin/python", "-B", SOURCES / "app.py", self.kind, self.listen]


class NodeHttp(Server):
    def command(self):
        return [need("node"), SOURCES / "serve.mjs", self.listen]


class GoHttp(Server):
    def command(self):
        return [library("go") / "http", "serve", self.listen]

    def environment(self):
        return {**super().environment(), "GODEBUG": "multipathtcp=0"}


class NginxHttp(Server):
    """An nginx with fixed answers, which reads and discards what clients send."""

    CONFIG = Nginx.CONFIG.replace("listen {listen}", "listen [::]:{listen} ipv6only=off").replace(
        'location / {{ return 200 "{name}"; }}', """
        client_max_body_size 1m;
        location / {{
            if ($http_x_stream) {{ rewrite ^ /stream last; }}
            default_type application/json;
            return 200 '{{"choices": [{{"index": 0, "message": {{"content": "word"}}}}]}}';
        }}
        location = /stream {{
            internal;
            default_type text/event-stream;
            return 200 'data: {{"choices": [{{"index": 0, "delta": {{"content": "word"}}}}]}}\n\ndata: [DONE]\n\n';
        }}""")
    command = Nginx.command


class Sim(Server):
    def command(self):
        return [BUILD / "pintle-sim", "--host", "::", "--port", self.listen, "--profile", "tiny",
                "--max-model-len", 1_000_000, "--num-blocks", 100_000]


SERVERS = {"h11": Asgi, "httptools": Asgi, "hypercorn": Asgi, "nginx": NginxHttp, "sim": Sim,
           "node": NodeHttp, "go": GoHttp}


class World:
    """All servers, or those whose tool chain is there; pintled with a pool for each."""

    def __init__(self, node, names=tuple(SERVERS), kinds=None, **pool):
        self.node, self.servers = node, {}
        node.add_client()
        for number, name in enumerate(names):
            try:
                self.servers[name] = (kinds or SERVERS)[name](node, name, FIRST + 1000 + number)
            except Skip as e:
                print(f"without {name}: {e}")
        for server in self.servers.values():
            wait_for(server.answers, 30, f"{server.name} to answer")
        self.count_syns(node)
        node.daemon(node.config(*(
            node.pool([s], name=name, frontends=[f"{a}:{self.port(name)}" for a in VIP.values()],
                      **{"requests": "one-per-connection", **pool})
            for name, s in self.servers.items())))
        self.all_ready()

    def port(self, name):
        return self.servers[name].address[1] - 1000

    def all_ready(self):
        wait_for(lambda: all(e["state"] == "ready" for e in self.node.cli("endpoints")), 20,
                 "all endpoints to be ready")

    def count_syns(self, node):
        """Keeps a line for each connection, however often its SYN was sent."""
        rules = [f"set to_{n} {{ typeof tcp sport . tcp sequence; size 65535; flags dynamic; }}"
                 for n in self.servers]
        rules += ["chain in { type filter hook input priority 0"]
        rules += [f"tcp dport {self.port(n)} tcp flags & (syn | ack) == syn add @to_{n} {{ tcp sport . tcp sequence }}"
                  for n in self.servers]
        node.run("nft", "-f", node.write("seen.nft", "table inet seen {\n" + "\n".join(rules) + "\n}\n}\n"))

    def connections(self):
        """{server: connections that came to its frontend}, by nftables."""
        listed = json.loads(self.node.run("nft", "-j", "list", "ruleset").stdout)["nftables"]
        return {s["set"]["name"][3:]: len(s["set"].get("elem", ())) for s in listed if "set" in s}

    def decided(self):
        """The same by Pintle's counters."""
        found = {}
        for row in self.node.cli("stats"):
            found[row["pool"]] = found.get(row["pool"], 0) + (row["decisions"] or 0)
        return {name: found.get(name, 0) for name in self.servers}

    def first_segments(self):
        """{server: {what one-shot did: how often}}, without the zeros."""
        found = {name: {} for name in self.servers}
        for row in self.node.cli("stats"):
            if row["oneshot"] and row["segments"]:
                found[row["pool"]][row["oneshot"]] = row["segments"]
        return found

    def set(self, requests):
        for name in self.servers:
            self.node.pintle("set", name, f"requests={requests}")

    def urls(self, address, shift=0):
        return [f"http://{address}:{self.port(n) + shift}" for n in self.servers]

    def name_of(self, url):
        return {self.port(n) % 1000: n for n in self.servers}[int(url.rpartition(":")[2]) % 1000]


# -- clients -----------------------------------------------------------------------


def python_client(name):
    return lambda: [library("python") / "bin/python", "-B", SOURCES / "ask.py", name]


def plain_curl(name):
    return lambda: ["/usr/bin/python3", "-B", SOURCES / "ask.py", name]


def node_client():
    return [need("node"), SOURCES / "ask.mjs", library("node")]


def java_client():
    return [need("java"), "-XX:TieredStopAtLevel=1", "-cp", library("java"), "Ask"]


# Each with what one-shot does about it.
CLIENTS = {
    "openai": (python_client("openai"), "rewritten_connection"),
    "openai-async": (python_client("openai-async"), "rewritten_connection"),
    "requests": (python_client("requests"), "rewritten_connection"),
    "httpx": (python_client("httpx"), "rewritten_connection"),
    "aiohttp": (python_client("aiohttp"), "rewritten_other_header"),
    "curl": (plain_curl("curl"), "rewritten_other_header"),
    "curl-expect": (plain_curl("curl-expect"), "rewritten_other_header"),
    "openai-node": (node_client, "rewritten_connection"),
    "go": (lambda: [library("go") / "http"], "rewritten_other_header"),
    "java": (java_client, "rewritten_connection"),
}


def start(world, client, work, urls, remote):
    node = world.node
    return node.popen([*CLIENTS[client][0](), work, COUNT, *urls], stdout=subprocess.PIPE, text=True,
                      netns=node.client_netns if remote else node.netns,
                      env={"TMPDIR": str(node.dir), "NO_PROXY": "*"})


def ask(world, client, urls, remote):
    """Every server is asked; there must be no error. Returns {server: new connections}, and
    checks that Pintle counts as many."""
    seen, decided = world.connections(), world.decided()
    process = start(world, client, "ask", urls, remote)
    out = process.communicate(timeout=100)[0]
    lines = [line.split(" ", 3) for line in out.splitlines()]
    wrong = [line for line in lines if line[1:3] != [str(3 * COUNT), "0"]]
    assert len(lines) == len(urls) and not wrong, wrong or out
    new = {n: c - seen[n] for n, c in world.connections().items()}
    counted = {n: c - decided[n] for n, c in world.decided().items()}
    assert counted == new, f"by Pintle {counted}, by nftables {new}"
    return new


def cut(world, client, urls):
    """Each server is killed in mid-stream; the client must say that it was an error."""
    process = start(world, client, "cut", urls, True)
    for url in urls:
        line = process.stdout.readline().split(" ", 2)
        assert [w.strip() for w in line] == [url, "begun"], line
        world.servers[world.name_of(url)].kill()
        line = process.stdout.readline().split(" ", 2)
        assert line[0] == url and line[1] == "error", line
    assert process.wait(20) == 0


def streaming(world, urls):
    """Without nginx, whose answers are over at once."""
    return [u for u in urls if world.name_of(u) != "nginx"]


def every_request_has_its_own(world, client, urls, remote, what):
    """As many connections as requests, all of them closed by what one-shot did."""
    before = world.first_segments()
    new = ask(world, client, urls, remote)
    assert new == {name: 3 * COUNT for name in world.servers}, new
    for name, now in world.first_segments().items():
        assert {k: n - before[name].get(k, 0) for k, n in now.items()} == {what: 3 * COUNT}, (name, now)


@case(each=tuple(CLIENTS), timeout=200)
def test_client(node, client):
    """A client that keeps its connections has one for each request, and no error; without one-shot
    it has few. When a server dies in mid-stream it notices."""
    start_of, what = CLIENTS[client]
    start_of()
    world = World(node)
    every_request_has_its_own(world, client, world.urls(VIP["v4"]), False, what)
    every_request_has_its_own(world, client, world.urls(VIP["v6"]), True, what)
    world.set("as-they-come")
    # httptools stops reading where h2c is offered, as Java does, and loses the prompt.
    fit = [u for u in world.urls(VIP["v6"]) if (client, world.name_of(u)) != ("java", "httptools")]
    few = ask(world, client, fit, True)
    # The package openai ends a stream's connection at [DONE], before its end.
    assert max(few.values()) <= COUNT + 2, f"kept alive, as they come: {few}"
    world.set("one-per-connection")
    cut(world, client, streaming(world, world.urls(VIP["v6"])))


# -- gateways, which keep connections to the servers ---------------------------------


def haproxy(world, ports):
    head = """
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
"""
    config = head + "".join(f"listen l{p}\n    bind 127.0.0.1:{p}\n    server s {VIP['v6']}:{to}\n"
                            for p, to in ports.items())
    return [need("haproxy"), "-db", "-f", world.node.write("haproxy.cfg", config)]


def nginx(world, ports):
    servers = "".join(f"""
    upstream u{p} {{ server {VIP["v6"]}:{to} max_fails=0; keepalive 8; }}
    server {{ listen 127.0.0.1:{p}; location / {{ proxy_pass http://u{p}; }} }}""" for p, to in ports.items())
    place = world.node.dir / "gateway"
    place.mkdir()
    config = f"""
user root; daemon off; worker_processes 1; pid {place}/pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_max_body_size 1m;
    client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;
    uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_next_upstream off;
    {servers}
}}
"""
    return [need("nginx"), "-c", world.node.write("gateway.conf", config), "-p", place, "-e", "stderr"]


def envoy_before(world, ports):
    return envoy.command(
        world.node,
        [envoy.listener("127.0.0.1", p, f"c{p}", delayed_close_timeout="0.02s") for p in ports],
        [envoy.cluster(f"c{p}", (VIP["v6"].strip("[]"), to)) for p, to in ports.items()])


GATEWAYS = {"haproxy": haproxy, "nginx": nginx, "envoy": envoy_before}


@case(each=tuple(GATEWAYS), timeout=200)
def test_gateway(node, gateway):
    """The same for a gateway that keeps its connections to the servers."""
    CLIENTS["requests"][0]()
    world = World(node)
    urls = world.urls("127.0.0.1", 2000)
    ports = {world.port(n) + 2000: world.port(n) for n in world.servers}
    node.popen(GATEWAYS[gateway](world, ports), netns=node.client_netns, log="gateway.log")
    for port in ports:
        wait_for(lambda: node.connect(f"127.0.0.1:{port}", remote=True).close() is None, 20, "the gateway")
    every_request_has_its_own(world, "requests", urls, True, "rewritten_other_header")
    world.set("as-they-come")
    few = ask(world, "requests", urls, True)
    if gateway == "envoy":
        few.pop("nginx", 0)  # answers before it has read the prompt: Envoy gives such a connection up
    assert max(few.values()) <= 3, f"kept alive, as they come: {few}"
    world.set("one-per-connection")
    cut(world, "requests", streaming(world, urls))


# -- wrk, which sends no header that could be overwritten ------------------------------


def wrk(world):
    """Two connections to each server for a second: {server: (requests, connections they took)}."""
    node, before = world.node, world.connections()
    started = {name: node.popen(
        [need("wrk"), "-t1", "-c2", "-d1s", f"http://{VIP['v4']}:{world.port(name)}/v1/models"],
        netns=node.client_netns, stdout=subprocess.PIPE, text=True) for name in world.servers}
    found = {}
    for name, process in started.items():
        out = process.communicate(timeout=30)[0]
        assert "Socket errors" not in out and "Non-2xx" not in out, (name, out)
        found[name] = int(re.search(r"(\d+) requests in", out)[1])
    return {name: (n, world.connections()[name] - before[name]) for name, n in found.items()}


def test_wrk(node):
    """Version 1.0 in the request has servers close too; without that wrk keeps its connections."""
    need("wrk")
    node.add_client()
    node.sysctl("net.ipv4.tcp_tw_reuse", 1, netns=node.client_netns)
    world = World(node, http10=True)
    for name, (requests, connections) in wrk(world).items():
        # Requests under way at the end were not answered, or not counted.
        assert 20 < requests <= connections <= requests + 4, (name, requests, connections)
        done = world.first_segments()[name]
        assert [*done] == ["rewritten_version"], done
        assert requests <= done["rewritten_version"] <= connections, (name, requests, connections, done)
    world.set("as-they-come")
    for name, (requests, connections) in wrk(world).items():
        # nginx closes each after a thousand.
        assert requests > 20 and connections <= 3 + requests // 500, (name, requests, connections)
