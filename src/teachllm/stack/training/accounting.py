"""What training costs, counted before it begins: parameters, operations, memory, time.

Everything follows from the sizes of the model. Each number that meets a weight costs two operations, a
multiplication and an addition, and its backward pass twice that: once for the gradient of the input, once
for that of the weight. Kaplan et al. 2020, arXiv:2001.08361, section 2.1; Korthikanti et al. 2022,
arXiv:2205.05198, section 4 (activations).
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import torch

from teachllm.stack.models.llama import LlamaConfig
from teachllm.stack.models.parameter_count import parameter_count
from teachllm.stack.training.loss import CHUNK


def parameters_by_part(config: LlamaConfig) -> dict[str, int]:
    """How many numbers are trained, by what they do. A tied head has none of its own.

    >>> from teachllm.stack.models.presets import PRESETS
    >>> round(sum(parameters_by_part(PRESETS["llama3-8b"]).values()) / 1e9, 2)
    8.03
    """
    c = config
    return parameter_count(
        *(c.vocab_size, c.d_model, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, c.hidden),
        tied_head=c.tied_head,
        qkv_bias=c.qkv_bias,
    )


def flops_per_token(config: LlamaConfig, length: int, recompute: bool = False) -> dict[str, float]:
    """Operations of one training step for each of its tokens, in rows of `length`, by part.

    Forward and backward are three times forward: of the matrices 2 operations a weight, of the head too if it
    is tied, and of attention 4 · heads · head_dim a key, for q·k and for weight·v. Every query is counted
    with all `length` keys, as is the custom, though causal attention needs only half. Norms, softmax and the
    like are left out: they are few, and what they cost is memory traffic.
    recompute: the blocks go forward once more.
    """
    c = config
    parts = parameters_by_part(c)
    passes = 4 if recompute else 3
    return {
        "attention_matrices": 2.0 * parts["attention"] * passes,
        "attention_scores": 4.0 * c.n_layers * c.n_heads * c.head_dim * length * passes,
        "feed_forward": 2.0 * parts["feed_forward"] * passes,
        "head": 2.0 * c.vocab_size * c.d_model * 3,
    }


def six_n(config: LlamaConfig) -> float:
    """The approximation of all operations a token: 6 for each parameter, attention's scores neglected.

    The embedding is not counted unless it is the head as well: looking up is no product.
    """
    parts = parameters_by_part(config)
    n = sum(parts.values()) - (0 if config.tied_head else parts["embedding"])
    return 6.0 * n


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of a training step by part. `peak` is the sum at its fullest moment, not of all parts.

    weights: float32. copies: those in the compute dtype. optimizer: its states. gradients: float32, all of
    them at the end of the backward pass. activations: what the forward pass keeps for the backward pass, all
    of it at the end of the former. loss: logits of a chunk and gradients made with them.
    """

    weights: int
    copies: int
    optimizer: int
    gradients: int
    activations: int
    loss: int
    peak: int


def training_memory(
    config: LlamaConfig,
    rows: int,
    length: int,
    compute_dtype: torch.dtype = torch.bfloat16,
    *,
    recompute: bool = False,
    optimizer_bytes: int = 8,
    chunk: int = CHUNK,
) -> TrainingMemory:
    """Memory of a step on `rows` × `length` tokens at a time, as our kernels keep things on a CPU.

    optimizer_bytes: of its state for each parameter; AdamW keeps two float32 numbers.
    Counted are tensors: the program itself, and what libraries keep for themselves, comes on top.
    """
    c, size, positions = config, compute_dtype.itemsize, rows * length
    parts = parameters_by_part(c)
    n = sum(parts.values())
    weights, optimizer = 4 * n, optimizer_bytes * n
    copies = 0 if compute_dtype == torch.float32 else size * n

    kept, inside = _block_activations(c, size)
    block_kept = positions * (size * c.d_model if recompute else kept)
    final = positions * (2 * size * c.d_model + 4)  # the last residual stream, and its norm
    activations = c.n_layers * block_kept + final

    # The loss leaves the gradients of features and of the head's weight; on the way to them it holds the sum
    # of the latter in float32, and a chunk's logits and share of it.
    head = c.vocab_size * c.d_model
    loss_leaves = size * (positions * c.d_model + head)
    loss_work = 4 * head + size * (min(chunk, positions) * c.vocab_size + head)

    standing = weights + copies + optimizer
    moments = [standing + activations + size * positions * c.d_model + loss_work]
    # Going back, blocks give their activations up and leave gradients in float32.
    block_weights = (parts["attention"] + parts["feed_forward"]) // c.n_layers + 2 * c.d_model
    for left in range(c.n_layers, 0, -1):
        gradients = loss_leaves - size * positions * c.d_model + 4 * (c.n_layers - left) * block_weights
        again = positions * kept if recompute else 0
        moments.append(standing + left * block_kept + gradients + again + positions * inside)
    moments.append(standing + size * head + 4 * head + 4 * n)  # the embedding's, when all others are there
    return TrainingMemory(
        weights, copies, optimizer, 4 * n, activations, loss_leaves + loss_work, max(moments)
    )


def _block_activations(config: LlamaConfig, size: int) -> tuple[int, int]:
    """Bytes a position that a block keeps for its backward pass, and that this pass needs beside them.

    Kept: the input of both norms and what they make of it, queries, keys, values, what attention gives, gate
    and up; in float32 the scale of each norm and the logsumexp of each head. Needed beside: the gradients of
    gate and up, of what is between them and `down`, and of the block's output.
    """
    c = config
    queries, keys = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    kept = size * (4 * c.d_model + 2 * queries + 2 * keys + 2 * c.hidden) + 4 * (2 + c.n_heads)
    inside = size * (3 * c.hidden + 2 * c.d_model)
    return kept, inside


def step_seconds(flops: float, peak: float, fraction: float, overhead: float = 0.0) -> float:
    """Time of `flops` operations on a machine that does `peak` a second in matrix products, of which training
    reaches `fraction`, and of what does not grow with them: `overhead` seconds, to start operations.
    """
    if not (peak > 0 and 0 < fraction <= 1 and overhead >= 0):
        raise ValueError(
            f"peak is {peak}, fraction {fraction}, overhead {overhead}: the first must be above 0, the "
            "second in (0, 1], the third not negative"
        )
    return flops / (fraction * peak) + overhead


def calibrate(small: tuple[float, float], large: tuple[float, float], peak: float) -> tuple[float, float]:
    """(fraction, overhead) with which `step_seconds` gives two measured steps, each (operations, seconds).

    ValueError if the larger one took no longer.
    """
    (few, short), (many, long) = sorted((small, large))
    if not (many > few and long > short):
        raise ValueError(f"{many} operations took {long} s, {few} took {short} s: measure again, quietly")
    per_operation = (long - short) / (many - few)
    overhead = max(0.0, short - few * per_operation)
    return many / ((long - overhead) * peak), overhead


@functools.cache
def measure_matmul_peak(device: torch.device | str, dtype: torch.dtype) -> float:
    """Operations a second of the fastest of a few large matrix products: about a second of work on a CPU."""
    device = torch.device(device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    best = 0.0
    for n in (1024, 2048) if device.type == "cpu" else (4096, 8192):
        a, b = (torch.ones(n, n, dtype=dtype, device=device) for _ in range(2))
        for _ in range(4):  # the first warms up
            wait()
            begun = time.perf_counter()
            torch.mm(a, b)
            wait()
            best = max(best, 2 * n**3 / (time.perf_counter() - begun))
    return best
