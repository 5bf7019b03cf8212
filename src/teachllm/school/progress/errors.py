"""What the learner is told when their data cannot be read, kept or changed."""

from __future__ import annotations

from teachllm.school.language import Both, Lang


class StoreError(Exception):
    """The store cannot do what was asked; ``why`` says so in both languages, and what to do."""

    def __init__(self, why: Both) -> None:
        super().__init__(why.en)
        self.why = why

    def get(self, lang: Lang) -> str:
        return self.why.get(lang)


class DatabaseError(StoreError):
    """The database itself: unreachable, damaged, full, read-only, or of a newer TeachLLM."""


class SettingError(StoreError):
    """There is no such setting, or it does not take that value."""
