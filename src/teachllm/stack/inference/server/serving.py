"""What the requests of one server share, and the limits that each of them has."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from teachllm.stack.inference.engine.service import Service
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.server.admission import Admission
from teachllm.stack.inference.server.embeddings import Embeddings
from teachllm.stack.inference.server.metrics import Metrics


@dataclass(frozen=True)
class ServerLimits:
    """ValueError names everything that is out of range.

    most_open: requests that run or wait; more are refused with 429. most_bytes: of a request's body.
    body_seconds, answer_seconds: for the body to arrive, for the whole answer. write_seconds: who reads
    nothing of a stream for so long is taken to have left. heartbeat: seconds between signs of life in a
    stream. drain_seconds: what running answers have when the server ends.
    """

    most_open: int = 2048
    most_bytes: int = 2_000_000
    body_seconds: float = 30.0
    answer_seconds: float = 600.0
    write_seconds: float = 60.0
    heartbeat: float = 10.0
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        limits = vars(self).items()
        problems = [f"{name} is {value}; it must be above 0" for name, value in limits if value <= 0]
        if problems:
            raise ValueError("these limits let nobody in: " + "; ".join(problems))


@dataclass(frozen=True)
class Serving:
    """What the requests of one server share; lives as ``app.state.serving``. names: of the model, the first
    is what it calls itself. embeddings: None where no embedding model is served.
    """

    language_model: LanguageModel
    service: Service
    names: tuple[str, ...]
    limits: ServerLimits
    admission: Admission
    metrics: Metrics
    view_key: str
    embeddings: Embeddings | None = None
    began: int = field(default_factory=lambda: int(time.time()))


def serving_of(request: Request) -> Serving:
    return request.app.state.serving


TheServing: TypeAlias = Annotated[Serving, Depends(serving_of)]
