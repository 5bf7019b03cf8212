"""Spelling: what a model that sees tokens does not see are the letters. Spell, reverse or count them."""

from __future__ import annotations

from random import Random

from teachllm.stack.data.tasks.task import ANSWER, Task, TaskKind

_CONSONANTS, _VOWELS = "bcdfghklmnprstvwz", "aeiou"


def spelling(random: Random, difficulty: int) -> Task:
    """A made-up word of up to 2 · `difficulty` + 1 letters, to spell, to write backwards or to count in."""
    word = made_up_word(random, random.randint(2, 2 * difficulty + 1))
    spelled = "-".join(word)
    match random.choice(("spell", "reverse", "count")):
        case "spell":
            return Task("spelling", f"Spell {word}.", f"{ANSWER}{spelled}", spelled)
        case "reverse":
            answer = word[::-1]
            return Task("spelling", f"Write {word} backwards.", f"{spelled}\n{ANSWER}{answer}", answer)
        case _:
            letter = random.choice(word)
            answer = str(word.count(letter))
            return Task(
                "spelling",
                f"How many {letter} are in {word}?",
                f"{counted_letters(word, letter)}\n{ANSWER}{answer}",
                answer,
            )


def counted_letters(word: str, letter: str) -> str:
    """The letters one by one, with the number of those that were the wanted one: ``b 0, a 1, n 1, a 2``."""
    return ", ".join(f"{other} {word[: i + 1].count(letter)}" for i, other in enumerate(word))


def made_up_word(random: Random, n_letters: int) -> str:
    """Consonants and vowels by turns, so that it can be said."""
    vowel_first = random.random() < 0.5
    return "".join(random.choice(_VOWELS if (i + vowel_first) % 2 else _CONSONANTS) for i in range(n_letters))


def is_right_spelling(task: Task, answer: str) -> bool:
    """The same letters or number, in small or capital letters."""
    return answer.rstrip(".").casefold() == task.answer


SPELLING = TaskKind("spelling", "letters of a word: spelled, backwards, counted", spelling, is_right_spelling)
