"""Every fused kernel beside the function that it stands in for: results and gradients, in both dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from teachllm.stack.data.packing import document_mask
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn import attention, feed_forward, norms, positions
from teachllm.stack.nn.embedding import TokenEmbedding
from teachllm.stack.nn.fast import threads
from teachllm.stack.nn.fast.attention import packed_causal_attention
from teachllm.stack.nn.fast.cross_entropy import logits_to_gradient
from teachllm.stack.nn.fast.heads import rotated_heads
from teachllm.stack.nn.fast.norm import rms_norm
from teachllm.stack.nn.fast.swiglu import swiglu_down
from teachllm.stack.training.documents import document_starts
from teachllm.stack.training.loss import IGNORED, cross_entropy
from teachllm.stack.training.precision import ComputeWeights

# In bfloat16 the oracle computes in float32 from the same rounded inputs, so what remains is the rounding of
# results (2^-9) and of numbers in between that are written down in bfloat16: scores, weights, activations.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check(
    fast: Callable[..., Tensor], oracle: Callable[..., Tensor], inputs: list[Tensor], dtype: torch.dtype
) -> None:
    """The same output, and the same gradients for the same gradient of it."""
    rounded = [x.to(dtype).requires_grad_() for x in inputs]
    exact = [x.detach().float().requires_grad_() for x in rounded]
    output, expected = fast(*rounded), oracle(*exact)
    assert output.dtype == dtype
    gradient = normal(*output.shape, seed=99).to(dtype)
    found = [output, *torch.autograd.grad(output, rounded, gradient)]
    wanted = [expected, *torch.autograd.grad(expected, exact, gradient.float())]
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        # Gradients that cancel, such as that of a single score, are as exact as what they come from.
        assert (a.float() - b).norm() <= TOLERANCE[dtype] * max(b.norm(), gradient.float().norm())


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1), (5, 48), (3, 70, 33)])
def test_rms_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs = [3 * normal(*shape), normal(shape[-1], seed=1)]
    check(lambda x, w: rms_norm(x, w, 1e-5), lambda x, w: norms.rms_norm(x, w, 1e-5), inputs, dtype)


@DTYPES
@pytest.mark.parametrize(("rows", "hidden", "d"), [(1, 1, 1), (7, 20, 8), (65, 33, 16)])
def test_swiglu_down(rows: int, hidden: int, d: int, dtype: torch.dtype) -> None:
    def oracle(gate_up: Tensor, down: Tensor) -> Tensor:
        return feed_forward.swiglu(*gate_up.chunk(2, dim=-1)) @ down.T

    check(swiglu_down, oracle, [4 * normal(rows, 2 * hidden), normal(d, hidden, seed=1)], dtype)


@DTYPES
@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(1, 1), (4, 4), (6, 2)])
def test_rotated_heads(n_heads: int, n_kv_heads: int, dtype: torch.dtype) -> None:
    cos, sin = positions.rope_cos_sin(torch.arange(21), 8)
    qkv = normal(2, 21, (n_heads + 2 * n_kv_heads) * 8)

    def fast(qkv: Tensor) -> Tensor:
        return torch.cat(rotated_heads(qkv, cos, sin, n_heads, n_kv_heads), dim=1)

    def oracle(qkv: Tensor) -> Tensor:
        heads = qkv.unflatten(-1, (-1, 8)).transpose(1, 2)
        turned = positions.apply_rope(heads[:, : n_heads + n_kv_heads], cos, sin)
        return torch.cat([turned, heads[:, n_heads + n_kv_heads :]], dim=1)

    check(fast, oracle, [qkv], dtype)


@DTYPES
@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "length"), [(1, 1, 1), (2, 2, 17), (4, 2, 300), (3, 1, 513)]
)
@pytest.mark.parametrize("documents", [False, True])
def test_attention(n_heads: int, n_kv_heads: int, length: int, documents: bool, dtype: torch.dtype) -> None:
    q, k, v = (normal(2, n, length, 8, seed=i) for i, n in enumerate((n_heads, n_kv_heads, n_kv_heads)))
    ids = torch.zeros(2, length, dtype=torch.long)
    if documents:
        ids[0, length // 3 :] += 1
        ids[1, length // 2 :] += 1
        ids[1, length - 1 :] += 1
    mask, group = document_mask(ids)[:, None], n_heads // n_kv_heads

    def oracle(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = attention.repeat_kv_heads(k, group), attention.repeat_kv_heads(v, group)
        return attention.scaled_dot_product_attention(q, k, v, mask)

    starts = document_starts(ids).int() if documents else None
    check(lambda q, k, v: packed_causal_attention(q, k, v, starts), oracle, [2 * q, k, v], dtype)


@DTYPES
@pytest.mark.parametrize(("rows", "vocab"), [(1, 2), (19, 50), (8, 1030)])
def test_logits_to_gradient(rows: int, vocab: int, dtype: torch.dtype) -> None:
    logits = (5 * normal(rows, vocab)).to(dtype)
    targets = torch.randint(vocab, (rows,), generator=torch.Generator().manual_seed(1))
    targets[1::3] = IGNORED
    exact = logits.float().requires_grad_()
    loss = cross_entropy(exact, targets, divisor=7)
    (gradient,) = torch.autograd.grad(loss, exact)
    found = logits_to_gradient(logits, targets, IGNORED, 1 / 7)
    torch.testing.assert_close(found, loss.detach(), atol=1e-6, rtol=1e-6)
    assert (logits.float() - gradient).norm() <= TOLERANCE[dtype] * gradient.norm()


def test_logits_of_any_size_are_safe() -> None:
    logits = torch.tensor([[1e30, -1e30, 0.0], [-math.inf, 0.0, 0.0]])
    loss = logits_to_gradient(logits, torch.tensor([0, 1]), IGNORED, 1.0)
    assert loss.item() == pytest.approx(math.log(2))
    torch.testing.assert_close(logits, torch.tensor([[0.0, 0.0, 0.0], [0.0, -0.5, 0.5]]))


@DTYPES
def test_a_nan_is_not_hidden(dtype: torch.dtype) -> None:
    for place in range(40):
        x = normal(1, 40).to(dtype)
        x[0, place] = math.nan
        assert logits_to_gradient(x.clone(), torch.tensor([3]), IGNORED, 1.0).isnan()
        assert rms_norm(x, torch.ones(40, dtype=dtype), 1e-5).isnan().all()
        assert swiglu_down(x, torch.ones(1, 20, dtype=dtype)).isnan().all()


def test_rounding_to_bfloat16_is_torchs() -> None:
    numbers = torch.from_numpy(
        np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    )
    numbers = numbers[numbers.isfinite() & (numbers.abs() < 1e37) & (numbers.abs() > 1e-36)]
    gate_up = torch.stack([torch.full_like(numbers, 50.0), numbers], dim=1)  # silu(50) = 50
    gate_up[:, 1] /= 50
    wanted = (gate_up[:, 0] * gate_up[:, 1].bfloat16().float()).bfloat16()
    found = swiglu_down(gate_up.bfloat16(), torch.ones(1, 1, dtype=torch.bfloat16))[:, 0]
    # silu(50) is 50 but for a rounding of float32, which can tip one that lies half-way.
    assert (found == wanted).float().mean() > 0.99
    torch.testing.assert_close(found, wanted, rtol=2**-7, atol=0)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_share_the_work(n_threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        x, weight = normal(1000, 16), torch.ones(16)
        torch.testing.assert_close(rms_norm(x, weight, 1e-5), F.rms_norm(x, (16,), weight, 1e-5))
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(threads._gomp_parallel() is None, reason="PyTorch's OpenMP is no library of its own here")
@DTYPES
def test_a_model_trains_on_kernels_as_without(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients of a whole model; without a backward pass it runs what it always ran."""
    torch.manual_seed(0)
    model = Llama(LlamaConfig(64, 32, 2, 4, 2, 8, 48, 40, tied_head=True))
    tokens = torch.randint(64, (3, 40), generator=torch.Generator().manual_seed(1))
    calls: list[str] = []
    run = threads.run

    def counted(kernel: object, *arguments: object) -> None:
        calls.append("kernel")
        run(kernel, *arguments)  # type: ignore[arg-type]

    def gradients() -> list[Tensor]:
        model.zero_grad()
        with ComputeWeights(model, dtype).in_use():
            loss = cross_entropy(model(tokens)[:, :-1], tokens[:, 1:])
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    monkeypatch.setattr(threads, "run", counted)
    found = gradients()
    assert len(calls) >= 2 * (2 * 2 + 1 + 2 * 2)  # norms, heads and feed-forward, forward and back
    calls.clear()
    with torch.no_grad():
        model(tokens)
    assert not calls
    monkeypatch.setattr(threads, "_gomp_parallel", lambda: None)
    wanted = gradients()
    assert not calls
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).norm() <= (1e-5 if dtype == torch.float32 else 3e-2) * b.norm()


def test_a_frequent_token_keeps_its_gradient_in_bfloat16() -> None:
    table = TokenEmbedding(4, 2).bfloat16()
    table(torch.full((3000,), 2)).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad[2].tolist() == [3008, 3008]  # 3000 in eight bits; added in bfloat16: 256
