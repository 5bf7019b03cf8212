"""AdamW and Muon on weights that two processes hold half of each, as FSDP2 leaves them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.muon import Muon
from teachllm.stack.training.optimizers import clip_by_global_norm
from teachllm.stack.training.parameter_groups import parameter_groups

STEPS = 4
CLIP = 0.7


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.Linear(10, 3))


def gradient(shape: torch.Size, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def path_of(model: nn.Module, make: type[AdamW] | type[Muon]) -> dict[str, Tensor]:
    """Norms of the gradients, and weights after some steps with gradients that depend on step and name."""
    optimizer = make(parameter_groups(model, 0.1), lr=0.05)
    norms = []
    for step in range(STEPS):
        for number, parameter in enumerate(model.parameters()):
            full = gradient(parameter.shape, 10 * step + number)
            if isinstance(parameter, DTensor):
                full = distribute_tensor(full, parameter.device_mesh, parameter.placements)
            parameter.grad = full
        norms.append(clip_by_global_norm([p.grad for p in model.parameters() if p.grad is not None], CLIP))
        optimizer.step()
    weights = {
        name: parameter.full_tensor() if isinstance(parameter, DTensor) else parameter.detach()
        for name, parameter in model.named_parameters()
    }
    return weights | {"norms": torch.stack(norms)}


def half(folder: Path, rank: int) -> None:
    """What each of the two processes does; the first writes the weights down."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    for make in (AdamW, Muon):
        model = small_model()
        fully_shard(model, mesh=mesh)
        got = path_of(model, make)
        if rank == 0:
            torch.save(got, folder / f"{make.__name__}.pt")
    distributed.destroy_process_group()


def test_halves_move_as_the_whole_does(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path)]
    processes = [subprocess.Popen([*command, rank]) for rank in ("0", "1")]
    assert [process.wait(timeout=90) for process in processes] == [0, 0]
    for make in (AdamW, Muon):
        expected = path_of(small_model(), make)
        got = torch.load(tmp_path / f"{make.__name__}.pt", weights_only=True)
        assert got["norms"].min() > CLIP
        for name, value in expected.items():
            torch.testing.assert_close(got[name], value, atol=1e-6, rtol=1e-6, msg=f"{make.__name__} {name}")


if __name__ == "__main__":
    half(Path(sys.argv[1]), int(sys.argv[2]))
