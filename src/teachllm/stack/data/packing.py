"""Documents of any length in rows of one length: what is cut, what is padded, and who may see whom.

Two ways. *Concatenate and cut*: the documents one after the other, cut every `length` tokens. No padding, but
most rows begin or end in the middle of a document. *Best-fit packing* (Ding et al. 2024, arXiv:2404.10830):
only documents longer than a row are cut; the rest is packed whole, with a little padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from teachllm.stack.nn.attention import causal_mask

IGNORED = -100
"""The target where nothing is to be learned, padding or a prompt: PyTorch's `cross_entropy` leaves it out."""


def next_token_targets(
    tokens: Int[Tensor, "row position"], mask: Bool[Tensor, "row position"]
) -> Int[Tensor, "row position"]:
    """What each position is to predict: the token behind it where both are real, `IGNORED` everywhere else.

    mask: True for real tokens. It cannot be replaced by a look at the tokens: where padding is written with
    the end-of-text token, the one that really ends a text must be learned.

    >>> import torch
    >>> next_token_targets(torch.tensor([[5, 6, 0, 0, 0]]), torch.tensor([[True, True, True, False, False]]))
    tensor([[   6,    0, -100, -100, -100]])
    """
    targets = tokens.roll(-1, dims=-1)
    targets[:, -1:] = IGNORED
    both = mask.clone()
    both[:, :-1] &= mask[:, 1:]
    return targets.masked_fill(~both, IGNORED)


def document_ids(tokens: Int[Tensor, "row position"], end_of_text: int) -> Int[Tensor, "row position"]:
    """Which document of its row each token belongs to: the end-of-text token opens the next one.

    0 is the document that began before the row. For rows cut from a stream; where pieces of torn documents
    stand side by side, tokens alone do not tell them apart.

    >>> import torch
    >>> document_ids(torch.tensor([[5, 6, 0, 7, 8, 0]]), end_of_text=0).tolist()
    [[0, 0, 1, 1, 1, 2]]
    """
    return (tokens == end_of_text).cumsum(dim=-1)


def document_mask(ids: Int[Tensor, "row position"]) -> Bool[Tensor, "row query key"]:
    """True where a query may see a key: in its own document, itself and what stands before it.

    >>> import torch
    >>> document_mask(torch.tensor([[0, 1, 1]])).int().tolist()
    [[[1, 0, 0], [0, 1, 0], [0, 1, 1]]]
    """
    same_document = ids[:, :, None] == ids[:, None, :]
    return same_document & causal_mask(ids.shape[-1], device=ids.device)


def best_fit(lengths: Sequence[int] | np.ndarray, capacity: int) -> list[list[int]]:
    """Pack items into as few rows of `capacity` as best-fit decreasing finds; each row lists its items.

    The longest item goes first, each into the row whose free space it leaves least of, or into a new one.
    Deterministic. ValueError for an item that is empty or longer than a row.

    Ding et al. 2024, arXiv:2404.10830, algorithm 1; the rows are found by their free space in one step
    instead of in a segment tree.

    >>> best_fit([3, 6, 4, 2, 5], capacity=10)
    [[1, 2], [4, 0, 3]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) and not (lengths.min() > 0 and lengths.max() <= capacity):
        raise ValueError(
            f"items of {lengths.min()} to {lengths.max()} tokens do not fit into rows of {capacity}: cut the "
            "long ones first (cut_documents), and leave out empty ones"
        )
    rows: list[list[int]] = []
    rows_with_space: list[list[int]] = [[] for _ in range(capacity + 1)]
    spaces = 0  # bit s is set when some row has s tokens free
    for item in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[item])
        fitting = spaces >> length
        if fitting:
            space = length + (fitting & -fitting).bit_length() - 1  # the lowest bit: the tightest fit
            row = rows_with_space[space].pop()
            if not rows_with_space[space]:
                spaces ^= 1 << space
        else:
            space, row = capacity, len(rows)
            rows.append([])
        rows[row].append(item)
        if left := space - length:
            rows_with_space[left].append(row)
            spaces |= 1 << left
    return rows


def cut_documents(lengths: Sequence[int] | np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut documents that are longer than `capacity`: where each piece begins and how long it is.

    Beginnings count from the first token of the first document; the documents stand one after the other.

    >>> [part.tolist() for part in cut_documents([3, 8], capacity=5)]
    [[0, 3, 8], [3, 5, 3]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    document_starts = np.cumsum(lengths) - lengths
    n_pieces = -(-lengths // capacity)
    of_document = np.repeat(np.arange(len(lengths)), n_pieces)
    number = np.arange(len(of_document)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    return (
        document_starts[of_document] + number * capacity,
        np.minimum(capacity, lengths[of_document] - number * capacity),
    )


def truncated_by_cutting(lengths: Sequence[int] | np.ndarray, capacity: int) -> float:
    """The share of documents that concatenate-and-cut tears apart. Those longer than a row always are."""
    lengths = np.asarray(lengths, dtype=np.int64)
    ends = np.cumsum(lengths)
    torn = (ends - lengths) // capacity != (ends - 1) // capacity
    return float(torn.mean()) if len(lengths) else 0.0


def truncated_by_packing(lengths: Sequence[int] | np.ndarray, capacity: int) -> float:
    """The share of documents that best-fit packing tears apart: those longer than a row, and no other."""
    lengths = np.asarray(lengths, dtype=np.int64)
    return float((lengths > capacity).mean()) if len(lengths) else 0.0


def padding_of_packing(lengths: Sequence[int] | np.ndarray, capacity: int) -> float:
    """The share of padding among the tokens of best-fit rows."""
    _, pieces = cut_documents(lengths, capacity)
    n_rows = len(best_fit(pieces, capacity))
    return 1 - float(pieces.sum()) / (n_rows * capacity) if n_rows else 0.0
