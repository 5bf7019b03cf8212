"""How much of each corpus a training run reads: by weights, but none more often than it bears.

Repeating a corpus up to about four times costs little, beyond that it teaches less and less (Muennighoff et
al. 2023, arXiv:2305.16264). So a weight that asks for more of a small corpus than its cap allows gives what
it cannot use to the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Portion:
    """What a run reads of one corpus."""

    tokens: int
    epochs: float
    """tokens / size of the corpus"""
    share: float
    """tokens / tokens of the run"""
    is_capped: bool
    """Whether the cap holds it below what its weight asks for."""


class NotEnoughText(ValueError):
    """Even with every corpus at its cap there are fewer tokens than the run wants."""


def portions(
    sizes: Mapping[str, int],
    weights: Mapping[str, float],
    total: int,
    max_epochs: Mapping[str, float] | None = None,
) -> dict[str, Portion]:
    """Tokens of each corpus in a run of `total` tokens: in proportion to the weights, at most
    size · max_epochs. What a cap takes away goes to the others in proportion to their weights.

    Weights need not add up to one. Raises `NotEnoughText`, and ValueError for what does not fit together.
    """
    max_epochs = max_epochs or {}
    _check(sizes, weights, total, max_epochs)
    most = {name: int(sizes[name] * max_epochs[name]) for name in weights if name in max_epochs}
    if len(most) == len(weights) and sum(most.values()) < total:
        raise NotEnoughText(
            f"the run wants {total:,} tokens, but the corpora give {sum(most.values()):,} with their caps. "
            "Train on fewer tokens, give more text, or raise max_epochs."
        )
    capped: set[str] = set()
    while True:
        left = total - sum(most[name] for name in capped)
        open_weight = sum(weights[name] for name in weights if name not in capped)
        wanted = {name: left * weights[name] / open_weight for name in weights if name not in capped}
        over = {name for name, amount in wanted.items() if name in most and amount > most[name]}
        if not over:
            break
        capped |= over
        if len(capped) == len(weights):
            wanted, left = {}, 0
            break
    tokens = _whole(wanted, left) | {name: most[name] for name in capped}
    return {
        name: Portion(tokens[name], tokens[name] / sizes[name], tokens[name] / total, name in capped)
        for name in weights
    }


def _whole(amounts: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers near `amounts` that add up to `total`: the largest remainders are rounded up."""
    whole = {name: int(amount) for name, amount in amounts.items()}
    by_remainder = sorted(amounts, key=lambda name: (whole[name] - amounts[name], name))
    for name in by_remainder[: total - sum(whole.values())]:
        whole[name] += 1
    return whole


def _check(
    sizes: Mapping[str, int], weights: Mapping[str, float], total: int, max_epochs: Mapping[str, float]
) -> None:
    problems = []
    if total < 1:
        problems.append(f"a run of {total} tokens")
    if not weights:
        problems.append("no corpus has a weight")
    if missing := sorted(set(weights) - set(sizes)):
        problems.append(f"weights for {', '.join(missing)}, which are not among the corpora")
    if unknown := sorted(set(max_epochs) - set(weights)):
        problems.append(f"max_epochs for {', '.join(unknown)}, which have no weight")
    if bad := [name for name, weight in weights.items() if not weight > 0]:
        problems.append(f"weights must be above 0: {', '.join(bad)}")
    if bad := [name for name, cap in max_epochs.items() if not cap > 0]:
        problems.append(f"max_epochs must be above 0: {', '.join(bad)}")
    if bad := [name for name in weights if sizes.get(name, 1) < 1]:
        problems.append(f"without a token: {', '.join(bad)}")
    if problems:
        raise ValueError("this mixture does not work:\n  " + "\n  ".join(problems))
