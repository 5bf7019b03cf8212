"""The next tokens of all texts of a step, each by its own rules and from its own randomness.

A text's draw depends on its own row of logits and its own generator, never on its neighbours. So with a seed
it is the same in any company, as far as the logits are: in float32 they agree to a few units in the last
place, and a draw changes only where two tokens are that close; in bfloat16 a matrix product rounds
differently in a batch of another size, and after some tokens texts may part ways, unless the engine is
`batch_invariant` (see `row_counts`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from teachllm.stack.inference.engine.request import FailureKind
from teachllm.stack.inference.engine.structured import GrammarError, GrammarParser
from teachllm.stack.inference.sampling import Sampling, filtered, penalized


@dataclass(eq=False, slots=True)
class Chooser:
    """How one text chooses, and what it remembers for it.

    generator: None for greedy. seen: room for all tokens of prompt and text, of which the first `n_seen` are
    there; None without a repetition penalty. parser: of its grammar. logprobs: how many of the most probable
    tokens to tell, None for no log-probabilities at all.
    """

    sampling: Sampling
    generator: torch.Generator | None
    seen: Int[Tensor, " longest"] | None = None
    n_seen: int = 0
    parser: GrammarParser | None = None
    logprobs: int | None = None
    _uniform: float | None = None

    @property
    def uniform(self) -> float:
        """A number from 0 to 1, the same until the text has accepted a token: if a step fails half-way and
        is done again, nobody's randomness has moved on.
        """
        if self._uniform is None:
            assert self.generator is not None
            device = self.generator.device
            drawn = torch.rand((), dtype=torch.float64, device=device, generator=self.generator)
            self._uniform = drawn.item()
        return self._uniform

    @property
    def is_plain(self) -> bool:
        """Whether the largest logit is all that it asks for."""
        return self.generator is None and self.seen is None and self.parser is None

    def accept(self, token: int) -> None:
        """The text goes on with `token`. GrammarError if it may not."""
        self._uniform = None
        if self.seen is not None:
            self.seen[self.n_seen] = token
            self.n_seen += 1
        if self.parser is not None:
            self.parser.accept(token)


@dataclass(frozen=True, slots=True)
class Choice:
    """A token; its log-probability and those of the most probable, where they were asked for."""

    token: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class NoChoice:
    """Why no token can be chosen for a row."""

    kind: FailureKind
    message: str


# On a CPU: their numbers stay in cache, and in memory that the process has already. With 256 rows of 49,152
# at once, greedy choice was measured to take 5 times as long, and sampling 6 times.
ROWS_AT_ONCE = 4
NOT_FINITE = NoChoice("numerics", "the model's logits are not finite here, so no token can be chosen")


# region: choose_tokens
def choose_tokens(
    logits: Float[Tensor, "texts vocab"], choosers: Sequence[Chooser]
) -> list[Choice | NoChoice]:
    """A token for each row, as `choose_token` would choose it from that row alone."""
    size = ROWS_AT_ONCE if logits.device.type == "cpu" else max(1, len(choosers))
    choices: list[Choice | NoChoice] = []
    for start in range(0, len(choosers), size):
        part = slice(start, start + size)
        choices += _choose_tokens(logits[part].float(), choosers[part])
    return choices


def _choose_tokens(
    logits: Float[Tensor, "texts vocab"], choosers: Sequence[Chooser]
) -> list[Choice | NoChoice]:
    most_probable = _argmax(logits)
    finite = logits.gather(-1, most_probable[:, None]).isfinite()[:, 0]
    tokens: list[int | NoChoice] = [
        token if fine else NOT_FINITE
        for token, fine in zip(most_probable.tolist(), finite.tolist(), strict=True)
    ]
    groups: dict[Sampling, list[tuple[int, Tensor]]] = defaultdict(list)
    for i, chooser in enumerate(choosers):
        if chooser.is_plain or isinstance(tokens[i], NoChoice):
            continue
        try:
            allowed = _allowed(logits[i], chooser)
        except GrammarError as problem:
            tokens[i] = NoChoice("grammar", str(problem))
        else:
            groups[replace(chooser.sampling, seed=None)].append((i, allowed))
    for sampling, members in groups.items():
        rows = torch.stack([row for _, row in members])
        drawn = _drawn(rows, sampling, [choosers[i] for i, _ in members])
        for (i, _), token in zip(members, drawn, strict=True):
            tokens[i] = token
    return _with_logprobs(logits, tokens, choosers)


# endregion: choose_tokens


def _argmax(logits: Float[Tensor, "texts vocab"]) -> Int[Tensor, " texts"]:
    """Where each row is largest, the first among equals. NaN counts as larger than any number."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(-1))  # PyTorch takes seven times as long for float32
    return logits.argmax(-1)


def _allowed(logits: Float[Tensor, " vocab"], chooser: Chooser) -> Float[Tensor, " vocab"]:
    """The row with its penalty and its grammar's mask. GrammarError if no token is left."""
    if chooser.seen is not None:
        logits = penalized(logits, chooser.seen[: chooser.n_seen], chooser.sampling)
    return logits if chooser.parser is None else chooser.parser.masked(logits)


def _drawn(rows: Float[Tensor, "texts vocab"], sampling: Sampling, choosers: Sequence[Chooser]) -> list[int]:
    """Tokens of rows that are sampled alike, each with its own random number: `draw` for many rows."""
    if sampling.temperature == 0:
        return rows.argmax(-1).tolist()
    if sampling.top_p is not None or sampling.typical_p is not None:
        # Where probabilities are equal, the order in which they are sorted, and so which of them are kept,
        # may depend on how many rows are sorted together.
        kept = torch.stack([filtered(row, sampling) for row in rows])
    else:
        kept = filtered(rows, sampling)
    reached = kept.softmax(-1).double().cumsum(-1)  # with dtype= in cumsum, many rows take four times as long
    uniforms = torch.tensor([[one.uniform] for one in choosers], dtype=torch.float64, device=rows.device)
    where = uniforms * reached[:, -1:]
    return torch.searchsorted(reached, where, right=True)[:, 0].clamp(max=rows.shape[-1] - 1).tolist()


def _with_logprobs(
    logits: Float[Tensor, "texts vocab"], tokens: list[int | NoChoice], choosers: Sequence[Chooser]
) -> list[Choice | NoChoice]:
    """With the model's own log-probabilities for those who want them, in one pass over their rows."""
    choices: list[Choice | NoChoice] = [
        token if isinstance(token, NoChoice) else Choice(token) for token in tokens
    ]
    wanting = [
        i
        for i, choice in enumerate(choices)
        if isinstance(choice, Choice) and choosers[i].logprobs is not None
    ]
    if not wanting:
        return choices
    logprobs = logits[wanting].log_softmax(-1)
    most = max(choosers[i].logprobs or 0 for i in wanting)
    best, best_tokens = logprobs.topk(min(most, logprobs.shape[-1]))
    for row, i in enumerate(wanting):
        choice, k = choices[i], choosers[i].logprobs
        assert isinstance(choice, Choice)
        top = zip(best_tokens[row, :k].tolist(), best[row, :k].tolist(), strict=True)
        choices[i] = Choice(choice.token, float(logprobs[row, choice.token]), tuple(top))
    return choices
