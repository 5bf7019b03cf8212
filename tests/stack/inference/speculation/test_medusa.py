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
from teachllm.stack.inference.speculation.comparison import compare
from teachllm.stack.inference.speculation.generate import Step
from teachllm.stack.inference.speculation.medusa import MedusaHeads, medusa_steps, medusa_tree
from teachllm.stack.inference.speculation.medusa_training import (
    HeadData,
    head_accuracies,
    head_data,
    head_targets,
    medusa_loss,
    train_medusa,
)
from teachllm.stack.inference.speculation.tree import TokenTree
from teachllm.stack.inference.speculation.tree_choice import tree_of_size, tree_timings
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
    tokens = [*PROMPT, *(token for token in text if isinstance(token, int))]
    heads = MedusaHeads(2, tiny_llama.config.d_model)
    data = head_data(tiny_llama, tokens, 2, n_prompt=len(PROMPT))
    steps = train_medusa(
        heads, data, tiny_llama.head.weight, steps=150, positions_a_step=len(data), learning_rate=0.03
    )
    losses = [step.loss for step in steps]
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
    assert MedusaHeads.load(file, tiny_llama).accuracies == []
    heads.accuracies = [[0.5, 0.25], [0.4, 0.1], [0.3, 0.1]]
    heads.save(file)
    loaded = MedusaHeads.load(file, tiny_llama.bfloat16())
    assert torch.equal(loaded.weight, heads.weight)
    assert loaded.accuracies == heads.accuracies
    MedusaHeads(2, 16).save(file)
    with pytest.raises(ValueError, match="features of 16, and the model has 32"):
        MedusaHeads.load(file, tiny_llama)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="no Medusa heads, or is cut off"):
        MedusaHeads.load(file, tiny_llama)


# Training ----------------------------------------------------------------------------------------------


def test_each_head_is_to_say_a_token_further_on(tiny_llama: Llama) -> None:
    targets = head_targets(torch.tensor([5, 6, 7, 8]), 3)
    assert targets.T.tolist() == [[7, 8, IGNORED, IGNORED], [8, *[IGNORED] * 3], [IGNORED] * 4]
    data = head_data(tiny_llama, [1, 2, 5, 6, 7, 8], 2, n_prompt=3)
    assert data.targets.tolist() == [[7, 8], [8, IGNORED]]  # behind 5 and behind 6
    features = tiny_llama.features(torch.tensor([[1, 2, 5, 6]]))[0]
    torch.testing.assert_close(data.features, features[2:])


def test_the_loss_is_the_discounted_sum_of_the_heads(tiny_llama: Llama, heads: MedusaHeads) -> None:
    tokens = torch.randint(0, 258, (12,), generator=torch.Generator().manual_seed(1))
    data = head_data(tiny_llama, tokens.tolist(), 3)
    guesses = heads(data.features)
    expected = sum(
        0.8**k * F.cross_entropy(tiny_llama.head(guesses[: len(tokens) - k - 1, k - 1]), tokens[k + 1 :])
        for k in (1, 2, 3)
    )
    torch.testing.assert_close(medusa_loss(heads, data, tiny_llama.head.weight), expected)


def test_accuracies_count_hits_by_head_and_rank(tiny_llama: Llama, heads: MedusaHeads) -> None:
    tokens = torch.randint(0, 258, (60,), generator=torch.Generator().manual_seed(2))
    data = head_data(tiny_llama, tokens.tolist(), 3)
    accuracies = head_accuracies(heads, data, tiny_llama.head.weight, ranks=258)
    for of_head in accuracies:
        assert sum(of_head) == pytest.approx(1)  # one of all tokens is the right one
    logits = tiny_llama.head(heads(data.features))[:, 1]
    right = logits[:-1].argmax(-1) == tokens[3:]
    assert accuracies[1][0] == pytest.approx(right.float().mean().item())


def test_what_cannot_be_trained_is_refused(tiny_llama: Llama, heads: MedusaHeads) -> None:
    data, weight = head_data(tiny_llama, [1, 2, 3, 4], 3), tiny_llama.head.weight
    with pytest.raises(ValueError, match="0 steps"):
        train_medusa(heads, data, weight, steps=0)
    with pytest.raises(ValueError, match="targets for 2"):
        train_medusa(heads, head_data(tiny_llama, [1, 2, 3, 4], 2), weight, steps=1)
    with pytest.raises(ValueError, match="n_prompt is 0"):
        head_data(tiny_llama, [1, 2, 3], 3, n_prompt=0)
    with pytest.raises(ValueError, match="give longer text"):
        HeadData.join([head_data(tiny_llama, [1, 2], 3)])


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


def test_sizes_of_trees_are_measured(tiny_llama: Llama, heads: MedusaHeads) -> None:
    with pytest.raises(ValueError, match="was not measured"):
        tree_of_size(heads.accuracies, 4)
    heads.accuracies = [[0.5, 0.15], [0.4, 0.1], [0.3, 0.1]]
    none, three = tree_timings(tiny_llama, heads, sizes=(0, 3), cached=1000, runs=1)
    assert none.shape.paths == ()
    assert none.tokens == 1
    assert three.shape.paths == ((0,), (0, 0), (1,))
    assert three.tokens == pytest.approx(1 + 0.5 + 0.5 * 0.4 + 0.15)
    assert three.tokens_per_second == three.tokens / three.seconds > 0


def test_both_ways_of_writing_are_compared(tiny_llama: Llama, heads: MedusaHeads) -> None:
    found = compare(tiny_llama, heads, chain(2), [PROMPT, PROMPT[1:]], n_tokens=6, runs=1)
    assert (found.same, found.n_texts, found.tally.written) == (2, 2, 12)
    assert found.speed_up == found.plain_seconds / found.medusa_seconds > 0
