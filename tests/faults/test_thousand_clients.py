"""A thousand clients at once: half of them leave in the middle, all of them read slowly.

Nothing is lost, nothing stays behind, and memory does not grow.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import torch

from teachllm.stack.inference import LanguageModel
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.service import EngineService
from teachllm.stack.inference.server import create_app
from teachllm.stack.inference.server.listening import DrainingServer, listen
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.faults]
CLIENTS = 1000
TURNS = 4
TOKENS = 24
SIZES: Any = {"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "hidden": 48}


@pytest.fixture
def served() -> Iterator[tuple[int, Any, Engine]]:
    """A server in a thread: its port, what it shares, its engine.

    In float32: for bfloat16, oneDNN keeps a kernel for every number of rows that it meets, up to 1,024 of
    them, which would look like a leak.
    """
    torch.manual_seed(3)
    model = Llama(LlamaConfig(vocab_size=256, context_length=256, tied_head=True, **SIZES)).eval()
    tiny = LanguageModel("tiny", model, Tokenizer.from_merges([]), None, (), frozenset())
    engine = Engine(tiny, EngineConfig(max_running=128, n_blocks=256))
    with EngineService(engine) as service, listen("127.0.0.1", 0) as listener:
        app = create_app(tiny, service, names=("tiny",))
        server = DrainingServer(app)
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
        thread.start()
        yield listener.getsockname()[1], app.state.serving, engine
        server.should_exit = True
        thread.join(timeout=20)


async def client(port: int, number: int) -> int | None:
    """How many events of a stream came before its end; None for one that left after some."""
    body = json.dumps(
        {
            "model": "tiny",
            "prompt": f"Question {number % 17}",
            "max_tokens": TOKENS,
            "seed": number,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()
        assert b" 200 " in await reader.readline()
        lines = 0
        usage = 0
        while line := await reader.readline():
            if not line.startswith(b"data: "):
                continue
            if line == b"data: [DONE]\n":
                assert usage == TOKENS
                return lines
            lines += 1
            usage = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", 0)
            if number % 2 and lines == 5:
                return None
            await asyncio.sleep(0.02)  # reads slowly
        raise AssertionError(f"client {number}: the stream ended without its end")
    finally:
        writer.close()


async def crowd(port: int) -> list[int | None]:
    return await asyncio.wait_for(asyncio.gather(*(client(port, n) for n in range(CLIENTS))), 240)


def test_nothing_is_lost_and_nothing_stays(served: tuple[int, Any, Engine]) -> None:
    port, serving, engine = served
    memory = []
    for turn in range(1, TURNS + 1):
        answers = asyncio.run(crowd(port))
        assert sum(answer is None for answer in answers) == CLIENTS // 2
        assert all(answer is None or answer > 0 for answer in answers)
        _settle(serving)
        now = serving.service.snapshot()
        assert now.requests_finished + now.requests_cancelled == turn * CLIENTS
        assert now.requests_failed == 0
        assert set(now.blocks) <= {"unused", "cached"}
        engine.check_integrity()
        gc.collect()
        memory.append(psutil.Process().memory_info().rss)
    # The first crowd fills what is kept: buffers of threads, the last steps, latencies.
    assert memory[-1] < memory[1] + 10e6, [f"{size / 1e6:.0f} MB" for size in memory]


def _settle(serving: Any) -> None:
    end = time.monotonic() + 30
    while serving.admission.open or serving.service.snapshot().texts:
        assert time.monotonic() < end, f"{serving.admission.open} requests are still open"
        time.sleep(0.1)
