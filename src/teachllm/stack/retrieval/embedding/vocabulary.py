"""An encoder gets the characters of another script: new pieces, placed by what stands beside them in
translations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from teachllm.stack.models.encoder.bert import Bert
from teachllm.stack.retrieval.embedding.model import EmbeddingModel
from teachllm.stack.tokenizer.bert import BertTokenizer
from teachllm.stack.tokenizer.wordpiece import bert_words

PARTNERS = 6
"""Pieces of the known language that a new piece begins as a mean of."""


def with_characters(
    model: EmbeddingModel, translations: Sequence[tuple[str, str]], script: range
) -> EmbeddingModel:
    """A copy that has a piece for every character of `script` that the translations use.

    translations: (text in the new script, the same in a language that the model knows). Each character,
    those that the vocabulary has already included, begins as the mean of the known pieces that come with it
    most (see `partners`); every other piece stays as it is. ValueError if the model is no BERT, or the texts
    have no such character.
    """
    tokenizer, encoder = model.tokenizer, model.encoder
    if not isinstance(tokenizer, BertTokenizer) or not isinstance(encoder, Bert):
        raise ValueError(f"{model.name} is no BERT with BERT's tokenizer; only these can be extended")
    found = [{one for one in foreign if ord(one) in script} for foreign, _ in translations]
    characters = sorted(set().union(*found))
    if not characters:
        raise ValueError(
            f"no character from {script.start:#x} to {script.stop - 1:#x} is in the translations"
        )
    # One of BERT's words each, so that the tokenizer cuts between them.
    assert all(bert_words(one) == [one] for one in characters)
    known = set(tokenizer.vocabulary)
    vocabulary = [*tokenizer.vocabulary, *(one for one in characters if one not in known)]
    extended = BertTokenizer(vocabulary, lowercase=tokenizer.lowercase, strip_accents=tokenizer.strip_accents)
    old = encoder.embedding.weight.detach()
    place_of = {piece: place for place, piece in enumerate(vocabulary)}
    column_of = {one: column for column, one in enumerate(characters)}
    pieces = [tokenizer.encode(text) for _, text in translations]
    weights = partners(
        [[column_of[one] for one in each] for each in found], pieces, len(characters), len(old)
    )
    rows = torch.cat([old, old.mean(0).expand(len(vocabulary) - len(old), -1)])
    rows[[place_of[one] for one in characters]] = weights @ old
    larger = Bert(replace(encoder.config, vocab_size=len(vocabulary)))
    larger.load_state_dict({**encoder.state_dict(), "embedding.weight": rows})
    return replace(
        model, encoder=larger.eval(), tokenizer=extended, vocab_size=len(vocabulary), prefixes=model.prefixes
    )


def partners(
    new: Sequence[Sequence[int]], known: Sequence[Sequence[int]], n_new: int, n_known: int, n: int = PARTNERS
) -> Float[Tensor, "new known"]:
    """For each new piece weights of the known ones, which sum to 1: of the `n` that come with it most.

    new, known: the pieces in both texts of each pair. "With it most" is the Dice coefficient over pairs,
    2·|both| / (|new| + |known|), squared to favour the best; Dice 1945. It finds translations of words from
    nothing but sentences that say the same.
    """

    together = torch.zeros(n_new, n_known)
    of_new, of_known = torch.zeros(n_new), torch.zeros(n_known)
    for left, right in zip(new, known, strict=True):
        rows, columns = torch.tensor(sorted(set(left))).long(), torch.tensor(sorted(set(right))).long()
        together[rows[:, None], columns] += 1
        of_new[rows] += 1
        of_known[columns] += 1
    totals = of_new[:, None] + of_known
    dice = 2 * together / totals.clamp(min=1)
    best = dice.topk(min(n, n_known), dim=1)
    strength = best.values.square() + torch.finfo(torch.float32).tiny
    return torch.zeros_like(dice).scatter_(1, best.indices, strength / strength.sum(1, keepdim=True))
