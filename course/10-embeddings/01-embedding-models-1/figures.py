"""Figures, labs and values of lesson 10.1: sparse and dense vectors, BM25, and how searches are compared."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
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
    Lines,
    Metric,
    Predict,
    Progress,
    Say,
    Show,
    Slider,
    Table,
    Text,
    Toggle,
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_embedder import embedder
from teachllm.school.language import Lang
from teachllm.school.search.entries import ASIDES, texts
from teachllm.stack.retrieval.dense import DenseSearcher
from teachllm.stack.retrieval.embedding import EmbeddingModel
from teachllm.stack.retrieval.embedding.batching import length_batches
from teachllm.stack.retrieval.embedding.pooling import Pooling, normalize, pool
from teachllm.stack.retrieval.evaluation.agreement import spearman, v_measure
from teachllm.stack.retrieval.evaluation.collection import JudgedCollection
from teachllm.stack.retrieval.evaluation.harness import Measured, measure
from teachllm.stack.retrieval.evaluation.metrics import average_precision, ndcg, recall, reciprocal_rank
from teachllm.stack.retrieval.evaluation.significance import paired_randomization_test
from teachllm.stack.retrieval.fusion import FusedSearcher, TextSearcher
from teachllm.stack.retrieval.hits import Hits, best_hits
from teachllm.stack.retrieval.indexes.kmeans import kmeans, nearest_centroids
from teachllm.stack.retrieval.lexical import BM25, LexicalIndex, TextAnalyzer, TfIdf
from teachllm.stack.retrieval.lexical.bm25 import (
    VARIANTS,
    Variant,
    bm25_scores,
    inverse_document_frequency,
    length_factor,
    saturation,
)
from teachllm.stack.retrieval.pieces import best_piece, cut_into_pieces

# ---------------------------------------------------------------- an inverted index of five sentences

NOTES = (
    "The cache of keys grows with every token; the cache is large.",
    "A page table maps blocks of the cache.",
    "Sampling picks a token from the distribution.",
    "A low temperature makes sampling repeat itself.",
    "The model writes one token after another.",
)
ASKED = {
    "cache token": Both("cache token", "cache token"),
    "cached tokens": Both("cached tokens", "cached tokens"),
    "less random answers": Both("less random answers", "less random answers"),
}


@functools.cache
def notes() -> LexicalIndex:
    index = LexicalIndex()
    index.add(NOTES)
    return index


@figure(
    title=Both(
        "倒排索引：只看查询里那几个词的名单",
        "An inverted index: only the lists of the query's terms are read",
    )
)
def inverted(
    query: Annotated[str, Choice(list(ASKED.items()), label=Both("查询", "query"))] = "cache token",
) -> list[Table | Text]:
    index = notes()
    postings = index.postings
    asked = notes().analyzer(query)
    rows = []
    for term, number in sorted(index.vocabulary.items(), key=lambda item: (item[0] not in asked, item[0])):
        start, end = postings.starts[number : number + 2]
        entries = zip(
            postings.documents[start:end].tolist(), postings.counts[start:end].tolist(), strict=True
        )
        rows.append(
            [
                term,
                int(end - start),
                "  ".join(f"{document}×{count}" for document, count in entries),
                "←" if term in asked else "",
            ]
        )
    hits = index.search([query], len(NOTES)).of(0)
    return [
        Table(
            [Both("词", "term"), "df", Both("名单：文档×次数", "list: document×count"), Both("查到", "asked")],
            rows[:9],
            note=Both("只列九个词；“cached”和“caches”都归到词干 cach", "nine of the terms; “cached” and “caches” share the stem cach"),
        ),
        Table(
            [Both("文档", "document"), Both("BM25 分数", "BM25 score"), Both("原文", "text")],
            [[key, f"{score:.3f}", NOTES[key]] for key, score in hits],
        )
        if hits
        else Text(
            Both(
                "一篇也没有找到：第 3 篇说的正是这件事，可是一个词也对不上。",
                "Nothing is found: note 3 says just this, but not one word is the same.",
            )
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- saturation: where it comes from

MOST = 16


def two_poisson_weight(tf: int, elite: float, other: float, p: float, q: float) -> float:
    """Log-odds that a document is relevant when a term occurs `tf` times, against 0 times. The term has rate
    `elite` in documents about it and `other` elsewhere; of relevant documents the share p is about it, else q.
    """

    def likelihood(share: float, count: int) -> float:
        return share * elite**count * math.exp(-elite) + (1 - share) * other**count * math.exp(-other)

    return math.log(likelihood(p, tf) * likelihood(q, 0) / (likelihood(q, tf) * likelihood(p, 0)))


@figure(
    title=Both(
        "两个泊松分布推出的分数，和 tf / (tf + k₁)", "The weight of two Poisson rates, and tf / (tf + k₁)"
    )
)
def two_poissons(
    elite: Annotated[float, Slider(2, 8, step=0.5, label=Both("讲它的文档里，平均几次", "rate where it is the topic"))] = 4.0,
    other: Annotated[float, Slider(0.1, 1.5, step=0.1, label=Both("顺带提到的文档里，平均几次", "rate elsewhere"))] = 0.5,
    k1: Annotated[float, Slider(0.2, 4, step=0.1, label="k₁")] = 1.5,
) -> Lines:  # fmt: skip
    p, q = 0.6, 0.05
    counts = list(range(MOST + 1))
    limit = two_poisson_weight(200, elite, other, p, q)
    exact = [two_poisson_weight(tf, elite, other, p, q) / limit for tf in counts]
    simple = [0.0, *(saturation("lucene", tf, 1.0, k1) for tf in counts[1:])]
    return Lines(
        {
            Both("从两个泊松分布推出来的（除以极限）", "derived from two Poisson rates (over its limit)"): (counts, exact),
            Both("tf / (tf + k₁)", "tf / (tf + k₁)"): (counts, simple),
            Both("TF-IDF：和 tf 成正比", "TF-IDF: in proportion to tf"): (counts, [tf / MOST for tf in counts]),
        },
        x_label=Both("词在文档里出现几次", "occurrences in the document"),
        y_label=Both("加多少分（相对极限）", "weight (relative to the limit)"),
        y_range=(0, 1.05),
    )  # fmt: skip


def saturated(tf: int = 1, length: float = 1.0, k1: float = 1.5, b: float = 0.75) -> float:
    """tf / (tf + k₁·factor) for a document of `length` times the mean."""
    return saturation("lucene", tf, length_factor(int(1000 * length), 1000.0, b), k1)


def gain(times: int = 10, k1: float = 1.5) -> float:
    return saturated(times, k1=k1) / saturated(1, k1=k1)


LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
COUNTS = (1, 2, 3, 5, 8, 12, 20)


@figure(
    title=Both("k₁ 和 b 的曲面", "The surface of k₁ and b"),
    predict=Predict(
        Both(
            "k₁ = 1.5，长度正好是平均长度。一个词从出现 1 次变成出现 10 次，它加的分变成原来的几倍？",
            "k₁ = 1.5, and the document has the mean length. A term occurs 10 times instead of once. By what factor does its weight grow?",
        ),
        low=1,
        high=10,
        step=0.1,
        answer=lambda: gain(10),
        explain=lambda: Both(
            f"{gain(10):.2f} 倍：从 {saturated(1):.2f} 涨到 {saturated(10):.2f}，上限是 1。出现 1000 次也只有 {gain(1000):.2f} 倍。",
            f"By {gain(10):.2f}: from {saturated(1):.2f} to {saturated(10):.2f}, with 1 as the limit. A thousand occurrences bring {gain(1000):.2f}.",
        ),
    ),
)
def surface(
    k1: Annotated[float, Slider(0, 5, step=0.1, label="k₁")] = 1.5,
    b: Annotated[float, Slider(0, 1, step=0.05, label="b")] = 0.75,
) -> list[Heatmap | Lines]:
    rows = [[saturated(tf, length, k1, b) for tf in COUNTS] for length in LENGTHS]
    counts = list(range(1, 21))
    return [
        Heatmap(
            rows,
            x_labels=[str(tf) for tf in COUNTS],
            y_labels=[f"{length:g}×" for length in LENGTHS],
            x_label=Both("出现几次", "occurrences"),
            y_label=Both("长度是平均的几倍", "length over the mean"),
            domain=(0, 1),
            show_numbers=True,
        ),
        Lines(
            {
                Both(f"长度 {length:g} 倍", f"length {length:g}×"): (counts, [saturated(tf, length, k1, b) for tf in counts])
                for length in (0.25, 1.0, 4.0)
            },
            x_label=Both("出现几次", "occurrences"),
            y_label=Both("加多少分（未乘 idf）", "weight, before idf"),
            y_range=(0, 1.05),
        ),
    ]  # fmt: skip


@value
def idf(df: int = 1, n: int = 1000, variant: Variant = "lucene") -> float:
    return inverse_document_frequency(variant, df, n)


BY_HAND = (("cat", "cat", "dog"), ("dog",), ("bird", "fish"))


@value
def by_hand(what: str) -> float:
    """The steps of the worked example: query cat in the first document."""
    df, mean = 1, sum(map(len, BY_HAND)) / len(BY_HAND)
    factor = length_factor(len(BY_HAND[0]), mean, 0.75)
    return {
        "idf": inverse_document_frequency("lucene", df, len(BY_HAND)),
        "mean": mean,
        "factor": factor,
        "saturation": saturation("lucene", 2, factor, 1.5),
        "score": bm25_scores(["cat"], BY_HAND)[0],
    }[what]


@figure(title=Both("五个都叫 BM25 的公式", "Five formulas that are all called BM25"))
def variants(
    df: Annotated[int, Slider(1, 999, label=Both("1000 篇里几篇有这个词", "documents of 1000 that have the term"))] = 600,
    length: Annotated[float, Slider(0.25, 50, log=True, label=Both("长度是平均的几倍", "length over the mean"))] = 1.0,
) -> Table:  # fmt: skip
    rows = []
    for variant in VARIANTS:
        weighting = BM25(variant)
        factor = length_factor(int(1000 * length), 1000.0, weighting.b)
        told = inverse_document_frequency(variant, df, 1000)
        weights = [saturation(variant, tf, factor, weighting.k1, weighting.shift) for tf in (1, 5)]
        rows.append(
            [variant, f"{told:.3f}", *(f"{weight:.3f}" for weight in weights), f"{told * weights[0]:.3f}"]
        )
    return Table(
        [
            Both("变体", "variant"),
            "idf",
            Both("出现 1 次", "1 occurrence"),
            Both("出现 5 次", "5 occurrences"),
            Both("1 次的得分", "score of 1"),
        ],
        rows,
        note=Both(
            "超过一半的文档都有的词，robertson 原来的 idf 是负的，这里截到 0；把长度拉到 50 倍，只有 bm25l 和 bm25+ 还给分",
            "For a term that more than half of the documents have, Robertson's idf is negative, and cut off at 0 here; at 50 times the mean length only bm25l and bm25+ still give much",
        ),
    )


# ---------------------------------------------------------------- Chinese

SENTENCES = (
    ("研究生命的起源", "研究生命的起源"),
    ("南京市长江大桥", "南京市长江大桥"),
    ("自注意力要用KV缓存", "自注意力要用KV缓存"),
    ("乒乓球拍卖完了", "乒乓球拍卖完了"),
)
WAYS = {
    "words": Both("词", "words"),
    "pairs": Both("相邻两字", "pairs"),
    "words and pairs": Both("两样都要", "both"),
}


@figure(title=Both("一句中文，三种切法", "One Chinese sentence, three ways to terms"))
def chinese(
    sentence: Annotated[str, Choice(list(SENTENCES), label=Both("句子", "sentence"))] = "自注意力要用KV缓存",
) -> Tokens:
    rows = []
    for han in ("words", "pairs", "words and pairs"):
        terms = TextAnalyzer(han=han)(sentence)
        rows.append([Token(term, tone=1 if len(term) > 2 else 0) for term in terms])
    return Tokens(
        rows,
        labels=list(WAYS.values()),
        note=Both("单独成词的停用词（的、了……）已去掉；橙色是三个字以上的词", "stop words that stand alone, such as 的 and 了, are gone; orange: longer than two characters"),
    )  # fmt: skip


# ---------------------------------------------------------------- sparse and dense on the same questions

FACTS = (
    "Lower the temperature to make the answers less random.",
    "Error E4021 means that the licence file has expired.",
    "E4012: meaning and remedies.",
    "A car with a flat battery will not start.",
    "The bank raised its interest rate to four percent.",
    "We had a picnic on the bank of the river.",
    "The recipe needs two eggs and no milk.",
    "Photosynthesis turns light into sugar.",
    "The model writes one token after another.",
    "Doctors advise against eating grapefruit with this medicine.",
)
QUESTIONS = (
    "What does E4021 mean",
    "my vehicle does not turn on",
    "temperature of answers",
    "how do plants make food",
    "money lending institution",
    "a dish without milk",
)


@functools.cache
def fact_vectors() -> np.ndarray:
    return embedder().embed(FACTS)


@functools.cache
def facts_by_words() -> LexicalIndex:
    index = LexicalIndex()
    index.add(FACTS)
    return index


def cosines(question: str) -> np.ndarray:
    return fact_vectors() @ embedder().embed([question], "query")[0]


@value
def cosine_of(question: str, fact: int) -> float:
    return float(cosines(question)[fact])


@figure(title=Both("同一个问题，按词找和按意思找", "One question, by words and by meaning"))
def by_words_and_meaning(
    question: Annotated[
        str, Choice([(one, Both(one, one)) for one in QUESTIONS], label=Both("问题", "question"))
    ] = "What does E4021 mean",
) -> list[Table]:
    by_words = facts_by_words().search([question], 3).of(0)
    by_meaning = best_hits(cosines(question)[None], np.arange(len(FACTS)), 3).of(0)
    return [
        Table(
            [name, Both("分数", "score")],
            [[FACTS[key], f"{score:.3f}"] for key, score in hits] or [["—", "—"]],
        )
        for name, hits in (("BM25", by_words), (Both("MiniLM，余弦", "MiniLM, cosine"), by_meaning))
    ]


# ---------------------------------------------------------------- measures

RELEVANT = {"a": 2, "b": 1, "c": 1}
NOT_FOUND = 11


@figure(
    title=Both(
        "三篇有用的文档排在第几，分数是多少", "Where three useful documents stand, and what it is worth"
    )
)
def measures(
    a: Annotated[int, Slider(1, NOT_FOUND, label=Both("A（很有用）在第几", "rank of A, very useful"))] = 3,
    b: Annotated[int, Slider(1, NOT_FOUND, label=Both("B（有用）在第几", "rank of B, useful"))] = 5,
    c: Annotated[int, Slider(1, NOT_FOUND, label=Both("C（有用）在第几", "rank of C, useful"))] = 11,
) -> list[Tokens | Bars]:
    ranked = placed({"a": a, "b": b, "c": c})
    scores = {
        "recall@5": recall(ranked, RELEVANT, 5),
        "MRR": reciprocal_rank(ranked, RELEVANT),
        "MAP": average_precision(ranked, RELEVANT),
        "nDCG@10": ndcg(ranked, RELEVANT, 10),
    }
    return [
        Tokens(
            [[Token(key.upper() if key in RELEVANT else "·", tone=1 if key == "a" else 0 if key in RELEVANT else 7) for key in ranked]],
            labels=[Both("前 10 名", "first ten")],
            note=Both("排到 11 就是没有找到；两篇同名次时，先放的占着，后放的顺延", "rank 11 is not found; where two want one place, the later moves on"),
        ),
        Bars(list(scores), list(scores.values()), y_max=1.0),
    ]  # fmt: skip


def placed(ranks: dict[str, int]) -> list[str]:
    """The first ten: each document at its rank or the next one that is free."""
    row: list[str] = [f"x{i}" for i in range(10)]
    for key, rank in ranks.items():
        at = rank - 1
        while at < 10 and row[at] in ranks:
            at += 1
        if at < 10:
            row[at] = key
    return row


@value
def gigabytes(million: float = 1.0, dimension: int = 384, bits: float = 32.0) -> float:
    return million * 1e6 * dimension * bits / 8 / 1e9


# ---------------------------------------------------------------- the labs: questions of the course's cards


@functools.cache
def course_collection(lang: Lang) -> JudgedCollection:
    """Sections of the lessons are documents, questions of the cards are queries; the section that proves a card's
    answer is the one to find.
    """
    course = load_course()
    documents = {
        f"{entry.lesson_id}#{entry.anchor}": f"{entry.section_title}\n{entry.text}"
        for entry in texts(course)
        if entry.kind == "lesson" and entry.lang == lang and entry.anchor and entry.anchor not in ASIDES
    }
    queries, judged = {}, {}
    for lesson in course.available():
        for card in cards_known(lesson):
            place = f"{lesson.id}{card.proof}"
            if card.proof.startswith("#") and place in documents:
                queries[card.id] = plain(card.question.get(lang), lang, course)
                judged[card.id] = {place: 1}
    return JudgedCollection(documents, queries, judged)


class SearchByPieces:
    """Vectors of pieces of `n_words` words; a document counts by its best piece."""

    def __init__(self, model: EmbeddingModel, documents: Sequence[str], n_words: int) -> None:
        pieces = [cut_into_pieces(text, n_words) for text in documents]
        self.owners = np.repeat(np.arange(len(documents)), [len(one) for one in pieces])
        self.searcher = DenseSearcher(model)
        self.searcher.add([piece for one in pieces for piece in one])

    def search(self, queries: Sequence[str], k: int) -> Hits:
        return best_piece(self.searcher.search(queries, len(self.searcher)), self.owners, k)

    @property
    def n_bytes(self) -> int:
        return self.searcher.n_bytes


WHOLE = 100_000
"""Words of a piece that holds any section."""


def by_vectors(model: EmbeddingModel, n_words: int = WHOLE) -> Callable[[Sequence[str]], SearchByPieces]:
    return lambda documents: SearchByPieces(model, documents, n_words)


def by_terms(weighting: BM25 | TfIdf) -> Callable[[Sequence[str]], LexicalIndex]:
    def build(documents: Sequence[str]) -> LexicalIndex:
        index = LexicalIndex(weighting=weighting)
        index.add(documents)
        return index

    return build


LANGUAGES = [("en", Both("英文", "English")), ("zh", Both("中文", "Chinese"))]


@lab(
    title=Both("面试卡片找课文：四种找法", "From a card's question to its section: four searches"),
    seconds=60,
    summary=Both(
        "课程的每一节是一篇文档，每张卡片的问题是一个查询，答案出自哪一节是已知的。TF-IDF、BM25、MiniLM 和两者合并，各找一遍，连同快慢和显著性一起报告。",
        "Each section of the course is a document, each card's question a query, and the section that proves the answer is known. TF-IDF, BM25, MiniLM and a fusion search it, with speed and significance.",
    ),
)
def four_searches(
    lang: Annotated[str, Choice(LANGUAGES, label=Both("哪种语言", "language"))] = "en",
    cut: Annotated[bool, Toggle(label=Both("长的节先切成块", "cut sections into pieces"))] = True,
) -> Iterator[Event]:
    yield Progress(0, 6, Both("读课文和卡片", "reading sections and cards"))
    collection = course_collection("zh" if lang == "zh" else "en")
    yield Metric(Both("文档", "documents"), len(collection.documents))
    yield Metric(Both("查询", "queries"), len(collection.queries))
    yield Progress(1, 6, Both("MiniLM 给每一节算向量", "MiniLM embeds the sections"))
    dense = by_vectors(embedder(), 120 if cut else WHOLE)(list(collection.documents.values()))
    bm25 = by_terms(BM25())(list(collection.documents.values()))
    searches: dict[str | Both, Callable[[Sequence[str]], TextSearcher]] = {
        "BM25": by_terms(BM25()),
        "TF-IDF": by_terms(TfIdf()),
        "MiniLM": lambda documents: dense,
        Both("BM25 + MiniLM（按名次合并）", "BM25 + MiniLM, fused by rank"): lambda documents: FusedSearcher(
            [bm25, dense]
        ),
    }
    results: list[Measured] = []
    rows = []
    for done, (name, build) in enumerate(searches.items(), start=2):
        yield Progress(done, 6, name)
        results.append(measure("", collection, build))
        last, first = results[-1], results[0]
        p = paired_randomization_test(first.scores["nDCG@10"], last.scores["nDCG@10"])
        rows.append(
            [
                name,
                *(
                    f"{last.mean(measure_name):.3f}"
                    for measure_name in ("nDCG@10", "MRR@10", "recall@10", "recall@100")
                ),
                "—" if last is first else f"{p:.3f}" if p >= 0.001 else "< 0.001",
                f"{1000 * last.median_seconds:.2f}",
                f"{last.n_bytes / 1e6:.2f}",
            ]
        )
        yield Show(
            "quality",
            Table(
                [Both("找法", "search"), "nDCG@10", "MRR@10", "recall@10", "recall@100", Both("p（对 BM25）", "p against BM25"), Both("一问几毫秒", "ms a query"), "MB"],
                list(rows),
                note=Both("p：两种找法其实一样好时，碰巧差这么多的机会", "p: the chance of such a difference if both were equally good"),
            ),
        )  # fmt: skip
    words, vectors = (results[i].scores["nDCG@10"] for i in (0, 2))
    better = [sum(x > y for x, y in zip(*pair, strict=True)) for pair in ((words, vectors), (vectors, words))]
    yield Show(
        "who",
        Bars(
            [Both("BM25 排得更前", "BM25 ranks it higher"), Both("一样", "equal"), Both("MiniLM 排得更前", "MiniLM ranks it higher")],
            [better[0], len(words) - sum(better), better[1]],
            y_label=Both("几个问题", "questions"),
        ),
    )  # fmt: skip
    yield Progress(6, 6)


@lab(
    title=Both("同一个编码器，三种池化，三类任务", "One encoder, three poolings, three kinds of task"),
    seconds=50,
    summary=Both(
        "MiniLM 的权重不动，只换池化：平均、第一个 token、最后一个 token。在卡片问题上做检索（nDCG）、判断两个问题有多像（Spearman）、按课归类（V-measure）。",
        "MiniLM's weights stay; only the pooling changes: mean, first token, last token. On the cards' questions: retrieval (nDCG), how alike two questions are (Spearman), clustering by lesson (V-measure).",
    ),
)
def three_poolings() -> Iterator[Event]:
    yield Progress(0, 10, Both("读课文和卡片", "reading sections and cards"))
    collection = course_collection("en")
    ids = list(collection.documents)
    places = [next(iter(collection.judged[key])) for key in collection.queries]
    lessons = [place.partition("#")[0] for place in places]
    pairs = [(i, j) for i in range(len(places)) for j in range(i)]
    likeness = [(lessons[i] == lessons[j]) + (places[i] == places[j]) for i, j in pairs]
    passages = yield from in_three_ways(list(collection.documents.values()), 1, 8)
    asked = yield from in_three_ways(list(collection.queries.values()), 8, 10)
    rows = []
    for pooling, questions in asked.items():
        hits = best_hits(questions @ passages[pooling].T, np.arange(len(ids)), 10)
        found = [
            ndcg([ids[place] for place, _ in hits.of(row)], collection.judged[key], 10)
            for row, key in enumerate(collection.queries)
        ]
        alike = [float(questions[i] @ questions[j]) for i, j in pairs]
        clusters = nearest_centroids(questions, kmeans(questions, len(set(lessons)), seed=0)).tolist()
        rows.append(
            [
                pooling,
                f"{np.mean(found):.3f}",
                f"{spearman(alike, likeness):.3f}",
                f"{v_measure(lessons, clusters):.3f}",
                f"{np.mean(alike):.2f}",
            ]
        )
    yield Show(
        "tasks",
        Table(
            [
                Both("池化", "pooling"),
                Both("检索 nDCG@10", "retrieval nDCG@10"),
                Both("相似度 Spearman", "similarity, Spearman"),
                Both("归类 V-measure", "clustering, V-measure"),
                Both("两个问题的平均余弦", "mean cosine of two questions"),
            ],
            rows,
            note=Both(
                "相似度的标准答案：出自同一节 2，同一课 1，不同的课 0",
                "how alike they are: 2 for the same section, 1 for the same lesson, 0 else",
            ),
        ),
    )


def in_three_ways(
    texts: Sequence[str], begin: int, end: int
) -> Generator[Event, None, dict[Pooling, np.ndarray]]:
    """The vectors of texts with each pooling, from one pass through the encoder; progress from begin to end."""
    model = embedder()
    tokens = [model.truncated(model.tokens_of(text)) for text in texts]
    ways: tuple[Pooling, ...] = ("mean", "cls", "last")
    vectors = {how: np.empty((len(texts), model.dimension), dtype=np.float32) for how in ways}
    done = 0
    for batch in length_batches([len(one) for one in tokens], 4096):
        lengths = [len(tokens[i]) for i in batch]
        with torch.inference_mode():
            read = model.encoder(torch.tensor([token for i in batch for token in tokens[i]]), lengths)
            for how in ways:
                vectors[how][batch] = normalize(pool(read, lengths, how)).numpy()
        done += len(batch)
        yield Progress(begin + (end - begin) * done // len(texts), 10)
    return vectors


@lab(
    title=Both("用你的 BM25 找课文", "The course, searched by your BM25"),
    seconds=20,
    summary=Both(
        "用卡片的问题找课文，一篇一篇地算分，和索引的结果比。打开“用我写的函数来跑”，打分的就是你的函数。",
        "Cards' questions against sections, scored one document after another and compared with the index. Turn on “Run it with my function” and the scores are yours.",
    ),
)
def your_bm25(
    n_questions: Annotated[int, Slider(5, 60, step=5, label=Both("几个问题", "questions"))] = 30,
) -> Iterator[Event]:
    yield Progress(0, 1, Both("读课文和卡片", "reading sections and cards"))
    collection = course_collection("zh")
    analyze = TextAnalyzer()
    documents = [analyze(text) for text in collection.documents.values()]
    index = by_terms(BM25())(list(collection.documents.values()))
    ids = list(collection.documents)
    asked = list(collection.queries.items())[:: max(1, len(collection.queries) // n_questions)][:n_questions]
    rows, same, found = [], 0, []
    for done, (key, question) in enumerate(asked, start=1):
        scores = np.array(bm25_scores(analyze(question), documents), dtype=np.float32)
        mine = [
            ids[i]
            for i, _ in best_hits(np.where(scores > 0, scores, -np.inf)[None], np.arange(len(ids)), 10).of(0)
        ]
        theirs = [ids[i] for i, _ in index.search([question], 10).of(0)]
        same += mine == theirs
        found.append(ndcg(mine, collection.judged[key], 10))
        rows.append([question, *(mine[:1] or ["—"]), "✓" if mine == theirs else theirs[0] if theirs else "—"])
        yield Progress(done, len(asked))
        yield Show(
            "found",
            Table(
                [Both("问题", "question"), Both("第一名", "first"), Both("和索引一样？", "as the index?")],
                rows[-8:],
            ),
        )
    yield Metric("nDCG@10", float(np.mean(found)))
    yield Metric(Both("前十名和索引一样的问题", "questions with the index's ten"), same)
    if same < len(asked):
        yield Say(
            Both(
                "有的问题前十名和索引不一样：检查 df、文档长度，以及重复的查询词。",
                "Some questions have another ten than the index gives: look at df, the documents' lengths, and repeated terms of the query.",
            )
        )
