"""Relative positions inside the score: Transformer-XL, DeBERTa, xPos.

With x_i + p_i in place of x_i, a score has four terms: content with content, content with position, position
with content, position with position. Transformer-XL and DeBERTa keep some of them and put a distance in place
of two positions. Their simpler relatives (Shaw, T5, ALiBi, RoPE) are in `positions`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from teachllm.stack.nn.positions import apply_rope, rope_cos_sin

# Transformer-XL: all four terms ------------------------------------------------------------------------


def transformer_xl_scores(
    q: Float[Tensor, "*batch heads query d"],
    k: Float[Tensor, "*batch heads key d"],
    distance_keys: Float[Tensor, "heads key d"],
    u: Float[Tensor, "heads d"],
    v: Float[Tensor, "heads d"],
) -> Float[Tensor, "*batch heads query key"]:
    """(q_i + u) · k_j + (q_i + v) · r_(i - j), before scaling: all four terms, with distances for positions.

    distance_keys: r of the distances n_keys - 1, …, 1, 0, in this order: sinusoids of the distance, projected
    by a matrix of their own. u, v: trained vectors that stand for the query's position.
    The queries are the last positions of the keys. Scores of future keys mean nothing: mask them.
    Dai et al. 2019, arXiv:1901.02860, section 3.3.
    """
    content = (q + u[:, None]) @ k.transpose(-2, -1)
    return content + relative_shift((q + v[:, None]) @ distance_keys.transpose(-2, -1))


def relative_shift(
    by_distance: Float[Tensor, "*batch query key"],
) -> Float[Tensor, "*batch query key"]:
    """Scores whose last dimension is a distance, n_keys - 1 down to 0, put where the key at that distance is.

    Row i moves to the left by n_queries - 1 - i places; what comes in from the right belongs to future keys
    and means nothing. One column of zeros and two views do it, without gathering.
    Dai et al. 2019, arXiv:1901.02860, appendix B.
    """
    *batch, n_queries, n_keys = by_distance.shape
    zeros = by_distance.new_zeros(*batch, n_queries, 1)
    padded = torch.cat([zeros, by_distance], dim=-1)
    # Read in rows that are one column shorter, each row begins one place later than the row above.
    shifted = padded.reshape(*batch, n_keys + 1, n_queries)[..., 1:, :]
    return shifted.reshape(by_distance.shape)


# DeBERTa: three terms ----------------------------------------------------------------------------------


def deberta_scores(
    q: Float[Tensor, "*batch heads query d"],
    k: Float[Tensor, "*batch heads key d"],
    position_q: Float[Tensor, "heads distances d"],
    position_k: Float[Tensor, "heads distances d"],
    relative: Int[Tensor, "query key"],
) -> Float[Tensor, "*batch heads query key"]:
    """q_i · k_j + q_i · pk_δ(i,j) + k_j · pq_δ(j,i), before scaling; three terms, so divide by √(3d).

    position_q, position_k: queries and keys of 2k distances, projections of one trained table.
    relative: key minus query, as `relative_positions` gives it.
    δ(i, j): the distance i - j as a row of the table; see `deberta_distance`.
    He et al. 2020, arXiv:2006.03654, equation 4.
    """
    span = position_k.shape[-2] // 2
    to_position = q @ position_k.transpose(-2, -1)  # (query, distances)
    to_content = k @ position_q.transpose(-2, -1)  # (key, distances)
    row = deberta_distance(-relative, span).expand(*to_position.shape[:-1], -1)
    column = deberta_distance(relative.T, span).expand(*to_content.shape[:-1], -1)
    return (
        q @ k.transpose(-2, -1)
        + to_position.gather(-1, row)
        + to_content.gather(-1, column).transpose(-2, -1)
    )


def deberta_distance(distance: Int[Tensor, "*shape"], k: int) -> Int[Tensor, "*shape"]:
    """A signed distance as a row of a table of 2k: -k … k - 1 in order, any other as the nearest of these.

    He et al. 2020, arXiv:2006.03654, equation 3.
    """
    return (distance + k).clamp(0, 2 * k - 1)


# xPos: rotation and decay ------------------------------------------------------------------------------


def xpos(
    q: Float[Tensor, "*batch heads position dim"],
    k: Float[Tensor, "*batch kv_heads position dim"],
    positions: Shaped[Tensor, " position"],
    base: float = 10_000.0,
    gamma: float = 0.4,
    scale_base: float = 512.0,
) -> tuple[Float[Tensor, "*batch heads position dim"], Float[Tensor, "*batch kv_heads position dim"]]:
    """RoPE whose pair i also shrinks by ζ_i^((m - n) / scale_base) between a query at m and a key at n ≤ m.

    Queries are multiplied by ζ^((m - c) / scale_base) and keys by ζ^((c - n) / scale_base): c cancels in the
    product. It is the middle of the positions, because far from c the factors leave the range of the dtype.
    Half-split layout. Meant for causal attention: scores of future keys grow.
    Sun et al. 2022, arXiv:2212.10554.
    """
    cos, sin = rope_cos_sin(positions, q.shape[-1], base)
    centred = positions.float() - (positions[0] + positions[-1]).float() / 2
    scale = xpos_decay(q.shape[-1], gamma, q.device) ** (centred[:, None] / scale_base)
    scale = torch.cat([scale, scale], dim=-1).to(q.dtype)
    return apply_rope(q, cos, sin) * scale, apply_rope(k, cos, sin) / scale


def xpos_decay(
    dim: int, gamma: float = 0.4, device: torch.device | str | None = None
) -> Float[Tensor, " dim/2"]:
    """ζ_i = (2i/dim + γ) / (1 + γ) for pair i = 0 … dim/2 - 1: what turns fast fades fast.

    Sun et al. 2022, arXiv:2212.10554, section 3.
    """
    return (torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim + gamma) / (1 + gamma)
