"""The two sides of an Anki card: its note's fields put into its template."""

from __future__ import annotations

import re

from teachllm.school.cards.exchange.package import AnkiCard

_SECTION = re.compile(r"\{\{([#^])\s*([^{}]+?)\s*\}\}(.*?)\{\{/\s*\2\s*\}\}", re.DOTALL)
_FIELD = re.compile(r"\{\{\s*([^{}#^/][^{}]*?)\s*\}\}")
_CLOZE = re.compile(r"\{\{c(\d+)::(.*?)(?:::(.*?))?\}\}", re.DOTALL)
_NEVER = {"FrontSide", "Tags", "Type", "Deck", "Subdeck", "Card", "CardFlag"}


def faces(card: AnkiCard) -> tuple[str, str]:
    """HTML of the question and of the answer, the latter without the question that stands above it."""
    kind = card.note_type
    template = kind.templates[0 if kind.is_cloze else min(card.place, len(kind.templates) - 1)]
    fields = dict(zip(kind.fields, card.fields, strict=False))
    question = _filled(template.question, fields, card.place + 1, hidden=True)
    answer = template.answer
    # Below the line is the answer itself.
    if (line := re.search(r"<hr[^>]*id=[\"']?answer[\"']?[^>]*>", answer)) is not None:
        answer = answer[line.end() :]
    return question, _filled(answer, fields, card.place + 1, hidden=False)


def _filled(template: str, fields: dict[str, str], number: int, *, hidden: bool) -> str:
    def section(found: re.Match[str]) -> str:
        mark, name, inside = found.groups()
        return inside if bool(fields.get(name, "").strip()) == (mark == "#") else ""

    def field(found: re.Match[str]) -> str:
        *filters, name = (part.strip() for part in found[1].split(":"))
        if name in _NEVER and name not in fields:
            return ""
        value = fields.get(name, "")
        if "cloze" in filters:
            return _CLOZE.sub(lambda gap: _gap(gap, number, hidden=hidden), value)
        return "" if "type" in filters else value

    for _ in range(8):  # sections may stand in sections
        template, count = _SECTION.subn(section, template)
        if not count:
            break
    return _FIELD.sub(field, template)


def _gap(gap: re.Match[str], number: int, *, hidden: bool) -> str:
    asked = int(gap[1]) == number
    if asked and hidden:
        return f"[{gap[3] or '…'}]"
    return f"<b>{gap[2]}</b>" if asked else gap[2]
