"""An Anki package (.apkg) as it lies in its archive: notes, cards, how they are laid out, pictures.

Two forms are read: the legacy collection (``collection.anki2``, ``.anki21``: JSON in its rows) and the
present one (``collection.anki21b``: SQLite in zstd, protocol buffers in its rows). The file is a stranger's:
it is opened in memory, read only, and every size has a limit.
"""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zstandard

from teachllm.school.language import Both
from teachllm.school.progress.errors import StoreError

MOST_BYTES = 256 * 2**20
MOST_CARDS = 200_000
MOST_PICTURE = 8 * 2**20


class UnreadablePackage(StoreError):
    """The file is no Anki package, is damaged, or is too large. Nothing was changed."""


@dataclass(frozen=True)
class Template:
    question: str
    answer: str


@dataclass(frozen=True)
class NoteType:
    fields: tuple[str, ...]
    templates: tuple[Template, ...]
    is_cloze: bool


@dataclass(frozen=True)
class AnkiCard:
    """``due``: a day of the collection (``kind`` 2), or seconds since 1970 (``kind`` 1).

    ``interval``: days. ``kind``: 0 new, 1 learning, 2 review, 3 relearning.
    """

    guid: str
    changed: int
    note_type: NoteType
    fields: tuple[str, ...]
    tags: str
    place: int
    kind: int
    is_suspended: bool
    due: int
    interval: int
    reviews: int
    lapses: int
    stability: float | None
    difficulty: float | None


@dataclass(frozen=True)
class Package:
    """``created``: the moment of the collection's day 0, in seconds since 1970."""

    created: int
    cards: list[AnkiCard]
    archive: zipfile.ZipFile
    media: dict[str, str]
    is_packed: bool

    def picture(self, name: str) -> bytes | None:
        """``None`` if the package does not have it, or it is larger than :data:`MOST_PICTURE`."""
        entry = self.media.get(name)
        if entry is None or entry not in self.archive.namelist():
            return None
        if self.archive.getinfo(entry).file_size > MOST_PICTURE:
            return None
        data = self.archive.read(entry)
        return _unpacked(data, MOST_PICTURE) if self.is_packed else data


def read_package(data: bytes) -> Package:
    """Raises :class:`UnreadablePackage`."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise _too_large()
        names = set(archive.namelist())
        present = "collection.anki21b" in names
        found = next(
            name for name in ("collection.anki21b", "collection.anki21", "collection.anki2") if name in names
        )
        kept = archive.read(found)
        kept = _unpacked(kept, MOST_BYTES) if present else kept
        media = _media(archive, names, present)
        with _opened(kept) as connection:
            created = int(connection.execute("select crt from col").fetchone()[0])
            types = _present_types(connection) if present else _legacy_types(connection)
            cards = list(_cards(connection, types))
    except (
        zipfile.BadZipFile,
        StopIteration,
        sqlite3.Error,
        zstandard.ZstdError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RuntimeError,  # an encrypted entry
        NotImplementedError,
    ):
        raise UnreadablePackage(
            Both(
                "这不是 Anki 的 .apkg 文件，或者它坏了。在 Anki 里重新导出一次。",
                "This is no .apkg file of Anki, or it is damaged. Export it from Anki once more.",
            )
        ) from None
    return Package(created, cards, archive, media, present)


class _opened:
    """A database in memory; a stranger's schema may call no functions and write nothing."""

    def __init__(self, data: bytes) -> None:
        self._connection = sqlite3.connect(":memory:")
        # Anki's write-ahead log was merged before the export, and memory has no place for one.
        self._connection.deserialize(data[:18] + b"\x01\x01" + data[20:])
        self._connection.execute("pragma trusted_schema = off")
        self._connection.execute("pragma query_only = on")
        self._connection.create_collation(
            "unicase", lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower())
        )

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _cards(connection: sqlite3.Connection, types: dict[int, NoteType]) -> Iterator[AnkiCard]:
    rows = connection.execute(
        "select n.guid, n.mod, n.mid, n.flds, n.tags, c.ord, c.type, c.queue, c.due, c.ivl, c.reps, "
        "c.lapses, c.data, c.odid, c.odue from cards c join notes n on n.id = c.nid "
        "order by n.id, c.ord limit ?",
        (MOST_CARDS + 1,),
    )
    for count, row in enumerate(rows):
        if count == MOST_CARDS:
            raise _too_large()
        guid, changed, kind_of, fields, tags, place, kind, queue, due, interval, reviews, lapses, data = row[
            :13
        ]
        in_filtered_deck, due_at_home = row[13:]
        stability, difficulty = _memory(data)
        yield AnkiCard(
            str(guid),
            int(changed),
            types[kind_of],
            tuple(fields.split("\x1f")),
            tags.strip(),
            int(place),
            int(kind),
            queue == -1,
            int(due_at_home if in_filtered_deck and due_at_home else due),
            int(interval),
            int(reviews),
            int(lapses),
            stability,
            difficulty,
        )


def _memory(data: str | bytes | None) -> tuple[float | None, float | None]:
    """What FSRS in Anki kept with a card."""
    try:
        kept = json.loads(data or "{}")
        return float(kept["s"]), float(kept["d"])
    except (ValueError, KeyError, TypeError):
        return None, None


def _legacy_types(connection: sqlite3.Connection) -> dict[int, NoteType]:
    models = json.loads(connection.execute("select models from col").fetchone()[0])
    return {
        int(number): NoteType(
            tuple(field["name"] for field in model["flds"]),
            tuple(Template(one["qfmt"], one["afmt"]) for one in model["tmpls"]),
            model.get("type") == 1,
        )
        for number, model in models.items()
    }


def _present_types(connection: sqlite3.Connection) -> dict[int, NoteType]:
    types = {}
    for number, config in connection.execute("select id, config from notetypes"):
        fields = connection.execute("select name from fields where ntid = ? order by ord", (number,))
        templates = connection.execute("select config from templates where ntid = ? order by ord", (number,))
        types[number] = NoteType(
            tuple(name for (name,) in fields),
            tuple(
                Template(_text(message.get(1)), _text(message.get(2)))
                for message in (dict(protobuf(blob)) for (blob,) in templates)
            ),
            dict(protobuf(config)).get(1) == 1,
        )
    return types


def _media(archive: zipfile.ZipFile, names: set[str], is_packed: bool) -> dict[str, str]:
    """Names of pictures, and the entries of the archive in which they lie."""
    if "media" not in names:
        return {}
    kept = archive.read("media")
    if not is_packed:
        return {str(name): str(entry) for entry, name in json.loads(kept or b"{}").items()}
    entries = [value for number, value in protobuf(_unpacked(kept, MOST_BYTES)) if number == 1]
    return {_text(dict(protobuf(value)).get(1)): str(place) for place, value in enumerate(entries)}


def protobuf(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers, and bytes of what has a length. Raises :class:`ValueError`."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("a protocol buffer that is cut off")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        match tag & 7:
            case 0:
                yield tag >> 3, varint()
            case 2:
                length = varint()
                if at + length > len(data):
                    raise ValueError("a protocol buffer that is cut off")
                yield tag >> 3, data[at : at + length]
                at += length
            case 1 | 5 as fixed:
                at += 8 if fixed == 1 else 4
            case other:
                raise ValueError(f"a protocol buffer with wire type {other}")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else ""


def _unpacked(data: bytes, most: int) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        out = reader.read(most + 1)
    if len(out) > most:
        raise _too_large()
    return out


def _too_large() -> UnreadablePackage:
    return UnreadablePackage(
        Both(
            f"这个包展开后太大（最多 {MOST_BYTES >> 20} MB，{MOST_CARDS} 张卡片）。分成几个牌组导出。",
            f"Unpacked, this package is too large (at most {MOST_BYTES >> 20} MB and {MOST_CARDS} cards). "
            "Export its decks one by one.",
        )
    )
