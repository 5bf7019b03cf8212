"""What the commands for a learner share: their store, their language, a console."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from teachllm.school.course import UnknownLesson
from teachllm.school.language import LANGUAGES, Both, Lang, as_lang, terminal_language
from teachllm.school.problem import CourseFileError
from teachllm.school.progress import Store, StoreError, open_store


@dataclass(frozen=True)
class Terminal:
    """``lang``: what was asked for, else the studio's language, else the terminal's."""

    console: Console
    store: Store
    lang: Lang

    def say(self, text: Both, style: str = "") -> None:
        self.console.print(Text(text.get(self.lang), style))


@contextlib.contextmanager
def learner_terminal(lang: Lang | None) -> Iterator[Terminal]:
    """Opens the learner's store.

    What goes wrong in the block is told, and the command exits with 1; with 2 if a lesson does not exist.
    """
    console = Console(highlight=False)
    speak: Lang = lang or terminal_language()
    try:
        with contextlib.closing(open_store()) as store:
            chosen = store.setting("lang")
            if lang is None and chosen in LANGUAGES:
                speak = as_lang(chosen)
            yield Terminal(console, store, speak)
    except (StoreError, CourseFileError) as error:
        console.print(Text(error.get(speak), "red"))
        raise SystemExit(1) from None
    except UnknownLesson as error:
        console.print(Text(str(error), "red"))
        raise SystemExit(2) from None
