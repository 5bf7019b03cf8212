"""The static batch: several prompts begin together, and the batch is over when the slowest answer is.

It is what most libraries do when they are given a list of prompts, and what continuous batching is measured
against: rows that have finished go on being computed, and no other request can take their place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.inference.generation import CausalModel, tokens_to_write
from teachllm.stack.inference.padding import PADDING, RowsCache, gather_last, left_pad
from teachllm.stack.inference.sampling import Sampling, choose_token
from teachllm.stack.nn.kv_cache import KVCache


@dataclass(frozen=True)
class StaticBatch:
    """answers: the tokens of each, without the end token. computed: tokens that went through the model,
    padding and rows that had finished included. needed: those of prompts and answers, each once.
    """

    answers: list[list[int]]
    computed: int
    needed: int

    @property
    def wasted(self) -> float:
        """The share of what was computed that nobody needed."""
        return 1 - self.needed / self.computed


def static_batch_generate(
    model: CausalModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int | Sequence[int],
    end_tokens: Collection[int] = (),
    sampling: Sampling | None = None,
) -> StaticBatch:
    """The answers to `prompts`, each as if it had been alone. See `static_batch_steps`."""
    answers: list[list[int]] = [[] for _ in prompts]
    steps = 0
    ended = 0
    for step in static_batch_steps(
        model, prompts, max_tokens=max_tokens, end_tokens=end_tokens, sampling=sampling
    ):
        steps += 1
        for answer, token in zip(answers, step, strict=True):
            if token in end_tokens:
                ended += 1
            elif token is not None:
                answer.append(token)
    columns = max(map(len, prompts)) + steps - 1  # the last token of an answer is written, but never read
    read = sum(map(len, prompts)) + sum(map(len, answers)) + ended - len(prompts)
    return StaticBatch(answers, columns * len(prompts), read)


def static_batch_steps(
    model: CausalModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int | Sequence[int],
    end_tokens: Collection[int] = (),
    sampling: Sampling | None = None,
) -> Iterator[list[int | None]]:
    """After each step, the new token of each prompt (an end token too), None for those that have finished.

    max_tokens: for all, or for each. With a seed, each row draws as if it were alone.
    Raises `ContextFull`, ValueError for no prompts, an empty one, or a `max_tokens` below 1.
    """
    limits = [max_tokens] * len(prompts) if isinstance(max_tokens, int) else list(max_tokens)
    if not prompts or len(limits) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts and {len(limits)} values of max_tokens: give one for each")
    wanted = [tokens_to_write(model, one, limit)[0] for one, limit in zip(prompts, limits, strict=True)]
    return _steps(model, prompts, wanted, frozenset(end_tokens), sampling or Sampling())


def _steps(
    model: CausalModel,
    prompts: Sequence[Sequence[int]],
    wanted: list[int],
    end_tokens: frozenset[int],
    sampling: Sampling,
) -> Iterator[list[int | None]]:
    weights = next(model.parameters())
    device = weights.device
    capacity = max(map(len, prompts)) + max(wanted) - 1
    view = RowsCache(
        KVCache.for_model(model.config, capacity, len(prompts), dtype=weights.dtype, device=device)
    )
    generators = [sampling.generator(device) for _ in prompts]
    texts = [list(prompt) for prompt in prompts]
    running = torch.ones(len(prompts), 1, dtype=torch.bool)
    # Any token can be the padding: nobody sees it.
    tokens, mask, positions = left_pad(prompts, pad_token=0)
    while running.any():
        view.expect(torch.where(mask, 0, PADDING).to(device), positions.to(device))
        logits = _last_logits(model, tokens.to(device), mask.to(device), view)
        chosen = _choose(logits, texts, running, sampling, generators)
        for row, token in enumerate(chosen):
            if token is not None:
                texts[row].append(token)
                wanted[row] -= 1
                running[row] = wanted[row] > 0 and token not in end_tokens
        yield chosen
        # Rows that have finished are computed like the others, as padding: the rectangle stays.
        tokens = torch.tensor([[text[-1]] for text in texts])
        mask = running.clone()
        positions = torch.tensor([[len(text) - 1] for text in texts]) * mask


@torch.inference_mode()
def _last_logits(
    model: CausalModel, tokens: Tensor, mask: Tensor, view: RowsCache
) -> Float[Tensor, "row vocab"]:
    return model.head(gather_last(model.features(tokens, view), mask))


def _choose(
    logits: Float[Tensor, "row vocab"],
    texts: list[list[int]],
    running: Tensor,
    sampling: Sampling,
    generators: list[torch.Generator],
) -> list[int | None]:
    """The next token of each row that is running."""
    rows = running.flatten().tolist()
    if sampling.temperature == 0 and sampling.repetition_penalty is None:
        best = logits.float().argmax(-1).tolist()
        return [token if runs else None for token, runs in zip(best, rows, strict=True)]
    return [
        choose_token(logits[row], torch.tensor(texts[row], device=logits.device), sampling, generators[row])
        if runs
        else None
        for row, runs in enumerate(rows)
    ]
