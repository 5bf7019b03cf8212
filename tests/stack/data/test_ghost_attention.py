"""Ghost Attention: where the instruction stands, and what is learned from."""

from __future__ import annotations

import pytest

from teachllm.stack.chat.messages import Message
from teachllm.stack.data.ghost_attention import ghost_attention, instructed_dialogue

INSTRUCTION = "Always answer in upper case."


def dialogue(n_turns: int) -> list[Message]:
    turns = []
    for i in range(n_turns):
        turns += [Message("user", f"question {i}"), Message("assistant", f"ANSWER {i}")]
    return turns


def test_answers_are_sampled_with_the_instruction_before_every_question() -> None:
    given = dialogue(3)
    turns = instructed_dialogue(given, INSTRUCTION)
    assert [INSTRUCTION in turn.content for turn in turns] == [True, False] * 3
    assert all(turn.content.endswith(old.content) for turn, old in zip(turns, given, strict=True))


@pytest.mark.parametrize("n_turns", [1, 2, 5])
def test_trained_with_the_instruction_once_and_the_loss_on_the_last_answer(n_turns: int) -> None:
    given = dialogue(n_turns)
    training = ghost_attention(given, INSTRUCTION)
    assert training.turns[0].content == f"{INSTRUCTION}\n\nquestion 0"
    assert list(training.turns[1:]) == given[1:]
    assert training.trained == (False,) * (2 * n_turns - 1) + (True,)
    assert given[0].content == "question 0"


@pytest.mark.parametrize(
    ("roles", "instruction", "said"),
    [
        ("", INSTRUCTION, "none"),
        ("ua u", INSTRUCTION, "user, assistant, user"),
        ("au", INSTRUCTION, "take turns"),
        ("uaau", INSTRUCTION, "take turns"),
        ("ua", "  ", "instruction is empty"),
    ],
)
def test_what_cannot_be_trained_on_is_told(roles: str, instruction: str, said: str) -> None:
    names = {"u": "user", "a": "assistant"}
    turns = [Message(names[role], "text") for role in roles.replace(" ", "")]  # pyright: ignore[reportArgumentType]
    for function in (ghost_attention, instructed_dialogue):
        with pytest.raises(ValueError, match=said):
            function(turns, instruction)
