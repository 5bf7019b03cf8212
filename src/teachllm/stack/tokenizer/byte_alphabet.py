"""GPT-2's printable spelling of bytes: how vocabulary files write a token that is not valid text.

A byte that prints on its own stands for itself (`A` is "A"); the other 68 borrow the code points from
U+0100 on (a space is "Ġ", a newline "Ċ"). Radford et al. 2019; `tokenizers` calls it the byte-level
alphabet.
"""

from __future__ import annotations

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]


def byte_alphabet() -> dict[int, str]:
    """Byte → the one character that stands for it, for all 256 bytes.

    >>> byte_alphabet()[ord("A")], byte_alphabet()[ord(" ")]
    ('A', 'Ġ')
    """
    alphabet = {byte: chr(byte) for byte in PRINTABLE}
    for byte in range(256):
        if byte not in alphabet:
            alphabet[byte] = chr(0x100 + len(alphabet) - len(PRINTABLE))
    return alphabet


BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}


def bytes_to_printable(token: bytes) -> str:
    """`b" the"` → "Ġthe"."""
    return "".join(BYTE_TO_CHAR[byte] for byte in token)


def printable_to_bytes(token: str) -> bytes:
    """ "Ġthe" → `b" the"`. Raises ValueError when a character stands for no byte."""
    try:
        return bytes(CHAR_TO_BYTE[char] for char in token)
    except KeyError as unknown:
        raise ValueError(
            f"token {token!r} holds {unknown.args[0]!r}, which is not in the byte-level alphabet: "
            "this vocabulary is not byte-level BPE"
        ) from None
