"""A small encoder–decoder: one stack reads the source in both directions, another writes the target.

Vaswani et al. 2017, arXiv:1706.03762, with the parts of today's models: RMSNorm before each layer, rotary
positions, SwiGLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from teachllm.stack.nn.attention import causal_attention
from teachllm.stack.nn.feed_forward import SwiGLUFeedForward
from teachllm.stack.nn.norms import RMSNorm
from teachllm.stack.nn.positions import apply_rope, rope_cos_sin


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """Sizes of an encoder–decoder. ValueError names everything that does not fit together."""

    vocab_size: int
    d_model: int
    n_encoder_layers: int
    n_decoder_layers: int
    n_heads: int
    hidden: int

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; it must be at least 1" for name, value in vars(self).items() if value < 1
        ]
        if not problems and self.d_model % (2 * self.n_heads):
            problems.append(
                f"d_model = {self.d_model} does not give {self.n_heads} heads an even number each"
            )
        if problems:
            raise ValueError("this is no encoder-decoder: " + "; ".join(problems))

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads


class EncoderDecoder(nn.Module):
    """Source and target tokens to logits; see `forward`. One embedding serves both sides and the head."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.n_encoder_layers))
        self.encoder_norm = RMSNorm(config.d_model)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_decoder_layers))
        self.norm = RMSNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.head.weight = self.embedding.weight

    def forward(
        self, source: Int[Tensor, "batch source"], target: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target vocab"]:
        """The logits of the token after each one of the target, which begins with a start token."""
        return self.decode(target, self.encode(source))

    def encode(self, source: Int[Tensor, "batch source"]) -> Float[Tensor, "batch source d_model"]:
        """What the decoder reads of the source; computed once, whatever is written."""
        x = self.embedding(source)
        for block in self.encoder:
            x = block(x)
        return self.encoder_norm(x)

    def decode(
        self, target: Int[Tensor, "batch target"], memory: Float[Tensor, "batch source d_model"]
    ) -> Float[Tensor, "batch target vocab"]:
        """The logits after each target token, reading what `encode` gave."""
        x = self.embedding(target)
        for block in self.decoder:
            x = block(x, memory)
        return self.head(self.norm(x))


class EncoderBlock(nn.Module):
    """x + attention(norm(x)) in both directions, then x + feed_forward(norm(x))."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model)
        self.attention = SelfAttention(config, causal=False)
        self.feed_forward_norm = RMSNorm(config.d_model)
        self.feed_forward = SwiGLUFeedForward(config.d_model, config.hidden)

    def forward(self, x: Float[Tensor, "batch source d_model"]) -> Float[Tensor, "batch source d_model"]:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class DecoderBlock(nn.Module):
    """Causal attention over the target, attention over the source, feed-forward."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model)
        self.attention = SelfAttention(config, causal=True)
        self.cross_norm = RMSNorm(config.d_model)
        self.cross_attention = CrossAttention(config)
        self.feed_forward_norm = RMSNorm(config.d_model)
        self.feed_forward = SwiGLUFeedForward(config.d_model, config.hidden)

    def forward(
        self, x: Float[Tensor, "batch target d_model"], memory: Float[Tensor, "batch source d_model"]
    ) -> Float[Tensor, "batch target d_model"]:
        x = x + self.attention(self.attention_norm(x))
        x = x + self.cross_attention(self.cross_norm(x), memory)
        return x + self.feed_forward(self.feed_forward_norm(x))


class SelfAttention(nn.Module):
    """Multi-head attention with rotated queries and keys, over the past or over everything."""

    def __init__(self, config: EncoderDecoderConfig, causal: bool) -> None:
        super().__init__()
        self.head_dim, self.causal = config.head_dim, causal
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Float[Tensor, "batch length d_model"]) -> Float[Tensor, "batch length d_model"]:
        q, k, v = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2).chunk(3, dim=1)
        cos, sin = rope_cos_sin(torch.arange(x.shape[1], device=x.device), self.head_dim)
        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
        mixed = causal_attention(q, k, v) if self.causal else F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Queries from the target, keys and values from the source; positions enter on neither side, as in T5."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.query = nn.Linear(config.d_model, config.d_model, bias=False)
        self.key_value = nn.Linear(config.d_model, 2 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "batch target d_model"], memory: Float[Tensor, "batch source d_model"]
    ) -> Float[Tensor, "batch target d_model"]:
        q = self.query(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        k, v = self.key_value(memory).unflatten(-1, (-1, self.head_dim)).transpose(1, 2).chunk(2, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))
