"""How an engine stands, as JSON for a dashboard that looks twice a second."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from teachllm.stack.inference.engine.blocks import BlockState
from teachllm.stack.inference.engine.snapshot import EngineSnapshot

LETTERS: dict[BlockState, str] = {"unused": "-", "cached": "c", "owned": "o", "shared": "s"}


def engine_view(snapshot: EngineSnapshot) -> dict[str, Any]:
    """The fields of `EngineSnapshot`; `blocks` is one letter for each (see LETTERS), since there are many."""
    return {**asdict(snapshot), "blocks": "".join(LETTERS[state] for state in snapshot.blocks)}
