"""The index under change: scores as if built anew, ties, filters, several threads, the disk."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from teachllm.stack.retrieval.hits import NO_DOCUMENT, best_hits
from teachllm.stack.retrieval.lexical import BM25, LexicalIndex, TextAnalyzer, TfIdf
from teachllm.stack.retrieval.lexical.fast.search import BLOCK, FEW
from teachllm.stack.retrieval.saved_index import SavedIndexError


def small_texts(n: int, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    words = [f"word{i}x" for i in range(40)]
    popularity = [1 / (i + 1) for i in range(40)]
    return [" ".join(generator.choices(words, popularity, k=generator.randrange(1, 15))) for _ in range(n)]


def built(texts: dict[int, str], weighting: BM25 | TfIdf | None = None) -> LexicalIndex:
    index = LexicalIndex(weighting=weighting)
    index.add(list(texts.values()), list(texts))
    return index


QUERIES = ["word0x word7x", "word1x word2x word3x", "word39x", "nothing of it", "", "word0x word0x"]


def test_after_any_changes_the_scores_are_those_of_an_index_built_anew() -> None:
    generator = random.Random(5)
    kept = dict(zip(range(0, 300, 3), small_texts(100), strict=True))
    index = built(kept)
    spare = iter(small_texts(400, seed=1))
    for _ in range(12):
        for _ in range(generator.randrange(1, 12)):
            change = generator.choice(["add", "remove", "update"])
            if change == "add":
                document_id = generator.choice([i for i in range(500) if i not in kept])
                kept[document_id] = next(spare)
                index.add([kept[document_id]], [document_id])
            else:
                document_id = generator.choice(list(kept))
                if change == "remove":
                    del kept[document_id]
                    index.remove([document_id])
                else:
                    kept[document_id] = next(spare)
                    index.update([kept[document_id]], [document_id])
        anew = built(kept)
        got, expected = index.search(QUERIES, 20), anew.search(QUERIES, 20)
        np.testing.assert_array_equal(got.ids, expected.ids)
        np.testing.assert_array_equal(got.scores, expected.scores)
        index.check_integrity()
        assert len(index) == len(kept)
        assert set(index.ids.tolist()) == set(kept)


@pytest.mark.parametrize("n", [3, BLOCK - 1, BLOCK, 3 * BLOCK + 5, 4000])
def test_the_best_are_those_of_sorting_everything(n: int) -> None:
    """With both ways to look for them: few entries in the lists, and many; and with many ties."""
    index = LexicalIndex()
    ids = np.random.default_rng(n).permutation(10 * n)[:n]
    index.add(small_texts(n, seed=n), ids.tolist())
    few = sum(len(index.search(["word39x"], n).of(0)) for _ in range(1)) * FEW < n
    assert few or n < 4000
    for k in (1, 5, n + 7):
        everything = index.search(QUERIES, n)
        scores = np.full((len(QUERIES), n), -np.inf, dtype=np.float32)
        number = {document_id: i for i, document_id in enumerate(ids.tolist())}
        for row in range(len(QUERIES)):
            for document_id, score in everything.of(row):
                scores[row, number[document_id]] = score
        expected = best_hits(scores, ids.astype(np.int64), k)
        got = index.search(QUERIES, k)
        np.testing.assert_array_equal(got.ids, expected.ids)
        np.testing.assert_array_equal(got.scores, expected.scores)


def test_equal_scores_come_in_the_order_of_ids_and_empty_places_are_marked() -> None:
    index = LexicalIndex()
    index.add(["same words"] * 4 + ["other"], [9, 2, 7, 4, 1])
    hits = index.search(["same", "unknown"], k=6)
    assert hits.ids.tolist() == [[2, 4, 7, 9, NO_DOCUMENT, NO_DOCUMENT], [NO_DOCUMENT] * 6]
    assert (hits.scores[0, 4:] == -np.inf).all()
    assert (hits.scores[1] == -np.inf).all()
    many = LexicalIndex()  # looked at block by block, the smallest ids last
    many.add(["same words"] * 1000, range(999, -1, -1))
    assert many.search(["same"], 3).ids.tolist() == [[0, 1, 2]]
    assert LexicalIndex().search(["anything"], 2).ids.tolist() == [[NO_DOCUMENT] * 2]


def test_a_filter_lets_only_its_ids_through() -> None:
    index = built(dict(enumerate(small_texts(500))))
    allowed = np.arange(0, 500, 7)
    everything = index.search(QUERIES[:2], 500)
    hits = index.search(QUERIES[:2], 10, filter=allowed)
    for row in range(2):
        assert hits.of(row) == [hit for hit in everything.of(row) if hit[0] % 7 == 0][:10]
    assert index.search(["word0x"], 3, filter=np.array([], dtype=np.int64)).ids.tolist() == [
        [NO_DOCUMENT] * 3
    ]


@pytest.mark.parametrize("weighting", [BM25(), TfIdf()])
def test_explain_adds_up_to_the_score(weighting: BM25 | TfIdf) -> None:
    index = built(dict(enumerate(small_texts(50))), weighting)
    [(document_id, score), *_] = index.search(["word0x word5x word5x word9x"], 1).of(0)
    told = index.explain("word0x word5x word5x word9x", document_id)
    assert sum(one.score for one in told) == pytest.approx(score, rel=1e-5)
    assert all((one.count == 0) == (one.score == 0) for one in told)


def test_searches_in_several_threads_do_not_disturb_each_other() -> None:
    index = built(dict(enumerate(small_texts(2000))))
    expected = {query: index.search([query], 10).of(0) for query in QUERIES}
    with ThreadPoolExecutor(4) as pool:
        for query, hits in pool.map(lambda query: (query, index.search([query], 10)), QUERIES * 50):
            assert hits.of(0) == expected[query]


def test_wrong_ids_change_nothing_and_are_named() -> None:
    index = built({1: "one", 2: "two"})
    for ids, message in (
        ([5, 1], r"there already: 1"),
        ([5, 5], r"twice: 5"),
        ([-1, 5], "−1"),
        ([5], "1 ids for 2"),
    ):
        with pytest.raises(ValueError, match=message):
            index.add(["a", "b"], ids)
    with pytest.raises(KeyError, match="3"):
        index.remove([1, 3])
    with pytest.raises(KeyError, match="7"):
        index.update(["new", "new"], [1, 7])
    with pytest.raises(ValueError, match="different"):
        index.update(["a", "b"], [1, 1])
    with pytest.raises(TypeError, match="list of texts"):
        index.search("one", 1)
    with pytest.raises(ValueError, match="k is 0"):
        index.search(["one"], 0)
    assert len(index) == 2
    assert index.search(["one"], 1).of(0)[0][0] == 1


def test_ids_continue_after_the_largest_and_are_not_given_twice() -> None:
    index = LexicalIndex()
    index.add(["a", "b"])
    index.add(["c"], [10])
    index.remove([10])
    index.add(["d"])
    assert sorted(index.ids.tolist()) == [0, 1, 11]


def test_a_saved_index_answers_the_same_and_can_be_changed(tmp_path: Path) -> None:
    texts = dict(enumerate([*small_texts(100), "注意力 and KV 缓存", "naïve"]))
    weighting = BM25("bm25+", k1=1.2, b=0.5)
    index = LexicalIndex(TextAnalyzer(stop_words={"and"}), weighting)
    index.add(list(texts.values()))
    index.save(tmp_path / "index")
    again = LexicalIndex.open(tmp_path / "index")
    again.check_integrity()
    assert again.weighting == weighting
    assert again.analyzer.settings == index.analyzer.settings
    queries = [*QUERIES, "注意力", "naive"]
    np.testing.assert_array_equal(again.search(queries, 9).scores, index.search(queries, 9).scores)
    for one in (index, again):
        one.remove([3])
        one.add(["word39x word39x"])
    np.testing.assert_array_equal(again.search(queries, 9).ids, index.search(queries, 9).ids)
    again.save(tmp_path / "index")  # over the files that it still reads
    assert LexicalIndex.open(tmp_path / "index").ids.tolist() == again.ids.tolist()
    LexicalIndex().save(tmp_path / "empty")
    assert len(LexicalIndex.open(tmp_path / "empty")) == 0


def test_what_is_wrong_with_a_saved_index_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    with pytest.raises(SavedIndexError, match="not there"):
        LexicalIndex.open(folder)
    index = LexicalIndex()
    index.add(small_texts(20))
    index.save(folder)
    with pytest.raises(SavedIndexError, match="other settings"):
        LexicalIndex.open(folder, TextAnalyzer(han="pairs"))
    file = folder / "documents.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.raises(SavedIndexError, match=r"documents\.bin has .* instead of .*cut off"):
        LexicalIndex.open(folder)
    file.write_bytes(b"\xff" * len(whole))
    with pytest.raises(SavedIndexError, match="do not exist"):
        LexicalIndex.open(folder).check_integrity()
    (folder / "index.json").write_text("{", "utf-8")
    with pytest.raises(SavedIndexError, match="cannot be read"):
        LexicalIndex.open(folder)
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("dear", "utf-8")
    with pytest.raises(ValueError, match="holds something"):
        index.save(other)


def test_a_save_that_fails_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = built({1: "old words"})
    index.save(tmp_path / "index")
    index.update(["new words"], [1])

    def full(*arguments: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("teachllm.stack.retrieval.saved_index.np.ascontiguousarray", full)
    with pytest.raises(OSError, match="No space"):
        index.save(tmp_path / "index")
    monkeypatch.undo()
    assert LexicalIndex.open(tmp_path / "index").search(["old"], 1).of(0)[0][0] == 1
