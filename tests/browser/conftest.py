"""A real studio in a process of its own, and a real Chromium before it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright

ROOT = Path(__file__).resolve().parents[2]
FIXTURE_COURSE = ROOT / "tests" / "fixtures" / "course"


@dataclass
class RunningStudio:
    """``url`` lets one in (it carries the token); ``address`` is ``http://127.0.0.1:PORT``."""

    url: str
    home: Path
    process: subprocess.Popen[str] = field(repr=False)

    @property
    def address(self) -> str:
        return "http://" + urlsplit(self.url).netloc

    @property
    def token(self) -> str:
        return self.url.partition("token=")[2]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the API, as a tool that holds the token."""
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.token}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read().decode()
        return json.loads(text) if text else None

    def settle(self, **settings: Any) -> None:
        """Chooses settings, so that the first page is not the welcome."""
        for name, value in {"welcomed": True, **settings}.items():
            self.call("POST", "/api/settings", {name: value})

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait(timeout=20)


@contextlib.contextmanager
def running_studio(home: Path, course: Path | None = None, **environment: str) -> Iterator[RunningStudio]:
    """``teachllm start`` on a free port; learner data in ``home``, the project's course or another."""
    env = {**os.environ, "TEACHLLM_HOME": str(home), "PYTHONUNBUFFERED": "1", **environment}
    env.pop("TEACHLLM_DATABASE", None)
    env.pop("TEACHLLM_COURSE", None)
    if course is not None:
        env["TEACHLLM_COURSE"] = str(course)
    home.mkdir(parents=True, exist_ok=True)
    log = home / "studio.log"
    command = [sys.executable, "-m", "teachllm.cli", "start", "--port", "0", "--no-browser"]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, env=env, cwd=home, stdout=output, stderr=subprocess.STDOUT, text=True
        )
    try:
        yield RunningStudio(_link(process, log), home, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)


def _link(process: subprocess.Popen[str], log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", log.read_text("utf-8"))
        if found:
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.fail(f"the studio did not start:\n{log.read_text('utf-8')}")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """One studio for the tests of a module, on the small course of the tests."""
    with running_studio(tmp_path_factory.mktemp("home"), FIXTURE_COURSE) as running:
        yield running


@pytest.fixture(scope="module")
def browser(chromium: str, playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    yield browser
    browser.close()


@dataclass
class Watch:
    """What must not happen on a page: errors in its console, requests that leave the machine."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on(
            "console",
            lambda said: self.errors.append(f"{said.text} {said.location}") if said.type == "error" else None,
        )
        context.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.outside.append(url)

    def check(self) -> None:
        assert not self.errors, self.errors
        assert not self.outside, self.outside


@contextlib.contextmanager
def opened(browser: Browser, studio: RunningStudio, **options: Any) -> Iterator[tuple[Page, Watch]]:
    """A page of a browser of its own that has opened the studio's link. The watch is checked at the end."""
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})
    context.set_default_timeout(30_000)
    watch = Watch()
    watch.over(context)
    try:
        page = context.new_page()
        page.goto(studio.url)
        yield page, watch
        watch.check()
    finally:
        context.close()


@pytest.fixture
def page(browser: Browser, studio: RunningStudio) -> Iterator[Page]:
    """A fresh visitor at the first page. Fails on console errors and on requests to another machine."""
    with opened(browser, studio, locale="zh-CN") as (page, _):
        yield page


Visit = Callable[..., AbstractContextManager[tuple[Page, Watch]]]


@pytest.fixture
def visit(browser: Browser, studio: RunningStudio) -> Visit:
    """``with visit(color_scheme="dark") as (page, watch)``: :func:`opened` for this module's studio."""
    return partial(opened, browser, studio)


@pytest.fixture(scope="session")
def start_studio() -> Callable[..., AbstractContextManager[RunningStudio]]:
    """``with start_studio(home, course=None) as studio``, for tests that need one of their own."""
    return running_studio
