"""Lesson 1.2: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import math

import pytest
import torch

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset
from teachllm.stack.nn.attention import scaled_dot_product_attention


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("1.2")


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


def test_the_worked_example_is_what_a_calculator_gives(lesson) -> None:
    exponentials = [math.exp(2), math.exp(1), math.exp(0)]
    for token, exponential in enumerate(exponentials):
        assert evaluate(lesson, "by_hand_weight", token=token) == pytest.approx(
            exponential / sum(exponentials), abs=1e-6
        )
    unscaled = math.exp(4) / (math.exp(4) + math.exp(2) + 1)
    assert evaluate(lesson, "by_hand_weight", token=0, scaled=False) == pytest.approx(unscaled, abs=1e-6)
    first, second, third = (e / sum(exponentials) for e in exponentials)
    assert evaluate(lesson, "by_hand_output", index=0) == pytest.approx(10 * first + third, abs=1e-5)
    assert evaluate(lesson, "by_hand_output", index=1) == pytest.approx(10 * second + third, abs=1e-5)


@pytest.mark.parametrize("d", [16, 64, 256])
def test_scores_spread_like_the_root_of_d(lesson, d: int) -> None:
    assert evaluate(lesson, "score_std", d=d) == pytest.approx(math.sqrt(d), rel=0.02)
    assert evaluate(lesson, "score_std", d=d, scaled=True) == pytest.approx(1, rel=0.02)


def test_scaling_keeps_the_softmax_as_smooth_at_every_dimension(lesson) -> None:
    def largest(**arguments) -> float:
        return charts(lesson, "softmax_sharpness", **arguments)[0]["series"][0]["values"][0]

    assert largest(d=512, scaled=False) > largest(d=64, scaled=False) > largest(d=4, scaled=False)
    assert largest(d=512, scaled=True) == pytest.approx(largest(d=64, scaled=True), abs=0.02)


def test_cache_sizes_of_published_models(lesson) -> None:
    assert evaluate(lesson, "cache_kib", model="llama3-8b") == 128
    assert evaluate(lesson, "cache_gib", model="llama3-8b", length=8192) == 1
    assert evaluate(lesson, "cache_gib", model="llama3-8b", length=8192, n_kv_heads=32) == 4


def test_positions_add_up_step_by_step(lesson) -> None:
    for n in (1, 5, 12):
        totals = charts(lesson, "cache_step", step=n, cached=False)[1]["series"]
        assert [one["values"][1] for one in totals] == [n, sum(range(1, n + 1))]
    rows = charts(lesson, "cache_step", step=7, cached=True)[0]["rows"]
    assert [len(row) for row in rows] == [1, 7, 7]


def test_rows_of_the_real_attention_add_up_to_one(lesson, real_model) -> None:
    heatmap = charts(lesson, "real_attention", sentence="猫坐下了，因为它累了。", layer=3, head=2)[0]
    for index, row in enumerate(heatmap["values"]):
        assert sum(row[: index + 1]) == pytest.approx(1, abs=1e-4)
        assert row[index + 1 :] == [None] * (len(row) - index - 1)


def test_heads_that_the_text_points_to_do_what_it_says(lesson, real_model) -> None:
    sentence = "The cat sat down because it was tired."
    by_default = charts(lesson, "real_attention")[0]
    names = [label.strip("␣") for label in by_default["x_labels"]]
    looking_at = dict(zip(names, by_default["values"][names.index("it")], strict=True))
    assert looking_at["cat"] > 0.7
    previous = charts(lesson, "real_attention", sentence=sentence, layer=12, head=2)[0]["values"]
    assert sum(previous[i][i - 1] for i in range(1, len(previous))) / (len(previous) - 1) > 0.5


def test_sizes_come_from_the_model_file(lesson, real_model) -> None:
    sizes = [
        evaluate(lesson, "model_size", what=w) for w in ("n_layers", "n_heads", "n_kv_heads", "head_dim")
    ]
    assert sizes == [30, 9, 3, 64]
    n_parameters = sum(p.numel() for p in lesson.module.model().parameters())
    assert evaluate(lesson, "model_size", what="bf16_megabytes") == pytest.approx(2 * n_parameters / 1e6)


def test_the_race_gives_one_text_both_ways(lesson, real_model) -> None:
    events = list(lesson.labs["cache_race"].run({"n_tokens": 32}, "en"))
    assert events[-1]["event"] == "done"
    metrics = {event["name"]: event["value"] for event in events if event["event"] == "metric"}
    assert metrics["both chose the same token"] == 100
    lines = {event["name"] for event in events if event["event"] == "sample"}
    assert lines == {"with cache", "without cache"}


def test_the_lab_runs_on_whatever_stands_under_the_name(lesson, real_model, monkeypatch) -> None:
    called = 0

    def spy(*arguments):
        nonlocal called
        called += 1
        return scaled_dot_product_attention(*arguments)

    monkeypatch.setattr("teachllm.stack.nn.attention.scaled_dot_product_attention", spy)
    events = list(lesson.labs["your_attention"].run({"n_tokens": 16}, "en"))
    answer = [
        event["chart"]["text"] for event in events if event["event"] == "show" and event["name"] == "answer"
    ]
    assert "Paris" in answer[-1]
    assert called >= 30 * len(answer)
    (difference,) = [event["value"] for event in events if event["event"] == "metric"]
    assert difference < 1e-3


def test_a_function_that_gives_nan_is_told_so(lesson, real_model, monkeypatch) -> None:
    monkeypatch.setattr(
        "teachllm.stack.nn.attention.scaled_dot_product_attention",
        lambda q, k, v, mask=None, scale=None: torch.full_like(q, math.nan),
    )
    events = list(lesson.labs["your_attention"].run({}, "en"))
    assert events[-1]["event"] == "done"
    assert any("NaN" in event.get("text", "") for event in events if event["event"] == "say")
