"""Cards as files: taken to Anki or a spreadsheet, brought from there, and the pictures that came along."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Base64Bytes, BaseModel, ConfigDict, StringConstraints
from starlette.responses import FileResponse, Response

from teachllm.school.cards.exchange import (
    anki_package,
    bring_in,
    cards_of_package,
    cards_of_table,
    media_folder,
    read_package,
    table_of,
)
from teachllm.school.language import Both
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import TheLang, TheStudio

router = APIRouter()
_PICTURE = re.compile(r"[0-9a-f]{32}\.(png|jpg|gif|webp)")


class Carried(BaseModel):
    """``file`` in base64; ``look``: only say what it would change."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(max_length=500)]
    file: Base64Bytes
    look: bool = False


@router.get("/card-files/anki")
def to_anki(studio: TheStudio, lang: TheLang) -> Response:
    return _download(anki_package(studio.store, lang), "application/zip", "teachllm.apkg")


@router.get("/card-files/table")
def to_table(studio: TheStudio) -> Response:
    cards = [card for _, card in studio.store.own_cards.all()]
    return _download(table_of(cards).encode(), "text/csv; charset=utf-8", "teachllm-cards.csv")


@router.post("/card-files/import")
def bring(studio: TheStudio, carried: Carried) -> dict[str, int]:
    """``{"added", "changed", "same", "of_course", "unsuitable"}``: numbers of cards."""
    if carried.name.lower().endswith((".apkg", ".colpkg")):
        cards, unsuitable = cards_of_package(read_package(carried.file), keep_pictures=not carried.look)
    else:
        cards, unsuitable = cards_of_table(carried.file)
    brought = bring_in(studio.store, cards, unsuitable, look=carried.look)
    return dict(vars(brought))


@router.get("/cards/media/{name}")
def picture(name: str) -> Response:
    path = media_folder() / name
    if not _PICTURE.fullmatch(name) or not path.is_file():
        raise Refusal(404, Both("没有这张图。", "There is no such picture."))
    return FileResponse(path, headers={"cache-control": "private, max-age=31536000, immutable"})


def _download(data: bytes, media_type: str, name: str) -> Response:
    headers: dict[str, Any] = {
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
    }
    return Response(data, media_type=media_type, headers=headers)
