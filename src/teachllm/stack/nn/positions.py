"""Where a token stands: absolute positions, relative ones, and rotation.

Attention by itself sees a set. Order enters in one of three places: added to the embeddings (sinusoidal,
learned), added to the scores (Shaw, T5, ALiBi), or multiplied into queries and keys (RoPE).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from teachllm.stack.nn.fast import threads as fast
from teachllm.stack.nn.fast.heads import rotated_heads as fast_rotated_heads

# Added to the embeddings ------------------------------------------------------------------------------


def sinusoidal_positions(n_positions: int, dim: int, base: float = 10_000.0) -> Float[Tensor, "position dim"]:
    """The fixed table of the Transformer: PE[p, 2i] = sin(p / base^(2i/dim)), PE[p, 2i+1] = cos(same).

    i runs from 0 to dim/2 - 1. ValueError if `dim` is odd.
    Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    angles = rope_angles(torch.arange(n_positions), dim, base)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class LearnedPositions(nn.Module):
    """A trained vector for each position, as in BERT and GPT-2: there is none past the end of the table."""

    def __init__(self, n_positions: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_positions, d_model) * 0.02)

    def forward(self, start: int, n_tokens: int) -> Float[Tensor, "n_tokens d_model"]:
        """Vectors of positions start … start + n_tokens - 1; ValueError past the end of the table."""
        if start + n_tokens > len(self.weight):
            raise ValueError(
                f"position {start + n_tokens - 1} was asked for, but only positions 0 to "
                f"{len(self.weight) - 1} were trained; shorten the text"
            )
        return self.weight[start : start + n_tokens]


# Added to the scores ----------------------------------------------------------------------------------


def relative_positions(n_queries: int, n_cached: int = 0) -> Int[Tensor, "query key"]:
    """Position of the key minus position of the query: 0 on the diagonal, negative for the past.

    Query i stands at position n_cached + i, as in `causal_mask`.

    >>> relative_positions(2, n_cached=1).tolist()
    [[-1, 0, 1], [-2, -1, 0]]
    """
    keys = torch.arange(n_cached + n_queries)
    return keys - keys[n_cached:, None]


def shaw_scores(
    q: Float[Tensor, "*batch query d"],
    relative: Int[Tensor, "query key"],
    table: Float[Tensor, "clipped d"],
) -> Float[Tensor, "*batch query key"]:
    """What to add to q kᵀ, before scaling: q_i · a_(clip(j - i, -k, k)), with one trained vector a for each
    distance.

    table: 2k + 1 vectors, for the distances -k … k; whatever is further away counts as k.
    ValueError if the number of vectors is even. Shaw et al. 2018, arXiv:1803.02155, equation 4.
    """
    if len(table) % 2 == 0:
        raise ValueError(f"the table has {len(table)} vectors; distances -k … k need an odd number, 2k + 1")
    k = len(table) // 2
    return torch.einsum("...qd,qkd->...qk", q, table[relative.clamp(-k, k) + k])


def t5_relative_bucket(
    relative: Int[Tensor, "*shape"], n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
) -> Int[Tensor, "*shape"]:
    """The bucket of a distance (key minus query); T5 adds one trained number for each bucket and head.

    Half of the buckets hold one distance each (0, 1, 2, …), the others grow logarithmically up to
    `max_distance`; everything further is in the last. bidirectional: the past has the first half of all
    buckets and the future the second; otherwise the future counts as distance 0.
    Raffel et al. 2019, arXiv:1910.10683, section 2.1.
    """
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


def alibi_slopes(n_heads: int) -> Float[Tensor, " heads"]:
    """How fast each head forgets: m_h = 2^(-8h / n_heads) for h = 1 … n_heads.

    When n_heads is no power of two: the slopes for the largest power of two below it, then every other slope
    of the next power. Press et al. 2021, arXiv:2108.12409, section 3.
    """

    def geometric(n: int) -> list[float]:
        return [2.0 ** (-8 * h / n) for h in range(1, n + 1)]

    power = 2 ** int(math.log2(n_heads))
    return torch.tensor(geometric(power) + geometric(2 * power)[0::2][: n_heads - power])


def alibi_bias(n_heads: int, n_queries: int, n_cached: int = 0) -> Float[Tensor, "heads query key"]:
    """What to add to the scaled scores: -m_h · (distance to the key). Future keys, which the causal mask
    removes, get 0.

    Press et al. 2021, arXiv:2108.12409.
    """
    return alibi_slopes(n_heads)[:, None, None] * relative_positions(n_queries, n_cached).clamp(max=0)


# RoPE: multiplied into queries and keys ---------------------------------------------------------------
#
# A rotation turns pairs of components. Which two make a pair is a convention that the weights were trained
# with: half-split pairs i with i + dim/2 (GPT-NeoX, Hugging Face files), interleaved pairs 2i with 2i + 1
# (the paper, Meta's Llama files, GGUF files of the llama architecture). Our models use half-split.


def rope(
    x: Float[Tensor, "*batch position dim"],
    positions: Shaped[Tensor, " position"],
    base: float = 10_000.0,
) -> Float[Tensor, "*batch position dim"]:
    """Queries or keys turned by their positions: at position m, pair i turns by the angle m · base^(-2i/dim).

    Pair i is (x_i, x_(i + dim/2)) for i = 0 … dim/2 - 1: the half-split layout. Turning (a, b) by an angle
    gives (a cos - b sin, a sin + b cos). Angles are computed in float32; the result has the dtype of x.
    Su et al. 2021, arXiv:2104.09864, equation 34.

    This is all of RoPE, to be read. Models compute cosines and sines once for all layers (`rope_cos_sin`)
    and then call `apply_rope`; both ways give the same numbers.
    """
    half = x.shape[-1] // 2
    exponents = torch.arange(half, dtype=torch.float32, device=x.device) / half
    frequencies = 1 / base**exponents
    angles = positions.float()[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


def rope_frequencies(
    dim: int, base: float = 10_000.0, device: torch.device | str | None = None
) -> Float[Tensor, " dim/2"]:
    """Radians a position by which each pair turns: θ_i = base^(-2i/dim) for i = 0 … dim/2 - 1, in float32.

    ValueError if `dim` is odd. Su et al. 2021, arXiv:2104.09864, equation 15.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim is {dim}; a rotation turns pairs of components, so it must be even")
    return 1 / base ** (torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)


def rope_angles(
    positions: Shaped[Tensor, "*position"], dim: int, base: float = 10_000.0
) -> Float[Tensor, "*position dim/2"]:
    """The angle m θ_i of every pair at every position, in float32 radians."""
    return positions[..., None].float() * rope_frequencies(dim, base, positions.device)


def rope_cos_sin(
    positions: Shaped[Tensor, "*position"], dim: int, base: float = 10_000.0
) -> tuple[Float[Tensor, "*position dim/2"], Float[Tensor, "*position dim/2"]]:
    """Cosine and sine of `rope_angles`, as `apply_rope` takes them.

    When decoding with a cache, the positions begin at the length of the cache.
    """
    angles = rope_angles(positions, dim, base)
    return angles.cos(), angles.sin()


def apply_rope(
    x: Float[Tensor, "*batch position dim"],
    cos: Float[Tensor, "position dim/2"],
    sin: Float[Tensor, "position dim/2"],
) -> Float[Tensor, "*batch position dim"]:
    """Turn each pair (x_i, x_(i + dim/2)) by its angle: the half-split layout.

    (a, b) becomes (a cos - b sin, a sin + b cos). Lengths stay, position 0 changes nothing, and the product
    of a rotated query and a rotated key depends on their distance alone. x: queries or keys, not values.
    The result has the dtype of x, also when the cosines are more exact.
    Su et al. 2021, arXiv:2104.09864, equation 34.
    """
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


def rotated_heads(
    qkv: Float[Tensor, "batch length width"],
    cos: Float[Tensor, "length dim/2"],
    sin: Float[Tensor, "length dim/2"],
    n_heads: int,
    n_kv_heads: int,
) -> tuple[
    Float[Tensor, "batch heads length dim"],
    Float[Tensor, "batch kv_heads length dim"],
    Float[Tensor, "batch kv_heads length dim"],
]:
    """Queries, keys and values from one row a position, which holds their heads one after another.

    Queries and keys are turned. Where it is faster on a CPU, a fused kernel does all of it in one pass.
    """
    if fast.pays(qkv) and cos.dtype == torch.float32 and cos.ndim == 2:
        return fast_rotated_heads(qkv, cos, sin, n_heads, n_kv_heads)
    if fast.pays_for_reading(qkv) and cos.ndim == 2:
        return fast_rotated_heads(qkv, cos.float(), sin.float(), n_heads, n_kv_heads)
    heads = qkv.unflatten(-1, (n_heads + 2 * n_kv_heads, -1)).transpose(1, 2)
    qk, v = heads.split([n_heads + n_kv_heads, n_kv_heads], dim=1)
    q, k = apply_rope(qk, cos, sin).split([n_heads, n_kv_heads], dim=1)
    return q, k, v


def apply_rope_interleaved(
    x: Float[Tensor, "*batch position dim"],
    cos: Float[Tensor, "position dim/2"],
    sin: Float[Tensor, "position dim/2"],
) -> Float[Tensor, "*batch position dim"]:
    """`apply_rope` for the interleaved layout: turn each pair (x_2i, x_(2i + 1))."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


def apply_rope_complex(
    x: Float[Tensor, "*batch position dim"], angles: Float[Tensor, "position dim/2"]
) -> Float[Tensor, "*batch position dim"]:
    """`apply_rope_interleaved` in one line: a pair is a complex number, and turning it is multiplying by
    e^(i angle).
    """
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).float().contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).to(x.dtype)


def half_split_to_interleaved(
    weight: Shaped[Tensor, " heads*dim *rest"], n_heads: int
) -> Shaped[Tensor, " heads*dim *rest"]:
    """Rows of a query or key projection (or its bias) put in the order that the interleaved layout wants.

    The model stays the same if the other layout's rotation is used with it: within a head, row i goes to 2i
    and row i + dim/2 to 2i + 1. ValueError if the rows are not n_heads times an even number.
    """
    return _pairs(weight, n_heads, (2, -1)).transpose(1, 2).flatten(0, 2)


def interleaved_to_half_split(
    weight: Shaped[Tensor, " heads*dim *rest"], n_heads: int
) -> Shaped[Tensor, " heads*dim *rest"]:
    """The inverse of `half_split_to_interleaved`."""
    return _pairs(weight, n_heads, (-1, 2)).transpose(1, 2).flatten(0, 2)


def _pairs(weight: Tensor, n_heads: int, shape: tuple[int, int]) -> Tensor:
    if n_heads < 1 or len(weight) % (2 * n_heads):
        raise ValueError(f"{len(weight)} rows are not {n_heads} heads with an even number of rows each")
    return weight.unflatten(0, (n_heads, *shape))


def llama3_frequencies(
    frequencies: Float[Tensor, " dim/2"],
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_context: int,
) -> Float[Tensor, " dim/2"]:
    """RoPE frequencies stretched to a longer context, as in Llama 3.1.

    A pair that turns more than `high_freq_factor` times within `original_context` positions stays as it is;
    one that turns less than `low_freq_factor` times is slowed down by `factor`; between them, in proportion.
    Grattafiori et al. 2024, arXiv:2407.21783, section 3.4.2; the rule is that of Meta's published code.
    """
    turns = original_context * frequencies / (2 * math.pi)
    keep = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0, 1)
    return keep * frequencies + (1 - keep) * frequencies / factor
