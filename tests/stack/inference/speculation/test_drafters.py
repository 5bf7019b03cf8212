"""Drafters: what the n-grams find, what a cache keeps, what an early exit shares."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.inference import Sampling, generate_tokens
from teachllm.stack.inference.fused_llama import FusedLlama
from teachllm.stack.inference.sampling import distribution
from teachllm.stack.inference.speculation import ModelDrafter, NgramDrafter, first_layers
from teachllm.stack.inference.speculation.drafters import agreeing, check_vocabulary, continuation_of_ngram
from teachllm.stack.models.llama import Llama, LlamaConfig
from teachllm.stack.tokenizer import Tokenizer, Vocabulary

GREEDY, CHANCE = Sampling(), torch.Generator()


def ngram(text: list[int], k: int = 4) -> list[int]:
    return NgramDrafter(longest=3, shortest=1).draft(torch.tensor(text), k, GREEDY, CHANCE).tokens


@pytest.mark.parametrize(
    ("text", "drafted"),
    [
        ([1, 2, 3, 9, 8, 7, 6, 1, 2, 3], [9, 8, 7, 6]),
        ([1, 2, 9, 1, 2, 8, 5, 4, 3, 1, 2], [8, 5, 4, 3]),  # the latest place
        ([1, 2, 3, 9, 0, 0, 3, 8, 0, 0, 1, 2, 3], [9, 0, 0, 3]),  # the longest match before the latest
        ([5, 6, 7, 3, 9], []),
        ([1, 2, 1, 2, 1, 2], [1, 2, 1, 2]),  # goes round
        ([4, 4], [4, 4, 4, 4]),
        ([4], []),
    ],
)
def test_the_text_goes_on_as_it_did_before(text: list[int], drafted: list[int]) -> None:
    assert ngram(text) == drafted


def test_a_match_that_is_too_short_drafts_nothing() -> None:
    text = torch.tensor([7, 1, 2, 9, 5, 2])
    assert NgramDrafter(shortest=2).draft(text, 4, GREEDY, CHANCE).tokens == []
    assert NgramDrafter(shortest=1).draft(text, 4, GREEDY, CHANCE).tokens == [9, 5, 2, 9]


def test_the_ngrams_are_those_of_a_plain_search() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        text = torch.randint(4, (int(torch.randint(2, 25, (), generator=generator)),), generator=generator)
        tokens, expected = text.tolist(), None
        for n in range(min(3, len(tokens) - 1), 0, -1):
            ends = [end for end in range(n, len(tokens)) if tokens[end - n : end] == tokens[-n:]]
            if ends:
                expected = ends[-1]
                break
        assert continuation_of_ngram(text, 3, 1) == expected


def test_a_model_drafts_what_it_would_write_and_remembers_what_agrees(tiny_llama: Llama) -> None:
    drafter = ModelDrafter(tiny_llama)
    drafter.start(60)
    read: list[int] = []
    tiny_llama.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[1]))

    def draft(text: list[int], k: int) -> list[int]:
        read.clear()
        return drafter.draft(torch.tensor(text), k, GREEDY, CHANCE).tokens

    first = draft([5, 6, 7], 4)
    assert read == [3, 1, 1, 1]
    kept = [5, 6, 7, *first[:2]]
    other = (first[2] + 1) % 256
    second = draft([*kept, other], 3)  # the third was rejected: the cache holds five tokens of this text
    assert read == [1, 1, 1]
    read.clear()
    assert second == list(generate_tokens(tiny_llama, [*kept, other], max_tokens=3))[:3]
    third = draft([9, 9], 2)  # nothing in common
    assert read == [2, 1]
    assert third == list(generate_tokens(tiny_llama, [9, 9], max_tokens=2))[:2]


def test_the_draft_says_from_what_it_drew(tiny_llama: Llama) -> None:
    sampling = Sampling(temperature=0.8, top_k=5)
    drafter = ModelDrafter(tiny_llama)
    drafter.start(20)
    text = torch.tensor([1, 2, 3])
    draft = drafter.draft(text, 3, sampling, torch.Generator().manual_seed(0))
    assert draft.probabilities is not None
    whole = torch.cat([text, torch.tensor(draft.tokens)])
    with torch.inference_mode():
        logits = tiny_llama(whole[None])[0, 2:-1]
    expected = torch.stack([distribution(row, whole, sampling) for row in logits])
    torch.testing.assert_close(draft.probabilities, expected, atol=1e-5, rtol=1e-4)
    assert all(row[token] > 0 for row, token in zip(draft.probabilities, draft.tokens, strict=True))


def test_an_early_exit_is_the_first_layers_and_the_head_without_a_copy(deep_llama: Llama) -> None:
    exit_model = first_layers(deep_llama, 3)
    tokens = torch.tensor([[4, 9, 33, 2]])
    with torch.inference_mode():
        x = deep_llama.embedding(tokens)
        for block in deep_llama.blocks[:3]:
            x = block(x, deep_llama.rope_cos[:4], deep_llama.rope_sin[:4], None)
        expected = deep_llama.head(deep_llama.norm(x))
        torch.testing.assert_close(exit_model(tokens), expected, rtol=0, atol=0)
    own = {id(weights) for weights in deep_llama.parameters()}
    assert {id(weights) for weights in exit_model.parameters()} < own
    assert len(deep_llama.blocks) == 5
    for wrong in (0, 5):
        with pytest.raises(ValueError, match=f"after layer {wrong}"):
            first_layers(deep_llama, wrong)


def test_the_exit_of_a_model_with_fused_steps_has_them_too() -> None:
    torch.manual_seed(2)
    sizes = {"vocab_size": 50, "d_model": 64, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16}
    plain = Llama(LlamaConfig(**sizes, hidden=128, context_length=40)).eval()
    exit_model = first_layers(FusedLlama(plain), 2)
    assert isinstance(exit_model, FusedLlama)
    ours = list(generate_tokens(exit_model, [3, 8], max_tokens=12))
    assert ours == list(generate_tokens(first_layers(plain, 2), [3, 8], max_tokens=12))


def test_what_agrees_is_counted_from_the_left() -> None:
    def count(one: list[int], other: list[int]) -> int:
        return agreeing(torch.tensor(one, dtype=torch.long), torch.tensor(other, dtype=torch.long))

    assert count([1, 2, 3], [1, 2, 4, 3]) == 2
    assert count([1, 2], [1, 2, 3]) == 2
    assert count([], [1]) == count([2, 1], [1, 1]) == 0


def test_a_foreign_vocabulary_and_an_unstarted_drafter_are_refused(tiny_llama: Llama) -> None:
    def words(*special: str) -> Vocabulary:
        return Tokenizer.from_merges([], special_tokens=special).vocabulary

    check_vocabulary(words("<s>", "</s>"), words("<s>", "</s>"))
    with pytest.raises(
        ValueError, match=r"2 tokens differ, the first is 256: b'<s>' for the target, b'</s>'"
    ):
        check_vocabulary(words("<s>", "</s>"), words("</s>", "<s>"))
    with pytest.raises(ValueError, match=r"1 tokens differ, the first is 257: .* None for the draft"):
        check_vocabulary(words("<s>", "</s>"), words("<s>"))
    with pytest.raises(ValueError, match="shortest is 2 and longest 1"):
        NgramDrafter(1)
    with pytest.raises(ValueError, match="start"):
        ModelDrafter(tiny_llama).draft(torch.tensor([1]), 1, GREEDY, CHANCE)
