"""Speculative decoding: guess k tokens, read them in one pass of the model, keep what it would have written.

A pass that reads k + 1 tokens reads the weights once, as a pass over one token does.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.inference.generation import STEP, CausalModel, EndReason, tokens_to_write
from teachllm.stack.inference.sampling import Sampling, distribution
from teachllm.stack.inference.speculation import acceptance
from teachllm.stack.inference.speculation.drafters import Draft, Drafter
from teachllm.stack.nn.kv_cache import KVCache


@dataclass(frozen=True, slots=True)
class Step:
    """One pass of the target: what was drafted for it, how much of that stays, and what is written.

    tokens: what stays of the draft and one more, unless the text ends before. reason: why it ends, in the
    last step.
    """

    drafted: tuple[int, ...]
    n_accepted: int
    tokens: tuple[int, ...]
    reason: EndReason | None


@dataclass(slots=True)
class Tally:
    """What speculation achieved so far. `steps` are passes of the target: one a token without speculation."""

    steps: int = 0
    drafted: int = 0
    accepted: int = 0
    written: int = 0

    def count(self, step: Step) -> None:
        self.steps += 1
        self.drafted += len(step.drafted)
        self.accepted += step.n_accepted
        self.written += len(step.tokens)

    @property
    def acceptance(self) -> float:
        """Accepted tokens as a share of drafted ones; behind a rejected token, all count as rejected."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def tokens_per_step(self) -> float:
        return self.written / self.steps if self.steps else 0.0


def speculative_tokens(
    target: CausalModel,
    drafter: Drafter,
    prompt: Sequence[int],
    *,
    k: int,
    sampling: Sampling | None = None,
    max_tokens: int | None = None,
    end_tokens: Collection[int] = (),
    stop: threading.Event | None = None,
    tally: Tally | None = None,
) -> Iterator[int | EndReason]:
    """The tokens that follow `prompt`, then why there are no more, as `generate_tokens` gives them.

    Greedy: the same tokens, but for rounding, since a pass over several tokens adds in another order.
    Sampling: the same distribution; a seed gives the same text again, but not that of `generate_tokens`.
    See `speculative_steps`; `tally` is counted up as the text is written.
    """
    steps = speculative_steps(
        target,
        drafter,
        prompt,
        k=k,
        sampling=sampling,
        max_tokens=max_tokens,
        end_tokens=end_tokens,
        stop=stop,
    )
    return tokens_of(steps, tally or Tally())


def tokens_of(steps: Iterator[Step], tally: Tally) -> Iterator[int | EndReason]:
    """The tokens of `steps` one by one, then the reason of the last; `tally` counts every pass."""
    for step in steps:
        if step.reason != "cancelled":
            tally.count(step)
        yield from step.tokens
        if step.reason is not None:
            yield step.reason


def speculative_steps(
    target: CausalModel,
    drafter: Drafter,
    prompt: Sequence[int],
    *,
    k: int,
    sampling: Sampling | None = None,
    max_tokens: int | None = None,
    end_tokens: Collection[int] = (),
    stop: threading.Event | None = None,
) -> Iterator[Step]:
    """Pass by pass. k: how many tokens the drafter may guess each time; 0 is decoding as usual.

    Raises `ContextFull`, ValueError for an empty prompt, or a k below 0.
    """
    wanted, wants_all = tokens_to_write(target, prompt, max_tokens)
    if k < 0:
        raise ValueError(f"k is {k}; a drafter guesses at least 0 tokens")
    reason: EndReason = "context" if wants_all else "length"
    return _speculate(
        target,
        drafter,
        list(prompt),
        k,
        sampling or Sampling(),
        wanted,
        reason,
        frozenset(end_tokens),
        stop or threading.Event(),
    )


def _speculate(
    target: CausalModel,
    drafter: Drafter,
    prompt: list[int],
    k: int,
    sampling: Sampling,
    wanted: int,
    at_the_limit: EndReason,
    end_tokens: frozenset[int],
    stop: threading.Event,
) -> Iterator[Step]:
    weights = next(target.parameters())
    longest = len(prompt) + wanted
    cache = KVCache.for_model(target.config, longest, dtype=weights.dtype, device=weights.device)
    drafter.start(longest)
    generator = sampling.generator(weights.device)
    text = torch.zeros(longest, dtype=torch.long, device=weights.device)
    text[: len(prompt)] = torch.tensor(prompt, device=weights.device)
    length = len(prompt)
    while not stop.is_set():
        if length - cache.length > STEP:
            _read(target, text[cache.length : cache.length + STEP], cache)
            continue
        # The pass gives one token itself, so a draft that would fill the text is not verified to its end.
        draft = drafter.draft(text[:length], min(k, longest - length - 1), sampling, generator)
        end = length + len(draft.tokens)
        text[length:end] = text.new_tensor(draft.tokens)
        logits = _verification_logits(target, text[cache.length : end], cache, len(draft.tokens) + 1)
        verdict = _judge(logits, text[:end], draft, sampling, generator)
        cache.truncate(length + verdict.n_accepted)  # what was rejected has never been there
        written = [*draft.tokens[: verdict.n_accepted], verdict.token]
        ends_at = next((place for place, token in enumerate(written) if token in end_tokens), None)
        if ends_at is not None:
            accepted = min(verdict.n_accepted, ends_at)
            yield Step(tuple(draft.tokens), accepted, tuple(written[:ends_at]), "stop")
            return
        text[length : length + len(written)] = text.new_tensor(written)
        length += len(written)
        reason = at_the_limit if length == longest else None
        yield Step(tuple(draft.tokens), verdict.n_accepted, tuple(written), reason)
        if reason is not None:
            return
    yield Step((), 0, (), "cancelled")


@torch.inference_mode()
def _read(target: CausalModel, tokens: Int[Tensor, " n"], cache: KVCache) -> None:
    target.features(tokens[None], cache)


@torch.inference_mode()
def _verification_logits(
    target: CausalModel, tokens: Int[Tensor, " n"], cache: KVCache, n_rows: int
) -> Float[Tensor, "n_rows vocab"]:
    """One pass over all `tokens`; the logits behind the last `n_rows` of them."""
    return target.head(target.features(tokens[None], cache)[0, -n_rows:])


@torch.inference_mode()
def _judge(
    logits: Float[Tensor, "drafted_plus_1 vocab"],
    text: Int[Tensor, " length"],
    draft: Draft,
    sampling: Sampling,
    generator: torch.Generator,
) -> acceptance.Verdict:
    """text ends with the draft: row i of the logits has seen all but the last drafted - i of it."""
    n = len(draft.tokens)
    if sampling.temperature == 0 and sampling.repetition_penalty is None:
        return acceptance.verify_greedy(logits.float().argmax(-1).tolist(), draft.tokens)
    seen = len(text) - n
    p = torch.stack([distribution(row, text[: seen + i], sampling) for i, row in enumerate(logits)])
    q = draft.probabilities
    if q is None:
        q = acceptance.point_masses(text[seen:], p.shape[-1])
    uniform = torch.rand(n + 1, dtype=torch.float64, device=p.device, generator=generator)
    return acceptance.verify(p, q, draft.tokens, uniform)
