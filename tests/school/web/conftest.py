"""A whole studio on a real port, on the small course of the tests, and a client that speaks like its page."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

FIXTURE_COURSE = Path(__file__).resolve().parents[2] / "fixtures" / "course"
TOKEN = "5f" * 32


@contextlib.contextmanager
def serving(app: Any, listener: socket.socket | None = None) -> Iterator[str]:
    """A real server in a thread; gives its address."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


@dataclass
class RunningStudio:
    address: str
    app: Any
    token: str

    @property
    def studio(self) -> Any:
        return self.app.state.studio

    @property
    def cookie(self) -> str:
        gate = self.studio.gate
        return f"{gate.cookie_name}={gate.cookie_value}"

    def client(self, lang: str = "en") -> httpx.Client:
        """Sends what a page of the studio in Chromium sends."""
        headers = {
            "cookie": self.cookie,
            "origin": self.address,
            "sec-fetch-site": "same-origin",
            "accept-language": lang,
        }
        return httpx.Client(base_url=self.address, headers=headers, timeout=60, trust_env=False)


@contextlib.contextmanager
def running_studio(home: Path, **options: Any) -> Iterator[RunningStudio]:
    from teachllm.school.progress import open_store
    from teachllm.school.runner import Runner
    from teachllm.school.web.app import create_app
    from teachllm.school.web.serve import find_place

    listener = find_place(TOKEN, home, 0).listener
    assert listener is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEACHLLM_HOME", str(home))
        patch.setenv("TEACHLLM_COURSE", str(FIXTURE_COURSE))
        options.setdefault("runs", home / "runs")
        app = create_app(
            store=open_store(), runner=Runner(), token=TOKEN, port=listener.getsockname()[1], **options
        )
        with serving(app, listener) as address:
            yield RunningStudio(address, app, TOKEN)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """One studio for the tests of a module."""
    with running_studio(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def page(studio: RunningStudio) -> Iterator[httpx.Client]:
    with studio.client() as client:
        yield client


@pytest.fixture(name="events_of")
def events_of_fixture() -> Callable[[httpx.Response], Iterator[dict[str, Any]]]:
    return events_of


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    return wait_until


@pytest.fixture(name="serving")
def serving_fixture() -> Callable[..., contextlib.AbstractContextManager[str]]:
    return serving


@pytest.fixture(name="running_studio")
def running_studio_fixture() -> Callable[..., contextlib.AbstractContextManager[RunningStudio]]:
    return running_studio
