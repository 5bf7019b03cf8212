"""Checks of exercise 10.1. They run in the order in which they stand; the first that fails is the diagnosis."""

import math

import pytest

from teachllm.school.checks import diagnosis

DOCUMENTS = [["cat", "cat", "dog"], ["dog"], ["bird", "fish"]]
CAT = math.log(1 + 2.5 / 1.5)  # idf of a term that one of three documents has


@diagnosis(
    zh="要返回一个列表，每篇文档一个分数；没有文档时返回空列表。",
    en="Return a list with one score for each document, and an empty list when there are none.",
)
def test_one_score_for_each_document(implementation):
    assert len(implementation(["cat"], DOCUMENTS)) == 3
    assert implementation(["cat"], []) == []


@diagnosis(
    zh="所有文档都没有的词应当跳过：它不加分，也不该让程序报错。",
    en="A term that no document has must be skipped: it adds nothing, and must not fail.",
)
def test_unknown_terms_add_nothing(implementation):
    assert implementation(["snake"], DOCUMENTS) == [0, 0, 0]
    assert implementation(["snake"], DOCUMENTS, "atire") == [0, 0, 0]


@diagnosis(
    zh="df 数错了：它是“有几篇文档含有这个词”，一篇里出现多少次都只算一篇。",
    en="df is wrong: it is how many documents have the term, and a document counts once however often the term is in it.",
)
def test_df_counts_documents(implementation):
    found = implementation(["cat"], DOCUMENTS, k1=0.0)  # only idf is left
    assert found == pytest.approx([CAT, 0, 0])


@diagnosis(
    zh="词频没有用对：一个词在文档里出现几次，tf 就是几。",
    en="The term frequency is not used as it should be: tf is how often the term occurs in the document.",
)
def test_tf_is_the_count_in_the_document(implementation):
    found = implementation(["cat"], DOCUMENTS, k1=1.5, b=0.0)
    assert found == pytest.approx([CAT * 2 / (2 + 1.5), 0, 0])


@diagnosis(
    zh="文档长度不对：长度是词的总数，重复的也算，不是不同的词有几个。",
    en="The length of a document is wrong: it is the number of its terms, repeated ones included, not of different terms.",
)
def test_length_counts_repeated_terms(implementation):
    found = implementation(["cat"], DOCUMENTS, k1=1.5, b=1.0)
    assert found == pytest.approx([CAT * 2 / (2 + 1.5 * 3 / 2), 0, 0])


@diagnosis(
    zh="平均长度不对：是全部文档的平均，空文档也算一篇，和查询无关。",
    en="The mean length is wrong: it is that of all documents, empty ones too, whatever the query.",
)
def test_the_mean_is_over_all_documents(implementation):
    documents = [["cat", "dog"], [], ["dog", "dog", "dog", "dog"], []]
    idf = math.log(1 + 3.5 / 1.5)
    assert implementation(["cat"], documents, b=1.0) == pytest.approx([idf / (1 + 1.5 * 2 / 1.5), 0, 0, 0])


@diagnosis(
    zh="查询里重复的词要加两次：求和走的是查询里的每一次出现。",
    en="A term that the query repeats must add twice: the sum goes over every occurrence in the query.",
)
def test_a_repeated_term_of_the_query_counts_again(implementation):
    once = implementation(["cat", "dog"], DOCUMENTS)
    twice = implementation(["cat", "cat", "dog", "dog"], DOCUMENTS)
    assert twice == pytest.approx([2 * score for score in once])


@diagnosis(
    zh="bm25+ 和 bm25l 里，文档没有的词也加了分。按论文，求和只走查询和文档都有的词。",
    en="With bm25+ or bm25l, terms that a document does not have added to its score. By the papers the sum goes over terms that both have.",
)
def test_absent_terms_add_nothing_in_any_variant(implementation):
    for variant in ("bm25l", "bm25+"):
        found = implementation(["cat"], DOCUMENTS, variant, delta=1.0)
        assert found[0] > 0
        assert list(found[1:]) == [0, 0]


@diagnosis(
    zh="variant、k1、b、delta 没有全部用上：换一个，分数就该跟着变。",
    en="variant, k1, b and delta are not all used: each of them must change the scores.",
)
def test_every_setting_is_used(implementation):
    found = implementation(["cat"], DOCUMENTS, "bm25+", 1.2, 0.5, 0.7)
    factor = 0.5 + 0.5 * 3 / 2
    expected = math.log(4 / 1) * (2.2 * 2 / (2 + 1.2 * factor) + 0.7)
    assert found == pytest.approx([expected, 0, 0])


@diagnosis(
    zh="传进来的列表被你改动了。",
    en="You changed the lists that were passed in.",
)
def test_the_documents_stay_as_they_were(implementation):
    implementation(["dog", "cat"], [["cat"], ["dog", "dog"]])
    assert implementation.mutated == []
