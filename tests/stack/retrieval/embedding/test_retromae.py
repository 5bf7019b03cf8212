"""RetroMAE: who may see what, what counts, and that the vector of the text is all that the decoder has."""

from __future__ import annotations

import torch

from teachllm.stack.data.packing import IGNORED
from teachllm.stack.models.encoder.bert import Bert, BertConfig
from teachllm.stack.retrieval.embedding.retromae import RetroMAE, enhanced_mask, masked
from teachllm.stack.training.initialization import initialize

CONFIG = BertConfig(vocab_size=30, d_model=16, n_layers=1, n_heads=2, hidden=32, context_length=12)
MASK = 4


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_enhanced_mask() -> None:
    mask = enhanced_mask(9, visible=0.5, generator=random(), n_texts=3)
    assert mask.shape == (3, 9, 9)
    assert not mask.diagonal(dim1=1, dim2=2).any()  # nobody sees itself
    assert mask[:, 1:, 0].all()  # everybody else sees the vector of the text
    sampled = mask.sum(2)
    assert ((sampled >= 4) & (sampled <= 5)).all()  # half of eight, and position 0 if it was not among them
    assert len({tuple(row) for row in mask[0].tolist()}) == 9  # each has a sample of its own
    everything = enhanced_mask(5, visible=1.0, generator=random())[0]
    assert torch.equal(everything, ~torch.eye(5, dtype=torch.bool))


def test_every_other_position_is_seen_equally_often() -> None:
    seen = enhanced_mask(6, visible=0.4, generator=random(1), n_texts=3000).float().mean(0)
    inner = seen[1:, 1:][~torch.eye(5, dtype=torch.bool)]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.4), rtol=0, atol=0.05)


def test_masking_keeps_both_ends_and_remembers_what_stood_there() -> None:
    tokens = torch.arange(5, 29).view(2, 12)
    seen, targets = masked(tokens, 0.3, MASK, random())
    hidden = targets != IGNORED
    assert (hidden.sum(1) == 3).all()
    assert not hidden[:, [0, -1]].any()
    assert (seen[hidden] == MASK).all()
    assert torch.equal(seen.where(~hidden, targets), tokens)


def pretrain(decoding: str, steps: int) -> tuple[RetroMAE, list[float]]:
    encoder = Bert(CONFIG)
    initialize(encoder, random(0))
    torch.manual_seed(0)
    model = RetroMAE(encoder, MASK, decoding)  # pyright: ignore[reportArgumentType]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    # One token a text, over and over: rebuilding it from nothing but the vector is possible.
    words = torch.randint(6, 30, (steps, 16, 1), generator=random(2))
    history = []
    for batch in words:
        tokens = torch.cat([torch.full((16, 1), 2), batch.expand(-1, 8), torch.full((16, 1), 3)], dim=1)
        losses = model(tokens, random(3), encoder_ratio=0.3, decoder_ratio=0.7)
        (losses.encoder + losses.decoder).backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append(losses.decoder.item())
    return model, history


def test_both_decodings_learn_and_send_gradients_through_the_vector_of_the_text() -> None:
    for decoding in ("basic", "enhanced"):
        model, history = pretrain(decoding, 80)
        assert sum(history[-5:]) < 0.6 * sum(history[:5]), decoding
        model.zero_grad()
        tokens = torch.tensor([[2, 7, 7, 7, 7, 3]])
        rebuild = model.enhanced if decoding == "enhanced" else model.basic
        sentence = torch.zeros(1, CONFIG.d_model, requires_grad=True)
        states, targets = rebuild(tokens, sentence, 0.7, random(4))
        model.guess(states, targets).backward()
        assert sentence.grad is not None
        assert sentence.grad.abs().sum() > 0
        assert (targets != IGNORED).sum() == (5 if decoding == "enhanced" else 3)
