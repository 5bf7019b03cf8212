"""The learner's settings."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from teachllm.school.web.studio import TheStudio

router = APIRouter(prefix="/settings")


@router.get("")
def settings(studio: TheStudio) -> dict[str, Any]:
    return studio.store.settings()


@router.post("")
def change(studio: TheStudio, values: dict[str, Any]) -> dict[str, Any]:
    """Some of them by name: ``{"theme": "dark"}``. All are kept, or none."""
    studio.store.save_settings(**values)
    return studio.store.settings()
