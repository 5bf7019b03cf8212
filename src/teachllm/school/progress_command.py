"""``teachllm progress``: how far one is, in the terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from teachllm.school.course import load_course
from teachllm.school.language import Both, Lang
from teachllm.school.mastery import Level, Mastery, mastery_of_all
from teachllm.school.mastery.words import LEVEL_NAMES
from teachllm.school.progress.six import THINGS
from teachllm.school.terminal import Terminal, learner_terminal

_NAMES = {
    "read": Both("读", "read"),
    "moved": Both("动", "moved"),
    "ran": Both("跑", "ran"),
    "wrote": Both("写", "wrote"),
    "recalled": Both("记", "recalled"),
    "asked": Both("问", "asked"),
}
_DONE = 0.999
_COLOURS: dict[Level, str] = {
    "untouched": "dim",
    "begun": "yellow",
    "learning": "yellow",
    "mastered": "green",
    "fading": "magenta",
}


def progress(*, lang: Lang | None = None) -> None:
    """Show how far you are: six things and mastery of each lesson, cards that are due, where to go on.

    Mastery weighs what you read, moved, ran and wrote, and what you would recall today, so it can fade.

    Parameters
    ----------
    lang
        Language: zh or en. By default that of the studio, else that of the terminal.
    """
    with learner_terminal(lang) as terminal:
        terminal.console.print(_table(terminal))
        _cards(terminal)
        _go_on(terminal)
        terminal.say(Both(f"记录在 {terminal.store.where}", f"Kept in {terminal.store.where}"), "dim")


def _table(terminal: Terminal) -> Table:
    course = load_course()
    lang = terminal.lang
    shares = terminal.store.overview(course)
    masteries = mastery_of_all(terminal.store, course, datetime.now(UTC))
    lessons = list(course.available())
    table = Table(box=None, pad_edge=False)
    table.add_column(Both("课", "lesson").get(lang))
    for name in THINGS:
        table.add_column(_NAMES[name].get(lang), justify="right")
    table.add_column(Both("掌握", "mastery").get(lang))
    for lesson in lessons:
        table.add_row(
            f"{lesson.id} {lesson.title.get(lang)}",
            *(_share(shares[lesson.id][name]) for name in THINGS),
            _mastery(masteries[lesson.id], lang),
        )
    done = sum(all(share >= _DONE for share in shares[lesson.id].values()) for lesson in lessons)
    table.caption = Both(
        f"{len(lessons)} 课可以学，学完 {done} 课；全课程 {len(course.lessons)} 课。",
        f"{len(lessons)} lessons to learn, {done} of them done; {len(course.lessons)} in the course.",
    ).get(lang)
    table.caption_justify = "left"
    return table


def _share(share: float) -> Text:
    if share >= _DONE:
        return Text("✓", "green")
    return Text(f"{share:.0%}", "yellow") if share > 0 else Text("·", "dim")


def _mastery(mastery: Mastery, lang: Lang) -> Text:
    if mastery.level == "untouched":
        return Text("·", "dim")
    return Text(f"{mastery.value:.2f} {LEVEL_NAMES[mastery.level].get(lang)}", _COLOURS[mastery.level])


def _cards(terminal: Terminal) -> None:
    counts = terminal.store.cards.counts()
    if counts.left:
        terminal.say(
            Both(
                f"卡片：{counts.due} 张到期，{counts.new} 张新的。teachllm review",
                f"Cards: {counts.due} due, {counts.new} new. teachllm review",
            ),
            "bold",
        )


def _go_on(terminal: Terminal) -> None:
    last = terminal.store.continue_at()
    if last is not None:
        title = load_course().lesson(last.lesson).title.get(terminal.lang)
        terminal.say(
            Both(
                f"上次读到 {last.lesson} {title} #{last.anchor}",
                f"You were at {last.lesson} {title} #{last.anchor}",
            )
        )
