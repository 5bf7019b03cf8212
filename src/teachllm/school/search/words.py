"""From text to atoms: English words, stemmed and cut at their humps, and single Chinese characters."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_GREEK = "Α-ΡΣ-Ωα-ω"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_ATOM = re.compile(rf"[{_HAN}{_GREEK}√]|[^\W_{_HAN}{_GREEK}]+")
# getHTTPResponse: get, HTTP, Response. Digits stay with what is before them: Llama3 is a name.
_HUMP = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+[a-z]*|[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Atom:
    """``text`` is folded and stemmed; ``start`` and ``end`` are its place in the original."""

    text: str
    start: int
    end: int
    is_han: bool
    whole: str | None = None
    """All of a word that was cut into ``parts``, at the first of them: ``kvcache``."""
    parts: int = 1


def atoms(text: str) -> list[Atom]:
    folded = _same_length(text)
    found = []
    for match in _ATOM.finditer(folded):
        word, start = match[0], match.start()
        if word == "√":
            found.append(Atom("sqrt", start, start + 1, False))
            continue
        if _is_han(word):
            found.append(Atom(word, start, start + 1, True))
            continue
        if name := _greek(word):
            found.append(Atom(stem(name), start, start + 1, False))
            continue
        parts = list(_HUMP.finditer(word)) if not word.islower() else []
        if len(parts) < 2:
            found.append(Atom(stem(word.casefold()), start, match.end(), False))
            continue
        for index, part in enumerate(parts):
            begin, end = start + part.start(), start + part.end()
            whole = (word.casefold(), len(parts)) if index == 0 else (None, 1)
            found.append(Atom(stem(part[0].casefold()), begin, end, False, *whole))
    return found


def _is_han(character: str) -> bool:
    return len(character) == 1 and bool(re.match(f"[{_HAN}]", character))


@lru_cache(maxsize=128)
def _greek(character: str) -> str | None:
    """``theta`` for θ: formulas show the letter, and one types its name."""
    found = re.fullmatch(r"GREEK \w+ LETTER (?:FINAL )?(\w+)", unicodedata.name(character[:1], ""))
    return found[1].casefold().replace("lamda", "lambda") if found and len(character) == 1 else None


def _same_length(text: str) -> str:
    """Full-width letters become ordinary ones, accents go; every character keeps its place."""
    if text.isascii():
        return text
    return "".join(_plain(character) for character in text)


@lru_cache(maxsize=8192)
def _plain(character: str) -> str:
    if character.isascii() or _is_han(character):
        return character
    plain = unicodedata.normalize("NFKD", character)[:1]
    return plain if plain.isalnum() else character


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Light: plurals, -ing and -ed of longer words. ``caches`` and ``caching`` are ``cache``."""
    if not word.isascii() or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "xes", "ches", "shes")) and not word.endswith("aches"):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is", "ias")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        base = word[: -len(ending)]
        if word.endswith(ending) and len(base) >= 4 and re.search("[aeiouy]", base):
            if base[-1] == base[-2] and base[-1] not in "lsz":
                return base[:-1]
            return base
    return word[:-1] if word.endswith("e") and len(word) > 4 else word
