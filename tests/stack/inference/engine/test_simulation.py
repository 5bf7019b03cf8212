"""Thousands of requests that come, are cancelled, lose their memory and fail: none is lost, nor any block."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from teachllm.stack.inference import Sampling
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import BeamSearch, Constraint, RequestOptions
from teachllm.stack.inference.language_model import LanguageModel

MEMORY, NUMERICS = 60, 61  # tokens that make the model fail
FAILURES = {MEMORY: "memory", NUMERICS: "numerics"}
PREFIXES = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [11, 12, 13, 14], [], [21, 22, 23, 24, 25]]
ENDINGS = [[2], [3, 1], [4, 4, 2]]
KINDS = [
    RequestOptions(max_tokens=9),
    RequestOptions(Sampling(temperature=1.0, seed=1), 12),
    RequestOptions(Sampling(temperature=0.8, top_k=9, repetition_penalty=1.2, seed=2), 7, n=3),
    RequestOptions(Sampling(temperature=1.2, top_p=0.7, seed=3), 10, logprobs=2),
    RequestOptions(Sampling(temperature=1.0, seed=4), 6, n=2, best_of=4),
    RequestOptions(max_tokens=8, n=2, beam=BeamSearch(3)),
    RequestOptions(Sampling(temperature=1.0, seed=5), 20, stop=("\x05", "\x11\x12")),
    RequestOptions(Sampling(temperature=1.0, seed=6), 16, constraint=Constraint.regex("[\\x01-\\x09]{2,5}")),
]


@dataclass(frozen=True)
class Asked:
    prompt: tuple[int, ...]
    kind: int

    @property
    def failure(self) -> str | None:
        """The first of these tokens decides; a prompt has at most one."""
        return next((FAILURES[token] for token in self.prompt if token in FAILURES), None)


def some_request(rng: random.Random) -> Asked:
    prompt = [*rng.choice(PREFIXES), *rng.choice(ENDINGS)]
    if rng.random() < 0.03:
        prompt.insert(rng.randrange(len(prompt)), rng.choice((MEMORY, NUMERICS)))
    return Asked(tuple(prompt), rng.randrange(len(KINDS)))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("seed", "config"),
    [
        (0, {"n_blocks": 30, "max_batch_tokens": 24, "max_running": 12}),
        (1, {"n_blocks": 24, "max_batch_tokens": 16, "max_running": 16, "prefix_caching": False}),
        (2, {"n_blocks": 90, "block_size": 2, "max_batch_tokens": 64, "max_running": 40}),
    ],
)
def test_no_request_and_no_block_is_lost_and_all_texts_are_those_of_one_alone(
    make_engine: Callable[..., Engine], run, make_told, mean_model: LanguageModel, seed: int, config
) -> None:
    rng = random.Random(seed)
    engine = make_engine(mean_model, **config)
    roomy = make_engine(mean_model, n_blocks=100, prefix_caching=False)
    alone: dict[Asked, dict[int, tuple[str, list[int], str]]] = {}
    asked: dict[str, Asked] = {}
    cancelled: set[str] = set()
    told = defaultdict(make_told)
    n_requests = 700
    while len(asked) < n_requests or engine.has_work:
        n_open = len(asked) - sum(one.is_over for one in told.values())
        for _ in range(min(rng.choice((0, 0, 1, 2, 6)), 60 - n_open, n_requests - len(asked))):
            one = some_request(rng)
            options = KINDS[one.kind]
            name = engine.add(one.prompt, replace(options, priority=rng.choice((0, 0, 0, 1, -1))))
            asked[name] = one
            if rng.random() < 0.01:
                cancelled.add(name)
                assert engine.cancel(name)
        if asked and rng.random() < 0.05:
            name = rng.choice(list(asked))
            if engine.cancel(name):
                cancelled.add(name)
        for output in engine.step():
            told[output.request].take(output)
        engine.check_integrity()

    assert set(told) == set(asked)
    assert set(engine.snapshot().blocks) <= {"unused", "cached"}
    ends: Counter[str] = Counter()
    for name, one in asked.items():
        this = told[name]
        if this.failed is not None:
            assert this.failed.kind == one.failure
            ends["failed"] += 1
            continue
        assert len(this.ends) == KINDS[one.kind].n
        ends.update(this.reasons)
        if name in cancelled:
            continue
        assert one.failure is None
        if one not in alone:
            single = roomy.add(one.prompt, KINDS[one.kind])
            alone[one] = as_values(run(roomy)[single])
        assert as_values(this) == alone[one], (name, one)
    assert engine.snapshot().requests_cancelled == len(cancelled)
    assert min(ends[kind] for kind in ("stop", "length", "failed", "cancelled")) > 10
    assert engine.snapshot().preemptions > 20


def as_values(told) -> dict[int, tuple[str, list[int], str]]:
    return {i: (told.texts[i], told.tokens[i], end.reason) for i, end in told.ends.items()}
