"""Sockets between the processes: on the loopback interface only, with the key only, and all within bounds.

A frame is two lengths, a message, and raw bytes where the message announces them:

    4 bytes: of the message | 8 bytes: of what follows it | the message | what follows it
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import struct
import threading

from teachllm.stack.inference.disaggregation.messages import (
    MOST_BYTES,
    BadMessage,
    Message,
    from_bytes,
    to_bytes,
)

LOOPBACK = "127.0.0.1"
HANDSHAKE_SECONDS = 5.0
CHALLENGE_BYTES = 32
_LENGTHS = struct.Struct("!IQ")


class NotOurs(ConnectionError):
    """Whoever is at the other end does not have the key."""


class Connection:
    """Frames over a socket that was let in. Any thread may send; one receives."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._sending = threading.Lock()

    def send(self, message: Message, payload: memoryview | None = None) -> None:
        """Raises OSError if the other end has gone."""
        data = to_bytes(message)
        if len(data) > MOST_BYTES:
            raise BadMessage(f"a {type(message).__name__} of {len(data):,} bytes; at most {MOST_BYTES:,} go")
        n_bytes = 0 if payload is None else payload.nbytes
        with self._sending:
            self._socket.sendall(_LENGTHS.pack(len(data), n_bytes) + data)
            if payload is not None:
                self._socket.sendall(payload)

    def receive(self) -> tuple[Message, int]:
        """A message, and how many bytes follow it: `receive_into` must take them before the next.

        ConnectionError if the other end has gone; `BadMessage`, after which the connection is of no use.
        """
        lengths = bytearray(_LENGTHS.size)
        self.receive_into(memoryview(lengths))
        n_message, n_bytes = _LENGTHS.unpack(lengths)
        if n_message > MOST_BYTES:
            raise BadMessage(f"a message of {n_message:,} bytes; at most {MOST_BYTES:,} come")
        data = bytearray(n_message)
        self.receive_into(memoryview(data))
        return from_bytes(bytes(data)), n_bytes

    def receive_message(self) -> Message:
        """One that nothing follows. Raises as `receive`."""
        message, n_bytes = self.receive()
        if n_bytes:
            raise BadMessage(f"{n_bytes:,} bytes follow a {type(message).__name__}, which has none")
        return message

    def receive_into(self, buffer: memoryview) -> None:
        """Fill `buffer`, which is of bytes. ConnectionError if the other end goes before it is full."""
        while buffer.nbytes:
            n = self._socket.recv_into(buffer)
            if n == 0:
                raise ConnectionError("the other end has closed the connection")
            buffer = buffer[n:]

    def set_timeout(self, seconds: float | None) -> None:
        """TimeoutError, an OSError, where nothing moves for so long."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Also wakes a thread that receives."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def listen() -> socket.socket:
    """At a free port of the loopback interface, which other machines cannot reach."""
    return socket.create_server((LOOPBACK, 0), backlog=64)


def connect(port: int, key: bytes) -> Connection:
    """To whoever listens at `port` and has the key. OSError if there is nobody, `NotOurs`."""
    connected = socket.create_connection((LOOPBACK, port), timeout=HANDSHAKE_SECONDS)
    return _with_handshake(connected, key, b"in", b"out")


def admit(connected: socket.socket, key: bytes) -> Connection:
    """A connection that a listener has accepted, if the other end has the key; else it is closed and
    `NotOurs`, or another OSError, raised.
    """
    return _with_handshake(connected, key, b"out", b"in")


# region: handshake
def _with_handshake(connected: socket.socket, key: bytes, mine: bytes, theirs: bytes) -> Connection:
    """Each side shows that it has the key, by a code over both sides' random numbers. The key never crosses
    the line, and what was recorded is of no use later. mine, theirs: so that neither can be answered with its
    own code.
    """
    connection = Connection(connected)
    try:
        connected.settimeout(HANDSHAKE_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own = secrets.token_bytes(CHALLENGE_BYTES)
        connected.sendall(own)
        other = bytearray(CHALLENGE_BYTES)
        connection.receive_into(memoryview(other))
        numbers = own + other if mine < theirs else bytes(other) + own
        connected.sendall(hmac.digest(key, mine + numbers, "sha256"))
        code = bytearray(CHALLENGE_BYTES)
        connection.receive_into(memoryview(code))
        if not hmac.compare_digest(code, hmac.digest(key, theirs + numbers, "sha256")):
            raise NotOurs("the other end of a connection between workers does not have their key")
        connected.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection


# endregion: handshake
