"""What becomes of drafted tokens: the rule that leaves the target's distribution as it is, and what it gains.

p is the distribution of the target, the model whose text is wanted; q that of the draft, which guesses.
Leviathan et al. 2022, arXiv:2211.17192, and Chen et al. 2023, arXiv:2302.01318, whose letters are the other
way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.inference.sampling import token_at


class Verdict(NamedTuple):
    """How many drafted tokens stay, and the token that the target writes behind them."""

    n_accepted: int
    token: int


def verify(
    target: Float[Tensor, "drafted_plus_1 vocab"],
    draft: Float[Tensor, "drafted vocab"],
    drafted: Sequence[int],
    uniform: Float[Tensor, " drafted_plus_1"],
) -> Verdict:
    """Keep drafted tokens from the left, each with probability min(1, p/q), until one is rejected.

    target[i] is p and draft[i] is q at the place of drafted[i], which was drawn from q; a token that was
    chosen without chance has q = 1. The last row of target is p behind all of them. The token behind those
    that stay is drawn from `residual(p, q)` where one was rejected, else from that last row. So each token
    has the distribution p, whatever q is.

    uniform: numbers from [0, 1), which decide: drafted[i] stays if uniform[i] < p/q, and the last one draws
    the token behind, by `token_at`. ValueError if the rows do not fit, or a drafted token has q = 0.
    """
    check_rows(target, draft, drafted)
    places, tokens = torch.arange(len(drafted)), torch.tensor(drafted, dtype=torch.long)
    p, q = target[places, tokens], draft[places, tokens]
    if (q <= 0).any():
        raise ValueError(
            f"the draft gives its own tokens {list(drafted)} q = {q.tolist()}; it drew none of 0"
        )
    stays = uniform[:-1] * q < p  # uniform < p/q, without a division
    n_accepted = int(stays.long().cumprod(0).sum())  # what stands behind a rejected token is void
    behind = target[n_accepted]
    if n_accepted < len(drafted):
        behind = residual(behind, draft[n_accepted])
    return Verdict(n_accepted, token_at(behind, uniform[-1]))


def residual(p: Float[Tensor, " vocab"], q: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
    """max(0, p - q), made to add up to 1: what p has and the accepted part of q does not give.

    p itself where nothing is left: then the two are equal but for rounding.
    """
    missing = (p - q).clamp(min=0)
    total = missing.sum()
    return missing / total if total > 0 else p


def verify_greedy(best: Sequence[int], drafted: Sequence[int]) -> Verdict:
    """`verify` at temperature 0: keep drafted tokens as long as each is the target's most probable one.

    best[i] is the most probable token at the place of drafted[i], the last one behind all of them.
    """
    n_accepted = 0
    while n_accepted < len(drafted) and drafted[n_accepted] == best[n_accepted]:
        n_accepted += 1
    return Verdict(n_accepted, best[n_accepted])


def check_rows(target: Tensor, draft: Tensor, drafted: Sequence[int]) -> None:
    """ValueError unless every drafted token has a row of both, the target one more, and rows are as long."""
    n = len(drafted)
    if len(draft) != n or len(target) != n + 1 or draft.shape[-1] != target.shape[-1]:
        raise ValueError(
            f"{n} tokens were drafted; the target's rows are {tuple(target.shape)} and the draft's "
            f"{tuple(draft.shape)}; there must be {n + 1} and {n} of them, of one vocabulary"
        )


# What it gains -----------------------------------------------------------------------------------------


def acceptance_rate(
    p: Float[Tensor, "*batch vocab"], q: Float[Tensor, "*batch vocab"]
) -> Float[Tensor, "*batch"]:
    """α = Σ min(p, q) = 1 - TV(p, q): the probability that a token drawn from q is accepted.

    TV, the total variation distance, is Σ |p - q| / 2. Leviathan et al. 2022, corollary 3.6.
    """
    return torch.minimum(p, q).sum(-1)


def expected_tokens(alpha: float, k: int) -> float:
    """(1 - α^(k+1)) / (1 - α): tokens that a pass of the target gives on average, its own included.

    If each of the k drafted tokens is accepted with probability α, whatever happened to the others; real
    texts have easy and hard stretches. ValueError if α or k is out of range. Leviathan et al. 2022,
    equation 1.
    """
    if not 0 <= alpha <= 1 or k < 0:
        raise ValueError(f"alpha is {alpha} and k is {k}; alpha must be from 0 to 1, k at least 0")
    return sum(alpha**place for place in range(k + 1))


def speed_up(alpha: float, k: int, draft_cost: float, verify_cost: float = 1.0) -> float:
    """`expected_tokens` / (k · draft_cost + verify_cost): times as many tokens in the same time.

    draft_cost: time of one drafted token; verify_cost: time of the target's pass over k + 1 tokens. The unit
    of both is the target's pass over one token. The papers take verify_cost as 1, which is true as long as
    reading the weights takes longer than calculating with them. Leviathan et al. 2022, theorem 3.8.
    """
    if draft_cost < 0 or verify_cost <= 0:
        raise ValueError(
            f"draft_cost is {draft_cost} and verify_cost {verify_cost}; the first must be at least 0, "
            "the second above 0"
        )
    return expected_tokens(alpha, k) / (k * draft_cost + verify_cost)


def best_k(alpha: float, draft_cost: float, longest: int = 16) -> int:
    """How many tokens to draft, from 0 to `longest`, for the largest `speed_up`; 0 if none is above 1."""
    return max(range(longest + 1), key=lambda k: speed_up(alpha, k, draft_cost))


def point_masses(tokens: Int[Tensor, " drafted"], vocab_size: int) -> Float[Tensor, "drafted vocab"]:
    """The distributions of tokens that were chosen without chance: 1 for each, 0 elsewhere."""
    return torch.nn.functional.one_hot(tokens, vocab_size).float()
