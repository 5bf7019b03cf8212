"""Scalar quantization: each number as one byte, between the least and the largest of its dimension.

A step is Δ = (largest − least) / 255; rounding to the nearest makes an error with variance Δ²/12 if numbers
are spread evenly within a step. Numbers beyond the range that was seen in training become its nearest end.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

STEPS = 255


class ScalarQuantizer:
    """A range a dimension, learned from a sample."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.least: Float32[np.ndarray, " d"] | None = None
        self.step: Float32[np.ndarray, " d"] | None = None

    def train(self, vectors: Float32[np.ndarray, "n d"]) -> None:
        if not len(vectors):
            raise ValueError("a scalar quantizer needs at least one vector to train on")
        self.least = vectors.min(0)
        self.step = (vectors.max(0) - self.least) / np.float32(STEPS)

    def encode(self, vectors: Float32[np.ndarray, "n d"]) -> UInt8[np.ndarray, "n d"]:
        least, step = self.ranges()
        steps = (vectors - least) / np.where(step > 0, step, 1)
        return np.clip(np.rint(steps), 0, STEPS).astype(np.uint8)

    def decode(self, codes: UInt8[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        least, step = self.ranges()
        return codes * step + least

    def ranges(self) -> tuple[Float32[np.ndarray, " d"], Float32[np.ndarray, " d"]]:
        """The least number and the step of each dimension."""
        if self.least is None or self.step is None:
            raise ValueError("the ranges must be learned first: call train")
        return self.least, self.step
