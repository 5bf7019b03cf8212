"""Wrong versions of exercise 8.6 that real people write, each with the check that must catch it first."""

# What a solution may use is imported by the stub that a mutant stands in.
import math

import torch

from teachllm.school.checks import mutant


@mutant("test_a_prefill_does_not_see_the_future")
def forgets_the_mask(q, k, v):
    group = q.shape[1] // k.shape[1]
    return scaled_dot_product_attention(q, repeat_kv_heads(k, group), repeat_kv_heads(v, group))


@mutant("test_one_query_sees_every_key")
def aligns_the_mask_at_the_upper_left(q, k, v):
    group = q.shape[1] // k.shape[1]
    mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return scaled_dot_product_attention(q, repeat_kv_heads(k, group), repeat_kv_heads(v, group), mask)


@mutant("test_a_chunk_sees_the_cache_and_its_own_past")
def masks_only_a_whole_prompt(q, k, v):
    group, n_queries, n_keys = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    mask = causal_mask(n_queries) if n_queries == n_keys else None
    return scaled_dot_product_attention(q, repeat_kv_heads(k, group), repeat_kv_heads(v, group), mask)


@mutant("test_a_chunk_sees_the_cache_and_its_own_past")
def shifts_only_when_decoding(q, k, v):
    group, n_queries, n_keys = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    offset = n_keys - 1 if n_queries == 1 else 0
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(offset)
    return scaled_dot_product_attention(q, repeat_kv_heads(k, group), repeat_kv_heads(v, group), mask)


@mutant("test_a_prefill_gives_the_numbers_of_the_formula", "test_one_query_sees_every_key")
def hides_a_position_from_itself(q, k, v):
    group, n_queries, n_keys = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries - 1)
    return scaled_dot_product_attention(q, repeat_kv_heads(k, group), repeat_kv_heads(v, group), mask)


@mutant("test_query_heads_of_a_group_are_neighbours")
def tiles_the_groups(q, k, v):
    group, n_queries, n_keys = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    mask = causal_mask(n_queries, n_keys - n_queries)
    return scaled_dot_product_attention(q, k.repeat(1, group, 1, 1), v.repeat(1, group, 1, 1), mask)


@mutant("test_one_query_sees_every_key")
def scales_by_the_number_of_keys(q, k, v):
    group, n_queries, n_keys = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    mask = causal_mask(n_queries, n_keys - n_queries)
    scores = q @ repeat_kv_heads(k, group).transpose(-2, -1) / math.sqrt(n_keys)
    weights = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1)
    return weights @ repeat_kv_heads(v, group)
