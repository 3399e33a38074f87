# SPDX-License-Identifier: Apache-2.0
"""The programs of scripts/, which have no suffix, as modules of other programs."""
import importlib.machinery
import importlib.util

from kernel import TOP


def script(name):
    """scripts/NAME as a module; its main() is not run. Each call reads it anew."""
    loader = importlib.machinery.SourceFileLoader(name, str(TOP / "scripts" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module
