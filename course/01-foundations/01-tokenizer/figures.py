"""Figures, labs and values of lesson 1.1: how text becomes tokens, and how the rules for it are learned."""

import functools
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Annotated

from teachllm.school.figures import (
    Bars,
    Both,
    Chart,
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
    Token,
    Tokens,
    figure,
    lab,
    value,
)
from teachllm.stack.data.corpora import course_text, stdlib_docs, stdlib_sources
from teachllm.stack.tokenizer import (
    GPT2,
    LLAMA3,
    O200K,
    QWEN2,
    Merge,
    Tokenizer,
    bpe_encode,
    count_pairs,
    count_pieces,
    iter_merges,
    merge_pair,
    pair_scores,
    split_pieces,
    train_bpe,
    train_unigram,
    train_wordpiece,
    unigram_encode,
    unigram_nbest,
    wordpiece_encode,
)

# Real text that is wherever the course runs ---------------------------------------------------------------

KINDS = {"en": Both("英文", "English"), "zh": Both("中文", "Chinese"), "code": Both("代码", "code")}
MIXES = {
    "all": Both("英文、中文、代码都有", "English, Chinese and code"),
    "en": Both("只有英文", "English only"),
    "zh": Both("只有中文", "Chinese only"),
}
MIX = Choice(list(MIXES.items()), label=Both("分词器学的是", "the tokenizer learns from"))
SENTENCE = Both("大模型读的不是字，是 token。", "A language model reads tokens, not letters.")


@functools.cache
def paragraphs(kind: str) -> tuple[str, ...]:
    """The lines of Python's documentation, of this course in Chinese, or of the standard library's code."""
    if kind == "zh":
        found = map(chinese, course_text("zh", max_bytes=100_000))  # so that numbers stay as the course grows
    else:
        found = {"en": stdlib_docs, "code": stdlib_sources}[kind](max_bytes=450_000)
    return tuple(line for text in found for line in text.splitlines() if line.strip())


def chinese(source: str) -> str:
    """The lines that are mostly Chinese, without references, formulas and code."""
    plain = re.sub(r"\{[^}]*\}|\$[^$]*\$|`[^`]*`|^[-#:|>]+", "", source, flags=re.MULTILINE)
    lines = map(str.strip, plain.splitlines())
    return "\n".join(line for line in lines if 2 * len(re.findall("[\u4e00-\u9fff]", line)) > len(line))


def texts(kind: str, size: int, held_out: bool = False) -> list[str]:
    """About `size` characters of one kind; every fifth line is held out from learning."""
    chosen = [line for i, line in enumerate(paragraphs(kind)) if (i % 5 == 4) == held_out]
    lengths, kept = 0, []
    for line in chosen:
        if lengths >= size:
            break
        kept.append(line + "\n")
        lengths += len(line) + 1
    return kept


def training_texts(mix: str, size: int) -> dict[str, list[str]]:
    """What a tokenizer learns from, about `size` characters in all; of Chinese there is less than that."""
    kinds = list(KINDS) if mix == "all" else [mix]
    return {kind: texts(kind, size // len(kinds)) for kind in kinds}


@functools.cache
def word_counts(mix: str, size: int) -> dict[bytes, int]:
    return dict(count_pieces(text for lines in training_texts(mix, size).values() for text in lines))


@functools.cache
def merges_of(mix: str, size: int = 120_000) -> tuple[Merge, ...]:
    return tuple(islice(iter_merges(word_counts(mix, size)), 3000))


@functools.cache
def held_out_pieces(kind: str) -> tuple[dict[bytes, int], int]:
    """Pieces of the held-out text with their counts, and the number of its characters."""
    held_out = texts(kind, 12_000, held_out=True)
    return dict(count_pieces(held_out)), sum(map(len, held_out))


def per_hundred(kind: str, merges: Sequence[Merge]) -> float:
    """Tokens that 100 characters of held-out text become."""
    ranks = {merge.pair: merge.new_id for merge in merges}
    pieces, characters = held_out_pieces(kind)
    return 100 * sum(len(bpe_encode(piece, ranks)) * n for piece, n in pieces.items()) / characters


def shown(token: bytes) -> str:
    """A token as text; the bytes of a token that is no whole character, in hexadecimal."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return " ".join(f"{byte:02X}" for byte in token)


def in_table(token: bytes) -> str:
    """A token for a cell of a table, its white space visible as in a strip of tokens."""
    try:
        return token.decode().translate({ord(" "): "·", ord("\n"): "↵", ord("\t"): "→"})
    except UnicodeDecodeError:
        return shown(token)


# The worked example -------------------------------------------------------------------------------------

HUG = {b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5}


@functools.cache
def hug_state(step: int) -> tuple[dict[tuple[str, ...], int], list[Merge]]:
    """The five words after `step` merges, as tuples of pieces, and all merges that they allow."""
    merges = list(iter_merges(HUG))
    words = {tuple(word.decode()): count for word, count in HUG.items()}
    for merge in merges[:step]:
        pair = hug_pair(merge)
        words = {tuple(merge_pair(word, pair, "".join(pair))): count for word, count in words.items()}
    return words, merges


def hug_pair(merge: Merge) -> tuple[str, str]:
    spelt = {i: chr(i) for i in range(256)} | {m.new_id: m.token.decode() for m in iter_merges(HUG)}
    return spelt[merge.pair[0]], spelt[merge.pair[1]]


@value
def hug_count(pair: str = "u g", step: int = 0) -> int:
    """How often a pair stands in the five words after `step` merges."""
    left, right = pair.split()
    return count_pairs(hug_state(step)[0])[left, right]


@value
def hug_merge(step: int = 0) -> str:
    return hug_state(0)[1][step].token.decode()


HUG_CHOICES = ("pu", "un", "hug")


@figure(
    title=Both("五个词，一步一步合并", "Five words, merged step by step"),
    predict=Predict(
        Both(
            f"第 0 步的计数：u+g {hug_count('u g')} 次，p+u {hug_count('p u')} 次，u+n {hug_count('u n')} 次，"
            f"h+u {hug_count('h u')} 次。第一步合并 u+g。第二步合并谁？",
            f"The counts at first: u+g {hug_count('u g')}, p+u {hug_count('p u')}, u+n {hug_count('u n')}, "
            f"h+u {hug_count('h u')}. The first step merges u+g. What does the second step merge?",
        ),
        choices=["p+u", "u+n", "h+ug"],
        answer=lambda: HUG_CHOICES.index(hug_merge(1)),
        explain=lambda: Both(
            f"是 u+n。合并 ug 以后要重新数：pug 里的 u 已经不是单独的 u 了，p+u 从 {hug_count('p u')} 掉到 "
            f"{hug_count('p u', 1)}，而 u+n 还是 {hug_count('u n', 1)}，h+ug 是 {hug_count('h ug', 1)}。",
            f"It is u+n. After ug has merged the pairs are counted anew: the u of pug is no longer a u of its own, so "
            f"p+u drops from {hug_count('p u')} to {hug_count('p u', 1)}, while u+n stays at {hug_count('u n', 1)}; "
            f"h+ug has {hug_count('h ug', 1)}.",
        ),
    ),
)
def hug_steps(step: Annotated[int, Slider(0, 7, label=Both("合并了几次", "merges done"))] = 0) -> list[Chart]:
    """The words after `step` merges, and the counts from which the next merge is chosen."""
    words, merges = hug_state(step)
    rows = [[Token(piece) for piece in word] for word in words]
    labels = [f"{''.join(word)} × {count}" for word, count in words.items()]
    done = " → ".join(merge.token.decode() for merge in merges[:step]) or "–"
    strips = Tokens(rows, labels, note=Both(f"已经合并：{done}", f"merged so far: {done}"))
    if step == len(merges):
        none = Both(
            "每个词都成了一个 token，没有可合并的了。", "Every word is one token; nothing is left to merge."
        )
        return [strips, Text(none)]
    pairs = count_pairs(words)
    ordered = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
    following = hug_pair(merges[step])
    bars = Bars(
        ["+".join(pair) for pair in ordered],
        [pairs[pair] for pair in ordered],
        y_label=Both("相邻的次数", "times adjacent"),
        highlight=ordered.index(following),
        note=Both("标出的是下一步要合并的", "the marked pair merges next"),
    )
    return [strips, bars]


# Bytes --------------------------------------------------------------------------------------------------


@value
def n_bytes(text: str = "你") -> int:
    return len(text.encode())


BYTES_TEXT = "hi 你好 🙂"


@figure(
    title=Both("字符和字节", "Characters and bytes"),
    predict=Predict(
        Both(f"“{BYTES_TEXT}”写成 UTF-8，一共多少个字节？", f"How many bytes is “{BYTES_TEXT}” in UTF-8?"),
        low=0,
        high=30,
        step=1,
        tolerance=0.5,
        answer=lambda: n_bytes(BYTES_TEXT),
        explain=lambda: Both(
            f"{n_bytes(BYTES_TEXT)} 个：英文字母和空格各 1 个，汉字各 {n_bytes('你')} 个，这个 emoji {n_bytes('🙂')} 个。",
            f"{n_bytes(BYTES_TEXT)}: one for each letter and space, {n_bytes('你')} for each Chinese character, "
            f"{n_bytes('🙂')} for this emoji.",
        ),
    ),
)
def utf8(text: Annotated[str, TextInput(40, label=Both("文字", "text"))] = "naïve café") -> list[Chart]:
    """Each character above its bytes, in one colour."""
    if not text:
        return [Text(Both("写点什么。", "Type something."))]
    characters = [Token(char, ord(char), tone=i % 8) for i, char in enumerate(text)]
    spelt = [
        Token(f"{byte:02X}", byte, tone=i % 8)
        for i, char in enumerate(text)
        for byte in char.encode("utf-8", "surrogatepass")
    ]
    labels = [
        Both(f"{len(characters)} 个字符", f"{len(characters)} characters"),
        Both(f"{len(spelt)} 个字节", f"{len(spelt)} bytes"),
    ]
    return [Tokens([characters, spelt], labels)]


# The learner's own sentence -----------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def replay(text: str, mix: str) -> tuple[list[list[bytes]], list[Merge]]:
    """Encoding `text`: its tokens after 0, 1, 2, … merges, and the merges in the order in which they apply."""
    learned = {merge.pair: merge for merge in merges_of(mix)}
    spelling = {i: bytes([i]) for i in range(256)} | {m.new_id: m.token for m in learned.values()}
    pieces = [list(piece.encode("utf-8", "replace")) for piece in split_pieces(text, GPT2)]
    states, applied = [], []
    while True:
        states.append([spelling[symbol] for piece in pieces for symbol in piece])
        present = [learned[pair] for piece in pieces for pair in pairwise(piece) if pair in learned]
        if not present:
            return states, applied
        first = min(present, key=lambda merge: merge.new_id)
        applied.append(first)
        pieces = [merge_pair(piece, first.pair, first.new_id) for piece in pieces]


def n_tokens() -> int:
    """Tokens of the Chinese sentence above, after every merge."""
    states, _ = replay(SENTENCE.zh, "all")
    return len(states[-1])


@figure(
    title=Both("编码：把学到的合并按先后重放一遍", "Encoding: the learned merges, replayed in order"),
    predict=Predict(
        Both(
            f"“{SENTENCE.zh}”一开始是 {n_bytes(SENTENCE.zh)} 个字节。这个分词器学了三千次合并，都用上以后还剩几个 token？",
            f"“{SENTENCE.zh}” starts as {n_bytes(SENTENCE.zh)} bytes. The tokenizer has learned three thousand merges. "
            "How many tokens are left after all of them?",
        ),
        low=0,
        high=n_bytes(SENTENCE.zh),
        step=1,
        tolerance=2,
        answer=n_tokens,
        explain=lambda: Both(
            f"{n_tokens()} 个。常见的字和词合成了一个 token，少见的切得碎一些。",
            f"{n_tokens()}. Frequent characters and words have become one token each; rarer ones are cut finer.",
        ),
    ),
)
def your_sentence(
    text: Annotated[str, TextInput(60, label=Both("你的句子", "your sentence"))] = SENTENCE.zh,
    step: Annotated[int, Slider(0, 120, label=Both("重放到第几步", "steps replayed"))] = 0,
    mix: Annotated[str, MIX] = "all",
) -> list[Chart]:
    """The sentence after `step` of the merges that apply to it, and what each of them was."""
    if not text:
        return [Text(Both("写点什么。", "Type something."))]
    states, applied = replay(text, mix)
    at = min(step, len(applied))
    strip = Tokens(
        [[Token(shown(token)) for token in states[at]]],
        [Both(f"{len(states[at])} 个 token", f"{len(states[at])} tokens")],
        note=Both(
            f"{len(applied)} 步以后就没有可用的合并了。"
            if step >= len(applied)
            else "下一步合并的是学得最早的那一对。",
            f"After {len(applied)} steps no merge applies."
            if step >= len(applied)
            else "Next is the pair learned earliest.",
        ),
    )
    columns = [
        Both("步", "step"),
        Both("得到", "makes"),
        Both("学习时是第几次合并", "learned as merge"),
        Both("那时的次数", "count then"),
    ]
    recent = list(enumerate(applied[:at], start=1))[-6:]
    rows = [[i, in_table(merge.token), merge.new_id - 256 + 1, merge.count] for i, merge in recent]
    return [strip, Table(columns, rows, highlight_row=len(rows) - 1)] if rows else [strip]


# Vocabulary size and languages --------------------------------------------------------------------------

CHECKPOINTS = (0, 25, 50, 100, 200, 350, 500, 1000, 1500, 2000, 2500, 3000)


@functools.cache
def curve(kind: str, mix: str) -> tuple[float, ...]:
    return tuple(per_hundred(kind, merges_of(mix)[:k]) for k in CHECKPOINTS)


@value
def tokens_per_hundred(kind: str = "zh", mix: str = "all", merges: int = 3000) -> float:
    """Tokens for 100 characters of held-out text."""
    return per_hundred(kind, merges_of(mix)[:merges])


@figure(
    title=Both(
        "词表越大，切得越省；省在哪，看它学过什么",
        "A larger vocabulary needs fewer tokens, for the kind of text that it has learned",
    ),
    predict=Predict(
        Both(
            "一个分词器只在英文上学了三千次合并。拿它切中文，每 100 个字要多少个 token？",
            "A tokenizer has learned three thousand merges from English alone. Into how many tokens does it cut "
            "100 characters of Chinese text?",
        ),
        low=0,
        high=300,
        step=10,
        unit="token",
        tolerance=30,
        answer=lambda: tokens_per_hundred("zh", "en"),
        explain=lambda: Both(
            f"{tokens_per_hundred('zh', 'en'):.0f} 个：汉字的三个字节几乎没有合并过。同样大的词表，三种文字都学过，"
            f"就只要 {tokens_per_hundred('zh'):.0f} 个。",
            f"{tokens_per_hundred('zh', 'en'):.0f}: the three bytes of a Chinese character hardly ever merge. A vocabulary of the "
            f"same size that has learned from all three kinds of text needs {tokens_per_hundred('zh'):.0f}.",
        ),
    ),
)
def compression(
    mix: Annotated[str, MIX] = "all",
    merges: Annotated[int, Slider(0, 3000, step=500, label=Both("合并次数", "merges"))] = 1000,
) -> list[Chart]:
    """Tokens per 100 characters of held-out text against the number of merges."""
    nearest = min(CHECKPOINTS, key=lambda k: abs(k - merges))
    at = CHECKPOINTS.index(nearest)
    lines = Lines(
        {name: (CHECKPOINTS, curve(kind, mix)) for kind, name in KINDS.items()},
        x_label=Both("合并次数", "merges"),
        y_label=Both("每 100 个字符的 token 数", "tokens per 100 characters"),
        y_range=(0, 300),
        marks=[(nearest, Both(f"词表 {256 + nearest}", f"vocabulary {256 + nearest}"))],
    )
    table = Table(
        [
            Both("文字", "text"),
            Both("每 100 字符的 token", "tokens per 100 characters"),
            Both("每 token 的字符", "characters per token"),
        ],
        [
            [name, round(curve(kind, mix)[at], 1), round(100 / curve(kind, mix)[at], 2)]
            for kind, name in KINDS.items()
        ],
    )
    return [lines, table]


# BPE, WordPiece, Unigram --------------------------------------------------------------------------------

SUBWORDS = 400


@functools.cache
def english_words() -> dict[str, int]:
    """Lower-case words of the English text that occur at least twelve times."""
    words = Counter(re.findall("[a-z]+", " ".join(paragraphs("en")).lower()))
    return {word: count for word, count in words.items() if count >= 12}


@value
def mean_word_length() -> float:
    """Letters of an English word, over running text."""
    words = re.findall("[A-Za-z]+", " ".join(paragraphs("en")))
    return sum(map(len, words)) / len(words)


@functools.cache
def subword_bpe() -> tuple[Merge, ...]:
    counts = {word.encode(): count for word, count in english_words().items()}
    return tuple(islice(iter_merges(counts), SUBWORDS - 26))


@functools.cache
def subword_wordpiece() -> tuple[str, ...]:
    return tuple(train_wordpiece(english_words(), SUBWORDS))


@functools.cache
def subword_unigram() -> dict[str, float]:
    return train_unigram(english_words(), SUBWORDS, seed_size=4 * SUBWORDS)


@value
def first_pair(algorithm: str = "bpe", what: str = "pair") -> str | int:
    """The pair that the first merge takes on the English words, or how often it stands there."""
    if algorithm == "bpe":
        first = subword_bpe()[0]
        return first.count if what == "count" else "+".join(first.token.decode())
    words = {(word[0], *("##" + char for char in word[1:])): n for word, n in english_words().items()}
    scores = pair_scores(words)
    best = min(scores, key=lambda pair: (-scores[pair], pair))
    return count_pairs(words)[best] if what == "count" else "+".join(best)


@value
def hug_score(pair: str = "u g") -> float:
    """WordPiece's score of a pair in the five words: count(ab) / (count(a) · count(b))."""
    left, right = pair.split()
    words = {tuple(word.decode()): count for word, count in HUG.items()}
    return pair_scores(words)[left, right]


TOY = {"h": 0.05, "u": 0.1, "g": 0.1, "s": 0.1, "ug": 0.2, "hug": 0.15, "gs": 0.05, "ugs": 0.01}


@value
def toy_cut(rank: int = 0, what: str = "pieces") -> str | float:
    """The best, second-best, … cut of "hugs" with the toy probabilities: its pieces or its probability."""
    score, pieces = unigram_nbest("hugs", {piece: math.log(p) for piece, p in TOY.items()}, 4)[rank]
    return "|".join(pieces) if what == "pieces" else math.exp(score)


def first_pair_ratio() -> int:
    """Index of the choice: more than half, more than a hundredth, less."""
    ratio = first_pair("wordpiece", "count") / first_pair("bpe", "count")  # pyright: ignore
    return 0 if ratio > 0.5 else 1 if ratio > 0.01 else 2


@figure(
    title=Both(
        "同一个词，差不多大的词表，三种切法",
        "One word, three algorithms, vocabularies of about the same size",
    ),
    predict=Predict(
        Both(
            "BPE 第一次合并的，是这批英文词里最常见的一对。WordPiece 第一次合并的那一对，出现的次数是它的多少？",
            "The first merge of BPE takes the most frequent pair of these words. How often does the first pair of WordPiece occur, compared with that?",
        ),
        choices=[
            Both("一半以上", "more than half as often"),
            Both("不到一半，但超过百分之一", "less than half, more than a hundredth"),
            Both("不到百分之一", "less than a hundredth"),
        ],
        answer=first_pair_ratio,
        explain=lambda: Both(
            f"BPE 先合并 {first_pair('bpe')}（{first_pair('bpe', 'count'):,} 次），WordPiece 先合并 {first_pair('wordpiece')}"
            f"（{first_pair('wordpiece', 'count'):,} 次）。它的分数要除以两边各自的次数，先挑的是很少分开的一对，不是最常见的一对。",
            f"BPE begins with {first_pair('bpe')} ({first_pair('bpe', 'count'):,} times), WordPiece with {first_pair('wordpiece')} "
            f"({first_pair('wordpiece', 'count'):,}). Its score divides by how often each half occurs, so it takes first what is seldom apart, "
            "and not what is most frequent.",
        ),
    ),
)
def three_algorithms(
    word: Annotated[str, TextInput(30, label=Both("英文词", "English word"))] = "tokenizations",
) -> list[Chart]:
    """How vocabularies of about 400 pieces, learned from the same words, cut one word."""
    merges, wordpiece, unigram = subword_bpe(), subword_wordpiece(), subword_unigram()
    word = "".join(word.lower().split())
    spelling = {i: bytes([i]) for i in range(256)} | {merge.new_id: merge.token for merge in merges}
    ids = bpe_encode(word.encode("utf-8", "replace"), {merge.pair: merge.new_id for merge in merges})
    cuts = {
        "BPE": [shown(spelling[i]) for i in ids],
        "WordPiece": wordpiece_encode(word, set(wordpiece), unk="[UNK]") if word else [],
        "Unigram": unigram_encode(word, unigram),
    }
    sizes = (26 + len(merges), len(wordpiece), len(unigram))
    learned = [piece for piece in wordpiece if len(piece.removeprefix("##")) > 1 and piece != "[UNK]"]
    likely = [piece for piece in unigram if len(piece) > 1]
    return [
        Tokens(
            [[Token(piece) for piece in pieces] for pieces in cuts.values()],
            [
                Both(
                    f"{name}（词表 {size}）· {len(pieces)} 段",
                    f"{name} (vocabulary {size}) · {len(pieces)} pieces",
                )
                for (name, pieces), size in zip(cuts.items(), sizes, strict=True)
            ],
        ),
        Table(
            [
                "",
                Both("BPE 第几次合并得到", "BPE, by order of merging"),
                Both("WordPiece 第几次合并得到", "WordPiece, by order of merging"),
                Both("Unigram 概率最大的", "Unigram, most probable"),
            ],
            [[i + 1, merges[i].token.decode(), learned[i], likely[i]] for i in range(8)],
        ),
    ]


# Pre-tokenization ---------------------------------------------------------------------------------------

NUMBER = "1234567"
NUMBER_CHOICES = ("1|234|567", "123|456|7", "1|2|3|4|5|6|7", "1234567")


@figure(
    title=Both("合并之前先切开：四家的规则", "Cut before any merging: the rules of four families"),
    predict=Predict(
        Both(
            f"Llama 3 的规则让数字最多三个一组。它怎样切 {NUMBER}？",
            f"Llama 3 keeps at most three digits together. How does it cut {NUMBER}?",
        ),
        choices=list(NUMBER_CHOICES),
        answer=lambda: NUMBER_CHOICES.index("|".join(split_pieces(NUMBER, LLAMA3))),
        explain=Both(
            f"从左往右数，三个一组，最后剩一个。人写千分位是从右往左数的，所以 {NUMBER} 和 {NUMBER[1:]} 的分组完全错开。在框里输入这两个数看看。",
            f"It counts from the left, so one digit is left at the end. People group thousands from the right: the groups of {NUMBER} and of {NUMBER[1:]} share nothing. Type both to see it.",
        ),
    ),
)
def pretokenizers(
    text: Annotated[str, TextInput(60, label=Both("文字", "text"))] = "It's 42+9，他说Hello  World",
) -> Chart:
    """The pieces that no merge may cross, under four published regular expressions."""
    names = {"GPT-2": GPT2, "Llama 3": LLAMA3, "Qwen2": QWEN2, "o200k (GPT-4o)": O200K}
    rows = [[Token(piece) for piece in split_pieces(text, pattern)] for pattern in names.values()]
    labels = [
        Both(f"{name} · {len(row)} 段", f"{name} · {len(row)} pieces")
        for name, row in zip(names, rows, strict=True)
    ]
    return Tokens(rows, labels, note=Both("点是空格", "a dot is a space"))


@value
def embedding_parameters(vocab_size: int = 50257, dim: int = 768, tables: int = 1) -> int:
    return vocab_size * dim * tables


# Labs ---------------------------------------------------------------------------------------------------

FIRST = 10  # merges that stay in view as those learned first


@lab(
    title=Both("训练一个分词器", "Train a tokenizer"),
    seconds=6,
    summary=Both(
        "从 256 个字节开始，一次合并一对。三条线是没学过的英文、中文、代码每 100 个字符要几个 token。",
        "From 256 bytes, one merge after another. The lines show how many tokens 100 characters of unseen English, Chinese and code take.",
    ),
)
def train_tokenizer(
    mix: Annotated[str, MIX] = "all",
    vocab_size: Annotated[
        int, Slider(512, 16384, step=256, label=Both("词表大小", "vocabulary size"))
    ] = 4096,
    size: Annotated[
        int,
        Slider(
            30,
            420,
            step=30,
            label=Both("文字的量", "amount of text"),
            unit=Both("千字符", "thousand characters"),
        ),
    ] = 420,
    sentence: Annotated[
        str, TextInput(60, label=Both("边学边切的句子", "sentence to watch"))
    ] = "大模型 reads tokens, not 字。",
) -> Iterator[Event]:
    chosen = training_texts(mix, size * 1000)
    counts = count_pieces(text for lines in chosen.values() for text in lines)
    occurrences = sum(counts.values())
    sizes = {kind: sum(map(len, lines)) for kind, lines in chosen.items()}
    amounts = Both(
        "，".join(f"{KINDS[kind].zh} {n:,}" for kind, n in sizes.items()),
        ", ".join(f"{KINDS[kind].en} {n:,}" for kind, n in sizes.items()),
    )
    yield Say(
        Both(
            f"字符数：{amounts.zh}。预分词得到 {occurrences:,} 个片段，其中不同的有 {len(counts):,} 个。之后只看这张计数表，不再看原文。",
            f"Characters: {amounts.en}. Pre-tokenization gives {occurrences:,} pieces, {len(counts):,} of them different. From here on only these counts matter, not the text.",
        )
    )
    wanted = vocab_size - 256
    every = max(1, wanted // 200)
    learned: list[Merge] = []
    ranks: dict[tuple[int, int], int] = {}
    spelling = {i: bytes([i]) for i in range(256)}
    began = time.perf_counter()
    for merge in islice(iter_merges(counts), wanted):
        learned.append(merge)
        ranks[merge.pair] = merge.new_id
        spelling[merge.new_id] = merge.token
        if len(learned) % every and len(learned) < wanted:
            continue
        for kind, name in KINDS.items():
            yield Sample(
                name,
                x=256 + len(learned),
                y=per_hundred(kind, learned),
                x_label=Both("词表大小", "vocabulary size"),
                y_label=Both("每 100 个字符的 token 数", "tokens per 100 characters"),
            )
        ids = [
            i
            for piece in split_pieces(sentence, GPT2)
            for i in bpe_encode(piece.encode("utf-8", "replace"), ranks)
        ]
        yield Show(
            "sentence",
            Tokens(
                [[Token(shown(spelling[i]), i) for i in ids]],
                [Both(f"{len(ids)} 个 token", f"{len(ids)} tokens")],
            ),
        )
        if len(learned) - every < FIRST:
            yield Show("oldest", merges_table(learned[:FIRST], Both("最先学到的", "learned first")))
        yield Show("newest", merges_table(learned[-8:], Both("最近学到的", "learned last")))
        yield Metric(
            Both("最近一次合并在语料里出现", "the newest merge occurs"), merge.count, Both("次", "times")
        )
        yield Progress(len(learned), wanted, f"{shown(merge.token)!r}")
    seconds = time.perf_counter() - began
    yield Progress(len(learned), len(learned))
    yield from closing_words(learned, wanted, seconds)


def merges_table(merges: Sequence[Merge], title: Both) -> Table:
    columns = [Both("第几次", "merge"), Both("得到", "makes"), Both("出现次数", "count")]
    rows = [[merge.new_id - 255, in_table(merge.token), merge.count] for merge in merges]
    return Table(columns, rows, title=title, note=Both("点是空格", "a dot is a space"))


def closing_words(learned: Sequence[Merge], wanted: int, seconds: float) -> Iterator[Event]:
    if len(learned) < wanted:
        yield Say(
            Both(
                f"只学到 {len(learned)} 次就没有可合并的了。",
                f"Nothing was left to merge after {len(learned)}.",
            )
        )
    rare = sum(merge.count <= 5 for merge in learned)
    yield Show(
        "result",
        Bars(
            list(KINDS.values()),
            [per_hundred(kind, learned) for kind in KINDS],
            y_label=Both("每 100 个字符的 token 数", "tokens per 100 characters"),
        ),
    )
    yield Say(
        Both(
            f"{len(learned)} 次合并，连同边学边测一共 {seconds:.1f} 秒。其中 {rare} 个 token 学到的时候在语料里不超过五次。"
            "这样的 token 占着词表，模型却没几次机会学它们的向量。",
            f"{len(learned)} merges in {seconds:.1f} s, measurements included. {rare} of the tokens occurred at most five times when they were "
            "learned. Such tokens take a place in the vocabulary, and a model would hardly ever meet them.",
        )
    )


@lab(
    title=Both("用你写的函数训练分词器", "Train a tokenizer with your function"),
    seconds=10,
    summary=Both(
        "真正的文字，你的 train_bpe。学到的合并装进课程的分词器，再和课程自己的一条条对。",
        "Real text, and your train_bpe. What it learns goes into the course's tokenizer and is compared, merge by merge, with the course's own.",
    ),
)
def your_tokenizer(
    mix: Annotated[str, MIX] = "all",
    merges: Annotated[int, Slider(50, 500, step=50, label=Both("合并次数", "merges"))] = 200,
    sentence: Annotated[
        str, TextInput(60, label=Both("要切的句子", "sentence to cut"))
    ] = "大模型 reads tokens, not 字。",
) -> Iterator[Event]:
    counts = word_counts(mix, 20_000)
    ours = list(islice(iter_merges(counts), merges))
    mine: list[tuple[int, int]] = []
    for share in (0.1, 0.25, 0.5, 1.0):
        wanted = round(merges * share)
        began = time.perf_counter()
        mine = [(left, right) for left, right in train_bpe(dict(counts), wanted)]
        seconds = time.perf_counter() - began
        if mine != [merge.pair for merge in ours[:wanted]]:
            yield from first_difference(mine, ours[:wanted])
            return
        tokenizer = Tokenizer.from_merges(mine)
        ids = tokenizer.encode(sentence)
        row = [Token(shown(tokenizer.id_to_bytes(i)), i) for i in ids]
        yield Show(
            "sentence",
            Tokens(
                [row],
                [Both(f"{wanted} 次合并 · {len(ids)} 个 token", f"{wanted} merges · {len(ids)} tokens")],
            ),
        )
        for kind, name in KINDS.items():
            yield Sample(
                name,
                x=wanted,
                y=per_hundred(kind, ours[:wanted]),
                x_label=Both("合并次数", "merges"),
                y_label=Both("每 100 个字符的 token 数", "tokens per 100 characters"),
            )
        yield Metric(Both("你的函数用了", "your function took"), seconds, Both("秒", "s"))
        yield Progress(share, 1.0)
        if tokenizer.decode(ids) != sentence:
            yield Say(Both("切开再拼回去，和原文不一样。", "Cut and joined again, the text is not the same."))
    yield Say(
        Both(
            f"{merges} 次合并和课程的完全一样，切开再拼回去也一字不差。这个分词器是你的函数教出来的。",
            f"All {merges} merges equal the course's, and the text comes back unchanged. This tokenizer learned from your function.",
        )
    )


def first_difference(mine: Sequence[tuple[int, int]], ours: Sequence[Merge]) -> Iterator[Event]:
    at = next(
        (i for i, (a, b) in enumerate(zip(mine, ours, strict=False)) if a != b.pair),
        min(len(mine), len(ours)),
    )
    got = mine[at] if at < len(mine) else Both("没有", "missing")
    want = f"{ours[at].pair} {shown(ours[at].token)!r}" if at < len(ours) else Both("没有", "none")
    got, want = Both.of(got if isinstance(got, Both) else str(got)), Both.of(want)
    yield Say(
        Both(
            f"前 {at} 次合并和课程的一样，第 {at + 1} 次不同：你的是 {got.zh}，课程的是 {want.zh}。",
            f"The first {at} merges equal the course's. Merge {at + 1} does not: yours is {got.en}, the course's is {want.en}.",
        )
    )
