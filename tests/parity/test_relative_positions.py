"""Scores of Transformer-XL beside XLNet's, and of DeBERTa beside DeBERTa's, in `transformers`."""

from __future__ import annotations

import math

import pytest
import torch
import transformers
from torch import Tensor
from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention
from transformers.models.xlnet.modeling_xlnet import XLNetRelativeAttention

from teachllm.stack.nn.positions import relative_positions, sinusoidal_positions
from teachllm.stack.nn.relative_positions import deberta_scores, transformer_xl_scores

pytestmark = pytest.mark.parity


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_transformer_xl_attends_as_xlnet_does() -> None:
    heads, d, n_queries, n_keys = 3, 8, 5, 9
    config = transformers.XLNetConfig(d_model=heads * d, n_head=heads, dropout=0.0)
    theirs = XLNetRelativeAttention(config).eval()
    q, k = normal(2, heads, n_queries, d), normal(2, heads, n_keys, d, seed=1)
    values = normal(2, heads, n_keys, d, seed=2)
    u, v = normal(heads, d, seed=3), normal(heads, d, seed=4)
    theirs.r_w_bias.data, theirs.r_r_bias.data = u, v
    # XLNet looks both ways: its distances go from n_keys down to 1 - n_queries. We need those that look back.
    n_distances = n_keys + n_queries
    table = sinusoidal_positions(n_distances, d)
    by_distance = torch.einsum("nd,hde->hne", table, normal(heads, d, d, seed=5))
    theirs_r = torch.cat([by_distance[:, : n_keys + 1].flip(1), normal(heads, n_queries - 1, d, seed=6)], 1)
    seen = relative_positions(n_queries, n_keys - n_queries) <= 0
    attended = theirs.rel_attn_core(
        q.permute(2, 0, 1, 3),
        k.permute(2, 0, 1, 3),
        values.permute(2, 0, 1, 3),
        theirs_r.transpose(0, 1)[:, None].expand(-1, 2, -1, -1),
        attn_mask=(~seen).float()[:, :, None, None],
    ).permute(1, 2, 0, 3)
    scores = transformer_xl_scores(q, k, by_distance[:, :n_keys].flip(1), u, v) / math.sqrt(d)
    ours = scores.masked_fill(~seen, -math.inf).softmax(-1) @ values
    torch.testing.assert_close(ours, attended, atol=1e-5, rtol=0)


@torch.no_grad()
def test_deberta_attends_as_deberta_does() -> None:
    heads, d, length, span = 3, 8, 6, 6
    config = transformers.DebertaConfig(
        hidden_size=heads * d,
        num_attention_heads=heads,
        relative_attention=True,
        max_relative_positions=span,
        pos_att_type=["c2p", "p2c"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    theirs = DisentangledSelfAttention(config).eval()
    for seed, parameter in enumerate(theirs.parameters()):
        parameter.data = normal(*parameter.shape, seed=seed) * 0.3
    x, table = normal(2, length, heads * d, seed=20), normal(2 * span, heads * d, seed=21)
    seen = torch.ones(2, 1, length, length)
    relative = -relative_positions(length)  # theirs is query minus key
    _, expected = theirs(x, seen, output_attentions=True, relative_pos=relative, rel_embeddings=table)

    def split(rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (heads, -1)).transpose(-3, -2)

    q, k, _ = split(theirs.in_proj(x)).chunk(3, dim=-1)
    q = q + split(theirs.q_bias[None])
    position_k, position_q = split(theirs.pos_proj(table)), split(theirs.pos_q_proj(table))
    # For position-to-content the paper looks δ(j, i) up, this code δ(i, j). Within the span that is the table
    # in another order: the row of x is that of -x. Distance -span is not reached and has no opposite.
    opposite = torch.cat([position_q[:, :1], position_q[:, 1:].flip(1)], dim=1)
    scores = deberta_scores(q, k, opposite, position_k, relative_positions(length)) / math.sqrt(3 * d)
    torch.testing.assert_close(scores.softmax(-1), expected, atol=1e-5, rtol=0)
    as_written = deberta_scores(q, k, position_q, position_k, relative_positions(length)) / math.sqrt(3 * d)
    assert not torch.allclose(as_written.softmax(-1), expected, atol=1e-2)
