"""An embedding model learns a second language from translations, and keeps the first.

The teacher's vector of an English text is where the student's vectors of both the English text and its
translation are to be: student(zh) ≈ teacher(en) ≈ student(en). Reimers & Gurevych 2020, arXiv:2004.09813.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.retrieval.embedding.batching import length_batches
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.retrieval.embedding.training import EmbeddingStep, random_batches
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.optimizers import clip_by_global_norm
from teachllm.stack.training.parameter_groups import parameter_groups
from teachllm.stack.training.schedules import Schedule, lr_at

Role = Literal["translation", "original"]


@dataclass(frozen=True)
class LanguageTraining:
    """How `learn_language` trains. ValueError names what is out of range.

    original_share: of a batch, texts in the language that the teacher knows, so that it is not lost. lr of
    the embedding is that of the rest times embedding_factor: new pieces have everything to learn. contrast:
    weight of finding the right one among all targets, against that of standing where it stands.
    """

    steps: int
    batch: int = 96
    peak_lr: float = 1e-4
    embedding_factor: float = 10.0
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    original_share: float = 0.25
    contrast: float = 0.3
    temperature: float = 0.05
    most_tokens: int = 128

    def __post_init__(self) -> None:
        above_zero = ("steps", "batch", "peak_lr", "embedding_factor", "clip", "temperature", "most_tokens")
        problems = [
            f"{name} is {getattr(self, name)}; it must be above 0"
            for name in above_zero
            if not getattr(self, name) > 0
        ]
        for name in ("warmup_share", "original_share"):
            if not 0 <= getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}; it is a share, from 0 to below 1")
        if self.contrast < 0:
            problems.append(f"contrast is {self.contrast}; it must not be below 0")
        if problems:
            raise ValueError("this is no training: " + "; ".join(problems))


def learn_language(
    student: EmbeddingModel,
    translations: Sequence[tuple[str, str]],
    targets: Float[Tensor, "pair d"],
    config: LanguageTraining,
    seed: int = 0,
) -> Iterator[EmbeddingStep]:
    """Steps that pull the student's vectors to `targets`; changes its weights.

    translations: (new language, known language). targets: the teacher's vectors of the second, of length 1.
    ValueError for fewer pairs than a batch.
    """
    if len(translations) < config.batch:
        raise ValueError(f"{len(translations)} pairs do not fill a batch of {config.batch}; give more")
    encoder = student.encoder.train()
    groups = parameter_groups(encoder, config.weight_decay)
    optimizer = AdamW(groups, lr=config.peak_lr, betas=(0.9, 0.99))
    warmup = round(config.warmup_share * config.steps)
    schedule = Schedule("linear", config.peak_lr, config.steps, warmup_steps=warmup)
    generator = torch.Generator().manual_seed(seed)
    batches = random_batches(len(translations), config.batch, generator)
    # Two texts that are translated alike have one target: they are no negatives of each other.
    places: dict[str, int] = {}
    own = torch.tensor([places.setdefault(known, len(places)) for _, known in translations])
    distinct = torch.empty(len(places), targets.shape[1])
    distinct[own] = targets
    try:
        for step in range(1, config.steps + 1):
            begun = time.perf_counter()
            rate = lr_at(step - 1, schedule)
            for group in optimizer.param_groups:
                group["lr"] = rate * (config.embedding_factor if group["kind"] == "embeddings" else 1.0)
            rows = next(batches)
            known = torch.rand(len(rows), generator=generator) < config.original_share
            texts = [translations[row][int(use)] for row, use in zip(rows, known.tolist(), strict=True)]
            loss = language_loss(vectors_of(student, texts, config.most_tokens), distinct, own[rows], config)
            loss.backward()
            gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
            norm = clip_by_global_norm(gradients, config.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield EmbeddingStep(step, float(loss.detach()), rate, float(norm), time.perf_counter() - begun)
    finally:
        encoder.eval()


def language_loss(
    vectors: Float[Tensor, "text d"],
    targets: Float[Tensor, "target d"],
    own: Int[Tensor, " text"],
    config: LanguageTraining,
) -> Float[Tensor, ""]:
    """Mean of ‖v − t‖² / 2 = 1 − cos(v, t), and contrast · −log softmax of the own target among all.

    The targets do not change, so that all of them are candidates, at the price of one product.
    """
    apart = (1 - (vectors * targets[own]).sum(1)).mean()
    return apart + config.contrast * F.cross_entropy(vectors @ targets.T / config.temperature, own)


def vectors_of(model: EmbeddingModel, texts: Sequence[str], most_tokens: int) -> Float[Tensor, "text d"]:
    """With gradients, in the order of the texts."""
    tokens = [model.truncated(model.tokens_of(text), most_tokens) for text in texts]
    order = length_batches([len(one) for one in tokens], sum(map(len, tokens)) + most_tokens * len(tokens))
    flat = [i for piece in order for i in piece]
    found = model.vectors(
        torch.tensor([token for i in flat for token in tokens[i]]), [len(tokens[i]) for i in flat]
    )
    return found[torch.tensor(flat).argsort()]
