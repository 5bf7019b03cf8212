"""Keys and values on their way: a prefill worker hands them out, a decode worker pulls them.

The receiver pulls when it has room (DistServe, section 4.3): in a burst they wait where they were computed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.inference.disaggregation.messages import (
    BadMessage,
    Blocks,
    Gone,
    KVLayout,
    Pull,
    digest,
)
from teachllm.stack.inference.disaggregation.transport import Connection, admit, connect, listen

MOST_CONNECTIONS = 64
STALL_SECONDS = 30.0  # in which not one byte came or went

KVBlocks: TypeAlias = Float[Tensor, "layers 2 blocks block_size kv_heads d"]
Parcel: TypeAlias = tuple[Blocks, KVBlocks]


class NotHandedOver(Exception):
    """The keys and values did not come, for the reason given."""


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor in CPU memory, not copied."""
    return tensor.view(-1).view(torch.uint8).numpy().data


class BlockCounter:
    """Listens, and hands out what is asked for by whoever has the key.

    find: called in a thread of ours; the parcel of a request, or None if nothing is kept.
    """

    def __init__(self, key: bytes, find: Callable[[Pull], Parcel | None]) -> None:
        self._key, self._find = key, find
        self._listener = listen()
        self.port: int = self._listener.getsockname()[1]
        self._places = threading.Semaphore(MOST_CONNECTIONS)
        threading.Thread(target=self._accept, name="block counter", daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:  # closed
                return
            if not self._places.acquire(blocking=False):
                connected.close()
                continue
            threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, BadMessage), contextlib.closing(connected):
                connection = admit(connected, self._key)
                while True:
                    self._answer(connection)
        finally:
            self._places.release()

    def _answer(self, connection: Connection) -> None:
        asked = connection.receive_message()
        if not isinstance(asked, Pull):
            raise BadMessage(f"a {type(asked).__name__} came where only blocks are handed out")
        parcel = self._find(asked)
        connection.set_timeout(STALL_SECONDS)
        if parcel is None:
            connection.send(Gone(asked.request))
        else:
            connection.send(parcel[0], raw(parcel[1]))
        connection.set_timeout(None)


@dataclass(eq=False, slots=True)
class _Line:
    """To one prefill worker; it carries one parcel after another."""

    busy: threading.Lock = field(default_factory=threading.Lock)
    connection: Connection | None = None


class BlockPuller:
    """Connections to prefill workers, each made when it is first needed. Thread-safe."""

    def __init__(self, key: bytes, layout: KVLayout, dtype: torch.dtype) -> None:
        self._key, self._layout, self._dtype = key, layout, dtype
        self._lines: dict[int, _Line] = {}
        self._changed = threading.Lock()

    def close(self) -> None:
        """Also ends what is being pulled."""
        with self._changed:
            for line in self._lines.values():
                if (connection := line.connection) is not None:
                    connection.close()

    # region: pull
    def pull(self, port: int, request: str, first: int, prompt: Sequence[int]) -> KVBlocks:
        """The blocks that the worker at `port` keeps of `prompt`, from token `first` on, where one begins.

        `NotHandedOver` says why if they do not come, or are not what was asked for.
        """
        with self._changed:
            line = self._lines.setdefault(port, _Line())
        with line.busy:
            try:
                if line.connection is None:
                    line.connection = connect(port, self._key)
                    line.connection.set_timeout(STALL_SECONDS)
                line.connection.send(Pull(request, first))
                return self._receive(line.connection, request, first, prompt)
            except (OSError, BadMessage) as problem:
                if line.connection is not None:
                    line.connection.close()
                    line.connection = None
                raise NotHandedOver(f"{problem.__class__.__name__}: {problem}") from None

    def _receive(self, line: Connection, request: str, first: int, prompt: Sequence[int]) -> KVBlocks:
        found, n_bytes = line.receive()
        if isinstance(found, Gone):
            raise NotHandedOver("the worker that read the prompt keeps nothing of it any more")
        if not isinstance(found, Blocks):
            raise BadMessage(f"a {type(found).__name__} came where blocks were asked for")
        self._check(found, n_bytes, request, first, prompt)
        blocks = torch.empty(self._layout.shape(found.n_tokens // self._layout.block_size), dtype=self._dtype)
        line.receive_into(raw(blocks))
        return blocks

    # endregion: pull

    # region: check
    def _check(self, found: Blocks, n_bytes: int, request: str, first: int, prompt: Sequence[int]) -> None:
        """Before a byte of them is read: are these the blocks that were asked for, and of that length?"""
        n_blocks, rest = divmod(found.n_tokens, self._layout.block_size)
        end = first + found.n_tokens
        if (found.request, found.first, found.layout) != (request, first, self._layout):
            raise BadMessage("the blocks are of another request, place or layout than was asked for")
        if rest or not first <= end < len(prompt):
            raise BadMessage(f"{found.n_tokens} tokens behind {first} of {len(prompt)}, in whole blocks")
        if n_bytes != self._layout.n_bytes(n_blocks, self._dtype.itemsize):
            raise BadMessage(f"{n_bytes:,} bytes for {n_blocks} blocks of {self._layout}")
        if found.digest != digest(prompt[:end]):
            raise BadMessage("the blocks hold other tokens than the prompt has")

    # endregion: check
