"""What the page's scripts ask for. Each module is one subject; all answers are JSON or event streams."""

from __future__ import annotations

from fastapi import APIRouter

from teachllm.school.web.api import (
    card_files,
    cards,
    chat,
    endpoint,
    engine,
    exercises,
    figures,
    interviews,
    labs,
    model,
    notes,
    plan,
    progress,
    runs,
    search,
    settings,
    transfer,
)

router = APIRouter()
for part in (
    progress,
    notes,
    figures,
    labs,
    exercises,
    cards,
    card_files,
    interviews,
    plan,
    settings,
    transfer,
    search,
    model,
    endpoint,
    chat,
    runs,
    engine,
):
    router.include_router(part.router)
