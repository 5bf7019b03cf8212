"""A training run as a page follows it: everything so far, then what its files gain, until it ends."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from teachllm.school.language import Both, Lang
from teachllm.school.web.event_log import Event
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.run_curves import Curve, number, whole
from teachllm.school.web.runs_folder import RunsFolder
from teachllm.school.web.training_runs import (
    STATUS,
    WORKING,
    process_of,
    read_run,
    status_of,
)
from teachllm.stack.pretraining.events import Comparison, Evaluated, Sampled, TaskScored, Warned
from teachllm.stack.pretraining.record import (
    CHECKPOINTS,
    METRICS,
    MODEL,
    SAMPLES,
    Recorded,
    RunInfo,
    read_events,
)
from teachllm.stack.training.events import Spike, StepMetrics

LOOK_SECONDS = 1.0
PIECE = 4_000_000
"""Bytes of a log that are read at a time."""
MOST_SAMPLES = 60
MOST_NOTES = 30
MEASURES = (
    "loss",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "matmul_fraction",
    "memory_bytes",
)


async def follow(runs: RunsFolder, folder: Path, lang: Lang) -> AsyncGenerator[Event]:
    """The events of :class:`Follower`; ends with ``{"event": "end"}`` when nobody works on the run any more.

    Looks once a second while it is followed, and never otherwise.
    """
    follower = Follower(runs, folder, lang)
    while not runs.closing.is_set():
        try:
            for event in await run_in_threadpool(follower.news):
                yield event
        except Refusal as gone:  # the folder was deleted
            yield {"event": "error", "message": gone.why.get(lang)}
            return
        if not follower.goes_on:
            yield {"event": "end"}
            return
        await asyncio.sleep(LOOK_SECONDS)


class Follower:
    """What is new in the folder of a run since the last look.

    ``{"event": "state", …}``: status, step, last measures, checkpoints, messages, comparison with the recipe.
    ``{"event": "curves", "curves": {name: {"from", "x", "y"}}}``: points that take the place of all from
    step ``from`` on. ``{"event": "samples", "samples": [{"step", "prompt", "text"}]}``: the newest first.
    """

    def __init__(self, runs: RunsFolder, folder: Path, lang: Lang) -> None:
        self._runs, self._folder = runs, folder
        self._lang: Lang = lang
        self._metrics, self._texts = _Log(folder / METRICS), _Log(folder / SAMPLES)
        self._known = _Known()
        self._samples: list[dict[str, Any]] = []
        self._told: dict[str, Event] = {}
        self._stoppable: tuple[tuple[object, ...], bool] | None = None
        self.goes_on = True

    def news(self) -> list[Event]:
        """Refuses if the run cannot be read any more."""
        # The record first: if it says that the run has ended, the logs are complete when they are read.
        info = read_run(self._folder)
        status = status_of(info)
        self.goes_on = status in WORKING
        begins_anew, events = self._metrics.read()
        if begins_anew:  # a resumed run has cut what it does again; empty curves tell the page
            self._known = _Known({name: Curve() for name in self._known.curves})
        for event in events:
            self._take(event)
        begins_anew, texts = self._texts.read()
        self._samples = [] if begins_anew else self._samples
        self._samples += [_sample(text) for text in texts if isinstance(text, Sampled)]
        del self._samples[:-MOST_SAMPLES]
        return [*self._curve_news(), *self._changed(self._state(info, status), self._sample_event())]

    def _take(self, event: Recorded) -> None:
        if isinstance(event, StepMetrics):
            self._known.last = event
            for name in MEASURES:
                self._point(name, event.step, getattr(event, name))
        elif isinstance(event, Evaluated):
            self._known.held_out = event
            perplexity = number(event.perplexity)
            if perplexity is not None and perplexity > 0:
                self._point("held_out_loss", event.step, math.log(perplexity))
            if event.is_final is True:  # what follows is measured anew, also by a run that failed behind it
                self._known.tasks, self._known.comparison = [], []
        elif isinstance(event, TaskScored):
            self._known.tasks.append(_task(event))
        elif isinstance(event, Comparison):
            self._known.comparison.append(_compared(event))
        elif isinstance(event, Spike | Warned):
            self._known.notes.append(_note(event, self._lang))
            del self._known.notes[:-MOST_NOTES]

    def _point(self, name: str, step: object, value: object) -> None:
        x, y = whole(step), number(value)
        if x is not None and y is not None:
            self._known.curves.setdefault(name, Curve()).add(x, y)

    def _curve_news(self) -> list[Event]:
        news = {name: curve.news() for name, curve in self._known.curves.items()}
        curves = {name: points for name, points in news.items() if points is not None}
        return [{"event": "curves", "curves": curves}] if curves else []

    def _sample_event(self) -> Event:
        return {"event": "samples", "samples": self._samples[::-1]}

    def _changed(self, *events: Event) -> list[Event]:
        """Those that say something else than the last of their kind."""
        fresh = [event for event in events if self._told.get(event["event"]) != event]
        self._told.update({event["event"]: event for event in fresh})
        return fresh

    def _state(self, info: RunInfo, status: str) -> Event:
        last, held_out = self._known.last, self._known.held_out
        measured = None if last is None else whole(last.step)
        return {
            "event": "state",
            "status": status,
            "status_text": STATUS[status].get(self._lang),
            "working": self.goes_on,
            "step": info.step if measured is None else measured,
            "steps": info.steps,
            "seconds": number(info.seconds),
            "seconds_left": None if last is None else number(last.seconds_left),
            "last": {} if last is None else {name: number(getattr(last, name)) for name in MEASURES},
            "held_out": None if held_out is None else number(held_out.bits_per_byte),
            "message": info.message,
            "notes": self._known.notes[::-1],
            "checkpoints": self._checkpoints(),
            "comparison": self._known.comparison,
            "tasks": self._known.tasks,
            "commands": self._commands(status),
            "stoppable": self._can_be_stopped(info),
        }

    def _checkpoints(self) -> list[dict[str, Any]]:
        """The newest first."""
        found = sorted((self._folder / CHECKPOINTS).glob("step-*"), reverse=True)
        named = [path for path in found if path.name[5:].isascii() and path.name[5:].isdigit()]
        return [{"step": int(path.name[5:20]), "folder": self._runs.shown(path)} for path in named]

    def _commands(self, status: str) -> list[str]:
        """What to type next."""
        if status == "finished":
            model = self._folder / MODEL
            return [
                self._runs.command("generate --model", model) + ' "…"',
                self._runs.command("eval", self._folder),
            ]
        return [] if status in WORKING else [self._runs.command("resume", self._folder)]

    def _can_be_stopped(self, info: RunInfo) -> bool:
        """Looked up again only for another process: it means reading all that the process has open."""
        about = (info.pid, info.process_began, self.goes_on)
        if self._stoppable is None or self._stoppable[0] != about:
            self._stoppable = about, process_of(self._folder, info) is not None
        return self._stoppable[1]


@dataclass
class _Known:
    """What the log of measures has told so far."""

    curves: dict[str, Curve] = field(default_factory=dict)
    last: StepMetrics | None = None
    held_out: Evaluated | None = None
    tasks: list[dict[str, Any]] = field(default_factory=list)
    comparison: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)


class _Log:
    """The events that a file has gained since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._file: tuple[int, int] | None = None

    def read(self) -> tuple[bool, Iterator[Recorded]]:
        """Whether all that was read before is void, and what is new, to be taken at once."""
        try:
            found = self._path.stat()
        except OSError:
            return False, iter(())
        is_other = self._file not in (None, (found.st_dev, found.st_ino)) or found.st_size < self._offset
        self._file = found.st_dev, found.st_ino
        if is_other:
            self._offset = 0
        return is_other, self._news()

    def _news(self) -> Iterator[Recorded]:
        while True:
            events, offset = read_events(self._path, self._offset, at_most=PIECE)
            if offset <= self._offset:
                return
            self._offset = offset
            yield from events


def _sample(text: Sampled) -> dict[str, Any]:
    return {"step": whole(text.step), "prompt": str(text.prompt), "text": str(text.text)}


def _task(score: TaskScored) -> dict[str, Any]:
    return {
        "task": str(score.task),
        "metric": str(score.metric),
        "value": number(score.value),
        "items": whole(score.items),
    }


def _compared(row: Comparison) -> dict[str, Any]:
    return {
        "what": str(row.what),
        "expected": str(row.expected),
        "found": str(row.found),
        "fine": row.is_fine is True,
    }


def _note(event: Spike | Warned, lang: Lang) -> dict[str, Any]:
    if isinstance(event, Warned):
        return {"kind": "warned", "step": whole(event.step), "text": str(event.message)}
    loss, median = (f"{number(value) or math.nan:.3f}" for value in (event.loss, event.median))
    text = Both(
        f"损失突升到 {loss}（之前的中位数是 {median}）", f"the loss jumps to {loss} (the median was {median})"
    )
    back = whole(event.back_to)
    if back is not None:
        text = Both(
            f"{text.zh}，回到第 {back} 步的检查点，跳过这批数据",
            f"{text.en}; back to the checkpoint of step {back}, past these data",
        )
    return {"kind": "spike", "step": whole(event.step), "text": text.get(lang)}
