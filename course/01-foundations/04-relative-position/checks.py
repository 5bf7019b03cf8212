"""Checks of exercise 1.4. They run in the order in which they stand; the first that fails is the diagnosis."""

import math

import torch

from teachllm.school.checks import diagnosis


def one_side(distance: int, buckets: int, max_distance: int) -> tuple[int, bool]:
    """The bucket of a distance on one side, and whether it lies on an edge where rounding decides."""
    exact = buckets // 2
    if distance < exact:
        return distance, False
    far = exact + math.log(distance / exact) / math.log(max_distance / exact) * (buckets - exact)
    return min(int(far), buckets - 1), abs(far - round(far)) < 1e-3 and far < buckets - 0.5


def compare(implementation, distances, n_buckets, max_distance, bidirectional, future=False):
    buckets = n_buckets // 2 if bidirectional else n_buckets
    expected = [one_side(distance, buckets, max_distance) for distance in distances]
    sign = 1 if future else -1
    got = implementation(
        torch.tensor([sign * distance for distance in distances]), n_buckets, max_distance, bidirectional
    ).tolist()
    for distance, bucket, (wanted, on_an_edge) in zip(distances, got, expected, strict=True):
        if not on_an_edge:
            assert bucket == wanted + (buckets if future and distance else 0), (sign * distance, bucket)


@diagnosis(
    zh="返回的形状或类型不对。输入什么形状，就返回什么形状的整数张量（int64），要拿它去查表：浮点数不能当下标，最后要 .long()。",
    en="The shape or type is wrong. Return integers (int64) in the shape of the input: they are used to look rows up, and floats are no indices. End with .long().",
)
def test_the_shape_stays_and_numbers_are_whole(implementation):
    for shape in ((5,), (2, 3), (2, 3, 4)):
        got = implementation(-torch.arange(math.prod(shape)).reshape(shape))
        assert tuple(got.shape) == shape
        assert got.dtype == torch.int64


@diagnosis(
    zh="近处不对。只看过去、32 个桶时，距离 0 到 15 各占一个桶，桶号就是距离。注意参数是 key 减 query：往前 3 个位置是 −3，先取负号再当距离。",
    en="Nearby distances are off. Looking back with 32 buckets, distances 0 to 15 have a bucket each whose number is the distance. The argument is key minus query: "
    "three places back is −3, so negate it first.",
)
def test_nearby_distances_have_a_bucket_each(implementation):
    got = implementation(-torch.arange(16), 32, 128, False)
    assert got.tolist() == list(range(16))


@diagnosis(
    zh="只看过去的时候，未来没有自己的桶，一律算距离 0。你大概对它取了绝对值，未来 5 步和过去 5 步就成了一回事。",
    en="When looking back only, the future has no buckets of its own and counts as distance 0. You probably took the absolute value, so that 5 ahead equals 5 back.",
)
def test_the_future_counts_as_here(implementation):
    assert implementation(torch.arange(1, 60), 32, 128, False).eq(0).all()


@diagnosis(
    zh="太远的距离没有收进最后一个桶。对数会一直长，到 max_distance 以后要截住：桶号最大是桶数减 1，越界会在查表时报错。",
    en="Far distances do not end up in the last bucket. The logarithm grows on; behind max_distance it must be stopped. The largest number is the number of buckets minus "
    "1, or looking up will fail.",
)
def test_the_last_bucket_takes_the_rest(implementation):
    assert implementation(-torch.tensor([128, 129, 500, 10_000]), 32, 128, False).eq(31).all()


@diagnosis(
    zh="远处的桶不对。后一半桶按对数均分 exact 到 max_distance：exact + log(距离/exact) / log(max_distance/exact) × (桶数 − exact)，向下取整。"
    "查一查：是不是线性分的？对数里有没有除以 exact？是不是四舍五入了？",
    en="Far buckets are off. The second half divides exact to max_distance evenly in the logarithm: exact + log(distance/exact) / log(max_distance/exact) × (buckets − exact), "
    "rounded down. Is yours linear? Is the division by exact inside the logarithm missing? Do you round to the nearest?",
)
def test_far_buckets_grow_logarithmically(implementation):
    compare(implementation, range(16, 128), 32, 128, False)


@diagnosis(
    zh="两边都看时，过去和未来没有分开。过去用前一半桶（0 到 15），未来用后一半（16 到 31）；距离 0 属于过去那边，桶号 0。",
    en="Looking both ways, past and future are not kept apart as they should. The past has the first half (0 to 15), the future the second (16 to 31); distance 0 belongs to the "
    "past, in bucket 0.",
)
def test_past_and_future_have_a_half_each(implementation):
    got = implementation(torch.tensor([-1000, -3, 0, 3, 1000])).tolist()
    assert got[2] == 0
    assert got[1] == 3
    assert got[3] == 19
    assert got[0] < 16 <= got[4]


@diagnosis(
    zh="两边都看时，一边只有一半桶，exact 也跟着减半：32 个桶，一边 16 个，其中 8 个一格一个，8 个按对数分。",
    en="Looking both ways, one side has only half of the buckets, and exact halves with it. Of 32 buckets one side has 16, of which 8 hold one distance each and 8 are logarithmic.",
)
def test_each_half_is_divided_like_the_whole(implementation):
    compare(implementation, range(400), 32, 128, True)
    compare(implementation, range(400), 32, 128, True, future=True)


@diagnosis(
    zh="换了桶数或最远距离就不对了。32、128、16、8 这些数要从 n_buckets 和 max_distance 算出来，不能写死。",
    en="It fails for other sizes. Numbers like 32, 128, 16 and 8 must be computed from n_buckets and max_distance, not typed in.",
)
def test_sizes_are_those_given(implementation):
    for n_buckets, max_distance in ((32, 500), (64, 200), (20, 100)):
        compare(implementation, range(600), n_buckets, max_distance, False)
        compare(implementation, range(600), n_buckets, max_distance, True, future=True)


@diagnosis(
    zh="你改动了传进来的张量。abs_()、clamp_() 这些名字带下划线的函数是原地修改，调用者手里的相对位置也变了；用不带下划线的。",
    en="You changed the given tensor. Functions whose names end in an underscore, abs_() or clamp_(), work in place, so the caller's relative positions change too. Use those "
    "without it.",
)
def test_the_arguments_stay_as_they_were(implementation):
    implementation(torch.arange(-5, 6), 32, 128, True)
    assert not implementation.mutated
    implementation(torch.arange(-5, 6), 32, 128, False)
    assert not implementation.mutated
