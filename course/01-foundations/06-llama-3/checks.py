"""Checks of exercise 1.6. They run in the order in which they stand; the first that fails is the diagnosis."""

from teachllm.school.checks import diagnosis

# vocab_size, d_model, n_layers, n_heads, n_kv_heads, head_dim, hidden. All numbers differ, so that none stands in for another.
MULTI_HEAD = (1000, 64, 3, 4, 4, 16, 176)
GROUPED = (1000, 64, 3, 8, 2, 8, 176)
WIDE_HEADS = (1000, 48, 5, 4, 2, 32, 100)
LLAMA_3_8B = (128_256, 4096, 32, 32, 8, 128, 14_336)
LLAMA_3_70B = (128_256, 8192, 80, 64, 8, 128, 28_672)
SMOLLM2 = (49_152, 576, 30, 9, 3, 64, 1536)
KEYS = ["attention", "embedding", "feed_forward", "head", "norms"]


@diagnosis(
    zh="返回的应当是一个字典，正好五个键：embedding、attention、feed_forward、norms、head。",
    en="The result must be a dictionary with exactly five keys: embedding, attention, feed_forward, norms and head.",
)
def test_there_are_five_parts(implementation):
    assert sorted(implementation(*MULTI_HEAD)) == KEYS


@diagnosis(
    zh="个数应当是整数。用 / 会得到小数；这里只需要乘法和加法。",
    en="Counts must be integers. A / gives floating-point numbers; multiplication and addition are all that is needed.",
)
def test_counts_are_integers(implementation):
    for sizes in (MULTI_HEAD, GROUPED, WIDE_HEADS):
        assert all(type(n) is int for n in implementation(*sizes, qkv_bias=True).values())


@diagnosis(
    zh="嵌入不对：词表里每个 token 一行，每行 d_model 个数。",
    en="The embedding is off: a row for each token of the vocabulary, with d_model numbers.",
)
def test_embedding(implementation):
    assert implementation(*MULTI_HEAD)["embedding"] == 1000 * 64
    assert implementation(*WIDE_HEADS)["embedding"] == 1000 * 48


@diagnosis(
    zh="前馈网络只数了一层。所有层的都要加起来。",
    en="Only one layer of the feed-forward networks was counted. All layers belong to it.",
)
def test_feed_forward_of_all_layers(implementation):
    one_layer = implementation(1000, 64, 1, 4, 4, 16, 176)["feed_forward"]
    assert implementation(*MULTI_HEAD)["feed_forward"] == 3 * one_layer


@diagnosis(
    zh="前馈网络的矩阵数目不对。SwiGLU 有三个矩阵：门、内容、压回，都是 d_model × hidden 这么大，没有偏置。",
    en="The number of feed-forward matrices is off. SwiGLU has three, gate, content and back down, each of d_model × hidden numbers and without biases.",
)
def test_feed_forward_has_three_matrices(implementation):
    assert implementation(*MULTI_HEAD)["feed_forward"] == 3 * 3 * 64 * 176


@diagnosis(
    zh="每个头都有自己的 key 和 value 时（普通多头），注意力就不对。一层有四个矩阵：query、key、value、输出。检查有没有漏掉一个，有没有乘上层数。",
    en="Attention is off even where each head has its own keys and values (plain multi-head). A layer has four matrices: queries, keys, values and output. See whether one is missing, and whether you multiplied by the layers.",
)
def test_multi_head_attention(implementation):
    assert implementation(*MULTI_HEAD)["attention"] == 3 * 4 * 64 * 64


@diagnosis(
    zh="用了 GQA，注意力就不对。key 和 value 只有 n_kv_heads 组，所以这两个矩阵比 query 的窄；query 和输出的矩阵不变窄。",
    en="Attention is off with GQA. There are only n_kv_heads sets of keys and values, so these two matrices are narrower than that of the queries; the matrices of queries and output are not.",
)
def test_grouped_query_attention(implementation):
    assert implementation(*GROUPED)["attention"] == 3 * (2 * 64 * 64 + 2 * 64 * 16)


@diagnosis(
    zh="把 n_heads · head_dim 当成了 d_model（或者把 head_dim 当成了 d_model / n_heads）。Llama 3 里两者恰好相等，别的模型不一定。",
    en="You took n_heads · head_dim for d_model (or head_dim for d_model / n_heads). In Llama 3 they happen to be equal; in other models they need not be.",
)
def test_heads_may_be_wider_than_the_stream(implementation):
    assert implementation(*WIDE_HEADS)["attention"] == 5 * (48 * (128 + 2 * 64) + 128 * 48)


@diagnosis(
    zh="偏置不对。qkv_bias 时，每一层的 query、key、value 各加一个偏置，长度是它们自己的长度（n_heads · head_dim，n_kv_heads · head_dim），输出矩阵没有。",
    en="The biases are off. With qkv_bias, queries, keys and values have one in every layer, as long as they are themselves (n_heads · head_dim, n_kv_heads · head_dim). The output matrix has none.",
)
def test_biases_of_queries_keys_and_values(implementation):
    for sizes, length in (
        (MULTI_HEAD, 3 * 3 * 64),
        (GROUPED, 3 * (64 + 2 * 16)),
        (WIDE_HEADS, 5 * (128 + 2 * 64)),
    ):
        without, with_bias = implementation(*sizes), implementation(*sizes, qkv_bias=True)
        assert with_bias["attention"] - without["attention"] == length
        assert {k: n for k, n in with_bias.items() if k != "attention"} == {
            k: n for k, n in without.items() if k != "attention"
        }


@diagnosis(
    zh="归一化不对。一层两个（注意力前、前馈网络前），输出层之前还有一个；每个 d_model 个数，RMSNorm 没有偏置。",
    en="The norms are off. There are two in a layer, before attention and before the feed-forward network, and one more before the head; each has d_model numbers, and RMSNorm has no bias.",
)
def test_norms(implementation):
    assert implementation(*MULTI_HEAD)["norms"] == 7 * 64
    assert implementation(*WIDE_HEADS)["norms"] == 11 * 48


@diagnosis(
    zh="输出层不对。单独的一张表和嵌入一样大；tied_head 时它就是嵌入那张表，不再计数，是 0，而嵌入照数。",
    en="The head is off. A table of its own is as large as the embedding; with tied_head it is the embedding, is not counted again and is 0, while the embedding still counts.",
)
def test_a_tied_head_counts_once(implementation):
    assert implementation(*MULTI_HEAD)["head"] == 1000 * 64
    tied = implementation(*MULTI_HEAD, tied_head=True)
    assert (tied["embedding"], tied["head"]) == (1000 * 64, 0)


@diagnosis(
    zh="各部分在小例子上都对，可是和真模型的总数对不上。检查有没有把哪个数写死了。",
    en="Each part is right on small examples, but the totals of real models do not come out. See whether some number is hard-coded.",
)
def test_real_models(implementation):
    assert sum(implementation(*LLAMA_3_8B).values()) == 8_030_261_248
    assert sum(implementation(*LLAMA_3_70B).values()) == 70_553_706_496
    assert sum(implementation(*SMOLLM2, tied_head=True).values()) == 134_515_008
