"""Who owns which block of the KV cache: tables of blocks, shared blocks, copies on write, cached prefixes.

Memory for keys and values is cut into blocks of a fixed number of positions. A text holds a table of the
blocks that its positions are in, one after another, wherever they lie. So a text takes a block when it needs
one, texts that begin alike share blocks, and what a text leaves behind is found by the next that begins so.
Here are only numbers of blocks; `paged_kv` has the tensors.

Kwon et al. 2023, arXiv:2309.06180 (PagedAttention).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

BlockState: TypeAlias = Literal["unused", "cached", "owned", "shared"]


class OutOfBlocks(Exception):
    """There are fewer free blocks than a text needs now. Free some, or wait."""


class IntegrityError(AssertionError):
    """The pool's books contradict themselves or the tables."""


class Copy(NamedTuple):
    """Keys and values of block `source` are to be copied to block `target`, in every layer."""

    source: int
    target: int


@dataclass(eq=False)
class BlockTable:
    """Where the positions of one text lie: position i in slot i % block_size of blocks[i // block_size].

    length: how many tokens are written; there may be blocks for more.
    tokens: those that are written.
    """

    blocks: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, eq=False, slots=True)
class FullBlock:
    """What a full block holds: its tokens, behind those of `parent` and all before it.

    Two of these are the same only if they are one object, so a parent that was evicted is never taken for
    another that stands in the same block now.
    """

    block: int
    hash: int
    tokens: tuple[int, ...]
    parent: FullBlock | None


def block_hash(parent: int, tokens: tuple[int, ...]) -> int:
    """A number for a full block and everything before it: hash(hash of the block before, own tokens).

    Keys and values depend on all tokens before them, so equal tokens behind different ones are not the same.
    Different texts may get the same number, if rarely: compare the tokens too.
    """
    return hash((parent, tokens))


class BlockPool:
    """Blocks 0 … n_blocks - 1, lent to tables. Every call costs what it touches, however long a text is.

    A block is in one of three places: owned by one or more tables; cached, which is owned by nobody but
    holding a prefix that can be found again; or unused. Cached blocks are given away when nothing is unused,
    the one that was left longest ago first, and never before the blocks that continue it.

    prefix_caching: whether full blocks can be found by later texts.
    """

    def __init__(self, n_blocks: int, block_size: int = 16, *, prefix_caching: bool = True) -> None:
        if n_blocks < 1 or block_size < 1:
            raise ValueError(f"a pool of {n_blocks} blocks of {block_size} tokens: both must be at least 1")
        self.n_blocks, self.block_size, self.prefix_caching = n_blocks, block_size, prefix_caching
        self._references = [0] * n_blocks
        self._unused = list(range(n_blocks - 1, -1, -1))
        self._cached: OrderedDict[int, None] = OrderedDict()  # left longest ago first
        self._full: list[FullBlock | None] = [None] * n_blocks  # what is known of each block
        self._findable: dict[int, FullBlock] = {}

    @property
    def n_free(self) -> int:
        """Blocks that can be taken now: unused, or cached without an owner."""
        return len(self._unused) + len(self._cached)

    # region: open
    def open(self, tokens: Sequence[int]) -> BlockTable:
        """The table of a text that shall begin with `tokens`, owning the longest prefix that is cached.

        The prefix is of full blocks, and shorter than the text: the logits behind its last token are wanted,
        so at least one token is to be computed.
        """
        table = BlockTable()
        last = None
        for end in range(self.block_size, len(tokens), self.block_size):
            last = self._find(last, tuple(tokens[end - self.block_size : end]))
            if last is None:
                break
            self._own(last.block)
            table.blocks.append(last.block)
            table.tokens.extend(last.tokens)
        return table

    def _find(self, parent: FullBlock | None, tokens: tuple[int, ...]) -> FullBlock | None:
        """The full block of these tokens behind these others, if it is still there."""
        found = self._findable.get(block_hash(parent.hash if parent else 0, tokens))
        # The hash only says where to look. The parent was compared before, so all tokens are the same.
        if found is not None and found.parent is parent and found.tokens == tokens:
            return found
        return None

    # endregion: open

    # region: extend
    def blocks_needed(self, table: BlockTable, n_new: int) -> int:
        """How many free blocks `extend` would take, that of a copy among them."""
        missing = -(-(table.length + n_new) // self.block_size) - len(table.blocks)
        return max(0, missing) + (n_new > 0 and self._must_copy(table))

    def _must_copy(self, table: BlockTable) -> bool:
        """Whether the next token goes to a block that is partly filled, and others own it too."""
        index, slot = divmod(table.length, self.block_size)
        return slot > 0 and self._references[table.blocks[index]] > 1

    def extend(self, table: BlockTable, n_new: int) -> list[Copy]:
        """Give the table room for `n_new` tokens behind those written.

        Returns what to copy before anything is written, in this order.
        OutOfBlocks leaves everything as it was.
        """
        needed = self.blocks_needed(table, n_new)
        if needed > self.n_free:
            raise OutOfBlocks(
                f"{n_new} tokens behind {table.length} need {needed} more blocks of {self.block_size}, "
                f"and {self.n_free} of {self.n_blocks} are free"
            )
        copies: list[Copy] = []
        index, slot = divmod(table.length, self.block_size)
        if n_new > 0 and slot > 0:
            block = table.blocks[index]
            if self._references[block] > 1:
                copies.append(Copy(block, self._take()))
                table.blocks[index] = copies[0].target
                self._disown(block)
            elif (full := self._full[block]) is not None:  # `truncate` cut it back: it is overwritten now
                self._forget(full)
                self._full[block] = None
        while len(table.blocks) * self.block_size < table.length + n_new:
            table.blocks.append(self._take())
        return copies

    # endregion: extend

    # region: commit
    def commit(self, table: BlockTable, tokens: Iterable[int]) -> None:
        """These tokens are written behind the others now; blocks that they fill can be found from now on.

        If another text has just written the same behind the same, its block takes the place of ours.
        ValueError if `extend` has not made room for them.
        """
        before = table.length
        table.tokens.extend(tokens)
        if table.length > len(table.blocks) * self.block_size:
            given = table.length - before
            del table.tokens[before:]
            room = len(table.blocks) * self.block_size
            raise ValueError(f"{given} tokens behind {before} do not fit in {room} positions: call extend")
        if self.prefix_caching:
            for index in range(before // self.block_size, table.length // self.block_size):
                self._make_findable(table, index)

    def _make_findable(self, table: BlockTable, index: int) -> None:
        own = table.blocks[index]
        parent = self._full[table.blocks[index - 1]] if index > 0 else None
        tokens = tuple(table.tokens[index * self.block_size : (index + 1) * self.block_size])
        same = self._find(parent, tokens)
        if same is not None:
            self._own(same.block)
            table.blocks[index] = same.block
            self._disown(own)
            return
        full = FullBlock(own, block_hash(parent.hash if parent else 0, tokens), tokens, parent)
        other = self._findable.get(full.hash)
        if other is not None:  # another text with the same hash: the newer is found
            self._forget(other)
        self._full[own] = self._findable[full.hash] = full

    # endregion: commit

    # region: fork
    def fork(self, table: BlockTable) -> BlockTable:
        """A second text that begins with everything written of the first, in the same blocks."""
        blocks = table.blocks[: -(-table.length // self.block_size)]
        for block in blocks:
            self._own(block)
        return BlockTable(blocks, table.tokens.copy())

    # endregion: fork

    def truncate(self, table: BlockTable, length: int) -> None:
        """Forget every token from `length` on, and give back the blocks that no token is left in."""
        if not 0 <= length <= table.length:
            raise ValueError(f"cannot truncate to {length}: {table.length} tokens are written")
        del table.tokens[length:]
        kept = -(-length // self.block_size)
        # Backwards: a block is left before the one that it continues, and so given away before it.
        for block in reversed(table.blocks[kept:]):
            self._disown(block)
        del table.blocks[kept:]

    def release(self, table: BlockTable) -> None:
        """The text is done: its table is empty. Full blocks stay findable until they are given away."""
        self.truncate(table, 0)

    def states(self) -> list[BlockState]:
        """What each block is now, for a map of the memory."""
        return [
            "shared" if n > 1 else "owned" if n == 1 else "cached" if block in self._cached else "unused"
            for block, n in enumerate(self._references)
        ]

    def check_integrity(self, tables: Iterable[BlockTable]) -> None:
        """IntegrityError names everything that is wrong, given all tables that are open."""
        problems: list[str] = []
        owners: Counter[int] = Counter()
        for table in tables:
            owners.update(table.blocks)
            if table.length > len(table.blocks) * self.block_size:
                problems.append(f"{table.length} tokens are written in {len(table.blocks)} blocks")
            if len(set(table.blocks)) < len(table.blocks):
                problems.append(f"a table has a block twice: {table.blocks}")
            problems += self._wrong_contents(table)
        unused, cached = set(self._unused), set(self._cached)
        for block, references in enumerate(self._references):
            if references != owners[block]:
                problems.append(f"block {block} counts {references} owners and has {owners[block]}")
            if (references > 0) + (block in unused) + (block in cached) != 1:
                problems.append(f"block {block} is not in one place: owned, cached or unused")
        if len(unused) < len(self._unused):
            problems.append("an unused block is listed twice")
        place = {block: i for i, block in enumerate(self._cached)}
        for block in self._cached:
            full = self._full[block]
            if full is None or self._findable.get(full.hash) is not full:
                problems.append(f"block {block} is kept as cached, but cannot be found")
            elif full.parent is not None and self._full[full.parent.block] is full.parent:
                before = full.parent.block
                if self._references[before] == 0 and not place[block] < place.get(before, -1):
                    problems.append(f"block {before} would be given away before {block}, which continues it")
        problems += [
            f"block {full.block} can be found by a hash, but holds something else"
            for full in self._findable.values()
            if self._full[full.block] is not full
        ]
        if problems:
            raise IntegrityError("; ".join(problems))

    def _wrong_contents(self, table: BlockTable) -> list[str]:
        size = self.block_size
        return [
            f"block {block} is known to hold other tokens than its table says"
            for i, block in enumerate(table.blocks[: table.length // size])
            if (full := self._full[block]) is not None
            and full.tokens != tuple(table.tokens[i * size : (i + 1) * size])
        ]

    # Blocks change places ------------------------------------------------------------------------------

    def _take(self) -> int:
        """A block for one owner; a cached one loses what it holds. The caller has looked at `n_free`."""
        if self._unused:
            block = self._unused.pop()
        else:
            block, _ = self._cached.popitem(last=False)
            full = self._full[block]
            assert full is not None
            del self._findable[full.hash]
            self._full[block] = None
        self._references[block] = 1
        return block

    def _own(self, block: int) -> None:
        if self._references[block] == 0:
            del self._cached[block]
        self._references[block] += 1

    def _disown(self, block: int) -> None:
        self._references[block] -= 1
        if self._references[block] > 0:
            return
        full = self._full[block]
        if full is not None and self._findable.get(full.hash) is full:
            self._cached[block] = None
        else:
            self._full[block] = None
            self._unused.append(block)

    def _forget(self, full: FullBlock) -> None:
        """Nobody finds this block any more."""
        if self._findable.get(full.hash) is full:
            del self._findable[full.hash]
        if self._references[full.block] == 0:
            del self._cached[full.block]
            self._unused.append(full.block)
            self._full[full.block] = None
