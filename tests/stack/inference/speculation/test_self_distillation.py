"""What a model writes to be learned from, and the prompts that it is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from teachllm.stack.inference import LanguageModel, generate_tokens, load_language_model
from teachllm.stack.inference.speculation.self_distillation import (
    encoded_prompts,
    everyday_questions,
    questions_about,
    write_answers,
)

PROSE = (
    "A cache keeps what was computed, so that it is not computed again. It costs memory, and it must be "
    "emptied when what it keeps is no longer true."
)


def test_paragraphs_of_prose_become_tasks() -> None:
    text = f"# Title\n\n{PROSE}\n\n| a | table |\n\nshort\n\n{PROSE} With `code` in it.\n\n{PROSE}"
    first, second = questions_about([text])
    assert first.endswith(PROSE)
    assert second.endswith(PROSE)
    assert first != second  # another task
    assert len(set(everyday_questions())) == len(everyday_questions()) > 500


def test_prompts_are_questions_in_a_conversation(recite: Callable[..., LanguageModel]) -> None:
    model, without_template = recite("yes"), recite("yes", template=None)
    (ids,) = encoded_prompts(model, ["Why?"], seed=0)
    assert model.tokenizer.decode(ids, skip_special=True) == "user:Why?assistant:"
    assert encoded_prompts(without_template, ["Why?"], seed=0) == [without_template.encode_text("Why?")]
    shuffled = encoded_prompts(without_template, ["a", "b", "c", "d"], seed=1)
    assert sorted(shuffled) == [without_template.encode_text(text) for text in "abcd"]


def test_answers_are_those_of_the_model(model_folder: Path) -> None:
    loaded = load_language_model(str(model_folder), "cpu", torch.float32)
    prompts = [loaded.encode_text(text) for text in ("One", "Two more", "And three")]
    texts = list(
        write_answers(loaded, prompts, n_tokens=1000, max_tokens=9, temperature=0, seed=0, at_once=2)
    )
    found = {text.tokens[: text.n_prompt]: list(text.tokens[text.n_prompt :]) for text in texts}
    for prompt in prompts:
        *expected, _ = generate_tokens(loaded.model, prompt, max_tokens=9, end_tokens=loaded.end_tokens)
        assert found[tuple(prompt)] == expected
    few = list(write_answers(loaded, prompts, n_tokens=1, max_tokens=9, temperature=0, seed=0, at_once=1))
    assert len(few) == 1
    with pytest.raises(ValueError, match="max_tokens is 0"):
        list(write_answers(loaded, prompts, n_tokens=9, max_tokens=0, temperature=0, seed=0))
