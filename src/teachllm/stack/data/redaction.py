"""Personal data out of text: addresses, numbers of people, and keys are replaced by what they are.

Rules find what has a form: an e-mail address, a number whose check digit is right. They cannot find a name or
a street, and so make a text less personal, not anonymous.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

MARKS = {
    "e-mail": "<EMAIL>",
    "phone": "<PHONE>",
    "ID number": "<ID_NUMBER>",
    "card": "<CARD>",
    "IP address": "<IP>",
    "key": "<KEY>",
}
"""What stands in the text afterwards, for each kind. Fixed, so that a model learns that something is left out
and not a false address that may be someone's.
"""


def redact(text: str) -> tuple[str, dict[str, int]]:
    """The text with `MARKS` in the place of personal data, and how many of each kind there were.

    - e-mail addresses;
    - phone numbers: with ``+`` and a country, in the North American form, and those of China, mobile or with
      an area code;
    - Chinese ID numbers whose check digit is right, and card numbers that the Luhn formula holds for;
    - IP addresses that the whole internet can reach;
    - keys: private keys in PEM, JSON web tokens, and those that begin as the large services' do.
    """
    counts: dict[str, int] = {}
    for find in (_keys, _emails, _addresses, _numbers):
        text = _marked(text, find(text), counts)
    return text, counts


def kind_of_number(text: str) -> str | None:
    """What number of a person this is, if any: `text` is digits with spaces, hyphens, points and brackets."""
    if _PHONE.fullmatch(text):
        return "phone"
    digits = text.replace(" ", "").replace("-", "")
    if is_chinese_id(digits):
        return "ID number"
    return "card" if _CARD.fullmatch(digits) and luhn_holds(digits) else None


def is_chinese_id(number: str) -> bool:
    """Whether 18 characters are a resident identity number of China (GB 11643-1999): a region, a date of
    birth, three digits, and a check character: Σ digitᵢ · 2^(17−i) ≡ 1 (mod 11), where X is 10.
    """
    if not _ID_NUMBER.fullmatch(number):
        return False
    values = [10 if character in "Xx" else int(character) for character in number]
    return sum(value << (17 - i) for i, value in enumerate(values)) % 11 == 1


def luhn_holds(digits: str) -> bool:
    """The check of card numbers (ISO/IEC 7812): from the right, every second digit doubled, digits of the
    results added, ≡ 0 (mod 10).
    """
    if not digits.isdecimal():
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def is_public_ip(text: str) -> bool:
    """Whether this is an address, and one of a machine on the internet: not ``127.0.0.1``, ``192.168.…``."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


Found = tuple[int, int, str]  # start, end, kind


def _marked(text: str, found: Iterator[Found], counts: dict[str, int]) -> str:
    """The text with marks where something was found; `found` is in order, and nothing of it overlaps."""
    parts, done = [], 0
    for start, end, kind in found:
        parts += [text[done:start], MARKS[kind]]
        done = end
        counts[kind] = counts.get(kind, 0) + 1
    return "".join([*parts, text[done:]]) if parts else text


def _keys(text: str) -> Iterator[Found]:
    found = [match.span() for sign, key in _KEYS.items() if sign in text for match in key.finditer(text)]
    end_before = 0
    for start, end in sorted(found):
        if start >= end_before:
            yield start, end, "key"
            end_before = end


def _emails(text: str) -> Iterator[Found]:
    """From each @ with a domain back to where the name before it begins: names begin anywhere, @ are few."""
    end_before = 0
    for domain in _DOMAIN.finditer(text):
        name = _NAME.search(text, max(end_before, domain.start() - 64), domain.start())
        if name:
            end_before = domain.end()
            yield name.start(), domain.end(), "e-mail"


def _addresses(text: str) -> Iterator[Found]:
    patterns = (_IPV4, _IPV6) if _TWO_COLONS.search(text) else (_IPV4,)
    spans = sorted(match.span() for pattern in patterns for match in pattern.finditer(text))
    return ((*span, "IP address") for span in spans if is_public_ip(text[slice(*span)]))


def _numbers(text: str) -> Iterator[Found]:
    for digits in _DIGITS.finditer(text):
        for match in _NUMBER.finditer(text, digits.start(), digits.end() + 2):
            if kind := kind_of_number(match.group()):
                yield *match.span(), kind


# An expression that begins with a letter or a class of them is searched for many times faster than one that
# begins by looking back. So these look back behind their first character.
_DOMAIN = re.compile(r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}(?![\w-])", re.I | re.A)
_NAME = re.compile(r"[\w+-](?:[\w.+%-]{0,62}[\w+-])?\Z", re.A)
_IPV4 = re.compile(r"\d(?<![\w.]\d)\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?!\.?\w)", re.A)
_TWO_COLONS = re.compile(r":[0-9a-f]{0,4}:[0-9a-f]", re.I)
_IPV6 = re.compile(r"[0-9a-f](?<![\w:.].)[0-9a-f]{0,3}:[0-9a-f:]{3,38}(?![\w:])", re.I | re.A)
_DIGITS = re.compile(r"[+(\d](?<![\w.,/+-].)(?:[ .()-]{0,2}\d){9,}[Xx]?(?![\w/])", re.A)
_PHONE_FORMS = (
    r"\+[1-9]\d{0,2}(?:[ -]?\(\d{1,4}\))?(?:[ -]{0,2}\d){6,12}"  # international
    r"|(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}"  # North America
    r"|1[3-9]\d(?P<gap>[ -]?)\d{4}(?P=gap)\d{4}"  # Chinese mobile
    r"|\(?0(?:10|2\d|[3-9]\d{2})[) -]{1,2}\d{7,8}"  # China, with an area code that is set off
)
_PHONE = re.compile(_PHONE_FORMS, re.A)
_CARD_FORMS = r"\d{4}(?:[ -]?\d{4}){2,3}[ -]?\d{1,4}|\d{4}[ -]\d{6}[ -]\d{5}"
_NUMBER = re.compile(rf"(?<![\w.,/-])(?:{_PHONE_FORMS}|\d{{17}}[\dXx]|{_CARD_FORMS})(?![\w/]|[.,-]\d)", re.A)
_CARD = re.compile(  # the first digits of the networks, and how long their numbers are
    r"4\d{12}(?:\d{3}(?:\d{3})?)?|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|(?:3[0568]|6\d)\d{14,17}", re.A
)
_ID_NUMBER = re.compile(
    r"[1-8]\d{5}(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]", re.A
)
_KEYS = {
    sign: re.compile(f"{sign}(?<![A-Za-z0-9]{sign}){rest}")
    for sign, rest in {
        "-----BEGIN ": r"[A-Z ]*PRIVATE KEY-----[\s\S]+?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        "sk-": r"[A-Za-z0-9_-]{20,}",
        "ghp_": r"[A-Za-z0-9]{36,}",
        "gho_": r"[A-Za-z0-9]{36,}",
        "ghs_": r"[A-Za-z0-9]{36,}",
        "github_pat_": r"[A-Za-z0-9_]{40,}",
        "hf_": r"[A-Za-z0-9]{30,}",
        "AKIA": r"[A-Z0-9]{16}\b",
        "ASIA": r"[A-Z0-9]{16}\b",
        "AIza": r"[A-Za-z0-9_-]{35}",
        "xoxb-": r"[A-Za-z0-9-]{10,}",
        "xoxp-": r"[A-Za-z0-9-]{10,}",
        "LTAI": r"[A-Za-z0-9]{12,}",
        "eyJ": r"[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    }.items()
}
