"""The machines of the simulation: what they could do, and how much of it real steps reach."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or one CPU. ValueError names everything that is out of range.

    peak: operations a second; bandwidth: bytes a second from memory; memory: bytes. All as the maker states.
    compute_share, bandwidth_share: how much of the first two a step of a model reaches.
    link: bytes a second to a neighbour, one way. overhead: seconds of a step that do not grow with its work.
    """

    name: str
    peak: float
    bandwidth: float
    memory: float
    link: float = math.inf
    overhead: float = 0.0
    compute_share: float = 1.0
    bandwidth_share: float = 1.0

    def __post_init__(self) -> None:
        problems = [
            f"{field} is {getattr(self, field)}; it must be above 0"
            for field in ("peak", "bandwidth", "memory", "link", "compute_share", "bandwidth_share")
            if not getattr(self, field) > 0
        ]
        if not 0 <= self.overhead < math.inf:
            problems.append(f"overhead is {self.overhead}; it must be finite and not negative")
        if problems:
            raise ValueError(f"this is no device: {'; '.join(problems)}")

    @property
    def reached_peak(self) -> float:
        """Operations a second in a step."""
        return self.peak * self.compute_share

    @property
    def reached_bandwidth(self) -> float:
        """Bytes a second in a step."""
        return self.bandwidth * self.bandwidth_share
