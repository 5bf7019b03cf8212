"""Structured output: before each draw, a grammar says which tokens may come next; all others get -inf.

So the text fits the grammar whatever the model wanted, unless `max_tokens` cuts it off. The grammar works on
bytes and knows the tokenizer: a token may span several of its symbols, or end in the middle of one. Parsing
and masks are `llguidance`; this file fits it to our tokenizer.

Willard and Louf 2023, arXiv:2307.09702 (masks from a grammar over tokens).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection

import llguidance
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.inference.engine.request import Constraint
from teachllm.stack.tokenizer import Tokenizer

MOST_TOKENIZERS = 4  # for sets of end tokens: nearly all requests have the model's own
# JSON allows any white space, and a small model that may write a blank writes blanks for ever.
WHITE_SPACE = " "


class GrammarError(ValueError):
    """A constraint that is no grammar, or a text that can no longer satisfy it."""


class Grammars:
    """Constraints made into parsers, for one tokenizer. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._for_ends: dict[frozenset[int], llguidance.LLTokenizer] = {}
        self._lock = threading.Lock()

    def parser(self, constraint: Constraint, end_tokens: Collection[int]) -> GrammarParser:
        """A parser at the beginning of a text, which may end by `end_tokens` where the grammar allows it.

        GrammarError says what is wrong with the constraint. A large schema takes a second.
        """
        try:
            matcher = llguidance.LLMatcher(
                self._known(frozenset(end_tokens)), _grammar(constraint), log_level=0
            )
        except ValueError as problem:
            raise GrammarError(_refusal(constraint, str(problem))) from None
        if matcher.is_error():
            raise GrammarError(_refusal(constraint, matcher.get_error()))
        return GrammarParser(matcher, self._tokenizer.vocab_size)

    def _known(self, end_tokens: frozenset[int]) -> llguidance.LLTokenizer:
        with self._lock:
            if end_tokens not in self._for_ends:
                if len(self._for_ends) == MOST_TOKENIZERS:
                    self._for_ends.pop(next(iter(self._for_ends)))
                self._for_ends[end_tokens] = _as_known(self._tokenizer, end_tokens)
            return self._for_ends[end_tokens]


class GrammarParser:
    """Where one text stands in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size

    def copy(self) -> GrammarParser:
        """Another text from here on."""
        return GrammarParser(self._matcher.deep_copy(), self._vocab_size)

    def masked(self, logits: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
        """The logits, with -inf for every token that cannot come next. GrammarError if none can."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = torch.zeros(logits.shape, dtype=torch.bool)
        n = min(len(allowed), self._vocab_size)  # a model may have more rows than the tokenizer has tokens
        allowed[:n] = torch.from_numpy(bits[:n]).bool()
        if self._matcher.is_error() or not allowed.any():
            raise GrammarError(f"no token can come next in this grammar: {self._problem}")
        return logits.masked_fill(~allowed.to(logits.device), -torch.inf)

    def accept(self, token: int) -> None:
        """The text goes on with `token`. GrammarError if the grammar does not allow it."""
        if not self._matcher.consume_token(token):
            raise GrammarError(f"token {token} does not fit the grammar here: {self._problem}")

    @property
    def is_over(self) -> bool:
        """Whether the text is complete, and nothing but an end token could follow."""
        return self._matcher.is_stopped()

    @property
    def _problem(self) -> str:
        return _first_line(self._matcher.get_error()) or "its text is over"


def _grammar(constraint: Constraint) -> str:
    match constraint.kind:
        case "json_schema":
            return llguidance.LLMatcher.grammar_from_json_schema(
                constraint.source, overrides={"whitespace_pattern": WHITE_SPACE}
            )
        case "regex":
            return llguidance.LLMatcher.grammar_from_regex(constraint.source)
        case "choice":
            texts = (json.dumps(text, ensure_ascii=False) for text in json.loads(constraint.source))
            return llguidance.LLMatcher.grammar_from_lark("start: " + " | ".join(texts))


def _refusal(constraint: Constraint, problem: str) -> str:
    kinds = {"json_schema": "JSON Schema", "regex": "regular expression", "choice": "choice"}
    return f"this {kinds[constraint.kind]} cannot be compiled to a grammar: {problem.strip()}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _as_known(tokenizer: Tokenizer, end_tokens: frozenset[int]) -> llguidance.LLTokenizer:
    """The tokenizer as `llguidance` knows them: the bytes of every id, and which ids are special.

    Without end tokens it gets one that no model has: such a text ends where its grammar does.
    """
    special = set(tokenizer.special_tokens.values())
    tokens = [tokenizer.vocabulary.tokens.get(i, b"") for i in range(tokenizer.vocab_size)]
    for text, i in tokenizer.special_tokens.items():
        tokens[i] = text.encode()
    ends = sorted(end_tokens)
    if not ends:
        ends = [len(tokens)]
        tokens.append(b"<|end of grammar|>")
        special.add(ends[0])
    wrapped = llguidance.TokenizerWrapper(_Encoder(tokenizer, tokens, sorted(special), ends[0]))
    return llguidance.LLTokenizer(wrapped, eos_token=ends)


class _Encoder:
    """What `llguidance.TokenizerWrapper` asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, tokens: list[bytes], special: list[int], end: int) -> None:
        self._tokenizer = tokenizer
        self.tokens, self.special_token_ids, self.eos_token_id = tokens, special, end

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", "replace"))
