"""A new lesson: valid files, honestly unwritten; and the example in the documentation works."""

from __future__ import annotations

import ast
import re
import shutil
import types
from pathlib import Path

import pytest
import yaml

from teachllm.school import figures
from teachllm.school.course import load_course
from teachllm.school.lesson import read_document
from teachllm.school.lint import lint
from teachllm.school.lint.requirements import FILES, SECTIONS
from teachllm.school.new_lesson import new_lesson, new_lesson_command

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("course.yaml", "glossary.yaml"):
        (tmp_path / "course").mkdir(exist_ok=True)
        shutil.copy(ROOT / "course" / name, tmp_path / "course" / name)
    monkeypatch.setenv("TEACHLLM_COURSE", str(tmp_path / "course"))
    return tmp_path / "course"


def test_the_folder_has_every_file_and_each_is_valid(course: Path) -> None:
    lesson = load_course().lesson("1.4")
    made = new_lesson(lesson)
    assert [path.name for path in made] == list(FILES)
    for path in made:
        text = path.read_text(encoding="utf-8")
        assert "{id}" not in text
        assert "{title}" not in text
        if path.suffix == ".py":
            ast.parse(text)
        if path.suffix == ".yaml":
            yaml.safe_load(text)
    for lang, title in (("zh", lesson.title.zh), ("en", lesson.title.en)):
        document = read_document(lesson.file(f"lesson.{lang}.md"), lang)  # type: ignore[arg-type]
        assert document.problems == []
        assert document.title == title
        assert set(SECTIONS) <= set(document.anchors())


def test_lint_calls_it_unwritten_and_the_languages_alike(course: Path) -> None:
    new_lesson(load_course().lesson("1.4"))
    problems = lint(load_course(), ["1.4"])
    assert all(problem.severity == "error" for problem in problems)
    text = "\n".join(str(problem) for problem in problems)
    for what in ("not written yet", "0 cards of at least 7", "0 mutants", "no checks", "Chinese characters"):
        assert what in text
    assert "the languages part" not in text
    assert {problem.file.name for problem in problems} == set(FILES)


def test_files_that_exist_are_left_alone(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lesson = load_course().lesson("1.4")
    lesson.folder.mkdir(parents=True)
    lesson.file("figures.py").write_text("mine = 1\n", encoding="utf-8")
    assert "figures.py" not in [path.name for path in new_lesson(lesson)]
    assert lesson.file("figures.py").read_text(encoding="utf-8") == "mine = 1\n"
    with pytest.raises(SystemExit) as caught:
        new_lesson_command("1.4")
    assert caught.value.code == 1
    assert "has all of its files" in capsys.readouterr().out


def test_the_command_says_what_to_do_next(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_lesson_command("2.1")
    assert "teachllm lint 2.1" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        new_lesson_command("2.77")
    assert caught.value.code == 2


def test_the_example_of_the_documentation_runs() -> None:
    text = (ROOT / "docs/writing-lessons.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    module = types.ModuleType("documented_figures")
    exec(compile(code, "docs/writing-lessons.md", "exec"), module.__dict__)
    assert module.sharpness(0.5).to_json("zh")["highlight"] == 0
    events = list(module.draw_many())
    assert len(events) == 20
    assert abs(events[-1].y - module.top_probability(1.0)) < 0.05


def test_the_documentation_names_every_chart_and_control() -> None:
    text = (ROOT / "docs/writing-lessons.md").read_text(encoding="utf-8")
    internal = {"Chart", "ControlError", "FigureDefinitionError", "FigureSpec", "LabSpec", "ValueSpec"}
    for name in set(figures.__all__) - internal:
        assert name in text, f"docs/writing-lessons.md does not mention {name}"
