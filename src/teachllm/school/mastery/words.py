"""How mastery is spoken of, on every page and in the terminal."""

from __future__ import annotations

from teachllm.school.language import Both
from teachllm.school.mastery.formula import Level, Mastery

LEVEL_NAMES: dict[Level, Both] = {
    "untouched": Both("还没开始", "not begun"),
    "begun": Both("刚开始", "begun"),
    "learning": Both("在学", "learning"),
    "mastered": Both("掌握了", "mastered"),
    "fading": Both("在淡忘", "fading"),
}


def level_and_value(mastery: Mastery) -> Both:
    """``learning, 0.62``; the value only where there is something to it."""
    name = LEVEL_NAMES[mastery.level]
    if mastery.level == "untouched":
        return name
    return Both(f"{name.zh}，{mastery.value:.2f}", f"{name.en}, {mastery.value:.2f}")
