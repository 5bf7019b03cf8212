"""``teachllm cards``: to Anki or a spreadsheet and back, as the page of cards does it."""

from __future__ import annotations

import os
from pathlib import Path

from cyclopts import App

from teachllm.school.cards.exchange import (
    Brought,
    anki_package,
    bring_in,
    cards_of_package,
    cards_of_table,
    read_package,
    table_of,
)
from teachllm.school.language import Both, Lang
from teachllm.school.progress.errors import StoreError
from teachllm.school.terminal import learner_terminal

app = App(name="cards", help="Take your cards to Anki or a spreadsheet, and bring cards from there.")
_PACKAGES = (".apkg", ".colpkg")
_TABLES = (".csv", ".tsv", ".txt")
MOST_BYTES = 256 * 2**20
"""Of a file that is brought in."""


class CardFileError(StoreError):
    """The file has no kind that is known, cannot be read or written, or is there already."""


@app.command(name="export")
def export_cards(file: Path, /, *, replace: bool = False, lang: Lang | None = None) -> None:
    """Write cards into a file: .apkg for Anki (all cards, with their schedule) or .csv (your own cards).

    Parameters
    ----------
    file
        The file to write; its ending says which kind.
    replace
        Overwrite the file if it is there.
    lang
        Language of the cards: zh or en. By default that of the studio, else that of the terminal.
    """
    with learner_terminal(lang) as terminal:
        kind = file.suffix.lower()
        if kind == ".apkg":
            content = anki_package(terminal.store, terminal.lang)
        elif kind == ".csv":
            content = table_of([card for _, card in terminal.store.own_cards.all()]).encode()
        else:
            raise CardFileError(
                Both(
                    f"文件名要以 .apkg 或 .csv 结尾，得到 {file.name}。",
                    f"The file ends in .apkg or .csv; it was {file.name}.",
                )
            )
        _write(file, content, replace=replace)
        terminal.say(
            Both(
                f"写到 {file}（{len(content) / 1024:.0f} KB）。",
                f"Written to {file} ({len(content) / 1024:.0f} KB).",
            )
        )


@app.command(name="import")
def import_cards(file: Path, /, *, dry_run: bool = False, lang: Lang | None = None) -> None:
    """Bring in cards from an Anki package or a table, each once, however often it is brought in.

    Parameters
    ----------
    file
        An .apkg or .colpkg of Anki, or a .csv, .tsv or .txt: its first line names the columns,
        else they are question and answer.
    dry_run
        Only say what would change.
    lang
        Language: zh or en. By default that of the studio, else that of the terminal.
    """
    with learner_terminal(lang) as terminal:
        data, kind = _read(file), file.suffix.lower()
        if kind in _PACKAGES:
            cards, unsuitable = cards_of_package(read_package(data), keep_pictures=not dry_run)
        elif kind in _TABLES:
            cards, unsuitable = cards_of_table(data)
        else:
            endings = " ".join((*_PACKAGES, *_TABLES))
            raise CardFileError(
                Both(
                    f"文件名要以这些之一结尾：{endings}；得到 {file.name}。",
                    f"The file ends in one of {endings}; it was {file.name}.",
                )
            )
        terminal.say(_told(bring_in(terminal.store, cards, unsuitable, look=dry_run)))
        if dry_run:
            terminal.say(
                Both("只是看看，什么都没有改。", "This was only a look: nothing was changed."), "yellow"
            )


def _told(brought: Brought) -> Both:
    counts = (
        (brought.added, Both("新增", "new")),
        (brought.changed, Both("更新", "updated")),
        (brought.same, Both("已经有了", "here already")),
        (brought.of_course, Both("课程自带，不重复收", "of the course, not taken in again")),
        (brought.unsuitable, Both("没有问题或答案，略过", "without a question or an answer, left out")),
    )
    shown = [(n, what) for n, what in counts if n] or [(0, counts[0][1])]
    return Both(
        "；".join(f"{what.zh} {n} 张" for n, what in shown) + "。",
        "; ".join(f"{n} {what.en}" for n, what in shown) + ".",
    )


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MOST_BYTES:
            most = MOST_BYTES // 2**20
            raise CardFileError(Both(f"{file} 超过 {most} MB。", f"{file} is larger than {most} MB."))
        return file.read_bytes()
    except OSError as error:
        raise CardFileError(Both(f"读不了 {file}：{error}", f"{file} cannot be read: {error}")) from None


def _write(file: Path, content: bytes, *, replace: bool) -> None:
    """Whole or not at all."""
    if file.exists() and not replace:
        raise CardFileError(
            Both(
                f"{file} 已经有了，没有动它。换个名字，或者加 --replace 覆盖它。",
                f"{file} is there already and was left as it is. Give another name, or --replace to "
                "overwrite it.",
            )
        )
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CardFileError(Both(f"写不了 {file}：{error}", f"{file} cannot be written: {error}")) from None
