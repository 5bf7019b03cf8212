"""The studio's one language model: loaded at the first question, off the event loop; one answer at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from teachllm.school.language import Both, Lang
from teachllm.school.progress.place import learner_home
from teachllm.school.tutor.endpoint import Endpoint, read_endpoint
from teachllm.school.web.event_log import EventLog
from teachllm.stack.chat import ChatModel, Event, Failure, Finish, Message, TextDelta, Usage

if TYPE_CHECKING:
    from teachllm.stack.inference import LanguageModel

log = logging.getLogger("teachllm.studio")

MODEL = "smollm2-135m-instruct"


class ModelBusy(RuntimeError):
    """It is writing another answer."""


class StudioModel:
    """Thread-safe. ``load`` gives the model; without it, the local one from its packaged file."""

    def __init__(self, load: Callable[[], ChatModel] | None = None) -> None:
        self._load = load
        self._model: ChatModel | None = None
        self._connected: tuple[Endpoint, ChatModel] | None = None
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._fetching: EventLog | None = None
        self._answer: Answer | None = None

    def status(self, lang: Lang) -> dict[str, Any]:
        """``{"ready", "title", "bytes", "message"}``; ready: the model's file is here."""
        from teachllm.stack.data.assets import known_asset

        wanted = known_asset(MODEL)
        problem = self.problem()
        return {
            "ready": problem is None,
            "title": wanted.title,
            "bytes": wanted.bytes,
            "message": (problem or _READY).get(lang),
        }

    def problem(self) -> Both | None:
        """Why it cannot answer, if it cannot."""
        if self._load is not None or self._model is not None:
            return None
        from teachllm.stack.data.assets import AssetDamaged, AssetMissing, asset

        try:
            asset(MODEL)
        except AssetDamaged:
            return _DAMAGED
        except AssetMissing:
            return _MISSING
        return None

    def language_model(self) -> LanguageModel | None:
        """The weights, tokenizer and template of the local model, which is loaded at the first call; ``None``
        where another model chats.
        """
        from teachllm.stack.inference import LocalChatModel

        model = self._loaded()
        return model.load() if isinstance(model, LocalChatModel) else None

    def connected(self) -> ChatModel | None:
        """A model that can judge and answer from text: the learner's endpoint, or one that was put in place
        of the local one, which is too small for that.
        """
        if self._load is not None:
            return self._loaded()
        endpoint = read_endpoint(learner_home())
        with self._lock:
            if endpoint is None:
                self._connected = None
            elif self._connected is None or self._connected[0] != endpoint:
                self._connected = (endpoint, endpoint.chat_model())
            return self._connected[1] if self._connected else None

    def fetch(self) -> EventLog:
        """Fetches the model's file, or joins the fetch that is going on. It goes on when nobody watches."""
        with self._lock:
            if self._fetching is None or self._fetching.closed:
                self._fetching = EventLog()
                threading.Thread(target=_fetch, args=(self._fetching,), name="fetch", daemon=True).start()
            return self._fetching

    def answer(
        self,
        model: ChatModel,
        messages: Sequence[Message],
        lang: Lang,
        writing: Writing,
        keep: Callable[[str], Told],
    ) -> Answer:
        """The next answer, to be begun. ``keep`` gets its text, or what there is of it when it is stopped.

        Raises :class:`ModelBusy` while another answer is being written.
        """
        with self._lock:
            if self._answer is not None and not self._answer.log.closed:
                raise ModelBusy
            self._answer = Answer(model, messages, lang, writing, keep)
            return self._answer

    def stop(self) -> bool:
        """Stops the answer that is being written; whether there was one."""
        answer = self._answer
        if answer is None or answer.log.closed:
            return False
        answer.stop()
        return True

    def _loaded(self) -> ChatModel:
        with self._loading:
            if self._model is None:
                self._model = (self._load or _local_model)()
            return self._model


Told: TypeAlias = dict[str, Any]


class Writing(Protocol):
    """What stands between a model and the reader: it takes pieces and gives back what may be shown."""

    def add(self, piece: str) -> str: ...

    def end(self) -> str: ...


class Answer:
    """One answer, written by a thread. Events: ``delta`` with ``text``; then ``done`` with what ``keep``
    told, or ``error``.
    """

    def __init__(
        self,
        model: ChatModel,
        messages: Sequence[Message],
        lang: Lang,
        writing: Writing,
        keep: Callable[[str], Told],
    ) -> None:
        self.log = EventLog()
        self._model = model
        self._messages = messages
        self._lang: Lang = lang
        self._writing = writing
        self._keep = keep
        self._text = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="answer", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if not self._thread.is_alive():
            self.log.close()

    def _work(self) -> None:
        try:
            event: Event | None = None
            usage: Usage | None = None
            pieces, began = 0, 0.0
            for event in self._model.stream(self._messages, stop=self._stopped):
                if isinstance(event, TextDelta):
                    began = began or time.perf_counter()
                    pieces += 1
                    self._show(self._writing.add(event.text))
                elif isinstance(event, Usage):
                    usage = event
            seconds = time.perf_counter() - began if began else 0.0
            if pieces:
                self._show(self._writing.end())
            told = self._keep(self._text) if self._text else {}
            if isinstance(event, Finish) and event.reason != "cancelled":
                tokens = usage.completion_tokens if usage else pieces
                speed = tokens / max(seconds, 1e-3)
                self.log.add({"event": "done", "tokens": tokens, "tokens_per_second": speed, **told})
            elif isinstance(event, Failure):
                known = _FAILURES.get(event.kind)
                message = known.get(self._lang) if known else event.message
                self.log.add({"event": "error", "message": message})
        except Exception as error:
            log.exception("the chat model failed")
            what = f"{type(error).__name__}: {error}"
            self.log.add({"event": "error", "message": what})
        finally:
            self.log.close()

    def _show(self, text: str) -> None:
        if text:
            self._text += text
            self.log.add({"event": "delta", "text": text})


_FAILURES: dict[str, Both] = {
    "asset": Both(
        "模型文件不在了或者坏了，重新下载一次。", "The model's file is missing or damaged; fetch it again."
    ),
    "context": Both(
        "这段对话已经超过模型能读的长度，开一段新的对话吧。",
        "This conversation is longer than the model can read; begin a new one.",
    ),
    "memory": Both(
        "这台电脑的内存不够写完这段对话的回答。关掉一些程序，或者开一段新的对话。",
        "There is not enough memory for this conversation. Close some programs, or begin a new one.",
    ),
}
_READY = Both("模型已就绪。", "The model is ready.")
_MISSING = Both("模型还没有下载。", "The model is not here yet.")
_DAMAGED = Both("模型文件坏了，重新下载一次。", "The model's file is damaged; fetch it again.")


def _local_model() -> ChatModel:
    from teachllm.stack.inference import LocalChatModel

    return LocalChatModel(MODEL)


def _fetch(log: EventLog) -> None:
    from teachllm.stack.data.assets import fetch

    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told > 0.1 or done == total:
            told = now
            log.add({"event": "progress", "done": done, "total": total})

    try:
        fetch(MODEL, progress)
        log.add({"event": "done"})
    except Exception as error:
        log.add({"event": "error", "message": str(error) or type(error).__name__})
    finally:
        log.close()
