"""The checker's side of a grading: the learner's process, and the callable that checks call."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, Literal, Protocol

from teachllm.school.checks import LearnerError
from teachllm.school.runner.encoding import Malformed, NotEncodable, decode, encode, read_frame, write_frame
from teachllm.school.runner.learner import FILE

_LINE = re.compile(rf'File "{re.escape(FILE)}", line (\d+)')
_OUT_OF_MEMORY = re.compile(r"bad_alloc|not enough memory|can't allocate memory|cannot allocate memory", re.I)

Ending = Literal["timeout", "memory", "crashed", "exited", "malformed"]


class LearnerGone(BaseException):
    """The learner's process is no more, so no further check can run; ``except Exception`` lets it pass."""

    def __init__(self, ending: Ending, detail: str = "", line: int | None = None) -> None:
        super().__init__(ending, detail, line)
        self.ending: Ending = ending
        self.detail = detail
        self.line = line


class Process(Protocol):
    """A process that runs :func:`teachllm.school.runner.learner.answer_calls`, however it was started."""

    def kill(self) -> None: ...

    def finish(self, grace: float) -> int | None:
        """Gives it so many seconds to end by itself, then kills it. Call it once, last.

        Returns the exit code, or minus the signal; ``None`` if it had to be killed.
        """
        ...


@dataclass
class Learner:
    """A started learner's process with its four streams.

    It has ``seconds`` of wall time for everything it does, from ``began`` (by ``time.monotonic``) on.
    """

    process: Process
    calls: int
    replies: int
    output: int
    trace: IO[bytes]
    seconds: float
    began: float
    layers: dict[str, str | None] = field(default_factory=dict)
    printed: Output = field(default_factory=lambda: Output())

    def __post_init__(self) -> None:
        self._timed_out = False
        self._gone: LearnerGone | None = None
        self._reader = threading.Thread(target=self.printed.read_all, args=(self.output,), daemon=True)
        self._reader.start()
        # A little later than the process itself writes down where it is, and dies of it.
        self._guard = threading.Timer(self.seconds + 0.5, self._out_of_time)
        self._guard.daemon = True
        self._guard.start()

    def load(self) -> None:
        """Waits until the source is loaded. Raises :class:`LearnerError` or :class:`LearnerGone`."""
        ready = self._receive()
        if ready[:1] == ["ready"] and isinstance(ready[1], dict):
            self.layers = ready[1]
        self._interpret(self._receive())

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, list[int | str]]:
        """Result, and the positions and keywords of arguments that were changed in place.

        Raises :class:`LearnerError` if the learner's code raised, :class:`LearnerGone` if it is no more.
        """
        if self._gone is not None:
            raise self._gone
        frame = encode([list(args), kwargs])
        try:
            write_frame(self.calls, frame)
        except OSError:
            raise self._ended() from None
        return self._interpret(self._receive())

    def close(self) -> None:
        """Kills the process, and waits until what it printed has been read."""
        if self._gone is None:
            self.process.kill()
            self._gone = self._ended(known=LearnerGone("exited"))

    def _receive(self) -> list[Any]:
        try:
            frame = read_frame(self.replies)
            reply = None if frame is None else decode(frame)
        except Malformed as error:
            raise self._ended(Malformed(str(error))) from None
        except OSError:
            reply = None
        if reply is None:
            raise self._ended()
        if not isinstance(reply, list) or not reply:
            raise self._ended(Malformed("an answer that is none"))
        return reply

    def _interpret(self, reply: list[Any]) -> tuple[Any, list[int | str]]:
        match reply:
            case ["loaded"]:
                return None, []
            case ["returned", value, list() as mutated]:
                return value, [where for where in mutated if isinstance(where, (int, str))]
            case ["not encodable", str() as text]:
                raise LearnerError(NotEncodable.__name__, text[:2000])
            case ["raised", {"kind": str() as kind, "text": str() as text, **rest}]:
                raise self._error(kind, text, rest)
            case _:
                raise self._ended(Malformed("an answer that is none"))

    def _error(self, kind: str, text: str, rest: dict[str, Any]) -> BaseException:
        line, trace = rest.get("line"), rest.get("trace")
        line = line if isinstance(line, int) else None
        if kind == "MemoryError" or _OUT_OF_MEMORY.search(text):
            return self._ended(known=LearnerGone("memory", text, line))
        kind = "SyntaxError" if rest.get("syntax") is True else kind[:100]
        return LearnerError(kind, text[:2000], line, trace[:8000] if isinstance(trace, str) else "")

    def _out_of_time(self) -> None:
        self._timed_out = True
        self.process.kill()

    def _ended(self, malformed: Malformed | None = None, known: LearnerGone | None = None) -> LearnerGone:
        """Why the stream of replies is at its end. Reaps the process."""
        if self._gone is not None:
            return self._gone
        time_is_up = self._timed_out or time.monotonic() - self.began >= self.seconds
        self._guard.cancel()
        code = self.process.finish(0.0 if malformed or known else 0.5)
        # Bounded: a process that slipped away could hold the other end of the pipe.
        self._reader.join(timeout=1.0)
        for fd in (self.calls, self.replies):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._gone = known or self._reason(code, malformed, time_is_up=time_is_up)
        return self._gone

    def _reason(self, code: int | None, malformed: Malformed | None, *, time_is_up: bool) -> LearnerGone:
        self.trace.seek(0)
        text = self.trace.read(1 << 16).decode("utf-8", "replace")
        found = _LINE.search(text)
        line = int(found[1]) if found else None
        if time_is_up:
            return LearnerGone("timeout", f"{self.seconds:g}", line)
        if malformed is not None:
            return LearnerGone("malformed", str(malformed))
        if _OUT_OF_MEMORY.search(self.printed.text()):
            return LearnerGone("memory", "", line)
        if "Fatal Python error: Aborted" in text:  # a namespace's first process dies of another signal
            code = -signal.SIGABRT
        if code is not None and code >= 0:
            return LearnerGone("exited", str(code), line)
        return LearnerGone("crashed", str(-code) if code is not None else "", line)


class Implementation:
    """What the checks call: stands for the learner's function (see :mod:`teachllm.school.checks`)."""

    def __init__(self, learner: Learner, name: str, parameters: tuple[str, ...]) -> None:
        self._learner = learner
        self._name = name
        self._parameters = parameters
        self.mutated: list[str] = []
        self.last_seconds = 0.0
        self.returned_nothing = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.mutated, self.last_seconds, self.returned_nothing = [], 0.0, False
        start = time.perf_counter()
        try:
            result, mutated = self._learner.call(args, kwargs)
        except NotEncodable as error:
            text = f"this check passes what cannot cross to the learner's process: {error}"
            raise TypeError(text) from None
        finally:
            self.last_seconds = time.perf_counter() - start
        self.mutated = [self._parameter(where) for where in mutated]
        self.returned_nothing = result is None
        return result

    def __repr__(self) -> str:
        return self._name

    def _parameter(self, where: int | str) -> str:
        if isinstance(where, str):
            return where
        return self._parameters[where] if 0 <= where < len(self._parameters) else f"argument {where + 1}"


class Output:
    """What a process printed, with the middle left out if it printed a great deal.

    Reading never stops, so that the process is not held up; from ``slow_after`` bytes on it is slowed down,
    so that a flood cannot keep this process busy.
    """

    def __init__(self, keep: int = 32 * 1024, slow_after: int = 16 * 2**20) -> None:
        self._keep = keep
        self._slow_after = slow_after
        self._head = b""
        self._tail = b""
        self._total = 0
        self._lock = threading.Lock()

    def read_all(self, fd: int, wait: Callable[[float], None] = time.sleep) -> None:
        """Reads until the stream ends, then closes it."""
        with contextlib.suppress(OSError):
            while chunk := os.read(fd, 1 << 16):
                self.add(chunk)
                if self._total > self._slow_after:
                    wait(0.02)
        with contextlib.suppress(OSError):
            os.close(fd)

    def add(self, chunk: bytes) -> None:
        with self._lock:
            self._total += len(chunk)
            room = self._keep - len(self._head)
            self._head += chunk[:room]
            self._tail = (self._tail + chunk[room:])[-self._keep :] if len(chunk) > room else self._tail

    def text(self) -> str:
        with self._lock:
            left_out = self._total - len(self._head) - len(self._tail)
            middle = f"\n… {left_out:,} bytes …\n".encode() if left_out > 0 else b""
            return (self._head + middle + self._tail).decode("utf-8", "replace")
