"""Our models in EleutherAI's lm-evaluation-harness, through its own interface.

    lm_eval.simple_evaluate(model=TeachLLM(load_language_model("smollm2-135m-instruct")), tasks=["arc_easy"])

Needs the package lm-eval: ``pip install "teachllm[lm-eval]"``.
"""

from __future__ import annotations

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from teachllm.stack.evaluation.harness import write
from teachllm.stack.evaluation.likelihood import begin_token, encode_pair, likelihoods, scoring, windows
from teachllm.stack.inference.language_model import LanguageModel

USUAL_MAX_TOKENS = 256  # where a task does not say


class TeachLLM(LM):
    """The three questions that lm-eval asks of a model, answered by the functions of our own harness."""

    def __init__(self, language_model: LanguageModel) -> None:
        super().__init__()
        self.language_model = language_model

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        pairs = [encode_pair(self.language_model, *request.args) for request in requests]
        return [(one.logprob, one.is_greedy) for one in likelihoods(scoring(self.language_model), pairs)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        length = self.language_model.model.config.context_length
        begin = begin_token(self.language_model)
        totals = []
        for request in requests:
            tokens = self.language_model.tokenizer.encode(request.args[0])
            found = likelihoods(scoring(self.language_model), list(windows(tokens, begin, length)))
            totals.append(sum(one.logprob for one in found))
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy answers. ValueError if a task wants to sample."""
        answers = []
        for request in requests:
            arguments: tuple[Any, ...] = request.args
            prompt, options = arguments
            if options.get("do_sample") and options.get("temperature"):
                raise ValueError(f"this adapter writes greedily; the task asks for {options}")
            until = options.get("until") or []
            stop = [until] if isinstance(until, str) else [text for text in until if text]
            max_tokens = options.get("max_gen_toks", USUAL_MAX_TOKENS)
            answers.append(write(self.language_model, prompt, max_tokens=max_tokens, stop=stop))
        return answers
