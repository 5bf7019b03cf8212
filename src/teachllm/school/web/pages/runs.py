"""Training runs: all of them, and one of them live."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from teachllm.school.language import Both
from teachllm.school.web.pages.frame import page, script_json, without_choices
from teachllm.school.web.studio import studio_of

# What reads runs is imported when it is needed: the studio's first page must not wait for its libraries.
router = APIRouter()
EXAMPLE = "recipes/nano.toml"


@router.get("/runs")
def runs_page(request: Request) -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    from teachllm.school.web.training_runs import rows

    studio = studio_of(request)
    lang = studio.language(request)
    return page(
        request,
        "runs",
        title=Both("训练", "Training runs").get(lang),
        runs=rows(studio.runs, lang),
        folder=studio.runs.shown(studio.runs.path),
        example=EXAMPLE,
    )


@router.get("/runs/{name}")
def run_page(request: Request, name: str) -> Response:
    if (redirect := without_choices(request)) is not None:
        return redirect
    from teachllm.school.web import training_runs
    from teachllm.stack.pretraining.reasons import reason_zh

    studio = studio_of(request)
    lang = studio.language(request)
    folder = studio.runs.run(name)
    info = training_runs.read_run(folder)
    rows = training_runs.rows(studio.runs, lang)
    others = [row for row in rows if row["name"] != name]
    return page(
        request,
        "run",
        title=name,
        info=info,
        when=training_runs.when(info.created),
        run=next(row for row in rows if row["name"] == name),
        reason=info.reason_zh if lang == "zh" else info.reason,
        start=script_json({"name": name, "others": [row["name"] for row in others]}),
        folder=studio.runs.shown(folder),
        report=training_runs.data_report(folder),
        recipe=training_runs.recipe_of(folder),
        in_words=reason_zh if lang == "zh" else str,
    )
