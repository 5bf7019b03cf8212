"""``teachllm check``: grades a file as the solution of a lesson's exercise, as the studio does."""

from __future__ import annotations

import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from teachllm.school.course import UnknownLesson, load_course
from teachllm.school.exercise import exercise
from teachllm.school.language import LANGUAGES, Both, Lang, terminal_language
from teachllm.school.lesson.loaded import require_available
from teachllm.school.problem import CourseFileError
from teachllm.school.progress import Store, open_store
from teachllm.school.progress.errors import DatabaseError
from teachllm.school.runner import Runner, Verdict

MOST_BYTES = 400_000
_POLL_SECONDS = 0.3


def check(lesson: str, file: Path | None = None, *, lang: Lang | None = None, watch: bool = False) -> None:
    """Grade your solution of a lesson's exercise.

    Exits with 0 if it passes, with 1 if it does not, and with 2 if nothing was graded.

    Parameters
    ----------
    lesson
        Lesson number such as 1.2.
    file
        Your solution. Without one, lesson-1.2.py in this folder, which is made for you if it is not there.
    lang
        Language of the messages: zh or en. By default that of the studio, else that of the terminal.
    watch
        Grade again whenever the file is saved, until Ctrl-C.
    """
    store, trouble = _store()
    chosen = store.setting("lang") if store else None
    shown_in = lang or (chosen if chosen in LANGUAGES else terminal_language())
    screen = Screen(Console(soft_wrap=True, highlight=False), shown_in)
    try:
        if trouble is not None:
            screen.warn(Both(f"这次不会记录：{trouble.zh}", f"This will not be recorded: {trouble.en}"))
        raise SystemExit(_check(lesson, file, screen, store, watch=watch))
    finally:
        if store is not None:
            store.close()


def _store() -> tuple[Store | None, Both | None]:
    try:
        return open_store(), None
    except DatabaseError as error:
        return None, error.why


def _check(lesson: str, file: Path | None, screen: Screen, store: Store | None, *, watch: bool) -> int:
    try:
        found = load_course().lesson(lesson)
        require_available(found)
        if not found.file("exercise.yaml").exists():
            screen.refuse(Both(f"{lesson} 这一课没有练习。", f"Lesson {lesson} has no exercise."))
            return 2
        task = exercise(lesson)
    except UnknownLesson as error:
        screen.refuse(Both.same(str(error)))
        return 2
    except CourseFileError as error:
        for problem in error.problems:
            screen.refuse(problem.message)
        return 2
    path = file or Path(f"lesson-{lesson}.py")
    if file is None and not path.exists():
        path.write_text(task.stub, encoding="utf-8")
        screen.console.print(f"[bold]{escape(task.title.get(screen.lang))}[/bold]")
        made = Both(
            f"已写好 {path}。打开它，补上函数体，再运行一次 teachllm check {lesson}。",
            f"{path} is made. Open it, fill in the body, and run teachllm check {lesson} again.",
        )
        screen.console.print(escape(made.get(screen.lang)))
        if not watch:
            return 2
    with Runner(grades=1) as runner:
        while True:
            stamp = _stamp(path)
            code = _grade(lesson, path, runner, screen, store)
            if not watch:
                return code
            screen.say(
                Both("保存文件就会再检查一次；按 Ctrl-C 结束。", "Save the file to check again; Ctrl-C ends.")
            )
            while _stamp(path) in (stamp, None):
                time.sleep(_POLL_SECONDS)


def _grade(lesson: str, path: Path, runner: Runner, screen: Screen, store: Store | None) -> int:
    source = _read(path, screen)
    if source is None:
        return 2
    run = runner.submit(lesson, source, screen.on_event)
    with screen.console.status(Both("正在检查…", "Checking…").get(screen.lang)):
        try:
            verdict = run.result()
        except BaseException:
            run.cancel()
            raise
    screen.show(verdict)
    if store is not None:
        try:
            store.save_draft(lesson, source)
            store.save_submission(lesson, source, verdict)
        except DatabaseError as error:
            zh, en = error.why.zh, error.why.en
            screen.warn(Both(f"没能记录这次提交：{zh}", f"This submission could not be recorded: {en}"))
    return 0 if verdict.passed else 1


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes when the file is saved; ``None`` while it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _read(path: Path, screen: Screen) -> str | None:
    try:
        content = path.read_bytes()
        if len(content) > MOST_BYTES:
            size = f"{len(content):,}"
            screen.refuse(
                Both(
                    f"{path} 有 {size} 字节，最多 {MOST_BYTES:,}。这是你的解答吗？",
                    f"{path} has {size} bytes; at most {MOST_BYTES:,} are taken. Is it your solution?",
                )
            )
            return None
        return content.decode("utf-8-sig")
    except OSError as error:
        why = error.strerror or str(error)
        screen.refuse(Both(f"读不了 {path}：{why}", f"{path} cannot be read: {why}"))
    except UnicodeDecodeError as error:
        where = error.start
        screen.refuse(
            Both(
                f"{path} 不是 UTF-8 文本（第 {where} 个字节）。请另存为 UTF-8。",
                f"{path} is not UTF-8 text (byte {where}). Save it as UTF-8.",
            )
        )
    return None


@dataclass(frozen=True)
class Screen:
    """The terminal, in the learner's language."""

    console: Console
    lang: Lang

    def say(self, text: Both) -> None:
        self.console.print(escape(text.get(self.lang)), style="dim")

    def warn(self, text: Both) -> None:
        self.console.print(escape(text.get(self.lang)), style="yellow")

    def refuse(self, text: Both) -> None:
        self.console.print(escape(text.get(self.lang)), style="red")

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "check":
            mark = "[green]✓[/green]" if event["passed"] else "[red]✗[/red]"
            self.console.print(f"{mark} {escape(_readable(event['name']))}")

    def show(self, verdict: Verdict) -> None:
        if verdict.passed:
            seconds = f"{verdict.seconds:.2f}"
            text = Both(
                f"全部通过（{len(verdict.checks)} 项检查，{seconds} 秒）。在工作室里可以和课程的写法对照。",
                f"All {len(verdict.checks)} checks pass ({seconds} s). "
                "The studio now shows the course's version beside yours.",
            )
            self.console.print(escape(text.get(self.lang)), style="bold green")
        else:
            if verdict.diagnosis is not None:
                self.console.print(escape(verdict.diagnosis.get(self.lang)), style="bold red")
            message = verdict.message.get(self.lang)
            if message and verdict.message != verdict.diagnosis:
                self.console.print(escape(textwrap.indent(message, "  ")))
        if verdict.output:
            title = Both("你的代码打印了：", "Your code printed:").get(self.lang)
            self.console.print(f"\n{title}", style="dim")
            self.console.print(escape(verdict.output.rstrip("\n")))


def _readable(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")
