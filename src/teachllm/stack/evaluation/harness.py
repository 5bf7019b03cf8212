"""A model on a task: scores with their standard errors, and what happened at each item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from teachllm.stack.evaluation.likelihood import (
    Progress,
    begin_token,
    encode_pair,
    likelihoods,
    scoring,
    windows,
)
from teachllm.stack.evaluation.tasks import ChoiceTask, GenerationTask, PerplexityTask, Task
from teachllm.stack.inference.generation import ContextFull, generate
from teachllm.stack.inference.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over `n` items, and its standard error: None where there is none (one item, perplexity)."""

    value: float
    standard_error: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item: what was put to the model, what it chose or wrote, what is right."""

    prompt: str
    given: str
    expected: str
    correct: bool


@dataclass(frozen=True)
class Result:
    """scores by metric: accuracy, accuracy_by_character, or perplexity, bits_per_token, bits_per_byte."""

    task: str
    scores: dict[str, Score]
    outcomes: tuple[Outcome, ...]


def evaluate(
    language_model: LanguageModel,
    task: Task,
    *,
    limit: int | None = None,
    on_progress: Progress | None = None,
) -> Result:
    """The scores of a model on the first `limit` items of a task, or on all.

    ValueError if the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; at least one item must be asked")
    report = on_progress or (lambda done, total: None)
    if isinstance(task, ChoiceTask):
        return _choice(language_model, task, limit, report)
    if isinstance(task, PerplexityTask):
        return _perplexity(language_model, task, limit, report)
    return _generation(language_model, task, limit, report)


def _choice(language_model: LanguageModel, task: ChoiceTask, limit: int | None, report: Progress) -> Result:
    """The choice that is most probable after the context, as a whole and for each of its characters.

    A longer answer has more factors below 1, so the sum favours short ones; dividing by the number of
    characters takes that away, whatever the tokenizer.
    """
    items = task.items[:limit]
    pairs = [encode_pair(language_model, item.context, choice) for item in items for choice in item.choices]
    found = iter(likelihoods(scoring(language_model), pairs, report))
    outcomes, whole, by_character = [], [], []
    for item in items:
        logprobs = [next(found).logprob for _ in item.choices]
        chosen = first_largest(logprobs)
        # A choice is scored with the space before it, but its length is that of its words, as lm-eval counts.
        lengths = [max(len(choice.strip()), 1) for choice in item.choices]
        per_character = [logprob / n for logprob, n in zip(logprobs, lengths, strict=True)]
        whole.append(chosen == item.answer)
        by_character.append(first_largest(per_character) == item.answer)
        outcomes.append(
            Outcome(item.context, item.choices[chosen], item.choices[item.answer], chosen == item.answer)
        )
    return Result(
        task.name,
        {"accuracy": share(whole), "accuracy_by_character": share(by_character)},
        tuple(outcomes),
    )


def _perplexity(
    language_model: LanguageModel, task: PerplexityTask, limit: int | None, report: Progress
) -> Result:
    """exp(mean loss of a token), and the loss in bits of a token and of a byte; all texts weigh by length."""
    texts = task.items[:limit]
    ids = [language_model.tokenizer.encode(text) for text in texts]
    length = language_model.model.config.context_length
    begin = begin_token(language_model)
    pairs = [pair for one in ids for pair in windows(one, begin, length)]
    nats = -sum(found.logprob for found in likelihoods(scoring(language_model), pairs, report))
    n_tokens, n_bytes = sum(map(len, ids)), sum(len(text.encode()) for text in texts)
    scores = {
        "perplexity": math.exp(nats / n_tokens),
        "bits_per_token": nats / math.log(2) / n_tokens,
        "bits_per_byte": nats / math.log(2) / n_bytes,
    }
    return Result(task.name, {name: Score(value, None, len(texts)) for name, value in scores.items()}, ())


def _generation(
    language_model: LanguageModel, task: GenerationTask, limit: int | None, report: Progress
) -> Result:
    items, outcomes = task.items[:limit], []
    for number, item in enumerate(items, 1):
        written = write(language_model, item.prompt, max_tokens=task.max_tokens, stop=task.stop)
        outcomes.append(Outcome(item.prompt, written, item.answer, task.verify(written, item.answer)))
        report(number, len(items))
    return Result(task.name, {"accuracy": share([one.correct for one in outcomes])}, tuple(outcomes))


def write(language_model: LanguageModel, prompt: str, *, max_tokens: int, stop: Sequence[str]) -> str:
    """What the model writes after `prompt`, greedily; a prompt that is too long loses its beginning."""
    ids = language_model.encode_text(prompt) or [begin_token(language_model)]
    room = language_model.model.config.context_length - max_tokens
    if room < 1:
        raise ContextFull(
            f"{max_tokens} tokens are to be written, but the model reads {room + max_tokens} in all; "
            "lower max_tokens"
        )
    events = generate(
        language_model.model,
        language_model.tokenizer,
        ids[-room:],
        max_tokens=max_tokens,
        end_tokens=language_model.end_tokens,
        stop_strings=stop,
    )
    return "".join(event.text for event in events)


def share(correct: Sequence[bool]) -> Score:
    """Mean of zeros and ones; its standard error is √(p (1 - p) / (n - 1))."""
    n, p = len(correct), fmean(correct)
    return Score(p, math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else None, n)


def first_largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
