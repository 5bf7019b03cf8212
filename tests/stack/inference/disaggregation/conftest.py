"""Workers with tiny models: in threads, where a test wants to look into them, and by hand."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from teachllm.stack.inference.disaggregation.decode import DecodeWorker
from teachllm.stack.inference.disaggregation.messages import (
    Blocks,
    Check,
    Checked,
    Hello,
    Look,
    Message,
    Pull,
    Read,
    Ready,
    Seen,
    digest,
)
from teachllm.stack.inference.disaggregation.prefill import PrefillWorker
from teachllm.stack.inference.disaggregation.processes import introduction
from teachllm.stack.inference.disaggregation.remote import Door
from teachllm.stack.inference.disaggregation.service import DisaggregatedService
from teachllm.stack.inference.disaggregation.transport import Connection, admit, connect, listen
from teachllm.stack.inference.disaggregation.worker import Worker, layout_of
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import Failed, Finished, Output, TokenOut
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.models.llama import Llama
from teachllm.stack.tokenizer import Tokenizer

KEY = b"the key of these tests, 32 bytes"


@pytest.fixture
def tiny(tiny_llama: Llama, tokenizer: Tokenizer) -> LanguageModel:
    return LanguageModel("tiny", tiny_llama, tokenizer, None, (), frozenset({257}))


@pytest.fixture
def config() -> EngineConfig:
    return EngineConfig(n_blocks=60, block_size=4, max_batch_tokens=32, max_running=32)


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def settled(service: DisaggregatedService) -> None:
    """Nothing is left behind, anywhere."""

    def is_clean() -> bool:
        with contextlib.suppress(AssertionError):
            service.check_integrity()
            return True
        return False

    with contextlib.suppress(AssertionError):
        wait_until(is_clean, 5.0)  # what is on its way comes to rest
    service.check_integrity()


@dataclass
class Told:
    """What was said to one request, without its name."""

    tokens: list[tuple[int, int]] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)
    ends: dict[int, Finished] = field(default_factory=dict)
    failed: Failed | None = None

    @classmethod
    def of(cls, outputs: Iterator[Output]) -> Told:
        told = cls()
        for output in outputs:
            match output:
                case TokenOut(_, index, token, text):
                    told.tokens.append((index, token))
                    told.texts[index] = told.texts.get(index, "") + text
                case Finished(_, index, _, text):
                    told.texts[index] = told.texts.get(index, "") + text
                    told.ends[index] = output
                case Failed():
                    told.failed = output
        told.tokens.sort(key=lambda pair: pair[0])  # texts side by side come in any order
        return told

    @property
    def said(self) -> tuple[object, ...]:
        """What must not depend on who computes it."""
        ends = {i: (end.reason, end.usage.completion_tokens) for i, end in self.ends.items()}
        return self.tokens, self.texts, ends, self.failed


@contextlib.contextmanager
def running(
    model: LanguageModel,
    config: EngineConfig,
    *,
    n_prefill: int = 1,
    n_decode: int = 1,
    decode_config: EngineConfig | None = None,
    by_hand: HandMade | None = None,
) -> Iterator[DisaggregatedService]:
    """Workers in threads of this process. by_hand: a prefill worker that the test plays."""
    workers: list[Worker] = []

    def work(name: str, kind: type[PrefillWorker] | type[DecodeWorker], config: EngineConfig) -> None:
        worker = kind(Engine(model, config), connect(door.port, KEY), KEY)
        workers.append(worker)
        worker.tell(introduction(worker, name, model))
        worker.run()

    with Door(KEY) as door:
        threads = [
            threading.Thread(target=work, args=(f"prefill {i}", PrefillWorker, config))
            for i in range(n_prefill)
        ]
        for i in range(n_decode):
            arguments = (f"decode {i}", DecodeWorker, decode_config or config)
            threads.append(threading.Thread(target=work, args=arguments))
        if by_hand is not None:
            threads.append(threading.Thread(target=by_hand.join, args=(door.port, Engine(model, config))))
        for thread in threads:
            thread.start()
        remote = door.wait_for(len(threads), 20, lambda: None)
        with DisaggregatedService(model, config, remote) as service:
            yield service
            if not service.snapshot().texts:
                settled(service)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


class HandMade:
    """A prefill worker that says whatever the test wants at every turn. What it hands out is `parcel`, as the
    test has bent it, or nothing but what `play` sends.
    """

    def __init__(self, play: Callable[[Connection, Blocks, bytes], None]) -> None:
        self._play = play
        self._listener = listen()
        self._prompts: dict[str, tuple[int, ...]] = {}
        self.cancelled: list[str] = []

    def join(self, port: int, engine: Engine) -> None:
        self._layout = layout_of(engine)
        router = connect(port, KEY)
        port = self._listener.getsockname()[1]
        attention = engine.attention
        router.send(
            Hello("prefill by hand", "prefill", 0, port, 60, self._layout, "cpu", "", "", None, attention)
        )
        counter = threading.Thread(target=self._hand_out, daemon=True)
        counter.start()
        with contextlib.suppress(OSError):
            while True:
                self._answer(router, router.receive_message(), engine)
        router.close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _answer(self, router: Connection, message: Message, engine: Engine) -> None:
        match message:
            case Read(request, prompt):
                self._prompts[request] = prompt
                router.send(Ready(request, 0))
            case Look():
                router.send(Seen(engine.snapshot(), 0))
            case Check():
                router.send(Checked(None, 60, 0))
            case _:
                self.cancelled.append(getattr(message, "request", ""))

    def _hand_out(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(admit(connected, KEY)) as line:
            while True:
                pull = line.receive_message()
                assert isinstance(pull, Pull)
                prompt = self._prompts[pull.request]
                end = (len(prompt) - 1) // self._layout.block_size * self._layout.block_size
                n_tokens = end - pull.first
                blocks = Blocks(pull.request, pull.first, n_tokens, digest(prompt[:end]), self._layout)
                payload = bytes(self._layout.n_bytes(n_tokens // self._layout.block_size, 4))
                self._play(line, blocks, payload)


@pytest.fixture(name="running")
def running_fixture() -> Callable[..., contextlib.AbstractContextManager[DisaggregatedService]]:
    return running


@pytest.fixture
def told_of() -> Callable[[Iterator[Output]], Told]:
    return Told.of


@pytest.fixture(name="settled")
def settled_fixture() -> Callable[[DisaggregatedService], None]:
    return settled


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def by_hand() -> type[HandMade]:
    return HandMade
