"""A step over buffers that stay where they are is the ordinary step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from teachllm.stack.inference import Sampling
from teachllm.stack.inference.engine import engine as engine_module
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import BeamSearch, RequestOptions
from teachllm.stack.inference.language_model import LanguageModel

MakeEngine = Callable[..., Engine]


def answers(engine: Engine, run: Callable) -> dict[str, object]:
    for i in range(13):
        prompt = [(7 * i + j) % 256 for j in range(1 + 3 * i)]
        options = RequestOptions(
            Sampling(temperature=0.8 * (i % 2), seed=i), 4 + i, n=1 + (i % 3), logprobs=3
        )
        engine.add(prompt, options, str(i))
    engine.add([1, 2, 3], RequestOptions(max_tokens=6, beam=BeamSearch(3)), "beam")
    return {
        name: [
            ([out.token for out in own], torch.tensor([out.logprob or 0.0 for out in own]))
            for own in [[out for out in one.outs if out.index == index] for index in sorted(one.ends)]
        ]
        for name, one in run(engine).items()
    }


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, texts in expected.items():
        for (tokens, logprobs), (expected_tokens, expected_logprobs) in zip(found[name], texts, strict=True):
            assert tokens == expected_tokens, name
            torch.testing.assert_close(logprobs, expected_logprobs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("n_blocks", [200, 26])
def test_texts_are_those_of_ordinary_steps(
    n_blocks: int, make_engine: MakeEngine, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(make_engine(n_blocks=n_blocks), run)
    monkeypatch.setattr(engine_module, "graphs_pay", lambda device: True)
    engine = make_engine(n_blocks=n_blocks)
    assert_same(answers(engine, run), expected)
    assert engine._decode is not None
    sizes = engine._decode._steps
    assert len(sizes) > 3  # it was used, in some sizes
    assert all(number & (number - 1) == 0 for size in sizes for number in size)
    assert (engine.snapshot().preemptions > 0) == (n_blocks == 26)


def test_the_spare_block_is_nobodys(
    make_engine: MakeEngine, tiny: LanguageModel, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What rows behind the texts write there reaches none of them, not even a NaN."""
    monkeypatch.setattr(engine_module, "graphs_pay", lambda device: True)
    engine = make_engine(n_blocks=20)
    assert engine._kv.n_blocks == 21
    engine._kv.storage[:, :, 20] = torch.nan
    engine.add([5, 6, 7], RequestOptions(max_tokens=9), "a")
    engine.add([5, 6, 7], RequestOptions(max_tokens=9), "b")
    engine.add([5, 6, 7], RequestOptions(max_tokens=9), "c")  # three texts in four rows
    told = run(engine)
    assert [len(told[name].tokens[0]) for name in "abc"] == [9, 9, 9]
    assert len(engine.snapshot().blocks) == 20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_recorded_step_is_the_ordinary_one(
    make_engine: MakeEngine, tiny: LanguageModel, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.model.cuda()  # pyright: ignore[reportAttributeAccessIssue]
    found = answers(make_engine(n_blocks=200), run)
    monkeypatch.setattr(engine_module, "graphs_pay", lambda device: False)
    assert_same(found, answers(make_engine(n_blocks=200), run))
