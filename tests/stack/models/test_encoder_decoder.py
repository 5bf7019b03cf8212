"""The small encoder–decoder: what it may read, and that it is one with the readable attention."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from teachllm.stack.nn.attention import readable_attention

CONFIG = EncoderDecoderConfig(30, 16, 2, 3, 2, 24)


@pytest.fixture
def model() -> EncoderDecoder:
    torch.manual_seed(0)
    return EncoderDecoder(CONFIG).eval()


def tokens(*shape: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 30, shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_the_target_does_not_read_its_future(model: EncoderDecoder) -> None:
    source, target = tokens(2, 5, seed=1), tokens(2, 6, seed=2)
    changed = target.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 30
    one, other = model(source, target), model(source, changed)
    torch.testing.assert_close(one[:, :4], other[:, :4])
    assert not torch.allclose(one[:, 4:], other[:, 4:])


@torch.inference_mode()
def test_every_token_reads_the_whole_source(model: EncoderDecoder) -> None:
    source, target = tokens(1, 5, seed=1), tokens(1, 6, seed=2)
    changed = source.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 30
    assert not torch.allclose(model.encode(source)[:, 0], model.encode(changed)[:, 0])
    assert not torch.allclose(model(source, target)[:, 0], model(changed, target)[:, 0])


@torch.inference_mode()
def test_the_source_is_encoded_once(model: EncoderDecoder) -> None:
    source, target = tokens(2, 5, seed=1), tokens(2, 6, seed=2)
    memory = model.encode(source)
    torch.testing.assert_close(model.decode(target, memory), model(source, target))
    torch.testing.assert_close(model.decode(target[:, :3], memory), model(source, target)[:, :3])


@torch.inference_mode()
def test_readable_attention_gives_the_same(model: EncoderDecoder) -> None:
    source, target = tokens(2, 5, seed=1), tokens(2, 6, seed=2)
    fused = model(source, target)
    with readable_attention():
        torch.testing.assert_close(model(source, target), fused)


def test_one_embedding_for_both_sides_and_the_head(model: EncoderDecoder) -> None:
    assert model.head.weight is model.embedding.weight


def test_everything_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"n_heads is 0.*hidden is 0"):
        EncoderDecoderConfig(30, 16, 2, 2, 0, 0)
    with pytest.raises(ValueError, match="d_model = 18 does not give 2 heads an even number"):
        EncoderDecoderConfig(30, 18, 2, 2, 2, 24)
