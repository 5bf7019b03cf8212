"""What the tutor is given: passages of the right sections, and an honest no."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from teachllm.school.progress import Note
from teachllm.school.search import engine, meaning
from teachllm.school.search.entries import Entry
from teachllm.school.search.index import Index
from teachllm.school.search.meaning import Meaning, VectorStore, find_meaning, pieces_of
from teachllm.school.search.passages import FIRST, find_passages
from teachllm.school.search.sections import Sections
from teachllm.school.search.terms import Vocabulary
from tests.school.test_search import _real_course


@pytest.fixture(autouse=True)
def own_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_engine", _real_course())


@pytest.mark.parametrize(
    ("question", "lang", "section"),
    [
        ("为什么要除以根号 d？不除会怎样", "zh", ("1.2", "scale")),
        ("why do we divide the scores by the root of d", "en", ("1.2", "scale")),
        ("KV 缓存为什么能省计算，它存的是什么？", "zh", ("1.2", "cache")),
        ("RoPE 旋转的频率 theta 是怎么定的", "zh", ("1.3", "rope")),
    ],
)
def test_the_section_that_answers_is_among_the_first(
    question: str, lang: str, section: tuple[str, str]
) -> None:
    found = find_passages(question, lang)  # type: ignore[arg-type]
    assert found.supported
    assert section in {(one.passage.lesson_id, one.passage.section) for one in found.passages[:FIRST]}
    for one in found.passages:
        assert one.passage.text
        assert one.passage.lang == lang
        assert one.passage.address.startswith("/lesson/")
    sections = [(one.passage.lesson_id, one.passage.section) for one in found.passages[:FIRST]]
    assert len(set(sections)) == FIRST, "one passage a section"


@pytest.mark.parametrize(
    "question", ["怎么给仙人掌浇水，冬天要浇几次？", "Who won the chess tournament in Iceland?", "", "？！"]
)
def test_what_the_course_does_not_say_is_not_supported(question: str) -> None:
    assert not find_passages(question, "zh").supported


def test_code_that_must_stay_hidden_is_not_found() -> None:
    question = "what does scaled_dot_product_attention return"
    symbol = "teachllm.stack.nn.attention:scaled_dot_product_attention"
    assert symbol in {one.passage.symbol for one in find_passages(question, "en").passages}
    found = find_passages(question, "en", hidden={symbol})
    assert found.passages
    assert symbol not in {one.passage.symbol for one in found.passages}


def test_a_note_supports_an_answer() -> None:
    now = datetime.now(UTC)
    note = Note(1, "1.2", "mask", "", "鸭嘴兽的口诀：先遮后算", now, now)
    found = find_passages("鸭嘴兽的口诀", "zh", notes=[note])
    assert found.supported
    assert "note" in {one.passage.kind for one in found.passages}
    assert not find_passages("鸭嘴兽的口诀", "zh").supported


def test_where_the_learner_is_comes_earlier() -> None:
    def rank(near: str | None) -> int:
        found = find_passages("常见的坑有哪些", "zh", k=30, near=near).passages
        return next(i for i, one in enumerate(found) if one.passage.lesson_id == "1.2")

    assert rank("1.2") <= rank(None)


class _LettersModel:
    """Stands for an embedding model: texts with the same letters have the same vector."""

    dimension = 26

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> tuple[np.ndarray, list[np.ndarray]]:
        self.asked += texts
        tokens = [
            np.eye(26, dtype=np.float32)[[ord(one) % 32 - 1 for one in text.lower() if one.isalpha()]]
            for text in texts
        ]
        sums = np.stack([one.sum(axis=0) for one in tokens])
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9), tokens


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _LettersModel:
    model = _LettersModel()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(meaning, "known_model", lambda: (tmp_path / "model", ("en",)))
    monkeypatch.setattr(meaning, "asset_folder", lambda: tmp_path / "assets")
    monkeypatch.setattr("teachllm.stack.retrieval.embedding.load_embedding_model", lambda folder: model)
    monkeypatch.setattr(meaning, "encode", lambda model, texts, kind: model.encode(list(texts)))
    return model


def _entries(*texts: str) -> list[Entry]:
    return [
        Entry("lesson", "en", f"T{n}", text, lesson_id=f"1.{n}", anchor="a", section="a")
        for n, text in enumerate(texts)
    ]


def test_only_what_changed_is_embedded_again(letters: _LettersModel, tmp_path: Path) -> None:
    first = find_meaning(_entries("quartz jumps", "vex nymph"), tmp_path, rest=0)
    assert first is not None
    n = len(letters.asked)
    again = find_meaning(_entries("quartz jumps", "changed"), tmp_path, rest=0)
    assert again is not None
    assert letters.asked[n:] == ["changed"]
    np.testing.assert_allclose(again.vectors[:2], first.vectors[:2])
    np.testing.assert_array_equal(again.tokens[: again.starts[2]], first.tokens[: first.starts[2]])
    [file] = (tmp_path / "assets" / "search").rglob("*.npz")
    file.write_bytes(b"damaged")
    assert find_meaning(_entries("quartz jumps"), tmp_path, rest=0) is not None
    assert letters.asked[-2:] == ["T0", "quartz jumps"]
    assert find_meaning(_entries("new"), tmp_path, lambda: False) is None, "no longer wanted"


def test_meaning_finds_what_words_do_not(letters: _LettersModel, tmp_path: Path) -> None:
    entries = _entries("listen to it", "some other words", "more of those")
    index = Index.build(entries, Vocabulary())
    found = find_meaning(entries, tmp_path, rest=0)
    assert isinstance(found, Meaning)
    sections = Sections(index)
    asked = sections.ask("silent oitt", "en", found)
    assert sections.places[int(np.argmax(asked.sections))] == ("1.0", "a")
    assert asked.nearest[0] == "listen to it"
    near = found.near("silent", len(entries))
    assert near.by_token[0] == pytest.approx(1.0), "every letter is there"
    assert near.by_token[1:].max() < 1
    assert not sections.ask("silent oitt", "en", None).sections.any()


def test_pieces_are_of_lessons_in_the_languages_of_the_model() -> None:
    texts, owners = pieces_of(list(engine.library(60).index.entries), ("en",))
    entries = engine.library(60).index.entries
    assert {(entries[i].kind, entries[i].lang) for i in owners} == {("lesson", "en")}
    assert len(texts) == len(owners) > 1000
    assert all(len(text.split()) < 150 for text in texts)


def test_vectors_that_cannot_be_kept_do_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "model").mkdir()
    store = VectorStore(tmp_path / "file", tmp_path / "model")
    store.add(["a"], np.ones((1, 4), dtype=np.float32), [np.ones((2, 4), dtype=np.float32)])
    store.save()
    assert "could not be kept" in caplog.text
    assert store.vector("a").tolist() == [1, 1, 1, 1]
