"""What holds for every ``teachllm`` command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SAYS = (
    "import os, sys; from teachllm import cli;"
    "cli.app = lambda: print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules); cli.main()"
)


@pytest.mark.parametrize(
    ("command", "chosen", "policy"),
    [
        ("start", None, "PASSIVE"),
        ("chat", "ACTIVE", "ACTIVE"),
        ("train", None, "None"),
        ("resume", None, "None"),
    ],
)
def test_threads_that_wait_sleep_unless_the_user_chose_otherwise_or_trains(
    command: str, chosen: str | None, policy: str
) -> None:
    """PyTorch reads it when it is loaded, so it must be there before."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if chosen:
        environment["OMP_WAIT_POLICY"] = chosen
    ran = subprocess.run(
        [sys.executable, "-c", _SAYS, command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.split() == [policy, "False"], ran.stderr
