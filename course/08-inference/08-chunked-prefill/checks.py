"""Checks of exercise 8.8. They run in the order in which they stand; the first that fails is the diagnosis."""

import random

import pytest

from teachllm.school.checks import LearnerError, diagnosis


@diagnosis(
    zh="没有提示时，每个只想要 1 个的都该得到 1 个，什么都不想要的得 0。返回的列表和 wanted 一样长。",
    en="Without prompts, everyone who wants 1 gets 1, and who wants nothing gets 0. The result is as long as wanted.",
)
def test_who_decodes_gets_a_token(implementation):
    assert list(implementation([1, 0, 1, 1], 8, 1)) == [1, 0, 1, 1]
    assert list(implementation([], 8, 4)) == []


@diagnosis(
    zh="提示没有按预算切开：放不下整段时，先给预算以内的那么多。",
    en="A prompt is not cut: where it does not fit as a whole, it gets as much as the budget allows.",
)
def test_a_prompt_is_cut(implementation):
    assert list(implementation([700], 256, 128)) == [256]
    assert list(implementation([700], 256, 1)) == [256]


@diagnosis(
    zh="提示排在前面，就把解码的人挤掉了。只想要 1 个的先拿，哪怕他们排在提示后面。",
    en="A prompt that stands first takes the place of those who decode. Who wants 1 gets it first, also from behind a prompt.",
)
def test_a_prompt_does_not_stall_those_behind_it(implementation):
    shares = list(implementation([700, 1, 1, 1], 256, 128))
    assert shares[1:] == [1, 1, 1]


@diagnosis(
    zh="凑整份的是块本身，不是总数，于是块太小。要“块 + 解码的人”是 tile 的倍数：256 行、17 个人搭车，块是 239。",
    en="It is the chunk that you round to whole tiles, so it is too small. Chunk and decodes together must be a multiple: with 256 rows and 17 passengers the chunk is 239.",
)
def test_the_sum_is_rounded_and_not_the_chunk(implementation):
    assert sum(implementation([1] * 17 + [1024], 256, 128)) >= 256


@diagnosis(
    zh="块没有给搭车的让地方：块加上解码的人，总数超过了预算。论文里，块是 C − (B − 1)。",
    en="The chunk makes no room for its passengers: chunk and decodes together exceed the budget. In the paper the chunk is C − (B − 1).",
)
def test_the_chunk_makes_room_for_those_who_decode(implementation):
    assert list(implementation([1] * 17 + [1024], 256, 128)) == [1] * 17 + [239]


@diagnosis(
    zh="预算不是 tile 的整数倍时，总数也不是：多出来的几行要按整份付钱。先把预算向下取到整份，再减去解码的人。",
    en="Where the budget is no multiple of the tile, neither is the batch, and the odd rows cost a whole tile. Round the budget down to whole tiles, then take off those who decode.",
)
def test_the_batch_is_whole_tiles(implementation):
    assert sum(implementation([1, 1, 900], 300, 128)) == 256
    assert sum(implementation([1, 1, 900], 383, 128)) == 256
    assert sum(implementation([1, 1, 900], 384, 128)) == 384


@diagnosis(
    zh="一批里放了不止一块：第一段提示读完还有地方，也不轮到下一段。（引擎的规则会接着放，SARATHI 的不会。）",
    en="More than one chunk in a batch: where the first prompt leaves room, the next one still gets nothing. (The engine's rule would go on; SARATHI's does not.)",
)
def test_one_prompt_a_batch(implementation):
    assert list(implementation([1, 30, 400, 1], 256, 128)) == [1, 30, 0, 1]
    assert list(implementation([300, 400], 256, 128)) == [256, 0]


@diagnosis(
    zh="提示的最后一段不该凑整：剩下的不多，就全给它，不能为了整份少给，也不能多给。",
    en="The end of a prompt is not rounded: when little is left of it, it gets all of that, no less for the sake of whole tiles, and no more.",
)
def test_the_end_of_a_prompt_is_what_is_left(implementation):
    assert list(implementation([1, 130], 512, 128)) == [1, 130]
    assert list(implementation([50], 512, 128)) == [50]


@diagnosis(
    zh="解码的人很多时出错：他们按先后拿到预算用完为止；他们占满了整份，提示得 0，不是负数。",
    en="It goes wrong with many who decode: they get theirs in order until the budget is used up, and where they fill the tiles the prompt gets 0, not a negative number.",
)
def test_many_who_decode(implementation):
    assert list(implementation([50, *[1] * 130], 200, 128)) == [0, *[1] * 130]
    assert list(implementation([50, 1, 1, 1], 2, 1)) == [0, 1, 1, 0]
    assert list(implementation([1, 1, 1, 9], 2, 2)) == [1, 1, 0, 0]


@diagnosis(
    zh="连一份 tile 都放不下的预算，或者小于 1 的 tile，应当抛出 ValueError：不然提示永远读不了，谁也不知道为什么。",
    en="A budget without room for one tile, or a tile below 1, must raise ValueError. Otherwise no prompt is ever read, and nobody knows why.",
)
def test_no_room_for_a_tile_is_refused(implementation):
    for budget, tile in ((100, 128), (10, 0), (0, 1)):
        with pytest.raises(LearnerError) as raised:
            implementation([1, 50], budget, tile)
        assert raised.value.kind == "ValueError"


@diagnosis(
    zh="和定义不一致：某一批的总数、某个人得到的数，或者改动了 wanted。",
    en="Not as defined: the sum of some batch, what somebody gets in it, or wanted was changed.",
)
def test_any_batch(implementation):
    draw = random.Random(8)
    for _ in range(300):
        tile = draw.choice((1, 4, 16, 128))
        budget = tile + draw.randint(0, 300)
        wanted = [draw.choice((0, 1, 1, 1, 2, 40, 900)) for _ in range(draw.randint(0, 24))]
        shares = list(implementation(wanted, budget, tile))
        assert not implementation.mutated
        assert len(shares) == len(wanted)
        ones = [share for share, n in zip(shares, wanted, strict=True) if n == 1]
        decoding = min(len(ones), budget)
        assert ones == [1] * decoding + [0] * (len(ones) - decoding)
        chunks = [(share, n) for share, n in zip(shares, wanted, strict=True) if n > 1]
        if chunks:
            room = max(0, budget - budget % tile - decoding)
            assert chunks[0][0] == min(chunks[0][1], room)
            assert not any(share for share, _ in chunks[1:])
