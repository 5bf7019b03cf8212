"""Whether a written answer is right, decided by rules: each takes what was written and what is expected."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")


def same_text(written: str, expected: str) -> bool:
    """Equal but for case, width of characters, spaces around and between words, and a last full stop."""
    return _plain(written) == _plain(expected)


def same_number(written: str, expected: str) -> bool:
    """The last number in the text equals the expected one: 1,024 and 1024.0 are the same."""
    numbers = _NUMBER.findall(unicodedata.normalize("NFKC", written))
    return bool(numbers) and _number(numbers[-1]) == _number(expected)


def contains(written: str, expected: str) -> bool:
    """The expected text stands somewhere in the answer, as `same_text` compares."""
    return _plain(expected) in _plain(written)


VERIFIERS: dict[str, Callable[[str, str], bool]] = {
    "same_text": same_text,
    "same_number": same_number,
    "contains": contains,
}


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".。")


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", "").replace("−", "-"))
    except InvalidOperation:
        return None
