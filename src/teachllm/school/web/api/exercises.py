"""Exercises: the hole in the code, drafts, submissions, hints one by one, the solution afterwards."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from teachllm.school.exercise import Exercise, exercise
from teachllm.school.language import Both
from teachllm.school.lesson import render_snippet
from teachllm.school.web.api.lessons import available
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import Studio, TheLang, TheStudio

router = APIRouter(prefix="/exercise/{lesson_id}")
MOST_CHARACTERS = 100_000
_SHOWN = 30


class Source(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: str = Field(max_length=MOST_CHARACTERS)


@router.get("")
def show(studio: TheStudio, lang: TheLang, lesson_id: str) -> dict[str, Any]:
    """The task, the stub, and what the learner has left here: draft and submissions, newest first."""
    task = exercise_of(studio, lesson_id)
    left = studio.store.exercise_state(lesson_id)
    return {
        "title": task.title.get(lang),
        "symbol": task.symbol,
        "task_html": render_snippet(task.task.get(lang), lang),
        "stub": task.stub,
        "draft": left.draft,
        "hints_count": len(task.hints),
        "try_it": task.try_it,
        "passed": left.passed,
        "submissions": [one.to_json(lang) for one in left.submissions[:_SHOWN]],
    }


@router.put("/draft")
def keep_draft(studio: TheStudio, lesson_id: str, draft: Source) -> dict[str, Any]:
    exercise_of(studio, lesson_id)
    studio.store.save_draft(lesson_id, draft.source)
    return {"saved": True}


@router.post("/submit")
async def submit(studio: TheStudio, lang: TheLang, lesson_id: str, solution: Source) -> dict[str, Any]:
    """The verdict. It is kept before it is told; a submission that was stopped is not kept."""

    def grade() -> dict[str, Any]:
        exercise_of(studio, lesson_id)
        studio.store.save_draft(lesson_id, solution.source)
        verdict = studio.submissions.grade(lesson_id, studio.runner.submit(lesson_id, solution.source))
        if verdict.status != "cancelled":
            studio.store.save_submission(lesson_id, solution.source, verdict)
        return verdict.to_json(lang)

    return await studio.submissions.waiting(grade)


@router.post("/cancel")
def cancel(studio: TheStudio, lesson_id: str) -> dict[str, Any]:
    return {"cancelled": studio.submissions.cancel(lesson_id)}


@router.get("/hint/{index}")
def hint(studio: TheStudio, lang: TheLang, lesson_id: str, index: int) -> dict[str, Any]:
    hints = exercise_of(studio, lesson_id).hints
    if not 0 <= index < len(hints):
        count = len(hints)
        raise Refusal(404, Both(f"一共 {count} 个提示。", f"There are {count} hints."))
    return {"html": render_snippet(hints[index].get(lang), lang)}


@router.get("/solution")
def solution(studio: TheStudio, lesson_id: str) -> dict[str, Any]:
    """The stack's own version, for those who have passed."""
    task = exercise_of(studio, lesson_id)
    if not studio.store.exercise_state(lesson_id).passed:
        why = Both(
            "先通过检查，再和课程的写法对照。",
            "Pass the checks first; then compare with the course's version.",
        )
        raise Refusal(403, why)
    return {"source": task.solution_source}


def exercise_of(studio: Studio, lesson_id: str) -> Exercise:
    """Refuses a lesson that has none."""
    lesson = available(studio, lesson_id)
    if not lesson.file("exercise.yaml").exists():
        why = Both(f"{lesson_id} 这一课没有练习。", f"Lesson {lesson_id} has no exercise.")
        raise Refusal(404, why)
    return exercise(lesson_id)
