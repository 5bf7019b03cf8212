"""The loader: every token once an epoch, the same batches whatever the processes, continued exactly."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from teachllm.stack.data.loader import Batch, BatchLoader, DataExhausted, next_corpus, one_pass
from teachllm.stack.data.mixture import portions
from teachllm.stack.data.packing import IGNORED, document_ids
from teachllm.stack.data.rows import Packing
from teachllm.stack.data.shards import TokenShards
from teachllm.stack.tokenizer import Tokenizer

from .conftest import drawn_documents, write_corpus

PACKINGS: tuple[Packing, ...] = ("cut", "best-fit")


@pytest.fixture
def shards(tokenizer: Tokenizer, tmp_path: Path) -> TokenShards:
    return write_corpus(tmp_path / "corpus", tokenizer, drawn_documents(100), shard_tokens=700)


def counted(shards: TokenShards) -> Counter[int]:
    return Counter(shards.read(0, len(shards)).tolist())


def parts(batch: Batch) -> list[torch.Tensor]:
    return [getattr(batch, field.name) for field in fields(batch)]


def equal(a: Batch, b: Batch) -> bool:
    return all(map(torch.equal, parts(a), parts(b)))


@pytest.mark.parametrize("packing", PACKINGS)
def test_targets_follow_in_the_circular_stream(shards: TokenShards, packing: Packing) -> None:
    stream = shards.read(0, len(shards)).tolist()
    pairs = Counter(zip(stream, [*stream[1:], stream[0]], strict=True))
    loader = BatchLoader(shards, rows=1, length=32, seed=0, packing=packing)
    seen: Counter[tuple[int, int]] = Counter()
    while loader.epochs["data"] < 1:
        batch = next(loader)
        counts = batch.targets != IGNORED
        seen.update(zip(batch.tokens[counts].tolist(), batch.targets[counts].tolist(), strict=True))
        if packing == "cut":
            assert torch.equal(batch.document_ids, document_ids(batch.tokens, shards.end_of_text))
    if packing == "best-fit":
        assert seen == pairs
    else:  # less than a row is left out
        assert not seen - pairs
        assert (pairs - seen).total() == len(stream) % 32


def test_cutting_leaves_other_tokens_out_in_each_epoch(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shards = write_corpus(tmp_path / "c", tokenizer, [list(range(100)), list(range(100, 198))])
    loader = BatchLoader(shards, rows=3, length=60, seed=0)  # 3 rows of 200 tokens: 20 are left out
    epochs = [set(next(loader).tokens.flatten().tolist()) for _ in range(20)]
    assert {len(epoch) for epoch in epochs} <= {179, 180}  # the two ends of text are one id
    assert set.union(*epochs) == {*range(198), 259}
    assert len({frozenset(epoch) for epoch in epochs}) > 10


def test_best_fit_tears_only_documents_longer_than_a_row(tokenizer: Tokenizer, tmp_path: Path) -> None:
    shards = write_corpus(tmp_path / "c", tokenizer, drawn_documents(80, longest=50))
    loader = BatchLoader(shards, rows=1, length=32, seed=0, packing="best-fit")
    documents = [shards.document(i).tolist() for i in range(80)]
    expected = Counter(tuple(d[i : i + 32]) for d in documents for i in range(0, len(d), 32))
    assert any(piece[0] != shards.end_of_text for piece in expected)
    found: Counter[tuple[int, ...]] = Counter()
    while loader.epochs["data"] < 1:
        row, targets, ids = (part[0] for part in parts(next(loader)))
        for number in range(int(ids[targets != IGNORED].max()) + 1):
            found[tuple(row[ids == number].tolist())] += 1
        assert (ids[targets == IGNORED] == number + 1).all()
    assert found == expected


@pytest.mark.parametrize("packing", PACKINGS)
def test_epochs_hold_the_same_rows_in_another_order(shards: TokenShards, packing: Packing) -> None:
    loader = BatchLoader(shards, rows=1, length=16, seed=3, packing=packing)
    epochs: list[list[tuple[int, ...]]] = [[], []]
    while (epoch := int(loader.epochs["data"])) < 2:
        epochs[epoch].append(tuple(next(loader).tokens[0].tolist()))
    assert epochs[0] != epochs[1]
    assert len(epochs[0]) == len(epochs[1])
    if packing == "best-fit":
        assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0][0] != tuple(shards.read(0, 16).tolist()) or epochs[0][1] != tuple(shards.read(16, 32))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_processes_share_the_batches_of_one(shards: TokenShards, packing: Packing, world_size: int) -> None:
    whole = BatchLoader(shards, 6, 24, seed=1, packing=packing)
    processes = [
        BatchLoader(shards, 6, 24, seed=1, packing=packing, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for _ in range(20):
        batch = next(whole)
        for rank, part in enumerate(processes):
            mine = next(part)
            assert torch.equal(mine.tokens, batch.tokens[rank::world_size])
            assert torch.equal(mine.targets, batch.targets[rank::world_size])
    assert {json.dumps(part.state_dict()) for part in processes} == {json.dumps(whole.state_dict())}


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_loader_continues_exactly_also_in_more_processes(shards: TokenShards, packing: Packing) -> None:
    loader = BatchLoader(shards, 4, 20, seed=5, packing=packing)
    for _ in range(37):
        next(loader)
    state = json.loads(json.dumps(loader.state_dict()))
    expected = [next(loader) for _ in range(60)]  # into the next epoch
    again = BatchLoader(shards, 4, 20, seed=5, packing=packing)
    again.load_state_dict(state)
    assert all(equal(next(again), batch) for batch in expected)
    second = BatchLoader(shards, 4, 20, seed=5, packing=packing, rank=1, world_size=2)
    second.load_state_dict(state)
    assert all(torch.equal(next(second).tokens, batch.tokens[1::2]) for batch in expected)


def test_a_position_in_other_data_is_refused(
    shards: TokenShards, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    state = BatchLoader(shards, 4, 20, seed=5).state_dict()
    other = write_corpus(tmp_path / "other", tokenizer, drawn_documents(100, seed=1))
    for loader, what in (
        (BatchLoader(other, 4, 20, seed=5), "data"),
        (BatchLoader(shards, 4, 21, seed=5), "length: 20 → 21"),
        (BatchLoader(shards, 4, 20, seed=6), "seed: 5 → 6"),
        (BatchLoader(shards, 4, 20, seed=5, packing="best-fit"), "packing: cut → best-fit"),
    ):
        with pytest.raises(ValueError, match=what):
            loader.load_state_dict(state)
    larger = BatchLoader(shards, 8, 20, seed=5)
    larger.load_state_dict(state)  # the size of batches may change


def test_corpora_come_by_weight_in_every_batch(tokenizer: Tokenizer, tmp_path: Path) -> None:
    one = write_corpus(tmp_path / "a", tokenizer, [[1] * 50] * 30)
    other = write_corpus(tmp_path / "b", tokenizer, [[2] * 50] * 30)
    loader = BatchLoader({"a": one, "b": other}, 8, 16, seed=0, weights={"a": 3, "b": 1})
    for _ in range(50):
        tokens = next(loader).tokens
        assert [(tokens == token).any(dim=1).sum().item() for token in (1, 2)] == [6, 2]
    by_size = BatchLoader({"a": one, "b": other}, 8, 16, seed=0)
    assert [(next(by_size).tokens == 1).any(dim=1).sum().item() for _ in range(5)] == [4] * 5


def test_a_corpus_that_is_used_up_leaves_its_share_to_the_others(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    one = write_corpus(tmp_path / "a", tokenizer, [[1] * 15] * 20)  # 20 rows
    other = write_corpus(tmp_path / "b", tokenizer, [[2] * 15] * 40)
    loader = BatchLoader(
        {"a": one, "b": other}, 4, 16, seed=0, weights={"a": 1, "b": 1}, max_epochs={"a": 0.5, "b": 2}
    )
    batches = [next(loader) for _ in range(22)]
    with pytest.raises(DataExhausted, match="after 88 rows"):
        next(loader)
    assert loader.epochs == {"a": 0.5, "b": 1.95}
    from_one = [(batch.tokens == 1).any(dim=1).sum().item() for batch in batches]
    assert from_one == [2] * 5 + [0] * 17


def test_a_run_reads_what_the_mixture_says(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """`mixture.portions` tells beforehand what the loader gives, to a row."""
    sizes = {"a": 30, "b": 70, "c": 100}  # rows
    corpora = {
        name: write_corpus(tmp_path / name, tokenizer, [[1] * 15] * rows) for name, rows in sizes.items()
    }
    weights, max_epochs = {"a": 5.0, "b": 2.0, "c": 1.0}, {"a": 2.0, "b": 3.0}
    loader = BatchLoader(corpora, 4, 16, seed=0, weights=weights, max_epochs=max_epochs)
    for _ in range(60):
        next(loader)
    expected = portions({name: 16 * rows for name, rows in sizes.items()}, weights, 240 * 16, max_epochs)
    assert expected["a"].is_capped
    for name, portion in expected.items():
        assert abs(loader.epochs[name] - portion.epochs) * sizes[name] <= 1


def test_the_next_corpus_is_the_one_furthest_behind() -> None:
    weights, served = [0.5, 0.3, 0.2], [0, 0, 0]
    for n in range(1, 1001):
        chosen = next_corpus(weights, served, [None] * 3)
        assert chosen is not None
        served[chosen] += 1
        assert all(abs(served[i] - weights[i] * n) <= 1 for i in range(3))
    assert next_corpus(weights, [5, 0, 0], [5, 0, 1]) == 2
    assert next_corpus(weights, [5, 0, 1], [5, 0, 1]) is None


def test_one_pass_has_every_token_as_a_target_once(shards: TokenShards) -> None:
    for rows, length in ((4, 32), (3, 50), (1, len(shards)), (2, len(shards) + 5)):
        batches = list(one_pass(shards, rows, length))
        targets = torch.cat([batch.targets.flatten() for batch in batches])
        assert Counter(targets[targets != IGNORED].tolist()) == counted(shards)
        tokens = torch.cat([batch.tokens.flatten() for batch in batches])
        assert tokens[: len(shards)].tolist() == shards.read(0, len(shards)).tolist()
    assert list(batches[0].tokens.shape) == [1, len(shards) + 5]


def test_all_that_is_wrong_is_said_at_once(shards: TokenShards) -> None:
    with pytest.raises(ValueError, match="cannot be drawn") as problem:
        BatchLoader(
            {"a": shards, "b": shards}, 5, 0, 0, weights={"a": -1.0}, max_epochs={"c": 0}, world_size=2
        )
    said = str(problem.value)
    for part in (
        "5 rows of 0 tokens",
        "5 rows cannot be shared equally by 2",
        "weights name ['a'], but the corpora are ['a', 'b']",
        "weights must be above 0: {'a': -1.0}",
        "max_epochs names ['c']",
        "max_epochs must be above 0: {'c': 0}",
    ):
        assert part in said
    with pytest.raises(ValueError, match="no corpus is given"):
        BatchLoader({}, 1, 1, 0)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        BatchLoader(shards, 2, 8, 0, rank=2, world_size=2)
    with pytest.raises(ValueError, match="not one row of 100,000"):
        BatchLoader(shards, 2, 100_000, 0)


def test_corpora_of_different_tokenizers_do_not_mix(shards: TokenShards, tmp_path: Path) -> None:
    other = Tokenizer.from_merges([], special_tokens=["<|endoftext|>"])
    with pytest.raises(ValueError, match="different tokenizers"):
        BatchLoader({"a": shards, "b": write_corpus(tmp_path / "b", other, [[1]])}, 1, 1, 0)


def test_targets_and_tokens_are_int64(shards: TokenShards) -> None:
    batch = next(BatchLoader(shards, 2, 8, 0))
    assert batch.tokens.dtype == batch.targets.dtype == batch.document_ids.dtype == torch.int64
    assert np.array_equal(batch.tokens[:, 1:], batch.targets[:, :-1])
