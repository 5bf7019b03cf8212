"""Which parameters are alike: who is decayed, and who may be moved by Muon."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

from torch import nn

from teachllm.stack.nn.positions import LearnedPositions

Kind = Literal["matrices", "head", "embeddings", "vectors"]

# Matrices inside the model and the head multiply what comes in: decay keeps them from growing. Norms and
# biases are few, and shrinking them only changes a scale. A decayed embedding shrinks until the norm behind
# it passes on large gradients (OLMo 2, arXiv:2501.00656, section 3).
DECAYED: frozenset[Kind] = frozenset({"matrices", "head"})


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for `AdamW` and `Muon`: {params, names, kind, weight_decay, orthogonal}, without empty ones.

    Parameters that are not trained are left out. A tied head is an embedding.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    kinds = parameter_kinds(model)
    groups: dict[Kind, dict[str, Any]] = defaultdict(lambda: {"params": [], "names": []})
    for name, parameter in parameters.items():
        groups[kinds[name]]["params"].append(parameter)
        groups[kinds[name]]["names"].append(name)
    return [
        group
        | {
            "kind": kind,
            "weight_decay": weight_decay if kind in DECAYED else 0.0,
            # Muon evens out the directions in which a matrix moves. A row of an embedding or of the head
            # belongs to one token: rare ones would be moved as much as frequent ones.
            "orthogonal": kind == "matrices",
        }
        for kind, group in groups.items()
    ]


def parameter_kinds(model: nn.Module) -> dict[str, Kind]:
    """Each parameter's kind by its name: embeddings, the module called `head`, other matrices, vectors."""
    kinds: dict[str, Kind] = {}
    embeddings = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | LearnedPositions)
    }
    for name, parameter in model.named_parameters():
        if id(parameter) in embeddings:
            kinds[name] = "embeddings"
        elif parameter.ndim < 2:
            kinds[name] = "vectors"
        else:
            kinds[name] = "head" if "head" in name.split(".") else "matrices"
    return kinds
