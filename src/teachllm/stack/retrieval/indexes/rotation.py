"""A rotation before quantization: it changes no distance, and makes the parts of a vector fit a product
quantizer.

A product quantizer cuts a vector into parts and rounds each by itself. It does best when the parts are
independent and vary alike. OPQ learns the rotation that makes its error least: quantize the rotated vectors,
then rotate so that the vectors come as near as possible to what was decoded, and again. Ge et al. 2013,
"Optimized Product Quantization", the non-parametric solution, begun from principal components as in its
parametric one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from teachllm.stack.retrieval.indexes.product_quantizer import ProductQuantizer

SAMPLE = 16384
ITERATIONS = 12


class Rotation:
    """An orthonormal matrix for a product quantizer with `n_parts` parts; None before it was learned."""

    def __init__(self, n_parts: int) -> None:
        self.n_parts = n_parts
        self.matrix: Float32[np.ndarray, "d d"] | None = None

    def fit(self, vectors: Float32[np.ndarray, "n d"]) -> None:
        self.matrix = learn_rotation(vectors, self.n_parts)

    def apply(self, vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        if self.matrix is None:
            raise ValueError("the rotation must be learned first: call train")
        return vectors @ self.matrix


def learn_rotation(
    vectors: Float32[np.ndarray, "n d"], n_parts: int, *, seed: int = 0
) -> Float32[np.ndarray, "d d"]:
    """The matrix R of X R that lets `n_parts` codebooks lose least."""
    if len(vectors) > SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(vectors), SAMPLE, replace=False)
        vectors = vectors[np.sort(chosen)]
    matrix = balanced_components(vectors, n_parts)
    quantizer = ProductQuantizer(vectors.shape[1], n_parts)
    for _ in range(ITERATIONS):
        rotated = vectors @ matrix
        quantizer.train(rotated, seed=seed, n_iterations=4)
        matrix = nearest_rotation(vectors, quantizer.decode(quantizer.encode(rotated)))
    return matrix


def nearest_rotation(
    vectors: Float32[np.ndarray, "n d"], targets: Float32[np.ndarray, "n d"]
) -> Float32[np.ndarray, "d d"]:
    """The rotation R with the least ‖X R − Y‖²: U Vᵀ for Xᵀ Y = U S Vᵀ (orthogonal Procrustes)."""
    u, _, v = np.linalg.svd(vectors.T.astype(np.float64) @ targets)
    return (u @ v).astype(np.float32)


def balanced_components(vectors: Float32[np.ndarray, "n d"], n_parts: int) -> Float32[np.ndarray, "d d"]:
    """Principal components, shared out so that the product of variances is alike in all parts: each goes,
    largest first, to the part with the least product so far that has room.
    """
    centred = vectors - vectors.mean(0)
    variances, components = np.linalg.eigh(centred.T.astype(np.float64) @ centred / len(vectors))
    size = len(variances) // n_parts
    parts: list[list[int]] = [[] for _ in range(n_parts)]
    products = np.zeros(n_parts)
    smallest = max(float(variances.max()) * 1e-12, np.finfo(np.float64).tiny)
    logs = np.log(np.maximum(variances, smallest)) - np.log(smallest)
    for component in range(len(variances) - 1, -1, -1):
        part = min((i for i in range(n_parts) if len(parts[i]) < size), key=lambda i: (products[i], i))
        parts[part].append(component)
        products[part] += logs[component]
    return components[:, [component for part in parts for component in part]].astype(np.float32)
