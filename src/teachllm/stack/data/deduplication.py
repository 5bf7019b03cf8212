"""Each text once: exact duplicates by a hash, near-duplicates by MinHash. Of equals the first is kept.

Repeated text makes a model recite it and wastes the steps that are spent on it: Lee et al. 2022,
arXiv:2107.06499.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from teachllm.stack.data.documents import Document
from teachllm.stack.data.minhash import choose_bands, random_permutations
from teachllm.stack.data.pipeline import StepReport

BATCH_CHARACTERS = 1 << 20  # texts that are looked at in one call of the compiled code
BATCH_TEXTS = 1 << 12


@dataclass(frozen=True)
class ExactDuplicates:
    """The step that drops a document whose text was there before, but for case and white space.

    Remembers 16 bytes of each kept text's hash, about 120 bytes in a Python set: 1 GB for 9 million.
    """

    name: str = "exact-duplicates"

    def __call__(self, documents: Iterable[Document], report: StepReport) -> Iterator[Document]:
        seen: set[bytes] = set()
        for document in documents:
            digest = normalized_digest(document.text)
            if digest in seen:
                report.drop(document, "repeats an earlier text")
            else:
                seen.add(digest)
                yield report.keep(document)


def normalized_digest(text: str) -> bytes:
    """16 bytes that two texts share when they differ only in case and white space (BLAKE2b)."""
    normalized = " ".join(text.lower().split())
    return hashlib.blake2b(normalized.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class NearDuplicates:
    """The step that drops a document that shares most of its shingles with one that was kept.

    Candidates are found by bands of a MinHash signature of `k` entries, and verified by the similarity that
    the whole signatures estimate: dropped is what reaches `threshold`. A similar pair that meets in no band
    is missed; `candidate_probability` of the bands chosen says how often. Texts without a word are kept.

    Looks ahead up to 4,096 documents or a million characters. Remembers about a kilobyte of each kept text
    (see `fast.signature_index`) and its source.
    """

    threshold: float = 0.8
    shingle_size: int = 5
    k: int = 128
    seed: int = 0
    name: str = "near-duplicates"

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or self.shingle_size < 1 or self.k < 1:
            raise ValueError(
                f"threshold {self.threshold} must lie between 0 and 1, shingle_size {self.shingle_size} and "
                f"k {self.k} must be at least 1"
            )

    def __call__(self, documents: Iterable[Document], report: StepReport) -> Iterator[Document]:
        from teachllm.stack.data.fast.signature_index import NOBODY, SignatureIndex
        from teachllm.stack.data.fast.signatures import text_signatures

        permutations = random_permutations(self.k, self.seed)
        bands, rows = choose_bands(self.threshold, self.k)
        least_equal = math.ceil(self.threshold * self.k - 1e-9)
        index = SignatureIndex(self.k, bands, rows, least_equal)
        kept_sources: list[str] = []
        for batch in batches(documents):
            signatures = text_signatures(
                [document.text for document in batch], permutations, self.shingle_size
            )
            repeated, equal = index.add(signatures)
            for document, number, n_equal in zip(batch, repeated.tolist(), equal.tolist(), strict=True):
                if number == NOBODY:
                    kept_sources.append(document.source)
                    yield report.keep(document)
                else:
                    detail = f"{n_equal / self.k:.2f} like {kept_sources[number]}"
                    report.drop(document, "resembles an earlier text", detail)


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in lists of a size that compiled code is worth calling for."""
    batch: list[Document] = []
    n_characters = 0
    for document in documents:
        batch.append(document)
        n_characters += len(document.text)
        if n_characters >= BATCH_CHARACTERS or len(batch) >= BATCH_TEXTS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch
