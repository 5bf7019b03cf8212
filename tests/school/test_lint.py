"""Lint finds what is missing or wrong, at the right place, and is silent about a good lesson."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from teachllm.school.course import load_course
from teachllm.school.figures.plain import number
from teachllm.school.lint import Requirements, lint, lint_command
from teachllm.school.lint.practice import spoken_length
from teachllm.school.lint.text import han_characters
from teachllm.school.problem import Problem

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures/course"
SMALL = Requirements(chinese_characters=(100, 1000), seconds_per_figure=5.0)


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "course", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("TEACHLLM_COURSE", str(tmp_path / "course"))
    return tmp_path / "course/01-basics/01-temperature"


def change(path: Path, before: str, after: str, count: int = 1) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, count), encoding="utf-8")


def found(requirements: Requirements = SMALL) -> list[Problem]:
    return lint(load_course(), requirements=requirements)


def test_a_good_lesson_has_no_problems(lesson: Path) -> None:
    assert [str(problem) for problem in found()] == []


def test_the_length_of_the_text_is_counted_in_chinese_characters(lesson: Path) -> None:
    problems = found(Requirements(seconds_per_figure=5.0))
    assert [problem.file.name for problem in problems] == ["lesson.zh.md"]
    assert re.search(r"the text has 2\d\d Chinese characters; it should have 3500 to 8000", str(problems[0]))
    assert han_characters("中文，mixed 文字。$x$") == 4


def test_spoken_length() -> None:
    assert spoken_length("KV cache 在 3 层里", "zh") == 6
    assert spoken_length("It's a 5-point don't-care, 0.5 of it", "en") == 7


ZH, EN, PY = "lesson.zh.md", "lesson.en.md", "figures.py"


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        # both languages hold the same parts
        (EN, "## The code {#code}", "## The source {#source}", "the languages part here: ## {#source}"),
        (EN, ":::margin misconception", ":::margin note", "the languages part here: :::margin note"),
        (EN, "```figure sharpness\n```\n", "", "the languages part here: ###, but lesson.zh.md:32"),
        (EN, "### A small question\n", "", "the languages part here"),
        (EN, "{value top_probability temperature=1.0 | .3f}", "0.665", None),
        (EN, "docstring=short", "docstring=none", "marks other lines or has other options"),
        (EN, "math.isfinite(value) =>", "isinstance(value, float) =>", "marks other lines"),
        (EN, "The paper {paper 1503.02531} uses", "The paper uses", None),
        # what a lesson must have
        (ZH, "{#differs}", "{#difference}", "## … {#differs} is missing"),
        (ZH, ":::idea", ":::ask", "an :::idea (the one sentence) is missing"),
        (ZH, "```exercise", "```text", "```exercise is missing"),
        (ZH, "```cards\n```", "```cards\n```\n\n```cards\n```", "```cards may be placed only once"),
        (
            ZH,
            "低温不等于正确，只等于固执。下一课讲{lesson 1.2|采样}。",
            "%% 再写两句",
            "not written yet: 再写两句",
        ),
        (
            PY,
            "    predict=Predict(",
            "    predict=None and Predict(",
            "at least one figure asks for a prediction",
        ),
        # how it is set
        (ZH, "它就老实了吗？", "它就老实了吗?", "half-width ? beside Chinese characters"),
        (ZH, "越低，越像", "越低,越像", "half-width , beside"),
        (ZH, "下一课讲", "(下一课)讲", "half-width ( beside"),
        (ZH, "只等于固执", '只等于"固执"', 'half-width " beside'),
        (EN, "only stubborn.", "only stubborn。", "full-width punctuation 。"),
        (EN, "**table of probabilities**", "** table of probabilities**", "** did not become emphasis"),
        (ZH, "低温不等于", "众所周知，低温不等于", "套话"),
        (
            EN,
            "## Run it {#run}",
            "```python\na = 1\nb = 2\nc = 3\n```\n\n## Run it {#run}",
            "more than two lines",
        ),
        (
            EN,
            "[where the word comes from](https://arxiv.org/abs/1503.02531)",
            "[there](#nowhere)",
            "no anchor #nowhere",
        ),
        (EN, "{lesson 1.2|sampling}", "{lesson 1.2#top|sampling}", "lesson 1.2 is not written"),
        (EN, "{lesson 1.2|sampling}", "{lesson 1.1#top|sampling}", "lesson 1.1 has no anchor #top"),
        # what moves
        (
            PY,
            "    found = probabilities(temperature)",
            "    found = probabilities(temperature - 0.1)",
            "ZeroDivision",
        ),
        (PY, "found, y_label", "[math.nan] * 3, y_label", "figure sharpness draws nan"),
        (PY, "top_probability(0.5),\n", "5.0,\n", "the prediction of sharpness fails"),
        (PY, "    seconds=2,", "    seconds=200,", "two minutes is the most"),
        (PY, "def sample_many", "def sample_lots", "no lab sample_many"),
        (
            PY,
            "@value\n",
            "@value\ndef unused() -> int:\n    return 1\n\n\n@value\n",
            "value unused is not used",
        ),
        # practice
        ("exercise.yaml", "try_it: sample_many", "try_it: sample_few", "figures.py has no lab sample_few"),
        ("exercise.yaml", "都有 `.item()`", "都有 {term nothing}", "glossary.yaml has no term nothing"),
        ("exercise.yaml", "plain:number", "plain:optional_number", "optional_number has no docstring"),
        (
            "checks.py",
            '@diagnosis(zh="普通的数应当原样返回。", en',
            '@diagnosis(zh="", en',
            "no diagnosis in zh",
        ),
        ("checks.py", "def test_plain_numbers(implementation)", "def test_plain_numbers()", "does not take"),
        ("checks.py", "import math", "import math math", "Python syntax error"),
        (
            "mutants.py",
            '@mutant("test_not_finite")',
            '@mutant("test_finite")',
            "checks.py has no test_finite",
        ),
        ("mutants.py", '@mutant("test_not_finite")\n', "", "2 mutants of at least 3"),
        ("cards.yaml", 'proof: "#idea"', 'proof: "#ideas"', "is not in lesson.zh.md"),
        ("cards.yaml", 'proof: "#idea"', 'proof: "code:teachllm.school.course:lood_course"', "load_course"),
        ("cards.yaml", 'proof: "#idea"', "proof: see above", "does not have the form"),
        ("cards.yaml", "id: card-2", "id: card-1", "card card-1 appears more than once"),
        ("cards.yaml", "  followup:", "  follow_up:", "followup: this key is missing"),
        ("cards.yaml", "不会。温度把", "不会。", None),
    ],
)
def test_what_is_wrong_is_found_in_its_file(
    lesson: Path, name: str, before: str, after: str, message: str | None
) -> None:
    change(lesson / name, before, after)
    problems = found()
    texts = "\n".join(f"{p.file.name} {p.message.en} {p.message.zh}" for p in problems)
    if message is None:
        assert problems == [], "a difference of wording is no problem"
    else:
        assert message in texts


def test_the_first_difference_is_at_its_line(lesson: Path) -> None:
    change(lesson / EN, ":::margin misconception", ":::margin note")
    (problem,) = found()
    line = (lesson / EN).read_text(encoding="utf-8").splitlines().index(":::margin note") + 1
    assert (problem.file.name, problem.line) == (EN, line)


def test_a_paper_that_only_one_language_names_is_a_warning(lesson: Path) -> None:
    change(lesson / EN, "{paper 1503.02531}", "the paper", count=-1)
    problems = found()
    assert [(p.file.name, p.severity) for p in problems] == [(ZH, "warning")]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "cards.yaml").unlink(), "this file is missing"),
        (lambda folder: (folder / "lesson.en.md").write_bytes(b"\xff\xfe"), "not valid UTF-8"),
        (lambda folder: (folder / "cards.yaml").write_text("- id: [", encoding="utf-8"), "YAML syntax error"),
        (
            lambda folder: (folder / "cards.yaml").write_text("[]\n", encoding="utf-8"),
            "0 cards of at least 7",
        ),
        (lambda folder: shutil.rmtree(folder), "run teachllm new-lesson 1.1 first"),
    ],
)
def test_missing_and_damaged_files(lesson: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(lesson)
    problems = found()
    assert len(problems) == 1
    assert message in str(problems[0])


def test_a_slow_figure_is_a_warning(lesson: Path) -> None:
    busy = "    found = probabilities(temperature)\n    sum(i * i for i in range(300_000))\n"
    change(lesson / PY, "    found = probabilities(temperature)\n", busy)
    problems = found(Requirements(chinese_characters=(100, 1000), seconds_per_figure=0.002))
    assert [problem.severity for problem in problems] == ["warning"]
    assert "ms to redraw" in str(problems[0])


def test_spoken_answers_that_are_too_short_or_too_long(lesson: Path) -> None:
    tight = Requirements(
        chinese_characters=(100, 1000),
        seconds_per_figure=5.0,
        spoken_characters=(10, 20),
        spoken_words=(10, 20),
    )
    texts = [str(problem) for problem in found(tight)]
    assert len(texts) == 14
    assert any("60 to 120 seconds of speech are 10 to 20" in text for text in texts)


def test_folders_that_learners_do_not_see(lesson: Path) -> None:
    shutil.copytree(lesson, lesson.parent / "02-sampling")
    shutil.copytree(lesson, lesson.parent / "03-other")
    problems = {p.file.name: p for p in found()}
    assert problems["02-sampling"].severity == "warning"
    assert "no lesson of course.yaml owns this folder" in str(problems["03-other"])


def test_a_draft_is_checked_when_it_is_named(lesson: Path) -> None:
    shutil.copytree(lesson, lesson.parent / "02-sampling")
    problems = lint(load_course(), ["1.2"], SMALL)
    assert problems == []
    assert not load_course().lesson("1.2").available


def test_the_command_exits_with_one_for_errors_and_shows_where(
    lesson: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        lint_command("1.1", lang="zh")
    assert caught.value.code == 1
    shown = capsys.readouterr().out
    assert "01-basics/01-temperature/lesson.zh.md" in shown
    assert "个汉字" in shown
    assert "1 个错误" in shown
    with pytest.raises(SystemExit) as caught:
        lint_command("9.9")
    assert caught.value.code == 2
    change(lesson.parents[1] / "course.yaml", "hours: 0.5", "hours: none")
    with pytest.raises(SystemExit) as caught:
        lint_command(lang="en")
    assert caught.value.code == 1
    assert "hours" in capsys.readouterr().out


def test_the_fixture_exercise_means_what_it_says() -> None:
    """The fixture's graders describe the function that its exercise names."""
    assert number(float("nan")) is None
    with pytest.raises(TypeError):
        number("3")
