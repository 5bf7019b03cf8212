"""Which of many centroids is nearest to each point: the inner loop of k-means and of encoding.

‖x − c‖² is least where x·c − ½‖c‖² is largest. Centroids lie with their coordinates apart: 64 first
coordinates, 64 second ones, …, so 64 inner products grow side by side in four vectors and need no adding up
at the end. Four points share what is read of the centroids. Oracle: `kmeans.nearest_centroids_readable`.
"""
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false, reportGeneralTypeIssues=false

from __future__ import annotations

import numba
import numpy as np

from teachllm.stack.nn.fast.threads import INNER
from teachllm.stack.nn.fast.vectors import (
    all_floats,
    all_integers,
    load_float,
    load_floats,
    multiply_add,
    store_floats,
)
from teachllm.stack.retrieval.indexes.fast.distances import distance_of, number_of, offer
from teachllm.stack.retrieval.indexes.fast.vector_operations import (
    any_larger,
    larger,
    place_of_larger,
    store_integers,
)
from teachllm.stack.tokenizer.fast.compiled import compiled

BLOCK = 64  # centroids side by side


@numba.njit(forceinline=True, _nrt=False, **INNER)
def best_of(best, place, a, b, c, d, first):  # type: ignore[no-untyped-def]
    """The best of each lane so far and four more vectors, whose centroids begin at `first`."""
    place = place_of_larger(best, a, place, first)
    best = larger(best, a)
    place = place_of_larger(best, b, place, first + np.int32(16))
    best = larger(best, b)
    place = place_of_larger(best, c, place, first + np.int32(32))
    best = larger(best, c)
    place = place_of_larger(best, d, place, first + np.int32(48))
    return larger(best, d), place


@numba.njit(forceinline=True, _nrt=False, **INNER)
def write_best(best, place, lane_scores, lane_places, point, nearest):  # type: ignore[no-untyped-def]
    store_floats(lane_scores.ctypes.data, best)
    store_integers(lane_places.ctypes.data, place)
    k = 0
    for lane in range(1, 16):
        if lane_scores[lane] > lane_scores[k] or (
            lane_scores[lane] == lane_scores[k] and lane_places[lane] < lane_places[k]
        ):
            k = lane
    nearest[point] = lane_places[k]


@numba.njit(forceinline=True, _nrt=False, **INNER)
def scores_of_block(p, q, r, s, d, at, bias):  # type: ignore[no-untyped-def]
    """Of four points with 64 centroids: four vectors a point."""
    p0 = q0 = r0 = s0 = load_floats(bias)
    p1 = q1 = r1 = s1 = load_floats(bias + 64)
    p2 = q2 = r2 = s2 = load_floats(bias + 128)
    p3 = q3 = r3 = s3 = load_floats(bias + 192)
    for i in range(0, 4 * d, 4):
        c0, c1 = load_floats(at + 64 * i), load_floats(at + 64 * i + 64)
        c2, c3 = load_floats(at + 64 * i + 128), load_floats(at + 64 * i + 192)
        x = all_floats(load_float(p + i))
        p0, p1 = multiply_add(c0, x, p0), multiply_add(c1, x, p1)
        p2, p3 = multiply_add(c2, x, p2), multiply_add(c3, x, p3)
        x = all_floats(load_float(q + i))
        q0, q1 = multiply_add(c0, x, q0), multiply_add(c1, x, q1)
        q2, q3 = multiply_add(c2, x, q2), multiply_add(c3, x, q3)
        x = all_floats(load_float(r + i))
        r0, r1 = multiply_add(c0, x, r0), multiply_add(c1, x, r1)
        r2, r3 = multiply_add(c2, x, r2), multiply_add(c3, x, r3)
        x = all_floats(load_float(s + i))
        s0, s1 = multiply_add(c0, x, s0), multiply_add(c1, x, s1)
        s2, s3 = multiply_add(c2, x, s2), multiply_add(c3, x, s3)
    return p0, p1, p2, p3, q0, q1, q2, q3, r0, r1, r2, r3, s0, s1, s2, s3


@compiled
def assign(points, n_points, stride, d, centroids, biases, n_blocks, lane_scores, lane_places, nearest):  # type: ignore[no-untyped-def]
    """nearest[i] = argmax_c x_i·c + bias_c, the first of equals.

    points: the address of n_points rows, `stride` bytes apart. centroids: the address of [n_blocks][d][64]
    float32; biases: of [n_blocks][64]. lane_scores, lane_places: room for 16 numbers each.
    """
    for point in range(0, n_points, 4):
        p = points + point * stride
        q = points + min(point + 1, n_points - 1) * stride
        r = points + min(point + 2, n_points - 1) * stride
        s = points + min(point + 3, n_points - 1) * stride
        best_p = best_q = best_r = best_s = all_floats(np.float32(-np.inf))
        place_p = place_q = place_r = place_s = all_integers(np.int32(0))
        for block in range(n_blocks):
            p0, p1, p2, p3, q0, q1, q2, q3, r0, r1, r2, r3, s0, s1, s2, s3 = scores_of_block(
                p, q, r, s, d, centroids + block * d * 256, biases + block * 256
            )
            first = np.int32(block * BLOCK)
            best_p, place_p = best_of(best_p, place_p, p0, p1, p2, p3, first)
            best_q, place_q = best_of(best_q, place_q, q0, q1, q2, q3, first)
            best_r, place_r = best_of(best_r, place_r, r0, r1, r2, r3, first)
            best_s, place_s = best_of(best_s, place_s, s0, s1, s2, s3, first)
        write_best(best_p, place_p, lane_scores, lane_places, point, nearest)
        if point + 1 < n_points:
            write_best(best_q, place_q, lane_scores, lane_places, point + 1, nearest)
        if point + 2 < n_points:
            write_best(best_r, place_r, lane_scores, lane_places, point + 2, nearest)
        if point + 3 < n_points:
            write_best(best_s, place_s, lane_scores, lane_places, point + 3, nearest)


@numba.njit(forceinline=True, _nrt=False, **INNER)
def offer_block(a, b, c, d, first, pools, sizes, worst, point, lane_scores):  # type: ignore[no-untyped-def]
    """Put those of 64 scores into a point's pool that are larger than its smallest. Few are, so whole vectors
    are passed over at once.
    """
    limit, pool = pools.shape[1], pools[point]
    for part in range(4):
        scores = a if part == 0 else b if part == 1 else c if part == 2 else d
        if any_larger(scores, worst[point]):
            store_floats(lane_scores.ctypes.data, scores)
            for lane in range(16):
                if lane_scores[lane] > worst[point]:
                    sizes[point] = offer(
                        pool, sizes[point], limit, -lane_scores[lane], first + 16 * part + lane
                    )
                    if sizes[point] == limit:
                        worst[point] = -distance_of(pool[limit - 1])


@compiled
def assign_to_few(points, n_points, stride, d, centroids, biases, n_blocks, lane_scores, pools, sizes, worst):  # type: ignore[no-untyped-def]
    """Like `assign`, for as many centroids a point as `pools` has columns: keys of the negative scores.

    sizes begins with 0 and worst with −∞ for each point.
    """
    for point in range(0, n_points, 4):
        p = points + point * stride
        q = points + min(point + 1, n_points - 1) * stride
        r = points + min(point + 2, n_points - 1) * stride
        s = points + min(point + 3, n_points - 1) * stride
        for block in range(n_blocks):
            p0, p1, p2, p3, q0, q1, q2, q3, r0, r1, r2, r3, s0, s1, s2, s3 = scores_of_block(
                p, q, r, s, d, centroids + block * d * 256, biases + block * 256
            )
            first = block * BLOCK
            offer_block(p0, p1, p2, p3, first, pools, sizes, worst, point, lane_scores)
            if point + 1 < n_points:
                offer_block(q0, q1, q2, q3, first, pools, sizes, worst, point + 1, lane_scores)
            if point + 2 < n_points:
                offer_block(r0, r1, r2, r3, first, pools, sizes, worst, point + 2, lane_scores)
            if point + 3 < n_points:
                offer_block(s0, s1, s2, s3, first, pools, sizes, worst, point + 3, lane_scores)


@compiled
def read_pools(pools, numbers, scores):  # type: ignore[no-untyped-def]
    """The numbers and scores of full pools that `assign_to_few` filled, best first."""
    for point in range(len(pools)):
        for i in range(pools.shape[1]):
            numbers[point, i] = number_of(pools[point, i])
            scores[point, i] = -distance_of(pools[point, i])


@compiled
def add_to_means(points, nearest, sums, counts):  # type: ignore[no-untyped-def]
    """sums[nearest[i]] += points[i], counts[nearest[i]] += 1."""
    for i in range(len(nearest)):
        centroid = nearest[i]
        counts[centroid] += 1
        for j in range(sums.shape[1]):
            sums[centroid, j] += points[i, j]
