"""A recipe of a cross-encoder, carried out: pairs, negatives, training, and what it gained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float32

from teachllm.stack.retrieval.dense import DenseSearcher
from teachllm.stack.retrieval.embedding.loading import load_embedding_model
from teachllm.stack.retrieval.embedding.mining import NONE, ranked_candidates, static_negatives
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.retrieval.embedding.training import EmbeddingStep, Pair
from teachllm.stack.retrieval.evaluation.metrics import ndcg, reciprocal_rank
from teachllm.stack.retrieval.evaluation.significance import paired_randomization_test
from teachllm.stack.retrieval.fusion import FusedSearcher, TextSearcher
from teachllm.stack.retrieval.hits import Hits
from teachllm.stack.retrieval.indexes import FlatIndex
from teachllm.stack.retrieval.lexical import LexicalIndex
from teachllm.stack.retrieval.pairs import pairs_of, split_by_passage, unambiguous
from teachllm.stack.retrieval.rerankers.cross_encoder import CrossEncoder
from teachllm.stack.retrieval.rerankers.files import new_cross_encoder
from teachllm.stack.retrieval.rerankers.recipe import CrossEncoderRecipe, MiningRecipe
from teachllm.stack.retrieval.rerankers.reranker import Reranker, rerank
from teachllm.stack.retrieval.rerankers.training import train_cross_encoder

Told = Callable[["Ready | EmbeddingStep"], object]
K = 10


@dataclass(frozen=True)
class Ready:
    """What will be trained on."""

    passages: int
    training: int
    held_out: int


@dataclass(frozen=True)
class Gain:
    """The held-out queries, by the first search (words and vectors, fused) and with its first hits read
    again. p: how likely luck alone would have nDCG that far apart. seconds: of training.
    """

    queries: int
    ndcg_before: float
    ndcg_after: float
    mrr_before: float
    mrr_after: float
    p: float
    seconds: float
    pairs_per_second: float


def run_recipe(recipe: CrossEncoderRecipe, told: Told = lambda event: None) -> tuple[CrossEncoder, Gain]:
    """The trained model and its gain. ValueError if the corpora have too few pairs.

    All passages are searched, those of training too, but only held-out queries are asked.
    """
    start = load_embedding_model(recipe.start)
    every = (pair for name in recipe.pairs.corpora for pair in pairs_of(name))
    pairs = unambiguous(replace(pair, passage=pair.passage[: recipe.pairs.longest_passage]) for pair in every)
    training, held_out = split_by_passage(pairs, recipe.pairs.held_out)
    if not training or not held_out:
        raise ValueError(f"{len(pairs)} pairs in {', '.join(recipe.pairs.corpora)} are too few to train with")
    passages = list(dict.fromkeys(pair.passage for pair in pairs))
    vectors = start.embed(passages, "passage")
    training = with_negatives(
        training, passages, vectors, start, recipe.mining, recipe.training.negatives, recipe.seed
    )
    told(Ready(len(passages), len(training), len(held_out)))
    model = new_cross_encoder(start, max_tokens=recipe.max_tokens, seed=recipe.seed)
    begun = time.perf_counter()
    for step in train_cross_encoder(model, training, recipe.training, recipe.seed):
        told(step)
    seconds = time.perf_counter() - begun
    asked = held_out[: recipe.measuring.queries]
    first = first_search(passages, vectors, start)
    return model, gain(model, first, passages, asked, recipe.measuring.depth, seconds)


def with_negatives(
    pairs: Sequence[Pair],
    passages: Sequence[str],
    vectors: Float32[np.ndarray, "passage dimension"],
    model: EmbeddingModel,
    mining: MiningRecipe,
    n: int,
    seed: int,
) -> list[Pair]:
    """Pairs with n negatives each: their own first, then passages that `model`, whose `vectors` they have,
    finds near the query. Those for which too few are found are left out.
    """
    place_of = {passage: place for place, passage in enumerate(passages)}
    candidates, _ = ranked_candidates(
        torch.from_numpy(model.embed([pair.query for pair in pairs], "query")),
        torch.from_numpy(vectors),
        torch.tensor([place_of[pair.passage] for pair in pairs]),
        mining.depth,
        mining.max_share,
    )
    mined = static_negatives(candidates, n, mining.skipped, torch.Generator().manual_seed(seed))
    found = []
    for pair, places in zip(pairs, mined.tolist(), strict=True):
        negatives = (*pair.negatives, *(passages[place] for place in places if place != NONE))[:n]
        if len(negatives) == n:
            found.append(replace(pair, negatives=negatives))
    return found


def first_search(
    passages: Sequence[str], vectors: Float32[np.ndarray, "passage dimension"], model: EmbeddingModel
) -> FusedSearcher:
    """By words and by vectors, fused by their ranks."""
    words, index = LexicalIndex(), FlatIndex(model.dimension, "cosine")
    words.add(passages)
    index.add(vectors)
    return FusedSearcher([words, DenseSearcher(model, index)])


def gain(
    model: Reranker,
    first: TextSearcher,
    passages: Sequence[str],
    asked: Sequence[Pair],
    depth: int,
    training_seconds: float,
) -> Gain:
    """What the model changes in the first `depth` hits of a search of `passages`."""
    queries = [pair.query for pair in asked]
    before = first.search(queries, depth)
    begun = time.perf_counter()
    after = rerank(model, queries, before, passages.__getitem__, depth)
    pairs_per_second = int((before.ids >= 0).sum()) / (time.perf_counter() - begun)
    answers = [passages.index(pair.passage) for pair in asked]
    ndcg_before, mrr_before = _measured(before, answers)
    ndcg_after, mrr_after = _measured(after, answers)
    return Gain(
        len(asked),
        fmean(ndcg_before),
        fmean(ndcg_after),
        fmean(mrr_before),
        fmean(mrr_after),
        paired_randomization_test(ndcg_before, ndcg_after, seed=0),
        training_seconds,
        pairs_per_second,
    )


def _measured(hits: Hits, answers: Sequence[int]) -> tuple[list[float], list[float]]:
    """nDCG@10 and reciprocal rank of each query."""
    ranked = [[place for place, _ in hits.of(row)] for row in range(len(hits))]
    judged = [{answer: 1} for answer in answers]
    return (
        [ndcg(one, right, K) for one, right in zip(ranked, judged, strict=True)],
        [reciprocal_rank(one, right, K) for one, right in zip(ranked, judged, strict=True)],
    )
