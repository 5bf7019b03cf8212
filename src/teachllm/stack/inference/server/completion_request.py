"""``POST /v1/completions``, read: one or several prompts, how to go on, and what is shown before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from teachllm.stack.inference.engine.request import RequestOptions
from teachllm.stack.inference.language_model import LanguageModel
from teachllm.stack.inference.server.bodies import CompletionBody
from teachllm.stack.inference.server.errors import bad_request
from teachllm.stack.inference.server.shared_options import sampling_of, stops_of, structured

MOST_PROMPTS = 256  # of one request


@dataclass(frozen=True)
class CompletionRequest:
    """`echoes`: what each answer begins with, for the prompts whose text was asked back."""

    prompts: list[list[int]]
    options: RequestOptions
    echoes: list[str]


def read_completion(body: CompletionBody, language_model: LanguageModel) -> CompletionRequest:
    """Raises `ApiError` for everything that this engine cannot do."""
    if body.suffix:
        raise bad_request(
            "suffix is not supported: this model only continues", "suffix", "unsupported_parameter"
        )
    if body.echo and body.logprobs is not None:
        raise bad_request(
            "echo with logprobs is not supported: the engine keeps no log-probabilities of prompts",
            "logprobs",
            "unsupported_parameter",
        )
    if body.best_of is not None and body.best_of < body.n:
        raise bad_request(f"best_of is {body.best_of}, less than n = {body.n}", "best_of")
    prompts = _prompts(body, language_model)
    options = RequestOptions(
        sampling=sampling_of(body),
        max_tokens=body.max_tokens,
        n=body.n,
        best_of=None if body.best_of in (None, body.n) else body.best_of,
        stop=stops_of(body),
        end_tokens=language_model.end_tokens,
        logprobs=body.logprobs,
        priority=body.priority,
        constraint=structured(body.structured_outputs),
    )
    decode = language_model.tokenizer.decode
    echoes = [decode(prompt, skip_special=True) if body.echo else "" for prompt in prompts]
    return CompletionRequest(prompts, options, echoes)


def _prompts(body: CompletionBody, language_model: LanguageModel) -> list[list[int]]:
    given = body.prompt
    if isinstance(given, str):
        prompts = [language_model.encode_text(given)]
    elif _are_ids(given):
        prompts = [given]
    else:
        prompts = [one if isinstance(one, list) else language_model.encode_text(str(one)) for one in given]
    if len(prompts) > MOST_PROMPTS:
        raise bad_request(f"{len(prompts)} prompts; at most {MOST_PROMPTS} are taken at once", "prompt")
    size = language_model.tokenizer.vocab_size
    for prompt in prompts:
        if not prompt:
            raise bad_request("a prompt is empty; a model continues at least one token", "prompt")
        if not all(0 <= token < size for token in prompt):
            raise bad_request(f"a prompt has an id outside of the vocabulary (0 to {size - 1})", "prompt")
    if not prompts:
        raise bad_request("there is no prompt", "prompt")
    return prompts


def _are_ids(given: object) -> TypeGuard[list[int]]:
    return isinstance(given, list) and bool(given) and all(isinstance(one, int) for one in given)
