"""The studio's own engine: the chat's weights, and a few requests that show what an engine does."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from teachllm.school.language import Both
from teachllm.school.web.chat_model import StudioModel
from teachllm.school.web.engine_samples import SAMPLES, SYSTEM

if TYPE_CHECKING:
    from teachllm.stack.inference.engine.service import Answer, EngineService
    from teachllm.stack.inference.language_model import LanguageModel

log = logging.getLogger("teachllm.studio")

# Small enough to see: a budget that a long prompt does not fit in, blocks that can be counted.
MAX_BATCH_TOKENS = 96
MAX_RUNNING = 16
N_BLOCKS = 192
PAUSE = 0.4
"""Seconds between two requests, so that one sees them come in."""
MAX_TOKENS = 64


class NoSamples(RuntimeError):
    """None can be sent now; ``why`` says why."""

    def __init__(self, why: Both) -> None:
        super().__init__(why.en)
        self.why = why


@dataclass
class Sample:
    """How far a sample request is. state: asked, writing, done, stopped or failed."""

    request: str
    question: str
    texts: list[str]
    state: str = "asked"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "texts": list(self.texts)}


class StudioEngine:
    """Begins at the first samples, and keeps its memory until the studio closes. Thread-safe."""

    def __init__(self, model: StudioModel) -> None:
        self._model = model
        self._service: EngineService | None = None
        self._language_model: LanguageModel | None = None
        self._samples: list[Sample] = []
        self._answers: list[Answer] = []
        self._sender: threading.Thread | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def is_sending(self) -> bool:
        """Whether samples are on their way or being answered."""
        with self._lock:
            return self._is_sending

    @property
    def _is_sending(self) -> bool:
        under_way = any(sample.state in ("asked", "writing") for sample in self._samples)
        return under_way or (self._sender is not None and self._sender.is_alive())

    def samples(self) -> list[dict[str, Any]]:
        """Those of the last time, the first one first."""
        with self._lock:
            return [sample.to_json() for sample in self._samples]

    def about(self) -> dict[str, str]:
        """What it runs: name, device, dtype; nothing before it has begun."""
        if self._language_model is None:
            return {"model": "", "device": "", "dtype": ""}
        return {
            "model": self._language_model.name,
            "device": str(self._language_model.device),
            "dtype": str(self._language_model.dtype).removeprefix("torch."),
        }

    def view(self) -> dict[str, Any] | None:
        """How it stands, after the step that it is in; nothing before it has begun."""
        if self._service is None:
            return None
        from teachllm.stack.inference.server.engine_view import engine_view

        return engine_view(self._service.snapshot())

    def send_samples(self) -> None:
        """Sends them one after another, from a thread. Raises ``NoSamples`` while others are being
        answered, and without a model.
        """
        language_model = self._loaded()
        with self._lock:
            if self._closed or self._is_sending:
                raise NoSamples(_BUSY)
            service = self._begun(language_model)
            self._samples, self._answers = [], []
            self._stopped = threading.Event()
            self._sender = threading.Thread(
                target=self._send, args=(language_model, service, self._stopped), name="samples", daemon=True
            )
            self._sender.start()

    def stop_samples(self) -> bool:
        """Cancels them; whether there were any."""
        with self._lock:
            was_sending = self._is_sending
            self._stopped.set()
            for answer in self._answers:
                answer.cancel()
        return was_sending

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self.stop_samples()
        if self._service is not None:
            self._service.close()

    def _loaded(self) -> LanguageModel:
        from teachllm.stack.data.assets import AssetError

        if (problem := self._model.problem()) is not None:
            raise NoSamples(problem)
        try:
            language_model = self._model.language_model()
        except (AssetError, OSError, ValueError, MemoryError) as problem:
            raise NoSamples(
                Both(f"模型没能装载：{problem}", f"The model could not be loaded: {problem}")
            ) from problem
        if language_model is None:
            raise NoSamples(_NO_WEIGHTS)
        return language_model

    def _begun(self, language_model: LanguageModel) -> EngineService:
        from teachllm.stack.inference.engine.config import EngineConfig
        from teachllm.stack.inference.engine.engine import Engine
        from teachllm.stack.inference.engine.service import EngineService

        if self._service is None:
            config = EngineConfig(
                max_batch_tokens=MAX_BATCH_TOKENS, max_running=MAX_RUNNING, n_blocks=N_BLOCKS
            )
            self._language_model = language_model
            self._service = EngineService(Engine(language_model, config))
        return self._service

    def _send(self, language_model: LanguageModel, service: EngineService, stopped: threading.Event) -> None:
        from teachllm.stack.chat import Message, TemplateFailed
        from teachllm.stack.inference.engine.request import RequestOptions
        from teachllm.stack.inference.sampling import Sampling

        for number, wanted in enumerate(SAMPLES):
            if stopped.wait(PAUSE if number else 0):
                return
            asked = f"{wanted.before} {wanted.question}".lstrip()
            sampling = Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.1, seed=number)
            options = RequestOptions(sampling=sampling, max_tokens=MAX_TOKENS, n=wanted.n)
            try:
                prompt = language_model.encode_chat([Message("system", SYSTEM), Message("user", asked)])
                answer = service.submit(prompt, options)
            except (TemplateFailed, ValueError, RuntimeError) as problem:  # no room; the engine is closed
                log.warning("a sample request was refused: %s", problem)
                return
            shown = f"… {wanted.question}" if wanted.before else wanted.question
            sample = Sample(answer.request, shown, [""] * wanted.n)
            with self._lock:
                self._samples.append(sample)
                self._answers.append(answer)
                if stopped.is_set():
                    answer.cancel()
            threading.Thread(target=self._read, args=(sample, answer), name="sample", daemon=True).start()

    def _read(self, sample: Sample, answer: Answer) -> None:
        from teachllm.stack.inference.engine.request import Failed, Finished

        state = "done"
        for output in answer:
            with self._lock:
                if isinstance(output, Failed):
                    state = "failed"
                    continue
                sample.state = "writing"
                sample.texts[output.index] += output.text
                if isinstance(output, Finished) and output.reason == "cancelled":
                    state = "stopped"
        with self._lock:
            sample.state = state


_BUSY = Both("上一批示例请求还没写完。", "The last sample requests are still being answered.")
_NO_WEIGHTS = Both(
    "工作室现在用的不是本地模型，没有引擎可看。",
    "The studio's model is not a local one, so there is no engine to watch.",
)
