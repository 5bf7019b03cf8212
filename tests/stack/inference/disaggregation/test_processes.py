"""Workers as real processes, and what becomes of requests when these are killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from teachllm.stack.inference import Sampling
from teachllm.stack.inference.disaggregation.messages import CannotStart
from teachllm.stack.inference.disaggregation.remote import Door
from teachllm.stack.inference.disaggregation.starting import disaggregated
from teachllm.stack.inference.disaggregation.transport import connect
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import RequestOptions
from teachllm.stack.inference.engine.service import EngineService, ServiceClosed
from teachllm.stack.inference.language_model import load_language_model
from teachllm.stack.models.export import save_hugging_face
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer

PROMPT = [1 + i * 7 % 200 for i in range(60)]
ASKED = RequestOptions(Sampling(temperature=1.0, seed=2), max_tokens=20, end_tokens=frozenset())

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent")


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    sizes = {"d_model": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "hidden": 48}
    torch.manual_seed(3)
    model = Llama(LlamaConfig(vocab_size=258, context_length=128, tied_head=True, **sizes))
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.normal_(0, 0.3)
    path = tmp_path / "tiny-llama"
    save_hugging_face(model, tokenizer, path)
    return path


@pytest.fixture
def config() -> EngineConfig:
    """In bfloat16, if this processor has it, the number of rows computed together matters: not so here."""
    return EngineConfig(n_blocks=60, max_batch_tokens=64, max_running=32, batch_invariant=True)


def test_workers_that_are_killed(folder: Path, config: EngineConfig, told_of, settled, wait_until) -> None:
    with EngineService(Engine(load_language_model(folder), config)) as one:
        wanted = told_of(one.submit(PROMPT, ASKED)).said
    with disaggregated(str(folder), config) as (model, service):
        assert next(model.model.parameters()).is_meta
        assert told_of(service.submit(PROMPT, ASKED)).said == wanted
        settled(service)
        seen = service.snapshot()
        assert seen.transfers is not None
        assert seen.transfers.n_tokens == 48
        decode, prefill = seen.workers
        assert len({os.getpid(), prefill.pid, decode.pid}) == 3
        assert knows_no_key(prefill.pid)

        os.kill(prefill.pid, signal.SIGSTOP)  # so that it has not read when it dies
        others = [service.submit([i, *PROMPT[1:]], ASKED) for i in range(4)]
        os.kill(prefill.pid, signal.SIGKILL)
        assert [len(told_of(other).tokens) for other in others] == [20] * 4
        assert told_of(service.submit(PROMPT, ASKED)).said == wanted  # decode reads it by itself
        settled(service)
        assert [one.is_alive for one in service.snapshot().workers] == [True, False]
        assert service.refusal is None

        os.kill(decode.pid, signal.SIGSTOP)
        answer = service.submit(PROMPT, ASKED)
        os.kill(decode.pid, signal.SIGKILL)
        failed = told_of(answer).failed
        assert failed is not None
        assert "decode 0, which was writing this answer, has ended" in failed.message
        with pytest.raises(ServiceClosed, match="start the server again"):
            service.submit(PROMPT, ASKED)


def knows_no_key(pid: int) -> bool:
    """Neither the command line nor the environment of a process holds 32 bytes in hexadecimal."""
    if not Path("/proc").exists():
        return True
    texts = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    return not any(re.search(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", text) for text in texts)


def test_a_worker_that_cannot_start_says_why() -> None:
    key = b"k" * 32

    def begin(port: int) -> None:
        with contextlib.closing(connect(port, key)) as router:
            router.send(CannotStart("decode 1", "no block of 100 bytes fits"))

    with Door(key) as door:
        thread = threading.Thread(target=begin, args=(door.port,))
        thread.start()
        with pytest.raises(ValueError, match="decode 1 cannot start: no block of 100 bytes fits"):
            door.wait_for(1, 20, lambda: None)
        thread.join(20)


@pytest.mark.slow
def test_workers_end_when_their_router_is_killed(folder: Path, wait_until) -> None:
    script = (
        "import os, sys\n"
        "from teachllm.stack.inference.disaggregation.starting import disaggregated\n"
        "from teachllm.stack.inference.engine.config import EngineConfig\n"
        "with disaggregated(sys.argv[1], EngineConfig(n_blocks=60, max_running=32)) as (_, service):\n"
        "    print(*(one.pid for one in service.snapshot().workers), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, timeout=120)
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
