# SPDX-License-Identifier: Apache-2.0
"""GPU figures of pods: from the DCGM exporter's pod on each pod's own node."""
from harness import case
from kernel import wait_for
from test_services import POOL, World

EXPORTER = """import http.server as h, sys
class Page(h.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open(sys.argv[1], "rb").read() if self.path == "/metrics" else b"")
h.HTTPServer(("", 9400), Page).serve_forever()
"""


def page(*gpus):
    """What dcgm-exporter writes with DCGM_EXPORTER_KUBERNETES: (GPU, namespace, pod, percent in use)."""
    labels = ('{{gpu="{0}",UUID="GPU-{0}",pci_bus_id="00000000:0{0}:00.0",device="nvidia{0}",modelName="NVIDIA H100 '
              '80GB HBM3",Hostname="n",container="vllm",namespace="{1}",pod="{2}"}}')
    lines = ["# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).", "# TYPE DCGM_FI_DEV_GPU_UTIL gauge"]
    lines += [f"DCGM_FI_DEV_GPU_UTIL{labels.format(*gpu)} {gpu[3]}" for gpu in gpus]
    lines += ["# HELP DCGM_FI_DEV_FB_USED Frame buffer memory used (in MB).", "# TYPE DCGM_FI_DEV_FB_USED gauge"]
    lines += [f"DCGM_FI_DEV_FB_USED{labels.format(*gpu)} {60000 + gpu[3]}" for gpu in gpus]
    return "\n".join(lines) + "\n"


@case(timeout=180)
def test_by_the_endpoints_node(node):
    """Each pod, of a Service or of an InferencePool, has the figures that the exporter on its node has of its name and
    namespace; an exporter that moves, or is gone, is followed."""
    world = World(node, mode="enforce", kinds=["inferencepools"])
    world.api.create("/api/v1/nodes", {"metadata": {"name": "node-b"}})
    far = world.machine.pod("s2")
    far.server()
    world.api.run(far, on="node-b")
    # A pod of the same name in another namespace, on the same node, and one of this namespace on the other node.
    pages = {"node-a": page((0, "dev", "s0", 99), (1, "llm", "s0", 40), (2, "llm", "s1", 10), (3, "llm", "s1", 30)),
             "node-b": page((0, "llm", "s2", 70), (1, "llm", "s0", 5))}
    exporters = {}
    for name, text in pages.items():
        exporters[name] = pod = world.machine.pod(f"dcgm-{name}")
        pod.popen(["python3", "-c", EXPORTER, node.write(f"{name}.txt", text)])
        world.api.run(pod, app="dcgm", on=name)
    world.api.service("dcgm", ip="10.96.0.40", ports=[{"port": 9400, "targetPort": 9400}])
    world.api.service("front", ip="10.96.0.41", mode="enforce", selector={"app": "none"})
    world.api.patch("/api/v1/namespaces/llm/services/front", {"metadata": {"annotations": {"pintle.dev/pool": "ranks"}}})
    config = world.config().replace("kubernetes: {", "kubernetes: {gpuExporter: {namespace: llm, service: dcgm}, ")
    world.machine.daemon(config)

    def figures(pool=POOL):
        return {e["name"]: e["gpu"] for e in world.machine.cli("endpoints") if e["pool"] == pool}

    wait_for(lambda: figures() == {"s0": 0.4, "s1": 0.3, "s2": 0.7}, 20, "the figures of all nodes")
    world.api.label("off")
    world.api.inference_pool("ranks", app="vllm", failureMode="FailOpen")
    wait_for(lambda: figures("llm/ranks") == {"s0": 0.4, "s1": 0.3, "s2": 0.7}, 20, "the figures of a pool")
    world.api.say(exporters["node-a"], False)
    heir = world.machine.pod("heir")
    heir.popen(["python3", "-c", EXPORTER, node.write("heir.txt", page((1, "llm", "s0", 20)))])
    world.api.run(heir, app="dcgm")
    wait_for(lambda: figures("llm/ranks") == {"s0": 0.2, "s1": None, "s2": 0.7}, 60, "the new exporter's figures")
    # The rule weighs them: s0 and s2 alike, but for their GPUs.
    world.machine.pintle("set", "llm/ranks", "weights.gpu=100")
    world.machine.pintle("set", "llm/ranks", "stickiness.key=none")
    world.api.say(world.servers[1], False)
    wait_for(lambda: set(world.client.spread("10.96.0.41:8000", 12)) == {"s0"}, 20)
