"""From a vector for every token to one for the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Pooling = Literal["mean", "cls", "last"]


def mean_pool(x: Float[Tensor, "total d"], lengths: Sequence[int]) -> Float[Tensor, "text d"]:
    """The mean of each text's token vectors, [CLS] and [SEP] among them: MiniLM, E5.

    Texts lie end to end in `x`. There is no padding here, so none can slip into the mean.
    """
    sizes = torch.tensor(lengths, device=x.device)
    owner = torch.arange(len(lengths), device=x.device).repeat_interleave(sizes)
    sums = torch.zeros(len(lengths), x.shape[-1], dtype=torch.float32, device=x.device)
    return (sums.index_add(0, owner, x.float()) / sizes[:, None]).to(x.dtype)


def cls_pool(x: Float[Tensor, "total d"], lengths: Sequence[int]) -> Float[Tensor, "text d"]:
    """The vector of each text's first token, [CLS]: BGE, which trains it to hold the whole text."""
    sizes = torch.tensor(lengths, device=x.device)
    return x[sizes.cumsum(0) - sizes]


def last_token_pool(x: Float[Tensor, "total d"], lengths: Sequence[int]) -> Float[Tensor, "text d"]:
    """The vector of each text's last token: for decoders, where it alone has seen the whole text."""
    return x[torch.tensor(lengths, device=x.device).cumsum(0) - 1]


def pool(x: Float[Tensor, "total d"], lengths: Sequence[int], how: Pooling) -> Float[Tensor, "text d"]:
    """The one that `how` names. ValueError for another name."""
    kinds = {"mean": mean_pool, "cls": cls_pool, "last": last_token_pool}
    if how not in kinds:
        raise ValueError(f"pooling is {how!r}; there are {', '.join(get_args(Pooling))}")
    return kinds[how](x, lengths)


def normalize(vectors: Float[Tensor, "*text d"]) -> Float[Tensor, "*text d"]:
    """Each vector divided by its length: inner products become cosines. A zero vector stays zero."""
    return F.normalize(vectors, dim=-1)
