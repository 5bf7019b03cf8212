"""Candidates from every process: the more passages a query is compared with, the more it learns."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


def gathered(vectors: Float[Tensor, "text d"]) -> Float[Tensor, "all_texts d"]:
    """The vectors of all processes, in the order of their ranks; without processes, `vectors` itself.

    Gather queries and passages, and compute the loss of all of them in every process, times the number of
    processes. Only a process's own rows carry a gradient, and DDP takes the mean: the sum over processes is
    the gradient of the whole batch, exactly. All must give the same number of rows.

    Qu et al. 2020, arXiv:2010.08191 (RocketQA): cross-batch negatives.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return vectors
    found = [torch.empty_like(vectors) for _ in range(dist.get_world_size())]
    dist.all_gather(found, vectors.detach().contiguous())
    found[dist.get_rank()] = vectors
    return torch.cat(found)
