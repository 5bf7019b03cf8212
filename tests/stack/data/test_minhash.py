"""MinHash: signatures estimate Jaccard similarity, bands find what is similar, the compiled code agrees."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachllm.stack.data import minhash
from teachllm.stack.data.fast.signature_index import MOST_IN_BUCKET, NOBODY, SignatureIndex
from teachllm.stack.data.fast.signatures import text_signatures, unit_classes
from teachllm.stack.data.minhash import (
    EMPTY,
    UNITS,
    candidate_probability,
    choose_bands,
    estimated_jaccard,
    jaccard,
    minhash_signature,
    random_permutations,
    shingle_hash,
    shingles,
    text_signature,
    units,
)


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(minhash).failed == 0


def test_units_are_words_and_in_chinese_characters() -> None:
    assert units("Don't stop—at 3.5 Été!") == ["don", "t", "stop", "at", "3", "5", "été"]
    assert units("用BERT做分类，2024年") == ["用", "bert", "做", "分", "类", "2024", "年"]
    assert units("カタカナ 한국어 ภา") == ["カ", "タ", "カ", "ナ", "한국어", "ภ", "า"]
    assert units(" …\n!") == []


def test_short_texts_have_one_shingle_and_empty_ones_none() -> None:
    assert shingles("a b c", 5) == {"a b c"}
    assert shingles("a b c d e f", 5) == {"a b c d e", "b c d e f"}
    assert shingles("?!", 5) == set()


def test_jaccard() -> None:
    assert jaccard({"a", "b", "c"}, {"b", "c", "d"}) == 0.5
    assert jaccard(set(), set()) == 0
    assert jaccard({"a"}, set()) == 0


def test_permutations_are_permutations() -> None:
    """Two inputs of an affine map with an odd multiplier never meet; checked on the map modulo 2¹⁶."""
    permutations = random_permutations(16, seed=3)
    everything = np.arange(1 << 16, dtype=np.uint32)
    for a, b in zip(permutations.multipliers, permutations.shifts, strict=True):
        assert a % 2 == 1
        assert len(np.unique((a * everything + b) & np.uint32(0xFFFF))) == 1 << 16


def test_permutations_follow_the_seed() -> None:
    one, same, other = random_permutations(8, 1), random_permutations(8, 1), random_permutations(8, 2)
    assert np.array_equal(one.multipliers, same.multipliers)
    assert not np.array_equal(one.multipliers, other.multipliers)


def overlapping_sets(similarity: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of two sets whose union has n elements, of which they share `similarity`."""
    drawn = np.random.default_rng(seed).choice(1 << 32, n, replace=False).astype(np.uint32)
    shared, rest = np.split(drawn, [round(similarity * n)])
    return np.concatenate([shared, rest[::2]]), np.concatenate([shared, rest[1::2]])


@pytest.mark.parametrize("similarity", [0.1, 0.5, 0.8, 0.95])
def test_the_estimate_has_the_mean_and_the_spread_of_k_coin_throws(similarity: float) -> None:
    k, trials = 128, 300
    estimates = []
    for seed in range(trials):
        a, b = overlapping_sets(similarity, 200, seed)
        permutations = random_permutations(k, seed)
        estimates.append(
            estimated_jaccard(minhash_signature(a, permutations), minhash_signature(b, permutations))
        )
    standard_error = (similarity * (1 - similarity) / k) ** 0.5
    assert abs(np.mean(estimates) - similarity) < 4 * standard_error / trials**0.5
    assert 0.85 < np.std(estimates) / standard_error < 1.15


def test_pairs_become_candidates_as_often_as_the_curve_says() -> None:
    bands, rows, trials = 8, 4, 400
    for similarity in (0.4, 0.6, 0.8):
        met = 0
        for seed in range(trials):
            permutations = random_permutations(bands * rows, seed)
            a, b = (minhash_signature(s, permutations) for s in overlapping_sets(similarity, 200, seed))
            met += (a == b).reshape(bands, rows).all(axis=1).any()
        expected = candidate_probability(similarity, bands, rows)
        assert abs(met / trials - expected) < 4 * (expected * (1 - expected) / trials) ** 0.5


def test_the_signature_of_nothing_resembles_no_text() -> None:
    permutations = random_permutations(128)
    assert (text_signature("!?", permutations) == EMPTY).all()
    assert estimated_jaccard(text_signature("", permutations), text_signature("a b c", permutations)) == 0


def test_order_of_words_counts_case_and_punctuation_do_not() -> None:
    permutations = random_permutations(64)
    one = text_signature("The cat, it sat on the mat.", permutations)
    assert np.array_equal(one, text_signature("the CAT it sat on\nthe mat", permutations))
    assert estimated_jaccard(one, text_signature("mat the on sat it cat the", permutations)) < 0.1
    assert shingle_hash("a b") != shingle_hash("b a") != shingle_hash("ab")


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0])
def test_bands_need_a_threshold_between_0_and_1(threshold: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        choose_bands(threshold, 128)


def test_a_higher_weight_of_misses_takes_more_bands() -> None:
    chosen = [choose_bands(0.8, 128, weight) for weight in (0.1, 0.5, 0.9)]
    recall = [candidate_probability(0.85, *pair) for pair in chosen]
    assert recall == sorted(recall)
    assert recall[0] < recall[2]


# The compiled code ---------------------------------------------------------------------------------------

CHARACTERS = st.one_of(st.sampled_from("abcABC0 9 .,\n'一二注意力，。カひ한é́İßภ🙂𠀀"), st.characters())


@given(st.lists(st.text(CHARACTERS, max_size=40), max_size=5), st.sampled_from([1, 2, 5]))
@settings(deadline=None, derandomize=True)
def test_compiled_signatures_are_the_readable_ones(texts: list[str], size: int) -> None:
    permutations = random_permutations(8)
    compiled = text_signatures(texts, permutations, size)
    for text, signature in zip(texts, compiled, strict=True):
        assert np.array_equal(signature, text_signature(text, permutations, size))


def test_the_class_table_is_that_of_the_regular_expression() -> None:
    classes = unit_classes()
    for start in range(0, 0x110000, 0x1000):
        inside = {
            m.start() + start for m in UNITS.finditer("\n".join(map(chr, range(start, start + 0x1000))))
        }
        assert len(inside) == np.count_nonzero(classes[start : start + 0x1000])


def readable_search(signatures: np.ndarray, bands: int, rows: int, least_equal: int) -> list[tuple[int, int]]:
    """What `SignatureIndex` finds, with dictionaries."""
    kept: list[np.ndarray] = []
    buckets: dict[tuple[int, bytes], list[int]] = {}
    found = []
    for signature in signatures:
        keys = [(band, signature[band * rows : (band + 1) * rows].tobytes()) for band in range(bands)]
        candidates = {number for key in keys for number in buckets.get(key, [])}
        equal = {number: int((kept[number] == signature).sum()) for number in candidates}
        best = max(equal, key=lambda number: (equal[number], -number), default=NOBODY)
        if equal.get(best, 0) >= least_equal:
            found.append((best, equal[best]))
            continue
        found.append((NOBODY, equal.get(best, 0)))
        if (signature != EMPTY).any():
            for key in keys:
                bucket = buckets.setdefault(key, [])
                if len(bucket) < MOST_IN_BUCKET:
                    bucket.append(len(kept))
        kept.append(signature)
    return found


@pytest.mark.parametrize("n_values", [2, 4, 30])
def test_the_index_finds_what_dictionaries_find(n_values: int) -> None:
    """Few different entries make crowded buckets; the table grows several times."""
    generator = np.random.default_rng(n_values)
    bands, rows, k = 5, 2, 16
    signatures = generator.integers(0, n_values, (1500, k), dtype=np.uint32)
    copies = generator.integers(0, 1500, 500)
    signatures = np.concatenate([signatures, signatures[copies]])
    signatures[1750:, -2:] = 77
    signatures[::97] = EMPTY
    expected = readable_search(signatures, bands, rows, least_equal=13)
    index = SignatureIndex(k, bands, rows, least_equal=13)
    found: list[tuple[int, int]] = []
    for part in np.array_split(signatures, 7):
        repeated, equal = index.add(part)
        found += zip(repeated.tolist(), equal.tolist(), strict=True)
    assert found == expected
    assert index.count == sum(number == NOBODY for number, _ in expected)
    assert sum(number != NOBODY for number, _ in expected) > 300


def test_a_kept_text_costs_what_the_docstring_says() -> None:
    bands, rows = choose_bands(0.8, 128)
    index = SignatureIndex(128, bands, rows, least_equal=103)
    generator = np.random.default_rng(0)
    for n in (1 << 10, 1 << 12, 1 << 14):
        index.add(generator.integers(0, 1 << 32, (n - index.count, 128), dtype=np.uint32))
        assert index.count == n  # the arrays are full: before they double
        assert 700 < index.n_bytes / n < 1000
