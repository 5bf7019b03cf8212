"""One text of a request: tokens come in, what may be shown goes out, and at some token it is over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from teachllm.stack.inference.engine.request import Finished, TokenOut, Usage
from teachllm.stack.inference.engine.sampler import Choice, Chooser
from teachllm.stack.inference.generation import EndReason
from teachllm.stack.inference.stop_strings import StopStrings
from teachllm.stack.tokenizer import StreamDecoder, Tokenizer


class Text:
    """See `accept`. longest: tokens that it may have; reason: why it is over, None while it is not."""

    def __init__(
        self,
        request: str,
        index: int,
        chooser: Chooser,
        tokenizer: Tokenizer,
        *,
        stop: Collection[str],
        end_tokens: frozenset[int],
        longest: int,
        at_longest: EndReason,
    ) -> None:
        self.request, self.index, self.chooser = request, index, chooser
        self.written = 0
        self.first_at: float | None = None  # by the clock, when its first token came
        self.reason: EndReason | None = None
        self._decoder = StreamDecoder(tokenizer, skip_special=True)
        self._stops = StopStrings(stop)
        self._end_tokens, self._longest = end_tokens, longest
        self._at_longest: EndReason = at_longest
        self._log_probability, self._n_scored = 0.0, 0

    def accept(self, choice: Choice) -> TokenOut | None:
        """The token as an output; None if it is an end token, which is no part of the text. Sets `reason`.

        GrammarError, ValueError if the token cannot be part of the text.
        """
        if choice.logprob is not None:
            self._log_probability += choice.logprob
            self._n_scored += 1
        if choice.token in self._end_tokens:
            self.reason = "stop"
            return None
        self.chooser.accept(choice.token)
        shown = self._stops.push(self._decoder.push(choice.token))
        self.written += 1
        parser = self.chooser.parser
        if self._stops.stopped or (parser is not None and parser.is_over):
            self.reason = "stop"
        elif self.written >= self._longest:
            self.reason = self._at_longest
        return TokenOut(self.request, self.index, choice.token, shown, choice.logprob, choice.top_logprobs)

    def finish(self, prompt_tokens: int, cached_tokens: int, reason: EndReason | None = None) -> Finished:
        """What is said at the end, for `reason` if it is ended from outside."""
        self.reason = reason or self.reason
        assert self.reason is not None
        held = "" if self._stops.stopped else self._stops.push(self._decoder.flush()) + self._stops.flush()
        usage = Usage(prompt_tokens, self.written, cached_tokens)
        return Finished(self.request, self.index, self.reason, held, usage)

    @property
    def mean_logprob(self) -> float:
        """(1/T) Σ ln p of its tokens, an end token among them."""
        return self._log_probability / max(1, self._n_scored)


def best_texts(
    written: Sequence[Sequence[TokenOut | Finished]], scores: Sequence[float], n: int
) -> list[TokenOut | Finished]:
    """The outputs of the n texts with the highest scores, best first; their index is their rank."""
    ranked = sorted(range(len(written)), key=lambda i: -scores[i])[:n]
    outputs: list[TokenOut | Finished] = []
    for rank, i in enumerate(ranked):
        for output in written[i]:
            if isinstance(output, Finished):
                outputs.append(replace(output, index=rank, score=scores[i]))
            else:
                outputs.append(replace(output, index=rank))
    return outputs
