"""Grammars over the tokens of our tokenizer."""

from __future__ import annotations

import json
import re

import pytest
import torch

from teachllm.stack.inference.engine.request import Constraint
from teachllm.stack.inference.engine.structured import GrammarError, GrammarParser, Grammars
from teachllm.stack.tokenizer import Tokenizer

SPECIAL = ("<|start|>", "<|end|>")
TEXT = 'yes no "a": true, {"name": "小明", "age": 12} the quick brown fox " : ' * 3


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    """With tokens of several characters, and of pieces of one."""
    return Tokenizer.train([TEXT], 300, special_tokens=SPECIAL)


@pytest.fixture(scope="module")
def end(trained: Tokenizer) -> int:
    return trained.special_tokens["<|end|>"]


def allowed(parser: GrammarParser, vocab: int) -> set[int]:
    return set(parser.masked(torch.zeros(vocab)).isfinite().nonzero()[:, 0].tolist())


def random_text(parser: GrammarParser, tokenizer: Tokenizer, end: int, seed: int) -> str | None:
    """A text that random logits write; None if it does not come to an end."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = []
    while not parser.is_over and len(ids) < 300:
        logits = torch.randn(tokenizer.vocab_size + 5, generator=generator) * 3
        logits[end] += 3
        token = int(parser.masked(logits).argmax())
        if token == end:
            return tokenizer.decode(ids)
        parser.accept(token)
        ids.append(token)
    return tokenizer.decode(ids) if parser.is_over else None


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "tags": {"type": "array", "items": {"enum": ["a", "小"]}, "minItems": 1, "maxItems": 3},
        "deep": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]},
    },
    "required": ["name", "tags", "deep"],
    "additionalProperties": False,
}


def test_what_random_logits_write_parses(trained: Tokenizer, end: int) -> None:
    grammars = Grammars(trained)
    n_complete = 0
    for seed in range(12):
        text = random_text(grammars.parser(Constraint.json_schema(SCHEMA), {end}), trained, end, seed)
        if text is not None:
            value = json.loads(text)
            assert set(value) == {"name", "tags", "deep"}
            assert isinstance(value["name"], str)
            assert 1 <= len(value["tags"]) <= 3
            assert isinstance(value["deep"]["ok"], bool)
            n_complete += 1
    assert n_complete > 5


@pytest.mark.parametrize("pattern", ["[ab]+c?", r"\d{3}-\d{2}", "(小明|the quick)+!"])
def test_a_regular_expression_matches_the_whole_text(trained: Tokenizer, end: int, pattern: str) -> None:
    grammars = Grammars(trained)
    texts = [
        random_text(grammars.parser(Constraint.regex(pattern), {end}), trained, end, s) for s in range(8)
    ]
    assert all(text is None or re.fullmatch(pattern, text) for text in texts)
    assert any(texts)


def test_choices_are_taken_as_they_are_written(trained: Tokenizer, end: int) -> None:
    choices = ["yes", "小明", 'a "quote"\nand more', "no|yes", r"\d"]
    grammars = Grammars(trained)
    found = {
        random_text(grammars.parser(Constraint.choice(choices), {end}), trained, end, s) for s in range(40)
    }
    assert len(found) > 3
    assert found <= set(choices)
    for text in choices:
        parser = grammars.parser(Constraint.choice(choices), {end})
        for byte in text.encode():
            assert not parser.is_over
            parser.accept(byte)
        assert allowed(parser, 300) == {end}


def test_tokens_of_several_characters_and_end_tokens(trained: Tokenizer, end: int) -> None:
    parser = Grammars(trained).parser(Constraint.regex("yes|y"), {end})
    ids = trained.encode("yes")
    assert {trained.token_to_id("y"), ids[0]} <= allowed(parser, 320)
    parser.accept(ord("y"))
    assert end in allowed(parser, 320)  # "y" is complete, and "es" may follow
    assert trained.special_tokens["<|start|>"] not in allowed(parser, 320)
    other = parser.copy()
    other.accept(ord("e"))
    assert end not in allowed(other, 320)
    other.accept(ord("s"))
    assert other.is_over
    assert not parser.is_over
    # Without end tokens, nothing but the grammar ends a text.
    endless = Grammars(trained).parser(Constraint.regex("y+"), ())
    endless.accept(ord("y"))
    assert all(set(trained.decode([token])) == {"y"} for token in allowed(endless, 320))


@pytest.mark.parametrize(
    ("constraint", "why"),
    [
        (Constraint.regex("(a"), "regular expression cannot be compiled.*unclosed"),
        (Constraint.regex("(?=a)b"), "look-ahead"),
        (Constraint.json_schema({"type": "numbers"}), "JSON Schema cannot be compiled.*numbers"),
        (Constraint.json_schema({"type": "string", "minLength": 3, "maxLength": 2}), "Unsatisfiable"),
    ],
)
def test_what_is_no_grammar_is_refused(
    trained: Tokenizer, end: int, constraint: Constraint, why: str
) -> None:
    with pytest.raises(GrammarError, match=re.compile(why, re.DOTALL)):
        Grammars(trained).parser(constraint, {end})


def test_constraints_say_what_is_wrong_with_them() -> None:
    with pytest.raises(ValueError, match="at least one text"):
        Constraint.choice([])
    with pytest.raises(ValueError, match="none of them empty"):
        Constraint.choice(["a", ""])
    with pytest.raises(ValueError, match="written in JSON"):
        Constraint.json_schema({"type": object()})
