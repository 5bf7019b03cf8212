"""GPT-2: learned positions, LayerNorm before each half of a block, GELU, a tied head.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from teachllm.stack.nn.attention import causal_attention
from teachllm.stack.nn.feed_forward import GELUFeedForward
from teachllm.stack.nn.kv_cache import CacheView
from teachllm.stack.nn.norms import LayerNorm
from teachllm.stack.nn.positions import LearnedPositions


@dataclass(frozen=True)
class GPT2Config:
    """Sizes of a GPT-2. ValueError names everything that does not fit together.

    hidden: width of the feed-forward layer, 4 · d_model in the published models.
    tied_head: the output matrix is the embedding.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    hidden: int
    context_length: int
    norm_eps: float = 1e-5
    tied_head: bool = True

    def __post_init__(self) -> None:
        names = ("vocab_size", "d_model", "n_layers", "n_heads", "hidden", "context_length")
        problems = [
            f"{name} is {getattr(self, name)}; it must be at least 1"
            for name in names
            if getattr(self, name) < 1
        ]
        if self.n_heads > 0 and self.d_model % self.n_heads:
            problems.append(f"d_model = {self.d_model} is no multiple of n_heads = {self.n_heads}")
        if not self.norm_eps > 0:
            problems.append(f"norm_eps = {self.norm_eps} must be above 0")
        if problems:
            raise ValueError("this is no GPT-2: " + "; ".join(problems))

    @property
    def n_kv_heads(self) -> int:
        """Every query head has keys and values of its own."""
        return self.n_heads

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained; a tied head counts once."""
        d, hidden = self.d_model, self.hidden
        block = (3 * d * d + 3 * d) + (d * d + d) + (2 * d * hidden + hidden + d) + 4 * d
        vocabulary = self.vocab_size * (1 if self.tied_head else 2)
        return (vocabulary + self.context_length) * d + self.n_layers * block + 2 * d


class GPT2(nn.Module):
    """Tokens to logits; see `forward`."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = LearnedPositions(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = LayerNorm(config.d_model, config.norm_eps)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied_head:
            self.head.weight = self.embedding.weight

    def forward(
        self, tokens: Int[Tensor, "batch length"], cache: CacheView | None = None, last_only: bool = False
    ) -> Float[Tensor, "batch length_or_1 vocab"]:
        """The logits of the token after each one; the arguments are those of `Llama.forward`."""
        x = self.features(tokens, cache)
        return self.head(x[:, -1:] if last_only else x)

    def features(
        self, tokens: Int[Tensor, "batch length"], cache: CacheView | None = None
    ) -> Float[Tensor, "batch length d_model"]:
        """What the head reads; see `Llama.features`."""
        n_new = tokens.shape[1]
        if n_new == 0:
            raise ValueError("no tokens were given; this model takes at least one")
        positions = slice(0, n_new) if cache is None else cache.positions(n_new)
        if isinstance(positions, slice):
            x = self.embedding(tokens) + self.positions(positions.start, n_new)
        else:
            x = self.embedding(tokens) + self.positions.weight[positions]
        for block in self.blocks:
            x = block(x, cache)
        if cache is not None:
            cache.advance(n_new)
        return self.norm(x)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = LayerNorm(config.d_model, config.norm_eps)
        self.feed_forward = GELUFeedForward(config.d_model, config.hidden)

    def forward(self, x: Tensor, cache: CacheView | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cache)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Attention(nn.Module):
    """Multi-head attention; one matrix makes queries, keys and values."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(
        self, x: Float[Tensor, "batch length d_model"], cache: CacheView | None
    ) -> Float[Tensor, "batch length d_model"]:
        q, k, v = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2).chunk(3, dim=1)
        heads = causal_attention(q, k, v) if cache is None else cache.attend(self.layer, q, k, v)
        return self.out(heads.transpose(1, 2).flatten(2))
