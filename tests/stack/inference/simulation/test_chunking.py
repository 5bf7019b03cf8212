"""What chunks cost, counted by hand and against whole steps."""

from __future__ import annotations

import pytest

from teachllm.stack.inference.simulation.chunking import (
    balanced_ratio,
    chunked_prefill_seconds,
    decode_slots,
    reread_positions,
)
from teachllm.stack.inference.simulation.cost import StepTimes
from teachllm.stack.inference.simulation.profiles import A6000
from teachllm.stack.models.presets import PRESETS

TIMES = StepTimes(PRESETS["llama2-13b"], A6000)


def test_every_piece_reads_all_before_it_again() -> None:
    assert reread_positions(1024, 1024) == reread_positions(1024, 2000) == 0
    assert reread_positions(1000, 300) == 300 + 600 + 900
    n, chunk = 8, 128
    assert reread_positions(n * chunk, chunk) == chunk * n * (n - 1) // 2
    # It is what the pieces' attention reads beyond the prompt itself.
    read = sum(start + min(300, 1000 - start) for start in range(0, 1000, 300))
    assert read == 1000 + reread_positions(1000, 300)
    with pytest.raises(ValueError, match="chunk 0"):
        reread_positions(10, 0)


def test_a_prompt_in_one_piece_takes_one_step() -> None:
    assert chunked_prefill_seconds(TIMES, 700, 700) == TIMES.seconds([(0, 700)], 1)
    assert chunked_prefill_seconds(TIMES, 700, 4096) == TIMES.seconds([(0, 700)], 1)
    pieces = TIMES.seconds([(0, 300)], 0) + TIMES.seconds([(300, 300)], 0) + TIMES.seconds([(600, 100)], 1)
    assert chunked_prefill_seconds(TIMES, 700, 300) == pytest.approx(pieces)


def test_slots_and_ratio() -> None:
    # (48 GB · 0.9 − 26 GB of weights) / (1,024 · 0.82 MB); the paper, which keeps more free, has 18
    assert (
        decode_slots(TIMES, 1024) == int((43.2e9 - 2 * TIMES.config.n_parameters) // (1024 * 819_200)) == 20
    )
    assert decode_slots(StepTimes(PRESETS["llama3-70b"], A6000), 1024) == 0
    assert balanced_ratio(128, 4) == pytest.approx(42.67, abs=0.01)
    with pytest.raises(ValueError, match="slots 1"):
        balanced_ratio(128, 1)
