"""Figures, labs and values of lesson 8.10: heads that guess, trees of guesses, and typical acceptance."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from teachllm.school.figures import (
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
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import CHAT_MODEL, config, file, model, tokenizer
from teachllm.stack.data.corpora import stdlib_sources
from teachllm.stack.inference.language_model import load_language_model
from teachllm.stack.inference.roofline import decode_cost, roofline_seconds
from teachllm.stack.inference.sampling import Sampling
from teachllm.stack.inference.speculation import (
    MedusaHeads,
    Step,
    Tally,
    TreeShape,
    TypicalAcceptance,
    chain,
    dense_shape,
    medusa_steps,
    sparse_shape,
)
from teachllm.stack.inference.speculation.medusa_training import (
    HeadData,
    head_accuracies,
    head_data,
    head_targets,
    train_medusa,
)
from teachllm.stack.inference.speculation.tree import ancestor_mask, depths
from teachllm.stack.inference.speculation.tree_choice import tree_timings
from teachllm.stack.inference.speculation.tree_shape import expected_length, node_accuracy
from teachllm.stack.inference.speculation.typical_acceptance import typical_threshold
from teachllm.stack.inference.static_batch import static_batch_generate
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loss import chunked_cross_entropy

# How often the guess of each rank of the three heads was right on SmolLM2-135M-Instruct's own answers, as
# `teachllm medusa` (docs/experiments.md) measured it on texts that the heads had not learned.
ACCURACIES = [
    [0.159, 0.090, 0.062, 0.045, 0.033, 0.024, 0.026, 0.018, 0.020, 0.015],
    [0.071, 0.050, 0.039, 0.036, 0.031, 0.027, 0.016, 0.017, 0.017, 0.019],
    [0.051, 0.034, 0.028, 0.030, 0.027, 0.021, 0.020, 0.013, 0.013, 0.014],
]
UNTRAINED = 0.019  # of head 1, before it learned anything

HEADS = len(ACCURACIES)
BLUE, ORANGE, GREEN, GREY = 0, 1, 2, 7  # tones


# ---------------------------------------------------------------- who says what

SENTENCE = "The sky is blue because air scatters short waves of light more than long ones."


def readable(token_id: int) -> str:
    token = tokenizer().vocabulary.tokens.get(token_id, b"?")
    try:
        return token.decode().replace(" ", "␣").replace("\n", "⏎")
    except UnicodeDecodeError:
        return token.hex(" ").upper()


@figure(title=Both("站在一个位置上，每个头该说哪个词", "At one position: which token each head is to say"))
def who_says_what(
    position: Annotated[int, Slider(1, 12, label=Both("读到第几个 token", "tokens read so far"))] = 4,
) -> Tokens:
    ids = torch.tensor(tokenizer().encode(SENTENCE))
    targets = head_targets(ids, HEADS)[position - 1].tolist()
    row = [Token(readable(one), tone=GREY) for one in ids[:position].tolist()]
    own = Token(readable(int(ids[position])), tone=BLUE, note=Both("模型自己的头", "the model's own head"))
    said = [
        Token(readable(target), tone=ORANGE, note=Both(f"第 {k} 个 Medusa 头", f"Medusa head {k}"))
        for k, target in enumerate(targets, start=1)
    ]
    return Tokens(
        [[*row, own, *said]],
        note=Both(
            "灰：读过的；蓝：模型自己的头说的下一个；橙：第 1、2、3 个 Medusa 头要猜的。四个头读的是同一个特征：最后一个灰色 token 的",
            "grey: read; blue: the next one, said by the model's own head; orange: what Medusa heads 1, 2 and 3 are to guess. All four read the "
            "same features: those of the last grey token",
        ),
    )


@value
def head_size(what: str, d_model: int = 0, vocab: int = 0, n_heads: int = 1) -> float:
    """Parameters of ``n_heads`` heads: ``shared`` output matrix, or ``own`` for each; ``share`` of SmolLM2 for ours."""
    d, v = d_model or config().d_model, vocab or config().vocab_size
    ours = sum(p.numel() for p in MedusaHeads(1, d).parameters())
    if what == "share":
        return n_heads * ours / config().n_parameters
    return n_heads * (ours if what == "shared" else d * d + v * d)


# ---------------------------------------------------------------- trees


@value
def nodes(s1: int, s2: int = 0, s3: int = 0) -> int:
    """Of the dense tree, without its root."""
    return len(dense_shape(widths_of(s1, s2, s3)).paths)


def widths_of(s1: int, s2: int, s3: int) -> list[int]:
    widths = [s1, s2, s3]
    return widths[: widths.index(0)] if 0 in widths else widths


def node_name(path: tuple[int, ...]) -> str:
    """A letter for the head, the rank from 1: A1B2 is the second guess of head 2 behind the best of head 1."""
    return "".join(f"{'ABCDE'[depth]}{rank + 1}" for depth, rank in enumerate(path))


@figure(
    title=Both("一棵树，一步读完：谁看得见谁", "A tree read in one pass: who sees whom"),
    predict=Predict(
        Both(
            "下面第 1 个头取 2 个猜法、第 2 个头取 3 个，连根在内一步读 9 个 token。第 3 个头再取 2 个，要读几个？",
            "Below, head 1 gives 2 guesses and head 2 gives 3: with the root, 9 tokens in a pass. With 2 guesses of head 3 besides, how many are read?",
        ),
        low=9,
        high=40,
        step=1,
        answer=lambda: 1 + nodes(2, 3, 2),
        explain=lambda: Both(
            f"{1 + nodes(2, 3, 2)} 个：第三层在 6 个节点后面各接 2 个，多 12 个，一共 12 条路。路分开读要 12×3 个再加根；共同的开头只读一遍，就省下来了。",
            f"{1 + nodes(2, 3, 2)}: 2 behind each of the 6, which is 12 more, and 12 paths. Read separately, the paths would be 12×3 tokens and the root; what they share at their beginning is read once.",
        ),
        tolerance=0.0,
    ),
)
def tree_mask(
    s1: Annotated[int, Slider(1, 3, label=Both("第 1 个头取几个猜法", "guesses of head 1"))] = 2,
    s2: Annotated[int, Slider(0, 3, label=Both("第 2 个头", "of head 2"))] = 3,
    s3: Annotated[int, Slider(0, 2, label=Both("第 3 个头", "of head 3"))] = 0,
) -> list[Heatmap | Text]:
    shape = dense_shape(widths_of(s1, s2, s3))
    names = [Both("根", "root"), *(node_name(path) for path in shape.paths)]
    mask = ancestor_mask(shape.parents)
    offsets = depths(shape.parents).tolist()
    n_paths = sum(len(path) == shape.depth for path in shape.paths)
    by_level = [f"{offsets.count(depth)}" for depth in range(shape.depth + 1)]
    return [
        Heatmap(
            mask.int().tolist(),
            x_labels=[Both("根", "root"), *(node_name(path)[-2:] for path in shape.paths)],
            y_labels=names,
            x_label=Both("被看的", "seen"),
            y_label=Both("在看的", "seeing"),
            domain=(0, 1),
            note=Both(
                "有颜色的格子：行上的 token 看得见列上的。前面的文字人人看得见，没有画",
                "coloured: the token of the row sees that of the column. The text before is seen by all, and not drawn",
            ),
        ),
        Text(
            Both(
                f"{n_paths} 条路，{len(shape.paths)} 个节点，这一步读 {1 + len(shape.paths)} 个 token。每层各有 {'、'.join(by_level)} 个，同一层的位置编号相同；"
                f"掩码里有 {int(mask.sum())} 个格子是看得见的。",
                f"{n_paths} paths, {len(shape.paths)} nodes; the pass reads {1 + len(shape.paths)} tokens. By level: {', '.join(by_level)}; all of a level have the same position. "
                f"{int(mask.sum())} cells of the mask are open.",
            )
        ),
    ]


HAND = [[0.6, 0.2], [0.5, 0.3]]


@value
def by_hand(what: str, n_nodes: int = 3, path: str = "") -> float:
    """With two heads whose guesses are right 0.6, 0.2 and 0.5, 0.3 of the time: a node's accuracy (``path`` as ranks from 1), or the tokens
    a pass of the ``sparse`` tree of ``n_nodes``, of a ``chain``, of the ``dense`` tree 2 × 1.
    """
    if what == "node":
        return node_accuracy(tuple(int(rank) - 1 for rank in path), HAND)
    shape = {"chain": chain(2), "dense": dense_shape([2, 1])}.get(what) or sparse_shape(HAND, n_nodes)
    return expected_length(shape, HAND)


@value
def accuracy(head: int, best: int = 1) -> float:
    """How often one of the ``best`` guesses of a head of SmolLM2 is right."""
    return sum(ACCURACIES[head - 1][:best])


@value
def untrained() -> float:
    """How often the best guess of an untrained head 1 of SmolLM2 is right."""
    return UNTRAINED


@value
def tokens_a_pass(kind: str, n_nodes: int) -> float:
    """Expected, with SmolLM2's heads."""
    return expected_length(shape_of(kind, n_nodes), ACCURACIES)


@functools.cache
def shape_of(kind: str, n_nodes: int) -> TreeShape:
    """The sparse tree; the widest dense tree within ``n_nodes`` of any widths; the ``wide`` one, of head 1 alone."""
    if kind == "sparse":
        return sparse_shape(ACCURACIES, n_nodes)
    if kind == "wide":
        return dense_shape([min(n_nodes, len(ACCURACIES[0]))])
    possible = [
        (s1, s2, s3)
        for s1 in range(1, 11)
        for s2 in range(11)
        for s3 in range(11)
        if s1 * (1 + s2 * (1 + s3)) <= n_nodes
    ]
    return dense_shape(widths_of(*max(possible, key=dense_tokens)))


def deepest() -> float:
    return node_accuracy((0,) * HEADS, ACCURACIES)


def dense_tokens(widths: tuple[int, int, int]) -> float:
    """`expected_length` of a dense tree, from the shares of its heads."""
    shares = [sum(of_head[:width]) for of_head, width in zip(ACCURACIES, widths, strict=True)]
    return 1 + shares[0] * (1 + shares[1] * (1 + shares[2]))


def on_level(depth: int, n_nodes: int) -> int:
    return sum(len(path) == depth for path in shape_of("sparse", n_nodes).paths)


BUDGETS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


@functools.cache
def curve(kind: str) -> list[float]:
    return [tokens_a_pass(kind, n) for n in BUDGETS]


@figure(
    title=Both("同样多的节点，怎么摆", "The same number of nodes: how to place them"),
    predict=Predict(
        Both(
            "下面是 SmolLM2 的三个头、16 个节点。放宽到 64 个节点，其中有几个长在最深的第 3 层？",
            "Below, 16 nodes for three heads of SmolLM2. With room for 64, how many of them are on the third, deepest level?",
        ),
        low=0,
        high=64,
        step=1,
        answer=lambda: on_level(3, 64),
        explain=lambda: Both(
            f"{on_level(3, 64)} 个。一路三个都猜对，最可能的那条也只有 {deepest():.4f} 的机会，排不进前 64。头越准，树才长得越深。",
            f"{on_level(3, 64)}. All three guesses of a path come true with {deepest():.4f} even on the likeliest, which is not among the best 64. The better the heads, the deeper the tree.",
        ),
        tolerance=5.0,
    ),
)
def which_tree(
    n_nodes: Annotated[int, Slider(1, 64, label=Both("节点数", "nodes"))] = 16,
) -> list[Lines | Table]:
    shape = shape_of("sparse", n_nodes)
    level = [on_level(depth, n_nodes) for depth in range(1, HEADS + 1)]
    last = [
        [node_name(path), len(path), round(node_accuracy(path, ACCURACIES), 3)] for path in shape.paths[:8]
    ]
    return [
        Lines(
            {
                Both("稀疏的树", "sparse tree"): (BUDGETS, curve("sparse")),
                Both("最好的稠密树", "best dense tree"): (BUDGETS, curve("dense")),
                Both("只用第 1 个头", "head 1 alone"): (BUDGETS, curve("wide")),
            },
            x_label=Both("节点数", "nodes"),
            y_label=Both("每步写几个 token（期望）", "tokens a pass (expected)"),
            x_log=True,
            marks=[(n_nodes, Both(f"{n_nodes} 个", f"{n_nodes}"))],
            note=Both(
                f"{n_nodes} 个节点的稀疏树，各层 {level[0]}、{level[1]}、{level[2]} 个，每步 {tokens_a_pass('sparse', n_nodes):.2f} 个 token",
                f"the sparse tree of {n_nodes} nodes has {level[0]}, {level[1]}, {level[2]} by level and gives {tokens_a_pass('sparse', n_nodes):.2f} tokens a pass",
            ),
        ),
        Table(
            [
                Both("最先加的", "added first"),
                Both("第几层", "level"),
                Both("用得上的概率", "probability of use"),
            ],
            last,
            note=Both(
                "A1 是第 1 个头的第一个猜法，A1B2 是它后面第 2 个头的第二个猜法",
                "A1: the first guess of head 1; A1B2: behind it, the second guess of head 2",
            ),
        ),
    ]


# ---------------------------------------------------------------- more nodes: up, then down

H100_PEAK, H100_BANDWIDTH = 989e12, 3.35e12  # bf16, dense; HBM3: NVIDIA's data sheet of the SXM card
LLAMA = PRESETS["llama3-8b"]
TREE_SIZES = [0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


def tree_pass_seconds(batch: int, n_nodes: int, length: int) -> float:
    """A pass of Llama-3-8B over a tree in each of ``batch`` texts on an H100, by the roofline; with the guesses of the heads."""
    cost = decode_cost(LLAMA, batch, length)
    flops, n_bytes = (1 + n_nodes) * cost.flops, cost.bytes
    if n_nodes:  # the heads' own matrices, and the output matrix once more
        d, vocab = LLAMA.d_model, LLAMA.vocab_size
        flops += 2 * batch * HEADS * (d * d + vocab * d)
        n_bytes += 2 * (HEADS * d * d + vocab * d)
    return roofline_seconds(flops, n_bytes, H100_PEAK, H100_BANDWIDTH)


@functools.cache
def tree_speed_up(batch: int, n_nodes: int, length: int) -> float:
    gained = tokens_a_pass("sparse", n_nodes) if n_nodes else 1.0
    return gained * tree_pass_seconds(batch, 0, length) / tree_pass_seconds(batch, n_nodes, length)


@value
def tree_gain(batch: int, n_nodes: int, length: int = 512) -> float:
    """How many times as fast, by the roofline, with the sparse tree of SmolLM2's heads."""
    return tree_speed_up(batch, n_nodes, length)


@value
def best_tree(batch: int, what: str = "nodes", length: int = 512) -> float:
    """The size with the largest speed-up, and this ``speed_up``."""
    best = max(TREE_SIZES, key=lambda n: tree_speed_up(batch, n, length))
    return best if what == "nodes" else tree_speed_up(batch, best, length)


@figure(
    title=Both("节点越多越快吗：先升后降", "Do more nodes make it faster? Up, then down"),
    predict=Predict(
        Both(
            f"Llama-3-8B，H100，只服务 1 个请求时，最好的树有 {best_tree(1):.0f} 个节点。同时服务 32 个请求呢？",
            f"Llama-3-8B on an H100: for a single request the best tree has {best_tree(1):.0f} nodes. With 32 requests at once?",
        ),
        choices=[
            Both("一样大", "as large"),
            Both("小得多", "much smaller"),
            Both("更大", "larger"),
        ],
        answer=lambda: 1 if best_tree(32) < best_tree(1) / 2 else (0 if best_tree(32) == best_tree(1) else 2),
        explain=lambda: Both(
            f"{best_tree(32):.0f} 个。一步的运算是 32 ×（节点数 + 1）个 token 的，空闲的算力早早就用完了。",
            f"{best_tree(32):.0f}. The pass computes 32 × (nodes + 1) tokens, and the idle arithmetic is used up early.",
        ),
    ),
)
def rise_and_fall(
    batch: Annotated[int, Slider(1, 256, log=True, label=Both("同时的请求数", "requests at once"))] = 1,
    length: Annotated[
        int, Slider(128, 4096, log=True, label=Both("每个请求多长", "length of each"), unit="token")
    ] = 512,
) -> list[Lines | Text]:
    ups = [tree_speed_up(batch, n, length) for n in TREE_SIZES]
    best = max(range(len(ups)), key=ups.__getitem__)
    sizes = [n + 1 for n in TREE_SIZES]
    return [
        Lines(
            {
                Both("加速（倍）", "speed-up"): (sizes, ups),
                Both("每步写几个 token", "tokens a pass"): (
                    sizes,
                    [tokens_a_pass("sparse", n) if n else 1.0 for n in TREE_SIZES],
                ),
            },
            x_label=Both("一步读几个 token（节点数 + 1）", "tokens read in a pass (nodes + 1)"),
            x_log=True,
            marks=[(sizes[best], Both("最好", "best"))],
            note=Both(
                "Roofline 估计：Llama-3-8B，bf16，H100；猜得多准，用的是 SmolLM2 三个头的实测。没算激活、内核启动和搬动缓存",
                "by the roofline: Llama-3-8B, bf16, H100, with the measured accuracies of SmolLM2's heads; activations, launches and moving the cache are left out",
            ),
        ),
        Text(
            Both(
                f"最好的树有 {TREE_SIZES[best]} 个节点，快 {ups[best]:.2f} 倍。",
                f"The best tree has {TREE_SIZES[best]} nodes: {ups[best]:.2f} times as fast.",
            )
            if TREE_SIZES[best]
            else Both("不猜最好。", "Not guessing is best.")
        ),
    ]


# ---------------------------------------------------------------- typical acceptance

SURE_AND_OPEN = "The capital of France is Paris. My sister's favourite animal is the"
SURE, LAST = 5, 14  # tokens read


@functools.cache
def next_tokens() -> tuple[list[int], Tensor]:
    """The text's tokens, and the logits of SmolLM2 behind each."""
    ids = tokenizer().encode(SURE_AND_OPEN)
    with torch.inference_mode():
        return ids, model()(torch.tensor([ids]))[0].float()


@value
def threshold(kind: str, epsilon: float = 0.09) -> float:
    """Of typical acceptance with delta = √epsilon, for ``sure`` (0.9 and ten of 0.01) or ``open`` (a hundred of 0.01)."""
    p = torch.tensor([0.9, *[0.01] * 10] if kind == "sure" else [0.01] * 100)
    return typical_threshold(p, epsilon, math.sqrt(epsilon)).item()


SHOWN = 10


@figure(
    title=Both("什么样的猜测算“典型”", "Which guesses count as typical"),
    predict=Predict(
        Both(
            "下面停在 “The capital of France is” 后面，模型很有把握。拖到最后，“favourite animal is the” 后面什么动物都可能，门槛会怎样？",
            "Below, behind “The capital of France is”, the model is sure. At the end, behind “favourite animal is the”, any animal may follow. What happens to the threshold?",
        ),
        choices=[
            Both("更高：没把握就要更小心", "higher: be careful when unsure"),
            Both("一样", "the same"),
            Both("更低：写哪个都说得通", "lower: many tokens make sense"),
        ],
        answer=lambda: 2 if threshold_at(LAST, 0.09, 1.0) < threshold_at(SURE, 0.09, 1.0) else 0,
        explain=lambda: Both(
            f"从 {threshold_at(SURE, 0.09, 1.0):.3f} 降到 {threshold_at(LAST, 0.09, 1.0):.4f}。熵大的地方，概率摊在许多 token 上，最好的一个也没多少；门槛 δ·e^(−H) 跟着降。",
            f"It falls from {threshold_at(SURE, 0.09, 1.0):.3f} to {threshold_at(LAST, 0.09, 1.0):.4f}. Where entropy is large, probability is spread over many tokens and even the best has little; the threshold δ·e^(−H) falls with it.",
        ),
    ),
)
def typical(
    position: Annotated[int, Slider(1, LAST, label=Both("读到第几个 token", "tokens read so far"))] = SURE,
    epsilon: Annotated[float, Slider(0.01, 0.5, step=0.01, label=Both("ε（δ = √ε）", "ε (δ = √ε)"))] = 0.09,
    temperature: Annotated[float, Slider(0.2, 1.5, step=0.1, label=Both("温度", "temperature"))] = 1.0,
) -> list[Bars | Text]:
    ids, logits = next_tokens()
    p = (logits[position - 1] / temperature).softmax(-1)
    top = p.topk(SHOWN)
    bound = threshold_at(position, epsilon, temperature)
    n_typical = int((p > bound).sum())
    entropy = torch.special.entr(p).sum().item()
    before = tokenizer().decode(ids[:position])
    return [
        Bars(
            [readable(one) for one in top.indices.tolist()],
            series={
                Both("模型给的概率", "the model's p"): top.values.tolist(),
                Both("门槛", "threshold"): [bound] * SHOWN,
            },
            y_label=Both("概率", "probability"),
            y_max=1.0,
            title=Both(f"“{before}” 的后面", f"behind “{before}”"),
        ),
        Text(
            Both(
                f"熵 H = {entropy:.2f} nat，门槛 min(ε, δ·e^(−H)) = {bound:.4f}，{n_typical} 个 token 过得去。",
                f"Entropy H = {entropy:.2f} nats, threshold min(ε, δ·e^(−H)) = {bound:.4f}; {n_typical} tokens pass.",
            )
        ),
    ]


def threshold_at(position: int, epsilon: float, temperature: float) -> float:
    _, logits = next_tokens()
    p = (logits[position - 1] / temperature).softmax(-1)
    return typical_threshold(p, epsilon, math.sqrt(epsilon)).item()


# ---------------------------------------------------------------- a small model and its heads, trained now

CONTEXT, WINDOW, ROWS = 256, 96, 24
PROMPT_BYTES, WRITTEN_BYTES, WRITERS = 48, 144, 48


@functools.cache
def sources() -> tuple[Tensor, Tensor]:
    """Python's own sources as bytes: nine parts to learn, one to begin from."""
    text = "\n\n".join(stdlib_sources(max_bytes=600_000)).encode()
    whole = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    return whole[: len(whole) * 9 // 10], whole[len(whole) * 9 // 10 :]


def windows(text: Tensor, rows: int, length: int, generator: torch.Generator) -> Tensor:
    starts = torch.randint(len(text) - length, (rows,), generator=generator)
    return torch.stack([text[start : start + length] for start in starts.tolist()])


def small_model(seed: int) -> Llama:
    small = Llama(
        LlamaConfig(
            vocab_size=256, d_model=128, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=32, hidden=352,
            context_length=CONTEXT, tied_head=True,
        )
    )  # fmt: skip
    initialize(small, torch.Generator().manual_seed(seed))
    return small


class Trained:
    """A model over bytes, and Medusa heads that learned from what it writes."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.model = small_model(seed)
        self.heads = MedusaHeads(HEADS, self.model.config.d_model)
        self.before: list[list[float]] = []

    @property
    def head_weight(self) -> Tensor:
        return self.model.head.weight.detach()

    def learn_language(self, steps: int) -> Iterator[tuple[int, float]]:
        text, _ = sources()
        optimizer = AdamW(self.model.parameters(), lr=0.0, weight_decay=0.01)
        for step in range(steps):
            rows = windows(text, ROWS, WINDOW + 1, self.generator)
            for group in optimizer.param_groups:
                group["lr"] = 4e-3 * min((step + 1) / 20, (steps - step) / steps)
            features = self.model.features(rows[:, :-1])
            loss = chunked_cross_entropy(features, self.model.head.weight, rows[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield step + 1, float(loss.detach())
        self.model.eval()

    def own_texts(self) -> list[list[int]]:
        """What the model writes, behind beginnings that it has not seen."""
        beginnings = windows(sources()[1], WRITERS, PROMPT_BYTES, self.generator).tolist()
        sampling = Sampling(temperature=0.7, seed=1)
        batch = static_batch_generate(self.model, beginnings, max_tokens=WRITTEN_BYTES, sampling=sampling)
        return [prompt + answer for prompt, answer in zip(beginnings, batch.answers, strict=True)]

    def learn_guessing(self, steps: int) -> Iterator[tuple[int, float]]:
        parts = [head_data(self.model, text, HEADS, PROMPT_BYTES) for text in self.own_texts()]
        learned, held_out = HeadData.join(parts[8:]), HeadData.join(parts[:8])
        self.before = head_accuracies(self.heads, held_out, self.head_weight, ranks=8)
        for step in train_medusa(self.heads, learned, self.head_weight, steps=steps, positions_a_step=512):
            yield step.step, step.loss
        self.heads.accuracies = head_accuracies(self.heads, held_out, self.head_weight, ranks=8)

    def beginnings(self, n: int) -> list[list[int]]:
        return windows(sources()[1], n, PROMPT_BYTES, torch.Generator().manual_seed(7)).tolist()


HEAD_STEPS = 200


def training(small: Trained, steps: int, total: int) -> Iterator[Event]:
    """First the model, then its heads; ``total`` is what the lab's progress counts to."""
    yield Progress(0, total, Both("读入 Python 的源码", "reading Python's sources"))
    for step, loss in small.learn_language(steps):
        if step % 5 == 0:
            yield Progress(step, total, Both("训练小模型", "training the small model"))
            yield Sample(
                Both("小模型", "the small model"),
                x=step,
                y=loss,
                x_label=Both("步", "step"),
                y_label=Both("损失（nat）", "loss (nats)"),
            )
    yield Progress(steps, total, Both("它自己写文字", "it writes its own text"))
    for step, loss in small.learn_guessing(HEAD_STEPS):
        if step % 20 == 0:
            yield Progress(steps + step // 10, total, Both("训练头", "training the heads"))
            yield Sample(Both("三个头（加权和）", "three heads (weighted sum)"), x=steps + step // 5, y=loss)


def accuracy_table(small: Trained) -> Table:
    rows: list[list[object]] = [
        [k, f"{before[0]:.0%}", f"{after[0]:.0%}", f"{sum(after[:3]):.0%}"]
        for k, (before, after) in enumerate(zip(small.before, small.heads.accuracies, strict=True), start=1)
    ]
    columns = [
        Both("头", "head"),
        Both("学之前猜对", "right before"),
        Both("学之后猜对", "right after"),
        Both("前 3 个里有", "among its best 3"),
    ]
    return Table(columns, rows)


def byte_name(byte: int) -> str:
    return {10: "⏎", 32: "␣"}.get(byte, chr(byte) if 32 < byte < 127 else f"{byte:02X}")


def step_row(step: Step) -> list[Token]:
    """What stays of one pass: kept guesses, and the byte that the model wrote itself."""
    kept, own = Both("猜中的", "guessed right"), Both("模型自己写的", "written by the model")
    n = step.n_accepted
    return [
        *(Token(byte_name(byte), tone=BLUE, note=kept) for byte in step.tokens[:n]),
        *(Token(byte_name(byte), tone=GREY, note=own) for byte in step.tokens[n:]),
    ]


LAB_TREES = {
    Both("不猜", "no guesses"): lambda accuracies: TreeShape(()),
    Both("一条链", "a chain"): lambda accuracies: chain(HEADS),
    Both("稠密 3×2×2", "dense 3×2×2"): lambda accuracies: dense_shape([3, 2, 2]),
    Both("稀疏，一样多", "sparse, as many"): lambda accuracies: sparse_shape(accuracies, 21),
    Both("稀疏，8 个", "sparse, 8"): lambda accuracies: sparse_shape(accuracies, 8),
}
COLOURS = Both(
    "一行一步。蓝：猜中的；灰：模型自己写的", "one row a pass. blue: guessed right; grey: the model's own"
)


@lab(
    title=Both("现场训练：一个小模型，三个头，几棵树", "Trained now: a small model, three heads, some trees"),
    seconds=60,
    summary=Both(
        "先训练一个两层的字节模型，让它自己写文字，再让三个头学着猜它；最后用几种树写同样的文字，数每步写几个字节。",
        "Train a model of two layers over bytes, let it write, and let three heads learn to guess it; then write the same texts with several trees and count bytes a pass.",
    ),
)
def train_heads(
    steps: Annotated[
        int, Slider(40, 600, step=20, label=Both("小模型训练几步", "steps of the small model"))
    ] = 200,
    seed: Annotated[int, Slider(0, 9, label=Both("种子", "seed"))] = 0,
) -> Iterator[Event]:
    small = Trained(seed)
    total = steps + HEAD_STEPS // 10 + 5 * len(LAB_TREES)
    yield from training(small, steps, total)
    yield Show("accuracy", accuracy_table(small))
    rows: list[list[object]] = []
    beginnings = small.beginnings(4)
    done = steps + HEAD_STEPS // 10
    texts: list[object] = []
    for name, make in LAB_TREES.items():
        shape, tally, written = make(small.heads.accuracies), Tally(), []
        for beginning in beginnings:
            for step in medusa_steps(small.model, small.heads, beginning, shape, max_tokens=96):
                tally.count(step)
                written.append(step)
        done += 5
        yield Progress(done, total, name)
        expected = expected_length(shape, small.heads.accuracies)
        rows.append(
            [name, len(shape.paths), round(expected, 2), round(tally.tokens_per_step, 2), tally.steps]
        )
        columns = [
            Both("树", "tree"),
            Both("节点", "nodes"),
            Both("估计每步几个", "estimate a pass"),
            Both("实际每步几个", "bytes a pass"),
            Both("一共几步", "passes"),
        ]
        yield Show("trees", Table(columns, list(rows)))
        if len(shape.paths) == 21:
            yield Show("text", Tokens([step_row(step) for step in written[:16]], title=name, note=COLOURS))
        texts.append([byte for step in written for byte in step.tokens])
    yield Metric(
        Both("和不猜写的一样的树", "trees that wrote the same as without guesses"),
        sum(text == texts[0] for text in texts[1:]),
    )
    yield Say(
        Both(
            "估计假设各个头的对错互不相干；真实文字里好猜的地方成片，所以实际的每步往往比估计多。",
            "The estimate takes heads to err independently; in real text what is easy to guess comes in stretches, so passes often give more than estimated.",
        )
    )


EPSILONS = [None, 0.01, 0.03, 0.09, 0.2, 0.4]


@lab(
    title=Both(
        "典型接受：多写几个，走样多少", "Typical acceptance: how many more, and how far from the model"
    ),
    seconds=60,
    summary=Both(
        "同一个小模型和同样的头，先贪心地写（只收模型自己会写的），再用典型接受，ε 从 0.01 到 0.4。看每步写几个字节，也看写出来的字节在模型眼里有多意外。",
        "The same small model and heads: first greedily (only what the model itself would write), then by typical acceptance with ε from 0.01 to 0.4. How many bytes a pass, and how surprising they are to the model.",
    ),
)
def typical_or_exact(
    steps: Annotated[
        int, Slider(40, 600, step=20, label=Both("小模型训练几步", "steps of the small model"))
    ] = 160,
    temperature: Annotated[float, Slider(0.3, 1.5, step=0.1, label=Both("温度", "temperature"))] = 0.7,
    seed: Annotated[int, Slider(0, 9, label=Both("种子", "seed"))] = 0,
) -> Iterator[Event]:
    small = Trained(seed)
    total = steps + HEAD_STEPS // 10 + 5 * len(EPSILONS)
    yield from training(small, steps, total)
    yield Show("accuracy", accuracy_table(small))
    shape = sparse_shape(small.heads.accuracies, 21)
    rows: list[list[object]] = []
    done = steps + HEAD_STEPS // 10
    for epsilon in EPSILONS:
        rule = TypicalAcceptance(epsilon, math.sqrt(epsilon), temperature) if epsilon else None
        tally, surprises, others = Tally(), [], []
        for beginning in small.beginnings(6):
            text = list(beginning)
            for step in medusa_steps(
                small.model, small.heads, beginning, shape, acceptance=rule, max_tokens=96
            ):
                tally.count(step)
                text += step.tokens
            surprise, other = seen_by(small.model, text, len(beginning), temperature)
            surprises.append(surprise)
            others.append(other)
        done += 5
        yield Progress(done, total)
        name = (
            Both(f"ε = {epsilon:g}", f"ε = {epsilon:g}")
            if epsilon
            else Both("贪心（精确）", "greedy (exact)")
        )
        surprise, other = sum(surprises) / len(surprises), sum(others) / len(others)
        rows.append([name, round(tally.tokens_per_step, 2), round(surprise, 2), f"{other:.0%}"])
        columns = [
            Both("规则", "rule"),
            Both("每步几个字节", "bytes a pass"),
            Both("意外 −ln p（nat）", "surprise −ln p (nats)"),
            Both("不是模型首选的", "not the model's first choice"),
        ]
        yield Show("typical", Table(columns, list(rows)))
    yield Say(
        Both(
            "表里的 p 是这个温度下模型的概率。写出来的每个字节都是确定的，所以 −ln p 就是“写出来的”到“模型的”那个 KL 散度。ε 很小时门槛低，收得多；ε 越大越挑剔。",
            "p is the model's probability at this temperature. What is written is certain, so −ln p is the KL divergence from what is written to the model. A small ε is a low threshold, and much stays; a larger one is choosier.",
        )
    )


@torch.inference_mode()
def seen_by(small: Llama, text: list[int], n_prompt: int, temperature: float) -> tuple[float, float]:
    """Behind the prompt: mean surprise of a byte, and the share that was not the most probable."""
    logits = small(torch.tensor([text[:-1]]))[0, n_prompt - 1 :].float()
    wanted = torch.tensor(text[n_prompt:])
    log_p = (logits / temperature).log_softmax(-1)
    surprise = -log_p.gather(1, wanted[:, None]).mean()
    return surprise.item(), (logits.argmax(-1) != wanted).float().mean().item()


@lab(
    title=Both("用你的树来写", "Write with your tree"),
    seconds=45,
    summary=Both(
        "训练一个小模型和它的头，用你的 sparse_shape 选树，和链、稠密树比。",
        "Train a small model and its heads, choose the tree with your sparse_shape, and compare it with a chain and a dense tree.",
    ),
)
def your_tree(
    steps: Annotated[
        int, Slider(40, 400, step=20, label=Both("小模型训练几步", "steps of the small model"))
    ] = 100,
    n_nodes: Annotated[int, Slider(1, 40, label=Both("节点数", "nodes"))] = 21,
) -> Iterator[Event]:
    small = Trained(0)
    total = steps + HEAD_STEPS // 10 + 15
    yield from training(small, steps, total)
    yield Show("accuracy", accuracy_table(small))
    yours = sparse_shape(small.heads.accuracies, n_nodes)
    trees = {
        Both("你的", "yours"): yours,
        Both("一条链", "a chain"): chain(HEADS),
        Both("稠密 3×2×2", "dense 3×2×2"): dense_shape([3, 2, 2]),
    }
    rows: list[list[object]] = []
    for number, (name, shape) in enumerate(trees.items(), start=1):
        tally = Tally()
        for beginning in small.beginnings(3):
            for step in medusa_steps(small.model, small.heads, beginning, shape, max_tokens=96):
                tally.count(step)
        yield Progress(steps + HEAD_STEPS // 10 + 5 * number, total)
        expected = expected_length(shape, small.heads.accuracies)
        rows.append([name, len(shape.paths), round(expected, 2), round(tally.tokens_per_step, 2)])
        columns = [
            Both("树", "tree"),
            Both("节点", "nodes"),
            Both("估计每步几个", "estimate a pass"),
            Both("实际每步几个", "bytes a pass"),
        ]
        yield Show("trees", Table(columns, list(rows)))


# ---------------------------------------------------------------- on this computer


@lab(
    title=Both("在这台电脑上，多大的树最好", "On this computer: how large a tree is best"),
    seconds=30,
    summary=Both(
        "量 SmolLM2-135M 走一步要多久，树从 0 个节点到 63 个；乘上头的准确率，看每秒能写几个 token。",
        "Measure how long a pass of SmolLM2-135M takes, with trees from 0 to 63 nodes; with the accuracy of its heads, how many tokens a second that makes.",
    ),
)
def best_here(
    weights: Annotated[
        str,
        Choice(
            [("int4", Both("4 位", "4 bits")), ("bf16", Both.same("bf16"))],
            label=Both("权重", "weights"),
        ),
    ] = "int4",
    cached: Annotated[int, Slider(32, 512, step=32, label=Both("前面已有多少 token", "tokens before"))] = 128,
) -> Iterator[Event]:
    file()  # says what to do if the model is not here
    yield Progress(0, 13, Both("载入模型", "loading the model"))
    loaded = load_language_model(CHAT_MODEL, weights="int4" if weights == "int4" else "bf16").model
    heads = MedusaHeads(HEADS, config().d_model).eval()
    heads.accuracies = ACCURACIES
    rows: list[list[object]] = []
    for done, timing in enumerate(tree_timings(loaded, heads, cached=cached), start=1):
        read = 1 + len(timing.shape.paths)
        first = 1000 * timing.seconds if not rows else float(rows[0][1])  # pyright: ignore[reportArgumentType]
        milliseconds = round(1000 * timing.seconds, 1)
        gain = timing.tokens * first / (1000 * timing.seconds)
        yield Progress(1 + done, 13)
        yield Sample(
            Both("一步的时间（倍）", "time of a pass (times)"),
            x=read,
            y=1000 * timing.seconds / first,
            x_label=Both("一步读几个 token", "tokens read in a pass"),
        )
        yield Sample(Both("每步写几个", "tokens a pass"), x=read, y=timing.tokens)
        yield Sample(Both("加速", "speed-up"), x=read, y=gain)
        rows.append([read - 1, milliseconds, round(timing.tokens, 2), round(gain, 2)])
        columns = [
            Both("节点", "nodes"),
            Both("一步（毫秒）", "a pass (ms)"),
            Both("每步写几个（估计）", "tokens a pass (estimate)"),
            Both("加速（估计）", "speed-up (estimate)"),
        ]
        yield Show("times", Table(columns, list(rows)))
    best = max(rows, key=lambda row: float(row[3]))  # pyright: ignore[reportArgumentType]
    yield Say(
        Both(
            f"这台电脑现在最好的是 {best[0]} 个节点，估计快 {best[3]} 倍。"
            if best[0]
            else "这台电脑现在不猜最好：一步多读几个 token 太贵。",
            f"Here and now {best[0]} nodes are best: by this estimate {best[3]} times as fast."
            if best[0]
            else "Here and now not guessing is best: reading more tokens in a pass costs too much.",
        )
    )
