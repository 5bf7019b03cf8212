"""What is asked of the engine, and what it answers: plain values that may cross threads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from teachllm.stack.inference.generation import EndReason
from teachllm.stack.inference.sampling import Sampling

MOST_TEXTS = 128  # of one request, written side by side
MOST_LOGPROBS = 20  # beside each token
MOST_PRIORITY = 100


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a text must look like, whatever the model would rather write. Make one by its constructors.

    kind: of the grammar; source: the schema as JSON, the regular expression, or the choices as JSON.
    """

    kind: Literal["json_schema", "regex", "choice"]
    source: str

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | bool) -> Constraint:
        """JSON that the schema accepts; {"type": "object"} for any object. ValueError if it is no JSON."""
        try:
            return cls("json_schema", json.dumps(schema))
        except (TypeError, ValueError) as problem:
            raise ValueError(f"a JSON Schema is written in JSON: {problem}") from None

    @classmethod
    def regex(cls, pattern: str) -> Constraint:
        """The whole text matches `pattern`, in the syntax of Rust's `regex`: no look-around."""
        return cls("regex", pattern)

    @classmethod
    def choice(cls, texts: Sequence[str]) -> Constraint:
        """The text is one of `texts`. ValueError if there are none, or one is empty."""
        if isinstance(texts, str) or not texts or not all(texts):
            raise ValueError(f"choices are {texts!r}; give at least one text, none of them empty")
        return cls("choice", json.dumps(list(texts)))


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """Search for the most probable texts instead of sampling; see `beam_search`."""

    num_beams: int
    length_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How a request is to be answered. ValueError names everything that does not fit.

    max_tokens: of each text; None: until the model's context is full.
    n: how many texts. Text i is drawn with seed + i, so the first is what a request for one would get.
    best_of: draw this many and answer with the n whose tokens have the highest mean log-probability.
    stop: a text ends before the first of these. end_tokens: None for the model's own, empty for no end.
    logprobs: also log-probabilities, of each token and of this many most probable ones. They are those of
    the model itself, before penalty, temperature, filters and constraint.
    priority: larger goes first, and 0 is usual. Whoever waits rises in time, so nobody waits for ever.
    With `best_of` and `beam`, texts come when all are done, since only then is it known which ones.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    n: int = 1
    best_of: int | None = None
    stop: tuple[str, ...] = ()
    end_tokens: frozenset[int] | None = None
    logprobs: int | None = None
    priority: int = 0
    constraint: Constraint | None = None
    beam: BeamSearch | None = None

    def __post_init__(self) -> None:
        problems = [*self._range_problems(), *self._beam_problems()]
        if problems:
            raise ValueError("this request cannot be answered: " + "; ".join(problems))

    @property
    def n_texts(self) -> int:
        """How many are written, side by side."""
        if self.beam is not None:
            return self.beam.num_beams
        return self.n if self.best_of is None else self.best_of

    def _range_problems(self) -> list[str]:
        problems = []
        if self.max_tokens is not None and self.max_tokens < 1:
            problems.append(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if not 1 <= self.n <= MOST_TEXTS:
            problems.append(f"n is {self.n}; it must be from 1 to {MOST_TEXTS}")
        if self.best_of is not None and not self.n <= self.best_of <= MOST_TEXTS:
            problems.append(f"best_of is {self.best_of}; it must be from n = {self.n} to {MOST_TEXTS}")
        if isinstance(self.stop, str) or not all(self.stop):
            problems.append(f"stop is {self.stop!r}; give texts that are not empty")
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            problems.append(f"logprobs is {self.logprobs}; it must be from 0 to {MOST_LOGPROBS}")
        if not -MOST_PRIORITY <= self.priority <= MOST_PRIORITY:
            problems.append(
                f"priority is {self.priority}; it must be from -{MOST_PRIORITY} to {MOST_PRIORITY}"
            )
        return problems

    def _beam_problems(self) -> list[str]:
        if self.beam is None:
            return []
        problems = []
        if not self.n <= self.beam.num_beams <= MOST_TEXTS:
            problems.append(
                f"num_beams is {self.beam.num_beams}; it must be from n = {self.n} to {MOST_TEXTS}"
            )
        if not -10 <= self.beam.length_penalty <= 10:
            problems.append(f"length_penalty is {self.beam.length_penalty}; it must be from -10 to 10")
        others = {
            "sampling": self.sampling != Sampling(seed=self.sampling.seed),
            "best_of": self.best_of is not None,
            "stop": bool(self.stop),
            "logprobs": self.logprobs is not None,
            "constraint": self.constraint is not None,
        }
        if refused := [name for name, given in others.items() if given]:
            problems.append(
                f"beam search ranks whole texts by the model alone; leave out {', '.join(refused)}"
            )
        return problems


class NeverFits(ValueError):
    """The request needs more than the engine has, even with all of it to itself."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the prompt, how many of those were found in the prefix cache, and tokens of this text."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TokenOut:
    """The next token of text `index`, and the text that may be shown because of it (see `Piece`).

    logprob: ln p of the token; top_logprobs: (token, ln p) of the most probable. Both if options.logprobs
    asks for them; `best_of` needs the first, so it is there then too.
    """

    request: str
    index: int
    token: int
    text: str
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """Text `index` is over, and why; `text` is what was held back until then. A request has ended when each
    of its n texts has. `score`: mean log-probability with `best_of`, the search's score with `beam`.
    """

    request: str
    index: int
    reason: EndReason
    text: str
    usage: Usage
    score: float | None = None


FailureKind: TypeAlias = Literal["memory", "grammar", "numerics", "engine"]


@dataclass(frozen=True, slots=True)
class Failed:
    """The whole request is over, without its texts; nothing of it follows."""

    request: str
    kind: FailureKind
    message: str


Output: TypeAlias = TokenOut | Finished | Failed
