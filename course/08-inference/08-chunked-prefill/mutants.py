"""Wrong versions of exercise 8.8 that real people write, each with the check that must catch it first."""

from teachllm.school.checks import mutant


@mutant("test_a_prompt_does_not_stall_those_behind_it")
def first_come_first_served(wanted, budget, tile=1):
    shares, left = [], budget // tile * tile
    for n in wanted:
        shares.append(min(n, left))
        left -= shares[-1]
    return shares


@mutant("test_the_chunk_makes_room_for_those_who_decode")
def passengers_on_top(wanted, budget, tile=1):
    shares = [int(n == 1) for n in wanted]
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = min(n, budget // tile * tile)
            break
    return shares


@mutant("test_the_batch_is_whole_tiles")
def forgets_the_tiles(wanted, budget, tile=1):
    shares = [int(n == 1) for n in wanted]
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = min(n, budget - sum(shares))
            break
    return shares


@mutant("test_the_sum_is_rounded_and_not_the_chunk")
def rounds_the_chunk(wanted, budget, tile=1):
    shares = [int(n == 1) for n in wanted]
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = min(n, (budget - sum(shares)) // tile * tile)
            break
    return shares


@mutant("test_the_batch_is_whole_tiles")
def rounds_up(wanted, budget, tile=1):
    shares = [int(n == 1) for n in wanted]
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = max(0, min(n, -(-budget // tile) * tile - sum(shares)))
            break
    return shares


@mutant("test_one_prompt_a_batch")
def the_rule_of_the_engine(wanted, budget, tile=1):
    if not 1 <= tile <= budget:
        raise ValueError("no room for a tile")
    shares, left = [0] * len(wanted), budget // tile * tile
    for only_one in (True, False):
        for i, n in enumerate(wanted):
            if (n == 1) is only_one:
                shares[i] = max(0, min(n, left))
                left -= shares[i]
    return shares


@mutant("test_the_end_of_a_prompt_is_what_is_left")
def waits_for_whole_tiles(wanted, budget, tile=1):
    shares = [int(n == 1) for n in wanted]
    decoding = sum(shares)
    for i, n in enumerate(wanted):
        if n > 1:
            rows = min(n + decoding, budget) // tile * tile
            shares[i] = max(0, min(n, rows - decoding)) or min(n, max(0, budget - decoding))
            break
    return shares


@mutant("test_many_who_decode")
def a_negative_chunk(wanted, budget, tile=1):
    shares, left = [0] * len(wanted), budget
    for i, n in enumerate(wanted):
        if n == 1 and left:
            shares[i] = 1
            left -= 1
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = min(n, budget // tile * tile - sum(shares))
            break
    return shares


@mutant("test_many_who_decode")
def decodes_beyond_the_budget(wanted, budget, tile=1):
    if not 1 <= tile <= budget:
        raise ValueError("no room for a tile")
    shares = [int(n == 1) for n in wanted]
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = max(0, min(n, budget // tile * tile - sum(shares)))
            break
    return shares


@mutant("test_no_room_for_a_tile_is_refused")
def never_reads_a_prompt(wanted, budget, tile=1):
    shares, left = [0] * len(wanted), budget
    for i, n in enumerate(wanted):
        if n == 1 and left:
            shares[i] = 1
            left -= 1
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = max(0, min(n, budget // max(1, tile) * tile - sum(shares)))
            break
    return shares


@mutant("test_any_batch")
def crosses_off_what_was_given(wanted, budget, tile=1):
    if not 1 <= tile <= budget:
        raise ValueError("no room for a tile")
    shares, left = [0] * len(wanted), budget
    for i, n in enumerate(wanted):
        if n == 1 and left:
            shares[i] = 1
            left -= 1
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = max(0, min(n, budget // tile * tile - sum(shares)))
            wanted[i] -= shares[i]
            break
    return shares
