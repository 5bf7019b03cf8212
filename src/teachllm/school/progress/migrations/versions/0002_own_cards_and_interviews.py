"""Cards that are set aside or keep being forgotten, cards of one's own, interviews."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _at(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def upgrade() -> None:
    op.add_column("cards", sa.Column("lapses", sa.Integer, nullable=False, server_default="0"))
    op.add_column("cards", sa.Column("suspended", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("cards", _at("buried_until", nullable=True))
    op.execute(
        "UPDATE cards SET lapses = (SELECT count(*) FROM reviews WHERE reviews.card = cards.id "
        "AND reviews.kind = 'review' AND reviews.rating = 1 AND NOT reviews.undone)"
    )
    op.create_table(
        "own_cards",
        _id(),
        sa.Column("guid", sa.String(200), nullable=False),
        sa.Column("lesson", sa.String(16), nullable=True),
        sa.Column("anchor", sa.String(200), nullable=False),
        sa.Column("topic", sa.String(100), nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        _text("question"),
        _text("answer"),
        _at("created"),
        _at("changed"),
        _at("deleted", nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("own_cards_by_guid", "own_cards", ["guid"], unique=True)
    op.create_table(
        "interviews",
        _id(),
        sa.Column("config", sa.JSON, nullable=False),
        _at("started"),
        _at("finished", nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "interview_answers",
        sa.Column(
            "interview", sa.Integer, sa.ForeignKey("interviews.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("card", sa.String(220), nullable=False),
        _text("answer"),
        _text("followup"),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("followup_seconds", sa.Float, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("verdict", sa.JSON, nullable=True),
        _at("changed"),
    )


def downgrade() -> None:
    raise NotImplementedError("a learner's data are never moved back")
