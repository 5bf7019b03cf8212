"""Checks of exercise 8.2. They run in the order in which they stand; the first that fails is the diagnosis."""

import math

import torch

from teachllm.school.checks import diagnosis
from teachllm.stack.nn.philox import dropout_factors

FOUR_BY_FIVE = {"block_q": 4, "block_k": 5}


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seen(batch, n_queries, n_keys, causal, key_mask):
    """True where a query may see a key: (batch, 1, query, key)."""
    mask = torch.ones(batch, 1, n_queries, n_keys, dtype=torch.bool)
    if causal:
        mask = mask & torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries)
    return mask if key_mask is None else mask & key_mask[:, None, None, :]


def attention(q, k, v, causal=False, key_mask=None, scale=None, dropout=0.0, seed=0):
    """Output and log-sum-exp with the whole matrix written down: what autograd differentiates."""
    batch, heads, n_queries, d = q.shape
    n_keys, group = k.shape[2], heads // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    mask = seen(batch, n_queries, n_keys, causal, key_mask)
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(d) if scale is None else scale)
    logsumexp = scores.masked_fill(~mask, -math.inf).logsumexp(-1)
    empty = logsumexp == -math.inf
    weights = torch.exp(scores - torch.where(empty, 0.0, logsumexp).unsqueeze(-1)).masked_fill(~mask, 0.0)
    if dropout:
        head = torch.arange(batch * heads).view(batch, heads, 1, 1)
        weights = weights * dropout_factors(
            dropout, seed, head, torch.arange(n_queries).unsqueeze(-1), torch.arange(n_keys)
        )
    return weights @ v, logsumexp


def problem(batch=1, heads=1, kv_heads=1, n_queries=24, n_keys=None, d=8, d_v=None, seed=0):
    n_keys, d_v = n_keys or n_queries, d_v or d
    q, k, v = (
        normal(batch, heads, n_queries, d, seed=seed),
        normal(batch, kv_heads, n_keys, d, seed=seed + 1),
        normal(batch, kv_heads, n_keys, d_v, seed=seed + 2),
    )
    return q, k, v, normal(batch, heads, n_queries, d_v, seed=seed + 3)


def run(implementation, q, k, v, d_out, *, blocks=None, **options):
    """What the learner returns, and what autograd says."""
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out, logsumexp = attention(*leaves, **options)
    expected = torch.autograd.grad(out, leaves, d_out)
    got = implementation(q, k, v, out.detach(), logsumexp.detach(), d_out, **options, **(blocks or {}))
    return got, expected


def close(got, expected):
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


@diagnosis(
    zh="要返回三个梯度 (dq, dk, dv)，依次和 q、k、v 形状相同。",
    en="Return three gradients, (dq, dk, dv), each with the shape of q, k and v.",
)
def test_three_gradients_with_the_shapes_of_the_inputs(implementation):
    got, expected = run(implementation, *problem(d_v=6))
    assert len(got) == 3
    assert [tuple(x.shape) for x in got] == [tuple(x.shape) for x in expected]


@diagnosis(
    zh="只有一格时，dV 就不对。dV = Pᵀ dO，P = e^(S − L)：S 里有 scale，L 每个 query 一个数，减之前补一维 unsqueeze(-1)。检查用 float64，片上别一律转成 float32。",
    en="dV is wrong even with a single tile. dV = Pᵀ dO with P = e^(S − L): S contains the scale, and L has one number a query, so give it one more dimension by unsqueeze(-1) before you subtract. The check is in float64: do not make everything float32.",
)
def test_the_values_of_one_tile(implementation):
    got, expected = run(implementation, *problem())
    close(got[2], expected[2])


@diagnosis(
    zh="dV 对了，dQ 或 dK 不对（只有一格）。dS = P∘(dP − D)，D 是每个 query 一个数，rowsum(dO∘O)；忘了减 D，等于忘了 softmax 的分母也会变。dQ = dS K，dK = dSᵀ Q，都还要乘 scale。",
    en="dV is right, dQ or dK is not, with a single tile. dS = P∘(dP − D), where D is one number a query, rowsum(dO∘O). Without D you forget that the denominator of the softmax changes too. dQ = dS K and dK = dSᵀ Q, both times scale.",
)
def test_queries_and_keys_of_one_tile(implementation):
    got, expected = run(implementation, *problem())
    close(got[0], expected[0])
    close(got[1], expected[1])


@diagnosis(
    zh="给了别的 scale，就错了。S 要乘的是传进来的 scale（tiles.scale），dQ、dK 也乘它，而不是 1/√d。",
    en="It is wrong when another scale is given. S is multiplied by the scale that is passed in (tiles.scale), and so are dQ and dK, not by 1/√d.",
)
def test_a_scale_of_its_own(implementation):
    got, expected = run(implementation, *problem(), scale=0.7)
    for x, y in zip(got, expected, strict=True):
        close(x, y)


@diagnosis(
    zh="一格时对，几块 key 时 dQ 错了。dQ 的一行要把所有 key 的贡献加起来：每碰到一格就累加，不是覆盖。D 也必须是整行的和：只在一格里求 rowsum(P∘dP) 是不够的，用 rowsum(dO∘O)。",
    en="It is right with one tile, but dQ is wrong with several blocks of keys. A row of dQ sums over all keys: add at every tile, do not overwrite. D must be of the whole row too: rowsum(P∘dP) of one tile is not enough, rowsum(dO∘O) is.",
)
def test_queries_sum_over_all_blocks_of_keys(implementation):
    got, expected = run(implementation, *problem(), blocks={"block_q": 24, "block_k": 6})
    close(got[0], expected[0])


@diagnosis(
    zh="几块 query 时，dK 或 dV 错了。外层的一块 key 要把所有 query 块的贡献都加上，走完才写出去。",
    en="With several blocks of queries dK or dV is wrong. A block of keys collects from all blocks of queries, and is written once all have passed.",
)
def test_keys_sum_over_all_blocks_of_queries(implementation):
    got, expected = run(implementation, *problem(), blocks={"block_q": 6, "block_k": 24})
    close(got[1], expected[1])
    close(got[2], expected[2])


@diagnosis(
    zh="块不整除长度，或者两种块大小不同时错了。最后一块可能小一些；切片用 tiles 给的 rows、columns，别自己按 block_q 算。",
    en="It is wrong when blocks do not divide the length, or differ in size. The last one may be smaller: slice by the rows and columns that tiles gives, not by multiples of block_q.",
)
def test_ragged_blocks_of_two_sizes(implementation):
    got, expected = run(implementation, *problem(n_queries=22, n_keys=31, d_v=5), blocks=FOUR_BY_FIVE)
    for x, y in zip(got, expected, strict=True):
        close(x, y)


@diagnosis(
    zh="因果掩码下错了。重算分数时掩码也要再用一次（tiles.scores 会做）；query 比 key 少时，从右下角对齐。",
    en="It is wrong with a causal mask. Scores that are computed again are masked again (tiles.scores does it), aligned at the lower right when there are fewer queries than keys.",
)
def test_a_causal_mask(implementation):
    for n_keys in (23, 30):
        got, expected = run(
            implementation, *problem(n_queries=23, n_keys=n_keys), causal=True, blocks=FOUR_BY_FIVE
        )
        for x, y in zip(got, expected, strict=True):
            close(x, y)


@diagnosis(
    zh="被因果掩码整块遮住的格子也算了。检查里在看不见的地方放了 NaN：0 乘 NaN 还是 NaN。内层用 tiles.rows_that_see(columns)，整块看不见的 query 连读都不读。",
    en="Tiles that the causal mask hides altogether were computed too. This check has put NaN where nothing may be read, and 0 times NaN is NaN. Let the inner loop go over tiles.rows_that_see(columns): what cannot be seen is not even read.",
)
def test_hidden_tiles_are_not_read(implementation):
    q, k, v, d_out = problem(n_queries=24)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    out, logsumexp = attention(*leaves, causal=True)
    _, dk, dv = torch.autograd.grad(out, leaves, d_out)
    q[:, :, :6] = math.nan  # the first block of queries sees the first block of keys only
    got = implementation(q, k, v, out.detach(), logsumexp.detach(), d_out, causal=True, block_q=6, block_k=6)
    close(got[1][:, :, 6:], dk[:, :, 6:])
    close(got[2][:, :, 6:], dv[:, :, 6:])


@diagnosis(
    zh="有的 query 一个 key 也看不到（全是填充）：它的 L 是 −∞，−∞ − (−∞) 是 NaN。减之前用 finite 换成 0，权重就自然是 0，梯度也是 0。",
    en="Some queries see no key at all, only padding: their L is −∞, and −∞ − (−∞) is NaN. Replace it by 0 with finite before you subtract; the weights then are 0 by themselves, and so is the gradient.",
)
def test_queries_that_see_no_key(implementation):
    mask = torch.ones(2, 21, dtype=torch.bool)
    mask[0, :9] = False
    mask[1] = False
    got, expected = run(
        implementation, *problem(batch=2, n_queries=21), causal=True, key_mask=mask, blocks=FOUR_BY_FIVE
    )
    for x, y in zip(got, expected, strict=True):
        close(x, y)


@diagnosis(
    zh="几个 query 头共用一个 key 头（GQA）时错了。这一组里每个 query 头都给 dK、dV 贡献一份，写出去之前要在组这一维（第 2 维）求和。",
    en="It is wrong when several query heads share a head of keys (GQA). Each query head of the group contributes to dK and dV: sum over the group (dimension 2) before you write them.",
)
def test_heads_that_share_keys_add_up(implementation):
    got, expected = run(
        implementation, *problem(batch=2, heads=6, kv_heads=2, n_queries=13), causal=True, blocks=FOUR_BY_FIVE
    )
    for x, y in zip(got, expected, strict=True):
        close(x, y)


@diagnosis(
    zh="有 dropout 时错了。同一个 Z（tiles.kept）出现两次：dV = (P∘Z)ᵀ dO，dP = (dO Vᵀ)∘Z。但 dS = P∘(dP − D) 里的 P 不乘 Z：丢掉的是权重去乘 value 的那一步，不是 softmax 自己。",
    en="It is wrong with dropout. The same Z (tiles.kept) appears twice: dV = (P∘Z)ᵀ dO and dP = (dO Vᵀ)∘Z. The P of dS = P∘(dP − D) is not multiplied by Z: what is dropped is a weight on its way to the values, not in the softmax.",
)
def test_dropout(implementation):
    got, expected = run(
        implementation,
        *problem(batch=2, heads=2, kv_heads=1, n_queries=17),
        dropout=0.4,
        seed=11,
        blocks=FOUR_BY_FIVE,
    )
    for x, y in zip(got, expected, strict=True):
        close(x, y)


@diagnosis(
    zh="输入是 bfloat16 时，要么返回的类型不对，要么误差太大。片上换成 float32 再算；dQ 在块与块之间累加，也要用 float32 存，最后才转回 bfloat16，否则每块舍入一次。",
    en="With bfloat16 inputs either the dtype of a result or its error is wrong. On the chip compute in float32; dQ is added to from block to block and waits in float32 too, to become bfloat16 at the very end. Otherwise it is rounded at every block.",
)
def test_bfloat16_is_rounded_once(implementation):
    q, k, v, d_out = (x.bfloat16() for x in problem(n_queries=96, d=4, seed=7))
    exact = [x.double() for x in (q, k, v)]
    leaves = [x.clone().requires_grad_() for x in exact]
    out, logsumexp = attention(*leaves)
    expected = torch.autograd.grad(out, leaves, d_out.double())
    # Output and log-sum-exp in float32: only the rounding of this function is looked at.
    got = implementation(
        q, k, v, out.detach().float(), logsumexp.detach().float(), d_out, block_q=96, block_k=1
    )
    assert [x.dtype for x in got] == [torch.bfloat16] * 3
    for x, y in zip(got, expected, strict=True):
        torch.testing.assert_close(x.double(), y, atol=2e-5, rtol=2**-8)


@diagnosis(
    zh="传进来的张量被你改动了（例如用了 *= 这样的原地操作）。调用的人还要用它们。",
    en="You changed a tensor that was passed in (by an in-place operation such as *=). The caller still needs it.",
)
def test_the_arguments_stay_as_they_were(implementation):
    run(implementation, *problem(), blocks=FOUR_BY_FIVE)
    assert implementation.mutated == []


@diagnosis(
    zh="内存不够：你把 N × N 的矩阵写出来了。一格算完就用掉、丢掉，任何时候只有一格大小的张量。",
    en="Out of memory: you wrote down an N × N matrix. Use a tile up and drop it; no tensor is larger than a tile.",
)
def test_no_matrix_of_scores(implementation):
    n = 8192
    q, k, v, d_out = (x.float() for x in problem(n_queries=n, d=4))
    out, logsumexp = torch.zeros_like(d_out), torch.full((1, 1, n), 10.0)
    got = implementation(q, k, v, out, logsumexp, d_out, causal=True, block_q=1024, block_k=1024)
    assert all(x.isfinite().all() for x in got)
