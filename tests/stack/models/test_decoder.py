"""The decoder with exchangeable parts: every combination runs, sees what it may see, and knows the order."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
import torch
from torch import Tensor

from teachllm.stack.models.decoder import Decoder, DecoderConfig, Position, visible
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.nn.attention import readable_causal_attention, use_attention

CONFIG = DecoderConfig(
    vocab_size=50, d_model=24, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, hidden=40, context_length=16
)
POSITIONS: tuple[str, ...] = get_args(Position)
CAUSAL_ONLY = ("alibi", "transformer_xl", "xpos")


def decoder(**parts: object) -> Decoder:
    """A decoder with weights large enough for differences to be seen."""
    model = Decoder(dataclasses.replace(CONFIG, **parts))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return model


def tokens(length: int, batch: int = 2) -> Tensor:
    return torch.randint(50, (batch, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("position", POSITIONS)
def test_later_tokens_do_not_change_earlier_logits(position: str) -> None:
    model, given = decoder(position=position), tokens(10)
    before = model(given)
    assert before.shape == (2, 10, 50)
    given[:, 6:] = (given[:, 6:] + 1) % 50
    after = model(given)
    torch.testing.assert_close(after[:, :6], before[:, :6])
    assert not torch.allclose(after[:, 6:], before[:, 6:], atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("position", [name for name in POSITIONS if name not in CAUSAL_ONLY])
def test_only_positions_tell_a_bidirectional_model_the_order(position: str) -> None:
    model, given = decoder(position=position, attention="bidirectional"), tokens(8)
    order = torch.tensor([3, 0, 6, 1, 7, 2, 5, 4])
    same = torch.allclose(model(given[:, order]), model(given)[:, order], atol=1e-5)
    assert same == (position == "none")


@torch.no_grad()
@pytest.mark.parametrize("position", [name for name in POSITIONS if name not in ("sinusoidal", "learned")])
def test_relative_positions_do_not_see_where_a_text_begins(position: str) -> None:
    # What a token gets from itself and its neighbour, all else hidden, is the same wherever both stand.
    model = decoder(position=position, n_layers=1)
    given = tokens(9)
    attention = model.blocks[0].attention
    x, distances = model.embedding(given), model._distances(9, model.embedding(given))

    def pair(i: int, shift: int) -> Tensor:
        """The output at i + shift when it sees that token and the one before, which are those of i."""
        mask = torch.eye(9, dtype=torch.bool) | torch.eye(9, dtype=torch.bool).roll(-1, 1)
        shown = x.roll(shift, 1)

        def hidden(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            k, v = (part.repeat_interleave(2, dim=1) for part in (k, v))
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)

        with use_attention(hidden):
            return attention(shown, mask, distances)[:, i + shift]

    torch.testing.assert_close(pair(3, 0), pair(3, 4), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["rms", "layer", "none"])
@pytest.mark.parametrize("norm_place", ["pre", "post"])
@pytest.mark.parametrize("feed_forward", ["swiglu", "gelu", "relu"])
def test_every_block_learns_and_is_counted(norm: str, norm_place: str, feed_forward: str) -> None:
    model = decoder(norm=norm, norm_place=norm_place, feed_forward=feed_forward)
    with torch.enable_grad():
        model(tokens(7)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert model.config.n_parameters == sum(parameter.numel() for parameter in model.parameters())
    scale = model(tokens(7))
    names = [name for name, _ in model.named_parameters()]
    assert ("norm.weight" in names) == (norm != "none" and norm_place == "pre")
    assert scale.isfinite().all()


@pytest.mark.parametrize("position", POSITIONS)
def test_every_position_parameter_learns(position: str) -> None:
    model = decoder(position=position)
    model(tokens(9)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert model.config.n_parameters == sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def test_it_is_a_llama_when_its_parts_are() -> None:
    model = decoder()
    sizes = {
        field.name: getattr(CONFIG, field.name)
        for field in dataclasses.fields(LlamaConfig)
        if hasattr(CONFIG, field.name)
    }
    llama = Llama(LlamaConfig(**sizes, tied_head=True))
    llama.load_state_dict(model.state_dict())
    # RMSNorm without an eps takes that of the dtype.
    torch.testing.assert_close(model(tokens(12)), llama(tokens(12)), atol=1e-4, rtol=1e-4)
    assert model.config.n_parameters == llama.config.n_parameters
    with use_attention(readable_causal_attention):
        torch.testing.assert_close(model(tokens(12)), llama(tokens(12)), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("position", ["rope", "t5", "deberta"])
def test_a_prefix_is_seen_whole_and_what_follows_is_causal(position: str) -> None:
    model, given = decoder(position=position, attention="prefix"), tokens(10)
    before = model(given, prefix_length=4)
    changed = given.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 50
    assert not torch.allclose(model(changed, prefix_length=4)[:, 0], before[:, 0], atol=1e-3)
    changed = given.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % 50
    torch.testing.assert_close(model(changed, prefix_length=4)[:, :6], before[:, :6])
    if position == "rope":
        causal = decoder(position=position)
        torch.testing.assert_close(model(given, prefix_length=0), causal(given), atol=1e-4, rtol=1e-4)


def test_masks_of_the_three_kinds() -> None:
    assert visible("bidirectional", 3, None) is None
    causal, prefix = visible("causal", 3, None), visible("prefix", 3, 2)
    assert causal is not None
    assert causal.int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert prefix is not None
    assert prefix.int().tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 1]]


@torch.no_grad()
def test_only_learned_positions_end() -> None:
    for position in POSITIONS:
        model = decoder(position=position)
        if position == "learned":
            with pytest.raises(ValueError, match="shorten the text"):
                model(tokens(17))
        else:
            assert model(tokens(40)).isfinite().all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no decoder") as refused:
        dataclasses.replace(CONFIG, hidden=0, n_kv_heads=3, norm="batch", head_dim=7)  # type: ignore[arg-type]
    for problem in ("hidden is 0", "n_heads = 4 is no multiple", "'batch'", "head_dim is 7"):
        assert problem in str(refused.value)
    for position in CAUSAL_ONLY:
        with pytest.raises(ValueError, match="looks back only"):
            decoder(position=position, attention="prefix")
    with pytest.raises(ValueError, match="at least one"):
        decoder()(tokens(3)[:, :0])
    with pytest.raises(ValueError, match="attention = prefix"):
        decoder()(tokens(3), prefix_length=1)
    with pytest.raises(ValueError, match="prefix_length is None"):
        decoder(attention="prefix")(tokens(3))
