"""Pairs beside `sentence_transformers.CrossEncoder`, from the folder that we write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.retrieval.rerankers.cross_encoder import CrossEncoder, PairScorer
from teachllm.stack.retrieval.rerankers.files import load_cross_encoder, save_cross_encoder
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer

pytestmark = pytest.mark.parity
PAIRS = [
    ("what is attention", "attention mixes values by how well keys fit a query"),
    ("what is attention", ""),
    ("", "a passage without a query"),
    ("注意力是什么", "注意力按键和查询的匹配程度混合值。"),
    ("short", "long passage " * 60),
    ("a long query " * 60, "short"),
    ("both are long " * 40, "both are long too " * 41),
    ("odd one out of three", "even " * 23),
]


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    torch.manual_seed(0)
    letters = sorted(set("".join(query + passage for query, passage in PAIRS).lower()) - {" "})
    tokenizer = BertTokenizer([*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)])
    config = BertConfig(tokenizer.vocab_size, 24, 2, 4, 40, context_length=64)
    scorer = PairScorer(Bert(config)).eval()
    for parameter in scorer.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.4)
    return CrossEncoder("tiny", scorer, tokenizer, max_tokens=41)


def test_scores_are_the_reference_s(model: CrossEncoder, tmp_path: Path) -> None:
    """Also for pairs that are shortened: of an odd number of tokens, from the longer text, from both."""
    st: Any = pytest.importorskip("sentence_transformers", reason="the reference is not installed")
    save_cross_encoder(model, tmp_path / "tiny")
    ours = load_cross_encoder(tmp_path / "tiny").pair_scores(PAIRS, batch_tokens=100)
    theirs = st.CrossEncoder(str(tmp_path / "tiny"), device="cpu")
    expected = theirs.predict(PAIRS, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_allclose(ours, model.pair_scores(PAIRS), atol=1e-5)
    assert np.ptp(ours) > 0.5, "pairs that all score the same prove nothing"


def test_transformers_opens_the_folder(model: CrossEncoder, tmp_path: Path) -> None:
    save_cross_encoder(model, tmp_path)
    theirs, loading = transformers.BertForSequenceClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert theirs.num_labels == 1
