"""The import of a lesson's ``figures.py``: under a name of its own, and again when the file changes."""

from __future__ import annotations

import sys
import threading
import traceback
import types
from pathlib import Path

from teachllm.school.course import Lesson
from teachllm.school.language import Both
from teachllm.school.problem import CourseFileError, LessonError, Problem
from teachllm.school.yaml_file import read_text

_lock = threading.RLock()
_imported: dict[Path, tuple[tuple[int, int], types.ModuleType]] = {}


def module_name(lesson: Lesson) -> str:
    """``teachllm_course.l01_02.figures`` for lesson 1.2."""
    chapter, number = lesson.id.split(".")
    return f"teachllm_course.l{int(chapter):02d}_{int(number):02d}.figures"


def import_figures(lesson: Lesson) -> types.ModuleType:
    """The module of ``figures.py``, imported once for each version of the file.

    It is compiled from source here, not through the import system: no bytecode is written into the course
    folder, and two edits within one second are both seen. Raises :class:`LessonError` with the line in
    ``figures.py`` at which the import failed.
    """
    path = lesson.file("figures.py")
    with _lock:
        try:
            status = path.stat()
        except OSError:
            message = Both(
                "缺少 figures.py：图和实验写在这里",
                "figures.py is missing: figures and labs are written in it",
            )
            raise LessonError([Problem(path, None, message)]) from None
        stamp = (status.st_mtime_ns, status.st_size)
        known = _imported.get(path)
        if known is None or known[0] != stamp or sys.modules.get(module_name(lesson)) is not known[1]:
            known = _imported[path] = (stamp, _run(path, module_name(lesson)))
        return known[1]


def _run(path: Path, name: str) -> types.ModuleType:
    try:
        code = compile(read_text(path), str(path), "exec", dont_inherit=True)
    except CourseFileError as error:
        raise LessonError(error.problems) from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        what = getattr(error, "msg", None) or str(error)
        message = Both(f"Python 语法错误：{what}", f"Python syntax error: {what}")
        raise LessonError([Problem(path, line, message)]) from None
    module = types.ModuleType(name)
    module.__file__ = str(path)
    package = name.rpartition(".")[0]
    module.__package__ = package
    for parent in (package.partition(".")[0], package):
        sys.modules.setdefault(parent, _package(parent))
    previous = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except Exception as error:
        if previous is None:
            del sys.modules[name]
        else:
            sys.modules[name] = previous
        what = f"{type(error).__name__}: {error}"
        message = Both(f"导入时出错：{what}", f"its import failed: {what}")
        raise LessonError([Problem(path, line_in(path, error), message)]) from error
    return module


def _package(name: str) -> types.ModuleType:
    package = types.ModuleType(name)
    package.__path__ = []
    return package


def line_in(path: Path, error: BaseException) -> int | None:
    """The last line of ``path`` in the error's traceback: where the author has to look."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return lines[-1] if lines else None
