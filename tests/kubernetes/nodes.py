# SPDX-License-Identifier: Apache-2.0
"""A cluster of real nodes for a case: a control plane, and nodes that run containerd, kubelet, kube-proxy and
a CNI bridge, without a VM and without a registry. All of it is the case's: processes, cgroups, file systems
in memory."""
import contextlib
import secrets
import time
from pathlib import Path

from control_plane import BINARIES, ControlPlane
from kernel import PREFIX, Skip, wait_for

STOCK = BINARIES.parent / "nodes"
HERE = Path(__file__).parent
LAN = "172.30.99."


def version_1():
    """[(mount point, options)] of the machine's cgroup version 1 hierarchies."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, at, kind, options, *_ = line.split()
        if kind == "cgroup":
            options = ",".join(o for o in options.split(",") if o not in ("rw", "relatime"))
            found.append((at, options.replace("name=", "none,name=")))
    return found


def sweep():
    """Cgroups of version 1 that killed cases left."""
    for at, _ in version_1():
        for path in Path(at).glob(f"{PREFIX}*"):
            if not Path("/proc", path.name[len(PREFIX):].split("-")[0]).exists():
                remove(path)


def remove(cgroup):
    """Removes a cgroup whose processes have ended, or are ending."""
    for _ in range(100):
        for path in sorted(cgroup.glob("**/"), key=lambda p: -len(p.parts)):
            with contextlib.suppress(OSError):
                path.rmdir()
        if not cgroup.exists():
            return
        time.sleep(0.1)
    raise OSError(f"cannot remove {cgroup}")


class Lan:
    """The control plane's machine, a bridge that all nodes are connected to."""

    def __init__(self, node):
        self.node, self.netns = node, node.netns.with_name("lan")
        node.make_netns(self.netns)
        self.ip("link", "add", "lan", "type", "bridge")
        self.ip("addr", "add", f"{LAN}1/24", "dev", "lan")
        self.ip("link", "set", "lan", "up")
        node.sysctl("net.ipv4.ip_forward", 1, netns=self.netns)

    def ip(self, *arguments):
        self.node.ip(*arguments, netns=self.netns)

    def popen(self, argv, **more):
        return self.node.popen(argv, netns=self.netns, **more)


class KubeNode:
    """hybrid: version 1 hierarchies beside cgroup2, as the machine itself has them, and limits hold. Else
    cgroup2 alone, in a cgroup namespace, as kind and k3d have it, without limits."""

    def __init__(self, cluster, name, number, images, *, hybrid):
        self.cluster, self.node, self.name = cluster, cluster.node, name
        self.address, self.hybrid = f"{LAN}{10 + number}", hybrid
        self.dir = self.node.dir / f"node-{name}"
        for part in ("upper", "work", "root", "containerd", "kubelet", "log", "etc"):
            (self.dir / part).mkdir(parents=True)
        self.etc = self.dir / "etc"
        self._settings(number)
        self.netns = self.node.netns.with_name(name)
        self._network(number)
        self.cgroups = self._cgroups()
        enter = "; ".join(f"echo 0 >{c}/cgroup.procs" for c in self.cgroups)
        self.process = self.node.popen(
            ["bash", "-c", f'{enter}; exec "$@"', "-", "unshare", "-m", "-u", "-i", "-C", "-p", "--fork", "--kill-child",
             "bash", HERE / "node-init", self.dir, STOCK / "root", BINARIES, name, self.address, *images],
            netns=self.netns, log=f"node-{name}.log", env={"HOME": "/root"})

    # .. making it

    def _certificate(self, name, subject):
        kube, etc = self.cluster.api.dir, self.etc
        self.node.run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                      subject, "-keyout", etc / f"{name}.key", "-out", etc / f"{name}.csr")
        self.node.run("openssl", "x509", "-req", "-in", etc / f"{name}.csr", "-CA", kube / "ca.crt", "-CAkey",
                      kube / "ca.key", "-set_serial", f"0x{secrets.token_hex(8)}", "-days", "30", "-out",
                      etc / f"{name}.crt")
        (etc / f"{name}.kubeconfig").write_text(f"""\
apiVersion: v1
kind: Config
clusters: [{{name: t, cluster: {{server: "{self.cluster.api.url}", certificate-authority: /etc/kube/ca.crt}}}}]
users: [{{name: u, user: {{client-certificate: /etc/kube/{name}.crt, client-key: /etc/kube/{name}.key}}}}]
contexts: [{{name: t, context: {{cluster: t, user: u}}}}]
current-context: t
""")

    def _settings(self, number):
        etc = self.etc
        (etc / "ca.crt").write_bytes((self.cluster.api.dir / "ca.crt").read_bytes())
        self._certificate("kubelet", f"/O=system:nodes/CN=system:node:{self.name}")
        self._certificate("kube-proxy", "/CN=system:kube-proxy")
        (etc / "kubelet.yaml").write_text(KUBELET)
        (etc / "kube-proxy.yaml").write_text(KUBE_PROXY + f"hostnameOverride: {self.name}\n")
        (etc / "cni.conflist").write_text(CNI.replace("NUMBER", str(number)))
        text = CONTAINERD
        if not self.hybrid:
            text += CONTAINERD_WITHOUT_LIMITS
            (etc / "runc-without-limits").write_text(RUNC_WITHOUT_LIMITS)
            (etc / "runc-without-limits").chmod(0o755)
        (etc / "containerd.toml").write_text(text)
        (etc / "cgroups-v1").write_text("".join(f"{at} {o}\n" for at, o in version_1()) if self.hybrid else "")

    def _network(self, number):
        """A cable to the lan; routes to every node's pods."""
        node, lan = self.node, self.cluster.lan
        node.make_netns(self.netns)
        lan.ip("link", "add", f"to-{self.name}", "type", "veth", "peer", "name", "eth0", "netns", self.netns.name)
        lan.ip("link", "set", f"to-{self.name}", "master", "lan", "up")
        node.ip("addr", "add", f"{self.address}/24", "dev", "eth0", netns=self.netns)
        node.ip("link", "set", "eth0", "up", netns=self.netns)
        node.ip("route", "add", "default", "via", f"{LAN}1", netns=self.netns)
        lan.ip("route", "replace", f"10.244.{number}.0/24", "via", self.address)
        node.sysctl("net.ipv4.ip_forward", 1, netns=self.netns)

    def _cgroups(self):
        """The node's part of each hierarchy. cpuset wants its lists before anybody enters."""
        unified = self.node.cgroup / self.name
        unified.mkdir()
        found = [unified]
        for at, _ in version_1():
            path = Path(at, f"{self.node.id}-{self.name}")
            path.mkdir()
            found.append(path)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (path / name).exists():
                    (path / name).write_text(Path(at, name).read_text())
        return found

    # .. while it runs

    @property
    def pid(self):
        """Of its process 1."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def run(self, *argv, **more):
        return self.node.run("nsenter", "-a", "-t", self.pid, *argv, **more)

    def hold(self, program):
        """Kills it, and it stays down until release()."""
        (self.etc / f"hold-{program}").touch()
        self.run("pkill", "-KILL", "-x", program)

    def release(self, program):
        (self.etc / f"hold-{program}").unlink()

    def end(self):
        self.process.kill() # process 1 is killed with it, and with that all of its namespace
        self.process.wait()
        events = self.cgroups[0] / "cgroup.events"
        wait_for(lambda: "populated 0" in events.read_text(), 120, f"node {self.name} to be gone")
        for path in self.cgroups[1:]:
            remove(path)


class KubeCluster:
    """A control plane and one hybrid node, `a`, and one whose cgroup2 is in a cgroup namespace, `b`. A context
    manager. images: archives that both nodes import."""

    def __init__(self, node, images=()):
        for name in ("kubelet", "kube-proxy", "kube-scheduler", "kubectl"):
            if not (BINARIES / name).exists():
                raise Skip(f"{name} is not built: tests/kubernetes/build")
        for name in ("root", "pause.tar", "tools.tar"):
            if not (STOCK / name).exists():
                raise Skip(f"{name} is not made: tests/kubernetes/build-nodes")
        sweep()
        self.node, self.lan, self.nodes = node, Lan(node), {}
        self.images = [STOCK / "pause.tar", STOCK / "tools.tar", *images]

    def __enter__(self):
        try:
            self.api = ControlPlane(self.lan, address=f"{LAN}1", nodes=True)
            hybrid = bool(version_1())
            for number, (name, kind) in enumerate((("a", hybrid), ("b", False)), 1):
                self.nodes[name] = KubeNode(self, name, number, self.images, hybrid=kind)
            wait_for(lambda: all(self.is_ready(name) for name in self.nodes), 600, "the nodes to be Ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for each in self.nodes.values():
            each.end()

    def is_ready(self, name):
        each = self.nodes[name]
        if each.process.poll() is not None:
            raise RuntimeError(f"node {name} ended")
        conditions = self.api.get(f"/api/v1/nodes/{name}")["status"]["conditions"]
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def kubectl(self, *arguments, check=True, timeout=240, stdin=None):
        """What it prints."""
        argv = [BINARIES / "kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        if stdin is not None:
            argv = ["sh", "-c", 'exec "$@" <"$0"', self.node.write("stdin", stdin), *argv]
        result = self.node.run(*argv, netns=self.lan.netns, check=check, timeout=timeout,
                               env={"HOME": str(self.node.dir)})
        return result.stdout if check else result

    @property
    def kubeconfig(self):
        path = self.node.dir / "admin.kubeconfig"
        return path if path.exists() else self.api.kubeconfig("admin", self.api.admin)

    def pods(self, namespace, selector):
        return self.api.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector.replace('=', '%3D')}")["items"]


KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
resolvConf: ""
clusterDNS: [10.96.0.10]
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
syncFrequency: 10s
nodeLeaseDurationSeconds: 4
"""
KUBE_PROXY = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: /etc/kube/kube-proxy.kubeconfig}
mode: nftables
clusterCIDR: 10.244.0.0/16
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
"""
# Without CAP_SYS_RESOURCE nobody may lower oom_score_adj.
CONTAINERD = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
# The machine's cgroup2 has no controllers to give where version 1 has them.
CONTAINERD_WITHOUT_LIMITS = """\
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "/etc/kube/runc-without-limits"
"""
RUNC_WITHOUT_LIMITS = """\
#!/bin/sh
create= bundle= last=
for a; do
    [ "$a" = create ] && create=1
    [ "$last" = --bundle ] && bundle=$a
    last=$a
done
if [ -n "$create" ]; then
    jq '.linux.resources |= {devices: .devices}' "$bundle/config.json" >"$bundle/config.new"
    cat "$bundle/config.new" >"$bundle/config.json"
fi
exec runc "$@"
"""
CNI = """\
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
 "hairpinMode": true, "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.NUMBER.0/24"}]],
 "routes": [{"dst": "0.0.0.0/0"}]}}]}
"""
