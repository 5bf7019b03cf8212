"""Workers as processes: each loads the model for itself, and knows the key from its standard input alone.

Neither the command line nor the environment holds the key, since others on the machine may read those.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch

from teachllm.stack.data.assets import AssetError
from teachllm.stack.inference.command import Weights
from teachllm.stack.inference.disaggregation.decode import DecodeWorker
from teachllm.stack.inference.disaggregation.messages import CannotStart, Hello, Role
from teachllm.stack.inference.disaggregation.prefill import PrefillWorker
from teachllm.stack.inference.disaggregation.transport import connect
from teachllm.stack.inference.disaggregation.worker import layout_of
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.language_model import LanguageModel, load_language_model

PATIENCE = 5.0  # seconds that a worker has to end by itself


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker must know to begin. port: of the router; source, weights: as in `load_language_model`;
    n_threads: that it computes with.
    """

    name: str
    role: Role
    port: int
    source: str
    weights: Weights | None
    n_threads: int
    config: EngineConfig


@contextlib.contextmanager
def worker_process(assignment: Assignment, key: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does as it is assigned, until the block ends or the router is gone."""
    threads = str(assignment.n_threads)
    process = subprocess.Popen(
        [sys.executable, "-m", "teachllm.stack.inference.disaggregation"],
        stdin=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads},
        start_new_session=True,  # Ctrl-C is for the server, which lets running answers finish first
    )
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died already, which the router finds out
            process.stdin.write(json.dumps({"key": key.hex(), **asdict(assignment)}).encode())
            process.stdin.close()
        yield process
    finally:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def work() -> None:
    """What the process runs: read the assignment, load the model, say hello, work until the router goes."""
    given = json.loads(sys.stdin.buffer.read())
    key = bytes.fromhex(given.pop("key"))
    assignment = Assignment(**given | {"config": EngineConfig(**given["config"])})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(assignment.n_threads)
    try:
        language_model = load_language_model(assignment.source, weights=assignment.weights)
        engine = Engine(language_model, assignment.config)
    except (ValueError, OSError, AssetError, MemoryError, RuntimeError) as problem:
        with contextlib.suppress(OSError), contextlib.closing(connect(assignment.port, key)) as router:
            router.send(CannotStart(assignment.name, str(problem)))
        raise SystemExit(1) from None
    kind = PrefillWorker if assignment.role == "prefill" else DecodeWorker
    worker = kind(engine, connect(assignment.port, key), key)
    worker.tell(introduction(worker, assignment.name, language_model))
    worker.run()


def introduction(worker: PrefillWorker | DecodeWorker, name: str, language_model: LanguageModel) -> Hello:
    """What the router must know of a worker."""
    is_prefill = isinstance(worker, PrefillWorker)
    return Hello(
        name,
        "prefill" if is_prefill else "decode",
        os.getpid(),
        worker.port if is_prefill else 0,
        len(worker.engine.snapshot().blocks),
        layout_of(worker.engine),
        str(language_model.device),
        language_model.decoding,
        language_model.decoding_zh,
        language_model.attention,
        worker.engine.attention,
    )
