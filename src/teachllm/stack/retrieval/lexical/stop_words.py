"""Words that nearly every text has: they tell texts apart little, and have the longest lists of documents.

An index may leave them out. BM25 hardly counts them anyway; what they cost is time.
"""

from __future__ import annotations

ENGLISH_STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no",
    "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to",
    "was", "will", "with",
})  # fmt: skip
"""The 33 that Lucene's English analyzer leaves out."""

CHINESE_STOP_WORDS = frozenset("的了和是在也都与及着就而或之其这那吗呢吧啊呀哦")
"""Particles and the commonest single characters. Words that ask (什么, 怎么) stay: a heading asks too."""
