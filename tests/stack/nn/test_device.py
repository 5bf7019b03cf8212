"""The device is chosen by what is there, and says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from teachllm.stack.nn import device
from teachllm.stack.nn.device import choose_device


@pytest.fixture(autouse=True)
def chosen_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    choose_device.cache_clear()
    yield
    choose_device.cache_clear()


def test_without_a_gpu_the_dtype_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cpu_bfloat16_instructions", lambda: "AVX512_BF16")
    choice = choose_device()
    assert (choice.device.type, choice.dtype) == ("cpu", torch.bfloat16)
    assert "AVX512_BF16" in choice.reason
    assert choose_device() is choice
    choose_device.cache_clear()
    monkeypatch.setattr(device, "cpu_bfloat16_instructions", lambda: None)
    assert choose_device().dtype == torch.float32
    assert "no bfloat16" in choose_device().reason
    assert "没有 bfloat16" in choose_device().reason_zh


@pytest.mark.parametrize(("has_bfloat16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_goes_first(monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card 9000")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    choice = choose_device()
    assert (choice.device.type, choice.dtype) == ("cuda", dtype)
    assert "Card 9000" in choice.reason


def test_this_processor_is_asked_without_an_error() -> None:
    assert device.cpu_bfloat16_instructions() in (None, "AVX512_BF16", "AMX_BF16")
