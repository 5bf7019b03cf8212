"""A small decoder whose parts can be exchanged, for lessons that train the same model with different parts.

Families that exist (Llama, GPT-2) have files of their own; this one has every part the lessons compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from teachllm.stack.nn.attention import causal_attention, repeat_kv_heads
from teachllm.stack.nn.feed_forward import GELUFeedForward, SwiGLUFeedForward
from teachllm.stack.nn.masks import visibility
from teachllm.stack.nn.norms import LayerNorm, RMSNorm
from teachllm.stack.nn.positions import (
    LearnedPositions,
    alibi_bias,
    apply_rope,
    relative_positions,
    rope_cos_sin,
    sinusoidal_positions,
    t5_relative_bucket,
)
from teachllm.stack.nn.relative_positions import deberta_scores, transformer_xl_scores, xpos

Norm: TypeAlias = Literal["rms", "layer", "none"]
NormPlace: TypeAlias = Literal["pre", "post"]
FeedForward: TypeAlias = Literal["swiglu", "gelu", "relu"]
Position: TypeAlias = Literal[
    "none", "sinusoidal", "learned", "rope", "alibi", "t5", "transformer_xl", "deberta", "xpos"
]
AttentionKind: TypeAlias = Literal["causal", "prefix", "bidirectional"]

# Their papers define them for looking back only.
_CAUSAL_POSITIONS = ("alibi", "transformer_xl", "xpos")
# These change the scores themselves, so the fused kernel does not fit.
_SCORE_POSITIONS = ("alibi", "t5", "transformer_xl", "deberta")
T5_BUCKETS, T5_MAX_DISTANCE = 32, 128


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and parts of a decoder. ValueError names everything that does not fit together.

    hidden: width of the feed-forward layer. context_length: how many learned positions there are, and how far
    DeBERTa tells distances apart; with any other position a text may be longer.
    norm_place: "pre" is x + f(norm(x)), with one more norm at the end; "post" is norm(x + f(x)).
    attention: what a token may see: what stands before it, also the whole prefix, or everything.
    The output matrix is the embedding.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden: int
    context_length: int
    norm: Norm = "rms"
    norm_place: NormPlace = "pre"
    feed_forward: FeedForward = "swiglu"
    position: Position = "rope"
    attention: AttentionKind = "causal"

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "hidden")
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least 1"
            for name in (*sizes, "context_length")
            if getattr(self, name) < 1
        ]
        parts = {
            "norm": Norm,
            "norm_place": NormPlace,
            "feed_forward": FeedForward,
            "position": Position,
            "attention": AttentionKind,
        }
        problems += [
            f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}"
            for name, kind in parts.items()
            if getattr(self, name) not in get_args(kind)
        ]
        if self.n_kv_heads > 0 and self.n_heads % self.n_kv_heads:
            problems.append(f"n_heads = {self.n_heads} is no multiple of n_kv_heads = {self.n_kv_heads}")
        if self.position in ("rope", "xpos") and self.head_dim % 2:
            problems.append(f"head_dim is {self.head_dim}; rotation needs an even number")
        if self.position in ("sinusoidal", "transformer_xl") and self.d_model % 2:
            problems.append(f"d_model is {self.d_model}; sinusoids need an even number")
        if self.position in _CAUSAL_POSITIONS and self.attention != "causal":
            problems.append(f"position = {self.position} looks back only, so attention must be causal")
        if problems:
            raise ValueError("this is no decoder: " + "; ".join(problems))

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained; the head is the embedding and counts once."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in Decoder(self).parameters())


class Decoder(nn.Module):
    """Tokens to logits; see `forward`."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.position == "learned":
            self.positions = LearnedPositions(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = make_norm(config) if config.norm_place == "pre" else nn.Identity()
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        # Distances are trained once for all layers, as T5 and DeBERTa do.
        if config.position == "t5":
            self.distances = nn.Embedding(T5_BUCKETS, config.n_heads)
        elif config.position == "deberta":
            self.distances = nn.Embedding(2 * config.context_length, config.d_model)

    def forward(
        self, tokens: Int[Tensor, "batch length"], prefix_length: int | None = None
    ) -> Float[Tensor, "batch length vocab"]:
        """The logits of the token after each one; prefix_length, ValueError: see `features`."""
        return self.head(self.features(tokens, prefix_length))

    def features(
        self, tokens: Int[Tensor, "batch length"], prefix_length: int | None = None
    ) -> Float[Tensor, "batch length d_model"]:
        """What the head reads.

        prefix_length: how many tokens of every row all tokens may see, for attention = "prefix" and no other.
        ValueError if there are no tokens, more than learned positions, or a prefix that does not belong here.
        """
        config, length = self.config, tokens.shape[1]
        if length == 0:
            raise ValueError("no tokens were given; this model takes at least one")
        if (prefix_length is None) == (config.attention == "prefix"):
            raise ValueError(
                f"prefix_length is {prefix_length}, but attention is {config.attention}: give it to a model "
                "with attention = prefix, and to no other"
            )
        x = self.embedding(tokens)
        if config.position == "sinusoidal":
            # The paper's scaling: it brings embeddings to the size of the sinusoids.
            table = sinusoidal_positions(length, config.d_model).to(x)
            x = x * math.sqrt(config.d_model) + table
        elif config.position == "learned":
            x = x + self.positions(0, length)
        mask = visible(config.attention, length, prefix_length, tokens.device)
        distances = self._distances(length, x)
        for block in self.blocks:
            x = block(x, mask, distances)
        return self.norm(x)

    def _distances(self, length: int, x: Tensor) -> Tensor | None:
        """What every layer needs to know of distances, in the form of the position encoding."""
        match self.config.position:
            case "alibi":
                return alibi_bias(self.config.n_heads, length).to(x)
            case "t5":
                relative = relative_positions(length).to(x.device)
                both = self.config.attention != "causal"
                bucket = t5_relative_bucket(relative, T5_BUCKETS, T5_MAX_DISTANCE, bidirectional=both)
                return self.distances(bucket).movedim(-1, 0)
            case "transformer_xl":
                return sinusoidal_positions(length, self.config.d_model).flip(0).to(x)
            case "deberta":
                return self.distances.weight
        return None


def visible(
    attention: AttentionKind, length: int, prefix_length: int | None, device: torch.device | str | None = None
) -> Bool[Tensor, "query key"] | None:
    """True where a query may see a key: the past, and in "prefix" the first
    `prefix_length` keys. None: all.
    """
    if attention == "bidirectional":
        return None
    n_prefix = min(prefix_length or 0, length)
    return visibility(attention, n_prefix, length - n_prefix).to(device)


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input; the norm stands before or behind."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.pre = config.norm_place == "pre"
        self.attention_norm = make_norm(config)
        self.attention = Attention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = make_feed_forward(config)

    def forward(self, x: Tensor, mask: Tensor | None, distances: Tensor | None) -> Tensor:
        if self.pre:
            x = x + self.attention(self.attention_norm(x), mask, distances)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attention(x, mask, distances))
        return self.feed_forward_norm(x + self.feed_forward(x))


class Attention(nn.Module):
    """Grouped-query attention with any of the position encodings that act on queries, keys or scores.

    Causal attention whose scores are plain products is `causal_attention`, so `use_attention` changes it; any
    other computes its own scores, and `use_attention` does not reach it.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        width = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim
        inner = config.n_heads * config.head_dim
        self.qkv = nn.Linear(config.d_model, width, bias=False)
        self.out = nn.Linear(inner, config.d_model, bias=False)
        if config.position == "transformer_xl":
            self.distance_key = nn.Linear(config.d_model, inner, bias=False)
            self.u = nn.Parameter(torch.zeros(config.n_heads, config.head_dim))
            self.v = nn.Parameter(torch.zeros(config.n_heads, config.head_dim))
        elif config.position == "deberta":
            self.distance_query = nn.Linear(config.d_model, inner, bias=False)
            self.distance_key = nn.Linear(config.d_model, inner, bias=False)

    def forward(
        self, x: Float[Tensor, "batch length d_model"], mask: Tensor | None, distances: Tensor | None
    ) -> Float[Tensor, "batch length d_model"]:
        config = self.config
        q, k, v = self._heads(self.qkv(x)).split(
            [config.n_heads, config.n_kv_heads, config.n_kv_heads], dim=1
        )
        positions = torch.arange(x.shape[1], device=x.device)
        if config.position == "rope":
            cos, sin = rope_cos_sin(positions, config.head_dim)
            q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
        elif config.position == "xpos":
            q, k = xpos(q, k, positions)
        if config.attention == "causal" and config.position not in _SCORE_POSITIONS:
            return self.out(causal_attention(q, k, v).transpose(1, 2).flatten(2))
        group = config.n_heads // config.n_kv_heads
        k, v = repeat_kv_heads(k, group), repeat_kv_heads(v, group)
        if distances is None:
            mixed = F.scaled_dot_product_attention(q, k, v, mask)
        else:
            scores = self._scores(q, k, distances)
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            mixed = torch.softmax(scores, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _scores(self, q: Tensor, k: Tensor, distances: Tensor) -> Float[Tensor, "batch heads query key"]:
        """Scaled scores before the mask."""
        d = self.config.head_dim
        if self.config.position == "transformer_xl":
            distance_keys = self._heads(self.distance_key(distances))
            return transformer_xl_scores(q, k, distance_keys, self.u, self.v) / math.sqrt(d)
        if self.config.position == "deberta":
            position_q = self._heads(self.distance_query(distances))
            position_k = self._heads(self.distance_key(distances))
            relative = relative_positions(q.shape[2]).to(q.device)
            return deberta_scores(q, k, position_q, position_k, relative) / math.sqrt(3 * d)
        return q @ k.transpose(-2, -1) / math.sqrt(d) + distances

    def _heads(self, x: Float[Tensor, "*batch length heads*d"]) -> Float[Tensor, "*batch heads length d"]:
        return x.unflatten(-1, (-1, self.config.head_dim)).transpose(-3, -2)


def make_norm(config: DecoderConfig) -> nn.Module:
    if config.norm == "none":
        return nn.Identity()
    return RMSNorm(config.d_model) if config.norm == "rms" else LayerNorm(config.d_model)


def make_feed_forward(config: DecoderConfig) -> nn.Module:
    kinds = {"swiglu": SwiGLUFeedForward, "gelu": GELUFeedForward, "relu": ReLUFeedForward}
    return kinds[config.feed_forward](config.d_model, config.hidden)


class ReLUFeedForward(nn.Module):
    """down(max(0, up(x))) with biases: the feed-forward layer of the first Transformer."""

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, hidden)
        self.down = nn.Linear(hidden, d_model)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self.down(F.relu(self.up(x)))
