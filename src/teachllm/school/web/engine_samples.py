"""Requests that show what an engine does: a beginning that all share, long prompts, texts side by side."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = (
    "You are a patient teacher who explains machine learning to a curious friend. Answer in two or "
    "three short sentences, use plain words, and give one small example from daily life when it helps."
)
PASSAGE = (
    "A language model reads a text from left to right and, at every position, says how probable each "
    "next token is. To do so it computes a key and a value for every token that it has read, in every "
    "layer, and keeps them, because every later token looks back at them. A server that answers many "
    "people at once must find room for the keys and values of all of them. If it set aside room for "
    "the longest possible answer each time, most of its memory would stay empty. So the memory is cut "
    "into small blocks of the same size, and a table says which blocks belong to which text, just as "
    "an operating system gives pages of memory to its programs. Two texts that begin alike can share "
    "the blocks of that beginning."
)


@dataclass(frozen=True)
class Wanted:
    """``before`` stands before the question; ``n`` texts are written side by side."""

    question: str
    n: int = 1
    before: str = ""


SAMPLES = (
    Wanted("What is a token?"),
    Wanted("Why does a model need attention?"),
    Wanted("Give me a name for a small robot.", n=3),
    Wanted("What is this passage about?", before=PASSAGE),
    Wanted("What does temperature change?"),
    Wanted("What is a block table?", before=PASSAGE),
    Wanted("What is a prompt?"),
    Wanted("How do I learn to program?"),
)
