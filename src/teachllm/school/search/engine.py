"""Keeps the index, makes it in the background, and turns matches into hits."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from teachllm.school.course import Course, load_course
from teachllm.school.language import Lang
from teachllm.school.progress.reading import Note
from teachllm.school.search.entries import Entry, Kind, texts, titles
from teachllm.school.search.hybrid import with_sections
from teachllm.school.search.index import Index, Match, Query
from teachllm.school.search.meaning import Meaning, find_meaning
from teachllm.school.search.sections import Sections
from teachllm.school.search.segment import words_in
from teachllm.school.search.snippet import Snippet, snippet
from teachllm.school.search.terms import Vocabulary, runs
from teachllm.school.search.words import atoms

log = logging.getLogger("teachllm.search")

PATIENCE = 0.5
"""Seconds that the first search waits for the lessons' texts; without them it finds titles and terms."""
_LOOK_AGAIN = 2.0
_OTHER_LANGUAGE = 0.8

_Stamp: TypeAlias = tuple[Path, tuple[int, ...]]


@dataclass(frozen=True)
class Hit:
    """A place that was found. ``snippet``: ``[(text, is_match), …]``. ``anchor``: on the lesson's page."""

    kind: Kind
    lang: Lang
    title: str
    section_title: str
    lesson_id: str | None
    anchor: str | None
    snippet: Snippet
    score: float

    @property
    def address(self) -> str:
        """Where it leads in the studio."""
        if self.lesson_id is None:
            return f"/search?q={quote(self.title)}"
        return f"/lesson/{self.lesson_id}" + (f"#{quote(self.anchor)}" if self.anchor else "")

    def to_json(self) -> dict[str, Any]:
        """``snippet``: ``[[text, is_match], …]``. ``url``: the place in the studio."""
        return {
            "kind": self.kind,
            "lang": self.lang,
            "title": self.title,
            "section_title": self.section_title,
            "lesson_id": self.lesson_id,
            "url": self.address,
            "snippet": [list(part) for part in self.snippet],
        }


def search(query: str, lang: Lang, *, limit: int = 20, notes: Sequence[Note] = ()) -> list[Hit]:
    """The best hits first; of a place that is found in both languages, the one in ``lang``.

    ``notes`` are the learner's own, searched along. Raises :class:`CourseError` if the course cannot be read.
    """
    return _engine.search(query, lang, limit, notes)


def search_whole(query: str, lang: Lang, *, limit: int = 20, notes: Sequence[Note] = ()) -> list[Hit]:
    """The same, but waits for the whole index however long it takes: for a command that asks only once."""
    return _engine.search(query, lang, limit, notes, patience=60.0)


def warm_up() -> None:
    """Begins to make the index, then the vectors, and returns at once."""
    _engine.warm_up(load_course())


def stop(patience: float = 1.0) -> None:
    """Ends embedding, and waits a moment for that."""
    _engine.stop(patience)


def library(patience: float = PATIENCE) -> Library:
    """What is there to search in. Waits so long for the lessons' texts, never for vectors."""
    return _engine.current(patience)


@dataclass(frozen=True)
class Library:
    """What a search reads; replaced as a whole. ``meaning``: None until there are vectors."""

    index: Index
    sections: Sections
    meaning: Meaning | None = None


class _Engine:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._library: Library | None = None
        self._is_whole = False
        self._stamp: _Stamp | None = None
        self._wanted: _Stamp | None = None
        """Of the newest index that is made or being made."""
        self._looked = 0.0
        self._embeds = self._stopped = False
        self._embedding = threading.Lock()

    def search(
        self, query: str, lang: Lang, limit: int, notes: Sequence[Note], patience: float = PATIENCE
    ) -> list[Hit]:
        if not query.strip():
            return []
        library = self.current(patience)
        typed = library.index.query(query)
        matches = library.index.find(typed) + _among_notes(notes, query, lang, library.index.vocabulary)
        matches = with_sections(_one_a_place(matches, lang), library.sections, library.meaning, typed, lang)
        return [_hit(match, typed, library.index) for match in matches[:limit]]

    def warm_up(self, course: Course) -> None:
        with self._lock:
            is_late = self._is_whole and not self._embeds
            self._embeds, self._stopped = True, False
        self.begin(course)
        if is_late:
            threading.Thread(target=self._embed, name="search-meaning", daemon=True).start()

    def stop(self, patience: float) -> None:
        self._stopped = True
        if self._embedding.acquire(timeout=patience):
            self._embedding.release()

    def begin(self, course: Course) -> None:
        stamp = _stamp(course)
        with self._lock:
            self._looked = time.monotonic()
            if stamp == self._wanted:
                return
            self._wanted = stamp
        threading.Thread(target=self._make, args=(course, stamp), name="search-index", daemon=True).start()

    def current(self, patience: float) -> Library:
        course = load_course()
        if self._library is None or self._course != course.folder or self._is_time():
            self.begin(course)
        with self._changed:
            self._changed.wait_for(lambda: self._is_whole and self._course == course.folder, patience)
            if self._library is not None and self._course == course.folder:
                return self._library
        index = Index.build(titles(course), Vocabulary.of(course.glossary))
        return Library(index, Sections(index))

    @property
    def _course(self) -> Path | None:
        return self._stamp[0] if self._stamp is not None else None

    def _is_time(self) -> bool:
        return time.monotonic() - self._looked > _LOOK_AGAIN

    def _make(self, course: Course, stamp: _Stamp) -> None:
        """What is quick to read first; the dictionary of Chinese words, which is not, last."""
        try:
            names = Vocabulary.of(course.glossary)
            entries = list(titles(course))
            if self._library is None:
                self._publish(Index.build(entries, names), stamp, is_whole=False)
            entries = _without_double_titles([*entries, *texts(course)])
            self._publish(Index.build(entries, names), stamp)
            han = (run for entry in entries for _, run in runs(atoms(f"{entry.title}\n{entry.text}")))
            self._publish(Index.build(entries, Vocabulary(names.names, words_in(han))), stamp)
            if self._embeds:
                self._embed()
        except Exception:
            log.exception("the search index could not be made")
            with self._changed:
                self._wanted = None
                self._changed.notify_all()

    def _publish(self, index: Index, stamp: _Stamp, *, is_whole: bool = True) -> None:
        with self._changed:
            if self._wanted == stamp:  # else the files have changed again, and a later thread is at it
                self._library, self._stamp, self._is_whole = Library(index, Sections(index)), stamp, is_whole
                self._changed.notify_all()

    def _embed(self) -> None:
        """Vectors for the index that is there, unless it has them."""
        with self._embedding:
            library, stamp = self._library, self._stamp
            if self._stopped or library is None or stamp is None or library.meaning is not None:
                return
            try:
                meaning = find_meaning(
                    library.index.entries, stamp[0], lambda: self._wanted == stamp and not self._stopped
                )
            except Exception:
                log.exception("the course could not be embedded; search goes by words alone")
                return
            with self._changed:
                if self._library is not None and self._stamp == stamp == self._wanted:
                    self._library = replace(self._library, meaning=meaning)


_engine = _Engine()


def _stamp(course: Course) -> _Stamp:
    names = ("lesson.zh.md", "lesson.en.md", "cards.yaml")
    files = [course.folder / "course.yaml", course.folder / "glossary.yaml"]
    files += [lesson.file(name) for lesson in course.available() for name in names]
    return course.folder, tuple(_changed_at(file) for file in files)


def _changed_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _without_double_titles(entries: Iterable[Entry]) -> list[Entry]:
    """A lesson that is there begins with its own title: the table's is only for planned ones."""
    kept: dict[tuple[Any, ...], Entry] = {}
    for number, entry in enumerate(entries):
        opening = entry.kind == "lesson" and entry.anchor is None
        kept[(entry.lang, entry.place) if opening else (number,)] = entry
    return list(kept.values())


def _among_notes(notes: Sequence[Note], query: str, lang: Lang, vocabulary: Vocabulary) -> list[Match]:
    if not notes:
        return []
    entries = [
        Entry(
            "note",
            lang,
            " ".join(note.text.split())[:80],
            f"{note.text}\n{note.quote}",
            lesson_id=note.lesson,
            anchor=note.anchor,
            names=(f"note {note.id}",),
        )
        for note in notes
    ]
    index = Index.build(entries, vocabulary)
    return index.find(index.query(query))


def _one_a_place(matches: list[Match], lang: Lang) -> list[Match]:
    """Both languages of a place as one: the reader's, if it matches nearly as well."""
    ordered = sorted(matches, key=lambda match: (match.entry.place, match.entry.lang != lang))
    kept = []
    for _, group in itertools.groupby(ordered, key=lambda match: match.entry.place):
        versions = list(group)
        best = max(versions, key=lambda match: match.score)
        own = versions[0] if versions[0].entry.lang == lang else None
        shown = own if own is not None and own.score >= best.score / 4 else best
        score = best.score if shown.entry.lang == lang else best.score * _OTHER_LANGUAGE
        kept.append(Match(shown.entry, score))
    return sorted(kept, key=lambda match: -match.score)


def _hit(match: Match, query: Query, index: Index) -> Hit:
    entry = match.entry
    wanted = {text for ways in query.alternatives for text in ways}
    parts = snippet(entry.text, wanted, index.vocabulary, entry.lang)
    if match.nearest and not any(is_match for _, is_match in parts):
        parts = snippet(match.nearest, wanted, index.vocabulary, entry.lang)
    return Hit(
        kind=entry.kind,
        lang=entry.lang,
        title=entry.title,
        section_title=entry.section_title,
        lesson_id=entry.lesson_id,
        anchor=entry.anchor,
        snippet=parts,
        score=match.score,
    )
