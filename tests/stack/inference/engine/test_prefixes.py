"""Prefixes that leave an engine's pool and come into another's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from teachllm.stack.inference.engine.blocks import IntegrityError
from teachllm.stack.inference.engine.engine import Engine
from teachllm.stack.inference.engine.request import RequestOptions

TEXT = list(range(1, 31))
SHORT = RequestOptions(max_tokens=1, end_tokens=frozenset())


def test_a_prefix_moves_to_another_engine(make_engine: Callable[..., Engine], run) -> None:
    one, other = make_engine(), make_engine()
    one.add(TEXT, SHORT)
    run(one)
    assert one.prefixes.hold("a", TEXT) == 28  # full blocks of 4, and less than the text
    blocks = one.prefixes.read("a", 0)
    assert blocks.shape[2] == 7
    assert other.prefixes.hold("b", TEXT) == 0
    assert other.prefixes.write("b", TEXT[:28], blocks)
    other.prefixes.let_go("b")
    other.check_integrity()
    name = other.add(TEXT, RequestOptions(max_tokens=9, end_tokens=frozenset()))
    told = run(other)[name]
    assert told.ends[0].usage.cached_tokens == 28
    one.prefixes.let_go("a")
    alone = one.add(TEXT, RequestOptions(max_tokens=9, end_tokens=frozenset()))
    assert told.tokens == run(one)[alone].tokens
    assert other.prefixes.hold("c", TEXT) == 28
    assert torch.equal(other.prefixes.read("c", 0), blocks)


def test_what_is_held_is_in_the_books(make_engine: Callable[..., Engine], run) -> None:
    engine = make_engine(n_blocks=10)
    engine.add(TEXT, SHORT)
    run(engine)
    engine.prefixes.hold("a", TEXT)
    engine.check_integrity()
    with pytest.raises(ValueError, match="let it go first"):
        engine.prefixes.hold("a", TEXT)
    with pytest.raises(ValueError, match="only full blocks"):
        engine.prefixes.write("a", [1, 2, 3], engine.prefixes.read("a", 24))
    other = list(range(100, 120))
    engine.prefixes.hold("b", other)
    assert not engine.prefixes.write("b", other[:16], torch.zeros(2, 2, 4, 4, 2, 8))  # 3 blocks are left
    assert engine.prefixes.length("b") == 0
    waiting = engine.add(list(range(50, 70)), SHORT)
    assert engine.step() == []
    assert engine.is_stalled
    engine.prefixes.let_go("a")
    assert waiting in run(engine)
    assert not engine.is_stalled
    engine.prefixes.let_go("b")
    engine.prefixes.let_go("b")
    engine.prefixes.hold("lost", list(range(50, 70)))
    del engine.prefixes._held["lost"]
    with pytest.raises(IntegrityError, match="owners"):
        engine.check_integrity()
