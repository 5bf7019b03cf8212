"""Predict, then move: the question that a figure asks before its controls are free."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from teachllm.school.figures.controls import ControlError
from teachllm.school.figures.plain import number
from teachllm.school.language import Both, Label, Lang, say


@dataclass(frozen=True)
class Predict:
    """A question with choices, or one whose answer is a number from ``low`` to ``high``.

    ``answer`` is a function without arguments that *computes* the right answer with the stack: the index of
    the right choice, or the number. ``explain`` is shown afterwards; it may be a function, so that its
    numbers are computed too. A number counts as right within ``tolerance`` (default: a twentieth of the
    range).
    """

    question: Both
    answer: Callable[[], Any]
    explain: Both | Callable[[], Both]
    choices: Sequence[Label] | None = None
    low: float | None = None
    high: float | None = None
    unit: Label | None = None
    step: float | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        numeric = self.low is not None and self.high is not None
        if (self.choices is not None) == numeric:
            raise ValueError("Predict takes either choices=[…] or both low= and high=")
        if self.choices is not None and len(self.choices) < 2:
            raise ValueError("Predict: offer at least two choices")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"Predict: low ({self.low}) must be below high ({self.high})")
        if not callable(self.answer):
            raise TypeError("Predict: answer must be a function that computes the answer")

    def to_json(self, lang: Lang) -> dict[str, Any]:
        """The question without its answer.

        ``{"kind": "choice", "question", "choices": [str]}`` or
        ``{"kind": "number", "question", "low", "high", "step", "unit"}``.
        """
        if self.choices is not None:
            choices = [say(choice, lang) for choice in self.choices]
            return {"kind": "choice", "question": self.question.get(lang), "choices": choices}
        return {
            "kind": "number",
            "question": self.question.get(lang),
            "low": self.low,
            "high": self.high,
            "step": self.step,
            "unit": None if self.unit is None else say(self.unit, lang),
        }

    def truth(self) -> int | float:
        """Computes the right answer. Raises ``ValueError`` if it is not one that a reader could give."""
        truth = number(self.answer())
        if self.choices is not None:
            if not isinstance(truth, int) or isinstance(truth, bool) or not 0 <= truth < len(self.choices):
                raise ValueError(f"Predict: answer() gave {truth!r}, not an index below {len(self.choices)}")
            return truth
        low, high = float(self.low or 0.0), float(self.high or 0.0)
        if truth is None or not low <= truth <= high:
            raise ValueError(f"Predict: answer() gave {truth!r}, outside {low} to {high}")
        return float(truth)

    def judge(self, answer: Any, lang: Lang) -> dict[str, Any]:
        """``{"right": bool, "answer": index|number, "answer_text", "off_by": number|null, "explain"}``.

        Raises :class:`ControlError` if the answer is not one that the question allows.
        """
        explain = self.explain if isinstance(self.explain, Both) else self.explain()
        if self.choices is not None:
            if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(self.choices):
                count = len(self.choices)
                raise ControlError(
                    [Both(f"请从 {count} 个选项里选一个", f"the answer must be one of the {count} choices")]
                )
            truth = int(self.truth())
            return {
                "right": answer == truth,
                "answer": truth,
                "answer_text": say(self.choices[truth], lang),
                "off_by": None,
                "explain": explain.get(lang),
            }
        low, high = float(self.low or 0.0), float(self.high or 0.0)
        if isinstance(answer, bool) or not isinstance(answer, (int, float)) or not math.isfinite(answer):
            raise ControlError([Both("请给一个数", "the answer must be a number")])
        if not low <= answer <= high:
            raise ControlError(
                [
                    Both(
                        f"答案要在 {low:g} 和 {high:g} 之间",
                        f"the answer must be between {low:g} and {high:g}",
                    )
                ]
            )
        truth = float(self.truth())
        tolerance = (high - low) / 20 if self.tolerance is None else self.tolerance
        unit = "" if self.unit is None else f" {say(self.unit, lang)}"
        return {
            "right": abs(answer - truth) <= tolerance,
            "answer": truth,
            "answer_text": f"{truth:.4g}{unit}",
            "off_by": answer - truth,
            "explain": explain.get(lang),
        }
