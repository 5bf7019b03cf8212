"""Training Medusa's heads on a model that stays as it is (Medusa-1), and measuring how often they are right.

The model reads each text once; what its head reads there is kept, and only the small heads learn from it, so
this takes minutes. The best text to train on is what the model writes itself: the heads are to guess the
model, not the world.
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
MEASURED_AT_ONCE = 256  # positions, of which all logits are held


@dataclass(frozen=True)
class HeadData:
    """What heads learn from, a row for each position of a text.

    features: what the model's own head reads there, in the dtype of the model. targets[:, k - 1]: what head k
    is to say, `IGNORED` where the text has ended before.
    """

    features: Float[Tensor, "position d_model"]
    targets: Int[Tensor, "position heads"]

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def join(cls, parts: Sequence[HeadData]) -> HeadData:
        """The positions of all `parts`. ValueError if there is none."""
        if not any(map(len, parts)):
            raise ValueError(f"{len(parts)} texts without a position that has a target; give longer text")
        features = torch.cat([part.features for part in parts])
        return cls(features, torch.cat([part.targets for part in parts]))


def head_targets(tokens: Int[Tensor, " position"], n_heads: int) -> Int[Tensor, "position heads"]:
    """What head k (from 1) is to say at each position: the token k + 1 places further on.

    The model's own head says the next one. `IGNORED` where the text has ended.

    >>> head_targets(torch.tensor([5, 6, 7, 8]), n_heads=2).tolist()
    [[7, 8], [8, -100], [-100, -100], [-100, -100]]
    """
    targets = torch.full((len(tokens), n_heads), IGNORED, device=tokens.device)
    for k in range(1, n_heads + 1):
        if k + 1 < len(tokens):
            targets[: -(k + 1), k - 1] = tokens[k + 1 :]
    return targets


@torch.no_grad()
def head_data(model: CausalModel, text: Sequence[int], n_heads: int, n_prompt: int = 1) -> HeadData:
    """From one text that begins with a prompt of `n_prompt` tokens: only what stands behind it is learned.

    Positions where even the first head has nothing to say are left out. ValueError if n_prompt is below 1.
    """
    if n_prompt < 1:
        raise ValueError(f"n_prompt is {n_prompt}; a text begins with at least one token that is given")
    tokens = torch.tensor(text, device=next(model.parameters()).device)
    positions = slice(n_prompt - 1, max(n_prompt - 1, len(text) - 2))
    return HeadData(model.features(tokens[None])[0, positions], head_targets(tokens, n_heads)[positions])


def medusa_loss(
    heads: MedusaHeads,
    data: HeadData,
    head_weight: Float[Tensor, "vocab d_model"],
    discount: float = DISCOUNT,
) -> Float[Tensor, ""]:
    """Σ_k discount^k · (cross-entropy of head k): the far heads guess worse, and must not drown the others.

    head_weight: of the model's own head, which all share; products are in its dtype. A head that has no
    target in `data` does not count. Cai et al. 2024, arXiv:2401.10774, equation 1.
    """
    guesses = heads(data.features.float()).to(head_weight.dtype)
    losses = [
        discount**k * chunked_cross_entropy(guesses[:, k - 1], head_weight, data.targets[:, k - 1])
        for k in range(1, heads.n_heads + 1)
        if (data.targets[:, k - 1] != IGNORED).any()
    ]
    return torch.stack(losses).sum()


@dataclass(frozen=True, slots=True)
class HeadsStep:
    """One step of the training. loss: of a batch, before the step."""

    step: int
    of: int
    loss: float


def train_medusa(
    heads: MedusaHeads,
    data: HeadData,
    head_weight: Float[Tensor, "vocab d_model"],
    *,
    steps: int,
    positions_a_step: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> Iterator[HeadsStep]:
    """Train `heads` in place; the model stays. Positions come in an order drawn by `seed`, each once before
    any comes again.

    The rate rises over a tenth of the steps and then falls to 0 in a line. ValueError if there is nothing to
    do, or the data is for another number of heads.
    """
    if min(steps, positions_a_step, len(data)) < 1:
        raise ValueError(f"{steps} steps of {positions_a_step} of {len(data)} positions: at least 1 of each")
    if data.targets.shape[1] != heads.n_heads:
        raise ValueError(f"{heads.n_heads} heads, but targets for {data.targets.shape[1]}: make new data")
    return _train(heads, data, head_weight.detach(), steps, positions_a_step, learning_rate, seed)


def _train(
    heads: MedusaHeads,
    data: HeadData,
    head_weight: Tensor,
    steps: int,
    positions_a_step: int,
    learning_rate: float,
    seed: int,
) -> Iterator[HeadsStep]:
    generator = torch.Generator().manual_seed(seed)
    optimizer = AdamW(heads.parameters(), weight_decay=0.0)
    order = torch.empty(0, dtype=torch.long)
    warmup = max(1, steps // 10)
    for step in range(steps):
        while len(order) < positions_a_step:
            order = torch.cat([order, torch.randperm(len(data), generator=generator)])
        chosen, order = order[:positions_a_step].to(data.features.device), order[positions_a_step:]
        rate = min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        loss = medusa_loss(heads, HeadData(data.features[chosen], data.targets[chosen]), head_weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield HeadsStep(step + 1, steps, float(loss.detach()))


@torch.inference_mode()
def head_accuracies(
    heads: MedusaHeads, data: HeadData, head_weight: Float[Tensor, "vocab d_model"], ranks: int
) -> list[list[float]]:
    """How often the guess of each rank is right: [head][rank], for `sparse_shape`."""
    hits = torch.zeros(heads.n_heads, ranks, dtype=torch.long)
    for start in range(0, len(data), MEASURED_AT_ONCE):
        rows = slice(start, start + MEASURED_AT_ONCE)
        features = heads(data.features[rows].float()).to(head_weight.dtype)
        guesses = (features @ head_weight.T).float().topk(ranks, dim=-1).indices
        hits += (guesses == data.targets[rows, :, None]).sum(0).cpu()
    counted = (data.targets != IGNORED).sum(0).cpu()
    return (hits.double() / counted.clamp(min=1)[:, None]).tolist()
