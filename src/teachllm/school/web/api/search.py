"""Search over lessons, cards, code, terms and notes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter(prefix="/search")
SHOWN = 20


@router.get("")
def search(studio: TheStudio, lang: TheLang, q: Annotated[str, Query(max_length=200)] = "") -> dict[str, Any]:
    """``{"hits": [{"kind", "title", "lesson_id", "anchor", "snippet", …}]}``, best first."""
    from teachllm.school.search import search as find

    return {"hits": [hit.to_json() for hit in find(q, lang, limit=SHOWN)]}
