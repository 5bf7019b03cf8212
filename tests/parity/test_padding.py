"""A static batch beside `transformers`, which pads on the left too: the same answers to the same prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from teachllm.stack.inference.padding import left_pad
from teachllm.stack.inference.static_batch import static_batch_generate
from teachllm.stack.models.loading import load_model

pytestmark = pytest.mark.parity

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17]]


def test_left_padded_greedy_answers_are_the_same(tmp_path: Path) -> None:
    torch.manual_seed(2)
    config = transformers.LlamaConfig(
        vocab_size=90,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=1,
        bos_token_id=1,
        eos_token_id=2,
    )
    reference = transformers.LlamaForCausalLM(config).eval()
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, "cpu", torch.float32)
    tokens, mask, positions = left_pad(PROMPTS, pad_token=1)
    with torch.inference_mode():
        logits = reference(tokens, attention_mask=mask.long(), position_ids=positions).logits[:, -1]
        theirs = reference.generate(tokens, attention_mask=mask.long(), max_new_tokens=20, do_sample=False)
        alone = torch.stack([model(torch.tensor([prompt]))[0, -1] for prompt in PROMPTS])
    torch.testing.assert_close(alone, logits, atol=2e-5, rtol=1e-5)
    ours = static_batch_generate(model, PROMPTS, max_tokens=20, end_tokens={2}).answers  # pyright: ignore[reportArgumentType]
    for answer, row in zip(ours, theirs[:, tokens.shape[1] :].tolist(), strict=True):
        assert answer == (row[: row.index(2)] if 2 in row else row)
