"""What the tables hold, as a learner calls it."""

from __future__ import annotations

from teachllm.school.language import Both
from teachllm.school.transfer.archive import Archive

THINGS: dict[str, Both] = {
    "settings": Both("项设置", "settings"),
    "sections_read": Both("节读过的正文", "sections read"),
    "positions": Both("个读到的位置", "places in lessons"),
    "figures_moved": Both("张动过的图", "figures moved"),
    "predictions": Both("次预测", "predictions"),
    "lab_runs": Both("次实验", "labs run"),
    "drafts": Both("份练习草稿", "drafts of exercises"),
    "submissions": Both("次提交", "submissions"),
    "asked": Both("课里提过的问题", "lessons asked about"),
    "notes": Both("条笔记", "notes"),
    "bookmarks": Both("个书签", "bookmarks"),
    "threads": Both("段对话", "conversations"),
    "messages": Both("条对话消息", "messages"),
    "own_cards": Both("张自己的卡片", "cards of your own"),
    "cards": Both("张在学的卡片", "cards being learned"),
    "reviews": Both("次复习", "reviews"),
    "interviews": Both("场模拟面试", "mock interviews"),
    "interview_answers": Both("个面试回答", "answers in interviews"),
}


def things_in(archive: Archive) -> list[tuple[str, int]]:
    """Names and numbers of what there is."""
    return [(name, len(archive.rows[name])) for name in THINGS if archive.rows[name]]
