"""Wrong versions of exercise 8.7 that real people write, each with the check that must catch it first."""

from teachllm.school.checks import mutant


@mutant("test_it_is_a_share")
def counts_requests(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    kept = 0
    for a, f, z, n in zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True):
        kept += f - a <= max_ttft and (n == 1 or (z - f) / (n - 1) <= max_tpot)
    return kept


@mutant("test_ttft_counts_from_the_arrival")
def forgets_the_arrival(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    if not arrivals or len({len(arrivals), len(first_tokens), len(last_tokens), len(n_tokens)}) > 1:
        raise ValueError("one of each")
    kept = 0
    for f, z, n in zip(first_tokens, last_tokens, n_tokens, strict=True):
        kept += f <= max_ttft and (z < float("inf") if n == 1 else (z - f) / (n - 1) <= max_tpot)
    return kept / len(arrivals)


@mutant("test_tpot_is_the_time_of_a_gap")
def divides_by_all_tokens(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    if not arrivals or len({len(arrivals), len(first_tokens), len(last_tokens), len(n_tokens)}) > 1:
        raise ValueError("one of each")
    kept = 0
    for a, f, z, n in zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True):
        kept += f - a <= max_ttft and (z - f) / n <= max_tpot
    return kept / len(arrivals)


@mutant("test_waiting_is_no_part_of_tpot")
def tpot_from_the_arrival(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    if not arrivals or len({len(arrivals), len(first_tokens), len(last_tokens), len(n_tokens)}) > 1:
        raise ValueError("one of each")
    kept = 0
    for a, f, z, n in zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True):
        kept += f - a <= max_ttft and (n == 1 or (z - a) / (n - 1) <= max_tpot)
    return kept / len(arrivals)


@mutant("test_one_token_has_no_tpot")
def divides_by_zero(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    kept = 0
    for a, f, z, n in zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True):
        kept += f - a <= max_ttft and (z - f) / (n - 1) <= max_tpot
    return kept / len(arrivals)


@mutant("test_both_by_the_same_request")
def the_smaller_of_two_shares(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    rows = list(zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True))
    in_time = sum(f - a <= max_ttft for a, f, z, n in rows) / len(rows)
    fluent = sum(n == 1 or (z - f) / (n - 1) <= max_tpot for a, f, z, n in rows) / len(rows)
    return min(in_time, fluent)


@mutant("test_both_by_the_same_request")
def either_objective(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    rows = list(zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True))
    kept = sum(f - a <= max_ttft or (n > 1 and (z - f) / (n - 1) <= max_tpot) for a, f, z, n in rows)
    return kept / len(rows)


@mutant("test_exactly_in_time_is_in_time")
def strictly_faster(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    rows = list(zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True))
    kept = sum(f - a < max_ttft and (n == 1 or (z - f) / (n - 1) < max_tpot) for a, f, z, n in rows)
    return kept / len(rows)


@mutant("test_who_never_got_a_token_is_counted_and_kept_nothing")
def only_who_finished(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    rows = [
        row
        for row in zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True)
        if row[2] < float("inf")
    ]
    kept = sum(f - a <= max_ttft and (n == 1 or (z - f) / (n - 1) <= max_tpot) for a, f, z, n in rows)
    return kept / max(1, len(rows))


@mutant("test_who_never_got_a_token_is_counted_and_kept_nothing")
def counts_the_late(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    rows = list(zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True))
    late = sum(f - a > max_ttft or (n > 1 and (z - f) / (n - 1) > max_tpot) for a, f, z, n in rows)
    return 1 - late / len(rows)


@mutant("test_an_answer_that_never_ended_kept_nothing")
def lets_a_single_token_pass(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    rows = list(zip(arrivals, first_tokens, last_tokens, n_tokens, strict=True))
    kept = sum(f - a <= max_ttft and (n == 1 or (z - f) / (n - 1) <= max_tpot) for a, f, z, n in rows)
    return kept / len(rows)


@mutant("test_a_share_of_nothing_is_refused")
def nothing_is_fine(arrivals, first_tokens, last_tokens, n_tokens, max_ttft, max_tpot):
    rows = list(zip(arrivals, first_tokens, last_tokens, n_tokens, strict=False))
    kept = sum(
        f - a <= max_ttft and (z < float("inf") if n == 1 else (z - f) / (n - 1) <= max_tpot)
        for a, f, z, n in rows
    )
    return kept / len(rows) if rows else 1.0
