"""What a request must be to be let in: well-formed, its grammar compiled, and sure to fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import torch

from teachllm.stack.inference.beam_search import BeamRules
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.ongoing import Ongoing, Sampled, Searching
from teachllm.stack.inference.engine.request import NeverFits, RequestOptions
from teachllm.stack.inference.engine.sampler import Chooser
from teachllm.stack.inference.engine.scheduler import Job, longest_alone
from teachllm.stack.inference.engine.structured import GrammarParser, Grammars
from teachllm.stack.inference.engine.text import Text
from teachllm.stack.inference.generation import EndReason, tokens_to_write
from teachllm.stack.inference.language_model import LanguageModel


class Admission:
    """The door of an engine with `n_blocks`. Thread-safe: it reads what never changes."""

    def __init__(self, language_model: LanguageModel, config: EngineConfig, n_blocks: int) -> None:
        self._language_model, self._config, self._n_blocks = language_model, config, n_blocks
        self._vocab_size = language_model.tokenizer.vocab_size
        self._device = language_model.device
        self._grammars = Grammars(language_model.tokenizer)
        self._numbers = count(1)

    def check(self, prompt: Sequence[int], options: RequestOptions) -> None:
        """Raises what `prepare` would."""
        self._checked(list(prompt), options)

    def prepare(self, prompt: Sequence[int], options: RequestOptions, request_id: str | None) -> Ongoing:
        """The request, ready to wait for its turn.

        NeverFits, `ContextFull`: too long; `GrammarError`: its constraint; ValueError: an empty prompt, or
        ids that the tokenizer does not have.
        """
        ids = list(prompt)
        name = f"request-{next(self._numbers)}" if request_id is None else request_id
        wanted, at_longest, ends, parser = self._checked(ids, options)

        def make_text(index: int) -> Text:
            return Text(
                name,
                index,
                self._chooser(ids, options, index, wanted, parser),
                self._language_model.tokenizer,
                stop=options.stop,
                end_tokens=ends,
                longest=wanted,
                at_longest=at_longest,
            )

        jobs = {0: Job(name, 0, options.priority, ids, slots=options.n_texts)}
        arrived = time.perf_counter()
        if options.beam is not None:
            rules = BeamRules(options.beam.num_beams, wanted, ends, options.beam.length_penalty)
            return Searching(
                id=name,
                prompt=ids,
                options=options,
                arrived=arrived,
                rules=rules,
                make_text=make_text,
                jobs=jobs,
            )
        texts = [make_text(index) for index in range(options.n_texts)]
        return Sampled(id=name, prompt=ids, options=options, arrived=arrived, texts=texts, jobs=jobs)

    def _checked(
        self, ids: list[int], options: RequestOptions
    ) -> tuple[int, EndReason, frozenset[int], GrammarParser | None]:
        """`_tokens_to_write`, the end tokens, and the grammar if there is one."""
        wanted, at_longest = self._tokens_to_write(ids, options)
        if min(ids) < 0 or max(ids) >= self._vocab_size:
            raise ValueError(
                f"the prompt has ids from {min(ids)} to {max(ids)}; this tokenizer's run from 0 to "
                f"{self._vocab_size - 1}"
            )
        ends = options.end_tokens
        ends = self._language_model.end_tokens if ends is None else ends
        parser = None
        if options.constraint is not None:
            parser = self._grammars.parser(options.constraint, ends)
        return wanted, at_longest, ends, parser

    def _tokens_to_write(self, prompt: list[int], options: RequestOptions) -> tuple[int, EndReason]:
        """How many tokens each text may have, and what it means to have them all."""
        wanted, fills_context = tokens_to_write(self._language_model.model, prompt, options.max_tokens)
        if options.n_texts > self._config.max_running:
            raise NeverFits(
                f"{options.n_texts} texts side by side; this engine has room for {self._config.max_running}"
            )
        n_branches = 1 if options.beam is None else options.beam.num_beams
        block_size = self._config.block_size
        room = longest_alone(len(prompt), n_branches, self._n_blocks, block_size) - len(prompt)
        if room < (1 if options.max_tokens is None else wanted):
            raise NeverFits(
                f"{len(prompt)} tokens of prompt and {options.max_tokens or 'at least 1'} of text"
                + (f" in {n_branches} beams" if n_branches > 1 else "")
                + f" do not fit in {self._n_blocks} blocks of {block_size} tokens, even alone. Shorten the "
                "prompt, ask for fewer tokens, or give the engine more blocks."
            )
        return min(wanted, room), "context" if fills_context or room < wanted else "length"

    def _chooser(
        self,
        prompt: list[int],
        options: RequestOptions,
        index: int,
        wanted: int,
        parser: GrammarParser | None,
    ) -> Chooser:
        sampling = options.sampling
        if sampling.seed is not None:
            sampling = replace(sampling, seed=sampling.seed + index)
        chooser = Chooser(sampling, None if sampling.temperature == 0 else sampling.generator(self._device))
        if sampling.repetition_penalty is not None:
            chooser.n_seen = len(prompt)
            chooser.seen = torch.empty(len(prompt) + wanted, dtype=torch.long, device=self._device)
            chooser.seen[: len(prompt)] = torch.tensor(prompt)
        chooser.parser = None if parser is None else parser.copy()
        chooser.logprobs = 0 if options.best_of is not None and options.logprobs is None else options.logprobs
        return chooser
