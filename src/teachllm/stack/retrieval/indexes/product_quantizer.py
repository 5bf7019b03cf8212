"""Product quantization: a vector as a few bytes, and distances to it without decoding.

Cut vectors of d numbers into m parts and learn 256 centroids for each. A vector becomes m bytes, the numbers
of its parts' nearest centroids: 256^m different vectors can be written down, with only 256·d numbers kept. A
query is not encoded. Its squared distance to a code is a sum over the parts, and each part has only 256
possible distances: compute these m·256 numbers once, and a distance is m look-ups (asymmetric distance
computation, ADC).

Jégou, Douze and Schmid 2011, "Product Quantization for Nearest Neighbor Search".
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from teachllm.stack.retrieval.indexes.kmeans import kmeans, nearest_centroids

N_CODES = 256


def adc_tables(
    query: Float32[np.ndarray, " d"], codebooks: Float32[np.ndarray, "m codes part"]
) -> Float32[np.ndarray, "m codes"]:
    """‖q_j − c‖² for each part j of the query and each centroid c of that part."""
    m, _, part = codebooks.shape
    return ((query.reshape(m, 1, part) - codebooks) ** 2).sum(-1)


def adc_search(
    query: Float32[np.ndarray, " d"],
    codes: UInt8[np.ndarray, "n m"],
    codebooks: Float32[np.ndarray, "m codes part"],
    k: int,
) -> tuple[Int64[np.ndarray, " k"], Float32[np.ndarray, " k"]]:
    """The numbers of the k codes nearest to a query, nearest first, and their squared distances.

    The distance of a code is Σ_j ‖q_j − codebooks[j, code_j]‖²: to what it stands for, not to the vector
    that it was made of. Equal distances are in the order of their numbers. Only fewer than k codes give
    fewer results. Raises ValueError if the m parts of `codebooks` do not make up the query.
    """
    m, _, part = codebooks.shape
    if m * part != len(query):
        raise ValueError(f"{m} codebooks of {part} numbers do not fit a query of {len(query)}")
    tables = adc_tables(query, codebooks)
    distances = tables[np.arange(m), codes].sum(1)
    order = np.argsort(distances, kind="stable")[:k]
    return order, distances[order]


class ProductQuantizer:
    """m codebooks of 256 centroids. Raises ValueError if m parts of one size do not make up `dimension`."""

    def __init__(self, dimension: int, n_parts: int) -> None:
        if n_parts < 1 or dimension % n_parts:
            parts = [m for m in range(1, dimension + 1) if dimension % m == 0]
            nearest = sorted(parts, key=lambda m: (abs(m - n_parts), m))[:3]
            raise ValueError(
                f"{n_parts} parts do not divide vectors of {dimension} numbers evenly: take "
                f"{', '.join(map(str, sorted(nearest)))}"
            )
        self.dimension, self.n_parts = dimension, n_parts
        self.codebooks: Float32[np.ndarray, "m codes part"] | None = None

    def train(self, vectors: Float32[np.ndarray, "n d"], *, seed: int = 0, n_iterations: int = 25) -> None:
        """Raises ValueError for fewer than 256 vectors."""
        if len(vectors) < N_CODES:
            raise ValueError(
                f"{N_CODES} codes a part need at least {N_CODES} vectors to train on, not {len(vectors)}"
            )
        self.codebooks = np.stack(
            [
                kmeans(part, N_CODES, seed=seed + j, n_iterations=n_iterations)
                for j, part in enumerate(self._parts(vectors))
            ]
        )

    def encode(self, vectors: Float32[np.ndarray, "n d"]) -> UInt8[np.ndarray, "n m"]:
        codebooks = self._trained()
        codes = np.empty((len(vectors), self.n_parts), dtype=np.uint8)
        for j, part in enumerate(self._parts(vectors)):
            codes[:, j] = nearest_centroids(part, codebooks[j])
        return codes

    def decode(self, codes: UInt8[np.ndarray, "n m"]) -> Float32[np.ndarray, "n d"]:
        """What the codes stand for."""
        codebooks = self._trained()
        return codebooks[np.arange(self.n_parts), codes].reshape(len(codes), self.dimension)

    @property
    def codes_apart(self) -> Float32[np.ndarray, "m part codes"]:
        """The codebooks with their codes side by side, as the kernels read them."""
        return np.ascontiguousarray(self._trained().transpose(0, 2, 1))

    def _parts(self, vectors: Float32[np.ndarray, "n d"]) -> list[Float32[np.ndarray, "n part"]]:
        apart = vectors[:, : self.dimension].reshape(len(vectors), self.n_parts, -1)
        return [np.ascontiguousarray(apart[:, j]) for j in range(self.n_parts)]

    def _trained(self) -> Float32[np.ndarray, "m codes part"]:
        if self.codebooks is None:
            raise ValueError("the codebooks must be learned first: call train")
        return self.codebooks
