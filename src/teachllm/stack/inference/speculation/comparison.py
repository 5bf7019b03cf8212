"""How much faster texts are written with heads than without, by writing them both ways."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from teachllm.stack.inference.generation import CausalModel, generate_tokens
from teachllm.stack.inference.speculation.generate import Tally, tokens_of
from teachllm.stack.inference.speculation.medusa import MedusaHeads, medusa_steps
from teachllm.stack.inference.speculation.tree_shape import TreeShape


@dataclass(frozen=True)
class Comparison:
    """Greedy texts, with the heads and without. same: how many of `n_texts` are equal token by token; in few
    bits they need not be, since a pass over several tokens adds in another order.
    """

    plain_seconds: float
    medusa_seconds: float
    tally: Tally
    same: int
    n_texts: int

    @property
    def speed_up(self) -> float:
        return self.plain_seconds / self.medusa_seconds


def compare(
    model: CausalModel,
    heads: MedusaHeads,
    shape: TreeShape,
    prompts: Sequence[Sequence[int]],
    n_tokens: int = 64,
    runs: int = 3,
) -> Comparison:
    """Write `n_tokens` behind each of `prompts` in both ways, in turn, and take the fastest run of each.

    Prompts are read in both; end tokens are written like others.
    """
    plain_times, medusa_times = [], []
    tally, same = Tally(), 0
    for _ in range(runs):
        begun = time.perf_counter()
        expected = [list(generate_tokens(model, prompt, max_tokens=n_tokens)) for prompt in prompts]
        between = time.perf_counter()
        tally = Tally()
        written = [
            list(tokens_of(medusa_steps(model, heads, prompt, shape, max_tokens=n_tokens), tally))
            for prompt in prompts
        ]
        medusa_times.append(time.perf_counter() - between)
        plain_times.append(between - begun)
        same = sum(one == other for one, other in zip(expected, written, strict=True))
    return Comparison(min(plain_times), min(medusa_times), tally, same, len(prompts))
