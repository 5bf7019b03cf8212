"""Corpora by name: those on every machine, tasks that are made, those on the hub, and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from teachllm.stack.data.corpora import course_text, stdlib_docs, stdlib_sources
from teachllm.stack.data.documents import Document, read_documents
from teachllm.stack.data.hub import HubDataset, hub_documents
from teachllm.stack.data.tasks import KINDS, tasks

TINYSTORIES = HubDataset("roneneldan/TinyStories", "data/train-")
WIKITEXT = HubDataset("Salesforce/wikitext", "wikitext-103-raw-v1/train-")


@dataclass(frozen=True, slots=True)
class Corpus:
    """`read` begins anew each time. `hub` is where it comes from, if it needs a network the first time."""

    about: str
    about_zh: str
    read: Callable[[], Iterator[Document]]
    hub: HubDataset | None = None


def corpus(name: str | Path, *, text_field: str = "text") -> Iterator[Document]:
    """The documents of one of `CORPORA`, of tasks (``addition:2``: kind and difficulty, without end), or of
    the file or folder at this path.

    Raises `DocumentError` for files, `HubError` for those of the hub, ValueError for difficulties below 1.
    """
    if str(name) in CORPORA:
        return CORPORA[str(name)].read()
    if (kind_and_difficulty := as_tasks(str(name))) is not None:
        made = tasks(*kind_and_difficulty, seed=0)
        return _numbered(str(name), (task.text for task in made))
    return read_documents(name, text_field=text_field)


def as_tasks(name: str) -> tuple[str, int] | None:
    """``addition:2`` is ("addition", 2); None for a name of another form."""
    kind, _, difficulty = name.partition(":")
    return (kind, int(difficulty)) if kind in KINDS and difficulty.isdecimal() else None


def wikitext_articles(lines: Iterable[Document]) -> Iterator[Document]:
    """Whole articles from WikiText, which has a row for each line; `` = Title = `` begins an article."""
    text: list[str] = []
    source = ""
    for line in lines:
        if is_title(line.text) or not source:
            if article := "".join(text).strip():
                yield Document(article, source)
            text, source = [], line.source
        text.append(line.text)
    if article := "".join(text).strip():
        yield Document(article, source)


def is_title(line: str) -> bool:
    """`` = Title = ``, but not `` = = Section = = ``."""
    words = line.split()
    return len(words) > 2 and words[0] == words[-1] == "=" and words[1] != "=" and words[-2] != "="


def _numbered(name: str, texts: Iterable[str]) -> Iterator[Document]:
    return (Document(text, f"{name}:{number}") for number, text in enumerate(texts, 1))


CORPORA: dict[str, Corpus] = {
    "course-zh": Corpus(
        "the text of this course in Chinese",
        "本课程的中文课文",
        lambda: _numbered("course-zh", course_text("zh")),
    ),
    "course-en": Corpus(
        "the text of this course in English",
        "本课程的英文课文",
        lambda: _numbered("course-en", course_text("en")),
    ),
    "stdlib-docs": Corpus(
        "the documentation strings of Python's standard library",
        "Python 标准库的文档字符串",
        lambda: _numbered("stdlib-docs", stdlib_docs()),
    ),
    "stdlib-sources": Corpus(
        "the sources of Python's standard library",
        "Python 标准库的源代码",
        lambda: _numbered("stdlib-sources", stdlib_sources()),
    ),
    "tinystories": Corpus(
        "two million short stories in words that a small child knows (Eldan & Li 2023)",
        "两百万篇幼儿读得懂的小故事（Eldan & Li 2023）",
        partial(hub_documents, TINYSTORIES),
        TINYSTORIES,
    ),
    "wikitext": Corpus(
        "good articles of the English Wikipedia: WikiText-103 (Merity et al. 2016)",
        "英文维基百科的优质条目：WikiText-103（Merity et al. 2016）",
        lambda: wikitext_articles(hub_documents(WIKITEXT)),
        WIKITEXT,
    ),
}
