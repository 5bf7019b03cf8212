"""Many prompts at once are answered as each would be alone."""

from __future__ import annotations

import pytest

from teachllm.stack.inference import Sampling, generate_tokens
from teachllm.stack.inference.engine.config import EngineConfig
from teachllm.stack.inference.engine.offline import generate_all, generate_each
from teachllm.stack.inference.engine.request import BeamSearch, RequestOptions
from teachllm.stack.inference.language_model import LanguageModel

CONFIG = EngineConfig(n_blocks=40, block_size=4, max_batch_tokens=24, max_running=5)


def test_answers_are_in_the_order_of_the_prompts(tiny: LanguageModel) -> None:
    prompts = [[7 * i + 1, 3, 5][: 1 + i % 3] for i in range(12)]
    options = [RequestOptions(Sampling(1.0, seed=i), max_tokens=1 + 5 * i % 13) for i in range(12)]
    told: list[tuple[int, int]] = []
    answers = generate_all(tiny, prompts, options, CONFIG, progress=lambda *counts: told.append(counts))
    assert told == [(i, 12) for i in range(1, 13)]
    for prompt, option, answer in zip(prompts, options, answers, strict=True):
        assert list(answer.prompt) == prompt
        *tokens, reason = generate_tokens(
            tiny.model,
            prompt,
            sampling=option.sampling,
            max_tokens=option.max_tokens,
            end_tokens=tiny.end_tokens,
        )
        (text,) = answer.texts
        assert (text.tokens, text.reason) == (tokens, reason)
        assert text.text == tiny.tokenizer.decode([token for token in tokens if token < 256])


def test_who_is_done_first_comes_first(tiny: LanguageModel) -> None:
    options = [RequestOptions(max_tokens=n, end_tokens=frozenset()) for n in (9, 2, 5)]
    assert [i for i, _ in generate_each(tiny, ["a", "b", "c"], options, CONFIG)] == [1, 2, 0]


def test_several_texts_of_one_prompt(tiny: LanguageModel) -> None:
    options = [
        RequestOptions(Sampling(1.0, seed=4), max_tokens=6, n=3, logprobs=0),
        RequestOptions(Sampling(1.0, seed=4), max_tokens=6, n=2, best_of=4),
        RequestOptions(max_tokens=6, n=2, beam=BeamSearch(3)),
    ]
    sampled, best, beams = generate_all(tiny, ["abc"] * 3, options, CONFIG)
    assert [len(answer.texts) for answer in (sampled, best, beams)] == [3, 2, 2]
    assert all(out.logprob is not None for text in sampled.texts for out in text.outs)
    for answer in (best, beams):
        first, second = (text.end.score for text in answer.texts)
        assert first is not None
        assert second is not None
        assert first >= second


def test_one_that_fails_spoils_no_other(mean_model: LanguageModel) -> None:
    alone = generate_all(mean_model, [[1, 2], [5]], RequestOptions(max_tokens=5), CONFIG)
    first, failed, last = generate_all(mean_model, [[1, 2], [60], [5]], RequestOptions(max_tokens=5), CONFIG)
    assert failed.texts == ()
    assert failed.failed is not None
    assert failed.failed.kind == "memory"
    assert [first.texts[0].tokens, last.texts[0].tokens] == [answer.texts[0].tokens for answer in alone]


def test_what_cannot_be_answered_is_named_before_anything_is_computed(tiny: LanguageModel) -> None:
    with pytest.raises(ValueError, match=r"prompt 1: the prompt is empty.*prompt 2: "):
        generate_each(tiny, ["a", [], [1] * 500], config=CONFIG)
    with pytest.raises(ValueError, match=r"prompt 4: .*; and 3 more"):
        generate_each(tiny, [[]] * 8, config=CONFIG)
    with pytest.raises(ValueError, match="2 prompts and 1 options"):
        generate_all(tiny, ["a", "b"], [RequestOptions()])
    assert generate_all(tiny, [], config=CONFIG) == []
