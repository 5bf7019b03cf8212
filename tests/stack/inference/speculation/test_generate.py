"""Speculative generation: the text of the model alone, with every drafter, wherever it ends."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from teachllm.stack.inference import Sampling, generate_tokens
from teachllm.stack.inference.generation import STEP, ContextFull
from teachllm.stack.inference.sampling import distribution
from teachllm.stack.inference.speculation import (
    Draft,
    Drafter,
    ModelDrafter,
    NgramDrafter,
    Tally,
    first_layers,
    speculative_steps,
    speculative_tokens,
)
from teachllm.stack.models.llama import Llama


class Guesses:
    """Drafts whatever `guess` says, given the text."""

    def __init__(self, guess: Callable[[list[int]], list[int]]) -> None:
        self._guess = guess

    def start(self, longest: int) -> None:
        pass

    def draft(self, text: Tensor, k: int, sampling: Sampling, generator: torch.Generator) -> Draft:
        return Draft(self._guess(text.tolist())[:k])


@pytest.mark.parametrize("k", [0, 1, 4, 9])
def test_greedy_text_is_that_of_the_model_alone(tiny_llama: Llama, small_draft: Llama, k: int) -> None:
    *plain, reason = generate_tokens(tiny_llama, [3, 8, 40], max_tokens=50)
    drafters: list[Drafter] = [
        NgramDrafter(),
        ModelDrafter(small_draft),
        ModelDrafter(first_layers(tiny_llama, 1)),
        Guesses(lambda text: plain[len(text) - 3 :]),
        Guesses(lambda text: [255, 255, 255]),
    ]
    for drafter in drafters:
        *ours, ended = speculative_tokens(tiny_llama, drafter, [3, 8, 40], k=k, max_tokens=50)
        assert (ours, ended) == (plain, reason)


def test_right_guesses_are_taken_at_once_and_wrong_ones_cost_nothing_but_the_pass(tiny_llama: Llama) -> None:
    *plain, _ = generate_tokens(tiny_llama, [3, 8], max_tokens=40)
    for guess, steps, accepted in (
        (lambda text: plain[len(text) - 2 :], 8, 32),
        (lambda text: [255] * 4, 40, 0),
    ):
        tally = Tally()
        list(speculative_tokens(tiny_llama, Guesses(guess), [3, 8], k=4, max_tokens=40, tally=tally))
        assert (tally.steps, tally.accepted, tally.written) == (steps, accepted, 40)
        assert tally.tokens_per_step == 40 / steps
        assert tally.acceptance == (1.0 if accepted else 0.0)


def test_half_of_the_guesses_is_kept_and_the_cache_forgets_the_rest(
    tiny_llama: Llama, small_draft: Llama
) -> None:
    """Drafts that are cut in the middle: from then on, text and caches must be as if they had not been."""
    tally = Tally()
    *plain, _ = generate_tokens(tiny_llama, [9], max_tokens=60)
    *ours, _ = speculative_tokens(tiny_llama, ModelDrafter(small_draft), [9], k=5, max_tokens=60, tally=tally)
    assert ours == plain
    assert 0.2 < tally.acceptance < 0.95
    partly = [
        step
        for step in speculative_steps(tiny_llama, ModelDrafter(small_draft), [9], k=5, max_tokens=60)
        if 0 < step.n_accepted < len(step.drafted)
    ]
    assert partly
    assert all(step.tokens[:-1] == step.drafted[: step.n_accepted] for step in partly)


def test_a_penalty_is_applied_to_what_was_drafted_too(tiny_llama: Llama, small_draft: Llama) -> None:
    sampling = Sampling(repetition_penalty=1.5)
    plain = list(generate_tokens(tiny_llama, [3], sampling=sampling, max_tokens=40))
    for drafter in (ModelDrafter(small_draft), NgramDrafter()):
        ours = list(speculative_tokens(tiny_llama, drafter, [3], k=4, sampling=sampling, max_tokens=40))
        assert ours == plain


def test_it_ends_where_generation_ends(tiny_llama: Llama, small_draft: Llama) -> None:
    *plain, _ = generate_tokens(tiny_llama, [4], max_tokens=30)
    drafters = (NgramDrafter(), ModelDrafter(small_draft), Guesses(lambda text: plain[len(text) - 1 :]))
    for drafter in drafters:
        for place in range(0, 30, 3):
            ends = {"max_tokens": 30, "end_tokens": {plain[place]}}
            expected = list(generate_tokens(tiny_llama, [4], **ends))
            assert list(speculative_tokens(tiny_llama, drafter, [4], k=4, **ends)) == expected
        for room in range(1, 8):
            expected = list(generate_tokens(tiny_llama, [4] * (96 - room)))
            assert expected[-1] == "context"
            assert list(speculative_tokens(tiny_llama, drafter, [4] * (96 - room), k=4)) == expected


def test_a_draft_with_a_shorter_context_falls_silent(tiny_llama: Llama) -> None:
    short = Llama(dataclasses.replace(tiny_llama.config, context_length=20)).eval()
    short.load_state_dict(tiny_llama.state_dict())
    plain = list(generate_tokens(tiny_llama, [4, 5], max_tokens=60))
    assert list(speculative_tokens(tiny_llama, ModelDrafter(short), [4, 5], k=4, max_tokens=60)) == plain


def test_a_long_prompt_is_read_in_steps_and_can_be_stopped_between_them(markov: Callable[..., Any]) -> None:
    model = markov(torch.tensor([[0.1, 0.9], [0.8, 0.2]]))
    prompt = [0] * (3 * STEP + 5)
    *tokens, reason = speculative_tokens(model, NgramDrafter(), prompt, k=3, max_tokens=6)
    assert (tokens, reason) == ([1, 0, 1, 0, 1, 0], "length")
    stop = threading.Event()
    written = speculative_tokens(model, NgramDrafter(), prompt, k=3, max_tokens=60, stop=stop)
    assert next(written) == 1
    stop.set()
    assert list(written)[-1] == "cancelled"


def test_sampled_text_has_the_distribution_of_the_target(
    markov: Callable[..., Any], p_value: Callable[[Tensor, Tensor], float]
) -> None:
    """One long text of a Markov chain: what follows each token. The draft is another chain, filtered too.

    A right program fails with another seed once in 100,000 times.
    """
    target = torch.tensor(
        [[0.5, 0.3, 0.2, 0.0001], [0.1, 0.2, 0.3, 0.4], [0.3, 0.3, 0.2, 0.2], [0.7, 0.1, 0.1, 0.1]]
    )
    draft = torch.tensor(
        [[0.3, 0.3, 0.3, 0.1], [0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.2, 0.2], [0.4, 0.4, 0.1, 0.1]]
    )
    sampling = Sampling(temperature=1.5, top_k=3, top_p=0.95, seed=11)
    tally = Tally()
    drafter = ModelDrafter(markov(draft))
    written = speculative_tokens(
        markov(target), drafter, [0], k=3, sampling=sampling, max_tokens=2_500, tally=tally
    )
    *tokens, _ = written
    assert 0.4 < tally.acceptance < 0.9
    text = torch.tensor([0, *tokens])
    counts = torch.zeros(4, 4).index_put_((text[:-1], text[1:]), torch.ones(len(tokens)), accumulate=True)
    for row in range(4):
        expected = counts[row].sum() * distribution(target[row].log(), text[:1], sampling)
        assert p_value(counts[row], expected) > 1e-5 / 4


def test_a_seed_gives_the_same_text(tiny_llama: Llama, small_draft: Llama) -> None:
    def write(seed: int) -> list[object]:
        sampling = Sampling(temperature=1.0, top_p=0.9, seed=seed)
        return list(
            speculative_tokens(
                tiny_llama, ModelDrafter(small_draft), [3], k=4, sampling=sampling, max_tokens=30
            )
        )

    assert write(1) == write(1) != write(2)


def test_what_cannot_be_is_refused_at_once(tiny_llama: Llama) -> None:
    with pytest.raises(ValueError, match="k is -1"):
        speculative_tokens(tiny_llama, NgramDrafter(), [1], k=-1)
    with pytest.raises(ValueError, match="empty"):
        speculative_tokens(tiny_llama, NgramDrafter(), [], k=2)
    with pytest.raises(ContextFull):
        speculative_tokens(tiny_llama, NgramDrafter(), [1] * 96, k=2)
