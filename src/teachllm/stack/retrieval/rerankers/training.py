"""Training a cross-encoder on queries, their answers, and passages that a search mistook for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.retrieval.embedding.batching import length_batches
from teachllm.stack.retrieval.embedding.training import EmbeddingStep, Pair, optimize, random_batches
from teachllm.stack.retrieval.rerankers.cross_encoder import CrossEncoder
from teachllm.stack.retrieval.rerankers.losses import listwise, pairwise, pointwise
from teachllm.stack.training.schedules import Schedule

Loss = Literal["pointwise", "pairwise", "listwise"]


@dataclass(frozen=True)
class CrossEncoderTraining:
    """How `train_cross_encoder` trains. ValueError names everything that is out of range.

    batch: queries of one step. negatives: of each query, the first so many that it has. piece_tokens: how
    much is computed at once.
    """

    steps: int
    batch: int = 8
    negatives: int = 7
    loss: Loss = "listwise"
    peak_lr: float = 5e-5
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    piece_tokens: int = 8192

    def __post_init__(self) -> None:
        above_zero = ("steps", "batch", "negatives", "peak_lr", "clip", "piece_tokens")
        problems = [
            f"{name} is {getattr(self, name)}; it must be above 0"
            for name in above_zero
            if not getattr(self, name) > 0
        ]
        if self.loss not in ("pointwise", "pairwise", "listwise"):
            problems.append(f"loss is {self.loss!r}; it is pointwise, pairwise or listwise")
        if not 0 <= self.warmup_share <= 1:
            problems.append(f"warmup_share is {self.warmup_share}; it is a share of the steps, 0 to 1")
        if problems:
            raise ValueError("this is no training: " + "; ".join(problems))


def train_cross_encoder(
    model: CrossEncoder, pairs: Sequence[Pair], config: CrossEncoderTraining, seed: int = 0
) -> Iterator[EmbeddingStep]:
    """Steps on random batches of `pairs`, none drawn twice in a pass over them; changes the weights of
    `model`.

    The caller may stop after any step. ValueError for fewer pairs than a batch, and for a pair with too few
    negatives.
    """
    if len(pairs) < config.batch:
        raise ValueError(
            f"{len(pairs)} pairs do not fill a batch of {config.batch}; give more, or a smaller batch"
        )
    if poor := [pair for pair in pairs if len(pair.negatives) < config.negatives]:
        raise ValueError(
            f"{len(poor)} pairs have fewer than {config.negatives} negatives, such as "
            f"{poor[0].query[:60]!r}; mine more of them"
        )
    warmup = round(config.warmup_share * config.steps)
    schedule = Schedule("linear", config.peak_lr, config.steps, warmup_steps=warmup)
    batches = random_batches(len(pairs), config.batch, torch.Generator().manual_seed(seed))
    yield from optimize(
        model.model,
        schedule,
        lambda: backward(model, [pairs[i] for i in next(batches)], config),
        weight_decay=config.weight_decay,
        clip=config.clip,
    )


def backward(model: CrossEncoder, batch: Sequence[Pair], config: CrossEncoderTraining) -> Float[Tensor, ""]:
    """The loss of a batch, with its gradients added to the parameters.

    A loss mixes only the scores of one query, so a batch that is too large is computed some queries at a
    time.
    """
    per_query = 1 + config.negatives
    lists = []
    for pair in batch:
        query = model.tokenizer.encode(pair.query)
        texts = (pair.passage, *pair.negatives[: config.negatives])
        lists.append([model.encode(query, model.tokenizer.encode(text)) for text in texts])
    total = torch.zeros(())
    for piece in length_batches(
        [sum(len(tokens) for tokens, _ in one) for one in lists], config.piece_tokens
    ):
        scores = _scores(model, [pair for i in piece for pair in lists[i]]).view(len(piece), per_query)
        loss = loss_of(scores[:, 0], scores[:, 1:], config.loss) * (len(piece) / len(batch))
        loss.backward()
        total += loss.detach().cpu()
    return total


def loss_of(
    positive: Float[Tensor, " query"], negatives: Float[Tensor, "query negative"], kind: Loss
) -> Tensor:
    if kind == "pointwise":
        scores = torch.cat([positive[:, None], negatives], dim=1)
        labels = torch.zeros_like(scores)
        labels[:, 0] = 1
        return pointwise(scores.flatten(), labels.flatten())
    return (pairwise if kind == "pairwise" else listwise)(positive, negatives)


def _scores(model: CrossEncoder, encoded: list[tuple[list[int], int]]) -> Float[Tensor, " pair"]:
    """In the order given, but computed sorted by length, so that pairs of one length attend together."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
    scores = model.batch_scores([encoded[i] for i in order])
    return scores[torch.tensor(order, device=scores.device).argsort()]
