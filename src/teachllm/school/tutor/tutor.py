"""The tutor's decision: refuse, show passages, let a model write from them, or hint on an exercise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from teachllm.school.course import Course
from teachllm.school.exercise import Exercise
from teachllm.school.language import Both
from teachllm.school.progress.practice import ExerciseState
from teachllm.school.search.passages import Passage
from teachllm.school.tutor.citations import Cited
from teachllm.school.tutor.evidence import Asked, Evidence, evidence_for, places_of
from teachllm.school.tutor.hints import (
    STEPS,
    attempt_of,
    gives_away,
    hint_messages,
    hint_without_model,
    question_of,
)
from teachllm.school.tutor.prompt import Source, messages_for
from teachllm.school.tutor.reply import Place, Reply
from teachllm.stack.chat import ChatModel, Message

NEAREST = 3
"""Places to look at when nothing supports an answer."""


class Guarded:
    """What a model writes before the exercise is passed. ``whole``: a hint is held back to its end; of any
    other answer only the code is, to the end of its block. What gives the solution away is replaced by
    ``instead``.
    """

    def __init__(
        self, cited: Cited, exercise: Exercise, instead: str, *, whole: bool, draft: str = ""
    ) -> None:
        self.cited = cited
        self._exercise = exercise
        self._instead = instead
        self._whole = whole
        self._draft = draft
        self._held = ""

    def add(self, piece: str) -> str:
        self._held += self.cited.add(piece)
        if self._whole:
            return ""
        fences = [match.start() for match in _FENCE.finditer(self._held)]
        if len(fences) >= 2:  # the block is closed
            return self._released(fences[1] + 3)
        # A backtick at the end may begin a fence.
        return self._free(fences[0] if fences else len(self._held.rstrip("`")))

    def end(self) -> str:
        self._held += self.cited.end()
        return self._released(len(self._held))

    def _free(self, until: int) -> str:
        text, self._held = self._held[:until], self._held[until:]
        return text

    def _released(self, until: int) -> str:
        text = self._free(until)
        return self._instead if gives_away(text, self._exercise, self._draft) else text


_FENCE = re.compile(r"```")
Writing: TypeAlias = Cited | Guarded


@dataclass(frozen=True)
class ToWrite:
    """What a model is to write, and how it will be judged."""

    model: ChatModel
    messages: Sequence[Message]
    writing: Writing
    begun: Reply

    def finished(self, text: str) -> Reply:
        """With the sources that it really cites; without any it is marked as such."""
        cited = self.writing if isinstance(self.writing, Cited) else self.writing.cited
        places = tuple(one for one in self.begun.places if one.number in cited.used)
        if self.begun.kind == "hint":
            return Reply("hint", text, places or self.begun.places)
        return Reply("cited", text, places) if places else Reply("uncited", text, self.begun.places)


def answer_question(
    asked: Asked,
    conversation: Sequence[tuple[str, str]],
    model: ChatModel | None,
    course: Course,
    not_passed: Exercise | None = None,
) -> Reply | ToWrite:
    """Where the course does not support an answer, no model is asked. not_passed: the exercise of the lesson
    that one is in, whose solution no answer may show.
    """
    evidence = evidence_for(asked, course)
    if not evidence.supported:
        nearest = replace(evidence, passages=_one_a_lesson(evidence, course))
        places = places_of(nearest, asked, with_words=False)
        text = _NOTHING.get(asked.lang) + (_NEAREST.get(asked.lang) if places else "")
        return Reply("refused", text, tuple(places))
    places = places_of(evidence, asked, with_words=model is None)
    if model is None:
        return Reply("passages", _PASSAGES.get(asked.lang), tuple(places))
    messages = messages_for(
        asked.text, _sources(evidence, places), conversation, asked.lang, selection=asked.selection
    )
    cited = Cited({one.number for one in places})
    writing: Writing = cited
    if not_passed is not None:
        writing = Guarded(cited, not_passed, _NOT_YET.get(asked.lang), whole=False)
    return ToWrite(model, messages, writing, Reply("cited", "", tuple(places)))


def hint_on_exercise(
    asked: Asked,
    exercise: Exercise,
    state: ExerciseState,
    given: int,
    model: ChatModel | None,
    course: Course,
) -> Reply | ToWrite:
    """The next step after the ``given`` ones; the last one again after that."""
    step = min(given + 1, STEPS)
    attempt = attempt_of(exercise, state)
    about = replace(asked, text=question_of(attempt, asked.text, asked.lang), before=None)
    evidence = evidence_for(about, course)
    # The sections of this lesson that speak about the mistake; other places would lead away from it.
    here = [one for one in evidence.passages if one.kind == "lesson" and one.lesson_id == exercise.lesson_id]
    evidence = Evidence(here[:2], evidence.supported)
    places = tuple(places_of(evidence, about, with_words=False))
    ready = hint_without_model(attempt, step, asked.lang, course)
    if model is None:
        return Reply("hint", ready, places)
    messages = hint_messages(attempt, step, asked.text, _sources(evidence, places), asked.lang)
    guarded = Guarded(Cited({one.number for one in places}), exercise, ready, whole=True, draft=attempt.draft)
    return ToWrite(model, messages, guarded, Reply("hint", "", places))


def _sources(evidence: Evidence, places: Sequence[Place]) -> list[Source]:
    return [
        Source(place.number, f"{place.title} › {place.section}".removesuffix(" › "), passage.text)
        for place, passage in zip(places, evidence.passages, strict=True)
    ]


def _one_a_lesson(evidence: Evidence, course: Course) -> list[Passage]:
    nearest: dict[str, Passage] = {}
    for one in evidence.passages:
        if one.kind == "lesson" and one.lesson_id is not None and one.lesson_id in course.lessons:
            nearest.setdefault(one.lesson_id, one)
    return list(nearest.values())[:NEAREST]


_NOTHING = Both("课程里没有讲这个。", "The course says nothing about this.")
_NEAREST = Both("离它最近的是：", " Nearest to it:")
_NOT_YET = Both(
    "（这段代码就是这一课练习的答案，通过检查以后再看。）",
    "(This code is the solution of this lesson's exercise: see it after you have passed the checks.)",
)
_PASSAGES = Both("课程里是这样讲的：", "What the course says:")
