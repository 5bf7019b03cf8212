"""What there is to do in a lesson, counted without running its code."""

from __future__ import annotations

import ast
import threading
from dataclasses import dataclass
from pathlib import Path

from teachllm.school.course import Lesson
from teachllm.school.lesson.document import read_document
from teachllm.school.problem import LessonError


@dataclass(frozen=True)
class Outline:
    """Anchors of its sections; names of the labs that it shows, and of the figures that can be moved."""

    sections: frozenset[str] = frozenset()
    figures: frozenset[str] = frozenset()
    labs: frozenset[str] = frozenset()
    has_exercise: bool = False


_lock = threading.Lock()
_known: dict[Path, tuple[tuple[int, ...], Outline]] = {}


def outline(lesson: Lesson) -> Outline:
    """Read again when the lesson's files change; empty for a planned lesson and one that cannot be read."""
    if not lesson.available:
        return Outline()
    files = (lesson.file("lesson.zh.md"), lesson.file("figures.py"))
    stamp = tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
    with _lock:
        known = _known.get(lesson.folder)
        if known is None or known[0] != stamp:
            known = _known[lesson.folder] = (stamp, _read(lesson))
        return known[1]


def _read(lesson: Lesson) -> Outline:
    try:
        document = read_document(lesson.file("lesson.zh.md"), "zh")
    except LessonError:
        return Outline()  # its page says what is wrong with it
    shown = {
        kind: {element.name for element in document.elements if element.kind == kind}
        for kind in ("figure", "lab", "exercise")
    }
    return Outline(
        sections=frozenset(document.anchors()),
        figures=frozenset(shown["figure"] & _with_controls(lesson.file("figures.py"))),
        labs=frozenset(shown["lab"]),
        has_exercise=bool(shown["exercise"]),
    )


def _with_controls(path: Path) -> set[str]:
    """The functions that take parameters: a figure without any cannot be moved."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and (node.args.args or node.args.kwonlyargs)
    }
