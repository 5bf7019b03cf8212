"""The bound counts what a real decoding step does: its operations, and the bytes of weights and cache."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from teachllm.stack.inference.roofline import (
    decode_cost,
    decode_tokens_per_second,
    measure_read_bandwidth,
    roofline_seconds,
    step_cost,
)
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.nn.attention import readable_attention
from teachllm.stack.nn.kv_cache import KVCache

TIED = LlamaConfig(300, 64, 3, 4, 2, 16, 172, 32, tied_head=True)
UNTIED = LlamaConfig(300, 64, 3, 4, 2, 16, 172, 32)


@pytest.mark.parametrize("config", [TIED, UNTIED])
def test_operations_and_bytes_are_those_of_a_real_step(config: LlamaConfig) -> None:
    batch, length = 3, 20
    model = Llama(config)
    cache = KVCache.for_model(config, length, batch)
    tokens = torch.randint(config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(0))
    counter = FlopCounterMode(display=False)
    with torch.inference_mode():
        model(tokens[:, :-1], cache=cache)
        with counter, readable_attention():
            model(tokens[:, -1:], cache=cache)
    cost = decode_cost(config, batch, length, bytes_per_weight=4, bytes_per_cached_number=4)
    assert cost.flops == counter.get_total_flops()
    looked_up = {id(model.embedding.weight)} - {id(model.head.weight)}
    read = [p for p in model.parameters() if id(p) not in looked_up]
    assert cost.weight_bytes == sum(p.nbytes for p in read)
    assert cost.cache_bytes == sum(layer.nbytes for layer in (*cache.keys, *cache.values))


def real_flops(config: LlamaConfig, cached: int, new: int) -> int:
    """Counted by torch, one token at a time: no query is counted with keys that the mask takes away."""
    model, counter = Llama(config), FlopCounterMode(display=False)
    cache = KVCache.for_model(config, cached + new)
    tokens = torch.randint(config.vocab_size, (1, cached + new), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if cached:
            model(tokens[:, :cached], cache)
        with counter, readable_attention():
            for column in range(cached, cached + new):
                features = model.features(tokens[:, column : column + 1], cache)
            model.head(features)
    return counter.get_total_flops()


@pytest.mark.parametrize("config", [TIED, UNTIED])
def test_prefill_chunk_and_decode_are_one_step_of_different_texts(config: LlamaConfig) -> None:
    texts = [(0, 20), (12, 5), (19, 1)]
    mixed = step_cost(config, texts)
    alone = [step_cost(config, [text]) for text in texts]
    for (cached, new), cost in zip(texts, alone, strict=True):
        assert cost.flops == real_flops(config, cached, new)
    assert mixed.flops == sum(cost.flops for cost in alone)
    assert mixed.cache_bytes == sum(cost.cache_bytes for cost in alone)
    assert mixed.weight_bytes == alone[0].weight_bytes  # read once for all of them
    assert step_cost(config, [(19, 1)] * 3) == decode_cost(config, 3, 20)


def test_prefill_is_bound_by_arithmetic_from_a_few_hundred_tokens_on() -> None:
    config, ridge = PRESETS["llama3-8b"], 312e12 / 2039e9
    assert step_cost(config, [(0, 128)]).intensity < ridge < step_cost(config, [(0, 256)]).intensity


def test_one_request_is_bound_by_bandwidth_and_many_by_arithmetic() -> None:
    config, peak, bandwidth = PRESETS["llama3-8b"], 312e12, 2039e9
    alone = decode_cost(config, 1, 1)
    assert alone.intensity == pytest.approx(1, rel=0.01)  # two operations for two bytes
    assert decode_tokens_per_second(alone, 1, peak, bandwidth) == pytest.approx(
        bandwidth / (alone.weight_bytes + alone.cache_bytes)
    )
    many = decode_cost(config, 512, 1)
    assert decode_tokens_per_second(many, 512, peak, bandwidth) == pytest.approx(512 * peak / many.flops)


def test_long_contexts_keep_the_intensity_low_however_large_the_batch() -> None:
    """Attention does 4 operations a number of a query head, and reads 2 · 2 bytes a number of a KV head."""
    config = PRESETS["llama3-8b"]
    group = config.n_heads / config.n_kv_heads
    assert decode_cost(config, 100_000, 10_000_000).intensity == pytest.approx(group, rel=0.01)


def test_bandwidth_is_that_of_some_memory() -> None:
    assert 1e8 < measure_read_bandwidth("cpu") < 1e13  # bytes a second; even a busy machine reads 0.1 GB


def test_what_makes_no_sense_is_told() -> None:
    with pytest.raises(ValueError, match="batch is 0"):
        decode_cost(TIED, 0, 1)
    for texts in ([], [(0, 0)], [(-1, 1)]):
        with pytest.raises(ValueError, match="at least one, each with 0 or more cached"):
            step_cost(TIED, texts)
    with pytest.raises(ValueError, match="bandwidth 0"):
        roofline_seconds(1, 1, 1, 0)
