"""What a model of a run can do: held-out text in bits per byte, tasks, and what it writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch

from teachllm.stack.data.catalogue import as_tasks
from teachllm.stack.data.loader import Batch, one_pass
from teachllm.stack.data.rows import PackedRows
from teachllm.stack.data.shards import TokenShards
from teachllm.stack.data.tasks import tasks as tasks_without_end
from teachllm.stack.data.tasks import verify
from teachllm.stack.evaluation.harness import evaluate as evaluate_task
from teachllm.stack.evaluation.tasks import load_task
from teachllm.stack.inference.generation import CausalModel, generate
from teachllm.stack.inference.language_model import LanguageModel, load_language_model
from teachllm.stack.inference.sampling import Sampling
from teachllm.stack.models.llama import Llama
from teachllm.stack.pretraining.events import Comparison, Evaluated, Event, Sampled, TaskScored
from teachllm.stack.pretraining.prepare import PreparedData
from teachllm.stack.pretraining.recipe import SPECIAL_TOKENS, Recipe
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training.evaluation import Evaluation, evaluate, token_byte_lengths
from teachllm.stack.training.objective import NextTokenLoss


def held_out_score(objective: NextTokenLoss, data: PreparedData, recipe: Recipe) -> Evaluation:
    """What the held-out text costs, the same first `eval_tokens` of it every time."""
    return evaluate(objective, held_out_batches(data, recipe), token_byte_lengths(data.tokenizer))


def held_out_batches(data: PreparedData, recipe: Recipe) -> Iterator[Batch]:
    """Rows of the held-out documents of all corpora, in equal parts where there is enough of each.

    They are packed as in training: a model that never saw a torn document is not asked about one.
    """
    rows, length = recipe.training.micro_rows, recipe.batch.length
    once = one_pass if recipe.batch.packing == "cut" else packed_pass
    for shards in data.held_out.values():
        wanted = recipe.evaluation.eval_tokens / len(data.held_out)
        yield from islice(once(shards, rows, length), max(1, round(wanted / (rows * length))))


def packed_pass(shards: TokenShards, rows: int, length: int) -> Iterator[Batch]:
    """Every token of a corpus as a target once, in rows of whole documents; the last batch may be smaller."""
    packed = PackedRows(shards, length)
    for first in range(0, len(packed), rows):
        shape = (min(rows, len(packed) - first), length)
        tokens, targets, document_ids = (np.empty(shape, dtype=np.int64) for _ in range(3))
        for row in range(shape[0]):
            packed.read(first + row, 0, tokens[row], targets[row], document_ids[row])
        yield Batch(*map(torch.from_numpy, (tokens, targets, document_ids)))


def samples(objective: NextTokenLoss, tokenizer: Tokenizer, recipe: Recipe, step: int) -> Iterator[Sampled]:
    """How the model that is being trained continues the prompts, in the numbers that it is trained in."""
    model = cast(Llama, objective.model)
    model.eval()
    with objective.weights.in_use():
        texts = [_continue(model, tokenizer, prompt, recipe, step) for prompt in recipe.samples.prompts]
    model.train()
    for prompt, text in zip(recipe.samples.prompts, texts, strict=True):
        yield Sampled(step, prompt, text)


def _continue(model: CausalModel, tokenizer: Tokenizer, prompt: str, recipe: Recipe, step: int) -> str:
    """A document that begins with `prompt`: behind the token that opens every document."""
    ids = [tokenizer.special_tokens[SPECIAL_TOKENS[0]], *tokenizer.encode(prompt)]
    wanted = recipe.samples
    sampling = Sampling(temperature=wanted.temperature, top_p=wanted.top_p, seed=recipe.seed + step)
    events = generate(
        model,
        tokenizer,
        ids,
        sampling=sampling,
        max_tokens=wanted.max_tokens,
        end_tokens=tokenizer.special_tokens.values(),
    )
    return "".join(event.text for event in events)


def final_measures(
    model_folder: Path, recipe: Recipe, data: PreparedData, tasks: Sequence[str] | None = None
) -> Iterator[Event]:
    """The exported model on held-out text, on tasks, and what it writes. tasks: by default the recipe's.

    ValueError for a task that there is not.
    """
    loaded = load_language_model(model_folder, dtype=torch.float32)
    step = recipe.training.steps
    objective = NextTokenLoss(loaded.model, within_documents=recipe.training.within_documents)  # pyright: ignore
    score = held_out_score(objective, data, recipe)
    yield Evaluated(step, score.bits_per_byte, score.perplexity, score.n_tokens, is_final=True)
    for name in recipe.evaluation.tasks if tasks is None else tasks:
        if (kind_and_difficulty := as_tasks(name)) is not None:
            items = recipe.evaluation.task_items
            yield TaskScored(step, name, "accuracy", solved_share(loaded, *kind_and_difficulty, items), items)
            continue
        result = evaluate_task(loaded, load_task(name), limit=recipe.evaluation.task_items)
        metric = "accuracy" if "accuracy" in result.scores else "bits_per_byte"
        task_score = result.scores[metric]
        yield TaskScored(step, name, metric, task_score.value, task_score.n)
    yield from samples(objective, data.tokenizer, recipe, step)


def solved_share(loaded: LanguageModel, kind: str, difficulty: int, n: int) -> float:
    """The share of `n` tasks of the test split whose answer is right, each solved greedily to its end."""
    solved = 0
    for task in islice(tasks_without_end(kind, difficulty, seed=0, split="test"), n):
        ids = [
            loaded.tokenizer.special_tokens[SPECIAL_TOKENS[0]],
            *loaded.tokenizer.encode(f"{task.prompt}\n"),
        ]
        events = generate(loaded.model, loaded.tokenizer, ids, end_tokens=loaded.end_tokens)
        solved += verify(task, "".join(event.text for event in events))
    return solved / n


def compare(
    recipe: Recipe, scores: Sequence[Evaluated | TaskScored], minutes: float
) -> tuple[Comparison, ...]:
    """What the recipe promises beside what came out; empty without a promise."""
    expected = recipe.expected
    if expected is None:
        return ()
    found = next(score.bits_per_byte for score in scores if isinstance(score, Evaluated))
    accuracies = {score.task: score.value for score in scores if isinstance(score, TaskScored)}
    rows = [
        Comparison(
            "bits_per_byte",
            f"{expected.bits_per_byte:.3f} ± {expected.within}",
            f"{found:.3f}",
            found <= expected.bits_per_byte + expected.within,
        ),
        Comparison(
            "minutes",
            f"{expected.minutes:.1f} ({expected.machine})",
            f"{minutes:.1f}",
            minutes <= 1.5 * expected.minutes,
        ),
    ]
    for task, least in expected.accuracy.items():
        reached = accuracies.get(task)
        words = "—" if reached is None else f"{reached:.1%}"
        rows.append(Comparison(task, f"≥ {least:.1%}", words, reached is not None and reached >= least))
    return tuple(rows)
