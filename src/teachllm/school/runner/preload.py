"""Imports everything that gradings and labs need, once, so that each of them starts in milliseconds.

It only imports. A process in which a parallel torch operation has run cannot be forked: the child would wait
forever for threads that only its parent has.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import time
from typing import Any

# Set before numpy or torch are imported: a fork server must have one thread.
THREADS = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"}
# Found by name, as far as they are installed.
_LIBRARIES = ("numpy", "torch", "torch._dynamo", "torch.nn.functional", "numba", "regex", "jaxtyping", "yaml")
_SCHOOL = ("figures", "lesson", "runner.job")


def preload() -> dict[str, Any]:
    """Imports; returns the seconds it took and what could not be imported, with the reason."""
    start = time.perf_counter()
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    failed: dict[str, str] = {}
    for name in _LIBRARIES:
        _import(name, failed)
    from _pytest.config import default_plugins

    for name in default_plugins:
        _import(f"_pytest.{name}", failed)
    for name in _SCHOOL:
        _import(f"teachllm.school.{name}", failed)
    for name in stack_modules():
        _import(name, failed)
    gc.collect()
    gc.freeze()
    return {"seconds": time.perf_counter() - start, "failed": failed}


def stack_modules() -> list[str]:
    """Every module of the stack, by name; nothing is imported but packages."""
    import teachllm.stack

    failed: list[str] = []
    walk = pkgutil.walk_packages(teachllm.stack.__path__, "teachllm.stack.", onerror=failed.append)
    return [module.name for module in walk if not module.name.endswith("__main__")]


def _import(name: str, failed: dict[str, str]) -> None:
    # A module with a mistake in it must not take down everything else: who needs it will get its error.
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"[:300]
