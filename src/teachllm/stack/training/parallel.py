"""One run in several processes, by torch.distributed: copies of the model (DDP) or shares of it (FSDP2).

Started by `torchrun`, which tells each process its number. The model file knows nothing of it, and the loop
little: it asks `wrap` for a module to call, and `total` for sums over all processes.
Li et al. 2020, arXiv:2006.15704 (DDP); Zhao et al. 2023, arXiv:2304.11277 (FSDP).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from teachllm.stack.training.objective import NextTokenLoss


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is. local_rank: on its machine, where it is the number of its GPU."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """The one process that prints and writes."""
        return self.rank == 0

    def device(self, kind: str) -> torch.device:
        """This process's device of a kind such as "cuda" or "cpu"."""
        return torch.device(kind, self.local_rank) if kind == "cuda" else torch.device(kind)

    def total(self, value: Tensor) -> Tensor:
        """The sum of `value` over all processes, in each of them; a new tensor."""
        value = value.clone()
        if self.world_size > 1:
            dist.all_reduce(value)
        return value

    def wait_for_all(self) -> None:
        """Go on when every process has come here."""
        if self.world_size > 1:
            dist.barrier()


ALONE = Processes()


@contextmanager
def processes(kind: str = "cpu") -> Iterator[Processes]:
    """The processes that `torchrun` started, connected while the block lasts; `ALONE` without it.

    kind: of the device that each computes on.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    these = Processes(
        int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0"))
    )
    if kind == "cuda":
        torch.cuda.set_device(these.local_rank)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield these
    finally:
        dist.destroy_process_group()


# The model, spread out ---------------------------------------------------------------------------------


def shard(model: nn.Module, compute_dtype: torch.dtype) -> None:
    """Cut every parameter into as many shares as there are processes (FSDP2), block by block.

    Each process keeps its share of weights, gradients and optimizer state. A block is gathered when it is
    needed, in `compute_dtype`, and let go afterwards. Every process must have the same weights before.
    The optimizer must be made afterwards: parameters are replaced.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=None if compute_dtype == torch.float32 else compute_dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # cosines and sines of positions stay float32
    )
    kind = next(model.parameters()).device.type
    mesh = init_device_mesh(kind, (dist.get_world_size(),))
    for block in model.blocks:  # pyright: ignore[reportGeneralTypeIssues]
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # What is left (embedding, last norm, head) stays gathered between `features` and the loss.
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    register_fsdp_forward_method(model, "features")


def replicate(objective: NextTokenLoss) -> nn.Module:
    """The objective with a copy of the model in each process, whose gradients are averaged (DDP)."""
    on_gpu = next(objective.parameters()).device.type == "cuda"
    return DistributedDataParallel(
        objective,
        device_ids=[torch.cuda.current_device()] if on_gpu else None,
        forward_sync_buffers=False,  # rotation tables, the same everywhere
        gradient_as_bucket_view=True,
    )


def collecting_gradients(wrapped: nn.Module, last_piece: bool) -> AbstractContextManager[object]:
    """Inside, gradients of a piece of a batch add up in this process; the last piece exchanges them."""
    if isinstance(wrapped, DistributedDataParallel):
        return nullcontext() if last_piece else wrapped.no_sync()
    if isinstance(model := getattr(wrapped, "model", None), FSDPModule):
        model.set_requires_gradient_sync(last_piece)
    return nullcontext()


def settle(model: nn.Module) -> None:
    """Back to shares, where a forward pass without a backward pass has left parameters gathered."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


# A parameter or its state, whole -----------------------------------------------------------------------


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may have a share. Every process must ask at the same time."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def assign(to: Tensor, value: Tensor) -> None:
    """Write a whole tensor into `to`, or this process's share of it."""
    if isinstance(to, DTensor):
        # Every process has read the same file, so nothing needs to be sent.
        value = distribute_tensor(
            value.to(to.device, to.dtype), to.device_mesh, to.placements, src_data_rank=None
        )
    to.copy_(value)
