"""The tutor: threads that are kept, and an answer that streams, names its sources and can be stopped."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from teachllm.school.exercise import lessons_of_symbols
from teachllm.school.language import Both, Lang
from teachllm.school.progress import UnknownThread
from teachllm.school.progress.conversations import Message as Kept
from teachllm.school.tutor.evidence import Asked
from teachllm.school.tutor.reply import Reply, from_kept
from teachllm.school.tutor.tutor import ToWrite, answer_question, hint_on_exercise
from teachllm.school.web.api.exercises import exercise_of
from teachllm.school.web.api.lessons import available
from teachllm.school.web.chat_model import Answer, ModelBusy
from teachllm.school.web.event_log import Event
from teachllm.school.web.event_stream import EventStream
from teachllm.school.web.refusals import Refusal
from teachllm.school.web.studio import Studio, TheLang, TheStudio

router = APIRouter(prefix="/chat")

MOST_CHARACTERS = 4000
MOST_SELECTED = 1200


class Question(BaseModel):
    """``context``: the place of a lesson that one asks about, such as ``1.2#cache``. ``exercise``: it asks
    for a hint on that lesson's exercise, with the draft and the last verdict that the studio keeps.
    """

    model_config = ConfigDict(extra="forbid")

    thread: int | None = None
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_CHARACTERS)]
    context: Annotated[str, Field(max_length=200)] | None = None
    selection: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MOST_SELECTED)] = ""
    exercise: bool = False


@router.get("/threads")
def threads(studio: TheStudio) -> dict[str, Any]:
    return {"threads": [thread.to_json() for thread in studio.store.threads()]}


@router.get("/threads/{thread_id}")
def messages(studio: TheStudio, thread_id: int) -> dict[str, Any]:
    course = studio.course
    shown = []
    for message in studio.store.messages(thread_id):
        reply = from_kept(message.text, message.reply, course)
        shown.append(message.to_json() | {"reply": reply.to_json() if reply else None})
    return {"messages": shown}


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
    """Events: ``thread`` with its id; ``reply`` with ``kind`` and ``places``; ``delta`` with ``text``; then
    ``done``, or ``error`` with ``message``. ``done`` has the final ``reply``, and of what a model wrote
    ``tokens`` and ``tokens_per_second``.

    Closing the stream stops the answer. What was written of it is kept.
    """
    begun = await run_in_threadpool(lambda: _begin(studio, lang, question))

    async def events() -> AsyncIterator[Event]:
        yield {"event": "thread", "thread": begun.thread}
        yield {"event": "reply", "reply": begun.reply.to_json()}
        if begun.answer is None:
            yield {"event": "delta", "text": begun.reply.text}
            yield {"event": "done", "reply": begun.reply.to_json()}
            return
        async with contextlib.aclosing(begun.answer.log.follow()) as following:
            async for event in following:
                yield event

    return EventStream(events(), on_end=begun.stop)


@dataclass(frozen=True)
class _Begun:
    thread: int
    reply: Reply
    answer: Answer | None = None

    def stop(self) -> None:
        if self.answer is not None:
            self.answer.stop()


def _begin(studio: Studio, lang: Lang, question: Question) -> _Begun:
    store = studio.store
    lesson, _, anchor = (question.context or "").partition("#")
    if lesson:
        available(studio, lesson)
    known = store.messages(question.thread) if question.thread is not None else []
    reply = _reply(studio, lang, question, lesson, anchor, known)
    if isinstance(reply, Reply):
        thread = _keep_question(studio, question, lesson)
        store.add_message(thread, "assistant", reply.text, reply.to_kept())
        return _Begun(thread, reply)

    thread = question.thread

    def keep(text: str) -> dict[str, Any]:
        final = reply.finished(text)
        with contextlib.suppress(UnknownThread):  # deleted while the answer was being written
            store.add_message(thread or 0, "assistant", text, final.to_kept())
        return {"reply": final.to_json()}

    try:
        answer = studio.model.answer(reply.model, reply.messages, lang, reply.writing, keep)
    except ModelBusy:
        raise Refusal(409, _BUSY) from None
    try:
        thread = _keep_question(studio, question, lesson)
    except BaseException:
        answer.stop()
        raise
    answer.begin()
    return _Begun(thread, reply.begun, answer)


def _reply(
    studio: Studio, lang: Lang, question: Question, lesson: str, anchor: str, known: list[Kept]
) -> Reply | ToWrite:
    store, course = studio.store, studio.course
    passed = store.lessons_passed()
    before = [one.text for one in known if one.role == "user"]
    asked = Asked(
        question.text,
        lang,
        lesson or None,
        anchor or None,
        question.selection,
        before[-1] if before else None,
        store.notes(),
        {symbol for symbol, home in lessons_of_symbols(course).items() if home not in passed},
    )
    model = studio.model.connected()
    if question.exercise:
        if not lesson:
            raise Refusal(
                400, Both("没说是哪一课的练习。", "It was not said which lesson's exercise is meant.")
            )
        task, state = exercise_of(studio, lesson), store.exercise_state(lesson)
        if not state.passed:
            since = state.submissions[0].created if state.submissions else None
            given = [one for one in known if _is_hint(one) and (since is None or one.created > since)]
            return hint_on_exercise(asked, task, state, len(given), model, course)
    conversation = [(one.role, one.text) for one in known]
    not_passed = None
    if lesson and lesson not in passed and course.lesson(lesson).file("exercise.yaml").exists():
        not_passed = exercise_of(studio, lesson)
    return answer_question(asked, conversation, model, course, not_passed)


def _keep_question(studio: Studio, question: Question, lesson: str) -> int:
    """The thread that it stands in, which is made for the first question."""
    store = studio.store
    thread = question.thread
    if thread is None:
        thread = store.new_thread(question.text, question.context)
    text = (
        f"> {' '.join(question.selection.split())}\n\n{question.text}"
        if question.selection
        else question.text
    )
    store.add_message(thread, "user", text)
    if lesson:
        store.mark_asked(lesson)
    return thread


def _is_hint(message: Kept) -> bool:
    return isinstance(message.reply, dict) and message.reply.get("kind") == "hint"


_BUSY = Both(
    "模型正在写另一个回答，等它写完，或者先停下它。",
    "The model is writing another answer: wait for it, or stop it.",
)
