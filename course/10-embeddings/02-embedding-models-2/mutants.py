"""Wrong versions of exercise 10.2 that real people write, each with the check that must catch it first."""

# torch, math, F and TEMPERATURE are imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_one_candidate_is_no_question")
def leaves_the_positive_out_of_the_denominator(
    queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False
):
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T / temperature
    own = scores.diagonal()
    others = scores.masked_fill(torch.eye(*scores.shape, dtype=torch.bool), -1e9)
    return (torch.logsumexp(others, dim=1) - own).mean()


@mutant("test_the_others_of_the_batch_are_negatives")
def sums_instead_of_the_mean(
    queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False
):
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T / temperature
    return F.cross_entropy(scores, torch.arange(len(queries)), reduction="sum")


@mutant("test_scores_are_divided_by_the_temperature")
def multiplies_by_the_temperature(
    queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False
):
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T * temperature
    return F.cross_entropy(scores, torch.arange(len(queries)))


@mutant("test_every_query_sees_every_negative")
def one_negative_each(queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False):
    scores = queries @ positives.T / temperature
    if negatives is not None:
        own = (queries * negatives[: len(queries)]).sum(1, keepdim=True) / temperature
        scores = torch.cat([scores, own], dim=1)
    return F.cross_entropy(scores, torch.arange(len(queries)))


@mutant("test_what_is_excluded_does_not_count")
def sets_excluded_scores_to_zero(
    queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False
):
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T / temperature
    if excluded is not None:
        scores = scores.masked_fill(excluded, 0.0)
    return F.cross_entropy(scores, torch.arange(len(queries)))


@mutant("test_both_directions")
def adds_both_directions(
    queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False
):
    n = len(queries)
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T / temperature
    if excluded is not None:
        scores = scores.masked_fill(excluded, -math.inf)
    loss = F.cross_entropy(scores, torch.arange(n))
    return loss + F.cross_entropy(scores[:, :n].T, torch.arange(n)) if symmetric else loss


@mutant("test_the_mask_holds_in_both_directions")
def forgets_the_mask_on_the_way_back(
    queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False
):
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T / temperature
    if excluded is not None:
        scores = scores.masked_fill(excluded, -math.inf)
    loss = F.cross_entropy(scores, torch.arange(len(queries)))
    if symmetric:
        loss = (loss + F.cross_entropy(positives @ queries.T / temperature, torch.arange(len(queries)))) / 2
    return loss


@mutant("test_a_small_temperature_does_not_overflow")
def exp_then_log(queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False):
    n = len(queries)
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    terms = (queries @ candidates.T / temperature).exp()
    if excluded is not None:
        terms = terms.masked_fill(excluded, 0.0)
    loss = (terms.sum(1) / terms.diagonal()).log().mean()
    if symmetric:
        square = terms[:, :n]
        loss = (loss + (square.sum(0) / square.diagonal()).log().mean()) / 2
    return loss


@mutant("test_an_excluded_positive_is_refused")
def lets_an_excluded_positive_pass(
    queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False
):
    n = len(queries)
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T / temperature
    if excluded is not None:
        scores = scores.masked_fill(excluded, -math.inf)
    own = torch.arange(n)
    loss = F.cross_entropy(scores, own)
    return (loss + F.cross_entropy(scores[:, :n].T, own)) / 2 if symmetric else loss


@mutant("test_the_arguments_stay_as_they_were")
def scales_the_queries_in_place(
    queries, positives, negatives=None, temperature=0.05, excluded=None, symmetric=False
):
    n = len(queries)
    if excluded is not None and excluded.diagonal().any():
        raise ValueError("excluded")
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = queries @ candidates.T / temperature
    if excluded is not None:
        scores = scores.masked_fill(excluded, -math.inf)
    queries.div_(temperature)
    own = torch.arange(n)
    loss = F.cross_entropy(scores, own)
    return (loss + F.cross_entropy(scores[:, :n].T, own)) / 2 if symmetric else loss
