"""The encoder by itself: texts end to end do not see each other, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from teachllm.stack.models.encoder.bert import Bert, BertConfig, equal_lengths
from teachllm.stack.models.encoder.loading import bert_layout, load_encoder
from teachllm.stack.training.initialization import initialize

CONFIG = BertConfig(vocab_size=40, d_model=16, n_layers=2, n_heads=4, hidden=24, context_length=8)


@pytest.fixture(scope="module")
def bert() -> Bert:
    model = Bert(CONFIG).eval()
    initialize(model, torch.Generator().manual_seed(0))
    return model


def test_a_text_is_the_same_alone_and_among_others(bert: Bert) -> None:
    tokens = torch.randint(40, (19,), generator=torch.Generator().manual_seed(1))
    lengths = [4, 4, 1, 8, 2]
    assert list(equal_lengths(lengths)) == [
        (slice(0, 8), 4),
        (slice(8, 9), 1),
        (slice(9, 17), 8),
        (slice(17, 19), 2),
    ]
    with torch.no_grad():
        together = bert(tokens, lengths)
        alone = torch.cat([bert(one, [len(one)]) for one in tokens.split(lengths)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_every_token_sees_both_sides(bert: Bert) -> None:
    tokens = torch.arange(6)
    changed = tokens.clone()
    changed[5] = 39
    with torch.no_grad():
        difference = (bert(tokens, [6]) - bert(changed, [6])).abs().amax(dim=1)
    assert (difference > 1e-4).all()


def test_n_parameters(bert: Bert) -> None:
    assert CONFIG.n_parameters == sum(p.numel() for p in bert.parameters())


def test_what_does_not_fit_is_refused(bert: Bert) -> None:
    with pytest.raises(ValueError, match="a text has 9 tokens; this model reads 1 to 8"):
        bert(torch.zeros(9, dtype=torch.long), [9])
    with pytest.raises(ValueError, match="a text has 0 tokens"):
        bert(torch.zeros(2, dtype=torch.long), [2, 0])
    with pytest.raises(ValueError, match="5 tokens were given for texts of 4"):
        bert(torch.zeros(5, dtype=torch.long), [2, 2])
    with pytest.raises(ValueError, match="d_model = 16 is no multiple of n_heads = 5"):
        BertConfig(40, 16, 2, 5, 24, 8)
    with pytest.raises(ValueError, match="n_layers is 0"):
        BertConfig(40, 16, 0, 4, 24, 8)


def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = {"model_type": "bert", "intermediate_size": 24, "max_position_embeddings": 8, **sizes}
    weights = {s.name: torch.zeros(s.shape) for sources in bert_layout(CONFIG).values() for s in sources}
    save_file({**weights, "pooler.dense.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_encoder(tmp_path).config == CONFIG
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_act": "relu", "hidden_size": "big"}))
    with pytest.raises(ValueError, match="hidden_act = relu is not supported; gelu is; hidden_size is 'big'"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    with pytest.raises(ValueError, match="model_type is 'roberta'; of encoders, bert is supported"):
        load_encoder(tmp_path)
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"missing: encoder\.layer\.1\.output\.dense\.bias"):
        load_encoder(tmp_path)
