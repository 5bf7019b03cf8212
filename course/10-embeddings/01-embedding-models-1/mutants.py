"""Wrong versions of exercise 10.1 that real people write, each with the check that must catch it first."""

# Counter and the three parts of the formula are in the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_unknown_terms_add_nothing")
def asks_for_the_idf_of_unknown_terms(query, documents, variant="lucene", k1=1.5, b=0.75, delta=0.0):
    counts = [Counter(document) for document in documents]
    mean = sum(map(len, documents)) / max(len(documents), 1)
    scores = [0.0] * len(documents)
    for term in query:
        df = sum(term in count for count in counts)
        idf = inverse_document_frequency(variant, df, len(documents))
        for i, count in enumerate(counts):
            if count[term]:
                factor = length_factor(len(documents[i]), mean, b)
                scores[i] += idf * saturation(variant, count[term], factor, k1, delta)
    return scores


@mutant("test_df_counts_documents")
def counts_occurrences_for_df(query, documents, variant="lucene", k1=1.5, b=0.75, delta=0.0):
    counts = [Counter(document) for document in documents]
    mean = sum(map(len, documents)) / max(len(documents), 1)
    scores = [0.0] * len(documents)
    for term in query:
        df = min(sum(count[term] for count in counts), len(documents))
        if df == 0:
            continue
        idf = inverse_document_frequency(variant, df, len(documents))
        for i, count in enumerate(counts):
            if count[term]:
                factor = length_factor(len(documents[i]), mean, b)
                scores[i] += float(idf * saturation(variant, count[term], factor, k1, delta))
    return scores


@mutant("test_tf_is_the_count_in_the_document")
def only_asks_whether_a_term_is_there(query, documents, variant="lucene", k1=1.5, b=0.75, delta=0.0):
    mean = sum(map(len, documents)) / max(len(documents), 1)
    scores = [0.0] * len(documents)
    for term in query:
        df = sum(term in document for document in documents)
        if df == 0:
            continue
        idf = inverse_document_frequency(variant, df, len(documents))
        for i, document in enumerate(documents):
            if term in document:
                factor = length_factor(len(document), mean, b)
                scores[i] += float(idf * saturation(variant, 1, factor, k1, delta))
    return scores


@mutant("test_length_counts_repeated_terms")
def takes_different_terms_for_the_length(query, documents, variant="lucene", k1=1.5, b=0.75, delta=0.0):
    counts = [Counter(document) for document in documents]
    mean = sum(map(len, counts)) / max(len(documents), 1)
    scores = [0.0] * len(documents)
    for term in query:
        df = sum(term in count for count in counts)
        if df == 0:
            continue
        idf = inverse_document_frequency(variant, df, len(documents))
        for i, count in enumerate(counts):
            if count[term]:
                factor = length_factor(len(count), mean, b)
                scores[i] += float(idf * saturation(variant, count[term], factor, k1, delta))
    return scores


@mutant("test_the_mean_is_over_all_documents")
def leaves_empty_documents_out_of_the_mean(query, documents, variant="lucene", k1=1.5, b=0.75, delta=0.0):
    counts = [Counter(document) for document in documents]
    lengths = [len(document) for document in documents if document]
    mean = sum(lengths) / max(len(lengths), 1)
    scores = [0.0] * len(documents)
    for term in query:
        df = sum(term in count for count in counts)
        if df == 0:
            continue
        idf = inverse_document_frequency(variant, df, len(documents))
        for i, count in enumerate(counts):
            if count[term]:
                factor = length_factor(len(documents[i]), mean, b)
                scores[i] += float(idf * saturation(variant, count[term], factor, k1, delta))
    return scores


@mutant("test_a_repeated_term_of_the_query_counts_again")
def asks_every_term_once(query, documents, variant="lucene", k1=1.5, b=0.75, delta=0.0):
    counts = [Counter(document) for document in documents]
    mean = sum(map(len, documents)) / max(len(documents), 1)
    scores = [0.0] * len(documents)
    for term in set(query):
        df = sum(term in count for count in counts)
        if df == 0:
            continue
        idf = inverse_document_frequency(variant, df, len(documents))
        for i, count in enumerate(counts):
            if count[term]:
                factor = length_factor(len(documents[i]), mean, b)
                scores[i] += float(idf * saturation(variant, count[term], factor, k1, delta))
    return scores


@mutant("test_absent_terms_add_nothing_in_any_variant")
def gives_absent_terms_their_delta(query, documents, variant="lucene", k1=1.5, b=0.75, delta=0.0):
    counts = [Counter(document) for document in documents]
    mean = sum(map(len, documents)) / max(len(documents), 1)
    scores = [0.0] * len(documents)
    for term in query:
        df = sum(term in count for count in counts)
        if df == 0:
            continue
        idf = inverse_document_frequency(variant, df, len(documents))
        for i, count in enumerate(counts):
            if count[term] or delta:
                factor = length_factor(len(documents[i]), mean, b)
                scores[i] += float(idf * saturation(variant, count[term], factor, k1, delta))
    return scores


@mutant("test_every_setting_is_used")
def forgets_delta(query, documents, variant="lucene", k1=1.5, b=0.75, delta=0.0):
    counts = [Counter(document) for document in documents]
    mean = sum(map(len, documents)) / max(len(documents), 1)
    scores = [0.0] * len(documents)
    for term in query:
        df = sum(term in count for count in counts)
        if df == 0:
            continue
        idf = inverse_document_frequency(variant, df, len(documents))
        for i, count in enumerate(counts):
            if count[term]:
                factor = length_factor(len(documents[i]), mean, b)
                scores[i] += float(idf * saturation(variant, count[term], factor, k1))
    return scores
