"""Lesson 1.8: what its figures, values and labs show is what they claim to show."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from teachllm.school.figures.real_model import CHAT_MODEL
from teachllm.school.lesson import load_lesson
from teachllm.stack.data.assets import AssetMissing, asset
from teachllm.stack.data.documents import Document
from teachllm.stack.data.minhash import jaccard, shingles
from teachllm.stack.training.scaling_laws import CHINCHILLA_REFITTED

WORDS = (
    "a",
    "law",
    "of",
    "scale",
    "says",
    "how",
    "the",
    "loss",
    "falls",
    "with",
    "text",
    "and",
    "size",
    "if",
)


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("1.8")


@pytest.fixture(scope="module")
def figures(lesson) -> ModuleType:
    """The lesson's module over a small corpus, so that nothing reads the whole standard library."""
    module = sys.modules[lesson.figures["s_curve"].function.__module__]
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "raw_documents", small_corpus)
    tokens = torch.arange(6000) * 7 % 31
    patch.setattr(module, "tokens_of", lambda corpus: tokens + 40 * (corpus == "code"))
    cached = ("prose", "similarities", "kept_at", "sizes", "funnel_reports", "word_counts")
    for name in cached:
        getattr(module, name).cache_clear()
    yield module
    patch.undo()
    for name in cached:
        getattr(module, name).cache_clear()


def small_corpus() -> tuple[Document, ...]:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, 120)) + "." for _ in range(40)]
    texts += [texts[0], texts[1].replace("loss", "cost"), "short"]
    code = "import os\n\n\ndef f(x):\n    return os.path.join(x, 'y')\n" * 20
    return (
        *(Document(text, f"stdlib-docs:{i}") for i, text in enumerate(texts)),
        Document(code, "stdlib-sources:1"),
    )


def evaluate(lesson, name: str, **arguments: Any) -> Any:
    return lesson.values[name].evaluate(arguments)


def charts(lesson, name: str, **arguments: Any) -> list[dict[str, Any]]:
    return lesson.figures[name].draw(arguments, "en")["charts"]


def run(lesson, name: str, **arguments: Any) -> list[dict[str, Any]]:
    events = list(lesson.labs[name].run(arguments, "en"))
    assert events[-1]["event"] == "done", events[-1]
    return events


def metrics(events: list[dict[str, Any]]) -> dict[str, float]:
    return {event["name"]: event["value"] for event in events if event["event"] == "metric"}


def test_the_funnel_drops_code_short_texts_and_duplicates(lesson, figures) -> None:
    bars, table = charts(lesson, "funnel", languages="both")
    sizes = bars["series"][0]["values"]
    assert sizes == sorted(sizes, reverse=True)
    reasons = {row[1]: row[2] for row in table["rows"]}
    assert reasons["too short"] == 1
    assert reasons["language: code"] == 1
    assert reasons["repeats an earlier text"] == 1
    with_code = charts(lesson, "funnel", languages="all")[1]["rows"]
    assert "language: code" not in {row[1] for row in with_code}
    in_chinese = lesson.figures["funnel"].draw({"languages": "both"}, "zh")["charts"][1]["rows"]
    assert "语言：代码" in {row[1] for row in in_chinese}


def test_candidates_by_hand(lesson) -> None:
    assert evaluate(lesson, "candidate", similarity=0.5, bands=2, rows=1) == pytest.approx(0.75)
    assert lesson.figures["s_curve"].predict.answer() == pytest.approx(1 - (1 - 0.8**8) ** 16)
    bands, rows = (evaluate(lesson, "bands_for", threshold=0.8, what=what) for what in ("bands", "rows"))
    assert bands * rows <= 128
    assert (1 / bands) ** (1 / rows) == pytest.approx(0.8, abs=0.05)


def test_similarity_by_hand(lesson) -> None:
    assert evaluate(lesson, "by_hand", what="shingles") == 9
    assert evaluate(lesson, "by_hand", what="shared") == 7
    assert evaluate(lesson, "by_hand", what="jaccard") == pytest.approx(7 / 11)
    assert evaluate(lesson, "by_hand", what="estimate") == pytest.approx(7 / 11, abs=0.15)


def test_a_higher_threshold_keeps_more(lesson, figures) -> None:
    shares = [figures.kept_share(threshold) for threshold in figures.THRESHOLDS]
    assert shares == sorted(shares)
    assert shares[-1] < 100  # the equal texts go at every threshold
    assert lesson.figures["kept_by_threshold"].predict.truth() == 0
    bars, table = charts(lesson, "kept_by_threshold", threshold=0.8)
    assert sum(bars["series"][0]["values"]) == pytest.approx(100)
    assert all(row[0] >= 0.8 for row in table["rows"])
    curve = charts(lesson, "kept_by_threshold", threshold=0.8, curve=True)[0]
    assert curve["series"][0]["y"] == pytest.approx(shares)


def test_estimated_similarities_are_near_the_true_ones(figures) -> None:
    sets = [shingles(document.text) for document in figures.prose()]
    for i, j in ((40, 0), (41, 1), (2, 3)):
        assert figures.similarities()[i, j] == pytest.approx(jaccard(sets[i], sets[j]), abs=0.15)


def test_an_added_word_cuts_longer_tokens_apart(lesson) -> None:
    before, after = charts(lesson, "vocabulary_extension")[0]["rows"]
    assert len(after) > len(before)
    assert "位置" in {token["text"] for token in after}
    assert evaluate(lesson, "lost_tokens", word="位置") >= 2
    assert evaluate(lesson, "lost_tokens", word="𠮷𠮷") == 0


def test_shared_trunk(lesson) -> None:
    assert evaluate(lesson, "wsd_share") == pytest.approx(1150 / 2500)
    four = charts(lesson, "wsd_branches", shape="wsd")[0]["series"]
    assert all(series["y"][20] == 1.0 for series in four)  # step 100 is on the plateau of all
    cosines = charts(lesson, "wsd_branches", shape="cosine")[0]["series"]
    assert len({series["y"][20] for series in cosines}) == 4


def test_scaling_numbers_of_the_text(lesson) -> None:
    assert evaluate(lesson, "growth", what="parameters") == pytest.approx(10 ** (0.28 / 0.62))
    assert evaluate(lesson, "growth", what="parameters", law="kaplan") == pytest.approx(5.37, abs=0.01)
    assert evaluate(lesson, "optimum", flops=5.76e23, what="ratio") > 80
    assert evaluate(lesson, "optimum", flops=5.76e23, what="ratio", law="2024") == pytest.approx(20, abs=3)
    assert evaluate(lesson, "llama3_tokens") == pytest.approx(16.3, abs=0.05)
    # 12 · layers · width · length over 6 · parameters, the latter without the embedding
    by_hand = 12 * 32 * 4096 * 8192 / (6 * (8.03e9 - 128_256 * 4096))
    assert evaluate(lesson, "attention_share", length=8192) == pytest.approx(100 * by_hand, rel=1e-3)
    curves = charts(lesson, "iso_flop_curves", law="2024", neighbours=True)[0]
    lowest = np.argmin(curves["series"][1]["y"])
    parameters, _ = CHINCHILLA_REFITTED.optimal(1e22)
    assert curves["series"][1]["x"][lowest] == pytest.approx(parameters, rel=0.06)


def test_perplexity_and_bits_rank_vocabularies_the_other_way_round(lesson, figures) -> None:
    by_tokens = [evaluate(lesson, "pair_model", vocabulary=v, what="perplexity") for v in (257, 512)]
    by_bytes = [evaluate(lesson, "pair_model", vocabulary=v, what="bits") for v in (257, 512)]
    assert by_tokens[0] < by_tokens[1]
    assert by_bytes[0] > by_bytes[1]


def test_probes_of_the_real_model(lesson) -> None:
    try:
        asset(CHAT_MODEL)
    except AssetMissing as missing:
        pytest.skip(str(missing))
    for which, passes in (("0", True), ("1", True), ("2", True), ("3", False)):
        bars, text = charts(lesson, "probes", which=which)
        true, false = bars["series"][0]["values"]
        assert (true < false) is passes
        assert ("passed" in text["text"]) is passes


def test_a_branch_leaves_its_trunk_alone(figures) -> None:
    trunk = figures.begin(figures.small_llama(16), figures.RandomRows(1), figures.settings(24, 4))
    for _ in figures.train(trunk, figures.settings(20)):
        pass
    weights = [p.clone() for p in trunk.model.parameters()]
    config = figures.settings(24, 4)
    state = figures.branch(trunk, config)
    list(figures.train(state, config))
    assert state.step == 24
    assert trunk.step == 20
    assert trunk.loader.number == 20
    assert all(torch.equal(p, q) for p, q in zip(trunk.model.parameters(), weights, strict=True))
    straight = figures.begin(figures.small_llama(16), figures.RandomRows(1), config)
    list(figures.train(straight, config))
    for one, other in zip(straight.model.parameters(), state.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)  # the shared trunk gives what a run of its own gives


def test_the_scaling_lab_predicts_a_run_that_it_did_not_fit(lesson, figures, monkeypatch) -> None:
    monkeypatch.setattr(figures, "RUN_STEPS", (28, 40))
    monkeypatch.setattr(figures, "ROWS", 4)
    monkeypatch.setattr(figures, "LARGER_WIDTH", 32)
    events = run(lesson, "scaling_law", larger_steps=100)
    found = metrics(events)
    assert found["loss of the larger run"] < 3.5
    assert found["off by"] == pytest.approx(
        100 * (found["predicted loss"] / found["loss of the larger run"] - 1)
    )
    table = next(event["chart"] for event in events if event["event"] == "show")
    assert len(table["rows"]) == 6


def test_going_back_skips_the_broken_batches(lesson, figures, monkeypatch) -> None:
    monkeypatch.setattr(figures, "BROKEN_FROM", 40)
    monkeypatch.setattr(figures, "ROWS", 4)
    said = [event["text"] for event in run(lesson, "spike", steps=150) if event["event"] == "say"]
    reported = [text for text in said if "it goes on" in text]
    assert all(any(f"at step {step}," in text for text in reported) for step in (41, 42, 43))
    assert sum("back to the weights of step 30" in text for text in said) == 3


def test_more_code_is_better_for_code_and_worse_for_the_rest(lesson, figures, monkeypatch) -> None:
    monkeypatch.setattr(figures, "GENERAL_STEPS", 30)
    monkeypatch.setattr(figures, "MIXTURE_STEPS", (4, 8))
    monkeypatch.setattr(figures, "ROWS", 8)
    monkeypatch.setattr(figures, "CODE_ROWS", (1, 3, 5, 7))
    events = run(lesson, "domain_share", tolerated=10)
    code = [event["y"] for event in events if event["event"] == "sample" and event["name"] == "code"]
    assert code[-1] < code[0]


def test_a_shortened_recipe_keeps_its_shape_and_promises_nothing(figures) -> None:
    recipe = figures.nano_recipe()
    assert figures.shortened(recipe, recipe.training.steps) is recipe
    for steps in (50, 100, 400):
        short = figures.shortened(recipe, steps)
        assert short.training.steps == steps
        share = short.training.decay_steps / steps
        assert share == pytest.approx(recipe.training.decay_steps / recipe.training.steps, abs=0.02)
        assert short.expected is None
        same = dataclasses.replace(short, training=recipe.training, evaluation=recipe.evaluation)
        assert same.model == recipe.model
        assert same.data == recipe.data
