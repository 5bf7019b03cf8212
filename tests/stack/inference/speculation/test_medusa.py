"""Medusa writes what the model writes, in fewer passes; its heads learn; no tree of a size is better."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from teachllm.stack.data.packing import IGNORED
from teachllm.stack.inference import generate_tokens
from teachllm.stack.inference.speculation.generate import Step
from teachllm.stack.inference.speculation.medusa import MedusaHeads, medusa_steps, medusa_tree
from teachllm.stack.inference.speculation.medusa_training import (
    head_accuracies,
    head_targets,
    medusa_loss,
    rows_of,
    train_medusa,
)
from teachllm.stack.inference.speculation.tree import TokenTree
from teachllm.stack.inference.speculation.tree_shape import (
    TreeShape,
    chain,
    dense_shape,
    expected_length,
    sparse_shape,
)
from teachllm.stack.inference.speculation.typical_acceptance import (
    TypicalAcceptance,
    typical_path,
    typical_threshold,
)
from teachllm.stack.models.llama import Llama

PROMPT = [5, 9, 33, 2]
SHAPES = {"root only": TreeShape(()), "chain": chain(3), "dense": dense_shape([3, 2, 2])}


@pytest.fixture
def heads(tiny_llama: Llama) -> MedusaHeads:
    torch.manual_seed(11)
    heads = MedusaHeads(3, tiny_llama.config.d_model)
    with torch.no_grad():
        heads.weight.normal_(0, 0.2)
    return heads.eval()


def written(steps: list[Step]) -> list[int]:
    return [token for step in steps for token in step.tokens]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("max_tokens", [1, 2, 30, None])
def test_greedy_text_is_that_of_the_model_alone(
    tiny_llama: Llama, heads: MedusaHeads, shape: TreeShape, max_tokens: int | None
) -> None:
    *expected, reason = generate_tokens(tiny_llama, PROMPT, max_tokens=max_tokens)
    steps = list(medusa_steps(tiny_llama, heads, PROMPT, shape, max_tokens=max_tokens))
    assert written(steps) == expected
    assert steps[-1].reason == reason
    assert all(step.reason is None for step in steps[:-1])


def test_heads_that_know_the_future_save_passes(tiny_llama: Llama) -> None:
    """The heads are trained on the very text that is written."""
    *text, _ = generate_tokens(tiny_llama, PROMPT, max_tokens=40)
    rows = torch.tensor([[*PROMPT, *(token for token in text if isinstance(token, int))]])
    heads = MedusaHeads(2, tiny_llama.config.d_model)
    losses = [step.loss for step in train_medusa(tiny_llama, heads, rows, steps=150, learning_rate=0.03)]
    assert losses[-1] < 0.3 * losses[0]
    shape = dense_shape([2, 2])
    steps = list(medusa_steps(tiny_llama, heads.eval(), PROMPT, shape, max_tokens=40))
    assert written(steps) == text
    assert len(steps) < 0.7 * len(text)
    assert sum(step.n_accepted for step in steps) > 0


def test_an_end_token_ends_the_text_inside_a_pass(tiny_llama: Llama, heads: MedusaHeads) -> None:
    *text, _ = generate_tokens(tiny_llama, PROMPT, max_tokens=20)
    for end in text[3:8]:
        assert isinstance(end, int)
        *expected, reason = generate_tokens(tiny_llama, PROMPT, max_tokens=20, end_tokens={end})
        steps = list(medusa_steps(tiny_llama, heads, PROMPT, chain(3), max_tokens=20, end_tokens={end}))
        assert (written(steps), steps[-1].reason) == (expected, reason)


def test_it_can_be_stopped(tiny_llama: Llama, heads: MedusaHeads) -> None:
    stop = threading.Event()
    steps = medusa_steps(tiny_llama, heads, PROMPT, chain(3), stop=stop)
    next(steps)
    stop.set()
    assert [step.reason for step in steps] == ["cancelled"]


def test_a_tree_deeper_than_the_heads_is_refused(tiny_llama: Llama, heads: MedusaHeads) -> None:
    with pytest.raises(ValueError, match="4 deep, but there are 3 heads"):
        medusa_steps(tiny_llama, heads, PROMPT, chain(4))


def test_new_heads_say_what_the_model_says_next(tiny_llama: Llama) -> None:
    heads = MedusaHeads(2, tiny_llama.config.d_model)
    features = tiny_llama.features(torch.tensor([PROMPT]))
    for head in range(2):
        assert torch.equal(heads(features)[:, :, head], features)


def test_heads_come_back_from_their_file(tiny_llama: Llama, heads: MedusaHeads, tmp_path: Path) -> None:
    file = tmp_path / "medusa.safetensors"
    heads.save(file)
    assert torch.equal(MedusaHeads.load(file, tiny_llama).weight, heads.weight)
    MedusaHeads(2, 16).save(file)
    with pytest.raises(ValueError, match="features of 16, and the model has 32"):
        MedusaHeads.load(file, tiny_llama)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="no Medusa heads, or is cut off"):
        MedusaHeads.load(file, tiny_llama)


# Training ----------------------------------------------------------------------------------------------


def test_each_head_is_to_say_a_token_further_on() -> None:
    tokens = torch.tensor([[5, 6, 7, 8]])
    assert head_targets(tokens, 1).tolist() == [[7, 8, IGNORED, IGNORED]]
    assert head_targets(tokens, 2).tolist() == [[8, IGNORED, IGNORED, IGNORED]]
    assert head_targets(tokens, 9).tolist() == [[IGNORED] * 4]


def test_the_loss_is_the_discounted_sum_of_the_heads(tiny_llama: Llama, heads: MedusaHeads) -> None:
    tokens = torch.randint(0, 258, (2, 12), generator=torch.Generator().manual_seed(1))
    features = tiny_llama.features(tokens).detach()
    guesses = heads(features)
    expected = sum(
        0.8**k
        * F.cross_entropy(
            tiny_llama.head(guesses[:, : -(k + 1), k - 1]).flatten(0, 1), tokens[:, k + 1 :].flatten()
        )
        for k in (1, 2, 3)
    )
    torch.testing.assert_close(medusa_loss(heads, features, tokens, tiny_llama.head.weight), expected)


def test_accuracies_count_hits_by_head_and_rank(tiny_llama: Llama, heads: MedusaHeads) -> None:
    rows = torch.randint(0, 258, (3, 20), generator=torch.Generator().manual_seed(2))
    accuracies = head_accuracies(tiny_llama, heads, rows, ranks=258)
    for of_head in accuracies:
        assert sum(of_head) == pytest.approx(1)  # one of all tokens is the right one
    logits = tiny_llama.head(heads(tiny_llama.features(rows)))[:, :, 1]
    right = logits[:, :-3].argmax(-1) == rows[:, 3:]
    assert accuracies[1][0] == pytest.approx(right.float().mean().item())


def test_what_cannot_be_trained_is_refused(tiny_llama: Llama, heads: MedusaHeads) -> None:
    with pytest.raises(ValueError, match="at least 5"):
        train_medusa(tiny_llama, heads, torch.zeros(2, 4, dtype=torch.long), steps=1)
    with pytest.raises(ValueError, match="0 steps"):
        train_medusa(tiny_llama, heads, torch.zeros(2, 9, dtype=torch.long), steps=0)
    with pytest.raises(ValueError, match="make no row"):
        rows_of([1, 2, 3], 4)
    assert rows_of(range(9), 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


# Trees -------------------------------------------------------------------------------------------------


def test_dense_trees_have_all_combinations() -> None:
    shape = dense_shape([2, 3])
    assert len(shape.paths) == 2 + 2 * 3
    assert sorted(p for p in shape.paths if len(p) == 2) == sorted(itertools.product(range(2), range(3)))
    assert shape.parents == (-1, 0, 0, 1, 1, 1, 2, 2, 2)
    assert shape.up_to(1).paths == ((0,), (1,))


def test_a_tree_is_filled_with_the_guesses_of_its_depth() -> None:
    guesses = torch.tensor([[10, 11], [20, 21]])
    tree = medusa_tree(TreeShape(((0,), (1,), (0, 1))), 3, guesses)
    assert tree == TokenTree((3, 10, 11, 21), (-1, 0, 0, 1))


@pytest.mark.parametrize("n_nodes", range(1, 7))
def test_no_tree_of_the_size_is_longer_on_average(n_nodes: int) -> None:
    accuracies = [[0.6, 0.2, 0.05], [0.5, 0.3, 0.1]]
    everything = dense_shape([3, 3]).paths
    best = 0.0
    for paths in itertools.combinations(everything, n_nodes):
        if all(path[:-1] in ((), *paths) for path in paths):
            best = max(best, expected_length(TreeShape(paths), accuracies))
    shape = sparse_shape(accuracies, n_nodes)
    assert len(shape.paths) == n_nodes
    assert expected_length(shape, accuracies) == pytest.approx(best)


@pytest.mark.parametrize("paths", [((0, 0),), ((0,), (0,)), ((-1,),), ((),)])
def test_what_is_no_tree_is_refused(paths: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="the path"):
        TreeShape(paths)


# Typical acceptance ------------------------------------------------------------------------------------


def test_less_is_asked_where_the_model_is_unsure() -> None:
    sure = torch.tensor([1.0, 0.0, 0.0, 0.0])
    unsure = torch.full((4,), 0.25)
    assert typical_threshold(sure, 0.1, 0.3).item() == pytest.approx(0.1)
    assert typical_threshold(sure, 0.5, 0.3).item() == pytest.approx(0.3)
    assert typical_threshold(unsure, 0.1, 0.3).item() == pytest.approx(0.3 / 4)


def test_the_longest_typical_path_stays() -> None:
    #       root ── 1 ── 2
    #          └─── 3 ── 4 ── 5
    tree = TokenTree((9, 1, 2, 3, 4, 5), (-1, 0, 1, 0, 3, 4))
    logits = torch.full((6, 10), -10.0)
    logits[0, 1], logits[0, 3] = 1.0, 0.0  # both typical; 1 is more probable
    logits[1, 2] = logits[3, 4] = 5.0
    logits[4, 7] = 5.0  # 5 is not typical behind 4
    acceptance = TypicalAcceptance(temperature=1.0)
    assert typical_path(tree, logits, acceptance) == [0, 1, 2]  # as long as the other, more probable
    logits[4, 5] = 5.0
    assert typical_path(tree, logits, acceptance) == [0, 3, 4, 5]
    logits[0, 3] = -10.0  # what stands behind a rejected node is void
    assert typical_path(tree, logits, acceptance) == [0, 1, 2]


def test_typical_acceptance_keeps_more_than_greedy(tiny_llama: Llama, heads: MedusaHeads) -> None:
    easy = TypicalAcceptance(epsilon=1e-6, delta=1e-6, temperature=2.0)
    shape = dense_shape([2, 2, 2])
    typical = list(medusa_steps(tiny_llama, heads, PROMPT, shape, acceptance=easy, max_tokens=30))
    greedy = list(medusa_steps(tiny_llama, heads, PROMPT, shape, max_tokens=30))
    assert len(written(typical)) == len(written(greedy)) == 30
    assert len(typical) < len(greedy)


def test_acceptance_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="epsilon 2"):
        TypicalAcceptance(epsilon=2)
