"""Indexes by the names that users of faiss know: "Flat", "IVF1024,Flat", "OPQ16,IVF256,PQ16", "HNSW16"."""

from __future__ import annotations

import re

from teachllm.stack.retrieval.indexes.flat import FlatIndex
from teachllm.stack.retrieval.indexes.hnsw import HNSWIndex
from teachllm.stack.retrieval.indexes.index import Metric, VectorIndex
from teachllm.stack.retrieval.indexes.inverted_file import InvertedFileIndex
from teachllm.stack.retrieval.indexes.rotation import Rotation
from teachllm.stack.retrieval.indexes.vamana import VamanaIndex

DESCRIPTION = re.compile(
    r"(?:OPQ(?P<opq>\d+),)?"
    r"(?:(?:IVF(?P<cells>\d+),)?(?P<codes>Flat|SQ8|PQ\d+)(?:np)?|HNSW(?P<m>\d+)(?:,Flat)?|Vamana(?P<degree>\d+))"
)
EXAMPLES = (
    "Flat",
    "SQ8",
    "PQ16",
    "IVF1024,Flat",
    "IVF256,SQ8",
    "IVF256,PQ16",
    "OPQ16,IVF256,PQ16",
    "HNSW16",
    "Vamana32",
)


def make_index(description: str, dimension: int, metric: Metric = "l2", *, seed: int = 0) -> VectorIndex:
    """An empty index. PQ16 keeps 16 bytes a vector, IVF256 has 256 cells, HNSW16 gives each new node 16
    links, a node of Vamana32 has at most 32, and OPQ16 rotates vectors so that 16 parts lose least.

    Raises ValueError for a description that is none of these.
    """
    match = DESCRIPTION.fullmatch(description.replace(" ", ""))
    if match is None:
        raise ValueError(f"no index is called {description!r}; examples are {', '.join(EXAMPLES)}")
    opq, cells, codes = match["opq"], match["cells"], match["codes"]
    rotation = None
    if opq is not None:
        if codes is None or codes != f"PQ{opq}":
            raise ValueError(f"OPQ{opq} prepares vectors for PQ{opq}, and {description!r} does not end in it")
        rotation = Rotation(int(opq))
    if match["m"] is not None:
        return HNSWIndex(dimension, metric, m=int(match["m"]), seed=seed)
    if match["degree"] is not None:
        return VamanaIndex(dimension, metric, degree=int(match["degree"]), seed=seed)
    if cells is not None:
        return InvertedFileIndex(
            dimension, metric, n_cells=int(cells), codes=codes, seed=seed, rotation=rotation
        )
    return FlatIndex(dimension, metric, codes=codes, seed=seed, rotation=rotation)
