"""The feed-forward half of a block: each position by itself, wide and back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from teachllm.stack.nn.fast import threads as fast
from teachllm.stack.nn.fast.swiglu import swiglu_down as fast_swiglu_down


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x · Φ(x), where Φ is the distribution function of the standard normal distribution.

    Hendrycks & Gimpel 2016, arXiv:1606.08415.
    """
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """GELU by a tanh instead of the error function, as GPT-2 was trained: at most 5e-4 off.

    x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))). Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2.
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def swiglu(
    gate: Float[Tensor, "*batch hidden"], up: Float[Tensor, "*batch hidden"]
) -> Float[Tensor, "*batch hidden"]:
    """silu(gate) · up with silu(x) = x · sigmoid(x): one half says how much of the other passes.

    Shazeer 2020, arXiv:2002.05202.
    """
    return F.silu(gate) * up


class GELUFeedForward(nn.Module):
    """down(gelu_tanh(up(x))) with biases: the feed-forward layer of GPT-2."""

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, hidden)
        self.down = nn.Linear(hidden, d_model)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class SwiGLUFeedForward(nn.Module):
    """down(swiglu(gate(x), up(x))) without biases: the feed-forward layer of the Llama family.

    Gate and up are one matrix, gate first: one large product is faster than two.
    """

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, d_model, bias=False)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        gate_up = self.gate_up(x)
        if fast.pays(gate_up, self.down.weight) or fast.pays_for_reading(gate_up, self.down.weight):
            return fast_swiglu_down(gate_up, self.down.weight)
        gate, up = gate_up.chunk(2, dim=-1)
        return self.down(swiglu(gate, up))
