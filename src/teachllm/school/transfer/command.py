"""``teachllm export`` and ``teachllm import``: a learner's data between machines."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.table import Table

from teachllm.school.language import Both, Lang
from teachllm.school.terminal import Terminal, learner_terminal
from teachllm.school.transfer.archive import read_archive, write_archive
from teachllm.school.transfer.merge import Merged, import_archive
from teachllm.school.transfer.words import THINGS, things_in


def export_command(file: Path | None = None, /, *, replace: bool = False, lang: Lang | None = None) -> None:
    """Write everything that you did, wrote and learned into one file, to take it to another machine.

    Keys of model endpoints are not part of it.

    Parameters
    ----------
    file
        The file to write; by default teachllm-<date>.teachllm in this folder.
    replace
        Overwrite the file if it is there.
    lang
        Language: zh or en. By default that of the studio, else that of the terminal.
    """
    with learner_terminal(lang) as terminal:
        target = file or Path(f"teachllm-{datetime.now():%Y-%m-%d}.teachllm")
        archive = write_archive(terminal.store, target, replace=replace)
        for name, count in things_in(archive):
            terminal.say(Both(f"  {count} {THINGS[name].zh}", f"  {count} {THINGS[name].en}"), "dim")
        kilobytes = target.stat().st_size / 1024
        terminal.say(
            Both(
                f"写到 {target}（{kilobytes:.0f} KB）。在另一台电脑上：teachllm import {target.name}",
                f"Written to {target} ({kilobytes:.0f} KB). "
                f"On the other machine: teachllm import {target.name}",
            )
        )


def import_command(
    file: Path, /, *, dry_run: bool = False, replace: bool = False, lang: Lang | None = None
) -> None:
    """Merge a file of teachllm export with what is here. Nothing is lost: a backup is made first.

    Parameters
    ----------
    file
        What teachllm export wrote, or a backup that an earlier import made.
    dry_run
        Only say what would change.
    replace
        Remove what is here first, as for going back to a backup.
    lang
        Language: zh or en. By default that of the studio, else that of the terminal.
    """
    with learner_terminal(lang) as terminal:
        merged = import_archive(terminal.store, read_archive(file), dry_run=dry_run, replace=replace)
        if merged.added or merged.changed or replace:
            terminal.console.print(_table(terminal, merged))
        else:
            terminal.say(Both("文件里的东西这里都有了。", "All that the file has is here already."))
        if merged.backup is None:
            terminal.say(
                Both("只是看看，什么都没有改。", "This was only a look: nothing was changed."), "yellow"
            )
        else:
            terminal.say(
                Both(
                    f"撤销：teachllm import --replace {merged.backup}",
                    f"To undo it: teachllm import --replace {merged.backup}",
                ),
                "dim",
            )


def _table(terminal: Terminal, merged: Merged) -> Table:
    lang = terminal.lang
    table = Table(box=None, pad_edge=False)
    for title in (Both("", ""), Both("新增", "new"), Both("更新", "updated"), Both("已有", "here already")):
        table.add_column(title.get(lang), justify="right" if title.en else "left")
    for name, change in merged.changes.items():
        if change.added or change.changed:
            numbers = (change.added, change.changed, change.kept)
            table.add_row(THINGS[name].get(lang), *(str(number) for number in numbers))
    return table
