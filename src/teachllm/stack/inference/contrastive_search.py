"""Contrastive search: of the few most probable tokens, the one that says something new.

Su et al. 2022, arXiv:2202.06417.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.inference.generation import STEP, CausalModel, EndReason, tokens_to_write
from teachllm.stack.nn.kv_cache import KVCache


def contrastive_scores(
    probabilities: Float[Tensor, " k"],
    candidates: Float[Tensor, "k d"],
    context: Float[Tensor, "length d"],
    alpha: float,
) -> Float[Tensor, " k"]:
    """(1 - α) · p(v) - α · max_j cos(h_v, h_j): probable, and unlike every position before.

    candidates: the features of each candidate where it would stand; context: of all positions before.
    Su et al. 2022, equation 5.
    """
    similarities = F.normalize(candidates.float(), dim=-1) @ F.normalize(context.float(), dim=-1).T
    return (1 - alpha) * probabilities - alpha * similarities.amax(-1)


def contrastive_search(
    model: CausalModel,
    prompt: Sequence[int],
    *,
    top_k: int,
    alpha: float,
    max_tokens: int | None = None,
    end_tokens: Collection[int] = (),
    stop: threading.Event | None = None,
) -> Iterator[int | EndReason]:
    """The tokens that follow `prompt`, then why there are no more, as `generate_tokens` gives them.

    top_k: how many of the most probable tokens are tried in each step, all in one batch. alpha: from 0, which
    is greedy decoding, to 1, which looks at the similarity alone. No chance is involved.
    Raises `ContextFull`, ValueError for an empty prompt or options out of range.
    """
    wanted, wants_all = tokens_to_write(model, prompt, max_tokens)
    problems = []
    if top_k < 1:
        problems.append(f"top_k is {top_k}; it must be at least 1")
    if not 0 <= alpha <= 1:
        problems.append(f"alpha is {alpha}; it must be from 0 to 1")
    if problems:
        raise ValueError("this is no contrastive search: " + "; ".join(problems))
    reason: EndReason = "context" if wants_all else "length"
    return _search(model, prompt, top_k, alpha, wanted, reason, frozenset(end_tokens), stop)


def _search(
    model: CausalModel,
    prompt: Sequence[int],
    top_k: int,
    alpha: float,
    wanted: int,
    at_the_limit: EndReason,
    end_tokens: frozenset[int],
    stop: threading.Event | None,
) -> Iterator[int | EndReason]:
    weights = next(model.parameters())
    cache = KVCache.for_model(model.config, len(prompt) + wanted, dtype=weights.dtype, device=weights.device)
    context, probabilities = _read_prompt(model, prompt, cache)
    for _ in range(wanted):
        if stop is not None and stop.is_set():
            yield "cancelled"
            return
        likely, tokens = probabilities.topk(min(top_k, len(probabilities)))
        features, chosen = _try_all(model, tokens, likely, context, alpha, cache)
        token = int(tokens[chosen])
        if token in end_tokens:
            yield "stop"
            return
        yield token
        context = torch.cat([context, features[chosen, None]])
        probabilities = _probabilities(model, features[chosen])
    yield at_the_limit


@torch.inference_mode()
def _read_prompt(
    model: CausalModel, prompt: Sequence[int], cache: KVCache
) -> tuple[Float[Tensor, "length d"], Float[Tensor, " vocab"]]:
    """The features of every position of the prompt, and the probabilities of what follows."""
    tokens = torch.tensor([list(prompt)], device=next(model.parameters()).device)
    features = torch.cat([model.features(part, cache)[0] for part in tokens.split(STEP, dim=1)])
    return features, _probabilities(model, features[-1])


@torch.inference_mode()
def _try_all(
    model: CausalModel,
    tokens: Int[Tensor, " k"],
    likely: Float[Tensor, " k"],
    context: Float[Tensor, "length d"],
    alpha: float,
    cache: KVCache,
) -> tuple[Float[Tensor, "k d"], int]:
    """Every candidate, read behind the same past; the features of each, and which one wins. Afterwards the
    cache holds that one alone.
    """
    cache.select(torch.zeros_like(tokens))
    features = model.features(tokens[:, None], cache)[:, -1]
    chosen = int(contrastive_scores(likely, features, context, alpha).argmax())
    cache.select(torch.tensor([chosen], device=tokens.device))
    return features, chosen


@torch.inference_mode()
def _probabilities(model: CausalModel, features: Float[Tensor, " d"]) -> Float[Tensor, " vocab"]:
    return model.head(features).float().softmax(-1)
