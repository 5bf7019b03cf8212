"""Wrong versions of exercise 1.2 that real people write, each with the check that must catch it first."""

# math and torch are imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_output_has_the_shape_of_the_queries")
def transposes_the_wrong_dimensions(q, k, v, mask=None, scale=None):
    scores = q.transpose(-2, -1) @ k[..., : q.shape[-2], :] / math.sqrt(q.shape[-1])
    return torch.softmax(scores, dim=-1) @ v[..., : q.shape[-1], :].transpose(-2, -1)[..., : q.shape[-1], :]


@mutant("test_weights_of_each_query_add_up_to_one")
def softmax_over_queries(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-2)) @ v


@mutant("test_scores_are_scaled")
def forgets_to_scale(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ v


@mutant("test_scaling_is_the_square_root_of_the_head_dimension")
def divides_by_d(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) / q.shape[-1]
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ v


@mutant("test_scaling_is_the_square_root_of_the_head_dimension")
def divides_by_the_root_of_the_length(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(k.shape[-2])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ v


@mutant("test_true_in_the_mask_means_may_be_seen")
def mask_the_wrong_way_round(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ v


@mutant("test_visible_weights_add_up_to_one_under_a_mask")
def mask_after_the_softmax(q, k, v, mask=None, scale=None):
    weights = torch.softmax(q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1])), dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ v


@mutant("test_visible_weights_add_up_to_one_under_a_mask")
def fills_with_zero_instead_of_minus_infinity(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(~mask, 0.0)
    weights = torch.softmax(scores, dim=-1)
    return weights @ v if mask is None else (weights * mask) @ v


@mutant("test_the_future_does_not_leak")
def ignores_the_mask(q, k, v, mask=None, scale=None):
    return torch.softmax(q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1])), dim=-1) @ v


@mutant("test_a_query_that_sees_nothing_gets_zero")
def nan_when_everything_is_masked(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.softmax(scores, dim=-1) @ v


@mutant("test_a_query_that_sees_nothing_gets_zero")
def a_large_negative_number_instead_of_minus_infinity(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = torch.where(mask, scores, torch.full_like(scores, -1e9))
    return torch.softmax(scores, dim=-1) @ v


@mutant("test_large_scores_do_not_overflow")
def plain_exp(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1]))
    exponentials = scores.exp()
    if mask is not None:
        exponentials = exponentials * mask
    total = exponentials.sum(-1, keepdim=True)
    return exponentials / torch.where(total == 0, torch.ones_like(total), total) @ v


@mutant("test_masks_differ_between_samples_and_heads")
def one_mask_for_all_samples(q, k, v, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        while mask.dim() > 2:
            mask = mask[0]
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ v


@mutant("test_the_arguments_stay_as_they_were")
def scales_the_queries_in_place(q, k, v, mask=None, scale=None):
    q *= scale or 1 / math.sqrt(q.shape[-1])
    scores = q @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.nan_to_num(torch.softmax(scores, dim=-1)) @ v
