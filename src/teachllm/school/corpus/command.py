"""``teachllm corpus``: writes the course's text as JSON Lines, to train and measure retrieval on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from teachllm.school.corpus.texts import (
    CoursePair,
    CoursePassage,
    course_entries,
    passages,
    questions,
    translations,
)
from teachllm.school.course import load_course
from teachllm.school.language import Both, Lang
from teachllm.school.terminal import learner_terminal

FOLDER = Path("runs/course-corpus")


def corpus(folder: Path = FOLDER, *, lang: Lang | None = None) -> None:
    """Write passages.jsonl, translations.jsonl and questions.jsonl of the lessons that are there.

    Parameters
    ----------
    folder
        Where to; it is made, and files that are there are written again.
    lang
        Language of the messages: zh or en.
    """
    with learner_terminal(lang) as terminal:
        course = load_course()
        entries = course_entries(course)
        counts = [
            write_lines(folder / "passages.jsonl", passages(entries)),
            write_lines(folder / "translations.jsonl", translations(course, entries)),
            write_lines(folder / "questions.jsonl", questions(course, entries)),
        ]
        terminal.say(
            Both(
                "{}：{} 段课文，{} 对译文，{} 个问题".format(folder, *counts),
                "{}: {} passages, {} translations, {} questions".format(folder, *counts),
            )
        )


def write_lines(path: Path, rows: Iterable[CoursePassage | CoursePair]) -> int:
    """How many different rows were written."""
    lines = list(dict.fromkeys(json.dumps(asdict(row), ensure_ascii=False) for row in rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)
