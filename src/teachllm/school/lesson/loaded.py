"""A lesson's live parts: figures, labs and values, and its exercise."""

from __future__ import annotations

import difflib
import threading
import types
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from teachllm.school.course import Course, Lesson, load_course
from teachllm.school.figures.spec import FigureSpec, LabSpec, ValueSpec, specifications
from teachllm.school.language import Both
from teachllm.school.lesson.figures_module import import_figures
from teachllm.school.problem import LessonError, Problem

if TYPE_CHECKING:
    from teachllm.school.exercise import Exercise


@dataclass(frozen=True)
class LoadedLesson:
    """What ``figures.py`` of a lesson declares."""

    lesson: Lesson
    module: types.ModuleType

    @cached_property
    def figures(self) -> dict[str, FigureSpec]:
        return {
            name: spec for name, spec in specifications(self.module).items() if isinstance(spec, FigureSpec)
        }

    @cached_property
    def labs(self) -> dict[str, LabSpec]:
        return {name: spec for name, spec in specifications(self.module).items() if isinstance(spec, LabSpec)}

    @cached_property
    def values(self) -> dict[str, ValueSpec]:
        return {
            name: spec for name, spec in specifications(self.module).items() if isinstance(spec, ValueSpec)
        }

    @property
    def exercise(self) -> Exercise:
        """The exercise of ``exercise.yaml``. Raises :class:`LessonError`."""
        from teachllm.school.exercise import exercise

        return exercise(self.lesson.id)


def unknown_name(kind: Both, name: str, known: dict[str, Any]) -> Both:
    """What to tell who named a figure, lab or value that ``figures.py`` does not define."""
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        zh, en = f"；是不是 {'、'.join(near)}？", f"; did you mean {', '.join(near)}?"
    elif known:
        zh, en = f"；有的是：{'、'.join(known)}", f"; it has: {', '.join(known)}"
    else:
        zh, en = "", ""
    return Both(f"figures.py 里没有{kind.zh} {name}{zh}", f"figures.py has no {kind.en} {name}{en}")


_lock = threading.Lock()
_loaded: dict[Path, LoadedLesson] = {}


def load_lesson(lesson_id: str, course: Course | None = None) -> LoadedLesson:
    """The live parts of an available lesson; ``figures.py`` is imported again when it has changed.

    Raises :class:`teachllm.school.course.UnknownLesson`, or :class:`LessonError`.
    """
    lesson = (course or load_course()).lesson(lesson_id)
    require_available(lesson)
    module = import_figures(lesson)
    with _lock:
        known = _loaded.get(lesson.folder)
        if known is None or known.module is not module or known.lesson != lesson:
            known = _loaded[lesson.folder] = LoadedLesson(lesson, module)
        return known


def require_available(lesson: Lesson) -> None:
    """Raises :class:`LessonError` for a lesson that is planned only."""
    if not lesson.available:
        message = Both(
            f"{lesson.id} 这一课还没有写（course.yaml 里的 status 是 planned）",
            f"lesson {lesson.id} is not written yet (its status in course.yaml is planned)",
        )
        raise LessonError([Problem(lesson.folder, None, message)])
