"""How fast a model can decode at best: a step takes as long as its arithmetic or its memory traffic needs.

Williams et al. 2009, "Roofline: an insightful visual performance model for multicore architectures",
https://doi.org/10.1145/1498765.1498785.
"""

from __future__ import annotations

from dataclasses import dataclass

from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.nn.kv_cache import kv_cache_bytes
from teachllm.stack.training.accounting import flops_per_token, parameters_by_part


@dataclass(frozen=True)
class DecodeCost:
    """One decoding step of a batch: operations, and the bytes of weights and cache that are read for it."""

    flops: float
    weight_bytes: float
    cache_bytes: float

    @property
    def intensity(self) -> float:
        """Operations for each byte that is read: the arithmetic intensity."""
        return self.flops / (self.weight_bytes + self.cache_bytes)


def decode_cost(
    config: LlamaConfig,
    batch: int,
    length: int,
    bytes_per_weight: float = 2,
    bytes_per_cached_number: float = 2,
) -> DecodeCost:
    """What a step costs that gives each of `batch` requests one more token, `length` positions in each cache.

    Weights are read once for the whole batch, a cache only for its own request. Of the embedding a step reads
    one row a request, so it counts only where it is the head as well. Activations are left out: they are few,
    and stay in the caches of the chip.
    ValueError if there is no request or no position.
    """
    if batch < 1 or length < 1:
        raise ValueError(f"batch is {batch} and length {length}: both must be at least 1")
    parts = parameters_by_part(config)
    read = sum(parts.values()) - (0 if config.tied_head else parts["embedding"])
    forward = sum(flops_per_token(config, length).values()) / 3
    numbers = kv_cache_bytes(
        config.n_layers, config.n_kv_heads, config.head_dim, length, batch=batch, bytes_per_number=1
    )
    return DecodeCost(batch * forward, read * bytes_per_weight, numbers * bytes_per_cached_number)


def roofline_seconds(flops: float, n_bytes: float, peak: float, bandwidth: float) -> float:
    """max(flops / peak, bytes / bandwidth): arithmetic and traffic overlap perfectly at best.

    peak: operations a second; bandwidth: bytes a second. ValueError unless both are above 0.
    """
    if not (peak > 0 and bandwidth > 0):
        raise ValueError(f"peak is {peak} and bandwidth {bandwidth}: both must be above 0")
    return max(flops / peak, n_bytes / bandwidth)


def decode_tokens_per_second(cost: DecodeCost, batch: int, peak: float, bandwidth: float) -> float:
    """At most so many tokens a second for all `batch` requests of `cost` together; ValueError: see
    `roofline_seconds`.
    """
    return batch / roofline_seconds(cost.flops, cost.weight_bytes + cost.cache_bytes, peak, bandwidth)
