"""The learner's side of a grading: loads their source, then answers calls until the checker hangs up.

Nothing here is trusted: learner code shares this process and can change all of it. What it can reach that way
is only its own answers, which the checker judges.

Frames, in the encoding of :mod:`teachllm.school.runner.encoding`: to this side ``[args, kwargs]``; back
``["ready", layers]``, ``["loaded"]``, ``["returned", value, mutated]``, ``["raised", description]`` or
``["not encodable", text]``, where ``mutated`` holds positions and keywords of arguments changed in place.
"""

from __future__ import annotations

import contextlib
import faulthandler
import linecache
import sys
import traceback
import types
from collections.abc import Callable
from typing import IO, Any

from teachllm.school.runner.encoding import (
    NotEncodable,
    decode,
    encode,
    encode_list,
    read_frame,
    write_frame,
)

FILE = "solution.py"
_FRAMES_SHOWN = 8


def answer_calls(
    source: str,
    function: str,
    calls: int,
    replies: int,
    trace: IO[Any],
    seconds: float,
    layers: dict[str, str | None],
) -> None:
    """Serves until the stream ``calls`` ends. After ``seconds`` the process writes where it is, and dies."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sys.dont_write_bytecode = True
    write_no_numba_caches()
    # Both write the traceback from C, also while C code holds the interpreter.
    faulthandler.enable(file=trace, all_threads=False)
    faulthandler.dump_traceback_later(seconds, exit=True, file=trace)
    write_frame(replies, encode(["ready", layers]))
    try:
        implementation = load(source, function)
    except BaseException as error:
        write_frame(replies, encode(["raised", describe(error)]))
        return
    write_frame(replies, encode(["loaded"]))
    while (frame := read_frame(calls)) is not None:
        args, kwargs = decode(frame)
        write_frame(replies, _reply(implementation, args, kwargs))


def load(source: str, function: str) -> Callable[..., Any]:
    """Runs the source as a module and returns what it defines as ``function``.

    Raises ``NameError`` if it defines no such function, and whatever the source raises.
    """
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    code = compile(source, FILE, "exec")
    module = types.ModuleType("solution")
    module.__file__ = FILE
    sys.modules["solution"] = module
    exec(code, vars(module))
    found = vars(module).get(function)
    if not callable(found):
        raise NameError(f"your code does not define the function {function}")
    return found


def write_no_numba_caches() -> None:
    """Compiled code is kept in files that trusted processes load later: learner code may not write them.

    A cache that may not be read either is none.
    """
    caching = sys.modules.get("numba.core.caching")
    if caching is None:
        return
    kept = caching.Cache.load_overload

    def load_overload(self: Any, *args: Any) -> Any:
        try:
            return kept(self, *args)
        except OSError:
            return None

    caching.Cache.load_overload = load_overload
    caching.Cache.save_overload = lambda self, signature, data: None


def describe(error: BaseException) -> dict[str, Any]:
    """Type, text, the learner's line and the traceback limited to the learner's code."""
    text = _text_of(error)
    if isinstance(error, SyntaxError) and error.filename == FILE:
        shown = "".join(traceback.format_exception_only(SyntaxError(*error.args))).rstrip()
        kind = type(error).__name__
        return {"kind": kind, "text": error.msg, "line": error.lineno, "trace": shown, "syntax": True}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    lines = [
        f"  line {frame.lineno}, in {frame.name}\n" + (f"    {frame.line}\n" if frame.line else "")
        for frame in frames
    ]
    if len(lines) > _FRAMES_SHOWN:
        half = _FRAMES_SHOWN // 2
        lines = [*lines[:half], f"  … {len(lines) - 2 * half} more …\n", *lines[-half:]]
    kind = type(error).__name__
    trace = "".join([*lines, f"{kind}: {text}" if text else kind])
    line = frames[-1].lineno if frames else None
    return {"kind": kind, "text": text, "line": line, "trace": trace[:8000], "syntax": False}


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except BaseException:
        return ""


def _reply(implementation: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> bytes:
    before = _snapshot(args, kwargs)
    try:
        result = implementation(*args, **kwargs)
    except BaseException as error:
        return encode(["raised", describe(error)])
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    try:
        after = _snapshot(args, kwargs)
        mutated = [where for where, content in before.items() if after[where] != content]
        returned = encode(result, "what your function returned")
        return encode_list(encode("returned"), returned, encode(mutated))
    except NotEncodable as error:
        return encode(["not encodable", str(error)])


def _snapshot(args: list[Any], kwargs: dict[str, Any]) -> dict[int | str, bytes | None]:
    """Each argument's content; ``None`` for one into which something was put that cannot be encoded."""
    content: dict[int | str, bytes | None] = {}
    for where, value in (*enumerate(args), *kwargs.items()):
        try:
            content[where] = encode(value)
        except NotEncodable:
            content[where] = None
    return content
