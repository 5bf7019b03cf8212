"""The table that turns tokens into vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class TokenEmbedding(nn.Embedding):
    """One row a token. Gradients of a token add up in float32, whatever the dtype of the table.

    A frequent token stands at hundreds of places of a batch; in bfloat16, which keeps three digits, its sum
    would stop growing long before the last of them.
    """

    def forward(self, input: Int[Tensor, "*position"]) -> Float[Tensor, "*position d_model"]:  # noqa: A002
        if self.weight.dtype == torch.float32 or not torch.is_grad_enabled():
            return F.embedding(input, self.weight)
        rows = _Rows.apply(self.weight, input)
        assert isinstance(rows, Tensor)
        return rows


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        return F.embedding(tokens, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (tokens,) = ctx.saved_tensors
        total = gradient[0].new_zeros(ctx.shape, dtype=torch.float32)
        total.index_add_(0, tokens.flatten(), gradient[0].flatten(0, -2).float())
        return total.to(ctx.dtype), None
