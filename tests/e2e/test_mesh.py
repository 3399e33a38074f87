# SPDX-License-Identifier: Apache-2.0
"""Clients with a mesh's proxy, to which rules in the pod's own network redirect what the pod sends."""
import json
import subprocess

from harness import case
from kernel import wait_for
from pods import SERVICE, Cluster
from test_classes import UID, pod_is
from test_connect import all_zero

# Answers with the address that its client asked for.
PROXY = """
import os, socket, struct
os.setgid(1337), os.setuid(1337)
listener = socket.create_server(("127.0.0.1", 15001))
print("ready", flush=True)
while True:
    asked = listener.accept()[0]
    port, address = struct.unpack("!2xH4s8x", asked.getsockopt(socket.SOL_IP, 80, 16))
    body = f"{socket.inet_ntoa(address)}:{port}"
    asked.recv(4096)
    asked.sendall(f"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
    asked.close()
"""
REDIRECT = """
table ip mesh {
    chain out {
        type nat hook output priority -100
        meta skuid != 1337 ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :15001
    }
}
"""
UNLABELLED = "10.96.0.99:8000"


def begin(pod, *proxy):
    """A proxy in the pod: its text and arguments."""
    process = pod.popen(["/usr/bin/python3", "-I", "-S", "-c", *proxy], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"


class Mesh:
    """A pod of a Kubernetes node with a proxy, and a server."""

    def __init__(self, node):
        self.node, self.cluster = node, Cluster(node)
        self.servers = self.cluster.servers(1)
        self.client, self.container = self.proxied("client", UID)

    def proxied(self, name, uid, *proxy):
        """A pod with a proxy, by default PROXY, and the cgroup of its container."""
        client = self.cluster.pod(name)
        container = client.cgroup / f"kubepods/burstable/pod{uid}/c1"
        container.mkdir(parents=True)
        begin(client, *(proxy or (PROXY,)))
        client.nft(REDIRECT)
        return client, container

    def steer(self, **more):
        """The key `pod` has pintled name pods."""
        self.cluster.steer(self.cluster.pool(self.servers, stickiness={"key": "pod"}, **more))

    def leave_alone(self):
        wait_for(lambda: pod_is(self.cluster, "10.7.0.9", b"jobs", b"run", rules=None, left_alone=True) is None)

    def asked(self, to=SERVICE["v4"], by=None):
        """What the proxy saw in the place of that address; "": nothing, because connect() failed."""
        client, container = by or (self.client, self.container)
        return client.run("curl", "-sS", "-m5", f"http://{to}", cgroup=container, check=False).stdout


def test_sidecar(node):
    """The proxy sees the address of a Service that Pintle does not steer, and an endpoint's in the place of one that it
    does; in the modes off and shadow it sees the Service's."""
    mesh = Mesh(node)
    mesh.steer()
    assert mesh.asked() == mesh.servers[0].address()
    assert mesh.asked(UNLABELLED) == UNLABELLED
    for mode in ("off", "shadow"):
        mesh.cluster.pintle("mode", "pool", mode)
        assert mesh.asked() == SERVICE["v4"]


def test_left_alone(node):
    """A pod that is left alone: its proxy sees the Service's address, and the pool counts that as passed."""
    mesh = Mesh(node)
    mesh.steer()
    mesh.leave_alone()
    assert mesh.asked() == SERVICE["v4"]
    assert mesh.cluster.decisions() == {"passed": 1}
    assert mesh.client.ask(SERVICE["v4"]) == mesh.servers[0].address() # in no cgroup of that pod
    assert "left alone: connections of this pod" in mesh.cluster.pintle("explain", "pool", "--pod", "jobs/pod").stdout
    all_zero(mesh.cluster)


def test_left_alone_by_the_configuration(node):
    """Without Kubernetes a client is left alone by its cgroup, also one that is made below it later; a reload steers it
    again."""
    mesh = Mesh(node)
    pool = mesh.cluster.pool(mesh.servers, stickiness={"key": "none"})
    below = f"/{mesh.client.cgroup.name}/kubepods"
    clients = [{"name": "proxied", "cgroup": "*" + below, "steer": False}]
    daemon = mesh.cluster.steer(pool, clients=clients)
    wait_for(lambda: mesh.asked() == SERVICE["v4"])
    assert mesh.client.ask(SERVICE["v4"]) == mesh.servers[0].address() # beside that cgroup
    later = mesh.container / "later"
    later.mkdir()
    wait_for(lambda: mesh.client.run("curl", "-sS", "-m5", f"http://{SERVICE['v4']}", cgroup=later, check=False).stdout
             == SERVICE["v4"])
    said = mesh.cluster.pintle("explain", "pool", "--cgroup", str(mesh.container)).stdout
    assert "left alone: connections of this client" in said
    clients[0]["steer"] = True
    daemon.reload(mesh.cluster.config(pool, clients=clients))
    wait_for(lambda: mesh.asked() == mesh.servers[0].address())
    all_zero(mesh.cluster)


def test_left_alone_at_pods_addresses(node):
    """Where a pool intercepts connections to its endpoints' own addresses, such a pod gets the one that it asked for."""
    mesh = Mesh(node)
    more = mesh.cluster.servers(1, first=1)
    mesh.servers += more
    mesh.steer(intercept="endpoints")
    mesh.cluster.pintle("drain", "s0")
    assert mesh.asked(mesh.servers[0].address()) == more[0].address()
    mesh.leave_alone()
    assert mesh.asked(mesh.servers[0].address()) == mesh.servers[0].address()


def test_left_alone_opens_nothing(node):
    """Who may not connect to the pool may not as a pod that is left alone either."""
    mesh = Mesh(node)
    mesh.steer(access={"allow": [{"namespace": "others"}]})
    mesh.leave_alone()
    assert mesh.asked() == ""
    assert mesh.cluster.decisions() == {"forbidden": 1}


# -- with TLS between the proxies --------------------------------------------------------------

# What a client of the mesh sends to the Service (argv[4]), its proxy carries to the server (argv[5]) in TLS, with the
# mesh's certificate; it passes on what goes to another address as it is. The server's proxy takes nothing else than
# such TLS, as with Istio's mode STRICT.
CARRY = """
import os, socket, ssl, struct, sys, threading
cert, key, role, service, server = sys.argv[1:]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if role == "client" else ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(cert, key), tls.load_verify_locations(cert)
tls.check_hostname, tls.verify_mode = False, ssl.CERT_REQUIRED
os.setgid(1337), os.setuid(1337)
port = 15001 if role == "client" else 15006
listener = socket.create_server(("0.0.0.0", port))
print("ready", flush=True)
def carry(came):
    with came:
        to = struct.unpack("!2xH4s8x", came.getsockopt(socket.SOL_IP, 80, 16))
        asked = f"{socket.inet_ntoa(to[1])}:{to[0]}"
        if role == "server":
            came = tls.wrap_socket(came, server_side=True)
        host, port = (server if role == "server" or asked == service else asked).rsplit(":", 1)
        with socket.create_connection((host, int(port))) as on:
            if asked == service:
                on = tls.wrap_socket(on)
            on.sendall(came.recv(4096))
            while piece := on.recv(4096):
                came.sendall(piece)
while True:
    threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()
"""
# pintled reads the page from the machine, which kubelets' probes come from, too.
STRICT = """
table ip mesh {
    chain in {
        type nat hook prerouting priority -100
        ip saddr CLIENT tcp dport 8000 redirect to :15006
    }
}
"""


def test_strict_tls_goes_on(node):
    """A server's proxy takes only the mesh's TLS, which the client's proxy speaks to the Service's address: a pod that is
    left alone is served. One that is steered is not, since its proxy knows no mesh at the endpoint's address."""
    mesh = Mesh(node)
    (server,), (cert, key) = mesh.servers, node.certificate("mesh")
    within = mesh.proxied("within", UID, CARRY, cert, key, "client", SERVICE["v4"], server.address())
    begin(server, CARRY, cert, key, "server", SERVICE["v4"], "127.0.0.1:8000")
    server.nft(STRICT.replace("CLIENT", within[0].v4))
    mesh.steer()
    assert mesh.asked(by=within) == ""
    mesh.leave_alone()
    assert mesh.asked(by=within) == server.name
    assert mesh.cluster.decisions()["passed"] == 1


# -- by the API server's word ------------------------------------------------------------------

# Lists the pods of a file, and nothing else; watches say nothing.
API = """
import http.server, json, ssl, sys, time
cert, key, pods = sys.argv[1:]
class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        path, _, query = self.path.partition("?")
        if "watch=1" in query:
            self.send_response(200), self.send_header("Connection", "close"), self.end_headers()
            time.sleep(3600)
        one = path.startswith("/api/v1/nodes/") or "/leases/" in path
        items = json.load(open(pods)) if path == "/api/v1/pods" else []
        body = json.dumps({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}).encode()
        self.send_response(404 if one else 200), self.send_header("Content-Length", str(len(body))), self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 6443), Api)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.daemon_threads = True
print("ready", flush=True)
server.serve_forever()
"""


def api_server(mesh, pods):
    """An API server that says this of pods, {uid: annotations}; the path of the kubeconfig for it, and its process."""
    node = mesh.node
    cert, key = node.certificate("api", "-addext", "subjectAltName=IP:127.0.0.1")
    listed = node.write("pods.json", json.dumps([{
        "metadata": {"namespace": "chat", "name": f"web-{i}", "uid": uid, "annotations": annotations},
        "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}} for i, (uid, annotations) in enumerate(pods.items())]))
    api = mesh.cluster.machines[0].popen(["/usr/bin/python3", "-c", API, cert, key, listed], stdout=subprocess.PIPE, text=True)
    assert api.stdout.readline() == "ready\n"
    return api, node.write("api.kubeconfig", json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority": str(cert)}}],
        "users": [{"name": "pintle", "user": {"token": "t"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "pintle"}}]}))


@case(timeout=120)
def test_by_annotation(node):
    """A pod on which a mesh, or its author, has written so is left alone, whatever the pool's key is; so it is by the
    next pintled while the API server is away."""
    mesh = Mesh(node)
    other = UID[:-1] + "0"
    of_a_mesh, of_its_author = (mesh.client, mesh.container), mesh.proxied("other", other)
    api, kubeconfig = api_server(mesh, {UID: {"sidecar.istio.io/status": "off"}, other: {"pintle.dev/steer": "off"}})
    config = mesh.cluster.config(mesh.cluster.pool(mesh.servers)) + \
        f"kubernetes: {{kubeconfig: {kubeconfig}, node: n1}}\n"
    daemon = mesh.cluster.daemon(config)
    mesh.cluster.all_ready()
    for by in (of_a_mesh, of_its_author):
        wait_for(lambda: mesh.asked(by=by) == SERVICE["v4"], 20, f"{by[0].name} to be left alone")  # noqa: B023
        assert by[0].ask(SERVICE["v4"]) == mesh.servers[0].address()
    api.kill()
    daemon.kill()
    mesh.cluster.daemon(config)
    mesh.cluster.all_ready()
    for by in (of_a_mesh, of_its_author):
        assert mesh.asked(by=by) == SERVICE["v4"], by[0].name
