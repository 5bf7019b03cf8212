"""Which parameters are alike: who is decayed, and who may be moved by Muon."""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias, cast

from torch import nn

from teachllm.stack.nn.positions import LearnedPositions

Kind = Literal["matrices", "head", "embeddings", "vectors"]
Parts: TypeAlias = tuple[int, ...] | None

# Matrices inside the model and the head multiply what comes in: decay keeps them from growing. Norms and
# biases are few, and shrinking them only changes a scale. A decayed embedding shrinks until the norm behind
# it passes on large gradients (OLMo 2, arXiv:2501.00656, section 3).
DECAYED: frozenset[Kind] = frozenset({"matrices", "head"})


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for `AdamW` and `Muon`: {params, names, kind, weight_decay, orthogonal, parts}, none empty.

    Parameters that are not trained are left out. A tied head is an embedding.
    """
    kinds = parameter_kinds(model)
    groups: dict[tuple[Kind, Parts], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kind = kinds[name]
        parts = matrix_parts(model, name) if kind == "matrices" else None
        group = groups.setdefault(
            (kind, parts),
            {
                "params": [],
                "names": [],
                "kind": kind,
                "weight_decay": weight_decay if kind in DECAYED else 0.0,
                # Muon evens out the directions in which a matrix moves. A row of an embedding or of the head
                # belongs to one token: rare ones would be moved as much as frequent ones.
                "orthogonal": kind == "matrices",
                "parts": parts,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


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


def matrix_parts(model: nn.Module, name: str) -> Parts:
    """Rows of each of the matrices in a weight that holds several, one below another; None if it is one.

    Our models join queries, keys and values as `qkv` (or `key_value` alone), and the two inputs of
    SwiGLU as `gate_up`.
    """
    leaf = name.removesuffix(".weight").rpartition(".")[2]
    n_rows = model.get_parameter(name).shape[0]
    if leaf == "qkv":
        n_heads = cast(HasHeads, model.config).n_heads
        n_kv_heads = getattr(model.config, "n_kv_heads", n_heads)
        kv_rows = n_rows * n_kv_heads // (n_heads + 2 * n_kv_heads)
        return (n_rows - 2 * kv_rows, kv_rows, kv_rows)
    return (n_rows // 2, n_rows // 2) if leaf in ("gate_up", "key_value") else None


class HasHeads(Protocol):
    """Sizes of any model of the stack; those without `n_kv_heads` have as many keys as queries."""

    @property
    def n_heads(self) -> int: ...
