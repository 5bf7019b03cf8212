"""Sizes of published models, for counting: making one takes what `parameters_by_part` says."""

from __future__ import annotations

from teachllm.stack.models.llama import LlamaConfig


def _llama3(d_model: int, n_layers: int, n_heads: int, hidden: int) -> LlamaConfig:
    return LlamaConfig(128_256, d_model, n_layers, n_heads, 8, 128, hidden, 8192, rope_base=500_000.0)


# Meta's model card of Llama 3, April 2024; Grattafiori et al. 2024, arXiv:2407.21783, table 3.
PRESETS = {
    # Touvron et al. 2023, arXiv:2307.09288, tables 1 and 19: also the shape of the first LLaMA-13B.
    "llama2-13b": LlamaConfig(32_000, 5120, 40, 40, 40, 128, 13_824, 4096),
    "llama3-8b": _llama3(4096, 32, 32, 14_336),
    "llama3-70b": _llama3(8192, 80, 64, 28_672),
}
