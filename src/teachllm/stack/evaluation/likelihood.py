"""How probable a model finds a text that is given: the measure behind multiple choice and perplexity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from jaxtyping import Int
from torch import Tensor

from teachllm.stack.inference.generation import GenerativeConfig
from teachllm.stack.inference.language_model import LanguageModel

BATCH_TOKENS = 4096  # that one forward pass reads at most, padding included
HEAD_ROWS = 512  # positions whose logits are held at a time

Progress = Callable[[int, int], object]
"""Called with what is done and what there is; what it raises stops the work."""


class ScoringModel(Protocol):
    """Any model of the stack."""

    head: torch.nn.Linear

    @property
    def config(self) -> GenerativeConfig: ...

    def features(self, tokens: Int[Tensor, "batch length"]) -> Tensor:
        """What the head reads, (batch, length, d_model)."""
        ...

    def parameters(self) -> Iterator[Tensor]: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """What is given and what is scored, in tokens. ValueError if either is empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.context or not self.continuation:
            raise ValueError(
                f"a context of {len(self.context)} tokens and a continuation of {len(self.continuation)}: a "
                "likelihood needs at least one of each; put the token that begins a text before an empty one"
            )


@dataclass(frozen=True, slots=True)
class Likelihood:
    """log p(continuation | context) in nats, and whether greedy decoding would have written it."""

    logprob: float
    is_greedy: bool


@torch.inference_mode()
def likelihoods(
    model: ScoringModel, pairs: Sequence[Pair], on_progress: Progress | None = None
) -> list[Likelihood]:
    """Σ log p(token | everything before it) over the tokens of each continuation, in the order of `pairs`.

    A pair that is longer than the model's context loses the beginning of its context.
    ValueError if a continuation alone does not fit.
    """
    room = model.config.context_length
    if too_long := [len(pair.continuation) for pair in pairs if len(pair.continuation) > room]:
        raise ValueError(
            f"a continuation of {max(too_long)} tokens cannot be scored at once by a model that "
            f"reads {room}; cut it into windows (see `windows`)"
        )
    # Neighbours of like length waste little padding; the longest first: memory fails at once or never.
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].context) + len(pairs[i].continuation))[::-1]
    found: dict[int, Likelihood] = {}
    for batch in _batches(order, [min(len(p.context) + len(p.continuation) - 1, room) for p in pairs]):
        found.update(zip(batch, _score(model, [pairs[i] for i in batch]), strict=True))
        if on_progress is not None:
            on_progress(len(found), len(pairs))
    return [found[i] for i in range(len(pairs))]


def _batches(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _score(model: ScoringModel, pairs: Sequence[Pair]) -> list[Likelihood]:
    device = next(model.parameters()).device
    # The last token is predicted and never read. Padding stands behind what counts, where no token sees it.
    read = [(*pair.context, *pair.continuation)[:-1][-model.config.context_length :] for pair in pairs]
    tokens = torch.zeros(len(pairs), max(map(len, read)), dtype=torch.long, device=device)
    for row, ids in zip(tokens, read, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    features = model.features(tokens)
    counts = [len(pair.continuation) for pair in pairs]
    scored = torch.cat(
        [row[len(ids) - n : len(ids)] for row, ids, n in zip(features, read, counts, strict=True)]
    )
    targets = torch.tensor([token for pair in pairs for token in pair.continuation], device=device)
    logprobs, is_greedy = [], []
    for rows, wanted in zip(scored.split(HEAD_ROWS), targets.split(HEAD_ROWS), strict=True):
        logits = model.head(rows).float()
        logprobs.append(logits.log_softmax(-1).gather(-1, wanted[:, None])[:, 0].double())
        is_greedy.append(logits.argmax(-1) == wanted)
    return [
        Likelihood(float(some.sum()), bool(greedy.all()))
        for some, greedy in zip(
            torch.cat(logprobs).split(counts), torch.cat(is_greedy).split(counts), strict=True
        )
    ]


def scoring(language_model: LanguageModel) -> ScoringModel:
    """The model, which for scoring must also show what its head reads."""
    return cast(ScoringModel, language_model.model)


# Text to tokens ----------------------------------------------------------------------------------------


def encode_pair(language_model: LanguageModel, context: str, continuation: str) -> Pair:
    """Tokens of both, cut where they are one text: "the cat" is scored as the model would have read it.

    Spaces at the end of the context belong to the continuation, since a token begins with its space. An
    empty context becomes the token that begins a text.
    """
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    if not bare:
        return Pair((begin_token(language_model),), tuple(language_model.tokenizer.encode(continuation)))
    given = language_model.encode_text(bare)
    whole = language_model.encode_text(bare + continuation)
    return Pair(tuple(given), tuple(whole[len(given) :]))


def begin_token(language_model: LanguageModel) -> int:
    """The token that stands before a text: the one that begins it, else the one that ends the text before."""
    if language_model.begin_tokens:
        return language_model.begin_tokens[0]
    end_of_text = language_model.tokenizer.special_tokens.get("<|endoftext|>")
    if end_of_text is not None:
        return end_of_text
    if language_model.end_tokens:
        return min(language_model.end_tokens)
    raise ValueError(
        f"{language_model.name} has no token that begins or ends a text, so the first one of a text cannot "
        "be scored; give the tokenizer one (such as <|endoftext|>)"
    )


def windows(tokens: Sequence[int], begin: int, length: int) -> Iterator[Pair]:
    """A long text in pieces of at most `length` tokens that a model can score: every token exactly once.

    The first piece follows `begin`; each later one as many of the tokens before it as the model's `length`
    has room for, which is a single one unless the piece is the short last one.
    """
    for start in range(0, len(tokens), length):
        piece = tokens[start : start + length]
        room = length + 1 - len(piece)
        yield Pair(tuple(tokens[start - room : start]) if start else (begin,), tuple(piece))
