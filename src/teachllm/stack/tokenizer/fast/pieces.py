"""The pre-tokenization patterns as one hand-written state machine over UTF-8 bytes.

`piece_end` decides where the piece that starts at `i` ends, by looking at the classes of the next
characters; each branch names the part of the regular expression (see `pretokenize`) that it stands for.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from teachllm.stack.tokenizer.fast.compiled import compiled, inlined
from teachllm.stack.tokenizer.fast.unicode_classes import (
    LETTER,
    LOWER,
    NEWLINE,
    NUMBER,
    SPACE,
    UPPER,
    unicode_classes,
)
from teachllm.stack.tokenizer.pretokenize import GPT2, LLAMA3, O200K, QWEN2, SMOLLM2, Pattern

_GPT2, _SMOLLM2, _LLAMA3, _QWEN2, _O200K = range(5)
STYLES = {GPT2: _GPT2, SMOLLM2: _SMOLLM2, LLAMA3: _LLAMA3, QWEN2: _QWEN2, O200K: _O200K}
APOSTROPHE, BLANK, SLASH = ord("'"), ord(" "), ord("/")
END = 0  # the class beyond the end of the text


def has_state_machine(pattern: Pattern) -> bool:
    """Whether the fast path knows this pattern; a custom regular expression stays with the `regex` module."""
    return pattern in STYLES


def split_pieces_fast(data: bytes, pattern: Pattern) -> list[bytes]:
    """`split_pieces` on UTF-8 bytes, which may be broken: an invalid byte is one symbol of no class."""
    array = np.frombuffer(data, dtype=np.uint8)
    ends = np.empty(len(data), dtype=np.int64)
    count = piece_ends(array, 0, len(array), STYLES[pattern], unicode_classes(), ends)
    starts = [0, *ends[:count].tolist()]
    return [data[start:end] for start, end in pairwise(starts)]


@compiled
def piece_ends(data, start, stop, style, classes, ends):
    """Fill `ends` with the ends of the pieces of data[start:stop], until it is full or all are there; returns
    how many.
    """
    count = 0
    while start < stop and count < len(ends):
        start = piece_end(data, start, stop, style, classes)
        ends[count] = start
        count += 1
    return count


@inlined
def piece_end(data, i, n, style, classes):
    """End of the piece that starts at `i` in a text that ends at `n`."""
    first, after = char_at(data, i, n, classes)
    is_other = first & (LETTER | NUMBER | SPACE) == 0
    following = char_at(data, after, n, classes)[0] if after < n else END
    has_following = after < n

    if style == _GPT2 or style == _SMOLLM2:  # noqa: SIM109  (a kernel)
        if data[i] == APOSTROPHE:  # 's|'t|'re|…
            end = contraction_end(data, i, n, False)
            if end > i:
                return end
        if style == _SMOLLM2 and first & NUMBER:  # \p{N}
            return after
        led_by_blank = data[i] == BLANK and has_following and following & SPACE == 0
        lead = following if led_by_blank else first
        if lead & LETTER:  # ?\p{L}+
            return run_end(data, after, n, LETTER, classes)
        if lead & NUMBER and style != _SMOLLM2:  # ?\p{N}+
            return run_end(data, after, n, NUMBER, classes)
        if lead & (NUMBER | SPACE) == 0:  # ?[^\s\p{L}\p{N}]+
            return other_end(data, after, n, classes)
        return space_end(data, i, n, style, classes)

    if style == _O200K:
        takes_prefix = first & (LETTER | NUMBER | NEWLINE) == 0  # [^\r\n\p{L}\p{N}]?
        end = -1
        if takes_prefix:
            end = word_end(data, after, n, classes)
        if end < 0:
            end = word_end(data, i, n, classes)
        if end < 0 and takes_prefix:
            end = capitals_end(data, after, n, classes)
        if end < 0:
            end = capitals_end(data, i, n, classes)
        if end >= 0:
            return contraction_end(data, end, n, True)
    else:
        if data[i] == APOSTROPHE:  # (?i:'s|'t|'re|…)
            end = contraction_end(data, i, n, True)
            if end > i:
                return end
        if first & LETTER:  # \p{L}+
            return run_end(data, after, n, LETTER, classes)
        if first & (NUMBER | NEWLINE) == 0 and following & LETTER:  # [^\r\n\p{L}\p{N}]\p{L}+
            return run_end(data, after, n, LETTER, classes)

    if first & NUMBER:  # \p{N} or \p{N}{1,3}
        if style != _QWEN2:
            for _ in range(2):
                if after < n:
                    next_class, next_after = char_at(data, after, n, classes)
                    if next_class & NUMBER:
                        after = next_after
        return after
    if is_other or (data[i] == BLANK and has_following and following & (LETTER | NUMBER | SPACE) == 0):
        end = other_end(data, after, n, classes)  # ?[^\s\p{L}\p{N}]+[\r\n]*, with / for o200k
        while end < n and (data[end] == 13 or data[end] == 10 or (style == _O200K and data[end] == SLASH)):
            end += 1
        return end
    return space_end(data, i, n, style, classes)


@inlined
def space_end(data, i, n, style, classes):
    """White space: up to its last newline (not GPT-2); else all of it at the end of the text; else all but
    the last character, which may lead the next word; else the one character.
    """
    end = last = i
    newline_end = -1
    stop = END
    while end < n:
        stop, after = char_at(data, end, n, classes)
        if stop & SPACE == 0:
            break
        last = end
        end = after
        if stop & NEWLINE:
            newline_end = end
    if newline_end >= 0 and style != _GPT2 and style != _SMOLLM2:  # \s*[\r\n]+
        return newline_end
    if end == n or (style == _SMOLLM2 and stop & NUMBER):  # \s+(?!\S); a digit ends a piece of its own
        return end
    return last if last > i else end  # \s+(?!\S) or \s+


@compiled
def word_end(data, i, n, classes):
    """UPPER*LOWER+ of o200k from `i`, or -1: capitals give back until a caseless character can be the
    LOWER.
    """
    end = i
    caseless_end = -1
    while end < n:
        char_class, after = char_at(data, end, n, classes)
        if char_class & UPPER == 0:
            return run_end(data, after, n, LOWER, classes) if char_class & LOWER else caseless_end
        end = after
        if char_class & LOWER:
            caseless_end = end
    return caseless_end


@compiled
def capitals_end(data, i, n, classes):
    """UPPER+LOWER* of o200k from `i`, or -1."""
    end = run_end(data, i, n, UPPER, classes)
    return run_end(data, end, n, LOWER, classes) if end > i else -1


@inlined
def run_end(data, i, n, wanted, classes):
    while i < n:
        char_class, after = char_at(data, i, n, classes)
        if char_class & wanted == 0:
            break
        i = after
    return i


@inlined
def other_end(data, i, n, classes):
    while i < n:
        char_class, after = char_at(data, i, n, classes)
        if char_class & (LETTER | NUMBER | SPACE):
            break
        i = after
    return i


@compiled
def contraction_end(data, i, n, ignore_case):
    """End of 's 't 'm 'd 're 've 'll at `i`, or `i` when there is none. Ignoring case, ſ (U+017F) is an s
    too.
    """
    if i + 1 >= n or data[i] != APOSTROPHE:
        return i
    fold = 32 if ignore_case else 0
    a = data[i + 1] | fold if data[i + 1] < 128 else data[i + 1]
    if a == 115 or a == 116 or a == 109 or a == 100:  # s t m d
        return i + 2
    if i + 2 < n:
        if ignore_case and data[i + 1] == 0xC5 and data[i + 2] == 0xBF:
            return i + 3
        b = data[i + 2] | fold if data[i + 2] < 128 else data[i + 2]
        if (b == 101 and (a == 114 or a == 118)) or (a == 108 and b == 108):  # re ve ll
            return i + 3
    return i


@inlined
def char_at(data, i, n, classes):
    """Class of the character at `i`, and where the next one starts. An invalid byte is a character of class
    0.
    """
    if data[i] < 0x80:
        return np.int64(classes[data[i]]), i + 1
    return wide_char_at(data, i, n, classes)


@compiled
def wide_char_at(data, i, n, classes):
    b0 = np.int64(data[i])
    left = n - i
    if 0xC2 <= b0 <= 0xDF and left >= 2:
        b1 = np.int64(data[i + 1])
        if b1 & 0xC0 == 0x80:
            return np.int64(classes[(b0 & 0x1F) << 6 | (b1 & 0x3F)]), i + 2
    elif 0xE0 <= b0 <= 0xEF and left >= 3:
        b1 = np.int64(data[i + 1])
        b2 = np.int64(data[i + 2])
        point = (b0 & 0x0F) << 12 | (b1 & 0x3F) << 6 | (b2 & 0x3F)
        if b1 & 0xC0 == 0x80 and b2 & 0xC0 == 0x80 and point >= 0x800 and (point < 0xD800 or point > 0xDFFF):
            return np.int64(classes[point]), i + 3
    elif 0xF0 <= b0 <= 0xF4 and left >= 4:
        b1 = np.int64(data[i + 1])
        b2 = np.int64(data[i + 2])
        b3 = np.int64(data[i + 3])
        point = (b0 & 0x07) << 18 | (b1 & 0x3F) << 12 | (b2 & 0x3F) << 6 | (b3 & 0x3F)
        continued = b1 & 0xC0 == 0x80 and b2 & 0xC0 == 0x80 and b3 & 0xC0 == 0x80
        if continued and 0x10000 <= point <= 0x10FFFF:
            return np.int64(classes[point]), i + 4
    return np.int64(0), i + 1
