"""A recipe of a cross-encoder: everything that decides what its training does, in one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from teachllm.stack.data.typed_tables import read_table_file
from teachllm.stack.retrieval.rerankers.training import CrossEncoderTraining


@dataclass(frozen=True)
class PairsRecipe:
    """Which queries and passages. corpora: what `pairs_of` reads. held_out: share of the passages whose
    queries are kept for measuring. longest_passage: characters; the rest of a passage is left out everywhere.
    """

    corpora: tuple[str, ...]
    held_out: float = 0.1
    longest_passage: int = 2000

    def __post_init__(self) -> None:
        if not self.corpora or not 0 < self.held_out < 1 or self.longest_passage < 1:
            raise ValueError(
                f"corpora is {list(self.corpora)}, held_out {self.held_out}, longest_passage "
                f"{self.longest_passage}; name at least one corpus, a share between 0 and 1, and at least "
                "one character"
            )


@dataclass(frozen=True)
class MiningRecipe:
    """Where negatives come from: of the passages that the starting model ranks first to `depth`, without
    the first `skipped` and those above `max_share` of the answer's score.
    """

    depth: int = 30
    skipped: int = 0
    max_share: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.skipped < self.depth or not self.max_share > 0:
            raise ValueError(
                f"depth is {self.depth}, skipped {self.skipped}, max_share {self.max_share}; skip fewer than "
                "the depth, and give a share above 0"
            )


@dataclass(frozen=True)
class MeasuringRecipe:
    """At most `queries` held-out queries are asked; the first `depth` hits of each are read again."""

    queries: int = 200
    depth: int = 20

    def __post_init__(self) -> None:
        if self.queries < 1 or self.depth < 1:
            raise ValueError(f"queries is {self.queries}, depth {self.depth}; both must be at least 1")


@dataclass(frozen=True)
class ExpectedGain:
    """What a run of the recipe gave: nDCG@10 of the held-out queries before and after, on `machine`."""

    before: float
    after: float
    minutes: float
    machine: str


@dataclass(frozen=True)
class CrossEncoderRecipe:
    """A training run of a cross-encoder; see the files in `recipes/retrieval/`.

    start: an asset or a folder with a BERT that embeds; it also finds the negatives. max_tokens: of query
    and passage together. about, about_zh: what comes out of it, for people.
    """

    about: str
    about_zh: str
    pairs: PairsRecipe
    training: CrossEncoderTraining
    start: str = "all-minilm-l6-v2"
    max_tokens: int = 160
    mining: MiningRecipe = field(default_factory=MiningRecipe)
    measuring: MeasuringRecipe = field(default_factory=MeasuringRecipe)
    expected: ExpectedGain | None = None
    seed: int = 0


def read_recipe(path: Path) -> CrossEncoderRecipe:
    """ValueError naming the file and everything that is wrong with it."""
    return read_table_file(CrossEncoderRecipe, path, "recipe of a cross-encoder")
