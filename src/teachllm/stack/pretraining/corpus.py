"""The documents of a recipe's corpora, and how to tell whether they have changed."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from teachllm.stack.data.catalogue import CORPORA, as_tasks, corpus
from teachllm.stack.data.documents import Document, document_files
from teachllm.stack.pretraining.recipe import CorpusShare, RecipeError

ENOUGH_DOCUMENTS = 1000


def read_corpus(share: CorpusShare) -> Iterator[Document]:
    """The documents, from the beginning. Raises what `data.catalogue.corpus` raises, and `RecipeError` for
    tasks without a limit.
    """
    if as_tasks(share.name) is not None and share.max_mb is None:
        raise RecipeError(f"{share.name} has no end: say with max_mb how much of it to use")
    return corpus(share.name, text_field=share.text_field)


def fingerprint(share: CorpusShare) -> str:
    """Changes when the corpus may have changed. Files are judged by size and time, the standard library by
    the version of Python, the hub by its revision: reading them would take as long as preparing them.
    """
    known = CORPORA.get(share.name)
    if known is not None and known.hub is not None:
        return str(known.hub)
    if share.name.startswith("stdlib-"):
        return sys.version
    if known is not None or as_tasks(share.name) is not None:
        texts = (document.text for document in islice(read_corpus(share), ENOUGH_DOCUMENTS))
        content = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    else:
        files = [(str(file.resolve()), file.stat()) for file in document_files(Path(share.name))]
        content = [(name, facts.st_size, facts.st_mtime_ns) for name, facts in files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
