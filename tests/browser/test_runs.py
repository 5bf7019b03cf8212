"""A learner trains in a terminal and looks at it in the studio: curves that grow, samples, the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .conftest import RunningStudio

if TYPE_CHECKING:
    from teachllm.stack.pretraining.record import RunWriter
    from teachllm.stack.training.loop import StepMetrics

pytestmark = pytest.mark.browser
Visit = Callable[..., AbstractContextManager[tuple[Page, Any]]]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def root(studio: RunningStudio) -> Iterator[Path]:
    """The studio of the tests was started in its learner's home: `teachllm train` would put runs here."""
    root = studio.home / "runs"
    root.mkdir()
    yield root
    shutil.rmtree(root)


def begin(root: Path, name: str, **known: Any) -> RunWriter:
    """A run that this process works on, as ``run_recipe`` records it."""
    from teachllm.stack.pretraining.record import RECIPE, RunWriter

    (root / name).mkdir()
    given: dict[str, Any] = {"steps": 40, "device": "cpu", "dtype": "float32", "reason": "no GPU"}
    writer = RunWriter.begin(root / name, "nano", **{**given, **known})
    writer.write(RECIPE, 'name = "nano"\n')
    return writer


def step(number: int, loss: float | None = None) -> StepMetrics:
    from teachllm.stack.training.loop import StepMetrics

    loss = 8 / number if loss is None else loss
    return StepMetrics(number, 100 * number, loss, 0.01, 0.5, 2000.0, 0.25, 10**8, 40.0 - number)


def prepared(writer: RunWriter) -> None:
    """What preparing leaves: the report on the data."""
    from teachllm.stack.data.documents import Document
    from teachllm.stack.data.pipeline import StepReport
    from teachllm.stack.pretraining.record import DATA
    from teachllm.stack.pretraining.reports import report_to_json

    report = StepReport("length", kept=3)
    report.drop(Document(HOSTILE, "a.txt"), "too short", "28 characters")
    writer.write(DATA, json.dumps({"stdlib-docs": [report_to_json(report)]}))
    writer.update(status="training")


def finished(root: Path, name: str) -> RunWriter:
    from teachllm.stack.pretraining.events import Comparison, Evaluated, Sampled, TaskScored, Warned
    from teachllm.stack.training.loop import Spike

    writer = begin(root, name)
    prepared(writer)
    for number in range(1, 41):
        writer.log(step(number))
    writer.log(Evaluated(20, 1.9, 30.0, 1000))
    writer.log(Spike(30, 9.0, 2.5, back_to=None))
    writer.log(Warned(31, "a checkpoint is not used"))
    writer.log(Evaluated(40, 1.5, 20.0, 1000, is_final=True))
    writer.log(TaskScored(40, "addition:1", "accuracy", 0.5, 20))
    writer.log(Comparison("bits_per_byte", "1.400 ± 0.05", "1.500", is_fine=False))
    writer.log(Comparison("minutes", "3.0 (two cores)", "1.5", is_fine=True))
    writer.log(Sampled(40, "The function", " returns a list."))
    (writer.folder / "checkpoints" / "step-00000040").mkdir(parents=True)
    writer.update(status="finished", step=40, seconds=90.0, parameters=1234)
    return writer


def test_a_run_from_its_beginning_to_its_end(visit: Visit, studio: RunningStudio, root: Path) -> None:
    from teachllm.stack.pretraining.events import Sampled

    studio.settle(lang="en", theme="light")
    with visit() as (page, _):
        page.goto(studio.address + "/runs")
        expect(page.get_by_text("teachllm train recipes/nano.toml")).to_be_visible()
        writer = begin(root, "nano-1")
        page.get_by_role("link", name="nano-1").click()  # it appeared by itself
        status = page.locator(".run-head [role=status]")
        expect(status).to_have_text("preparing data")
        expect(page.get_by_text("The data are not ready yet.")).to_be_visible()
        prepared(writer)
        expect(status).to_have_text("training")
        expect(page.get_by_role("cell", name="too short 1")).to_be_visible()
        for number in range(1, 21):
            writer.log(step(number))
        expect(page.get_by_text("step 20 of 40")).to_be_visible()
        expect(page.get_by_text("about 20 s left")).to_be_visible()
        expect(page.locator(".run-charts .chart")).to_have_count(6)
        expect(page.locator("[data-chart=loss] svg")).to_have_attribute("aria-label", _reaching("20"))
        writer.log(Sampled(20, "Once", f" upon {HOSTILE}"))
        expect(page.locator(".written")).to_have_text(f"Once upon {HOSTILE}")
        for number in range(21, 41):
            writer.log(step(number))
        expect(page.locator("[data-chart=loss] svg")).to_have_attribute("aria-label", _reaching("40"))
        writer.update(status="stopped", step=40, seconds=30.0)
        expect(status).to_have_text("stopped")
        expect(page.get_by_text("teachllm resume runs/nano-1")).to_be_visible()
        expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        # Somebody resumes it; who comes back to the page sees it go on.
        writer.update(status="training")
        writer.log(step(41))
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(status).to_have_text("training")
        expect(page.locator("[data-chart=loss] svg")).to_have_attribute("aria-label", _reaching("41"))


def _reaching(last_step: str) -> Any:
    import re

    return re.compile(rf"x from 1 to {last_step},")


def test_two_runs_lie_over_each_other(visit: Visit, studio: RunningStudio, root: Path) -> None:
    studio.settle(lang="zh", theme="dark")
    finished(root, "one")
    finished(root, "two")
    with visit() as (page, _):
        page.goto(studio.address + "/runs/one")
        chart = page.locator("[data-chart=learning_rate]")
        expect(chart.locator("path.series")).to_have_count(1)
        page.get_by_label("叠上另一次训练").select_option("two")
        expect(chart.locator("path.series")).to_have_count(2)
        expect(chart).to_contain_text("two")
        page.get_by_label("叠上另一次训练").select_option("")
        expect(chart.locator("path.series")).to_have_count(1)


def test_axe_finds_nothing_and_nothing_is_too_wide(visit: Visit, studio: RunningStudio, root: Path) -> None:
    finished(root, "one")
    begin(root, "two").update(status="failed", message="the disk is full: " + "long" * 60)
    found: dict[str, Any] = {}
    for lang, theme, screen in (("zh", "light", {}), ("en", "dark", {}), ("zh", "dark", PHONE)):
        studio.settle(lang=lang, theme=theme)
        with visit(reduced_motion="reduce", **screen) as (page, _):
            for path in ("/runs", "/runs/one", "/runs/two"):
                page.goto(studio.address + path)
                page.locator("[data-island][data-alive]").wait_for(state="attached")
                if path == "/runs/one":
                    page.locator(".run-charts svg").first.wait_for()
                    page.locator("details.more summary").first.click()
                answer = Axe().run(page, options=RULES).response["violations"]
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                found[f"{path} {lang} {theme}"] = [
                    *(f"{one['id']}: {node['html'][:160]}" for one in answer for node in one["nodes"]),
                    *([f"{wide} px too wide"] if wide > 0 else []),
                ]
    assert {where: what for where, what in found.items() if what} == {}


def test_page_reads_well_without_scripts(visit: Visit, studio: RunningStudio, root: Path) -> None:
    studio.settle(lang="en")
    finished(root, "one")
    with visit(java_script_enabled=False) as (page, _):
        page.goto(studio.address + "/runs")
        page.get_by_role("link", name="one").click()
        expect(page.get_by_text("finished: 40 / 40, loss 0.200")).to_be_visible()
        expect(page.get_by_text("too short 1")).to_be_visible()
