"""What a person sees of a run, in both languages, with and without a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from teachllm.stack.data.documents import Document
from teachllm.stack.data.pipeline import StepReport
from teachllm.stack.inference.command import Words
from teachllm.stack.pretraining.dashboard import Dashboard, PlainLines
from teachllm.stack.pretraining.events import (
    Chosen,
    Comparison,
    CorpusCleaned,
    DataProgress,
    DataReady,
    Evaluated,
    Finished,
    ModelReady,
    Sampled,
    TaskScored,
    Warned,
)
from teachllm.stack.pretraining.lines import duration, lines, printable, sample_lines, sparkline
from teachllm.stack.training.loop import Saved, Spike, StepMetrics


def step(number: int, loss: float = 3.0) -> StepMetrics:
    return StepMetrics(number, number * 100, loss, 1e-3, 0.5, 12_345.0, 0.42, 700_000_000, 61.0)


def report() -> StepReport:
    made = StepReport("length")
    made.keep(Document("long enough", "a.txt"))
    made.drop(Document("no\x1b[31m", "b.txt"), "too short", "2 bytes")
    made.change(Document("x", "c.txt"), Document("y", "c.txt"), "space × 1")
    return made


EVENTS = [
    Chosen("cpu", "bfloat16", "it has AVX", "有 AVX"),
    DataProgress("clean", "news", 2_000_000),
    DataProgress("tokenizer", "", 5, 300),
    DataProgress("encode", "news", 2_000_000, 4_000_000),
    CorpusCleaned("news", (report(),), 2, 1_500_000),
    DataReady("/data", 300, 1000, 30, 100, 3, 2.5, True),
    ModelReady(1_600_000, 10, 5000, 2.5, 600_000_000, 90.0, 4),
    step(5),
    Spike(6, 9.0, 3.0, 4),
    Saved(6, Path("/run/checkpoints/step-00000006")),
    Warned(6, "a checkpoint is damaged"),
    Evaluated(6, 1.75, 30.0, 400),
    Sampled(6, "The cat", " sat\n\x1b[31mred"),
    step(10, 2.0),
    TaskScored(10, "grammar", "accuracy", 0.625, 40),
    TaskScored(10, "news", "bits_per_byte", 1.5, 3),
    Finished("finished", 10, 2.5, "/run/model", (Comparison("bits_per_byte", "1.7", "1.6", True),)),
]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_event_is_said_in_the_persons_language(lang) -> None:
    for event in EVENTS:
        said = "\n".join(lines(event, Words(lang)))
        assert said, event
        has_chinese = any("\u4e00" <= character <= "\u9fff" for character in said)
        assert has_chinese == (lang == "zh") or isinstance(event, Sampled | Warned), said


def test_numbers_that_a_person_needs_are_there() -> None:
    words = Words("en")
    said = {type(event): "\n".join(lines(event, words)) for event in EVENTS}
    assert "device cpu · bfloat16: it has AVX" in said[Chosen]
    assert "length: 2 of 3 kept; too short 1; 1 changed" in said[CorpusCleaned]
    assert "prepared before" in said[DataReady]
    assert "expected: 600 MB of tensors, about 1:30 of training" in said[ModelReady]
    assert "continues from step 4" in said[ModelReady]
    for part in (
        "loss 2.000",
        "lr 1.00e-03",
        "12,345 tokens/s",
        "42% of the matmul peak",
        "700 MB",
        "1:01 left",
    ):
        assert part in said[StepMetrics]
    assert "back to the checkpoint of step 4" in said[Spike]
    assert "1.750 bits per byte" in said[Evaluated]
    assert "✓ bits per byte: the recipe expects 1.7, this run 1.6" in said[Finished]


def test_what_a_model_writes_cannot_command_the_terminal() -> None:
    assert printable("a\n\x1b[31mb\x9b0m\tc") == "a↵[31mb0m c"
    shown = sample_lines(report(), Words("en"))
    assert shown[0] == "length · too short"
    assert "b.txt (2 bytes): no[31m" in shown[1]


def test_plain_lines_thin_out_what_comes_often_but_keep_the_last() -> None:
    written: list[str] = []
    now = [0.0]
    viewer = PlainLines(Words("en"), written.append, every=10.0, clock=lambda: now[0])
    for number in range(1, 100):
        now[0] += 1.0
        viewer.show(step(number))
    viewer.show(Evaluated(99, 1.5, 20.0, 100))
    steps = [line.split()[1] for line in written if line.startswith("step ") and "lr" in line]
    assert steps == ["1", "11", "21", "31", "41", "51", "61", "71", "81", "91", "99"]
    assert "1.500 bits" in written[-1]


def test_the_dashboard_shows_where_the_run_is() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=40, color_system=None)
    with Dashboard(Words("en"), console) as dashboard:
        for event in EVENTS[:8]:
            dashboard.show(event)
        for event in EVENTS[11:13]:
            dashboard.show(event)
        dashboard._next = 0.0
        dashboard.show(step(7, 2.5))
        panel = screen.getvalue()
        for event in EVENTS[13:]:
            dashboard.show(event)
    for part in (
        "7/10",
        "2.500",
        "12,345 token/s",
        "42% of the matmul peak",
        "700 MB",
        "left 1:01",
        "1.750 bits",
    ):
        assert part in panel, panel
    assert "» The cat sat↵[31mred" in panel
    assert "█" in panel
    assert "\x1b[31m" not in screen.getvalue()
    assert "Finished in 2.5 minutes." in screen.getvalue()


def test_sparkline() -> None:
    assert sparkline([1.0, 2.0, 3.0], 3) == "▁▅█"
    assert sparkline([1.0, 1.0, 3.0, 3.0], 2) == "▁█"
    assert sparkline([2.0, 2.0], 5) == "▁▁"
    assert sparkline([], 5) == ""


def test_duration() -> None:
    assert [duration(s) for s in (None, 5, 61, 3725)] == ["—", "0:05", "1:01", "1:02:05"]
