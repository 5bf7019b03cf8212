"""What the page's scripts ask for. Each module is one subject; all answers are JSON or event streams."""

from __future__ import annotations

from fastapi import APIRouter

from teachllm.school.web.api import (
    cards,
    chat,
    engine,
    exercises,
    figures,
    labs,
    model,
    notes,
    progress,
    runs,
    search,
    settings,
)

router = APIRouter()
for part in (progress, notes, figures, labs, exercises, cards, settings, search, model, chat, runs, engine):
    router.include_router(part.router)
