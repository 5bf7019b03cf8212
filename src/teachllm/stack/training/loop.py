"""The training loop: everything that a run does to a model happens in `train`, in nine numbered steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import psutil
import torch
from torch import Tensor

from teachllm.stack.data.packing import IGNORED
from teachllm.stack.training.checkpoint import CheckpointFolder
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.events import Saved, Spike, StepMetrics, TrainingEvent
from teachllm.stack.training.optimizers import clip_by_global_norm
from teachllm.stack.training.parallel import collecting_gradients
from teachllm.stack.training.schedules import lr_at
from teachllm.stack.training.state import Batch, TrainingState
from teachllm.stack.training.watch import WINDOW, TrainingDiverged, check_finite, is_spike

MOST_ROLLBACKS = 3  # to one checkpoint, before the run is given up


def train(
    state: TrainingState,
    config: TrainingConfig,
    checkpoints: CheckpointFolder | None = None,
    tokens_per_second_at_peak: float | None = None,
) -> Iterator[TrainingEvent]:
    """Steps from where `state` stands to the last one: one event for each, and for what happens between.

    Whenever an event is out, the state is whole: the caller may evaluate, sample, save, or stop for good.
    tokens_per_second_at_peak: what all processes together would do if everything were as fast as the
    machine's fastest matrix products.
    Raises `TrainingDiverged` for a loss that is no number, `CheckpointFailed` if one cannot be written, and
    what the loader raises; the weights are then those after the last update.
    """
    processes, device = state.processes, state.device
    rollbacks, pace = 0, 0.0
    state.optimizer.zero_grad(set_to_none=True)  # an earlier call may have been broken off in a step
    while state.step < config.steps:
        begun = time.perf_counter()

        # 1. Take the next batch (of several processes, each has its rows) in pieces that fit in memory.
        batch = next(state.loader)
        n_tokens, n_targets = processes.total(counts(batch).to(device)).tolist()
        pieces = in_pieces(batch, config.micro_rows, device)

        # 2. Set the learning rate of this step.
        learning_rate = lr_at(state.step, config.learning_rates)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate

        # 3. Go forward and back. Gradients of the pieces add up to that of the whole batch; processes
        #    average theirs, so each counts its own as often as there are processes.
        loss = torch.zeros((), device=device)
        for i, piece in enumerate(pieces):
            with collecting_gradients(state.wrapped, last_piece=i == len(pieces) - 1):
                piece_loss = state.wrapped(*piece, n_targets)
                (piece_loss * processes.world_size).backward()
            loss += piece_loss.detach()
        loss = float(processes.total(loss))

        # 4. Shorten the gradient, all weights taken as one vector, to the length `clip`.
        gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
        norm = float(clip_by_global_norm(gradients, config.clip))

        # 5. Look at both before they change anything.
        last_checkpoint = None if checkpoints is None else checkpoints.last
        check_finite(loss, norm, state.step + 1, learning_rate, last_checkpoint)
        spike = None
        if is_spike(loss, state.recent_losses, config.spike_threshold):
            spike = Spike(state.step + 1, loss, median(state.recent_losses), back_to=None)
            if config.on_spike == "rollback" and checkpoints is not None and last_checkpoint is not None:
                rollbacks += 1
                go_back(state, config, checkpoints, rollbacks)
                yield replace(spike, back_to=state.step)
                continue

        # 6. Update the weights.
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.objective.weights.refresh()

        # 7. Count.
        state.step += 1
        state.tokens += n_tokens
        state.recent_losses = [*state.recent_losses, loss][-WINDOW:]

        # 8. Report.
        seconds = time.perf_counter() - begun
        if spike is not None:
            yield spike
        pace = 0.9 * pace + 0.1 * seconds if pace else seconds
        speed = n_tokens / seconds
        yield StepMetrics(
            step=state.step,
            tokens=state.tokens,
            loss=loss,
            learning_rate=learning_rate,
            gradient_norm=norm,
            tokens_per_second=speed,
            matmul_fraction=speed / tokens_per_second_at_peak if tokens_per_second_at_peak else None,
            memory_bytes=memory_in_use(device),
            seconds_left=pace * (config.steps - state.step),
        )

        # 9. Save.
        if checkpoints is not None and is_due(state.step, config):
            yield Saved(state.step, checkpoints.save(state, config))
            rollbacks = 0


def counts(batch: Batch) -> Tensor:
    """How many tokens a batch has, and how many of them have a target that counts."""
    return torch.stack([torch.tensor(batch.tokens.numel()), (batch.targets != IGNORED).sum().cpu()])


def in_pieces(batch: Batch, rows: int, device: torch.device) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(tokens, targets, document ids) of `rows` rows at a time."""
    whole_batch = (batch.tokens, batch.targets, batch.document_ids)
    return list(zip(*(part.to(device).split(rows) for part in whole_batch), strict=True))


def go_back(
    state: TrainingState, config: TrainingConfig, checkpoints: CheckpointFolder, rollbacks: int
) -> None:
    """Weights and optimizer of the last checkpoint, with the data where they are now: behind the spike.

    Chowdhery et al. 2022, arXiv:2204.02311 (PaLM), section 5.1.
    """
    if rollbacks > MOST_ROLLBACKS:
        raise TrainingDiverged(
            f"at step {state.step + 1} the loss has jumped for the {rollbacks}th time since the checkpoint "
            f"{checkpoints.last}, and other data did not help. Continue from an older one with a lower "
            "learning rate, or look for what is wrong in the data",
            state.step + 1,
            checkpoints.last,
        )
    place = state.loader.state_dict()
    assert checkpoints.last is not None
    checkpoints.load(checkpoints.last, state, config)
    state.loader.load_state_dict(place)


def is_due(step: int, config: TrainingConfig) -> bool:
    """Whether a checkpoint is to be written after this many steps: every so often, and at the end."""
    return step == config.steps or (config.checkpoint_every > 0 and step % config.checkpoint_every == 0)


def memory_in_use(device: torch.device) -> int:
    """Bytes that this process holds now; on a GPU, the most that it has held there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
