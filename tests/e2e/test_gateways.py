# SPDX-License-Identifier: Apache-2.0
"""The gateways of docs/examples tell Pintle the session, as they stand there but for addresses and
files. A client keeps one connection to the gateway and sends the requests of all sessions on it: one
that connects anew each time would not see connections that the gateway shares among sessions."""
import base64
import json
import subprocess
import time
import types

import packages
from harness import case
from kernel import BUILD, TOP, wait_for
from packages import need
from pods import SERVICE, Cluster
from test_connect_keys import EVEN

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

EXAMPLES = TOP / "docs/examples"
KEYS = [f"user-{i}" for i in range(8)]


class Gateway:
    """A gateway in a pod of its own. command: what starts it, of its configuration's path."""

    def __init__(self, node, example, command, key, frontend, swaps):
        self.cluster = Cluster(node)
        self.servers = self.cluster.servers(3)
        self.pod = self.cluster.pod("gateway")
        self.cluster.steer(self.cluster.pool(self.servers, to=frontend, stickiness={"key": key}, **EVEN))
        text = (EXAMPLES / example).read_text()
        for old, new in swaps.items():
            assert old in text, old
            text = text.replace(old, str(new))
        self.pod.popen(command(node.write(example, text)), log=f"{example}.log")
        wait_for(lambda: self.connect().close() is None, 20, "the gateway")

    def connect(self):
        return self.pod.connect("127.0.0.1:8080")

    def post(self, path, body, headers):
        """The status of the answer to it, on a connection of its own."""
        with self.connect() as c:
            head = {"host": "test", "content-type": "application/json", "content-length": str(len(body)), **headers}
            c.sock.sendall(f"POST {path} HTTP/1.1\r\n".encode() + "".join(
                f"{name}: {value}\r\n" for name, value in head.items()).encode() + b"\r\n" + body.encode())
            c.read()
            return c.status

    def ask(self, requests):
        """All on one connection; each is given by its headers. [(status, body: who answered)]"""
        with self.connect() as c:
            return [(c.ask("/v1/models", headers=headers), c.status)[::-1] for headers in requests]


def nginx(node, origin):
    return lambda path: [packages.gateway("nginx", origin), "-e", "stderr", "-p", node.dir, "-c", path,
                         "-g", f"daemon off; pid {node.dir}/nginx.pid; user root;"]


# Otherwise it writes to a log of the machine.
NO_LOG = {"http {\n": "http {\n    access_log off;\n"}


def haproxy(origin):
    return lambda path: [packages.gateway("haproxy", origin), "-db", "-q", "-f", path]


def each_request_is_steered(gateway, headers_of):
    """Each request opens a connection, which its own session decides: also the second of a session in
    a row, and one on another connection of a client."""
    requests = [headers_of(key) for key in KEYS for _ in range(2)]
    first = gateway.ask(requests)
    names = [name for _, name in first]
    assert {status for status, _ in first} == {200}, first
    assert names[::2] == names[1::2], first
    assert gateway.ask(requests) == first
    sessions = gateway.cluster.cli("sessions")
    assert len(KEYS) // 2 < len(sessions) <= len(KEYS), sessions  # some may share an address
    decided = gateway.cluster.decisions()
    assert decided == {"least_loaded": len(sessions), "sticky": 2 * len(requests) - len(sessions)}, decided


# -- an address to connect from for each session -----------------------------------------------------


def source_gateway(node, example, command, swaps=None):
    # The example's addresses of 127/8 do not reach a pod.
    own = {"nginx-source.conf": {"127.200.0.": "10.200.0.", **NO_LOG},
           "haproxy-source.cfg": {"2143813632": (10 << 24) + (200 << 16)}}[example]
    swaps = {**own, **(swaps or {"127.78.0.1:8000": SERVICE["v4"]})}
    gateway = Gateway(node, example, command, "source", SERVICE["v4"], swaps)
    network = "10.200.0.0/16"
    gateway.pod.batch(f"route add local {network} dev lo")
    gateway.cluster.batch(f"route add {network} dev pod{gateway.pod.v4.rsplit('.')[-1]}")
    return gateway


def by_header(session):
    return {"x-session-id": session}


@case(each=packages.NGINX)
def test_nginx_source(node, origin):
    each_request_is_steered(source_gateway(node, "nginx-source.conf", nginx(node, origin)), by_header)


@case(each=packages.NGINX)
def test_nginx_source_upstream(node, origin):
    """The same with the frontend in an `upstream`, to which newer ones keep connections."""
    gateway = source_gateway(node, "nginx-source.conf", nginx(node, origin), {
        "server {\n": f"upstream frontend {{ server {SERVICE['v4']}; }}\n    server {{\n",
        "proxy_pass http://127.78.0.1:8000": "proxy_pass http://frontend"})
    each_request_is_steered(gateway, by_header)


@case(each=packages.HAPROXY)
def test_haproxy_source(node, origin):
    each_request_is_steered(source_gateway(node, "haproxy-source.cfg", haproxy(origin)), by_header)


@case(each=packages.HAPROXY[1:])
def test_haproxy_mark(node, origin):
    """The same by a mark, which takes no address of the gateway's."""
    each_request_is_steered(Gateway(node, "haproxy-source.cfg", haproxy(origin), "mark", SERVICE["v4"], {
        "http-request set-src": "http-request set-bc-mark",
        "source 0.0.0.0 usesrc clientip": "", "127.78.0.1:8000": SERVICE["v4"]}), by_header)


# -- an address to connect to for each user whom the gateway has verified -----------------------------


PREFIX = "10.78.0.0/16:8000"
USERS = [f"user-{i}" for i in range(12)]


def destination_gateway(node, example, command, swaps):
    return Gateway(node, example, command, "destination", PREFIX, swaps)


def nobody_is_let_in(gateway, refused):
    """refused: [(headers, status)]. Nothing that a client says reaches a server without a user whom
    the gateway has verified."""
    before = gateway.cluster.decisions()
    assert [status for status, _ in gateway.ask([headers for headers, _ in refused])] == [s for _, s in refused]
    assert gateway.cluster.decisions() == before


class Passwords:
    """Users that a password identifies; an Issuer identifies them by tokens."""

    @staticmethod
    def of(user, secret=None):
        said = f"{user}:{secret or 'secret-' + user}".encode()
        return {"authorization": "Basic " + base64.b64encode(said).decode()}


def nginx_gateway(node, origin="installed", swaps=None):
    users = node.write("users", "".join(f"{key}:{{PLAIN}}secret-{key}\n" for key in USERS))
    return destination_gateway(node, "nginx-destination.conf", nginx(node, origin),
                               {"/etc/nginx/users": users, **NO_LOG, **(swaps or {})}), Passwords


@case(each=packages.NGINX)
def test_nginx_destination(node, origin):
    gateway, _ = nginx_gateway(node, origin)
    each_request_is_steered(gateway, Passwords.of)
    nobody_is_let_in(gateway, [({}, 401), (Passwords.of("user-0", "secret-user-1"), 401),
                               (Passwords.of("other"), 401)])


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens with RS256, by openssl."""

    def __init__(self, node, name="issuer"):
        self.node, self.secret, self.public = node, node.dir / f"{name}.key", node.dir / f"{name}.pem"
        self.openssl("genrsa", "-out", self.secret, "2048")
        self.openssl("rsa", "-in", self.secret, "-pubout", "-out", self.public)

    def openssl(self, *arguments, **more):
        return subprocess.run([need("openssl"), *arguments], check=True, capture_output=True, **more).stdout

    def jwks(self):
        said = self.openssl("rsa", "-in", self.secret, "-noout", "-modulus").decode()
        number = bytes.fromhex(said.strip().split("=")[1])
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "e": "AQAB", "n": base64url(number)}
        return self.node.write("jwks.json", json.dumps({"keys": [key]}))

    def of(self, user=None, **claims):
        claims = {"iss": "https://issuer.example", "exp": int(time.time()) + 3600, **claims}
        claims |= {} if user is None else {"sub": user}
        text = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256"}, claims))
        signature = self.openssl("dgst", "-sha256", "-sign", self.secret, input=text.encode())
        return {"authorization": f"Bearer {text}.{base64url(signature)}"}

    def refused(self):
        unsigned = self.of("user-0")["authorization"].rpartition(".")[0]
        others = Issuer(self.node, "other").of("user-0")
        return [({}, 401), ({"authorization": unsigned + "."}, 401), (others, 401),
                (self.of("user-0", exp=1), 401), (self.of(), 403), (self.of(""), 403)]


def haproxy_gateway(node, origin="installed", swaps=None):
    issuer = Issuer(node)
    return destination_gateway(node, "haproxy-destination.cfg", haproxy(origin),
                               {"/etc/haproxy/issuer.pem": issuer.public, **(swaps or {})}), issuer


@case(each=packages.HAPROXY)
def test_haproxy_destination(node, origin):
    gateway, issuer = haproxy_gateway(node, origin)
    each_request_is_steered(gateway, issuer.of)
    nobody_is_let_in(gateway, issuer.refused())


def envoy_gateway(node, swaps=None):
    issuer = Issuer(node)
    return destination_gateway(node, "envoy-destination.yaml", packages.envoy,
                               {"/etc/envoy/jwks.json": issuer.jwks(), **(swaps or {})}), issuer


def test_envoy_destination(node):
    """Naming the destination itself does not get a client further either."""
    gateway, issuer = envoy_gateway(node)
    each_request_is_steered(gateway, issuer.of)
    nobody_is_let_in(gateway, issuer.refused())
    elsewhere = {"x-envoy-original-dst-host": gateway.servers[0].address()}
    nobody_is_let_in(gateway, [(elsewhere, 401)])
    placed = gateway.cluster.decisions()["sticky"]
    one = gateway.ask([issuer.of(KEYS[0])] * 2 + [{**issuer.of(KEYS[0]), **elsewhere}] * 2)
    assert len(set(one)) == 1 and gateway.cluster.decisions()["sticky"] == placed + 4


RETRY = "retry_policy: {retry_on: connect-failure, num_retries: 3}"
SERVER_CLOSE = "    option http-server-close"
# How a gateway is set up, and how many requests of 12 may find a dead engine.
RETRIES = {
    "envoy": (envoy_gateway, {}, 0),
    "envoy without": (envoy_gateway, {RETRY: ""}, 3),
    "haproxy": (haproxy_gateway, {}, 0),
    "haproxy without": (haproxy_gateway, {SERVER_CLOSE: f"    retries 0\n{SERVER_CLOSE}"}, 3),
    "nginx": (nginx_gateway, {}, 3),
}


@case(each=tuple(RETRIES))
def test_retry(node, how):
    """An engine dies. At most three connections find out, fewer if pintled does before them; no
    client does where the gateway tries again."""
    setup, swaps, failed = RETRIES[how]
    gateway, who = setup(node, swaps=swaps)
    requests = [who.of(user) for user in USERS]
    names = [name for _, name in gateway.ask(requests)]
    victim = next(s for s in gateway.servers if names.count(s.name) > 3)
    victim.model.kill()
    statuses = [status for status, _ in gateway.ask(requests)]
    assert statuses.count(200) >= 12 - failed and set(statuses) <= {200, 502, 503}, statuses
    assert gateway.cluster.endpoint(victim.name)["state"] == "ejected"


# -- a Service's ClusterIP as the upstream ---------------------------------------------------------------


def service_gateway(node, example, command, swaps=None):
    """All of the gateway's users are one session; connections are steered all the same."""
    swaps = {"10.96.14.3:80": SERVICE["v4"], **(swaps or {})}
    return Gateway(node, example, command, "client", SERVICE["v4"], swaps)


def each_request_has_a_connection(gateway, headers_of):
    requests = [headers_of(key) for key in KEYS * 2]
    said = gateway.ask(requests)
    assert {status for status, _ in said} == {200}, said
    assert {name for _, name in said} <= {s.name for s in gateway.servers}
    decided = gateway.cluster.decisions()
    assert sum(decided.values()) == len(requests) and not set(decided) & {"off", "no_endpoint"}, decided


KEEPALIVE = "keepalive 0;"


@case(each=packages.NGINX)
def test_nginx_service(node, origin):
    """One before 1.29.7 refuses `keepalive 0`, and keeps no connections without it."""
    version = node.run(packages.gateway("nginx", origin), "-v").stderr
    number = tuple(int(n) for n in version.split("nginx/")[1].split()[0].split("."))
    swaps = dict(NO_LOG)
    if number < (1, 29, 7):
        text = (EXAMPLES / "nginx-service.conf").read_text()
        refused = node.run(*nginx(node, origin)(node.write("refused.conf", text)), "-t", check=False)
        assert refused.returncode and 'invalid value "0" in "keepalive"' in refused.stderr, refused.stderr
        swaps[KEEPALIVE] = ""
    gateway = service_gateway(node, "nginx-service.conf", nginx(node, origin), swaps)
    each_request_has_a_connection(gateway, lambda key: {})


@case(each=packages.HAPROXY)
def test_haproxy_service(node, origin):
    gateway = service_gateway(node, "haproxy-service.cfg", haproxy(origin))
    each_request_has_a_connection(gateway, lambda key: {})


def envoy_service(node, swaps=None):
    issuer = Issuer(node)
    host, port = SERVICE["v4"].split(":")
    address = "address: {}, port_value: {}".format
    gateway = Gateway(node, "envoy-service.yaml", packages.envoy, "client", SERVICE["v4"], {
        address("10.96.14.3", 80): address(host, port), "/etc/envoy/jwks.json": issuer.jwks(), **(swaps or {})})
    return gateway, issuer


def test_envoy_service(node):
    gateway, issuer = envoy_service(node)
    each_request_has_a_connection(gateway, issuer.of)
    nobody_is_let_in(gateway, [(h, s) for h, s in issuer.refused() if s == 401])


def test_envoy_policy(node):
    """A user's requests beyond his rate, a body too long and one that asks for too much are refused, and reach
    no server; another user's go on."""
    gateway, issuer = envoy_service(node, {"max_tokens: 60, tokens_per_fill: 60": "max_tokens: 5, tokens_per_fill: 5"})

    def post(user, body):
        return gateway.post("/v1/completions", body, issuer.of(user))

    assert post("a", json.dumps({"max_tokens": 4096})) == 200
    before = sum(gateway.cluster.decisions().values())
    assert post("a", json.dumps({"max_tokens": 4097})) == 400
    assert post("a", '{"max_\\u0074okens": 1e9}') == 400
    assert post("a", json.dumps({"prompt": "x" * 80_000})) == 413
    assert sum(gateway.cluster.decisions().values()) == before
    assert post("a", json.dumps({"prompt": "x" * 8_000})) == 200
    # That was a's fifth request.
    assert [status for status, _ in gateway.ask([issuer.of("a")] * 2 + [issuer.of("b")] * 5)] == [429] * 2 + [200] * 5


@case(timeout=300)
def test_litellm_service(node):
    """LiteLLM's proxy keeps connections to the Service; with `requests: one-per-connection` each request is
    steered."""
    program = packages.library("litellm") / "bin/litellm"
    cluster = Cluster(node)
    pods = [cluster.pod(f"s{i}") for i in range(3)]
    for pod in pods:
        pod.popen([BUILD / "pintle-sim", "--host", pod.v4, "--port", 8000, "--profile", "tiny", "--model", "llama-8b"],
                  log=f"{pod.name}.log")
    cluster.steer(cluster.pool(pods, to=SERVICE["v4"], stickiness={"key": "client"},
                               requests="one-per-connection", **EVEN))
    gateway = cluster.pod("gateway")
    text = (EXAMPLES / "litellm.yaml").read_text().replace("10.96.14.3:80", SERVICE["v4"])
    gateway.popen([program, "--config", node.write("litellm.yaml", text), "--host", "127.0.0.1", "--port", "8080"],
                  log="litellm.log", env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(node.dir)})
    wait_for(lambda: gateway.connect("127.0.0.1:8080").close() is None, 240, "the gateway")
    body = json.dumps({"model": "llama-8b", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]})
    asked = types.SimpleNamespace(connect=lambda: gateway.connect("127.0.0.1:8080", timeout=60))
    assert [Gateway.post(asked, "/v1/chat/completions", body, {}) for _ in range(6)] == [200] * 6
    assert sum(cluster.decisions().values()) == 6
