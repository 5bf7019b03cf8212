"""Requests while they are answered: by texts that are sampled side by side, or by a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from teachllm.stack.inference.beam_search import BEFORE_FIRST, BeamRules, Beams, is_over, next_beams
from teachllm.stack.inference.engine.request import Finished, RequestOptions, TokenOut
from teachllm.stack.inference.engine.sampler import Choice
from teachllm.stack.inference.engine.scheduler import Job
from teachllm.stack.inference.engine.text import Text, best_texts


@dataclass(eq=False, slots=True, kw_only=True)
class Sampled:
    """`texts`, each drawn by itself. jobs: of those that are not over; one, of index 0, until the prompt is
    read. With `best_of`, what they say is held until all are over.
    """

    id: str
    prompt: list[int]
    options: RequestOptions
    arrived: float
    texts: list[Text]
    jobs: dict[int, Job]
    cached_tokens: int = 0
    held: list[list[TokenOut | Finished]] = field(init=False)

    def __post_init__(self) -> None:
        self.held = [[] for _ in self.texts]

    @property
    def is_streamed(self) -> bool:
        return self.options.best_of is None

    def say(self, output: TokenOut | Finished) -> list[TokenOut | Finished]:
        """What is to be passed on now, given what a text says."""
        if self.is_streamed:
            return [output]
        self.held[output.index].append(output)
        if not all(said and isinstance(said[-1], Finished) for said in self.held):
            return []
        return best_texts(self.held, [text.mean_logprob for text in self.texts], self.options.n)

    def cancelled(self) -> list[Finished]:
        """The ends of what is not over."""
        texts = [text for text in self.texts if text.reason is None]
        if not self.is_streamed:  # nothing of any text was said
            texts = self.texts[: self.options.n]
        ends = [text.finish(len(self.prompt), self.cached_tokens, "cancelled") for text in texts]
        return ends if self.is_streamed else [replace(end, text="") for end in ends]


@dataclass(eq=False, slots=True, kw_only=True)
class Searching:
    """A beam search: one job, whose branches are the running beams. make_text: one that says hypothesis i."""

    id: str
    prompt: list[int]
    options: RequestOptions
    arrived: float
    rules: BeamRules
    make_text: Callable[[int], Text]
    jobs: dict[int, Job]
    cached_tokens: int = 0
    beams: Beams = BEFORE_FIRST

    def advance(self, logprobs: Float[Tensor, "beams vocab"]) -> bool:
        """The search one token later, of those behind each branch; whether it is over. Behind the prompt it
        begins, also if it had begun before and lost its memory.
        """
        (job,) = self.jobs.values()
        if len(job.branches[0].tokens) == len(self.prompt):
            self.beams = BEFORE_FIRST
        self.beams = next_beams(self.beams, logprobs, self.rules)
        return is_over(self.beams, self.rules)

    def found(self) -> list[TokenOut | Finished]:
        """The best n hypotheses, best first."""
        outputs: list[TokenOut | Finished] = []
        for i, hypothesis in enumerate(self.beams.finished[: self.options.n]):
            text = self.make_text(i)
            said = [text.accept(Choice(token)) for token in hypothesis.tokens]
            outputs += [output for output in said if output is not None]
            end = text.finish(len(self.prompt), self.cached_tokens)
            outputs.append(Finished(end.request, i, end.reason, end.text, end.usage, hypothesis.score))
        return outputs

    def cancelled(self) -> list[Finished]:
        """The ends of its texts, of which nothing was said."""
        return [
            self.make_text(i).finish(len(self.prompt), self.cached_tokens, "cancelled")
            for i in range(self.options.n)
        ]


Ongoing: TypeAlias = Sampled | Searching
