"""A decoder that reads texts for an embedding: the same weights, asked for what the last token has seen.

Wang et al. 2023, arXiv:2401.00368 (E5-Mistral).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from teachllm.stack.models.encoder.bert import equal_lengths
from teachllm.stack.models.gpt2 import GPT2
from teachllm.stack.models.llama import Llama


class CausalEncoder(nn.Module):
    """A decoder behind the interface of an encoder. Every token still sees only itself and what stands before
    it.
    """

    def __init__(self, decoder: Llama | GPT2) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, tokens: Int[Tensor, " total"], lengths: Sequence[int]
    ) -> Float[Tensor, "total d_model"]:
        """What the head would read of every token, for texts that lie end to end."""
        parts = [
            self.decoder.features(tokens[rows].view(-1, length)).flatten(0, 1)
            for rows, length in equal_lengths(lengths)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
