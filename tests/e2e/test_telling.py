# SPDX-License-Identifier: Apache-2.0
"""What the daemon and the CLI tell, whom, and what they keep to themselves."""
import time

from clients import NODE_ADDRESS
from daemon import METRICS
from harness import case


@case(each=("loopback", "another address"))
def test_probes_are_answered(node, who):
    """Whoever holds hundreds of connections to node.metrics without a whole request, even from the
    kubelet's own address, does not keep a probe from its answer."""
    remote = who != "loopback"
    port = METRICS.split(":")[1]
    node.add_client()
    daemon = node.daemon(node.config(node.pool(node.servers(1)), metrics=f"0.0.0.0:{port}"))
    held = []
    for i in range(300):
        c = node.connect(f"{NODE_ADDRESS['v4']}:{port}" if remote else METRICS, remote=remote)
        c.sock.sendall((b"", b"GET /hea", b"GET /metrics HTTP/1.1\r\nHost: a\r\n")[i % 3])
        held.append(c)
    for path in ("/healthz", "/readyz", "/metrics"):
        begun = time.monotonic()
        assert daemon.get(path)[0] == 200
        assert time.monotonic() - begun < 3, path
    for c in held:
        c.close()
