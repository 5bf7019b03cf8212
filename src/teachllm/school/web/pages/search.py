"""The search page: the palette's hits, for who came here and for browsers without scripts."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.language import Both
from teachllm.school.web.pages.frame import page, without_choices
from teachllm.school.web.studio import studio_of

router = APIRouter()

MOST = 50
LONGEST = 200
_KINDS = {
    "lesson": Both("课文", "lesson"),
    "card": Both("卡片", "card"),
    "code": Both("代码", "code"),
    "glossary": Both("术语", "term"),
    "note": Both("笔记", "note"),
}


@router.get("/search")
def search_page(request: Request, q: str = "") -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    from teachllm.school.search import search

    studio = studio_of(request)
    lang = studio.language(request)
    query = q.strip()[:LONGEST]
    notes = studio.store.notes()
    hits = [_shown(hit.to_json()) for hit in search(query, lang, limit=MOST, notes=notes)]
    title = Both("搜索", "Search").get(lang)
    return page(request, "search", title=f"{title} · {query}" if query else title, query=query, hits=hits)


def _shown(hit: dict[str, Any]) -> dict[str, Any]:
    title, section = hit["title"], hit.get("section_title")
    return {
        "title": f"{hit['lesson_id']} {title}" if hit.get("lesson_id") else title,
        "section": section if section != title else None,
        "kind": _KINDS.get(hit["kind"], Both.same(hit["kind"])),
        "lang": hit.get("lang"),
        "snippet": hit["snippet"],
        "address": _address(hit),
    }


def _address(hit: dict[str, Any]) -> str:
    if hit.get("url"):
        return hit["url"]
    anchor = f"#{quote(hit['anchor'])}" if hit.get("anchor") else ""
    return f"/lesson/{hit['lesson_id']}{anchor}"
