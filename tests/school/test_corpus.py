"""teachllm corpus: the course as JSON Lines, its two languages side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from teachllm.school.corpus.command import corpus

FIXTURE_COURSE = Path(__file__).resolve().parents[1] / "fixtures" / "course"


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_both_languages_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEACHLLM_COURSE", str(FIXTURE_COURSE))
    monkeypatch.setenv("COLUMNS", "200")
    corpus(tmp_path / "corpus", lang="en")
    corpus(tmp_path / "corpus", lang="en")  # written again, not added to
    passages, translations, questions = (
        rows(tmp_path / "corpus" / f"{name}.jsonl") for name in ("passages", "translations", "questions")
    )
    assert f"{len(passages)} passages, {len(translations)} translations" in capsys.readouterr().out
    in_language = {lang: {one["anchor"] for one in passages if one["lang"] == lang} for lang in ("zh", "en")}
    assert in_language["zh"] == in_language["en"] != set()
    pairs = {one["query"]: one["positive"] for one in translations}
    asked = "同一句话问两遍，答案为什么会不一样？"
    assert pairs[asked] == "Why do I get different answers when I ask the same thing twice?"
    assert len({json.dumps(one) for one in translations}) == len(translations)
    assert {one["group"].split("#")[0] for one in questions if one["source"] == "heading"} == {"1.1"}
