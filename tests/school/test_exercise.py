"""The stub and the solution are cut from the stack's source, so they cannot drift from it."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from teachllm.school.course import UnknownLesson, load_course
from teachllm.school.exercise import Hole, Limits, exercise, mutant_sources
from teachllm.school.language import Both
from teachllm.school.problem import CourseFileError, LessonError
from teachllm.school.yaml_file import YamlFile, read_yaml

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures/course"

SOURCE = '''"""A module."""
from __future__ import annotations

import math
import os.path
from typing import TYPE_CHECKING, Any as Anything

try:
    import numpy as np
except ImportError:
    np = None
if TYPE_CHECKING:
    from collections.abc import Callable

from . import sibling
from .room import thing

LIMIT: int = 3


def helper(x):
    return x


@decorated(LIMIT)
def hole(
    x: Anything,
    /,
    f: Callable[[int], int],
    *,
    limit: int = LIMIT,
) -> float:
    """What it does.

    Shapes.
    """
    # region: body
    y = helper(np.asarray(x))
    # endregion
    return math.fsum(f(y)) + sibling.a + thing + len(os.path.sep)


def bare(x):
    return x
'''


@pytest.fixture
def file(tmp_path: Path) -> YamlFile:
    path = tmp_path / "exercise.yaml"
    path.write_text("symbol: teachllm.stack.a.b:hole\n")
    return read_yaml(path)


def hole(file: YamlFile, name: str = "hole", uses: tuple[str, ...] = ()) -> Hole:
    return Hole(file, "teachllm.stack.a.b", name, SOURCE, uses)


IMPORTS = """from __future__ import annotations

import math
import os.path
from typing import Any as Anything
import numpy as np
from collections.abc import Callable
from teachllm.stack.a import sibling
from teachllm.stack.a.room import thing
from teachllm.stack.a.b import LIMIT, helper


"""


def test_the_stub_is_imports_signature_and_docstring(file: YamlFile) -> None:
    assert hole(file).stub() == (
        IMPORTS
        + '''def hole(
    x: Anything,
    /,
    f: Callable[[int], int],
    *,
    limit: int = LIMIT,
) -> float:
    """What it does.

    Shapes.
    """
    raise NotImplementedError
'''
    )


def test_the_solution_is_the_whole_function_without_region_marks(file: YamlFile) -> None:
    solution = hole(file).solution()
    assert "# region" not in solution
    assert "# endregion" not in solution
    assert "    y = helper(np.asarray(x))\n    return math.fsum" in solution
    assert "@decorated(LIMIT)\ndef hole(" in solution


def test_parameters_of_every_kind_are_named_in_order(file: YamlFile) -> None:
    assert hole(file).parameters == ("x", "f", "limit")


def test_a_function_without_docstring_and_imports_of_its_own_wish(file: YamlFile) -> None:
    stub = hole(file, "bare", ("import math", "from torch import nn")).stub()
    assert stub.endswith(
        "import math\nfrom torch import nn\n\n\ndef bare(x):\n    raise NotImplementedError\n"
    )
    ast.parse(stub)


def test_a_symbol_that_is_not_there_is_told_at_its_line(file: YamlFile) -> None:
    with pytest.raises(LessonError, match=r"has no module-level function nothing") as error:
        hole(file, "nothing")
    assert error.value.problems[0].line == 1


def test_no_part_of_the_body_is_in_any_stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHLLM_COURSE", raising=False)
    lessons = load_course().available()
    assert lessons
    for lesson in lessons:
        task = exercise(lesson.id)
        function = ast.parse(task.stub).body[-1]
        assert isinstance(function, ast.FunctionDef)
        assert function.name == task.function
        assert [type(node) for node in function.body] == [ast.Expr, ast.Raise]
        own = ast.parse(task.solution_source).body[-1]
        assert isinstance(own, ast.FunctionDef)
        assert ast.unparse(own.args) == ast.unparse(function.args)
        assert ast.get_docstring(own) == ast.get_docstring(function)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "course", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("TEACHLLM_COURSE", str(tmp_path / "course"))
    return tmp_path / "course/01-basics/01-temperature"


def test_an_exercise_is_read_with_its_texts_and_limits(folder: Path) -> None:
    task = exercise("1.1")
    assert task.title == Both("把任何一种数变成 JSON 的数", "Any number as a number of JSON")
    assert (task.module, task.function) == ("teachllm.school.figures.plain", "number")
    assert task.parameters == ("value",)
    assert task.limits == Limits(10.0, 2048)
    assert task.try_it == "sample_many"
    assert len(task.hints) == 1
    assert task.checks == folder / "checks.py"


def test_it_is_read_again_when_its_file_changes(folder: Path) -> None:
    path = folder / "exercise.yaml"
    assert exercise("1.1") is exercise("1.1")
    path.write_text(path.read_text("utf-8") + "limits: {seconds: 3}\nuses: [random]\n", "utf-8")
    assert exercise("1.1").limits == Limits(3.0, 2048)
    assert "import random\n" in exercise("1.1").stub


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("plain:number", "plainn:number", "there is no module teachllm.school.figures.plainn"),
        ("teachllm.school.figures.plain:number", "teachllm:number", "symbol"),
        ("teachllm.school.figures.plain:number", "os:remove", "does not have the form"),
        ("try_it:", "tri_it:", "tri_it"),
        ("try_it: sample_many", "uses: ['1 2']", "1 2 is not an import"),
        ("try_it: sample_many", "limits: {seconds: 0}", "seconds"),
        ("try_it: sample_many", "limits: {memory_mb: 1}", "memory_mb"),
    ],
)
def test_mistakes_of_the_author_are_told(folder: Path, before: str, after: str, message: str) -> None:
    path = folder / "exercise.yaml"
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")
    with pytest.raises(CourseFileError) as error:
        exercise("1.1")
    assert message in str(error.value)
    assert all(problem.file == path for problem in error.value.problems)


def test_an_unknown_lesson_is_one(folder: Path) -> None:
    with pytest.raises(UnknownLesson):
        exercise("7.7")


def test_a_mutant_stands_in_the_stubs_imports_under_the_symbols_name(folder: Path) -> None:
    mutants = mutant_sources(exercise("1.1"))
    assert [(name, checks) for name, checks, _, _ in mutants] == [
        ("always_text", ("test_plain_numbers",)),
        ("keeps_nan", ("test_not_finite",)),
        ("accepts_text", ("test_text_is_refused",)),
    ]
    _, _, source, line = mutants[2]
    assert (folder / "mutants.py").read_text("utf-8").splitlines()[line - 1] == "def accepts_text(value):"
    names: dict[str, object] = {}
    exec(compile(source, "mutant", "exec"), names)
    number = names["number"]
    assert callable(number)
    assert number("text") == "text"
    assert number(float("nan")) is None


def test_mutants_with_a_syntax_error_are_told_with_the_line(folder: Path) -> None:
    (folder / "mutants.py").write_text("x = 1\ndef (:\n")
    with pytest.raises(LessonError, match="syntax error") as error:
        mutant_sources(exercise("1.1"))
    assert error.value.problems[0].line == 2
