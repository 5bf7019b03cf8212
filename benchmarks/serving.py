"""Many requests at once, SmolLM2-135M in bfloat16 on two threads: `make bench NAME=serving`.

Our engine beside static batches of `transformers`, of the size that is best, and beside `llama-server` with
as many slots as there are requests. Lengths are mixed, of prompts and of answers; end tokens are ignored, so
that everybody writes the same number of tokens. What counts is useful throughput: tokens that were asked for,
by the time until the last is there. `llama-server` is found by the environment variable LLAMA_SERVER.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import transformers

from benchmarks.decode import MODEL, PACKAGES, THREADS, reference_model
from benchmarks.harness import Row, compare, report, versions, without_peer
from benchmarks.serving_peers import LlamaServer, llama_server, static_batches
from teachllm.stack.data.catalogue import corpus
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import RequestOptions, TokenOut
from teachllm.stack.inference.engine.service import EngineService
from teachllm.stack.inference.language_model import LanguageModel, load_language_model
from teachllm.stack.models.llama import Llama
from teachllm.stack.models.loading import load_model

BATCH_SIZES = (16, 32, 64)
BUSY = 0.7  # of what the engine does at most: how many requests the stream brings


@dataclass(frozen=True)
class Wanted:
    """A prompt, how many tokens behind it, and how many seconds after the start it comes."""

    prompt: list[int]
    n_tokens: int
    at: float = 0.0


@dataclass(frozen=True)
class Served:
    """Seconds until everything was there, and of each request to its first token and between two."""

    seconds: float
    to_first: list[float]
    between: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    ours = load_language_model(MODEL, "cpu", torch.bfloat16)
    mixed = mixed_requests(ours, arguments.requests)
    useful = sum(one.n_tokens for one in mixed)
    rows, notes = [], [
        f"{len(mixed)} requests, prompts and answers of 32 to 512 tokens, {useful} to write, greedy; "
        f"medians of {arguments.turns} turns; llama-server is asked over HTTP, ours in its process",
    ]  # fmt: skip
    with llama_server(MODEL, slots=len(mixed)) as peer:
        at_once = at_once_rows(ours, mixed, peer, arguments.turns)
        rows += at_once
        rate = BUSY * at_once[0].ours * len(mixed) / useful
        rows += stream_rows(ours, poisson(mixed, rate), peer)
        notes.append(f"the stream brings {rate:.2f} requests a second: {BUSY:.0%} of what ours does at most")
        shared = sharing_requests(ours, arguments.requests)
        rows += shared_prefix_rows(ours, shared, peer, notes)
    rows.append(bookkeeping_row(ours))
    report("serving", rows, notes=notes)


def at_once_rows(ours: LanguageModel, wanted: list[Wanted], peer: LlamaServer | str, turns: int) -> list[Row]:
    useful = sum(one.n_tokens for one in wanted)
    plain = load_model(MODEL, "cpu", torch.bfloat16)
    assert isinstance(plain, Llama)
    reference = reference_model(plain)
    sizes = [size for size in BATCH_SIZES if size <= len(wanted)] or [len(wanted)]

    pairs = [(one.prompt, one.n_tokens) for one in wanted]
    of_size = {size: static_batches(reference, pairs, size) for size in sizes}
    best = min(sizes, key=lambda size: of_size[size])
    # The run that found the best size is its first turn: it takes minutes.
    taken: list[list[float]] = []
    for turn in range(turns):
        static = static_batches(reference, pairs, best) if turn else of_size[best]
        taken.append([serve(ours, wanted).seconds, static])
        if not isinstance(peer, str):
            taken[-1].append(asyncio.run(ask(peer, wanted)).seconds)
    medians = [statistics.median(times) for times in zip(*taken, strict=True)]
    what = f"{len(wanted)} requests at once"
    ours_rate, static_rate = useful / medians[0], useful / medians[1]
    name = f"transformers, static batches of {best}"
    rows = [
        compare(what, ours_rate, static_rate, name, "useful tokens/s", threads=THREADS, packages=PACKAGES)
    ]
    if isinstance(peer, str):
        return [
            *rows,
            without_peer(what, ours_rate, "llama-server", "useful tokens/s", peer, threads=THREADS),
        ]
    return [
        *rows,
        compare(what, ours_rate, useful / medians[2], "llama-server", "useful tokens/s", threads=THREADS),
    ]


def stream_rows(ours: LanguageModel, wanted: list[Wanted], peer: LlamaServer | str) -> list[Row]:
    """Time to the first token and between two, of half and of 95 in 100 requests."""
    mine = serve(ours, wanted)
    theirs = None if isinstance(peer, str) else asyncio.run(ask(peer, wanted))
    rows = []
    for what, pick in (("first token", "to_first"), ("between tokens", "between")):
        for share in (50, 95):
            value = 1000 * percentile(getattr(mine, pick), share)
            name = f"Poisson stream, {what}, p{share}"
            if theirs is None:
                rows.append(without_peer(name, value, "llama-server", "ms", str(peer), threads=THREADS))
            else:
                other = 1000 * percentile(getattr(theirs, pick), share)
                rows.append(
                    compare(name, value, other, "llama-server", "ms", lower_is_better=True, threads=THREADS)
                )
    return rows


def shared_prefix_rows(
    ours: LanguageModel, wanted: list[Wanted], peer: LlamaServer | str, notes: list[str]
) -> list[Row]:
    useful = sum(one.n_tokens for one in wanted)
    engine = Engine(ours, engine_config(len(wanted)))
    mine = useful / serve(ours, wanted, engine).seconds
    seen = engine.snapshot()
    notes.append(
        f"shared prefix: {seen.cached_tokens} of {seen.prompt_tokens} prompt tokens were found in the cache"
    )
    without = Engine(ours, engine_config(len(wanted), prefix_caching=False))
    plain = useful / serve(ours, wanted, without).seconds
    what = "80% of each prompt shared"
    rows = [compare(what, mine, plain, "ours without prefix cache", "useful tokens/s", threads=THREADS)]
    if not isinstance(peer, str):
        theirs = useful / asyncio.run(ask(peer, wanted)).seconds
        rows.append(compare(what, mine, theirs, "llama-server", "useful tokens/s", threads=THREADS))
    return rows


def bookkeeping_row(ours: LanguageModel, running: int = 256, steps: int = 24) -> Row:
    """The share of a step that is neither the model nor the choice of tokens, with 256 texts running."""
    engine = Engine(ours, EngineConfig(max_batch_tokens=1024, max_running=running, n_blocks=running * 12))
    prompts = random.Random(1)
    for _ in range(running):
        prompt = [prompts.randrange(1000, 40_000) for _ in range(100)]
        engine.add(prompt, RequestOptions(max_tokens=64, end_tokens=frozenset()))
    while any(text.written == 0 for text in engine.snapshot().texts):
        engine.step()
    for _ in range(steps):
        engine.step()
    last = engine.snapshot().steps[-steps:]
    share = statistics.median(step.bookkeeping / step.seconds for step in last)
    milliseconds = 1000 * statistics.median(step.bookkeeping for step in last)
    why = f"{milliseconds:.1f} ms of {1000 * statistics.median(step.seconds for step in last):.0f} ms"
    return Row(
        f"bookkeeping, {running} texts running", 100 * share, None, "–", "% of the step", None,
        limit=5.0, threads=THREADS, versions=versions(PACKAGES), why=why,
    )  # fmt: skip


# Requests ----------------------------------------------------------------------------------------------


def mixed_requests(model: LanguageModel, n: int, seed: int = 0) -> list[Wanted]:
    """Prompts cut out of real text."""
    tokens, lengths = text_tokens(model, 520 * n), random.Random(seed)
    return [
        Wanted(tokens[520 * i : 520 * i + lengths.randint(32, 512)], lengths.randint(32, 512))
        for i in range(n)
    ]


def sharing_requests(model: LanguageModel, n: int, seed: int = 0) -> list[Wanted]:
    """320 tokens each, of which all share the first 256."""
    tokens, lengths = text_tokens(model, 256 + 64 * n), random.Random(seed)
    return [
        Wanted([*tokens[:256], *tokens[256 + 64 * i : 320 + 64 * i]], lengths.randint(32, 128))
        for i in range(n)
    ]


def text_tokens(model: LanguageModel, n: int) -> list[int]:
    tokens: list[int] = []
    for document in corpus("stdlib-docs"):
        tokens += model.tokenizer.encode(document.text)
        if len(tokens) >= n:
            break
    return tokens[:n]


def poisson(wanted: Sequence[Wanted], rate: float, seed: int = 0) -> list[Wanted]:
    """The same requests, `rate` a second: the time between two is exponentially distributed."""
    gaps, at, stream = random.Random(seed), 0.0, []
    for one in wanted:
        at += gaps.expovariate(rate)
        stream.append(Wanted(one.prompt, one.n_tokens, at))
    return stream


# Serving -----------------------------------------------------------------------------------------------


def engine_config(n: int, prefix_caching: bool = True) -> EngineConfig:
    return EngineConfig(max_running=n, n_blocks=n * 64, prefix_caching=prefix_caching)


def serve(model: LanguageModel, wanted: Sequence[Wanted], engine: Engine | None = None) -> Served:
    """By our engine in its thread."""

    async def one(service: EngineService, request: Wanted, start: float) -> tuple[float, list[float]]:
        await asyncio.sleep(request.at)
        options = RequestOptions(max_tokens=request.n_tokens, end_tokens=frozenset())
        came = time.perf_counter()
        times = [
            time.perf_counter()
            async for output in service.submit(request.prompt, options)
            if isinstance(output, TokenOut)
        ]
        assert len(times) == request.n_tokens
        return came, times

    async def all_of_them(service: EngineService) -> Served:
        start = time.perf_counter()
        return served(start, await asyncio.gather(*(one(service, request, start) for request in wanted)))

    with EngineService(engine or Engine(model, engine_config(len(wanted)))) as service:
        return asyncio.run(all_of_them(service))


async def ask(peer: LlamaServer, wanted: Sequence[Wanted]) -> Served:
    """By `llama-server`."""

    async def one(request: Wanted) -> tuple[float, list[float]]:
        await asyncio.sleep(request.at)
        came = time.perf_counter()
        times = [time.perf_counter() async for _ in peer.tokens(request.prompt, request.n_tokens)]
        assert len(times) == request.n_tokens, (len(times), request.n_tokens)
        return came, times

    start = time.perf_counter()
    async with peer:
        return served(start, await asyncio.gather(*map(one, wanted)))


def served(start: float, answers: Sequence[tuple[float, list[float]]]) -> Served:
    return Served(
        max(times[-1] for _, times in answers) - start,
        [times[0] - came for came, times in answers],
        [(times[-1] - times[0]) / (len(times) - 1) for _, times in answers],
    )


def percentile(values: Sequence[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


if __name__ == "__main__":
    main()
