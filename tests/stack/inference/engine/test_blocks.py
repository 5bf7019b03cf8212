"""The pool's promises, one by one and under thousands of random operations."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from teachllm.stack.inference.engine import blocks as blocks_module
from teachllm.stack.inference.engine.blocks import (
    BlockPool,
    BlockTable,
    Copy,
    IntegrityError,
    OutOfBlocks,
    block_hash,
)


def write(pool: BlockPool, table: BlockTable, tokens: list[int]) -> list[Copy]:
    copies = pool.extend(table, len(tokens))
    pool.commit(table, tokens)
    return copies


def text(pool: BlockPool, tokens: list[int]) -> BlockTable:
    table = pool.open(tokens)
    write(pool, table, tokens[table.length :])
    return table


def test_a_text_takes_a_block_only_when_it_needs_one() -> None:
    pool = BlockPool(4, 4)
    table = pool.open([1, 2, 3])
    assert table.blocks == []
    assert pool.blocks_needed(table, 4) == 1
    write(pool, table, [1, 2, 3, 4])
    assert (len(table.blocks), pool.n_free) == (1, 3)
    assert pool.blocks_needed(table, 0) == 0
    assert pool.blocks_needed(table, 1) == 1
    write(pool, table, [5])
    assert (len(table.blocks), table.length, pool.n_free) == (2, 5, 2)
    pool.check_integrity([table])


def test_room_that_was_given_is_not_given_again() -> None:
    pool = BlockPool(4, 4)
    table = pool.open([])
    pool.extend(table, 5)
    pool.extend(table, 5)
    assert len(table.blocks) == 2
    pool.truncate(table, 0)  # nothing was written
    assert pool.n_free == 4


def test_out_of_blocks_changes_nothing() -> None:
    pool = BlockPool(3, 4)
    first = text(pool, [1, 2, 3, 4, 5])
    second = pool.fork(first)
    before = (first.blocks.copy(), second.blocks.copy(), pool.n_free)
    with pytest.raises(OutOfBlocks, match="need 2 more blocks of 4, and 1 of 3 are free"):
        pool.extend(second, 4)  # one for the copy and one behind it
    assert (first.blocks, second.blocks, pool.n_free) == before
    pool.check_integrity([first, second])


def test_a_shared_block_is_copied_when_it_is_written_and_only_then() -> None:
    pool = BlockPool(8, 4)
    first = text(pool, [1, 2, 3, 4, 5])
    second = pool.fork(first)
    assert first.blocks == second.blocks
    assert pool.n_free == 6
    assert pool.blocks_needed(second, 1) == 1
    assert write(pool, second, [6]) == [Copy(first.blocks[1], second.blocks[1])]
    assert first.blocks[0] == second.blocks[0]
    # The first is alone with its block now, and writes into it.
    assert write(pool, first, [7]) == []
    pool.check_integrity([first, second])


def test_full_shared_blocks_are_not_copied() -> None:
    pool = BlockPool(8, 4)
    first = text(pool, [1, 2, 3, 4])
    second = pool.fork(first)
    assert write(pool, second, [5]) == []
    assert write(pool, first, [6]) == []
    assert first.blocks[0] == second.blocks[0]
    assert first.blocks[1] != second.blocks[1]


def test_a_fork_does_not_share_room_that_is_not_written() -> None:
    pool = BlockPool(8, 4)
    first = text(pool, [1, 2, 3, 4])
    pool.extend(first, 3)
    second = pool.fork(first)
    write(pool, second, [9])
    assert first.blocks[1] not in second.blocks
    pool.check_integrity([first, second])


def test_a_text_finds_what_another_left_behind() -> None:
    pool = BlockPool(8, 4)
    first = text(pool, list(range(10)))
    blocks = first.blocks.copy()
    pool.release(first)
    assert (pool.n_free, pool.states().count("cached"), first.blocks) == (8, 2, [])
    second = pool.open([*range(8), 99])
    assert (second.blocks, second.length) == (blocks[:2], 8)
    assert pool.n_free == 6
    pool.check_integrity([second])


def test_at_least_one_token_is_left_to_compute() -> None:
    pool = BlockPool(8, 4)
    pool.release(text(pool, list(range(8))))
    assert pool.open(list(range(8))).length == 4
    assert pool.open(list(range(9))).length == 8


def test_the_same_block_behind_another_one_is_not_the_same() -> None:
    pool = BlockPool(8, 4)
    pool.release(text(pool, [1, 2, 3, 4, 5, 6, 7, 8]))
    assert pool.open([0, 2, 3, 4, 5, 6, 7, 8, 9]).length == 0
    assert pool.open([5, 6, 7, 8, 9]).length == 0


def test_without_prefix_caching_nothing_is_found() -> None:
    pool = BlockPool(8, 4, prefix_caching=False)
    pool.release(text(pool, list(range(8))))
    assert pool.open(list(range(9))).length == 0
    assert set(pool.states()) == {"unused"}


def test_texts_that_write_the_same_at_once_end_in_one_block() -> None:
    pool = BlockPool(8, 4)
    first, second = pool.open([1, 2, 3, 4]), pool.open([1, 2, 3, 4])
    for table in (first, second):
        pool.extend(table, 4)
    pool.commit(first, [1, 2, 3, 4])
    pool.commit(second, [1, 2, 3, 4])
    assert first.blocks == second.blocks
    assert pool.n_free == 7
    pool.check_integrity([first, second])


def test_what_was_left_longest_ago_is_given_away_first_from_its_end() -> None:
    pool = BlockPool(4, 2)
    old, new = text(pool, [1, 2, 3, 4]), text(pool, [5, 6, 7, 8])
    old_blocks, new_blocks = old.blocks.copy(), new.blocks.copy()
    pool.release(old)
    pool.release(new)
    taken = pool.open([])
    pool.extend(taken, 6)
    assert taken.blocks == [old_blocks[1], old_blocks[0], new_blocks[1]]
    assert pool.open([5, 6, 7, 8, 9]).blocks == [new_blocks[0]]


def test_use_makes_a_cached_block_young_again() -> None:
    pool = BlockPool(2, 2)
    for tokens in ([1, 2], [3, 4]):
        pool.release(text(pool, tokens))
    pool.release(pool.open([1, 2, 0]))
    other = text(pool, [7])
    assert pool.open([3, 4, 0]).length == 0
    assert pool.open([1, 2, 0]).length == 2
    pool.release(other)


def test_truncate_gives_back_what_no_token_is_left_in() -> None:
    pool = BlockPool(8, 4)
    table = text(pool, list(range(10)))
    pool.truncate(table, 8)
    assert (table.length, len(table.blocks), table.tokens) == (8, 2, list(range(8)))
    with pytest.raises(ValueError, match="cannot truncate to 9: 8 tokens are written"):
        pool.truncate(table, 9)
    pool.check_integrity([table])


def test_a_full_block_that_was_cut_back_is_not_found_once_it_is_overwritten() -> None:
    pool = BlockPool(8, 4)
    table = text(pool, list(range(8)))
    pool.truncate(table, 6)
    assert pool.open([*range(8), 8]).length == 8  # nothing is overwritten yet
    pool = BlockPool(8, 4)
    table = text(pool, list(range(8)))
    pool.truncate(table, 6)
    assert write(pool, table, [99]) == []
    assert pool.open([*range(8), 8]).length == 4


def test_a_cut_back_block_that_another_has_found_is_copied() -> None:
    pool = BlockPool(8, 4)
    table = text(pool, list(range(8)))
    pool.truncate(table, 6)
    other = pool.open([*range(8), 8])
    assert write(pool, table, [99]) == [Copy(other.blocks[1], table.blocks[1])]
    pool.check_integrity([table, other])


def test_a_hash_that_two_texts_share_hands_over_no_wrong_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "block_hash", lambda parent, tokens: 7)
    pool = BlockPool(8, 2)
    first = text(pool, [1, 2, 3, 4])
    assert pool.open([5, 6, 7]).length == 0
    second = text(pool, [5, 6, 7])
    assert set(first.blocks).isdisjoint(second.blocks)
    assert pool.open([5, 6, 7]).blocks == second.blocks[:1]  # the newer is found
    assert pool.open([1, 2, 0]).length == 0


def test_a_parent_that_was_given_away_is_not_mistaken_for_what_its_block_holds_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All hashes of second blocks agree, so only identity tells [1 2][3 4] from [5 6][3 4]."""
    monkeypatch.setattr(blocks_module, "block_hash", lambda parent, tokens: (parent == 0 and tokens[0]) or 7)
    pool = BlockPool(8, 2)
    text(pool, [1, 2, 3, 4])
    text(pool, [5, 6])
    assert pool.open([5, 6, 3, 4, 0]).length == 2


def test_block_hashes_are_chained() -> None:
    assert block_hash(0, (1, 2)) != block_hash(1, (1, 2))
    assert block_hash(0, (1, 2)) == block_hash(0, (1, 2))


def test_commit_without_room_is_refused() -> None:
    pool = BlockPool(8, 2)
    table = text(pool, [1])
    with pytest.raises(ValueError, match="2 tokens behind 1 do not fit in 2 positions"):
        pool.commit(table, [2, 3])
    assert table.tokens == [1]


@pytest.mark.parametrize("broken", ["leak", "lost_owner", "two_places", "wrong_tokens"])
def test_integrity_names_what_is_wrong(broken: str) -> None:
    pool = BlockPool(4, 2)
    table = text(pool, [1, 2, 3])
    other = text(pool, [1, 2, 4])
    pool.check_integrity([table, other])
    if broken == "leak":
        with pytest.raises(IntegrityError, match="block 1 counts 1 owners and has 0"):
            pool.check_integrity([other])
    elif broken == "lost_owner":
        pool._references[0] -= 1
        with pytest.raises(IntegrityError, match="block 0 counts 1 owners and has 2"):
            pool.check_integrity([table, other])
    elif broken == "two_places":
        pool._unused.append(0)
        with pytest.raises(IntegrityError, match="block 0 is not in one place"):
            pool.check_integrity([table, other])
    else:
        table.tokens[0] = 9
        with pytest.raises(IntegrityError, match="block 0 is known to hold other tokens"):
            pool.check_integrity([table, other])


# Random operations -------------------------------------------------------------------------------------


class Shadow:
    """A pool with memory: what a model would have written, so that every wrong block shows.

    A slot holds the whole text up to its position, as real keys and values depend on all of it.
    """

    def __init__(self, n_blocks: int, block_size: int, *, prefix_caching: bool = True) -> None:
        self.pool = BlockPool(n_blocks, block_size, prefix_caching=prefix_caching)
        self.memory: dict[tuple[int, int], tuple[int, ...]] = {}
        self.tables: list[BlockTable] = []

    def _slot(self, table: BlockTable, i: int) -> tuple[int, int]:
        return table.blocks[i // self.pool.block_size], i % self.pool.block_size

    def open(self, tokens: list[int]) -> None:
        table = self.pool.open(tokens)
        assert table.length < max(1, len(tokens))
        assert table.tokens == tokens[: table.length]
        self.tables.append(table)
        self.write(table, tokens[table.length :])

    def write(self, table: BlockTable, tokens: list[int], accepted: int | None = None) -> None:
        before = (table.blocks.copy(), table.tokens.copy(), self.pool.n_free)
        needed = self.pool.blocks_needed(table, len(tokens))
        try:
            copies = self.pool.extend(table, len(tokens))
        except OutOfBlocks:
            assert before == (table.blocks, table.tokens, self.pool.n_free)
            assert needed > self.pool.n_free
            return
        assert needed == before[2] - self.pool.n_free
        for source, target in copies:
            for slot in range(self.pool.block_size):
                self.memory[target, slot] = self.memory.get((source, slot), ())
        start = table.length
        for i in range(len(tokens)):
            self.memory[self._slot(table, start + i)] = (*table.tokens, *tokens[: i + 1])
        self.pool.commit(table, tokens[:accepted])

    def close(self, table: BlockTable) -> None:
        self.tables.remove(table)
        self.pool.release(table)

    def check(self) -> None:
        self.pool.check_integrity(self.tables)
        for table in self.tables:
            for i in range(table.length):
                assert self.memory[self._slot(table, i)] == tuple(table.tokens[: i + 1])


def random_operation(shadow: Shadow, rng: random.Random) -> None:
    """One operation on a random table; tokens are 0 and 1, so that prefixes often agree."""
    tokens = [rng.randrange(2) for _ in range(rng.randrange(1, 14))]
    if not shadow.tables or rng.random() < 0.2:
        shadow.open(tokens)
        return
    table = rng.choice(shadow.tables)
    match rng.randrange(6):
        case 0 | 1:
            shadow.write(table, tokens)
        case 2:  # speculation: all are written, the first few are kept
            shadow.write(table, tokens, accepted=rng.randrange(len(tokens)))
            shadow.pool.truncate(table, table.length)
        case 3:
            shadow.tables.append(shadow.pool.fork(table))
        case 4:
            shadow.pool.truncate(table, rng.randrange(table.length + 1))
        case _:
            shadow.close(table)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    n_blocks=st.integers(1, 24),
    block_size=st.integers(1, 5),
    prefix_caching=st.booleans(),
)
def test_random_operations_keep_every_text(
    seed: int, n_blocks: int, block_size: int, prefix_caching: bool
) -> None:
    rng = random.Random(seed)
    shadow = Shadow(n_blocks, block_size, prefix_caching=prefix_caching)
    for _ in range(120):
        random_operation(shadow, rng)
        shadow.check()
    for table in shadow.tables.copy():
        shadow.close(table)
    assert shadow.pool.n_free == n_blocks
    shadow.check()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), n_hashes=st.integers(1, 4))
def test_random_operations_keep_every_text_although_hashes_collide(seed: int, n_hashes: int) -> None:
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "block_hash", lambda parent, tokens: sum(tokens) % n_hashes)
        shadow = Shadow(16, 2)
        for _ in range(120):
            random_operation(shadow, rng)
            shadow.check()
