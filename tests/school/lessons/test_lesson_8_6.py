"""Lesson 8.6: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import pytest

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("8.6")


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


def milliseconds(lesson, **arguments) -> float:
    return evaluate(
        lesson, "milliseconds", **{"machine": "a100", "model": "llama2-7b", "what": "step", **arguments}
    )


def test_the_two_accounts_of_the_text(lesson) -> None:
    model = {"model": "llama2-7b"}
    decode = {**model, "batch": 1, "length": 1024}
    assert evaluate(lesson, "decode_gigabytes", **decode) == pytest.approx(13.75, abs=0.01)
    assert evaluate(lesson, "prefill_gigabytes", **model, length=1024) == evaluate(
        lesson, "decode_gigabytes", **decode
    )
    assert evaluate(lesson, "waiting", machine="a100", **decode) == pytest.approx(153, abs=1)
    assert evaluate(lesson, "prefill_intensity", **model, length=1024) == pytest.approx(1000, rel=0.05)
    for machine in ("a100", "h100"):  # the intensity is about the number of tokens
        ridge = evaluate(lesson, "ridge", machine=machine)
        assert evaluate(lesson, "compute_bound_from", machine=machine, **model) == pytest.approx(
            ridge, rel=0.05
        )
        assert evaluate(lesson, "activation_ceiling", **model) > 5 * ridge
    assert evaluate(lesson, "scores_equal_matrices", **model, in_widths=True) == pytest.approx(12, abs=0.2)


def test_a_prompt_rides_along_almost_for_free(lesson) -> None:
    alone = milliseconds(lesson, batch=32, length=1024)
    with_prompt = milliseconds(lesson, batch=32, length=1024, prompt=256)
    assert with_prompt < 1.01 * alone
    assert milliseconds(lesson, prompt=256) > 0.7 * alone
    bars, text = charts(lesson, "one_step", prompt=256, batch=32, length=1024)
    arithmetic, *traffic = bars["series"][0]["values"]
    assert max(arithmetic, sum(traffic)) == pytest.approx(with_prompt)
    assert "Bound by bandwidth" in text["text"]
    assert "Bound by arithmetic" in charts(lesson, "one_step", prompt=2048, batch=32, length=1024)[1]["text"]


def test_many_requests_stay_on_the_slope_with_long_contexts(lesson) -> None:
    prefill, decode, ridge = charts(lesson, "intensity_by_tokens", length=1024)[0]["series"]
    assert prefill["y"][-1] > ridge["y"][0] > prefill["y"][3]  # of 4096 tokens, and of 64
    assert decode["y"][-1] < 25 < ridge["y"][0]
    assert charts(lesson, "intensity_by_tokens", length=1)[0]["series"][1]["y"][-1] > ridge["y"][0]


def test_the_masks_of_a_chunk(lesson) -> None:
    def text(**arguments) -> str:
        return charts(lesson, "mask_of_a_step", n_cached=4, n_new=3, **arguments)[1]["text"]

    assert "Right" in text(kind="offset")
    assert "3 future keys are seen" in text(kind="none")  # 2 by the first query, 1 by the second
    assert "12 that should be seen are missed" in text(kind="top_left")  # 4 by each of 3 queries


@pytest.mark.usefixtures("real_model")
def test_one_layer_cannot_show_that_the_mask_is_missing(lesson) -> None:
    first, second, twelfth = (evaluate(lesson, "mask_error", layers=n) for n in (1, 2, 12))
    assert first < 1e-6
    assert 0.01 < second < 0.1
    assert twelfth > 10
    assert evaluate(lesson, "inflated", layer=12, masked=True) == 1
    assert evaluate(lesson, "inflated", layer=12, masked=False) > 5
    chart, text = charts(lesson, "missing_mask")
    assert min(chart["series"][1]["y"]) == 1e-8
    assert "Rome” with the mask" in text["text"]


@pytest.mark.usefixtures("real_model")
def test_the_readable_attention_reads_at_once_in_chunks_and_one_by_one(lesson) -> None:
    events = list(lesson.labs["your_causal_attention"].run({"n_tokens": 8}, "en"))
    assert events[-1]["event"] == "done"
    rows = [e["chart"]["rows"] for e in events if e["event"] == "show" and e["name"] == "differences"][-1]
    assert len(rows) == 3
    assert all(float(difference) < 1e-3 for _, difference in rows)
    assert "Paris" in next(e for e in reversed(events) if e["event"] == "show")["chart"]["rows"][0][1]
