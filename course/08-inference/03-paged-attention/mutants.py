"""Wrong versions of exercise 8.3 that real people write, each with the check that must catch it first."""

# causal_attention is imported by the stub that a mutant stands in; whoever needs more imports it.
from teachllm.school.checks import mutant


@mutant("test_output_has_the_shape_of_the_queries")
def heads_before_positions(q, keys, values, table, n_keys):
    k, v = (c[table].flatten(0, 1)[:n_keys].transpose(0, 1)[None] for c in (keys, values))
    return causal_attention(q.transpose(0, 1)[None], k, v)[0]


@mutant("test_blocks_are_taken_in_the_order_of_the_table")
def from_the_beginning_of_the_cache(q, keys, values, table, n_keys):
    k, v = (c.flatten(0, 1)[:n_keys].transpose(0, 1)[None] for c in (keys, values))
    return causal_attention(q.transpose(0, 1)[None], k, v)[0].transpose(0, 1)


@mutant("test_blocks_are_taken_in_the_order_of_the_table")
def blocks_sorted_by_number(q, keys, values, table, n_keys):
    k, v = (c[table.sort().values].flatten(0, 1)[:n_keys].transpose(0, 1)[None] for c in (keys, values))
    return causal_attention(q.transpose(0, 1)[None], k, v)[0].transpose(0, 1)


@mutant("test_slots_behind_the_end_do_not_count")
def whole_blocks(q, keys, values, table, n_keys):
    n_blocks = -(-n_keys // keys.shape[1])
    k, v = (c[table[:n_blocks]].flatten(0, 1).transpose(0, 1)[None] for c in (keys, values))
    return causal_attention(q.transpose(0, 1)[None], k, v)[0].transpose(0, 1)


@mutant("test_slots_behind_the_end_do_not_count")
def only_full_blocks(q, keys, values, table, n_keys):
    n_blocks = max(1, n_keys // keys.shape[1])
    k, v = (c[table[:n_blocks]].flatten(0, 1)[:n_keys].transpose(0, 1)[None] for c in (keys, values))
    return causal_attention(q.transpose(0, 1)[None], k, v)[0].transpose(0, 1)


@mutant("test_blocks_that_are_not_filled_do_not_count")
def cuts_the_last_block_only(q, keys, values, table, n_keys):
    block_size = keys.shape[1]
    end = (len(table) - 1) * block_size + (n_keys - 1) % block_size + 1
    k, v = (c[table].flatten(0, 1)[:end].transpose(0, 1)[None] for c in (keys, values))
    return causal_attention(q.transpose(0, 1)[None], k, v)[0].transpose(0, 1)


@mutant("test_new_positions_do_not_see_each_others_future")
def no_mask(q, keys, values, table, n_keys):
    import math

    import torch

    k, v = (c[table].flatten(0, 1)[:n_keys].transpose(0, 1) for c in (keys, values))
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[0], 0) for x in (k, v))
    scores = q.transpose(0, 1) @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    return (torch.softmax(scores, -1) @ v).transpose(0, 1)


@mutant("test_queries_stand_at_the_end")
def mask_from_the_upper_left(q, keys, values, table, n_keys):
    import math

    import torch

    k, v = (c[table].flatten(0, 1)[:n_keys].transpose(0, 1) for c in (keys, values))
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[0], 0) for x in (k, v))
    scores = q.transpose(0, 1) @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
    return (torch.softmax(scores, -1) @ v).transpose(0, 1)


@mutant("test_neighbouring_heads_share_keys")
def heads_take_turns(q, keys, values, table, n_keys):
    k, v = (c[table].flatten(0, 1)[:n_keys].transpose(0, 1) for c in (keys, values))
    k, v = (x.repeat(q.shape[1] // k.shape[0], 1, 1)[None] for x in (k, v))
    return causal_attention(q.transpose(0, 1)[None], k, v)[0].transpose(0, 1)


@mutant("test_blocks_of_others_are_not_read")
def hides_what_others_have(q, keys, values, table, n_keys):
    import math

    import torch

    n_blocks, block_size, kv_heads = keys.shape[:3]
    place = torch.full((n_blocks * block_size,), n_keys)
    for i in range(n_keys):
        place[int(table[i // block_size]) * block_size + i % block_size] = i
    group = q.shape[1] // kv_heads
    k, v = (c.flatten(0, 1).transpose(0, 1).repeat_interleave(group, 0) for c in (keys, values))
    scores = q.transpose(0, 1) @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    position = torch.arange(n_keys - len(q), n_keys)
    scores = scores.masked_fill(place > position[:, None], -math.inf)
    return (torch.softmax(scores, -1) @ v).transpose(0, 1)


@mutant("test_any_block_size")
def blocks_of_four(q, keys, values, table, n_keys):
    n_blocks = -(-n_keys // 4)
    k, v = (c[table[:n_blocks]].flatten(0, 1)[:n_keys].transpose(0, 1)[None] for c in (keys, values))
    return causal_attention(q.transpose(0, 1)[None], k, v)[0].transpose(0, 1)


@mutant("test_the_arguments_stay_as_they_were")
def scales_the_cache(q, keys, values, table, n_keys):
    k, v = (c[table].flatten(0, 1)[:n_keys].transpose(0, 1)[None] for c in (keys, values))
    out = causal_attention(q.transpose(0, 1)[None], k, v)[0].transpose(0, 1)
    keys[table] *= 1.0001
    return out
