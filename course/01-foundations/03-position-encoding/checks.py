"""Checks of exercise 1.3. They run in the order in which they stand; the first that fails is the diagnosis."""

import math

import torch

from teachllm.school.checks import diagnosis


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(index: int, dim: int) -> torch.Tensor:
    """One row that is 1 at ``index`` and 0 elsewhere."""
    return torch.eye(dim)[index : index + 1]


def angle_of_pair(turned: torch.Tensor, pair: int) -> float:
    """By how much (1, 0) in this pair was turned, from -π to π."""
    half = turned.shape[-1] // 2
    return math.atan2(turned[0, pair + half].item(), turned[0, pair].item())


@diagnosis(
    zh="输出的形状不对。转动不改变形状：输出和 x 一样。检查一下拼接的是不是最后一维，两半是不是都在。",
    en="The output has the wrong shape. Turning does not change it: the output is shaped like x. Check that you join along the last dimension and that both "
    "halves are there.",
)
def test_the_shape_stays(implementation):
    for shape in ((2, 5, 5, 8), (1, 8)):
        got = implementation(normal(*shape, seed=0), torch.arange(shape[-2]))
        assert tuple(got.shape) == shape


@diagnosis(
    zh="位置 0 也被改动了。角度是 位置 × 频率，位置 0 的角度是 0，转 0 等于不转：cos 0 = 1，sin 0 = 0，输出应当等于输入，分量的次序也不变。",
    en="Position 0 was changed. An angle is position × frequency, so at position 0 it is 0 and nothing turns: cos 0 = 1, sin 0 = 0. The output must equal the "
    "input, with its components in the same order.",
)
def test_position_zero_changes_nothing(implementation):
    x = normal(1, 2, 1, 8, seed=1)
    torch.testing.assert_close(implementation(x, torch.tensor([0])), x)


@diagnosis(
    zh="向量的长度变了，这不是旋转。(a, b) 转过去是 (a cos − b sin, a sin + b cos)：恰好有一个减号，第二项的 a、b 也不能写反。RoPE 是乘（旋转），不是加。",
    en="The length of the vectors changed, so this is no rotation. (a, b) becomes (a cos − b sin, a sin + b cos): exactly one minus sign, and a and b in the "
    "second term not exchanged. RoPE multiplies (turns); it does not add.",
)
def test_lengths_stay(implementation):
    x = normal(2, 6, 6, 16, seed=2)
    got = implementation(x, torch.arange(1, 7))
    torch.testing.assert_close(got.norm(dim=-1), x.norm(dim=-1))


@diagnosis(
    zh="配对错了。这里用对半式：第 i 个分量和第 i + dim/2 个是一对。你把相邻的两个（交错式）或别的两个配成了对。从头训练时两种都行，装载按对半式训练的权重就不行。",
    en="The pairs are wrong. The layout is half-split: component i pairs with i + dim/2. You paired neighbours (interleaved) or some other two. A model trained from "
    "scratch would not mind; weights trained with half-split do.",
)
def test_component_i_pairs_with_i_plus_half(implementation):
    for pair in range(4):
        got = implementation(unit(pair, 8), torch.tensor([3]))
        others = [i for i in range(8) if i not in (pair, pair + 4)]
        torch.testing.assert_close(got[:, others], torch.zeros(1, 6))


@diagnosis(
    zh="方向反了。位置 m 把 (1, 0) 逆时针转到 (cos, sin)，sin 是正的；你转成了 (cos, −sin)。长度和“只看距离”都成立，但前后颠倒：query 在 key 之后，算成了在它之前。",
    en="The direction is reversed. Position m turns (1, 0) anticlockwise to (cos, sin), with a positive sine; yours is (cos, −sin). Lengths and distances still "
    "come out, but before and after are exchanged: a query behind a key counts as one in front of it.",
)
def test_turning_is_anticlockwise(implementation):
    got = implementation(unit(0, 8), torch.tensor([1]))
    assert not math.isclose(angle_of_pair(got, 0), -1.0, abs_tol=1e-4)
    assert angle_of_pair(implementation(unit(3, 8), torch.tensor([1])), 3) >= 0


@diagnosis(
    zh="最快的一对不对：第 0 对每前进一个位置应当转 1 弧度，因为 base 的 0 次方是 1。i 是不是从 1 数起了？指数是 −2i/d，i 从 0 到 d/2 − 1。",
    en="The fastest pair is off: pair 0 turns by 1 radian a position, since base to the power 0 is 1. Does your i begin at 1? The exponent is −2i/d with i from 0 "
    "to d/2 − 1.",
)
def test_the_first_pair_turns_one_radian_a_position(implementation):
    for position in (1, 2, 3):
        got = implementation(unit(0, 8), torch.tensor([position]))
        assert math.isclose(angle_of_pair(got, 0), position, abs_tol=1e-4)


@diagnosis(
    zh="频率不对。第 i 对的频率是 base^(−2i/d)，d 是整个头的维度：用 i/d 少了个 2，用 d/2 做分母就不再乘 2；频率随 i 变小，指数要有负号；base 用参数给的，默认 10000。",
    en="The frequencies are off. Pair i has base^(−2i/d), where d is the dimension of the whole head. With i/d a factor 2 is missing; with d/2 below, leave the 2 out. "
    "Frequencies fall with i, so the exponent is negative. The base is the argument, 10000 by default.",
)
def test_frequencies(implementation):
    for base, dim in ((10_000.0, 8), (500_000.0, 8), (100.0, 16)):
        for pair in range(dim // 2):
            got = implementation(unit(pair, dim), torch.tensor([2]), base)
            assert math.isclose(angle_of_pair(got, pair), 2 * base ** (-2 * pair / dim), abs_tol=1e-5)
    by_default = implementation(unit(1, 8), torch.tensor([2]))
    assert math.isclose(angle_of_pair(by_default, 1), 2 * 10_000 ** (-2 / 8), abs_tol=1e-5)


@diagnosis(
    zh="位置没有照 positions 来。每一行的位置由 positions 给出，可以从 7 开始，可以跳着来；自己用 arange 从 0 数，解码时每个新 token 都会以为自己是句首。",
    en="The positions given were not used. `positions` says where each row stands; they may begin at 7 and have gaps. If you count from 0 yourself, every new token "
    "believes, when decoding, that it is the first.",
)
def test_positions_are_those_given(implementation):
    positions = torch.tensor([7, 8, 30])
    got = implementation(unit(0, 4).expand(3, 4), positions)
    expected = torch.stack([positions.cos(), torch.zeros(3), positions.sin(), torch.zeros(3)], dim=-1)
    torch.testing.assert_close(got, expected)


@diagnosis(
    zh="batch 或 heads 之间混了。每个样本、每个头都用同样的角度，互不相干；x 的最后两维是 (position, dim)，不是 (heads, dim)。检查 cos、sin 的形状是不是 (position, dim/2)，从右边对齐着广播。",
    en="Samples or heads got mixed. Each turns by the same angles, independently of the others. The last two dimensions of x are (position, dim), not (heads, dim): "
    "check that cos and sin have the shape (position, dim/2) and line up from the right.",
)
def test_samples_and_heads_do_not_mix(implementation):
    x, positions = normal(2, 4, 4, 8, seed=3), torch.arange(4)
    together = implementation(x, positions)
    for batch in range(2):
        for head in range(4):
            torch.testing.assert_close(together[batch, head], implementation(x[batch, head], positions))


@diagnosis(
    zh="分数不只取决于距离：query 和 key 一起往后挪，点积变了。角度必须和位置成正比；远处有偏差，多半是角度的精度不够（应当用 float32）。",
    en="A score does not depend on distance alone: when query and key move together, their product changes. Angles must be proportional to positions; if only far "
    "positions are off, the angles lack precision (use float32).",
)
def test_scores_depend_on_the_distance(implementation):
    q, k = normal(1, 32, seed=4), normal(1, 32, seed=5)
    for distance in (0, 1, 7, -4):
        scores = [
            (implementation(q, torch.tensor([m + distance])) * implementation(k, torch.tensor([m]))).sum()
            for m in (4, 50, 1000, 4000)
        ]
        torch.testing.assert_close(torch.stack(scores), scores[0].expand(4), atol=5e-3, rtol=0)


@diagnosis(
    zh="x 是 bf16 时结果不对。角度要用 float32 算（bf16 里 257 存成 256，远处的角度差得很多），最后再转回 x 的 dtype，返回值应当是 bf16。",
    en="The result is off when x is bf16. Compute angles in float32 (in bf16, 257 is stored as 256, and far angles go astray) and convert at the end: what you return "
    "must be bf16 too.",
)
def test_half_precision_in_half_precision_out(implementation):
    x, positions = normal(1, 2, 3, 8, seed=6).bfloat16(), torch.tensor([257, 1001, 4001])
    got = implementation(x, positions)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), implementation(x.float(), positions), atol=0.03, rtol=0.01)


@diagnosis(
    zh="传进来的张量被你改动了（例如 x[..., :half] *= cos 这样的原地操作）。而且这样写，算后一半时用的已经是改过的前一半。",
    en="You changed a tensor that was passed in (by an in-place operation such as x[..., :half] *= cos). Written so, the second half is computed from a first half "
    "that has already changed.",
)
def test_the_arguments_stay_as_they_were(implementation):
    implementation(normal(1, 2, 3, 8, seed=7), torch.arange(3))
    assert implementation.mutated == []
