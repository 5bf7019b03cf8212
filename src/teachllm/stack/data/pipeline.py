"""Cleaning as a chain of steps, each of which says what it dropped and why.

A step takes a stream of documents and gives a stream of documents. Nothing happens until the last stream is
read, and no step holds more than the document it looks at, unless its own work needs it to remember.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from teachllm.stack.data.documents import Document

SAMPLES = 5  # documents kept for each reason
EXCERPT = 400  # characters kept of each


@dataclass(frozen=True, slots=True)
class Sample:
    """A document that was dropped or changed: where it is from, how it begins, and what the step found."""

    source: str
    excerpt: str
    detail: str


@dataclass
class StepReport:
    """What one step did. A step calls `keep`, `change` or `drop` once for each document it was given.

    Of each reason a few documents are kept as samples, every one with the same chance (reservoir sampling,
    algorithm R of Vitter 1985), the same ones for the same `seed`.
    """

    name: str
    seed: int = 0
    kept: int = 0
    changed: int = 0
    """Of the kept documents, those whose text is another than before."""
    bytes_in: int = 0
    """UTF-8 bytes of the texts that came in."""
    bytes_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Documents by reason."""
    dropped_bytes: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    """What was changed, in the step's own units: ``{"email": 12}`` is twelve addresses."""
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    """By reason; those of changed documents by ``"changed"``."""

    def __post_init__(self) -> None:
        self._random = Random(f"{self.name} {self.seed}")
        self._offered: Counter[str] = Counter()

    @property
    def seen(self) -> int:
        return self.kept + self.dropped.total()

    def keep(self, document: Document) -> Document:
        """The document stays as it is."""
        size = utf8_length(document.text)
        self.kept += 1
        self.bytes_in += size
        self.bytes_out += size
        return document

    def change(self, before: Document, after: Document, detail: str = "") -> Document:
        """The document stays, with another text. `detail` says what was found in it."""
        self.kept += 1
        self.changed += 1
        self.bytes_in += utf8_length(before.text)
        self.bytes_out += utf8_length(after.text)
        self._offer("changed", before, detail)
        return after

    def drop(self, document: Document, reason: str, detail: str = "") -> None:
        """The document goes. `reason` is one of a few fixed words, `detail` is about this document."""
        size = utf8_length(document.text)
        self.bytes_in += size
        self.dropped[reason] += 1
        self.dropped_bytes[reason] += size
        self._offer(reason, document, detail)

    def _offer(self, reason: str, document: Document, detail: str) -> None:
        samples = self.samples.setdefault(reason, [])
        self._offered[reason] += 1
        if len(samples) < SAMPLES:
            place = len(samples)
            samples.append(Sample("", "", ""))
        else:
            place = self._random.randrange(self._offered[reason])
            if place >= SAMPLES:
                return
        samples[place] = Sample(document.source, document.text[:EXCERPT], detail)


class Step(Protocol):
    """One stage of cleaning. `name` is what recipes and reports call it."""

    @property
    def name(self) -> str: ...

    def __call__(self, documents: Iterable[Document], report: StepReport) -> Iterator[Document]: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a document is dropped: one of the step's fixed reasons, and what was measured in this document."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Filter:
    """The step that drops the documents in which `problem` finds something; it changes none."""

    name: str
    problem: Callable[[str], Verdict | None]

    def __call__(self, documents: Iterable[Document], report: StepReport) -> Iterator[Document]:
        for document in documents:
            verdict = self.problem(document.text)
            if verdict is None:
                yield report.keep(document)
            else:
                report.drop(document, verdict.reason, verdict.detail)


@dataclass(frozen=True)
class Rewrite:
    """The step that replaces each text by what `rewrite` makes of it; it drops none.

    `rewrite` gives the new text and counts of what it changed, by kind; no counts if nothing was.
    """

    name: str
    rewrite: Callable[[str], tuple[str, dict[str, int]]]

    def __call__(self, documents: Iterable[Document], report: StepReport) -> Iterator[Document]:
        for document in documents:
            text, counts = self.rewrite(document.text)
            if text == document.text:
                yield report.keep(document)
                continue
            report.changes.update(counts)
            detail = ", ".join(f"{kind} × {count}" for kind, count in counts.items())
            yield report.change(document, Document(text, document.source), detail)


def clean(
    documents: Iterable[Document], steps: Sequence[Step], *, seed: int = 0
) -> tuple[Iterator[Document], list[StepReport]]:
    """The documents after all steps, and a report for each, which grows while the documents are read."""
    reports = [StepReport(step.name, seed) for step in steps]
    stream = iter(documents)
    for step, report in zip(steps, reports, strict=True):
        stream = step(stream, report)
    return stream, reports


def utf8_length(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
