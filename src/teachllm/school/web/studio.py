"""What the requests of one studio share: the learner's store, the runner, the model, what is going on."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from teachllm.school import search
from teachllm.school.course import Course, load_course
from teachllm.school.interview.grading import Grader
from teachllm.school.language import LANGUAGES, Lang, as_lang
from teachllm.school.lesson import render
from teachllm.school.problem import CourseFileError
from teachllm.school.progress import Store
from teachllm.school.runner import Runner
from teachllm.school.web.chat_model import StudioModel
from teachllm.school.web.drawing import Drawing
from teachllm.school.web.lab_runs import LabRuns
from teachllm.school.web.runs_folder import RunsFolder
from teachllm.school.web.security import Gate
from teachllm.school.web.studio_engine import StudioEngine
from teachllm.school.web.submissions import Submissions

WARM_UP_AFTER = 1.5
"""Seconds after the start."""


@dataclass
class Studio:
    """Lives as ``request.app.state.studio``. Its parts are thread-safe."""

    store: Store
    runner: Runner
    gate: Gate
    model: StudioModel
    labs: LabRuns
    runs: RunsFolder
    engine: StudioEngine
    grader: Grader = field(default_factory=Grader)
    drawing: Drawing = field(default_factory=Drawing)
    submissions: Submissions = field(default_factory=Submissions)

    @property
    def course(self) -> Course:
        """Read again when its files change. Raises :class:`teachllm.school.problem.CourseError`."""
        return load_course()

    def language(self, request: Request) -> Lang:
        """``?lang=`` in the address, which is remembered; else the setting; else the browser's wish."""
        known: Lang | None = getattr(request.state, "lang", None)
        if known is None:
            known = request.state.lang = self._choose_language(request)
        return known

    def _choose_language(self, request: Request) -> Lang:
        wanted = request.query_params.get("lang")
        chosen = self.store.setting("lang")
        if wanted in LANGUAGES:
            if wanted != chosen and request.method == "GET":
                self.store.set_setting("lang", wanted)
            return as_lang(wanted)
        return as_lang(chosen) if chosen in LANGUAGES else browser_language(request)

    def warm_up(self) -> None:
        """Does ahead what a first visit would wait for: the search index, torch, and the pages of the lesson
        that one was in and of the one behind it. To draw all lessons would take minutes and gigabytes.

        Begins a moment later, so that the first page does not wait for it.
        """
        time.sleep(WARM_UP_AFTER)
        search.warm_up()
        chosen = self.store.setting("lang")
        lang = as_lang(chosen) if chosen in LANGUAGES else "en"
        position = self.store.continue_at(self.course)
        lessons = [lesson.id for lesson in self.course.available()]
        first = lessons.index(position.lesson) if position and position.lesson in lessons else 0
        for lesson in lessons[first : first + 2]:
            with contextlib.suppress(CourseFileError):  # its page will tell
                render(lesson, lang)

    def stop_runs(self) -> None:
        """Stops what is going on, so that whoever follows it hears the end of it."""
        self.model.stop()
        self.submissions.stop()
        self.labs.stop()
        self.runs.closing.set()
        self.engine.stop_samples()

    def close(self) -> None:
        """Ends every process and generation that it started."""
        self.stop_runs()
        search.stop()
        self.engine.close()
        self.runner.close()
        self.store.close()


def browser_language(request: Request) -> Lang:
    """The first of the browser's languages that the studio speaks; English if it wants neither."""
    for entry in request.headers.get("accept-language", "").lower().split(","):
        for lang in LANGUAGES:
            if entry.strip().startswith(lang):
                return lang
    return "en"


def studio_of(request: Request) -> Studio:
    return request.app.state.studio


def language_of(request: Request) -> Lang:
    return studio_of(request).language(request)


TheStudio: TypeAlias = Annotated[Studio, Depends(studio_of)]
TheLang: TypeAlias = Annotated[Lang, Depends(language_of)]
