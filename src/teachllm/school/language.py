"""Two languages, side by side: every text that a learner reads exists in Chinese and in English."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

Lang: TypeAlias = Literal["zh", "en"]
LANGUAGES: tuple[Lang, Lang] = ("zh", "en")


@dataclass(frozen=True, slots=True)
class Both:
    """One text in Chinese and in English: ``Both("温度", "temperature")``.

    Raises ``TypeError`` if either text is not a string.
    """

    zh: str
    en: str

    def __post_init__(self) -> None:
        if not isinstance(self.zh, str) or not isinstance(self.en, str):
            given = f"{type(self.zh).__name__} and {type(self.en).__name__}"
            raise TypeError(f"Both(zh, en) takes two strings, Chinese first; it was given {given}")

    def get(self, lang: Lang) -> str:
        return self.zh if lang == "zh" else self.en

    def __str__(self) -> str:
        return self.en

    @classmethod
    def same(cls, text: str) -> Both:
        """A text that is the same in both languages (a name, a formula)."""
        return cls(text, text)

    @classmethod
    def of(cls, value: Both | Mapping[str, str] | str) -> Both:
        """Reads ``{zh: …, en: …}`` from YAML; a plain string stands for both languages."""
        if isinstance(value, Both):
            return value
        if isinstance(value, str):
            return cls.same(value)
        if set(value) != {"zh", "en"}:
            raise ValueError(f"expected the two keys zh and en, found {sorted(value)}")
        return cls(value["zh"], value["en"])


Label: TypeAlias = Both | str


def say(text: Label, lang: Lang) -> str:
    """The text in the reader's language; a plain string is shown as it is."""
    return text.get(lang) if isinstance(text, Both) else text


def as_lang(text: str) -> Lang:
    """Checks a language code that came from outside (a cookie, a flag).

    Raises ``ValueError`` for anything but ``zh`` and ``en``.
    """
    if text not in LANGUAGES:
        raise ValueError(f"language must be zh or en, not {text!r}")
    return cast(Lang, text)


def terminal_language() -> Lang:
    """What the terminal's environment asks for; English if it says nothing."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
