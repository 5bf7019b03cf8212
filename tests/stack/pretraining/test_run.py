"""Runs from end to end: what a person does, and what they find afterwards."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from teachllm.stack.inference.generation import generate
from teachllm.stack.inference.language_model import load_language_model
from teachllm.stack.pretraining.events import (
    Chosen,
    CorpusCleaned,
    DataReady,
    Evaluated,
    Finished,
    ModelReady,
    Sampled,
)
from teachllm.stack.pretraining.recipe import Recipe, read_recipe
from teachllm.stack.pretraining.record import METRICS, SAMPLES, RunError, list_runs, read_events, read_info
from teachllm.stack.pretraining.run import resume_run, run_recipe
from teachllm.stack.training.checkpoint import RunBusy
from teachllm.stack.training.loop import Saved, StepMetrics
from teachllm.stack.training.watch import TrainingDiverged


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return read_recipe(recipe_file)


def losses(events: list) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepMetrics)]


def test_from_text_to_a_model_that_writes(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    events = list(run_recipe(recipe, folder))
    kinds = [type(event) for event in events]
    assert kinds[0] is Chosen
    assert kinds.index(CorpusCleaned) < kinds.index(DataReady) < kinds.index(ModelReady)
    assert [event.step for event in events if isinstance(event, StepMetrics)] == list(range(1, 13))
    assert [event.step for event in events if isinstance(event, Saved)] == [4, 8, 12]
    assert [(e.step, e.is_final) for e in events if isinstance(e, Evaluated)] == [(6, False), (12, True)]
    assert [event.step for event in events if isinstance(event, Sampled)] == [6, 12]
    first, *_, last = (event for event in events if isinstance(event, StepMetrics))
    assert last.loss < first.loss - 0.5
    assert last.tokens == 12 * 4 * 32
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.status == "finished"
    assert [row.is_fine for row in end.comparison] == [True, True]

    model = load_language_model(folder / "model")
    written = generate(model.model, model.tokenizer, model.encode_text("the"), max_tokens=4)
    assert "".join(event.text for event in written)

    info = read_info(folder)
    assert (info.status, info.step, info.parameters) == (
        "finished",
        12,
        events[kinds.index(ModelReady)].parameters,
    )
    assert not info.is_dead
    kept = (StepMetrics, Evaluated, Saved)
    logged, _ = read_events(folder / METRICS)
    assert logged == [*(event for event in events if isinstance(event, kept)), *end.comparison]
    assert read_events(folder / SAMPLES)[0] == [event for event in events if isinstance(event, Sampled)]
    reports = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    assert [step["name"] for step in next(iter(reports.values()))] == ["length", "exact-duplicates"]
    assert list_runs(tmp_path) == [(folder, info)]
    with pytest.raises(RunError, match="is finished"):
        next(run_recipe(recipe, folder))


@pytest.mark.parametrize("how", ["stop", "close"])
def test_stopped_and_resumed_it_is_the_same_run(recipe: Recipe, tmp_path: Path, how: str) -> None:
    whole = losses(list(run_recipe(recipe, tmp_path / "whole")))
    folder, stop = tmp_path / "parts", threading.Event()
    events, parts = [], run_recipe(recipe, folder, stop=stop)
    for event in parts:
        events.append(event)
        if isinstance(event, StepMetrics) and event.step == 6:
            if how == "close":
                parts.close()
                break
            stop.set()
    assert read_info(folder).status == "stopped"
    if how == "stop":
        assert isinstance(events[-1], Finished)
        assert (events[-1].status, events[-1].step) == ("stopped", 6)
    rest = list(resume_run(folder))
    assert next(event for event in rest if isinstance(event, ModelReady)).resumed_from == 6
    assert losses(events) + losses(rest) == whole
    assert losses(read_events(folder / METRICS)[0]) == whole
    model, again = (load_language_model(tmp_path / name / "model").model for name in ("whole", "parts"))
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_whose_process_died_goes_on_and_its_log_has_each_step_once(
    recipe: Recipe, recipe_file: Path, tmp_path: Path
) -> None:
    whole = losses(list(run_recipe(recipe, tmp_path / "whole")))
    command = [sys.executable, "-m", "teachllm", "train", str(recipe_file), "--out", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "runs").glob("*/checkpoints/step-00000004")):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    (folder,) = (tmp_path / "runs").iterdir()
    info = read_info(folder)
    if info.status == "finished":  # it was faster than the kill
        return
    assert info.is_dead
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write('{"kind": "step", "time": 1, "step": 11')
    list(resume_run(folder))
    assert losses(read_events(folder / METRICS)[0]) == whole
    assert not read_info(folder).is_dead


def test_two_cannot_work_on_one_run(recipe: Recipe, tmp_path: Path) -> None:
    first = run_recipe(recipe, tmp_path / "run")
    next(first)
    with pytest.raises(RunBusy):
        next(resume_run(tmp_path / "run"))
    assert read_info(tmp_path / "run").status == "preparing"
    first.close()


def test_what_went_wrong_is_in_the_record(recipe_file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, {"training": {"learning_rate": 1e30, "clip": 1e30}})
    with pytest.raises(TrainingDiverged):
        list(run_recipe(recipe, tmp_path / "run"))
    info = read_info(tmp_path / "run")
    assert info.status == "failed"
    assert "learning rate" in info.message


def test_a_full_disk_is_what_is_told(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(self: Path, *arguments, **options) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    parts = run_recipe(recipe, tmp_path / "run")
    next(event for event in parts if isinstance(event, StepMetrics))
    monkeypatch.setattr(Path, "write_text", no_room)
    with pytest.raises(OSError, match="room"):
        list(parts)
    monkeypatch.undo()
    assert read_info(tmp_path / "run").status == "training"
    (rest,) = [event for event in resume_run(tmp_path / "run") if isinstance(event, Finished)]
    assert rest.status == "finished"


def test_two_processes_are_one_run(recipe: Recipe, recipe_file: Path, tmp_path: Path) -> None:
    alone = losses(list(run_recipe(recipe, tmp_path / "alone")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "teachllm", "train", str(recipe_file), "--out", str(tmp_path / "runs")]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    ((folder, info),) = list_runs(tmp_path / "runs")
    assert info.status == "finished"
    assert losses(read_events(folder / METRICS)[0]) == pytest.approx(alone, abs=2e-5)
    assert done.stdout.count("Finished") + done.stdout.count("完成") == 1


def test_a_log_is_read_as_it_grows(tmp_path: Path) -> None:
    log = tmp_path / METRICS
    assert read_events(log) == ([], 0)
    one = (
        '{"kind": "evaluated", "time": 1, "step": 3, "bits_per_byte": 2.0, "perplexity": null, "tokens": 5}\n'
    )
    log.write_text(one + '{"kind": "later version"}\n' + one[:40], encoding="utf-8")
    events, offset = read_events(log)
    assert [event.step for event in events if isinstance(event, Evaluated)] == [3]
    with log.open("a", encoding="utf-8") as file:
        file.write(one[40:])
    more, offset = read_events(log, offset)
    assert len(more) == 1
    assert read_events(log, offset) == ([], offset)
    log.write_text(one, encoding="utf-8")  # cut by a run that resumed
    assert len(read_events(log, offset)[0]) == 1


def test_the_command_stops_at_ctrl_c_and_says_how_to_go_on(recipe_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "teachllm", "train", str(recipe_file), "--out", str(tmp_path / "runs")]
    command += ["--steps", "100000", "--eval-every", "0", "--sample-every", "0", "--lang", "en"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "runs").glob("*/checkpoints/step-00000004")):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    ((folder, info),) = list_runs(tmp_path / "runs")
    assert info.status == "stopped"
    assert f"Stopped at step {info.step}." in out
    assert f"teachllm resume {folder}" in err
    assert (folder / "checkpoints" / f"step-{info.step:08}").is_dir()
