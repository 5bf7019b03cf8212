"""Figures: drawn again as the learner moves them, after a prediction that is judged and kept."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from teachllm.school.figures import ControlError, FigureSpec
from teachllm.school.figures.failure import described
from teachllm.school.language import Both, Lang
from teachllm.school.lesson import load_lesson
from teachllm.school.web.api.lessons import available, declared
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import Studio, TheLang, TheStudio

router = APIRouter(prefix="/figure/{lesson_id}/{name}")
GAVE_UP = 499


class Moved(BaseModel):
    model_config = ConfigDict(extra="forbid")

    args: dict[str, Any] = {}


class Guess(BaseModel):
    model_config = ConfigDict(extra="forbid")

    answer: Any


@router.post("")
async def draw(
    request: Request, studio: TheStudio, lang: TheLang, lesson_id: str, name: str, moved: Moved
) -> Response:
    """``{"charts": […]}`` for the given values of the controls."""
    drawn = await studio.drawing.run(request, lambda: _draw(studio, lang, lesson_id, name, moved.args))
    return Response(status_code=GAVE_UP) if drawn is None else JSONResponse(drawn)


@router.post("/predict")
async def predict(
    studio: TheStudio, lang: TheLang, lesson_id: str, name: str, guess: Guess
) -> dict[str, Any]:
    """``{"right", "answer", "answer_text", "off_by", "explain", "given"}``; it is kept."""

    def judge() -> dict[str, Any]:
        spec = figure_of(studio, lesson_id, name)
        if spec.predict is None:
            why = Both(f"图 {name} 没有要猜的问题。", f"Figure {name} asks for no prediction.")
            raise Refusal(404, why)
        judgement = _computed(name, lambda: spec.judge(guess.answer, lang))
        studio.store.save_prediction(lesson_id, name, guess.answer, judgement["right"])
        return {**judgement, "given": guess.answer}

    return await run_in_threadpool(judge)


def figure_of(studio: Studio, lesson_id: str, name: str) -> FigureSpec:
    available(studio, lesson_id)
    return declared(Both("图", "figure"), name, load_lesson(lesson_id).figures)


def _draw(studio: Studio, lang: Lang, lesson_id: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
    spec = figure_of(studio, lesson_id, name)
    charts = _computed(name, lambda: spec.draw(args, lang))
    if any(args.get(one.name, one.default) != one.default for one in spec.parameters):
        studio.store.mark_moved(lesson_id, name)
    return charts


def _computed(name: str, compute: Any) -> dict[str, Any]:
    """A failure of the figure's own code is told as what it is."""
    try:
        return compute()
    except (ControlError, Refusal):
        raise
    except Exception as error:
        why = described(error)
        text = Both(f"图 {name} 算到一半出错了：{why.zh}", f"Figure {name} failed: {why.en}")
        raise Refusal(500, text) from error
