"""Recompute changes what is kept, not what is computed: with other attention, and in bfloat16, too."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from torch import Tensor

from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.training.documents import attention_within_documents
from teachllm.stack.training.loss import chunked_cross_entropy
from teachllm.stack.training.precision import ComputeWeights
from teachllm.stack.training.recompute import recompute_activations

CONFIG = LlamaConfig(64, 32, 3, 4, 2, 8, 48, 64, tied_head=True)


def gradients(model: Llama, dtype: torch.dtype, documents: bool) -> list[Tensor]:
    tokens = torch.randint(64, (2, 17), generator=torch.Generator().manual_seed(1))
    ids = (torch.arange(16) // 6).expand(2, 16)
    attention = attention_within_documents(ids) if documents else contextlib.nullcontext()
    with ComputeWeights(model, dtype).in_use():
        with attention:
            features = model.features(tokens[:, :-1])
        loss = chunked_cross_entropy(features, model.head.weight, tokens[:, 1:])
    loss.backward()  # outside of both: the recomputed forward pass must see them all the same
    return [
        loss.detach(),
        *(parameter.grad for parameter in model.parameters() if parameter.grad is not None),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("documents", [False, True])
def test_same_gradients(dtype: torch.dtype, documents: bool) -> None:
    torch.manual_seed(0)
    model = Llama(CONFIG)
    recomputing = copy.deepcopy(model)
    recompute_activations(recomputing.blocks)
    expected, found = gradients(model, dtype, documents), gradients(recomputing, dtype, documents)
    assert len(expected) == 1 + len(list(model.parameters()))
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_names_stay() -> None:
    model = Llama(CONFIG)
    names = list(model.state_dict())
    recompute_activations(model.blocks)
    assert list(model.state_dict()) == names


def test_less_is_kept() -> None:
    torch.manual_seed(0)
    kept = []
    for recompute in (False, True):
        model = Llama(CONFIG)
        if recompute:
            recompute_activations(model.blocks)
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.features(torch.zeros(4, 32, dtype=torch.long))
        kept.append(sum(sizes.values()))
    assert kept[1] < 0.5 * kept[0]
