"""DiskANN: a graph whose vectors stay on the disk.

In memory are a few bytes a vector, codes of a product quantizer: they decide where a walk goes. On the disk
stand, together, each node's full vector and its links; one page that is read for a node gives both. So the
vectors come for free with the links, and the walk's last step is to order what it read by exact distances.
The codes steer, the vectors decide. A step reads the pages of several nodes at once (the beam), because a
disk answers many requests in hardly more time than one.

A page holds several nodes, or a node takes several pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Int64

from teachllm.stack.retrieval.hits import NO_DOCUMENT, Hits
from teachllm.stack.retrieval.indexes.fast.scan import inner_product_tables, squared_distance_tables
from teachllm.stack.retrieval.indexes.index import Metric, checked_vectors, ordered_hits
from teachllm.stack.retrieval.indexes.product_quantizer import N_CODES, ProductQuantizer
from teachllm.stack.retrieval.saved_index import open_index, save_index

PAGE = 4096  # bytes
SAVED = "vectors on disk"


def write_disk_index(
    folder: Path,
    vectors: Float32[np.ndarray, "n d"],
    links: Int32[np.ndarray, "n degree"],
    ids: Int64[np.ndarray, " n"],
    entry: int,
    quantizer: ProductQuantizer,
    metric: Metric,
) -> None:
    """Write what `DiskIndex` opens."""
    n, d = vectors.shape
    node_bytes = 4 * (d + links.shape[1])
    per_page = max(1, PAGE // node_bytes)
    page_bytes = -(-node_bytes // PAGE) * PAGE
    n_pages = -(-n // per_page)
    pages = np.zeros((n_pages, page_bytes), dtype=np.uint8)
    nodes = np.concatenate([vectors.view(np.int32), links], axis=1).view(np.uint8)
    for place in range(per_page):
        here = nodes[place::per_page]
        pages[: len(here), place * node_bytes : (place + 1) * node_bytes] = here
    codebooks = quantizer.codebooks
    assert codebooks is not None
    arrays = {"ids": ids, "codes": quantizer.encode(vectors), "codebooks": codebooks, "pages": pages}
    header = {
        "dimension": d, "metric": metric, "degree": links.shape[1], "entry": entry, "per_page": per_page,
    }  # fmt: skip
    save_index(folder, SAVED, header, arrays)


@dataclass
class Reads:
    """What searches have asked of the disk so far: `trips` to it, and `pages` in all of them."""

    trips: int = 0
    pages: int = 0


class DiskIndex:
    """A finished Vamana index on a disk, made by `VamanaIndex.save_for_disk`. It can be searched, not
    changed.

    ef_search: how many nodes a walk keeps, by the distances of their codes. beam: how many of them it reads
    at once. Scores are exact, and larger is better, as in `VectorIndex`.
    """

    def __init__(self, folder: Path, *, ef_search: int, beam: int) -> None:
        header, arrays = open_index(folder, SAVED)
        self.dimension, self.metric = header["dimension"], header["metric"]
        self.ef_search, self.beam = ef_search, beam
        self.reads = Reads()
        self._degree, self._entry = header["degree"], header["entry"]
        self._page_bytes, self._per_page = arrays["pages"].shape[1], header["per_page"]
        # What stays in memory is read into it, not mapped.
        self._ids, self._codes = np.array(arrays["ids"]), np.array(arrays["codes"])
        self._codebooks = np.ascontiguousarray(arrays["codebooks"].transpose(0, 2, 1))
        self._pages = open(folder / "pages.bin", "rb", buffering=0)  # noqa: SIM115  (closed by close)

    @classmethod
    def open(cls, folder: str | Path, *, ef_search: int = 64, beam: int = 4) -> DiskIndex:
        """Raises `SavedIndexError` if no whole index for the disk is there."""
        return cls(Path(folder), ef_search=ef_search, beam=beam)

    def close(self) -> None:
        self._pages.close()

    def __enter__(self) -> DiskIndex:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def n_bytes(self) -> int:
        """Bytes in memory; the pages stay on the disk."""
        return self._ids.nbytes + self._codes.nbytes + self._codebooks.nbytes

    def search(self, queries: np.ndarray | Sequence[Sequence[float]], k: int) -> Hits:
        """The k nearest vectors of each query. Raises ValueError as `VectorIndex.search` does."""
        checked = checked_vectors(queries, self.dimension, self.metric, "search for")
        if not 1 <= k <= len(self):
            raise ValueError(f"k is {k}, and the index holds {len(self)} vectors: ask for 1 to {len(self)}")
        ids = np.full((len(checked), k), NO_DOCUMENT, dtype=np.int64)
        scores = np.full((len(checked), k), -np.inf, dtype=np.float32)
        tables = np.empty((1, len(self._codebooks), N_CODES), dtype=np.float32)
        for i, query in enumerate(checked):
            if self.metric == "l2":
                squared_distance_tables(query[None], self._codebooks, tables)
            else:
                inner_product_tables(query[None], self._codebooks, np.float32(-1), tables)
            nodes, distances = self._walk(query, tables[0], max(k, self.ef_search))
            best = np.lexsort((self._ids[nodes], distances))[:k]
            ids[i, : len(best)], scores[i, : len(best)] = self._ids[nodes[best]], -distances[best]
        return ordered_hits(ids, scores)

    def _walk(
        self, query: Float32[np.ndarray, " d"], table: Float32[np.ndarray, "m codes"], limit: int
    ) -> tuple[Int64[np.ndarray, " read"], Float32[np.ndarray, " read"]]:
        """All nodes that were read, and their exact distances."""
        parts = np.arange(len(table))
        pool = np.array([self._entry])
        approximate = table[parts, self._codes[pool]].sum(1)
        followed = np.zeros(1, dtype=np.bool_)
        seen = {self._entry}
        read: list[np.ndarray] = []
        exact: list[np.ndarray] = []
        while not followed.all():
            places = np.flatnonzero(~followed)[: self.beam]
            followed[places] = True
            vectors, links = self._read(pool[places])
            read.append(pool[places])
            exact.append(self._distances(query, vectors))
            new = np.array(
                [node for node in dict.fromkeys(links[links >= 0].tolist()) if node not in seen],
                dtype=np.int64,
            )
            seen.update(new.tolist())
            pool = np.concatenate([pool, new])
            approximate = np.concatenate([approximate, table[parts, self._codes[new]].sum(1)])
            followed = np.concatenate([followed, np.zeros(len(new), dtype=np.bool_)])
            order = np.lexsort((pool, approximate))[:limit]
            pool, approximate, followed = pool[order], approximate[order], followed[order]
        return np.concatenate(read), np.concatenate(exact)

    def _distances(self, query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        if self.metric == "l2":
            return ((vectors - query) ** 2).sum(1)
        return -(vectors @ query)

    def _read(self, nodes: Int64[np.ndarray, " beam"]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors and links of some nodes: one trip to the disk, and one page for all nodes that share it."""
        pages = {int(page): b"" for page in nodes // self._per_page}
        for page in pages:
            pages[page] = self._read_page(page)
        self.reads.trips += 1
        self.reads.pages += len(pages) * (self._page_bytes // PAGE)
        width = self.dimension + self._degree
        content = np.stack(
            [
                np.frombuffer(
                    pages[int(node // self._per_page)],
                    np.int32,
                    width,
                    4 * width * int(node % self._per_page),
                )
                for node in nodes
            ]
        )
        return np.ascontiguousarray(content[:, : self.dimension]).view(np.float32), content[
            :, self.dimension :
        ]

    def _read_page(self, page: int) -> bytes:
        self._pages.seek(page * self._page_bytes)
        return self._pages.read(self._page_bytes)
