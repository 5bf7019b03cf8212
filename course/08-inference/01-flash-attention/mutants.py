"""Wrong versions of exercise 8.1 that real people write, each with the check that must catch it first."""

# torch and finite are imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_the_result_is_a_state_again")
def returns_the_output(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    f, g = torch.exp(m_a - finite(m)), torch.exp(m_b - finite(m))
    return (f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b) / (f * total_a + g * total_b).unsqueeze(-1)


@mutant("test_each_query_has_its_own_maximum")
def one_maximum_for_all_queries(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b).max().expand_as(m_a)
    f, g = torch.exp(m_a - m), torch.exp(m_b - m)
    return m, f * total_a + g * total_b, f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b


@mutant("test_the_denominator_is_relative_to_the_new_maximum")
def adds_without_rescaling(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    return torch.maximum(m_a, m_b), total_a + total_b, acc_a + acc_b


@mutant("test_the_denominator_is_relative_to_the_new_maximum")
def exponent_the_wrong_way_round(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    f, g = torch.exp(finite(m) - m_a), torch.exp(finite(m) - m_b)
    return m, f * total_a + g * total_b, f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b


@mutant("test_the_maximum_may_stand_on_either_side")
def rescales_only_the_first(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    f = torch.exp(m_a - finite(m))
    return m, f * total_a + total_b, f.unsqueeze(-1) * acc_a + acc_b


@mutant("test_the_numerator_is_rescaled_like_the_denominator")
def forgets_the_numerator(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    return m, torch.exp(m_a - finite(m)) * total_a + torch.exp(m_b - finite(m)) * total_b, acc_a + acc_b


@mutant("test_the_numerator_is_rescaled_like_the_denominator")
def divides_at_every_merge(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    f, g = torch.exp(m_a - finite(m)), torch.exp(m_b - finite(m))
    total = f * total_a + g * total_b
    return m, total, (f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b) / total.unsqueeze(-1)


@mutant("test_as_many_queries_as_dimensions")
def adds_the_dimension_only_if_it_must(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    f, g = torch.exp(m_a - finite(m)), torch.exp(m_b - finite(m))
    if f.shape[-1] == acc_a.shape[-1]:
        return m, f * total_a + g * total_b, f.unsqueeze(-2) * acc_a + g.unsqueeze(-2) * acc_b
    return m, f * total_a + g * total_b, f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b


@mutant("test_large_scores_do_not_overflow")
def goes_by_plain_exponentials(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    f, g = torch.exp(m_a) / torch.exp(m), torch.exp(m_b) / torch.exp(m)
    return m, f * total_a + g * total_b, f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b


@mutant("test_a_side_without_keys_changes_nothing", "test_two_sides_without_keys_stay_without")
def a_large_negative_number_for_minus_infinity(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b).clamp(min=-1e4)
    f, g = torch.exp(m_a - m), torch.exp(m_b - m)
    return m, f * total_a + g * total_b, f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b


@mutant("test_two_sides_without_keys_stay_without")
def nan_for_two_empty_sides(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    f, g = torch.exp(m_a - m), torch.exp(m_b - m)
    return m, f * total_a + g * total_b, f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b


@mutant("test_two_sides_without_keys_stay_without")
def returns_the_replaced_maximum(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = finite(torch.maximum(m_a, m_b))
    f, g = torch.exp(m_a - m), torch.exp(m_b - m)
    return m, f * total_a + g * total_b, f.unsqueeze(-1) * acc_a + g.unsqueeze(-1) * acc_b


@mutant("test_the_arguments_stay_as_they_were")
def rescales_in_place(a, b):
    (m_a, total_a, acc_a), (m_b, total_b, acc_b) = a, b
    m = torch.maximum(m_a, m_b)
    f, g = torch.exp(m_a - finite(m)), torch.exp(m_b - finite(m))
    total_a *= f
    acc_a *= f.unsqueeze(-1)
    return m, total_a + g * total_b, acc_a + g.unsqueeze(-1) * acc_b
