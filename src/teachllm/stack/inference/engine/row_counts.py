"""How many rows a step computes: a few numbers of them, for the sake of memory, or of the same numbers.

Kernels are chosen by the number of rows, and each rounds in its own order: in bfloat16, a text alone and the
same text among others part ways after some tokens. So steps can get one of a few numbers of rows, the
smallest that is large enough, filled up with rows that nobody reads. Whether a row comes out the same in all
of them, bit for bit, is not assumed but tried, with the model itself.

And PyTorch's library for a CPU keeps a kernel for each number of rows of each matrix: 850 MB after all
numbers up to 512 for the four matrices of a layer of SmolLM2-135M in bfloat16, 80 MB after every sixteenth.

He et al. 2025, "Defeating Nondeterminism in LLM Inference" (Thinking Machines Lab), names the cause and goes
the other way: kernels that do not look at the number of rows.
"""

from __future__ import annotations

import statistics
import time
from bisect import bisect_left
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from teachllm.stack.inference.engine.blocks import BlockPool
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.paged_kv import PagedBatch, PagedKV
from teachllm.stack.inference.fused_llama import FusedLlama
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.nn.fast.paged_attention import can_run
from teachllm.stack.nn.measurements import LEAST_PARAMETERS, remembered

# The first is where the fused kernels for many rows begin (`nn.fast.threads.LEAST_ROWS`): below it, norms and
# rotations are rounded in another way too. Most are half as large again as the one before, or a third.
CANDIDATES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
# Without `batch_invariant`: numbers from 128 on are multiples of 16, from 256 on of 32, before of 8.
SPACING = {0: 8, 128: 16, 256: 32}
WARM, TIMES = 2, 5  # steps before those that are timed


@dataclass(frozen=True)
class RowCounts:
    """The numbers of rows that a step may have, in ascending order; empty for any number."""

    counts: tuple[int, ...] = ()

    def enough(self, n: int) -> int:
        """The smallest count from `n` on. ValueError if there is none."""
        if not self.counts:
            return n
        if n > self.counts[-1]:
            raise ValueError(f"a step of {n} rows was planned; at most {self.counts[-1]} are computed alike")
        return self.counts[bisect_left(self.counts, n)]

    def filled(self, rows: Tensor) -> Tensor:
        """`rows` with zeros behind them, up to one of the counts."""
        missing = self.enough(len(rows)) - len(rows)
        return F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, missing)) if missing else rows

    def limited(self, config: EngineConfig) -> EngineConfig:
        """`config` with steps that are not larger than the largest count."""
        if not self.counts:
            return config
        most = self.counts[-1]
        return replace(
            config,
            max_batch_tokens=min(config.max_batch_tokens, most),
            max_running=min(config.max_running, most),
        )


def row_counts(language_model: LanguageModel, config: EngineConfig) -> RowCounts:
    """Few numbers, or with `config.batch_invariant` those in which this model computes a row alike.

    Fused steps compute each row by itself, so that all numbers up to the most that they take are alike: these
    are enough for quantized weights, and for few texts at once. Else steps go through PyTorch's products.

    ValueError if attention would depend on the company, as it does where keys in blocks have no kernel.
    """
    if not config.batch_invariant:
        return _spaced(language_model, config.max_batch_tokens)
    model, sizes = language_model.model, language_model.model.config
    shape = (0, config.block_size, sizes.n_kv_heads, sizes.head_dim)
    with torch.no_grad():
        if not can_run(torch.empty(shape, dtype=language_model.dtype, device=language_model.device)):
            raise ValueError(
                f"batch_invariant is not possible on {language_model.device} with block_size = "
                f"{config.block_size}, head_dim = {sizes.head_dim}: it needs our kernel for keys in blocks, "
                "for a CPU, with blocks of 4, 8, 16 … 256 and heads of a multiple of 16. Leave it out."
            )
    if isinstance(model, FusedLlama) and (model.is_quantized or config.max_running <= model.most_rows):
        return RowCounts(tuple(range(1, model.most_rows + 1)))
    return RowCounts(_agreeing(language_model, config.max_batch_tokens))


def _spaced(language_model: LanguageModel, most: int) -> RowCounts:
    """All numbers of rows that need no large kernels, and few of those that do."""
    if language_model.device.type != "cpu" or language_model.dtype != torch.bfloat16:
        return RowCounts()
    model = language_model.model
    counts = list(range(1, 1 + (model.most_rows if isinstance(model, FusedLlama) else CANDIDATES[0])))
    while counts[-1] < most:
        spacing = next(SPACING[start] for start in reversed(SPACING) if counts[-1] >= start)
        counts.append((counts[-1] // spacing + 1) * spacing)
    return RowCounts(tuple(counts))


def _agreeing(language_model: LanguageModel, most: int) -> tuple[int, ...]:
    """The candidates, up to what holds `most` rows, that compute a row as the smallest of them does."""
    candidates = [count for count in CANDIDATES if count <= most] or [CANDIDATES[0]]
    if candidates[-1] < most and len(candidates) < len(CANDIDATES):
        candidates.append(CANDIDATES[len(candidates)])

    def measure() -> list[float]:
        return [float(agrees) for agrees in _tried(language_model, candidates)]

    model = language_model.model
    if sum(weights.numel() for weights in model.parameters()) < LEAST_PARAMETERS:
        agree = measure()
    else:
        facts = (type(model).__name__, model.config, language_model.dtype, candidates)
        agree = remembered("rows", facts, len(candidates), measure)
    return tuple(count for count, agrees in zip(candidates, agree, strict=True) if agrees)


@torch.inference_mode()
def _tried(language_model: LanguageModel, counts: list[int]) -> list[bool]:
    """For each number of rows: whether a text has the logits in it that it has in the first number, bit for
    bit, both as the first of the rows and as the last.
    """
    model, least = language_model.model, counts[0]
    n_blocks = counts[-1] // least
    kv = PagedKV.for_model(model.config, n_blocks, least, language_model.dtype, language_model.device)
    generator = torch.Generator().manual_seed(0)
    random = torch.randint(0, language_model.tokenizer.vocab_size, (counts[-1],), generator=generator)
    first: list[Tensor] = []  # the logits of the smallest number
    agree: list[bool] = []
    for count in counts:
        pool = BlockPool(kv.n_blocks, least)
        tables = [pool.open([]) for _ in range(count // least)]
        for table in tables:
            pool.extend(table, least)
        tokens = random[:count].clone()
        tokens[-least:] = tokens[:least]
        view = PagedBatch(kv, [(table, least) for table in tables], n_rows=count)
        logits = model.head(model.features(tokens.to(language_model.device)[None], view)[0])
        first = first or [logits]
        agree.append(torch.equal(logits[:least], first[0]) and torch.equal(logits[-least:], first[0]))
    return agree


@torch.inference_mode()
def step_seconds(language_model: LanguageModel, rows: RowCounts, n_texts: int) -> float:
    """Median seconds of a step in which each of `n_texts` gets its next token, with the rows filled up."""
    model, device = language_model.model, language_model.device
    kv = PagedKV.for_model(model.config, n_texts, 16, language_model.dtype, device)
    pool = BlockPool(n_texts, 16)
    tables = [pool.open([]) for _ in range(n_texts)]
    for table in tables:
        pool.extend(table, 1)
    tokens = rows.filled(torch.zeros(n_texts, dtype=torch.long, device=device))
    taken = []
    for _ in range(WARM + TIMES):
        began = time.perf_counter()
        view = PagedBatch(kv, [(table, 1) for table in tables], n_rows=len(tokens))
        model.head(rows.filled(model.features(tokens[None], view)[0, :n_texts]))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[WARM:])
