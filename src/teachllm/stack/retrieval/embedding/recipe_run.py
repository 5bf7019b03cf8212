"""A recipe of an embedding model, carried out: vocabulary, distillation, and what it gained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from teachllm.stack.retrieval.embedding.across_languages import learn_language
from teachllm.stack.retrieval.embedding.loading import load_embedding_model
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.retrieval.embedding.recipe import (
    SCRIPTS,
    EmbeddingRecipe,
    Translation,
    read_translations,
    split_by_group,
)
from teachllm.stack.retrieval.embedding.training import EmbeddingStep
from teachllm.stack.retrieval.embedding.vocabulary import with_characters

Told = Callable[["Ready | EmbeddingStep"], object]


@dataclass(frozen=True)
class Ready:
    """What will be trained on."""

    training: int
    held_out: int
    new_pieces: int


@dataclass(frozen=True)
class LanguageGain:
    """The held-out translations. found: the share of new-language texts whose translation is nearest of all,
    by the teacher and by the student. kept: the mean cosine of the student's and the teacher's vectors of
    texts in the known language. seconds: of the whole run.
    """

    texts: int
    found_before: float
    found_after: float
    kept: float
    seconds: float


def run_recipe(
    recipe: EmbeddingRecipe, told: Told = lambda event: None
) -> tuple[EmbeddingModel, LanguageGain]:
    """The student and its gain. ValueError if there are too few translations."""
    begun = time.perf_counter()
    rows = [row for file in recipe.translations.files for row in read_translations(Path(file))]
    training, held_out = split_by_group(rows, recipe.translations.held_out)
    if not held_out:
        raise ValueError(f"{len(rows)} translations are too few: none of their groups is held out")
    training = [row for row in training if len(row.foreign) <= recipe.translations.longest]
    teacher = load_embedding_model(recipe.teacher)
    pairs = [(row.foreign, row.known) for row in training]
    student = with_characters(teacher, pairs, SCRIPTS[recipe.translations.script])
    told(Ready(len(training), len(held_out), student.vocab_size - teacher.vocab_size))
    targets = torch.from_numpy(teacher.embed([row.known for row in training]))
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")  # products in bfloat16 where the processor has them
    try:
        for step in learn_language(student, pairs, targets, recipe.training, recipe.seed):
            told(step)
    finally:
        torch.set_float32_matmul_precision(precision)
    known = [row.known for row in held_out]
    kept = (student.embed(known) * teacher.embed(known)).sum(1).mean()
    return student, LanguageGain(
        len(held_out),
        nearest_share(teacher, held_out),
        nearest_share(student, held_out),
        float(kept),
        time.perf_counter() - begun,
    )


def nearest_share(model: EmbeddingModel, translations: Sequence[Translation]) -> float:
    """Of the new-language texts, how many have their own translation nearest among all of them."""
    foreign = model.embed([row.foreign for row in translations], "query")
    known = model.embed([row.known for row in translations], "passage")
    return float(np.mean((foreign @ known.T).argmax(1) == np.arange(len(translations))))
