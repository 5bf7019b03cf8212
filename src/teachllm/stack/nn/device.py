"""Where models run, and in which numbers: chosen once, with the reason."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DeviceChoice:
    """A device and a dtype for inference, and why they were chosen, in English and Chinese."""

    device: torch.device
    dtype: torch.dtype
    reason: str
    reason_zh: str


@functools.cache
def choose_device() -> DeviceChoice:
    """The fastest device that is there, and the narrowest dtype in which it is fast."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return DeviceChoice(
                torch.device("cuda"),
                torch.bfloat16,
                f"{name} computes in bfloat16",
                f"{name} 会算 bfloat16",
            )
        return DeviceChoice(
            torch.device("cuda"),
            torch.float32,
            f"{name} has no bfloat16, and float16 may overflow",
            f"{name} 不会算 bfloat16，float16 又可能溢出",
        )
    if torch.backends.mps.is_available():
        return DeviceChoice(
            torch.device("mps"),
            torch.bfloat16,
            "the GPU of this Mac computes in bfloat16",
            "这台 Mac 的 GPU 会算 bfloat16",
        )
    cpu = torch.device("cpu")
    if instructions := cpu_bfloat16_instructions():
        return DeviceChoice(
            cpu,
            torch.bfloat16,
            f"no GPU; the processor has {instructions}: half the bytes to read",
            f"没有 GPU；处理器有 {instructions}，要读的字节少一半",
        )
    return DeviceChoice(
        cpu,
        torch.float32,
        "no GPU; the processor has no bfloat16 instructions",
        "没有 GPU；处理器没有 bfloat16 指令",
    )


def cpu_bfloat16_instructions() -> str | None:
    """What multiplies bfloat16 on this processor (AMX, AVX512_BF16), or None if it would be emulated."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    capabilities = torch.cpu.get_capabilities()
    if capabilities.get("amx_bf16"):
        return "AMX_BF16"
    return "AVX512_BF16" if capabilities.get("avx512_bf16") else None
