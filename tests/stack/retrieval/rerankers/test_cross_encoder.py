"""Pairs that fit, losses by their formulas, a training that learns, folders that are no cross-encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.retrieval.embedding import EmbeddingModel
from teachllm.stack.retrieval.embedding.saving import save_embedding_model
from teachllm.stack.retrieval.embedding.training import Pair
from teachllm.stack.retrieval.rerankers.cross_encoder import CrossEncoder, fitting
from teachllm.stack.retrieval.rerankers.files import load_cross_encoder, new_cross_encoder
from teachllm.stack.retrieval.rerankers.losses import listwise, pairwise, pointwise
from teachllm.stack.retrieval.rerankers.training import (
    CrossEncoderTraining,
    Loss,
    backward,
    train_cross_encoder,
)
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer

WORDS = [f"w{i}" for i in range(12)]


@pytest.fixture
def start() -> EmbeddingModel:
    torch.manual_seed(1)
    tokenizer = BertTokenizer([*SPECIAL_TOKENS, *WORDS])
    encoder = Bert(BertConfig(tokenizer.vocab_size, 32, 2, 4, 64, context_length=32)).eval()
    return EmbeddingModel(
        "tiny", encoder, tokenizer, (tokenizer.cls,), (tokenizer.sep,), 32, tokenizer.vocab_size, 32
    )


def pairs(n: int, seed: int = 0) -> list[Pair]:
    """The answer holds the query's word; the negatives do not."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        query, *others = rng.permutation(WORDS)
        found.append(
            Pair(
                str(query),
                f"{others[0]} {query}",
                tuple(f"{a} {b}" for a, b in zip(others[1:4], others[4:7], strict=True)),
            )
        )
    return found


def test_shortening_never_takes_from_the_shorter_text_first() -> None:
    assert fitting(3, 4, 7) == (3, 4)
    assert fitting(3, 40, 10) == (3, 7)
    assert fitting(40, 3, 10) == (7, 3)
    for n_query, n_passage, most in ((40, 50, 11), (50, 40, 11), (9, 9, 11), (1, 50, 2)):
        kept = fitting(n_query, n_passage, most)
        assert sum(kept) == most
        assert min(kept) >= 1


def test_losses_by_their_formulas() -> None:
    positive, negatives = torch.tensor([1.0, -2.0]), torch.tensor([[0.5, 2.0, -1.0], [0.0, 0.3, -3.0]])
    expected = -logsigmoid(positive[:, None] - negatives).mean()
    torch.testing.assert_close(pairwise(positive, negatives), expected)
    scores = torch.cat([positive[:, None], negatives], dim=1)
    torch.testing.assert_close(listwise(positive, negatives), -scores.log_softmax(-1)[:, 0].mean())
    labels = torch.tensor([1.0, 0.0])
    expected = -(logsigmoid(positive[0]) + logsigmoid(-positive[1])) / 2
    torch.testing.assert_close(pointwise(positive, labels), expected)


@pytest.mark.parametrize("loss", ["pointwise", "pairwise", "listwise"])
def test_training_puts_the_answer_first(start: EmbeddingModel, loss: Loss) -> None:
    model = new_cross_encoder(start, max_tokens=16)
    assert not model.scores("w1", ["w1 w2", "w3"]).any(), "an untrained head knows nothing"
    before = {name: weight.clone() for name, weight in start.encoder.state_dict().items()}
    config = CrossEncoderTraining(steps=220, batch=16, negatives=3, loss=loss, peak_lr=2e-3)
    steps = list(train_cross_encoder(model, pairs(400), config))
    assert steps[-1].loss < steps[0].loss / 2
    held_out = pairs(50, seed=1)
    right = [model.scores(one.query, [*one.negatives, one.passage]).argmax() == 3 for one in held_out]
    assert np.mean(right) > 0.8
    assert all(torch.equal(before[name], weight) for name, weight in start.encoder.state_dict().items())


def test_pieces_give_the_gradients_of_the_whole_batch(start: EmbeddingModel) -> None:
    model = new_cross_encoder(start, max_tokens=16)
    torch.nn.init.normal_(model.model.head.weight)
    batch = pairs(6)
    gradients, losses = [], []
    for piece_tokens in (10_000, 30):
        config = CrossEncoderTraining(steps=1, batch=6, negatives=3, piece_tokens=piece_tokens)
        model.model.zero_grad()
        losses.append(backward(model, batch, config))
        gradients.append([p.grad.clone() for p in model.model.parameters() if p.grad is not None])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_what_cannot_be_used_is_told(start: EmbeddingModel, tmp_path: Path) -> None:
    save_embedding_model(start, tmp_path / "embedding")
    with pytest.raises(ValueError, match="an embedding model has no such head"):
        load_cross_encoder(tmp_path / "embedding")
    with pytest.raises(ValueError, match="3 of them are marks"):
        new_cross_encoder(start, max_tokens=3)
    with pytest.raises(ValueError, match=r"loss is 'best'; .*; warmup_share is 2"):
        CrossEncoderTraining(steps=1, loss="best", warmup_share=2)  # type: ignore[arg-type]
    model: CrossEncoder = new_cross_encoder(start)
    with pytest.raises(ValueError, match="fewer than 7 negatives"):
        next(train_cross_encoder(model, pairs(8), CrossEncoderTraining(steps=1)))
    with pytest.raises(ValueError, match="do not fill a batch"):
        next(train_cross_encoder(model, pairs(2), CrossEncoderTraining(steps=1)))
