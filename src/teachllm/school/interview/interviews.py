"""Interviews as they are kept: each answer is saved as it is typed, so any can be taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from teachllm.school.cards.deck import Card, cards_known
from teachllm.school.course import load_course
from teachllm.school.interview.questions import InterviewConfig, choose
from teachllm.school.interview.rubric import points_of
from teachllm.school.language import Both, Lang
from teachllm.school.progress import Store, tables
from teachllm.school.progress.database import add
from teachllm.school.progress.errors import StoreError

WEAK = 0.6
"""A question with a lower score goes back into the reviews."""
STAGES = ("question", "followup", "answered")


class UnknownInterview(StoreError):
    """There is no such interview, or it has no such question."""


class InterviewOver(StoreError):
    """It is finished: its answers and verdicts stay as they are."""


class MovedOn(InterviewOver):
    """The question was answered in another window, which is further than this one."""


@dataclass(frozen=True)
class Point:
    """One point of a rubric: whether it was made, and with which words if a model says so."""

    text: str
    said: bool
    quote: str = ""


@dataclass(frozen=True)
class Verdict:
    """``by``: ``self`` or ``model``. Its points are kept as they were, whatever becomes of the card."""

    by: str
    points: tuple[Point, ...]
    followup: tuple[Point, ...]

    @property
    def score(self) -> float:
        """From 0 to 1; the follow-up is worth three tenths."""
        return 0.7 * share(self.points) + 0.3 * share(self.followup)

    @property
    def is_rote(self) -> bool:
        """The prepared answer came, and what stands behind it did not."""
        return share(self.points) >= 0.7 and share(self.followup) < 0.5

    @property
    def missing(self) -> list[str]:
        return [point.text for point in (*self.points, *self.followup) if not point.said]


@dataclass(frozen=True)
class Asked:
    """One question and what was answered; ``card`` is ``None`` if the course has it no longer."""

    place: int
    card_id: str
    card: Card | None
    answer: str
    followup: str
    seconds: float
    followup_seconds: float
    stage: str
    verdict: Verdict | None

    @property
    def lesson(self) -> str:
        return self.card_id.partition(":")[0]

    def rubric(self, lang: Lang) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The points of the answer and of the answer to the follow-up."""
        if self.card is None:
            return (), ()
        return points_of(self.card.answer.get(lang), lang), points_of(
            self.card.followup_answer.get(lang), lang
        )


@dataclass(frozen=True)
class Interview:
    id: int
    config: InterviewConfig
    started: datetime
    finished: datetime | None
    questions: tuple[Asked, ...]

    @property
    def score(self) -> float:
        """The mean over its questions; one that was not judged counts nothing."""
        scores = [one.verdict.score if one.verdict else 0.0 for one in self.questions]
        return sum(scores) / len(scores) if scores else 0.0


class Interviews:
    """Thread-safe. ``now`` is the present if it is not given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._database = store.database

    def start(self, config: InterviewConfig, now: datetime | None = None) -> int:
        """Chooses the questions; returns the interview's id. Raises :class:`TooFewQuestions`."""
        now = now or datetime.now(UTC)
        recent = {one.card_id for interview in self.all()[:2] for one in interview.questions}
        cards = choose(load_course(), config, recent)
        with self._database.writing() as connection:
            number = add(connection, tables.interviews, {"config": asdict(config), "started": now})
            blank = {"answer": "", "followup": "", "seconds": 0.0, "followup_seconds": 0.0}
            for place, card in enumerate(cards):
                values = {"interview": number, "place": place, "card": card.id, "stage": STAGES[0]}
                connection.execute(insert(tables.interview_answers).values(**values, **blank, changed=now))
        return number

    def get(self, number: int) -> Interview:
        """Raises :class:`UnknownInterview`."""
        found = self._read(number)
        if not found:
            raise _unknown(number)
        return found[0]

    def all(self) -> list[Interview]:
        """The newest first."""
        return self._read(None)

    def save(
        self,
        number: int,
        place: int,
        *,
        answer: str,
        followup: str,
        seconds: float,
        followup_seconds: float,
        stage: str,
    ) -> None:
        """What stands in the fields now. Raises :class:`UnknownInterview`, :class:`InterviewOver`.

        A question goes on and never back: a window left open must not undo what another has answered.
        """
        values = {
            "answer": answer,
            "followup": followup,
            "seconds": seconds,
            "followup_seconds": followup_seconds,
            "stage": stage,
            "changed": datetime.now(UTC),
        }
        answers = tables.interview_answers
        here = (answers.c.interview == number) & (answers.c.place == place)
        with self._database.writing() as connection:
            was = connection.execute(select(answers.c.stage).where(here)).scalar()
            if was is not None and STAGES.index(stage) < STAGES.index(was):
                raise MovedOn(
                    Both(
                        "这道题在另一个窗口里答过了，刷新这一页接着来。",
                        "This question was answered in another window; reload the page to go on.",
                    )
                )
            self._write(connection, number, place, values)

    def judge(self, number: int, place: int, verdict: Verdict) -> None:
        """A later verdict replaces an earlier one. Raises what :meth:`save` raises."""
        with self._database.writing() as connection:
            values = {"verdict": asdict(verdict), "changed": datetime.now(UTC)}
            self._write(connection, number, place, values)

    def finish(self, number: int, now: datetime | None = None) -> int:
        """Closes it; weak questions become due in the reviews. Returns how many.

        A question without a verdict counts as not answered. Finishing twice does nothing.
        """
        now = now or datetime.now(UTC)
        interview = self.get(number)
        if interview.finished is not None:
            return 0
        ended = update(tables.interviews).where(
            tables.interviews.c.id == number, tables.interviews.c.finished.is_(None)
        )
        with self._database.writing() as connection:
            if connection.execute(ended.values(finished=now)).rowcount == 0:
                return 0  # another window was first
        weak = [one.card_id for one in interview.questions if one.verdict is None or one.verdict.score < WEAK]
        return self._store.cards.bring_back(weak, now)

    def remove(self, number: int) -> bool:
        with self._database.writing() as connection:
            gone = delete(tables.interviews).where(tables.interviews.c.id == number)
            return connection.execute(gone).rowcount > 0

    def _write(self, connection: Connection, number: int, place: int, values: dict[str, Any]) -> None:
        held, answers = tables.interviews, tables.interview_answers
        row = connection.execute(select(held.c.finished).where(held.c.id == number)).first()
        if row is None:
            raise _unknown(number)
        if row.finished is not None:
            raise InterviewOver(
                Both("这场面试已经结束，不能再改。", "This interview is over; it cannot be changed.")
            )
        change = update(answers).where(answers.c.interview == number, answers.c.place == place)
        if connection.execute(change.values(**values)).rowcount == 0:
            raise _unknown(number)

    def _read(self, number: int | None) -> list[Interview]:
        held, answers = tables.interviews, tables.interview_answers
        which = select(held).order_by(held.c.id.desc())
        said = select(answers).order_by(answers.c.place)
        if number is not None:
            which, said = which.where(held.c.id == number), said.where(answers.c.interview == number)
        with self._database.reading() as connection:
            rows = list(connection.execute(which))
            by_interview: dict[int, list[Row[Any]]] = {}
            for row in connection.execute(said):
                by_interview.setdefault(row.interview, []).append(row)
        cards = _cards({row.card for found in by_interview.values() for row in found})
        return [
            Interview(
                row.id,
                _config(row.config),
                row.started,
                row.finished,
                tuple(_asked(one, cards.get(one.card)) for one in by_interview.get(row.id, [])),
            )
            for row in rows
        ]


def share(points: Sequence[Point]) -> float:
    """Of the points that were made."""
    return sum(point.said for point in points) / len(points) if points else 0.0


def _cards(ids: set[str]) -> dict[str, Card]:
    lessons = load_course().lessons
    wanted = {name.partition(":")[0] for name in ids} & lessons.keys()
    return {card.id: card for lesson in wanted for card in cards_known(lessons[lesson]) if card.id in ids}


def _config(kept: dict[str, Any]) -> InterviewConfig:
    lists: dict[str, Any] = {name: tuple(kept[name]) for name in ("chapters", "topics")}
    return InterviewConfig(**kept | lists)


def _asked(row: Row[Any], card: Card | None) -> Asked:
    verdict = row.verdict and Verdict(
        row.verdict["by"],
        tuple(Point(**point) for point in row.verdict["points"]),
        tuple(Point(**point) for point in row.verdict["followup"]),
    )
    return Asked(
        row.place,
        row.card,
        card,
        row.answer,
        row.followup,
        row.seconds,
        row.followup_seconds,
        row.stage,
        verdict or None,
    )


def _unknown(number: int) -> UnknownInterview:
    return UnknownInterview(
        Both(
            f"没有第 {number} 场面试，或者没有这道题。",
            f"There is no interview {number}, or no such question.",
        )
    )
