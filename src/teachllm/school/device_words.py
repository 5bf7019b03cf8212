"""The device that models run on, and why it was chosen, in both languages."""

from __future__ import annotations

from teachllm.school.language import Both


def device_and_reason() -> Both:
    """``cpu, float32 (why)``. Loads PyTorch."""
    from teachllm.stack.nn.device import choose_device

    chosen = choose_device()
    kind, dtype = chosen.device.type, str(chosen.dtype).removeprefix("torch.")
    return Both(f"{kind}，{dtype}（{chosen.reason_zh}）", f"{kind}, {dtype} ({chosen.reason})")
