"""Memory is accounted for to the last slot, in pieces and in blocks."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from teachllm.stack.inference.engine.fragmentation import (
    Allocator,
    Buddy,
    FirstFit,
    Lengths,
    MemoryUse,
    power_of_two,
    serve_in_blocks,
    serve_in_pieces,
    waste_inside,
)


def slots(use: MemoryUse) -> int:
    return use.used + use.reserved + use.internal + use.external + use.free


def random_requests(n: int, seed: int) -> list[Lengths]:
    rng = random.Random(seed)
    return [Lengths(rng.randint(1, 40), rng.randint(1, 60)) for _ in range(n)]


def test_waste_inside_a_piece() -> None:
    assert waste_inside(given=2048, written=100, total=500) == (400, 1548)
    assert waste_inside(given=16, written=10, total=500) == (6, 0)
    assert waste_inside(given=16, written=10, total=12) == (2, 4)
    assert waste_inside(given=12, written=12, total=12) == (0, 0)


def test_power_of_two() -> None:
    assert [power_of_two(n) for n in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 4, 8, 1024]


def test_first_fit_takes_the_first_hole_and_joins_neighbours() -> None:
    memory = FirstFit(10)
    pieces = [memory.take(size) for size in (3, 3, 3)]
    assert pieces == [(0, 3), (3, 3), (6, 3)]
    memory.give_back((0, 3))
    memory.give_back((6, 3))
    assert memory.n_free == 7
    assert memory.take(5) is None  # four and three, and not in one piece
    assert memory.take(4) == (6, 4)  # what was given back and the rest behind it are one
    memory.give_back((3, 3))
    assert memory.take(6) == (0, 6)


def test_buddies_are_halved_and_become_whole_again() -> None:
    memory = Buddy(16)
    small = memory.take(3)
    assert small == (0, 4)
    assert memory.take(8) == (8, 8)
    assert memory.take(5) is None  # rounded up to 8, and only 4 are free
    assert memory.n_free == 4
    memory.give_back((0, 4))
    assert memory.take(8) == (0, 8)


def test_buddies_of_a_memory_that_is_no_power_of_two() -> None:
    memory = Buddy(24)
    assert memory.take(16) == (0, 16)
    assert memory.take(8) == (16, 8)
    assert memory.n_free == 0


@pytest.mark.parametrize("make", [FirstFit, Buddy])
def test_pieces_never_overlap(make: Callable[[int], Allocator]) -> None:
    rng, memory, taken = random.Random(0), make(200), list[tuple[int, int]]()
    for _ in range(500):
        if taken and rng.random() < 0.45:
            memory.give_back(taken.pop(rng.randrange(len(taken))))
        elif (piece := memory.take(rng.randint(1, 40))) is not None:
            taken.append(piece)
        owned = [slot for begin, size in taken for slot in range(begin, begin + size)]
        assert len(owned) == len(set(owned)) == 200 - memory.n_free
    for piece in taken:
        memory.give_back(piece)
    assert memory.take(128) is not None  # everything has become whole again


@pytest.mark.parametrize("make", [FirstFit, Buddy])
def test_in_pieces_every_slot_is_accounted_for(make: Callable[[int], Allocator]) -> None:
    requests = random_requests(60, seed=1)
    uses = serve_in_pieces(requests, 500, make, lambda lengths: lengths.total)
    assert {slots(use) for use in uses} == {500}
    assert all(use.free == 0 for use in uses if use.waiting)
    assert uses[-1].running >= 1
    assert uses[-1].waiting == 0
    # Each request is there for its prompt's step and one step for each token of its answer.
    assert sum(use.running for use in uses) == sum(lengths.answer + 1 for lengths in requests)


@pytest.mark.parametrize("block_size", [1, 4, 16])
def test_in_blocks_every_slot_is_accounted_for(block_size: int) -> None:
    requests = random_requests(60, seed=1)
    uses = serve_in_blocks(requests, 496, block_size)
    assert {slots(use) for use in uses} == {496}
    # No text wastes more than a part of its last block.
    assert all(use.reserved + use.internal <= (block_size - 1) * use.running for use in uses)


def test_blocks_keep_more_texts_running_than_pieces() -> None:
    requests = random_requests(80, seed=2)
    whole = serve_in_pieces(requests, 512, FirstFit, lambda _: 128)
    exact = serve_in_pieces(requests, 512, FirstFit, lambda lengths: lengths.total)
    blocks = serve_in_blocks(requests, 512, 16)
    assert len(blocks) < len(exact) < len(whole)


def test_a_request_that_never_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="a request of 30 tokens never fits in 20 slots"):
        serve_in_pieces([Lengths(10, 20)], 20, FirstFit, lambda lengths: lengths.total)
    with pytest.raises(ValueError, match="a piece of 64 slots never fits in 32"):
        serve_in_pieces([Lengths(10, 20)], 32, FirstFit, lambda lengths: 64)
    with pytest.raises(ValueError, match="a request of 30 tokens never fits in 16 slots"):
        serve_in_blocks([Lengths(10, 20)], 31, 16)
