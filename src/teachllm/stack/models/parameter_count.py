"""How many numbers a Llama is made of, from its sizes alone."""

from __future__ import annotations


def parameter_count(
    vocab_size: int,
    d_model: int,
    n_layers: int,
    n_heads: int,
    n_kv_heads: int,
    head_dim: int,
    hidden: int,
    tied_head: bool = False,
    qkv_bias: bool = False,
) -> dict[str, int]:
    """The trained numbers of a Llama by part; sizes are those of `LlamaConfig`.

    Keys: "embedding"; "attention", the projections of queries, keys, values and output in all layers;
    "feed_forward", the three matrices of SwiGLU in all layers; "norms", two a layer and one before the head;
    "head", 0 if it is tied to the embedding. qkv_bias: queries, keys and values have biases, as in Qwen2;
    nothing else has. Rotation is computed, not trained.

    >>> sum(parameter_count(128_256, 4096, 32, 32, 8, 128, 14_336).values())  # Llama 3 8B
    8030261248
    """
    inner = n_heads * head_dim
    qkv = inner + 2 * n_kv_heads * head_dim
    attention = d_model * qkv + inner * d_model + (qkv if qkv_bias else 0)
    return {
        "embedding": vocab_size * d_model,
        "attention": n_layers * attention,
        "feed_forward": n_layers * 3 * d_model * hidden,
        "norms": (2 * n_layers + 1) * d_model,
        "head": 0 if tied_head else vocab_size * d_model,
    }
