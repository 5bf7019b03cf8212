"""Verdicts as JSON that keeps both languages, and back."""

from __future__ import annotations

from typing import Any

from teachllm.school.language import Both
from teachllm.school.runner.verdict import NOTHING, CheckResult, Verdict


def to_kept(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "diagnosis": _both(verdict.diagnosis),
        "message": _both(verdict.message),
        "checks": [
            {
                "name": check.name,
                "passed": check.passed,
                "diagnosis": _both(check.diagnosis),
                "message": check.message,
            }
            for check in verdict.checks
        ],
        "output": verdict.output,
        "line": verdict.line,
        "seconds": verdict.seconds,
    }


def from_kept(kept: dict[str, Any]) -> Verdict:
    checks = tuple(
        CheckResult(check["name"], check["passed"], _of(check["diagnosis"]), check["message"])
        for check in kept["checks"]
    )
    return Verdict(
        status=kept["status"],
        diagnosis=_of(kept["diagnosis"]),
        message=_of(kept["message"]) or NOTHING,
        checks=checks,
        output=kept["output"],
        line=kept["line"],
        seconds=kept["seconds"],
    )


def _both(text: Both | None) -> dict[str, str] | None:
    return None if text is None else {"zh": text.zh, "en": text.en}


def _of(kept: dict[str, str] | None) -> Both | None:
    return None if kept is None else Both.of(kept)
