"""Mock interviews: begin one, save what is typed, judge it by the rubric, close it."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from teachllm.school.interview import Asked, Interview, InterviewConfig, Interviews
from teachllm.school.interview.grading import GradingFailed, grade
from teachllm.school.interview.interviews import Point, Verdict
from teachllm.school.language import Both, Lang
from teachllm.school.lesson import render_snippet
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter(prefix="/interviews")
Words = Annotated[str, StringConstraints(max_length=20_000)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class Choice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Annotated[str, StringConstraints(max_length=100)] | None = None
    chapters: list[int] = []
    topics: list[str] = []
    count: int = 8
    seconds: int = 120


class Typed(BaseModel):
    """All that stands in the fields of one question."""

    model_config = ConfigDict(extra="forbid")

    answer: Words
    followup: Words
    seconds: Seconds
    followup_seconds: Seconds
    stage: Literal["question", "followup", "answered"]


class Ticked(BaseModel):
    """For each point of the rubric, in its order: whether one said it."""

    model_config = ConfigDict(extra="forbid")

    points: list[bool]
    followup: list[bool]


@router.post("")
def start(studio: TheStudio, choice: Choice) -> dict[str, Any]:
    """``{"id"}``. Refused if the choice leaves too few questions."""
    config = InterviewConfig(
        choice.role or None,
        tuple(choice.chapters),
        tuple(choice.topics),
        choice.count,
        choice.seconds,
        secrets.randbelow(2**31),
    )
    return {"id": Interviews(studio.store).start(config)}


@router.get("/{number}")
def interview(studio: TheStudio, lang: TheLang, number: int) -> dict[str, Any]:
    """``{"id", "seconds", "finished", "model", "questions": […]}``.

    A question has its ``followup_html`` once its answer is given, its ``rubric`` once all are answered.
    ``model``: a connected model can judge.
    """
    held = Interviews(studio.store).get(number)
    answered = all(one.stage == "answered" for one in held.questions)
    return {
        "id": held.id,
        "seconds": held.config.seconds,
        "finished": held.finished is not None,
        "model": studio.model.connected() is not None,
        "questions": [_question(one, lang, answered) for one in held.questions],
    }


@router.put("/{number}/answers/{place}")
def save(studio: TheStudio, lang: TheLang, number: int, place: int, typed: Typed) -> dict[str, Any]:
    """Keeps what is typed; ``{"followup_html"}`` once the answer is given."""
    interviews = Interviews(studio.store)
    interviews.save(number, place, **typed.model_dump())
    card = _asked(interviews.get(number), place).card
    shown = card is not None and typed.stage != "question"
    return {
        "followup_html": render_snippet(card.followup_question.get(lang), lang) if card and shown else None
    }


@router.put("/{number}/verdicts/{place}")
def judge(studio: TheStudio, lang: TheLang, number: int, place: int, ticked: Ticked) -> dict[str, Any]:
    """One's own verdict: ``{"score"}``."""
    interviews = Interviews(studio.store)
    points, followup = _asked(interviews.get(number), place).rubric(lang)
    if (len(ticked.points), len(ticked.followup)) != (len(points), len(followup)):
        raise Refusal(422, Both("要点变了，刷新这一页再评。", "The points have changed; reload the page."))
    verdict = Verdict("self", _points(points, ticked.points), _points(followup, ticked.followup))
    interviews.judge(number, place, verdict)
    return {"score": verdict.score}


@router.post("/{number}/verdicts/{place}/model")
def judge_by_model(studio: TheStudio, lang: TheLang, number: int, place: int) -> dict[str, Any]:
    """The connected model's verdict: ``{"score", "points": [{"said", "quote"}], "followup": […]}``."""
    model = studio.model.connected()
    if model is None:
        raise Refusal(409, Both("没有接上能评分的模型。", "No model that could judge is connected."))
    if not studio.grader.passes(model, lang):
        raise Refusal(
            409,
            Both(
                "这个模型没有通过评分自测，请对照要点自己评。",
                "This model failed the self-test of judging; judge by the points yourself.",
            ),
        )
    interviews = Interviews(studio.store)
    asked = _asked(interviews.get(number), place)
    if asked.card is None:
        raise Refusal(409, Both("课程里没有这张卡片了。", "The course has this card no longer."))
    points, followup = asked.rubric(lang)
    try:
        verdict = Verdict(
            "model",
            grade(model, asked.card.question.get(lang), points, asked.answer, lang),
            grade(model, asked.card.followup_question.get(lang), followup, asked.followup, lang),
        )
    except GradingFailed as error:
        why = Both(f"模型没有评出来：{error}", f"The model gave no verdict: {error}")
        raise Refusal(502, why) from None
    interviews.judge(number, place, verdict)
    return {
        "score": verdict.score,
        "points": [{"said": one.said, "quote": one.quote} for one in verdict.points],
        "followup": [{"said": one.said, "quote": one.quote} for one in verdict.followup],
    }


@router.post("/{number}/finish")
def finish(studio: TheStudio, number: int) -> dict[str, Any]:
    """``{"back"}``: how many cards went back into the reviews."""
    return {"back": Interviews(studio.store).finish(number)}


@router.delete("/{number}")
def remove(studio: TheStudio, number: int) -> dict[str, Any]:
    if not Interviews(studio.store).remove(number):
        raise Refusal(404, Both("这场面试已经删了。", "This interview has been deleted."))
    return {"deleted": True}


def _asked(held: Interview, place: int) -> Asked:
    found = next((one for one in held.questions if one.place == place), None)
    if found is None:
        raise Refusal(404, Both("没有这道题。", "There is no such question."))
    return found


def _points(texts: tuple[str, ...], said: list[bool]) -> tuple[Point, ...]:
    return tuple(Point(text, one) for text, one in zip(texts, said, strict=True))


def _question(one: Asked, lang: Lang, answered: bool) -> dict[str, Any]:
    card = one.card
    rubric = one.rubric(lang) if answered else None
    verdict = one.verdict

    def html(text: str) -> str:
        return render_snippet(text, lang)

    return {
        "place": one.place,
        "lesson": one.lesson,
        "difficulty": card.difficulty if card else None,
        "question_html": html(card.question.get(lang)) if card else "",
        "followup_html": html(card.followup_question.get(lang)) if card and one.stage != "question" else None,
        "answer": one.answer,
        "followup": one.followup,
        "seconds": one.seconds,
        "followup_seconds": one.followup_seconds,
        "stage": one.stage,
        "rubric": rubric and [[html(text) for text in part] for part in rubric],
        "said": verdict and [[point.said for point in part] for part in (verdict.points, verdict.followup)],
    }
