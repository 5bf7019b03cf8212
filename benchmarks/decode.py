"""Single-stream decoding of SmolLM2-135M beside `transformers` generate, in bfloat16 on two threads.
`make bench NAME=decode`.

Both read the same GGUF file and write the same number of tokens greedily behind the same prompt, end tokens
ignored. A step reads every weight once, so memory bandwidth divided by the bytes of the weights is the limit
of any decoder that keeps them in this dtype.
"""

from __future__ import annotations

import os

THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "2"))

import argparse
import itertools

import torch
import transformers

from benchmarks.harness import Row, alternate, compare, report, seconds
from teachllm.stack.data.assets import asset
from teachllm.stack.inference import LanguageModel, generate_tokens, load_language_model

MODEL = "smollm2-135m-instruct"
PROMPT = "The history of computing began long before the first electronic machine. In the"
PACKAGES = ("torch", "transformers")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--dtype", choices=[*DTYPES], action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    bandwidth = memory_bandwidth()
    rows = [
        row(name, bandwidth, arguments.tokens, arguments.runs) for name in arguments.dtype or ["bfloat16"]
    ]
    notes = [
        f"{arguments.tokens} tokens behind a short prompt, reading the prompt included, batch 1, greedy",
        f"limit: {bandwidth / 1e9:.1f} GB/s, the best of ten sums over 1 GB on {THREADS} threads, divided by "
        "the bytes of the weights",
    ]
    report("decode", rows, notes=notes)


def row(dtype_name: str, bandwidth: float, n_tokens: int, runs: int) -> Row:
    dtype = DTYPES[dtype_name]
    ours = load_language_model(MODEL, "cpu", dtype)
    theirs = reference_model(dtype)
    prompt = ours.encode_text(PROMPT)
    assert len(write(ours, prompt, n_tokens)) == len(write_reference(theirs, prompt, n_tokens)) == n_tokens
    taken = alternate(
        lambda: write(ours, prompt, n_tokens),
        lambda: write_reference(theirs, prompt, n_tokens),
        times=runs,
    )
    weight_bytes = sum(weights.nbytes for weights in ours.model.parameters())
    return compare(
        f"decode SmolLM2-135M, {dtype_name} ({weight_bytes / 1e6:.0f} MB)",
        *(n_tokens / spent for spent in taken),
        "transformers",
        "tokens/s",
        limit=bandwidth / weight_bytes,
        threads=THREADS,
        packages=PACKAGES,
    )


def write(model: LanguageModel, prompt: list[int], n_tokens: int) -> list[int]:
    tokens = generate_tokens(model.model, prompt, max_tokens=n_tokens)
    return [token for token in itertools.islice(tokens, n_tokens) if isinstance(token, int)]


def reference_model(dtype: torch.dtype) -> transformers.LlamaForCausalLM:
    path = asset(MODEL)
    model = transformers.LlamaForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=dtype
    ).eval()
    model.generation_config = transformers.GenerationConfig(
        do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return model


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
