"""In which numbers a training step computes: float32 weights, and bfloat16 copies of them to multiply with.

A step changes a weight by about a thousandth of itself or less, and bfloat16 keeps three digits: updates
added in bfloat16 would be rounded away. So the optimizer works on float32 weights (the masters), and only the
products see rounded copies. Micikevicius et al. 2018, arXiv:1710.03740, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from teachllm.stack.nn.device import cpu_bfloat16_instructions


@dataclass(frozen=True)
class Precision:
    """The dtype of products and activations in training, and why, in English and Chinese."""

    compute_dtype: torch.dtype
    reason: str
    reason_zh: str


def choose_precision(device: torch.device | str) -> Precision:
    """bfloat16 where the device multiplies it faster than float32, float32 elsewhere.

    float16 is never chosen: its smallest numbers are too large for gradients, which then need scaling.
    """
    device = torch.device(device)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(torch.bfloat16, f"{name} computes in bfloat16", f"{name} 会算 bfloat16")
        return Precision(torch.float32, f"{name} has no bfloat16", f"{name} 不会算 bfloat16")
    if device.type == "cpu":
        if instructions := cpu_bfloat16_instructions():
            return Precision(
                torch.bfloat16,
                f"the processor has {instructions}: products in bfloat16, weights kept in float32",
                f"处理器有 {instructions}：乘法用 bfloat16，权重仍存 float32",
            )
        return Precision(
            torch.float32,
            "the processor has no bfloat16 instructions",
            "处理器没有 bfloat16 指令",
        )
    return Precision(
        torch.float32,
        f"not every device of the kind {device.type} computes in bfloat16",
        f"{device.type} 类设备不是都会算 bfloat16",
    )


class ComputeWeights:
    """Copies of a model's float32 weights in `dtype`, made once a step and not once a product.

        weights = ComputeWeights(model, torch.bfloat16)
        for each step:
            for each piece of the batch:
                with weights.in_use():
                    loss = …         # the model computes in bfloat16, and `model.head.weight` is bfloat16
                loss.backward()      # gradients arrive in the float32 weights, and add up in float32
            optimizer.step()
            weights.refresh()

    With float32 there is nothing to copy and nothing happens.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.model = model
        self.masters = {} if dtype == torch.float32 else dict(model.named_parameters(remove_duplicate=False))
        # A tied weight has two names and one copy.
        copies = {id(master): torch.empty_like(master, dtype=dtype) for master in self.masters.values()}
        self._copies = {name: copies[id(master)] for name, master in self.masters.items()}
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the weights anew: after every optimizer step, and after loading a checkpoint."""
        if self.masters:
            for name, master in self.masters.items():
                self._copies[name].copy_(master)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the model's parameters are the copies; gradients flow through them to the masters."""
        rounded: dict[int, Tensor] = {}
        for name, master in self.masters.items():
            if id(master) not in rounded:
                rounded[id(master)] = _Rounded.apply(master, self._copies[name])
        with weights_replaced(
            self.model, {name: rounded[id(master)] for name, master in self.masters.items()}
        ):
            yield


class _Rounded(torch.autograd.Function):
    """The copy in place of the master; a gradient of the one is a gradient of the other."""

    @staticmethod
    def forward(ctx: Any, master: Tensor, copy: Tensor) -> Tensor:
        return copy.view_as(copy)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[0].float(), None


@contextmanager
def weights_replaced(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the parameters of `module` with these names (see `named_parameters`) are `weights`."""
    places = []
    for name, weight in weights.items():
        path, _, leaf = name.rpartition(".")
        parameters = module.get_submodule(path)._parameters
        places.append((parameters, leaf, parameters[leaf], weight))
    for parameters, leaf, _, weight in places:
        parameters[leaf] = weight  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        for parameters, leaf, before, _ in places:
            parameters[leaf] = before
