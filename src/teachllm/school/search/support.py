"""Whether the course says anything about a question: if not, to say so is the best answer.

Scores of a ranking do not tell it: a question about cats finds a section too. Two things do. A question that
the course answers uses words that the course has; and what a planned lesson will teach is said better by its
title and summary than by any section.
"""

from __future__ import annotations

import math

from teachllm.school.search.sections import STOP_WORDS, Asked, Sections
from teachllm.school.search.terms import runs
from teachllm.school.search.words import atoms

ENOUGH = 0.5
UNKNOWN = 5.0
"""What a word tells that the course does not have; rare words of the course tell about 7."""
# A logistic regression on dev.jsonl and unanswerable.jsonl (tests/school/questions) and on the cards.
# The bias is where it refuses 93 % of those that it should, and a tenth of the others in dev.jsonl.
KNOWN, PLANNED, BIAS = 10.7, -4.2, -7.6


def confidence_of(question: str, asked: Asked, sections: Sections) -> float:
    """How sure it is that the course answers, from 0 to 1: σ(a · known + b · planned / said + c).

    known: `known_share`. said and planned: how much the best section, and the best planned lesson, have of
    what the question's words tell.
    """
    said = float(asked.by_words[sections.texts].max(initial=0.0))
    if said == 0:
        return 0.0
    planned = float(asked.by_words[sections.planned].max(initial=0.0))
    logit = KNOWN * known_share(question, sections) + PLANNED * planned / said + BIAS
    return 1 / (1 + math.exp(-logit))


def known_share(question: str, sections: Sections) -> float:
    """How much of what the question's words tell is told by words that the course has, from 0 to 1.

    Chinese is cut into the words of a dictionary here: the pairs that the index has go across words, and are
    unknown although both words are known.
    """
    from teachllm.stack.retrieval.lexical.chinese import jieba_dictionary, segment  # numba comes along: 0.5 s

    found = atoms(question)
    words = [atom.text for atom in found if not atom.is_han]
    for _, run in runs(found):
        words += [word for word in segment(run, jieba_dictionary()) if len(word) > 1]
    known = total = 0.0
    for word in words:
        if word not in STOP_WORDS:
            worth = sections.rarity(word)
            known += worth or 0.0
            total += UNKNOWN if worth is None else worth
    return known / total if total else 0.0
