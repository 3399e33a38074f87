# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 without TLS, and WebSocket: what their bytes mean is not known, so nothing of them is measured."""
import socket

from clients import split
from harness import case
from kernel import wait_for
from packages import need
from pods import SERVICE, Cluster
from test_latency import HISTOGRAM, Simulated, simulate

# test_connect and test_connect_daemon run the daemon's own code under the sanitizers.
UNDER_SANITIZERS = False

NGINX = """daemon off; pid {root}/pid; error_log stderr; worker_processes 1; events {{ }}
http {{
    access_log off; default_type text/plain;
    client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
    uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
    server {{ listen {at} http2; location / {{ proxy_buffering off; proxy_pass http://127.0.0.1:9001; }} }}
}}"""
ASK = '{"prompt": "hello", "max_tokens": 5, "stream": true}'


NODE = """
const session = require('http2').connect(process.argv[1]);
const ask = () => new Promise((done, failed) => {
    const stream = session.request({':path': '/v1/completions', ':method': 'POST'});
    stream.on('data', (data) => process.stdout.write(data));
    stream.on('end', done).on('error', failed).end(process.argv[2]);
});
const main = async () => {
    for (let i = 0; i < 3; i++) await ask();
    await Promise.all([ask(), ask(), ask()]);
    session.close();
};
main();
"""


class Http2(Simulated):
    """nginx speaks HTTP/2 before a simulated server."""

    def start(self, server):
        simulate(server, "0.0.0.0:9001", "0.02")
        root = server.dir / "nginx"
        root.mkdir()
        (root / "conf").write_text(NGINX.format(root=root, at=self.at))
        server.popen([need("nginx"), "-c", root / "conf", "-p", root, "-e", "stderr"], log="nginx.log")
        return {"metrics": f"http://{split(self.at)[0]}:9001/metrics"}

    def ask(self):
        asked = self.client.run("curl", "-sS", "-m20", "--http2-prior-knowledge", "-d", ASK,
                                self.url + "/v1/completions", timeout=60).stdout
        assert "[DONE]" in asked, asked

    def ask_many(self):
        """Six requests on one connection: three in turn, three at once."""
        asked = self.client.run(need("node"), "-e", NODE, self.url, ASK, timeout=60).stdout
        assert asked.count("[DONE]") == 6, asked

    def measured(self):
        """All that the page says of requests, but for zeros."""
        parts = ("first_token", "request_size", "response_size", "requests_ended", "unmeasured", "responses_total")
        return {(name, labels): value for (name, labels), value in self.daemon.metrics().items()
                if value and any(part in name for part in parts)}


@case(each=("lookup", "connect"), timeout=120)
def test_curl_is_not_measured(node, hook):
    """A request a connection: nothing of it is counted as a request, and connections count as ever."""
    s = Http2(node, hook)
    for _ in range(3):
        s.ask()
    wait_for(lambda: s.daemon.metric("pintle_connections_ended_total", pool="pool", endpoint="s", how="closed") == 3)
    assert not s.measured(), s.measured()


@case(each=("lookup", "connect"), timeout=120)
def test_streams_are_not_measured(node, hook):
    """The same of a connection with several streams."""
    s = Http2(node, hook)
    s.ask_many()
    wait_for(lambda: sum(value for (name, _), value in s.daemon.metrics().items()
                         if name == "pintle_connections_ended_total") == 1)
    assert not s.measured(), s.measured()


def websocket(c):
    """Sends a frame after an answer, as WebSocket has them."""
    c.sock.settimeout(10)
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.sock.sendall(b"GET /bytes/3000 HTTP/1.1\r\nHost: a\r\n\r\n")
    got = b""
    while len(got) < 3000:
        got += c.sock.recv(65536)
    c.sock.sendall(b"\x81\x85mask\x00\x00\x00\x00\x00")


def test_what_a_client_sends_harms_itself_alone(node):
    """A client that sends what is no request after its answer has begun is no longer measured; others are."""
    cluster = Cluster(node)
    servers = cluster.servers(1)
    daemon = cluster.steer(cluster.pool(servers))
    odd, other = cluster.pod("odd"), cluster.pod("other")

    def total(name):
        return sum(value for (found, _), value in daemon.metrics().items() if found == name)

    with other.connect(SERVICE["v4"]) as c:
        c.ask("/bytes/3000")
        with odd.connect(SERVICE["v4"]) as mine:
            websocket(mine)
        for _ in range(3):
            c.ask("/bytes/3000")
    wait_for(lambda: total("pintle_pool_requests_ended_total") == 4)
    assert total(HISTOGRAM + "_count") in (4, 5)  # the answer before the frame may count
    wait_for(lambda: total("pintle_connections_ended_total") == 2)
    assert total("pintle_pool_requests_ended_total") == 4
