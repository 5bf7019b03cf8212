"""Code of the stack by symbol (``module:function``, ``module:Class.method``), read without importing it."""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import teachllm
from teachllm.school.language import Both

Docstring: TypeAlias = Literal["full", "short", "none"]
_REGION = re.compile(r"^\s*#\s*region:\s*(?P<name>.+?)\s*$")
_END_REGION = re.compile(r"^\s*#\s*endregion\b")
_PACKAGE = Path(teachllm.__file__).parent


class SymbolError(LookupError):
    """A symbol or region that does not exist; ``message`` suggests near ones."""

    def __init__(self, message: Both) -> None:
        self.message = message
        super().__init__(message.en)


@dataclass(frozen=True)
class SourceCode:
    """A piece of a module as it is shown: dedented, without region marks, from ``line`` of its file."""

    symbol: str
    path: Path
    line: int
    text: str

    @property
    def shown_path(self) -> str:
        """``stack/nn/attention.py``."""
        return self.path.relative_to(_PACKAGE).as_posix()

    @property
    def name(self) -> str:
        return self.symbol.partition(":")[2] or self.symbol

    @property
    def anchor(self) -> str:
        """The ``id`` of its box on the page: ``code-scaled_dot_product_attention``."""
        return "code-" + self.name.replace(".", "-")


def source_of(symbol: str, *, docstring: Docstring = "full", region: str | None = None) -> SourceCode:
    """The source of ``module:name``, or of ``region`` in it (``module`` alone: anywhere in the file).

    Raises :class:`SymbolError`.
    """
    module, _, name = symbol.partition(":")
    path = module_file(module)
    lines, tree = _parsed(path, path.stat().st_mtime_ns)
    if name:
        node = _find(tree, module, name)
        start, end = _span(node)
    elif region:
        node, start, end = tree, 1, len(lines)
    else:
        raise SymbolError(
            Both(
                f"{symbol}：要写成 模块:名字，例如 {module}:函数名",
                f"{symbol}: write module:name, as in {module}:function",
            )
        )
    kept = {number: lines[number - 1] for number in range(start, end + 1)}
    if docstring != "full":
        _shorten_docstrings(node, kept, docstring)
    if region is not None:
        kept = _region(kept, region, symbol)
    shown = {n: line for n, line in kept.items() if not _REGION.match(line) and not _END_REGION.match(line)}
    return SourceCode(symbol, path, min(shown, default=start), _dedented(list(shown.values())))


def module_file(module: str) -> Path:
    """The file of a module of this package, without importing it. Raises :class:`SymbolError`."""
    parts = module.split(".")
    if parts[0] != "teachllm" or not all(part.isidentifier() for part in parts):
        raise SymbolError(
            Both(
                f"{module}：只能引用 teachllm 里的模块", f"{module}: only modules of teachllm can be included"
            )
        )
    base = _PACKAGE.joinpath(*parts[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    near = difflib.get_close_matches(module, _modules(), n=3)
    raise SymbolError(
        Both(f"没有模块 {module}{_zh_hint(near)}", f"there is no module {module}{_en_hint(near)}"),
    )


def symbols_of(module: str) -> list[str]:
    """Functions, classes, methods and constants defined at the top of a module."""
    path = module_file(module)
    return list(_definitions(_parsed(path, path.stat().st_mtime_ns)[1]))


@lru_cache(maxsize=128)
def _parsed(path: Path, _mtime: int) -> tuple[list[str], ast.Module]:
    text = path.read_text(encoding="utf-8")
    return text.splitlines(), ast.parse(text)


def _modules() -> list[str]:
    found = []
    for path in _PACKAGE.rglob("*.py"):
        parts = path.relative_to(_PACKAGE).with_suffix("").parts
        found.append(".".join(("teachllm", *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return found


def _definitions(tree: ast.Module) -> dict[str, ast.AST]:
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, ast.Assign):
            found.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    found[f"{node.name}.{inner.name}"] = inner
    return found


def _find(tree: ast.Module, module: str, name: str) -> ast.AST:
    definitions = _definitions(tree)
    if name in definitions:
        return definitions[name]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any(a.name == name for a in node.names):
            raise SymbolError(
                Both(
                    f"{name} 在 {module} 里只是被导入；请写定义它的模块：{node.module}:{name}",
                    f"{name} is only imported in {module}; it is defined in {node.module}:{name}",
                )
            )
    near = difflib.get_close_matches(name, definitions, n=3, cutoff=0.5) or list(definitions)[:8]
    raise SymbolError(
        Both(f"{module} 里没有 {name}{_zh_hint(near)}", f"{module} defines no {name}{_en_hint(near)}")
    )


def _zh_hint(near: list[str]) -> str:
    return f"；是不是 {'、'.join(near)}？" if near else ""


def _en_hint(near: list[str]) -> str:
    return f"; did you mean {', '.join(near)}?" if near else ""


def _span(node: ast.AST) -> tuple[int, int]:
    decorators = getattr(node, "decorator_list", [])
    start = min([node.lineno, *(d.lineno for d in decorators)])  # pyright: ignore[reportAttributeAccessIssue]
    return start, node.end_lineno  # pyright: ignore[reportAttributeAccessIssue]


def _shorten_docstrings(node: ast.AST, kept: dict[int, str], docstring: Docstring) -> None:
    """Keeps the first paragraph of every docstring (``short``) or nothing of it (``none``)."""
    for owner in ast.walk(node):
        if not isinstance(owner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            continue
        first = owner.body[0] if owner.body else None
        if ast.get_docstring(owner) is None or first is None or first.end_lineno is None:
            continue
        numbers = [n for n in range(first.lineno, first.end_lineno + 1) if n in kept]
        if not numbers:
            continue
        if docstring == "none":
            alone = len(owner.body) == 1
            for number in numbers:
                del kept[number]
            if alone:
                kept[numbers[0]] = " " * first.col_offset + "..."
        else:
            _keep_first_paragraph(numbers, kept)
    for number in sorted(kept):
        if (
            docstring == "none"
            and not kept[number].strip()
            and kept.get(number - 1, "x").rstrip().endswith(":")
        ):
            del kept[number]


def _keep_first_paragraph(numbers: list[int], kept: dict[int, str]) -> None:
    blank = next((n for n in numbers[1:] if not kept[n].strip()), None)
    if blank is None:
        return
    opening = kept[numbers[0]].lstrip().lstrip("rRuUbB")
    quotes = opening[:3] if opening[:3] in ('"""', "'''") else opening[:1]
    kept[blank - 1] = kept[blank - 1].rstrip() + quotes
    for number in numbers:
        if number >= blank:
            del kept[number]


def _region(kept: dict[int, str], region: str, symbol: str) -> dict[int, str]:
    """The lines between ``# region: name`` and the ``# endregion`` that closes it; regions may nest."""
    inside: dict[int, str] = {}
    depth, names = 0, []
    for number, line in kept.items():
        start = _REGION.match(line)
        if start:
            names.append(start["name"])
            depth += 1 if depth or start["name"] == region else 0
        elif _END_REGION.match(line) and depth:
            depth -= 1
            if depth == 0:
                return inside
        elif depth:
            inside[number] = line
    if region in names:
        raise SymbolError(
            Both(
                f"{symbol} 里的 # region: {region} 没有 # endregion",
                f"# region: {region} in {symbol} has no # endregion",
            )
        )
    near = difflib.get_close_matches(region, names, n=3, cutoff=0.4) or names
    raise SymbolError(
        Both(
            f"{symbol} 里没有区域 {region}{_zh_hint(near)}",
            f"{symbol} has no region {region}{_en_hint(near)}",
        )
    )


def _dedented(lines: list[str]) -> str:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return "\n".join(line[margin:].rstrip() for line in lines) + "\n"
