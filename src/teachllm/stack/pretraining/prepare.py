"""From raw text to tokens on disk: clean, learn a vocabulary, encode; once for all runs that agree on it.

Everything lies in one folder, whose name holds a hash of all that decides what is in it:

    clean-0/            the cleaned documents of the first corpus (documents.jsonl), and the report about it
    tokenizer.json
    train-0/, held-out-0/   its tokens; see `data.shards`
    ready.json          written last

Each part appears whole or not at all, so that a killed run continues with the part it was at.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path

import platformdirs

from teachllm.stack.data.documents import Document, cut_place, read_json_lines
from teachllm.stack.data.file_lock import file_lock
from teachllm.stack.data.pipeline import StepReport, clean
from teachllm.stack.data.shards import ShardWriter, TokenShards
from teachllm.stack.data.typed_tables import as_table
from teachllm.stack.data.whole_folder import whole_folder
from teachllm.stack.pretraining.cleaning import cleaning_steps
from teachllm.stack.pretraining.corpus import fingerprint, read_corpus
from teachllm.stack.pretraining.events import CorpusCleaned, DataProgress, DataReady, Event, Stage
from teachllm.stack.pretraining.recipe import SPECIAL_TOKENS, CorpusShare, DataRecipe
from teachllm.stack.pretraining.reports import report_from_json, report_to_json
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.tokenizer.tokenizer import learn_merges

FORMAT = 1  # part of the hash: raised when this file makes something else of the same recipe
PROGRESS_SECONDS = 0.25
DOCUMENTS, REPORT, READY = "documents.jsonl", "report.json", "ready.json"


class Stopped(Exception):
    """Somebody asked for the end."""


class NoText(Exception):
    """There is not enough text to train on; the message says what to do."""


@dataclass(frozen=True)
class PreparedData:
    """Tokens by corpus, what made them, and what cleaning did. A corpus without held-out text is not in
    held_out.
    """

    folder: Path
    tokenizer: Tokenizer
    train: dict[str, TokenShards]
    held_out: dict[str, TokenShards]
    reports: dict[str, tuple[StepReport, ...]]


def prepared_root() -> Path:
    """Where prepared data lie: ``TEACHLLM_PREPARED``, else in the user's cache folder."""
    given = os.environ.get("TEACHLLM_PREPARED")
    return Path(given) if given else platformdirs.user_cache_path("teachllm", appauthor=False) / "prepared"


def prepare(
    recipe: DataRecipe,
    *,
    root: Path | None = None,
    begun_with: Path | None = None,
    stop: threading.Event | None = None,
) -> Generator[Event, None, PreparedData]:
    """Prepare the data, unless they are there; events on the way, the data as the generator's value.

    begun_with: the folder that this run has used before. As long as it is there it is used, even if the
    corpora have changed since: a run ends with the data that it began with.
    Several processes that want the same data take turns. Raises `Stopped` when `stop` is set, `NoText`, and
    what reading the corpora and writing the tokens raises.
    """
    stop = stop or threading.Event()
    folder = begun_with
    if folder is None or not (folder / READY).exists():
        folder = (root or prepared_root()) / _folder_name(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / ".lock", lambda: _check(stop)):
        was_ready = (folder / READY).exists()
        for number, corpus in enumerate(recipe.corpora):
            if not (folder / f"clean-{number}").exists():
                yield from _clean(recipe, corpus, folder / f"clean-{number}", stop)
            yield _cleaned(corpus, folder / f"clean-{number}")
        if not (folder / "tokenizer.json").exists():
            tokenizer = yield from _learn(recipe, folder, stop)
            tokenizer.save(folder / "tokenizer.json")
        tokenizer = Tokenizer.from_tokenizer_json(folder / "tokenizer.json")
        for number, corpus in enumerate(recipe.corpora):
            if not (folder / f"held-out-{number}").exists():
                yield from _encode(recipe, corpus, folder, number, tokenizer, stop)
        prepared = _open(recipe, folder, tokenizer)
        if not was_ready:
            (folder / READY).write_text(json.dumps(as_table(recipe), indent=1, ensure_ascii=False))
    yield _ready(prepared, was_ready)
    return prepared


def _folder_name(recipe: DataRecipe) -> str:
    """Weights and caps of the mixture decide nothing here: they are the loader's matter."""
    content = as_table(recipe)
    for corpus in content["corpora"]:
        corpus.pop("weight", None)
        corpus.pop("max_epochs", None)
    content |= {"format": FORMAT, "inputs": [fingerprint(corpus) for corpus in recipe.corpora]}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    name = re.sub(r"[^\w.-]", "-", "-".join(Path(corpus.name).stem for corpus in recipe.corpora))
    return f"{name[:40]}-{digest[:12]}"


# Clean ---------------------------------------------------------------------------------------------------


def _clean(recipe: DataRecipe, corpus: CorpusShare, target: Path, stop: threading.Event) -> Iterator[Event]:
    steps = cleaning_steps(recipe.cleaning)
    total = None if corpus.max_mb is None else int(corpus.max_mb * 1e6)
    counter = _Counter(_at_most(read_corpus(corpus), total))
    kept, reports = clean(counter, steps)
    n_documents = n_bytes = 0
    with whole_folder(target) as new, open(new / DOCUMENTS, "w", encoding="utf-8") as file:
        progress = _Progress("clean", corpus.name, total, stop)
        for document in kept:
            for piece in _pieces(document.text, recipe.longest_document):
                file.write(json.dumps({"text": piece, "source": document.source}, ensure_ascii=False) + "\n")
                n_documents += 1
                n_bytes += len(piece.encode())
            yield from progress(counter.bytes)
        content = {
            "documents": n_documents,
            "bytes": n_bytes,
            "steps": [report_to_json(report) for report in reports],
        }
        (new / REPORT).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _cleaned(corpus: CorpusShare, folder: Path) -> CorpusCleaned:
    content = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    reports = tuple(report_from_json(step) for step in content["steps"])
    if content["documents"] == 0:
        raise NoText(
            f"nothing is left of {corpus.name} after cleaning. Look at what was dropped with "
            "`teachllm prepare`, and loosen or leave out the step that drops too much."
        )
    return CorpusCleaned(corpus.name, reports, content["documents"], content["bytes"])


class _Counter:
    """The documents of an iterable, and how many bytes of text have gone by."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents, self.bytes = documents, 0

    def __iter__(self) -> Iterator[Document]:
        for document in self._documents:
            self.bytes += len(document.text.encode())
            yield document


def _at_most(documents: Iterable[Document], max_bytes: int | None) -> Iterator[Document]:
    """Documents until there are `max_bytes` of text; the one that would go beyond is left out."""
    left = max_bytes
    for document in documents:
        if left is not None:
            left -= len(document.text.encode())
            if left < 0:
                return
        yield document


def _pieces(text: str, longest: int) -> Iterator[str]:
    while len(text) > longest:
        cut = cut_place(text, longest)
        yield text[:cut]
        text = text[cut:]
    yield text


# Learn a vocabulary --------------------------------------------------------------------------------------


def _learn(recipe: DataRecipe, folder: Path, stop: threading.Event) -> Generator[Event, None, Tokenizer]:
    n_merges = recipe.vocab_size - 256 - len(SPECIAL_TOKENS)
    progress = _Progress("tokenizer", "", n_merges, stop)
    merges = []
    if n_merges > 0:
        for merge in islice(learn_merges(_learning_texts(recipe, folder)), n_merges):
            merges.append(merge.pair)
            yield from progress(len(merges))
    return Tokenizer.from_merges(merges, special_tokens=SPECIAL_TOKENS)


def _learning_texts(recipe: DataRecipe, folder: Path) -> Iterator[str]:
    """The beginning of each corpus, the same share of all, so that the vocabulary suits each equally."""
    sizes = [(folder / f"clean-{number}" / DOCUMENTS).stat().st_size for number in range(len(recipe.corpora))]
    share = min(1.0, recipe.tokenizer_mb * 1e6 / sum(sizes))
    for number, size in enumerate(sizes):
        documents = read_json_lines(folder / f"clean-{number}" / DOCUMENTS)
        for document in _at_most(documents, int(share * size)):
            if not is_held_out(document.text, recipe.held_out):
                yield document.text


# Encode --------------------------------------------------------------------------------------------------


def is_held_out(text: str, share: float) -> bool:
    """Whether a document belongs to the held-out ones: decided by its text alone, so that two equal documents
    are on the same side, and a corpus that grows keeps its split.
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") < share * 2**64


def _encode(
    recipe: DataRecipe,
    corpus: CorpusShare,
    folder: Path,
    number: int,
    tokenizer: Tokenizer,
    stop: threading.Event,
) -> Iterator[Event]:
    source = folder / f"clean-{number}" / DOCUMENTS
    progress = _Progress("encode", corpus.name, _cleaned(corpus, source.parent).bytes, stop)
    done = 0
    # The held-out part gets its name last: where it is, both are there.
    with (
        whole_folder(folder / f"held-out-{number}") as held_out_folder,
        whole_folder(folder / f"train-{number}") as train_folder,
        ShardWriter(train_folder, tokenizer) as train,
        ShardWriter(held_out_folder, tokenizer) as held_out,
    ):
        documents, again = tee(read_json_lines(source))
        encoded = tokenizer.encode_documents(document.text for document in again)
        for document, ids in zip(documents, encoded, strict=True):
            n_bytes = len(document.text.encode())
            target = held_out if is_held_out(document.text, recipe.held_out) else train
            target.add(ids, n_bytes)
            done += n_bytes
            yield from progress(done)


def _open(recipe: DataRecipe, folder: Path, tokenizer: Tokenizer) -> PreparedData:
    names = [corpus.name for corpus in recipe.corpora]
    train = {name: TokenShards(folder / f"train-{number}") for number, name in enumerate(names)}
    held_out = {name: TokenShards(folder / f"held-out-{number}") for number, name in enumerate(names)}
    held_out = {name: shards for name, shards in held_out.items() if shards.n_tokens}
    if empty := [name for name, shards in train.items() if not shards.n_tokens]:
        raise NoText(f"all of {', '.join(empty)} is held out: lower held_out, or give more text.")
    if not held_out:
        raise NoText(
            f"no document is held out: there are too few for a share of {recipe.held_out}. Raise held_out, "
            "or lower longest_document, so that long documents are cut into more."
        )
    reports = {
        corpus.name: _cleaned(corpus, folder / f"clean-{number}").reports
        for number, corpus in enumerate(recipe.corpora)
    }
    return PreparedData(folder, tokenizer, train, held_out, reports)


def _ready(prepared: PreparedData, was_ready: bool) -> DataReady:
    train, held_out = prepared.train.values(), prepared.held_out.values()
    n_tokens, n_documents = sum(s.n_tokens for s in train), sum(s.n_documents for s in train)
    return DataReady(
        folder=str(prepared.folder),
        vocab_size=prepared.tokenizer.vocab_size,
        train_tokens=n_tokens,
        train_documents=n_documents,
        held_out_tokens=sum(s.n_tokens for s in held_out),
        held_out_documents=sum(s.n_documents for s in held_out),
        bytes_per_token=sum(s.n_bytes for s in train) / max(1, n_tokens - n_documents),
        from_cache=was_ready,
    )


# Progress ------------------------------------------------------------------------------------------------


class _Progress:
    """An event several times a second, and a look at whether to stop."""

    def __init__(self, stage: Stage, corpus: str, total: int | None, stop: threading.Event) -> None:
        self._stage: Stage = stage
        self._corpus, self._total, self._stop = corpus, total, stop
        self._next = 0.0

    def __call__(self, done: int) -> Iterator[Event]:
        if (now := time.monotonic()) >= self._next:
            _check(self._stop)
            yield DataProgress(self._stage, self._corpus, done, self._total)
            self._next = now + PROGRESS_SECONDS


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped
