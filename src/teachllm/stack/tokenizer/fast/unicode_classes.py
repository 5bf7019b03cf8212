"""What the state machine knows about each code point, taken from the `regex` module: so the two cannot
disagree.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import regex

LETTER, NUMBER, SPACE, UPPER, LOWER, NEWLINE = 1, 2, 4, 8, 16, 32

# UPPER and LOWER are the two character sets of o200k's words; caseless letters and marks are in both.
CLASSES = {
    LETTER: r"\p{L}",
    NUMBER: r"\p{N}",
    SPACE: r"\s",
    UPPER: r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
    LOWER: r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
    NEWLINE: r"[\r\n]",
}


@cache
def unicode_classes() -> np.ndarray:
    """uint8[0x110000]: the classes of every code point, as bits."""
    every_code_point = "".join(map(chr, range(sys.maxunicode + 1)))
    classes = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    for bit, source in CLASSES.items():
        for match in regex.finditer(f"{source}+", every_code_point):
            classes[match.start() : match.end()] |= bit
    return classes
