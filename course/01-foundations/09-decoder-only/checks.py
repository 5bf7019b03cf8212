"""Checks of exercise 1.9. They run in the order in which they stand; the first that fails is the diagnosis."""

import pytest
import torch

from teachllm.school.checks import LearnerError, diagnosis

KINDS = ("encoder", "causal", "prefix", "encoder_decoder")
SIZES = ((3, 2), (1, 4), (5, 1), (4, 4))


@diagnosis(
    zh="形状或类型不对。要的是 (n_source + n_target) 见方的布尔张量：每个 token 一行，每个 token 一列。",
    en="Wrong shape or dtype. It is a boolean tensor of (n_source + n_target) squared: a row and a column for each token.",
)
def test_it_is_a_square_of_booleans(implementation):
    for kind in KINDS:
        for n_source, n_target in SIZES:
            mask = implementation(kind, n_source, n_target)
            assert tuple(mask.shape) == (n_source + n_target, n_source + n_target)
            assert mask.dtype == torch.bool


@diagnosis(
    zh="有的 token 读不到自己。对角线必须是 True：一个位置总要知道自己是谁，而且整行都不许看，softmax 就没有东西可以归一化。",
    en="Some token cannot read itself. The diagonal must be True: a position has to know what it is, and a row without any key leaves the softmax nothing to normalize.",
)
def test_every_token_reads_itself(implementation):
    for kind in KINDS:
        for n_source, n_target in SIZES:
            assert implementation(kind, n_source, n_target).diagonal().all()


@diagnosis(
    zh="encoder 应当全是 True：BERT 的每个 token 读全部 token，没有先后。",
    en="encoder should be all True: in BERT every token reads every token, whatever their order.",
)
def test_an_encoder_reads_everything(implementation):
    for n_source, n_target in SIZES:
        assert implementation("encoder", n_source, n_target).all()


@diagnosis(
    zh="causal 里，有 token 读到了后面的。行是读者，列是被读的：上三角必须是空的。行和列是不是反了？",
    en="In causal, some token reads what stands behind it. Rows read and columns are read: the upper triangle must be empty. Are rows and columns swapped?",
)
def test_causal_never_reads_the_future(implementation):
    for n_source, n_target in SIZES:
        assert not implementation("causal", n_source, n_target).triu(1).any()


@diagnosis(
    zh="causal 里，有 token 读不到自己前面的某个 token。下三角必须全满；输入和要写的部分在这里没有区别。",
    en="In causal, some token cannot read a token before it. The lower triangle must be full; source and target make no difference here.",
)
def test_causal_reads_the_whole_past(implementation):
    for n_source, n_target in SIZES:
        n = n_source + n_target
        assert torch.equal(implementation("causal", n_source, n_target), torch.ones(n, n).tril().bool())


@diagnosis(
    zh="输入读到了要写的 token。前缀只是互相读，答案还没有写出来，谁也不能提前看。",
    en="The source reads the target. A prefix reads only itself: the answer is not written yet, and nobody may look ahead at it.",
)
def test_the_source_never_reads_the_target(implementation):
    for kind in ("prefix", "encoder_decoder"):
        for n_source, n_target in SIZES:
            assert not implementation(kind, n_source, n_target)[:n_source, n_source:].any()


@diagnosis(
    zh="输入的 token 之间应当互相都能读，不分先后。这正是前缀语言模型和编码器比因果模型多出来的那一块。",
    en="The tokens of the source should all read each other, whatever their order. This block is what a prefix LM and an encoder have beyond a causal model.",
)
def test_the_source_reads_the_whole_source(implementation):
    for kind in ("prefix", "encoder_decoder"):
        for n_source, n_target in SIZES:
            assert implementation(kind, n_source, n_target)[:n_source, :n_source].all()


@diagnosis(
    zh="要写的 token 读不到全部输入。在编码器-解码器里，这一块就是交叉注意力：少了它，翻译的时候就看不到原文。",
    en="A target token cannot read the whole source. In an encoder–decoder this block is the cross-attention: without it a translator does not see the text.",
)
def test_the_target_reads_the_whole_source(implementation):
    for kind in ("prefix", "encoder_decoder"):
        for n_source, n_target in SIZES:
            assert implementation(kind, n_source, n_target)[n_source:, :n_source].all()


@diagnosis(
    zh="要写的部分里，每个 token 应当恰好读自己和自己前面的。读多了就是抄答案，读少了就忘了刚写过什么。",
    en="Within the target, a token reads exactly itself and what stands before it. More is copying the answer, less is forgetting what was just written.",
)
def test_the_target_is_causal(implementation):
    for kind in ("prefix", "encoder_decoder"):
        for n_source, n_target in SIZES:
            block = implementation(kind, n_source, n_target)[n_source:, n_source:]
            assert torch.equal(block, torch.ones(n_target, n_target).tril().bool())


@diagnosis(
    zh="个数是 0 的时候不对。没有输入的前缀语言模型就是因果模型；没有要写的，就是编码器；两个都是 0，是一张空表。",
    en="A number of 0 goes wrong. A prefix LM without a source is a causal model, without a target an encoder; with neither it is an empty matrix.",
)
def test_zero_is_a_number_too(implementation):
    for kind in ("prefix", "encoder_decoder"):
        assert torch.equal(implementation(kind, 0, 4), torch.ones(4, 4).tril().bool())
        assert torch.equal(implementation(kind, 4, 0), torch.ones(4, 4).bool())
        assert tuple(implementation(kind, 0, 0).shape) == (0, 0)


@diagnosis(
    zh="不认识的名字或者负的个数，要抛出 ValueError。悄悄给一张错的掩码，模型照样能训练，只是学到的东西不对。",
    en="An unknown name or a negative number must raise ValueError. With a mask that is silently wrong a model still trains, and learns the wrong thing.",
)
def test_nonsense_is_refused(implementation):
    for arguments in (("decoder", 2, 2), ("", 2, 2), ("causal", -1, 3), ("prefix", 2, -1)):
        with pytest.raises(LearnerError) as raised:
            implementation(*arguments)
        assert raised.value.kind == "ValueError"
