"""A text in a batch gives what it gives alone, wherever its padding stands; what breaks it does break it."""

from __future__ import annotations

import doctest

import pytest
import torch
from torch import Tensor

from teachllm.stack.inference import padding
from teachllm.stack.inference.padding import (
    PADDING,
    RowsCache,
    gather_last,
    left_pad,
    pack,
    right_pad,
    visible,
)
from teachllm.stack.models.gpt2 import GPT2, GPT2Config
from teachllm.stack.models.llama import Llama
from teachllm.stack.nn.kv_cache import KVCache

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17], [18]]
NEXT = [20, 21, 22, 23]  # a token for each text, read after the prompt


@pytest.fixture
def gpt2() -> GPT2:
    torch.manual_seed(4)
    model = GPT2(
        GPT2Config(vocab_size=64, d_model=32, n_layers=2, n_heads=4, hidden=64, context_length=32)
    ).eval()
    with torch.no_grad():
        model.positions.weight.normal_(0, 0.5)
    return model


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(padding).failed == 0


def alone(model: Llama | GPT2) -> Tensor:
    """Logits after each prompt and after its next token, read alone: (text, 2, vocab)."""
    return torch.stack(
        [
            model(torch.tensor([[*text, token]]))[0, -2:].detach()
            for text, token in zip(TEXTS, NEXT, strict=True)
        ]
    )


def in_rows(
    model: Llama | GPT2, tokens: Tensor, mask: Tensor, positions: Tensor, mask_seen: Tensor | None = None
) -> Tensor:
    """The same from a padded batch; `mask_seen` instead of `mask` for attention."""
    view = RowsCache(KVCache.for_model(model.config, tokens.shape[1] + 1, len(tokens)))
    seen = mask if mask_seen is None else mask_seen
    with torch.inference_mode():
        view.expect(torch.where(seen, 0, PADDING), positions)
        first = model.head(gather_last(model.features(tokens, view), mask))
        view.expect(
            torch.zeros(len(tokens), 1, dtype=torch.long), gather_last(positions[..., None], mask) + 1
        )
        second = model(torch.tensor(NEXT)[:, None], view)[:, -1]
    return torch.stack([first, second], dim=1)


@pytest.mark.parametrize("pad", [left_pad, right_pad])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_padded_text_gives_what_it_gives_alone(pad, family, tiny_llama: Llama, gpt2: GPT2) -> None:
    model = tiny_llama if family == "llama" else gpt2
    torch.testing.assert_close(in_rows(model, *pad(TEXTS, 3)), alone(model), atol=2e-5, rtol=1e-5)


def test_which_token_the_padding_is_does_not_matter(tiny_llama: Llama) -> None:
    torch.testing.assert_close(
        in_rows(tiny_llama, *left_pad(TEXTS, 3)), in_rows(tiny_llama, *left_pad(TEXTS, 99))
    )


def test_without_the_mask_padding_is_read(tiny_llama: Llama) -> None:
    tokens, mask, positions = left_pad(TEXTS, 3)
    off = (
        (in_rows(tiny_llama, tokens, mask, positions, torch.ones_like(mask)) - alone(tiny_llama))
        .abs()
        .amax((1, 2))
    )
    assert off[0] < 2e-5  # the longest text has no padding
    assert (off[1:] > 0.1).all()


def test_columns_as_positions_harm_learned_positions_and_not_rotation(tiny_llama: Llama, gpt2: GPT2) -> None:
    """A row that is shifted as a whole keeps its distances, and distances are all that rotation tells."""
    tokens, mask, _ = left_pad(TEXTS, 3)
    columns = torch.arange(tokens.shape[1]).expand_as(tokens)
    torch.testing.assert_close(
        in_rows(tiny_llama, tokens, mask, columns), alone(tiny_llama), atol=2e-5, rtol=1e-5
    )
    assert ((in_rows(gpt2, tokens, mask, columns) - alone(gpt2)).abs().amax((1, 2))[1:] > 0.01).all()


def test_the_last_column_of_a_right_padded_row_is_padding(tiny_llama: Llama) -> None:
    tokens, mask, positions = right_pad(TEXTS, 3)
    view = RowsCache(KVCache.for_model(tiny_llama.config, tokens.shape[1], len(tokens)))
    view.expect(torch.where(mask, 0, PADDING), positions)
    naive = tiny_llama(tokens, view)[:, -1].detach()
    off = (naive - alone(tiny_llama)[:, 0]).abs().amax(1)
    assert off[0] < 2e-5
    assert (off[1:] > 0.1).all()


def test_packed_texts_give_what_they_give_alone(tiny_llama: Llama) -> None:
    """Prompts in one row, then one new column for each text: no padding at all."""
    tokens, texts, positions = pack(TEXTS)
    view = RowsCache(KVCache.for_model(tiny_llama.config, tokens.shape[1] + len(TEXTS)))
    ends = torch.tensor([len(text) for text in TEXTS]).cumsum(0) - 1
    with torch.inference_mode():
        view.expect(texts, positions)
        first = tiny_llama(tokens, view)[0, ends]
        view.expect(torch.arange(len(TEXTS))[None], positions[:, ends] + 1)
        second = tiny_llama(torch.tensor([NEXT]), view)[0]
    torch.testing.assert_close(torch.stack([first, second], 1), alone(tiny_llama), atol=2e-5, rtol=1e-5)


def test_the_mask_of_a_packed_row_is_block_diagonal() -> None:
    _, texts, positions = pack([[1, 2], [3], [4, 5]])
    assert texts.tolist() == [[0, 0, 1, 2, 2]]
    assert positions.tolist() == [[0, 1, 0, 0, 1]]
    blocks = torch.block_diag(torch.ones(2, 2), torch.ones(1, 1), torch.ones(2, 2)).tril()
    assert visible(texts, 5)[0].int().tolist() == blocks.int().tolist()


def test_a_row_of_nothing_but_padding_harms_nobody(tiny_llama: Llama) -> None:
    tokens, mask, positions = left_pad([[5, 6, 7], []], 3)
    assert mask.tolist() == [[True] * 3, [False] * 3]
    view = RowsCache(KVCache.for_model(tiny_llama.config, 3, 2))
    view.expect(torch.where(mask, 0, PADDING), positions)
    logits = tiny_llama(tokens, view).detach()
    assert logits.isfinite().all()
    torch.testing.assert_close(
        logits[:1], tiny_llama(torch.tensor([[5, 6, 7]])).detach(), atol=2e-5, rtol=1e-5
    )


def test_the_mask_knows_lengths_and_not_tokens() -> None:
    tokens, mask, positions = left_pad([[3, 8, 3], [3]], pad_token=3)
    assert tokens.tolist() == [[3, 8, 3], [3, 3, 3]]
    assert mask.tolist() == [[True, True, True], [False, False, True]]
    assert positions.tolist() == [[0, 1, 2], [0, 0, 0]]
    tokens, mask, positions = right_pad([[3, 8, 3], [3]], pad_token=3)
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert gather_last(tokens[..., None], mask).flatten().tolist() == [3, 3]


def test_what_makes_no_batch_is_told(tiny_llama: Llama) -> None:
    for make in (lambda: left_pad([], 0), lambda: right_pad([], 0), lambda: pack([])):
        with pytest.raises(ValueError, match="no texts"):
            make()
    with pytest.raises(ValueError, match="without a single token"):
        pack([[], []])
    view = RowsCache(KVCache.for_model(tiny_llama.config, 2))
    with pytest.raises(ValueError, match=r"call expect\(\) first"):
        tiny_llama(torch.tensor([[5]]), view)
    with pytest.raises(ValueError, match="has room for 2"):
        view.expect(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long))
