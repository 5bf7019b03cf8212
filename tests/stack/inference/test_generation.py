"""Generation: what is written, where it ends, what is held back, and how it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from teachllm.stack.inference import End, Piece, Sampling, StopStrings, generate, generate_tokens
from teachllm.stack.inference.generation import STEP, ContextFull
from teachllm.stack.models.llama import Llama
from teachllm.stack.tokenizer import Tokenizer

MakeReciter = Callable[..., Any]


def read(events: Iterator[Piece | End]) -> tuple[str, list[int], End]:
    *pieces, end = events
    assert isinstance(end, End)
    tokens = [piece.token for piece in pieces if isinstance(piece, Piece)]
    assert len(tokens) == len(pieces) == end.completion_tokens
    return "".join(event.text for event in [*pieces, end]), tokens, end


def test_the_text_ends_at_an_end_token(tokenizer: Tokenizer, reciter: MakeReciter) -> None:
    end_token = tokenizer.special_tokens["<|end|>"]
    model = reciter([*tokenizer.encode("好 ok"), end_token])
    text, tokens, end = read(generate(model, tokenizer, "abc", end_tokens={end_token}))
    assert text == "好 ok"
    assert tokenizer.decode(tokens) == text
    assert end == End("stop", "", prompt_tokens=3, completion_tokens=6)
    assert model.steps == [3, *[1] * 6]  # the prompt in one step, then one token a step


def test_half_a_character_is_never_shown(tokenizer: Tokenizer, reciter: MakeReciter) -> None:
    model = reciter(tokenizer.encode("你好"))
    *pieces, end = generate(model, tokenizer, "x", max_tokens=4)
    assert [piece.text for piece in pieces] == ["", "", "你", ""]
    assert isinstance(end, End)
    assert (end.reason, end.text) == ("length", "\ufffd")


@pytest.mark.parametrize(
    ("written", "stops", "shown"),
    [
        ("one\nUser: two", ("\nUser:",), "one"),
        ("one\nUse it", ("\nUser:",), "one\nUse it"),
        ("a<b>c", ("<b>", "c"), "a"),
        ("aaab", ("aab",), "a"),
        ("end", ("end",), ""),
        ("你好吗", ("好",), "你"),
        ("open <", ("<|",), "open <"),
    ],
)
def test_the_text_ends_before_a_stop_string(
    tokenizer: Tokenizer, reciter: MakeReciter, written: str, stops: tuple[str, ...], shown: str
) -> None:
    ids = tokenizer.encode(written)
    events = generate(reciter(ids), tokenizer, "x", max_tokens=len(ids), stop_strings=stops)
    text, _, end = read(events)
    assert text == shown
    assert end.reason == ("length" if shown == written else "stop")


@given(
    text=st.text("ab", max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=6),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_stop_strings_do_not_depend_on_the_pieces(text: str, cuts: list[int], stops: list[str]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole, pieces = StopStrings(stops), StopStrings(stops)
    one_by_one = "".join(whole.push(character) for character in text) + whole.flush()
    shown = [pieces.push(text[start:end]) for start, end in pairwise(edges)]
    joined = "".join(shown) + pieces.flush()
    assert whole.stopped == pieces.stopped == any(stop in text for stop in stops)
    assert text.startswith(one_by_one)
    assert not any(stop in joined for stop in stops)
    if not whole.stopped:
        assert one_by_one == joined == text


def test_text_waits_only_while_a_stop_string_may_begin() -> None:
    stops = StopStrings(["\n\nQ"])
    assert [stops.push(text) for text in ("hi", "\n", "\n", "A", "\n\n")] == ["hi", "", "", "\n\nA", ""]
    assert stops.flush() == "\n\n"
    assert not stops.stopped
    with pytest.raises(ValueError, match="not empty"):
        StopStrings([""])


def test_max_tokens_and_the_context_end_it(tokenizer: Tokenizer, reciter: MakeReciter) -> None:
    _, tokens, end = read(generate(reciter([65], context_length=10), tokenizer, "abc", max_tokens=4))
    assert (len(tokens), end.reason) == (4, "length")
    _, tokens, end = read(generate(reciter([65], context_length=10), tokenizer, "abc"))
    assert (len(tokens), end.reason) == (7, "context")
    _, tokens, end = read(generate(reciter([65], context_length=10), tokenizer, "abcdefghi", max_tokens=4))
    assert (len(tokens), end.reason) == (1, "context")


def test_what_cannot_be_continued_is_refused_at_once(tokenizer: Tokenizer, reciter: MakeReciter) -> None:
    model = reciter([65], context_length=3)
    with pytest.raises(ContextFull, match="has 3 tokens; this model reads 3 in all"):
        generate(model, tokenizer, "abc")
    with pytest.raises(ValueError, match="prompt is empty"):
        generate(model, tokenizer, "")
    with pytest.raises(ValueError, match="max_tokens is 0"):
        generate(model, tokenizer, "a", max_tokens=0)
    assert model.steps == []


def test_a_long_prompt_is_read_in_steps_that_can_be_stopped(
    tokenizer: Tokenizer, reciter: MakeReciter, stop: threading.Event
) -> None:
    prompt = [65] * (2 * STEP + 7)
    model = reciter([66], context_length=5_000)
    read(generate(model, tokenizer, prompt, max_tokens=1))
    assert model.steps == [STEP, STEP, 7]
    model = reciter([66], context_length=5_000, on_step=lambda step: step == 1 and stop.set())
    text, _, end = read(generate(model, tokenizer, prompt, stop=stop))
    assert (text, end.reason, model.steps) == ("", "cancelled", [STEP, STEP])


def test_stopped_from_another_thread(
    tokenizer: Tokenizer, reciter: MakeReciter, stop: threading.Event
) -> None:
    def set_in_a_thread(step: int) -> None:
        if step == 4:
            thread = threading.Thread(target=stop.set)
            thread.start()
            thread.join()

    model = reciter(tokenizer.encode("abc"), on_step=set_in_a_thread)
    text, tokens, end = read(generate(model, tokenizer, "x", stop=stop))
    assert end.reason == "cancelled"
    assert text == tokenizer.decode(tokens) == "abcab"


def test_the_cache_changes_nothing(tiny_llama: Llama) -> None:
    prompt = [5, 200, 31, 7]
    *cached, reason = generate_tokens(tiny_llama, prompt, max_tokens=40)
    assert reason == "length"
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(40):
            tokens.append(int(tiny_llama(torch.tensor([tokens]))[0, -1].argmax()))
    assert cached == tokens[4:]
    assert len(set(cached)) > 5  # it says something


def test_a_seed_repeats_the_text(tiny_llama: Llama) -> None:
    def written(seed: int | None) -> list[object]:
        sampling = Sampling(temperature=1.0, top_p=0.95, repetition_penalty=1.2, seed=seed)
        return list(generate_tokens(tiny_llama, [1, 2], sampling=sampling, max_tokens=20))

    assert written(7) == written(7)
    assert written(7) != written(8)
    assert written(None) != written(None)


def test_between_two_tokens_gradients_work(tiny_llama: Llama, tokenizer: Tokenizer) -> None:
    for _ in generate(tiny_llama, tokenizer, "x", max_tokens=3):
        assert not torch.is_inference_mode_enabled()
        assert torch.ones(2, requires_grad=True).sum().requires_grad
