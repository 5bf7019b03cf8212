"""One way to write each text: composed characters, one kind of line end, nothing invisible."""

from __future__ import annotations

import re
import unicodedata


def normalize(text: str) -> tuple[str, dict[str, int]]:
    """The text as it should be written, and how many of what were changed.

    Unicode form NFC: ``e`` and a combining accent become one character, while full-width letters stay as
    they are (NFKC would make the Chinese ``，`` an English comma). Line ends become ``\\n``; spaces of other
    widths become a space; control characters and what else cannot be seen goes, but not the joiners that
    emoji and Indic scripts are written with. Spaces at line ends go, and more than one empty line in a row.
    Spaces at line beginnings stay: code means something by them.
    """
    counts: dict[str, int] = {}
    for kind, pattern, instead in _OF_ASCII if text.isascii() else _OF_ANY_TEXT:
        text, count = pattern.subn(instead, text)
        if count:
            counts[kind] = count
    if not unicodedata.is_normalized("NFC", text):  # now that nothing invisible stands between the parts
        text = unicodedata.normalize("NFC", text)
        counts["composed"] = 1
    if " \n" in text or "\t\n" in text:  # far quicker than to look with the expression
        text, counts["line tails"] = _LINE_TAILS.subn("\n", text)
    if "\n\n\n" in text:
        text, counts["empty lines"] = _EMPTY_LINES.subn("\n\n", text)
    stripped = text.lstrip("\n").rstrip()
    if stripped != text:
        counts["blank ends"] = 1
    return stripped, counts


_LINE_TAILS = re.compile(r"[ \t]+\n")
_EMPTY_LINES = re.compile(r"\n{3,}")
_OF_ASCII = (
    ("line ends", re.compile("[\r\x0b\x0c]\n?"), "\n"),
    ("invisible characters", re.compile("[\x00-\x08\x0e-\x1f\x7f]"), ""),
)
_OF_ANY_TEXT = (
    ("line ends", re.compile("[\r\x0b\x0c\x85\u2028\u2029]\n?"), "\n"),
    ("spaces", re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]"), " "),
    (
        "invisible characters",
        re.compile(
            "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad"  # control characters, soft hyphen
            "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"  # zero width, directions, byte order mark
            "\ue000-\uf8ff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f\U000f0000-\U0010ffff]"  # private
        ),
        "",
    ),
)
