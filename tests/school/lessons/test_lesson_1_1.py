"""Lesson 1.1: its figures show what the tokenizer does, its labs end and say what is true."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from teachllm.school.course import load_course
from teachllm.school.figures.spec import FigureSpec, LabSpec, specifications
from teachllm.school.lesson.figures_module import import_figures
from teachllm.stack.tokenizer import Tokenizer, train_bpe


@pytest.fixture(scope="module")
def lesson() -> ModuleType:
    return import_figures(load_course().lesson("1.1"))


def figure(lesson: ModuleType, name: str, **args: Any) -> list[dict[str, Any]]:
    spec = specifications(lesson)[name]
    assert isinstance(spec, FigureSpec)
    return spec.draw(args, "en")["charts"]


def truth(lesson: ModuleType, name: str) -> float:
    spec = specifications(lesson)[name]
    assert isinstance(spec, FigureSpec)
    assert spec.predict is not None
    return spec.predict.truth()


def run(lesson: ModuleType, name: str, **args: Any) -> list[dict[str, Any]]:
    spec = specifications(lesson)[name]
    assert isinstance(spec, LabSpec)
    return list(spec.run(args, "en"))


# Figures and values -------------------------------------------------------------------------------------


def test_the_counts_of_the_worked_example_are_those_of_the_words(lesson: ModuleType) -> None:
    assert {pair: lesson.hug_count(pair) for pair in ("u g", "p u", "u n", "h u", "h ug")} == {
        "u g": 10 + 5 + 5,
        "p u": 5 + 12,
        "u n": 12 + 4,
        "h u": 10 + 5,
        "h ug": 0,
    }
    after_ug = {pair: lesson.hug_count(pair, 1) for pair in ("u g", "p u", "u n", "h ug")}
    assert after_ug == {"u g": 0, "p u": 12, "u n": 16, "h ug": 15}
    assert [lesson.hug_merge(step) for step in range(3)] == ["ug", "un", "hug"]


def test_the_figure_marks_the_pair_that_merges_next(lesson: ModuleType) -> None:
    for step, expected in enumerate(["u+g", "u+n", "h+ug"]):
        bars = figure(lesson, "hug_steps", step=step)[1]
        assert bars["labels"][bars["highlight"]] == expected
    words, finished = figure(lesson, "hug_steps", step=7)
    assert [len(row) for row in words["rows"]] == [1] * 5
    assert finished["kind"] == "text"
    assert truth(lesson, "hug_steps") == 1  # u+n: the stale table would say p+u


@pytest.mark.parametrize("mix", ["all", "en", "zh"])
@pytest.mark.parametrize(
    "text", ["大模型读的不是字，是 token。", "aaa aaaa", "def f(x):\n    return x", "🙂 ñ \t", "1"]
)
def test_the_replay_ends_where_the_tokenizer_ends(lesson: ModuleType, text: str, mix: str) -> None:
    tokenizer = Tokenizer.from_merges(merge.pair for merge in lesson.merges_of(mix))
    states, applied = lesson.replay(text, mix)
    assert states[0] == [bytes([byte]) for byte in text.encode()]
    assert states[-1] == [tokenizer.id_to_bytes(i) for i in tokenizer.encode(text)]
    assert all(len(later) < len(earlier) for earlier, later in itertools.pairwise(states))
    assert all(b"".join(state) == text.encode() for state in states)
    assert len(applied) == len(states) - 1
    order = [merge.new_id for merge in applied]
    assert order == sorted(set(order))  # the text says that replaying never goes back to an earlier rule


def test_the_sentence_figure_shows_the_state_of_its_step(lesson: ModuleType) -> None:
    strip, table = figure(lesson, "your_sentence", text="the cat", step=2)
    assert "".join(token["text"] for token in strip["rows"][0]) == "the cat"
    assert len(strip["rows"][0]) == len("the cat") - 2
    assert len(table["rows"]) == 2
    assert truth(lesson, "your_sentence") == len(lesson.replay(lesson.SENTENCE.zh, "all")[0][-1])


def test_bytes_and_characters_are_coloured_alike(lesson: ModuleType) -> None:
    (strip,) = figure(lesson, "utf8", text="a你🙂")
    characters, spelt = strip["rows"]
    assert [token["tone"] for token in spelt] == [0, 1, 1, 1, 2, 2, 2, 2]
    assert [token["tone"] for token in characters] == [0, 1, 2]
    assert bytes(token["id"] for token in spelt) == "a你🙂".encode()
    assert truth(lesson, "utf8") == len("hi 你好 🙂".encode())


def test_compression_counts_the_tokens_of_the_held_out_text(lesson: ModuleType) -> None:
    for kind, mix in itertools.product(("en", "zh", "code"), ("all", "en")):
        tokenizer = Tokenizer.from_merges(merge.pair for merge in lesson.merges_of(mix)[:1000])
        text = lesson.texts(kind, 12_000, held_out=True)
        tokens = sum(len(tokenizer.encode(line)) for line in text)
        assert lesson.tokens_per_hundred(kind, mix, 1000) == pytest.approx(100 * tokens / sum(map(len, text)))


def test_more_merges_never_cost_tokens_and_the_language_learned_gains_most(lesson: ModuleType) -> None:
    for kind, mix in itertools.product(lesson.KINDS, lesson.MIXES):
        curve = lesson.curve(kind, mix)
        assert all(later <= earlier for earlier, later in itertools.pairwise(curve))
    assert lesson.tokens_per_hundred("zh", "en") > 2 * lesson.tokens_per_hundred("zh", "all")
    assert lesson.tokens_per_hundred("code", "zh") > 2 * lesson.tokens_per_hundred("code", "all")
    assert lesson.tokens_per_hundred("en", "all") < 1.5 * lesson.tokens_per_hundred("en", "en")


def test_what_is_measured_was_not_learned_from(lesson: ModuleType) -> None:
    lines = lesson.paragraphs("en")
    learned, measured = lesson.texts("en", 10**9), lesson.texts("en", 10**9, held_out=True)
    assert len(learned) + len(measured) == len(lines)
    assert [line + "\n" for i, line in enumerate(lines) if i % 5 == 4] == measured


def test_the_chinese_is_chinese(lesson: ModuleType) -> None:
    source = "# 标题很好\n{value a | d} 这里有$x$公式\n```code x\nimport x\n"
    assert lesson.chinese(source) == "标题很好\n这里有公式"
    assert sum(map(len, lesson.paragraphs("zh"))) > 10_000


def test_scores_and_probabilities_by_hand(lesson: ModuleType) -> None:
    assert lesson.hug_score("u g") == pytest.approx(20 / (36 * 20))
    assert lesson.hug_score("g s") == pytest.approx(5 / (20 * 5))
    toy = lesson.TOY
    cuts = {"|".join(cut): math.prod(toy[piece] for piece in cut) for cut in cuts_of("hugs", toy)}
    best, second = sorted(cuts.items(), key=lambda item: -item[1])[:2]
    assert (lesson.toy_cut(0), lesson.toy_cut(0, "probability")) == (best[0], pytest.approx(best[1]))
    assert (lesson.toy_cut(1), lesson.toy_cut(1, "probability")) == (second[0], pytest.approx(second[1]))
    assert sum(lesson.TOY.values()) <= 1


def cuts_of(text: str, pieces: dict[str, float]) -> Iterator[list[str]]:
    if not text:
        yield []
    for end in range(1, len(text) + 1):
        if text[:end] in pieces:
            yield from ([text[:end], *rest] for rest in cuts_of(text[end:], pieces))


def test_three_vocabularies_of_one_size(lesson: ModuleType) -> None:
    letters = len({char for word in lesson.english_words() for char in word})
    assert letters + len(lesson.subword_bpe()) == lesson.SUBWORDS
    assert len(lesson.subword_wordpiece()) == lesson.SUBWORDS
    assert 0.95 * lesson.SUBWORDS < len(lesson.subword_unigram()) <= lesson.SUBWORDS
    strips, _ = figure(lesson, "three_algorithms", word="tokenizations")
    for row in strips["rows"]:
        assert "".join(token["text"].removeprefix("##") for token in row) == "tokenizations"
    assert lesson.first_pair("bpe", "count") > lesson.first_pair("wordpiece", "count") > 0


def test_llama3_groups_digits_from_the_left(lesson: ModuleType) -> None:
    assert lesson.NUMBER_CHOICES[int(truth(lesson, "pretokenizers"))] == "123|456|7"
    rows = figure(lesson, "pretokenizers", text="1234567")[0]["rows"]
    assert [len(row) for row in rows] == [1, 3, 7, 3]


# Labs ---------------------------------------------------------------------------------------------------


def test_the_training_lab_ends_with_the_tokenizer_that_training_gives(lesson: ModuleType) -> None:
    sentence = "the 模型 return"
    events = run(lesson, "train_tokenizer", vocab_size=512, size=60, sentence=sentence)
    assert events[-1]["event"] == "done"
    assert [e for e in events if e["event"] == "progress"][-1] | {"note": None} == {
        "event": "progress", "done": 256, "total": 256, "note": None,
    }  # fmt: skip
    lines = [line for lines in lesson.training_texts("all", 60_000).values() for line in lines]
    tokenizer = Tokenizer.train(lines, 512)
    last = [e["chart"] for e in events if e["event"] == "show" and e["name"] == "sentence"][-1]
    assert [token["id"] for token in last["rows"][0]] == tokenizer.encode(sentence)
    chinese = [e["y"] for e in events if e["event"] == "sample" and e["name"] == "Chinese"]
    assert len(chinese) > 100
    assert chinese[-1] < chinese[0]


def test_the_training_lab_can_be_left_at_any_event(lesson: ModuleType) -> None:
    spec = specifications(lesson)["train_tokenizer"]
    assert isinstance(spec, LabSpec)
    events = spec.run({"size": 30}, "zh")
    assert [next(events)["event"] for _ in range(4)] == ["say", "sample", "sample", "sample"]
    events.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_your_tokenizer_accepts_the_stacks_function(lesson: ModuleType) -> None:
    events = run(lesson, "your_tokenizer", merges=50)
    assert events[-1]["event"] == "done"
    assert "All 50 merges equal" in [e["text"] for e in events if e["event"] == "say"][-1]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda counts, n: train_bpe(counts, n)[::-1], "The first 0 merges equal"),
        (lambda counts, n: train_bpe(counts, n)[:3], "The first 3 merges equal"),
        (lambda counts, n: [*train_bpe(counts, n), (1, 2)], "yours is (1, 2), the course's is none"),
    ],
)
def test_your_tokenizer_names_the_first_merge_that_differs(
    lesson: ModuleType, monkeypatch: pytest.MonkeyPatch, wrong: Any, told: str
) -> None:
    monkeypatch.setattr(lesson, "train_bpe", wrong)
    events = run(lesson, "your_tokenizer", merges=50)
    assert [event["event"] for event in events] == ["say", "done"]
    assert told in events[0]["text"]
