"""What decides an index's scores beside its texts: kept with it on disk, and made again from there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from teachllm.stack.retrieval.lexical.analysis import Analyzer, TextAnalyzer
from teachllm.stack.retrieval.lexical.bm25 import BM25
from teachllm.stack.retrieval.lexical.tf_idf import TfIdf
from teachllm.stack.retrieval.saved_index import SavedIndexError

Weighting = BM25 | TfIdf
"""What a score is made of: the score of a document is the sum of query weight · posting weight over their
terms.
"""
WEIGHTINGS: dict[str, type[Weighting]] = {"bm25": BM25, "tf-idf": TfIdf}


def weighting_settings(weighting: Weighting) -> dict[str, Any]:
    """As JSON: its name and its numbers."""
    name = next(name for name, kind in WEIGHTINGS.items() if isinstance(weighting, kind))
    return {"name": name, **asdict(weighting)}


def saved_weighting(settings: dict[str, Any]) -> Weighting:
    """The one that `weighting_settings` wrote down. KeyError, TypeError or ValueError for another."""
    return WEIGHTINGS[settings["name"]](**{key: value for key, value in settings.items() if key != "name"})


def saved_analyzer(folder: Path, settings: dict[str, Any], given: Analyzer | None) -> Analyzer:
    """The analyzer with these settings: `given`, or one made of them. Raises `SavedIndexError`."""
    if given is None:
        try:
            return TextAnalyzer(**settings)
        except TypeError:
            raise SavedIndexError(
                f"{folder} was made with another kind of analyzer, {settings}; give it to `open`"
            ) from None
    if json.loads(json.dumps(given.settings)) != settings:
        raise SavedIndexError(
            f"{folder} was made with an analyzer with other settings than the one given: {settings}"
        )
    return given
