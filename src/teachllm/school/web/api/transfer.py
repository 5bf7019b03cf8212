"""A learner's data as a file: taken along, looked at, merged, and brought back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Base64Bytes, BaseModel, ConfigDict, StringConstraints
from starlette.responses import Response

from teachllm.school.language import Both, Lang
from teachllm.school.transfer import Merged, backups, import_archive, read_archive, read_rows
from teachllm.school.transfer.archive import pack, unpack
from teachllm.school.transfer.words import THINGS
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter(prefix="/transfer")


class Carried(BaseModel):
    """``file``: what `/export` gave, in base64. ``look``: only say what it would change."""

    model_config = ConfigDict(extra="forbid")

    file: Base64Bytes
    look: bool = False


class Backup(BaseModel):
    model_config = ConfigDict(extra="forbid")

    backup: Annotated[str, StringConstraints(max_length=200)]


@router.get("/export")
def take_along(studio: TheStudio) -> Response:
    name = f"teachllm-{datetime.now():%Y-%m-%d}.teachllm"
    return Response(
        pack(read_rows(studio.store)),
        media_type="application/gzip",
        headers={"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"},
    )


@router.post("/import")
def bring(studio: TheStudio, lang: TheLang, carried: Carried) -> dict[str, Any]:
    merged = import_archive(studio.store, unpack(carried.file), dry_run=carried.look)
    return _told(merged, lang)


@router.post("/undo")
def undo(studio: TheStudio, lang: TheLang, backup: Backup) -> dict[str, Any]:
    """Brings back what was there before the import that made this backup."""
    kept = next((path for path in backups() if path.name == backup.backup), None)
    if kept is None:
        raise Refusal(404, Both("这份备份不在了。", "This backup is not there any more."))
    return _told(import_archive(studio.store, read_archive(kept), replace=True), lang)


def _told(merged: Merged, lang: Lang) -> dict[str, Any]:
    changes = [
        {"name": THINGS[name].get(lang), "added": change.added, "changed": change.changed}
        for name, change in merged.changes.items()
        if change.added or change.changed
    ]
    return {"changes": changes, "backup": merged.backup.name if merged.backup else None}
