"""Wrong versions of exercise 1.8 that real people write, each with the check that must catch it first."""

from teachllm.school.checks import mutant


@mutant("test_two_numbers_come_back")
def returns_the_parameters_only(flops, A, B, alpha, beta):
    return (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))


@mutant("test_the_budget_is_spent")
def forgets_the_six(flops, A, B, alpha, beta):
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return G * flops ** (beta / (alpha + beta)), flops ** (alpha / (alpha + beta)) / G


@mutant("test_the_budget_is_spent")
def counts_the_forward_pass_only(flops, A, B, alpha, beta):
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    pairs = flops / 2
    return G * pairs ** (beta / (alpha + beta)), pairs ** (alpha / (alpha + beta)) / G


@mutant("test_the_symmetric_case")
def twenty_tokens_a_parameter(flops, A, B, alpha, beta):
    n = (flops / 120) ** 0.5
    return n, 20 * n


@mutant("test_parameters_grow_with_the_exponent_of_the_tokens")
def exponents_swapped(flops, A, B, alpha, beta):
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    n = G * (flops / 6) ** (alpha / (alpha + beta))
    return n, flops / 6 / n


@mutant("test_parameters_grow_with_the_exponent_of_the_tokens")
def always_the_square_root(flops, A, B, alpha, beta):
    n = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (flops / 6) ** 0.5
    return n, flops / 6 / n


@mutant("test_a_dearer_term_gets_more")
def ratio_upside_down(flops, A, B, alpha, beta):
    n = (beta * B / (alpha * A)) ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
    return n, flops / 6 / n


@mutant("test_no_neighbour_is_better")
def without_the_exponents_in_front(flops, A, B, alpha, beta):
    n = (A / B) ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
    return n, flops / 6 / n


@mutant("test_no_neighbour_is_better")
def without_the_root_of_the_ratio(flops, A, B, alpha, beta):
    n = alpha * A / (beta * B) * (flops / 6) ** (beta / (alpha + beta))
    return n, flops / 6 / n


@mutant("test_it_is_the_stationary_point")
def searches_a_grid(flops, A, B, alpha, beta):
    if not all(x > 0 for x in (flops, A, B, alpha, beta)):
        raise ValueError("above 0")
    low, high = 1e-6, flops
    for _ in range(46):
        one, two = low ** (2 / 3) * high ** (1 / 3), low ** (1 / 3) * high ** (2 / 3)
        if A / one**alpha + B / (flops / 6 / one) ** beta < A / two**alpha + B / (flops / 6 / two) ** beta:
            high = two
        else:
            low = one
    n = (low * high) ** 0.5
    return n, flops / 6 / n


@mutant("test_what_is_not_above_zero_is_refused")
def accepts_everything(flops, A, B, alpha, beta):
    if not all((flops, A, B, alpha, beta)):
        return 0.0, 0.0
    n = (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
    return n, flops / 6 / n
