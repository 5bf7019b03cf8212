"""Own cards as a table (CSV), for any spreadsheet, and back."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator

from teachllm.school.cards.exchange.bring_in import Incoming
from teachllm.school.cards.own import OwnCard, UnsuitableCard
from teachllm.school.language import Both
from teachllm.school.progress.errors import StoreError

COLUMNS = ("question", "answer", "lesson", "topic", "level", "guid")
MOST_ROWS = 200_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would compute a cell that begins with one of these."""


class UnreadableTable(StoreError):
    """The file is no table of cards. Nothing was changed."""


def table_of(cards: list[OwnCard]) -> str:
    """CSV with a byte-order mark, without which Excel reads Chinese as something else."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for card in cards:
        cells = (card.question, card.answer, card.lesson or "", card.topic, str(card.level), card.guid)
        writer.writerow([_safe(cell) for cell in cells])
    return "\ufeff" + out.getvalue()


def cards_of_table(data: bytes) -> tuple[list[Incoming], int]:
    """The cards, and how many rows have no question or no answer.

    The first row names the columns, of which ``question`` and ``answer`` are needed; without such a row the
    first two columns are these. Comma, semicolon and tab are understood. Raises :class:`UnreadableTable`.
    """
    text = _decoded(data)
    rows = _rows(text)
    first = [cell.strip().lower() for cell in next(rows, [])]
    named = "question" in first and "answer" in first
    columns = (
        {name: first.index(name) for name in COLUMNS if name in first}
        if named
        else {"question": 0, "answer": 1}
    )
    cards, unsuitable = [], 0
    for count, row in enumerate(_rows(text)):
        if count > MOST_ROWS:
            raise UnreadableTable(
                Both(f"表格超过 {MOST_ROWS} 行。", f"The table has more than {MOST_ROWS} rows.")
            )
        if (named and count == 0) or not any(row):
            continue
        cells = {name: _unsafe(row[at]).strip() for name, at in columns.items() if at < len(row)}
        try:
            cards.append(Incoming(_card(cells)))
        except UnsuitableCard:
            unsuitable += 1
    if not cards and not unsuitable:
        raise UnreadableTable(
            Both(
                "表格里没有卡片。第一行写 question,answer，下面一行一张。",
                "The table has no cards. Write question,answer in its first row and one card in each below.",
            )
        )
    return cards, unsuitable


def _card(cells: dict[str, str]) -> OwnCard:
    question, answer = cells.get("question", ""), cells.get("answer", "")
    level = cells.get("level", "")
    # The same question is the same card, so that a table without guids can be corrected and brought in again.
    guid = cells.get("guid") or "table-" + hashlib.sha256(question.encode()).hexdigest()[:32]
    return OwnCard(
        question,
        answer,
        lesson=cells.get("lesson", "")[:16] or None,
        topic=cells.get("topic", "")[:100],
        level=int(level) if level in ("1", "2", "3") else 2,
        guid=guid[:200],
    )


def _decoded(data: bytes) -> str:
    """UTF-8, UTF-16 with its mark, or what Excel in China writes."""
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UnreadableTable(
        Both("这不是文字表格。把它存成 UTF-8 的 CSV。", "This is no table of text. Save it as CSV in UTF-8.")
    )


def _rows(text: str) -> Iterator[list[str]]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error as error:
        raise UnreadableTable(Both(f"表格读不了：{error}", f"The table cannot be read: {error}")) from None


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) or cell.startswith("'") else cell


def _unsafe(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell
