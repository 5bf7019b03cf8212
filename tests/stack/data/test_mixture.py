"""Portions add up, keep to the weights where they can, and to the caps always."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teachllm.stack.data.mixture import NotEnoughText, portions


def tokens(*args: object, **kwargs: object) -> dict[str, int]:
    return {name: portion.tokens for name, portion in portions(*args, **kwargs).items()}  # type: ignore[arg-type]


def test_by_weight() -> None:
    sizes = {"web": 1_000, "code": 1_000}
    assert tokens(sizes, {"web": 3, "code": 1}, 100) == {"web": 75, "code": 25}
    web = portions(sizes, {"web": 3, "code": 1}, 4_000)["web"]
    assert (web.tokens, web.epochs, web.share, web.is_capped) == (3_000, 3.0, 0.75, False)


def test_what_a_cap_takes_goes_to_the_others_by_weight() -> None:
    sizes = {"a": 100, "b": 1_000, "c": 1_000}
    weights = {"a": 2, "b": 2, "c": 1}
    assert tokens(sizes, weights, 1_000, {"a": 1}) == {"a": 100, "b": 600, "c": 300}
    assert tokens(sizes, weights, 1_000, {"a": 1, "b": 0.5}) == {"a": 100, "b": 500, "c": 400}, "b in turn"
    assert portions(sizes, weights, 1_000, {"a": 1})["a"].is_capped


def test_every_cap_reached_is_just_enough() -> None:
    sizes, weights, caps = {"a": 10, "b": 20}, {"a": 1, "b": 1}, {"a": 2, "b": 1}
    assert tokens(sizes, weights, 40, caps) == {"a": 20, "b": 20}
    with pytest.raises(NotEnoughText, match="wants 41 tokens, but the corpora give 40"):
        portions(sizes, weights, 41, caps)


@given(
    corpora=st.lists(
        st.tuples(st.integers(1, 10_000), st.floats(0.01, 100), st.none() | st.floats(0.1, 8)),
        min_size=1,
        max_size=6,
    ),
    total=st.integers(1, 100_000),
)
def test_portions_add_up_and_keep_to_the_caps(
    corpora: list[tuple[int, float, float | None]], total: int
) -> None:
    sizes = {str(i): size for i, (size, _, _) in enumerate(corpora)}
    weights = {str(i): weight for i, (_, weight, _) in enumerate(corpora)}
    caps = {str(i): cap for i, (_, _, cap) in enumerate(corpora) if cap is not None}
    try:
        found = portions(sizes, weights, total, caps)
    except NotEnoughText:
        assert sum(int(sizes[name] * cap) for name, cap in caps.items()) < total
        return
    assert sum(portion.tokens for portion in found.values()) == total
    for name, portion in found.items():
        if name in caps:
            assert portion.tokens <= int(sizes[name] * caps[name])
    free = [name for name, portion in found.items() if not portion.is_capped]
    for name in free[1:]:
        per_weight = found[name].tokens / weights[name], found[free[0]].tokens / weights[free[0]]
        assert abs(per_weight[0] - per_weight[1]) <= 1 / weights[name] + 1 / weights[free[0]]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"(?s)0 tokens.*for b, which are not.*above 0: a.*without a token: a"
    ):
        portions({"a": 0}, {"a": -1, "b": 1}, 0)
