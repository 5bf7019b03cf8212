"""Checkpoints: all of a run in a folder, from which it goes on as if it had never stopped.

A checkpoint is also a Hugging Face folder where the model has such a form: `load_model` and `transformers`
open it. Nothing in it is a pickle.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from teachllm.stack.data.file_lock import file_lock
from teachllm.stack.data.whole_folder import PARTIAL, whole_folder
from teachllm.stack.models.export import hugging_face_layout, write_tokenizer, write_weights
from teachllm.stack.models.gpt2 import GPT2Config
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.models.weights import state_dict
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.parallel import assign, settle, whole
from teachllm.stack.training.state import TrainingState

MODEL, REST, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
FORMAT = 1
# What may differ between the run that saved and the one that goes on: it changes how, not what, is computed.
FREE = ("micro_rows", "recompute", "checkpoint_every", "keep", "sharing")


class CheckpointFailed(OSError):
    """A checkpoint could not be written; those before it are whole."""


class RunBusy(RuntimeError):
    """Another process works on this run."""


@dataclass
class CheckpointFolder:
    """A folder of checkpoints, `step-00000100` and so on.

    tokenizer: written into each, so that the model in it can be given text.
    last: the newest one that was written or loaded here.
    """

    path: Path
    tokenizer: Tokenizer | None = None
    last: Path | None = field(default=None, init=False)

    def save(self, state: TrainingState, config: TrainingConfig) -> Path:
        """Write the state, whole or not at all, then delete all but the newest `config.keep`.

        Every process must call it; the first one writes. `CheckpointFailed` if there is no room or no right.
        """
        tensors = whole_tensors(state)
        folder = self.path / f"step-{state.step:08}"
        if state.processes.is_first:
            try:
                with whole_folder(folder) as new:
                    self._write(new, state, config, *tensors)
                self._delete_old(config.keep)
            except (OSError, SafetensorError) as problem:
                raise CheckpointFailed(_why_not_written(folder, problem, self.last)) from problem
        state.processes.wait_for_all()
        self.last = folder
        return folder

    def load(self, folder: Path, state: TrainingState, config: TrainingConfig | None) -> None:
        """Make `state`, which `begin` has made for the same model, what it was when `folder` was saved.

        config: ValueError if the run was saved with another; None takes the weights on whatever comes.
        The number of processes may be another. ValueError if the folder is damaged or of another model.
        """
        if problem := damage(folder):
            raise ValueError(f"the checkpoint {folder} cannot be used: {problem}")
        content = json.loads((folder / STATE).read_text(encoding="utf-8"))["content"]
        _check_same("model", content["model"], _as_json(state.model.config))
        if config is not None:
            _check_same("settings", _without_free(content["config"]), _without_free(_as_json(config)))
        state.loader.load_state_dict(content["loader"])
        load_tensors(folder, state)
        state.step, state.tokens = content["step"], content["tokens"]
        state.recent_losses = content["recent_losses"]
        self.last = folder

    def newest(self, on_damaged: Callable[[Path, str], object]) -> Path | None:
        """The newest whole checkpoint, None if there is none; `on_damaged` hears of others, and why."""
        for folder in reversed(self.all()):
            problem = damage(folder)
            if problem is None:
                return folder
            on_damaged(folder, problem)
        return None

    def all(self) -> list[Path]:
        """Every checkpoint, oldest first. What was being written when a process died is not among them."""
        return sorted(path for path in self.path.glob("step-*") if path.name[5:].isdigit())

    def _write(
        self,
        folder: Path,
        state: TrainingState,
        config: TrainingConfig,
        weights: dict[str, Tensor],
        rest: dict[str, Tensor],
    ) -> None:
        model_config = state.model.config
        if isinstance(model_config, LlamaConfig | GPT2Config):
            write_weights(model_config, weights, folder, torch.float32)
            if self.tokenizer is not None:
                write_tokenizer(self.tokenizer, folder)
        else:
            save_file(weights, folder / MODEL)
        save_file(rest, folder / REST)
        content = {
            "step": state.step,
            "tokens": state.tokens,
            "loader": state.loader.state_dict(),
            "recent_losses": state.recent_losses,
            "config": _as_json(config),
            "model": _as_json(model_config),
            "sha256": {name: _sha256(folder / name) for name in (MODEL, REST)},
        }
        sealed = {"format": FORMAT, "seal": _seal(content), "content": content}
        (folder / STATE).write_text(json.dumps(sealed, indent=1), encoding="utf-8")

    def _delete_old(self, keep: int) -> None:
        for folder in self.all()[:-keep]:
            # Half deleted, it must not look whole.
            folder.rename(folder.with_name(folder.name + PARTIAL))
        for leftover in self.path.glob("step-*" + PARTIAL):
            shutil.rmtree(leftover, ignore_errors=True)


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None if every byte is as it was written."""
    try:
        sealed = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if sealed["format"] != FORMAT:
            return f"it has format {sealed['format']}, and this version reads {FORMAT}"
        content = sealed["content"]
        if sealed["seal"] != _seal(content):
            return f"{STATE} was changed"
        for name, expected in content["sha256"].items():
            if _sha256(folder / name) != expected:
                return f"{name} was changed or is cut off"
    except FileNotFoundError as problem:
        return f"{Path(problem.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as problem:
        return f"it cannot be read ({problem})"
    return None


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Inside, this process alone works on the run in `folder`; `RunBusy` if another one does."""

    def refuse() -> None:
        raise RunBusy(
            f"another process is training the run in {folder}. Wait until it has ended, or stop it; two "
            "would overwrite each other's checkpoints"
        )

    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / "lock", while_waiting=refuse):
        yield


# Tensors -----------------------------------------------------------------------------------------------


def whole_tensors(state: TrainingState) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights by name, and everything else that is a tensor: the optimizer's state as
    `parameter/name of the state`, and the random numbers of torch.

    Gathered from all processes; only the first one keeps them.
    """
    settle(state.model)
    weights, rest = {}, {}
    for name, parameter in state.model.named_parameters():
        tensors = {f"{name}/{key}": value for key, value in state.optimizer.state[parameter].items()}
        for kind, given in ((weights, {name: parameter}), (rest, tensors)):
            for key, tensor in given.items():
                value = whole(tensor.detach())
                if state.processes.is_first:
                    kind[key] = value.cpu().contiguous()
    rest["random/cpu"] = torch.get_rng_state()
    if state.device.type == "cuda":
        rest["random/cuda"] = torch.cuda.get_rng_state(state.device)
    return weights, rest


@torch.no_grad()
def load_tensors(folder: Path, state: TrainingState) -> None:
    """The inverse of `whole_tensors`: into the model and the optimizer, each process its share."""
    settle(state.model)
    config = state.model.config
    with safe_open(folder / MODEL, framework="pt") as file:
        if isinstance(config, LlamaConfig | GPT2Config):
            weights = state_dict(hugging_face_layout(config), file.get_tensor, "cpu", torch.float32)
        else:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    for name, parameter in state.model.named_parameters():
        assign(parameter, weights.pop(name))
    state.optimizer.zero_grad(set_to_none=True)
    parameters = dict(state.model.named_parameters())
    state.optimizer.state.clear()
    with safe_open(folder / REST, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            name, _, what = key.rpartition("/")
            value = file.get_tensor(key)
            if name == "random":
                if what == "cpu":
                    torch.set_rng_state(value)
                elif state.device.type == "cuda":
                    torch.cuda.set_rng_state(value, state.device)
                continue
            parameter = parameters[name]
            if value.shape == parameter.shape:
                part = torch.empty_like(parameter, dtype=value.dtype)
                assign(part, value)
            else:
                # A copy, since what was read is a view of the file, which could not be deleted from the disk.
                part = value.to(parameter.device, copy=True)
            state.optimizer.state[parameter][what] = part
    state.objective.weights.refresh()


# What is compared and said -----------------------------------------------------------------------------


def _as_json(config: Any) -> dict[str, Any]:
    """A configuration as it comes back from a file: tuples have become lists."""
    return json.loads(json.dumps(asdict(config)))


def _without_free(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in FREE}


def _check_same(what: str, saved: dict[str, Any], given: dict[str, Any]) -> None:
    names = sorted(saved.keys() | given.keys())
    if differences := [
        f"{name} was {saved.get(name)!r} and is {given.get(name)!r}"
        for name in names
        if saved.get(name) != given.get(name)
    ]:
        raise ValueError(
            f"the checkpoint was saved with other {what}: {'; '.join(differences)}. Continue with those it "
            "was saved with, or begin a new run"
        )


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why_not_written(folder: Path, problem: Exception, last: Path | None) -> str:
    text = str(problem)
    full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or "No space left" in text or "File too large" in text:
        why = "no room is left. Make room there, or keep fewer checkpoints"
    else:
        why = f"{text}. Put that right"
    before = f"The last one, {last}, is whole" if last is not None else "None was written before"
    return f"the checkpoint {folder} could not be written: {why}, and resume the run. {before}."
