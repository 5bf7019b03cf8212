"""BM25 over 50,000 documents beside bm25s with its Numba backend. `make bench NAME=bm25`.

Words are drawn by their rank (Zipf and Mandelbrot, p ∝ 1 / (rank + 2.7)) from 200,000: the words of the
standard library's and NumPy's docstrings by how often they occur there, then made-up ones. Documents have 60
words in the median. A query is six words of one document. Both sides stem with the same Snowball stemmer,
leave out the same stop words, use one thread, and must find the same scores before anything is timed.
"""

from __future__ import annotations

import os

os.environ["NUMBA_NUM_THREADS"] = "1"
os.environ["DISABLE_TQDM"] = "1"

import argparse
import gc
import re
import sysconfig
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from bm25s.tokenization import Tokenizer

from benchmarks.harness import Row, alternate, compare, report
from teachllm.stack.data.corpora import docstrings, python_sources
from teachllm.stack.retrieval.lexical import LexicalIndex, TextAnalyzer
from teachllm.stack.retrieval.lexical.stop_words import ENGLISH_STOP_WORDS

K = 10
N_WORDS = 200_000
WORDS_OF_A_QUERY = 6
PACKAGES = ("bm25s", "numba", "numpy", "scipy", "PyStemmer")
PEER = "bm25s (numba)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    texts, queries = made_texts(arguments.documents, arguments.queries)
    analyze = TextAnalyzer(stop_words=ENGLISH_STOP_WORDS)
    documents, asked = [analyze(text) for text in texts], [analyze(query) for query in queries]
    same_answers(documents, asked)
    rows = [
        *indexing_rows(texts, documents, arguments.runs),
        *searching_rows(texts, documents, queries, asked, arguments.runs),
    ]
    words = sum(map(len, documents))
    notes = [
        f"{len(texts):,} documents with {words:,} terms of {len(set(chain(*documents))):,} different ones",
        f"{len(queries):,} queries, the {K} best of each; one thread",
        "from terms: both are given lists of terms; from texts: each makes its own of them",
        "bm25s makes terms of documents with its Tokenizer, of queries with `tokenize`: its faster ways",
        f"{arguments.runs} runs in turns after one to warm up, medians",
    ]
    report("bm25", rows, notes=notes)


def made_texts(n_documents: int, n_queries: int, seed: int = 0) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    words = np.array(vocabulary(), dtype=object)
    probabilities = 1 / (np.arange(len(words)) + 2.7)
    cumulative = np.cumsum(probabilities / probabilities.sum())
    lengths = np.maximum(5, generator.lognormal(np.log(60), 0.6, n_documents)).astype(int)
    drawn = words[np.minimum(np.searchsorted(cumulative, generator.random(lengths.sum())), len(words) - 1)]
    documents = np.split(drawn, np.cumsum(lengths)[:-1])
    sources = generator.integers(n_documents, size=n_queries)
    queries = [
        generator.choice(documents[i], min(WORDS_OF_A_QUERY, len(documents[i])), replace=False)
        for i in sources
    ]
    return [" ".join(one) for one in documents], [" ".join(one) for one in queries]


def vocabulary() -> list[str]:
    """Real words, the commonest first, and then made-up ones."""
    sources = chain(
        python_sources(Path(sysconfig.get_paths()["stdlib"]), {"site-packages"}),
        python_sources(Path(np.__file__).parent),
    )
    counts = Counter(
        chain.from_iterable(re.findall(r"[a-z]{2,}", text.lower()) for text in docstrings(sources))
    )
    real = [word for word, _ in counts.most_common(N_WORDS)]
    syllables = [consonant + vowel for consonant in "bcdfghklmnprstvz" for vowel in "aeiou"]
    made = ("".join(syllables[(i // 80**p) % 80] for p in range(4)) + "x" for i in range(N_WORDS))
    return [*real, *made][:N_WORDS]


class Given:
    """The analyzer of documents that are terms already."""

    settings: Mapping[str, object] = {"kind": "given"}

    def __call__(self, text: Sequence[str]) -> list[str]:
        return list(text)


def our_index(documents: Sequence[object], analyzer: object) -> LexicalIndex:
    index = LexicalIndex(analyzer)  # pyright: ignore[reportArgumentType]
    index.add(documents)  # pyright: ignore[reportArgumentType]
    index.refresh()
    return index


def their_index(documents: object) -> bm25s.BM25:
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numba")
    peer.index(documents, show_progress=False)
    return peer


def their_tokenizer() -> Tokenizer:
    return Tokenizer(stopwords=sorted(ENGLISH_STOP_WORDS), stemmer=Stemmer.Stemmer("english"))


def their_terms(queries: list[str], stemmer: Stemmer.Stemmer) -> list[list[str]]:
    """By its function, faster here than its Tokenizer, which takes the whole vocabulary in hand each time."""
    return bm25s.tokenize(
        queries,
        stopwords=sorted(ENGLISH_STOP_WORDS),
        stemmer=stemmer,
        return_ids=False,
        show_progress=False,
    )


def same_answers(documents: list[list[str]], asked: list[list[str]]) -> None:
    """SystemExit unless both give the same best scores; this also compiles both."""
    ours = our_index(documents, Given()).search(asked, K).scores  # pyright: ignore[reportArgumentType]
    theirs = their_index(documents).retrieve(asked, k=K, show_progress=False).scores
    if not np.allclose(np.maximum(ours, 0), theirs, rtol=1e-4, atol=1e-4):
        raise SystemExit("the two give different scores: there is nothing to compare")


def indexing_rows(texts: list[str], documents: list[list[str]], runs: int) -> list[Row]:
    def theirs_from_texts() -> None:
        their_index(their_tokenizer().tokenize(texts, return_as="tuple", show_progress=False))

    contests = [
        ("index, from terms", lambda: our_index(documents, Given()), lambda: their_index(documents)),
        (
            "index, from texts",
            lambda: our_index(texts, TextAnalyzer(stop_words=ENGLISH_STOP_WORDS)),
            theirs_from_texts,
        ),
    ]
    rows = []
    for what, ours, theirs in contests:
        taken = alternate(ours, theirs, times=runs, before=gc.collect)
        rows.append(compare(what, *taken, PEER, "s", lower_is_better=True, packages=PACKAGES))
    index, peer = our_index(documents, Given()), their_index(documents)
    sizes = index.n_bytes / 1e6, sum(peer.scores[name].nbytes for name in ("data", "indices", "indptr")) / 1e6
    rows.append(compare("index, memory", *sizes, PEER, "MB", lower_is_better=True, packages=PACKAGES))
    return rows


def searching_rows(
    texts: list[str], documents: list[list[str]], queries: list[str], asked: list[list[str]], runs: int
) -> list[Row]:
    of_terms, of_texts = (
        our_index(documents, Given()),
        our_index(texts, TextAnalyzer(stop_words=ENGLISH_STOP_WORDS)),
    )
    stemmer = Stemmer.Stemmer("english")
    peer = their_index(their_tokenizer().tokenize(texts, return_as="tuple", show_progress=False))

    def theirs_one_by_one() -> None:
        for query in queries:
            peer.retrieve(their_terms([query], stemmer), k=K, show_progress=False)

    def theirs_from_texts() -> None:
        peer.retrieve(their_terms(queries, stemmer), k=K, show_progress=False)

    contests = [
        (
            "search in a batch, from terms",
            lambda: of_terms.search(asked, K),  # pyright: ignore[reportArgumentType]
            lambda: peer.retrieve(asked, k=K, show_progress=False),
        ),
        ("search in a batch, from texts", lambda: of_texts.search(queries, K), theirs_from_texts),
        (
            "search one by one, from texts",
            lambda: [of_texts.search([query], K) for query in queries],
            theirs_one_by_one,
        ),
    ]
    rows = []
    for what, ours, theirs in contests:
        speeds = [
            len(queries) / seconds for seconds in alternate(ours, theirs, times=runs, before=gc.collect)
        ]
        rows.append(compare(what, *speeds, PEER, "queries/s", packages=PACKAGES))
    return rows


if __name__ == "__main__":
    main()
