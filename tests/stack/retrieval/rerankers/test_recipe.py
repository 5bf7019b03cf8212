"""The shipped recipe is whole; a small one is trained by the command; what a gain is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.retrieval.embedding import EmbeddingModel
from teachllm.stack.retrieval.embedding.saving import save_embedding_model
from teachllm.stack.retrieval.embedding.training import Pair
from teachllm.stack.retrieval.hits import Hits
from teachllm.stack.retrieval.rerankers.command import train_reranker
from teachllm.stack.retrieval.rerankers.files import load_cross_encoder
from teachllm.stack.retrieval.rerankers.recipe import read_recipe
from teachllm.stack.retrieval.rerankers.recipe_run import gain as measured_gain
from teachllm.stack.tokenizer.bert import SPECIAL_TOKENS, BertTokenizer

SHIPPED = Path(__file__).resolve().parents[4] / "recipes" / "retrieval" / "cross_encoder.toml"
RECIPE = """
about = "small"
about_zh = "小"
start = "{start}"
max_tokens = 24
[pairs]
corpora = ["{pairs}"]
held_out = 0.2
[mining]
max_share = 2.0
[training]
steps = 4
batch = 8
negatives = 3
peak_lr = 5e-3
"""


def test_the_shipped_recipe_is_whole_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    assert read_recipe(SHIPPED).training.steps > 0
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('about = "a"\n[pairs]\ncorpora = []\n[training]\nsteps = 0\nbatches = 3\n', "utf-8")
    with pytest.raises(ValueError, match="no recipe of a cross-encoder") as told:
        read_recipe(wrong)
    for part in ("about_zh is missing", "at least one corpus", "steps is 0", "did you mean 'batch'"):
        assert part in str(told.value)


def test_the_command_trains_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    words = [f"w{i}" for i in range(6)]
    tokenizer = BertTokenizer([*SPECIAL_TOKENS, *words])
    encoder = Bert(BertConfig(tokenizer.vocab_size, 32, 1, 4, 64, context_length=32)).eval()
    ends = (tokenizer.cls,), (tokenizer.sep,)
    save_embedding_model(
        EmbeddingModel("tiny", encoder, tokenizer, *ends, 32, tokenizer.vocab_size, 32), tmp_path / "start"
    )
    rows = [{"query": f"{a} {b} {c}", "positive": f"{b} {c} {a}"} for a, b, c in permutations(words, 3)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE.format(start=tmp_path / "start", pairs=tmp_path / "pairs.jsonl"), "utf-8")
    train_reranker(recipe, out=tmp_path / "model", lang="en")
    gain = json.loads((tmp_path / "model" / "gain.json").read_text("utf-8"))
    assert gain["queries"] == 18
    assert 0.2 < gain["ndcg_before"] < 1
    assert load_cross_encoder(tmp_path / "model").max_tokens == 24
    assert "18 held-out queries: nDCG@10" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train_reranker(recipe, out=tmp_path / "model", lang="en")
    assert "give another --out" in capsys.readouterr().err


class Knowing:
    """Prefers the passage that is the query backwards."""

    def scores(self, query: str, passages: Sequence[str], /) -> np.ndarray:
        return np.array([passage == query[::-1] for passage in passages], dtype=np.float32)


def test_the_gain_is_what_the_reranker_brings_to_the_front() -> None:
    passages = [str(number) for number in range(100, 150)]
    asked = [Pair(passage[::-1], passage) for passage in passages]
    ids = np.array([[(row + 9 - i) % 50 for i in range(20)] for row in range(50)])  # the answer is the tenth
    ids[:25] = (ids[:25] + 34) % 50  # or is not there
    first = Found(Hits(ids, np.zeros(ids.shape, np.float32)))
    found = measured_gain(Knowing(), first, passages, asked, 20, 1.0)
    assert (found.mrr_before, found.mrr_after) == (pytest.approx(0.05), 0.5)
    assert found.ndcg_after == 0.5 > found.ndcg_before
    assert found.p < 0.01


@dataclass
class Found:
    hits: Hits
    n_bytes: int = 0

    def search(self, queries: Sequence[str], k: int, /) -> Hits:
        return self.hits
