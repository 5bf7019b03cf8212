"""Requests that arrive by chance: when, with how long a prompt, asking for how long an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Lengths: TypeAlias = Callable[[np.random.Generator, int], np.ndarray]  # (generator, how many) → tokens


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request: seconds after the beginning, tokens of its prompt and of its answer."""

    time: float
    prompt: int
    output: int

    def __post_init__(self) -> None:
        if not (self.time >= 0 and self.prompt >= 1 and self.output >= 1):
            raise ValueError(
                f"a request at {self.time} s with {self.prompt} tokens that wants {self.output}: the time "
                "must not be negative, and it has at least one token and wants at least one"
            )


def constant(length: int) -> Lengths:
    """Every text has `length` tokens."""
    return lambda generator, n: np.full(n, length)


def lognormal(median: float, spread: float, longest: int) -> Lengths:
    """Half of the texts are shorter than `median`; their logarithm has the standard deviation `spread`.

    From 1 to `longest` tokens. Lengths of prompts and answers of people look like that: most are short, a
    few are very long.
    """

    def draw(generator: np.random.Generator, n: int) -> np.ndarray:
        lengths = np.exp(np.log(median) + spread * generator.standard_normal(n))
        return np.clip(np.rint(lengths), 1, longest).astype(int)

    return draw


def poisson_arrivals(
    rate: float, n: int, prompt: Lengths, output: Lengths, *, seed: int = 0
) -> tuple[Arrival, ...]:
    """`n` requests in n / `rate` seconds, of people who know nothing of each other: any moment is as likely
    as any other for each. That is a Poisson process of `rate` requests a second of which it is known that `n`
    came: gaps are exponential, but no short trace is by chance busier or quieter than was asked for.

    The same seed gives the same people, arriving faster at a higher rate: two rates differ in nothing else.
    ValueError if the rate is not above 0.
    """
    if not rate > 0:
        raise ValueError(f"the rate is {rate}; it must be above 0 requests a second")
    generator = np.random.default_rng(seed)
    times = np.sort(generator.random(n)) * (n / rate)
    prompts, outputs = prompt(generator, n), output(generator, n)
    return tuple(Arrival(float(t), int(p), int(o)) for t, p, o in zip(times, prompts, outputs, strict=True))


def first_tokens_only(arrivals: Sequence[Arrival]) -> tuple[Arrival, ...]:
    """The same requests, each content with its first token."""
    return tuple(Arrival(a.time, a.prompt, 1) for a in arrivals)
