"""Lesson 8.2: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import pytest

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("8.2")


@pytest.fixture
def real_model() -> None:
    try:
        asset(CHAT_MODEL)
    except AssetMissing as missing:
        pytest.skip(str(missing))


def evaluate(lesson, name: str, **arguments):
    return lesson.values[name].evaluate(arguments)


def charts(lesson, name: str, **arguments) -> list[dict]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


def events_of(events: list[dict], kind: str) -> list[dict]:
    return [event for event in events if event["event"] == kind]


def test_blocks_of_the_paper(lesson) -> None:
    assert evaluate(lesson, "chip_numbers") == 51_200
    assert [evaluate(lesson, "paper_block", which=w, d=64) for w in "qk"] == [64, 200]
    assert [evaluate(lesson, "paper_block", which=w, d=128) for w in "qk"] == [100, 100]
    assert evaluate(lesson, "order_ratio", d=64) == pytest.approx(12.5)
    # "more than the three kernels", which the text and a card say of version 1 with wide heads
    assert evaluate(lesson, "chip_share", version=1, d=128) > 100 > evaluate(lesson, "chip_share", version=1)
    assert evaluate(lesson, "chip_share", version=2) < evaluate(lesson, "chip_share", version=1)


def test_version_1_and_the_three_kernels_cross_where_the_figure_says(lesson) -> None:
    lines, text = charts(lesson, "chip_size")
    standard, v1, v2, _ = (series["y"] for series in lines["series"])
    crossing = next(m for m, a, b in zip(lines["series"][0]["x"], standard, v1, strict=True) if b < a)
    assert crossing / 2 < 21_249 <= crossing
    assert "21,249" in text["text"]
    assert all(b < a for a, b in zip(v1, v2, strict=True))


def test_the_meter_follows_the_order(lesson) -> None:
    events = list(lesson.labs["meter_the_chip"].run({"n": 512, "d": 64}, "en"))
    assert events[-1]["event"] == "done"
    rows = events_of(events, "show")[-1]["chart"]["rows"]
    for column in (2, 3):  # the chip grows 16 times, the ratio to N²d²/M by less than half
        ratios = [float(row[column]) for row in rows]
        assert max(ratios) < 1.5 * min(ratios)
    assert all(float(row[6]) < 5e-3 for row in rows)  # the output is bfloat16


@pytest.mark.parametrize("block", [1, 3, 6])
def test_a_row_is_final_when_its_last_key_has_passed(lesson, block: int) -> None:
    for causal in (False, True):
        heatmap, lines = charts(lesson, "filling", block=block, causal=causal)
        for query, errors in enumerate(heatmap["values"]):
            last = query // block if causal else len(errors) - 1
            assert all(error < 1e-6 for error in errors[last:])
            assert last == 0 or errors[last - 1] > 1e-5
        merged, averaged = (series["y"] for series in lines["series"])
        assert merged[-1] < 1e-5
        assert averaged[-1] > 0.1


def test_a_causal_mask_leaves_half_and_cuts_few(lesson) -> None:
    assert evaluate(lesson, "causal_share") == pytest.approx(100 * 528 / 1024)
    assert evaluate(lesson, "masked_share") == pytest.approx(100 * 32 / 528)
    _, text = charts(lesson, "causal_tiles")
    assert "1,024 tiles, 528 computed, 32 of which" in text["text"]


def test_two_keys_by_hand(lesson) -> None:
    table = {"P": (0.75, 0.25), "P∘dP": (7.5, 7.5), "dS": (-3.75, 3.75)}
    for what, expected in table.items():
        assert [evaluate(lesson, "two_keys", what=what, key=k) for k in (0, 1)] == pytest.approx(expected)
    assert evaluate(lesson, "two_keys", what="O") == pytest.approx(15)


@pytest.mark.parametrize("score", [-3.0, 1.0, 5.0])
def test_gradients_of_a_row_of_scores(lesson, score: float) -> None:
    weights, gradients, _ = charts(lesson, "score_gradients", key=3, score=score)
    without, right = (series["values"] for series in gradients["series"])
    assert sum(weights["series"][0]["values"]) == pytest.approx(1)
    assert sum(right) == pytest.approx(0, abs=1e-9)
    assert sum(without) > 1
    if score == 5.0:  # "all dS shrink towards 0, the bars without D stay large"
        assert max(map(abs, right)) < 0.2
        assert max(without) > 2


def test_what_the_backward_pass_moves(lesson) -> None:
    flash, standard = (
        {p: evaluate(lesson, "backward_megabytes", way=way, pass_=p) for p in ("forward", "backward")}
        for way in ("flash", "standard")
    )
    assert flash["forward"] < flash["backward"] < standard["backward"]
    # "tiles save less here than in the forward pass"
    assert standard["backward"] / flash["backward"] < standard["forward"] / flash["forward"]
    assert evaluate(lesson, "kept_megabytes", way="standard") == pytest.approx(4096**2 * 2 / 1e6)


def test_programs_share_the_tiles_and_write_apart(lesson) -> None:
    for kernel in ("forward", "keys", "queries"):
        for causal, tiles in ((False, 64), (True, 36)):
            heatmap, bars, _ = charts(lesson, "kernel_programs", kernel=kernel, causal=causal)
            assert sum(bars["series"][0]["values"]) == tiles
            lines = heatmap["values"] if kernel != "keys" else list(zip(*heatmap["values"], strict=True))
            for program, line in enumerate(lines, start=1):
                assert set(line) - {None} == {program}


def test_the_backward_pass_for_real(lesson) -> None:
    events = list(lesson.labs["backward_for_real"].run({"longest": 512}, "en"))
    error, matrix, tiles = [event["value"] for event in events_of(events, "metric")]
    assert error < 1e-5
    assert matrix > 3  # near 2² = 4, were it not for what grows with the length
    assert tiles < 2
    shares = [row[1] for row in events_of(events, "show")[-1]["chart"]["rows"]]
    assert (shares[0], shares[-1]) == ("3 / 4 = 75%", "10 / 16 = 62%")


def test_the_model_trains_on_the_readable_backward_pass(lesson, real_model) -> None:
    given = {"text": "Tiles are used up and then dropped.", "steps": 1}
    events = list(lesson.labs["your_backward"].run(given, "en"))
    (difference,) = [event["value"] for event in events_of(events, "metric")]
    assert difference < 1e-4
    losses: dict[str, list[float]] = {}
    for event in events_of(events, "sample"):
        losses.setdefault(event["name"], []).append(event["y"])
    fused, ours = losses.values()
    assert ours == pytest.approx(fused, rel=1e-3)
    assert ours[-1] < ours[0]


@pytest.mark.slow
def test_the_triton_lab_agrees_with_pytorch(lesson) -> None:
    pytest.importorskip("triton")
    events = list(lesson.labs["triton_here"].run({"n": 16}, "en"))
    assert events[-1]["event"] == "done", events[-1]
    (difference,) = [e["value"] for e in events_of(events, "metric") if e["name"] == "largest difference"]
    assert difference < 1e-4
