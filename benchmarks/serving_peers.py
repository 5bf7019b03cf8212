"""What the engine is measured beside: static batches of `transformers`, and llama.cpp's server."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import httpx
import torch
import transformers

from benchmarks.gguf_file import write_gguf

VARIABLE = "LLAMA_SERVER"


def static_batches(
    model: transformers.LlamaForCausalLM, wanted: Sequence[tuple[list[int], int]], size: int
) -> float:
    """Seconds for all, `size` at a time in their order. Each batch is written to its longest answer."""
    began = time.perf_counter()
    for start in range(0, len(wanted), size):
        batch = wanted[start : start + size]
        longest = max(len(prompt) for prompt, _ in batch)
        tokens = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, (prompt, _) in enumerate(batch):
            tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        model.generate(tokens, attention_mask=mask, max_new_tokens=max(n for _, n in batch))  # pyright: ignore
    return time.perf_counter() - began


class LlamaServer:
    """A running `llama-server`."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def __aenter__(self) -> None:
        self._client = httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None))

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def tokens(self, prompt: list[int], n: int) -> AsyncIterator[str]:
        """Greedily, whatever end tokens come."""
        body = {"prompt": prompt, "n_predict": n, "temperature": 0, "ignore_eos": True, "stream": True,
                "return_tokens": True}  # fmt: skip
        async with self._client.stream("POST", f"{self._address}/completion", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: ") and not (event := json.loads(line[6:]))["stop"]:
                    for _ in event["tokens"]:
                        yield event["content"]


@contextlib.contextmanager
def llama_server(model: str, slots: int, threads: int = 2) -> Iterator[LlamaServer | str]:
    """The server with the same weights in bfloat16, and a slot of 1,088 tokens for every request; or why
    there is none.
    """
    program = os.environ.get(VARIABLE)
    if not program or not Path(program).is_file():
        yield f"not found: {VARIABLE} must name llama.cpp's llama-server"
        return
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        file = Path(folder) / "model.gguf"
        write_gguf(model, file)
        command = [program, "-m", str(file), "-np", str(slots), "-c", str(1088 * slots), "-t", str(threads),
                   "-tb", str(threads), "--port", str(port), "--no-webui", "-kvu"]  # fmt: skip
        with open(Path(folder) / "log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{address}/health").status_code == 200:
                        break
                if process.poll() is not None:
                    break
                time.sleep(0.1)
            if process.poll() is not None:
                yield f"{program} ended at once: {(Path(folder) / 'log').read_text()[-200:]}"
            else:
                yield LlamaServer(address)
        finally:
            process.terminate()
            process.wait(20)
