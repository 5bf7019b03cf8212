"""A way of computing attention is measured once, remembered, said, and then taken by every model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from teachllm.stack.nn import attention, attention_choice, attention_ways, measurements
from teachllm.stack.nn.attention import causal_attention
from teachllm.stack.nn.attention_choice import choose_attention
from teachllm.stack.nn.attention_ways import Heads, Use, Way
from teachllm.stack.nn.fast import threads

LARGE = 10**9  # parameters: worth measuring
HEADS = Heads("cpu", torch.float32, 4, 2, 16)

numba_runs = pytest.mark.skipif(not threads.can_run(torch.zeros(1)), reason="no kernels in PyTorch's threads")


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(attention_ways, "_taken", {})
    monkeypatch.setattr(measurements.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[Way, float]:
    """What each way takes: change it. Attention itself is computed once a measurement, as ever."""
    taken: dict[Way, float] = {"numba": 1.0, "pytorch": 1.0, "triton": 1.0}
    asked: list[Way] = []
    run = attention_choice._run

    def noted(use: Use, way: Way, *rest: object) -> object:
        asked.append(way)
        return run(use, way, *rest)  # pyright: ignore[reportArgumentType]

    def measured(runs: list, device: str) -> list[float]:
        for one in runs:
            one()
        ways, asked[:] = list(asked), []
        return [taken[way] for way in ways]

    monkeypatch.setattr(attention_choice, "_run", noted)
    monkeypatch.setattr(attention_choice, "_seconds", measured)
    return taken


@numba_runs
@pytest.mark.parametrize("use", ["training", "prompts", "blocks"])
def test_another_way_is_taken_if_it_is_a_tenth_faster(use: Use, seconds: dict[Way, float]) -> None:
    usual: Way = "numba" if use == "blocks" else "pytorch"
    other: Way = "pytorch" if use == "blocks" else "numba"
    seconds[usual], seconds[other] = 2e-3, 1.9e-3
    assert choose_attention(use, HEADS, 100, LARGE).way == usual
    seconds[other] = 1e-3
    assert choose_attention(use, HEADS, 100, LARGE).way == usual  # it was measured before
    chosen = choose_attention(use, HEADS, 101, LARGE)
    assert chosen.way == other
    assert "1.00 ms" in chosen.reason
    assert "2.00 ms" in chosen.reason_zh
    assert choose_attention(use, HEADS, 101, 1000).way == usual  # for a small model nothing is measured


@numba_runs
def test_models_take_the_way_that_was_chosen(
    seconds: dict[Way, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[str] = []
    for name in ("packed_causal_attention", "prompt_attention"):
        function = getattr(attention, name)
        monkeypatch.setattr(
            attention, name, lambda *given, f=function, name=name: went.append(name) or f(*given)
        )
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 20, 16, generator=generator).requires_grad_() for n in (4, 2, 2))
    usual = causal_attention(q, k, v)
    assert went == []
    seconds["numba"] = 0.1
    choose_attention("training", HEADS, 64, LARGE)
    went.clear()
    found = causal_attention(q, k, v)
    with torch.no_grad():
        torch.testing.assert_close(causal_attention(q, k, v), usual)  # prompts are another use
        assert went == ["packed_causal_attention"]
        choose_attention("prompts", HEADS, 64, LARGE)
        went.clear()
        torch.testing.assert_close(causal_attention(q, k, v), usual, atol=1e-5, rtol=1e-5)
    assert went == ["prompt_attention"]
    torch.testing.assert_close(found, usual, atol=1e-5, rtol=1e-5)


def test_who_cannot_be_taken_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    on_mps = Heads("mps", torch.bfloat16, 4, 2, 16)
    assert choose_attention("prompts", on_mps, 64, LARGE).reason == "PyTorch's kernel (the only one for mps)"
    half = choose_attention("training", HEADS._replace(dtype=torch.float16), 64, LARGE)
    assert (half.way, "it knows no torch.float16" in half.reason) == ("pytorch", True)
    odd = choose_attention("blocks", HEADS._replace(head_dim=20), 64, LARGE)
    assert odd.way == "pytorch"
    if threads.can_run(torch.zeros(1)):
        assert "head_dim = 20, block_size = 16 are not in whole tiles" in odd.reason
        assert choose_attention("blocks", HEADS, 64, 1000).way == "numba"
    on_cuda = HEADS._replace(device="cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    without = choose_attention("prompts", on_cuda, 64, LARGE)
    assert (without.way, "Triton is not installed" in without.reason) == ("pytorch", True)
    assert "没有安装 Triton" in without.reason_zh
    assert choose_attention("blocks", on_cuda._replace(head_dim=256), 64, LARGE).way == "pytorch"


@numba_runs
def test_this_machine_measures_without_an_error() -> None:
    for use in ("training", "prompts", "blocks"):
        chosen = choose_attention(use, HEADS, 40, LARGE)
        assert chosen.way in ("numba", "pytorch")
        assert chosen.reason.count(" ms") == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("use", ["training", "prompts", "blocks"])
def test_a_gpu_measures_pytorch_and_triton(use: Use) -> None:
    pytest.importorskip("triton")
    chosen = choose_attention(use, Heads("cuda", torch.bfloat16, 8, 2, 64), 256, LARGE)
    assert chosen.reason.count(" ms") == 2
