"""Lesson 8.1: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import math

import pytest

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("8.1")


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


def test_overflow_begins_where_the_text_says(lesson) -> None:
    assert evaluate(lesson, "overflow_at", dtype="float16") == pytest.approx(math.log(65504))
    for dtype in ("float32", "bfloat16"):
        assert evaluate(lesson, "overflow_at", dtype=dtype) == pytest.approx(88.72, abs=0.01)


def test_four_keys_by_hand(lesson) -> None:
    total, acc = math.exp(-2) + 1, 10 * math.exp(-2) + 20
    assert evaluate(lesson, "hand", block="first", what="total") == pytest.approx(total)
    assert evaluate(lesson, "hand", block="first", what="acc") == pytest.approx(acc)
    merged = math.exp(-2) * acc + 30 * math.exp(-3) + 40
    assert evaluate(lesson, "hand", block="both", what="acc") == pytest.approx(merged)
    whole = [math.exp(s) for s in (1, 3, 2, 5)]
    expected = sum(w * v for w, v in zip(whole, (10, 20, 30, 40), strict=True)) / sum(whole)
    assert evaluate(lesson, "hand", block="both", what="out") == pytest.approx(expected)
    assert evaluate(lesson, "hand_all_at_once") == pytest.approx(expected)


def test_a_row_ends_alike_whatever_the_blocks_and_wherever_the_largest_stands(lesson) -> None:
    def last_line(**arguments) -> list:
        return charts(lesson, "one_row", seen=12, **arguments)[1]["rows"][-1]

    late, early = last_line(row="late"), last_line(row="early")
    assert (late[2], late[4]) == (early[2], early[4])
    assert last_line(row="late", block=1)[4] == last_line(row="late", block=5)[4]
    now, end = charts(lesson, "one_row", seen=2)[0]["series"]
    assert max(now["values"]) > 0.4  # "four tenths" of a key that ends at a few per cent
    assert end["values"][now["values"].index(max(now["values"]))] < 0.1


def test_the_naive_softmax_fails_silently_in_float16(lesson) -> None:
    naive, safe, online = charts(lesson, "softmax_errors", dtype="float16")[0]["series"]
    assert naive["x"][-1] == 11  # after that, NaN
    assert naive["y"][-1] > 0.5
    assert max(safe["y"] + online["y"]) < 0.005
    assert evaluate(lesson, "online_error_ratio", dtype="bfloat16") > 1.5


@pytest.mark.parametrize(("causal", "tiles"), [(False, 36), (True, 21)])
def test_the_walk_visits_every_visible_tile_once_and_says_what_crossed(
    lesson, causal: bool, tiles: int
) -> None:
    for order in ("queries", "keys"):
        cells, _, traffic = charts(lesson, "tile_walk", order=order, causal=causal, computed=36)
        visited = sorted(cell for row in cells["values"] for cell in row if cell is not None)
        assert visited == list(range(1, tiles + 1))
        read = {name: blocks for name, blocks, _ in traffic["rows"]}
        written = {name: blocks for name, _, blocks in traffic["rows"]}
        if order == "queries":
            assert (read["Q"], read["K"], read["V"], read["O"]) == (6, tiles, tiles, 0)
            assert written["O"] == 6
            assert "m, ℓ" not in read  # they never leave the chip
            assert (read["L"], written["L"]) == (0, 6)
        else:
            assert (read["Q"], read["K"], read["V"], read["O"]) == (tiles, 6, 6, tiles)
            assert written["O"] == tiles
            assert read["m, ℓ"] == written["m, ℓ"] == 2 * tiles


def test_traffic_is_what_the_text_says(lesson) -> None:
    whole = evaluate(lesson, "kernel_megabytes", kernel="standard")
    parts = [evaluate(lesson, "kernel_megabytes", kernel=k) for k in ("scores", "softmax", "output")]
    assert whole == pytest.approx(sum(parts)) == pytest.approx((4 * 4096**2 + 4 * 4096 * 64) * 2 / 1e6)
    # For long texts the ratio comes near 2 · block / d, and below 1 the fused kernel moves more.
    assert evaluate(lesson, "traffic_ratio", n=32768, d=64, block=128) == pytest.approx(4, rel=0.01)
    assert evaluate(lesson, "traffic_ratio", n=32768, d=256, block=16) < 1
    assert evaluate(lesson, "intensity", kernel="flash") == pytest.approx(128, rel=0.05)
    needed = evaluate(lesson, "a100_intensity")
    assert all(evaluate(lesson, "intensity", kernel=k) < needed / 2 for k in ("scores", "softmax", "output"))


def test_memory_grows_with_the_square_only_where_the_matrix_is_written(lesson) -> None:
    events = list(lesson.labs["longer_and_longer"].run({"longest": 2048}, "en"))
    grown = [event["value"] for event in events if event["event"] == "metric"]
    assert grown[0] == 4
    assert grown[1] == pytest.approx(16, rel=0.05)
    assert grown[2] < 2
    errors = events_of(events, "show")[-1]["chart"]["rows"][-1][4]
    assert all(float(error) < 1e-6 for error in errors.split(" / "))


def test_the_model_speaks_through_version_1(lesson, real_model) -> None:
    events = list(lesson.labs["your_merge"].run({"n_tokens": 16}, "en"))
    (difference,) = [event["value"] for event in events if event["event"] == "metric"]
    assert difference < 1e-3
    assert "Paris" in events_of(events, "show")[-1]["chart"]["rows"][0][1]


def events_of(events: list[dict], kind: str) -> list[dict]:
    return [event for event in events if event["event"] == kind]
