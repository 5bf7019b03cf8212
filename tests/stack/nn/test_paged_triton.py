"""The Triton kernel of paged decoding against the readable code: run by Triton's interpreter, or by a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from teachllm.stack.nn.paged_attention import decode_attention, paged_decode_attention

pytest.importorskip("triton")

# heads, heads of keys, head_dim, block_size, dtype
CASES = {
    "heads share keys": (6, 2, 16, 16, torch.float32),
    "a block of 4, a head of 24": (2, 2, 24, 4, torch.float32),
    "float16": (3, 1, 64, 16, torch.float16),
}
N_KEYS = (1, 5, 16, 64, 65, 130)  # of each text: within, at and beyond what is read at once


def tensors(heads: int, kv_heads: int, d: int, block_size: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The arguments. What stands in no text's part of a block is NaN."""
    generator = torch.Generator().manual_seed(0)
    widths = [-(-n // block_size) for n in N_KEYS]
    dealt = torch.randperm(sum(widths) + 2, generator=generator)
    shape = (len(dealt), block_size, kv_heads, d)
    keys, values = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    tables = torch.full((len(N_KEYS), max(widths)), int(dealt[-1]))
    unused = torch.ones(len(dealt), block_size, dtype=torch.bool)
    for row, own, n in zip(tables, dealt[:-2].split(widths), N_KEYS, strict=True):
        row[: len(own)] = own
        for i in range(n):
            unused[own[i // block_size], i % block_size] = False
    keys[unused], values[unused] = torch.nan, torch.nan
    q = torch.randn(heads, len(N_KEYS), d, generator=generator).to(dtype).transpose(0, 1)  # a view
    return q, keys, values, tables, torch.tensor(N_KEYS)


def assert_same(found: Tensor, name: str) -> None:
    expected = paged_decode_attention(*tensors(*CASES[name]))
    tolerance = 1e-5 if expected.dtype == torch.float32 else 2e-3
    torch.testing.assert_close(found.cpu(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.xdist_group("interpreted Triton")
def test_the_interpreted_kernel_says_what_the_readable_code_says(tmp_path: Path) -> None:
    """The interpreter must be asked for before Triton is imported: one process runs all cases."""
    file = tmp_path / "results.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, str(file)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, found in torch.load(file).items():
        assert_same(found, name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_on_a_gpu_says_what_the_readable_code_says(name: str) -> None:
    assert_same(decode_attention("triton")(*(x.cuda() for x in tensors(*CASES[name]))), name)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90])
def test_the_kernel_compiles_for_gpus_that_are_not_here(
    architecture: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from teachllm.stack.nn.fast.paged_triton import _decode

    constants = {"BLOCK_G": 16, "BLOCK_K": 64, "BLOCK_D": 64}
    types = dict.fromkeys(constants, "constexpr") | {"tables": "*i64", "n_keys_": "*i64", "scale": "fp32"}
    signature = {
        name: types.get(name, "*bf16" if name.endswith("_") else "i32") for name in _decode.arg_names
    }
    source = ASTSource(
        fn=_decode,
        signature=signature,
        constexprs={(_decode.arg_names.index(name),): value for name, value in constants.items()},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32))
    assert "mma" in compiled.asm["ptx"]  # the products go to the matrix units
    assert compiled.metadata.shared <= 99 * 1024


def main(file: Path) -> None:
    attend = decode_attention("triton")
    torch.save({name: attend(*tensors(*case)) for name, case in CASES.items()}, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
