"""The commands as a person types them: what they say, and how they end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from teachllm.cli import app
from teachllm.stack.pretraining.events import Evaluated
from teachllm.stack.pretraining.record import list_runs
from teachllm.stack.pretraining.tensorboard import TensorBoardLog
from teachllm.stack.training.loop import StepMetrics


def run(*words: str | Path) -> int:
    """The command's exit code."""
    try:
        app([str(word) for word in words], exit_on_error=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_train_then_eval_then_generate(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    flags = [
        "--out",
        out,
        "--steps",
        "3",
        "--length",
        "96",
        "--name",
        "mine",
        "--prompts",
        "a dog",
        "--lang",
        "en",
    ]
    assert run("train", recipe_file, *flags) == 0
    ((folder, info),) = list_runs(out)
    assert folder.name.startswith("mine-")
    assert info.steps == 3
    printed = capsys.readouterr()
    assert "» a dog" in printed.out
    assert f"teachllm generate --model {folder / 'model'}" in printed.err

    assert run("eval", folder, "--tasks", "grammar", "--lang", "en") == 0
    printed = capsys.readouterr()
    assert "bits per byte, perplexity" in printed.out
    assert "grammar: " in printed.out

    assert run("generate", "the", "--model", folder / "model", "--max-tokens", "3") == 0
    assert capsys.readouterr().out.startswith("the")
    assert run("resume", folder, "--lang", "en") == 1
    assert "is finished" in capsys.readouterr().err


def test_prepare_shows_what_was_dropped(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", recipe_file, "--lang", "zh") == 0
    printed = capsys.readouterr().out
    assert "length: 留下 41/42 篇; 太短 1" in printed
    assert "short.txt (9 bytes): too short" in printed
    assert run("prepare", recipe_file, "--no-samples", "--lang", "zh") == 0
    assert "short.txt" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "nothing.toml"], "there is no recipe nothing.toml"),
        (["train", "{recipe}", "--rows", "0", "--out", "{tmp}"], "rows is 0; it must be at least 1"),
        (["train", "{recipe}", "--length", "9999", "--out", "{tmp}"], "not one row of 9,999"),
        (["resume", "{tmp}"], "is not the folder of a run"),
        (["eval", "{tmp}"], "is not the folder of a run"),
    ],
)
def test_what_goes_wrong_is_told_in_words(
    words: list[str], said: str, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(recipe=recipe_file, tmp=tmp_path) for word in words]
    assert run(*words, "--lang", "en") == 1
    printed = capsys.readouterr().err
    assert said in printed.replace("\n", " ")
    assert "Traceback" not in printed


def test_event_files_for_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoardLog(tmp_path) as log:
        log.show(StepMetrics(7, 700, 2.5, 1e-3, 0.5, 100.0, None, 1000, 1.0))
        log.show(Evaluated(7, 1.5, 9.0, 100))
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("training/loss")] == [(7, 2.5)]
    assert [(e.step, e.value) for e in read.Scalars("held_out/bits_per_byte")] == [(7, 1.5)]
    assert "training/matmul_fraction" not in read.Tags()["scalars"]


def test_without_tensorboard_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install"):
        TensorBoardLog(tmp_path)
