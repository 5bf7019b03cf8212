"""The search page: the palette's hits, for who came here and for browsers without scripts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.language import Both, Lang
from teachllm.school.search import KIND_NAMES, Hit, search
from teachllm.school.web.pages.frame import page, without_choices
from teachllm.school.web.studio import studio_of

router = APIRouter()

MOST = 50
LONGEST = 200


@router.get("/search")
def search_page(request: Request, q: str = "") -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    query = q.strip()[:LONGEST]
    notes = studio.store.notes()
    hits = [_shown(hit, lang) for hit in search(query, lang, limit=MOST, notes=notes)]
    title = Both("搜索", "Search").get(lang)
    return page(request, "search", title=f"{title} · {query}" if query else title, query=query, hits=hits)


def _shown(hit: Hit, lang: Lang) -> dict[str, Any]:
    return {
        "title": " ".join(filter(None, (hit.lesson_id, hit.title))),
        "section": hit.section_title if hit.section_title != hit.title else "",
        "kind": KIND_NAMES[hit.kind].get(lang),
        "lang": hit.lang,
        "snippet": hit.snippet,
        "address": hit.address,
    }
