"""RetroMAE: teach [CLS] to hold a text, by rebuilding the text from it with a decoder that is too weak to do
it alone.

The encoder reads a text with some of its tokens masked; one decoder layer gets the vector of [CLS] and hardly
anything else, and has to say what the text was. What it cannot see must be in the vector. The decoder is
thrown away.

Xiao et al. 2022, arXiv:2205.12035.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from teachllm.stack.data.packing import IGNORED
from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.nn.attention import scaled_dot_product_attention
from teachllm.stack.nn.norms import LayerNorm
from teachllm.stack.training.loss import cross_entropy

Decoding = Literal["basic", "enhanced"]


def masked(
    tokens: Int[Tensor, "text length"], ratio: float, mask_token: int, generator: torch.Generator
) -> tuple[Int[Tensor, "text length"], Int[Tensor, "text length"]]:
    """(tokens with a share of `ratio` replaced by `mask_token`, what stood there). First and last, [CLS] and
    [SEP], stay.

    Targets are `IGNORED` where nothing is masked. Every text gets the same number of masks: ratio · (length −
    2).
    """
    chosen = torch.zeros_like(tokens, dtype=torch.bool)
    chosen[:, 1:-1] = _sampled(len(tokens), tokens.shape[1] - 2, ratio, generator, tokens.device)
    return tokens.masked_fill(chosen, mask_token), tokens.masked_fill(~chosen, IGNORED)


def enhanced_mask(
    length: int, visible: float, generator: torch.Generator, n_texts: int = 1
) -> Bool[Tensor, "text length length"]:
    """True where position i may see position j when it rebuilds token i: the matrix M of enhanced decoding.

    Each row has a sample of its own, of a share `visible` of the other positions; 1 − visible is the
    decoder's mask ratio. No position sees itself, which would give the answer away; every position but 0 sees
    position 0, where the vector of the text stands.
    """
    rows = _sampled(n_texts * length, length - 1, visible, generator).view(n_texts, length, length - 1)
    # Row i has no place for i itself: the samples before the diagonal stay, those behind it move one to the
    # right.
    mask = torch.zeros(n_texts, length, length, dtype=torch.bool)
    before = torch.ones(length, length - 1, dtype=torch.bool).tril(-1)
    mask[:, :, :-1] |= rows & before
    mask[:, :, 1:] |= rows & ~before
    mask[:, 1:, 0] = True
    return mask


def _sampled(
    n_rows: int, n: int, ratio: float, generator: torch.Generator, device: torch.device | None = None
) -> Bool[Tensor, "row n"]:
    """True at round(ratio · n) places of each row, at least one."""
    noise = torch.rand(n_rows, n, generator=generator)
    chosen = torch.zeros(n_rows, n, dtype=torch.bool)
    chosen.scatter_(1, noise.topk(max(1, round(ratio * n)), dim=1).indices, True)
    return chosen.to(device)


class RetroMAELosses(NamedTuple):
    """In nats a token: the encoder's at its own masks, the decoder's. Both are trained together, as their
    sum.
    """

    encoder: Float[Tensor, ""]
    decoder: Float[Tensor, ""]


class RetroMAE(nn.Module):
    """An encoder, and what it needs to be pre-trained. Texts of one call have one length, [CLS] first."""

    def __init__(self, encoder: Bert, mask_token: int, decoding: Decoding = "enhanced") -> None:
        super().__init__()
        self.encoder = encoder
        self.mask_token, self.decoding = mask_token, decoding
        self.decoder = DecoderLayer(encoder.config)
        self.head = TokenHead(encoder.config)

    def forward(
        self,
        tokens: Int[Tensor, "text length"],
        generator: torch.Generator,
        encoder_ratio: float = 0.3,
        decoder_ratio: float = 0.5,
    ) -> RetroMAELosses:
        """What share of the tokens the encoder and the decoder do not see, and how wrong both guess."""
        seen, targets = masked(tokens, encoder_ratio, self.mask_token, generator)
        n_texts, length = tokens.shape
        states = self.encoder(seen.flatten(), [length] * n_texts).view(n_texts, length, -1)
        encoder_loss = self.guess(states, targets)
        if self.decoding == "enhanced":
            rebuilt, decoder_targets = self.enhanced(tokens, states[:, 0], decoder_ratio, generator)
        else:
            rebuilt, decoder_targets = self.basic(tokens, states[:, 0], decoder_ratio, generator)
        return RetroMAELosses(encoder_loss, self.guess(rebuilt, decoder_targets))

    def basic(
        self, tokens: Tensor, sentence: Float[Tensor, "text d"], ratio: float, generator: torch.Generator
    ) -> tuple[Float[Tensor, "text length d"], Int[Tensor, "text length"]]:
        """One more masked language model over [sentence, e_x1 + p_1, …]: it learns at the masks only."""
        seen, targets = masked(tokens, ratio, self.mask_token, generator)
        x = torch.cat([sentence[:, None], self.embedded(seen)[:, 1:]], dim=1)
        return self.decoder(x, x), targets

    def enhanced(
        self, tokens: Tensor, sentence: Float[Tensor, "text d"], ratio: float, generator: torch.Generator
    ) -> tuple[Float[Tensor, "text length d"], Int[Tensor, "text length"]]:
        """Every token is rebuilt, each from a sample of its own: queries H₁ = [h + p_0, h + p_1, …], context
        H₂ = [h, e_x1 + p_1, …].
        """
        length = tokens.shape[1]
        queries = sentence[:, None] + self.encoder.positions.weight[:length]
        context = torch.cat([sentence[:, None], self.embedded(tokens)[:, 1:]], dim=1)
        mask = enhanced_mask(length, 1 - ratio, generator, len(tokens)).to(tokens.device)
        targets = tokens.clone()
        targets[:, 0] = IGNORED  # [CLS] is no word
        return self.decoder(queries, context, mask), targets

    def embedded(self, tokens: Int[Tensor, "text length"]) -> Float[Tensor, "text length d"]:
        """Tokens and their positions, from the tables of the encoder."""
        return self.encoder.embedding(tokens) + self.encoder.positions.weight[: tokens.shape[1]]

    def guess(self, states: Float[Tensor, "text length d"], targets: Int[Tensor, "text length"]) -> Tensor:
        """The loss at the targets; only there are logits computed."""
        counted = targets != IGNORED
        return cross_entropy(self.head(states[counted], self.encoder.embedding.weight), targets[counted])


class DecoderLayer(nn.Module):
    """norm(q + attention(q, context)), then norm(… + feed_forward(…)): one layer, and no more, on purpose."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads = config.n_heads
        self.query, self.key_value, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.attention_norm = LayerNorm(d, config.norm_eps)
        self.up, self.down = nn.Linear(d, config.hidden), nn.Linear(config.hidden, d)
        self.feed_forward_norm = LayerNorm(d, config.norm_eps)

    def forward(
        self,
        queries: Float[Tensor, "text length d"],
        context: Float[Tensor, "text length d"],
        mask: Bool[Tensor, "text length length"] | None = None,
    ) -> Float[Tensor, "text length d"]:
        q = self.query(queries).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        k, v = self.key_value(context).unflatten(-1, (2, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None])
        x = self.attention_norm(queries + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.feed_forward_norm(x + self.down(F.gelu(self.up(x))))


class TokenHead(nn.Module):
    """BERT's head for masked tokens: one layer, then the table of embeddings as output matrix, and a bias."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model)
        self.norm = LayerNorm(config.d_model, config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(
        self, states: Float[Tensor, "position d"], embedding: Float[Tensor, "vocab d"]
    ) -> Float[Tensor, "position vocab"]:
        return F.linear(self.norm(F.gelu(self.dense(states))), embedding, self.bias)
