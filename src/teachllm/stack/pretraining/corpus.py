"""Corpora by the names that recipes call them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from teachllm.stack.data import tasks
from teachllm.stack.data.corpora import course_text, stdlib_docs, stdlib_sources
from teachllm.stack.data.documents import Document, document_files, read_documents
from teachllm.stack.pretraining.recipe import CorpusShare, RecipeError

NAMED: dict[str, Callable[[], Iterator[str]]] = {
    "course-zh": lambda: course_text("zh"),
    "course-en": lambda: course_text("en"),
    "stdlib-docs": stdlib_docs,
    "stdlib-sources": stdlib_sources,
}


def read_corpus(corpus: CorpusShare) -> Iterator[Document]:
    """The documents of a named corpus, of tasks such as `addition:2`, or of a file or folder."""
    if (kind_and_difficulty := as_tasks(corpus.name)) is not None:
        if corpus.max_mb is None:
            raise RecipeError(f"{corpus.name} has no end: say with max_mb how much of it to use")
        texts = (task.text for task in tasks.tasks(*kind_and_difficulty, seed=0))
    elif corpus.name in NAMED:
        texts = NAMED[corpus.name]()
    else:
        return read_documents(Path(corpus.name), text_field=corpus.text_field)
    return (Document(text, f"{corpus.name}:{number}") for number, text in enumerate(texts, start=1))


def as_tasks(name: str) -> tuple[str, int] | None:
    """Kind and difficulty of tasks by name: `addition:2` is ("addition", 2); None for another name."""
    kind, _, difficulty = name.partition(":")
    return (kind, int(difficulty)) if kind in tasks.KINDS and difficulty.isdecimal() else None


def fingerprint(corpus: CorpusShare) -> str:
    """Changes when the corpus may have changed. Files are judged by size and time, the standard library by
    the version of Python: reading them all would take as long as preparing them.
    """
    if corpus.name.startswith("stdlib-"):
        return sys.version
    if corpus.name in NAMED or as_tasks(corpus.name) is not None:
        texts = (document.text for document in islice(read_corpus(corpus), 1000))
        content = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    else:
        files = [(str(file.resolve()), file.stat()) for file in document_files(Path(corpus.name))]
        content = [(name, facts.st_size, facts.st_mtime_ns) for name, facts in files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
