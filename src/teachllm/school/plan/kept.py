"""The plan in the learner's store: one row of JSON, validated when it is read."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, select

from teachllm.school.plan.plan import Plan
from teachllm.school.progress import Store, tables
from teachllm.school.progress.database import put

NAME = "plan"
SET_ASIDE = "plan-set-aside"
REMOVED = "plan-removed"
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
    return _is_there(store, SET_ASIDE)


def was_removed(store: Store) -> bool:
    """The learner gave up a plan and has made no new one: it can be brought back."""
    return _is_there(store, REMOVED)


def _is_there(store: Store, name: str) -> bool:
    kept = tables.settings
    with store.database.reading() as connection:
        return connection.execute(select(kept.c.name).where(kept.c.name == name)).first() is not None


def save_plan(store: Store, plan: Plan) -> None:
    with store.database.writing() as connection:
        put(connection, tables.settings, name=NAME, value=_PLAN.dump_python(plan, mode="json"))
        others = tables.settings.c.name.in_((SET_ASIDE, REMOVED))
        connection.execute(delete(tables.settings).where(others))


def remove_plan(store: Store) -> None:
    """Until there is a new one it can be brought back."""
    _rename(store, NAME, REMOVED)


def bring_back(store: Store) -> None:
    """Does nothing if there is none to bring back."""
    _rename(store, REMOVED, NAME)


def _rename(store: Store, name: str, other: str) -> None:
    kept = tables.settings
    with store.database.writing() as connection:
        row = connection.execute(select(kept.c.value).where(kept.c.name == name)).first()
        if row is not None:
            put(connection, kept, name=other, value=row.value)
            connection.execute(delete(kept).where(kept.c.name == name))
