"""Wrong versions of exercise 8.9 that real people write, each with the check that must catch it first."""

# torch, Verdict, residual, token_at and check_rows are imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_without_a_draft_the_target_writes")
def indexes_the_draft_first(target, draft, drafted, uniform):
    p, q = target[0], draft[0]
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] >= p[token] / q[token]:
            return Verdict(place, token_at(residual(p, q), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_what_the_target_likes_better_stays")
def ratio_upside_down(target, draft, drafted, uniform):
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] >= q[token] / p[token]:
            return Verdict(place, token_at(residual(p, q), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_what_the_target_likes_better_stays")
def accepts_with_p_alone(target, draft, drafted, uniform):
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] >= p[token]:
            return Verdict(place, token_at(residual(p, q), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_a_token_stays_with_probability_p_over_q")
def accepts_only_what_the_target_prefers(target, draft, drafted, uniform):
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if p[token] < q[token]:
            return Verdict(place, token_at(residual(p, q), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_what_the_target_never_writes_never_stays")
def keeps_at_equality(target, draft, drafted, uniform):
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] > p[token] / q[token]:
            return Verdict(place, token_at(residual(p, q), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_nothing_stays_behind_a_rejected_token")
def counts_all_that_pass(target, draft, drafted, uniform):
    n_accepted = sum(
        int(uniform[place] * draft[place][token] < target[place][token])
        for place, token in enumerate(drafted)
    )
    behind = target[n_accepted]
    if n_accepted < len(drafted):
        behind = residual(behind, draft[n_accepted])
    return Verdict(n_accepted, token_at(behind, uniform[-1]))


@mutant("test_a_rejected_token_is_replaced_from_the_residual")
def draws_again_from_the_target(target, draft, drafted, uniform):
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] >= p[token] / q[token]:
            return Verdict(place, token_at(p, uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_a_rejected_token_is_replaced_from_the_residual")
def absolute_difference(target, draft, drafted, uniform):
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] >= p[token] / q[token]:
            return Verdict(place, token_at((p - q).abs(), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_the_residual_is_that_of_the_rejected_place")
def residual_of_the_first_place(target, draft, drafted, uniform):
    for place, token in enumerate(drafted):
        if uniform[place] >= target[place][token] / draft[place][token]:
            return Verdict(place, token_at(residual(target[0], draft[0]), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_the_bonus_token_comes_from_the_last_row")
def residual_for_the_bonus_token(target, draft, drafted, uniform):
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] >= p[token] / q[token]:
            return Verdict(place, token_at(residual(p, q), uniform[-1]))
    if drafted:
        return Verdict(len(drafted), token_at(residual(target[-1], draft[-1]), uniform[-1]))
    return Verdict(0, token_at(target[-1], uniform[-1]))


@mutant("test_an_impossible_draft_is_refused")
def divides_by_nothing(target, draft, drafted, uniform):
    check_rows(target, draft, drafted)
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if uniform[place] >= p[token] / q[token]:
            return Verdict(place, token_at(residual(p, q), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))


@mutant("test_the_arguments_stay_as_they_were")
def subtracts_in_place(target, draft, drafted, uniform):
    check_rows(target, draft, drafted)
    for place, token in enumerate(drafted):
        p, q = target[place], draft[place]
        if q[token] <= 0:
            raise ValueError("q = 0")
        if uniform[place] >= p[token] / q[token]:
            p.sub_(q).clamp_(min=0)
            return Verdict(place, token_at(p / p.sum(), uniform[-1]))
    return Verdict(len(drafted), token_at(target[-1], uniform[-1]))
