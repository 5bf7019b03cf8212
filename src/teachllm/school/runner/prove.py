"""Proof that an exercise works: its stub fails, the stack's own function passes, every mutant gets its
diagnosis.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from teachllm.school.exercise import Exercise, exercise, mutant_sources
from teachllm.school.language import Both
from teachllm.school.problem import CourseFileError, Problem
from teachllm.school.runner.runner import Runner
from teachllm.school.runner.verdict import Verdict
from teachllm.school.yaml_file import read_text


def prove(lesson_id: str, runner: Runner) -> list[Problem]:
    """Everything that is wrong with the exercise of a lesson; an empty list is the proof."""
    try:
        lesson = exercise(lesson_id)
        return [*_undiagnosed(lesson), *_prove(lesson, runner)]
    except CourseFileError as error:
        return list(error.problems)


def _prove(lesson: Exercise, runner: Runner) -> Iterator[Problem]:
    stub = runner.grade(lesson.lesson_id, lesson.stub)
    if stub.passed:
        message = Both("没写完的存根也通过了检查", "the stub, which is not written yet, passes the checks")
        yield Problem(lesson.checks, None, message)
    own = runner.grade(lesson.lesson_id, lesson.solution_source)
    if not own.passed:
        what = _shown(own)
        message = Both(f"stack 自己的函数没有通过：{what}", f"the stack's own function does not pass: {what}")
        yield Problem(lesson.checks, None, message)
    mutants = mutant_sources(lesson)
    if not mutants:
        yield Problem(lesson.mutants, None, Both("没有一个变体", "there is no mutant"))
    checks = {check.name for check in own.checks}
    for name, caught_by, source, line in mutants:
        unknown = [check for check in caught_by if check not in checks]
        if unknown:
            message = Both(
                f"变体 {name}：没有检查 {unknown[0]}", f"mutant {name}: there is no check {unknown[0]}"
            )
            yield Problem(lesson.mutants, line, message)
            continue
        verdict = runner.grade(lesson.lesson_id, source)
        if verdict.passed or verdict.first_failed not in caught_by:
            expected = " / ".join(caught_by)
            message = Both(
                f"变体 {name} 应当先败于 {expected}，实际：{_shown(verdict)}",
                f"mutant {name} must first fail {expected}; instead: {_shown(verdict)}",
            )
            yield Problem(lesson.mutants, line, message)
        elif verdict.status in ("failed", "error") and verdict.diagnosis != _diagnosis(verdict):
            got = verdict.diagnosis or Both("", "")
            message = Both(
                f"变体 {name} 得到的不是那条检查的诊断，而是：{got.zh}",
                f"mutant {name} does not get that check's diagnosis but: {got.en}",
            )
            yield Problem(lesson.mutants, line, message)


def _diagnosis(verdict: Verdict) -> Both | None:
    return next((check.diagnosis for check in verdict.checks if check.passed is False), None)


def _shown(verdict: Verdict) -> str:
    parts = [verdict.status, verdict.first_failed or "", verdict.message.en]
    return " · ".join(part for part in parts if part)[:600]


def _undiagnosed(lesson: Exercise) -> Iterator[Problem]:
    """Checks without a diagnosis: a learner would be told only that something is wrong."""
    try:
        tree = ast.parse(read_text(lesson.checks))
    except SyntaxError as error:
        yield Problem(lesson.checks, error.lineno, Both.same(f"syntax error: {error.msg}"))
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            named = [
                d.func.id
                for d in node.decorator_list
                if isinstance(d, ast.Call) and isinstance(d.func, ast.Name)
            ]
            if "diagnosis" not in named:
                message = Both(f"检查 {node.name} 没有诊断", f"check {node.name} has no diagnosis")
                yield Problem(lesson.checks, node.lineno, message)
