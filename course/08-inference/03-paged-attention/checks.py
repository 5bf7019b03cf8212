"""Checks of exercise 8.3. They run in the order in which they stand; the first that fails is the diagnosis."""

import torch
from torch.nn.functional import scaled_dot_product_attention

from teachllm.school.checks import diagnosis

OTHERS = 50.0  # what other texts have left in the cache: large enough to show


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(q, k, v):
    """The oracle: q (new, heads, d) at the end of k and v (positions, kv_heads, d), in one piece."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    seen = torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q))
    heads = scaled_dot_product_attention(*(x.transpose(0, 1) for x in (q, k, v)), attn_mask=seen)
    return heads.transpose(0, 1)


def paged(k, v, table, block_size, n_blocks=12, others=OTHERS):
    """Keys and values put into the blocks of `table`; everything else holds `others`."""
    caches = []
    for whole in (k, v):
        cache = torch.full((n_blocks, block_size, *whole.shape[1:]), others)
        for i, one in enumerate(whole):
            cache[table[i // block_size], i % block_size] = one
        caches.append(cache)
    return caches


def case(new, n_keys, heads, kv_heads, table, block_size, seed, **rest):
    q, k, v = (
        normal(new, heads, 8, seed=seed),
        normal(n_keys, kv_heads, 8, seed=seed + 1),
        normal(n_keys, kv_heads, 8, seed=seed + 2),
    )
    keys, values = paged(k, v, table, block_size, **rest)
    return (q, keys, values, torch.tensor(table), n_keys), attention(q, k, v)


@diagnosis(
    zh="输出的形状不对。输出和 q 一样，是 (new, heads, d)：位置在前，头在后。从 causal_attention 出来是头在前，还要转置回去，并去掉 batch 那一维。",
    en="The output has the wrong shape. Like q it is (new, heads, d), positions before heads. causal_attention returns heads first: transpose back and drop the batch dimension.",
)
def test_output_has_the_shape_of_the_queries(implementation):
    arguments, _ = case(3, 8, 4, 4, [0, 1], 4, seed=0)
    assert tuple(implementation(*arguments).shape) == (3, 4, 8)


@diagnosis(
    zh="块表没有起作用，或者顺序不对：结果像是按块号从小到大取的，或是从缓存开头数的。要按 table 列出的顺序取块。",
    en="The table is not used, or not in its order: the result is that of blocks sorted by number, or counted from the beginning of the cache. Take blocks in the order in which the table lists them.",
)
def test_blocks_are_taken_in_the_order_of_the_table(implementation):
    for table in ([7, 2, 5], [3, 9, 1]):
        (q, keys, values, blocks, n_keys), _ = case(12, 12, 2, 2, table, 4, seed=3)
        got = implementation(q, keys, values, blocks, n_keys)
        for wrong in (sorted(table), [0, 1, 2]):
            k, v = (cache[wrong].flatten(0, 1) for cache in (keys, values))
            assert not torch.allclose(got, attention(q, k, v), atol=1e-4)


@diagnosis(
    zh="未来漏了过来。一次送进几个新位置的时候，每个只能看到自己和自己以前的，不能看到排在它后面的新位置。",
    en="The future leaks. When several new positions come at once, each sees itself and what is before it, and not the new ones behind it.",
)
def test_new_positions_do_not_see_each_others_future(implementation):
    (q, keys, values, table, n_keys), _ = case(4, 8, 2, 2, [1, 6], 4, seed=12)
    before = implementation(q, keys, values, table, n_keys)
    values[table[1], 3] += 100
    keys[table[1], 3] += 3
    after = implementation(q, keys, values, table, n_keys)
    torch.testing.assert_close(after[:3], before[:3])


@diagnosis(
    zh="因果掩码的偏移错了。q 是最新的几个位置，排在全部 n_keys 个的末尾：第 i 个的位置是 n_keys - new + i，它看得到前面所有已经写好的。",
    en="The causal mask is shifted. q holds the newest positions, at the end of all n_keys: query i stands at n_keys - new + i and sees everything that was written before.",
)
def test_queries_stand_at_the_end(implementation):
    for new in (1, 3, 5):
        arguments, expected = case(new, 12, 2, 2, [7, 2, 5], 4, seed=new)
        torch.testing.assert_close(implementation(*arguments), expected)


@diagnosis(
    zh="最后一块里，文字写到的位置后面，是别人留下的 key 和 value，你把它们也算进去了。只有前 n_keys 个位置算数。",
    en="Behind the end of the text, its last block holds keys and values that others have left, and you let them take part. Only the first n_keys positions count.",
)
def test_slots_behind_the_end_do_not_count(implementation):
    for n_keys in (9, 10, 11):
        arguments, expected = case(1, n_keys, 2, 2, [7, 2, 5], 4, seed=6)
        torch.testing.assert_close(implementation(*arguments), expected)


@diagnosis(
    zh="块表比写满的块长时结果变了。表里多出来的块是预先要来、还没写的，里面的东西不能算。",
    en="The result changes when the table is longer than what is filled. Further blocks were taken in advance and are not written yet: what they hold must not take part.",
)
def test_blocks_that_are_not_filled_do_not_count(implementation):
    (q, keys, values, table, n_keys), expected = case(1, 7, 2, 2, [7, 2], 4, seed=9)
    longer = torch.cat([table, torch.tensor([4, 0])])
    torch.testing.assert_close(implementation(q, keys, values, longer, n_keys), expected)


@diagnosis(
    zh="query 头和 KV 头没有配对。4 个 query 头、2 个 KV 头时，头 0、1 用第 0 个，头 2、3 用第 1 个：挨着的头共用一个，不是轮流用。",
    en="Query heads and KV heads are not matched. With 4 query heads and 2 KV heads, heads 0 and 1 use the first and heads 2 and 3 the second: neighbours share, they do not take turns.",
)
def test_neighbouring_heads_share_keys(implementation):
    for heads, kv_heads in ((4, 2), (6, 2), (3, 1)):
        arguments, expected = case(2, 10, heads, kv_heads, [7, 2, 5], 4, seed=heads)
        torch.testing.assert_close(implementation(*arguments), expected)


@diagnosis(
    zh="别的文字的块里有 NaN，你的结果也成了 NaN：你读了不属于这段文字的块。权重是 0 也拦不住 NaN，0 乘 NaN 还是 NaN；只取表里的块。",
    en="Blocks of other texts hold NaN, and so does your result: you read blocks that do not belong to this text. A weight of 0 does not stop a NaN, as 0 times NaN is NaN. Take only the blocks of the table.",
)
def test_blocks_of_others_are_not_read(implementation):
    arguments, expected = case(2, 8, 4, 2, [7, 2], 4, seed=15, others=float("nan"))
    torch.testing.assert_close(implementation(*arguments), expected)


@diagnosis(
    zh="块的大小写死了，或者取整错了。block_size 是 keys.shape[1]，可以是 1，也可以比文字还长；块数是 n_keys 除以它，向上取整。",
    en="The block size is a fixed number, or rounded wrongly. block_size is keys.shape[1]; it may be 1, or larger than the text. The number of blocks is n_keys divided by it, rounded up.",
)
def test_any_block_size(implementation):
    for block_size, table, n_keys in (
        (1, [7, 2, 5, 0, 3], 5),
        (16, [3], 5),
        (8, [4, 1], 16),
        (3, [2, 9, 4], 7),
    ):
        arguments, expected = case(2, n_keys, 4, 2, table, block_size, seed=block_size)
        torch.testing.assert_close(implementation(*arguments), expected)


@diagnosis(
    zh="传进来的张量被你改动了。缓存是大家的，别的文字还要用。",
    en="You changed a tensor that was passed in. The cache belongs to all; other texts still need it.",
)
def test_the_arguments_stay_as_they_were(implementation):
    arguments, _ = case(2, 10, 4, 2, [7, 2, 5], 4, seed=18)
    implementation(*arguments)
    assert implementation.mutated == []
