"""Measures of rankings beside trec_eval; rank correlation and clustering beside SciPy and scikit-learn."""

from __future__ import annotations

import random

import pytest

from teachllm.stack.retrieval.evaluation.agreement import spearman, v_measure
from teachllm.stack.retrieval.evaluation.metrics import (
    average_precision,
    ndcg,
    precision,
    ranking,
    recall,
    reciprocal_rank,
)

pytestmark = pytest.mark.parity


def test_measures_are_those_of_trec_eval_with_its_ties() -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    generator = random.Random(0)
    judged, run = {}, {}
    for query in (f"q{i}" for i in range(40)):
        pool = [f"d{i}" for i in generator.sample(range(200), 60)]
        judged[query] = {key: generator.choice([0, 0, 1, 1, 2, 3, -1]) for key in pool}
        # Few different scores, so that most are ties; some that only single precision makes ties.
        run[query] = {
            f"d{i}": generator.choice([0.1, 0.2, 0.3, 0.3 + 1e-12, 16777216.0, 16777217.0])
            for i in generator.sample(range(200), generator.randrange(1, 120))
        }
    names = {"recall_10", "P_10", "recip_rank", "map", "map_cut_10", "ndcg", "ndcg_cut_10"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(run)
    for query, expected in theirs.items():
        ranked = ranking(run[query])
        ours = {
            "recall_10": recall(ranked, judged[query], 10),
            "P_10": precision(ranked, judged[query], 10),
            "recip_rank": reciprocal_rank(ranked, judged[query]),
            "map": average_precision(ranked, judged[query]),
            "map_cut_10": average_precision(ranked, judged[query], 10),
            "ndcg": ndcg(ranked, judged[query]),
            "ndcg_cut_10": ndcg(ranked, judged[query], 10),
        }
        assert ours == pytest.approx(expected, abs=1e-12), query
    assert len(theirs) == 40


def test_spearman_and_v_measure() -> None:
    stats, cluster = pytest.importorskip("scipy.stats"), pytest.importorskip("sklearn.metrics")
    generator = random.Random(1)
    for _ in range(20):
        n = generator.randrange(3, 60)
        a = [generator.randrange(10) for _ in range(n)]
        b = [x + generator.randrange(8) for x in a]
        if len(set(a)) > 1 and len(set(b)) > 1:
            assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
        clusters = [generator.randrange(4) for _ in range(n)]
        assert v_measure(a, clusters) == pytest.approx(cluster.v_measure_score(a, clusters), abs=1e-9)
