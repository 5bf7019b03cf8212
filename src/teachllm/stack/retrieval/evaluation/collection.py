"""A collection with known answers: documents, queries, and which documents answer which query.

`read_beir` reads the folders in which BEIR and its successors come: `corpus.jsonl`, `queries.jsonl`, and
`qrels/test.tsv` with a line for every judgment. Thakur et al. 2021.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class JudgedCollection:
    """Texts by their ids. Every query has at least one judgment, and every one that is judged is there."""

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judged: Mapping[str, Mapping[str, int]]
    """By query and document: 0 is not relevant, more is more relevant."""

    def __post_init__(self) -> None:
        problems = []
        if strange := [key for key in self.judged if key not in self.queries]:
            problems.append(
                f"{len(strange)} judged queries are not among the queries, for example {strange[0]!r}"
            )
        if lone := [key for key in self.queries if not self.judged.get(key)]:
            problems.append(f"{len(lone)} queries have no judgment, for example {lone[0]!r}")
        strange = [key for one in self.judged.values() for key in one if key not in self.documents]
        if strange:
            problems.append(f"{len(strange)} judged documents are not there, for example {strange[0]!r}")
        if problems:
            raise CollectionError("; ".join(problems))


class CollectionError(Exception):
    """A collection cannot be used; the message says why."""


def read_beir(folder: Path, split: str = "test") -> JudgedCollection:
    """The documents of a folder, each its title and its text, and the queries that `split` judges.

    Files may be compressed (`corpus.jsonl.gz`). Raises `CollectionError` naming the file and line.
    """
    documents = {
        key: f"{row.get('title') or ''} {row['text']}".strip() for key, row in _rows(folder, "corpus")
    }
    texts = {key: row["text"] for key, row in _rows(folder, "queries")}
    judged: dict[str, dict[str, int]] = {}
    for place, line in _lines(folder / "qrels", f"{split}.tsv"):
        fields = line.split("\t")
        if place.endswith(":1") and fields[-1].strip() == "score":
            continue
        try:
            query, document, relevance = fields
            judged.setdefault(query, {})[document] = int(relevance)
        except ValueError:
            raise CollectionError(
                f"{place}: not query, document and relevance between tabs: {line!r}"
            ) from None
    return JudgedCollection(documents, {key: text for key, text in texts.items() if key in judged}, judged)


def _rows(folder: Path, name: str) -> Iterator[tuple[str, dict[str, str]]]:
    for place, line in _lines(folder, f"{name}.jsonl"):
        try:
            row = json.loads(line)
            row["text"]
            yield str(row["_id"]), row
        except (ValueError, KeyError, TypeError) as problem:
            raise CollectionError(f"{place}: not an object with _id and text ({problem!r})") from None


def _lines(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """Lines that hold something, each with its place."""
    plain, packed = folder / name, folder / f"{name}.gz"
    if not plain.exists() and not packed.exists():
        raise CollectionError(
            f"{plain} is not there; a folder of BEIR has corpus.jsonl, queries.jsonl and qrels/"
        )
    path = plain if plain.exists() else packed
    with _open(path) as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", line.rstrip("\n")
        except (OSError, EOFError, UnicodeDecodeError) as problem:
            raise CollectionError(f"{path} cannot be read: {problem}") from None


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")
