"""Wrong versions of exercise 1.5 that real people write, each with the check that must catch it first."""

# torch is imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_what_stays_keeps_its_logit_and_the_rest_is_minus_infinity")
def returns_probabilities(logits, p):
    largest, tokens = logits.softmax(-1).sort(descending=True, dim=-1)
    before = largest.cumsum(-1) - largest
    shares = largest.masked_fill(before >= p, 0.0)
    return torch.zeros_like(logits).scatter(-1, tokens, shares / shares.sum(-1, keepdim=True))


@mutant("test_what_stays_keeps_its_logit_and_the_rest_is_minus_infinity")
def multiplies_by_the_mask(logits, p):
    largest, tokens = logits.softmax(-1).sort(descending=True, dim=-1)
    stays = (largest.cumsum(-1) - largest < p).float()
    return logits * torch.zeros_like(logits).scatter(-1, tokens, stays)


@mutant("test_only_probabilities_decide")
def sums_up_logits(logits, p):
    largest, tokens = logits.sort(descending=True, dim=-1)
    before = largest.cumsum(-1) - largest
    return torch.full_like(logits, -torch.inf).scatter(
        -1, tokens, largest.masked_fill(before >= p, -torch.inf)
    )


@mutant("test_the_token_that_reaches_p_stays")
def drops_the_token_that_reaches_p(logits, p):
    if p >= 1:
        return logits
    largest, tokens = logits.softmax(-1).sort(descending=True, dim=-1)
    gone = largest.cumsum(-1) > p
    if logits.dim() == 1 and gone.all():
        gone[..., 0] = False
    return torch.full_like(logits, -torch.inf).scatter(
        -1, tokens, logits.gather(-1, tokens).masked_fill(gone, -torch.inf)
    )


@mutant("test_no_more_than_needed_stay")
def keeps_one_too_many(logits, p):
    if p >= 1:
        return logits
    largest, tokens = logits.softmax(-1).sort(descending=True, dim=-1)
    gone = largest.cumsum(-1) - largest >= p
    gone[..., 1:] = gone[..., :-1].clone()
    gone[..., 0] = False
    return torch.full_like(logits, -torch.inf).scatter(
        -1, tokens, logits.gather(-1, tokens).masked_fill(gone, -torch.inf)
    )


@mutant("test_tokens_stay_at_their_places")
def forgets_to_undo_the_sort(logits, p):
    if p >= 1:
        return logits
    largest = logits.softmax(-1).sort(descending=True, dim=-1).values
    return logits.masked_fill(largest.cumsum(-1) - largest >= p, -torch.inf)


@mutant("test_tokens_stay_at_their_places")
def returns_them_sorted(logits, p):
    if p >= 1:
        return logits
    ordered = logits.sort(descending=True, dim=-1).values
    largest = ordered.softmax(-1)
    return ordered.masked_fill(largest.cumsum(-1) - largest >= p, -torch.inf)


@mutant("test_every_row_has_its_own_nucleus")
def one_nucleus_for_all_rows(logits, p):
    if p >= 1:
        return logits
    rows = logits.reshape(-1, logits.shape[-1])
    largest, tokens = rows[0].softmax(-1).sort(descending=True)
    gone = torch.zeros_like(rows[0], dtype=torch.bool).scatter(0, tokens, largest.cumsum(0) - largest >= p)
    return logits.masked_fill(gone, -torch.inf)


@mutant("test_every_row_has_its_own_nucleus")
def softmax_over_the_whole_batch(logits, p):
    if p >= 1:
        return logits
    flat = logits.flatten()
    largest, tokens = flat.softmax(-1).sort(descending=True)
    kept = flat[tokens].masked_fill(largest.cumsum(0) - largest >= p, -torch.inf)
    return torch.full_like(flat, -torch.inf).scatter(0, tokens, kept).reshape(logits.shape)


@mutant("test_ties_do_not_enlarge_the_nucleus")
def keeps_everything_above_a_threshold(logits, p):
    if p >= 1:
        return logits
    largest = logits.softmax(-1).sort(descending=True, dim=-1).values
    needed = (largest.cumsum(-1) - largest < p).sum(-1, keepdim=True)
    return logits.masked_fill(logits.softmax(-1) < largest.gather(-1, needed - 1), -torch.inf)


@mutant("test_what_is_gone_stays_gone")
def replaces_infinities_first(logits, p):
    logits = torch.nan_to_num(logits)
    if p >= 1:
        return logits
    largest, tokens = logits.softmax(-1).sort(descending=True, dim=-1)
    kept = logits.gather(-1, tokens).masked_fill(largest.cumsum(-1) - largest >= p, -torch.inf)
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, kept)


@mutant("test_p_of_one_removes_nothing")
def no_special_case_for_one(logits, p):
    largest, tokens = logits.softmax(-1).sort(descending=True, dim=-1)
    kept = logits.gather(-1, tokens).masked_fill(largest.cumsum(-1) - largest >= p, -torch.inf)
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, kept)


@mutant("test_the_argument_stays_as_it_was")
def fills_in_place(logits, p):
    if p >= 1:
        return logits
    largest, tokens = logits.softmax(-1).sort(descending=True, dim=-1)
    gone = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, largest.cumsum(-1) - largest >= p)
    return logits.masked_fill_(gone, -torch.inf)
