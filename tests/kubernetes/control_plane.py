# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes control plane for a case: etcd, the API server and the controllers that make
EndpointSlices, as processes of the case's first machine. There is no kubelet: the case says of a pod
what a kubelet would say."""
import http.client
import json
import os
import secrets
import signal
import socket
import ssl
from pathlib import Path

import yaml

from kernel import TOP, Skip, inside, wait_for

BINARIES = Path(os.environ.get("PINTLE_KUBERNETES") or Path(
    os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pintle/kubernetes")) / "bin"
NODE = "node-a"
CONTROLLERS = ",".join(f"{name}-controller" for name in (
    "serviceaccount", "root-ca-certificate-publisher", "namespace", "endpoints", "endpointslice",
    "endpointslice-mirroring", "garbage-collector", "clusterrole-aggregation"))


class Refused(OSError):
    """The API server's answer to a request, with an HTTP status that is no success; wait_for() asks
    again."""


class ControlPlane:
    """address: where it listens. nodes: real nodes will join, so all controllers and the scheduler run."""

    def __init__(self, machine, *, address="127.0.0.1", nodes=False):
        for name in ("etcd", "kube-apiserver", "kube-controller-manager"):
            if not (BINARIES / name).exists():
                raise Skip(f"{name} is not built: tests/kubernetes/build")
        self.machine, self.node = machine, machine.node
        self.address, self.nodes = address, nodes
        self.dir = self.node.dir / "kubernetes"
        self.dir.mkdir()
        self.admin, self.controllers, self.scheduler = (secrets.token_hex(16) for _ in range(3))
        self.port, self.etcd_port, self.peer_port = (self._free_port() for _ in range(3))
        self.url = f"https://{address}:{self.port}"
        self._certificates()
        self._start("etcd", (
            "--name=e", f"--data-dir={self.dir}/etcd", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{self.peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{self.peer_port}",
            f"--initial-cluster=e=http://127.0.0.1:{self.peer_port}"))
        self.start_server()
        self._start("kube-controller-manager", (
            f"--kubeconfig={self.kubeconfig('controllers', self.controllers)}",
            "--leader-elect=false", "--secure-port=0", *self._controllers(),
            f"--root-ca-file={self.dir}/ca.crt",
            f"--service-account-private-key-file={self.dir}/sa.key",
            "--use-service-account-credentials=true", "--profiling=false"))
        if nodes:
            self._start("kube-scheduler", (
                f"--kubeconfig={self.kubeconfig('scheduler', self.scheduler)}", "--leader-elect=false",
                "--secure-port=0", "--profiling=false"))
        self.create("/api/v1/namespaces", {"metadata": {"name": "llm"}})
        if not nodes:
            self.create("/api/v1/nodes", {"metadata": {"name": NODE}})
        wait_for(lambda: self.get("/api/v1/namespaces/llm/serviceaccounts/default"), 90,
                 "the namespace's service account")

    # .. processes

    def _free_port(self):
        with inside(self.machine.netns), socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def _certificates(self):
        """A CA of our own, a certificate of the server, a key that signs tokens."""
        def openssl(*arguments):
            self.node.run("openssl", *arguments)

        d = self.dir
        ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *ec, "-days", "30", "-subj", "/CN=test-ca", "-keyout", d / "ca.key",
                "-out", d / "ca.crt", "-addext", "basicConstraints=critical,CA:TRUE")
        openssl("req", *ec, "-subj", "/CN=kube-apiserver", "-keyout", d / "api.key", "-out", d / "api.csr")
        (d / "api.ext").write_text(f"subjectAltName=IP:{self.address},IP:10.96.0.1,DNS:kubernetes\n")
        openssl("x509", "-req", "-in", d / "api.csr", "-CA", d / "ca.crt", "-CAkey", d / "ca.key",
                "-CAcreateserial", "-days", "30", "-extfile", d / "api.ext", "-out", d / "api.crt")
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", d / "sa.key")
        (d / "tokens.csv").write_text(f'{self.admin},admin,admin,"system:masters"\n'
                                      f"{self.controllers},system:kube-controller-manager,kcm,\n"
                                      f"{self.scheduler},system:kube-scheduler,scheduler,\n")

    def _start(self, name, arguments):
        process = self.machine.popen([BINARIES / name, *arguments], log=f"{name}.log")
        setattr(self, name.replace("kube-", "").replace("-", "_"), process)

    def _admission(self):
        """As GKE has it: system-node-critical needs a quota that names it."""
        self.node.write("quota.yaml", """
apiVersion: apiserver.config.k8s.io/v1
kind: ResourceQuotaConfiguration
limitedResources:
- resource: pods
  matchScopes:
  - {scopeName: PriorityClass, operator: In, values: [system-node-critical]}
""")
        return self.node.write("admission.yaml", f"""
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- {{name: ResourceQuota, path: {self.node.dir}/quota.yaml}}
""")

    def _controllers(self):
        if not self.nodes:
            return (f"--controllers={CONTROLLERS}",)
        # A node that says nothing for 20 s is NotReady, and its pods leave the EndpointSlices.
        return ("--controllers=*,-token-cleaner-controller", "--node-monitor-period=1s",
                "--node-monitor-grace-period=20s")

    def start_server(self):
        d = self.dir
        self._start("kube-apiserver", (
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", f"--bind-address={self.address}",
            f"--secure-port={self.port}", f"--tls-cert-file={d}/api.crt",
            f"--tls-private-key-file={d}/api.key", f"--token-auth-file={d}/tokens.csv",
            f"--client-ca-file={d}/ca.crt", "--authorization-mode=Node,RBAC",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-cluster-ip-range=10.96.0.0/16,fd96::/108", f"--advertise-address={self.address}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={d}/sa.key", f"--service-account-signing-key-file={d}/sa.key",
            "--shutdown-delay-duration=0", "--disable-admission-plugins=TaintNodesByCondition",
            f"--endpoint-reconciler-type={'lease' if self.nodes else 'none'}", "--profiling=false",
            f"--audit-policy-file={self.node.write('audit.yaml', AUDIT)}",
            f"--audit-log-path={d}/audit.log",
            *([f"--admission-control-config-file={self._admission()}"] if self.nodes else ())))
        wait_for(lambda: self.request("GET", "/readyz"), 180, "the API server to be ready")

    def kill_server(self):
        self.apiserver.kill()
        self.apiserver.wait()

    def stop_server(self):
        """It hangs: connections stay, and nothing is answered."""
        self.apiserver.send_signal(signal.SIGSTOP)

    def continue_server(self):
        self.apiserver.send_signal(signal.SIGCONT)

    # .. requests

    def request(self, method, path, body=None, kind="application/json", token=None):
        """The answer's text."""
        with inside(self.machine.netns):
            c = http.client.HTTPSConnection(self.address, self.port, timeout=10, context=ssl.create_default_context(
                cafile=self.dir / "ca.crt"))
            try:
                c.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body),
                          {"Authorization": f"Bearer {token or self.admin}", "Content-Type": kind})
                answer = c.getresponse()
                text = answer.read().decode()
            except http.client.HTTPException as e:
                raise OSError(str(e)) from e
            finally:
                c.close()
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {text[:300]}")
        return text

    def get(self, path):
        return json.loads(self.request("GET", path))

    def create(self, path, what):
        return json.loads(self.request("POST", path, what))

    def patch(self, path, what):
        return json.loads(self.request("PATCH", path, what, "application/merge-patch+json"))

    def delete(self, path):
        return self.request("DELETE", path, {"gracePeriodSeconds": 0})

    def kubeconfig(self, name, token):
        return self.node.write(f"{name}.kubeconfig", yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url, "certificate-authority": str(self.dir / "ca.crt")}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
        }))

    def grant(self):
        """A kubeconfig with the rights that manifests/rbac.yaml gives, and no others."""
        self.create("/api/v1/namespaces", {"metadata": {"name": "pintle"}})
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        paths = {"ServiceAccount": "/api/v1/namespaces/pintle/serviceaccounts",
                 "ClusterRole": f"{rbac}/clusterroles", "ClusterRoleBinding": f"{rbac}/clusterrolebindings",
                 "Role": f"{rbac}/namespaces/pintle/roles",
                 "RoleBinding": f"{rbac}/namespaces/pintle/rolebindings"}
        for what in yaml.safe_load_all((TOP / "manifests/rbac.yaml").read_text()):
            for subject in what.get("subjects", ()):
                subject["namespace"] = "pintle" # as kustomize does
            self.create(paths[what["kind"]], what)
        token = self.create("/api/v1/namespaces/pintle/serviceaccounts/pintle/token",
                            {"spec": {"expirationSeconds": 3600}})["status"]["token"]
        return self.kubeconfig("pintle", token)

    # .. kinds

    def define(self, kind):
        """Makes the API server serve that kind: "steeringpolicies", "inferencepools" or "inferenceobjectives"."""
        file = {"steeringpolicies": TOP / "manifests/crd.yaml",
                "inferencepools": BINARIES.parent / "crds/inference.networking.k8s.io_inferencepools.yaml",
                "inferenceobjectives":
                    BINARIES.parent / "crds/inference.networking.x-k8s.io_inferenceobjectives.yaml"}[kind]
        if not file.exists():
            raise Skip(f"{file.name} is not there: tests/kubernetes/build")
        self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                    yaml.safe_load(file.read_text()))
        wait_for(lambda: self.get(self.kind(kind)), 20, f"{kind} to be served")

    GROUPS = {"steeringpolicies": "pintle.dev/v1alpha1", "inferencepools": "inference.networking.k8s.io/v1",
              "inferenceobjectives": "inference.networking.x-k8s.io/v1alpha2"}

    def undefine(self, kind):
        group = self.GROUPS[kind].partition("/")[0]
        self.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.{group}")

    @classmethod
    def kind(cls, kind, space="llm"):
        return f"/apis/{cls.GROUPS[kind]}/namespaces/{space}/{kind}"

    def policy(self, name, *targets, space="llm", **spec):
        """A SteeringPolicy for targets such as ("Service", "vllm")."""
        return self.create(self.kind("steeringpolicies", space), {
            "apiVersion": "pintle.dev/v1alpha1", "kind": "SteeringPolicy", "metadata": {"name": name},
            "spec": {"targetRefs": [{"kind": k, "name": n} for k, n in targets], **spec}})

    def change_policy(self, name, **spec):
        self.patch(f"{self.kind('steeringpolicies')}/{name}", {"spec": spec})

    def conditions(self, name, space="llm"):
        """{type: (status, reason, message)} of a SteeringPolicy, as of its present generation."""
        found = self.get(f"{self.kind('steeringpolicies', space)}/{name}")
        return {c["type"]: (c["status"], c["reason"], c["message"])
                for c in found.get("status", {}).get("conditions", ())
                if c["observedGeneration"] == found["metadata"]["generation"]}

    def inference_pool(self, name="vllm", app="vllm", ports=(8000,), **spec):
        return self.create(self.kind("inferencepools"), {
            "apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool",
            "metadata": {"name": name}, "spec": {
                "selector": {"matchLabels": {"app": app}}, "targetPorts": [{"number": p} for p in ports],
                "endpointPickerRef": {"name": "none", "port": {"number": 9002}, **spec}}})

    def objective(self, name, pool, **spec):
        return self.create(self.kind("inferenceobjectives"), {
            "apiVersion": "inference.networking.x-k8s.io/v1alpha2", "kind": "InferenceObjective",
            "metadata": {"name": name}, "spec": {"poolRef": {"name": pool}, **spec}})

    def events(self, space="llm"):
        """{(kind, name, message)} of the Events that pintled wrote."""
        return {(e["involvedObject"]["kind"], e["involvedObject"]["name"], e["message"])
                for e in self.get(f"/api/v1/namespaces/{space}/events")["items"]
                if e.get("reportingComponent") == "pintle.dev/pintled"}

    # .. objects

    def service(self, name="vllm", *, ip="10.96.0.10", ports=None, mode=None, **spec):
        """A Service of the pods with its name as their label `app`."""
        return self.create("/api/v1/namespaces/llm/services", {
            "metadata": {"name": name, **({"labels": {"pintle.dev/mode": mode}} if mode else {})},
            "spec": {"selector": {"app": name}, "clusterIP": ip,
                     "ports": ports or [{"port": 8000, "targetPort": 8000}], **spec}})

    def label(self, mode, name="vllm"):
        """What `kubectl label service NAME pintle.dev/mode=MODE` does; None removes the label."""
        self.patch(f"/api/v1/namespaces/llm/services/{name}", {"metadata": {"labels": {"pintle.dev/mode": mode}}})

    def run(self, pod, app="vllm", ready=True, ports=(), on=NODE, **spec):
        """The API object of a pod of the case. Returns its uid."""
        made = self.create("/api/v1/namespaces/llm/pods", {
            "metadata": {"name": pod.name, "labels": {"app": app}},
            "spec": {"nodeName": on, "containers": [{"name": "c", "image": "i", "ports": list(ports)}], **spec}})
        self.say(pod, ready)
        return made["metadata"]["uid"]

    def say(self, pod, ready):
        """What a kubelet says of a pod."""
        word = "True" if ready else "False"
        ips = [ip for ip in (pod.v4, getattr(pod, "v6", None)) if ip]
        self.patch(f"/api/v1/namespaces/llm/pods/{pod.name}/status", {"status": {
            "phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips],
            "conditions": [{"type": kind, "status": word} for kind in ("ContainersReady", "Ready")]}})

    def terminate(self, pod):
        """The pod is asked to end, and does not yet."""
        self.request("DELETE", f"/api/v1/namespaces/llm/pods/{pod.name}", {"gracePeriodSeconds": 600})

    def end(self, pod):
        """What a kubelet says when the containers of a pod that terminates no longer serve."""
        self.say(pod, False)

    def remove(self, pod):
        self.delete(f"/api/v1/namespaces/llm/pods/{pod.name}")

    def audited(self, user):
        """What that user asked for, by the audit log."""
        events = [json.loads(line) for line in (self.dir / "audit.log").read_text().splitlines()]
        return [e for e in events if e["user"]["username"] == user]

    def asked(self, user):
        """{(verb, resource)} of what that user asked for."""
        return {(e["verb"], "/".join(filter(None, (e["objectRef"]["resource"], e["objectRef"].get("subresource")))))
                for e in self.audited(user)}


AUDIT = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""
