"""``teachllm lint`` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.markup import escape

from teachllm.school.course import Course, UnknownLesson, load_course
from teachllm.school.language import Both, Lang, terminal_language
from teachllm.school.lint.check import lint
from teachllm.school.problem import CourseFileError, Problem


def lint_command(*lessons: str, lang: Lang | None = None, prove: bool = False) -> None:
    """Say what is missing or wrong in the lessons.

    Exits with 1 if anything is an error.

    Parameters
    ----------
    lessons
        Lesson numbers such as 1.2; by default all available ones. A planned lesson is checked when named.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    prove
        Also prove the exercises: the stub fails, the stack's function passes, each mutant gets its diagnosis.
    """
    console = Console(soft_wrap=True, highlight=False)
    shown_in = lang or terminal_language()
    try:
        course = load_course()
        problems = lint(course, lessons)
        if prove:
            problems += _proofs(course, lessons, console, shown_in)
    except UnknownLesson as error:
        console.print(f"[red]{escape(str(error))}[/red]")
        raise SystemExit(2) from None
    except CourseFileError as error:
        problems = list(error.problems)
        course = None
    raise SystemExit(report(problems, course, console, shown_in, lessons))


def report(
    problems: list[Problem], course: Course | None, console: Console, lang: Lang, lessons: Sequence[str]
) -> int:
    """Prints the problems file by file; the exit status."""
    folder = course.folder if course else None
    ordered = sorted(problems, key=lambda problem: (str(problem.file), problem.line or 0))
    for file, group in groupby(ordered, key=lambda problem: problem.file):
        name = Problem(file, None, Both("", "")).where(folder)
        console.print(f"[bold]{escape(name)}[/bold]")
        for problem in group:
            line = f"{problem.line}" if problem.line else "–"
            colour = "red" if problem.severity == "error" else "yellow"
            console.print(f"  [{colour}]{line:>4}[/{colour}]  {escape(problem.message.get(lang))}")
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    if course is not None:
        checked = ", ".join(lessons or [lesson.id for lesson in course.available()])
        console.print(
            Both(f"检查了 {checked or '（无）'}。", f"Checked {checked or 'nothing'}.").get(lang), end=" "
        )
    colour = "red" if errors else "yellow" if warnings else "green"
    total = Both(
        f"{errors} 个错误，{warnings} 个警告。",
        f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}.",
    ).get(lang)
    console.print(f"[{colour}]{total}[/{colour}]")
    return 1 if errors else 0


def _proofs(course: Course, lessons: Sequence[str], console: Console, lang: Lang) -> list[Problem]:
    from teachllm.school.runner.prove import prove
    from teachllm.school.runner.runner import Runner

    problems: list[Problem] = []
    runner = Runner()
    runner.start()
    try:
        for lesson_id in lessons or [lesson.id for lesson in course.available()]:
            text = Both(f"证明练习 {lesson_id}…", f"Proving exercise {lesson_id}…").get(lang)
            with console.status(text):
                problems += prove(lesson_id, runner)
    finally:
        runner.close()
    return problems
