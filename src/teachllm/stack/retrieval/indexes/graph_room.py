"""The rooms that threads walk in, and running a kernel in several threads at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from teachllm.stack.retrieval.indexes.fast.graph import WIDE, Room

CANDIDATES = 512
"""Among how many nodes one may choose its links again after some of its neighbours were removed."""


class Rooms:
    """Rooms for walks through a graph of `degree` links a node, used again by later walks."""

    def __init__(self, degree: int) -> None:
        self._degree = degree
        self._free: list[Room] = []
        self.followed = self.compared = 0
        """How many nodes all walks so far followed, and how many distances they computed."""

    @contextmanager
    def room(self, n_nodes: int, limit: int) -> Iterator[Room]:
        """A room for walks that keep exactly `limit` nodes, for this thread alone."""
        try:
            room = self._free.pop()
        except IndexError:
            room = None
        if room is None or len(room.seen) < n_nodes:
            n_batch = self._degree + 4 + CANDIDATES
            room = Room(
                pool=np.empty(0, dtype=np.int64),
                waiting=np.empty(0, dtype=np.int64),
                seen=np.zeros(n_nodes + n_nodes // 2 + 64, dtype=np.uint8),
                mark=np.zeros(1, dtype=np.int64),
                batch=np.empty(n_batch, dtype=np.int64),
                chosen=np.empty(self._degree + 1, dtype=np.int64),
                keys=np.empty(n_batch, dtype=np.int64),
                trail=np.empty(CANDIDATES, dtype=np.int64),
                starts=np.empty(16, dtype=np.int64),
                counts=np.zeros(2, dtype=np.int64),
            )
        if len(room.pool) != limit:
            room = room._replace(pool=np.empty(limit, dtype=np.int64))
        if limit >= WIDE and len(room.waiting) < n_nodes:
            room = room._replace(waiting=np.empty(len(room.seen), dtype=np.int64))
        room.counts[:] = 0
        try:
            yield room
        finally:
            self.followed += int(room.counts[0])
            self.compared += int(room.counts[1])
            self._free.append(room)


def in_threads(n_threads: int, work: Callable[[], object]) -> None:
    """Do the same work in this many threads, which share it out among themselves, and wait for all."""
    if n_threads == 1:
        work()
        return
    with ThreadPoolExecutor(n_threads) as executor:
        for done in [executor.submit(work) for _ in range(n_threads)]:
            done.result()
