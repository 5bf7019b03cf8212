"""Viewers of a run in the terminal: a live dashboard, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from teachllm.stack.inference.command import Words
from teachllm.stack.pretraining.events import DataProgress, Evaluated, Event, ModelReady, Sampled
from teachllm.stack.pretraining.lines import duration, lines, megabytes, printable, sparkline
from teachllm.stack.training.loop import StepMetrics

LINE_SECONDS = 10.0
REFRESH_SECONDS = 0.25


class Viewer(AbstractContextManager["Viewer"], Protocol):
    """Shows events as they come."""

    def show(self, event: Event) -> None: ...


class PlainLines(Viewer):
    """A line an event; of those that come often, one every `every` seconds, and the last of their kind."""

    def __init__(
        self,
        words: Words,
        write: Callable[[str], object] = print,
        every: float = LINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._words, self._write, self._every, self._clock = words, write, every, clock
        self._next = 0.0
        self._held: Event | None = None

    def show(self, event: Event) -> None:
        if isinstance(event, StepMetrics | DataProgress):
            if self._clock() < self._next:
                self._held = event
                return
            self._next = self._clock() + self._every
            self._held = None
        elif isinstance(self._held, StepMetrics):
            self._print(self._held)
            self._held = None
        self._print(event)

    def _print(self, event: Event) -> None:
        for line in lines(event, self._words):
            self._write(line)

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Dashboard(Viewer):
    """One panel that changes in place while the model learns; what is said once stands above it."""

    def __init__(self, words: Words, console: Console) -> None:
        self._words, self._console = words, console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._losses: list[float] = []
        self._steps = 0
        self._progress: DataProgress | None = None
        self._step: StepMetrics | None = None
        self._held_out: Evaluated | None = None
        self._sample: Sampled | None = None
        self._next = 0.0

    def __enter__(self) -> Dashboard:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        match event:
            case DataProgress():
                self._progress = event
            case StepMetrics():
                self._progress, self._step = None, event
                self._losses.append(event.loss)
            case Sampled() if self._is_training:
                self._sample = event
            case Evaluated() if self._is_training:
                self._held_out = event
            case _:
                if isinstance(event, ModelReady):
                    self._steps = event.steps
                for line in lines(event, self._words):
                    self._live.console.print(escape(line))
        if time.monotonic() >= self._next:
            self._live.update(self._panel(), refresh=True)
            self._next = time.monotonic() + REFRESH_SECONDS

    @property
    def _is_training(self) -> bool:
        return self._step is not None and self._step.step < self._steps

    def _panel(self) -> RenderableType:
        if self._progress is not None:
            return Text("\n".join(lines(self._progress, self._words)), style="dim")
        if not self._is_training or self._step is None:
            return Group()  # no line at all
        say, step = self._words.choose, self._step
        width = max(20, self._console.width - 32)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column()
        grid.add_row(
            say("进度", "step"),
            ProgressBar(total=self._steps, completed=step.step, width=width),
        )
        grid.add_row(
            "", f"{step.step:,}/{self._steps:,} · " + say("还要 ", "left ") + duration(step.seconds_left)
        )
        grid.add_row(say("损失", "loss"), f"{step.loss:.3f}  {sparkline(self._losses, width - 8)}")
        grid.add_row(say("学习率", "learning rate"), f"{step.learning_rate:.2e}")
        grid.add_row(say("梯度范数", "gradient norm"), f"{step.gradient_norm:.3f}")
        speed = f"{step.tokens_per_second:,.0f} token/s"
        if step.matmul_fraction is not None:
            speed += say(
                f"，矩阵乘峰值的 {step.matmul_fraction:.0%}",
                f", {step.matmul_fraction:.0%} of the matmul peak",
            )
        grid.add_row(say("速度", "speed"), speed)
        grid.add_row(say("内存", "memory"), megabytes(step.memory_bytes))
        if self._held_out is not None:
            grid.add_row(
                say("留出文本", "held-out text"),
                say(
                    f"{self._held_out.bits_per_byte:.3f} 比特/字节（第 {self._held_out.step} 步）",
                    f"{self._held_out.bits_per_byte:.3f} bits per byte (step {self._held_out.step})",
                ),
            )
        parts: list[Table | Text] = [grid]
        if self._sample is not None:
            written = f"» {self._sample.prompt}{printable(self._sample.text)}"
            parts.append(Text(written, style="italic", overflow="fold"))
        return Panel(Group(*parts), title=say("Ctrl-C 停下并存检查点", "Ctrl-C stops with a checkpoint"))
