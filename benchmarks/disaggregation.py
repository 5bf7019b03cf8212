"""Prefill and decoding in processes of their own beside one engine that does both, SmolLM2-135M in bfloat16:
`make bench NAME=disaggregation`.

Both have the same two cores: the one engine two threads, the two workers one each. So nobody has more to
compute with, and what is left to see is the price of handing over keys and values, and what it does to the
pauses of those who are being answered while somebody else's prompt is read.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.decode import MODEL, PACKAGES, THREADS
from benchmarks.harness import Row, compare, report
from benchmarks.serving import Wanted, percentile, poisson, text_tokens
from teachllm.stack.inference.disaggregation.starting import disaggregated
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import RequestOptions, TokenOut
from teachllm.stack.inference.engine.service import EngineService, Service
from teachllm.stack.inference.engine.snapshot import TransferSnapshot
from teachllm.stack.inference.language_model import LanguageModel, load_language_model

PROMPT, ANSWER = 1001, 48  # 62 full blocks and a rest
CONFIG = EngineConfig(n_blocks=2048)


@dataclass(frozen=True)
class Felt:
    """Milliseconds of each request: to its first token, from one to the next on average, and at worst."""

    to_first: list[float]
    between: list[float]
    longest_gap: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rate", type=float, default=0.4, help="requests a second")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    model = load_language_model(MODEL, "cpu", torch.bfloat16)
    wanted = poisson(requests(model, arguments.requests), arguments.rate)
    with disaggregated(MODEL, CONFIG, weights="bf16") as (_, service):
        apart = asyncio.run(ask(service, wanted))
        transfers = service.snapshot().transfers
        assert transfers is not None
        alone = asyncio.run(ask(service, [Wanted([7, *wanted[0].prompt], 1)])).to_first[0]
    with EngineService(Engine(model, CONFIG)) as service:
        together = asyncio.run(ask(service, wanted))
    rows = [transfer_row(transfers, alone), *felt_rows(apart, together)]
    report("disaggregation", rows, notes=notes_of(transfers, arguments))


def requests(model: LanguageModel, n: int) -> list[Wanted]:
    """Equal ones, of which no two begin alike."""
    tokens = text_tokens(model, PROMPT * n)
    return [Wanted(tokens[PROMPT * i : PROMPT * (i + 1)], ANSWER) for i in range(n)]


async def ask(service: Service, wanted: Sequence[Wanted]) -> Felt:
    start = time.perf_counter()

    async def one(request: Wanted) -> tuple[float, list[float]]:
        await asyncio.sleep(request.at - (time.perf_counter() - start))
        came = time.perf_counter()
        options = RequestOptions(max_tokens=request.n_tokens, end_tokens=frozenset())
        answer = service.submit(request.prompt, options)
        times = [time.perf_counter() async for output in answer if isinstance(output, TokenOut)]
        assert len(times) == request.n_tokens
        return came, times

    told = await asyncio.gather(*map(one, wanted))
    gaps = [[1000 * (b - a) for a, b in itertools.pairwise(times)] for _, times in told]
    return Felt(
        [1000 * (times[0] - came) for came, times in told],
        [statistics.mean(each) for each in gaps if each],
        [max(each) for each in gaps if each],
    )


def transfer_row(transfers: TransferSnapshot, alone: float) -> Row:
    """Of 1,000 tokens, beside computing them again."""
    assert transfers.seconds_p50 is not None
    per_thousand = 1000 / (transfers.n_tokens / transfers.n)
    ours = 1000 * transfers.seconds_p50 * per_thousand
    return compare(
        "handing over keys and values of 1,000 tokens", ours, alone * 1000 / PROMPT,
        "first token of such a prompt, nobody else there", "ms", lower_is_better=True, packages=PACKAGES,
    )  # fmt: skip


def felt_rows(apart: Felt, together: Felt) -> list[Row]:
    rows = []
    for what, pick in (
        ("to the first token", "to_first"),
        ("between two tokens", "between"),
        ("longest pause of an answer", "longest_gap"),
    ):
        for share in (50, 95):
            mine, other = (percentile(getattr(felt, pick), share) for felt in (apart, together))
            name = f"{what}, p{share}"
            rows.append(
                compare(
                    name,
                    mine,
                    other,
                    "one engine, two threads",
                    "ms",
                    lower_is_better=True,
                    threads=THREADS,
                    packages=PACKAGES,
                )
            )
    return rows


def notes_of(transfers: TransferSnapshot, arguments: argparse.Namespace) -> list[str]:
    each = transfers.n_bytes / transfers.n_tokens
    return [
        f"{arguments.requests} requests, {arguments.rate} a second (Poisson), "
        f"{PROMPT} tokens in, {ANSWER} out",
        f"{transfers.n} caches went over, {each:,.0f} bytes a token, {transfers.n_failed} failed; "
        "the time is from asking for one to having it, while both workers go on computing",
    ]


if __name__ == "__main__":
    main()
