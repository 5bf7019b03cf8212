"""``teachllm plan``: today's list and the days ahead, in the terminal."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from rich.table import Table

from teachllm.school.course import Course, load_course
from teachllm.school.language import Both, Lang
from teachllm.school.plan import Planner, State, built_in, words
from teachllm.school.plan.wish import Style
from teachllm.school.terminal import Terminal, learner_terminal

DAYS = 7


def plan(
    *,
    new: Style | None = None,
    push: bool = False,
    undo: bool = False,
    ics: Path | None = None,
    lang: Lang | None = None,
) -> None:
    """Show the study plan: what to do today and in the week ahead, and whether it fits.

    The studio's page /plan makes plans for chapters, a topic or an interview; this command knows the
    two built-in ones.

    Parameters
    ----------
    new
        Make a plan for the whole course, four hours a day: fast or steady.
    push
        Move what is left of today to the days after.
    undo
        Undo the last change.
    ics
        Write the plan as an iCalendar file there.
    lang
        Language: zh or en. By default that of the studio, else that of the terminal.
    """
    with learner_terminal(lang) as terminal:
        course = load_course()
        planner = Planner(terminal.store, course)
        if planner.was_set_aside:
            terminal.say(
                Both(
                    "原来的计划读不出来，被放到了一边；进度不受影响。",
                    "Your plan could not be read and was set aside; your progress is not affected.",
                ),
                "yellow",
            )
        if new is not None:
            planner.make(built_in(new, planner.today))
        if push:
            planner.push()
        if undo:
            planner.undo()
        state = planner.current()
        if state is None:
            terminal.say(
                Both(
                    "还没有计划。teachllm plan --new steady（稳扎稳打版）或 --new fast（速成版）。",
                    "There is no plan yet. teachllm plan --new steady, or --new fast.",
                )
            )
            return
        _about(terminal, state, course)
        _moved(terminal, state)
        terminal.console.print(_table(terminal, state, course))
        if ics is not None:
            _write(terminal, planner, state, course, ics)


def _about(terminal: Terminal, state: State, course: Course) -> None:
    wish = state.plan.wish
    goal, style = words.goal(wish, course), words.STYLES[wish.style]
    end = state.end or state.today
    terminal.say(
        Both(f"{goal.zh} · {style.zh} · 按计划 {end} 学完", f"{goal.en} · {style.en} · done on {end}"), "bold"
    )
    if state.goal.planned:
        there, planned = len(state.goal.lessons), len(state.goal.planned)
        terminal.say(
            Both(
                f"目标里的 {there + planned} 课有 {planned} 课还没写好，没有排进来。",
                f"{planned} of the goal's {there + planned} lessons are not written yet: not scheduled.",
            )
        )
    if state.fit.missing and not state.is_over:
        missing = words.duration(state.fit.missing)
        drop = "、".join(state.fit.drop), ", ".join(state.fit.drop)
        rest = (
            Both(f"可以放下：{drop[0]}", f"You could leave out: {drop[1]}")
            if state.fit.enough
            else Both("", "")
        )
        terminal.say(
            Both(
                f"时间不够，差 {missing.zh}。{rest.zh}",
                f"It does not fit: {missing.en} too little. {rest.en}",
            ),
            "red",
        )


def _moved(terminal: Terminal, state: State) -> None:
    for move in state.plan.moved[:3]:
        terminal.say(
            Both(
                f"{move.lesson}：{move.was} 改到 {move.now}",
                f"{move.lesson} moved from {move.was} to {move.now}",
            ),
            "dim",
        )
    if more := len(state.plan.moved[3:]):
        terminal.say(Both(f"另有 {more} 课换了日子", f"and {more} more moved"), "dim")


def _table(terminal: Terminal, state: State, course: Course) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "left", "left", "right"):
        table.add_column(justify=justify)
    for number in range(DAYS):
        day = state.today + timedelta(days=number)
        first = f"{day}"
        for item in state.plan.on(day):
            mark = "✓" if state.is_done(item) else ""
            minutes = words.duration(item.minutes).get(terminal.lang)
            table.add_row(first, mark, words.what(item, course).get(terminal.lang), minutes)
            first = ""
        if first:
            table.add_row(first, "", Both("没有安排", "nothing").get(terminal.lang), "", style="dim")
    return table


def _write(terminal: Terminal, planner: Planner, state: State, course: Course, path: Path) -> None:
    from teachllm.school.plan.calendar_file import calendar_file

    content, known = calendar_file(state.plan, course, terminal.lang)
    try:
        path.write_bytes(content)
    except OSError as error:
        terminal.say(Both(f"写不了 {path}：{error}", f"Cannot write {path}: {error}"), "red")
        raise SystemExit(1) from None
    planner.exported(state.plan, known)
    terminal.say(Both(f"写好了：{path}", f"Written: {path}"))
