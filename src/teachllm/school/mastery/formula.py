"""From evidence to mastery: a weighted mean of five shares, one of which fades.

    mastery = Σ weight · share,    Σ weight = 1 over the parts that the lesson has

The shares of reading, moving, running and writing stay: they are things that one did. The share of the cards
is what FSRS expects one to recall *now*, so it falls from day to day, and mastery with it. Asking a question
is no evidence.

Weights say how hard the evidence is: recalling weeks later and writing the function that passes the checks
are what an interview asks for; reading a page is only the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, TypeAlias, get_args

from teachllm.school.cards.schedule import REVIEW_STATE, Memory, retrievability
from teachllm.school.language import Both

Level: TypeAlias = Literal["untouched", "begun", "learning", "mastered", "fading"]
LEVELS: tuple[Level, ...] = get_args(Level)

WEIGHTS = {"read": 0.20, "moved": 0.10, "ran": 0.10, "wrote": 0.25, "recalled": 0.35}
PART_NAMES = {
    "read": Both("读", "read"),
    "moved": Both("动", "move"),
    "ran": Both("跑", "run"),
    "wrote": Both("写", "write"),
    "recalled": Both("记", "recall"),
}
RETAINED = 0.85
"""Of the cards, on average, at which a lesson counts as retained. FSRS asks again at 0.9, so a lesson whose
cards are answered when they are due never falls below."""
LEARNING = 0.5
"""Mastery from which on a lesson is being learned rather than begun, and carries those that need it."""
FIRST_STEPS = 0.5
"""What a card counts that was answered but has not been kept over a day yet (or was just forgotten)."""
FARTHEST = timedelta(days=3650)


@dataclass(frozen=True)
class Part:
    """``share`` and ``weight`` from 0 to 1; ``why``: what the share counts, such as "3 of 5 sections"."""

    name: str
    share: float
    weight: float
    why: Both

    @property
    def title(self) -> Both:
        return PART_NAMES[self.name]

    @property
    def points(self) -> float:
        return self.weight * self.share


@dataclass(frozen=True)
class Mastery:
    """``value`` from 0 to 1 is the sum of the points of its parts; a planned lesson has none.

    ``fading_on``: for a mastered lesson, the day on which its cards fall below :data:`RETAINED` if none is
    reviewed until then. ``weakest``: the part that would add most; ``None`` for an untouched and a mastered
    lesson.
    """

    value: float
    level: Level
    parts: tuple[Part, ...] = ()
    fading_on: date | None = None
    weakest: str | None = None


@dataclass(frozen=True)
class Counted:
    """``done`` of ``total`` things; a lesson that has none of a kind (``total`` 0) is not judged by it."""

    done: int
    total: int


@dataclass(frozen=True)
class Evidence:
    """What there is to know a learner's mastery of one lesson by.

    ``wrote``: ``None`` if the lesson has no exercise; ``tried`` counts attempts before the first that passed.
    ``cards``: what FSRS knows of each card of the lesson, ``None`` for one that was never taken in.
    Suspended cards are among them, ``suspended`` of them: who sets a card aside goes on forgetting it.
    ``asked`` alone makes a lesson begun.
    """

    read: Counted
    moved: Counted
    ran: Counted
    wrote: bool | None
    tried: bool
    cards: Sequence[Memory | None]
    asked: bool = False
    suspended: int = 0


NO_EVIDENCE = Mastery(0.0, "untouched")


def mastery(evidence: Evidence, now: datetime) -> Mastery:
    """Pure: the same evidence at the same time is the same mastery."""
    parts = _parts(evidence, now)
    if not parts:
        return NO_EVIDENCE
    value = sum(part.points for part in parts)
    did = [part.share >= 1 for part in parts if part.name != "recalled"]
    learned = all(card is not None and card.stability and _kept_once(card) for card in evidence.cards)
    level: Level
    if value == 0 and not evidence.tried and not evidence.asked:
        level = "untouched"
    elif all(did) and learned:
        level = "mastered" if recall(evidence.cards, now) >= RETAINED else "fading"
    else:
        level = "learning" if value >= LEARNING else "begun"
    missing = {part.name: part.weight - part.points for part in parts}
    weakest = max(missing, key=lambda name: missing[name])
    return Mastery(
        value=value,
        level=level,
        parts=tuple(parts),
        fading_on=_fading_on(evidence.cards, now) if level == "mastered" else None,
        weakest=None if level in ("untouched", "mastered") else weakest,
    )


def recall(cards: Sequence[Memory | None], now: datetime) -> float:
    """The mean over the cards of the probability to recall each at ``now``; 1 if there are no cards."""
    return sum(_strength(card, now) for card in cards) / len(cards) if cards else 1.0


def _strength(card: Memory | None, now: datetime) -> float:
    """Minutes after an answer FSRS expects sure recall; that a card lasts is known from its second day on."""
    if card is None:
        return 0.0
    return retrievability(card, now) * (1.0 if card.state == REVIEW_STATE else FIRST_STEPS)


def _kept_once(card: Memory) -> bool:
    """It was learned for good at least once, whether or not it was forgotten since."""
    return card.state == REVIEW_STATE or card.lapses > 0


def _fading_on(cards: Sequence[Memory | None], now: datetime) -> date | None:
    """The first day on which they are not retained; ``None`` if that is more than ten years away."""
    return _first_day(lambda days: recall(cards, now + timedelta(days=days)) < RETAINED, now)


def _first_day(holds: Callable[[int], bool], now: datetime) -> date | None:
    """By bisection: recall only falls while nobody reviews."""
    low, high = 0, FARTHEST.days
    if not holds(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return (now + timedelta(days=high)).astimezone().date()


def _parts(evidence: Evidence, now: datetime) -> list[Part]:
    """Those that the lesson has, in the order in which one does them."""
    found: list[tuple[str, float, Both]] = []
    for name, counted, zh, en in (
        ("read", evidence.read, "读过 {done} / {total} 节", "{done} of {total} sections read"),
        ("moved", evidence.moved, "动过 {done} / {total} 张图", "{done} of {total} figures moved"),
        ("ran", evidence.ran, "跑过 {done} / {total} 个实验", "{done} of {total} labs run"),
    ):
        if counted.total:
            numbers = {"done": counted.done, "total": counted.total}
            why = Both(zh.format(**numbers), en.format(**numbers))
            found.append((name, counted.done / counted.total, why))
    if evidence.wrote is not None:
        found.append(("wrote", float(evidence.wrote), _why_wrote(evidence.wrote, evidence.tried)))
    if evidence.cards:
        found.append(
            ("recalled", recall(evidence.cards, now), _why_recalled(evidence.cards, evidence.suspended))
        )
    whole = sum(WEIGHTS[name] for name, _, _ in found)
    return [Part(name, share, WEIGHTS[name] / whole, why) for name, share, why in found]


def _why_wrote(passed: bool, tried: bool) -> Both:
    if passed:
        return Both("练习通过了", "the exercise passed")
    if tried:
        return Both("交过，还没通过", "submitted, not passed yet")
    return Both("练习还没写", "the exercise is not written yet")


def _why_recalled(cards: Sequence[Memory | None], suspended: int) -> Both:
    seen = sum(card is not None and card.reviews > 0 for card in cards)
    if not seen:
        return Both(f"{len(cards)} 张卡片都还没答过", f"none of {len(cards)} cards answered yet")
    aside = Both("", "")
    if suspended:
        aside = Both(f"；搁下的 {suspended} 张也会淡忘", f"; {suspended} set aside, which fade all the same")
    return Both(
        f"答过 {seen} / {len(cards)} 张卡片；份额是今天想得起每张的平均概率{aside.zh}",
        f"{seen} of {len(cards)} cards answered; share: the mean chance to recall one today{aside.en}",
    )
