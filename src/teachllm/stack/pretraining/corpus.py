"""Corpora by the names that recipes call them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from teachllm.stack.data.corpora import course_text, stdlib_docs, stdlib_sources
from teachllm.stack.data.documents import Document, document_files, read_documents
from teachllm.stack.pretraining.recipe import CorpusShare

NAMED: dict[str, Callable[[], Iterator[str]]] = {
    "course-zh": lambda: course_text("zh"),
    "course-en": lambda: course_text("en"),
    "stdlib-docs": stdlib_docs,
    "stdlib-sources": stdlib_sources,
}


def read_corpus(corpus: CorpusShare) -> Iterator[Document]:
    """The documents of a named corpus, or of a file or folder."""
    if corpus.name in NAMED:
        texts = enumerate(NAMED[corpus.name](), start=1)
        return (Document(text, f"{corpus.name}:{number}") for number, text in texts)
    return read_documents(Path(corpus.name), text_field=corpus.text_field)


def fingerprint(corpus: CorpusShare) -> str:
    """Changes when the corpus may have changed. Files are judged by size and time, the standard library by
    the version of Python: reading them all would take as long as preparing them.
    """
    if corpus.name.startswith("stdlib-"):
        return sys.version
    if corpus.name in NAMED:
        content = [hashlib.sha256(text.encode()).hexdigest() for text in NAMED[corpus.name]()]
    else:
        files = [(str(file.resolve()), file.stat()) for file in document_files(Path(corpus.name))]
        content = [(name, facts.st_size, facts.st_mtime_ns) for name, facts in files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
