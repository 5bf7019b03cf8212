"""The plan in the learner's store: one row of JSON, validated when it is read."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, select

from teachllm.school.plan.plan import Plan
from teachllm.school.progress import Store, tables
from teachllm.school.progress.database import put

NAME = "plan"
SET_ASIDE = "plan-set-aside"
_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def load_plan(store: Store) -> Plan | None:
    """A plan that cannot be read (damaged, or of a newer TeachLLM) is set aside: :func:`was_set_aside`."""
    kept = tables.settings
    with store.database.reading() as connection:
        row = connection.execute(select(kept.c.value).where(kept.c.name == NAME)).first()
    if row is None:
        return None
    try:
        return _PLAN.validate_python(row.value, strict=False)
    except ValidationError:
        with store.database.writing() as connection:
            put(connection, kept, name=SET_ASIDE, value=row.value)
            connection.execute(delete(kept).where(kept.c.name == NAME))
        return None


def was_set_aside(store: Store) -> bool:
    """There was a plan that could not be read, and no new one was made since."""
    kept = tables.settings
    with store.database.reading() as connection:
        return connection.execute(select(kept.c.name).where(kept.c.name == SET_ASIDE)).first() is not None


def save_plan(store: Store, plan: Plan) -> None:
    with store.database.writing() as connection:
        put(connection, tables.settings, name=NAME, value=to_json(plan))
        connection.execute(delete(tables.settings).where(tables.settings.c.name == SET_ASIDE))


def remove_plan(store: Store) -> None:
    with store.database.writing() as connection:
        connection.execute(delete(tables.settings).where(tables.settings.c.name.in_((NAME, SET_ASIDE))))


def to_json(plan: Plan) -> Any:
    return _PLAN.dump_python(plan, mode="json")
