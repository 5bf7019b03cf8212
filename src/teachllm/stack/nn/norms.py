"""Normalization: bring the numbers of each position to one scale."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from teachllm.stack.nn.fast import threads as fast
from teachllm.stack.nn.fast.norm import rms_norm as fast_rms_norm


def layer_norm(
    x: Float[Tensor, "*batch d"], weight: Float[Tensor, " d"], bias: Float[Tensor, " d"], eps: float = 1e-5
) -> Float[Tensor, "*batch d"]:
    """(x - mean) / √(variance + eps) · weight + bias, over the last dimension, computed in float32.

    The variance divides by d, not by d - 1. Ba et al. 2016, arXiv:1607.06450.
    """
    wide = x.float()
    centred = wide - wide.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return (centred / torch.sqrt(variance + eps) * weight.float() + bias.float()).to(x.dtype)


def rms_norm(
    x: Float[Tensor, "*batch d"], weight: Float[Tensor, " d"], eps: float = 1e-5
) -> Float[Tensor, "*batch d"]:
    """x / √(mean(x²) + eps) · weight, over the last dimension, computed in float32.

    Layer norm without the mean and without the bias. Zhang & Sennrich 2019, arXiv:1910.07467.
    """
    wide = x.float()
    return (wide / torch.sqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()).to(x.dtype)


def layer_norm_backward(
    grad: Float[Tensor, "*batch d"],
    x: Float[Tensor, "*batch d"],
    weight: Float[Tensor, " d"],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, " d"], Float[Tensor, " d"]]:
    """What `grad`, the gradient of the output of `layer_norm`, becomes for x, weight and bias.

    With x̂ the normalized x and g = grad · weight: (g - mean(g) - x̂ · mean(g · x̂)) / √(variance + eps). What
    reaches x has no part along the ones and, but for eps, none along x̂: the output ignores both.
    """
    centred = x.float() - x.float().mean(-1, keepdim=True)
    inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
    normalized = centred * inverse
    g = grad.float() * weight.float()
    along = (g * normalized).mean(-1, keepdim=True)
    grad_x = inverse * (g - g.mean(-1, keepdim=True) - normalized * along)
    grad_weight, grad_bias = (grad.float() * normalized).flatten(0, -2), grad.float().flatten(0, -2)
    return grad_x.to(x.dtype), grad_weight.sum(0).to(weight.dtype), grad_bias.sum(0).to(weight.dtype)


def rms_norm_backward(
    grad: Float[Tensor, "*batch d"],
    x: Float[Tensor, "*batch d"],
    weight: Float[Tensor, " d"],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, " d"]]:
    """What `grad`, the gradient of the output of `rms_norm`, becomes for x and weight.

    With x̂ the normalized x and g = grad · weight: (g - x̂ · mean(g · x̂)) / √(mean(x²) + eps). The larger x
    was, the less reaches it.
    """
    inverse = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)
    normalized = x.float() * inverse
    g = grad.float() * weight.float()
    grad_x = inverse * (g - normalized * (g * normalized).mean(-1, keepdim=True))
    grad_weight = (grad.float() * normalized).flatten(0, -2)
    return grad_x.to(x.dtype), grad_weight.sum(0).to(weight.dtype)


class LayerNorm(nn.Module):
    """`layer_norm` with trained weight and bias, by PyTorch's fused kernel."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """`rms_norm` with a trained weight, by a fused kernel: PyTorch's, or our own where that is faster."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        if fast.pays(x, self.weight) or fast.pays_for_reading(x, self.weight):
            return fast_rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
