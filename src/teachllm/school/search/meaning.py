"""The course's pieces as vectors, so that a question finds what it means in other words.

Embedding takes about a minute, once: vectors are kept on disk by the text that they stand for, and only what
has changed is embedded again. Until they are there, search goes by words alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int8, Int64

from teachllm.school.language import LANGUAGES, Lang
from teachllm.school.search.entries import Entry
from teachllm.stack.data.assets import AssetError, asset, asset_folder

if TYPE_CHECKING:
    from teachllm.stack.retrieval.embedding import EmbeddingModel

log = logging.getLogger("teachllm.search")

ENGLISH_MODEL = "all-minilm-l6-v2"
BILINGUAL_MODEL = "course-embedding"
"""A folder beside the assets: the one that the recipe trains on the course."""
WORDS: dict[Lang, int] = {"en": 45, "zh": 75}
"""Of a piece. A question is about a sentence or two, and the vector of a page is about nothing in particular;
of longer pieces (130 words) a third of the English questions finds the section less well."""
BATCH = 64
CANDIDATES = 600
"""Pieces whose tokens are compared."""
SCALE = 127.0
REST = 1.5
"""Seconds of rest for each second of work in the background: pages come first."""
SAVE_EVERY = 20.0


@dataclass(frozen=True)
class Near:
    """How near a question is to each entry: by its nearest piece, 0 where there is none."""

    cosines: Float64[np.ndarray, " entries"]
    by_token: Float64[np.ndarray, " entries"]
    """The mean over the question's tokens of the cosine with the most similar token of a piece (MaxSim)."""
    pieces: dict[int, str]
    """The nearest piece of each entry."""


@dataclass(frozen=True)
class Meaning:
    """Vectors of pieces and of their tokens, and the model that makes those of a question.

    One vector for a piece finds candidates. Among them its tokens say more: a question about one detail is
    near to one sentence's few words, whatever the rest of the piece is about.
    """

    model: EmbeddingModel
    languages: Collection[Lang]
    """Those that the model reads."""
    pieces: list[str]
    vectors: Float32[np.ndarray, "pieces dimension"]
    owners: Int64[np.ndarray, " pieces"]
    """The number of the entry that each piece is from."""
    tokens: Int8[np.ndarray, "tokens dimension"]
    """Of all pieces, end to end, times `SCALE`."""
    starts: Int64[np.ndarray, " pieces+1"]

    def near(self, question: str, n_entries: int, *, by_token: bool = True) -> Near:
        from teachllm.stack.retrieval.late_interaction.maxsim import maxsim_scores

        pooled, (asked,) = encode(self.model, [question], "query")
        cosines = np.maximum(self.vectors @ pooled[0], 0.0)
        order = np.argsort(cosines)
        last = np.full(n_entries, -1)
        last[self.owners[order]] = order  # of several with one owner the last stays, which is the nearest
        by_piece = np.where(last >= 0, cosines[last], 0.0)
        nearest = {int(entry): self.pieces[last[entry]] for entry in np.flatnonzero(by_piece > 0)}
        tokens = np.zeros(n_entries)
        if by_token and len(asked):
            best = np.sort(order[-CANDIDATES:])
            lengths = np.diff(self.starts)[best]
            begins, ends = self.starts[best].tolist(), self.starts[best + 1].tolist()
            rows = np.concatenate([np.arange(*part) for part in zip(begins, ends, strict=True)])
            found = maxsim_scores(asked, self.tokens[rows].astype(np.float32) / SCALE, lengths.tolist())
            np.maximum.at(tokens, self.owners[best], found / len(asked))
        return Near(by_piece, tokens, nearest)


def encode(
    model: EmbeddingModel, texts: Sequence[str], kind: Literal["query", "passage"]
) -> tuple[Float32[np.ndarray, "texts dimension"], list[Float32[np.ndarray, "_ dimension"]]]:
    """The vector of each text and those of its tokens, all of length 1, in one run through the encoder.

    Without the tokens at begin and end: these are alike in all texts.
    """
    import torch

    from teachllm.stack.retrieval.embedding.pooling import normalize, pool

    prefix = model.prefixes.get(kind, "")
    ids = [model.truncated(model.tokens_of(prefix + text)) for text in texts]
    lengths = [len(one) for one in ids]
    with torch.inference_mode():
        hidden = model.encoder(torch.tensor([token for one in ids for token in one]), lengths)
        pooled = normalize(pool(hidden, lengths, model.pooling)).float().numpy()
        tokens = normalize(hidden).float().split(lengths)
    begin, end = len(model.begin_tokens), len(model.end_tokens)
    return pooled, [one[begin : len(one) - end].numpy() for one in tokens]


def pieces_of(entries: Sequence[Entry], languages: Collection[Lang]) -> tuple[list[str], list[int]]:
    """(texts to embed, for each the number of its entry)."""
    from teachllm.stack.retrieval.pieces import cut_between_sentences

    texts, owners = [], []
    for number, entry in enumerate(entries):
        if entry.kind == "lesson" and entry.lang in languages and entry.section:
            heading = entry.section_title or entry.title
            for text in (heading, *cut_between_sentences(entry.text, WORDS[entry.lang])):
                if text:
                    texts.append(text)
                    owners.append(number)
    return texts, owners


def known_model() -> tuple[Path, Collection[Lang]] | None:
    """The best embedding model on this machine: its folder, the languages it reads; None if there is none."""
    trained = asset_folder() / BILINGUAL_MODEL
    if (trained / "model.safetensors").is_file():
        return trained, LANGUAGES
    try:
        return asset(ENGLISH_MODEL).parent, ("en",)
    except AssetError:
        return None


def find_meaning(
    entries: Sequence[Entry],
    course: Path,
    is_wanted: Callable[[], bool] = lambda: True,
    *,
    rest: float = REST,
) -> Meaning | None:
    """Embed what is not on disk yet, and give all. None without a model, or once it is no longer wanted.

    course: its folder; each course has its own file of vectors.
    """
    if (known := known_model()) is None:
        return None
    from teachllm.stack.retrieval.embedding import load_embedding_model  # PyTorch takes seconds to import

    folder, languages = known
    model = load_embedding_model(folder)
    store = VectorStore(asset_folder() / "search" / _key(str(course.resolve())).hex()[:12], folder)
    texts, owners = pieces_of(entries, languages)
    missing = [text for text in dict.fromkeys(texts) if text not in store]
    saved = time.monotonic()
    for start in range(0, len(missing), BATCH):
        if not is_wanted():
            store.save()
            return None
        began = time.monotonic()
        batch = missing[start : start + BATCH]
        store.add(batch, *encode(model, batch, "passage"))
        if time.monotonic() - saved > SAVE_EVERY:
            store.save()
            saved = time.monotonic()
        time.sleep(rest * (time.monotonic() - began))
    if missing:
        store.keep_only(texts)
        store.save()
    vectors = np.empty((len(texts), model.dimension), dtype=np.float32)
    for row, text in zip(vectors, texts, strict=True):
        row[:] = store.vector(text)
    tokens = [store.tokens(text) for text in texts]
    starts = np.cumsum([0, *map(len, tokens)])
    together = np.concatenate([np.empty((0, model.dimension), np.int8), *tokens])
    return Meaning(model, languages, texts, vectors, np.array(owners, dtype=np.int64), together, starts)


class VectorStore:
    """Vectors by text, in one file a model. A file that cannot be read is begun anew."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.file = folder / f"{model.name}-{_fingerprint(model)}.npz"
        self._vectors: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
        try:
            with np.load(self.file) as content:
                keys, vectors, lengths = content["keys"], content["vectors"], content["lengths"]
                tokens = np.split(content["tokens"], np.cumsum(lengths)[:-1])
            for key, *both in zip(keys, vectors, tokens, strict=True):
                self._vectors[bytes(key)] = (both[0], both[1])
        except FileNotFoundError:
            pass
        except Exception as problem:  # whatever a damaged file makes of numpy
            log.warning("%s cannot be read (%r); its vectors are made again", self.file, problem)

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._vectors

    def vector(self, text: str) -> Float16[np.ndarray, " dimension"]:
        return self._vectors[_key(text)][0]

    def tokens(self, text: str) -> Int8[np.ndarray, "tokens dimension"]:
        return self._vectors[_key(text)][1]

    def add(
        self,
        texts: Sequence[str],
        vectors: Float32[np.ndarray, "texts dimension"],
        tokens: Sequence[Float32[np.ndarray, "_ dimension"]],
    ) -> None:
        for text, vector, each in zip(texts, vectors.astype(np.float16), tokens, strict=True):
            self._vectors[_key(text)] = vector, np.rint(each * SCALE).astype(np.int8)

    def keep_only(self, texts: Sequence[str]) -> None:
        """Forget the rest: texts that the course no longer has."""
        self._vectors = {key: self._vectors[key] for key in map(_key, dict.fromkeys(texts))}

    def save(self) -> None:
        """Replace the file, whole. A folder that cannot be written to is told and does no harm."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=self.file.parent, suffix=".npz")
            with os.fdopen(handle, "wb") as out:
                np.savez(
                    out,
                    keys=np.frombuffer(b"".join(self._vectors), dtype=np.uint8).reshape(-1, _KEY_BYTES),
                    vectors=np.stack([vector for vector, _ in self._vectors.values()]),
                    lengths=np.array([len(tokens) for _, tokens in self._vectors.values()]),
                    tokens=np.concatenate([tokens for _, tokens in self._vectors.values()]),
                )
            os.replace(draft, self.file)
        except (OSError, ValueError) as problem:
            log.warning("the vectors of the course could not be kept in %s: %s", self.file, problem)


_KEY_BYTES = 16


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


def _fingerprint(model: Path) -> str:
    """Of the weights: a model that is trained again has other vectors."""
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
