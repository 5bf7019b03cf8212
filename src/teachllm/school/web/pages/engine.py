"""The engine at work: blocks, batches, requests, latencies."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.language import Both
from teachllm.school.web.engine_sources import sources
from teachllm.school.web.pages.frame import page, script_json, without_choices
from teachllm.school.web.studio import studio_of

router = APIRouter()


@router.get("/engine")
def engine_page(request: Request) -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    studio = studio_of(request)
    lang = studio.language(request)
    problem = studio.model.problem()
    found = [one.to_json(lang) for one in sources()]
    return page(
        request,
        "engine",
        title=Both("引擎", "Engine").get(lang),
        sources=found,
        problem=None if problem is None else problem.get(lang),
        start=script_json({"sources": found, "can_send": problem is None}),
    )
