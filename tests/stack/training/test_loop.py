"""The loop does what its nine steps say, however the batch is cut and whatever the loss does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from teachllm.stack.data.loader import Batch, BatchLoader
from teachllm.stack.data.packing import IGNORED
from teachllm.stack.data.shards import TokenShards
from teachllm.stack.models.llama import Llama
from teachllm.stack.training.checkpoint import CheckpointFolder
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.loop import Saved, Spike, StepMetrics, train
from teachllm.stack.training.schedules import lr_at
from teachllm.stack.training.state import TrainingState, begin
from teachllm.stack.training.watch import TrainingDiverged


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(
        **{"steps": 12, "micro_rows": 8, "precision": "float32", "warmup_steps": 2, **changes}
    )


def steps(state: TrainingState, config: TrainingConfig, **arguments: Any) -> list[StepMetrics]:
    return [event for event in train(state, config, **arguments) if isinstance(event, StepMetrics)]


class Listed:
    """Batches from a list, over and over."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.position = batches, 0

    def __next__(self) -> Batch:
        self.position += 1
        return self.batches[(self.position - 1) % len(self.batches)]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


def noise(like: Batch, seed: int) -> Batch:
    """A batch in which nothing can be predicted."""
    tokens = torch.randint(128, 256, like.tokens.shape, generator=torch.Generator().manual_seed(seed))
    return Batch(tokens, tokens.roll(-1, dims=1), torch.zeros_like(tokens))


def test_it_is_the_plain_loop_of_pytorch(llama: Llama, shards: TokenShards) -> None:
    loader = BatchLoader(shards, rows=8, length=32, seed=1)
    plain = copy.deepcopy(llama)
    settings = config(steps=20, within_documents=False, clip=0.5)
    ours = steps(begin(llama, copy.deepcopy(loader), settings), settings)

    matrices = [p for name, p in plain.named_parameters() if p.ndim == 2 and "embedding" not in name]
    others = [p for name, p in plain.named_parameters() if p.ndim < 2 or "embedding" in name]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_at(step, settings.learning_rates) / settings.learning_rate
    )
    clipped = 0
    for one in ours:
        batch = next(loader)
        loss = F.cross_entropy(plain(batch.tokens).flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        clipped += bool(norm > 0.5)
        optimizer.step()
        schedule.step()
        assert one.loss == pytest.approx(loss.item(), abs=1e-5)
        assert one.gradient_norm == pytest.approx(norm.item(), rel=1e-3)
    assert clipped > 5
    assert ours[-1].loss < ours[0].loss - 1
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(llama.get_parameter(name), parameter, atol=2e-4, rtol=0, msg=name)


@pytest.mark.parametrize("micro_rows", [1, 3, 4])
def test_pieces_of_a_batch_add_up_to_the_batch(llama: Llama, loader: BatchLoader, micro_rows: int) -> None:
    """Also where pieces have unlike numbers of targets: a mean of means would be another loss."""
    batch = next(copy.deepcopy(loader))
    assert len({int((row != IGNORED).sum()) for row in batch.targets}) > 1
    other = copy.deepcopy(llama)
    at_once = steps(begin(llama, copy.deepcopy(loader), config()), config())
    settings = config(micro_rows=micro_rows)
    in_pieces = steps(begin(other, copy.deepcopy(loader), settings), settings)
    for one, many in zip(at_once, in_pieces, strict=True):
        assert many.loss == pytest.approx(one.loss, abs=2e-6)
        assert many.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)
        assert many.tokens == one.tokens
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(llama.get_parameter(name), parameter, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_learns_a_batch_by_heart(llama: Llama, loader: BatchLoader, optimizer: str) -> None:
    settings = config(steps=150, learning_rate=1e-2, optimizer=optimizer)
    events = steps(begin(llama, Listed([next(loader)]), settings), settings)
    assert events[0].loss == pytest.approx(5.55 + 0.2, abs=0.2)  # ln 257, and √(2/5) as deviation of logits
    assert events[-1].loss < 0.1


def test_a_step_says_what_it_did(llama: Llama, loader: BatchLoader) -> None:
    settings = config()
    events = list(train(begin(llama, loader, settings), settings, tokens_per_second_at_peak=1e12))
    assert len(events) == settings.steps  # nothing else has happened
    for i, event in enumerate(events):
        assert isinstance(event, StepMetrics)
        assert event.step == i + 1
        assert event.tokens == 8 * 32 * (i + 1)
        assert event.learning_rate == lr_at(i, settings.learning_rates) > 0
        assert event.matmul_fraction == pytest.approx(event.tokens_per_second / 1e12)
        assert event.memory_bytes > 1 << 20
        assert (event.seconds_left > 0) == (event.step < settings.steps)


def test_whoever_stops_between_two_steps_can_go_on(llama: Llama, loader: BatchLoader) -> None:
    other = copy.deepcopy(llama)
    expected = [e.loss for e in steps(begin(other, copy.deepcopy(loader), config()), config())]
    state = begin(llama, loader, config())
    run = train(state, config())
    losses = [next(run).loss for _ in range(5)]  # pyright: ignore[reportAttributeAccessIssue]
    run.close()
    assert losses + [e.loss for e in steps(state, config())] == expected


def test_recompute_changes_no_number(llama: Llama, loader: BatchLoader) -> None:
    other = copy.deepcopy(llama)
    expected = [e.loss for e in steps(begin(other, copy.deepcopy(loader), config()), config())]
    settings = config(recompute=True)
    assert [e.loss for e in steps(begin(llama, loader, settings), settings)] == expected


@torch.no_grad()
def loss_of_documents_one_by_one(model: Llama, batch: Batch) -> float:
    """Rotary positions are relative, so each document may begin at 0."""
    nats = 0.0
    for tokens, targets, ids in zip(batch.tokens, batch.targets, batch.document_ids, strict=True):
        for number in ids.unique():
            mine = targets[ids == number]
            losses = F.cross_entropy(model(tokens[None, ids == number])[0], mine, reduction="none")
            nats += float(losses[mine != IGNORED].sum())
    return nats / int((batch.targets != IGNORED).sum())


def test_documents_of_a_row_do_not_see_each_other(llama: Llama, loader: BatchLoader) -> None:
    batch = next(loader)
    expected = loss_of_documents_one_by_one(llama, batch)
    for within, differs in ((True, False), (False, True)):
        settings = config(within_documents=within)
        run = train(begin(copy.deepcopy(llama), Listed([batch]), settings), settings)
        assert (abs(next(run).loss - expected) > 1e-4) == differs  # pyright: ignore[reportAttributeAccessIssue]


def test_bfloat16_follows_float32_and_keeps_float32_weights(llama: Llama, loader: BatchLoader) -> None:
    other = copy.deepcopy(llama)
    wide = steps(begin(other, copy.deepcopy(loader), config(steps=30)), config(steps=30))
    settings = config(steps=30, precision="bfloat16")
    narrow = steps(begin(llama, loader, settings), settings)
    assert [e.loss for e in narrow] != [e.loss for e in wide]
    for one, other_one in zip(narrow, wide, strict=True):
        # bfloat16 keeps 8 bits: 0.4% of a loss of 5 in the beginning, and less.
        assert one.loss == pytest.approx(other_one.loss, abs=0.03)
    assert {p.dtype for p in llama.parameters()} == {torch.float32}


def test_weights_in_fewer_bits_are_refused(llama: Llama, loader: BatchLoader) -> None:
    with pytest.raises(ValueError, match="not float32"):
        begin(llama.bfloat16(), loader, config())


# What goes wrong ---------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_before_the_update(
    llama: Llama, loader: BatchLoader, tmp_path: Path
) -> None:
    settings = config(checkpoint_every=4)
    checkpoints = CheckpointFolder(tmp_path)
    state = begin(llama, loader, settings)
    run = train(state, settings, checkpoints)
    while state.step < 6:
        next(run)
    with torch.no_grad():
        llama.norm.weight[3] = torch.nan
    before = {name: p.detach().clone() for name, p in llama.named_parameters()}
    with pytest.raises(TrainingDiverged, match=r"at step 7 the loss is nan.*step-00000004") as caught:
        next(run)
    assert caught.value.step == 7
    assert caught.value.checkpoint == tmp_path / "step-00000004"
    for name, parameter in llama.named_parameters():
        assert torch.equal(parameter.nan_to_num(9), before[name].nan_to_num(9)), name
    # With the cause removed it goes on: nothing of the broken step is left in the gradients.
    with torch.no_grad():
        llama.norm.weight[3] = 1.0
    state.objective.weights.refresh()
    assert next(train(state, settings)).gradient_norm < 10  # pyright: ignore[reportAttributeAccessIssue]


def test_an_infinite_gradient_stops_the_run(llama: Llama, loader: BatchLoader) -> None:
    llama.blocks[1].register_full_backward_hook(lambda _, into, out: (into[0] * torch.inf, *into[1:]))
    with pytest.raises(
        TrainingDiverged, match=r"at step 1 the gradient's length is (nan|inf).*no checkpoint"
    ):
        next(train(begin(llama, loader, config()), config()))


@pytest.fixture
def spoiled(loader: BatchLoader) -> Listed:
    """40 batches, of which 31 and 32 are noise."""
    batches = [next(loader) for _ in range(40)]
    batches[30], batches[31] = noise(batches[0], 1), noise(batches[0], 2)
    return Listed(batches)


def test_a_spike_is_reported_when_its_step_is_done(llama: Llama, spoiled: Listed) -> None:
    settings = config(steps=36, schedule="constant")
    state = begin(llama, spoiled, settings)
    spikes, n_steps = [], 0
    for event in train(state, settings):
        n_steps += isinstance(event, StepMetrics)
        if isinstance(event, Spike):
            spikes.append(event.step)
            assert event.loss > event.median + 1
            assert event.back_to is None
            assert state.step == spoiled.position == event.step  # a checkpoint here would leave nothing out
            assert all(p.grad is None for p in llama.parameters())
    assert spikes == [31, 32]
    assert n_steps == 36


def test_after_a_spike_the_run_goes_back_and_around_the_data(
    llama: Llama, spoiled: Listed, tmp_path: Path
) -> None:
    settings = config(steps=36, schedule="constant", on_spike="rollback", checkpoint_every=10)
    fresh = begin(copy.deepcopy(llama), copy.deepcopy(spoiled), settings)
    state = begin(llama, spoiled, settings)
    seen, losses = [], []
    for event in train(state, settings, CheckpointFolder(tmp_path)):
        seen.append((type(event), event.step, spoiled.position))
        losses += [event.loss] if isinstance(event, StepMetrics) else []
        if isinstance(event, Spike):
            assert event.back_to == state.step == 30
            assert len(state.recent_losses) == 30
    assert [(step, place) for kind, step, place in seen if kind is Spike] == [(31, 31), (31, 32)]
    # Two batches were left out: 36 updates have taken 38.
    assert [(step, place) for kind, step, place in seen if kind is StepMetrics] == [
        *((i, i) for i in range(1, 31)),
        *((i, i + 2) for i in range(31, 37)),
    ]
    assert [step for kind, step, _ in seen if kind is Saved] == [10, 20, 30, 36]
    # A run that died after the spike meets it again, and goes around it again.
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.load(tmp_path / "step-00000030", fresh, settings)
    assert [e.loss for e in steps(fresh, settings, checkpoints=checkpoints)] == losses[30:]


def test_a_run_that_only_falls_back_is_given_up(llama: Llama, loader: BatchLoader, tmp_path: Path) -> None:
    batches = [next(loader) for _ in range(20)]
    spoiled = Listed(batches + [noise(batches[0], i) for i in range(20)])
    settings = config(steps=36, schedule="constant", on_spike="rollback", checkpoint_every=20)
    with pytest.raises(TrainingDiverged, match="4th time since the checkpoint"):
        list(train(begin(llama, spoiled, settings), settings, CheckpointFolder(tmp_path)))


def test_everything_wrong_with_the_settings_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="steps is 0") as caught:
        TrainingConfig(
            steps=0,
            micro_rows=0,
            optimizer="sgd",
            clip=0.0,
            on_spike="rollback",  # pyright: ignore
            floor=2.0,
            beta2=1.0,
        )
    for said in (
        "micro_rows is 0",
        "optimizer is 'sgd'",
        "clip is 0",
        "rollback",
        "floor is 2",
        "beta2 is 1",
    ):
        assert said in str(caught.value), said
