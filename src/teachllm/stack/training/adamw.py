"""AdamW as training uses it: `adamw_step` on every parameter at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from teachllm.stack.training.optimizers import adamw_step


class AdamW(torch.optim.Optimizer):
    """AdamW over parameters or groups of them; each group may have its own lr, betas, eps, weight_decay.

    The state of a parameter is m and v, in float32 even where the parameter has fewer bits, and how many
    steps it has seen: 8 bytes a parameter.
    fused: one pass over memory by PyTorch's own kernel; False takes `adamw_step`, of which the kernel is a
    rounding apart. ValueError for hyperparameters out of range.
    Loshchilov & Hutter 2017, arXiv:1711.05101.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        fused: bool = True,
    ) -> None:
        self.fused = fused
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        for group in self.param_groups:
            check_adamw_options(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Moves every parameter that has a gradient; ValueError for a closure, which is not called here."""
        if closure is not None:
            raise ValueError("this optimizer calls no closure; compute the loss and its gradients first")
        for group in self.param_groups:
            update_with_adamw(group, self.state, self.fused)


def check_adamw_options(group: dict[str, Any]) -> None:
    """ValueError names every number of `group` that AdamW cannot work with."""
    problems = [
        f"{name} is {group[name]}; it must be at least 0 and finite"
        for name in ("lr", "eps", "weight_decay")
        if not 0 <= group[name] < math.inf
    ]
    if not all(0 <= beta < 1 for beta in group["betas"]):
        problems.append(f"betas are {group['betas']}; each must be at least 0 and below 1")
    if problems:
        raise ValueError("AdamW cannot work so: " + "; ".join(problems))


def update_with_adamw(group: dict[str, Any], states: dict[Tensor, Any], fused: bool) -> None:
    """One step of the parameters of `group`, in place; their `states` are made at the first step."""
    for_kernel = []
    for parameter in group["params"]:
        if parameter.grad is None:
            continue
        state = states[parameter] = states[parameter] or _zeros(parameter)
        state["step"] += 1
        # The kernel wants parameter, gradient and state in one format.
        if fused and parameter.dtype == parameter.grad.dtype == state["m"].dtype:
            for_kernel.append(parameter)
        else:
            _update_one(parameter, state, group)
    if for_kernel:
        torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
            for_kernel,
            [parameter.grad for parameter in for_kernel],
            [states[parameter]["m"] for parameter in for_kernel],
            [states[parameter]["v"] for parameter in for_kernel],
            [],
            [states[parameter]["step"] for parameter in for_kernel],
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


def _zeros(parameter: Tensor) -> dict[str, Tensor]:
    wide = torch.promote_types(parameter.dtype, torch.float32)
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "m": torch.zeros_like(parameter, dtype=wide),
        "v": torch.zeros_like(parameter, dtype=wide),
    }


def _update_one(parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    wide = state["m"].dtype
    gradient = parameter.grad
    assert gradient is not None
    moved, state["m"], state["v"] = adamw_step(
        parameter.to(wide),
        gradient.to(wide),
        state["m"],
        state["v"],
        int(state["step"]),
        lr=group["lr"],
        betas=group["betas"],
        eps=group["eps"],
        weight_decay=group["weight_decay"],
    )
    parameter.copy_(moved)
