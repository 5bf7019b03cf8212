"""Reading a prompt with SmolLM2-135M in bfloat16 beside `transformers` and `llama.cpp`: tokens a second.
`LLAMA_CPP_PYTHON=… make bench NAME=prefill`; see `llama_cpp_peer` for the variable.

Each reads the whole prompt into an empty cache and makes the logits behind its last token, as before the
first token of an answer. Ours takes the prompt in steps, as `generate_tokens` does. `llama.cpp` is asked in
bfloat16 and, where it is fastest, in 4 bits; the better of the peers counts.

On a machine that is busy, `--threads 1 --cpu-time` compares the seconds of the processor instead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from benchmarks.decode import LESSON, MODEL, PACKAGES, THREADS, plain_model, reference_model
from benchmarks.harness import Row, compare, report, without_peer
from benchmarks.llama_cpp_peer import WHY_MISSING, LlamaCpp, llama_cpp
from teachllm.stack.data.assets import asset
from teachllm.stack.inference import load_language_model
from teachllm.stack.inference.generation import STEP, CausalModel
from teachllm.stack.nn.kv_cache import KVCache

LENGTHS = (512, 2048)
NUMBERS = ("BF16", "Q4_0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    ours, theirs = load_language_model(MODEL, "cpu", torch.bfloat16), reference_model(plain_model())
    text = ours.encode_text(LESSON.read_text(encoding="utf-8") * 4)
    rows: list[Row] = []
    clock = time.process_time if options.cpu_time else time.perf_counter
    peers: dict[str, LlamaCpp] = {}
    with tempfile.TemporaryDirectory() as folder:
        for numbers in NUMBERS:  # a process each, so that both can take turns with the others
            if (peer := llama_cpp()) is not None:
                path = peer.in_numbers(asset(MODEL), numbers, Path(folder))
                peer.ask("load", path=str(path), n_threads=options.threads, context=max(LENGTHS))
                peers[f"llama.cpp {numbers}"] = peer
        for length in LENGTHS:
            prompt = text[:length]
            runs: dict[str, Callable[[], float]] = {
                "ours": lambda prompt=prompt: timed(clock, lambda: read(ours.model, prompt)),
                "transformers": lambda prompt=prompt: timed(clock, lambda: read_reference(theirs, prompt)),
            }
            for name, peer in peers.items():
                key = "cpu_seconds" if options.cpu_time else "seconds"
                runs[name] = lambda peer=peer, prompt=prompt, key=key: peer.ask("prefill", prompt=prompt)[key]
            rows += rows_of(length, runs, options)
    for peer in peers.values():
        peer.close()
    report(
        "prefill",
        rows,
        notes=[
            f"medians of {options.runs} runs in turns, {'processor' if options.cpu_time else 'wall-clock'} "
            "seconds; batch 1",
            f"llama.cpp: {', '.join(sorted({peer.version for peer in peers.values()})) or 'not here'}",
        ],
    )


def rows_of(length: int, runs: dict[str, Callable[[], float]], options: argparse.Namespace) -> list[Row]:
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(options.runs + 1):  # the first warms up
        for name, run in runs.items():
            spent = run()
            if round_number:
                taken[name].append(spent)
    speed = {name: length / statistics.median(times) for name, times in taken.items()}
    what, threads = f"prefill of {length} tokens, SmolLM2-135M, bf16", options.threads
    rows = [
        compare(what, speed["ours"], speed[name], name, "tokens/s", threads=threads, packages=PACKAGES)
        for name in runs
        if name != "ours"
    ]
    if len(runs) == 2:
        rows.append(without_peer(what, speed["ours"], "llama.cpp", "tokens/s", WHY_MISSING, threads=threads))
    return rows


def timed(clock: Callable[[], float], run: Callable[[], object]) -> float:
    began = clock()
    run()
    return clock() - began


@torch.inference_mode()
def read(model: CausalModel, prompt: list[int]) -> torch.Tensor:
    cache = KVCache.for_model(model.config, len(prompt), dtype=torch.bfloat16)
    tokens = torch.tensor([prompt])
    for piece in tokens.split(STEP, dim=1):
        logits = model(piece, cache, last_only=True)
    return logits


@torch.inference_mode()
def read_reference(model: transformers.LlamaForCausalLM, prompt: list[int]) -> torch.Tensor:
    tokens = torch.tensor([prompt])
    return model(tokens, use_cache=True, logits_to_keep=1).logits  # pyright: ignore


if __name__ == "__main__":
    main()
