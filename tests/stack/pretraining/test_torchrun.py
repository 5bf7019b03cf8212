"""The command under `torchrun`: two processes that share the work lose what one process loses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def losses(recipe_file: Path, out: Path, *start: str, sharing: str = "ddp") -> list[float]:
    """Of the run's steps, after `teachllm train` was started by `start`."""
    ended = subprocess.run(
        [*start, "-m", "teachllm", "train", str(recipe_file), "--out", str(out), "--sharing", sharing],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stderr
    (folder,) = out.iterdir()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "step"]


@pytest.mark.slow
@pytest.mark.parametrize("sharing", ["ddp", "fsdp"])
def test_two_processes_lose_what_one_loses(recipe_file: Path, tmp_path: Path, sharing: str) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    alone = losses(recipe_file, tmp_path / "alone", sys.executable)
    shared = losses(recipe_file, tmp_path / "shared", *torchrun, sharing=sharing)
    assert len(alone) == 12
    assert shared == pytest.approx(alone, rel=1e-5)
