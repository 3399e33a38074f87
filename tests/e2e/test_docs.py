# SPDX-License-Identifier: Apache-2.0
"""The documents keep in step with the code: what the code names, they name, and their links lead
somewhere."""
import re
import subprocess

from clients import FRONTEND
from harness import case
from kernel import TOP

DOCS = TOP / "docs"
PAGES = sorted([*TOP.glob("*.md"), *DOCS.glob("*.md"), *(TOP / "manifests").glob("*.md")])


def page(name):
    return (TOP / name).read_text()


def table_rows(text, heading=None):
    """The rows of the tables below a heading (to the next one of its level), as lists of cells."""
    if heading:
        found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.M)
        assert found, f"no heading {heading!r}"
        rest = text[found.end():]
        end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.M)
        text = rest[:end.start()] if end else rest
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("|---"):
            yield [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]


def first_column(name, heading=None):
    """What stands in backquotes in the first cell of each row."""
    found = []
    for row in table_rows(page(name), heading):
        found += re.findall(r"`([^`]+)`", row[0])
    return found


def listed(name, macro):
    """The names of an X-macro table."""
    body = re.search(rf"#define {macro}\(X\)((?:.*\\\n)*.*)", page(name))[1]
    return re.findall(r'X\(\w+,[\s\\]*"([^"]+)"', body)


def outcomes():
    return listed("headers/pintle/abi.h", "PINTLE_OUTCOMES")


@case(san=False)
def test_every_outcome_is_explained(node):
    """A row for each outcome of abi.h, and none for another, in the same order: what to do
    (operations), and what it means (load, where the reserved ones stand below)."""
    del node
    assert first_column("docs/operations.md", "By outcome") == outcomes()
    assert set(outcomes()) <= set(re.findall(r"`(\w+)`", page("docs/load.md")))


@case(san=False)
def test_every_state_is_explained(node):
    """A row for each state that `pintle endpoints` shows, and for each reason of `unsteerable`."""
    del node
    states = listed("userspace/maps/state.h", "STATE_ENDPOINT_STATES")
    reasons = re.findall(r'"(unsteerable: \w+)"', page("userspace/maps/state_names.c"))
    named = first_column("docs/operations.md", "By state of an endpoint")
    assert set(states) - {"unsteerable"} <= set(named), set(states) - set(named)
    known = set(reasons) - {"unsteerable: unknown"}
    assert known <= set(named), known - set(named)
    assert set(named) <= set(states) | known, set(named) - set(states) - known


@case(san=False)
def test_every_result_of_oneshot_is_explained(node):
    """A row for each thing that one-shot does with a first segment, in the order of abi.h."""
    del node
    results = listed("headers/pintle/abi.h", "PINTLE_ONESHOTS")
    assert first_column("docs/keep-alive.md", "What it counts") == results


def map_block(source, name):
    return re.search(r"struct \{((?:(?!struct \{)[\s\S])*?)\} MAP\(" + name + r"\);", source)[1]


@case(san=False)
def test_every_map_is_described(node):
    """A row for each pinned map, with its type's number of entries and its structs, and no other."""
    del node
    header = page("userspace/maps/maps.h")
    pinned = re.findall(r"X\((\w+)\)", re.search(r"#define PINTLE_MAPS\(X\)((?:.*\\\n)*.*)", header)[1])
    source = page("bpf/maps.bpf.h")
    rows = {row[0].strip("`"): row for row in table_rows(page("docs/maps.md"), "Every map")}
    rows.pop("map")
    assert set(rows) == set(pinned), set(rows) ^ set(pinned)
    for name in pinned:
        for struct in re.findall(r"struct (pintle_\w+)", map_block(source, name)):
            text = " ".join(rows[name])
            assert f"`{struct}`" in text or struct == "pintle_homes_map", (name, struct)
    # The numbers, as the compiler has them.
    entries = [(name, re.search(r"max_entries, (.*)\);", map_block(source, name)))
               for name in pinned if "ring" not in rows[name][1]]
    sizes = subprocess.run(
        ["cc", "-x", "c", "-E", "-P", "-Iheaders", "-"], cwd=TOP, check=True, capture_output=True,
        text=True, input="#include <pintle/abi.h>\n" + "".join(
            f"SIZE {name} {found[1]} END\n" for name, found in entries if found),
    ).stdout
    for name, size in re.findall(r"SIZE (\w+) (.*) END", sizes):
        assert f", {eval(size)}" in rows[name][1], (name, size)  # pylint: disable=eval-used


@case(san=False)
def test_every_metric_is_described(node):
    """docs/metrics.md has the families of the real page, with their types and labels, no others."""
    daemon = node.steer(node.servers(2))
    node.ask(FRONTEND["v4"])
    text = daemon.get("/metrics")[1]
    real = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    said = {}
    for row in table_rows(page("docs/metrics.md")):
        if row[0].startswith(("`pintle_", "`process_")):
            said[row[0].strip("`")] = row[1:3]
    assert set(said) == set(real), set(said) ^ set(real)
    for name, (kind, labels) in said.items():
        assert kind == real[name], name
        sample = re.search(rf"^{name}(?:\{{(.*?)\}})? ", text, re.M)
        if sample:
            found = re.findall(r'(\w+)="', sample[1] or "")
            assert found == [x for x in labels.split(", ") if x], (name, found, labels)


@case(san=False)
def test_every_command_is_described(node):
    """docs/cli.md names each noun and verb of the CLI's table."""
    del node
    commands = re.findall(r'\.name = "(\w+)",\n\t+\.kind =', page("userspace/pintle/commands.c"))
    assert len(commands) > 10
    text = page("docs/cli.md")
    missing = [c for c in commands if not re.search(rf"`{c}\b", text)]
    assert not missing, missing


@case(san=False)
def test_named_metrics_exist(node):
    """No page speaks of a metric that is not exported."""
    del node
    source = page("userspace/pintled/telemetry.c") + page("userspace/pintled/process.c")
    real = set(re.findall(r'"((?:pintle|process)_\w+)"', source))
    for path in PAGES:
        for name in re.findall(r"\b(?:pintle|process)_\w+_(?:total|seconds|ratio|info|load|in_flight|saturation)\b",
                               path.read_text()):
            assert name in real, (path.name, name)


@case(san=False)
def test_named_keys_exist(node):
    """No page speaks of a configuration key that is not there."""
    del node
    sections = ("stickiness", "saturation", "weights", "scrape", "dcgm")
    keys = {s: first_column("docs/configuration.md", f"`pools[].{s}`") for s in sections}
    keys["node"] = first_column("docs/configuration.md", "`node`")
    for path in PAGES:
        for section, key in re.findall(r"`(\w+)\.(\w{2,})`", path.read_text()):
            if section in keys:
                assert key in keys[section], (path.name, f"{section}.{key}")


def anchors(text):
    """Headings as GitHub makes anchors of them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.replace(" ", "-"))
    return found


@case(san=False)
def test_links_lead_somewhere(node):
    """Each link within the repository names a file, and a heading of it, that is there."""
    del node
    assert len(PAGES) > 5
    for path in PAGES:
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.exists(), (path.name, link)
            if anchor:
                assert anchor in anchors(target.read_text()), (path.name, link)


@case(san=False)
def test_named_files_exist(node):
    """Each path of the tree that a page names in backquotes is there."""
    del node
    for path in PAGES:
        for name in re.findall(r"`((?:bpf|headers|userspace|tests|scripts|manifests|docs)/[\w./-]*)`",
                               path.read_text()):
            if name.startswith("tests/bench/out") or "NAME" in name or "TOPIC" in name:
                continue
            assert (TOP / name).exists(), (path.name, name)


@case(san=False)
def test_nothing_of_this_machine(node):
    """No page names a path that only the writer's machine has."""
    del node
    for path in PAGES:
        found = re.search(r"/tmp/\S+|/home/\S+|pintle-test-\S+", path.read_text())
        assert not found, (path.name, found[0])
