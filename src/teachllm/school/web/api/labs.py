"""Labs: started with the learner's settings, followed event by event, stopped by a click or by leaving."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from teachllm.school.language import Both
from teachllm.school.lesson import load_lesson
from teachllm.school.web.api.lessons import available, declared
from teachllm.school.web.event_log import Event, compacted
from teachllm.school.web.event_stream import EventStream
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import Studio, TheLang, TheStudio

router = APIRouter(prefix="/lab")


class Start(BaseModel):
    """``mine``: with the learner's passed function in the place of the stack's."""

    model_config = ConfigDict(extra="forbid")

    args: dict[str, Any] = {}
    mine: bool = False


@router.get("/run/{run_id}/events")
def events(studio: TheStudio, run_id: str) -> EventStream:
    """The run from its beginning, then as it goes on. When its last follower has left, it is stopped."""
    log = studio.labs.log(run_id)
    if log is None:
        raise Refusal(404, _NO_RUN)
    return EventStream(log.follow())


@router.post("/run/{run_id}/cancel")
def cancel(studio: TheStudio, run_id: str) -> dict[str, Any]:
    if not studio.labs.cancel(run_id):
        raise Refusal(404, _NO_RUN)
    return {"cancelled": True}


@router.post("/{lesson_id}/{name}")
async def start(studio: TheStudio, lang: TheLang, lesson_id: str, name: str, wanted: Start) -> dict[str, Any]:
    """``{"run": id}``."""

    def begin() -> str:
        available(studio, lesson_id)
        declared(Both("实验", "lab"), name, load_lesson(lesson_id).labs)
        replace = _function_of_learner(studio, lesson_id, name) if wanted.mine else {}

        def keep(events: list[Event]) -> None:
            kept = compacted(events)
            studio.store.save_lab_run(lesson_id, name, wanted.args, kept, mine=wanted.mine)

        return studio.labs.start(lesson_id, name, wanted.args, lang, replace, keep)

    return {"run": await run_in_threadpool(begin)}


@router.get("/{lesson_id}/{name}/last")
def last(studio: TheStudio, lesson_id: str, name: str) -> dict[str, Any] | None:
    """``{"args", "mine", "events", "finished"}`` of the last finished run; ``null`` if there is none."""
    available(studio, lesson_id)
    return studio.store.last_lab_run(lesson_id, name)


_NO_RUN = Both("这次运行已经不在了，重新运行一次。", "This run is gone; run it again.")


def _function_of_learner(studio: Studio, lesson_id: str, name: str) -> dict[str, str]:
    """The symbol that the exercise cut out, and the learner's last solution that passed."""
    exercise = load_lesson(lesson_id).exercise
    if exercise.try_it != name:
        why = Both(f"实验 {name} 用不到这一课的函数。", f"Lab {name} does not use this lesson's function.")
        raise Refusal(409, why)
    source = studio.store.passed_source(lesson_id)
    if source is None:
        why = Both(
            "你的函数还没有通过检查，先在“写”那一节提交一次。",
            "Your function has not passed yet: submit it in the section “Write” first.",
        )
        raise Refusal(409, why)
    return {exercise.symbol: source}
