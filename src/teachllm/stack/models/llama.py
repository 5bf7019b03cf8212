"""The Llama family: rotary positions, RMSNorm, SwiGLU, grouped-query attention.

Also SmolLM2, Mistral without its window, TinyLlama; with biases on queries, keys and values: Qwen2.
Touvron et al. 2023, arXiv:2302.13971 (Llama) and arXiv:2307.09288 (Llama 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from teachllm.stack.models.parameter_count import parameter_count
from teachllm.stack.nn.attention import causal_attention
from teachllm.stack.nn.embedding import TokenEmbedding
from teachllm.stack.nn.feed_forward import SwiGLUFeedForward
from teachllm.stack.nn.kv_cache import CacheView
from teachllm.stack.nn.norms import RMSNorm
from teachllm.stack.nn.positions import rope_frequencies, rotated_heads

# Cosines and sines of every position are kept: at this length, 1 GB for a head of 64 in float32.
MAX_CONTEXT = 1 << 22


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a Llama. ValueError names everything that does not fit together.

    hidden: width of the feed-forward layer. tied_head: the output matrix is the embedding.
    rope_divisors: what each of the head_dim/2 frequencies is divided by, in models stretched to a longer
    context; None for none.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden: int
    context_length: int
    norm_eps: float = 1e-5
    rope_base: float = 10_000.0
    rope_divisors: tuple[float, ...] | None = None
    tied_head: bool = False
    qkv_bias: bool = False

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "hidden")
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least 1"
            for name in (*sizes, "context_length")
            if getattr(self, name) < 1
        ]
        if self.n_kv_heads > 0 and self.n_heads % self.n_kv_heads:
            problems.append(f"n_heads = {self.n_heads} is no multiple of n_kv_heads = {self.n_kv_heads}")
        if self.head_dim % 2:
            problems.append(f"head_dim is {self.head_dim}; rotation needs an even number")
        if not (self.norm_eps > 0 and self.rope_base > 0):
            problems.append(f"norm_eps = {self.norm_eps} and rope_base = {self.rope_base} must be above 0")
        if self.rope_divisors is not None and len(self.rope_divisors) != self.head_dim // 2:
            problems.append(
                f"{len(self.rope_divisors)} rope_divisors for {self.head_dim // 2} rotating pairs"
            )
        if not all(0 < divisor < math.inf for divisor in self.rope_divisors or ()):
            problems.append("rope_divisors must be above 0 and finite")
        if self.context_length > MAX_CONTEXT:
            problems.append(f"context_length is {self.context_length}; at most {MAX_CONTEXT} is possible")
        if problems:
            raise ValueError("this is no Llama: " + "; ".join(problems))

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained; a tied head counts once."""
        sizes = (self.vocab_size, self.d_model, self.n_layers, self.n_heads, self.n_kv_heads, self.head_dim)
        parts = parameter_count(*sizes, self.hidden, tied_head=self.tied_head, qkv_bias=self.qkv_bias)
        return sum(parts.values())


class Llama(nn.Module):
    """Tokens to logits; see `forward`."""

    rope_cos: Float[Tensor, "context_length half_head_dim"]
    rope_sin: Float[Tensor, "context_length half_head_dim"]

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied_head:
            self.head.weight = self.embedding.weight
        # Computed in float32 and on the CPU, also when the weights are made elsewhere; moves with the model.
        frequencies = rope_frequencies(config.head_dim, config.rope_base, "cpu")
        if config.rope_divisors is not None:
            frequencies = frequencies / torch.tensor(config.rope_divisors, device="cpu")
        angles = torch.arange(config.context_length, device="cpu")[:, None] * frequencies
        self.register_buffer("rope_cos", angles.cos(), persistent=False)
        self.register_buffer("rope_sin", angles.sin(), persistent=False)

    def forward(
        self, tokens: Int[Tensor, "batch length"], cache: CacheView | None = None, last_only: bool = False
    ) -> Float[Tensor, "batch length_or_1 vocab"]:
        """The logits of the token after each one.

        cache, ValueError: see `features`.
        last_only: logits of the last position only; the head is the largest matrix of a small model.
        """
        x = self.features(tokens, cache)
        return self.head(x[:, -1:] if last_only else x)

    def features(
        self, tokens: Int[Tensor, "batch length"], cache: CacheView | None = None
    ) -> Float[Tensor, "batch length d_model"]:
        """What the head reads: a loss that makes logits in pieces multiplies by `head.weight` itself.

        cache: tokens stand behind what it holds, and are added to it.
        ValueError if there are no tokens, or more than the context or the cache can hold.
        """
        n_new = tokens.shape[1]
        positions = slice(0, n_new) if cache is None else cache.positions(n_new)
        longest = self.config.context_length
        if isinstance(positions, slice) and not positions.start < positions.stop <= longest:
            raise ValueError(
                f"{n_new} tokens after {positions.start}: this model takes at least one, and "
                f"{longest} in all; shorten the text"
            )
        cos, sin = self.rope_cos[positions], self.rope_sin[positions]
        if cos.ndim == 3:  # each row has positions of its own: the same for all of its heads
            cos, sin = cos[:, None], sin[:, None]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin, cache)
        if cache is not None:
            cache.advance(n_new)
        return self.norm(x)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = SwiGLUFeedForward(config.d_model, config.hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: CacheView | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin, cache)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Attention(nn.Module):
    """Grouped-query attention with rotated queries and keys.

    One matrix makes queries, keys and values, in this order, heads one after another.
    """

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        width = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim
        self.qkv = nn.Linear(config.d_model, width, bias=config.qkv_bias)
        self.out = nn.Linear(config.n_heads * config.head_dim, config.d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "batch length d_model"], cos: Tensor, sin: Tensor, cache: CacheView | None
    ) -> Float[Tensor, "batch length d_model"]:
        q, k, v = rotated_heads(self.qkv(x), cos, sin, self.n_heads, self.n_kv_heads)
        heads = causal_attention(q, k, v) if cache is None else cache.attend(self.layer, q, k, v)
        return self.out(heads.transpose(1, 2).flatten(2))
