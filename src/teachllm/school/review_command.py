"""``teachllm review``: the cards that are due, answered in the terminal. The same store as the studio's."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.padding import Padding
from rich.text import Text

from teachllm.school.cards import AlreadyAnswered, NextCard
from teachllm.school.cards.plain import plain
from teachllm.school.course import load_course
from teachllm.school.keyboard import read_key
from teachllm.school.language import Both, Lang
from teachllm.school.terminal import Terminal, learner_terminal

_RATINGS = (
    ("1", Both("忘了", "again"), "red"),
    ("2", Both("吃力", "hard"), "yellow"),
    ("3", Both("记得", "good"), "green"),
    ("4", Both("很熟", "easy"), "cyan"),
)
_WIDTH = 88


def review(*, lesson: str | None = None, lang: Lang | None = None) -> None:
    """Answer the cards that are due: say the answer aloud, look, and rate yourself.

    Parameters
    ----------
    lesson
        Only the cards of this lesson, such as 1.2. Those not yet in the reviews are taken in.
    lang
        Language: zh or en. By default that of the studio, else that of the terminal.
    """
    with learner_terminal(lang) as terminal:
        if lesson is not None:
            added = terminal.store.cards.learn(lesson)
            if added:
                terminal.say(
                    Both(f"{lesson} 的 {added} 张卡片进入复习。", f"{added} cards of {lesson} taken in."),
                    "dim",
                )
        answered = _session(terminal, lesson)
        _end(terminal, lesson, answered)


def _session(terminal: Terminal, lesson: str | None) -> int:
    """Returns how many cards were answered."""
    cards = terminal.store.cards
    answered = 0
    while (coming := cards.next_card(lesson)) is not None:
        _ask(terminal, coming, cards.counts(lesson).left)
        key = read_key(" uq")
        if key == " ":
            _answer(terminal, coming)
            key = read_key("1234uq")
        if key is None or key == "q":
            break
        if key == "u":
            taken_back = cards.undo()
            answered -= taken_back is not None
            terminal.say(
                Both("已撤销上一个评分。", "The last answer is taken back.")
                if taken_back
                else Both("没有可以撤销的。", "There is nothing to take back."),
                "yellow",
            )
            continue
        try:
            memory = cards.answer(coming.card.id, int(key), reviews=coming.reviews)
        except AlreadyAnswered as error:
            terminal.say(error.why, "yellow")
            continue
        answered += 1
        wait = interval((memory.due - datetime.now(UTC)).total_seconds())
        terminal.say(Both(f"→ {wait.zh}后再见", f"→ again in {wait.en}"), "dim")
    return max(0, answered)


def _ask(terminal: Terminal, coming: NextCard, left: int) -> None:
    course = load_course()
    card = coming.card
    kind = Both("新卡片", "new") if coming.is_new else Both("到期", "due")
    place = (
        f"{card.lesson} {course.lesson(card.lesson).title.get(terminal.lang)}"
        if card.lesson in course.lessons
        else ""
    )
    if card.is_own:
        place = f"{Both('我的卡片', 'my card').get(terminal.lang)} {place}".strip()
    left_text = Both(f"还有 {left} 张", f"{left} left").get(terminal.lang)
    terminal.console.rule(Text(f"{place} · {kind.get(terminal.lang)} · {left_text}", "dim"), align="left")
    _show(terminal, plain(card.question.get(terminal.lang), terminal.lang, course), "bold")
    terminal.say(
        Both("空格：看答案   u：撤销   q：结束", "space: show the answer   u: undo   q: stop"), "dim"
    )


def _answer(terminal: Terminal, coming: NextCard) -> None:
    course = load_course()
    card, lang = coming.card, terminal.lang
    _show(terminal, plain(card.answer.get(lang), lang, course))
    if card.followup_question.get(lang):
        terminal.say(Both("追问", "And if they ask further"), "bold magenta")
        _show(terminal, plain(card.followup_question.get(lang), lang, course), "italic")
        _show(terminal, plain(card.followup_answer.get(lang), lang, course), "dim")
    buttons = Text()
    for (key, name, colour), seconds in zip(_RATINGS, coming.intervals, strict=True):
        buttons.append(f" {key} ", f"reverse {colour}")
        buttons.append(f" {name.get(lang)} ({interval(seconds).get(lang)})   ")
    terminal.console.print(buttons)


def _show(terminal: Terminal, text: str, style: str = "") -> None:
    width = min(_WIDTH, terminal.console.width)
    terminal.console.print(Padding(Text(text, style), (0, 2, 1, 2)), width=width)


def _end(terminal: Terminal, lesson: str | None, answered: int) -> None:
    cards = terminal.store.cards
    if answered:
        terminal.say(Both(f"答了 {answered} 张。", f"{answered} answered."), "green")
    left = cards.counts(lesson).left
    due = cards.next_due(lesson)
    if left:
        terminal.say(Both(f"还有 {left} 张在等你。", f"{left} more are waiting."))
    elif due is None:
        terminal.say(
            Both(
                "还没有在学的卡片。用 teachllm review --lesson 1.1 把一课的卡片放进来。",
                "No cards are being learned yet. Take a lesson's cards in: teachllm review --lesson 1.1",
            )
        )
    else:
        wait = interval((due - datetime.now(UTC)).total_seconds())
        terminal.say(
            Both(
                f"现在没有要复习的，下一张 {wait.zh}后到期。", f"Nothing is due; the next card in {wait.en}."
            )
        )


def interval(seconds: float) -> Both:
    """``10 分钟``, ``3 days``: what one needs to know, no more."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return _amount(minutes, "分钟", "minute")
    hours = round(seconds / 3600)
    if hours < 24:
        return _amount(hours, "小时", "hour")
    days = round(seconds / 86400)
    if days < 60:
        return _amount(days, "天", "day")
    if days < 700:
        return _amount(round(days / 30.4), "个月", "month")
    return _amount(round(days / 365), "年", "year")


def _amount(n: int, zh: str, en: str) -> Both:
    return Both(f"{n} {zh}", f"{n} {en}{'s' * (n != 1)}")
