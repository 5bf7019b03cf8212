"""Beam search: it finds what trying everything finds, greedy is its narrowest case, and its cache follows."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
import torch

from teachllm.stack.inference import beam_search, generate_tokens
from teachllm.stack.inference.beam_search import (
    Hypothesis,
    beam_search_steps,
    best_extensions,
    length_normalized,
)
from teachllm.stack.inference.generation import ContextFull
from teachllm.stack.models.llama import Llama, LlamaConfig

END = 4


@pytest.fixture
def five_tokens() -> Llama:
    """A model of five tokens with decided opinions: every text of four tokens can be tried."""
    torch.manual_seed(8)
    config = LlamaConfig(
        vocab_size=5,
        d_model=16,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=4,
        hidden=24,
        context_length=32,
        tied_head=False,
    )
    model = Llama(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.normal_(0, 0.6)
    return model


@torch.inference_mode()
def log_probability(model: Llama, prompt: list[int], tokens: tuple[int, ...]) -> float:
    """Read in one piece, without a cache."""
    logprobs = model(torch.tensor([[*prompt, *tokens]]))[0].log_softmax(-1)
    return sum(logprobs[len(prompt) - 1 + i, token].item() for i, token in enumerate(tokens))


def everything(model: Llama, prompt: list[int], length: int, length_penalty: float) -> list[Hypothesis]:
    """Every text that ends with END or has `length` tokens, best first."""
    found = []
    for n in range(1, length + 1):
        for tokens in itertools.product(range(5), repeat=n):
            if END not in tokens[:-1] and (tokens[-1] == END or n == length):
                total = log_probability(model, prompt, tokens)
                found.append(Hypothesis(tokens, total, total / n**length_penalty))
    return sorted(found, key=lambda one: one.score, reverse=True)


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("prompt", [[0], [1, 2, 0]])
def test_a_beam_as_wide_as_the_tree_finds_what_trying_everything_finds(
    five_tokens: Llama, prompt: list[int], length_penalty: float
) -> None:
    expected = everything(five_tokens, prompt, 3, length_penalty)[:64]
    found = beam_search(
        five_tokens, prompt, num_beams=64, max_tokens=3, end_tokens={END}, length_penalty=length_penalty
    )
    assert [one.tokens for one in found[:20]] == [one.tokens for one in expected[:20]]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, rel=1e-5)
        assert ours.log_probability == pytest.approx(theirs.log_probability, rel=1e-5)


def test_one_beam_is_greedy_decoding(tiny_llama: Llama) -> None:
    for prompt in ([5], [7, 3, 250]):
        *greedy, _ = generate_tokens(tiny_llama, prompt, max_tokens=30)
        assert list(beam_search(tiny_llama, prompt, num_beams=1, max_tokens=30)[0].tokens) == greedy


def test_the_cache_follows_its_beams(tiny_llama: Llama) -> None:
    """Scores from reordered caches are those of reading each hypothesis afresh."""
    prompt = [9, 1, 77]
    steps = list(beam_search_steps(tiny_llama, prompt, num_beams=5, max_tokens=12))
    assert any(step.parents != sorted(set(step.parents)) for step in steps[1:])  # beams did cross and die
    for step in steps:
        for beam in step.running:
            assert beam.log_probability == pytest.approx(
                log_probability(tiny_llama, prompt, beam.tokens), abs=1e-4
            )


def test_more_beams_find_what_fewer_miss(five_tokens: Llama) -> None:
    """The reason for beams: over these prompts greedy decoding misses the most probable text at times."""
    better = 0
    for prompt in itertools.product(range(4), repeat=2):
        options = {"max_tokens": 4, "end_tokens": {END}, "length_penalty": 0.0}
        narrow = beam_search(five_tokens, list(prompt), num_beams=1, **options)[0].score
        wide = beam_search(five_tokens, list(prompt), num_beams=125, **options)[0].score
        assert wide >= narrow - 1e-6
        better += wide > narrow + 1e-4
    assert better > 0


def test_short_texts_win_without_a_length_penalty_and_long_ones_with_a_large_one(
    five_tokens: Llama,
) -> None:
    def length(length_penalty: float) -> int:
        found = beam_search(
            five_tokens, [2], num_beams=4, max_tokens=12, end_tokens={END}, length_penalty=length_penalty
        )
        return len(found[0].tokens)

    assert length(-3.0) <= length(0.0) < length(3.0) == 12


def test_it_stops_as_soon_as_no_beam_can_overtake(
    five_tokens: Llama,
) -> None:
    steps = list(
        beam_search_steps(five_tokens, [2], num_beams=2, max_tokens=25, end_tokens={END}, length_penalty=0.0)
    )
    last = steps[-1]
    assert len(steps) < 25
    assert last.running[0].log_probability <= last.finished[-1].score
    assert steps[-2].running[0].log_probability > steps[-2].finished[-1].score or (
        len(steps[-2].finished) < 2
    )


def test_the_best_extensions_are_of_all_beams_together() -> None:
    scores = torch.tensor([-1.0, -1.5])
    logprobs = torch.tensor([[0.6, 0.3, 0.1], [0.05, 0.05, 0.9]]).log()
    best, beams, tokens = best_extensions(scores, logprobs, 3)
    assert (beams.tolist(), tokens.tolist()) == ([0, 1, 0], [0, 2, 1])
    torch.testing.assert_close(best, torch.tensor([-1.0, -1.5, -1.0]) + torch.tensor([0.6, 0.9, 0.3]).log())
    assert len(best_extensions(scores, logprobs, 99)[0]) == 6


def test_normalization_by_length() -> None:
    assert length_normalized(-6.0, 3, 0.0) == -6.0
    assert length_normalized(-6.0, 3, 1.0) == -2.0
    assert length_normalized(-6.0, 3, 2.0) == pytest.approx(-6 / 9)


def test_stopping_returns_what_there_is(tiny_llama: Llama) -> None:
    stop = threading.Event()
    steps = beam_search_steps(tiny_llama, [1], num_beams=3, max_tokens=50, stop=stop)
    for _ in range(4):
        next(steps)
    stop.set()
    assert [len(one.tokens) for one in next(steps).finished] == [5, 5, 5]
    assert list(steps) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beams": 2, "length_penalty": float("nan")}, "length_penalty is nan"),
        ({"num_beams": 2, "max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_computed(
    tiny_llama: Llama, options: dict[str, float], words: str
) -> None:
    search: Callable[..., object] = beam_search_steps
    with pytest.raises(ValueError, match=words):
        search(tiny_llama, [1], **options)
    with pytest.raises(ValueError, match="the prompt is empty"):
        search(tiny_llama, [], num_beams=2)
    with pytest.raises(ContextFull):
        search(tiny_llama, [1] * 96, num_beams=2)
