"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _at(name: str = "at", *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _lesson() -> sa.Column[str]:
    return sa.Column("lesson", sa.String(16), primary_key=True)


def _named(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(200), primary_key=True)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON, nullable=False)


def upgrade() -> None:
    op.create_table("settings", _named("name"), _json("value"))
    op.create_table("sections_read", _lesson(), _named("anchor"), _at())
    op.create_table("positions", _lesson(), sa.Column("anchor", sa.String(200), nullable=False), _at())
    op.create_table("figures_moved", _lesson(), _named("figure"), _at())
    op.create_table("predictions", _lesson(), _named("figure"), _json("given"), _flag("right"), _at())
    op.create_table(
        "lab_runs", _lesson(), _named("lab"), _json("args"), _json("events"), _flag("mine"), _at("finished")
    )
    op.create_table("drafts", _lesson(), _text("source"), _at())
    op.create_table(
        "submissions",
        _id(),
        sa.Column("lesson", sa.String(16), nullable=False),
        _text("source"),
        _flag("passed"),
        _json("verdict"),
        _at("created"),
        sqlite_autoincrement=True,
    )
    op.create_index("submissions_by_lesson", "submissions", ["lesson", "id"])
    op.create_table("asked", _lesson(), _at())
    op.create_table(
        "notes",
        _id(),
        sa.Column("lesson", sa.String(16), nullable=False),
        sa.Column("anchor", sa.String(200), nullable=False),
        _text("quote"),
        _text("text"),
        _at("created"),
        _at("changed"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notes_lesson", "notes", ["lesson"])
    op.create_table("bookmarks", _lesson(), _named("anchor"), _at())
    op.create_table(
        "threads",
        _id(),
        _text("title"),
        sa.Column("context", sa.String(250)),
        _at("created"),
        _at("updated"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "messages",
        _id(),
        sa.Column("thread", sa.Integer, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        _text("text"),
        _at("created"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_messages_thread", "messages", ["thread"])
    op.create_table(
        "cards",
        sa.Column("id", sa.String(220), primary_key=True),
        sa.Column("lesson", sa.String(16), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("step", sa.Integer),
        sa.Column("stability", sa.Float),
        sa.Column("difficulty", sa.Float),
        _at("due"),
        _at("last_review", nullable=True),
        sa.Column("reviews", sa.Integer, nullable=False),
        _at("added"),
    )
    op.create_index("ix_cards_lesson", "cards", ["lesson"])
    op.create_index("ix_cards_due", "cards", ["due"])
    op.create_table(
        "reviews",
        _id(),
        sa.Column("card", sa.String(220), sa.ForeignKey("cards.id", ondelete="CASCADE"), nullable=False),
        sa.Column("rating", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        _json("before"),
        _flag("undone"),
        _at(),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reviews_card", "reviews", ["card"])
    op.create_index("ix_reviews_at", "reviews", ["at"])


def downgrade() -> None:
    raise NotImplementedError("a learner's data are never moved back")
