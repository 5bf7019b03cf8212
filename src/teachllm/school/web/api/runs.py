"""Training runs: how far they are, their measures as they come, and asking one to stop."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from teachllm.school.web.event_stream import EventStream
from teachllm.school.web.studio import TheLang, TheStudio

# Reading a run loads PyTorch, for which the studio's first page must not wait: it is imported when needed.
router = APIRouter(prefix="/runs")


@router.get("")
def runs(studio: TheStudio, lang: TheLang) -> dict[str, Any]:
    """``{"runs": [row]}``, the latest first; a row is described at ``training_runs.rows``."""
    from teachllm.school.web.training_runs import rows

    return {"runs": rows(studio.runs, lang)}


@router.get("/{name}/events")
async def events(studio: TheStudio, lang: TheLang, name: str) -> EventStream:
    """All that is known of the run, then what its files gain, until it ends: ``run_follower.Follower``."""

    def load() -> Any:
        from teachllm.school.web.run_follower import follow

        return follow

    folder = await run_in_threadpool(studio.runs.run, name)
    follow = await run_in_threadpool(load)
    return EventStream(follow(studio.runs, folder, lang))


@router.post("/{name}/stop")
def stop(studio: TheStudio, name: str) -> dict[str, Any]:
    """Asks the run to end with a checkpoint: ``{"stopping": true}``."""
    from teachllm.school.web import training_runs

    training_runs.stop(studio.runs.run(name))
    return {"stopping": True}
