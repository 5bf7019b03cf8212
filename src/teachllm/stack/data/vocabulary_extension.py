"""What adding words to a finished vocabulary takes away from it."""

from __future__ import annotations

from collections.abc import Mapping


def made_unreachable(tokens: Mapping[int, bytes], word: str) -> list[int]:
    """The ids of tokens that no text is cut into any more once `word` is added as libraries add it.

    An added token is cut out of the text before any merge. A token that holds the word, and more, would need
    to cross that cut; one that equals it has a double that comes first. What holds only a part of the word
    still comes out elsewhere. tokens: id → bytes, without the added one. ValueError for an empty word.

    >>> made_unreachable({0: b"a", 1: b"an", 2: b"ant", 3: b"want"}, "ant")
    [2, 3]
    """
    if not word:
        raise ValueError("an empty word is in every token; give the text of the token that is added")
    wanted = word.encode()
    return [token_id for token_id, content in tokens.items() if wanted in content]
