"""Lesson 1.3: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset
from teachllm.stack.models.attention_maps import attention_maps
from teachllm.stack.nn import positions as encodings
from teachllm.stack.nn.positions import apply_rope, rope


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("1.3")


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


def test_order_shows_only_through_positions_or_the_mask(lesson) -> None:
    assert evaluate(lesson, "change_of_bites") < 1e-6
    for method, causal in (("sinusoidal", False), ("rope", False), ("none", True)):
        assert evaluate(lesson, "change_of_bites", method=method, causal=causal) > 0.1
    one, other = charts(lesson, "order_blind")[0]["series"]
    assert one["values"] == pytest.approx(other["values"], abs=1e-6)


def test_sinusoidal_products_move_along_without_changing_shape(lesson) -> None:
    def products(p: int) -> list[float]:
        return charts(lesson, "sinusoidal_table", p=p)[1]["series"][0]["y"]

    at_20, at_50 = products(20), products(50)
    assert at_50[30:] == pytest.approx(at_20[:70], abs=1e-4)
    assert max(at_50) == at_50[50] == pytest.approx(8, abs=1e-4)


@pytest.mark.parametrize(("m", "n"), [(0, 0), (3, 1), (103, 101), (1, 3), (30, 4)])
def test_the_worked_example_is_what_a_calculator_gives(lesson, m: int, n: int) -> None:
    expected = 4 * math.cos(m - n) + 3 * math.sin(m - n)
    assert evaluate(lesson, "hand_score", m=m, n=n) == pytest.approx(expected, abs=1e-4)
    turned = [evaluate(lesson, "hand_turned", what="q", position=m, index=index) for index in (0, 1)]
    assert turned == pytest.approx([2 * math.cos(m) - math.sin(m), 2 * math.sin(m) + math.cos(m)], abs=1e-4)


def test_moving_both_keeps_the_arrows_at_one_angle(lesson) -> None:
    def product(**arguments) -> float:
        q, k = (v for v in charts(lesson, "rotation", **arguments)[0]["vectors"] if v["group"] == "turned")
        return q["x"] * k["x"] + q["y"] * k["y"]

    for pair in "0123":
        here = product(m=9, n=2, pair=pair)
        assert product(m=9, n=2, pair=pair, shift=100) == pytest.approx(here, abs=1e-4)
    assert abs(product(m=9, n=2, pair="0") - product(m=10, n=2, pair="0")) > 0.1


def test_a_bound_falls_and_single_scores_do_not(lesson) -> None:
    mean, bound, one = (series["y"] for series in charts(lesson, "score_by_distance")[0]["series"])
    assert mean[0] == bound[0] == pytest.approx(1)
    assert sum(bound[-20:]) < sum(bound[40:60]) < sum(bound[:20])
    assert any(later > earlier + 0.01 for earlier, later in itertools.pairwise(one))
    wide = charts(lesson, "score_by_distance", base=1_000_000.0)[0]["series"][0]["y"]
    assert wide[-1] > mean[-1]


def test_the_mean_score_is_that_of_many_random_vectors(lesson) -> None:
    q = torch.randn(4000, 1, 64, generator=torch.Generator().manual_seed(0))
    for distance in (1, 40, 200):
        turned = rope(q, torch.tensor([distance]))
        measured = torch.cosine_similarity(q, turned, dim=-1).mean().item()
        shown = lesson.module.mean_score(torch.tensor([distance]), 10_000.0).item()
        assert measured == pytest.approx(shown, abs=0.01)


def test_pairs_turn_as_the_text_and_the_cards_say(lesson) -> None:
    assert evaluate(lesson, "wavelength", pair=0) == pytest.approx(2 * math.pi, rel=1e-6)
    assert evaluate(lesson, "pairs_that_turn", length=2048) == 32 - 11
    assert 50_000 < evaluate(lesson, "wavelength", pair=63, dim=128) < 60_000
    assert 2e6 < evaluate(lesson, "wavelength", pair=63, base=500_000.0, dim=128) < 3e6


def test_fast_hands_come_round_and_slow_hands_do_not(lesson) -> None:
    def angles(distance: int) -> list[float]:
        return [evaluate(lesson, "angle", pair=pair, distance=distance) for pair in range(4)]

    assert angles(1) == pytest.approx([1, 0.1, 0.01, 0.001], abs=1e-6)
    assert angles(7) == pytest.approx([7 - 2 * math.pi, 0.7, 0.07, 0.007], abs=1e-6)
    assert angles(700)[2:] == pytest.approx([7 - 2 * math.pi, 0.7], abs=1e-4)


def test_alibi_heads_share_out_near_and_far(lesson) -> None:
    assert evaluate(lesson, "slope", head=1) == 1 / 2
    assert evaluate(lesson, "slope", head=8) == 1 / 256
    assert evaluate(lesson, "kept_weight", head=8, distance=1000) == pytest.approx(math.exp(-1000 / 256))
    series = charts(lesson, "alibi_reach", n_heads=8, length=1024)[0]["series"]
    near, middle, far = (one["y"] for one in series)
    assert near[2] > middle[2] > far[2]
    assert [one[-1] for one in (near, middle, far)] == pytest.approx([1, 1, 1], abs=1e-5)
    # A geometric series: half of the weight of head 1 lies within ln 2 / slope positions, rounded up.
    assert lesson.module.half_of_the_weight(1) == math.ceil(math.log(2) / 0.5)


def test_bf16_loses_positions_above_256(lesson) -> None:
    assert evaluate(lesson, "as_bf16", position=256) == 256
    assert evaluate(lesson, "as_bf16", position=257) != 257


def test_the_real_model_sees_distance_only_and_needs_its_own_rotation(lesson, real_model) -> None:
    module = lesson.module
    ids = module.tokenizer().encode(module.STORY)[:96]
    ways = list(module.rotations(module.config().rope_base, 2.0).values())
    trained, moved, stretched, other_base, still, backwards, pairs = (
        sum(each) / len(each) for each in (module.losses(way, ids) for way in ways)
    )
    assert moved == pytest.approx(trained, abs=1e-4)
    assert trained < other_base < stretched < min(still, backwards, pairs)
    assert trained < math.log(module.config().vocab_size) / 2
    assert encodings.apply_rope is apply_rope


def test_a_real_head_looks_for_an_angle(lesson, real_model) -> None:
    def weights(**arguments) -> list[float]:
        return charts(lesson, "looking_back", **arguments)[0]["series"][0]["values"]

    trained = weights()
    assert trained[1] > 0.5 > 10 * trained[0]
    assert weights(shift=1000) == pytest.approx(trained, abs=1e-3)
    assert [weights(stretch=s).index(max(weights(stretch=s))) for s in (0.5, 0.25)] == [2, 5]
    assert max(weights(stretch=0.0)) < 0.02
    assert weights(stretch=-1.0)[1] < 0.001


def test_the_head_is_taken_from_the_model_as_it_is(lesson, real_model) -> None:
    module = lesson.module
    ids = module.tokenizer().encode(module.STORY)[: module.N_READ]
    seen = attention_maps(module.model(), torch.tensor([ids]))[module.LAYER - 1][0, module.HEAD - 1]
    places = torch.arange(module.FIRST_QUERY, module.N_READ)
    expected = [seen[places, places - distance].mean().item() for distance in range(4)]
    assert list(module.weight_by_distance()[:4]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_a_wrong_base_shows_on_a_long_text_only(lesson, real_model) -> None:
    events = list(lesson.labs["wrong_base"].run({}, "en"))
    samples = [event for event in events if event["event"] == "sample"]
    gaps = [wrong["y"] - right["y"] for right, wrong in zip(samples[::2], samples[1::2], strict=True)]
    assert len(gaps) == 10
    assert max(gaps[:3]) < 0.3
    assert gaps[-1] > 1
    assert gaps[-1] == max(gaps)


def test_the_model_runs_on_the_readable_rope(lesson, real_model) -> None:
    events = list(lesson.labs["your_rope"].run({"n_tokens": 16}, "en"))
    assert events[-1]["event"] == "done"
    (difference,) = (event["value"] for event in events if event["event"] == "metric")
    assert difference < 1e-3
    assert "Paris" in events[-2]["chart"]["rows"][0][1]
