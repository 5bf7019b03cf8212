"""The embedding model: batches change nothing, long texts are cut as promised, saving and loading give it
back.
"""

from __future__ import annotations

import asyncio
import json
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch

from teachllm.stack.inference.serve_command import EMBEDDER_LOADER
from teachllm.stack.inference.server.bodies import EmbeddingsBody
from teachllm.stack.inference.server.embeddings import Embeddings
from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.retrieval.embedding import EmbeddingModel, load_embedding_model
from teachllm.stack.retrieval.embedding.batching import length_batches
from teachllm.stack.retrieval.embedding.decoder import CausalEncoder
from teachllm.stack.retrieval.embedding.pooling import cls_pool, last_token_pool, mean_pool, pool
from teachllm.stack.retrieval.embedding.saving import save_embedding_model
from teachllm.stack.retrieval.embedding.training import EmbeddingTraining, Pair, backward, train_embedding
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer
from teachllm.stack.training.initialization import initialize

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
CONFIG = BertConfig(
    vocab_size=len(SPECIAL_TOKENS) + 2 * len(LETTERS),
    d_model=32,
    n_layers=2,
    n_heads=4,
    hidden=64,
    context_length=24,
)


def make(seed: int = 0, **changes: object) -> EmbeddingModel:
    tokenizer = BertTokenizer([*SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS)])
    encoder = Bert(CONFIG).eval()
    initialize(encoder, torch.Generator().manual_seed(seed))
    options = {
        "name": "tiny",
        "encoder": encoder,
        "tokenizer": tokenizer,
        "begin_tokens": (tokenizer.cls,),
        "end_tokens": (tokenizer.sep,),
        "max_tokens": 20,
        "vocab_size": CONFIG.vocab_size,
        "dimension": CONFIG.d_model,
        **changes,
    }
    return EmbeddingModel(**options)  # pyright: ignore[reportArgumentType]


TEXTS = ["cat", "", "a dog and a cat", "x" * 50, "cat", "hello world"]


def test_batches_change_nothing_and_the_order_is_that_of_the_texts() -> None:
    model = make()
    reported: list[tuple[int, int]] = []
    vectors = model.embed(TEXTS, batch_tokens=12, progress=lambda done, total: reported.append((done, total)))
    one_by_one = np.concatenate([model.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(vectors, one_by_one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert reported[-1] == (6, 6)
    assert len(reported) > 2
    assert vectors.dtype == np.float32
    assert model.embed([]).shape == (0, 32)
    with pytest.raises(TypeError, match="texts is one string"):
        model.embed("cat")  # pyright: ignore[reportArgumentType]


def test_a_long_text_is_its_beginning_and_the_end_token() -> None:
    model = make()
    tokens = model.truncated(model.tokens_of("x" * 50))
    assert len(tokens) == 20
    assert tokens[0] == model.begin_tokens[0]
    assert tokens[-1] == model.end_tokens[0]
    np.testing.assert_allclose(model.embed(["x" * 50]), model.embed(["x" * 18]), rtol=1e-6)
    with pytest.raises(ValueError, match="a text has 52 tokens; this model reads 1 to 24"):
        model.embed_tokens([model.tokens_of("x" * 50)])


def test_prefixes_kinds_and_dimensions() -> None:
    model = make(prefixes={"query": "q "})
    np.testing.assert_array_equal(model.embed(["cat"], "query"), make().embed(["q cat"]))
    np.testing.assert_array_equal(model.embed(["cat"]), make().embed(["cat"]))
    short = model.embed(["cat"], dimension=5)
    whole = model.embed(["cat"])[:, :5]
    np.testing.assert_allclose(short, whole / np.linalg.norm(whole), rtol=1e-6)
    with pytest.raises(ValueError, match="tiny has 32 dimensions; 33 cannot be had"):
        model.embed(["cat"], dimension=33)


def test_length_batches() -> None:
    lengths = [5, 1, 9, 3, 3, 30]
    batches = length_batches(lengths, 10)
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert batches[0] == [5]  # longer than a batch: by itself
    assert all(sum(lengths[i] for i in batch) <= 10 for batch in batches[1:])
    assert length_batches([], 10) == []
    with pytest.raises(ValueError, match="batch_tokens is 0"):
        length_batches(lengths, 0)


def test_pooling() -> None:
    x = torch.tensor([[1.0], [3.0], [7.0], [2.0], [4.0], [6.0]])
    lengths = [2, 1, 3]
    assert mean_pool(x, lengths).flatten().tolist() == [2, 7, 4]
    assert cls_pool(x, lengths).flatten().tolist() == [1, 7, 2]
    assert last_token_pool(x, lengths).flatten().tolist() == [3, 7, 6]
    with pytest.raises(ValueError, match="pooling is 'max'; there are mean, cls, last"):
        pool(x, lengths, "max")  # pyright: ignore[reportArgumentType]


def test_a_decoder_embeds_by_its_last_token() -> None:
    torch.manual_seed(0)
    llama = Llama(
        LlamaConfig(
            vocab_size=CONFIG.vocab_size, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8,
            hidden=48, context_length=24, tied_head=True,
        )
    ).eval()  # fmt: skip
    model = make(encoder=CausalEncoder(llama), begin_tokens=(), pooling="last", normalized=False)
    tokens = torch.tensor([model.tokens_of("cat"), model.tokens_of("dog")])
    with torch.no_grad():
        expected = llama.features(tokens)[:, -1]
    np.testing.assert_allclose(model.embed(["cat", "dog"]), expected, rtol=1e-5, atol=1e-6)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = make(pooling="cls", prefixes={"query": "q: ", "passage": "p: "})
    save_embedding_model(model, tmp_path / "tiny")
    again = load_embedding_model(tmp_path / "tiny")
    assert (again.name, again.pooling, again.normalized, again.max_tokens) == ("tiny", "cls", True, 20)
    assert again.prefixes == {"query": "q: ", "passage": "p: "}
    np.testing.assert_array_equal(again.embed(TEXTS, "query"), model.embed(TEXTS, "query"))
    pooling = tmp_path / "tiny" / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ValueError, match=r"1_Pooling.*pooling_mode_max_tokens.*is not supported"):
        load_embedding_model(tmp_path / "tiny")
    with pytest.raises(FileNotFoundError, match="neither a folder nor one of the assets"):
        load_embedding_model("no-such-model")


PAIRS = [
    Pair(f"{a} {i}", f"{b} {i}")
    for i in range(10)
    for a, b in (("cat", "meow"), ("dog", "bark"), ("cow", "moo"), ("owl", "hoot"))
]


def test_training_brings_a_query_and_its_passage_together() -> None:
    model = make(seed=1)
    config = EmbeddingTraining(steps=40, batch=16, peak_lr=3e-3, warmup_share=0.1, dimensions=(8,))
    steps = list(train_embedding(model, PAIRS, config, seed=3))
    assert [one.step for one in steps] == list(range(1, 41))
    assert steps[-1].loss < 0.5 * steps[0].loss
    queries = model.embed([p.query for p in PAIRS], "query")
    passages = model.embed([p.passage for p in PAIRS])
    right = (queries @ passages.T).argmax(1) == np.arange(len(PAIRS))
    assert right.mean() > 0.5
    assert not model.encoder.training
    again = [one.loss for one in train_embedding(make(seed=1), PAIRS, config, seed=3)]
    assert again == [one.loss for one in steps]


def test_a_batch_in_pieces_has_the_gradients_of_the_whole() -> None:
    batch = [*PAIRS[:6], Pair("hen", "cluck", ("moo 1", "meow 0"))]
    found = []
    for piece_tokens in (10_000, 25):
        model = make(seed=1)
        loss = backward(model, batch, EmbeddingTraining(1, piece_tokens=piece_tokens, symmetric=True))
        found.append([loss, *(p.grad for p in model.encoder.parameters())])
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-6)


def test_copies_of_a_passage_are_no_negatives() -> None:
    batch = [Pair("cat", "animal"), Pair("dog", "animal"), Pair("oak", "tree")]
    vectors = make().embed(["cat", "dog", "oak", "animal", "tree"])
    rows = torch.tensor(vectors[:3] @ vectors[[3, 4]].T) / 0.05
    expected = torch.nn.functional.cross_entropy(rows[:2], torch.tensor([0, 0]), reduction="sum")
    oak = torch.logsumexp(torch.tensor([rows[2, 0], rows[2, 0], rows[2, 1]]), 0) - rows[2, 1]
    loss = backward(make(), batch, EmbeddingTraining(1, batch=3))
    torch.testing.assert_close(loss, (expected + oak) / 3, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="steps is 0; it must be above 0; warmup_share is 2"):
        EmbeddingTraining(steps=0, warmup_share=2)
    with pytest.raises(ValueError, match="40 pairs do not fill a batch of 64"):
        next(train_embedding(make(), PAIRS, EmbeddingTraining(steps=1)))


def test_the_server_takes_it_as_it_is() -> None:
    assert pkgutil.resolve_name(EMBEDDER_LOADER) is load_embedding_model
    model = make()
    body = EmbeddingsBody(model="tiny", input=["cat", "x" * 50], dimensions=4, truncate_prompt_tokens=-1)
    answer = json.loads(asyncio.run(Embeddings.of(model).answer(body, seconds=10)))
    np.testing.assert_allclose(
        [one["embedding"] for one in answer["data"]], model.embed(["cat", "x" * 50], dimension=4), rtol=1e-5
    )
    assert answer["usage"]["total_tokens"] == 5 + 20
