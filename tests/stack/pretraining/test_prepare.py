"""Preparing: the split, the cache, what happens when it is stopped, and what a run finds afterwards."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from teachllm.stack.data.packing import IGNORED
from teachllm.stack.pretraining.events import CorpusCleaned, DataReady
from teachllm.stack.pretraining.measure import held_out_batches
from teachllm.stack.pretraining.prepare import NoText, PreparedData, Stopped, is_held_out, prepare
from teachllm.stack.pretraining.recipe import DataRecipe, read_recipe
from teachllm.stack.pretraining.reports import report_from_json, report_to_json


def prepared(recipe: DataRecipe, **options) -> tuple[PreparedData, list]:
    events, preparing = [], prepare(recipe, **options)
    while True:
        try:
            events.append(next(preparing))
        except StopIteration as end:
            return end.value, events


def texts(data: PreparedData, side: str) -> set[str]:
    found = set()
    for shards in getattr(data, side).values():
        for number in range(shards.n_documents):
            found.add(data.tokenizer.decode(shards.document(number)[1:]))
    return found


def test_tokens_are_the_cleaned_text_on_two_sides(recipe_file: Path, corpus: Path) -> None:
    data, events = prepared(read_recipe(recipe_file).data)
    train, held_out = texts(data, "train"), texts(data, "held_out")
    originals = {path.read_text(encoding="utf-8") for path in corpus.iterdir()}
    assert train | held_out == originals - {"too short"}
    assert not train & held_out
    assert all(is_held_out(text, 0.2) for text in held_out)
    cleaned = next(event for event in events if isinstance(event, CorpusCleaned))
    assert [dict(report.dropped) for report in cleaned.reports] == [
        {"too short": 1},
        {"repeats an earlier text": 1},
    ]
    assert cleaned.documents == 40
    assert events[-1].from_cache is False
    assert data.tokenizer.vocab_size == 300


def test_prepared_once_for_every_mixture(recipe_file: Path, corpus: Path) -> None:
    recipe = read_recipe(recipe_file).data
    first, _ = prepared(recipe)
    weighted = {"data": {"corpora": [{"name": str(corpus), "weight": 2, "max_epochs": 3}]}}
    second, events = prepared(read_recipe(recipe_file, weighted).data)
    assert second.folder == first.folder
    assert isinstance(events[-1], DataReady)
    assert events[-1].from_cache is True
    report = second.reports[str(corpus)][0]
    assert report == first.reports[str(corpus)][0]
    assert report_from_json(report_to_json(report)) == report


def test_changed_text_is_prepared_anew_but_not_for_a_run_that_began(recipe_file: Path, corpus: Path) -> None:
    recipe = read_recipe(recipe_file).data
    first, _ = prepared(recipe)
    (corpus / "new.txt").write_text("a new text " * 20, encoding="utf-8")
    second, _ = prepared(recipe)
    assert second.folder != first.folder
    again, _ = prepared(recipe, begun_with=first.folder)
    assert again.train[str(corpus)].sha256 == first.train[str(corpus)].sha256


def test_stopped_between_any_two_events_it_goes_on(recipe_file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file).data
    whole, events = prepared(recipe, root=tmp_path / "whole")
    for n_events in range(1, len(events)):
        preparing = prepare(recipe, root=tmp_path / "cut")
        for _ in range(n_events):
            next(preparing, None)
        preparing.close()
    data, _ = prepared(recipe, root=tmp_path / "cut")
    for name, shards in whole.train.items():
        assert data.train[name].sha256 == shards.sha256
        assert data.held_out[name].sha256 == whole.held_out[name].sha256
    assert not list((tmp_path / "cut").rglob("*.partial"))


def test_stop_ends_it(recipe_file: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        prepared(read_recipe(recipe_file).data, stop=stop)


def test_a_book_in_one_file_is_cut_so_that_some_is_held_out(tmp_path: Path) -> None:
    book = "\n\n".join(f"Chapter {number}. It was a day like {number} others." for number in range(400))
    (tmp_path / "book.txt").write_text(book, encoding="utf-8")
    corpora = [{"name": str(tmp_path / "book.txt")}]
    table = {"corpora": corpora, "vocab_size": 300, "held_out": 0.2, "longest_document": 500}
    data, _ = prepared(_data(table))
    assert sum(map(len, texts(data, "train") | texts(data, "held_out"))) == len(book)
    assert texts(data, "held_out")
    with pytest.raises(NoText, match="held out"):
        prepared(_data(table | {"longest_document": 50_000}))


def test_nothing_left_after_cleaning(recipe_file: Path) -> None:
    cleaning = [{"step": "length", "options": {"shortest": 10_000}}]
    with pytest.raises(NoText, match="nothing is left"):
        prepared(read_recipe(recipe_file, {"data": {"cleaning": cleaning}}).data)


@pytest.mark.parametrize("packing", ["cut", "best-fit"])
def test_held_out_text_is_measured_in_rows_as_in_training(recipe_file: Path, packing: str) -> None:
    changes = {"batch": {"packing": packing, "length": 256}, "evaluation": {"eval_tokens": 10**6}}
    recipe = read_recipe(recipe_file, changes)
    data, _ = prepared(recipe.data)
    batches = list(held_out_batches(data, recipe))
    (shards,) = data.held_out.values()
    assert sum(int((batch.targets != IGNORED).sum()) for batch in batches) == shards.n_tokens
    begins = torch.cat([batch.tokens[:, 0] for batch in batches]) == shards.end_of_text
    assert bool(begins.all()) == (packing == "best-fit")


def test_a_vocabulary_of_bytes(recipe_file: Path) -> None:
    data, _ = prepared(read_recipe(recipe_file, {"data": {"vocab_size": 257}}).data)
    assert data.tokenizer.vocab_size == 257
    assert data.tokenizer.encode("cat") == list(b"cat")


def _data(table: dict) -> DataRecipe:
    from teachllm.stack.data.typed_tables import read_table

    recipe, problems = read_table(DataRecipe, table)
    assert recipe is not None, problems
    return recipe
