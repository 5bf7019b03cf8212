"""The studio's one language model: loaded at the first question, off the event loop; one answer at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from teachllm.school.language import Both, Lang
from teachllm.school.web.event_log import EventLog

if TYPE_CHECKING:
    from teachllm.stack.chat import ChatModel

MODEL = "smollm2-135m-instruct"
TITLE = "SmolLM2-135M-Instruct"


class StudioModel:
    """Thread-safe. ``load`` gives the model; without it, the local one from its packaged file."""

    def __init__(self, load: Callable[[], ChatModel] | None = None) -> None:
        self._load = load
        self._model: ChatModel | None = None
        self._lock = threading.Lock()
        self._fetching: EventLog | None = None
        self.generating = threading.Lock()
        """Held by the one answer that is being written."""

    def status(self, lang: Lang) -> dict[str, Any]:
        """``{"ready", "name", "title", "bytes", "message"}``; ready: the model's file is here."""
        from teachllm.stack.data.assets import ASSETS

        ready = self.is_here()
        message = Both("模型已就绪。", "The model is ready.") if ready else _MISSING
        return {
            "ready": ready,
            "name": MODEL,
            "title": TITLE,
            "bytes": ASSETS[MODEL].bytes,
            "message": message.get(lang),
        }

    def is_here(self) -> bool:
        if self._load is not None:
            return True
        from teachllm.stack.data.assets import AssetMissing, asset

        try:
            asset(MODEL)
        except AssetMissing:
            return False
        return True

    def fetch(self) -> EventLog:
        """Fetches the model's file, or joins the fetch that is going on. It goes on when nobody watches."""
        with self._lock:
            if self._fetching is None or self._fetching.closed:
                self._fetching = EventLog()
                threading.Thread(target=_fetch, args=(self._fetching,), name="fetch", daemon=True).start()
            return self._fetching

    def loaded(self) -> ChatModel:
        """The model; the first call loads it. Raises ``AssetMissing`` if its file is not here."""
        with self._lock:
            if self._model is None:
                self._model = (self._load or _local_model)()
            return self._model

    def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self._model = None


_MISSING = Both("模型还没有下载。", "The model is not here yet.")


def _local_model() -> ChatModel:
    from teachllm.stack.inference import LocalChatModel

    return LocalChatModel(MODEL)


def _fetch(log: EventLog) -> None:
    from teachllm.stack.data.assets import fetch

    def progress(done: int, total: int) -> None:
        log.add({"event": "progress", "done": done, "total": total})

    try:
        fetch(MODEL, progress)
        log.add({"event": "done"})
    except Exception as error:
        log.add({"event": "error", "message": str(error)})
    finally:
        log.close()
