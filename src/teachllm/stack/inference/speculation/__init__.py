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
    tokens_of,
)
from teachllm.stack.inference.speculation.medusa import MedusaHeads, medusa_steps
from teachllm.stack.inference.speculation.tree_shape import TreeShape, chain, dense_shape, sparse_shape
from teachllm.stack.inference.speculation.typical_acceptance import TypicalAcceptance

__all__ = [
    "Draft",
    "Drafter",
    "MedusaHeads",
    "ModelDrafter",
    "NgramDrafter",
    "Step",
    "Tally",
    "TreeShape",
    "TypicalAcceptance",
    "Verdict",
    "acceptance_rate",
    "best_k",
    "chain",
    "check_vocabulary",
    "dense_shape",
    "expected_tokens",
    "first_layers",
    "medusa_steps",
    "residual",
    "sparse_shape",
    "speculative_steps",
    "speculative_tokens",
    "speed_up",
    "tokens_of",
    "verify",
    "verify_greedy",
]
