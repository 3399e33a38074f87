# SPDX-License-Identifier: Apache-2.0
"""The systemd unit, the DaemonSet and the image: their settings hold, and allow Pintle to steer."""
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import tc
import yaml as pyyaml

from clients import FRONTEND, connect_in
from daemon import Daemon
from harness import case
from kernel import BUILD, TOP, Skip, cgroup_root, wait_for
from pods import SERVICE, Cluster
from test_in_pods import pool_of

MANIFESTS = TOP / "manifests"
UNIT = MANIFESTS / "pintled.service"
PROGRAMS = ("pintled", "pintle")
LAB = ("pintle-sim", "pintle-load", "pintle-lab")


def manifest(name):
    return pyyaml.safe_load((MANIFESTS / name).read_text())


def pod():
    return manifest("daemonset.yaml")["spec"]["template"]["spec"]


def unit():
    """{key: [values]} of the unit's settings."""
    found = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M):
        found.setdefault(key, []).append(value)
    return found


def capabilities(of):
    if of == "unit":
        return [c.removeprefix("CAP_") for c in unit()["CapabilityBoundingSet"][0].split()]
    return pod()["containers"][0]["securityContext"]["capabilities"]["add"]


def version():
    return re.search(r"^VERSION := (\S+)$", (TOP / "Makefile").read_text(), re.M)[1]


# As both sandboxes have it: files and cgroups read-only, the bpffs not; a cgroup namespace whose
# root hides the true one; no other capabilities and no way to new ones.
SANDBOX = """\
mount --make-rprivate /
mount -o remount,bind,ro "$1"
mount -o remount,bind,ro /
exec setpriv --no-new-privs --inh-caps=-all --bounding-set="$2" "${@:3}"
"""


def sandbox(of, *more):
    """What runs pintled with the capabilities of the unit or the DaemonSet, and these besides."""
    allowed = "-all" + "".join(f",+{c.lower()}" for c in [*capabilities(of), *more])
    return ["unshare", "--mount", "--cgroup", "bash", "-c", SANDBOX, "-", cgroup_root(), allowed]


@case(each=("unit", "daemonset"))
def test_sandbox_is_wide_enough(node, of):
    """With the named capabilities, a read-only root and a hidden cgroup root it attaches both hooks,
    takes over another user's listener, scrapes, adds routes, knows clients by their cgroups, and
    lives through a restart and a reload."""
    node.write("metrics", "vllm:num_requests_waiting 0\nvllm:num_requests_running 0\n")
    node.dir.chmod(0o755)
    node.popen(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-I",
         "-m", "http.server", "8001", "--bind", "127.0.0.1", "--directory", node.dir],
        log="server.log",
    )

    def serves():
        with connect_in(node.netns, "127.0.0.1:8001", timeout=5) as c:
            c.send("/metrics", close=True)
            c.read()
            return c.status == 200

    wait_for(serves)
    settings = {"cgroup": None}
    # No other case may run beside this one, because it steers all clients of the machine.
    elsewhere = f"10.79.{os.getpid() >> 8 & 255}.{os.getpid() & 255}:{8000 + (os.getpid() >> 16)}"
    if "CHOWN" in capabilities(of):
        settings["group"] = "games"
    config = node.write("c.yaml", node.config(
        node.pool([{"name": "other", "listen": "127.0.0.1:8001"}], requests="one-per-connection"),
        node.pool([{"name": "pod", "address": "127.0.0.1:8001"}], name="pods",
                  frontends=[elsewhere], announce=False,
                  stickiness={"key": "cgroup", "group": "hint"}),
        clients=[{"name": "tests", "cgroup": "/*"}], **settings
    ))
    wrapper = sandbox(of)

    def answers(frontend):
        with connect_in(node.netns, frontend, timeout=5) as c:
            c.send("/metrics", close=True)
            return "num_requests_running" in c.read()

    def steered():
        return (answers(FRONTEND["v4"]) and answers(elsewhere)
                and tc.tcx(node.netns, "lo", "ingress") == ["pintle_oneshot"])

    daemon = Daemon(node, config, wrapper=wrapper)
    assert steered()
    sessions = [s["session"] for s in node.cli("sessions", "--pool", "pods")]
    assert sessions == ["cgroup:tests"], sessions
    daemon.stop()
    daemon = Daemon(node, config, wrapper=wrapper)
    reloaded(daemon)
    assert steered()
    daemon.stop()
    assert steered()


def reloaded(daemon):
    before = daemon.log().count("reloaded")
    daemon.reload()
    wait_for(lambda: daemon.log().count("reloaded") > before)


@case(each=("unit", "daemonset"))
def test_servers_in_pods(node, of):
    """Servers in pods, by request: as shipped pintled may not enter the pods, and says so, once, with what it takes;
    with CAP_SYS_ADMIN, as the page has it, they serve. Without it again, open connections go on, and all is removed."""
    cluster = Cluster(node)
    servers, client = cluster.servers(2), cluster.pod("client")
    config = cluster.config(pool_of(cluster, servers))

    def kept(c):
        return c.ask(headers={"X-Session-Id": "a"})

    def doctor():
        # It ends with 1 whenever anything is wrong with the machine.
        rows = json.loads(cluster.pintle("doctor", "-o", "json", check=False).stdout)
        return [(row["result"], row["found"]) for row in rows if row["check"] == "capabilities"]

    shipped = cluster.daemon(config, wrapper=sandbox(of))
    for _ in range(3):
        reloaded(shipped)  # each looks for the pods anew
    said = re.findall(r".*namespace.*", shipped.log())
    assert len(said) == 1 and "pool pool: pintled may not enter" in said[0], shipped.log()
    assert "give pintled CAP_SYS_ADMIN (" in said[0]
    assert {e["state"] for e in cluster.cli("endpoints")} == {"down"}
    with client.connect(SERVICE["v4"]) as c:
        try:
            answer = kept(c)
        except ConnectionResetError:
            answer = None
        assert answer is None, answer
    assert ("pool pool has no endpoint that is ready: connections go to what listens at the frontend on this node, or "
            "are reset (FailOpen)") in cluster.cli("status")[0]["warnings"]
    (found,) = doctor()
    assert found[0] == "fail" and "pool pool: its servers are in pods, which pintled cannot enter" in found[1]
    shipped.stop()

    allowed = cluster.daemon(config, wrapper=sandbox(of, "SYS_ADMIN"))
    cluster.all_ready()
    assert "may not enter" not in allowed.log()
    assert doctor() == [("ok", "this process has all that pintled needs")]
    with client.connect(SERVICE["v4"]) as c:
        server = kept(c)
        assert server in {pod.name for pod in servers}
        allowed.stop()
        shipped = cluster.daemon(config, wrapper=sandbox(of))
        wait_for(lambda: "may not enter" in shipped.log())
        assert kept(c) == server
    shipped.stop()
    cluster.detach()
    for pod in servers:
        assert "pintle" not in pod.run("tc", "filter", "show", "dev", "eth0", "ingress").stdout
        assert not pod.run("ip", "route", "show", "table", "local", "proto", "112").stdout


@case(san=False)
def test_daemonset_is_whole(node):
    """The pieces of the kustomization fit: files, ConfigMap, mounts, probes, version."""
    del node
    kustomization = manifest("kustomization.yaml")
    for name in kustomization["resources"]:
        assert all(x["kind"] for x in pyyaml.safe_load_all((MANIFESTS / name).read_text())), name
    rbac = list(pyyaml.safe_load_all((MANIFESTS / "rbac.yaml").read_text()))
    assert {x["metadata"]["name"] for x in rbac} == {pod()["serviceAccountName"]}
    (generated,) = kustomization["configMapGenerator"]
    config = manifest(generated["files"][0])
    spec = pod()
    (container,) = spec["containers"]
    (image,) = kustomization["images"]
    assert image == {"name": container["image"], "newTag": version()}
    volumes = {v["name"]: v for v in spec["volumes"]}
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert set(volumes) == set(mounts)
    assert volumes["config"]["configMap"]["name"] == generated["name"]
    assert container["args"][-1] == f"{mounts['config']}/{generated['files'][0]}"
    assert config["node"]["bpffs"].startswith(mounts["bpffs"] + "/")
    host, port = config["node"]["metrics"].rsplit(":", 1)
    for probe, path in (("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")):
        assert container[f"{probe}Probe"]["httpGet"] == {"host": host, "port": int(port), "path": path}
    default = re.search(r"#define PORT +(\d+)", (TOP / "userspace/pintled/publish/overload.c").read_text())[1]
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == {
        "metrics": int(port), "overload": int(default)}
    assert spec["hostNetwork"] and spec["hostPID"]
    assert "lifecycle" not in container, "a preStop hook would be the place to detach by mistake"
    assert "SYS_ADMIN" not in capabilities("daemonset")


@case(san=False, each=("manifests/pintle.yaml", "docs/examples/pintle.yaml"))
def test_configuration_loads(node, path):
    """The ConfigMap's configuration, and the one to begin with elsewhere, load without a warning."""
    result = node.run(BUILD / "pintle", "check", TOP / path)
    assert "warning" not in result.stderr, result.stderr


def built(name):
    """A program of tests/kubernetes/build, or of this machine."""
    home = os.environ.get("PINTLE_KUBERNETES") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pintle/kubernetes")
    path = Path(home, "bin", name)
    found = path if path.exists() else shutil.which(name)
    if not found:
        raise Skip(f"no {name}: tests/kubernetes/build {name}")
    return found


def by_kind(text):
    """{(kind, name): object}; the ConfigMap's name is without its hash."""
    found = {}
    for each in pyyaml.safe_load_all(text):
        name = each["metadata"]["name"]
        if each["kind"] == "ConfigMap":
            name = re.sub(r"-[a-z0-9]{10}$", "", name)
        assert (each["kind"], name) not in found
        found[each["kind"], name] = each
    return found


def kustomized(node):
    return by_kind(node.run(built("kubectl"), "kustomize", MANIFESTS, timeout=60).stdout)


def charted(node, chart=MANIFESTS, **values):
    path = node.write("values.yaml", pyyaml.safe_dump(values))
    return by_kind(node.run(built("helm"), "template", "pintle", chart, "--namespace", "pintle", "-f", path,
                            "--kube-version", "1.30.0",
                            env={"HOME": str(node.dir)}, timeout=60).stdout)


@case(san=False)
def test_kustomize_builds(node):
    """kubectl makes one object of each kind of it, and the rights belong to the DaemonSet's account."""
    made = kustomized(node)
    kinds = {kind: each for (kind, _), each in made.items()}
    assert len(made) == len(kinds)
    assert kinds.keys() >= {"ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet", "Namespace", "NetworkPolicy",
                            "ResourceQuota", "ServiceAccount"}
    account = kinds["ServiceAccount"]["metadata"]
    assert kinds["ClusterRoleBinding"]["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}]


def alike(made):
    """What kustomize and Helm write differently: names and annotations of the configuration, and the Namespace."""
    made.pop(("Namespace", "pintle"), None)
    (name,) = [key for key in made if key[0] == "ConfigMap"]
    config = made[name]
    config["metadata"] = {"name": name[1], "namespace": config["metadata"]["namespace"]}
    config["data"] = {key: pyyaml.safe_load(text) for key, text in config["data"].items()}
    template = made["DaemonSet", "pintle"]["spec"]["template"]
    template["metadata"].pop("annotations", None)
    for volume in template["spec"]["volumes"]:
        if "configMap" in volume:
            volume["configMap"]["name"] = name[1]
    return made


@case(san=False)
def test_chart_is_the_kustomization(node):
    """Helm makes the same objects as kustomize, of the same files."""
    assert alike(charted(node, removal={"enabled": False})) == alike(kustomized(node))


@case(san=False)
def test_chart_archive(node):
    """make chart packs what the chart consists of, twice the same bytes, and only if the versions agree."""
    sources = node.dir / "sources"
    shutil.copytree(MANIFESTS, sources / "manifests")
    for name in ("Makefile", "scripts/chart"):
        (sources / name).parent.mkdir(exist_ok=True)
        shutil.copy(TOP / name, sources / name)

    def packed():
        archive = sources / node.run(sources / "scripts/chart").stdout.strip()
        assert archive.name == f"pintle-{version()}.tgz"
        return archive, archive.read_bytes()

    archive, first = packed()
    os.utime(sources / "manifests/values.yaml", (0, 0))
    assert packed() == (archive, first)
    with tarfile.open(archive) as tar:
        held = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    wanted = {f"pintle/{p.relative_to(MANIFESTS)}": p.read_bytes() for p in MANIFESTS.rglob("*") if p.is_file()
              and not re.match(r"Dockerfile|pintled\.service|autoscaling", str(p.relative_to(MANIFESTS)))}
    assert held == wanted, held.keys() ^ wanted.keys()
    chart = sources / "manifests/Chart.yaml"
    good = chart.read_text()
    for key in ("version", "appVersion"):
        chart.write_text(re.sub(rf"^{key}: .*$", f"{key}: 9.9.9", good, flags=re.M))
        said = node.run(sources / "scripts/chart", check=False)
        assert said.returncode == 1 and f"{key} 9.9.9" in said.stderr, said


@case(san=False)
def test_chart_archive_in_helm(node):
    """Helm makes the same objects of the archive as of manifests/."""
    assert charted(node, TOP / node.run(TOP / "scripts/chart").stdout.strip()) == charted(node)


@case(san=False)
def test_chart_removal(node):
    """Before anything is deleted, a Job of removal.yaml takes Pintle off all nodes: a hook, as its rights are, which go
    with its end. It needs the image alone, and no privilege."""
    image = {"repository": "r.example/pintle", "tag": "x", "pullPolicy": "Always"}
    plain = charted(node, removal={"enabled": False})
    made = charted(node, image=image, imagePullSecrets=[{"name": "s"}], removal={"timeoutSeconds": 30})
    hooks = {key: made[key] for key in set(made) - set(plain)}
    assert set(hooks) == {(kind, "pintle-removal") for kind in ("ServiceAccount", "Role", "RoleBinding", "Job")}
    said = {kind: h["metadata"].pop("annotations") for (kind, _), h in hooks.items()}
    assert all(a["helm.sh/hook"] == "pre-delete" for a in said.values())
    weights = {kind: int(a["helm.sh/hook-weight"]) for kind, a in said.items()}
    assert all(weights["Job"] > weight for kind, weight in weights.items() if kind != "Job"), weights
    assert {kind for kind, a in said.items() if "hook-succeeded" in a["helm.sh/hook-delete-policy"]} == set(weights) - {"Job"}
    of_file = by_kind((MANIFESTS / "removal.yaml").read_text())
    job = of_file["Job", "pintle-removal"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert container["args"] == ["pintled", "--detach-nodes", "120"] and job["activeDeadlineSeconds"] > 120
    job |= {"activeDeadlineSeconds": 150}
    job["template"]["spec"]["imagePullSecrets"] = [{"name": "s"}]
    container |= {"args": ["pintled", "--detach-nodes", "30"], "image": "r.example/pintle:x", "imagePullPolicy": "Always"}
    for each in of_file.values():
        each["metadata"]["namespace"] = "pintle"
    assert hooks == of_file
    assert not any(key[1] == "pintle-removal" for key in plain)


@case(san=False)
def test_policies_outlive_the_chart(node):
    """helm uninstall keeps the CRD, and so all SteeringPolicies; nothing else is kept."""
    kept = [key for key, each in charted(node).items()
            if each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"]
    assert kept == [("CustomResourceDefinition", "steeringpolicies.pintle.dev")], kept


@case(san=False)
def test_chart_values(node):
    """What values.yaml offers is in the objects, and nothing else changes."""
    plain = charted(node)
    made = charted(
        node, image={"repository": "r.example/pintle", "tag": "x", "pullPolicy": "Always"},
        config={"node": {"metricsDetail": "main"}}, nodeSelector={"gpu": "yes"}, priorityClassName="other",
        tolerations=[{"key": "gpu"}], affinity={"nodeAffinity": {"a": 1}}, resources={"limits": {"memory": "1Gi"}}, podAnnotations={"a": "b"},
        podLabels={"c": "d"}, imagePullSecrets=[{"name": "s"}], podMonitor={"enabled": True}, prometheusRule={"enabled": True}, grafanaBoard={"enabled": True})
    template = made["DaemonSet", "pintle"]["spec"]["template"]
    spec, (container,) = template["spec"], template["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("r.example/pintle:x", "Always")
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "gpu": "yes"}
    assert (spec["priorityClassName"], spec["tolerations"]) == ("other", [{"key": "gpu"}])
    assert spec["affinity"] == {"nodeAffinity": {"a": 1}}
    assert spec["imagePullSecrets"] == [{"name": "s"}] and template["metadata"]["annotations"]["a"] == "b"
    assert template["metadata"]["labels"] == {"app.kubernetes.io/name": "pintle", "c": "d"}
    before, after = (m["DaemonSet", "pintle"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
                     for m in (plain, made))
    assert before != after, "a changed configuration replaces the pods"
    config = pyyaml.safe_load(made["ConfigMap", "pintle"]["data"]["pintle.yaml"])
    assert config["node"] == {"bpffs": "/sys/fs/bpf/pintle", "metrics": "0.0.0.0:9464", "metricsDetail": "main"}
    # The quota is for the priority class that is not used now.
    assert set(made) - set(plain) == {("PodMonitor", "pintle"), ("PrometheusRule", "pintle"),
                                      ("ConfigMap", "pintle-grafana-board")}
    assert made["PrometheusRule", "pintle"]["spec"] == manifest("monitoring/prometheus-rules.yaml")
    board = made["ConfigMap", "pintle-grafana-board"]["data"]["pintle.json"]
    assert board == (MANIFESTS / "monitoring/grafana-board.json").read_text()
    assert set(plain) - set(made) == {("ResourceQuota", "pintle")}


@case(san=False, each=("0.0.0.0:9999", "[::]:9999", "10.0.0.7:9999", "[fd00::7]:9999"))
def test_chart_ports(node, metrics):
    """The probes ask where pintled serves, and the container's ports are its ports; a digest, further capabilities and
    another update strategy are in the DaemonSet."""
    digest = "sha256:" + "0f" * 32
    made = charted(node, image={"repository": "r.example/pintle", "digest": digest}, capabilities=["SYS_ADMIN", "CHOWN"],
                   updateStrategy={"type": "OnDelete"},
                   config={"node": {"metrics": metrics, "overload": {"listen": "0.0.0.0:8765"}}})
    spec = made["DaemonSet", "pintle"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    host = {"0.0.0.0:9999": "127.0.0.1", "[::]:9999": "::1"}.get(metrics, metrics.rsplit(":", 1)[0].strip("[]"))
    for probe, path in (("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")):
        assert container[f"{probe}Probe"]["httpGet"] == {"host": host, "port": 9999, "path": path}, probe
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == {"metrics": 9999, "overload": 8765}
    assert container["image"] == f"r.example/pintle@{digest}" and spec["updateStrategy"] == {"type": "OnDelete"}
    added = container["securityContext"]["capabilities"]["add"]
    assert added == [*pod()["containers"][0]["securityContext"]["capabilities"]["add"], "SYS_ADMIN", "CHOWN"]
    assert "allowPrivilegeEscalation" not in container["securityContext"], "SYS_ADMIN and it exclude each other"


WRONG_VALUES = {
    "imagee": {"imagee": {}}, "digest": {"image": {"digest": "sha256:12"}}, "pullPolicy": {"image": {"pullPolicy": "Often"}},
    "enabled": {"podMonitor": {"enabled": "yes"}}, "capabilities": {"capabilities": "SYS_ADMIN"},
    "bpffs": {"config": {"node": {"bpffs": "/run/bpf/pintle"}}},
    "updateStrategy": {"updateStrategy": {"type": "Now"}}, "timeoutSeconds": {"removal": {"timeoutSeconds": 0}}}


@case(san=False)
def test_chart_schema(node):
    """The schema knows every value that values.yaml has, and refuses those that it has not, by name."""
    schema = json.loads((MANIFESTS / "values.schema.json").read_text())
    values = manifest("values.yaml")
    assert set(schema["properties"]) == set(values) | {"global"}
    assert set(schema["properties"]["image"]["properties"]) == set(values["image"])
    for name, wrong in WRONG_VALUES.items():
        path = node.write("values.yaml", pyyaml.safe_dump(wrong))
        result = node.run(built("helm"), "template", "pintle", MANIFESTS, "-f", path, "--kube-version", "1.30.0", check=False,
                          env={"HOME": str(node.dir)}, timeout=60)
        assert result.returncode and name in result.stderr, (name, result.stderr)


@case(san=False)
def test_unit_is_valid(node):
    """systemd has nothing to say about the unit, and finds it no more exposed than it is known to
    be; stopping it cannot detach."""
    settings = unit()
    assert settings["Type"] == ["notify"] and not {"ExecStop", "ExecStopPost"} & set(settings)
    assert all("--detach" not in v for values in settings.values() for v in values)
    assert "ProtectKernelTunables" not in settings, "it makes the bpffs read-only, in which the pins are"
    if not shutil.which("systemd-analyze"):
        raise Skip("no systemd-analyze")
    text = UNIT.read_text().replace("/usr/local/sbin/pintled", str(BUILD / "pintled"))
    node.write("pintled.service", text)
    result = node.run("systemd-analyze", "verify", "--man=no", node.dir / "pintled.service")
    assert not result.stderr.strip(), result.stderr
    node.run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=35",
             node.dir / "pintled.service")


@case(san=False, timeout=240)
def test_image_has_the_libraries(node):
    """The image installs the packages of exactly the libraries that the programs are linked with."""
    text = (MANIFESTS / "Dockerfile").read_text()
    release = re.search(r"^FROM debian:(\d+)", text, re.M)[1]
    if not re.search(r"^ID=debian$", Path("/etc/os-release").read_text(), re.M) or \
            not Path("/etc/debian_version").read_text().startswith(f"{release}."):
        raise Skip(f"not Debian {release}, of which the image is: packages of libraries have other names elsewhere")
    wanted = set()
    for program in PROGRAMS:
        needed = re.findall(r"NEEDED +(\S+)", node.run("objdump", "-p", BUILD / program).stdout)
        paths = dict(re.findall(r"(\S+) => (\S+)", node.run("ldd", BUILD / program).stdout))
        for library in needed:
            # dpkg knows a file by /lib or by /usr/lib.
            place = f"*/{Path(paths[library]).parent.name}/{library}"
            wanted.add(node.run("dpkg", "-S", place).stdout.split(":")[0])
    install = re.search(r"apt-get install[^&]*", text)[0]
    given = {w for w in install.split() if re.match(r"(lib|ca-)", w)}
    assert given == (wanted - {"libc6"}) | {"ca-certificates"}, (given ^ wanted)
    assert f"pintle:{version()}" in text


@case(san=False)
def test_bill_of_materials(node):
    """scripts/sbom lists the programs and every package that dpkg has installed, each once and related to the image; the
    same root gives the same bytes."""
    root = node.dir / "root"
    for program, folder in (("pintled", "sbin"), ("pintle", "bin")):
        (root / "usr" / folder).mkdir(parents=True)
        shutil.copy(BUILD / program, root / "usr" / folder)
    (root / "etc").mkdir()
    shutil.copy("/etc/os-release", root / "etc")
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/dpkg").symlink_to("/var/lib/dpkg")
    first, second = (node.run(TOP / "scripts/sbom", root, version(), "0f0f0f", "1700000000").stdout for _ in range(2))
    assert first == second
    made = json.loads(first)
    assert made["spdxVersion"] == "SPDX-2.3" and made["creationInfo"]["created"] == "2023-11-14T22:13:20Z"
    own, *packages = made["packages"]
    assert own["versionInfo"] == version() and own["sourceInfo"] == "built from commit 0f0f0f"
    there = node.run("dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Version}\n").stdout.splitlines()
    listed = [f"installed {p['name']} {p['versionInfo']}" for p in packages]
    assert sorted(listed) == sorted(row for row in there if row.startswith("installed "))
    assert all(p["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/") for p in packages)
    ids = [x["SPDXID"] for x in (made, *made["packages"], *made["files"])]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", i) for i in ids)
    assert {r["relatedSpdxElement"] for r in made["relationships"]} == set(ids[1:])
    for file in made["files"]:
        sums = {c["algorithm"]: c["checksumValue"] for c in file["checksums"]}
        assert sums["SHA256"] == node.run("sha256sum", root / file["fileName"]).stdout.split()[0] and "SHA1" in sums


@case(san=False)
def test_package_build_depends(node):
    """debian/control asks for the packages that scripts/deps installs for a build, but for those of every Debian build."""
    control = (TOP / "packaging/debian/control").read_text()
    field = re.search(r"^Build-Depends: (.*(?:\n .*)*)", control, re.M)[1]
    asked = {re.match(r"[\w.+-]+", each.strip())[0] for each in field.split(",")}
    listed = set(node.run(TOP / "scripts/deps", "--list", "build").stdout.split())
    assert asked - {"debhelper-compat"} == listed - {"gcc", "libc6-dev", "make"}, asked ^ listed


@case(san=False)
def test_install_lab(node):
    """make install-lab: the simulated servers and clients and the policy lab, and nothing else."""
    node.run("env", f"DESTDIR={node.dir}/root", "PREFIX=/opt/p", "O=build", TOP / "scripts/install", "lab")
    root = node.dir / "root/opt/p"
    for program in LAB:
        assert program in node.run(root / "bin" / program, "--help").stdout, program
    files = sorted(f.name.rsplit(".", 1)[0] for f in root.rglob("*") if f.is_file())
    assert files == sorted(LAB * 2), files


@case(san=False)
def test_install(node):
    """make install: programs, unit and documents in their places; the unit names what is there."""
    node.run("env", f"DESTDIR={node.dir}/root", "PREFIX=/opt/p", "O=build", TOP / "scripts/install")
    root = node.dir / "root/opt/p"
    for path in ("share/doc/pintle/README.md", "share/doc/pintle/operations.md", "include/pintle/hint.h",
                 "share/bash-completion/completions/pintle", "share/fish/vendor_completions.d/pintle.fish",
                 "share/zsh/site-functions/_pintle", "lib/systemd/system/pintled.service"):
        assert (root / path).is_file(), path
    for program in PROGRAMS:
        path = root / ("sbin" if program == "pintled" else "bin") / program
        assert program in node.run(path, "--help").stdout, program
    pages = {page.name.rsplit(".", 1)[0] for page in (root / "share/man").rglob("*.[1-8]")}
    assert pages == {*PROGRAMS, "pintle.yaml"}, pages
    for page in (root / "share/doc").rglob("*.md"):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target = page.parent / link.partition("#")[0]
            assert re.match(r"[a-z]+:", link) or target.exists(), (page.name, link)
    text = (root / "lib/systemd/system/pintled.service").read_text()
    assert "ExecStart=/opt/p/sbin/pintled " in text and "/usr/local" not in text.split("[Unit]")[1]
    others = root / "share/zsh/site-functions/_other"
    others.write_text("")
    node.run("env", f"DESTDIR={node.dir}/root", "PREFIX=/opt/p", "O=build", TOP / "scripts/install", "remove")
    assert [f for f in root.rglob("*") if f.is_file()] == [others]
    assert not (root / "share/doc/pintle").exists() and not (root / "include/pintle").exists()


@case(san=False, timeout=120)
def test_changed_version(node):
    """Another VERSION compiles anew each source that names it; a second make with this VERSION compiles none."""
    names = [path.relative_to(TOP) for path in (TOP / "userspace").rglob("*.c") if "PINTLE_VERSION" in path.read_text()]
    assert len(names) > 3, names
    objects = [node.dir / "o" / path.with_suffix(".o") for path in names]

    def made(version):
        node.run("env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-j2", "-C", TOP, f"O={node.dir}/o", "B=build",
                 "CFLAGS=-O0", f"VERSION={version}", *objects, timeout=120)
        return [(o.stat().st_mtime_ns, o.read_bytes()) for o in objects]

    former, latter = made("9.9.8"), made("9.9.9")
    for path, (_, was), (_, now) in zip(names, former, latter):
        assert b"9.9.8" in was and b"9.9.8" not in now and b"9.9.9" in now, path
    assert made("9.9.9") == latter


@case(san=False)
def test_changed_commit(node):
    """A new commit compiles one object, and links the two programs that users run; no library, test or BPF object."""
    rules = node.run("env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-C", TOP, "-np", "tests", timeout=60).stdout

    def made_of(wanted):
        found = re.findall(r"^([^#\s:=][^:=]*):(?!=)(.*)$", rules, re.M)
        return {target for target, sources in found if wanted in sources.partition("|")[0].split()}

    assert made_of("build/commit") == {"build/build.o"}
    assert made_of("build/build.o") == {"build/pintled", "build/pintle"}
    assert "build/userspace/base/build.o" in made_of("build/version"), "this reading of make's rules finds some"


@case(san=False)
def test_version_names_the_commit(node):
    """--version has the commit that the sources were of, in a clone and in git's archive of it; a copy inside another
    repository has none."""
    commit = (BUILD / "commit").read_text().strip()
    for program in PROGRAMS:
        said = node.run(BUILD / program, "--version").stdout
        assert said == f"{program} {version()}{f' ({commit})' if commit else ''}\n", said
    assert node.cli("version")[0]["commit"] == (commit or None)
    if not (TOP / ".git").exists():
        raise Skip("no clone")
    git = ("git", "-c", "safe.directory=*", "-C")
    head = node.run(*git, TOP, "rev-parse", "HEAD").stdout[:12]
    said = node.run(TOP / "scripts/commit").stdout.strip()
    assert said in (head, f"{head}-dirty"), said
    archive, copy = node.dir / "archive", node.dir / "other/copy"
    for path in (archive, copy / "scripts"):
        path.mkdir(parents=True)
    node.run(*git, TOP, "archive", "-o", node.dir / "a.tar", "HEAD", "scripts/commit")
    node.run("tar", "-xf", node.dir / "a.tar", "-C", archive)
    assert node.run(archive / "scripts/commit").stdout == f"{head}\n"
    shutil.copy(TOP / "scripts/commit", copy / "scripts")
    node.run("git", "-c", "init.defaultBranch=x", "init", "-q", node.dir / "other")
    assert node.run(copy / "scripts/commit").stdout == ""


@case(san=False)
def test_alerts(node):
    """Each alert fires when it should, and none fires when all is well."""
    if not shutil.which("promtool"):
        raise Skip("there is no promtool")
    rules = MANIFESTS / "monitoring/prometheus-rules.yaml"
    said = node.run("promtool", "check", "rules", rules).stdout
    assert "SUCCESS" in said, said
    for path in (rules, TOP / "tests/data/prometheus/rules-test.yaml"):
        shutil.copy(path, node.dir)
    node.run("promtool", "test", "rules", node.dir / "rules-test.yaml")
