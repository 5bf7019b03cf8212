"""Figures, labs and values of lesson 8.6: prefill and decode."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import torch
from torch import Tensor

from teachllm.school.figures import (
    Bars,
    Both,
    Choice,
    Event,
    Heatmap,
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
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import config, file, greedy_answer, model, question_ids, tokenizer
from teachllm.stack.inference.packed_weights import pack_for_decoding
from teachllm.stack.inference.roofline import (
    StepCost,
    decode_cost,
    measure_read_bandwidth,
    roofline_seconds,
    step_cost,
)
from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.models.loading import load_model
from teachllm.stack.models.presets import PRESETS
from teachllm.stack.nn.attention import (
    causal_mask,
    readable_attention,
    repeat_kv_heads,
    scaled_dot_product_attention,
    use_attention,
)
from teachllm.stack.nn.kv_cache import KVCache, kv_cache_bytes
from teachllm.stack.training.accounting import flops_per_token, measure_matmul_peak

# Touvron et al. 2023, arXiv:2307.09288, and the published config.json.
LLAMA_2_7B = LlamaConfig(32_000, 4096, 32, 32, 32, 128, 11_008, 4096)
MODELS = {"llama2-7b": "Llama-2-7B", "llama3-8b": "Llama-3-8B", "smollm2": "SmolLM2-135M"}
MODEL = Choice(list(MODELS.items()), label=Both("模型", "model"))

# Operations a second in bf16 without sparsity, bytes a second: NVIDIA's data sheets.
MACHINES: dict[str, tuple[str, float, float]] = {
    "a100": ("A100 80GB SXM", 312e12, 2039e9),
    "h100": ("H100 80GB SXM", 989e12, 3350e9),
}
MACHINE = Choice([(key, one[0]) for key, one in MACHINES.items()], label=Both("显卡", "GPU"))


def sizes(name: str) -> LlamaConfig:
    if name == "smollm2":
        return config()
    return LLAMA_2_7B if name == "llama2-7b" else PRESETS[name]


# ---------------------------------------------------------------- what a step costs


def cost_of(model: str, prompt: int = 0, batch: int = 0, length: int = 1) -> StepCost:
    """A step that reads `prompt` new tokens of one text and decodes for `batch` others at `length`."""
    texts = [(0, prompt)] * (prompt > 0) + [(length - 1, 1)] * batch
    return step_cost(sizes(model), texts)


@value
def prefill_flops(model: str, length: int) -> float:
    """In units of 10¹²."""
    return cost_of(model, prompt=length).flops / 1e12


@value
def decode_flops(model: str, batch: int, length: int) -> float:
    """In units of 10⁹."""
    return decode_cost(sizes(model), batch, length).flops / 1e9


@value
def decode_gigabytes(model: str, batch: int, length: int, what: str = "all") -> float:
    cost = decode_cost(sizes(model), batch, length)
    return {"all": cost.bytes, "weights": cost.weight_bytes, "cache": cost.cache_bytes}[what] / 1e9


@value
def prefill_gigabytes(model: str, length: int) -> float:
    return cost_of(model, prompt=length).bytes / 1e9


@value
def prefill_intensity(model: str, length: int) -> float:
    return cost_of(model, prompt=length).intensity


@value
def decode_intensity(model: str, batch: int, length: int) -> float:
    return decode_cost(sizes(model), batch, length).intensity


@value
def ridge(machine: str) -> float:
    """Operations that the machine can do for each byte that it reads."""
    return MACHINES[machine][1] / MACHINES[machine][2]


@value
def milliseconds(
    machine: str, model: str, what: str, prompt: int = 0, batch: int = 0, length: int = 1
) -> float:
    """At least so long for the arithmetic, for the traffic, or for the larger of both."""
    _, peak, bandwidth = MACHINES[machine]
    cost = cost_of(model, prompt, batch, length)
    arithmetic, traffic = cost.flops / peak, cost.bytes / bandwidth
    return 1e3 * {"arithmetic": arithmetic, "traffic": traffic, "step": max(arithmetic, traffic)}[what]


@value
def waiting(machine: str, model: str, prompt: int = 0, batch: int = 0, length: int = 1) -> float:
    """How many times as long the traffic takes as the arithmetic."""
    return 1 / longer_arithmetic(machine, model, prompt, batch, length)


def longer_arithmetic(machine: str, model: str, prompt: int = 0, batch: int = 0, length: int = 1) -> float:
    """How many times as long the arithmetic takes as the traffic."""
    return cost_of(model, prompt, batch, length).intensity / ridge(machine)


@value
def compute_bound_from(machine: str, model: str) -> int:
    """The shortest prompt whose prefill is bound by arithmetic."""
    return next(n for n in range(1, 1 << 20) if cost_of(model, prompt=n).intensity >= ridge(machine))


@value
def activation_ceiling(model: str) -> float:
    """The intensity that the matrix products of a prefill cannot exceed when each reads its input from memory and
    writes its output there: their operations over these bytes alone, in bf16.
    """
    c = sizes(model)
    inner, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    # d → qkv, heads → d, d → gate and up, hidden → d; between them attention reads qkv and writes heads, and
    # the feed-forward layer reads gate and up and writes their product.
    products = (c.d_model + inner + 2 * kv) + (inner + c.d_model) + (c.d_model + 2 * c.hidden)
    products += (c.hidden + c.d_model) + (inner + 2 * kv + inner) + 3 * c.hidden
    return block_flops(c)[0] / (c.n_layers * 2 * products)


def block_flops(c: LlamaConfig) -> tuple[float, float]:
    """Forward operations a token: of the blocks' matrices, and of attention for each key that is looked at."""
    parts = flops_per_token(c, 1)
    return (parts["attention_matrices"] + parts["feed_forward"]) / 3, parts["attention_scores"] / 3


@value
def logits_megabytes(model: str, length: int) -> float:
    """Logits of every position of a prompt in float32."""
    return 4 * length * sizes(model).vocab_size / 1e6


@value
def scores_share(model: str, length: int) -> float:
    """The share of attention's scores and sums in a prefill's operations, in percent."""
    matrices, pair = block_flops(sizes(model))
    scores = pair * (length + 1) / 2
    return 100 * scores / (matrices + scores)


@value
def scores_equal_matrices(model: str, in_widths: bool = False) -> float:
    """The prompt length at which scores cost as much as the matrices; in multiples of d_model if wanted."""
    matrices, pair = block_flops(sizes(model))
    length = 2 * matrices / pair - 1
    return length / sizes(model).d_model if in_widths else length


@figure(
    title=Both("一步里的两笔时间", "The two times of a step"),
    predict=Predict(
        Both(
            "Llama-2-7B，A100，32 个请求在解码，上下文各 1024，一步约 15 毫秒。单独预填充 256 个 token 约 11 毫秒。把这 256 个 token 放进同一步，这一步至少多少毫秒？",
            "Llama-2-7B on an A100: a step that decodes for 32 requests with a context of 1024 each takes about 15 ms, a prefill of 256 tokens alone about 11 ms. With these 256 tokens in the same step, how long does it take at least?",
        ),
        low=10,
        high=40,
        step=1,
        unit=Both("毫秒", "ms"),
        answer=lambda: milliseconds("a100", "llama2-7b", "step", 256, 32, 1024),
        explain=lambda: Both(
            f"{milliseconds('a100', 'llama2-7b', 'step', 256, 32, 1024):.2f} 毫秒，原来是 {milliseconds('a100', 'llama2-7b', 'step', 0, 32, 1024):.2f}：几乎免费。权重反正要读一遍，运算单元反正闲着。",
            f"{milliseconds('a100', 'llama2-7b', 'step', 256, 32, 1024):.2f} ms, after {milliseconds('a100', 'llama2-7b', 'step', 0, 32, 1024):.2f}: nearly free. Weights are read anyway, and arithmetic idles anyway.",
        ),
    ),
)
def one_step(
    prompt: Annotated[int, Slider(0, 4096, step=64, label=Both("预填充的 token", "tokens of a prompt"))] = 0,
    batch: Annotated[
        int, Slider(1, 256, log=True, label=Both("同时解码的请求", "requests that decode"))
    ] = 32,
    length: Annotated[int, Slider(128, 4096, step=128, label=Both("它们的上下文", "their context"))] = 1024,
    model: Annotated[str, MODEL] = "llama2-7b",
    machine: Annotated[str, MACHINE] = "a100",
) -> list[Bars | Text]:
    name, peak, bandwidth = MACHINES[machine]
    cost = cost_of(model, prompt, batch, length)
    decoding = cost_of(model, 0, batch, length)
    arithmetic = 1e3 * cost.flops / peak
    weights, cache = 1e3 * cost.weight_bytes / bandwidth, 1e3 * cost.cache_bytes / bandwidth
    step = max(arithmetic, weights + cache)
    before = 1e3 * roofline_seconds(decoding.flops, decoding.bytes, peak, bandwidth)
    bound = Both("算力", "arithmetic") if arithmetic > weights + cache else Both("带宽", "bandwidth")
    more = (
        Both(
            f"这一步捎带的 {prompt} 个提示 token，让它从 {before:.1f} 毫秒变成 {step:.1f} 毫秒。",
            f"The {prompt} prompt tokens in this step lengthen it from {before:.1f} to {step:.1f} ms.",
        )
        if prompt
        else Both("把“预填充的 token”拖大，看捎带一段提示要多花多少。", "Add tokens of a prompt and see what they cost.")
    )  # fmt: skip
    return [
        Bars(
            [Both("算术", "arithmetic"), Both("读权重", "weights"), Both("读写缓存", "caches")],
            [arithmetic, weights, cache],
            unit="ms",
            y_label=Both("至少要的毫秒", "milliseconds at least"),
            note=Both(f"{name}：一步的时间，是“算术”和“两样读写之和”里大的那个", f"{name}: a step takes the larger of the arithmetic and the sum of the two kinds of traffic"),
        ),
        Text(
            Both(
                f"瓶颈是{bound.zh}，这一步至少 {step:.1f} 毫秒；每个字节做 {cost.intensity:.1f} 次运算，这张卡够做 {ridge(machine):.0f} 次。{more.zh}",
                f"Bound by {bound.en}, at least {step:.1f} ms; {cost.intensity:.1f} operations a byte, of which this card could do {ridge(machine):.0f}. {more.en}",
            )
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- operations for each byte

LENGTHS = [1, 4, 16, 64, 256, 1024, 4096]
BATCHES = [1, 4, 16, 64, 256]


@figure(
    title=Both("每读一个字节，做多少次运算", "How many operations for each byte"),
    predict=Predict(
        Both(
            "Llama-2-7B，A100。提示从多长起，预填充的瓶颈就是算力了？（token 数）",
            "Llama-2-7B on an A100: from how many prompt tokens on is the prefill bound by arithmetic?",
        ),
        low=1,
        high=1000,
        step=1,
        answer=lambda: compute_bound_from("a100", "llama2-7b"),
        explain=lambda: Both(
            f"{compute_bound_from('a100', 'llama2-7b')} 个。一个 2 字节的权重读进来，给每个 token 做 2 次运算，所以强度差不多就是 token 数；A100 的拐点在 {ridge('a100'):.0f}。",
            f"{compute_bound_from('a100', 'llama2-7b')}. A weight of 2 bytes serves each token with 2 operations, so the intensity is about the number of tokens, and the ridge of an A100 is at {ridge('a100'):.0f}.",
        ),
    ),
)
def intensity_by_tokens(
    model: Annotated[str, MODEL] = "llama2-7b",
    machine: Annotated[str, MACHINE] = "a100",
    length: Annotated[int, Slider(1, 32_768, log=True, label=Both("解码时的上下文", "context when decoding"))] = 1024,
) -> list[Lines | Text]:  # fmt: skip
    name, limit = MACHINES[machine][0], ridge(machine)
    prefills = [cost_of(model, prompt=n) for n in LENGTHS]
    decodes = [decode_cost(sizes(model), n, length) for n in BATCHES]
    crowd = decodes[-1].intensity
    return [
        Lines(
            {
                Both("预填充：1 段提示", "prefill: 1 prompt"): (LENGTHS, [c.intensity for c in prefills]),
                Both("解码：每个请求 1 个", "decode: 1 a request"): (BATCHES, [c.intensity for c in decodes]),
                Both(f"{name} 的拐点", f"ridge of {name}"): ([LENGTHS[0], LENGTHS[-1]], [limit, limit]),
            },
            x_label=Both("这一步的 token 数", "tokens in the step"),
            y_label=Both("算术强度（运算 / 字节）", "arithmetic intensity (operations / byte)"),
            x_log=True,
            y_log=True,
            note=Both(
                "在拐点那条线以下，瓶颈是带宽；以上，是算力",
                "below the line of the ridge bandwidth is the limit, above it arithmetic",
            ),
        ),
        Text(
            Both(
                f"解码 256 个请求，每个请求 {length} 的上下文，强度 {crowd:.1f}；预填充 256 个 token，强度 {prefills[4].intensity:.0f}。同样是一步算 256 个 token，差别全在缓存：解码要读 256 份。{name} 的拐点在 {limit:.0f}。",
                f"Decoding for 256 requests with a context of {length} each has intensity {crowd:.1f}, a prefill of 256 tokens has {prefills[4].intensity:.0f}. Both are steps of 256 tokens; the difference is the caches, of which decoding reads 256. The ridge of {name} is at {limit:.0f}.",
            )
        ),
    ]


# ---------------------------------------------------------------- which keys a query may see

MASKS = {
    "offset": Both("第 i 个 query 站在“已缓存 + i”", "query i stands at “cached + i”"),
    "top_left": Both("从左上角对齐的 tril", "tril from the upper left"),
    "none": Both("不加掩码", "no mask"),
}


@figure(title=Both("缓存里有一些，又来了一些", "Some are cached, some are new"))
def mask_of_a_step(
    n_cached: Annotated[int, Slider(0, 8, label=Both("缓存里的位置", "cached positions"))] = 4,
    n_new: Annotated[int, Slider(1, 8, label=Both("这一步的 token", "tokens of this step"))] = 3,
    kind: Annotated[str, Choice(list(MASKS.items()), label=Both("掩码", "mask"))] = "offset",
) -> list[Heatmap | Text]:
    right = causal_mask(n_new, n_cached)
    shown = {
        "offset": right,
        "top_left": torch.ones_like(right).tril(),
        "none": torch.ones_like(right),
    }[kind]
    future = int((shown & ~right).sum())
    missed = int((right & ~shown).sum())
    keys = [str(position) for position in range(n_cached + n_new)]
    rows = [
        [(1.0 if allowed else 3.0) if seen else None for seen, allowed in zip(*row, strict=True)]
        for row in zip(shown.tolist(), right.tolist(), strict=True)
    ]
    said = (
        Both(
            "都对：自己和前面的都看得到，后面的看不到。",
            "Right: each sees itself and all before, nothing behind.",
        )
        if not future + missed
        else Both(
            f"偷看了 {future} 个未来的 key（深色），漏掉了 {missed} 个该看的。",
            f"{future} future keys are seen (dark), {missed} that should be seen are missed.",
        )
    )
    return [
        Heatmap(
            rows,
            x_labels=keys,
            y_labels=keys[n_cached:],
            x_label=Both("key 的位置", "position of the key"),
            y_label=Both("query 的位置", "position of the query"),
            domain=(0, 3),
        ),
        Text(said),
    ]  # fmt: skip


# ---------------------------------------------------------------- the mask that was forgotten


def without_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The bug of the text: every query of a prefill sees every key."""
    group = q.shape[1] // k.shape[1]
    return scaled_dot_product_attention(q, repeat_kv_heads(k, group), repeat_kv_heads(v, group))


@torch.inference_mode()
def after_each_block(tokens: list[int], cache: KVCache) -> Tensor:
    """What the model's blocks write, (layer, position, d_model). Without hooks: figures share the model."""
    llama = model()
    at = cache.positions(len(tokens))
    cos, sin = llama.rope_cos[at], llama.rope_sin[at]
    x, written = llama.embedding(torch.tensor([tokens])), []
    for block in llama.blocks:
        x = block(x, cos, sin, cache)
        written.append(x[0])
    cache.advance(len(tokens))
    return torch.stack(written)


@functools.lru_cache(maxsize=8)
def residuals(text: str, masked: bool) -> tuple[Tensor, Tensor, int]:
    """After each block: the vectors of the prefill, (layer, position, d_model), which reads all tokens but one;
    of the last one, which is decoded, (layer, d_model); and the most probable token after it.
    """
    ids = tokenizer().encode(text)[:64]
    cache = KVCache.for_model(config(), len(ids))
    if masked:
        prefilled = after_each_block(ids[:-1], cache)
    else:
        with use_attention(without_mask):
            prefilled = after_each_block(ids[:-1], cache)
    decoded = after_each_block(ids[-1:], cache)[:, 0]
    with torch.inference_mode():
        logits = model().head(model().norm(decoded[-1]))
    return prefilled, decoded, int(logits.argmax())


SMALLEST = 1e-8  # what is drawn for 0 on a logarithmic axis
SENTENCE = "The capital of France is Paris. The capital of Italy is"


def relative_errors(text: str) -> tuple[list[float], list[float]]:
    """After each layer: of the last position of the prefill, and of the token decoded behind it."""
    (prefilled, decoded, _), (prefilled_wrong, decoded_wrong, _) = (
        residuals(text, masked) for masked in (True, False)
    )
    pairs = ((prefilled[:, -1], prefilled_wrong[:, -1]), (decoded, decoded_wrong))
    last, next_one = (((mine - theirs).norm(dim=-1) / mine.norm(dim=-1)).tolist() for mine, theirs in pairs)
    return last, next_one


def position_norms(masked: bool) -> Tensor:
    """Lengths of the vectors after each block of the sentence's prefill, (layer, position)."""
    return residuals(SENTENCE, masked)[0].norm(dim=-1)


@value
def norm_after(layer: int, position: int = 0) -> float:
    return position_norms(True)[layer - 1, position].item()


@value
def inflated(layer: int, masked: bool) -> int:
    """How many positions of the sentence have a vector longer than 500."""
    return int((position_norms(masked)[layer - 1] > 500).sum())


@value
def mask_error(layers: int, where: int = 1) -> float:
    """After so many layers; where: 0 the last position of the prefill, 1 the token decoded behind it."""
    return relative_errors(SENTENCE)[where][layers - 1]


@figure(
    title=Both("预填充忘了掩码，错多少", "How wrong a prefill without a mask is"),
    predict=Predict(
        Both(
            "预填充时不加因果掩码，接着正常解码一个 token。如果模型只有 1 层，这个 token 的结果错多少？",
            "A prefill without the causal mask, then one token decoded properly. If the model had only 1 layer, how wrong would that token come out?",
        ),
        choices=[Both("一点不错", "not at all"), Both("约 1%", "about 1%"), Both("约 50%", "about 50%")],
        answer=lambda: min(range(3), key=lambda i: abs((0.0, 0.01, 0.5)[i] - mask_error(1))),
        explain=lambda: Both(
            f"一点不错。第 1 层的 key 和 value 直接来自词向量，和掩码无关。第 2 层的来自第 1 层的输出，那里面已经混进了未来：用 2 层就错 {mask_error(2):.1%}，用 12 层错 {mask_error(12):.0f} 倍。",
            f"Not at all: keys and values of layer 1 come straight from the embeddings, and no mask is involved. Those of layer 2 come from what layer 1 gave, which has the future in it: 2 layers are off by {mask_error(2):.1%}, 12 layers by a factor of {mask_error(12):.0f}.",
        ),
    ),
)
def missing_mask(
    text: Annotated[
        str, TextInput(max_length=200, label=Both("提示（英文）", "prompt (in English)"))
    ] = SENTENCE,
) -> list[Lines | Text]:
    text = text.strip()
    if len(tokenizer().encode(text)) < 4:
        text = SENTENCE
    prompt, decoded = ([max(error, SMALLEST) for error in errors] for errors in relative_errors(text))
    words = tokenizer()
    right, wrong = (words.decode([residuals(text, masked)[2]]) for masked in (True, False))
    layers = list(range(1, len(prompt) + 1))
    return [
        Lines(
            {
                Both("提示的最后一个位置", "last position of the prefill"): (layers, prompt),
                Both("接着解码的那个 token", "the token decoded next"): (layers, decoded),
            },
            x_label=Both("用前几层", "layers used"),
            y_label=Both("相对误差", "relative error"),
            y_log=True,
            note=Both("误差是 0 的，画在 10⁻⁸", "an error of 0 is drawn at 10⁻⁸"),
        ),
        Text(
            Both(
                f"最可能的下一个 token：有掩码是“{right}”，没有掩码是“{wrong}”。",
                f"The most probable next token: “{right}” with the mask, “{wrong}” without it.",
            )
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- labs


def roof(
    peak: float, bandwidth: float, left: float = 0.5, right: float = 8192.0
) -> tuple[list[float], list[float]]:
    """Operations a second that can be reached at each intensity."""
    xs = sorted({left * (right / left) ** (i / 40) for i in range(41)} | {peak / bandwidth})
    return xs, [min(peak, x * bandwidth) for x in xs]


PATIENCE = 80  # seconds of measuring; on a quiet machine a third of it


@functools.cache
def fast_model() -> torch.nn.Module:
    """SmolLM2-135M in bfloat16, as the product runs it: float32 would hide what the phases differ in."""
    loaded = load_model(file().path, device="cpu", dtype=torch.bfloat16)
    pack_for_decoding(loaded)
    return loaded


def best_seconds(run: Callable[[], object], budget: float = 1.0) -> float:
    """The shortest of some runs, as many as the budget allows: a neighbour on the machine only lengthens."""
    run()
    best, begun = math.inf, time.perf_counter()
    while True:
        before = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - before)
        if time.perf_counter() - begun > budget:
            return best


@lab(
    title=Both("这台机器上的两个阶段", "The two phases on this machine"),
    seconds=45,
    summary=Both(
        "先量这台机器的算力和带宽，画出屋顶，再让 SmolLM2（bf16）真的预填充、真的解码，把每一步放上去。",
        "Measures arithmetic and bandwidth of this machine and draws its roof. Then SmolLM2 in bf16 really prefills and decodes, and each step is placed under it.",
    ),
)
def phases_here(
    longest: Annotated[int, Slider(64, 1024, log=True, label=Both("最长的提示", "longest prompt"))] = 512,
    most: Annotated[int, Slider(4, 64, log=True, label=Both("最多的请求", "most requests"))] = 32,
) -> Iterator[Event]:
    yield Progress(0, 1, Both("量算力和带宽", "measuring arithmetic and bandwidth"))
    dtype = torch.bfloat16
    peak, bandwidth = measure_matmul_peak("cpu", dtype), measure_read_bandwidth("cpu")
    yield Metric(Both("bf16 矩阵乘法", "bf16 matrix products"), peak / 1e9, "GFLOP/s")
    yield Metric(Both("读内存", "reading memory"), bandwidth / 1e9, "GB/s")
    yield Metric(Both("拐点", "ridge"), peak / bandwidth, Both("运算/字节", "operations/byte"))
    yield Progress(0, 1, Both("读入模型", "loading the model"))
    llama, c = fast_model(), config()
    prompts = [n for n in (1, 8, 32, 128, 512, 1024) if n < longest] + [longest]
    batches = [n for n in (1, 2, 4, 8, 16, 32) if n < most] + [most]
    tokens = torch.arange(100, 100 + 128 + 1024)
    rows, curves = [], {"prefill": ([], []), "decode": ([], [])}
    names = {"prefill": Both("预填充（量到的）", "prefill (measured)"), "decode": Both("解码（量到的）", "decode (measured)")}  # fmt: skip
    steps = [("prefill", n) for n in prompts] + [("decode", n) for n in batches]
    begun = time.perf_counter()
    for done, (phase, n) in enumerate(steps):
        if time.perf_counter() - begun > PATIENCE:
            yield Say(
                Both(
                    "这台电脑正忙着别的事，剩下的步子没有量。等它闲下来再跑一次。",
                    "This computer is busy with something else, so the remaining steps were not measured. Run it again when it is quiet.",
                )
            )
            break
        yield Progress(done, len(steps), Both(f"{names[phase].zh} {n}", f"{names[phase].en} {n}"))
        run, cost = (prefill_of if phase == "prefill" else decoding_of)(llama, c, tokens, n, dtype)
        with torch.inference_mode():
            seconds = best_seconds(run)
        curves[phase][0].append(cost.intensity)
        curves[phase][1].append(cost.flops / seconds / 1e9)
        at_best = roofline_seconds(cost.flops, cost.bytes, peak, bandwidth)
        rows.append(
            [
                names[phase],
                n,
                f"{cost.intensity:.1f}",
                f"{1e3 * seconds:.1f}",
                f"{n / seconds:,.0f}",
                f"{100 * at_best / seconds:.0f}%",
            ]
        )
        xs, ys = roof(peak, bandwidth, 0.5, 2048)
        yield Show(
            "roof",
            Lines(
                {Both("屋顶", "the roof"): (xs, [y / 1e9 for y in ys])}
                | {names[one]: curve for one, curve in curves.items() if curve[0]},
                x_label=Both("算术强度（运算 / 字节）", "arithmetic intensity (operations / byte)"),
                y_label="GFLOP/s",
                x_log=True,
                y_log=True,
                marks=[(peak / bandwidth, Both("拐点", "ridge"))],
            ),
        )
        yield Show(
            "steps",
            Table(
                [
                    Both("阶段", "phase"),
                    Both("提示长度 / 请求数", "prompt / requests"),
                    Both("强度", "intensity"),
                    Both("毫秒", "ms"),
                    "token/s",
                    Both("屋顶的百分之几", "of the roof"),
                ],
                list(rows),
            ),
        )
    yield Progress(len(steps), len(steps))


Step = tuple[Callable[[], object], StepCost]


def prefill_of(llama: torch.nn.Module, c: LlamaConfig, tokens: Tensor, n: int, dtype: torch.dtype) -> Step:
    cache = KVCache.for_model(c, n, dtype=dtype)

    def run() -> None:
        llama(tokens[None, :n], cache, last_only=True)
        cache.truncate(0)

    return run, step_cost(c, [(0, n)])


def decoding_of(llama: torch.nn.Module, c: LlamaConfig, tokens: Tensor, n: int, dtype: torch.dtype) -> Step:
    cache = KVCache.for_model(c, 129, batch=n, dtype=dtype)
    with torch.inference_mode():
        llama(tokens[None, :128].expand(n, -1), cache, last_only=True)

    def run() -> None:
        llama(tokens[None, :1].expand(n, -1), cache, last_only=True)
        cache.truncate(128)

    return run, decode_cost(c, n, 129)


@value
def copied_gigabytes(n: int, model: str = "llama2-7b") -> float:
    """What `torch.cat` copies in all while a cache grows from nothing to `n` positions."""
    c = sizes(model)
    return kv_cache_bytes(c.n_layers, c.n_kv_heads, c.head_dim, n * (n - 1) // 2) / 1e9


@value
def written_gigabytes(n: int, model: str = "llama2-7b") -> float:
    c = sizes(model)
    return kv_cache_bytes(c.n_layers, c.n_kv_heads, c.head_dim, n) / 1e9


@lab(
    title=Both("接在后面，还是写进去", "Concatenate, or write in place"),
    seconds=15,
    summary=Both(
        "给缓存添一个位置：一种做法每次 torch.cat，一种写进预先分配好的地方。形状是 SmolLM2 全部 30 层的。",
        "One more position in the cache: by torch.cat each time, or written into room that was taken before. Shapes are those of all 30 layers of SmolLM2.",
    ),
)
def cat_or_write(
    longest: Annotated[int, Slider(1024, 8192, log=True, label=Both("最长的缓存", "longest cache"))] = 4096,
) -> Iterator[Event]:
    c = config()
    lengths = sorted({round(128 * (longest / 128) ** (i / 7)) for i in range(8)})
    new = torch.ones(1, c.n_kv_heads, 1, c.head_dim)
    seconds = {"cat": 0.0, "write": 0.0}
    for done, length in enumerate(lengths):
        yield Progress(done, len(lengths))
        cache = KVCache.for_model(c, length + 1)
        cache.advance(length)
        held = [x[:, :, :length].clone() for x in (*cache.keys, *cache.values)]

        def cat(held: list[Tensor] = held) -> None:
            for x in held:
                torch.cat([x, new], dim=2)

        def write(cache: KVCache = cache) -> None:
            for layer in range(c.n_layers):
                cache.update(layer, new, new)

        for kind, run in (("cat", cat), ("write", write)):
            seconds[kind] = best_seconds(run, 0.5)
            yield Sample(
                "torch.cat" if kind == "cat" else Both("写进去", "write in place"),
                x=length,
                y=1e3 * seconds[kind],
                x_label=Both("缓存里的位置", "cached positions"),
                y_label=Both("每个 token 的毫秒", "ms a token"),
            )
    yield Progress(len(lengths), len(lengths))
    yield Metric(
        Both("最长时，torch.cat 慢多少倍", "at the longest, torch.cat takes longer by"),
        seconds["cat"] / seconds["write"],
    )


@lab(
    title=Both("用你的注意力预填充和解码", "Prefill and decode on your attention"),
    seconds=40,
    summary=Both(
        "SmolLM2 一次读完提示、分块读完、逐个读完，三种 logits 应当一样；然后回答。打开“用我写的函数来跑”，30 层都换成你的。",
        "SmolLM2 reads the prompt at once, in chunks, and token by token; the logits must agree. Then it answers. Turn on “Run it with my function” and all 30 layers use yours.",
    ),
)
def your_causal_attention(
    question: Annotated[
        str, TextInput(max_length=200, label=Both("问它一句", "ask it something"))
    ] = "What is the capital of France?",
    n_tokens: Annotated[
        int, Slider(8, 64, step=8, label=Both("最多几个 token", "at most so many tokens"))
    ] = 24,
) -> Iterator[Event]:
    yield Progress(0, n_tokens, Both("读入模型", "loading the model"))
    llama, ids = model(), question_ids(question)
    with torch.inference_mode():
        reference = llama(torch.tensor([ids]))[0]
        rows = []
        for chunk, name in (
            (len(ids), Both("一次读完（预填充）", "at once (prefill)")),
            (7, Both("每次 7 个（分块）", "7 at a time (chunks)")),
            (1, Both("每次 1 个（解码）", "one at a time (decode)")),
        ):
            cache = KVCache.for_model(llama.config, len(ids))
            with readable_attention():
                parts = [llama(part[None], cache)[0] for part in torch.tensor(ids).split(chunk)]
            difference = (torch.cat(parts) - reference).abs().max().item()
            rows.append([name, f"{difference:.1e}"])
            yield Show(
                "differences",
                Table([Both("怎样读", "how it reads"), Both("logits 与融合内核最多相差", "largest difference of logits from the fused kernel")], list(rows)),
            )  # fmt: skip
            if not math.isfinite(difference):
                yield Say(
                    Both("你的函数在真实的输入上得到了 NaN。", "Your function gave NaN on real inputs.")
                )
                return

    def logits(tokens: Tensor, cache: KVCache) -> Tensor:
        with readable_attention():
            return llama(tokens, cache=cache, last_only=True)

    answer = ""
    for step, answer in enumerate(greedy_answer(ids, n_tokens, logits), start=1):
        yield Progress(step, n_tokens)
        yield Show("answer", Text(Both.same(answer)))
    yield Progress(n_tokens, n_tokens)
    yield Show("summary", Table([Both("问题", "question"), Both("回答", "answer")], [[question, answer]]))
