"""The training step as it is written elsewhere: the peers of `benchmarks.training`.

`PlainLlama` is what nanoGPT and minimind do with PyTorch's own operations, each in the fastest form that
PyTorch offers: one matrix for queries, keys and values, one for gate and up, fused norm, attention and AdamW.
Its mixed precision is autocast (as in nanoGPT, and in Trainer) or a linear layer that casts its float32
weight at every call.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from benchmarks.decode import reference_model
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.positions import rope_cos_sin

Steps = Callable[[int], list[float]]
"""Trains that many steps more, and says how many seconds each took."""


class CastingLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.linear(input, self.weight.to(input.dtype))


class PlainBlock(nn.Module):
    def __init__(self, c: LlamaConfig, linear: type[nn.Linear]) -> None:
        super().__init__()
        self.n_heads, self.head_dim = c.n_heads, c.head_dim
        self.attention_norm = nn.RMSNorm(c.d_model, c.norm_eps)
        self.qkv = linear(c.d_model, 3 * c.d_model, bias=False)
        self.out = linear(c.d_model, c.d_model, bias=False)
        self.feed_forward_norm = nn.RMSNorm(c.d_model, c.norm_eps)
        self.gate_up = linear(c.d_model, 2 * c.hidden, bias=False)
        self.down = linear(c.hidden, c.d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, d = x.shape
        qkv = self.qkv(_norm(self.attention_norm, x)).view(batch, length, 3, self.n_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v.to(q.dtype), mask, is_causal=mask is None)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, d))
        gate, up = self.gate_up(_norm(self.feed_forward_norm, x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def _norm(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    weight = norm.weight if torch.is_autocast_enabled("cpu") else norm.weight.to(x.dtype)
    return F.rms_norm(x, norm.normalized_shape, weight, norm.eps)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


class PlainLlama(nn.Module):
    def __init__(self, c: LlamaConfig, linear: type[nn.Linear], dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.blocks = nn.ModuleList(PlainBlock(c, linear) for _ in range(c.n_layers))
        self.norm = nn.RMSNorm(c.d_model, c.norm_eps)
        self.head = linear(c.d_model, c.vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        cos, sin = rope_cos_sin(torch.arange(c.context_length), c.head_dim, c.rope_base)
        self.register_buffer("cos", torch.cat([cos, cos], dim=-1).bfloat16())
        self.register_buffer("sin", torch.cat([sin, sin], dim=-1).bfloat16())

    def forward(self, tokens: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.embedding(tokens).to(self.dtype)
        for block in self.blocks:
            x = block(x, self.cos, self.sin, mask)
        logits = self.head(_norm(self.norm, x))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def plain_name(ours: str) -> str:
    """What a weight of our Llama is called in `PlainLlama`."""
    return ours.replace(".attention.", ".").replace(".feed_forward.", ".")


def plain(
    config: LlamaConfig, weights: dict[str, Tensor], tokens: Tensor, *, autocast: bool, compiled: bool = False
) -> Steps:
    linear, dtype = (nn.Linear, torch.float32) if autocast else (CastingLinear, torch.bfloat16)
    model = PlainLlama(config, linear, dtype)
    model.load_state_dict({plain_name(name): weight for name, weight in weights.items()}, strict=False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    run = torch.compile(model) if compiled else model

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = run(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return lambda n: timed(step, n)


def trainer(config: LlamaConfig, weights: dict[str, Tensor], tokens: Tensor) -> Steps:
    """`transformers` Llama in its Trainer, in the precision that `bf16=True` means there."""
    ours = Llama(config)
    ours.load_state_dict(weights)
    model = reference_model(ours).train()
    del ours
    rows = [{"input_ids": row[:-1], "labels": row[:-1]} for row in tokens]

    def steps(n: int) -> list[float]:
        times = StepTimes()
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                folder, max_steps=n, per_device_train_batch_size=len(tokens), bf16=True, use_cpu=True,
                learning_rate=1e-3, adam_beta2=0.95, weight_decay=0.1, max_grad_norm=1.0,
                optim="adamw_torch_fused", report_to="none", logging_strategy="no", save_strategy="no",
                disable_tqdm=True, dataloader_pin_memory=False,
            )  # fmt: skip
            transformers.Trainer(model, arguments, train_dataset=rows, callbacks=[times]).train()  # pyright: ignore
        return times.seconds

    return steps


class StepTimes(transformers.TrainerCallback):
    """From the beginning of one step to that of the next: with all that the Trainer does in between."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, *arguments: object, **named: object) -> None:
        self._begun = time.perf_counter()

    def on_step_end(self, *arguments: object, **named: object) -> None:
        self.seconds.append(time.perf_counter() - self._begun)


def timed(step: Callable[[], object], n: int) -> list[float]:
    seconds = []
    for _ in range(n):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    return seconds
