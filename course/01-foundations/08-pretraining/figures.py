"""Figures, labs and values of lesson 1.8: from raw text to a model, and how to know in advance what comes out."""

from __future__ import annotations

import copy
import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
from torch import Tensor

from teachllm.school.course import course_folder
from teachllm.school.figures import (
    Bars,
    Both,
    Choice,
    Event,
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
    Token,
    Tokens,
    figure,
    lab,
    real_model,
    value,
)
from teachllm.school.figures.failure import CannotRun
from teachllm.stack.data.corpora import course_text, stdlib_docs, stdlib_sources
from teachllm.stack.data.documents import Document
from teachllm.stack.data.fast.signatures import text_signatures
from teachllm.stack.data.loader import Batch
from teachllm.stack.data.minhash import (
    candidate_probability,
    choose_bands,
    estimated_jaccard,
    jaccard,
    random_permutations,
    shingles,
    text_signature,
)
from teachllm.stack.data.pipeline import StepReport, clean
from teachllm.stack.data.vocabulary_extension import made_unreachable
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.pretraining.cleaning import cleaning_steps
from teachllm.stack.pretraining.events import (
    Chosen,
    CorpusCleaned,
    DataProgress,
    DataReady,
    Evaluated,
    Finished,
    ModelReady,
    Sampled,
    Warned,
)
from teachllm.stack.pretraining.reasons import reason_zh
from teachllm.stack.pretraining.recipe import CleaningStep, Recipe, read_recipe
from teachllm.stack.pretraining.run import run_recipe
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.tokenizer.tokenizer import learn_merges
from teachllm.stack.training.accounting import flops_per_token, parameters_by_part, six_n
from teachllm.stack.training.checkpoint import CheckpointFolder
from teachllm.stack.training.config import OnSpike, TrainingConfig
from teachllm.stack.training.evaluation import bits_per_byte, perplexity
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import Spike, StepMetrics, train
from teachllm.stack.training.scaling_laws import (
    CHINCHILLA,
    CHINCHILLA_REFITTED,
    ScalingLaw,
    best_ratio,
    compute_optimal,
    fit_mixture_law,
    fit_scaling_law,
    iso_flop,
)
from teachllm.stack.training.schedules import Schedule, Shape, lr_at
from teachllm.stack.training.state import TrainingState, begin

MB = 1e6

# ---------------------------------------------------------------- the funnel


@functools.cache
def raw_documents() -> tuple[Document, ...]:
    """Text that is on every machine, uncleaned: English documentation, Python code, and this course."""
    sources = {
        "stdlib-docs": stdlib_docs(max_bytes=700_000),
        "stdlib-sources": stdlib_sources(max_bytes=700_000),
        "course-zh": course_text("zh"),
        "course-en": course_text("en"),
    }
    return tuple(
        Document(text, f"{name}:{number}")
        for name, texts in sources.items()
        for number, text in enumerate(texts, 1)
    )


LANGUAGES = {"en": ("en",), "zh": ("zh",), "both": ("zh", "en"), "all": ("zh", "en", "code", "other", "none")}


@functools.lru_cache(maxsize=64)
def funnel_reports(languages: str, shortest: int, threshold: float) -> tuple[StepReport, ...]:
    """What each cleaning step did with `raw_documents`."""
    steps = cleaning_steps(
        [
            CleaningStep("normalize"),
            CleaningStep("length", {"shortest": shortest}),
            CleaningStep("language", {"languages": LANGUAGES[languages]}),
            CleaningStep("symbols"),
            CleaningStep("repetition"),
            CleaningStep("quality", {"fewest_words": 20}),
            CleaningStep("redact"),
            CleaningStep("exact-duplicates"),
            CleaningStep("near-duplicates", {"threshold": threshold}),
        ]
    )
    kept, reports = clean(raw_documents(), steps)
    for _ in kept:
        pass
    return tuple(reports)


STEP_NAMES = {
    "normalize": Both("规范化", "normalize"),
    "length": Both("长度", "length"),
    "language": Both("语言", "language"),
    "symbols": Both("符号", "symbols"),
    "repetition": Both("重复", "repetition"),
    "quality": Both("质量规则", "quality rules"),
    "redact": Both("脱敏", "redaction"),
    "exact-duplicates": Both("完全重复", "exact duplicates"),
    "near-duplicates": Both("近似重复", "near-duplicates"),
}


@value
def funnel_share() -> float:
    """Percentage of the bytes that is left after all steps when prose in both languages is wanted."""
    reports = funnel_reports("both", 200, 0.8)
    return 100 * reports[-1].bytes_out / reports[0].bytes_in


@figure(
    title=Both("清洗的漏斗：每一步扔掉了什么", "The cleaning funnel: what each step throws away"),
    predict=Predict(
        Both(
            "四份原始文字：英文文档、Python 源码、中英文课文。只要中文和英文的文章，不要代码，九步之后还剩百分之几的字节？",
            "Four raw corpora: English documentation, Python sources, this course in Chinese and English. Only prose in the two languages is wanted, no code. What percentage of the bytes is left after nine steps?",
        ),
        low=0,
        high=100,
        unit="%",
        tolerance=8,
        answer=funnel_share,
        explain=lambda: Both(
            f"剩 {funnel_share():.0f}%。扔掉最多的是“语言”这一步：源码被认成代码，整份出局。真正的网页语料扔得更多。",
            f"{funnel_share():.0f}%. Most goes at the language step: sources are recognized as code, and all of them leave. Of a real web crawl far more goes.",
        ),
    ),
)
def funnel(
    languages: Annotated[
        str,
        Choice(
            [
                ("both", Both("中文和英文", "Chinese and English")),
                ("zh", Both("只要中文", "Chinese only")),
                ("en", Both("只要英文", "English only")),
                ("all", Both("全要，代码也要", "all, code too")),
            ],
            label=Both("语言", "language"),
        ),
    ] = "all",
    shortest: Annotated[int, Slider(0, 1000, step=100, label=Both("最短", "shortest"), unit="B")] = 200,
    threshold: Annotated[
        float, Slider(0.3, 0.9, step=0.1, label=Both("近似重复的阈值", "threshold of near-duplicates"))
    ] = 0.8,
) -> list[Bars | Table]:
    reports = funnel_reports(languages, shortest, threshold)
    rows: list[list[object]] = []
    for report in reports:
        for reason, count in report.dropped.items():
            sample = report.samples[reason][0]
            excerpt = " ".join(sample.excerpt.split())[:60]
            rows.append(
                [
                    STEP_NAMES[report.name],
                    in_words(reason),
                    count,
                    sample.detail or "—",
                    Both(f"{sample.source}：{excerpt}", f"{sample.source}: {excerpt}"),
                ]
            )
    return [
        Bars(
            [Both("原文", "raw"), *(STEP_NAMES[report.name] for report in reports)],
            [reports[0].bytes_in / MB, *(report.bytes_out / MB for report in reports)],
            y_label="MB",
            highlight=len(reports),
        ),
        Table(
            [
                Both("步骤", "step"),
                Both("原因", "reason"),
                Both("篇", "documents"),
                Both("其中一篇的情况", "found in one of them"),
                Both("这一篇的开头", "how it begins"),
            ],
            rows,
        ),
    ]


def in_words(reason: str) -> Both:
    return Both(reason_zh(reason), reason)


# ---------------------------------------------------------------- near-duplicates


BY_HAND = ("今天天气很好我们去公园", "今天天气很好我们去学校")


@value
def by_hand(what: str) -> float:
    """Of two sentences of 11 characters: ``shingles`` of 3 in each, ``shared``, their ``jaccard``, and its
    ``estimate`` by 128 permutations.
    """
    one, other = (shingles(text, 3) for text in BY_HAND)
    signatures = [text_signature(text, random_permutations(128), 3) for text in BY_HAND]
    return {
        "shingles": len(one),
        "shared": len(one & other),
        "jaccard": jaccard(one, other),
        "estimate": estimated_jaccard(*signatures),
    }[what]


@value
def candidate(similarity: float, bands: int = 16, rows: int = 8) -> float:
    """How likely two documents of this similarity are compared at all."""
    return float(candidate_probability(similarity, bands, rows))


@value
def bands_for(threshold: float, what: str) -> int:
    """``bands`` or ``rows`` that the stack chooses for 128 entries and this threshold."""
    return choose_bands(threshold, 128)[0 if what == "bands" else 1]


@figure(
    title=Both("谁会被拿来比对", "Who is compared at all"),
    predict=Predict(
        Both(
            "两篇文章的相似度是 0.8。签名分成 16 段，每段 8 项。它们成为候选（至少有一段完全相同）的概率是多少？",
            "Two texts have similarity 0.8. The signature is cut into 16 bands of 8 entries. How likely do they become candidates, that is, agree in a whole band at least once?",
        ),
        low=0,
        high=1,
        answer=lambda: candidate(0.8),
        explain=lambda: Both(
            f"一段全同的概率是 0.8⁸ ≈ {0.8**8:.2f}，看上去不高；但有 16 次机会，全落空只有 {(1 - 0.8**8) ** 16:.2f}。所以是 {candidate(0.8):.2f}。",
            f"A band agrees with probability 0.8⁸ ≈ {0.8**8:.2f}, which looks low. But there are 16 chances, and all fail with {(1 - 0.8**8) ** 16:.2f}. So it is {candidate(0.8):.2f}.",
        ),
    ),
)
def s_curve(
    bands: Annotated[int, Slider(1, 64, label=Both("段数 b", "bands b"))] = 4,
    rows: Annotated[int, Slider(1, 16, label=Both("每段项数 r", "rows r"))] = 8,
) -> list[Lines | Table]:
    similarity = np.linspace(0, 1, 101)
    steepest = (1 / bands) ** (1 / rows)
    return [
        Lines(
            {
                Both(f"{bands} 段，每段 {rows} 项", f"{bands} bands of {rows}"): (
                    similarity,
                    candidate_probability(similarity, bands, rows),
                ),
                Both(f"只有 1 段，{rows} 项", f"1 band of {rows}"): (
                    similarity,
                    candidate_probability(similarity, 1, rows),
                ),
            },
            x_label=Both("两篇的 Jaccard 相似度 s", "Jaccard similarity s of two texts"),
            y_label=Both("成为候选的概率", "probability of being a candidate"),
            y_range=(0, 1),
            marks=[(steepest, f"(1/b)^(1/r) = {steepest:.2f}")],
        ),
        Table(
            [
                Both("相似度", "similarity"),
                Both("成为候选的概率", "probability"),
                Both("签名长度", "entries"),
            ],
            [[s, round(candidate(s, bands, rows), 4), bands * rows] for s in (0.3, 0.5, 0.7, 0.8, 0.9)],
        ),
    ]


@functools.cache
def prose() -> tuple[Document, ...]:
    return tuple(document for document in raw_documents() if not document.source.startswith("stdlib-sources"))


@functools.cache
def similarities() -> np.ndarray:
    """Estimated Jaccard similarity of all pairs of `prose`: float32[text, text]."""
    signatures = text_signatures([document.text for document in prose()], random_permutations(128), 5)
    return np.stack([(signatures == one).mean(axis=1, dtype=np.float32) for one in signatures])


@functools.cache
def kept_at(threshold: float) -> np.ndarray:
    """Which documents stay when each is dropped that resembles an earlier kept one: bool[text]."""
    similar = similarities() >= threshold
    kept = np.zeros(len(similar), dtype=bool)
    for i in range(len(similar)):
        kept[i] = not (kept[:i] & similar[i, :i]).any()
    return kept


@functools.cache
def sizes() -> np.ndarray:
    return np.array([len(document.text.encode()) for document in prose()])


@value
def kept_share(threshold: float) -> float:
    """Percentage of the bytes of prose that stays at this threshold."""
    return 100 * float(sizes()[kept_at(threshold)].sum() / sizes().sum())


THRESHOLDS = tuple(round(0.1 + 0.05 * i, 2) for i in range(18))


@figure(
    title=Both("阈值往哪边拧，数据变多？", "Which way must the threshold go to keep more?"),
    predict=Predict(
        Both(
            "去重时“相似度达到阈值就扔”。你需要的 token 很多，嫌剩得太少，应该把阈值调高还是调低？",
            "A text is dropped when its similarity to a kept one reaches the threshold. You need many tokens and too few are left. Do you raise or lower the threshold?",
        ),
        choices=[
            Both("调高", "raise it"),
            Both("调低", "lower it"),
            Both("没有关系", "it makes no difference"),
        ],
        answer=lambda: 0 if kept_share(0.9) > kept_share(0.3) else 1,
        explain=lambda: Both(
            f"调高。阈值是“多像才算重复”：0.9 时几乎一样才扔，剩 {kept_share(0.9):.1f}%；0.3 时有点像就扔，剩 {kept_share(0.3):.1f}%。说“提高去重强度”的人，是在把阈值调低。",
            f"Raise it. The threshold says how alike counts as a duplicate: at 0.9 only almost equal texts go, and {kept_share(0.9):.1f}% stays; at 0.3 a little alike is enough, and {kept_share(0.3):.1f}% stays. Who speaks of stronger deduplication lowers the threshold.",
        ),
    ),
)
def kept_by_threshold(
    threshold: Annotated[float, Slider(0.1, 0.95, step=0.05, label=Both("相似度阈值", "threshold"))] = 0.8,
    curve: Annotated[bool, Toggle(label=Both("画出整条曲线", "draw the whole curve"))] = False,
) -> list[Bars | Lines | Table]:
    threshold = round(threshold, 2)
    kept, similar = kept_at(threshold), similarities()
    dropped = [i for i in np.flatnonzero(~kept).tolist() if sizes()[i] > 0]
    examples = sorted(dropped, key=lambda i: float((similar[i, :i] * kept[:i]).max()))[:3]
    rows = []
    for i in examples:
        j = int((similar[i, :i] * kept[:i]).argmax())
        rows.append([round(float(similar[i, j]), 2), beginning(i), beginning(j)])
    name = Both("保留的字节", "bytes kept")
    if curve:
        drawn = Lines(
            {name: (THRESHOLDS, [kept_share(t) for t in THRESHOLDS])},
            x_label=Both("相似度阈值", "threshold of similarity"),
            y_label="%",
            marks=[(threshold, f"{kept_share(threshold):.1f}%")],
        )
    else:
        parts = [kept_share(threshold), 100 - kept_share(threshold)]
        drawn = Bars([name, Both("扔掉的字节", "bytes dropped")], parts, y_max=100, y_label="%", highlight=0)
    return [
        drawn,
        Table(
            [
                Both("相似度", "similarity"),
                Both("被扔掉的（刚过阈值的三篇）", "dropped (the three closest to the threshold)"),
                Both("像它、先来的", "the earlier one that it resembles"),
            ],
            rows,
        ),
    ]


def beginning(i: int) -> str:
    return " ".join(prose()[i].text.split())[:70]


# ---------------------------------------------------------------- extending a vocabulary


@functools.cache
def chinese_tokenizer() -> Tokenizer:
    """Learned from the Chinese of this course."""
    return Tokenizer.train(chinese_texts(), vocab_size=2000)


@functools.cache
def chinese_texts() -> tuple[str, ...]:
    return tuple(course_text("zh", max_bytes=150_000))


def extended(word: str) -> Tokenizer:
    """The same tokenizer with `word` added as libraries add it: found in the text before any merge."""
    return Tokenizer.from_merges(chinese_tokenizer().vocabulary.merges, special_tokens=(word,))


def cut(tokenizer: Tokenizer, text: str) -> list[Token]:
    ids = tokenizer.encode(text, special="all")
    return [
        Token(tokenizer.decode_bytes([i]).decode("utf-8", "replace"), i, n % 8) for n, i in enumerate(ids)
    ]


def unreachable(word: str) -> list[str]:
    tokens = chinese_tokenizer().vocabulary.tokens
    found = [tokens[i].decode("utf-8", "replace") for i in made_unreachable(tokens, word)]
    return sorted(found, key=len)


@figure(title=Both("加一个词，丢几个词", "Add one word, lose several"))
def vocabulary_extension(
    word: Annotated[str, TextInput(max_length=8, label=Both("要加进词表的词", "word to add"))] = "位置",
    text: Annotated[
        str, TextInput(max_length=60, label=Both("试着切的句子", "sentence to cut"))
    ] = "绝对位置编码给每个位置一个向量，相对位置编码看两个位置的差。",
) -> list[Tokens | Text]:
    word = word.strip() or "位置"
    before, after = cut(chinese_tokenizer(), text), cut(extended(word), text)
    lost = unreachable(word)
    shown = "、".join(f"“{token}”" for token in lost[:8])
    return [
        Tokens(
            [before, after],
            labels=[
                Both(f"原来：{len(before)} 个", f"before: {len(before)}"),
                Both(f"加了“{word}”：{len(after)} 个", f"with “{word}”: {len(after)}"),
            ],
        ),
        Text(
            Both(
                f"从此再也切不出来的旧 token 有 {len(lost)} 个：{shown}。它们的嵌入白训练了。"
                if lost
                else "没有旧 token 因此切不出来。",
                f"{len(lost)} old tokens can never come out again: {shown}. Their embeddings were trained for nothing."
                if lost
                else "No old token becomes unreachable.",
            )
        ),
    ]


@value
def lost_tokens(word: str) -> int:
    """How many tokens of the Chinese tokenizer become unreachable when `word` is added."""
    return len(unreachable(word))


# ---------------------------------------------------------------- schedules that can be continued

LENGTHS = (250, 500, 750, 1000)


@value
def wsd_share(decay: float = 0.1) -> float:
    """Steps of models of four lengths with WSD, over those with a cosine run for each."""
    branches = sum(round(decay * length) for length in LENGTHS[:-1])
    return (LENGTHS[-1] + branches) / sum(LENGTHS)


@figure(
    title=Both("想要四种长度的模型，要训多少步", "Models of four lengths: how many steps in all"),
    predict=Predict(
        Both(
            "要 250、500、750、1000 步四个模型。余弦要从头训四遍，共 2500 步。WSD 共用一条主干，每个长度只另训最后 10% 的退火。总步数是余弦的几成？",
            "Wanted are models after 250, 500, 750 and 1,000 steps. Cosine trains four times from the start: 2,500 steps. WSD shares a trunk, and each length trains only its last 10% apart. What share of the 2,500 steps does it need?",
        ),
        low=0.0,
        high=1.0,
        answer=wsd_share,
        explain=lambda: Both(
            f"{wsd_share():.2f}。主干 1000 步（最长的那个就在主干上退火），另外三个只加 25 + 50 + 75 步。",
            f"{wsd_share():.2f}. The trunk has 1,000 steps (the longest one decays at its end), the other three add 25 + 50 + 75.",
        ),
    ),
)
def wsd_branches(
    decay: Annotated[
        float, Slider(0.05, 0.5, step=0.05, label=Both("退火的份额", "share of the decay"))
    ] = 0.1,
    shape: Annotated[
        str,
        Choice(
            [("wsd", Both("WSD", "WSD")), ("cosine", Both("余弦", "cosine"))], label=Both("调度", "schedule")
        ),
    ] = "cosine",
) -> list[Lines | Text]:
    curves = {}
    for length in LENGTHS:
        decay_steps = max(1, round(decay * length)) if shape == "wsd" else None
        schedule = Schedule(cast(Shape, shape), 1.0, length, warmup_steps=20, decay_steps=decay_steps)
        steps = range(0, length + 1, 5)
        curves[Both(f"{length} 步", f"{length} steps")] = (steps, [lr_at(step, schedule) for step in steps])
    total = sum(LENGTHS)
    shared = round(wsd_share(decay) * total)
    return [
        Lines(
            curves,
            x_label=Both("第几步", "step"),
            y_label=Both("学习率 / 峰值", "learning rate / peak"),
            y_range=(0, 1.05),
        ),
        Text(
            Both(
                f"四条曲线的平台重合，可以是同一次训练：共 {shared} 步。"
                if shape == "wsd"
                else f"四条曲线从一开始就不同，没有一步可以共用：共 {total} 步。",
                f"The four curves share their plateau, which can be one run: {shared} steps in all."
                if shape == "wsd"
                else f"The four curves differ from the start, and share no step: {total} steps in all.",
            )
        ),
    ]


# ---------------------------------------------------------------- scaling laws

LAWS = {"2022": CHINCHILLA, "2024": CHINCHILLA_REFITTED}
PF_DAY = 1e15 * 86_400
KAPLAN_EXPONENT = 0.73


@value
def optimum(flops: float, what: str, law: str = "2022") -> float:
    """``parameters``, ``tokens`` (both in billions), ``ratio`` (tokens a parameter) or ``loss`` at the optimum."""
    parameters, tokens = LAWS[law].optimal(flops)
    return {
        "parameters": parameters / 1e9,
        "tokens": tokens / 1e9,
        "ratio": tokens / parameters,
        "loss": LAWS[law].loss(parameters, tokens),
    }[what]


@value
def growth(what: str, law: str = "2022") -> float:
    """By what ten times the compute multiplies ``parameters`` or ``tokens`` at the optimum."""
    if law == "kaplan":
        return 10 ** (KAPLAN_EXPONENT if what == "parameters" else 1 - KAPLAN_EXPONENT)
    return optimum(1e22, what, law) / optimum(1e21, what, law)


@value
def llama3_tokens(flops: float = 3.8e25) -> float:
    """Trillions of tokens that the Llama 3 report's fit gives: 0.299 · C^0.537 (arXiv:2407.21783)."""
    return 0.299 * flops**0.537 / 1e12


@value
def attention_share(length: int) -> float:
    """Percentage that attention's scores add to 6N a token, for the sizes of Llama 3 8B."""
    config = PRESETS["llama3-8b"]
    return 100 * flops_per_token(config, length)["attention_scores"] / six_n(config)


KNOWN = (
    ("GPT-3", 175e9, 300e9),
    ("Chinchilla", 70e9, 1.4e12),
    ("Llama 3 8B", 8e9, 15e12),
    ("Llama 3 405B", 405e9, 15.6e12),
)


@figure(
    title=Both("同样的算力，模型多大最好", "The best size of a model for the same compute"),
    predict=Predict(
        Both(
            "算力加到 10 倍。按 Chinchilla 的公式（2022 年的常数），最好的模型应该大几倍？",
            "You get ten times the compute. By Chinchilla's law with its constants of 2022, how many times larger should the model be?",
        ),
        low=1,
        high=10,
        step=0.1,
        answer=lambda: growth("parameters"),
        explain=lambda: Both(
            f"{growth('parameters'):.1f} 倍，token 多 {growth('tokens'):.1f} 倍，乘起来是 10。Kaplan 2020 会说 {growth('parameters', 'kaplan'):.1f} 倍和 {growth('tokens', 'kaplan'):.1f} 倍。",
            f"{growth('parameters'):.1f} times, on {growth('tokens'):.1f} times the tokens; the product is 10. Kaplan 2020 would say {growth('parameters', 'kaplan'):.1f} and {growth('tokens', 'kaplan'):.1f}.",
        ),
    ),
)
def iso_flop_curves(
    exponent: Annotated[
        float, Slider(18, 26, step=0.5, label=Both("算力 10 的几次方", "compute, power of ten"), unit="FLOP")
    ] = 22.0,
    law: Annotated[
        str,
        Choice(
            [
                ("2022", Both("2022 年论文的常数", "constants of 2022")),
                ("2024", Both("2024 年重新拟合的", "refitted in 2024")),
            ],
            label=Both("常数", "constants"),
        ),
    ] = "2022",
    neighbours: Annotated[
        bool, Toggle(label=Both("也画十分之一和十倍的算力", "a tenth and ten times of it, too"))
    ] = False,
) -> list[Lines | Table]:
    chosen, curves, marks = LAWS[law], {}, []
    for step in (-1, 0, 1) if neighbours else (0,):
        flops = 10 ** (exponent + step)
        parameters, _ = chosen.optimal(flops)
        around = np.geomspace(parameters / 30, parameters * 30, 61)
        losses = [loss for _, loss in iso_flop(chosen, flops, around.tolist())]
        curves[f"10^{exponent + step:g} FLOP"] = (around, losses)
        marks.append((parameters, short(parameters)))
    budgets = np.geomspace(1e17, 1e27, 41)
    rows = [optimum_row(f"10^{exponent:g} FLOP", *chosen.optimal(10**exponent), chosen)]
    rows += [optimum_row(name, parameters, tokens, chosen) for name, parameters, tokens in KNOWN]
    return [
        Lines(
            curves,
            x_log=True,
            x_label=Both("参数量 N（每条曲线算力不变）", "parameters N (compute fixed on each curve)"),
            y_label=Both("预测的损失（奈特）", "predicted loss (nats)"),
            marks=marks,
        ),
        Lines(
            {
                Both("Chinchilla 的最优", "Chinchilla's optimum"): (
                    budgets,
                    [chosen.optimal(flops)[0] for flops in budgets],
                ),
                Both("Kaplan 的最优", "Kaplan's optimum"): (budgets, [kaplan_parameters(c) for c in budgets]),
            },
            x_log=True,
            y_log=True,
            x_label=Both("算力（FLOP）", "compute (FLOP)"),
            y_label=Both("参数量", "parameters"),
            marks=[(10**exponent, f"10^{exponent:g}")],
        ),
        Table(
            [
                Both("训练", "training"),
                Both("参数", "parameters"),
                "token",
                Both("每个参数的 token", "tokens a parameter"),
                Both("同样算力的最优参数", "best parameters for its compute"),
            ],
            rows,
            highlight_row=0,
        ),
    ]


def optimum_row(name: str, parameters: float, tokens: float, law: ScalingLaw) -> list[object]:
    best, _ = law.optimal(6 * parameters * tokens)
    ratio = tokens / parameters
    return [
        name,
        short(parameters),
        short(tokens),
        f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}",
        short(best),
    ]


def kaplan_parameters(flops: float) -> float:
    """1.3 billion at a petaflop-day, from there with the power 0.73: Kaplan et al. 2020, appendix A."""
    return 1.3e9 * (flops / PF_DAY) ** KAPLAN_EXPONENT


def short(number: float) -> str:
    """7.0e10 as 70B."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


# ---------------------------------------------------------------- perplexity and bits per byte

VOCABULARIES = (257, 512, 1024, 2048, 4096)


@functools.cache
def word_counts() -> dict[int, tuple[float, float]]:
    """vocabulary → (perplexity a token, bits per byte) of a model of pairs of tokens, on held-out text.

    p(b | a) = (count(a, b) + κ · p(b)) / (count(a) + κ), the same κ for all vocabularies.
    """
    documents = [document.text for document in prose() if document.source.startswith("stdlib-docs")]
    held_out = [text for i, text in enumerate(documents) if i % 10 == 0]
    learned = [text for i, text in enumerate(documents) if i % 10]
    merges = []
    for merge in learn_merges(learned):
        merges.append(merge.pair)
        if len(merges) == VOCABULARIES[-1] - 256:
            break
    found = {}
    for vocabulary in VOCABULARIES:
        tokenizer = Tokenizer.from_merges(merges[: vocabulary - 256])
        nats, n_tokens = pair_model_nats(
            [tokenizer.encode(text) for text in learned],
            [tokenizer.encode(text) for text in held_out],
            vocabulary,
        )
        n_bytes = sum(len(text.encode()) for text in held_out)
        found[vocabulary] = (perplexity(nats / n_tokens), bits_per_byte(nats, n_bytes))
    return found


def pair_model_nats(learned: list[list[int]], asked: list[list[int]], vocabulary: int) -> tuple[float, int]:
    """(Σ −ln p, tokens) of `asked` under the pairs counted in `learned`."""
    kappa = 20.0
    a, b = (
        np.concatenate([np.array(ids[i:][: len(ids) - 1], dtype=np.int64) for ids in learned]) for i in (0, 1)
    )
    single = np.bincount(b, minlength=vocabulary) + 1.0
    single /= single.sum()
    first = np.bincount(a, minlength=vocabulary)
    pairs, counts = np.unique(a * vocabulary + b, return_counts=True)
    nats, n_tokens = 0.0, 0
    for ids in asked:
        before, after = np.array(ids[:-1], dtype=np.int64), np.array(ids[1:], dtype=np.int64)
        wanted = before * vocabulary + after
        place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        count = np.where(pairs[place] == wanted, counts[place], 0)
        p = (count + kappa * single[after]) / (first[before] + kappa)
        nats -= float(np.log(p).sum() + np.log(single[ids[0]]))
        n_tokens += len(ids)
    return nats, n_tokens


@value
def pair_model(vocabulary: int, what: str) -> float:
    """``perplexity`` or ``bits`` of the model of pairs."""
    return word_counts()[vocabulary][0 if what == "perplexity" else 1]


@figure(
    title=Both("同一段文字，五种词表", "One text, five vocabularies"),
    predict=Predict(
        Both(
            "用同一种方法（数相邻的两个 token）做五个模型，词表从 257 到 4096，测同一段没见过的文字。词表变大，困惑度怎样变？",
            "Five models of the same kind, which count pairs of neighbouring tokens, with vocabularies of 257 to 4,096, are tested on the same unseen text. What does a larger vocabulary do to perplexity?",
        ),
        choices=[
            Both("变小：它压缩得更好", "it falls: the text is compressed better"),
            Both("变大", "it rises"),
            Both("差不多", "about the same"),
        ],
        answer=lambda: 1 if pair_model(4096, "perplexity") > pair_model(257, "perplexity") else 0,
        explain=lambda: Both(
            f"变大：从 {pair_model(257, 'perplexity'):.0f} 到 {pair_model(4096, 'perplexity'):.0f}，因为每个 token 更长、要选的更多。可是压缩同一段文字的代价从 {pair_model(257, 'bits'):.2f} 降到 {pair_model(4096, 'bits'):.2f} 比特/字节：困惑度说它差了一大截，其实它更好。",
            f"It rises, from {pair_model(257, 'perplexity'):.0f} to {pair_model(4096, 'perplexity'):.0f}, since each token is longer and there are more to choose from. But the price of the same text falls from {pair_model(257, 'bits'):.2f} to {pair_model(4096, 'bits'):.2f} bits per byte: perplexity calls it far worse, and it is better.",
        ),
    ),
)
def units_of_loss(
    measure: Annotated[
        str,
        Choice(
            [
                ("perplexity", Both("困惑度，每个 token", "perplexity a token")),
                ("bits", Both("比特，每个字节", "bits per byte")),
            ],
            label=Both("用什么量", "measure"),
        ),
    ] = "bits",
) -> Bars:
    return Bars(
        [f"{vocabulary:,}" for vocabulary in VOCABULARIES],
        [pair_model(vocabulary, measure) for vocabulary in VOCABULARIES],
        x_label=Both("词表大小", "size of the vocabulary"),
        y_label=Both("困惑度", "perplexity")
        if measure == "perplexity"
        else Both("比特/字节", "bits per byte"),
    )


PROBES = (
    ("The sky is blue.", "The sky is green."),
    ("Paris is the capital of France.", "Paris is the capital of Italy."),
    ("Two plus two equals four.", "Two plus two equals five."),
    ("9.9 is greater than 9.11.", "9.11 is greater than 9.9."),
)


@functools.cache
def probe_perplexities() -> tuple[tuple[float, float], ...]:
    """Perplexity of the true and the false sentence of each probe, for the course's real model."""
    return tuple((sentence_perplexity(true), sentence_perplexity(false)) for true, false in PROBES)


@torch.no_grad()
def sentence_perplexity(text: str) -> float:
    words = real_model.tokenizer()
    ids = torch.tensor([[words.special_tokens["<|endoftext|>"], *words.encode(text)]])
    logits = real_model.model()(ids[:, :-1])
    return perplexity(torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).item())


@figure(
    title=Both(
        "概率探针：真话应当比假话更不意外", "Probes: a true sentence should surprise less than a false one"
    )
)
def probes(
    which: Annotated[
        str,
        Choice([(str(i), true) for i, (true, _) in enumerate(PROBES)], label=Both("哪一对", "which pair")),
    ] = "0",
) -> list[Bars | Text]:
    true, false = PROBES[int(which)]
    true_ppl, false_ppl = probe_perplexities()[int(which)]
    right = true_ppl < false_ppl
    return [
        Bars(
            [true, false],
            [true_ppl, false_ppl],
            y_label=Both("困惑度（越低越不意外）", "perplexity (lower: less surprising)"),
            highlight=0 if right else 1,
        ),
        Text(
            Both(
                "真话的困惑度更低：探针通过。"
                if right
                else "假话的困惑度反而更低：这一条它没学会，或者说法太少见。",
                "The true sentence has the lower perplexity: passed."
                if right
                else "The false sentence has the lower perplexity: not learned, or worded too rarely.",
            )
        ),
    ]


# ---------------------------------------------------------------- the small models of the labs

VOCABULARY, LENGTH, ROWS = 512, 64, 32


@functools.cache
def tokenizer_of_labs() -> Tokenizer:
    return Tokenizer.train(list(stdlib_docs(max_bytes=1_000_000)), vocab_size=VOCABULARY)


@functools.cache
def tokens_of(corpus: str) -> Tensor:
    """A corpus as one row of tokens: ``docs`` (English documentation) or ``code`` (Python sources)."""
    texts = stdlib_docs(max_bytes=1_000_000) if corpus == "docs" else stdlib_sources(max_bytes=1_000_000)
    return torch.tensor([token for text in texts for token in tokenizer_of_labs().encode(text)])


def training_part(corpus: str) -> Tensor:
    return tokens_of(corpus)[: int(0.93 * len(tokens_of(corpus)))]


def random_rows(tokens: Tensor, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Rows from random places and the token after each position."""
    starts = torch.randint(len(tokens) - LENGTH, (count, 1), generator=generator)
    found = tokens[starts + torch.arange(LENGTH + 1)]
    return found[:, :-1], found[:, 1:]


class RandomRows:
    """Batches of random rows, of which the first `n_code` are code and the rest documentation. Batches with a number in `garbage` are random tokens.

    A batch depends on the seed and its number only, so that a run may branch or go back.
    """

    def __init__(self, seed: int, n_code: int = 0, garbage: range = range(0)) -> None:
        self.seed, self.n_code, self.garbage = seed, n_code, garbage
        self.number = 0

    def __next__(self) -> Batch:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.number)
        if self.number in self.garbage:
            both = torch.randint(VOCABULARY, (ROWS, LENGTH + 1), generator=generator)
            tokens, targets = both[:, :-1], both[:, 1:]
        else:
            parts = [("code", self.n_code), ("docs", ROWS - self.n_code)]
            drawn = [random_rows(training_part(name), generator, n) for name, n in parts if n]
            tokens, targets = (torch.cat(side) for side in zip(*drawn, strict=True))
        self.number += 1
        return Batch(tokens, targets, torch.zeros_like(tokens))

    def state_dict(self) -> dict[str, int]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.number = state["number"]


def small_llama(d_model: int, seed: int = 0) -> Llama:
    """Two layers, heads of 16."""
    llama = Llama(
        LlamaConfig(
            vocab_size=VOCABULARY,
            d_model=d_model,
            n_layers=2,
            n_heads=d_model // 16,
            n_kv_heads=d_model // 16,
            head_dim=16,
            hidden=-(-d_model * 8 // 3 // 16) * 16,
            context_length=LENGTH,
            tied_head=True,
        )
    )
    initialize(llama, torch.Generator().manual_seed(seed))
    return llama


def settings(
    steps: int,
    decay_steps: int | None = None,
    *,
    learning_rate: float = 0.01,
    checkpoint_every: int = 0,
    on_spike: OnSpike = "report",
) -> TrainingConfig:
    """WSD, or its plateau alone: without `decay_steps` the rate stays at its peak."""
    return TrainingConfig(
        steps,
        ROWS,
        optimizer="muon",
        learning_rate=learning_rate,
        schedule="constant" if decay_steps is None else "wsd",
        warmup_steps=20,
        decay_steps=decay_steps,
        precision="float32",  # so that every machine gives the same numbers
        within_documents=False,
        checkpoint_every=checkpoint_every,
        keep=1,
        on_spike=on_spike,
    )


def branch(state: TrainingState, config: TrainingConfig) -> TrainingState:
    """The same weights, optimizer and place in the data, to go on from apart from the trunk."""
    found = begin(copy.deepcopy(cast(Llama, state.model)), copy.copy(state.loader), config)
    found.optimizer.load_state_dict(copy.deepcopy(state.optimizer.state_dict()))
    found.step, found.tokens, found.recent_losses = state.step, state.tokens, list(state.recent_losses)
    return found


@torch.no_grad()
def held_out_loss(state: TrainingState, corpus: str = "docs") -> float:
    """Nats a token on rows of the last 7 % of a corpus, always the same ones."""
    rest = tokens_of(corpus)[len(training_part(corpus)) :]
    inputs, targets = random_rows(rest, torch.Generator().manual_seed(99), 256)
    return torch.nn.functional.cross_entropy(state.model(inputs).flatten(0, 1), targets.flatten()).item()


# ---------------------------------------------------------------- lab: the nano recipe


def nano_recipe() -> Recipe:
    """``recipes/nano.toml``, which lies beside the course."""
    path = course_folder().parent / "recipes" / "nano.toml"
    if not path.exists():
        raise CannotRun(
            Both(
                f"没有找到配方 {path}。请在 TeachLLM 的源码文件夹里运行。",
                f"There is no recipe {path}. Run TeachLLM from its source folder.",
            )
        )
    return read_recipe(path)


@value
def nano(what: str) -> float:
    """``parameters`` (millions), ``steps``, or ``tokens`` a step of the recipe."""
    recipe = nano_recipe()
    config = recipe.model.config(recipe.data.vocab_size, recipe.batch.length)
    return {
        "parameters": sum(parameters_by_part(config).values()) / 1e6,
        "steps": recipe.training.steps,
        "tokens": recipe.batch.rows * recipe.batch.length,
    }[what]


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with other steps: its decay keeps its share, and what it promises no longer holds."""
    if steps == recipe.training.steps:
        return recipe
    old = recipe.training
    decay_steps = max(1, round(steps * (old.decay_steps or 1) / old.steps))
    warmup_steps = min(old.warmup_steps, steps - decay_steps)
    every = max(1, steps // 4)
    return dataclasses.replace(
        recipe,
        training=dataclasses.replace(
            old, steps=steps, decay_steps=decay_steps, warmup_steps=warmup_steps, checkpoint_every=0
        ),
        evaluation=dataclasses.replace(recipe.evaluation, eval_every=every),
        samples=dataclasses.replace(recipe.samples, sample_every=every),
        expected=None,
    )


LINES_OF_A_RUN = {
    "loss": Both("训练损失（奈特）", "training loss (nats)"),
    "bits": Both("留出文字（比特/字节）", "held-out text (bits per byte)"),
}


@lab(
    title=Both("从原始文字训出一个模型", "From raw text to a model"),
    seconds=110,
    summary=Both(
        "recipes/nano.toml 原样运行：清洗、学词表、编码、训练、抽样、评测。默认 200 步；拉到 450 就是完整的配方，安静的双核约三分钟。",
        "recipes/nano.toml as it is: clean, learn a vocabulary, encode, train, sample, measure. 200 steps by default; at 450 it is the full recipe, about three minutes on two quiet cores.",
    ),
)
def train_nano(
    steps: Annotated[int, Slider(50, 450, step=50, label=Both("步数", "steps"))] = 200,
    learning_rate: Annotated[
        float, Slider(1e-3, 1e-1, log=True, label=Both("峰值学习率", "peak learning rate"))
    ] = 1e-2,
) -> Iterator[Event]:
    recipe = shortened(nano_recipe(), steps)
    if learning_rate != recipe.training.learning_rate:
        changed = dataclasses.replace(recipe.training, learning_rate=learning_rate)
        recipe = dataclasses.replace(recipe, training=changed, expected=None)
    samples: list[list[object]] = []
    with tempfile.TemporaryDirectory(prefix="teachllm-nano-") as folder:
        for event in run_recipe(recipe, Path(folder)):
            yield from shown(event, steps, samples)


def shown(event: object, steps: int, samples: list[list[object]]) -> Iterator[Event]:
    """An event of a run as the studio shows it; `samples` collects what the model has written."""
    match event:
        case Chosen(device, dtype, reason, reason_zh):
            yield Say(Both(f"在 {device} 上用 {dtype} 计算：{reason_zh}", f"{dtype} on {device}: {reason}"))
        case DataProgress(stage, corpus, done, total):
            names = {
                "clean": Both("清洗", "cleaning"),
                "tokenizer": Both("学词表", "learning a vocabulary"),
                "encode": Both("编码", "encoding"),
            }
            yield Progress(
                done,
                total or max(1, 2 * done),
                Both(f"{names[stage].zh} {corpus}", f"{names[stage].en} {corpus}"),
            )
        case CorpusCleaned(corpus, reports, documents, n_bytes):
            yield Show(f"data {corpus}", report_table(corpus, reports, documents, n_bytes))
        case DataReady():
            cached = event.from_cache
            yield Say(
                Both(
                    f"训练 {event.train_tokens:,} 个 token，留出 {event.held_out_tokens:,} 个，每个 token {event.bytes_per_token:.2f} 字节{'（上次已经备好）' if cached else ''}。",
                    f"{event.train_tokens:,} tokens to train on, {event.held_out_tokens:,} held out, {event.bytes_per_token:.2f} bytes a token{' (prepared before)' if cached else ''}.",
                )
            )
        case ModelReady():
            memory = "" if event.memory_bytes is None else f"{event.memory_bytes / 2**20:.0f} MiB"
            yield Say(
                Both(
                    f"{event.parameters / 1e6:.2f} M 个参数，{event.steps} 步，{event.tokens:,} 个 token（{event.epochs:.1f} 轮）；训练一步预计占内存 {memory}。",
                    f"{event.parameters / 1e6:.2f} M parameters, {event.steps} steps, {event.tokens:,} tokens ({event.epochs:.1f} epochs); a step is expected to take {memory}.",
                )
            )
        case StepMetrics():
            yield from step_shown(event, steps)
        case Evaluated():
            yield Sample(LINES_OF_A_RUN["bits"], x=event.step, y=event.bits_per_byte)
            yield Metric(LINES_OF_A_RUN["bits"], event.bits_per_byte)
            if event.is_final:
                yield Metric(Both("留出文字的困惑度", "perplexity of held-out text"), event.perplexity)
        case Sampled(step, prompt, text):
            samples.append([step, prompt, " ".join(text.split())])
            yield Show(
                "samples",
                Table(
                    [Both("第几步", "step"), Both("开头", "prompt"), Both("模型接着写", "the model goes on")],
                    samples[-8:],
                ),
            )
        case Spike(step, loss, _, _):
            yield Say(
                Both(f"第 {step} 步损失突升到 {loss:.2f}。", f"The loss jumps to {loss:.2f} at step {step}.")
            )
        case Warned(_, message):
            yield Say(message)
        case Finished():
            yield Metric(Both("用时", "time"), event.minutes, Both("分钟", "minutes"))
            if event.comparison:
                yield Show(
                    "expected",
                    Table(
                        [
                            Both("量", "measure"),
                            Both("配方承诺", "promised"),
                            Both("这一次", "this run"),
                            "✓",
                        ],
                        [[c.what, c.expected, c.found, "✓" if c.is_fine else "✗"] for c in event.comparison],
                    ),
                )
        case _:
            return


def report_table(corpus: str, reports: tuple[StepReport, ...], documents: int, n_bytes: int) -> Table:
    return Table(
        [
            Both("步骤", "step"),
            Both("进", "in"),
            Both("留", "kept"),
            Both("改动", "changed"),
            Both("扔掉（原因 × 篇）", "dropped (reason × documents)"),
        ],
        [
            [
                STEP_NAMES[report.name],
                report.seen,
                report.kept,
                report.changed,
                Both(
                    "，".join(f"{reason_zh(reason)} × {n}" for reason, n in report.dropped.items()) or "—",
                    ", ".join(f"{reason} × {n}" for reason, n in report.dropped.items()) or "—",
                ),
            ]
            for report in reports
        ],
        title=Both(
            f"{corpus}：清洗后 {documents:,} 篇，{n_bytes / MB:.2f} MB",
            f"{corpus}: {documents:,} documents, {n_bytes / MB:.2f} MB after cleaning",
        ),
    )


def step_shown(event: StepMetrics, steps: int) -> Iterator[Event]:
    yield Progress(event.step, steps, Both("训练", "training"))
    if event.step % 2 and event.step not in (1, steps):
        return
    yield Sample(
        LINES_OF_A_RUN["loss"],
        x=event.step,
        y=event.loss,
        x_label=Both("第几步", "step"),
        y_label=Both("损失", "loss"),
    )
    yield Metric(Both("学习率", "learning rate"), event.learning_rate)
    yield Metric(Both("梯度范数", "gradient norm"), event.gradient_norm)
    yield Metric(Both("每秒 token", "tokens a second"), event.tokens_per_second)
    if event.matmul_fraction is not None:
        yield Metric(Both("矩阵乘峰值的", "of the matmul peak"), 100 * event.matmul_fraction, "%")
    yield Metric(Both("内存", "memory"), event.memory_bytes / 2**20, "MiB")
    yield Metric(Both("还要", "left"), event.seconds_left, Both("秒", "s"))


# ---------------------------------------------------------------- lab: a scaling law of one's own

WIDTHS = (16, 32, 64)
RUN_STEPS = (48, 96, 192, 288)
LARGER_WIDTH, LARGER_STEPS = 96, 400


@lab(
    title=Both("十二次小训练，预测一次大的", "Twelve small runs predict a larger one"),
    seconds=100,
    summary=Both(
        "三种宽度各四种长度，拟合 L(N, D)；然后真的训一个更大、更久的，看预测差多少。长度之间共用主干（WSD），少训四成步数。",
        "Three widths, four lengths each, fitted by L(N, D); then a larger and longer run is really trained to see how far the prediction was off. Lengths share a trunk (WSD), which saves two steps in five.",
    ),
)
def scaling_law(
    decay: Annotated[
        float, Slider(0.1, 0.5, step=0.05, label=Both("退火的份额", "share of the decay"))
    ] = 0.25,
    larger_steps: Annotated[
        int, Slider(100, 1000, step=100, label=Both("大的那次训多少步", "steps of the larger run"))
    ] = LARGER_STEPS,
) -> Iterator[Event]:
    decays = {steps: max(1, round(decay * steps)) for steps in (*RUN_STEPS, larger_steps)}
    trunk_steps = RUN_STEPS[-1] - decays[RUN_STEPS[-1]]
    total = len(WIDTHS) * (trunk_steps + sum(decays[s] for s in RUN_STEPS)) + larger_steps
    done = 0
    yield Progress(0, total, Both("读文字、学词表", "reading text, learning a vocabulary"))
    runs: list[tuple[float, float, float]] = []
    for width in WIDTHS:
        name = Both(f"宽 {width}", f"width {width}")
        trunk = begin(small_llama(width), RandomRows(1), settings(RUN_STEPS[-1]))
        for steps in RUN_STEPS:
            # The constant part of a WSD schedule does not know its length, so that every length can leave it.
            stable = settings(steps - decays[steps])
            ending = settings(steps, decays[steps])
            for _ in train(trunk, stable):
                done += 1
                if done % 8 == 0:
                    yield Progress(done, total, name)
            state = branch(trunk, ending)
            for _ in train(state, ending):
                done += 1
                if done % 8 == 0:
                    yield Progress(done, total, name)
            runs.append((parameters_of(state), float(state.tokens), held_out_loss(state)))
            yield Sample(
                name,
                x=state.tokens,
                y=runs[-1][2],
                x_label=Both("训练的 token", "tokens trained on"),
                y_label=Both("留出文字上的损失（奈特）", "loss on held-out text (nats)"),
            )
    parameters, tokens, losses = zip(*runs, strict=True)
    law = fit_scaling_law(parameters, tokens, losses)
    yield Show("law", law_table(law, runs))
    config = settings(larger_steps, decays[larger_steps])
    larger = begin(small_llama(LARGER_WIDTH), RandomRows(1), config)
    predicted = law.loss(parameters_of(larger), larger_steps * ROWS * LENGTH)
    yield Metric(Both("预测的损失", "predicted loss"), predicted, Both("奈特", "nats"))
    for _ in train(larger, config):
        done += 1
        if done % 8 == 0:
            yield Progress(
                done, total, Both(f"大的那次：宽 {LARGER_WIDTH}", f"the larger run: width {LARGER_WIDTH}")
            )
    measured = held_out_loss(larger)
    yield Sample(Both(f"宽 {LARGER_WIDTH}", f"width {LARGER_WIDTH}"), x=larger.tokens, y=measured)
    yield Metric(Both("真正训出来的损失", "loss of the larger run"), measured, Both("奈特", "nats"))
    yield Metric(Both("预测差了", "off by"), 100 * (predicted / measured - 1), "%")
    budget = 6.0 * parameters_of(larger) * larger.tokens
    best, best_tokens = compute_optimal(budget, law.A, law.B, law.alpha, law.beta)
    yield Say(
        Both(
            f"这笔算力（{budget:.2g} FLOP）按你的定律最好用在 {short(best)} 个参数、{short(best_tokens)} 个 token 上，损失 {law.loss(best, best_tokens):.3f}；实际用的是 {short(parameters_of(larger))} 和 {short(larger.tokens)}。",
            f"By your law this compute ({budget:.2g} FLOP) is best spent on {short(best)} parameters and {short(best_tokens)} tokens, loss {law.loss(best, best_tokens):.3f}; it was spent on {short(parameters_of(larger))} and {short(larger.tokens)}.",
        )
    )


def parameters_of(state: TrainingState) -> float:
    return float(sum(p.numel() for p in state.model.parameters()))


def law_table(law: ScalingLaw, runs: list[tuple[float, float, float]]) -> Table:
    return Table(
        [
            Both("参数", "parameters"),
            Both("token", "tokens"),
            Both("损失", "loss"),
            Both("定律", "law"),
            Both("相差", "off by"),
        ],
        [
            [
                short(n),
                short(d),
                round(loss, 3),
                round(law.loss(n, d), 3),
                f"{100 * (law.loss(n, d) / loss - 1):+.1f}%",
            ]
            for n, d, loss in runs
        ],
        title=f"L(N, D) = {law.E:.2f} + {law.A:.3g}/N^{law.alpha:.2f} + {law.B:.3g}/D^{law.beta:.2f}",
    )


# ---------------------------------------------------------------- lab: broken data

BROKEN_FROM = 100


@lab(
    title=Both("坏数据、尖峰、回滚", "Broken data, a spike, and going back"),
    seconds=40,
    summary=Both(
        f"第 {BROKEN_FROM + 1} 批起混进几批随机 token。同样的训练跑两次：只报告，或者退回检查点并跳过这些数据。",
        f"From batch {BROKEN_FROM + 1} on a few batches are random tokens. The same run twice: it only reports, or goes back to the checkpoint and skips them.",
    ),
)
def spike(
    broken: Annotated[int, Slider(1, 3, label=Both("坏的批数", "broken batches"))] = 3,
    steps: Annotated[int, Slider(150, 400, step=50, label=Both("步数", "steps"))] = 150,
) -> Iterator[Event]:
    yield Progress(0, 2 * steps, Both("读文字、学词表", "reading text, learning a vocabulary"))
    names: list[tuple[OnSpike, Both]] = [
        ("report", Both("只报告", "report only")),
        ("rollback", Both("回滚", "go back")),
    ]
    for number, (on_spike, name) in enumerate(names):
        config = settings(steps, steps // 4, checkpoint_every=30, on_spike=on_spike)
        loader = RandomRows(1, garbage=range(BROKEN_FROM, BROKEN_FROM + broken))
        state = begin(small_llama(64), loader, config)
        with tempfile.TemporaryDirectory(prefix="teachllm-spike-") as folder:
            for event in train(state, config, CheckpointFolder(Path(folder))):
                if isinstance(event, Spike):
                    yield Say(spike_text(event, name))
                    if event.back_to is not None:
                        yield Sample(name, x=event.step, y=event.loss)
                if isinstance(event, StepMetrics):
                    yield Sample(
                        name,
                        x=event.step,
                        y=event.loss,
                        x_label=Both("第几步", "step"),
                        y_label=Both("训练损失（奈特）", "training loss (nats)"),
                    )
                    yield Progress(number * steps + event.step, 2 * steps, name)
        final = Both(f"{name.zh}：最后的留出损失", f"{name.en}: final held-out loss")
        yield Metric(final, held_out_loss(state), Both("奈特", "nats"))


def spike_text(event: Spike, name: Both) -> Both:
    if event.back_to is None:
        return Both(
            f"{name.zh}：第 {event.step} 步损失 {event.loss:.2f}，中位数 {event.median:.2f}，继续。",
            f"{name.en}: loss {event.loss:.2f} at step {event.step}, median {event.median:.2f}; it goes on.",
        )
    return Both(
        f"{name.zh}：第 {event.step} 步损失 {event.loss:.2f}，退回第 {event.back_to} 步的权重，数据不退。",
        f"{name.en}: loss {event.loss:.2f} at step {event.step}; back to the weights of step {event.back_to}, with the data where they are.",
    )


# ---------------------------------------------------------------- lab: the share of a domain

GENERAL_STEPS = 400
CODE_ROWS = (2, 8, 16, 24, 30)
MIXTURE_STEPS = (30, 60, 120)


@lab(
    title=Both("继续预训练：代码占几成", "Continued pretraining: how much code"),
    seconds=90,
    summary=Both(
        "先在英文文档上训一个小模型，再以五种比例混入代码继续训。各量三次，拟合两条混合定律，算出文档的损失最多涨这么多时，代码可以占几成。",
        "A small model is trained on English documentation, then continued with code in five shares. Two mixture laws are fitted, and give the largest share of code for a tolerated loss on documentation.",
    ),
)
def domain_share(
    tolerated: Annotated[
        float,
        Slider(
            0,
            10,
            step=0.5,
            label=Both("文档的损失最多涨", "tolerated rise of the documentation's loss"),
            unit="%",
        ),
    ] = 1.0,
) -> Iterator[Event]:
    total = GENERAL_STEPS + len(CODE_ROWS) * MIXTURE_STEPS[-1]
    yield Progress(0, total, Both("读文字、学词表", "reading text, learning a vocabulary"))
    # The rate stays: what decays at the end of each mixture would hide what the share does.
    general = settings(GENERAL_STEPS, learning_rate=3e-3)
    trunk = begin(small_llama(64), RandomRows(1), general)
    for event in train(trunk, general):
        if isinstance(event, StepMetrics) and event.step % 8 == 0:
            yield Progress(event.step, total, Both("先训文档", "documentation first"))
    before = held_out_loss(trunk, "docs")
    yield Metric(Both("文档，继续之前", "documentation, before"), before, Both("奈特", "nats"))
    yield Metric(Both("代码，继续之前", "code, before"), held_out_loss(trunk, "code"), Both("奈特", "nats"))
    tokens: list[float] = []
    shares: list[float] = []
    losses: dict[str, list[float]] = {"code": [], "docs": []}
    for number, n_code in enumerate(CODE_ROWS):
        state = branch(trunk, general)
        state.loader = RandomRows(2, n_code)
        for steps in MIXTURE_STEPS:
            going_on = settings(GENERAL_STEPS + steps, learning_rate=3e-3)
            for _ in train(state, going_on):
                step = state.step - GENERAL_STEPS
                if step % 8 == 0:
                    share = f"{n_code}/{ROWS}"
                    done = GENERAL_STEPS + number * MIXTURE_STEPS[-1] + step
                    yield Progress(done, total, Both(f"代码 {share}", f"code {share}"))
            tokens.append(float(steps * ROWS * LENGTH))
            shares.append(n_code / ROWS)
            for corpus, found in losses.items():
                found.append(held_out_loss(state, corpus))
        for corpus, name in (("code", Both("代码", "code")), ("docs", Both("文档", "documentation"))):
            yield Sample(
                name,
                x=n_code / ROWS,
                y=losses[corpus][-1],
                x_label=Both("代码的份额", "share of code"),
                y_label=Both("损失（奈特）", "loss (nats)"),
            )
    code = fit_mixture_law(tokens, shares, losses["code"])
    docs = fit_mixture_law(tokens, [1 - share for share in shares], losses["docs"])
    end = tokens[-1]
    at = np.linspace(shares[0], shares[-1], 101).tolist()  # outside of what was tried a law knows nothing
    found = best_ratio(lambda r: code.loss(end, r), lambda r: docs.loss(end, r), before, tolerated / 100, at)
    yield Show(
        "laws",
        Lines(
            {
                Both("代码的定律", "law of code"): (at, [code.loss(end, r) for r in at]),
                Both("文档的定律", "law of documentation"): (at, [docs.loss(end, 1 - r) for r in at]),
            },
            x_label=Both("代码的份额", "share of code"),
            y_label=Both("损失（奈特）", "loss (nats)"),
            marks=[] if found is None else [(found, "r*")],
        ),
    )
    if found is None:
        yield Say(Both("任何份额都超过了容许的涨幅。", "Every share raises it by more than is tolerated."))
    else:
        yield Metric(Both("代码最多占", "largest share of code"), 100 * found, "%")
