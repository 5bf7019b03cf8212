"""Options and sizes are checked, and everything that is wrong is said at once."""

from __future__ import annotations

import pytest

from teachllm.stack.inference import Sampling
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.request import BeamSearch, RequestOptions


def test_all_that_is_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="max_tokens is 0") as error:
        RequestOptions(max_tokens=0, n=3, best_of=2, stop=("",), logprobs=21, priority=101)
    for name in ("best_of is 2", "stop is", "logprobs is 21", "priority is 101"):
        assert name in str(error.value)
    with pytest.raises(ValueError, match="n is 0"):
        RequestOptions(n=0)


def test_beam_search_refuses_what_it_would_ignore() -> None:
    with pytest.raises(ValueError, match="leave out sampling, stop, logprobs"):
        RequestOptions(Sampling(temperature=1.0), beam=BeamSearch(2), stop=("a",), logprobs=1)
    with pytest.raises(ValueError, match=r"num_beams is 2.*length_penalty is 11"):
        RequestOptions(n=3, beam=BeamSearch(2, 11))
    assert RequestOptions(n=2, beam=BeamSearch(4)).n_texts == 4


def test_sizes_of_an_engine() -> None:
    with pytest.raises(ValueError, match="n_blocks is 0; it must be at least 1; ageing_steps is -1"):
        EngineConfig(n_blocks=0, ageing_steps=-1)
    with pytest.raises(ValueError, match="could not give every text its next token"):
        EngineConfig(max_batch_tokens=8, max_running=9)
