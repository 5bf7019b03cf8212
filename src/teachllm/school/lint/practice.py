"""Checks of exercise, graders, wrong versions and cards: they are there, complete, and say what they must."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from teachllm.school.cards import CardEntry
from teachllm.school.course import Course, Lesson
from teachllm.school.exercise import Exercise, exercise
from teachllm.school.language import LANGUAGES, Both, Lang
from teachllm.school.lesson.document import Document
from teachllm.school.lesson.figures_module import import_figures
from teachllm.school.lesson.snippets import render_snippet
from teachllm.school.lesson.source_code import SymbolError, source_of
from teachllm.school.lint.requirements import Requirements
from teachllm.school.lint.text import han_characters
from teachllm.school.problem import CourseFileError, LessonError, Problem
from teachllm.school.yaml_file import YamlFile, read_text, read_yaml, validate


def practice_problems(
    course: Course, lesson: Lesson, documents: dict[Lang, Document], requirements: Requirements
) -> Iterator[Problem]:
    if lesson.file("exercise.yaml").exists():
        yield from _exercise_problems(lesson)
    checks: set[str] = set()
    if lesson.file("checks.py").exists():
        yield from _checks_problems(lesson, checks)
    if lesson.file("mutants.py").exists():
        yield from _mutant_problems(lesson, checks, requirements.mutants)
    if lesson.file("cards.yaml").exists():
        yield from _card_problems(lesson, documents, requirements)


def _exercise_problems(lesson: Lesson) -> Iterator[Problem]:
    path = lesson.file("exercise.yaml")
    try:
        found = exercise(lesson.id)
    except CourseFileError as error:
        yield from error.problems
        return
    file = read_yaml(path)
    yield from _symbol_problems(file, found)
    if not found.hints:
        yield file.problem((), Both("hints：至少给一个提示", "hints: give at least one hint"))
    for place, text in [
        (("task",), found.task),
        *((("hints", i), hint) for i, hint in enumerate(found.hints)),
    ]:
        yield from _snippet_problems(file, place, text)
    if found.try_it is not None:
        yield from _try_it_problems(lesson, file, found.try_it)


def _symbol_problems(file: YamlFile, found: Exercise) -> Iterator[Problem]:
    """A learner sees only signature and docstring, so both must say enough."""
    try:
        source = source_of(found.symbol)
    except SymbolError as error:
        yield file.problem(("symbol",), error.message)
        return
    function = next(
        (node for node in ast.walk(ast.parse(source.text)) if isinstance(node, ast.FunctionDef)), None
    )
    if function is None or not ast.get_docstring(function):
        message = Both(f"{found.symbol} 没有文档字符串", f"{found.symbol} has no docstring")
        yield file.problem(("symbol",), message)
    if function is not None:
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        bare = [argument.arg for argument in arguments if argument.annotation is None]
        if bare or function.returns is None:
            what = ", ".join([*bare, *([] if function.returns else ["->"])])
            message = Both(
                f"{found.symbol} 缺少类型标注：{what}", f"{found.symbol} lacks annotations: {what}"
            )
            yield file.problem(("symbol",), message)


def _try_it_problems(lesson: Lesson, file: YamlFile, lab: str) -> Iterator[Problem]:
    from teachllm.school.figures.spec import LabSpec, specifications

    try:
        labs = [n for n, s in specifications(import_figures(lesson)).items() if isinstance(s, LabSpec)]
    except LessonError:
        return
    if lab not in labs:
        message = Both(
            f"try_it：figures.py 里没有实验 {lab}（有 {'、'.join(labs) or '无'}）",
            f"try_it: figures.py has no lab {lab} (it has {', '.join(labs) or 'none'})",
        )
        yield file.problem(("try_it",), message)


def _snippet_problems(file: YamlFile, place: tuple[str | int, ...], text: Both) -> Iterator[Problem]:
    for lang in LANGUAGES:
        try:
            render_snippet(text.get(lang), lang)
        except LessonError as error:
            for problem in error.problems:
                yield file.problem(place, problem.message)


def _parse(lesson: Lesson, name: str) -> ast.Module | Problem:
    path = lesson.file(name)
    try:
        return ast.parse(read_text(path))
    except CourseFileError as error:
        return error.problems[0]
    except SyntaxError as error:
        message = Both(f"Python 语法错误：{error.msg}", f"Python syntax error: {error.msg}")
        return Problem(path, error.lineno, message)


def _decorator(node: ast.FunctionDef, name: str) -> ast.Call | None:
    for decorator in node.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Name)
            and decorator.func.id == name
        ):
            return decorator
    return None


def _checks_problems(lesson: Lesson, names: set[str]) -> Iterator[Problem]:
    path = lesson.file("checks.py")
    tree = _parse(lesson, "checks.py")
    if isinstance(tree, Problem):
        yield tree
        return
    tests = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    names.update(test.name for test in tests)
    if not tests:
        message = Both(
            "没有一个检查：写 def test_…(implementation)", "no checks: write def test_…(implementation)"
        )
        yield Problem(path, None, message)
    for test in tests:
        call = _decorator(test, "diagnosis")
        given = {} if call is None else {k.arg: k.value for k in call.keywords}
        empty = [lang for lang in LANGUAGES if not _text(given.get(lang))]
        if empty:
            message = Both(
                f"检查 {test.name} 缺少诊断：@diagnosis(zh=…, en=…)",
                f"check {test.name} has no diagnosis in {' and '.join(empty)}: @diagnosis(zh=…, en=…)",
            )
            yield Problem(path, test.lineno, message)
        if "implementation" not in [argument.arg for argument in test.args.args]:
            message = Both(
                f"检查 {test.name} 没有用 implementation", f"check {test.name} does not take implementation"
            )
            yield Problem(path, test.lineno, message)


def _text(node: ast.expr | None) -> str:
    """The constant text of an argument; joined or formatted strings count as present."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.strip()
    return "" if node is None else "computed"


def _mutant_problems(lesson: Lesson, checks: set[str], least: int) -> Iterator[Problem]:
    path = lesson.file("mutants.py")
    tree = _parse(lesson, "mutants.py")
    if isinstance(tree, Problem):
        yield tree
        return
    mutants = [
        (node, call)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and (call := _decorator(node, "mutant")) is not None
    ]
    if len(mutants) < least:
        message = Both(
            f'有 {len(mutants)} 个变体，至少要 {least} 个：@mutant("test_…") 加在写错的函数上',
            f'{len(mutants)} mutants of at least {least}: put @mutant("test_…") on wrong versions',
        )
        yield Problem(path, None, message)
    for node, call in mutants:
        for argument in call.args:
            name = argument.value if isinstance(argument, ast.Constant) else None
            if name not in checks:
                message = Both(
                    f"变体 {node.name}：checks.py 里没有 {name}",
                    f"mutant {node.name}: checks.py has no {name}",
                )
                yield Problem(path, node.lineno, message)


def _card_problems(
    lesson: Lesson, documents: dict[Lang, Document], requirements: Requirements
) -> Iterator[Problem]:
    try:
        file = read_yaml(lesson.file("cards.yaml"))
        cards: list[CardEntry] = validate(file, list[CardEntry])
    except CourseFileError as error:
        yield from error.problems
        return
    if len(cards) < requirements.cards:
        message = Both(
            f"有 {len(cards)} 张卡片，至少要 {requirements.cards} 张",
            f"{len(cards)} cards of at least {requirements.cards}",
        )
        yield file.problem((), message)
    times = Counter(card.id for card in cards)
    for index, card in enumerate(cards):
        if times[card.id] > 1:
            message = Both(f"卡片 {card.id} 重复了", f"card {card.id} appears more than once")
            yield file.problem((index, "id"), message)
        yield from _spoken_problems(file, index, card, requirements)
        yield from _proof_problems(file, index, card, documents)
        for place, text in _card_texts(index, card):
            yield from _snippet_problems(file, place, text)


def _card_texts(index: int, card: CardEntry) -> list[tuple[tuple[Any, ...], Both]]:
    return [
        ((index, "question"), card.question),
        ((index, "answer"), card.answer),
        ((index, "followup", "question"), card.followup.question),
        ((index, "followup", "answer"), card.followup.answer),
    ]


def spoken_length(text: str, lang: Lang) -> int:
    """How long a text takes to say: Chinese characters plus other words in Chinese, words in English."""
    words = re.findall(r"[A-Za-z0-9]+(?:['’.-][A-Za-z0-9]+)*", text)
    return han_characters(text) + len(words) if lang == "zh" else len(words)


def _spoken_problems(
    file: YamlFile, index: int, card: CardEntry, requirements: Requirements
) -> Iterator[Problem]:
    bounds: dict[Lang, tuple[int, int]] = {
        "zh": requirements.spoken_characters,
        "en": requirements.spoken_words,
    }
    units = {"zh": Both("字", "characters"), "en": Both("个词", "words")}
    for lang, (low, high) in bounds.items():
        length = spoken_length(card.answer.get(lang), lang)
        if not low <= length <= high:
            unit = units[lang]
            message = Both(
                f"卡片 {card.id} 的 {lang} 回答有 {length} {unit.zh}，说 60 到 120 秒应是 {low} 到 {high}",
                f"the {lang} answer of card {card.id} has {length} {unit.en}; "
                f"60 to 120 seconds of speech are {low} to {high}",
            )
            yield file.problem((index, "answer", lang), message)


def _proof_problems(
    file: YamlFile, index: int, card: CardEntry, documents: dict[Lang, Document]
) -> Iterator[Problem]:
    if card.proof.startswith("code:"):
        try:
            source_of(card.proof.removeprefix("code:"))
        except SymbolError as error:
            yield file.problem((index, "proof"), error.message)
        return
    for document in documents.values():
        if card.proof[1:] not in {section.anchor for section in document.sections}:
            message = Both(
                f"卡片 {card.id} 的 proof {card.proof} 在 {document.path.name} 里没有",
                f"the proof {card.proof} of card {card.id} is not in {document.path.name}",
            )
            yield file.problem((index, "proof"), message)
