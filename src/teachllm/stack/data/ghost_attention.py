"""Ghost Attention: training data that make a chat model keep to an instruction given once, at the beginning.

Of Llama 2, not Llama 3. It changes no attention: it is a way of writing a dialogue, and of choosing what is
learned from it. Touvron et al. 2023, arXiv:2307.09288, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from teachllm.stack.chat.messages import Message


@dataclass(frozen=True, slots=True)
class TrainingDialogue:
    """Turns to train on; `trained[i]` says whether the tokens of `turns[i]` count in the loss."""

    turns: tuple[Message, ...]
    trained: tuple[bool, ...]


def instructed_dialogue(dialogue: Sequence[Message], instruction: str) -> tuple[Message, ...]:
    """The dialogue with the instruction before every user turn: what answers are sampled from.

    ValueError: see `ghost_attention`.
    """
    _check(dialogue, instruction)
    return tuple(_instructed(turn, instruction) if turn.role == "user" else turn for turn in dialogue)


def ghost_attention(dialogue: Sequence[Message], instruction: str) -> TrainingDialogue:
    """The dialogue to train on: the instruction before the first user turn, the loss on the last answer.

    dialogue: user and assistant by turns, still without the instruction; its answers were sampled while the
    instruction stood before every user turn (`instructed_dialogue`). Tokens of earlier turns count nothing,
    answers included: without the instruction in their turns they no longer match the last one.
    ValueError, naming what is wrong, if the turns do not alternate from a user to an assistant, or the
    instruction is empty.
    """
    _check(dialogue, instruction)
    turns = (_instructed(dialogue[0], instruction), *dialogue[1:])
    return TrainingDialogue(turns, (*(False for _ in dialogue[:-1]), True))


def _instructed(turn: Message, instruction: str) -> Message:
    return replace(turn, content=f"{instruction}\n\n{turn.content}")


def _check(dialogue: Sequence[Message], instruction: str) -> None:
    problems = []
    if not instruction.strip():
        problems.append("the instruction is empty; give the sentence that is to hold throughout")
    roles = [turn.role for turn in dialogue]
    if not roles or len(roles) % 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        problems.append(
            f"its roles are {', '.join(roles) or 'none'}; user and assistant must take turns, "
            "from a question to an answer"
        )
    if problems:
        raise ValueError("this dialogue cannot be trained on: " + "; ".join(problems))
