"""What a learner did in a lesson: figures moved, labs run, code written and submitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from teachllm.school.language import Lang
from teachllm.school.progress import tables
from teachllm.school.progress.database import Database, add, put, put_first
from teachllm.school.progress.verdicts import from_kept, to_kept
from teachllm.school.runner.verdict import Verdict


@dataclass(frozen=True)
class Submission:
    id: int
    lesson: str
    source: str
    verdict: Verdict
    created: datetime

    @property
    def passed(self) -> bool:
        return self.verdict.passed

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {
            "id": self.id,
            "source": self.source,
            "verdict": self.verdict.to_json(lang),
            "created": self.created.isoformat(),
        }


@dataclass(frozen=True)
class ExerciseState:
    """``draft``: what stands in the editor, ``None`` before anything was typed. Newest first."""

    draft: str | None
    passed: bool
    submissions: list[Submission]


class Practice:
    database: Database

    def mark_moved(self, lesson: str, figure: str) -> None:
        with self.database.writing() as connection:
            put_first(connection, tables.figures_moved, lesson=lesson, figure=figure, at=datetime.now(UTC))

    def save_prediction(self, lesson: str, figure: str, given: Any, right: bool) -> None:
        """A later one replaces an earlier one."""
        with self.database.writing() as connection:
            put(
                connection,
                tables.predictions,
                lesson=lesson,
                figure=figure,
                given=given,
                right=right,
                at=datetime.now(UTC),
            )

    def predictions(self, lesson: str) -> dict[str, dict[str, Any]]:
        """``{figure: {"given", "right"}}``."""
        kept = tables.predictions
        statement = select(kept.c.figure, kept.c.given, kept.c.right).where(kept.c.lesson == lesson)
        with self.database.reading() as connection:
            return {
                figure: {"given": given, "right": right}
                for figure, given, right in connection.execute(statement)
            }

    def save_lab_run(
        self, lesson: str, lab: str, args: dict[str, Any], events: Sequence[dict[str, Any]], *, mine: bool
    ) -> None:
        """A finished run; it replaces the one before. ``mine``: with the learner's function in it."""
        with self.database.writing() as connection:
            put(
                connection,
                tables.lab_runs,
                lesson=lesson,
                lab=lab,
                args=args,
                events=list(events),
                mine=mine,
                finished=datetime.now(UTC),
            )

    def last_lab_run(self, lesson: str, lab: str) -> dict[str, Any] | None:
        """``{"args", "mine", "events", "finished"}``; ``None`` if none has finished."""
        runs = tables.lab_runs
        statement = select(runs.c.args, runs.c.mine, runs.c.events, runs.c.finished)
        with self.database.reading() as connection:
            row = connection.execute(statement.where(runs.c.lesson == lesson, runs.c.lab == lab)).first()
        if row is None:
            return None
        return {
            "args": row.args,
            "mine": row.mine,
            "events": row.events,
            "finished": row.finished.isoformat(),
        }

    def save_draft(self, lesson: str, source: str) -> None:
        with self.database.writing() as connection:
            put(connection, tables.drafts, lesson=lesson, source=source, at=datetime.now(UTC))

    def draft(self, lesson: str) -> str | None:
        drafts = tables.drafts
        with self.database.reading() as connection:
            return connection.execute(select(drafts.c.source).where(drafts.c.lesson == lesson)).scalar()

    def save_submission(self, lesson: str, source: str, verdict: Verdict) -> int:
        """Returns its id."""
        values = {
            "lesson": lesson,
            "source": source,
            "passed": verdict.passed,
            "verdict": to_kept(verdict),
            "created": datetime.now(UTC),
        }
        with self.database.writing() as connection:
            return add(connection, tables.submissions, values)

    def submissions(self, lesson: str, limit: int | None = None) -> list[Submission]:
        """Newest first."""
        made = tables.submissions
        statement = (
            select(made.c.id, made.c.lesson, made.c.source, made.c.verdict, made.c.created)
            .where(made.c.lesson == lesson)
            .order_by(made.c.created.desc(), made.c.id.desc())
            .limit(limit)
        )
        with self.database.reading() as connection:
            return [
                Submission(row.id, row.lesson, row.source, from_kept(row.verdict), row.created)
                for row in connection.execute(statement)
            ]

    def passed_source(self, lesson: str) -> str | None:
        """The last submission that passed."""
        made = tables.submissions
        statement = (
            select(made.c.source)
            .where(made.c.lesson == lesson, made.c.passed)
            .order_by(made.c.created.desc(), made.c.id.desc())
            .limit(1)
        )
        with self.database.reading() as connection:
            return connection.execute(statement).scalar()

    def lessons_passed(self) -> set[str]:
        """Those whose exercise was passed."""
        made = tables.submissions
        with self.database.reading() as connection:
            return set(connection.execute(select(made.c.lesson).where(made.c.passed).distinct()).scalars())

    def exercise_state(self, lesson: str, limit: int = 30) -> ExerciseState:
        """``limit`` is the most submissions to give."""
        return ExerciseState(
            draft=self.draft(lesson),
            passed=self.passed_source(lesson) is not None,
            submissions=self.submissions(lesson, limit),
        )
