"""Work put on days: reviews first, then one lesson after the other, thing by thing.

Pure and deterministic: the same wish, work and day give the same schedule. What was asked for is either on a
day or in ``unplaced``; no day holds more than the learner gives it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal, TypeAlias

from teachllm.school.plan.reviews import ASKED_AGAIN, MINUTES_A_CARD, after_learning
from teachllm.school.plan.wish import Wish
from teachllm.school.plan.work import Task

Kind: TypeAlias = Literal["reviews", "interview", "again", "lesson"]

FARTHEST = 1100
"""Days that a schedule looks ahead: three years."""
SHORTEST_PIECE = 25
"""Minutes. A thing that does not fit a day is cut only if the day has as much left."""
FAST_REVIEWS = 20
"""Minutes of reviews a day in the fast plan."""
STEADY_REVIEWS = 0.5
"""The share of a day that reviews may take in the steady plan; what is over waits for the next day."""
MOCK_MINUTES = 45
MOCK_DAYS = (1, 3, 7, 14, 21, 28)
"""Days before an interview on which one is rehearsed."""


@dataclass(frozen=True)
class Item:
    """Something to do on a day. ``begun`` and ``until``: the shares of a lesson's thing that this piece goes
    from and to. ``cards``: the reviews that are expected.

    ``again``: cards and sections of a lesson that an interview found weak.
    """

    day: date
    kind: Kind
    minutes: int
    lesson: str | None = None
    thing: str | None = None
    begun: float = 0.0
    until: float = 1.0
    cards: int = 0

    @property
    def is_whole(self) -> bool:
        return self.begun == 0.0 and self.until == 1.0


@dataclass(frozen=True)
class Schedule:
    """``unplaced``: what is left over at the last day, each task begun as far as it is placed."""

    items: tuple[Item, ...]
    unplaced: tuple[Task, ...]

    @property
    def missing(self) -> int:
        """Minutes."""
        return sum(task.left for task in self.unplaced)

    @property
    def end(self) -> date | None:
        """The last day with a lesson; ``None`` without any."""
        return max((item.day for item in self.items if item.kind == "lesson"), default=None)


@dataclass(frozen=True)
class Work:
    """``tasks`` in the order of learning, ``load``: reviews a day of the cards that are being learned,
    ``weak``: lessons to go over again, with the share that was missing. ``reviews_a_day``: at most.
    ``spent``: minutes of today that have been worked already.
    """

    tasks: Sequence[Task]
    load: Mapping[date, float]
    weak: Sequence[tuple[str, float]] = ()
    reviews_a_day: int = 200
    spent: int = 0


def schedule(wish: Wish, work: Work, today: date) -> Schedule:
    """From ``today``, or the start if that is later, to the last day of the plan."""
    waiting = [Task(lesson, "again", round(10 + 20 * weight)) for lesson, weight in work.weak]
    waiting = [task for task in [*waiting, *work.tasks] if task.left]
    load = dict(work.load)
    first = max(today, wish.start)
    overdue = sum(cards for day, cards in load.items() if day < first)
    rehearsals = _rehearsals(wish, first)
    items: list[Item] = []
    last = min(wish.last_day, first + timedelta(days=FARTHEST))
    day = first
    while day <= last and (waiting or wish.until is not None):
        given = wish.minutes_on(day)
        spent = work.spent if day == today else 0
        room = max(0, given - spent)
        overdue += load.get(day, 0.0)
        if room and day in rehearsals:
            items.append(Item(day, "interview", min(MOCK_MINUTES, room)))
            room -= items[-1].minutes
        if reviews := _reviews(wish, work, day, room, overdue):
            items.append(reviews)
            room -= reviews.minutes
            overdue = max(0.0, overdue - reviews.cards)
        untouched = spent == 0
        while waiting and room > 0:
            piece, rest = _piece(waiting[0], day, room, untouched)
            if piece is None:
                break
            items.append(piece)
            room -= piece.minutes
            untouched = False
            if rest is not None:
                waiting[0] = rest
                break
            for after in after_learning() if waiting[0].cards else ():
                due = day + timedelta(days=after)
                load[due] = load.get(due, 0.0) + waiting[0].cards
            del waiting[0]
        day += timedelta(days=1)
    return Schedule(tuple(items), tuple(waiting))


def _reviews(wish: Wish, work: Work, day: date, room: int, overdue: float) -> Item | None:
    """What of the cards that wait is done on this day."""
    most = FAST_REVIEWS if wish.style == "fast" else math.floor(room * STEADY_REVIEWS)
    a_card = MINUTES_A_CARD * ASKED_AGAIN
    cards = min(round(overdue), work.reviews_a_day, math.floor(min(most, room) / a_card))
    return Item(day, "reviews", math.ceil(cards * a_card), cards=cards) if cards > 0 else None


def _piece(task: Task, day: date, room: int, untouched: bool) -> tuple[Item | None, Task | None]:
    """What of a task is done in the room that is left, and what remains of it.

    ``untouched``: nothing was learned yet on this day, so it takes even a short piece: work must go on.
    """
    kind: Kind = "again" if task.thing == "again" else "lesson"
    thing = None if kind == "again" else task.thing
    if task.left <= room:
        return Item(day, kind, task.left, task.lesson, thing, task.begun, 1.0), None
    if room < SHORTEST_PIECE and not untouched:
        return None, task
    until = task.begun + (1 - task.begun) * room / task.left
    return Item(day, kind, room, task.lesson, thing, task.begun, until), replace(task, begun=until)


def _rehearsals(wish: Wish, first: date) -> set[date]:
    """Days of mock interviews: not in the first third of the time, when there is little to be asked about."""
    if wish.goal != "interview" or wish.until is None:
        return set()
    early = first + (wish.until - first) / 3
    days = (wish.until - timedelta(days=before) for before in MOCK_DAYS)
    return {day for day in days if day >= early}
