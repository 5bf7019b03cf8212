"""Corpora by name: on every machine, made, from files; WikiText's lines become articles."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from teachllm.stack.data.catalogue import CORPORA, as_tasks, corpus, wikitext_articles
from teachllm.stack.data.documents import Document
from teachllm.stack.data.hub import HubError


@pytest.mark.parametrize("name", [name for name, known in CORPORA.items() if known.hub is None])
def test_those_on_every_machine(name: str) -> None:
    first, second = islice(corpus(name), 2)
    assert first.text
    assert (first.source, second.source) == (f"{name}:1", f"{name}:2")
    assert next(corpus(name)) == first, "each reading begins anew"


@pytest.mark.parametrize("name", ["tinystories", "wikitext"])
def test_those_of_the_hub_say_what_they_need(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TEACHLLM_ASSETS", str(tmp_path))
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids to download it"):
        next(corpus(name))


def test_tasks_are_a_corpus_without_end() -> None:
    documents = list(islice(corpus("addition:2"), 50))
    assert all("Answer: " in document.text for document in documents)
    assert documents[49].source == "addition:2:50"
    assert as_tasks("addition:2") == ("addition", 2)
    assert as_tasks("addition") is as_tasks("notes:2") is as_tasks("addition:x") is None


def test_a_path_is_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"story": "x"}\n')
    assert [document.text for document in corpus(tmp_path / "a.jsonl", text_field="story")] == ["x"]


def test_articles_from_lines() -> None:
    lines = ["", " = Valkyria = \n", "", " Intro . \n", " = = Story = = \n", " End . \n", " = = = x = = = \n"]
    lines += [" = Robert Boulter = \n", " He = is \n"]
    articles = list(wikitext_articles(Document(line, f"row {i}") for i, line in enumerate(lines)))
    assert [article.source for article in articles] == ["row 1", "row 7"]
    assert articles[0].text == "= Valkyria = \n Intro . \n = = Story = = \n End . \n = = = x = = ="
    assert articles[1].text == "= Robert Boulter = \n He = is"
