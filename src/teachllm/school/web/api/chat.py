"""The chat: threads that are kept, and an answer that streams and can be stopped."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from teachllm.school.language import Both, Lang
from teachllm.school.lesson import read_document
from teachllm.school.progress import UnknownThread
from teachllm.school.web.api.lessons import available
from teachllm.school.web.chat_model import Answer, ModelBusy
from teachllm.school.web.event_log import Event
from teachllm.school.web.event_stream import EventStream
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import Studio, TheLang, TheStudio
from teachllm.stack.chat import Message

router = APIRouter(prefix="/chat")

MOST_CHARACTERS = 4000
"""Of the conversation that the model is given; earlier turns are left out."""
MOST_OF_SECTION = 1200


class Question(BaseModel):
    """``context``: the place of a lesson that one asks about, such as ``1.2#cache``."""

    model_config = ConfigDict(extra="forbid")

    thread: int | None = None
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_CHARACTERS)]
    context: Annotated[str, Field(max_length=200)] | None = None


@router.get("/threads")
def threads(studio: TheStudio) -> dict[str, Any]:
    return {"threads": [thread.to_json() for thread in studio.store.threads()]}


@router.get("/threads/{thread_id}")
def messages(studio: TheStudio, thread_id: int) -> dict[str, Any]:
    return {"messages": [message.to_json() for message in studio.store.messages(thread_id)]}


@router.delete("/threads/{thread_id}")
def remove(studio: TheStudio, thread_id: int) -> dict[str, Any]:
    if not studio.store.remove_thread(thread_id):
        raise Refusal(404, Both("这段对话已经删了。", "This conversation has been deleted."))
    return {"deleted": True}


@router.post("/cancel")
def cancel(studio: TheStudio) -> dict[str, Any]:
    return {"cancelled": studio.model.stop()}


@router.post("")
async def ask(studio: TheStudio, lang: TheLang, question: Question) -> EventStream:
    """Events: ``thread`` with its id; ``delta`` with ``text``; then ``done`` with ``tokens`` and
    ``tokens_per_second``, or ``error`` with ``message``.

    Closing the stream stops the answer. What was written of it is kept.
    """
    thread, answer = await run_in_threadpool(lambda: _begin(studio, lang, question))

    async def events() -> AsyncIterator[Event]:
        yield {"event": "thread", "thread": thread}
        async with contextlib.aclosing(answer.log.follow()) as following:
            async for event in following:
                yield event

    return EventStream(events(), on_end=answer.stop)


def _begin(studio: Studio, lang: Lang, question: Question) -> tuple[int, Answer]:
    problem = studio.model.problem()
    if problem is not None:
        raise Refusal(409, problem)
    store = studio.store
    section = _section(studio, question.context, lang)
    known = store.messages(question.thread) if question.thread is not None else []
    messages = prompt(section, [(one.role, one.text) for one in known] + [("user", question.text)])
    thread = question.thread

    def keep(text: str) -> None:
        with contextlib.suppress(UnknownThread):  # deleted while the answer was being written
            store.add_message(thread or 0, "assistant", text)

    try:
        answer = studio.model.answer(messages, lang, keep)
    except ModelBusy:
        raise Refusal(409, _BUSY) from None
    try:
        if thread is None:
            thread = store.new_thread(question.text, question.context)
        store.add_message(thread, "user", question.text)
        if question.context:
            store.mark_asked(question.context.partition("#")[0])
    except BaseException:
        answer.stop()
        raise
    answer.begin()
    return thread, answer


def prompt(section: str | None, conversation: Sequence[tuple[str, str]]) -> list[Message]:
    """What the model is given: the section one asks about, the turns that fit, always the question."""
    kept: list[Message] = []
    room = MOST_CHARACTERS - len(section or "")
    for role, text in reversed(conversation):
        room -= len(text)
        if kept and room < 0:
            break
        kept.insert(0, Message("assistant" if role == "assistant" else "user", text))
    while kept[0].role == "assistant":
        del kept[0]
    return [Message("system", section), *kept] if section else kept


_BUSY = Both(
    "模型正在写另一个回答，等它写完，或者先停下它。",
    "The model is writing another answer: wait for it, or stop it.",
)
_READING = Both(
    "你是一位耐心的老师，教大语言模型。学生正在读“{title}”里的“{section}”这一节：\n{text}",
    "You are a patient teacher of large language models. The student is reading the section "
    "“{section}” of “{title}”:\n{text}",
)


def _section(studio: Studio, context: str | None, lang: Lang) -> str | None:
    """The section that a question is about. Raises :class:`teachllm.school.course.UnknownLesson`."""
    if not context:
        return None
    lesson_id, _, anchor = context.partition("#")
    lesson = available(studio, lesson_id)
    document = read_document(lesson.file(f"lesson.{lang}.md"), lang)
    found = next((one for one in document.sections if one.anchor == anchor), document.sections[0])
    text = found.text[:MOST_OF_SECTION]
    return _READING.get(lang).format(title=lesson.title.get(lang), section=found.title, text=text)
