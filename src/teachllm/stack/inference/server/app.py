"""The server as an application: OpenAI's endpoints over one engine, behind a gate, with limits."""

from __future__ import annotations

import secrets

from fastapi import FastAPI

from teachllm.stack.inference.engine.service import Service
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.server import errors, routes
from teachllm.stack.inference.server.admission import Admission
from teachllm.stack.inference.server.body_limit import BodyLimit
from teachllm.stack.inference.server.embeddings import Embedder, Embeddings
from teachllm.stack.inference.server.gate import Gate
from teachllm.stack.inference.server.metrics import Metrics
from teachllm.stack.inference.server.serving import ServerLimits, Serving


def create_app(
    language_model: LanguageModel,
    service: Service,
    *,
    names: tuple[str, ...],
    api_key: str | None = None,
    limits: ServerLimits | None = None,
    embedder: Embedder | None = None,
) -> FastAPI:
    """The application; whoever made `service` closes it. Without `api_key`, browsers are kept out.

    embedder: what answers at /v1/embeddings, if anything does.
    """
    limits = limits or ServerLimits()
    admission = Admission(limits.most_open)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.serving = serving = Serving(
        language_model,
        service,
        names,
        limits,
        admission,
        Metrics(service.snapshot, admission),
        view_key=secrets.token_hex(32),
        embeddings=None if embedder is None else Embeddings.of(embedder),
    )
    errors.install(app)
    app.include_router(routes.router)
    app.add_middleware(BodyLimit, most_bytes=limits.most_bytes, seconds=limits.body_seconds)
    app.add_middleware(Gate, api_key=api_key, view_key=serving.view_key)
    return app
