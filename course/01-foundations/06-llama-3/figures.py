"""Figures, labs and values of lesson 1.6: the architecture of Llama 3, checked against real weights."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from teachllm.school.figures import (
    Bars,
    Both,
    Choice,
    Event,
    Lines,
    Metric,
    Predict,
    Progress,
    Sample,
    Say,
    Show,
    Slider,
    Table,
    Text,
    TextInput,
    Toggle,
    Token,
    Tokens,
    figure,
    lab,
    real_model,
    value,
)
from teachllm.school.figures.real_model import config, model, tokenizer
from teachllm.stack.chat.messages import Message
from teachllm.stack.data.corpora import stdlib_docs
from teachllm.stack.data.ghost_attention import ghost_attention, instructed_dialogue
from teachllm.stack.inference.roofline import decode_cost, decode_tokens_per_second
from teachllm.stack.models.decoder import Decoder, DecoderConfig
from teachllm.stack.models.gguf import GGUFFile
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.models.parameter_count import parameter_count
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.nn.attention import causal_mask, repeat_kv_heads, scaled_dot_product_attention
from teachllm.stack.nn.feed_forward import swiglu
from teachllm.stack.nn.kv_cache import kv_cache_bytes
from teachllm.stack.nn.norms import rms_norm
from teachllm.stack.nn.positions import rope, rope_frequencies
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.tokenizer.vocabulary import Vocabulary
from teachllm.stack.training.accounting import flops_per_token
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.parameter_groups import parameter_groups

GIB = 2**30
PARTS = {
    "embedding": Both("嵌入", "embedding"),
    "attention": Both("注意力", "attention"),
    "feed_forward": Both("前馈网络", "feed-forward"),
    "norms": Both("归一化", "norms"),
    "head": Both("输出层", "head"),
}
# Llama 2 7B: the published config.json.
LLAMA_2_7B = LlamaConfig(32_000, 4096, 32, 32, 32, 128, 11_008, 4096)
MODELS = {"llama3-8b": "Llama-3-8B", "llama3-70b": "Llama-3-70B", "llama2-7b": "Llama-2-7B", "smollm2": "SmolLM2-135M"}  # fmt: skip
MODEL = Choice(list(MODELS.items()), label=Both("模型", "model"))


@functools.cache
def file() -> GGUFFile:
    return real_model.file()


def sizes(name: str) -> LlamaConfig:
    if name == "smollm2":
        return config()
    return LLAMA_2_7B if name == "llama2-7b" else PRESETS[name]


def count(c: LlamaConfig) -> dict[str, int]:
    return parameter_count(
        *(c.vocab_size, c.d_model, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, c.hidden),
        tied_head=c.tied_head,
        qkv_bias=c.qkv_bias,
    )


# ---------------------------------------------------------------- values


@value
def size(model: str, what: str) -> float:
    """A field of the configuration."""
    return getattr(sizes(model), what)


@value
def parameters(model: str, part: str = "all") -> int:
    parts = count(sizes(model))
    return sum(parts.values()) if part == "all" else parts[part]


@value
def share(model: str, part: str) -> float:
    """In per cent."""
    return 100 * parameters(model, part) / parameters(model)


@value
def block(model: str, what: str) -> int:
    """Numbers in one block: ``q``, ``kv`` (both), ``out``, ``attention``, ``feed_forward``, ``norms``, ``all``."""
    c = sizes(model)
    one = {
        "q": c.d_model * c.n_heads * c.head_dim,
        "kv": 2 * c.d_model * c.n_kv_heads * c.head_dim,
        "out": c.n_heads * c.head_dim * c.d_model,
        "feed_forward": 3 * c.d_model * c.hidden,
        "norms": 2 * c.d_model,
    }
    one["attention"] = one["q"] + one["kv"] + one["out"]
    one["all"] = one["attention"] + one["feed_forward"] + one["norms"]
    return one[what]


@value
def change_from_llama2(part: str) -> float:
    """Llama 3 8B minus Llama 2 7B in billions: ``vocabulary``, ``attention``, ``feed_forward``, ``all``."""
    new, old = count(PRESETS["llama3-8b"]), count(LLAMA_2_7B)
    if part == "all":
        return (sum(new.values()) - sum(old.values())) / 1e9
    keys = ("embedding", "head") if part == "vocabulary" else (part,)
    return sum(new[key] - old[key] for key in keys) / 1e9


@value
def hidden_by_rule(d_model: int, multiplier: float, multiple_of: int) -> int:
    """⅔ · 4 · d_model, times the multiplier, rounded up: how Meta's code finds the width of the feed-forward layer."""
    wanted = int(multiplier * int(2 * 4 * d_model / 3))
    return multiple_of * math.ceil(wanted / multiple_of)


@value
def slowest_turn(base: float, head_dim: int = 128) -> float:
    """After how many positions the slowest pair of a head has turned once."""
    return 2 * math.pi / rope_frequencies(head_dim, base)[-1].item()


@value
def weights_gib(model: str, bits: int = 16) -> float:
    return parameters(model) * bits / 8 / GIB


@value
def cache_gib(model: str, length: int, batch: int = 1) -> float:
    c = sizes(model)
    return kv_cache_bytes(c.n_layers, c.n_kv_heads, c.head_dim, length, batch=batch) / GIB


# ---------------------------------------------------------------- tensor by tensor

# Name in the file, sizes (rows × columns), and what it does, in the order in which a token passes.
IN_A_BLOCK = (
    ("attn_norm", "d", Both("进注意力之前的 RMSNorm：每个分量一个倍数", "RMSNorm before attention: a factor for each component")),
    ("attn_q", "n_heads·head_dim × d", Both("做 query：每个头 head_dim 行", "makes queries: head_dim rows for each head")),
    ("attn_k", "n_kv_heads·head_dim × d", Both("做 key：用了 GQA，行数只有 query 的三分之一", "makes keys: with GQA a third of the rows of the queries")),
    ("attn_v", "n_kv_heads·head_dim × d", Both("做 value：和 key 一样多", "makes values: as many as keys")),
    ("attn_output", "d × n_heads·head_dim", Both("把各头的结果混合，写回残差流", "mixes the heads and writes into the residual stream")),
    ("ffn_norm", "d", Both("进前馈网络之前的 RMSNorm", "RMSNorm before the feed-forward network")),
    ("ffn_gate", "hidden × d", Both("门：经过 SiLU，决定放行多少", "the gate: through SiLU, says how much passes")),
    ("ffn_up", "hidden × d", Both("内容：被门逐个相乘", "the content that the gate multiplies")),
    ("ffn_down", "d × hidden", Both("压回 d 维，写回残差流", "back to d, into the residual stream")),
)  # fmt: skip


@functools.cache
def root_mean_square(name: str) -> float:
    return torch.from_numpy(file().array(f"{name}.weight")).square().mean().sqrt().item()


@value
def n_tensors() -> int:
    return len(file().tensors)


def n_in_file() -> int:
    """Numbers in all tensors of the file, by their shapes."""
    return sum(math.prod(tensor.shape) for tensor in file().tensors.values())


@figure(
    title=Both("跟着一个 token 走过 SmolLM2 的一层", "With a token through one layer of SmolLM2"),
    predict=Predict(
        Both(
            "在 SmolLM2 的一层里，前馈网络三个矩阵的参数，是注意力四个矩阵的几倍？",
            "In one layer of SmolLM2, how many times the parameters of the four attention matrices do the three feed-forward matrices have?",
        ),
        low=0.5,
        high=6.0,
        step=0.5,
        answer=lambda: block("smollm2", "feed_forward") / block("smollm2", "attention"),
        explain=lambda: Both(
            f"{block('smollm2', 'feed_forward') / block('smollm2', 'attention'):.1f} 倍：{block('smollm2', 'feed_forward'):,} 对 {block('smollm2', 'attention'):,}。key 和 value 的矩阵被 GQA 削成了三分之一，前馈网络就更显得大。",
            f"{block('smollm2', 'feed_forward') / block('smollm2', 'attention'):.1f} times: {block('smollm2', 'feed_forward'):,} against {block('smollm2', 'attention'):,}. GQA cuts the matrices of keys and values to a third, which makes the feed-forward part stand out even more.",
        ),
    ),
)
def tensor_walk(
    layer: Annotated[int, Slider(1, 30, label=Both("第几层", "layer"))] = 1,
    stop: Annotated[int, Slider(1, 9, label=Both("走到第几站", "stop"))] = 3,
) -> list[Table | Text]:
    c = config()

    def row(name: str, letters: str) -> list[str]:
        shape = file().tensors[f"{name}.weight"].shape
        size = f"{root_mean_square(name):.3f}"
        return [name.rpartition(".")[2], " × ".join(map(str, shape)), letters, f"{math.prod(shape):,}", size]

    columns = [
        Both("名字", "name"),
        Both("形状", "shape"),
        Both("按配置", "by the configuration"),
        Both("参数", "parameters"),
        Both("均方根", "RMS"),
    ]
    prefix = f"blk.{layer - 1}"
    name, _, role = IN_A_BLOCK[stop - 1]
    return [
        Table(
            columns,
            [row(f"{prefix}.{name}", letters) for name, letters, _ in IN_A_BLOCK],
            highlight_row=stop - 1,
            title=Both(f"文件里的 {prefix}：九个张量", f"{prefix} in the file: nine tensors"),
            note=Both(
                f"d = {c.d_model}，n_heads = {c.n_heads}，n_kv_heads = {c.n_kv_heads}，head_dim = {c.head_dim}，hidden = {c.hidden}",
                f"d = {c.d_model}, n_heads = {c.n_heads}, n_kv_heads = {c.n_kv_heads}, head_dim = {c.head_dim}, hidden = {c.hidden}",
            ),
        ),
        Text(Both(f"{name}：{role.zh}。", f"{name}: {role.en}.")),
        Table(
            columns,
            [row("token_embd", "vocab_size × d"), row("output_norm", "d")],
            title=Both("块外面只有两个：嵌入（兼输出层）和最后的归一化", "Only two outside of the blocks: the embedding, which is the head too, and the last norm"),
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- where the parameters are


@figure(
    title=Both("参数都在哪儿", "Where the parameters are"),
    predict=Predict(
        Both(
            "Llama-3-8B 的 80 亿参数里，前馈网络占百分之几？",
            "Of the 8 billion parameters of Llama-3-8B, how many per cent are in the feed-forward networks?",
        ),
        low=0,
        high=100,
        step=5,
        unit="%",
        answer=lambda: share("llama3-8b", "feed_forward"),
        explain=lambda: Both(
            f"{share('llama3-8b', 'feed_forward'):.0f}%。注意力只占 {share('llama3-8b', 'attention'):.0f}%，剩下的几乎都是词表：嵌入和输出层各 {share('llama3-8b', 'head'):.1f}%。",
            f"{share('llama3-8b', 'feed_forward'):.0f} %. Attention has only {share('llama3-8b', 'attention'):.0f} %, and nearly all the rest is vocabulary: embedding and head take {share('llama3-8b', 'head'):.1f} % each.",
        ),
    ),
)
def where_parameters_are(
    model: Annotated[str, MODEL] = "llama3-8b",
    vocab_size: Annotated[
        int,
        Choice(
            [(0, Both("它自己的", "its own")), (32_000, "32,000"), (128_256, "128,256"), (256_000, "256,000")],
            label=Both("词表", "vocabulary"),
        ),
    ] = 0,
    grouped: Annotated[bool, Toggle(label=Both("按配置用 GQA（关掉：每个头一组 KV）", "GQA as configured (off: one set of KV for each head)"))] = True,
    tied: Annotated[bool, Toggle(label=Both("输出层和嵌入共用一张表", "tie the head to the embedding"))] = False,
) -> list[Bars | Text]:  # fmt: skip
    own = sizes(model)
    changed = dataclasses.replace(
        own,
        vocab_size=vocab_size or own.vocab_size,
        n_kv_heads=own.n_kv_heads if grouped else own.n_heads,
        tied_head=tied or own.tied_head,
    )
    parts, total = count(changed), sum(count(changed).values())
    unit, scale = (Both("百万", "million"), 1e6) if total < 1e9 else (Both("十亿", "billion"), 1e9)
    difference = total - sum(count(own).values())
    return [
        Bars(
            [PARTS[part] for part in parts],
            [n / scale for n in parts.values()],
            y_label=Both("参数", "parameters"),
            unit=unit,
            highlight=2,
        ),
        Text(
            Both(
                f"一共 {total:,} 个，和它自己的配置相差 {difference:+,}。",
                f"{total:,} in all, {difference:+,} from its own configuration.",
            )
        ),
    ]


# ---------------------------------------------------------------- what a vocabulary costs and saves

KEPT_MERGES = (1000, 2000, 4000, 8000, 16_000, 32_000, 48_900)


@functools.cache
def tokens_per_hundred() -> dict[int, float]:
    """Vocabulary size → tokens for 100 characters of English documentation.

    The vocabularies are beginnings of SmolLM2's own list of merges: BPE learns one after another, so the
    first thousand are what a training for a smaller vocabulary would have found.
    """
    whole = tokenizer().vocabulary
    ids = {token: token_id for token_id, token in whole.tokens.items()}
    text = "\n".join(stdlib_docs(max_bytes=200_000))
    found = {}
    for n_merges in KEPT_MERGES:
        merges = whole.merges[:n_merges]
        made = (whole.tokens[left] + whole.tokens[right] for left, right in merges)
        tokens = {token_id: token for token_id, token in whole.tokens.items() if len(token) == 1}
        tokens |= {ids[token]: token for token in made}
        cut = Tokenizer(Vocabulary(tokens, merges, {}, whole.pattern))
        found[len(tokens)] = 100 * len(cut.encode_to_array(text)) / len(text)
    return found


def read_for_text(name: str, vocab_size: int, tokens: float) -> float:
    """Numbers that are read from memory to write 100 characters, one request, caches left out."""
    c = dataclasses.replace(sizes(name), vocab_size=vocab_size)
    parts = count(c)
    return tokens * (sum(parts.values()) - (0 if c.tied_head else parts["embedding"]))


@value
def fewer_tokens(old: float = 3.17, new: float = 3.94) -> float:
    """Per cent fewer tokens when a token holds `new` instead of `old` characters on average."""
    return 100 * (1 - old / new)


@value
def more_read_for_vocabulary() -> float:
    """Per cent more weights to read for a token of Llama 3 8B with 128,256 instead of 32,000 rows in the head."""
    return 100 * (read_for_text("llama3-8b", 128_256, 1) / read_for_text("llama3-8b", 32_000, 1) - 1)


@figure(
    title=Both("词表大了，花多少，省多少", "A larger vocabulary: what it costs and what it saves"),
    predict=Predict(
        Both(
            "同样一段英文，词表从约 4 千扩到约 4 万 9，token 会少百分之几？",
            "A vocabulary grows from about 4 thousand to about 49 thousand. How many per cent fewer tokens does the same English text take?",
        ),
        low=0,
        high=90,
        step=5,
        unit="%",
        answer=lambda: (
            100 * (1 - list(tokens_per_hundred().values())[-1] / list(tokens_per_hundred().values())[2])
        ),
        explain=lambda: Both(
            f"每 100 个字符从 {list(tokens_per_hundred().values())[2]:.1f} 个 token 降到 {list(tokens_per_hundred().values())[-1]:.1f} 个。词表扩大十一倍多，token 只少了四分之一左右：越往后学到的 token 越少见。",
            f"From {list(tokens_per_hundred().values())[2]:.1f} tokens for 100 characters to {list(tokens_per_hundred().values())[-1]:.1f}. A vocabulary more than eleven times as large saves only about a quarter of the tokens: the later a token is learned, the rarer it is.",
        ),
    ),
)
def vocabulary(
    model: Annotated[str, MODEL] = "llama3-8b",
    what: Annotated[
        str,
        Choice(
            [
                ("saved", Both("省下的：每 100 个字符的 token", "saved: tokens for 100 characters")),
                ("paid", Both("花掉的：词表占全部参数", "paid: the vocabulary's share of all parameters")),
                ("sum", Both("合起来：写 100 个字符要读的权重", "together: weights read to write 100 characters")),
            ],
            label=Both("看哪一样", "look at"),
        ),
    ] = "saved",
) -> list[Lines | Text]:  # fmt: skip
    measured = tokens_per_hundred()
    xs = list(measured)
    c = sizes(model)
    ends = [read_for_text(model, v, t) for v, t in measured.items()]
    best = xs[ends.index(min(ends))]
    if what == "saved":
        ys, label = list(measured.values()), Both("token / 100 字符", "tokens / 100 characters")
    elif what == "paid":
        ys, label = [], Both("词表占的参数（%）", "share of the vocabulary (%)")
        for vocab_size in xs:
            parts = count(dataclasses.replace(c, vocab_size=vocab_size))
            ys.append(100 * (parts["embedding"] + parts["head"]) / sum(parts.values()))
    else:
        ys, label = [end / 1e9 for end in ends], Both("读的权重（十亿个数）", "weights read (billions)")
    return [
        Lines({MODELS[model]: (xs, ys)}, x_label=Both("词表大小", "vocabulary"), y_label=label, x_log=True),
        Text(
            Both(
                f"在量过的这几个大小里，{MODELS[model]} 写同样一段英文，读权重最少的是 {best:,}。",
                f"Of the sizes measured, {MODELS[model]} reads the fewest weights for the same English text at {best:,}.",
            )
        ),
    ]


# ---------------------------------------------------------------- the roofline

# Operations a second in bf16 without sparsity, bytes a second, bytes of memory: NVIDIA's data sheets.
MACHINES: dict[str, tuple[str, float, float, float]] = {
    "a100": ("A100 80GB SXM", 312e12, 2039e9, 80e9),
    "h100": ("H100 80GB SXM", 989e12, 3350e9, 80e9),
    "4090": ("RTX 4090", 165e12, 1008e9, 24e9),
}
MACHINE = Choice([(key, one[0]) for key, one in MACHINES.items()], label=Both("显卡", "GPU"))
BITS = Choice([(16, "bf16"), (8, "int8"), (4, "int4")], label=Both("权重的精度", "precision of weights"))
BATCHES = [2**k for k in range(12)]


def bound(machine: str, model: str, batch: int, length: int, bits: int) -> float:
    _, peak, bandwidth, _ = MACHINES[machine]
    return decode_tokens_per_second(
        decode_cost(sizes(model), batch, length, bits / 8), batch, peak, bandwidth
    )


@value
def tokens_per_second(machine: str, model: str, batch: int, length: int, bits: int = 16) -> float:
    """At most, for all requests together."""
    return bound(machine, model, batch, length, bits)


@value
def flops_per_byte(machine: str) -> float:
    return MACHINES[machine][1] / MACHINES[machine][2]


@value
def intensity(model: str, batch: int, length: int) -> float:
    return decode_cost(sizes(model), batch, length).intensity


@value
def prefill_seconds(machine: str, model: str, length: int) -> float:
    """At least so long to compute a prompt: its operations at the peak of the machine.

    No more than is needed: a query meets half of the keys on average, and the head only the last position.
    """
    parts = {part: flops / 3 for part, flops in flops_per_token(sizes(model), length).items()}  # forward only
    blocks = parts["attention_matrices"] + parts["attention_scores"] / 2 + parts["feed_forward"]
    return (length * blocks + parts["head"]) / MACHINES[machine][1]


@value
def flops_per_fp32(tera_flops: float = 19.5, gigabytes: float = 1935) -> float:
    """Operations that an A100 (PCIe) can do in the time in which one float32 arrives from memory."""
    return tera_flops * 1e12 / (gigabytes * 1e9 / 4)


@value
def crossing(machine: str, model: str, length: int) -> int:
    """The smallest batch at which arithmetic is the limit; 0 if there is none up to a million."""
    _, peak, bandwidth, _ = MACHINES[machine]
    for batch in itertools.chain(range(1, 4096), (2**k for k in range(12, 21))):
        if decode_cost(sizes(model), batch, length).intensity >= peak / bandwidth:
            return batch
    return 0


def requests_that_fit(c: LlamaConfig, memory: float, length: int, bits: int) -> int:
    """Caches in bf16 that find room beside the weights."""
    left = memory - sum(count(c).values()) * bits / 8
    return max(0, int(left // kv_cache_bytes(c.n_layers, c.n_kv_heads, c.head_dim, length)))


@value
def fit(machine: str, model: str, length: int, bits: int = 16, n_kv_heads: int | None = None) -> int:
    c = sizes(model)
    return requests_that_fit(
        dataclasses.replace(c, n_kv_heads=n_kv_heads or c.n_kv_heads), MACHINES[machine][3], length, bits
    )


@figure(
    title=Both("一秒最多吐多少个 token", "How many tokens a second at most"),
    predict=Predict(
        Both(
            "Llama-3-8B，bf16，A100，上下文很短。同时解码多少个请求，瓶颈才从带宽变成算力？",
            "Llama-3-8B in bf16 on an A100, with a very short context. From how many requests at a time on is arithmetic the limit, and no longer bandwidth?",
        ),
        choices=["1", "20", "150", "2000"],
        answer=lambda: min(
            range(4), key=lambda i: abs(math.log((1, 20, 150, 2000)[i] / crossing("a100", "llama3-8b", 1)))
        ),
        explain=lambda: Both(
            f"{crossing('a100', 'llama3-8b', 1)} 个。A100 每读一个字节，够做 {flops_per_byte('a100'):.0f} 次运算；一个权重 2 字节，给每个请求用一次是 2 次运算，所以大约要 {flops_per_byte('a100'):.0f} 个请求分摊。",
            f"{crossing('a100', 'llama3-8b', 1)}. An A100 can do {flops_per_byte('a100'):.0f} operations for each byte that it reads. A weight has 2 bytes and costs 2 operations for each request, so about {flops_per_byte('a100'):.0f} requests must share it.",
        ),
    ),
)
def roofline(
    machine: Annotated[str, MACHINE] = "a100",
    model: Annotated[str, MODEL] = "llama3-8b",
    length: Annotated[int, Slider(1, 131_072, log=True, label=Both("每个请求的上下文（token）", "context of each request (tokens)"))] = 1,
    bits: Annotated[int, BITS] = 16,
) -> list[Lines | Text]:  # fmt: skip
    name, peak, bandwidth, memory = MACHINES[machine]
    costs = [decode_cost(sizes(model), batch, length, bits / 8) for batch in BATCHES]
    pairs = list(zip(BATCHES, costs, strict=True))
    most = requests_that_fit(sizes(model), memory, length, bits)
    marks = [(most, Both("显存装满", "memory is full"))] if 1 <= most <= BATCHES[-1] else []
    fits = (
        Both(f"显存最多装得下 {most:,} 个请求。", f"Memory holds at most {most:,} requests.")
        if most
        else Both(f"{name} 连权重带一份缓存都装不下。", f"{name} cannot hold the weights and one cache.")
    )
    alone, crowd = costs[0].intensity, costs[-1].intensity
    return [
        Lines(
            {
                Both("算力的上限", "limit of arithmetic"): (BATCHES, [b * peak / c.flops for b, c in pairs]),
                Both("带宽的上限", "limit of bandwidth"): (
                    BATCHES,
                    [b * bandwidth / (c.weight_bytes + c.cache_bytes) for b, c in pairs],
                ),
            },
            x_label=Both("同时解码的请求", "requests at a time"),
            y_label=Both("token/s，所有请求合计", "tokens/s of all requests"),
            x_log=True,
            y_log=True,
            marks=marks,
            note=Both("能达到的，是两条线里低的那一条", "what can be reached is the lower of the two lines"),
        ),
        Text(
            Both(
                f"每读一个字节做的运算：1 个请求 {alone:.1f} 次，{BATCHES[-1]} 个请求 {crowd:.1f} 次；{name} 够做 {peak / bandwidth:.0f} 次。{fits.zh}",
                f"Operations for each byte read: {alone:.1f} with one request, {crowd:.1f} with {BATCHES[-1]}; {name} could do {peak / bandwidth:.0f}. {fits.en}",
            )
        ),
    ]


@figure(
    title=Both("一张卡能同时接待几个人", "How many people one card can serve"),
    predict=Predict(
        Both(
            "A100 80GB，Llama-3-8B，bf16，每人 8192 个 token。GQA 下装得下几个人？",
            "An A100 80GB with Llama-3-8B in bf16 and 8192 tokens each: how many people fit with GQA?",
        ),
        low=0,
        high=200,
        step=1,
        answer=lambda: fit("a100", "llama3-8b", 8192),
        explain=lambda: Both(
            f"{fit('a100', 'llama3-8b', 8192)} 个。权重占 {weights_gib('llama3-8b'):.0f} GiB，每人的缓存 1 GiB。要是每个头一组 KV，只有 {fit('a100', 'llama3-8b', 8192, n_kv_heads=32)} 个。",
            f"{fit('a100', 'llama3-8b', 8192)}. The weights take {weights_gib('llama3-8b'):.0f} GiB, each cache 1 GiB. With a set of KV for each head, only {fit('a100', 'llama3-8b', 8192, n_kv_heads=32)} would.",
        ),
    ),
)
def seats(
    machine: Annotated[str, MACHINE] = "a100",
    model: Annotated[str, MODEL] = "llama3-8b",
    bits: Annotated[int, BITS] = 16,
) -> list[Lines | Text]:
    name, _, _, memory = MACHINES[machine]
    c = sizes(model)
    weights = sum(count(c).values()) * bits / 8
    if weights >= memory:
        return [
            Text(
                Both(
                    f"{MODELS[model]} 的权重要 {weights / 1e9:.0f} GB，{name} 只有 {memory / 1e9:.0f} GB：一个人也接待不了。换低一点的精度，或者用几张卡。",
                    f"The weights of {MODELS[model]} take {weights / 1e9:.0f} GB and {name} has {memory / 1e9:.0f} GB: nobody can be served. Take fewer bits, or several cards.",
                )
            )
        ]
    lengths = [1024 * 2**k for k in range(8)]
    kinds = {"GQA" if c.n_kv_heads < c.n_heads else "MHA": c.n_kv_heads, "MHA": c.n_heads, "MQA": 1}
    series: dict[str | Both, tuple[list[int], list[int]]] = {}
    for kind, n_kv_heads in kinds.items():
        shared = dataclasses.replace(c, n_kv_heads=n_kv_heads)
        fitting = [(n, requests_that_fit(shared, memory, n, bits)) for n in lengths]
        some = [(n, people) for n, people in fitting if people]
        if some:
            series[f"{kind} · {n_kv_heads}"] = ([n for n, _ in some], [people for _, people in some])
    return [
        Lines(
            series,
            x_label=Both("每人的上下文（token）", "context of each (tokens)"),
            y_label=Both("同时的人数", "people at a time"),
            x_log=True,
            y_log=True,
            note=Both("图例：共享方式 · KV 组数。线断了，是一个人也装不下", "legend: sharing · sets of KV. A line ends where not even one fits"),
        ),
        Text(
            Both(
                f"权重 {weights / 1e9:.1f} GB，剩 {(memory - weights) / 1e9:.1f} GB 给缓存。",
                f"Weights take {weights / 1e9:.1f} GB and leave {(memory - weights) / 1e9:.1f} GB for caches.",
            )
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- Ghost Attention

RULE = "Answer in capitals."
ROUNDS = [("2 + 2?", "FOUR"), ("Capital of France?", "PARIS"), ("Opposite of hot?", "COLD"), ("Day after Monday?", "TUESDAY")]  # fmt: skip
TRAINED, SILENT, INSTRUCTED = 2, 7, 0


@figure(title=Both("GAtt：同一段对话，两种写法", "GAtt: one dialogue written in two ways"))
def ghost(
    stage: Annotated[
        str,
        Choice(
            [
                ("sampling", Both("采样回答的时候", "when answers are sampled")),
                ("training", Both("训练的时候", "when training")),
            ],
            label=Both("阶段", "stage"),
        ),
    ] = "training",
    rounds: Annotated[int, Slider(1, 4, label=Both("几轮", "rounds"))] = 3,
    instruction: Annotated[
        str, TextInput(max_length=60, label=Both("开头说的规矩", "the rule given at the beginning"))
    ] = RULE,
) -> list[Tokens | Text]:
    rule = instruction.strip() or RULE
    names = {"user": Both("用户", "user"), "assistant": Both("助手", "assistant")}
    dialogue: list[Message] = []
    for question, answer in ROUNDS[:rounds]:
        dialogue += [Message("user", question), Message("assistant", answer)]
    if stage == "sampling":
        turns, trained = instructed_dialogue(dialogue, rule), None
    else:
        training = ghost_attention(dialogue, rule)
        turns, trained = training.turns, training.trained
    strip, labels = [], []
    for i, turn in enumerate(turns):
        learned = trained is not None and trained[i]
        tone = TRAINED if learned else SILENT
        pieces = turn.content.split("\n\n", 1) if turn.content.startswith(rule) else [turn.content]
        note = Both("算损失", "in the loss") if learned else Both("不算损失", "not in the loss")
        row = [Token(pieces[-1], tone=tone, note=None if trained is None else note)]
        if len(pieces) == 2:
            row.insert(0, Token(pieces[0], tone=INSTRUCTED, note=Both("规矩", "the rule")))
        strip.append(row)
        labels.append(names[turn.role])
    said = (
        Both("规矩塞在每一句用户的话前面，模型每一轮都看得见，答出来的话自然守规矩。", "The rule stands before every user turn. The model sees it in each round, so its answers obey.")
        if trained is None
        else Both("规矩只留在第一句。只有最后一句回答（绿色）算损失；规矩从后面各轮拿掉以后，中间的回答和它对不上，可能伤到训练，所以不学。", "The rule stays in the first turn only. Only the last answer (green) is in the loss; with the rule gone from the later turns, those in the middle no longer match it, which could hurt training, so they are not learned from.")
    )  # fmt: skip
    return [Tokens(strip, labels=labels), Text(said)]


# ---------------------------------------------------------------- lab: the real model, step by step

SENTENCE = "The capital of France is"


def heads(x: Tensor, head_dim: int) -> Tensor:
    """(batch, length, heads · head_dim) → (batch, heads, length, head_dim)."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def one_layer(x: Tensor, weights: dict[str, Tensor], c: LlamaConfig) -> Tensor:
    """A block of a Llama in the functions of the earlier lessons; nothing of the model's own code."""
    # Attention: x + out(attention(rope(q), rope(k), v)).
    normed = rms_norm(x, weights["attention_norm.weight"], c.norm_eps)
    widths = [n * c.head_dim for n in (c.n_heads, c.n_kv_heads, c.n_kv_heads)]
    q, k, v = (heads(normed @ w.T, c.head_dim) for w in weights["attention.qkv.weight"].split(widths))
    positions = torch.arange(x.shape[1])
    q, k = rope(q, positions, c.rope_base), rope(k, positions, c.rope_base)
    group = c.n_heads // c.n_kv_heads
    k, v = repeat_kv_heads(k, group), repeat_kv_heads(v, group)
    mixed = scaled_dot_product_attention(q, k, v, causal_mask(x.shape[1]))
    x = x + mixed.transpose(1, 2).flatten(2) @ weights["attention.out.weight"].T
    # Feed-forward: x + down(silu(gate) · up).
    normed = rms_norm(x, weights["feed_forward_norm.weight"], c.norm_eps)
    gate, up = (normed @ w.T for w in weights["feed_forward.gate_up.weight"].chunk(2))
    return x + swiglu(gate, up) @ weights["feed_forward.down.weight"].T


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


@lab(
    title=Both("把 SmolLM2 拆开，一层一层对", "SmolLM2 taken apart and checked layer by layer"),
    seconds=10,
    summary=Both(
        "用前几课的函数，拿真的权重，从嵌入手工算到 logits。每过一层，就和模型自己的结果比一次；顺便看看，如果在这一层就停下，模型会接着说什么。",
        "From the embedding to the logits by hand, with the functions of the earlier lessons and the real weights. After each layer the result is compared with the model's own; and you see what the model would say if it stopped there.",
    ),
)
def layer_by_layer(
    sentence: Annotated[
        str, TextInput(max_length=120, label=Both("一句话（英文）", "a sentence"))
    ] = SENTENCE,
) -> Iterator[Event]:
    yield Progress(0, 30, Both("读入模型", "loading the model"))
    llama, words, c = model(), tokenizer(), config()
    ids = torch.tensor([words.encode(sentence.strip() or SENTENCE)[:64]])
    own: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        own.append(output)

    hooks = [block.register_forward_hook(keep) for block in llama.blocks]
    with torch.inference_mode():
        logits = llama(ids)[0, -1]
    for hook in hooks:
        hook.remove()

    table = llama.embedding.weight.detach()
    x, rows, worst = table[ids], [], 0.0

    def stop_here(x: Tensor) -> Tensor:
        """The logits of the last token if no further layer followed."""
        return rms_norm(x[0, -1], llama.norm.weight.detach(), c.norm_eps) @ table.T

    def row(layer: int, x: Tensor, added: str, difference: str) -> list[object]:
        probabilities = torch.softmax(stop_here(x), dim=-1)
        best = int(probabilities.argmax())
        said = words.decode([best]).replace(" ", "␣").replace("\n", "⏎")
        return [layer, f"{rms(x[0, -1]):.2f}", added, said, f"{probabilities[best].item():.1%}", difference]

    columns = [
        Both("过了几层", "layers passed"),
        Both("末位向量的大小", "size of the last vector"),
        Both("这一层加上的", "what the layer added"),
        Both("若停在这里，会说", "would say here"),
        Both("概率", "probability"),
        Both("和模型的相对误差", "relative difference from the model"),
    ]
    with torch.inference_mode():
        rows.append(row(0, x, "", ""))
        for layer, module in enumerate(llama.blocks, start=1):
            before = x
            x = one_layer(x, {name: p.detach() for name, p in module.named_parameters()}, c)
            difference = ((x - own[layer - 1]).abs().max() / own[layer - 1].abs().max()).item()
            worst = max(worst, difference)
            rows.append(row(layer, x, f"{rms((x - before)[0, -1]):.2f}", f"{difference:.1e}"))
            yield Progress(layer, c.n_layers)
            yield Sample(
                Both("末位向量的均方根", "root mean square of the last vector"),
                x=layer,
                y=rms(x[0, -1]),
                x_label=Both("层", "layer"),
                y_label=Both("大小", "size"),
            )
            if layer % 3 == 0:
                yield Show("layers", Table(columns, list(rows)))
        mine = stop_here(x)
    yield Metric(Both("各层相对误差的最大值", "largest relative error of any layer"), worst)
    yield Metric(Both("logits 最多相差", "largest difference of logits"), (mine - logits).abs().max().item())
    same = int(mine.argmax()) == int(logits.argmax())
    yield Say(
        Both(
            f"手工算的和模型给出的下一个 token {'相同' if same else '不同'}：{words.decode([int(mine.argmax())])!r}。",
            f"By hand and by the model, the next token is {'the same' if same else 'not the same'}: {words.decode([int(mine.argmax())])!r}.",
        )
    )


# ---------------------------------------------------------------- lab: one part exchanged at a time

VOCAB, D_MODEL, N_LAYERS, N_HEADS, N_KV, HEAD_DIM, HIDDEN, LENGTH = 1024, 64, 4, 4, 2, 16, 176, 64
STEPS, WARMUP, ROWS, LEARNING_RATE, POINTS = 300, 30, 16, 4e-3, 15
Variant = Literal["llama", "layer", "learned", "gelu", "mha", "no_norm", "no_position"]
VARIANTS: dict[Variant, Both] = {
    "llama": Both("Llama 的零件", "the parts of Llama"),
    "layer": Both("RMSNorm → LayerNorm", "RMSNorm → LayerNorm"),
    "learned": Both("RoPE → 可学习位置", "RoPE → learned positions"),
    "gelu": Both("SwiGLU → GELU", "SwiGLU → GELU"),
    "mha": Both("GQA → MHA", "GQA → MHA"),
    "no_norm": Both("去掉归一化", "no norms"),
    "no_position": Both("去掉位置编码", "no positions"),
}
COMPARED: dict[str, tuple[Variant, ...]] = {
    "exchange": ("llama", "layer", "learned", "gelu", "mha"),
    "remove": ("llama", "no_norm", "no_position"),
}


def variant(kind: Variant) -> DecoderConfig:
    """The same decoder with one part exchanged; the feed-forward width makes up for the parameters."""
    c = DecoderConfig(VOCAB, D_MODEL, N_LAYERS, N_HEADS, N_KV, HEAD_DIM, HIDDEN, LENGTH)
    match kind:
        case "layer":
            return dataclasses.replace(c, norm="layer")
        case "no_norm":
            return dataclasses.replace(c, norm="none")
        case "learned":
            return dataclasses.replace(c, position="learned")
        case "no_position":
            return dataclasses.replace(c, position="none")
        case "gelu":  # two matrices instead of three
            return dataclasses.replace(c, feed_forward="gelu", hidden=HIDDEN * 3 // 2)
        case "mha":  # keys and values of two more heads, 2 · 2 · 16 rows, from 3 matrices
            more = 2 * (N_HEADS - N_KV) * HEAD_DIM
            return dataclasses.replace(c, n_kv_heads=N_HEADS, hidden=HIDDEN - round(more / 3))
    return c


@functools.cache
def prose() -> tuple[Tensor, Tensor]:
    """English documentation in a vocabulary of VOCAB tokens: to train on, and 64 rows held out."""
    texts = list(stdlib_docs(max_bytes=1_500_000))
    words = Tokenizer.train(texts[: len(texts) // 3], VOCAB)
    ids = torch.from_numpy(words.encode_to_array("\n".join(texts)).astype("int64"))
    kept, held_out = ids[: int(0.95 * len(ids))], ids[int(0.95 * len(ids)) :]
    starts = torch.randint(len(held_out) - LENGTH, (64, 1), generator=torch.Generator().manual_seed(9))
    return kept, held_out[starts + torch.arange(LENGTH + 1)]


def train(kind: Variant, seed: int, steps: int) -> Iterator[tuple[int, float]]:
    """The held-out loss at POINTS moments. One seed gives every variant the same batches."""
    kept, held_out = prose()
    decoder = Decoder(variant(kind))
    initialize(decoder, torch.Generator().manual_seed(seed))
    optimizer = AdamW(parameter_groups(decoder, 0.1), lr=LEARNING_RATE)
    batches = torch.Generator().manual_seed(100 + seed)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, step / WARMUP) * max(0.1, 1 - step / steps)
        starts = torch.randint(len(kept) - LENGTH, (ROWS, 1), generator=batches)
        rows = kept[starts + torch.arange(LENGTH + 1)]
        loss = F.cross_entropy(decoder(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        if step % (steps // POINTS) == 0:
            with torch.inference_mode():
                logits = decoder(held_out[:, :-1])
                yield step, F.cross_entropy(logits.flatten(0, 1), held_out[:, 1:].flatten()).item()


@lab(
    title=Both("一次只换一个零件", "One part exchanged at a time"),
    seconds=75,
    summary=Both(
        "同一个小模型训练几遍，参数几乎一样多，数据和次序完全一样，每遍只换一个零件。最后比同一批没见过的文字上的损失。",
        "One small model is trained several times with nearly equal parameters, the same data in the same order, and one part exchanged each time; then the loss on the same unseen text is compared.",
    ),
)
def exchange_parts(
    compared: Annotated[
        str,
        Choice(
            [
                ("exchange", Both("换成别的零件", "exchange a part")),
                ("remove", Both("干脆去掉", "take a part away")),
            ],
            label=Both("做什么", "what to do"),
        ),
    ] = "exchange",
    seed: Annotated[int, Slider(0, 9, label=Both("种子", "seed"))] = 0,
    steps: Annotated[int, Slider(60, 1500, step=60, label=Both("步数", "steps"))] = STEPS,
) -> Iterator[Event]:
    torch.set_num_threads(1)  # at this size a second thread costs more than it gives
    kinds = COMPARED[compared]
    total, done, rows, first = len(kinds) * POINTS, 0, [], math.nan
    yield Progress(0, total, Both("准备数据", "preparing the data"))
    for kind in kinds:
        loss = math.nan
        for step, loss in train(kind, seed, steps):
            done += 1
            yield Progress(done, total, VARIANTS[kind])
            yield Sample(
                VARIANTS[kind],
                x=step,
                y=loss,
                x_label=Both("步", "step"),
                y_label=Both("没见过的文字上的损失", "loss on unseen text"),
            )
        first = loss if kind == "llama" else first
        rows.append(
            [VARIANTS[kind], f"{variant(kind).n_parameters:,}", f"{loss:.3f}", f"{loss - first:+.3f}"]
        )
        yield Show(
            "result",
            Table(
                [
                    Both("模型", "model"),
                    Both("参数", "parameters"),
                    Both("损失", "loss"),
                    Both("减去第一行", "minus the first row"),
                ],
                list(rows),
            ),
        )
    yield Say(
        Both(
            "相差多少才算数？换一个种子再跑一次，看同一行自己变了多少：差别要比那个大才算。",
            "How large must a difference be to count? Run again with another seed and see how far a row moves by itself: a difference must be larger than that.",
        )
    )


# ---------------------------------------------------------------- lab: your own count

# Numbers in the published safetensors files, two bytes each; in that of Llama 2 without the tables of rotation
# frequencies, which are not trained.
PUBLISHED = {"llama3-8b": 8_030_261_248, "llama3-70b": 70_553_706_496, "llama2-7b": 6_738_415_616}


@lab(
    title=Both("你的算式，真的模型", "Your count, real models"),
    seconds=5,
    summary=Both(
        "用 parameter_count 去数四个真的模型，和文件里的、公布的总数对。打开“用我写的函数来跑”，它就换成你写的。",
        "parameter_count counts four real models, and is compared with the file and the published totals. Turn on “Run it with my function” and it becomes yours.",
    ),
)
def your_count() -> Iterator[Event]:
    totals = {"smollm2": n_in_file(), **PUBLISHED}
    rows, right = [], 0
    for number, (name, total) in enumerate(totals.items(), start=1):
        parts = count(sizes(name))
        found = sum(parts.values())
        right += found == total
        rows.append([MODELS[name], *(f"{parts.get(part, 0):,}" for part in PARTS), f"{found:,}", f"{total:,}", f"{found - total:+,}"])  # fmt: skip
        yield Progress(number, len(totals))
        yield Show(
            "counts",
            Table(
                [
                    Both("模型", "model"),
                    *PARTS.values(),
                    Both("数出来", "counted"),
                    Both("实际", "in fact"),
                    Both("差", "off by"),
                ],
                list(rows),
            ),
        )
    yield Metric(Both("一个不差的模型", "models counted exactly"), right, f"/ {len(totals)}")
