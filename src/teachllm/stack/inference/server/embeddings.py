"""``POST /v1/embeddings``: texts, or tokens, to vectors.

The model that makes them is given to the server: anything that has what `Embedder` names.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from teachllm.stack.inference.server.bodies import EmbeddingsBody
from teachllm.stack.inference.server.errors import ApiError, bad_request

MOST_INPUTS = 2048  # texts, and tokens of all of them together, of one request: those that OpenAI takes
MOST_TOKENS = 300_000
WHOLE = -1  # what truncate_prompt_tokens says for "as much as the model reads"


class Embedder(Protocol):
    """An embedding model. max_tokens: of one text, begin and end tokens among them."""

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    @property
    def vocab_size(self) -> int: ...

    def tokens_of(self, text: str, /) -> list[int]:
        """Ids of a text, however long, with begin and end tokens."""
        ...

    def truncated(self, tokens: list[int], most: int, /) -> list[int]:
        """At most so many of a text's ids, the end token among them."""
        ...

    def embed_tokens(
        self,
        tokens: Sequence[Sequence[int]],
        *,
        dimension: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Float32[np.ndarray, "text dimension"]:
        """Vectors, `dimension` numbers of each; what `progress` raises stops the work."""
        ...


@dataclass
class Embeddings:
    """An embedder and its turn: one request computes at a time, on all cores."""

    embedder: Embedder
    turn: asyncio.Lock

    @classmethod
    def of(cls, embedder: Embedder) -> Embeddings:
        return cls(embedder, asyncio.Lock())

    async def answer(self, body: EmbeddingsBody, seconds: float) -> bytes:
        """The JSON of the answer. Raises `ApiError` for what cannot be embedded, and after so many seconds.

        If it is cancelled, because the client has left, the work ends after the batch that is being computed.
        """
        left = threading.Event()

        def go_on(done: int, total: int) -> None:
            if left.is_set():
                raise Left

        try:
            async with asyncio.timeout(seconds), self.turn:
                return await asyncio.to_thread(self._answer, body, go_on)
        except TimeoutError:
            raise ApiError(504, f"the vectors were not ready within {seconds:g} s", "timeout_error") from None
        finally:
            left.set()

    def _answer(self, body: EmbeddingsBody, go_on: Callable[[int, int], object]) -> bytes:
        tokens = read_inputs(body, self.embedder)
        if body.dimensions is not None and body.dimensions > self.embedder.dimension:
            raise bad_request(
                f"dimensions is {body.dimensions}; {self.embedder.name} has {self.embedder.dimension}",
                "dimensions",
            )
        vectors = self.embedder.embed_tokens(tokens, dimension=body.dimensions, progress=go_on)
        n_tokens = sum(map(len, tokens))
        answer = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": encoded(vector, body.encoding_format)}
                for i, vector in enumerate(vectors)
            ],
            "model": body.model,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        }
        return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()


def embeddings_of(embeddings: Embeddings | None, name: str) -> Embeddings:
    """Those of the model called `name`. Raises `ApiError` if it is not served."""
    if embeddings is None:
        what = "no embedding model is served here; start the server with --embedding-model"
    elif name != (served := embeddings.embedder.name):
        what = f"the model {name!r} makes no embeddings here; {served!r} does"
    else:
        return embeddings
    raise ApiError(404, what, param="model", code="model_not_found")


class Left(Exception):
    """Nobody waits for the vectors any more."""


def encoded(vector: Float32[np.ndarray, " dimension"], how: str) -> Any:
    """A list of numbers, or base64 of little-endian float32: a quarter of the bytes."""
    if how == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()


def read_inputs(body: EmbeddingsBody, embedder: Embedder) -> list[list[int]]:
    """The ids of every input: of a text with begin and end tokens, ids as they were given.

    Raises `ApiError` for what cannot be embedded.
    """
    given = body.input
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    if not given:
        raise bad_request("input is empty; give a text, tokens, or a list of them", "input")
    if len(given) > MOST_INPUTS:
        raise bad_request(f"{len(given)} inputs; at most {MOST_INPUTS} are taken at once", "input")
    tokens = [_read_input(i, one, body.truncate_prompt_tokens, embedder) for i, one in enumerate(given)]
    if (total := sum(map(len, tokens))) > MOST_TOKENS:
        raise bad_request(f"{total:,} tokens; at most {MOST_TOKENS:,} are taken at once", "input")
    return tokens


def _read_input(place: int, given: Any, truncate_to: int | None, embedder: Embedder) -> list[int]:
    if not given:
        raise bad_request(f"input {place} is empty", "input")
    tokens = embedder.tokens_of(given) if isinstance(given, str) else list(given)
    if not all(0 <= token < embedder.vocab_size for token in tokens):
        raise bad_request(
            f"input {place} has an id outside of the vocabulary of {embedder.name} (0 to "
            f"{embedder.vocab_size - 1}); another model's ids mean other things, so send texts",
            "input",
        )
    if truncate_to == 0:
        raise bad_request(
            "truncate_prompt_tokens is 0; nothing would be left to read", "truncate_prompt_tokens"
        )
    if truncate_to is not None:
        tokens = embedder.truncated(tokens, embedder.max_tokens if truncate_to == WHOLE else truncate_to)
    if len(tokens) > embedder.max_tokens:
        raise bad_request(
            f"input {place} has {len(tokens)} tokens; {embedder.name} reads {embedder.max_tokens}. Cut it "
            f"into passages, or send truncate_prompt_tokens: {WHOLE} to have only its beginning read",
            "input",
            "context_length_exceeded",
        )
    return tokens
