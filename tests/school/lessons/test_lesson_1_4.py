"""Lesson 1.4: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import math

import pytest
import torch

from teachllm.school.lesson import load_lesson
from teachllm.stack.nn.positions import alibi_slopes
from teachllm.stack.nn.relative_positions import xpos


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("1.4")


def evaluate(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def charts(lesson, name: str, **arguments) -> list[dict]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


@pytest.mark.parametrize(("i", "j"), [(3, 1), (103, 101)])
def test_the_four_terms_of_the_worked_example(lesson, i: int, j: int) -> None:
    p_i, p_j = (math.sin(i), math.cos(i)), (math.sin(j), math.cos(j))
    expected = {
        "cc": 4,
        "cp": p_j[0] + 2 * p_j[1],
        "pc": 2 * p_i[0] + p_i[1],
        "pp": math.cos(i - j),
    }
    for term, wanted in expected.items():
        assert evaluate(lesson, "hand_term", term=term, i=i, j=j) == pytest.approx(wanted, abs=1e-5)


def test_three_of_four_terms_change_when_a_sentence_moves(lesson) -> None:
    still = charts(lesson, "four_terms", shift=0)[1]["series"][0]["values"]
    moved = charts(lesson, "four_terms", shift=20)[1]["series"][0]["values"]
    assert still == pytest.approx([0, 0, 0, 0])
    assert moved[0] == pytest.approx(0, abs=1e-6)
    assert min(moved[1:]) > 1
    together = charts(lesson, "four_terms", term="all", shift=7)[0]["values"]
    parts = [charts(lesson, "four_terms", term=term, shift=7)[0]["values"] for term in lesson.module.TERMS]
    torch.testing.assert_close(torch.tensor(together), torch.tensor(parts).sum(0))


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_shift_ends_with_distances_in_place(lesson, n: int) -> None:
    (last,) = charts(lesson, "shift_steps", step="shifted", n=n)
    for i in range(n):
        assert last["values"][i][: i + 1] == list(range(i, -1, -1))
    (reread,) = charts(lesson, "shift_steps", step="reread", n=n)
    assert reread["values"][1:] == last["values"]  # step 4 is step 3 without its first row


def test_the_buckets_that_the_text_and_the_exercise_name(lesson) -> None:
    assert lesson.module.buckets_between(64, 127) == 6
    assert [evaluate(lesson, "bucket", distance=distance) for distance in (15, 128, 1000)] == [15, 31, 31]
    # What training on 32 bytes never reaches.
    assert evaluate(lesson, "bucket", distance=31) < 31
    assert evaluate(lesson, "spread_of_terms", n_terms=3) == pytest.approx(math.sqrt(3 * 64), rel=0.02)


def test_every_matrix_depends_on_the_distance_alone(lesson) -> None:
    for method, _ in lesson.module.BIASES:
        (chart,) = charts(lesson, "bias_maps", method=method, length=16)
        rows = chart["values"]
        for i in range(1, 16):
            for j in range(1, i + 1):
                assert rows[i][j] == pytest.approx(rows[i - 1][j - 1], abs=1e-4), (method, i, j)


def test_the_expected_score_is_that_of_many_random_vectors(lesson) -> None:
    x = torch.randn(4000, 1, 64, generator=torch.Generator().manual_seed(0)).expand(-1, 201, -1)
    q, k = xpos(x, x, torch.arange(201))
    lengths = x[:, 0].square().sum(-1)
    for distance in (1, 40, 200):
        measured = ((q[:, 200] * k[:, 200 - distance]).sum(-1) / lengths).mean().item()
        shown = lesson.module.expected_score(torch.tensor([float(distance)]), 64, 512.0).item()
        assert measured == pytest.approx(shown, abs=0.01)


def test_the_logarithmic_law_holds_for_many_pairs(lesson) -> None:
    for distance in (10, 100, 1000):
        law = evaluate(lesson, "log_law", distance=distance)
        assert evaluate(lesson, "rope_mean", distance=distance, dim=8192) == pytest.approx(law, abs=0.01)


def test_rope_scores_come_back_and_the_bound_is_not_monotone(lesson) -> None:
    back = lesson.module.comes_back()
    assert back >= 100
    assert evaluate(lesson, "rope_mean", distance=back, dim=4) > 0.99
    # A return means whole turns of both pairs, and not a slow pair that has hardly begun.
    for turns in lesson.module.turns(back):
        assert turns > 1
        assert turns == pytest.approx(round(turns), abs=0.02)
    drawn = charts(lesson, "expected_scores", dim=4)[0]["series"][0]
    assert max(y for x, y in zip(drawn["x"], drawn["y"], strict=True) if x > 100) > 0.95
    assert evaluate(lesson, "bound_term", distance=5000) > evaluate(lesson, "bound_term", distance=1000)


@pytest.mark.parametrize("delta", [1, 17, 300])
def test_abel_bounds_every_score(lesson, delta: int) -> None:
    h = torch.view_as_complex(torch.randn(50, 32, 2, generator=torch.Generator().manual_seed(1)))
    angles = delta * lesson.module.rope_frequencies(64)
    factors = torch.polar(torch.ones(32), angles)
    scores = (h * factors).sum(-1)
    steps = torch.cat([h, torch.zeros(50, 1)], -1).diff(dim=-1).abs().max(-1).values
    bound = steps * factors.cumsum(-1).abs().sum()
    assert (scores.abs() <= bound * 1.0001).all()


def test_far_keys_dilute_only_heads_without_a_bias(lesson) -> None:
    no_bias, steep, *_ = (line["y"] for line in charts(lesson, "dilution")[0]["series"])
    assert no_bias[-1] < 0.02
    assert steep[-1] > 0.7


def test_no_weights_are_above_the_bound(lesson) -> None:
    slopes, c = alibi_slopes(8), 2.0
    scores = torch.rand(100, 3000, generator=torch.Generator().manual_seed(0)) * 2 * c - c
    scores[0, :20], scores[0, 20:] = -c, c  # the worst case for a window of 20
    for head, window in ((1, 20), (4, 200)):
        weights = torch.softmax(scores - slopes[head - 1] * torch.arange(3000), -1)
        bound = evaluate(lesson, "tail_bound", head=head, window=window)
        assert weights[:, window:].sum(-1).max() <= bound


def test_both_labs_run_to_the_end(lesson) -> None:
    events = list(lesson.labs["longer_than_trained"].run({"methods": "three", "steps": 20}, "en"))
    assert events[-1]["event"] == "done"
    tables = [event["chart"] for event in events if event["event"] == "show"]
    assert {row[0] for row in tables[-1]["rows"]} == {"sinusoidal", "RoPE", "ALiBi"}
    events = list(lesson.labs["your_buckets"].run({"steps": 20}, "en"))
    assert events[-1]["event"] == "done"
    near, far = (event["value"] for event in events if event["event"] == "metric")
    (causes,) = (event["chart"] for event in events if event.get("name") == "causes")
    assert len(causes["rows"]) == 3
    assert near < math.log(256)  # better than guessing
    assert far < math.log(256)


@pytest.mark.slow
def test_which_encodings_extrapolate(lesson) -> None:
    events = list(lesson.labs["longer_than_trained"].run({"methods": "all", "seed": 1}, "en"))
    rows = [event["chart"] for event in events if event["event"] == "show"][-1]["rows"]
    near = {row[0]: row[1] for row in rows}
    far = {row[0]: row[2] for row in rows}
    for fast in ("RoPE", "xPos", "Transformer-XL", "DeBERTa"):
        assert near[fast] < min(near["ALiBi"], near["T5"], near["sinusoidal"]) < near["no positions"]
    assert max(far["ALiBi"] - near["ALiBi"], far["Transformer-XL"] - near["Transformer-XL"]) < 0.15
    assert near["T5"] + 0.2 < far["T5"] < far["xPos"] < far["RoPE"]
    assert min(far["RoPE"], far["xPos"], far["sinusoidal"]) > far["no positions"]
    assert far["RoPE"] > far["sinusoidal"]


@pytest.mark.slow
def test_what_deberta_pays_for_the_row_that_training_never_reaches(lesson) -> None:
    train_text, test_text = lesson.module.bytes_of_docs()
    model = lesson.module.small_decoder("deberta", seed=1)
    table = model.distances.weight.data
    first = table.clone()
    with lesson.module.one_thread():
        for _ in lesson.module.training(model, train_text, 400, seed=1):
            pass
        moved = (table - first).norm(dim=1)
        assert moved[0] == 0  # distance -32 in the third term
        assert moved[[1, -1]].min() > 0.1  # distance -31 there, and 31 in the second
        far = lesson.module.loss_by_position(model, test_text)[8:]
        table[0] = table[1]
        neighbour = lesson.module.loss_by_position(model, test_text)[8:]
    assert sum(neighbour) / 8 < sum(far) / 8 - 0.05


@pytest.mark.slow
def test_dilution_costs_t5_more_than_untrained_buckets(lesson) -> None:
    events = list(lesson.labs["your_buckets"].run({}, "en"))
    causes = [event["chart"] for event in events if event["event"] == "show"][-1]
    as_trained, like_a_trained_one, shut = (row[1] for row in causes["rows"])
    assert 0 < as_trained - like_a_trained_one < like_a_trained_one - shut
