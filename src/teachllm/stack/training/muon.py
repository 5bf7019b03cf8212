"""Muon for the matrices inside a model, AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from teachllm.stack.training.adamw import check_adamw_options, update_with_adamw
from teachllm.stack.training.optimizers import muon_scale, newton_schulz


class Muon(torch.optim.Optimizer):
    """Groups with `orthogonal` true (the default) take `muon_step`, the others AdamW; see `parameter_groups`.

    Both kinds share one lr and one weight_decay. momentum belongs to Muon; betas and eps to AdamW.
    A group's `parts` are the rows of the matrices that its parameters consist of, one below another: each is
    orthogonalized by itself. None for parameters that are one matrix.
    compute_dtype: of the products of `newton_schulz`; the state is float32.
    A matrix that is sharded over processes (FSDP2) is gathered for its step: each of them needs the whole.
    ValueError for an orthogonal parameter that is no matrix, and for numbers out of range.
    Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.compute_dtype = compute_dtype
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "orthogonal": True,
            "parts": None,
        }
        super().__init__(parameters, defaults)
        for group in self.param_groups:
            check_adamw_options(group)
            if not 0 <= group["momentum"] < 1:
                raise ValueError(f"momentum is {group['momentum']}; it must be at least 0 and below 1")
            shapes = [tuple(p.shape) for p in group["params"] if p.ndim != 2]
            if group["orthogonal"] and shapes:
                raise ValueError(
                    f"Muon moves matrices, and was given parameters of shape {shapes[:3]}; put them in a "
                    'group with "orthogonal": False, as parameter_groups does'
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Moves every parameter that has a gradient; ValueError for a closure, which is not called here."""
        if closure is not None:
            raise ValueError("this optimizer calls no closure; compute the loss and its gradients first")
        for group in self.param_groups:
            if group["orthogonal"]:
                self._update_matrices(group)
            else:
                update_with_adamw(group, self.state, fused=True)

    def _update_matrices(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter, dtype=torch.float32)
            gradient, beta = parameter.grad, group["momentum"]
            momentum = state["momentum"].mul_(beta).add_(gradient)
            update = momentum.mul(beta).add_(gradient)
            whole = update.full_tensor() if isinstance(update, DTensor) else update
            direction = orthogonal_parts(whole.to(self.compute_dtype), group["parts"]).to(whole.dtype)
            if isinstance(update, DTensor):
                # Every process has the same whole, so none needs to send the others their shares.
                direction = distribute_tensor(
                    direction, update.device_mesh, update.placements, src_data_rank=None
                )
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(direction, alpha=-group["lr"])


def orthogonal_parts(
    update: Float[Tensor, "rows columns"], parts: tuple[int, ...] | None
) -> Float[Tensor, "rows columns"]:
    """`newton_schulz` of each of the matrices that stand one below another, with its `muon_scale`.

    Queries, keys and values are three maps, though one product computes them. Orthogonalized as one matrix,
    a direction that is strong in the values would hold back the same direction in the queries.
    """
    matrices = update.split(parts or update.shape[0])
    return torch.cat([muon_scale(matrix) * newton_schulz(matrix) for matrix in matrices])
