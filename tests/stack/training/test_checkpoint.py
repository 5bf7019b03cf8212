"""A checkpoint holds all of a run, is whole or is said to be damaged, and belongs to one run."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from teachllm.stack.data.loader import BatchLoader
from teachllm.stack.models.decoder import Decoder, DecoderConfig
from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.llama import Llama
from teachllm.stack.models.loading import load_model
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.checkpoint import CheckpointFolder, RunBusy, damage, only_process
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import StepMetrics, train
from teachllm.stack.training.state import TrainingState, begin


def config(**changes: Any) -> TrainingConfig:
    usual = {"steps": 9, "micro_rows": 4, "precision": "float32", "warmup_steps": 2, "checkpoint_every": 3}
    return TrainingConfig(**{**usual, **changes})


def never(folder: Path, problem: str) -> None:
    raise AssertionError(f"{folder}: {problem}")


def fresh(kind: str, loader: BatchLoader, settings: TrainingConfig, seed: int) -> TrainingState:
    sizes = {"vocab_size": 257, "d_model": 32, "n_layers": 2, "n_heads": 4, "hidden": 64}
    heads = {"n_kv_heads": 2, "head_dim": 8}
    model = {
        "gpt2": lambda: GPT2(GPT2Config(context_length=32, **sizes)),
        "decoder": lambda: Decoder(DecoderConfig(context_length=32, **sizes, **heads)),
    }[kind]()
    initialize(model, torch.Generator().manual_seed(seed))
    return begin(model, copy.deepcopy(loader), settings)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gpt2", {}),
        ("decoder", {"optimizer": "muon"}),
        ("gpt2", {"precision": "bfloat16", "recompute": True}),
    ],
)
def test_a_run_goes_on_as_if_it_had_never_stopped(
    kind: str, changes: dict[str, Any], loader: BatchLoader, tmp_path: Path
) -> None:
    settings = config(**changes)
    whole_run = fresh(kind, loader, settings, seed=0)
    losses = [
        e.loss for e in train(whole_run, settings, CheckpointFolder(tmp_path)) if isinstance(e, StepMetrics)
    ]
    resumed = fresh(kind, loader, settings, seed=1)
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.load(tmp_path / "step-00000006", resumed, settings)
    assert (resumed.step, resumed.tokens, checkpoints.last) == (6, 6 * 256, tmp_path / "step-00000006")
    assert [e.loss for e in train(resumed, settings) if isinstance(e, StepMetrics)] == losses[6:]
    for name, parameter in whole_run.model.named_parameters():
        assert torch.equal(resumed.model.get_parameter(name), parameter), name
        for key, value in whole_run.optimizer.state[parameter].items():
            restored = resumed.optimizer.state[resumed.model.get_parameter(name)][key]
            assert restored.dtype == value.dtype
            assert torch.equal(restored, value), (name, key)
    assert resumed.recent_losses == whole_run.recent_losses


@pytest.fixture
def run(llama: Llama, loader: BatchLoader, tokenizer: Tokenizer, checkpoints_path: Path) -> TrainingState:
    """Nine steps, of which 6 and 9 are kept."""
    settings = config()
    state = begin(llama, loader, settings)
    for _ in train(state, settings, CheckpointFolder(checkpoints_path, tokenizer)):
        pass
    return state


def another(run: TrainingState, settings: TrainingConfig | None = None) -> TrainingState:
    return begin(copy.deepcopy(run.model), copy.deepcopy(run.loader), settings or config())


def test_the_newest_stay_and_hold_no_pickle(run: TrainingState, checkpoints_path: Path) -> None:
    assert sorted(path.name for path in checkpoints_path.iterdir()) == ["step-00000006", "step-00000009"]
    for path in checkpoints_path.rglob("*"):
        assert path.is_dir() or path.suffix in (".json", ".safetensors"), path


def test_the_model_in_it_opens_like_any_other(run: TrainingState, checkpoints_path: Path) -> None:
    loaded = load_model(checkpoints_path / "step-00000009", "cpu", torch.float32)
    for name, value in run.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def change_a_byte(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def change_the_step(folder: Path) -> None:
    sealed = json.loads((folder / "state.json").read_text())
    sealed["content"]["step"] = 8
    (folder / "state.json").write_text(json.dumps(sealed))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit of a weight": (
        lambda f: change_a_byte(f / "model.safetensors", -100),
        "model.safetensors was changed",
    ),
    "a bit of a moment": (
        lambda f: change_a_byte(f / "optimizer.safetensors", -9),
        "optimizer.safetensors was",
    ),
    "a file is missing": (
        lambda f: (f / "optimizer.safetensors").unlink(),
        "optimizer.safetensors is missing",
    ),
    "cut off": (lambda f: (f / "state.json").write_text('{"format": 1, "con'), "cannot be read"),
    "no state": (lambda f: (f / "state.json").unlink(), "state.json is missing"),
    "not an object": (lambda f: (f / "state.json").write_text("[1]"), "cannot be read"),
    "edited": (change_the_step, "state.json was changed"),
    "a later format": (
        lambda f: (f / "state.json").write_text('{"format": 99}'),
        "has format 99, and this version reads 1",
    ),
}


@pytest.mark.parametrize(("break_it", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_is_taken(
    break_it: Callable[[Path], object], said: str, run: TrainingState, checkpoints_path: Path
) -> None:
    newest = checkpoints_path / "step-00000009"
    assert damage(newest) is None
    break_it(newest)
    heard: list[tuple[Path, str]] = []
    found = CheckpointFolder(checkpoints_path).newest(lambda folder, problem: heard.append((folder, problem)))
    assert found == checkpoints_path / "step-00000006"
    assert [folder for folder, _ in heard] == [newest]
    assert said in heard[0][1]
    with pytest.raises(ValueError, match="cannot be used"):
        CheckpointFolder(checkpoints_path).load(newest, another(run), config())


def test_what_a_killed_process_left_is_no_checkpoint_and_goes_away(
    run: TrainingState, checkpoints_path: Path
) -> None:
    (checkpoints_path / "step-00000012.partial").mkdir()
    (checkpoints_path / "step-00000012.partial" / "model.safetensors").write_bytes(b"half")
    checkpoints = CheckpointFolder(checkpoints_path)
    assert checkpoints.newest(never) == checkpoints_path / "step-00000009"
    run.step = 15
    checkpoints.save(run, config())
    assert [path.name for path in checkpoints.all()] == ["step-00000009", "step-00000015"]
    assert len(list(checkpoints_path.iterdir())) == 2


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="nothing says which files are mapped")
def test_a_loaded_one_can_be_deleted_from_the_disk(run: TrainingState, checkpoints_path: Path) -> None:
    state = another(run)
    CheckpointFolder(checkpoints_path).load(checkpoints_path / "step-00000009", state, config())
    assert state.step == 9
    assert str(checkpoints_path) not in Path("/proc/self/maps").read_text()


def test_an_empty_folder_has_no_checkpoint(checkpoints_path: Path) -> None:
    assert CheckpointFolder(checkpoints_path).newest(never) is None


def test_other_settings_are_refused_unless_they_are_wanted(
    run: TrainingState, checkpoints_path: Path
) -> None:
    checkpoints, newest = CheckpointFolder(checkpoints_path), checkpoints_path / "step-00000009"
    other = config(steps=20, learning_rate=1e-4)
    with pytest.raises(ValueError, match=r"learning_rate was 0.003 and is 0.0001; steps was 9 and is 20"):
        checkpoints.load(newest, another(run, other), other)
    state = another(run, other)
    checkpoints.load(newest, state, None)
    assert state.step == 9
    # What changes only how it is computed may change.
    checkpoints.load(newest, another(run), config(micro_rows=2, keep=5, checkpoint_every=1))


def test_another_model_and_other_data_are_refused(
    run: TrainingState, checkpoints_path: Path, loader: BatchLoader, shards: Any
) -> None:
    checkpoints, newest = CheckpointFolder(checkpoints_path), checkpoints_path / "step-00000009"
    with pytest.raises(ValueError, match="other model"):
        checkpoints.load(newest, fresh("gpt2", loader, config(), 0), config())
    elsewhere = BatchLoader(shards, rows=8, length=32, seed=2, packing="best-fit")
    with pytest.raises(ValueError, match="seed: 1 → 2"):
        checkpoints.load(newest, begin(copy.deepcopy(run.model), elsewhere, config()), config())


def test_random_numbers_go_on(run: TrainingState, checkpoints_path: Path) -> None:
    torch.manual_seed(3)
    folder = CheckpointFolder(checkpoints_path).save(run, config())
    expected = torch.rand(5)
    torch.manual_seed(4)
    CheckpointFolder(checkpoints_path).load(folder, another(run), config())
    assert torch.equal(torch.rand(5), expected)


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from teachllm.stack.training.checkpoint import only_process\n"
        f"with only_process(Path({str(tmp_path)!r})):\n"
        "    print('mine', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(RunBusy, match="another process is training"), only_process(tmp_path):
            pass
        other.kill()
        other.wait()
        with only_process(tmp_path):  # the lock of a process that died is free
            pass
