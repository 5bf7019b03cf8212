"""Each step reports what it kept, changed and dropped, with samples; nothing runs before it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from teachllm.stack.data.documents import Document
from teachllm.stack.data.pipeline import SAMPLES, Filter, Rewrite, Sample, StepReport, Verdict, clean


def without_digits(text: str) -> Verdict | None:
    digits = sum(map(str.isdigit, text))
    return Verdict("digits", f"{digits} of them") if digits else None


def in_small_letters(text: str) -> tuple[str, dict[str, int]]:
    capitals = sum(map(str.isupper, text))
    return text.lower(), {"capital": capitals} if capitals else {}


STEPS = [Filter("no digits", without_digits), Rewrite("small letters", in_small_letters)]


def documents(*texts: str) -> Iterator[Document]:
    return (Document(text, f"line {i}") for i, text in enumerate(texts, 1))


def test_reports_say_what_became_of_every_document() -> None:
    stream, (digits, letters) = clean(documents("好 A", "b", "c3", "33"), STEPS)
    assert [document.text for document in stream] == ["好 a", "b"]
    assert (digits.seen, digits.kept, digits.changed) == (4, 2, 0)
    assert digits.dropped == {"digits": 2}
    assert (digits.bytes_in, digits.bytes_out) == (10, 6)
    assert digits.dropped_bytes == {"digits": 4}
    assert digits.samples == {
        "digits": [Sample("line 3", "c3", "1 of them"), Sample("line 4", "33", "2 of them")]
    }
    assert (letters.seen, letters.kept, letters.changed) == (2, 2, 1)
    assert letters.changes == {"capital": 1}
    assert letters.samples == {"changed": [Sample("line 1", "好 A", "capital × 1")]}


def test_the_sources_stay_when_the_text_changes() -> None:
    stream, _ = clean(documents("A"), STEPS)
    assert list(stream) == [Document("a", "line 1")]


def test_nothing_is_read_before_it_is_asked_for() -> None:
    read = []

    def watched() -> Iterator[Document]:
        for document in documents("a", "b", "c"):
            read.append(document.text)
            yield document

    stream, reports = clean(watched(), STEPS)
    assert read == []
    next(stream)
    assert read == ["a"]
    assert reports[0].seen == 1


def test_samples_are_drawn_evenly_and_the_same_for_one_seed() -> None:
    def sampled(seed: int) -> list[str]:
        report = StepReport("step", seed)
        for document in documents(*(str(i) for i in range(100))):
            report.drop(document, "reason")
        return [sample.excerpt for sample in report.samples["reason"]]

    assert sampled(1) == sampled(1) != sampled(2)
    assert len(sampled(1)) == SAMPLES
    late = sum(int(excerpt) >= 50 for seed in range(400) for excerpt in sampled(seed))
    assert abs(late / (400 * SAMPLES) - 0.5) < 0.05  # four standard deviations


def test_without_steps_the_documents_pass() -> None:
    stream, reports = clean(documents("a"), [])
    assert [document.text for document in stream] == ["a"]
    assert reports == []
