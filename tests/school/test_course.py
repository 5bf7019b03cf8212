"""The table of the course: complete, consistent, and clear about what is wrong with a broken one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from teachllm.school.course import Course, UnknownLesson, course_folder, load_course
from teachllm.school.problem import CourseError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def course() -> Course:
    return load_course(REPOSITORY / "course")


def test_there_are_13_chapters_and_99_lessons(course: Course) -> None:
    assert [len(chapter.lessons) for chapter in course.chapters] == [
        9,
        8,
        14,
        8,
        13,
        3,
        4,
        11,
        4,
        4,
        11,
        3,
        7,
    ]
    assert len(course.lessons) == 99


def test_difficulties_of_the_chapters_are_those_of_the_original(course: Course) -> None:
    assert [chapter.difficulty for chapter in course.chapters] == [2, 3, 4, 3, 4, 2, 4, 4, 4, 3, 4, 2, 4]


def test_every_text_is_there_in_both_languages_and_sources_are_unique(course: Course) -> None:
    for lesson in course.lessons.values():
        for text in (lesson.title, lesson.summary, lesson.priority):
            assert text.zh.strip()
            assert text.en.strip()
        assert not any("\u4e00" <= c <= "\u9fff" for c in lesson.title.en + lesson.summary.en)
        assert 1 <= lesson.hours <= 8
    sources = [lesson.source for lesson in course.lessons.values()]
    assert len(set(sources)) == 99


def test_wrong_expansions_of_the_original_are_right_here(course: Course) -> None:
    assert "Decoupled Clip and Dynamic sAmpling Policy Optimization" in course.lesson("3.10").summary.en
    assert "Group Filtered Policy Optimization" in course.lesson("3.11").summary.en
    assert "Soft Adaptive Policy Optimization" in course.lesson("3.13").summary.en
    assert "Native Sparse Attention" in course.lesson("13.7").summary.zh
    assert "不是智能体的记忆" in course.lesson("5.11").summary.zh


def test_folders_and_neighbours(course: Course) -> None:
    lesson = course.lesson("1.2")
    assert lesson.folder == REPOSITORY / "course/01-foundations/02-attention-and-kv-cache"
    before, after = course.neighbours("1.2")
    assert before is not None
    assert after is not None
    assert (before.id, after.id) == ("1.1", "1.3")
    assert course.neighbours("1.1")[0] is None
    assert course.neighbours("13.7")[1] is None
    assert "1.2" in [unlocked.id for unlocked in course.unlocks("1.1")]


def test_an_unknown_lesson_suggests_near_ones(course: Course) -> None:
    with pytest.raises(UnknownLesson, match=r"no lesson '1\.99'; did you mean"):
        course.lesson("1.99")


def test_the_glossary_has_terms_with_aliases_to_search_for(course: Course) -> None:
    assert len(course.glossary) >= 60
    assert "KV Cache" in course.glossary["kv_cache"].names()
    assert course.glossary["kv_cache"].name.zh == "KV 缓存"
    for term in course.glossary:
        assert len(term.definition.zh) > 8
        assert len(term.definition.en) > 20
        assert term.lesson is None or term.lesson in course.lessons
    names = [term.name.zh for term in course.glossary]
    assert len(set(names)) == len(names)


def test_the_folder_comes_from_the_environment_or_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TEACHLLM_COURSE", raising=False)
    assert course_folder() == REPOSITORY / "course"
    monkeypatch.setenv("TEACHLLM_COURSE", str(tmp_path))
    with pytest.raises(CourseError, match="TEACHLLM_COURSE"):
        course_folder()


GOOD = """\
chapters:
  - number: 1
    slug: basics
    title: {zh: 基础, en: Basics}
    difficulty: 1
    priority: {zh: 必学, en: essential}
    lessons:
      - id: "1.1"
        slug: one
        title: {zh: 一, en: One}
        summary: {zh: 一, en: One}
        source: "1"
        hours: 1
      - id: "1.2"
        slug: two
        title: {zh: 二, en: Two}
        summary: {zh: 二, en: Two}
        source: "2"
        hours: 2
        difficulty: 3
        prerequisites: ["1.1"]
"""


def write(folder: Path, course: str = GOOD, glossary: str = "[]\n") -> Path:
    (folder / "course.yaml").write_text(course, encoding="utf-8")
    (folder / "glossary.yaml").write_text(glossary, encoding="utf-8")
    return folder


def problems(folder: Path) -> list[tuple[str, int | None, str]]:
    with pytest.raises(CourseError) as caught:
        load_course(folder)
    return [(p.file.name, p.line, p.message.en) for p in caught.value.problems]


def test_a_lesson_takes_difficulty_and_priority_from_its_chapter(tmp_path: Path) -> None:
    course = load_course(write(tmp_path))
    assert [lesson.difficulty for lesson in course.lessons.values()] == [1, 3]
    assert course.lesson("1.2").priority.en == "essential"
    assert not course.lesson("1.1").available


def test_it_is_read_again_only_when_it_changes(tmp_path: Path) -> None:
    first = load_course(write(tmp_path))
    assert load_course(tmp_path) is first
    write(tmp_path, GOOD.replace("hours: 2", "hours: 4"))
    stamp = (tmp_path / "course.yaml").stat().st_mtime_ns + 1_000_000
    os.utime(tmp_path / "course.yaml", ns=(stamp, stamp))
    assert load_course(tmp_path).lesson("1.2").hours == 4


def test_duplicate_keys_are_errors_with_both_lines(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace('        source: "2"\n', '        source: "2"\n        source: "3"\n'))
    assert problems(tmp_path) == [("course.yaml", 19, "key source appears twice; the first is on line 18")]


def test_all_violations_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    broken = (
        GOOD.replace('id: "1.1"', "id: 1.1").replace("hours: 2", "hours: 0").replace("en: Two}", "en: ''}", 1)
    )
    broken = broken.replace("difficulty: 3", "dificulty: 3")
    write(tmp_path, broken, "- id: kv\n  zh: 缓存\n")
    found = problems(tmp_path)
    lines = {(name, line) for name, line, _ in found}
    assert {("course.yaml", 8), ("course.yaml", 16), ("course.yaml", 19), ("course.yaml", 20)} <= lines
    text = "\n".join(message for _, _, message in found)
    assert "quote it" in text
    assert "unknown key" in text
    assert "greater than 0" in text
    assert any(name == "glossary.yaml" and "definition" in message for name, _, message in found)


def test_numbering_unknown_prerequisites_and_cycles(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace('id: "1.2"', 'id: "1.3"'))
    assert problems(tmp_path) == [("course.yaml", 14, "lesson id is 1.3, here it must be 1.2")]
    write(tmp_path, GOOD.replace('prerequisites: ["1.1"]', 'prerequisites: ["7.1"]'))
    assert problems(tmp_path) == [("course.yaml", 21, "1.2 needs 7.1, which does not exist")]
    write(tmp_path, GOOD.replace("hours: 1\n", 'hours: 1\n        prerequisites: ["1.2"]\n'))
    assert problems(tmp_path)[0][2] == "prerequisites form a cycle: 1.1 → 1.2 → 1.1"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "empty"),
        (b"chapters:\n  - number: [1\n", 3, "YAML syntax error"),
        ("chapters:\n  - slug: 基".encode()[:-1], 2, "not valid UTF-8"),
        (b"chapters: []\n", 1, "at least 1 item"),
    ],
)
def test_files_that_are_no_course(tmp_path: Path, content: bytes, line: int | None, message: str) -> None:
    write(tmp_path)
    (tmp_path / "course.yaml").write_bytes(content)
    found = problems(tmp_path)[0]
    assert found[1] == line
    assert message in found[2]


def test_glossary_terms_are_unique_and_point_to_lessons(tmp_path: Path) -> None:
    term = "- {id: kv, zh: 缓存, en: cache, lesson: '9.9', definition: {zh: 缓存, en: a cache}}\n"
    write(tmp_path, GOOD, term + term)
    messages = [message for _, _, message in problems(tmp_path)]
    assert messages.count("term kv is defined more than once") == 2
    assert messages.count("there is no lesson 9.9") == 2
