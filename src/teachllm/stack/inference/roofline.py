"""How fast a step of a model can be at best: it takes as long as its arithmetic or its memory traffic needs.

There is one kind of step. Each text in it has some positions in its cache and reads some new tokens: many of
them are a prefill, one is decoding, and a step may mix both.
Williams et al. 2009, "Roofline: an insightful visual performance model for multicore architectures",
https://doi.org/10.1145/1498765.1498785.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.nn.kv_cache import kv_cache_bytes
from teachllm.stack.training.accounting import flops_per_token, parameters_by_part


@dataclass(frozen=True)
class StepCost:
    """One step of a model: operations, and the bytes of weights and caches that cross from memory for it."""

    flops: float
    weight_bytes: float
    cache_bytes: float

    @property
    def bytes(self) -> float:
        return self.weight_bytes + self.cache_bytes

    @property
    def intensity(self) -> float:
        """Operations for each byte that crosses: the arithmetic intensity."""
        return self.flops / self.bytes


def step_cost(
    config: LlamaConfig,
    texts: Iterable[tuple[int, int]],
    bytes_per_weight: float = 2,
    bytes_per_cached_number: float = 2,
) -> StepCost:
    """What a step costs; `texts` has for each text how many positions its cache holds and how many tokens are
    read now: (0, L) is the prefill of a prompt, (L, 1) decodes one token, (L, 256) is a chunk of a prompt.

    Operations: of the matrices 2 for each weight and token; of attention 4 · heads · head_dim in each layer
    for each pair of a query and a key that the causal mask lets meet; of the head for the last token of each
    text.
    Bytes: weights cross once for the whole step, and of the embedding only what the head uses; every position
    of a cache once for its own text, whether it is read or written. Activations are left out: beside the
    weights they are few while the step has few tokens, so for long prefills the intensity is too high.
    ValueError if there is no text, or one without a new token.
    """
    texts = list(texts)
    if not texts or any(cached < 0 or new < 1 for cached, new in texts):
        raise ValueError(
            f"texts is {texts[:8]}: give at least one, each with 0 or more cached positions and 1 or more new"
        )
    return _cost(
        config,
        n_texts=len(texts),
        n_tokens=sum(new for _, new in texts),
        n_pairs=sum(new * cached + new * (new + 1) // 2 for cached, new in texts),
        n_positions=sum(cached + new for cached, new in texts),
        bytes_per_weight=bytes_per_weight,
        bytes_per_cached_number=bytes_per_cached_number,
    )


def decode_cost(
    config: LlamaConfig,
    batch: int,
    length: int,
    bytes_per_weight: float = 2,
    bytes_per_cached_number: float = 2,
) -> StepCost:
    """`step_cost` of `batch` texts that read one token each, which becomes position `length` of its cache.

    ValueError if there is no text or no position.
    """
    if batch < 1 or length < 1:
        raise ValueError(f"batch is {batch} and length {length}: both must be at least 1")
    return _cost(
        config,
        n_texts=batch,
        n_tokens=batch,
        n_pairs=batch * length,
        n_positions=batch * length,
        bytes_per_weight=bytes_per_weight,
        bytes_per_cached_number=bytes_per_cached_number,
    )


def _cost(
    config: LlamaConfig,
    n_texts: int,
    n_tokens: int,
    n_pairs: int,
    n_positions: int,
    bytes_per_weight: float,
    bytes_per_cached_number: float,
) -> StepCost:
    # Of training with one key; forward and backward are three times forward.
    forward = {part: flops / 3 for part, flops in flops_per_token(config, length=1).items()}
    matrices = forward["attention_matrices"] + forward["feed_forward"]
    flops = n_tokens * matrices + n_pairs * forward["attention_scores"] + n_texts * forward["head"]
    parts = parameters_by_part(config)
    read = sum(parts.values()) - (0 if config.tied_head else parts["embedding"])
    numbers = kv_cache_bytes(
        config.n_layers, config.n_kv_heads, config.head_dim, n_positions, bytes_per_number=1
    )
    return StepCost(flops, read * bytes_per_weight, numbers * bytes_per_cached_number)


def roofline_seconds(flops: float, n_bytes: float, peak: float, bandwidth: float) -> float:
    """max(flops / peak, bytes / bandwidth): arithmetic and traffic overlap perfectly at best.

    peak: operations a second; bandwidth: bytes a second. ValueError unless both are above 0.
    """
    if not (peak > 0 and bandwidth > 0):
        raise ValueError(f"peak is {peak} and bandwidth {bandwidth}: both must be above 0")
    return max(flops / peak, n_bytes / bandwidth)


def decode_tokens_per_second(cost: StepCost, batch: int, peak: float, bandwidth: float) -> float:
    """At most so many tokens a second for all `batch` requests of `cost` together; ValueError: see
    `roofline_seconds`.
    """
    return batch / roofline_seconds(cost.flops, cost.bytes, peak, bandwidth)


@functools.cache
def measure_read_bandwidth(device: torch.device | str) -> float:
    """Bytes a second at which a matrix far larger than the caches is read, to be multiplied by one vector.

    The best of a few times: about a quarter of a second on a CPU. `measure_matmul_peak` is its counterpart.
    """
    device = torch.device(device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    rows = 8192 if device.type == "cpu" else 32_768
    matrix = torch.ones(rows, 8192, device=device)  # 256 MiB; on a GPU 1 GiB
    vector = torch.ones(8192, device=device)
    best = 0.0
    for _ in range(6):  # the first warms up
        wait()
        begun = time.perf_counter()
        torch.mv(matrix, vector)
        wait()
        best = max(best, matrix.nbytes / (time.perf_counter() - begun))
    return best
