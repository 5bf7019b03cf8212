"""Residual compression: a token's vector as its nearest centroid and a few bits a dimension for the
difference.

    v ≈ normalize(c + r̂),   r̂_d = one of 2^b values for dimension d, the one whose range holds (v − c)_d

Santhanam et al. 2021, arXiv:2112.01488 (ColBERTv2), section 3.3: 1 or 2 bits keep nearly all of the quality
at 6 to 10 times less memory than 16-bit vectors of 128 dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from teachllm.stack.retrieval.indexes.kmeans import kmeans, nearest_centroids

BITS = (1, 2, 4)


@dataclass(frozen=True)
class ResidualCodec:
    """centroids: of the tokens. bounds: between the ranges of a residual's values; values: what stands for
    each range, both quantiles of the residuals that it was trained on, the same for all dimensions.
    """

    centroids: Float32[np.ndarray, "k d"]
    bounds: Float32[np.ndarray, " ranges-1"]
    values: Float32[np.ndarray, " ranges"]

    @classmethod
    def train(
        cls, tokens: Float32[np.ndarray, "n d"], n_centroids: int, bits: int = 2, *, seed: int = 0
    ) -> ResidualCodec:
        """ValueError for bits other than 1, 2 and 4, and for fewer tokens than centroids."""
        if bits not in BITS:
            raise ValueError(f"bits is {bits}; it is one of {BITS}, which fill bytes")
        tokens = np.ascontiguousarray(tokens, dtype=np.float32)
        centroids = kmeans(tokens, n_centroids, seed=seed)
        residuals = (tokens - centroids[nearest_centroids(tokens, centroids)]).ravel()
        ranges = 2**bits
        # Quantiles, so that every code is used equally often: the bits carry most that way.
        at = np.arange(1, ranges) / ranges
        middle = (np.arange(ranges) + 0.5) / ranges
        bounds, values = np.quantile(residuals, at), np.quantile(residuals, middle)
        return cls(centroids, bounds.astype(np.float32), values.astype(np.float32))

    @property
    def bits(self) -> int:
        return int(np.log2(len(self.values)))

    @property
    def bytes_per_token(self) -> int:
        """The number of the centroid, and the codes."""
        return 4 + -(-self.centroids.shape[1] * self.bits // 8)

    def compress(
        self, tokens: Float32[np.ndarray, "n d"]
    ) -> tuple[Int32[np.ndarray, " n"], UInt8[np.ndarray, "n bytes"]]:
        """(nearest centroids, codes), several codes a byte, the first in its highest bits."""
        tokens = np.ascontiguousarray(tokens, dtype=np.float32)
        nearest = nearest_centroids(tokens, self.centroids)
        codes = np.searchsorted(self.bounds, tokens - self.centroids[nearest]).astype(np.uint8)
        bits = (codes[:, :, None] >> np.arange(self.bits - 1, -1, -1, dtype=np.uint8)) & 1
        return nearest, np.packbits(bits.reshape(len(tokens), -1), axis=1)

    def decompress(
        self, nearest: Int32[np.ndarray, " n"], packed: UInt8[np.ndarray, "n bytes"]
    ) -> Float32[np.ndarray, "n d"]:
        """What stands for the tokens, of length 1."""
        d = self.centroids.shape[1]
        bits = np.unpackbits(packed, axis=1, count=d * self.bits).reshape(len(packed), d, self.bits)
        codes = bits @ (1 << np.arange(self.bits - 1, -1, -1))
        tokens = self.centroids[nearest] + self.values[codes]
        return tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
