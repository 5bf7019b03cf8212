"""What FSRS knows of a card that was reviewed on two machines: all its reviews, replayed in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from teachllm.school.cards.reviews import memory_of_json
from teachllm.school.cards.schedule import after

_Review = tuple[Any, int, bool]


class Memories:
    """``ours`` and ``theirs``: the rows of the table of reviews."""

    def __init__(self, ours: Iterable[dict[str, Any]], theirs: Iterable[dict[str, Any]]) -> None:
        self._ours, self._theirs = _by_card(ours), _by_card(theirs)

    def choose(self, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
        """The row of a card that both have. The one with all reviews of the other stays as it is."""
        card = ours["id"]
        mine, other = self._ours[card], self._theirs[card]
        aside = {
            "suspended": ours["suspended"] or theirs["suspended"],
            "added": min(ours["added"], theirs["added"]),
            "place": ours["place"],
        }
        if other.keys() <= mine.keys():
            return ours | aside
        if mine.keys() <= other.keys():
            return theirs | aside
        return ours | aside | _replayed(card, mine | other)


def _by_card(reviews: Iterable[dict[str, Any]]) -> dict[str, dict[_Review, dict[str, Any]]]:
    found: dict[str, dict[_Review, dict[str, Any]]] = defaultdict(dict)
    for row in reviews:
        found[row["card"]][row["at"], row["rating"], row["undone"]] = row
    return found


def _replayed(card: str, reviews: dict[_Review, dict[str, Any]]) -> dict[str, Any]:
    undone = {(at, rating) for at, rating, was_undone in reviews if was_undone}
    in_order = sorted(reviews, key=lambda review: review[0])
    memory = memory_of_json(reviews[in_order[0]]["before"])  # a card from elsewhere began with a memory
    for at, rating, _ in in_order:
        if (at, rating) not in undone:
            memory = after(card, memory, rating, at)
    return asdict(memory)
