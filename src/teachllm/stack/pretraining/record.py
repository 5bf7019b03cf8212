"""The folder of a run: what it is, how far it is, and everything that was measured.

    runs/nano-20261124-201500/
        recipe.toml       the recipe as it was run, flags included
        run.json          `RunInfo`: status, process, device; replaced in one step
        metrics.jsonl     events, one JSON object a line
        samples.jsonl     what the model wrote
        data.json         what cleaning kept and dropped
        tokenizer.json
        checkpoints/      step-00000100/ …
        model/            at the end: a Hugging Face folder

Written by the one process that runs it, read by anybody at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_type_hints

import psutil

from teachllm.stack.data.typed_tables import read_table
from teachllm.stack.pretraining.events import Comparison, Evaluated, Event, Sampled, TaskScored, Warned
from teachllm.stack.training.events import Saved, Spike, StepMetrics

Status = Literal["preparing", "training", "finished", "stopped", "failed"]
RECIPE, INFO, METRICS, SAMPLES, DATA = (
    "recipe.toml",
    "run.json",
    "metrics.jsonl",
    "samples.jsonl",
    "data.json",
)
TOKENIZER, CHECKPOINTS, MODEL = "tokenizer.json", "checkpoints", "model"

Recorded: TypeAlias = Event | Comparison

# The events that are kept. Their kind is what a line of the logs calls them.
KINDS: dict[str, type[Any]] = {
    "step": StepMetrics,
    "evaluated": Evaluated,
    "task": TaskScored,
    "spike": Spike,
    "checkpoint": Saved,
    "warned": Warned,
    "sample": Sampled,
    "compared": Comparison,
}
HINTS = {kind: get_type_hints(kind) for kind in KINDS.values()}


class RunError(Exception):
    """A run folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class RunInfo:
    """What `run.json` says. Times are seconds since 1970; seconds: of training, without pauses.

    message: why a run failed. process_began tells a process from a later one with the same pid.
    """

    recipe: str
    status: Status
    created: float
    pid: int
    process_began: float
    host: str
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    parameters: int | None = None
    device: str = ""
    dtype: str = ""
    reason: str = ""
    reason_zh: str = ""
    prepared: str = ""
    message: str = ""

    @property
    def is_dead(self) -> bool:
        """Nobody works on it, although nobody said that it ended: it was killed, or the machine went off.

        False if it ran on another machine, where this one cannot look.
        """
        if self.status not in ("preparing", "training") or self.host != platform.node():
            return False
        try:
            return abs(psutil.Process(self.pid).create_time() - self.process_began) > 1
        except (psutil.Error, ValueError):  # ValueError: no process can have that number
            return True


def new_run_folder(root: Path, name: str) -> Path:
    """A new folder below `root`, named after the recipe and the time. RunError if it cannot be made."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = root / f"{name}-{stamp}{suffix}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as problem:
            raise RunError(f"{folder} cannot be made: {problem}. Name another folder with --out.") from None
    raise RunError(f"there are a hundred runs of {name} in one second in {root}")


def list_runs(root: Path) -> list[tuple[Path, RunInfo]]:
    """The runs below `root`, the latest first. Folders that hold none are left out."""
    runs = []
    for file in root.glob(f"*/{INFO}"):
        with contextlib.suppress(RunError):
            runs.append((file.parent, read_info(file.parent)))
    return sorted(runs, key=lambda run: run[1].created, reverse=True)


def read_info(folder: Path) -> RunInfo:
    """What `run.json` says now. RunError if the folder holds no run."""
    try:
        content = json.loads((folder / INFO).read_bytes())
    except FileNotFoundError:
        raise RunError(f"{folder} is not the folder of a run: it has no {INFO}") from None
    except (OSError, ValueError) as problem:
        raise RunError(f"{folder / INFO} cannot be read: {problem}") from None
    if not isinstance(content, dict):
        raise RunError(f"{folder / INFO} cannot be read: it holds no table")
    info, problems = read_table(RunInfo, {k: v for k, v in content.items() if v is not None})
    if info is None or problems:
        raise RunError(f"{folder / INFO} cannot be read: {'; '.join(problems)}")
    return info


def read_events(log: Path, offset: int = 0, at_most: int = -1) -> tuple[list[Recorded], int]:
    """The events of a log behind byte `offset`, and the offset to ask with the next time.

    at_most: bytes that are looked at, -1 for all there are; more than the longest line has. A line that is
    still being written waits for the next time. A log that became shorter than `offset`, because a resumed
    run cut what it does again, is read from the start. No log has no events.
    """
    try:
        with open(log, "rb") as file:
            if offset > file.seek(0, os.SEEK_END):
                offset = 0
            file.seek(offset)
            written = file.read(at_most)
    except FileNotFoundError:
        return [], 0
    whole = written[: written.rfind(b"\n") + 1]
    events = [event for line in whole.splitlines() if (event := _event(line)) is not None]
    return events, offset + len(whole)


class RunWriter:
    """Keeps the folder of a run up to date. In all processes but the first one, `is_silent`, it does nothing.

    OSErrors (a full disk) come through: a run that cannot be recorded must not go on as if it were.
    """

    def __init__(self, folder: Path, info: RunInfo, *, is_silent: bool = False) -> None:
        self.folder, self.info, self._is_silent = folder, info, is_silent

    @classmethod
    def begin(cls, folder: Path, recipe: str, created: float | None = None, **known: Any) -> RunWriter:
        """Say that this process now works on the run."""
        process = psutil.Process()
        info = RunInfo(
            recipe=recipe,
            status="preparing",
            created=time.time() if created is None else created,
            pid=process.pid,
            process_began=process.create_time(),
            host=platform.node(),
        )
        is_silent = known.pop("is_silent", False)
        writer = cls(folder, dataclasses.replace(info, **known), is_silent=is_silent)
        writer.update()
        return writer

    def update(self, **changes: Any) -> None:
        """Change fields of `RunInfo`."""
        self.info = dataclasses.replace(self.info, **changes)
        self.write(INFO, json.dumps(dataclasses.asdict(self.info), indent=1, ensure_ascii=False) + "\n")

    def write(self, name: str, content: str) -> None:
        """A file of the folder, in one step."""
        if not self._is_silent:
            draft = self.folder / f".{name}.draft"
            draft.write_text(content, encoding="utf-8")
            draft.replace(self.folder / name)

    def log(self, event: Recorded) -> None:
        """Append an event to its log, if it is of a kind that is kept."""
        kind = next((kind for kind, of_kind in KINDS.items() if type(event) is of_kind), None)
        if kind is None or self._is_silent:
            return
        entry = {"kind": kind, "time": round(time.time(), 3)} | _finite(dataclasses.asdict(event))
        with open(self.folder / (SAMPLES if kind == "sample" else METRICS), "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False, default=str) + "\n")

    def forget_after(self, step: int) -> None:
        """Cut from the logs what happened after `step`, and a line that was not finished: it comes again."""
        for name in (METRICS, SAMPLES):
            if not self._is_silent and (self.folder / name).exists():
                lines = (self.folder / name).read_bytes().splitlines(keepends=True)
                kept = [line for line in lines if line.endswith(b"\n") and _step(line) <= step]
                self.write(name, b"".join(kept).decode())


def _event(line: bytes) -> Recorded | None:
    try:
        entry = json.loads(line)
        kind = KINDS[entry.pop("kind")]
    except (ValueError, KeyError, AttributeError, TypeError):
        return None  # of a later version, or damaged: the rest can still be read
    hints = HINTS[kind]
    values = {name: entry[name] for name in hints if name in entry}
    values = {k: math.nan if v is None and hints[k] is float else v for k, v in values.items()}
    values = {k: Path(str(v)) if hints[k] is Path else v for k, v in values.items()}
    try:
        return kind(**values)
    except TypeError:
        return None


def _step(line: bytes) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: null says that there is no number."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
