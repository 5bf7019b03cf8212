"""A linear layer and the GELU behind it as one kernel, where nobody wants a gradient.

PyTorch multiplies float32 matrices by MKL, which takes a slow path on processors that are not Intel's.
oneDNN, which PyTorch brings as well, does not, and it applies the bias and the GELU while the product is
still in registers. Still float32: `torch.set_float32_matmul_precision("medium")` would also choose oneDNN,
but for the whole process, and on processors with bfloat16 units it would round to bfloat16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FusedLinear(nn.Linear):
    """x wᵀ + b, and GELU of it if `gelu`. The same numbers by both ways, up to the order of sums."""

    def __init__(self, n_in: int, n_out: int, gelu: bool = False) -> None:
        super().__init__(n_in, n_out)
        self.gelu = gelu

    def forward(self, input: Float[Tensor, "*row n_in"]) -> Float[Tensor, "*row n_out"]:  # noqa: A002
        if not torch.is_grad_enabled() and has_onednn(input):
            attribute, algorithm = ("gelu", "none") if self.gelu else ("none", "")
            return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, attribute, [], algorithm)
        x = F.linear(input, self.weight, self.bias)
        return F.gelu(x) if self.gelu else x


def has_onednn(x: Tensor) -> bool:
    """Whether oneDNN multiplies such numbers here; bfloat16 only where the processor does."""
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available() or torch.compiler.is_compiling():
        return False
    return x.dtype == torch.float32 or (
        x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
