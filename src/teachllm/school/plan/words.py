"""What a plan's items and goals are called, in both languages."""

from __future__ import annotations

from collections.abc import Sequence

from teachllm.school.course import Course
from teachllm.school.language import Both
from teachllm.school.plan.schedule import Item
from teachllm.school.plan.wish import Wish

THINGS = {
    "read": Both("读课文", "read"),
    "moved": Both("动一动图", "move the figures"),
    "ran": Both("跑实验", "run the lab"),
    "wrote": Both("写核心函数", "write the core function"),
    "recalled": Both("学卡片", "learn the cards"),
    "asked": Both("问一问", "ask about it"),
}
STYLES = {
    "fast": Both("速成版", "Fast"),
    "steady": Both("稳扎稳打版", "Steady"),
}


def what(item: Item, course: Course) -> Both:
    """``1.2 Self-attention and the KV cache: read, a part``."""
    if item.kind == "reviews":
        return Both(f"复习约 {item.cards} 张卡片", f"Review about {item.cards} card{'s' * (item.cards != 1)}")
    if item.kind == "interview":
        return Both("模拟面试", "A mock interview")
    name = title(item, course)
    doing = todo([item])
    return Both(f"{name.zh}：{doing.zh}", f"{name.en}: {doing.en}")


def title(item: Item, course: Course) -> Both:
    """Number and title of its lesson; the number alone if the course has it no longer."""
    lesson = course.lessons.get(item.lesson or "")
    if lesson is None:
        return Both.same(item.lesson or "")
    return Both(f"{lesson.id} {lesson.title.zh}", f"{lesson.id} {lesson.title.en}")


def todo(items: Sequence[Item]) -> Both:
    """What is done with one lesson, in one sitting: ``read (a part), move the figures``."""
    if len(items) > 3 and all(item.is_whole for item in items):
        return Both(f"整课，{len(items)} 件事", f"the whole lesson, {len(items)} things")
    doing = [_doing(item) for item in items]
    return Both("、".join(one.zh for one in doing), ", ".join(one.en for one in doing))


def _doing(item: Item) -> Both:
    if item.thing is None:
        return Both("面试里答得不好，再过一遍", "weak in an interview, once more")
    thing = THINGS[item.thing]
    if item.is_whole:
        return thing
    if item.until < 1:
        return Both(f"{thing.zh}（一部分）", f"{thing.en} (a part)")
    return Both(f"{thing.zh}（其余）", f"{thing.en} (the rest)")


def address(item: Item) -> str:
    """Where one does it in the studio."""
    if item.kind == "reviews":
        return "/review"
    if item.kind == "interview":
        return "/interview"
    if item.thing == "asked":
        return f"/chat?context={item.lesson}"
    return f"/lesson/{item.lesson}"


def duration(minutes: int) -> Both:
    """``45 min``, ``2 h 5 min``."""
    hours, rest = divmod(minutes, 60)
    if not hours:
        return Both(f"{rest} 分钟", f"{rest} min")
    if not rest:
        return Both(f"{hours} 小时", f"{hours} h")
    return Both(f"{hours} 小时 {rest} 分钟", f"{hours} h {rest} min")


def goal(wish: Wish, course: Course) -> Both:
    """What the plan is for, in a few words."""
    numbers = "、".join(str(number) for number in wish.chapters)
    numbers_en = ", ".join(str(number) for number in wish.chapters)
    if wish.goal == "topic":
        lesson = course.lessons.get(wish.topic or "")
        name = lesson.title if lesson else Both.same(wish.topic or "")
        return Both(
            f"{wish.topic} {name.zh}，连同它要用到的", f"{wish.topic} {name.en} and all that it needs"
        )
    what = Both("全部课程", "the whole course")
    if wish.chapters:
        what = Both(
            f"第 {numbers} 章，连同它们要用到的",
            f"chapter{'s' * (len(wish.chapters) > 1)} {numbers_en} and what they need",
        )
    if wish.goal == "interview":
        return Both(f"{wish.until} 的面试：{what.zh}", f"an interview on {wish.until}: {what.en}")
    return what
