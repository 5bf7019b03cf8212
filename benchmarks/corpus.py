"""10 MB of mixed text that can be made on any machine without a network, the same bytes on every run there.

A third each, in blocks of a few hundred characters:
- code: Python sources of the standard library;
- English: the docstrings of the standard library and NumPy, and the language reference inside `pydoc_data`;
- Chinese: sentences of words drawn from the jieba dictionary by their frequency, with names from Babel's
Chinese locale. Word statistics are those of real text, grammar is not: neighbouring words are independent.
"""

from __future__ import annotations

import itertools
import random
import sysconfig
from collections.abc import Iterator
from itertools import accumulate, chain
from pathlib import Path
from pydoc_data import topics

import jieba
import numpy
from babel import Locale

from teachllm.stack.data.corpora import docstrings, python_sources


def mixed_text(size: int = 10_000_000, seed: int = 0) -> str:
    """About `size` UTF-8 bytes of text: the documents, a newline between them."""
    return "\n".join(mixed_documents(size, seed))


def mixed_documents(size: int = 10_000_000, seed: int = 0) -> list[str]:
    """Documents of a few hundred characters, about `size` UTF-8 bytes in all."""
    rng = random.Random(seed)
    standard_library = Path(sysconfig.get_paths()["stdlib"])
    kinds = [
        itertools.cycle(
            _blocks(python_sources(standard_library, {"site-packages", "idlelib", "lib2to3"}), rng)
        ),
        itertools.cycle(_blocks(_english(standard_library), rng)),
        _chinese_sentences(rng),
    ]
    documents: list[str] = []
    sizes = [0, 0, 0]
    while sum(sizes) < size:
        kind = sizes.index(min(sizes))
        documents.append(next(kinds[kind]))
        sizes[kind] += len(documents[-1].encode())
    return documents


def _english(standard_library: Path) -> Iterator[str]:
    numpy_sources = python_sources(Path(numpy.__file__).parent)
    yield from docstrings(chain(python_sources(standard_library, {"site-packages"}), numpy_sources))
    yield from topics.topics.values()


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


def _chinese_sentences(rng: random.Random) -> Iterator[str]:
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
