"""What the processes of a disaggregated server say to each other: plain values, written as JSON.

A closed set of dataclasses and no pickle, so a message can be wrong but cannot run anything. Keys and values
do not go this way: they follow a `Blocks` as raw bytes.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, TypeAlias, cast, get_args

from pydantic import TypeAdapter, ValidationError

from teachllm.stack.inference.engine.request import Failed, Finished, RequestOptions, TokenOut
from teachllm.stack.inference.engine.snapshot import EngineSnapshot
from teachllm.stack.nn.attention_choice import AttentionChoice

Role: TypeAlias = Literal["prefill", "decode"]
MOST_BYTES = 1 << 24  # of a message


class BadMessage(ValueError):
    """What came is none of these messages, or does not belong here."""


@dataclass(frozen=True, slots=True)
class KVLayout:
    """What one block is: workers can hand over blocks only if theirs are the same. dtype: as in torch."""

    n_layers: int
    block_size: int
    n_kv_heads: int
    head_dim: int
    dtype: str

    def shape(self, n_blocks: int) -> tuple[int, int, int, int, int, int]:
        """Of `n_blocks` blocks: keys and values of all layers."""
        return self.n_layers, 2, n_blocks, self.block_size, self.n_kv_heads, self.head_dim

    def n_bytes(self, n_blocks: int, bytes_per_number: int) -> int:
        return prod(self.shape(n_blocks)) * bytes_per_number


def digest(tokens: Sequence[int]) -> str:
    """Names a beginning of a text: the same only for the same tokens."""
    return hashlib.sha256(array("q", tokens).tobytes()).hexdigest()


# From a worker, when it begins ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker is ready. port: where a prefill worker hands out blocks, 0 for the others; n_blocks: of its
    pool; device, decoding, decoding_zh, prompts: as in `LanguageModel`, where the last is
    called attention; blocks: how steps of the engine attend.
    """

    name: str
    role: Role
    pid: int
    port: int
    n_blocks: int
    layout: KVLayout
    device: str
    decoding: str
    decoding_zh: str
    prompts: AttentionChoice | None
    blocks: AttentionChoice


@dataclass(frozen=True, slots=True)
class CannotStart:
    name: str
    message: str


# To a worker ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """Compute the keys and values of a prompt and keep them until they are pulled."""

    request: str
    prompt: tuple[int, ...]
    priority: int


@dataclass(frozen=True, slots=True)
class Write:
    """Answer a request. source: port of the worker that keeps the keys and values of its prompt; None if
    nobody does.
    """

    request: str
    prompt: tuple[int, ...]
    options: RequestOptions
    source: int | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Forget a request, and what is kept of it."""

    request: str


@dataclass(frozen=True, slots=True)
class Look:
    """Say how you stand."""


@dataclass(frozen=True, slots=True)
class Check:
    """Say whether your books are in order."""


# From a worker -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """A prompt is read. cached_tokens: of it, that were found and not computed."""

    request: str
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class NotRead:
    request: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """Keys and values of `n_tokens` have come, in `n_bytes` and `seconds` from asking to having them."""

    request: str
    n_tokens: int
    n_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NotPulled:
    """They have not come, or found no room: the request is computed from its beginning."""

    request: str
    reason: str


@dataclass(frozen=True, slots=True)
class Said:
    """What a step of the engine wrote."""

    outputs: tuple[TokenOut | Finished | Failed, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """n_kept: prompts whose keys and values wait to be pulled, or are on their way here."""

    snapshot: EngineSnapshot
    n_kept: int


@dataclass(frozen=True, slots=True)
class Checked:
    """problem: what `check_integrity` said; None if nothing. n_free: blocks that nobody owns."""

    problem: str | None
    n_free: int
    n_kept: int


# Between workers -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pull:
    """Give the blocks of a request from token `first` on, and keep them no longer."""

    request: str
    first: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """The bytes behind this message are blocks that hold `n_tokens`, behind the `first` of the request.

    digest: of all tokens up to the end of these, so that nobody takes them for another text's.
    """

    request: str
    first: int
    n_tokens: int
    digest: str
    layout: KVLayout


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing is kept of this request."""

    request: str


Message: TypeAlias = (
    Hello | CannotStart | Read | Write | Cancel | Look | Check | Ready | NotRead | Pulled | NotPulled | Said
    | Seen | Checked | Pull | Blocks | Gone
)  # fmt: skip
_ADAPTERS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Message)}


def to_bytes(message: Message) -> bytes:
    """A line that names the kind, and its fields as JSON."""
    kind = type(message).__name__
    fields = _ADAPTERS[kind].dump_python(message)
    # Not by pydantic, which writes null for the logarithm of 0.
    return f"{kind}\n{json.dumps(fields, default=list, separators=(',', ':'))}".encode()


def from_bytes(data: bytes) -> Message:
    """Raises `BadMessage`."""
    name, _, body = data.partition(b"\n")
    adapter = _ADAPTERS.get(name.decode("ascii", "replace"))
    if adapter is None:
        raise BadMessage(f"{name[:40]!r} is no kind of message")
    try:
        return cast(Message, adapter.validate_json(body))
    except (ValidationError, ValueError) as problem:
        raise BadMessage(f"a {name.decode()} that cannot be read: {problem}") from None
