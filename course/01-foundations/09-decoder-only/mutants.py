"""Wrong versions of exercise 1.9 that real people write, each with the check that must catch it first."""

# torch is imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_it_is_a_square_of_booleans")
def numbers_instead_of_booleans(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n)
    mask = torch.ones(n, n).tril()
    if architecture != "causal":
        mask[:, :n_source] = 1
    return mask


@mutant("test_it_is_a_square_of_booleans")
def only_the_rows_of_the_target(architecture, n_source, n_target):
    n = n_source + n_target
    mask = torch.ones(n_target, n, dtype=torch.bool).tril(n_source)
    return mask if architecture != "encoder" else torch.ones_like(mask)


@mutant("test_every_token_reads_itself")
def strictly_lower_triangle(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).tril(-1)
    if architecture != "causal":
        mask[:, :n_source] = True
    return mask


@mutant("test_an_encoder_reads_everything")
def an_encoder_that_does_not_read_the_target(architecture, n_source, n_target):
    n = n_source + n_target
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if architecture != "causal":
        mask[:, :n_source] = True
    return mask


@mutant("test_causal_never_reads_the_future")
def columns_that_read_rows(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).triu()
    if architecture != "causal":
        mask[:n_source, :] = True
    return mask


@mutant("test_causal_never_reads_the_future")
def causal_takes_the_prefix_too(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[:, :n_source] = True
    return mask


@mutant("test_causal_reads_the_whole_past")
def a_target_that_starts_afresh(architecture, n_source, n_target):
    n = n_source + n_target
    mask = torch.ones(n, n, dtype=torch.bool)
    if architecture == "encoder":
        return mask
    mask = mask.tril()
    if architecture == "causal":
        mask[n_source:, :n_source] = False
    else:
        mask[:, :n_source] = True
    return mask


@mutant("test_the_source_never_reads_the_target")
def a_source_that_sees_the_answer(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if architecture != "causal":
        mask[:n_source] = True
        mask[:, :n_source] = True
    return mask


@mutant("test_the_source_reads_the_whole_source")
def a_causal_prefix(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    return torch.ones(n, n, dtype=torch.bool).tril()


@mutant("test_the_target_reads_the_whole_source")
def no_cross_attention(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if architecture != "causal":
        mask[:n_source, :n_source] = True
        mask[n_source:, :n_source] = False
    return mask


@mutant("test_the_target_reads_the_whole_source")
def reads_only_the_last_token_of_the_source(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if architecture != "causal":
        mask[:n_source, :n_source] = True
        mask[n_source:, : max(n_source - 1, 0)] = False
    return mask


@mutant("test_the_target_is_causal")
def one_column_too_many(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if architecture != "causal":
        mask[:n_source, :n_source] = True
        mask[n_source:, : n_source + 2] = True
    return mask


@mutant("test_zero_is_a_number_too")
def no_source_means_an_encoder(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if architecture != "causal":
        mask[:, : n_source or n] = True
    return mask


@mutant("test_nonsense_is_refused")
def takes_any_name(architecture, n_source, n_target):
    n = n_source + n_target
    if architecture == "encoder":
        return torch.ones(n, n, dtype=torch.bool)
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    if architecture != "causal":
        mask[:, :n_source] = True
    return mask
