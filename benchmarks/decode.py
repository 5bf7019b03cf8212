"""Single-stream decoding of SmolLM2-135M beside `transformers` generate, in bfloat16 on two threads.
`make bench NAME=decode`.

Both have the same weights and write the same number of tokens greedily behind the same prompt, end tokens
ignored. A step reads every weight once, so memory bandwidth divided by the bytes of the weights is the limit
of any decoder that keeps them in this dtype.
"""

from __future__ import annotations

import argparse
import itertools

import torch
import transformers

from benchmarks.harness import Row, alternate, compare, report, seconds
from teachllm.stack.inference import LanguageModel, generate_tokens, load_language_model
from teachllm.stack.models.llama import Llama
from teachllm.stack.models.loading import load_model
from teachllm.stack.models.weights import llama_layout

THREADS = 2
MODEL = "smollm2-135m-instruct"
PROMPT = "The history of computing began long before the first electronic machine. In the"
PACKAGES = ("torch", "transformers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    bandwidth = memory_bandwidth()
    notes = [
        f"{arguments.tokens} tokens behind a short prompt, reading the prompt included, batch 1, greedy",
        f"limit: {bandwidth / 1e9:.1f} GB/s, the best of ten sums over 1 GB on {THREADS} threads, divided by "
        "the bytes of the weights",
    ]
    report("decode", [row(bandwidth, arguments.tokens, arguments.runs)], notes=notes)


def row(bandwidth: float, n_tokens: int, runs: int) -> Row:
    ours = load_language_model(MODEL, "cpu", torch.bfloat16)
    plain = load_model(MODEL, "cpu", torch.bfloat16)
    assert isinstance(plain, Llama)
    theirs = reference_model(plain)
    prompt = ours.encode_text(PROMPT)
    assert len(write(ours, prompt, n_tokens)) == len(write_reference(theirs, prompt, n_tokens)) == n_tokens
    our_seconds, their_seconds = alternate(
        lambda: write(ours, prompt, n_tokens),
        lambda: write_reference(theirs, prompt, n_tokens),
        times=runs,
    )
    weight_bytes = sum(weights.nbytes for weights in ours.model.parameters())
    return compare(
        f"decode SmolLM2-135M, bfloat16 ({weight_bytes / 1e6:.0f} MB)",
        n_tokens / our_seconds,
        n_tokens / their_seconds,
        "transformers",
        "tokens/s",
        limit=bandwidth / weight_bytes,
        threads=THREADS,
        packages=PACKAGES,
    )


def write(model: LanguageModel, prompt: list[int], n_tokens: int) -> list[int]:
    tokens = generate_tokens(model.model, prompt, max_tokens=n_tokens)
    return [token for token in itertools.islice(tokens, n_tokens) if isinstance(token, int)]


def reference_model(model: Llama) -> transformers.LlamaForCausalLM:
    """The same weights in the model of `transformers`."""
    c = model.config
    config = transformers.LlamaConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.d_model,
        num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads,
        num_key_value_heads=c.n_kv_heads,
        intermediate_size=c.hidden,
        max_position_embeddings=c.context_length,
        rms_norm_eps=c.norm_eps,
        tie_word_embeddings=c.tied_head,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
    )
    weights = model.state_dict()
    state: dict[str, torch.Tensor] = {}
    for name, sources in llama_layout(c, "hugging_face").items():
        pieces = weights[name].split([source.shape[0] for source in sources])
        state |= {source.name: piece for source, piece in zip(sources, pieces, strict=True)}
    reference = transformers.LlamaForCausalLM(config).eval()
    reference.to(model.embedding.weight.dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]
    reference.load_state_dict(state, strict=False)  # the tied head is no weight of its own
    reference.generation_config = transformers.GenerationConfig(
        do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return reference


def write_reference(model: transformers.LlamaForCausalLM, prompt: list[int], n_tokens: int) -> list[int]:
    tokens = torch.tensor([prompt])
    written = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=n_tokens)  # pyright: ignore
    return written[0, len(prompt) :].tolist()


def memory_bandwidth() -> float:
    """Bytes a second that all threads together read from memory."""
    numbers = torch.ones(1 << 28)  # 1 GB: no cache holds it
    return numbers.nbytes / min(seconds(numbers.sum) for _ in range(10))


if __name__ == "__main__":
    main()
