"""Training Medusa's heads on a model that stays as it is (Medusa-1), and measuring how often they are right.

The backbone is read once; only the heads learn, so this takes minutes. The best text to train on is what the
model writes itself: the heads are to guess the model, not the world.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.data.packing import IGNORED
from teachllm.stack.inference.generation import CausalModel
from teachllm.stack.inference.speculation.medusa import MedusaHeads
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.loss import chunked_cross_entropy

DISCOUNT = 0.8


def head_targets(tokens: Int[Tensor, "row position"], head: int) -> Int[Tensor, "row position"]:
    """What head `head` (from 1) is to say at each position: the token head + 1 places further on.

    The model's own head says the next one. `IGNORED` where the row has ended.

    >>> head_targets(torch.tensor([[5, 6, 7, 8]]), head=1).tolist()
    [[7, 8, -100, -100]]
    """
    targets = torch.full_like(tokens, IGNORED)
    if head + 1 < tokens.shape[1]:
        targets[:, : -(head + 1)] = tokens[:, head + 1 :]
    return targets


def medusa_loss(
    heads: MedusaHeads,
    features: Float[Tensor, "row position d_model"],
    tokens: Int[Tensor, "row position"],
    head_weight: Float[Tensor, "vocab d_model"],
    discount: float = DISCOUNT,
) -> Float[Tensor, ""]:
    """Σ_k discount^k · (cross-entropy of head k): the far heads guess worse, and must not drown the others.

    features: what the model's own head reads. Cai et al. 2024, arXiv:2401.10774, equation 1.
    """
    guesses = heads(features)
    losses = [
        discount**k * chunked_cross_entropy(guesses[:, :, k - 1], head_weight, head_targets(tokens, k))
        for k in range(1, heads.n_heads + 1)
    ]
    return torch.stack(losses).sum()


@dataclass(frozen=True, slots=True)
class HeadsStep:
    """One step of the training. loss: of a batch, before the step."""

    step: int
    of: int
    loss: float


def train_medusa(
    model: CausalModel,
    heads: MedusaHeads,
    rows: Int[Tensor, "row position"],
    *,
    steps: int,
    rows_a_step: int = 4,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> Iterator[HeadsStep]:
    """Train `heads`, in place and in float32, on the features that `model` has of `rows`; the model stays.

    The rate rises over a tenth of the steps and then falls to 0 in a line. ValueError if rows are too short
    for the last head, or there is nothing to do.
    """
    if steps < 1 or rows_a_step < 1 or len(rows) < 1:
        raise ValueError(f"{steps} steps of {rows_a_step} of {len(rows)} rows: each must be at least 1")
    if rows.shape[1] < heads.n_heads + 2:
        raise ValueError(
            f"rows of {rows.shape[1]} tokens have no target for head {heads.n_heads}: "
            f"give at least {heads.n_heads + 2}"
        )
    return _train(model, heads, rows, steps, rows_a_step, learning_rate, seed)


def _train(
    model: CausalModel,
    heads: MedusaHeads,
    rows: Tensor,
    steps: int,
    rows_a_step: int,
    learning_rate: float,
    seed: int,
) -> Iterator[HeadsStep]:
    weight = model.head.weight
    assert isinstance(weight, Tensor)
    weight = weight.detach().float()
    generator = torch.Generator().manual_seed(seed)
    optimizer = AdamW(heads.parameters(), weight_decay=0.0)
    order = torch.empty(0, dtype=torch.long)
    warmup = max(1, steps // 10)
    for step in range(steps):
        while len(order) < rows_a_step:
            order = torch.cat([order, torch.randperm(len(rows), generator=generator)])
        batch, order = rows[order[:rows_a_step]].to(weight.device), order[rows_a_step:]
        with torch.no_grad():
            features = model.features(batch)
        rate = min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        loss = medusa_loss(heads, features.float(), batch, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield HeadsStep(step + 1, steps, float(loss.detach()))


@torch.inference_mode()
def head_accuracies(
    model: CausalModel, heads: MedusaHeads, rows: Int[Tensor, "row position"], ranks: int
) -> list[list[float]]:
    """How often the guess of each rank is right: [head][rank], for `sparse_shape`."""
    hits = torch.zeros(heads.n_heads, ranks, dtype=torch.long)
    counted = torch.zeros(heads.n_heads, dtype=torch.long)
    for row in rows:
        tokens = row[None].to(next(model.parameters()).device)
        features = heads(model.features(tokens)[0])
        for k in range(1, heads.n_heads + 1):
            targets = head_targets(tokens, k)[0]
            known = targets != IGNORED
            guesses = model.head(features[known, k - 1]).float().topk(ranks, dim=-1).indices
            hits[k - 1] += (guesses == targets[known, None]).sum(0).cpu()
            counted[k - 1] += int(known.sum())
    return (hits / counted.clamp(min=1)[:, None]).tolist()


def rows_of(tokens: Sequence[int], length: int) -> Int[Tensor, "row position"]:
    """Whole rows of `length` tokens; what is left over at the end is dropped. ValueError if there is none."""
    n_rows = len(tokens) // length
    if n_rows < 1:
        raise ValueError(f"{len(tokens)} tokens make no row of {length}; give more text")
    return torch.tensor(tokens[: n_rows * length]).view(n_rows, length)
