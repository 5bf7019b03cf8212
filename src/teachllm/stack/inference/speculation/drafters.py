"""Who guesses: a search in the text itself, a smaller model, or the first layers of the model itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from teachllm.stack.inference.fused_llama import FusedLlama
from teachllm.stack.inference.generation import STEP, CausalModel
from teachllm.stack.inference.sampling import Sampling, choose_token, distribution, draw
from teachllm.stack.models.llama import Llama
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.tokenizer import Vocabulary


@dataclass(frozen=True)
class Draft:
    """Guessed tokens, and the distribution that each was drawn from; None if no chance was involved."""

    tokens: list[int]
    probabilities: Float[Tensor, "drafted vocab"] | None = None


class Drafter(Protocol):
    """Guesses how a text goes on. It may guess fewer tokens than asked, or none."""

    def start(self, longest: int) -> None:
        """A new text begins; with what is drafted, it will have at most `longest` tokens."""
        ...

    def draft(
        self, text: Int[Tensor, " length"], k: int, sampling: Sampling, generator: torch.Generator
    ) -> Draft:
        """At most `k` tokens behind `text`, which is what was kept so far: the drafter forgets the rest."""
        ...


class NgramDrafter:
    """Copies what stood behind the last tokens where they stood before: in texts that repeat their prompt.

    A match has at most `longest` tokens; if there is none, one fewer, down to `shortest`. Of several matches
    the latest counts. Matches of a single token are mostly chance, and verifying their guesses is not free.
    Costs no model. Saxena 2023, "Prompt lookup decoding"; Yang et al. 2023, arXiv:2304.04487.
    """

    def __init__(self, longest: int = 3, shortest: int = 2) -> None:
        if not 1 <= shortest <= longest:
            raise ValueError(
                f"shortest is {shortest} and longest {longest}; a match has at least 1 token, and longest is "
                "not below shortest"
            )
        self.longest, self.shortest = longest, shortest

    def start(self, longest: int) -> None:
        """Nothing is kept between texts."""

    def draft(
        self, text: Int[Tensor, " length"], k: int, sampling: Sampling, generator: torch.Generator
    ) -> Draft:
        start = continuation_of_ngram(text, self.longest, self.shortest)
        if start is None:
            return Draft([])
        copied = text[start : start + k].tolist()
        # A match that overlaps the end is a text that repeats itself: go round once more.
        return Draft([copied[place % len(copied)] for place in range(k)])


def continuation_of_ngram(text: Int[Tensor, " length"], longest: int, shortest: int) -> int | None:
    """Where the text goes on behind the latest earlier place of its last `longest` tokens, or of fewer.

    None if not even the last `shortest` tokens stood anywhere before.

    >>> continuation_of_ngram(torch.tensor([5, 6, 7, 8, 9, 5, 6]), longest=3, shortest=2)
    2
    """
    for n in range(min(longest, len(text) - 1), shortest - 1, -1):
        windows = text[:-1].unfold(0, n, 1)
        places = (windows == text[-n:]).all(-1).nonzero()
        if len(places):
            return int(places[-1]) + n
    return None


class ModelDrafter:
    """A model that writes the draft token by token, with a KV cache of its own.

    It must have the target's vocabulary, token for token; see `check_vocabulary`.
    """

    def __init__(self, model: CausalModel) -> None:
        self.model = model
        self._cache: KVCache | None = None
        self._read = torch.zeros(0, dtype=torch.long)

    def start(self, longest: int) -> None:
        weights = next(self.model.parameters())
        config = self.model.config
        self._cache = KVCache.for_model(config, longest, dtype=weights.dtype, device=weights.device)
        self._read = torch.zeros(0, dtype=torch.long, device=weights.device)

    @torch.inference_mode()
    def draft(
        self, text: Int[Tensor, " length"], k: int, sampling: Sampling, generator: torch.Generator
    ) -> Draft:
        cache = self._cache
        if cache is None:
            raise ValueError("nothing was started; call start() with the length of the text first")
        k = min(k, cache.capacity - len(text) + 1, self.model.config.context_length - len(text) + 1)
        if k < 1:
            return Draft([])
        cache.truncate(agreeing(self._read, text[:-1]))  # the target may have rejected what was drafted
        tokens: list[int] = []
        rows: list[Tensor] = []
        while len(tokens) < k:
            *before, last = text[cache.length :].split(STEP)
            for part in before:
                self.model.features(part[None], cache)
            logits = self.model(last[None], cache, last_only=True)[0, -1]
            if sampling.temperature == 0:
                tokens.append(choose_token(logits, text, sampling, generator))
            else:
                rows.append(distribution(logits, text, sampling))
                tokens.append(draw(rows[-1], generator))
            text = torch.cat([text, text.new_tensor(tokens[-1:])])
        self._read = text[: cache.length]
        return Draft(tokens, torch.stack(rows) if rows else None)


def agreeing(one: Int[Tensor, " a"], other: Int[Tensor, " b"]) -> int:
    """How many tokens the two have in common from the left."""
    n = min(len(one), len(other))
    return int((one[:n] == other[:n]).long().cumprod(0).sum())


def first_layers(model: Llama, n_layers: int) -> Llama:
    """A model of the first `n_layers` of `model`, then its norm and its head: the same weights, no copy.

    Its steps are fused if those of `model` are; they read weights that are not quantized.

    As a draft this is early exit: self-speculation without another model. It guesses well where the model was
    trained to be read at that depth, as in LayerSkip, Elhoushi et al. 2024, arXiv:2404.16710; others need
    most of their layers. ValueError unless it leaves out at least one layer and keeps one.
    """
    if not 1 <= n_layers < model.config.n_layers:
        raise ValueError(
            f"cannot leave after layer {n_layers}: the model has {model.config.n_layers} layers, "
            "and an early exit comes before the last one"
        )
    with torch.device("meta"):
        shallow = Llama(dataclasses.replace(model.config, n_layers=n_layers))
    shallow.embedding, shallow.norm, shallow.head = model.embedding, model.norm, model.head
    shallow.blocks = nn.ModuleList(model.blocks[:n_layers])
    shallow.rope_cos, shallow.rope_sin = model.rope_cos, model.rope_sin
    return FusedLlama(shallow) if isinstance(model, FusedLlama) else shallow.eval()


def check_vocabulary(target: Vocabulary, draft: Vocabulary) -> None:
    """ValueError unless every id is the same token for both: p and q are compared id by id."""
    ours, theirs = (
        one.tokens | {token_id: text.encode() for text, token_id in one.special_tokens.items()}
        for one in (target, draft)
    )
    different = sorted(one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one))
    if different:
        first = different[0]
        raise ValueError(
            f"{len(different)} tokens differ, the first is {first}: {ours.get(first)} for the target, "
            f"{theirs.get(first)} for the draft. A draft must have the target's vocabulary; draft with the "
            "n-grams of the text, or with the model's own first layers."
        )
