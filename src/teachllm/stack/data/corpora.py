"""Real text that is on every machine: the course in Chinese and English, and the standard library.

Each is an iterator of texts, in the same order every time, that ends before `max_bytes` of UTF-8 are passed.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from pydoc_data import topics
from typing import Literal

Language = Literal["zh", "en"]


def course_text(
    language: Language | None = None, *, folder: Path | None = None, max_bytes: int | None = None
) -> Iterator[str]:
    """The lessons, a text each: all in both languages, or those in one. FileNotFoundError without a course.

    `folder` is by default ``TEACHLLM_COURSE``, else the ``course`` folder beside or inside the package.
    """
    folder = folder or _course_folder()
    lessons = sorted(folder.glob(f"*/*/lesson.{language or '*'}.md"))
    return _at_most(max_bytes, (path.read_text(encoding="utf-8") for path in lessons))


def stdlib_docs(*, max_bytes: int | None = None) -> Iterator[str]:
    """English prose: the docstrings of Python's standard library, and its language reference."""
    return _at_most(max_bytes, chain(topics.topics.values(), docstrings(_standard_library())))


def stdlib_sources(*, max_bytes: int | None = None) -> Iterator[str]:
    """Code: the Python sources of the standard library, a text each module."""
    return _at_most(max_bytes, _standard_library())


def _standard_library() -> Iterator[str]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    return python_sources(folder, {"site-packages", "idlelib", "lib2to3"})


def _at_most(max_bytes: int | None, texts: Iterable[str]) -> Iterator[str]:
    left = max_bytes
    for text in texts:
        if left is not None:
            encoded = text.encode()
            if len(encoded) > left:
                if rest := encoded[:left].decode("utf-8", "ignore"):
                    yield rest
                return
            left -= len(encoded)
        yield text


def _course_folder() -> Path:
    given = os.environ.get("TEACHLLM_COURSE")
    package = Path(__file__).resolve().parents[2]
    candidates = [Path(given)] if given else [package.parents[1] / "course", package / "course"]
    for candidate in candidates:
        if (candidate / "course.yaml").is_file():
            return candidate
    raise FileNotFoundError(
        f"there is no course.yaml in {' or '.join(map(str, candidates))}; "
        "set the environment variable TEACHLLM_COURSE to the course folder"
    )


def python_sources(folder: Path, without: Collection[str] = ()) -> Iterator[str]:
    """The Python files below `folder`, in order of their paths, without tests and the folders `without`."""
    skipped = {"test", "tests", "__pycache__", *without}
    for path in sorted(folder.rglob("*.py")):
        if not skipped & set(path.relative_to(folder).parts):
            yield path.read_text(encoding="utf-8", errors="replace")


def docstrings(sources: Iterable[str], shortest: int = 201) -> Iterator[str]:
    """The docstrings of at least `shortest` characters: shorter ones say little more than the name."""
    for source in sources:
        try:
            with warnings.catch_warnings(action="ignore"):
                tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                docstring = ast.get_docstring(node)
                if docstring is not None and len(docstring) >= shortest:
                    yield docstring
