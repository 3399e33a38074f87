# SPDX-License-Identifier: Apache-2.0
"""What make image made: the labels of the image, and the list of what it consists of."""
import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile

from harness import case
from kernel import TOP, Skip

VERSION = re.search(r"^VERSION := (\S+)$", (TOP / "Makefile").read_text(), re.M)[1]
ARCH = subprocess.run(["dpkg", "--print-architecture"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
IMAGE = TOP / f"build/image/pintle-{VERSION}-{ARCH}.tar"
PROGRAMS = ("usr/sbin/pintled", "usr/bin/pintle")


class Archive:
    """An OCI archive of one image."""

    def __init__(self, path):
        self.tar = tarfile.open(path)
        (entry,) = json.loads(self.blob("index.json"))["manifests"]
        self.manifest = json.loads(self.of(entry))
        self.config = json.loads(self.of(self.manifest["config"]))

    def blob(self, name):
        return self.tar.extractfile(name).read()

    def of(self, entry):
        return self.blob("blobs/" + entry["digest"].replace(":", "/"))

    def file(self, path):
        """A file's content, in the topmost layer that has it."""
        for layer in reversed(self.manifest["layers"]):
            content = self.of(layer)
            if layer["mediaType"].endswith("+gzip"):
                content = gzip.decompress(content)
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                if path in tar.getnames():
                    return tar.extractfile(path).read()
        raise KeyError(path)


@case(san=False, timeout=120)
def test_labels_and_content(node):
    """The labels say what it is and from which commit, as its programs do; the list beside it has the hashes of these
    programs, and each package of the image's dpkg with its version."""
    del node
    if not IMAGE.exists():
        raise Skip(f"no {IMAGE.name}: make image")
    image = Archive(IMAGE)
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in image.config["config"]["Labels"].items()}
    assert {"title", "description", "licenses", "base.name", "created", "version"} <= set(labels), labels
    assert labels["version"] == VERSION and image.config["architecture"] == ARCH
    commit = labels.get("revision")
    made = json.loads(IMAGE.with_suffix(".spdx.json").read_text())
    files = {f["fileName"]: {c["algorithm"]: c["checksumValue"] for c in f["checksums"]} for f in made["files"]}
    assert set(files) == {f"./{path}" for path in PROGRAMS}
    for path in PROGRAMS:
        content = image.file(path)
        assert files[f"./{path}"]["SHA256"] == hashlib.sha256(content).hexdigest(), path
        assert (f"{VERSION} ({commit})" if commit else VERSION).encode() in content, path
    status = image.file("var/lib/dpkg/status").decode()
    there = {tuple(re.search(rf"^{key}: (.*)$", each, re.M)[1] for key in ("Package", "Version"))
             for each in status.strip().split("\n\n") if "\nStatus: install ok installed" in each}
    own, *packages = [(p["name"], p["versionInfo"]) for p in made["packages"]]
    assert own == ("pintle", VERSION) and len(packages) > 50 and set(packages) == there
