"""The Triton kernels of FlashAttention against the readable code: run by Triton's interpreter, or by a GPU.

The interpreter must be asked for before Triton is imported, so it runs all cases in one process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn.flash_attention import flash_attention

pytest.importorskip("triton")

Case = dict[str, Any]

CASES: dict[str, Case] = {
    "everything is seen": {"shape": (1, 2, 2, 20, 20, 8)},
    "causal, ragged last blocks": {"shape": (1, 2, 2, 37, 37, 16), "causal": True},
    "causal, queries are the last positions": {"shape": (1, 1, 1, 18, 45, 8), "causal": True, "block_k": 32},
    "causal, more queries than keys": {"shape": (1, 1, 1, 40, 20, 8), "causal": True},
    "heads share keys": {"shape": (2, 4, 2, 20, 20, 24), "causal": True},
    "padding": {"shape": (2, 2, 1, 36, 36, 8), "causal": True, "padded": True},
    "dropout": {"shape": (2, 2, 1, 20, 35, 8), "dropout": 0.3, "seed": (1 << 40) + 7},
    "a scale of its own": {"shape": (1, 1, 1, 20, 20, 8), "scale": 3.0},
    "float16": {"shape": (1, 2, 1, 40, 40, 16), "causal": True, "dtype": torch.float16},
}
ON_A_GPU = CASES | {  # the interpreter multiplies the bits of bfloat16 numbers, as if they were integers
    "bfloat16": {"shape": (1, 2, 1, 40, 40, 16), "causal": True, "dtype": torch.bfloat16},
}


def tensors(case: Case) -> tuple[list[Tensor], Case]:
    """q, k, v and the gradient of the output; the arguments of both functions."""
    options = dict(case)
    batch, heads, kv_heads, n_queries, n_keys, d = options.pop("shape")
    dtype = options.pop("dtype", torch.float32)
    if options.pop("padded", False):
        mask = torch.ones(batch, n_keys, dtype=torch.bool)
        mask[0, :19] = mask[1, -4:] = False  # a whole block, and queries that see nothing
        options["key_mask"] = mask
    shapes = [(heads, n_queries), (kv_heads, n_keys), (kv_heads, n_keys), (heads, n_queries)]
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(batch, *shape, d, generator=generator).to(dtype) for shape in shapes]
    return made, {"block_q": 16, "block_k": 16, **options}


def output_and_gradients(attention: Any, case: Case, device: str = "cpu") -> list[Tensor]:
    given, options = tensors(case)
    q, k, v, d_out = (x.to(device) for x in given)
    if "key_mask" in options:
        options["key_mask"] = options["key_mask"].to(device)
    for x in (q, k, v):
        x.requires_grad_()
    out = attention(q, k, v, **options)
    return [x.detach().cpu() for x in (out, *torch.autograd.grad(out, (q, k, v), d_out))]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Tensor]]:
    file = tmp_path_factory.mktemp("triton") / "results.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(file)


def assert_same(got: list[Tensor], case: Case) -> None:
    # The readable code rounds to the dtype once, the kernels also on the way into each matrix product.
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[
        case.get("dtype", torch.float32)
    ]
    for name, x, y in zip(
        ["out", "dq", "dk", "dv"], got, output_and_gradients(flash_attention, case), strict=True
    ):
        atol = tolerance * max(1.0, y.abs().max().item())
        torch.testing.assert_close(
            x, y, atol=atol, rtol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.xdist_group("interpreted Triton")
@pytest.mark.parametrize("name", CASES)
def test_the_interpreted_kernels_say_what_the_readable_code_says(
    name: str, interpreted: dict[str, list[Tensor]]
) -> None:
    assert_same(interpreted[name], CASES[name])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", ON_A_GPU)
def test_the_kernels_on_a_gpu_say_what_the_readable_code_says(name: str) -> None:
    from teachllm.stack.nn.fast.flash_triton import triton_flash_attention

    assert_same(output_and_gradients(triton_flash_attention, ON_A_GPU[name], "cuda"), ON_A_GPU[name])


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["_forward", "_backward_keys", "_backward_queries"])
@pytest.mark.parametrize("architecture", [80, 90])
def test_the_kernels_compile_for_gpus_that_are_not_here(
    kernel: str, architecture: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All options on, in bfloat16, for an A100 and an H100: the compiler needs no GPU."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from teachllm.stack.nn.fast import flash_triton

    function = getattr(flash_triton, kernel)
    constants = {
        "CAUSAL": True, "MASKED": True, "DROPOUT": True, "BLOCK_Q": 64, "BLOCK_K": 64, "BLOCK_D": 64
    }  # fmt: skip
    types = dict.fromkeys(constants, "constexpr") | {
        "mask": "*i8", "logsumexp": "*fp32", "delta": "*fp32", "scale": "fp32", "kept_scale": "fp32",
        "seed": "i64", "threshold": "i64",
    }  # fmt: skip
    signature = {
        name: types.get(name, "*bf16" if name.endswith("_") else "i32") for name in function.arg_names
    }
    source = ASTSource(
        fn=function,
        signature=signature,
        constexprs={(function.arg_names.index(name),): value for name, value in constants.items()},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32))
    assert "mma" in compiled.asm["ptx"]  # the products go to the matrix units
    assert compiled.metadata.shared <= 99 * 1024  # what the smaller GPUs of these generations have


def main(file: Path) -> None:
    from teachllm.stack.nn.fast.flash_triton import triton_flash_attention

    torch.save(
        {name: output_and_gradients(triton_flash_attention, case) for name, case in CASES.items()}, file
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
