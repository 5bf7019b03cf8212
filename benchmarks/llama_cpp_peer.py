"""`llama.cpp` beside ours, where somebody has installed it.

`python -m venv DIR && DIR/bin/pip install llama-cpp-python` builds it for this processor; then
`LLAMA_CPP_PYTHON=DIR/bin/python make bench NAME=decode`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

VARIABLE = "LLAMA_CPP_PYTHON"
WHY_MISSING = f"llama.cpp is not here: set {VARIABLE}, see benchmarks/llama_cpp_peer.py"


class LlamaCpp:
    """A process that holds one model, until `close`."""

    def __init__(self, python: str) -> None:
        worker = Path(__file__).with_name("llama_cpp_worker.py")
        self._process = subprocess.Popen(
            [python, str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.version = self.ask("version")

    def ask(self, what: str, **request: Any) -> Any:
        """The answer to a request; RuntimeError if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **request}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"llama.cpp ended with {self._process.wait()} when asked to {what}")
        return json.loads(answer)

    def in_numbers(self, source: Path, kind: str, folder: Path) -> Path:
        """The GGUF file `source` with its weights in `kind`: BF16, Q8_0, Q4_0, …"""
        target = folder / f"{source.stem}.{kind}.gguf"
        if not target.exists() and self.ask("quantize", source=str(source), target=str(target), kind=kind):
            raise RuntimeError(f"llama.cpp could not write {source} in {kind}")
        return target

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()


def llama_cpp() -> LlamaCpp | None:
    python = os.environ.get(VARIABLE)
    return LlamaCpp(python) if python else None
