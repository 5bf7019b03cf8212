"""Every reason that a cleaning step gives has Chinese words."""

from __future__ import annotations

import ast
from pathlib import Path

from teachllm.stack.data import pipeline
from teachllm.stack.data.redaction import MARKS
from teachllm.stack.pretraining.reasons import CHINESE, reason_zh


def given_reasons() -> set[str]:
    """Every text that is the first argument of a `Verdict` or the second of a `drop` in the data room."""
    found = set()
    for file in Path(pipeline.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = {"Verdict": 0, "drop": 1}.get(name)
            if place is not None and len(node.args) > place and isinstance(node.args[place], ast.Constant):
                found.add(node.args[place].value)
    return found


def test_every_reason_has_chinese_words() -> None:
    reasons = given_reasons()
    assert {"too short", "in the test set", "low quality"} <= reasons
    assert reasons | set(MARKS) <= set(CHINESE)
    assert reason_zh("too short") == "太短"
    assert reason_zh("no such reason") == "no such reason"
