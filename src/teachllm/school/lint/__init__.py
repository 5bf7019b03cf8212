"""``teachllm lint``: everything that can be checked about the lessons without reading them.

What a lesson must have is in ``docs/writing-lessons.md``.
"""

from teachllm.school.lint.check import Requirements, lint, lint_lesson
from teachllm.school.lint.command import lint_command

__all__ = ["Requirements", "lint", "lint_command", "lint_lesson"]
