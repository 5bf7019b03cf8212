"""Wrong versions of exercise 1.4 that real people write, each with the check that must catch it first."""

# torch and math are imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_the_shape_stays_and_numbers_are_whole")
def returns_floats(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).floor().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_nearby_distances_have_a_bucket_each")
def takes_the_past_for_the_future(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else relative.clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_nearby_distances_have_a_bucket_each")
def logarithmic_from_the_beginning(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    growth = torch.log(distance.clamp(min=1).float()) / math.log(max_distance)
    bucket = (growth * buckets).long().clamp(max=buckets - 1)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_the_future_counts_as_here")
def takes_the_absolute_value(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs()
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_the_last_bucket_takes_the_rest")
def forgets_to_stop(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).long()
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_far_buckets_grow_logarithmically")
def divides_evenly(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = (distance - exact) / (max_distance - exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_far_buckets_grow_logarithmically")
def forgets_to_divide_inside_the_logarithm(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1).float()) / math.log(max_distance)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_far_buckets_grow_logarithmically")
def rounds_to_the_nearest(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).round().long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_past_and_future_have_a_half_each")
def gives_the_past_the_second_half(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative < 0) if bidirectional else bucket


@mutant("test_past_and_future_have_a_half_each")
def counts_here_as_the_future(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative >= 0) if bidirectional else bucket


@mutant("test_each_half_is_divided_like_the_whole")
def keeps_exact_of_the_whole(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = n_buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_sizes_are_those_given")
def ignores_the_largest_distance(relative, n_buckets=32, max_distance=128, bidirectional=True):
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(128 / exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * (relative > 0) if bidirectional else bucket


@mutant("test_the_arguments_stay_as_they_were")
def works_in_place(relative, n_buckets=32, max_distance=128, bidirectional=True):
    future = relative > 0
    distance = relative.abs_() if bidirectional else relative.neg_().clamp_(min=0)
    buckets = n_buckets // 2 if bidirectional else n_buckets
    exact = buckets // 2
    growth = torch.log(distance.clamp(min=1) / exact) / math.log(max_distance / exact)
    far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
    bucket = torch.where(distance < exact, distance, far)
    return bucket + buckets * future if bidirectional else bucket
