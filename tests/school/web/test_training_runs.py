"""Training runs in the studio: the list, a run that grows while one looks, damaged and hostile folders."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from teachllm.school.web import run_follower
from teachllm.stack.data.pipeline import StepReport
from teachllm.stack.pretraining.events import Comparison, Evaluated, Sampled, TaskScored, Warned
from teachllm.stack.pretraining.record import DATA, INFO, METRICS, RECIPE, RunWriter
from teachllm.stack.pretraining.reports import report_to_json
from teachllm.stack.training.loop import Spike, StepMetrics

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
needs_signals = pytest.mark.skipif(os.name == "nt", reason="no checkpoint after a signal on Windows")


@pytest.fixture
def root(studio: Any) -> Iterator[Path]:
    root = studio.studio.runs.path
    root.mkdir(exist_ok=True)
    yield root
    shutil.rmtree(root)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_follower, "LOOK_SECONDS", 0.02)


def begin(root: Path, name: str = "nano-20261124-201500", **known: Any) -> RunWriter:
    """A run that this process works on, as ``run_recipe`` records it."""
    (root / name).mkdir()
    given: dict[str, Any] = {"steps": 40, "status": "training", "reason": "no GPU", "reason_zh": "没有 GPU"}
    writer = RunWriter.begin(root / name, known.pop("recipe", "nano"), **{**given, **known})
    writer.write(RECIPE, 'name = "nano"\n')
    return writer


def step(number: int, loss: float = 3.0) -> StepMetrics:
    return StepMetrics(number, 100 * number, loss, 0.01, 0.5, 2000.0, 0.25, 10**8, 40.0 - number)


def points(events: list[dict[str, Any]], name: str = "loss") -> list[tuple[int, float]]:
    """The curve that a page has after these events."""
    known: list[tuple[int, float]] = []
    for event in events:
        news = event.get("curves", {}).get(name)
        if news is not None:
            known = [point for point in known if point[0] < news["from"]]
            known += zip(news["x"], news["y"], strict=True)
    return known


def last(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(event for event in reversed(events) if event["event"] == kind)


def followed(page: httpx.Client, writer: RunWriter, events_of: Any) -> list[dict[str, Any]]:
    """All events of a run that has ended."""
    with page.stream("GET", f"/api/runs/{writer.folder.name}/events") as response:
        assert response.status_code == 200
        return list(events_of(response))


# The list ----------------------------------------------------------------------------------------------


def test_empty_page_says_how_to_begin(page: httpx.Client) -> None:
    assert page.get("/api/runs").json() == {"runs": []}
    assert "teachllm train recipes/nano.toml" in page.get("/runs").text


def test_list_tells_where_every_run_is(page: httpx.Client, root: Path) -> None:
    going_on = begin(root, "a", created=4.0)
    for number in range(1, 8):
        going_on.log(step(number, loss=8 - number))
    going_on.log(Evaluated(7, 1.25, 12.0, 1000))
    begin(root, "b", created=3.0).update(status="finished", step=40)
    begin(root, "c", created=2.0).update(process_began=1.0)
    begin(root, "d", created=1.0).update(status="failed", message="the disk is full")
    (root / "e").mkdir()
    (root / "f").mkdir()
    (root / "f" / INFO).write_text("[1, 2")
    rows = page.get("/api/runs").json()["runs"]
    assert [(row["name"], row["status"]) for row in rows] == [
        ("a", "training"),
        ("b", "finished"),
        ("c", "died"),
        ("d", "failed"),
    ]
    assert (rows[0]["steps_text"], rows[0]["loss_text"], rows[0]["held_out_text"]) == (
        "7 / 40",
        "1.000",
        "1.250",
    )
    assert (rows[1]["step"], rows[1]["loss_text"]) == (40, "–")
    page.post("/api/settings", json={"lang": "zh"})
    html = page.get("/runs").text
    assert all(text in html for text in ("正在训练", "训练完了", "中断了", "出错了", "7 / 40", "1.250"))
    page.post("/api/settings", json={"lang": "en"})
    assert "broken off" in page.get("/runs").text


# One run -----------------------------------------------------------------------------------------------


def test_page_follows_a_run_until_it_ends(page: httpx.Client, root: Path, events_of: Any) -> None:
    writer = begin(root)
    writer.log(step(1))
    events: list[dict[str, Any]] = []
    with page.stream("GET", f"/api/runs/{writer.folder.name}/events") as response:
        coming = events_of(response)
        while not events or events[-1]["event"] != "samples":  # the last event of a look
            events.append(next(coming))
        assert last(events, "state")["step"] == 1
        with open(writer.folder / METRICS, "a") as log:  # half a line is not read, and not lost
            whole = json.dumps({"kind": "step", **_fields(step(2, loss=2.5))}) + "\n"
            log.write(whole[:40])
            log.flush()
            time.sleep(0.1)
            log.write(whole[40:])
        while len(points(events)) < 2:
            events.append(next(coming))
        writer.log(Sampled(2, "The function", " returns"))
        writer.log(Evaluated(2, 1.5, 20.0, 1000))
        writer.log(Spike(3, 9.0, 2.5, back_to=None))
        writer.log(step(3, loss=9.0))
        (writer.folder / "checkpoints" / "step-00000003").mkdir(parents=True)
        (writer.folder / "checkpoints" / "step-00000002.partial").mkdir()
        writer.update(status="stopped", step=3, seconds=12.5)
        events += list(coming)
    assert events[-1] == {"event": "end"}
    assert points(events) == [(1, 3.0), (2, 2.5), (3, 9.0)]
    assert points(events, "held_out_loss") == [(2, pytest.approx(2.99573))]  # the logarithm of 20
    assert points(events, "memory_bytes")[-1] == (3, 1e8)
    assert last(events, "samples")["samples"] == [{"step": 2, "prompt": "The function", "text": " returns"}]
    state = last(events, "state")
    assert (state["status"], state["working"], state["step"], state["seconds"]) == ("stopped", False, 3, 12.5)
    assert state["last"]["loss"] == 9.0
    assert [note["text"] for note in state["notes"]] == ["the loss jumps to 9.000 (the median was 2.500)"]
    assert [one["step"] for one in state["checkpoints"]] == [3]
    assert state["commands"] == [f"teachllm resume {writer.folder}"]


def test_finished_run_is_compared_with_its_recipe(page: httpx.Client, root: Path, events_of: Any) -> None:
    writer = begin(root)
    writer.log(step(40, loss=1.0))
    writer.log(Evaluated(40, 2.3, 20.0, 1000, is_final=True))
    writer.log(TaskScored(40, "addition:1", "accuracy", 0.5, 20))
    writer.log(Comparison("bits_per_byte", "2.000 ± 0.1", "2.300", is_fine=False))
    writer.update(status="finished", step=40, seconds=90.0)
    state = last(followed(page, writer, events_of), "state")
    assert state["comparison"] == [
        {"what": "bits_per_byte", "expected": "2.000 ± 0.1", "found": "2.300", "fine": False}
    ]
    assert state["tasks"] == [{"task": "addition:1", "metric": "accuracy", "value": 0.5, "items": 20}]
    assert state["commands"][1] == f"teachllm eval {writer.folder}"


def test_resumed_run_replaces_what_it_does_again(page: httpx.Client, root: Path, events_of: Any) -> None:
    writer = begin(root)
    for number in range(1, 9):
        writer.log(step(number, loss=1.0))
    writer.log(Evaluated(8, 1.5, 20.0, 1000))
    writer.log(Sampled(8, "p", "t"))
    events: list[dict[str, Any]] = []
    with page.stream("GET", f"/api/runs/{writer.folder.name}/events") as response:
        coming = events_of(response)
        while not (events and points(events, "held_out_loss")):
            events.append(next(coming))
        writer.forget_after(4)
        writer.log(step(5, loss=2.0))
        writer.update(status="stopped", step=5)
        events += list(coming)
    assert points(events) == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0)]
    assert points(events, "held_out_loss") == []
    assert last(events, "samples")["samples"] == []


def test_long_log_is_thinned(page: httpx.Client, root: Path, events_of: Any) -> None:
    writer = begin(root, steps=20_000)
    lines = (
        json.dumps({"kind": "step", **_fields(step(n, loss=77.0 if n == 7001 else 3.0))})
        for n in range(20_000)
    )
    (writer.folder / METRICS).write_text("\n".join(lines) + "\n")
    writer.update(status="stopped", step=19_999)
    events = followed(page, writer, events_of)
    curve = points(events)
    assert len(curve) <= 2000
    assert (7001, 77.0) in curve
    assert len(json.dumps(events)) < 400_000


def test_nobody_looks_at_a_run_that_no_page_follows(
    page: httpx.Client, root: Path, events_of: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    news = run_follower.Follower.news
    monkeypatch.setattr(run_follower.Follower, "news", lambda self: looks.append(0.0) or news(self))
    writer = begin(root)
    with page.stream("GET", f"/api/runs/{writer.folder.name}/events") as response:
        coming = events_of(response)
        next(coming)
        wait_until(lambda: len(looks) > 3)
    time.sleep(0.3)
    left = len(looks)
    time.sleep(0.3)
    assert len(looks) == left


def test_closing_studio_ends_the_streams(studio: Any, page: httpx.Client, root: Path, events_of: Any) -> None:
    writer = begin(root)
    closing = studio.studio.runs.closing
    try:
        with page.stream("GET", f"/api/runs/{writer.folder.name}/events") as response:
            coming = events_of(response)
            next(coming)
            closing.set()
            assert "end" not in [event["event"] for event in coming]
    finally:
        closing.clear()


def test_deleted_run_says_so(page: httpx.Client, root: Path, events_of: Any) -> None:
    writer = begin(root)
    with page.stream("GET", f"/api/runs/{writer.folder.name}/events") as response:
        coming = events_of(response)
        next(coming)
        shutil.rmtree(writer.folder)
        assert list(coming)[-1]["event"] == "error"


# What is not ours --------------------------------------------------------------------------------------


def test_names_do_not_lead_out_of_the_folder(page: httpx.Client, root: Path, tmp_path: Path) -> None:
    outside = begin(tmp_path, "outside").folder
    inside = begin(root, "inside").folder
    (root / "link").symlink_to(outside)
    relative = os.path.relpath(outside, root)
    names = ["..", ".", relative, str(outside), "link", "nothing", "a" * 300, "a\0b", "inside/../inside"]
    for name in names:
        quoted = str(httpx.QueryParams({"q": name}))[2:].replace("+", "%20").replace(".", "%2E")
        for path in (f"/runs/{quoted}", f"/api/runs/{quoted}/events"):
            assert page.get(path).status_code == 404, path
        assert page.post(f"/api/runs/{quoted}/stop", json={}).status_code == 404
    assert page.get(f"/runs/{inside.name}").status_code == 200
    assert [row["name"] for row in page.get("/api/runs").json()["runs"]] == ["inside"]


def test_hostile_run_is_text(page: httpx.Client, root: Path, events_of: Any) -> None:
    writer = begin(root, HOSTILE.replace("/", "∕"), recipe=HOSTILE, reason=HOSTILE, device=HOSTILE)
    writer.log(Sampled(1, HOSTILE, HOSTILE))
    writer.log(Warned(1, HOSTILE))
    report = StepReport(HOSTILE, kept=1)
    report.dropped[HOSTILE] = 2
    writer.write(DATA, json.dumps({HOSTILE: [report_to_json(report)]}))
    writer.write(RECIPE, HOSTILE)
    writer.update(status="failed", message=HOSTILE)
    begin(root, "other")
    name = httpx.URL(path=f"/runs/{writer.folder.name}").raw_path.decode()
    for path in ("/runs", name):
        html = page.get(path).text
        assert "<img" not in html
        assert "<script>alert" not in html
    assert HOSTILE in last(followed(page, writer, events_of), "samples")["samples"][0]["text"]


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "step", "step": "x", "tokens": [], "loss": {}, "learning_rate": "<b>",'
        ' "gradient_norm": null, "tokens_per_second": 1e999,'
        ' "matmul_fraction": [], "memory_bytes": -1, "seconds_left": "soon"}',
        '{"kind": "evaluated", "step": [], "bits_per_byte": [], "perplexity": -3,'
        ' "tokens": 0, "is_final": 0}',
        '{"kind": "spike", "step": {}, "loss": "a", "median": null, "back_to": "b"}',
        '{"kind": "task", "step": 1, "task": {"a": 1}, "metric": 3, "value": "x", "items": []}',
        '{"kind": "sample", "step": 1, "prompt": 7, "text": null}',
        '{"kind": "compared", "what": [], "expected": 1, "found": {}, "is_fine": "x"}',
        '{"kind": ["step"]}',
        "[1, 2]",
        "\0\xff not JSON",
    ],
)
def test_damaged_log_does_not_end_the_page(page: httpx.Client, root: Path, events_of: Any, line: str) -> None:
    writer = begin(root)
    for name in (METRICS, "samples.jsonl"):
        (writer.folder / name).write_text(line + "\n")
    writer.log(step(2, loss=1.5))
    writer.write(DATA, '{"corpus": [{"kept": "<b>"}]}')
    writer.update(status="finished", step=40)
    events = followed(page, writer, events_of)
    assert events[-1] == {"event": "end"}
    assert points(events) == [(2, 1.5)]
    assert page.get("/api/runs").json()["runs"][0]["loss_text"] == "1.500"
    assert page.get(f"/runs/{writer.folder.name}").status_code == 200


@pytest.mark.parametrize(
    "change", [{"created": "x"}, {"pid": -1}, {"pid": "1"}, {"status": "<b>"}, {"more": 1}, {"step": None}]
)
def test_damaged_record_does_not_end_the_list(page: httpx.Client, root: Path, change: dict[str, Any]) -> None:
    begin(root, "whole")
    writer = begin(root, "damaged")
    content = json.loads((writer.folder / INFO).read_text())
    (writer.folder / INFO).write_text(json.dumps({**content, **change}))
    assert page.get("/runs").status_code == 200
    assert "whole" in [row["name"] for row in page.get("/api/runs").json()["runs"]]
    assert page.get("/runs/damaged").status_code in (200, 404)


# Stopping ----------------------------------------------------------------------------------------------

TRAINER = """
import signal, sys, time
from pathlib import Path
from teachllm.stack.data.file_lock import file_lock
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with file_lock(Path(sys.argv[1])):
    print("works", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def trainer(root: Path) -> Iterator[tuple[RunWriter, subprocess.Popen[str]]]:
    """A run, and a process that works on it: it holds the lock, and ends with 7 when it is asked to."""
    writer = begin(root)
    command = [sys.executable, "-c", TRAINER, str(writer.folder / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        writer.update(pid=process.pid, process_began=psutil.Process(process.pid).create_time())
        yield writer, process
        process.kill()


@needs_signals
def test_run_is_asked_to_stop(page: httpx.Client, trainer: Any, events_of: Any) -> None:
    writer, process = trainer
    with page.stream("GET", f"/api/runs/{writer.folder.name}/events") as response:
        state = next(event for event in events_of(response) if event["event"] == "state")
    assert state["stoppable"] is True
    assert page.post(f"/api/runs/{writer.folder.name}/stop", json={}).json() == {"stopping": True}
    assert process.wait(timeout=20) == 7


@needs_signals
@pytest.mark.parametrize("doubt", ["other process", "no lock", "other machine", "ended", "this process"])
def test_no_signal_while_there_is_a_doubt(page: httpx.Client, trainer: Any, doubt: str) -> None:
    writer, process = trainer
    if doubt == "other process":
        writer.update(process_began=writer.info.process_began - 5)
    elif doubt == "no lock":
        (writer.folder / "lock").rename(writer.folder / "another")
    elif doubt == "other machine":
        writer.update(host=platform.node() + "-2")
    elif doubt == "ended":
        writer.update(status="finished")
    else:
        writer.update(pid=os.getpid(), process_began=psutil.Process().create_time())
    answer = page.post(f"/api/runs/{writer.folder.name}/stop", json={})
    assert answer.status_code == 409
    assert answer.json()["error"]["message"]
    assert process.poll() is None


@needs_signals
def test_other_pages_cannot_stop_a_run(studio: Any, page: httpx.Client, trainer: Any) -> None:
    writer, process = trainer
    path = f"/api/runs/{writer.folder.name}/stop"
    for header in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"cookie": ""}):
        assert page.post(path, json={}, headers=header).status_code in (401, 403)
    assert page.post(path, content="x", headers={"content-type": "text/plain"}).status_code in (403, 415)
    assert process.poll() is None


def _fields(event: StepMetrics) -> dict[str, Any]:
    return {name: getattr(event, name) for name in StepMetrics.__dataclass_fields__}
