"""Text that a model writes itself, for whatever is to guess that model: no other text is as much its own.

Cai et al. 2024, arXiv:2401.10774, call it self-distillation. There is nothing to download, and no licence of
a data set to ask for.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from teachllm.stack.chat import Message
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Failed, Finished, RequestOptions, TokenOut
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.sampling import Sampling

SHORTEST, LONGEST = 120, 900  # characters of a paragraph that is asked about

TASKS = (
    "Explain the following in simple words.",
    "Summarize the following text in three sentences.",
    "What is the main idea of the following text?",
    "Ask three questions about the following text, and answer them.",
)
FORMS = (
    "Explain in a few sentences what {} is about.",
    "Give me three tips about {}.",
    "Write a short story about {}.",
    "What should a beginner know about {}?",
    "Describe {} to a child.",
    "Write a short email to a friend about {}.",
    "What are the advantages and disadvantages of {}?",
    "How has {} changed over the last hundred years?",
    "Make a short list of facts about {}.",
    "Write a short poem about {}.",
)
TOPICS = (
    "baking bread", "the water cycle", "learning a language", "volcanoes", "public libraries",
    "cycling to work",
    "photosynthesis", "the moon", "saving money", "a small garden", "how computers store numbers", "bridges",
    "the Roman Empire", "healthy sleep", "chess", "recycling", "train travel", "the human heart",
    "weather reports", "writing clear code", "sorting a list", "electric cars", "bees", "earthquakes",
    "cooking for a family", "the history of paper", "swimming", "job interviews", "black holes", "coffee",
    "city parks", "vaccines",
    "making friends in a new town", "probability", "sailing", "keeping a diary", "wind power",
    "antibiotics",
    "museums", "mountain hiking", "the alphabet", "drawing", "time zones", "the stock market", "dogs", "rice",
    "jazz", "fractions", "glaciers", "cheese", "reading aloud", "the printing press", "solar panels",
    "hash tables", "the immune system", "camping", "maps", "tea", "lenses", "public speaking",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answered:
    """Token ids of a prompt and of what the model wrote behind it. n_prompt: how many are the prompt's."""

    tokens: tuple[int, ...]
    n_prompt: int

    @property
    def n_written(self) -> int:
        return len(self.tokens) - self.n_prompt


def everyday_questions() -> list[str]:
    """Every form of question about every topic."""
    return [form.format(topic) for form, topic in itertools.product(FORMS, TOPICS)]


def questions_about(texts: Iterable[str]) -> list[str]:
    """Tasks about paragraphs of prose in `texts`, in turn. What holds formulas, code, tables or directives is
    no prose.
    """
    paragraphs = [
        paragraph
        for text in texts
        for paragraph in re.split(r"\n\s*\n", text)
        if SHORTEST <= len(paragraph) <= LONGEST and not re.search(r"[`${}|#]|:::|^[-*\d]", paragraph)
    ]
    return [f"{task}\n\n{text}" for task, text in zip(itertools.cycle(TASKS), paragraphs, strict=False)]


def encoded_prompts(language_model: LanguageModel, prompts: Sequence[str], seed: int) -> list[list[int]]:
    """Ids of `prompts` in an order that `seed` draws, each as a question in a conversation if the model holds
    conversations.
    """
    order = random.Random(seed).sample(list(prompts), len(prompts))
    if language_model.template is None:
        return [language_model.encode_text(prompt) for prompt in order]
    return [language_model.encode_chat([Message("user", prompt)]) for prompt in order]


def write_answers(
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    n_tokens: int,
    max_tokens: int,
    temperature: float,
    seed: int,
    at_once: int = 32,
) -> Iterator[Answered]:
    """Answers, as they end, until `n_tokens` are written or every prompt is answered. `at_once` run together.

    What is not finished when enough is written is left out. ValueError if a prompt cannot be answered.
    """
    engine = Engine(language_model, EngineConfig(max_running=at_once, prefix_caching=False))
    written: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        options = RequestOptions(Sampling(temperature=temperature, seed=seed + i), max_tokens=max_tokens)
        written[engine.add(prompt, options, request_id=str(i))] = []
    total = 0
    while engine.has_work and total < n_tokens:
        for output in engine.step():
            match output:
                case TokenOut():
                    written[output.request].append(output.token)
                case Failed():
                    raise ValueError(f"a prompt could not be answered: {output.message}")
                case Finished():
                    answer = written.pop(output.request)
                    prompt = prompts[int(output.request)]
                    total += len(answer)
                    yield Answered((*prompt, *answer), len(prompt))
