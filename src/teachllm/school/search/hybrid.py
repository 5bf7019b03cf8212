"""What was typed, found as words and as a question. Both rankings become one by their ranks (RRF)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from teachllm.school.language import Lang
from teachllm.school.search.index import Match, Query
from teachllm.school.search.meaning import Meaning
from teachllm.school.search.sections import STOP_WORDS, Asked, Sections
from teachllm.stack.retrieval.fusion import reciprocal_rank_fusion
from teachllm.stack.retrieval.hits import Hits

QUESTION = 4.0
"""What has so many words, stop words apart, is a question; a Chinese word has about 1.6 characters."""
DEPTH = 20


def with_sections(
    matches: list[Match], sections: Sections, meaning: Meaning | None, query: Query, lang: Lang
) -> list[Match]:
    """``matches`` and the sections that speak about it: two rankings fused for a question; for a word or two
    the matches, which hold what was typed.
    """
    if _n_words(query) < QUESTION or not sections.places:
        return matches
    about = sections_about(sections, sections.ask(query.text, lang, meaning, by_token=False), lang)
    places = {match.entry.place: number for number, match in reversed([*enumerate([*matches, *about])])}
    rankings = [_ranking([places[match.entry.place] for match in one]) for one in (matches, about)]
    shown = {places[match.entry.place]: match for match in (*about, *matches)}
    fused = reciprocal_rank_fusion(rankings, max(1, len(shown)))
    return [Match(shown[number].entry, score, shown[number].nearest) for number, score in fused.of(0)]


def sections_about(sections: Sections, asked: Asked, lang: Lang) -> list[Match]:
    """The best sections, each as the part of its text that says most, then its card if that fits well."""
    found = []
    for number in np.argsort(-asked.sections, kind="stable")[:DEPTH].tolist():
        entry = sections.best_entry(number, asked, lang)
        if asked.sections[number] > 0 and entry is not None:
            score, nearest = float(asked.sections[number]), asked.nearest.get(entry, "")
            found.append(Match(sections.index.entries[entry], score, nearest))
            if (card := sections.best_aside([number], "card", asked, lang)) is not None:
                found.append(Match(sections.index.entries[card], score))
    return found


def _n_words(query: Query) -> float:
    """What is written together counts once: a name of code is no question."""
    found = query.atoms
    n = sum(atom.is_han for atom in found) / 1.6
    for number, atom in enumerate(found):
        follows = number and not query.text[found[number - 1].end : atom.start].isspace()
        n += not atom.is_han and not follows and atom.text not in STOP_WORDS
    return n


def _ranking(numbers: Sequence[int]):

    ids = np.array([numbers], dtype=np.int64).reshape(1, -1)
    return Hits(ids, -np.arange(ids.shape[1], dtype=np.float32)[None])
