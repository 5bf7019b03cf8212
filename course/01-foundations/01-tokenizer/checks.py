"""Checks of exercise 1.1. They run in the order in which they stand; the first that fails is the diagnosis."""

import random
from collections import Counter

from teachllm.school.checks import diagnosis
from teachllm.stack.tokenizer import iter_merges

HUG = {b"hug": 10, b"pug": 5, b"pun": 12, b"bun": 4, b"hugs": 5}


def learned(words: dict[bytes, int], num_merges: int) -> list[tuple[int, int]]:
    """What the stack's other trainer learns, which recounts nothing."""
    return [merge.pair for _, merge in zip(range(num_merges), iter_merges(words), strict=False)]


def as_pairs(result: object) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in result]  # pyright: ignore


@diagnosis(
    zh="返回值应当是一个列表，每一项是一对整数 (左 id, 右 id)，按学到的先后排。",
    en="The result should be a list of pairs of integers, (left id, right id), in the order in which they were learned.",
)
def test_the_result_is_a_list_of_pairs(implementation):
    result = implementation({b"ab": 3}, 1)
    assert isinstance(result, list)
    assert all(len(pair) == 2 and all(type(i) is int for i in pair) for pair in result)


@diagnosis(
    zh='第一次合并就不对。b"hug": 10 的意思是 hug 出现了 10 次：它的每一对都要加 10，不是加 1。按这样数，u+g 有 20 次，是最多的。',
    en='The first merge is wrong already. b"hug": 10 means that hug occurs 10 times: each of its pairs counts 10, not 1. Counted like that, u+g is the most frequent with 20.',
)
def test_counts_are_weighted(implementation):
    assert as_pairs(implementation({b"ab": 2, b"ac": 1, b"xac": 1, b"yac": 1, b"dab": 9}, 1)) == [(97, 98)]
    assert as_pairs(implementation(HUG, 1)) == [(117, 103)]


@diagnosis(
    zh="第一次合并对了，第二次错了。合并以后必须重新数：ug 合成一个 token 以后，p+u 从 17 次掉到 12 次，第二名是 u+n（16 次）。你大概还在用一开始的计数表，或者忘了把合并写回片段。",
    en="The first merge is right, the second is not. After a merge the pairs must be counted anew: with ug merged, p+u drops from 17 to 12, and u+n (16) is next. You probably still use the first table of counts, or do not put the merge back into the pieces.",
)
def test_pairs_are_counted_again_after_each_merge(implementation):
    assert as_pairs(implementation(HUG, 2)) == [(117, 103), (117, 110)]


@diagnosis(
    zh="新 id 的编号不对。第 k 次合并（从 0 数）得到 256 + k；后面的合并要能用上它：hug 是 (104, 256)，因为 ug 是 256。",
    en="The new ids are numbered wrongly. Merge k (from 0) makes 256 + k, and later merges use it: hug is (104, 256), because ug is 256.",
)
def test_later_merges_build_on_new_ids(implementation):
    assert as_pairs(implementation(HUG, 4)) == [(117, 103), (117, 110), (104, 256), (112, 257)]


@diagnosis(
    zh="次数一样多的时候选错了。要取最小的一对（元组比较：先比左 id，再比右 id），和字典里的先后无关，否则同一份语料换个顺序就学出另一个词表。",
    en="With equal counts the wrong pair was taken. Take the smallest one (as tuples compare: left id first, then right id), whatever the order of the dictionary; otherwise the same text in another order gives another vocabulary.",
)
def test_equal_counts_go_to_the_smallest_pair(implementation):
    assert as_pairs(implementation({b"zy": 4, b"ab": 4, b"ac": 4}, 3)) == [(97, 98), (97, 99), (122, 121)]
    assert as_pairs(implementation({b"ac": 4, b"zy": 4, b"ab": 4}, 3)) == [(97, 98), (97, 99), (122, 121)]


@diagnosis(
    zh="片段之间不能合并。每个片段单独数、单独合并：预分词划下的边界，合并不许跨过去。",
    en="Pieces were merged across their border. Count and merge each piece on its own: no merge crosses what pre-tokenization has cut.",
)
def test_no_merge_crosses_a_border(implementation):
    assert as_pairs(implementation({b"ba": 1, b"dc": 1}, 2)) == [(98, 97), (100, 99)]


@diagnosis(
    zh="没有相邻的对了，就该停下来，返回已经学到的；num_merges 是 0 或者没有片段时，返回空列表。",
    en="When no pair is left, stop and return what was learned; with num_merges 0 or no pieces, return an empty list.",
)
def test_it_stops_when_no_pair_is_left(implementation):
    assert as_pairs(implementation({b"ab": 1}, 50)) == [(97, 98)]
    assert implementation({b"a": 7}, 5) == []
    assert implementation({}, 5) == []
    assert implementation(HUG, 0) == []


@diagnosis(
    zh="同一个片段里出现多次的对，要全部合并，包括最后一处。",
    en="A pair that stands in a piece several times must merge at every place, the last one included.",
)
def test_every_place_merges(implementation):
    words = {b"abxabyab": 2, b"xab": 1}
    assert as_pairs(implementation(words, 3)) == learned(words, 3)


@diagnosis(
    zh='计数时漏掉了重叠的位置。b"aaa" 里的 (97, 97) 有两处，第一处和第二处共用中间的 a，都要算。（合并的时候才不许重复用。）',
    en='Overlapping places were not all counted. b"aaa" holds (97, 97) twice, and the two share the middle a: both count. Only when merging may no id be used twice.',
)
def test_overlapping_places_all_count(implementation):
    assert as_pairs(implementation({b"aaaa": 2, b"bc": 5}, 1)) == [(97, 97)]


@diagnosis(
    zh="合并重叠的对时出错了。从左到右，用过的 id 不能再用：aaa 合并 (97, 97) 得到 [256, 97]，aaaa 得到 [256, 256]，一个 id 也不能丢、不能多。",
    en="Overlapping pairs are merged wrongly. Go from left to right and use no id twice: with (97, 97), aaa becomes [256, 97] and aaaa becomes [256, 256]. No id is lost and none appears twice.",
)
def test_overlapping_pairs_merge_from_the_left(implementation):
    assert as_pairs(implementation({b"aaaa": 3}, 2)) == [(97, 97), (256, 256)]
    assert as_pairs(implementation({b"aaa": 3}, 2)) == [(97, 97), (256, 97)]
    assert as_pairs(implementation({b"aaaaa": 3, b"xaay": 1}, 3)) == learned({b"aaaaa": 3, b"xaay": 1}, 3)


@diagnosis(
    zh="你改动了传进来的字典。别人还要用它，先复制再改。",
    en="You changed the dictionary that was passed in. Others still need it: copy before you change.",
)
def test_the_argument_stays_as_it_was(implementation):
    implementation(dict(HUG), 3)
    assert implementation.mutated == []


@diagnosis(
    zh="次数很大的时候算不出来，或者慢得不行。次数是权重：计数时乘上它，不要把片段真的复制那么多份。",
    en="Large counts break it or make it far too slow. A count is a weight: multiply by it, and do not make that many copies of the piece.",
)
def test_a_count_is_a_weight_and_not_copies(implementation):
    words = {b"hug": 10**9, b"pug": 5 * 10**8, b"pun": 12 * 10**8, b"bun": 4 * 10**8}
    assert as_pairs(implementation(words, 3)) == learned(words, 3)


@diagnosis(
    zh="片段一长就太慢：时间随长度的平方增长。多半是每合并一处就切片重抄整个列表（ids[:i] + [new] + ids[i+2:]），或者从头再找一遍。走一遍、往新列表里添，时间就和长度成正比。",
    en="Long pieces take far too long: the time grows with the square of the length. You probably rewrite the whole list for every place that merges (ids[:i] + [new] + ids[i+2:]), or search again from the start. One walk that appends to a new list takes time in proportion.",
)
def test_time_grows_with_the_length_and_not_its_square(implementation):
    for length in (16_000, 64_000):
        assert as_pairs(implementation({b"ab" * (length // 2): 1}, 1)) == [(97, 98)]
        seconds = (
            implementation.last_seconds
        )  # a walk takes a twentieth of a second, even for the longer piece
        assert seconds < 1.0, f"{seconds:.1f} s for a piece of {length:,} bytes"


@diagnosis(
    zh="小例子都对，在更大的一组计数上和课程的结果不同。从第一处不同的合并往回查：那一轮的计数、挑选，还是上一轮的合并。",
    en="The small examples are right, but on a larger set of counts the result differs from the course's. Go back from the first merge that differs: was it the counting, the choice, or the merge before?",
)
def test_larger_counts_give_the_merges_of_the_course(implementation):
    generator = random.Random(11)
    words = Counter(
        "".join(generator.choices("abcde", (9, 7, 5, 2, 1), k=generator.randint(1, 9))) for _ in range(1500)
    )
    counts = {word.encode(): count for word, count in words.items()}
    result = as_pairs(implementation(counts, 60))
    expected = learned(counts, 60)
    first = next((i for i, (a, b) in enumerate(zip(result, expected, strict=False)) if a != b), None)
    assert first is None, f"merge {first}: got {result[first]}, expected {expected[first]}"
    assert len(result) == len(expected)
