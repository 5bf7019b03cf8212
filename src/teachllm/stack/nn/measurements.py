"""What was measured on this machine, kept on disk: a choice is measured once and stays the same."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import numba
import platformdirs
import torch

from teachllm import __version__

LEAST_PARAMETERS = 5_000_000  # a smaller model is fast in any way, and measuring for it is a waste


def remembered(
    name: str, facts: Sequence[object], n_numbers: int, measure: Callable[[], Sequence[float]]
) -> list[float]:
    """The `n_numbers` that `measure` gives, or gave before for the same `facts`.

    facts: what the numbers depend on beside processor, GPU, threads and versions (this package, PyTorch,
    Numba), which are always part of the key. Their `repr` must say all of it.

    A file that cannot be read or written is as good as none: what is lost is the time to measure again.
    """
    folder = platformdirs.user_cache_path("teachllm", appauthor=False) / "measurements"
    key = hashlib.sha256(repr([*_machine(), *facts]).encode()).hexdigest()[:32]
    file = folder / f"{name}-{key}.json"
    try:
        numbers = [float(number) for number in json.loads(file.read_text(encoding="utf-8"))]
        if len(numbers) == n_numbers:
            return numbers
    except (OSError, ValueError, TypeError):
        pass
    numbers = [float(number) for number in measure()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(numbers), encoding="utf-8")
        unfinished.replace(file)
    except OSError:
        pass
    return numbers


def _machine() -> list[object]:
    facts = [_processor(), torch.get_num_threads(), __version__, torch.__version__, numba.__version__]
    if torch.cuda.is_available():
        facts += [torch.cuda.get_device_name(), torch.version.cuda or torch.version.hip]
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.processor()} {platform.machine()}"
    return "; ".join(line for line in lines[:20] if line.startswith(("model", "cpu family", "flags")))
