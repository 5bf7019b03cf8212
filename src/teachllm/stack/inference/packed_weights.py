"""Weights in the order in which the processor reads them, for the steps that read one token.

Such a step multiplies each matrix by one vector, so its time is that of reading the weights, and how they lie
in memory decides it. The rows stay as well, for prompts, so packing takes the memory twice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOST_BYTES = 1 << 30  # of weights: twice this is affordable, twice 14 GB is not


class PackedLinear(nn.Module):
    """`linear`, with a second copy of its weight for inputs of one row."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == x.shape[-1]:
            return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return F.linear(x, self.weight, self.bias)


def pack_for_decoding(model: nn.Module) -> bool:
    """Replace the linear layers of `model` by packed ones; whether that was done.

    For bfloat16 on a CPU that computes in it, and models that are not large. What the model computes stays
    the same but for the order in which sums are rounded; it can no longer be trained or moved.
    """
    weights = list(model.parameters())
    wanted = (
        all(weight.device.type == "cpu" and weight.dtype == torch.bfloat16 for weight in weights)
        and sum(weight.nbytes for weight in weights) <= MOST_BYTES
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    if not wanted:
        return False
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, PackedLinear(child))
    return True
