"""What SentencePiece does to text before its model sees it: it is a library, not a fourth algorithm.

Raw text goes in, no words are cut out beforehand, and a space becomes an ordinary symbol, "▁" (U+2581). So
the text, spaces included, can be read back from the pieces. Kudo and Richardson 2018, arXiv:1808.06226.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

SPACE = "\u2581"


def sentencepiece_normalize(text: str) -> str:
    """NFKC, runs of white space as one, a space in front, and spaces written "▁".

    SentencePiece's own default, nmt_nfkc, also drops some control characters.

    >>> sentencepiece_normalize("  Hello   ｗｏｒｌｄ ")
    '▁Hello▁world'
    """
    words = unicodedata.normalize("NFKC", text).split()
    return "".join(SPACE + word for word in words)


def sentencepiece_restore(pieces: Iterable[str]) -> str:
    """Text from pieces: join them, make "▁" a space again, and turn byte pieces back into characters.

    >>> sentencepiece_restore(["▁Hello", "▁", "<0xE4>", "<0xBD>", "<0xA0>"])
    'Hello 你'
    """
    spelt = b"".join(
        bytes([int(piece[3:5], 16)]) if re.fullmatch("<0x[0-9A-F]{2}>", piece) else piece.encode()
        for piece in pieces
    )
    return spelt.decode("utf-8", "replace").replace(SPACE, " ").removeprefix(" ")


def byte_pieces(text: str) -> list[str]:
    """Byte fallback: one piece a UTF-8 byte, so that no character is unknown.

    >>> byte_pieces("你")
    ['<0xE4>', '<0xBD>', '<0xA0>']
    """
    return [f"<0x{byte:02X}>" for byte in text.encode()]


def count_space_words(texts: Iterable[str]) -> Counter[str]:
    """How often each "▁"-led word occurs in the normalised texts: what `train_unigram` learns from.

    >>> count_space_words(["a b a"])
    Counter({'▁a': 2, '▁b': 1})
    """
    counts = Counter[str]()
    for text in texts:
        counts.update(SPACE + word for word in sentencepiece_normalize(text).split(SPACE)[1:])
    return counts
