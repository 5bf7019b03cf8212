"""An exercise is a hole in the real code: the stub is the stack's function with its body taken out.

Everything is read from source text by ``ast``; nothing of the stack is imported, so this is cheap.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.machinery
import importlib.util
import re
import textwrap
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from teachllm.school.course import Course, load_course
from teachllm.school.language import Both
from teachllm.school.problem import LessonError, Problem
from teachllm.school.yaml_file import BothText, YamlFile, read_text, read_yaml, validate

_SYMBOL = re.compile(r"^symbol:\s*(teachllm[\w.]*:\w+)", re.M)
_REGION = re.compile(r"^\s*#\s*(region:.*|endregion\b.*)$")


@dataclass(frozen=True)
class Limits:
    """``seconds``: wall time of one grading. ``memory_mb``: what the learner may add to the imports."""

    seconds: float = 10.0
    memory_mb: int = 2048


@dataclass(frozen=True)
class Exercise:
    """The exercise of one lesson. ``task`` and ``hints`` are Markdown."""

    lesson_id: str
    folder: Path
    symbol: str
    parameters: tuple[str, ...]
    stub: str
    solution_source: str
    title: Both
    task: Both
    hints: tuple[Both, ...] = ()
    limits: Limits = field(default_factory=Limits)
    try_it: str | None = None

    @property
    def module(self) -> str:
        return self.symbol.partition(":")[0]

    @property
    def function(self) -> str:
        """The name that the learner's code must define."""
        return self.symbol.partition(":")[2]

    @property
    def checks(self) -> Path:
        return self.folder / "checks.py"

    @property
    def mutants(self) -> Path:
        return self.folder / "mutants.py"


class _LimitsEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(gt=0, le=120)] = 10.0
    memory_mb: Annotated[int, Field(ge=64, le=16384)] = 2048


class _ExerciseEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    symbol: Annotated[str, Field(pattern=r"^teachllm(\.\w+)+:[A-Za-z_]\w*$")]
    title: BothText
    task: BothText
    hints: list[BothText] = []
    limits: _LimitsEntry = _LimitsEntry()
    uses: list[str] = []
    try_it: str | None = None


def exercise(lesson_id: str) -> Exercise:
    """The exercise of a lesson, read again when its file or the stack's module has changed.

    Raises :class:`teachllm.school.course.UnknownLesson`, or :class:`LessonError` naming every problem.
    """
    lesson = load_course().lesson(lesson_id)
    path = lesson.file("exercise.yaml")
    file = read_yaml(path)
    entry = validate(file, _ExerciseEntry)
    source = _module_source(file, entry.symbol.partition(":")[0])
    stamp = (path.stat().st_mtime_ns, source.stat().st_mtime_ns)
    return _exercise(lesson_id, lesson.folder, source, stamp)


def lessons_of_symbols(course: Course) -> dict[str, str]:
    """The lesson whose exercise each symbol is. Cheap: only the line that names it is read."""
    found = {}
    for lesson in course.available():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if named := _SYMBOL.search(lesson.file("exercise.yaml").read_text("utf-8")):
                found[named[1]] = lesson.id
    return found


@lru_cache(maxsize=256)
def _exercise(lesson_id: str, folder: Path, source: Path, _stamp: tuple[int, int]) -> Exercise:
    file = read_yaml(folder / "exercise.yaml")
    entry: _ExerciseEntry = validate(file, _ExerciseEntry)
    module, _, name = entry.symbol.partition(":")
    hole = Hole(file, module, name, read_text(source), tuple(_import_lines(file, entry.uses)))
    return Exercise(
        lesson_id=lesson_id,
        folder=folder,
        symbol=entry.symbol,
        parameters=hole.parameters,
        stub=hole.stub(),
        solution_source=hole.solution(),
        title=entry.title,
        task=entry.task,
        hints=tuple(entry.hints),
        limits=Limits(entry.limits.seconds, entry.limits.memory_mb),
        try_it=entry.try_it,
    )


def _module_source(file: YamlFile, module: str) -> Path:
    """The file of a module, found without importing the module or the packages around it."""
    root = importlib.util.find_spec("teachllm")
    folders = list(root.submodule_search_locations or []) if root else []
    names = module.split(".")
    for depth, _ in enumerate(names[1:], start=2):
        spec = importlib.machinery.PathFinder.find_spec(".".join(names[:depth]), folders)
        if spec is None:
            message = Both(f"symbol：没有模块 {module}", f"symbol: there is no module {module}")
            raise LessonError([file.problem(("symbol",), message)])
        folders = list(spec.submodule_search_locations or [])
        if depth == len(names) and spec.origin:
            return Path(spec.origin)
    raise LessonError([file.problem(("symbol",), Both.same(f"symbol: {module}"))])


def _import_lines(file: YamlFile, uses: list[str]) -> list[str]:
    """``[math, from torch import Tensor]`` as import statements."""
    lines = []
    for index, text in enumerate(uses):
        line = text if text.startswith(("import ", "from ")) else f"import {text}"
        try:
            ast.parse(line)
        except SyntaxError:
            message = Both(f"uses：{text} 不是一条 import", f"uses: {text} is not an import")
            raise LessonError([file.problem(("uses", index), message)]) from None
        lines.append(line)
    return lines


class Hole:
    """A module-level function in a module's source, and the sources that are cut from it."""

    def __init__(self, file: YamlFile, module: str, name: str, source: str, uses: tuple[str, ...]) -> None:
        self.module = module
        self.lines = source.splitlines()
        self.tree = ast.parse(source)
        self.uses = uses
        found = [n for n in self.tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
        if not found:
            message = Both(
                f"symbol：{module} 里没有模块级的函数 {name}",
                f"symbol: {module} has no module-level function {name}",
            )
            raise LessonError([file.problem(("symbol",), message)])
        self.function = found[-1]

    @property
    def parameters(self) -> tuple[str, ...]:
        given = self.function.args
        return tuple(a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs))

    def stub(self) -> str:
        """Imports, signature and docstring; the body raises ``NotImplementedError``."""
        first, body = self.function, self.function.body
        documented = ast.get_docstring(first) is not None
        end = body[0].end_lineno if documented else body[0].lineno - 1
        kept = self.lines[first.lineno - 1 : end]
        hole = "    raise NotImplementedError"
        return self._join(self._imports(first, decorated=False), [*kept, hole])

    def solution(self) -> str:
        """The stack's function on its own: imports, decorators, whole body, without region marks."""
        first = self.function
        start = min((d.lineno for d in first.decorator_list), default=first.lineno)
        kept = [line for line in self.lines[start - 1 : first.end_lineno] if not _REGION.match(line)]
        return self._join(self._imports(first, decorated=True), kept)

    def _join(self, imports: list[str], lines: list[str]) -> str:
        head = "\n".join(imports)
        return (head + "\n\n\n" if head else "") + textwrap.dedent("\n".join(lines)).rstrip() + "\n"

    def _imports(self, function: ast.FunctionDef, *, decorated: bool) -> list[str]:
        """Import lines for the names that the function uses; what its module defines is imported from it."""
        used = _names(function, decorated=decorated)
        future, plain, own = [], [], []
        for node in _module_level(self.tree.body):
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                future.append(ast.unparse(node))
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                aliases = [alias for alias in node.names if _bound(alias) in used]
                if aliases:
                    plain.append(_import_line(node, aliases, self.module))
            else:
                own += [name for name in _defined(node) if name in used and name != function.name]
        if own:
            names = ", ".join(sorted(set(own)))
            plain.append(f"from {self.module} import {names}")
        extra = [line for line in self.uses if line not in plain]
        body = [*plain, *extra]
        return [*future, *([""] if future and body else []), *body]


def _module_level(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements of a module, with those inside ``if TYPE_CHECKING`` and ``try`` at its top level."""
    found: list[ast.stmt] = []
    for node in body:
        if isinstance(node, (ast.If, ast.Try)):
            found += _module_level(node.body)
        else:
            found.append(node)
    return found


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _import_line(node: ast.Import | ast.ImportFrom, aliases: list[ast.alias], module: str) -> str:
    if isinstance(node, ast.Import):
        return ast.unparse(ast.Import(names=aliases))
    source = node.module or ""
    if node.level:
        source = ".".join([*module.split(".")[: -node.level], *([source] if source else [])])
    return ast.unparse(ast.ImportFrom(module=source, names=aliases, level=0))


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _names(function: ast.FunctionDef, *, decorated: bool) -> set[str]:
    """Names that a function refers to; without builtins."""
    parts: list[ast.AST] = [function.args, *function.body]
    if function.returns is not None:
        parts.append(function.returns)
    if decorated:
        parts += function.decorator_list
    names: set[str] = set()
    for part in parts:
        for node in ast.walk(part):
            if isinstance(node, ast.Name):
                names.add(node.id)
    return names - set(vars(builtins))


def mutant_sources(lesson: Exercise) -> list[tuple[str, tuple[str, ...], str, int]]:
    """Each wrong version of ``mutants.py``: (name, checks that must catch it, source, line).

    The source has the stub's imports, so that a mutant can be written like a solution.
    Raises :class:`LessonError`.
    """
    text = read_text(lesson.mutants)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        message = Both(f"语法错误：{error.msg}", f"syntax error: {error.msg}")
        raise LessonError([Problem(lesson.mutants, error.lineno, message)]) from None
    stub_imports = [ast.unparse(n) for n in ast.parse(lesson.stub).body if _is_import(n)]
    own_imports = [ast.unparse(n) for n in tree.body if _is_import(n) and not _of_the_school(n)]
    future = [line for line in stub_imports if "__future__" in line]
    imports = [*future, *(line for line in [*stub_imports, *own_imports] if "__future__" not in line)]
    lines, found = text.splitlines(), []
    for node in tree.body:
        checks = _mutant_checks(node)
        if checks is None or not isinstance(node, ast.FunctionDef):
            continue
        body = lines[node.lineno - 1 : node.end_lineno]
        source = "\n".join([*imports, "", "", *body, "", "", f"{lesson.function} = {node.name}", ""])
        found.append((node.name, checks, source, node.lineno))
    return found


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _of_the_school(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith("teachllm.school")


def _mutant_checks(node: Any) -> tuple[str, ...] | None:
    for decorator in getattr(node, "decorator_list", []):
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "mutant":
            names = (a.value for a in decorator.args if isinstance(a, ast.Constant))
            return tuple(name for name in names if isinstance(name, str))
    return None
