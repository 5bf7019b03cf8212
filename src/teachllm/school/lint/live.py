"""Checks of what moves: figures draw in all states that a reader can reach first, in both languages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from teachllm.school.course import Course, Lesson
from teachllm.school.figures.plain import watching_not_finite
from teachllm.school.figures.spec import FigureSpec, LabSpec
from teachllm.school.language import LANGUAGES, Both, Lang
from teachllm.school.lesson.document import Document
from teachllm.school.lesson.figures_module import line_in
from teachllm.school.lesson.loaded import load_lesson
from teachllm.school.lint.requirements import Requirements
from teachllm.school.problem import LessonError, Problem


def live_problems(
    course: Course, lesson: Lesson, documents: dict[Lang, Document], requirements: Requirements
) -> Iterator[Problem]:
    if not lesson.file("figures.py").exists():
        return
    try:
        loaded = load_lesson(lesson.id, course)
    except LessonError as error:
        yield from error.problems
        return
    path = lesson.file("figures.py")
    placed = {(e.kind, e.name) for document in documents.values() for e in document.elements}
    for name, spec in loaded.figures.items():
        yield from _figure_problems(lesson, spec, requirements.seconds_per_figure)
        if ("figure", name) not in placed:
            message = Both(f"图 {name} 没有放进课文", f"figure {name} is not placed in the text")
            yield Problem(path, _line(spec.function), message, "warning")
    for name, spec in loaded.labs.items():
        yield from _lab_problems(lesson, spec)
        if ("lab", name) not in placed:
            message = Both(f"实验 {name} 没有放进课文", f"lab {name} is not placed in the text")
            yield Problem(path, _line(spec.function), message, "warning")
    for name, spec in loaded.values.items():
        if ("value", name) not in placed:
            message = Both(f"数值 {name} 没有用到", f"value {name} is not used")
            yield Problem(path, _line(spec.function), message, "warning")
    asking = [spec for name, spec in loaded.figures.items() if spec.predict and ("figure", name) in placed]
    if documents and not asking:
        message = Both(
            "至少一张图要先让读者猜：@figure(predict=Predict(…))",
            "at least one figure asks for a prediction first: @figure(predict=Predict(…))",
        )
        yield Problem(path, None, message)


def states(spec: FigureSpec) -> list[dict[str, Any]]:
    """Control values to draw: the defaults, each control at its ends, all at low and all at high ends."""
    ends = {parameter.name: parameter.control.extremes(parameter.annotation) for parameter in spec.parameters}
    found: list[dict[str, Any]] = [{}]
    found += [{name: value} for name, values in ends.items() for value in values]
    if len(ends) > 1:
        found.append({name: values[0] for name, values in ends.items()})
        found.append({name: values[-1] for name, values in ends.items()})
    return found


def _figure_problems(lesson: Lesson, spec: FigureSpec, seconds: float) -> Iterator[Problem]:
    path = lesson.file("figures.py")
    for args in states(spec):
        for lang in LANGUAGES:
            where = f"{args}" if args else Both("默认状态", "its default state").get(lang)
            try:
                with watching_not_finite() as not_finite:
                    json.dumps(spec.draw(args, lang), ensure_ascii=False, allow_nan=False)
            except Exception as error:
                detail = f"{type(error).__name__}: {error}"
                message = Both(
                    f"图 {spec.name} 在 {where} 出错：{detail}",
                    f"figure {spec.name} fails at {where}: {detail}",
                )
                yield Problem(path, line_in(path, error) or _line(spec.function), message)
                break
            if not_finite:
                message = Both(
                    f"图 {spec.name} 在 {where} 画出了 {not_finite[0]}（共 {len(not_finite)} 个）",
                    f"figure {spec.name} draws {not_finite[0]} at {where} ({len(not_finite)} of them)",
                )
                yield Problem(path, _line(spec.function), message)
                break
    yield from _prediction_problems(lesson, spec)
    yield from _slow(lesson, spec, seconds)


def _prediction_problems(lesson: Lesson, spec: FigureSpec) -> Iterator[Problem]:
    if spec.predict is None:
        return
    path = lesson.file("figures.py")
    try:
        truth = spec.predict.truth()
        for lang in LANGUAGES:
            json.dumps([spec.prediction(lang), spec.judge(truth, lang)], allow_nan=False)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        message = Both(
            f"图 {spec.name} 的预测出错：{detail}", f"the prediction of {spec.name} fails: {detail}"
        )
        yield Problem(path, line_in(path, error) or _line(spec.function), message)


def _slow(lesson: Lesson, spec: FigureSpec, seconds: float) -> Iterator[Problem]:
    """Best of three redraws in processor time, so that a busy machine does not accuse the figure."""
    try:
        times = []
        for _ in range(3):
            start = time.thread_time()
            spec.draw({}, "zh")
            times.append(time.thread_time() - start)
    except Exception:
        return
    if min(times) > seconds:
        milliseconds = min(times) * 1000
        message = Both(
            f"图 {spec.name} 重画要 {milliseconds:.0f} ms（应在 {seconds * 1000:.0f} ms 内）："
            "用 functools.cache 缓存不变的部分",
            f"figure {spec.name} takes {milliseconds:.0f} ms to redraw (at most {seconds * 1000:.0f}): "
            "keep what does not change with functools.cache",
        )
        yield Problem(lesson.file("figures.py"), _line(spec.function), message, "warning")


def _lab_problems(lesson: Lesson, spec: LabSpec) -> Iterator[Problem]:
    if spec.seconds > 120:
        message = Both(
            f"实验 {spec.name} 默认设置要 {spec.seconds:.0f} 秒，应在两分钟内",
            f"lab {spec.name} takes {spec.seconds:.0f} s with its default settings; two minutes is the most",
        )
        yield Problem(lesson.file("figures.py"), _line(spec.function), message)


def _line(function: Any) -> int | None:
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    return None if code is None else code.co_firstlineno
