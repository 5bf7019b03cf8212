"""Speculative decoding of SmolLM2-135M in bfloat16, one text at a time: tokens a second and tokens a pass,
beside decoding without a draft and beside the prompt lookup of `transformers`. `make bench NAME=speculation`.

Two kinds of prompts: extractive ones, whose answer repeats the prompt, and chat. Everything is greedy, and
every row of a kind writes the same number of tokens behind the same prompts, end tokens ignored. Ratios above
1 mean that ours, with a draft, is faster than the peer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from benchmarks.decode import MODEL, PACKAGES, plain_model, reference_model
from benchmarks.harness import Row, alternate, compare, report
from teachllm.stack.chat import Message
from teachllm.stack.data.corpora import stdlib_docs
from teachllm.stack.inference import LanguageModel, generate_tokens, load_language_model
from teachllm.stack.inference.speculation import (
    Drafter,
    MedusaHeads,
    ModelDrafter,
    NgramDrafter,
    Tally,
    TreeShape,
    first_layers,
    medusa_steps,
    speculative_tokens,
    tokens_of,
)
from teachllm.stack.inference.speculation.tree_choice import tree_of_size
from teachllm.stack.models.llama import Llama

REPEAT = "Repeat the following text word for word, and write nothing else.\n\n"
QUESTIONS = (
    "Explain in a few sentences why the sky is blue.",
    "Give me three tips for learning to play the piano.",
    "What is the difference between a list and a tuple in Python?",
    "Write a short story about a lighthouse keeper.",
)
EXIT_AFTER = 27  # of 30 layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--draft-tokens", type=int, default=6)
    parser.add_argument("--heads", type=Path, help="Medusa heads of this model, written by teachllm medusa")
    parser.add_argument("--nodes", type=int, default=7, help="of the tree of their guesses")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="seconds of the processor, on a busy machine")
    parser.add_argument("--quick", action="store_true", help="one prompt of each kind, 24 tokens, one run")
    arguments = parser.parse_args()
    n_tokens, runs, n_prompts = arguments.tokens, arguments.runs, 4
    if arguments.quick:
        n_tokens, runs, n_prompts = 24, 1, 1
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    model = load_language_model(MODEL, "cpu", torch.bfloat16)
    heads = None if arguments.heads is None else Heads.load(arguments.heads, model, arguments.nodes)
    kinds = {
        "extractive": [model.encode_chat([Message("user", REPEAT + text)]) for text in passages(n_prompts)],
        "chat": [model.encode_chat([Message("user", text)]) for text in QUESTIONS[:n_prompts]],
    }
    reference = reference_model(plain_model())
    rows: list[Row] = []
    details: dict[str, object] = {}
    for kind, prompts in kinds.items():
        bench = Bench(model, reference, prompts, n_tokens, arguments.draft_tokens, heads)
        rows += bench.rows(kind, runs, time.process_time if arguments.cpu_time else time.perf_counter)
        details[kind] = bench.details
    notes = [
        f"{n_prompts} prompts of each kind, {n_tokens} tokens behind each; the first is not timed",
        *(["seconds of the processor, not of the wall: other programs ran"] if arguments.cpu_time else []),
        f"{arguments.draft_tokens} tokens drafted for a pass; early exit after {EXIT_AFTER} of 30 layers, "
        "which the model was not trained for",
        *(
            f"{kind}, {drafter}: {shares['tokens_per_pass']:.2f} tokens a pass, "
            f"{shares['acceptance']:.0%} accepted, "
            f"{shares['same']} of {n_prompts} texts are token by token those without a draft"
            for kind, by_drafter in details.items()
            if isinstance(by_drafter, dict)
            for drafter, shares in by_drafter.items()
        ),
    ]
    report("speculation-quick" if arguments.quick else "speculation", rows, notes=notes, details=details)


def passages(n: int) -> list[str]:
    """Prose of Python's own documentation, about 120 words each."""
    texts = (" ".join(text.split()[:120]) for text in stdlib_docs() if len(text.split()) > 150)
    return [next(texts) for _ in range(n)]


@dataclass(frozen=True)
class Heads:
    """Medusa heads, and the tree of their guesses."""

    heads: MedusaHeads
    shape: TreeShape

    @classmethod
    def load(cls, file: Path, model: LanguageModel, n_nodes: int) -> Heads:
        heads = MedusaHeads.load(file, model.model)
        return cls(heads, tree_of_size(heads.accuracies, n_nodes))


class Bench:
    """One kind of prompts, written in every way. What was accepted is gathered in `details`."""

    def __init__(
        self,
        model: LanguageModel,
        reference: transformers.LlamaForCausalLM,
        prompts: list[list[int]],
        n_tokens: int,
        k: int,
        heads: Heads | None,
    ) -> None:
        self.model, self.reference = model, reference
        self.prompts, self.n_tokens, self.k, self.heads = prompts, n_tokens, k, heads
        self.details: dict[str, dict[str, float]] = {}

    def rows(self, kind: str, runs: int, clock: Callable[[], float]) -> list[Row]:
        assert isinstance(self.model.model, Llama)
        drafters: dict[str, Drafter | Heads] = {
            "n-gram": NgramDrafter(),
            "early exit": ModelDrafter(first_layers(self.model.model, EXIT_AFTER)),
        }
        if self.heads is not None:
            drafters[f"Medusa, {len(self.heads.shape.paths)} nodes"] = self.heads
        ways: list[Callable[[], object]] = [
            lambda: self.write(n_tokens=1),
            lambda: self.write_reference(n_tokens=1),
            self.write,
            self.write_reference,
            *(lambda drafter=drafter: self.write(drafter) for drafter in drafters.values()),
        ]
        read, read_reference, plain, reference, *drafted = alternate(*ways, times=runs, clock=clock)
        n = len(self.prompts) * (self.n_tokens - 1)  # what is written behind the first token
        rows = []
        for (name, drafter), taken in zip(drafters.items(), drafted, strict=True):
            self.details[name] = self.what_was_accepted(drafter)
            rows.append(self.row(f"{kind}, {name}", n / (taken - read), n / (plain - read), "without"))
        theirs = n / (reference - read_reference)
        rows.append(self.row(f"{kind}, n-gram", n / (drafted[0] - read), theirs, "transformers lookup"))
        return rows

    def row(self, what: str, ours: float, peer: float, peer_name: str) -> Row:
        return compare(
            what, ours, peer, peer_name, "tokens/s", threads=torch.get_num_threads(), packages=PACKAGES
        )

    def write(
        self, drafter: Drafter | Heads | None = None, tally: Tally | None = None, n_tokens: int | None = None
    ) -> list[list[int]]:
        texts, n_tokens = [], n_tokens or self.n_tokens
        for prompt in self.prompts:
            if drafter is None:
                tokens = generate_tokens(self.model.model, prompt, max_tokens=n_tokens)
            elif isinstance(drafter, Heads):
                steps = medusa_steps(
                    self.model.model, drafter.heads, prompt, drafter.shape, max_tokens=n_tokens
                )
                tokens = tokens_of(steps, tally or Tally())
            else:
                tokens = speculative_tokens(
                    self.model.model, drafter, prompt, k=self.k, max_tokens=n_tokens, tally=tally
                )
            texts.append([token for token in tokens if isinstance(token, int)])
        return texts

    def write_reference(self, n_tokens: int | None = None) -> None:
        n_tokens = n_tokens or self.n_tokens
        for prompt in self.prompts:
            tokens = torch.tensor([prompt])
            written = self.reference.generate(  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
                tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=n_tokens,
                prompt_lookup_num_tokens=self.k,
                max_matching_ngram_size=3,
            )
            assert written.shape[1] == len(prompt) + n_tokens

    def what_was_accepted(self, drafter: Drafter | Heads) -> dict[str, float]:
        tally = Tally()
        texts = self.write(drafter, tally)
        same = sum(one == other for one, other in zip(texts, self.write(), strict=True))
        return {
            "acceptance": tally.acceptance,
            "tokens_per_pass": tally.tokens_per_step,
            "passes": tally.steps,
            "same": same,
        }


if __name__ == "__main__":
    main()
