# SPDX-License-Identifier: Apache-2.0
"""Programs and libraries of others, which a case needs or is skipped."""
import os
import shutil

from kernel import TOP, Skip


def need(tool):
    """Where that program is."""
    path = shutil.which(tool, path="/usr/sbin:/usr/local/go/bin:" + os.environ["PATH"])
    if not path:
        raise Skip(f"no {tool}")
    return path


def library(what):
    """Where scripts/clients put what is for python, node, go, java or router."""
    path = TOP / "build/clients" / what
    if not path.exists():
        raise Skip(f"nothing for {what} in build/clients: scripts/clients fetches it")
    return path
