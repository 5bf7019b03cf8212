"""Lesson 1.7: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset
from teachllm.stack.training.optimizers import newton_schulz


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("1.7")


def evaluate(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def charts(lesson, name: str, **arguments) -> list[dict]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


def heights(lesson, **arguments) -> list[float]:
    return charts(lesson, "paths", **arguments)[1]["series"][0]["y"]


def test_descent_by_hand(lesson) -> None:
    for lr in (0.1, 1.0, 1.9, 2.1):
        expected = (1 - lr) ** 4
        assert evaluate(lesson, "after_descent", curvature=1.0, lr=lr, steps=4) == pytest.approx(expected)


def test_sgd_in_the_valley_leaves_above_the_predicted_rate_only(lesson) -> None:
    limit = lesson.figures["paths"].predict.answer()
    assert heights(lesson, rule="SGD", lr=0.99 * limit, steps=120)[-1] < 0.5
    assert "leaves the picture" in charts(lesson, "paths", rule="SGD", lr=1.1 * limit, steps=120)[2]["text"]


def test_momentum_is_faster_than_the_sgd_beside_it(lesson) -> None:
    path, reference = charts(lesson, "paths")[1]["series"]
    assert path["y"][-1] < 0.1 * reference["y"][-1]


def test_adam_at_the_rate_of_momentum_does_not_reach_the_bottom(lesson) -> None:
    at_the_rate_of_momentum = evaluate(lesson, "valley_height", rule="Adam", lr=0.01)
    assert at_the_rate_of_momentum > 100 * charts(lesson, "paths")[1]["series"][1]["y"][-1]
    assert evaluate(lesson, "valley_height", rule="Adam", lr=0.03) < 0.01 * at_the_rate_of_momentum


def test_two_steps_of_adam_by_hand(lesson) -> None:
    m, v = 0.1 * -0.3 + 0.9 * 0.01, 0.01 * 0.09 + 0.99 * 0.0001
    assert evaluate(lesson, "hand", step=1, what="w") == pytest.approx(0.9)
    assert evaluate(lesson, "hand", step=2, what="m") == pytest.approx(m)
    assert evaluate(lesson, "hand", step=2, what="v") == pytest.approx(v)
    m_hat, v_hat = m / (1 - 0.81), v / (1 - 0.9801)
    assert evaluate(lesson, "hand", step=2, what="w") == pytest.approx(0.9 - 0.1 * m_hat / math.sqrt(v_hat))


def test_first_steps_of_adam(lesson) -> None:
    assert evaluate(lesson, "first_update") == pytest.approx(1.0, abs=1e-6)
    assert evaluate(lesson, "first_update", corrected=False) == pytest.approx(
        0.1 / math.sqrt(0.001), rel=1e-4
    )
    for beta1 in (0.9, 0.8):
        expected = math.sqrt((1 - beta1) / (1 + beta1))
        assert evaluate(lesson, "noise_update", beta1=beta1) == pytest.approx(expected, rel=0.05)
    drawn = charts(lesson, "first_steps", warmup=50)[0]["series"][0]["y"]
    assert drawn[0] == pytest.approx(1 / 50, abs=1e-6)


def test_decay_is_the_same_for_all_weights_and_l2_is_not(lesson) -> None:
    decayed, with_l2 = (s["y"] for s in charts(lesson, "l2_or_decay", show_l2=True)[0]["series"])
    assert decayed == pytest.approx([(1 - 0.01 * 0.5) ** 200] * len(decayed), abs=0.02)
    assert with_l2[-1] > 0.95
    assert abs(with_l2[0]) < 0.1
    assert with_l2 == sorted(with_l2)


def test_one_gradient_that_is_far_too_long(lesson) -> None:
    assert evaluate(lesson, "swollen", beta2=0.999) == pytest.approx(math.sqrt(0.999 + 10))
    assert evaluate(lesson, "swollen", beta2=0.95) == pytest.approx(math.sqrt(0.95 + 500))


def test_bytes_of_mixed_precision(lesson) -> None:
    assert evaluate(lesson, "training_bytes") == 16
    assert evaluate(lesson, "state_gib", parameters=2**30) == 8
    assert evaluate(lesson, "state_gib", rule="Lion", parameters=2**30) == 4


def test_line_and_cosine_have_the_same_mean(lesson) -> None:
    for shape in ("linear", "cosine"):
        assert evaluate(lesson, "mean_rate", shape=shape) == pytest.approx(0.5, abs=1e-3)
    assert evaluate(lesson, "rate", shape="cosine", step=900) == pytest.approx(
        (1 + math.cos(0.9 * math.pi)) / 2
    )
    for warmup, floor, decay_steps in ((0, 0.0, 50), (300, 0.5, 700)):
        drawn = charts(lesson, "schedule_shapes", warmup=warmup, floor=floor, decay_steps=decay_steps)
        assert len(drawn[0]["series"]) == 6


def test_directions_of_a_gradient(lesson) -> None:
    try:
        asset(CHAT_MODEL)
    except AssetMissing as missing:
        pytest.skip(str(missing))
    figures = sys.modules[lesson.figures["muon_directions"].function.__module__]
    gradient = figures.gradient_of_the_real_model()
    expected = torch.linalg.svdvals(newton_schulz(gradient)).sort().values
    drawn = torch.tensor(figures.sizes_after(5)).sort().values
    torch.testing.assert_close(drawn.float(), expected, atol=1e-3, rtol=0)
    assert 0.6 < figures.share_of_largest() < 0.99
    assert figures.share_of(figures.sizes_after(5)) < 0.1
    assert evaluate(lesson, "muon_overhead", d_model=100, tokens=1000) == pytest.approx(0.5)


def test_training_learns_and_both_optimizers_see_the_same_batches(lesson, monkeypatch) -> None:
    figures = sys.modules[lesson.figures["paths"].function.__module__]
    monkeypatch.setattr(figures, "ROWS", 4)
    tokens = torch.arange(4000) * 7 % 31  # a text that repeats itself
    monkeypatch.setattr(figures, "text", lambda: tokens)
    one, other = figures.RandomRows(3), figures.RandomRows(3)
    assert next(one).tokens.equal(next(other).tokens)
    events = list(lesson.labs["adamw_or_muon"].run({"steps": 50, "n_seeds": 1}, "en"))
    assert events[-1]["event"] == "done", events[-1]
    table = next(event for event in events if event["event"] == "show")["chart"]
    for row in table["rows"]:
        assert row[2] < 3.0 < math.log(figures.VOCABULARY)


def test_the_readable_adamw_trains_as_torch_does(lesson, monkeypatch) -> None:
    figures = sys.modules[lesson.figures["paths"].function.__module__]
    monkeypatch.setattr(figures, "text", lambda: torch.arange(4000) * 7 % 31)
    events = list(lesson.labs["your_adamw"].run({"steps": 20}, "en"))
    metrics = {event["name"]: event["value"] for event in events if event["event"] == "metric"}
    assert metrics["largest difference of a weight"] < 1e-3
    assert metrics["loss on your side"] == pytest.approx(metrics["loss with torch"], abs=1e-3)
