"""An Anki package as own cards, with their pictures and with what Anki knows of their schedule."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from teachllm.school.cards.exchange.bring_in import Incoming
from teachllm.school.cards.exchange.faces import faces
from teachllm.school.cards.exchange.markup import markdown_of
from teachllm.school.cards.exchange.package import AnkiCard, Package
from teachllm.school.cards.own import OwnCard, UnsuitableCard
from teachllm.school.cards.own_text import MEDIA
from teachllm.school.cards.schedule import REVIEW_STATE, Memory
from teachllm.school.progress.place import learner_home

_KINDS = {b"\x89PNG\r\n": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"RIFF": "webp"}
_USUAL_DIFFICULTY = 5.0
_LONGEST = 36_500
"""Days; Anki's own limit of an interval."""


def media_folder() -> Path:
    return learner_home() / "card-media"


def cards_of_package(package: Package, *, keep_pictures: bool) -> tuple[list[Incoming], int]:
    """The cards, and how many have no question or no answer in words or pictures.

    Pictures are kept under a name made of their content. Sound and film are left out.
    """
    cards, unsuitable = [], 0
    names: dict[str, str | None] = {}
    for card in package.cards:
        question, answer = (_side(side, package, names, keep_pictures) for side in faces(card))
        try:
            own = _own(card, question, answer)
        except UnsuitableCard:
            unsuitable += 1
            continue
        changed = datetime.fromtimestamp(card.changed, UTC)
        cards.append(Incoming(own, memory_of(card, package.created), card.is_suspended, changed))
    return cards, unsuitable


def _own(card: AnkiCard, question: str, answer: str) -> OwnCard:
    guid = card.guid if card.place == 0 else f"{card.guid}:{card.place}"
    if len(guid) > 200:
        guid = hashlib.sha256(guid.encode()).hexdigest()
    return OwnCard(question, answer, topic=card.tags.split(" ")[0][:100], guid=guid)


def memory_of(card: AnkiCard, created: int) -> Memory | None:
    """``None`` for a card that Anki had not in review yet: it begins anew.

    Where FSRS was off in Anki, an interval is what its stability would be at a retention of 0.9, and the
    difficulty is a usual one.
    """
    if card.kind != 2 or card.interval <= 0:
        return None
    try:
        due = datetime.fromtimestamp(created, UTC) + timedelta(days=card.due)
        last = due - timedelta(days=min(card.interval, _LONGEST))
    except (OverflowError, ValueError, OSError):
        return None
    return Memory(
        state=REVIEW_STATE,
        step=None,
        stability=min(max(card.stability or float(card.interval), 0.001), _LONGEST),
        difficulty=min(max(card.difficulty or _USUAL_DIFFICULTY, 1.0), 10.0),
        due=due,
        last_review=last,
        reviews=max(1, min(card.reviews, 10**6)),
        lapses=max(0, min(card.lapses, 10**6)),
    )


def _side(html: str, package: Package, names: dict[str, str | None], keep_pictures: bool) -> str:
    text, pictures = markdown_of(html)
    for picture in pictures:
        if picture not in names:
            data = package.picture(picture)
            names[picture] = _kept(data, keep_pictures) if data else None
        kept = names[picture]
        text = text.replace(f"![]({MEDIA}{picture})", f"![]({MEDIA}{kept})" if kept else "")
    return text.strip()


def _kept(data: bytes, keep: bool) -> str | None:
    """The picture's name here; ``None`` for what is no picture of points, which runs nothing."""
    kind = next((kind for begin, kind in _KINDS.items() if data.startswith(begin)), None)
    if kind is None or (kind == "webp" and data[8:12] != b"WEBP"):
        return None
    name = f"{hashlib.sha256(data).hexdigest()[:32]}.{kind}"
    if keep:
        folder = media_folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        target = folder / name
        if not target.exists():
            beside = folder / f".{name}"
            beside.write_bytes(data)
            beside.replace(target)
    return name
