"""Training runs: how far they are, their measures as they come, and asking one to stop."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from teachllm.school.web.event_stream import EventStream
from teachllm.school.web.studio import TheLang, TheStudio

# What reads runs is imported when it is needed: the studio's first page must not wait for its libraries.
router = APIRouter(prefix="/runs")


@router.get("")
def runs(studio: TheStudio, lang: TheLang) -> dict[str, Any]:
    """``{"runs": [row]}``, the latest first; a row is described at ``training_runs.rows``."""
    from teachllm.school.web.training_runs import rows

    return {"runs": rows(studio.runs, lang)}


@router.get("/{name}/events")
def events(studio: TheStudio, lang: TheLang, name: str) -> EventStream:
    """All that is known of the run, then what its files gain, until it ends: ``run_follower.Follower``."""
    from teachllm.school.web.run_follower import follow

    return EventStream(follow(studio.runs, studio.runs.run(name), lang))


@router.post("/{name}/stop")
def stop(studio: TheStudio, name: str) -> dict[str, Any]:
    """Asks the run to end with a checkpoint: ``{"stopping": true}``."""
    from teachllm.school.web import training_runs

    training_runs.stop(studio.runs.run(name))
    return {"stopping": True}
