"""How long a step takes: a roofline for what meets the weights, and one for each text's attention."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from teachllm.stack.inference.simulation.device import Device
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.nn.kv_cache import kv_cache_bytes
from teachllm.stack.training.accounting import parameters_by_part

_ACTIVATION_BYTES = 2  # bfloat16, also where weights are smaller

Piece: TypeAlias = tuple[int, int]  # of one text, as in `step_cost`: tokens in its cache, tokens computed now


@dataclass(frozen=True, slots=True)
class Work:
    """What a step has to do. Operations, and bytes that are read.

    Matrices meet all tokens of the step at once, so their weights are read once. Attention is each text's
    own: `attention` holds (operations, bytes) text by text.
    """

    matrix_flops: float
    weight_bytes: float
    attention: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class StepTimes:
    """Times of the steps of a model on a device, or on several: `tensor_parallel` share each matrix,
    `pipeline_stages` have a part of the layers each.

    bytes_per_weight, bytes_per_cached_number: 2 for bfloat16. memory_share: of the memory, for weights and
    cache together; the rest is for activations.
    """

    config: LlamaConfig
    device: Device
    tensor_parallel: int = 1
    pipeline_stages: int = 1
    bytes_per_weight: float = 2
    bytes_per_cached_number: int = 2
    memory_share: float = 0.9

    def __post_init__(self) -> None:
        if self.tensor_parallel < 1 or self.pipeline_stages < 1:
            raise ValueError(
                f"tensor_parallel is {self.tensor_parallel} and pipeline_stages {self.pipeline_stages}: "
                "both must be at least 1"
            )

    @property
    def n_devices(self) -> int:
        return self.tensor_parallel * self.pipeline_stages

    @cached_property
    def cache_bytes_per_token(self) -> int:
        c = self.config
        one = self.bytes_per_cached_number
        return kv_cache_bytes(c.n_layers, c.n_kv_heads, c.head_dim, 1, bytes_per_number=one)

    @cached_property
    def cache_tokens(self) -> int:
        """How many tokens' keys and values fit beside the weights; not above 0 if not even these do."""
        weights = self.config.n_parameters * self.bytes_per_weight
        room = self.n_devices * self.device.memory * self.memory_share - weights
        return int(room // self.cache_bytes_per_token)

    @cached_property
    def _parts(self) -> tuple[float, float, float, float]:
        """Operations a token in the layers' matrices, those of the head, operations a pair of query and key,
        bytes of weights that a step reads: all but an embedding that is not the head too.
        """
        parts = parameters_by_part(self.config)
        c = self.config
        read = sum(parts.values()) - (0 if c.tied_head else parts["embedding"])
        return (
            2.0 * (parts["attention"] + parts["feed_forward"]),
            2.0 * c.vocab_size * c.d_model,
            4.0 * c.n_layers * c.n_heads * c.head_dim,
            read * self.bytes_per_weight,
        )

    def work(self, pieces: Iterable[Piece], n_sampled: int) -> Work:
        """Operations and bytes of a step in which `n_sampled` texts get their next token.

        A query meets the keys before it and its own; the keys and values of a text are read once a step.
        """
        per_token, head, per_pair, weight_bytes = self._parts
        tokens, attention = 0, []
        for cached, new in pieces:
            tokens += new
            pairs = new * cached + new * (new + 1) / 2
            attention.append((per_pair * pairs, (cached + new) * self.cache_bytes_per_token))
        rows = self.device.rows(tokens)
        return Work(rows * per_token + n_sampled * head, weight_bytes, tuple(attention))

    def seconds(self, pieces: Iterable[Piece], n_sampled: int) -> float:
        """Time of a step from the first stage to the last; a stage takes `1 / pipeline_stages` of it.

        overhead + the time of the matrices + Σ of each text's attention, each of which computes flops / peak
        and reads bytes / bandwidth (`Device.seconds`), divided among the devices of a tensor-parallel group;
        + what these say to each other.
        """
        per_token, head, per_pair, weight_bytes = self._parts
        share = self.device.reached_peak * self.tensor_parallel
        speed = self.device.reached_bandwidth * self.tensor_parallel
        per_pair, per_cached = per_pair / share, self.cache_bytes_per_token / speed
        exposed = 1 - self.device.overlap
        tokens, attention = 0, 0.0
        for cached, new in pieces:  # the inner loop of the simulation: `work` without its objects
            tokens += new
            arithmetic = per_pair * (new * cached + new * (new + 1) / 2)
            traffic = per_cached * (cached + new)
            if arithmetic > traffic:
                attention += arithmetic + exposed * traffic
            else:
                attention += traffic + exposed * arithmetic
        flops = self.device.rows(tokens) * per_token + n_sampled * head
        matrices = self.device.seconds(flops / share, weight_bytes / speed)
        return self.device.overhead + matrices + attention + self._all_reduce_seconds(tokens)

    def _all_reduce_seconds(self, tokens: int) -> float:
        """Two sums over the group a layer, after attention and after the feed-forward layer. A ring moves
        2 (n − 1) / n of the numbers past each device (Patarasu and Yuan 2009).
        """
        n = self.tensor_parallel
        if n == 1:
            return 0.0
        numbers = 2 * self.config.n_layers * tokens * self.config.d_model
        return 2 * (n - 1) / n * numbers * _ACTIVATION_BYTES / self.device.link

    def speedup(self, pieces: Iterable[Piece], n_sampled: int) -> float:
        """K: how many times as fast the step is as on a single device."""
        pieces = list(pieces)
        return replace(self, tensor_parallel=1).seconds(pieces, n_sampled) / self.seconds(pieces, n_sampled)
