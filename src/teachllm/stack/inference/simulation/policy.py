"""What a step computes: ways to share it out among the texts that want tokens computed.

A text wants all of its tokens computed that are not: one where it decodes, many where its prompt is read.
There is no other difference, here as in the engine, and the engine's own rule is one of those below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from teachllm.stack.inference.engine.scheduler import share_budget


@dataclass(frozen=True, slots=True)
class Policy:
    """How a worker fills its steps. name: for tables.

    share: tokens that each text wants, first those that hold memory, the oldest first, then those that wait,
    in the order of arrival → how many of them the next step computes.
    """

    name: str
    share: Callable[[Sequence[int]], list[int]]


def share_whole(wanted: Sequence[int], budget: int) -> list[int]:
    """Everything that a text wants or nothing, in order, as long as `budget` lasts; the first in any case.

    Nobody overtakes: where one does not fit, those behind it wait too.

    >>> share_whole([300, 0, 400, 100], 512)
    [300, 0, 0, 0]
    """
    shares = [0] * len(wanted)
    left = budget
    for i, n in enumerate(wanted):
        if n > left and left < budget:
            break
        shares[i] = n
        left -= n
    return shares


def share_prompts_first(wanted: Sequence[int], budget: int) -> list[int]:
    """If there are prompts to be read, whole prompts and nothing else; only if there are none, one token for
    everybody who decodes.

    >>> share_prompts_first([1, 1, 300], 512)
    [0, 0, 300]
    """
    prompts = [n if n > 1 else 0 for n in wanted]
    return share_whole(prompts, budget) if any(prompts) else list(wanted)


def share_decode_maximal(wanted: Sequence[int], budget: int, tile: int = 1) -> list[int]:
    """Every text that decodes gets its token, and one prompt a chunk that makes the batch whole tiles.

    Whoever wants one token gets it, in order, as long as `budget` lasts. Of those that want more, only the
    first gets any: as much as it wants, as long as the tokens of all texts together are not more than the
    largest multiple of `tile` within `budget`. Where texts that decode fill that already, it gets none.
    ValueError if `tile` is below 1, or `budget` has no room for a single tile.

    >>> share_decode_maximal([1, 700, 1, 300], budget=300, tile=128)  # 256 rows, of which 2 are taken
    [1, 254, 1, 0]
    """
    if not 1 <= tile <= budget:
        raise ValueError(f"tile is {tile} and budget {budget}: a step must have room for at least one tile")
    shares = [0] * len(wanted)
    decoding = 0
    for i, n in enumerate(wanted):
        if n == 1 and decoding < budget:
            shares[i] = 1
            decoding += 1
    room = budget // tile * tile - decoding
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = max(0, min(n, room))
            break
    return shares


def chunked(budget: int) -> Policy:
    """Sarathi-Serve, and our engine: every text that decodes gets its token, the rest of the budget goes to
    prompts, cut where it ends. No step takes longer than `budget` tokens do.

    Agrawal et al. 2024, arXiv:2403.02310.
    """
    return Policy(f"chunked {budget}", lambda wanted: share_budget(wanted, budget))


def decode_maximal(budget: int, tile: int = 1) -> Policy:
    """SARATHI: every text that decodes gets its token, the rest of the budget goes to one prompt, in whole
    tiles. Where prompts are shorter than a chunk, some of the budget is left.

    Agrawal et al. 2023, arXiv:2308.16369, sections 4.3 and 4.4.
    """
    return Policy(f"decode-maximal {budget}", lambda wanted: share_decode_maximal(wanted, budget, tile))


def mixed() -> Policy:
    """Whole prompts beside decoding: Orca (Yu et al., OSDI 2022)."""
    return Policy("mixed", lambda wanted: list(wanted))


def prompts_first(budget: int) -> Policy:
    """A step of whole prompts, up to `budget` tokens, or a step of decoding: the first vLLM (Kwon et al.
    2023, arXiv:2309.06180). First tokens come soon, while all others wait for theirs.
    """
    return Policy("prompts first", lambda wanted: share_prompts_first(wanted, budget))


def prompts_only(budget: int) -> Policy:
    """Whole prompts, up to `budget` tokens: for a worker whose texts are decoded elsewhere."""
    return Policy("prompts only", lambda wanted: share_whole(wanted, budget))
