"""The sockets between workers: who is let in, what is understood, and what is refused."""

from __future__ import annotations

import math
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from teachllm.stack.inference import Sampling
from teachllm.stack.inference.disaggregation.messages import (
    BadMessage,
    Look,
    Message,
    Pull,
    Said,
    Write,
    from_bytes,
    to_bytes,
)
from teachllm.stack.inference.disaggregation.transport import Connection, NotOurs, admit, connect, listen
from teachllm.stack.inference.engine.request import (
    BeamSearch,
    Constraint,
    Failed,
    Finished,
    RequestOptions,
    TokenOut,
    Usage,
)

KEY = b"k" * 32


def met(key: bytes, other_key: bytes) -> tuple[Connection | Exception, Connection | Exception]:
    """What connecting with one key to a listener with another gives to each."""
    found: list[Connection | Exception] = []
    with listen() as listener:

        def let_in() -> None:
            try:
                found.append(admit(listener.accept()[0], other_key))
            except OSError as problem:
                found.append(problem)

        thread = threading.Thread(target=let_in)
        thread.start()
        try:
            mine: Connection | Exception = connect(listener.getsockname()[1], key)
        except OSError as problem:
            mine = problem
        thread.join(20)
    return mine, found[0]


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    """A connection, and the bare socket at its other end."""
    one, other = socket.socketpair()
    with one, other:
        yield Connection(one), other


def test_only_who_has_the_key_is_let_in() -> None:
    mine, theirs = met(KEY, KEY)
    assert isinstance(mine, Connection)
    assert isinstance(theirs, Connection)
    mine.send(Pull("a", 4), memoryview(b"12345678"))
    assert theirs.receive() == (Pull("a", 4), 8)
    buffer = bytearray(8)
    theirs.receive_into(memoryview(buffer))
    assert buffer == b"12345678"
    mine.close()
    with pytest.raises(ConnectionError):
        theirs.receive()
    theirs.close()
    assert any(isinstance(one, NotOurs) for one in met(KEY, b"x" * 32))
    with listen() as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_nobody_is_let_in_by_their_own_words() -> None:
    """Whoever sends back what they were sent has the right numbers, and not the right code."""
    with listen() as listener, socket.create_connection(listener.getsockname()) as stranger:
        refused: list[BaseException] = []

        def let_in() -> None:
            try:
                admit(listener.accept()[0], KEY)
            except OSError as problem:
                refused.append(problem)

        thread = threading.Thread(target=let_in)
        thread.start()
        for _ in range(2):
            stranger.sendall(stranger.recv(32, socket.MSG_WAITALL))
        thread.join(20)
    assert isinstance(refused[0], NotOurs)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (struct.pack("!IQ", 1 << 30, 0), "at most"),
        (struct.pack("!IQ", 4, 0) + b"Nope", "no kind of message"),
        (struct.pack("!IQ", 10, 0) + b"Pull\n{oops", "cannot be read"),
        (struct.pack("!IQ", 14, 0) + b'Pull\n{"first":', "cannot be read"),
        (struct.pack("!IQ", 7, 9) + b"Look\n{}", "9 bytes follow"),
    ],
)
def test_frames_that_are_refused(pair: tuple[Connection, socket.socket], frame: bytes, why: str) -> None:
    connection, other = pair
    other.sendall(frame)
    with pytest.raises(BadMessage, match=why):
        connection.receive_message()


OPTIONS = RequestOptions(
    Sampling(0.7, 5, 0.9, 0.1, 0.5, 1.1, 3),
    9,
    2,
    3,
    ("x", "y"),
    frozenset({7, 8}),
    2,
    -4,
    Constraint.regex("a+"),
)
SAID = Said(
    (
        TokenOut("r", 0, 5, "\ud7ff\n", -math.inf, ((5, -0.1), (6, -math.inf))),
        Finished("r", 1, "cancelled", "", Usage(3, 2, 1), 0.25),
        Failed("r", "memory", "no room"),
    )
)


@pytest.mark.parametrize(
    "message",
    [
        Look(),
        Write("r", (1, 2, 3), OPTIONS, 4000),
        Write("r", (1,), RequestOptions(beam=BeamSearch(3, 0.5)), None),
        SAID,
    ],
    ids=["look", "sampled", "searched", "said"],
)
def test_messages_come_as_they_went(message: Message) -> None:
    assert from_bytes(to_bytes(message)) == message
