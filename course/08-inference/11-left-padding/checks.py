"""Checks of exercise 8.11. They run in the order in which they stand; the first that fails is the diagnosis."""

import pytest
import torch

from teachllm.school.checks import LearnerError, diagnosis

TEXTS = [[11, 12, 13, 14], [21, 22], [31, 32, 33, 34, 35]]


@diagnosis(
    zh="要返回三个张量：tokens、mask、positions，形状都是 (段数, 最长的一段)，dtype 依次是 long、bool、long。",
    en="Return three tensors, tokens, mask and positions, each of shape (texts, longest text), with dtypes long, bool and long.",
)
def test_three_tensors_of_the_right_shape_and_kind(implementation):
    returned = implementation(TEXTS, 0)
    assert len(returned) == 3
    assert [tuple(one.shape) for one in returned] == [(3, 5)] * 3
    assert [one.dtype for one in returned] == [torch.long, torch.bool, torch.long]


@diagnosis(
    zh="填充的一边不对，或者填的不是 pad_token。每一行都要在最后一列结束，前面空出来的地方填 pad_token。",
    en="The padding is on the wrong side, or is not pad_token. Every row ends in the last column, and what is free before it holds pad_token.",
)
def test_every_row_ends_in_the_last_column(implementation):
    tokens, _, _ = implementation(TEXTS, 9)
    assert tokens.tolist() == [[9, 11, 12, 13, 14], [9, 9, 9, 21, 22], [31, 32, 33, 34, 35]]


@diagnosis(
    zh="掩码不对。真 token 是 True，填充是 False，和 tokens 一格对一格。",
    en="The mask is wrong: True for real tokens, False for padding, cell by cell as in tokens.",
)
def test_the_mask_is_true_for_real_tokens(implementation):
    _, mask, _ = implementation(TEXTS, 9)
    assert mask.int().tolist() == [[0, 1, 1, 1, 1], [0, 0, 0, 1, 1], [1, 1, 1, 1, 1]]


@diagnosis(
    zh="位置不对。每段从自己的第一个真 token 数起，那里是 0，不是列号，也不是从 1 数起。",
    en="The positions are wrong. Each text counts from its own first real token, which is at 0: not from the column, and not from 1.",
)
def test_each_text_counts_from_its_own_first_token(implementation):
    _, mask, positions = implementation(TEXTS, 9)
    real = [at[seen].tolist() for at, seen in zip(positions, mask, strict=True)]
    assert real == [[0, 1, 2, 3], [0, 1], [0, 1, 2, 3, 4]]


@diagnosis(
    zh="填充处的位置要是 0。−1 会让位置表从末尾取，太大的数会越界。",
    en="Padding must have position 0: −1 reads a table of positions from its end, and a large number reads past it.",
)
def test_padding_has_position_zero(implementation):
    _, mask, positions = implementation(TEXTS, 9)
    assert positions[~mask].tolist() == [0] * 4


@diagnosis(
    zh="文字里有一个和 pad_token 一样的 token，被当成填充遮掉了。掩码要从长度来，不能从 tokens != pad_token 来：结束符常被拿来当填充。",
    en="A token of a text that equals pad_token was taken for padding. The mask comes from lengths and not from tokens != pad_token: the end-of-text token is often used as padding.",
)
def test_a_real_token_may_equal_the_padding(implementation):
    _, mask, positions = implementation([[7, 5, 7], [7]], 7)
    assert mask.int().tolist() == [[1, 1, 1], [0, 0, 1]]
    assert positions.tolist() == [[0, 1, 2], [0, 0, 0]]


@diagnosis(
    zh="有一段是空的时候错了：那一行应当全是填充，掩码全是 False，位置全是 0，dtype 也不变。",
    en="An empty text goes wrong: its row is all padding, with a mask of False and positions of 0, and the dtypes stay.",
)
def test_an_empty_text_is_a_row_of_padding(implementation):
    tokens, mask, positions = implementation([[], [4, 5]], 9)
    assert tokens.tolist() == [[9, 9], [4, 5]]
    assert mask.int().tolist() == [[0, 0], [1, 1]]
    assert positions.tolist() == [[0, 0], [0, 1]]
    nothing = implementation([[]], 9)
    assert [tuple(one.shape) for one in nothing] == [(1, 0)] * 3
    assert [one.dtype for one in nothing] == [torch.long, torch.bool, torch.long]


@diagnosis(
    zh="一段也没有时应当抛出 ValueError，告诉人给错了什么。",
    en="With no text at all, raise ValueError, which tells people what they gave.",
)
def test_no_texts_are_refused(implementation):
    with pytest.raises(LearnerError) as caught:
        implementation([], 0)
    assert caught.value.kind == "ValueError"


@diagnosis(
    zh="传进来的列表被你改动了。不要在原来的列表上插入填充，要造新的。",
    en="You changed the lists that were passed in. Do not insert padding into them; make new ones.",
)
def test_the_texts_stay_as_they_were(implementation):
    implementation([[1, 2, 3], [4]], 0)
    assert implementation.mutated == []
