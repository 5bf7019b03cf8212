"""Checks of exercise 8.6. They run in the order in which they stand; the first that fails is the diagnosis."""

import torch
from torch.nn.functional import scaled_dot_product_attention as torch_attention

from teachllm.school.checks import diagnosis


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def expected(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    n_queries, n_keys, group = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries)
    return torch_attention(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), mask)


def heads(n_queries: int, n_keys: int, n_heads: int = 4, n_kv_heads: int = 4, seed: int = 0):
    return (
        normal(2, n_heads, n_queries, 8, seed=seed),
        normal(2, n_kv_heads, n_keys, 8, seed=seed + 1),
        normal(2, n_kv_heads, n_keys, 8, seed=seed + 2),
    )


@diagnosis(
    zh="解码错了：只有 1 个 query 时，它是最新的位置，缓存里的每一个 key 都看得见；分数除以 √d。",
    en="Decoding is wrong: a single query is the newest position and sees every key in the cache, and scores are divided by √d.",
)
def test_one_query_sees_every_key(implementation):
    q, k, v = heads(1, 7, seed=10)
    torch.testing.assert_close(implementation(q, k, v), expected(q, k, v))


@diagnosis(
    zh="预填充没有因果掩码：改动后面的 key 和 value，前面位置的输出跟着变了。虽然只用最后一个位置的 logits，中间位置的输出却要进下一层的缓存。",
    en="The prefill has no causal mask: changing later keys and values changes earlier outputs. Only the last position's logits are used, but what the "
    "positions before it give goes into the cache of the next layer.",
)
def test_a_prefill_does_not_see_the_future(implementation):
    q, k, v = heads(6, 6, seed=20)
    before = implementation(q, k, v)
    k[:, :, 4:] += 3.0
    v[:, :, 4:] -= 100.0
    torch.testing.assert_close(implementation(q, k, v)[:, :, :4], before[:, :, :4])


@diagnosis(
    zh="预填充的数值不对：每个位置看得见自己和前面的全部，分数除以 √d。检查掩码有没有把自己也遮住。",
    en="The numbers of a prefill are off: each position sees itself and everything before it, and scores are divided by √d. Does your mask hide a position from itself?",
)
def test_a_prefill_gives_the_numbers_of_the_formula(implementation):
    q, k, v = heads(6, 6, seed=30)
    torch.testing.assert_close(implementation(q, k, v), expected(q, k, v))


@diagnosis(
    zh="分块时掩码没有错开：第 i 个 query 的位置是“已缓存 + i”，不是 i。从左上角对齐的 tril 会把缓存里的大半丢掉。",
    en="In a chunk the mask is not shifted: query i stands at position “cached + i”, not at i. A tril that is aligned at the upper left throws most of the cache away.",
)
def test_a_chunk_sees_the_cache_and_its_own_past(implementation):
    for n_queries, n_keys in ((3, 7), (2, 9), (5, 6)):
        q, k, v = heads(n_queries, n_keys, seed=40 + n_queries)
        torch.testing.assert_close(implementation(q, k, v), expected(q, k, v))


@diagnosis(
    zh="KV 组数比 query 头少时错了：query 头 h 用第 h // (heads / kv_heads) 组，同组的头是相邻的。",
    en="Wrong when there are fewer sets of KV than query heads: query head h uses set h // (heads / kv_heads), so the heads of a group are neighbours.",
)
def test_query_heads_of_a_group_are_neighbours(implementation):
    for n_heads, n_kv_heads in ((6, 2), (4, 1), (9, 3)):
        for n_queries in (1, 3, 5):
            q, k, v = heads(n_queries, 5, n_heads, n_kv_heads, seed=50 + n_heads)
            torch.testing.assert_close(implementation(q, k, v), expected(q, k, v))


@diagnosis(
    zh="三层叠起来，分块读和一次读完的结果不一样。每一步的注意力都要和整段前向里那几行一样。",
    en="Through three layers, reading in chunks and reading at once give different results. The attention of each step must be the same rows that the whole text gives.",
)
def test_three_layers_agree_however_the_text_is_read(implementation):
    d, n = 16, 9
    weights = [normal(3, d, d, seed=60 + layer) / d**0.5 for layer in range(3)]
    x = normal(1, n, d, seed=70)

    def split(y: torch.Tensor) -> torch.Tensor:
        return y.unflatten(-1, (2, d // 2)).transpose(1, 2)

    def read(sizes: tuple[int, ...]) -> torch.Tensor:
        caches, out, at = [[] for _ in weights], [], 0
        for size in sizes:
            h, at = x[:, at : at + size], at + size
            for layer, (wq, wk, wv) in enumerate(weights):
                caches[layer].append((split(h @ wk), split(h @ wv)))
                k, v = (torch.cat(parts, dim=2) for parts in zip(*caches[layer], strict=True))
                h = h + implementation(split(h @ wq), k, v).transpose(1, 2).flatten(2)
            out.append(h)
        return torch.cat(out, dim=1)

    whole = read((n,))
    for sizes in ((1,) * n, (4, 3, 2), (5, 1, 1, 2)):
        torch.testing.assert_close(read(sizes), whole, atol=1e-5, rtol=1e-5)
