"""Each kind of wrong solution gets the verdict that tells its author what to do, in both languages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from teachllm.school.language import Both
from teachllm.school.runner import Runner, Verdict, exercise

Grade = Callable[[str], Verdict]


def test_a_right_answer_passes_every_check_and_they_are_told_one_by_one(runner: Runner) -> None:
    events: list[dict] = []
    verdict = runner.grade("1.2", "def number(value):\n    print('你好')\n    return 7\n", events.append)
    assert verdict.status == "passed", verdict
    assert [(check.name, check.passed) for check in verdict.checks] == [
        ("test_seven", True),
        ("test_arguments_stay", True),
    ]
    assert [event["event"] for event in events] == ["starting", "check", "check"]
    assert verdict.output == "你好\n" * 3
    assert verdict.diagnosis is None
    assert verdict.first_failed is None
    assert 0 < verdict.seconds < 60


def test_a_wrong_answer_gets_the_diagnosis_of_the_first_check_that_fails(grade: Grade) -> None:
    verdict = grade("def number(value):\n    return 8\n")
    assert verdict.status == "failed"
    assert verdict.diagnosis == Both("应当返回 7。", "It should return 7.")
    assert verdict.first_failed == "test_seven"
    assert "assert 8 == 7" in verdict.message.en
    shown = verdict.to_json("zh")
    assert shown["passed"] is False
    assert shown["diagnosis"] == "应当返回 7。"
    assert [check["passed"] for check in shown["checks"]] == [False, True]


@pytest.mark.parametrize(
    "change",
    ["value[0] = 5", "value.append(1)", "value.append(object())", "value.clear()"],
)
def test_a_changed_argument_is_noticed(grade: Grade, change: str) -> None:
    source = f"def number(value):\n    if isinstance(value, list):\n        {change}\n    return 7\n"
    verdict = grade(source)
    assert verdict.first_failed == "test_arguments_stay"
    assert verdict.diagnosis == Both("参数被改动了。", "The argument was changed.")
    assert "['value']" in verdict.message.en


def test_a_tensor_changed_in_place_is_noticed_when_passed_by_name(grade: Grade) -> None:
    verdict = grade(
        "def number(value):\n    if hasattr(value, 'add_'):\n        value.add_(1)\n    return 7\n"
    )
    assert verdict.first_failed == "test_arguments_stay"


def test_the_stub_says_that_it_is_not_written(runner: Runner) -> None:
    verdict = runner.grade("1.2", exercise("1.2").stub)
    assert verdict.status == "error"
    assert verdict.diagnosis is not None
    assert "not written yet" in verdict.diagnosis.en
    assert "还没写完" in verdict.diagnosis.zh


def test_a_syntax_error_is_told_with_its_line(grade: Grade) -> None:
    verdict = grade("def number(value):\n    return 7 +\n")
    assert (verdict.status, verdict.line) == ("syntax", 2)
    assert verdict.diagnosis is not None
    assert "第 2 行有语法错误" in verdict.diagnosis.zh
    assert "Syntax error on line 2" in verdict.diagnosis.en
    assert "return 7 +" in verdict.message.en
    assert [check.passed for check in verdict.checks] == []
    wrongly_indented = grade("def number(value):\nreturn 7\n")
    assert (wrongly_indented.status, wrongly_indented.line) == ("syntax", 2)


def test_a_source_with_null_bytes_or_lone_surrogates_is_refused_in_words(grade: Grade) -> None:
    assert grade("def number(value):\0 return 7\n").status == "syntax"
    assert grade("def number(value): return '\ud800'\n").status == "error"


def test_an_exception_is_told_with_the_learners_line_and_only_their_frames(grade: Grade) -> None:
    source = "def helper(x):\n    return x / 0\n\ndef number(value):\n    return helper(len(value))\n"
    verdict = grade(source)
    assert (verdict.status, verdict.line) == ("error", 2)
    assert verdict.message.en.splitlines() == [
        "  line 5, in number",
        "    return helper(len(value))",
        "  line 2, in helper",
        "    return x / 0",
        "ZeroDivisionError: division by zero",
    ]


@pytest.mark.parametrize(
    ("source", "status", "zh", "en"),
    [
        ("def other(value): return 7", "error", "没有定义函数 number", "does not define the function number"),
        ("import nothing_like_it\ndef number(value): return 7", "error", "模块不存在", "does not exist"),
        ("def number(value): return valeu", "error", "没有定义的名字", "Check its spelling"),
        ("def number(value):\n    return number(value)", "error", "一直在调用自己", "keeps calling itself"),
        ("import sys\ndef number(value): sys.exit(0)", "error", "想结束程序", "tried to end the program"),
        (
            "import os\ndef number(value): os._exit(0)",
            "crashed",
            "自己结束了进程",
            "ended the process itself",
        ),
        ("import os\ndef number(value): os.abort()", "crashed", "崩溃", "SIGABRT"),
        ("def number(value): pass", "failed", "没有返回结果", "returned nothing"),
        ("def number(value): yield 7", "error", "评分程序读不了", "cannot read"),
    ],
)
def test_slips_are_named(grade: Grade, source: str, status: str, zh: str, en: str) -> None:
    verdict = grade(source + "\n")
    assert verdict.status == status, verdict
    assert verdict.diagnosis is not None
    assert zh in verdict.diagnosis.zh
    assert en in verdict.diagnosis.en


def test_a_generator_is_not_taken_for_a_list(grade: Grade) -> None:
    verdict = grade("def number(value):\n    yield 7\n")
    assert "what your function returned is an iterator (generator)" in verdict.message.en


def test_a_value_that_cannot_cross_is_told_by_its_place(grade: Grade) -> None:
    verdict = grade("class Box: pass\ndef number(value):\n    return {'a': [1, Box()]}\n")
    assert verdict.status == "error"
    assert "what your function returned['a'][1] is of type Box" in verdict.message.en


def test_an_endless_loop_is_stopped_and_its_line_told(grade: Grade) -> None:
    verdict = grade("def number(value):\n    print('before')\n    while True:\n        value = value\n")
    assert verdict.status == "timeout"
    assert verdict.line in (3, 4)
    assert verdict.diagnosis is not None
    assert f"超过 4 秒还没有算完，已经停下。停在第 {verdict.line} 行" in verdict.diagnosis.zh
    assert f"It was on line {verdict.line}" in verdict.diagnosis.en
    assert verdict.output == "before\n"
    assert [check.passed for check in verdict.checks] == [False, None]


def test_an_endless_loop_at_import_is_stopped_too(grade: Grade) -> None:
    verdict = grade("while True:\n    pass\n")
    assert verdict.status == "timeout"
    assert verdict.line in (1, 2)


def test_checks_that_are_broken_are_not_blamed_on_the_learner(runner: Runner, course, monkeypatch) -> None:
    checks = course / "01-basics/02-sampling/checks.py"
    kept = checks.read_text("utf-8")
    try:
        for broken in ("import nothing_like_it\n", "def test_(:\n", "x = 1\n"):
            checks.write_text(broken, "utf-8")
            verdict = runner.grade("1.2", "def number(value):\n    return 7\n")
            assert verdict.status == "error"
            assert verdict.diagnosis is not None
            assert "not your code" in verdict.diagnosis.en
            assert "不是你的问题" in verdict.diagnosis.zh
    finally:
        checks.write_text(kept, "utf-8")
