"""Duplicates: the first stays, what is dropped is reported, and what only shares a little stays too."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from teachllm.stack.data import deduplication
from teachllm.stack.data.deduplication import ExactDuplicates, NearDuplicates, batches, normalized_digest
from teachllm.stack.data.documents import Document
from teachllm.stack.data.minhash import jaccard, shingles
from teachllm.stack.data.pipeline import Step, StepReport, clean


def named(*texts: str) -> list[Document]:
    return [Document(text, f"file:{number}") for number, text in enumerate(texts)]


def run(step: Step, documents: list[Document]) -> tuple[list[str], StepReport]:
    kept, [report] = clean(documents, [step])
    return [document.source for document in kept], report


def drawn_text(generator: random.Random, n_words: int, language: str) -> str:
    if language == "zh":
        return "".join(chr(0x4E00 + generator.randrange(3000)) for _ in range(n_words))
    return " ".join(f"word{generator.randrange(5000)}" for _ in range(n_words))


def with_changes(text: str, n: int, generator: random.Random, language: str) -> str:
    parts = list(text) if language == "zh" else text.split(" ")
    for place in generator.sample(range(len(parts)), n):
        parts[place] = "改" if language == "zh" else "changed"
    return ("" if language == "zh" else " ").join(parts)


def test_exact_duplicates_differ_in_case_and_white_space_only() -> None:
    documents = named("The cat  sat\n", "the cat sat", "The cat sat.", "", " \n", "猫坐着", "猫坐着 ")
    kept, report = run(ExactDuplicates(), documents)
    assert kept == ["file:0", "file:2", "file:3", "file:5"]
    assert (report.seen, report.kept, report.dropped.total()) == (7, 4, 3)
    samples = report.samples["repeats an earlier text"]
    assert [sample.source for sample in samples] == ["file:1", "file:4", "file:6"]


def test_the_digest_tells_texts_apart() -> None:
    assert normalized_digest("a b") == normalized_digest(" A\tB ")
    assert len({normalized_digest(text) for text in ("a b", "ab", "a b.", "ä b")}) == 4
    assert len(normalized_digest("\ud800")) == 16


@pytest.mark.parametrize("language", ["en", "zh"])
def test_near_duplicates_go_and_others_stay(language: str) -> None:
    generator = random.Random(0)
    texts = []
    for _ in range(40):
        original = drawn_text(generator, 300, language)
        # 2 changes tear at most 10 of 296 shingles (similarity 0.93), 60 nearly all (0.2).
        texts += [original, with_changes(original, 2, generator, language)]
        texts.append(with_changes(original, 60, generator, language))
    kept, report = run(NearDuplicates(), named(*texts))
    assert kept == [f"file:{i}" for i in range(120) if i % 3 != 1]
    assert report.dropped == {"resembles an earlier text": 40}
    for sample in report.samples["resembles an earlier text"]:
        number = int(sample.source.removeprefix("file:"))
        estimate, _, original = sample.detail.partition(" like ")
        assert original == f"file:{number - 1}"
        true = jaccard(shingles(texts[number - 1]), shingles(texts[number]))
        assert abs(float(estimate) - true) < 4 * (true * (1 - true) / 128) ** 0.5


def test_the_threshold_decides() -> None:
    generator = random.Random(1)
    texts = []
    for _ in range(30):
        original = drawn_text(generator, 300, "en")
        texts += [original, with_changes(original, 12, generator, "en")]  # similarity about 0.66
    assert len(run(NearDuplicates(threshold=0.8), named(*texts))[0]) == 60
    assert len(run(NearDuplicates(threshold=0.4), named(*texts))[0]) == 30


def test_texts_without_a_word_are_all_kept() -> None:
    assert len(run(NearDuplicates(), named("", "!", "?", "!"))[0]) == 4


def test_a_copy_of_a_dropped_text_is_compared_with_what_was_kept() -> None:
    generator = random.Random(2)
    first = drawn_text(generator, 200, "en")
    second = with_changes(first, 1, generator, "en")
    kept, report = run(NearDuplicates(), named(first, second, second, first))
    assert kept == ["file:0"]
    details = [sample.detail for sample in report.samples["resembles an earlier text"]]
    assert all(detail.endswith("like file:0") for detail in details)


def test_the_result_does_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(3)
    originals = [drawn_text(generator, 200, "en") for _ in range(60)]
    texts = [
        with_changes(generator.choice(originals), generator.randrange(3), generator, "en") for _ in range(300)
    ]
    whole, _ = run(NearDuplicates(), named(*texts))
    monkeypatch.setattr(deduplication, "BATCH_TEXTS", 7)
    parts, _ = run(NearDuplicates(), named(*texts))
    assert whole == parts
    assert 50 < len(whole) < 150


def test_batches_are_bounded_and_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "BATCH_CHARACTERS", 10)
    monkeypatch.setattr(deduplication, "BATCH_TEXTS", 3)
    read: list[int] = []

    def source() -> Iterator[Document]:
        for number, length in enumerate([12, 4, 4, 4, 1, 1, 1, 1]):
            read.append(number)
            yield Document("x" * length, "")

    sizes = []
    for batch in batches(source()):
        sizes.append(len(batch))
        assert len(read) == sum(sizes)
    assert sizes == [1, 3, 3, 1]


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 1.0}, {"shingle_size": 0}, {"k": 0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"threshold .* must lie between 0 and 1"):
        NearDuplicates(**options)  # pyright: ignore[reportArgumentType]
