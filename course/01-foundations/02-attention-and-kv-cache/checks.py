"""Checks of exercise 1.2. They run in the order in which they stand; the first that fails is the diagnosis."""

import torch
from torch.nn.functional import scaled_dot_product_attention as torch_attention

from teachllm.school.checks import diagnosis


def normal(*shape: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


@diagnosis(
    zh="输出的形状不对。输出和 q 一样，是 (batch, heads, query, d)：每个 query 一个向量。query 和 key 的个数可以不同，检查一下转置的是哪两维。",
    en="The output has the wrong shape. Like q it is (batch, heads, query, d), one vector for each query. There may be fewer queries than keys: "
    "check which two dimensions you transpose.",
)
def test_output_has_the_shape_of_the_queries(implementation):
    q, k, v = normal(2, 3, 4, 8, seed=0), normal(2, 3, 6, 8, seed=1), normal(2, 3, 6, 8, seed=2)
    assert tuple(implementation(q, k, v).shape) == (2, 3, 4, 8)


@diagnosis(
    zh="每一行的权重加起来不是 1。softmax 要沿着 key 的方向（最后一维）做：一行是一个 query 分给所有 key 的注意力。",
    en="The weights of a row do not add up to 1. The softmax runs along the keys (the last dimension): a row is how one query spreads its attention "
    "over all keys.",
)
def test_weights_of_each_query_add_up_to_one(implementation):
    q, k = normal(1, 2, 5, 4, seed=3), normal(1, 2, 7, 4, seed=4)
    torch.testing.assert_close(implementation(q, k, torch.ones(1, 2, 7, 4)), torch.ones(1, 2, 5, 4))


@diagnosis(
    zh="没有除以 √d。分数的方差等于每头的维度 d，不缩放，softmax 一开始就太尖了。",
    en="The scores are not divided by √d. Their variance equals the dimension d of a head; without scaling the softmax is too sharp from the start.",
)
def test_scores_are_scaled(implementation):
    q, k, v = normal(1, 1, 3, 64, seed=5), normal(1, 1, 9, 64, seed=6), normal(1, 1, 9, 64, seed=7)
    got = implementation(q, k, v)
    unscaled = torch_attention(q, k, v, scale=1.0)
    assert not torch.allclose(got, unscaled, atol=1e-3)


@diagnosis(
    zh="缩放的量不对。除数是每头维度 d 的平方根，不是 d 本身，也不是序列长度。给了 scale 参数时，分数应当乘以它。",
    en="The scaling is off. Divide by the square root of the head dimension d; not by d itself, nor by the length. When the argument scale is given, the "
    "scores are multiplied by it.",
)
def test_scaling_is_the_square_root_of_the_head_dimension(implementation):
    for d, queries, keys in ((64, 3, 9), (16, 5, 5), (4, 1, 12)):
        q, k, v = (
            normal(1, 2, queries, d, seed=d),
            normal(1, 2, keys, d, seed=d + 1),
            normal(1, 2, keys, d, seed=d + 2),
        )
        torch.testing.assert_close(implementation(q, k, v), torch_attention(q, k, v))
        torch.testing.assert_close(implementation(q, k, v, None, 0.3), torch_attention(q, k, v, scale=0.3))


@diagnosis(
    zh="掩码的意思用反了：True 是可以看，False 是不许看。",
    en="The mask is read the wrong way round: True means may be seen, False means forbidden.",
)
def test_true_in_the_mask_means_may_be_seen(implementation):
    q, k, v = normal(1, 1, 2, 8, seed=8), normal(1, 1, 3, 8, seed=9), normal(1, 1, 3, 8, seed=10)
    only_the_last = torch.tensor([[False, False, True], [False, False, True]])
    inverted = torch_attention(q, k, v, attn_mask=~only_the_last)
    assert not torch.allclose(implementation(q, k, v, only_the_last), inverted, atol=1e-4)


@diagnosis(
    zh="掩码加在了 softmax 之后。被遮住的位置已经分走了概率，剩下的加起来不到 1，未来的 key 还通过分母影响着现在。",
    en="The mask is applied after the softmax. The forbidden positions have already taken their share: what remains adds up to less than 1, and future keys "
    "still act on the present through the denominator.",
)
def test_visible_weights_add_up_to_one_under_a_mask(implementation):
    q, k = normal(2, 2, 6, 8, seed=11), normal(2, 2, 6, 8, seed=12)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    torch.testing.assert_close(implementation(q, k, torch.ones(2, 2, 6, 8), causal), torch.ones(2, 2, 6, 8))


@diagnosis(
    zh="分数很大时得到了 NaN 或 inf。直接算 exp 会溢出；用 torch.softmax，或者先减去每行的最大值。",
    en="Large scores give NaN or inf. A plain exp overflows; use torch.softmax, or subtract the maximum of each row first.",
)
def test_large_scores_do_not_overflow(implementation):
    q, k, v = (
        normal(1, 1, 4, 16, seed=19, spread=60),
        normal(1, 1, 4, 16, seed=20, spread=60),
        normal(1, 1, 4, 16, seed=21),
    )
    torch.testing.assert_close(implementation(q, k, v), torch_attention(q, k, v), atol=1e-4, rtol=1e-4)


@diagnosis(
    zh="未来漏了过来：改动后面的 key 和 value，前面位置的输出跟着变了。不许看的分数要在 softmax 之前变成 −∞。",
    en="The future leaks: changing later keys and values changes earlier outputs. Forbidden scores must become −∞ before the softmax.",
)
def test_the_future_does_not_leak(implementation):
    q, k, v = normal(1, 2, 6, 8, seed=13), normal(1, 2, 6, 8, seed=14, spread=3), normal(1, 2, 6, 8, seed=15)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    before = implementation(q, k, v, causal)
    k[:, :, 4:] += 3.0
    v[:, :, 4:] -= 100.0
    torch.testing.assert_close(implementation(q, k, v, causal)[:, :, :4], before[:, :, :4])


@diagnosis(
    zh="某个 query 一个 key 都不许看时，输出应当是 0，而不是 NaN（softmax 在一整行 −∞ 上是 0/0），也不是对被遮住的 value 取平均。",
    en="A query that may see no key must get an output of 0. It must not be NaN (the softmax of a row of −∞ is 0/0), nor the average of the forbidden values.",
)
def test_a_query_that_sees_nothing_gets_zero(implementation):
    q, k, v = normal(1, 1, 3, 8, seed=16), normal(1, 1, 4, 8, seed=17), normal(1, 1, 4, 8, seed=18)
    mask = torch.tensor([[True, True, False, False], [False] * 4, [True] * 4])
    got = implementation(q, k, v, mask)
    torch.testing.assert_close(got[:, :, 1], torch.zeros(1, 1, 8))
    torch.testing.assert_close(got[:, :, [0, 2]], torch_attention(q, k, v, attn_mask=mask)[:, :, [0, 2]])


@diagnosis(
    zh="掩码没有按 (batch, heads, query, key) 广播。每个样本、每个头的掩码可以不同，不能只取其中一份。",
    en="The mask is not broadcast to (batch, heads, query, key). Each sample and each head may have its own; do not take only one of them.",
)
def test_masks_differ_between_samples_and_heads(implementation):
    q, k, v = normal(3, 2, 4, 8, seed=22), normal(3, 2, 5, 8, seed=23), normal(3, 2, 5, 8, seed=24)
    mask = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(25)) > 0.4
    mask[..., 0] = True
    padding = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)[
        :, None, None, :
    ]
    for m in (mask, padding):
        torch.testing.assert_close(implementation(q, k, v, m), torch_attention(q, k, v, attn_mask=m))


@diagnosis(
    zh="传进来的张量被你改动了（例如用了 masked_fill_ 或 *= 这样的原地操作）。模型后面还要用它们。",
    en="You changed a tensor that was passed in (by an in-place operation such as masked_fill_ or *=). The model still needs it.",
)
def test_the_arguments_stay_as_they_were(implementation):
    q, k, v = normal(1, 1, 3, 8, seed=26), normal(1, 1, 3, 8, seed=27), normal(1, 1, 3, 8, seed=28)
    implementation(q, k, v, torch.ones(3, 3, dtype=torch.bool).tril())
    assert implementation.mutated == []
