"""What every test stands on: one thread a process, no network, data and caches of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Playwright

# Before torch or a BLAS is imported anywhere: two test processes on two cores must not fight over threads.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest


@pytest.fixture(autouse=True)
def learner_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner data folder of the test's own, so that no test touches the developer's progress."""
    home = tmp_path / "teachllm-home"
    home.mkdir()
    monkeypatch.setenv("TEACHLLM_HOME", str(home))
    monkeypatch.delenv("TEACHLLM_DATABASE", raising=False)
    return home


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; without one the browser tests skip, except in CI, where it must be there."""
    path = os.environ.get("TEACHLLM_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
    )
    if path is None:
        why = "no Chromium on PATH (install chromium, or set TEACHLLM_CHROMIUM to its path)"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return path


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The browser driver: one a process, and no event loop beside it, so it ends with its module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver
