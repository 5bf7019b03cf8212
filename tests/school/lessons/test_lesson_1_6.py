"""Lesson 1.6: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import math

import pytest

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("1.6")


@pytest.fixture(scope="module")
def real_model(lesson):
    try:
        asset(CHAT_MODEL)
    except AssetMissing as missing:
        pytest.skip(str(missing))


def evaluate(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def charts(lesson, name: str, **arguments) -> list[dict]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


def run(lesson, name: str, **arguments) -> tuple[dict[str, float], list[dict]]:
    """The last metric of each name, and the last chart shown."""
    events = list(lesson.labs[name].run(arguments, "en"))
    assert events[-1]["event"] == "done"
    metrics = {event["name"]: event["value"] for event in events if event["event"] == "metric"}
    return metrics, [event["chart"] for event in events if event["event"] == "show"][-1]


def test_the_published_totals_and_the_sums_of_the_text(lesson) -> None:
    assert evaluate(lesson, "parameters", model="llama3-8b") == 8_030_261_248
    assert evaluate(lesson, "parameters", model="llama3-70b") == 70_553_706_496
    parts = [
        evaluate(lesson, "block", model="llama3-8b", what=w)
        for w in ("q", "kv", "out", "feed_forward", "norms")
    ]
    one_block = evaluate(lesson, "block", model="llama3-8b", what="all")
    assert sum(parts) == one_block
    assert 32 * one_block + 2 * 128_256 * 4096 + 4096 == 8_030_261_248
    changes = [
        evaluate(lesson, "change_from_llama2", part=p) for p in ("vocabulary", "attention", "feed_forward")
    ]
    assert sum(changes) == pytest.approx(evaluate(lesson, "change_from_llama2", part="all"), abs=1e-4)


def test_the_rule_gives_the_published_widths(lesson) -> None:
    def width(d_model: int, multiplier: float, multiple_of: int) -> int:
        return evaluate(
            lesson, "hidden_by_rule", d_model=d_model, multiplier=multiplier, multiple_of=multiple_of
        )

    assert width(4096, 1.0, 256) == evaluate(lesson, "size", model="llama2-7b", what="hidden")
    assert width(4096, 1.3, 1024) == evaluate(lesson, "size", model="llama3-8b", what="hidden")
    assert width(8192, 1.3, 4096) == evaluate(lesson, "size", model="llama3-70b", what="hidden")


def test_the_slowest_pair_turns_once_in_two_pi_over_its_frequency(lesson) -> None:
    for base in (1e4, 5e5):
        expected = 2 * math.pi * base ** (126 / 128)
        assert evaluate(lesson, "slowest_turn", base=base) == pytest.approx(expected, rel=1e-4)


def test_what_the_text_says_of_the_roofline(lesson) -> None:
    assert evaluate(lesson, "flops_per_fp32") == pytest.approx(40, abs=0.5)
    ridge = evaluate(lesson, "flops_per_byte", machine="a100")
    assert evaluate(lesson, "crossing", machine="a100", model="llama3-8b", length=1) == pytest.approx(
        ridge, rel=0.02
    )
    assert evaluate(lesson, "crossing", machine="a100", model="llama3-8b", length=8192) == 0
    weights = evaluate(lesson, "weights_gib", model="llama3-8b")
    left = 80e9 / 2**30 - weights
    assert evaluate(lesson, "fit", machine="a100", model="llama3-8b", length=8192) == int(left)  # 1 GiB each
    assert evaluate(lesson, "fit", machine="a100", model="llama3-8b", length=8192, n_kv_heads=32) == int(
        left / 4
    )
    assert evaluate(lesson, "fit", machine="a100", model="llama3-70b", length=1024) == 0


def test_a_prompt_is_charged_no_more_than_it_needs(lesson) -> None:
    blocks = 2 * 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14_336)
    scores = 4 * 32 * 32 * 128 * 8192 / 2  # a query meets half of the keys on average
    expected = (8192 * (blocks + scores) + 2 * 128_256 * 4096) / 312e12
    found = evaluate(lesson, "prefill_seconds", machine="a100", model="llama3-8b", length=8192)
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_limits_cross_where_the_text_says_and_not_with_long_contexts(lesson) -> None:
    def arithmetic_is_lower(length: int) -> list[bool]:
        lines = {one["name"]: one for one in charts(lesson, "roofline", length=length)[0]["series"]}
        arithmetic, bandwidth = lines["limit of arithmetic"], lines["limit of bandwidth"]
        assert arithmetic["x"] == [2**k for k in range(12)]
        return [a < b for a, b in zip(arithmetic["y"], bandwidth["y"], strict=True)]

    assert arithmetic_is_lower(1) == [False] * 8 + [True] * 4  # from 256 requests on; 128 are too few
    assert not any(arithmetic_is_lower(8192))


def test_a_model_too_large_for_the_card_is_said_to_be(lesson) -> None:
    (chart,) = charts(lesson, "seats", machine="4090", model="llama3-70b")
    assert "nobody can be served" in chart["text"]


def test_stops_of_the_walk_add_up_to_the_model(lesson, real_model) -> None:
    block, _, outside = charts(lesson, "tensor_walk", layer=17)
    inside = [int(row[3].replace(",", "")) for row in block["rows"]]
    others = [int(row[3].replace(",", "")) for row in outside["rows"]]
    assert len(inside) == 9
    assert sum(inside) == evaluate(lesson, "block", model="smollm2", what="all")
    assert 30 * sum(inside) + sum(others) == evaluate(lesson, "parameters", model="smollm2")
    assert evaluate(lesson, "n_tensors") == 30 * 9 + 2


def test_larger_vocabularies_take_fewer_tokens_and_suit_larger_models(lesson, real_model) -> None:
    saved = charts(lesson, "vocabulary", what="saved")[0]["series"][0]["y"]
    assert saved == sorted(saved, reverse=True)
    small, large = (
        charts(lesson, "vocabulary", model=m, what="sum")[0]["series"][0]["y"]
        for m in ("smollm2", "llama3-8b")
    )
    assert min(small) not in (small[0], small[-1])
    assert min(large) == large[-1]


def test_ghost_attention_learns_from_the_last_answer_only(lesson) -> None:
    rows = charts(lesson, "ghost", stage="training", rounds=3)[0]["rows"]
    learned = [any(piece["note"] == "in the loss" for piece in row) for row in rows]
    assert learned == [False] * 5 + [True]
    assert [len(row) for row in rows] == [2, 1, 1, 1, 1, 1]
    rows = charts(lesson, "ghost", stage="sampling", rounds=3)[0]["rows"]
    assert [len(row) for row in rows] == [2, 1] * 3


def test_the_model_by_hand_is_the_model(lesson, real_model) -> None:
    metrics, table = run(lesson, "layer_by_layer")
    assert metrics["largest relative error of any layer"] < 1e-5
    assert metrics["largest difference of logits"] < 1e-3
    assert table["rows"][-1][3] == "␣Paris"
    assert all(row[3] != "␣Paris" for row in table["rows"][:-1])  # as the text says


def test_a_mistake_in_a_part_shows_in_the_check(lesson, real_model, monkeypatch) -> None:
    """Without the rotation the very first layer is off: the lab is able to fail."""
    monkeypatch.setattr(lesson.module, "rope", lambda x, positions, base: x)
    metrics, _ = run(lesson, "layer_by_layer")
    assert metrics["largest relative error of any layer"] > 1e-3


def test_variants_have_nearly_equal_parameters_and_learn(lesson, monkeypatch) -> None:
    module = lesson.module
    monkeypatch.setattr(module, "ROWS", 2)
    texts = list(module.stdlib_docs(max_bytes=200_000))
    monkeypatch.setattr(module, "stdlib_docs", lambda max_bytes: texts)
    module.prose.cache_clear()
    sizes = {kind: module.variant(kind).n_parameters for kind in module.VARIANTS}
    assert max(sizes.values()) / min(sizes.values()) < 1.02
    _, table = run(lesson, "exchange_parts", compared="remove", steps=60)
    assert [row[0] for row in table["rows"]] == ["the parts of Llama", "no norms", "no positions"]
    assert all(4 < float(row[2]) < math.log(1024) for row in table["rows"])
    module.prose.cache_clear()


def test_the_count_lab_runs_on_whatever_stands_under_the_name(lesson, real_model, monkeypatch) -> None:
    metrics, _ = run(lesson, "your_count")
    assert metrics == {"models counted exactly": 4}
    original = lesson.module.parameter_count
    monkeypatch.setattr(lesson.module, "parameter_count", lambda *a, **k: original(*a, **k) | {"norms": 0})
    metrics, table = run(lesson, "your_count")
    assert metrics == {"models counted exactly": 0}
    assert table["rows"][1][-1] == "-266,240"
