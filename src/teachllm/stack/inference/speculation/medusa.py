"""Medusa: a few small heads on the model itself guess what comes after the next token.

There is no second model. From the features from which the model's own head says the next token, head k says
the token k places further on. Their best guesses make a tree, which the model reads in its next pass.

Cai et al. 2024, arXiv:2401.10774.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from teachllm.stack.inference.generation import STEP, CausalModel, EndReason, tokens_to_write
from teachllm.stack.inference.speculation.generate import Step
from teachllm.stack.inference.speculation.tree import TokenTree, TreeView, greedy_path
from teachllm.stack.inference.speculation.tree_shape import TreeShape
from teachllm.stack.inference.speculation.typical_acceptance import TypicalAcceptance, typical_path
from teachllm.stack.nn.kv_cache import KVCache


class MedusaHeads(nn.Module):
    """Heads 1 … n_heads, which share the output matrix of the model. Their own weights are float32.

    accuracies[k - 1][r]: how often the guess of rank r of head k was right, as `head_accuracies` measured it
    on text that it was not trained on; empty until somebody has. A tree is chosen by them.

    New heads change nothing, so each begins as the model's own head: right about the next token, and wrong
    about its own until it is trained.
    """

    def __init__(self, n_heads: int, d_model: int) -> None:
        super().__init__()
        if n_heads < 1 or d_model < 1:
            raise ValueError(f"{n_heads} heads for features of {d_model}: both must be at least 1")
        self.weight = nn.Parameter(torch.zeros(n_heads, d_model, d_model))
        self.bias = nn.Parameter(torch.zeros(n_heads, d_model))
        self.accuracies: list[list[float]] = []

    @property
    def n_heads(self) -> int:
        return len(self.weight)

    def forward(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch heads d_model"]:
        """h + SiLU(W_k h + b_k) for each head k: what the output matrix makes logits of."""
        x = torch.einsum("...i,koi->...ko", h, self.weight) + self.bias
        return h.unsqueeze(-2) + F.silu(x)

    def save(self, file: str | os.PathLike[str]) -> None:
        """As safetensors, with the accuracies if they are known."""
        tensors = {name: weights.detach().cpu().contiguous() for name, weights in self.state_dict().items()}
        if self.accuracies:
            tensors["accuracies"] = torch.tensor(self.accuracies, dtype=torch.float64)
        save_file(tensors, file)

    @classmethod
    def load(cls, file: str | os.PathLike[str], model: CausalModel) -> MedusaHeads:
        """Heads that were saved, on the device of `model`. ValueError if they are not for it."""
        path = Path(file)
        try:
            state = load_file(path)
            accuracies = state.pop("accuracies", torch.empty(0)).tolist()
            heads = cls(*state["weight"].shape[:2])
            heads.load_state_dict(state)
        except (SafetensorError, KeyError, RuntimeError) as problem:
            raise ValueError(f"{path} holds no Medusa heads, or is cut off: {problem}") from None
        d_model = model.head.weight.shape[1] if isinstance(model.head.weight, Tensor) else 0
        if heads.weight.shape[1] != d_model:
            raise ValueError(
                f"{path} has heads for features of {heads.weight.shape[1]}, and the model has {d_model}: "
                "train heads for this model"
            )
        heads.accuracies = accuracies
        return heads.to(next(model.parameters()).device).eval()


def medusa_tree(shape: TreeShape, root: int, guesses: Int[Tensor, "heads ranks"]) -> TokenTree:
    """The shape filled in: node of rank r at depth k is the guess guesses[k - 1, r]; `root` comes before."""
    table = guesses.tolist()
    tokens = [table[len(path) - 1][path[-1]] for path in shape.paths]
    return TokenTree((root, *tokens), shape.parents)


def medusa_steps(
    model: CausalModel,
    heads: MedusaHeads,
    prompt: Sequence[int],
    shape: TreeShape,
    *,
    acceptance: TypicalAcceptance | None = None,
    max_tokens: int | None = None,
    end_tokens: Collection[int] = (),
    stop: threading.Event | None = None,
) -> Iterator[Step]:
    """The text behind `prompt`, pass by pass; the first pass reads the prompt.

    Without `acceptance` it is greedy: the tokens of `generate_tokens`, but for rounding. With it, a guess
    stays if the model finds it typical, so the text is not the model's own distribution any more.
    Raises `ContextFull`, ValueError for an empty prompt or a tree that is deeper than there are heads.
    """
    if shape.depth > heads.n_heads:
        raise ValueError(f"the tree is {shape.depth} deep, but there are {heads.n_heads} heads")
    wanted, wants_all = tokens_to_write(model, prompt, max_tokens)
    reason: EndReason = "context" if wants_all else "length"
    ends, stop = frozenset(end_tokens), stop or threading.Event()
    return _steps(model, heads, list(prompt), shape, acceptance, wanted, reason, ends, stop)


def _steps(
    model: CausalModel,
    heads: MedusaHeads,
    prompt: list[int],
    shape: TreeShape,
    acceptance: TypicalAcceptance | None,
    wanted: int,
    at_the_limit: EndReason,
    end_tokens: frozenset[int],
    stop: threading.Event,
) -> Iterator[Step]:
    weights = next(model.parameters())
    room = len(prompt) + wanted + len(shape.paths)  # a tree stands in the cache until one path is kept
    cache = KVCache.for_model(model.config, room, dtype=weights.dtype, device=weights.device)
    features = weights.new_empty(0)
    for part in torch.tensor(prompt, device=weights.device).split(STEP):
        if stop.is_set():
            yield Step((), 0, (), "cancelled")
            return
        features = _read(model, part, cache)[-1]
    tree, path, behind = TokenTree((prompt[-1],), (-1,)), [0], int(_logits(model, features).argmax())
    while True:
        written = [*(tree.tokens[node] for node in path[1:]), behind][:wanted]
        ends_at = next((place for place, token in enumerate(written) if token in end_tokens), None)
        kept = written if ends_at is None else written[:ends_at]
        wanted -= len(kept)
        reason = "stop" if ends_at is not None else at_the_limit if wanted == 0 else None
        yield Step(tree.tokens[1:], min(len(path) - 1, len(kept)), tuple(kept), reason)
        if reason is not None:
            return
        if stop.is_set():
            yield Step((), 0, (), "cancelled")
            return
        # No deeper than the text may become: there are no positions behind the end of the context.
        now = shape.up_to(wanted - 1)
        guesses = best_guesses(model, heads, features, now.ranks) if now.paths else torch.empty(0, 0)
        tree = medusa_tree(now, behind, guesses)
        view = TreeView(cache, tree.parents)
        node_features = _read(model, torch.tensor(tree.tokens, device=weights.device), view)
        path, behind = _accepted(tree, _logits(model, node_features), acceptance)
        view.keep(path)
        features = node_features[path[-1]]


def _accepted(
    tree: TokenTree, logits: Float[Tensor, "node vocab"], acceptance: TypicalAcceptance | None
) -> tuple[list[int], int]:
    """The path that stays, and the model's own token behind it."""
    best = logits.argmax(-1).tolist()
    path = greedy_path(tree, best) if acceptance is None else typical_path(tree, logits, acceptance)
    return path, best[path[-1]]


@torch.inference_mode()
def _read(model: CausalModel, tokens: Int[Tensor, " n"], view: KVCache | TreeView) -> Tensor:
    return model.features(tokens[None], view)[0]


@torch.inference_mode()
def _logits(model: CausalModel, features: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n vocab"]:
    return model.head(features).float()


@torch.inference_mode()
def best_guesses(
    model: CausalModel, heads: MedusaHeads, features: Float[Tensor, " d_model"], ranks: int
) -> Int[Tensor, "heads ranks"]:
    """The `ranks` most probable tokens of each head."""
    return _logits(model, heads(features.float()).to(features.dtype)).topk(ranks, dim=-1).indices
