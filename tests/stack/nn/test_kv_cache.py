"""The KV cache keeps what was written, counts once a pass, and refuses what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn.kv_cache import KVCache, kv_cache_bytes


def normal(n_positions: int, seed: int = 0) -> Tensor:
    return torch.randn(2, 3, n_positions, 4, generator=torch.Generator().manual_seed(seed))


def cache(capacity: int = 8) -> KVCache:
    return KVCache(n_layers=2, n_kv_heads=3, head_dim=4, capacity=capacity, batch=2)


def test_every_layer_gets_back_all_it_has_seen() -> None:
    kept, seen = cache(), {0: torch.empty(2, 3, 0, 4), 1: torch.empty(2, 3, 0, 4)}
    for step, n in enumerate([5, 1, 2]):
        for layer in (0, 1):
            new = normal(n, seed=10 * step + layer)
            seen[layer] = torch.cat([seen[layer], new], dim=2)
            keys, values = kept.update(layer, new, -new)
            assert keys.equal(seen[layer])
            assert values.equal(-seen[layer])
        kept.advance(n)
    assert kept.length == 8


def test_nothing_is_copied_and_nothing_grows() -> None:
    kept = cache()
    storage = kept.keys[0].data_ptr()
    for _ in range(8):
        keys, _ = kept.update(0, normal(1), normal(1))
        kept.advance(1)
        assert keys.data_ptr() == storage


def test_a_pass_that_fails_half_way_is_forgotten() -> None:
    kept = cache()
    first = normal(2)
    kept.update(0, first, first)
    kept.advance(2)
    kept.update(0, normal(3, seed=1), normal(3, seed=1))  # layer 1 never comes
    again = normal(1, seed=2)
    assert kept.length == 2
    assert kept.update(0, again, again)[0].equal(torch.cat([first, again], dim=2))


def test_truncated_positions_are_written_again() -> None:
    kept, first, second = cache(), normal(4), normal(3, seed=1)
    kept.update(0, first, first)
    kept.advance(4)
    kept.truncate(1)
    assert kept.length == 1
    assert kept.update(0, second, second)[0].equal(torch.cat([first[:, :, :1], second], dim=2))
    with pytest.raises(ValueError, match="cannot truncate to 2: the cache holds 1"):
        kept.truncate(2)


@pytest.mark.parametrize("rows", [[0, 0, 0, 0], [1, 0], [1, 1], [1]])
def test_rows_go_to_what_continues_them(rows: list[int]) -> None:
    kept = KVCache(n_layers=2, n_kv_heads=3, head_dim=4, capacity=6, batch=2)
    before = [normal(3)[:1].repeat(2, 1, 1, 1) + torch.arange(2).view(2, 1, 1, 1) for _ in range(2)]
    for layer in range(2):
        kept.update(layer, before[layer], -before[layer])
    kept.advance(3)
    kept.select(torch.tensor(rows))
    new = torch.zeros(len(rows), 3, 1, 4)
    for layer in range(2):
        k, v = kept.update(layer, new, new)
        assert torch.equal(k, torch.cat([before[layer][rows], new], dim=2))
        assert torch.equal(v, torch.cat([-before[layer][rows], new], dim=2))


def test_a_full_cache_says_how_large_it_is() -> None:
    kept = cache(capacity=4)
    kept.update(0, normal(3), normal(3))
    kept.advance(3)
    with pytest.raises(ValueError, match="room for 4 positions; 3 are taken and 2 more"):
        kept.update(0, normal(2), normal(2))
    with pytest.raises(ValueError, match="cannot advance by 2"):
        kept.advance(2)


def test_another_batch_or_dtype_is_not_spread_over_the_cache() -> None:
    with pytest.raises(ValueError, match="batch 1, 3 heads"):
        cache().update(0, normal(1)[:1], normal(1)[:1])
    with pytest.raises(ValueError, match="bfloat16"):
        cache().update(0, normal(1).bfloat16(), normal(1).bfloat16())
    with pytest.raises(ValueError, match="capacity 0"):
        cache(capacity=0)


def test_bytes_are_those_of_the_tensors() -> None:
    kept = KVCache(n_layers=3, n_kv_heads=2, head_dim=8, capacity=5, batch=4, dtype=torch.bfloat16)
    held = sum(tensor.nbytes for tensor in kept.keys + kept.values)
    assert held == kv_cache_bytes(3, 2, 8, 5, batch=4)
    assert kv_cache_bytes(32, 8, 128, 8192) == 2**30  # Llama-3-8B in bf16, 8192 tokens
