"""What is told when a figure, a lab or a value fails."""

from __future__ import annotations

from teachllm.school.language import Both


class CannotRun(Exception):
    """Something is missing that the learner can get; ``why`` says what, and how."""

    def __init__(self, why: Both) -> None:
        super().__init__(why.en)
        self.why = why


def described(error: Exception) -> Both:
    """In the learner's words where the error has some, else its type and text."""
    return error.why if isinstance(error, CannotRun) else Both.same(f"{type(error).__name__}: {error}")
