"""A recipe of an embedding model that learns a second language: one TOML file decides everything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from teachllm.stack.data.typed_tables import read_table_file
from teachllm.stack.retrieval.embedding.across_languages import LanguageTraining

SCRIPTS = {"han": range(0x4E00, 0xA000)}


@dataclass(frozen=True)
class TranslationsRecipe:
    """Which translations. files: JSON Lines, see `read_translations`. script: whose characters the model
    gets. held_out: share of the groups that is kept for measuring. longest: characters of a text in the new
    language that is trained on.
    """

    files: tuple[str, ...]
    script: Literal["han"] = "han"
    held_out: float = 0.05
    longest: int = 400

    def __post_init__(self) -> None:
        if not self.files or not 0 < self.held_out < 1 or self.longest < 1:
            raise ValueError(
                f"files is {list(self.files)}, held_out {self.held_out}, longest {self.longest}; name at "
                "least one file, a share between 0 and 1, and a length above 0"
            )


@dataclass(frozen=True)
class ExpectedLanguage:
    """What a run of the recipe gave: the share of held-out texts whose translation is nearest, before and
    after, on `machine`.
    """

    before: float
    after: float
    minutes: float
    machine: str


@dataclass(frozen=True)
class EmbeddingRecipe:
    """A training run; see `recipes/retrieval/embedding.toml`. teacher: an asset or a folder, which the
    student begins as. about, about_zh: what comes out of it, for people.
    """

    about: str
    about_zh: str
    translations: TranslationsRecipe
    training: LanguageTraining
    teacher: str = "all-minilm-l6-v2"
    expected: ExpectedLanguage | None = None
    seed: int = 0


@dataclass(frozen=True)
class Translation:
    """Two texts that say the same. group: where they are from; what is held out is held out by groups."""

    foreign: str
    known: str
    group: str


def read_recipe(path: Path) -> EmbeddingRecipe:
    """ValueError naming the file and everything that is wrong with it."""
    return read_table_file(EmbeddingRecipe, path, "recipe of an embedding model")


def read_translations(path: Path) -> list[Translation]:
    """A line each: an object with the texts `query`, in the new language, `positive`, in the known one, and
    `group` if others are from the same place. ValueError naming the line that is otherwise.
    """
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ValueError(f"there is no {path}; for the course's own, run first: teachllm corpus") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            one = Translation(row["query"], row["positive"], str(row.get("group", number)))
            if not one.foreign.strip() or not one.known.strip():
                raise ValueError("an empty text")
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ValueError(
                f"{path}:{number}: not an object with the texts query and positive ({problem!r})"
            ) from None
        found.append(one)
    return found


def split_by_group(
    translations: list[Translation], held_out: float
) -> tuple[list[Translation], list[Translation]]:
    """(to train on, held out). A group decides by its hash, so that a block and its sentences are together;
    a held-out text that stands elsewhere too is not held out.
    """
    training: list[Translation] = []
    measured: list[Translation] = []
    for one in translations:
        digest = int.from_bytes(blake2b(one.group.encode(), digest_size=8).digest(), "big")
        (measured if digest < held_out * 2**64 else training).append(one)
    seen = {text for one in training for text in (one.foreign, one.known)}
    return training, [one for one in measured if one.foreign not in seen and one.known not in seen]
