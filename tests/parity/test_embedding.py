"""Vectors beside `sentence-transformers`, from the same folder and for the same texts; and its losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from teachllm.stack.data.assets import find_asset
from teachllm.stack.models.encoder.loading import load_encoder
from teachllm.stack.retrieval.embedding import EmbeddingModel, load_embedding_model
from teachllm.stack.retrieval.embedding.losses import cosent, cosine_loss, info_nce, margin_mse, triplet_loss
from teachllm.stack.retrieval.embedding.saving import save_embedding_model
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer

pytestmark = pytest.mark.parity

st = pytest.importorskip("sentence_transformers", reason="the reference is not installed")

TEXTS = [
    "A man is eating food.",
    "",
    "向量检索怎样找到意思相近的句子？",
    "Ünïcödé, naïve résumé — tokenization!",
    "word " * 600,
    "def f(x): return x + 1",
    "A man is eating food.",
    "混合 mixed 文本 with 123 numbers, ＡＢＣ and 👍🏽",
    *(f"sentence number {i} " * i for i in range(1, 12)),
]


def vectors_of_the_reference(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    return st.SentenceTransformer(str(folder), device="cpu").encode(texts, **options)


def tiny(folder: Path, pooling: str, normalized: bool) -> Path:
    """A random model with a vocabulary of letters, in the folder that we write and both read."""
    torch.manual_seed(0)
    letters = sorted(set("".join(TEXTS).lower()) - {" "})
    tokenizer = BertTokenizer([*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)])
    config = transformers.BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    transformers.BertModel(config).save_pretrained(folder / "plain")
    model = EmbeddingModel(
        name="tiny",
        encoder=load_encoder(folder / "plain"),
        tokenizer=tokenizer,
        begin_tokens=(tokenizer.cls,),
        end_tokens=(tokenizer.sep,),
        max_tokens=50,
        vocab_size=tokenizer.vocab_size,
        dimension=24,
        pooling=pooling,  # pyright: ignore[reportArgumentType]
        normalized=normalized,
        prefixes={"query": "query: "},
    )
    save_embedding_model(model, folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize(("pooling", "normalized"), [("mean", True), ("cls", False), ("last", True)])
def test_vectors_of_a_folder_that_we_wrote(tmp_path: Path, pooling: str, normalized: bool) -> None:
    folder = tiny(tmp_path, pooling, normalized)
    ours = load_embedding_model(folder)
    expected = vectors_of_the_reference(folder, TEXTS)
    np.testing.assert_allclose(ours.embed(TEXTS), expected, rtol=1e-5, atol=1e-5)
    expected = vectors_of_the_reference(folder, TEXTS, prompt_name="query")
    np.testing.assert_allclose(ours.embed(TEXTS, "query"), expected, rtol=1e-5, atol=1e-5)


def test_vectors_of_minilm() -> None:
    if (weights := find_asset("all-minilm-l6-v2")) is None:
        pytest.skip("the model is not here: teachllm assets fetch all-minilm-l6-v2")
    ours = load_embedding_model("all-minilm-l6-v2")
    expected = vectors_of_the_reference(weights.parent, TEXTS)
    np.testing.assert_allclose(ours.embed(TEXTS), expected, rtol=0, atol=1e-5)
    cosines = ours.embed(["How do I bake bread?", "a recipe for sourdough", "the price of oil"])
    assert cosines[0] @ cosines[1] > cosines[0] @ cosines[2] + 0.2


class Given(torch.nn.Module):
    """Stands for a model in the reference's losses: it is given the vectors themselves."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["vectors"]}


def test_losses() -> None:
    from sentence_transformers.sentence_transformer import losses

    generator = torch.Generator().manual_seed(0)
    a, p, n = torch.nn.functional.normalize(torch.randn(3, 6, 8, generator=generator), dim=-1)
    labels = torch.tensor([0.1, 0.9, 0.5, 0.5, 0.3, 0.0])
    model: Any = Given()
    model.get_max_seq_length = model.max_seq_length = None

    def reference(loss: Any, *vectors: Tensor, given: Tensor | None = None) -> Tensor:
        return loss([{"vectors": one} for one in vectors], given)

    cosines = (a * p).sum(1)
    for ours, theirs in (
        (info_nce(a, p, n), reference(losses.MultipleNegativesRankingLoss(model), a, p, n)),
        (
            info_nce(a, p, symmetric=True),
            reference(
                losses.MultipleNegativesRankingLoss(
                    model, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
                ),
                a,
                p,
            ),
        ),
        (cosent(cosines, labels), reference(losses.CoSENTLoss(model), a, p, given=labels)),
        (cosine_loss(cosines, labels), reference(losses.CosineSimilarityLoss(model), a, p, given=labels)),
        (triplet_loss(a, p, n, margin=5.0), reference(losses.TripletLoss(model), a, p, n)),
        (
            margin_mse((a * p).sum(1), (a * n).sum(1), labels),
            reference(losses.MarginMSELoss(model), a, p, n, given=labels),
        ),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_folder_without_modules_is_pooled_by_the_mean(tmp_path: Path) -> None:
    folder = tiny(tmp_path, "cls", True)
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    (folder / "1_Pooling" / "config.json").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["model_max_length"] == 50
    ours = load_embedding_model(folder)
    assert (ours.pooling, ours.normalized) == ("mean", False)
    texts = TEXTS[:4]
    np.testing.assert_allclose(
        ours.embed(texts), vectors_of_the_reference(folder, texts), rtol=1e-5, atol=1e-5
    )
