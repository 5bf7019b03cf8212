"""MaxSim by its formula, codes that lose what they may, an index that finds what comparing with all finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.retrieval.embedding.training import Pair
from teachllm.stack.retrieval.late_interaction import (
    LateInteractionIndex,
    ResidualCodec,
    TokenEncoder,
    maxsim,
    maxsim_scores,
)
from teachllm.stack.retrieval.late_interaction.maxsim import maxsim_matrix
from teachllm.stack.retrieval.late_interaction.training import contrastive_loss
from teachllm.stack.retrieval.saved_index import SavedIndexError
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer

WORDS = [f"w{i}" for i in range(60)]


@pytest.fixture
def encoder() -> TokenEncoder:
    torch.manual_seed(0)
    tokenizer = BertTokenizer([*SPECIAL_TOKENS, ".", "，", *WORDS])
    return TokenEncoder(
        Bert(BertConfig(tokenizer.vocab_size, 16, 1, 2, 32, context_length=40)).eval(), tokenizer
    )


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_maxsim_three_ways() -> None:
    """By the formula, for many passages at once, and by an einsum of torch; a passage may be empty."""
    rng = np.random.default_rng(0)
    query, lengths = unit(rng, 5, 8), [3, 0, 1, 7]
    tokens = unit(rng, sum(lengths), 8)
    parts = np.split(tokens, np.cumsum(lengths)[:-1])
    scores = maxsim_scores(query, tokens, lengths)
    np.testing.assert_allclose(scores, [maxsim(query, part) for part in parts], rtol=1e-6)
    assert scores[1] == -np.inf
    full = [torch.tensor(part) for part in parts if len(part)]
    matrix = maxsim_matrix([torch.tensor(query), torch.tensor(query[:2])], full)
    for i, q in enumerate((query, query[:2])):
        for j, part in enumerate(full):
            expected = torch.einsum("qd,pd->qp", torch.tensor(q), part).amax(1).sum()
            torch.testing.assert_close(matrix[i, j], expected)
    assert maxsim_scores(query[:0], tokens, lengths).tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="11 tokens were given for passages of 4"):
        maxsim_scores(query, tokens, [4])


@pytest.mark.parametrize(("bits", "most"), [(1, 0.45), (2, 0.25), (4, 0.08)])
def test_codes_are_packed_and_read_back(bits: int, most: float) -> None:
    rng = np.random.default_rng(1)
    centres = unit(rng, 16, 24)
    tokens = centres[rng.integers(16, size=2000)] + 0.12 * rng.normal(size=(2000, 24)).astype(np.float32)
    tokens = (tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float32)
    codec = ResidualCodec.train(tokens, 32, bits)
    nearest, packed = codec.compress(tokens)
    assert packed.shape == (2000, 24 * bits // 8)
    assert codec.bytes_per_token == 4 + 24 * bits // 8
    back = codec.decompress(nearest, packed)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, rtol=1e-5)
    # What the codes say is the value of the range that the residual lies in, dimension by dimension.
    codes = np.searchsorted(codec.bounds, tokens - codec.centroids[nearest])
    expected = codec.centroids[nearest] + codec.values[codes]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(back, expected, rtol=1e-5, atol=1e-6)
    assert np.linalg.norm(back - tokens, axis=1).mean() < most
    usage = np.bincount(codes.ravel(), minlength=2**bits) / codes.size
    assert usage.min() > 0.5 / 2**bits, "codes are used about equally often"
    with pytest.raises(ValueError, match="one of"):
        ResidualCodec.train(tokens, 32, 3)


def test_marks_masks_and_punctuation(encoder: TokenEncoder) -> None:
    mask, cls, sep = encoder.tokenizer.mask, encoder.tokenizer.cls, encoder.tokenizer.sep
    marked = TokenEncoder(
        encoder.encoder,
        encoder.tokenizer,
        query_tokens=6,
        marks={"query": (5,), "passage": (6,)},
        max_tokens=5,
    )
    w1, w2 = encoder.tokenizer.encode("w1 w2")
    assert marked.query_ids("w1 w2") == [cls, 5, w1, w2, sep, mask]
    assert marked.query_ids("w1 " * 50) == [cls, 5, w1, w1, w1, sep], "never longer than it is filled up to"
    assert marked.passage_ids("w1 w2 w1 w2") == [cls, 6, w1, w2, sep]
    ids = encoder.passage_ids("w1 . w2 ，")
    assert [ids[place] for place in encoder.kept(ids)] == [cls, w1, w2, sep]
    (passage,) = encoder.passages(["w1 . w2 ，"])
    np.testing.assert_allclose(np.linalg.norm(passage, axis=1), 1, rtol=1e-5)
    assert passage.shape == (4, encoder.dimension)


def test_the_index_finds_what_comparing_with_every_passage_finds(encoder: TokenEncoder) -> None:
    rng = np.random.default_rng(2)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(3, 12))) for _ in range(300)]
    queries = [" ".join(rng.choice(text.split(), size=3)) for text in texts[:40]]
    index = LateInteractionIndex(encoder, bits=4, n_centroids=64, probes=8, kept=60)
    index.add(texts[:200])
    index.add(texts[200:], ids=range(1000, 1100))
    hits = index.search(queries, 3)
    ids = np.r_[0:200, 1000:1100]
    passages, agreed = encoder.passages(texts), 0
    for row, query in enumerate(encoder.queries(queries)):
        scores = np.array([maxsim(query, passage) for passage in passages])
        agreed += hits.ids[row, 0] in ids[scores >= scores.max() - 0.05]
        exact = scores[np.searchsorted(ids, hits.ids[row])]
        np.testing.assert_allclose(hits.scores[row], exact, atol=0.25)
    assert agreed >= 38
    assert index.n_bytes < sum(one.nbytes for one in passages) / 2
    everything = LateInteractionIndex(encoder, bits=4, n_centroids=64, probes=64, kept=300)
    everything.add(texts)
    assert everything.search(["w1"], 400).of(0)[:1]
    assert len(everything.search(["w1"], 400).of(0)) == 300


def test_no_passages_no_hits_and_wrong_ids(encoder: TokenEncoder) -> None:
    index = LateInteractionIndex(encoder)
    assert index.search(["w1"], 2).ids.tolist() == [[-1, -1]]
    index.add([])
    index.add(["w1 w2", "w3"], ids=[4, 2])
    with pytest.raises(ValueError, match="none twice"):
        index.add(["w5"], ids=[4])
    with pytest.raises(ValueError, match="at least one hit"):
        index.search(["w1"], 0)
    assert index.search(["w3"], 1).ids.tolist() == [[2]]


def test_saved_and_opened_it_finds_the_same(encoder: TokenEncoder, tmp_path: Path) -> None:
    texts = [" ".join(WORDS[i : i + 4]) for i in range(50)]
    index = LateInteractionIndex(encoder, n_centroids=16, kept=20)
    with pytest.raises(ValueError, match="no passages yet"):
        index.save(tmp_path / "index")
    index.add(texts[:40])
    index.save(tmp_path / "index")
    opened = LateInteractionIndex.open(tmp_path / "index", encoder)
    for one in (index, opened):
        one.add(texts[40:])
    np.testing.assert_array_equal(index.search(texts[::9], 5).ids, opened.search(texts[::9], 5).ids)
    torch.manual_seed(0)
    other = replace(encoder, projection=torch.nn.Linear(16, 8, bias=False))
    with pytest.raises(SavedIndexError, match="16 dimensions; the encoder makes 8"):
        LateInteractionIndex.open(tmp_path / "index", other)


def test_training_puts_the_own_passage_first(encoder: TokenEncoder) -> None:
    """Queries and passages share no word: w_i belongs to w_{i + 30}."""
    batch = [Pair(f"w{i}", f"w{i + 30} w{(7 * i) % 10 + 50} .") for i in range(20)]
    optimizer = torch.optim.Adam(encoder.encoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(120):
        loss = contrastive_loss(encoder, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
