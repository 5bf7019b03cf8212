"""``teachllm retrieve`` measures a folder of BEIR, and says what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.retrieval.command import retrieve
from teachllm.stack.retrieval.embedding import EmbeddingModel
from teachllm.stack.retrieval.rerankers.files import new_cross_encoder, save_cross_encoder
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer


def test_a_folder_is_measured_and_a_missing_one_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"corpus\.jsonl is not there"):
        retrieve(tmp_path)
    texts = ["red foxes hunt", "blue whales sing", "green frogs jump"]
    rows = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows), "utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "a fox"}\n', "utf-8")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q\td0\t1\n", "utf-8")
    retrieve(tmp_path)
    header, bm25, tf_idf = capsys.readouterr().out.splitlines()[1:]
    assert "nDCG@10" in header
    assert bm25.split()[:2] == ["bm25", "1.000"]
    assert tf_idf.split()[:2] == ["tf-idf", "1.000"]
    with pytest.raises(SystemExit, match="b is 7"):
        retrieve(tmp_path, b=7.0)
    model = BertTokenizer([*SPECIAL_TOKENS, "red", "fox"])
    encoder = Bert(BertConfig(model.vocab_size, 8, 1, 1, 8, context_length=32)).eval()
    start = EmbeddingModel("tiny", encoder, model, (model.cls,), (model.sep,), 32, model.vocab_size, 8)
    save_cross_encoder(new_cross_encoder(start), tmp_path / "cross")  # knows nothing, so the order stays
    retrieve(tmp_path, "bm25", rerank=tmp_path / "cross")
    assert capsys.readouterr().out.splitlines()[-1].split()[:4] == ["bm25", "+", "rerank", "1.000"]
    with pytest.raises(SystemExit, match="nowhere"):
        retrieve(tmp_path, "bm25", rerank=tmp_path / "nowhere")
