"""Wrong versions of exercise 1.3 that real people write, each with the check that must catch it first."""

# torch is imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_the_shape_stays")
def joins_along_positions(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-2).to(x.dtype)


@mutant("test_position_zero_changes_nothing")
def counts_positions_from_one(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = (positions + 1).float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_position_zero_changes_nothing")
def adds_the_position(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    return (x + torch.cat([angles.sin(), angles.cos()], dim=-1)).to(x.dtype)


@mutant("test_position_zero_changes_nothing")
def joins_interleaved(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).to(x.dtype)


@mutant("test_lengths_stay")
def two_plus_signs(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos + b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_lengths_stay")
def second_term_not_swapped(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - a * sin, b * cos + b * sin], dim=-1).to(x.dtype)


@mutant("test_component_i_pairs_with_i_plus_half")
def pairs_neighbours(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2).to(x.dtype)


@mutant("test_turning_is_anticlockwise")
def turns_backwards(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1).to(x.dtype)


@mutant("test_the_first_pair_turns_one_radian_a_position")
def counts_pairs_from_one(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(1, half + 1) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_frequencies")
def forgets_the_two_in_the_exponent(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / x.shape[-1])
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_turning_is_anticlockwise", "test_frequencies")
def forgets_the_minus_in_the_exponent(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_frequencies")
def ignores_the_base(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * 10_000.0 ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_frequencies")
def one_frequency_for_all_pairs(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None].expand(-1, half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_positions_are_those_given")
def starts_at_the_first_and_counts_on(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    counted = positions[0] + torch.arange(x.shape[-2])
    angles = counted.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_samples_and_heads_do_not_mix")
def expects_positions_before_heads(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    if x.dim() == 4:
        cos, sin = cos[:, None], sin[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


@mutant("test_the_shape_stays")
def flattens_from_the_third_dimension(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    pairs = torch.complex(x[..., :half].float(), x[..., half:].float())
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).transpose(-1, -2).flatten(2).to(x.dtype)


@mutant("test_half_precision_in_half_precision_out")
def angles_in_the_precision_of_x(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    frequencies = (base ** (-torch.arange(half) / half)).to(x.dtype)
    angles = positions.to(x.dtype)[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


@mutant("test_half_precision_in_half_precision_out")
def returns_float32(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


@mutant("test_the_arguments_stay_as_they_were")
def writes_the_result_into_x(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half].clone(), x[..., half:].clone()
    x[..., :half] = (a * cos - b * sin).to(x.dtype)
    x[..., half:] = (a * sin + b * cos).to(x.dtype)
    return x


@mutant("test_lengths_stay")
def second_half_from_the_changed_first(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = positions.float()[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    turned = x.clone()
    turned[..., :half] = turned[..., :half] * cos - turned[..., half:] * sin
    turned[..., half:] = turned[..., :half] * sin + turned[..., half:] * cos
    return turned
