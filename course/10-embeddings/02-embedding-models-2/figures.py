"""Figures, labs and values of lesson 10.2: what an embedding model is trained with, and what each part of it changes."""

from __future__ import annotations

import copy
import functools
import math
import random
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
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
    Toggle,
    figure,
    lab,
    value,
)
from teachllm.stack.models.encoder.bert import Bert, BertConfig, Block
from teachllm.stack.retrieval.embedding import EmbeddingModel, losses
from teachllm.stack.retrieval.embedding.losses import cosent, cosine_loss, false_negatives
from teachllm.stack.retrieval.embedding.mining import (
    NONE,
    DynamicNegatives,
    ranked_candidates,
    static_negatives,
)
from teachllm.stack.retrieval.embedding.retromae import RetroMAE, enhanced_mask, masked
from teachllm.stack.retrieval.embedding.training import EmbeddingTraining, Pair, train_embedding
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer
from teachllm.stack.training.initialization import initialize

# ---------------------------------------------------------------- InfoNCE by hand, and what the temperature does

CANDIDATES = [
    Both("正例", "positive"),
    Both("难负例", "hard negative"),
    Both("沾点边", "related"),
    Both("无关 1", "unrelated 1"),
    Both("无关 2", "unrelated 2"),
]
COSINES = (0.80, 0.75, 0.45, 0.10, -0.05)


def in_the_plane(cosines: Sequence[float]) -> tuple[Tensor, Tensor]:
    """A query and candidates of these cosines with it, all of length 1."""
    angles = torch.tensor([math.acos(one) for one in cosines], dtype=torch.float64)
    return torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.stack([angles.cos(), angles.sin()], dim=1)


def shares(temperature: float, cosines: Sequence[float] = COSINES) -> list[float]:
    """softmax(cosines / temperature): how strongly InfoNCE looks at each candidate."""
    return (torch.tensor(cosines, dtype=torch.float64) / temperature).softmax(0).tolist()


@value
def by_hand(what: str, temperature: float = 0.05, candidate: int = 0) -> float:
    """``loss`` of the five candidates; ``share`` of one; ``push``, its part of what pushes negatives away."""
    query, passages = in_the_plane(COSINES)
    if what == "loss":
        return losses.info_nce(query, passages[:1], passages[1:], temperature).item()
    share = shares(temperature)
    return share[candidate] if what == "share" else share[candidate] / sum(share[1:])


@figure(
    title=Both("温度决定推谁", "The temperature decides who is pushed"),
    predict=Predict(
        Both(
            f"τ = 0.05 时，推开负例的力有 {100 * by_hand('push', 0.05, 1):.1f}% 落在那个难负例上。τ 换成 1，还剩百分之几？",
            f"At τ = 0.05, {100 * by_hand('push', 0.05, 1):.1f}% of the push against negatives goes to the hard one. How much at τ = 1?",
        ),
        low=0,
        high=100,
        step=1,
        unit="%",
        answer=lambda: 100 * by_hand("push", 1.0, 1),
        explain=lambda: Both(
            f"{100 * by_hand('push', 1.0, 1):.0f}%。余弦最多差 2，除以 1 还是最多差 2，softmax 几乎是平的：四个负例差不多一样用力，力气大半花在早就推开了的那些上。",
            f"{100 * by_hand('push', 1.0, 1):.0f}%. Cosines differ by at most 2; divided by 1 they still do, and the softmax is nearly flat: all four negatives are pushed "
            "about alike, and most of the force goes to those that are far away already.",
        ),
    ),
)
def temperature(
    tau: Annotated[
        float, Slider(0.01, 1.0, step=0.01, log=True, label=Both("温度 τ", "temperature τ"))
    ] = 0.05,
    hard: Annotated[
        float, Slider(0.0, 0.95, step=0.01, label=Both("难负例的余弦", "cosine of the hard negative"))
    ] = 0.75,
) -> list[Bars | Text]:
    cosines = (COSINES[0], hard, *COSINES[2:])
    query, passages = in_the_plane(cosines)
    passages.requires_grad_()
    loss = losses.info_nce(query, passages[:1], passages[1:], tau)
    (gradient,) = torch.autograd.grad(loss, passages)
    force = (
        gradient @ query[0]
    ).tolist()  # by how much the loss falls as the score does: negative for the positive
    return [
        Bars(
            CANDIDATES,
            series={
                Both("余弦", "cosine"): list(cosines),
                Both("softmax 的份额", "share of the softmax"): shares(tau, cosines),
            },
            y_max=1.0,
        ),
        Text(
            Both(
                f"损失 {loss.item():.3f}。正例被拉的力 {-force[0]:.2f}，难负例被推的力 {force[1]:.2f}，其余三个合起来 {sum(force[2:]):.2f}。",
                f"Loss {loss.item():.3f}. The positive is pulled with {-force[0]:.2f}, the hard negative pushed with {force[1]:.2f}, the other three together with {sum(force[2:]):.2f}.",
            )
        ),
    ]


# ---------------------------------------------------------------- false negatives in a batch

QUERIES = ["怎么退款", "退货要几天", "地址写错了", "怎么开发票"]
BATCH_SCORES = torch.tensor(
    [
        [0.82, 0.55, 0.20, 0.25],
        [0.70, 0.58, 0.22, 0.18],
        [0.15, 0.20, 0.75, 0.30],
        [0.28, 0.24, 0.33, 0.71],
    ]
)
QUESTIONS = [
    Both("怎么退款", "how to get a refund"),
    Both("退货要几天", "how long returns take"),
    Both("地址写错了", "wrong address"),
    Both("怎么开发票", "how to get an invoice"),
]
PASSAGES = [
    Both("《退款规则》", "Refund rules"),
    Both("《退货流程》", "Returns"),
    Both("《修改地址》", "Changing an address"),
    Both("《发票》", "Invoices"),
]


@value
def excluded_pairs(margin: float) -> int:
    return int(false_negatives(BATCH_SCORES, margin).sum())


@figure(title=Both("一批里的假负例", "False negatives in a batch"))
def batch_of_four(
    masks: Annotated[bool, Toggle(label=Both("屏蔽可疑的", "mask the suspicious"))] = False,
    margin: Annotated[float, Slider(0.0, 0.3, step=0.02, label=Both("余量", "margin"))] = 0.1,
    tau: Annotated[float, Slider(0.02, 0.2, step=0.01, label=Both("温度 τ", "temperature τ"))] = 0.05,
) -> list[Heatmap | Text]:
    left_out = false_negatives(BATCH_SCORES, margin) if masks else torch.zeros(4, 4, dtype=torch.bool)
    scores = BATCH_SCORES.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy((scores / tau).masked_fill(left_out, -math.inf), torch.arange(4))
    (gradient,) = torch.autograd.grad(loss, scores)
    force = gradient / gradient.abs().max()
    return [
        Heatmap(
            BATCH_SCORES.tolist(),
            x_labels=PASSAGES,
            y_labels=QUESTIONS,
            domain=(0.0, 1.0),
            show_numbers=True,
            title=Both("余弦：对角线是正例", "cosines: the positives on the diagonal"),
        ),
        Heatmap(
            [[round(one, 2) for one in row] for row in force.tolist()],
            x_labels=PASSAGES,
            y_labels=QUESTIONS,
            scale="diverging",
            domain=(-1.0, 1.0),
            show_numbers=True,
            title=Both("受力：负的拉近，正的推开", "forces: negative pulls together, positive pushes apart"),
        ),
        Text(
            Both(
                f"损失 {loss.item():.2f}；屏蔽了 {int(left_out.sum())} 个。《退款规则》也回答了“退货要几天”，不屏蔽就会被当作错误答案推开。",
                f"Loss {loss.item():.2f}; {int(left_out.sum())} masked. “Refund rules” also answers “how long returns take”; unmasked, it is pushed away as if it were wrong.",
            )
        ),
    ]


# ---------------------------------------------------------------- CoSENT asks for an order


def three_losses(cosine: float) -> tuple[float, float]:
    """CoSENT and the squared error for three pairs labelled 1, 0.5 and 0 whose cosines are `cosine`, 0.6 and 0.4."""
    cosines, labels = torch.tensor([cosine, 0.6, 0.4]), torch.tensor([1.0, 0.5, 0.0])
    return cosent(cosines, labels).item(), cosine_loss(cosines, labels).item()


@value
def ordered(what: str, cosine: float) -> float:
    return three_losses(cosine)[0 if what == "cosent" else 1]


@figure(
    title=Both("CoSENT 只问顺序", "CoSENT asks for an order only"),
    predict=Predict(
        Both(
            "三对句子，人给的分是 1、0.5、0，模型给的余弦是 0.8、0.6、0.4：顺序全对，数值不对。CoSENT 的损失最接近多少？",
            "Three pairs, labelled 1, 0.5 and 0 by people; the model's cosines are 0.8, 0.6 and 0.4: the order is right, the values are not. What is the loss of CoSENT closest to?",
        ),
        choices=[Both("接近 0", "near 0"), Both("0.5 左右", "about 0.5"), Both("2 左右", "about 2")],
        answer=lambda: min(range(3), key=lambda i: abs((0.0, 0.5, 2.0)[i] - ordered("cosent", 0.8))),
        explain=lambda: Both(
            f"{ordered('cosent', 0.8):.3f}。每一对都排对了，差 0.2，乘 20 是 4，$e^{{-4}}$ 只剩一点点。平方误差是 {ordered('mse', 0.8):.3f}，它还要把 0.4 压到 0。",
            f"{ordered('cosent', 0.8):.3f}. Every pair stands in order; a gap of 0.2 times 20 is 4, and $e^{{-4}}$ is little. The squared error is {ordered('mse', 0.8):.3f}: it still wants the 0.4 to be 0.",
        ),
    ),
)
def order_only(
    shift: Annotated[
        float, Slider(-0.4, 0.3, step=0.05, label=Both("三个余弦一起加", "added to all three cosines"))
    ] = 0.0,
) -> Lines:
    xs = [i / 50 for i in range(51)]
    labels = torch.tensor([1.0, 0.5, 0.0])
    rows = [torch.tensor([x, 0.6, 0.4]) + shift for x in xs]
    return Lines(
        {
            "CoSENT": (xs, [cosent(row, labels).item() for row in rows]),
            Both("平方误差 × 10", "squared error × 10"): (
                xs,
                [10 * cosine_loss(row, labels).item() for row in rows],
            ),
        },
        x_label=Both(
            "最像的那一对的余弦（另外两对 0.6、0.4）",
            "cosine of the most similar pair (the others: 0.6, 0.4)",
        ),
        y_label=Both("损失", "loss"),
        y_range=(0, 10),
        marks=[(0.6, Both("超过第二对", "above the second"))],
    )


# ---------------------------------------------------------------- RetroMAE: what the decoder may see

SENTENCE = {
    "zh": ["[CLS]", "今", "天", "的", "雨", "下", "得", "很", "大"],
    "en": ["[CLS]", "it", "has", "been", "raining", "very", "hard", "all", "day"],
}


@figure(
    title=Both("解码器看得见什么", "What the decoder may see"),
    predict=Predict(
        Both(
            "8 个 token 的句子，解码器遮住一半。基本解码一次能在几个 token 上算损失？增强解码是 8 个。",
            "A sentence of 8 tokens, half of it hidden from the decoder. On how many tokens does basic decoding have a loss? For enhanced decoding it is 8.",
        ),
        low=0,
        high=8,
        step=1,
        answer=lambda: 4,
        explain=lambda: Both(
            "4 个：只有被遮的位置才有题可做。增强解码给每一行各抽一套看得见的，所以每个 token 都是一道题，一遍读完得到两倍的训练信号。",
            "4: only hidden places are questions. Enhanced decoding draws what is visible anew for every row, so every token is a question, twice the signal of one pass.",
        ),
        tolerance=0.5,
    ),
)
def decoder_mask(
    decoding: Annotated[
        str,
        Choice(
            [("enhanced", Both("增强解码", "enhanced")), ("basic", Both("基本解码", "basic"))],
            label=Both("方式", "decoding"),
        ),
    ] = "enhanced",
    ratio: Annotated[float, Slider(0.3, 0.8, step=0.1, label=Both("遮住的比例", "share hidden"))] = 0.5,
    seed: Annotated[int, Slider(0, 20, label=Both("随机种子", "seed"))] = 0,
) -> Heatmap:
    n = len(SENTENCE["zh"])
    generator = torch.Generator().manual_seed(seed)
    if decoding == "enhanced":
        mask = enhanced_mask(n, 1 - ratio, generator)[0]
    else:
        hidden = 1 + torch.randperm(n - 1, generator=generator)[: round(ratio * (n - 1))]
        mask = torch.ones(n, n, dtype=torch.bool)
        mask[:, hidden] = False
    names = [Both(zh, en) for zh, en in zip(SENTENCE["zh"], SENTENCE["en"], strict=True)]
    return Heatmap(
        mask.int().tolist(),
        x_labels=names,
        y_labels=names,
        x_label=Both("看得见谁（深色）", "who is seen (dark)"),
        y_label=Both("要重建谁", "who is rebuilt"),
        domain=(0, 1),
        note=Both(
            "第 0 列是句向量。增强解码里，对角线永远是空的：自己就是答案。",
            "Column 0 is the vector of the sentence. In enhanced decoding the diagonal is always empty: it would be the answer.",
        ),
    )


# ---------------------------------------------------------------- GradCache: what has to be kept

BGE_BASE = BertConfig(vocab_size=30522, d_model=768, n_layers=12, n_heads=12, hidden=3072, context_length=512)
FLOAT = 4


@functools.cache
def kept_numbers_a_token(length: int) -> float:
    """What one layer of a BERT-base keeps for its backward pass, weights apart, in numbers a token.

    Counted, not estimated: the layer runs once, and every tensor that it saves is added up.
    """
    with torch.random.fork_rng(devices=[]):
        block, x = Block(BGE_BASE), torch.ones(length, BGE_BASE.d_model, requires_grad=True)
    weights = {one.untyped_storage().data_ptr() for one in block.parameters()}
    kept: dict[int, int] = {}

    def save(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in weights:
            kept[place] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        block(x, [length])
    return sum(kept.values()) / length


@value
def batch_memory(what: str, pairs: int = 19_200, length: int = 128) -> float:
    """In GB: ``activations`` of a whole batch of BERT-base in float32, ``vectors`` of it."""
    texts = 2 * pairs
    if what == "vectors":
        return texts * BGE_BASE.d_model * FLOAT / 1e9
    return texts * length * BGE_BASE.n_layers * kept_numbers_a_token(length) * FLOAT / 1e9


# ---------------------------------------------------------------- a small world in which everything is measured


N_TOPICS, WORDS, CHOSEN, COMMON = 40, 8, 3, 40


def passage_words(topic: int, chosen: Sequence[int]) -> list[str]:
    return [f"p{topic}x{i}" for i in chosen]


def query_words(topic: int, chosen: Sequence[int]) -> list[str]:
    return [f"q{topic}x{i}" for i in chosen]


@functools.cache
def world() -> tuple[list[Pair], list[Pair]]:
    """(pairs to train on, pairs to test with).

    Every passage has three of the eight words of one topic among common words; its query says the same three in other
    words. So words must be matched that never occur together in one text, and the hard negatives of a passage are those
    of its topic that share two words with it: similar, and wrong.
    """
    chance = random.Random(0)
    pairs = []
    for topic in range(N_TOPICS):
        for chosen in combinations(range(WORDS), CHOSEN):
            common = [f"c{chance.randrange(COMMON)}" for _ in range(6)]
            passage, query = (
                passage_words(topic, chosen) + common[:4],
                query_words(topic, chosen) + common[4:],
            )
            chance.shuffle(passage)
            chance.shuffle(query)
            pairs.append(Pair(" ".join(query), " ".join(passage)))
    chance.shuffle(pairs)
    return pairs[:-300], pairs[-300:]


def all_passages() -> list[str]:
    return [pair.passage for part in world() for pair in part]


@functools.cache
def world_tokenizer() -> BertTokenizer:
    topical = [f"{kind}{topic}x{i}" for kind in "pq" for topic in range(N_TOPICS) for i in range(WORDS)]
    return BertTokenizer([*SPECIAL_TOKENS, *topical, *(f"c{i}" for i in range(COMMON))])


def new_model(seed: int) -> EmbeddingModel:
    """A BERT of one layer, with random weights."""
    tokenizer = world_tokenizer()
    config = BertConfig(
        vocab_size=tokenizer.vocab_size, d_model=64, n_layers=1, n_heads=4, hidden=128, context_length=16
    )
    encoder = Bert(config)
    initialize(encoder, torch.Generator().manual_seed(seed))
    return EmbeddingModel(
        name="small",
        encoder=encoder.eval(),
        tokenizer=tokenizer,
        begin_tokens=(tokenizer.cls,),
        end_tokens=(tokenizer.sep,),
        max_tokens=16,
        vocab_size=tokenizer.vocab_size,
        dimension=64,
    )


def recall_at_1(model: EmbeddingModel, dimension: int | None = None) -> float:
    """Of the queries that were not trained on, the share whose own passage is found first among all."""
    _, test = world()
    queries = torch.from_numpy(model.embed([pair.query for pair in test], "query", dimension=dimension))
    passages = torch.from_numpy(model.embed(all_passages(), dimension=dimension))
    own = torch.arange(len(test)) + len(passages) - len(test)
    return (queries @ passages.T).argmax(1).eq(own).float().mean().item()


RATE = 3e-3
RECALL = Both("没训练过的问题，第一名就答对的比例", "unseen queries answered by the first hit")
STEPS = Both("训练步数", "training steps")


def watched(
    name: Both | str,
    model: EmbeddingModel,
    pairs: list[Pair],
    config: EmbeddingTraining,
    done: int,
    total: int,
    seed: int = 1,
) -> Iterator[Event]:
    """Trains, and draws the recall as it grows."""
    every = max(1, config.steps // 6)
    for step in train_embedding(model, pairs, config, seed):
        if step.step % 10 == 0:
            yield Progress(done + step.step, total)
        if step.step % every == 0 or step.step == config.steps:
            yield Sample(name, x=step.step, y=recall_at_1(model), x_label=STEPS, y_label=RECALL)


@lab(
    title=Both("批越大，题越难", "The larger the batch, the harder the question"),
    seconds=20,
    summary=Both(
        "同一个小模型、同样的步数，一批 8 对、32 对、128 对，比谁学得好。",
        "The same small model and the same number of steps with 8, 32 and 128 pairs a batch.",
    ),
)
def batch_sizes(
    steps: Annotated[int, Slider(100, 1200, step=50, label=Both("步数", "steps"))] = 300,
    tau: Annotated[float, Slider(0.02, 0.5, log=True, label=Both("温度 τ", "temperature τ"))] = 0.05,
) -> Iterator[Event]:
    train, _ = world()
    sizes = (8, 32, 128)
    rows: list[list[object]] = []
    for turn, size in enumerate(sizes):
        model = new_model(seed=0)
        config = EmbeddingTraining(steps=steps, batch=size, peak_lr=RATE, temperature=tau)
        name = Both(f"一批 {size} 对", f"{size} pairs")
        yield from watched(name, model, train, config, turn * steps, len(sizes) * steps)
        rows.append([size, size - 1, round(math.log(size), 2), round(recall_at_1(model), 3)])
        columns = [
            Both("一批几对", "pairs a batch"),
            Both("每个问题的负例", "negatives a query"),
            Both("瞎猜的损失 ln B", "loss of guessing, ln B"),
            Both("recall@1", "recall@1"),
        ]
        yield Show("sizes", Table(columns, list(rows)))
    yield Say(
        Both(
            "大的批也看了更多的文字，所以这不只是负例的功劳。想分开两者：一批 8 对走 1,200 步，和一批 32 对走 300 步，看的文字一样多，比这两个。",
            "A large batch has also read more text, so not all of this is due to negatives; to tell the two apart, compare 8 pairs after 1,200 steps with 32 pairs after 300: they have read equally much.",
        )
    )


def both_sides(model: EmbeddingModel, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """The vectors of the queries and of the passages."""
    queries, passages = (
        model.embed([pair.query for pair in pairs], "query"),
        model.embed([pair.passage for pair in pairs]),
    )
    return torch.from_numpy(queries), torch.from_numpy(passages)


def with_negatives(pairs: Sequence[Pair], ids: Tensor) -> list[Pair]:
    """The pairs, each with these passages as its hard negatives."""
    return [
        Pair(pair.query, pair.passage, tuple(pairs[i].passage for i in row if i != NONE))
        for pair, row in zip(pairs, ids.tolist(), strict=True)
    ]


WARM_STEPS, LOOK_EVERY, DEPTH = 150, 50, 60


@lab(
    title=Both(
        "难负例：不用、挖一次、边训边换", "Hard negatives: none, mined once, exchanged while training"
    ),
    seconds=20,
    summary=Both(
        "先用批内负例训练一会儿，再分三路接着训：不加难负例；加一次挖好的；按 Conan 的规则边训边换。",
        "Train with in-batch negatives for a while, then go on in three ways: without hard negatives, with those mined once, and exchanged by Conan's rule.",
    ),
)
def hard_negatives(
    steps: Annotated[int, Slider(100, 400, step=50, label=Both("各训多少步", "steps each"))] = 200,
    n: Annotated[int, Slider(1, 4, label=Both("每题几个难负例", "hard negatives a query"))] = 2,
) -> Iterator[Event]:
    train, _ = world()
    start = new_model(seed=0)
    total = WARM_STEPS + 3 * steps
    warm = EmbeddingTraining(WARM_STEPS, batch=32, peak_lr=RATE)
    for step in train_embedding(start, train, warm, seed=1):
        if step.step % 10 == 0:
            yield Progress(step.step, total)
    candidates, _ = ranked_candidates(*both_sides(start, train), torch.arange(len(train)), depth=DEPTH)
    config = EmbeddingTraining(steps, batch=32, peak_lr=RATE / 3, warmup_share=0.0)
    names = [
        Both("只用批内负例", "in-batch only"),
        Both("挖一次", "mined once"),
        Both("边训边换", "exchanged"),
    ]
    recalls: list[float] = []
    for turn, name in enumerate(names):
        model = copy.deepcopy(start)
        scores = partial(scores_of, model, train)
        dynamic = DynamicNegatives.begin(candidates, n, scores) if turn == 2 else None
        pairs = list(train)
        if turn == 1:
            generator = torch.Generator().manual_seed(0)
            pairs = with_negatives(train, static_negatives(candidates, n, first=10, generator=generator))
        elif dynamic is not None:
            pairs = with_negatives(train, dynamic.ids)
        exchanged = 0
        for step in train_embedding(model, pairs, config, seed=2):
            if step.step % 10 == 0:
                yield Progress(WARM_STEPS + turn * steps + step.step, total)
            if step.step % LOOK_EVERY == 0:
                yield Sample(name, x=step.step, y=recall_at_1(model), x_label=STEPS, y_label=RECALL)
                if dynamic is not None:
                    exchanged += dynamic.refresh(scores)
                    pairs[:] = with_negatives(train, dynamic.ids)
        recalls.append(recall_at_1(model))
        yield Metric(name, recalls[-1])
        if dynamic is not None:
            yield Metric(Both("换了几题的难负例", "exchanges"), exchanged)
        yield Show("recall", Bars(names[: turn + 1], list(recalls), y_max=1.0, y_label=RECALL))


def scores_of(model: EmbeddingModel, pairs: Sequence[Pair], ids: Tensor) -> Tensor:
    queries, passages = both_sides(model, pairs)
    return torch.einsum("qd,qnd->qn", queries, passages[ids])


@lab(
    title=Both("套娃：只留前几维还能用吗", "Matryoshka: are the first few dimensions enough?"),
    seconds=15,
    summary=Both(
        "同样的模型训练两次，一次只要求 64 维整体好，一次还要求前 4、8、16 维单独也好，再截短了比。",
        "Train the same model twice, once for all 64 dimensions, once also for the first 4, 8 and 16 alone; then shorten and compare.",
    ),
)
def nested(
    steps: Annotated[int, Slider(100, 500, step=50, label=Both("步数", "steps"))] = 300,
) -> Iterator[Event]:
    train, _ = world()
    kinds = {Both("普通", "plain"): (), Both("套娃", "Matryoshka"): (4, 8, 16)}
    kept = [4, 8, 16, 32, 64]
    lines: dict[Both | str, tuple[list[int], list[float]]] = {}
    for turn, (name, dimensions) in enumerate(kinds.items()):
        model = new_model(seed=0)
        config = EmbeddingTraining(steps=steps, batch=64, peak_lr=RATE, dimensions=dimensions)
        for step in train_embedding(model, train, config, seed=1):
            if step.step % 10 == 0:
                yield Progress(turn * steps + step.step, 2 * steps)
        lines[name] = kept, [recall_at_1(model, dimension) for dimension in kept]
        yield Show(
            "kept",
            Lines(
                dict(lines),
                x_label=Both("留下前几维", "dimensions kept"),
                y_label=RECALL,
                x_log=True,
                y_range=(0, 1),
            ),
        )


@lab(
    title=Both("用你的 info_nce 训练", "Train with your info_nce"),
    seconds=20,
    summary=Both(
        "同一个小模型，用你写的损失训练：一批 64 对，比正例高出 0.1 的候选被排除。",
        "The same small model, trained with your loss: 64 pairs a batch; what scores 0.1 above the positive is excluded.",
    ),
)
def your_info_nce(
    steps: Annotated[int, Slider(100, 400, step=50, label=Both("步数", "steps"))] = 250,
) -> Iterator[Event]:
    train, _ = world()
    model = new_model(seed=0)
    before = recall_at_1(model)
    config = EmbeddingTraining(steps=steps, batch=64, peak_lr=RATE, false_negative_margin=0.1)
    yield from watched(Both("你的损失", "your loss"), model, train, config, 0, steps)
    yield Metric(Both("训练前", "before"), before)
    yield Metric(Both("训练后", "after"), recall_at_1(model))


# ---------------------------------------------------------------- RetroMAE on texts of topics

TEXT_TOPICS, TEXT_WORDS, TEXT_COMMON, TEXT_LENGTH = 20, 12, 80, 20


@functools.cache
def topic_texts(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """(texts as ids with [CLS] and [SEP], the topic of each): 45% of the words are the topic's, the others anybody's."""
    generator = torch.Generator().manual_seed(seed)
    topics = torch.randint(TEXT_TOPICS, (n,), generator=generator)
    own = topics[:, None] * TEXT_WORDS + torch.randint(TEXT_WORDS, (n, TEXT_LENGTH), generator=generator)
    common = TEXT_TOPICS * TEXT_WORDS + torch.randint(TEXT_COMMON, (n, TEXT_LENGTH), generator=generator)
    mixed = own.where(torch.rand(n, TEXT_LENGTH, generator=generator) < 0.45, common) + len(SPECIAL_TOKENS)
    return torch.cat([torch.full((n, 1), 2), mixed, torch.full((n, 1), 3)], dim=1), topics


def neighbours_of_the_same_topic(encoder: Bert, k: int = 10) -> float:
    """Of the k nearest texts by the vector of [CLS], the share that has the topic of the text."""
    tokens, topics = topic_texts(600, seed=99)
    with torch.no_grad():
        states = encoder(tokens.flatten(), [tokens.shape[1]] * len(tokens)).view(
            len(tokens), tokens.shape[1], -1
        )
    vectors = torch.nn.functional.normalize(states[:, 0] - states[:, 0].mean(0), dim=-1)
    nearest = (vectors @ vectors.T).fill_diagonal_(-2).topk(k).indices
    return topics[nearest].eq(topics[:, None]).float().mean().item()


def blanks_alone(model: RetroMAE, batch: Tensor, generator: torch.Generator) -> Tensor:
    """The encoder's half of the loss, as BERT was trained."""
    seen, targets = masked(batch, 0.3, model.mask_token, generator)
    states = model.encoder(seen.flatten(), [batch.shape[1]] * len(batch)).view(*batch.shape, -1)
    return model.guess(states, targets)


@lab(
    title=Both(
        "没有一对标注，[CLS] 学到主题了吗", "Without a single labelled pair: does [CLS] learn the topic?"
    ),
    seconds=25,
    summary=Both(
        "20 个主题的合成文字。只做掩码语言模型，或者再加一个看得见一半、看得见三成的解码器。量 [CLS] 的 10 个最近邻里同主题的比例。",
        "Synthetic texts of 20 topics. A masked language model alone, or with a decoder that sees half, or three tenths. Measured: of the 10 nearest by [CLS], how many share the topic.",
    ),
)
def retromae(
    steps: Annotated[int, Slider(100, 600, step=20, label=Both("步数", "steps"))] = 160,
    decoding: Annotated[
        str,
        Choice(
            [("enhanced", Both("增强解码", "enhanced")), ("basic", Both("基本解码", "basic"))],
            label=Both("解码方式", "decoding"),
        ),
    ] = "enhanced",
) -> Iterator[Event]:
    runs = {
        Both("只有掩码语言模型", "masked language model alone"): None,
        Both("解码器遮 50%", "decoder, 50% hidden"): 0.5,
        Both("解码器遮 70%", "decoder, 70% hidden"): 0.7,
    }
    tokens, _ = topic_texts(4000, seed=5)
    config = BertConfig(
        vocab_size=len(SPECIAL_TOKENS) + TEXT_TOPICS * TEXT_WORDS + TEXT_COMMON,
        d_model=64,
        n_layers=1,
        n_heads=4,
        hidden=128,
        context_length=TEXT_LENGTH + 2,
    )
    for turn, (name, hidden) in enumerate(runs.items()):
        encoder = Bert(config)
        initialize(encoder, torch.Generator().manual_seed(0))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the decoder's layers
            model = RetroMAE(encoder, mask_token=4, decoding=decoding)  # pyright: ignore[reportArgumentType]
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        generator = torch.Generator().manual_seed(1)
        for step in range(1, steps + 1):
            batch = tokens[torch.randint(len(tokens), (32,), generator=generator)]
            if hidden is None:
                loss = blanks_alone(model, batch, generator)
            else:
                loss = sum(model(batch, generator, encoder_ratio=0.3, decoder_ratio=hidden))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if step % 10 == 0:
                yield Progress(turn * steps + step, len(runs) * steps)
            if step % max(1, steps // 5) == 0:
                yield Sample(
                    name,
                    x=step,
                    y=neighbours_of_the_same_topic(encoder),
                    x_label=STEPS,
                    y_label=Both("近邻里同主题的比例", "share of the same topic"),
                )
        yield Metric(name, neighbours_of_the_same_topic(encoder))
