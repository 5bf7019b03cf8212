"""Search over lessons, cards, code, terms and notes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from teachllm.school.search import search as find
from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter(prefix="/search")
SHOWN = 20


@router.get("")
def search(studio: TheStudio, lang: TheLang, q: Annotated[str, Query(max_length=200)] = "") -> dict[str, Any]:
    """``{"hits": […]}``, best first: see :meth:`teachllm.school.search.Hit.to_json`."""
    hits = find(q, lang, limit=SHOWN, notes=studio.store.notes())
    return {"hits": [hit.to_json() for hit in hits]}
