"""Figures, labs and values of lesson 1.3: order, sinusoids, rotation, distance, ALiBi."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from teachllm.school.figures import (
    Arrows,
    Bars,
    Both,
    Choice,
    Event,
    Heatmap,
    Lines,
    Metric,
    Predict,
    Progress,
    Sample,
    Say,
    Show,
    Slider,
    Table,
    Text,
    TextInput,
    Toggle,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import config, greedy_answer, model, question_ids, tokenizer
from teachllm.stack.data.corpora import stdlib_docs
from teachllm.stack.nn import positions as encodings
from teachllm.stack.nn.attention import (
    causal_mask,
    fused_causal_attention,
    scaled_dot_product_attention,
    use_attention,
)
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.nn.positions import (
    alibi_slopes,
    apply_rope_interleaved,
    rope,
    rope_cos_sin,
    rope_frequencies,
    sinusoidal_positions,
)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- attention cannot tell the order

DIM = 8
DOG, BITES, MAN = 0, 1, 2
ORDERS = {"dog bites man": (DOG, BITES, MAN), "man bites dog": (MAN, BITES, DOG)}


def output_of_bites(order: tuple[int, ...], method: str, causal: bool) -> Tensor:
    """What attention gives to the word in the middle; embeddings and projections are fixed random numbers."""
    x = normal(3, DIM, seed=5)[list(order)]
    positions = torch.arange(3)
    if method == "sinusoidal":
        x = x + sinusoidal_positions(3, DIM)
    q, k, v = (x @ (normal(DIM, DIM, seed=seed) / math.sqrt(DIM)) for seed in (11, 12, 13))
    if method == "rope":
        q, k = rope(q, positions), rope(k, positions)
    mask = causal_mask(3) if causal else None
    return scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], mask)[0, 0, BITES]


@value
def change_of_bites(method: str = "none", causal: bool = False) -> float:
    """Largest change of a component when the first word and the last change places."""
    one, other = (output_of_bites(order, method, causal) for order in ORDERS.values())
    return (one - other).abs().max().item()


@figure(
    title=Both("“咬”这个位置的输出，两种语序", "The output at “bites” in two orders"),
    predict=Predict(
        Both(
            "下面没有位置编码，两种语序在“咬”这里的输出一样。仍然不加位置编码，只打开因果掩码，两个输出还一样吗？",
            "Below there are no positions, and the output at “bites” is the same in both orders. Still without positions, turn on the causal "
            "mask. Are the two outputs still the same?",
        ),
        choices=[Both("还一样", "still the same"), Both("不一样了", "they differ")],
        answer=lambda: int(change_of_bites(causal=True) > 1e-5),
        explain=lambda: Both(
            f"最大的变化成了 {change_of_bites(causal=True):.2f}。“咬”只看得到自己和前面的词，一种语序里前面是狗，另一种里是人，收到的 value 不同。",
            f"The largest change is now {change_of_bites(causal=True):.2f}. “Bites” sees itself and what stands before it, a dog in one order and "
            "a man in the other, so it receives other values.",
        ),
    ),
)
def order_blind(
    method: Annotated[
        str,
        Choice(
            [
                ("none", Both("没有", "none")),
                ("sinusoidal", Both("正弦", "sinusoidal")),
                ("rope", "RoPE"),
            ],
            label=Both("位置编码", "positions"),
        ),
    ] = "none",
    causal: Annotated[bool, Toggle(label=Both("因果掩码", "causal mask"))] = False,
) -> list[Bars | Text]:
    outputs = [output_of_bites(order, method, causal) for order in ORDERS.values()]
    change = change_of_bites(method, causal)
    return [
        Bars(
            [str(component) for component in range(1, DIM + 1)],
            series={
                Both("狗 咬 人", "dog bites man"): outputs[0],
                Both("人 咬 狗", "man bites dog"): outputs[1],
            },
            x_label=Both("输出的分量", "component of the output"),
        ),
        Text(
            Both(f"最大的变化：{change:.2f}", f"largest change: {change:.2f}")
            if change > 1e-5
            else Both("两句话的输出完全一样。", "Both sentences give the same output.")
        ),
    ]


# ---------------------------------------------------------------- tables


@value
def table_numbers(rows: int, columns: int) -> int:
    """Parameters of a learned table of positions."""
    return rows * columns


TABLE_DIM, TABLE_LENGTH = 16, 100


def table_product(p: int, distance: int) -> float:
    """PE(p) · PE(p + distance) in a table of 16 dimensions."""
    table = sinusoidal_positions(p + distance + 1, TABLE_DIM)
    return (table[p] @ table[p + distance]).item()


def compare_products() -> int:
    """0: the product at 50 is larger than at 10; 1: smaller; 2: the same."""
    near, far = table_product(10, 5), table_product(50, 5)
    return 2 if abs(near - far) < 1e-3 else 0 if far > near else 1


@figure(
    title=Both("正弦位置编码：一张表", "Sinusoidal positions: one table"),
    predict=Predict(
        Both(
            "第 10 行和第 15 行的点积是一个数。第 50 行和第 55 行的点积呢？",
            "Rows 10 and 15 have some dot product. What about rows 50 and 55?",
        ),
        choices=[Both("更大", "larger"), Both("更小", "smaller"), Both("一样大", "the same")],
        answer=compare_products,
        explain=lambda: Both(
            f"都是 {table_product(10, 5):.2f}。每一对 sin、cos 贡献的是 cos(距离 × 频率)，只看距离。",
            f"Both are {table_product(10, 5):.2f}. Each pair of sine and cosine contributes cos(distance × frequency): "
            "only the distance counts.",
        ),
    ),
)
def sinusoidal_table(
    p: Annotated[int, Slider(0, TABLE_LENGTH - 1, label=Both("位置 p", "position p"))] = 10,
) -> list[Heatmap | Lines]:
    table = sinusoidal_positions(TABLE_LENGTH, TABLE_DIM)
    return [
        Heatmap(
            table[: TABLE_LENGTH // 2].T,
            x_label=Both("位置", "position"),
            y_label=Both("维（偶数行 sin，奇数行 cos）", "dimension (even: sin, odd: cos)"),
            scale="diverging",
            domain=(-1.0, 1.0),
            note=Both(
                "上面几维转得快，下面几维几乎不动", "the first dimensions change fast, the last hardly at all"
            ),
        ),
        Lines(
            {f"PE({p}) · PE(x)": (list(range(TABLE_LENGTH)), table @ table[p])},
            x_label=Both("另一个位置 x", "the other position x"),
            y_label=Both("点积", "dot product"),
            y_range=(-2.0, TABLE_DIM / 2 + 1),
            marks=[(p, f"p = {p}")],
            note=Both("移动 p：曲线平移，形状不变", "move p: the curve shifts, its shape stays"),
        ),
    ]


# ---------------------------------------------------------------- rotation, by hand and by eye

QUERY, KEY = (2.0, 1.0), (1.0, 2.0)


def turned(vector: tuple[float, float], position: int, frequency: float = 1.0) -> Tensor:
    """The pair after turning by position · frequency: RoPE of two components turns 1 radian a position."""
    return rope(torch.tensor([vector], dtype=torch.float64), torch.tensor([position * frequency]))[0]


@value
def hand_turned(what: str, position: int, index: int) -> float:
    """Component ``index`` of the ``q`` or ``k`` of the worked example at a position."""
    return turned(QUERY if what == "q" else KEY, position)[index].item()


@value
def hand_score(m: int, n: int) -> float:
    """q at position m times k at position n."""
    return (turned(QUERY, m) @ turned(KEY, n)).item()


@value
def angle(pair: int, distance: int) -> float:
    """By how much a pair of a head of 8 dimensions turns over a distance, without whole turns."""
    return distance * pair_frequency(pair) % (2 * math.pi)


def pair_frequency(pair: int) -> float:
    """Pairs 0 to 3 of a head of 8 dimensions turn by 1, 0.1, 0.01, 0.001 radians a position."""
    return rope_frequencies(DIM)[pair].item()


@figure(
    title=Both("一对分量，按位置旋转", "One pair of components, turned by its position"),
    predict=Predict(
        Both(
            "q 在位置 5，k 在位置 3，得到一个点积。现在两个都往后挪 20 个位置，点积怎样变？",
            "q at position 5 and k at position 3 have some dot product. Both move 20 positions further. What happens to it?",
        ),
        choices=[Both("变大", "it grows"), Both("变小", "it shrinks"), Both("不变", "it stays")],
        answer=lambda: (
            2
            if math.isclose(hand_score(5, 3), hand_score(25, 23), abs_tol=1e-4)
            else int(hand_score(25, 23) < hand_score(5, 3))
        ),
        explain=lambda: Both(
            f"都是 {hand_score(5, 3):.2f}。两个箭头转过同样的角度，夹角没变，长度也没变。",
            f"It is {hand_score(5, 3):.2f} both times. Both arrows turn by the same angle, so the angle between them and their lengths stay.",
        ),
    ),
)
def rotation(
    m: Annotated[int, Slider(0, 30, label=Both("q 的位置 m", "position m of q"))] = 5,
    n: Annotated[int, Slider(0, 30, label=Both("k 的位置 n", "position n of k"))] = 3,
    shift: Annotated[int, Slider(0, 100, label=Both("两个一起往后挪", "move both by"))] = 0,
    pair: Annotated[
        str,
        Choice(
            [(str(i), Both(f"第 {i} 对", f"pair {i}")) for i in range(DIM // 2)],
            label=Both("哪一对（共 8 维）", "which pair (of 8 dimensions)"),
        ),
    ] = "0",
) -> list[Arrows | Text]:
    frequency = pair_frequency(int(pair))
    q, k = turned(QUERY, m + shift, frequency), turned(KEY, n + shift, frequency)
    moved, still = Both("旋转后", "turned"), Both("旋转前", "before")
    score, angle = (q @ k).item(), (m - n) * frequency
    return [
        Arrows(
            [
                (QUERY[0], QUERY[1], "q", still),
                (KEY[0], KEY[1], "k", still),
                (q[0].item(), q[1].item(), f"q({m + shift})", moved),
                (k[0].item(), k[1].item(), f"k({n + shift})", moved),
            ],
            radius=math.hypot(*QUERY),
        ),
        Text(
            Both(
                f"这一对每前进一个位置转 {frequency:g} 弧度。q 比 k 多转 {angle:.3g} 弧度，点积 = {score:.3f}。",
                f"This pair turns {frequency:g} radians a position. q is {angle:.3g} radians ahead of k; dot product = {score:.3f}.",
            )
        ),
    ]


# ---------------------------------------------------------------- score against distance

HEAD_DIM = 64


def mean_score(distances: Tensor, base: float) -> Tensor:
    """cos of the angle between a vector and itself turned, averaged over random vectors: the mean of cos(Δ θ_i)."""
    return torch.cos(distances[:, None] * rope_frequencies(HEAD_DIM, base)).mean(-1)


def bound(distances: Tensor, base: float) -> Tensor:
    """The paper's bound: mean over j of |Σ_(i<j) e^(iΔθ_i)|, divided by its value at distance 0."""
    angles = distances[:, None] * rope_frequencies(HEAD_DIM, base)
    sums = torch.polar(torch.ones_like(angles), angles).cumsum(-1).abs().mean(-1)
    return sums / ((HEAD_DIM // 2 + 1) / 2)


def one_score(distances: Tensor, base: float, sample: int) -> Tensor:
    """A query and a key that resemble each other: their cosine at each distance, by ``rope`` itself."""
    q = normal(HEAD_DIM, seed=sample)
    k = q + 0.7 * normal(HEAD_DIM, seed=1000 + sample)
    keys = rope(k.expand(len(distances), -1), distances, base)
    return keys @ q / (q.norm() * k.norm())


def far_score(base: float) -> float:
    """The mean score of equal vectors, averaged over the distances 200 to 256."""
    return mean_score(torch.arange(200, 257), base).mean().item()


@figure(
    title=Both("RoPE 的分数随距离怎样变", "RoPE scores against distance"),
    predict=Predict(
        Both(
            "看“q = k，平均”那条。底数从 10,000 换成 1,000,000，远处（距离 200 到 256）的分数会怎样？",
            "Look at the line “q = k, mean”. The base goes from 10,000 to 1,000,000. What becomes of the scores far away, at distances 200 to 256?",
        ),
        choices=[Both("变高", "higher"), Both("变低", "lower"), Both("差不多", "about the same")],
        answer=lambda: (
            2 if abs(far_score(1e6) - far_score(1e4)) < 0.02 else int(far_score(1e6) < far_score(1e4))
        ),
        explain=lambda: Both(
            f"这一段的平均从 {far_score(1e4):.2f} 变成 {far_score(1e6):.2f}。这条线是许多快慢不同的余弦的平均；底数大，慢的更慢，走这么远也没转多少，余弦还接近 1。",
            f"Their mean goes from {far_score(1e4):.2f} to {far_score(1e6):.2f}. The line is an average of cosines of many speeds. With a larger base the "
            "slow ones get slower, and at this distance they have hardly turned: their cosines are still near 1.",
        ),
    ),
)
def score_by_distance(
    base: Annotated[float, Slider(100, 1_000_000, label=Both("底数", "base"), log=True)] = 10_000.0,
    longest: Annotated[int, Slider(32, 16_384, label=Both("画到多远", "up to distance"), log=True)] = 256,
    sample: Annotated[int, Slider(1, 20, label=Both("第几对 q、k", "which q and k"))] = 1,
) -> Lines:
    distances = torch.linspace(0, longest, min(longest, 400) + 1)
    return Lines(
        {
            Both("q = k，平均", "q = k, mean"): (distances, mean_score(distances, base)),
            Both("上界的距离项", "distance term of the bound"): (distances, bound(distances, base)),
            Both("某一对 q、k", "one q and k"): (distances, one_score(distances, base, sample)),
        },
        x_label=Both("距离", "distance"),
        y_label=Both("分数（距离 0 时 q = k 为 1）", "score (1 for q = k at distance 0)"),
        y_range=(-0.6, 1.05),
        note=Both(
            "上界的距离项除以了它在 0 处的值：和另外两条不是同一个量，只比形状",
            "the distance term is divided by its value at 0: another quantity than the other two, compare shapes only",
        ),
    )


# ---------------------------------------------------------------- how long a turn takes


def wavelengths(base: float, dim: int = HEAD_DIM) -> Tensor:
    """Positions that each pair needs for one turn: 2π / θ_i."""
    return 2 * math.pi / rope_frequencies(dim, base)


@value
def wavelength(pair: int, base: float = 10_000.0, dim: int = HEAD_DIM) -> float:
    return wavelengths(base, dim)[pair].item()


@value
def pairs_that_turn(length: int, base: float = 10_000.0, dim: int = HEAD_DIM) -> int:
    """Pairs that make at least one whole turn within ``length`` positions."""
    return int((wavelengths(base, dim) <= length).sum())


@figure(
    title=Both("每一对转一圈要多少个位置", "Positions that each pair needs for one turn"),
    predict=Predict(
        Both(
            "下面底数是 10,000，训练长度 2048。底数换成 500,000，32 对里还有多少对在训练时转满过一圈？",
            "Below, base 10,000 and training length 2048. With base 500,000, how many of the 32 pairs still make a whole turn in training?",
        ),
        low=0,
        high=32,
        step=1,
        answer=lambda: pairs_that_turn(2048, 500_000.0),
        explain=lambda: Both(
            f"从 {pairs_that_turn(2048)} 对减到 {pairs_that_turn(2048, 500_000.0)} 对。第 0 对不变，越往后慢得越多；没转满的，训练时只见过圆的一段弧。",
            f"{pairs_that_turn(2048, 500_000.0)}, down from {pairs_that_turn(2048)}. Pair 0 stays as it is and later pairs slow down more and more. Those that do "
            "not come round have seen only an arc of the circle.",
        ),
    ),
)
def turns(
    base: Annotated[float, Slider(100, 10_000_000, label=Both("底数", "base"), log=True)] = 10_000.0,
    length: Annotated[int, Slider(128, 131_072, label=Both("训练长度", "training length"), log=True)] = 2048,
    dim: Annotated[
        str, Choice([("64", "64"), ("128", "128")], label=Both("每头的维度", "head dimension"))
    ] = "64",
) -> list[Lines | Text]:
    half = int(dim) // 2
    turning = pairs_that_turn(length, base, int(dim))
    return [
        Lines(
            {
                Both("转一圈的位置数", "positions for a turn"): (
                    list(range(half)),
                    wavelengths(base, int(dim)),
                ),
                Both("训练长度", "training length"): ([0, half - 1], [length, length]),
            },
            x_label=Both("第几对", "pair"),
            y_label=Both("位置数", "positions"),
            y_log=True,
        ),
        Text(
            Both(
                f"{half} 对里，{turning} 对在训练长度内转满一圈，{half - turning} 对没有。",
                f"Of {half} pairs, {turning} make a whole turn within the training length and {half - turning} do not.",
            )
        ),
    ]


# ---------------------------------------------------------------- ALiBi


@value
def slope(head: int, n_heads: int = 8) -> float:
    """The slope of a head; heads count from 1."""
    return alibi_slopes(n_heads)[head - 1].item()


@value
def kept_weight(head: int, distance: int, n_heads: int = 8) -> float:
    """What ALiBi leaves of the weight of a key at this distance, beside one of the same content at 0."""
    return math.exp(-distance * slope(head, n_heads))


def weights_by_distance(n_heads: int, length: int) -> Tensor:
    """(heads, distance): what ALiBi alone does to the last query, when all keys have the same content."""
    return torch.softmax(-alibi_slopes(n_heads)[:, None] * torch.arange(length), dim=-1)


@functools.cache
def half_of_the_weight(head: int, n_heads: int = 8, length: int = 1024) -> int:
    """The number of nearest positions that hold half of a head's weight."""
    return int((weights_by_distance(n_heads, length)[head - 1].cumsum(0) < 0.5).sum()) + 1


@figure(
    title=Both("ALiBi：每个头看多远", "ALiBi: how far each head sees"),
    predict=Predict(
        Both(
            "下面有 1024 个内容相同的 key，看第 8 个头在多远以内积到一半的权重。key 增加到 4096 个，最近的多少个占一半？",
            "Below, 1024 keys of equal content: see within which distance head 8 has half of its weight. With 4096 keys, how many nearest ones "
            "hold half?",
        ),
        low=1,
        high=1024,
        step=1,
        answer=lambda: half_of_the_weight(8, length=4096),
        explain=lambda: Both(
            f"{half_of_the_weight(8, length=4096)} 个；1024 个 key 时是 {half_of_the_weight(8)} 个，几乎没动。添上的 key 都太远，分不到什么权重。"
            f"第 1 个头始终只要 {half_of_the_weight(1, length=4096)} 个：远近分工是写死的。",
            f"{half_of_the_weight(8, length=4096)}; with 1024 keys it is {half_of_the_weight(8)}, so it hardly moves. The keys that were added are too far away to "
            f"get any weight to speak of. Head 1 needs {half_of_the_weight(1, length=4096)} either way: who looks near and who looks far is fixed.",
        ),
    ),
)
def alibi_reach(
    n_heads: Annotated[int, Slider(1, 16, label=Both("头数", "heads"))] = 8,
    length: Annotated[int, Slider(16, 4096, label=Both("key 的个数", "number of keys"), log=True)] = 1024,
) -> Lines:
    weights = weights_by_distance(n_heads, length).cumsum(-1)
    shown = sorted({1, (n_heads + 1) // 2, n_heads})
    return Lines(
        {
            Both(
                f"第 {head} 个头，斜率 {slope(head, n_heads):.3g}",
                f"head {head}, slope {slope(head, n_heads):.3g}",
            ): (list(range(length)), weights[head - 1])
            for head in shown
        },
        x_label=Both("距离", "distance"),
        y_label=Both("这个距离以内的权重", "weight within this distance"),
        y_range=(0.0, 1.0),
        note=Both(
            "所有 key 内容相同，差别全来自偏置", "all keys have equal content: the bias makes the difference"
        ),
    )


@value
def as_bf16(position: int) -> float:
    """What remains of a position that was stored in bf16."""
    return torch.tensor(float(position), dtype=torch.bfloat16).item()


# ---------------------------------------------------------------- the real model, rotated otherwise


@value
def model_rope(what: str) -> float:
    """``rope_base``, ``head_dim``, ``n_layers`` or ``context_length`` of the chat model."""
    return getattr(config(), what)


STORY = (
    "The old lighthouse stood at the end of the bay, and every evening Anna climbed its stairs to light the lamp. "
    "Her father had done the same work for thirty years, and his father before him. One night in November the wind "
    "grew so strong that the windows shook, and a small boat appeared between the waves. Anna saw that its light "
    "was broken. She turned the lamp towards the rocks, so that the sailors could see where the water was deep. "
    "The boat turned slowly to the left, then to the right, and at last it reached the harbour. In the morning "
    "three sailors came to the lighthouse with a basket of fish and a bottle of wine. They asked who had turned the "
    "lamp, and Anna said that it was her work, just as it had been the work of her father. The oldest sailor looked "
    "at her for a long time. Then he told her that thirty years ago, on the same kind of night, a man had turned "
    "the same lamp, and that he had never found out his name. Anna smiled and said that she knew the name very well."
)
# A head of layer 17 that looks at the token before: the clearest one of the model.
LAYER, HEAD = 17, 1
N_READ, FIRST_QUERY, FARTHEST = 160, 40, 12


@functools.cache
def queries_and_keys() -> tuple[Tensor, Tensor]:
    """(position, dim) of that head while it reads the story: after projection, before any turning."""
    seen: list[tuple[Tensor, Tensor]] = []

    def recording(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append((q[0, HEAD - 1], k[0, (HEAD - 1) * k.shape[1] // q.shape[1]]))
        return fused_causal_attention(q, k, v)

    ids = tokenizer().encode(STORY)[:N_READ]
    with torch.inference_mode(), use_attention(recording):
        model()(torch.tensor([ids]), last_only=True)
    q, k = seen[LAYER - 1]
    back = -torch.arange(N_READ)
    return rope(q, back, config().rope_base), rope(k, back, config().rope_base)


@functools.lru_cache(maxsize=256)
def weight_by_distance(stretch: float = 1.0, shift: int = 0) -> tuple[float, ...]:
    """Mean weight on the token 0, 1, 2, … places back; positions are shift + stretch · place."""
    q, k = queries_and_keys()
    positions = shift + stretch * torch.arange(N_READ)
    q, k = rope(q, positions, config().rope_base), rope(k, positions, config().rope_base)
    one_hot = torch.eye(N_READ)[None, None]
    weights = scaled_dot_product_attention(q[None, None], k[None, None], one_hot, causal_mask(N_READ))[0, 0]
    places = torch.arange(FIRST_QUERY, N_READ)
    return tuple(weights[places, places - distance].mean().item() for distance in range(FARTHEST + 1))


def favourite_distance(stretch: float) -> int:
    weights = weight_by_distance(stretch)
    return weights.index(max(weights))


@figure(
    title=Both("真模型里，一个爱看前一个 token 的头", "A head of the real model that likes the token before"),
    predict=Predict(
        Both(
            "这个头最爱看往前数第 1 个 token。把所有位置乘以 0.5，它最爱看的是往前数第几个？",
            "This head prefers the token 1 place back. All positions are multiplied by 0.5. Which one does it prefer now?",
        ),
        choices=[
            Both("自己", "itself"),
            Both("第 1 个", "1 place back"),
            Both("第 2 个", "2 places back"),
            Both("第 3 个", "3 places back"),
        ],
        answer=lambda: favourite_distance(0.5),
        explain=lambda: Both(
            f"第 {favourite_distance(0.5)} 个。它认的是旋转的角度，“相差 1 个位置”的角度。位置乘 0.5 以后，要往前数两个 token 才差 1 个位置。",
            f"The one {favourite_distance(0.5)} places back. What the head knows is an angle, that of “1 position apart”. With positions halved, the token "
            "that is 1 position away stands two places back.",
        ),
    ),
)
def looking_back(
    stretch: Annotated[
        float, Slider(-1, 2, step=0.05, label=Both("位置乘以", "multiply positions by"))
    ] = 1.0,
    shift: Annotated[int, Slider(0, 1000, label=Both("再加上", "and add"))] = 0,
) -> Bars:
    weights = weight_by_distance(stretch, shift)
    return Bars(
        [str(distance) for distance in range(FARTHEST + 1)],
        weights,
        x_label=Both("往前数第几个 token（0 是自己）", "places back (0 is the token itself)"),
        y_label=Both("平均权重", "mean weight"),
        y_max=1.0,
        highlight=weights.index(max(weights)),
        note=Both(
            f"SmolLM2 第 {LAYER} 层第 {HEAD} 个头，读一段 {N_READ} 个 token 的故事；只有这个头的位置被改动",
            f"SmolLM2, layer {LAYER}, head {HEAD}, reading {N_READ} tokens of a story; positions are changed for this head only",
        ),
    )


Rotation: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(queries or keys, their positions) to what attention gets instead of them."""


@contextmanager
def rotating_by(rotation: Rotation, positions: Tensor) -> Iterator[None]:
    """Inside, models of this process turn queries and keys by ``rotation``."""
    own = encodings.apply_rope
    encodings.apply_rope = lambda x, cos, sin: rotation(x, positions)
    try:
        yield
    finally:
        encodings.apply_rope = own


def logits_with(
    rotation: Rotation, tokens: Tensor, cache: KVCache | None = None, last_only: bool = False
) -> Tensor:
    start = 0 if cache is None else cache.length
    with rotating_by(rotation, torch.arange(start, start + tokens.shape[1])):
        return model()(tokens, cache=cache, last_only=last_only)


def rotations(base: float, stretch: float) -> dict[Both, Rotation]:
    """Ways to tell a trained model where its tokens stand; the first is the one that it was trained with."""
    other_base = base / 10

    def wrong_pairs(x: Tensor, positions: Tensor) -> Tensor:
        return apply_rope_interleaved(x, *rope_cos_sin(positions, x.shape[-1], base))

    return {
        Both("原样", "as trained"): lambda x, p: rope(x, p, base),
        Both("全部往后挪 1000", "all moved by 1000"): lambda x, p: rope(x, p + 1000, base),
        Both(f"位置 × {stretch:g}", f"positions × {stretch:g}"): lambda x, p: rope(x, p * stretch, base),
        Both(f"底数 {other_base:,.0f}", f"base {other_base:,.0f}"): lambda x, p: rope(x, p, other_base),
        Both("一点不转", "not turned at all"): lambda x, p: x,
        Both("往反方向转", "turned backwards"): lambda x, p: rope(x, -p, base),
        Both("配对搞错", "wrong pairs"): wrong_pairs,
    }


WINDOW = 16


def losses(rotation: Rotation, ids: list[int]) -> list[float]:
    """-log p of every token after the first, read with this rotation."""
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        logits = logits_with(rotation, tokens)
        return F.cross_entropy(logits[0, :-1], tokens[0, 1:], reduction="none").tolist()


def continuation(rotation: Rotation, ids: list[int], n_tokens: int) -> str:
    """The most probable tokens, one after another, with a cache."""
    cache = KVCache.for_model(model().config, capacity=len(ids) + n_tokens)
    fed, chosen = ids, []
    with torch.inference_mode():
        for _ in range(n_tokens):
            fed = [int(logits_with(rotation, torch.tensor([fed]), cache, last_only=True)[0, -1].argmax())]
            chosen += fed
    return tokenizer().decode(chosen).replace("\n", "⏎")


@lab(
    title=Both("只改位置，权重不动", "Other positions, the same weights"),
    seconds=25,
    summary=Both(
        "SmolLM2-135M 把同一段故事读七遍，每遍告诉它的位置不一样；再让它各续写几个词。",
        "SmolLM2-135M reads one story seven times, each time told other positions; then it continues the story.",
    ),
)
def wrong_positions(
    stretch: Annotated[
        float, Slider(0.25, 8, step=0.25, label=Both("位置拉开几倍", "stretch positions by"))
    ] = 2.0,
    n_tokens: Annotated[int, Slider(0, 24, step=4, label=Both("续写几个 token", "tokens to write"))] = 12,
) -> Iterator[Event]:
    ways = rotations(config().rope_base, stretch)
    yield Progress(0, len(ways), Both("读入模型", "loading the model"))
    model()
    ids = tokenizer().encode(STORY)
    means: dict[Both, float] = {}
    written: list[list[str | Both]] = []
    for done, (name, rotation) in enumerate(ways.items(), start=1):
        each = losses(rotation, ids)
        for start in range(0, len(each) - WINDOW + 1, WINDOW):
            yield Sample(
                name,
                x=start + WINDOW,
                y=sum(each[start : start + WINDOW]) / WINDOW,
                x_label=Both("读到第几个 token", "tokens read"),
                y_label=Both("损失", "loss"),
            )
        means[name] = sum(each) / len(each)
        yield Show(
            "means",
            Bars(list(means), list(means.values()), y_label=Both("平均损失", "mean loss"), highlight=0),
        )
        if n_tokens:
            written.append([name, continuation(rotation, ids, n_tokens)])
            columns = [Both("位置", "positions"), Both("接着写", "goes on")]
            yield Show("written", Table(columns, written))
        yield Progress(done, len(ways), name)
    trained, moved = list(means.values())[:2]
    yield Metric(Both("挪 1000 以后，损失变了", "change of loss when moved by 1000"), abs(moved - trained))
    guessing = math.log(config().vocab_size)
    yield Metric(Both("瞎猜的损失", "loss of guessing blindly"), guessing)


CHUNK = 256


@lab(
    title=Both("同一篇长文，两个底数", "One long text, two bases"),
    seconds=40,
    summary=Both(
        "SmolLM2-135M 读 Python 标准库的文档，一遍用它自己的底数，一遍用小一些的底数；每 256 个 token 记一次损失。",
        "SmolLM2-135M reads documentation of Python's standard library, once with its own base and once with a smaller one; the loss is taken every 256 tokens.",
    ),
)
def wrong_base(
    divisor: Annotated[float, Slider(2, 50, log=True, label=Both("底数除以", "divide the base by"))] = 10.0,
    length: Annotated[
        int, Slider(1024, 4096, step=256, label=Both("读多少个 token", "tokens to read"))
    ] = 2560,
) -> Iterator[Event]:
    yield Progress(0, length, Both("读入模型和文本", "loading the model and the text"))
    own = config().rope_base
    text = "\n\n".join(stdlib_docs(max_bytes=8 * length))
    tokens = torch.tensor([tokenizer().encode(text)[: length + 1]])
    bases = {
        Both(f"底数 {base:,.0f}", f"base {base:,.0f}"): (base, KVCache.for_model(model().config, length))
        for base in (own, own / divisor)
    }
    gap = 0.0
    for start in range(0, length, CHUNK):
        fed, next_ones = tokens[:, start : start + CHUNK], tokens[0, start + 1 : start + CHUNK + 1]
        chunk_losses = []
        for name, (base, cache) in bases.items():
            with torch.inference_mode():
                logits = logits_with(partial(rope, base=base), fed, cache)
                chunk_losses.append(F.cross_entropy(logits[0], next_ones).item())
            axis = {"x_label": Both("读到第几个 token", "tokens read"), "y_label": Both("损失", "loss")}
            yield Sample(name, x=start + CHUNK, y=chunk_losses[-1], **axis)
        gap = chunk_losses[1] - chunk_losses[0]
        if start == 0:
            yield Metric(Both("最前面，相差", "difference at the beginning"), gap)
        yield Progress(start + CHUNK, length)
    yield Metric(Both("最后面，相差", "difference at the end"), gap)


@lab(
    title=Both("用你的 RoPE 跑 SmolLM2", "SmolLM2 on your RoPE"),
    seconds=20,
    summary=Both(
        "每一层的 query 和 key 都由 rope 来转。打开“用我写的函数来跑”，它就换成你写的。",
        "Queries and keys of every layer are turned by rope. Turn on “Run it with my function” and it becomes yours.",
    ),
)
def your_rope(
    question: Annotated[
        str, TextInput(max_length=200, label=Both("问它一句", "ask it something"))
    ] = "What is the capital of France?",
    n_tokens: Annotated[
        int, Slider(16, 96, step=8, label=Both("最多几个 token", "at most so many tokens"))
    ] = 40,
) -> Iterator[Event]:
    yield Progress(0, n_tokens, Both("读入模型", "loading the model"))
    ids, base = question_ids(question), model().config.rope_base

    def rotation(x: Tensor, positions: Tensor) -> Tensor:
        return rope(x, positions, base)

    with torch.inference_mode():
        tokens = torch.tensor([ids])
        difference = (logits_with(rotation, tokens) - model()(tokens)).abs().max().item()
    if not math.isfinite(difference):
        yield Say(Both("你的函数在真实的输入上得到了 NaN。", "Your function gave NaN on real inputs."))
        return
    yield Metric(
        Both(
            "logits 与模型自己的转法相差最多",
            "largest difference of logits from the model's own rotation",
        ),
        difference,
    )
    answer = ""
    logits = partial(logits_with, rotation, last_only=True)
    for step, answer in enumerate(greedy_answer(ids, n_tokens, logits), start=1):
        yield Progress(step, n_tokens)
        yield Show("answer", Text(Both.same(answer)))
    yield Progress(n_tokens, n_tokens)
    yield Show("summary", Table([Both("问题", "question"), Both("回答", "answer")], [[question, answer]]))
