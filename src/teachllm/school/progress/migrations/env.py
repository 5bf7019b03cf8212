"""Run by Alembic: on the connection and in the transaction of :mod:`teachllm.school.progress.migrate`."""

from __future__ import annotations

from alembic import context

from teachllm.school.progress.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True
)
context.run_migrations()
