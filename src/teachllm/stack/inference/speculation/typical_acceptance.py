"""Typical acceptance: a guess stays if the model finds it probable enough, though it would not have drawn it.

More guesses stay, and the text is not the model's own distribution any more. Cai et al. 2024,
arXiv:2401.10774, section 3.3.1, after the truncation of Hewitt et al. 2022, arXiv:2210.15191.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.inference.speculation.tree import TokenTree, path_to


@dataclass(frozen=True, slots=True)
class TypicalAcceptance:
    """A token stays if p > min(epsilon, delta · e^(-H)), with H the entropy of p in nats; p is that of the
    model at this temperature.

    Where the model is sure, the first bound counts; where it is unsure, less is asked. The paper takes delta
    = √epsilon. ValueError for numbers out of range.
    """

    epsilon: float = 0.09
    delta: float = 0.3
    temperature: float = 0.7

    def __post_init__(self) -> None:
        if not (0 < self.epsilon <= 1 and self.delta > 0 and self.temperature > 0):
            raise ValueError(
                f"epsilon {self.epsilon} must be above 0 and at most 1, delta {self.delta} and temperature "
                f"{self.temperature} above 0"
            )


def typical_threshold(
    p: Float[Tensor, "*batch vocab"], epsilon: float, delta: float
) -> Float[Tensor, "*batch"]:
    """min(epsilon, delta · e^(-H(p))): what a token must be more probable than to stay."""
    entropy = torch.special.entr(p).sum(-1)
    return (delta * torch.exp(-entropy)).clamp(max=epsilon)


def typical_path(
    tree: TokenTree, logits: Float[Tensor, "node vocab"], acceptance: TypicalAcceptance
) -> list[int]:
    """The longest path of accepted nodes from the root; of several, the most probable.

    logits: of the model behind each node. The root was written by the model and stays.
    """
    p = (logits / acceptance.temperature).softmax(-1)
    threshold = typical_threshold(p, acceptance.epsilon, acceptance.delta)
    parents = torch.tensor(tree.parents[1:], device=p.device)
    of_node = p[parents, torch.tensor(tree.tokens[1:], device=p.device)] if len(parents) else p.new_empty(0)
    stays = (of_node > threshold[parents]).tolist() if len(parents) else []
    scores = [(0, 0.0)]  # of the path to each node: how long it is, and Σ ln p
    for node, (parent, log_p) in enumerate(zip(tree.parents[1:], of_node.log().tolist(), strict=True), 1):
        length, total = scores[parent]
        accepted = stays[node - 1] and length >= 0
        scores.append((length + 1, total + log_p) if accepted else (-1, 0.0))
    return path_to(tree.parents, max(range(len(scores)), key=scores.__getitem__))
