"""Passages as compressed tokens: centroids say which passages are worth a look, the others are never read.

1. Each token of the query takes the centroids that it is most like; passages with a token
   there are candidates.
2. Candidates are scored by the centroids of their tokens alone, and most are dropped.
3. The tokens of those left are decompressed, and MaxSim is exact but for what compression lost.

Santhanam et al. 2022, arXiv:2205.09707 (PLAID).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from teachllm.stack.retrieval.hits import Hits, empty_hits
from teachllm.stack.retrieval.late_interaction.compression import ResidualCodec
from teachllm.stack.retrieval.late_interaction.maxsim import maxsim_scores
from teachllm.stack.retrieval.late_interaction.tokens import TokenEncoder
from teachllm.stack.retrieval.saved_index import SavedIndexError, open_index, save_index

KIND = "late interaction"


class LateInteractionIndex:
    """A search over passages. Added once; the codec is trained on the first ones.

    n_centroids: None takes the power of two nearest to 4 √tokens, a quarter of ColBERTv2's, whose
    collections are larger. probes: centroids for each token of a query. kept: candidates that are
    decompressed.
    """

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        bits: int = 2,
        n_centroids: int | None = None,
        probes: int = 4,
        kept: int = 256,
        seed: int = 0,
    ) -> None:
        if probes < 1 or kept < 1:
            raise ValueError(f"probes is {probes} and kept {kept}; both must be at least 1")
        self.encoder, self.bits, self.n_centroids, self.seed = encoder, bits, n_centroids, seed
        self.probes, self.kept = probes, kept
        self.codec: ResidualCodec | None = None
        self._ids = np.empty(0, dtype=np.int64)
        self._lengths = np.empty(0, dtype=np.int64)
        self._nearest = np.empty(0, dtype=np.int32)
        self._packed = np.empty((0, 0), dtype=np.uint8)

    def __len__(self) -> int:
        """The number of passages."""
        return len(self._ids)

    @property
    def n_tokens(self) -> int:
        return len(self._nearest)

    @property
    def n_bytes(self) -> int:
        """Codes, centroids, and which passages have a token at each centroid."""
        if self.codec is None:
            return 0
        lists = sum(one.nbytes for one in self._passages_at)
        return self._nearest.nbytes + self._packed.nbytes + self.codec.centroids.nbytes + lists

    def add(self, texts: Sequence[str], ids: Iterable[int] | None = None) -> None:
        """ids: those that hits name, by default the next numbers. ValueError for ids that are there
        already.
        """
        first = int(self._ids.max()) + 1 if len(self) else 0
        new = np.array(range(first, first + len(texts)) if ids is None else list(ids), dtype=np.int64)
        if len(new) != len(texts) or len(np.unique(np.concatenate([self._ids, new]))) < len(self) + len(new):
            raise ValueError(f"{len(new)} ids for {len(texts)} passages: give one each, and none twice")
        if not len(new):
            return
        vectors = self.encoder.passages(texts)
        tokens = np.concatenate(vectors)
        if self.codec is None:
            k = self.n_centroids or 2 ** round(np.log2(4 * np.sqrt(len(tokens))))
            self.codec = ResidualCodec.train(tokens, min(k, len(tokens)), self.bits, seed=self.seed)
        nearest, packed = self.codec.compress(tokens)
        self._ids = np.concatenate([self._ids, new])
        self._lengths = np.concatenate([self._lengths, [len(one) for one in vectors]])
        self._nearest = np.concatenate([self._nearest, nearest])
        self._packed = np.concatenate([self._packed.reshape(-1, packed.shape[1]), packed])
        self._arrange()

    def search(self, queries: Sequence[str], k: int = 10) -> Hits:
        """The k passages with the largest MaxSim among those that are looked at."""
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one hit")
        hits = empty_hits(len(queries), k)
        if self.codec is None:
            return hits
        for row, query in enumerate(self.encoder.queries(queries)):
            places = self.candidates(query, max(k, self.kept))
            scores = self.exact(query, places)
            order = np.lexsort((self._ids[places], -scores))[:k]
            hits.ids[row, : len(order)] = self._ids[places[order]]
            hits.scores[row, : len(order)] = scores[order]
        return hits

    def save(self, folder: Path) -> None:
        """Write the index into `folder`, whole or not at all; an index that stands there is replaced. The
        encoder is not in it. ValueError before passages are added.
        """
        if self.codec is None:
            raise ValueError("this index has no passages yet; add some before it is saved")
        settings = ("bits", "n_centroids", "probes", "kept", "seed")
        arrays = {
            "ids": self._ids,
            "lengths": self._lengths,
            "nearest": self._nearest,
            "packed": self._packed,
            "centroids": self.codec.centroids,
            "bounds": self.codec.bounds,
            "values": self.codec.values,
        }
        save_index(folder, KIND, {"settings": {name: getattr(self, name) for name in settings}}, arrays)

    @classmethod
    def open(cls, folder: Path, encoder: TokenEncoder) -> LateInteractionIndex:
        """A saved index; its codes are mapped and read where a search looks. `encoder` is the one that it was
        built with. Raises `SavedIndexError`, also for an encoder of another dimension.
        """
        header, arrays = open_index(folder, KIND)
        try:
            index = cls(encoder, **header["settings"])
            index.codec = ResidualCodec(arrays["centroids"], arrays["bounds"], arrays["values"])
            index._ids, index._lengths = arrays["ids"], arrays["lengths"]
            index._nearest, index._packed = arrays["nearest"], arrays["packed"]
        except (KeyError, TypeError, ValueError) as problem:
            raise SavedIndexError(f"{folder} is damaged ({problem!r}). Build the index again.") from None
        given = index.codec.centroids.shape[1]
        if given != encoder.dimension:
            raise SavedIndexError(
                f"{folder} holds vectors of {given} dimensions; the encoder makes {encoder.dimension}. Give "
                "the encoder that it was built with."
            )
        index._arrange()
        return index

    def candidates(self, query: np.ndarray, most: int) -> np.ndarray:
        """Places of the passages that are worth decompressing, at most `most`: steps 1 and 2."""
        assert self.codec is not None
        similar = self.codec.centroids @ query.T  # (centroids, query tokens)
        probes = min(self.probes, len(similar))
        chosen = np.unique(np.argpartition(-similar, probes - 1, axis=0)[:probes])
        places = np.unique(np.concatenate([self._passages_at[centroid] for centroid in chosen]))
        if len(places) <= most:
            return places
        by_centroid = similar[self._nearest[self._rows_of(places)]]
        begins = self._lengths[places].cumsum() - self._lengths[places]
        rough = np.maximum.reduceat(by_centroid, begins, axis=0).sum(axis=1)
        return np.sort(places[np.argpartition(-rough, most - 1)[:most]])

    def exact(self, query: np.ndarray, places: np.ndarray) -> np.ndarray:
        """MaxSim with the decompressed tokens of these passages."""
        assert self.codec is not None
        rows = self._rows_of(places)
        tokens = self.codec.decompress(self._nearest[rows], self._packed[rows])
        return maxsim_scores(query, tokens, self._lengths[places].tolist())

    def _rows_of(self, places: np.ndarray) -> np.ndarray:
        """The rows of the tokens of these passages, end to end."""
        sizes = self._lengths[places]
        shift = self._begins[places] - (sizes.cumsum() - sizes)
        return np.arange(sizes.sum()) + shift.repeat(sizes)

    def _arrange(self) -> None:
        """Where each passage begins, and which passages have a token at each centroid."""
        assert self.codec is not None
        self._begins = self._lengths.cumsum() - self._lengths
        owners = np.arange(len(self)).repeat(self._lengths)
        pairs = np.unique(self._nearest.astype(np.int64) * len(self) + owners)
        centroid, passage = pairs // len(self), (pairs % len(self)).astype(np.int32)
        edges = np.searchsorted(centroid, np.arange(len(self.codec.centroids) + 1))
        self._passages_at = [passage[a:b] for a, b in pairwise(edges)]
