"""The device that models run on, and why it was chosen, in both languages."""

from __future__ import annotations

from teachllm.school.language import Both


def device_and_reason() -> Both:
    """``cpu, float32 (why)``. Loads PyTorch."""
    from teachllm.stack.nn.device import choose_device

    chosen = choose_device()
    kind, dtype = chosen.device.type, str(chosen.dtype).removeprefix("torch.")
    why = _WHY[kind, dtype]
    return Both(f"{kind}，{dtype}（{why}）", f"{kind}, {dtype} ({chosen.reason})")


_WHY = {
    ("cuda", "bfloat16"): "有 NVIDIA 的 GPU，它会算 bfloat16",
    ("cuda", "float32"): "有 NVIDIA 的 GPU，但它不会算 bfloat16，float16 又可能溢出",
    ("mps", "bfloat16"): "Mac 的 GPU 会算 bfloat16",
    ("cpu", "bfloat16"): "没有 GPU；处理器会算 bfloat16，要读的字节少一半",
    ("cpu", "float32"): "没有 GPU；处理器没有 bfloat16 指令",
}
"""The reasons of ``choose_device`` in Chinese."""
