"""A recipe: everything that decides what a pretraining run does, in one TOML file.

A recipe is data, not a program: it can be read, compared, changed by a flag and copied into the folder of its
run. Every problem of a file is reported at once.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from teachllm.stack.data.rows import Packing
from teachllm.stack.data.typed_tables import as_table, read_table, write_toml
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.training.config import TrainingConfig

SPECIAL_TOKENS = ("<|endoftext|>",)
LEAST_VOCABULARY = 256 + len(SPECIAL_TOKENS)


class RecipeError(ValueError):
    """A recipe cannot be used; the message lists everything that is wrong with it."""


@dataclass(frozen=True)
class CorpusShare:
    """A corpus and its part in the mixture.

    name: one that `data.corpus` knows, or a file or folder. weight: share of the batches, against the other
    corpora; by default its share of the tokens. max_epochs: how often it may be seen. max_mb: use only the
    first so many million bytes. text_field: of JSON Lines and Parquet, where the text is.
    """

    name: str
    weight: float | None = None
    max_epochs: float | None = None
    max_mb: float | None = None
    text_field: str = "text"

    def __post_init__(self) -> None:
        given = {"weight": self.weight, "max_epochs": self.max_epochs, "max_mb": self.max_mb}
        _refuse(
            [
                f"{name} is {value}; it must be above 0"
                for name, value in given.items()
                if not _positive(value)
            ]
            + (["name is empty"] if not self.name else [])
        )


@dataclass(frozen=True)
class CleaningStep:
    """A step of `pretraining.cleaning`, and what differs from its usual settings."""

    step: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataRecipe:
    """Which text, how it is cleaned, and into how many different tokens it is cut.

    vocab_size: 257 makes a token of every byte; above that, BPE merges are learned. tokenizer_mb: how many
    million bytes of the cleaned text they are learned from. held_out: share of the documents that is never
    trained on. longest_document: characters; a longer one (a book in one file) is cut at blank lines, so
    that a part of it can be held out.
    """

    corpora: tuple[CorpusShare, ...]
    vocab_size: int
    cleaning: tuple[CleaningStep, ...] = ()
    tokenizer_mb: float = 20.0
    held_out: float = 0.02
    longest_document: int = 50_000

    def __post_init__(self) -> None:
        problems = []
        if not self.corpora:
            problems.append("corpora is empty; name at least one")
        if twice := [name for name, n in Counter(c.name for c in self.corpora).items() if n > 1]:
            problems.append(f"corpora names {', '.join(twice)} more than once")
        if len({corpus.weight is None for corpus in self.corpora}) > 1:
            problems.append("some corpora have a weight and some have none; give one to all or to none")
        if self.vocab_size < LEAST_VOCABULARY:
            problems.append(
                f"vocab_size is {self.vocab_size}; 256 bytes and {len(SPECIAL_TOKENS)} special token need "
                f"at least {LEAST_VOCABULARY}"
            )
        if not 0 < self.held_out < 1:
            problems.append(f"held_out is {self.held_out}; it is a share of the documents, between 0 and 1")
        if not self.tokenizer_mb > 0:
            problems.append(f"tokenizer_mb is {self.tokenizer_mb}; it must be above 0")
        if self.longest_document < 1:
            problems.append(f"longest_document is {self.longest_document}; it must be at least 1")
        _refuse(problems)


@dataclass(frozen=True)
class ModelRecipe:
    """Sizes of a Llama; its vocabulary is the tokenizer's, its context the length of a row.

    n_kv_heads: by default n_heads. head_dim: by default d_model / n_heads. hidden: width of the feed-forward
    layer; by default 8/3 of d_model, which gives its three matrices the weight of two that are 4 times as
    wide (Shazeer 2020, arXiv:2002.05202), rounded up to a multiple of 32.
    """

    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int | None = None
    head_dim: int | None = None
    hidden: int | None = None
    tied_head: bool = True
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.n_heads > 0 and self.head_dim is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model = {self.d_model} is no multiple of n_heads = {self.n_heads}; change one, "
                "or give head_dim"
            )
        self.config(vocab_size=LEAST_VOCABULARY, context_length=1)

    def config(self, vocab_size: int, context_length: int) -> LlamaConfig:
        """The model's own config. ValueError for sizes that do not fit together."""
        return LlamaConfig(
            vocab_size=vocab_size,
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_heads if self.n_kv_heads is None else self.n_kv_heads,
            head_dim=self.d_model // max(1, self.n_heads) if self.head_dim is None else self.head_dim,
            hidden=-(-self.d_model * 8 // 3 // 32) * 32 if self.hidden is None else self.hidden,
            context_length=context_length,
            rope_base=self.rope_base,
            norm_eps=self.norm_eps,
            tied_head=self.tied_head,
        )


@dataclass(frozen=True)
class BatchRecipe:
    """What a step sees: `rows` rows of `length` tokens, all processes together. packing: see `data.rows`."""

    rows: int
    length: int
    packing: Packing = "cut"

    def __post_init__(self) -> None:
        _refuse(
            [
                f"{name} is {getattr(self, name)}; it must be at least 1"
                for name in ("rows", "length")
                if getattr(self, name) < 1
            ]
        )


@dataclass(frozen=True)
class EvaluationRecipe:
    """Held-out text is measured every `eval_every` steps (0: only at the end) on `eval_tokens` of it, and at
    the end on all of it. tasks: what `teachllm eval` and the end of the run also ask.
    """

    eval_every: int = 0
    eval_tokens: int = 100_000
    tasks: tuple[str, ...] = ()
    task_items: int = 200

    def __post_init__(self) -> None:
        least = {"eval_every": 0, "eval_tokens": 1, "task_items": 1}
        _refuse(
            [
                f"{name} is {getattr(self, name)}; it must be at least {smallest}"
                for name, smallest in least.items()
                if getattr(self, name) < smallest
            ]
        )


@dataclass(frozen=True)
class SampleRecipe:
    """What the model is asked to continue every `sample_every` steps (0: only at the end).

    temperature: 0 always takes the most probable token.
    """

    prompts: tuple[str, ...] = ()
    sample_every: int = 0
    max_tokens: int = 60
    temperature: float = 0.8
    top_p: float | None = 0.95

    def __post_init__(self) -> None:
        problems = []
        if self.sample_every < 0:
            problems.append(f"sample_every is {self.sample_every}; it must be at least 0")
        if self.max_tokens < 1:
            problems.append(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if not 0 <= self.temperature <= 10:
            problems.append(f"temperature is {self.temperature}; it must be 0 to 10")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        _refuse(problems)


@dataclass(frozen=True)
class Expected:
    """What a run of this recipe gave, so that the next one can be compared with it.

    bits_per_byte: of held-out text; within: how far a run may be from it. minutes: on the `machine` named.
    accuracy: of the tasks, by name, at least.
    """

    bits_per_byte: float
    minutes: float
    machine: str
    within: float = 0.05
    accuracy: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A pretraining run; see the files in `recipes/`.

    about, about_zh: what comes out of it, for people. seed: of the first weights and the order of the data.
    """

    name: str
    about: str
    about_zh: str
    data: DataRecipe
    model: ModelRecipe
    batch: BatchRecipe
    training: TrainingConfig
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)
    samples: SampleRecipe = field(default_factory=SampleRecipe)
    expected: Expected | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not self.name or set(self.name) - _NAME_CHARACTERS:
            problems.append(f"name is {self.name!r}; it names a folder: letters, digits, '-', '_' and '.'")
        if self.training.micro_rows > self.batch.rows:
            problems.append(
                f"training.micro_rows = {self.training.micro_rows} is above batch.rows = {self.batch.rows}"
            )
        _refuse(problems)


_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
Section = Literal["data", "model", "batch", "training", "evaluation", "samples"]


def read_recipe(path: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Recipe:
    """The recipe in a TOML file, with `changes` (section → key → value) put over it; section "" is the top.

    Raises `RecipeError`, which names the file and everything that is wrong with it.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe {path}{_recipes_beside(path)}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise RecipeError(f"{path} is not a TOML file: {problem}") from None
    changes = changes or {}
    for section, values in changes.items():
        if section == "":
            table.update(values)
        elif isinstance(inner := table.setdefault(section, {}), dict):
            inner.update(values)
    return recipe_from_table(table, str(path))


def recipe_from_table(table: Mapping[str, Any], where: str) -> Recipe:
    """The recipe in a parsed table. Raises `RecipeError`; `where` names the table in its message."""
    recipe, problems = read_table(Recipe, table)
    if recipe is None or problems:
        raise RecipeError(f"{where} is no recipe:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return recipe


def recipe_text(recipe: Recipe) -> str:
    """TOML that `read_recipe` reads back as an equal recipe."""
    return write_toml(as_table(recipe))


def _recipes_beside(path: Path) -> str:
    near = sorted(found.name for found in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    return f"; in {path.parent} there are: {', '.join(near)}" if near else ""


def _positive(value: float | None) -> bool:
    return value is None or value > 0


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))
