"""Lesson 1.5: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset
from teachllm.stack.inference.sampling import top_p


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("1.5")


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


def series(chart: dict) -> dict[str, list[float]]:
    return {one["name"]: one.get("values", one.get("y")) for one in chart["series"]}


def test_the_worked_norms_are_what_a_calculator_gives(lesson) -> None:
    for index, x in enumerate((1, 2, 3, 6)):
        layer, rms = (x - 3) / math.sqrt(3.5), x / math.sqrt(12.5)
        assert evaluate(lesson, "norm_by_hand", norm="LayerNorm", index=index) == pytest.approx(
            layer, abs=1e-4
        )
        assert evaluate(lesson, "norm_by_hand", norm="RMSNorm", index=index) == pytest.approx(rms, abs=1e-4)


def test_only_layer_norm_ignores_a_shift_and_both_ignore_a_scale(lesson) -> None:
    before, shifted, scaled = (
        series(charts(lesson, "two_norms", **arguments)[0])
        for arguments in ({}, {"shift": 10.0}, {"scale": 10.0})
    )
    for name in before:
        assert scaled[name] == pytest.approx(before[name], abs=1e-4)
    assert shifted["LayerNorm"] == pytest.approx(before["LayerNorm"], abs=1e-4)
    assert shifted["RMSNorm"] == pytest.approx([1, 1, 1, 1], abs=0.3)
    assert lesson.module.changed_by_shift() == 2  # only RMSNorm


def test_with_pre_norm_the_last_gradient_shrinks_as_the_root_of_the_depth(lesson) -> None:
    assert evaluate(lesson, "last_gradient_ratio", place="pre") == pytest.approx(0.5, abs=0.1)
    assert evaluate(lesson, "last_gradient_ratio", place="post") > 0.8


def test_the_slope_of_relu_dies_and_that_of_silu_does_not(lesson) -> None:
    slopes = series(charts(lesson, "gates", slope=True)[0])
    at_minus_two = 40  # of 121 points from -6 to 6
    assert slopes["ReLU"][at_minus_two] == 0
    assert abs(slopes["SiLU"][at_minus_two]) > 0.05


def test_the_nucleus_by_hand(lesson) -> None:
    assert evaluate(lesson, "nucleus_by_hand", what="size") == 3
    assert evaluate(lesson, "nucleus_by_hand", what="mass") == pytest.approx(96.8, abs=0.01)
    shares = [evaluate(lesson, "nucleus_by_hand", what="share", index=index) for index in range(3)]
    assert shares == pytest.approx([66.4 / 0.968, 19.9 / 0.968, 10.5 / 0.968], abs=0.01)
    hot = (0.664**0.5, 0.199**0.5, 0.105**0.5, 0.032**0.5)
    assert sum(hot[:3]) / sum(hot) < 0.9  # so at temperature 2 all four are needed
    assert evaluate(lesson, "hot_nucleus_by_hand", T=2.0) == 4
    assert evaluate(lesson, "hot_nucleus_by_hand", T=2.0, temperature_first=False) == 3


def test_the_tree_by_hand(lesson) -> None:
    assert evaluate(lesson, "tree_best", num_beams=1) == pytest.approx(0.5 * 0.4)
    assert evaluate(lesson, "tree_best", num_beams=2) == pytest.approx(0.4 * 0.9)


def test_what_the_text_says_of_three_beginnings(lesson, real_model) -> None:
    sure, story, opening = charts(lesson, "beginnings")[0]["rows"]
    assert sure[1].startswith("␣Paris")
    entropies, by_top_p, by_min_p = ([row[column] for row in (sure, story, opening)] for column in (2, 3, 4))
    assert entropies == sorted(entropies)
    assert by_top_p == sorted(by_top_p)
    assert by_top_p[0] < 20
    assert by_top_p[2] > 200
    assert by_min_p == sorted(by_min_p)
    assert all(few < many for few, many in zip(by_min_p, by_top_p, strict=True))


def test_typical_drops_the_first_token_where_the_text_says_so(lesson, real_model) -> None:
    bars = charts(lesson, "cut", keeps="typical_p", p=0.2)[0]
    drawn, given = series(bars)["drawn from"], series(bars)["the model's"]
    assert drawn[0] == 0 < given[0]
    assert any(drawn[1:])


@pytest.mark.parametrize("keeps", ["all", "top_k", "top_p", "min_p", "typical_p"])
def test_kept_tokens_share_what_the_others_had(lesson, real_model, keeps: str) -> None:
    bars = charts(lesson, "cut", keeps=keeps, p=0.5, k=5)[0]
    given, drawn = series(bars)["the model's"], series(bars)["drawn from"]
    ratios = {round(after / before, 3) for before, after in zip(given, drawn, strict=True) if after}
    assert len(ratios) == 1
    assert ratios.pop() >= 1


def test_the_nucleus_grows_with_a_temperature_that_comes_first(lesson, real_model) -> None:
    lines = series(charts(lesson, "order")[0])
    first, behind = lines["temperature first (as is usual)"], lines["temperature behind"]
    assert first == sorted(first)
    assert first[0] < behind[0] == behind[-1] < first[-1]


def test_paths_of_the_beam_continue_those_of_the_step_before(lesson, real_model) -> None:
    def rows(step: int) -> list[list[str]]:
        return [[token["text"] for token in row] for row in charts(lesson, "beam_tree", step=step)[0]["rows"]]

    for step in range(2, 11):
        before = rows(step - 1)
        assert all(row[:-1] in before for row in rows(step))
    assert len(charts(lesson, "beam_tree", width=1, step=10)[0]["rows"]) == 1


def test_wider_beams_are_more_probable(lesson, real_model) -> None:
    events = list(lesson.labs["beam_widths"].run({"n_tokens": 4}, "en"))
    assert events[-1]["event"] == "done"
    likely = [event["y"] for event in events if event.get("name") == "ln p a token"]
    assert len(likely) == 4
    assert likely[-1] > likely[0]


def test_measures_of_repetition_and_variety(lesson) -> None:
    module = lesson.module
    assert module.repeated([1, 2, 3, 1, 2, 3]) == pytest.approx(1 / 4)
    assert module.repeated([1, 2, 3, 4]) == module.repeated([1]) == 0
    assert module.distinct_2([[1, 2, 1, 2], [1, 2]]) == pytest.approx(2 / 4)


def test_rows_drawn_together_are_read_behind_their_own_past(lesson, real_model) -> None:
    """The mean surprise of a batch is that of each text read afresh."""
    module = lesson.module
    prompt = module.tokenizer().encode(module.STORY)
    texts, _, surprised = module.sampled_together(prompt, module.Sampling(1.0, seed=3), 3, 8)
    assert len({tuple(text) for text in texts}) == 3
    afresh = sum(module.surprise(prompt, text) for text in texts) / 3
    assert surprised == pytest.approx(afresh, abs=1e-3)


def test_the_norms_train_and_none_does_not_at_once(lesson) -> None:
    events = list(lesson.labs["train_norms"].run({"n_steps": 10, "learning_rate": 0.006}, "en"))
    assert events[-1]["event"] == "done"
    final = {event["name"]: event["value"] for event in events if event["event"] == "metric"}
    assert final["RMSNorm, pre"] == pytest.approx(final["LayerNorm, pre"], abs=0.15)
    assert final["no norm"] > final["RMSNorm, pre"] + 0.2


def test_the_lab_draws_with_whatever_stands_under_the_name(lesson, real_model, monkeypatch) -> None:
    called = itertools.count()

    def only_the_first(logits: torch.Tensor, p: float) -> torch.Tensor:
        next(called)
        return top_p(logits, 1e-6)

    monkeypatch.setattr("teachllm.stack.inference.sampling.top_p", only_the_first)
    events = list(lesson.labs["your_top_p"].run({"n_tokens": 8}, "en"))
    (*_, last) = (event for event in events if event["event"] == "show")
    texts = {row[1] for row in last["chart"]["rows"]}
    assert len(texts) == 1  # greedy, whatever the seed
    assert next(called) >= 3
