"""A fused step beside the model that it stands for: every kind of weights, and when it is not used."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from teachllm.stack.inference.engine.blocks import BlockPool
from teachllm.stack.inference.engine.paged_kv import PagedBatch, PagedKV
from teachllm.stack.inference.fused_llama import FusedHead, FusedLlama, why_not
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.attention import readable_attention
from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.kv_cache import KVCache
from teachllm.stack.quantization.llama_weights import round_weights
from teachllm.stack.quantization.packing import pack
from teachllm.stack.quantization.round_to_nearest import dequantize, quantize_symmetric, quantize_with_minimum

pytestmark = pytest.mark.skipif(not threads.can_run(torch.zeros(1)), reason="no kernels in PyTorch's threads")

# Sizes that are no multiples of a piece, two heads a group, a bias.
CONFIG = LlamaConfig(
    vocab_size=301,
    d_model=96,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=48,
    hidden=160,
    context_length=64,
    qkv_bias=True,
    rope_divisors=tuple(1 + i / 8 for i in range(24)),
)


def llama(dtype: torch.dtype = torch.float32) -> Llama:
    generator = torch.Generator().manual_seed(5)
    model = Llama(CONFIG).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator) * 0.2 + (weights.ndim == 1) * 0.9)
    return model.to(dtype)


def tokens(n: int, seed: int = 1) -> Tensor:
    return torch.randint(CONFIG.vocab_size, (1, n), generator=torch.Generator().manual_seed(seed))


def in_steps(model: Llama, text: Tensor, pieces: list[int]) -> tuple[Tensor, KVCache]:
    """The logits of all positions, and the cache that was filled."""
    dtype = model.embedding.weight.dtype
    cache = KVCache.for_model(CONFIG, text.shape[1], dtype=dtype)
    with torch.inference_mode():
        return torch.cat([model(piece, cache) for piece in text.split(pieces, dim=1)], dim=1), cache


@pytest.fixture(params=[1, 2])
def n_threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_steps_of_one_and_of_several_tokens_are_the_models(n_threads: int) -> None:
    model, text = llama(), tokens(25)
    pieces = [1, 1, 11, 1, 3, 8]  # 11 are more than a fused step takes
    expected, cache = in_steps(model, text, pieces)
    found, fused_cache = in_steps(FusedLlama(model), text, pieces)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
    for layer in range(CONFIG.n_layers):
        for ours, theirs in ((fused_cache.keys, cache.keys), (fused_cache.values, cache.values)):
            torch.testing.assert_close(ours[layer], theirs[layer], atol=1e-5, rtol=1e-5)
    assert fused_cache.length == 25


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_of_several_rows_is_bit_for_bit_the_steps_of_one(dtype: torch.dtype) -> None:
    model = FusedLlama(llama(dtype))
    text = tokens(model.most_rows)
    alone, _ = in_steps(model, text, [1] * model.most_rows)
    together, _ = in_steps(model, text, [1, model.most_rows - 1])
    assert torch.equal(alone, together)


def test_a_step_of_many_texts_is_that_of_each_in_its_own_blocks() -> None:
    fused = FusedLlama(llama())
    texts = [tokens(n, seed=n) for n in (3, 18, 7)]
    pool, kv = BlockPool(12, block_size=4), PagedKV.for_model(CONFIG, 12, block_size=4)
    tables, expected = [], []
    with torch.inference_mode():
        for text in texts:
            expected.append(in_steps(fused, text, [text.shape[1] - 1, 1])[0][:, -1:])
            table = pool.open([])
            pool.extend(table, text.shape[1] - 1)
            fused.features(text[:, :-1], PagedBatch(kv, [(table, text.shape[1] - 1)]))
            pool.commit(table, text[0, :-1].tolist())
            pool.extend(table, 1)
            tables.append(table)
        last = torch.cat([text[:, -1:] for text in texts], dim=1)
        batch = PagedBatch(kv, [(table, 1) for table in tables])
        assert batch.placement(3) is not None
        found = fused.head(fused.features(last, batch))
    torch.testing.assert_close(found, torch.cat(expected, dim=1), atol=2e-5, rtol=2e-5)


def test_quantized_steps_are_those_of_the_weights_that_the_codes_stand_for() -> None:
    model = llama(torch.bfloat16)
    fused = FusedLlama(model, round_weights(model, "int4"))
    assert fused.weights == "int4_minima, head int8"
    text = tokens(20)
    exact = Llama(CONFIG).eval()
    exact.load_state_dict(model.state_dict())
    expected, _ = in_steps(exact, text, [20])
    found, _ = in_steps(fused, text, [1] * 20)
    # What is left is the vectors' rounding to int8 in groups of 16, and bfloat16 of cache and dequantized
    # weights: 2^-8 each, through two layers.
    error = (found - expected).norm() / expected.norm()
    assert error < 0.03
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() >= 0.9


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8", "int4", "int4_minima"])
@pytest.mark.parametrize("n_rows", [1, 3])
def test_products_are_exact_but_for_the_order_of_sums(kind: str, n_rows: int) -> None:
    """A vector of whole numbers, the largest in each 16 being 127, is rounded to int8 without a loss."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(301, 96, generator=generator)
    x = torch.randint(-127, 128, (n_rows, 96), generator=generator).float()
    x[:, ::16] = 127
    packed = None
    if kind == "bfloat16":
        weight = weight.bfloat16()
    elif kind == "int4_minima":
        packed = quantize_with_minimum(weight, 4, 32)
    elif kind != "float32":
        packed = quantize_symmetric(weight, 8 if kind == "int8" else 4, 32)
    if packed is not None:
        weight = dequantize(packed)
    head = FusedHead(torch.nn.Parameter(weight), None if packed is None else pack(packed))
    assert head.kind == kind
    with torch.inference_mode():
        found = head(x)
    expected = x.double() @ weight.double().T
    scale = x.abs().double() @ weight.abs().double().T
    assert ((found.double() - expected).abs() <= 2e-6 * scale).all()


def test_a_vector_is_rounded_by_less_than_half_a_step() -> None:
    weight = torch.eye(96)  # the result is the vector, as the kernel has rounded it
    head = FusedHead(torch.nn.Parameter(weight), pack(quantize_symmetric(weight, 8, 32)))
    x = torch.randn(1, 96, generator=torch.Generator().manual_seed(4)) * torch.tensor([1.0, 0, 1e3])[
        :, None
    ].expand(3, 32).reshape(1, 96)
    with torch.inference_mode():
        found = head(x)
    step = x.view(6, 16).abs().amax(-1, keepdim=True).expand(6, 16).reshape(1, 96) / 127
    assert ((found - x).abs() <= step * 0.5 + x.abs() * 2**-10).all()


def test_who_looks_inside_gets_the_model_itself() -> None:
    model = llama()
    fused, text = FusedLlama(model), tokens(6)
    seen: list[int] = []
    hook = fused.blocks[0].register_forward_hook(lambda *_: seen.append(1))
    in_steps(fused, text, [1] * 6)
    assert len(seen) == 6
    hook.remove()
    in_steps(fused, text, [1] * 6)
    assert len(seen) == 6
    with readable_attention(), torch.inference_mode():
        caches = [KVCache.for_model(CONFIG, 1) for _ in range(2)]
        one = text[:, :1]
        assert torch.equal(fused.features(one, caches[0]), model.features(one, caches[1]))
    fused(text).sum().backward()
    assert fused.embedding.weight.grad is not None


def test_what_does_not_fit_is_refused_as_ever() -> None:
    fused = FusedLlama(llama())
    cache = KVCache.for_model(CONFIG, 2)
    with torch.inference_mode():
        fused(tokens(2), cache)
        with pytest.raises(ValueError, match="room for 2 positions"):
            fused(tokens(1), cache)
        full = KVCache.for_model(CONFIG, 65)
        full.advance(64)
        with pytest.raises(ValueError, match="64 in all"):
            fused(tokens(1), full)


def test_threads_may_step_at_once() -> None:
    fused, text = FusedLlama(llama()), tokens(40)
    expected, _ = in_steps(fused, text, [1] * 40)
    found: list[Tensor] = []
    workers = [
        threading.Thread(target=lambda: found.append(in_steps(fused, text, [1] * 40)[0])) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3
    assert all(torch.equal(one, expected) for one in found)


def test_why_steps_cannot_be_fused(tiny_llama: Llama) -> None:
    assert why_not(llama()) is None
    assert why_not(tiny_llama) == "hidden = 48: no multiple of 32"
    assert "is no Llama" in (why_not(torch.nn.Linear(2, 2)) or "")
    with pytest.raises(ValueError, match="hidden = 48"):
        FusedLlama(tiny_llama)
    model = llama()
    packed = round_weights(model, "int8")
    del packed["blocks.1.attention.out.weight"]
    with pytest.raises(ValueError, match="float32, int8: all must be alike"):
        FusedLlama(model, packed)
