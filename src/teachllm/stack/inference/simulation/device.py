"""The machines of the simulation: what they could do, and how much of it real steps reach."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or one CPU. ValueError names everything that is out of range.

    peak: operations a second; bandwidth: bytes a second from memory; memory: bytes. All as the maker states.
    compute_share, bandwidth_share: how much of the first two a step of a model reaches.
    overlap: how much of the shorter of arithmetic and traffic hides behind the longer: 1 is the roofline,
    with 0 one waits for the other. overhead: seconds of a step that do not grow with its work.
    tile: rows of a matrix that are computed together; a step pays for whole tiles of tokens.
    link: bytes a second to a neighbour, one way.
    """

    name: str
    peak: float
    bandwidth: float
    memory: float
    link: float = math.inf
    overhead: float = 0.0
    compute_share: float = 1.0
    bandwidth_share: float = 1.0
    overlap: float = 1.0
    tile: int = 1

    def __post_init__(self) -> None:
        problems = [
            f"{field} is {getattr(self, field)}; it must be above 0"
            for field in ("peak", "bandwidth", "memory", "link", "compute_share", "bandwidth_share")
            if not getattr(self, field) > 0
        ]
        if not 0 <= self.overhead < math.inf:
            problems.append(f"overhead is {self.overhead}; it must be finite and not negative")
        if not 0 <= self.overlap <= 1:
            problems.append(f"overlap is {self.overlap}; it must be from 0 to 1")
        if self.tile < 1:
            problems.append(f"tile is {self.tile}; it must be at least 1")
        if problems:
            raise ValueError(f"this is no device: {'; '.join(problems)}")

    @property
    def reached_peak(self) -> float:
        """Operations a second in a step."""
        return self.peak * self.compute_share

    def seconds(self, arithmetic: float, traffic: float) -> float:
        """What takes so many seconds to compute and so many to read: max + (1 − overlap) · min."""
        if arithmetic < traffic:
            return traffic + (1 - self.overlap) * arithmetic
        return arithmetic + (1 - self.overlap) * traffic

    @property
    def reached_bandwidth(self) -> float:
        """Bytes a second in a step."""
        return self.bandwidth * self.bandwidth_share

    def rows(self, tokens: int) -> int:
        """Rows that the matrices are multiplied with for so many tokens: whole tiles."""
        return -(-tokens // self.tile) * self.tile
