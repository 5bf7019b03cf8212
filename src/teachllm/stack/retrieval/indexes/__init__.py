"""Vector indexes: which of many vectors are nearest to a query, exactly or nearly.

`make_index("HNSW16", dimension)` makes one; all have `train`, `add`, `search`, `remove`, `save` and
`VectorIndex.open`. Read `flat`, then `inverted_file` with `kmeans`, then `product_quantizer`, then
`layered_graph`, the readable HNSW; `disk` is for more vectors than memory holds.
"""

from teachllm.stack.retrieval.indexes.disk import DiskIndex
from teachllm.stack.retrieval.indexes.factory import make_index
from teachllm.stack.retrieval.indexes.faiss_adapter import FaissIndex
from teachllm.stack.retrieval.indexes.flat import FlatIndex
from teachllm.stack.retrieval.indexes.hnsw import HNSWIndex
from teachllm.stack.retrieval.indexes.index import Metric, VectorIndex
from teachllm.stack.retrieval.indexes.inverted_file import InvertedFileIndex
from teachllm.stack.retrieval.indexes.pgvector_adapter import PgvectorIndex
from teachllm.stack.retrieval.indexes.qdrant_adapter import QdrantIndex
from teachllm.stack.retrieval.indexes.recall import recall
from teachllm.stack.retrieval.indexes.vamana import VamanaIndex

__all__ = [
    "DiskIndex",
    "FaissIndex",
    "FlatIndex",
    "HNSWIndex",
    "InvertedFileIndex",
    "Metric",
    "PgvectorIndex",
    "QdrantIndex",
    "VamanaIndex",
    "VectorIndex",
    "make_index",
    "recall",
]
