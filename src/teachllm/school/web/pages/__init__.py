"""The pages: HTML that reads well without scripts. ``error_page`` says what went wrong."""

from __future__ import annotations

from fastapi import APIRouter

from teachllm.school.web.pages import (
    cards,
    engine,
    home,
    interview,
    knowledge_map,
    lesson,
    plan,
    practice,
    runs,
    search,
    settings,
)
from teachllm.school.web.pages.errors import error_page

router = APIRouter(include_in_schema=False)
for part in (home, interview, cards, knowledge_map, lesson, plan, practice, search, settings, runs, engine):
    router.include_router(part.router)

__all__ = ["error_page", "router"]
