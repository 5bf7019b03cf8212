"""The weights that training begins with."""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
from torch import Tensor, nn

# What writes into the residual stream, in every model of the stack.
RESIDUAL = ("attention.out", "feed_forward.down")


class Sizes(Protocol):
    """Of any model of the stack."""

    d_model: int
    n_layers: int


@torch.no_grad()
def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of matrices and embeddings anew; norms start at 1, biases at 0.

    All are normal with the standard deviation of `small_init`, the matrices that write into the residual
    stream with that over √(2 · n_layers): each layer adds two terms, whose variances add up. One generator
    (on the CPU) gives the same weights on every device. Parameters that belong to none of these stay.

    Nguyen & Salazar 2019, arXiv:1910.05895 (the deviation); Radford et al. 2019, GPT-2 (the residual factor).
    """
    config = cast(Sizes, model.config)
    std = small_init(config.d_model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            shrink = math.sqrt(2 * config.n_layers) if name.endswith(RESIDUAL) else 1.0
            _normal(module.weight, std / shrink, generator)
            if module.bias is not None:
                module.bias.zero_()
        elif "norm" in name.rpartition(".")[2]:
            for parameter_name, parameter in module.named_parameters(recurse=False):
                parameter.fill_(0.0 if parameter_name == "bias" else 1.0)
        else:
            # Embeddings of tokens, positions and distances: tables, whatever their module is called.
            for parameter_name, parameter in module.named_parameters(recurse=False):
                if parameter_name == "weight" and parameter.ndim == 2:
                    _normal(parameter, std, generator)


def small_init(d_model: int) -> float:
    """√(2 / (5 · d_model)): Glorot's deviation for a matrix from d_model to 4 · d_model, used for all.

    The logits of a tied head then start with a deviation of √(2/5), so the first loss is near ln(vocab).
    """
    return math.sqrt(2 / (5 * d_model))


def _normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    drawn = torch.empty(weight.shape, dtype=torch.float32).normal_(0.0, std, generator=generator)
    weight.copy_(drawn)
