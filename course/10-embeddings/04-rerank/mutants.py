"""Wrong versions of exercise 10.4 that real people write, each with the check that must catch it first."""

# numpy is np in the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_one_score_for_each_passage")
def scores_every_token(query, tokens, lengths):
    if sum(lengths) != len(tokens):
        raise ValueError
    return (tokens @ query.T).sum(axis=1).astype(np.float32)


@mutant("test_a_single_token_gives_a_sum")
def takes_the_mean_over_the_query(query, tokens, lengths):
    if sum(lengths) != len(tokens):
        raise ValueError
    scores, begin = [], 0
    for length in lengths:
        part = tokens[begin : begin + length]
        scores.append((query @ part.T).max(axis=1).mean() if length and len(query) else 0.0)
        begin += length
    return np.array(scores, dtype=np.float32)


@mutant("test_the_maximum_runs_along_the_passage")
def takes_the_maximum_over_the_query(query, tokens, lengths):
    if sum(lengths) != len(tokens):
        raise ValueError
    scores, begin = [], 0
    for length in lengths:
        part = tokens[begin : begin + length]
        similar = query @ part.T
        scores.append(similar.sum() if length == 1 else similar.max(axis=0).sum())
        begin += length
    return np.array(scores, dtype=np.float32)


@mutant("test_passages_stay_apart")
def forgets_to_go_on(query, tokens, lengths):
    if sum(lengths) != len(tokens):
        raise ValueError
    scores = []
    for length in lengths:
        part = tokens[:length]
        scores.append((query @ part.T).max(axis=1).sum())
    return np.array(scores, dtype=np.float32)


@mutant("test_all_may_be_negative")
def begins_with_zero(query, tokens, lengths):
    if sum(lengths) != len(tokens):
        raise ValueError
    scores, begin = [], 0
    for length in lengths:
        part = tokens[begin : begin + length]
        scores.append((query @ part.T).max(axis=1, initial=0.0).sum())
        begin += length
    return np.array(scores, dtype=np.float32)


@mutant("test_a_passage_may_be_empty")
def gives_an_empty_passage_zero(query, tokens, lengths):
    if sum(lengths) != len(tokens):
        raise ValueError
    scores, begin = [], 0
    for length in lengths:
        part = tokens[begin : begin + length]
        scores.append((query @ part.T).max(axis=1).sum() if length else 0.0)
        begin += length
    return np.array(scores, dtype=np.float32)


@mutant("test_a_query_may_be_empty")
def calls_an_empty_query_minus_infinity(query, tokens, lengths):
    if sum(lengths) != len(tokens):
        raise ValueError
    scores, begin = [], 0
    for length in lengths:
        part = tokens[begin : begin + length]
        scores.append((query @ part.T).max(axis=1).sum() if length and len(query) else float("-inf"))
        begin += length
    return np.array(scores, dtype=np.float32)


@mutant("test_wrong_lengths_are_refused")
def believes_the_lengths(query, tokens, lengths):
    scores, begin = [], 0
    for length in lengths:
        part = tokens[begin : begin + length]
        if not len(query):
            scores.append(0.0)
        else:
            scores.append((query @ part.T).max(axis=1).sum() if len(part) else float("-inf"))
        begin += length
    return np.array(scores, dtype=np.float32)


@mutant("test_the_result_is_float32")
def returns_doubles(query, tokens, lengths):
    if sum(lengths) != len(tokens):
        raise ValueError
    scores, begin = [], 0
    for length in lengths:
        part = tokens[begin : begin + length]
        if not len(query):
            scores.append(0.0)
        else:
            scores.append((query @ part.T).max(axis=1).sum() if length else float("-inf"))
        begin += length
    return np.array(scores, dtype=np.float64)
