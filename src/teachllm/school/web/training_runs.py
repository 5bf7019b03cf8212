"""What the pages show of training runs, read from their folders in the reader's language."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from teachllm.school.language import Both, Lang
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.run_curves import number, whole
from teachllm.school.web.runs_folder import RunsFolder, UnknownRun
from teachllm.stack.data.pipeline import StepReport
from teachllm.stack.pretraining.events import Evaluated
from teachllm.stack.pretraining.record import (
    DATA,
    METRICS,
    RECIPE,
    RunError,
    RunInfo,
    list_runs,
    read_events,
    read_info,
)
from teachllm.stack.pretraining.reports import report_from_json
from teachllm.stack.training.events import StepMetrics

STATUS = {
    "preparing": Both("正在准备数据", "preparing data"),
    "training": Both("正在训练", "training"),
    "finished": Both("训练完了", "finished"),
    "stopped": Both("停下了", "stopped"),
    "failed": Both("出错了", "failed"),
    "died": Both("中断了", "broken off"),
}
WORKING = ("preparing", "training")
LAST_BYTES = 100_000
"""Of a log, in which its last measures stand."""


def status_of(info: RunInfo) -> str:
    """A key of ``STATUS``; ``died`` where nobody works on it any more, although nobody said so."""
    return "died" if info.is_dead else info.status


def read_run(folder: Path) -> RunInfo:
    """Refuses a folder whose ``run.json`` cannot be read."""
    try:
        return read_info(folder)
    except RunError as problem:
        why = Both(f"这次训练的记录读不了：{problem}", f"This run cannot be read: {problem}")
        raise Refusal(404, why) from None


# The list -----------------------------------------------------------------------------------------------


def rows(runs: RunsFolder, lang: Lang) -> list[dict[str, Any]]:
    """A row a run, the latest first: the texts that the list shows, and ``status``, ``step``, ``steps``."""
    return [_row(folder, info, lang) for folder, info in list_runs(runs.path) if _is_listed(runs, folder)]


def _is_listed(runs: RunsFolder, folder: Path) -> bool:
    try:
        return runs.run(folder.name) == folder
    except UnknownRun:
        return False


def _row(folder: Path, info: RunInfo, lang: Lang) -> dict[str, Any]:
    status = status_of(info)
    measured, loss, held_out = _last_measures(folder)
    step = info.step if measured is None else measured  # the record may be some seconds behind
    return {
        "name": folder.name,
        "recipe": info.recipe,
        "status": status,
        "status_text": STATUS[status].get(lang),
        "step": step,
        "steps": max(1, info.steps),
        "steps_text": f"{step:,} / {info.steps:,}",
        "loss_text": "–" if loss is None else f"{loss:.3f}",
        "held_out_text": "–" if held_out is None else f"{held_out:.3f}",
        "when_text": when(info.created),
    }


def _last_measures(folder: Path) -> tuple[int | None, float | None, float | None]:
    """The last step, its loss, bits per byte of held-out text. The end of a log is enough for that."""
    log = folder / METRICS
    step, loss, held_out = None, None, None
    with contextlib.suppress(OSError):
        for event in read_events(log, max(0, log.stat().st_size - LAST_BYTES))[0]:
            if isinstance(event, StepMetrics):
                step, loss = whole(event.step), number(event.loss)
            elif isinstance(event, Evaluated):
                held_out = number(event.bits_per_byte)
    return step, loss, held_out


def when(seconds: float) -> str:
    """A moment in local time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "–"


# One run ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CorpusReport:
    corpus: str
    steps: list[StepReport]


def data_report(folder: Path) -> list[CorpusReport] | None:
    """What cleaning kept and dropped; None before the data are ready, or if it cannot be read."""
    try:
        content = json.loads((folder / DATA).read_bytes())
        return [
            CorpusReport(corpus, [_checked(one) for one in reports]) for corpus, reports in content.items()
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _checked(content: dict[str, Any]) -> StepReport:
    report = report_from_json(content)
    counts = [report.kept, report.changed, report.bytes_in, report.bytes_out]
    counts += [*report.dropped.values(), *report.changes.values()]
    if not all(isinstance(count, int) for count in counts):
        raise TypeError(f"the report of {report.name} counts in something else than whole numbers")
    return report


def recipe_of(folder: Path) -> str:
    """The recipe as it was run; empty if it cannot be read."""
    try:
        return (folder / RECIPE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


# Stopping -----------------------------------------------------------------------------------------------


def process_of(folder: Path, info: RunInfo) -> psutil.Process | None:
    """The process that works on a run here, if that is beyond doubt and it can be asked to stop.

    It must be as old as the record says, and hold the run's lock: numbers of processes are used again.
    None on Windows, where a signal would kill it without a checkpoint.
    """
    if os.name == "nt" or info.status not in WORKING or info.host != platform.node() or info.is_dead:
        return None
    try:
        process = psutil.Process(info.pid)
        lock = (folder / "lock").resolve()
        holds = any(Path(file.path) == lock for file in process.open_files())
        return process if holds and process.pid != os.getpid() else None
    except (psutil.Error, OSError, ValueError):
        return None


def stop(folder: Path) -> None:
    """Asks a run to end behind its current step, with a checkpoint. Refuses if nobody here works on it."""
    process = process_of(folder, read_run(folder))
    if process is None:
        why = Both(
            "找不到正在做这次训练的进程，没有什么可停的。",
            "No process on this computer is found to work on this run; there is nothing to stop.",
        )
        raise Refusal(409, why)
    process.terminate()
