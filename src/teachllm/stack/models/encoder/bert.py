"""BERT: an encoder with learned positions, LayerNorm behind each half of a block, and GELU.

Devlin et al. 2018, arXiv:1810.04805. MiniLM, BGE and E5 are this model in other sizes, trained for other
things.

Texts lie end to end in one row, without padding: every layer but attention works on tokens and does not ask
whose they are. Padding a batch of mixed lengths would often double the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from teachllm.stack.models.encoder.fused import FusedLinear
from teachllm.stack.nn.norms import LayerNorm


@dataclass(frozen=True)
class BertConfig:
    """Sizes of a BERT. ValueError names everything that does not fit together.

    context_length: tokens of the longest text. n_token_types: 2 in BERT, which read pairs of texts.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    hidden: int
    context_length: int
    n_token_types: int = 2
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {size}; it must be above 0" for name, size in vars(self).items() if not size > 0
        ]
        if not problems and self.d_model % self.n_heads:
            problems.append(f"d_model = {self.d_model} is no multiple of n_heads = {self.n_heads}")
        if problems:
            raise ValueError("this is no BERT: " + "; ".join(problems))

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    @property
    def n_parameters(self) -> int:
        d, hidden = self.d_model, self.hidden
        block = 4 * (d * d + d) + (2 * d * hidden + hidden + d) + 4 * d
        return (
            (self.vocab_size + self.context_length + self.n_token_types) * d + 2 * d + self.n_layers * block
        )


class Bert(nn.Module):
    """Tokens to a vector each; see `forward`."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context_length, config.d_model)
        self.token_types = nn.Embedding(config.n_token_types, config.d_model)
        self.norm = LayerNorm(config.d_model, config.norm_eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))

    def forward(
        self,
        tokens: Int[Tensor, " total"],
        lengths: Sequence[int],
        token_types: Int[Tensor, " total"] | None = None,
    ) -> Float[Tensor, "total d_model"]:
        """The vectors of all tokens of several texts that lie end to end.

        lengths: of the texts; their sum is `total`. Texts of one length that stand together are computed
        together, so whoever has many sorts them. token_types: 0 everywhere unless given.
        ValueError for a text that is empty or longer than `context_length`, or lengths with another sum.
        """
        self._check(tokens, lengths)
        x = self.embedding(tokens) + self.positions(places(lengths, tokens.device))
        x = x + (self.token_types.weight[0] if token_types is None else self.token_types(token_types))
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, lengths)
        return x

    def _check(self, tokens: Tensor, lengths: Sequence[int]) -> None:
        longest = self.config.context_length
        if wrong := [length for length in lengths if not 0 < length <= longest]:
            raise ValueError(f"a text has {wrong[0]} tokens; this model reads 1 to {longest}: shorten it")
        if sum(lengths) != len(tokens):
            raise ValueError(f"{len(tokens)} tokens were given for texts of {sum(lengths)} together")


class Block(nn.Module):
    """norm(x + attention(x)), then norm(x + feed_forward(x)): the norms stand behind, as in the first
    Transformer.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = LayerNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = LayerNorm(config.d_model, config.norm_eps)

    def forward(
        self, x: Float[Tensor, "total d_model"], lengths: Sequence[int]
    ) -> Float[Tensor, "total d_model"]:
        x = self.attention_norm(x + self.attention(x, lengths))
        return self.feed_forward_norm(x + self.feed_forward(x))


class FeedForward(nn.Module):
    """down(gelu(up(x))), with the exact GELU."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.up = FusedLinear(config.d_model, config.hidden, gelu=True)
        self.down = FusedLinear(config.hidden, config.d_model)

    def forward(self, x: Float[Tensor, "total d_model"]) -> Float[Tensor, "total d_model"]:
        return self.down(self.up(x))


class Attention(nn.Module):
    """Multi-head attention in which every token of a text sees all of that text, and nothing else."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.qkv = FusedLinear(config.d_model, 3 * config.d_model)
        self.out = FusedLinear(config.d_model, config.d_model)

    def forward(
        self, x: Float[Tensor, "total d_model"], lengths: Sequence[int]
    ) -> Float[Tensor, "total d_model"]:
        qkv = self.qkv(x)
        mixed = [
            attend_within(qkv[rows].unflatten(0, (-1, length)), self.n_heads).flatten(0, 1)
            for rows, length in equal_lengths(lengths)
        ]
        return self.out(mixed[0] if len(mixed) == 1 else torch.cat(mixed))


def attend_within(
    qkv: Float[Tensor, "text length three*d_model"], n_heads: int
) -> Float[Tensor, "text length d_model"]:
    """Attention among the tokens of each text, in both directions: texts of one length at a time."""
    q, k, v = qkv.unflatten(-1, (3, n_heads, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def equal_lengths(lengths: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """(rows, length) of every stretch of texts of equal length.

    >>> list(equal_lengths([2, 2, 3]))
    [(slice(0, 4, None), 2), (slice(4, 7, None), 3)]
    """
    start = 0
    for length, texts in groupby(lengths):
        end = start + sum(1 for _ in texts) * length
        yield slice(start, end), length
        start = end


def places(lengths: Sequence[int], device: torch.device | None = None) -> Int[Tensor, " total"]:
    """Where each token stands in its own text.

    >>> places([2, 3]).tolist()
    [0, 1, 0, 1, 2]
    """
    sizes = torch.tensor(lengths, device=device)
    begins = sizes.cumsum(0) - sizes
    return torch.arange(int(sizes.sum()), device=device) - begins.repeat_interleave(sizes)
