"""Single-stream decoding of SmolLM2-135M in bf16, int8 and 4 bits beside `transformers` and `llama.cpp`.
`LLAMA_CPP_PYTHON=… make bench NAME=decode`; see `llama_cpp_peer` for the variable.

All have the same weights, which the file holds in 4 bits, and write the same number of tokens greedily behind
the same prompt, end tokens ignored. A step reads every weight once, so memory bandwidth divided by the bytes
of the weights is the limit of any decoder that keeps them in so many bits. Perplexity says what fewer bits
cost: of a lesson's text, read token by token, so by the kernels that decode.

On a machine that is busy, `--threads 1 --cpu-time` compares the seconds of the processor instead.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from benchmarks.harness import Row, compare, report, seconds, without_peer
from benchmarks.llama_cpp_peer import WHY_MISSING, LlamaCpp, llama_cpp
from teachllm.stack.data.assets import asset
from teachllm.stack.inference import LanguageModel, generate_tokens, load_language_model
from teachllm.stack.inference.command import Weights
from teachllm.stack.inference.fused_llama import FusedLlama
from teachllm.stack.models.llama import Llama
from teachllm.stack.models.loading import load_model
from teachllm.stack.models.weights import llama_layout
from teachllm.stack.nn.kv_cache import KVCache

MODEL = "smollm2-135m-instruct"
PROMPT = "The history of computing began long before the first electronic machine. In the"
PACKAGES = ("torch", "transformers", "numba")
THREADS = 2
PEERS: dict[Weights, str] = {"bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}  # ours → llama.cpp's
CHAPTER = Path(__file__).parents[1] / "course/01-foundations"
LESSON = CHAPTER / "02-attention-and-kv-cache/lesson.en.md"
# One text alone says little: rounding weights makes some of its tokens likelier by chance.
READ = (LESSON, CHAPTER / "03-position-encoding/lesson.en.md", CHAPTER / "04-relative-position/lesson.en.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument(
        "--text-tokens", type=int, default=1000, help="of each text, for perplexity; 0 leaves it out"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    bandwidth = memory_bandwidth()
    rows: list[Row] = []
    perplexities: dict[str, float] = {}
    peer = llama_cpp()
    with tempfile.TemporaryDirectory() as folder:
        for weights, numbers in PEERS.items():
            ours = load_language_model(MODEL, "cpu", torch.bfloat16, weights)
            if peer is not None:
                path = peer.in_numbers(asset(MODEL), numbers, Path(folder))
                peer.ask("load", path=str(path), n_threads=options.threads, context=2048)
            contenders = contenders_of(weights, ours, peer, options)
            rows += side_by_side(weights, ours, contenders, bandwidth, options)
            if options.text_tokens:
                texts = [
                    ours.encode_text(lesson.read_text(encoding="utf-8"))[: options.text_tokens]
                    for lesson in READ
                ]
                perplexities[f"ours {weights}"] = perplexity(
                    [one for text in texts for one in log_likelihoods(ours, text)]
                )
                if peer is not None:
                    perplexities[f"llama.cpp {numbers}"] = perplexity(
                        [one for text in texts for one in peer.ask("log_likelihoods", tokens=text)]
                    )
    if peer is not None:
        peer.close()
    told = ", ".join(f"{who} {value:.3f}" for who, value in perplexities.items())
    notes = [
        f"{options.tokens} tokens behind a short prompt, reading the prompt included, batch 1, greedy",
        f"medians of {options.runs} runs in turns, {'processor' if options.cpu_time else 'clock'} seconds",
        f"limit: {bandwidth / 1e9:.1f} GB/s, the best of ten sums over 1 GB on {options.threads} threads, "
        "divided by the bytes of the weights that a step reads",
        f"perplexity of {options.text_tokens} tokens of each of three lessons: {told or 'left out'}",
        f"llama.cpp: {'not here' if peer is None else f'llama-cpp-python {peer.version}'}",
    ]
    report("decode", rows, notes=notes, details={"perplexity": perplexities})


def contenders_of(
    weights: Weights, ours: LanguageModel, peer: LlamaCpp | None, options: argparse.Namespace
) -> dict[str, Callable[[], float]]:
    """By name, what writes the tokens and returns the seconds that it took."""
    prompt = ours.encode_text(PROMPT)
    clock = time.process_time if options.cpu_time else time.perf_counter

    def timed(run: Callable[[], object]) -> float:
        began = clock()
        run()
        return clock() - began

    def by_llama_cpp() -> float:
        assert peer is not None
        answer = peer.ask("decode", prompt=prompt, n_tokens=options.tokens)
        return answer["cpu_seconds" if options.cpu_time else "seconds"]

    contenders = {"ours": lambda: timed(lambda: write(ours, prompt, options.tokens))}
    if weights == "bf16":
        theirs = reference_model(plain_model())
        contenders["transformers"] = lambda: timed(lambda: write_reference(theirs, prompt, options.tokens))
    if peer is not None:
        contenders[f"llama.cpp {PEERS[weights]}"] = by_llama_cpp
    return contenders


def side_by_side(
    weights: Weights,
    ours: LanguageModel,
    contenders: dict[str, Callable[[], float]],
    bandwidth: float,
    options: argparse.Namespace,
) -> list[Row]:
    """They take turns; the first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(options.runs + 1):
        for name, run in contenders.items():
            spent = run()
            if round_number:
                taken[name].append(spent)
    speed = {name: options.tokens / statistics.median(times) for name, times in taken.items()}
    n_bytes = bytes_read(ours)
    what = f"decode SmolLM2-135M, {weights} ({n_bytes / 1e6:.0f} MB)"
    rows = [
        compare(
            what,
            speed["ours"],
            speed[name],
            name,
            "tokens/s",
            limit=bandwidth / n_bytes,
            threads=options.threads,
            packages=PACKAGES,
        )
        for name in contenders
        if name != "ours"
    ]
    if not any(row.peer_name.startswith("llama.cpp") for row in rows):
        missing = without_peer(
            what, speed["ours"], "llama.cpp", "tokens/s", WHY_MISSING, threads=options.threads
        )
        rows.append(missing)
    return rows


def bytes_read(model: LanguageModel) -> int:
    """Of weights, in a step."""
    assert isinstance(model.model, FusedLlama), model.decoding
    return model.model.bytes_read


def write(model: LanguageModel, prompt: list[int], n_tokens: int) -> list[int]:
    tokens = generate_tokens(model.model, prompt, max_tokens=n_tokens)
    return [token for token in itertools.islice(tokens, n_tokens) if isinstance(token, int)]


@torch.inference_mode()
def log_likelihoods(model: LanguageModel, tokens: list[int]) -> list[float]:
    """ln p of every token but the first, read one by one."""
    assert isinstance(model.model, Llama)
    cache = KVCache.for_model(model.model.config, len(tokens), dtype=model.dtype)
    found = []
    for token, following in itertools.pairwise(tokens):
        logits = model.model(torch.tensor([[token]]), cache)[0, -1]
        found.append(logits.double().log_softmax(-1)[following].item())
    return found


def perplexity(log_likelihoods: list[float]) -> float:
    return math.exp(-statistics.fmean(log_likelihoods))


def plain_model() -> Llama:
    plain = load_model(MODEL, "cpu", torch.bfloat16)
    assert isinstance(plain, Llama)
    return plain


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
