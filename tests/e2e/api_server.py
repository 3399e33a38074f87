# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Kubernetes API server: api_server.py STATE PORT LOG

STATE is a file with JSON, {"rv": N, PLURAL: [object, ...]}, which whoever replaces it gives a higher N; a plural that
is not there does not exist (404). LOG gets a line for each request: its method, its path and its body. It lists and
watches, by label and field selectors; what is written is answered, and changes nothing, but for ConfigMaps, Events and
the status of InferencePools, which it keeps in STATE.written. The status of a pool whose key is in the list "owned" is
another writer's: without force it cannot be written. So is what STATE has of it, to look at.

A test makes one by start():

    api = start(machine, services=[service("llama")], endpointslices=[slice_of("llama", [pod("s0", "10.1.0.2")])])
    machine.daemon(api.config())
    api.say(endpointslices=[])
"""
import http.server
import json
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse

PORT = 8099
KUBECONFIG = f"""apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u, namespace: pintle}}}}]
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{PORT}"}}}}]
users: [{{name: u, user: {{token: abc}}}}]
"""
# A plural, the group that has it, the kind. An object with another apiVersion is of that group alone.
KINDS = {
    "services": ("v1", "Service"), "pods": ("v1", "Pod"), "nodes": ("v1", "Node"), "namespaces": ("v1", "Namespace"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice"),
    "inferencepools": ("inference.networking.k8s.io/v1", "InferencePool"),
    "inferenceobjectives": ("inference.networking.x-k8s.io/v1alpha2", "InferenceObjective"),
    "steeringpolicies": ("pintle.dev/v1alpha1", "SteeringPolicy"),
    "configmaps": ("v1", "ConfigMap"), "events": ("v1", "Event"), "daemonsets": ("apps/v1", "DaemonSet"),
}
CORE = ("services", "pods", "endpointslices", "namespaces", "configmaps", "daemonsets", "events")
SINGLE = ("nodes", "configmaps", "daemonsets")  # are got by their names, too
KEPT = ("configmaps", "events")
SINCE = "2026-01-01T00:00:00Z"


# ---- what a test says ------------------------------------------------------------------------------


def meta(name, labels=None, annotations=None, created=SINCE):
    return {"namespace": "llm", "name": name, "uid": f"0a-{sum(name.encode()):x}", "creationTimestamp": created,
            "labels": labels or {}, "annotations": annotations or {}}


def service(name="llama", ip="10.96.0.10", *, mode="enforce", ports=(("http", 8000, 8000),), annotations=None,
            created=SINCE, labels=None, **spec):
    return {"metadata": meta(name, {"pintle.dev/mode": mode, **(labels or {})}, annotations, created),
            "spec": {"clusterIP": ip, "clusterIPs": [ip], "type": "ClusterIP",
                     "ports": [{"name": n, "port": p, "targetPort": t} for n, p, t in ports], **spec}}


def pod(name, ip, node="n1", *, ready=True, **more):
    """An endpoint of a slice."""
    return {"addresses": [ip], "conditions": {"ready": ready, "serving": ready, "terminating": False}, "nodeName": node,
            "targetRef": {"kind": "Pod", "name": name, "namespace": "llm", "uid": f"bb-{sum(name.encode()):x}"}, **more}


def slice_of(of, endpoints, ports=(("http", 8000),), name=None, labels=None):
    """As the controller makes it: with the Service's label, which `labels` replaces."""
    labels = {"pintle.dev/mode": "enforce"} if labels is None else labels
    family = "IPv6" if any(":" in e["addresses"][0] for e in endpoints) else "IPv4"
    return {"metadata": meta(name or f"{of}-x", {"kubernetes.io/service-name": of, **labels}), "addressType": family,
            "ports": [{"name": n, "port": p, "protocol": "TCP"} for n, p in ports], "endpoints": endpoints}


def policy(name, target, kind="Service", **keys):
    return {"metadata": {**meta(name), "generation": 1}, "spec": {"targetRefs": [{"kind": kind, "name": target}], **keys}}


def running(name, ip, node="n1", **labels):
    """The object of a pod that is ready."""
    return {"metadata": meta(name, labels), "spec": {"nodeName": node},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                       "conditions": [{"type": "Ready", "status": "True"}]}}


def inference_pool(name, **selector):
    return {"metadata": meta(name), "spec": {"selector": {"matchLabels": selector}, "targetPorts": [{"number": 8000}]}}


def objective(name, pool, priority, api="llm-d.ai/v1alpha2"):
    return {"apiVersion": api, "metadata": meta(name), "spec": {"priority": priority, "poolRef": {"name": pool}}}


def replace(path, state):
    new = path.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.rename(path)


class Api:
    def __init__(self, machine, node="n1", **state):
        self.machine, self.node = machine, machine.node
        self.rv, self.here, self.state = 100, node, {}
        self.path, self.asked = self.node.dir / "api-state.json", self.node.dir / "api-asked"
        self.say(**{**{kind: [] for kind in CORE}, "nodes": [{"metadata": {"name": node, "labels": {}}}], **state})
        self.serve()
        self.node.write("kubeconfig", KUBECONFIG)

    def serve(self):
        at = pathlib.Path(__file__)
        self.process = self.machine.popen(["/usr/bin/python3", at, self.path, PORT, self.asked], stdout=subprocess.PIPE,
                                          text=True)
        assert self.process.stdout.readline() == "ready\n"

    def say(self, **state):
        """Replaces these kinds' objects."""
        self.rv += 1
        self.state |= state
        replace(self.path, {"rv": self.rv, **self.state})

    def kept(self, plural):
        """What was written, {name: object}."""
        written = pathlib.Path(f"{self.path}.written")
        return {key.split("/")[1]: o for key, o in
                (json.loads(written.read_text()) if written.exists() else {}).get(plural, {}).items()}

    def parents(self):
        """The lists that were written into the status of InferencePools, oldest first: each as {Service: {type of a
        condition: (status, reason, message)}}; None: it was given up."""
        written = [b.get("status") for _, p, b in self.requests("PATCH") if "/inferencepools/" in p]
        return [status and {parent["parentRef"]["name"]: {c["type"]: (c["status"], c["reason"], c["message"])
                                                         for c in parent["conditions"]} for parent in status["parents"]}
                for status in written]

    def forget(self):
        """Whatever was written is gone."""
        replace(pathlib.Path(f"{self.path}.written"), {})
        self.say()

    def config(self, *pools, **settings):
        text = self.machine.config(*pools, **settings)
        if not pools:
            text = text.replace("pools: []", "")
        return text + f"kubernetes: {{kubeconfig: {self.node.dir}/kubeconfig, node: {self.here}}}\n"

    def requests(self, method=None):
        """[(method, path, body)]"""
        lines = [line.split(" ", 2) for line in self.asked.read_text().splitlines()]
        return [(m, p, json.loads(b)) for m, p, b in lines if method in (None, m)]

    def events(self):
        """[(the object's kind and name, type, reason, message)], as they were written, the newest last."""
        return [("/".join((b["involvedObject"]["kind"], b["involvedObject"]["name"])), b["type"], b["reason"], b["message"])
                for _, p, b in self.requests("PATCH") if "/events/" in p]


def start(machine, **state):
    return Api(machine, **state)


# ---- the server ------------------------------------------------------------------------------------


def key_of(item):
    return f"{item['metadata'].get('namespace')}/{item['metadata']['name']}"


def selected(item, query):
    labels = item["metadata"].get("labels", {})
    for term in filter(None, query.get("labelSelector", [""])[0].split(",")):
        key, sign, value = term.partition("=")
        if key not in labels or (sign and labels[key] != value):
            return False
    for term in filter(None, query.get("fieldSelector", [""])[0].split(",")):
        key, _, value = term.partition("=")
        at = item
        for part in key.split("."):
            at = (at or {}).get(part)
        if at != value:
            return False
    return True


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state, log, lock = None, None, threading.Lock()
    versions = {}  # {(path, selectors, resourceVersion): items}, of every list and watch that was answered

    def log_message(self, *_):
        pass

    def answer(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def written(self):
        try:
            return json.loads(pathlib.Path(f"{self.state}.written").read_text())
        except FileNotFoundError:
            return {}

    def now(self):
        """The state, with what was written."""
        state, written = json.loads(self.state.read_text()), self.written()
        for plural in KEPT:
            state[plural] = state.get(plural, []) + list(written.get(plural, {}).values())
        for pool in state.get("inferencepools", []):
            pool.setdefault("status", written.get("status", {}).get(key_of(pool), {}))
        state["rv"] += 1000 * written.get("count", 0)
        return state

    def keep(self, path, body):
        """Applies an object of a kind that is kept; returns it as it is now."""
        parts = path.strip("/").split("/")
        if parts[-1] == "status" and parts[-3] == "inferencepools":
            self.keep_status(f"{parts[-4]}/{parts[-2]}", body.get("status", {}))
        if len(parts) < 2 or parts[-2] not in KEPT:
            return body
        with self.lock:
            written = self.written()
            space, key = parts[-3], f"{parts[-3]}/{parts[-1]}"
            old = written.setdefault(parts[-2], {}).get(key)
            count = written["count"] = written.get("count", 0) + 1
            body["metadata"] |= {"namespace": space, "uid": old["metadata"]["uid"] if old else f"cc-{count:x}"}
            written[parts[-2]][key] = body
            replace(pathlib.Path(f"{self.state}.written"), written)
        return body

    def keep_status(self, key, status):
        with self.lock:
            written = self.written()
            written["count"] = written.get("count", 0) + 1
            written.setdefault("status", {})[key] = status
            replace(pathlib.Path(f"{self.state}.written"), written)

    def is_owned(self, url):
        """Whether another writer has what is to be applied."""
        parts = url.path.strip("/").split("/")
        return parts[-1] == "status" and "force" not in urllib.parse.parse_qs(url.query) and \
            f"{parts[-4]}/{parts[-2]}" in self.now().get("owned", [])

    def found(self, path, query):
        """(the state's number, {key: object}); the second is None where there is no such kind."""
        state = self.now()
        parts = path.strip("/").split("/")
        space = parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-1] else None
        plural = parts[-1]
        api, _ = KINDS.get(plural, ("", ""))
        items = [i for i in state.get(plural, []) if f"/{i.get('apiVersion', api)}/" in path]
        if plural not in state or (f"/{api}/" not in path and not items):
            return state["rv"], None
        found = {key_of(i): i for i in items
                 if space in (None, i["metadata"].get("namespace")) and selected(i, query)}
        self.versions[self.version(path, query, state["rv"])] = found
        return state["rv"], found

    @staticmethod
    def version(path, query, number):
        return (path, *(query.get(s, [""])[0] for s in ("labelSelector", "fieldSelector")), str(number))

    def do_GET(self):
        self.note(b"{}")
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        plural, name = url.path.split("/")[-2:]
        if plural in SINGLE:
            known = [o for o in self.now().get(plural, []) if o["metadata"]["name"] == name]
            self.answer(*((200, known[0]) if known else (404, {"kind": "Status", "code": 404})))
            return
        number, items = self.found(url.path, query)
        if items is None:
            self.answer(404, {"kind": "Status", "code": 404, "reason": "NotFound"})
        elif "watch" in query:
            known = self.versions.get(self.version(url.path, query, query.get("resourceVersion", [""])[0]))
            if known is None:
                self.answer(410, {"kind": "Status", "code": 410, "reason": "Expired"})
            else:
                self.watch(url.path, query, known)
        else:
            api, kind = KINDS[url.path.split("/")[-1]]
            self.answer(200, {"kind": kind + "List", "apiVersion": api, "metadata": {"resourceVersion": str(number)},
                              "items": list(items.values())})

    def line(self, kind, item, number):
        item["metadata"]["resourceVersion"] = str(number)
        text = json.dumps({"type": kind, "object": item}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.flush()

    def watch(self, path, query, known):
        """Tells what changes from `known` on: also what changed between the list and the watch."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        number = None
        try:
            while True:
                newest, items = self.found(path, query)
                if newest != number:
                    number, items = newest, items or {}
                    for key, item in items.items():
                        if known.get(key) != item:
                            self.line("MODIFIED" if key in known else "ADDED", json.loads(json.dumps(item)), number)
                    for key in known.keys() - items.keys():
                        self.line("DELETED", json.loads(json.dumps(known[key])), number)
                    known = items
                time.sleep(0.05)
        except OSError:
            self.close_connection = True

    def note(self, body):
        self.log.write(f"{self.command} {self.path} {body.decode()}\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}"
        self.note(body.replace(b"\n", b" "))
        url = urllib.parse.urlsplit(self.path)
        if self.is_owned(url):
            self.answer(409, {"kind": "Status", "code": 409, "reason": "Conflict"})
        else:
            self.answer(201, self.keep(url.path, json.loads(body)))

    do_PUT = do_PATCH = do_POST


def main(state, port, log):
    Handler.state = pathlib.Path(state)
    with open(log, "a", buffering=1, encoding="utf-8") as Handler.log, \
            http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler) as server:
        server.daemon_threads = True
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
