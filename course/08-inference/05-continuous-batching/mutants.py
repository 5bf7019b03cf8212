"""Wrong versions of exercise 8.5 that real people write, each with the check that must catch it first."""

from teachllm.school.checks import mutant


@mutant("test_the_next_token_is_not_stalled_by_a_prompt")
def first_come_first_served(wanted, budget):
    shares = []
    for n in wanted:
        shares.append(min(n, budget))
        budget -= shares[-1]
    return shares


@mutant("test_the_sum_is_within_the_budget")
def forgets_what_the_single_tokens_cost(wanted, budget):
    shares = [1 if n == 1 else 0 for n in wanted]
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = min(n, budget)
            budget -= shares[i]
    return shares


@mutant("test_a_long_prompt_is_read_in_part")
def reads_a_prompt_whole_or_not_at_all(wanted, budget):
    shares = [0] * len(wanted)
    for only_one in (True, False):
        for i, n in enumerate(wanted):
            if (n == 1) is only_one and n <= budget:
                shares[i] = n
                budget -= n
    return shares


@mutant("test_prompts_are_served_in_order", "test_a_long_prompt_is_read_in_part")
def gives_prompts_equal_parts(wanted, budget):
    shares = [0] * len(wanted)
    for i, n in enumerate(wanted):
        if n == 1 and budget > 0:
            shares[i] = 1
            budget -= 1
    prompts = [i for i, n in enumerate(wanted) if n > 1]
    for place, i in enumerate(prompts):
        shares[i] = min(wanted[i], budget // (len(prompts) - place))
        budget -= shares[i]
    return shares


@mutant("test_prompts_are_served_in_order")
def serves_the_shortest_prompt_first(wanted, budget):
    shares = [0] * len(wanted)
    for i in sorted(range(len(wanted)), key=lambda i: wanted[i]):
        shares[i] = min(wanted[i], budget)
        budget -= shares[i]
    return shares


@mutant("test_the_sum_is_within_the_budget")
def lets_decoding_exceed_the_budget(wanted, budget):
    shares = [1 if n == 1 else 0 for n in wanted]
    budget -= sum(shares)
    for i, n in enumerate(wanted):
        if n > 1:
            shares[i] = max(0, min(n, budget))
            budget -= shares[i]
    return shares


@mutant("test_all_of_it_is_used_and_nobody_gets_too_much")
def caps_a_chunk(wanted, budget):
    shares = [0] * len(wanted)
    for only_one in (True, False):
        for i, n in enumerate(wanted):
            if (n == 1) is only_one:
                shares[i] = min(n, budget, 1 if only_one else 10**3 if budget > 100 else 38)
                budget -= shares[i]
    return shares
