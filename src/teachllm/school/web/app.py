"""The studio as an application: pages, the API that their scripts call, static files, the gate around them.

Every request finds the :class:`teachllm.school.web.studio.Studio` at ``request.app.state.studio``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from teachllm.school.progress import Store
from teachllm.school.runner import Runner
from teachllm.school.web import api, pages, refusals, static_files
from teachllm.school.web.body_limit import BodyLimit
from teachllm.school.web.chat_model import StudioModel
from teachllm.school.web.lab_runs import LabRuns
from teachllm.school.web.runs_folder import RUNS, RunsFolder
from teachllm.school.web.security import Gate
from teachllm.school.web.studio import Studio
from teachllm.school.web.studio_engine import StudioEngine

if TYPE_CHECKING:
    from teachllm.stack.chat import ChatModel


def create_app(
    *,
    store: Store,
    runner: Runner,
    token: str,
    port: int,
    load_chat_model: Callable[[], ChatModel] | None = None,
    runs: Path = RUNS,
) -> FastAPI:
    """The application to serve at 127.0.0.1:``port``; it closes ``store`` and ``runner`` when it ends.

    ``load_chat_model`` replaces the local model: it is called at the first question, in a thread.
    ``runs`` is the folder of the training runs that it shows.
    """
    gate = Gate(token, port)
    model = StudioModel(load_chat_model)
    studio = Studio(
        store=store,
        runner=runner,
        gate=gate,
        model=model,
        engine=StudioEngine(model),
        labs=LabRuns(runner),
        runs=RunsFolder(runs),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        runner.start()
        try:
            yield
        finally:
            await run_in_threadpool(studio.close)

    app = _Guarded(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.gate = gate
    app.state.studio = studio
    refusals.install(app)
    app.include_router(static_files.router)
    app.include_router(api.router, prefix="/api")
    app.include_router(pages.router)
    app.add_middleware(BodyLimit)
    return app


class _Guarded(FastAPI):
    """The gate stands outside of everything, also of the answers to errors."""

    gate: Gate

    def build_middleware_stack(self) -> ASGIApp:
        return self.gate.around(super().build_middleware_stack())
