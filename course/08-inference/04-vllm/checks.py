"""Checks of exercise 8.4. They run in the order in which they stand; the first that fails is the diagnosis."""

import random

from teachllm.school.checks import diagnosis

GIB = 2**30
TOKEN = 819_200  # of OPT-13B: 2 · 40 layers · 40 heads · 128 · 2 bytes
WEIGHTS = 25_700_000_000


def blocks(memory, taken, token_bytes, share, block_size):
    return max(0, int((share * memory - taken) // (block_size * token_bytes)))


def expected(lengths, memory, taken, token_bytes, share, block_size, max_running):
    free, running = blocks(memory, taken, token_bytes, share, block_size), 0
    while running < min(len(lengths), max_running):
        free -= (lengths[running] + block_size - 1) // block_size
        if free < 0:
            return running
        running += 1
    return running


@diagnosis(
    zh="最简单的情形就不对：全部显存都给缓存，放得下 10 块，每个请求正好一块，应当是 10 个；请求只有 3 个时是 3；没有请求时是 0。",
    en="The simplest case is wrong: all memory is for the cache, 10 blocks fit and each request takes exactly one, so it is 10. With 3 requests it is 3, and with none 0.",
)
def test_one_block_for_each(implementation):
    for n, wanted in ((20, 10), (3, 3), (0, 0)):
        assert implementation([4] * n, 160, 0, 4, share=1.0, block_size=4) == wanted


@diagnosis(
    zh="权重没有减掉，或者单位弄错了。taken 是已经用掉的字节，token_bytes 是一个 token 的字节：一块是 block_size × token_bytes 字节。",
    en="The weights are not subtracted, or a unit is wrong. taken is in bytes, token_bytes are those of one token, and a block has block_size × token_bytes.",
)
def test_the_weights_take_their_part(implementation):
    assert implementation([4] * 20, 160, 64, 4, share=1.0, block_size=4) == 6


@diagnosis(
    zh="比例用错了地方。share 是整张卡最多用到几成，权重也算在里面：先乘，再减权重。先减再乘，得到的缓存就偏大，留给激活的不够。",
    en="The share is applied in the wrong place. It says how much of the whole card may be in use, weights included: multiply first, then subtract the weights. The other way round, the cache is too large and too little is left for activations.",
)
def test_the_share_is_of_the_whole_memory(implementation):
    assert implementation([4] * 20, 320, 80, 4, share=0.75, block_size=4) == 10


@diagnosis(
    zh="请求拿的是整块，各拿各的：每个请求自己向上取整，再加起来。把 token 数先加起来再除，等于让两个请求合用一块。",
    en="Requests take whole blocks, each its own: round up for every request, then add. Adding the tokens first lets two requests have a block in common.",
)
def test_every_request_rounds_up_by_itself(implementation):
    assert implementation([5, 5, 5, 5], 96, 0, 4, share=1.0, block_size=4) == 3
    assert implementation([1] * 9, 96, 0, 4, share=1.0, block_size=4) == 6


@diagnosis(
    zh="向上取整多了一块：长度正好是块的整数倍时，不用再多要一块。",
    en="Rounding up takes a block too many: a length that is a multiple of the block size needs no further block.",
)
def test_full_blocks_need_no_other(implementation):
    assert implementation([8, 8, 8], 96, 0, 4, share=1.0, block_size=4) == 3


@diagnosis(
    zh="有人插队了。第一个放不下的请求等着，它后面的也要等，哪怕后面的更短、放得下。",
    en="Somebody overtakes. The first request that does not fit waits, and so does everybody behind it, even those that are shorter and would fit.",
)
def test_nobody_overtakes(implementation):
    assert implementation([8, 40, 4, 4], 160, 0, 4, share=1.0, block_size=4) == 1
    assert implementation([12, 4, 16, 40], 160, 0, 4, share=1.0, block_size=4) == 3


@diagnosis(
    zh="同时在跑的人数有上限 max_running，内存再多也不能超过。",
    en="max_running limits how many run at once, however much memory there is.",
)
def test_no_more_than_max_running(implementation):
    assert implementation([4] * 20, 160, 0, 4, share=1.0, block_size=4, max_running=7) == 7
    assert implementation([1] * 400, GIB, 0, 1, share=1.0) == 256


@diagnosis(
    zh="权重就放不下的时候，缓存是 0 块，返回 0；不能得到负数，也不能报错。",
    en="When not even the weights fit, there are 0 blocks, and the result is 0: no negative number and no error.",
)
def test_weights_that_do_not_fit(implementation):
    assert implementation([4, 4], 100, 160, 4, share=0.9, block_size=4) == 0


@diagnosis(
    zh="OPT-13B 在 40 GiB 的卡上算得不对。预留 2048（块就是 2048）应当是 7 个；每个请求 500 个 token、块 16，应当是 30 个。检查零头：放不满一块的字节不算一块。",
    en="OPT-13B on a card of 40 GiB comes out wrong. With 2048 reserved (blocks of 2048) it is 7; with requests of 500 tokens in blocks of 16 it is 30. Look at remainders: bytes that do not fill a block are no block.",
)
def test_the_13b_example(implementation):
    card = {"memory": 40 * GIB, "taken": WEIGHTS, "token_bytes": TOKEN}
    assert implementation([2048] * 99, **card, block_size=2048) == 7
    assert implementation([500] * 99, **card) == 30


@diagnosis(
    zh="随机的例子里，结果和定义不一致，或者传进来的 lengths 被改动了。",
    en="In random cases the result is not as defined, or the given lengths were changed.",
)
def test_as_defined(implementation):
    rng = random.Random(4)
    for _ in range(300):
        lengths = [rng.randint(1, 60) for _ in range(rng.randint(0, 25))]
        case = {
            "memory": rng.randint(100, 6000),
            "taken": rng.randint(0, 1500),
            "token_bytes": rng.choice((1, 2, 6)),
            "share": rng.choice((0.5, 0.75, 1.0)),
            "block_size": rng.choice((1, 4, 16)),
            "max_running": rng.choice((1, 5, 256)),
        }
        given = list(lengths)
        assert implementation(given, **case) == expected(lengths, **case)
        assert given == lengths
