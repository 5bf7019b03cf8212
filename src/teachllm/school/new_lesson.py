"""``teachllm new-lesson``: the folder of a planned lesson, with every file that it needs.

The files (``lesson_template/``) are valid and nearly empty. What is to be written stands in comments and in
lines that begin with ``%%``; ``teachllm lint`` reports what is not written yet.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from teachllm.school.course import Lesson, UnknownLesson, load_course
from teachllm.school.language import Both, Lang, terminal_language
from teachllm.school.lint.requirements import FILES
from teachllm.school.problem import CourseFileError

_TEMPLATE = Path(__file__).parent / "lesson_template"


def new_lesson_command(lesson: str, *, lang: Lang | None = None) -> None:
    """Make the folder of a planned lesson. Files that exist are left as they are.

    Parameters
    ----------
    lesson
        The number of the lesson in course.yaml, such as 1.4.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    speak = lang or terminal_language()
    console = Console(soft_wrap=True, highlight=False)
    try:
        entry = load_course().lesson(lesson)
        made = new_lesson(entry)
    except UnknownLesson as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        raise SystemExit(2) from None
    except (CourseFileError, OSError) as error:
        text = error.get(speak) if isinstance(error, CourseFileError) else str(error)
        console.print(f"[red]{escape(text)}[/red]")
        raise SystemExit(1) from None
    if not made:
        complete = Both("文件都已经有了", "has all of its files already").get(speak)
        console.print(f"[red]{escape(str(entry.folder))}: {complete}[/red]")
        raise SystemExit(1)
    console.print(f"[bold]{escape(str(entry.folder))}[/bold]")
    for path in made:
        console.print(f"  {path.name}")
    next_step = Both(
        "文件里写着该写什么；[bold]teachllm lint {id}[/bold] 说还缺什么。"
        "都不缺了，就在 course.yaml 里把 {id} 设为 status: available。",
        "They say what to write in them; [bold]teachllm lint {id}[/bold] says what is missing. "
        'When nothing is, set "status: available" for {id} in course.yaml.',
    )
    console.print("\n" + next_step.get(speak).format(id=entry.id))


def new_lesson(lesson: Lesson) -> list[Path]:
    """Creates the files that the lesson does not have yet; returns their paths."""
    lesson.folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in FILES:
        path = lesson.file(name)
        if path.exists():
            continue
        title = lesson.title.get("zh" if name == "lesson.zh.md" else "en")
        text = (_TEMPLATE / name).read_text(encoding="utf-8")
        path.write_text(text.replace("{id}", lesson.id).replace("{title}", title), encoding="utf-8")
        made.append(path)
    return made
