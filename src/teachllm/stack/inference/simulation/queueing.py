"""Waiting lines that can be computed by hand: the first token where all prompts are alike.

Prompts of equal length take equal time, arrivals are Poisson, one server: the queue M/D/1. Its mean wait is
R D² / (2 (1 − R D)), Pollaczek and Khinchine. DistServe (Zhong et al. 2024, arXiv:2401.09670), section 3.1.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

Parallelism: TypeAlias = Literal["none", "tensor", "pipeline"]


def mean_ttft(rate: float, seconds: float, parallelism: Parallelism = "none", speedup: float = 2.0) -> float:
    """Mean time to the first token, waiting and prefill: infinite from the rate on that cannot be served.

    rate: R, requests a second; seconds: D, the prefill on one device. One prompt at a time.
    none: D + R D² / (2 (1 − R D)).
    tensor: two devices share each matrix, and the prefill takes D / K, K = `speedup` in (1, 2].
    pipeline: two devices have half of the layers each. A prompt still takes D, but the next one can follow
    after D / 2: the queue is that of a server that needs D / 2.
    ValueError if a number is out of range.
    """
    if not (rate >= 0 and seconds > 0 and 1 < speedup <= 2):
        raise ValueError(
            f"rate {rate}, {seconds} seconds, speedup {speedup}: the first must not be "
            "negative, the second above 0, the third above 1 and at most 2"
        )
    shorter = {"none": 1, "tensor": speedup, "pipeline": 2}[parallelism]
    service = seconds / shorter
    travel = service if parallelism == "tensor" else seconds
    if rate * service >= 1:
        return math.inf
    return travel + rate * service**2 / (2 * (1 - rate * service))


def crossover_rate(seconds: float, speedup: float) -> float:
    """The rate from which two pipeline stages give first tokens sooner than two tensor-parallel devices.

    Below, the shorter prefill of the latter counts; above, the shorter queue of the former. Infinite if
    `speedup` is 2: then there is no such rate.
    """
    if speedup >= 2:
        return math.inf
    low, high = 0.0, speedup / seconds  # at the upper end, the tensor-parallel queue is infinite
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        tensor = mean_ttft(middle, seconds, "tensor", speedup)
        if mean_ttft(middle, seconds, "pipeline") < tensor:
            high = middle
        else:
            low = middle
    return high
