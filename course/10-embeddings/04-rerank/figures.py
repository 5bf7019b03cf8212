"""Figures, labs and values of lesson 10.4: MaxSim, what a second look costs, judges that sort, and diversity."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from statistics import fmean, median
from typing import Annotated

import numpy as np
import torch

from teachllm.school.cards.deck import cards_known
from teachllm.school.cards.plain import plain
from teachllm.school.course import load_course
from teachllm.school.figures import (
    Bars,
    Both,
    Choice,
    Event,
    Heatmap,
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
from teachllm.school.figures.real_embedder import embedder
from teachllm.school.search.entries import ASIDES, texts
from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.retrieval.dense import DenseSearcher
from teachllm.stack.retrieval.embedding import EmbeddingModel
from teachllm.stack.retrieval.embedding.training import Pair
from teachllm.stack.retrieval.evaluation.metrics import ndcg, recall, reciprocal_rank
from teachllm.stack.retrieval.fusion import FusedSearcher
from teachllm.stack.retrieval.late_interaction import ResidualCodec, TokenEncoder, maxsim, maxsim_scores
from teachllm.stack.retrieval.lexical import LexicalIndex
from teachllm.stack.retrieval.mmr import maximal_marginal_relevance
from teachllm.stack.retrieval.pieces import cut_into_pieces
from teachllm.stack.retrieval.rerankers.cross_encoder import fitting
from teachllm.stack.retrieval.rerankers.files import new_cross_encoder
from teachllm.stack.retrieval.rerankers.listwise import repaired_permutation, windows
from teachllm.stack.retrieval.rerankers.losses import listwise, pairwise, pointwise
from teachllm.stack.retrieval.rerankers.pairwise import all_pairs, heap_top, sliding_passes
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer
from teachllm.stack.training.adamw import AdamW


@functools.cache
def tokens_of_minilm() -> TokenEncoder:
    return TokenEncoder.from_embedding_model(embedder())


# ---------------------------------------------------------------- MaxSim

ASKED = "Which city hosted the games after Paris?"
TOLD = {
    "answer": "The games went from Paris to Los Angeles.",
    "reverse": "The games went from Los Angeles to Paris.",
    "topic": "Paris is a city that many tourists visit.",
    "other": "The committee meets in spring.",
}


@functools.cache
def token_vectors(text: str, kind: str) -> tuple[np.ndarray, tuple[str, ...]]:
    encoder = tokens_of_minilm()
    ids = encoder.query_ids(text) if kind == "query" else encoder.passage_ids(text)
    kept = range(len(ids)) if kind == "query" else encoder.kept(ids)
    (vectors,) = encoder.queries([text]) if kind == "query" else encoder.passages([text])
    return vectors, tuple(encoder.tokenizer.vocabulary[ids[place]] for place in kept)


def maxsim_of(passage: str) -> float:
    """MaxSim of the question with one of the passages, over the number of its tokens: a mean cosine."""
    query, names = token_vectors(ASKED, "query")
    return maxsim(query, token_vectors(TOLD[passage], "passage")[0]) / len(names)


def cosine_of(passage: str) -> float:
    vectors = embedder().embed([ASKED, TOLD[passage]])
    return float(vectors[0] @ vectors[1])


@figure(
    title=Both("每个查询 token 找最像自己的那一个", "Each token of the query finds the one most like it"),
    predict=Predict(
        Both(
            "答案那句的平均 MaxSim 和“从洛杉矶到巴黎”（地名对调）的相差多少？",
            "How far apart are the mean MaxSim of the answer and of the sentence with its places exchanged?",
        ),
        low=0.0,
        high=0.5,
        step=0.01,
        answer=lambda: abs(maxsim_of("answer") - maxsim_of("reverse")),
        explain=lambda: Both(
            f"{maxsim_of('answer'):.3f} 和 {maxsim_of('reverse'):.3f}：几乎分不出。词都在，换个次序，每个 token 还是找得到最像自己的。",
            f"{maxsim_of('answer'):.3f} and {maxsim_of('reverse'):.3f}: hardly a difference. All the words are there, and each token still finds the one most like it.",
        ),
    ),
)
def interaction(
    passage: Annotated[
        str,
        Choice([(name, Both(text, text)) for name, text in TOLD.items()], label=Both("段落", "passage")),
    ] = "answer",
) -> list[Heatmap | Text]:
    query, asked = token_vectors(ASKED, "query")
    found, told = token_vectors(TOLD[passage], "passage")
    similar = query @ found.T
    best = similar.argmax(axis=1)
    rows = [[float(v) if j == best[i] else None for j, v in enumerate(row)] for i, row in enumerate(similar)]
    total = similar.max(axis=1).sum()
    return [
        Heatmap(
            similar.tolist(),
            x_labels=list(told),
            y_labels=list(asked),
            x_label=Both("段落的 token", "tokens of the passage"),
            y_label=Both("查询的 token", "tokens of the query"),
            domain=(0.0, 1.0),
        ),
        Heatmap(
            rows,
            x_labels=list(told),
            y_labels=list(asked),
            domain=(0.0, 1.0),
            show_numbers=True,
            title=Both("每一行只留最大的", "Only the largest of each row"),
        ),
        Text(
            Both(
                f"MaxSim 是这 {len(asked)} 个最大值的和：{total:.2f}，平均 {total / len(asked):.2f}。整段的余弦是 {cosine_of(passage):.2f}。",
                f"MaxSim is the sum of these {len(asked)} maxima: {total:.2f}, a mean of {total / len(asked):.2f}. The cosine of the whole texts is {cosine_of(passage):.2f}.",
            )
        ),
    ]


# ---------------------------------------------------------------- what each way costs

QUERY_TOKENS, PASSAGE_TOKENS = 16, 180
MATRICES = 10_600_000  # weights of MiniLM's six blocks that multiply each token


def operations(way: str = "cross", n: int = 100) -> float:
    """Floating-point operations for one query and n passages; what could be done ahead does not count."""
    d = 384
    encode = 2 * MATRICES * QUERY_TOKENS
    return {
        "bi": encode + 2 * d * n,
        "late": encode + 2 * d * QUERY_TOKENS * PASSAGE_TOKENS * n,
        "cross": 2 * MATRICES * (QUERY_TOKENS + PASSAGE_TOKENS) * n,
    }[way]


@figure(
    title=Both("一个查询、N 个段落，要算多少", "What one query and N passages cost"),
    predict=Predict(
        Both(
            "100 个段落，每段 180 个 token。交叉编码器的计算量，是迟交互的几倍？",
            "100 passages of 180 tokens each. How many times the work of late interaction does a cross-encoder do?",
        ),
        low=1,
        high=1000,
        step=1,
        answer=lambda: operations("cross", 100) / operations("late", 100),
        explain=lambda: Both(
            f"大约 {operations('cross', 100) / operations('late', 100):.0f} 倍。和双编码器比，是 {operations('cross', 100) / operations('bi', 100):,.0f} 倍：双编码器和迟交互都只在查询上跑一遍网络，交叉编码器对每个段落各跑一遍。",
            f"About {operations('cross', 100) / operations('late', 100):.0f} times. Against a bi-encoder it is {operations('cross', 100) / operations('bi', 100):,.0f} times: the other two run the network once, for the query, a cross-encoder once for every passage.",
        ),
    ),
)
def cost(
    n: Annotated[int, Slider(1, 1_000_000, log=True, label=Both("段落数 N", "passages N"))] = 100,
) -> list[Bars | Text]:
    names = {"bi": Both("双编码器", "bi-encoder"), "late": Both("迟交互", "late interaction"), "cross": Both("交叉编码器", "cross-encoder")}  # fmt: skip
    work = [float(np.log10(operations(way, n))) for way in names]
    return [
        Bars(list(names.values()), work, y_label=Both("运算次数，10 的几次方", "operations, powers of ten")),
        Text(
            Both(
                f"按每秒 1000 亿次算：{operations('bi', n) / 1e11:.4f} 秒、{operations('late', n) / 1e11:.3f} 秒、{operations('cross', n) / 1e11:,.1f} 秒。",
                f"At 100 billion a second: {operations('bi', n) / 1e11:.4f} s, {operations('late', n) / 1e11:.3f} s, {operations('cross', n) / 1e11:,.1f} s.",
            )
        ),
    ]


@value
def gigabytes(bits: int = 16, dimension: int = 128, tokens: int = 150) -> float:
    """A million passages of so many tokens; with 1 or 2 bits, the number of a centroid is part of each."""
    per_token = dimension * bits / 8 + (4 if bits <= 4 else 0)
    return 1e6 * tokens * per_token / 1e9


@functools.cache
def some_tokens() -> np.ndarray:
    """Tokens of English sections of the course, as many as a moment can read."""
    english = [entry.text for entry in texts(load_course()) if entry.kind == "lesson" and entry.lang == "en"]
    return np.concatenate(tokens_of_minilm().passages([text[:600] for text in english[:40]]))


@functools.cache
def codec(bits: int) -> ResidualCodec:
    return ResidualCodec.train(some_tokens(), 128, bits)


@functools.cache
def after_compression(bits: int) -> tuple[ResidualCodec, np.ndarray, np.ndarray, int]:
    """The codec; cosines of tokens with what is left of them, and with their centroids alone; their width."""
    tokens, kept = some_tokens(), codec(bits)
    nearest, packed = kept.compress(tokens)
    centroids = kept.centroids[nearest]
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    left = (tokens * kept.decompress(nearest, packed)).sum(axis=1)
    return kept, left, (tokens * centroids).sum(axis=1), tokens.shape[1]


@figure(title=Both("压到每维几位，还剩多像", "How much is left at a few bits a dimension"))
def compressed(
    bits: Annotated[int, Choice([(1, Both("1 位", "1 bit")), (2, Both("2 位", "2 bits")), (4, Both("4 位", "4 bits"))], label=Both("每维", "per dimension"))] = 2,
) -> list[Bars | Text]:  # fmt: skip
    kept, cosines, only, d = after_compression(bits)
    edges = np.linspace(np.floor(20 * cosines.min()) / 20, 1, 17)
    counts = np.histogram(np.minimum(cosines, 1), edges)[0]
    return [
        Bars(
            [f"{edge:.2f}" for edge in edges[:-1]],
            (counts / len(cosines)).tolist(),
            x_label=Both("解压后和原来的余弦", "cosine with the original after decompression"),
            y_label=Both("token 的比例", "share of tokens"),
        ),
        Text(
            Both(
                f"平均余弦 {cosines.mean():.3f}；只留中心是 {only.mean():.3f}。每个 token {kept.bytes_per_token} 字节，原来（float32）{4 * d} 字节。",
                f"The mean cosine is {cosines.mean():.3f}; with the centroid alone it is {only.mean():.3f}. {kept.bytes_per_token} bytes a token, {4 * d} before (float32).",
            )
        ),
    ]


# ---------------------------------------------------------------- three losses


@figure(
    title=Both(
        "一个对的，三个错的：三种损失把它们推向哪里", "One right, three wrong: where three losses push"
    )
)
def pushes(
    right: Annotated[float, Slider(-4, 4, step=0.1, label=Both("对的那段的分数", "score of the right one"))] = 1.0,
    hard: Annotated[float, Slider(-4, 4, step=0.1, label=Both("最像的错误段落的分数", "score of the hardest wrong one"))] = 1.5,
) -> Table:  # fmt: skip
    scores = torch.tensor([right, hard, -1.0, -3.0], requires_grad=True)
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0])
    losses = {
        Both("逐点", "pointwise"): pointwise(scores, labels),
        Both("成对", "pairwise"): pairwise(scores[:1], scores[None, 1:]),
        Both("列表", "listwise"): listwise(scores[:1], scores[None, 1:]),
    }
    rows = []
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, scores, retain_graph=True)
        rows.append([name, f"{float(loss.detach()):.3f}", *(f"{-one:+.3f}" for one in gradient.tolist())])
    return Table(
        [
            Both("损失", "loss"),
            Both("值", "value"),
            Both("对的", "right"),
            Both("最像的", "hardest"),
            Both("−1 分的", "at −1"),
            Both("−3 分的", "at −3"),
        ],
        rows,
        note=Both("数字是往上（+）或往下（−）推的力，就是负的梯度", "numbers are the push up (+) or down (−), the negative gradient"),
    )  # fmt: skip


# ---------------------------------------------------------------- a judge that errs, and sorting by it

N_JUDGED, N_QUERIES = 30, 16
SORTINGS = {
    "all pairs": Both("两两都比", "all pairs"),
    "heap": Both("堆排序，取前 10", "heap, first 10"),
    "sliding 10": Both("滑动 10 遍", "sliding, 10 passes"),
    "sliding 1": Both("滑动 1 遍", "sliding, 1 pass"),
}


@functools.cache
def judged(noise: float, bias: float, both_orders: bool) -> dict[str, tuple[float, float]]:
    """(nDCG@10, questions to the judge) of every way to sort, and of the order that the first search gave."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in ("first", *SORTINGS)}
    for number in range(N_QUERIES):
        rng = np.random.default_rng(number)
        worth = rng.normal(size=N_JUDGED)
        order = np.argsort(-(worth + 1.2 * rng.normal(size=N_JUDGED)))  # what the first search gave
        worth = worth[order]
        grades = {str(i): int(np.digitize(one, (0.3, 1.0, 1.6))) for i, one in enumerate(worth)}
        asked = 0

        def says_first(i: int, j: int, rng: np.random.Generator = rng, worth: np.ndarray = worth) -> bool:
            nonlocal asked
            asked += 1
            return bool(worth[i] - worth[j] + bias + noise * rng.normal() > 0)

        def prefers(i: int, j: int, says_first: object = says_first) -> float:
            first = says_first(i, j)  # type: ignore[operator]
            if not both_orders:
                return float(first)
            second = not says_first(j, i)  # type: ignore[operator]
            return 0.5 if first != second else float(first)

        ways = {
            "first": lambda: list(range(N_JUDGED)),
            "all pairs": lambda p=prefers: np.argsort(-all_pairs(N_JUDGED, p), kind="stable").tolist(),
            "heap": lambda p=prefers: heap_top(N_JUDGED, p, 10),
            "sliding 10": lambda p=prefers: sliding_passes(N_JUDGED, p, 10),
            "sliding 1": lambda p=prefers: sliding_passes(N_JUDGED, p, 1),
        }
        for name, way in ways.items():
            asked = 0
            ranked = [str(i) for i in way()]
            results[name].append((ndcg(ranked, grades, 10), asked))
    return {name: (fmean(n for n, _ in one), fmean(c for _, c in one)) for name, one in results.items()}


@value
def sorted_by(way: str, what: str = "ndcg", both_orders: bool = True) -> float:
    found = judged(0.4, 0.6, both_orders)[way]
    return found[0] if what == "ndcg" else found[1]


@figure(
    title=Both("裁判会看错，还偏心第一个：怎么排最划算", "A judge that errs and favours the first: which sorting pays"),
    predict=Predict(
        Both(
            "30 个段落，“两两都比”要比 435 对，两种次序各问一遍。总共问几次？",
            "30 passages make 435 pairs. Asking about each in both orders, how many questions is that?",
        ),
        low=100,
        high=2000,
        step=10,
        answer=lambda: sorted_by("all pairs", "calls"),
        explain=lambda: Both(
            f"{sorted_by('all pairs', 'calls'):.0f} 次。“滑动 10 遍”是 {sorted_by('sliding 10', 'calls'):.0f} 次，一遍是 {sorted_by('sliding 1', 'calls'):.0f} 次。",
            f"{sorted_by('all pairs', 'calls'):.0f}. Ten sliding passes take {sorted_by('sliding 10', 'calls'):.0f}, one takes {sorted_by('sliding 1', 'calls'):.0f}.",
        ),
    ),
)  # fmt: skip
def judge(
    noise: Annotated[float, Slider(0, 1.5, step=0.1, label=Both("看错的程度", "how much it errs"))] = 0.4,
    bias: Annotated[float, Slider(0, 1.5, step=0.1, label=Both("偏心第一个的程度", "how much it favours the first"))] = 0.6,
    both_orders: Annotated[bool, Toggle(label=Both("两种次序都问", "ask in both orders"))] = True,
) -> list[Table | Text]:  # fmt: skip
    found = judged(round(noise, 1), round(bias, 1), both_orders)
    rows = [
        [name, f"{found[way][0]:.3f}", f"{found[way][1]:,.0f}"]
        for way, name in (("first", Both("原来的次序", "as found")), *SORTINGS.items())
    ]
    return [
        Table(
            [Both("怎么排", "sorting"), "nDCG@10", Both("问了几次", "questions")],
            rows,
            note=Both(
                f"模拟的裁判，{N_QUERIES} 个查询、各 {N_JUDGED} 段的平均；排序用的是课程的代码",
                f"a simulated judge, means of {N_QUERIES} queries with {N_JUDGED} passages each; sorted by the code of the course",
            ),
        )
    ]


# ---------------------------------------------------------------- windows

LISTED = 12
ANSWERS = {
    "right": Both("完好的答案", "whole answers"),
    "twice": Both("有重复、有遗漏", "some twice, some missing"),
    "chatter": Both("有编造的编号", "numbers that do not exist"),
}


@functools.cache
def walk(window: int, step: int, kind: str) -> tuple[tuple[str, tuple[int, ...], bool], ...]:
    """(what the model says, the order after it, repaired) for each window; passage 1 is the best, and begins last."""
    order = list(range(LISTED, 0, -1))
    seen = []
    for number, (begin, end) in enumerate(windows(LISTED, window, step)):
        inside = order[begin:end]
        best = np.argsort(inside, kind="stable")
        said = [f"[{place + 1}]" for place in best]
        if kind == "twice" and len(said) > 2:
            said[-1] = said[0]
        if kind == "chatter":
            said = [*said[:2], f"[{90 + number}]", *said[3:]]
        answer = " > ".join(said)
        permutation, repaired = repaired_permutation(answer, len(inside))
        order[begin:end] = [inside[place] for place in permutation]
        seen.append((answer, tuple(order), repaired))
    return tuple(seen)


@figure(
    title=Both("窗口从后往前走，好的一路往前带", "A window from the back to the front carries the best along")
)
def window_walk(
    window: Annotated[int, Slider(2, 12, label=Both("窗口", "window"))] = 4,
    step: Annotated[int, Slider(1, 4, label=Both("步长", "step"))] = 2,
    kind: Annotated[str, Choice(list(ANSWERS.items()), label=Both("模型的回答", "the model's answers"))] = "right",
) -> Table:  # fmt: skip
    step = min(step, window)
    rows: list[list[object]] = [["—", " ".join(map(str, range(LISTED, 0, -1))), ""]]
    for (answer, order, repaired), (begin, end) in zip(
        walk(window, step, kind), windows(LISTED, window, step), strict=True
    ):
        shown = [f"【{one}】" if begin <= place < end else str(one) for place, one in enumerate(order)]
        rows.append([answer, " ".join(shown), Both("修过", "repaired") if repaired else ""])
    return Table(
        [Both("回答", "answer"), Both("次序", "order"), ""],
        rows,
        note=Both(
            "数字是段落真正的名次，1 最好；【】里是刚排过的窗口。编号是窗口里的位置，不是名次",
            "numbers are the true ranks of the passages, 1 the best; 【】 marks the window just sorted. Answers name places in the window, not ranks",
        ),
    )


# ---------------------------------------------------------------- diversity

SAME = (
    "Lower the temperature to make the answers less random.",
    "A lower temperature gives less random answers.",
    "To get less random answers, set the temperature lower.",
    "Top-p sampling leaves out the unlikely words, so answers wander less.",
    "With a fixed seed the same prompt gives the same answer.",
    "Beam search keeps several continuations and takes the most probable.",
)
WISH = "How do I make the answers less random?"


@functools.cache
def wished() -> tuple[np.ndarray, np.ndarray]:
    vectors = embedder().embed([WISH, *SAME])
    return vectors[1:] @ vectors[0], vectors[1:] @ vectors[1:].T


@figure(
    title=Both(
        "要三段：最相关的三段，还是不重复的三段", "Three passages: the most relevant, or three that differ"
    )
)
def diverse(
    trade_off: Annotated[float, Slider(0, 1, step=0.05, label="λ")] = 1.0,
) -> Table:
    relevance, similarity = wished()
    chosen = maximal_marginal_relevance(relevance, similarity, 3, trade_off).tolist()
    rows = [
        [SAME[i], f"{relevance[i]:.2f}", f"{max((similarity[i, j] for j in chosen[:place]), default=0):.2f}" if place else "—"]
        for place, i in enumerate(chosen)
    ]  # fmt: skip
    return Table(
        [WISH, Both("和问题的余弦", "cosine with the question"), Both("和已选的最大余弦", "largest cosine with the chosen")],
        rows,
    )  # fmt: skip


# ---------------------------------------------------------------- labs

WORDS = [f"w{i}" for i in range(40)]
WIDTHS = (8, 16, 32)


def both_words(n: int, seed: int) -> list[Pair]:
    """A query of two words; its passage has both, each of seven others has only one of them."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        a, b, *rest = rng.permutation(len(WORDS))

        def passage(*kept: int, rest: list[int] = rest) -> str:
            others = rng.choice(rest, 6 - len(kept), replace=False)
            return " ".join(WORDS[i] for i in rng.permutation([*kept, *others]))

        found.append(
            Pair(f"{WORDS[a]} {WORDS[b]}", passage(a, b), tuple(passage((a, b)[i % 2]) for i in range(7)))
        )
    return found


class Contender:
    """A tiny encoder of 2 layers, and one of three ways to score lists of eight passages with it: "one" vector, a
    vector for each token ("late"), or the pair as one text ("cross").
    """

    def __init__(self, way: str, width: int, peak_lr: float) -> None:
        tokenizer = BertTokenizer([*SPECIAL_TOKENS, *WORDS])
        torch.manual_seed(0)
        encoder = Bert(BertConfig(tokenizer.vocab_size, width, 2, 2, 4 * width, context_length=24))
        self.model = EmbeddingModel(
            "tiny", encoder, tokenizer, (tokenizer.cls,), (tokenizer.sep,), 24, tokenizer.vocab_size, width
        )
        self.tokens = TokenEncoder(encoder, tokenizer, max_tokens=24)
        self.pairs = new_cross_encoder(self.model, max_tokens=24)
        self.way = way
        network = self.pairs.model if way == "cross" else encoder
        self.optimizer = AdamW(
            [{"params": list(network.parameters()), "weight_decay": 0.0}], lr=peak_lr, betas=(0.9, 0.999)
        )

    def scores(self, batch: list[Pair]) -> torch.Tensor:
        """(query, passage); column 0 is the right one."""
        lists = [(pair.passage, *pair.negatives) for pair in batch]
        if self.way == "cross":
            encode = self.pairs.tokenizer.encode
            pairs = [
                (encode(pair.query), encode(text))
                for pair, own in zip(batch, lists, strict=True)
                for text in own
            ]
            return self.pairs.batch_scores([self.pairs.encode(*pair) for pair in pairs]).unflatten(
                0, (len(batch), -1)
            )
        queries = [self.tokens.query_ids(pair.query) for pair in batch]
        passages = [self.tokens.passage_ids(text) for own in lists for text in own]
        if self.way == "late":
            q = torch.stack(self.tokens.vectors(queries))
            p = torch.stack(self.tokens.vectors(passages)).unflatten(0, (len(batch), -1))
            return 5 * torch.einsum("bqd,bkpd->bkqp", q, p).amax(-1).sum(-1)
        q, p = (
            self.model.vectors(
                torch.tensor([one for text in ids for one in text]), [len(text) for text in ids]
            )
            for ids in (queries, passages)
        )
        return 20 * torch.einsum("bd,bkd->bk", q, p.unflatten(0, (len(batch), -1)))

    def learn(self, batch: list[Pair]) -> None:
        scores = self.scores(batch)
        listwise(scores[:, 0], scores[:, 1:]).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def right(self, batch: list[Pair]) -> float:
        """How often the right passage alone scores most."""
        scores = self.scores(batch)
        return float((scores[:, 0] > scores[:, 1:].amax(dim=1)).float().mean())


@lab(
    title=Both("一个向量装不装得下", "Does one vector hold it"),
    seconds=50,
    summary=Both(
        "查询是两个词，对的段落两个词都有，错的七段各只有一个。同样的小编码器，三种用法：压成一个向量；每个 token 留一个向量；两段拼成一段读。",
        "A query is two words; the right passage has both, each of seven wrong ones has only one. The same small encoder in three ways: pooled to one vector, with a vector for each token, or reading both texts as one.",
    ),
)
def one_vector(
    width: Annotated[int, Choice([(w, Both(f"{w} 维", f"{w} dimensions")) for w in WIDTHS], label=Both("前两种用几维", "width of the first two"))] = 8,
    cross: Annotated[bool, Toggle(label=Both("也训练交叉编码器（32 维，慢）", "train the cross-encoder too (32 dimensions, slow)"))] = True,
) -> Iterator[Event]:  # fmt: skip
    train, held_out = both_words(4000, 0), both_words(200, 1)
    ways = [
        ("one", Both("一个向量", "one vector"), width, 300, 32, 3e-3),
        ("late", Both("迟交互", "late interaction"), width, 300, 32, 3e-3),
    ]
    if cross:
        ways.append(("cross", Both("交叉编码器", "cross-encoder"), 32, 700, 64, 1.5e-3))
    work = sum(steps * batch * size for _, _, size, steps, batch, _ in ways)
    done = 0
    for way, name, size, steps, batch, peak_lr in ways:
        contender = Contender(way, size, peak_lr)
        rng = np.random.default_rng(0)
        right = contender.right(held_out)
        for step in range(1, steps + 1):
            contender.learn([train[i] for i in rng.integers(len(train), size=batch)])
            done += batch * size
            if step % (steps // 10) == 0:
                right = contender.right(held_out)
                yield Sample(name, x=step, y=right)
                yield Progress(done, work, name)
        yield Metric(name, round(right, 3))
    yield Say(
        Both(
            "数字是八段里选对的比例，瞎猜是 0.125。换一个维数再跑：一个向量随维数变好，迟交互维数少也够。",
            "Numbers say how often the right one of eight was chosen; a guess is right in 0.125. Run it at another width: one vector gets better with its dimensions, late interaction does with few.",
        )
    )


@functools.cache
def questions_and_sections() -> tuple[list[tuple[str, int]], list[str]]:
    """(question of a card, place of the section that answers it), and the English sections."""
    course = load_course()
    sections = {
        f"{entry.lesson_id}#{entry.anchor}": f"{entry.section_title}\n{entry.text}"
        for entry in texts(course)
        if entry.kind == "lesson" and entry.lang == "en" and entry.anchor and entry.anchor not in ASIDES
    }
    place_of = {one: place for place, one in enumerate(sections)}
    asked = [
        (plain(card.question.en, "en", course), place_of[f"{lesson.id}{card.proof}"])
        for lesson in course.available()
        for card in cards_known(lesson)
        if f"{lesson.id}{card.proof}" in place_of
    ]
    return asked, list(sections.values())


@lab(
    title=Both("先找五十，再看一遍", "Fifty found, and a second look"),
    seconds=60,
    summary=Both(
        "卡片的英文问题，BM25 和 MiniLM 合起来找五十段，再用 MiniLM 的 token 向量按 MaxSim 重排。看名次，也看每一步几毫秒。",
        "English questions of the cards. BM25 and MiniLM together find fifty sections; MaxSim over MiniLM's token vectors puts them in order again. Look at the ranks, and at the milliseconds of each step.",
    ),
)
def second_look(
    n_questions: Annotated[int, Slider(10, 60, step=10, label=Both("几个问题", "questions"))] = 30,
    weight: Annotated[float, Slider(0, 1, step=0.1, label=Both("MaxSim 占几成", "weight of MaxSim"))] = 1.0,
) -> Iterator[Event]:
    yield Progress(0, 100, Both("读课文和卡片", "reading sections and cards"))
    asked, bodies = questions_and_sections()
    asked = asked[:: max(1, len(asked) // n_questions)][:n_questions]
    words = LexicalIndex()
    words.add(bodies)
    meaning = DenseSearcher(embedder())
    for begin in range(0, len(bodies), 32):
        first = [cut_into_pieces(text, 120)[0] for text in bodies[begin : begin + 32]]
        meaning.add(first, range(begin, begin + len(first)))
        yield Progress(
            40 * (begin + 32) // len(bodies), 100, Both("给每一节算向量", "vectors of the sections")
        )
    search = FusedSearcher([words, meaning], depth=50)
    encoder = tokens_of_minilm()
    kept: dict[int, np.ndarray] = {}
    before, after, times = [], [], {"find": [], "tokens": [], "maxsim": []}
    for number, (question, _) in enumerate(asked, 1):
        start = time.perf_counter()
        found = [one for one, _ in search.search([question], 50).of(0)]
        times["find"].append(time.perf_counter() - start)
        new = [one for one in found if one not in kept]
        kept.update(
            zip(new, encoder.passages([" ".join(bodies[one].split()[:120]) for one in new]), strict=True)
        )
        start = time.perf_counter()
        (query,) = encoder.queries([question])
        times["tokens"].append(time.perf_counter() - start)
        start = time.perf_counter()
        scores = maxsim_scores(
            query, np.concatenate([kept[one] for one in found]), [len(kept[one]) for one in found]
        )
        times["maxsim"].append(time.perf_counter() - start)
        by_rank = -np.arange(len(found)) / len(found)
        mixed = weight * (scores - scores.min()) / max(np.ptp(scores), 1e-9) + (1 - weight) * (1 + by_rank)
        again = [found[i] for i in np.argsort(-mixed, kind="stable")]
        before.append([str(one) for one in found])
        after.append([str(one) for one in again])
        rows = [
            [
                name,
                f"{fmean(ndcg(r, {str(a[1]): 1}, 10) for r, a in zip(ranked, asked, strict=False)):.3f}",
                f"{fmean(reciprocal_rank(r, {str(a[1]): 1}) for r, a in zip(ranked, asked, strict=False)):.3f}",
                f"{fmean(recall(r, {str(a[1]): 1}, 50) for r, a in zip(ranked, asked, strict=False)):.3f}",
            ]
            for name, ranked in ((Both("找到时", "as found"), before), (Both("看过第二遍", "after the second look"), after))
        ]  # fmt: skip
        yield Show("ranks", Table(["", "nDCG@10", "MRR", "recall@50"], rows))
        yield Progress(40 + 60 * number // len(asked), 100)
    for key, name in (
        ("find", Both("找五十段（毫秒）", "find fifty (ms)")),
        ("tokens", Both("查询的 token 向量（毫秒）", "tokens of the query (ms)")),
        ("maxsim", Both("五十个 MaxSim（毫秒）", "fifty times MaxSim (ms)")),
    ):
        yield Metric(name, round(1000 * median(times[key]), 2))
    moved = sum(a.index(str(x[1])) < b.index(str(x[1])) for a, b, x in zip(after, before, asked, strict=True) if str(x[1]) in b)  # fmt: skip
    yield Metric(Both("对的那节往前移的问题", "questions whose section moved up"), moved)


@lab(
    title=Both("用你的 MaxSim 找课文", "The course, searched by your MaxSim"),
    seconds=15,
    summary=Both(
        "六十节英文课文、其中几节的卡片问题，不分两步，直接按 MaxSim 全部比一遍。打开“用我写的函数来跑”，打分的就是你的函数。",
        "Sixty English sections and the questions of cards about some of them, all compared by MaxSim, without a first search. Turn on “Run it with my function” and the scores are yours.",
    ),
)
def your_maxsim() -> Iterator[Event]:
    yield Progress(0, 100, Both("读课文和卡片", "reading sections and cards"))
    asked, bodies = questions_and_sections()
    places = [*dict.fromkeys(place for _, place in asked[:20]), *range(len(bodies))]
    places = list(dict.fromkeys(places))[:60]
    encoder = tokens_of_minilm()
    told = []
    for place in places:
        told += encoder.passages([" ".join(bodies[place].split()[:120])])
        yield Progress(
            80 * len(told) // len(places), 100, Both("给每个 token 算向量", "a vector for every token")
        )
    tokens, lengths = np.concatenate(told), [len(one) for one in told]
    ranks = []
    for number, (question, right) in enumerate(asked[:20], 1):
        (query,) = encoder.queries([question])
        scores = np.asarray(maxsim_scores(query, tokens, lengths))
        ranks.append(int((scores > scores[places.index(right)]).sum()) + 1)
        yield Show(
            "ranks",
            Table(
                [Both("问题", "question"), Both("对的那节排第几", "rank of the right section")],
                [
                    [q, r]
                    for (q, _), r in zip(
                        asked[max(0, number - 8) :], ranks[max(0, number - 8) :], strict=False
                    )
                ],
            ),
        )
        yield Progress(80 + number, 100)
    yield Metric("MRR", round(fmean(1 / rank for rank in ranks), 3))
    yield Metric(Both("排第一的问题", "questions whose section is first"), sum(rank == 1 for rank in ranks))


@value
def kept_of(query: int = 20, passage: int = 900, most: int = 509) -> int:
    """Tokens of the passage that a pair keeps."""
    return fitting(query, passage, most)[1]
