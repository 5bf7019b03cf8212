"""Speculative decoding: guesses that are cheap, verified so that the text is the model's own."""

from teachllm.stack.inference.speculation.acceptance import (
    Verdict,
    acceptance_rate,
    best_k,
    expected_tokens,
    residual,
    speed_up,
    verify,
    verify_greedy,
)
from teachllm.stack.inference.speculation.drafters import (
    Draft,
    Drafter,
    ModelDrafter,
    NgramDrafter,
    check_vocabulary,
    first_layers,
)
from teachllm.stack.inference.speculation.generate import (
    Step,
    Tally,
    speculative_steps,
    speculative_tokens,
)

__all__ = [
    "Draft",
    "Drafter",
    "ModelDrafter",
    "NgramDrafter",
    "Step",
    "Tally",
    "Verdict",
    "acceptance_rate",
    "best_k",
    "check_vocabulary",
    "expected_tokens",
    "first_layers",
    "residual",
    "speculative_steps",
    "speculative_tokens",
    "speed_up",
    "verify",
    "verify_greedy",
]
