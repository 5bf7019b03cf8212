"""A formula as plain text, for search results and terminals: ``\\frac{1}{\\sqrt{d_k}}`` is ``1/√d_k``."""

from __future__ import annotations

import re
import unicodedata

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_BEFORE_NAME, _AFTER_NAME = "\ue010", "\ue011"
"""Around a function's name, and after an index, where a letter beside it needs a space: ``q_i cos θ``."""
_SIGNS = {
    "approx": "≈", "cdot": "·", "cdots": "⋯", "circ": "∘", "div": "÷", "dots": "…", "equiv": "≡", "ge": "≥",
    "geq": "≥", "gg": "≫", "in": "∈", "infty": "∞", "int": "∫", "ldots": "…", "le": "≤", "leq": "≤",
    "ll": "≪", "mapsto": "↦", "mid": "|", "nabla": "∇", "ne": "≠", "neq": "≠", "odot": "⊙", "oplus": "⊕",
    "partial": "∂", "pm": "±", "prod": "∏", "propto": "∝", "rightarrow": "→", "sim": "∼", "sum": "∑",
    "times": "×", "to": "→", "top": "ᵀ", "-": "−", "'": "′", "&": " ", "~": " ",
}  # fmt: skip
_SPACES = {",", ";", ":", " ", "quad", "qquad", "\\"}
_NOTHING = {"!", "left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "displaystyle", "limits"}
_STYLES = {"text", "mathrm", "mathbf", "mathbb", "mathcal", "mathit", "boldsymbol", "operatorname"}
_PREFIXES = {"sqrt": "√", "overline": "‾", "bar": "‾", "hat": "^", "tilde": "~"}
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def readable(tex: str) -> str:
    """Commands that it does not know stand by their names."""
    said = _Reader(tex).group(None)
    said = re.sub(rf"(?<=[\w)]){_BEFORE_NAME}|{_AFTER_NAME}(?=\w)", " ", said)
    return " ".join(said.replace(_BEFORE_NAME, "").replace(_AFTER_NAME, "").split())


class _Reader:
    def __init__(self, tex: str) -> None:
        self.tokens: list[str] = [token for token in _TOKEN.findall(tex) if not token.isspace()]
        self.at = 0

    def group(self, end: str | None) -> str:
        """Everything up to the brace that closes the group, or up to the end."""
        parts = []
        while self.at < len(self.tokens):
            if self.tokens[self.at] == end:
                self.at += 1
                break
            parts.append(self.part())
        return "".join(parts)

    def part(self) -> str:
        """A sign, a group, or a command with what it is about; empty at the end."""
        if self.at == len(self.tokens):
            return ""
        token = self.tokens[self.at]
        self.at += 1
        if token == "{":
            return self.group("}")
        if token in "^_":
            return _script(token, self.part())
        if len(token) > 1:
            return self.command(token[1:])
        return _SIGNS.get(token, token)

    def command(self, name: str) -> str:
        if name in _NOTHING:
            return ""
        if name in _SPACES:
            return " "
        if name in _STYLES:
            return self.part()
        if name in ("begin", "end"):
            self.part()
            return " "
        if name in ("frac", "dfrac", "tfrac"):
            return f"{_whole(self.part())}/{_whole(self.part())}"
        if name in _PREFIXES:
            return _PREFIXES[name] + _whole(self.part())
        if name in _SIGNS:
            return _SIGNS[name]
        if not name.isalpha():
            return name
        return _greek(name) or f"{_BEFORE_NAME}{name}{_AFTER_NAME}"


def _script(sign: str, text: str) -> str:
    if sign == "_":
        return f"_{_whole(text)}{_AFTER_NAME}"
    if text == "ᵀ" or text.isdecimal():
        return text.translate(_RAISED)
    return f"^{text}" if re.fullmatch("−?.", text) else f"^({text})"


def _whole(text: str) -> str:
    """In parentheses if it is more than one name or number."""
    text = text.strip()
    return text if re.fullmatch(rf"[√‾−]?[\w.∞′{_AFTER_NAME}]*|\([^()]*\)", text) else f"({text})"


def _greek(name: str) -> str | None:
    case = "CAPITAL" if name[0].isupper() else "SMALL"
    letter = name.removeprefix("var").upper().replace("LAMBDA", "LAMDA")
    try:
        return unicodedata.lookup(f"GREEK {case} LETTER {letter}")
    except KeyError:
        return None
