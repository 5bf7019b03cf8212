"""Cards as an Anki package that every Anki since 2.1 opens: the legacy collection, with its schedule.

FSRS's stability and difficulty go where Anki keeps its own, so a card goes on there as it would have here.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from teachllm.school.cards.deck import Card
from teachllm.school.cards.exchange.bring_in import COURSE_GUID
from teachllm.school.cards.exchange.from_anki import media_folder
from teachllm.school.cards.exchange.markup import text_of
from teachllm.school.cards.own_text import MEDIA_ADDRESS
from teachllm.school.cards.reviews import CardState
from teachllm.school.cards.schedule import Memory
from teachllm.school.language import Lang
from teachllm.school.progress import Store

DECK = 1_764_000_000_001
MODEL = 1_764_000_000_002
"""Anki's ids of the deck and of the note type; the same in every export, so that later ones join them."""
_FIELDS = ("Question", "Answer", "Follow-up", "Follow-up answer")
_QUESTION = "{{Question}}"
_ANSWER = (
    '{{FrontSide}}<hr id="answer">{{Answer}}'
    "{{#Follow-up}}<hr><b>{{Follow-up}}</b><br>{{Follow-up answer}}{{/Follow-up}}"
)
_CSS = ".card { font: 18px/1.6 sans-serif; text-align: left; max-width: 42em; margin: auto; }"
_SCHEMA = """
create table col (id integer primary key, crt integer, mod integer, scm integer, ver integer, dty integer,
  usn integer, ls integer, conf text, models text, decks text, dconf text, tags text);
create table notes (id integer primary key, guid text, mid integer, mod integer, usn integer, tags text,
  flds text, sfld integer, csum integer, flags integer, data text);
create table cards (id integer primary key, nid integer, did integer, ord integer, mod integer, usn integer,
  type integer, queue integer, due integer, ivl integer, factor integer, reps integer, lapses integer,
  left integer, odue integer, odid integer, flags integer, data text);
create table revlog (id integer primary key, cid integer, usn integer, ease integer, ivl integer,
  lastIvl integer, factor integer, time integer, type integer);
create table graves (usn integer, oid integer, type integer);
create index ix_notes_usn on notes (usn);
create index ix_cards_usn on cards (usn);
create index ix_revlog_usn on revlog (usn);
create index ix_cards_nid on cards (nid);
create index ix_cards_sched on cards (did, queue, due);
create index ix_revlog_cid on revlog (cid);
create index ix_notes_csum on notes (csum);
"""


def anki_package(store: Store, lang: Lang, now: datetime | None = None) -> bytes:
    """All cards that are being learned and all own cards, in one language."""
    now = now or datetime.now(UTC)
    states = [one for one in store.cards.all_cards(now) if one.due is not None or one.card.is_own]
    memories = store.cards.memories()
    own = {number: (card.guid, card) for number, card in store.own_cards.all()}
    notes = []
    for one in states:
        guid = own[one.card.id][0] if one.card.id in own else f"{COURSE_GUID}{one.card.id}/{lang}"
        notes.append((guid, one, memories.get(one.card.id)))
    pictures: dict[str, bytes] = {}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("collection.anki2", _collection(notes, lang, now, pictures))
        for place, data in enumerate(pictures.values()):
            archive.writestr(str(place), data)
        archive.writestr("media", json.dumps({str(place): name for place, name in enumerate(pictures)}))
    return packed.getvalue()


def _collection(
    notes: Sequence[tuple[str, CardState, Memory | None]],
    lang: Lang,
    now: datetime,
    pictures: dict[str, bytes],
) -> bytes:
    # Day 0 is before every answer, so that no card is due on a day below it.
    created = now - timedelta(days=3650)
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(_SCHEMA)
        seconds = int(now.timestamp())
        connection.execute(
            "insert into col values (1, ?, ?, ?, 11, 0, 0, 0, ?, ?, ?, ?, '{}')",
            (
                int(created.timestamp()),
                seconds * 1000,
                seconds * 1000,
                json.dumps({"nextPos": len(notes) + 1, "curDeck": 1, "activeDecks": [1]}),
                json.dumps({str(MODEL): _model(seconds)}),
                json.dumps(
                    {
                        str(number): _deck(number, name, seconds)
                        for number, name in ((1, "Default"), (DECK, "TeachLLM"))
                    }
                ),
                json.dumps({"1": _deck_options()}),
            ),
        )
        first = seconds * 1000 - len(notes)
        for place, (guid, state, memory) in enumerate(notes):
            number = first + place
            fields = _fields(state.card, lang, pictures)
            connection.execute(
                "insert into notes values (?, ?, ?, ?, -1, ?, ?, ?, ?, 0, '')",
                (
                    number,
                    guid,
                    MODEL,
                    int(created.timestamp()),
                    _tags(state.card),
                    "\x1f".join(fields),
                    fields[0],
                    _sum(fields[0]),
                ),
            )
            connection.execute(
                "insert into cards values (?, ?, ?, 0, ?, -1, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?)",
                (number, number, DECK, seconds, *_schedule(state, memory, place, created)),
            )
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()


def _fields(card: Card, lang: Lang, pictures: dict[str, bytes]) -> tuple[str, str, str, str]:
    shown = card.to_json(lang)
    followup = shown["followup"] or {"question_html": "", "answer_html": ""}
    parts = (shown["question_html"], shown["answer_html"], followup["question_html"], followup["answer_html"])
    question, answer, then, its_answer = (_with_pictures(text_of(html), pictures) for html in parts)
    return question, answer, then, its_answer


def _with_pictures(html: str, pictures: dict[str, bytes]) -> str:
    """Anki finds pictures by their bare names."""
    for part in html.split(MEDIA_ADDRESS)[1:]:
        name = part.partition('"')[0]
        path = media_folder() / name
        if name not in pictures and "/" not in name and path.is_file():
            pictures[name] = path.read_bytes()
    return html.replace(MEDIA_ADDRESS, "")


def _tags(card: Card) -> str:
    tags = ["teachllm", card.lesson, card.topic, f"level-{card.difficulty}", *card.roles]
    return f" {' '.join(tag.replace(' ', '-') for tag in tags if tag)} "


def _sum(text: str) -> int:
    """Anki's checksum of a note's first field."""
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8], 16)


def _schedule(state: CardState, memory: Memory | None, place: int, created: datetime) -> tuple[object, ...]:
    """Type, queue, due, interval, factor, answers, lapses, steps left, and what FSRS in Anki keeps."""
    suspended = -1 if state.suspended else None
    if memory is None or memory.is_new or memory.stability is None:
        return 0, 0 if suspended is None else suspended, place + 1, 0, 0, 0, 0, 0, "{}"
    kept = json.dumps({"s": round(memory.stability, 4), "d": round(memory.difficulty or 5, 3), "dr": 0.9})
    if memory.kind == "learning":
        queue = 1 if suspended is None else suspended
        return 1, queue, int(memory.due.timestamp()), 0, 2500, memory.reviews, memory.lapses, 1001, kept
    interval = max(1, (memory.due - (memory.last_review or memory.due)).days)
    queue = 2 if suspended is None else suspended
    return 2, queue, (memory.due - created).days, interval, 2500, memory.reviews, memory.lapses, 0, kept


def _model(seconds: int) -> dict[str, object]:
    look = {"sticky": False, "rtl": False, "font": "Arial", "size": 20, "media": []}
    template = {
        "name": "Card 1",
        "qfmt": _QUESTION,
        "afmt": _ANSWER,
        "ord": 0,
        "did": None,
        "bqfmt": "",
        "bafmt": "",
    }
    return {
        "id": MODEL,
        "name": "TeachLLM",
        "type": 0,
        "mod": seconds,
        "usn": -1,
        "sortf": 0,
        "did": DECK,
        "tmpls": [template],
        "flds": [{"name": name, "ord": place, **look} for place, name in enumerate(_FIELDS)],
        "css": _CSS,
        "latexPre": "",
        "latexPost": "",
        "req": [[0, "any", [0]]],
        "tags": [],
        "vers": [],
    }


def _deck(number: int, name: str, seconds: int) -> dict[str, object]:
    today = {key: [0, 0] for key in ("newToday", "revToday", "lrnToday", "timeToday")}
    return {
        "id": number,
        "name": name,
        "mod": seconds,
        "usn": -1,
        "desc": "",
        "dyn": 0,
        "conf": 1,
        "collapsed": False,
        "browserCollapsed": False,
        "extendNew": 0,
        "extendRev": 0,
        **today,
    }


def _deck_options() -> dict[str, object]:
    new = {
        "bury": False,
        "delays": [1, 10],
        "initialFactor": 2500,
        "ints": [1, 4, 7],
        "order": 1,
        "perDay": 20,
    }
    lapse = {"delays": [10], "leechAction": 1, "leechFails": 8, "minInt": 1, "mult": 0}
    reviews = {"bury": False, "ease4": 1.3, "ivlFct": 1, "maxIvl": 36500, "perDay": 200, "hardFactor": 1.2}
    return {
        "id": 1,
        "name": "Default",
        "mod": 0,
        "usn": 0,
        "maxTaken": 60,
        "autoplay": True,
        "timer": 0,
        "replayq": True,
        "dyn": False,
        "new": new,
        "lapse": lapse,
        "rev": reviews,
    }
