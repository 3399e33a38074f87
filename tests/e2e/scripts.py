# SPDX-License-Identifier: Apache-2.0
"""The programs of scripts/ and lab/scripts/, which have no suffix, as modules of other programs."""
import importlib.machinery
import importlib.util

from kernel import TOP


def script(name):
    """The script NAME as a module; its main() is not run. Each call reads it anew."""
    path = next(p for p in (TOP / "scripts" / name, TOP / "lab/scripts" / name) if p.exists())
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module
