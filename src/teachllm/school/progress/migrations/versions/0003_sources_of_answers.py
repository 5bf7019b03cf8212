"""What kind of answer a message is, and the places of the course that it rests on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("reply", sa.JSON, nullable=True))


def downgrade() -> None:
    raise NotImplementedError("a learner's data are never moved back")
