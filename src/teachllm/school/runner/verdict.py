"""What the learner is told about a submission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from teachllm.school.language import Both, Lang

Status: TypeAlias = Literal[
    "passed", "failed", "error", "timeout", "memory", "crashed", "syntax", "cancelled"
]
NOTHING = Both("", "")


@dataclass(frozen=True)
class CheckResult:
    """One check, in the order of ``checks.py``. ``passed`` is ``None`` if it did not come to run."""

    name: str
    passed: bool | None
    diagnosis: Both | None = None
    message: str = ""

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "diagnosis": self.diagnosis.get(lang) if self.diagnosis else None,
            "message": self.message,
        }


@dataclass(frozen=True)
class Verdict:
    """``diagnosis``: the mistake, from the first check that failed. ``message``: what happened.

    ``line`` counts from 1 in the learner's source. ``output`` is what their code printed. ``seconds`` is the
    time from submission to verdict.
    """

    status: Status
    diagnosis: Both | None = None
    message: Both = NOTHING
    checks: tuple[CheckResult, ...] = ()
    output: str = ""
    line: int | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def first_failed(self) -> str | None:
        """Name of the first check that failed."""
        return next((check.name for check in self.checks if check.passed is False), None)

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "status": self.status,
            "diagnosis": self.diagnosis.get(lang) if self.diagnosis else None,
            "message": self.message.get(lang),
            "checks": [check.to_json(lang) for check in self.checks],
            "output": self.output,
            "line": self.line,
            "seconds": round(self.seconds, 3),
        }
