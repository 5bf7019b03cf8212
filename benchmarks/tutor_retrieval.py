"""What tutor and search find: right sections, honest refusals, milliseconds as one types.

    make bench NAME=tutor_retrieval

Questions are those of `tests/school/questions`, written by someone who had not seen the retrieval; weights
were tuned on `dev.jsonl`, `test.jsonl` was never looked at. Only totals are printed. The peer is the same
search by words alone (BM25F), without vectors.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, report, versions

QUESTIONS = Path(__file__).parents[1] / "tests" / "school" / "questions"
FIRST = 3
BARS = {"right section in the first 3": 95.0, "refused": 90.0}
PACKAGES = ("torch", "numpy")
TYPED = {
    "en": ["kv cache", "chunked prefill", "why divide by the root of d", "paged attention block table"],
    "zh": ["键值缓存", "分块预填充", "为什么要除以根号 d", "投机解码的接受率"],
}
PATIENCE = 600.0
SHOWN = 20


def main() -> None:
    from teachllm.school.search import engine

    began = time.monotonic()
    engine.warm_up()
    while (library := engine.library(60.0)).meaning is None and time.monotonic() - began < PATIENCE:
        time.sleep(0.5)
    if library.meaning is None:
        raise SystemExit("there are no vectors: fetch the embedding model (teachllm assets fetch)")
    notes = [f"{len(library.sections.places)} sections, {len(library.meaning.pieces)} pieces with a vector"]
    rows: list[Row] = []
    for name in ("dev", "test"):
        questions = [
            json.loads(line) for line in (QUESTIONS / f"{name}.jsonl").read_text("utf-8").splitlines()
        ]
        rows += found_rows(name, questions, notes)
    rows += typing_rows(notes)
    report("tutor_retrieval", rows, notes=notes)


def found_rows(name: str, questions: list[dict[str, Any]], notes: list[str]) -> Iterator[Row]:
    from teachllm.school.search import engine
    from teachllm.school.search.passages import find_passages

    library = engine.library()
    right: dict[str, list[bool]] = defaultdict(list)
    by_words: list[bool] = []
    kept: list[bool] = []
    refused: list[bool] = []
    taken: list[float] = []
    for one in questions:
        began = time.perf_counter()
        found = find_passages(one["question"], one["lang"])
        taken.append(time.perf_counter() - began)
        if one["lesson"] is None:
            refused.append(not found.supported)
            continue
        wanted = {(one["lesson"], anchor) for anchor in one["anchors"]}
        wanted |= {tuple(place.split("#")) for place in one.get("also", [])}
        places = [(scored.passage.lesson_id, scored.passage.section) for scored in found.passages[:FIRST]]
        group = one["lang"] + (", terms in the other language" if one["cross"] else "")
        right[group].append(bool(wanted & set(places)))
        kept.append(found.supported)
        scores = library.sections.ask(one["question"], one["lang"], None).sections
        best = scores.argsort()[::-1][:FIRST]
        by_words.append(bool(wanted & {library.sections.places[number] for number in best}))
    everything = [hit for group in right.values() for hit in group]
    ours, words = share(everything), share(by_words)
    yield Row(
        f"{name}: right section in the first {FIRST}", ours, words, "by words alone", "%", ours / words,
        limit=BARS["right section in the first 3"], versions=versions(PACKAGES),
    )  # fmt: skip
    for group, hits in sorted(right.items()):
        yield Row(
            f"{name}: the same, {group}", share(hits), None, "none", "%", None, why="a part of the above"
        )
    what = f"{name}: refused of {len(refused)} that the course does not answer"
    yield Row(what, share(refused), None, "none", "%", None, limit=BARS["refused"], why="no peer")
    what = f"{name}: not refused of {len(kept)} that it answers"
    yield Row(what, share(kept), None, "none", "%", None, why="no peer")
    notes.append(f"{name}: median {1000 * statistics.median(taken):.1f} ms for the passages of a question")


def typing_rows(notes: list[str]) -> Iterator[Row]:
    """A search after every key, as the palette asks it, at the whole course."""
    from teachllm.school.search import search

    for lang in ("zh", "en"):
        typed = [text[:end] for text in TYPED[lang] for end in range(1, len(text) + 1)]
        taken = []
        for query in typed:
            began = time.perf_counter()
            told = [hit.to_json() for hit in search(query, lang, limit=SHOWN)]
            taken.append(1000 * (time.perf_counter() - began))
            assert len(told) <= SHOWN
        median, slow = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
        yield Row(f"search as one types, {lang}", median, None, "none", "ms", None, limit=30.0, why="no peer")
        notes.append(f"typing, {lang}: {len(typed)} queries, 95 % within {slow:.1f} ms; bar: median of 30 ms")


def share(values: list[bool]) -> float:
    return 100 * sum(values) / max(1, len(values))


if __name__ == "__main__":
    main()
