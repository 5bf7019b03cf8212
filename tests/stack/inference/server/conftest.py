"""A real server on a real port, in front of a real engine with a tiny model, and clients that call it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
import torch
from torch import Tensor, nn

from teachllm.stack.chat import ChatTemplate
from teachllm.stack.inference import LanguageModel
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.service import EngineService
from teachllm.stack.inference.server import ServerLimits, create_app
from teachllm.stack.inference.server.listening import DrainingServer, listen
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.kv_cache import CacheView
from teachllm.stack.tokenizer import Tokenizer

SPECIAL = ("<|start|>", "<|end|>", "<tool_call>", "</tool_call>")
TEMPLATE = (
    "{% if tools %}<|start|>tools:{{ tools | tojson }}<|end|>{% endif %}"
    "{% for message in messages %}<|start|>{{ message.role }}:{{ message.content }}"
    "{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|end|>{% endfor %}<|start|>assistant:"
)
NAME = "tiny"


@dataclass(frozen=True)
class Sizes:
    context_length: int = 4000
    n_layers: int = 1
    n_heads: int = 1
    n_kv_heads: int = 1
    head_dim: int = 2


class Reciter(nn.Module):
    """Writes `recited` behind a prompt of `start` tokens, whatever the prompt says; `pause` is called in
    each step.
    """

    def __init__(self, recited: Sequence[int], vocab_size: int) -> None:
        super().__init__()
        self.config = Sizes()
        self.recited = torch.tensor(recited)
        self.start = 0
        self.pause: Callable[[], object] = lambda: None
        self.head = nn.Linear(vocab_size, vocab_size, bias=False)
        nn.init.eye_(self.head.weight)

    def features(self, tokens: Tensor, cache: CacheView | None = None) -> Tensor:
        assert cache is not None
        self.pause()
        written = (cache.positions(tokens.shape[1]) - self.start + 1).clamp(min=0).reshape(tokens.shape)
        cache.advance(tokens.shape[1])
        return (
            9
            * nn.functional.one_hot(self.recited[written % len(self.recited)], self.head.in_features).float()
        )

    def forward(self, tokens: Tensor, cache: CacheView | None = None, last_only: bool = False) -> Tensor:
        features = self.features(tokens, cache)
        return self.head(features[:, -1:] if last_only else features)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Bytes, and special tokens."""
    return Tokenizer.from_merges([], special_tokens=SPECIAL)


@pytest.fixture(scope="session")
def tiny(tokenizer: Tokenizer) -> LanguageModel:
    """A random Llama: it writes nonsense, and always the same."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        d_model=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=8,
        hidden=48,
        context_length=1024,
        tied_head=True,
    )
    model = Llama(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.normal_(0, 0.3)
    return as_language_model(model, tokenizer)


@pytest.fixture
def reciting(tokenizer: Tokenizer) -> Callable[..., LanguageModel]:
    """A language model that answers these messages with `text` and ends."""

    def make(text: str, *, start: int, special: str = "all") -> LanguageModel:
        ids = [*tokenizer.encode(text, special=special), tokenizer.special_tokens["<|end|>"]]
        model = Reciter(ids, tokenizer.vocab_size)
        model.start = start
        return as_language_model(model, tokenizer)

    return make


def as_language_model(model: Any, tokenizer: Tokenizer) -> LanguageModel:
    end = tokenizer.special_tokens["<|end|>"]
    return LanguageModel(NAME, model, tokenizer, ChatTemplate(TEMPLATE), (), frozenset({end}))


@dataclass
class RunningServer:
    address: str
    app: Any
    service: EngineService
    server: DrainingServer = field(repr=False)

    @property
    def serving(self) -> Any:
        return self.app.state.serving

    def client(self, api_key: str = "none", **options: Any) -> openai.OpenAI:
        """The official client, unmodified."""
        options = {"max_retries": 0, "timeout": 30, **options}
        return openai.OpenAI(base_url=f"{self.address}/v1", api_key=api_key, **options)

    def plain(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, trust_env=False, timeout=30, **options)


@contextlib.contextmanager
def running(
    language_model: LanguageModel,
    *,
    limits: ServerLimits | None = None,
    api_key: str | None = None,
    embedder: Any = None,
    **config: Any,
) -> Iterator[RunningServer]:
    engine = Engine(language_model, EngineConfig(**{"n_blocks": 256, **config}))
    service = EngineService(engine)
    listener = listen("127.0.0.1", 0)
    app = create_app(
        language_model, service, names=(NAME, "alias"), api_key=api_key, limits=limits, embedder=embedder
    )
    server = DrainingServer(app)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        yield RunningServer(f"http://127.0.0.1:{listener.getsockname()[1]}", app, service, server)
        wait_until(lambda: app.state.serving.admission.open == 0)
        if not app.state.serving.admission.draining:  # a closed engine keeps what it was doing
            wait_until(lambda: not service.snapshot().texts)
            engine.check_integrity()
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        service.close()
        listener.close()


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def server(tiny: LanguageModel) -> Iterator[RunningServer]:
    """One server for the tests of a module."""
    with running(tiny) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with server.client() as one:
        yield one


@pytest.fixture(name="running", scope="session")
def running_fixture() -> Callable[..., contextlib.AbstractContextManager[RunningServer]]:
    return running


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    return wait_until
