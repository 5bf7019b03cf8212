"""Models and a tokenizer that need no weights: a tiny random Llama, and one that recites."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from teachllm.stack.inference import LanguageModel
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.tokenizer import Tokenizer

SPECIAL = ("<|start|>", "<|end|>")


@dataclass(frozen=True)
class Sizes:
    context_length: int
    n_layers: int = 1
    n_heads: int = 1
    n_kv_heads: int = 1
    head_dim: int = 2


@dataclass
class Reciter:
    """Writes `recited`, token by token, behind a prompt of any length. `on_step` is called before each
    step.
    """

    recited: list[int]
    context_length: int = 1000
    vocab_size: int = 300
    on_step: Callable[[int], object] = lambda step: None
    steps: list[int] = field(default_factory=list)
    written: int = 0

    @property
    def config(self) -> Sizes:
        return Sizes(self.context_length)

    def parameters(self) -> Iterator[Tensor]:
        yield torch.zeros(1)

    def __call__(self, tokens: Tensor, cache: KVCache | None = None, last_only: bool = False) -> Tensor:
        assert cache is not None
        assert last_only
        self.on_step(len(self.steps))
        self.written = self.written + 1 if cache.length and tokens.shape[1] == 1 else 0
        self.steps.append(tokens.shape[1])
        cache.advance(tokens.shape[1])
        logits = torch.zeros(1, 1, self.vocab_size)
        logits[0, 0, self.recited[self.written % len(self.recited)]] = 5.0
        return logits


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Bytes, and two special tokens."""
    return Tokenizer.from_merges([], special_tokens=SPECIAL)


@pytest.fixture
def reciter() -> Callable[..., Reciter]:
    return Reciter


@pytest.fixture
def tiny_llama() -> Llama:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=258,
        d_model=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=8,
        hidden=48,
        context_length=96,
        tied_head=True,
    )
    model = Llama(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.normal_(0, 0.3)
    return model


@pytest.fixture
def recite(tokenizer: Tokenizer) -> Callable[..., LanguageModel]:
    """A language model that answers with `text` and ends."""
    from teachllm.stack.chat import ChatTemplate

    def make(text: str, template: str | None = TEMPLATE, **options: object) -> LanguageModel:
        end = tokenizer.special_tokens["<|end|>"]
        model = Reciter([*tokenizer.encode(text), end], **options)  # pyright: ignore[reportArgumentType]
        chat_template = None if template is None else ChatTemplate(template)
        return LanguageModel("reciter", model, tokenizer, chat_template, (), frozenset({end}))

    return make


TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}:{{ message.content }}<|end|>{% endfor %}"
    "<|start|>assistant:"
)


@pytest.fixture
def model_folder(tmp_path: Path, tokenizer: Tokenizer, tiny_llama: Llama) -> Path:
    """A Hugging Face folder of the tiny Llama, written by `transformers`."""
    import json

    import transformers

    c = tiny_llama.config
    reference = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=c.vocab_size,
            hidden_size=c.d_model,
            num_hidden_layers=c.n_layers,
            num_attention_heads=c.n_heads,
            num_key_value_heads=c.n_kv_heads,
            intermediate_size=c.hidden,
            max_position_embeddings=c.context_length,
            bos_token_id=256,
            eos_token_id=257,
        )
    )
    folder = tmp_path / "tiny-llama"
    reference.save_pretrained(folder)
    tokenizer.save(folder / "tokenizer.json")
    settings = {"bos_token": "<|start|>", "eos_token": {"content": "<|end|>"}, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()
