"""From logits to the next token: small pure functions that reshape a distribution, and the draw from it.

Each takes logits (…, vocab) and returns new ones, with -inf for what may not be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

Logits: TypeAlias = Float[Tensor, "*batch vocab"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. ValueError names everything that is out of range.

    temperature 0 is greedy: the most probable token, whatever the other filters say. None leaves a filter
    out. They act in this order: repetition penalty, temperature, top-k, top-p, min-p, typical. With a seed,
    the same prompt gives the same text.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.temperature <= 100:
            problems.append(f"temperature is {self.temperature}; it must be from 0 to 100")
        if self.top_k is not None and self.top_k < 1:
            problems.append(f"top_k is {self.top_k}; it must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            problems.append(f"min_p is {self.min_p}; it must be from 0 to 1")
        if self.typical_p is not None and not 0 < self.typical_p <= 1:
            problems.append(f"typical_p is {self.typical_p}; it must be above 0 and at most 1")
        if self.repetition_penalty is not None and not 0 < self.repetition_penalty <= 10:
            problems.append(
                f"repetition_penalty is {self.repetition_penalty}; it must be above 0, at most 10"
            )
        if problems:
            raise ValueError("this is no way to sample: " + "; ".join(problems))

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """The source of randomness: of the seed, or fresh."""
        generator = torch.Generator(device)
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator


def choose_token(
    logits: Float[Tensor, " vocab"],
    seen: Int[Tensor, " n_seen"],
    sampling: Sampling,
    generator: torch.Generator,
) -> int:
    """The next token. `seen` are the tokens before it, which the repetition penalty makes less likely.

    The generator's device is that of the logits.
    """
    logits = penalized(logits, seen, sampling)
    if sampling.temperature == 0:
        return int(logits.argmax())
    return draw(filtered(logits, sampling).softmax(-1), generator)


def distribution(
    logits: Float[Tensor, " vocab"], seen: Int[Tensor, " n_seen"], sampling: Sampling
) -> Float[Tensor, " vocab"]:
    """The probabilities that `choose_token` draws from; at temperature 0, 1 for the token that it takes."""
    logits = penalized(logits, seen, sampling)
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    return filtered(logits, sampling).softmax(-1)


def penalized(logits: Logits, seen: Int[Tensor, "*batch n_seen"], sampling: Sampling) -> Logits:
    """In float32, with the repetition penalty where there is one."""
    logits = logits.float()  # in bfloat16, argmax is slower and top-p sums too coarsely
    if sampling.repetition_penalty is None:
        return logits
    return repetition_penalty(logits, seen, sampling.repetition_penalty)


def filtered(logits: Logits, sampling: Sampling) -> Logits:
    """After the temperature, which is above 0, and the filters that were asked for."""
    logits = temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = min_p(logits, sampling.min_p)
    if sampling.typical_p is not None:
        logits = typical_p(logits, sampling.typical_p)
    return logits


def draw(probabilities: Float[Tensor, " vocab"], generator: torch.Generator) -> int:
    """A token with its probability."""
    return token_at(
        probabilities,
        torch.rand((), dtype=torch.float64, device=probabilities.device, generator=generator),
    )


def token_at(probabilities: Float[Tensor, " vocab"], uniform: Float[Tensor, ""]) -> int:
    """Where `uniform`, from 0 to 1, falls in the running sum of the probabilities."""
    reached = probabilities.cumsum(-1, dtype=torch.float64)
    token = torch.searchsorted(reached, uniform * reached[-1], right=True)
    return min(int(token), len(reached) - 1)


def repetition_penalty(logits: Logits, seen: Int[Tensor, "*batch n_seen"], penalty: float) -> Logits:
    """Logits of tokens that were seen, divided by `penalty` where positive, multiplied where negative.

    Keskar et al. 2019, arXiv:1909.05858.
    """
    of_seen = logits.gather(-1, seen)
    of_seen = torch.where(of_seen < 0, of_seen * penalty, of_seen / penalty)
    return logits.scatter(-1, seen, of_seen)


def temperature(logits: Logits, temperature: float) -> Logits:
    """logits / temperature: below 1 sharper, above 1 flatter."""
    return logits / temperature


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the k largest, and what equals the k-th. Fan et al. 2018, arXiv:1805.04833."""
    smallest_kept = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < smallest_kept, -torch.inf)


def top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest tokens, most probable first, whose probabilities reach p.

    "Nucleus sampling", Holtzman et al. 2019, arXiv:1904.09751.
    """
    if p >= 1:
        return logits
    probabilities = logits.softmax(-1)
    # All tokens below (1 - p) / vocab together weigh less than 1 - p, so the others reach p without them:
    # sorting the whole vocabulary would take longer than the model's step.
    enough = int((probabilities >= (1 - p) / logits.shape[-1]).sum(-1).max())
    largest, tokens = probabilities.topk(enough)
    reached_before = largest.cumsum(-1) - largest
    kept = logits.gather(-1, tokens).masked_fill(reached_before >= p, -torch.inf)
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, kept)


def min_p(logits: Logits, p: float) -> Logits:
    """Keep tokens at least p times as probable as the most probable one. Nguyen et al. 2024,
    arXiv:2407.01082.
    """
    probabilities = logits.softmax(-1)
    most_probable = probabilities.amax(-1, keepdim=True)
    removed = (probabilities < p * most_probable) & (probabilities < most_probable)
    return logits.masked_fill(removed, -torch.inf)


def typical_p(logits: Logits, p: float) -> Logits:
    """Keep the tokens whose surprise -ln p is nearest to the mean surprise (the entropy), the fewest whose
    probabilities reach p.

    "Locally typical sampling": the most probable token may go. Meister et al. 2022, arXiv:2202.00666.
    """
    if p >= 1:
        return logits
    surprise = -logits.log_softmax(-1)
    probabilities = (-surprise).exp()
    entropy = (probabilities * surprise).nansum(-1, keepdim=True)  # 0 · inf, where a filter was before, is 0
    tokens = (surprise - entropy).abs().argsort(dim=-1, stable=True)
    likely = probabilities.gather(-1, tokens)
    reached_before = likely.cumsum(-1) - likely
    kept = logits.gather(-1, tokens).masked_fill(reached_before >= p, -torch.inf)
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, kept)
