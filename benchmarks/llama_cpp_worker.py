"""`llama.cpp` in a process of its own, under a Python that has `llama-cpp-python`; see `llama_cpp_peer`.

Reads a request a line from the input, as JSON, and answers each with a line of JSON.
"""

import ctypes
import itertools
import json
import sys
import time

import llama_cpp
import numpy as np


def main() -> None:
    llama_cpp.llama_log_set(SILENT, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = None
    for line in sys.stdin:
        request = json.loads(line)
        match request.pop("do"):
            case "version":
                answer = llama_cpp.__version__
            case "quantize":
                answer = quantize(**request)
            case "load":
                model = Model(**request)
                answer = True
            case "decode":
                answer = model.decode(**request)
            case "prefill":
                answer = model.prefill(**request)
            case "log_likelihoods":
                answer = model.log_likelihoods(**request)
        print(json.dumps(answer), flush=True)


SILENT = llama_cpp.llama_log_callback(lambda level, text, data: None)


def quantize(source: str, target: str, kind: str) -> int:
    """The weights of one GGUF file in another kind of numbers: 0 if it worked."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    parameters.allow_requantize = True
    return llama_cpp.llama_model_quantize(source.encode(), target.encode(), parameters)


class Model:
    def __init__(self, path: str, n_threads: int, context: int) -> None:
        self.model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = context
        settings.n_threads = settings.n_threads_batch = n_threads
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def decode(self, prompt: list[int], n_tokens: int) -> dict[str, object]:
        """Greedy: the tokens, and the seconds of all of it."""
        self.forget()
        began, cpu = time.perf_counter(), time.process_time()
        logits, tokens = self.read(prompt), []
        for _ in range(n_tokens):
            tokens.append(int(logits.argmax()))
            if len(tokens) < n_tokens:
                logits = self.read(tokens[-1:])
        return {
            "tokens": tokens,
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
        }

    def prefill(self, prompt: list[int]) -> dict[str, float]:
        self.forget()
        began, cpu = time.perf_counter(), time.process_time()
        self.read(prompt)
        return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}

    def log_likelihoods(self, tokens: list[int]) -> list[float]:
        """ln p of every token but the first, read one by one."""
        self.forget()
        found = []
        for token, following in itertools.pairwise(tokens):
            logits = self.read([token]).astype(np.float64)
            highest = logits.max()
            found.append(float(logits[following] - highest - np.log(np.exp(logits - highest).sum())))
        return found

    def forget(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def read(self, tokens: list[int]) -> np.ndarray:
        """The logits behind the last token."""
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(array, len(tokens))):
            raise RuntimeError(f"llama_decode failed on {len(tokens)} tokens")
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, -1), (self.n_vocab,))


if __name__ == "__main__":
    main()
