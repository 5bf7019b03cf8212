"""The sizes of an engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """ValueError names everything that is out of range.

    max_batch_tokens: what one step computes at most, of all requests together. More is better for throughput,
    less for whoever waits for the next token while a long prompt is read.
    max_running: texts that hold memory at the same time.
    n_blocks: of `block_size` tokens. memory_share: instead of it, how much of the memory where the model lies
    may be in use when the blocks are there, above 0 and at most 1. With neither, the blocks take 512 MiB.
    ageing_steps: whoever has waited this many steps counts as one level of priority higher.
    batch_invariant: a text gets the same numbers, bit for bit, whatever else is in the batch: with a seed,
    the same words also in bfloat16. Some steps then cost more (see `row_counts`).
    """

    # region: sizes
    max_batch_tokens: int = 512
    max_running: int = 256
    block_size: int = 16
    n_blocks: int | None = None
    memory_share: float | None = None
    prefix_caching: bool = True
    ageing_steps: int = 256
    batch_invariant: bool = False
    # endregion: sizes

    def __post_init__(self) -> None:
        names = ("max_batch_tokens", "max_running", "block_size", "n_blocks", "ageing_steps")
        problems = [
            f"{name} is {value}; it must be at least 1"
            for name in names
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if not problems and self.max_batch_tokens < self.max_running:
            problems.append(
                f"max_batch_tokens is {self.max_batch_tokens}, below max_running = {self.max_running}: "
                "a step could not give every text its next token"
            )
        if self.memory_share is not None and not 0 < self.memory_share <= 1:
            problems.append(f"memory_share is {self.memory_share}; it must be above 0 and at most 1")
        if self.memory_share is not None and self.n_blocks is not None:
            problems.append("n_blocks and memory_share both say how large the cache is: give one of them")
        if problems:
            raise ValueError("this is no engine: " + "; ".join(problems))
