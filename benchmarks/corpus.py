"""10 MB of mixed text that can be made on any machine without a network, the same bytes on every run there.

A third each, in blocks of a few hundred characters:
- code: Python sources of the standard library;
- English: the docstrings of the standard library and NumPy, and the language reference inside `pydoc_data`;
- Chinese: sentences of words drawn from the jieba dictionary by their frequency, with names from Babel's
Chinese locale. Word statistics are those of real text, grammar is not: neighbouring words are independent.
"""

from __future__ import annotations

import ast
import random
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path


def mixed_text(size: int = 10_000_000, seed: int = 0) -> str:
    """About `size` UTF-8 bytes of text."""
    rng = random.Random(seed)
    standard_library = Path(sysconfig.get_paths()["stdlib"])
    code = _cycle(_blocks(_sources(standard_library), rng))
    english = _cycle(_blocks(_english(standard_library), rng))
    chinese = _chinese_sentences(rng)
    parts: list[str] = []
    sizes = [0, 0, 0]
    while sum(sizes) < size:
        kind = sizes.index(min(sizes))
        part = next((code, english, chinese)[kind])
        parts.append(part)
        sizes[kind] += len(part.encode())
    return "\n".join(parts)


def _sources(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if not {"site-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"} & set(path.parts):
            yield path.read_text(encoding="utf-8", errors="replace")


def _english(standard_library: Path) -> Iterator[str]:
    numpy = find_spec("numpy")
    folders = [standard_library]
    if numpy is not None and numpy.origin is not None:
        folders.append(Path(numpy.origin).parent)
    for folder in folders:
        for source in _sources_with_docstrings(folder):
            try:
                tree = ast.parse(source)
            except (SyntaxError, ValueError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    docstring = ast.get_docstring(node)
                    if docstring is not None and len(docstring) > 200:
                        yield docstring
    from pydoc_data import topics

    yield from topics.topics.values()


def _sources_with_docstrings(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if not {"test", "tests", "__pycache__"} & set(path.parts[len(folder.parts) :]) and (
            "site-packages" not in path.parts[len(folder.parts) :]
        ):
            yield path.read_text(encoding="utf-8", errors="replace")


def _blocks(texts: Iterator[str], rng: random.Random) -> list[str]:
    """Paragraphs gathered into blocks of at least 300 characters, shuffled."""
    blocks: list[str] = []
    block = ""
    for text in texts:
        for paragraph in text.split("\n\n"):
            block += paragraph + "\n\n"
            if len(block) > 300:
                blocks.append(block)
                block = ""
    rng.shuffle(blocks)
    return blocks


def _cycle(blocks: list[str]) -> Iterator[str]:
    while True:
        yield from blocks


def _chinese_sentences(rng: random.Random) -> Iterator[str]:
    import jieba
    from babel import Locale

    dictionary = Path(jieba.__file__).parent / "dict.txt"
    entries = [line.split(" ") for line in dictionary.read_text(encoding="utf-8").splitlines()]
    words = [entry[0] for entry in entries]
    cumulative = list(accumulate(int(entry[1]) for entry in entries))
    locale = Locale.parse("zh_Hans_CN")
    names = [*locale.territories.values(), *locale.languages.values(), *locale.currencies.values()]
    while True:
        sentence = ""
        for _ in range(rng.randrange(8, 20)):
            clause = rng.choices(words, cum_weights=cumulative, k=rng.randrange(2, 9))
            if rng.random() < 0.05:
                clause.append(rng.choice(names))
            if rng.random() < 0.05:
                clause.append(str(rng.randrange(3000)))
            sentence += "".join(clause) + rng.choices("，。、；：？！", weights=(50, 30, 8, 4, 3, 3, 2))[0]
        yield sentence + "\n"
