"""A tree of guesses read in one pass: every path as if it had been read alone."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.inference.fused_llama import FusedLlama
from teachllm.stack.inference.speculation.tree import (
    TokenTree,
    TreeView,
    ancestor_mask,
    depths,
    greedy_path,
    path_to,
    tree_of,
)
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.kv_cache import KVCache

PROMPT = [5, 9, 33, 2]
PATHS = [[7, 8, 1], [7, 8, 2], [7, 3], [4], [6, 6, 6, 6]]


def test_equal_beginnings_become_one_branch() -> None:
    tree = tree_of(2, PATHS)
    assert len(tree.tokens) == 1 + 3 + 1 + 1 + 1 + 4
    leaves = [
        [tree.tokens[node] for node in path_to(tree.parents, leaf)[1:]]
        for leaf in range(len(tree.tokens))
        if leaf not in tree.parents
    ]
    assert sorted(leaves) == sorted(PATHS)
    assert tree_of(2, [[7, 8], [7]]) == tree_of(2, [[7, 8]])


def test_a_node_sees_its_ancestors_and_stands_at_their_depth() -> None:
    tree = tree_of(2, PATHS)
    mask = ancestor_mask(tree.parents)
    for node in range(len(tree.tokens)):
        path = path_to(tree.parents, node)
        assert mask[node].nonzero().flatten().tolist() == sorted(path)
        assert depths(tree.parents)[node] == len(path) - 1


@torch.inference_mode()
def test_one_pass_gives_what_each_path_gives_alone(deep_llama: Llama) -> None:
    tree = tree_of(PROMPT[-1], PATHS)
    cache = KVCache.for_model(deep_llama.config, 40, dtype=torch.float64)
    deep_llama(torch.tensor([PROMPT[:-1]]), cache)
    logits = deep_llama(torch.tensor([tree.tokens]), TreeView(cache, tree.parents))[0]
    for node in range(len(tree.tokens)):
        text = PROMPT[:-1] + [tree.tokens[one] for one in path_to(tree.parents, node)]
        alone = deep_llama(torch.tensor([text]))[0, -1]
        torch.testing.assert_close(logits[node], alone, rtol=1e-12, atol=1e-12)


@torch.inference_mode()
def test_what_is_kept_of_the_cache_is_one_path(deep_llama: Llama) -> None:
    tree = tree_of(PROMPT[-1], PATHS)
    for node in range(len(tree.tokens)):
        cache = KVCache.for_model(deep_llama.config, 40, dtype=torch.float64)
        deep_llama(torch.tensor([PROMPT[:-1]]), cache)
        view = TreeView(cache, tree.parents)
        deep_llama(torch.tensor([tree.tokens]), view)
        path = path_to(tree.parents, node)
        view.keep(path)
        text = PROMPT[:-1] + [tree.tokens[one] for one in path]
        assert cache.length == len(text)
        after = deep_llama(torch.tensor([[11]]), cache)[0, -1]
        alone = deep_llama(torch.tensor([[*text, 11]]))[0, -1]
        torch.testing.assert_close(after, alone, rtol=1e-12, atol=1e-12)


def test_the_greedy_path_follows_what_the_target_would_write() -> None:
    tree = tree_of(0, [[7, 8, 1], [7, 8, 2], [4]])
    assert tree.tokens == (0, 7, 8, 1, 2, 4)
    assert greedy_path(tree, [7, 8, 2, 0, 0, 0]) == [0, 1, 2, 4]
    assert greedy_path(tree, [4, 8, 2, 0, 0, 0]) == [0, 5]
    assert greedy_path(tree, [9, 8, 2, 0, 0, 0]) == [0]


@pytest.mark.parametrize(
    ("tokens", "parents"), [((), ()), ((1,), (0,)), ((1, 2), (-1,)), ((1, 2), (-1, 1)), ((1, 2), (-1, -1))]
)
def test_what_is_no_tree_is_refused(tokens: tuple[int, ...], parents: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="parent"):
        TokenTree(tokens, parents)


def test_a_view_takes_exactly_its_nodes() -> None:
    view = TreeView(KVCache(1, 1, 2, 8), [-1, 0])
    with pytest.raises(ValueError, match="3 tokens were given for a tree of 2 nodes"):
        view.positions(3)


@torch.inference_mode()
def test_fused_steps_read_a_tree_by_tables_instead_of_a_mask() -> None:
    torch.manual_seed(9)
    config = LlamaConfig(
        vocab_size=96, d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, hidden=96,
        context_length=64, tied_head=True,
    )  # fmt: skip
    plain = Llama(config).eval()
    for weights in plain.parameters():
        if weights.ndim == 2:
            weights.normal_(0, 0.3)
    tree = tree_of(PROMPT[-1], [[7, 8, 1], [7, 3], [4]])
    both = []
    for model in (plain, FusedLlama(plain)):
        cache = KVCache.for_model(config, 40)
        plain(torch.tensor([PROMPT[:-1]]), cache)
        view = TreeView(cache, tree.parents)
        if model is not plain:  # it must not reach the attention of PyTorch
            view.attend = None  # pyright: ignore[reportAttributeAccessIssue]
        features = model.features(torch.tensor([tree.tokens]), view)
        view.keep([0, 1, 4])
        both.append((features, *(held[:, :, : cache.length] for held in (*cache.keys, *cache.values))))
    for ours, expected in zip(*both, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)

    # Sums are in the order of a text that is read token by token: not even rounding differs.
    fused, cache = FusedLlama(plain), KVCache.for_model(config, 40)
    fused(torch.tensor([PROMPT[:-1]]), cache)
    alone = [fused(torch.tensor([[token]]), cache)[0, 0] for token in (PROMPT[-1], 7, 3)]
    cache.truncate(len(PROMPT) - 1)
    together = fused(torch.tensor([tree.tokens]), TreeView(cache, tree.parents))[0]
    assert torch.equal(together[[0, 1, 4]], torch.stack(alone))
