"""Reading the sizes of a model from a file that nobody vouches for: everything wrong is collected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# No size of a model is larger; one that is would take all memory before it is found to be wrong.
MAX_SIZE = 1 << 24


class ConfigEntries:
    """Entries by name, behind `prefix`; `problems` collects what is missing, wrong or unsupported."""

    def __init__(self, content: Mapping[str, Any], prefix: str = "") -> None:
        self.content = content
        self.prefix = prefix
        self.problems: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        """An entry of any type; `default` if it is not there or null."""
        value = self.content.get(self.prefix + name)
        return default if value is None else value

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.get(name, default)
        if isinstance(value, int) and not isinstance(value, bool) and value <= MAX_SIZE:
            return value
        self._expected(name, value, f"an integer up to {MAX_SIZE}")
        return 1

    def number(self, name: str, default: float | None = None) -> float:
        value = self.get(name, default)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        self._expected(name, value, "a number")
        return 1.0

    def only(self, name: str, supported: Any) -> None:
        """Refuses an entry that is there and is not `supported`."""
        if (value := self.get(name, supported)) != supported:
            self.problems.append(f"{self.prefix}{name} = {str(value)[:40]} is not supported; {supported} is")

    def _expected(self, name: str, value: Any, expected: str) -> None:
        given = "missing" if value is None else repr(value)[:40]
        self.problems.append(f"{self.prefix}{name} is {given}, expected {expected}")
