"""Figures, labs and values of lesson 1.7: learning rates over time, and the optimizers they steer."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

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
    Toggle,
    figure,
    lab,
    value,
)
from teachllm.school.figures.real_model import model, tokenizer
from teachllm.stack.data.corpora import stdlib_docs
from teachllm.stack.data.loader import Batch
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer
from teachllm.stack.training import schedules
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.config import TrainingConfig
from teachllm.stack.training.initialization import initialize
from teachllm.stack.training.loop import StepMetrics, train
from teachllm.stack.training.optimizers import NEWTON_SCHULZ, RULES, adam_step, adamw_step, momentum_step
from teachllm.stack.training.schedules import Schedule, lr_at
from teachllm.stack.training.state import begin
from teachllm.stack.training.watch import TrainingDiverged

GIB = 2**30


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------- how large a step may be


@value
def after_descent(curvature: float, lr: float, steps: int) -> float:
    """Where gradient descent on curvature · w²/2 is after some steps from w = 1, with the stack's SGD."""
    w, states = torch.ones(1, dtype=torch.float64), ()
    for step in range(1, steps + 1):
        w, states = RULES["SGD"](w, curvature * w, states, step, lr=lr)
    return w.item()


SURFACES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float, float]]] = {
    "valley": (lambda w: w[0] ** 2 / 2 + 50 * w[1] ** 2 / 2, (-2.0, 0.6)),
    "rosenbrock": (lambda w: (1 - w[0]) ** 2 + 20 * (w[1] - w[0] ** 2) ** 2, (-1.2, 1.0)),
}
FAR = 3.0


@functools.lru_cache(maxsize=256)
def path(surface: str, rule: str, lr: float, steps: int) -> tuple[list[float], list[float], list[float]]:
    """x, y and height at each step; ends where it leaves the picture."""
    height, start = SURFACES[surface]
    w, states = torch.tensor(start, dtype=torch.float64), ()
    xs, ys, heights = [start[0]], [start[1]], [height(w).item()]
    for step in range(1, steps + 1):
        at = w.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(height(at), at)
        w, states = RULES[rule](w, gradient, states, step, lr=lr)
        if w.abs().max() > FAR:
            break
        xs.append(w[0].item())
        ys.append(w[1].item())
        heights.append(max(height(w).item(), 1e-12))
    return xs, ys, heights


def contour(surface: str, level: float) -> tuple[list[float], list[float]]:
    """Points of the picture where the surface is as high as `level`, in order."""
    if surface == "valley":
        turns = [2 * math.pi * i / 120 for i in range(121)]
        return (
            [math.sqrt(2 * level) * math.cos(t) for t in turns],
            [math.sqrt(2 * level / 50) * math.sin(t) for t in turns],
        )
    xs = [-1.6 + 3.2 * i / 160 for i in range(161)]
    inside = [x for x in xs if (1 - x) ** 2 <= level]
    upper = [x**2 + math.sqrt((level - (1 - x) ** 2) / 20) for x in inside]
    lower = [x**2 - math.sqrt((level - (1 - x) ** 2) / 20) for x in inside]
    return inside + inside[::-1] + inside[:1], upper + lower[::-1] + upper[:1]


@figure(
    title=Both("同一座山谷，不同的走法", "One valley, several ways down"),
    predict=Predict(
        Both(
            "山谷在 y 方向陡：曲率 50；在 x 方向平：曲率 1。SGD 的学习率超过多少，就会越走越远？",
            "The valley is steep along y (curvature 50) and flat along x (curvature 1). Above which learning rate does SGD move away instead of down?",
        ),
        low=0.0,
        high=0.2,
        step=0.005,
        answer=lambda: 2 / 50,
        explain=lambda: Both(
            "2/50 = 0.04。一步把 y 乘上 1 − 50·lr；lr 超过 0.04，这个数的绝对值就大于 1。平的那个方向本来可以用大 50 倍的学习率，却得陪着它慢慢走。",
            "2/50 = 0.04. A step multiplies y by 1 − 50·lr, and above 0.04 that is larger than 1 in absolute value. The flat direction could take a rate 50 times as large, and has to crawl along with it.",
        ),
    ),
)
def paths(
    surface: Annotated[
        str,
        Choice(
            [
                ("valley", Both("狭长的山谷（二次函数）", "a narrow valley (quadratic)")),
                ("rosenbrock", Both("弯曲的山谷（Rosenbrock）", "a bent valley (Rosenbrock)")),
            ],
            label=Both("地形", "surface"),
        ),
    ] = "valley",
    rule: Annotated[
        str,
        Choice([(name, name) for name in RULES if name != "Muon"], label=Both("优化器", "optimizer")),
    ] = "Momentum",
    lr: Annotated[float, Slider(0.001, 1.0, log=True, label=Both("学习率", "learning rate"))] = 0.01,
    steps: Annotated[int, Slider(5, 200, label=Both("步数", "steps"))] = 120,
) -> list[Lines | Text]:
    reference = ("SGD", 0.036 if surface == "valley" else 0.004)
    xs, ys, heights = path(surface, rule, lr, steps)
    sx, sy, s_heights = path(surface, *reference, steps)
    levels = (0.1, 0.8, 2.0) if surface == "valley" else (0.2, 1.5, 5.0)
    left = len(xs) <= steps
    return [
        Lines(
            {
                rule: (xs, ys),
                f"SGD, lr {reference[1]}": (sx, sy),
                **{Both(f"高度 {level}", f"height {level}"): contour(surface, level) for level in levels},
            },
            x_label="x",
            y_label="y",
        ),
        Lines(
            {
                rule: (range(len(heights)), heights),
                f"SGD, lr {reference[1]}": (range(len(s_heights)), s_heights),
            },
            x_label=Both("第几步", "step"),
            y_label=Both("高度", "height"),
            y_log=True,
        ),
        Text(
            Both(
                f"第 {len(xs)} 步走出了图外：学习率太大。"
                if left
                else f"{steps} 步以后，高度是 {heights[-1]:.2g}；对照的 SGD 是 {s_heights[-1]:.2g}。",
                f"It leaves the picture at step {len(xs)}: the rate is too large."
                if left
                else f"After {steps} steps the height is {heights[-1]:.2g}; that of the SGD beside it is {s_heights[-1]:.2g}.",
            )
        ),
    ]


@value
def valley_height(rule: str, lr: float, steps: int = 120) -> float:
    """How high in the valley of the figure an optimizer ends."""
    return path("valley", rule, lr, steps)[2][-1]


@value
def steady_step(beta: float = 0.9) -> float:
    """How many times lr momentum moves, in the end, when the gradient is 1 at every step."""
    w, velocity = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    before = w
    for _ in range(500):
        before = w
        w, velocity = momentum_step(w, torch.ones(1, dtype=torch.float64), velocity, 1.0, beta)
    return (before - w).item()


@value
def adagrad_rate(steps: int) -> float:
    """The share of its first step that Adagrad still makes after so many steps with the same gradient."""
    w, states = torch.zeros(1, dtype=torch.float64), ()
    before = w
    for step in range(1, steps + 1):
        before = w
        w, states = RULES["Adagrad"](w, torch.ones(1, dtype=torch.float64), states, step, lr=1.0)
    return (before - w).item()


# ---------------------------------------------------------------- Adam by hand, and its first steps

HAND_GRADIENTS = (0.1, -0.3)


@functools.cache
def by_hand() -> tuple[dict[str, float], ...]:
    """Two steps of one weight that starts at 1: lr 0.1, betas (0.9, 0.99), no decay."""
    w, m, v = (torch.tensor([x], dtype=torch.float64) for x in (1.0, 0.0, 0.0))
    rows = []
    for step, gradient in enumerate(HAND_GRADIENTS, start=1):
        g = torch.tensor([gradient], dtype=torch.float64)
        w, m, v = adamw_step(w, g, m, v, step, 0.1, (0.9, 0.99), 0.0, 0.0)
        m_hat, v_hat = m.item() / (1 - 0.9**step), v.item() / (1 - 0.99**step)
        rows.append({"w": w.item(), "m": m.item(), "v": v.item(), "m_hat": m_hat, "v_hat": v_hat})
    return tuple(rows)


@value
def hand(step: int, what: str) -> float:
    """``m``, ``v``, ``m_hat``, ``v_hat`` or ``w`` after step 1 or 2 of the example."""
    return by_hand()[step - 1][what]


@functools.lru_cache(maxsize=64)
def update_sizes(beta1: float, beta2: float, steps: int = 100) -> tuple[list[float], list[float]]:
    """Root mean square of Adam's update over lr when gradients are noise: corrected, and not."""
    n = 3000
    w = m = v = torch.zeros(n, dtype=torch.float64)
    corrected, plain = [], []
    for step in range(1, steps + 1):
        moved, m, v = adam_step(w, normal(n, seed=step), m, v, step, lr=1.0, betas=(beta1, beta2))
        corrected.append((moved - w).pow(2).mean().sqrt().item())
        plain.append((m / (v.sqrt() + 1e-8)).pow(2).mean().sqrt().item())
    return corrected, plain


@value
def first_update(corrected: bool = True, beta1: float = 0.9, beta2: float = 0.999) -> float:
    """Adam's first update over lr."""
    return update_sizes(beta1, beta2)[0 if corrected else 1][0]


@value
def noise_update(beta1: float = 0.9, beta2: float = 0.999) -> float:
    """Adam's update over lr after 100 steps of noise: the root mean square."""
    return update_sizes(beta1, beta2)[0][-1]


@figure(
    title=Both("Adam 最初的几步有多大", "How large Adam's first steps are"),
    predict=Predict(
        Both(
            "去掉偏差修正（β₁ = 0.9，β₂ = 0.999），第一步是学习率的几倍？",
            "Without bias correction (β₁ = 0.9, β₂ = 0.999), how many learning rates long is the first step?",
        ),
        low=0.0,
        high=5.0,
        step=0.1,
        answer=lambda: first_update(corrected=False),
        explain=lambda: Both(
            f"{first_update(corrected=False):.2f} 倍，不是 0.1 倍：分子被缩小到 0.1，分母却缩小到 √0.001 ≈ 0.03。修正以后正好是 1 倍。",
            f"{first_update(corrected=False):.2f}, and not 0.1: the numerator is shrunk to 0.1, but the denominator to √0.001 ≈ 0.03. Corrected, it is exactly 1.",
        ),
    ),
)
def first_steps(
    beta1: Annotated[float, Slider(0.0, 0.99, step=0.01, label="β₁")] = 0.9,
    beta2: Annotated[float, Slider(0.9, 0.999, step=0.001, label="β₂")] = 0.999,
    warmup: Annotated[int, Slider(0, 100, step=5, label=Both("预热步数", "warm-up steps"))] = 0,
    show_plain: Annotated[bool, Toggle(label=Both("画出不修正的", "show it uncorrected"))] = False,
) -> Lines:
    corrected, plain = update_sizes(beta1, beta2)
    schedule = Schedule("constant", 1.0, 1000, warmup)
    factors = [lr_at(step, schedule) for step in range(len(corrected))]
    shown = {Both("有偏差修正", "corrected"): corrected}
    if show_plain:
        shown[Both("没有修正", "not corrected")] = plain
    return Lines(
        {
            name: (
                range(1, len(sizes) + 1),
                [factor * size for factor, size in zip(factors, sizes, strict=True)],
            )
            for name, sizes in shown.items()
        },
        x_label=Both("第几步", "step"),
        y_label=Both("更新的均方根 ÷ 峰值学习率", "root mean square of the update ÷ peak rate"),
        y_range=(0.0, 4.0),
        note=Both("梯度全是随机噪声，没有方向", "the gradients are noise without any direction"),
    )


# ---------------------------------------------------------------- L2 is not weight decay

SCALES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@functools.lru_cache(maxsize=64)
def what_is_left(kind: str, decay: float) -> tuple[float, ...]:
    """Mean over 400 weights of each gradient scale, from 1, after 200 steps of lr 0.01 with nothing but noise."""
    scales = torch.tensor(SCALES, dtype=torch.float64)
    w = torch.ones(400, len(SCALES), dtype=torch.float64)
    m = v = torch.zeros_like(w)
    for step in range(1, 201):
        gradient = normal(400, len(SCALES), seed=step) * scales
        if kind == "adamw":
            w, m, v = adamw_step(w, gradient, m, v, step, 0.01, weight_decay=decay)
        else:
            w, m, v = adam_step(w, gradient, m, v, step, 0.01, l2=decay)
    return tuple(w.mean(0).tolist())


@value
def left_of_weight(kind: str, scale: float, decay: float = 0.5) -> float:
    return what_is_left(kind, decay)[SCALES.index(scale)]


@figure(
    title=Both("衰减以后还剩多少", "What decay leaves"),
    predict=Predict(
        Both(
            "两种写法的系数都是 0.5，权重都从 1 出发。AdamW 让每个权重剩下约 0.37。梯度大到 100 的那个权重，用 Adam 加 L2，还剩多少？",
            "Both use the coefficient 0.5, and every weight starts at 1. AdamW leaves about 0.37 of each. How much does Adam with L2 leave of the weight whose gradients are around 100?",
        ),
        low=0.0,
        high=1.0,
        step=0.01,
        answer=lambda: left_of_weight("l2", 100.0),
        explain=lambda: Both(
            f"{left_of_weight('l2', 100.0):.2f}：几乎没动。0.5·w 加进 100 量级的梯度里，再除以 100 量级的 √v̂，什么也不剩。",
            f"{left_of_weight('l2', 100.0):.2f}: it has hardly moved. 0.5·w joins gradients of about 100 and is divided by a √v̂ of about 100; nothing remains of it.",
        ),
    ),
)
def l2_or_decay(
    decay: Annotated[float, Slider(0.05, 1.0, step=0.05, label=Both("系数 λ", "coefficient λ"))] = 0.5,
    show_l2: Annotated[bool, Toggle(label=Both("画出 Adam + L2", "show Adam + L2"))] = False,
) -> Lines:
    series = {"AdamW": (SCALES, what_is_left("adamw", decay))}
    if show_l2:
        series["Adam + L2"] = (SCALES, what_is_left("l2", decay))
    return Lines(
        series,
        x_log=True,
        y_range=(-0.1, 1.1),
        x_label=Both("梯度的标准差", "standard deviation of its gradients"),
        y_label=Both("200 步以后的权重（从 1 开始）", "weight after 200 steps (from 1)"),
    )


# ---------------------------------------------------------------- what the state costs

LLAMA_8B = 8.03e9


@value
def state_gib(rule: str = "AdamW", parameters: float = LLAMA_8B) -> float:
    """GiB of the state of an optimizer in float32."""
    return 4 * RULES[rule].n_states * parameters / GIB


@value
def training_bytes(rule: str = "AdamW") -> int:
    """Bytes a parameter: bf16 weight and gradient, float32 master and states."""
    return 2 + 2 + 4 + 4 * RULES[rule].n_states


@value
def training_gib(rule: str = "AdamW", parameters: float = LLAMA_8B) -> float:
    return training_bytes(rule) * parameters / GIB


@figure(
    title=Both("优化器要记住多少", "How much an optimizer remembers"),
    predict=Predict(
        Both(
            "80.3 亿个参数，bf16 权重占 15 GiB。AdamW 的 m 和 v 用 float32，一共多少 GiB？",
            "With 8.03 billion parameters the bf16 weights take 15 GiB. How many GiB do the m and v of AdamW take in float32?",
        ),
        low=0.0,
        high=100.0,
        step=1.0,
        unit="GiB",
        answer=state_gib,
        explain=lambda: Both(
            f"{state_gib():.0f} GiB：每个参数两个 4 字节的数，是 bf16 权重的 4 倍。",
            f"{state_gib():.0f} GiB: two numbers of 4 bytes for each parameter, four times the bf16 weights.",
        ),
    ),
)
def state_size(
    billions: Annotated[
        float, Slider(0.1, 100.0, log=True, label=Both("参数（十亿）", "parameters (billions)"))
    ] = 1.0,
) -> Bars:
    names = ["SGD", "Momentum", "Lion", "Muon", "Adagrad", "AdaMax", "AdamW", "AMSGrad"]
    return Bars(
        names,
        [state_gib(name, billions * 1e9) for name in names],
        unit="GiB",
        highlight=names.index("AdamW"),
        note=Both(
            "Muon 按全部参数都归它算；嵌入和输出层其实用 AdamW",
            "Muon as if it had all parameters; embeddings and head really use AdamW",
        ),
    )


# ---------------------------------------------------------------- learning rates over time

MODERN = ("constant", "linear", "cosine", "wsd", "inverse_square_root", "cyclic")
NAMES = {
    "constant": Both("恒定", "constant"),
    "linear": Both("线性", "linear"),
    "cosine": Both("余弦", "cosine"),
    "wsd": Both("WSD", "WSD"),
    "inverse_square_root": Both("平方根倒数", "inverse square root"),
    "cyclic": Both("循环", "cyclic"),
}
LENGTH = 1000


def modern(shape: schedules.Shape, warmup: int, floor: float, decay_steps: int) -> list[float]:
    options: dict[str, float] = {}
    if shape in ("linear", "cosine", "wsd", "cyclic"):
        options["floor"] = floor
    if shape == "wsd":
        options["decay_steps"] = min(decay_steps, LENGTH - warmup)
    if shape == "cyclic":
        options["period"] = 200
    if shape == "inverse_square_root":
        warmup = max(warmup, 1)
    schedule = Schedule(shape, 1.0, LENGTH, warmup, **options)  # pyright: ignore[reportArgumentType]
    return [lr_at(step, schedule) for step in range(LENGTH + 1)]


@value
def rate(shape: str, step: int, floor: float = 0.0, warmup: int = 0, decay_steps: int = 200) -> float:
    """The share of the peak at this step of 1000."""
    return modern(shape, warmup, floor, decay_steps)[step]  # pyright: ignore[reportArgumentType]


@value
def mean_rate(shape: str, warmup: int = 0, decay_steps: int = 200) -> float:
    """The mean share of the peak over 1000 steps without a floor."""
    rates = modern(shape, warmup, 0.0, decay_steps)[:LENGTH]  # pyright: ignore[reportArgumentType]
    return sum(rates) / len(rates)


@figure(
    title=Both("六种调度，一张图", "Six schedules on one axis"),
    predict=Predict(
        Both(
            "不预热，最低降到 0。跑到 90% 的时候，线性还有峰值的 10%。余弦还有百分之几？",
            "No warm-up, down to 0. At 90% of the run the linear schedule has 10% of its peak left. How many per cent has the cosine?",
        ),
        low=0.0,
        high=20.0,
        step=0.1,
        unit="%",
        answer=lambda: 100 * rate("cosine", 900),
        explain=lambda: Both(
            f"{100 * rate('cosine', 900):.1f}%。余弦在最后贴着地面走；而全程平均下来，两者一样，都是峰值的一半。",
            f"{100 * rate('cosine', 900):.1f}%. The cosine ends flat on the ground; and on average over the run both are the same, half of the peak.",
        ),
    ),
)
def schedule_shapes(
    warmup: Annotated[int, Slider(0, 300, step=10, label=Both("预热步数", "warm-up steps"))] = 100,
    floor: Annotated[float, Slider(0.0, 0.5, step=0.05, label=Both("最低降到", "floor"))] = 0.1,
    decay_steps: Annotated[
        int, Slider(50, 700, step=50, label=Both("WSD 的衰减步数", "decay steps of WSD"))
    ] = 200,
) -> Lines:
    return Lines(
        {
            NAMES[shape]: (range(0, LENGTH + 1, 5), modern(shape, warmup, floor, decay_steps)[::5])
            for shape in MODERN
        },
        x_label=Both("第几步", "step"),
        y_label=Both("占峰值的比例", "share of the peak"),
        y_range=(0.0, 1.05),
    )


@figure(title=Both("更早的几种衰减", "Older decays"))
def older_decays(
    rate: Annotated[
        float, Slider(0.1, 0.9, step=0.05, label=Both("每 200 步乘以", "factor per 200 steps"))
    ] = 0.5,
    power: Annotated[
        float, Slider(0.5, 3.0, step=0.25, label=Both("多项式的次数", "power of the polynomial"))
    ] = 2.0,
    seed: Annotated[int, Slider(0, 9, label=Both("噪声的种子", "seed of the noise"))] = 0,
) -> list[Lines]:
    steps = list(range(0, LENGTH + 1, 2))

    def curve(factor: Callable[[int], float]) -> tuple[list[int], list[float]]:
        return steps, [factor(step) for step in steps]

    label = {"x_label": Both("第几步", "step"), "y_label": Both("占峰值的比例", "share of the peak")}
    return [
        Lines(
            {
                Both("指数", "exponential"): curve(lambda s: schedules.exponential(s, rate, 200)),
                Both("阶梯", "staircase"): curve(
                    lambda s: schedules.exponential(s, rate, 200, staircase=True)
                ),
                Both("时间倒数", "inverse time"): curve(
                    lambda s: schedules.inverse_time(s, 1 / rate - 1, 200)
                ),
                Both("分段常数", "piecewise"): curve(
                    lambda s: schedules.piecewise(s, [300, 700], [1, 0.3, 0.1])
                ),
            },
            **label,
        ),
        Lines(
            {
                Both("多项式", "polynomial"): curve(lambda s: schedules.polynomial(s, 400, power)),
                Both("多项式，循环", "polynomial, cycle"): curve(
                    lambda s: schedules.polynomial(s, 400, power, cycle=True)
                ),
                Both("余弦重启", "cosine with restarts"): curve(
                    lambda s: schedules.cosine_restarts(s, 143, growth=2)
                ),
                Both("线性余弦", "linear cosine"): curve(
                    lambda s: schedules.linear_cosine(s, LENGTH, waves=1.5)
                ),
                Both("带噪声的线性余弦", "noisy linear cosine"): curve(
                    lambda s: schedules.noisy_linear_cosine(s, LENGTH, seed, waves=1.5)
                ),
            },
            **label,
        ),
    ]


# ---------------------------------------------------------------- one gradient that is far too long


@value
def swollen(beta2: float, longer: float = 100.0) -> float:
    """How many times √v grows when, after many gradients of size 1, one is `longer` times as large."""
    zero = torch.zeros(1, dtype=torch.float64)
    *_, v = adam_step(zero, zero + longer, zero, zero + 1, 10**6, lr=1.0, betas=(0.9, beta2))
    return v.sqrt().item()


# ---------------------------------------------------------------- Muon

TOKENS_READ = 640  # a gradient has at most as many directions as there were tokens


_one_at_a_time = threading.Lock()


@functools.cache
def gradient_of_the_real_model() -> Tensor:
    """Of the output matrix of attention in layer 28, for a page of Python's documentation: (576, 576)."""
    llama = model()
    page = "".join(stdlib_docs(max_bytes=8 * TOKENS_READ))
    ids = torch.tensor([tokenizer().encode(page)[: TOKENS_READ + 1]])
    with _one_at_a_time:  # for the time of a pass, these weights stand in the model that all figures share
        # One alone asks for a gradient: nothing is remembered for a way back through the 27 layers before.
        weights = {name: weight.detach() for name, weight in llama.named_parameters()}
        weight = weights["blocks.27.attention.out.weight"].requires_grad_()
        logits = torch.func.functional_call(llama, weights, (ids[:, :-1],))[0]
    loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
    (gradient,) = torch.autograd.grad(loss, weight)
    return gradient


@functools.cache
def gradient_sizes() -> Tensor:
    """Its singular values, with a Frobenius norm of 1."""
    sizes = torch.linalg.svdvals(gradient_of_the_real_model().double())
    return sizes / sizes.norm()


@functools.lru_cache(maxsize=16)
def sizes_after(n_steps: int) -> tuple[float, ...]:
    """What `newton_schulz` makes of the singular values: its polynomial acts on each by itself."""
    a, b, c = NEWTON_SCHULZ
    sizes = gradient_sizes()
    for _ in range(n_steps):
        sizes = a * sizes + b * sizes**3 + c * sizes**5
    return tuple(sizes.tolist())


def share_of(sizes: Sequence[float]) -> float:
    """The share of the squared length that lies in the first 10 directions."""
    squares = [size**2 for size in sizes]
    return sum(squares[:10]) / sum(squares)


def share_of_largest() -> float:
    return share_of(gradient_sizes().tolist())


@figure(
    title=Both("牛顿–舒尔茨怎样拉平奇异值", "How Newton–Schulz evens out singular values"),
    predict=Predict(
        Both(
            "这是 SmolLM2 里一个 576 × 576 矩阵的梯度。它有 576 个方向，最大的 10 个占了平方长度的百分之几？",
            "This is the gradient of a 576 × 576 matrix in SmolLM2. It has 576 directions. How many per cent of its squared length lie in the 10 largest?",
        ),
        low=0.0,
        high=100.0,
        step=1.0,
        unit="%",
        answer=lambda: 100 * share_of_largest(),
        explain=lambda: Both(
            f"{100 * share_of_largest():.0f}%。按梯度的原样走，几乎只在这几个方向上动。",
            f"{100 * share_of_largest():.0f}%. Following the gradient as it is means moving in hardly any other direction.",
        ),
    ),
)
def muon_directions(
    n_steps: Annotated[int, Slider(0, 8, label=Both("迭代几次", "iterations"))] = 5,
) -> list[Lines | Text]:
    order = range(1, len(gradient_sizes()) + 1)
    sizes = sizes_after(n_steps)
    return [
        Lines(
            {
                Both("梯度", "gradient"): (order, gradient_sizes()),
                Both(f"{n_steps} 次以后", f"after {n_steps}"): (order, sizes),
            },
            x_label=Both("第几个方向", "direction"),
            y_label=Both("奇异值", "singular value"),
            y_range=(0.0, 1.25),
        ),
        Text(
            Both(
                f"{n_steps} 次以后，前 10 个方向占平方长度的 {share_of(sizes):.0%}。",
                f"After {n_steps}, the first 10 directions hold {share_of(sizes):.0%} of the squared length.",
            )
        ),
    ]


@value
def muon_overhead(d_model: int, tokens: int) -> float:
    """Arithmetic of Newton–Schulz on a square matrix over that of its forward and backward pass, from the shapes:
    5 iterations of 3 products of d³ multiplications, against 3 products of d² a token."""
    return 5 * 3 * d_model**3 / (3 * d_model**2 * tokens)


# ---------------------------------------------------------------- labs: a small transformer on real text

LENGTH_OF_ROWS = 64
ROWS = 16
VOCABULARY = 1024


@functools.cache
def text() -> Tensor:
    """The documentation of Python's standard library as tokens of a vocabulary that was learned from it."""
    texts = list(stdlib_docs(max_bytes=1_000_000))
    words = Tokenizer.train(texts, vocab_size=VOCABULARY)
    return torch.tensor([token for piece in texts for token in words.encode(piece)])


def learned_tokens() -> int:
    """How many tokens the labs train on at most."""
    return int(0.95 * len(text()))


def rows(tokens: Tensor, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Random rows and the token after each position."""
    starts = torch.randint(len(tokens) - LENGTH_OF_ROWS, (count, 1), generator=generator)
    cut = tokens[starts + torch.arange(LENGTH_OF_ROWS + 1)]
    return cut[:, :-1], cut[:, 1:]


class RandomRows:
    """Batches of the first 95 % of the text, the same for every run with one seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __next__(self) -> Batch:
        tokens, targets = rows(text()[: learned_tokens()], self.generator, ROWS)
        return Batch(tokens, targets, torch.zeros_like(tokens))

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: object) -> None:
        raise NotImplementedError("a lab that is cancelled begins anew")


def small_llama(seed: int) -> Llama:
    llama = Llama(
        LlamaConfig(
            vocab_size=VOCABULARY,
            d_model=96,
            n_layers=3,
            n_heads=3,
            n_kv_heads=3,
            head_dim=32,
            hidden=256,
            context_length=LENGTH_OF_ROWS,
            tied_head=True,
        )
    )
    initialize(llama, torch.Generator().manual_seed(seed))
    return llama


@torch.no_grad()
def held_out_loss(llama: Llama) -> float:
    """Nats a token on rows of the last 5 % of the text, always the same ones."""
    inputs, targets = rows(text()[learned_tokens() :], torch.Generator().manual_seed(99), 128)
    return torch.nn.functional.cross_entropy(llama(inputs).flatten(0, 1), targets.flatten()).item()


def training(config: TrainingConfig, seed: int) -> tuple[Llama, Iterator[StepMetrics]]:
    """A new small model and its training with the stack's own loop."""
    llama = small_llama(seed)
    events = train(begin(llama, RandomRows(seed + 1000), config), config)
    return llama, (event for event in events if isinstance(event, StepMetrics))


RATES = (2e-3, 6e-3, 2e-2, 6e-2)


@lab(
    title=Both("预热，还是不预热", "With and without warm-up"),
    seconds=80,
    summary=Both(
        "一个 43 万参数的 Llama，在真实文字上，从四个学习率出发，各训练两遍。",
        "A Llama of 430,000 parameters on real text, trained twice at each of four learning rates.",
    ),
)
def warmup_or_not(
    steps: Annotated[int, Slider(40, 300, step=20, label=Both("每遍的步数", "steps of each run"))] = 120,
    warmup: Annotated[int, Slider(5, 40, step=5, label=Both("预热步数", "warm-up steps"))] = 30,
) -> Iterator[Event]:
    kinds = {Both("不预热", "no warm-up"): 0, Both("预热", "warm-up"): warmup}
    results: dict[Both, list[float | None]] = {name: [] for name in kinds}
    total, done = len(RATES) * len(kinds) * steps, 0
    yield Progress(0, total, Both("读文字、训练分词器", "reading the text, training a tokenizer"))
    text()
    for peak in RATES:
        for name, warmup_steps in kinds.items():
            config = TrainingConfig(
                steps,
                ROWS,
                learning_rate=peak,
                schedule="constant",
                warmup_steps=warmup_steps,
                within_documents=False,
            )
            llama, events = training(config, seed=0)
            label = Both(f"{name.zh}，{peak:g}", f"{name.en}, {peak:g}")
            try:
                for event in events:
                    done += 1
                    if event.step % 5 == 0 or event.step == 1:
                        yield Sample(
                            label,
                            x=event.step,
                            y=event.loss,
                            x_label=Both("第几步", "step"),
                            y_label=Both("训练损失（奈特）", "training loss (nats)"),
                        )
                        yield Progress(done, total, label)
                results[name].append(held_out_loss(llama))
            except TrainingDiverged as diverged:
                yield Say(Both(f"{label.zh}：发散了。{diverged}", f"{label.en}: diverged. {diverged}"))
                results[name].append(None)
        tried = RATES[: len(results[name])]
        yield Show(
            "summary",
            Lines(
                {name: (tried, losses) for name, losses in results.items()},
                x_log=True,
                x_label=Both("峰值学习率", "peak learning rate"),
                y_label=Both("留出文字上的损失", "loss on held-out text"),
            ),
        )
    for name, losses in results.items():
        yield Metric(
            name,
            min(loss for loss in losses if loss is not None),
            Both("奈特，最好的一遍", "nats, the best run"),
        )


@lab(
    title=Both("AdamW 和 Muon，同样多的 token", "AdamW and Muon at equal tokens"),
    seconds=70,
    summary=Both(
        "同一个小模型、同样的初始权重、同样的批次。默认的学习率是各自试出来较好的。",
        "One small model, the same first weights, the same batches. The default rates are good ones for each.",
    ),
)
def adamw_or_muon(
    adamw_rate: Annotated[
        float, Slider(1e-3, 1e-1, log=True, label=Both("AdamW 的学习率", "rate of AdamW"))
    ] = 6e-3,
    muon_rate: Annotated[
        float, Slider(1e-3, 1e-1, log=True, label=Both("Muon 的学习率", "rate of Muon"))
    ] = 2e-2,
    steps: Annotated[int, Slider(50, 500, step=50, label=Both("步数", "steps"))] = 200,
    n_seeds: Annotated[int, Slider(1, 3, label=Both("各跑几个种子", "seeds of each"))] = 2,
) -> Iterator[Event]:
    total, done = 2 * n_seeds * steps, 0
    yield Progress(0, total, Both("读文字、训练分词器", "reading the text, training a tokenizer"))
    text()
    losses: dict[str, list[float]] = {"AdamW": [], "Muon": []}
    seconds: dict[str, float] = {"AdamW": 0.0, "Muon": 0.0}
    for seed in range(n_seeds):
        for name, optimizer, peak in (("AdamW", "adamw", adamw_rate), ("Muon", "muon", muon_rate)):
            config = TrainingConfig(
                steps,
                ROWS,
                optimizer=optimizer,
                learning_rate=peak,
                schedule="linear",
                warmup_steps=min(20, steps // 5),
                within_documents=False,
            )
            llama, events = training(config, seed)
            began = time.perf_counter()
            try:
                for event in events:
                    done += 1
                    if event.step % 5 == 0 or event.step == 1:
                        yield Sample(
                            f"{name}, {seed + 1}",
                            x=event.step,
                            y=event.loss,
                            x_label=Both("第几步", "step"),
                            y_label=Both("训练损失（奈特）", "training loss (nats)"),
                        )
                        yield Progress(done, total, f"{name}, {seed + 1}")
            except TrainingDiverged as diverged:
                yield Say(Both(f"{name} 发散了：{diverged}", f"{name} diverged: {diverged}"))
                return
            seconds[name] += time.perf_counter() - began
            losses[name].append(held_out_loss(llama))
    yield Show(
        "summary",
        Table(
            [
                Both("优化器", "optimizer"),
                Both("留出文字上的损失，各种子", "loss on held-out text, each seed"),
                Both("平均", "mean"),
                Both("每步毫秒", "milliseconds a step"),
            ],
            [
                [
                    name,
                    "  ".join(f"{loss:.3f}" for loss in losses[name]),
                    round(sum(losses[name]) / n_seeds, 3),
                    round(1e3 * seconds[name] / (n_seeds * steps), 1),
                ]
                for name in losses
            ],
            note=Both(
                "差多少才算数，看同一行里两个种子差多少",
                "what difference counts: see how far the seeds of one row lie apart",
            ),
        ),
    )


@lab(
    title=Both("用你的 adamw_step 训练", "Training with your adamw_step"),
    seconds=30,
    summary=Both(
        "小模型的每一个张量，每一步，都由可读的那个函数来更新。打开“用我写的函数来跑”，它就换成你写的。",
        "Every tensor of the small model is moved by the readable function at every step. Turn on “Run it with my function” and it becomes yours.",
    ),
)
def your_adamw(
    steps: Annotated[int, Slider(20, 200, step=20, label=Both("步数", "steps"))] = 80,
    lr: Annotated[float, Slider(1e-3, 5e-2, log=True, label=Both("学习率", "learning rate"))] = 6e-3,
) -> Iterator[Event]:
    yield Progress(0, steps, Both("读文字、训练分词器", "reading the text, training a tokenizer"))
    text()
    mine, reference = small_llama(0), small_llama(0)
    optimizers = (
        AdamW(mine.parameters(), lr=lr, fused=False),
        torch.optim.AdamW(reference.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1),
    )
    names = (Both("你的 / 课程的 adamw_step", "yours / the course's adamw_step"), "torch.optim.AdamW")
    loader = RandomRows(1)
    losses = [0.0, 0.0]
    for step in range(1, steps + 1):
        batch = next(loader)
        for number, (llama, optimizer) in enumerate(zip((mine, reference), optimizers, strict=True)):
            loss = torch.nn.functional.cross_entropy(
                llama(batch.tokens).flatten(0, 1), batch.targets.flatten()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[number] = loss.item()
            if not math.isfinite(losses[number]):
                yield Say(
                    Both(f"第 {step} 步，损失不是数了。", f"At step {step} the loss is no longer a number.")
                )
                return
            yield Sample(
                names[number],
                x=step,
                y=losses[number],
                x_label=Both("第几步", "step"),
                y_label=Both("损失（奈特）", "loss (nats)"),
            )
        yield Progress(step, steps)
    apart = max(
        (one - other).abs().max().item()
        for one, other in zip(mine.parameters(), reference.parameters(), strict=True)
    )
    yield Metric(Both("你这边的损失", "loss on your side"), losses[0], Both("奈特", "nats"))
    yield Metric(Both("torch 的损失", "loss with torch"), losses[1], Both("奈特", "nats"))
    yield Metric(Both("权重最多相差", "largest difference of a weight"), apart)
