"""Decode ids one at a time, as a model writes them, without ever showing half a character."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from teachllm.stack.tokenizer.tokenizer import Tokenizer


class StreamDecoder:
    """Text as soon as it is whole. A token may end in the middle of a character ("你" is 3 bytes): those
    bytes wait.

    What `push` and `flush` return, joined, is `tokenizer.decode(ids)`. Special tokens are written out, or
    left out with `skip_special`. Bytes that can never become a character turn into U+FFFD at once.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skipped = frozenset(tokenizer.special_tokens.values()) if skip_special else frozenset()
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that this id completes, possibly empty. ValueError for an id that is not in the
        vocabulary.
        """
        if token_id in self._skipped:
            return ""
        return self._utf8.decode(self._tokenizer.id_to_bytes(token_id))

    def flush(self) -> str:
        """What is left at the end: "" or U+FFFD for an unfinished character. The decoder can then start
        anew.
        """
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest
