"""Contrastive training of an embedding model on pairs of a query and the passage that answers it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from teachllm.stack.retrieval.embedding.batching import length_batches
from teachllm.stack.retrieval.embedding.grad_cache import grad_cache_backward
from teachllm.stack.retrieval.embedding.losses import TEMPERATURE, false_negatives, info_nce, matryoshka
from teachllm.stack.retrieval.embedding.model import EmbeddingModel, Kind
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.optimizers import clip_by_global_norm
from teachllm.stack.training.parameter_groups import parameter_groups
from teachllm.stack.training.schedules import Schedule, lr_at


@dataclass(frozen=True)
class Pair:
    """A query, a passage that answers it, and passages that look as if they did."""

    query: str
    passage: str
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmbeddingTraining:
    """How `train_embedding` trains. ValueError names everything that is out of range.

    batch: pairs of one loss; the others of a batch are each query's negatives. piece_tokens: what the encoder
    keeps at once for the backward pass; a larger batch is computed in pieces (GradCache), with the same
    gradients. false_negative_margin: None keeps every candidate that is not a copy of the positive.
    dimensions: prefixes that must do alone (Matryoshka), none by default.
    """

    steps: int
    batch: int = 64
    peak_lr: float = 5e-5
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    temperature: float = TEMPERATURE
    symmetric: bool = False
    false_negative_margin: float | None = None
    dimensions: tuple[int, ...] = ()
    piece_tokens: int = 8192

    def __post_init__(self) -> None:
        above_zero = ("steps", "batch", "peak_lr", "clip", "temperature", "piece_tokens")
        problems = [
            f"{name} is {getattr(self, name)}; it must be above 0"
            for name in above_zero
            if not getattr(self, name) > 0
        ]
        if not 0 <= self.warmup_share <= 1:
            problems.append(f"warmup_share is {self.warmup_share}; it is a share of the steps, 0 to 1")
        if problems:
            raise ValueError("this is no training: " + "; ".join(problems))


@dataclass(frozen=True)
class EmbeddingStep:
    """What one step did. loss: in nats, that of a random choice among c candidates is ln c."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float


def train_embedding(
    model: EmbeddingModel, pairs: Sequence[Pair], config: EmbeddingTraining, seed: int = 0
) -> Iterator[EmbeddingStep]:
    """Steps on random batches of `pairs`, none drawn twice in a pass over them; changes the weights of
    `model`.

    The caller may stop after any step, and change `pairs` in place between two of them: new hard negatives,
    for one. ValueError for fewer pairs than a batch.
    """
    if len(pairs) < config.batch:
        raise ValueError(
            f"{len(pairs)} pairs do not fill a batch of {config.batch}; give more, or a smaller batch"
        )
    warmup = round(config.warmup_share * config.steps)
    schedule = Schedule("linear", config.peak_lr, config.steps, warmup_steps=warmup)
    batches = random_batches(len(pairs), config.batch, torch.Generator().manual_seed(seed))
    yield from optimize(
        model.encoder,
        schedule,
        lambda: backward(model, [pairs[i] for i in next(batches)], config),
        weight_decay=config.weight_decay,
        clip=config.clip,
    )


def optimize(
    network: nn.Module,
    schedule: Schedule,
    backward: Callable[[], Float[Tensor, ""]],
    *,
    weight_decay: float,
    clip: float,
) -> Iterator[EmbeddingStep]:
    """Steps of AdamW along a schedule. backward: the loss of the next batch, its gradients added to the
    parameters.
    """
    network.train()
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = AdamW(parameter_groups(network, weight_decay), lr=schedule.peak, betas=(0.9, 0.999))
    try:
        for step in range(1, schedule.n_steps + 1):
            begun = time.perf_counter()
            rate = lr_at(step - 1, schedule)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = backward()
            norm = clip_by_global_norm([p.grad for p in parameters if p.grad is not None], clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield EmbeddingStep(step, float(loss), rate, float(norm), time.perf_counter() - begun)
    finally:
        network.eval()


def backward(model: EmbeddingModel, batch: Sequence[Pair], config: EmbeddingTraining) -> Float[Tensor, ""]:
    """The contrastive loss of a batch, with its gradients added to the encoder's parameters."""
    negatives = [text for pair in batch for text in pair.negatives]
    texts: list[tuple[str, Kind]] = [
        *((pair.query, "query") for pair in batch),
        *((pair.passage, "passage") for pair in batch),
        *((text, "passage") for text in negatives),
    ]
    tokens = [model.truncated(model.tokens_of(model.prefixes.get(kind, "") + text)) for text, kind in texts]
    numbers: dict[str, int] = {}
    passages = [numbers.setdefault(text, len(numbers)) for text, kind in texts if kind == "passage"]
    pieces = length_batches([len(one) for one in tokens], config.piece_tokens)
    order = torch.tensor([i for piece in pieces for i in piece]).argsort()
    device = next(model.encoder.parameters()).device

    def encode(piece: list[int]) -> Tensor:
        flat = torch.tensor([token for i in piece for token in tokens[i]], device=device)
        return model.vectors(flat, [len(tokens[i]) for i in piece])

    def loss_of(queries: Tensor, positives: Tensor, others: Tensor) -> Tensor:
        candidates = torch.cat([positives, others])
        margin = (
            2.0 if config.false_negative_margin is None else config.false_negative_margin
        )  # no cosine is so large
        ids = torch.tensor(passages, device=queries.device)
        excluded = false_negatives((queries @ candidates.T).detach(), margin, ids)
        return info_nce(queries, positives, others, config.temperature, excluded, config.symmetric)

    def loss(vectors: Tensor) -> Tensor:
        parts = vectors[order].split([len(batch), len(batch), len(negatives)])
        return matryoshka(loss_of, parts, [*config.dimensions, model.dimension])

    if len(pieces) > 1:
        return grad_cache_backward(encode, pieces, loss)
    total = loss(encode(pieces[0]))
    total.backward()
    return total.detach()


def random_batches(n: int, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Batches of indices below `n`, without end: a new order in every pass, and what does not fill a batch
    left out.
    """
    while True:
        yield from (
            one.tolist() for one in torch.randperm(n, generator=generator)[: n // size * size].split(size)
        )
