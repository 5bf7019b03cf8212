"""Who is decayed and who is orthogonalized, in our models."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.training.adamw import AdamW
from teachllm.stack.training.muon import Muon
from teachllm.stack.training.parameter_groups import matrix_parts, parameter_groups, parameter_kinds

SIZES = {"vocab_size": 20, "d_model": 8, "n_layers": 2, "n_heads": 2, "hidden": 12, "context_length": 16}


def llama(*, tied: bool) -> Llama:
    return Llama(LlamaConfig(**SIZES, n_kv_heads=1, head_dim=4, tied_head=tied))


def test_kinds_of_a_llama() -> None:
    kinds = parameter_kinds(llama(tied=False))
    assert kinds["embedding.weight"] == "embeddings"
    assert kinds["head.weight"] == "head"
    assert kinds["norm.weight"] == kinds["blocks.1.attention_norm.weight"] == "vectors"
    matrices = {name for name, kind in kinds.items() if kind == "matrices"}
    parts = ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")
    assert matrices == {f"blocks.{layer}.{part}.weight" for layer in (0, 1) for part in parts}


def test_a_tied_head_is_an_embedding() -> None:
    kinds = parameter_kinds(llama(tied=True))
    assert kinds["embedding.weight"] == "embeddings"
    assert "head" not in kinds.values()


def test_kinds_of_gpt2() -> None:
    kinds = parameter_kinds(GPT2(GPT2Config(**SIZES)))
    assert kinds["positions.weight"] == kinds["embedding.weight"] == "embeddings"
    assert kinds["blocks.0.attention.qkv.bias"] == "vectors"


@pytest.mark.parametrize("tied", [True, False])
def test_every_trained_parameter_is_in_one_group(tied: bool) -> None:
    model = llama(tied=tied)
    model.norm.weight.requires_grad_(False)
    groups = parameter_groups(model, weight_decay=0.1)
    grouped = [parameter for group in groups for parameter in group["params"]]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(grouped) == len(trained)
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in trained}
    by_kind = {group["kind"]: group for group in groups}  # of the matrices, the last group
    assert {kind: group["weight_decay"] for kind, group in by_kind.items() if kind != "head"} == {
        "matrices": 0.1,
        "embeddings": 0.0,
        "vectors": 0.0,
    }
    assert tied or by_kind["head"]["weight_decay"] == 0.1
    assert {group["kind"] for group in groups if group["orthogonal"]} == {"matrices"}
    names = dict(model.named_parameters())
    assert all(
        names[name] is parameter
        for group in groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    )


def test_matrices_that_are_joined_are_known_as_parts() -> None:
    parts = {
        name: group["parts"] for group in parameter_groups(llama(tied=False), 0.1) for name in group["names"]
    }
    assert parts["blocks.0.attention.qkv.weight"] == (8, 4, 4)
    assert parts["blocks.1.feed_forward.gate_up.weight"] == (12, 12)
    assert parts["blocks.0.attention.out.weight"] is parts["head.weight"] is None
    assert matrix_parts(GPT2(GPT2Config(**SIZES)), "blocks.1.attention.qkv.weight") == (8, 8, 8)


@pytest.mark.parametrize("make", [AdamW, Muon])
def test_both_optimizers_take_the_groups_and_learn(make: type[AdamW] | type[Muon]) -> None:
    torch.manual_seed(0)
    model = llama(tied=False)
    optimizer = make(parameter_groups(model, 0.1), lr=0.02)
    tokens = torch.randint(20, (4, 9), generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(30):
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 < 2.5 < losses[0]
    states = {name: set(optimizer.state[p]) for name, p in model.named_parameters()}
    assert states["embedding.weight"] == states["head.weight"] == {"step", "m", "v"}
    expected = {"momentum"} if make is Muon else {"step", "m", "v"}
    assert states["blocks.0.attention.qkv.weight"] == expected
