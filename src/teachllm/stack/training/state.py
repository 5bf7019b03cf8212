"""What training changes: the model, its optimizer, the place in the data. A checkpoint holds all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Int
from torch import Tensor, nn

from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.muon import Muon
from teachllm.stack.training.objective import NextTokenLoss
from teachllm.stack.training.parallel import ALONE, Processes, replicate, shard
from teachllm.stack.training.parameter_groups import parameter_groups
from teachllm.stack.training.recompute import recompute_activations


class Batch(Protocol):
    """Rows of tokens, the token after each, and the document that each belongs to; see `data.loader`."""

    @property
    def tokens(self) -> Int[Tensor, "row position"]: ...
    @property
    def targets(self) -> Int[Tensor, "row position"]: ...
    @property
    def document_ids(self) -> Int[Tensor, "row position"]: ...


class Loader(Protocol):
    """Batches one after another, of each the rows of this process; `state_dict` is its place, as JSON."""

    def __next__(self) -> Batch: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Any) -> None: ...


@dataclass
class TrainingState:
    """Made by `begin`, changed by `train`.

    objective computes the loss of `model`; `wrapped` is the same spread over the processes, and what `train`
    calls. step: updates made. tokens: trained on, in all processes. recent_losses: for `watch.is_spike`.
    """

    model: nn.Module
    objective: NextTokenLoss
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    loader: Loader
    processes: Processes
    step: int = 0
    tokens: int = 0
    recent_losses: list[float] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def begin(
    model: nn.Module, loader: Loader, config: TrainingConfig, processes: Processes = ALONE
) -> TrainingState:
    """The state before the first step.

    The model stands on its device, in float32. Several processes must begin with the same weights, and
    share the model as `config.sharing` says. ValueError if its weights are not float32.
    """
    if narrow := [name for name, p in model.named_parameters() if p.dtype != torch.float32]:
        raise ValueError(
            f"the weights {narrow[:3]} are not float32: updates added in fewer bits are rounded away. Load "
            "the model in float32; products are computed in `precision` anyway"
        )
    model.train()
    dtype = config.compute_dtype(next(model.parameters()).device)
    if config.recompute:
        recompute_activations(model.blocks)  # pyright: ignore[reportArgumentType]
    is_cut = processes.world_size > 1 and config.sharing == "fsdp"
    if is_cut:
        shard(model, dtype)
    # FSDP2 gathers weights in the dtype of products, so nobody needs to round them.
    objective = NextTokenLoss(model, torch.float32 if is_cut else dtype, config.within_documents)
    wrapped = replicate(objective) if processes.world_size > 1 and not is_cut else objective
    groups = parameter_groups(model, config.weight_decay)
    numbers: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.beta1, config.beta2),
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "muon":
        optimizer = Muon(groups, **numbers, compute_dtype=dtype)
    else:
        optimizer = AdamW(groups, **numbers)
    return TrainingState(model, objective, wrapped, optimizer, loader, processes)
