"""The endpoint that answers and grades: kept, tried out, removed. Its key goes in and never comes out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from teachllm.school.language import Both
from teachllm.school.progress.place import learner_home
from teachllm.school.tutor.endpoint import (
    Endpoint,
    EndpointError,
    changed,
    read_endpoint,
    remove_endpoint,
    save_endpoint,
)
from teachllm.school.tutor.trials import try_out
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter(prefix="/endpoint")


class Wanted(BaseModel):
    """An empty ``key`` keeps the saved one, if the address is the same."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, Field(max_length=500)]
    model: Annotated[str, Field(max_length=300)]
    key: Annotated[str, Field(max_length=5000)] = ""


@router.get("")
def show() -> dict[str, Any]:
    """``{"endpoint": {"url", "model", "key_ends_in"}}``, or ``None`` for it."""
    return {"endpoint": _shown(read_endpoint(learner_home()))}


@router.put("")
def keep(wanted: Wanted) -> dict[str, Any]:
    home = learner_home()
    try:
        endpoint = changed(read_endpoint(home), wanted.url, wanted.model, wanted.key)
    except EndpointError as error:
        raise Refusal(400, error.why) from None
    save_endpoint(home, endpoint)
    return {"endpoint": _shown(endpoint)}


@router.delete("")
def remove() -> dict[str, Any]:
    return {"deleted": remove_endpoint(learner_home())}


@router.post("/test")
async def test(studio: TheStudio, lang: TheLang) -> dict[str, Any]:
    """Asks it a few small questions: ``{"trials": [{"name", "passed", "message", "seconds"}]}``."""
    model = await run_in_threadpool(studio.model.connected)
    if model is None:
        raise Refusal(409, Both("还没有接上模型。", "No model is connected yet."))
    trials = await run_in_threadpool(try_out, model, lang)
    return {"trials": [one.to_json(lang) for one in trials]}


def _shown(endpoint: Endpoint | None) -> dict[str, Any] | None:
    if endpoint is None:
        return None
    return {"url": endpoint.url, "model": endpoint.model, "key_ends_in": endpoint.key_ends_in}
