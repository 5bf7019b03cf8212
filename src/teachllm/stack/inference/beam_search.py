"""Beam search: keep the few most probable beginnings, and let each of them go on in every way.

Greedy decoding keeps one. Neither is sure to find the most probable text, but a wider beam looks further.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.inference.generation import STEP, CausalModel, tokens_to_write
from teachllm.stack.nn.kv_cache import KVCache


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What may follow the prompt; an end token, where it has one, is its last token.

    log_probability: Σ ln p of its tokens. score: that, with the length penalty; the ranking goes by it.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float


@dataclass(frozen=True, slots=True)
class Beams:
    """The search after one step. `running` go on, most probable first; `parents` says from which beam of the
    step before each comes; `finished` are the best so far that ended, best first.
    """

    running: list[Hypothesis]
    parents: list[int]
    finished: list[Hypothesis]


def beam_search(
    model: CausalModel,
    prompt: Sequence[int],
    *,
    num_beams: int,
    max_tokens: int | None = None,
    end_tokens: Collection[int] = (),
    length_penalty: float = 1.0,
    stop: threading.Event | None = None,
) -> list[Hypothesis]:
    """The best `num_beams` hypotheses that were found, best first. See `beam_search_steps`."""
    steps = beam_search_steps(
        model,
        prompt,
        num_beams=num_beams,
        max_tokens=max_tokens,
        end_tokens=end_tokens,
        length_penalty=length_penalty,
        stop=stop,
    )
    *_, last = steps
    return last.finished


def length_normalized(log_probability: float, length: int, length_penalty: float) -> float:
    """log_probability / length^length_penalty, which is what hypotheses are ranked by.

    0: the probability of the whole text, which falls with every token, so short ones win. 1: the mean over
    tokens. Above 1, longer texts win.
    """
    return log_probability / length**length_penalty


def best_extensions(
    scores: Float[Tensor, " beams"], logprobs: Float[Tensor, "beams vocab"], n: int
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]:
    """The `n` largest scores[beam] + logprobs[beam, token]: the sums, their beams and their tokens."""
    totals = scores[:, None] + logprobs
    best, places = totals.flatten().topk(min(n, totals.numel()))
    return best, places // logprobs.shape[-1], places % logprobs.shape[-1]


def beam_search_steps(
    model: CausalModel,
    prompt: Sequence[int],
    *,
    num_beams: int,
    max_tokens: int | None = None,
    end_tokens: Collection[int] = (),
    length_penalty: float = 1.0,
    stop: threading.Event | None = None,
) -> Iterator[Beams]:
    """The search, step by step. All beams are one batch of the KV cache, whose rows follow their beams.

    It ends after `max_tokens` (all beams then count as finished), or when no running beam can still overtake
    the worst of `num_beams` finished ones. Setting `stop` ends it early, with the beams that run as finished.
    Raises `ContextFull`, ValueError for an empty prompt or options out of range.
    """
    wanted, _ = tokens_to_write(model, prompt, max_tokens)
    rules = BeamRules(num_beams, wanted, frozenset(end_tokens), length_penalty)
    return _search(model, prompt, rules, stop or threading.Event())


@dataclass(frozen=True, slots=True)
class BeamRules:
    """What a search goes by. longest: tokens after which it ends. ValueError if one is out of range."""

    num_beams: int
    longest: int
    end_tokens: frozenset[int]
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ValueError(f"num_beams is {self.num_beams}; it must be at least 1")
        if not -10 <= self.length_penalty <= 10:
            raise ValueError(f"length_penalty is {self.length_penalty}; it must be from -10 to 10")

    @property
    def n_candidates(self) -> int:
        """Room for one end token a beam and kind, and still `num_beams` that go on."""
        return self.num_beams * (1 + max(1, len(self.end_tokens)))


BEFORE_FIRST = Beams([Hypothesis((), 0.0, 0.0)], [0], [])


def next_beams(
    beams: Beams, logprobs: Float[Tensor, "beams vocab"], rules: BeamRules, *, stop: bool = False
) -> Beams:
    """The search one token later, of `logprobs` behind each running beam. With `stop`, or at the longest, all
    that run count as finished.
    """
    length = len(beams.running[0].tokens) + 1
    last = stop or length == rules.longest
    scores = torch.tensor([beam.log_probability for beam in beams.running], device=logprobs.device)
    ended_here: list[Hypothesis] = []
    going_on: list[tuple[Hypothesis, int]] = []
    extensions = (part.tolist() for part in best_extensions(scores, logprobs, rules.n_candidates))
    for rank, (total, parent, token) in enumerate(zip(*extensions, strict=True)):
        score = length_normalized(total, length, rules.length_penalty)
        hypothesis = Hypothesis((*beams.running[parent].tokens, token), total, score)
        if token in rules.end_tokens or last:
            # What ends below the best `num_beams` would have fallen out of the beam anyway.
            ended_here += [hypothesis] if rank < rules.num_beams else []
        elif len(going_on) < rules.num_beams:
            going_on.append((hypothesis, parent))
    finished = sorted([*beams.finished, *ended_here], key=lambda one: one.score, reverse=True)
    return Beams(
        [beam for beam, _ in going_on], [parent for _, parent in going_on], finished[: rules.num_beams]
    )


def is_over(beams: Beams, rules: BeamRules) -> bool:
    """Whether no beam runs, or none can still overtake the worst of `num_beams` finished ones."""
    if not beams.running:
        return True
    best = _best_possible(beams.running[0], rules)
    return len(beams.finished) == rules.num_beams and best <= beams.finished[-1].score


def _best_possible(beam: Hypothesis, rules: BeamRules) -> float:
    """No continuation of `beam` scores higher: its log-probability can only fall, and dividing a negative
    number by more can only raise it.
    """
    length = rules.longest if rules.length_penalty > 0 else len(beam.tokens) + 1
    return length_normalized(beam.log_probability, length, rules.length_penalty)


def _search(
    model: CausalModel, prompt: Sequence[int], rules: BeamRules, stop: threading.Event
) -> Iterator[Beams]:
    weights = next(model.parameters())
    capacity = len(prompt) + rules.longest
    cache = KVCache.for_model(model.config, capacity, dtype=weights.dtype, device=weights.device)
    beams, logprobs = BEFORE_FIRST, _read_prompt(model, prompt, cache)
    while True:
        beams = next_beams(beams, logprobs, rules, stop=stop.is_set())
        yield beams
        if is_over(beams, rules):
            return
        logprobs = _step(model, beams.running, beams.parents, cache)


@torch.inference_mode()
def _read_prompt(model: CausalModel, prompt: Sequence[int], cache: KVCache) -> Float[Tensor, "1 vocab"]:
    """Once, as a batch of one."""
    tokens = torch.tensor([list(prompt)], device=next(model.parameters()).device)
    logits = tokens
    for part in tokens.split(STEP, dim=1):
        logits = model(part, cache, last_only=True)
    return logits[:, -1].float().log_softmax(-1)


@torch.inference_mode()
def _step(
    model: CausalModel, running: list[Hypothesis], parents: list[int], cache: KVCache
) -> Float[Tensor, "beams vocab"]:
    """The cache's rows go to the beams that come from them, then each beam reads its newest token."""
    device = next(model.parameters()).device
    if parents != list(range(cache.keys[0].shape[0])):
        cache.select(torch.tensor(parents, device=device))
    newest = torch.tensor([[beam.tokens[-1]] for beam in running], device=device)
    return model(newest, cache, last_only=True)[:, -1].float().log_softmax(-1)
