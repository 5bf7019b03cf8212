"""What we write opens in `transformers` with equal logits, and comes back to us with every bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open

from teachllm.stack.inference.language_model import load_language_model
from teachllm.stack.models.export import save_hugging_face
from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.models.loading import load_model
from teachllm.stack.tokenizer import Tokenizer

pytestmark = pytest.mark.parity

LLAMA = LlamaConfig(
    vocab_size=300,
    d_model=48,
    n_layers=3,
    n_heads=6,
    n_kv_heads=2,
    head_dim=20,
    hidden=80,
    context_length=64,
    norm_eps=1e-5,
    rope_base=20_000.0,
)
GPT = GPT2Config(vocab_size=300, d_model=48, n_layers=3, n_heads=4, hidden=100, context_length=64)
CONFIGS = {
    "llama": LLAMA,
    "llama, tied head": dataclasses.replace(LLAMA, tied_head=True),
    "llama, stretched": dataclasses.replace(LLAMA, rope_divisors=(4.0,) * 10),
    "qwen2, biases": dataclasses.replace(LLAMA, qkv_bias=True),
    "gpt2": GPT,
    "gpt2, own head": dataclasses.replace(GPT, tied_head=False),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(
        ["the cat sat on the mat, the cat sat on the hat"], 270, special_tokens=["<|endoftext|>"]
    )


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> Llama | GPT2:
    """Random weights, also where a fresh model has ones and zeros, so that nothing can be mixed up unseen."""
    config = CONFIGS[request.param]
    torch.manual_seed(0)
    model = (Llama(config) if isinstance(config, LlamaConfig) else GPT2(config)).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.02, std=0.15)
    return model


def some_tokens() -> torch.Tensor:
    return torch.randint(300, (2, 40), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_transformers_opens_it_with_equal_logits(
    model: Llama | GPT2, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_hugging_face(model, tokenizer, tmp_path / "model")
    reference, loading = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", attn_implementation="eager", output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert reference.dtype == torch.float32
    expected = reference.eval()(some_tokens()).logits
    assert expected.std() > 0.3
    torch.testing.assert_close(model(some_tokens()), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_comes_back_bit_for_bit(
    model: Llama | GPT2, tokenizer: Tokenizer, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = model.to(dtype)
    save_hugging_face(model, tokenizer, tmp_path / "model", dtype)
    back = load_model(tmp_path / "model", device="cpu", dtype=dtype)
    assert back.config == model.config
    assert back.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


def test_bfloat16_halves_the_file(model: Llama | GPT2, tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_hugging_face(model, tokenizer, tmp_path / "model", torch.bfloat16)
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            assert file.get_tensor(name).dtype == torch.bfloat16, name
    assert transformers.AutoConfig.from_pretrained(tmp_path / "model").dtype == torch.bfloat16


def test_the_tokenizer_comes_along(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_hugging_face(Llama(LLAMA), tokenizer, tmp_path / "model")
    text = "the cat sat on <|endoftext|> a mat"
    ours = load_language_model(tmp_path / "model", "cpu", torch.float32)
    end = tokenizer.special_tokens["<|endoftext|>"]
    assert ours.begin_tokens == (end,)
    assert end in ours.end_tokens
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs.eos_token_id == theirs.bos_token_id == end
    assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text, special="all")
    generation = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == end


def test_an_older_export_is_replaced(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "left-over.txt").write_text("old")
    save_hugging_face(GPT2(GPT), tokenizer, folder)
    assert not (folder / "left-over.txt").exists()
    assert isinstance(load_model(folder, "cpu"), GPT2)
    assert [path.name for path in tmp_path.iterdir() if "model" in path.name] == ["model"]


def test_what_cannot_be_said_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    uneven = dataclasses.replace(LLAMA, rope_divisors=(1.0,) * 9 + (8.0,))
    with pytest.raises(ValueError, match="rope_divisors"):
        save_hugging_face(Llama(uneven), tokenizer, tmp_path / "model")
    with pytest.raises(ValueError, match="270 tokens and the model only 100"):
        save_hugging_face(Llama(dataclasses.replace(LLAMA, vocab_size=100)), tokenizer, tmp_path / "model")
    assert not list(tmp_path.glob("model*"))
