"""A static batch writes what each prompt would alone: it is slow because rows wait, but it is not wrong."""

from __future__ import annotations

import pytest
import torch

from teachllm.stack.inference import Sampling, generate_tokens
from teachllm.stack.inference.generation import ContextFull
from teachllm.stack.inference.static_batch import static_batch_generate, static_batch_steps
from teachllm.stack.models.llama import Llama

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17]]


def alone(model: Llama, prompt: list[int], **options) -> list[int]:
    return [token for token in generate_tokens(model, prompt, **options) if isinstance(token, int)]


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(repetition_penalty=1.3), Sampling(temperature=1.0, top_k=20, seed=7)]
)
def test_each_answer_is_what_its_prompt_gives_alone(tiny_llama: Llama, sampling: Sampling) -> None:
    batch = static_batch_generate(tiny_llama, PROMPTS, max_tokens=[12, 20, 5], sampling=sampling)
    assert batch.answers == [
        alone(tiny_llama, prompt, max_tokens=limit, sampling=sampling)
        for prompt, limit in zip(PROMPTS, (12, 20, 5), strict=True)
    ]


def test_an_end_token_ends_its_own_row_and_the_others_go_on(tiny_llama: Llama) -> None:
    free = static_batch_generate(tiny_llama, PROMPTS, max_tokens=10).answers
    end = free[1][3]
    ended = static_batch_generate(tiny_llama, PROMPTS, max_tokens=10, end_tokens={end})
    assert ended.answers == [answer[: answer.index(end)] if end in answer else answer for answer in free]
    assert len(ended.answers[1]) <= 3
    assert max(map(len, ended.answers)) == 10
    steps = list(static_batch_steps(tiny_llama, PROMPTS, max_tokens=10, end_tokens={end}))
    assert [row[1] is None for row in steps] == [n > free[1].index(end) for n in range(10)]


def test_waste_is_padding_and_waiting(tiny_llama: Llama) -> None:
    batch = static_batch_generate(tiny_llama, PROMPTS, max_tokens=[1, 9, 1])
    assert batch.computed == 3 * (7 + 8)  # rows × (longest prompt, and a step for each token but the last)
    assert batch.needed == 7 + 2 + 4 + 8
    assert batch.wasted == pytest.approx(1 - 21 / 45)
    equal = static_batch_generate(tiny_llama, [[5, 6], [7, 8]], max_tokens=4)
    assert equal.wasted == 0


def test_a_row_that_has_filled_its_context_waits_unharmed(tiny_llama: Llama) -> None:
    """Its columns go on, its positions must not: there are none past the context."""
    full = torch.randint(0, 250, (94,), generator=torch.Generator().manual_seed(1)).tolist()
    batch = static_batch_generate(tiny_llama, [full, [5, 6]], max_tokens=30)
    assert batch.answers == [alone(tiny_llama, full), alone(tiny_llama, [5, 6], max_tokens=30)]
    assert list(map(len, batch.answers)) == [2, 30]


def test_what_cannot_begin_is_told(tiny_llama: Llama) -> None:
    with pytest.raises(ContextFull, match="96 in all"):
        static_batch_steps(tiny_llama, [[5], [5] * 96], max_tokens=1)
    with pytest.raises(ValueError, match="give one for each"):
        static_batch_steps(tiny_llama, PROMPTS, max_tokens=[1])
    with pytest.raises(ValueError, match="empty"):
        static_batch_steps(tiny_llama, [[5], []], max_tokens=1)
