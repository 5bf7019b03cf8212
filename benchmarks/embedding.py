"""all-MiniLM-L6-v2 beside `sentence-transformers`: texts a second, in one dtype. `make bench NAME=embedding`

The texts are doc strings of Python's standard library: a few words to several pages, cut at 256 tokens by
both. Ours lays them end to end without padding; the peer sorts them by length and pads each batch of 32 (its
default) or 128; the faster of the two counts. A row of short questions, one call each, is what a search waits
for.

On a machine that is busy, `--cpu-time` compares the seconds of the processor instead.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice

import numpy as np
import sentence_transformers
import torch
import transformers

from benchmarks.harness import Row, alternate, compare, report
from teachllm.stack.data.assets import asset
from teachllm.stack.data.catalogue import corpus
from teachllm.stack.retrieval.embedding import load_embedding_model

MODEL = "all-minilm-l6-v2"
N_TEXTS = 192
QUESTIONS = [
    "How do I bake bread?",
    "list of open files",
    "parse a date",
    "what is a generator in Python",
] * 4
PACKAGES = ("torch", "sentence-transformers", "transformers", "tokenizers")
BATCHES = (32, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    texts = [document.text for document in islice(corpus("stdlib-docs"), N_TEXTS)]
    rows: list[Row] = []
    notes = [
        f"medians of {options.runs} runs in turns, "
        f"{'processor' if options.cpu_time else 'wall-clock'} seconds"
    ]
    for threads in options.threads:
        torch.set_num_threads(threads)
        for dtype in (torch.float32, torch.bfloat16):
            rows += rows_of(texts, dtype, threads, options, notes)
    report("embedding", rows, notes=notes)


def rows_of(
    texts: list[str], dtype: torch.dtype, threads: int, options: argparse.Namespace, notes: list[str]
) -> list[Row]:
    ours = load_embedding_model(MODEL, dtype=dtype)
    theirs = sentence_transformers.SentenceTransformer(
        str(asset(MODEL).parent), device="cpu", model_kwargs={"dtype": dtype}
    )
    clock = time.process_time if options.cpu_time else time.perf_counter
    n_tokens = sum(len(ours.truncated(ours.tokens_of(text))) for text in texts)
    name = str(dtype).removeprefix("torch.")

    def encode(batch: int) -> np.ndarray:
        return theirs.encode(texts, batch_size=batch, show_progress_bar=False)

    difference = np.abs(ours.embed(texts) - encode(32)).max()
    our_time, *their_times = alternate(
        lambda: ours.embed(texts),
        *(lambda batch=batch: encode(batch) for batch in BATCHES),
        times=options.runs,
        clock=clock,
    )
    batch, their_time = min(zip(BATCHES, their_times, strict=True), key=lambda found: found[1])
    notes.append(
        f"{name}, {threads} threads: {n_tokens / our_time:,.0f} tokens/s; the peer's best batch is {batch}; "
        f"vectors differ by at most {difference:.1e}"
    )
    one, their_one = alternate(
        lambda: [ours.embed([question]) for question in QUESTIONS],
        lambda: [theirs.encode(question, show_progress_bar=False) for question in QUESTIONS],
        times=options.runs,
        clock=clock,
    )
    common = {"peer_name": "sentence-transformers", "threads": threads, "packages": PACKAGES}
    return [
        compare(
            f"{len(texts)} texts, {n_tokens:,} tokens, {name}",
            len(texts) / our_time,
            len(texts) / their_time,
            unit="texts/s",
            **common,
        ),
        compare(
            f"one question, {name}",
            1000 * one / len(QUESTIONS),
            1000 * their_one / len(QUESTIONS),
            unit="ms",
            lower_is_better=True,
            **common,
        ),
    ]


if __name__ == "__main__":
    main()
